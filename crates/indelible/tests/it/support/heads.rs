//! A head store that can be shut.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
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
