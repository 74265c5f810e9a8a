//! Logs whose tail nobody can check, because the ring was put back or lost a secret: what opening does with entries that were acknowledged.

use std::{fs, path::PathBuf, time::Duration};

use indelible::{
    KeyRing, Log, LogError, Options, Receipt, StoreError,
    clock::{Clock as _, SystemClock},
    verify::{Request, Verdict, verify},
};
use indelible_core::tree::leaf_hash;
use indelible_keys::{Purpose, State};
use indelible_store::{disk::OsDisk, heads::FileHeads};
use indelible_store_sqlite::SqliteDriver;

use crate::{
    keys::rotate,
    world::{ORIGIN, World, check, copy_dir, event, events, files, options, overwrite, receipts},
};

/// A log as power loss leaves it: its last entry was acknowledged behind the newest head, and what says so, which is never synced, is of before.
struct Lost {
    world: World,
    acknowledged: Vec<Receipt>,
}

fn unpublished() -> Options {
    Options { publish_every: Duration::from_secs(3600), ..options() }
}

impl Lost {
    /// `before` has the log as soon as it is there, and the ring is that of then.
    fn with(before: impl FnOnce(&World, &Log)) -> Self {
        let world = World::new();
        let log = world.create(unpublished());
        before(&world, &log);
        receipts(log.append_all(&events(0..5)));
        log.checkpoint().unwrap();
        let durable = fs::read(world.log_path().join("durable")).unwrap();
        let acknowledged = receipts(log.append_all(&events(5..8)));
        let lost = Self { world, acknowledged };
        copy_dir(&lost.world.log_path(), &lost.log());
        copy_dir(lost.world.keys.dir(), &lost.keys());
        overwrite(&lost.log().join("durable"), &durable);
        log.close().unwrap();
        lost
    }

    fn log(&self) -> PathBuf {
        self.world.dir.path().join("lost")
    }

    fn keys(&self) -> PathBuf {
        self.world.dir.path().join("lost-keys")
    }

    fn ring(&self) -> KeyRing {
        KeyRing::load(&self.keys()).unwrap()
    }

    fn try_open(&self) -> Result<Log, LogError> {
        Log::open(&self.log(), &self.ring(), unpublished())
    }

    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        // Who takes the lease writes down who has it.
        let files = files(&self.log()).into_iter().filter(|path| !path.ends_with("lock"));
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[track_caller]
    fn refuses_and_changes_nothing(&self, words: &str) {
        let before = self.content();
        match self.try_open() {
            Err(LogError::Store(StoreError::Unchecked { index, detail })) => {
                assert_eq!(index, self.acknowledged[0].index.0, "{detail}");
                assert!(detail.contains(words), "{detail}");
            }
            other => panic!("{:?}", other.err()),
        }
        assert!(self.content() == before, "something was changed");
    }

    /// With the right ring everything is there.
    #[track_caller]
    fn has_all(&self) {
        let log = self.try_open().unwrap();
        for receipt in &self.acknowledged {
            assert_eq!(leaf_hash(&log.get(receipt.index).unwrap().entry), receipt.leaf);
        }
        log.close().unwrap();
        assert_eq!(fs::read_dir(self.log().join("aside")).unwrap().count(), 0);
        let ring = self.ring();
        let heads = FileHeads::new(OsDisk::shared(), &ring.heads_dir());
        let request = Request {
            heads: Some(&heads),
            head_required: true,
            ..Request::of_ring(&ring, ORIGIN, SystemClock::default().now()).unwrap()
        };
        let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &self.log()).unwrap();
        check(&verify(&reader, &request).unwrap(), Verdict::Intact, None, None);
    }
}

#[test]
fn a_ring_without_the_newest_entry_key_cuts_nothing() {
    let mut old = Vec::new();
    let lost = Lost::with(|world, log| {
        old = fs::read(world.keys.dir().join("ring.json")).unwrap();
        rotate(world, Purpose::EntrySigning);
        log.adopt_keys("a test").unwrap();
    });
    let path = lost.keys().join("ring.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, &old).unwrap();
    lost.refuses_and_changes_nothing("has no key");
    fs::write(&path, &good).unwrap();
    lost.has_all();
}

#[test]
fn a_destroyed_entry_key_cuts_nothing() {
    let lost = Lost::with(|_, _| ());
    let path = lost.keys().join("ring.json");
    let good = fs::read(&path).unwrap();
    let now = SystemClock::default().now();
    let ring = lost.ring().rotate(Purpose::EntrySigning, now).unwrap().ring;
    let old = ring.keys().find(|key| key.purpose == Purpose::EntrySigning && key.state == State::VerifyOnly);
    let old = old.unwrap().id.clone();
    ring.destroy(&old, now).unwrap();
    lost.refuses_and_changes_nothing("was destroyed");
    fs::write(&path, &good).unwrap();
    lost.has_all();
}

#[test]
fn nothing_is_cut_by_who_cannot_go_on_and_say_so() {
    let mut old = Vec::new();
    let lost = Lost::with(|world, log| {
        old = fs::read(world.keys.dir().join("ring.json")).unwrap();
        rotate(world, Purpose::EntrySigning);
        log.adopt_keys("a test").unwrap();
    });
    // The acknowledged lines go, and half a line that was not acknowledged is left.
    let segment = files(&lost.log().join("segments")).pop().unwrap();
    let text = fs::read(&segment).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let whole = lines[..usize::try_from(lost.acknowledged[0].index.0).unwrap()].concat();
    let torn = [&whole[..], &lines[lines.len() - 1][..40]].concat();
    overwrite(&segment, &torn);
    let path = lost.keys().join("ring.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, &old).unwrap();
    let before = lost.content();
    let refused = lost.try_open().err().unwrap();
    assert!(matches!(refused, LogError::Store(StoreError::Unchecked { .. })), "{refused:?}");
    assert!(lost.content() == before, "something was changed");
    // Who has the key cuts, and the log says so.
    fs::write(&path, &good).unwrap();
    let log = lost.try_open().unwrap();
    assert_eq!(fs::read_dir(lost.log().join("aside")).unwrap().count(), 1);
    let record = String::from_utf8(log.get(lost.acknowledged[0].index).unwrap().entry).unwrap();
    assert!(record.contains("\"recovered\""), "{record}");
    log.close().unwrap();
}

#[test]
fn a_database_whose_tail_cannot_be_checked_is_no_evidence() {
    let world = World::new();
    let file = world.dir.path().join("audit.db");
    let place = SqliteDriver::new(&file, Some(ORIGIN.to_owned()));
    let log = Log::create_in(&place, ORIGIN, &world.keys, unpublished()).unwrap();
    let old = fs::read(world.keys.dir().join("ring.json")).unwrap();
    rotate(&world, Purpose::EntrySigning);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(0..5)));
    log.checkpoint().unwrap();
    let last = log.append_json(&event(5)).unwrap();
    // As a process that is killed leaves it: its connection goes, and no checkpoint covers the end.
    let (copy, keys) = (world.dir.path().join("copy"), world.dir.path().join("copy-keys"));
    fs::create_dir(&copy).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let from = world.dir.path().join(format!("audit.db{suffix}"));
        if from.exists() {
            fs::copy(&from, copy.join(format!("audit.db{suffix}"))).unwrap();
        }
    }
    copy_dir(world.keys.dir(), &keys);
    log.close().unwrap();
    let place = SqliteDriver::new(&copy.join("audit.db"), Some(ORIGIN.to_owned()));
    let ring = keys.join("ring.json");
    let good = fs::read(&ring).unwrap();
    fs::write(&ring, &old).unwrap();
    let open = || Log::open_in(&place, &KeyRing::load(&keys).unwrap(), unpublished());
    let refused = open().err().unwrap();
    assert!(
        matches!(&refused, LogError::Store(StoreError::Unchecked { index, .. }) if *index == last.index.0),
        "{refused:?}"
    );
    fs::write(&ring, &good).unwrap();
    let log = open().unwrap();
    assert_eq!(leaf_hash(&log.get(last.index).unwrap().entry), last.leaf);
    log.close().unwrap();
}
