//! The file of what was not recorded.
//!
//! Written to as it happens, each piece whole and with a line feed behind it; what the file held before stays.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::failure::Failure;

/// Where rejected input goes, if anywhere.
pub(crate) struct Rejects(Option<(PathBuf, Mutex<File>)>);

impl Rejects {
    /// Opens the file, which must be none of `inputs`: that would be read again.
    pub(crate) fn open(path: Option<&Path>, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Failure::io("write", path))?;
        let real = |path: &Path| path.canonicalize().ok();
        if real(path).is_some_and(|rejects| inputs.iter().any(|input| real(input).as_ref() == Some(&rejects))) {
            return Err(Failure::Usage("--rejects names an input file: give it another".to_owned()));
        }
        Ok(Self(Some((path.to_owned(), Mutex::new(file)))))
    }

    /// Keeps one piece of input.
    pub(crate) fn keep(&self, text: &[u8]) -> Result<(), Failure> {
        self.stream(|write| write(text))
    }

    /// Keeps one piece of input that comes in parts; nothing else gets between them.
    pub(crate) fn stream(
        &self,
        feed: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some((path, file)) = &self.0 else { return feed(&mut |_| Ok(())) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        feed(&mut |part| file.write_all(part).map_err(Failure::io("write", path)))?;
        file.write_all(b"\n").map_err(Failure::io("write", path))
    }
}
