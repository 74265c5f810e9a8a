//! The streams of one HTTP/2 connection: how many are being answered, and whether what was given out is taken.
//!
//! With HTTP/1.1 a client that takes nothing stops the socket, and a timer on writes lets it go. With HTTP/2 it can keep the socket moving and still take
//! nothing of an answer, send nothing at all, or ask and take back without end. So it is counted here: requests that are open, pieces of answers that were given
//! to the connection and not sent yet, requests that were taken back before they had an answer. [`Flow::verdict`] says what follows.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    Response,
    body::{Body, Frame, SizeHint},
    header::CONTENT_LENGTH,
};

/// An answer is given out in pieces of so many bytes, so that it is seen whether it is taken.
const PIECE: usize = 16 * 1024;
/// So many more requests may be taken back than are answered. A client that closes a page takes back a few; an attack (CVE-2023-44487) takes back all.
const MAX_TAKEN_BACK: u64 = 100;

/// What is known of a connection's streams.
pub(crate) struct Flow {
    state: Mutex<State>,
    answered: AtomicU64,
    taken_back: AtomicU64,
}

struct State {
    open: usize,
    /// Since when nothing is open.
    idle: Instant,
    next: u64,
    /// When each piece that is not sent yet was given out. Later ones have higher numbers.
    given: BTreeMap<u64, Instant>,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Good,
    /// Nothing was asked for too long.
    Idle,
    /// Something of an answer was not taken for too long.
    Deaf,
}

impl Flow {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        let state = State { open: 0, idle: now, next: 0, given: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state), answered: AtomicU64::new(0), taken_back: AtomicU64::new(0) })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Stream {
        self.with(|state| state.open += 1);
        Stream { flow: Arc::clone(self), answered: false }
    }

    /// How the connection stands.
    pub(crate) fn verdict(&self, now: Instant, idle: Duration, write: Duration) -> Verdict {
        self.with(|state| {
            let since = |then: Instant| now.saturating_duration_since(then);
            if state.given.first_key_value().is_some_and(|(_, given)| since(*given) >= write) {
                return Verdict::Deaf;
            }
            let is_idle = state.open == 0 && state.given.is_empty() && since(state.idle) >= idle;
            if is_idle { Verdict::Idle } else { Verdict::Good }
        })
    }

    /// Whether requests are taken back as nobody does who wants answers.
    pub(crate) fn is_abused(&self) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.taken_back.load(Ordering::Relaxed).saturating_sub(answered) > MAX_TAKEN_BACK
    }

    fn give(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let number = self.with(|state| {
            state.next += 1;
            state.given.insert(state.next, Instant::now());
            state.next
        });
        Bytes::from_owner(Piece { bytes, number, flow: Arc::clone(self) })
    }
}

/// An open request.
pub(crate) struct Stream {
    flow: Arc<Flow>,
    answered: bool,
}

impl Stream {
    /// It was no request: it counts as one that was taken back.
    pub(crate) fn refused(mut self) -> Self {
        self.answered = true;
        self.flow.taken_back.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// The body of its answer; it is open until that is gone.
    pub(crate) fn answer<B>(mut self, body: B) -> Watched<B> {
        if !std::mem::replace(&mut self.answered, true) {
            self.flow.answered.fetch_add(1, Ordering::Relaxed);
        }
        Watched { body, rest: Bytes::new(), hidden: false, stream: self }
    }

    /// The answer to `HEAD`: it says how long the body would be, and has none. In HTTP/1.1 the library sees to it.
    pub(crate) fn answer_head<B: Body>(self, mut response: Response<B>) -> Response<Watched<B>> {
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        response.map(|body| Watched { hidden: true, ..self.answer(body) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.answered {
            self.flow.taken_back.fetch_add(1, Ordering::Relaxed);
        }
        self.flow.with(|state| {
            state.open -= 1;
            state.idle = Instant::now();
        });
    }
}

/// A piece of an answer, until it is sent.
struct Piece {
    bytes: Bytes,
    number: u64,
    flow: Arc<Flow>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.flow.with(|state| {
            state.given.remove(&self.number);
            state.idle = Instant::now();
        });
    }
}

/// A body in pieces that are watched.
pub(crate) struct Watched<B> {
    body: B,
    rest: Bytes,
    /// It is not shown.
    hidden: bool,
    stream: Stream,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.hidden {
            return Poll::Ready(None);
        }
        while this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let most = PIECE.min(this.rest.len());
        let piece = this.rest.split_to(most);
        Poll::Ready(Some(Ok(Frame::data(this.stream.flow.give(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.hidden || (self.rest.is_empty() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.hidden {
            return SizeHint::with_exact(0);
        }
        let (held, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(held));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn next(body: &mut Watched<Full<Bytes>>) -> Option<Bytes> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => Some(frame.into_data().unwrap()),
            Poll::Ready(None) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_body_comes_in_pieces_and_is_whole() {
        let flow = Flow::new(Instant::now());
        let bytes: Vec<u8> = (0..PIECE * 2 + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut body = flow.begin().answer(Full::from(bytes.clone()));
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let first = next(&mut body).unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (PIECE, Some((PIECE + 5) as u64)));
        let all = [first, next(&mut body).unwrap(), next(&mut body).unwrap()].concat();
        assert!(all == bytes && body.is_end_stream() && next(&mut body).is_none());
    }

    #[test]
    fn what_is_not_taken_makes_a_connection_deaf_and_nothing_asked_makes_it_idle() {
        let start = Instant::now();
        let flow = Flow::new(start);
        let verdict =
            |seconds: u64| flow.verdict(Instant::now() + Duration::from_secs(seconds), 10 * SECOND, 20 * SECOND);
        assert_eq!((verdict(0), verdict(10)), (Verdict::Good, Verdict::Idle));
        let stream = flow.begin();
        assert_eq!(verdict(1000), Verdict::Good, "a request has limits of its own");
        let mut body = stream.answer(Full::from(vec![7; PIECE + 1]));
        assert_eq!(verdict(1000), Verdict::Good, "nothing was given out");
        let piece = next(&mut body).unwrap();
        assert_eq!((verdict(19), verdict(20)), (Verdict::Good, Verdict::Deaf));
        let part = piece.slice(0..1);
        drop(piece);
        assert_eq!(verdict(20), Verdict::Deaf, "a part of it is still there");
        drop(part);
        assert_eq!(verdict(20), Verdict::Good);
        drop(body);
        assert_eq!((verdict(9), verdict(10)), (Verdict::Good, Verdict::Idle));
    }

    #[test]
    fn whoever_takes_back_more_than_they_let_be_answered_is_seen() {
        let flow = Flow::new(Instant::now());
        for _ in 0..10 {
            drop(flow.begin().answer(Full::<bytes::Bytes>::from("x")));
        }
        for _ in 0..MAX_TAKEN_BACK + 10 {
            drop(flow.begin());
        }
        assert!(!flow.is_abused());
        drop(flow.begin());
        assert!(flow.is_abused());
    }
}
