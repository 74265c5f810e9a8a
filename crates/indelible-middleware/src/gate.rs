//! The service of a layer that lets requests pass, or answers in the application's place.

use std::{
    fmt::Debug,
    ops::ControlFlow,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, request::Parts};
use tower_service::Service;

use crate::{
    Answered, future,
    problem::{AnswerBody, Answering, passed},
};

/// What decides over a request by its head alone.
pub trait Gate: Clone + Debug {
    /// What it still knows when the answer to a request that passed comes by.
    type Passed: Send + 'static;

    /// Lets a request pass, or answers it.
    fn admit<B>(&self, parts: &mut Parts) -> ControlFlow<Response<AnswerBody<B>>, Self::Passed>;

    /// Puts into an answer what is to be said of the request that passed.
    fn tell(passed: &Self::Passed, headers: &mut HeaderMap);
}

/// An application behind a gate.
#[derive(Clone, Debug)]
pub struct Gated<S, G> {
    inner: S,
    gate: G,
}

impl<S, G> Gated<S, G> {
    pub(crate) fn new(inner: S, gate: G) -> Self {
        Self { inner, gate }
    }
}

impl<S, G, Q, B> Service<Request<Q>> for Gated<S, G>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    G: Gate,
    B: Answering,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answered<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.gate.admit(&mut parts) {
            ControlFlow::Break(answer) => future::ready(Ok(answer)),
            ControlFlow::Continue(known) => {
                let answer = self.inner.call(Request::from_parts(parts, body));
                Box::pin(async move {
                    let mut response = answer.await.map(passed)?;
                    G::tell(&known, response.headers_mut());
                    Ok(response)
                })
            }
        }
    }
}
