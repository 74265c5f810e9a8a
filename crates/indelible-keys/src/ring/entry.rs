//! One entry-signing key, and what derives from it for a log.

use indelible_core::{
    hex,
    mac::{self, EntryAlgorithm, EntryKey, LogId},
};
use zeroize::Zeroizing;

use super::{KeyInfo, State};

/// An entry-signing key of a ring.
#[derive(Clone, Copy)]
pub struct EntryKeyRef<'a> {
    pub(super) info: &'a KeyInfo,
    pub(super) algorithm: EntryAlgorithm,
    pub(super) secret: &'a [u8; 32],
}

impl std::fmt::Debug for EntryKeyRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryKeyRef").field("id", &self.info.id).finish_non_exhaustive()
    }
}

impl<'a> EntryKeyRef<'a> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'a str {
        &self.info.id
    }

    /// Its version in the ring.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.info.version
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> EntryAlgorithm {
        self.algorithm
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.info.state
    }

    /// All that is known of it.
    #[must_use]
    pub fn info(&self) -> &'a KeyInfo {
        self.info
    }

    /// The derived key that signs entries of a log.
    #[must_use]
    pub fn key(&self, log_id: LogId, origin: &str, epoch: u64) -> EntryKey {
        EntryKey::derive(self.secret, self.info.version, self.algorithm, log_id, origin, epoch)
    }

    /// The derived key that signs entries of a log a second time.
    #[must_use]
    pub fn resign_key(&self, log_id: LogId, origin: &str, epoch: u64) -> EntryKey {
        EntryKey::derive_resign(self.secret, self.info.version, self.algorithm, log_id, origin, epoch)
    }

    /// The bytes of [`EntryKeyRef::key`] in hexadecimal, for checking an entry with other tools.
    #[must_use]
    pub fn derived_hex(&self, log_id: LogId, origin: &str, epoch: u64) -> Zeroizing<String> {
        let bytes = mac::derive_bytes(self.secret, self.algorithm, log_id, origin, epoch);
        Zeroizing::new(hex::encode(bytes.as_ref()))
    }
}
