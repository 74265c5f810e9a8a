//! The newest checkpoint that was verified, kept in a file: what tells a log that was set back, or shown in two versions, from one that grew.
//!
//! One file for each log and key, `<log>+<key hash>+served`, in a directory of the caller's; it holds the signed note and nothing else. It is replaced atomically, under a lock,
//! and only by a checkpoint of a larger tree. It is as good as the place that it is kept in: whoever can change it can make us forget.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use indelible_core::{
    checkpoint::Checkpoint,
    head::file_name,
    hex,
    note::{MAX_NOTE_BYTES, Note, VerifyingKey},
};
use indelible_store::disk::{OsDisk, read_small, replace_small};
use thiserror::Error;

/// The memory cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file system refused.
    #[error("cannot {step} `{place}`, where the newest checkpoint that was seen is kept")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there is no checkpoint.
    #[error(
        "`{place}` holds no checkpoint: without what was seen before a rollback would not show; put back what it held, or remove it to begin anew"
    )]
    Damaged {
        /// Where.
        place: String,
    },
}

/// Where checkpoints that were seen are kept.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
}

impl Memory {
    /// In a directory, which is made when something is to be kept.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the checkpoint of this key's log is kept.
    #[must_use]
    pub fn place(&self, key: &VerifyingKey) -> PathBuf {
        self.dir.join(format!("{}+{}+served", file_name(key.name()), hex::encode(&key.key_hash())))
    }

    /// The newest checkpoint that was seen, a signed note.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn load(&self, key: &VerifyingKey) -> Result<Option<String>, MemoryError> {
        let place = self.place(key);
        let Some(bytes) = read_small(&OsDisk, &place, MAX_NOTE_BYTES).map_err(io_error("read", &place))? else {
            return Ok(None);
        };
        let note = String::from_utf8(bytes).ok().filter(|note| size(note).is_some());
        note.map(Some).ok_or_else(|| MemoryError::Damaged { place: place.display().to_string() })
    }

    /// Keeps a checkpoint, where it is of a larger tree than the one that is kept.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn keep(&self, key: &VerifyingKey, note: &str) -> Result<(), MemoryError> {
        fs::create_dir_all(&self.dir).map_err(io_error("create", &self.dir))?;
        let lock = self.dir.join("served.lock");
        let held = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let held = held.and_then(|file| file.lock().map(|()| file)).map_err(io_error("lock", &lock))?;
        let kept = self.load(key)?.and_then(|kept| size(&kept));
        let result = if kept >= size(note) {
            Ok(())
        } else {
            let place = self.place(key);
            replace_small(&OsDisk, &place, note.as_bytes()).map_err(io_error("write", &place))
        };
        drop(held);
        result
    }
}

fn size(note: &str) -> Option<u64> {
    Some(Checkpoint::parse(Note::parse(note.as_bytes()).ok()?.text()).ok()?.head.size.0)
}

fn io_error(step: &'static str, place: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let place = place.display().to_string();
    move |source| MemoryError::Io { step, place, source }
}
