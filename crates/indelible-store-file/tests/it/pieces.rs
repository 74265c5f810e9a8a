//! A large segment whose seek table is wrong is mended without being read whole.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use indelible_store::{
    disk::{Disk, DiskFile, Lease, Meta, Open, OsDisk, Protection, SharedDisk},
    fault::Random,
};
use indelible_store_file::{
    layout::Layout,
    segments::{self, Form, OpenSegment, Segment, Trust},
};

/// Notes the longest read and write.
struct Watched(Arc<AtomicUsize>);

struct WatchedFile(Box<dyn DiskFile>, Arc<AtomicUsize>);

impl Disk for Watched {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(WatchedFile(OsDisk.open(path, how)?, Arc::clone(&self.0))))
    }
    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        OsDisk.meta(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        OsDisk.lease(path)
    }
    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        OsDisk.protect(path, immutable)
    }
    fn unprotect(&self, path: &Path) -> io::Result<()> {
        OsDisk.unprotect(path)
    }
}

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.fetch_max(buf.len(), Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.fetch_max(bytes.len(), Ordering::Relaxed);
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[test]
fn a_seek_table_is_written_anew_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir(layout.at("segments")).unwrap();
    let mut random = Random::new(5);
    let mut lines = Vec::new();
    while lines.len() < 8 << 20 {
        lines.extend(
            format!("{:016x}{:016x}{:016x}\n", random.next_u64(), random.next_u64(), random.next_u64()).bytes(),
        );
    }
    fs::write(layout.segment(0), &lines).unwrap();
    let disk = OsDisk::shared();
    let plain = OpenSegment::open(&disk, &layout, Segment { first: 0, form: Form::Plain }, Trust::Walk).unwrap();
    let temporary = segments::compress(&*disk, &layout, &plain, |_| ()).unwrap();
    fs::rename(temporary, layout.closed(0)).unwrap();
    fs::remove_file(layout.segment(0)).unwrap();
    let whole = fs::read(layout.closed(0)).unwrap();
    assert!(whole.len() > 3 << 20, "{}", whole.len());
    let mut wrong = whole.clone();
    let at = whole.len() - 30;
    wrong[at] ^= 1;
    fs::write(layout.closed(0), &wrong).unwrap();
    let longest = Arc::new(AtomicUsize::new(0));
    let watched: SharedDisk = Arc::new(Watched(Arc::clone(&longest)));
    segments::rewrite_table(&layout, &watched, Segment { first: 0, form: Form::Closed }).unwrap();
    assert!(fs::read(layout.closed(0)).unwrap() == whole);
    let longest = longest.load(Ordering::Relaxed);
    assert!(longest <= 1 << 20, "{longest} bytes were held at once");
    assert_eq!(fs::read_dir(layout.at("segments")).unwrap().count(), 1);
}
