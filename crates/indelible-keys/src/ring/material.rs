//! Secrets of keys: made, checked for length and type, and what derives from them.

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
        KeyAlgorithm::Checkpoint(Algorithm::Ed25519)
        | KeyAlgorithm::Entry(_)
        | KeyAlgorithm::Aes256Gcm
        | KeyAlgorithm::BlindIndex => Some(SECRET_BYTES),
    }
}

/// A fresh secret.
pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Secret, KeyError> {
    match algorithm {
        KeyAlgorithm::Checkpoint(Algorithm::Ed25519)
        | KeyAlgorithm::Entry(_)
        | KeyAlgorithm::Aes256Gcm
        | KeyAlgorithm::BlindIndex => {
            let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
            rand::rng().fill_bytes(&mut secret);
            Ok(secret)
        }
    }
}

/// A fresh secret of the same algorithm, and of the same size where there is a choice.
pub(crate) fn generate_like(algorithm: KeyAlgorithm, _public: Option<&[u8]>) -> Result<Secret, KeyError> {
    generate(algorithm)
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
    if secret.len() != SECRET_BYTES {
        return Err(KeyError::WrongLength {
            what: what.to_owned(),
            algorithm: algorithm.to_string(),
            found: secret.len(),
            wanted: SECRET_BYTES,
        });
    }
    match algorithm {
        KeyAlgorithm::Checkpoint(algorithm) => {
            use indelible_core::note::NoteSigner as _;
            Ok(Some(signer(algorithm, secret, "id")?.verifying_key().public_key().to_vec()))
        }
        _ => Ok(None),
    }
}

/// The signer of an origin's checkpoints by a secret.
pub(crate) fn signer(algorithm: Algorithm, secret: &[u8], origin: &str) -> Result<CheckpointSigner, KeyError> {
    match algorithm {
        Algorithm::Ed25519 => {
            let seed = secret.as_array().ok_or_else(|| KeyError::Invalid { what: "the checkpoint key".to_owned() })?;
            CheckpointSigner::new(seed, origin)
        }
    }
}

pub(crate) fn wrong_type(purpose: Purpose, algorithm: &str, what: &str) -> KeyError {
    KeyError::WrongType {
        what: what.to_owned(),
        purpose,
        algorithm: algorithm.to_owned(),
        known: purpose::known(purpose),
    }
}
