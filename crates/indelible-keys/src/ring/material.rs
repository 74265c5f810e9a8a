//! Secrets of keys: made, checked for length and type, and what derives from them.

use indelible_core::spki::{Spki, bits};
use rand::Rng as _;
use zeroize::Zeroizing;

use super::{
    key::Secret,
    purpose::{self, KeyAlgorithm, Purpose},
};
use crate::{Algorithm, CheckpointSigner, KeyError};

/// Bytes of the secrets that are plain bytes.
pub(crate) const SECRET_BYTES: usize = 32;

/// How long secrets of an algorithm are; `None` where that differs from key to key.
pub(crate) fn secret_bytes(algorithm: KeyAlgorithm) -> Option<usize> {
    match algorithm {
        KeyAlgorithm::Checkpoint(Algorithm::Ed25519 | Algorithm::MlDsa44)
        | KeyAlgorithm::Entry(_)
        | KeyAlgorithm::Aes256Gcm
        | KeyAlgorithm::BlindIndex => Some(SECRET_BYTES),
        KeyAlgorithm::Checkpoint(_) => None,
    }
}

/// A fresh secret. `rsa_bits` is the size where there is a choice.
pub(crate) fn generate(algorithm: KeyAlgorithm, rsa_bits: Option<u32>) -> Result<Secret, KeyError> {
    match (algorithm, rsa_bits) {
        (KeyAlgorithm::Checkpoint(algorithm), _) => CheckpointSigner::generate_secret(algorithm, rsa_bits),
        (_, Some(bits)) => {
            Err(KeyError::Invalid { what: format!("a size of {bits} bits for `{algorithm}`, which has only one,") })
        }
        (KeyAlgorithm::Entry(_) | KeyAlgorithm::Aes256Gcm | KeyAlgorithm::BlindIndex, None) => {
            let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
            rand::rng().fill_bytes(&mut secret);
            Ok(secret)
        }
    }
}

/// A fresh secret of the same algorithm, and for RSA of the same size: of the next of the three that are made, where the old one came from elsewhere.
pub(crate) fn generate_like(algorithm: KeyAlgorithm, public: Option<&[u8]>) -> Result<Secret, KeyError> {
    let rsa_bits = match public.map(Spki::parse) {
        Some(Ok(Spki::Rsa { modulus, .. })) => match bits(modulus) {
            ..=2048 => Some(2048),
            2049..=3072 => Some(3072),
            _ => Some(4096),
        },
        _ => None,
    };
    generate(algorithm, rsa_bits)
}

/// The public key of a checkpoint key, `None` for other purposes. Refuses a secret of another length or kind than its algorithm's.
pub(crate) fn public(
    purpose: Purpose,
    algorithm: KeyAlgorithm,
    secret: &[u8],
    what: &str,
) -> Result<Option<Vec<u8>>, KeyError> {
    if KeyAlgorithm::parse(purpose, algorithm.name()) != Some(algorithm) {
        return Err(wrong_type(purpose, algorithm.name(), what));
    }
    if let Some(wanted) = secret_bytes(algorithm).filter(|wanted| secret.len() != *wanted) {
        return Err(KeyError::WrongLength {
            what: what.to_owned(),
            algorithm: algorithm.to_string(),
            found: secret.len(),
            wanted,
        });
    }
    let KeyAlgorithm::Checkpoint(algorithm) = algorithm else { return Ok(None) };
    match CheckpointSigner::public_material(algorithm, secret) {
        Ok(public) => Ok(Some(public)),
        Err(_) => Err(KeyError::WrongSecret { what: what.to_owned(), algorithm }),
    }
}

/// The signer of an origin's checkpoints by a secret.
pub(crate) fn signer(algorithm: Algorithm, secret: &[u8], origin: &str) -> Result<CheckpointSigner, KeyError> {
    CheckpointSigner::from_secret(algorithm, secret, origin)
}

pub(crate) fn wrong_type(purpose: Purpose, algorithm: &str, what: &str) -> KeyError {
    KeyError::WrongType {
        what: what.to_owned(),
        purpose,
        algorithm: algorithm.to_owned(),
        known: purpose::known(purpose),
    }
}
