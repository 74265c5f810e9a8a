//! Names in a log's folders that are none of its own, and numbers in names and small files that no log comes to: nothing is held up, nothing panics, and a check tells.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use indelible_core::tree::{LeafIndex, TreeHead, TreeSize};
use indelible_store::{
    conformance::{Scribe, id, info},
    disk::OsDisk,
    store::{Chunk, Reader as _, Scanned, StoreError, Writer as _},
};
use indelible_store_file::{
    FileReader, FileWriter, Settings,
    layout::{Durable, Layout},
    writer::{create, rebuild},
};

use crate::world::{Own, check_entries};

/// A log in a directory, closed.
struct Log {
    root: PathBuf,
    scribe: Scribe,
    head: TreeHead,
    _dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        create(&OsDisk::shared(), &root, &info(), &Settings { segment_bytes: 4000, ..Settings::default() }).unwrap();
        let mut scribe = Scribe::default();
        let writer = FileWriter::open(OsDisk::shared(), &root, &scribe.head(0), &Own).unwrap().0;
        for _ in 0..12 {
            writer.append(&scribe.batch(&[300; 5])).unwrap();
        }
        writer.extend_tree(&scribe.leaves, &Chunk { first: 0, bytes: scribe.lines.concat() }).unwrap();
        writer.sync_tree().unwrap();
        writer.close().unwrap();
        drop(writer);
        let head = scribe.head(scribe.size());
        Self { root, scribe, head, _dir: dir }
    }

    fn open(&self) -> Result<FileWriter, StoreError> {
        Ok(FileWriter::open(OsDisk::shared(), &self.root, &self.head, &Own)?.0)
    }

    fn reader(&self) -> FileReader {
        FileReader::open(OsDisk::shared(), &self.root).unwrap()
    }

    /// The places of which a check tells something.
    fn faults(&self) -> Vec<String> {
        let info = info();
        let scanned = Scanned {
            anchored: self.head.size,
            end: TreeSize(self.scribe.size()),
            held: false,
            info: &info,
            kept: 0,
            strict: false,
            ids: None,
            summed: None,
        };
        let faults = self.reader().check_derived(&scanned).unwrap();
        faults.into_iter().map(|fault| fault.place).collect()
    }

    fn repair(&self) {
        rebuild(&OsDisk::shared(), &self.root, &self.reader(), &self.head, 0).unwrap();
    }
}

fn not_utf8() -> &'static OsStr {
    OsStr::from_bytes(b"xx\xff.tmp")
}

#[test]
fn strange_names_keep_no_log_from_opening_and_are_told_and_moved_aside() {
    let log = Log::new();
    let folders = ["", "segments", "tree", "checkpoints", "ids"].map(|name| log.root.join(name));
    let mut strange = Vec::new();
    for folder in &folders {
        fs::write(folder.join(not_utf8()), b"x").unwrap();
        fs::create_dir(folder.join("x.tmp")).unwrap();
        fs::write(folder.join("x.tmp/inside"), b"x").unwrap();
        std::os::unix::fs::symlink(&log.root, folder.join("link.tmp")).unwrap();
        fs::write(folder.join("left.tmp"), b"x").unwrap();
        strange.extend(["x.tmp", "link.tmp"].map(|name| folder.join(name)));
        strange.push(folder.join(not_utf8()));
    }
    let writer = log.open().unwrap();
    check_entries(writer.reader(), &log.scribe);
    writer.close().unwrap();
    drop(writer);
    for path in &strange {
        assert!(fs::symlink_metadata(path).is_ok(), "{} was removed", path.display());
    }
    for folder in &folders {
        assert!(!folder.join("left.tmp").exists(), "what an interrupted replacement leaves goes");
    }
    let faults = log.faults();
    for path in strange.iter().filter(|path| !path.starts_with(log.root.join("ids"))) {
        assert!(faults.contains(&path.display().to_string()), "{} is not told: {faults:?}", path.display());
    }
    log.repair();
    let writer = log.open().unwrap();
    check_entries(writer.reader(), &log.scribe);
    writer.close().unwrap();
    drop(writer);
    assert_eq!(log.faults(), Vec::<String>::new());
    let aside = fs::read_dir(log.root.join("aside")).unwrap().count();
    assert!(aside >= 2 * folders.len(), "{aside} of them are kept aside");
}

#[test]
fn numbers_near_the_largest_in_names_belong_to_no_log() {
    let highest = 1_u64 << 53;
    for number in [highest + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        let log = Log::new();
        let layout = Layout::new(&log.root);
        let strange = [
            layout.segment(number),
            layout.closed(number),
            layout.kept(number),
            layout.at("ids").join(format!("{:020}-{number:020}.ids", 0)),
            layout.at("ids").join(format!("{number:020}-{:020}.ids", u64::MAX)),
        ];
        for path in &strange {
            fs::write(path, log.scribe.lines.concat()).unwrap();
        }
        let reader = log.reader();
        check_entries(&reader, &log.scribe);
        assert_eq!(reader.lookup(id(3)).unwrap(), [LeafIndex(3)]);
        drop(reader);
        let faults = log.faults();
        // The folder `ids` may hold what it likes: what is in none of its files is looked for in the entries.
        for path in strange.iter().filter(|path| !path.starts_with(layout.at("ids"))) {
            assert!(faults.contains(&path.display().to_string()), "{}: {faults:?}", path.display());
        }
        log.open().unwrap().close().unwrap();
        log.repair();
        check_entries(log.open().unwrap().reader(), &log.scribe);
        assert!(strange.iter().all(|path| !path.exists()));
    }
}

#[test]
fn numbers_near_the_largest_in_durable_are_as_none() {
    let log = Log::new();
    let path = log.root.join("durable");
    let most = u64::MAX;
    for (size, bytes) in [(most, most), (most, 0), (most - 1, most), ((1 << 53) + 1, 1), (60, most), (60, 1 << 63)] {
        for done in [false, true] {
            fs::write(&path, Durable { size, bytes, done }.to_bytes()).unwrap();
            check_entries(&log.reader(), &log.scribe);
            assert_eq!(log.faults(), [path.display().to_string()], "{size} {bytes}");
            let past = log.reader().read(LeafIndex(u64::MAX), 1);
            assert!(matches!(past, Err(StoreError::NoEntry { .. })), "{past:?}");
        }
    }
    log.open().unwrap().close().unwrap();
    assert_eq!(log.faults(), Vec::<String>::new());
}

#[test]
fn offsets_near_the_largest_do_not_panic() {
    let log = Log::new();
    let path = log.root.join("offsets");
    let whole = fs::read(&path).unwrap();
    for value in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 62, i64::MAX.unsigned_abs(), 0] {
        let bytes: Vec<u8> = value.to_le_bytes().repeat(whole.len() / 8);
        fs::write(&path, bytes).unwrap();
        check_entries_by_counting(&log.root, &log.scribe);
        let error = log.open().err().unwrap();
        assert!(matches!(&error, StoreError::Damaged { place, .. } if place.ends_with("offsets")), "{value}: {error}");
        assert!(error.to_string().contains("log repair"), "{error}");
    }
    fs::write(&path, whole).unwrap();
    check_entries(log.open().unwrap().reader(), &log.scribe);
}

fn check_entries_by_counting(root: &Path, scribe: &Scribe) {
    let reader = FileReader::open(OsDisk::shared(), root).unwrap();
    for (index, line) in (0..).zip(&scribe.lines) {
        assert_eq!(reader.read(LeafIndex(index), 0).unwrap().bytes, *line, "entry {index}");
    }
}
