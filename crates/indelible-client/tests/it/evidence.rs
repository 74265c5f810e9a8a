//! What the server shows is verified, and what it must not show is told as what it is.

use indelible::LeafIndex;
use indelible_client::{FollowError, Followed, Memory, blocking::Log};

use crate::{
    front::{Act, Front},
    world::{World, many, prepared},
};

/// Records events and has a checkpoint cover them.
fn record(log: &Log, name: &str, count: usize) {
    let last = log.append_all(&many(name, count)).pop().unwrap().unwrap().index;
    log.proof(last).unwrap();
}

#[test]
fn a_log_that_grows_is_followed() {
    let world = World::with_log();
    let (log, key, memory) = (world.log(), world.key(), Memory::new(world.at("memory")));
    let mut sizes = Vec::new();
    for (round, count) in [3, 1, 300, 600, 7].into_iter().enumerate() {
        record(&log, &round.to_string(), count);
        sizes.push(log.follow(&key, &memory).unwrap().head.size.0);
        assert_eq!(log.follow(&key, &memory).unwrap().head.size.0, *sizes.last().unwrap());
    }
    assert_eq!(sizes, [4, 5, 305, 905, 912]);
    // An older one that somebody kept is the beginning, too.
    let kept = memory.load(&key).unwrap().unwrap();
    record(&log, "more", 5);
    log.follow_from(&key, Some(&kept)).unwrap();
}

#[test]
fn a_log_that_is_set_back_with_its_heads_is_told() {
    let mut world = World::with_log();
    let (key, memory) = (world.key(), Memory::new(world.at("memory")));
    record(&world.log(), "a", 5);
    world.stop();
    world.keep("then");
    world.start();
    record(&world.log(), "b", 5);
    let seen = world.log().follow(&key, &memory).unwrap();
    world.stop();
    world.set_back("then");
    world.start();
    // Nothing on the server's machine knows better, and the server says intact.
    let report = world.log().verify(20).unwrap().report.unwrap();
    assert_eq!(report["status"], "intact");
    let error = world.log().follow(&key, &memory).unwrap_err();
    assert!(error.is_evidence() && error.to_string().starts_with("rolled back: "), "{error}");
    assert!(matches!(&error, FollowError::RolledBack { known_note, .. } if *known_note == seen.note), "{error:?}");
    // It stays so while the log grows to another end: then there are two that its keys have signed.
    record(&world.log(), "c", 9);
    let error = world.log().follow(&key, &memory).unwrap_err();
    assert!(error.is_evidence() && matches!(&error, FollowError::Forked { .. }), "{error:?}");
    assert!(error.to_string().starts_with("forked: "), "{error}");
    assert_eq!(memory.load(&key).unwrap().unwrap(), seen.note, "what was seen is not forgotten");
}

#[test]
fn two_ends_of_one_size_are_a_fork() {
    let mut world = World::with_log();
    let (key, memory) = (world.key(), Memory::new(world.at("memory")));
    world.stop();
    world.keep("then");
    world.start();
    record(&world.log(), "a", 4);
    world.log().follow(&key, &memory).unwrap();
    world.stop();
    world.set_back("then");
    world.start();
    record(&world.log(), "b", 4);
    let error = world.log().follow(&key, &memory).unwrap_err();
    assert!(matches!(&error, FollowError::Forked { known, shown, .. } if known == shown), "{error:?}");
}

#[test]
fn wrong_hashes_are_unproven_and_never_a_fork() {
    let world = World::with_log();
    let (key, memory) = (world.key(), Memory::new(world.at("memory")));
    record(&world.log(), "a", 5);
    world.log().follow(&key, &memory).unwrap();
    record(&world.log(), "b", 5);
    let flip: fn(&mut Vec<u8>) = |answer| *answer.last_mut().unwrap() ^= 1;
    let front = Front::new(world.address, &[], Act::Change("/tile/", flip));
    let error = world.log_at(front.address).follow(&key, &memory).unwrap_err();
    assert!(error.is_evidence() && matches!(error, FollowError::Unproven { .. }), "{error:?}");
    world.log().follow(&key, &memory).unwrap();
}

#[test]
fn a_checkpoint_of_another_key_or_another_text_is_refused() {
    let world = World::with_log();
    let other = World::with_log();
    record(&world.log(), "a", 2);
    let memory = Memory::new(world.at("memory"));
    let error = world.log().follow(&other.key(), &memory).unwrap_err();
    assert!(matches!(error, FollowError::Signature(_)) && !error.is_evidence(), "another key says nothing: {error:?}");
    let change: fn(&mut Vec<u8>) = |answer| {
        let at = answer.windows(3).rposition(|window| window == b"\n3\n").unwrap();
        answer[at + 1] = b'4';
    };
    let front = Front::new(world.address, &[], Act::Change("/checkpoint", change));
    let error = world.log_at(front.address).follow(&world.key(), &memory).unwrap_err();
    assert!(matches!(error, FollowError::Signature(_)) && error.is_evidence(), "{error:?}");
    assert_eq!(memory.load(&world.key()).unwrap(), None);
    std::fs::create_dir_all(world.at("memory")).unwrap();
    std::fs::write(memory.place(&world.key()), "no note").unwrap();
    let error = world.log().follow(&world.key(), &memory).unwrap_err();
    assert!(matches!(error, FollowError::Memory(_)) && error.to_string().contains("begin anew"), "{error}");
}

#[test]
fn receipts_and_entries_are_held_against_what_was_sent_and_signed() {
    let world = World::with_log();
    let (log, key) = (world.log(), world.key());
    let events = many("a", 300);
    let receipts: Vec<_> = log.append_all(&events).into_iter().map(Result::unwrap).collect();
    log.proof(LeafIndex(300)).unwrap();
    let under: Followed = log.follow_from(&key, None).unwrap();
    log.verify_receipts(&receipts, &under).unwrap();
    for at in [0, 150, 299] {
        log.verify_recorded(&events[at], &receipts[at], &under).unwrap();
        let error = log.verify_recorded(&prepared("other"), &receipts[at], &under).unwrap_err();
        assert!(error.is_evidence() && error.to_string().contains("the event in it is another"), "{error}");
    }
    let mut forged = receipts.clone();
    forged[200].leaf.0[0] ^= 1;
    let error = log.verify_receipts(&forged, &under).unwrap_err();
    assert!(error.is_evidence() && error.to_string().contains("entry 201"), "{error}");
    let error = log.verify_recorded(&events[200], &forged[200], &under).unwrap_err();
    assert!(matches!(error, FollowError::NotWhatWasSent { .. }), "{error:?}");
    let later = log.append_prepared(&prepared("later")).unwrap();
    let error = log.verify_receipts(&[later], &under).unwrap_err();
    assert!(matches!(error, FollowError::NotCovered { .. }) && !error.is_evidence(), "{error:?}");
}
