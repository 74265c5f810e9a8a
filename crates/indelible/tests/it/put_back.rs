//! A head record that was put back from a copy while the log went on: nobody writes on from it, and a repair moves it forward.

use std::{fs, path::PathBuf};

use indelible::{
    KeyRing, Log, LogError, manage,
    verify::{Kind, Report, Verdict},
};
use indelible_core::{
    checkpoint::Checkpoint,
    head::HeadRecord,
    note::VerifyingKey,
    tree::{TreeHead, TreeSize, leaf_hash},
};
use indelible_keys::Purpose;
use indelible_store::heads::HeadStore as _;

use crate::{
    keys::{first_public, rotate},
    world::{ORIGIN, World, check, events, options, overwrite, receipts},
};

fn record(world: &World) -> PathBuf {
    PathBuf::from(world.heads().place(ORIGIN))
}

fn head(world: &World) -> HeadRecord {
    world.heads().load(ORIGIN).unwrap().unwrap()
}

/// A log that went on for `rounds` openings, with what the head record was before them. Each keeps a checkpoint when it is closed.
fn gone_on(rounds: u64, rotated: bool) -> (World, Vec<u8>) {
    let world = World::with_events(10, 1, options());
    let old = fs::read(record(&world)).unwrap();
    for round in 0..rounds {
        if rotated {
            rotate(&world, Purpose::CheckpointSigning);
            rotate(&world, Purpose::EntrySigning);
        }
        world.reopen_and(|log| receipts(log.append_all(&events(10 + 5 * round..15 + 5 * round))));
    }
    (world, old)
}

fn repair(world: &World) -> Result<manage::Repaired, LogError> {
    manage::repair(&options().directory(&world.log_path()), world.ring(), &options())
}

fn verify_by(world: &World, key: VerifyingKey) -> Report {
    let edit = |request: &mut indelible::verify::Request<'_>| {
        (request.ring, request.heads, request.keys) = (None, None, vec![key]);
    };
    world.try_verify(&world.log_path(), edit).unwrap()
}

fn opened(world: &World) -> Result<Log, LogError> {
    Log::open(&world.log_path(), world.ring(), options())
}

#[track_caller]
fn all_intact(world: &World) {
    let strict = world.try_verify(&world.log_path(), |request| request.strict = true).unwrap();
    check(&strict, Verdict::Intact, None, None);
    check(&verify_by(world, first_public(world)), Verdict::Intact, None, None);
}

/// The thief of a replaced key cuts the log to where that key signed, and has the old head record put back.
#[test]
fn no_repair_moves_the_head_to_a_checkpoint_of_a_key_that_was_replaced() {
    let world = World::with_events(10, 1, options());
    let old = fs::read(record(&world)).unwrap();
    world.reopen_and(|log| receipts(log.append_all(&events(10..15))));
    let shown = world.dir.path().join("shown");
    crate::world::copy_dir(&world.log_path(), &shown);
    rotate(&world, Purpose::CheckpointSigning);
    world.reopen_and(|log| receipts(log.append_all(&events(15..20))));
    fs::remove_dir_all(world.log_path()).unwrap();
    crate::world::copy_dir(&shown, &world.log_path());
    overwrite(&record(&world), &old);
    let before = head(&world);
    let refused = repair(&world).err().map(|error| indelible::error::chain(&error)).unwrap_or_default();
    assert!(refused.contains("by no key that is active") && refused.contains("log succeed"), "{refused}");
    assert_eq!(head(&world), before);
}

#[test]
fn nobody_writes_on_from_an_old_head() {
    for rotated in [false, true] {
        let (world, old) = gone_on(3, rotated);
        overwrite(&record(&world), &old);
        let files = crate::world::files(&world.log_path());
        let error = opened(&world).err().unwrap();
        assert!(matches!(error, LogError::HeadPutBack { .. }), "{error}");
        assert!(error.to_string().contains("log repair"), "{error}");
        // A kept checkpoint tells as well, and so does an entry that names one.
        fs::remove_file(world.log_path().join("checkpoint")).unwrap();
        assert!(matches!(opened(&world), Err(LogError::HeadPutBack { .. })));
        for kept in 3..=head(&world).kept.number + 3 {
            drop(fs::remove_file(world.log_path().join(format!("checkpoints/{kept:020}"))));
        }
        assert!(matches!(opened(&world), Err(LogError::HeadPutBack { .. })));
        assert!(files.len() > crate::world::files(&world.log_path()).len());
    }
}

#[test]
fn a_repair_moves_an_old_head_forward_and_the_log_goes_on() {
    for rotated in [false, true] {
        let (world, old) = gone_on(3, rotated);
        let newest = head(&world);
        overwrite(&record(&world), &old);
        check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
        repair(&world).unwrap();
        let now = head(&world);
        assert_eq!((&now.checkpoint, now.kept, now.keys), (&newest.checkpoint, newest.kept, newest.keys));
        for kept in 1..=newest.kept.number {
            assert!(world.log_path().join(format!("checkpoints/{kept:020}")).exists(), "{kept} was moved away");
        }
        all_intact(&world);
        for round in 0..3 {
            world.reopen_and(|log| receipts(log.append_all(&events(100 + 5 * round..105 + 5 * round))));
            all_intact(&world);
        }
        rotate(&world, Purpose::CheckpointSigning);
        world.reopen_and(|log| receipts(log.append_all(&events(200..205))));
        all_intact(&world);
    }
}

#[test]
fn where_the_published_checkpoint_is_old_too_the_kept_ones_tell() {
    let world = World::with_events(10, 1, options());
    let published = world.log_path().join("checkpoint");
    let (old, shown) = (fs::read(record(&world)).unwrap(), fs::read(&published).unwrap());
    for round in 0..3 {
        world.reopen_and(|log| receipts(log.append_all(&events(10 + 5 * round..15 + 5 * round))));
    }
    let newest = head(&world);
    overwrite(&record(&world), &old);
    overwrite(&published, &shown);
    check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
    assert!(matches!(opened(&world), Err(LogError::HeadPutBack { .. })));
    repair(&world).unwrap();
    assert_eq!((head(&world).checkpoint, head(&world).kept), (newest.checkpoint, newest.kept));
    all_intact(&world);
}

#[test]
fn what_an_entry_names_is_judged_whatever_the_head_record_knows() {
    let (world, old) = gone_on(3, false);
    let named = head(&world).kept.number - 1;
    overwrite(&record(&world), &old);
    let path = world.log_path().join(format!("checkpoints/{named:020}"));
    let genuine = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    check(&world.verify(), Verdict::Tampered, Some(Kind::CheckpointMissing), None);
    assert!(matches!(repair(&world), Err(LogError::Refused(_))));
    overwrite(&path, &genuine[..genuine.len() - 3]);
    check(&world.verify(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
    overwrite(&path, &fs::read(world.log_path().join("checkpoints/00000000000000000001")).unwrap());
    check(&world.verify(), Verdict::Tampered, Some(Kind::CheckpointMismatch), None);
    assert_eq!(fs::read(record(&world)).unwrap(), old, "the head record was moved");
    overwrite(&path, &genuine);
    check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
}

/// A checkpoint over a tree of nobody's.
fn forged(ring: &KeyRing, key: &VerifyingKey, size: u64) -> Vec<u8> {
    let signers = ring.signers_for(ORIGIN, std::slice::from_ref(key)).unwrap();
    let tree = TreeHead { size: TreeSize(size), root: leaf_hash(b"another tree") };
    Checkpoint::new(ORIGIN, tree).sign(&[&signers[0]]).unwrap().to_string().into_bytes()
}

fn stray(world: &World, number: u64) -> PathBuf {
    world.log_path().join(format!("checkpoints/{number:020}"))
}

#[test]
fn what_a_stranger_or_a_replaced_key_signed_keeps_no_log_shut() {
    let (world, _) = gone_on(1, true);
    let stranger = KeyRing::load_or_create(&world.dir.path().join("stranger")).unwrap();
    let strange = stranger.public_keys(ORIGIN).unwrap();
    let kept = head(&world).kept.number;
    for (number, note) in [
        (kept + 1, forged(&stranger, &strange[0], 1000)),
        (kept + 5, forged(world.ring(), &first_public(&world), 1000)),
        (kept + 9, b"no note".to_vec()),
    ] {
        fs::write(stray(&world, number), note).unwrap();
    }
    world.reopen_and(|log| receipts(log.append_all(&events(300..303))));
    check(&world.verify(), Verdict::Damaged, Some(Kind::Derived), None);
}

#[test]
fn no_repair_moves_the_head_to_what_a_thief_signed() {
    let (world, old) = gone_on(2, false);
    overwrite(&record(&world), &old);
    let key = first_public(&world);
    for path in [world.log_path().join("checkpoint"), stray(&world, 4)] {
        let genuine = fs::read(&path).unwrap();
        overwrite(&path, &forged(world.ring(), &key, 18));
        assert!(matches!(repair(&world), Err(LogError::Refused(_))), "{}", path.display());
        assert_eq!(fs::read(record(&world)).unwrap(), old);
        overwrite(&path, &genuine);
    }
    repair(&world).unwrap();
    all_intact(&world);
}

/// What a crash leaves is none of that: the record is the newer one.
#[test]
fn a_log_that_lags_behind_its_head_opens() {
    let (world, _) = gone_on(2, false);
    for path in [world.log_path().join("checkpoint"), stray(&world, head(&world).kept.number)] {
        let genuine: Option<Vec<u8>> = fs::read(&path).ok();
        fs::remove_file(&path).unwrap();
        world.reopen_and(|_| ());
        assert_eq!(fs::read(&path).ok(), genuine, "{}", path.display());
    }
    all_intact(&world);
}
