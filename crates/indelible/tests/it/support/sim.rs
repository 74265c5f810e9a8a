//! A log on a simulated disk, with its keys on the real one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use indelible::{
    Keeper, KeyRing, Log, LogError, Options,
    clock::Clock as _,
    verify::{Report, Request, VerifyError, verify},
};
use indelible_core::{
    checkpoint::Checkpoint,
    head::HeadRecord,
    note::{NoteSigner as _, VerifyingKey},
    tree::TreeHead,
};
use indelible_store::{
    disk::create_dirs,
    fault::SimDisk,
    heads::{FileHeads, HeadStore as _},
};
use indelible_store_file::{Settings, layout::Layout};

use super::time::{HandClock, RINGS_MADE, SeededEntropy};
use crate::world::ORIGIN;

/// One ring for all simulated logs: keys do not differ between disks.
pub(crate) fn shared_keys() -> &'static KeyRing {
    static KEYS: OnceLock<(tempfile::TempDir, KeyRing)> = OnceLock::new();
    let (_, keys) = KEYS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create_at(&dir.path().join("keys"), RINGS_MADE).unwrap();
        (dir, keys)
    });
    keys
}

/// A disk with a log on it.
pub(crate) struct SimWorld {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<HandClock>,
    entropy: Arc<SeededEntropy>,
    pub(crate) settings: Settings,
}

impl SimWorld {
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        Self { disk: SimDisk::new(seed), clock: HandClock::new(), entropy: SeededEntropy::new(seed), settings }
    }

    /// The same files on a disk of its own, with another seed.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        let fork = Self::new(seed, self.settings);
        for folder in Layout::new(Self::log_path()).folders() {
            create_dirs(&*fork.disk.shared(), &folder).unwrap();
        }
        for (path, bytes) in self.disk.snapshot() {
            fork.disk.put(path, bytes).unwrap();
        }
        fork
    }

    pub(crate) fn log_path() -> &'static Path {
        Path::new("/log")
    }

    pub(crate) fn file(name: &str) -> PathBuf {
        Self::log_path().join(name)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            settings: self.settings,
            disk: self.disk.shared(),
            keeper: Some(Keeper::manual()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            ..Options::default()
        }
    }

    pub(crate) fn create(&self) -> Log {
        Log::create(Self::log_path(), ORIGIN, shared_keys(), self.options()).unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Log, LogError> {
        Log::open(Self::log_path(), shared_keys(), self.options())
    }

    pub(crate) fn heads(&self) -> FileHeads {
        FileHeads::new(self.disk.shared(), &shared_keys().heads_dir())
    }

    pub(crate) fn head(&self) -> Option<HeadRecord> {
        self.heads().load(ORIGIN).ok().flatten()
    }

    pub(crate) fn tree_head(&self) -> Option<TreeHead> {
        let record = self.head()?;
        Some(Checkpoint::open(record.checkpoint.as_bytes(), &Self::key()).unwrap().head)
    }

    pub(crate) fn key() -> VerifyingKey {
        shared_keys().checkpoint_signer(ORIGIN).unwrap().verifying_key().clone()
    }

    pub(crate) fn try_verify(&self, edit: impl FnOnce(&mut Request<'_>)) -> Result<Report, VerifyError> {
        let heads = self.heads();
        let mut request = Request {
            ring: Some(shared_keys()),
            heads: Some(&heads),
            head_required: true,
            threads: 1,
            ..Request::new(Self::key(), self.clock.now())
        };
        edit(&mut request);
        let reader = indelible_store_file::driver::reader_of_entry_zero(&self.disk.shared(), Self::log_path())?;
        verify(&reader, &request)
    }

    pub(crate) fn verify(&self) -> Report {
        self.try_verify(|_| ()).unwrap()
    }
}
