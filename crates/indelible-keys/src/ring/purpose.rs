//! What keys serve for, and by which algorithms.

use std::fmt;

use indelible_core::mac::EntryAlgorithm;

use crate::Algorithm;

/// What a key serves for. A key serves for one purpose only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Signs entries.
    EntrySigning,
    /// Signs checkpoints and authorises control records.
    CheckpointSigning,
    /// Encrypts fields.
    DataEncryption,
    /// Makes tokens that encrypted fields are found by.
    BlindIndex,
    /// Encrypts backups.
    Backup,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::EntrySigning, Self::CheckpointSigning, Self::DataEncryption, Self::BlindIndex, Self::Backup];

    /// The name that rings and JSON carry: `entry_signing`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EntrySigning => "entry_signing",
            Self::CheckpointSigning => "checkpoint_signing",
            Self::DataEncryption => "data_encryption",
            Self::BlindIndex => "blind_index",
            Self::Backup => "backup",
        }
    }

    /// The purpose of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// What ids of its keys begin with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::EntrySigning => "es",
            Self::CheckpointSigning => "cs",
            Self::DataEncryption => "de",
            Self::BlindIndex => "bi",
            Self::Backup => "bk",
        }
    }

    /// The algorithms that serve for it, the usual one first.
    #[must_use]
    pub fn algorithms(self) -> Vec<KeyAlgorithm> {
        match self {
            Self::EntrySigning => EntryAlgorithm::ALL.map(KeyAlgorithm::Entry).to_vec(),
            Self::CheckpointSigning => Algorithm::ALL.map(KeyAlgorithm::Checkpoint).to_vec(),
            Self::DataEncryption | Self::Backup => vec![KeyAlgorithm::Aes256Gcm],
            Self::BlindIndex => vec![KeyAlgorithm::BlindIndex],
        }
    }
}

impl fmt::Display for Purpose {
    /// For people, as it is typed on a command line: `entry-signing`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', "-"))
    }
}

/// How a key does what it serves for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// Entry signatures.
    Entry(EntryAlgorithm),
    /// Checkpoint signatures.
    Checkpoint(Algorithm),
    /// AES-256-GCM, for data and backups.
    Aes256Gcm,
    /// HMAC-SHA256, for blind indexes.
    BlindIndex,
}

impl KeyAlgorithm {
    /// The name that rings carry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entry(algorithm) => algorithm.name(),
            Self::Checkpoint(algorithm) => algorithm.name(),
            Self::Aes256Gcm => "AES-256-GCM",
            Self::BlindIndex => "HMAC-SHA256",
        }
    }

    /// The algorithm of a name, among those that serve for a purpose.
    #[must_use]
    pub fn parse(purpose: Purpose, name: &str) -> Option<Self> {
        purpose.algorithms().into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The algorithms of a purpose, for messages.
pub(crate) fn known(purpose: Purpose) -> String {
    let names: Vec<_> = purpose.algorithms().iter().map(|algorithm| format!("`{algorithm}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_algorithms_belong_to_purposes() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.name()), Some(purpose));
            assert_eq!(purpose.to_string().replace('-', "_"), purpose.name());
            for algorithm in purpose.algorithms() {
                assert_eq!(KeyAlgorithm::parse(purpose, algorithm.name()), Some(algorithm));
            }
        }
        assert_eq!(KeyAlgorithm::parse(Purpose::EntrySigning, "ed25519"), None);
        assert_eq!(KeyAlgorithm::parse(Purpose::CheckpointSigning, "HMAC-SHA256"), None);
    }
}
