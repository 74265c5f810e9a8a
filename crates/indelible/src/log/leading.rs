//! Leading: the caller who finds a log free records what waits, for all.
//!
//! Batch n + 1 is sequenced while batch n is synced, and written only when it is.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use indelible_core::{
    entry::Line,
    tree::{LeafIndex, TreeHead},
};
use indelible_store::store::StoreError;

use super::{Inner, Stored, get};
use crate::{
    error::{AppendError, LogError},
    hold::Hold,
    queue::{Batched, Cell, Outcome, Prepared, lock},
    receipt::Receipt,
    sequencer::{Known, Sequencer},
};

/// A leader at work. INVARIANT(told): whoever was drained is told what became of it, also where the leader panics: then the log fails, and
/// opening it again tells what is recorded.
pub(crate) struct Led<'a> {
    log: &'a Inner,
    cells: RefCell<Vec<Arc<Cell>>>,
}

impl Led<'_> {
    /// As [`crate::queue::Queue::drain`].
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
    /// One commit as leader: a turn, a write, a sync, the answers.
    pub(crate) fn lead(&self) {
        self.lead_once(true);
    }

    /// Commits as long as there is something to commit, on a thread of the keeper's: no batch then waits for a thread to wake. Where others wait for this one, it goes on behind them.
    pub(crate) fn lead_on(log: Hold) {
        if log.store.shared() {
            return log.lead();
        }
        loop {
            log.lead_once(false);
            if !log.queue.goes_on() {
                return;
            }
            if log.keeper.is_wanted() {
                let keeper = log.keeper.clone();
                return keeper.spawn(Box::new(move || Self::lead_on(log)));
            }
        }
    }

    /// `last`: the leader does not come again by itself.
    fn lead_once(&self, last: bool) {
        let led = Led { log: self, cells: RefCell::default() };
        if self.store.shared() {
            return self.lead_in_turn(&led);
        }
        let mut sequencer = lock(&self.sequencer);
        let (early, early_cell) = led.drain(false);
        let draft = {
            let mut kept = lock(&self.kept);
            let kept = kept.found(&*self.store).map_err(AppendError::from);
            kept.and_then(|kept| sequencer.begin(&*self.clock, &*self.entropy, kept))
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
        let (late, late_cell) = led.drain(last);
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
        let outcomes = sequencer.add(draft, events, kept.known(), |event| self.known(event, first));
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

    pub(super) fn commit(&self, draft: &crate::sequencer::Draft) -> Result<(), AppendError> {
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
}
