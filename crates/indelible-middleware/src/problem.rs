//! What a layer answers in the application's place: problem details (RFC 9457).
//!
//! The `type` is `about:blank`, so `title` is the status' own phrase; `code` says which layer it was. Nothing of what the application or the log said
//! of an error is in it.

use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    request::Parts,
};
use http_body_util::{Either, Full};
use serde_json::json;

use crate::{BoxError, request_id::RequestId};

/// The body of an answer: the application's, or a layer's own.
pub type AnswerBody<B> = Either<B, Full<Bytes>>;

/// An application's answer, passed on.
pub(crate) fn passed<B>(response: Response<B>) -> Response<AnswerBody<B>> {
    response.map(Either::Left)
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    request_id: Option<String>,
    retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), request_id: None, retry_after: None }
    }

    /// The same with the request that it is the answer to.
    pub(crate) fn answering(mut self, parts: &Parts) -> Self {
        self.request_id = RequestId::of(&parts.extensions).map(str::to_owned);
        self
    }

    /// The same with the request that it is the answer to, where it is known.
    pub(crate) fn answering_id(self, request_id: Option<String>) -> Self {
        Self { request_id, ..self }
    }

    /// The same with the seconds after which it is of use to try again.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(crate) fn response<B>(&self) -> Response<AnswerBody<B>> {
        let mut document = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let (Some(id), Some(members)) = (&self.request_id, document.as_object_mut()) {
            members.insert("request_id".to_owned(), id.as_str().into());
        }
        let mut response = Response::new(Either::Right(Full::new(Bytes::from(document.to_string()))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What an answer's body has to be, for a layer to put its own in its place.
pub trait Answering: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> Answering for B where B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}
