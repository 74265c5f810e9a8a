//! Public keys with names, and the algorithms that they are of.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ML_DSA_44, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::{NoteError, cosigned_message};
use crate::spki::{ML_DSA_44_BYTES, Spki, bits};

/// The sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// How a key signs (`docs/format.md` section 3). It displays as its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `ed25519`, RFC 8032.
    Ed25519,
    /// `ml-dsa-44`, FIPS 204; a note's signature is that of C2SP tlog-cosignature.
    MlDsa44,
    /// `ecdsa-p256-sha256`, signatures in DER.
    EcdsaP256Sha256,
    /// `rsa-pss-sha256`, with a salt of 32 bytes.
    RsaPssSha256,
    /// `rsa-pkcs1-sha256`, for verifiers that know no PSS.
    RsaPkcs1Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::MlDsa44, Self::EcdsaP256Sha256, Self::RsaPssSha256, Self::RsaPkcs1Sha256];

    /// The name, as it stands in keys, logs and rings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::MlDsa44 => "ml-dsa-44",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
        }
    }

    /// What stands before the key in key texts and key hashes. None begins with another.
    const fn type_bytes(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => b"\x01",
            Self::MlDsa44 => b"\x06",
            Self::EcdsaP256Sha256 => b"\xffindelible/v1/ecdsa-p256-sha256\n",
            Self::RsaPssSha256 => b"\xffindelible/v1/rsa-pss-sha256\n",
            Self::RsaPkcs1Sha256 => b"\xffindelible/v1/rsa-pkcs1-sha256\n",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &ED25519,
            Self::MlDsa44 => &ML_DSA_44,
            Self::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
            Self::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }

    /// Refuses what is no public key of this algorithm in its one encoding.
    fn check(self, public: &[u8]) -> Result<(), NoteError> {
        let refuse = |reason| Err(NoteError::KeyMaterial { algorithm: self, reason });
        match (self, Spki::parse(public)) {
            (Self::Ed25519, _) if public.len() == 32 => return Ok(()),
            (Self::Ed25519, _) => return refuse("it has 32 bytes"),
            (Self::MlDsa44, _) if public.len() != ML_DSA_44_BYTES => return refuse("it has 1,312 bytes"),
            (Self::EcdsaP256Sha256, Ok(Spki::P256(_))) | (Self::MlDsa44, _) => {}
            (Self::EcdsaP256Sha256, _) => return refuse("it is a P-256 key as `SubjectPublicKeyInfo` in DER"),
            (Self::RsaPssSha256 | Self::RsaPkcs1Sha256, Ok(Spki::Rsa { modulus, .. })) => {
                if !RSA_BITS.contains(&bits(modulus)) {
                    return refuse("its modulus has 2,048 to 4,096 bits");
                }
            }
            (Self::RsaPssSha256 | Self::RsaPkcs1Sha256, _) => {
                return refuse("it is an RSA key as `SubjectPublicKeyInfo` in DER");
            }
        }
        match ParsedPublicKey::new(self.verification(), public) {
            Ok(_) => Ok(()),
            Err(_) => refuse("the numbers in it are those of no key"),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = NoteError;

    fn from_str(name: &str) -> Result<Self, NoteError> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        known.ok_or_else(|| NoteError::UnknownAlgorithm { name: name.escape_debug().take(64).collect() })
    }
}

/// What a signature says of its key: name and hash. It displays as `<name>+<hash>`, the beginning of the key's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// Name of the key.
    pub name: String,
    /// First four bytes of the hash of name, type and key.
    pub key_hash: [u8; 4],
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.name, crate::hex::encode(&self.key_hash))
    }
}

/// A named public key that verifies notes. It displays as its text, the *vkey*.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    name: String,
    key_hash: [u8; 4],
    algorithm: Algorithm,
    public: Vec<u8>,
}

impl VerifyingKey {
    /// A key with its name. `public` is what the table of `docs/format.md` section 3 says for the algorithm: the key itself
    /// for `ed25519` and `ml-dsa-44`, `SubjectPublicKeyInfo` in DER for the others.
    ///
    /// # Errors
    ///
    /// A name that is empty or has a space, a plus or a control character; bytes that are no key of the algorithm.
    pub fn new(name: &str, algorithm: Algorithm, public: &[u8]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::MalformedKey { reason: "the name is empty or has a space or a plus" });
        }
        algorithm.check(public)?;
        let key_hash = key_hash(name, algorithm, public);
        Ok(Self { name: name.to_owned(), key_hash, algorithm, public: public.to_vec() })
    }

    /// An Ed25519 key (RFC 8032) with its name.
    ///
    /// # Errors
    ///
    /// A name that is empty or has a space, a plus or a control character.
    pub fn ed25519(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        Self::new(name, Algorithm::Ed25519, &public)
    }

    /// Reads a key's text, `<name>+<hash, 8 hex>+<base64 of type and key>`.
    ///
    /// # Errors
    ///
    /// Malformed text, a hash that is not the key's, an algorithm that is not known, or bytes that are no key of it.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = |reason| NoteError::MalformedKey { reason };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed("a part is missing"));
        };
        let hash = crate::hex::decode::<4>(hash.as_bytes()).ok_or(malformed("the hash is not 8 hex digits"))?;
        let data = STANDARD.decode(data).map_err(|_| malformed("the key is not base64"))?;
        let first = *data.first().ok_or(malformed("the key is empty"))?;
        if !is_key_name(name) {
            return Err(malformed("the name is empty or has a space"));
        }
        let known = |algorithm: Algorithm| Some((algorithm, data.strip_prefix(algorithm.type_bytes())?));
        let (algorithm, public) = Algorithm::ALL
            .into_iter()
            .find_map(known)
            .ok_or_else(|| NoteError::OtherAlgorithm { name: name.to_owned(), algorithm: first })?;
        let key = Self::new(name, algorithm, public)?;
        if key.key_hash == hash { Ok(key) } else { Err(malformed("the hash is not that of the key")) }
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of `SHA-256(name ‖ "\n" ‖ type ‖ key)`.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 4] {
        self.key_hash
    }

    /// Name and hash together.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId { name: self.name.clone(), key_hash: self.key_hash }
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself, what stands behind the type in its text.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Whether the signature over a message that is no note is by this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.public).verify(message, signature).is_ok()
    }

    /// Whether the signature over the text of a note is by this key. An ML-DSA-44 key signs the texts of checkpoints without
    /// extension lines only, since its signatures cover nothing else ([`cosigned_message`]).
    #[must_use]
    pub fn verify_note(&self, text: &str, signature: &[u8]) -> bool {
        if self.algorithm != Algorithm::MlDsa44 {
            return self.verify(text.as_bytes(), signature);
        }
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let message = cosigned_message(&self.name, u64::from_be_bytes(*time), text);
        message.is_some_and(|message| self.verify(&message, signature))
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = [self.algorithm.type_bytes(), &self.public].concat();
        write!(f, "{}+{}", self.id(), STANDARD.encode(data))
    }
}

impl FromStr for VerifyingKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::parse(text)
    }
}

fn key_hash(name: &str, algorithm: Algorithm, public: &[u8]) -> [u8; 4] {
    let typed = Sha256::new_with_prefix(name).chain_update(b"\n").chain_update(algorithm.type_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(typed.chain_update(public).finalize());
    [a, b, c, d]
}

pub(super) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace() || c < ' ')
}
