//! The head row of a log, and rows as lines.
//!
//! What a row holds is read as it stands, whatever its type became: a line that comes out wrong is found by whoever verifies it.

use indelible_core::{
    FORMAT_VERSION,
    entry::MAX_ENTRY_BYTES,
    hex,
    mac::LogId,
    time::Micros,
    tree::{Hash, LeafIndex, TreeSize},
};
use indelible_store::store::{End, LogInfo};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::schema;

/// What stands between the parts of a line: `{"batch":`, `,"entry":`, `,"mac":"`, `"}` and a line feed.
pub(crate) const LINE_FRAME: u64 = 9 + 9 + 8 + 3;

/// The entry of a row as a column; nothing where it is longer than an entry may be. Its length stands in the row's header, so that what is
/// too long is not read for that.
macro_rules! entry_column {
    () => {
        "CASE WHEN octet_length(entry) <= 65535 THEN entry END"
    };
}
/// Batch, entry and MAC as the columns that [`push_line`] takes; nothing for what no row of a log has.
macro_rules! line_columns {
    () => {
        concat!(
            "CASE typeof(batch) WHEN 'integer' THEN batch END, ",
            entry_column!(),
            ", CASE WHEN octet_length(mac) <= 64 THEN mac END"
        )
    };
}
pub(crate) use {entry_column, line_columns};
const _: () = assert!(MAX_ENTRY_BYTES == 65_535);

/// Columns of the head row that [`Head::of`] reads.
const HEAD: &str = "SELECT size, bytes, last_leaf, last_recorded_at, named, \
    (SELECT number FROM checkpoints WHERE log = logs.number AND number = named + 1), keys FROM logs WHERE number = ?1";
/// The same where the schema has version 1: no log in it has changed its keys.
const HEAD_1: &str = "SELECT size, bytes, last_leaf, last_recorded_at, named, \
    (SELECT number FROM checkpoints WHERE log = logs.number AND number = named + 1), 0 FROM logs WHERE number = ?1";

/// Where a log ends, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) end: End,
    pub(crate) bytes: u64,
    /// Number of the newest kept checkpoint that an entry names.
    pub(crate) named: u64,
}

impl Head {
    pub(crate) fn read(conn: &Connection, log: i64) -> rusqlite::Result<Option<Self>> {
        let sql = if schema::version(conn)? == 1 { HEAD_1 } else { HEAD };
        conn.prepare_cached(sql)?.query_row([log], Self::of).optional()
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let end = End {
            size: TreeSize(unsigned(row.get(0)?)),
            last_leaf: Hash(row.get(2)?),
            recorded_at: row.get::<_, Option<i64>>(3)?.map(Micros),
            unnamed: row.get::<_, Option<i64>>(5)?.map(unsigned),
            keys: LeafIndex(unsigned(row.get(6)?)),
        };
        Ok(Self { end, bytes: unsigned(row.get(1)?), named: unsigned(row.get(4)?) })
    }
}

/// A log's number in its file, and what log it is.
pub(crate) type Registered = (i64, LogInfo);

/// The logs in a file, or those of one name.
pub(crate) fn registered(conn: &Connection, origin: Option<&str>) -> rusqlite::Result<Vec<Registered>> {
    let mut statement = conn
        .prepare("SELECT number, origin, log_id, format FROM logs WHERE ?1 IS NULL OR origin = ?1 ORDER BY number")?;
    let rows = statement.query_map(params![origin], |row| {
        let log_id = LogId(row.get(2)?);
        let format = u32::try_from(row.get::<_, i64>(3)?).unwrap_or(FORMAT_VERSION + 1);
        Ok((row.get(0)?, LogInfo { origin: row.get(1)?, log_id, format }))
    })?;
    rows.collect()
}

/// The batch, entry and MAC of a row, from column `at` on, as a line.
pub(crate) fn push_line(row: &Row<'_>, at: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"batch\":");
    out.extend_from_slice(integer(row, at).to_string().as_bytes());
    out.extend_from_slice(b",\"entry\":");
    out.extend_from_slice(blob(row, at + 1));
    out.extend_from_slice(b",\"mac\":\"");
    hex::push(out, blob(row, at + 2));
    out.extend_from_slice(b"\"}\n");
}

/// An integer; -1 for what is none.
pub(crate) fn integer(row: &Row<'_>, at: usize) -> i64 {
    row.get_ref(at).ok().and_then(|value| value.as_i64().ok()).unwrap_or(-1)
}

/// Bytes; none for what has none.
pub(crate) fn blob<'a>(row: &'a Row<'_>, at: usize) -> &'a [u8] {
    row.get_ref(at).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default()
}

/// A number that is not below zero in a whole file.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An index as SQLite keeps it; no row has the largest.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the clock reads.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
