//! How long keys should be active.

use super::purpose::Purpose;
use crate::KeyError;

/// Days for which the keys of each purpose should be active; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cryptoperiods {
    /// Entry-signing keys.
    pub entry_signing_days: u32,
    /// Checkpoint-signing keys.
    pub checkpoint_signing: CheckpointPeriod,
    /// Data-encryption keys.
    pub data_encryption_days: u32,
    /// Blind-index keys.
    pub blind_index_days: u32,
    /// Backup keys.
    pub backup_days: u32,
}

impl Default for Cryptoperiods {
    /// NIST SP 800-57 part 1 section 5.3.6 leaves keys that protect much data the shortest time, and keys that others pin years.
    fn default() -> Self {
        Self {
            entry_signing_days: 90,
            checkpoint_signing: CheckpointPeriod::USUAL,
            data_encryption_days: 90,
            blind_index_days: 365,
            backup_days: 365,
        }
    }
}

impl Cryptoperiods {
    /// The days of a purpose.
    #[must_use]
    pub const fn of(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::EntrySigning => self.entry_signing_days,
            Purpose::CheckpointSigning => self.checkpoint_signing.0,
            Purpose::DataEncryption => self.data_encryption_days,
            Purpose::BlindIndex => self.blind_index_days,
            Purpose::Backup => self.backup_days,
        }
    }
}

/// How long checkpoint keys should be active. Auditors and witnesses pin them, so one to three years, unless somebody says that he means another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPeriod(u32);

impl CheckpointPeriod {
    /// A year.
    pub const MIN_DAYS: u32 = 365;
    /// Three years, one of them a leap year.
    pub const MAX_DAYS: u32 = 1096;
    /// Two years.
    pub const USUAL: Self = Self(730);

    /// One to three years.
    ///
    /// # Errors
    /// [`KeyError::Cryptoperiod`] for anything else.
    pub const fn new(days: u32) -> Result<Self, KeyError> {
        if days < Self::MIN_DAYS || days > Self::MAX_DAYS {
            return Err(KeyError::Cryptoperiod { days, min: Self::MIN_DAYS, max: Self::MAX_DAYS });
        }
        Ok(Self(days))
    }

    /// Any number of days, 0 for no limit, for who means it.
    #[must_use]
    pub const fn told(days: u32) -> Self {
        Self(days)
    }

    /// The days.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_key_lives_one_to_three_years_unless_told_otherwise() {
        for (days, taken) in
            [(0, false), (90, false), (364, false), (365, true), (730, true), (1096, true), (1097, false)]
        {
            assert_eq!(CheckpointPeriod::new(days).is_ok(), taken, "{days}");
        }
        assert_eq!(CheckpointPeriod::told(30).days(), 30);
        let error = CheckpointPeriod::new(90).unwrap_err().to_string();
        assert!(error.contains("365 to 1096 days, not 90"), "{error}");
        let usual = Cryptoperiods::default();
        assert_eq!(Purpose::ALL.map(|purpose| usual.of(purpose)), [90, 730, 90, 365, 365]);
    }
}
