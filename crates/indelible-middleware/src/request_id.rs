//! The name of a request, and the trace that it belongs to.
//!
//! An id is drawn here, since what a client sends could be chosen to look like another's. A host that has ids of its own puts a [`RequestId`] into the request's extensions before.

use aws_lc_rs::rand;
use http::{Extensions, HeaderMap};
use indelible_core::hex;

/// The header in which a request's id comes back.
pub(crate) const HEADER: http::HeaderName = http::HeaderName::from_static("x-request-id");

/// The id of a request, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    /// The id that a request has.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&str> {
        extensions.get::<Self>().map(|id| id.0.as_str())
    }

    /// The id that a request has, or a new one.
    pub(crate) fn ensure(extensions: &mut Extensions) -> String {
        if let Some(id) = Self::of(extensions) {
            return id.to_owned();
        }
        let mut bytes = [0; 16];
        // Without randomness the request has no name; it is served and recorded all the same.
        let id = rand::fill(&mut bytes).map_or_else(|_| String::new(), |()| hex::encode(&bytes));
        extensions.insert(Self(id.clone()));
        id
    }
}

/// Where in a trace a request stands (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The header as it came.
    pub parent: String,
    /// The trace.
    pub trace_id: String,
    /// The span of whoever asks.
    pub span_id: String,
}

impl Trace {
    /// What the headers say; `None` where they say nothing, or not in the form that is theirs: such a header is passed over.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let parent = value.to_str().ok()?;
        let mut parts = parent.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let some = |text: &str| text.bytes().any(|byte| byte != b'0');
        // Later versions may have more behind; the first has not, and `ff` is none.
        let good = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let ids = hex(trace_id, 32) && some(trace_id) && hex(span_id, 16) && some(span_id) && hex(flags, 2);
        let known = |text: &str| text.to_owned();
        (good && ids && parent.len() <= 256).then(|| Self {
            parent: known(parent),
            trace_id: known(trace_id),
            span_id: known(span_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_is_in_order_is_a_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::of(&headers(&[good])).unwrap();
        assert_eq!(
            (trace.parent.as_str(), trace.trace_id.as_str(), trace.span_id.as_str()),
            (good, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        );
        assert!(Trace::of(&headers(&[&format!("01{}-more", &good[2..])])).is_some());
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("00-", "ff-"),
            format!("{good}-more"),
            good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good.replace("b7ad", "\"}{\""),
            good[..good.len() - 1].to_owned(),
        ] {
            assert_eq!(Trace::of(&headers(&[&bad])), None, "{bad}");
        }
        assert_eq!(Trace::of(&headers(&[good, good])), None);
    }

    #[test]
    fn a_request_keeps_the_id_that_it_has() {
        let mut extensions = Extensions::new();
        let first = RequestId::ensure(&mut extensions);
        assert_eq!((first.len(), RequestId::ensure(&mut extensions)), (32, first.clone()));
        assert_ne!(RequestId::ensure(&mut Extensions::new()), first);
        extensions.insert(RequestId("mine".to_owned()));
        assert_eq!(RequestId::ensure(&mut extensions), "mine");
    }
}
