//! Appending without blocking the calling task.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Ack, Inner, Log};
use crate::{
    error::AppendError,
    hold::Hold,
    queue::{Cell, NoRoom, Prepared},
    receipt::Receipt,
};

impl Log {
    /// Records an event given as JSON text without blocking the calling task: the commit runs on the keeper's small pool. Needs no runtime; works in any.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_async(&self, event: &[u8]) -> impl Future<Output = Result<Receipt, AppendError>> + Send + use<> {
        let prepared = self.inner.prepare(event, Ack::Durable);
        Appending { log: Arc::clone(&self.inner), step: Step::Queue(prepared.map(|p| vec![p])), id: String::new() }
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
                                let log = Hold::of(Arc::clone(&self.log));
                                self.log.keeper.spawn(Box::new(move || Inner::lead_on(log)));
                            }
                            self.step = Step::Wait(ticket.cell, ticket.at);
                        }
                        Err(NoRoom::Refused(error)) => return Poll::Ready(Err(error)),
                        Err(NoRoom::Later(events)) => {
                            self.step = Step::Queue(Ok(events));
                            return Poll::Pending;
                        }
                        Err(NoRoom::Lead(events)) => {
                            let log = Hold::of(Arc::clone(&self.log));
                            self.log.keeper.spawn(Box::new(move || Inner::lead_on(log)));
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
