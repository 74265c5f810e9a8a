//! Writing a log: turns, batches, the tree, checkpoints.
//!
//! Every write is one transaction with `synchronous=FULL`: durable when it returns, or not there at all. A *turn* is such a transaction, begun before the batch is
//! made, so that its holder knows where the log ends and nobody else moves that. Other writes of the same handle wait for it.

use std::{
    any::Any,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use indelible_core::{
    checkpoint::Checkpoint,
    note::Note,
    tile,
    tree::{Frontier, Hash, LeafIndex, TreeSize},
};
use indelible_store::store::{
    Appended, Batch, Chunk, End, Fingerprint, MAX_ATTACHMENT_BYTES, MAX_BATCH_BYTES, Reader, ReadsThrough, StoreError,
    StoredTree, Turn, TurnError, Writer,
};
use rusqlite::{Connection, ErrorCode, params};
use sha2::{Digest as _, Sha256};

use crate::{
    file::{code, lock},
    presence::Presence,
    reader::{self, SqliteReader},
    rows::{Head, now, signed},
};

/// How long a turn of another thread is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a mark of bounded acknowledgements holds, and after what time it is renewed.
const MARK: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(20);
/// Attachments are kept in parts: SQLite's longest value is shorter than the longest attachment.
const PART: usize = 16 << 20;

/// `OR FAIL`: what can abort makes SQLite keep a copy of each page that the statement touches, and the transaction goes as a whole in any case.
const INSERT: &str =
    "INSERT OR FAIL INTO signed_audit_log (log, idx, batch, recorded_at, entry, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const INSERT_ID: &str = "INSERT INTO ids (log, fingerprint, idx) VALUES (?1, ?2, ?3)";
const MOVE_HEAD: &str = "UPDATE logs SET size = ?2, bytes = bytes + ?3, last_leaf = ?4, last_recorded_at = ?5, \
    named = max(named, coalesce(?6, 0)), keys = coalesce(?8, keys) WHERE number = ?1 AND size = ?7";
const INSERT_HASHES: &str = "INSERT INTO tree_hashes (log, level, first, hashes) VALUES (?1, ?2, ?3, ?4)";

/// A log in an SQLite file, for writing. Others may be writing to it at the same time.
pub struct SqliteWriter {
    reader: SqliteReader,
    /// This writer's name among the marks of bounded acknowledgements.
    name: String,
    state: Mutex<State>,
    free: Condvar,
    marked: Mutex<Option<Instant>>,
    _presence: Presence,
}

struct State {
    conn: Connection,
    /// The thread that has the turn. The connection is in its transaction.
    turn: Option<ThreadId>,
    /// The frontier of the stored tree, where it was needed before.
    frontier: Frontier,
    poisoned: Option<String>,
}

/// What became of a commit.
enum Committed {
    Yes,
    No,
    Unknown,
}

impl SqliteWriter {
    pub(crate) fn new(reader: SqliteReader, conn: Connection, name: String, presence: Presence) -> Self {
        Self {
            reader,
            name,
            state: Mutex::new(State { conn, turn: None, frontier: Frontier::new(), poisoned: None }),
            free: Condvar::new(),
            marked: Mutex::default(),
            _presence: presence,
        }
    }

    fn log(&self) -> i64 {
        self.reader.number
    }

    fn try_again(&self, why: String) -> StoreError {
        StoreError::TryAgain { place: self.reader.place(), why }
    }

    /// The connection, when no thread has its turn on it.
    fn idle(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let begun = Instant::now();
        let mut state = lock(&self.state);
        while let Some(holder) = state.turn {
            if holder == thread::current().id() || begun.elapsed() > PATIENCE {
                return Err(self.try_again("a turn that was taken in this process is not given back".to_owned()));
            }
            state = self.free.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state)
    }

    /// Runs a write of its own in a transaction.
    fn write<T>(
        &self,
        step: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = self.idle()?;
        self.reader.file.transaction(&state.conn, step, work)
    }

    fn failed(&self, step: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
        move |error| self.reader.file.failed(step, error)
    }

    /// Begins a turn on an idle connection. It locks the whole file, so the order of the logs in it does not matter.
    fn begin(&self, state: &mut State, logs: &[&Self]) -> Result<Vec<End>, TurnError> {
        if let Some(why) = &state.poisoned {
            return Err(StoreError::Poisoned { why: why.clone() }.into());
        }
        state.conn.execute_batch("BEGIN IMMEDIATE").map_err(self.failed("take a turn"))?;
        let end = |(at, log): (usize, &&Self)| {
            let head = Head::read(&state.conn, log.log()).map_err(log.failed("take a turn"));
            let head = head.and_then(|head| log.registered(head));
            head.map(|head| head.end).map_err(|error| TurnError { log: Some(at), error })
        };
        let ends: Result<Vec<End>, TurnError> = logs.iter().enumerate().map(end).collect();
        match &ends {
            Ok(_) => state.turn = Some(thread::current().id()),
            Err(_) => drop(state.conn.execute_batch("ROLLBACK")),
        }
        ends
    }

    fn registered(&self, head: Option<Head>) -> Result<Head, StoreError> {
        head.ok_or_else(|| self.reader.damaged("table `logs`", "the row of this log is missing".to_owned()))
    }

    /// Ends a turn, whatever became of it.
    fn end_turn(&self, state: &mut State) {
        if !state.conn.is_autocommit() {
            // A transaction that cannot be rolled back ends with its connection.
            drop(state.conn.execute_batch("ROLLBACK"));
        }
        state.turn = None;
        self.free.notify_all();
    }

    fn append_in_turn(&self, state: &mut State, logs: &[&Self], batches: &[&Batch]) -> Result<(), TurnError> {
        for (at, (log, batch)) in logs.iter().zip(batches).enumerate() {
            log.insert(&state.conn, batch).map_err(|error| TurnError { log: Some(at), error })?;
        }
        let Err(error) = state.conn.execute_batch("COMMIT") else { return Ok(()) };
        let full = code(&error) == Some(ErrorCode::DiskFull);
        let text = error.to_string();
        self.end_turn(state);
        match committed(state, logs, batches) {
            Committed::Yes => Ok(()),
            // A sync that failed may still leave the batches for whoever opens the file after a crash.
            Committed::No if full || code(&error) == Some(ErrorCode::DatabaseBusy) => Err(self.try_again(text).into()),
            Committed::No | Committed::Unknown => {
                state.poisoned = Some(text);
                Err(self.failed("commit entries")(error).into())
            }
        }
    }

    /// Asks the database whether a batch is there.
    fn committed(&self, state: &State, batch: &Batch) -> Committed {
        let Some((last, index)) = batch.entries.last().zip((batch.first + batch.entries.len() as u64).checked_sub(1))
        else {
            return Committed::Yes;
        };
        if !state.conn.is_autocommit() {
            // Still in the transaction that should have ended: what it sees proves nothing.
            return Committed::Unknown;
        }
        let found: rusqlite::Result<i64> = state.conn.query_row(
            "SELECT count(*) FROM signed_audit_log WHERE log = ?1 AND idx = ?2 AND mac = ?3",
            params![self.log(), signed(index), last.mac],
            |row| row.get(0),
        );
        match found {
            Ok(0) => Committed::No,
            Ok(_) => Committed::Yes,
            Err(_) => Committed::Unknown,
        }
    }

    fn insert(&self, conn: &Connection, batch: &Batch) -> Result<(), StoreError> {
        let Some(last) = batch.entries.last() else { return Ok(()) };
        self.insert_rows(conn, batch).map_err(|error| match code(&error) {
            Some(ErrorCode::DiskFull) => self.try_again(error.to_string()),
            Some(ErrorCode::ConstraintViolation) => StoreError::Evidence {
                index: batch.first,
                detail: format!("rows stand where the next entries go, and no append wrote them ({error})"),
            },
            _ => self.failed("insert entries")(error),
        })?;
        let size = batch.first + batch.entries.len() as u64;
        let bytes: usize = batch.entries.iter().map(|entry| entry.line.len()).sum();
        let moved = conn.prepare_cached(MOVE_HEAD).and_then(|mut statement| {
            statement.execute(params![
                self.log(),
                signed(size),
                signed(bytes as u64),
                last.leaf.0,
                last.recorded_at.0,
                batch.names.map(signed),
                signed(batch.first),
                batch.keys.map(signed),
            ])
        });
        match moved.map_err(self.failed("move the head"))? {
            1 => Ok(()),
            _ => {
                let detail = format!("the batch begins with entry {}", batch.first);
                let size = Head::read(conn, self.log()).map_err(self.failed("read the head"))?;
                Err(StoreError::Evidence { index: size.map_or(0, |head| head.end.size.0), detail })
            }
        }
    }

    fn insert_rows(&self, conn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
        let mut insert = conn.prepare_cached(INSERT)?;
        let mut insert_id = conn.prepare_cached(INSERT_ID)?;
        let log = self.log();
        for (index, entry) in (batch.first..).map(signed).zip(&batch.entries) {
            let bytes = batch.bytes.get(entry.entry.clone()).unwrap_or_default();
            insert.execute(params![log, index, signed(entry.batch), entry.recorded_at.0, bytes, entry.mac])?;
        }
        let ids = (batch.first..).map(signed).zip(&batch.entries).filter_map(|(index, entry)| Some((entry.id?, index)));
        let mut ids: Vec<(Fingerprint, i64)> = ids.collect();
        // In the order of their keys: each page of the table is visited once, not once for each row.
        ids.sort_unstable();
        for (id, index) in ids {
            insert_id.execute(params![log, id.0, index])?;
        }
        Ok(())
    }

    /// Inserts the hashes of one level that follow what is stored, never across a multiple of 256 so that a tile is few rows.
    fn insert_hashes(conn: &Connection, log: i64, level: u8, first: u64, hashes: &[Hash]) -> rusqlite::Result<()> {
        let mut insert = conn.prepare_cached(INSERT_HASHES)?;
        let (mut first, mut rest) = (first, hashes);
        while !rest.is_empty() {
            let room = usize::try_from(tile::WIDTH - first % tile::WIDTH).unwrap_or(1);
            let (run, after) = rest.split_at(room.min(rest.len()));
            let bytes: Vec<u8> = run.iter().flat_map(|hash| hash.0).collect();
            insert.execute(params![log, level, signed(first), bytes])?;
            first += run.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

/// What became of the batches of one transaction: all are there, or none, or nobody can tell.
fn committed(state: &State, logs: &[&SqliteWriter], batches: &[&Batch]) -> Committed {
    let written = logs.iter().zip(batches).filter(|(_, batch)| !batch.entries.is_empty());
    let (mut there, mut missing) = (false, false);
    for (log, batch) in written {
        match log.committed(state, batch) {
            Committed::Yes => there = true,
            Committed::No => missing = true,
            Committed::Unknown => return Committed::Unknown,
        }
    }
    match (there, missing) {
        (_, false) => Committed::Yes,
        (false, true) => Committed::No,
        (true, true) => Committed::Unknown,
    }
}

/// The turns of logs in one file: a transaction on the connection of the first.
struct Turns<'a> {
    first: &'a SqliteWriter,
    /// All of them.
    logs: Vec<&'a SqliteWriter>,
    ends: Vec<End>,
}

impl Turn for Turns<'_> {
    fn ends(&self) -> &[End] {
        &self.ends
    }

    fn lookup(&mut self, ids: &[(usize, Fingerprint)]) -> Result<Vec<Vec<LeafIndex>>, TurnError> {
        let state = lock(&self.first.state);
        let mut found = Vec::with_capacity(ids.len());
        for (at, id) in ids {
            let Some(log) = self.logs.get(*at) else { continue };
            found.push(reader::lookup(&state.conn, log.log(), *id).map_err(self.first.failed("look ids up"))?);
        }
        Ok(found)
    }

    fn read(&mut self, log: usize, from: LeafIndex, max_bytes: usize) -> Result<Chunk, TurnError> {
        Ok(self.logs.get(log).copied().unwrap_or(self.first).reader.read(from, max_bytes)?)
    }

    fn kept(&mut self, log: usize, number: u64) -> Result<Option<Vec<u8>>, TurnError> {
        Ok(self.logs.get(log).copied().unwrap_or(self.first).reader.kept(number)?)
    }

    fn append(self: Box<Self>, batches: &[&Batch]) -> Result<(), TurnError> {
        let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        if bytes > MAX_BATCH_BYTES {
            let (bytes, limit) = (bytes as u64, MAX_BATCH_BYTES as u64);
            return Err(StoreError::Limit { what: "a batch", bytes, limit }.into());
        }
        if batches.iter().all(|batch| batch.entries.is_empty()) {
            return Ok(());
        }
        let mut state = lock(&self.first.state);
        self.first.append_in_turn(&mut state, &self.logs, batches)
    }
}

impl Drop for Turns<'_> {
    /// What was not committed is rolled back. A turn that ended already may be another thread's by now.
    fn drop(&mut self) {
        let mut state = lock(&self.first.state);
        if state.turn == Some(thread::current().id()) {
            self.first.end_turn(&mut state);
        }
    }
}

/// Adds leaves to a frontier and stores them with the levels above, behind `frontier`'s size.
pub(crate) fn store_leaves(
    conn: &Connection,
    log: i64,
    frontier: &mut Frontier,
    leaves: &[Hash],
) -> rusqlite::Result<()> {
    let size = frontier.size();
    let mut above: Vec<Vec<Hash>> = Vec::new();
    for leaf in leaves {
        frontier.push_with(*leaf, &mut |level, hash| {
            let slot = usize::from(level).saturating_sub(1);
            if above.len() <= slot {
                above.resize_with(slot + 1, Vec::new);
            }
            if let Some(hashes) = above.get_mut(slot) {
                hashes.push(hash);
            }
        });
    }
    SqliteWriter::insert_hashes(conn, log, 0, size.0, leaves)?;
    for (level, hashes) in (1..).zip(&above) {
        SqliteWriter::insert_hashes(conn, log, level, tile::level_len(size, level), hashes)?;
    }
    Ok(())
}

/// The size that a checkpoint is of; `None` for a text that is none.
fn size_of(checkpoint: &[u8]) -> Option<i64> {
    let note = Note::parse(checkpoint).ok()?;
    Checkpoint::parse(note.text()).ok().map(|checkpoint| signed(checkpoint.head.size.0))
}

impl ReadsThrough for SqliteWriter {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }
}

impl Writer for SqliteWriter {
    fn shared(&self) -> bool {
        true
    }

    fn take_turn<'a>(&'a self, others: &[&'a (dyn Writer + 'static)]) -> Result<Box<dyn Turn + 'a>, TurnError> {
        let mut logs = vec![self];
        for (other, at) in others.iter().zip(1..) {
            let beside = (*other as &dyn Any).downcast_ref::<Self>();
            let beside = beside.filter(|other| self.reader.file.is_same(&other.reader.file));
            let apart = || StoreError::Apart { origin: other.info().origin.clone() };
            logs.push(beside.ok_or_else(|| TurnError { log: Some(at), error: apart() })?);
        }
        let mut state = self.idle()?;
        let ends = self.begin(&mut state, &logs)?;
        drop(state);
        Ok(Box::new(Turns { first: self, logs, ends }))
    }

    fn append(&self, batch: &Batch) -> Result<Appended, StoreError> {
        let appended = self.take_turn(&[]).and_then(|turn| turn.append(&[batch]));
        appended.map(|()| Appended::default()).map_err(|error| error.error)
    }

    fn extend_tree(&self, leaves: &[Hash], lines: &Chunk) -> Result<(), StoreError> {
        let step = "extend the tree";
        let mut state = self.idle()?;
        let State { conn, frontier: known, poisoned, .. } = &mut *state;
        // Whatever is committed next, by anybody, makes this durable too: no sync of its own.
        conn.execute_batch("PRAGMA synchronous = NORMAL").map_err(self.failed(step))?;
        let extended = self.reader.file.transaction(conn, step, |conn| {
            let stored = reader::tree_size(conn, self.log()).map_err(self.failed(step))?;
            if stored != lines.first {
                return Err(self.try_again(format!("another process extended the tree to {stored} leaves meanwhile")));
            }
            let mut frontier = match known.size().0 == stored {
                true => known.clone(),
                false => tile::frontier_at(&StoredTree(&self.reader), TreeSize(stored))?,
            };
            store_leaves(conn, self.log(), &mut frontier, leaves).map_err(self.failed(step))?;
            *known = frontier;
            Ok(())
        });
        if let Err(error) = conn.execute_batch("PRAGMA synchronous = FULL") {
            // Nothing may be acknowledged by a connection that does not sync.
            *poisoned = Some(error.to_string());
            return Err(self.failed(step)(error));
        }
        extended
    }

    /// A commit that changes nothing and is synced, and with it all before it.
    fn sync_tree(&self) -> Result<(), StoreError> {
        let step = "sync the tree";
        self.write(step, |conn| {
            let sql = "UPDATE logs SET named = named WHERE number = ?1";
            conn.prepare_cached(sql).and_then(|mut touch| touch.execute([self.log()])).map_err(self.failed(step))?;
            Ok(())
        })
    }

    fn publish(&self, checkpoint: &[u8], keep: Option<u64>) -> Result<(), StoreError> {
        let step = "publish a checkpoint";
        self.write(step, |conn| {
            if let Some(number) = keep {
                self.keep(conn, checkpoint, number)?;
            }
            let size = size_of(checkpoint);
            let mut statement = conn
                .prepare_cached(
                    "UPDATE logs SET checkpoint = ?2, checkpoint_size = ?3 WHERE number = ?1 \
                        AND (?3 IS NULL OR checkpoint_size IS NULL OR checkpoint_size <= ?3)",
                )
                .map_err(self.failed(step))?;
            statement.execute(params![self.log(), checkpoint, size]).map_err(self.failed(step))?;
            Ok(())
        })
    }

    fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], StoreError> {
        if content.len() as u64 > MAX_ATTACHMENT_BYTES {
            let (bytes, limit) = (content.len() as u64, MAX_ATTACHMENT_BYTES);
            return Err(StoreError::Limit { what: "an attachment", bytes, limit });
        }
        let digest: [u8; 32] = Sha256::digest(content).into();
        let step = "store an attachment";
        if let Some(there) = self.attachment(&digest)? {
            if there == content {
                return Ok(digest);
            }
            let detail = "an attachment in it is not what it was: `indelible verify --strict` names the entries that it belongs to; put it into another file";
            return Err(self.reader.file.unfit(detail));
        }
        self.write(step, |conn| {
            let insert = || -> rusqlite::Result<()> {
                let size = signed(content.len() as u64);
                // Another process may have been faster: its content has the same digest.
                let new = conn.execute(
                    "INSERT INTO attachments (digest, size) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM attachments WHERE digest = ?1)",
                    params![digest, size],
                )?;
                for (part, content) in (0_i64..).zip(content.chunks(PART)).take(if new == 0 { 0 } else { usize::MAX }) {
                    conn.execute(
                        "INSERT INTO attachment_parts (digest, part, content) VALUES (?1, ?2, ?3)",
                        params![digest, part, content],
                    )?;
                }
                Ok(())
            };
            insert().map_err(self.failed(step))
        })?;
        Ok(digest)
    }

    fn mark_bounded(&self) -> Result<(), StoreError> {
        let mut marked = lock(&self.marked);
        if marked.is_some_and(|at| at.elapsed() < RENEW) {
            return Ok(());
        }
        let at = Instant::now();
        let step = "mark bounded acknowledgements";
        self.write(step, |conn| {
            let sql = "INSERT INTO bounded_marks (log, writer, until) VALUES (?1, ?2, ?3) \
                ON CONFLICT (log, writer) DO UPDATE SET until = excluded.until";
            conn.execute(sql, params![self.log(), self.name, mark_until()]).map_err(self.failed(step))
        })?;
        *marked = Some(at);
        Ok(())
    }

    fn tend(&self, _anchored: TreeSize) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut marked = lock(&self.marked);
        let step = "end";
        self.write(step, |conn| {
            let sql = "DELETE FROM bounded_marks WHERE log = ?1 AND writer = ?2";
            conn.execute(sql, params![self.log(), self.name]).map_err(self.failed(step))
        })?;
        *marked = None;
        Ok(())
    }
}

/// When a mark that is made now runs out.
pub(crate) fn mark_until() -> i64 {
    now().saturating_add(i64::try_from(MARK.as_micros()).unwrap_or(i64::MAX))
}

impl SqliteWriter {
    fn keep(&self, conn: &Connection, checkpoint: &[u8], number: u64) -> Result<(), StoreError> {
        let step = "keep a checkpoint";
        let insert = || -> rusqlite::Result<bool> {
            conn.execute(
                "INSERT INTO checkpoints (log, number, note) SELECT ?1, ?2, ?3 \
                    WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE log = ?1 AND number = ?2)",
                params![self.log(), signed(number), checkpoint],
            )?;
            conn.query_row(
                "SELECT note = ?3 FROM checkpoints WHERE log = ?1 AND number = ?2",
                params![self.log(), signed(number), checkpoint],
                |row| row.get(0),
            )
        };
        if insert().map_err(self.failed(step))? {
            return Ok(());
        }
        let detail = format!("another checkpoint is kept under number {number} already");
        Err(StoreError::Contradiction { place: self.reader.place(), detail })
    }
}

/// Takes over the marks that other writers left. Whether there are any is whether bounded events may be missing. They stay until a clean end.
pub(crate) fn adopt_marks(conn: &Connection, log: i64, name: &str, left: &[String]) -> rusqlite::Result<bool> {
    let mut gone = 0;
    for writer in left {
        gone += conn.execute("DELETE FROM bounded_marks WHERE log = ?1 AND writer = ?2", params![log, writer])?;
    }
    if gone > 0 {
        let sql = "INSERT INTO bounded_marks (log, writer, until) VALUES (?1, ?2, ?3)";
        conn.execute(sql, params![log, name, mark_until()])?;
    }
    Ok(gone > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::LINE_FRAME;

    #[test]
    fn the_frame_of_a_line_is_as_long_as_it_is_said_to_be() {
        let mut scribe = indelible_store::conformance::Scribe::default();
        let batch = scribe.batch(&[100]);
        let entry = batch.entries.first().unwrap();
        assert_eq!(entry.line.len() as u64, LINE_FRAME + 64 + 1 + entry.entry.len() as u64);
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_is_half_there() {
        use std::sync::Arc;

        use indelible_store::{
            conformance::{Scribe, info},
            driver::Driver as _,
        };

        use crate::{
            SqliteDriver,
            file::{Access, File},
        };

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        drop(SqliteDriver::new(&path, None).create(&info()).unwrap());
        let file = Arc::new(File::new(&path));
        let conn = file.connect(Access::Write).unwrap();
        // SQLite's own limit stands for the disk's.
        let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        conn.query_row("PRAGMA max_page_count", [], |row| row.get::<_, i64>(0)).unwrap();
        conn.pragma_update_and_check(None, "max_page_count", pages + 3, |_| Ok(())).unwrap();
        let (presence, _) = Presence::arrive(&file.beside("-writers")).unwrap();
        let reader = SqliteReader::new(file, 1, info());
        let writer = SqliteWriter::new(reader, conn, "name".to_owned(), presence);
        let mut scribe = Scribe::default();
        writer.append(&scribe.batch(&[20])).unwrap();
        let error = writer.append(&scribe.clone().batch(&[60_000; 50])).unwrap_err();
        assert!(matches!(&error, StoreError::TryAgain { why, .. } if why.contains("full")), "{error}");
        assert_eq!(writer.size().unwrap(), TreeSize(1));
        // The log goes on where there is room.
        writer.append(&scribe.batch(&[20])).unwrap();
        assert_eq!(writer.size().unwrap(), TreeSize(2));
    }

    #[test]
    fn only_checkpoints_have_a_size() {
        assert_eq!(size_of(b"text"), None);
        assert_eq!(size_of("example.com/a\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".as_bytes()), None);
    }
}
