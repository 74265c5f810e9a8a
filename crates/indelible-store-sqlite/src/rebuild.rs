//! Writing anew what derives from the entries: the log's row, tree and ids, and the schema with its triggers.
//!
//! One transaction: the triggers go, the work is done, the triggers come back; nobody ever sees the tables without them. What is no entry of
//! the log but stands among them is moved to the table `aside`.

use indelible_core::{
    control::Control,
    entry::{BodyKind, EntryRef},
    tree::{Frontier, Hash, TreeHead, leaf_hash},
};
use indelible_store::store::{Fingerprint, LogInfo, StoreError};
use rusqlite::{Connection, params};

use crate::{
    file::{Access, File},
    rows::{LINE_FRAME, blob, entry_column, integer, now, signed},
    schema::{self, Object},
    writer::store_leaves,
};

/// Rows that are read at a time.
const WINDOW: i64 = 4096;

/// What rebuilding can fail of.
enum Failed {
    Sql(rusqlite::Error),
    Evidence(u64, String),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(crate) fn rebuild(file: &File, number: i64, info: &LogInfo, head: &TreeHead, kept: u64) -> Result<(), StoreError> {
    let step = "rebuild what derives from the entries";
    let conn = file.connect(Access::Write)?;
    // Tables are made anew under their names: references to them stay as they are written.
    conn.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; PRAGMA recursive_triggers = OFF")
        .map_err(|error| file.failed(step, error))?;
    file.transaction(&conn, step, |conn| {
        let work = || -> Result<(), Failed> {
            let expected = schema::expected(schema::VERSION)?;
            take_guards_away(conn, &expected)?;
            restore_tables(conn)?;
            // A file of an older schema is whole only then.
            schema::apply(conn)?;
            let rebuilt = Walk::over(conn, number, head)?;
            move_strays(conn, number, &rebuilt, kept)?;
            restore_row(conn, number, info, &rebuilt)?;
            let there = schema::triggers(conn)?;
            for trigger in expected.iter().filter(|object| object.kind == "trigger" && !there.contains(&object.name)) {
                conn.execute_batch(trigger.sql.as_deref().unwrap_or_default())?;
            }
            Ok(())
        };
        work().map_err(|failed| match failed {
            Failed::Sql(error) => file.failed(step, error),
            Failed::Evidence(index, detail) => StoreError::Evidence { index, detail },
        })
    })
}

/// Drops all triggers on our tables, and what does not belong.
fn take_guards_away(conn: &Connection, expected: &[Object]) -> rusqlite::Result<()> {
    let tables: Vec<&str> = expected.iter().filter(|o| o.kind == "table").map(|o| o.name.as_str()).collect();
    let mut statement = conn.prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'")?;
    let triggers: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (name, table) in triggers {
        let ours = tables.iter().any(|known| known.eq_ignore_ascii_case(&table));
        if ours || expected.iter().any(|object| object.name == name) {
            conn.execute_batch(&format!("DROP TRIGGER {}", quoted(&name)))?;
        }
    }
    for object in schema::differences(conn)?.strange {
        let kind = match object.kind.as_str() {
            "index" => "INDEX",
            "trigger" => "TRIGGER",
            _ => continue,
        };
        conn.execute_batch(&format!("DROP {kind} {}", quoted(&object.name)))?;
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes tables that are missing, and those that were altered anew, with their rows.
fn restore_tables(conn: &Connection) -> rusqlite::Result<()> {
    let differences = schema::differences(conn)?;
    let is_table = |object: &&Object| object.kind == "table";
    for table in differences.missing.iter().filter(is_table) {
        conn.execute_batch(table.sql.as_deref().unwrap_or_default())?;
    }
    for table in differences.changed.iter().filter(is_table) {
        let name = &table.name;
        conn.execute_batch(&format!("ALTER TABLE {name} RENAME TO {name}_altered"))?;
        conn.execute_batch(table.sql.as_deref().unwrap_or_default())?;
        let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let columns: Vec<String> = statement.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let columns = columns.join(", ");
        conn.execute_batch(&format!(
            "INSERT INTO {name} ({columns}) SELECT {columns} FROM {name}_altered; DROP TABLE {name}_altered"
        ))?;
    }
    Ok(())
}

/// A walk over the entries in order, up to the first row that does not continue the chain.
struct Walk<'a> {
    conn: &'a Connection,
    log: i64,
    head: &'a TreeHead,
    /// Entries so far.
    size: u64,
    bytes: u64,
    last_leaf: Hash,
    last_time: Option<i64>,
    named: u64,
    /// Index of the newest entry that says what the log's keys are.
    keys: u64,
    tree: Frontier,
    leaves: Vec<Hash>,
    /// Rows whose index or time is not that of their entry: index, the right index, the right time.
    wrong: Vec<(i64, i64, i64)>,
    ids: Vec<(Fingerprint, i64)>,
    /// The index of the first row that is none of the log's entries.
    stray: Option<i64>,
}

impl<'a> Walk<'a> {
    fn over(conn: &'a Connection, log: i64, head: &'a TreeHead) -> Result<Self, Failed> {
        conn.execute("DELETE FROM tree_hashes WHERE log = ?1", [log])?;
        conn.execute("DELETE FROM ids WHERE log = ?1", [log])?;
        let mut walk = Self {
            conn,
            log,
            head,
            size: 0,
            bytes: 0,
            last_leaf: leaf_hash(b""),
            last_time: None,
            named: 0,
            keys: 0,
            tree: Frontier::new(),
            leaves: Vec::new(),
            wrong: Vec::new(),
            ids: Vec::new(),
            stray: None,
        };
        let mut from = Some(i64::MIN);
        while let Some(at) = from {
            from = walk.window(at)?;
            walk.write()?;
        }
        if walk.tree.head() != *head {
            let detail = format!("the {} entries that can be read do not give the head of {}", walk.size, head.size);
            return Err(Failed::Evidence(walk.tree.size().0, detail));
        }
        Ok(walk)
    }

    /// Reads rows from `from` on. Returns where the next begin.
    fn window(&mut self, from: i64) -> rusqlite::Result<Option<i64>> {
        let mut statement = self.conn.prepare_cached(concat!(
            "SELECT idx, recorded_at, batch, ",
            entry_column!(),
            " FROM signed_audit_log WHERE log = ?1 AND idx >= ?2 ORDER BY idx LIMIT ?3"
        ))?;
        let mut rows = statement.query(params![self.log, from, WINDOW])?;
        let mut next = None;
        while let Some(row) = rows.next()? {
            let index = integer(row, 0);
            if !self.take(index, integer(row, 1), integer(row, 2), blob(row, 3)) {
                self.stray = Some(index);
                return Ok(None);
            }
            next = index.checked_add(1);
        }
        Ok(next)
    }

    /// Takes an entry, if it is the next.
    fn take(&mut self, index: i64, time: i64, batch: i64, bytes: &[u8]) -> bool {
        let Ok(entry) = EntryRef::parse(bytes) else { return false };
        if entry.index.0 != self.size || entry.prev != self.last_leaf {
            return false;
        }
        let (own, recorded) = (signed(self.size), entry.recorded().map_or(time, |time| time.0));
        if (index, time) != (own, recorded) {
            self.wrong.push((index, own, recorded));
        }
        self.ids.extend(entry.event_id().map(|id| (Fingerprint::of(id), own)));
        self.named = entry.head.map_or(self.named, |head| head.number);
        if entry.kind == BodyKind::Control && matches!(Control::parse(entry.body), Ok(Control::Keys(_))) {
            self.keys = entry.index.0;
        }
        self.last_leaf = leaf_hash(bytes);
        self.last_time = Some(recorded);
        self.bytes += LINE_FRAME + 64 + batch.to_string().len() as u64 + bytes.len() as u64;
        if self.size < self.head.size.0 {
            self.leaves.push(self.last_leaf);
        }
        self.size += 1;
        true
    }

    /// Writes what a window gave.
    fn write(&mut self) -> rusqlite::Result<()> {
        store_leaves(self.conn, self.log, &mut self.tree, &std::mem::take(&mut self.leaves))?;
        let mut insert = self.conn.prepare_cached("INSERT INTO ids (log, fingerprint, idx) VALUES (?1, ?2, ?3)")?;
        for (id, index) in self.ids.drain(..) {
            insert.execute(params![self.log, id.0, index])?;
        }
        // In order, so that the place is free: what stood there before moved first.
        let mut update = self
            .conn
            .prepare_cached("UPDATE signed_audit_log SET idx = ?3, recorded_at = ?4 WHERE log = ?1 AND idx = ?2")?;
        for (index, own, time) in self.wrong.drain(..) {
            update.execute(params![self.log, index, own, time])?;
        }
        Ok(())
    }
}

/// Moves rows that are no entries, and checkpoints that were never kept, aside.
fn move_strays(conn: &Connection, log: i64, rebuilt: &Walk<'_>, kept: u64) -> rusqlite::Result<()> {
    if let Some(stray) = rebuilt.stray {
        conn.execute(
            "INSERT INTO aside (log, moved, source, content) SELECT log, ?3, format('signed_audit_log %d batch %d recorded_at %d mac %s', \
                idx, batch, recorded_at, hex(mac)), entry FROM signed_audit_log WHERE log = ?1 AND idx >= ?2",
            params![log, stray, now()],
        )?;
        conn.execute("DELETE FROM signed_audit_log WHERE log = ?1 AND idx >= ?2", params![log, stray])?;
    }
    let strange = "log = ?1 AND number NOT BETWEEN 1 AND ?2";
    conn.execute(
        &format!(
            "INSERT INTO aside (log, moved, source, content) \
                SELECT log, ?3, format('checkpoints %d', number), note FROM checkpoints WHERE {strange}"
        ),
        params![log, signed(kept), now()],
    )?;
    conn.execute(&format!("DELETE FROM checkpoints WHERE {strange}"), params![log, signed(kept)])?;
    Ok(())
}

fn restore_row(conn: &Connection, log: i64, info: &LogInfo, rebuilt: &Walk<'_>) -> rusqlite::Result<()> {
    let created = now();
    conn.execute(
        "INSERT INTO logs (number, origin, log_id, format, created, size, bytes, last_leaf, last_recorded_at, named, keys) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
            ON CONFLICT (number) DO UPDATE SET origin = excluded.origin, log_id = excluded.log_id, format = excluded.format, \
                size = excluded.size, bytes = excluded.bytes, last_leaf = excluded.last_leaf, \
                last_recorded_at = excluded.last_recorded_at, named = excluded.named, keys = excluded.keys",
        params![
            log,
            info.origin,
            info.log_id.0,
            info.format,
            created,
            signed(rebuilt.size),
            signed(rebuilt.bytes),
            rebuilt.last_leaf.0,
            rebuilt.last_time,
            signed(rebuilt.named),
            signed(rebuilt.keys)
        ],
    )?;
    Ok(())
}
