//! The directory store passes the suite, on the real file system and on the simulated one, with small segments and large.

use std::{path::PathBuf, sync::Arc};

use indelible_core::tree::TreeHead;
use indelible_store::{
    conformance::{Found, Harness, Leaving, Scribe, info, suite},
    disk::{OsDisk, SharedDisk},
    fault::SimDisk,
    store::{Reader, Writer},
};
use indelible_store_file::{FileReader, FileWriter, Settings, writer::create};
use tempfile::TempDir;

use crate::world::{Own, root};

struct Directory {
    disk: SharedDisk,
    root: PathBuf,
    writer: Option<FileWriter>,
    _folder: Option<TempDir>,
}

impl Directory {
    fn boxed(disk: SharedDisk, root: PathBuf, segment_bytes: u64, folder: Option<TempDir>) -> Box<dyn Harness> {
        let settings = Settings { segment_bytes, immutable: false, ..Settings::default() };
        create(&disk, &root, &info(), &settings).unwrap();
        let mut directory = Self { disk, root, writer: None, _folder: folder };
        directory.open(&Scribe::default().head(0));
        Box::new(directory)
    }

    fn open(&mut self, head: &TreeHead) -> Found {
        let opened = FileWriter::open(Arc::clone(&self.disk), &self.root, head, &Own);
        let (writer, recovered) = opened.unwrap();
        assert_eq!(recovered.cut, None);
        assert_eq!(recovered.last_recorded_at.is_some(), recovered.size > 0);
        let found = Found { size: writer.size().unwrap(), bounded: recovered.bounded };
        self.writer = Some(writer);
        found
    }
}

impl Harness for Directory {
    fn writer(&self) -> &dyn Writer {
        self.writer.as_ref().unwrap()
    }

    fn reopen(&mut self, head: &TreeHead, leaving: Leaving) -> Found {
        let writer = self.writer.take().unwrap();
        if leaving == Leaving::Closed {
            writer.close().unwrap();
        }
        drop(writer);
        self.open(head)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(FileReader::open(Arc::clone(&self.disk), &self.root).unwrap())
    }
}

fn real(segment_bytes: u64) -> Box<dyn Harness> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("log");
    Directory::boxed(OsDisk::shared(), root, segment_bytes, Some(folder))
}

fn simulated(segment_bytes: u64) -> Box<dyn Harness> {
    Directory::boxed(SimDisk::new(segment_bytes).shared(), root().to_owned(), segment_bytes, None)
}

#[test]
fn on_the_real_file_system_with_small_segments() {
    suite(&|| real(20_000));
}

#[test]
fn on_the_real_file_system_with_large_segments() {
    suite(&|| real(Settings::default().segment_bytes));
}

#[test]
fn on_the_simulated_disk_with_small_segments() {
    suite(&|| simulated(20_000));
}

#[test]
fn on_the_simulated_disk_with_large_segments() {
    suite(&|| simulated(Settings::default().segment_bytes));
}
