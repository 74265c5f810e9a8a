//! Why a request did not go well. What the server does that it must not is told apart: [`crate::FollowError`].

use std::sync::Arc;

use indelible_core::{event::EventError, tree::TreeSize};
use thiserror::Error;

use crate::{address::AddressError, problem::Problem};

/// What lies below.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a request did not go well.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A text that names no server or log.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// What a client was told cannot be used.
    #[error("`{place}`: {detail}")]
    Settings {
        /// The file, or what it is.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The event is not in order; nothing was sent.
    #[error("the event was refused before it was sent, at `{pointer}`", pointer = .0.pointer())]
    Event(#[source] Arc<EventError>),
    /// Nothing reached the server.
    #[error("`{server}` cannot be reached")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// Whoever answered is not the server that is trusted, or does not trust us; nothing was sent.
    #[error(
        "`{server}` did not prove to be the server that is trusted, or refused this client's certificate: compare --ca or --pin with what the server printed at its start"
    )]
    Untrusted {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The request went out and no answer came: it may have been done or not.
    #[error("`{server}` gave no answer: it may have been done or not; send the same again with the same ids")]
    NoAnswer {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is not what the interface says: it may have been done or not.
    #[error("`{server}` answered what is no answer to this: {detail}")]
    Answer {
        /// The server.
        server: String,
        /// What about it.
        detail: String,
    },
    /// No checkpoint covers what was asked for.
    #[error(
        "the newest checkpoint covers {size} entries: `from` ({from}) is at most `to` ({to}), and `to` at most that"
    )]
    Range {
        /// From where.
        from: u64,
        /// To where, not included.
        to: u64,
        /// How far the checkpoint is.
        size: TreeSize,
    },
    /// It was not sent, because what came before it could not be delivered.
    #[error("not sent, because what stands before it could not be delivered")]
    Held(#[source] Box<ClientError>),
}

impl ClientError {
    /// Whether the same, with the same ids, may go well later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } => true,
            Self::Refused(problem) => problem.is_passing(),
            Self::Held(before) => before.is_passing(),
            _ => false,
        }
    }

    /// Whether surely nothing came of the request.
    #[must_use]
    pub fn is_without_effect(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Answer { .. } => false,
            Self::Refused(problem) => problem.is_without_effect(),
            _ => true,
        }
    }

    /// The server's refusal.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether it is about the event alone, so that no other is kept by it.
    #[must_use]
    pub fn is_of_event(&self) -> bool {
        match self {
            Self::Event(_) => true,
            Self::Refused(problem) => matches!(problem.kind.as_str(), "event-refused" | "id-conflict" | "too-large"),
            _ => false,
        }
    }

    /// Whether the log has other content under the event's id.
    pub(crate) fn is_id_conflict(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.kind == "id-conflict")
    }
}
