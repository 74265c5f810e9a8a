//! The newest kept checkpoint, as long as no entry names it.
//!
//! The next entry names it. After an opening that may have happened already, and only the entries behind the checkpoint say so: up to two batches that were under way when it was
//! kept, so 27 MiB of events at most, however long the log is. They are searched when it matters first, which is the next entry or the next kept checkpoint, and not while the log is opened.

use indelible_core::{
    entry::KeptHead,
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::store::{Reader, StoreError, parse_line};

use crate::{error::LogError, manage::gap_end};

/// Bytes that are searched at a time.
const PIECE_BYTES: usize = 1 << 18;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    kept: Option<KeptHead>,
    /// Entries below this index may name it.
    search: Option<u64>,
    /// One of them did.
    was_named: bool,
}

impl Unnamed {
    /// Of a log that was opened with so many entries.
    pub(crate) fn of(kept: KeptHead, size: u64) -> Self {
        let kept = Some(kept).filter(|kept| kept.number > 0);
        Self { kept, search: kept.and(Some(size)), was_named: false }
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
        if let (Some(kept), Some(size)) = (self.kept, self.search) {
            self.was_named = is_named(store, kept, size)?;
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

fn is_named(store: &dyn Reader, kept: KeptHead, size: u64) -> Result<bool, LogError> {
    let covered = store.tree_size()?.0.min(size);
    let (mut next, mut absent) = (kept.size.0, false);
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
            // INVARIANT(named-once): a name that cannot be read for damage would be given a second time, and signed. What the tree covers is compared with it; the rest was checked at the opening.
            let leaf = leaf_hash(line.entry.bytes);
            if index < covered && store.hashes(0, index, 1)?.first() != Some(&leaf) {
                let detail = "it may name the newest kept checkpoint, and its bytes are not those of the stored tree: `indelible verify` says more".to_owned();
                return Err(LogError::Evidence { index, detail });
            }
            if line.entry.head.is_some_and(|head| head.number == kept.number) {
                return Ok(true);
            }
            next = index + 1;
        }
        if chunk.bytes.is_empty() {
            break;
        }
    }
    Ok(absent)
}
