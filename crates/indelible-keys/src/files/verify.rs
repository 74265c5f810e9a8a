//! Verifying signed files.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use indelible_core::{hex, note::Algorithm};

use super::{
    FilesError, MAX_MANIFEST_BYTES, Manifest,
    error::failed,
    sign::{Base, refuse_algorithm},
    tree::{self, Kind},
};
use crate::public::PublicKey;

/// The longest signature that is read. Those of RSA keys of 4,096 bits have 512 bytes.
const MAX_SIGNATURE_BYTES: u64 = 1024;

/// How the files are, under a right signature.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// How many files the manifest has.
    pub files: u64,
    /// How many bytes were hashed.
    pub bytes: u64,
    /// How the manifest is signed.
    pub algorithm: Algorithm,
    /// What is not as it was signed, in order of names.
    pub differences: Vec<Difference>,
    /// What could not be read, in order of names: nothing is known of it.
    pub unreadable: Vec<Unreadable>,
}

/// A file that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Difference {
    /// Its bytes are other ones.
    Changed {
        /// The file.
        name: String,
        /// SHA-256 in the manifest, hex.
        expected: String,
        /// SHA-256 of what is there, hex.
        found: String,
    },
    /// Something else stands in its place.
    NotAFile {
        /// The file.
        name: String,
        /// What is there.
        what: &'static str,
    },
    /// It is not there.
    Missing {
        /// The file.
        name: String,
    },
    /// It is not in the manifest, which says that nothing else is beneath its folder.
    Surplus {
        /// The file; of a name that is no text, what can be shown of it.
        name: String,
    },
}

impl Difference {
    /// The file.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Changed { name, .. }
            | Self::NotAFile { name, .. }
            | Self::Missing { name }
            | Self::Surplus { name } => name,
        }
    }
}

/// A file or folder that could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file.
    pub name: String,
    /// What the system said.
    pub error: io::Error,
}

/// Verifies the signature over a manifest by one of the keys, then that each file is as the manifest says and nothing else is
/// beneath the folders that it speaks for. `progress` hears of bytes as they are hashed.
///
/// Of an RSA key nothing may be known but its numbers; give both ways of signing then ([`PublicKey::other_padding`]).
///
/// # Errors
/// [`FilesError::WrongSignature`], which is evidence; anything else says nothing about the files.
pub fn verify_files(
    manifest: &Path,
    signature: &Path,
    keys: &[PublicKey],
    progress: &mut dyn FnMut(u64),
) -> Result<Report, FilesError> {
    keys.iter().try_for_each(|key| refuse_algorithm(key.algorithm()))?;
    let signed = read(manifest, "manifest", MAX_MANIFEST_BYTES)?;
    let made = read(signature, "signature", MAX_SIGNATURE_BYTES)?;
    let key = keys.iter().find(|key| key.verify(&signed, &made)).ok_or_else(|| FilesError::WrongSignature {
        manifest: manifest.display().to_string(),
        signature: signature.display().to_string(),
    })?;
    let text = Manifest::parse(&signed).map_err(|source| {
        let place = manifest.display().to_string();
        FilesError::Malformed { place, source }
    })?;
    let base = Base::of(manifest)?;
    let report = Report {
        files: text.files.len() as u64,
        bytes: 0,
        algorithm: key.algorithm(),
        differences: Vec::new(),
        unreadable: Vec::new(),
    };
    let mut check = Check { base: &base.0, manifest: &text, report };
    for (name, digest) in &text.files {
        check.file(name, digest, progress);
    }
    let own: BTreeSet<String> = [manifest, signature].into_iter().filter_map(|place| base.own(place)).collect();
    for folder in &text.folders {
        check.folder(folder, &own);
    }
    let mut report = check.report;
    report.differences.sort_by(|one, other| one.name().cmp(other.name()).then(one.cmp(other)));
    // A folder within a folder that is spoken for too is gone through twice.
    report.differences.dedup();
    report.unreadable.sort_by(|one, other| one.name.cmp(&other.name));
    report.unreadable.dedup_by(|one, other| one.name == other.name);
    Ok(report)
}

impl Base {
    /// The name of the manifest or the signature itself, where it is beneath this folder.
    fn own(&self, place: &Path) -> Option<String> {
        let real = place.canonicalize().ok()?;
        Some(real.strip_prefix(&self.0).ok()?.to_str()?.to_owned())
    }
}

struct Check<'a> {
    base: &'a Path,
    manifest: &'a Manifest,
    report: Report,
}

impl Check<'_> {
    fn file(&mut self, name: &str, expected: &[u8; 32], progress: &mut dyn FnMut(u64)) {
        let owned = name.to_owned();
        match tree::kind_beneath(self.base, name) {
            Ok(Kind::File) => {}
            Ok(Kind::Folder) => return self.differs(Difference::NotAFile { name: owned, what: "a folder" }),
            Ok(Kind::Other(what)) => return self.differs(Difference::NotAFile { name: owned, what }),
            Err(error) => return self.failed(name, error),
        }
        match tree::hash(&self.base.join(name), progress) {
            Ok((found, bytes)) => {
                self.report.bytes += bytes;
                if found != *expected {
                    let (expected, found) = (hex::encode(expected), hex::encode(&found));
                    self.differs(Difference::Changed { name: owned, expected, found });
                }
            }
            Err(error) => self.failed(name, error),
        }
    }

    /// Looks for what the manifest does not have.
    fn folder(&mut self, folder: &str, own: &BTreeSet<String>) {
        match tree::kind_beneath(self.base, folder) {
            Ok(Kind::Folder) => {}
            // Its files are reported one by one.
            _ => return,
        }
        let mut surplus = Vec::new();
        let listed = tree::beneath(self.base, folder, &mut |name, _| match name {
            Ok(name) if self.manifest.files.contains_key(&name) || own.contains(&name) => {}
            Ok(name) | Err(name) => surplus.push(Difference::Surplus { name }),
        });
        self.report.differences.append(&mut surplus);
        if let Err(error) = listed {
            self.failed(folder, error);
        }
    }

    fn differs(&mut self, difference: Difference) {
        self.report.differences.push(difference);
    }

    fn failed(&mut self, name: &str, error: io::Error) {
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.differs(Difference::Missing { name }),
            _ => self.report.unreadable.push(Unreadable { name, error }),
        }
    }
}

fn read(place: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    let file = File::open(place).map_err(failed("read", place))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", place))?;
    if bytes.len() as u64 > limit {
        return Err(FilesError::TooLarge { place: place.display().to_string(), what, limit });
    }
    Ok(bytes)
}
