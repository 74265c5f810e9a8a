//! Group commit without a thread: whoever finds no leader leads, drains the queue, commits, and wakes the others.
//!
//! States of a request: *queued* (in [`Queue::pending`], with a place in the current [`Cell`]) → *drained* (a leader sequences it) →
//! *done* (its cell is set). INVARIANT(led): while something but bounded events is in `pending`, `led` is set and some thread is on its way to drain
//! it; the flag is cleared in the same critical section that empties the queue, or finds it empty. Bounded events wait for the next leader, the keeper, `settle`, or
//! whoever finds the queue full.

use std::{
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

use indelible_core::{entry::EntryStart, tree::Hash};
use indelible_store::store::Fingerprint;

use crate::{error::AppendError, options::OnFull, receipt::Receipt};

/// Most events that wait: with the longest events this is bounded by [`MAX_BYTES`] first.
pub(crate) const MAX_EVENTS: usize = 16_384;
/// Most bytes of bodies that wait. A batch is at most two drains: 32 MiB of bodies and, at 600 bytes of tail for each of 32,768 events,
/// 20 MiB of tails, below the 64 MiB that recovery may cut.
pub(crate) const MAX_BYTES: usize = 16 << 20;

/// An event on its way: checked, canonical, hashed as far as can be without its place.
pub(crate) struct Prepared {
    pub(crate) start: EntryStart,
    /// Where in the body its id stands.
    pub(crate) id: Range<usize>,
    pub(crate) fingerprint: Fingerprint,
    /// For an id that the caller chose: candidates found before, and under which token.
    pub(crate) chosen: Option<(Vec<u64>, u64)>,
}

impl Prepared {
    pub(crate) fn id(&self) -> &str {
        let id = self.start.body().get(self.id.clone()).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }
}

/// What became of one event.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Stored { index: u64, leaf: Hash, mac: [u8; 32] },
    Duplicate(Box<Receipt>),
    Refused(AppendError),
}

/// What became of the events that were drained together.
pub(crate) struct Batched {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) recorded_at: Arc<str>,
    /// Id of the key that signed them.
    pub(crate) key: Arc<str>,
    pub(crate) durable_at: Instant,
}

/// The place where callers wait for the events of one drain.
#[derive(Default)]
pub(crate) struct Cell {
    done: OnceLock<Result<Batched, AppendError>>,
    wakers: Mutex<Vec<Waker>>,
}

impl Cell {
    pub(crate) fn wait(&self) -> &Result<Batched, AppendError> {
        self.done.wait()
    }

    pub(crate) fn get(&self) -> Option<&Result<Batched, AppendError>> {
        self.done.get()
    }

    pub(crate) fn wake_by(&self, waker: &Waker) {
        let mut wakers = lock(&self.wakers);
        if self.done.get().is_some() {
            waker.wake_by_ref();
        } else {
            wakers.push(waker.clone());
        }
    }

    pub(crate) fn set(&self, result: Result<Batched, AppendError>) {
        let mut wakers = lock(&self.wakers);
        // Set once, by the leader that drained it.
        let _ = self.done.set(result);
        for waker in wakers.drain(..) {
            waker.wake();
        }
    }
}

/// A request's place: its cell, and which of the cell's events are its own.
pub(crate) struct Ticket {
    pub(crate) cell: Arc<Cell>,
    pub(crate) at: usize,
    /// Whether the pusher has to lead.
    pub(crate) leads: bool,
}

#[derive(Default)]
struct State {
    pending: Vec<Prepared>,
    bytes: usize,
    cell: Arc<Cell>,
    led: bool,
    closed: Option<AppendError>,
    room_wakers: Vec<Waker>,
    /// Callers that block until there is room.
    room_waiters: usize,
    oldest_bounded: Option<Instant>,
}

/// The queue of one log.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    room: Condvar,
}

/// Why events could not be queued; they come back.
pub(crate) enum NoRoom {
    Refused(AppendError),
    /// Only where a waker was given: it will be woken.
    Later(Vec<Prepared>),
    /// Nobody leads: the caller does now, and pushes again after that.
    Lead(Vec<Prepared>),
}

impl Queue {
    /// Queues events that stay together. With `on_full` waiting this blocks, or takes the waker instead where there is one.
    pub(crate) fn push(
        &self,
        events: Vec<Prepared>,
        on_full: OnFull,
        lead_later: bool,
        waker: Option<&Waker>,
    ) -> Result<Ticket, NoRoom> {
        let bytes: usize = events.iter().map(|e| e.start.line_bound()).sum();
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = &state.closed {
                return Err(NoRoom::Refused(error.clone()));
            }
            let fits = state.pending.len() + events.len() <= MAX_EVENTS && state.bytes + bytes <= MAX_BYTES;
            if fits || state.pending.is_empty() {
                break;
            }
            match (on_full, waker) {
                (OnFull::Refuse, _) => {
                    return Err(NoRoom::Refused(AppendError::Full { events: state.pending.len() }));
                }
                (OnFull::Wait, Some(_)) if !state.led => {
                    state.led = true;
                    return Err(NoRoom::Lead(events));
                }
                (OnFull::Wait, Some(waker)) => {
                    state.room_wakers.push(waker.clone());
                    return Err(NoRoom::Later(events));
                }
                // Bounded events may fill the queue with nobody on the way.
                (OnFull::Wait, None) if !state.led => {
                    state.led = true;
                    return Err(NoRoom::Lead(events));
                }
                (OnFull::Wait, None) => {
                    state.room_waiters += 1;
                    state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.room_waiters -= 1;
                }
            }
        }
        let at = state.pending.len();
        if events.iter().any(|e| e.start.is_bounded()) {
            state.oldest_bounded.get_or_insert_with(Instant::now);
        }
        state.pending.extend(events);
        state.bytes += bytes;
        let leads = !state.led && !lead_later;
        state.led |= leads;
        Ok(Ticket { cell: Arc::clone(&state.cell), at, leads })
    }

    /// Takes everything that waits. `last`: the leader will not come again, so whoever pushes next leads.
    pub(crate) fn drain(&self, last: bool) -> (Vec<Prepared>, Arc<Cell>) {
        let mut state = lock(&self.state);
        let pending = std::mem::take(&mut state.pending);
        let cell = std::mem::take(&mut state.cell);
        state.bytes = 0;
        state.oldest_bounded = None;
        if last {
            state.led = false;
        }
        let wakers = std::mem::take(&mut state.room_wakers);
        let waiters = state.room_waiters;
        drop(state);
        if !pending.is_empty() {
            // Waking asks the kernel, also where nobody waits.
            if waiters > 0 {
                self.room.notify_all();
            }
            wakers.into_iter().for_each(Waker::wake);
        }
        (pending, cell)
    }

    /// Becomes the leader if there is work and nobody leads.
    pub(crate) fn claim_lead(&self) -> bool {
        let mut state = lock(&self.state);
        let free = !state.led && !state.pending.is_empty();
        state.led |= free;
        free
    }

    /// Whether the leader has more to do. Where nothing waits it leads no longer, and whoever pushes next does.
    pub(crate) fn goes_on(&self) -> bool {
        let mut state = lock(&self.state);
        if state.pending.is_empty() {
            state.led = false;
        }
        state.led
    }

    /// Whether nothing waits and nobody is on the way to drain.
    pub(crate) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.pending.is_empty() && !state.led
    }

    /// How long the oldest bounded event has been waiting.
    pub(crate) fn bounded_for(&self) -> Option<Duration> {
        lock(&self.state).oldest_bounded.map(|since| since.elapsed())
    }

    /// Refuses everything from now on. What is queued is still drained.
    pub(crate) fn close(&self, why: AppendError) {
        let mut state = lock(&self.state);
        state.closed.get_or_insert(why);
        let wakers = std::mem::take(&mut state.room_wakers);
        drop(state);
        self.room.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
