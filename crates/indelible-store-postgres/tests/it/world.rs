//! Keys, heads and events for logs in a database, and what verification says of them.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use indelible::{
    KeyRing, Log, Options,
    clock::{Clock as _, SystemClock},
    verify::{Report, Request, Verdict, VerifyError, verify},
};
use indelible_core::{note::NoteSigner as _, tree::LeafIndex};
use indelible_store::{disk::OsDisk, driver::Driver as _, heads::FileHeads, store::Reader};
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use indelible_test_postgres::TestServer;

pub(crate) const DATABASE: &str = "audit";

/// A server whose commits reach the disk, with room for all that these tests write.
pub(crate) fn start() -> Option<TestServer> {
    let options = indelible_test_postgres::Options::new().with_fsync().with_setting("max_connections", "300");
    TestServer::start(options.with_setting("max_wal_size", "4GB"))
}

/// What a server is asked for a log.
pub(crate) trait Logs {
    fn open(&self, user: &str, database: &str, settings: Settings) -> Database;
    /// A database with our schema, and logins `writer`, `reader` and `retention`.
    fn migrated(&self, database: &str);
}

impl Logs for TestServer {
    fn open(&self, user: &str, database: &str, settings: Settings) -> Database {
        Database::new(&self.url(user, database), settings).unwrap()
    }

    fn migrated(&self, database: &str) {
        self.sql(&format!("create database {database}"));
        self.open("postgres", database, Settings::default()).migrate(false).unwrap();
        for (login, role) in [("writer", "audit_writer"), ("reader", "audit_reader"), ("retention", "audit_retention")]
        {
            let made = self.try_sql("postgres", &format!("create role {login} login in role {role}"));
            assert!(made.is_ok() || made.unwrap_err().contains("already exists"));
        }
    }
}

/// Keys beside a server, outside its data.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) keys: KeyRing,
    pub(crate) heads: FileHeads,
}

pub(crate) fn options() -> Options {
    Options { publish_every: Duration::from_millis(50), keep_every: Duration::from_millis(300), ..Options::default() }
}

pub(crate) fn settings() -> Settings {
    Settings::default()
}

pub(crate) fn event(n: u64) -> Vec<u8> {
    format!(r#"{{"action":"document.read","actor":{{"id":"mara","type":"user"}},"details":{{"n":{n}}}}}"#).into_bytes()
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::of(KeyRing::load_or_create(&dir.path().join("keys")).unwrap(), dir)
    }

    fn of(keys: KeyRing, dir: tempfile::TempDir) -> Self {
        let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
        Self { dir, keys, heads }
    }

    pub(crate) fn keys_path(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    pub(crate) fn create(&self, database: &Database, origin: &str) -> Log {
        let driver = PostgresDriver::new(database.clone(), Some(origin.to_owned()));
        Log::create_in(&driver, origin, &self.keys, options()).unwrap()
    }

    pub(crate) fn verify(&self, server: &TestServer, origin: &str) -> Report {
        self.try_verify(&server.open("reader", DATABASE, settings()), origin, true).unwrap()
    }

    /// Envelope only, as verification is by default.
    pub(crate) fn verify_loosely(&self, database: &Database, origin: &str) -> Report {
        self.try_verify(database, origin, false).unwrap()
    }

    pub(crate) fn try_verify(&self, database: &Database, origin: &str, strict: bool) -> Result<Report, VerifyError> {
        let driver = PostgresDriver::new(database.clone(), Some(origin.to_owned()));
        let reader = driver.reader_of_entry_zero()?;
        let request = Request {
            ring: Some(&self.keys),
            heads: Some(&self.heads),
            head_required: true,
            strict,
            threads: 2,
            ..Request::new(
                self.keys.checkpoint_signer(origin).unwrap().verifying_key().clone(),
                SystemClock::default().now(),
            )
        };
        verify(&*reader, &request)
    }

    #[track_caller]
    pub(crate) fn expect(&self, server: &TestServer, origin: &str, verdict: Verdict) -> Report {
        let report = self.verify(server, origin);
        assert_eq!(report.status, verdict, "{:#?}", report.findings);
        report
    }
}

/// How often each event's number stands in a log.
pub(crate) fn numbers(reader: &dyn Reader) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let size = reader.size().unwrap().0;
    let mut next = 0;
    while next < size {
        let chunk = reader.read(LeafIndex(next), 1 << 20).unwrap();
        for line in chunk.lines() {
            let text = std::str::from_utf8(line).unwrap();
            if let Some((_, rest)) = text.split_once("\"details\":{\"n\":") {
                let digits = rest.split('}').next().unwrap();
                *found.entry(digits.parse().unwrap()).or_default() += 1;
            }
            next += 1;
        }
    }
    found
}
