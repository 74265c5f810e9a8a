//! A log that was closed writes nothing more; and verification beside one that was not.

use std::sync::Arc;

use indelible::{AppendError, Keeper, LogError, Options, verify::Verdict};
use indelible_core::tree::LeafIndex;
use indelible_store::disk::OsDisk;

use crate::{
    support::gate::{Gate, GatedDisk},
    world::{World, check, event, events, files, options, receipts},
};

#[test]
fn whatever_writes_is_refused_after_the_end() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..3)));
    log.close().unwrap();
    let before = files(&world.log_path());
    let closed = |result: Result<(), LogError>| {
        assert!(matches!(result, Err(LogError::Append(AppendError::Closed))), "{result:?}")
    };
    assert!(matches!(log.append_json(&event(9)), Err(AppendError::Closed)));
    assert!(matches!(log.append_bounded(&event(9)).map(|_| ()), Err(AppendError::Closed)));
    closed(log.record_gap(1, "x", None).map(|_| ()));
    closed(log.checkpoint().map(|_| ()));
    closed(log.keep_checkpoint().map(|_| ()));
    closed(log.put_attachment(b"x").map(|_| ()));
    log.close().unwrap();
    assert_eq!(files(&world.log_path()), before);
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a_second_close_does_not_gloss_over_the_first() {
    let world = World::new();
    let log = world.create(options());
    receipts(log.append_all(&events(0..3)));
    // The head cannot be swapped: its place is taken away.
    let (heads, aside) = (world.keys.heads_dir(), world.dir.path().join("aside"));
    std::fs::rename(&heads, &aside).unwrap();
    std::fs::write(&heads, b"").unwrap();
    log.close().unwrap_err();
    assert!(matches!(log.close(), Err(LogError::Failed { .. })));
    std::fs::remove_file(&heads).unwrap();
    std::fs::rename(&aside, &heads).unwrap();
    assert!(matches!(log.close(), Err(LogError::Failed { .. })));
    drop(log);
    world.open().close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn what_is_kept_of_the_size_that_a_verification_ended_with_is_in_its_place() {
    for public in [false, true] {
        let world = World::new();
        let log = world.create(Options { keeper: Some(Keeper::manual()), ..options() });
        receipts(log.append_all(&events(0..3)));
        log.checkpoint().unwrap();
        let verify = |from| {
            let report = world.try_verify(&world.log_path(), |request| {
                (request.ring, request.heads) = match public {
                    true => (None, None),
                    false => (request.ring, request.heads),
                };
                request.head_required &= !public;
                request.from = from;
            });
            let report = report.unwrap();
            check(&report, Verdict::Intact, None, None);
            report.verified.unwrap()
        };
        let before = verify(None);
        // A checkpoint of just that size is kept.
        log.close().unwrap();
        drop(log);
        let at_rest = verify(Some(before.clone()));
        assert_eq!((at_rest.size, at_rest.kept), (before.size, before.kept + 1));
        world.reopen_and(|log| receipts(log.append_all(&events(3..6))));
        let after = verify(Some(before));
        assert_eq!(after, verify(Some(at_rest)));
        assert_eq!(after, verify(None));
    }
}

#[test]
fn a_strict_verification_counts_the_ids_behind_the_last_checkpoint() {
    let world = World::new();
    let options = indelible::Options { keeper: Some(indelible::Keeper::manual()), ..options() };
    let log = world.create(options);
    receipts(log.append_all(&events(0..20)));
    log.keep_checkpoint().unwrap();
    log.tend().unwrap();
    receipts(log.append_all(&events(20..50)));
    let strict = |path: &std::path::Path| world.try_verify(path, |request| request.strict = true).unwrap();
    // Beside the live writer, and in a copy that has none, as after a crash.
    let report = strict(&world.log_path());
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.unanchored, 30);
    let copy = world.dir.path().join("copy");
    crate::world::copy_dir(&world.log_path(), &copy);
    let report = strict(&copy);
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.unanchored, 30);
    log.close().unwrap();
    drop(log);
    check(&strict(&world.log_path()), Verdict::Intact, None, None);
}

#[test]
fn what_was_kept_while_a_batch_was_under_way_is_named_by_the_next_entry_however_often_the_log_is_opened() {
    let (world, gate) = (World::new(), Gate::default());
    let disk = Arc::new(GatedDisk { disk: OsDisk::shared(), gate: gate.clone() });
    let log = world.create(Options { disk, keeper: Some(Keeper::manual()), ..options() });
    receipts(log.append_all(&events(0..3)));
    gate.shut();
    let kept = std::thread::scope(|scope| {
        let caller = scope.spawn(|| log.append_all(&events(3..50)));
        gate.await_somebody();
        let kept = log.keep_checkpoint();
        // Before anything is asserted: a failure must not leave somebody at the gate.
        gate.open();
        receipts(caller.join().unwrap());
        kept.unwrap().kept
    });
    assert_eq!((kept.number, kept.size.0), (2, 4));
    log.close().unwrap();
    drop(log);
    let names = |log: &indelible::Log, index, number: u64| {
        let entry = String::from_utf8(log.get(LeafIndex(index)).unwrap().entry).unwrap();
        entry.contains(&format!("\"head\":{{\"number\":{number},"))
    };
    // None is kept on top of one that no entry names.
    for _ in 0..2 {
        let head = world.reopen_and(|log| (log.keep_checkpoint().unwrap(), log.size().unwrap()));
        assert_eq!((head.0.kept, head.1), (kept, 50 + 1));
    }
    world.reopen_and(|log| {
        log.append_json(&event(50)).unwrap();
        assert!(names(log, 51, 2) && !(4..51).any(|index| names(log, index, 2)));
        assert_eq!(log.keep_checkpoint().unwrap().kept.number, 3);
    });
    world.reopen_and(|log| {
        receipts(log.append_all(&events(51..53)));
        assert!(names(log, 52, 3) && !names(log, 53, 3));
    });
    let report = world.try_verify(&world.log_path(), |request| request.strict = true).unwrap();
    check(&report, Verdict::Intact, None, None);
}
