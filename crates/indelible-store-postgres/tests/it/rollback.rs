//! A database that went backwards: a restored copy, or a standby that lagged and was promoted. Told, never gone on from.

use indelible::{
    Log, LogError,
    verify::{Kind, Verdict},
};
use indelible_store_postgres::{Database, PostgresDriver};
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/rollback";

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
