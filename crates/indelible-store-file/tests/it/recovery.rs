//! Random work on a disk that fails, and what is there when the log is opened again, against a plain list of lines.
//!
//! A head counts from the moment it could have been swapped: after the tree was synced. What was acknowledged is there,
//! byte-exact and in order, what was not is there to some batch's line or not at all, and no crash looks like damage.
//! `INDELIBLE_SEEDS` raises the number of runs.

use std::{collections::BTreeSet, error::Error};

use indelible_core::tree::{LeafIndex, TreeHead, TreeSize};
use indelible_store::driver::Recovered;
use indelible_store::{
    conformance::{Scribe, id, info},
    fault::{Fault, Random, SimDisk},
    store::{Chunk, Fingerprint, Reader as _, StoreError, Writer as _},
};
use indelible_store_file::{FileReader, FileWriter, Settings, writer::create};

use crate::world::{Own, check_entries, root};

struct World {
    disk: SimDisk,
    random: Random,
    writer: Option<FileWriter>,
    /// Everything that was handed to the store and is not known to be lost.
    scribe: Scribe,
    acknowledged: u64,
    head: TreeHead,
    kept: u64,
    published: Option<Vec<u8>>,
    attachments: BTreeSet<[u8; 32]>,
    /// Contents whose folder may show without ever becoming durable: nothing but its rename could mend that.
    ghosts: BTreeSet<u8>,
    ghost_mark: bool,
    fault: Option<Fault>,
    /// `bounded` must be found, must not be found, or may be either.
    bounded: Option<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let mut random = Random::new(!seed);
        let segment_bytes = [1500, 6000, 30_000, 64 << 20][random.index(4)];
        let settings = Settings { segment_bytes, immutable: random.coin(), ..Settings::default() };
        create(&disk.shared(), root(), &info(), &settings).unwrap();
        let scribe = Scribe::default();
        let head = scribe.head(0);
        let mut world = Self {
            disk,
            random,
            writer: None,
            scribe,
            acknowledged: 0,
            head,
            kept: 0,
            published: None,
            attachments: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            ghost_mark: false,
            fault: None,
            bounded: Some(false),
        };
        world.writer = Some(world.open().unwrap().0);
        world
    }

    fn open(&self) -> Result<(FileWriter, Recovered), StoreError> {
        FileWriter::open(self.disk.shared(), root(), &self.head, &Own)
    }

    fn writer(&self) -> &FileWriter {
        self.writer.as_ref().unwrap()
    }

    /// Work until something fails or it is enough.
    fn work(&mut self) -> Result<(), StoreError> {
        for _ in 0..self.random.below(40) {
            match self.random.below(16) {
                0..=7 => self.append()?,
                8..=10 => self.checkpoint()?,
                11 | 12 => while self.writer().tend(self.head.size)? {},
                13 => self.attach()?,
                14 => self.mark()?,
                _ => self.close()?,
            }
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), StoreError> {
        let count = 1 + self.random.index(8);
        let largest = [60, 60, 300, 3000][self.random.index(4)];
        let sizes: Vec<usize> = (0..count).map(|_| self.random.index(largest)).collect();
        let batch = self.scribe.batch(&sizes);
        let ids: Vec<(Fingerprint, u64)> = (batch.first..self.scribe.size()).map(|at| (id(at), at)).collect();
        self.writer().claim(&ids, self.scribe.size());
        self.writer().append(&batch)?;
        self.acknowledged = self.scribe.size();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let (from, to) = (self.writer().tree_size()?.0, self.acknowledged);
        let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        let lines = Chunk { first: from, bytes: self.scribe.lines[range.clone()].concat() };
        self.writer().extend_tree(&self.scribe.leaves[range], &lines)?;
        self.writer().sync_tree()?;
        self.head = self.scribe.head(to);
        let note = self.head.root.to_hex().into_bytes();
        let keep = self.random.coin().then_some(self.kept + 1);
        let done = self.writer().publish(&note, keep);
        self.published = done.is_ok().then_some(note);
        self.kept = keep.filter(|_| done.is_ok()).unwrap_or(self.kept);
        done
    }

    fn attach(&mut self) -> Result<(), StoreError> {
        let kind = self.random.below(4).to_le_bytes()[0];
        let stored = self.writer().put_attachment(&[kind; 700]);
        if stored.is_err() && self.fault == Some(Fault::FailedSync) {
            self.ghosts.insert(kind);
        }
        let digest = stored?;
        if !self.ghosts.contains(&kind) {
            self.attachments.insert(digest);
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<(), StoreError> {
        self.bounded = self.bounded.filter(|bounded| *bounded);
        self.writer().mark_bounded()?;
        self.bounded = Some(true);
        self.ghost_mark = false;
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.checkpoint()?;
        self.bounded = self.bounded.filter(|bounded| !*bounded);
        let closed = self.writer().close();
        if closed.is_err() && self.fault == Some(Fault::FailedSync) {
            // A mark may come back that no longer shows: that says too much, never too little.
            self.ghost_mark = true;
        }
        closed?;
        self.bounded = (!self.ghost_mark).then_some(false);
        let writer = self.writer.take();
        drop(writer);
        let (writer, recovered) = self.open()?;
        assert!(recovered.clean && recovered.cut.is_none() && recovered.size == self.acknowledged, "{recovered:?}");
        self.writer = Some(writer);
        Ok(())
    }

    fn plan(&mut self, within: u64) {
        let fault = Fault::REPORTED[self.random.index(Fault::REPORTED.len())].clone();
        self.disk.plan(self.disk.operations() + self.random.below(within), fault.clone());
        self.fault = Some(fault);
    }

    /// The end of the process, of the power, or of the writer alone.
    fn end(&mut self, power: bool) {
        self.disk.clear_faults();
        let seed = self.random.next_u64();
        match self.random.below(3) {
            0 if !power => self.disk.process_crash(),
            1 if !power => {}
            _ => self.disk.crash_in_place(seed),
        }
        self.writer = None;
        self.disk.process_crash();
    }

    fn recover(&mut self) {
        // Recovery is interrupted as well, and tried again.
        while self.random.below(3) == 0 {
            self.plan(12);
            let opened = self.open();
            let power = match &opened {
                Ok(_) => false,
                Err(error) => check_failure(error),
            };
            drop(opened);
            self.end(power);
        }
        let beside = FileReader::open(self.disk.shared(), root()).unwrap();
        let seen = beside.size().unwrap();
        assert!(seen.0 >= self.head.size.0, "a reader sees {seen} of {}", self.head.size);
        assert_eq!(beside.lookup(id(0)).unwrap().len(), usize::from(seen.0 > 0));
        let (writer, recovered) = self.open().unwrap_or_else(|error| panic!("{}", chain(&error)));
        let (size, handed) = (recovered.size, self.scribe.size());
        assert!((self.acknowledged..=handed).contains(&size), "{size}, acknowledged {}", self.acknowledged);
        self.scribe.truncate(size);
        self.acknowledged = size;
        self.writer = Some(writer);
        if let Some(bounded) = self.bounded {
            assert_eq!(recovered.bounded, bounded);
        }
        self.check();
    }

    fn check(&self) {
        let beside = FileReader::open(self.disk.shared(), root()).unwrap();
        assert_eq!(self.writer().tree_size().unwrap(), self.head.size);
        for at in 0..self.scribe.size() {
            assert_eq!(self.writer().lookup(id(at)).unwrap(), [LeafIndex(at)]);
        }
        assert_eq!(self.writer().lookup(id(self.scribe.size())).unwrap(), []);
        for reader in [self.writer() as &dyn indelible_store::store::Reader, &beside] {
            assert_eq!(reader.size().unwrap(), TreeSize(self.scribe.size()));
            check_entries(reader, &self.scribe);
            for digest in &self.attachments {
                assert!(reader.attachment(digest).unwrap().is_some());
            }
            for number in 1..=self.kept {
                assert!(reader.kept(number).unwrap().is_some());
            }
            if let Some(published) = &self.published {
                assert_eq!(reader.checkpoint().unwrap().as_ref(), Some(published));
            }
        }
    }
}

/// Faults show as what they are, never as damage or tampering. Says whether the power is gone.
fn check_failure(error: &StoreError) -> bool {
    let text = chain(error);
    assert!(matches!(error, StoreError::Io { .. } | StoreError::Poisoned { .. }), "{text}");
    text.contains("power loss")
}

fn chain(error: &dyn Error) -> String {
    let source = error.source().map_or(String::new(), |source| format!(": {}", chain(source)));
    format!("{error}{source}")
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..1 + world.random.below(6) {
        let within = [20, 100, 400][world.random.index(3)];
        world.plan(within);
        let power = world.work().is_err_and(|error| check_failure(&error));
        world.end(power);
        world.recover();
    }
}

fn seeds() -> u64 {
    std::env::var("INDELIBLE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_crash_looks_like_damage() {
    let first = std::env::var("INDELIBLE_SEED").ok().and_then(|text| text.parse().ok());
    for seed in first.map_or(0..seeds(), |seed| seed..seed + 1) {
        let _named = Seed(seed);
        run(seed);
    }
}
