//! Who is connected, and who is asked to leave where there is hardly room for others.
//!
//! A client may keep a connection for as long as it asks for something now and then, which costs it nothing: with a request in eight seconds from a few addresses somebody could hold
//! all places for ever. So where few are left, room is made for each that comes: whoever has asked for nothing the longest is asked to leave, or, where everybody is busy, who
//! has been here the longest. Nobody is cut off in the middle: what was asked is answered first (`Connection: close`, over HTTP/2 GOAWAY).

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// One place in so many is kept free: of 1024, sixteen.
const KEPT_FREE: usize = 64;
/// Whoever asked a moment ago is about to ask again.
const LINGER: Duration = Duration::from_secs(1);
/// So long everybody may stay who is busy.
const LIFE: Duration = Duration::from_secs(60);

/// All connections. No more rows than `limits.connections`.
pub(crate) struct Seats {
    few: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// One connection.
pub(crate) struct Seat {
    number: u64,
    since: Instant,
    work: Mutex<Work>,
    asked: AtomicBool,
    leave: Notify,
}

struct Work {
    open: usize,
    /// Since when nothing is open.
    idle: Instant,
}

impl Seats {
    pub(crate) fn new(connections: usize) -> Self {
        Self { few: (connections / KEPT_FREE).max(1), taken: Mutex::default() }
    }

    /// A connection has come.
    pub(crate) fn enter(&self, now: Instant) -> Arc<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.next;
        taken.next += 1;
        let work = Mutex::new(Work { open: 0, idle: now });
        let seat = Seat { number, since: now, work, asked: AtomicBool::new(false), leave: Notify::new() };
        let seat = Arc::new(seat);
        taken.seats.insert(number, Arc::clone(&seat));
        seat
    }

    /// It has gone.
    pub(crate) fn leave(&self, seat: &Seat) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).seats.remove(&seat.number);
    }

    /// Asks somebody to leave where so few places are left. Says whether it did.
    pub(crate) fn make_room(&self, free: usize, now: Instant) -> bool {
        if free >= self.few {
            return false;
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let staying = || taken.seats.values().filter(|seat| !seat.asked.load(Ordering::Acquire));
        let idle = staying().filter_map(|seat| Some((seat.idle_since()?, seat)));
        let longest = idle.min_by_key(|(since, _)| *since).filter(|(since, _)| passed(*since, now) >= LINGER);
        let oldest = || staying().next().filter(|seat| passed(seat.since, now) >= LIFE);
        let Some(seat) = longest.map(|(_, seat)| seat).or_else(oldest) else { return false };
        seat.asked.store(true, Ordering::Release);
        // Kept until it is heard: a handshake may still be under way.
        seat.leave.notify_one();
        true
    }
}

fn passed(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

impl Seat {
    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Option<Instant> {
        let work = self.work();
        (work.open == 0).then_some(work.idle)
    }

    /// Waits until it is asked to leave.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Working {
        self.work().open += 1;
        Working(Arc::clone(self))
    }
}

/// A request, until the body of its answer is given out.
pub(crate) struct Working(Arc<Seat>);

impl Working {
    /// The body of its answer.
    pub(crate) fn answer<B>(self, body: B) -> Answering<B> {
        Answering { body, _working: self }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut work = self.0.work();
        work.open -= 1;
        work.idle = Instant::now();
    }
}

/// A body whose connection is busy for as long as it is there.
pub(crate) struct Answering<B> {
    body: B,
    _working: Working,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_asked(seat: &Seat) -> bool {
        seat.asked.load(Ordering::Acquire)
    }

    #[test]
    fn whoever_asked_for_nothing_the_longest_leaves_first_and_only_where_few_places_are_left() {
        let (seats, start) = (Seats::new(1024), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (first, second, third) = (seats.enter(start), seats.enter(start), seats.enter(start));
        assert!(!seats.make_room(16, at(10)) && !is_asked(&first));
        // The first asks again, and so is idle since now and not since it came.
        drop(first.begin());
        assert!(seats.make_room(15, at(10)));
        assert_eq!([&first, &second, &third].map(|seat| is_asked(seat)), [false, true, false]);
        assert!(seats.make_room(15, at(10)) && is_asked(&third));
        seats.leave(&second);
        seats.leave(&third);
        assert!(!seats.make_room(0, start), "a moment ago is not long");
        assert!(seats.make_room(0, Instant::now() + LINGER) && is_asked(&first));
        assert!(!seats.make_room(0, at(100)), "everybody is asked once");
    }

    #[test]
    fn where_everybody_is_busy_who_has_been_here_the_longest_leaves() {
        let (seats, start) = (Seats::new(1), Instant::now());
        let (first, second) = (seats.enter(start), seats.enter(start));
        let working = [first.begin(), second.begin()];
        assert!(!seats.make_room(0, start + LIFE / 2));
        assert!(seats.make_room(0, start + LIFE) && is_asked(&first) && !is_asked(&second));
        drop(working);
    }
}
