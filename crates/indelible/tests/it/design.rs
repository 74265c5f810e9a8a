//! What the design promises beyond the numbered attacks.

use std::path::Path;

use indelible::{
    KeyRing, Log, LogError,
    error::chain,
    verify::{Kind, Macs, Verdict, VerifyError},
};
use indelible_core::{
    control::{Control, Excuse},
    entry::BodyKind,
    head::file_name,
    note::NoteSigner as _,
    tree::{LeafIndex, range_root},
};
use indelible_store::{disk::OsDisk, fault::Fault, heads::FileHeads, heads::HeadStore as _};
use indelible_store_file::Settings;

use crate::{
    support::{
        forge::{appended, leaf_of, replace},
        sim::SimWorld,
    },
    world::{ORIGIN, World, check, copy_dir, event, events, options, overwrite, receipts, small_segments},
};

fn head_file(world: &World) -> std::path::PathBuf {
    world.keys.heads_dir().join(file_name(ORIGIN))
}

fn excuse(leaf_root: String, first: u64, last: u64) -> Excuse {
    Excuse { authorisation: None, first, last, leaf_root, reason: "forged".to_owned() }
}

/// A log of several closed segments, one of which is gone; `(first, last)` of what was in it.
fn with_a_segment_gone() -> (World, u64, u64) {
    let world = World::with_events(200, 5, small_segments());
    let dir = world.log_path().join("segments");
    let mut names: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let first_of = |name: &str| name[..20].parse::<u64>().unwrap();
    std::fs::remove_file(dir.join(&names[2])).unwrap();
    (world, first_of(&names[2]), first_of(&names[3]) - 1)
}

#[test]
fn a_forged_excuse_excuses_nothing_and_is_told() {
    for pruned in [true, false] {
        let (world, first, last) = with_a_segment_gone();
        world.expect(Verdict::Gap, Some(Kind::Absent), Some(first));
        let tree = std::fs::read(world.log_path().join("tree/0")).unwrap();
        let leaves: Vec<_> = tree.chunks(32).map(|hash| indelible_core::tree::Hash(hash.try_into().unwrap())).collect();
        let from = usize::try_from(first).unwrap();
        let root = range_root(&leaves[from..=usize::try_from(last).unwrap()]).to_hex();
        let other = KeyRing::load_or_create(&world.dir.path().join("other")).unwrap();
        let index = leaves.len() as u64;
        let bare = excuse(root, first, last);
        let record = if pruned { Control::Pruned(bare) } else { Control::Explained(bare) };
        let signed_by_another = record
            .clone()
            .authorise(world.log_id(), ORIGIN, LeafIndex(index), &other.checkpoint_signer(ORIGIN).unwrap())
            .unwrap();
        let signed_for_another_place = record
            .clone()
            .authorise(world.log_id(), ORIGIN, LeafIndex(index + 1), &world.keys.checkpoint_signer(ORIGIN).unwrap())
            .unwrap();
        let dir = world.log_path().join("segments");
        let active = crate::world::files(&dir).into_iter().rfind(|path| path.extension().unwrap() == "jsonl").unwrap();
        let before = std::fs::read(&active).unwrap();
        for forged in [record, signed_by_another, signed_for_another_place] {
            let mut lines: Vec<Vec<u8>> = vec![Vec::new(); leaves.len() - 1];
            lines.push(before.split_inclusive(|b| *b == b'\n').next_back().unwrap().to_vec());
            let line = appended(&lines, &world.stolen_entry_key(), BodyKind::Control, &forged.canonical().unwrap());
            overwrite(&active, &[&before[..], &line[..]].concat());
            let report = world.verify();
            check(&report, Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(index));
            check(&report, Verdict::Tampered, Some(Kind::Absent), Some(first));
            // No writer goes on behind it, though it has the entry key's signature, and none cuts it: it is evidence.
            let forged = std::fs::read(&active).unwrap();
            let refused = Log::open(&world.log_path(), world.ring(), small_segments());
            let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
            assert!(said.contains("may not say what it says") && said.contains("keys compromise"), "{said}");
            assert_eq!(std::fs::read(&active).unwrap(), forged);
        }
        overwrite(&active, &before);
        world.reopen_and(|log| log.append_json(&event(900)).unwrap());
        world.expect(Verdict::Gap, Some(Kind::Absent), Some(first));
    }
}

#[test]
fn a_truncation_together_with_the_matching_old_checkpoint_is_rolled_back() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..30)));
    log.keep_checkpoint().unwrap();
    let old = std::fs::read(world.log_path().join("checkpoint")).unwrap();
    let lines = world.lines().len();
    receipts(log.append_all(&events(30..60)));
    log.close().unwrap();
    drop(log);
    let all = world.lines();
    world.put_lines(&all[..lines]);
    overwrite(&world.log_path().join("checkpoint"), &old);
    std::fs::remove_file(world.log_path().join("checkpoints").join(format!("{:020}", 3))).unwrap();
    for (name, unit) in [("tree/0", 32), ("offsets", 8)] {
        let path = world.log_path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        overwrite(&path, &bytes[..lines * unit]);
    }
    let position = all[..lines].concat().len() as u64;
    let durable = indelible_store_file::layout::Durable { size: lines as u64, bytes: position, done: true };
    overwrite(&world.log_path().join("durable"), &durable.to_bytes());
    world.expect(Verdict::Tampered, Some(Kind::RolledBack), Some(lines as u64));
    let refused = Log::open(&world.log_path(), &world.keys, options());
    assert!(refused.is_err(), "a rolled-back log was opened for writing");
    world.expect(Verdict::Tampered, Some(Kind::RolledBack), Some(lines as u64));
}

#[test]
fn a_verifier_without_the_head_trusts_a_stale_checkpoint_and_one_that_remembers_does_not() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..30)));
    log.keep_checkpoint().unwrap();
    let copy = world.dir.path().join("copy");
    copy_dir(&world.log_path(), &copy);
    receipts(log.append_all(&events(30..60)));
    log.close().unwrap();
    drop(log);
    // The auditor verified the whole log once, and remembers its head.
    let remembered = FileHeads::new(OsDisk::shared(), &world.dir.path().join("auditor"));
    remembered.swap(ORIGIN, None, &world.heads().load(ORIGIN).unwrap().unwrap()).unwrap();
    let stranger = world
        .try_verify(&copy, |request| {
            request.ring = None;
            request.heads = None;
        })
        .unwrap();
    check(&stranger, Verdict::Intact, None, None);
    assert_eq!((stranger.tree_size, stranger.macs), (31, Macs::NotChecked));
    let auditor = world
        .try_verify(&copy, |request| {
            request.ring = None;
            request.heads = Some(&remembered);
            request.head_required = false;
        })
        .unwrap();
    check(&auditor, Verdict::Tampered, Some(Kind::RolledBack), Some(31));
}

#[test]
fn the_public_key_alone_locates_an_edit() {
    let world = World::with_events(50, 2, options());
    check(&world.verify_public(), Verdict::Intact, None, None);
    world.edit_line(20, |line| replace(line, "mara", "mary"));
    let report = world.verify_public();
    check(&report, Verdict::Tampered, Some(Kind::Changed), Some(20));
    assert_eq!(report.findings[0].id.as_deref(), Some("event-19"));
    assert_eq!(report.macs, Macs::NotChecked);
}

#[test]
fn a_kept_checkpoint_that_an_entry_cannot_know_is_told_and_costs_nothing() {
    let world = World::with_events(12, 4, options());
    let named = world.lines().iter().position(|line| String::from_utf8_lossy(line).contains(r#""head":{"number":2,"#));
    let named = named.unwrap();
    // Sixteen digits are what a line may have.
    world.edit_line(named, |line| replace(line, r#""number":2,"#, r#""number":9007199254740991,"#));
    check(&world.verify(), Verdict::Tampered, Some(Kind::Changed), Some(named as u64));
    let report = world.verify_public();
    check(&report, Verdict::Tampered, Some(Kind::CheckpointMismatch), Some(named as u64));
    let others = report.findings.iter().filter(|finding| finding.index != Some(named as u64));
    assert!(others.clone().all(|finding| finding.kind == Kind::Derived), "{:#?}", report.findings);
}

#[test]
fn bounded_acknowledgements_across_a_crash_leave_a_record() {
    let world = SimWorld::new(1, Settings { immutable: false, ..Settings::default() });
    let log = world.create();
    let settled = log.append_bounded(&event(1)).unwrap().settle().unwrap();
    let open: Vec<_> = (2..10).map(|n| log.append_bounded(&event(n)).unwrap()).collect();
    assert_eq!(log.size().unwrap(), 2, "what is not durable does not show");
    assert!(log.find("event-2").is_err());
    world.disk.crash_in_place(3);
    drop((open, log));
    let log = world.try_open().unwrap();
    assert_eq!(
        log.get(settled.index).map(|stored| indelible_core::tree::leaf_hash(&stored.entry)).unwrap(),
        settled.leaf
    );
    assert!(log.find("event-2").is_err());
    log.append_json(&event(2)).unwrap();
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.remarks.iter().filter(|remark| remark.kind == "bounded_gap").count(), 1, "{:?}", report.remarks);
    // A clean end leaves no such record.
    let log = world.try_open().unwrap();
    log.append_bounded(&event(20)).unwrap().settle().unwrap();
    log.close().unwrap();
    drop(log);
    drop(world.try_open().unwrap());
    let report = world.verify();
    assert_eq!(report.remarks.iter().filter(|remark| remark.kind == "bounded_gap").count(), 1, "{:?}", report.remarks);
}

#[test]
fn a_bounded_promise_that_fails_says_so() {
    let world = SimWorld::new(2, Settings { immutable: false, ..Settings::default() });
    let log = world.create();
    let promise = log.append_bounded(&event(1)).unwrap();
    world.disk.plan(world.disk.operations(), Fault::FailBefore);
    assert!(promise.settle().is_err());
    assert!(log.append_bounded(&event(2)).is_err());
    world.disk.crash_in_place(1);
    drop(log);
    drop(world.try_open().unwrap());
    check(&world.verify(), Verdict::Intact, None, None);
}

/// A log whose last batch of three is behind the newest head, ended without a close.
fn with_an_unanchored_batch() -> (SimWorld, std::path::PathBuf) {
    let (world, segment, _) = with_an_unanchored(&events(5..8));
    (world, segment)
}

/// The same with this batch, and what `durable` said before it.
fn with_an_unanchored(batch: &[Vec<u8>]) -> (SimWorld, std::path::PathBuf, Vec<u8>) {
    let world = SimWorld::new(3, Settings { immutable: false, ..Settings::default() });
    let log = world.create();
    receipts(log.append_all(&events(0..5)));
    log.checkpoint().unwrap();
    let durable = world.disk.snapshot()[Path::new("log/durable")].clone();
    receipts(log.append_all(batch));
    world.disk.process_crash();
    drop(log);
    (world, SimWorld::file(&format!("segments/{:020}.jsonl", 0)), durable)
}

type Damage = fn(&mut Vec<u8>);

/// A flipped bit in the last line, and a last line cut short.
const DAMAGE: [Damage; 2] = [|bytes| damage_last(bytes), |bytes| bytes.truncate(bytes.len() - 100)];

fn damage_last(bytes: &mut [u8]) {
    let at = bytes.len() - 200;
    bytes[at] ^= 4;
}

fn every_damage_is_told(world: &SimWorld, segment: &std::path::Path) {
    for damage in DAMAGE {
        let before = world.disk.snapshot()[segment.strip_prefix("/").unwrap()].clone();
        world.disk.edit(segment, damage).unwrap();
        let report = world.verify();
        check(&report, Verdict::Tampered, None, None);
        assert!(report.findings.iter().any(|f| f.index == Some(8)), "{:#?}", report.findings);
        assert!(world.try_open().is_err());
        world.disk.edit(segment, |bytes| *bytes = before).unwrap();
    }
}

#[test]
fn a_damaged_last_batch_is_no_torn_tail_once_durable_covers_it() {
    let (world, segment) = with_an_unanchored_batch();
    every_damage_is_told(&world, &segment);
    drop(world.try_open().unwrap());
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a_damaged_last_batch_is_no_torn_tail_once_its_head_is_known() {
    let (world, segment) = with_an_unanchored_batch();
    world.try_open().unwrap().close().unwrap();
    world.disk.erase(SimWorld::file("durable")).unwrap();
    every_damage_is_told(&world, &segment);
}

#[test]
fn a_torn_tail_that_nobody_was_told_of_is_cut_kept_and_recorded() {
    let (world, segment) = with_an_unanchored_batch();
    world.disk.erase(SimWorld::file("durable")).unwrap();
    let whole = world.disk.snapshot()[segment.strip_prefix("/").unwrap()].clone();
    world.disk.edit(&segment, |bytes| bytes.truncate(bytes.len() - 100)).unwrap();
    let cut =
        whole.iter().rposition(|b| *b == b'\n').map(|end| whole[..end].iter().rposition(|b| *b == b'\n').unwrap() + 1);
    let log = world.try_open().unwrap();
    assert_eq!(log.size().unwrap(), 9, "two of the batch, and the record that it was cut");
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|remark| remark.kind == "recovered" && remark.index == Some(8)));
    let aside: Vec<_> = world.disk.snapshot().into_iter().filter(|(path, _)| path.starts_with("log/aside")).collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0].1, whole[cut.unwrap()..whole.len() - 100]);
}

/// Pages of one write are lost in any order: a line of the last batch can keep its beginning and its end.
#[test]
fn a_page_that_was_lost_within_a_line_of_the_last_batch_is_a_torn_tail() {
    let hole = [0; 40];
    for signature in [false, true] {
        for line in 5..8 {
            let reason = "x".repeat(100);
            let event = |n: u64| replace(&event(n), "\"details\"", &format!("\"reason\":\"{reason}\",\"details\""));
            let (world, segment, durable) = with_an_unanchored(&(5..8).map(event).collect::<Vec<_>>());
            world.disk.edit(SimWorld::file("durable"), |bytes| *bytes = durable).unwrap();
            let damage = |bytes: &mut Vec<u8>| {
                let from: usize = bytes.split_inclusive(|b| *b == b'\n').take(line + 1).map(<[u8]>::len).sum();
                let len = bytes[from..].split_inclusive(|b| *b == b'\n').next().unwrap().len();
                let text = &bytes[from..from + len];
                let mark: &[u8] = if signature { b",\"mac\":\"" } else { b"\"reason\":\"" };
                let at = from + memchr::memmem::find(text, mark).unwrap() + if signature { 0 } else { mark.len() };
                bytes[at..at + hole.len()].copy_from_slice(&hole);
            };
            world.disk.edit(&segment, damage).unwrap();
            for ring in [true, false] {
                let report = world.try_verify(|request| request.ring = request.ring.filter(|_| ring)).unwrap();
                check(&report, Verdict::Intact, None, None);
                assert!(report.remarks.iter().any(|remark| remark.kind == "torn_tail"), "{line} {report:?}");
            }
            let log = world.try_open().unwrap();
            log.close().unwrap();
            drop(log);
            check(&world.verify(), Verdict::Intact, None, None);
        }
    }
    // A line of a later batch was written when all before was synced.
    let world = World::with_events(20, 2, options());
    let body = br#"{"action":"a","actor":{"id":"m","type":"user"},"id":"z"}"#;
    let key = world.stolen_entry_key();
    let mut lines = world.lines();
    let size = lines.len();
    for _ in 0..2 {
        lines.push(appended(&lines, &key, BodyKind::Event, body));
    }
    for hidden in ["n", "\0"] {
        let mut lines = lines.clone();
        lines[size] = replace(&lines[size], "\"id\":\"m\"", &format!("\"id\":\"{hidden}\""));
        world.put_lines(&lines);
        world.expect(Verdict::Tampered, Some(Kind::Changed), Some(size as u64));
    }
    // Nor does a crash change what is there into something else.
    lines.truncate(size + 1);
    lines[size] = replace(&lines[size], "\"id\":\"m\"", "\"id\":\"n\"");
    world.put_lines(&lines);
    world.expect(Verdict::Tampered, Some(Kind::Changed), Some(size as u64));
}

#[test]
fn two_members_of_one_name_in_a_stored_line() {
    let world = World::with_events(20, 2, options());
    let double =
        |line: &[u8]| replace(line, "\"action\":\"document.read\"", "\"action\":\"a\",\"action\":\"document.read\"");
    // Below the head the hash says so.
    let before = world.lines();
    world.edit_line(7, double);
    world.expect(Verdict::Tampered, Some(Kind::Changed), Some(7));
    world.put_lines(&before);
    // Behind it, by somebody who holds the entry key, the strict check says so.
    let body = br#"{"action":"a","action":"b","actor":{"id":"m","type":"user"},"id":"z"}"#;
    let line = appended(&before, &world.stolen_entry_key(), BodyKind::Event, body);
    let lines = [before.clone(), vec![line]].concat();
    world.put_lines(&lines);
    let strict = world.try_verify(&world.log_path(), |request| request.strict = true).unwrap();
    check(&strict, Verdict::Tampered, Some(Kind::Form), Some(before.len() as u64));
    assert!(leaf_of(&lines[before.len()]) != leaf_of(&before[0]));
}

#[test]
fn a_missing_head_record_is_refused_and_never_made_up() {
    let world = World::with_events(10, 1, options());
    std::fs::remove_file(head_file(&world)).unwrap();
    assert!(matches!(Log::open(&world.log_path(), &world.keys, options()), Err(LogError::HeadMissing { .. })));
    assert!(matches!(world.try_verify(&world.log_path(), |_| ()), Err(VerifyError::HeadMissing { .. })));
    assert!(!head_file(&world).exists());
}

#[test]
fn a_ring_of_another_log_is_an_error_and_no_tampering() {
    let world = World::with_events(10, 1, options());
    let other = KeyRing::load_or_create(&world.dir.path().join("other")).unwrap();
    let key = other.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
    let all_wrong = world.try_verify(&world.log_path(), |request| {
        request.ring = Some(&other);
        request.keys = vec![key];
        request.heads = None;
    });
    assert!(matches!(all_wrong, Err(VerifyError::WrongKey { .. })), "{all_wrong:?}");
    let entry_key_wrong = world.try_verify(&world.log_path(), |request| request.ring = Some(&other));
    assert!(matches!(entry_key_wrong, Err(VerifyError::WrongKey { .. })), "{entry_key_wrong:?}");
    copy_dir(&world.keys.heads_dir(), &other.heads_dir());
    assert!(Log::open(&world.log_path(), &other, options()).is_err());
    world.expect(Verdict::Intact, None, None);
}

#[test]
fn what_is_no_log_is_an_error_of_its_own() {
    let world = World::with_events(3, 1, options());
    let nothing = Path::new("nothing/here");
    assert!(matches!(Log::open(nothing, &world.keys, options()), Err(LogError::Store(_))));
    assert!(world.try_verify(nothing, |_| ()).is_err());
    assert!(matches!(
        Log::create(&world.log_path(), "example.com/new", &world.keys, options()),
        Err(LogError::Store(indelible_store::store::StoreError::Exists { .. }))
    ));
    let elsewhere = world.dir.path().join("elsewhere");
    assert!(matches!(Log::create(&elsewhere, ORIGIN, &world.keys, options()), Err(LogError::OriginTaken { .. })));
    assert!(!elsewhere.exists());
}

/// A link in the log's folders would make recovery read, keep aside or cut a file of somebody else: the key ring, for one.
#[cfg(unix)]
#[test]
fn links_out_of_the_log_are_never_followed() {
    let world = World::with_events(20, 2, crate::world::options());
    let ring = world.keys.dir().join("ring.json");
    let before = std::fs::read(&ring).unwrap();
    for name in ["segments/00000000000000000021.jsonl", "tree/7", "checkpoints/00000000000000000099"] {
        let path = world.log_path().join(name);
        for symbolic in [true, false] {
            if symbolic {
                std::os::unix::fs::symlink(&ring, &path).unwrap();
            } else {
                std::fs::hard_link(&ring, &path).unwrap();
            }
            let opened = indelible::Log::open(&world.log_path(), &world.keys, crate::world::options());
            drop(opened);
            assert_eq!(std::fs::read(&ring).unwrap(), before, "{name}");
            let aside = crate::world::files(&world.log_path().join("aside"));
            assert!(aside.is_empty(), "{aside:?}");
            // A level that the log is too small for plays no part in a verdict; the others do.
            assert!(name.starts_with("tree") || world.verify().status != Verdict::Intact, "{name}");
            // Opening may have replaced the link by a file of the log's own.
            drop(std::fs::remove_file(&path));
        }
    }
    let folder = world.log_path().join("aside");
    std::fs::remove_dir(&folder).unwrap();
    std::os::unix::fs::symlink(world.keys.dir(), &folder).unwrap();
    assert!(indelible::Log::open(&world.log_path(), &world.keys, crate::world::options()).is_err());
}

/// What stands in the place of a file and is none is told as what it is, and ends no verification.
#[test]
fn a_directory_in_the_place_of_a_file_is_a_finding_that_names_it() {
    let world = World::with_events(300, 3, small_segments());
    let whole = world.dir.path().join("whole");
    copy_dir(&world.log_path(), &whole);
    let last = crate::world::files(&whole.join("segments")).pop().unwrap();
    let last = format!("segments/{}", last.file_name().unwrap().to_str().unwrap());
    let rows = [
        ("durable", Verdict::Damaged),
        ("offsets", Verdict::Damaged),
        ("tree/0", Verdict::Damaged),
        ("tree/1", Verdict::Damaged),
        ("checkpoint", Verdict::Tampered),
        (&last, Verdict::Tampered),
    ];
    for (name, verdict) in rows {
        std::fs::remove_dir_all(world.log_path()).unwrap();
        copy_dir(&whole, &world.log_path());
        let path = world.log_path().join(name);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        for report in [world.verify(), world.verify_public()] {
            check(&report, verdict, None, None);
            let named =
                |detail: &str| detail.contains(name) || name == "checkpoint" && detail.contains("the published");
            assert!(report.findings.iter().any(|f| named(&f.detail)), "{name}: {:#?}", report.findings);
        }
    }
}

/// The head record is the only place that still has a kept checkpoint which could not be shown: no newer head may take its place.
#[test]
fn an_opening_that_cannot_show_a_kept_checkpoint_signs_nothing_newer() {
    let world = World::with_events(30, 3, options());
    let kept = crate::world::files(&world.log_path().join("checkpoints")).pop().unwrap();
    let mut lines = world.lines();
    let body = indelible_core::json::canonicalise(&event(999)).unwrap();
    lines.push(appended(&lines, &world.stolen_entry_key(), BodyKind::Event, &body));
    world.put_lines(&lines);
    std::fs::remove_file(&kept).unwrap();
    std::fs::create_dir_all(kept.join("in the way")).unwrap();
    assert!(Log::open(&world.log_path(), &world.keys, options()).is_err());
    std::fs::remove_dir_all(&kept).unwrap();
    world.open().close().unwrap();
    assert!(kept.exists());
    world.expect(Verdict::Intact, None, None);
}
