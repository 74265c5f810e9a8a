//! How a log is opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indelible_keys::KeyRing;
use indelible_store::{
    disk::{OsDisk, SharedDisk},
    heads::{FileHeads, HeadStore},
};
use indelible_store_file::{FileDriver, Settings};
use zeroize::Zeroizing;

use crate::{
    clock::{Clock, Entropy, SystemClock, SystemEntropy},
    databases::Databases,
    keeper::Keeper,
};

/// What happens to a caller who finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The caller waits until there is room.
    #[default]
    Wait,
    /// The caller is refused at once ([`crate::AppendError::Full`]); nothing was recorded.
    Refuse,
}

/// Who makes new keys when those in the ring have been in use for as long as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// Whoever looks after the ring (`indelible keys rotate`). A running process takes new keys up with the next checkpoint, so within [`Options::publish_every`] of its traffic.
    #[default]
    ByOperator,
    /// The process that has the log open, with the next checkpoint after they fell due by the cryptoperiods that the ring names and the log's clock. Of several logs of
    /// one ring, in one process or in many, one makes the keys and the others take them up.
    WhenDue,
}

/// How a log is opened. The default is right for one log on a local disk.
#[derive(Clone)]
pub struct Options {
    /// Segment sizes, for a new log.
    pub settings: Settings,
    /// The file system.
    pub disk: SharedDisk,
    /// The databases that logs are in: options that share this value share their connections.
    pub databases: Databases,
    /// Where the newest heads are kept; by default `heads/` beside the keys.
    pub heads: Option<Arc<dyn HeadStore>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where salts come from.
    pub entropy: Arc<dyn Entropy>,
    /// The thread that publishes checkpoints; by default one of the log's own, started when first needed.
    pub keeper: Option<Keeper>,
    /// How often a checkpoint is published while there is traffic.
    pub publish_every: Duration,
    /// How often a checkpoint is kept while there is traffic.
    pub keep_every: Duration,
    /// How long a bounded acknowledgement may stay undurable.
    pub bounded_within: Duration,
    /// What a full queue means.
    pub on_full: OnFull,
    /// Who makes new keys when it is time.
    pub rotation: Rotation,
    /// Whether a network file system is accepted.
    pub accept_network_disk: bool,
    /// The key of encrypted SQLite files (`sqlcipher:FILE`); see [`crate::location::sqlcipher_key`].
    pub sqlcipher_key: Option<Zeroizing<[u8; 32]>>,
    /// Of a new log: the log that it goes on from.
    pub predecessor: Option<indelible_core::control::Predecessor>,
    /// Further places that the keys must not be in.
    pub keep_apart: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            disk: OsDisk::shared(),
            databases: Databases::default(),
            heads: None,
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            keeper: None,
            publish_every: Duration::from_secs(1),
            keep_every: Duration::from_secs(3600),
            bounded_within: Duration::from_secs(1),
            on_full: OnFull::Wait,
            rotation: Rotation::ByOperator,
            accept_network_disk: false,
            sqlcipher_key: None,
            predecessor: None,
            keep_apart: Vec::new(),
        }
    }
}

impl Options {
    /// A directory as a place for a log, with what these options say of directories.
    #[must_use]
    pub fn directory(&self, path: &Path) -> FileDriver {
        FileDriver::new(Arc::clone(&self.disk), path, self.settings).accept_network_disk(self.accept_network_disk)
    }

    /// The head store of logs that these keys write: the one that is named here, or else `heads/` beside the keys.
    #[must_use]
    pub fn heads_for(&self, keys: &KeyRing) -> Arc<dyn HeadStore> {
        match &self.heads {
            Some(heads) => Arc::clone(heads),
            None => Arc::new(FileHeads::new(Arc::clone(&self.disk), &keys.heads_dir())),
        }
    }
}
