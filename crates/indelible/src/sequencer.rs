//! A turn: index, chain, time, signature, and what is to be said before the next entry.
//!
//! INVARIANT(order): the sequencer is changed under one lock, in the order in which batches are written; nothing in it is taken back.
//! A batch that could not be written poisons the log, because the entries behind it build on it. (Where several processes write, a turn
//! takes all of it anew from the store: [`crate::turn`].)

use std::{sync::Arc, time::Duration};

use indelible_core::{
    control::Control,
    entry::{BodyKind, EntryStart, KeptHead, Tail},
    history::KeyHistory,
    time::Micros,
    tree::{Hash, LeafIndex},
};
use indelible_store::store::{Batch, BatchEntry, Fingerprint, FingerprintMap};

use crate::{
    clock::{Clock, Entropy},
    error::AppendError,
    keys::Signing,
    queue::{Outcome, Prepared},
    receipt::Receipt,
};

/// A step of the clock that is worth an entry.
const STEP_US: i64 = 1_000_000;

/// What the next entry builds on.
#[derive(Clone)]
pub(crate) struct Sequencer {
    pub(crate) next: u64,
    pub(crate) prev: Hash,
    pub(crate) clock: ClockWatch,
    pub(crate) origin: Arc<str>,
    /// What the entries up to here say of the log's keys.
    pub(crate) history: Arc<KeyHistory>,
    /// What the next entry is signed with.
    pub(crate) signing: Arc<Signing>,
}

/// The two clocks at the last reading.
#[derive(Clone, Copy)]
pub(crate) struct ClockWatch {
    pub(crate) wall: Micros,
    pub(crate) monotonic: Duration,
}

impl ClockWatch {
    /// Another process recorded at `time`: a clock that reads less now has to say so.
    pub(crate) fn behind(&mut self, time: Option<Micros>, clock: &dyn Clock) {
        let monotonic = clock.monotonic();
        let passed = i64::try_from(monotonic.saturating_sub(self.monotonic).as_micros()).unwrap_or(i64::MAX);
        if let Some(time) = time.filter(|time| time.0 > self.wall.0.saturating_add(passed)) {
            (self.wall, self.monotonic) = (time, monotonic);
        }
    }

    /// Reads the clock; says what it would have read if it stepped since the last reading.
    fn read(&mut self, clock: &dyn Clock) -> (Micros, Option<Micros>) {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let passed = i64::try_from(monotonic.saturating_sub(self.monotonic).as_micros()).unwrap_or(i64::MAX);
        let expected = Micros(self.wall.0.saturating_add(passed));
        let stepped = wall.0.abs_diff(expected.0) > STEP_US.unsigned_abs();
        (self.wall, self.monotonic) = (wall, monotonic);
        (wall, stepped.then_some(expected))
    }
}

/// A batch in the making.
pub(crate) struct Draft {
    pub(crate) batch: Batch,
    pub(crate) recorded_at: Arc<str>,
    /// What the log is called.
    origin: Arc<str>,
    /// Id of the key that signs its events.
    pub(crate) key: Arc<str>,
    /// Ids in this batch, by the entry's place in it.
    ids: FingerprintMap<usize>,
}

/// How an id that the caller chose stands to what is recorded.
pub(crate) enum Known {
    /// It is new.
    New,
    /// The same event is stored: this is its receipt.
    Same(Box<Receipt>),
    /// Another event has it.
    Other(u64),
}

impl Sequencer {
    /// Begins a batch; says so if the clock stepped.
    pub(crate) fn begin(
        &mut self,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
        kept: &mut Option<KeptHead>,
    ) -> Result<Draft, AppendError> {
        let before = self.clock;
        let (now, mut stepped) = self.clock.read(clock);
        // Nothing but a `keys` record may be the first entry under a key: then the step is told behind it.
        if self.history.current_entry_key().is_none_or(|key| key.id != *self.signing.key_id) {
            (self.clock, stepped) = (before, None);
        }
        let recorded_at: Arc<str> = now.to_string().into();
        let batch = Batch {
            first: self.next,
            recorded_at: now,
            names: None,
            keys: None,
            bytes: Vec::new(),
            entries: Vec::new(),
        };
        let (origin, key) = (Arc::clone(&self.origin), Arc::clone(&self.signing.key_id));
        let mut draft = Draft { batch, recorded_at, origin, key, ids: FingerprintMap::default() };
        if let Some(expected) = stepped {
            let step = Control::ClockStep {
                from: expected.to_string(),
                to: now.to_string(),
                step_us: now.0.saturating_sub(expected.0),
            };
            let start = control_start(&step, entropy)?;
            self.push(&mut draft, &start, None, kept);
        }
        Ok(draft)
    }

    /// Gives events their places. `known` answers for ids that callers chose and that are not in this draft.
    pub(crate) fn add(
        &mut self,
        draft: &mut Draft,
        events: &[Prepared],
        kept: &mut Option<KeptHead>,
        mut known: impl FnMut(&Prepared) -> Result<Known, AppendError>,
    ) -> Vec<Outcome> {
        let bytes: usize = events.iter().map(|e| e.start.line_bound()).sum();
        draft.batch.bytes.reserve(bytes);
        draft.batch.entries.reserve(events.len());
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let conflict = |index| AppendError::IdConflict { id: event.id().to_owned(), index };
            let in_draft = draft.ids.get(&event.fingerprint).copied();
            let outcome = match (in_draft, &event.chosen) {
                (Some(at), _) => draft.same(at, event).map_or_else(
                    || Outcome::Refused(conflict(draft.batch.first + at as u64)),
                    |receipt| Outcome::Duplicate(Box::new(receipt)),
                ),
                (None, None) => self.push(draft, &event.start, Some(event.fingerprint), kept),
                (None, Some(_)) => match known(event) {
                    Ok(Known::New) => self.push(draft, &event.start, Some(event.fingerprint), kept),
                    Ok(Known::Same(receipt)) => Outcome::Duplicate(receipt),
                    Ok(Known::Other(index)) => Outcome::Refused(conflict(index)),
                    Err(error) => Outcome::Refused(error),
                },
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Adds a control record.
    pub(crate) fn add_control(
        &mut self,
        draft: &mut Draft,
        control: &Control,
        entropy: &dyn Entropy,
        kept: &mut Option<KeptHead>,
    ) -> Result<u64, AppendError> {
        let start = control_start(control, entropy)?;
        let index = self.next;
        if matches!(control, Control::Keys(_)) {
            draft.batch.keys = Some(index);
        }
        self.push(draft, &start, None, kept);
        Ok(index)
    }

    fn push(
        &mut self,
        draft: &mut Draft,
        start: &EntryStart,
        id: Option<Fingerprint>,
        kept: &mut Option<KeptHead>,
    ) -> Outcome {
        let index = self.next;
        let head = kept.take();
        draft.batch.names = head.map(|head| head.number).or(draft.batch.names);
        let tail = Tail {
            head,
            index: LeafIndex(index),
            key: &self.signing.key_id,
            log: &self.origin,
            bounded: start.is_bounded(),
            prev: self.prev,
            recorded_at: &draft.recorded_at,
        };
        let from = draft.batch.bytes.len();
        let first = LeafIndex(draft.batch.first);
        let key = &self.signing.key;
        let (leaf, mac, entry) = start.seal(&tail, first, |leaf| key.sign(leaf), &mut draft.batch.bytes);
        if let Some(id) = id {
            draft.ids.insert(id, draft.batch.entries.len());
        }
        let line = from..draft.batch.bytes.len();
        draft.batch.entries.push(BatchEntry {
            line,
            entry,
            batch: draft.batch.first,
            recorded_at: draft.batch.recorded_at,
            leaf,
            mac,
            id,
        });
        self.next += 1;
        self.prev = leaf;
        Outcome::Stored { index, leaf, mac }
    }
}

impl Draft {
    /// The receipt of the draft's entry `at`, if it holds the same event.
    fn same(&self, at: usize, event: &Prepared) -> Option<Receipt> {
        let entry = self.batch.entries.get(at)?;
        let bytes = self.batch.bytes.get(entry.entry.clone())?;
        let body = event.start.body();
        let stored = bytes.get(b"{\"event\":".len()..)?.get(..body.len())?;
        let ends = bytes.get(b"{\"event\":".len() + body.len()) == Some(&b',');
        (stored == body && ends).then(|| Receipt {
            id: event.id().to_owned(),
            index: LeafIndex(self.batch.first + at as u64),
            leaf: entry.leaf,
            mac: entry.mac,
            key: Arc::clone(&self.key),
            origin: Arc::clone(&self.origin),
            recorded_at: Arc::clone(&self.recorded_at),
            duplicate: true,
        })
    }

    /// Ids with their indices, to be made findable.
    pub(crate) fn claims(&self, from: usize) -> Vec<(Fingerprint, u64)> {
        let numbered = self.batch.entries.iter().zip(self.batch.first..).skip(from);
        numbered.filter_map(|(entry, index)| Some((entry.id?, index))).collect()
    }
}

fn control_start(control: &Control, entropy: &dyn Entropy) -> Result<EntryStart, AppendError> {
    let failed =
        |error: indelible_core::control::ControlError| AppendError::Failed { why: crate::error::chain(&error) };
    let body = control.canonical().map_err(failed)?;
    Ok(EntryStart::new(BodyKind::Control, body, entropy.salt()))
}
