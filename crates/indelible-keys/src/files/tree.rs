//! Files beneath a folder: what stands there, and what it hashes to.

use std::{
    fs::{self, File, FileType},
    io::{self, Read as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

/// How much of a file is in memory at a time.
const PIECE_BYTES: usize = 128 * 1024;

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Something that is neither, in words.
    Other(&'static str),
}

/// What stands at a place; symbolic links are not followed.
pub(super) fn kind(place: &Path) -> io::Result<Kind> {
    Ok(kind_of(fs::symlink_metadata(place)?.file_type()))
}

fn kind_of(file: FileType) -> Kind {
    match (file.is_file(), file.is_dir(), file.is_symlink()) {
        (true, _, _) => Kind::File,
        (_, true, _) => Kind::Folder,
        (_, _, true) => Kind::Other("a symbolic link"),
        _ => Kind::Other("no regular file"),
    }
}

/// What stands at the place of a name, with no symbolic link on the way from `base`.
pub(super) fn kind_beneath(base: &Path, name: &str) -> io::Result<Kind> {
    for (at, _) in name.match_indices('/') {
        let before = name.get(..at).unwrap_or_default();
        match kind(&base.join(before))? {
            Kind::Folder => {}
            Kind::File => return Err(io::ErrorKind::NotADirectory.into()),
            other => return Ok(other),
        }
    }
    kind(&base.join(name))
}

/// A file's digest and how many bytes it is of.
pub(super) fn hash(place: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<([u8; 32], u64)> {
    let mut file = File::open(place)?;
    // Between the look at it and this something else may have been put in its place.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let (mut sha, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok((sha.finalize().into(), bytes)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha.update(piece.get(..read).unwrap_or_default());
        bytes += read as u64;
        progress(read as u64);
    }
}

/// Everything beneath a folder that is no folder, in no order: its name from `base`, and what it is. A name that is no text is given with what can
/// be shown of it.
pub(super) fn beneath(
    base: &Path,
    folder: &str,
    found: &mut dyn FnMut(Result<String, String>, Kind),
) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(base.join(&folder))? {
            let entry = entry?;
            let kind = kind_of(entry.file_type()?);
            let prefix = if folder == super::manifest::HERE { String::new() } else { format!("{folder}/") };
            match (entry.file_name().into_string(), kind) {
                (Ok(name), Kind::Folder) => folders.push(format!("{prefix}{name}")),
                (Ok(name), kind) => found(Ok(format!("{prefix}{name}")), kind),
                // A folder of that kind is not gone into: what it is called is enough of a finding.
                (Err(name), kind) => found(Err(format!("{prefix}{}", name.display())), kind),
            }
        }
    }
    Ok(())
}
