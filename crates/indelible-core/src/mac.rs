//! Entry signatures: HMAC-SHA256 over the leaf hash (`docs/format.md` section 3).
//!
//! A key's id derives from its secret, so that the wrong bytes under the right name are noticed as a wrong *key*, before
//! anything could be called a wrong *entry*.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{hex, tree::Hash};

/// The algorithm's name, as entry 0 and the derivation carry it.
pub const ALGORITHM: &str = "HMAC-SHA256";

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
    let tag = keyed(secret).chain_update(b"indelible/v1/key-id/entry-signing").finalize().into_bytes();
    format!("es{version}-{}", hex::encode(tag.get(..8).unwrap_or_default()))
}

/// A derived entry-signing key, ready to sign: the HMAC state after the key block.
#[derive(Clone)]
pub struct EntryKey {
    id: String,
    state: Hmac<Sha256>,
}

impl std::fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl EntryKey {
    /// Derives the key that signs in the log `log_id` of `origin` at `epoch`.
    #[must_use]
    pub fn derive(secret: &[u8; 32], version: u32, log_id: LogId, origin: &str, epoch: u64) -> Self {
        let key = derive_bytes(secret, log_id, origin, epoch);
        Self { id: entry_key_id(secret, version), state: keyed(&key) }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Signs a leaf hash.
    #[must_use]
    pub fn sign(&self, leaf: &Hash) -> [u8; 32] {
        self.state.clone().chain_update(leaf.0).finalize().into_bytes().into()
    }

    /// Whether `mac` signs `leaf`, in constant time.
    #[must_use]
    pub fn verify(&self, leaf: &Hash, mac: &[u8; 32]) -> bool {
        self.state.clone().chain_update(leaf.0).verify_slice(mac).is_ok()
    }
}

/// The derived key's 32 bytes, for checking an entry with other tools.
#[must_use]
pub fn derive_bytes(secret: &[u8; 32], log_id: LogId, origin: &str, epoch: u64) -> Zeroizing<[u8; 32]> {
    let mut info = Vec::new();
    for part in ["indelible/v1/entry-mac", ALGORITHM, origin, &epoch.to_string()] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_everything_that_they_derive_from() {
        let base = EntryKey::derive(&[1; 32], 1, LogId([2; 16]), "a", 1);
        let leaf = Hash([5; 32]);
        let mac = base.sign(&leaf);
        assert!(base.verify(&leaf, &mac));
        for other in [
            EntryKey::derive(&[9; 32], 1, LogId([2; 16]), "a", 1),
            EntryKey::derive(&[1; 32], 1, LogId([3; 16]), "a", 1),
            EntryKey::derive(&[1; 32], 1, LogId([2; 16]), "b", 1),
            EntryKey::derive(&[1; 32], 1, LogId([2; 16]), "a", 2),
        ] {
            assert!(!other.verify(&leaf, &mac));
        }
        assert!(!base.verify(&Hash([6; 32]), &mac));
    }

    #[test]
    fn ids_derive_from_the_secret_and_name_the_version() {
        assert_ne!(entry_key_id(&[1; 32], 1), entry_key_id(&[2; 32], 1));
        assert!(entry_key_id(&[1; 32], 3).starts_with("es3-"));
    }
}
