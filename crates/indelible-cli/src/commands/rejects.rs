//! The file of what was not recorded.
//!
//! Written to as it happens, each piece whole and with a line feed behind it; what the file held before stays.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{failure::Failure, output};

/// Where rejected input goes, if anywhere.
pub(crate) struct Rejects {
    file: Option<(PathBuf, Mutex<File>)>,
    /// A line held nothing but the bracket that begins a value: one that goes on over several lines.
    spread: AtomicBool,
}

impl Rejects {
    /// Opens the file, which must be none of `inputs`: that would be read again.
    pub(crate) fn open(path: Option<&Path>, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { file: None, spread: AtomicBool::new(false) }) };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Failure::io("write", path))?;
        let real = |path: &Path| path.canonicalize().ok();
        if real(path).is_some_and(|rejects| inputs.iter().any(|input| real(input).as_ref() == Some(&rejects))) {
            return Err(Failure::Usage("--rejects names an input file: give it another".to_owned()));
        }
        Ok(Self { file: Some((path.to_owned(), Mutex::new(file))), spread: AtomicBool::new(false) })
    }

    /// Keeps one piece of input.
    pub(crate) fn keep(&self, text: &[u8]) -> Result<(), Failure> {
        if matches!(text.trim_ascii(), b"{" | b"[") {
            self.spread.store(true, Ordering::Relaxed);
        }
        self.stream(|write| write(text))
    }

    /// Says on stderr what becomes of events that are written over several lines, where that is what was rejected.
    pub(crate) fn tell_spread(&self) {
        if self.spread.load(Ordering::Relaxed) {
            output::note(
                "one line is one event: `jq -c . FILE` writes each event of a file, or of a list `jq -c '.[]' FILE`, in one line",
            );
        }
    }

    /// Keeps one piece of input that comes in parts; nothing else gets between them.
    pub(crate) fn stream(
        &self,
        feed: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some((path, file)) = &self.file else { return feed(&mut |_| Ok(())) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        feed(&mut |part| file.write_all(part).map_err(Failure::io("write", path)))?;
        file.write_all(b"\n").map_err(Failure::io("write", path))
    }
}
