//! Reading a log's rows, beside any number of writers.
//!
//! Each call is one statement or one snapshot, so that what it gives belongs together. A scan ([`Reader::runs`]) goes over all rows that the log has, also those
//! that the head row does not know of; what is missing between them shows as missing lines.

use std::{io, path::Path, sync::Arc};

use indelible_core::{
    entry::MAX_ENTRY_BYTES,
    hex,
    tree::{Hash, LeafIndex, TreeSize},
};
use indelible_store::store::{
    Chunk, DerivedFault, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, Piece, Reader, Run, Scanned, StoreError,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{
    check,
    file::{File, is_corrupt, is_missing},
    presence::Presence,
    rows::{Head, LINE_FRAME, blob, entry_column, integer, line_columns, push_line, signed, unsigned},
};

/// The most rows of a piece: with entries of 64 KB, however few of them the mean lets expect, 16 MiB.
const PIECE_ROWS: u64 = 256;
/// The fewest. A scan holds a few pieces at once, so that entries of 64 KB cost 1 MiB each.
const MIN_PIECE_ROWS: u64 = 16;
/// About so many bytes of lines make a piece.
const PIECE_BYTES: u64 = 1 << 20;

const READ: &str = concat!(
    "SELECT idx, octet_length(entry), ",
    line_columns!(),
    " FROM signed_audit_log WHERE log = ?1 AND idx >= ?2 AND idx < (SELECT size FROM logs WHERE number = ?1) ORDER BY idx"
);
const READ_PIECE: &str =
    concat!("SELECT ", line_columns!(), " FROM signed_audit_log WHERE log = ?1 AND idx BETWEEN ?2 AND ?3 ORDER BY idx");
const ATTACHMENT_BYTES: &str = "SELECT coalesce(sum(octet_length(content)), 0) FROM attachment_parts WHERE digest = ?1";
const ATTACHMENT: &str = "SELECT content FROM attachment_parts WHERE digest = ?1 ORDER BY part";
const HASHES: &str = "SELECT first, hashes FROM tree_hashes WHERE log = ?1 AND level = ?2 AND first < ?4 AND first >= \
    coalesce((SELECT max(first) FROM tree_hashes WHERE log = ?1 AND level = ?2 AND first <= ?3), 0) ORDER BY first";

/// A log in an SQLite file, for reading.
pub struct SqliteReader {
    pub(crate) file: Arc<File>,
    pub(crate) number: i64,
    info: LogInfo,
}

impl SqliteReader {
    pub(crate) fn new(file: Arc<File>, number: i64, info: LogInfo) -> Self {
        Self { file, number, info }
    }

    /// The place, with the log in it.
    pub(crate) fn place(&self) -> String {
        format!("{}#{}", self.file.place(), self.info.origin)
    }

    pub(crate) fn head(&self) -> Result<Head, StoreError> {
        let head = self.file.read("read the log's row", |conn| Head::read(conn, self.number))?;
        head.ok_or_else(|| self.damaged("table `logs`", "the row of this log is missing".to_owned()))
    }

    pub(crate) fn damaged(&self, what: &str, detail: String) -> StoreError {
        StoreError::Damaged { place: format!("{}, {what}", self.place()), detail }
    }

    /// A table that is missing holds nothing, nor does a broken page; the checks of the schema and of the file tell of both.
    pub(crate) fn read_or_nothing<T: Default>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.file.read(step, |conn| or_nothing_readable(work(conn)))
    }

    /// Reads primary rows; where the file itself is broken there, that is evidence, and a scan goes on behind it.
    fn read_rows<T: Default>(
        &self,
        index: u64,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut corrupt = None;
        let read = self.read_or_nothing("read entries", |conn| match work(conn) {
            Err(error) if is_corrupt(&error) => {
                corrupt = Some(error.to_string());
                Ok(T::default())
            }
            result => result,
        })?;
        match corrupt {
            Some(detail) => Err(StoreError::Evidence { index, detail: format!("the file is broken here: {detail}") }),
            None => Ok(read),
        }
    }

    fn piece_rows(run: &Run, end: u64) -> u64 {
        (PIECE_BYTES / (run.bytes / end.max(1)).max(1)).clamp(MIN_PIECE_ROWS, PIECE_ROWS)
    }
}

pub(crate) fn or_nothing<T: Default>(result: rusqlite::Result<T>) -> rusqlite::Result<T> {
    match result {
        Err(error) if is_missing(&error) => Ok(T::default()),
        result => result,
    }
}

fn or_nothing_readable<T: Default>(result: rusqlite::Result<T>) -> rusqlite::Result<T> {
    match or_nothing(result) {
        Err(error) if is_corrupt(&error) => Ok(T::default()),
        result => result,
    }
}

/// The largest index that has a row; `None` where there is none.
/// The last index below `end`; somebody may have put a row at the largest that there is.
fn row_before(end: u64) -> i64 {
    end.checked_sub(1).map_or(-1, signed)
}

pub(crate) fn last_row(conn: &Connection, log: i64) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT max(idx) FROM signed_audit_log WHERE log = ?1")?.query_row([log], |row| row.get(0))
}

/// Hashes `first .. first + count` of a level, as many of them as there are without a gap.
pub(crate) fn hashes(conn: &Connection, log: i64, level: u8, first: u64, count: usize) -> rusqlite::Result<Vec<Hash>> {
    let mut statement = conn.prepare_cached(HASHES)?;
    let end = first.saturating_add(count as u64);
    let mut rows = statement.query(params![log, level, signed(first), signed(end)])?;
    let mut found: Vec<Hash> = Vec::new();
    while let Some(row) = rows.next()? {
        let next = first + found.len() as u64;
        let begins = unsigned(integer(row, 0));
        let Some(skip) = next.checked_sub(begins) else { break };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let run = blob(row, 1).chunks_exact(32).skip(skip).take(count - found.len());
        found.extend(run.filter_map(|hash| hash.first_chunk().copied().map(Hash)));
    }
    Ok(found)
}

/// How many leaf hashes are stored.
pub(crate) fn tree_size(conn: &Connection, log: i64) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached(
        "SELECT first + length(hashes) / 32 FROM tree_hashes WHERE log = ?1 AND level = 0 ORDER BY first DESC LIMIT 1",
    )?;
    Ok(statement.query_row([log], |row| row.get(0)).optional()?.map_or(0, unsigned))
}

/// The indices that have an id's fingerprint.
pub(crate) fn lookup(conn: &Connection, log: i64, id: Fingerprint) -> rusqlite::Result<Vec<LeafIndex>> {
    let mut statement = conn.prepare_cached("SELECT idx FROM ids WHERE log = ?1 AND fingerprint = ?2 ORDER BY idx")?;
    let rows = statement.query_map(params![log, id.0], |row| Ok(LeafIndex(unsigned(row.get(0)?))))?;
    rows.collect()
}

impl Reader for SqliteReader {
    fn info(&self) -> &LogInfo {
        &self.info
    }

    fn size(&self) -> Result<TreeSize, StoreError> {
        Ok(self.head()?.end.size)
    }

    fn end(&self) -> Result<Option<indelible_store::store::End>, StoreError> {
        Ok(Some(self.head()?.end))
    }

    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError> {
        let (bytes, too_long) = self.read_rows(from.0, |conn| {
            let mut statement = conn.prepare_cached(READ)?;
            let mut rows = statement.query(params![self.number, signed(from.0)])?;
            let (mut bytes, mut too_long) = (Vec::new(), None);
            let mut next = from.0;
            // Never past a gap.
            while let Some(row) = rows.next()?.filter(|row| integer(row, 0) == signed(next)) {
                let before = bytes.len();
                let length = unsigned(integer(row, 1));
                if length > MAX_ENTRY_BYTES as u64 {
                    too_long = Some(length);
                    break;
                }
                push_line(row, 2, &mut bytes);
                if before > 0 && bytes.len() > max_bytes {
                    bytes.truncate(before);
                    break;
                }
                next += 1;
            }
            Ok((bytes, too_long))
        })?;
        if !bytes.is_empty() {
            return Ok(Chunk { first: from.0, bytes });
        }
        if let Some(length) = too_long {
            let detail = format!("its row holds {length} bytes, and no entry has more than {MAX_ENTRY_BYTES}");
            return Err(StoreError::Evidence { index: from.0, detail });
        }
        let size = self.size()?.0;
        Err(if from.0 < size {
            StoreError::Absent { index: from.0 }
        } else {
            StoreError::NoEntry { index: from.0, size }
        })
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let (last, bytes) = self.file.snapshot("look for entries", |conn| {
            let head = or_nothing_readable(Head::read(conn, self.number))?;
            let last = or_nothing_readable(last_row(conn, self.number))?;
            let known = head.filter(|head| last.map_or(0, |last| unsigned(last) + 1) == head.end.size.0);
            // The head row is not believed where the rows say otherwise.
            let bytes = match (known, last) {
                (Some(head), _) => head.bytes,
                (None, None) => 0,
                (None, Some(_)) => or_nothing_readable(line_bytes(conn, self.number))?,
            };
            Ok((last, bytes))
        })?;
        let end = last.map(|last| u64::try_from(last).map_or(0, |last| last + 1));
        Ok(vec![Run { first: 0, place: self.place(), bytes, beyond: 0, closed: false, end }])
    }

    /// Of each, `unit` is the first index and `units` how many there may be; how many bytes it has shows only when it is read.
    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError> {
        let Some(end) = run.end else { return Ok(Vec::new()) };
        self.read_rows(0, |conn| {
            let last = row_before(end);
            let units = Self::piece_rows(run, end);
            let mut next =
                conn.prepare_cached("SELECT min(idx) FROM signed_audit_log WHERE log = ?1 AND idx BETWEEN ?2 AND ?3")?;
            let mut pieces = vec![Piece { offset: 0, bytes: 0, unit: 0, units }];
            let mut at = units;
            // From row to row and not from number to number: one stray row far out is one more piece.
            while let Some(first) =
                next.query_row(params![self.number, signed(at), last], |row| row.get::<_, Option<i64>>(0))?
            {
                let unit = unsigned(first);
                let units = units.min(end.saturating_sub(unit));
                pieces.push(Piece { offset: unit, bytes: 0, unit, units });
                at = unit.max(at).saturating_add(units);
                if at >= end {
                    break;
                }
            }
            Ok(pieces)
        })
    }

    fn read_piece(&self, run: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError> {
        // The first piece takes whatever stands before index 0.
        let from = if piece.unit == 0 { i64::MIN } else { signed(piece.unit) };
        let to = piece.unit.saturating_add(piece.units).min(run.end.unwrap_or(u64::MAX));
        self.read_rows(piece.unit, |conn| {
            let mut statement = conn.prepare_cached(READ_PIECE)?;
            let mut rows = statement.query(params![self.number, from, row_before(to)])?;
            let mut bytes = Vec::new();
            while let Some(row) = rows.next()? {
                push_line(row, 0, &mut bytes);
            }
            Ok(bytes)
        })
    }

    fn tree_size(&self) -> Result<TreeSize, StoreError> {
        self.read_or_nothing("read the tree", |conn| tree_size(conn, self.number)).map(TreeSize)
    }

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let found = self.read_or_nothing("read the tree", |conn| hashes(conn, self.number, level, first, count))?;
        if found.len() < count {
            let detail = format!("level {level} has no hash {}", first + found.len() as u64);
            return Err(self.damaged("table `tree_hashes`", detail));
        }
        Ok(found)
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let note = self.read_or_nothing("read the published checkpoint", |conn| {
            let mut statement = conn.prepare_cached("SELECT checkpoint FROM logs WHERE number = ?1")?;
            statement.query_row([self.number], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()
        })?;
        Ok(note.flatten())
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_or_nothing("read a kept checkpoint", |conn| {
            let mut statement = conn.prepare_cached("SELECT note FROM checkpoints WHERE log = ?1 AND number = ?2")?;
            statement.query_row(params![self.number, signed(number)], |row| row.get(0)).optional()
        })
    }

    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError> {
        self.read_or_nothing("look for kept checkpoints", |conn| {
            let mut statement = conn.prepare_cached("SELECT number FROM checkpoints WHERE log = ?1 ORDER BY number")?;
            let numbers = statement.query_map([self.number], |row| Ok(unsigned(row.get(0)?)))?;
            numbers.collect()
        })
    }

    fn newest_kept(&self) -> Result<Option<u64>, StoreError> {
        self.read_or_nothing("look for kept checkpoints", |conn| {
            let mut statement = conn.prepare_cached("SELECT max(number) FROM checkpoints WHERE log = ?1")?;
            statement.query_row([self.number], |row| Ok(row.get::<_, Option<i64>>(0)?.map(unsigned)))
        })
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        self.file.read("look an id up", |conn| lookup(conn, self.number, id))
    }

    fn check_derived(&self, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
        check::check(self, scanned)
    }

    /// Whether anybody writes to the file; which of its logs is not told.
    fn has_writer(&self) -> Result<bool, StoreError> {
        Presence::anybody(&self.file.beside(crate::driver::WRITERS))
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.attachment_size(digest)?.is_none() {
            return Ok(None);
        }
        let read = self.file.snapshot("read an attachment", |conn| {
            Ok(match or_nothing_readable(attachment(conn, digest, MAX_ATTACHMENT_BYTES).map(Some))? {
                Some(read) => read,
                None => Ok(Vec::new()),
            })
        })?;
        read.map(Some).map_err(|length| {
            let detail = format!("it has {length} bytes, more than the {MAX_ATTACHMENT_BYTES} it may have");
            let place = format!("{}, attachment sha256:{}", self.place(), hex::encode(digest));
            StoreError::io("read", Path::new(&place))(io::Error::new(io::ErrorKind::InvalidData, detail))
        })
    }

    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        self.read_or_nothing("look for an attachment", |conn| {
            let mut statement = conn.prepare_cached("SELECT size FROM attachments WHERE digest = ?1")?;
            statement.query_row([digest], |row| Ok(unsigned(row.get(0)?))).optional()
        })
    }
}

/// The parts of an attachment, put together; or how many bytes they have, where those are more than `most`. That stands in the headers of the rows: what is too long is not
/// read for it.
fn attachment(conn: &Connection, digest: &[u8; 32], most: u64) -> rusqlite::Result<Result<Vec<u8>, u64>> {
    let length = conn.prepare_cached(ATTACHMENT_BYTES)?.query_row([digest], |row| Ok(unsigned(row.get(0)?)))?;
    if length > most {
        return Ok(Err(length));
    }
    let mut statement = conn.prepare_cached(ATTACHMENT)?;
    let mut rows = statement.query([digest])?;
    let mut content = Vec::new();
    while let Some(row) = rows.next()? {
        content.extend_from_slice(blob(row, 0));
    }
    Ok(Ok(content))
}

/// The bytes of all lines that the rows make.
fn line_bytes(conn: &Connection, log: i64) -> rusqlite::Result<u64> {
    let sum: i64 = conn.query_row(
        "SELECT coalesce(sum(length(entry) + 2 * length(mac) + length(CAST(batch AS TEXT)) + ?2), 0) \
            FROM signed_audit_log WHERE log = ?1",
        params![log, signed(LINE_FRAME)],
        |row| row.get(0),
    )?;
    Ok(unsigned(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_above_its_limit_is_measured_and_not_read() {
        let conn = Connection::open_in_memory().unwrap();
        crate::schema::apply(&conn).unwrap();
        let digest = [7; 32];
        conn.execute("INSERT INTO attachments (digest, size) VALUES (?1, 3)", [digest]).unwrap();
        for part in [1, 0, 2] {
            conn.execute("INSERT INTO attachment_parts VALUES (?1, ?2, zeroblob(1000))", params![digest, part])
                .unwrap();
        }
        assert_eq!(attachment(&conn, &digest, 3000).unwrap(), Ok(vec![0; 3000]));
        assert_eq!(attachment(&conn, &digest, 2999).unwrap(), Err(3000));
        assert_eq!(attachment(&conn, &[8; 32], 0).unwrap(), Ok(Vec::new()));
    }
}
