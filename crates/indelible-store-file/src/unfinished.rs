//! A log directory that is not made yet: what a crash leaves before the marker `log.json` is there.
//!
//! It has folders without anything in them and files that every new log has alike, so that nothing is lost where it is made whole. Whatever else is found makes it
//! somebody's, and it is left as it is.

use indelible_store::{disk::Disk, store::StoreError};

use crate::layout::{Durable, Layout};

/// Files of a new log, in the order in which they are made, and whether they are empty.
const FILES: [(&str, bool); 7] = [
    ("lock", true),
    ("offsets", true),
    ("offsets.tmp", true),
    ("durable", false),
    ("durable.tmp", false),
    // Written and not renamed yet: no marker.
    ("log.json.tmp", false),
    ("lock.tmp", true),
];

/// Whether the directory is one that was never made whole; not where there is none.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn is(disk: &dyn Disk, layout: &Layout) -> Result<bool, StoreError> {
    let root = layout.root();
    let failed = |error| StoreError::io("read", root)(error);
    if !disk.meta(root).map_err(failed)?.is_some_and(|meta| meta.is_dir) {
        return Ok(false);
    }
    let folders = layout.folders();
    for name in disk.list(root).map_err(failed)? {
        let path = layout.at(&name);
        let Some(meta) = disk.meta(&path).map_err(failed)? else { return Ok(false) };
        let ours = match FILES.iter().find(|(known, _)| *known == name) {
            Some((_, empty)) => !meta.is_dir && (!empty || meta.len == 0),
            None => meta.is_dir && folders.contains(&path) && disk.list(&path).map_err(failed)?.is_empty(),
        };
        if !ours {
            return Ok(false);
        }
    }
    // A log whose marker was taken away says here that it had entries.
    Ok(Durable::read(disk, layout)?.is_none_or(|durable| durable.size == 0))
}
