//! One request, from its head to its record.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Either, Full};
use indelible_core::event::Event;
use tower_service::Service;

use super::{
    AuditLayer, Note, ObservedBody, Redaction, When,
    draft::{self, Draft, Ending, Open},
    redact::Seen,
};
use crate::{
    Answered,
    future::{Caught, ready},
    problem::{AnswerBody, Answering, Problem, passed},
    request_id::{self, RequestId},
};

/// The service of an [`AuditLayer`].
#[derive(Clone, Debug)]
pub struct Audited<S> {
    inner: S,
    layer: AuditLayer,
}

impl<S> Audited<S> {
    pub(super) fn new(inner: S, layer: AuditLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, Q, B> Service<Request<Q>> for Audited<S>
where
    S: Service<Request<ObservedBody<Q>>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body<Data = Bytes>,
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
        let id = RequestId::ensure(&mut parts.extensions);
        let rules = &self.layer.rules;
        if (rules.skips)(&parts) {
            let answer = self.inner.call(Request::from_parts(parts, ObservedBody::new(body, None)));
            return Box::pin(async move { answer.await.map(passed) });
        }
        // Before anything is done: what could not be recorded is not begun.
        let room = match rules.when {
            When::Beside => None,
            When::Before => match self.layer.journal.admit() {
                Ok(room) => Some(room),
                Err(_told_to_the_operator) => return ready(Ok(named(not_begun(&id), &id))),
            },
        };
        let seen = draft::seen(&parts, rules, body.is_end_stream());
        let open = Open::new(Draft::new(&parts, rules, seen.clone()), &self.layer.journal);
        let request = Request::from_parts(parts, ObservedBody::new(body, seen));
        // An application may panic before it has made its future.
        let work = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let layer = self.layer.clone();
        Box::pin(async move {
            let ended = match work {
                Ok(work) => Caught(Box::pin(work)).await,
                Err(panic) => Err(panic),
            };
            let (event, answer) = end(open, ended, &layer, &id).await;
            let answer = record(event, answer, &layer, &id).await;
            drop(room);
            answer.map(|response| named(response, &id))
        })
    }
}

type Answer<B, E> = Result<Response<AnswerBody<B>>, E>;

/// What is recorded of a request that has ended, and what is answered.
async fn end<B: Answering, E, P>(
    open: Open,
    ended: Result<Result<Response<B>, E>, P>,
    layer: &AuditLayer,
    id: &str,
) -> (Option<Event>, Answer<B, E>) {
    match ended {
        Ok(Ok(mut response)) => {
            let note = response.extensions_mut().remove::<Note>().unwrap_or_default();
            let status = response.status();
            let (response, seen) = look(response, layer.rules.answers.as_ref(), id).await;
            (open.finish(Ending::Answered(status), note, seen.as_ref()), Ok(response))
        }
        Ok(Err(error)) => (open.finish(Ending::Failed, Note::new(), None), Err(error)),
        Err(_panic) => {
            let text = "the application failed: the request may be done in part";
            let problem =
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "panicked", text).answering_id(Some(id.to_owned()));
            (open.finish(Ending::Panicked, Note::new(), None), Ok(problem.response()))
        }
    }
}

/// Records what is to be recorded, before the answer or beside it.
async fn record<B, E>(event: Option<Event>, answer: Answer<B, E>, layer: &AuditLayer, id: &str) -> Answer<B, E> {
    let Some(event) = event else { return answer };
    if layer.rules.when == When::Beside {
        layer.journal.beside(event);
        return answer;
    }
    match layer.journal.now(event).await {
        Ok(()) => answer,
        Err(_told_to_the_operator) => {
            let text = "what was asked for may be done, and could not be put on record: the answer is withheld";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-on-record", text);
            Ok(problem.after(1).answering_id(Some(id.to_owned())).response())
        }
    }
}

/// The answer to a request that finds no room.
fn not_begun<B: Answering>(id: &str) -> Response<AnswerBody<B>> {
    let text = "as many requests wait for their records as may: nothing was done";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-on-record", text);
    problem.after(1).answering_id(Some(id.to_owned())).response()
}

/// Takes in an answer's body where it is to be recorded, is small, and says so.
async fn look<B: Answering>(
    response: Response<B>,
    redaction: Option<&Redaction>,
    id: &str,
) -> (Response<AnswerBody<B>>, Option<Seen>) {
    let length = response.body().size_hint().exact();
    let Some(redaction) = redaction.filter(|redaction| length.is_some_and(|length| redaction.takes(length))) else {
        return (passed(response), None);
    };
    let mut seen = Seen::new(redaction, response.headers());
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        let text = "the answer broke off before it was sent";
        let problem =
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "broken-off", text).answering_id(Some(id.to_owned()));
        return (problem.response(), Some(seen));
    };
    let body = body.to_bytes();
    seen.add(&body);
    seen.end();
    (Response::from_parts(parts, Either::Right(Full::new(body))), Some(seen))
}

/// An answer with the name of its request, if it has none.
fn named<B>(mut response: Response<B>, id: &str) -> Response<B> {
    if let Ok(value) = HeaderValue::from_str(id)
        && !id.is_empty()
    {
        response.headers_mut().entry(request_id::HEADER).or_insert(value);
    }
    response
}
