//! What falls due beside recording, as the keeper asks for it.

use std::{sync::atomic::Ordering, time::Instant};

use super::Inner;
use crate::{error::LogError, keeper::Chore, publisher::Keep, queue::lock};

impl Inner {
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
}
