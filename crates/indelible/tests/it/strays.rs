//! What stands in a log's folders and is none of its: files that somebody put there, and what a live writer adds while the log is verified.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use indelible::{
    Log, manage,
    verify::{Kind, Report, Request, Verdict},
};
use indelible_core::{entry::BodyKind, note::VerifyingKey, tree::LeafIndex};
use indelible_keys::Purpose;
use indelible_store::heads::HeadStore as _;

use crate::{
    keys::{first_public, rotate},
    support::forge::{appended_at, parsed},
    world::{ORIGIN, World, check, event, events, options, receipts, small_segments},
};

/// Verifies, and has something happen to the log when all of it was read and nothing is concluded yet.
fn beside(world: &World, auditor: Option<&VerifyingKey>, happens: &(dyn Fn() + Sync)) -> Report {
    let happened = AtomicBool::new(false);
    let once = |read: u64, total: u64| {
        if read >= total && !happened.swap(true, Ordering::SeqCst) {
            happens();
        }
    };
    let progress: &(dyn Fn(u64, u64) + Sync) = &once;
    // The request outlives neither.
    let ring = world.ring();
    let now = indelible::clock::Clock::now(&indelible::clock::SystemClock::default());
    let request = match auditor {
        Some(key) => Request::new(key.clone(), now),
        None => Request::of_ring(ring, ORIGIN, now).unwrap(),
    };
    let heads = auditor.is_none().then_some(world.heads() as &dyn indelible_store::heads::HeadStore);
    let request = Request { heads, head_required: auditor.is_none(), threads: 2, progress: Some(progress), ..request };
    let disk = indelible_store::disk::OsDisk::shared();
    let reader = indelible_store_file::driver::reader_of_entry_zero(&disk, &world.log_path()).unwrap();
    let report = indelible::verify::verify(&reader, &request).unwrap();
    assert!(happened.into_inner(), "nothing happened meanwhile");
    report
}

fn kept(log: &Log, from: u64) {
    receipts(log.append_all(&events(from..from + 5)));
    log.keep_checkpoint().unwrap();
    receipts(log.append_all(&events(from + 5..from + 8)));
}

#[test]
fn what_a_live_writer_keeps_meanwhile_is_no_finding() {
    let world = World::with_events(20, 2, options());
    let log = world.reopen();
    receipts(log.append_all(&events(20..25)));
    log.checkpoint().unwrap();
    let first = first_public(&world);
    for (round, auditor) in [Some(&first), None].into_iter().enumerate() {
        let from = 100 + 100 * round as u64;
        check(&beside(&world, auditor, &|| kept(&log, from)), Verdict::Intact, None, None);
    }
    // New keys are taken up meanwhile, by the keys that the ring has already and by ones that it gets then.
    for (round, auditor) in [Some(&first), None].into_iter().enumerate() {
        let from = 1000 + 100 * round as u64;
        rotate(&world, Purpose::CheckpointSigning);
        let change = || {
            log.adopt_keys("a test").unwrap();
            kept(&log, from);
        };
        check(&beside(&world, auditor, &change), Verdict::Intact, None, None);
    }
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn an_excuse_holds_beside_a_live_writer_who_takes_up_new_keys() {
    let world = World::with_events(120, 6, small_segments());
    let mut paths: Vec<_> =
        fs::read_dir(world.log_path().join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let first_of = |at: usize| paths[at].file_name().unwrap().to_str().unwrap()[..20].parse::<u64>().unwrap();
    fs::remove_file(&paths[1]).unwrap();
    let log = world.open();
    manage::explain(&log, first_of(1), first_of(2) - 1, "the disk of March").unwrap();
    let first = first_public(&world);
    for (round, auditor) in [Some(&first), None].into_iter().enumerate() {
        rotate(&world, Purpose::CheckpointSigning);
        let change = || {
            log.adopt_keys("a test").unwrap();
            kept(&log, 1000 + 100 * round as u64);
        };
        let report = beside(&world, auditor, &change);
        check(&report, Verdict::Intact, None, None);
        assert!(report.remarks.iter().any(|remark| remark.kind == "explained"));
    }
    log.close().unwrap();
}

/// Numbers above the head record's are none of the log's, by whomever: nothing is concluded from them.
#[test]
fn what_no_head_record_knows_says_nothing_to_the_writer() {
    let world = World::with_events(20, 2, options());
    let number = world.heads().load(ORIGIN).unwrap().unwrap().kept.number;
    let ring = rotate(&world, Purpose::CheckpointSigning);
    let keys = ring.public_keys(ORIGIN).unwrap();
    let newest = keys.iter().find(|key| **key != first_public(&world)).unwrap();
    let signers = ring.signers_for(ORIGIN, std::slice::from_ref(newest)).unwrap();
    let tree = indelible_core::tree::TreeHead {
        size: indelible_core::tree::TreeSize(7),
        root: indelible_core::tree::leaf_hash(b"x"),
    };
    let note = indelible_core::checkpoint::Checkpoint::new(ORIGIN, tree).sign(&[&signers[0]]).unwrap().to_string();
    let stray = world.log_path().join(format!("checkpoints/{:020}", number + 2));
    fs::write(&stray, &note).unwrap();
    check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
    // In the place of one that is the log's it is something else.
    fs::rename(&stray, world.log_path().join(format!("checkpoints/{number:020}"))).unwrap();
    assert_eq!(world.verify().status, Verdict::Tampered);
}

#[test]
fn thousands_of_strays_with_holes_between_them_are_told_once() {
    let world = World::with_events(20, 2, options());
    let note = fs::read(world.log_path().join("checkpoint")).unwrap();
    for number in 0..2_000_u64 {
        fs::write(world.log_path().join(format!("checkpoints/{:020}", 10 + 2 * number)), &note).unwrap();
    }
    let report = world.verify_public();
    check(&report, Verdict::Tampered, Some(Kind::CheckpointMissing), None);
    let missing = report.findings.iter().filter(|finding| finding.kind == Kind::CheckpointMissing).count() as u64;
    assert!(missing + report.more_findings > 2_000, "each hole is told: {missing} and {} more", report.more_findings);
    check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
}

/// A file of one line that says that it is entry `far`, of a batch of its own.
fn far_file(world: &World, far: u64, mac_is_right: bool) {
    let lines = world.lines();
    let line = appended_at(LeafIndex(far), &lines, &world.stolen_entry_key(), BodyKind::Event, &event(1_000_000));
    let mut line = String::from_utf8(line).unwrap();
    if !mac_is_right {
        let mac = indelible_core::hex::encode(&parsed(line.as_bytes()).mac);
        line = line.replace(&mac, &"0".repeat(64));
    }
    fs::write(world.log_path().join(format!("segments/{far:020}.jsonl")), line).unwrap();
}

#[test]
fn a_file_behind_the_end_is_no_torn_write_and_no_gap() {
    for far in [25, 40, 5_000] {
        for mac_is_right in [false, true] {
            let world = World::with_events(20, 2, options());
            assert_eq!(world.lines().len(), 21);
            far_file(&world, far, mac_is_right);
            let report = world.verify();
            assert_eq!(report.status, Verdict::Tampered, "{far} {mac_is_right}: {:#?}", report.findings);
            assert!(report.findings.iter().all(|finding| finding.kind != Kind::Absent), "{:#?}", report.findings);
            assert!(report.remarks.iter().all(|remark| remark.kind != "torn_tail"), "{:#?}", report.remarks);
            let report = world.verify_public();
            assert_eq!(report.status, Verdict::Tampered, "{far} {mac_is_right}: {:#?}", report.findings);
        }
    }
}

#[test]
fn what_a_crash_tore_is_a_torn_write() {
    let world = World::with_events(20, 2, options());
    let genuine = world.lines();
    let next = appended_at(LeafIndex(21), &genuine, &world.stolen_entry_key(), BodyKind::Event, &event(50));
    for torn in [&next[..next.len() / 2], &b"\0\0\0\0"[..], &next[next.len() / 2..]] {
        let mut lines = genuine.clone();
        lines.push(torn.to_vec());
        world.put_lines(&lines);
        let report = world.verify();
        check(&report, Verdict::Intact, None, None);
        assert!(report.remarks.iter().any(|remark| remark.kind == "torn_tail"), "{:#?}", report.remarks);
    }
    // A hole in one batch, with whole lines of it behind.
    let first = next.clone();
    let mut batch = genuine.clone();
    batch.push(first);
    let second = appended_at(LeafIndex(22), &batch, &world.stolen_entry_key(), BodyKind::Event, &event(51));
    let second = String::from_utf8(second).unwrap().replacen("{\"batch\":22,", "{\"batch\":21,", 1);
    let mut lines = genuine.clone();
    lines.push(vec![0; next.len() - 1]);
    lines.push(b"\n".to_vec());
    lines.push(second.clone().into_bytes());
    world.put_lines(&lines);
    check(&world.verify(), Verdict::Intact, None, None);
    // The same line of a batch that came later.
    let last = lines.len() - 1;
    lines[last] = second.replacen("{\"batch\":21,", "{\"batch\":22,", 1).into_bytes();
    world.put_lines(&lines);
    assert_eq!(world.verify().status, Verdict::Tampered);
}
