//! A disk whose syncs of segments wait at a gate.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use indelible_store::disk::{Disk, DiskFile, Lease, Meta, Open, Protection, SharedDisk};

#[derive(Default)]
struct State {
    shut: bool,
    waiting: usize,
}

/// Where syncs wait while it is shut.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    pub(crate) fn shut(&self) {
        self.0.0.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().shut = false;
        self.0.1.notify_all();
    }

    /// Returns when a sync stands at the gate.
    pub(crate) fn await_somebody(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        self.0.1.notify_all();
        let mut state = self.0.1.wait_while(state, |state| state.shut).unwrap();
        state.waiting -= 1;
    }
}

/// A disk behind a gate.
pub(crate) struct GatedDisk {
    pub(crate) disk: SharedDisk,
    pub(crate) gate: Gate,
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    gate: Gate,
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        if path.extension().is_some_and(|end| end == "jsonl") {
            return Ok(Box::new(GatedFile { file, gate: self.gate.clone() }));
        }
        Ok(file)
    }
    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.disk.meta(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        self.disk.lease(path)
    }
    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        self.disk.protect(path, immutable)
    }
    fn unprotect(&self, path: &Path) -> io::Result<()> {
        self.disk.unprotect(path)
    }
}

impl DiskFile for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
