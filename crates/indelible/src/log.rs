//! [`Log`]: what an application holds.
//!
//! States: *open* → *closed* (by [`Log::close`], or when the last handle goes) or *failed* (a write, sync or read-back went wrong). A failed log
//! refuses everything but reading; opening it again finds out what is durable.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use indelible_core::{
    control::Control,
    entry::{BodyKind, EntryStart, KeptHead, Line},
    event::{self, Event},
    head::HeadRecord,
    history::{KeyHistory, Withdrawn},
    mac::LogId,
    note::VerifyingKey,
    tile::{LevelReader, Prover},
    tree::{Hash, LeafIndex, TreeHead, TreeSize},
};
use indelible_store::{
    heads::HeadStore,
    store::{Chunk, Fingerprint, Reader, StoreError, Writer, parse_line},
};

use crate::{
    attachments,
    clock::{Clock, Entropy, new_id},
    error::{AppendError, LogError, chain},
    keeper::{Chore, Keeper, Setbacks},
    keys::LogKeys,
    links::{KeyLink, key_links},
    options::{OnFull, Rotation},
    publisher::{Keep, Publisher},
    queue::{Batched, Cell, NoRoom, Outcome, Prepared, Queue, Ticket, lock},
    receipt::Receipt,
    sequencer::{Known, Sequencer},
};

/// Most events of [`Log::append_all`] that are queued at a time.
const GROUP: usize = 4096;
/// Most bytes of them; half of what may wait.
const GROUP_BYTES: usize = 8 << 20;

/// An open log. Cloning shares it.
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
    _last: Arc<LastHandle>,
}

/// Closes the log when the last clone of its handle goes.
struct LastHandle(Arc<Inner>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        // Who wants to know calls `close`. A log that could not be closed is opened as after a crash.
        drop(self.0.close());
    }
}

/// Makes a control record for its index, and changes what the sequencer signs with where the record says so.
pub(crate) type MakeControl<'a> = dyn Fn(LeafIndex, &mut Sequencer) -> Result<Option<Control>, AppendError> + 'a;

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
    pub(crate) kept: Mutex<Option<KeptHead>>,
    pub(crate) publisher: Mutex<Publisher>,
    /// The newest head, and its tree: what the publisher has, without waiting for what it does. Held for no longer than it takes to copy it.
    pub(crate) newest: Mutex<(HeadRecord, TreeHead)>,
    pub(crate) keeper: Keeper,
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

    /// Makes the ring's active keys those of the log, where they are not. Appends go on meanwhile: the record that says so is the first entry under a new entry
    /// key. Where checkpoint keys changed, a checkpoint signed by the old and the new ones is kept. Returns the record's index.
    ///
    /// # Errors
    /// [`LogError`]: nothing was changed.
    pub fn adopt_keys(&self, reason: &str) -> Result<Option<LeafIndex>, LogError> {
        self.change_keys(reason, &[])
    }

    /// The same, and says that keys are not to be relied on any more.
    ///
    /// # Errors
    /// As [`Log::adopt_keys`].
    pub fn withdraw_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        self.change_keys(reason, withdrawn)
    }

    fn change_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        let changed = self.inner.remember(Chore::Keys, self.inner.adopt_keys(reason, withdrawn))?;
        if changed.is_some() {
            self.inner.publish(Keep::Yes)?;
        }
        Ok(changed)
    }

    /// How many entries are durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn size(&self) -> Result<u64, LogError> {
        Ok(self.inner.store.size()?.0)
    }

    /// Records an event; returns when it is durable.
    ///
    /// # Errors
    /// [`AppendError`]; see there for what is known of the event after each.
    pub fn append(&self, event: &Event) -> Result<Receipt, AppendError> {
        self.append_json(&event.to_json())
    }

    /// Records an event given as JSON text; returns when it is durable.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_json(&self, event: &[u8]) -> Result<Receipt, AppendError> {
        let prepared = self.inner.prepare(event, Ack::Durable)?;
        self.inner.append_one(prepared)
    }

    /// Records events that were given as JSON texts, in their order; returns when all of them are durable or refused. Good ones are recorded whatever
    /// becomes of the others.
    pub fn append_all<T: AsRef<[u8]>>(&self, events: &[T]) -> Vec<Result<Receipt, AppendError>> {
        let mut results = Vec::with_capacity(events.len());
        let mut group = Group::default();
        for event in events {
            match self.inner.prepare(event.as_ref(), Ack::Durable) {
                Ok(prepared) => group.push(prepared, results.len()),
                Err(error) => {
                    results.push(Err(error));
                    continue;
                }
            }
            // Replaced when its group is flushed.
            results.push(Err(AppendError::Closed));
            if group.is_full() {
                self.inner.flush_group(&mut group, &mut results);
            }
        }
        self.inner.flush_group(&mut group, &mut results);
        results
    }

    /// Records an event given as JSON text without blocking the calling task: the commit runs on the keeper's small pool. Needs no runtime; works in any.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_async(&self, event: &[u8]) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let prepared = self.inner.prepare(event, Ack::Durable);
        Appending { log: Arc::clone(&self.inner), step: Step::Queue(prepared.map(|p| vec![p])), id: String::new() }
    }

    /// Records an event and waits until a checkpoint covers it.
    ///
    /// # Errors
    /// [`AppendError`]; [`AppendError::NotAnchored`] where it is recorded but no checkpoint could be published.
    pub fn append_anchored(&self, event: &[u8]) -> Result<(Receipt, crate::bundle::Bundle), AppendError> {
        let receipt = self.append_json(event)?;
        let anchored = self.checkpoint().and_then(|_| self.prove(receipt.index));
        let bundle = anchored.map_err(|error| AppendError::NotAnchored { why: chain(&error) })?;
        Ok((receipt, bundle))
    }

    /// Accepts an event at once; it will be durable within [`crate::Options::bounded_within`], or [`Bounded::settle`] says that it was not. Until then a crash loses it, and
    /// the log will say that some may be missing.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing was accepted.
    pub fn append_bounded(&self, event: &[u8]) -> Result<Bounded, AppendError> {
        let inner = &self.inner;
        {
            let _open = inner.writing()?;
            inner.store.mark_bounded().map_err(|error| AppendError::Store(Arc::new(error)))?;
        }
        let prepared = inner.prepare(event, Ack::Bounded)?;
        let id = prepared.id().to_owned();
        let ticket = inner.push(vec![prepared], true)?;
        let accepted = Instant::now();
        inner.keeper.watch(inner);
        Ok(Bounded { id, accepted, deadline: accepted + inner.bounded_within, ticket, log: Arc::clone(inner) })
    }

    /// Records that the caller had to drop events.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn record_gap(&self, count: u64, reason: &str, since: Option<&str>) -> Result<u64, LogError> {
        let control = Control::Gap { count, reason: reason.to_owned(), since: since.map(str::to_owned) };
        Ok(self.inner.append_control(|_| Ok(control.clone()))?)
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

    /// Ends: what is queued is recorded, a checkpoint is published and kept, and the lease is freed when the last handle goes.
    ///
    /// # Errors
    /// [`LogError`]; then the next opening recovers as after a crash.
    pub fn close(&self) -> Result<(), LogError> {
        self.inner.close()
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

/// How an event is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    Durable,
    Bounded,
}

/// Events of one caller that are queued together, with their places among the results.
#[derive(Default)]
struct Group {
    events: Vec<Prepared>,
    places: Vec<usize>,
    bytes: usize,
}

impl Group {
    fn push(&mut self, event: Prepared, place: usize) {
        self.bytes += event.start.line_bound();
        self.events.push(event);
        self.places.push(place);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= GROUP || self.bytes >= GROUP_BYTES
    }
}

/// An acknowledgement with a promise.
pub struct Bounded {
    /// The event's id.
    pub id: String,
    accepted: Instant,
    deadline: Instant,
    ticket: Ticket,
    log: Arc<Inner>,
}

impl Bounded {
    /// When the promise falls due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits until the event is durable.
    ///
    /// # Errors
    /// [`AppendError::DeadlineMissed`] where it became durable too late; [`AppendError`] where it did not.
    pub fn settle(self) -> Result<Receipt, AppendError> {
        if self.ticket.cell.get().is_none() && self.log.queue.claim_lead() {
            self.log.lead();
        }
        let batched = self.ticket.cell.wait().as_ref().map_err(Clone::clone)?;
        if batched.durable_at > self.deadline {
            let limit = self.deadline.duration_since(self.accepted);
            return Err(AppendError::DeadlineMissed { limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) });
        }
        self.log.receipt(batched, self.ticket.at, self.id)
    }
}

/// The future of an append.
struct Appending {
    log: Arc<Inner>,
    step: Step,
    id: String,
}

enum Step {
    Queue(Result<Vec<Prepared>, AppendError>),
    Wait(Arc<Cell>, usize),
    Done,
}

impl Future for Appending {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.step, Step::Done) {
                Step::Queue(Err(error)) => return Poll::Ready(Err(error)),
                Step::Queue(Ok(events)) => {
                    self.id = events.first().map(|e| e.id().to_owned()).unwrap_or_default();
                    match self.log.queue.push(events, self.log.on_full, false, Some(context.waker())) {
                        Ok(ticket) => {
                            if ticket.leads {
                                let log = Arc::clone(&self.log);
                                self.log.keeper.spawn(Box::new(move || log.lead()));
                            }
                            self.step = Step::Wait(ticket.cell, ticket.at);
                        }
                        Err(NoRoom::Refused(error)) => return Poll::Ready(Err(error)),
                        Err(NoRoom::Later(events)) => {
                            self.step = Step::Queue(Ok(events));
                            return Poll::Pending;
                        }
                        Err(NoRoom::Lead(events)) => {
                            let log = Arc::clone(&self.log);
                            self.log.keeper.spawn(Box::new(move || log.lead()));
                            self.step = Step::Queue(Ok(events));
                        }
                    }
                }
                Step::Wait(cell, at) => {
                    if cell.get().is_none() {
                        cell.wake_by(context.waker());
                    }
                    let id = std::mem::take(&mut self.id);
                    return match cell.get() {
                        Some(Ok(batched)) => Poll::Ready(self.log.receipt(batched, at, id)),
                        Some(Err(error)) => Poll::Ready(Err(error.clone())),
                        None => {
                            (self.step, self.id) = (Step::Wait(cell, at), id);
                            Poll::Pending
                        }
                    };
                }
                Step::Done => return Poll::Ready(Err(AppendError::Closed)),
            }
        }
    }
}

/// A leader at work. INVARIANT(told): whoever was drained is told what became of it, also where the leader panics: then the log fails, and
/// opening it again tells what is recorded.
pub(crate) struct Led<'a> {
    log: &'a Inner,
    cells: RefCell<Vec<Arc<Cell>>>,
}

impl Led<'_> {
    /// As [`Queue::drain`].
    pub(crate) fn drain(&self, last: bool) -> (Vec<Prepared>, Arc<Cell>) {
        let (events, cell) = self.log.queue.drain(last);
        self.cells.borrow_mut().push(Arc::clone(&cell));
        (events, cell)
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.log.fail(&Panicked);
        let (_, cell) = self.log.queue.drain(true);
        for cell in self.cells.take().into_iter().chain([cell]) {
            cell.set(Err(AppendError::Failed { why: Panicked.to_string() }));
        }
    }
}

/// A fault in this program.
#[derive(Debug, thiserror::Error)]
#[error(
    "a thread of the log panicked, which is a fault in this program: what was being recorded may be there or not; open the log again"
)]
pub(crate) struct Panicked;

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

    pub(crate) fn prepare(&self, text: &[u8], ack: Ack) -> Result<Prepared, AppendError> {
        let event = event::parse(text, || new_id(self.clock.now(), self.entropy.salt())).map_err(AppendError::Event)?;
        attachments::check(&*self.store, event.id(), event.bytes())?;
        let (fingerprint, generated) = (Fingerprint::of(event.id()), event.id_generated());
        let (bytes, id) = event.into_parts();
        let start = EntryStart::new(BodyKind::Event, bytes, self.entropy.salt());
        let start = if ack == Ack::Bounded { start.bounded() } else { start };
        let mut prepared = Prepared { start, id, fingerprint, chosen: None };
        if generated {
            return Ok(prepared);
        }
        let found = if self.store.shared() {
            // Only in the turn is it known what is recorded.
            (Vec::new(), 0)
        } else {
            let token = self.store.id_token();
            let unknown = |error: StoreError| AppendError::unknown(format!("`{}`", prepared.id()), error);
            let found = self.store.lookup(fingerprint).map_err(unknown)?;
            (found.into_iter().map(|index| index.0).collect(), token)
        };
        prepared.chosen = Some(found);
        Ok(prepared)
    }

    fn append_one(&self, prepared: Prepared) -> Result<Receipt, AppendError> {
        let id = prepared.id().to_owned();
        let ticket = self.enqueue(vec![prepared])?;
        let batched = ticket.cell.wait().as_ref().map_err(Clone::clone)?;
        self.receipt(batched, ticket.at, id)
    }

    fn enqueue(&self, events: Vec<Prepared>) -> Result<Ticket, AppendError> {
        let ticket = self.push(events, false)?;
        if ticket.leads {
            self.lead();
        }
        Ok(ticket)
    }

    /// Queues events, making room first where nobody else does.
    fn push(&self, mut events: Vec<Prepared>, lead_later: bool) -> Result<Ticket, AppendError> {
        loop {
            events = match self.queue.push(events, self.on_full, lead_later, None) {
                Ok(ticket) => return Ok(ticket),
                Err(NoRoom::Refused(error)) => return Err(error),
                Err(NoRoom::Later(events)) => events,
                Err(NoRoom::Lead(events)) => {
                    self.lead();
                    events
                }
            };
        }
    }

    fn flush_group(&self, group: &mut Group, results: &mut [Result<Receipt, AppendError>]) {
        let Group { events, places, .. } = std::mem::take(group);
        if events.is_empty() {
            return;
        }
        let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
        let ticket = self.enqueue(events);
        for (n, (place, id)) in places.into_iter().zip(ids).enumerate() {
            let result = match &ticket {
                Ok(ticket) => match ticket.cell.wait() {
                    Ok(batched) => self.receipt(batched, ticket.at + n, id),
                    Err(error) => Err(error.clone()),
                },
                Err(error) => Err(error.clone()),
            };
            if let Some(slot) = results.get_mut(place) {
                *slot = result;
            }
        }
    }

    pub(crate) fn receipt(&self, batched: &Batched, at: usize, id: String) -> Result<Receipt, AppendError> {
        match batched.outcomes.get(at) {
            Some(Outcome::Stored { index, leaf, mac }) => Ok(Receipt {
                id,
                index: LeafIndex(*index),
                leaf: *leaf,
                mac: *mac,
                key: Arc::clone(&batched.key),
                origin: Arc::clone(&self.keys.origin),
                recorded_at: Arc::clone(&batched.recorded_at),
                duplicate: false,
            }),
            Some(Outcome::Duplicate(receipt)) => Ok((**receipt).clone()),
            Some(Outcome::Refused(error)) => Err(error.clone()),
            None => Err(AppendError::Closed),
        }
    }

    /// One commit as leader: a turn, a write, a sync, the answers.
    pub(crate) fn lead(&self) {
        let led = Led { log: self, cells: RefCell::default() };
        if self.store.shared() {
            return self.lead_in_turn(&led);
        }
        let mut sequencer = lock(&self.sequencer);
        let (early, early_cell) = led.drain(false);
        let draft = {
            let mut kept = lock(&self.kept);
            sequencer.begin(&*self.clock, &*self.entropy, &mut kept)
        };
        let mut draft = match draft {
            Ok(draft) => draft,
            Err(error) => {
                self.fail(&error);
                let (_, late_cell) = led.drain(true);
                early_cell.set(Err(error.clone()));
                late_cell.set(Err(error));
                return;
            }
        };
        let early = self.sequence(&mut sequencer, &mut draft, &early);
        // Batch n may still be syncing: whoever comes in meanwhile goes into this batch.
        let io = lock(&self.io);
        let (late, late_cell) = led.drain(true);
        // The batch before failed, or a head could not be moved: nothing is written behind it.
        if let Some(why) = self.failed.get() {
            let error = AppendError::Failed { why: why.clone() };
            early_cell.set(Err(error.clone()));
            late_cell.set(Err(error));
            return;
        }
        let late = self.sequence(&mut sequencer, &mut draft, &late);
        drop(sequencer);
        let result = if draft.batch.entries.is_empty() { Ok(()) } else { self.commit(&draft) };
        drop(io);
        let durable_at = Instant::now();
        for (cell, outcomes) in [(early_cell, early), (late_cell, late)] {
            if outcomes.is_empty() {
                continue;
            }
            let (recorded_at, key) = (Arc::clone(&draft.recorded_at), Arc::clone(&draft.key));
            cell.set(result.clone().map(|()| Batched { outcomes, recorded_at, key, durable_at }));
        }
    }

    fn sequence(
        &self,
        sequencer: &mut Sequencer,
        draft: &mut crate::sequencer::Draft,
        events: &[Prepared],
    ) -> Vec<Outcome> {
        if events.is_empty() {
            return Vec::new();
        }
        let from = draft.batch.entries.len();
        let first = draft.batch.first;
        let mut kept = lock(&self.kept);
        let outcomes = sequencer.add(draft, events, &mut kept, |event| self.known(event, first));
        drop(kept);
        let claims = draft.claims(from);
        self.store.claim(&claims, sequencer.next);
        outcomes
    }

    /// Looks for the id that a caller chose. Everything below `first` is written or about to be.
    fn known(&self, event: &Prepared, first: u64) -> Result<Known, AppendError> {
        let Some((found, token)) = &event.chosen else { return Ok(Known::New) };
        let unknown = |error: StoreError| AppendError::unknown(format!("`{}`", event.id()), error);
        let recent = self.store.lookup_recent(event.fingerprint, *token).map_err(unknown)?;
        let mut candidates: Vec<u64> = found.iter().copied().chain(recent.into_iter().map(|i| i.0)).collect();
        candidates.sort_unstable();
        candidates.dedup();
        for index in candidates.into_iter().filter(|index| *index < first) {
            if index >= self.store.size().map_err(unknown)?.0 {
                // It is in the batch that is being synced: wait for that. Whoever holds the lock already finds that batch done.
                drop(lock(&self.io));
                if let Some(why) = self.failed.get() {
                    return Err(AppendError::Failed { why: why.clone() });
                }
            }
            if let Some(known) = self.compare_with(get(&*self.store, LeafIndex(index)), event)? {
                return Ok(known);
            }
        }
        Ok(Known::New)
    }

    /// Compares the entry at an index with an event that has the fingerprint of its id.
    pub(crate) fn compare_with(
        &self,
        stored: Result<Stored, LogError>,
        event: &Prepared,
    ) -> Result<Option<Known>, AppendError> {
        let known = stored.and_then(|stored| self.compare(&stored, event));
        known.map_err(|error| AppendError::unknown(format!("`{}`", event.id()), error))
    }

    /// Compares a stored entry, after verifying it, with an event.
    fn compare(&self, stored: &Stored, event: &Prepared) -> Result<Option<Known>, LogError> {
        let wrong = |detail: String| LogError::Evidence { index: stored.index.0, detail };
        let entry = indelible_core::entry::EntryRef::parse(&stored.entry).map_err(|error| wrong(error.to_string()))?;
        if entry.event_id() != Some(event.id()) {
            return Ok(None);
        }
        let line = Line { batch: entry.index, entry, mac: stored.mac };
        let mut receipt = Receipt::of_line(&line);
        let signed = (&receipt.leaf, &receipt.mac);
        self.keys.verify_stored(&*self.store, &line.entry, signed, || self.newest_tree())?;
        receipt.duplicate = true;
        let same = line.entry.body == event.start.body();
        Ok(Some(if same { Known::Same(Box::new(receipt)) } else { Known::Other(stored.index.0) }))
    }

    /// The tree of the newest head. It is asked of the head store: whoever publishes holds what this process remembers.
    fn newest_tree(&self) -> Result<TreeHead, LogError> {
        let missing = || LogError::HeadMissing {
            origin: self.keys.origin.to_string(),
            place: self.heads.place(&self.keys.origin),
        };
        let head = self.heads.load(&self.keys.origin)?.ok_or_else(missing)?;
        Ok(self.keys.history().open(head.checkpoint.as_bytes())?.head)
    }

    fn commit(&self, draft: &crate::sequencer::Draft) -> Result<(), AppendError> {
        match self.store.append(&draft.batch) {
            Ok(appended) => {
                if appended.segment_closed {
                    self.segment_closed.store(true, Ordering::Release);
                }
                self.note_unpublished();
                Ok(())
            }
            Err(error) => {
                self.fail(&error);
                Err(AppendError::Store(Arc::new(error)))
            }
        }
    }

    pub(crate) fn note_unpublished(&self) {
        let mut since = lock(&self.unpublished_since);
        if since.is_none() {
            *since = Some(Instant::now());
            drop(since);
            if let Some(me) = self.me.upgrade() {
                self.keeper.watch(&me);
            }
        }
    }

    /// Appends a control record that is made for its index.
    pub(crate) fn append_control(
        &self,
        make: impl Fn(LeafIndex) -> Result<Control, AppendError>,
    ) -> Result<u64, AppendError> {
        let made = self.append_control_with(&|index, _| make(index).map(Some))?;
        Ok(made.unwrap_or_default())
    }

    /// The same for a record that changes what the entries from it on are signed with, and that may turn out not to be needed.
    pub(crate) fn append_control_with(&self, make: &MakeControl<'_>) -> Result<Option<u64>, AppendError> {
        if self.store.shared() {
            self.not_closed()?;
            return self.append_control_in_turn(make);
        }
        let mut sequencer = lock(&self.sequencer);
        self.not_closed()?;
        let mut kept = lock(&self.kept);
        let mut draft = sequencer.begin(&*self.clock, &*self.entropy, &mut kept)?;
        let next = LeafIndex(sequencer.next);
        let made = make(next, &mut sequencer).and_then(|control| {
            let added = control.map(|control| sequencer.add_control(&mut draft, &control, &*self.entropy, &mut kept));
            added.transpose()
        });
        drop(kept);
        let io = lock(&self.io);
        // The batch before failed, or a head could not be moved: nothing is written behind it.
        if let Some(why) = self.failed.get() {
            return Err(AppendError::Failed { why: why.clone() });
        }
        drop(sequencer);
        // A clock step may stand in the draft even where the record itself failed.
        let result = if draft.batch.entries.is_empty() { Ok(()) } else { self.commit(&draft) };
        drop(io);
        result?;
        made
    }

    /// Writes a `keys` record where the ring's active keys are not those of the log, or keys are withdrawn. Returns its index.
    pub(crate) fn adopt_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        self.keys.refresh()?;
        if !self.keys.differ(&self.keys.history(), withdrawn)? {
            return Ok(None);
        }
        let sets = self.keys.history().sets().len();
        let made = self.append_control_with(&|index, sequencer| {
            let next = self.keys.next_record(&sequencer.history, index, reason, withdrawn);
            // Another process was faster.
            let Some((control, history)) = next.map_err(AppendError::record)? else { return Ok(None) };
            sequencer.signing = self.keys.signing(&history).map_err(AppendError::record)?;
            sequencer.history = Arc::new(history);
            Ok(Some(control))
        })?;
        self.keys.know(&Arc::clone(&lock(&self.sequencer).history));
        if self.keys.history().sets().len() > sets {
            // The checkpoint that both sign is to be kept.
            self.segment_closed.store(true, Ordering::Release);
        }
        Ok(made.map(LeafIndex))
    }

    /// Appends a record with the authority of a checkpoint key that is in force where it comes to stand. `in_force` may still refuse.
    pub(crate) fn append_authorised(
        &self,
        control: &Control,
        in_force: impl Fn(&Sequencer) -> Result<(), LogError>,
    ) -> Result<u64, AppendError> {
        let made = self.append_control_with(&|index, sequencer| {
            in_force(sequencer).map_err(AppendError::record)?;
            self.authorised(&sequencer.history, control.clone(), index).map(Some)
        })?;
        Ok(made.unwrap_or_default())
    }

    /// Gives a record for entry `index` the authority of a checkpoint key that `history` has in force there.
    fn authorised(&self, history: &KeyHistory, control: Control, index: LeafIndex) -> Result<Control, AppendError> {
        let signer = self.keys.authoriser(history, index).map_err(AppendError::record)?;
        let signed = control.authorise(self.log_id, &self.keys.origin, index, &signer);
        signed.map_err(|error| AppendError::record(error.into()))
    }

    pub(crate) fn publish_due(&self) -> bool {
        let since = *lock(&self.unpublished_since);
        let due = since.is_some_and(|since| since.elapsed() >= self.publish_every)
            || self.segment_closed.load(Ordering::Acquire);
        if due {
            *lock(&self.unpublished_since) = None;
        }
        due
    }

    /// What was due could not be done: it is due again, a publishing interval later.
    pub(crate) fn publish_again(&self, keep: Keep) {
        lock(&self.unpublished_since).get_or_insert_with(Instant::now);
        if keep == Keep::Yes {
            self.segment_closed.store(true, Ordering::Release);
        }
    }

    pub(crate) fn keep_due(&self) -> bool {
        let kept_at = lock(&self.publisher).kept_at;
        self.segment_closed.swap(false, Ordering::AcqRel)
            || self.clock.monotonic().saturating_sub(kept_at) >= self.keep_every
    }

    /// One step of work that can wait. Returns whether there is more.
    pub(crate) fn tend_once(&self) -> bool {
        let Ok(_tending) = self.tending.try_lock() else { return false };
        let anchored = lock(&self.newest).0.kept.size;
        self.remember(Chore::Tending, self.store.tend(anchored).map_err(LogError::from)).unwrap_or(false)
    }

    /// Whether there may be work that can wait. Asked once for each time that it was noted.
    pub(crate) fn take_tend_due(&self) -> bool {
        self.tend_due.swap(false, Ordering::AcqRel)
    }

    /// Whether the keeper will have something to do.
    pub(crate) fn busy(&self) -> bool {
        lock(&self.unpublished_since).is_some() || self.queue.bounded_for().is_some()
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
