//! What a request would rather have: when it is answered, and which trace it belongs to.
//!
//! `Prefer` (RFC 7240) chooses the acknowledgement: `durable` is what every answer is, `anchored` waits for a checkpoint and brings the proof, `bounded` is answered before the event is durable.
//! What was done is in `Preference-Applied`; a preference that is not known or cannot be honoured is passed over, as the RFC has it, and the event is durable when it is answered.
//!
//! `traceparent` (W3C Trace Context) comes back in the answer.

use hyper::HeaderMap;
pub(crate) use indelible_middleware::request_id::Trace;

/// When an event is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    /// When it is durable.
    Durable,
    /// When a checkpoint covers it.
    Anchored,
    /// At once: it will be durable within the log's bound.
    Bounded,
}

impl Acknowledge {
    /// Its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Anchored => "anchored",
            Self::Bounded => "bounded",
        }
    }
}

/// The first preference that is one of ours.
pub(crate) fn acknowledge(headers: &HeaderMap) -> Option<Acknowledge> {
    let all = [Acknowledge::Durable, Acknowledge::Anchored, Acknowledge::Bounded];
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut names =
        values.flat_map(|value| value.split(',')).map(|part| part.split(';').next().unwrap_or_default().trim());
    names.find_map(|name| all.into_iter().find(|known| name.eq_ignore_ascii_case(known.name())))
}

/// The member that an event without a context gets.
pub(crate) fn context(trace: &Trace) -> String {
    format!(r#""context":{{"span_id":"{}","trace_id":"{}"}}"#, trace.span_id, trace.trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_first_preference_that_is_known_counts() {
        let rows: [(&[&str], Option<Acknowledge>); 7] = [
            (&[], None),
            (&["anchored"], Some(Acknowledge::Anchored)),
            (&["respond-async, wait=10", "Bounded; x=1, durable"], Some(Acknowledge::Bounded)),
            (&["durable,anchored"], Some(Acknowledge::Durable)),
            (&["return=minimal"], None),
            (&["anchored=1"], None),
            (&[",;,"], None),
        ];
        for (values, expected) in rows {
            assert_eq!(acknowledge(&headers("prefer", values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_trace_is_a_member_of_an_event() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::of(&headers("traceparent", &[parent])).unwrap();
        let member = r#""context":{"span_id":"b7ad6b7169203331","trace_id":"0af7651916cd43dd8448eb211c80319c"}"#;
        assert_eq!(context(&trace), member);
    }
}
