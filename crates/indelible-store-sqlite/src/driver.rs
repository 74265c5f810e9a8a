//! A log in an SQLite file as a place.

use std::{path::Path, sync::Arc};

use indelible_core::{
    FORMAT_VERSION,
    control::{Control, LogCreated},
    entry::{EntryRef, Line},
    mac::LogId,
    tile,
    time::Micros,
    tree::{Hash, LeafIndex, TreeHead, leaf_hash},
};
use indelible_store::{
    driver::{Driver, Leased, Recovered, TailCheck},
    follow::Follower,
    store::{End, LogInfo, Reader, StoreError, StoredTree, Writer},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    SqliteReader, SqliteWriter,
    file::{Access, File, is_corrupt, is_missing},
    presence::{Company, Presence},
    reader::last_row,
    rebuild,
    rows::{Registered, blob, entry_column, now, registered, signed, unsigned},
    schema::{self, Migration},
    writer::adopt_marks,
};

/// What the name of the writers' lock file ends with.
pub(crate) const WRITERS: &str = "-writers";
/// Bytes of the tail that are read at a time.
const WINDOW: usize = 1 << 20;
/// Origins that are named where one has to be chosen.
const MAX_NAMED: usize = 20;

/// A log in an SQLite file. Clones and [`SqliteDriver::with_origin`] share connections.
#[derive(Clone)]
pub struct SqliteDriver {
    file: Arc<File>,
    origin: Option<String>,
}

impl SqliteDriver {
    /// The log `origin` in the file at `path`; without a name the only one there is.
    #[must_use]
    pub fn new(path: &Path, origin: Option<String>) -> Self {
        Self { file: Arc::new(File::new(path)), origin }
    }

    /// Accepts a network file system.
    #[must_use]
    pub fn accept_network_disk(self, accept: bool) -> Self {
        let mut file = File::new(&self.file.path);
        file.accept_network_disk = accept;
        #[cfg(feature = "sqlcipher")]
        {
            file.key.clone_from(&self.file.key);
        }
        Self { file: Arc::new(file), origin: self.origin }
    }

    /// The file, encrypted with a key of 256 bits.
    #[cfg(feature = "sqlcipher")]
    #[must_use]
    pub fn with_key(self, key: [u8; 32]) -> Self {
        let mut file = File::new(&self.file.path);
        file.accept_network_disk = self.file.accept_network_disk;
        file.key = Some(crate::cipher::Key::new(key));
        Self { file: Arc::new(file), origin: self.origin }
    }

    /// Encrypts the whole file with another key. Nobody may have it open. A crash leaves it with the one key or the other.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; [`StoreError::Unfit`] for a wrong key or a file that is not encrypted.
    #[cfg(feature = "sqlcipher")]
    pub fn rekey(self, key: [u8; 32]) -> Result<Self, StoreError> {
        crate::cipher::rekey(&self.file, &crate::cipher::Key::new(key))?;
        Ok(self.with_key(key))
    }

    /// Another log in the same file.
    #[must_use]
    pub fn with_origin(&self, origin: &str) -> Self {
        Self { file: Arc::clone(&self.file), origin: Some(origin.to_owned()) }
    }

    /// The logs in the file.
    ///
    /// # Errors
    /// [`StoreError`] where the file is none of ours or cannot be read.
    pub fn logs(&self) -> Result<Vec<LogInfo>, StoreError> {
        let logs = self.file.read("read the logs", |conn| registered(conn, None))?;
        Ok(logs.into_iter().map(|(_, info)| info).collect())
    }

    /// The schema changes that [`SqliteDriver::migrate`] would make.
    ///
    /// # Errors
    /// As [`SqliteDriver::logs`].
    pub fn pending_migrations(&self) -> Result<Vec<Migration>, StoreError> {
        let version = self.file.read("read the schema version", schema::version)?;
        Ok(schema::pending(version).copied().collect())
    }

    /// Brings the file's schema up to date, all of it or nothing. There is no way back.
    ///
    /// # Errors
    /// As [`SqliteDriver::logs`].
    pub fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let step = "migrate the schema";
        let conn = self.file.connect(Access::Write)?;
        self.file.transaction(&conn, step, |conn| {
            let failed = |error| self.file.failed(step, error);
            let done = schema::pending(schema::version(conn).map_err(failed)?).copied().collect();
            schema::apply(conn).map_err(failed)?;
            Ok(done)
        })
    }

    fn not_a_log(&self, detail: String) -> StoreError {
        StoreError::NotALog { place: self.file.place(), detail }
    }

    /// The log that is meant.
    fn find(&self) -> Result<Registered, StoreError> {
        let logs = self.file.read("look for the log", |conn| {
            let version = schema::version(conn)?;
            match registered(conn, None) {
                Err(error) if is_missing(&error) => Ok(Err(version)),
                logs => logs.map(Ok),
            }
        })?;
        let logs = match logs {
            Ok(logs) => logs,
            Err(version) if version < schema::VERSION => return Err(self.older(version)),
            Err(_) => {
                let (place, detail) = (self.place(), "table `logs` is missing or was changed".to_owned());
                return Err(StoreError::Damaged { place, detail });
            }
        };
        let found = choose(&logs, self.origin.as_deref()).map_err(|detail| self.not_a_log(detail))?;
        if found.1.format > FORMAT_VERSION {
            return Err(StoreError::NewerFormat {
                place: self.place(),
                found: u64::from(found.1.format),
                known: FORMAT_VERSION,
            });
        }
        Ok(found)
    }

    /// Opens for reading, as this store's own type.
    ///
    /// # Errors
    /// As [`Driver::reader`].
    pub fn open_reader(&self) -> Result<SqliteReader, StoreError> {
        let (number, info) = self.find()?;
        Ok(SqliteReader::new(Arc::clone(&self.file), number, info))
    }

    /// The log by what entry 0 says, where that can be read.
    fn find_by_entry_zero(&self) -> Result<Registered, StoreError> {
        let logs = self.file.read("look for entry 0 of the logs", |conn| match logs_of_entries(conn) {
            Err(error) if is_corrupt(&error) => Ok(Vec::new()),
            logs => logs,
        });
        match choose(&logs?, self.origin.as_deref()) {
            Ok(found) => Ok(found),
            // No entry, or one that cannot be read: then the registry's word is all there is.
            Err(_) => self.find(),
        }
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let differences = self
            .file
            .read("check the schema", |conn| Ok((schema::version(conn)?, schema::differences(conn)?.texts())))?;
        let (version, texts) = differences;
        if version < schema::VERSION {
            return Err(self.older(version));
        }
        if texts.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "its schema was changed: {}; run `indelible verify` to see whether entries were, then `indelible log repair`",
            texts.join(", ")
        );
        Err(self.file.unfit(&detail))
    }

    fn older(&self, version: i64) -> StoreError {
        let detail = format!(
            "its schema has version {version}, this program needs version {}: run `indelible store migrate`",
            schema::VERSION
        );
        self.file.unfit(&detail)
    }

    fn insert_log(&self, conn: &Connection, info: &LogInfo) -> Result<i64, StoreError> {
        let step = "create the log";
        let failed = |error| self.file.failed(step, error);
        if !registered(conn, Some(&info.origin)).map_err(failed)?.is_empty() {
            return Err(StoreError::Exists { place: format!("{}#{}", self.file.place(), info.origin) });
        }
        let number: i64 =
            conn.query_row("SELECT coalesce(max(number), 0) + 1 FROM logs", [], |row| row.get(0)).map_err(failed)?;
        let sql = "INSERT INTO logs (number, origin, log_id, format, created, size, bytes, last_leaf, named) \
            VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, 0)";
        let row = params![number, info.origin, info.log_id.0, info.format, now(), leaf_hash(b"").0];
        conn.execute(sql, row).map_err(failed)?;
        Ok(number)
    }

    fn writer_name(&self, conn: &Connection) -> Result<String, StoreError> {
        conn.query_row("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))
            .map_err(|error| self.file.failed("name the writer", error))
    }
}

/// The log that is meant among those that are there, or why none is.
fn choose(logs: &[Registered], origin: Option<&str>) -> Result<Registered, String> {
    let named = || {
        let names: Vec<&str> = logs.iter().take(MAX_NAMED).map(|(_, info)| info.origin.as_str()).collect();
        let more = logs.len().saturating_sub(MAX_NAMED);
        if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
    };
    match (logs, origin) {
        ([], _) => Err("the file holds no log yet; `indelible init` makes one".to_owned()),
        (_, Some(origin)) => {
            let found = logs.iter().find(|(_, info)| info.origin == origin);
            found.cloned().ok_or_else(|| format!("the file holds no log `{origin}`; it holds {}", named()))
        }
        ([one], None) => Ok(one.clone()),
        (_, None) => Err(format!("the file holds {} logs: name one behind `#`: {}", logs.len(), named())),
    }
}

/// What entry 0 of each log says, for all whose entry 0 can be read.
fn logs_of_entries(conn: &Connection) -> rusqlite::Result<Vec<Registered>> {
    let mut found = Vec::new();
    let next = conn.prepare("SELECT min(log) FROM signed_audit_log WHERE log > ?1");
    let mut next = match next {
        Err(error) if is_missing(&error) => return Ok(found),
        next => next?,
    };
    let mut zero = conn.prepare(concat!(
        "SELECT ",
        entry_column!(),
        " FROM signed_audit_log WHERE log = ?1 ORDER BY idx LIMIT 1"
    ))?;
    let mut at = i64::MIN;
    while let Some(number) = next.query_row([at], |row| row.get::<_, Option<i64>>(0))? {
        let info = zero.query_row([number], |row| Ok(info_of(blob(row, 0)))).optional()?.flatten();
        found.extend(info.map(|info| (number, info)));
        at = number;
    }
    Ok(found)
}

fn info_of(entry: &[u8]) -> Option<LogInfo> {
    let entry = EntryRef::parse(entry).ok()?;
    let Ok(Control::LogCreated(LogCreated { origin, log_id, .. })) = Control::parse(entry.body) else { return None };
    Some(LogInfo { origin, log_id: LogId::from_hex(&log_id)?, format: FORMAT_VERSION })
}

impl Driver for SqliteDriver {
    fn place(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{}#{origin}", self.file.place()),
            None => self.file.place(),
        }
    }

    fn exists(&self) -> Result<bool, StoreError> {
        if !self.file.exists()? || self.file.is_blank()? {
            return Ok(false);
        }
        let logs = self.file.read("look for the log", |conn| registered(conn, self.origin.as_deref()))?;
        Ok(!logs.is_empty())
    }

    fn create(&self, info: &LogInfo) -> Result<Arc<dyn Writer>, StoreError> {
        self.file.check_disk()?;
        if self.origin.as_ref().is_some_and(|origin| origin != &info.origin) {
            let detail = format!("the place names another log than `{}`", info.origin);
            return Err(StoreError::Unfit { place: self.place(), detail });
        }
        let conn = self.file.connect_or_create()?;
        self.check_schema()?;
        let path = self.file.beside(WRITERS);
        let (presence, company) = Presence::arrive(&path)?;
        if company == Company::None {
            presence.share(&path)?;
        }
        let number = self.file.transaction(&conn, "create the log", |conn| self.insert_log(conn, info))?;
        let reader = SqliteReader::new(Arc::clone(&self.file), number, info.clone());
        let name = self.writer_name(&conn)?;
        Ok(Arc::new(SqliteWriter::new(reader, conn, name, presence)))
    }

    fn reader(&self) -> Result<Arc<dyn Reader>, StoreError> {
        Ok(Arc::new(self.open_reader()?))
    }

    fn reader_of_entry_zero(&self) -> Result<Arc<dyn Reader>, StoreError> {
        let (number, info) = self.find_by_entry_zero()?;
        Ok(Arc::new(SqliteReader::new(Arc::clone(&self.file), number, info)))
    }

    /// Keeps nobody away: several may write. What was left of acknowledged but not durable events is looked up here.
    fn lease(&self) -> Result<Box<dyn Leased>, StoreError> {
        self.file.check_disk()?;
        let conn = self.file.connect(Access::Write)?;
        self.check_schema()?;
        let reader = self.open_reader()?;
        let path = self.file.beside(WRITERS);
        let (presence, company) = Presence::arrive(&path)?;
        let left =
            marks_left(&conn, reader.number, company).map_err(|error| self.file.failed("read the marks", error))?;
        if company == Company::None {
            presence.share(&path)?;
        }
        let name = self.writer_name(&conn)?;
        Ok(Box::new(LeasedLog { reader, conn, presence, name, left }))
    }

    fn rebuild(&self, _: &dyn Reader, head: &TreeHead, kept: u64) -> Result<(), StoreError> {
        let (number, info) = self.find_by_entry_zero()?;
        rebuild::rebuild(&self.file, number, &info, head, kept)
    }
}

/// The writers whose marks of bounded acknowledgements are left of processes that ended without a word: all, where nobody else
/// writes; otherwise those whose time ran out.
fn marks_left(conn: &Connection, log: i64, company: Company) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT writer FROM bounded_marks WHERE log = ?1 AND (?2 OR until < ?3)")?;
    let rows = statement.query_map(params![log, company == Company::None, now()], |row| row.get(0))?;
    rows.collect()
}

struct LeasedLog {
    reader: SqliteReader,
    conn: Connection,
    presence: Presence,
    name: String,
    left: Vec<String>,
}

impl Leased for LeasedLog {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn open(
        self: Box<Self>,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Arc<dyn Writer>, Recovered), StoreError> {
        let end = check_end(&self.reader, &self.conn)?;
        check_anchored(&self.reader, &self.conn, head)?;
        check_tail(&self.reader, head, &end, check)?;
        let (reader, conn) = (self.reader, self.conn);
        let log = reader.number;
        let bounded = reader.file.transaction(&conn, "take marks over", |conn| {
            adopt_marks(conn, log, &self.name, &self.left).map_err(|error| reader.file.failed("take marks over", error))
        })?;
        let recovered = Recovered {
            size: end.size.0,
            last_leaf: end.last_leaf,
            last_recorded_at: end.recorded_at,
            cut: None,
            clean: true,
            bounded,
        };
        Ok((Arc::new(SqliteWriter::new(reader, conn, self.name, self.presence)), recovered))
    }
}

/// The end by the log's row, if it is also where the rows end.
fn check_end(reader: &SqliteReader, conn: &Connection) -> Result<End, StoreError> {
    let head = reader.head()?;
    // Others may have appended since: then there are more rows, and the next look at the row says so too.
    let last = last_row(conn, reader.number).map_err(|error| reader.file.failed("look for the last entry", error))?;
    let rows = last.map_or(0, |last| unsigned(last) + 1);
    let now = reader.head()?.end.size.0;
    if rows > now {
        let detail = format!("it has rows up to {}, and the log ends with {now} entries", rows - 1);
        return Err(reader.damaged("table `signed_audit_log`", detail));
    }
    if rows < head.end.size.0 {
        let detail = format!("the log has {} entries by its row, and this one is missing", head.end.size);
        return Err(StoreError::Evidence { index: rows, detail });
    }
    Ok(head.end)
}

/// The stored tree gives the head's root, and the last entry below it is in the tree.
fn check_anchored(reader: &SqliteReader, conn: &Connection, head: &TreeHead) -> Result<(), StoreError> {
    if tile::root_at(&StoredTree(reader), head.size)? != head.root {
        let detail = "the stored tree does not give the root of the newest head; `indelible verify` tells whether the entries do";
        return Err(reader.damaged("table `tree_hashes`", detail.to_owned()));
    }
    let Some(last) = head.size.0.checked_sub(1) else { return Ok(()) };
    let evidence = |detail: &str| StoreError::Evidence { index: last, detail: detail.to_owned() };
    let leaf: Option<Hash> = conn
        .query_row(
            concat!("SELECT ", entry_column!(), " FROM signed_audit_log WHERE log = ?1 AND idx = ?2"),
            params![reader.number, signed(last)],
            |row| Ok(leaf_hash(blob(row, 0))),
        )
        .optional()
        .map_err(|error| reader.file.failed("read the last entry of the newest head", error))?;
    let leaf = leaf.ok_or_else(|| evidence("the newest head covers this entry, and its row is not there"))?;
    if reader.hashes(0, last, 1)?.first() != Some(&leaf) {
        return Err(evidence("its bytes are not those that the newest head covers"));
    }
    Ok(())
}

/// Reads what stands behind the head: every entry continues the chain and is the log's own.
fn check_tail(reader: &SqliteReader, head: &TreeHead, end: &End, check: &dyn TailCheck) -> Result<(), StoreError> {
    let leaf = match head.size.0.checked_sub(1) {
        Some(last) => reader.hashes(0, last, 1)?.first().copied().unwrap_or(head.root),
        None => leaf_hash(b""),
    };
    let mut follower = Follower::new(head.size.0, Some(leaf), None);
    let mut time: Option<Micros> = None;
    while follower.next() < end.size.0 {
        let chunk = reader.read(LeafIndex(follower.next()), WINDOW)?;
        for (index, line) in (chunk.first..end.size.0).zip(chunk.lines()) {
            let evidence = |detail: String| StoreError::Evidence { index, detail };
            let line = Line::parse(line).map_err(|error| evidence(error.to_string()))?;
            let leaf = follower.take(&line).map_err(evidence)?;
            if let Some(fault) = check.fault(&line, &leaf) {
                return Err(fault.at(index));
            }
            time = line.entry.recorded();
        }
    }
    if follower.leaf() != Some(end.last_leaf) || time.is_some_and(|time| Some(time) != end.recorded_at) {
        let detail = "the row of this log does not say what its last entry is".to_owned();
        return Err(reader.damaged("table `logs`", detail));
    }
    Ok(())
}
