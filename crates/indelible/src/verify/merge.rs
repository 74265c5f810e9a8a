//! The part of a verification that needs order: which index is next, does the chain hold, what do the roots say, and so: which entry is wrong.
//!
//! Two frontiers are folded: that of the *entries* as they stand, and that of the *stored* leaf hashes (`tree/0`). They are one until the
//! first difference. INVARIANT(located): at each anchor exactly one of three holds. The entries give the signed root: then differing stored hashes
//! are damage. The stored hashes give it: then the differing entries are tampered, each by its index. Neither does: then
//! everything that differs is told, with the range between the anchors. After the first two both go on from the proven one.

use std::collections::{BTreeMap, BTreeSet};

use indelible_core::{
    control::{Control, Excuse},
    entry, hex,
    mac::LogId,
    tile::level_len,
    tree::{Frontier, Hash, TreeSize},
};
use indelible_store::store::{BATCH_START, Reader, Run, StoreError, Summed};
use sha2::{Digest as _, Sha256};

use super::{
    anchors::{Anchors, Source, finding, short, wrong_type},
    keyed::{Authority, Keyed, Secrets},
    loose::{Doubts, Loose, Named, Torn},
    piece::{Expect, Notable, Seen, SeenEntry, SeenPiece},
    report::{Finding, Kind, Remark, Report, Verdict},
    window::{LEVEL_WINDOW, WINDOW, Window},
};

/// What the merge is made with.
pub(super) struct Setup<'a> {
    pub(super) store: &'a dyn Reader,
    pub(super) anchors: Anchors<'a>,
    pub(super) expect: &'a Expect,
    pub(super) secrets: Secrets<'a>,
    pub(super) origin: String,
    pub(super) log_id: LogId,
    pub(super) macs: bool,
    pub(super) receipts: BTreeMap<u64, Vec<entry::WireReceipt>>,
    pub(super) frontier: Frontier,
    pub(super) last_leaf: Hash,
    /// Index from which entries are read.
    pub(super) from: u64,
    /// Entries below this are known to have been durable: by `durable`, or by the newest own checkpoint.
    pub(super) settled: u64,
    /// The largest size that a checkpoint vouches for.
    pub(super) vouched: u64,
}

/// What a store says of its own end.
#[derive(Clone, Copy)]
pub(super) struct Durable {
    /// Entries that were synced.
    pub(super) size: u64,
    /// Leaf hash of the last of them, where the store keeps it beside the size.
    pub(super) last_leaf: Option<Hash>,
}

/// The state of a scan.
pub(super) struct Merger<'a> {
    pub(super) setup: Setup<'a>,
    pub(super) report: &'a mut Report,
    pub(super) expected: u64,
    last_leaf: Hash,
    /// Whether the entry before was found in order, so that a broken link is this one's.
    last_good: bool,
    batch: Option<u64>,
    position: Option<u64>,
    /// Where the run before ends, by the word of a store of rows.
    run_end: Option<u64>,
    /// How often the store was asked again where rows stand.
    asked_again: u32,
    entries: Frontier,
    stored: Option<Frontier>,
    pub(super) tree_size: u64,
    leaves: Window<Hash>,
    positions: Window<u64>,
    /// Hashes of levels 1 and up that the stored ones are compared with.
    levels: Vec<(u8, u64, Hash)>,
    /// The stored ones, by their level.
    stored_levels: BTreeMap<u8, Window<Hash>>,
    level_faults: BTreeSet<u8>,
    offsets_faulty: bool,
    loose: Loose,
    /// Entries whose leaf hash differs from the stored one, since the last anchor that decided.
    differing: Doubts,
    /// Entries that continue the stored hash before them, not the entry before them: whose fault that is the next anchor decides.
    unlinked: Doubts,
    /// The stored leaf hash of the entry before.
    last_stored: Option<Hash>,
    /// Whether an anchor could not be met by either frontier.
    pub(super) broken: bool,
    last_anchor: u64,
    /// Ranges whose bodies are absent as whole runs.
    pub(super) absent: Vec<(u64, u64)>,
    missing: BTreeSet<u64>,
    excuses: Vec<Excused>,
    /// Whether none of them counts.
    excuses_nothing: bool,
    /// Index below which records excuse an absence: a checkpoint that counts covers them.
    pub(super) excused: u64,
    /// Whether stored hashes of the tree were found wrong.
    pub(super) tree_damaged: bool,
    /// What has to do with the log's keys.
    pub(super) keyed: Keyed,
    reported: BTreeSet<u64>,
    /// `None` once bodies are absent: the index still has their ids, and nothing is left to compare those with.
    pub(super) ids: Option<[u64; 4]>,
    pub(super) last_time: Option<String>,
    pub(super) entries_seen: u64,
    /// Over the entries that were found in their places.
    summed: Summed,
    /// Whether the entry that an earlier verification ended with still stands.
    resumed: bool,
    /// Receipts that say something else than the log, and what, until it is clear which keys were in force where.
    pub(super) contradicting: Vec<(entry::WireReceipt, String)>,
    /// What is to be said of the first receipt that a key signed which was not in force there.
    pub(super) refused_receipt: Option<String>,
    /// Whether an entry from there on was met.
    begun: bool,
    /// The state at the last own checkpoint that was met.
    pub(super) met: Option<Met>,
}

/// An authorised record about what is absent.
struct Excused {
    at: u64,
    kind: &'static str,
    excuse: Excuse,
    /// Why it does not count, once that was looked at.
    fault: Option<&'static str>,
}

impl Excused {
    fn is_about(&self, index: u64) -> bool {
        (self.excuse.first..=self.excuse.last).contains(&index)
    }
}

/// Where a later verification can go on: proven by a checkpoint.
pub(super) struct Met {
    pub(super) frontier: Frontier,
    pub(super) last_leaf: Hash,
    pub(super) kept: u64,
}

/// Ranges of missing lines that are remembered one by one, to tell *moved* from *missing*.
const MAX_MISSING: usize = 10_000;
/// Missing lines of all ranges together that are remembered one by one.
const MAX_ALL_MISSING: usize = 1_000_000;
/// Entries in a row that have neither a line nor a hash and are folded all the same.
const MAX_UNKNOWN: u32 = 10_000;
/// Hashes above the leaves that wait to be compared with the stored ones.
const MAX_LEVELS: usize = 4096;
/// Gaps for which a store of rows is asked once more: a pruning takes bodies away in pieces, and who deletes every other row may have us ask no more than this.
const MAX_ASKED: u32 = 1_000;

/// Whether a record of absence can be one: of entries before it, with a hash.
fn is_over_entries_before(excuse: &Excuse, index: u64) -> bool {
    excuse.first <= excuse.last && excuse.last < index && Hash::from_hex(excuse.leaf_root.as_bytes()).is_some()
}

/// What lies between runs by the word of a store of rows: first index, and the one behind the last.
pub(super) fn absent(runs: &[Run]) -> Vec<(u64, u64)> {
    let between = runs.windows(2).filter_map(|pair| match pair {
        [one, next] => Some((one.end?, next.first)),
        _ => None,
    });
    between.filter(|(end, first)| end < first).collect()
}

impl<'a> Merger<'a> {
    pub(super) fn new(setup: Setup<'a>, report: &'a mut Report, tree_size: u64) -> Self {
        let keyed = Keyed::from(setup.from);
        Self {
            expected: setup.from,
            last_leaf: setup.last_leaf,
            last_good: true,
            batch: None,
            position: (setup.from == 0).then_some(0),
            run_end: None,
            asked_again: 0,
            entries: setup.frontier.clone(),
            last_anchor: setup.from,
            setup,
            report,
            stored: None,
            tree_size,
            leaves: Window::of(WINDOW),
            positions: Window::of(WINDOW),
            levels: Vec::new(),
            stored_levels: BTreeMap::new(),
            level_faults: BTreeSet::new(),
            offsets_faulty: false,
            loose: Loose::default(),
            differing: Doubts::default(),
            unlinked: Doubts::default(),
            last_stored: None,
            broken: false,
            absent: Vec::new(),
            missing: BTreeSet::new(),
            excuses: Vec::new(),
            excuses_nothing: false,
            excused: 0,
            tree_damaged: false,
            keyed,
            reported: BTreeSet::new(),
            ids: Some([0; 4]),
            last_time: None,
            entries_seen: 0,
            summed: Summed::default(),
            resumed: false,
            contradicting: Vec::new(),
            refused_receipt: None,
            begun: false,
            met: None,
        }
    }

    pub(super) fn stored_leaf(&mut self, index: u64) -> Result<Option<Hash>, StoreError> {
        let (store, end) = (self.setup.store, self.tree_size);
        self.leaves.get(index, end, |first, count| store.hashes(0, first, count))
    }

    fn stored_position(&mut self, index: u64) -> Result<Option<u64>, StoreError> {
        let (store, end) = (self.setup.store, self.tree_size);
        self.positions.get(index, end, |first, count| Ok(store.positions(first, count)?.unwrap_or_default()))
    }

    pub(super) fn add(&mut self, finding: Finding) {
        // Only what is as grave may stand for a difference from the tree that is told later.
        if let Some(index) = finding.index.filter(|_| finding.kind.verdict() == Verdict::Tampered) {
            self.reported.insert(index);
            if self.reported.len() > MAX_MISSING {
                self.reported.pop_first();
            }
        }
        self.report.add(finding);
    }

    fn add_all(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.add(finding);
        }
    }

    /// A run begins.
    pub(super) fn begin_run(&mut self, run: &Run) -> Result<(), StoreError> {
        if let Some(end) = std::mem::replace(&mut self.run_end, run.end) {
            self.between_runs(end, run.first)?;
        }
        if run.first > self.expected && self.loose.is_empty() && run.first > self.setup.from {
            self.position = None;
        }
        if run.beyond > 0 {
            let detail = format!(
                "`{}` goes on for {} bytes beyond what a segment may hold; they were not read",
                run.place, run.beyond
            );
            self.add(finding(Kind::Changed, Some(run.first), detail));
        }
        Ok(())
    }

    /// In a store of rows, what lies between two runs is absent by its word; what lies before and is not there is missing.
    fn between_runs(&mut self, end: u64, next: u64) -> Result<(), StoreError> {
        if self.expected < end {
            self.skip_to(end, false)?;
        }
        // The entry that an earlier verification ended with may have been pruned since: its hash stands for it.
        if let Some(last) = self.setup.from.checked_sub(1).filter(|last| (end..next).contains(last)) {
            self.resumed |= self.stored_leaf(last)? == Some(self.setup.last_leaf);
        }
        Ok(())
    }

    /// Takes the lines of one piece. `opens`: it is the first piece of `run`.
    pub(super) fn take(&mut self, run: &Run, piece: &SeenPiece, opens: bool) -> Result<(), StoreError> {
        if piece.lines.is_empty() && opens && run.closed && run.first >= self.setup.from {
            self.position = None;
            self.loose.empty = Some(format!("`{}` is empty", run.place));
        }
        for (n, seen) in piece.lines.iter().enumerate() {
            self.line(run, piece, seen, opens && n == 0)?;
            if let Some(position) = &mut self.position {
                *position += seen.len as u64;
            }
        }
        for (sum, term) in self.ids.iter_mut().flatten().zip(piece.ids) {
            *sum = sum.wrapping_add(term);
        }
        if let Some(last) = piece.lines.last() {
            self.last_time = piece.name(last).1.or(self.last_time.take());
        }
        self.compare_levels()
    }

    /// A piece that could not be read.
    pub(super) fn unreadable(&mut self, detail: String) {
        self.position = None;
        let named = Named { id: None, recorded_at: None, kind: Kind::Changed, detail };
        self.loose.push(named, Torn::Never);
    }

    fn line(&mut self, run: &Run, piece: &SeenPiece, seen: &Seen, first_of_run: bool) -> Result<(), StoreError> {
        let again = self.look_again(piece, seen);
        let seen = again.as_ref().unwrap_or(seen);
        let Some(entry) = &seen.entry else {
            let (kind, detail) = seen.fault.as_deref().cloned().unwrap_or((Kind::Changed, String::new()));
            let (id, recorded_at) = piece.name(seen);
            self.loose.push(Named { id, recorded_at, kind, detail }, Torn::Perhaps);
            self.loose.more += seen.more;
            return Ok(());
        };
        if entry.index < self.setup.from && !self.begun {
            self.loose = Loose::default();
            self.resumed |= entry.index + 1 == self.setup.from && entry.leaf == self.setup.last_leaf;
            return Ok(());
        }
        if entry.index == self.expected {
            if first_of_run && run.first != entry.index && run.first >= self.setup.from {
                let detail = format!("`{}` begins with entry {}", run.place, entry.index);
                self.add(finding(Kind::Reordered, Some(entry.index), detail));
            }
            if self.lost_a_page(piece, seen, entry) {
                let (id, recorded_at) = piece.name(seen);
                let detail = "it has a zero byte, which no line has".to_owned();
                self.loose.push(Named { id, recorded_at, kind: Kind::Changed, detail }, Torn::Perhaps);
                return Ok(());
            }
            self.flush_loose(self.expected);
            return self.accept(piece, seen, entry);
        }
        // Elsewhere than expected: believed only where the entry is proven to be what it says.
        let proven = match self.setup.macs && self.can_check(seen, entry) {
            true => entry.signed,
            // Whatever the stored tree says: it is as long as somebody made it.
            false if entry.index < self.setup.vouched => self.stored_leaf(entry.index)? == Some(entry.leaf),
            // Nobody vouches yet for the first entry behind the newest checkpoint. A file that begins with it and goes on from the last one that is vouched for begins in its place.
            false => {
                let begins = first_of_run && run.first == entry.index && entry.index == self.setup.vouched;
                begins && self.stored_leaf(entry.index.saturating_sub(1))? == Some(entry.prev)
            }
        };
        let (id, recorded_at) = piece.name(seen);
        // Behind what was synced, pages of one write may be lost in any order: lines of the same batch further on prove nothing.
        let torn = self.expected >= self.setup.settled && entry.batch <= self.expected;
        // A later batch is written when the one before is synced, and so is a file: no torn write leaves such a line, whoever signed it.
        let later = entry.index > self.expected && (entry.batch > self.expected || run.first > self.expected);
        let left_by = if later { Torn::Never } else { Torn::Perhaps };
        if proven && torn && entry.index > self.expected {
            let detail = format!("entry {} of the same batch stands behind a hole", entry.index);
            let named = Named { id, recorded_at, kind: Kind::Changed, detail };
            self.loose.push(named, left_by);
            return Ok(());
        }
        if !proven {
            let detail = match seen.fault.as_deref() {
                Some((_, detail)) => format!("it says that it is entry {}; {detail}", entry.index),
                None => format!("it says that it is entry {}", entry.index),
            };
            let kind = seen.fault.as_deref().map_or(Kind::Changed, |(kind, _)| match kind {
                Kind::Signature => Kind::Changed,
                kind => *kind,
            });
            self.loose.push(Named { id, recorded_at, kind, detail }, left_by);
            return Ok(());
        }
        if entry.index < self.expected {
            let moved = self.missing.remove(&entry.index);
            let kind = if moved { Kind::Reordered } else { Kind::Inserted };
            let what = if moved { "stands behind its place" } else { "stands here a second time" };
            let detail = format!("entry {} {what}, before entry {}", entry.index, self.expected);
            let found = Finding { id, recorded_at, ..finding(kind, Some(entry.index), detail) };
            self.add(found);
            return Ok(());
        }
        // A batch never spans two files: what is gone from the middle of one was cut out of a file that is there.
        let whole_run = first_of_run
            && run.first == entry.index
            && self.loose.is_empty()
            && self.stored_position(self.expected)?.is_none_or(|position| position & BATCH_START != 0);
        self.skip_to(entry.index, whole_run)?;
        // What was absent is behind it now: a `keys` record in its place says more from here on.
        let again = self.look_again(piece, seen);
        let seen = again.as_ref().unwrap_or(seen);
        match &seen.entry {
            Some(entry) => self.accept(piece, seen, entry),
            None => Ok(()),
        }
    }

    /// Whether a line that stands where it is expected has lost a page in its middle: pages of one write are lost in any order and read as zeros, and its beginning and its end can be read then.
    /// Only behind what was synced. No line has a zero byte.
    fn lost_a_page(&self, piece: &SeenPiece, seen: &Seen, entry: &SeenEntry) -> bool {
        let line = piece.bytes.get(seen.start..seen.start + seen.len).unwrap_or_default();
        entry.index >= self.setup.settled && entry.batch <= entry.index && memchr::memchr(0, line).is_some()
    }

    /// Entries up to `index` have no line, or only loose ones.
    fn skip_to(&mut self, index: u64, whole_run: bool) -> Result<(), StoreError> {
        // What is pruned while it is read was there when the runs were told: the store is asked again.
        if !whole_run && self.run_end.is_some() && self.loose.is_empty() && self.asked_again < MAX_ASKED {
            self.asked_again += 1;
            for (first, behind) in absent(&self.setup.store.runs()?) {
                if first < index && self.expected < behind {
                    self.skip(first.max(self.expected), false)?;
                    self.skip(behind.min(index), true)?;
                }
            }
        }
        self.skip(index, whole_run)
    }

    fn skip(&mut self, index: u64, whole_run: bool) -> Result<(), StoreError> {
        if index <= self.expected {
            return Ok(());
        }
        if whole_run {
            self.absent.push((self.expected, index - 1));
            self.keyed.ever_absent = true;
            self.ids = None;
        } else {
            self.flush_loose(index);
        }
        self.setup.anchors.skipped();
        self.keyed.absent = true;
        self.keyed.skipped.add(self.expected, index);
        let mut unknown = 0;
        while self.expected < index {
            let at = self.expected;
            let stored = self.stored_leaf(at)?;
            unknown = if stored.is_some() { 0 } else { unknown + 1 };
            // Who writes indices near the largest does not decide how long this takes. Without a hash no root is met from here on, however many are folded.
            if unknown > MAX_UNKNOWN {
                self.expected = index;
                self.meet_anchors()?;
                break;
            }
            self.fold(stored.unwrap_or(Hash([0; 32])), stored);
            self.last_leaf = stored.unwrap_or(Hash([0; 32]));
            self.last_good = stored.is_some();
            if let Some(stored) = stored {
                self.check_receipts(at, &stored);
            }
            self.last_stored = stored;
            self.expected += 1;
            self.meet_anchors()?;
            if self.levels.len() >= MAX_LEVELS {
                self.compare_levels()?;
            }
        }
        self.batch = None;
        Ok(())
    }

    /// The loose lines, given that so many entries are missing. Only then an empty file is one of them.
    fn take_loose(&mut self, gap: u64) -> Loose {
        let mut loose = std::mem::take(&mut self.loose);
        if let Some(detail) = loose.empty.take().filter(|_| gap > 0) {
            let named = Named { id: None, recorded_at: None, kind: Kind::Changed, detail };
            loose.push(named, Torn::Never);
        }
        loose
    }

    /// Tells of the loose lines, given that the next line that was placed is entry `next`.
    fn flush_loose(&mut self, next: u64) {
        let gap = next - self.expected;
        let loose = self.take_loose(gap);
        let changed = gap.min(loose.len());
        if loose.more > 0 {
            let detail = format!("{} more lines before entry {next} cannot be read or do not belong", loose.more);
            self.add(finding(Kind::Changed, Some(next), detail));
        }
        for (n, named) in (0_u64..).zip(loose.kept) {
            let Named { id, recorded_at, kind, detail } = named;
            let found = if n < gap {
                Finding { id, recorded_at, ..finding(kind, Some(self.expected + n), detail) }
            } else {
                let kind = if kind == Kind::Unsigned { Kind::Unsigned } else { Kind::Inserted };
                let detail = format!("a line stands before entry {next} that does not belong: {detail}");
                Finding { id, recorded_at, ..finding(kind, Some(next), detail) }
            };
            self.add(found);
        }
        if gap > changed {
            let (first, last) = (self.expected + changed, next - 1);
            if last - first < MAX_MISSING as u64 && self.missing.len() < MAX_ALL_MISSING {
                self.missing.extend(first..=last);
            }
            let detail = match last - first {
                0 => format!("entry {first} has no line"),
                _ => format!("entries {first} to {last} have no line"),
            };
            let found = Finding { last: Some(last), ..finding(Kind::Missing, Some(first), detail) };
            self.add(found);
        }
    }

    fn accept(&mut self, piece: &SeenPiece, seen: &Seen, entry: &SeenEntry) -> Result<(), StoreError> {
        let index = entry.index;
        self.begun = true;
        let stored = self.stored_leaf(index)?;
        let named = |kind, detail| {
            let (id, recorded_at) = piece.name(seen);
            Finding { id, recorded_at, ..finding(kind, Some(index), detail) }
        };
        let mut good = true;
        if let Some((kind, detail)) =
            seen.fault.as_deref().filter(|fault| !self.may_be_introduced(piece, seen, index, fault))
        {
            good = *kind == Kind::Form;
            // A wrong signature over the bytes that the tree has is a wrong signature; otherwise the bytes are wrong.
            let kind = if *kind == Kind::Signature && stored != Some(entry.leaf) { Kind::Changed } else { *kind };
            self.add(named(kind, detail.clone()));
        }
        if good && self.last_good && entry.prev != self.last_leaf {
            let found = named(Kind::Changed, "it does not continue the chain from the entry before".to_owned());
            if self.last_stored == Some(entry.prev) {
                self.unlinked.push(found);
            } else {
                good = false;
                self.add(found);
            }
        }
        if let Some(stored) = stored.filter(|stored| *stored != entry.leaf) {
            let detail = format!("its leaf hash is {}, the stored tree has {}", short(&entry.leaf), short(&stored));
            let found = named(Kind::Changed, detail);
            self.differing.push(found);
        }
        self.check_line(piece, seen, entry)?;
        self.fold(entry.leaf, stored);
        // The chain goes on from what the next entry was built on: the true hash, where the tree has it.
        self.last_leaf = if good { entry.leaf } else { stored.unwrap_or(entry.leaf) };
        self.last_good = good;
        self.last_stored = stored;
        self.expected += 1;
        self.entries_seen += u64::from(good);
        self.summed.bytes += seen.len as u64;
        if let Some(notable) = &seen.notable {
            self.notable(index, good, notable)?;
        }
        self.check_receipts(index, &entry.leaf);
        self.meet_anchors()
    }

    /// Batch number and position: outside the signed bytes.
    fn check_line(&mut self, piece: &SeenPiece, seen: &Seen, entry: &SeenEntry) -> Result<(), StoreError> {
        let index = entry.index;
        if entry.batch != index && self.batch.is_some_and(|batch| batch != entry.batch) || entry.batch > index {
            let (id, recorded_at) = piece.name(seen);
            let detail =
                format!("its line says batch {}, which is neither its own nor that of the line before", entry.batch);
            self.add(Finding { id, recorded_at, ..finding(Kind::Changed, Some(index), detail) });
        }
        self.batch = Some(entry.batch);
        let (store, end) = (self.setup.store, self.tree_size);
        let stored =
            self.positions.get(index, end, |first, count| Ok(store.positions(first, count)?.unwrap_or_default()))?;
        let Some(stored) = stored else { return Ok(()) };
        let position = *self.position.get_or_insert(stored & !BATCH_START);
        let start = if entry.batch == index { BATCH_START } else { 0 };
        if stored != position | start && !self.offsets_faulty {
            self.offsets_faulty = true;
            self.add(finding(Kind::Derived, Some(index), format!("`offsets`: the position of entry {index} is wrong")));
        }
        Ok(())
    }

    fn fold(&mut self, leaf: Hash, stored: Option<Hash>) {
        if self.stored.is_none() && stored.is_some_and(|stored| stored != leaf) {
            self.stored = Some(self.entries.clone());
        }
        if let Some(frontier) = &mut self.stored {
            frontier.push(stored.unwrap_or(leaf));
        }
        let next = self.entries.size().0 + 1;
        let levels = &mut self.levels;
        self.entries.push_with(leaf, &mut |level, hash| {
            levels.push((level, level_len(TreeSize(next), level) - 1, hash));
        });
    }

    /// Compares what was folded with the stored levels above the leaves.
    fn compare_levels(&mut self) -> Result<(), StoreError> {
        let split = self.stored.is_some() || self.broken || self.entries.size().0 != self.expected;
        for (level, number, hash) in std::mem::take(&mut self.levels) {
            let (store, end) = (self.setup.store, level_len(TreeSize(self.tree_size), level));
            if split || number >= end || self.level_faults.contains(&level) {
                continue;
            }
            let window = self.stored_levels.entry(level).or_insert_with(|| Window::of(LEVEL_WINDOW));
            let stored = window.get(number, end, |first, count| match store.hashes(level, first, count) {
                // What is wrong further on is not this one's fault.
                Err(StoreError::Damaged { .. }) if count > 1 => store.hashes(level, first, 1),
                read => read,
            })?;
            if stored != Some(hash) {
                self.level_faults.insert(level);
                self.tree_damaged = true;
                let detail = format!("`tree/{level}`: hash {number} is not that of the 256 below it");
                self.add(finding(Kind::Derived, None, detail));
            }
        }
        Ok(())
    }

    fn notable(&mut self, index: u64, good: bool, notable: &Notable) -> Result<(), StoreError> {
        if let Some(head) = notable.head.filter(|_| good) {
            self.summed.named = head.number;
            let mut findings = Vec::new();
            self.setup.anchors.ask_again();
            self.setup.anchors.advance(self.expected, &mut findings)?;
            self.setup.anchors.named(index, head, &mut findings);
            // A name moves on past a checkpoint that is missing: the next one may stand right here.
            self.setup.anchors.ask_again();
            self.add_all(findings);
        }
        if let Some(control) = &notable.control {
            self.control(index, control);
        }
        for (digest, size) in &notable.attachments {
            self.attachment(index, digest, *size)?;
        }
        Ok(())
    }

    fn control(&mut self, index: u64, control: &Control) {
        let mut remark = |kind, detail: String| self.report.remark(Remark { kind, index: Some(index), detail });
        match control {
            Control::LogCreated(_) if index > 0 => {
                self.add(finding(Kind::Changed, Some(index), "it creates the log anew".to_owned()));
            }
            Control::LogCreated(created) => self.created(created),
            Control::ClockStep { from, to, .. } => remark("clock_step", format!("the clock went from {from} to {to}")),
            Control::Recovered { cut_bytes, aside, .. } => {
                remark("recovered", format!("{cut_bytes} bytes of a torn write were cut and kept as `aside/{aside}`"));
            }
            Control::BoundedGap { since } => {
                remark("bounded_gap", format!("bounded events promised before entry {since} may be missing"));
            }
            Control::Gap { count, reason, .. } => {
                let events = if *count == 1 { "event" } else { "events" };
                remark("gap", format!("a caller dropped {count} {events}: {reason}"));
            }
            Control::Keys(record) => self.keys_record(index, record),
            Control::Resigned(resigned) => self.resigned(index, control, resigned),
            Control::Explained(excuse) => self.excuse(index, control, "explained", excuse),
            Control::Pruned(excuse) => self.excuse(index, control, "pruned", excuse),
        }
    }

    /// Entries are absent that may have replaced the keys by which records excuse it: none of them counts.
    pub(super) fn excuse_nothing(&mut self) {
        self.excuses_nothing = true;
    }

    fn excuse(&mut self, index: u64, control: &Control, kind: &'static str, excuse: &Excuse) {
        let what = format!("it says that entries {} to {} are {kind}", excuse.first, excuse.last);
        match self.authority(index, control) {
            Authority::Held if !is_over_entries_before(excuse, index) => {
                let detail = format!("{what}: these do not lie before it, or its `leaf_root` is no hash");
                self.add(finding(Kind::UnauthorisedControl, Some(index), detail));
            }
            Authority::Held => self.excuses.push(Excused { at: index, kind, excuse: excuse.clone(), fault: None }),
            Authority::Unknown(error) => self.keyed.doubtful.record(index, what, error.to_string()),
            Authority::Lacking(error) => {
                let detail = format!("{what}: {error}");
                self.add(finding(Kind::UnauthorisedControl, Some(index), detail));
            }
        }
    }

    fn attachment(&mut self, index: u64, digest: &str, size: u64) -> Result<(), StoreError> {
        let Some(hash) = digest.strip_prefix("sha256:").and_then(|text| hex::decode::<32>(text.as_bytes())) else {
            return Ok(());
        };
        let stored = match self.setup.store.attachment(&hash) {
            Err(error) => Err(wrong_type(&error).ok_or(error)?),
            Ok(stored) => Ok(stored),
        };
        let fault = match stored.as_ref().map(Option::as_ref) {
            Err(fault) => Some(format!("cannot be read: {fault}")),
            Ok(content) => match content {
                None => Some("is missing".to_owned()),
                Some(content) if Sha256::digest(content).as_slice() != hash => Some("was changed".to_owned()),
                Some(content) if content.len() as u64 != size => {
                    Some(format!("has {} bytes, the entry says {size}", content.len()))
                }
                Some(_) => None,
            },
        };
        if let Some(fault) = fault {
            self.add(finding(Kind::Attachment, Some(index), format!("its attachment {digest} {fault}")));
        }
        Ok(())
    }

    fn check_receipts(&mut self, index: u64, leaf: &Hash) {
        for receipt in self.setup.receipts.remove(&index).unwrap_or_default() {
            if receipt.leaf_hash != leaf.to_hex() {
                let detail = format!(
                    "a receipt for it names leaf hash {}, the log has {}",
                    receipt.leaf_hash.get(..16).unwrap_or_default(),
                    short(leaf)
                );
                self.contradicting.push((receipt, detail));
            }
        }
    }

    /// Goes on from where an earlier verification ended: a checkpoint of just that size may have been kept since.
    pub(super) fn resume(&mut self) -> Result<(), StoreError> {
        if self.setup.from > 0 { self.meet_anchors() } else { Ok(()) }
    }

    /// Compares roots where the tree has an anchor's size.
    fn meet_anchors(&mut self) -> Result<(), StoreError> {
        let mut findings = Vec::new();
        self.setup.anchors.advance(self.expected, &mut findings)?;
        self.add_all(findings);
        if self.setup.anchors.next_size().is_none_or(|size| size > self.expected) {
            return Ok(());
        }
        for anchor in self.setup.anchors.take(self.expected) {
            // Where hashes are missing, a frontier is of fewer entries than were passed.
            let gives =
                |frontier: &Frontier| frontier.size() == anchor.head.size && frontier.root() == anchor.head.root;
            let (entries, stored) = (gives(&self.entries), self.stored.as_ref().is_some_and(gives));
            match (anchor.source, entries, stored) {
                (_, true, _) => self.entries_proven(),
                (_, false, true) => self.stored_proven(),
                (Source::Given, false, false) => self.diverged(anchor.head.size.0),
                (source, false, false) => self.unmet(source),
            }
            self.last_anchor = self.expected;
            if entries && anchor.source != Source::Given {
                let kept = self.setup.anchors.kept_verified();
                self.met = Some(Met { frontier: self.entries.clone(), last_leaf: self.last_leaf, kept });
            }
        }
        Ok(())
    }

    fn entries_proven(&mut self) {
        self.tell_unlinked();
        self.tree_damaged |= !self.differing.kept.is_empty();
        for found in self.take_differing() {
            let index = found.index.unwrap_or_default();
            self.add(finding(Kind::Derived, Some(index), format!("`tree/0`: the hash of entry {index} is wrong")));
        }
        self.stored = None;
    }

    fn stored_proven(&mut self) {
        // The entry before them was changed, they were not.
        self.unlinked = Doubts::default();
        for found in self.take_differing() {
            if !found.index.is_some_and(|index| self.reported.contains(&index)) {
                self.add(found);
            }
        }
        if let Some(stored) = self.stored.take() {
            self.entries = stored;
        }
    }

    fn tell_unlinked(&mut self) {
        let Doubts { kept, more } = std::mem::take(&mut self.unlinked);
        self.add_all(kept);
        self.report.more_findings += more;
    }

    /// What differs, to be told one way or the other. Those that are only counted are told as so many more.
    fn take_differing(&mut self) -> Vec<Finding> {
        let Doubts { kept, more } = std::mem::take(&mut self.differing);
        self.report.more_findings += more;
        kept
    }

    fn diverged(&mut self, size: u64) {
        let detail = format!("the checkpoint that was given has another root at size {size} than this log");
        let kind = if self.broken { Kind::CheckpointMismatch } else { Kind::DivergedCheckpoint };
        self.add(Finding { last: Some(size.saturating_sub(1)), ..finding(kind, Some(self.last_anchor), detail) });
    }

    fn unmet(&mut self, source: Source) {
        self.tell_unlinked();
        for found in self.take_differing() {
            if !found.index.is_some_and(|index| self.reported.contains(&index)) {
                self.add(found);
            }
        }
        if self.broken {
            return;
        }
        self.broken = true;
        let (first, last) = (self.last_anchor, self.expected.saturating_sub(1));
        let detail = format!("entries {first} to {last} are not those that {} covers", source.describe());
        self.add(Finding { last: Some(last), ..finding(Kind::CheckpointMismatch, Some(first), detail) });
    }

    /// The last run has ended. `durable`: entries that were synced by the store's word, where no writer is at work; `known`: the largest own anchor.
    pub(super) fn finish(
        &mut self,
        durable: Option<Durable>,
        known: Option<(u64, Source)>,
        behind: Option<u64>,
    ) -> Result<(), StoreError> {
        if known.is_none() && self.never_signed() {
            return Ok(());
        }
        if self.setup.from > 0 && !self.resumed {
            let last = self.setup.from - 1;
            let detail = format!("entry {last}, with which the last verification ended, is not there as it was");
            self.add(finding(Kind::RolledBack, Some(last), detail));
        }
        // A size whose last entry is the one found last is itself what is wrong; the check of the derived data tells it.
        let durable = durable.filter(|durable| durable.last_leaf != Some(self.last_leaf));
        if durable.is_some_and(|durable| durable.last_leaf.is_some() && durable.size == self.expected) {
            let detail = format!(
                "the record of the log's end names another last entry than entry {}",
                self.expected.saturating_sub(1)
            );
            self.add(finding(Kind::Derived, None, detail));
        }
        let end = known.map_or(0, |(size, _)| size).max(durable.map_or(0, |durable| durable.size));
        if self.expected < end {
            self.cut_short(end, known, behind)?;
        } else {
            self.torn_tail();
        }
        self.compare_levels()?;
        let mut findings = Vec::new();
        self.setup.anchors.end();
        self.setup.anchors.advance(self.expected, &mut findings)?;
        self.add_all(findings);
        let remaining: Vec<_> = self.setup.anchors.remaining().copied().collect();
        for anchor in remaining {
            let (size, what) = (anchor.head.size.0, anchor.source.describe());
            if anchor.source == Source::Given || known.is_none_or(|(known, _)| size > known) {
                let detail = format!("{what} covers {size} entries, the log has {}", self.expected);
                let last = Some(size.saturating_sub(1));
                self.add(Finding { last, ..finding(Kind::RolledBack, Some(self.expected), detail) });
            }
        }
        self.judge_receipts();
        self.tell_unlinked();
        // Behind the last anchor no root decides: a signature did, where there is a key.
        for found in self.take_differing() {
            let index = found.index.unwrap_or_default();
            if self.reported.contains(&index) {
                continue;
            }
            let detail = format!("`tree/0`: the hash of entry {index} is wrong");
            self.add(if self.setup.macs { finding(Kind::Derived, Some(index), detail) } else { found });
        }
        for no_file in [self.leaves.no_file.take(), self.positions.no_file.take()].into_iter().flatten() {
            self.add(finding(Kind::Derived, None, no_file));
        }
        self.judge_absent()?;
        self.judge_keys(known.map_or(0, |(size, _)| size))
    }

    /// Lines without a signature, under no checkpoint: this was never a signed log, and nothing can be said of it.
    fn never_signed(&mut self) -> bool {
        let none = self.expected == 0 && !self.loose.is_empty() && !self.loose.other;
        if none {
            let detail =
                format!("none of its {} lines carries a signature: this is not a signed log", self.loose.len());
            self.loose = Loose::default();
            self.report.findings.retain(|finding| finding.kind != Kind::NoCheckpoint);
            self.add(finding(Kind::NoCheckpoint, None, detail));
        }
        none
    }

    fn cut_short(&mut self, end: u64, known: Option<(u64, Source)>, behind: Option<u64>) -> Result<(), StoreError> {
        let loose = self.loose.len() + u64::from(self.loose.empty.is_some());
        let first = self.expected + loose.min(end - self.expected);
        self.flush_loose_at_end(end);
        if first < end {
            let (anchored, source) = known.unwrap_or((0, Source::Published));
            let why = if end > anchored {
                format!("{end} were synced")
            } else {
                format!("{} covers {end}", source.describe())
            };
            let rolled = behind.is_some_and(|size| size <= first && end <= anchored);
            let kind = if rolled { Kind::RolledBack } else { Kind::Truncated };
            let ends = first
                .checked_sub(1)
                .map_or("the log holds no entries".to_owned(), |last| format!("the log ends with entry {last}"));
            let detail = format!("{ends}, {why}: entries {first} to {} are gone", end - 1);
            self.add(Finding { last: Some(end - 1), ..finding(kind, Some(first), detail) });
        }
        let anchored = known.map_or(0, |(size, _)| size).min(end);
        while self.expected < anchored {
            let Some(stored) = self.stored_leaf(self.expected)? else {
                self.broken = true;
                break;
            };
            self.fold(stored, Some(stored));
            self.expected += 1;
            self.meet_anchors()?;
        }
        Ok(())
    }

    fn flush_loose_at_end(&mut self, end: u64) {
        let loose = self.take_loose(end - self.expected);
        if loose.more > 0 {
            let detail = format!("{} more lines at the end of the log cannot be read", loose.more);
            self.add(finding(Kind::Changed, Some(self.expected), detail));
        }
        for (index, named) in (self.expected..end).zip(loose.kept) {
            let Named { id, recorded_at, kind, detail } = named;
            self.add(Finding { id, recorded_at, ..finding(kind, Some(index), detail) });
        }
    }

    /// Loose lines at the very end, behind everything that is known to have been durable: a torn write, unless signed lines are among them.
    fn torn_tail(&mut self) {
        let loose = self.take_loose(0);
        if loose.is_empty() {
            return;
        }
        if loose.whole {
            let index = self.expected;
            for named in loose.kept {
                let Named { id, recorded_at, kind, detail } = named;
                self.add(Finding { id, recorded_at, ..finding(kind, Some(index), detail) });
            }
            return;
        }
        let detail = format!(
            "{} lines of a torn write that nobody was told about; opening the log cuts them and keeps them aside",
            loose.len()
        );
        self.report.remark(Remark { kind: "torn_tail", index: Some(self.expected), detail });
    }

    fn judge_absent(&mut self) -> Result<(), StoreError> {
        self.judge_excuses()?;
        for (first, last) in std::mem::take(&mut self.absent) {
            let mut next = first;
            // Records add up: each covers a part from its beginning on.
            while next <= last {
                let Some((until, remark)) = self.excuse_for(next, last) else { break };
                self.report.remark(remark);
                next = until + 1;
            }
            if next <= last && self.keyed.explained.is_some_and(|explained| explained <= next) {
                let detail = format!(
                    "the bodies of entries {next} to {last} are absent, and no checkpoint by known keys proves their hashes"
                );
                self.add(Finding { last: Some(last), ..finding(Kind::KeyMissing, Some(next), detail) });
            } else if next <= last {
                self.tell_absent(next, last);
            }
        }
        Ok(())
    }

    /// Which of the records about what is absent count. Each is held against the stored hashes once, however many parts of its range are absent.
    fn judge_excuses(&mut self) -> Result<(), StoreError> {
        let mut excuses = std::mem::take(&mut self.excuses);
        for excused in &mut excuses {
            let Excuse { first, last, .. } = excused.excuse;
            if self.absent.iter().any(|(from, until)| first <= *until && *from <= last) {
                excused.fault = self.does_not_count(excused.at, &excused.excuse)?;
            }
        }
        self.excuses = excuses;
        Ok(())
    }

    /// Why a record excuses nothing, if so.
    fn does_not_count(&self, at: u64, excuse: &Excuse) -> Result<Option<&'static str>, StoreError> {
        Ok(Some(if self.excuses_nothing {
            "entries are absent that may have replaced the key which authorised it"
        } else if self.broken {
            "the entries and hashes below it do not give the signed root"
        } else if at >= self.excused {
            "no checkpoint that counts here covers that entry"
        } else if excuse.last >= self.tree_size {
            "the hashes of what it is about are not all there, below a checkpoint"
        } else if self.leaf_root(excuse.first, excuse.last)?.to_hex() != excuse.leaf_root {
            "it is about other entries than these: its `leaf_root` is not that of the stored hashes"
        } else {
            return Ok(None);
        }))
    }

    /// Why nothing excuses that entry `next` is absent.
    fn unexcused(&self, next: u64) -> String {
        let about = self.excuses.iter().filter(|excused| excused.is_about(next));
        let mut told = about.filter_map(|Excused { at, kind, fault, .. }| {
            Some(format!("entry {at} says that they are {kind}, and does not count: {}", (*fault)?))
        });
        told.next().unwrap_or_else(|| "no authorised record excuses it".to_owned())
    }

    /// What is absent and has its hash below a checkpoint is a gap; where there is no hash, nothing says what was there.
    fn tell_absent(&mut self, first: u64, last: u64) {
        let end = self.tree_size.clamp(first, last + 1);
        if first < end {
            let (last, why) = (end - 1, self.unexcused(first));
            let detail = format!("the bodies of entries {first} to {last} are absent; their hashes are there; {why}");
            self.add(Finding { last: Some(last), ..finding(Kind::Absent, Some(first), detail) });
        }
        if end <= last {
            let detail =
                format!("entries {end} to {last} have no line, and no checkpoint covers a hash of what they were");
            self.add(Finding { last: Some(last), ..finding(Kind::Missing, Some(end), detail) });
        }
    }

    /// A record that excuses the absence of entry `next`: how far, up to `last`, and what to say of it.
    fn excuse_for(&self, next: u64, last: u64) -> Option<(u64, Remark)> {
        let Excused { at, kind, excuse, .. } =
            self.excuses.iter().find(|excused| excused.fault.is_none() && excused.is_about(next))?;
        let until = excuse.last.min(last);
        let detail = format!("entries {next} to {until} are {kind} by entry {at}: {}", excuse.reason);
        Some((until, Remark { kind, index: Some(next), detail }))
    }

    pub(super) fn leaf_root(&self, first: u64, last: u64) -> Result<Hash, StoreError> {
        let mut frontier = Frontier::new();
        let mut next = first;
        while next <= last {
            let count = usize::try_from(WINDOW.min(last - next + 1)).unwrap_or(0);
            for leaf in self.setup.store.hashes(0, next, count)? {
                frontier.push(leaf);
            }
            next += count as u64;
        }
        Ok(frontier.root())
    }

    /// What the next anchor decides on.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = &Finding> {
        self.differing.kept.iter().chain(&self.unlinked.kept)
    }

    /// What was added up, where every entry from 0 on was found in its place and nothing is wrong.
    pub(super) fn summed(&self) -> Option<Summed> {
        let all = self.setup.from == 0 && self.entries_seen == self.expected;
        (all && self.report.findings.is_empty()).then_some(self.summed)
    }

    pub(super) fn kept(&self) -> (u64, u64) {
        (self.setup.anchors.verified_kept, self.setup.anchors.kept_verified())
    }
}
