//! Why files could not be signed or verified.

use std::{io, path::Path};

use indelible_core::note::{Algorithm, NoteError};

use super::{ManifestError, NameError};

/// What went wrong. Files that differ are no error but a [`Difference`](super::Difference).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The file system refused.
    #[error("cannot {step} `{place}`")]
    Io {
        /// Step, as a verb.
        step: &'static str,
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing to sign.
    #[error("there is no file to sign: name files, or folders that have some")]
    Nothing,
    /// A signed manifest is never overwritten.
    #[error("`{place}` is there already and is not overwritten: name another manifest, or move it away")]
    Exists {
        /// The file.
        place: String,
    },
    /// A file that a manifest at this place cannot name.
    #[error(
        "`{place}` is not beneath `{folder}`, where the manifest is to stand: a manifest names only what is beneath it"
    )]
    Outside {
        /// The file.
        place: String,
        /// The manifest's folder.
        folder: String,
    },
    /// A name that is not put into a manifest.
    #[error("`{name}` cannot be signed under this name")]
    Name {
        /// The name, escaped.
        name: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// Not a file.
    #[error("`{place}` is {what}, and only files are signed: name what it stands for, or leave it out")]
    NotAFile {
        /// The place.
        place: String,
        /// What it is.
        what: &'static str,
    },
    /// The file grew or shrank while it was read.
    #[error("`{place}` was written to while it was read: sign it when it is finished")]
    Changing {
        /// The file.
        place: String,
    },
    /// The key is of an algorithm that signs no files.
    #[error(
        "`{algorithm}` keys sign no files here: take an Ed25519, ECDSA or RSA key, which other programs can verify"
    )]
    Algorithm {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// The key did not sign.
    #[error("could not sign the manifest; nothing was written")]
    Signer(#[source] NoteError),
    /// More than is read.
    #[error("`{place}` has more than {limit} bytes: that is no {what}")]
    TooLarge {
        /// The file.
        place: String,
        /// What was expected.
        what: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// The signature is not by the key, or not over this manifest.
    #[error(
        "the signature `{signature}` over `{manifest}` is wrong: the manifest was altered, or another key signed it"
    )]
    WrongSignature {
        /// The manifest.
        manifest: String,
        /// The signature.
        signature: String,
    },
    /// The signed text is no manifest.
    #[error("`{place}` is no manifest as `indelible sign-file` writes it")]
    Malformed {
        /// The file.
        place: String,
        /// Where.
        #[source]
        source: ManifestError,
    },
}

pub(super) fn failed(step: &'static str, place: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let place = place.display().to_string();
    move |source| FilesError::Io { step, place, source }
}
