//! What is done for logs beside recording: keys that fall due, and what cannot be done yet.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use indelible::{
    KeyRing, LeafIndex, Log, Options, Rotation, Setbacks,
    clock::{Clock as _, SystemClock},
    verify::{Macs, Request, Verdict, verify},
};
use indelible_keys::Purpose;
use indelible_store::{
    disk::OsDisk,
    heads::{FileHeads, HeadStoreError},
};

use crate::{
    support::{
        heads::{HeldUp, PATIENCE, Stubborn},
        time::HandClock,
    },
    world::{World, check, options},
};

const DAY: Duration = Duration::from_secs(86_400);

/// Options under which the keeper is at work at once.
fn quick() -> Options {
    Options { publish_every: Duration::from_millis(1), ..options() }
}

/// Gives logs traffic until something holds of each of them.
#[track_caller]
fn busy_until(logs: &[&Log], what: &str, holds: impl Fn(&Log) -> bool) {
    let begun = Instant::now();
    while !logs.iter().all(|log| holds(log)) {
        logs.iter()
            .for_each(|log| drop(log.append_json(br#"{"action":"x","actor":{"id":"m","type":"user"}}"#).unwrap()));
        let late = begun.elapsed() > Duration::from_secs(60);
        assert!(!late, "{what} within a minute");
    }
}

#[test]
fn logs_of_one_ring_all_take_up_what_one_of_them_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let keys = KeyRing::load_or_create_at(&dir.path().join("keys"), clock.now()).unwrap();
    let options = || Options { clock: clock.clone(), rotation: Rotation::WhenDue, ..quick() };
    let path = |n: usize| dir.path().join(format!("log-{n}"));
    let create = |n| Log::create(&path(n), &format!("example.com/{n}"), &keys, options()).unwrap();
    let logs: Vec<Log> = (0..3).map(create).collect();
    let (quiet, busy) = logs.split_last().unwrap();
    let busy: Vec<&Log> = busy.iter().collect();
    let current = |log: &Log| log.key_history().current_entry_key().unwrap().id.clone();
    // The jump takes the clock far beyond the time of day of the machine, which has no say.
    for (days, entry_keys, sets) in [(91, 2, 1), (91, 3, 1), (40 * 365, 4, 2), (91, 5, 2), (91, 6, 2)] {
        clock.pass(DAY * days);
        busy_until(&busy, "both take the new keys up", |log| log.key_history().entry_keys().len() == entry_keys);
        let ring = KeyRing::load(keys.dir()).unwrap();
        assert_eq!(ring.entry_key_version() as usize, entry_keys, "one rotates, the other follows");
        for log in &busy {
            assert_eq!((current(log), log.key_history().sets().len()), (ring.entry_key_id(), sets));
        }
    }
    busy_until(&[quiet], "its next events bring the new keys", |log| current(log) == current(busy[0]));
    assert_eq!(quiet.key_history().sets().len(), 2);
    logs.iter().for_each(|log| log.close().unwrap());
    let ring = KeyRing::load(keys.dir()).unwrap();
    let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
    for n in 0..3 {
        let reader = indelible_store_file::FileReader::open(OsDisk::shared(), &path(n)).unwrap();
        let request = Request {
            heads: Some(&heads),
            head_required: true,
            ..Request::of_ring(&ring, &format!("example.com/{n}"), clock.now()).unwrap()
        };
        let report = verify(&reader, &request).unwrap();
        check(&report, Verdict::Intact, None, None);
        assert_eq!(report.macs, Macs::Checked);
    }
}

#[test]
fn what_keeps_new_keys_from_being_taken_up_is_told_until_it_is_gone() {
    let world = World::new();
    let log = world.create(quick());
    busy_until(&[&log], "a checkpoint covers it", |log| log.head().1.size.0 > 1);
    assert_eq!(log.setbacks(), Setbacks::default());
    let path = world.keys.dir().join("ring.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, b"{").unwrap();
    busy_until(&[&log], "it is told", |log| log.setbacks().keys.is_some());
    let told = log.setbacks();
    assert!(told.keys.as_ref().is_some_and(|why| why.contains("ring.json")), "{told:?}");
    assert_eq!(Setbacks { keys: None, ..told }, Setbacks::default());
    let size = log.size().unwrap();
    busy_until(&[&log], "checkpoints go on", |log| log.head().1.size.0 > size);
    fs::write(&path, whole).unwrap();
    busy_until(&[&log], "it is forgotten", |log| log.setbacks() == Setbacks::default());
    world.ring().rotate(Purpose::EntrySigning, SystemClock::default().now()).unwrap();
    busy_until(&[&log], "the new key is taken up", |log| log.key_history().entry_keys().len() == 2);
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn keys_that_are_due_and_cannot_be_made_are_told_and_made_later() {
    let world = World::new();
    // The ring cannot be changed, and is a year old.
    let lock = world.keys.dir().join("ring.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let log = world.create(Options { clock: HandClock::new(), rotation: Rotation::WhenDue, ..quick() });
    let tells = |log: &Log| log.setbacks().keys.is_some_and(|why| why.contains("ring.lock"));
    busy_until(&[&log], "it is told", tells);
    assert_eq!(log.key_history().entry_keys().len(), 1);
    fs::remove_dir(&lock).unwrap();
    busy_until(&[&log], "the key is made", |log| log.key_history().entry_keys().len() == 2);
    busy_until(&[&log], "it is forgotten", |log| log.setbacks() == Setbacks::default());
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a_checkpoint_that_cannot_be_published_is_told_until_it_is() {
    let world = World::new();
    let unreachable = |_: &str| HeadStoreError::Io { place: "elsewhere".to_owned(), source: io::Error::other("full") };
    let heads = Stubborn::of(&world, unreachable);
    let log = world.create(Options { heads: Some(heads.clone()), ..quick() });
    heads.shut(true);
    let tells = |log: &Log| log.setbacks().checkpoint.is_some_and(|why| why.contains("`elsewhere`: full"));
    busy_until(&[&log], "it is told", tells);
    heads.shut(false);
    busy_until(&[&log], "it is forgotten", |log| log.setbacks() == Setbacks::default());
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn the_newest_head_is_told_while_the_next_one_is_being_made() {
    let world = World::with_events(3, 1, options());
    let heads = HeldUp::of(&world);
    let log = Log::open(&world.log_path(), &world.keys, Options { heads: Some(heads.clone()), ..options() }).unwrap();
    let before = log.head();
    log.append_json(br#"{"action":"x","actor":{"id":"m","type":"user"}}"#).unwrap();
    let (begun, go) = heads.hold();
    let publishing = std::thread::spawn({
        let log = log.clone();
        move || log.checkpoint().unwrap()
    });
    begun.recv_timeout(PATIENCE).unwrap();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let asking = std::thread::spawn({
        let log = log.clone();
        move || tell.send((log.head(), log.prove(LeafIndex(1)).is_ok())).unwrap()
    });
    // Nobody has told the publisher to go on yet.
    let (head, proven) = told.recv_timeout(PATIENCE / 2).unwrap();
    assert!(head == before && proven, "{head:?}");
    go.send(()).unwrap();
    let newest = publishing.join().unwrap();
    asking.join().unwrap();
    let (head, tree) = log.head();
    assert_eq!((head, tree.size.0), (newest, before.1.size.0 + 1));
    log.close().unwrap();
}
