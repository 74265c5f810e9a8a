//! The newest kept checkpoint, as long as no entry names it.
//!
//! The next entry names it. After an opening that may have happened already, and only the entries behind the checkpoint say so: up to two batches that were under way when it was
//! kept, so 27 MiB of events at most, however long the log is. They are searched when it matters first, which is the next entry or the next kept checkpoint, and not while the log is opened.

use indelible_core::{
    entry::KeptHead,
    tile,
    tree::{LeafIndex, TreeHead, leaf_hash},
};
use indelible_store::store::{Reader, StoreError, StoredTree, parse_line};

use crate::{error::LogError, manage::gap_end};

/// Bytes that are searched at a time.
const PIECE_BYTES: usize = 1 << 18;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    kept: Option<KeptHead>,
    /// Entries below this index may name it, and the newest signed tree.
    search: Option<(u64, TreeHead)>,
    /// One of them did.
    was_named: bool,
}

impl Unnamed {
    /// Of a log that was opened with so many entries, of which this head covers those that it does.
    pub(crate) fn of(kept: KeptHead, size: u64, head: TreeHead) -> Self {
        let kept = Some(kept).filter(|kept| kept.number > 0);
        Self { kept, search: kept.and(Some((size, head))), was_named: false }
    }

    /// Whether there is one, as far as is known.
    pub(crate) fn may_be(&self) -> bool {
        self.kept.is_some()
    }

    /// A checkpoint was just kept.
    pub(crate) fn put(&mut self, kept: KeptHead) {
        *self = Self { kept: Some(kept), ..Self::default() };
    }

    /// The one that the next entry names, and takes away.
    ///
    /// # Errors
    /// [`LogError`] where the entries that may name it cannot be read: it is searched for again.
    pub(crate) fn found(&mut self, store: &dyn Reader) -> Result<&mut Option<KeptHead>, LogError> {
        if let (Some(kept), Some((size, head))) = (self.kept, self.search) {
            self.was_named = is_named(store, kept, size, &head)?;
            self.kept = Some(kept).filter(|_| !self.was_named);
            self.search = None;
        }
        Ok(&mut self.kept)
    }

    /// Whether an entry that was there at the opening names it; what was written since is for whoever reads that back to tell.
    ///
    /// # Errors
    /// As [`Unnamed::found`].
    pub(crate) fn was_named(&mut self, store: &dyn Reader) -> Result<bool, LogError> {
        self.found(store)?;
        Ok(self.was_named)
    }

    /// The same as [`Unnamed::found`] once a batch was begun, which has searched.
    pub(crate) fn known(&mut self) -> &mut Option<KeptHead> {
        &mut self.kept
    }
}

/// Whether an entry names it, of those from where it ends to `size`. `head`: the newest signed tree.
fn is_named(store: &dyn Reader, kept: KeptHead, size: u64, head: &TreeHead) -> Result<bool, LogError> {
    // INVARIANT(named-once): a name that cannot be read would be given a second time, and signed. So what a checkpoint covers is shown to be what it covers, from the kept one on; the rest was checked at
    // the opening.
    let mut tree = tile::frontier_at(&StoredTree(store), kept.size)?;
    if tree.root() != kept.root {
        let detail = "the stored tree does not give the root of the newest kept checkpoint; `indelible verify` tells whether the entries do".to_owned();
        return Err(StoreError::Damaged { place: "tree".to_owned(), detail }.into());
    }
    let (mut next, mut absent, mut named) = (kept.size.0, false, false);
    while next < size {
        let chunk = match store.read(LeafIndex(next), PIECE_BYTES) {
            // What is absent may have named it, and a second name could never be taken back.
            Err(StoreError::Absent { .. }) => {
                absent = true;
                next = gap_end(&store.runs()?, next);
                continue;
            }
            chunk => chunk?,
        };
        for (index, line) in (next..size).zip(chunk.lines()) {
            let line = parse_line(line, index)?;
            named |= line.entry.head.is_some_and(|head| head.number == kept.number);
            tree.push(leaf_hash(line.entry.bytes));
            if !absent && tree.size() == head.size && tree.root() != head.root {
                let detail = format!(
                    "one of the entries {} to {index}, which may name the newest kept checkpoint, is not the one that the newest head covers: `indelible verify` says more",
                    kept.size
                );
                return Err(LogError::Evidence { index: kept.size.0, detail });
            }
            next = index + 1;
        }
        if chunk.bytes.is_empty() {
            break;
        }
    }
    Ok(absent || named)
}
