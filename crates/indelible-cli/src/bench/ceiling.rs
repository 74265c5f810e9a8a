//! The bare loops: the least that could be done with the same bytes. They keep no promise but the one that they are measured for.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hint::black_box,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indelible_core::{
    hex,
    mac::EntryKey,
    tree::{Frontier, Hash, TreeHead, leaf_hash},
};
use indelible_store_file::frames::{self, Frame};

use super::{BATCH, events::Lines};

/// A file that is not there yet, for appending.
fn fresh(path: &Path) -> anyhow::Result<File> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(File::options().append(true).create_new(true).open(path)?)
}

/// One thread: leaf hash, entry signature, tree, one write and one sync for each batch. Returns entries a second.
pub(crate) fn batched(path: &Path, lines: &Lines, time: Duration) -> anyhow::Result<f64> {
    let mut file = fresh(path)?;
    let mut frontier = Frontier::new();
    let mut buffer = Vec::new();
    let mut circle = lines.circle();
    let begun = Instant::now();
    while begun.elapsed() < time {
        buffer.clear();
        for (line, entry) in circle.by_ref().take(BATCH) {
            let leaf = leaf_hash(entry);
            black_box(lines.key.sign(&leaf));
            frontier.push(leaf);
            buffer.extend_from_slice(line);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    black_box(frontier.root());
    drop(file);
    fs::remove_file(path)?;
    Ok(frontier.size().0 as f64 / seconds)
}

/// One line, one write, one sync. Returns the microseconds of each.
pub(crate) fn single(file: &mut File, lines: &Lines, time: Duration) -> anyhow::Result<Vec<f64>> {
    let mut figures = Vec::new();
    let mut circle = lines.circle();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let Some((line, _)) = circle.next() else { break };
        let one = Instant::now();
        file.write_all(line)?;
        file.sync_data()?;
        figures.push(one.elapsed().as_secs_f64() * 1e6);
    }
    Ok(figures)
}

/// The file of [`single`].
pub(crate) fn single_file(path: &Path) -> anyhow::Result<File> {
    fresh(path)
}

/// Many callers with one line each; whoever finds nobody leading takes what waits, writes, syncs, and wakes those whose lines it took.
struct GroupCommit {
    state: Mutex<Waiting>,
    file: Mutex<File>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    done: Arc<OnceLock<bool>>,
    led: bool,
}

impl GroupCommit {
    fn append(&self, line: &[u8]) -> bool {
        let mut state = lock(&self.state);
        state.bytes.extend_from_slice(line);
        let done = Arc::clone(&state.done);
        let leads = !std::mem::replace(&mut state.led, true);
        drop(state);
        if leads {
            // While the batch before syncs, this one fills.
            let mut file = lock(&self.file);
            let mut state = lock(&self.state);
            let Waiting { bytes, done, .. } = std::mem::take(&mut *state);
            drop(state);
            let written = file.write_all(&bytes).and_then(|()| file.sync_data()).is_ok();
            drop(file);
            // Set once, by the one leader that took this batch.
            let _ = done.set(written);
        }
        *done.wait()
    }
}

/// Group commit with so many threads. Returns lines a second.
pub(crate) fn group_commit(path: &Path, lines: &Lines, callers: usize, time: Duration) -> anyhow::Result<f64> {
    let commit = GroupCommit { state: Mutex::default(), file: Mutex::new(fresh(path)?) };
    let (stop, done, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        for caller in 0..callers {
            let (commit, stop, done, failed) = (&commit, &stop, &done, &failed);
            scope.spawn(move || {
                let mut own = 0;
                for (line, _) in lines.circle().skip(caller * 97) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if !commit.append(line) {
                        failed.store(true, Ordering::Relaxed);
                        break;
                    }
                    own += 1;
                }
                done.fetch_add(own, Ordering::Relaxed);
            });
        }
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let seconds = begun.elapsed().as_secs_f64();
    anyhow::ensure!(!failed.into_inner(), "the bare group commit could not write `{}`", path.display());
    fs::remove_file(path)?;
    Ok(done.into_inner() as f64 / seconds)
}

/// One line, one write, no sync. Returns lines a second.
pub(crate) fn unsynced(path: &Path, lines: &Lines, count: usize) -> anyhow::Result<f64> {
    let mut file = fresh(path)?;
    let begun = Instant::now();
    for (line, _) in lines.circle().take(count) {
        file.write_all(line)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(file);
    fs::remove_file(path)?;
    Ok(count as f64 / seconds)
}

/// A part of a segment that a thread takes.
struct Part {
    file: Arc<File>,
    what: What,
}

enum What {
    Frames(Vec<Frame>),
    Plain { from: u64, bytes: usize },
}

/// Bytes of a part: as much as the log's own verification takes at a time.
const PART_BYTES: u64 = 1 << 20;
const PART_FRAMES: usize = 16;

/// Reads every line of a log's segments with so many threads: decompress, split, leaf hash, entry signature, tree. Returns entries a
/// second; the tree must give `head`.
pub(crate) fn verify(log: &Path, key: &EntryKey, threads: usize, head: &TreeHead) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let parts = parts(&log.join("segments"))?;
    let (next, tree) = (AtomicUsize::new(0), Mutex::new(Ordered::default()));
    let work = || -> anyhow::Result<()> {
        let mut reading = Reading::new()?;
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(n) else { return Ok(()) };
            let leaves = reading.leaves(part, key)?;
            lock(&tree).put(n, leaves);
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined =
            others.into_iter().map(|other| other.join().unwrap_or_else(|_| anyhow::bail!("a thread ended early")));
        joined.chain([own]).collect::<anyhow::Result<()>>()
    })?;
    let tree = tree.into_inner().unwrap_or_else(PoisonError::into_inner);
    let root = tree.frontier.root();
    let seconds = begun.elapsed().as_secs_f64();
    anyhow::ensure!(root == head.root, "the bare loop over `{}` gives another root than its checkpoint", log.display());
    Ok(head.size.0 as f64 / seconds)
}

/// A tree that takes the leaves of parts as they come and appends them in order.
#[derive(Default)]
struct Ordered {
    frontier: Frontier,
    next: usize,
    waiting: BTreeMap<usize, Vec<Hash>>,
}

impl Ordered {
    fn put(&mut self, n: usize, leaves: Vec<Hash>) {
        self.waiting.insert(n, leaves);
        while let Some(leaves) = self.waiting.remove(&self.next) {
            leaves.into_iter().for_each(|leaf| self.frontier.push(leaf));
            self.next += 1;
        }
    }
}

/// The buffers of one thread.
struct Reading {
    decompressor: zstd::bulk::Decompressor<'static>,
    compressed: Vec<u8>,
    content: Vec<u8>,
}

impl Reading {
    fn new() -> anyhow::Result<Self> {
        let content = Vec::with_capacity(frames::FRAME_BYTES);
        Ok(Self { decompressor: zstd::bulk::Decompressor::new()?, compressed: Vec::new(), content })
    }

    fn leaves(&mut self, part: &Part, key: &EntryKey) -> anyhow::Result<Vec<Hash>> {
        let mut leaves = Vec::with_capacity(2048);
        match &part.what {
            What::Plain { from, bytes } => {
                self.content.resize(*bytes, 0);
                part.file.read_exact_at(&mut self.content, *from)?;
                check(&self.content, key, &mut leaves)?;
            }
            What::Frames(frames) => {
                for frame in frames {
                    self.compressed.resize(usize::try_from(frame.compressed)?, 0);
                    part.file.read_exact_at(&mut self.compressed, frame.at)?;
                    self.content.clear();
                    self.decompressor.decompress_to_buffer(&self.compressed, &mut self.content)?;
                    check(&self.content, key, &mut leaves)?;
                }
            }
        }
        Ok(leaves)
    }
}

/// Leaf hash and entry signature of every line.
fn check(content: &[u8], key: &EntryKey, leaves: &mut Vec<Hash>) -> anyhow::Result<()> {
    let mut rest = content;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).context("a line does not end")?;
        let (line, after) = rest.split_at_checked(end).unwrap_or_default();
        rest = after.get(1..).unwrap_or_default();
        let signed = ok(line.get(b"{\"batch\":0,\"entry\":".len() - 1..))?;
        let from = memchr::memchr(b'{', signed).context("a line holds no entry")?;
        let entry =
            signed.get(from..signed.len().wrapping_sub(b",\"mac\":\"\"}".len() + 64)).context("a line is too short")?;
        let mac = ok(line.get(line.len().wrapping_sub(66)..line.len().wrapping_sub(2)))?;
        let leaf = leaf_hash(entry);
        let mac: [u8; 32] = hex::decode(mac).context("a line carries no signature")?;
        anyhow::ensure!(key.verify(&leaf, &mac), "a signature is wrong");
        leaves.push(leaf);
    }
    Ok(())
}

fn ok(bytes: Option<&[u8]>) -> anyhow::Result<&[u8]> {
    bytes.context("a line is too short")
}

fn parts(dir: &Path) -> anyhow::Result<Vec<Part>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let mut parts = Vec::new();
    for path in paths {
        let file = Arc::new(File::open(&path)?);
        let len = file.metadata()?.len();
        let whats = if path.extension().is_some_and(|e| e == "zst") {
            frame_parts(&file, len)?
        } else {
            plain_parts(&file, len)?
        };
        parts.extend(whats.into_iter().map(|what| Part { file: Arc::clone(&file), what }));
    }
    Ok(parts)
}

fn frame_parts(file: &File, len: u64) -> anyhow::Result<Vec<What>> {
    let mut footer = [0; 9];
    file.read_exact_at(&mut footer, len.saturating_sub(9))?;
    let table_len = frames::table_len(&footer, len)?;
    let mut table = vec![0; usize::try_from(table_len)?];
    file.read_exact_at(&mut table, len - table_len)?;
    let frames = frames::parse_table(&table, len)?;
    Ok(frames.chunks(PART_FRAMES).map(|frames| What::Frames(frames.to_vec())).collect())
}

/// Cuts a plain segment behind the first line end of every mebibyte.
fn plain_parts(file: &File, len: u64) -> anyhow::Result<Vec<What>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < len {
        let mut to = (from + PART_BYTES).min(len);
        let mut probe = [0; 4096];
        while to < len {
            let got = file.read_at(&mut probe, to)?;
            match memchr::memchr(b'\n', probe.get(..got).unwrap_or_default()) {
                Some(at) => {
                    to += at as u64 + 1;
                    break;
                }
                None => to += got as u64,
            }
        }
        parts.push(What::Plain { from, bytes: usize::try_from(to - from)? });
        from = to;
    }
    Ok(parts)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
