//! Checkpoint-signing keys as signers of notes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use indelible_core::{
    note::{Algorithm, NoteError, NoteSigner, VerifyingKey, cosigned_message},
    time::Micros,
};
use zeroize::Zeroizing;

use crate::{
    KeyError,
    pair::{self, Pair, invalid},
};

/// What time it is, for signatures that have a time.
type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// Signs checkpoints of one origin with a key in memory, of any [`Algorithm`].
///
/// The signatures of `ml-dsa-44` say when they were made. That time is the system clock's unless
/// [`with_clock`](Self::with_clock) gives another.
pub struct CheckpointSigner {
    pair: Pair,
    public: VerifyingKey,
    clock: Clock,
}

impl std::fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointSigner").field("public", &self.public.id()).finish_non_exhaustive()
    }
}

impl CheckpointSigner {
    /// The Ed25519 signer of `origin` by its 32-byte seed.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where seed or origin cannot be used.
    pub fn new(seed: &[u8; 32], origin: &str) -> Result<Self, KeyError> {
        Self::from_secret(Algorithm::Ed25519, seed, origin)
    }

    /// The signer of `origin` by its secret: a seed of 32 bytes for `ed25519` and `ml-dsa-44`, the PKCS#8 document in DER
    /// for the others.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where secret or origin cannot be used.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8], origin: &str) -> Result<Self, KeyError> {
        let pair = Pair::from_secret(algorithm, secret)?;
        let public = VerifyingKey::new(origin, algorithm, pair.public_material());
        let public = public.map_err(|error| invalid(format!("the origin `{}` ({error})", origin.escape_debug())))?;
        Ok(Self { pair, public, clock: Arc::new(system_clock) })
    }

    /// The same signer with another clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// A fresh secret for an algorithm. `bits` is the size of an RSA key, 2048, 3072 (which `None` means) or 4096.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for another size, or a size where there is no choice.
    pub fn generate_secret(algorithm: Algorithm, bits: Option<u32>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        pair::generate_secret(algorithm, bits)
    }

    /// The public key of a secret, as it stands behind the type in a vkey.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where the secret cannot be used.
    pub fn public_material(algorithm: Algorithm, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(Pair::from_secret(algorithm, secret)?.public_material().to_vec())
    }

    fn failed(&self, why: &'static str) -> NoteError {
        NoteError::Signer { key: self.public.id(), source: why.into() }
    }
}

impl NoteSigner for CheckpointSigner {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
        self.pair.sign(message).ok_or_else(|| self.failed("the cryptographic library failed; is there memory left?"))
    }

    fn sign_note(&self, text: &str) -> Result<Vec<u8>, NoteError> {
        if self.public.algorithm() != Algorithm::MlDsa44 {
            return self.sign(text.as_bytes());
        }
        let now = u64::try_from((self.clock)().0 / 1_000_000);
        let now = now.map_err(|_| self.failed("the clock reads a time before 1970; set it"))?;
        let message = cosigned_message(self.public.name(), now, text);
        let message = message.ok_or_else(|| {
            self.failed("`ml-dsa-44` signs nothing but checkpoints without extension lines, of names up to 255 bytes")
        })?;
        Ok([now.to_be_bytes().to_vec(), self.sign(&message)?].concat())
    }
}

fn system_clock() -> Micros {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Micros(micros)
}

#[cfg(test)]
mod tests {
    use indelible_core::{
        checkpoint::Checkpoint,
        note::{KeySet, Note, Require},
        tree::{Hash, TreeHead, TreeSize},
    };

    use super::*;

    fn signer(algorithm: Algorithm) -> CheckpointSigner {
        let bits = matches!(algorithm, Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256).then_some(2048);
        let secret = CheckpointSigner::generate_secret(algorithm, bits).unwrap();
        let signer = CheckpointSigner::from_secret(algorithm, &secret, "a.example/log").unwrap();
        let public = CheckpointSigner::public_material(algorithm, &secret).unwrap();
        assert_eq!(signer.verifying_key().public_key(), public);
        assert_eq!(signer.verifying_key().algorithm(), algorithm);
        signer
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::new("a.example/log", TreeHead { size: TreeSize(42), root: Hash([9; 32]) })
    }

    #[test]
    fn each_algorithm_signs_checkpoints_and_messages() {
        for algorithm in Algorithm::ALL {
            let signer = signer(algorithm);
            let key = signer.verifying_key();
            assert_eq!(VerifyingKey::parse(&key.to_string()).unwrap(), *key, "{algorithm}");
            let note = checkpoint().sign(&[&signer]).unwrap().to_string();
            assert_eq!(Checkpoint::open(note.as_bytes(), key).unwrap(), checkpoint(), "{algorithm}");
            for altered in [note.replacen("42", "43", 1), note.replacen("a.example", "b.example", 1)] {
                assert!(Checkpoint::open(altered.as_bytes(), key).is_err(), "{algorithm}");
            }
            let signature = signer.sign(b"message").unwrap();
            assert!(key.verify(b"message", &signature) && !key.verify(b"messagE", &signature), "{algorithm}");
            let cut = &signature[..signature.len() - 1];
            assert!(!key.verify(b"message", cut) && !key.verify(b"message", &[]), "{algorithm}");
            let other = Algorithm::ALL.into_iter().filter(|other| *other != algorithm);
            for other in other {
                if let Ok(other) = VerifyingKey::new(key.name(), other, key.public_key()) {
                    assert!(!other.verify(b"message", &signature), "{algorithm}");
                }
            }
        }
    }

    #[test]
    fn several_sign_one_checkpoint_and_the_policy_counts_them() {
        let signers = Algorithm::ALL.map(signer);
        let all: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as _).collect();
        let keys: Vec<VerifyingKey> = signers.iter().map(|signer| signer.verifying_key().clone()).collect();
        let note = checkpoint().sign(&all).unwrap().to_string();
        let set = |require| KeySet::new(keys.clone(), require).unwrap();
        assert_eq!(Checkpoint::open_by(note.as_bytes(), &set(Require::All)).unwrap(), checkpoint());
        let lines: Vec<&str> = note.lines().collect();
        for missing in 4..lines.len() {
            let kept = lines.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, line)| format!("{line}\n"));
            let note = kept.collect::<String>();
            assert!(Checkpoint::open_by(note.as_bytes(), &set(Require::AtLeast(4))).is_ok());
            let parsed = Note::parse(note.as_bytes()).unwrap();
            match set(Require::All).verify(&parsed) {
                Err(NoteError::TooFewSignatures { signed, missing: named, .. }) => {
                    assert_eq!((signed.len(), named), (4, vec![keys[missing - 4].id()]));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn ml_dsa_signatures_say_when_they_were_made() {
        let at = |micros| signer(Algorithm::MlDsa44).with_clock(move || Micros(micros));
        let text = checkpoint().to_string();
        let signature = at(1_700_000_000_999_999).sign_note(&text).unwrap();
        assert_eq!(signature.len(), 8 + 2420);
        assert_eq!(signature[..8], 1_700_000_000_u64.to_be_bytes());
        let signer = at(1);
        let mut later = signer.sign_note(&text).unwrap();
        assert!(signer.verifying_key().verify_note(&text, &later));
        later[7] = 1;
        assert!(!signer.verifying_key().verify_note(&text, &later), "the time is signed");
        assert!(!signer.verifying_key().verify_note(&text, &later[8..]));
        for (signer, text) in [(at(-1_000_000), text.as_str()), (at(1), "text\n"), (at(1), &format!("{text}more\n"))] {
            assert!(matches!(signer.sign_note(text), Err(NoteError::Signer { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_second_implementation_agrees_on_ml_dsa() {
        use ml_dsa::{ExpandedSigningKey, MlDsa44, Signature};
        let seed: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let theirs = ExpandedSigningKey::<MlDsa44>::from_seed(&seed.into());
        let ours = CheckpointSigner::from_secret(Algorithm::MlDsa44, &seed, "a.example/log").unwrap();
        let ours = ours.with_clock(|| Micros(1_700_000_000_000_000));
        assert_eq!(theirs.verifying_key().encode().as_slice(), ours.verifying_key().public_key());

        let text = checkpoint().to_string();
        let message = [
            b"subtree/v1\n\0\x0da.example/log".as_slice(),
            &1_700_000_000_u64.to_be_bytes(),
            b"\x0da.example/log",
            &[0; 8],
            &42_u64.to_be_bytes(),
            &[9; 32],
        ]
        .concat();
        let signature = ours.sign_note(&text).unwrap();
        let read = Signature::<MlDsa44>::try_from(&signature[8..]).unwrap();
        assert!(theirs.verifying_key().verify_with_context(&message, b"", &read));
        assert!(!theirs.verifying_key().verify_with_context(&message, b"c", &read));

        let made = theirs.sign_deterministic(&message, b"").unwrap().encode();
        let timed = [&1_700_000_000_u64.to_be_bytes(), made.as_slice()].concat();
        assert!(ours.verifying_key().verify_note(&text, &timed));
        assert!(ours.verifying_key().verify(&message, &made));
        let other = theirs.sign_deterministic(&message, b"c").unwrap().encode();
        assert!(!ours.verifying_key().verify(&message, &other), "the context is empty");
    }

    #[test]
    fn secrets_of_another_kind_and_sizes_that_are_not_made_are_refused() {
        let seed = CheckpointSigner::generate_secret(Algorithm::Ed25519, None).unwrap();
        let ec = CheckpointSigner::generate_secret(Algorithm::EcdsaP256Sha256, None).unwrap();
        for algorithm in Algorithm::ALL {
            let takes_seed = matches!(algorithm, Algorithm::Ed25519 | Algorithm::MlDsa44);
            assert_eq!(CheckpointSigner::from_secret(algorithm, &seed, "a").is_ok(), takes_seed, "{algorithm}");
            let takes_ec = algorithm == Algorithm::EcdsaP256Sha256;
            assert_eq!(CheckpointSigner::from_secret(algorithm, &ec, "a").is_ok(), takes_ec, "{algorithm}");
            for secret in [&[][..], &seed[1..], &[&seed[..], &[0]].concat(), &ec[1..], &[&ec[..], &[0]].concat()] {
                let error = CheckpointSigner::from_secret(algorithm, secret, "a").unwrap_err();
                assert!(matches!(error, KeyError::Invalid { .. }), "{algorithm}");
            }
            assert!(CheckpointSigner::generate_secret(algorithm, Some(1024)).is_err(), "{algorithm}");
        }
        assert!(CheckpointSigner::from_secret(Algorithm::Ed25519, &seed, "a b").is_err());
        assert!(CheckpointSigner::generate_secret(Algorithm::Ed25519, Some(2048)).is_err());
    }

    #[test]
    fn rsa_keys_come_in_three_sizes() {
        for (bits, bytes) in [(Some(2048), 256), (None, 384), (Some(4096), 512)] {
            let secret = CheckpointSigner::generate_secret(Algorithm::RsaPssSha256, bits).unwrap();
            for algorithm in [Algorithm::RsaPssSha256, Algorithm::RsaPkcs1Sha256] {
                let signer = CheckpointSigner::from_secret(algorithm, &secret, "a").unwrap();
                assert_eq!(signer.sign(b"message").unwrap().len(), bytes);
            }
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let signer = CheckpointSigner::new(&[7; 32], "a").unwrap();
        assert!(!format!("{signer:?}").contains("7, 7"));
    }
}
