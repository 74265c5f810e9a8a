//! The head store: the newest checkpoint of each log, compare-and-swap, apart from the logs that it guards.
//!
//! A record is replaced whole (temporary file, sync, rename, sync of the directory), under an exclusive lease, and only if it still is
//! what the caller last saw. A crash leaves the old record or the new one. A missing record is never made up here: who
//! creates a log writes the first one, and everybody else is told that it is missing.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use indelible_core::head::{HeadError, HeadRecord, file_name};
use thiserror::Error;

use crate::disk::{Lease, Open, SharedDisk, create_dirs, read_small, replace_small_by, sync_above};

/// A head record is a note and a few numbers; a note of a hundred signatures stays below this.
const MAX_RECORD_BYTES: usize = 1 << 20;
/// How long other processes may hold the lease of a swap before we give up: 3000 × 10 ms. A swap takes a few syncs, and many processes may want one.
const LEASE_TRIES: u32 = 3000;
const LEASE_WAIT: Duration = Duration::from_millis(10);

/// Why a head could not be read or moved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadStoreError {
    /// The file system refused.
    #[error("cannot reach the head store at `{place}`")]
    Io {
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The record is damaged. That says nothing about the log.
    #[error(
        "the head record `{place}` is damaged, so the log cannot be compared with its newest head: restore this file from a copy, or go on with `indelible log succeed`"
    )]
    Damaged {
        /// File.
        place: String,
        /// How.
        #[source]
        source: HeadError,
    },
    /// Somebody else moved the head: another writer, or a restored copy of the log.
    #[error(
        "the head of `{origin}` was moved by somebody else: another copy of this log is being written; stop one of them, and verify both"
    )]
    Conflict {
        /// The log.
        origin: String,
    },
    /// Another process holds the record for too long.
    #[error(
        "the head record `{place}` was held by other processes for half a minute: look for one that was stopped in the middle (`{place}%lock` is what it holds), and try again"
    )]
    Busy {
        /// File.
        place: String,
    },
}

/// Where the newest heads are kept.
pub trait HeadStore: Send + Sync {
    /// The newest head of a log; `None` where none was ever stored.
    ///
    /// # Errors
    /// [`HeadStoreError::Io`], [`HeadStoreError::Damaged`].
    fn load(&self, origin: &str) -> Result<Option<HeadRecord>, HeadStoreError>;

    /// Replaces `expected` by `new`, durably, if `expected` is what is stored.
    ///
    /// # Errors
    /// [`HeadStoreError::Conflict`] where something else is stored; then nothing changed. After [`HeadStoreError::Io`] either may be stored.
    fn swap(&self, origin: &str, expected: Option<&HeadRecord>, new: &HeadRecord) -> Result<(), HeadStoreError>;

    /// Where the record of a log is, for messages.
    fn place(&self, origin: &str) -> String;
}

/// A directory with one file per log.
pub struct FileHeads {
    disk: SharedDisk,
    dir: PathBuf,
    suffix: String,
}

impl FileHeads {
    /// Heads in `dir` (created when first written).
    #[must_use]
    pub fn new(disk: SharedDisk, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), suffix: String::new() }
    }

    /// The same with `suffix` behind each file name: an auditor's heads are told apart by the public key that they were verified with.
    #[must_use]
    pub fn with_suffix(mut self, suffix: String) -> Self {
        self.suffix = suffix;
        self
    }

    /// Shows the record of each log, in no order. Files that are no records of this store by their names are passed over.
    ///
    /// # Errors
    /// [`HeadStoreError`] at the first record that cannot be read.
    pub fn each(&self, see: &mut dyn FnMut(HeadRecord)) -> Result<(), HeadStoreError> {
        let names = match self.disk.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(|source| HeadStoreError::Io { place: self.dir.display().to_string(), source })?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'%');
        for name in &names {
            let is_record = name.strip_suffix(self.suffix.as_str()).is_some_and(|name| {
                name.bytes().all(plain) && !name.starts_with('.') && !name.ends_with("%lock") && !name.ends_with("%tmp")
            });
            if let Some(record) = is_record.then(|| self.read(&self.dir.join(name))).transpose()?.flatten() {
                see(record);
            }
        }
        Ok(())
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.dir.join(format!("{}{}", file_name(origin), self.suffix))
    }

    fn read(&self, path: &Path) -> Result<Option<HeadRecord>, HeadStoreError> {
        let place = || path.display().to_string();
        let bytes = read_small(&*self.disk, path, MAX_RECORD_BYTES)
            .map_err(|source| HeadStoreError::Io { place: place(), source })?;
        bytes
            .map(|bytes| HeadRecord::parse(&bytes).map_err(|source| HeadStoreError::Damaged { place: place(), source }))
            .transpose()
    }

    /// Waits for whoever holds the lease, as long as the record is the one that is to be replaced: once it is another, nobody has to wait to hear so.
    fn lease(
        &self,
        origin: &str,
        path: &Path,
        expected: Option<&HeadRecord>,
    ) -> Result<Box<dyn Lease>, HeadStoreError> {
        let io = |source| HeadStoreError::Io { place: path.display().to_string(), source };
        create_dirs(&*self.disk, &self.dir).map_err(io)?;
        if expected.is_none() {
            // The first record of a log: from now on its directory may not be lost.
            sync_above(&*self.disk, path).map_err(io)?;
        }
        // A percent sign that begins no escape: no origin has such a name.
        let lock = path.with_file_name(format!("{}%lock", path.file_name().unwrap_or_default().to_string_lossy()));
        match self.disk.open(&lock, Open::CreateNew) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io(error)),
        }
        for _ in 0..LEASE_TRIES {
            if let Some(lease) = self.disk.lease(&lock).map_err(io)? {
                return Ok(lease);
            }
            self.refuse_unless(origin, expected)?;
            std::thread::sleep(LEASE_WAIT);
        }
        Err(HeadStoreError::Busy { place: path.display().to_string() })
    }

    fn refuse_unless(&self, origin: &str, expected: Option<&HeadRecord>) -> Result<(), HeadStoreError> {
        if self.load(origin)?.as_ref() == expected {
            return Ok(());
        }
        Err(HeadStoreError::Conflict { origin: origin.to_owned() })
    }
}

impl HeadStore for FileHeads {
    fn load(&self, origin: &str) -> Result<Option<HeadRecord>, HeadStoreError> {
        self.read(&self.path(origin))
    }

    fn swap(&self, origin: &str, expected: Option<&HeadRecord>, new: &HeadRecord) -> Result<(), HeadStoreError> {
        let path = self.path(origin);
        let _lease = self.lease(origin, &path, expected)?;
        self.refuse_unless(origin, expected)?;
        // As with the lock: a name that no origin has.
        let temporary = path.with_file_name(format!("{}%tmp", path.file_name().unwrap_or_default().to_string_lossy()));
        replace_small_by(&*self.disk, &path, &temporary, &new.to_bytes())
            .map_err(|source| HeadStoreError::Io { place: path.display().to_string(), source })
    }

    fn place(&self, origin: &str) -> String {
        self.path(origin).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use indelible_core::{head::none_kept, mac::LogId, time::Micros};

    use super::*;
    use crate::disk::OsDisk;

    fn record(at: i64) -> HeadRecord {
        let checkpoint = format!(
            "example.com/a\n{at}\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} example.com/a AAAA\n"
        );
        HeadRecord {
            checkpoint,
            frozen: None,
            keys: None,
            kept: none_kept(),
            log_id: LogId([7; 16]),
            signed_at: Micros(at),
        }
    }

    #[test]
    fn each_record_is_shown_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let heads = FileHeads::new(OsDisk::shared(), &dir.path().join("heads"));
        let all = |heads: &FileHeads| {
            let mut seen = Vec::new();
            heads.each(&mut |record| seen.push(record.signed_at.0)).map(|()| {
                seen.sort_unstable();
                seen
            })
        };
        assert_eq!(all(&heads).unwrap(), Vec::<i64>::new(), "no folder yet");
        heads.swap("example.com/a", None, &record(1)).unwrap();
        heads.swap("example.com/b", None, &record(2)).unwrap();
        let auditors = FileHeads::new(OsDisk::shared(), &dir.path().join("heads")).with_suffix("+0a".to_owned());
        auditors.swap("example.com/a", None, &record(3)).unwrap();
        std::fs::write(dir.path().join("heads/notes~"), "of somebody's").unwrap();
        assert_eq!((all(&heads).unwrap(), all(&auditors).unwrap()), (vec![1, 2], vec![3]));
        std::fs::write(dir.path().join("heads/example.com%2Fb"), "{}").unwrap();
        assert!(matches!(all(&heads), Err(HeadStoreError::Damaged { .. })));
    }

    #[test]
    fn whose_head_was_moved_hears_so_though_the_lease_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let heads = FileHeads::new(OsDisk::shared(), dir.path());
        heads.swap("a", None, &record(1)).unwrap();
        heads.swap("a", Some(&record(1)), &record(2)).unwrap();
        let _held = OsDisk::shared().lease(&dir.path().join("a%lock")).unwrap().unwrap();
        // Without waiting for the lease, which nobody frees here.
        assert!(matches!(heads.swap("a", Some(&record(1)), &record(3)), Err(HeadStoreError::Conflict { .. })));
    }
}
