//! The futures of the layers.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// What a layer's service gives back: one allocation for each layer and request.
pub type Answered<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

/// An answer that is there already.
pub(crate) fn ready<R: Send + 'static, E: Send + 'static>(result: Result<R, E>) -> Answered<R, E> {
    Box::pin(std::future::ready(result))
}

/// A future whose panic is a result. What it held when it panicked is dropped and never looked at again.
pub(crate) struct Caught<F>(pub(crate) Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
