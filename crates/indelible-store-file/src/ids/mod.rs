//! Exact id lookup (`docs/format.md` section 9): the newest ids in memory, the others in sorted files with filters.
//!
//! Files cover consecutive ranges of entries; neighbours of like size are merged, so that there are few. All of it is rebuilt
//! from the entries by `log repair`. A lookup gives candidates; whoever asks reads the entry and compares.

mod files;
mod form;
mod run;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::{Arc, Mutex, RwLock};

use indelible_store::{
    disk::SharedDisk,
    store::{Fingerprint, FingerprintMap, StoreError},
};

use crate::{layout::Layout, tree_files::lock};

use files::file_name;
pub use files::{File, Files, clear, list, remove_strays, strangers};
pub use run::Run;
use writing::{RunWriter, merge_records};

/// Files of the same tier (by powers of this many) are merged when there are so many neighbours.
const FAN_OUT: usize = 8;
/// A generation in memory: 16 MiB of table at most.
const GENERATION: usize = 1 << 18;

/// An id's fingerprint and where its entry stands.
pub type Record = (Fingerprint, u64);

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
