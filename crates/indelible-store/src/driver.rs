//! How a log comes into being and is opened, whatever keeps it: a directory for one log, a database for many.
//!
//! A [`Driver`] is a *place*: it names one log (a new one, or one that is there). Opening for writing goes in two steps, because
//! the newest head must be looked up between them: [`Driver::lease`] keeps other writers away where only one may write, then
//! [`Leased::open`] compares what is stored with that head and recovers what a crash left.

use std::sync::Arc;

use indelible_core::{
    entry::Line,
    time::Micros,
    tree::{Hash, TreeHead},
};

use crate::store::{LogInfo, PrunedRange, Reader, StoreError, Writer, never_pruned};

/// Says whether a line of the tail is the log's own: origin, key and MAC. Chain and order are checked by the store.
pub trait TailCheck {
    /// What speaks against the line; `None` where nothing does.
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault>;

    /// Why nothing could be written behind the lines that were looked at; `None` where it can. Asked before anything is cut, because a cut has to be said in the log.
    fn unready(&self) -> Option<String> {
        None
    }
}

/// What speaks against a line of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailFault {
    /// It is not the log's own. It may be cut, where it can be a torn write.
    Wrong(String),
    /// It is whole, goes on the chain, is signed by a key of the log, and does not belong there: by a key that is not in force, or without the right to what it says. INVARIANT(forged-tail): no crash leaves that, so it is evidence, and neither taken nor cut.
    Forged(String),
    /// Nobody can tell here whether it is, for a secret is missing. INVARIANT(unchecked): it is neither taken nor cut, since it may have been acknowledged.
    Unchecked(String),
}

impl TailFault {
    /// What speaks against entry `index`, where nothing is cut.
    #[must_use]
    pub fn at(self, index: u64) -> StoreError {
        match self {
            Self::Wrong(detail) | Self::Forged(detail) => StoreError::Evidence { index, detail },
            Self::Unchecked(detail) => StoreError::Unchecked { index, detail },
        }
    }
}

/// The state in which a log was found and left.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Entries that are there.
    pub size: u64,
    /// Leaf hash of the last.
    pub last_leaf: Hash,
    /// Its time.
    pub last_recorded_at: Option<Micros>,
    /// What was cut, if anything.
    pub cut: Option<Cut>,
    /// Whether the writer before ended cleanly. A store that several processes write has no such thing and says yes.
    pub clean: bool,
    /// Whether bounded acknowledgements may have been open.
    pub bounded: bool,
}

/// Bytes that were cut and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Name of the file under `aside/`.
    pub aside: String,
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// One log in one place.
pub trait Driver: Send + Sync {
    /// The place, for messages. Never with a password in it.
    fn place(&self) -> String;

    /// Whether a log stands at this place: the named one, or the only one.
    ///
    /// # Errors
    /// [`StoreError`] where that cannot be seen.
    fn exists(&self) -> Result<bool, StoreError>;

    /// Makes an empty log. Entry 0 is the caller's first append.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; nothing that existed is changed.
    fn create(&self, info: &LogInfo) -> Result<Arc<dyn Writer>, StoreError>;

    /// Opens for reading, beside live writers or without one.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::NewerFormat`], [`StoreError::Damaged`].
    fn reader(&self) -> Result<Arc<dyn Reader>, StoreError>;

    /// The same where the store's own word of what log this is may be damaged or gone: then entry 0 says it. For verification and repair.
    ///
    /// # Errors
    /// As [`Driver::reader`], where entry 0 cannot be read either.
    fn reader_of_entry_zero(&self) -> Result<Arc<dyn Reader>, StoreError> {
        self.reader()
    }

    /// Takes the right to write, where only one process may have it.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::NotALog`].
    fn lease(&self) -> Result<Box<dyn Leased>, StoreError>;

    /// [`Writer::prune`] by whoever only prunes and does not write.
    ///
    /// # Errors
    /// [`StoreError::NotPruned`] where it is on no record, or never can be.
    fn prune(&self, range: &PrunedRange, told: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let _ = (range, told);
        Err(never_pruned(self.place()))
    }

    /// Writes what derives from the entries anew, up to `head`, for a log whose newest kept checkpoint is `kept`. `reader` is from
    /// [`Driver::reader_of_entry_zero`], its entries verified.
    ///
    /// # Errors
    /// [`StoreError::Evidence`] where the entries changed since they were verified.
    fn rebuild(&self, reader: &dyn Reader, head: &TreeHead, kept: u64) -> Result<(), StoreError>;
}

/// The right to write, before anything is written.
pub trait Leased {
    /// The log as it stands, before recovery.
    fn reader(&self) -> &dyn Reader;

    /// Opens the log, `head` being its newest known head. Everything behind the head is read and checked; what a crash tore is cut and kept aside.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where something derived has to be repaired first; [`StoreError::Evidence`] where the log contradicts the
    /// head or itself, [`StoreError::Unchecked`] where that cannot be told: then nothing was changed.
    fn open(
        self: Box<Self>,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Arc<dyn Writer>, Recovered), StoreError>;
}
