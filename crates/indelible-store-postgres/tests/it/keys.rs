//! Keys that change while several processes write one log.

use indelible::{
    KeyRing, Log, LogError,
    clock::{Clock as _, SystemClock},
    verify::{Macs, Request, Verdict, verify},
};
use indelible_keys::Purpose;
use indelible_store::driver::Driver as _;
use indelible_store_postgres::PostgresDriver;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/keys";

#[test]
fn each_handle_follows_the_rotations_of_the_other() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let first = world.create(&database, ORIGIN);
    let ring = || KeyRing::load(&world.keys_path()).unwrap();
    // A handle with a pool of its own, as another process has.
    let other = PostgresDriver::new(server.open("writer", DATABASE, settings()), Some(ORIGIN.to_owned()));
    let second = Log::open_in(&other, &ring(), options()).unwrap();
    let mut n = 0;
    let mut record = |log: &Log, count: u64| {
        for _ in 0..count {
            log.append_json(&event(n)).unwrap();
            n += 1;
        }
    };
    for turn in 0..6 {
        record(&first, 5);
        record(&second, 5);
        let purpose = if turn % 2 == 0 { Purpose::EntrySigning } else { Purpose::CheckpointSigning };
        ring().rotate(purpose, SystemClock::default().now()).unwrap();
        let log = if turn % 3 == 0 { &first } else { &second };
        log.adopt_keys("a test").unwrap();
        second.keep_checkpoint().unwrap();
    }
    record(&first, 5);
    record(&second, 5);
    first.close().unwrap();
    second.close().unwrap();
    let reader = other.reader().unwrap();
    let ring = ring();
    let request = Request {
        heads: Some(&world.heads),
        head_required: true,
        strict: true,
        ..Request::of_ring(&ring, ORIGIN, SystemClock::default().now()).unwrap()
    };
    let report = verify(&*reader, &request).unwrap();
    assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
    assert_eq!(report.macs, Macs::Checked);
    let first_key = ring.public_keys(ORIGIN).unwrap()[0].clone();
    let report = verify(&*reader, &Request::new(first_key, SystemClock::default().now())).unwrap();
    assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
    // What says where the newest record about keys is can be set back by the owner; that is told.
    server.sql_in(
        DATABASE,
        "alter table indelible.heads disable trigger user; update indelible.heads set keys = 0; alter table indelible.heads enable trigger user",
    );
    let report = verify(&*reader, &request).unwrap();
    assert_eq!(report.status, Verdict::Damaged, "{:#?}", report.findings);
}

#[test]
fn a_ring_that_lacks_the_new_key_is_told_so_and_writes_nothing() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let log = world.create(&database, ORIGIN);
    log.append_json(&event(0)).unwrap();
    // The ring as it was, elsewhere, with the same head store.
    let behind = tempfile::tempdir().unwrap();
    std::fs::copy(world.keys_path().join("ring.json"), behind.path().join("ring.json")).unwrap();
    let old = KeyRing::load(behind.path()).unwrap();
    let heads =
        indelible_store::heads::FileHeads::new(indelible_store::disk::OsDisk::shared(), &world.keys.heads_dir());
    let with_heads = indelible::Options { heads: Some(std::sync::Arc::new(heads)), ..options() };
    let place = PostgresDriver::new(server.open("writer", DATABASE, settings()), Some(ORIGIN.to_owned()));
    let other = Log::open_in(&place, &old, with_heads).unwrap();
    world.keys.rotate(Purpose::EntrySigning, SystemClock::default().now()).unwrap();
    log.adopt_keys("a test").unwrap();
    let size = log.size().unwrap();
    let refused = other.append_json(&event(1)).unwrap_err();
    assert!(
        indelible::error::chain(&refused).contains("keys of the log changed"),
        "{}",
        indelible::error::chain(&refused)
    );
    assert_eq!(log.size().unwrap(), size);
    log.append_json(&event(2)).unwrap();
    log.close().unwrap();
    assert!(matches!(Log::open_in(&place, &old, options()), Err(LogError::HeadMissing { .. } | LogError::Keys(_))));
}

#[test]
fn a_log_that_was_closed_opens_where_the_key_of_its_last_entry_is_destroyed() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let origin = "example.com/destroyed";
    let log = world.create(&database, origin);
    for n in 0..10 {
        log.append_json(&event(n)).unwrap();
    }
    log.close().unwrap();
    let ring = KeyRing::load(&world.keys_path()).unwrap();
    let old = ring.active_entry().unwrap().id().to_owned();
    let ring = ring.rotate(Purpose::EntrySigning, SystemClock::default().now()).unwrap().ring;
    let ring = ring.destroy(&old, SystemClock::default().now()).unwrap().ring;
    let place = PostgresDriver::new(server.open("writer", DATABASE, settings()), Some(origin.to_owned()));
    let log = Log::open_in(&place, &ring, options()).unwrap();
    log.append_json(&event(10)).unwrap();
    log.close().unwrap();
}
