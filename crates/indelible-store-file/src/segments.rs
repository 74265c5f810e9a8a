//! Segment files: which there are, and reading bytes of them by their uncompressed offset.

use std::{
    cell::Cell,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indelible_store::{
    disk::{Disk, DiskFile, Open, SharedDisk},
    store::{Piece, StoreError},
};

use crate::{
    frames::{self, Decoder, Encoder, Frame, FrameError},
    layout::{Layout, MAX_ENTRIES},
};

/// The size of a piece of a plain segment.
const PIECE_BYTES: u64 = 1 << 20;
/// Frames in pieces of at most the size of one of a plain segment, or of one frame.
fn groups(frames: &[Frame]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (unit, frame) in (0..).zip(frames) {
        let bytes = u64::from(frame.bytes);
        match pieces.last_mut() {
            Some(last) if last.bytes + bytes <= PIECE_BYTES => {
                last.bytes += bytes;
                last.units += 1;
            }
            _ => pieces.push(Piece { offset: frame.offset, bytes, unit, units: 1 }),
        }
    }
    pieces
}

/// How a segment is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `.jsonl`
    Plain,
    /// `.jsonl.zst`
    Closed,
}

/// A segment by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of its first entry.
    pub first: u64,
    /// How it is stored. Where both forms exist the plain one counts, and the other is the leaving of an interrupted compression.
    pub form: Form,
}

impl Segment {
    /// Its file.
    #[must_use]
    pub fn path(&self, layout: &Layout) -> PathBuf {
        match self.form {
            Form::Plain => layout.segment(self.first),
            Form::Closed => layout.closed(self.first),
        }
    }
}

/// All segments, by first index. Names that are no segment's are left out (see [`strangers`]).
///
/// # Errors
/// [`StoreError::Io`].
pub fn list(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Segment>, StoreError> {
    let dir = layout.at("segments");
    let names = list_names(disk, &dir)?;
    let mut segments: Vec<Segment> = names.iter().filter_map(|name| parse_name(name)).collect();
    segments.sort_by_key(|s| (s.first, s.form == Form::Closed));
    segments.dedup_by_key(|s| s.first);
    Ok(segments)
}

/// Names in the segment folder that are no segment's: temporary files are told apart from what should not be there.
///
/// # Errors
/// [`StoreError::Io`].
pub fn strangers(disk: &dyn Disk, layout: &Layout) -> Result<Vec<OsString>, StoreError> {
    let names = all_names(disk, &layout.at("segments"))?;
    Ok(names.into_iter().filter(|name| name.to_str().and_then(parse_name).is_none()).collect())
}

/// The names in a folder, also those that are not UTF-8.
///
/// # Errors
/// [`StoreError::Io`].
pub fn all_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<OsString>, StoreError> {
    let mut names: Vec<OsString> = list_names(disk, dir)?.into_iter().map(OsString::from).collect();
    match disk.list_strange(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        strange => names.extend(strange.map_err(StoreError::io("list", dir))?),
    }
    Ok(names)
}

/// A folder that is gone holds nothing: what should be in it is told by whoever knows of it.
fn list_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, StoreError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(StoreError::io("list", dir)),
    }
}

fn parse_name(name: &str) -> Option<Segment> {
    let (digits, form) = match name.strip_suffix(".jsonl.zst") {
        Some(digits) => (digits, Form::Closed),
        None => (name.strip_suffix(".jsonl")?, Form::Plain),
    };
    let fits = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let first = if fits { digits.parse().ok()? } else { return None };
    (first <= MAX_ENTRIES).then_some(Segment { first, form })
}

/// An open segment.
pub struct OpenSegment {
    /// Which.
    pub segment: Segment,
    /// How its frames were found.
    pub trust: Trust,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    frames: Vec<Frame>,
    /// Why the seek table is not to be trusted, where that is so.
    pub table_fault: Option<String>,
    /// Whether neither the frames nor the table lead to the end of the file.
    broken: bool,
    /// The frame that was read last, for single entries.
    last: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

thread_local! {
    /// What zstd needs is mapped anew each time it is asked for, which costs more than to decompress a frame.
    static DECODER: Cell<Option<Decoder>> = const { Cell::new(None) };
}

/// How a closed segment finds its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the seek table: one small read. For single entries.
    Table,
    /// By walking the frames themselves. For verification and repair.
    Walk,
}

impl OpenSegment {
    /// Opens a segment.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Damaged`] for a seek table that cannot be read under [`Trust::Table`].
    pub fn open(disk: &SharedDisk, layout: &Layout, segment: Segment, trust: Trust) -> Result<Self, StoreError> {
        let path = segment.path(layout);
        if disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some_and(|meta| meta.is_dir) {
            let detail = format!("`{}` is a directory", path.display());
            return Err(StoreError::Evidence { index: segment.first, detail });
        }
        let file = match disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let detail = format!("`{}`: {error}", path.display());
                return Err(StoreError::Evidence { index: segment.first, detail });
            }
            file => file.map_err(StoreError::io("open", &path))?,
        };
        let mut open = Self {
            segment,
            trust,
            path,
            file,
            frames: Vec::new(),
            table_fault: None,
            broken: false,
            last: Mutex::default(),
        };
        if segment.form == Form::Closed {
            let table = open.read_table()?;
            match (trust, table) {
                (Trust::Table, Ok(frames)) => open.frames = frames,
                (Trust::Table, Err(error)) => {
                    return Err(StoreError::Damaged { place: open.place(), detail: error.to_string() });
                }
                (Trust::Walk, table) => open.walk(table)?,
            }
        }
        Ok(open)
    }

    /// The file's name, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read_table(&self) -> Result<Result<Vec<Frame>, FrameError>, StoreError> {
        let len = self.file.len().map_err(StoreError::io("read", &self.path))?;
        let footer = self.raw(len.saturating_sub(9), 9)?;
        let table = match frames::table_len(&footer, len) {
            Ok(table) => table,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = self.raw(len - table, usize::try_from(table).unwrap_or(usize::MAX))?;
        Ok(frames::parse_table(&bytes, len))
    }

    /// Finds the frames by their own headers.
    fn walk(&mut self, table: Result<Vec<Frame>, FrameError>) -> Result<(), StoreError> {
        let len = self.file.len().map_err(StoreError::io("read", &self.path))?;
        let (walked, end) = self.walk_frames(len)?;
        let want = frames::table_bytes(&walked);
        let rest_len = len.saturating_sub(end);
        // One byte more than the table has tells that there is more.
        let rest = self.raw(end, to_usize(rest_len.min(want.len() as u64 + 1)))?;
        let whole = rest == want;
        // Every frame could be followed and something of the table's length stands behind them: the table is what is wrong.
        let table_only = !walked.is_empty() && rest.len() == want.len() && !whole;
        self.broken = !table_only && table.is_err() && (walked.is_empty() || !want.starts_with(&rest));
        match table {
            Ok(_) | Err(_) if table_only => {
                self.table_fault = Some("its seek table does not fit its frames".to_owned());
                self.frames = walked;
            }
            Ok(table) if whole && table == walked => self.frames = table,
            // The frames cannot be followed by themselves, but the table fits the file: one of them is damaged inside.
            Ok(table) if !whole => self.frames = table,
            Ok(_) | Err(_) => {
                self.table_fault = Some("its seek table does not fit its frames".to_owned());
                self.frames = walked;
            }
        }
        Ok(())
    }

    /// Follows the frames from the start, by their headers alone; returns them and where the last ends.
    fn walk_frames(&self, len: u64) -> Result<(Vec<Frame>, u64), StoreError> {
        let mut frames = Vec::new();
        let (mut at, mut offset) = (0_u64, 0_u64);
        while frames.len() < frames::MAX_FRAMES {
            let sizes = frames::sizes(len.saturating_sub(at), |from, buffer| self.file.read_at(buffer, at + from));
            let Some((compressed, bytes)) = sizes.map_err(StoreError::io("read", &self.path))? else { break };
            frames.push(Frame { at, compressed, offset, bytes });
            at += u64::from(compressed);
            offset += u64::from(bytes);
        }
        Ok((frames, at))
    }

    fn raw(&self, at: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        let got = self.file.read_at(&mut bytes, at).map_err(StoreError::io("read", &self.path))?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Uncompressed length.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn len(&self) -> Result<u64, StoreError> {
        match self.segment.form {
            Form::Plain => self.file.len().map_err(StoreError::io("read", &self.path)),
            Form::Closed => Ok(self.frames.last().map_or(0, |f| f.offset + u64::from(f.bytes))),
        }
    }

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `max` bytes at an uncompressed offset; at least to the end of the frame there, in a closed segment.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Evidence`] for a frame that cannot be decompressed.
    pub fn read(&self, offset: u64, max: usize) -> Result<Vec<u8>, StoreError> {
        if self.segment.form == Form::Plain {
            return self.raw(offset, max);
        }
        let mut out = Vec::new();
        for frame in self.frames.iter().skip(self.frame_at(offset)) {
            let content = self.frame(frame)?;
            let rest = content.get(to_usize(offset.saturating_sub(frame.offset))..).unwrap_or_default();
            out.extend_from_slice(rest.get(..max - out.len()).unwrap_or(rest));
            if out.len() >= max {
                break;
            }
        }
        Ok(out)
    }

    /// Reads up to `max` bytes at an uncompressed offset; in a closed segment not beyond the frame there, which no line goes beyond either.
    ///
    /// # Errors
    /// As for [`OpenSegment::read`].
    pub fn read_in_frame(&self, offset: u64, max: usize) -> Result<Vec<u8>, StoreError> {
        let end = self.frames.get(self.frame_at(offset)).map(|frame| frame.offset + u64::from(frame.bytes));
        let rest = end.map_or(max, |end| to_usize(end.saturating_sub(offset)));
        self.read(offset, max.min(rest))
    }

    /// The place of the frame with an uncompressed offset; none for a plain segment.
    fn frame_at(&self, offset: u64) -> usize {
        self.frames.partition_point(|frame| frame.offset + u64::from(frame.bytes) <= offset)
    }

    /// A frame's content. Readers of other frames do not wait for it; two of the same one may both decompress it.
    fn frame(&self, frame: &Frame) -> Result<Arc<Vec<u8>>, StoreError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last().as_ref().filter(|(at, _)| *at == frame.at).map(|(_, content)| Arc::clone(content));
        if let Some(content) = known {
            return Ok(content);
        }
        // Its room is used again, unless somebody still reads there: what is given back to the system has to be asked for anew.
        let before = last().take().and_then(|(_, content)| Arc::try_unwrap(content).ok());
        let mut content = before.unwrap_or_default();
        content.clear();
        self.with_decoder(|decoder| self.decompress(decoder, frame, &mut Vec::new(), &mut content))?;
        let content = Arc::new(content);
        *last() = Some((frame.at, Arc::clone(&content)));
        Ok(content)
    }

    fn with_decoder<T>(&self, work: impl FnOnce(&mut Decoder) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut decoder = match DECODER.take() {
            Some(decoder) => decoder,
            None => Decoder::new().map_err(StoreError::io("decompress", &self.path))?,
        };
        let result = work(&mut decoder);
        DECODER.set(Some(decoder));
        result
    }

    /// Appends a frame's content to `out`; `compressed` is only room.
    fn decompress(
        &self,
        decoder: &mut Decoder,
        frame: &Frame,
        compressed: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        compressed.resize(to_usize(u64::from(frame.compressed)), 0);
        let got = self.file.read_at(compressed, frame.at).map_err(StoreError::io("read", &self.path))?;
        compressed.truncate(got);
        decoder.append(frame, compressed, out).map_err(|error| StoreError::Evidence {
            index: self.segment.first,
            detail: format!("`{}`: {error}", self.place()),
        })
    }

    /// Cuts the segment into pieces, up to the uncompressed offset `end`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn pieces(&self, end: u64) -> Result<Vec<Piece>, StoreError> {
        if self.segment.form == Form::Closed {
            // What cannot be followed any further is a piece of its own, which cannot be read.
            let rest = Piece { offset: self.len()?.max(1), bytes: 0, unit: self.frames.len() as u64, units: 1 };
            return Ok(groups(&self.frames).into_iter().chain(self.broken.then_some(rest)).collect());
        }
        let mut pieces = Vec::new();
        let mut offset = 0;
        if end == 0 {
            pieces.push(Piece { offset: 0, bytes: 0, unit: 0, units: 0 });
        }
        while offset < end {
            let bytes = PIECE_BYTES.min(end - offset);
            pieces.push(Piece { offset, bytes, unit: 0, units: 0 });
            offset += bytes;
        }
        Ok(pieces)
    }

    /// The lines that *begin* in the piece.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Evidence`] for a frame that cannot be decompressed.
    pub fn read_piece(&self, piece: &Piece, end: u64) -> Result<Vec<u8>, StoreError> {
        // A piece without units was cut from the plain form.
        if self.segment.form == Form::Closed && piece.units > 0 {
            let mut out = Vec::with_capacity(to_usize(piece.bytes.min(PIECE_BYTES)));
            let (from, count) = (to_usize(piece.unit), to_usize(piece.units));
            if from >= self.frames.len() {
                let detail = format!(
                    "`{}`: what stands behind its frame {from} is neither a frame nor a seek table",
                    self.place()
                );
                return Err(StoreError::Evidence { index: self.segment.first, detail });
            }
            let mut compressed = Vec::new();
            self.with_decoder(|decoder| {
                let mut frames = self.frames.iter().skip(from).take(count);
                frames.try_for_each(|frame| self.decompress(decoder, frame, &mut compressed, &mut out))
            })?;
            return Ok(out);
        }
        if piece.bytes == 0 {
            return Ok(Vec::new());
        }
        // One byte before, to see whether a line begins at the piece's first byte; one longest line behind, to end the last.
        let from = piece.offset.saturating_sub(1);
        let before = to_usize(piece.offset - from);
        let longest = indelible_core::entry::MAX_LINE_BYTES as u64;
        let until = (piece.offset + piece.bytes + longest).min(end);
        let mut bytes = self.read(from, to_usize(until - from))?;
        let own = to_usize(piece.bytes) + before;
        let tail_end = match bytes.get(own..) {
            Some(rest) if bytes.get(own - 1) != Some(&b'\n') => {
                memchr::memchr(b'\n', rest).map_or(bytes.len(), |at| own + at + 1)
            }
            _ => own.min(bytes.len()),
        };
        bytes.truncate(tail_end);
        let start = match (piece.offset, bytes.first()) {
            (0, _) => 0,
            (_, Some(b'\n')) => 1,
            _ => memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1),
        };
        // A line longer than a piece belongs to the piece where it begins; this one has then no line of its own.
        if start > own {
            return Ok(Vec::new());
        }
        bytes.drain(..start);
        Ok(bytes)
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Writes the closed form of a plain segment beside it (as `*.tmp`, synced), checked by decompressing it again. `rest` is told after each frame how
/// long it took, and may wait.
///
/// # Errors
/// [`StoreError::Io`].
pub fn compress(
    disk: &dyn Disk,
    layout: &Layout,
    plain: &OpenSegment,
    mut rest: impl FnMut(Duration),
) -> Result<PathBuf, StoreError> {
    let path = layout.closed(plain.segment.first);
    let temporary = path.with_extension("zst.tmp");
    let io = |step| StoreError::io(step, &temporary);
    if disk.meta(&temporary).map_err(io("read"))?.is_some() {
        disk.remove(&temporary).map_err(io("remove"))?;
    }
    let file = disk.open(&temporary, Open::CreateNew).map_err(io("create"))?;
    let end = plain.len()?;
    let mut list: Vec<Frame> = Vec::new();
    let mut encoder = Encoder::new().map_err(io("compress"))?;
    let mut decoder = Decoder::new().map_err(io("compress"))?;
    let mut content = Vec::new();
    let (mut at, mut offset) = (0_u64, 0_u64);
    for piece in plain.pieces(end)? {
        let lines = plain.read_piece(&piece, end)?;
        for part in frames::parts(&lines) {
            let begun = Instant::now();
            let compressed = encoder.frame(part).map_err(io("compress"))?;
            let too_large = || io("compress")(io::ErrorKind::FileTooLarge.into());
            let frame = Frame {
                at,
                compressed: u32::try_from(compressed.len()).map_err(|_| too_large())?,
                offset,
                bytes: u32::try_from(part.len()).map_err(|_| too_large())?,
            };
            file.write_at(&compressed, at).map_err(io("write"))?;
            let mut back = vec![0; compressed.len()];
            file.read_at(&mut back, at).map_err(io("read back"))?;
            content.clear();
            let whole = decoder.append(&frame, &back, &mut content).is_ok();
            if !whole || content != part {
                return Err(io("read back")(io::Error::new(io::ErrorKind::InvalidData, "it is not what was written")));
            }
            at += compressed.len() as u64;
            offset += part.len() as u64;
            list.push(frame);
            rest(begun.elapsed());
        }
    }
    if offset != end {
        return Err(io("compress")(io::Error::new(
            io::ErrorKind::InvalidData,
            "the segment has bytes behind its last line",
        )));
    }
    file.write_at(&frames::table_bytes(&list), at).map_err(io("write"))?;
    file.sync().map_err(io("sync"))?;
    Ok(temporary)
}

/// Writes the seek table of a closed segment anew where it does not fit the frames.
///
/// # Errors
/// [`StoreError::Io`].
pub fn rewrite_table(layout: &Layout, disk: &SharedDisk, segment: Segment) -> Result<(), StoreError> {
    let open = OpenSegment::open(disk, layout, segment, Trust::Walk)?;
    if open.table_fault.is_none() {
        return Ok(());
    }
    let path = segment.path(layout);
    let temporary = path.with_extension("zst.tmp");
    if disk.meta(&temporary).map_err(StoreError::io("read", &temporary))?.is_some() {
        disk.remove(&temporary).map_err(StoreError::io("remove", &temporary))?;
    }
    let io = |step| StoreError::io(step, &temporary);
    let out = disk.open(&temporary, Open::CreateNew).map_err(io("create"))?;
    let end = open.frames.last().map_or(0, |frame| frame.at + u64::from(frame.compressed));
    // A segment may have gibibytes: it is copied piece by piece.
    let mut at = 0;
    while at < end {
        let piece = open.raw(at, to_usize((end - at).min(PIECE_BYTES)))?;
        if piece.is_empty() {
            return Err(StoreError::io("read", &path)(io::ErrorKind::UnexpectedEof.into()));
        }
        out.write_at(&piece, at).map_err(io("write"))?;
        at += piece.len() as u64;
    }
    out.write_at(&frames::table_bytes(&open.frames), end).map_err(io("write"))?;
    out.sync().map_err(io("sync"))?;
    drop(disk.unprotect(&path));
    disk.rename(&temporary, &path).map_err(StoreError::io("rename", &path))?;
    let dir = layout.at("segments");
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    drop(disk.protect(&path, false));
    Ok(())
}
