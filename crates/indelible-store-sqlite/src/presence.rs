//! Who writes at the moment: a lock on the empty file `FILE-writers`, shared by all writers of the file.
//!
//! The kernel frees it when a process ends, however it ends. Who gets it alone knows that nobody else writes; that is what tells
//! bounded acknowledgements of a process that died from those of one that is still at it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::Duration,
};

use indelible_store::store::StoreError;

/// How often, and how far apart, it is tried to be alone.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(3);

/// A writer's presence, until it is dropped.
pub(crate) struct Presence {
    file: File,
}

/// What was found on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nobody else writes. Who comes waits until [`Presence::share`].
    None,
    /// Others may be writing.
    Others,
}

impl Presence {
    /// Arrives as a writer.
    pub(crate) fn arrive(path: &Path) -> Result<(Self, Company), StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let io = |step| StoreError::io(step, path);
        let file = options.open(path).map_err(io("open"))?;
        // Who only asks whether anybody writes has it for a moment too.
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok((Self { file }, Company::None)),
                Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN),
                Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
            }
        }
        file.lock_shared().map_err(io("lock"))?;
        Ok((Self { file }, Company::Others))
    }

    /// Lets others in.
    pub(crate) fn share(&self, path: &Path) -> Result<(), StoreError> {
        self.file.lock_shared().map_err(StoreError::io("lock", path))
    }

    /// Whether anybody writes.
    pub(crate) fn anybody(path: &Path) -> Result<bool, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
        }
    }
}
