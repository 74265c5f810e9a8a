//! A writer that comes while a log is verified that nobody wrote to when the verification began: files, and SQLite.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use indelible::{
    HeadRecord, Log,
    clock::{Clock as _, SystemClock},
    verify::{Kind, Report, Request, Verdict, verify},
};
use indelible_keys::Purpose;
use indelible_store::{
    disk::OsDisk,
    driver::Driver as _,
    heads::{HeadStore, HeadStoreError},
    store::Reader,
};
use indelible_store_file::driver::reader_of_entry_zero;

use crate::{
    keys::rotate,
    sqlite::{at, file},
    world::{ORIGIN, World, check, events, options, overwrite, receipts},
};

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between the looks at the published checkpoint and at the head record.
    Heads,
    /// When all was read, and nothing is concluded yet.
    End,
}

const WHENS: [At; 2] = [At::Heads, At::End];

/// A head store in front of which something happens once.
struct Before<'a> {
    heads: &'a dyn HeadStore,
    happens: &'a (dyn Fn() + Sync),
}

impl HeadStore for Before<'_> {
    fn load(&self, origin: &str) -> Result<Option<HeadRecord>, HeadStoreError> {
        (self.happens)();
        self.heads.load(origin)
    }

    fn swap(&self, origin: &str, old: Option<&HeadRecord>, new: &HeadRecord) -> Result<(), HeadStoreError> {
        self.heads.swap(origin, old, new)
    }

    fn place(&self, origin: &str) -> String {
        self.heads.place(origin)
    }
}

/// Who verifies: with the ring and its heads, or with the first public key alone; and how strictly.
type Who = (bool, bool);

const ALL: [Who; 4] = [(true, false), (true, true), (false, false), (false, true)];

/// Verifies, and has something happen once meanwhile.
fn verified(
    world: &World,
    reader: &dyn Reader,
    (writer, strict): Who,
    when: At,
    happens: &(dyn Fn() + Sync),
) -> Report {
    let happened = AtomicBool::new(false);
    let once = || {
        if !happened.swap(true, Ordering::SeqCst) {
            happens();
        }
    };
    let in_scan = |read: u64, total: u64| {
        if when == At::End && read >= total {
            once();
        }
    };
    let progress: &(dyn Fn(u64, u64) + Sync) = &in_scan;
    let at_heads = || {
        if when == At::Heads {
            once();
        }
    };
    let heads = Before { heads: world.heads(), happens: &at_heads };
    let now = SystemClock::default().now();
    let request = match writer {
        true => Request::of_ring(world.ring(), ORIGIN, now).unwrap(),
        false => Request::new(crate::keys::first_public(world), now),
    };
    let heads = writer.then_some(&heads as &dyn HeadStore);
    let request = Request { heads, head_required: writer, strict, threads: 2, progress: Some(progress), ..request };
    let report = verify(reader, &request).unwrap();
    assert!(happened.into_inner() || when == At::Heads && !writer, "nothing happened meanwhile");
    report
}

fn writes(log: &Log, from: u64) {
    receipts(log.append_all(&events(from..from + 5)));
    log.keep_checkpoint().unwrap();
    receipts(log.append_all(&events(from + 5..from + 8)));
    log.keep_checkpoint().unwrap();
}

/// Every way to come: `open` opens the log, whose newest keys are taken up then.
fn comes(world: &World, reader: &dyn Reader, open: &(dyn Fn() -> Log + Sync)) {
    let mut from = 1_000;
    for who in ALL {
        for when in WHENS {
            for stays in [false, true] {
                from += 100;
                if from % 200 == 0 {
                    rotate(world, Purpose::CheckpointSigning);
                }
                let stayed = std::sync::Mutex::new(None);
                let comes = || {
                    let log = open();
                    writes(&log, from);
                    match stays {
                        true => *stayed.lock().unwrap() = Some(log),
                        false => log.close().unwrap(),
                    }
                };
                let report = verified(world, reader, who, when, &comes);
                assert_eq!(report.status, Verdict::Intact, "{who:?} {when:?} {stays}: {:#?}", report.findings);
                if let Some(log) = stayed.into_inner().unwrap() {
                    log.close().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_writer_that_comes_while_a_directory_is_verified_is_no_finding() {
    let world = World::with_events(20, 2, options());
    let reader = reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
    comes(&world, &reader, &|| world.reopen());
    for strict in [false, true] {
        let report = world.try_verify(&world.log_path(), |request| request.strict = strict).unwrap();
        check(&report, Verdict::Intact, None, None);
    }
}

#[test]
fn a_writer_that_comes_while_sqlite_is_verified_is_no_finding() {
    let world = World::new();
    let log = Log::create_in(&at(&file(&world)).with_origin(ORIGIN), ORIGIN, &world.keys, options()).unwrap();
    writes(&log, 0);
    log.close().unwrap();
    drop(log);
    let reader = at(&file(&world)).with_origin(ORIGIN).reader_of_entry_zero().unwrap();
    assert!(!reader.has_writer().unwrap());
    comes(&world, &*reader, &|| Log::open_in(&at(&file(&world)), world.ring(), options()).unwrap());
}

/// A writer explains what derives from the entries, and nothing of what the verification is there for.
#[test]
fn a_writer_that_comes_hides_nothing() {
    for who in ALL {
        for when in WHENS {
            let world = World::with_events(20, 2, options());
            let reader = reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
            let mut lines = world.lines();
            let changed = String::from_utf8(lines[7].clone()).unwrap().replacen("mara", "mary", 1);
            assert_ne!(changed.as_bytes(), lines[7]);
            lines[7] = changed.into_bytes();
            world.put_lines(&lines);
            let comes = || {
                let log = world.reopen();
                writes(&log, 100);
                log.close().unwrap();
            };
            let report = verified(&world, &reader, who, when, &comes);
            assert_eq!(report.status, Verdict::Tampered, "{who:?} {when:?}: {:#?}", report.findings);
        }
    }
}

/// Without a writer what changes meanwhile excuses nothing: neither what goes, nor what comes.
#[test]
fn what_is_taken_away_meanwhile_shows_no_writer() {
    let damages: [&(dyn Fn(&World) + Sync); 4] = [
        &|world| fs::remove_file(world.log_path().join("durable")).unwrap(),
        &|world| fs::remove_file(world.log_path().join("lock")).unwrap(),
        &|world| fs::write(world.log_path().join("offsets.tmp"), b"x").unwrap(),
        &|world| {
            let note = fs::read(world.log_path().join("checkpoint")).unwrap();
            overwrite(&world.log_path().join(format!("checkpoints/{:020}", 900)), &note);
        },
    ];
    for who in ALL {
        for (number, damage) in damages.iter().enumerate() {
            let world = World::with_events(20, 2, options());
            let reader = reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
            let report = verified(&world, &reader, who, At::End, &|| damage(&world));
            assert_eq!(report.status, Verdict::Damaged, "{who:?}, damage {number}: {:#?}", report.findings);
            check(&report, Verdict::Damaged, Some(Kind::Derived), None);
        }
    }
}
