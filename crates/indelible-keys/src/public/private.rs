//! Private keys as they come from other programs.

use std::{fs::File, io::Read as _, path::Path};

use aws_lc_rs::{
    encoding::{AsBigEndian as _, AsDer as _},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, ML_DSA_44_SIGNING, PqdsaKeyPair, RsaKeyPair,
    },
};
use indelible_core::note::{Algorithm, NoteSigner as _};
use zeroize::Zeroizing;

use super::{MAX_KEY_BYTES, NAMELESS, PublicKey, PublicKeyError, as_wanted, pem, rsa_algorithm};
use crate::{CheckpointSigner, KeyError, pair::is_whole};

/// What stands before the seed in the PKCS#8 document of an ML-DSA-44 key: version 0, the algorithm, and the seed alone,
/// `[0]` in an octet string (RFC 9881).
const ML_DSA_44_SEED: &[u8] = &[
    0x30, 0x34, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11, 0x04,
    0x22, 0x80, 0x20,
];

/// A private key in the form that [`CheckpointSigner::from_secret`](crate::CheckpointSigner::from_secret) and a ring take.
pub struct PrivateKey {
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
    signer: CheckpointSigner,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// The key of a secret, in the form that a ring keeps it in.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where the secret cannot be used.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let signer = CheckpointSigner::from_secret(algorithm, secret, NAMELESS)?;
        Ok(Self { algorithm, secret: Zeroizing::new(secret.to_vec()), signer })
    }

    /// Reads the file of a private key, which nobody else may be able to read.
    ///
    /// # Errors
    /// [`PublicKeyError`]; see [`read`](Self::read).
    pub fn load(path: &Path, wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        let failed = |source| PublicKeyError::Io { place: path.display().to_string(), source };
        let file = File::open(path).map_err(failed)?;
        refuse_exposed(&file, path)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_BYTES + 1));
        file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::read(&bytes, wanted)
    }

    /// Reads PKCS#8 in DER, or as a text with one PEM block `PRIVATE KEY`. `wanted` is the algorithm that it has to be for.
    ///
    /// # Errors
    /// [`PublicKeyError`]; keys that are encrypted, or in the forms of older programs, are told apart in PEM.
    pub fn read(bytes: &[u8], wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(PublicKeyError::TooLong { bytes: bytes.len() });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains("-----BEGIN ") => Self::from_pkcs8(&pem::read(text, pem::PRIVATE)?, wanted),
            _ => Self::from_pkcs8(bytes, wanted),
        }
    }

    /// Reads PKCS#8 in DER.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn from_pkcs8(der: &[u8], wanted: Option<Algorithm>) -> Result<Self, PublicKeyError> {
        if !is_whole(der) {
            return Err(PublicKeyError::PrivateKey);
        }
        let (found, secret) = secret(der, wanted)?;
        let algorithm = as_wanted(found, wanted)?;
        Self::from_secret(algorithm, &secret).map_err(|_| PublicKeyError::PrivateKey)
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The secret as a ring keeps it.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(self.signer.verifying_key())
    }

    /// What signs with it, under a name that is no log's: for files.
    #[must_use]
    pub fn signer(&self) -> &CheckpointSigner {
        &self.signer
    }
}

/// Finds out what kind of key a document holds, and its secret. RSA and ECDSA keys are written anew, so that attributes and
/// other spellings do not come along.
fn secret(der: &[u8], wanted: Option<Algorithm>) -> Result<(Algorithm, Zeroizing<Vec<u8>>), PublicKeyError> {
    let owned = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
    let unreadable = |_| PublicKeyError::PrivateKey;
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let seed = pair.seed().map_err(unreadable)?.as_be_bytes().map_err(unreadable)?;
        return Ok((Algorithm::Ed25519, owned(seed.as_ref())));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
        return Ok((Algorithm::EcdsaP256Sha256, owned(pair.to_pkcs8v1().map_err(unreadable)?.as_ref())));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        return Ok((rsa_algorithm(wanted), owned(pair.as_der().map_err(unreadable)?.as_ref())));
    }
    let pair = PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, der).map_err(|_| PublicKeyError::PrivateKey)?;
    let document = pair.to_pkcs8v1().map_err(|_| PublicKeyError::NoSeed)?;
    let seed = document.as_ref().strip_prefix(ML_DSA_44_SEED).filter(|seed| seed.len() == 32);
    Ok((Algorithm::MlDsa44, owned(seed.ok_or(PublicKeyError::NoSeed)?)))
}

#[cfg(unix)]
fn refuse_exposed(file: &File, path: &Path) -> Result<(), PublicKeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = path.display().to_string();
    match file.metadata() {
        Ok(meta) if meta.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(meta) => Err(PublicKeyError::Exposed { place, mode: meta.permissions().mode() & 0o777 }),
        Err(source) => Err(PublicKeyError::Io { place, source }),
    }
}

#[cfg(not(unix))]
fn refuse_exposed(_file: &File, _path: &Path) -> Result<(), PublicKeyError> {
    Ok(())
}
