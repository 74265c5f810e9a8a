//! Reading a log directory, beside a live writer or without one.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use indelible_core::{
    entry::{Line, MAX_LINE_BYTES},
    tree::{Hash, LeafIndex, TreeSize},
};
use indelible_store::{
    disk::{Protection, SharedDisk, read_small},
    store::{Chunk, DerivedFault, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, Piece, Reader, Run, Scanned, StoreError},
};

use crate::{
    check,
    ids::IdIndex,
    layout::{Durable, Layout, MAX_PLAIN_BYTES, Settings, read_marker},
    segments::{self, Form, OpenSegment, Segment, Trust},
    tree_files::{BATCH_START, TreeReader, lock},
};

/// A checkpoint with a hundred signatures is far below this.
pub(crate) const MAX_NOTE_BYTES: usize = 1 << 20;
/// How many segments stay open for single reads.
const OPEN_SEGMENTS: usize = 32;
/// Every so many entries behind the offsets the position is remembered.
const KNOWN_STEP: u64 = 64;
/// Bytes that are walked at a time.
const WALK_BYTES: usize = 256 << 10;
/// How often `durable` is read again where a writer may be at it: it is rewritten in place.
const DURABLE_TRIES: usize = 3;
/// How often the id files are opened again where a writer merges them meanwhile.
const LOOKUP_TRIES: usize = 5;

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
    /// Held by who walks a segment, which takes as long as its disk does. The other locks are not held while a disk is waited for, but where a file of the tree is opened for the first time.
    walking: Mutex<()>,
    list: Mutex<Vec<Segment>>,
    /// Positions of entries that the offsets do not cover, found by walking.
    known: Mutex<BTreeMap<u64, u64>>,
    /// The farthest that was seen: a size never falls.
    seen: Mutex<Option<Durable>>,
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

impl FileReader {
    /// Opens a log for reading. Nothing is locked or written.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::NewerFormat`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(disk: SharedDisk, root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        let (info, settings) = read_marker(&*disk, &layout)?;
        layout.check_folders(&*disk)?;
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
            walking: Mutex::default(),
            list: Mutex::default(),
            known: Mutex::default(),
            seen: Mutex::default(),
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

    /// How many closed segments there are under each protection: none, read-only, immutable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn protections(&self) -> Result<[usize; 3], StoreError> {
        let mut counts = [0; 3];
        for segment in self.segments(true)?.iter().filter(|s| s.form == Form::Closed) {
            let path = segment.path(&self.layout);
            let [none, read_only, immutable] = &mut counts;
            match self.disk.protection(&path).map_err(StoreError::io("read", &path))? {
                Protection::None => *none += 1,
                Protection::ReadOnly => *read_only += 1,
                Protection::Immutable => *immutable += 1,
            }
        }
        Ok(counts)
    }

    pub(crate) fn set_ids(&self, ids: Arc<IdIndex>) {
        *lock(&self.ids) = Some(ids);
    }

    /// How far the log is durable.
    fn durable(&self) -> Result<Durable, StoreError> {
        if let Some(live) = &self.live {
            let size = live.size.load(Ordering::Acquire);
            return Ok(Durable { size, bytes: live.position.load(Ordering::Acquire), done: false });
        }
        // The tree first: a live writer extends it only below what `durable` says already.
        let covered = self.tree.size()?.0;
        for _ in 0..DURABLE_TRIES {
            if let Some(durable) = Durable::read(&*self.disk, &self.layout)?.filter(|d| d.size >= covered) {
                return Ok(self.farthest(durable));
            }
        }
        // Never synced, so a power cut may take it, or put an old one back: then the last segment tells.
        let durable = self.count_entries()?;
        Ok(self.farthest(durable))
    }

    fn farthest(&self, durable: Durable) -> Durable {
        let mut seen = lock(&self.seen);
        match *seen {
            Some(before) if before.size > durable.size => before,
            _ => *seen.insert(durable),
        }
    }

    /// Size and end of the log by its segments alone.
    fn count_entries(&self) -> Result<Durable, StoreError> {
        let mut end = Durable { size: 0, bytes: 0, done: false };
        let segments = self.segments(true)?;
        for (n, segment) in segments.iter().enumerate() {
            let open = self.open_segment(*segment, Trust::Table)?;
            if n + 1 < segments.len() {
                end.bytes += open.len()?;
                continue;
            }
            end.size = segment.first;
            let mut offset = 0;
            let mut good = true;
            while good {
                let bytes = open.read(offset, WALK_BYTES)?;
                let before = offset;
                for line in bytes.split_inclusive(|b| *b == b'\n') {
                    good = index_of(line) == Some(end.size);
                    if !good {
                        break;
                    }
                    offset += line.len() as u64;
                    end.size += 1;
                }
                // A line cut by the window is no bad one, unless nothing came before it.
                good = offset > before;
            }
            end.bytes += offset;
        }
        Ok(end)
    }

    /// Position behind entry `size - 1`, by the offsets and the line itself.
    fn position_after(&self, size: u64) -> Result<u64, StoreError> {
        let Some(last) = size.checked_sub(1) else { return Ok(0) };
        let start = self.tree.offsets(last, 1)?.first().copied().unwrap_or(0) & !BATCH_START;
        let line = self.line_at(last, start)?;
        Ok(start + line.len() as u64)
    }

    /// Nobody waits for another's listing. An older list may come to stand in the place of a newer one: what it lacks is looked for under a fresh one.
    fn segments(&self, refresh: bool) -> Result<Vec<Segment>, StoreError> {
        let known = lock(&self.list).clone();
        if !refresh && !known.is_empty() {
            return Ok(known);
        }
        let fresh = segments::list(&*self.disk, &self.layout)?;
        lock(&self.list).clone_from(&fresh);
        Ok(fresh)
    }

    /// The segments as they are now, for who holds the lease and is about to write: what was seen of them before is forgotten.
    pub(crate) fn list_anew(&self) -> Result<Vec<Segment>, StoreError> {
        lock(&self.open).clear();
        lock(&self.known).clear();
        *lock(&self.seen) = None;
        self.segments(true)
    }

    /// Opens a segment of a list that may be old: a live writer may have compressed it since, and taken its plain form away.
    fn open_segment(&self, segment: Segment, trust: Trust) -> Result<OpenSegment, StoreError> {
        match OpenSegment::open(&self.disk, &self.layout, segment, trust) {
            Err(error) if segment.form == Form::Plain && is_missing(&error) => {
                let closed = Segment { form: Form::Closed, ..segment };
                OpenSegment::open(&self.disk, &self.layout, closed, trust)
            }
            result => result,
        }
    }

    /// The segment with entry `index` and the offset of its line there. A segment that changed its form, or that is newer
    /// than the list at hand, is looked for again under a fresh list.
    fn locate(&self, index: u64, position: u64) -> Result<(Arc<OpenSegment>, u64), StoreError> {
        match self.try_locate(index, position, false) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        lock(&self.open).clear();
        self.try_locate(index, position, true)?.ok_or(StoreError::Absent { index })
    }

    fn try_locate(
        &self,
        index: u64,
        position: u64,
        refresh: bool,
    ) -> Result<Option<(Arc<OpenSegment>, u64)>, StoreError> {
        let segment = self.try_segment_of(index, refresh)?;
        let Some(offset) = position.checked_sub(self.base_of(segment.segment.first)?) else { return Ok(None) };
        Ok((offset < segment.len()?).then_some((segment, offset)))
    }

    fn try_segment_of(&self, index: u64, refresh: bool) -> Result<Arc<OpenSegment>, StoreError> {
        let segments = self.segments(refresh)?;
        let at = segments.partition_point(|s| s.first <= index);
        let segment = at.checked_sub(1).and_then(|at| segments.get(at)).ok_or(StoreError::Absent { index })?;
        let is_it = |o: &Segment| o == segment || (o.first == segment.first && o.form == Form::Closed);
        let found = lock(&self.open).iter().find(|o| is_it(&o.segment)).cloned();
        if let Some(found) = found {
            return Ok(found);
        }
        // Two that come at once open it twice, and none waits for the other's disk.
        let opened = Arc::new(self.open_segment(*segment, Trust::Table)?);
        self.keep_open(&opened, |o| is_it(&o.segment));
        Ok(opened)
    }

    /// Keeps a segment open for whoever reads in it next, if none that `is_it` is open.
    fn keep_open(&self, opened: &Arc<OpenSegment>, is_it: impl Fn(&Arc<OpenSegment>) -> bool) {
        let mut open = lock(&self.open);
        if open.iter().any(is_it) {
            return;
        }
        if open.len() >= OPEN_SEGMENTS {
            open.remove(0);
        }
        open.push(Arc::clone(opened));
    }

    /// Position of a segment's first byte.
    fn base_of(&self, first: u64) -> Result<u64, StoreError> {
        if first < self.tree.size()?.0 {
            return Ok(self.tree.offsets(first, 1)?.first().copied().unwrap_or(0) & !BATCH_START);
        }
        if let Some(base) = lock(&self.known).get(&first) {
            return Ok(*base);
        }
        // Behind the tree's end segments are plain, and each begins where the one before ends.
        let segments = self.segments(true)?;
        let at = segments.partition_point(|s| s.first < first);
        let Some(before) = at.checked_sub(1).and_then(|at| segments.get(at)) else { return Ok(0) };
        let open = self.open_segment(*before, Trust::Table)?;
        let base = self.base_of(before.first)? + open.len()?;
        lock(&self.known).insert(first, base);
        Ok(base)
    }

    fn line_at(&self, index: u64, position: u64) -> Result<Vec<u8>, StoreError> {
        let (segment, offset) = self.locate(index, position)?;
        let mut line = segment.read_in_frame(offset, 4096)?;
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
        let known = lock(&self.known).range(tree..=index).next_back().map(|(at, position)| (*at, *position));
        let (mut at, mut position) = match known {
            Some(known) => known,
            None => (tree, self.position_after(tree)?),
        };
        while at < index {
            let (segment, offset) = self.locate(at, position)?;
            let bytes = segment.read(offset, WALK_BYTES)?;
            let before = at;
            for line in bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
                if at == index {
                    break;
                }
                at += 1;
                position += line.len() as u64;
                if at % KNOWN_STEP == 0 {
                    self.remember(at, position, tree);
                }
            }
            if at == before {
                return Err(StoreError::Evidence { index: at, detail: "its line does not end".to_owned() });
            }
        }
        Ok(position)
    }

    /// Keeps a position behind the tree's end, and forgets those that the offsets cover by now.
    fn remember(&self, index: u64, position: u64, tree: u64) {
        let mut known = lock(&self.known);
        if known.first_key_value().is_some_and(|(first, _)| *first < tree) {
            *known = known.split_off(&tree);
        }
        known.insert(index, position);
    }

    /// Lines from entry `from` on by their position.
    fn read_by_position(&self, from: u64, max_bytes: usize, durable: &Durable) -> Result<Vec<u8>, StoreError> {
        let position = self.position_of(from)?;
        if max_bytes == 0 {
            return self.line_at(from, position);
        }
        let (segment, offset) = self.locate(from, position)?;
        let until = usize::try_from(durable.bytes.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = segment.read(offset, max_bytes.max(MAX_LINE_BYTES).min(until))?;
        cut_to_lines(&mut bytes, max_bytes);
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
        let tree = self.tree.size()?.0;
        if from + lines >= tree && lines > 0 {
            self.remember(from + lines, position + bytes.len() as u64, tree);
        }
        Ok(bytes)
    }

    /// Lines from entry `from` on by counting from the beginning of its segment: for where the offsets are not to be used.
    fn read_by_counting(&self, from: u64, max_bytes: usize, size: u64) -> Result<Vec<u8>, StoreError> {
        let segment = self.try_segment_of(from, true)?;
        let (mut at, mut offset) = (segment.segment.first, 0);
        loop {
            let bytes = segment.read(offset, WALK_BYTES.max(max_bytes.min(1 << 26)))?;
            let before = at;
            let mut found = Vec::new();
            for line in bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
                if (from..size).contains(&at) {
                    found.extend_from_slice(line);
                }
                at += 1;
                offset += line.len() as u64;
            }
            if !found.is_empty() {
                cut_to_lines(&mut found, max_bytes);
                return Ok(found);
            }
            if at == before {
                // Only behind a segment that ends with a line is something gone; one that is broken was not taken away.
                let broken = match bytes.is_empty() {
                    _ if at == segment.segment.first => "its segment is there and has no line that can be read",
                    true => return Err(StoreError::Absent { index: from }),
                    false => "its line does not end",
                };
                return Err(StoreError::Evidence { index: from, detail: broken.to_owned() });
            }
        }
    }
}

fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. })
}

/// Whether what stands there is too long, or no file at all.
pub(crate) fn is_no_such_file(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory};
    matches!(error.kind(), InvalidData | InvalidInput | IsADirectory | NotADirectory)
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// What a line says that its index is; `None` where it is no line.
fn index_of(line: &[u8]) -> Option<u64> {
    Line::parse(line.strip_suffix(b"\n")?).ok().map(|line| line.entry.index.0)
}

/// Leaves as many whole lines as fit, but at least one, if there is one.
fn cut_to_lines(bytes: &mut Vec<u8>, max_bytes: usize) {
    let window = bytes.get(..max_bytes).unwrap_or(bytes);
    let end = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', bytes)).map_or(0, |at| at + 1);
    bytes.truncate(end);
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
        let first = |bytes: &[u8]| bytes.split_inclusive(|b| *b == b'\n').next().and_then(index_of);
        match self.read_by_position(from.0, max_bytes, &durable) {
            Ok(bytes) if first(&bytes) == Some(from.0) => Ok(Chunk { first: from.0, bytes }),
            // A power cut may leave anything in the offsets behind the newest head, until a writer has come.
            Ok(_) | Err(StoreError::Damaged { .. } | StoreError::Absent { .. }) => {
                let bytes = self.read_by_counting(from.0, max_bytes, durable.size)?;
                Ok(Chunk { first: from.0, bytes })
            }
            Err(error) => Err(error),
        }
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        match self.list_runs() {
            // A segment was compressed between listing and opening it: its other form is in a fresh list.
            Err(error) if is_missing(&error) => self.list_runs(),
            runs => runs,
        }
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
        self.note(&path)
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout.kept(number);
        self.note(&path)
    }

    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError> {
        let dir = self.layout.at("checkpoints");
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(StoreError::io("list", &dir))?,
        };
        let number = |name: &String| name.parse().ok().filter(|number| self.layout.kept(*number).ends_with(name));
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        if let Some(ids) = lock(&self.ids).clone() {
            return Ok(ids.lookup(id)?.into_iter().map(LeafIndex).collect());
        }
        // Beside another process's writer the files change: they are opened anew, and what they do not cover is scanned.
        let mut tries = 0;
        loop {
            tries += 1;
            match self.lookup_anew(id) {
                // A merge took files away under our eyes.
                Err(error) if tries < LOOKUP_TRIES && (is_missing(&error) || is_damage(&error)) => {}
                result => return result,
            }
        }
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
        // A missing lock file is a fault of its own, which the check of the folder tells.
        Ok(self.disk.is_leased(&path).unwrap_or(false))
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.layout.attachment(digest);
        let limit = usize::try_from(MAX_ATTACHMENT_BYTES).unwrap_or(usize::MAX);
        read_small(&*self.disk, &path, limit).map_err(StoreError::io("read", &path))
    }

    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        let path = self.layout.attachment(digest);
        let meta = self.disk.meta(&path).map_err(StoreError::io("read", &path))?;
        Ok(meta.filter(|meta| !meta.is_dir).map(|meta| meta.len))
    }
}

impl FileReader {
    /// A signed note; what can be none by its size or type is damage.
    fn note(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match read_small(&*self.disk, path, MAX_NOTE_BYTES) {
            Err(error) if is_no_such_file(&error) => {
                let detail = format!("it is no file of at most {MAX_NOTE_BYTES} bytes");
                Err(StoreError::Damaged { place: path.display().to_string(), detail })
            }
            note => note.map_err(StoreError::io("read", path)),
        }
    }

    fn list_runs(&self) -> Result<Vec<Run>, StoreError> {
        let held = self.has_writer()?;
        let durable = if held { Some(self.durable()?) } else { None };
        let segments = self.segments(true)?;
        let mut runs = Vec::new();
        let mut position = 0;
        for (n, segment) in segments.iter().enumerate() {
            let open = match self.open_segment(*segment, Trust::Table) {
                Err(StoreError::Damaged { .. }) => self.open_segment(*segment, Trust::Walk)?,
                // Who reads its pieces is told.
                Err(StoreError::Evidence { .. }) => {
                    let place = segment.path(&self.layout).display().to_string();
                    runs.push(Run { first: segment.first, place, bytes: 0, beyond: 0, closed: true, end: None });
                    continue;
                }
                open => open?,
            };
            let mut bytes = open.len()?;
            let form = open.segment.form;
            let beyond = match form {
                Form::Plain => bytes.saturating_sub(MAX_PLAIN_BYTES),
                Form::Closed => 0,
            };
            bytes -= beyond;
            let closed = form == Form::Closed || n + 1 < segments.len();
            // Beside a live writer the newest segment is read only as far as it is known to be synced.
            if let (false, Some(durable)) = (closed, durable) {
                bytes = bytes.min(durable.bytes.saturating_sub(position));
            }
            position += bytes;
            runs.push(Run { first: segment.first, place: open.place(), bytes, beyond, closed, end: None });
        }
        Ok(runs)
    }

    fn lookup_anew(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        let ids = IdIndex::open_to_hole(Arc::clone(&self.disk), self.layout.clone())?;
        let mut found: Vec<LeafIndex> = ids.lookup(id)?.into_iter().map(LeafIndex).collect();
        check::scan_ids(self, ids.covered(), self.size()?.0, |(found_id, index)| {
            if found_id == id {
                found.push(LeafIndex(index));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// A segment with its frames walked, kept open over the pieces of a scan. One that was compressed since the scan began is read
    /// in its new form, by the offsets of the old.
    fn walked(&self, run: &Run) -> Result<Arc<OpenSegment>, StoreError> {
        // A segment that was opened by its seek table is not to be scanned by it.
        let is_it = |o: &Arc<OpenSegment>| {
            o.segment.first == run.first
                && (o.segment.form == Form::Closed || o.place() == run.place)
                && (o.trust == Trust::Walk || o.segment.form == Form::Plain)
        };
        let found = || lock(&self.open).iter().find(|o| is_it(o)).cloned();
        if let Some(found) = found() {
            return Ok(found);
        }
        // The threads of a scan come here together: the first walks the segment, and the others take what it found.
        let _walking = lock(&self.walking);
        if let Some(found) = found() {
            return Ok(found);
        }
        let form = if run.place.ends_with(".zst") { Form::Closed } else { Form::Plain };
        let segment = Segment { first: run.first, form };
        let opened = Arc::new(self.open_segment(segment, Trust::Walk)?);
        lock(&self.open).retain(|o| o.segment.first != run.first);
        self.keep_open(&opened, is_it);
        Ok(opened)
    }
}
