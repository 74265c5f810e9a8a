//! Encryption at rest. Run with `--features sqlcipher`.

use std::{fs, path::Path};

use indelible_store::{
    conformance::{Scribe, info},
    driver::Driver as _,
    store::StoreError,
};
use indelible_store_sqlite::SqliteDriver;

use crate::world::{KEY, Own, World, at, text};

fn with(path: &Path, key: [u8; 32]) -> SqliteDriver {
    SqliteDriver::new(path, None).with_key(key)
}

#[track_caller]
fn refused(driver: &SqliteDriver, told: &str) {
    for error in [driver.reader().err(), driver.lease().err(), driver.create(&info()).err()] {
        let error = error.map(|error| text(&error)).unwrap_or_default();
        assert!(error.contains(told), "{error:?} does not say {told:?}");
    }
}

/// Whether words of the entries can be read in the log's files.
fn readable(path: &Path) -> bool {
    ["", "-wal"].iter().any(|suffix| {
        let bytes = fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
        [&b"event-1"[..], b"SQLite format", b"abcdefgh"]
            .iter()
            .any(|word| bytes.windows(word.len()).any(|at| &at == word))
    })
}

#[test]
fn nothing_can_be_read_in_the_files() {
    let world = World::new();
    assert!(!readable(&world.path));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.db");
    let writer = SqliteDriver::new(&path, None).create(&info()).unwrap();
    writer.append(&Scribe::default().batch(&[100; 10])).unwrap();
    assert!(readable(&path), "or this test sees nothing");
}

#[test]
fn a_wrong_key_and_a_plain_file_are_told_apart() {
    let mut world = World::new();
    refused(&with(&world.path, [8; 32]), "the key is wrong");
    refused(&SqliteDriver::new(&world.path, None), "it is encrypted");
    world.writer = None;
    refused(&with(&world.path, [8; 32]), "the key is wrong");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.db");
    drop(SqliteDriver::new(&path, None).create(&info()).unwrap());
    let before = fs::read(&path).unwrap();
    refused(&with(&path, KEY), "it is not encrypted");
    assert!(fs::read(&path).unwrap() == before);
    world.open().unwrap();
}

#[test]
fn the_key_is_changed() {
    let mut world = World::new();
    assert!(matches!(at(&world.path).rekey([9; 32]), Err(StoreError::InUse { .. })), "a writer is at work");
    world.writer = None;
    let reader = world.reader();
    reader.size().unwrap();
    assert!(matches!(at(&world.path).rekey([9; 32]), Err(StoreError::InUse { .. })), "a reader is at work");
    drop(reader);
    assert!(matches!(with(&world.path, [8; 32]).rekey([9; 32]), Err(StoreError::Unfit { .. })));
    let driver = at(&world.path).rekey([9; 32]).unwrap();
    refused(&at(&world.path), "the key is wrong");
    let (writer, _) = driver.lease().unwrap().open(&world.head, &Own).unwrap();
    writer.append(&world.scribe.batch(&[20; 3])).unwrap();
    assert_eq!(writer.size().unwrap().0, world.scribe.size());
    assert!(!readable(&world.path));
    drop(writer);
    drop(driver);
    let mode: String = {
        let conn = rusqlite::Connection::open(&world.path).unwrap();
        conn.execute_batch(&format!("PRAGMA key = \"x'{}'\"", "09".repeat(32))).unwrap();
        conn.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(mode, "wal");
}

/// In a process of its own: what SQLCipher prints goes past the test harness.
#[test]
fn a_wrong_key_makes_no_noise() {
    if let Ok(path) = std::env::var("INDELIBLE_WRONG_KEY_OF") {
        refused(&with(Path::new(&path), [8; 32]), "the key is wrong");
        return;
    }
    let world = World::new();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["cipher::a_wrong_key_makes_no_noise", "--exact", "--nocapture"])
        .env("INDELIBLE_WRONG_KEY_OF", &world.path)
        .output()
        .unwrap();
    assert!(child.status.success());
    assert_eq!(String::from_utf8_lossy(&child.stderr), "");
}
