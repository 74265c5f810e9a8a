//! A request's body on its way to the application, looked at.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::redact::Seen;

/// What was seen of a body, by whoever passes it on and by whoever tells.
pub(super) type Shared = Arc<Mutex<Seen>>;

pin_project! {
    /// A request's body that is looked at while the application reads it.
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        seen: Option<Shared>,
    }
}

impl<B> ObservedBody<B> {
    pub(super) fn new(inner: B, seen: Option<Shared>) -> Self {
        Self { inner, seen }
    }
}

impl<B> fmt::Debug for ObservedBody<B> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ObservedBody").field("observed", &self.seen.is_some()).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(context));
        if let Some(seen) = this.seen {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match &frame {
                Some(Ok(frame)) => {
                    seen.add(frame.data_ref().map_or(&[], |data| data));
                    if this.inner.is_end_stream() {
                        seen.end();
                    }
                }
                Some(Err(_)) => {}
                None => seen.end(),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
