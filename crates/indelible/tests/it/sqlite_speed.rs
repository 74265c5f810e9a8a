//! Batched append through the engine against plain batched inserts of the same rows: the same bytes, the same commits, the same indexes, the same
//! file system. A figure, printed and not asserted: a shared machine would make it a coin.
//!
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 INDELIBLE_SPEED_EVENTS=200000 cargo test -p indelible --test it sqlite_speed -- --nocapture`

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use indelible::{Log, Options};
use indelible_store::store::Reader as _;
use rusqlite::{Connection, params};

use crate::{
    sqlite::{at, file},
    world::{ORIGIN, World},
};

/// An event of about 600 bytes, as applications write them.
fn event(n: u64) -> Vec<u8> {
    let words = "the quick brown fox jumps over the lazy dog and goes on ".repeat(6);
    format!(
        r#"{{"action":"document.read","actor":{{"id":"mara-{}","type":"user"}},"details":{{"ip":"192.0.2.{}","n":{n},"text":"{words}"}},"targets":[{{"id":"document-{n}","type":"document"}}]}}"#,
        n % 97,
        n % 250
    )
    .into_bytes()
}

struct Row {
    idx: i64,
    batch: i64,
    at: i64,
    entry: Vec<u8>,
    mac: Vec<u8>,
    id: Option<Vec<u8>>,
}

fn rows(path: &Path) -> Vec<Row> {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT s.idx, batch, recorded_at, entry, mac, fingerprint FROM signed_audit_log AS s \
        LEFT JOIN (SELECT idx, fingerprint FROM ids) AS i ON i.idx = s.idx ORDER BY s.idx";
    let mut statement = conn.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            idx: row.get(0)?,
            batch: row.get(1)?,
            at: row.get(2)?,
            entry: row.get(3)?,
            mac: row.get(4)?,
            id: row.get(5)?,
        })
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// The same rows into tables of the same form, without triggers, by prepared statements.
fn plain(path: &Path, rows: &[Row]) -> Duration {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE entries (log INTEGER NOT NULL, idx INTEGER NOT NULL, batch INTEGER NOT NULL, recorded_at INTEGER NOT NULL, \
            entry BLOB NOT NULL, mac BLOB NOT NULL, PRIMARY KEY (log, idx)) STRICT, WITHOUT ROWID;
         CREATE TABLE ids (log INTEGER NOT NULL, fingerprint BLOB NOT NULL, idx INTEGER NOT NULL, \
            PRIMARY KEY (log, fingerprint, idx)) STRICT, WITHOUT ROWID;",
    )
    .unwrap();
    let begun = Instant::now();
    for batch in rows.chunk_by(|a, b| a.batch == b.batch) {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut insert = conn.prepare_cached("INSERT OR FAIL INTO entries VALUES (1, ?1, ?2, ?3, ?4, ?5)").unwrap();
        let mut insert_id = conn.prepare_cached("INSERT INTO ids VALUES (1, ?1, ?2)").unwrap();
        for row in batch {
            insert.execute(params![row.idx, row.batch, row.at, row.entry, row.mac]).unwrap();
            if let Some(id) = &row.id {
                insert_id.execute(params![id, row.idx]).unwrap();
            }
        }
        conn.execute_batch("COMMIT").unwrap();
    }
    begun.elapsed()
}

#[test]
fn batched_append_against_plain_inserts() {
    let count: u64 = std::env::var("INDELIBLE_SPEED_EVENTS").map_or(10_000, |count| count.parse().unwrap());
    for callers in [1, 2] {
        let world = World::new();
        let log = Log::create_in(&at(&file(&world)), ORIGIN, &world.keys, Options::default()).unwrap();
        let events: Vec<Vec<u8>> = (0..count).map(event).collect();
        let share = events.len().div_ceil(callers);
        let begun = Instant::now();
        thread::scope(|scope| {
            for part in events.chunks(share) {
                let log = &log;
                scope.spawn(move || log.append_all(part).into_iter().for_each(|receipt| drop(receipt.unwrap())));
            }
        });
        let own = begun.elapsed();
        log.close().unwrap();
        let closed = begun.elapsed();
        drop(log);
        let rows = rows(&file(&world));
        assert!(rows.len() as u64 > count);
        let plain = plain(&world.dir.path().join("plain.db"), &rows);
        let reader = at(&file(&world)).open_reader().unwrap();
        assert_eq!(reader.size().unwrap().0, rows.len() as u64);
        println!(
            "sqlite, {count} events, {callers} callers: engine {:.2} s ({:.2} s with the last checkpoint), plain inserts {:.2} s: {:.2} of plain ({:.2})",
            own.as_secs_f64(),
            closed.as_secs_f64(),
            plain.as_secs_f64(),
            plain.as_secs_f64() / own.as_secs_f64(),
            plain.as_secs_f64() / closed.as_secs_f64(),
        );
    }
}
