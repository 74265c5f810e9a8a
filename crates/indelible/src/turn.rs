//! Appending to logs that other processes append to as well: every batch is one *turn*, taken from the store. A turn may be of several logs, whose batches are
//! one transaction then ([`crate::together`]); that of one log is nothing else.
//!
//! What this process remembers of the log's end is only a lower bound there. INVARIANT(turn): index and chain of a batch come from
//! the end that the store told within the turn, never from memory; and an end that lies before what this process has seen is evidence
//! of a rollback, not a place to go on from.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use indelible_core::{
    entry::KeptHead,
    tree::{LeafIndex, TreeSize},
};
use indelible_store::store::{Batch, Chunk, End, Fingerprint, StoreError, Turn, TurnError, Writer};

use crate::{
    error::{AppendError, LogError, chain},
    keys::unknown_keys,
    log::{Inner, Led, MakeControl, Panicked, first_of},
    open::rolled_back,
    queue::{Batched, Outcome, Prepared, lock},
    sequencer::{Draft, Known, Sequencer},
};

/// The first and the longest wait between two tries.
const WAITS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// A log whose turn is taken, and what its batch builds on.
pub(crate) struct Seat<'a> {
    log: &'a Inner,
    sequencer: MutexGuard<'a, Sequencer>,
}

/// A batch in the making, with the kept checkpoint that it still has to name.
pub(crate) struct Making {
    draft: Draft,
    kept: Option<KeptHead>,
}

/// Events that were given their places in a log.
#[derive(Default)]
pub(crate) struct Sequenced {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) recorded_at: Arc<str>,
    pub(crate) key: Arc<str>,
}

/// What fills the batches of a turn, one for each log.
type Fill<'a, T> = dyn FnMut(&mut dyn Turn, &mut [Seat<'_>], &mut [Making]) -> Result<T, Missed> + 'a;

/// Why a turn came to nothing.
pub(crate) enum Missed {
    /// Nothing was recorded; the same may go well soon.
    Again(StoreError),
    /// Told to the callers.
    Told(Told),
}

/// What callers are told, and of which log; of all of them where none is named. Where one is named, nothing was recorded in any.
pub(crate) struct Told {
    pub(crate) at: Option<usize>,
    pub(crate) error: AppendError,
}

impl Missed {
    pub(crate) fn told(at: usize, error: AppendError) -> Self {
        Self::Told(Told { at: Some(at), error })
    }
}

impl From<TurnError> for Missed {
    fn from(TurnError { log, error }: TurnError) -> Self {
        match error {
            error @ StoreError::TryAgain { .. } => Self::Again(error),
            error => Self::Told(Told { at: log, error: AppendError::Store(Arc::new(error)) }),
        }
    }
}

impl<'a> Seat<'a> {
    /// Waits until no other thread of this process has the log's turn.
    pub(crate) fn of(log: &'a Inner) -> Self {
        Self { log, sequencer: lock(&log.sequencer) }
    }

    /// Begins a batch where the log ends.
    fn begin(&mut self, turn: &mut dyn Turn, at: usize, end: &End) -> Result<Making, Missed> {
        let log = self.log;
        let found =
            log.check_end(&self.sequencer, end).and_then(|()| log.take_over_keys(turn, at, &mut self.sequencer, end));
        let found = found.and_then(|()| match end.unnamed {
            Some(number) => log.kept_head(turn, at, number, end.size.0).map(Some),
            None => Ok(None),
        });
        let mut kept = found.map_err(|error| match error {
            LogError::Store(error @ StoreError::TryAgain { .. }) => Missed::Again(error),
            error => {
                log.fail(&error);
                Missed::told(at, AppendError::Failed { why: chain(&error) })
            }
        })?;
        (self.sequencer.next, self.sequencer.prev) = (end.size.0, end.last_leaf);
        self.sequencer.clock.behind(end.recorded_at, &*log.clock);
        let draft = self.sequencer.begin(&*log.clock, &*log.entropy, &mut kept);
        Ok(Making { draft: draft.map_err(|error| Missed::told(at, error))?, kept })
    }
}

impl Drop for Seat<'_> {
    /// What the sequencer says after a panic may be of entries that were never recorded.
    fn drop(&mut self) {
        if thread::panicking() {
            self.log.fail(&Panicked);
        }
    }
}

/// Takes the turns of logs in one transaction, has their batches filled and appends them, until that is done or cannot be.
pub(crate) fn in_turn<T>(seats: &mut [Seat<'_>], fill: &mut Fill<'_, T>) -> Result<T, Told> {
    let begun = Instant::now();
    let patience = seats.first().map_or(Duration::ZERO, |seat| seat.log.store.patience());
    let mut wait = WAITS.0;
    loop {
        for (at, seat) in seats.iter().enumerate() {
            if let Some(why) = seat.log.failed.get() {
                return Err(Told { at: Some(at), error: AppendError::Failed { why: why.clone() } });
            }
        }
        let seen: Vec<Sequencer> = seats.iter().map(|seat| seat.sequencer.clone()).collect();
        let missed = match try_turn(seats, fill) {
            Ok(done) => return Ok(done),
            Err(missed) => missed,
        };
        // Nothing was recorded, or the log failed: a batch builds on what was seen before.
        seats.iter_mut().zip(seen).for_each(|(seat, seen)| *seat.sequencer = seen);
        match missed {
            Missed::Told(told) => return Err(told),
            Missed::Again(error) if begun.elapsed() + wait > patience => {
                return Err(Told { at: None, error: AppendError::Store(Arc::new(error)) });
            }
            Missed::Again(_) => {
                thread::sleep(wait);
                wait = (wait * 2).min(WAITS.1);
            }
        }
    }
}

fn try_turn<T>(seats: &mut [Seat<'_>], fill: &mut Fill<'_, T>) -> Result<T, Missed> {
    let logs: Vec<&Inner> = seats.iter().map(|seat| seat.log).collect();
    let stores: Vec<&dyn Writer> = logs.iter().map(|log| &*log.store).collect();
    let Some((first, others)) = stores.split_first() else {
        return Err(Missed::told(0, AppendError::Closed));
    };
    let mut turn = first.take_turn(others)?;
    let mut makings = Vec::with_capacity(seats.len());
    let ends = turn.ends().to_vec();
    for (at, (seat, end)) in seats.iter_mut().zip(&ends).enumerate() {
        makings.push(seat.begin(&mut *turn, at, end)?);
    }
    let value = fill(&mut *turn, seats, &mut makings)?;
    let batches: Vec<&Batch> = makings.iter().map(|making| &making.draft.batch).collect();
    let written: Vec<&Inner> =
        logs.iter().zip(&batches).filter(|(_, batch)| !batch.entries.is_empty()).map(|(log, _)| *log).collect();
    if written.is_empty() {
        return Ok(value);
    }
    turn.append(&batches).map_err(|error| fail(&logs, error))?;
    written.iter().for_each(|log| log.note_unpublished());
    Ok(value)
}

/// Ends writing to the log that an append failed for; to all of them, where it is not known what was recorded.
fn fail(logs: &[&Inner], TurnError { log, error }: TurnError) -> Missed {
    if !matches!(error, StoreError::TryAgain { .. }) {
        let failed = logs.iter().enumerate().filter(|(at, _)| log.is_none_or(|log| log == *at));
        failed.for_each(|(_, log)| log.fail(&error));
    }
    TurnError { log, error }.into()
}

/// Gives events their places, each list in its log. All ids that callers chose are looked up in one question.
pub(crate) fn sequence(
    turn: &mut dyn Turn,
    seats: &mut [Seat<'_>],
    makings: &mut [Making],
    events: &[&[Prepared]],
) -> Result<Vec<Sequenced>, Missed> {
    let chosen = |(at, events): (usize, &&[Prepared])| {
        let chosen = events.iter().filter(|event| event.chosen.is_some());
        chosen.map(|event| (at, event.fingerprint)).collect::<Vec<_>>()
    };
    let ids: Vec<(usize, Fingerprint)> = events.iter().enumerate().flat_map(chosen).collect();
    let mut found: HashMap<(usize, Fingerprint), Vec<LeafIndex>> = HashMap::new();
    if !ids.is_empty() {
        let indices = turn.lookup(&ids).map_err(|error| unknown(events, error))?;
        found.extend(ids.into_iter().zip(indices).filter(|(_, indices)| !indices.is_empty()));
    }
    let mut lost = None;
    let logs = seats.iter_mut().zip(makings).zip(events).enumerate();
    let sequenced = logs.map(|(at, ((seat, Making { draft, kept }), events))| {
        let (log, end) = (seat.log, draft.batch.first);
        let outcomes = seat.sequencer.add(draft, events, kept, |event| {
            let indices = found.get(&(at, event.fingerprint)).into_iter().flatten().copied();
            let mut read = |index| {
                turn.read(at, index, 0).map_err(|TurnError { error, .. }| {
                    if let StoreError::TryAgain { place, why } = &error {
                        lost = Some(StoreError::TryAgain { place: place.clone(), why: why.clone() });
                    }
                    LogError::Store(error)
                })
            };
            log.known_in_turn(&mut read, indices.filter(|index| index.0 < end), event)
        });
        Sequenced { outcomes, recorded_at: Arc::clone(&draft.recorded_at), key: Arc::clone(&draft.key) }
    });
    let sequenced = sequenced.collect();
    // What could not be compared for want of a connection is compared in another turn.
    lost.map_or(Ok(sequenced), |error| Err(Missed::Again(error)))
}

/// Ids could not be looked up: nothing was recorded of any of the events.
fn unknown(events: &[&[Prepared]], TurnError { log, error }: TurnError) -> Missed {
    if matches!(error, StoreError::TryAgain { .. }) {
        return Missed::Again(error);
    }
    let what = match events {
        [[event]] => format!("`{}`", event.id()),
        logs => format!("any of {} events", logs.iter().map(|events| events.len()).sum::<usize>()),
    };
    Missed::Told(Told { at: log, error: AppendError::unknown(what, error) })
}

impl Inner {
    /// One commit as leader, in a turn. Who comes while the turn is waited for comes along.
    pub(crate) fn lead_in_turn(&self, led: &Led<'_>) {
        let mut seats = [Seat::of(self)];
        let mut drained = None;
        let result = in_turn(&mut seats, &mut |turn, seats, makings| {
            let (events, _) = drained.get_or_insert_with(|| led.drain(true));
            sequence(turn, seats, makings, &[events])
        });
        drop(seats);
        let durable_at = Instant::now();
        let (events, cell) = drained.unwrap_or_else(|| led.drain(true));
        if events.is_empty() {
            return;
        }
        let batched = result
            .map(|mut logs| logs.pop().unwrap_or_default())
            .map(|Sequenced { outcomes, recorded_at, key }| Batched { outcomes, recorded_at, key, durable_at });
        cell.set(batched.map_err(|told| told.error));
    }

    /// Appends a control record that is made for its index, in a turn.
    pub(crate) fn append_control_in_turn(&self, make: &MakeControl<'_>) -> Result<Option<u64>, AppendError> {
        let index = in_turn(&mut [Seat::of(self)], &mut |_, seats, makings| {
            let mut index = None;
            for (at, (seat, Making { draft, kept })) in seats.iter_mut().zip(makings).enumerate() {
                let next = LeafIndex(seat.sequencer.next);
                let added = make(next, &mut seat.sequencer).and_then(|control| {
                    let added =
                        control.map(|control| seat.sequencer.add_control(draft, &control, &*self.entropy, kept));
                    added.transpose()
                });
                index = added.map_err(|error| Missed::told(at, error))?;
            }
            Ok(index)
        });
        index.map_err(|told| told.error)
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
    fn kept_head(&self, turn: &mut dyn Turn, at: usize, number: u64, index: u64) -> Result<KeptHead, LogError> {
        // One that this process published, or took over, is in its head: nothing has to be read while the log is locked.
        let kept = lock(&self.newest).0.kept;
        if kept.number == number {
            return Ok(kept);
        }
        let note = turn.kept(at, number).map_err(|error| error.error)?.ok_or_else(|| {
            let detail = format!("it is to name checkpoint {number}, which the store says was kept, and does not have");
            LogError::Evidence { index, detail }
        })?;
        let head = self.keys.history().open(&note)?.head;
        Ok(KeptHead { number, root: head.root, size: head.size })
    }

    /// Another process changed the keys of the log: from here on entries are signed as it said, where this process's ring has what that needs.
    fn take_over_keys(
        &self,
        turn: &mut dyn Turn,
        at: usize,
        sequencer: &mut Sequencer,
        end: &End,
    ) -> Result<(), LogError> {
        let known = sequencer.history.newest();
        if end.keys == known {
            return Ok(());
        }
        if end.keys < known {
            let detail = format!("the store says that entry {} is the newest about keys, entry {known} is", end.keys);
            return Err(LogError::Evidence { index: known.0, detail });
        }
        let mut read = |index| turn.read(at, index, 0).map_err(|error| LogError::Store(error.error));
        let followed = self.keys.follow_to(&sequencer.history, end.keys, &mut read);
        let history = Arc::new(followed.map_err(|error| unknown_keys(end.keys.0, error))?);
        let signing = self.keys.signing(&history).map_err(|error| unknown_keys(end.keys.0, error))?;
        self.keys.know(&history);
        (sequencer.history, sequencer.signing) = (history, signing);
        Ok(())
    }

    /// How an id that a caller chose stands to what is recorded at `indices`, where something has its fingerprint.
    fn known_in_turn(
        &self,
        read: &mut dyn FnMut(LeafIndex) -> Result<Chunk, LogError>,
        indices: impl Iterator<Item = LeafIndex>,
        event: &Prepared,
    ) -> Result<Known, AppendError> {
        for index in indices {
            let stored = match read(index).and_then(|chunk| first_of(&chunk, index)) {
                // The promise of one entry for an id ends where its body is pruned: there is nothing left to compare with.
                Err(LogError::Store(StoreError::Absent { .. })) => continue,
                stored => stored,
            };
            if let Some(known) = self.compare_with(stored, event)? {
                return Ok(known);
            }
        }
        Ok(Known::New)
    }
}
