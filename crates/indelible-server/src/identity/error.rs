//! Why a key was not made or changed, and what a caller and the operator are told of it.

use indelible::{AppendError, LogError};

use super::{MAX_KEYS, changing::MAX_NAME_CHARS};
use crate::{
    error::ServerError,
    lines::{KEYS_OF_ONE, MAX_LINE, OVERLAPPING, RESERVED},
};

/// Why nothing was changed, or not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No such key.
    #[error("there is no API key `{0}`")]
    Unknown(String),
    /// It is not in force any more.
    #[error("the API key `{0}` is not in force any more")]
    Ended(String),
    /// Too many.
    #[error(
        "there are as many API keys as there may be ({MAX_KEYS}, the last {RESERVED} for the operator's own keys to make): revoke some"
    )]
    TooMany,
    /// Too many that come from one key.
    #[error("{KEYS_OF_ONE} API keys in force come from the key `{0}`, and no more than that: revoke some of them")]
    Share(String),
    /// Too many of one key by rotation.
    #[error(
        "{OVERLAPPING} successors of the API key `{0}` are in force, and no more than that: revoke one, or wait until it ends"
    )]
    Overlapping(String),
    /// Too far from the operator.
    #[error(
        "the key that asks is the {MAX_LINE}th of a line that makes keys: have it made by one that is nearer to the operator"
    )]
    Line,
    /// A name that is none.
    #[error("`name` has to have 1 to {MAX_NAME_CHARS} characters, none of them a control character")]
    Name,
    /// A rate of 0 where the caller has one: it would be none.
    #[error("the key that asks has a rate, and cannot hand out a higher one")]
    Rate,
    /// The key that asks has ended since.
    #[error("the key that asks is not in force any more")]
    Asker,
    /// A key that is not of the asker's line is rotated, or one that it comes from ended.
    #[error("the API key `{0}` does not come from the one that asks: ask with one that it comes from")]
    NotYours(String),
    /// A key that may not do everything binds a certificate.
    #[error(
        "certificates are bound with a key that may do everything: ask the operator of the server to bind this one"
    )]
    Binds,
    /// A certificate that another key has.
    #[error("the API key `{0}` is bound to this certificate and in force: a certificate has one key at a time")]
    Bound(String),
    /// A key that is bound to a certificate is rotated to another one.
    #[error("the API key `{0}` is bound to a certificate: say in `certificate` to which one its successor is")]
    Certificate(String),
    /// The system has no randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// Not recorded.
    #[error("it could not be recorded")]
    Append(#[from] AppendError),
    /// Recorded, and no checkpoint covers it yet.
    #[error("it is recorded, but no checkpoint could be signed over it")]
    Checkpoint(#[source] LogError),
}

impl From<IdentityError> for crate::problem::Problem {
    fn from(error: IdentityError) -> Self {
        use crate::problem::Kind;
        match error {
            IdentityError::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            IdentityError::Ended(_)
            | IdentityError::Bound(_)
            | IdentityError::TooMany
            | IdentityError::Share(_)
            | IdentityError::Overlapping(_)
            | IdentityError::Line => Self::new(Kind::Conflict, error.to_string()),
            IdentityError::Name | IdentityError::Rate | IdentityError::Certificate(_) => Self::bad(error.to_string()),
            IdentityError::NotYours(_) | IdentityError::Binds => Self::new(Kind::Forbidden, error.to_string()),
            IdentityError::Asker => Self::new(Kind::Unauthorised, error.to_string()),
            IdentityError::Random => Self::internal(&error),
            IdentityError::Append(error) => error.into(),
            IdentityError::Checkpoint(error) => error.into(),
        }
    }
}

/// What the server's own log cannot say is told by [`LogError`].
impl From<IdentityError> for ServerError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Append(error) => error.into(),
            IdentityError::Checkpoint(error) => error.into(),
            other => LogError::Refused(other.to_string()).into(),
        }
    }
}
