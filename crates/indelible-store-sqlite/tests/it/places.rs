//! Which files are taken for logs, and what is said of the others.

use std::fs;

use indelible_core::tree::LeafIndex;
use indelible_store::{
    conformance::{Scribe, info},
    driver::Driver as _,
    store::StoreError,
};
use indelible_store_sqlite::SqliteDriver;
use rusqlite::Connection;

use crate::world::{Own, World, at, other_info, raw, text};

#[track_caller]
fn refused(driver: &SqliteDriver, told: &str) {
    for error in [driver.reader().err(), driver.lease().err()] {
        let error = error.map(|error| text(&error)).unwrap_or_default();
        assert!(error.contains(told), "{error:?} does not say {told:?}");
    }
}

#[test]
fn a_file_is_made_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let driver = at(&path);
    assert!(!driver.exists().unwrap());
    refused(&driver, "no such file");
    let writer = driver.create(&info()).unwrap();
    assert!(driver.exists().unwrap());
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm", "-writers"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.path().join(format!("audit.db{suffix}"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    assert!(writer.has_writer().unwrap() && driver.reader().unwrap().has_writer().unwrap());
    drop(writer);
    assert!(!driver.reader().unwrap().has_writer().unwrap());
}

#[test]
fn many_logs_stand_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let origins: Vec<String> = (0..30).map(|n| format!("example.org/{n}")).collect();
    for (n, origin) in origins.iter().enumerate() {
        let writer = at(&path).create(&other_info(origin)).unwrap();
        writer.append(&Scribe::default().batch(&vec![20; n + 1])).unwrap();
        assert!(matches!(at(&path).create(&other_info(origin)), Err(StoreError::Exists { .. })));
    }
    assert_eq!(at(&path).logs().unwrap().len(), 30);
    refused(&at(&path), "the file holds 30 logs: name one behind `#`: example.org/0, example.org/1");
    refused(&at(&path).with_origin("example.org/x"), "holds no log `example.org/x`; it holds example.org/0");
    assert!(!at(&path).with_origin("example.org/x").exists().unwrap());
    for (n, origin) in origins.iter().enumerate() {
        let driver = at(&path).with_origin(origin);
        assert!(driver.exists().unwrap());
        assert_eq!(driver.reader().unwrap().size().unwrap().0, n as u64 + 1);
        assert_eq!(&driver.reader_of_entry_zero().unwrap().info().origin, origin);
    }
    let other = at(&path).with_origin("example.org/0").create(&other_info("example.org/x"));
    assert!(matches!(other, Err(StoreError::Unfit { .. })));
}

#[test]
fn what_is_no_log_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    Connection::open(path("other.db")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    fs::write(path("text.db"), "This is not a database at all, only a text that is long enough.".repeat(20)).unwrap();
    fs::create_dir(path("folder")).unwrap();
    drop(at(&path("log.db")).create(&info()).unwrap());
    #[cfg(unix)]
    std::os::unix::fs::symlink(path("log.db"), path("link.db")).unwrap();
    for (name, told) in [
        #[cfg(not(feature = "sqlcipher"))]
        ("other.db", "of another application"),
        ("text.db", "no database"),
        ("folder", "not a file"),
        #[cfg(unix)]
        ("link.db", "symbolic link"),
        ("missing.db", "no such file"),
    ] {
        let told = if cfg!(feature = "sqlcipher") || name != "text.db" { told } else { "no SQLite database" };
        refused(&at(&path(name)), told);
        if name != "missing.db" {
            let before = fs::read(path(name)).unwrap_or_default();
            assert!(at(&path(name)).create(&other_info("example.org/new")).is_err(), "{name}");
            assert!(fs::read(path(name)).unwrap_or_default() == before, "{name} was changed");
        }
    }
    assert!(matches!(at(&path("no/such/folder.db")).create(&info()), Err(StoreError::Io { .. })));
    fs::hard_link(path("log.db"), path("second.db")).unwrap();
    refused(&at(&path("log.db")), "hard link");
}

#[test]
fn a_creation_that_died_at_once_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    fs::write(&path, "").unwrap();
    refused(&at(&path), "or empty");
    assert!(!at(&path).exists().unwrap());
    drop(at(&path).create(&info()).unwrap());
    assert_eq!(at(&path).reader().unwrap().size().unwrap().0, 0);
}

#[test]
fn another_schema_version_is_told() {
    let world = World::new();
    let set = |version: i64| raw(&world.path).pragma_update(None, "user_version", version).unwrap();
    set(3);
    refused(&at(&world.path), "version 3, this program knows up to 2: use a newer program");
    set(0);
    let error = at(&world.path).lease().err().map(|error| text(&error)).unwrap_or_default();
    assert!(error.contains("indelible store migrate"), "{error}");
    assert_eq!(at(&world.path).pending_migrations().unwrap().len(), 2);
    set(2);
    assert!(at(&world.path).pending_migrations().unwrap().is_empty());
    assert!(at(&world.path).migrate().unwrap().is_empty());
    world.open().unwrap();
}

#[test]
fn an_old_file_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    raw(&path).execute_batch("PRAGMA application_id = 1229866060").unwrap();
    refused(&at(&path), "indelible store migrate");
    assert_eq!(at(&path).migrate().unwrap().iter().map(|m| m.version).collect::<Vec<_>>(), [1, 2]);
    drop(at(&path).create(&info()).unwrap());
    assert!(at(&path).lease().unwrap().open(&Scribe::default().head(0), &Own).is_ok());
}

#[test]
fn a_file_of_the_first_schema_is_read_as_it_is_and_written_after_migrating() {
    let world = World::new();
    let size = at(&world.path).reader().unwrap().size().unwrap();
    let conn = raw(&world.path);
    conn.execute_batch("DROP TRIGGER logs_keys_forward; ALTER TABLE logs DROP COLUMN keys").unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    drop(conn);
    let reader = at(&world.path).reader().unwrap();
    assert_eq!((reader.size().unwrap(), reader.end().unwrap().unwrap().keys.0), (size, 0));
    let error = at(&world.path).lease().err().map(|error| text(&error)).unwrap_or_default();
    assert!(error.contains("version 1, this program needs version 2: run `indelible store migrate`"), "{error}");
    assert_eq!(at(&world.path).migrate().unwrap().iter().map(|m| m.version).collect::<Vec<_>>(), [2]);
    world.open().unwrap();
}

/// Changes a row past the triggers, which stand again behind it.
fn change(world: &World, sql: &str) {
    let conn = world.raw();
    let mut triggers = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<(String, String)> =
        triggers.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    for (name, _) in &triggers {
        conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    conn.execute_batch(sql).unwrap();
    for (_, sql) in &triggers {
        conn.execute_batch(sql).unwrap();
    }
}

#[test]
fn a_row_above_the_longest_entry_is_told_and_not_read() {
    let mut world = World::new();
    world.writer = None;
    let (at, long) = (7_usize, 64 << 20);
    change(&world, &format!("UPDATE signed_audit_log SET entry = zeroblob({long}) WHERE idx = {at}"));
    let reader = world.reader();
    let error = reader.read(LeafIndex(at as u64), usize::MAX).err().unwrap();
    assert!(matches!(&error, StoreError::Evidence { index, .. } if *index == at as u64), "{error}");
    assert!(error.to_string().contains(&long.to_string()), "{error}");
    // What stands before it and behind it is read.
    let before = reader.read(LeafIndex(0), usize::MAX).unwrap();
    assert!(before.bytes == world.scribe.lines[..at].concat());
    let behind = reader.read(LeafIndex(at as u64 + 1), usize::MAX).unwrap();
    assert!(behind.bytes == world.scribe.lines[at + 1..].concat());
    // A scan gives a line in its place that is none.
    let mut all = Vec::new();
    for run in reader.runs().unwrap() {
        for piece in reader.pieces(&run).unwrap() {
            all.extend(reader.read_piece(&run, &piece).unwrap());
        }
    }
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), world.scribe.lines.len());
    for (index, (found, want)) in lines.iter().zip(&world.scribe.lines).enumerate() {
        assert_eq!(*found == want.as_slice(), index != at, "entry {index}");
    }
    assert!(lines[at].len() < 200 && indelible_core::entry::Line::parse(lines[at]).is_err());
}

#[test]
fn pieces_are_cut_by_the_longest_entries_and_not_by_the_mean() {
    let mut world = World::new();
    let writer = world.writer.take().unwrap();
    writer.append(&world.scribe.batch(&[20; 2000])).unwrap();
    drop(writer);
    let reader = world.reader();
    let run = reader.runs().unwrap().remove(0);
    let longest = 65_535 + 128;
    let pieces = reader.pieces(&run).unwrap();
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.units * longest <= 17 << 20), "{pieces:?}");
}
