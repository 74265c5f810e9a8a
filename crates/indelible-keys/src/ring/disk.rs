//! The ring file on the disk: read whole, replaced whole, under a lock.
//!
//! Replacing is: a temporary file beside it with mode 0600, sync, rename, sync of the directory. A crash between any two steps leaves the old ring
//! or the new one, and perhaps `ring.json.tmp`, which whoever holds the lock next removes. From the rename on the new ring is the one that is read, so
//! that an error behind it says so. Old bytes that are to be gone are overwritten only behind the last sync: until then a crash may bring the old ring
//! back, and one of zeros would be no ring. The lock is flock(2) on `ring.lock`, which
//! the system frees with the process that holds it. Readers take none: they see one whole ring or the other.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::KeyError;

/// The longest ring that is read or written: a thousand RSA keys of 4,096 bits, at most 4 KB each, ten thousand of the others.
pub(crate) const MAX_RING_BYTES: u64 = 4 << 20;
/// How long another process may hold the lock before we give up: 3,000 × 10 ms. A change takes a few syncs, and seconds where RSA keys of 4,096
/// bits are made.
const LOCK_TRIES: u32 = 3000;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A ring that is replaced each time while it is read is given up after so many times.
const READ_TRIES: u32 = 100;

/// The ring of a directory.
pub(crate) fn ring_path(dir: &Path) -> PathBuf {
    dir.join("ring.json")
}

/// What tells one ring file from the one that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    modified: Option<std::time::SystemTime>,
    #[cfg(unix)]
    node: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            len: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            node: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The stamp of what is there now.
    pub(crate) fn now(dir: &Path) -> Result<Self, KeyError> {
        let path = ring_path(dir);
        fs::metadata(&path).map(|meta| Self::of(&meta)).map_err(|source| unread(dir, &path, source))
    }
}

/// The bytes of a ring that nobody else can read.
pub(crate) fn read(dir: &Path) -> Result<(Zeroizing<Vec<u8>>, Stamp), KeyError> {
    read_while(dir, || {})
}

/// `between` is called behind each reading.
fn read_while(dir: &Path, mut between: impl FnMut()) -> Result<(Zeroizing<Vec<u8>>, Stamp), KeyError> {
    for _ in 0..READ_TRIES {
        let (bytes, stamp) = read_once(dir)?;
        between();
        // A ring that was replaced while it was read may have been overwritten under our eyes. Whoever replaces holds a lock and syncs, so that this
        // ends, unless somebody who takes no lock changes it on and on.
        if Stamp::now(dir)? == stamp {
            return Ok((bytes, stamp));
        }
    }
    Err(KeyError::Busy { place: ring_path(dir).display().to_string() })
}

fn read_once(dir: &Path) -> Result<(Zeroizing<Vec<u8>>, Stamp), KeyError> {
    let path = ring_path(dir);
    let place = || path.display().to_string();
    let unread = |source| unread(dir, &path, source);
    let file = without_wait(fs::OpenOptions::new().read(true)).open(&path).map_err(unread)?;
    let meta = file.metadata().map_err(unread)?;
    if !meta.is_file() {
        return Err(KeyError::Malformed { place: place(), detail: "it is not a regular file".to_owned() });
    }
    if let Some(mode) = exposed(&meta) {
        return Err(KeyError::Exposed { place: place(), mode });
    }
    if meta.len() > MAX_RING_BYTES {
        let detail = format!("it has {} bytes, more than the {MAX_RING_BYTES} that a ring may have", meta.len());
        return Err(KeyError::Malformed { place: place(), detail });
    }
    // Made long enough at once: a buffer that grows leaves copies behind that nobody wipes.
    let len = usize::try_from(meta.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
    file.take(MAX_RING_BYTES).read_to_end(&mut bytes).map_err(unread)?;
    Ok((bytes, Stamp::of(&meta)))
}

/// A pipe in the place of a ring is refused, not waited for.
fn without_wait(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, i32::try_from(flags).unwrap_or(0));
    }
    options
}

fn unread(dir: &Path, path: &Path, source: io::Error) -> KeyError {
    if source.kind() == io::ErrorKind::NotFound {
        return KeyError::Missing { place: dir.display().to_string() };
    }
    KeyError::Io { step: "read", place: path.display().to_string(), source }
}

/// The mode of a file that others than its owner can get at.
pub(crate) fn exposed(meta: &fs::Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = meta.permissions().mode() & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        None
    }
}

/// The right to change a ring; dropping it gives it up.
pub(crate) struct Lock {
    dir: PathBuf,
    _file: fs::File,
}

impl Lock {
    /// Waits for the lock of a directory's ring, not for ever.
    pub(crate) fn take(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("ring.lock");
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { place: dir.display().to_string() },
            _ => KeyError::Io { step: "lock", place: path.display().to_string(), source },
        };
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let file = options.open(&path).map_err(io)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self { dir: dir.to_owned(), _file: file }),
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
                Err(fs::TryLockError::Error(error)) => return Err(io(error)),
            }
        }
        Err(KeyError::Busy { place: path.display().to_string() })
    }

    /// Whether there is a ring.
    pub(crate) fn exists(&self) -> bool {
        ring_path(&self.dir).symlink_metadata().is_ok()
    }

    /// Puts a ring in the place of the one that is there. Durable when it returns.
    pub(crate) fn replace(&self, bytes: &[u8], wipe: Wipe) -> Result<(), KeyError> {
        self.replace_by(bytes, wipe, |_| Ok(()))
    }

    fn replace_by(
        &self,
        bytes: &[u8],
        wipe: Wipe,
        reached: impl FnMut(Step) -> io::Result<()>,
    ) -> Result<(), KeyError> {
        let path = ring_path(&self.dir);
        let io = |source| KeyError::Io { step: "write", place: path.display().to_string(), source };
        let old = match wipe {
            Wipe::Old => only_name(&path).map_err(io)?,
            Wipe::No => None,
        };
        clear_unfinished(&path, wipe).map_err(io)?;
        replace(&path, bytes, reached).map_err(|failed| match failed {
            Failed::OldStands(source) => io(source),
            Failed::NewStands(source) => KeyError::NotSynced { place: path.display().to_string(), source },
        })?;
        // The new ring stands, whatever happens. That the old bytes could not be overwritten does not undo it.
        if let Some(old) = old {
            drop(zero(&old));
        }
        Ok(())
    }
}

/// What becomes of the bytes of a ring that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wipe {
    /// The file system frees them.
    No,
    /// They are overwritten first, as far as the file system lets anybody do that: they hold a secret that is to be gone.
    Old,
}

/// The ring that is to be replaced, to be overwritten afterwards; `None` where the same bytes have another name, which is somebody's copy.
fn only_name(path: &Path) -> io::Result<Option<fs::File>> {
    let file = match without_wait(fs::OpenOptions::new().write(true)).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) != 1 {
        return Ok(None);
    }
    Ok(Some(file))
}

fn zero(mut file: &fs::File) -> io::Result<()> {
    let len = usize::try_from(file.metadata()?.len().min(MAX_RING_BYTES)).unwrap_or(0);
    file.write_all(&vec![0; len])?;
    file.sync_all()
}

/// The steps of a replacement, each named after what is done when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opened,
    HalfWritten,
    Written,
    Synced,
    Renamed,
}

/// Which ring stands behind a replacement that did not come to its end.
#[derive(Debug)]
enum Failed {
    OldStands(io::Error),
    /// And a crash may bring the old one back.
    NewStands(io::Error),
}

/// Takes away what somebody left who held the lock and did not come to the end. It has the secrets of a whole ring in it, so that it is overwritten
/// where the old ring is.
fn clear_unfinished(path: &Path, wipe: Wipe) -> io::Result<()> {
    let temporary = unfinished(path);
    if wipe == Wipe::Old
        && let Some(left) = only_name(&temporary)?
    {
        drop(zero(&left));
    }
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("json.tmp")
}

/// `reached` is asked at each step; what it refuses ends the replacement there, as a crash would, without any clearing up.
fn replace(path: &Path, bytes: &[u8], mut reached: impl FnMut(Step) -> io::Result<()>) -> Result<(), Failed> {
    rename_over(path, bytes, &mut reached).map_err(Failed::OldStands)?;
    let synced = reached(Step::Renamed).and_then(|()| sync_dir(path.parent().unwrap_or(Path::new(""))));
    synced.map_err(Failed::NewStands)
}

fn rename_over(path: &Path, bytes: &[u8], reached: &mut impl FnMut(Step) -> io::Result<()>) -> io::Result<()> {
    let temporary = unfinished(path);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut file = options.open(&temporary)?;
    reached(Step::Opened)?;
    let (front, back) = bytes.split_at(bytes.len() / 2);
    file.write_all(front)?;
    reached(Step::HalfWritten)?;
    file.write_all(back)?;
    reached(Step::Written)?;
    file.sync_all()?;
    reached(Step::Synced)?;
    fs::rename(&temporary, path)
}

/// Makes names in a directory durable. One without a name is the one that we are in.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir == Path::new("") { Path::new(".") } else { dir };
    fs::File::open(dir)?.sync_all()
}

fn private(options: &mut fs::OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Makes a directory that only its owner gets into, and those above it. Durable when it returns.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), KeyError> {
    create_dirs(dir, &mut sync_dir).map_err(|source| KeyError::Io {
        step: "make room for",
        place: ring_path(dir).display().to_string(),
        source,
    })
}

/// A new directory has its name once the one above it is synced: a synced ring in a directory whose name a crash took away would be lost.
fn create_dirs(dir: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing = |at: &&Path| *at != Path::new("") && !at.exists();
    let new: Vec<&Path> = dir.ancestors().take_while(missing).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    new.iter().rev().filter_map(|made| made.parent()).try_for_each(sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_at_any_step_leaves_the_old_content_or_the_new_one() {
        let steps = [Step::Opened, Step::HalfWritten, Step::Written, Step::Synced, Step::Renamed];
        for crash in steps {
            let dir = tempfile::tempdir().unwrap();
            let path = ring_path(dir.path());
            replace(&path, b"the old one", |_| Ok(())).unwrap();
            let mut seen = Vec::new();
            let stopped = replace(&path, b"the new one", |step| {
                seen.push(step);
                if step == crash { Err(io::Error::other("the machine stopped")) } else { Ok(()) }
            });
            assert_eq!(matches!(stopped, Err(Failed::NewStands(_))), crash == Step::Renamed);
            assert!(stopped.is_err());
            assert_eq!(seen, steps[..=steps.iter().position(|step| *step == crash).unwrap()]);
            let expected: &[u8] = if crash == Step::Renamed { b"the new one" } else { b"the old one" };
            assert_eq!(fs::read(&path).unwrap(), expected, "{crash:?}");
            assert_eq!(path.with_extension("json.tmp").exists(), crash != Step::Renamed);
            // Whoever comes next is not held up by what was left.
            Lock::take(dir.path()).unwrap().replace(b"a third one", Wipe::No).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"a third one");
            assert!(!path.with_extension("json.tmp").exists());
            assert!(exposed(&fs::metadata(&path).unwrap()).is_none());
        }
    }

    #[test]
    fn a_lock_is_held_by_one_and_readers_need_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Lock::take(&dir.path().join("nowhere")), Err(KeyError::Missing { .. })));
        let lock = Lock::take(dir.path()).unwrap();
        assert!(!lock.exists());
        lock.replace(b"x", Wipe::No).unwrap();
        assert!(lock.exists());
        assert_eq!(read(dir.path()).unwrap().0.as_slice(), b"x");
        let path = dir.path().join("ring.lock");
        let other = fs::File::open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(lock);
        other.try_lock().unwrap();
    }

    #[test]
    fn the_old_bytes_are_overwritten_unless_they_are_somebody_s_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = ring_path(dir.path());
        let lock = Lock::take(dir.path()).unwrap();
        for (wipe, linked, expected) in
            [(Wipe::Old, false, [0; 6]), (Wipe::No, false, *b"secret"), (Wipe::Old, true, *b"secret")]
        {
            fs::write(&path, b"secret").unwrap();
            let link = dir.path().join("link");
            if linked {
                fs::hard_link(&path, &link).unwrap();
            }
            // An open handle sees what becomes of the bytes when their name is gone.
            let mut old = fs::File::open(&path).unwrap();
            lock.replace(b"new", wipe).unwrap();
            let mut left = [1; 6];
            old.read_exact(&mut left).unwrap();
            assert_eq!(left, expected, "{wipe:?}");
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
    }

    #[test]
    fn an_error_says_which_ring_stands() {
        for step in [Step::Opened, Step::Written, Step::Renamed] {
            let dir = tempfile::tempdir().unwrap();
            let path = ring_path(dir.path());
            let lock = Lock::take(dir.path()).unwrap();
            fs::write(&path, b"secret").unwrap();
            let mut old = fs::File::open(&path).unwrap();
            let refuse = |at| if at == step { Err(io::Error::other("a full disk")) } else { Ok(()) };
            let error = lock.replace_by(b"new", Wipe::Old, refuse).unwrap_err();
            let (words, stands): (_, &[u8]) = match step {
                Step::Renamed => ("the new key ring stands", b"new"),
                _ => ("cannot write the key ring", b"secret"),
            };
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(fs::read(&path).unwrap(), stands);
            // A crash now could bring the old ring back, which has to be one then.
            let mut left = [0; 6];
            old.read_exact(&mut left).unwrap();
            assert_eq!(left, *b"secret", "{step:?}");
        }
    }

    #[test]
    fn a_ring_that_somebody_left_unfinished_is_overwritten_with_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = ring_path(dir.path());
        let lock = Lock::take(dir.path()).unwrap();
        for (wipe, expected) in [(Wipe::Old, [0; 6]), (Wipe::No, *b"secret")] {
            fs::write(unfinished(&path), b"secret").unwrap();
            let mut left = fs::File::open(unfinished(&path)).unwrap();
            lock.replace(b"new", wipe).unwrap();
            let mut bytes = [1; 6];
            left.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, expected, "{wipe:?}");
            assert!(!unfinished(&path).exists());
        }
    }

    #[test]
    fn the_name_of_each_new_directory_is_synced_from_above() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let made = |dir: &Path| {
            let mut synced = Vec::new();
            create_dirs(dir, &mut |dir| {
                synced.push(dir.to_owned());
                sync_dir(dir)
            })
            .unwrap();
            assert!(dir.is_dir());
            synced
        };
        let deep = base.join("a/b/c");
        assert_eq!(made(&deep), [base.to_owned(), base.join("a"), base.join("a/b")]);
        assert!(made(&deep).is_empty(), "nothing is new");
        assert_eq!(made(&base.join("a/d")), [base.join("a")]);
        let error = create_dirs(&base.join("e"), &mut |_| Err(io::Error::other("a full disk"))).unwrap_err();
        assert_eq!(error.to_string(), "a full disk");
        sync_dir(Path::new("")).unwrap();
    }

    #[test]
    fn a_ring_that_changes_on_and_on_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        lock.replace(b"one", Wipe::No).unwrap();
        let mut times = 0;
        let result = read_while(dir.path(), || {
            times += 1;
            lock.replace(b"another", Wipe::No).unwrap();
        });
        let error = result.err().unwrap();
        assert!(matches!(&error, KeyError::Busy { place } if place.ends_with("ring.json")), "{error}");
        assert_eq!(times, READ_TRIES);
        // One change meanwhile is none.
        let mut times = 0;
        let read = read_while(dir.path(), || {
            times += 1;
            if times == 1 {
                lock.replace(b"the last", Wipe::No).unwrap();
            }
        });
        assert_eq!((read.unwrap().0.as_slice(), times), (b"the last".as_slice(), 2));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_in_the_place_of_a_ring_is_refused_at_once() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        mknodat(CWD, ring_path(dir.path()), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let path = dir.path().to_owned();
        std::thread::spawn(move || {
            let overwritten = only_name(&ring_path(&path)).map(drop);
            send.send((read(&path).map(drop), overwritten)).unwrap();
        });
        let (read, overwritten) = receive.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(&read, Err(KeyError::Malformed { detail, .. }) if detail.contains("regular")), "{read:?}");
        assert!(overwritten.is_err());
    }

    #[test]
    fn a_replaced_file_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        lock.replace(b"one", Wipe::No).unwrap();
        let (_, first) = read(dir.path()).unwrap();
        assert_eq!(Stamp::now(dir.path()).unwrap(), first);
        lock.replace(b"two", Wipe::No).unwrap();
        assert_ne!(Stamp::now(dir.path()).unwrap(), first);
    }
}
