//! A log with its keys in a temporary place, and the ways to look at it.

use std::path::{Path, PathBuf};

use indelible::{
    KeyRing, Log, Options, Receipt,
    clock::{Clock as _, SystemClock},
    verify::{Kind, Report, Request, Verdict, VerifyError, verify},
};
use indelible_core::note::{NoteSigner as _, VerifyingKey};
use indelible_store::{disk::OsDisk, heads::FileHeads};
use indelible_store_file::Settings;

use crate::support::time::RINGS_MADE;

pub(crate) const ORIGIN: &str = "example.com/test";

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) keys: KeyRing,
    heads: FileHeads,
}

pub(crate) fn options() -> Options {
    let settings = Settings { immutable: false, ..Settings::default() };
    Options { settings, ..Options::default() }
}

pub(crate) fn small_segments() -> Options {
    let settings = Settings { immutable: false, segment_bytes: 8 << 10, ..Settings::default() };
    Options { settings, ..Options::default() }
}

pub(crate) fn event(n: u64) -> Vec<u8> {
    format!(
        r#"{{"action":"document.read","actor":{{"id":"mara","type":"user"}},"details":{{"n":{n}}},"id":"event-{n}"}}"#
    )
    .into_bytes()
}

pub(crate) fn events(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(event).collect()
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create_at(&dir.path().join("keys"), RINGS_MADE).unwrap();
        let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
        Self { dir, keys, heads }
    }

    /// A world whose keys are made so.
    pub(crate) fn with_ring(new: &indelible_keys::NewRing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::create_with(&dir.path().join("keys"), RINGS_MADE, new).unwrap();
        let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
        Self { dir, keys, heads }
    }

    /// The ring as its file says now. It lives as long as the tests.
    pub(crate) fn ring(&self) -> &'static KeyRing {
        Box::leak(Box::new(KeyRing::load(self.keys.dir()).unwrap()))
    }

    /// Opens the log with the ring of now.
    pub(crate) fn reopen(&self) -> Log {
        Log::open(&self.log_path(), self.ring(), options()).unwrap()
    }

    /// Asks an open log something, and closes it.
    pub(crate) fn reopen_and<T>(&self, ask: impl FnOnce(&Log) -> T) -> T {
        let log = self.reopen();
        let answer = ask(&log);
        log.close().unwrap();
        answer
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn create(&self, options: Options) -> Log {
        Log::create(&self.log_path(), ORIGIN, &self.keys, options).unwrap()
    }

    pub(crate) fn open(&self) -> Log {
        Log::open(&self.log_path(), &self.keys, options()).unwrap()
    }

    /// A closed log of `count` events in several batches, with a kept checkpoint after each.
    pub(crate) fn with_events(count: u64, batches: u64, options: Options) -> Self {
        let world = Self::new();
        let log = world.create(options);
        for batch in 0..batches {
            let range = batch * count / batches..(batch + 1) * count / batches;
            for result in log.append_all(&events(range)) {
                result.unwrap();
            }
            log.keep_checkpoint().unwrap();
        }
        log.close().unwrap();
        world
    }

    pub(crate) fn public_key(&self) -> VerifyingKey {
        self.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone()
    }

    pub(crate) fn heads(&self) -> &FileHeads {
        &self.heads
    }

    pub(crate) fn try_verify<'a>(
        &'a self,
        path: &Path,
        edit: impl FnOnce(&mut Request<'a>),
    ) -> Result<Report, VerifyError> {
        let mut request = Request {
            heads: Some(&self.heads),
            head_required: true,
            threads: 2,
            ..Request::of_ring(self.ring(), ORIGIN, SystemClock::default().now()).unwrap()
        };
        edit(&mut request);
        let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), path)?;
        verify(&reader, &request)
    }

    pub(crate) fn verify(&self) -> Report {
        self.try_verify(&self.log_path(), |_| ()).unwrap()
    }

    /// Verifies as an auditor does: public key only, no head store.
    pub(crate) fn verify_public(&self) -> Report {
        self.try_verify(&self.log_path(), |request| {
            request.ring = None;
            request.heads = None;
        })
        .unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(&self, verdict: Verdict, kind: Option<Kind>, index: Option<u64>) {
        check(&self.verify(), verdict, kind, index);
    }
}

#[track_caller]
pub(crate) fn check(report: &Report, verdict: Verdict, kind: Option<Kind>, index: Option<u64>) {
    assert_eq!(report.status, verdict, "{:#?}", report.findings);
    if let Some(kind) = kind {
        let found = report.findings.iter().find(|f| f.kind == kind);
        let found = found.unwrap_or_else(|| panic!("no finding of kind {kind:?}: {:#?}", report.findings));
        if index.is_some() {
            assert_eq!(found.index, index, "{:#?}", report.findings);
        }
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Every file below a folder, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Makes a file writable and replaces its content.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    if path.exists() {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn receipts(results: Vec<Result<Receipt, indelible::AppendError>>) -> Vec<Receipt> {
    results.into_iter().map(|result| result.unwrap()).collect()
}
