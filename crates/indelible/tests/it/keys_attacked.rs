//! Logs whose keys changed, under attack or damaged: what each of those who verify is told.

use std::{fs, path::PathBuf};

use indelible::{
    KeyRing, Log, LogError,
    bundle::Bundle,
    compromise::{resign, scope},
    links::is_other_key,
    verify::{Kind, Report, Verdict, known_keys},
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::Control,
    entry::BodyKind,
    history::{Change, HistoryError, Withdrawn, WithdrawnState},
    note::{Algorithm, KeySet, Note, NoteSigner as _, Require, VerifyingKey},
    proof::TlogProof,
    tree::{Frontier, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_keys::{NewRing, Purpose};
use indelible_store::{disk::OsDisk, heads::HeadStore as _};

use crate::{
    keys::{first_public, publicly, rotate, rotated},
    support::forge::{appended, appended_at, leaf_of, reseal},
    world::{ORIGIN, World, check, event, events, options, overwrite, receipts, small_segments},
};

/// What the thief of one checkpoint key signs.
pub(crate) fn signed_by(world: &World, key: VerifyingKey, head: TreeHead) -> String {
    let signers = world.ring().signers_for(ORIGIN, &[key]).unwrap();
    Checkpoint::new(ORIGIN, head).sign(&[&signers[0]]).unwrap().to_string()
}

fn head_over(lines: &[Vec<u8>]) -> TreeHead {
    let mut frontier = Frontier::new();
    for line in lines {
        frontier.push(leaf_of(line));
    }
    TreeHead { size: TreeSize(lines.len() as u64), root: frontier.root() }
}

/// Takes away the kept checkpoints that cover entry `index`.
fn forget_kept_over(world: &World, index: u64) {
    for file in fs::read_dir(world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path()) {
        let note = fs::read_to_string(&file).unwrap();
        let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
        if size > index {
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_thief_of_a_replaced_checkpoint_key_makes_no_end_of_his_own() {
    let world = rotated(0, 1, 10);
    let old = first_public(&world);
    let change = world.reopen_and(|log| log.key_history().sets()[1].first);
    let key = world.stolen_entry_key();
    // The record that ended the key's time stays: without it the bodies behind it would be missing.
    let mut lines = world.lines();
    lines.truncate(usize::try_from(change).unwrap() + 1);
    for number in 0..3 {
        lines.push(appended(&lines, &key, BodyKind::Event, &event(1000 + number)));
    }
    world.put_lines(&lines);
    world.rewrite_leaves();
    forget_kept_over(&world, change);
    overwrite(&world.log_path().join("checkpoint"), signed_by(&world, old.clone(), head_over(&lines)).as_bytes());
    check(&publicly(&world, &old), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
}

#[test]
fn a_given_checkpoint_by_a_replaced_key_is_no_evidence() {
    let world = rotated(0, 1, 10);
    let old = first_public(&world);
    let forged = TreeHead { size: TreeSize(20), root: leaf_hash(b"another tree") };
    let note = signed_by(&world, old.clone(), forged);
    // Behind the change it says nothing of the log; before it, it was the log's word.
    for heads in [true, false] {
        let outcome = world.try_verify(&world.log_path(), |request| {
            request.checkpoint = Some(note.clone().into_bytes());
            if !heads {
                (request.ring, request.heads, request.head_required) = (None, None, false);
                request.keys = vec![old.clone()];
            }
        });
        assert!(matches!(outcome, Err(indelible::verify::VerifyError::WrongKey { .. })), "{outcome:?}");
    }
    let forged = TreeHead { size: TreeSize(8), root: leaf_hash(b"another tree") };
    let note = signed_by(&world, old, forged);
    let report = world.try_verify(&world.log_path(), |request| request.checkpoint = Some(note.into_bytes())).unwrap();
    check(&report, Verdict::Diverged, Some(Kind::DivergedCheckpoint), None);
}

#[test]
fn a_middle_key_vouches_for_no_checkpoint_before_its_time() {
    let world = rotated(0, 2, 10);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let bundle = world.reopen_and(|log| log.prove(LeafIndex(0)).unwrap());
    // The thief of the first key shows a tree of his own.
    let head = TreeHead { size: TreeSize(1), root: leaf_hash(&bundle.entry) };
    let checkpoint = signed_by(&world, keys[0].clone(), head);
    let proof = TlogProof { extra: None, index: LeafIndex(0), hashes: Vec::new(), checkpoint };
    let forged = Bundle { proof, ..bundle };
    assert!(forged.check(&keys[0]).is_ok(), "it is the first key's own word");
    for key in &keys[1..] {
        let error = forged.check(key).unwrap_err();
        assert!(is_other_key(&error), "{error:?}");
    }
}

#[test]
fn a_log_is_intact_for_the_newest_key_right_after_its_rotation() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    log.keep_checkpoint().unwrap();
    receipts(log.append_all(&events(10..15)));
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    log.close().unwrap();
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        check(&publicly(&world, key), Verdict::Intact, None, None);
    }
    let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
    assert_eq!(known_keys(&reader, None, &[]).unwrap().sets().len(), 2);
}

/// A log whose first key was withdrawn, and its entries signed again.
fn resigned() -> World {
    let world = rotated(0, 0, 50);
    let log = world.reopen();
    let stolen = log.key_history().entry_keys()[0].id.clone();
    rotate(&world, Purpose::EntrySigning);
    log.withdraw_keys("a theft", &[withdrawn(&stolen, 30)]).unwrap();
    resign(&log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
    log.close().unwrap();
    world
}

pub(crate) fn withdrawn(id: &str, from: u64) -> Withdrawn {
    Withdrawn { from, id: id.to_owned(), reason: "a theft".to_owned(), state: WithdrawnState::Compromised }
}

#[test]
fn a_damaged_tree_under_second_signatures_is_damage() {
    for damage in 0..3 {
        let world = resigned();
        check(&world.verify(), Verdict::Intact, None, None);
        let path = world.log_path().join("tree/0");
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            0 => fs::remove_file(&path).unwrap(),
            1 => overwrite(&path, &bytes[..bytes.len() / 2 / 32 * 32]),
            _ => {
                bytes[7] ^= 1;
                overwrite(&path, &bytes);
            }
        }
        check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
        check(&publicly(&world, &first_public(&world)), Verdict::Damaged, Some(Kind::Derived), None);
    }
}

#[test]
fn a_folder_in_the_place_of_second_signatures_is_tampered() {
    let world = resigned();
    let mut path = world.log_path().join("attachments");
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    check(&world.verify(), Verdict::Tampered, Some(Kind::Overlay), None);
}

/// The files with entries, by the index of their first.
pub(crate) fn segments(world: &World) -> Vec<(u64, PathBuf)> {
    let files = fs::read_dir(world.log_path().join("segments")).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files
        .filter_map(|path| {
            let first = path.file_name()?.to_str()?.split('.').next()?.parse().ok()?;
            Some((first, path))
        })
        .collect();
    segments.sort();
    segments
}

#[test]
fn a_file_with_a_change_of_checkpoint_keys_that_is_gone_is_a_gap() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..60)));
    log.keep_checkpoint().unwrap();
    rotate(&world, Purpose::EntrySigning);
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(60..160)));
    let change = log.key_history().sets()[1].first;
    log.close().unwrap();
    drop(log);
    let segments = segments(&world);
    let at = segments.iter().rposition(|(first, _)| *first <= change).unwrap();
    assert!(at > 0 && at + 1 < segments.len(), "{segments:?}");
    fs::remove_file(&segments[at].1).unwrap();
    let told = |report: &Report| {
        assert!(matches!(report.status, Verdict::Gap | Verdict::Unverifiable), "{:#?}", report.findings);
        let absent = |kind| matches!(kind, Kind::Absent | Kind::KeyMissing | Kind::Derived);
        assert!(report.findings.iter().all(|finding| absent(finding.kind)), "{:#?}", report.findings);
        let there = report.findings.iter().any(|finding| finding.index == Some(segments[at].0));
        assert!(there, "{:#?}", report.findings);
    };
    told(&world.verify());
    for key in world.ring().public_keys(ORIGIN).unwrap() {
        told(&publicly(&world, &key));
    }
    // Whoever has the newest key is also told of an edit elsewhere.
    let (_, last) = segments.last().unwrap();
    let text = fs::read_to_string(last).unwrap();
    overwrite(last, text.replacen("mara", "mary", 1).as_bytes());
    for key in world.ring().public_keys(ORIGIN).unwrap() {
        assert_eq!(publicly(&world, &key).status, Verdict::Tampered);
    }
    assert_eq!(world.verify().status, Verdict::Tampered);
}

/// Who has the entry key names an index near the largest: the verdict comes all the same, and at once.
#[test]
fn a_line_of_a_far_index_does_not_hold_up_the_verdict() {
    let world = World::with_events(20, 2, options());
    let (_, path) = segments(&world).pop().unwrap();
    let lines: Vec<Vec<u8>> =
        fs::read(&path).unwrap().split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let key = world.ring().active_entry().unwrap().key(world.log_id(), ORIGIN, 1);
    let body = br#"{"action":"a.b","actor":{"id":"u","type":"user"},"id":"far"}"#;
    for far in [1_000_000_000, 9_007_199_254_740_991, 9_999_999_999_999_999] {
        let line = appended_at(LeafIndex(far), &lines, &key, BodyKind::Event, body);
        overwrite(&path, &[&lines.concat()[..], &line].concat());
        let report = world.verify();
        assert_eq!(report.status, Verdict::Tampered, "{far}: {:#?}", report.findings);
        let first = lines.len() as u64;
        assert!(report.findings.iter().any(|found| found.index == Some(first)), "{far}: {:#?}", report.findings);
        world.verify_public();
    }
}

#[test]
fn a_log_whose_newest_change_of_keys_is_gone_is_not_written_and_says_what_to_do() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..60)));
    rotate(&world, Purpose::EntrySigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(60..160)));
    let change = log.key_history().entry_keys()[1].first;
    log.close().unwrap();
    drop(log);
    let segments = segments(&world);
    let at = segments.iter().rposition(|(first, _)| *first <= change).unwrap();
    let aside = world.log_path().with_file_name("aside");
    fs::rename(&segments[at].1, &aside).unwrap();
    assert_eq!(world.verify().status, Verdict::Gap);
    let error = Log::open(&world.log_path(), world.ring(), small_segments()).err().unwrap();
    assert!(matches!(error, LogError::KeysAbsent { index } if index == change), "{error:?}");
    assert!(error.to_string().contains("back from a copy") && error.to_string().contains("log succeed"), "{error}");
    fs::rename(&aside, &segments[at].1).unwrap();
    let log = world.reopen();
    receipts(log.append_all(&events(160..170)));
    log.close().unwrap();
    assert_eq!(world.verify().status, Verdict::Intact);
}

#[test]
fn what_stands_behind_an_absent_change_of_checkpoint_keys_is_no_forgery() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..60)));
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(60..120)));
    let change = log.key_history().sets()[1].first;
    let stolen = log.key_history().entry_keys()[0].id.clone();
    // Records that take their authority from the set which is not known then.
    rotate(&world, Purpose::EntrySigning);
    log.withdraw_keys("a theft", &[withdrawn(&stolen, 90)]).unwrap();
    resign(&log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(120..140)));
    log.close().unwrap();
    drop(log);
    let segments = segments(&world);
    let at = segments.iter().rposition(|(first, _)| *first <= change).unwrap();
    assert!(at > 0 && at + 1 < segments.len(), "{segments:?}");
    fs::remove_file(&segments[at].1).unwrap();
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let reports = keys.iter().map(|key| publicly(&world, key)).chain([world.verify()]);
    for report in reports {
        check(&report, Verdict::Gap, Some(Kind::Absent), Some(segments[at].0));
    }
    let first = publicly(&world, &keys[0]);
    let unknown = first.findings.iter().filter(|finding| finding.detail.contains("counts for nothing")).count();
    // The rotated key is taken up in a record of its own where the log's keeper comes before the withdrawal.
    assert!((3..=4).contains(&unknown), "{:#?}", first.findings);
    // A record that names keys of nobody's stays a forgery.
    let thief = KeyRing::load_or_create(&world.dir.path().join("thief")).unwrap();
    let signer = thief.checkpoint_signer(ORIGIN).unwrap();
    let (first, path) = segments.last().unwrap();
    let mut lines: Vec<Vec<u8>> =
        fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let index = LeafIndex(first + lines.len() as u64);
    let excuse = indelible_core::control::Excuse {
        authorisation: None,
        first: segments[at].0,
        last: segments[at + 1].0 - 1,
        leaf_root: leaf_hash(b"").to_hex(),
        reason: "mine".to_owned(),
    };
    let control = Control::Explained(excuse).authorise(world.log_id(), ORIGIN, index, &signer).unwrap();
    let ring = world.ring();
    let key = ring.active_entry().unwrap();
    let key = key.key(world.log_id(), ORIGIN, 2);
    let line = appended_at(index, &lines, &key, BodyKind::Control, &control.canonical().unwrap());
    lines.push(line);
    overwrite(path, &lines.concat());
    check(&publicly(&world, &keys[0]), Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(index.0));
}

#[test]
fn an_old_ring_that_was_put_back_hides_no_forged_end() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    let ring = fs::read(world.keys.dir().join("ring.json")).unwrap();
    rotate(&world, Purpose::EntrySigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(10..20)));
    log.close().unwrap();
    drop(log);
    check(&world.verify(), Verdict::Intact, None, None);
    let size = world.lines().len() as u64;
    // Somebody without the new key appends a line in its name.
    let mut lines = world.lines();
    let line = appended(&lines, &world.stolen_entry_key(), BodyKind::Event, &event(1000));
    lines.push(line);
    world.put_lines(&lines);
    check(&world.verify(), Verdict::Tampered, Some(Kind::Changed), Some(size));
    fs::write(world.keys.dir().join("ring.json"), &ring).unwrap();
    let report = world.verify();
    check(&report, Verdict::Unverifiable, Some(Kind::KeyMissing), Some(size));
}

#[test]
fn what_the_log_never_had_cannot_be_withdrawn() {
    let world = rotated(1, 1, 5);
    let history = world.reopen_and(|log: &Log| (*log.key_history()).clone());
    let index = LeafIndex(history.newest().0 + 3);
    let change = |key: Withdrawn| {
        history.changed(index, Change { withdrawn: vec![key], reason: "a test".to_owned(), ..Change::default() })
    };
    let ring = world.ring();
    for key in ring.keys().filter(|key| matches!(key.purpose, Purpose::EntrySigning | Purpose::CheckpointSigning)) {
        assert!(change(withdrawn(&key.id, index.0)).is_ok(), "{}", key.id);
        let later = change(withdrawn(&key.id, index.0 + 1));
        assert!(matches!(later, Err(HistoryError::Malformed(_))), "{later:?}");
    }
    for id in ["es1-0123456789abcdef", "cs1-0123456789abcdef", "nothing", ""] {
        let strange = change(withdrawn(id, 0));
        assert!(matches!(strange, Err(HistoryError::Malformed(_))), "{strange:?}");
    }
}

#[test]
fn a_stranger_among_the_kept_checkpoints_stops_nothing() {
    let world = rotated(0, 2, 10);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let ids: Vec<String> =
        world.ring().keys().filter(|key| key.purpose == Purpose::CheckpointSigning).map(|key| key.id.clone()).collect();
    for name in [u64::MAX, 7_000_000] {
        fs::write(world.log_path().join(format!("checkpoints/{name:020}")), "no checkpoint").unwrap();
    }
    let log = world.reopen();
    let bundle = log.prove(LeafIndex(0)).unwrap();
    for key in &keys {
        bundle.check(key).unwrap();
    }
    let rests = scope(&log, &ids[0], Some(&keys[0]), 0).unwrap();
    assert!(rests.checkpoints.is_some());
    log.close().unwrap();
    drop(log);
    for key in &keys {
        check(&publicly(&world, key), Verdict::Damaged, Some(Kind::Derived), None);
    }
}

/// A key of nobody's, and what it signs.
pub(crate) fn stranger(world: &World) -> (KeyRing, VerifyingKey) {
    let ring = KeyRing::load_or_create(&world.dir.path().join("stranger")).unwrap();
    let key = ring.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
    (ring, key)
}

/// Puts a line of a stranger's signature under a genuine note, whose text it does not change.
pub(crate) fn cosign(path: &std::path::Path, ring: &KeyRing) {
    let note = fs::read_to_string(path).unwrap();
    let parsed = Note::parse(note.as_bytes()).unwrap();
    let own = Note::sign(parsed.text().to_owned(), &[&ring.checkpoint_signer(ORIGIN).unwrap()]).unwrap().to_string();
    let line = own.lines().last().unwrap();
    overwrite(path, format!("{note}{line}\n").as_bytes());
}

/// A `keys` record of a stranger's for an index, in a line for there: authorised by himself.
fn strangers_record(
    world: &World,
    history: &indelible_core::history::KeyHistory,
    at: u64,
    lines: &[Vec<u8>],
) -> Vec<u8> {
    let (ring, key) = stranger(world);
    let set = KeySet::new(vec![key], Require::All).unwrap();
    let change = Change { set: Some(set), reason: "mine".to_owned(), ..Change::default() };
    let record = history.until(TreeSize(at)).changed(LeafIndex(at), change).unwrap();
    let signer = ring.checkpoint_signer(ORIGIN).unwrap();
    let control = Control::Keys(record).authorise(world.log_id(), ORIGIN, LeafIndex(at), &signer).unwrap();
    let key = world.stolen_entry_key();
    appended_at(LeafIndex(at), lines, &key, BodyKind::Control, &control.canonical().unwrap())
}

#[test]
fn a_line_that_stands_nowhere_brings_no_keys() {
    for apart in [false, true] {
        let world = World::with_events(40, 4, options());
        let key = world.public_key();
        let history = world.reopen_and(|log| (*log.key_history()).clone());
        let (ring, _) = stranger(&world);
        let lines = world.lines();
        // The beginning is genuine, up to a kept checkpoint that the trusted key signed; what follows is not.
        let kept = world.log_path().join("checkpoints").join(format!("{:020}", 3));
        let size: usize = fs::read_to_string(&kept).unwrap().lines().nth(1).unwrap().parse().unwrap();
        for number in 4..10 {
            let _ = fs::remove_file(world.log_path().join("checkpoints").join(format!("{number:020}")));
        }
        cosign(&kept, &ring);
        let mut forged = lines[..size].to_vec();
        for number in 0..5 {
            let line = appended(&forged, &world.stolen_entry_key(), BodyKind::Event, &event(1000 + number));
            forged.push(line);
        }
        world.put_lines(&forged);
        world.rewrite_leaves();
        let note = Checkpoint::new(ORIGIN, head_over(&forged)).sign(&[&ring.checkpoint_signer(ORIGIN).unwrap()]);
        overwrite(&world.log_path().join("checkpoint"), note.unwrap().to_string().as_bytes());
        let line = strangers_record(&world, &history, 5, &forged[..5]);
        if apart {
            let path = world.log_path().join("segments").join(format!("{:020}.jsonl", forged.len() + 1));
            fs::write(path, line).unwrap();
        } else {
            forged.push(line);
            world.put_lines(&forged);
        }
        assert_eq!(publicly(&world, &key).status, Verdict::Tampered, "{apart}");
        assert_eq!(world.verify().status, Verdict::Tampered, "{apart}");
    }
}

#[test]
fn an_entry_0_that_was_changed_makes_no_writer_sign_for_it() {
    let new = NewRing { checkpoint: vec![Algorithm::MlDsa44], ..NewRing::default() };
    let world = World::with_ring(&new);
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    log.close().unwrap();
    drop(log);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let (_, strange) = stranger(&world);
    // One genuine key stays, so that the newest checkpoint still opens; the stranger's may sign too from now on.
    let lines = world.lines();
    let text = String::from_utf8(lines[0].clone()).unwrap();
    let gone = keys.iter().find(|key| key.algorithm() != Algorithm::Ed25519).unwrap().to_string();
    let gone = serde_json::to_string(&gone).unwrap();
    assert!(text.contains(&gone), "{text}");
    let changed = text
        .replace(&gone, &serde_json::to_string(&strange.to_string()).unwrap())
        .replace(r#""require":"all""#, r#""require":"1""#);
    assert_ne!(text, changed);
    world.edit_line(0, |_| changed.into_bytes());
    let error = Log::open(&world.log_path(), world.ring(), options()).err().unwrap();
    assert!(matches!(error, LogError::Evidence { index: 0, .. }), "{error:?}");
    let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
    let head = world.heads().load(ORIGIN).unwrap();
    let error = known_keys(&reader, head.as_ref(), &keys).unwrap_err();
    assert!(matches!(error, LogError::Evidence { index: 0, .. }), "{error:?}");
    assert_eq!(world.verify().status, Verdict::Tampered);
}

#[test]
fn an_entry_0_that_does_not_name_the_key_which_signs_is_tampered() {
    let world = World::with_events(10, 1, options());
    let key = world.public_key();
    let (_, strange) = stranger(&world);
    let mut lines = world.lines();
    let text = String::from_utf8(lines[0].clone()).unwrap();
    lines[0] = text.replace(&key.to_string(), &strange.to_string()).into_bytes();
    assert_ne!(text.as_bytes(), lines[0]);
    // The thief of the checkpoint key signs the whole anew, and says that another one does.
    reseal(&mut lines, 1, &world.stolen_entry_key(), |_, body| body.to_vec());
    world.put_lines(&lines);
    world.rewrite_leaves();
    let _ = fs::remove_dir_all(world.log_path().join("checkpoints"));
    let note = signed_by(&world, key.clone(), head_over(&lines));
    overwrite(&world.log_path().join("checkpoint"), note.as_bytes());
    check(&publicly(&world, &key), Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(0));
}

#[test]
fn two_changes_before_a_crash_leave_no_auditor_in_doubt() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    log.keep_checkpoint().unwrap();
    for _ in 0..2 {
        rotate(&world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").unwrap();
    }
    log.close().unwrap();
    drop(log);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    for key in &keys {
        check(&publicly(&world, key), Verdict::Intact, None, None);
    }
    // The newest kept checkpoint was not shown before the crash: the published one is the same, and signed by all.
    let newest = fs::read_dir(world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path()).max();
    let newest = newest.unwrap();
    overwrite(&world.log_path().join("checkpoint"), &fs::read(&newest).unwrap());
    fs::remove_file(newest).unwrap();
    for key in &keys {
        check(&publicly(&world, key), Verdict::Intact, None, None);
    }
    // The same tree signed by the newest key alone is not how the keys are handed on.
    let head = world.reopen_and(|log| log.head().1);
    let newest = fs::read_dir(world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path()).max();
    fs::remove_file(newest.unwrap()).unwrap();
    let note = signed_by(&world, keys[2].clone(), head);
    overwrite(&world.log_path().join("checkpoint"), note.as_bytes());
    for key in &keys[1..] {
        check(&publicly(&world, key), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
    }
}

#[test]
fn an_absent_change_of_checkpoint_keys_is_not_excused_by_the_keys_before() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..60)));
    log.keep_checkpoint().unwrap();
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(60..100)));
    let change = log.key_history().sets()[1].first;
    log.close().unwrap();
    let size = log.size().unwrap();
    let line = |index| {
        let bytes = log.read(LeafIndex(index), 0).unwrap().bytes;
        bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec()
    };
    let lines: Vec<Vec<u8>> = (0..size).map(line).collect();
    drop(log);
    let segments = segments(&world);
    let at = segments.iter().rposition(|(first, _)| *first <= change).unwrap();
    assert!(at > 0 && at + 1 < segments.len(), "{segments:?}");
    // The thief of the replaced key takes the file away that says so, and excuses it by that key. The entry key was not rotated, and is stolen too.
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let (gone, behind) = (segments[at].0, segments[at + 1].0);
    let mut frontier = Frontier::new();
    let range = usize::try_from(gone).unwrap()..usize::try_from(behind).unwrap();
    lines[range].iter().for_each(|line| frontier.push(leaf_of(line)));
    let excuse = indelible_core::control::Excuse {
        authorisation: None,
        first: gone,
        last: behind - 1,
        leaf_root: frontier.root().to_hex(),
        reason: "a disk failed".to_owned(),
    };
    let index = LeafIndex(lines.len() as u64);
    let signer = &world.ring().signers_for(ORIGIN, &keys[..1]).unwrap()[0];
    let control = Control::Explained(excuse).authorise(world.log_id(), ORIGIN, index, signer).unwrap();
    let line = appended(&lines, &world.stolen_entry_key(), BodyKind::Control, &control.canonical().unwrap());
    let (_, last) = segments.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes.extend_from_slice(&line);
    overwrite(last, &bytes);
    fs::remove_file(&segments[at].1).unwrap();
    for report in keys.iter().map(|key| publicly(&world, key)).chain([world.verify()]) {
        assert_ne!(report.status, Verdict::Intact, "{:#?}", report.findings);
        let told = report.findings.iter().any(|finding| finding.kind == Kind::Absent && finding.index == Some(gone));
        assert!(told, "{:#?}", report.findings);
        assert!(report.findings.iter().any(|finding| finding.kind == Kind::KeyMissing), "{:#?}", report.findings);
    }
}

#[test]
fn what_is_given_does_not_turn_a_rollback_to_before_a_rotation_into_a_wrong_key() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..5)));
    log.close().unwrap();
    drop(log);
    let old = world.dir.path().join("old");
    crate::world::copy_dir(&world.log_path(), &old);
    for purpose in [Purpose::EntrySigning, Purpose::CheckpointSigning] {
        rotate(&world, purpose);
    }
    let log = world.reopen();
    log.adopt_keys("a test").unwrap();
    let given = receipts(log.append_all(&events(5..10)));
    log.close().unwrap();
    let note = log.head().0.checkpoint;
    drop(log);
    let newest = world.ring().public_keys(ORIGIN).unwrap().pop().unwrap();
    let receipts = vec![given[0].to_wire()];
    // By the ring, by the newest key alone; with either kind of evidence, and with both.
    for (note, receipts) in [(None, receipts.clone()), (Some(&note), Vec::new()), (Some(&note), receipts)] {
        let report = world.try_verify(&old, |request| {
            request.checkpoint = note.map(|note| note.clone().into_bytes());
            request.receipts = receipts.clone();
        });
        assert_eq!(report.unwrap().status, Verdict::Tampered);
        let report = world.try_verify(&old, |request| {
            (request.ring, request.heads, request.head_required) = (None, None, false);
            request.keys = vec![newest.clone()];
            request.checkpoint = note.map(|note| note.clone().into_bytes());
            request.receipts = receipts.clone();
        });
        match note {
            Some(_) => assert_eq!(report.unwrap().status, Verdict::Tampered),
            // Nothing that this key signed speaks of this log.
            None => assert!(matches!(report, Err(indelible::verify::VerifyError::WrongKey { .. })), "{report:?}"),
        }
    }
}

#[test]
fn a_lost_beginning_is_a_gap_whichever_of_the_keys_verifies() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..60)));
    log.keep_checkpoint().unwrap();
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(60..80)));
    log.close().unwrap();
    drop(log);
    fs::remove_file(&segments(&world)[0].1).unwrap();
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    for report in keys.iter().map(|key| publicly(&world, key)).chain([world.verify()]) {
        check(&report, Verdict::Gap, Some(Kind::Absent), Some(0));
    }
}

#[test]
fn a_crash_before_the_first_checkpoint_over_a_change_was_published_leaves_no_auditor_in_doubt() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    log.keep_checkpoint().unwrap();
    receipts(log.append_all(&events(10..20)));
    let before = log.checkpoint().unwrap().checkpoint;
    rotate(&world, Purpose::CheckpointSigning);
    log.adopt_keys("a test").unwrap();
    log.close().unwrap();
    drop(log);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    overwrite(&world.log_path().join("checkpoint"), before.as_bytes());
    for key in &keys {
        check(&publicly(&world, key), Verdict::Intact, None, None);
    }
    fs::remove_file(world.log_path().join("checkpoint")).unwrap();
    for key in &keys {
        check(&publicly(&world, key), Verdict::Damaged, Some(Kind::Derived), None);
    }
    // The kept one by the key before alone is not how the keys are handed on.
    let head = world.reopen_and(|log| log.head().1);
    let over =
        fs::read_dir(world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    overwrite(&over, signed_by(&world, keys[0].clone(), head).as_bytes());
    overwrite(&world.log_path().join("checkpoint"), before.as_bytes());
    assert_eq!(publicly(&world, &keys[0]).status, Verdict::Tampered);
}
