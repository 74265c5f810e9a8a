//! The same events in an SQL table that refuses UPDATE and DELETE by triggers, and what a superuser makes of that.

use anyhow::Context as _;
use rusqlite::{Connection, params};

use super::stage::Stage;

const CREATE: &str = "CREATE TABLE audit (id INTEGER PRIMARY KEY, event TEXT NOT NULL)";
const NO_UPDATE: &str = "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END";
const NO_DELETE: &str = "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END";
const BLAME: &str = "UPDATE audit SET event = replace(event, 'tomas.lindqvist', 'ellen.whitcombe') WHERE id = ?1";

/// What happened to the table.
pub(super) struct Table {
    /// The trigger does what it is there for.
    pub(super) update_refused: bool,
    /// What `PRAGMA integrity_check` says after the superuser was there.
    pub(super) integrity: String,
    /// Rows that the superuser changed.
    changed: usize,
    /// Rows afterwards.
    pub(super) rows: i64,
    /// Whether rows and schema are, by number and text, what they were before.
    looks_the_same: bool,
}

impl Table {
    /// Whether a row was changed and nothing shows it.
    pub(super) fn is_silent(&self) -> bool {
        self.changed == 1 && self.integrity == "ok" && self.looks_the_same
    }
}

/// Fills a table, and changes one of the thief's exports in it.
pub(super) fn play(stage: &Stage) -> anyhow::Result<Table> {
    let mut db = Connection::open(stage.dir.join("table.sqlite"))?;
    // Its durability is not the point here.
    db.pragma_update(None, "synchronous", "OFF")?;
    for statement in [CREATE, NO_UPDATE, NO_DELETE] {
        db.execute(statement, [])?;
    }
    let filled = db.transaction()?;
    for (n, event) in (1_i64..).zip(&stage.events) {
        filled.execute("INSERT INTO audit VALUES (?1, ?2)", params![n, std::str::from_utf8(event)?])?;
    }
    filled.commit()?;
    let before = looks(&db)?;
    let row: i64 = db
        .query_row("SELECT id FROM audit WHERE event LIKE ?1", [format!("%{}%", stage.export.id)], |row| row.get(0))
        .context("the export is not in the table")?;
    let update_refused = db.execute(BLAME, [row]).is_err();
    // From here on with the rights of a superuser: the owner of the table, an administrator, whoever can write the file.
    db.execute("DROP TRIGGER audit_no_update", [])?;
    let changed = db.execute(BLAME, [row])?;
    db.execute(NO_UPDATE, [])?;
    let integrity = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let after = looks(&db)?;
    Ok(Table { update_refused, integrity, changed, rows: after.0, looks_the_same: before == after })
}

/// Number of rows, and the schema's text.
fn looks(db: &Connection) -> rusqlite::Result<(i64, String)> {
    let rows = db.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?;
    let schema = "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_master ORDER BY name)";
    Ok((rows, db.query_row(schema, [], |row| row.get(0))?))
}
