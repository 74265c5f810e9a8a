//! What a registry says, held against its head.
//!
//! Whoever may write files or rows can put an older registry in place of the newer one, or take entries out of it: logs that are missing from it are missed by nobody
//! then. So what it says is folded into a tree, and taken up only where that is the tree of the newest head, which is kept apart from it. What is behind that head is
//! taken up when a checkpoint covers it.

use std::collections::BTreeMap;

use indelible::{KeyRing, LogError, verify::known_keys};
use indelible_core::tree::{Frontier, LeafIndex, TreeHead, TreeSize, leaf_hash};
use indelible_store::store::{Reader, parse_line};

use crate::registry::{Registered, Registry, RegistryError, note, tree_size_of};

/// Read at a time.
const STEP: usize = 1 << 20;

/// What a registry said up to a head.
#[derive(Clone)]
pub struct Held {
    tree: Frontier,
    logs: BTreeMap<String, Registered>,
}

impl Default for Held {
    fn default() -> Self {
        Self { tree: Frontier::new(), logs: BTreeMap::new() }
    }
}

impl Held {
    /// The logs, by name.
    #[must_use]
    pub fn logs(&self) -> &BTreeMap<String, Registered> {
        &self.logs
    }

    /// How many entries of the registry said so.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        self.tree.size()
    }

    /// Folds the entries up to `head` into it.
    fn fold(&mut self, reader: &dyn Reader, head: TreeHead) -> Result<(), RegistryError> {
        while self.tree.size() < head.size {
            let first = self.tree.size().0;
            let chunk = reader.read(LeafIndex(first), STEP)?;
            for (index, text) in (first..head.size.0).zip(chunk.lines()) {
                let line = parse_line(text, index)?;
                self.tree.push(leaf_hash(line.entry.bytes));
                note(&line, &mut self.logs);
            }
            if self.tree.size().0 == first {
                break;
            }
        }
        Ok(())
    }
}

impl Registry {
    /// What the registry says beyond `known`, as far as its newest head covers it; `None` where it says nothing more. From [`Held::default`] on, all of it is read.
    ///
    /// # Errors
    /// [`RegistryError::RolledBack`], [`RegistryError::Contradicts`]: nothing of it is to be believed; [`LogError::HeadMissing`] in it.
    pub fn follow(&self, keys: &KeyRing, known: &Held) -> Result<Option<Held>, RegistryError> {
        let reader = self.place.driver(&self.options)?.reader()?;
        let (origin, log_id) = (reader.info().origin.clone(), reader.info().log_id);
        let heads = self.options.heads_for(keys);
        let place = heads.place(&origin);
        let head = heads.load(&origin).map_err(LogError::from)?;
        let Some(head) = head else { return Err(LogError::HeadMissing { origin, place }.into()) };
        if head.log_id != log_id {
            return Err(LogError::OtherLog { place }.into());
        }
        let (found, covered) = (reader.size()?.0, tree_size_of(head.checkpoint.as_bytes()).unwrap_or(0));
        if found < covered {
            return Err(RegistryError::RolledBack { origin, found, known: covered });
        }
        let history = known_keys(&*reader, Some(&head), &keys.active_keys(&origin).map_err(LogError::from)?)?;
        let head = history.open(head.checkpoint.as_bytes()).map_err(LogError::from)?.head;
        if head.size < known.size() {
            return Err(RegistryError::RolledBack { origin, found: head.size.0, known: known.size().0 });
        }
        if head == known.tree.head() {
            return Ok(None);
        }
        let mut held = known.clone();
        held.fold(&*reader, head)?;
        if held.tree.head() == head { Ok(Some(held)) } else { Err(RegistryError::Contradicts { origin }) }
    }
}
