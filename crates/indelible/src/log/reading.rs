//! Reading a log: entries by index and by id, and proofs.

use std::sync::Arc;

use indelible_core::{
    head::HeadRecord,
    tile::{LevelReader, Prover},
    tree::{Hash, LeafIndex, TreeHead, TreeSize},
};
use indelible_store::store::{Chunk, Fingerprint, Reader, StoreError, Writer, parse_line};

use super::Log;
use crate::{
    error::LogError,
    links::{KeyLink, key_links},
    queue::lock,
};

/// The stored tree, held by a prover that outlives a call.
pub(crate) struct OwnTree(Arc<dyn Writer>);

impl LevelReader for OwnTree {
    type Error = StoreError;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        self.0.hashes(level, first, count)
    }
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The entry's exact bytes: the leaf data.
    pub entry: Vec<u8>,
    /// The entry signature.
    pub mac: [u8; 32],
    /// Position.
    pub index: LeafIndex,
}

impl Stored {
    /// Takes a line apart.
    ///
    /// # Errors
    /// [`StoreError::Line`].
    pub fn of_line(line: &[u8], index: u64) -> Result<Self, StoreError> {
        let line = parse_line(line, index)?;
        Ok(Self { entry: line.entry.bytes.to_vec(), mac: line.mac, index: line.entry.index })
    }
}

impl Log {
    /// Reads one entry.
    ///
    /// # Errors
    /// [`StoreError::NoEntry`], [`StoreError`].
    pub fn get(&self, index: LeafIndex) -> Result<Stored, LogError> {
        get(&*self.inner.store, index)
    }

    /// Reads entries from `from` on, as many as fit into `max_bytes` and at least one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, LogError> {
        Ok(self.inner.store.read(from, max_bytes)?)
    }

    /// Finds the entry with an event id.
    ///
    /// # Errors
    /// [`LogError::NoSuchId`], [`StoreError`].
    pub fn find(&self, id: &str) -> Result<Stored, LogError> {
        find(&*self.inner.store, id)
    }

    /// Proves one entry against the newest published checkpoint that covers it.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove(&self, index: LeafIndex) -> Result<crate::bundle::Bundle, LogError> {
        let (head, tree) = self.head();
        let (head, tree) = if index.0 < tree.size.0 {
            (head, tree)
        } else {
            // Who asks for what is not there has nothing signed.
            let size = self.size()?;
            if index.0 >= size {
                return Err(StoreError::NoEntry { index: index.0, size }.into());
            }
            self.checkpoint().map(|_| self.head())?
        };
        let bundle = self.prove_under(index, &head, tree)?;
        Ok(crate::bundle::Bundle { keys: self.key_links(&head)?, ..bundle })
    }

    /// How the checkpoint keys that sign a head came from those before. Nothing but what changed since is read again.
    fn key_links(&self, head: &HeadRecord) -> Result<Vec<KeyLink>, LogError> {
        let history = self.inner.keys.history();
        let sets = history.sets().iter().filter(|set| head.keys.is_some_and(|keys| set.first <= keys.0)).count();
        let (known, links) = lock(&self.inner.links).clone();
        if known >= sets {
            // Of a newer head there may be more.
            return Ok(links.iter().take(sets.saturating_sub(1)).cloned().collect());
        }
        // Nobody waits for this: two that read at once read the same.
        let covered = history.until(TreeSize(head.keys.map_or(0, |keys| keys.0 + 1)));
        let links = key_links(&*self.inner.store, &covered, &head.checkpoint)?;
        let mut newest = lock(&self.inner.links);
        if newest.0 < sets {
            *newest = (sets, links.as_slice().into());
        }
        Ok(links)
    }

    fn prove_under(
        &self,
        index: LeafIndex,
        head: &HeadRecord,
        tree: TreeHead,
    ) -> Result<crate::bundle::Bundle, LogError> {
        let inner = &self.inner;
        // Whoever finds it in use pays for one proof's hashing and waits for nobody.
        let Ok(mut kept) = inner.prover.try_lock() else {
            return crate::bundle::prove(&*inner.store, index, tree, &head.checkpoint);
        };
        let prover = match &mut *kept {
            Some((size, prover)) if *size == tree.size => prover,
            kept => &mut kept.insert((tree.size, Prover::new(OwnTree(Arc::clone(&inner.store)), tree.size))).1,
        };
        crate::bundle::prove_with(&*inner.store, prover, index, tree, &head.checkpoint)
    }
}

/// Reads one entry of any store.
///
/// # Errors
/// [`StoreError`].
pub fn get(store: &dyn Reader, index: LeafIndex) -> Result<Stored, LogError> {
    first_of(&store.read(index, 0)?, index)
}

/// The entry that a chunk was read for.
pub(crate) fn first_of(chunk: &Chunk, index: LeafIndex) -> Result<Stored, LogError> {
    let line = chunk.lines().next().unwrap_or_default();
    let stored = Stored::of_line(line, index.0)?;
    if stored.index != index {
        let detail = format!("entry {} stands in its place", stored.index);
        return Err(LogError::Evidence { index: index.0, detail });
    }
    Ok(stored)
}

/// Finds the entry with an event id, in any store. The index only proposes; the entry is read and its id compared.
///
/// # Errors
/// [`LogError::NoSuchId`], [`StoreError`].
pub fn find(store: &dyn Reader, id: &str) -> Result<Stored, LogError> {
    let size = store.size()?;
    for index in store.lookup(Fingerprint::of(id))? {
        if index.0 >= size.0 {
            continue;
        }
        let stored = get(store, index)?;
        if id_of(&stored.entry) == Some(id) {
            return Ok(stored);
        }
    }
    Err(LogError::NoSuchId { id: id.to_owned() })
}

/// The event id of an entry.
#[must_use]
pub fn id_of(entry: &[u8]) -> Option<&str> {
    indelible_core::entry::EntryRef::parse(entry).ok()?.event_id()
}
