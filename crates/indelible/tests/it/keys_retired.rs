//! What whoever has the files, or a key that was replaced, gets past the commands that go by the ring and its head record.

use std::{fs, path::Path};

use indelible::{
    KeyRing, Log, LogError,
    clock::{Clock as _, SystemClock},
    manage,
    needed::logs_that_need,
    verify::{Macs, Verdict, all_keys, known_keys},
};
use indelible_core::{
    checkpoint::Checkpoint,
    entry::BodyKind,
    head::HeadRecord,
    note::{Algorithm, NoteSigner as _, VerifyingKey},
    tree::{Frontier, TreeHead, TreeSize, leaf_hash},
};
use indelible_keys::{NewRing, Purpose, State};
use indelible_store::{disk::OsDisk, heads::HeadStore as _};

use crate::{
    keys::{first_public, rotate, rotated},
    support::forge::{appended, leaf_of, reseal},
    world::{ORIGIN, World, check, copy_dir, event, events, options, overwrite, receipts},
};

fn head(world: &World) -> HeadRecord {
    world.heads().load(ORIGIN).unwrap().unwrap()
}

/// What a log names as its keys, for who has the ring and the head record.
fn named(world: &World, path: &Path) -> [Result<indelible::KeyHistory, LogError>; 2] {
    let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), path).unwrap();
    let own = world.ring().active_keys(ORIGIN).unwrap();
    [known_keys(&reader, Some(&head(world)), &own), all_keys(&reader, Some(&head(world)), &own)]
}

#[track_caller]
fn names_nothing(world: &World, path: &Path) {
    for found in named(world, path) {
        assert!(matches!(found, Err(LogError::Evidence { .. })), "{found:?}");
    }
}

#[test]
fn a_shorter_log_of_a_strangers_names_no_keys() {
    let world = World::with_events(20, 1, options());
    let thief = KeyRing::load_or_create(&world.dir.path().join("thief")).unwrap();
    let path = world.dir.path().join("forged");
    let log = Log::create(&path, ORIGIN, &thief, options()).unwrap();
    receipts(log.append_all(&events(100..103)));
    log.close().unwrap();
    drop(log);
    names_nothing(&world, &path);
    // Nor where it shows no checkpoint at all.
    fs::remove_file(path.join("checkpoint")).unwrap();
    names_nothing(&world, &path);
}

#[test]
fn a_shorter_log_that_names_a_key_beside_the_genuine_one_names_no_keys() {
    let world = World::with_events(20, 1, options());
    let own = world.public_key().to_string();
    let thief = KeyRing::load_or_create(&world.dir.path().join("thief")).unwrap();
    let signer = thief.checkpoint_signer(ORIGIN).unwrap();
    let strange = signer.verifying_key().to_string();
    let mut lines = world.lines()[..5].to_vec();
    let text = String::from_utf8(lines[0].clone()).unwrap();
    let both = text
        .replace(&format!("\"{own}\""), &format!("\"{own}\",\"{strange}\""))
        .replace(r#"["ed25519"]"#, r#"["ed25519","ed25519"]"#)
        .replace(r#""require":"all""#, r#""require":"1""#);
    assert!(both.len() > text.len() + strange.len(), "{both}");
    lines[0] = both.into_bytes();
    reseal(&mut lines, 1, &world.stolen_entry_key(), |_, body| body.to_vec());
    world.put_lines(&lines);
    world.rewrite_leaves();
    let _ = fs::remove_dir_all(world.log_path().join("checkpoints"));
    // What says how long the log was.
    for name in ["durable", "offsets"] {
        fs::remove_file(world.log_path().join(name)).unwrap();
    }
    let mut frontier = Frontier::new();
    lines.iter().for_each(|line| frontier.push(leaf_of(line)));
    let tree = TreeHead { size: TreeSize(lines.len() as u64), root: frontier.root() };
    let note = Checkpoint::new(ORIGIN, tree).sign(&[&signer]).unwrap().to_string();
    overwrite(&world.log_path().join("checkpoint"), note.as_bytes());
    names_nothing(&world, &world.log_path());
}

#[test]
fn a_copy_that_was_left_behind_names_its_keys_as_long_as_they_sign() {
    let world = World::with_events(10, 1, options());
    let copy = world.dir.path().join("copy");
    copy_dir(&world.log_path(), &copy);
    world.reopen_and(|log| receipts(log.append_all(&events(10..20))));
    for found in named(&world, &copy) {
        assert_eq!(found.unwrap().public_key(), Some(&first_public(&world)));
    }
    // Whose key was replaced is believed no more: who stole it may have made the copy.
    rotate(&world, Purpose::CheckpointSigning);
    names_nothing(&world, &copy);
    world.reopen_and(|log| receipts(log.append_all(&events(20..30))));
    names_nothing(&world, &copy);
    for found in named(&world, &world.log_path()) {
        assert!(found.is_ok());
    }
}

/// What the thief of a checkpoint key signs.
fn signed_by(world: &World, key: &VerifyingKey, size: u64) -> String {
    let tree = TreeHead { size: TreeSize(size), root: leaf_hash(b"another tree") };
    let signers = world.ring().signers_for(ORIGIN, std::slice::from_ref(key)).unwrap();
    Checkpoint::new(ORIGIN, tree).sign(&[&signers[0]]).unwrap().to_string()
}

#[test]
fn no_successor_goes_on_from_a_checkpoint_by_a_replaced_key() {
    let world = rotated(0, 1, 10);
    let (old, shown) = (first_public(&world), world.log_path().join("checkpoint"));
    let genuine = fs::read(&shown).unwrap();
    // The head record is damaged, so that the log's own word is all there is.
    overwrite(Path::new(&world.heads().place(ORIGIN)), b"{}\n");
    let succeed = |name: &str| {
        let (from, to) = (options().directory(&world.log_path()), options().directory(&world.dir.path().join(name)));
        manage::succeed(&from, &to, &format!("example.com/{name}"), world.ring(), options())
    };
    overwrite(&shown, signed_by(&world, &old, 50).as_bytes());
    let refused = succeed("forged").err().unwrap().to_string();
    assert!(refused.contains("by no active key"), "{refused}");
    assert!(!world.dir.path().join("forged").exists());
    overwrite(&shown, &genuine);
    succeed("next").unwrap().close().unwrap();
}

#[test]
fn a_destroyed_entry_key_is_the_logs_own_all_the_same() {
    let world = World::with_events(10, 1, options());
    let old = world.ring().active_entry().unwrap().id().to_owned();
    let now = SystemClock::default().now();
    rotate(&world, Purpose::EntrySigning).destroy(&old, now).unwrap();
    // The log has not taken the new key up yet: none of its signatures can be checked.
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!((report.macs, report.macs_unchecked[0].last), (Macs::Partly, 10));
    // Another log's ring is told as before.
    let stranger = KeyRing::load_or_create(&world.dir.path().join("stranger")).unwrap();
    let outcome = world.try_verify(&world.log_path(), |request| request.ring = Some(&stranger));
    assert!(matches!(outcome, Err(indelible::verify::VerifyError::WrongKey { .. })), "{outcome:?}");
    // It goes on under the new one.
    world.reopen_and(|log| receipts(log.append_all(&events(10..12))));
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Partly);
    // What somebody adds in the name of a destroyed key is none of the log's.
    let mut lines = world.lines();
    let forged = appended(&lines, &world.stolen_entry_key(), BodyKind::Event, &event(1000));
    lines.push(forged);
    world.put_lines(&lines);
    assert_eq!(world.verify().status, Verdict::Tampered);
}

fn needing(world: &World, id: &str, history: Option<&indelible::KeyHistory>) -> Vec<String> {
    let known = history.map(|history| (world.log_id(), history));
    logs_that_need(world.ring(), world.heads(), id, known).unwrap()
}

#[test]
fn a_key_is_needed_until_its_successor_signs_what_is_kept() {
    let world = World::with_events(10, 1, options());
    let id = |state: State| {
        let ring = world.ring();
        let mut keys = ring.keys().filter(|key| key.purpose == Purpose::CheckpointSigning && key.state == state);
        keys.next().unwrap().id.clone()
    };
    let first = id(State::Active);
    assert_eq!(needing(&world, &first, None), [ORIGIN]);
    rotate(&world, Purpose::CheckpointSigning);
    assert_eq!(needing(&world, &first, None), [ORIGIN], "the log knows nothing of it yet");
    world.reopen_and(|_| ());
    assert_eq!(needing(&world, &first, None), Vec::<String>::new(), "the first kept one over the change is there");
    assert_eq!(needing(&world, &id(State::Active), None), [ORIGIN]);
    // A second rotation that no log has taken up.
    let second = id(State::Active);
    rotate(&world, Purpose::CheckpointSigning);
    assert_eq!(needing(&world, &second, None), [ORIGIN]);
    // Keys that sign no checkpoints hold nothing up.
    let entry = world.ring().active_entry().unwrap().id().to_owned();
    assert_eq!(needing(&world, &entry, None), Vec::<String>::new());
}

#[test]
fn a_key_without_a_successor_is_needed_until_the_log_says_otherwise() {
    let new = NewRing { checkpoint: vec![Algorithm::MlDsa44], ..NewRing::default() };
    let world = World::with_ring(&new);
    let log = world.create(options());
    receipts(log.append_all(&events(0..5)));
    log.close().unwrap();
    drop(log);
    let ring = world.ring();
    let lattice = ring.keys().find(|key| key.algorithm.name() == Algorithm::MlDsa44.name()).unwrap().id.clone();
    ring.retire(&lattice, SystemClock::default().now()).unwrap();
    assert_eq!(needing(&world, &lattice, None), [ORIGIN]);
    let history = world.reopen_and(|log| (*log.key_history()).clone());
    assert_eq!(needing(&world, &lattice, Some(&history)), Vec::<String>::new());
    // Without the log at hand, its next checkpoint tells.
    assert_eq!(needing(&world, &lattice, None), [ORIGIN]);
    world.reopen_and(|log| receipts(log.append_all(&events(5..8))));
    assert_eq!(needing(&world, &lattice, None), Vec::<String>::new());
}
