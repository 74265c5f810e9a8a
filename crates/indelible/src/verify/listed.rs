//! Which kept checkpoints a verification goes by: those that were there before it read its first entry.
//!
//! A writer that works beside it keeps further ones while it reads. Their keys may be newer than the last entry that is read, and they cover more entries: what is concluded from
//! all kept checkpoints is concluded from a list that was made beforehand. INVARIANT(listed): a checkpoint that was kept since says nothing in this verification.
//!
//! With the writer's head record the numbers above its own are none of the log's, but where an entry names one: then the record was put back from a copy, and the log had gone on.

use indelible_core::entry::KeptHead;
use indelible_store::store::{Reader, StoreError};

/// The kept checkpoints that are there, and how long the log was by then.
pub(super) struct Listed {
    /// Their numbers, in order.
    numbers: Vec<u64>,
    /// Entries that were durable.
    size: u64,
}

impl Listed {
    /// What is there now. Where a head record is read after that, it knows all of it.
    pub(super) fn of(store: &dyn Reader) -> Result<Self, StoreError> {
        // No more than a hint to who put what back: a size that cannot be read says nothing here, and is told where it matters.
        Ok(Self { numbers: numbers(store)?, size: store.size().map_or(0, |size| size.0) })
    }

    /// Whether the entry at `index` says that the head record which was read after this is older than the log: it names a kept checkpoint that was there, or was there itself.
    pub(super) fn knew(&self, index: u64, named: KeptHead) -> bool {
        index < self.size || self.numbers.binary_search(&named.number).is_ok()
    }

    /// Entries that were durable; none where that could not be read.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The numbers, up to the one that the writer's head record tells.
    pub(super) fn up_to(&self, newest: Option<u64>) -> Vec<u64> {
        let end = newest.map_or(self.numbers.len(), |newest| self.numbers.partition_point(|number| *number <= newest));
        self.numbers.get(..end).unwrap_or_default().to_vec()
    }
}

/// The numbers of the kept checkpoints that are there now, in order.
pub(super) fn numbers(store: &dyn Reader) -> Result<Vec<u64>, StoreError> {
    let mut numbers = store.kept_numbers()?;
    numbers.sort_unstable();
    Ok(numbers)
}
