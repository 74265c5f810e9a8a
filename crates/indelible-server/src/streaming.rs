//! Answers that are made while they are sent: bodies, their limits, and whoever fills them.
//!
//! A task of its own fills a stream and waits for its reader: at most one piece waits between them. Memory is `limits.streams` × 3 pieces (one that is made, one that waits, one that is
//! sent) of about [`PIECE_BYTES`] and half as much again for how they are written: 64 × 3 × 96 KiB, so 18 MiB at most; compressed, a coder of about a
//! mebibyte for each stream comes to that.
//!
//! - A stream whose reader takes nothing for `limits.write_ms` ends; so does one whose reader has gone. With HTTP/1.1 that shows only
//!   when something is written: a tail that has nothing to say finds it within two heartbeats.
//! - A stream that did not come to its end is broken off, in a way that HTTP shows: no reader takes a part for the whole.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    connections::Peer,
    encoding::{Coder, Encoding},
    identity::ApiKey,
    problem::{Kind, Problem},
    request::{self, Asked},
    server::Shared,
};

/// So much is read for a piece; one entry that is longer is a piece of its own.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// How often whoever fills a stream looks whether it is to go on.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it.
    Whole(Full<Bytes>),
    /// As it is made.
    Stream(Stream),
}

/// The reader's end of a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pieces: mpsc::Receiver<Bytes>,
    whole: Arc<AtomicBool>,
}

/// A stream ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub(crate) struct BrokenOff;

impl Body for Payload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Stream(stream) => stream.pieces.poll_recv(context).map(|piece| match piece {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None if stream.whole.load(Ordering::Acquire) => None,
                None => Some(Err(BrokenOff)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The streams of a server, counted.
pub(crate) struct Streams {
    all: Arc<Semaphore>,
    most: usize,
    /// By key, and by tenant ([`crate::lines`]).
    held: Mutex<(HashMap<String, usize>, HashMap<String, usize>)>,
    most_per_key: usize,
}

/// A stream's place among those of all, of its key and of its tenant.
struct Held {
    shared: Arc<Shared>,
    key: String,
    tenant: String,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// None, and so many at a time.
    #[must_use]
    pub(crate) fn new(most: usize, most_per_key: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), most, held: Mutex::default(), most_per_key }
    }

    /// The most of one tenant: half of all, so that whoever makes keys has not all of them, and what a key may have.
    fn most_per_tenant(&self) -> usize {
        (self.most / 2).max(self.most_per_key)
    }

    /// How many there are now.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.most.saturating_sub(self.all.available_permits())
    }
}

impl Held {
    fn take(shared: &Arc<Shared>, key: &ApiKey) -> Result<Self, Problem> {
        let streams = &shared.streams;
        let busy = |_| Problem::new(Kind::Busy, "the server has as many streams as it may").after(5);
        let permit = Arc::clone(&streams.all).try_acquire_owned().map_err(busy)?;
        let tenant = key.line.tenant();
        let mut held = streams.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (by_key, by_tenant) = &mut *held;
        if by_key.get(&key.id).is_some_and(|count| *count >= streams.most_per_key) {
            let text = format!("a key has at most {} streams at a time here: end one", streams.most_per_key);
            return Err(Problem::new(Kind::TooMany, text).after(5));
        }
        if by_tenant.get(tenant).is_some_and(|count| *count >= streams.most_per_tenant()) {
            let most = streams.most_per_tenant();
            let text = format!("the keys of one line have at most {most} streams at a time here: end one");
            return Err(Problem::new(Kind::TooMany, text).after(5));
        }
        *by_key.entry(key.id.clone()).or_default() += 1;
        *by_tenant.entry(tenant.to_owned()).or_default() += 1;
        drop(held);
        Ok(Self { shared: Arc::clone(shared), key: key.id.clone(), tenant: tenant.to_owned(), _permit: permit })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.shared.streams.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (by_key, by_tenant) = &mut *held;
        one_less(by_key, &self.key);
        one_less(by_tenant, &self.tenant);
    }
}

/// Whoever has none is forgotten.
fn one_less(counts: &mut HashMap<String, usize>, of: &str) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// Why a stream ends where whoever fills it would go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The reader has gone, or takes nothing.
    Gone,
    /// The key is not in force any more, or the certificate that it is known by is not trusted any more.
    KeyEnded,
    /// The server stops.
    Stopping,
}

impl Over {
    /// As a reader is told, where there is one.
    #[must_use]
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Gone => None,
            Self::KeyEnded => Some("key-ended"),
            Self::Stopping => Some("stopping"),
        }
    }
}

/// The end of a stream that is filled.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    key: Arc<ApiKey>,
    peer: Arc<Peer>,
    pieces: mpsc::Sender<Bytes>,
    whole: Arc<AtomicBool>,
    patience: Duration,
    /// What compresses the pieces; taken out while it does.
    coder: Mutex<Option<Coder>>,
    _held: Held,
}

/// Makes a stream for whoever asks, where there is room for one more.
///
/// # Errors
/// [`Kind::Busy`], [`Kind::TooMany`].
pub(crate) fn stream(asked: &Asked) -> Result<(Sink, Payload), Problem> {
    let (shared, key) = (Arc::clone(&asked.shared), Arc::clone(asked.key()?));
    let held = Held::take(&shared, &key)?;
    let (sender, pieces) = mpsc::channel(1);
    let whole = Arc::new(AtomicBool::new(false));
    let stream = Stream { pieces, whole: Arc::clone(&whole) };
    let peer = Arc::clone(&asked.peer);
    let patience = Duration::from_millis(shared.config.limits.write_ms);
    let coder = Mutex::default();
    Ok((Sink { shared, key, peer, pieces: sender, whole, patience, coder, _held: held }, Payload::Stream(stream)))
}

impl Sink {
    /// The same, whose pieces are compressed; and how they are.
    pub(crate) fn coded(self, encoding: Option<Encoding>) -> (Self, Option<Encoding>) {
        let coder = encoding.and_then(Coder::new);
        let encoding = encoding.filter(|_| coder.is_some());
        (Self { coder: Mutex::new(coder), ..self }, encoding)
    }

    /// Whether there is somebody to go on for, who still may.
    ///
    /// # Errors
    /// [`Over`].
    pub(crate) fn goes_on(&self) -> Result<(), Over> {
        if self.pieces.is_closed() {
            Err(Over::Gone)
        } else if !self.shared.serving.load(Ordering::Acquire) {
            Err(Over::Stopping)
        } else if request::is_still_good(&self.shared, &self.key, &self.peer) {
            Ok(())
        } else {
            Err(Over::KeyEnded)
        }
    }

    /// Hands a piece on, as soon as the one before was taken.
    ///
    /// # Errors
    /// [`Over`]: it was not handed on.
    pub(crate) async fn send(&self, piece: Vec<u8>) -> Result<(), Over> {
        let coder = self.coder.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut coder) = coder else { return self.hand_on(piece).await };
        // Compressing takes a while: not on threads that serve connections.
        let coded = tokio::task::spawn_blocking(move || coder.piece(&piece).map(|coded| (coded, coder)));
        let (coded, coder) = coded.await.ok().and_then(Result::ok).ok_or(Over::Gone)?;
        *self.coder.lock().unwrap_or_else(PoisonError::into_inner) = Some(coder);
        self.hand_on(coded).await
    }

    /// Ends the stream as one that is whole, when its reader has taken what stands at the end of compressed bytes.
    pub(crate) async fn finish(self) {
        let coder = self.coder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(coder) = coder {
            let Ok(last) = coder.finish() else { return };
            if self.hand_on(last).await.is_err() {
                return;
            }
        }
        self.end(None);
    }

    async fn hand_on(&self, piece: Vec<u8>) -> Result<(), Over> {
        let begun = Instant::now();
        loop {
            self.goes_on()?;
            match tokio::time::timeout(LOOK.min(self.patience), self.pieces.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(piece.into());
                    return Ok(());
                }
                Ok(Err(_)) => return Err(Over::Gone),
                Err(_) if begun.elapsed() >= self.patience => return Err(Over::Gone),
                Err(_) => {}
            }
        }
    }

    /// Ends the stream as one that is whole, with a last piece where there is room for it.
    pub(crate) fn end(self, last: Option<Vec<u8>>) {
        if let Some(last) = last {
            // A reader who has not taken the piece before reads from the end of the stream that there is no more.
            let _ = self.pieces.try_send(last.into());
        }
        self.whole.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn collected(whole: bool) -> Result<Bytes, BrokenOff> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (sender, pieces) = mpsc::channel(2);
            let whole = Arc::new(AtomicBool::new(whole));
            sender.try_send(Bytes::from_static(b"a")).unwrap();
            sender.try_send(Bytes::from_static(b"b")).unwrap();
            drop(sender);
            Ok(Payload::Stream(Stream { pieces, whole }).collect().await?.to_bytes())
        })
    }

    #[test]
    fn a_stream_that_did_not_come_to_its_end_is_no_answer() {
        assert_eq!(collected(true).unwrap(), Bytes::from_static(b"ab"));
        assert!(collected(false).is_err());
    }
}
