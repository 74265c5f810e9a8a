//! The PostgreSQL store passes the suite, as role `audit_writer`.

use std::{cell::Cell, sync::Arc, time::Duration};

use indelible_core::{
    entry::Line,
    tree::{Hash, TreeHead},
};
use indelible_store::{
    conformance::{Found, Harness, Leaving, fault, info, suite},
    driver::{Driver as _, TailCheck, TailFault},
    store::{Reader, StoreError, Writer},
};
use indelible_store_postgres::{PostgresDriver, Settings};
use indelible_test_postgres::TestServer;

use crate::world::{Logs as _, start};

struct Own;

impl TailCheck for Own {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
        fault(line, leaf)
    }
}

/// A mark of another process counts at once, so that the suite need not wait for it to run out.
fn settings() -> Settings {
    Settings { bounded_mark: Duration::ZERO, max_connections: 10, ..Settings::default() }
}

struct InDatabase {
    server: Arc<TestServer>,
    name: String,
    writer: Option<Arc<dyn Writer>>,
}

impl InDatabase {
    fn driver(&self, user: &str) -> PostgresDriver {
        PostgresDriver::new(self.server.open(user, &self.name, settings()), Some(info().origin))
    }
}

impl Harness for InDatabase {
    fn writer(&self) -> &dyn Writer {
        self.writer.as_deref().unwrap()
    }

    fn reopen(&mut self, head: &TreeHead, leaving: Leaving) -> Found {
        let writer = self.writer.take().unwrap();
        if leaving == Leaving::Closed {
            writer.close().unwrap();
        }
        drop(writer);
        let (writer, recovered) = self.driver("writer").lease().unwrap().open(head, &Own).unwrap();
        let found = Found { size: writer.size().unwrap(), bounded: recovered.bounded };
        self.writer = Some(writer);
        found
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.driver("reader").reader().unwrap()
    }
}

#[test]
fn the_suite_passes() {
    let Some(server) = start() else { return };
    let server = Arc::new(server);
    let number = Cell::new(0);
    suite(&|| {
        number.set(number.get() + 1);
        let name = format!("suite{}", number.get());
        server.migrated(&name);
        let mut place = InDatabase { server: Arc::clone(&server), name, writer: None };
        place.writer = Some(place.driver("writer").create(&info()).unwrap());
        Box::new(place)
    });
}

#[test]
fn what_is_no_usable_database_is_told_with_its_remedy() {
    let Some(server) = start() else { return };
    let driver = |user: &str, name: &str| PostgresDriver::new(server.open(user, name, Settings::default()), None);
    server.try_sql("postgres", "create database bare").unwrap();
    let told = |driver: &PostgresDriver| driver.reader().err().unwrap().to_string();
    assert!(told(&driver("postgres", "bare")).contains("indelible store migrate"));
    assert!(told(&driver("postgres", "nowhere")).contains("createdb nowhere"));
    assert!(told(&driver("nobody_here", "bare")).contains("has no role `nobody_here`"));
    server.migrated("audit");
    assert!(told(&driver("reader", "audit")).contains("it holds no log"));
    server.try_sql("postgres", "create role stranger login").unwrap();
    assert!(told(&driver("stranger", "audit")).contains("store grant"));
    // As if a newer program had been here.
    let newer = "insert into indelible.schema_migrations (version, name, sha256) values (99, 'later', 'x')";
    server.try_sql("audit", newer).unwrap();
    assert!(matches!(driver("reader", "audit").reader(), Err(StoreError::NewerFormat { found: 99, .. })));
    let database = server.open("postgres", "audit", Settings::default());
    assert!(matches!(database.migrate(false), Err(StoreError::NewerFormat { .. })));
}

#[test]
fn a_dry_run_changes_nothing_and_migrating_twice_neither() {
    let Some(server) = start() else { return };
    server.try_sql("postgres", "create database audit").unwrap();
    let database = server.open("postgres", "audit", Settings::default());
    assert!(!database.migrate(true).unwrap().migrations[0].applied_before);
    assert_eq!(server.try_sql("audit", "select count(*) from pg_namespace where nspname = 'indelible'").unwrap(), "0");
    assert!(!database.migrate(false).unwrap().migrations[0].applied_before);
    assert!(database.migrate(false).unwrap().migrations[0].applied_before);
    assert_eq!(database.check_guards().unwrap(), []);
}

#[test]
fn who_may_create_roles_and_owns_the_database_can_migrate_and_grant() {
    let Some(server) = start() else { return };
    server
        .sql("create role migrator login createrole; create role recorder login; create database audit owner migrator");
    let migrator = server.open("migrator", "audit", Settings::default());
    assert!(!migrator.migrate(true).unwrap().migrations[0].applied_before);
    for again in [false, true] {
        let migrated = migrator.migrate(false).unwrap();
        assert_eq!(migrated.migrations[0].applied_before, again);
        // Since PostgreSQL 16 who creates a role may make itself a member of it: to be known, no more.
        let may = migrated.left.iter().all(|fault| fault.detail == "it may make itself a member of `indelible_owner`");
        assert!(may && migrated.restored.is_empty(), "{migrated:?}");
    }
    migrator.grant("audit_writer", "recorder").unwrap();
    let recorder = server.open("recorder", "audit", Settings::default());
    assert_eq!(recorder.check_guards().unwrap(), []);
    assert_eq!(recorder.origins().unwrap(), Vec::<String>::new());
    PostgresDriver::new(recorder, Some(info().origin)).create(&info()).unwrap();
}
