//! A log, and somebody who is told.

use std::error::Error;

use indelible::{KeyRing, Log, Options, log};
use indelible_core::{entry::EntryRef, tree::LeafIndex};
use indelible_import::{Mapping, propose};
use indelible_import_sql::{Import, Place, Report, Settings, Source, SqlError, Stop, Summary, Watch, reconcile, table};
use serde_json::Value;

/// A directory with an open log.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: Log,
}

/// Keeps what was rejected.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<(Value, String)>);

impl Watch for Told {
    fn rejected(&mut self, key: &Value, reason: &str, _: &Value) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.push((key.clone(), reason.to_owned()));
        Ok(())
    }

    fn progress(&mut self, _: u64) {}
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let log = Log::create(&dir.path().join("log"), "test.example/audit", &keys, Options::default()).unwrap();
        Self { dir, log }
    }

    /// Imports with the mapping, or with the proposed one.
    pub(crate) fn import(
        &self,
        place: &str,
        table: &str,
        mapping: Option<&str>,
        settings: Settings,
        stop: &Stop,
    ) -> (Summary, Result<Option<Report>, SqlError>, Told) {
        let place: Place = place.parse().unwrap();
        let given = mapping.map(|text| Mapping::parse(text.as_bytes()).unwrap());
        let key = given.as_ref().and_then(|mapping| mapping.key().unwrap());
        let (mut table, system) = place.open(table, key).unwrap();
        let mapping = given.unwrap_or_else(|| {
            let columns = table::sample(&mut *table).unwrap();
            Mapping::parse(propose("sql", "a table", &columns).text.as_bytes()).unwrap()
        });
        let (source, mut told) = (Source::new(&system, table.shape()), Told::default());
        let import = Import::new(&self.log, &mut *table, &source, &mapping, settings, &mut told, stop).unwrap();
        let (summary, result) = import.run();
        (summary, result, told)
    }

    pub(crate) fn compare(&self, place: &str, table: &str) -> Report {
        let (mut table, system) = place.parse::<Place>().unwrap().open(table, None).unwrap();
        let source = Source::new(&system, table.shape());
        reconcile(self.log.store(), &mut *table, &source, None, &Stop::default(), &mut |_| {}).unwrap()
    }

    /// The event of an entry.
    pub(crate) fn event(&self, index: u64) -> Value {
        let stored = log::get(self.log.store(), LeafIndex(index)).unwrap();
        serde_json::from_slice(EntryRef::parse(&stored.entry).unwrap().body).unwrap()
    }
}
