//! Appending to a log that other processes append to as well: every batch is one *turn*, taken from the store.
//!
//! What this process remembers of the log's end is only a lower bound there. INVARIANT(turn): index and chain of a batch come from
//! the end that the store told within the turn, never from memory; and an end that lies before what this process has seen is evidence
//! of a rollback, not a place to go on from.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use indelible_core::{
    checkpoint::Checkpoint,
    control::Control,
    entry::KeptHead,
    note::NoteSigner as _,
    tree::{LeafIndex, TreeSize},
};
use indelible_store::store::{End, Fingerprint, StoreError};

use crate::{
    error::{AppendError, LogError, chain},
    log::{Inner, Led},
    open::rolled_back,
    queue::{Batched, Outcome, Prepared, lock},
    sequencer::{Draft, Known, Sequencer},
};

/// How long a turn is tried for before the callers are told.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first and the longest wait between two tries.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What fills a turn's batch.
type Fill<'a, T> = dyn FnMut(&mut Sequencer, &mut Draft, &mut Option<KeptHead>) -> Result<T, AppendError> + 'a;

/// Why a turn came to nothing.
enum Missed {
    /// Nothing was recorded; the same may go well soon.
    Again(StoreError),
    /// Told to the callers.
    Told(AppendError),
}

impl Inner {
    /// One commit as leader, in a turn. Who comes while the turn is waited for comes along.
    pub(crate) fn lead_in_turn(&self, led: &Led<'_>) {
        let mut sequencer = lock(&self.sequencer);
        let mut drained = None;
        let result = self.in_turn(&mut sequencer, &mut |sequencer, draft, kept| {
            let (events, _) = drained.get_or_insert_with(|| led.drain(true));
            self.sequence_in_turn(sequencer, draft, events, kept)
        });
        drop(sequencer);
        let durable_at = Instant::now();
        let (events, cell) = drained.unwrap_or_else(|| led.drain(true));
        if !events.is_empty() {
            cell.set(result.map(|(outcomes, draft)| Batched { outcomes, recorded_at: draft.recorded_at, durable_at }));
        }
    }

    /// Appends a control record that is made for its index, in a turn.
    pub(crate) fn append_control_in_turn(
        &self,
        make: &dyn Fn(LeafIndex) -> Result<Control, AppendError>,
    ) -> Result<u64, AppendError> {
        let mut sequencer = lock(&self.sequencer);
        let (index, _) = self.in_turn(&mut sequencer, &mut |sequencer, draft, kept| {
            let control = make(LeafIndex(sequencer.next))?;
            sequencer.add_control(draft, &control, &*self.entropy, &self.signing, kept)
        })?;
        Ok(index)
    }

    fn in_turn<T>(&self, sequencer: &mut Sequencer, fill: &mut Fill<'_, T>) -> Result<(T, Draft), AppendError> {
        let begun = Instant::now();
        let mut wait = WAITS.0;
        loop {
            if let Some(why) = self.failed.get() {
                return Err(AppendError::Failed { why: why.clone() });
            }
            match self.try_turn(sequencer, fill) {
                Ok(done) => return Ok(done),
                Err(Missed::Told(error)) => return Err(error),
                Err(Missed::Again(error)) if begun.elapsed() + wait > PATIENCE => {
                    return Err(AppendError::Store(Arc::new(error)));
                }
                Err(Missed::Again(_)) => {
                    thread::sleep(wait);
                    wait = (wait * 2).min(WAITS.1);
                }
            }
        }
    }

    fn try_turn<T>(&self, sequencer: &mut Sequencer, fill: &mut Fill<'_, T>) -> Result<(T, Draft), Missed> {
        let end = match self.store.take_turn() {
            Ok(end) => end,
            Err(error @ StoreError::TryAgain { .. }) => return Err(Missed::Again(error)),
            Err(error) => return Err(Missed::Told(AppendError::Store(Arc::new(error)))),
        };
        let seen = (sequencer.next, sequencer.prev, sequencer.clock);
        let result = self.filled(sequencer, end, fill);
        let (value, draft) = match result {
            Ok((value, draft)) if !draft.batch.entries.is_empty() => (value, draft),
            result => {
                self.store.give_back();
                return result.map_err(Missed::Told);
            }
        };
        match self.store.append(&draft.batch) {
            Ok(_) => {
                self.note_unpublished();
                Ok((value, draft))
            }
            Err(error @ StoreError::TryAgain { .. }) => {
                (sequencer.next, sequencer.prev, sequencer.clock) = seen;
                Err(Missed::Again(error))
            }
            Err(error) => {
                self.fail(&error);
                Err(Missed::Told(AppendError::Store(Arc::new(error))))
            }
        }
    }

    fn filled<T>(
        &self,
        sequencer: &mut Sequencer,
        end: Option<End>,
        fill: &mut Fill<'_, T>,
    ) -> Result<(T, Draft), AppendError> {
        let mut kept = None;
        if let Some(end) = end {
            let found = self.check_end(sequencer, &end).and_then(|()| match end.unnamed {
                Some(number) => self.kept_head(number, end.size.0).map(Some),
                None => Ok(None),
            });
            kept = found.map_err(|error| {
                self.fail(&error);
                AppendError::Failed { why: chain(&error) }
            })?;
            (sequencer.next, sequencer.prev) = (end.size.0, end.last_leaf);
            sequencer.clock.behind(end.recorded_at, &*self.clock);
        }
        let mut draft = sequencer.begin(&*self.clock, &*self.entropy, &self.signing, &mut kept)?;
        let value = fill(sequencer, &mut draft, &mut kept)?;
        Ok((value, draft))
    }

    /// Compares the log's end with what this process has seen of it.
    fn check_end(&self, sequencer: &Sequencer, end: &End) -> Result<(), LogError> {
        if end.size.0 < sequencer.next {
            return Err(rolled_back(end.size, TreeSize(sequencer.next)));
        }
        if end.size.0 == sequencer.next && end.last_leaf != sequencer.prev {
            let detail =
                "the last entry is not the one that was recorded: the log was rolled back or replaced".to_owned();
            return Err(LogError::Evidence { index: end.size.0.saturating_sub(1), detail });
        }
        Ok(())
    }

    /// The kept checkpoint that entry `index` is to name, verified: an entry that names a false one would be a false alarm for good.
    fn kept_head(&self, number: u64, index: u64) -> Result<KeptHead, LogError> {
        let note = self.store.kept(number)?.ok_or_else(|| {
            let detail = format!("it is to name checkpoint {number}, which the store says was kept, and does not have");
            LogError::Evidence { index, detail }
        })?;
        let head = Checkpoint::open(&note, self.signer.verifying_key())?.head;
        Ok(KeptHead { number, root: head.root, size: head.size })
    }

    fn sequence_in_turn(
        &self,
        sequencer: &mut Sequencer,
        draft: &mut Draft,
        events: &[Prepared],
        kept: &mut Option<KeptHead>,
    ) -> Result<Vec<Outcome>, AppendError> {
        let chosen: Vec<Fingerprint> = events.iter().filter(|e| e.chosen.is_some()).map(|e| e.fingerprint).collect();
        let mut found: HashMap<Fingerprint, Vec<LeafIndex>> = HashMap::new();
        if !chosen.is_empty() {
            let indices =
                self.store.lookup_many(&chosen).map_err(|error| AppendError::unknown(named(events), error))?;
            found.extend(chosen.into_iter().zip(indices).filter(|(_, indices)| !indices.is_empty()));
        }
        let end = draft.batch.first;
        Ok(sequencer.add(draft, events, &self.signing, kept, |event| {
            for index in found.get(&event.fingerprint).into_iter().flatten().filter(|index| index.0 < end) {
                if let Some(known) = self.compare_with(*index, event)? {
                    return Ok(known);
                }
            }
            Ok(Known::New)
        }))
    }
}

/// Events that are looked up together, for a message.
fn named(events: &[Prepared]) -> String {
    match events {
        [event] => format!("`{}`", event.id),
        events => format!("any of {} events", events.len()),
    }
}
