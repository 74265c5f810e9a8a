//! Entry signatures: HMAC over the leaf hash, by SHA-256 or by SHA-512 cut to its first half (`docs/format.md` section 3).
//!
//! A key's id derives from its secret, so that the wrong bytes under the right name are noticed as a wrong *key*, before
//! anything could be called a wrong *entry*.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::{hex, tree::Hash};

/// The name of the algorithm that is usual, as entry 0 and the derivation carry it.
pub const ALGORITHM: &str = EntryAlgorithm::HmacSha256.name();

/// Label of the derivation of keys that sign entries.
const SIGN: &str = "indelible/v1/entry-mac";
/// Label of the derivation of keys that sign entries a second time, in an overlay.
const RESIGN: &str = "indelible/v1/entry-resign";

/// How entries are signed. Either way the signature has 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EntryAlgorithm {
    /// HMAC-SHA256 (RFC 2104, FIPS 198-1).
    #[default]
    HmacSha256,
    /// The first 32 bytes of HMAC-SHA512 (RFC 4868).
    HmacSha512_256,
}

impl EntryAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::HmacSha256, Self::HmacSha512_256];

    /// The name that logs and rings carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "HMAC-SHA256",
            Self::HmacSha512_256 => "HMAC-SHA-512-256",
        }
    }

    /// The algorithm of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl std::fmt::Display for EntryAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A random number that identifies a log, in entry 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl LogId {
    /// Reads 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text.as_bytes()).map(Self)
    }
}

/// Appends `u32be(length) ‖ bytes`.
pub fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    // Longer than 4 GiB cannot be held in an entry of 64 KiB.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The id of version `version` of an entry-signing secret.
#[must_use]
pub fn entry_key_id(secret: &[u8; 32], version: u32) -> String {
    format!("es{version}-{}", key_id_tag(secret, "entry-signing"))
}

/// What stands behind the version in the id of a 32-byte secret: sixteen digits that name its purpose too.
#[must_use]
pub fn key_id_tag(secret: &[u8; 32], purpose: &str) -> String {
    let tag = keyed(secret).chain_update(b"indelible/v1/key-id/").chain_update(purpose).finalize().into_bytes();
    hex::encode(tag.get(..8).unwrap_or_default())
}

/// What stands behind the version in the id of a checkpoint key: sixteen digits of its public key's digest.
#[must_use]
pub fn checkpoint_key_tag(public: &[u8]) -> String {
    let digest = Sha256::new_with_prefix(b"indelible/v1/key-id/checkpoint-signing").chain_update(public).finalize();
    hex::encode(digest.get(..8).unwrap_or_default())
}

/// A derived entry-signing key, ready to sign: the HMAC state after the key block.
#[derive(Clone)]
pub struct EntryKey {
    id: String,
    state: State,
}

/// SHA-512's is boxed: twice as long, and rarely asked for.
#[derive(Clone)]
enum State {
    Sha256(Hmac<Sha256>),
    Sha512(Box<Hmac<Sha512>>),
}

impl std::fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl EntryKey {
    /// Derives the key that signs in the log `log_id` of `origin` at `epoch`.
    #[must_use]
    pub fn derive(
        secret: &[u8; 32],
        version: u32,
        algorithm: EntryAlgorithm,
        log_id: LogId,
        origin: &str,
        epoch: u64,
    ) -> Self {
        Self::of(entry_key_id(secret, version), algorithm, &derive_bytes(secret, algorithm, log_id, origin, epoch))
    }

    /// Derives the key that signs entries of the same log a second time, in overlays. No signature of one kind is one of the other.
    #[must_use]
    pub fn derive_resign(
        secret: &[u8; 32],
        version: u32,
        algorithm: EntryAlgorithm,
        log_id: LogId,
        origin: &str,
        epoch: u64,
    ) -> Self {
        Self::of(entry_key_id(secret, version), algorithm, &expand(RESIGN, secret, algorithm, log_id, origin, epoch))
    }

    fn of(id: String, algorithm: EntryAlgorithm, key: &[u8; 32]) -> Self {
        let state = match algorithm {
            EntryAlgorithm::HmacSha256 => State::Sha256(keyed(key)),
            EntryAlgorithm::HmacSha512_256 => State::Sha512(Box::new(keyed_long(key))),
        };
        Self { id, state }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> EntryAlgorithm {
        match self.state {
            State::Sha256(_) => EntryAlgorithm::HmacSha256,
            State::Sha512(_) => EntryAlgorithm::HmacSha512_256,
        }
    }

    /// Signs a leaf hash.
    #[must_use]
    pub fn sign(&self, leaf: &Hash) -> [u8; 32] {
        match &self.state {
            State::Sha256(state) => state.clone().chain_update(leaf.0).finalize().into_bytes().into(),
            State::Sha512(state) => {
                let mac: [u8; 64] = Hmac::clone(state).chain_update(leaf.0).finalize().into_bytes().into();
                let [first, _] = halves(mac);
                first
            }
        }
    }

    /// Whether `mac` signs `leaf`, in constant time.
    #[must_use]
    pub fn verify(&self, leaf: &Hash, mac: &[u8; 32]) -> bool {
        match &self.state {
            State::Sha256(state) => state.clone().chain_update(leaf.0).verify_slice(mac).is_ok(),
            State::Sha512(state) => Hmac::clone(state).chain_update(leaf.0).verify_truncated_left(mac).is_ok(),
        }
    }
}

fn halves(bytes: [u8; 64]) -> [[u8; 32]; 2] {
    let mut out = [[0; 32]; 2];
    for (slot, byte) in out.as_flattened_mut().iter_mut().zip(bytes) {
        *slot = byte;
    }
    out
}

/// The derived key's 32 bytes, for checking an entry with other tools.
#[must_use]
pub fn derive_bytes(
    secret: &[u8; 32],
    algorithm: EntryAlgorithm,
    log_id: LogId,
    origin: &str,
    epoch: u64,
) -> Zeroizing<[u8; 32]> {
    expand(SIGN, secret, algorithm, log_id, origin, epoch)
}

fn expand(
    label: &str,
    secret: &[u8; 32],
    algorithm: EntryAlgorithm,
    log_id: LogId,
    origin: &str,
    epoch: u64,
) -> Zeroizing<[u8; 32]> {
    let mut info = Vec::new();
    for part in [label, algorithm.name(), origin, &epoch.to_string()] {
        push_prefixed(&mut info, part.as_bytes());
    }
    let mut key = Zeroizing::new([0; 32]);
    // 32 bytes is far below the limit of 255 hashes; HKDF refuses nothing else.
    let _ = Hkdf::<Sha256>::new(Some(&log_id.0), secret).expand(&info, key.as_mut());
    key
}

/// HMAC pads a key shorter than the block with zeros (RFC 2104 section 2); the library wants the whole block.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    Hmac::new((&*block).into())
}

/// The same for SHA-512, whose block is twice as long.
fn keyed_long(key: &[u8; 32]) -> Hmac<Sha512> {
    let mut block = Zeroizing::new([0; 128]);
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: EntryAlgorithm = EntryAlgorithm::HmacSha256;
    const LONG: EntryAlgorithm = EntryAlgorithm::HmacSha512_256;

    #[test]
    fn keys_differ_by_everything_that_they_derive_from() {
        let leaf = Hash([5; 32]);
        for algorithm in EntryAlgorithm::ALL {
            let base = EntryKey::derive(&[1; 32], 1, algorithm, LogId([2; 16]), "a", 1);
            let mac = base.sign(&leaf);
            assert!(base.verify(&leaf, &mac));
            assert_eq!(base.algorithm(), algorithm);
            let other = if algorithm == SHORT { LONG } else { SHORT };
            for other in [
                EntryKey::derive(&[9; 32], 1, algorithm, LogId([2; 16]), "a", 1),
                EntryKey::derive(&[1; 32], 1, algorithm, LogId([3; 16]), "a", 1),
                EntryKey::derive(&[1; 32], 1, algorithm, LogId([2; 16]), "b", 1),
                EntryKey::derive(&[1; 32], 1, algorithm, LogId([2; 16]), "a", 2),
                EntryKey::derive(&[1; 32], 1, other, LogId([2; 16]), "a", 1),
                EntryKey::derive_resign(&[1; 32], 1, algorithm, LogId([2; 16]), "a", 1),
            ] {
                assert!(!other.verify(&leaf, &mac));
            }
            assert!(!base.verify(&Hash([6; 32]), &mac));
            for bit in 0..256 {
                let mut wrong = mac;
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!base.verify(&leaf, &wrong), "{bit}");
            }
        }
    }

    #[test]
    fn a_signature_is_the_hmac_of_the_derived_key() {
        use aws_lc_rs::hmac;
        let leaf = Hash([5; 32]);
        for (algorithm, reference) in [(SHORT, hmac::HMAC_SHA256), (LONG, hmac::HMAC_SHA512)] {
            let bytes = derive_bytes(&[1; 32], algorithm, LogId([2; 16]), "a", 3);
            let expected = hmac::sign(&hmac::Key::new(reference, bytes.as_ref()), &leaf.0);
            let key = EntryKey::derive(&[1; 32], 1, algorithm, LogId([2; 16]), "a", 3);
            assert_eq!(key.sign(&leaf), expected.as_ref()[..32]);
        }
    }

    #[test]
    fn names_are_read_back() {
        for algorithm in EntryAlgorithm::ALL {
            assert_eq!(EntryAlgorithm::parse(algorithm.name()), Some(algorithm));
        }
        assert_eq!(EntryAlgorithm::parse("hmac-sha256"), None);
    }

    #[test]
    fn ids_derive_from_the_secret_and_name_the_version() {
        assert_ne!(entry_key_id(&[1; 32], 1), entry_key_id(&[2; 32], 1));
        assert!(entry_key_id(&[1; 32], 3).starts_with("es3-"));
    }
}
