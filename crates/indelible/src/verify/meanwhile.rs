//! Whether somebody may have written while a verification read: then a file that the writer is about to replace, or made since, is no fault.
//!
//! A writer who stays is seen by the lease. One who comes and goes between two looks is seen by what moves forward when somebody writes. INVARIANT(moved-forward): what was taken away or
//! put back shows nobody, so that a file which is removed while the verification reads excuses nothing, itself least of all. Who can move these marks without being the log's writer can take the
//! lease as well, and gains as much by that: what derives from the entries is excused, and never an entry, a root or a signature.

use indelible_store::{heads::HeadStore, store::Reader};

use super::{anchors::said_size, scan::VerifyError};

/// What was there when the verification began.
pub(super) struct Began {
    /// Whether the lease was taken.
    pub(super) held: bool,
    /// Entries that the published checkpoint covered.
    pub(super) published: u64,
    /// Entries that were durable.
    pub(super) durable: u64,
    /// Entries that the head record covered, and the number of the newest kept checkpoint by it.
    pub(super) head: (u64, u64),
}

impl Began {
    /// Whether a writer was at work then, is now, or has been since.
    pub(super) fn wrote(&self, store: &dyn Reader, heads: Option<(&dyn HeadStore, &str)>) -> Result<bool, VerifyError> {
        // What cannot be read here shows nobody; where it matters it is told.
        let durable = || store.size().map_or(0, |size| size.0) > self.durable;
        let published = || published(store.checkpoint().ok().flatten().as_deref()) > self.published;
        let head = || {
            let record = heads.and_then(|(heads, origin)| heads.load(origin).ok().flatten());
            record.is_some_and(|record| {
                let (size, kept) = self.head;
                said_size(record.checkpoint.as_bytes()).is_some_and(|now| now.0 > size) || record.kept.number > kept
            })
        };
        Ok(self.held || store.has_writer()? || durable() || published() || head())
    }
}

/// The entries that a published checkpoint says it covers.
pub(super) fn published(note: Option<&[u8]>) -> u64 {
    note.and_then(said_size).map_or(0, |size| size.0)
}
