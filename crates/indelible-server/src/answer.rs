//! What goes back: status, headers, body.

use std::sync::LazyLock;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, VARY},
};
use indelible_middleware::SecurityHeaders;
use serde::Serialize;

use crate::{
    body::{Held, Room},
    encoding::{self, Encoding},
    etag,
    guard::Allowance,
    problem::Problem,
    streaming::Payload,
};

/// What no answer is without. Nothing here is for browsers to show, run or embed, but for the page that has a policy of its own.
static ALWAYS: LazyLock<SecurityHeaders> = LazyLock::new(SecurityHeaders::for_programs);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Room for the headers of nearly every answer: a map that grows hashes all of them again.
const HEADERS: usize = 24;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Payload,
}

/// Bytes that count against the budget of bodies, and a share of it, until they are sent.
struct Charged {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is answered has texts for names and no floats: it can always be written.
fn text_of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl Answer {
    /// Bytes of a media type.
    #[must_use]
    pub(crate) fn new(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status, headers, body: Payload::Whole(Full::new(body.into())) }
    }

    /// A JSON document.
    #[must_use]
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        Self::new(status, "application/json", text_of(value))
    }

    /// A JSON document that may be large: it holds a part of the budget until it is sent.
    #[must_use]
    pub(crate) fn json_charged(status: StatusCode, value: &impl Serialize, held: Held) -> Self {
        let body = Bytes::from_owner(Charged { bytes: text_of(value), _held: held });
        Self::new(status, "application/json", body)
    }

    /// JSON that is written already.
    #[must_use]
    pub(crate) fn written(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, "application/json", body)
    }

    /// Text.
    #[must_use]
    pub(crate) fn text(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, "text/plain; charset=utf-8", body)
    }

    /// Bytes that hold a part of the budget until they are sent.
    #[must_use]
    pub(crate) fn charged(media_type: &'static str, bytes: Vec<u8>, held: Held) -> Self {
        Self::new(StatusCode::OK, media_type, Bytes::from_owner(Charged { bytes, _held: held }))
    }

    /// What is made while it is sent.
    #[must_use]
    pub(crate) fn streamed(media_type: &'static str, body: Payload) -> Self {
        Self { body, ..Self::new(StatusCode::OK, media_type, Vec::new()) }
    }

    /// A problem.
    #[must_use]
    pub(crate) fn problem(problem: &Problem, request_id: &str) -> Self {
        let document = problem.document(request_id).to_string();
        let mut answer = Self::new(problem.kind().status(), "application/problem+json", document);
        if let Some(seconds) = problem.retry_after() {
            answer.headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = problem.allow() {
            answer = answer.with(ALLOW, allow);
        }
        if problem.kind().status() == StatusCode::UNAUTHORIZED {
            answer = answer.with(hyper::header::WWW_AUTHENTICATE, "Bearer");
        }
        answer
    }

    /// The same with a header. A value that cannot be one is left out.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same for caches: `max-age` and more.
    #[must_use]
    pub(crate) fn cached(self, how: &str) -> Self {
        self.with(CACHE_CONTROL, how)
    }

    /// The same compressed, where it is an answer as asked for, whole and long enough, and there is room.
    pub(crate) async fn coded(self, encoding: Encoding, room: Room<'_>) -> Self {
        let Self { status, headers, body } = self;
        let Payload::Whole(body) = body else { return Self { status, headers, body } };
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(never) => match never {},
        };
        let coded = if status.is_success() { encoding::encode(encoding, bytes.clone(), room).await } else { None };
        match coded {
            Some((bytes, held)) => {
                let body = Bytes::from_owner(Charged { bytes, _held: held });
                Self { status, headers, body: Payload::Whole(Full::new(body)) }.said_coded(encoding)
            }
            None => Self { status, headers, body: Payload::Whole(Full::new(bytes)) },
        }
    }

    /// Says that the body is compressed; what has a tag has another then.
    #[must_use]
    pub(crate) fn said_coded(self, encoding: Encoding) -> Self {
        let tag = self.headers.get(ETAG).and_then(|tag| etag::coded(tag.to_str().ok()?, encoding));
        let answer = self.with(CONTENT_ENCODING, encoding.name());
        match tag {
            Some(tag) => answer.with(ETAG, &tag),
            None => answer,
        }
    }

    /// The status.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole response, with what no answer is without.
    #[must_use]
    pub(crate) fn finish(self, request_id: &str, tls: bool, allowance: Option<Allowance>) -> Response<Payload> {
        let Self { status, mut headers, body } = self;
        headers.insert(VARY, HeaderValue::from_static("accept-encoding, authorization, sec-fetch-site"));
        ALWAYS.apply(&mut headers, tls);
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(allowance) = allowance {
            let Allowance { limit, remaining, reset, .. } = allowance;
            headers.insert(RATE_LIMIT, limit.into());
            headers.insert(RATE_REMAINING, remaining.into());
            headers.insert(RATE_RESET, reset.into());
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
