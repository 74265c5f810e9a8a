//! Head stores that can be shut, and held up.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use indelible::HeadRecord;
use indelible_store::{
    disk::OsDisk,
    heads::{FileHeads, HeadStore, HeadStoreError},
};

use crate::world::World;

/// A head store that cannot be moved while it is shut, and says why in its own way.
pub(crate) struct Stubborn {
    heads: FileHeads,
    shut: AtomicBool,
    refusal: fn(&str) -> HeadStoreError,
}

impl Stubborn {
    pub(crate) fn of(world: &World, refusal: fn(&str) -> HeadStoreError) -> Arc<Self> {
        let heads = FileHeads::new(OsDisk::shared(), &world.keys.heads_dir());
        Arc::new(Self { heads, shut: AtomicBool::new(false), refusal })
    }

    pub(crate) fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::SeqCst);
    }
}

impl HeadStore for Stubborn {
    fn load(&self, origin: &str) -> Result<Option<HeadRecord>, HeadStoreError> {
        self.heads.load(origin)
    }

    fn swap(&self, origin: &str, old: Option<&HeadRecord>, new: &HeadRecord) -> Result<(), HeadStoreError> {
        if self.shut.load(Ordering::SeqCst) {
            return Err((self.refusal)(origin));
        }
        self.heads.swap(origin, old, new)
    }

    fn place(&self, origin: &str) -> String {
        self.heads.place(origin)
    }
}

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A head store whose next swap says that it has begun, and goes on when it is told to.
pub(crate) struct HeldUp {
    heads: FileHeads,
    next: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
}

impl HeldUp {
    pub(crate) fn of(world: &World) -> Arc<Self> {
        let heads = FileHeads::new(OsDisk::shared(), &world.keys.heads_dir());
        Arc::new(Self { heads, next: Mutex::default() })
    }

    /// Holds the next swap up: the one tells that it has begun, the other lets it go on.
    pub(crate) fn hold(&self) -> (Receiver<()>, SyncSender<()>) {
        let (begin, begun) = sync_channel(1);
        let (go, on) = sync_channel(1);
        *self.next.lock().unwrap() = Some((begin, on));
        (begun, go)
    }
}

impl HeadStore for HeldUp {
    fn load(&self, origin: &str) -> Result<Option<HeadRecord>, HeadStoreError> {
        self.heads.load(origin)
    }

    fn swap(&self, origin: &str, old: Option<&HeadRecord>, new: &HeadRecord) -> Result<(), HeadStoreError> {
        let held = self.next.lock().unwrap().take();
        if let Some((begun, on)) = held {
            begun.send(()).unwrap();
            on.recv_timeout(PATIENCE).unwrap();
        }
        self.heads.swap(origin, old, new)
    }

    fn place(&self, origin: &str) -> String {
        self.heads.place(origin)
    }
}
