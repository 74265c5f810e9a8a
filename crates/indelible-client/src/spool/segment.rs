//! One file of a spool: made, opened, appended to, read, removed.

use std::{
    io,
    path::{Path, PathBuf},
};

use indelible_store::disk::{Disk, DiskFile, Open, OsDisk};

use super::{
    SEGMENT_BYTES, SpoolError,
    delivered::MAX_NUMBER,
    frame::{self, HEAD_BYTES, MAX_PAYLOAD_BYTES, Place, SEGMENT_HEAD},
    io_error,
};

/// No file is longer: it is appended to below [`SEGMENT_BYTES`], one frame at a time. A frame of one event may be longer than others, by an event.
const MAX_FILE_BYTES: u64 = SEGMENT_BYTES + (HEAD_BYTES + MAX_PAYLOAD_BYTES) as u64 + (1 << 17);

/// One file.
pub(crate) struct Segment {
    number: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    /// Where frames begin, and how many events each has: 16 bytes for each frame of a bounded file.
    frames: Vec<(u64, u64)>,
}

fn name(number: u64) -> String {
    format!("{number:08}.spool")
}

/// Where a file is.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(name(number))
}

/// The files that are there, in order.
pub(crate) fn numbers(dir: &Path) -> Result<Vec<u64>, SpoolError> {
    let names = OsDisk.list(dir).map_err(io_error("list", dir))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|found| found.strip_suffix(".spool")?.parse().ok().filter(|number| name(*number) == *found))
        .collect();
    numbers.sort_unstable();
    match numbers.last() {
        Some(last) if *last > MAX_NUMBER => Err(too_high(dir, *last)),
        _ => Ok(numbers),
    }
}

/// The number behind one.
pub(crate) fn after(dir: &Path, number: u64) -> Result<u64, SpoolError> {
    let next = number.checked_add(1).filter(|next| *next <= MAX_NUMBER);
    next.ok_or_else(|| too_high(dir, number.saturating_add(1)))
}

fn too_high(dir: &Path, number: u64) -> SpoolError {
    SpoolError::Number { place: path(dir, number).display().to_string() }
}

impl Segment {
    /// Makes a file, durably.
    pub(crate) fn create(dir: &Path, number: u64) -> Result<Self, SpoolError> {
        let path = path(dir, number);
        let make = || {
            let file = OsDisk.open(&path, Open::CreateNew)?;
            file.write_at(SEGMENT_HEAD, 0)?;
            file.sync()?;
            OsDisk.sync_dir(dir)?;
            Ok(file)
        };
        let file = make().map_err(io_error("create", &path))?;
        Ok(Self { number, file, len: SEGMENT_HEAD.len() as u64, frames: Vec::new(), path })
    }

    /// Opens a file and looks at every frame. What a torn write left at the end of the last one is cut, kept aside, and its length told.
    pub(crate) fn open(dir: &Path, number: u64, last: bool) -> Result<(Self, u64), SpoolError> {
        let path = path(dir, number);
        let failed = |step| io_error(step, &path);
        let file = OsDisk.open(&path, Open::Write).map_err(failed("open"))?;
        let bytes = read_all(&*file).map_err(failed("read"))?;
        let mut segment = Self { number, file, len: bytes.len() as u64, frames: Vec::new(), path: path.clone() };
        let mut offset = SEGMENT_HEAD.len() as u64;
        if !bytes.starts_with(SEGMENT_HEAD) {
            // A crash between making the file and its first sync: nothing in it was ever promised.
            if !last || frame::any_behind(Place { segment: number, offset: 0 }, &bytes) {
                return Err(segment.damaged(0));
            }
            let cut = segment.cut(dir, &bytes, 0).map_err(failed("cut"))?;
            return Ok((segment, cut));
        }
        loop {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok((segment, 0));
            }
            let place = Place { segment: number, offset };
            let Some(payload) = frame::parse(place, rest) else {
                if !last || frame::any_behind(place, rest) {
                    return Err(segment.damaged(offset));
                }
                let cut = segment.cut(dir, &bytes, offset).map_err(failed("cut"))?;
                return Ok((segment, cut));
            };
            segment.frames.push((offset, frame::count(payload)));
            offset += (HEAD_BYTES + payload.len()) as u64;
        }
    }

    /// Cuts the file at `offset`, with what stood behind it kept aside first.
    fn cut(&mut self, dir: &Path, bytes: &[u8], offset: u64) -> io::Result<u64> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let torn = bytes.get(at..).unwrap_or_default();
        if !torn.is_empty() {
            let aside = self.path.with_extension(format!("spool.{offset}.cut"));
            indelible_store::disk::replace_small(&OsDisk, &aside, torn)?;
        }
        self.file.set_len(offset)?;
        if offset == 0 {
            self.file.write_at(SEGMENT_HEAD, 0)?;
        }
        self.file.sync()?;
        OsDisk.sync_dir(dir)?;
        self.len = offset.max(SEGMENT_HEAD.len() as u64);
        Ok(torn.len() as u64)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether a frame begins here, or the file ends.
    pub(crate) fn has_frame_at(&self, offset: u64) -> bool {
        offset == self.len || self.frames.binary_search_by_key(&offset, |frame| frame.0).is_ok()
    }

    pub(crate) fn events_from(&self, offset: u64) -> u64 {
        self.frames.iter().filter(|frame| frame.0 >= offset).map(|frame| frame.1).sum()
    }

    /// Appends a frame, durably. With the error: whether nothing is known any more of what is on the disk.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<(), (SpoolError, bool)> {
        let bytes = frame::frame(Place { segment: self.number, offset: self.len }, payload);
        if let Err(error) = self.file.write_at(&bytes, self.len) {
            // A full disk, mostly: what was written of it is taken back, and the spool goes on.
            let taken_back = self.file.set_len(self.len).and_then(|()| self.file.sync());
            return Err((io_error("write", &self.path)(error), taken_back.is_err()));
        }
        self.file.sync().map_err(|error| (io_error("sync", &self.path)(error), true))?;
        self.frames.push((self.len, frame::count(payload)));
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The payload of the frame at `offset`, and where the next begins.
    pub(crate) fn read(&self, offset: u64) -> Result<(Vec<u8>, u64), SpoolError> {
        let failed = io_error("read", &self.path);
        let at = self.frames.binary_search_by_key(&offset, |frame| frame.0).map_err(|_| self.damaged(offset))?;
        let end = self.frames.get(at + 1).map_or(self.len, |next| next.0);
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or(0)];
        let got = self.file.read_at(&mut bytes, offset).map_err(failed)?;
        let whole = bytes.get(..got).and_then(|bytes| frame::parse(Place { segment: self.number, offset }, bytes));
        Ok((whole.ok_or_else(|| self.damaged(offset))?.to_vec(), end))
    }

    pub(crate) fn remove(&self, dir: &Path) -> Result<(), SpoolError> {
        // A removal that a crash takes back is a file that is delivered once more.
        OsDisk.remove(&self.path).and_then(|()| OsDisk.sync_dir(dir)).map_err(io_error("remove", &self.path))
    }

    pub(crate) fn damaged(&self, offset: u64) -> SpoolError {
        SpoolError::Damaged { place: self.path.display().to_string(), offset }
    }
}

fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has {len} bytes, more than a file of a spool"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}
