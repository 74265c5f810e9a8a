//! Signing files.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use indelible_core::note::{Algorithm, NoteError, NoteSigner};

use super::{
    FilesError, MAX_MANIFEST_BYTES, Manifest, NameError,
    error::failed,
    manifest::HERE,
    names, signature_path,
    tree::{self, Kind},
};

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// The manifest.
    pub manifest: PathBuf,
    /// The signature over it.
    pub signature: PathBuf,
    /// How many files are in it.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
    /// How it was signed.
    pub algorithm: Algorithm,
}

/// Writes a manifest of files and its signature by one key, neither of which may be there yet. Of a folder everything beneath it is signed, and that
/// nothing else is there. `progress` hears of bytes as they are hashed.
///
/// # Errors
/// [`FilesError`]. Then neither manifest nor signature is there.
pub fn sign_files(
    manifest: &Path,
    files: &[PathBuf],
    signer: &dyn NoteSigner,
    progress: &mut dyn FnMut(u64),
) -> Result<Signed, FilesError> {
    let algorithm = signer.verifying_key().algorithm();
    refuse_algorithm(algorithm)?;
    let signature = signature_path(manifest);
    for place in [manifest, &signature] {
        if fs::symlink_metadata(place).is_ok() {
            return Err(FilesError::Exists { place: place.display().to_string() });
        }
    }
    let base = Base::of(manifest)?;
    let mut text = Manifest::default();
    let mut bytes = 0;
    for file in files {
        bytes += base.add(file, &mut text, progress)?;
    }
    if text.files.is_empty() {
        return Err(FilesError::Nothing);
    }
    let signed = text.to_string();
    if signed.len() as u64 > MAX_MANIFEST_BYTES {
        let place = manifest.display().to_string();
        return Err(FilesError::TooLarge { place, what: "manifest that can be signed", limit: MAX_MANIFEST_BYTES });
    }
    let made = signer.sign(signed.as_bytes()).map_err(FilesError::Signer)?;
    if !signer.verifying_key().verify(signed.as_bytes(), &made) {
        return Err(FilesError::Signer(NoteError::BadSignature { key: signer.verifying_key().id() }));
    }
    // The manifest comes last: where one is, its signature is whole.
    let (unfinished_signature, unfinished) =
        (Unfinished::write(&signature, &made)?, Unfinished::write(manifest, signed.as_bytes())?);
    unfinished_signature.rename()?;
    if let Err(error) = unfinished.rename() {
        // Without its manifest the signature is of no use to anybody.
        drop(fs::remove_file(&signature));
        return Err(error);
    }
    let count = text.files.len() as u64;
    Ok(Signed { manifest: manifest.to_owned(), signature, files: count, bytes, algorithm })
}

pub(super) fn refuse_algorithm(algorithm: Algorithm) -> Result<(), FilesError> {
    match algorithm {
        Algorithm::MlDsa44 => Err(FilesError::Algorithm { algorithm }),
        Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256 | Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => Ok(()),
    }
}

/// The folder that a manifest stands in, by its real path.
pub(super) struct Base(pub(super) PathBuf);

impl Base {
    pub(super) fn of(manifest: &Path) -> Result<Self, FilesError> {
        let folder = match manifest.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new(HERE),
        };
        folder.canonicalize().map(Self).map_err(failed("find the folder", folder))
    }

    /// Adds a file, or all files beneath a folder. Returns how many bytes they have.
    fn add(&self, file: &Path, manifest: &mut Manifest, progress: &mut dyn FnMut(u64)) -> Result<u64, FilesError> {
        let name = self.name(file)?;
        let folder = match tree::kind(&self.0.join(&name)).map_err(failed("read", file))? {
            Kind::File => return self.add_file(&name, manifest, progress),
            Kind::Folder => name,
            Kind::Other(what) => return Err(FilesError::NotAFile { place: file.display().to_string(), what }),
        };
        let mut found = Vec::new();
        let listed = tree::beneath(&self.0, &folder, &mut |name, kind| found.push((name, kind)));
        listed.map_err(failed("list", file))?;
        found.sort_by(|(one, _), (other, _)| one.as_ref().ok().cmp(&other.as_ref().ok()));
        let mut bytes = 0;
        for (name, kind) in found {
            match (name, kind) {
                (Ok(name), Kind::File) => bytes += self.add_file(&name, manifest, progress)?,
                (Err(name), _) => return Err(refused(&name, NameError::NotText)),
                (Ok(place), Kind::Other(what)) => return Err(FilesError::NotAFile { place, what }),
                // Folders are gone into.
                (Ok(_), Kind::Folder) => {}
            }
        }
        manifest.folders.insert(folder);
        Ok(bytes)
    }

    fn add_file(&self, name: &str, manifest: &mut Manifest, progress: &mut dyn FnMut(u64)) -> Result<u64, FilesError> {
        names::check(name).map_err(|error| refused(name, error))?;
        if manifest.files.contains_key(name) {
            return Ok(0);
        }
        let place = self.0.join(name);
        let (digest, bytes) = tree::hash(&place, progress).map_err(failed("read", &place))?;
        let now = fs::symlink_metadata(&place).map_err(failed("read", &place))?;
        if now.len() != bytes {
            return Err(FilesError::Changing { place: place.display().to_string() });
        }
        manifest.files.insert(name.to_owned(), digest);
        Ok(bytes)
    }

    /// The name of a place, from this folder. The place itself may be a symbolic link: that is for the caller to see.
    fn name(&self, place: &Path) -> Result<String, FilesError> {
        let real = match (place.parent(), place.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent == Path::new("") { Path::new(HERE) } else { parent };
                parent.canonicalize().map(|parent| parent.join(name))
            }
            _ => place.canonicalize(),
        };
        let real = real.map_err(failed("read", place))?;
        let Ok(name) = real.strip_prefix(&self.0) else {
            let (place, folder) = (place.display().to_string(), self.0.display().to_string());
            return Err(FilesError::Outside { place, folder });
        };
        if name == Path::new("") {
            return Ok(HERE.to_owned());
        }
        let mut parts = Vec::new();
        for part in name {
            parts.push(part.to_str().ok_or_else(|| refused(&name.display().to_string(), NameError::NotText))?);
        }
        let name = parts.join("/");
        names::check(&name).map_err(|error| refused(&name, error))?;
        Ok(name)
    }
}

fn refused(name: &str, source: NameError) -> FilesError {
    FilesError::Name { name: name.escape_debug().to_string(), source }
}

/// A file that is written and does not have its name yet. Dropped, it is gone.
struct Unfinished<'a> {
    now: PathBuf,
    name: &'a Path,
    keep: bool,
}

impl<'a> Unfinished<'a> {
    fn write(name: &'a Path, bytes: &[u8]) -> Result<Self, FilesError> {
        let mut now = name.as_os_str().to_owned();
        now.push(".tmp");
        let now = PathBuf::from(now);
        let opened = OpenOptions::new().write(true).create_new(true).open(&now);
        let mut file = opened.map_err(failed("create", &now))?;
        let unfinished = Self { now, name, keep: false };
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(failed("write", &unfinished.now))?;
        Ok(unfinished)
    }

    /// Gives it its name, if nothing else has it.
    fn rename(mut self) -> Result<(), FilesError> {
        if fs::symlink_metadata(self.name).is_ok() {
            return Err(FilesError::Exists { place: self.name.display().to_string() });
        }
        fs::rename(&self.now, self.name).map_err(failed("write", self.name))?;
        self.keep = true;
        sync_folder(self.name).map_err(failed("write", self.name))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.keep {
            drop(fs::remove_file(&self.now));
        }
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if folder != Path::new("") => fs::File::open(folder)?.sync_all(),
        _ => fs::File::open(HERE)?.sync_all(),
    }
}
