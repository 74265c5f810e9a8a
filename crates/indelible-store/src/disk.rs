//! The file system as a store sees it: few operations, each with its durability said.
//!
//! [`OsDisk`] is the real one. `crate::fault::SimDisk` is the simulated one that tests use. Paths are absolute (or relative
//! to the process) for the first and plain keys for the second.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How a file is opened. Nothing is created unless `CreateNew` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, mode 0600 less the umask, to read and write.
    CreateNew,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Length in bytes (0 for a directory).
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// How far a closed file could be protected against change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Nothing could be done.
    None,
    /// The write bits are gone.
    ReadOnly,
    /// The immutable attribute is set: not even its owner may change it without removing the attribute first.
    Immutable,
}

/// A file system. Implementations are shared between threads.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;
    /// What stands at `path`; `None` where nothing does.
    fn meta(&self, path: &Path) -> io::Result<Option<Meta>>;
    /// The names in a directory, sorted; without those of [`Disk::list_strange`], which no store makes.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The names in a directory that are not UTF-8, sorted.
    fn list_strange(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let _ = dir;
        Ok(Vec::new())
    }
    /// Creates one directory, mode 0700 less the umask; one that is there already is left as it is. Durable after `sync_dir` of its parent.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames, replacing what stands at `to`. Atomic; durable after `sync_dir` of both parents.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir` of its parent.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lease on the (existing) file at `path` without waiting; `None` where another holds it. Dropping the
    /// lease, or the end of the process, frees it.
    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>>;
    /// Whether somebody holds the lease. Several may ask at once without seeing one another; who takes a lease right then waits for a moment.
    fn is_leased(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lease(path)?.is_none())
    }
    /// Takes write permission away and, if `immutable`, tries for the immutable attribute. Best effort: says how far it came.
    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection>;
    /// The reverse of [`Disk::protect`].
    fn unprotect(&self, path: &Path) -> io::Result<()>;
    /// How far a file is protected.
    fn protection(&self, path: &Path) -> io::Result<Protection> {
        let _ = path;
        Ok(Protection::None)
    }
    /// Whether `path`, or the nearest parent that exists, is on a network file system.
    fn is_network(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }
}

/// An open file. Reads and writes name their offset, so that one handle serves several threads.
pub trait DiskFile: Send + Sync {
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`. After an error any part of it may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable. After an error nothing is known of any unsynced byte, and trying again proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// An exclusive lease; dropping it frees it.
pub trait Lease: Send + Sync {}

/// A disk that several owners share.
pub type SharedDisk = Arc<dyn Disk>;

/// Reads a whole file of at most `limit` bytes; `None` where there is no such file.
///
/// # Errors
/// Any error of the disk; `InvalidData` where the file is longer than `limit`.
pub fn read_small(disk: &dyn Disk, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > limit {
        let message = format!("`{}` has {len} bytes, more than the {limit} it may have", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; len];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(Some(bytes))
}

/// Replaces a small file atomically and durably: temporary file, sync, rename, sync of the directory. A crash leaves the old
/// content or the new one, and perhaps a `*.tmp` beside it that the next call replaces.
///
/// # Errors
/// Any error of the disk.
pub fn replace_small(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    replace_small_by(disk, path, &path.with_file_name(format!("{name}.tmp")), bytes)
}

/// The same with a temporary file of a given name, in the same directory.
///
/// # Errors
/// Any error of the disk.
pub fn replace_small_by(disk: &dyn Disk, path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if disk.meta(temporary)?.is_some() {
        disk.remove(temporary)?;
    }
    let file = disk.open(temporary, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    disk.rename(temporary, path)?;
    disk.sync_dir(dir)
}

/// Makes the names of all directories above `path` durable, for what comes to rest on them: [`create_dirs`] syncs only what it makes, and a crash may have come between the making
/// of one and its sync. What may not be opened, or cannot be synced on its file system, was not made by us.
///
/// # Errors
/// Any other error of the disk.
pub fn sync_above(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for dir in path.ancestors().skip(1) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        match disk.sync_dir(dir) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::Unsupported
                ) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl OsDisk {
    /// A shared handle.
    #[must_use]
    pub fn shared() -> SharedDisk {
        Arc::new(Self)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            }
        }
        // A log's files are regular files of its own: a link put in their place would make us read, or cut, what is not the log's.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::OFlags;
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, i32::try_from(flags).unwrap_or(0));
        }
        let file = options.open(path).map_err(|error| told_apart(path, error))?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !meta.is_file() {
            return Err(strange("it is not a regular file"));
        }
        #[cfg(unix)]
        if how == Open::Write && std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
            return Err(strange("it has a second name (a hard link), which a log's files never have"));
        }
        Ok(Box::new(OsFile(file)))
    }

    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Meta { len: if meta.is_dir() { 0 } else { meta.len() }, is_dir: meta.is_dir() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(names(dir)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn list_strange(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        Ok(names(dir)?.into_iter().filter(|name| name.to_str().is_none()).collect())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLease { _file: file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_leased(&self, path: &Path) -> io::Result<bool> {
        match fs::File::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        let mut permissions = fs::metadata(path)?.permissions();
        permissions.set_readonly(true);
        if fs::set_permissions(path, permissions).is_err() {
            return Ok(Protection::None);
        }
        if immutable && set_immutable(path, true).is_ok() {
            return Ok(Protection::Immutable);
        }
        Ok(Protection::ReadOnly)
    }

    fn unprotect(&self, path: &Path) -> io::Result<()> {
        // Where the attribute was never set there is nothing to clear; a failure shows at the first write.
        drop(set_immutable(path, false));
        let mut permissions = fs::metadata(path)?.permissions();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            permissions.set_mode(permissions.mode() | 0o200);
        }
        fs::set_permissions(path, permissions)
    }

    fn protection(&self, path: &Path) -> io::Result<Protection> {
        let meta = fs::metadata(path)?;
        Ok(match (is_immutable(path), meta.permissions().readonly()) {
            (true, _) => Protection::Immutable,
            (false, true) => Protection::ReadOnly,
            (false, false) => Protection::None,
        })
    }

    #[cfg(target_os = "linux")]
    fn is_network(&self, path: &Path) -> io::Result<bool> {
        // statfs(2): NFS, SMB, CIFS, SMB2, AFS, Ceph, 9p.
        const NETWORK: [u32; 7] = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x5346_414F, 0x00C3_6400, 0x0102_1997];
        let absolute = std::path::absolute(path)?;
        let there = absolute.ancestors().find(|at| at.exists()).unwrap_or(Path::new("/"));
        let kind = rustix::fs::statfs(there)?.f_type;
        Ok(u32::try_from(kind & 0xFFFF_FFFF).is_ok_and(|kind| NETWORK.contains(&kind)))
    }
}

/// The bytes of UTF-8 sort as its characters do.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The system's error for a link where none may be says "too many levels of symbolic links".
fn told_apart(path: &Path, error: io::Error) -> io::Error {
    let link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if link { strange("it is a symbolic link, which a log's files never are") } else { error }
}

#[cfg(target_os = "linux")]
fn set_immutable(path: &Path, on: bool) -> io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let file = fs::File::open(path)?;
    let mut flags = ioctl_getflags(&file)?;
    if flags.contains(IFlags::IMMUTABLE) != on {
        flags.set(IFlags::IMMUTABLE, on);
        ioctl_setflags(&file, flags)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_immutable(path: &Path) -> bool {
    use rustix::fs::{IFlags, ioctl_getflags};
    fs::File::open(path).is_ok_and(|file| ioctl_getflags(&file).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE)))
}

#[cfg(not(target_os = "linux"))]
fn is_immutable(_path: &Path) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn set_immutable(_path: &Path, _on: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

struct OsFile(fs::File);

struct OsLease {
    _file: fs::File,
}

impl Lease for OsLease {}

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(&self.0, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

/// Creates `path` and its missing parents, syncing each parent.
///
/// # Errors
/// Any error of the disk.
pub fn create_dirs(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = path;
    while disk.meta(at)?.is_none() {
        missing.push(at.to_owned());
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => break,
        }
    }
    for dir in missing.into_iter().rev() {
        disk.create_dir(&dir)?;
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(parent)?;
    }
    Ok(())
}
