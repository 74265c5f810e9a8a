//! The bare engine (feature `bench`): what the same rows cost without a log, for figures to stand beside.
//!
//! The same file system, the same row bytes, the same commits, keys and settings, in tables that refuse nothing and prove nothing. Only what SQLite does with the
//! rows is timed, not how they are read.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use indelible_core::tree::leaf_hash;
use rusqlite::{Connection, params};

const TABLES: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
    CREATE TABLE IF NOT EXISTS entries (log INTEGER NOT NULL, idx INTEGER NOT NULL, batch INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
        entry BLOB NOT NULL, mac BLOB NOT NULL, PRIMARY KEY (log, idx)) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS ids (log INTEGER NOT NULL, fingerprint BLOB NOT NULL, idx INTEGER NOT NULL,
        PRIMARY KEY (log, fingerprint, idx)) STRICT, WITHOUT ROWID;";
const ROWS: &str = "SELECT idx, batch, recorded_at, entry, mac FROM signed_audit_log WHERE log = 1 AND idx >= ?1 ORDER BY idx LIMIT ?2";
const ENTRIES: &str = "SELECT entry FROM signed_audit_log WHERE log = 1 ORDER BY idx";
/// Rows that are read at a time.
const PIECE: i64 = 8192;

/// What was done, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Rows.
    pub rows: u64,
    /// How long.
    pub time: Duration,
}

impl Took {
    /// Rows a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64()
    }
}

struct Row {
    idx: i64,
    batch: i64,
    at: i64,
    entry: Vec<u8>,
    mac: Vec<u8>,
}

/// Which rows go into one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// Those that the log committed together.
    AsTheLog,
    /// Each alone, until so much time has gone.
    Single(Duration),
}

/// Writes the rows of the first log of `from` into plain tables of `to`, by prepared statements.
///
/// # Errors
/// What SQLite says.
pub fn inserts(from: &Path, to: &Path, commits: Commits) -> rusqlite::Result<Took> {
    let (source, target) = (Connection::open(from)?, Connection::open(to)?);
    target.execute_batch(TABLES)?;
    let mut took = Took { rows: 0, time: Duration::ZERO };
    let mut rows = read(&source, 0)?;
    while let Some(last) = rows.last() {
        let next = last.idx + 1;
        let more = read(&source, next)?;
        // A batch may go on in the next piece.
        let batch = last.batch;
        let (whole, rest): (Vec<Row>, Vec<Row>) = match (more.is_empty(), commits) {
            (false, Commits::AsTheLog) => rows.into_iter().partition(|row| row.batch != batch),
            _ => (rows, Vec::new()),
        };
        let begun = Instant::now();
        match commits {
            Commits::AsTheLog => {
                whole.chunk_by(|a, b| a.batch == b.batch).try_for_each(|batch| insert(&target, batch))?;
                took.rows += whole.len() as u64;
            }
            Commits::Single(limit) => {
                for row in &whole {
                    if took.time + begun.elapsed() >= limit {
                        break;
                    }
                    insert(&target, std::slice::from_ref(row))?;
                    took.rows += 1;
                }
            }
        }
        took.time += begun.elapsed();
        if matches!(commits, Commits::Single(limit) if took.time >= limit) {
            break;
        }
        rows = rest.into_iter().chain(more).collect();
    }
    Ok(took)
}

fn read(source: &Connection, from: i64) -> rusqlite::Result<Vec<Row>> {
    let mut statement = source.prepare_cached(ROWS)?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row { idx: row.get(0)?, batch: row.get(1)?, at: row.get(2)?, entry: row.get(3)?, mac: row.get(4)? })
    };
    statement.query_map(params![from, PIECE], row)?.collect()
}

fn insert(target: &Connection, batch: &[Row]) -> rusqlite::Result<()> {
    target.execute_batch("BEGIN IMMEDIATE")?;
    let mut insert = target.prepare_cached("INSERT OR FAIL INTO entries VALUES (1, ?1, ?2, ?3, ?4, ?5)")?;
    let mut insert_id = target.prepare_cached("INSERT INTO ids VALUES (1, ?1, ?2)")?;
    for row in batch {
        insert.execute(params![row.idx, row.batch, row.at, row.entry, row.mac])?;
        // As long as a fingerprint, and as random.
        insert_id.execute(params![row.mac.get(..16).unwrap_or_default(), row.idx])?;
    }
    target.execute_batch("COMMIT")
}

/// Reads all entries of the first log, and hashes each.
///
/// # Errors
/// What SQLite says.
pub fn scan(from: &Path) -> rusqlite::Result<Took> {
    let source = Connection::open(from)?;
    let begun = Instant::now();
    let mut statement = source.prepare(ENTRIES)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        black_box(leaf_hash(row.get_ref(0)?.as_blob().unwrap_or_default()));
        count += 1;
    }
    Ok(Took { rows: count, time: begun.elapsed() })
}
