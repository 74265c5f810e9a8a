//! How large and how slow a request may be.
//!
//! | what | answer |
//! |---|---|
//! | a body that says that it is larger | 413, before any of it is read |
//! | a body that turns out larger while it is read | 413, when the application has answered what it makes of the broken body |
//! | a body that keeps the application waiting | 408, in the same way |
//! | an application that does not answer in time | 503, or 504 where that is asked for; its future is dropped |
//!
//! Time is counted only while the application asks for a body that is not there: an application that reads slowly is not its client's fault. An answer that has begun is never cut: what is larger or slower then
//! breaks the body, and what becomes of the answer is the application's. How long a request's head may take is a matter of the connection, which layers do not see.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf as _;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep, timeout};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Answered, BoxError,
    clients::Clients,
    future,
    problem::{AnswerBody, Answering, Problem, passed},
    refusals::{Brief, Refusals, Refused},
};

/// What a body may have by default.
pub const DEFAULT_BODY_BYTES: u64 = 2 << 20;
/// How long a body may keep an application waiting by default, all waits together.
pub const DEFAULT_BODY_TIME: Duration = Duration::from_secs(30);
/// How long an application may take by default.
pub const DEFAULT_WORK_TIME: Duration = Duration::from_secs(60);

/// What an application that does not answer in time is said to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// 503: this is the server that does the work.
    #[default]
    Unavailable,
    /// 504: it is a gateway, and what is behind it does not answer.
    GatewayTimeout,
}

/// Holds requests against limits of size and time.
#[derive(Clone, Debug)]
pub struct LimitLayer {
    clients: Clients,
    body_bytes: u64,
    body_time: Duration,
    work_time: Duration,
    late: Late,
    refusals: Option<Refusals>,
}

impl Default for LimitLayer {
    fn default() -> Self {
        Self {
            clients: Clients::default(),
            body_bytes: DEFAULT_BODY_BYTES,
            body_time: DEFAULT_BODY_TIME,
            work_time: DEFAULT_WORK_TIME,
            late: Late::default(),
            refusals: None,
        }
    }
}

impl LimitLayer {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes a body may have.
    #[must_use]
    pub fn body_bytes(self, most: u64) -> Self {
        Self { body_bytes: most, ..self }
    }

    /// How long a body may keep the application waiting, all waits together.
    #[must_use]
    pub fn body_time(self, most: Duration) -> Self {
        Self { body_time: most, ..self }
    }

    /// How long the application may take until it answers, with what it waits for the body.
    #[must_use]
    pub fn work_time(self, most: Duration) -> Self {
        Self { work_time: most, ..self }
    }

    /// What is answered where it takes longer.
    #[must_use]
    pub fn late(self, late: Late) -> Self {
        Self { late, ..self }
    }

    /// Puts refusals on record, by the address of the client.
    #[must_use]
    pub fn refusals(self, refusals: Refusals, clients: Clients) -> Self {
        Self { refusals: Some(refusals), clients, ..self }
    }

    fn problem(&self, broken: Broken) -> Problem {
        let most = self.body_bytes;
        match broken {
            Broken::TooLarge => {
                let text = format!("the body has more than {most} bytes");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", text)
            }
            Broken::TooSlow => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                "the body did not come in the time that it has",
            ),
        }
    }

    /// Refuses a body, on record where that is asked for.
    fn refuse<B>(&self, broken: Broken, address: Option<IpAddr>, brief: Brief) -> Response<AnswerBody<B>> {
        if let Some(refusals) = &self.refusals {
            refusals.note_brief(broken.refused(), address, &brief);
        }
        self.problem(broken).answering_id(brief.request_id).response()
    }

    fn late_problem(&self) -> Problem {
        let status = match self.late {
            Late::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Late::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        };
        Problem::new(status, "too-late", "there was no answer in time: what was asked for may be done or not").after(1)
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Limits<S> {
        Limits { inner, layer: self.clone() }
    }
}

/// The service of a [`LimitLayer`].
#[derive(Clone, Debug)]
pub struct Limits<S> {
    inner: S,
    layer: LimitLayer,
}

impl<S, Q, B> Service<Request<Q>> for Limits<S>
where
    S: Service<Request<LimitedBody<Q>>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body,
    B: Answering,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answered<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let layer = self.layer.clone();
        let brief = Brief::of(&parts);
        let address = layer.refusals.as_ref().and_then(|_| layer.clients.of(&parts).ok());
        if announced(&parts.headers).is_some_and(|length| length > layer.body_bytes)
            || body.size_hint().lower() > layer.body_bytes
        {
            return future::ready(Ok(layer.refuse(Broken::TooLarge, address, brief)));
        }
        let state = Arc::new(AtomicU8::new(WHOLE));
        let body = LimitedBody::new(body, layer.body_bytes, layer.body_time, Arc::clone(&state));
        let work = self.inner.call(Request::from_parts(parts, body));
        Box::pin(async move {
            let answered = timeout(layer.work_time, work).await;
            match (answered, Broken::of(state.load(Ordering::Acquire))) {
                (_, Some(broken)) => Ok(layer.refuse(broken, address, brief)),
                (Ok(answered), None) => answered.map(passed),
                (Err(_), None) => Ok(layer.late_problem().answering_id(brief.request_id).response()),
            }
        })
    }
}

/// The length that the head names; a transfer coding makes it meaningless, and hyper refuses both together.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

const WHOLE: u8 = 0;
const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;

/// Why a body was broken off. It is the error that the application gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It has more bytes than it may have.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// It did not come in time.
    #[error("the body did not come in time")]
    TooSlow,
}

impl Broken {
    fn of(state: u8) -> Option<Self> {
        match state {
            TOO_LARGE => Some(Self::TooLarge),
            TOO_SLOW => Some(Self::TooSlow),
            _ => None,
        }
    }

    fn refused(self) -> Refused {
        match self {
            Self::TooLarge => Refused::Size,
            Self::TooSlow => Refused::Slow,
        }
    }
}

pin_project! {
    /// A request's body that ends with an error where it is too large or too slow.
    pub struct LimitedBody<B> {
        #[pin]
        inner: B,
        left: u64,
        patience: Duration,
        waiting: Option<Waiting>,
        state: Arc<AtomicU8>,
    }
}

/// A wait for a body: since when, and until when.
struct Waiting {
    since: tokio::time::Instant,
    until: Pin<Box<Sleep>>,
}

impl<B> LimitedBody<B> {
    fn new(inner: B, left: u64, patience: Duration, state: Arc<AtomicU8>) -> Self {
        Self { inner, left, patience, waiting: None, state }
    }
}

impl<B> fmt::Debug for LimitedBody<B> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("LimitedBody").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<B: Body<Error: Into<BoxError>>> Body for LimitedBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if let Some(broken) = Broken::of(this.state.load(Ordering::Acquire)) {
            return Poll::Ready(Some(Err(Box::new(broken))));
        }
        let Poll::Ready(frame) = this.inner.poll_frame(context) else {
            let patience = *this.patience;
            let waiting = this.waiting.get_or_insert_with(|| Waiting {
                since: tokio::time::Instant::now(),
                until: Box::pin(sleep(patience)),
            });
            ready!(waiting.until.as_mut().poll(context));
            this.state.store(TOO_SLOW, Ordering::Release);
            return Poll::Ready(Some(Err(Box::new(Broken::TooSlow))));
        };
        if let Some(waited) = this.waiting.take() {
            *this.patience = this.patience.saturating_sub(waited.since.elapsed());
        }
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let length = frame.data_ref().map_or(0, |data| u64::try_from(data.remaining()).unwrap_or(u64::MAX));
        match this.left.checked_sub(length) {
            Some(left) => *this.left = left,
            None => {
                this.state.store(TOO_LARGE, Ordering::Release);
                return Poll::Ready(Some(Err(Box::new(Broken::TooLarge))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits() {
        for (text, expected) in [("7", Some(7)), ("", None), ("-1", None), ("many", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, text.parse().unwrap());
            assert_eq!(announced(&headers), expected, "{text}");
        }
        assert_eq!(announced(&HeaderMap::new()), None);
    }

    #[test]
    fn states_are_what_they_say() {
        assert_eq!((Broken::of(WHOLE), Broken::of(TOO_LARGE)), (None, Some(Broken::TooLarge)));
        assert_eq!(Broken::of(TOO_SLOW).map(Broken::refused), Some(Refused::Slow));
    }
}
