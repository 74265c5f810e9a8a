//! The checkpoint-signing key as a signer of notes.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use indelible_core::note::{NoteError, NoteSigner, VerifyingKey};

use crate::KeyError;

/// Signs checkpoints of one origin with Ed25519 (RFC 8032).
pub struct CheckpointSigner {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl CheckpointSigner {
    /// The signer of `origin` by its 32-byte seed.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where seed or origin cannot be used.
    pub fn new(seed: &[u8; 32], origin: &str) -> Result<Self, KeyError> {
        let invalid = |what: &str| KeyError::Invalid { what: what.to_owned() };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| invalid("the checkpoint key's seed"))?;
        let public: [u8; 32] =
            pair.public_key().as_ref().try_into().map_err(|_| invalid("the checkpoint key's public part"))?;
        let public = VerifyingKey::ed25519(origin, public).map_err(|error| invalid(&error.to_string()))?;
        Ok(Self { pair, public })
    }
}

impl NoteSigner for CheckpointSigner {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}
