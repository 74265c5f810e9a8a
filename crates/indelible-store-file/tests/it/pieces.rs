//! How segments are read: a large one whose seek table is wrong is mended without being read whole, and one whose disk hangs is in no other's way.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use indelible_core::tree::LeafIndex;
use indelible_store::{
    conformance::{Scribe, info},
    disk::{Disk, DiskFile, Lease, Meta, Open, OsDisk, Protection, SharedDisk},
    fault::Random,
    store::{Chunk, Reader as _, Writer as _},
};
use indelible_store_file::{
    FileReader, FileWriter, Settings,
    layout::Layout,
    segments::{self, Form, OpenSegment, Segment, Trust},
    writer::create,
};

use crate::world::Own;

/// Hears of each read and write before it is done, with its length.
type Ear = Arc<dyn Fn(&Path, usize) + Send + Sync>;

struct Watched(Ear);

struct WatchedFile(Box<dyn DiskFile>, PathBuf, Ear);

impl Disk for Watched {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(WatchedFile(OsDisk.open(path, how)?, path.to_owned(), Arc::clone(&self.0))))
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
        (self.2)(&self.1, buf.len());
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.2)(&self.1, bytes.len());
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
    let seen = Arc::clone(&longest);
    let watched: SharedDisk = Arc::new(Watched(Arc::new(move |_, bytes| {
        seen.fetch_max(bytes, Ordering::Relaxed);
    })));
    segments::rewrite_table(&layout, &watched, Segment { first: 0, form: Form::Closed }).unwrap();
    assert!(fs::read(layout.closed(0)).unwrap() == whole);
    let longest = longest.load(Ordering::Relaxed);
    assert!(longest <= 1 << 20, "{longest} bytes were held at once");
    assert_eq!(fs::read_dir(layout.at("segments")).unwrap().count(), 1);
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_segment_whose_disk_hangs_keeps_no_other_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("log");
    let settings = Settings { segment_bytes: 4 << 10, immutable: false, ..Settings::default() };
    create(&OsDisk::shared(), &root, &info(), &settings).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(OsDisk::shared(), &root, &scribe.head(0), &Own).unwrap().0;
    for _ in 0..8 {
        writer.append(&scribe.batch(&[700; 5])).unwrap();
    }
    writer.extend_tree(&scribe.leaves, &Chunk { first: 0, bytes: scribe.lines.concat() }).unwrap();
    writer.sync_tree().unwrap();
    while writer.tend(scribe.head(scribe.size()).size).unwrap() {}
    let held = Arc::new(Mutex::new(None::<(PathBuf, mpsc::SyncSender<()>, mpsc::Receiver<()>)>));
    let at_gate = Arc::clone(&held);
    let disk: SharedDisk = Arc::new(Watched(Arc::new(move |path: &Path, _| {
        let mine = at_gate.lock().unwrap().take_if(|(hangs, ..)| hangs == path);
        if let Some((_, begun, go)) = mine {
            begun.send(()).unwrap();
            go.recv_timeout(PATIENCE).unwrap();
        }
    })));
    let reader = Arc::new(FileReader::open(disk, &root).unwrap());
    let runs = reader.runs().unwrap();
    let [hanging, other] = [&runs[1], &runs[2]];
    assert!(hanging.closed && other.closed, "{runs:?}");
    let read = |first: u64| {
        let (reader, (send, receive)) = (Arc::clone(&reader), mpsc::sync_channel(1));
        thread::spawn(move || send.send(reader.read(LeafIndex(first), 0).map(|chunk| chunk.first)));
        receive
    };
    let (begin, begun) = mpsc::sync_channel(1);
    let (go, on) = mpsc::sync_channel(1);
    *held.lock().unwrap() = Some((PathBuf::from(&hanging.place), begin, on));
    let late = read(hanging.first);
    begun.recv_timeout(PATIENCE).unwrap();
    // The first is still held up.
    assert_eq!(read(other.first).recv_timeout(PATIENCE / 2).unwrap().unwrap(), other.first);
    go.send(()).unwrap();
    assert_eq!(late.recv_timeout(PATIENCE).unwrap().unwrap(), hanging.first);
}
