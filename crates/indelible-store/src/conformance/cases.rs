//! The cases of the suite.

#![expect(clippy::unwrap_used, reason = "a test suite")]
#![expect(clippy::indexing_slicing, reason = "a test suite")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use indelible_core::{
    tile::{frontier_at, level_len},
    tree::{Hash, LeafIndex, TreeHead, TreeSize, range_root},
};
use sha2::{Digest as _, Sha256};

use super::{Found, Harness, Leaving, Scribe, id};
use crate::store::{Batch, Chunk, Fingerprint, MAX_BATCH_BYTES, Reader, StoreError, StoredTree};

type Case = fn(&mut dyn Harness);

pub(super) const ALL: [(&str, Case); 15] = [
    ("an empty log", an_empty_log),
    ("every entry is read as it was appended", every_entry_is_read_as_it_was_appended),
    ("chunks keep their limit", chunks_keep_their_limit),
    ("there is nothing behind the end", there_is_nothing_behind_the_end),
    ("a scan gives all bytes once", a_scan_gives_all_bytes_once),
    ("the stored tree is that of the leaves", the_stored_tree_is_that_of_the_leaves),
    ("checkpoints are published and kept", checkpoints_are_published_and_kept),
    ("ids are found from their claim on", ids_are_found_from_their_claim_on),
    ("attachments are kept by their content", attachments_are_kept_by_their_content),
    ("bounded acknowledgements leave a mark", bounded_acknowledgements_leave_a_mark),
    ("tending changes no byte", tending_changes_no_byte),
    ("a log goes on where it ended", a_log_goes_on_where_it_ended),
    ("many read while one appends", many_read_while_one_appends),
    ("a batch too large is refused", a_batch_too_large_is_refused),
    ("a turn ends with its batch, or leaves nothing", a_turn_ends_with_its_batch_or_leaves_nothing),
];

/// Batches of every kind: single and many, of the smallest events and the largest, 5000 at once.
fn sizes() -> Vec<Vec<usize>> {
    let mixed = |n: usize| match n % 97 {
        0 => 20_000,
        n => 20 + n * 7,
    };
    vec![
        vec![20],
        vec![64_000],
        vec![100, 64_000, 20, 64_000],
        (0..300).map(mixed).collect(),
        vec![64_000; 20],
        vec![20; 5000],
        (0..40).map(mixed).collect(),
        vec![500],
    ]
}

fn append(harness: &dyn Harness, scribe: &mut Scribe, sizes: &[usize]) -> Batch {
    let batch = scribe.batch(sizes);
    let ids: Vec<(Fingerprint, u64)> =
        (batch.first..).zip(&batch.entries).filter_map(|(index, entry)| Some((entry.id?, index))).collect();
    harness.writer().claim(&ids, scribe.size());
    harness.writer().append(&batch).unwrap();
    batch
}

fn fill(harness: &dyn Harness, sizes: &[Vec<usize>]) -> Scribe {
    let mut scribe = Scribe::default();
    for sizes in sizes {
        append(harness, &mut scribe, sizes);
    }
    scribe
}

/// Extends the stored tree up to `size` from the lines that the store gives back, and returns the head.
fn extend(harness: &dyn Harness, scribe: &Scribe, size: u64) -> TreeHead {
    let writer = harness.writer();
    let mut at = writer.tree_size().unwrap().0;
    while at < size {
        let mut chunk = writer.read(LeafIndex(at), 100_000).unwrap();
        let lines = chunk.lines().count().min(index(size - at));
        let bytes = chunk.bytes.split_inclusive(|b| *b == b'\n').take(lines).map(<[u8]>::len).sum();
        chunk.bytes.truncate(bytes);
        writer.extend_tree(&scribe.leaves[index(at)..index(at) + lines], &chunk).unwrap();
        at += lines as u64;
        assert_eq!(writer.tree_size().unwrap(), TreeSize(at));
    }
    writer.sync_tree().unwrap();
    scribe.head(size)
}

/// A checkpoint of everything; its text is not the store's business.
fn checkpoint(harness: &dyn Harness, scribe: &Scribe, keep: Option<u64>) -> TreeHead {
    let head = extend(harness, scribe, scribe.size());
    harness.writer().publish(head.root.to_hex().as_bytes(), keep).unwrap();
    head
}

fn index(index: u64) -> usize {
    usize::try_from(index).unwrap()
}

/// Both sides: the writer's own, and a reader beside it.
fn sides(harness: &dyn Harness, check: impl Fn(&dyn Reader)) {
    check(harness.writer());
    check(&*harness.reader());
}

#[track_caller]
fn check_all(reader: &dyn Reader, scribe: &Scribe) {
    assert_eq!(reader.size().unwrap(), TreeSize(scribe.size()));
    check_range(reader, scribe, 0, scribe.size(), 1 << 20);
}

#[track_caller]
fn check_range(reader: &dyn Reader, scribe: &Scribe, from: u64, to: u64, max_bytes: usize) {
    let mut at = from;
    while at < to {
        at += check_chunk(reader, scribe, at, max_bytes);
    }
}

#[track_caller]
fn check_entry(reader: &dyn Reader, scribe: &Scribe, at: u64) {
    assert_eq!(check_chunk(reader, scribe, at, 0), 1);
}

/// Reads a chunk, checks it, and returns how many lines it has.
#[track_caller]
fn check_chunk(reader: &dyn Reader, scribe: &Scribe, from: u64, max_bytes: usize) -> u64 {
    let chunk = reader.read(LeafIndex(from), max_bytes).unwrap();
    assert_eq!(chunk.first, from);
    let count = chunk.lines().count();
    assert!(count > 0);
    let want = scribe.lines[index(from)..index(from) + count].concat();
    assert!(chunk.bytes == want, "the chunk of {count} lines at {from} is not what was appended");
    assert!(count == 1 || chunk.bytes.len() <= max_bytes, "{} bytes of {max_bytes}", chunk.bytes.len());
    count as u64
}

#[track_caller]
fn check_scan(reader: &dyn Reader, scribe: &Scribe) {
    let runs = reader.runs().unwrap();
    assert!(runs.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].closed));
    let mut at = 0;
    for run in &runs {
        assert_eq!(run.first, at, "the run begins where the one before ended");
        let mut bytes = 0;
        for piece in reader.pieces(run).unwrap() {
            let lines = Chunk { first: at, bytes: reader.read_piece(run, &piece).unwrap() };
            let count = lines.lines().count();
            let want = scribe.lines.get(index(at)..index(at) + count).map(<[_]>::concat);
            assert!(want == Some(lines.bytes), "the piece at {at} is not what was appended");
            bytes += want.map_or(0, |want| want.len() as u64);
            at += count as u64;
        }
        assert_eq!(bytes, run.bytes, "the length of the run that begins with entry {}", run.first);
    }
    assert_eq!(at, scribe.size());
}

#[track_caller]
fn check_ids(reader: &dyn Reader, scribe: &Scribe) {
    // A reader may have to scan what no index covers yet: not every id, but the last of all.
    let step = scribe.lines.len() / 40 + 1;
    for at in (0..scribe.size()).rev().step_by(step) {
        check_id(reader, at);
    }
    for at in scribe.size()..scribe.size() + 10 {
        assert_eq!(reader.lookup(id(at)).unwrap(), []);
    }
}

#[track_caller]
fn check_id(reader: &dyn Reader, at: u64) {
    assert!(reader.lookup(id(at)).unwrap().contains(&LeafIndex(at)), "the id of entry {at}");
}

fn an_empty_log(harness: &mut dyn Harness) {
    let none = Scribe::default();
    for leaving in [None, Some(Leaving::Dropped), Some(Leaving::Closed)] {
        if let Some(leaving) = leaving {
            let found = harness.reopen(&none.head(0), leaving);
            assert_eq!(found, Found { size: TreeSize(0), bounded: false });
        }
        sides(harness, |reader| {
            assert_eq!(reader.info(), &super::info());
            check_all(reader, &none);
            check_scan(reader, &none);
            check_ids(reader, &none);
            assert_eq!(reader.tree_size().unwrap(), TreeSize(0));
            assert_eq!(frontier_at(&StoredTree(reader), TreeSize(0)).unwrap().head(), none.head(0));
            assert_eq!((reader.checkpoint().unwrap(), reader.kept(1).unwrap()), (None, None));
            assert_eq!(reader.newest_kept().unwrap(), None);
            assert!(reader.kept_numbers().unwrap().is_empty());
            assert!(reader.has_writer().unwrap());
        });
    }
}

fn every_entry_is_read_as_it_was_appended(harness: &mut dyn Harness) {
    let beside = harness.reader();
    let mut scribe = Scribe::default();
    for sizes in sizes() {
        let from = scribe.size();
        append(harness, &mut scribe, &sizes);
        for reader in [&*beside, harness.writer()] {
            assert_eq!(reader.size().unwrap(), TreeSize(scribe.size()));
            check_range(reader, &scribe, from, scribe.size(), 1 << 20);
        }
    }
    let tree = scribe.size() / 2;
    for covered in [0, tree, scribe.size()] {
        extend(harness, &scribe, covered);
        for reader in [&*beside, harness.writer(), &*harness.reader()] {
            (0..scribe.size()).for_each(|at| check_entry(reader, &scribe, at));
            // Against the order in which anything could be remembered.
            (0..scribe.size()).rev().step_by(61).for_each(|at| check_entry(reader, &scribe, at));
        }
    }
}

fn chunks_keep_their_limit(harness: &mut dyn Harness) {
    let scribe = fill(harness, &sizes());
    for covered in [0, 5, scribe.size()] {
        extend(harness, &scribe, covered);
        sides(harness, |reader| {
            for max_bytes in [0, 1, 1000, 65_536, 70_000, 300_000, usize::MAX] {
                check_range(reader, &scribe, 0, 40, max_bytes);
                check_range(reader, &scribe, 300, scribe.size().min(400), max_bytes);
                check_range(reader, &scribe, scribe.size() - 45, scribe.size(), max_bytes);
            }
        });
    }
}

fn there_is_nothing_behind_the_end(harness: &mut dyn Harness) {
    let mut scribe = Scribe::default();
    for sizes in [vec![], vec![20], vec![300; 100]] {
        append(harness, &mut scribe, &sizes);
        sides(harness, |reader| {
            let size = scribe.size();
            for at in [size, size + 1, size + 1_000_000] {
                let refused = matches!(
                    reader.read(LeafIndex(at), 1000),
                    Err(StoreError::NoEntry { index, size: has }) if (index, has) == (at, size)
                );
                assert!(refused, "entry {at} of {size}");
            }
            assert!(reader.hashes(0, reader.tree_size().unwrap().0, 1).is_err());
        });
    }
}

fn a_scan_gives_all_bytes_once(harness: &mut dyn Harness) {
    let mut scribe = Scribe::default();
    for sizes in sizes() {
        append(harness, &mut scribe, &sizes);
        sides(harness, |reader| check_scan(reader, &scribe));
    }
    let reader = harness.reader();
    let runs = reader.runs().unwrap();
    append(harness, &mut scribe, &[20; 30]);
    // What was seen before goes on to be read as it was then.
    let bytes: usize = runs
        .iter()
        .flat_map(|run| {
            reader.pieces(run).unwrap().into_iter().map(|piece| reader.read_piece(run, &piece).unwrap().len())
        })
        .sum();
    let want: usize = scribe.lines.iter().take(scribe.lines.len() - 30).map(Vec::len).sum();
    assert_eq!(bytes, want);
}

fn the_stored_tree_is_that_of_the_leaves(harness: &mut dyn Harness) {
    let mut scribe = fill(harness, &[vec![20; 5000]]);
    for step in [1, 2, 253, 1, 2, 1000, 777, 2964] {
        let size = harness.writer().tree_size().unwrap().0 + step;
        extend(harness, &scribe, size);
        sides(harness, |reader| check_tree(reader, &scribe, size));
    }
    for _ in 0..13 {
        append(harness, &mut scribe, &vec![20; 5000]);
    }
    let size = scribe.size();
    extend(harness, &scribe, size);
    sides(harness, |reader| check_tree(reader, &scribe, size));
}

#[track_caller]
fn check_tree(reader: &dyn Reader, scribe: &Scribe, size: u64) {
    assert_eq!(reader.tree_size().unwrap(), TreeSize(size));
    assert_eq!(frontier_at(&StoredTree(reader), TreeSize(size)).unwrap().head(), scribe.head(size));
    let mut want: Vec<Hash> = scribe.leaves[..index(size)].to_vec();
    for level in 0..3 {
        assert_eq!(want.len() as u64, level_len(TreeSize(size), level));
        for (number, hashes) in want.chunks(256).enumerate() {
            let first = number as u64 * 256;
            assert_eq!(reader.hashes(level, first, hashes.len()).unwrap(), hashes, "level {level} from {first}");
        }
        assert_eq!(reader.hashes(level, 0, want.len()).unwrap(), want);
        want = want.chunks_exact(256).map(range_root).collect();
    }
}

fn checkpoints_are_published_and_kept(harness: &mut dyn Harness) {
    let writer = harness.writer();
    for (number, text) in [(None, "one"), (Some(1), "two"), (None, "three"), (Some(2), "four"), (Some(2), "four")] {
        writer.publish(text.as_bytes(), number).unwrap();
        sides(harness, |reader| assert_eq!(reader.checkpoint().unwrap().as_deref(), Some(text.as_bytes())));
    }
    for leaving in [Leaving::Closed, Leaving::Dropped] {
        sides(harness, |reader| {
            let kept = [0, 1, 2, 3].map(|number| reader.kept(number).unwrap());
            assert_eq!(kept, [None, Some(b"two".to_vec()), Some(b"four".to_vec()), None]);
            assert_eq!(reader.newest_kept().unwrap(), Some(2));
            assert_eq!(reader.kept_numbers().unwrap(), [1, 2]);
            assert_eq!(reader.checkpoint().unwrap().as_deref(), Some(&b"four"[..]));
        });
        harness.reopen(&Scribe::default().head(0), leaving);
    }
}

fn ids_are_found_from_their_claim_on(harness: &mut dyn Harness) {
    let mut scribe = Scribe::default();
    for round in 0..6_usize {
        let token = harness.writer().id_token();
        let batch = scribe.batch(&vec![20; 40 + round * 300]);
        let claims: Vec<_> = (batch.first..scribe.size()).map(|at| (id(at), at)).collect();
        for (id, _) in &claims {
            assert_eq!(harness.writer().lookup(*id).unwrap(), []);
        }
        harness.writer().claim(&claims, scribe.size());
        let writer = harness.writer();
        // Where others append too, an id is found when its entry is durable.
        if !writer.shared() {
            (0..scribe.size()).for_each(|at| check_id(writer, at));
            check_ids(writer, &scribe);
            for (id, at) in &claims {
                assert!(writer.lookup_recent(*id, token).unwrap().contains(&LeafIndex(*at)));
            }
        }
        writer.append(&batch).unwrap();
        sides(harness, |reader| check_ids(reader, &scribe));
        let head = checkpoint(harness, &scribe, None);
        while harness.writer().tend(head.size).unwrap() {}
        for (id, at) in &claims {
            assert!(harness.writer().lookup_recent(*id, token).unwrap().contains(&LeafIndex(*at)));
        }
        let leaving = if round % 2 == 0 { Leaving::Closed } else { Leaving::Dropped };
        harness.reopen(&head, leaving);
        sides(harness, |reader| check_ids(reader, &scribe));
        (0..scribe.size()).for_each(|at| check_id(harness.writer(), at));
    }
}

fn attachments_are_kept_by_their_content(harness: &mut dyn Harness) {
    let contents = [vec![], b"text".to_vec(), vec![0; 300_000], b"text".to_vec()];
    let digest = |content: &[u8]| <[u8; 32]>::from(Sha256::digest(content));
    let check = |harness: &dyn Harness| {
        sides(harness, |reader| {
            for content in &contents {
                assert!(reader.attachment(&digest(content)).unwrap().as_ref() == Some(content));
                assert_eq!(reader.attachment_size(&digest(content)).unwrap(), Some(content.len() as u64));
            }
            assert_eq!(reader.attachment(&[9; 32]).unwrap(), None);
            assert_eq!(reader.attachment_size(&[9; 32]).unwrap(), None);
        });
    };
    for content in &contents {
        assert_eq!(harness.writer().put_attachment(content).unwrap(), digest(content));
    }
    check(harness);
    harness.reopen(&Scribe::default().head(0), Leaving::Dropped);
    check(harness);
}

fn bounded_acknowledgements_leave_a_mark(harness: &mut dyn Harness) {
    let head = Scribe::default().head(0);
    for (mark, leaving, bounded) in [
        (true, Leaving::Closed, false),
        (false, Leaving::Dropped, false),
        (true, Leaving::Dropped, true),
        // What the writer before left is known to this one; its own clean end takes it away.
        (false, Leaving::Dropped, true),
        (true, Leaving::Dropped, true),
        (false, Leaving::Closed, false),
        (false, Leaving::Dropped, false),
    ] {
        if mark {
            harness.writer().mark_bounded().unwrap();
            harness.writer().mark_bounded().unwrap();
        }
        assert_eq!(harness.reopen(&head, leaving).bounded, bounded, "{mark} {leaving:?}");
    }
}

fn tending_changes_no_byte(harness: &mut dyn Harness) {
    let beside = harness.reader();
    let mut scribe = Scribe::default();
    let mut head = scribe.head(0);
    for round in 0..4_usize {
        for sizes in sizes() {
            append(harness, &mut scribe, &sizes);
        }
        check_scan(&*beside, &scribe);
        let runs = beside.runs().unwrap();
        let anchored = head.size;
        // First below an older checkpoint, then below this one.
        while harness.writer().tend(anchored).unwrap() {}
        check_all(&*beside, &scribe);
        head = checkpoint(harness, &scribe, Some(round as u64 + 1));
        while harness.writer().tend(head.size).unwrap() {}
        for reader in [&*beside, harness.writer(), &*harness.reader()] {
            check_all(reader, &scribe);
            check_scan(reader, &scribe);
            (0..scribe.size()).step_by(13).for_each(|at| check_entry(reader, &scribe, at));
        }
        // A scan that was under way goes on.
        let seen = runs.iter().flat_map(|run| {
            let pieces = beside.pieces(run).unwrap();
            pieces.into_iter().map(|piece| beside.read_piece(run, &piece).unwrap()).collect::<Vec<_>>()
        });
        let seen: usize = seen.map(|bytes| bytes.len()).sum();
        assert_eq!(seen, scribe.lines.iter().map(Vec::len).sum::<usize>());
        let leaving = if round % 2 == 0 { Leaving::Dropped } else { Leaving::Closed };
        assert_eq!(harness.reopen(&head, leaving).size, head.size);
        sides(harness, |reader| {
            check_all(reader, &scribe);
            check_scan(reader, &scribe);
        });
    }
    sides(harness, |reader| check_ids(reader, &scribe));
}

fn a_log_goes_on_where_it_ended(harness: &mut dyn Harness) {
    let mut scribe = Scribe::default();
    let mut head = scribe.head(0);
    for round in 0..24_u64 {
        append(harness, &mut scribe, &vec![20; 1 + index(round * 31 % 64)]);
        append(harness, &mut scribe, &[3000; 3]);
        if round % 3 == 0 {
            head = checkpoint(harness, &scribe, None);
            append(harness, &mut scribe, &[64_000, 20]);
        }
        let closing = round % 4 == 3;
        if closing {
            head = checkpoint(harness, &scribe, None);
        }
        let found = harness.reopen(&head, if closing { Leaving::Closed } else { Leaving::Dropped });
        assert_eq!(found, Found { size: TreeSize(scribe.size()), bounded: false });
        assert_eq!(harness.writer().tree_size().unwrap(), head.size);
        sides(harness, |reader| {
            check_all(reader, &scribe);
            check_scan(reader, &scribe);
            check_ids(reader, &scribe);
        });
    }
    let size = scribe.size();
    extend(harness, &scribe, size);
    sides(harness, |reader| check_tree(reader, &scribe, size));
}

fn many_read_while_one_appends(harness: &mut dyn Harness) {
    const ROUNDS: usize = 60;
    let mut scribe = Scribe::default();
    let batches: Vec<Batch> = (0..ROUNDS).map(|round| scribe.batch(&vec![20 + round * 10; 1 + round % 40])).collect();
    let done = AtomicBool::new(false);
    let (mine, scribe, done) = (harness.writer(), &scribe, &done);
    let beside: Vec<Arc<dyn Reader>> = (0..4).map(|_| harness.reader()).collect();
    thread::scope(|scope| {
        let own: Vec<&dyn Reader> = (0..4).map(|_| mine as &dyn Reader).collect();
        for (seed, reader) in beside.iter().map(|reader| &**reader).chain(own).enumerate() {
            scope.spawn(move || read_until(reader, scribe, seed as u64, done));
        }
        // Also where an assertion fails: the others are not to wait for ever.
        let _done = Done(done);
        for (round, batch) in batches.iter().enumerate() {
            mine.append(batch).unwrap();
            if round % 7 == 6 {
                let size = batch.first + batch.entries.len() as u64;
                let from = mine.tree_size().unwrap().0;
                let lines = scribe.lines[index(from)..index(size)].concat();
                let chunk = Chunk { first: from, bytes: lines };
                mine.extend_tree(&scribe.leaves[index(from)..index(size)], &chunk).unwrap();
                mine.sync_tree().unwrap();
                while mine.tend(TreeSize(size)).unwrap() {}
            }
        }
    });
    sides(harness, |reader| check_all(reader, scribe));
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn read_until(reader: &dyn Reader, scribe: &Scribe, seed: u64, done: &AtomicBool) {
    let mut random = crate::fault::Random::new(seed);
    let mut known = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        let size = reader.size().unwrap().0;
        assert!(size >= known, "the size fell from {known} to {size}");
        known = size;
        if size > 0 {
            let at = random.below(size);
            check_chunk(reader, scribe, at, [0, 5000, 1 << 20][random.index(3)]);
            check_chunk(reader, scribe, size - 1, 0);
        }
        if random.below(8) == 0 {
            let covered = reader.tree_size().unwrap().0;
            if covered > 0 {
                let at = random.below(covered);
                assert_eq!(reader.hashes(0, at, 1).unwrap(), [scribe.leaves[index(at)]]);
            }
        }
        if last {
            return;
        }
    }
}

fn a_batch_too_large_is_refused(harness: &mut dyn Harness) {
    let mut scribe = fill(harness, &[vec![20; 3]]);
    let bytes = vec![b'x'; MAX_BATCH_BYTES + 1];
    let batch = Batch {
        first: 3,
        recorded_at: indelible_core::time::Micros(0),
        names: None,
        keys: None,
        bytes,
        entries: Vec::new(),
    };
    assert!(matches!(harness.writer().append(&batch), Err(StoreError::Limit { .. })));
    // That was the caller's mistake, and the log goes on.
    append(harness, &mut scribe, &[20]);
    sides(harness, |reader| check_all(reader, &scribe));
}

fn a_turn_ends_with_its_batch_or_leaves_nothing(harness: &mut dyn Harness) {
    let mut scribe = fill(harness, &[vec![20; 3]]);
    let writer = harness.writer();
    if !writer.shared() {
        assert!(matches!(writer.take_turn(&[]), Err(error) if matches!(error.error, StoreError::Apart { .. })));
        return;
    }
    let mut turn = writer.take_turn(&[]).unwrap();
    let ends: Vec<_> = turn.ends().iter().map(|end| (end.size, end.last_leaf)).collect();
    assert_eq!(ends, [(TreeSize(3), scribe.leaves[2])]);
    let found = turn.lookup(&[(0, id(2)), (0, id(100)), (0, id(0))]).unwrap();
    assert_eq!(found, [vec![LeafIndex(2)], vec![], vec![LeafIndex(0)]]);
    // Given back by going, and nothing is there that was not before.
    drop(turn);
    let nothing = Batch { bytes: Vec::new(), entries: Vec::new(), ..scribe.clone().batch(&[20]) };
    writer.take_turn(&[]).unwrap().append(&[&nothing]).unwrap();
    // Out of its place: that is evidence, about this log, and the log goes on.
    let mut ahead = scribe.clone();
    ahead.batch(&[20]);
    let error = writer.take_turn(&[]).unwrap().append(&[&ahead.batch(&[20])]).unwrap_err();
    assert!(matches!((error.log, &error.error), (Some(0), StoreError::Evidence { index: 3, .. })), "{error:?}");
    writer.take_turn(&[]).unwrap().append(&[&scribe.batch(&[20, 3000])]).unwrap();
    append(harness, &mut scribe, &[20]);
    sides(harness, |reader| check_all(reader, &scribe));
}
