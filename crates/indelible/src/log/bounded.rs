//! Acknowledging at once, with a promise.

use std::{sync::Arc, time::Instant};

use super::{Ack, Inner, Log};
use crate::{error::AppendError, queue::Ticket, receipt::Receipt};

impl Log {
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
