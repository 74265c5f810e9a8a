//! Why a command did not come to its end, and what `main` makes of it: one line and an exit code.

use std::{error::Error, io, path::Path};

use indelible::{LogError, StoreError};

use crate::exit;

/// A command ended early.
pub(crate) enum Failure {
    /// Whoever read our output has gone. Nothing is said.
    ClosedPipe,
    /// What was asked for cannot be meant.
    Usage(String),
    /// It was tried and did not work.
    Error(Box<dyn Error + Send + Sync>),
    /// The same, and it is evidence: the exit code says which verdict.
    Evidence(u8, Box<dyn Error + Send + Sync>),
}

/// A step of a command that the file system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{place}`")]
struct Step {
    step: &'static str,
    place: String,
    #[source]
    source: io::Error,
}

impl Failure {
    /// Wraps an I/O error with its step and place.
    pub(crate) fn io(step: &'static str, place: &Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.display().to_string();
        move |source| Self::Error(Box::new(Step { step, place, source }))
    }

    /// A failure in words.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Error(text.into().into())
    }

    /// What a command of its own kind of error ended with; output that nobody reads any more is no failure.
    pub(crate) fn any(error: anyhow::Error) -> Self {
        let closed = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if closed { Self::ClosedPipe } else { Self::Error(error.into()) }
    }

    /// Whether it is that another process has the log open for writing.
    pub(crate) fn is_in_use(&self) -> bool {
        let Self::Error(error) = self else { return false };
        matches!(error.downcast_ref::<LogError>(), Some(LogError::Store(StoreError::InUse { .. })))
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::ClosedPipe => exit::OK,
            Self::Usage(_) => exit::USAGE,
            Self::Error(_) => exit::COULD_NOT,
            Self::Evidence(code, _) => *code,
        }
    }

    /// The line for people; `None` where nothing is to be said.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::ClosedPipe => None,
            Self::Usage(text) => Some(text.clone()),
            Self::Error(error) | Self::Evidence(_, error) => Some(indelible::error::chain(&**error)),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_the_whole_chain() {
        let failure = Failure::io("read", Path::new("/x"))(io::Error::other("broken"));
        assert_eq!(failure.message().unwrap(), "cannot read `/x`: broken");
        assert_eq!(failure.code(), exit::COULD_NOT);
        assert_eq!(Failure::ClosedPipe.message(), None);
    }
}
