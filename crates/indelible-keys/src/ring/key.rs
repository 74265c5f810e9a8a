//! One key: what is known of it, and its secret.

use indelible_core::{mac, time::Micros};
use zeroize::Zeroizing;

use super::purpose::{KeyAlgorithm, Purpose};
use crate::State;

/// Bytes that are wiped when they are dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// What is known of a key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name, derived from the secret or the public key.
    pub id: String,
    /// What it serves for.
    pub purpose: Purpose,
    /// How.
    pub algorithm: KeyAlgorithm,
    /// Its ordinal within purpose and algorithm.
    pub version: u32,
    /// What it may be used for.
    pub state: State,
    /// When it was made.
    pub created_at: Micros,
    /// When it became active.
    pub activated_at: Option<Micros>,
    /// When another took its place.
    pub retired_at: Option<Micros>,
    /// When it was said that others may have it.
    pub compromised_at: Option<Micros>,
    /// When its secret was wiped.
    pub destroyed_at: Option<Micros>,
    /// Why it was withdrawn, in the operator's words.
    pub reason: Option<String>,
    /// How long it should be active; 0 for no limit.
    pub cryptoperiod_days: u32,
    /// The public key, of checkpoint keys: what stands behind the type in the vkey.
    pub public: Option<Vec<u8>>,
}

impl KeyInfo {
    /// What happened to it last, and when.
    pub(crate) fn newest(&self) -> (&'static str, Micros) {
        let times = [
            ("activated", self.activated_at),
            ("retired", self.retired_at),
            ("withdrawn", self.compromised_at),
            ("destroyed", self.destroyed_at),
        ];
        let happened = times.into_iter().filter_map(|(event, at)| Some((event, at?)));
        happened.fold(("made", self.created_at), |newest, next| if next.1 >= newest.1 { next } else { newest })
    }

    /// When it should be replaced; `None` where it is not active, or may stay.
    #[must_use]
    pub fn due_at(&self) -> Option<Micros> {
        let since = self.activated_at.filter(|_| self.state == State::Active && self.cryptoperiod_days > 0)?;
        Some(Micros(since.0.saturating_add(i64::from(self.cryptoperiod_days).saturating_mul(MICROS_PER_DAY))))
    }
}

/// Microseconds of a day.
pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A key with its secret. A destroyed one has none.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) info: KeyInfo,
    pub(crate) secret: Option<Secret>,
}

impl Key {
    /// The secret of those that have 32 bytes.
    pub(crate) fn bytes(&self) -> Option<&[u8; 32]> {
        self.secret.as_deref()?.as_array()
    }
}

/// The id of a key: of its secret, or of its public key where it has one.
pub(crate) fn id_of(purpose: Purpose, version: u32, secret: &[u8], public: Option<&[u8]>) -> Option<String> {
    let tag = match (public, secret.as_array()) {
        (Some(public), _) => mac::checkpoint_key_tag(public),
        (None, Some(secret)) => mac::key_id_tag(secret, &purpose.name().replace('_', "-")),
        (None, None) => return None,
    };
    Some(format!("{}{version}-{tag}", purpose.prefix()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_a_key_serves_for_and_differ_by_it() {
        let id = |purpose| id_of(purpose, 3, &[1; 32], None).unwrap();
        assert_eq!(id(Purpose::EntrySigning), mac::entry_key_id(&[1; 32], 3));
        let ids = [Purpose::EntrySigning, Purpose::DataEncryption, Purpose::BlindIndex, Purpose::Backup].map(id);
        for (id, prefix) in ids.iter().zip(["es3-", "de3-", "bi3-", "bk3-"]) {
            assert!(id.starts_with(prefix), "{id}");
        }
        let tags: std::collections::BTreeSet<_> = ids.iter().map(|id| &id[4..]).collect();
        assert_eq!(tags.len(), 4);
        assert_eq!(id_of(Purpose::EntrySigning, 1, &[1; 31], None), None);
    }
}
