//! Writing a log directory: the lease, the commit, the derived files, the end.
//!
//! What a crash leaves: between write and sync, a torn tail that [`crate::recover`] cuts; between a checkpoint's steps, derived files that
//! are longer than the head says and are cut and written again at open. A failed write or sync poisons the handle.

use std::{
    io::ErrorKind,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible_core::{
    entry::Line,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_store::{
    disk::{Disk, DiskFile, Lease, Open, Protection, SharedDisk, create_dirs, read_small, replace_small, sync_above},
    driver::{Recovered, TailCheck, TailFault},
    store::{
        Appended, Batch, Chunk, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, MAX_BATCH_BYTES, Reader, ReadsThrough,
        StoreError, Writer,
    },
};
use sha2::{Digest as _, Sha256};

use crate::{
    anchor::anchor,
    check,
    ids::{self, IdIndex},
    layout::{Durable, Layout, MAX_SEGMENT_BYTES, Settings, marker_bytes},
    reader::{FileReader, Live},
    recover::{Active, Anchor, recover},
    segments::{self, Form, OpenSegment, Segment, Trust},
    tree_files::{BATCH_START, TreeWriter, lock},
    unfinished,
};

/// Somebody who only looks whether there is a writer holds the lease for a moment.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);

/// Where so many closed segments wait to be compressed (a gibibyte as large as they are by default), that is done without pauses.
const MOST_WAITING: u32 = 16;

/// A log directory, for writing.
pub struct FileWriter {
    reader: FileReader,
    live: Arc<Live>,
    active: Mutex<ActiveFile>,
    durable: Box<dyn DiskFile>,
    tree: Mutex<TreeWriter>,
    ids: Arc<IdIndex>,
    poisoned: Mutex<Option<String>>,
    bounded: AtomicBool,
    /// Held while the mark is written: its temporary file has one name.
    marking: Mutex<()>,
    /// The same for attachments.
    attaching: Mutex<()>,
    protection: Mutex<Option<Protection>>,
    _lease: Box<dyn Lease>,
}

struct ActiveFile {
    active: Active,
    file: Option<Box<dyn DiskFile>>,
}

/// Creates an empty log directory: folders, empty lock, marker. Entry 0 is the caller's first append. What a crash left of such a directory before it had
/// its marker is made whole.
///
/// # Errors
/// [`StoreError::Exists`], [`StoreError::InUse`], [`StoreError::NetworkFileSystem`], [`StoreError::Io`].
pub fn create(disk: &SharedDisk, root: &Path, info: &LogInfo, settings: &Settings) -> Result<(), StoreError> {
    let layout = Layout::new(root);
    let exists = || StoreError::Exists { place: root.display().to_string() };
    let is_there = disk.meta(root).map_err(StoreError::io("read", root))?.is_some();
    if is_there && !unfinished::is(&**disk, &layout)? {
        return Err(exists());
    }
    for folder in layout.folders() {
        create_dirs(&**disk, &folder).map_err(StoreError::io("create", &folder))?;
    }
    // Folders that a crash left, of the log or above it, may not be durable yet.
    sync_above(&**disk, &layout.at("log.json")).map_err(StoreError::io("sync", root))?;
    let lock = layout.at("lock");
    match disk.open(&lock, Open::CreateNew) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(StoreError::io("create", &lock)(error));
        }
        _ => disk.sync_dir(root).map_err(StoreError::io("sync", root))?,
    }
    // Of two that make it at the same time, the second finds the marker, or the lease taken.
    let _making = take_lease(disk, &layout)?;
    if disk.meta(&layout.at("log.json")).map_err(StoreError::io("read", root))?.is_some() {
        return Err(exists());
    }
    for (name, bytes) in [
        ("offsets", Vec::new()),
        ("durable", Durable { size: 0, bytes: 0, done: false }.to_bytes().to_vec()),
        ("log.json", marker_bytes(info, settings)),
    ] {
        let path = layout.at(name);
        replace_small(&**disk, &path, &bytes).map_err(StoreError::io("create", &path))?;
    }
    Ok(())
}

impl FileWriter {
    /// Takes the lease and opens a log that `head` is the newest known head of. Everything behind the head is read and
    /// checked; a torn tail is cut and kept aside.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; [`StoreError::Damaged`] where a derived file has to be repaired first; [`StoreError::Evidence`]
    /// where the log contradicts the head, `durable` or itself: then nothing was changed.
    pub fn open(
        disk: SharedDisk,
        root: &Path,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Self, Recovered), StoreError> {
        let lease = lease(&disk, root)?;
        Self::open_leased(FileReader::open(disk, root)?, lease, head, check)
    }

    /// The same under a lease that was taken before the head was looked up: what a writer before still published is in the head then. The reader was opened under it.
    ///
    /// # Errors
    /// As [`FileWriter::open`].
    pub fn open_leased(
        mut reader: FileReader,
        lease: Box<dyn Lease>,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Self, Recovered), StoreError> {
        let (disk, layout) = (Arc::clone(&reader.disk), reader.layout.clone());
        for folder in layout.folders() {
            // A copy of a log may have come without its empty folders.
            create_dirs(&*disk, &folder).map_err(StoreError::io("create", &folder))?;
        }
        let segments = reader.list_anew()?;
        let anchor = anchor(&reader, &segments, head)?;
        let (recovered, active) = recover(&disk, &layout, &segments, &anchor, check)?;
        let position_behind = active.base + active.len;
        sweep(&disk, &layout)?;
        let Anchor { frontier, position, .. } = anchor;
        let tree = TreeWriter::resume(Arc::clone(&disk), layout.clone(), frontier, position)?;
        let live = Arc::new(Live::default());
        live.size.store(recovered.size, Ordering::Release);
        live.position.store(position_behind, Ordering::Release);
        reader.live = Some(Arc::clone(&live));
        let ids = open_ids(&reader, recovered.size, head.size.0)?;
        reader.set_ids(Arc::clone(&ids));
        let durable = open_durable(&disk, &layout)?;
        let state = Durable { size: recovered.size, bytes: position_behind, done: false };
        let path = layout.at("durable");
        durable.write_at(&state.to_bytes(), 0).map_err(StoreError::io("write", &path))?;
        let writer = Self {
            reader,
            live,
            active: Mutex::new(ActiveFile { active, file: None }),
            durable,
            tree: Mutex::new(tree),
            ids,
            poisoned: Mutex::default(),
            // Also where a mark was found: it may be one whose name was never synced.
            bounded: AtomicBool::new(false),
            marking: Mutex::default(),
            attaching: Mutex::default(),
            protection: Mutex::default(),
            _lease: lease,
        };
        Ok((writer, recovered))
    }

    /// Opens a log that was just created and has no entry yet.
    ///
    /// # Errors
    /// As [`FileWriter::open`].
    pub fn open_empty(disk: SharedDisk, root: &Path) -> Result<Self, StoreError> {
        struct Refuse;
        impl TailCheck for Refuse {
            fn fault(&self, _: &Line<'_>, _: &Hash) -> Option<TailFault> {
                Some(TailFault::Wrong("a new log has no entries".to_owned()))
            }
        }
        let head = TreeHead { size: TreeSize(0), root: indelible_core::tree::empty_root() };
        Ok(Self::open(disk, root, &head, &Refuse)?.0)
    }

    /// The reading side.
    #[must_use]
    pub fn reader(&self) -> &FileReader {
        &self.reader
    }

    /// How far the last closed segment could be protected; `None` where none was closed by this handle.
    #[must_use]
    pub fn protection(&self) -> Option<Protection> {
        *lock(&self.protection)
    }

    fn guard(&self) -> Result<(), StoreError> {
        match &*lock(&self.poisoned) {
            Some(why) => Err(StoreError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Runs a step after whose failure nothing is known of the disk's content.
    fn poisoning<T>(&self, step: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.guard()?;
        step().inspect_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            *lock(&self.poisoned) = Some(text);
        })
    }

    fn disk(&self) -> &SharedDisk {
        &self.reader.disk
    }

    fn layout(&self) -> &Layout {
        &self.reader.layout
    }

    /// Begins a new segment where the batch would make this one too long or too old.
    fn rotate(&self, state: &mut ActiveFile, batch: &Batch) -> Result<bool, StoreError> {
        let settings = self.reader.settings();
        let active = &state.active;
        let long = active.len + batch.bytes.len() as u64 > settings.segment_bytes.min(MAX_SEGMENT_BYTES);
        let age = active.begun.map_or(0, |begun| batch.recorded_at.0.saturating_sub(begun.0));
        let old = u64::try_from(age).unwrap_or(0) > settings.segment_seconds.saturating_mul(1_000_000);
        let due = active.len > 0 && (long || old);
        if due {
            let base = active.base + active.len;
            let segment = Segment { first: batch.first, form: Form::Plain };
            *state = ActiveFile { active: Active { segment, base, len: 0, begun: None }, file: None };
        }
        Ok(due)
    }

    fn active_file<'a>(&self, state: &'a mut ActiveFile) -> Result<&'a dyn DiskFile, StoreError> {
        let path = state.active.segment.path(self.layout());
        if state.file.is_none() {
            let exists = self.disk().meta(&path).map_err(StoreError::io("read", &path))?.is_some();
            let how = if exists { Open::Write } else { Open::CreateNew };
            state.file = Some(self.disk().open(&path, how).map_err(StoreError::io("open", &path))?);
            // INVARIANT(segment-named): a segment's name is durable before anything in it is acknowledged.
            let dir = self.layout().at("segments");
            self.disk().sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        }
        state.file.as_deref().ok_or_else(|| StoreError::io("open", &path)(std::io::ErrorKind::NotFound.into()))
    }

    fn commit(&self, batch: &Batch) -> Result<Appended, StoreError> {
        let mut state = lock(&self.active);
        let size = self.live.size.load(Ordering::Acquire);
        if batch.first != size {
            let detail = format!("the batch begins with entry {}", batch.first);
            return Err(StoreError::Evidence { index: size, detail });
        }
        let segment_closed = self.rotate(&mut state, batch)?;
        let len = state.active.len;
        let path = state.active.segment.path(self.layout());
        let file = self.active_file(&mut state)?;
        file.write_at(&batch.bytes, len).map_err(StoreError::io("write", &path))?;
        file.sync().map_err(StoreError::io("sync", &path))?;
        state.active.len += batch.bytes.len() as u64;
        state.active.begun.get_or_insert(batch.recorded_at);
        let size = batch.first + batch.entries.len() as u64;
        let bytes = state.active.base + state.active.len;
        // INVARIANT(durable): written only after the sync, so it never claims more than is durable; never synced itself.
        let path = self.layout().at("durable");
        let durable = Durable { size, bytes, done: false };
        self.durable.write_at(&durable.to_bytes(), 0).map_err(StoreError::io("write", &path))?;
        self.live.position.store(bytes, Ordering::Release);
        self.live.size.store(size, Ordering::Release);
        Ok(Appended { segment_closed })
    }

    /// Whether an attachment is stored with this content.
    fn holds(&self, digest: &[u8; 32], content: &[u8]) -> Result<bool, StoreError> {
        let size = self.reader.attachment_size(digest)?;
        Ok(size == Some(content.len() as u64) && self.reader.attachment(digest)?.as_deref() == Some(content))
    }

    /// Compresses one closed segment whose entries are all below a kept checkpoint. Returns whether there was one.
    fn compress_one(&self, anchored: TreeSize) -> Result<bool, StoreError> {
        let active = lock(&self.active).active.segment.first;
        let list = segments::list(&**self.disk(), self.layout())?;
        let ends = list.iter().skip(1).map(|s| s.first).chain([u64::MAX]);
        let mut due = list
            .iter()
            .zip(ends)
            .filter(|(s, end)| s.form == Form::Plain && s.first != active && *end <= anchored.0)
            .map(|(s, _)| *s);
        let Some(segment) = due.next() else { return Ok(false) };
        let waiting = u32::try_from(due.count()).unwrap_or(u32::MAX);
        self.finish_segment(segment, waiting)?;
        Ok(true)
    }

    /// Compresses a segment behind which so many others wait. Callers come first: while entries come in, each frame is followed by a pause, which is the longer
    /// the fewer wait. Ids that are due to be written out are not kept waiting.
    fn finish_segment(&self, segment: Segment, waiting: u32) -> Result<(), StoreError> {
        let (disk, layout) = (self.disk(), self.layout());
        let plain = OpenSegment::open(disk, layout, segment, Trust::Walk)?;
        let mut size = self.live.size.load(Ordering::Relaxed);
        let temporary = segments::compress(&**disk, layout, &plain, |took| {
            let before = std::mem::replace(&mut size, self.live.size.load(Ordering::Relaxed));
            if size != before && !self.ids.due() {
                thread::sleep(took * MOST_WAITING.saturating_sub(waiting));
            }
        })?;
        drop(plain);
        let closed = layout.closed(segment.first);
        let dir = layout.at("segments");
        // A crash may have left an earlier form, protected already, beside the plain one.
        if disk.meta(&closed).map_err(StoreError::io("read", &closed))?.is_some() {
            disk.unprotect(&closed).map_err(StoreError::io("replace", &closed))?;
        }
        disk.rename(&temporary, &closed).map_err(StoreError::io("rename", &closed))?;
        disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        let protection = disk.protect(&closed, self.reader.settings().immutable);
        *lock(&self.protection) = Some(protection.unwrap_or(Protection::None));
        let path = segment.path(layout);
        disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))
    }
}

/// Writes every derived file anew from the segments, whose entries the caller has verified, up to `head`: marker, tree, offsets, ids,
/// seek tables; moves aside what does not belong to a log whose newest kept checkpoint is `kept`. `durable` is left to the next opening.
///
/// The hashes of entries whose bodies are absent are nowhere but in `tree/0`. INVARIANT(carried): the tree is built beside the old one, with
/// those hashes taken over, and replaces it only when it gives the head's root. Until then nothing is changed.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::Io`], [`StoreError::Evidence`] where the entries changed since they were verified, or where
/// something is not known of absent ones.
pub fn rebuild(
    disk: &SharedDisk,
    root: &Path,
    reader: &FileReader,
    head: &TreeHead,
    kept: u64,
) -> Result<(), StoreError> {
    let layout = Layout::new(root);
    let _lease = take_lease(disk, &layout)?;
    for folder in layout.folders() {
        create_dirs(&**disk, &folder).map_err(StoreError::io("create", &folder))?;
    }
    let mut tree = TreeWriter::stage(Arc::clone(disk), layout.clone())?;
    let end = match stage(reader, &mut tree, head) {
        Ok(end) => end,
        Err(error) => {
            tree.discard()?;
            return Err(error);
        }
    };
    tree.replace()?;
    let lock = layout.at("lock");
    if disk.meta(&lock).map_err(StoreError::io("read", &lock))?.is_some_and(|meta| meta.len > 0) {
        let file = disk.open(&lock, Open::Write).map_err(StoreError::io("open", &lock))?;
        file.set_len(0).and_then(|()| file.sync()).map_err(StoreError::io("cut", &lock))?;
    }
    let marker = layout.at("log.json");
    replace_small(&**disk, &marker, &marker_bytes(reader.info(), reader.settings()))
        .map_err(StoreError::io("write", &marker))?;
    check::remove_strangers(reader, kept, end)?;
    crate::ids::clear(disk, &layout)?;
    for segment in segments::list(&**disk, &layout)?.into_iter().filter(|s| s.form == Form::Closed) {
        segments::rewrite_table(&layout, disk, segment)?;
    }
    Ok(())
}

/// Builds the tree of `head` from the lines and, where they are absent, from what is stored. Returns the index behind the last line.
fn stage(reader: &FileReader, tree: &mut TreeWriter, head: &TreeHead) -> Result<u64, StoreError> {
    let size = head.size.0;
    let mut end = 0;
    for run in reader.runs()?.iter().filter(|run| run.bytes > 0) {
        carry_over(reader, tree, run.first.min(size))?;
        end = run.first;
        for piece in reader.pieces(run)? {
            let chunk = Chunk { first: tree.size().0, bytes: reader.read_piece(run, &piece)? };
            end += chunk.lines().count() as u64;
            let rest = usize::try_from(size.saturating_sub(tree.size().0)).unwrap_or(usize::MAX);
            let mut leaves = Vec::new();
            for (index, line) in (chunk.first..).zip(chunk.lines()).take(rest) {
                let line = Line::parse(line).map_err(|source| StoreError::Line { index, source })?;
                leaves.push(leaf_hash(line.entry.bytes));
            }
            tree.extend(&leaves, &chunk)?;
        }
    }
    if tree.size() != head.size || tree.frontier().root() != head.root {
        let detail = format!("the {} entries that can be read do not give the head of {size}", tree.size());
        return Err(StoreError::Evidence { index: tree.size().0, detail });
    }
    Ok(end)
}

/// Takes over what is stored of the absent entries up to `until`.
fn carry_over(reader: &FileReader, tree: &mut TreeWriter, until: u64) -> Result<(), StoreError> {
    const WINDOW: u64 = 4096;
    while tree.size().0 < until {
        let index = tree.size().0;
        let unknown = |what: &str| StoreError::Evidence {
            index,
            detail: format!(
                "its body is absent, and {what}: that cannot be rebuilt from entries; restore `tree/0` and `offsets` from a copy"
            ),
        };
        let gone = |what: &'static str| {
            move |error| if matches!(error, StoreError::Damaged { .. }) { unknown(what) } else { error }
        };
        let count = usize::try_from(WINDOW.min(until - index)).unwrap_or(0);
        let leaves = reader.hashes(0, index, count).map_err(gone("its hash is not stored"))?;
        // One more: where the next one begins, this one ends.
        let mut offsets = reader.tree.offsets(index, count + 1).map_err(gone("its offset is not stored"))?;
        let behind = offsets.pop().unwrap_or(0) & !BATCH_START;
        let mut ends = offsets.iter().skip(1).map(|offset| offset & !BATCH_START).chain([behind]);
        let rising = offsets.iter().all(|offset| ends.next().is_some_and(|end| offset & !BATCH_START < end));
        if !rising || offsets.first().is_none_or(|first| first & !BATCH_START != tree.position()) {
            return Err(unknown("its offset does not fit the ones around it"));
        }
        tree.carry_over(&leaves, &offsets, behind)?;
    }
    Ok(())
}

/// Removes what interrupted replacements left: files. What else has such a name is nobody's leaving: a check tells of it, and it keeps nothing up. Only for who holds the lease.
fn sweep(disk: &SharedDisk, layout: &Layout) -> Result<(), StoreError> {
    for dir in
        ["segments", "tree", "checkpoints", "ids"].map(|name| layout.at(name)).iter().chain([&layout.root().to_owned()])
    {
        for name in disk.list(dir).map_err(StoreError::io("list", dir))? {
            let path = dir.join(&name);
            if name.ends_with(".tmp") && is_file(&**disk, &path) {
                match disk.remove(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.map_err(StoreError::io("remove", &path))?,
                }
            }
        }
    }
    Ok(())
}

/// Whether a regular file stands there, as far as can be told: what cannot be opened for another reason counts as one.
fn is_file(disk: &dyn Disk, path: &Path) -> bool {
    use ErrorKind::{InvalidInput, IsADirectory, NotFound};
    disk.open(path, Open::Read)
        .err()
        .is_none_or(|error| !matches!(error.kind(), InvalidInput | IsADirectory | NotFound))
}

/// Takes the lease of the log at `root`.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::NotALog`], [`StoreError::Io`].
pub fn lease(disk: &SharedDisk, root: &Path) -> Result<Box<dyn Lease>, StoreError> {
    let layout = Layout::new(root);
    // Nothing is created where there is no log.
    crate::layout::read_marker(&**disk, &layout)?;
    layout.check_folders(&**disk)?;
    take_lease(disk, &layout)
}

fn take_lease(disk: &SharedDisk, layout: &Layout) -> Result<Box<dyn Lease>, StoreError> {
    let path = layout.at("lock");
    if disk.meta(&path).map_err(StoreError::io("read", &path))?.is_none() {
        replace_small(&**disk, &path, b"").map_err(StoreError::io("create", &path))?;
    }
    let begun = Instant::now();
    loop {
        if let Some(lease) = disk.lease(&path).map_err(StoreError::io("lock", &path))? {
            return Ok(lease);
        }
        if begun.elapsed() > LEASE_PATIENCE {
            return Err(StoreError::InUse { place: layout.root().display().to_string() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open_ids(reader: &FileReader, size: u64, anchored: u64) -> Result<Arc<IdIndex>, StoreError> {
    ids::remove_strays(&reader.disk, &reader.layout)?;
    let ids = Arc::new(IdIndex::open(Arc::clone(&reader.disk), reader.layout.clone())?);
    let covered = ids.covered();
    if covered > size {
        let place = reader.layout.at("ids").display().to_string();
        let detail = format!("it covers {covered} entries, the log has {size}");
        return Err(StoreError::Damaged { place, detail });
    }
    check::scan_ids(reader, covered, size, |record| {
        let end = record.1 + 1;
        ids.insert([record], end);
        // After a repair all ids are read here: they go to files as those of a living log do.
        if ids.due() && end <= anchored {
            ids.tend(anchored, false)?;
        }
        Ok(())
    })?;
    ids.insert([], size);
    Ok(ids)
}

fn open_durable(disk: &SharedDisk, layout: &Layout) -> Result<Box<dyn DiskFile>, StoreError> {
    let path = layout.at("durable");
    let have = read_small(&**disk, &path, 1 << 12).map_err(StoreError::io("read", &path))?;
    if have.is_none_or(|bytes| bytes.len() != crate::layout::DURABLE_BYTES) {
        let fresh = Durable { size: 0, bytes: 0, done: false }.to_bytes();
        replace_small(&**disk, &path, &fresh).map_err(StoreError::io("create", &path))?;
    }
    disk.open(&path, Open::Write).map_err(StoreError::io("open", &path))
}

impl ReadsThrough for FileWriter {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn writers_tree_size(&self) -> Result<TreeSize, StoreError> {
        Ok(lock(&self.tree).size())
    }
}

impl Writer for FileWriter {
    fn append(&self, batch: &Batch) -> Result<Appended, StoreError> {
        if batch.bytes.len() > MAX_BATCH_BYTES {
            let (bytes, limit) = (batch.bytes.len() as u64, MAX_BATCH_BYTES as u64);
            return Err(StoreError::Limit { what: "a batch", bytes, limit });
        }
        self.poisoning(|| self.commit(batch))
    }

    fn claim(&self, ids: &[(Fingerprint, u64)], end: u64) {
        self.ids.insert(ids.iter().copied(), end);
    }

    fn id_token(&self) -> u64 {
        self.ids.token()
    }

    fn lookup_recent(&self, id: Fingerprint, token: u64) -> Result<Vec<LeafIndex>, StoreError> {
        let found = match self.ids.recent(id, token) {
            Some(found) => found,
            None => self.ids.lookup(id)?,
        };
        Ok(found.into_iter().map(LeafIndex).collect())
    }

    fn extend_tree(&self, leaves: &[Hash], lines: &Chunk) -> Result<(), StoreError> {
        self.poisoning(|| lock(&self.tree).extend(leaves, lines))
    }

    fn sync_tree(&self) -> Result<(), StoreError> {
        self.poisoning(|| lock(&self.tree).sync())
    }

    fn publish(&self, checkpoint: &[u8], keep: Option<u64>) -> Result<(), StoreError> {
        self.guard()?;
        if let Some(number) = keep {
            let path = self.layout().kept(number);
            replace_small(&**self.disk(), &path, checkpoint).map_err(StoreError::io("write", &path))?;
            drop(self.disk().protect(&path, false));
        }
        let path = self.layout().at("checkpoint");
        replace_small(&**self.disk(), &path, checkpoint).map_err(StoreError::io("write", &path))
    }

    fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], StoreError> {
        self.guard()?;
        if content.len() as u64 > MAX_ATTACHMENT_BYTES {
            let (bytes, limit) = (content.len() as u64, MAX_ATTACHMENT_BYTES);
            return Err(StoreError::Limit { what: "an attachment", bytes, limit });
        }
        let digest: [u8; 32] = Sha256::digest(content).into();
        let path = self.layout().attachment(&digest);
        let dir = path.parent().unwrap_or_else(|| self.layout().root());
        let _attaching = lock(&self.attaching);
        create_dirs(&**self.disk(), dir).map_err(StoreError::io("create", dir))?;
        // Whatever shows under the name and is not this content is replaced: a damaged one is mended by putting it again.
        if self.holds(&digest, content)? {
            // A name that shows need not be one that was synced.
            self.disk().sync_dir(dir).map_err(StoreError::io("sync", dir))?;
        } else {
            replace_small(&**self.disk(), &path, content).map_err(StoreError::io("write", &path))?;
        }
        let all = self.layout().at("attachments");
        self.disk().sync_dir(&all).map_err(StoreError::io("sync", &all))?;
        drop(self.disk().protect(&path, false));
        Ok(digest)
    }

    fn mark_bounded(&self) -> Result<(), StoreError> {
        if self.bounded.load(Ordering::Acquire) {
            return Ok(());
        }
        let _marking = lock(&self.marking);
        if self.bounded.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.layout().at("bounded");
        replace_small(&**self.disk(), &path, b"").map_err(StoreError::io("create", &path))?;
        self.bounded.store(true, Ordering::Release);
        Ok(())
    }

    fn tend(&self, anchored: TreeSize) -> Result<bool, StoreError> {
        self.guard()?;
        let more = self.ids.tend(anchored.0, false)?;
        Ok(self.compress_one(anchored)? || more)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.guard()?;
        let size = self.live.size.load(Ordering::Acquire);
        // Twice: the generation that was waiting, then the one after it.
        for _ in 0..2 {
            while self.ids.tend(size, true)? {}
        }
        let _marking = lock(&self.marking);
        let path = self.layout().at("bounded");
        if self.disk().meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
            self.disk().remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        // Also where none shows: a writer before may have died between removing it and this.
        self.disk().sync_dir(self.layout().root()).map_err(StoreError::io("sync", self.layout().root()))?;
        self.bounded.store(false, Ordering::Release);
        let path = self.layout().at("durable");
        let bytes = self.live.position.load(Ordering::Acquire);
        let durable = Durable { size, bytes, done: true };
        self.durable.write_at(&durable.to_bytes(), 0).map_err(StoreError::io("write", &path))?;
        self.durable.sync().map_err(StoreError::io("sync", &path))
    }
}
