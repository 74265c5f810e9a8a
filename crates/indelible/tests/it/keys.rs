//! Keys that change while a log lives: rotation, theft, loss, and what verification says of each.

use std::{fs, sync::Arc};

use indelible::{
    AppendError, Driver as _, KeyRing, Log, LogError, Options,
    bundle::Bundle,
    clock::{Clock as _, SystemClock},
    compromise::{resign, scope},
    verify::{Kind, Macs, Request, Verdict},
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::Control,
    entry::Line,
    history::{Withdrawn, WithdrawnState},
    note::{Algorithm, NoteSigner as _, Require, VerifyingKey},
    tree::LeafIndex,
};
use indelible_keys::{NewRing, Purpose};
use indelible_store::{disk::OsDisk, heads::HeadStoreError, store::StoreError};

use crate::{
    support::{
        forge::{leaf_of, replace},
        heads::Stubborn,
        time::HandClock,
    },
    world::{ORIGIN, World, check, copy_dir, event, events, options, receipts, small_segments},
};

pub(crate) fn rotate(world: &World, purpose: Purpose) -> KeyRing {
    world.ring().rotate(purpose, SystemClock::default().now()).unwrap().ring
}

/// A log whose keys changed after each of so many events.
pub(crate) fn rotated(entry_keys: u64, checkpoint_keys: u64, events_between: u64) -> World {
    let world = World::new();
    let log = world.create(options());
    let mut next = 0;
    let mut record = |log: &Log| {
        receipts(log.append_all(&events(next..next + events_between)));
        next += events_between;
    };
    for turn in 0..entry_keys.max(checkpoint_keys) {
        record(&log);
        if turn < entry_keys {
            rotate(&world, Purpose::EntrySigning);
        }
        if turn < checkpoint_keys {
            rotate(&world, Purpose::CheckpointSigning);
        }
        // The keeper may have been faster.
        log.adopt_keys("a test").unwrap();
    }
    record(&log);
    log.close().unwrap();
    world
}

pub(crate) fn first_public(world: &World) -> VerifyingKey {
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    keys.first().cloned().unwrap()
}

pub(crate) fn publicly(world: &World, key: &VerifyingKey) -> indelible::verify::Report {
    world
        .try_verify(&world.log_path(), |request| {
            *request = Request { threads: 2, ..Request::new(key.clone(), SystemClock::default().now()) };
        })
        .unwrap()
}

#[test]
fn keys_rotate_and_the_log_stays_intact_for_everybody() {
    let world = rotated(5, 3, 7);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Checked);
    assert!(report.remarks.iter().filter(|remark| remark.kind == "keys_changed").count() >= 5);
    for key in world.ring().public_keys(ORIGIN).unwrap() {
        check(&publicly(&world, &key), Verdict::Intact, None, None);
    }
    let log = world.reopen();
    assert_eq!(log.key_history().entry_keys().len(), 6);
    assert_eq!(log.key_history().sets().len(), 4);
    receipts(log.append_all(&events(1000..1010)));
    assert!(log.append_json(&event(3)).unwrap().duplicate, "an event of the first key is found again");
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a16_a_rotation_at_every_index_of_a_small_log_is_never_called_tampered() {
    for at in 0..24_u64 {
        for purpose in [Purpose::EntrySigning, Purpose::CheckpointSigning] {
            let world = World::new();
            let log = world.create(small_segments());
            receipts(log.append_all(&events(0..at)));
            if at % 3 == 1 {
                log.keep_checkpoint().unwrap();
            }
            rotate(&world, purpose);
            if at % 2 == 0 {
                log.adopt_keys("a test").unwrap();
                receipts(log.append_all(&events(at..24)));
                log.close().unwrap();
            } else {
                log.close().unwrap();
                drop(log);
                let log = world.reopen();
                receipts(log.append_all(&events(at..24)));
                log.close().unwrap();
            }
            check(&world.verify(), Verdict::Intact, None, None);
            check(&publicly(&world, &first_public(&world)), Verdict::Intact, None, None);
        }
    }
}

#[test]
fn a_rotation_after_every_event_stays_intact() {
    let world = rotated(40, 40, 1);
    check(&world.verify(), Verdict::Intact, None, None);
    check(&publicly(&world, &first_public(&world)), Verdict::Intact, None, None);
}

#[test]
fn a23_rotation_turns_no_history_red_and_a_removed_key_costs_its_own_range_only() {
    let world = rotated(2, 0, 10);
    let ids: Vec<String> =
        world.reopen_and(|log| log.key_history().entry_keys().iter().map(|key| key.id.clone()).collect());
    world.forget_key(&ids[1]);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Partly);
    assert_eq!(report.macs_unchecked.len(), 1);
    assert_eq!((report.macs_unchecked[0].first, report.macs_unchecked[0].last), (11, 21));
    let asked = world.try_verify(&world.log_path(), |request| request.all_macs = true).unwrap();
    check(&asked, Verdict::Unverifiable, Some(Kind::KeyMissing), Some(11));
    // An edit in that range is found without its signatures.
    world.edit_line(15, |line| replace(line, "mara", "mary"));
    check(&world.verify(), Verdict::Tampered, Some(Kind::Changed), Some(15));
}

#[test]
fn a06_an_old_entry_signed_with_a_newer_key_is_tampered() {
    let world = rotated(1, 0, 10);
    let log_id = world.reopen_and(Log::log_id);
    let ring = world.ring();
    let newer = ring.active_entry().unwrap();
    // The thief of the new key writes an entry of the old one's time anew, with a right signature of his.
    let key = newer.key(log_id, ORIGIN, 2);
    world.edit_line(4, |line| resign_line(line, newer.id(), &key));
    let report = world.verify();
    check(&report, Verdict::Tampered, Some(Kind::Key), Some(4));
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    // The other way round: the old key at an index of the new one.
    let world = rotated(1, 0, 10);
    let log_id = world.reopen_and(Log::log_id);
    let old = world.reopen_and(|log| log.key_history().entry_keys()[0].id.clone());
    let ring = world.ring();
    let key = ring.entry(&old).unwrap().key(log_id, ORIGIN, 1);
    world.edit_line(15, |line| resign_line(line, &old, &key));
    check(&world.verify(), Verdict::Tampered, Some(Kind::Key), Some(15));
}

/// The line with another key id and that key's signature.
fn resign_line(line: &[u8], id: &str, key: &indelible_core::mac::EntryKey) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    let parsed = Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
    let entry = String::from_utf8(parsed.entry.bytes.to_vec()).unwrap();
    let changed = entry.replace(&format!("\"key\":\"{}\"", parsed.entry.key), &format!("\"key\":\"{id}\""));
    let mac = key.sign(&indelible_core::tree::leaf_hash(changed.as_bytes()));
    let mac_before = indelible_core::hex::encode(&parsed.mac);
    text.replace(&entry, &changed).replace(&mac_before, &indelible_core::hex::encode(&mac)).into_bytes()
}

#[test]
fn a07_a_keys_record_without_authority_is_tampered_and_changes_nothing() {
    let world = World::with_events(10, 1, options());
    let thief = KeyRing::load_or_create(&world.dir.path().join("thief")).unwrap();
    let log = world.open();
    // Who has the entry key alone writes a record that brings his own checkpoint key.
    let history = log.key_history();
    let set = indelible_core::note::KeySet::new(thief.public_keys(ORIGIN).unwrap(), Require::All).unwrap();
    let index = LeafIndex(log.size().unwrap());
    let change = indelible_core::history::Change { set: Some(set), reason: "mine".to_owned(), ..Default::default() };
    let record = history.changed(index, change).unwrap();
    let signer = thief.checkpoint_signer(ORIGIN).unwrap();
    let forged = Control::Keys(record).authorise(log.log_id(), ORIGIN, index, &signer).unwrap();
    log.close().unwrap();
    drop(log);
    world.append_forged(&forged);
    let report = world.verify();
    check(&report, Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(index.0));
}

#[test]
fn a24_old_public_keys_stay_in_the_log_and_in_the_ring() {
    let world = rotated(3, 3, 3);
    let ring = world.ring();
    let history = world.reopen_and(|log| (*log.key_history()).clone());
    let in_log: Vec<VerifyingKey> = history.sets().iter().flat_map(|set| set.set.keys().to_vec()).collect();
    assert_eq!(in_log, ring.public_keys(ORIGIN).unwrap());
    for key in history.entry_keys() {
        assert!(ring.entry(&key.id).is_some());
    }
}

#[test]
fn a_retired_checkpoint_key_signs_nothing_after_its_size() {
    let world = rotated(0, 1, 10);
    let ring = world.ring();
    let old = first_public(&world);
    let signer = ring.signers_for(ORIGIN, &[old]).unwrap();
    let head = world.reopen_and(|log| log.head().1);
    // The thief of the old key signs the right tree; a checkpoint by it alone counts for nothing any more.
    let note = Checkpoint::new(ORIGIN, head).sign(&[&signer[0]]).unwrap().to_string();
    fs::write(world.log_path().join("checkpoint"), note).unwrap();
    check(&world.verify(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
}

#[test]
fn the_first_kept_checkpoint_over_a_change_is_signed_by_both() {
    let world = rotated(0, 2, 10);
    let history = world.reopen_and(|log| (*log.key_history()).clone());
    let mut seen = 0;
    for number in 1..100 {
        let path = world.log_path().join("checkpoints").join(format!("{number:020}"));
        let Ok(note) = fs::read(&path) else { break };
        let checkpoint = history.open(&note).unwrap();
        let note = indelible_core::note::Note::parse(&note).unwrap();
        seen += usize::from(note.signatures().len() == 2);
        assert!(note.signatures().len() <= 2, "{}", checkpoint.head.size);
    }
    assert_eq!(seen, 2);
}

#[test]
fn a_bundle_leads_from_the_first_public_key_to_the_last() {
    let world = rotated(2, 3, 5);
    let log = world.reopen();
    for index in [0, 1, 7, 12, 20] {
        let bundle = log.prove(LeafIndex(index)).unwrap();
        assert_eq!(bundle.keys.len(), 3);
        let bytes = bundle.to_bytes();
        let read = Bundle::parse(&bytes).unwrap();
        assert_eq!(read, bundle);
        for key in world.ring().public_keys(ORIGIN).unwrap() {
            assert_eq!(read.check(&key).unwrap().index, LeafIndex(index));
        }
        let stranger = KeyRing::load_or_create(&world.dir.path().join("stranger")).unwrap();
        let stranger = stranger.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
        assert!(indelible::links::is_other_key(&read.check(&stranger).unwrap_err()));
        // Without the way the first key leads nowhere.
        let cut = Bundle { keys: Vec::new(), ..read.clone() };
        assert!(cut.check(&first_public(&world)).is_err());
        let mut broken = read;
        broken.keys.remove(1);
        assert!(broken.check(&first_public(&world)).is_err(), "a change was left out");
    }
}

#[test]
fn a_stolen_key_is_withdrawn_and_its_entries_signed_again() {
    let world = rotated(0, 0, 50);
    let log = world.reopen();
    let stolen = log.key_history().entry_keys()[0].id.clone();
    assert!(matches!(resign(&log, &stolen, None, "x", &|_, _| ()), Err(LogError::Refused(_))), "it is not withdrawn");
    rotate(&world, Purpose::EntrySigning);
    let withdrawn =
        Withdrawn { from: 30, id: stolen.clone(), reason: "a laptop".to_owned(), state: WithdrawnState::Compromised };
    let at = log.withdraw_keys("a laptop was stolen", &[withdrawn]).unwrap().unwrap();
    let rests = scope(&log, &stolen, None, 30).unwrap();
    assert_eq!(rests.entries, Some((30, at.0 - 1)));
    let signed = resign(&log, &stolen, Some((0, 20)), "after the theft", &|_, _| ()).unwrap();
    assert_eq!((signed.entries, signed.before, signed.records.len()), (21, 0, 1));
    let rest = resign(&log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
    assert_eq!((rest.before, rest.records.len()), (21, 1), "what is there is not signed once more");
    receipts(log.append_all(&events(500..510)));
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.remarks.iter().filter(|remark| remark.kind == "resigned").count(), 2, "{:#?}", report.remarks);
    assert!(report.remarks.iter().any(|remark| remark.kind == "key_withdrawn"));
    // The second signatures are changed.
    world.edit_attachments();
    let report = world.verify();
    assert_eq!(report.status, Verdict::Tampered, "{:#?}", report.findings);
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Overlay), "{:#?}", report.findings);
}

#[test]
fn a_record_of_second_signatures_without_authority_leaves_its_entries_to_be_signed() {
    let world = rotated(0, 0, 30);
    let log = world.reopen();
    let stolen = log.key_history().entry_keys()[0].id.clone();
    let new = rotate(&world, Purpose::EntrySigning).entry_key_id();
    let withdrawn =
        Withdrawn { from: 0, id: stolen.clone(), reason: "x".to_owned(), state: WithdrawnState::Compromised };
    log.withdraw_keys("a laptop was stolen", &[withdrawn]).unwrap();
    let (log_id, index) = (log.log_id(), LeafIndex(log.size().unwrap()));
    log.close().unwrap();
    drop(log);
    // Who has the new entry key as well says that it is done: without authority, or with his own.
    let said = Control::Resigned(indelible_core::control::Resigned {
        authorisation: None,
        first: 0,
        last: 19,
        leaf_root: "0".repeat(64),
        new_key: new,
        old_key: stolen.clone(),
        overlay: indelible_core::control::Overlay { digest: format!("sha256:{}", "0".repeat(64)), size: 640 },
        reason: "mine".to_owned(),
        root: "0".repeat(64),
        tree_size: 20,
    });
    let thief = KeyRing::load_or_create(&world.dir.path().join("thief")).unwrap();
    let signer = thief.checkpoint_signer(ORIGIN).unwrap();
    let genuine = world.lines();
    for forged in [said.clone(), said.authorise(log_id, ORIGIN, index, &signer).unwrap()] {
        world.append_forged(&forged);
        let refused = Log::open(&world.log_path(), world.ring(), options());
        assert!(
            matches!(&refused, Err(LogError::Store(StoreError::Evidence { index: at, .. })) if *at == index.0),
            "{:?}",
            refused.err()
        );
        world.put_lines(&genuine);
    }
    let log = world.reopen();
    let signed = resign(&log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
    assert_eq!((signed.before, signed.entries, signed.records.len()), (0, 31, 1));
    let again = resign(&log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
    assert_eq!((again.before, again.records.len()), (31, 0), "what has authority counts");
}

#[test]
fn an_overlay_without_authority_or_for_a_key_that_is_good_counts_for_nothing() {
    let world = rotated(1, 0, 10);
    let log = world.reopen();
    let history = log.key_history();
    let (old, new) = (history.entry_keys()[0].id.clone(), history.entry_keys()[1].id.clone());
    let ring = world.ring();
    let key = ring.entry(&new).unwrap().resign_key(log.log_id(), ORIGIN, 2);
    let leaves = log.store().hashes(0, 0, 5).unwrap();
    let overlay: Vec<u8> = leaves.iter().flat_map(|leaf| key.sign(leaf)).collect();
    let digest = log.put_attachment(&overlay).unwrap();
    let (_, head) = log.head();
    let record = indelible_core::control::Resigned {
        authorisation: None,
        first: 0,
        last: 4,
        leaf_root: indelible_core::tree::range_root(&leaves).to_hex(),
        new_key: new,
        old_key: old,
        overlay: indelible_core::control::Overlay {
            digest: format!("sha256:{}", indelible_core::hex::encode(&digest)),
            size: overlay.len() as u64,
        },
        reason: "none".to_owned(),
        root: head.root.to_hex(),
        tree_size: head.size.0,
    };
    let index = LeafIndex(log.size().unwrap());
    let log_id = log.log_id();
    log.close().unwrap();
    drop(log);
    let bare = world.log_path();
    let copy = world.dir.path().join("copy");
    copy_dir(&bare, &copy);
    world.append_forged(&Control::Resigned(record.clone()));
    check(&world.verify(), Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(index.0));
    fs::remove_dir_all(&bare).unwrap();
    copy_dir(&copy, &bare);
    let signer = ring.checkpoint_signer(ORIGIN).unwrap();
    let authorised = Control::Resigned(record).authorise(log_id, ORIGIN, index, &signer).unwrap();
    world.append_forged(&authorised);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    let told =
        report.remarks.iter().filter(|remark| remark.kind == "resigned" && remark.detail.contains("count for nothing"));
    assert_eq!(told.count(), 1, "{:#?}", report.remarks);
}

#[test]
fn several_algorithms_sign_one_checkpoint_and_a_policy_says_how_many_have_to() {
    let world = World::with_ring(&NewRing {
        checkpoint: vec![Algorithm::MlDsa44, Algorithm::EcdsaP256Sha256, Algorithm::RsaPssSha256],
        require: Require::AtLeast(3),
        ..NewRing::default()
    });
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    assert_eq!(keys.len(), 4);
    for key in &keys {
        check(&publicly(&world, key), Verdict::Intact, None, None);
    }
    // Two of four are too few, three are enough.
    let path = world.log_path().join("checkpoint");
    let note = fs::read_to_string(&path).unwrap();
    let drop_lines = |count: usize| {
        let (text, signatures) = note.split_once("\n\n").unwrap();
        let kept: Vec<&str> = signatures.lines().skip(count).collect();
        format!("{text}\n\n{}\n", kept.join("\n"))
    };
    fs::write(&path, drop_lines(1)).unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
    fs::write(&path, drop_lines(2)).unwrap();
    check(&world.verify(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
}

#[test]
fn entries_are_signed_by_hmac_sha_512_256_where_that_was_asked_for() {
    let world = World::with_ring(&NewRing {
        entry_algorithm: indelible_core::mac::EntryAlgorithm::HmacSha512_256,
        ..NewRing::default()
    });
    let log = world.create(options());
    receipts(log.append_all(&events(0..10)));
    rotate(&world, Purpose::EntrySigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(10..20)));
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Checked);
    world.edit_line(5, |line| replace(line, "mara", "mary"));
    check(&world.verify(), Verdict::Tampered, Some(Kind::Changed), Some(5));
}

#[test]
fn verification_goes_on_from_where_it_ended_over_changes_of_keys() {
    let world = rotated(1, 1, 10);
    for key in [None, Some(first_public(&world))] {
        let verified = match &key {
            None => world.verify(),
            Some(key) => publicly(&world, key),
        };
        let verified = verified.verified.unwrap();
        let log = world.reopen();
        receipts(log.append_all(&events(2000..2005)));
        rotate(&world, Purpose::EntrySigning);
        rotate(&world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").unwrap();
        receipts(log.append_all(&events(3000..3005)));
        log.close().unwrap();
        drop(log);
        let report = world
            .try_verify(&world.log_path(), |request| {
                if let Some(key) = &key {
                    *request = Request { threads: 2, ..Request::new(key.clone(), SystemClock::default().now()) };
                }
                request.from = Some(verified.clone());
            })
            .unwrap();
        check(&report, Verdict::Intact, None, None);
        assert_eq!(report.from, verified.size);
    }
}

#[test]
fn a_crash_between_a_change_of_keys_and_its_checkpoint_is_recovered() {
    let world = World::new();
    let stubborn = Stubborn::of(&world, |origin| HeadStoreError::Conflict { origin: origin.to_owned() });
    let keeper = Some(indelible::Keeper::manual());
    let log = world.create(Options { keeper, heads: Some(Arc::clone(&stubborn) as _), ..options() });
    receipts(log.append_all(&events(0..10)));
    log.checkpoint().unwrap();
    rotate(&world, Purpose::EntrySigning);
    rotate(&world, Purpose::CheckpointSigning);
    // The record is durable, and no checkpoint covers it when the process ends.
    stubborn.shut(true);
    assert!(log.adopt_keys("a test").is_err());
    let copy = world.dir.path().join("crashed");
    copy_dir(&world.log_path(), &copy);
    drop(log);
    let report = world.try_verify(&copy, |_| ()).unwrap();
    check(&report, Verdict::Intact, None, None);
    assert_eq!((report.unanchored, report.macs), (1, Macs::Checked));
    let log = Log::open(&copy, world.ring(), options()).unwrap();
    receipts(log.append_all(&events(20..30)));
    log.close().unwrap();
    check(&world.try_verify(&copy, |_| ()).unwrap(), Verdict::Intact, None, None);
}

#[test]
fn a_log_goes_on_under_a_new_key_where_the_secret_of_the_old_one_was_destroyed() {
    let world = rotated(0, 0, 10);
    let old = world.ring().active_entry().unwrap().id().to_owned();
    rotate(&world, Purpose::EntrySigning);
    world.ring().destroy(&old, SystemClock::default().now()).unwrap();
    let log = world.reopen();
    receipts(log.append_all(&events(100..110)));
    assert!(log.append_json(&event(3)).unwrap().duplicate);
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!((report.macs, report.macs_unchecked[0].last), (Macs::Partly, 10));
    // No signature can be checked there any more; that the stored hash fits is no proof. The first entry shows what names the newest kept checkpoint, by the same tree.
    let log = world.reopen();
    receipts(log.append_all(&events(200..201)));
    log.checkpoint().unwrap();
    let mut lines = world.lines();
    lines[4] = replace(&lines[4], "mara", "mary");
    // Written over: the log has these files open.
    fs::write(world.segment(), lines.concat()).unwrap();
    let leaves: Vec<u8> = lines.iter().flat_map(|line| leaf_of(line).0).collect();
    fs::write(world.log_path().join("tree/0"), leaves).unwrap();
    let event = String::from_utf8(event(3)).unwrap().replace("mara", "mary");
    let error = log.append_json(event.as_bytes()).unwrap_err();
    assert!(matches!(error, AppendError::Unknown { .. }), "{error:?}");
}

#[test]
fn a_clock_that_is_behind_is_told_behind_the_record_of_a_new_key() {
    let world = World::new();
    let clock = HandClock::new();
    clock.set("2099-01-01T00:00:00Z");
    let log = world.create(Options { clock, ..options() });
    receipts(log.append_all(&events(0..10)));
    log.close().unwrap();
    drop(log);
    let old = world.ring().active_entry().unwrap().id().to_owned();
    rotate(&world, Purpose::EntrySigning);
    world.ring().destroy(&old, SystemClock::default().now()).unwrap();
    let log = world.reopen();
    receipts(log.append_all(&events(10..20)));
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    let kinds: Vec<&str> = report.remarks.iter().map(|remark| remark.kind).collect();
    assert!(kinds.contains(&"clock_step") && kinds.contains(&"keys_changed"), "{kinds:?}");
}

#[test]
fn a_copy_takes_key_changes_and_second_signatures_along() {
    let world = rotated(1, 1, 20);
    let log = world.reopen();
    let old = log.key_history().entry_keys()[0].id.clone();
    let withdrawn = Withdrawn { from: 0, id: old.clone(), reason: "x".to_owned(), state: WithdrawnState::Compromised };
    log.withdraw_keys("x", &[withdrawn]).unwrap();
    resign(&log, &old, None, "x", &|_, _| ()).unwrap();
    log.close().unwrap();
    drop(log);
    let reader = indelible_store_file::FileReader::open(OsDisk::shared(), &world.log_path()).unwrap();
    let file = world.dir.path().join("copy.db");
    let place = indelible_store_sqlite::SqliteDriver::new(&file, None);
    indelible::copy::copy(&reader, &place, &|_, _| ()).unwrap();
    let copied = place.reader().unwrap();
    let request = Request {
        heads: Some(world.heads()),
        head_required: true,
        ..Request::of_ring(world.ring(), ORIGIN, SystemClock::default().now()).unwrap()
    };
    let report = indelible::verify::verify(&*copied, &request).unwrap();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|remark| remark.kind == "resigned"));
}

#[test]
fn two_processes_on_one_database_follow_each_others_rotations() {
    let world = World::new();
    let file = world.dir.path().join("shared.db");
    let place = indelible_store_sqlite::SqliteDriver::new(&file, None);
    let first = Log::create_in(&place, ORIGIN, &world.keys, options()).unwrap();
    let second = Log::open_in(&place, world.ring(), options()).unwrap();
    let (one, two) = (Arc::new(first), Arc::new(second));
    for turn in 0..6_u64 {
        receipts(one.append_all(&events(turn * 20..turn * 20 + 10)));
        receipts(two.append_all(&events(turn * 20 + 10..turn * 20 + 20)));
        rotate(&world, if turn % 2 == 0 { Purpose::EntrySigning } else { Purpose::CheckpointSigning });
        let log = if turn % 3 == 0 { &one } else { &two };
        log.adopt_keys("a test").unwrap();
        two.checkpoint().unwrap();
        one.checkpoint().unwrap();
    }
    receipts(one.append_all(&events(500..510)));
    receipts(two.append_all(&events(510..520)));
    one.close().unwrap();
    two.close().unwrap();
    let reader = place.reader().unwrap();
    let request = Request {
        heads: Some(world.heads()),
        head_required: true,
        ..Request::of_ring(world.ring(), ORIGIN, SystemClock::default().now()).unwrap()
    };
    let report = indelible::verify::verify(&*reader, &request).unwrap();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Checked);
}

#[test]
fn keys_that_fill_their_record_are_refused_with_what_to_do_and_the_log_goes_on() {
    let world = World::with_ring(&NewRing { checkpoint: vec![Algorithm::MlDsa44], ..NewRing::default() });
    let log = world.create(Options { keeper: Some(indelible::Keeper::manual()), ..options() });
    let adopt_next = |_| {
        rotate(&world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").err()
    };
    let refused = (0..40).find_map(adopt_next).unwrap();
    assert_eq!(log.key_history().sets().len(), 30);
    let told = indelible::error::chain(&refused);
    assert!(told.contains("of at most 64000: go on under a new name with `indelible log succeed`"), "{told}");
    assert_eq!(log.setbacks().keys, Some(told));
    receipts(log.append_all(&events(0..10)));
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}
