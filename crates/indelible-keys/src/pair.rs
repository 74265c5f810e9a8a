//! Key pairs in memory, of each algorithm that signs checkpoints and files.

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaSignatureEncoding,
    },
};
use indelible_core::note::{Algorithm, VerifyingKey};
use rand::Rng as _;
use zeroize::Zeroizing;

use crate::KeyError;

/// The size of RSA keys that are made here if nobody asks for another: as strong as the 256-bit curves.
pub(crate) const DEFAULT_RSA_BITS: u32 = 3072;

/// A private key that is ready to sign.
pub(crate) struct Pair {
    keys: Keys,
    public: Vec<u8>,
}

enum Keys {
    Ed25519(Ed25519KeyPair),
    MlDsa44(PqdsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
}

impl Pair {
    /// The pair of a secret: a seed of 32 bytes for `ed25519` and `ml-dsa-44`, a PKCS#8 document in DER for the others.
    pub(crate) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let keys = Keys::from_secret(algorithm, secret)?;
        let failed = || invalid(format!("the public part of the `{algorithm}` key"));
        let public = keys.public_material().ok_or_else(failed)?;
        // The name is of no importance: what a public key may be is asked here once.
        VerifyingKey::new("key", algorithm, &public).map_err(|error| invalid(format!("the secret ({error})")))?;
        Ok(Self { keys, public })
    }

    /// The public key, as it stands behind the type in a vkey.
    pub(crate) fn public_material(&self) -> &[u8] {
        &self.public
    }

    /// Signs a message as it stands. `None` if the library fails, which it does only for lack of memory or randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Ed25519(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            Keys::Ecdsa(pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
            Keys::MlDsa44(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature).ok()?;
                Some(signature)
            }
            Keys::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

impl Keys {
    fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let seed = || match secret.len() {
            32 => Ok(secret),
            length => Err(invalid(format!("a secret of {length} bytes for `{algorithm}`, which takes a seed of 32,"))),
        };
        let document = || if is_whole(secret) { Ok(secret) } else { Err(no_document(algorithm, secret)) };
        let rsa = |encoding| match RsaKeyPair::from_pkcs8(document()?) {
            Ok(pair) => Ok(Self::Rsa(pair, encoding)),
            Err(_) => Err(no_document(algorithm, secret)),
        };
        let no_seed = |_| invalid(format!("the seed of the `{algorithm}` key"));
        match algorithm {
            Algorithm::Ed25519 => Ok(Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(seed()?).map_err(no_seed)?)),
            Algorithm::MlDsa44 => {
                Ok(Self::MlDsa44(PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed()?).map_err(no_seed)?))
            }
            Algorithm::EcdsaP256Sha256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document()?);
                Ok(Self::Ecdsa(pair.map_err(|_| no_document(algorithm, secret))?))
            }
            Algorithm::RsaPssSha256 => rsa(&RSA_PSS_SHA256),
            Algorithm::RsaPkcs1Sha256 => rsa(&RSA_PKCS1_SHA256),
        }
    }

    fn public_material(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Some(pair.public_key().as_ref().to_vec()),
            Self::MlDsa44(pair) => Some(pair.public_key().as_ref().to_vec()),
            Self::Ecdsa(pair) => Some(pair.public_key().as_der().ok()?.as_ref().to_vec()),
            Self::Rsa(pair, _) => Some(pair.public_key().as_der().ok()?.as_ref().to_vec()),
        }
    }
}

/// A fresh secret, in the form that [`Pair::from_secret`] takes. `bits` is for RSA alone: 2048, 3072 or 4096.
pub(crate) fn generate_secret(algorithm: Algorithm, bits: Option<u32>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |_| invalid(format!("the randomness of this machine, which is needed for a new `{algorithm}` key,"));
    let rsa = matches!(algorithm, Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256);
    match (algorithm, bits) {
        (_, Some(bits)) if !rsa => {
            Err(invalid(format!("a size of {bits} bits for `{algorithm}`, which has only one,")))
        }
        (Algorithm::Ed25519 | Algorithm::MlDsa44, _) => {
            let mut seed = Zeroizing::new(vec![0; 32]);
            rand::rng().fill_bytes(&mut seed);
            Ok(seed)
        }
        (Algorithm::EcdsaP256Sha256, _) => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
            Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()))
        }
        (Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256, bits) => {
            let size = match bits.unwrap_or(DEFAULT_RSA_BITS) {
                2048 => KeySize::Rsa2048,
                3072 => KeySize::Rsa3072,
                4096 => KeySize::Rsa4096,
                other => {
                    return Err(invalid(format!("an RSA key of {other} bits (2048, 3072 and 4096 are made here)")));
                }
            };
            let pair = RsaKeyPair::generate(size).map_err(failed)?;
            let der = pair.as_der().map_err(failed)?;
            Ok(Zeroizing::new(der.as_ref().to_vec()))
        }
    }
}

fn no_document(algorithm: Algorithm, secret: &[u8]) -> KeyError {
    let length = secret.len();
    invalid(format!("a secret of {length} bytes that is no private key for `{algorithm}` as PKCS#8 in DER"))
}

/// Whether a document is one DER value and nothing behind it, which the library does not look at.
pub(crate) fn is_whole(der: &[u8]) -> bool {
    let (length, content) = match der {
        [0x30, short, content @ ..] if *short < 0x80 => (usize::from(*short), content),
        [0x30, 0x81, length, content @ ..] => (usize::from(*length), content),
        [0x30, 0x82, high, low, content @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), content),
        _ => return false,
    };
    content.len() == length
}

pub(crate) fn invalid(what: String) -> KeyError {
    KeyError::Invalid { what }
}
