//! Signatures over files: a manifest of their SHA-256 digests, signed as a whole.
//!
//! The *manifest* is a text of two kinds of lines, in this order, which `sha256sum -c` checks as it stands:
//!
//! ```text
//! # all <folder>
//! <SHA-256 in hex>  <file>
//! ```
//!
//! Names are relative to the folder that the manifest stands in, with `/` between their parts, and there is none twice. A line
//! `# all` says that nothing but the files of the manifest may be beneath a folder (`.` is the manifest's own), the manifest
//! and its signature excepted. Names that could mean something else than they show, or lead elsewhere, are refused when signing and when
//! verifying ([`Manifest::parse`] has the rules).
//!
//! The *signature* stands beside it in a file of its own with `.sig` behind the name: the bytes that the key's algorithm makes of
//! the manifest's bytes (`docs/format.md` section 3), as `openssl` reads them. Keys are Ed25519, ECDSA P-256 and RSA. No text of a
//! checkpoint and no authorisation has the form of a manifest, so a key of a log can sign files too.
//!
//! Files are read in pieces of 128 KiB, whatever their size. The signature is verified before the manifest is looked at. What a
//! crash leaves behind while signing is a file `*.tmp`, or a signature without its manifest.

mod error;
mod manifest;
mod names;
mod sign;
mod tree;
mod verify;

use std::path::{Path, PathBuf};

pub use error::FilesError;
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
pub use names::NameError;
pub use sign::{Signed, sign_files};
pub use verify::{Difference, Report, Unreadable, verify_files};

/// The file that holds the signature over a manifest: the same name with `.sig` behind it.
#[must_use]
pub fn signature_path(manifest: &Path) -> PathBuf {
    let mut name = manifest.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
