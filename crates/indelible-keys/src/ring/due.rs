//! What has to be rotated.

use indelible_core::time::Micros;

use super::{
    KeyInfo, KeyRing,
    key::MICROS_PER_DAY,
    purpose::{KeyAlgorithm, Purpose},
};

/// A key that has been active for as long as it should be, or will have been soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The key.
    pub id: String,
    /// What it serves for.
    pub purpose: Purpose,
    /// How.
    pub algorithm: KeyAlgorithm,
    /// When it should be replaced.
    pub due_at: Micros,
    /// Whole days since then; below zero where that is still to come.
    pub overdue_days: i64,
}

/// What of some keys is due at `now` or will be within `within_days`, the longest overdue first.
pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a KeyInfo>, now: Micros, within_days: u32) -> Vec<Due> {
    let horizon = now.0.saturating_add(i64::from(within_days).saturating_mul(MICROS_PER_DAY));
    let mut due: Vec<Due> = keys
        .into_iter()
        .filter_map(|key| {
            let due_at = key.due_at().filter(|at| at.0 <= horizon)?;
            let overdue_days = now.0.saturating_sub(due_at.0).div_euclid(MICROS_PER_DAY);
            let (id, purpose, algorithm) = (key.id.clone(), key.purpose, key.algorithm);
            Some(Due { id, purpose, algorithm, due_at, overdue_days })
        })
        .collect();
    due.sort_by_key(|due| due.due_at);
    due
}

impl KeyRing {
    /// The keys that have been active for as long as they should be, the longest overdue first.
    #[must_use]
    pub fn due(&self, now: Micros) -> Vec<Due> {
        of(self.keys(), now, 0)
    }
}

impl super::Overview {
    /// The keys that should be replaced within so many days (0: now), the longest overdue first.
    #[must_use]
    pub fn due(&self, now: Micros, within_days: u32) -> Vec<Due> {
        of(&self.keys, now, within_days)
    }
}
