//! Reading a log directory, beside a live writer or without one.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use indelible_core::{
    entry::MAX_LINE_BYTES,
    tree::{Hash, LeafIndex, TreeSize},
};
use indelible_store::{
    disk::{SharedDisk, read_small},
    store::{Chunk, DerivedFault, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, Piece, Reader, Run, Scanned, StoreError},
};

use crate::{
    check,
    ids::IdIndex,
    layout::{Durable, Layout, Settings, read_marker},
    segments::{self, Kind, OpenSegment, Segment, Trust},
    tree_files::{BATCH_START, TreeReader, lock},
};

/// A checkpoint with a hundred signatures is far below this.
pub(crate) const MAX_NOTE_BYTES: usize = 1 << 20;
/// Bytes that are looked through at a time behind the tree's end; longer than the longest line.
const TAIL_WINDOW: usize = 256 << 10;
/// How many segments stay open for single reads.
const OPEN_SEGMENTS: usize = 8;

/// A log directory, for reading.
pub struct FileReader {
    pub(crate) disk: SharedDisk,
    pub(crate) layout: Layout,
    info: LogInfo,
    settings: Settings,
    pub(crate) tree: TreeReader,
    /// The writer's own figure, where this reader is part of a writer.
    pub(crate) live: Option<Arc<Live>>,
    open: Mutex<Vec<Arc<OpenSegment>>>,
    list: Mutex<Listed>,
    hint: Mutex<Option<Hint>>,
    ids: Mutex<Option<Arc<IdIndex>>>,
}

/// How far a writer in this process is.
#[derive(Debug, Default)]
pub struct Live {
    /// Durable entries.
    pub size: AtomicU64,
    /// Position behind them.
    pub position: AtomicU64,
}

/// The segments as they were listed.
#[derive(Default)]
struct Listed {
    segments: Vec<Segment>,
    /// Entries below this stand in one of them; a writer's own reader is told of each new segment instead.
    size: u64,
}

/// Where the line behind the last read begins.
#[derive(Clone, Copy)]
struct Hint {
    index: u64,
    position: u64,
}

impl FileReader {
    /// Opens a log for reading. Nothing is locked or written.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::NewerFormat`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(disk: SharedDisk, root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        let (info, settings) = read_marker(&*disk, &layout)?;
        Ok(Self::with_info(disk, layout, info, settings))
    }

    /// Opens a log whose marker is not to be read (it is being repaired).
    #[must_use]
    pub fn with_info(disk: SharedDisk, layout: Layout, info: LogInfo, settings: Settings) -> Self {
        let tree = TreeReader::new(Arc::clone(&disk), layout.clone());
        Self {
            disk,
            layout,
            info,
            settings,
            tree,
            live: None,
            open: Mutex::default(),
            list: Mutex::default(),
            hint: Mutex::default(),
            ids: Mutex::default(),
        }
    }

    /// The log's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The log directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    pub(crate) fn set_ids(&self, ids: Arc<IdIndex>) {
        *lock(&self.ids) = Some(ids);
    }

    /// What stands where beyond the file `durable`: a writer that died may have left more than it came to say.
    fn durable(&self) -> Result<Durable, StoreError> {
        if let Some(live) = &self.live {
            let size = live.size.load(Ordering::Acquire);
            return Ok(Durable { size, bytes: live.position.load(Ordering::Acquire), done: false });
        }
        if let Some(durable) = Durable::read(&*self.disk, &self.layout)? {
            return Ok(durable);
        }
        // Never synced, so a power cut may take it: fall back to what the tree covers.
        let size = self.tree.size()?;
        let bytes = self.position_after(size.0)?;
        Ok(Durable { size: size.0, bytes, done: false })
    }

    /// Position behind entry `size - 1`, by the offsets and the line itself.
    fn position_after(&self, size: u64) -> Result<u64, StoreError> {
        let Some(last) = size.checked_sub(1) else { return Ok(0) };
        let start = self.tree.offsets(last, 1)?.first().copied().unwrap_or(0) & !BATCH_START;
        let line = self.line_at(last, start)?;
        Ok(start + line.len() as u64)
    }

    fn segments(&self, refresh: bool) -> Result<Vec<Segment>, StoreError> {
        let mut list = lock(&self.list);
        if refresh || list.segments.is_empty() {
            // Before the listing: a segment has its name before anything in it is durable.
            let size = match &self.live {
                Some(live) => live.size.load(Ordering::Acquire),
                None => Durable::read(&*self.disk, &self.layout)?.map_or(self.tree.size()?.0, |durable| durable.size),
            };
            *list = Listed { segments: segments::list(&*self.disk, &self.layout)?, size };
        }
        Ok(list.segments.clone())
    }

    /// Told by the writer that this reader is part of, before anything in the segment is durable.
    pub(crate) fn add_segment(&self, segment: Segment) {
        let mut list = lock(&self.list);
        // An empty list is read when it is needed.
        if list.segments.last().is_some_and(|last| last.first < segment.first) {
            list.segments.push(segment);
        }
    }

    fn segment_of(&self, index: u64) -> Result<Arc<OpenSegment>, StoreError> {
        // A closed segment changes its form once; a file that is gone is looked for again under a fresh list.
        match self.try_segment_of(index, false) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                lock(&self.open).clear();
                self.try_segment_of(index, true)
            }
            result => result,
        }
    }

    fn try_segment_of(&self, index: u64, refresh: bool) -> Result<Arc<OpenSegment>, StoreError> {
        let stale = self.live.is_none() && index >= lock(&self.list).size;
        let segments = self.segments(refresh || stale)?;
        let at = segments.partition_point(|s| s.first <= index);
        let segment = at.checked_sub(1).and_then(|at| segments.get(at)).ok_or(StoreError::Absent { index })?;
        let mut open = lock(&self.open);
        if let Some(found) = open.iter().find(|o| o.segment == *segment) {
            return Ok(Arc::clone(found));
        }
        let opened = Arc::new(OpenSegment::open(&self.disk, &self.layout, *segment, Trust::Table)?);
        if open.len() >= OPEN_SEGMENTS {
            open.remove(0);
        }
        open.push(Arc::clone(&opened));
        Ok(opened)
    }

    /// Position of a segment's first byte.
    fn base_of(&self, first: u64) -> Result<u64, StoreError> {
        if first < self.tree.size()?.0 {
            return Ok(self.tree.offsets(first, 1)?.first().copied().unwrap_or(0) & !BATCH_START);
        }
        // Behind the tree's end segments are plain, and each begins where the one before ends.
        let segments = self.segments(true)?;
        let at = segments.partition_point(|s| s.first < first);
        let Some(before) = at.checked_sub(1).and_then(|at| segments.get(at)) else { return Ok(0) };
        let open = OpenSegment::open(&self.disk, &self.layout, *before, Trust::Table)?;
        Ok(self.base_of(before.first)? + open.len()?)
    }

    fn line_at(&self, index: u64, position: u64) -> Result<Vec<u8>, StoreError> {
        let segment = self.segment_of(index)?;
        let offset = position.wrapping_sub(self.base_of(segment.segment.first)?);
        let mut line = segment.read(offset, 4096)?;
        if memchr::memchr(b'\n', &line).is_none() {
            line = segment.read(offset, MAX_LINE_BYTES)?;
        }
        match memchr::memchr(b'\n', &line) {
            Some(end) => {
                line.truncate(end + 1);
                Ok(line)
            }
            None if line.is_empty() => Err(StoreError::Absent { index }),
            None => Err(StoreError::Evidence { index, detail: "its line does not end".to_owned() }),
        }
    }

    fn position_of(&self, index: u64) -> Result<u64, StoreError> {
        let tree = self.tree.size()?.0;
        if index < tree {
            return Ok(self.tree.offsets(index, 1)?.first().copied().unwrap_or(0) & !BATCH_START);
        }
        let hint = lock(&self.hint).filter(|hint| hint.index <= index && hint.index >= tree);
        let (mut at, mut position) = match hint {
            Some(hint) => (hint.index, hint.position),
            None => (tree, self.position_after(tree)?),
        };
        // Behind the tree's end nothing says where a line begins: lines are counted, a window at a time.
        while at < index {
            let segment = self.segment_of(at)?;
            let offset = position.wrapping_sub(self.base_of(segment.segment.first)?);
            let bytes = segment.read(offset, TAIL_WINDOW)?;
            let want = usize::try_from(index - at).unwrap_or(usize::MAX);
            let (lines, end) =
                memchr::memchr_iter(b'\n', &bytes).take(want).fold((0, 0), |(n, _), end| (n + 1, end + 1));
            if lines == 0 {
                return Err(StoreError::Absent { index: at });
            }
            at += lines;
            position += end as u64;
        }
        *lock(&self.hint) = Some(Hint { index, position });
        Ok(position)
    }
}

impl Reader for FileReader {
    fn info(&self) -> &LogInfo {
        &self.info
    }

    fn size(&self) -> Result<TreeSize, StoreError> {
        Ok(TreeSize(self.durable()?.size))
    }

    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError> {
        let durable = self.durable()?;
        if from.0 >= durable.size {
            return Err(StoreError::NoEntry { index: from.0, size: durable.size });
        }
        let position = self.position_of(from.0)?;
        if max_bytes == 0 {
            let bytes = self.line_at(from.0, position)?;
            return Ok(Chunk { first: from.0, bytes });
        }
        let segment = self.segment_of(from.0)?;
        let offset = position.wrapping_sub(self.base_of(segment.segment.first)?);
        let until = usize::try_from(durable.bytes.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = segment.read(offset, max_bytes.max(MAX_LINE_BYTES).min(until))?;
        match memchr::memrchr(b'\n', &bytes) {
            Some(end) => bytes.truncate(end + 1),
            None => return Err(StoreError::Absent { index: from.0 }),
        }
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
        *lock(&self.hint) = Some(Hint { index: from.0 + lines, position: position + bytes.len() as u64 });
        Ok(Chunk { first: from.0, bytes })
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let durable = Durable::read(&*self.disk, &self.layout)?;
        let held = self.has_writer()?;
        let segments = self.segments(true)?;
        let mut runs = Vec::new();
        let mut position = 0;
        for (n, segment) in segments.iter().enumerate() {
            let open = match OpenSegment::open(&self.disk, &self.layout, *segment, Trust::Table) {
                Err(StoreError::Damaged { .. }) => OpenSegment::open(&self.disk, &self.layout, *segment, Trust::Walk)?,
                open => open?,
            };
            let mut bytes = open.len()?;
            let closed = segment.kind == Kind::Closed || n + 1 < segments.len();
            // Beside a live writer the newest segment is read only as far as it is known to be synced.
            if let (true, false, Some(durable)) = (held, closed, durable) {
                bytes = bytes.min(durable.bytes.saturating_sub(position));
            }
            position += bytes;
            runs.push(Run { first: segment.first, place: open.place(), bytes, closed });
        }
        Ok(runs)
    }

    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError> {
        self.walked(run)?.pieces(run.bytes)
    }

    fn read_piece(&self, run: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError> {
        self.walked(run)?.read_piece(piece, run.bytes)
    }

    fn tree_size(&self) -> Result<TreeSize, StoreError> {
        self.tree.size()
    }

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        self.tree.hashes(level, first, count)
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout.at("checkpoint");
        read_small(&*self.disk, &path, MAX_NOTE_BYTES).map_err(StoreError::io("read", &path))
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout.kept(number);
        read_small(&*self.disk, &path, MAX_NOTE_BYTES).map_err(StoreError::io("read", &path))
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        let ids = lock(&self.ids).clone();
        let ids = match ids {
            Some(ids) => ids,
            // Beside another process's writer the files change: they are opened anew, and what they do not cover is scanned.
            None => Arc::new(IdIndex::open(Arc::clone(&self.disk), self.layout.clone())?),
        };
        let mut found: Vec<LeafIndex> = ids.lookup(id)?.into_iter().map(LeafIndex).collect();
        if self.live.is_none() {
            found.extend(
                check::scan_ids(self, ids.covered(), self.size()?.0)?.filter(|r| r.0 == id).map(|r| LeafIndex(r.1)),
            );
        }
        Ok(found)
    }

    fn positions(&self, first: u64, count: usize) -> Result<Option<Vec<u64>>, StoreError> {
        self.tree.offsets(first, count).map(Some)
    }

    fn check_derived(&self, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
        check::check(self, scanned)
    }

    fn has_writer(&self) -> Result<bool, StoreError> {
        if self.live.is_some() {
            return Ok(true);
        }
        let path = self.layout.at("lock");
        match self.disk.lease(&path) {
            Ok(lease) => Ok(lease.is_none()),
            // A directory that we may not write to has no writer that we could disturb; a missing lock file is a fault of its own.
            Err(_) => Ok(false),
        }
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout.attachment(digest);
        let limit = usize::try_from(MAX_ATTACHMENT_BYTES).unwrap_or(usize::MAX);
        read_small(&*self.disk, &path, limit).map_err(StoreError::io("read", &path))
    }
}

impl FileReader {
    /// A segment with its frames walked, kept open over the pieces of a scan.
    fn walked(&self, run: &Run) -> Result<Arc<OpenSegment>, StoreError> {
        let mut open = lock(&self.open);
        if let Some(found) = open.iter().find(|o| o.segment.first == run.first && o.place() == run.place) {
            return Ok(Arc::clone(found));
        }
        let segments = self.segments(false)?;
        let segment = segments.iter().find(|s| s.first == run.first).copied();
        let segment = segment.unwrap_or(Segment { first: run.first, kind: Kind::Plain });
        let opened = Arc::new(OpenSegment::open(&self.disk, &self.layout, segment, Trust::Walk)?);
        if open.len() >= OPEN_SEGMENTS {
            open.remove(0);
        }
        open.push(Arc::clone(&opened));
        Ok(opened)
    }
}
