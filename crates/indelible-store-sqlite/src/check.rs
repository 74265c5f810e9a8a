//! What derives from the entries, and the schema, against what a scan of the entries found.
//!
//! All of it is read in one snapshot: what others append meanwhile is in all tables or in none.

use indelible_core::{
    entry::EntryRef,
    tile::level_len,
    tree::{TreeSize, leaf_hash},
};
use indelible_store::store::{DerivedFault, Fingerprint, Reader as _, Scanned, StoreError, Summed, add_ids, id_digest};
use rusqlite::{Connection, Row, params};

use crate::{
    file::is_corrupt,
    reader::{SqliteReader, or_nothing, tree_size},
    rows::{Head, blob, entry_column, integer, registered, signed, unsigned},
    schema,
};

/// 256^7 leaves are 2^56; the eighth level would need 2^64.
const LEVELS: u8 = 8;
/// Faults of SQLite's own check that are told.
const MAX_BROKEN: usize = 20;

/// All rows: every page of the table is read.
const ROWS: &str = "SELECT count(*), min(idx), max(idx) FROM signed_audit_log WHERE log = ?1";
/// The rows behind a scan, and the ends of all, which are found without reading what lies between.
const ROWS_BEHIND: &str = "SELECT count(*), (SELECT min(idx) FROM signed_audit_log WHERE log = ?1), \
    (SELECT max(idx) FROM signed_audit_log WHERE log = ?1) FROM signed_audit_log WHERE log = ?1 AND idx >= ?2";
/// Around an entry, its batch number and its MAC in a line: `{"batch":`, `,"entry":`, `,"mac":"`, 64 digits, `"}` and a line feed.
const LINE_BYTES: &str = "SELECT sum(length(entry) + length(CAST(batch AS TEXT))) + count(*) * 93 \
    FROM signed_audit_log WHERE log = ?1 AND idx >= ?2";
/// Parsed one by one from the end: SQLite would search each body for the name.
const FROM_THE_END: &str =
    concat!("SELECT ", entry_column!(), " FROM signed_audit_log WHERE log = ?1 AND idx >= ?2 ORDER BY idx DESC");

/// How many rows, the first index and the last.
type Range = (i64, Option<i64>, Option<i64>);

struct Checker<'a> {
    reader: &'a SqliteReader,
    conn: &'a Connection,
    scanned: &'a Scanned<'a>,
    held: bool,
    /// What the scan added up, while the rows are those that it read and perhaps more behind them.
    summed: Option<Summed>,
    faults: Vec<DerivedFault>,
}

pub(crate) fn check(reader: &SqliteReader, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
    // A writer that came since leaves its traces as well.
    let held = scanned.held || reader.has_writer()?;
    reader.file.snapshot("check what derives from the entries", |conn| {
        let mut checker = Checker { reader, conn, scanned, held, summed: scanned.summed, faults: Vec::new() };
        checker.check()?;
        Ok(checker.faults)
    })
}

impl Checker<'_> {
    fn fault(&mut self, place: &str, detail: impl Into<String>) {
        let place = format!("{}, {place}", self.reader.place());
        self.faults.push(DerivedFault { place, detail: detail.into() });
    }

    fn log(&self) -> i64 {
        self.reader.number
    }

    fn check(&mut self) -> rusqlite::Result<()> {
        self.step(Self::schema)?;
        let size = self.step(Self::rows)?.unwrap_or(self.scanned.end.0);
        self.step(|checker| checker.tree(size))?;
        self.step(Self::kept)?;
        if let Some(ids) = self.scanned.ids {
            self.step(|checker| checker.ids(size, ids))?;
            self.step(Self::columns)?;
            self.step(Self::structure)?;
        }
        Ok(())
    }

    /// One of the checks; a broken page ends it and not the others.
    fn step<T>(&mut self, check: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
        match check(self) {
            Err(error) if is_corrupt(&error) => {
                self.fault("pages of the file", format!("they are broken: {error}"));
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    fn schema(&mut self) -> rusqlite::Result<()> {
        let version = schema::version(self.conn)?;
        // An older one is whole as it is; writing asks for the newest.
        if !(1..=schema::VERSION).contains(&version) {
            self.fault("schema", format!("it has version {version}, not {}", schema::VERSION));
        }
        for text in schema::differences(self.conn)?.texts() {
            self.fault("schema", text);
        }
        Ok(())
    }

    /// The log's row against its entries. Returns the size that counts.
    fn rows(&mut self) -> rusqlite::Result<u64> {
        let log = self.log();
        let named = or_nothing(registered(self.conn, None))?.into_iter().find(|(number, _)| *number == log);
        if named.is_some_and(|(_, info)| &info != self.scanned.info) {
            self.fault("table `logs`", "its row names another log than entry 0");
        }
        let (count, first, last) = or_nothing(self.range())?;
        let head = Head::read(self.conn, log)
            .or_else(|error| if crate::file::is_missing(&error) { Ok(None) } else { Err(error) })?;
        let Some(head) = head else {
            self.fault("table `logs`", "the row of this log is missing");
            return Ok(unsigned(count));
        };
        let size = head.end.size.0;
        if unsigned(count) != size || first.unwrap_or(0) != 0 || last.unwrap_or(-1) != signed(size) - 1 {
            let range = match (first, last) {
                (Some(first), Some(last)) => format!("{count} rows from {first} to {last}"),
                _ => "no row".to_owned(),
            };
            self.fault("table `signed_audit_log`", format!("it has {range}, the log has {size} entries by its row"));
        } else {
            self.last(&head)?;
            self.sums(&head)?;
        }
        Ok(size)
    }

    /// How many rows there are, the first and the last. Where the scan found every entry in its place, only the rows behind them are counted.
    fn range(&mut self) -> rusqlite::Result<Range> {
        let range = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        if self.summed.is_some() {
            let end = signed(self.scanned.end.0);
            let (behind, first, last): Range = self.conn.query_row(ROWS_BEHIND, [self.log(), end], range)?;
            let count = end.saturating_add(behind);
            if first == Some(0) && last == Some(count - 1) {
                return Ok((count, first, last));
            }
            // Others than it read: all of them are counted, here and in the sums.
            self.summed = None;
        }
        self.conn.query_row(ROWS, [self.log()], range)
    }

    /// What the log's row counts besides.
    fn sums(&mut self, head: &Head) -> rusqlite::Result<()> {
        let (from, seen) = match self.summed {
            Some(seen) => (signed(self.scanned.end.0), seen),
            None => (i64::MIN, Summed::default()),
        };
        let behind: Option<i64> = self.conn.query_row(LINE_BYTES, [self.log(), from], |row| row.get(0))?;
        let bytes = seen.bytes.saturating_add(unsigned(behind.unwrap_or(0)));
        if bytes != head.bytes {
            let said = head.bytes;
            self.fault("table `logs`", format!("its row says {said} bytes, the lines of the entries have {bytes}"));
        }
        let named = self.newest_named(from)?.unwrap_or(seen.named);
        if named != head.named {
            let said = head.named;
            self.fault(
                "table `logs`",
                format!("its row says that kept checkpoint {said} was named last, the entries name {named}"),
            );
        }
        Ok(())
    }

    /// The newest kept checkpoint that an entry from an index on names.
    fn newest_named(&self, from: i64) -> rusqlite::Result<Option<u64>> {
        let mut statement = self.conn.prepare_cached(FROM_THE_END)?;
        let mut rows = statement.query([self.log(), from])?;
        while let Some(row) = rows.next()? {
            if let Some(head) = EntryRef::parse(blob(row, 0)).ok().and_then(|entry| entry.head) {
                return Ok(Some(head.number));
            }
        }
        Ok(None)
    }

    fn last(&mut self, head: &Head) -> rusqlite::Result<()> {
        let Some(last) = head.end.size.0.checked_sub(1) else { return Ok(()) };
        let (leaf, time) = self.conn.query_row(
            concat!("SELECT ", entry_column!(), " FROM signed_audit_log WHERE log = ?1 AND idx = ?2"),
            params![self.log(), signed(last)],
            |row| {
                let entry = blob(row, 0);
                Ok((leaf_hash(entry), EntryRef::parse(entry).ok().and_then(|entry| entry.recorded())))
            },
        )?;
        if leaf != head.end.last_leaf || time != head.end.recorded_at {
            self.fault("table `logs`", format!("its row does not say what entry {last} is, the last"));
        }
        Ok(())
    }

    /// The runs of each level follow one another. What is in them the scan compares.
    fn tree(&mut self, size: u64) -> rusqlite::Result<()> {
        let stored = or_nothing(tree_size(self.conn, self.log()))?;
        if stored < self.scanned.anchored.0 || stored > size {
            let anchored = self.scanned.anchored;
            let detail = format!("it covers {stored} leaves; {anchored} are needed, the log has {size}");
            self.fault("table `tree_hashes`", detail);
        }
        for level in 0..LEVELS {
            let want = level_len(TreeSize(stored), level);
            let has = or_nothing(self.level(level))?;
            if has != Some(want) && (has, want) != (None, 0) {
                let detail = format!("the runs of level {level} are not {want} hashes one behind the other");
                self.fault("table `tree_hashes`", detail);
            }
        }
        let strange: i64 = or_nothing(self.conn.query_row(
            "SELECT count(*) FROM tree_hashes WHERE log = ?1 AND level NOT BETWEEN 0 AND ?2",
            params![self.log(), LEVELS - 1],
            |row| row.get(0),
        ))?;
        if strange > 0 {
            self.fault("table `tree_hashes`", format!("{strange} rows are of no level"));
        }
        Ok(())
    }

    /// How many hashes a level has; `None` where its runs do not follow one another.
    fn level(&self, level: u8) -> rusqlite::Result<Option<u64>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT first, length(hashes) FROM tree_hashes WHERE log = ?1 AND level = ?2 ORDER BY first",
        )?;
        let mut rows = statement.query(params![self.log(), level])?;
        let mut next = 0;
        while let Some(row) = rows.next()? {
            let (first, bytes) = (integer(row, 0), integer(row, 1));
            if first != next || bytes <= 0 || bytes % 32 != 0 {
                return Ok(None);
            }
            next += bytes / 32;
        }
        Ok(Some(unsigned(next)))
    }

    fn kept(&mut self) -> rusqlite::Result<()> {
        // A live writer may have kept one since.
        let newest = if self.held { i64::MAX } else { signed(self.scanned.kept) };
        let strange: i64 = or_nothing(self.conn.query_row(
            "SELECT count(*) FROM checkpoints WHERE log = ?1 AND number NOT BETWEEN 1 AND ?2",
            params![self.log(), newest],
            |row| row.get(0),
        ))?;
        if strange > 0 {
            self.fault("table `checkpoints`", format!("{strange} rows are no kept checkpoints of this log"));
        }
        Ok(())
    }

    fn ids(&mut self, size: u64, want: [u64; 4]) -> rusqlite::Result<()> {
        let Some((sum, strange)) = or_nothing(self.sum_of_ids(size))? else { return Ok(()) };
        if strange > 0 {
            self.fault("table `ids`", format!("{strange} rows are of entries that the log does not have"));
        }
        if sum != want {
            self.fault("table `ids`", "the ids in it are not those of the entries");
        }
        Ok(())
    }

    fn sum_of_ids(&self, size: u64) -> rusqlite::Result<Option<([u64; 4], u64)>> {
        let mut statement = self.conn.prepare_cached("SELECT fingerprint, idx FROM ids WHERE log = ?1")?;
        let mut rows = statement.query([self.log()])?;
        let (mut sum, mut strange) = ([0; 4], 0);
        // What a live writer recorded behind the scan is not in its sum.
        let end = self.scanned.end.0;
        while let Some(row) = rows.next()? {
            let index = u64::try_from(integer(row, 1)).unwrap_or(u64::MAX);
            let id = blob(row, 0).first_chunk().copied().map(Fingerprint);
            match id.filter(|_| index < size) {
                Some(id) if index < end => add_ids(&mut sum, id_digest(id, index)),
                Some(_) => {}
                None => strange += 1,
            }
        }
        Ok(Some((sum, strange)))
    }

    /// Index and time of each row against its entry.
    fn columns(&mut self) -> rusqlite::Result<()> {
        let wrong = or_nothing(self.first_wrong_column())?;
        if let Some(index) = wrong {
            let detail = format!("row {index}: its index or time is not that of its entry");
            self.fault("table `signed_audit_log`", detail);
        }
        Ok(())
    }

    fn first_wrong_column(&self) -> rusqlite::Result<Option<i64>> {
        let mut statement = self.conn.prepare_cached(concat!(
            "SELECT idx, recorded_at, ",
            entry_column!(),
            " FROM signed_audit_log WHERE log = ?1 ORDER BY idx"
        ))?;
        let mut rows = statement.query([self.log()])?;
        while let Some(row) = rows.next()? {
            let (index, time) = (integer(row, 0), integer(row, 1));
            // An entry that cannot be read is told by the scan.
            let Ok(entry) = EntryRef::parse(blob(row, 2)) else { continue };
            if signed(entry.index.0) != index || entry.recorded().map(|time| time.0) != Some(time) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// SQLite's own check of the file, without its indexes' content.
    fn structure(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.conn.prepare(&format!("PRAGMA quick_check({MAX_BROKEN})"))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        let broken: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
        for text in broken.into_iter().filter(|text| text != "ok") {
            self.fault("SQLite's own check", text);
        }
        Ok(())
    }
}
