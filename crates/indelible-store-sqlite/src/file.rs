//! The file: what may be opened, with which settings, and connections to read with.
//!
//! INVARIANT(locks): the file itself is opened by SQLite only. Another handle of this process, when closed, would take SQLite's own locks
//! away with it (POSIX record locks belong to the process).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use indelible_store::{
    disk::{Disk as _, OsDisk},
    store::StoreError,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use crate::schema;

/// Connections that wait for the next reader. Each is two open files.
const MAX_IDLE: usize = 4;
/// How long another process's transaction is waited for: about 5 s in steps of at most 10 ms.
const BUSY_STEPS: i32 = 520;
/// Pages in the write-ahead log before they are moved to the file.
const WAL_PAGES: i64 = 4000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// An SQLite file. Shared by all that read and write its logs in this process.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    #[cfg(feature = "sqlcipher")]
    pub(crate) key: Option<crate::cipher::Key>,
    pub(crate) accept_network_disk: bool,
    idle: Mutex<Vec<Connection>>,
}

impl File {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            #[cfg(feature = "sqlcipher")]
            key: None,
            accept_network_disk: false,
            idle: Mutex::default(),
        }
    }

    pub(crate) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether the other names the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let real = |file: &Self| fs::canonicalize(&file.path).ok();
        self.path == other.path || real(self).is_some_and(|path| real(other) == Some(path))
    }

    /// The directory that the file is in.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// A file beside this one, as SQLite names its own.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Whether a file is there: a regular one, with one name.
    pub(crate) fn exists(&self) -> Result<bool, StoreError> {
        let meta = match fs::symlink_metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        };
        if meta.is_symlink() {
            return Err(self.unfit("it is a symbolic link: name the file that it leads to"));
        }
        if !meta.is_file() {
            return Err(self.unfit("it is not a file; a log in a directory is named without `sqlite:`"));
        }
        // SQLite finds the write-ahead log by the file's name: under a second name it would miss it.
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&meta) > 1 {
            return Err(
                self.unfit("it has a second name (a hard link), under which its newest entries would be missed")
            );
        }
        Ok(true)
    }

    pub(crate) fn check_disk(&self) -> Result<(), StoreError> {
        let network = OsDisk.is_network(self.parent()).map_err(StoreError::io("look at", self.parent()))?;
        if network && !self.accept_network_disk {
            return Err(StoreError::NetworkFileSystem { place: self.place() });
        }
        Ok(())
    }

    /// Opens a file that is there and is ours.
    pub(crate) fn connect(&self, access: Access) -> Result<Connection, StoreError> {
        if !self.exists()? {
            let detail = "there is no such file; `indelible init` makes one".to_owned();
            return Err(StoreError::NotALog { place: self.place(), detail });
        }
        let conn = self.connect_to_any(access)?;
        self.check_ours(&conn)?;
        if access == Access::Write {
            self.write_ahead(&conn)?;
        }
        Ok(conn)
    }

    /// The same without looking at what is in it.
    pub(crate) fn connect_to_any(&self, access: Access) -> Result<Connection, StoreError> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let open = || -> rusqlite::Result<Connection> {
            let mut conn = Connection::open_with_flags(&self.path, flags)?;
            conn.busy_handler(Some(wait))?;
            conn.set_prepared_statement_cache_capacity(32);
            #[cfg(feature = "sqlcipher")]
            crate::cipher::unlock(&conn, self.key.as_ref())?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            conn.execute_batch(
                "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
            )?;
            if access == Access::Read {
                conn.execute_batch("PRAGMA query_only = ON")?;
            }
            Ok(conn)
        };
        open().map_err(|error| self.failed("open the file", error))
    }

    fn check_ours(&self, conn: &Connection) -> Result<(), StoreError> {
        let id: i64 = match conn.pragma_query_value(None, "application_id", |row| row.get(0)) {
            Err(error) if code(&error) == Some(ErrorCode::NotADatabase) => return Err(self.no_database()),
            id => id.map_err(|error| self.failed("read the header", error))?,
        };
        if id != i64::from(schema::APPLICATION_ID) {
            let detail = "it is an SQLite database of another application, or empty: choose another file".to_owned();
            return Err(StoreError::NotALog { place: self.place(), detail });
        }
        let found = schema::version(conn).map_err(|error| self.failed("read the schema version", error))?;
        if found > schema::VERSION {
            let detail = format!(
                "its schema has version {found}, this program knows up to {}: use a newer program",
                schema::VERSION
            );
            return Err(StoreError::Unfit { place: self.place(), detail });
        }
        Ok(())
    }

    /// What may be said of a file that SQLite does not know as a database.
    pub(crate) fn no_database(&self) -> StoreError {
        #[cfg(feature = "sqlcipher")]
        let detail = self.why_locked();
        #[cfg(not(feature = "sqlcipher"))]
        let detail =
            "it is no SQLite database, or an encrypted one, which this program was built without (`sqlcipher:FILE`)"
                .to_owned();
        self.unfit(&detail)
    }

    /// Durable at commit, and readers beside writers.
    fn write_ahead(&self, conn: &Connection) -> Result<(), StoreError> {
        let set = || -> rusqlite::Result<String> {
            let mode = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -8000")?;
            conn.pragma_update_and_check(None, "wal_autocheckpoint", WAL_PAGES, |_| Ok(()))?;
            Ok(mode)
        };
        let mode = set().map_err(|error| self.failed("set up write-ahead logging", error))?;
        if mode != "wal" {
            return Err(self.unfit(&format!("its journal mode is `{mode}` and cannot be set to `wal` here")));
        }
        Ok(())
    }

    /// Makes an empty file with our schema, or looks at the one that is there.
    pub(crate) fn connect_or_create(&self) -> Result<Connection, StoreError> {
        if !self.exists()? {
            self.make_empty()?;
        }
        let conn = self.connect_to_any(Access::Write)?;
        let empty = self.is_empty(&conn)?;
        if empty {
            self.write_ahead(&conn)?;
            self.transaction(&conn, "create the tables", |conn| {
                // Another process may have been faster.
                if self.is_empty(conn)? {
                    schema::apply(conn).map_err(|error| self.failed("create the tables", error))
                } else {
                    Ok(())
                }
            })?;
            // The file's name is durable from here on.
            let dir = self.parent();
            fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))?;
        }
        self.check_ours(&conn)?;
        self.write_ahead(&conn)?;
        Ok(conn)
    }

    /// Whether nothing is in the file yet, as a creation leaves it that died at once.
    pub(crate) fn is_blank(&self) -> Result<bool, StoreError> {
        self.is_empty(&self.connect_to_any(Access::Read)?)
    }

    fn is_empty(&self, conn: &Connection) -> Result<bool, StoreError> {
        match conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
            Err(error) if code(&error) == Some(ErrorCode::NotADatabase) => Err(self.no_database()),
            count => {
                let count = count.map_err(|error| self.failed("read the schema", error))?;
                let id: i64 = conn
                    .pragma_query_value(None, "application_id", |row| row.get(0))
                    .map_err(|error| self.failed("read the header", error))?;
                Ok(count == 0 && id == 0)
            }
        }
    }

    fn make_empty(&self) -> Result<(), StoreError> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(StoreError::io("create", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Runs `work` in a transaction that begins with the right to write.
    pub(crate) fn transaction<T>(
        &self,
        conn: &Connection,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |error| self.failed(step, error);
        conn.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let result = work(conn).and_then(|value| conn.execute_batch("COMMIT").map_err(failed).map(|()| value));
        if result.is_err() && !conn.is_autocommit() {
            // A transaction that cannot be rolled back ends with its connection.
            drop(conn.execute_batch("ROLLBACK"));
        }
        result
    }

    /// Reads with a connection of its own, for any number of threads at once.
    pub(crate) fn read<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect(Access::Read)?,
        };
        let result = work(&conn);
        if result.is_ok() && conn.is_autocommit() {
            let mut idle = lock(&self.idle);
            if idle.len() < MAX_IDLE {
                idle.push(conn);
            }
        }
        result.map_err(|error| self.failed(step, error))
    }

    /// The same within one snapshot: what other processes commit meanwhile is not seen.
    pub(crate) fn snapshot<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.read(step, |conn| {
            conn.execute_batch("BEGIN DEFERRED")?;
            let result = work(conn);
            conn.execute_batch("ROLLBACK")?;
            result
        })
    }

    /// Closes the connections that nobody uses.
    #[cfg(feature = "sqlcipher")]
    pub(crate) fn close_idle(&self) {
        lock(&self.idle).clear();
    }

    pub(crate) fn unfit(&self, detail: &str) -> StoreError {
        StoreError::Unfit { place: self.place(), detail: detail.to_owned() }
    }

    /// What SQLite said, as what it means to the caller.
    pub(crate) fn failed(&self, step: &'static str, error: rusqlite::Error) -> StoreError {
        match code(&error) {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                let why = format!("cannot {step}: another process has been writing for too long");
                StoreError::TryAgain { place: self.place(), why }
            }
            Some(ErrorCode::NotADatabase) => self.no_database(),
            _ => StoreError::Database { step, place: self.place(), source: Box::new(error) },
        }
    }
}

/// Waits for another connection's transaction.
fn wait(count: i32) -> bool {
    thread::sleep(Duration::from_millis(u64::from((1 + count.unsigned_abs() / 4).min(10))));
    count < BUSY_STEPS
}

pub(crate) fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// Whether the file's own structure is broken, as opposed to a failing disk.
pub(crate) fn is_corrupt(error: &rusqlite::Error) -> bool {
    code(error) == Some(ErrorCode::DatabaseCorrupt)
}

/// Whether a table or column is not there. The schema check tells which.
pub(crate) fn is_missing(error: &rusqlite::Error) -> bool {
    let text = error.to_string();
    text.starts_with("no such table") || text.starts_with("no such column")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
