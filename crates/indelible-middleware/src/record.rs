//! Where events go.
//!
//! [`Recorder`] is the seam between a host's requests and a log. With the feature `log` (on by default) an `Arc<indelible::Log>` is one. A recorder over a server is a few lines around `indelible-client`; see `docs/middleware.md`.

use std::{error::Error, fmt, future::Future, pin::Pin};

use indelible_core::event::{Actor, Event, Kind, Severity};
use serde_json::json;

/// What a recording comes to.
pub type Recording = Pin<Box<dyn Future<Output = Result<(), RecordError>> + Send>>;

/// Records events.
///
/// An event counts as recorded when the future says so; where it fails the event may be there or not. Calls come from any thread, many at a time, and none of them may block. Futures run to their end unless
/// the runtime stops.
pub trait Recorder: Send + Sync + 'static {
    /// Records one event.
    fn record(&self, event: Event) -> Recording;

    /// Records that events were lost. By default this is an event of its own, `audit.gap`.
    fn gap(&self, gap: Gap) -> Recording {
        self.record(gap.event())
    }
}

/// Events that could not be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub count: u64,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why the first of them was not.
    pub reason: String,
}

impl Gap {
    /// The gap as an event.
    #[must_use]
    pub fn event(&self) -> Event {
        let actor = Actor::service("indelible-middleware");
        Event::new("audit.gap", actor)
            .kind(Kind::System)
            .severity(Severity::Error)
            .reason(self.reason.clone())
            .details(json!({ "count": self.count, "since": self.since }))
    }
}

/// Why an event was not recorded.
#[derive(Debug)]
pub struct RecordError(Box<dyn Error + Send + Sync>);

impl RecordError {
    /// An error of the recorder's own kind.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// What happened, with its causes.
    #[must_use]
    pub fn chain(&self) -> String {
        let (mut text, mut cause) = (self.0.to_string(), self.0.source());
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the event was not recorded")
    }
}

impl Error for RecordError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[cfg(feature = "log")]
mod log {
    use std::sync::Arc;

    use indelible::Log;

    use super::{Event, Gap, RecordError, Recorder, Recording};

    impl Recorder for Arc<Log> {
        fn record(&self, event: Event) -> Recording {
            let appending = self.append_async(&event.to_json());
            Box::pin(async move { appending.await.map(drop).map_err(RecordError::new) })
        }

        /// The log's own record of a gap, which no caller can write.
        fn gap(&self, gap: Gap) -> Recording {
            let log = Self::clone(self);
            // It waits for the disk, so it has a thread of its own.
            let recorded =
                tokio::task::spawn_blocking(move || log.record_gap(gap.count, &gap.reason, Some(&gap.since)));
            Box::pin(async move { recorded.await.map_err(RecordError::new)?.map(drop).map_err(RecordError::new) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn an_error_tells_its_causes_once_each() {
        let error = RecordError::new(Outer(std::fmt::Error));
        assert_eq!(error.chain(), format!("outer: {}", std::fmt::Error));
        assert_eq!(error.to_string(), "the event was not recorded");
    }

    #[test]
    fn a_gap_is_an_event_in_order() {
        let gap = Gap { count: 3, since: "2026-01-01T00:00:00.000000Z".to_owned(), reason: "full".to_owned() };
        let event = indelible_core::event::parse(&gap.event().to_json(), || "1".to_owned()).unwrap();
        assert!(std::str::from_utf8(event.bytes()).unwrap().contains("\"count\":3"));
    }
}
