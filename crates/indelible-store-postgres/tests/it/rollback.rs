//! A database that went backwards: a restored copy, or a standby that lagged and was promoted. Told, never gone on from.

use indelible::{
    Log, LogError, manage,
    verify::{Kind, Verdict, VerifyError},
};
use indelible_store_postgres::{Database, PostgresDriver};
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/rollback";
const NEXT: &str = "example.com/rollback-2";

fn size(server: &TestServer, origin: &str) -> u64 {
    let size = format!(
        "select h.size from indelible.heads h join indelible.logs l on l.number = h.log where l.origin = '{origin}'"
    );
    server.sql_in(DATABASE, &size).parse().unwrap()
}

/// The handle that saw more refuses to go on, a new one is refused by the head store, and verification tells.
#[track_caller]
fn told_and_left_alone(server: &TestServer, world: &World, log: &Log, database: &Database) {
    let before = size(server, ORIGIN);
    let told = log.append_json(&event(20)).unwrap_err().to_string();
    assert!(told.contains("rolled back"), "{told}");
    assert!(log.append_json(&event(21)).is_err());
    let driver = PostgresDriver::new(database.clone(), Some(ORIGIN.to_owned()));
    assert!(matches!(Log::open_in(&driver, &world.keys, options()), Err(LogError::Evidence { .. })));
    let report = world.expect(server, ORIGIN, Verdict::Tampered);
    assert!(report.findings.iter().any(|f| f.kind == Kind::RolledBack), "{:#?}", report.findings);
    assert_eq!(size(server, ORIGIN), before, "something was written to what is older");
}

#[test]
fn a39_a_restored_copy_is_told_as_rolled_back() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let log = world.create(&database, ORIGIN);
    (0..10).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    let copy = server.snapshot();
    (10..20).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    let before = size(&server, ORIGIN);
    server.crash();
    server.restore(&copy);
    assert!(size(&server, ORIGIN) < before);
    told_and_left_alone(&server, &world, &log, &database);
}

#[test]
fn a39_a_standby_that_lagged_and_was_promoted_is_told_as_rolled_back() {
    let Some(primary) = start() else { return };
    primary.migrated(DATABASE);
    let standby = primary.replica();
    let world = World::new();
    // Whichever of the two takes writes is followed.
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let url = format!("postgres://writer@{hosts}/{DATABASE}?target_session_attrs=read-write");
    let database = Database::new(&url, settings()).unwrap();
    let log = world.create(&database, ORIGIN);
    (0..10).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    standby.catch_up_with(&primary);
    standby.fall_behind();
    (10..20).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    let before = size(&primary, ORIGIN);
    // As long as it is a standby, it may come so far yet: no verdict.
    let behind = world.try_verify(&standby.open("reader", DATABASE, settings()), ORIGIN, true);
    assert!(matches!(behind, Err(VerifyError::Behind { .. })), "{behind:?}");
    primary.crash();
    standby.promote();
    assert!(size(&standby, ORIGIN) < before, "the standby has all of it");
    told_and_left_alone(&standby, &world, &log, &database);

    // The way on is a new name, in the same place.
    let driver = |origin: &str| PostgresDriver::new(database.clone(), Some(origin.to_owned()));
    let next = manage::succeed(&driver(ORIGIN), &driver(NEXT), NEXT, &world.keys, options()).unwrap();
    next.append_json(&event(30)).unwrap();
    next.close().unwrap();
    world.expect(&standby, NEXT, Verdict::Intact);
    world.expect(&standby, ORIGIN, Verdict::Tampered);
}

#[test]
fn a_standby_that_kept_up_and_was_promoted_is_gone_on_from() {
    let Some(primary) = start() else { return };
    primary.migrated(DATABASE);
    let standby = primary.replica();
    let world = World::new();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let url = format!("postgres://writer@{hosts}/{DATABASE}?target_session_attrs=read-write");
    let log = world.create(&Database::new(&url, settings()).unwrap(), ORIGIN);
    (0..10).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    standby.catch_up_with(&primary);
    primary.crash();
    standby.promote();
    (10..20).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.close().unwrap();
    world.expect(&standby, ORIGIN, Verdict::Intact);
}
