//! Why an event was refused, where, and what to do about it.

use crate::json::JsonError;

use super::MAX_EVENT_BYTES;

/// An event was refused. Nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The text is not JSON, or not JSON that can be kept exactly.
    #[error("the event is no strict JSON")]
    Json(#[source] JsonError),
    /// The text is JSON, but no object.
    #[error("an event is an object, not {found}: send `{{\"action\":…,\"actor\":…}}`")]
    NotAnObject {
        /// What it is.
        found: String,
    },
    /// A caller tried to write what only the log itself writes.
    #[error("`control` is no member of an event: only the log itself writes control records; send an `action`")]
    Control,
    /// A member that an event does not have.
    #[error("unknown member `{pointer}`: {}", meant(*.suggestion))]
    UnknownMember {
        /// Where, as an RFC 6901 pointer.
        pointer: String,
        /// The known member that is nearest, if one is near.
        suggestion: Option<&'static str>,
    },
    /// A member that an event must have.
    #[error("member `{pointer}` is missing: send {expected}")]
    Missing {
        /// Where it should be, as an RFC 6901 pointer.
        pointer: String,
        /// What it must be.
        expected: String,
    },
    /// A member is something else than it must be.
    #[error("`{pointer}` must be {expected}, not {found}")]
    Wrong {
        /// Where, as an RFC 6901 pointer.
        pointer: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The canonical form is too long.
    #[error("the event has {size} bytes of at most {MAX_EVENT_BYTES}: send what is large as an attachment")]
    TooLarge {
        /// The length of the canonical form.
        size: usize,
    },
}

impl EventError {
    /// Where the event is wrong, as an RFC 6901 pointer; empty for the whole event.
    #[must_use]
    pub fn pointer(&self) -> &str {
        match self {
            Self::Json(error) => &error.pointer,
            Self::UnknownMember { pointer, .. } | Self::Missing { pointer, .. } | Self::Wrong { pointer, .. } => {
                pointer
            }
            Self::Control => "/control",
            Self::NotAnObject { .. } | Self::TooLarge { .. } => "",
        }
    }
}

fn meant(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("did you mean `{name}`?"),
        None => "what an event has no member for goes into `details`".to_owned(),
    }
}
