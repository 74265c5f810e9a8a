//! What was recorded cannot be changed or removed by SQL; and where the guards were taken away, that is told.

use indelible_core::tree::TreeSize;
use indelible_store::{
    conformance::info,
    store::{Scanned, StoreError, Summed},
};
use rusqlite::{Connection, types::Value};

use crate::world::{World, text};

/// Tables that are only inserted into, with their keys.
const INSERT_ONLY: [(&str, &[&str]); 7] = [
    ("signed_audit_log", &["log", "idx"]),
    ("ids", &["log", "fingerprint", "idx"]),
    ("tree_hashes", &["log", "level", "first"]),
    ("checkpoints", &["log", "number"]),
    ("attachments", &["digest"]),
    ("attachment_parts", &["digest", "part"]),
    ("aside", &["number"]),
];

fn columns(conn: &Connection, table: &str) -> Vec<String> {
    of_columns(conn, table, "name")
}

fn of_columns(conn: &Connection, table: &str, what: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("SELECT {what} FROM pragma_table_info(?1)")).unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// All rows of all tables.
fn everything(conn: &Connection) -> Vec<(String, Vec<Vec<Value>>)> {
    let tables = INSERT_ONLY.iter().map(|(table, _)| *table).chain(["logs"]);
    let rows = |table: &str| -> Vec<Vec<Value>> {
        let width = columns(conn, table).len();
        let mut statement = conn.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get(at)).collect();
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    tables.map(|table| (table.to_owned(), rows(table))).collect()
}

/// Every way to change or remove a row of an insert-only table.
fn attacks(conn: &Connection, table: &str, key: &[&str]) -> Vec<String> {
    let (columns, kinds) = (columns(conn, table), of_columns(conn, table, "type"));
    let all = columns.join(", ");
    let mut attacks: Vec<String> = Vec::new();
    for column in &columns {
        for how in ["", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ROLLBACK "] {
            attacks.push(format!("UPDATE {how}{table} SET {column} = {column}"));
        }
    }
    attacks.push(format!("UPDATE {table} SET {0} = x.{0} FROM (SELECT * FROM {table}) AS x", columns[0]));
    attacks.push(format!("DELETE FROM {table}"));
    attacks.push(format!("DELETE FROM {table} WHERE {} IS NOT NULL", columns[0]));
    attacks.push(format!("WITH x AS (SELECT 1) DELETE FROM {table} WHERE 1 IN x"));
    if table != "ids" {
        // A row of the same key with another content; of `ids` the key is all there is.
        let value = |(column, kind): (&String, &String)| match kind.as_str() {
            _ if key.contains(&column.as_str()) => column.clone(),
            "INTEGER" => "1".to_owned(),
            "TEXT" => "'x'".to_owned(),
            _ => "zeroblob(32)".to_owned(),
        };
        let values: Vec<String> = columns.iter().zip(&kinds).map(value).collect();
        let other = format!("SELECT {} FROM {table} LIMIT 1", values.join(", "));
        let same = format!("SELECT {all} FROM {table} LIMIT 1");
        for rows in [other, same] {
            attacks.push(format!("INSERT OR REPLACE INTO {table} ({all}) {rows}"));
            attacks.push(format!("REPLACE INTO {table} ({all}) {rows}"));
            let last = columns.last().unwrap();
            attacks.push(
                format!(
                    "INSERT INTO {table} ({all}) {rows} ON CONFLICT ({}) DO UPDATE SET {last} = excluded.{last}",
                    key.join(", ")
                )
                .replace("LIMIT 1 ON", "WHERE 1 LIMIT 1 ON"),
            );
            attacks.push(format!("INSERT INTO {table} ({all}) {rows}"));
        }
    }
    attacks
}

const HEAD: [&str; 20] = [
    "DELETE FROM logs",
    "UPDATE logs SET size = size - 1",
    "UPDATE logs SET size = 0, bytes = 0",
    "UPDATE logs SET size = size + 1",
    "UPDATE logs SET size = size + 1000000",
    "UPDATE logs SET bytes = bytes - 1",
    "UPDATE logs SET bytes = bytes + 1",
    "UPDATE logs SET last_leaf = zeroblob(32)",
    "UPDATE logs SET last_recorded_at = 0",
    "UPDATE logs SET named = -1",
    "UPDATE logs SET number = 7",
    "UPDATE OR REPLACE logs SET number = 7",
    "UPDATE logs SET origin = 'other'",
    "UPDATE logs SET log_id = zeroblob(16)",
    "UPDATE logs SET format = 9",
    "UPDATE logs SET created = 0",
    "UPDATE logs SET checkpoint = NULL",
    "REPLACE INTO logs SELECT * FROM logs",
    "INSERT OR REPLACE INTO logs SELECT number + 1, origin, log_id, format, created, size, bytes, last_leaf, last_recorded_at, named, checkpoint, \
     checkpoint_size, keys FROM logs",
    "INSERT INTO logs SELECT * FROM logs WHERE 1 ON CONFLICT (number) DO UPDATE SET size = 0, bytes = 0",
];

#[test]
fn a37_no_sql_changes_or_removes_what_was_recorded() {
    let world = World::new();
    let conn = world.raw();
    conn.execute("INSERT INTO aside VALUES (1, 1, 0, 'nowhere', x'00')", []).unwrap();
    let before = everything(&conn);
    assert!(before.iter().all(|(table, rows)| !rows.is_empty() || panic!("{table} is empty")));
    let mut tried = 0;
    for pragmas in
        ["recursive_triggers = ON", "recursive_triggers = OFF", "foreign_keys = OFF", "ignore_check_constraints = ON"]
    {
        conn.execute_batch(&format!("PRAGMA {pragmas}")).unwrap();
        let own = INSERT_ONLY.iter().flat_map(|(table, key)| attacks(&conn, table, key));
        for attack in own.chain(HEAD.map(str::to_owned)) {
            let refused = conn.execute(&attack, []).expect_err(&attack).to_string();
            let told = refused.contains("never") || refused.contains("CHECK");
            assert!(told, "{attack}: {refused}");
            tried += 1;
        }
        assert!(everything(&conn) == before, "{pragmas}");
    }
    println!("{tried} statements were refused");
    let writer = world.open().unwrap();
    assert_eq!(writer.size().unwrap(), world.head.size);
}

#[test]
fn the_published_checkpoint_only_moves_forward() {
    let world = World::new();
    let writer = world.writer.as_ref().unwrap();
    let note = |size: u64| {
        let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        format!(
            "example.org/conformance\n{size}\n{root}\n\n\u{2014} example.org/conformance AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        )
    };
    for (publish, shows) in [(5, 5), (9, 9), (7, 9), (9, 9), (12, 12)] {
        writer.publish(note(publish).as_bytes(), None).unwrap();
        assert_eq!(writer.checkpoint().unwrap(), Some(note(shows).into_bytes()));
    }
    let refused = world.raw().execute("UPDATE logs SET checkpoint = x'00', checkpoint_size = 11", []);
    assert!(refused.unwrap_err().to_string().contains("only moves forward"));
    // Another checkpoint under a number that is taken is no mistake of the caller's: two logs call themselves the same.
    let error = writer.publish(b"another", Some(1)).unwrap_err();
    assert!(matches!(error, StoreError::Contradiction { .. }), "{error}");
    assert!(error.to_string().contains("under number 1") && !error.to_string().contains("entry 0"), "{error}");
}

/// The faults that a check tells, of a log whose entries are as they were.
fn faults(world: &World) -> Vec<String> {
    let reader = world.reader();
    let scanned = Scanned {
        anchored: world.head.size,
        end: TreeSize(world.scribe.size()),
        held: false,
        info: &info(),
        kept: 2,
        strict: false,
        ids: None,
        summed: None,
    };
    let faults = reader.check_derived(&scanned).unwrap();
    faults.into_iter().map(|fault| format!("{}: {}", fault.place.split(", ").last().unwrap(), fault.detail)).collect()
}

#[test]
fn a_guard_that_was_taken_away_is_told_and_nothing_is_written() {
    for (sql, told) in [
        ("DROP TRIGGER signed_audit_log_no_delete", "trigger `signed_audit_log_no_delete` is missing"),
        ("DROP TRIGGER logs_only_forward", "trigger `logs_only_forward` is missing"),
        (
            "DROP TRIGGER ids_no_update; CREATE TRIGGER ids_no_update BEFORE UPDATE ON ids WHEN 0 BEGIN SELECT 1; END",
            "trigger `ids_no_update` was changed",
        ),
        (
            "CREATE TRIGGER quiet AFTER INSERT ON signed_audit_log BEGIN SELECT 1; END",
            "trigger `quiet` does not belong here",
        ),
        ("DROP TABLE attachment_parts", "table `attachment_parts` is missing"),
        ("ALTER TABLE signed_audit_log ADD COLUMN note TEXT", "table `signed_audit_log` was changed"),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'insert-only', 'free') \
             WHERE name = 'checkpoints_no_update'",
            "trigger `checkpoints_no_update` was changed",
        ),
    ] {
        let mut world = World::new();
        world.writer = None;
        world.raw().execute_batch(sql).unwrap();
        let refused = world.open().err().map(|error| text(&error)).unwrap_or_default();
        assert!(refused.contains(told) && refused.contains("repair"), "{sql}: {refused}");
        assert!(faults(&world).iter().any(|fault| fault.contains(told)), "{sql}: {:?}", faults(&world));
        assert_eq!(world.reader().size().unwrap(), world.head.size, "reading is possible");
    }
}

#[test]
fn rows_beside_the_log_are_told() {
    for (sql, told) in [
        (
            "INSERT INTO signed_audit_log SELECT log, 5000, batch, recorded_at, entry, mac FROM signed_audit_log WHERE idx = 7",
            "rows from 0 to 5000",
        ),
        ("INSERT INTO tree_hashes VALUES (1, 0, 9000, zeroblob(32))", "level 0"),
        ("INSERT INTO tree_hashes VALUES (1, 30, 0, zeroblob(32))", "of no level"),
        ("INSERT INTO checkpoints VALUES (1, 3, x'00')", "no kept checkpoints"),
        ("DROP TRIGGER logs_only_forward; UPDATE logs SET bytes = bytes + 7", "bytes, the lines of the entries have"),
        (
            "DROP TRIGGER logs_only_forward; UPDATE logs SET named = 2",
            "checkpoint 2 was named last, the entries name 0",
        ),
        ("DROP TRIGGER logs_no_delete; PRAGMA foreign_keys = OFF; DELETE FROM logs", "row of this log is missing"),
    ] {
        let mut world = World::new();
        let reader = world.reader();
        world.writer = None;
        world.raw().execute_batch(sql).unwrap();
        let info = info();
        for summed in [None, Some(summed(&world, world.scribe.size()))] {
            let scanned = Scanned {
                anchored: world.head.size,
                end: world.head.size,
                held: false,
                info: &info,
                kept: 2,
                strict: false,
                ids: None,
                summed,
            };
            let faults = reader.check_derived(&scanned).unwrap();
            assert!(faults.iter().any(|fault| fault.detail.contains(told)), "{sql}: {faults:?}");
        }
    }
}

/// What a scan of the first entries adds up.
fn summed(world: &World, end: u64) -> Summed {
    let lines = world.scribe.lines.iter().take(usize::try_from(end).unwrap());
    Summed { bytes: lines.map(|line| line.len() as u64).sum(), named: 0 }
}

#[test]
fn rows_behind_what_a_scan_has_read_are_counted_with_them() {
    let world = World::new();
    let (reader, info) = (world.reader(), info());
    let check = |end: u64, summed: Summed| -> Vec<String> {
        let scanned = Scanned {
            anchored: TreeSize(end),
            end: TreeSize(end),
            held: true,
            info: &info,
            kept: 2,
            strict: false,
            ids: None,
            summed: Some(summed),
        };
        reader.check_derived(&scanned).unwrap().into_iter().map(|fault| fault.detail).collect()
    };
    let size = world.scribe.size();
    for end in [1, 5, 300, size - 1, size] {
        let right = summed(&world, end);
        assert_eq!(check(end, right), Vec::<String>::new(), "{end}");
        // What it read is believed: nothing below is read again.
        let [told] = check(end, Summed { bytes: right.bytes + 1, ..right }).try_into().unwrap();
        let whole = summed(&world, size).bytes;
        assert!(told.contains(&format!("says {whole} bytes, the lines of the entries have {}", whole + 1)), "{told}");
        let [told] = check(end, Summed { named: 2, ..right }).try_into().unwrap();
        assert!(told.contains("checkpoint 0 was named last, the entries name 2"), "{told}");
    }
}

#[test]
fn a_row_in_the_way_of_the_next_entry_is_evidence() {
    let mut world = World::new();
    let writer = world.writer.take().unwrap();
    let size = world.scribe.size();
    let sql = format!(
        "INSERT INTO signed_audit_log SELECT log, {size}, batch, recorded_at, entry, mac FROM signed_audit_log WHERE idx = 7"
    );
    world.raw().execute_batch(&sql).unwrap();
    let batch = world.scribe.batch(&[20]);
    assert!(matches!(writer.append(&batch), Err(StoreError::Evidence { index, .. }) if index == size));
    drop(writer);
    let refused = world.open().err().map(|error| text(&error)).unwrap_or_default();
    assert!(refused.contains("has rows up to") && refused.contains("repair"), "{refused}");
}
