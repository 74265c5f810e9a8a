//! Appending events: prepared by the caller's thread, queued, and answered when a leader has recorded them.

use std::sync::Arc;

use indelible_core::{
    entry::{BodyKind, EntryStart},
    event::{self, Event},
    tree::LeafIndex,
};
use indelible_store::store::{Fingerprint, StoreError};

use super::{Inner, Log};
use crate::{
    attachments,
    clock::new_id,
    error::{AppendError, chain},
    queue::{Batched, NoRoom, Outcome, Prepared, Ticket},
    receipt::Receipt,
};

/// Most events of [`Log::append_all`] that are queued at a time.
const GROUP: usize = 4096;
/// Most bytes of them; half of what may wait.
const GROUP_BYTES: usize = 8 << 20;

impl Log {
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

impl Inner {
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
    pub(super) fn push(&self, mut events: Vec<Prepared>, lead_later: bool) -> Result<Ticket, AppendError> {
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
}
