//! A log in a temporary place, and what stands in it.

use std::sync::Arc;

use indelible::{
    KeyRing, LeafIndex, Log, Options, Settings,
    clock::{Clock as _, SystemClock},
    verify::{Request, Verdict, verify},
};
use serde_json::Value;

const ORIGIN: &str = "example.com/requests";

pub(crate) struct World {
    pub(crate) log: Arc<Log>,
    keys: KeyRing,
    options: Options,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let settings = Settings { immutable: false, ..Settings::default() };
        let options = Options { settings, ..Options::default() };
        let log = Log::create(&dir.path().join("log"), ORIGIN, &keys, options.clone()).unwrap();
        Self { log: Arc::new(log), keys, options, _dir: dir }
    }

    /// All entries but the first.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let entry = |index| serde_json::from_slice(&self.log.get(LeafIndex(index)).unwrap().entry).unwrap();
        (1..self.log.size().unwrap()).map(entry).collect()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.entries().iter().filter_map(|entry| entry.get("event").cloned()).collect()
    }

    /// How many events the log says were lost.
    pub(crate) fn gaps(&self) -> u64 {
        let counts = self.entries();
        counts.iter().filter_map(|entry| entry.pointer("/control/count")?.as_u64()).sum()
    }

    #[track_caller]
    pub(crate) fn expect_intact(&self) {
        self.log.checkpoint().unwrap();
        let heads = self.options.heads_for(&self.keys);
        let request = Request {
            heads: Some(&*heads),
            head_required: true,
            threads: 2,
            ..Request::of_ring(&self.keys, ORIGIN, SystemClock::default().now()).unwrap()
        };
        let report = verify(self.log.store(), &request).unwrap();
        assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
        assert_eq!(report.tree_size, self.log.size().unwrap());
    }
}
