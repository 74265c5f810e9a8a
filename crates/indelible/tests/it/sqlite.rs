//! Logs in an SQLite file, by the real engine: many writers, tampering by whoever holds the file, repair.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use indelible::{
    AppendError, Log, LogError, Options, Receipt,
    clock::{Clock as _, SystemClock},
    manage::repair,
    verify::{Kind, Report, Request, Verdict, verify},
};
use indelible_core::{
    note::NoteSigner as _,
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::driver::Driver as _;
use indelible_store_sqlite::SqliteDriver;
use rusqlite::Connection;

use crate::{
    basics::block_on,
    support::time::HandClock,
    world::{ORIGIN, World, check, event, events, receipts},
};

pub(crate) fn file(world: &World) -> PathBuf {
    world.dir.path().join("audit.db")
}

/// A driver with connections of its own, as another process has.
pub(crate) fn at(path: &Path) -> SqliteDriver {
    SqliteDriver::new(path, None)
}

fn quick() -> Options {
    Options { publish_every: Duration::from_millis(5), keep_every: Duration::from_millis(50), ..Options::default() }
}

fn create(world: &World, origin: &str) -> Log {
    Log::create_in(&at(&file(world)).with_origin(origin), origin, &world.keys, quick()).unwrap()
}

fn open(world: &World) -> Result<Log, LogError> {
    Log::open_in(&at(&file(world)), &world.keys, quick())
}

pub(crate) fn verify_log(world: &World, origin: &str, strict: bool) -> Report {
    let request = Request {
        ring: Some(&world.keys),
        heads: Some(world.heads()),
        head_required: true,
        strict,
        threads: 2,
        ..Request::new(
            world.keys.checkpoint_signer(origin).unwrap().verifying_key().clone(),
            SystemClock::default().now(),
        )
    };
    let reader = at(&file(world)).with_origin(origin).reader_of_entry_zero().unwrap();
    verify(&*reader, &request).unwrap()
}

#[track_caller]
fn expect(world: &World, verdict: Verdict, kind: Option<Kind>, index: Option<u64>) {
    for strict in [false, true] {
        check(&verify_log(world, ORIGIN, strict), verdict, kind, index);
    }
}

/// Every receipt's entry is there, once.
fn check_receipts(log: &Log, all: &[Receipt]) {
    let mut seen = BTreeMap::new();
    for receipt in all {
        let stored = log.get(receipt.index).unwrap();
        assert_eq!(leaf_hash(&stored.entry), receipt.leaf, "{}", receipt.id);
        assert_eq!(log.find(&receipt.id).unwrap().index, receipt.index);
        assert_eq!(seen.insert(receipt.index, &receipt.id), None, "two receipts for entry {}", receipt.index);
    }
}

/// A closed log of 300 events with kept checkpoints.
fn closed() -> World {
    let world = World::new();
    let log = create(&world, ORIGIN);
    for part in 0..3 {
        receipts(log.append_all(&events(part * 100..part * 100 + 100)));
        log.keep_checkpoint().unwrap();
    }
    log.close().unwrap();
    world
}

/// As somebody who holds the file and takes the triggers away first.
fn tamper(world: &World, sql: &str) {
    let conn = Connection::open(file(world)).unwrap();
    let triggers: Vec<(String, String)> = conn
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    conn.execute_batch(sql).unwrap();
    for (_, sql) in &triggers {
        conn.execute_batch(sql).unwrap();
    }
}

#[test]
fn several_handles_write_one_log() {
    const HANDLES: u64 = 3;
    const THREADS: u64 = 4;
    const EVENTS: u64 = 60;
    let world = World::new();
    create(&world, ORIGIN).close().unwrap();
    let logs: Vec<Log> = (0..HANDLES).map(|_| open(&world).unwrap()).collect();
    let mut all: Vec<Receipt> = thread::scope(|scope| {
        let one = |writer: u64| {
            let log = &logs[usize::try_from(writer / THREADS).unwrap()];
            move || -> Vec<Receipt> {
                (0..EVENTS).map(|n| log.append_json(&event(writer * EVENTS + n)).unwrap()).collect()
            }
        };
        let writers: Vec<_> = (0..HANDLES * THREADS).map(|writer| scope.spawn(one(writer))).collect();
        // Beside live writers nothing looks wrong.
        for _ in 0..5 {
            let report = verify_log(&world, ORIGIN, true);
            assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
        }
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(all.len() as u64, HANDLES * THREADS * EVENTS);
    // The same events again, from another handle: the first receipts.
    for n in 0..HANDLES * THREADS * EVENTS {
        let log = &logs[usize::try_from(n % HANDLES).unwrap()];
        let again = log.append_json(&event(n)).unwrap();
        assert!(again.duplicate && all.iter().any(|first| first.index == again.index && first.id == again.id));
    }
    let other = logs[1].append_json(br#"{"action":"other","actor":{"id":"mara","type":"user"},"id":"event-7"}"#);
    assert!(matches!(other, Err(AppendError::IdConflict { .. })), "{other:?}");
    all.sort_by_key(|receipt| receipt.index);
    logs.iter().for_each(|log| check_receipts(log, &all));
    // All close at once, and each wants to keep the last checkpoint.
    thread::scope(|scope| {
        for log in &logs {
            scope.spawn(|| log.close().unwrap());
        }
    });
    drop(logs);
    expect(&world, Verdict::Intact, None, None);
}

#[test]
fn closing_at_once_leaves_no_hole_in_the_kept_checkpoints() {
    let world = World::new();
    create(&world, ORIGIN).close().unwrap();
    for round in 0..12 {
        let logs: Vec<Log> = (0..3).map(|_| open(&world).unwrap()).collect();
        thread::scope(|scope| {
            for (n, log) in (0..).zip(&logs) {
                scope.spawn(move || {
                    receipts(log.append_all(&events(round * 100 + n * 10..round * 100 + n * 10 + 10)));
                    log.close().unwrap();
                });
            }
        });
        drop(logs);
        let report = verify_log(&world, ORIGIN, false);
        assert_eq!(report.status, Verdict::Intact, "round {round}: {:#?}", report.findings);
    }
}

#[test]
fn many_logs_of_one_file_are_written_at_once() {
    const LOGS: u64 = 20;
    let world = World::new();
    let origins: Vec<String> = (0..LOGS).map(|n| format!("example.com/log-{n}")).collect();
    let logs: Vec<Log> = origins.iter().map(|origin| create(&world, origin)).collect();
    let all: Vec<Vec<Receipt>> = thread::scope(|scope| {
        let writers: Vec<_> = logs
            .iter()
            .map(|log| scope.spawn(move || (0..30).map(|n| log.append_json(&event(n)).unwrap()).collect()))
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for ((log, origin), receipts) in logs.iter().zip(&origins).zip(&all) {
        check_receipts(log, receipts);
        log.close().unwrap();
        let report = verify_log(&world, origin, true);
        assert_eq!(report.status, Verdict::Intact, "{origin}: {:#?}", report.findings);
        assert_eq!(report.entries_verified, 31);
    }
}

/// Nothing has the file open: whoever closes last takes the write-ahead log away.
fn nobody_has(world: &World) {
    for beside in ["-wal", "-shm"] {
        let mut name = file(world).into_os_string();
        name.push(beside);
        assert!(!Path::new(&name).exists(), "{} is there", name.display());
    }
}

/// The keeper's threads are at work for the log when its last handle goes: those of an async commit, and the one that publishes.
#[test]
fn behind_its_last_handle_nothing_of_a_log_is_open() {
    let world = closed();
    for round in 0..60 {
        let log = open(&world).unwrap();
        let events = events(1000 + 4 * round..1004 + 4 * round);
        if round % 2 == 0 {
            for event in &events {
                block_on(log.append_async(event)).unwrap();
            }
        } else {
            receipts(log.append_all(&events));
            thread::sleep(Duration::from_millis(round));
        }
        drop(log);
        nobody_has(&world);
    }
    expect(&world, Verdict::Intact, None, None);
}

#[test]
fn a_file_that_was_put_back_is_told() {
    let world = closed();
    nobody_has(&world);
    let old = fs::read(file(&world)).unwrap();
    let log = open(&world).unwrap();
    receipts(log.append_all(&events(300..320)));
    log.close().unwrap();
    drop(log);
    expect(&world, Verdict::Intact, None, None);
    nobody_has(&world);
    fs::write(file(&world), old).unwrap();
    expect(&world, Verdict::Tampered, Some(Kind::RolledBack), None);
    let error = open(&world).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("rolled back"), "{error}");
}

#[test]
fn a_file_that_was_put_back_below_a_live_handle_is_told() {
    let world = closed();
    let log = open(&world).unwrap();
    receipts(log.append_all(&events(300..310)));
    log.checkpoint().unwrap();
    tamper(
        &world,
        "DELETE FROM signed_audit_log WHERE idx > 300; DELETE FROM ids WHERE idx > 300; \
         UPDATE logs SET size = 301, last_leaf = (SELECT substr(hashes, 45 * 32 - 31, 32) FROM tree_hashes WHERE level = 0 AND first = 256)",
    );
    let error = log.append_json(&event(400)).expect_err("it goes on");
    assert!(error.to_string().contains("rolled back"), "{error}");
    expect(&world, Verdict::Tampered, None, None);
}

#[test]
fn what_a_holder_of_the_file_changes_is_told_with_its_index() {
    for (sql, kind, index) in [
        (
            "UPDATE signed_audit_log SET entry = CAST(replace(CAST(entry AS TEXT), 'mara', 'sara') AS BLOB) WHERE idx = 77",
            Kind::Changed,
            77,
        ),
        ("UPDATE signed_audit_log SET entry = x'' WHERE idx = 78", Kind::Changed, 78),
        ("UPDATE signed_audit_log SET mac = zeroblob(32) WHERE idx = 79", Kind::Signature, 79),
        ("UPDATE signed_audit_log SET batch = 80 WHERE idx = 79", Kind::Changed, 79),
        ("DELETE FROM signed_audit_log WHERE idx = 81", Kind::Missing, 81),
        ("DELETE FROM signed_audit_log WHERE idx BETWEEN 20 AND 200", Kind::Missing, 20),
        (
            "UPDATE signed_audit_log SET idx = 1000 WHERE idx = 5; UPDATE signed_audit_log SET idx = 5 WHERE idx = 6; \
             UPDATE signed_audit_log SET idx = 6 WHERE idx = 1000",
            Kind::Reordered,
            5,
        ),
        (
            "INSERT INTO signed_audit_log SELECT log, 500, batch, recorded_at, entry, mac FROM signed_audit_log WHERE idx = 9",
            Kind::Inserted,
            9,
        ),
        ("DELETE FROM signed_audit_log WHERE idx > 250", Kind::Truncated, 251),
        ("UPDATE logs SET size = 400", Kind::Truncated, 301),
        ("DELETE FROM signed_audit_log", Kind::RolledBack, 0),
        ("DELETE FROM checkpoints WHERE number = 2", Kind::CheckpointMissing, 0),
    ] {
        let world = closed();
        tamper(&world, sql);
        let index = (kind != Kind::CheckpointMissing).then_some(index);
        let report = verify_log(&world, ORIGIN, false);
        assert_eq!(report.status, Verdict::Tampered, "{sql}: {:#?}", report.findings);
        let found =
            report.findings.iter().find(|f| f.kind == kind || kind == Kind::RolledBack && f.kind == Kind::Truncated);
        assert_eq!(found.map(|found| found.index), Some(index), "{sql}: {:#?}", report.findings);
        let refused = repair(&at(&file(&world)), &world.keys, &Options::default());
        assert!(matches!(refused, Err(LogError::Refused(_))), "{sql}: {refused:?}");
    }
}

#[test]
fn what_derives_is_told_as_damaged_and_repaired() {
    for sql in [
        "DELETE FROM tree_hashes WHERE level = 0 AND first >= 256",
        "DELETE FROM tree_hashes WHERE level = 1",
        "UPDATE tree_hashes SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND first = 0",
        "INSERT INTO tree_hashes SELECT log, 3, first, hashes FROM tree_hashes WHERE level = 1",
        "DROP TABLE tree_hashes",
        "DELETE FROM ids WHERE idx = 17",
        "INSERT INTO ids SELECT number, zeroblob(16), 18 FROM logs",
        "DROP TABLE ids",
        "DELETE FROM logs",
        "UPDATE logs SET size = 200, last_leaf = zeroblob(32)",
        "UPDATE logs SET origin = 'example.com/other'",
        "UPDATE logs SET last_recorded_at = 5",
        "UPDATE logs SET checkpoint = NULL",
        "UPDATE signed_audit_log SET recorded_at = 5 WHERE idx = 30",
        "UPDATE signed_audit_log SET idx = idx + 1000 WHERE idx > 290",
        "INSERT INTO signed_audit_log SELECT log, 900, batch, recorded_at, x'00', mac FROM signed_audit_log WHERE idx = 9",
        "INSERT INTO checkpoints SELECT log, 99, note FROM checkpoints WHERE number = 1",
        "ALTER TABLE signed_audit_log ADD COLUMN note TEXT",
        "CREATE TRIGGER quiet AFTER INSERT ON ids BEGIN SELECT 1; END",
        "CREATE INDEX mine ON signed_audit_log (recorded_at)",
    ] {
        let world = closed();
        let before = rows(&world);
        tamper_keeping_what_remains(&world, sql);
        let report = verify_log(&world, ORIGIN, true);
        assert_eq!(report.status, Verdict::Damaged, "{sql}: {:#?}", report.findings);
        let repaired = repair(&at(&file(&world)), &world.keys, &Options::default());
        assert!(repaired.as_ref().is_ok_and(|told| !told.wrong.is_empty()), "{sql}: {repaired:?}");
        expect(&world, Verdict::Intact, None, None);
        assert!(rows(&world) == before, "{sql}: the entries are not what they were");
        let log = open(&world).unwrap();
        receipts(log.append_all(&events(300..303)));
        assert_eq!(log.find("event-17").unwrap().index, LeafIndex(18));
        log.close().unwrap();
        expect(&world, Verdict::Intact, None, None);
    }
}

/// What a scan adds up on its way replaces reading the rows again: it has to tell the same, to the number.
#[test]
fn what_the_row_of_a_log_says_is_compared_with_what_the_scan_has_read() {
    let told = |world: &World, strict| {
        let report = verify_log(world, ORIGIN, strict);
        let details: Vec<String> = report.findings.into_iter().map(|found| found.detail).collect();
        (report.status, details)
    };
    let ask = |world: &World, sql: &str| -> i64 {
        Connection::open(file(world)).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let world = closed();
    let (bytes, named) = (ask(&world, "SELECT bytes FROM logs"), ask(&world, "SELECT named FROM logs"));
    let (rows, last) =
        (ask(&world, "SELECT count(*) FROM signed_audit_log"), ask(&world, "SELECT max(idx) FROM signed_audit_log"));
    assert!(named > 1, "{named}");
    for (sql, detail) in [
        (
            "UPDATE logs SET bytes = bytes + 7",
            format!("its row says {} bytes, the lines of the entries have {bytes}", bytes + 7),
        ),
        (
            "UPDATE logs SET named = named - 1",
            format!("kept checkpoint {} was named last, the entries name {named}", named - 1),
        ),
        (
            "UPDATE signed_audit_log SET idx = idx + 1000 WHERE idx > 290",
            format!("it has {rows} rows from 0 to {}, the log has {rows} entries by its row", last + 1000),
        ),
        (
            "PRAGMA ignore_check_constraints = ON; INSERT INTO signed_audit_log SELECT log, -4, batch, recorded_at, x'00', mac FROM signed_audit_log WHERE idx = 9",
            format!("it has {} rows from -4 to {last}, the log has {rows} entries by its row", rows + 1),
        ),
    ] {
        let world = closed();
        assert_eq!(ask(&world, "SELECT bytes FROM logs"), bytes);
        tamper(&world, sql);
        for strict in [false, true] {
            let (status, details) = told(&world, strict);
            assert_ne!(status, Verdict::Intact, "{sql}");
            assert!(
                details.iter().any(|found| found.ends_with(&detail)),
                "{sql}: `{detail}` is not among {details:#?}"
            );
        }
    }
    assert_eq!(told(&world, false), (Verdict::Intact, Vec::new()));
}

#[test]
fn a_hash_above_the_leaves_that_is_gone_or_wrong_is_told_by_its_number() {
    let world = World::new();
    let log = create(&world, ORIGIN);
    for part in 0..5 {
        receipts(log.append_all(&events(part * 300..part * 300 + 300)));
        // A run of its own each time.
        log.checkpoint().unwrap();
    }
    log.close().unwrap();
    let conn = Connection::open(file(&world)).unwrap();
    let runs: Vec<Vec<u8>> = conn
        .prepare("SELECT hashes FROM tree_hashes WHERE level = 1 ORDER BY first")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let whole = runs.concat();
    assert_eq!(whole.len(), 5 * 32);
    let put = |hashes: &[u8]| {
        let sql = format!(
            "DELETE FROM tree_hashes WHERE level = 1; INSERT INTO tree_hashes VALUES (1, 1, 0, x'{}')",
            indelible_core::hex::encode(hashes)
        );
        tamper(&world, &sql);
    };
    let wrong_at = |at: usize| {
        let mut hashes = whole.clone();
        hashes[at * 32] ^= 1;
        hashes
    };
    for (hashes, number) in [
        (whole[..3 * 32].to_vec(), 3),
        (whole[..4 * 32].to_vec(), 4),
        (wrong_at(0), 0),
        (wrong_at(2), 2),
        (wrong_at(4), 4),
    ] {
        put(&hashes);
        let report = verify_log(&world, ORIGIN, false);
        let want = format!("`tree/1`: hash {number} is not that of the 256 below it");
        let told: Vec<&str> = report
            .findings
            .iter()
            .map(|found| found.detail.as_str())
            .filter(|told| told.contains("`tree/1`"))
            .collect();
        assert_eq!(told, [want]);
        assert_eq!(report.status, Verdict::Damaged);
    }
    put(&whole);
    assert_eq!(verify_log(&world, ORIGIN, true).status, Verdict::Intact);
}

#[test]
fn entries_cut_off_behind_the_newest_checkpoint_are_told_beside_a_live_writer() {
    const CUT: &str = "DELETE FROM signed_audit_log WHERE idx > 310; DELETE FROM ids WHERE idx > 310";
    let with_rows = |sql: &str, strict: bool| {
        let world = closed();
        let options = Options { keeper: Some(indelible::Keeper::manual()), ..quick() };
        let log = Log::open_in(&at(&file(&world)), &world.keys, options).unwrap();
        receipts(log.append_all(&events(300..320)));
        assert_eq!(verify_log(&world, ORIGIN, strict).unanchored, 20);
        tamper(&world, sql);
        verify_log(&world, ORIGIN, strict)
    };
    for strict in [false, true] {
        check(&with_rows(CUT, strict), Verdict::Tampered, Some(Kind::Truncated), Some(311));
        // A size alone, with every entry there, is what is wrong itself.
        check(&with_rows("UPDATE logs SET size = 330", strict), Verdict::Damaged, Some(Kind::Derived), None);
    }
}

#[test]
fn a_turn_that_fails_behind_a_clock_step_is_no_rollback() {
    let world = World::new();
    create(&world, ORIGIN).close().unwrap();
    let clock = HandClock::new();
    let options = Options { clock: clock.clone(), keeper: Some(indelible::Keeper::manual()), ..quick() };
    let log = Log::open_in(&at(&file(&world)), &world.keys, options).unwrap();
    log.append_json(&event(1)).unwrap();
    clock.step(3_600_000_000);
    // The turn records the step first, then looks the id up, in a table that is not there now.
    let rename = |from: &str, to: &str| {
        Connection::open(file(&world)).unwrap().execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    rename("ids", "away");
    log.append_json(&event(2)).unwrap_err();
    rename("away", "ids");
    log.append_json(&event(2)).unwrap();
    log.close().unwrap();
    // The table's text is another one since.
    repair(&at(&file(&world)), &world.keys, &Options::default()).unwrap();
    expect(&world, Verdict::Intact, None, None);
}

fn rows(world: &World) -> Vec<(i64, i64, i64, Vec<u8>)> {
    let conn = Connection::open(file(world)).unwrap();
    let mut statement =
        conn.prepare("SELECT idx, batch, recorded_at, entry FROM signed_audit_log ORDER BY idx").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// As [`tamper`]; triggers of tables that are gone stay away.
fn tamper_keeping_what_remains(world: &World, sql: &str) {
    if let Some(table) = sql.strip_prefix("DROP TABLE ") {
        let conn = Connection::open(file(world)).unwrap();
        conn.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    } else {
        tamper(world, sql);
    }
}

#[test]
fn a_dropped_trigger_is_told_and_put_back() {
    let world = closed();
    Connection::open(file(&world)).unwrap().execute_batch("DROP TRIGGER signed_audit_log_no_update").unwrap();
    let error = open(&world).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("signed_audit_log_no_update") && error.contains("repair"), "{error}");
    expect(&world, Verdict::Damaged, Some(Kind::Derived), None);
    repair(&at(&file(&world)), &world.keys, &Options::default()).unwrap();
    expect(&world, Verdict::Intact, None, None);
    let refused = Connection::open(file(&world)).unwrap().execute("UPDATE signed_audit_log SET mac = mac", []);
    assert!(refused.is_err());
}

#[test]
fn broken_pages_are_told_and_nothing_panics() {
    let world = closed();
    let whole = fs::read(file(&world)).unwrap();
    let mut told = [0; 2];
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 64].fill(0xA5);
        fs::write(file(&world), &bytes).unwrap();
        let heads = world.heads();
        let request = Request {
            ring: Some(&world.keys),
            heads: Some(heads),
            head_required: true,
            strict: true,
            threads: 1,
            ..Request::new(world.public_key(), SystemClock::default().now())
        };
        let report = match at(&file(&world)).reader_of_entry_zero() {
            Ok(reader) => verify(&*reader, &request).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match report {
            Ok(report) if report.status == Verdict::Intact => panic!("page {page}: nothing was told"),
            Ok(_) => told[0] += 1,
            Err(_) => told[1] += 1,
        }
    }
    println!("broken pages: {} told by a verdict, {} by an error", told[0], told[1]);
}
