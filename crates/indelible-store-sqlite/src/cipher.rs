//! Encryption at rest by SQLCipher: every page of the file, the write-ahead log too, with a raw key of 256 bits.

use indelible_core::hex;
use indelible_store::store::StoreError;
use rusqlite::{Connection, OpenFlags};
use zeroize::Zeroizing;

use crate::{
    driver::WRITERS,
    file::{Access, File},
    presence::{Company, Presence},
};

/// A raw key. Forgotten when it is dropped.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// `PRAGMA key` or `PRAGMA rekey` with this key as it is: nothing is derived from it.
    fn pragma(&self, name: &str) -> Zeroizing<String> {
        let text = Zeroizing::new(hex::encode(&*self.0));
        Zeroizing::new(format!("PRAGMA {name} = \"x'{}'\"", *text))
    }
}

/// Gives a fresh connection its key. Whether it is the right one shows at the first read.
pub(crate) fn unlock(conn: &Connection, key: Option<&Key>) -> rusqlite::Result<()> {
    // A wrong key is told by an error, not on standard error as well.
    conn.execute_batch("PRAGMA cipher_log_level = NONE")?;
    match key {
        Some(key) => conn.execute_batch(&key.pragma("key")),
        None => Ok(()),
    }
}

impl File {
    /// Why the file is no database with this key.
    pub(crate) fn why_locked(&self) -> String {
        match (&self.key, self.is_plain()) {
            (Some(_), true) => "it is not encrypted, and encryption was asked for: copy the log into an encrypted file, or name it as `sqlite:FILE`",
            (Some(_), false) => "the key is wrong, or it is no database",
            (None, _) => "it is encrypted (then name it as `sqlcipher:FILE`), or no database",
        }
        .to_owned()
    }

    /// Whether SQLite reads the file without a key. Looked at by SQLite itself: INVARIANT(locks).
    fn is_plain(&self) -> bool {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = || -> rusqlite::Result<i64> {
            let conn = Connection::open_with_flags(&self.path, flags)?;
            unlock(&conn, None)?;
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        };
        read().is_ok()
    }
}

/// Encrypts the file with another key.
pub(crate) fn rekey(file: &File, key: &Key) -> Result<(), StoreError> {
    let step = "change the key";
    let in_use = || StoreError::InUse { place: file.place() };
    if file.key.is_none() {
        return Err(file.unfit("it has no key to change: copy its logs into an encrypted file instead"));
    }
    // First of all whether this is the file and the key.
    file.connect(Access::Read)?;
    file.close_idle();
    let (_alone, company) = Presence::arrive(&file.beside(WRITERS))?;
    if company == Company::Others {
        return Err(in_use());
    }
    let conn = file.connect(Access::Write)?;
    let journal =
        |mode: &str| conn.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get::<_, String>(0));
    // Without a write-ahead log the whole change is one transaction with a rollback journal. Readers keep this from happening.
    if !journal("DELETE").is_ok_and(|mode| mode == "delete") {
        return Err(in_use());
    }
    conn.execute_batch(&key.pragma("rekey")).map_err(|error| file.failed(step, error))?;
    journal("WAL").map_err(|error| file.failed(step, error))?;
    Ok(())
}
