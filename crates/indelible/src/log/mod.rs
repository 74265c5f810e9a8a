//! [`Log`]: what an application holds.
//!
//! States: *open* → *closed* (by [`Log::close`], or when the last handle goes) or *failed* (a write, sync or read-back went wrong). A failed log
//! refuses everything but reading; opening it again finds out what is durable.

mod appending;
mod asking;
mod bounded;
mod due;
mod leading;
mod reading;
mod records;

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indelible_core::{
    head::HeadRecord,
    history::KeyHistory,
    mac::LogId,
    note::VerifyingKey,
    tile::Prover,
    tree::{TreeHead, TreeSize},
};
use indelible_store::{
    heads::HeadStore,
    store::{Reader, Writer},
};

use crate::{
    clock::{Clock, Entropy},
    error::{AppendError, LogError, chain},
    hold::Holders,
    keeper::{Chore, Keeper, Setbacks},
    keys::LogKeys,
    links::KeyLink,
    options::{OnFull, Rotation},
    publisher::{Keep, Publisher},
    queue::{Queue, lock},
    sequencer::Sequencer,
    unnamed::Unnamed,
};

pub(crate) use appending::Ack;
pub use bounded::Bounded;
pub(crate) use leading::{Led, Panicked};
use reading::OwnTree;
pub(crate) use reading::first_of;
pub use reading::{Stored, find, get, id_of};
pub(crate) use records::MakeControl;

/// An open log. Cloning shares it.
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
    _last: Arc<LastHandle>,
}

/// Closes the log when the last clone of its handle goes, and waits until no thread of the keeper's has it.
struct LastHandle(Arc<Inner>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        // Who wants to know calls `close`. A log that could not be closed is opened as after a crash.
        drop(self.0.close());
        self.0.holders.let_go();
    }
}

pub(crate) struct Inner {
    pub(crate) me: Weak<Self>,
    pub(crate) store: Arc<dyn Writer>,
    pub(crate) heads: Arc<dyn HeadStore>,
    pub(crate) log_id: LogId,
    pub(crate) keys: Arc<LogKeys>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) queue: Queue,
    pub(crate) sequencer: Mutex<Sequencer>,
    /// Held while a batch is written and synced: batch n + 1 is written only when batch n is synced.
    pub(crate) io: Mutex<()>,
    /// The kept checkpoint that the next entry has to name.
    pub(crate) kept: Mutex<Unnamed>,
    pub(crate) publisher: Mutex<Publisher>,
    /// The newest head, and its tree: what the publisher has, without waiting for what it does. Held for no longer than it takes to copy it.
    pub(crate) newest: Mutex<(HeadRecord, TreeHead)>,
    pub(crate) keeper: Keeper,
    pub(crate) holders: Arc<Holders>,
    pub(crate) failed: OnceLock<String>,
    pub(crate) closed: AtomicBool,
    /// Held by who closes, shared by who writes beside the queue.
    pub(crate) closing: RwLock<()>,
    pub(crate) segment_closed: AtomicBool,
    /// When the first entry that no checkpoint covers became durable.
    pub(crate) unpublished_since: Mutex<Option<Instant>>,
    pub(crate) publish_every: Duration,
    pub(crate) keep_every: Duration,
    pub(crate) bounded_within: Duration,
    pub(crate) on_full: OnFull,
    pub(crate) rotation: Rotation,
    /// Held while the store is tended: two would compress the same segment into the same temporary file.
    pub(crate) tending: Mutex<()>,
    /// A checkpoint was published since the store was last tended.
    pub(crate) tend_due: AtomicBool,
    /// What the last proofs hashed, for the tree size that they were made at.
    pub(crate) prover: Mutex<Option<(TreeSize, Prover<OwnTree>)>>,
    /// How the sets of checkpoint keys came one from the other, for the first so many of them.
    pub(crate) links: Mutex<(usize, Arc<[KeyLink]>)>,
    /// What the keeper could not do yet.
    pub(crate) setbacks: Mutex<Setbacks>,
}

impl Log {
    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { _last: Arc::new(LastHandle(Arc::clone(&inner))), inner }
    }

    /// The log's unique name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.inner.keys.origin
    }

    /// Its random id.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.inner.log_id
    }

    /// The Ed25519 key that signs its checkpoints now. Whoever knows an earlier one follows the log's own word to this one.
    #[must_use]
    pub fn public_key(&self) -> Option<VerifyingKey> {
        self.key_history().public_key().cloned()
    }

    /// Which keys are right where, from entry 0 on.
    #[must_use]
    pub fn key_history(&self) -> Arc<KeyHistory> {
        self.inner.keys.history()
    }

    /// How many entries are durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn size(&self) -> Result<u64, LogError> {
        Ok(self.inner.store.size()?.0)
    }

    /// Publishes a checkpoint over everything that is durable.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn checkpoint(&self) -> Result<HeadRecord, LogError> {
        self.inner.healthy()?;
        self.inner.not_closed()?;
        self.inner.publish(Keep::No)
    }

    /// Publishes and keeps a checkpoint.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn keep_checkpoint(&self) -> Result<HeadRecord, LogError> {
        self.inner.healthy()?;
        self.inner.not_closed()?;
        self.inner.publish(Keep::Yes)
    }

    /// Whether other processes may write it too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.store.shared()
    }

    /// The newest published head. Waits for no disk: while a newer one is being made it is the one before.
    #[must_use]
    pub fn head(&self) -> (HeadRecord, TreeHead) {
        lock(&self.inner.newest).clone()
    }

    /// Why the log was frozen, by the head store; `None` where it was not.
    ///
    /// # Errors
    /// [`LogError::Heads`].
    pub fn frozen(&self) -> Result<Option<String>, LogError> {
        Ok(self.inner.heads.load(self.origin())?.and_then(|head| head.frozen))
    }

    /// What is done for the log beside recording and failed when it was last tried: new keys that could not be taken up, a checkpoint that could not be published. Nobody is
    /// told of it otherwise, where the keeper tried; so ask now and then.
    #[must_use]
    pub fn setbacks(&self) -> Setbacks {
        lock(&self.inner.setbacks).clone()
    }

    /// Keeps an attachment durably and returns its digest; name it in the event's `attachments`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], LogError> {
        let _open = self.inner.writing()?;
        Ok(self.inner.store.put_attachment(content)?)
    }

    /// The store, for reading and verifying beside this writer.
    #[must_use]
    pub fn store(&self) -> &dyn Reader {
        &*self.inner.store
    }

    /// Compresses closed segments and merges id files until nothing is left to do.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn tend(&self) -> Result<(), LogError> {
        let anchored = self.head().0.kept.size;
        let _tending = lock(&self.inner.tending);
        while self.inner.remember(Chore::Tending, self.inner.store.tend(anchored).map_err(LogError::from))? {}
        Ok(())
    }

    /// Ends: what is queued is recorded, a checkpoint is published and kept. Lease, files and connections are free when the last handle has gone.
    ///
    /// # Errors
    /// [`LogError`]; then the next opening recovers as after a crash.
    pub fn close(&self) -> Result<(), LogError> {
        self.inner.close()
    }
}

impl Inner {
    pub(crate) fn healthy(&self) -> Result<(), LogError> {
        match self.failed.get() {
            Some(why) => Err(LogError::Failed { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses where the log was closed; which of the failures it was is told first.
    fn not_closed(&self) -> Result<(), AppendError> {
        match self.failed.get() {
            Some(why) => Err(AppendError::Failed { why: why.clone() }),
            None if self.closed.load(Ordering::Acquire) => Err(AppendError::Closed),
            None => Ok(()),
        }
    }

    /// Keeps the log from being closed while something is written beside the queue.
    pub(crate) fn writing(&self) -> Result<RwLockReadGuard<'_, ()>, AppendError> {
        let open = self.closing.read().unwrap_or_else(PoisonError::into_inner);
        self.not_closed()?;
        Ok(open)
    }

    /// Ends writing. The first failure is the one that is told.
    pub(crate) fn fail(&self, error: &dyn std::error::Error) {
        let why = self.failed.get_or_init(|| chain(error)).clone();
        self.queue.close(AppendError::Failed { why });
    }

    pub(crate) fn close(&self) -> Result<(), LogError> {
        // Whoever comes second waits for the first, and is told the same.
        let _closing = self.closing.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.swap(true, Ordering::AcqRel) {
            return self.healthy();
        }
        self.end().inspect_err(|error| self.fail(error))
    }

    fn end(&self) -> Result<(), LogError> {
        self.queue.close(AppendError::Closed);
        // Who leads clears the flag in its last drain and holds the second lock until its batch is synced.
        while !self.queue.is_idle() {
            if self.queue.claim_lead() {
                self.lead();
            } else {
                std::thread::yield_now();
            }
        }
        drop(lock(&self.sequencer));
        drop(lock(&self.io));
        self.healthy()?;
        self.publish(Keep::Yes)?;
        let anchored = lock(&self.publisher).head.kept.size;
        let _tending = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        while self.store.tend(anchored)? {}
        self.store.close()?;
        self.queue.close(AppendError::Closed);
        Ok(())
    }
}
