//! Which id files a log has, and what stands among them.

use std::{io, path::PathBuf};

use indelible_store::{disk::SharedDisk, store::StoreError};

use crate::layout::{Layout, MAX_ENTRIES};

pub(super) fn file_name(first: u64, end: u64) -> String {
    format!("{first:020}-{end:020}.ids")
}

/// An id file: the range that it covers, and its path.
pub type File = (u64, u64, PathBuf);

/// The id files of a log, in order, without the leavings of an interrupted merge.
#[derive(Debug, Default)]
pub struct Files {
    /// Those that cover the log from its beginning without a hole.
    pub kept: Vec<File>,
    /// Those behind a hole, and those that overlap others.
    pub stray: Vec<File>,
    /// Those that a merged one covers.
    pub leavings: Vec<File>,
}

/// Lists the id files.
///
/// # Errors
/// [`StoreError::Io`].
pub fn list(disk: &SharedDisk, layout: &Layout) -> Result<Files, StoreError> {
    let dir = layout.at("ids");
    let names = match disk.list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("list", &dir)(error)),
    };
    let mut files: Vec<File> = names
        .iter()
        .filter_map(|name| {
            let (first, end) = name.strip_suffix(".ids")?.split_once('-')?;
            let (first, end) = (first.parse().ok()?, end.parse().ok()?);
            (first < end && end <= MAX_ENTRIES && file_name(first, end) == *name).then(|| (first, end, dir.join(name)))
        })
        .collect();
    // The widest of those that begin at the same entry is the merged one; what it covers are leavings.
    files.sort_by_key(|(first, end, _)| (*first, std::cmp::Reverse(*end)));
    let mut covered = 0;
    let mut found = Files::default();
    for file in files {
        let (first, end, _) = file;
        if end <= covered {
            found.leavings.push(file);
            continue;
        }
        if first == covered {
            covered = end;
            found.kept.push(file);
        } else {
            found.stray.push(file);
        }
    }
    Ok(found)
}

/// What stands in the folder and is no id file, with the temporary files among them.
///
/// # Errors
/// [`StoreError::Io`].
pub fn strangers(disk: &SharedDisk, layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let files = list(disk, layout)?;
    let own: std::collections::BTreeSet<PathBuf> =
        files.kept.into_iter().chain(files.stray).chain(files.leavings).map(|(_, _, path)| path).collect();
    let names = crate::segments::all_names(&**disk, &layout.at("ids"))?;
    Ok(names.into_iter().map(|name| layout.at("ids").join(name)).filter(|path| !own.contains(path)).collect())
}

/// Removes the files behind a hole: what they covered is read from the entries again.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove_strays(disk: &SharedDisk, layout: &Layout) -> Result<(), StoreError> {
    for (_, _, path) in list(disk, layout)?.stray {
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// Removes every id file, for a rebuild.
///
/// # Errors
/// [`StoreError::Io`].
pub fn clear(disk: &SharedDisk, layout: &Layout) -> Result<(), StoreError> {
    let dir = layout.at("ids");
    for name in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
        let path = dir.join(name);
        if !disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some_and(|meta| meta.is_dir) {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))
}
