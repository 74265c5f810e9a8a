//! Public keys in the forms that other programs read and write, and private keys as they come from them.
//!
//! | form | what it is |
//! |---|---|
//! | DER | `SubjectPublicKeyInfo` (RFC 5280) |
//! | PEM | the same between `-----BEGIN PUBLIC KEY-----` and its end (RFC 7468) |
//! | JWK | RFC 7517 and 7518; Ed25519 after RFC 8037, ML-DSA-44 (`AKP`) after RFC 9964 |
//! | vkey | `<origin>+<hash>+<base64>`, `docs/format.md` section 3 |
//! | PKCS#8 | private keys (RFC 5958), not encrypted, as DER or between `-----BEGIN PRIVATE KEY-----` and its end |
//!
//! What is read is checked as [`VerifyingKey::new`] checks it; what is written reads back. Of an RSA key none of DER, PEM and
//! PKCS#8 says how it signs, so whoever reads one may say which of the two ways is meant; else it is PSS.

mod error;
mod jwk;
mod pem;
mod private;

use std::{borrow::Cow, fs::File, io::Read as _, path::Path};

use indelible_core::{
    note::{Algorithm, NoteError, VerifyingKey},
    spki::Spki,
};

pub use error::PublicKeyError;
pub use private::PrivateKey;

/// The longest text or document that is read as a key. An RSA private key of 4,096 bits has 3.2 KiB in PEM, an ML-DSA-44 key
/// with its seed and its expanded form 4 KiB; explanations before the key are allowed.
pub const MAX_KEY_BYTES: usize = 64 * 1024;

/// The name for keys that are asked about without their log.
pub(crate) const NAMELESS: &str = "key";

/// A public key without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    material: Vec<u8>,
}

impl PublicKey {
    /// A key by what stands behind the type in a vkey.
    ///
    /// # Errors
    /// [`PublicKeyError::Unusable`] for bytes that are no key of the algorithm.
    pub fn new(algorithm: Algorithm, material: &[u8]) -> Result<Self, PublicKeyError> {
        VerifyingKey::new(NAMELESS, algorithm, material).map_err(PublicKeyError::Unusable)?;
        Ok(Self { algorithm, material: material.to_vec() })
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What stands behind the type in a vkey.
    #[must_use]
    pub fn material(&self) -> &[u8] {
        &self.material
    }

    /// Whether the signature over a message is by this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = VerifyingKey::new(NAMELESS, self.algorithm, &self.material);
        key.is_ok_and(|key| key.verify(message, signature))
    }

    /// The same key with the other way for RSA keys to sign; `None` for the other algorithms, which have only one.
    #[must_use]
    pub fn other_padding(&self) -> Option<Self> {
        let algorithm = match self.algorithm {
            Algorithm::RsaPssSha256 => Algorithm::RsaPkcs1Sha256,
            Algorithm::RsaPkcs1Sha256 => Algorithm::RsaPssSha256,
            Algorithm::Ed25519 | Algorithm::MlDsa44 | Algorithm::EcdsaP256Sha256 => return None,
        };
        Some(Self { algorithm, material: self.material.clone() })
    }

    /// The key with the name of a log.
    ///
    /// # Errors
    /// [`PublicKeyError::Unusable`] for a name that no key has.
    pub fn to_vkey(&self, origin: &str) -> Result<VerifyingKey, PublicKeyError> {
        VerifyingKey::new(origin, self.algorithm, &self.material).map_err(PublicKeyError::Unusable)
    }

    /// `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let material: &[u8] = &self.material;
        match self.algorithm {
            Algorithm::Ed25519 => {
                material.try_into().map(Spki::Ed25519).map_or_else(|_| Vec::new(), |key| key.to_der())
            }
            Algorithm::MlDsa44 => {
                material.try_into().map(Spki::MlDsa44).map_or_else(|_| Vec::new(), |key| key.to_der())
            }
            Algorithm::EcdsaP256Sha256 | Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => self.material.clone(),
        }
    }

    /// The PEM block `PUBLIC KEY`, as OpenSSL reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write(pem::PUBLIC, &self.to_der())
    }

    /// A JSON Web Key, one line without a line feed.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        jwk::write(self)
    }

    /// Reads `SubjectPublicKeyInfo` in DER. `wanted` is the algorithm that it has to be for.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn from_der(der: &[u8], wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        let spki = Spki::parse(der).map_err(PublicKeyError::Spki)?;
        let (algorithm, material) = match spki {
            Spki::Ed25519(key) => (Algorithm::Ed25519, key.as_slice()),
            Spki::MlDsa44(key) => (Algorithm::MlDsa44, key.as_slice()),
            Spki::P256(_) => (Algorithm::EcdsaP256Sha256, der),
            Spki::Rsa { .. } => (rsa_algorithm(wanted), der),
        };
        Self::new(as_wanted(algorithm, wanted)?, material)
    }

    /// Reads a text with one PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`PublicKeyError`]; other blocks, among them certificates and private keys, are told apart.
    pub fn from_pem(text: &str, wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        Self::from_der(&pem::read(text, pem::PUBLIC)?, wanted)
    }

    /// Reads a JSON Web Key. Where it says how it signs, that has to agree with `wanted`.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn from_jwk(text: &str, wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        jwk::read(text, wanted)
    }

    /// Reads a file with a key in any of the forms.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn load(path: &Path, wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        let failed = |source| PublicKeyError::Io { place: path.display().to_string(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::read(&bytes, wanted)
    }

    /// Reads any of the forms: a vkey, PEM, JWK or DER, told apart by how they begin.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn read(bytes: &[u8], wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(PublicKeyError::TooLong { bytes: bytes.len() });
        }
        let der = Self::from_der(bytes, wanted);
        // Bytes of a key in DER may happen to be text, and text never is DER: that begins with a tag and its length.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if matches!(der, Err(PublicKeyError::Spki(_))) => text,
            _ => return der,
        };
        let trimmed = text.trim();
        if trimmed.starts_with('{') {
            return Self::from_jwk(trimmed, wanted);
        }
        if text.contains("-----BEGIN ") {
            return Self::from_pem(text, wanted);
        }
        match VerifyingKey::parse(trimmed) {
            Ok(key) => {
                let algorithm = as_wanted(key.algorithm(), wanted)?;
                Self::new(algorithm, key.public_key())
            }
            Err(NoteError::MalformedKey { .. }) => Err(PublicKeyError::NoKey),
            Err(error) => Err(PublicKeyError::Unusable(error)),
        }
    }
}

impl From<&VerifyingKey> for PublicKey {
    fn from(key: &VerifyingKey) -> Self {
        Self { algorithm: key.algorithm(), material: key.public_key().to_vec() }
    }
}

/// How an RSA key signs where nothing but `wanted` says it.
fn rsa_algorithm(wanted: Option<Algorithm>) -> Algorithm {
    match wanted {
        Some(Algorithm::RsaPkcs1Sha256) => Algorithm::RsaPkcs1Sha256,
        _ => Algorithm::RsaPssSha256,
    }
}

fn as_wanted(found: Algorithm, wanted: Option<Algorithm>) -> Result<Algorithm, PublicKeyError> {
    match wanted {
        Some(wanted) if wanted != found => Err(PublicKeyError::OtherAlgorithm { wanted, found }),
        _ => Ok(found),
    }
}

/// Text of a file, cut to what a message may show.
fn shown(text: &str) -> Cow<'_, str> {
    let long = text.chars().count() > 64 || text.chars().any(char::is_control);
    if long { Cow::Owned(text.escape_debug().take(64).collect()) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests;
