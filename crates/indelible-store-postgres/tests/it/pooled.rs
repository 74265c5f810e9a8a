//! A pooler in transaction mode gives every transaction to whatever connection is free: nothing may outlive a transaction.

use indelible::verify::Verdict;
use indelible_store_postgres::PostgresDriver;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/pooled";

#[test]
fn nothing_outlives_a_transaction() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    server.set(&[("log_statement", "all")]);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let log = world.create(&database, ORIGIN);
    for n in 0..20 {
        log.append_json(&event(n)).unwrap();
    }
    let chosen = br#"{"action":"a.b","actor":{"id":"x","type":"user"},"id":"chosen"}"#;
    assert_eq!(log.append_json(chosen).unwrap().index, log.append_json(chosen).unwrap().index);
    log.append_bounded(&event(20)).unwrap().settle().unwrap();
    log.keep_checkpoint().unwrap();
    log.close().unwrap();
    let driver = PostgresDriver::new(database, None);
    let log = indelible::Log::open_in(&driver, &world.keys, options()).unwrap();
    log.append_json(&event(21)).unwrap();
    log.close().unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
    server.set(&[("log_statement", "none")]);
    let said = server.log().to_lowercase();
    assert!(said.contains("execute <unnamed>: select indelible.append_commit"), "{said}");
    for line in said.lines() {
        let named =
            line.contains("execute ") && !line.contains("execute <unnamed>") && !line.contains("execute function");
        assert!(!named, "a named statement: {line}");
        for lasting in [
            "listen ",
            "prepare ",
            "declare ",
            "pg_advisory_lock",
            "set session",
            "set lock_timeout",
            "set statement_timeout",
        ] {
            assert!(
                !line.contains(&format!("statement: {lasting}")) && !line.contains(&format!("; {lasting}")),
                "{line}"
            );
        }
    }
}
