//! What a request would rather have: when it is answered, and which trace it belongs to.
//!
//! `Prefer` (RFC 7240) chooses the acknowledgement: `durable` is what every answer is, `anchored` waits for a checkpoint and brings the proof, `bounded` is answered before the event is durable.
//! What was done is in `Preference-Applied`; a preference that is not known or cannot be honoured is passed over, as the RFC has it, and the event is durable when it is answered.
//!
//! `traceparent` (W3C Trace Context) comes back in the answer.

use hyper::HeaderMap;

use crate::shortcuts::Traced;

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

/// Where in a trace a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The header as it came.
    pub(crate) parent: String,
    trace_id: String,
    span_id: String,
}

impl Trace {
    /// What the headers say; `None` where they say nothing, or not in the form that is theirs: such a header is passed over.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
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

    /// The trace and the place in it.
    pub(crate) fn traced(&self) -> Traced<'_> {
        Traced { trace_id: &self.trace_id, span_id: &self.span_id }
    }

    /// The member that an event without a context gets.
    pub(crate) fn context(&self) -> String {
        format!(r#""context":{{"span_id":"{}","trace_id":"{}"}}"#, self.span_id, self.trace_id)
    }
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
    fn only_what_is_in_order_is_a_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::of(&headers("traceparent", &[good])).unwrap();
        let context = r#""context":{"span_id":"b7ad6b7169203331","trace_id":"0af7651916cd43dd8448eb211c80319c"}"#;
        assert_eq!((trace.parent.as_str(), trace.context().as_str()), (good, context));
        assert!(Trace::of(&headers("traceparent", &[&format!("01{}-more", &good[2..])])).is_some());
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
            assert_eq!(Trace::of(&headers("traceparent", &[&bad])), None, "{bad}");
        }
        assert_eq!(Trace::of(&headers("traceparent", &[good, good])), None);
    }
}
