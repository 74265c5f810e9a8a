//! The simulated disk itself: handles, leases, and the way of each operation past the plan of faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    content::Fate,
    directory::Inode,
    plan::{Effect, Fault, Operation, Plan, simulated},
    random::Random,
    tree::{MAX_FILE_LEN, Tree, names},
};
use crate::disk::{Disk, DiskFile, Lease, Meta, Open, Protection, SharedDisk};

/// A disk in memory that crashes, tears and lies as its seed and its plan say. Clones share it; [`SimDisk::deep_clone`] copies.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    tree: Tree,
    plan: Plan,
    random: Random,
    leases: BTreeSet<Inode>,
    /// Counts the crashes: a handle of another generation is dead.
    generation: u64,
}

impl SimDisk {
    /// An empty disk without faults. `seed` decides everything that is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::from_state(State {
            tree: Tree::new(),
            plan: Plan::default(),
            random: Random::new(seed),
            leases: BTreeSet::new(),
            generation: 0,
        })
    }

    /// The same disk, as stores take it.
    #[must_use]
    pub fn shared(&self) -> SharedDisk {
        Arc::new(self.clone())
    }

    /// Plans a fault for the operation before which `at_operation` others have begun: 0 is the first of all, and
    /// `disk.operations()` the next one.
    pub fn plan(&self, at_operation: u64, fault: Fault) {
        self.lock().plan.add(at_operation, fault);
    }

    /// How many mutating operations have begun, failed ones too. What a dead handle or a disk without power refuses is not
    /// counted.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().plan.operations()
    }

    /// Forgets the planned faults and makes room on a full disk. Power comes back only with [`SimDisk::crash_in_place`].
    pub fn clear_faults(&self) {
        self.lock().plan.clear();
    }

    /// What a power loss at this moment would leave, as a new disk; this one goes on. Each call draws another outcome.
    #[must_use]
    pub fn crash(&self) -> Self {
        let seed = self.lock().random.next_u64();
        let copy = self.deep_clone();
        copy.crash_in_place(seed);
        copy
    }

    /// Power loss and restart: of what was not synced, `seed` decides what survives. Handles and leases are dead, power is
    /// there again; faults still planned and a full disk stay.
    pub fn crash_in_place(&self, seed: u64) {
        let mut random = Random::new(seed);
        let fate = Some(Fate::draw(&mut random)).filter(|_| random.below(4) != 0);
        let mut state = self.lock();
        state.end_process();
        state.plan.restore_power();
        state.tree.lose_power(fate, &mut random);
    }

    /// The end of the process alone: handles and leases are dead, nothing is lost, and what was unsynced still is.
    pub fn process_crash(&self) {
        self.lock().end_process();
    }

    /// A copy of the whole disk with its plan and its chance, without the handles and leases.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        let mut state = self.lock().clone();
        state.end_process();
        state.tree.forget_unreachable();
        Self::from_state(state)
    }

    /// All files as they show, by their paths from the root without a leading `/`.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().tree.live_files()
    }

    /// All files as the worst power loss would leave them.
    #[must_use]
    pub fn durable_snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.lock().tree.durable_files()
    }

    /// Puts a file there behind the back of the store, durable, past all protection and faults. Missing directories come with
    /// it, and unsynced names in the directories above it become durable.
    ///
    /// # Errors
    /// `IsADirectory` where `path` is one; `NotADirectory` or `AlreadyExists` where a file stands above it.
    pub fn put(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> io::Result<()> {
        self.lock().tree.put(path.as_ref(), bytes.into())
    }

    /// Changes the content of a file as [`SimDisk::put`] does; `change` must not use this disk. Its name does not become
    /// durable by that.
    ///
    /// # Errors
    /// `NotFound` where nothing is, `IsADirectory` where `path` is one.
    pub fn edit(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.tree.file(path.as_ref())?;
        let content = state.tree.content_mut(inode)?;
        let mut bytes = content.live().to_vec();
        change(&mut bytes);
        content.replace(bytes);
        Ok(())
    }

    /// Takes a file away behind the back of the store, durable, past all protection and faults.
    ///
    /// # Errors
    /// `NotFound` where nothing is, `IsADirectory` where `path` is one.
    pub fn erase(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.lock();
        state.tree.file(path)?;
        state.tree.unlink(path)?;
        state.tree.sync_directory(path.parent().unwrap_or(Path::new("")))
    }

    fn from_state(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// A test that panicked with the lock held is no reason to hide what the disk looks like.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For an operation that changes nothing.
    fn look(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        state.plan.check_power()?;
        Ok(state)
    }

    /// Counts an operation, does it, and reports what the plan says.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        let effect = state.plan.begin(Operation::Change)?;
        let done = act(&mut state)?;
        effect.report().map(|()| done)
    }

    fn handle(&self, path: &Path, inode: Inode, generation: u64, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let key = names(path)?.join("/");
        Ok(Box::new(SimFile { disk: self.clone(), inode, generation, access, key }))
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("SimDisk")
            .field("generation", &state.generation)
            .field("plan", &state.plan)
            .finish_non_exhaustive()
    }
}

impl State {
    fn end_process(&mut self) {
        self.generation += 1;
        self.leases.clear();
    }

    /// A file that may be written to by whoever opens it now.
    fn writable(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.tree.file(path)?;
        if self.tree.content(inode)?.protection() == Protection::None {
            return Ok(inode);
        }
        Err(denied(&format!("`{}` is protected", path.display())))
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let (inode, generation, access) = match how {
            Open::Read => {
                let state = self.look()?;
                (state.tree.file(path)?, state.generation, Access::Read)
            }
            Open::Write => {
                let state = self.look()?;
                (state.writable(path)?, state.generation, Access::Write)
            }
            Open::CreateNew => self.change(|state| {
                state.plan.check_room()?;
                Ok((state.tree.create_file(path)?, state.generation, Access::Write))
            })?,
        };
        self.handle(path, inode, generation, access)
    }

    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.look()?.tree.meta(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.look()?.tree.list(dir)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            if state.tree.meta(path)?.is_none() {
                state.plan.check_room()?;
            }
            state.tree.create_directory(path)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| state.tree.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| state.tree.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let effect = state.plan.begin(Operation::Sync)?;
        if effect == Effect::LoseUnsynced {
            state.tree.fail_sync_directory(dir)?;
        } else {
            state.tree.sync_directory(dir)?;
        }
        effect.report()
    }

    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        let mut state = self.look()?;
        let inode = state.writable(path)?;
        if !state.leases.insert(inode) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLease { disk: self.clone(), inode, generation: state.generation })))
    }

    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        let protection = if immutable { Protection::Immutable } else { Protection::ReadOnly };
        let mut state = self.look()?;
        let inode = state.tree.file(path)?;
        let content = state.tree.content_mut(inode)?;
        content.set_protection(content.protection().max(protection));
        Ok(protection)
    }

    fn unprotect(&self, path: &Path) -> io::Result<()> {
        let mut state = self.look()?;
        let inode = state.tree.file(path)?;
        state.tree.content_mut(inode)?.set_protection(Protection::None);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

struct SimFile {
    disk: SimDisk,
    inode: Inode,
    generation: u64,
    access: Access,
    key: String,
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.look()?;
        if state.generation == self.generation {
            return Ok(state);
        }
        Err(simulated(&format!("the handle of `{}` is from before the crash", self.key)))
    }

    fn check_access(&self) -> io::Result<()> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(denied(&format!("`{}` is open for reading only", self.key))),
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.tree.content(self.inode)?.live().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock()?;
        let live = state.tree.content(self.inode)?.live();
        let rest = usize::try_from(offset).ok().and_then(|offset| live.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        let (Some(target), Some(source)) = (buf.get_mut(..count), rest.get(..count)) else { return Ok(0) };
        target.copy_from_slice(source);
        if count > 0 && state.plan.flips_read(&self.key) {
            state.random.flip_bit(target);
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let effect = state.plan.begin(if bytes.is_empty() { Operation::Change } else { Operation::Write })?;
        self.check_access()?;
        let start = within_limit(offset, bytes.len())?;
        let room = state.plan.check_room();
        let mut bytes = bytes;
        let mut flipped = Vec::new();
        if effect == Effect::Torn || room.is_err() {
            let cut = state.random.index(bytes.len());
            bytes = bytes.get(..cut).unwrap_or_default();
        }
        if effect == Effect::FlipBit {
            flipped.extend_from_slice(bytes);
            state.random.flip_bit(&mut flipped);
            bytes = &flipped;
        }
        state.tree.content_mut(self.inode)?.write(start, bytes);
        room.and_then(|()| effect.report())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let effect = state.plan.begin(Operation::Sync)?;
        let content = state.tree.content_mut(self.inode)?;
        if effect == Effect::LoseUnsynced {
            content.fail_sync();
        } else {
            content.sync();
        }
        effect.report()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let effect = state.plan.begin(Operation::Change)?;
        self.check_access()?;
        let new = within_limit(len, 0)?;
        if new > state.tree.content(self.inode)?.live().len() {
            state.plan.check_room()?;
        }
        state.tree.content_mut(self.inode)?.set_len(new);
        effect.report()
    }
}

struct SimLease {
    disk: SimDisk,
    inode: Inode,
    generation: u64,
}

impl Lease for SimLease {}

impl Drop for SimLease {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.generation == self.generation {
            state.leases.remove(&self.inode);
        }
    }
}

/// The offset, where `len` bytes at it stay within [`MAX_FILE_LEN`].
fn within_limit(offset: u64, len: usize) -> io::Result<usize> {
    let end = offset.checked_add(len as u64).filter(|end| *end <= MAX_FILE_LEN);
    let start = end.and_then(|_| usize::try_from(offset).ok());
    start.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "simulated: file too large"))
}

fn denied(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("simulated: {what}"))
}
