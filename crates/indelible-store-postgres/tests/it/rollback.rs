//! A database that went backwards: a restored copy, or a standby that lagged and was promoted. Told, never gone on from.

use std::process::Command;

use indelible::{
    Log, LogError,
    verify::{Kind, Verdict},
};
use indelible_store_postgres::PostgresDriver;

use crate::{
    server::{Server, Stop},
    world::{DATABASE, World, event, options, settings},
};

const ORIGIN: &str = "example.com/rollback";

#[test]
fn a39_a_restored_copy_is_told_as_rolled_back() {
    let Some(mut server) = Server::start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let log = world.create(&database, ORIGIN);
    (0..10).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    server.stop(Stop::Fast);
    let copy = server.dir.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(server.data()).arg(&copy).status().unwrap();
    assert!(copied.success());
    server.up();
    (10..20).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.checkpoint().unwrap();
    let before: u64 = server.psql(DATABASE, "select size from indelible.heads").unwrap().parse().unwrap();
    server.stop(Stop::Immediate);
    std::fs::remove_dir_all(server.data()).unwrap();
    std::fs::rename(&copy, server.data()).unwrap();
    server.up();
    // The handle that saw more refuses to go on.
    let told = log.append_json(&event(20)).unwrap_err().to_string();
    assert!(told.contains("rolled back"), "{told}");
    assert!(log.append_json(&event(21)).is_err());
    // A new one too, by the head store.
    let driver = PostgresDriver::new(database, Some(ORIGIN.to_owned()));
    assert!(matches!(Log::open_in(&driver, &world.keys, options()), Err(LogError::Evidence { .. })));
    let report = world.expect(&server, ORIGIN, Verdict::Tampered);
    assert!(report.findings.iter().any(|f| f.kind == Kind::RolledBack), "{:#?}", report.findings);
    let after: u64 = server.psql(DATABASE, "select size from indelible.heads").unwrap().parse().unwrap();
    assert!(after < before, "nothing was written to the older copy: {after} of {before}");
}
