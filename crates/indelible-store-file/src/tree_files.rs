//! `tree/<level>` and `offsets`: derived files that only grow, written from bytes that were read back.
//!
//! A level is as long as the entries say; whatever a crash leaves behind the last synced checkpoint is cut at open and
//! written again.

use std::sync::{Mutex, PoisonError};

use indelible_core::{
    tile::level_len,
    tree::{Frontier, Hash, TreeSize},
};
use indelible_store::{
    disk::{DiskFile, Open, SharedDisk},
    store::{self, Chunk, StoreError},
};

use crate::layout::Layout;

pub use indelible_store::store::BATCH_START;

/// 256^7 leaves are 2^56; the eighth level would need 2^64.
pub const LEVELS: u8 = 8;

/// Reads the derived files; each call opens what it needs from a small set of handles.
pub struct TreeReader {
    disk: SharedDisk,
    layout: Layout,
    open: Mutex<Vec<Option<std::sync::Arc<dyn DiskFile>>>>,
}

impl TreeReader {
    /// Reads the tree of `layout`.
    #[must_use]
    pub fn new(disk: SharedDisk, layout: Layout) -> Self {
        Self { disk, layout, open: Mutex::new(vec![None; usize::from(LEVELS) + 1]) }
    }

    /// Number of whole leaf hashes that are stored.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn size(&self) -> Result<TreeSize, StoreError> {
        let path = self.layout.level(0);
        let meta = self.disk.meta(&path).map_err(StoreError::io("read", &path))?;
        Ok(TreeSize(meta.map_or(0, |meta| meta.len / 32)))
    }

    /// Hashes of a level.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the file is too short.
    pub fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let mut bytes = vec![0; count * 32];
        self.read(usize::from(level), &mut bytes, first * 32)?;
        Ok(bytes.chunks_exact(32).filter_map(|chunk| chunk.first_chunk().copied().map(Hash)).collect())
    }

    /// Offsets (with their batch bit) of entries `first .. first + count`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the file is too short.
    pub fn offsets(&self, first: u64, count: usize) -> Result<Vec<u64>, StoreError> {
        let mut bytes = vec![0; count * 8];
        self.read(usize::from(LEVELS), &mut bytes, first * 8)?;
        Ok(bytes.chunks_exact(8).filter_map(|chunk| chunk.first_chunk().copied().map(u64::from_le_bytes)).collect())
    }

    fn read(&self, slot: usize, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        let path = path_of(&self.layout, slot);
        let file = self.file(slot)?;
        let got = match &file {
            Some(file) => file.read_at(bytes, at).map_err(StoreError::io("read", &path))?,
            None => 0,
        };
        if got == bytes.len() {
            return Ok(());
        }
        // A writer that came after a crash may have made the file anew: the next call opens it again.
        if let Some(place) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get_mut(slot) {
            *place = None;
        }
        let detail = if file.is_none() {
            "it is missing".to_owned()
        } else {
            format!("it ends before byte {}", at + bytes.len() as u64)
        };
        Err(StoreError::Damaged { place: path.display().to_string(), detail })
    }

    fn file(&self, slot: usize) -> Result<Option<std::sync::Arc<dyn DiskFile>>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = open.get_mut(slot) else { return Ok(None) };
        if place.is_none() {
            let path = path_of(&self.layout, slot);
            if self.disk.meta(&path).map_err(StoreError::io("read", &path))?.is_none() {
                return Ok(None);
            }
            *place =
                Some(std::sync::Arc::from(self.disk.open(&path, Open::Read).map_err(StoreError::io("open", &path))?));
        }
        Ok(place.clone())
    }
}

fn path_of(layout: &Layout, slot: usize) -> std::path::PathBuf {
    match u8::try_from(slot) {
        Ok(level) if level < LEVELS => layout.level(level),
        _ => layout.at("offsets"),
    }
}

/// Files under such names are not in use; whoever opens the log for writing removes them.
const STAGED: &str = ".tmp";

/// Appends to the derived files. Held by the writer.
pub struct TreeWriter {
    disk: SharedDisk,
    layout: Layout,
    /// What the names of its files end with: nothing, or [`STAGED`].
    suffix: &'static str,
    files: Vec<Option<Box<dyn DiskFile>>>,
    frontier: Frontier,
    /// Position behind the last entry that the tree covers.
    position: u64,
}

impl TreeWriter {
    /// Goes on behind the entries of `frontier`, whose last line ends at `position`; cuts whatever stands behind.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn resume(disk: SharedDisk, layout: Layout, frontier: Frontier, position: u64) -> Result<Self, StoreError> {
        let mut writer = Self { disk, layout, suffix: "", files: Vec::new(), frontier, position };
        writer.files.resize_with(usize::from(LEVELS) + 1, || None);
        let size = writer.frontier.size();
        for slot in 0..=usize::from(LEVELS) {
            let path = writer.path(slot);
            let want = match u8::try_from(slot) {
                Ok(level) if level < LEVELS => level_len(size, level) * 32,
                _ => size.0 * 8,
            };
            let have = writer.disk.meta(&path).map_err(StoreError::io("read", &path))?.map_or(0, |meta| meta.len);
            if have < want {
                let detail = format!("it has {have} bytes instead of {want}");
                return Err(StoreError::Damaged { place: path.display().to_string(), detail });
            }
            if want == 0 && slot < usize::from(LEVELS) {
                // Made anew when it is needed, so that its name is synced by the one who counts on it.
                if writer.disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
                    writer.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
                }
            } else if have > want {
                writer.file(slot)?.set_len(want).map_err(StoreError::io("cut", &path))?;
            }
        }
        Ok(writer)
    }

    /// Begins anew beside the files in use, which stay as they are until [`TreeWriter::replace`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn stage(disk: SharedDisk, layout: Layout) -> Result<Self, StoreError> {
        let mut writer =
            Self { disk, layout, suffix: STAGED, files: Vec::new(), frontier: Frontier::new(), position: 0 };
        writer.files.resize_with(usize::from(LEVELS) + 1, || None);
        writer.discard()?;
        Ok(writer)
    }

    /// Removes what was staged.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn discard(&mut self) -> Result<(), StoreError> {
        for slot in 0..=usize::from(LEVELS) {
            let path = self.path(slot);
            if let Some(file) = self.files.get_mut(slot) {
                *file = None;
            }
            if self.disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
                self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Puts what was staged in the place of the files in use, durably. A crash leaves some of them old and some new, each whole: what only
    /// the old ones held is in the new ones too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn replace(mut self) -> Result<(), StoreError> {
        self.sync()?;
        for slot in 0..=usize::from(LEVELS) {
            let (staged, path) = (self.path(slot), path_of(&self.layout, slot));
            if self.files.get_mut(slot).and_then(Option::take).is_some() {
                self.disk.rename(&staged, &path).map_err(StoreError::io("rename", &staged))?;
            } else if self.disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
                self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        for dir in [self.layout.at("tree"), self.layout.root().to_owned()] {
            self.disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        }
        Ok(())
    }

    /// Takes over entries whose bodies are absent: their leaf hashes and offsets as they were stored, and the position behind them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn carry_over(&mut self, leaves: &[Hash], offsets: &[u64], position: u64) -> Result<(), StoreError> {
        let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        self.push(leaves, &bytes)?;
        self.position = position;
        Ok(())
    }

    /// Number of entries that the tree covers.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.frontier.size()
    }

    /// The frontier behind them.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Position behind them.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Appends the leaf hashes of `lines` with everything that derives from them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn extend(&mut self, leaves: &[Hash], lines: &Chunk) -> Result<(), StoreError> {
        let from = self.frontier.size();
        let mut offsets = Vec::with_capacity(leaves.len() * 8);
        let mut position = self.position;
        for (index, line) in (from.0..).zip(store::lines(&lines.bytes)).take(leaves.len()) {
            let start = if batch_of(line) == Some(index) { BATCH_START } else { 0 };
            offsets.extend_from_slice(&(position | start).to_le_bytes());
            position += line.len() as u64;
        }
        self.push(leaves, &offsets)?;
        self.position = position;
        Ok(())
    }

    fn push(&mut self, leaves: &[Hash], offsets: &[u8]) -> Result<(), StoreError> {
        let from = self.frontier.size();
        let mut levels: Vec<Vec<u8>> = vec![Vec::new(); usize::from(LEVELS)];
        for leaf in leaves {
            if let Some(level) = levels.first_mut() {
                level.extend_from_slice(&leaf.0);
            }
            self.frontier.push_with(*leaf, &mut |level, hash: Hash| {
                if let Some(level) = levels.get_mut(usize::from(level)) {
                    level.extend_from_slice(&hash.0);
                }
            });
        }
        // Level 0 last: its length is what readers in other processes go by.
        self.write(usize::from(LEVELS), offsets, from.0 * 8)?;
        for (slot, bytes) in levels.iter().enumerate().rev().filter(|(_, bytes)| !bytes.is_empty()) {
            let level = u8::try_from(slot).unwrap_or(LEVELS);
            self.write(slot, bytes, level_len(from, level) * 32)?;
        }
        Ok(())
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&mut self) -> Result<(), StoreError> {
        for (slot, file) in self.files.iter().enumerate() {
            if let Some(file) = file {
                file.sync().map_err(StoreError::io("sync", &self.path(slot)))?;
            }
        }
        Ok(())
    }

    fn path(&self, slot: usize) -> std::path::PathBuf {
        let mut path = path_of(&self.layout, slot).into_os_string();
        path.push(self.suffix);
        path.into()
    }

    fn write(&mut self, slot: usize, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        let path = self.path(slot);
        self.file(slot)?.write_at(bytes, at).map_err(StoreError::io("write", &path))
    }

    fn file(&mut self, slot: usize) -> Result<&dyn DiskFile, StoreError> {
        let path = self.path(slot);
        let missing = || StoreError::io("open", &path)(std::io::ErrorKind::NotFound.into());
        let place = self.files.get_mut(slot).ok_or_else(missing)?;
        if place.is_none() {
            let exists = self.disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some();
            let how = if exists { Open::Write } else { Open::CreateNew };
            *place = Some(self.disk.open(&path, how).map_err(StoreError::io("open", &path))?);
            if let (false, Some(dir)) = (exists, path.parent()) {
                self.disk.sync_dir(dir).map_err(StoreError::io("sync", dir))?;
            }
        }
        place.as_deref().ok_or_else(missing)
    }
}

/// The `batch` of a line, by its first digits.
pub fn batch_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"batch\":")?;
    let end = memchr::memchr(b',', rest.get(..24).unwrap_or(rest))?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

/// A lock that goes on after a panic elsewhere: the state is replaced whole or not at all.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
