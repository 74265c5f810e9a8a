//! Exact id lookup (`docs/format.md` section 9): the newest ids in memory, the others in sorted files with filters.
//!
//! Files cover consecutive ranges of entries; neighbours of like size are merged, so that there are few. All of it is rebuilt
//! from the entries by `log repair`. A lookup gives candidates; whoever asks reads the entry and compares.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use indelible_store::{
    disk::{DiskFile, Open, SharedDisk},
    store::{Fingerprint, FingerprintMap, StoreError},
};
use sha2::{Digest as _, Sha256};

use crate::{
    layout::{Layout, MAX_ENTRIES},
    tree_files::lock,
};

const MAGIC: &[u8; 8] = b"INDIDS1\n";
const HEADER_LEN: usize = 40;
const HEADER: u64 = HEADER_LEN as u64;
const BLOCK_LEN: usize = 64;
const BLOCK: u64 = BLOCK_LEN as u64;
const RECORD_LEN: usize = 24;
const RECORD: u64 = RECORD_LEN as u64;
const FOOTER_LEN: usize = 64;
const FOOTER: u64 = FOOTER_LEN as u64;
/// 10 bits a key in a block of 512.
const KEYS_PER_BLOCK: u64 = 51;
/// Files of the same tier (by powers of this many) are merged when there are so many neighbours.
const FAN_OUT: usize = 8;
/// Records read or written at a time: 96 KiB.
const BUFFER_RECORDS: usize = 4096;

/// An id's fingerprint and where its entry stands.
pub type Record = (Fingerprint, u64);

/// One sorted file.
pub struct Run {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// First entry that it covers.
    pub first: u64,
    /// End of the range that it covers.
    pub end: u64,
    count: u64,
    blocks: u64,
}

impl Run {
    /// Opens a file and checks its header against its name and length.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(disk: &SharedDisk, path: PathBuf, first: u64, end: u64) -> Result<Self, StoreError> {
        let file = disk.open(&path, Open::Read).map_err(StoreError::io("open", &path))?;
        let mut header = [0; HEADER_LEN];
        let got = file.read_at(&mut header, 0).map_err(StoreError::io("read", &path))?;
        let word =
            |n: usize| header.get(n * 8..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes);
        let run = Self { count: word(1), blocks: word(4), file, path, first, end };
        let len = run.file.len().map_err(StoreError::io("read", &run.path))?;
        let fits = got == header.len()
            && header.starts_with(MAGIC)
            && (word(2), word(3)) == (first, end)
            && run.blocks == run.count / KEYS_PER_BLOCK + 1
            && run.count <= end.saturating_sub(first)
            // INVARIANT(counted): from here on `count` and `blocks` are bounded by the file's length.
            && Some(len) == length_of(run.count, run.blocks);
        if fits { Ok(run) } else { Err(run.damaged("its header does not fit its name and length")) }
    }

    fn damaged(&self, detail: &str) -> StoreError {
        StoreError::Damaged { place: self.path.display().to_string(), detail: detail.to_owned() }
    }

    fn records_at(&self) -> u64 {
        HEADER + self.blocks * BLOCK
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        let got = self.file.read_at(bytes, at).map_err(StoreError::io("read", &self.path))?;
        if got == bytes.len() { Ok(()) } else { Err(self.damaged("it ends too early")) }
    }

    fn records(&self, from: u64, count: usize) -> Result<Vec<Record>, StoreError> {
        let mut bytes = vec![0; count * RECORD_LEN];
        self.read(&mut bytes, self.records_at() + from * RECORD)?;
        Ok(bytes.chunks_exact(RECORD_LEN).filter_map(parse_record).collect())
    }

    /// Indices recorded for a fingerprint.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Damaged`].
    pub fn lookup(&self, id: Fingerprint, out: &mut Vec<u64>) -> Result<(), StoreError> {
        let mut block = [0; BLOCK_LEN];
        self.read(&mut block, HEADER + block_of(id, self.blocks) * BLOCK)?;
        if !bits_of(id).all(|bit| block.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)) {
            return Ok(());
        }
        let mut at = self.lower_bound(id)?;
        while at < self.count {
            match self.records(at, 1)?.first() {
                Some((found, index)) if *found == id => out.push(*index),
                _ => break,
            }
            at += 1;
        }
        Ok(())
    }

    /// The first record not below `id`. Fingerprints are uniform, so a guess by proportion lands within a few pages.
    fn lower_bound(&self, id: Fingerprint) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.count);
        let prefix = id.0.first_chunk().copied().map_or(0, u64::from_be_bytes);
        let guess = scale(prefix, self.count);
        let mut width = 128_u64;
        // Bracket the answer around the guess, then halve.
        loop {
            let from = guess.saturating_sub(width).max(low);
            let to = guess.saturating_add(width).min(high);
            let below = from == 0 || self.records(from - 1, 1)?.first().is_some_and(|r| r.0 < id);
            let above = to >= self.count || self.records(to, 1)?.first().is_none_or(|r| r.0 >= id);
            if below {
                low = low.max(from);
            }
            if above {
                high = high.min(to);
            }
            if below && above {
                break;
            }
            width = width.saturating_mul(8);
        }
        while high - low > BUFFER_RECORDS as u64 / 16 {
            let middle = low + (high - low) / 2;
            if self.records(middle, 1)?.first().is_some_and(|r| r.0 < id) { low = middle + 1 } else { high = middle }
        }
        let window = self.records(low, usize::try_from(high - low).unwrap_or(0))?;
        Ok(low + window.partition_point(|r| r.0 < id) as u64)
    }

    /// Every record in order, with the checksum and order checked at the end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`], or what `each` returns.
    pub fn scan(&self, mut each: impl FnMut(Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut digests = [Sha256::new(), Sha256::new()];
        let [front, records] = &mut digests;
        let mut at = 0;
        while at < self.records_at() {
            let mut bytes = vec![0; usize::try_from((self.records_at() - at).min(1 << 16)).unwrap_or(0)];
            self.read(&mut bytes, at)?;
            front.update(&bytes);
            at += bytes.len() as u64;
        }
        let mut last = None;
        let mut n = 0;
        while n < self.count {
            let count = usize::try_from(self.count - n).unwrap_or(usize::MAX).min(BUFFER_RECORDS);
            let mut bytes = vec![0; count * RECORD_LEN];
            self.read(&mut bytes, self.records_at() + n * RECORD)?;
            records.update(&bytes);
            for record in bytes.chunks_exact(RECORD_LEN).filter_map(parse_record) {
                if last.is_some_and(|last| last >= record) {
                    return Err(self.damaged("its records are out of order"));
                }
                last = Some(record);
                each(record)?;
            }
            n += count as u64;
        }
        let mut footer = [0; FOOTER_LEN];
        self.read(&mut footer, self.records_at() + self.count * RECORD)?;
        let want = digests.map(|digest| <[u8; 32]>::from(digest.finalize())).concat();
        if want == footer { Ok(()) } else { Err(self.damaged("its checksum does not fit")) }
    }
}

/// The length of a file of so many records and blocks; `None` where no file is so long.
fn length_of(count: u64, blocks: u64) -> Option<u64> {
    let front = blocks.checked_mul(BLOCK)?.checked_add(HEADER)?;
    count.checked_mul(RECORD)?.checked_add(front)?.checked_add(FOOTER)
}

fn parse_record(bytes: &[u8]) -> Option<Record> {
    let fingerprint = Fingerprint(*bytes.first_chunk::<16>()?);
    Some((fingerprint, u64::from_le_bytes(*bytes.last_chunk::<8>()?)))
}

fn scale(prefix: u64, count: u64) -> u64 {
    u64::try_from((u128::from(prefix) * u128::from(count)) >> 64).unwrap_or(0)
}

fn block_of(id: Fingerprint, blocks: u64) -> u64 {
    let prefix = id.0.first_chunk().copied().map_or(0, u32::from_be_bytes);
    u64::try_from((u128::from(prefix) * u128::from(blocks)) >> 32).unwrap_or(0)
}

fn bits_of(id: Fingerprint) -> impl Iterator<Item = usize> {
    let x = id.0.last_chunk().copied().map_or(0, u64::from_le_bytes);
    (0..6).map(move |k| usize::try_from(x >> (9 * k) & 511).unwrap_or(0))
}

/// Writes a sorted file in one pass: the filter's blocks and the records grow side by side.
struct RunWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Vec<u8>,
    blocks: u64,
    block: u64,
    bits: [u8; BLOCK_LEN],
    filter: Vec<u8>,
    filter_at: u64,
    records: Vec<u8>,
    records_at: u64,
    digests: [Sha256; 2],
}

impl RunWriter {
    fn create(disk: &SharedDisk, path: PathBuf, first: u64, end: u64, count: u64) -> Result<Self, StoreError> {
        if disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        let file = disk.open(&path, Open::CreateNew).map_err(StoreError::io("create", &path))?;
        let blocks = count / KEYS_PER_BLOCK + 1;
        let mut header = MAGIC.to_vec();
        for word in [count, first, end, blocks] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        let mut digests = [Sha256::new(), Sha256::new()];
        if let Some(front) = digests.first_mut() {
            front.update(&header);
        }
        Ok(Self {
            file,
            path,
            header,
            blocks,
            block: 0,
            bits: [0; BLOCK_LEN],
            filter: Vec::new(),
            filter_at: HEADER,
            records: Vec::new(),
            records_at: HEADER + blocks * BLOCK,
            digests,
        })
    }

    fn push(&mut self, record: Record) -> Result<(), StoreError> {
        let block = block_of(record.0, self.blocks);
        while self.block < block {
            self.end_block()?;
        }
        for bit in bits_of(record.0) {
            if let Some(byte) = self.bits.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        self.records.extend_from_slice(&record.0.0);
        self.records.extend_from_slice(&record.1.to_le_bytes());
        if self.records.len() >= BUFFER_RECORDS * RECORD_LEN { self.flush_records() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        self.filter.extend_from_slice(&self.bits);
        self.bits = [0; BLOCK_LEN];
        self.block += 1;
        if self.filter.len() >= 1 << 16 { self.flush_filter() } else { Ok(()) }
    }

    fn flush_filter(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.filter, self.filter_at).map_err(StoreError::io("write", &self.path))?;
        if let Some(front) = self.digests.first_mut() {
            front.update(&self.filter);
        }
        self.filter_at += self.filter.len() as u64;
        self.filter.clear();
        Ok(())
    }

    fn flush_records(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.records, self.records_at).map_err(StoreError::io("write", &self.path))?;
        if let Some(back) = self.digests.last_mut() {
            back.update(&self.records);
        }
        self.records_at += self.records.len() as u64;
        self.records.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), StoreError> {
        while self.block < self.blocks {
            self.end_block()?;
        }
        self.flush_filter()?;
        self.flush_records()?;
        let footer = self.digests.map(|digest| <[u8; 32]>::from(digest.finalize())).concat();
        let io = |step| StoreError::io(step, &self.path);
        self.file.write_at(&footer, self.records_at).map_err(io("write"))?;
        self.file.write_at(&self.header, 0).map_err(io("write"))?;
        self.file.sync().map_err(io("sync"))
    }
}

/// The ids of a log: two generations in memory, the rest in files.
pub struct IdIndex {
    disk: SharedDisk,
    layout: Layout,
    state: RwLock<State>,
    /// Held by who writes out and merges: two would write the same file. Says whether a file that was to be merged is damaged.
    tending: Mutex<bool>,
}

#[derive(Default)]
struct State {
    /// Ids of entries not yet in a file, newest generation.
    current: FingerprintMap<u64>,
    /// Entries above the highest that `current` was told of.
    current_end: u64,
    /// The generation before, waiting to be written.
    frozen: Arc<FingerprintMap<u64>>,
    frozen_end: u64,
    runs: Vec<Arc<Run>>,
    /// How many generations were written out by this handle.
    written: u64,
}

/// A generation in memory: 16 MiB of table at most.
const GENERATION: usize = 1 << 18;

impl IdIndex {
    /// Opens the files of a log; the caller then tells the ids of entries from [`IdIndex::covered`] on.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a file does not fit, or the files do not cover a range without holes.
    pub fn open(disk: SharedDisk, layout: Layout) -> Result<Self, StoreError> {
        let files = list(&disk, &layout)?;
        if let Some((first, _, _)) = files.stray.first() {
            let covered = files.kept.last().map_or(0, |(_, end, _)| *end);
            let detail = format!("a file begins with entry {first} where one should with entry {covered}");
            return Err(StoreError::Damaged { place: layout.at("ids").display().to_string(), detail });
        }
        Self::with(disk, layout, files.kept)
    }

    /// Opens the files up to the first hole, which a power cut leaves where the sync of a name had failed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where a file does not fit; [`StoreError::Io`].
    pub fn open_to_hole(disk: SharedDisk, layout: Layout) -> Result<Self, StoreError> {
        let files = list(&disk, &layout)?;
        Self::with(disk, layout, files.kept)
    }

    fn with(disk: SharedDisk, layout: Layout, files: Vec<File>) -> Result<Self, StoreError> {
        let mut state = State::default();
        for (first, end, path) in files {
            state.runs.push(Arc::new(Run::open(&disk, path, first, end)?));
        }
        let covered = state.runs.last().map_or(0, |run| run.end);
        (state.current_end, state.frozen_end) = (covered, covered);
        Ok(Self { disk, layout, state: RwLock::new(state), tending: Mutex::default() })
    }

    /// End of the range that the files cover.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.read().runs.last().map_or(0, |run| run.end)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes ids findable. Entries come in order; `end` is the index behind the last of them.
    pub fn insert(&self, records: impl IntoIterator<Item = Record>, end: u64) {
        let mut state = self.write();
        state.current.extend(records);
        state.current_end = state.current_end.max(end);
    }

    /// Changes whenever a generation leaves memory.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.read().written
    }

    /// Candidates among the ids that are in no file yet; `None` where a generation left memory since `token` was taken, so that only
    /// [`IdIndex::lookup`] finds all. Both are read under one lock: nothing is written in between.
    #[must_use]
    pub fn recent(&self, id: Fingerprint, token: u64) -> Option<Vec<u64>> {
        let state = self.read();
        let memory = [state.current.get(&id), state.frozen.get(&id)];
        (state.written == token).then(|| memory.into_iter().flatten().copied().collect())
    }

    /// Candidates for an id: all that there are, newest first; strangers are possible only by a collision of 128 bits.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Damaged`].
    pub fn lookup(&self, id: Fingerprint) -> Result<Vec<u64>, StoreError> {
        let (mut found, runs) = {
            let state = self.read();
            let memory = [state.current.get(&id), state.frozen.get(&id)];
            (memory.into_iter().flatten().copied().collect::<Vec<u64>>(), state.runs.clone())
        };
        for run in runs.iter().rev() {
            run.lookup(id, &mut found)?;
        }
        found.dedup();
        Ok(found)
    }

    /// Writes out what is in memory and below `anchored`, if it is worth a file (or `all`), then merges neighbours once.
    /// Returns whether there is more to merge. Callers take turns. A file whose checksum does not fit is not merged: it stays as it is
    /// for verification to find, and so does everything else until the log is opened again.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn tend(&self, anchored: u64, all: bool) -> Result<bool, StoreError> {
        let mut damaged = lock(&self.tending);
        self.freeze(all);
        let (frozen, first, end) = {
            let state = self.read();
            let first = state.runs.last().map_or(0, |run| run.end);
            (Arc::clone(&state.frozen), first, state.frozen_end)
        };
        if end > first && end <= anchored {
            let mut records: Vec<Record> = frozen.iter().map(|(id, index)| (*id, *index)).collect();
            records.sort_unstable();
            let run = self.write_run(first, end, records.len() as u64, |out| {
                records.iter().try_for_each(|record| out.push(*record))
            })?;
            let mut state = self.write();
            state.runs.push(run);
            state.frozen = Arc::default();
            state.written += 1;
        }
        if *damaged {
            return Ok(false);
        }
        match self.merge() {
            // INVARIANT(authentic): a merged file has a checksum of its own, so what it is made of must have been whole.
            Err(StoreError::Damaged { .. }) => {
                *damaged = true;
                Ok(false)
            }
            merged => merged,
        }
    }

    /// Whether a generation is full: [`IdIndex::tend`] has something to write.
    #[must_use]
    pub fn due(&self) -> bool {
        self.read().current.len() >= GENERATION
    }

    /// Moves the current generation behind, where the one before is written.
    fn freeze(&self, all: bool) {
        let mut state = self.write();
        let written = state.runs.last().map_or(0, |run| run.end) == state.frozen_end;
        let due = all || state.current.len() >= GENERATION;
        if written && due && state.current_end > state.frozen_end {
            state.frozen = Arc::new(std::mem::take(&mut state.current));
            state.frozen_end = state.current_end;
        }
    }

    fn write_run(
        &self,
        first: u64,
        end: u64,
        count: u64,
        fill: impl FnOnce(&mut RunWriter) -> Result<(), StoreError>,
    ) -> Result<Arc<Run>, StoreError> {
        let path = self.layout.at("ids").join(file_name(first, end));
        let temporary = path.with_extension("tmp");
        let mut out = RunWriter::create(&self.disk, temporary.clone(), first, end, count)?;
        if let Err(error) = fill(&mut out) {
            drop(out);
            drop(self.disk.remove(&temporary));
            return Err(error);
        }
        out.finish()?;
        self.disk.rename(&temporary, &path).map_err(StoreError::io("rename", &path))?;
        let dir = self.layout.at("ids");
        if let Err(error) = self.disk.sync_dir(&dir) {
            // A file whose name may not last must not be built on; it is written again from memory or the entries.
            drop(self.disk.remove(&path));
            return Err(StoreError::io("sync", &dir)(error));
        }
        Ok(Arc::new(Run::open(&self.disk, path, first, end)?))
    }

    /// Merges the last [`FAN_OUT`] files where they are of one tier.
    fn merge(&self) -> Result<bool, StoreError> {
        let runs = self.read().runs.clone();
        let Some(from) = merge_from(&runs.iter().map(|run| run.end - run.first).collect::<Vec<_>>()) else {
            return Ok(false);
        };
        let old = runs.get(from..).unwrap_or_default();
        let (Some(head), Some(tail)) = (old.first(), old.last()) else { return Ok(false) };
        let count = old.iter().map(|run| run.count).sum();
        let merged = self.write_run(head.first, tail.end, count, |out| merge_records(old, out))?;
        {
            let mut state = self.write();
            state.runs.truncate(from);
            state.runs.push(merged);
        }
        for run in old {
            self.disk.remove(&run.path).map_err(StoreError::io("remove", &run.path))?;
        }
        Ok(true)
    }

    /// The files, for a check.
    #[must_use]
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.read().runs.clone()
    }
}

/// From which file on to merge, given the number of entries that each covers.
fn merge_from(sizes: &[u64]) -> Option<usize> {
    let tier = |size: u64| size.max(1).ilog2() / 3;
    let last = tier(*sizes.last()?);
    let same = sizes.iter().rev().take_while(|size| tier(**size) <= last).count();
    (same >= FAN_OUT).then(|| sizes.len() - same)
}

/// Merges records while checking each file's checksum of them; filters are made anew.
fn merge_records(runs: &[Arc<Run>], out: &mut RunWriter) -> Result<(), StoreError> {
    struct Cursor<'a> {
        run: &'a Run,
        next: u64,
        buffer: std::vec::IntoIter<Record>,
        head: Option<Record>,
        digest: Sha256,
    }
    impl Cursor<'_> {
        fn advance(&mut self) -> Result<(), StoreError> {
            if self.buffer.len() == 0 && self.next < self.run.count {
                let count = usize::try_from(self.run.count - self.next).unwrap_or(usize::MAX).min(BUFFER_RECORDS);
                let mut bytes = vec![0; count * RECORD_LEN];
                self.run.read(&mut bytes, self.run.records_at() + self.next * RECORD)?;
                self.digest.update(&bytes);
                self.buffer = bytes.chunks_exact(RECORD_LEN).filter_map(parse_record).collect::<Vec<_>>().into_iter();
                self.next += count as u64;
            }
            self.head = self.buffer.next();
            Ok(())
        }

        /// Compares the checksum of the records, when all were read.
        fn finish(self) -> Result<(), StoreError> {
            let mut footer = [0; FOOTER_LEN];
            self.run.read(&mut footer, self.run.records_at() + self.run.count * RECORD)?;
            let digest: [u8; 32] = self.digest.finalize().into();
            if footer.ends_with(&digest) { Ok(()) } else { Err(self.run.damaged("its checksum does not fit")) }
        }
    }
    let mut cursors = Vec::new();
    for run in runs {
        let mut cursor = Cursor { run, next: 0, buffer: Vec::new().into_iter(), head: None, digest: Sha256::new() };
        cursor.advance()?;
        cursors.push(cursor);
    }
    while let Some(cursor) = cursors.iter_mut().filter(|c| c.head.is_some()).min_by_key(|c| c.head) {
        if let Some(record) = cursor.head {
            out.push(record)?;
        }
        cursor.advance()?;
    }
    cursors.into_iter().try_for_each(Cursor::finish)
}

fn file_name(first: u64, end: u64) -> String {
    format!("{first:020}-{end:020}.ids")
}

/// An id file: the range that it covers, and its path.
pub type File = (u64, u64, PathBuf);

/// The id files of a log, in order, without the leavings of an interrupted merge.
#[derive(Debug, Default)]
pub struct Files {
    /// Those that cover the log from its beginning without a hole.
    pub kept: Vec<File>,
    /// Those behind a hole, and those that overlap others.
    pub stray: Vec<File>,
    /// Those that a merged one covers.
    pub leavings: Vec<File>,
}

/// Lists the id files.
///
/// # Errors
/// [`StoreError::Io`].
pub fn list(disk: &SharedDisk, layout: &Layout) -> Result<Files, StoreError> {
    let dir = layout.at("ids");
    let names = match disk.list(&dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("list", &dir)(error)),
    };
    let mut files: Vec<File> = names
        .iter()
        .filter_map(|name| {
            let (first, end) = name.strip_suffix(".ids")?.split_once('-')?;
            let (first, end) = (first.parse().ok()?, end.parse().ok()?);
            (first < end && end <= MAX_ENTRIES && file_name(first, end) == *name).then(|| (first, end, dir.join(name)))
        })
        .collect();
    // The widest of those that begin at the same entry is the merged one; what it covers are leavings.
    files.sort_by_key(|(first, end, _)| (*first, std::cmp::Reverse(*end)));
    let mut covered = 0;
    let mut found = Files::default();
    for file in files {
        let (first, end, _) = file;
        if end <= covered {
            found.leavings.push(file);
            continue;
        }
        if first == covered {
            covered = end;
            found.kept.push(file);
        } else {
            found.stray.push(file);
        }
    }
    Ok(found)
}

/// What stands in the folder and is no id file, with the temporary files among them.
///
/// # Errors
/// [`StoreError::Io`].
pub fn strangers(disk: &SharedDisk, layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let files = list(disk, layout)?;
    let own: std::collections::BTreeSet<PathBuf> =
        files.kept.into_iter().chain(files.stray).chain(files.leavings).map(|(_, _, path)| path).collect();
    let names = crate::segments::all_names(&**disk, &layout.at("ids"))?;
    Ok(names.into_iter().map(|name| layout.at("ids").join(name)).filter(|path| !own.contains(path)).collect())
}

/// Removes the files behind a hole: what they covered is read from the entries again.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove_strays(disk: &SharedDisk, layout: &Layout) -> Result<(), StoreError> {
    for (_, _, path) in list(disk, layout)?.stray {
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// Removes every id file, for a rebuild.
///
/// # Errors
/// [`StoreError::Io`].
pub fn clear(disk: &SharedDisk, layout: &Layout) -> Result<(), StoreError> {
    let dir = layout.at("ids");
    for name in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
        let path = dir.join(name);
        if !disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some_and(|meta| meta.is_dir) {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use indelible_store::disk::OsDisk;

    fn id(n: u64) -> Fingerprint {
        Fingerprint::of(&n.to_string())
    }

    #[test]
    fn finds_every_id_and_no_other_through_files_and_merges() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in layout.folders().iter().skip(1) {
            std::fs::create_dir(folder).unwrap();
        }
        let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
        let mut n = 0;
        for step in 0..150_u64 {
            let end = n + step * 7 % 40 + 1;
            index.insert((n..end).map(|n| (id(n), n)), end);
            n = end;
            while index.tend(n, true).unwrap() {}
        }
        assert!(index.runs().len() < 25, "{} files", index.runs().len());
        for index in [&index, &IdIndex::open(OsDisk::shared(), layout.clone()).unwrap()] {
            assert_eq!(index.covered(), n);
            for k in 0..n {
                assert_eq!(index.lookup(id(k)).unwrap(), vec![k]);
            }
            for k in n..n + 2000 {
                assert!(index.lookup(id(k)).unwrap().is_empty());
            }
            let mut scanned = 0;
            for run in index.runs() {
                run.scan(|_| {
                    scanned += 1;
                    Ok(())
                })
                .unwrap();
            }
            assert_eq!(scanned, n);
        }
    }

    #[test]
    fn a_damaged_file_is_not_merged() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in layout.folders().iter().skip(1) {
            std::fs::create_dir(folder).unwrap();
        }
        let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
        let fan_out = FAN_OUT as u64;
        for n in 0..fan_out - 1 {
            index.insert([(id(n), n)], n + 1);
            index.tend(n + 1, true).unwrap();
        }
        let path = layout.at("ids").join(file_name(2, 3));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - FOOTER_LEN - 1;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        index.insert([(id(fan_out), fan_out - 1)], fan_out);
        for _ in 0..3 {
            assert!(!index.tend(fan_out, true).unwrap());
        }
        assert_eq!(index.runs().len(), FAN_OUT);
        assert_eq!(std::fs::read_dir(layout.at("ids")).unwrap().count(), FAN_OUT);
    }

    #[test]
    fn what_is_in_memory_is_told_only_under_the_token_of_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in layout.folders().iter().skip(1) {
            std::fs::create_dir(folder).unwrap();
        }
        let index = IdIndex::open(OsDisk::shared(), layout).unwrap();
        let token = index.token();
        index.insert([(id(0), 0)], 1);
        assert_eq!(index.recent(id(0), token), Some(vec![0]));
        index.tend(1, true).unwrap();
        assert_eq!(index.recent(id(0), token), None);
        assert_eq!(index.recent(id(0), index.token()), Some(Vec::new()));
    }

    /// A file of the id folder whose header says what is given, with nothing but zeros behind it.
    fn with_header(dir: &std::path::Path, words: [u64; 4], len: usize) -> PathBuf {
        let path = dir.join("x.ids");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(len, 0);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn numbers_near_the_largest_in_a_header_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let ends = [u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 63, 1 << 60];
        // Also those whose length fits where it is reckoned modulo 2^64.
        let wrapped = (0..100_000_u64).map(|n| u64::MAX - n).find(|count| {
            let blocks = count / KEYS_PER_BLOCK + 1;
            let len = blocks.wrapping_mul(BLOCK).wrapping_add(count.wrapping_mul(RECORD)).wrapping_add(HEADER + FOOTER);
            (HEADER..1 << 20).contains(&len)
        });
        for count in ends.into_iter().chain(wrapped) {
            let blocks = count / KEYS_PER_BLOCK + 1;
            let wrapping = blocks.wrapping_mul(BLOCK).wrapping_add(count.wrapping_mul(RECORD));
            for len in [HEADER, 4096, wrapping.wrapping_add(HEADER + FOOTER)] {
                let len = usize::try_from(len).unwrap().min(1 << 20);
                let path = with_header(dir.path(), [count, 0, count, blocks], len);
                let error = Run::open(&OsDisk::shared(), path, 0, count).err().unwrap();
                assert!(matches!(error, StoreError::Damaged { .. }), "{count}: {error}");
            }
        }
    }

    #[test]
    fn names_near_the_largest_are_no_id_files() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir(layout.at("ids")).unwrap();
        for (first, end) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (0, MAX_ENTRIES + 1), (u64::MAX, 0)] {
            std::fs::write(layout.at("ids").join(file_name(first, end)), b"x").unwrap();
        }
        let files = list(&OsDisk::shared(), &layout).unwrap();
        assert_eq!((files.kept.len(), files.stray.len()), (0, 0), "{files:?}");
        let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
        assert_eq!((index.covered(), index.lookup(id(1)).unwrap()), (0, Vec::new()));
        assert_eq!(strangers(&OsDisk::shared(), &layout).unwrap().len(), 4);
    }

    #[test]
    fn merges_are_few_and_tiered() {
        let mut sizes: Vec<u64> = Vec::new();
        for size in std::iter::repeat_n(1, 1000) {
            sizes.push(size);
            while let Some(from) = merge_from(&sizes) {
                let total = sizes.drain(from..).sum();
                sizes.push(total);
            }
        }
        assert!(sizes.len() <= 4 * FAN_OUT, "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 1000);
    }
}
