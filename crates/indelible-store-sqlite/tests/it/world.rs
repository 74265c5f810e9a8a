//! A log in a file, and ways to look at it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indelible_core::{
    entry::Line,
    tree::{Hash, LeafIndex, TreeHead},
};
use indelible_store::{
    conformance::{Scribe, fault, info},
    driver::{Driver as _, TailCheck, TailFault},
    store::{LogInfo, Reader, StoreError, Writer},
};
use indelible_store_sqlite::SqliteDriver;
use rusqlite::Connection;

pub(crate) struct Own;

impl TailCheck for Own {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
        fault(line, leaf)
    }
}

#[cfg(feature = "sqlcipher")]
pub(crate) const KEY: [u8; 32] = [7; 32];

/// The store at a path; encrypted where this build can.
pub(crate) fn at(path: &Path) -> SqliteDriver {
    let driver = SqliteDriver::new(path, None);
    #[cfg(feature = "sqlcipher")]
    let driver = driver.with_key(KEY);
    driver
}

/// The file as any other program opens it.
pub(crate) fn raw(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    #[cfg(feature = "sqlcipher")]
    conn.execute_batch(&format!("PRAGMA key = \"x'{}'\"", indelible_core::hex::encode(&KEY))).unwrap();
    conn
}

/// A log with everything in it: entries, ids, a tree, kept checkpoints, an attachment.
pub(crate) struct World {
    pub(crate) path: PathBuf,
    pub(crate) scribe: Scribe,
    pub(crate) head: TreeHead,
    pub(crate) writer: Option<Arc<dyn Writer>>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let writer = at(&path).create(&info()).unwrap();
        let mut scribe = Scribe::default();
        for sizes in [vec![20; 5], vec![300; 400], vec![2000; 3]] {
            writer.append(&scribe.batch(&sizes)).unwrap();
        }
        let chunk = writer.read(LeafIndex(0), usize::MAX).unwrap();
        writer.extend_tree(&scribe.leaves, &chunk).unwrap();
        writer.publish(b"first", Some(1)).unwrap();
        writer.publish(b"second", Some(2)).unwrap();
        writer.put_attachment(b"content").unwrap();
        let head = scribe.head(scribe.size());
        Self { path, scribe, head, writer: Some(writer), _folder: folder }
    }

    pub(crate) fn raw(&self) -> Connection {
        raw(&self.path)
    }

    pub(crate) fn reader(&self) -> Arc<dyn Reader> {
        at(&self.path).reader().unwrap()
    }

    /// Opens for writing, as the library does.
    pub(crate) fn open(&self) -> Result<Arc<dyn Writer>, StoreError> {
        Ok(at(&self.path).lease()?.open(&self.head, &Own)?.0)
    }
}

pub(crate) fn other_info(origin: &str) -> LogInfo {
    LogInfo { origin: origin.to_owned(), ..info() }
}

/// The whole chain of an error as text.
pub(crate) fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
