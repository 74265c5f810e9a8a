//! Tables and triggers, and how a file is compared with them.
//!
//! INVARIANT(insert-only): every table but `logs` and `bounded_marks` is only ever inserted into. Three triggers each hold that: no UPDATE, no
//! DELETE, and no INSERT over a key that is there, because `INSERT OR REPLACE` passes by DELETE triggers where `recursive_triggers` is off.
//! INVARIANT(head-row): the row of a log in `logs` only moves forward, and only to where its entries are.
//!
//! What was changed is found by comparing `sqlite_schema` with that of a fresh database, text by text.

use std::collections::BTreeMap;

use rusqlite::Connection;

/// `INDL`: what `file` and others know the file by.
pub const APPLICATION_ID: i32 = 0x494E_444C;

/// The newest schema that is known here.
pub const VERSION: i64 = 2;

/// A step from one schema version to the next. There is no way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The version that it leads to.
    pub version: i64,
    /// What it does.
    pub title: &'static str,
    /// How.
    pub sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: [Migration; 2] = [
    Migration { version: 1, title: "tables and triggers", sql: FIRST },
    Migration { version: 2, title: "where the log says what its keys are", sql: KEYS },
];

const FIRST: &str = include_str!("schema/0001.sql");
const KEYS: &str = include_str!("schema/0002.sql");

/// A table, trigger or index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) sql: Option<String>,
}

/// How a schema differs from what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    pub(crate) missing: Vec<Object>,
    pub(crate) changed: Vec<Object>,
    pub(crate) strange: Vec<Object>,
}

impl Differences {
    /// Each difference as a text.
    pub(crate) fn texts(&self) -> Vec<String> {
        let say = |objects: &[Object], what: &str| {
            objects.iter().map(|o| format!("{} `{}` {what}", o.kind, o.name)).collect()
        };
        let parts: [Vec<String>; 3] = [
            say(&self.missing, "is missing"),
            say(&self.changed, "was changed"),
            say(&self.strange, "does not belong here"),
        ];
        parts.concat()
    }
}

/// The version of a file's schema.
pub(crate) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings an empty or older schema to [`VERSION`], inside the caller's transaction.
pub(crate) fn apply(conn: &Connection) -> rusqlite::Result<()> {
    apply_until(conn, VERSION)
}

fn apply_until(conn: &Connection, until: i64) -> rusqlite::Result<()> {
    for migration in pending(version(conn)?).take_while(|migration| migration.version <= until) {
        conn.execute_batch(migration.sql)?;
        conn.pragma_update(None, "user_version", migration.version)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)
}

/// The steps behind `version`.
pub(crate) fn pending(version: i64) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(move |migration| migration.version > version)
}

/// What a fresh database of a schema version has; of the newest one, where there is no such version.
pub(crate) fn expected(version: i64) -> rusqlite::Result<Vec<Object>> {
    let fresh = Connection::open_in_memory()?;
    apply_until(&fresh, if (1..=VERSION).contains(&version) { version } else { VERSION })?;
    objects(&fresh)
}

/// The names of all triggers.
pub(crate) fn triggers(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let objects = objects(conn)?.into_iter().filter(|object| object.kind == "trigger");
    Ok(objects.map(|object| object.name).collect())
}

fn objects(conn: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")?;
    let rows = statement.query_map([], |row| {
        Ok(Object { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    })?;
    rows.collect()
}

/// Compares a file's schema with what it should be. Other tables than ours are let be: they cannot touch ours.
pub(crate) fn differences(conn: &Connection) -> rusqlite::Result<Differences> {
    let expected = expected(version(conn)?)?;
    let tables: Vec<&str> = expected.iter().filter(|o| o.kind == "table").map(|o| o.name.as_str()).collect();
    let mut found: BTreeMap<(String, String), Object> =
        objects(conn)?.into_iter().map(|object| ((object.kind.clone(), object.name.clone()), object)).collect();
    let mut differences = Differences::default();
    for object in &expected {
        match found.remove(&(object.kind.clone(), object.name.clone())) {
            Some(there) if &there == object => {}
            Some(_) => differences.changed.push(object.clone()),
            None => differences.missing.push(object.clone()),
        }
    }
    let strange = found.into_values().filter(|object| {
        let ours = tables.iter().any(|table| table.eq_ignore_ascii_case(&object.table));
        (object.kind == "trigger" || ours) && !object.name.starts_with("sqlite_")
    });
    differences.strange.extend(strange);
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        apply(&conn).unwrap();
        conn
    }

    #[test]
    fn every_insert_only_table_has_its_triggers() {
        let objects = expected(VERSION).unwrap();
        let names: Vec<&str> = objects.iter().map(|o| o.name.as_str()).collect();
        for table in objects.iter().filter(|o| o.kind == "table" && o.name != "bounded_marks") {
            let guards = objects.iter().filter(|o| o.kind == "trigger" && o.table == table.name).count();
            let expected = match table.name.as_str() {
                // All columns are its key: there is nothing to replace.
                "ids" => 2,
                // What says where the keys are moves forward too.
                "logs" => 4,
                _ => 3,
            };
            assert_eq!(guards, expected, "{names:?}");
        }
    }

    #[test]
    fn what_was_changed_is_told() {
        let conn = fresh();
        assert_eq!(differences(&conn).unwrap(), Differences::default());
        conn.execute_batch(
            "CREATE TABLE other (a); DROP TRIGGER ids_no_update; DROP TRIGGER ids_no_delete;
             CREATE TRIGGER ids_no_delete BEFORE DELETE ON ids WHEN 0 BEGIN SELECT 1; END;
             CREATE TRIGGER other_insert AFTER INSERT ON other BEGIN SELECT 1; END;
             CREATE INDEX fast ON signed_audit_log (recorded_at); ALTER TABLE aside ADD COLUMN more TEXT;",
        )
        .unwrap();
        let texts = differences(&conn).unwrap().texts();
        assert_eq!(
            texts,
            [
                "trigger `ids_no_update` is missing",
                "table `aside` was changed",
                "trigger `ids_no_delete` was changed",
                "index `fast` does not belong here",
                "trigger `other_insert` does not belong here",
            ]
        );
    }
}
