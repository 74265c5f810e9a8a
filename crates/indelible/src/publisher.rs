//! Checkpoints: read back, extend the tree, sync, sign, swap the head, and only then show.
//!
//! INVARIANT(stored): the root that is signed is computed from bytes that were read back from the store, each of which continues the
//! chain and carries the right MAC; what was in memory when they were written plays no part.
//! INVARIANT(consistent): the tree only grows from the frontier of the head before, and the head is swapped against exactly
//! that head; so no two signed checkpoints of a log contradict each other.

use std::time::Duration;

use indelible_core::{
    checkpoint::Checkpoint,
    entry::{KeptHead, Line},
    head::HeadRecord,
    note::NoteSigner,
    tile,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_store::{
    heads::HeadStoreError,
    store::{self, Chunk, StoredTree},
};

use crate::{error::LogError, log::Inner, queue::lock, sequencer::Signing};

/// Bytes that are read back at a time.
const READ_BACK: usize = 1 << 20;

/// The newest head and what it rests on.
pub(crate) struct Publisher {
    pub(crate) head: HeadRecord,
    pub(crate) tree: TreeHead,
    /// Leaf hash of the last entry that the stored tree covers; it may be ahead of the head, where a swap failed.
    pub(crate) last_leaf: Hash,
    /// Number of the newest kept checkpoint that a durable entry names.
    pub(crate) named: u64,
    /// Monotonic time of the last kept checkpoint.
    pub(crate) kept_at: Duration,
}

/// Whether a checkpoint is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

impl Inner {
    /// Publishes a checkpoint over everything that is durable. Returns the head.
    pub(crate) fn publish(&self, keep: Keep) -> Result<HeadRecord, LogError> {
        let mut publisher = lock(&self.publisher);
        self.healthy()?;
        let durable = self.store.size()?;
        let keep = keep == Keep::Yes && publisher.head.kept.size < durable;
        if durable == publisher.tree.size && !keep {
            return Ok(publisher.head.clone());
        }
        let tree = self.read_back(&mut publisher, durable).inspect_err(|error| self.fail(error))?;
        // INVARIANT(named): a checkpoint is kept only when a durable entry names the one kept before, so that no crash leaves a hole in the names.
        let keep = keep && publisher.named == publisher.head.kept.number;
        if durable == publisher.tree.size && !keep {
            return Ok(publisher.head.clone());
        }
        let result = self.sign_and_show(&mut publisher, tree, keep);
        if let Err(error @ LogError::Heads(HeadStoreError::Conflict { .. })) = &result {
            self.fail(error);
        }
        result
    }

    /// Reads back what the stored tree does not cover yet and extends it. Returns the tree's head.
    fn read_back(&self, publisher: &mut Publisher, durable: TreeSize) -> Result<TreeHead, LogError> {
        let mut next = self.store.tree_size()?.0;
        while next < durable.0 {
            let mut chunk = self.store.read(LeafIndex(next), READ_BACK)?;
            let Checked { leaves, named } = check_chunk(&chunk, durable.0, publisher.last_leaf, &self.signing)?;
            trim(&mut chunk, leaves.len());
            self.store.extend_tree(&leaves, &chunk)?;
            next += leaves.len() as u64;
            publisher.last_leaf = leaves.last().copied().unwrap_or(publisher.last_leaf);
            publisher.named = named.unwrap_or(publisher.named);
        }
        self.store.sync_tree()?;
        Ok(TreeHead { size: durable, root: tile::root_at(&StoredTree(&*self.store), durable)? })
    }

    fn sign_and_show(&self, publisher: &mut Publisher, tree: TreeHead, keep: bool) -> Result<HeadRecord, LogError> {
        let checkpoint = Checkpoint::new(self.signing.origin.to_string(), tree);
        let note = checkpoint.sign(&[&self.signer as &dyn NoteSigner])?.to_string();
        let number = publisher.head.kept.number + 1;
        let kept = if keep { KeptHead { number, root: tree.root, size: tree.size } } else { publisher.head.kept };
        let head = HeadRecord { checkpoint: note, kept, log_id: self.log_id, signed_at: self.clock.now() };
        self.swap(&publisher.head, &head)?;
        (publisher.head, publisher.tree) = (head.clone(), tree);
        // The head is out: a log that cannot show it is opened again, which shows it.
        self.show(&head, keep.then_some(number)).inspect_err(|error| self.fail(error))?;
        if keep {
            *lock(&self.kept) = Some(kept);
            publisher.kept_at = self.clock.monotonic();
        }
        Ok(head)
    }

    /// Shows a checkpoint whose head was swapped in.
    pub(crate) fn show(&self, head: &HeadRecord, kept: Option<u64>) -> Result<(), LogError> {
        Ok(self.store.publish(head.checkpoint.as_bytes(), kept)?)
    }

    /// Swaps the head; where the store failed in mid-swap, asks it which of the two it holds.
    fn swap(&self, old: &HeadRecord, new: &HeadRecord) -> Result<(), LogError> {
        let origin = &self.signing.origin;
        let Err(error) = self.heads.swap(origin, Some(old), new) else { return Ok(()) };
        if matches!(error, HeadStoreError::Io { .. }) {
            match self.heads.load(origin) {
                Ok(Some(found)) if &found == new => {}
                Ok(Some(found)) if &found == old => return Err(error.into()),
                _ => {
                    let error = LogError::from(error);
                    self.fail(&error);
                    return Err(error);
                }
            }
            // It shows, but whether it is durable is not known: write it once more.
            return self
                .heads
                .swap(origin, Some(new), new)
                .map_err(LogError::from)
                .inspect_err(|error| self.fail(error));
        }
        Err(error.into())
    }
}

/// What lines that were read back say.
struct Checked {
    leaves: Vec<Hash>,
    /// The last kept checkpoint that one of them names.
    named: Option<u64>,
}

/// Checks lines that were read back.
fn check_chunk(chunk: &Chunk, durable: u64, mut last: Hash, signing: &Signing) -> Result<Checked, LogError> {
    let mut leaves = Vec::new();
    let mut named = None;
    let mut batch = None;
    for (index, line) in (chunk.first..durable).zip(chunk.lines()) {
        let evidence =
            |detail: &str| LogError::Evidence { index, detail: format!("read back before signing: {detail}") };
        let line = Line::parse(line).map_err(|error| evidence(&error.to_string()))?;
        let leaf = leaf_hash(line.entry.bytes);
        if line.entry.index.0 != index {
            return Err(evidence(&format!("it says that it is entry {}", line.entry.index)));
        }
        if line.batch.0 != index && (line.batch.0 > index || batch.is_some_and(|batch| batch != line.batch.0)) {
            return Err(evidence("its batch is neither its own nor that of the line before"));
        }
        batch = Some(line.batch.0);
        if line.entry.prev != last {
            return Err(evidence("it does not continue the chain"));
        }
        if line.entry.log != &*signing.origin || line.entry.key != &*signing.key_id {
            return Err(evidence("it names another log or key"));
        }
        if !signing.key.verify(&leaf, &line.mac) {
            return Err(evidence("its signature is wrong: the bytes are not those that were signed"));
        }
        last = leaf;
        named = line.entry.head.map(|head| head.number).or(named);
        leaves.push(leaf);
    }
    Ok(Checked { leaves, named })
}

/// Cuts a chunk behind its first `lines` lines.
fn trim(chunk: &mut Chunk, lines: usize) {
    let end = store::lines(&chunk.bytes).take(lines).map(<[u8]>::len).sum();
    chunk.bytes.truncate(end);
}

impl Inner {
    /// The record of a log's first checkpoint, not yet swapped in.
    pub(crate) fn first_record(&self, publisher: &mut Publisher) -> Result<HeadRecord, LogError> {
        let durable = self.store.size()?;
        publisher.tree = self.read_back(publisher, durable)?;
        let checkpoint = Checkpoint::new(self.signing.origin.to_string(), publisher.tree);
        let note = checkpoint.sign(&[&self.signer as &dyn NoteSigner])?.to_string();
        Ok(HeadRecord { checkpoint: note, kept: publisher.head.kept, log_id: self.log_id, signed_at: self.clock.now() })
    }
}
