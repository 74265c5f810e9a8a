//! Pruning: bodies are taken away by policy; their hashes stay, and the log says so first.
//!
//! Order: what is there is proven against the newest checkpoint, the record is appended under the checkpoint key's signature and covered by a checkpoint, and only then are
//! bodies taken away. INVARIANT(record-before): whatever breaks off in between leaves bodies that are still there, or a gap that is on record. Going on is [`prune_recorded`].
//! What a range says of itself is not pruned: control records in it stay.

use std::ops::RangeInclusive;

use indelible_core::{
    control::{Control, Excuse},
    entry::EntryRef,
    tile,
    tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_store::{
    driver::Driver,
    store::{PrunedRange, Pruning, Reader, StoreError, StoredTree, never_pruned, parse_line},
};

use crate::{
    error::LogError,
    log::{Log, get},
};

/// Bytes of lines, and hashes, that are read at a time.
const READ: usize = 1 << 20;
const HASHES: u64 = 1 << 16;

/// What was pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// First index of the range.
    pub first: u64,
    /// Last index, inclusive.
    pub last: u64,
    /// The entry that says so.
    pub record: u64,
    /// How many bodies were taken away now.
    pub bodies: u64,
}

impl Log {
    /// Takes the bodies of entries away, in a store that can do so: says in the log that they are pruned, under the checkpoint key's signature, and why, publishes a checkpoint, and then
    /// has the store take them away. Leaf hashes, control records and the fingerprints of ids stay; verification reads *pruned* and stays intact. An event that brings a pruned id
    /// once more is new: there is nothing left to compare it with. The login needs the right to prune.
    ///
    /// # Errors
    /// [`LogError::Refused`] for a range that cannot be pruned, [`LogError::Evidence`] for one that is not what was signed, [`StoreError::NotPruned`] in a store that never prunes or by
    /// a login that may not: nothing is recorded then. What fails behind the record is gone on with by [`prune_recorded`]; calling this again does so too, under a second record.
    pub fn prune(&self, range: RangeInclusive<u64>, reason: &str) -> Result<Pruned, LogError> {
        self.prune_told(range, reason, &mut |_| {})
    }

    /// [`Log::prune`]; `told` hears how many bodies are gone so far.
    ///
    /// # Errors
    /// As [`Log::prune`].
    pub fn prune_told(
        &self,
        range: RangeInclusive<u64>,
        reason: &str,
        told: &mut dyn FnMut(u64),
    ) -> Result<Pruned, LogError> {
        if self.inner.store.pruning()? == Pruning::ByAnotherLogin {
            let detail = "this login may append and not prune: `indelible store grant retention LOGIN` gives it the right too; or record it only, and let another login prune what is recorded".to_owned();
            return Err(StoreError::NotPruned { place: self.origin().to_owned(), detail }.into());
        }
        let record = self.record_pruning(range.clone(), reason)?;
        let (first, last) = (*range.start(), *range.end());
        let bodies = self.inner.store.prune(&PrunedRange { first, last, record }, told)?;
        Ok(Pruned { first, last, record, bodies })
    }

    /// Says in the log that the bodies of entries are pruned, and leaves taking them away to another login. Returns the index of the record.
    ///
    /// # Errors
    /// As [`Log::prune`], but that the login need not have the right to prune.
    pub fn record_pruning(&self, range: RangeInclusive<u64>, reason: &str) -> Result<u64, LogError> {
        let inner = &self.inner;
        let (first, last) = (*range.start(), *range.end());
        if inner.store.pruning()? == Pruning::Never {
            return Err(never_pruned(self.origin().to_owned()).into());
        }
        self.refuse_range(first, last)?;
        let (_, tree) = self.checkpoint().map(|_| self.head())?;
        if last >= tree.size.0 {
            let text = format!("the newest checkpoint covers {} entries: entry {last} cannot be pruned", tree.size);
            return Err(LogError::Refused(text));
        }
        let leaf_root = prove_range(self.store(), first, last, &tree)?.to_hex();
        let excuse = Excuse { authorisation: None, first, last, leaf_root, reason: reason.to_owned() };
        let record = inner.append_authorised(&Control::Pruned(excuse), |_| Ok(()))?;
        let head = self.checkpoint()?;
        // Where another process signed the head that covers it, it may not have shown it yet.
        inner.store.publish(head.checkpoint.as_bytes(), None)?;
        Ok(record)
    }

    fn refuse_range(&self, first: u64, last: u64) -> Result<(), LogError> {
        let refused = |text: String| Err(LogError::Refused(text));
        if first > last {
            return refused(format!("{first} to {last} is no range: nothing lies between"));
        }
        if first == 0 {
            return refused("entry 0 says what the log is, and stays: begin with entry 1".to_owned());
        }
        if self.origin().ends_with("/registry") {
            return refused(format!("`{}` says which logs there are, and is not pruned", self.origin()));
        }
        Ok(())
    }
}

/// Takes the bodies away that an entry of the log says were pruned: what [`Log::record_pruning`] has recorded, or what broke off. Needs no keys, but a login that may
/// prune and read. The store looks for itself at what the entry says.
///
/// # Errors
/// [`LogError::Refused`] where the entry says nothing of that kind; [`StoreError::NotPruned`].
pub fn prune_recorded(place: &dyn Driver, record: u64, told: &mut dyn FnMut(u64)) -> Result<Pruned, LogError> {
    let reader = place.reader()?;
    let stored = get(&*reader, LeafIndex(record))?;
    let entry = EntryRef::parse(&stored.entry).map_err(|source| StoreError::Line { index: record, source })?;
    let Ok(Control::Pruned(excuse)) = Control::parse(entry.body) else {
        return Err(LogError::Refused(format!("entry {record} does not say that entries were pruned")));
    };
    let (first, last) = (excuse.first, excuse.last);
    let bodies = place.prune(&PrunedRange { first, last, record }, told)?;
    Ok(Pruned { first, last, record, bodies })
}

/// The root over the leaf hashes of a range, each of a body that is there, or stored where none is, proven to lie under the signed root: they are all that will be left.
fn prove_range(store: &dyn Reader, first: u64, last: u64, head: &TreeHead) -> Result<Hash, LogError> {
    let tree = StoredTree(store);
    let differs = || LogError::Evidence {
        index: first,
        detail: format!("entries {first} to {last} do not lead to the root that the newest checkpoint signed"),
    };
    let left = tile::compact_left(&tree, first)?;
    let mut whole = Frontier::from_parts(TreeSize(first), left).ok_or_else(differs)?;
    let mut range = Frontier::new();
    let mut next = first;
    while next <= last {
        let leaves = leaves_from(store, next, last)?;
        next += leaves.len() as u64;
        for leaf in leaves {
            whole.push(leaf);
            range.push(leaf);
        }
    }
    let right = tile::compact_right(&tree, next, head.size)?;
    let whole = whole.complete(&right, head.size).ok_or_else(differs)?;
    if whole.root() == head.root { Ok(range.root()) } else { Err(differs()) }
}

/// Leaf hashes from `next` on, at least one. INVARIANT(left): those of bodies that are there are the stored ones, which will stand for them.
fn leaves_from(store: &dyn Reader, next: u64, last: u64) -> Result<Vec<Hash>, LogError> {
    let chunk = match store.read(LeafIndex(next), READ) {
        // Pruned before: what is stored stands for it already.
        Err(StoreError::Absent { .. }) => return Ok(store.hashes(0, next, absent_from(store, next, last)?)?),
        chunk => chunk?,
    };
    let mut leaves = Vec::new();
    for (index, line) in (next..=last).zip(chunk.lines()) {
        leaves.push(leaf_hash(parse_line(line, index)?.entry.bytes));
    }
    let stored = store.hashes(0, next, leaves.len())?;
    match (next..).zip(leaves.iter().zip(&stored)).find(|(_, (leaf, stored))| leaf != stored) {
        Some((index, _)) => {
            let detail = "its leaf hash is not the stored one".to_owned();
            Err(LogError::Evidence { index, detail })
        }
        None => Ok(leaves),
    }
}

/// How many bodies are absent from `next` on.
fn absent_from(store: &dyn Reader, next: u64, last: u64) -> Result<usize, LogError> {
    let runs = store.runs()?;
    let behind = runs.iter().map(|run| run.first).find(|first| *first > next).unwrap_or(next + 1);
    Ok(usize::try_from((behind.min(last + 1) - next).min(HASHES)).unwrap_or(1))
}
