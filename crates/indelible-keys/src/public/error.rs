//! Why a key from elsewhere cannot be used. No message shows a secret.

use std::io;

use indelible_core::{
    note::{Algorithm, NoteError},
    spki::SpkiError,
};

/// What is wrong with a key in one of the forms of this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The file system refused.
    #[error("cannot read the key `{place}`")]
    Io {
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read a private key.
    #[error("the private key `{place}` can be read by others (mode {mode:04o}): take that away with `chmod 600`")]
    Exposed {
        /// File.
        place: String,
        /// Its mode.
        mode: u32,
    },
    /// More than a key has.
    #[error("{bytes} bytes are more than a key has: give a file with one key")]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// None of the forms.
    #[error(
        "this is no key: give one as PEM (`BEGIN PUBLIC KEY`), DER, JWK, or as the log's public key text `<origin>+<hash>+<base64>`"
    )]
    NoKey,
    /// Not the bytes of a public key that is known here.
    #[error("the public key cannot be read")]
    Spki(#[source] SpkiError),
    /// The numbers make no key of its algorithm, or the name is none.
    #[error("the key cannot be used")]
    Unusable(#[source] NoteError),
    /// A key for another algorithm than was asked for.
    #[error("this is a key for `{found}`, and one for `{wanted}` is needed")]
    OtherAlgorithm {
        /// What was asked for.
        wanted: Algorithm,
        /// What it is.
        found: Algorithm,
    },
    /// The PEM block is damaged.
    #[error("the PEM text is damaged: {reason}")]
    Pem {
        /// What is wrong.
        reason: &'static str,
    },
    /// Another PEM block than a key.
    #[error("the PEM block is `{label}`, and `{wanted}` is needed{hint}")]
    OtherBlock {
        /// What it says it is.
        label: String,
        /// What was asked for.
        wanted: &'static str,
        /// How to get it.
        hint: &'static str,
    },
    /// The JWK cannot be read.
    #[error("the JWK cannot be used: {reason}")]
    Jwk {
        /// What is wrong.
        reason: String,
    },
    /// The JWK has a private part.
    #[error("the JWK holds a private key: take the public one, and treat this one as known to whoever saw the file")]
    PrivateJwk,
    /// The private key cannot be read.
    #[error(
        "the private key cannot be read: it has to be an Ed25519, ML-DSA-44, P-256 or RSA key (of 2,048 to 4,096 bits) as PKCS#8, not encrypted; `openssl pkcs8 -topk8 -nocrypt -in FILE` writes that"
    )]
    PrivateKey,
    /// An ML-DSA-44 key without the seed that it was made from.
    #[error(
        "the ML-DSA-44 private key is only there in its expanded form: export it with its 32-byte seed (RFC 9881), from which it is made here"
    )]
    NoSeed,
}
