//! What went wrong on a connection, and what it means for the seam: told again later, evidence, or an operator's work.

use std::{fmt, time::Duration};

use indelible_postgres_connect::ConnectError;
use indelible_store::store::StoreError;
use tokio_postgres::error::SqlState;

/// A failed step on a connection.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server or the connection said it.
    Postgres(tokio_postgres::Error),
    /// No connection came about.
    Unreached(Box<ConnectError>),
    /// No answer came in time.
    Silence(Duration),
    /// Every connection was in use for so long.
    NoConnection(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(error) => match error.as_db_error() {
                Some(db) => {
                    write!(f, "{} ({})", db.message(), db.code().code())?;
                    db.hint().map_or(Ok(()), |hint| write!(f, "; {hint}"))
                }
                None => match std::error::Error::source(error) {
                    Some(source) => write!(f, "{error}: {source}"),
                    None => error.fmt(f),
                },
            },
            Self::Unreached(error) => {
                error.fmt(f)?;
                let mut source = std::error::Error::source(&**error);
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            Self::Silence(after) => write!(f, "the server did not answer within {} s", after.as_secs()),
            Self::NoConnection(after) => {
                write!(f, "no connection of the pool was free for {} s: allow more connections", after.as_secs())
            }
        }
    }
}

impl std::error::Error for Fault {}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// The first step of whoever looks for a log: reading the version of the schema.
pub(crate) const LOOK_FOR_SCHEMA: &str = "read the schema's version";

/// Classes and codes after which the same may go well soon: lost or refused connections, lack of resources, locks, timeouts, a standby that is being promoted.
const PASSING: [&str; 13] =
    ["08", "53", "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"];

impl Fault {
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Unreached(_) | Self::Silence(_) | Self::NoConnection(_) => None,
        }
    }

    /// Whether the server itself refused. Then the transaction is over, and not committed unless the statement was the COMMIT.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code().is_some()
    }

    /// Whether there is no such database, or no schema of ours in it: then no log is there either.
    fn is_nothing_there(&self) -> bool {
        match self {
            Self::Unreached(error) => matches!(**error, ConnectError::NoDatabase { .. }),
            _ => matches!(self.code().map(SqlState::code), Some("3F000" | "42P01")),
        }
    }

    /// Whether the same may go well soon.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Silence(_) | Self::NoConnection(_) => true,
            Self::Unreached(error) => error.is_transient(),
            Self::Postgres(error) => match error.code() {
                Some(code) => PASSING.iter().any(|passing| code.code().starts_with(passing)),
                // What the client makes wrong does not pass; a connection that could not be made or broke does.
                None => error.is_closed() || has_io_source(error),
            },
        }
    }

    /// As [`Fault::told`], for a step that is about one entry: that is where evidence lies.
    pub(crate) fn told_at(self, place: &str, step: &'static str, index: u64) -> StoreError {
        match self.told(place, step) {
            StoreError::Contradiction { detail, .. } => StoreError::Evidence { index, detail },
            told => told,
        }
    }

    /// As the seam says it, for a step that surely did not happen or that only read.
    pub(crate) fn told(self, place: &str, step: &'static str) -> StoreError {
        let place = place.to_owned();
        if self.is_passing() {
            return StoreError::TryAgain { place, why: format!("cannot {step}: {self}") };
        }
        let message = self.to_string();
        if step == LOOK_FOR_SCHEMA && self.is_nothing_there() {
            let remedy = if self.is_refusal() { ": run `indelible store migrate`, or correct the URL" } else { "" };
            return StoreError::NotALog { place, detail: format!("{message}{remedy}") };
        }
        if matches!(self, Self::Unreached(_)) {
            return StoreError::Unfit { place, detail: message };
        }
        match self.code().map(SqlState::code) {
            // `23505`: the row is there already, in a month where `append_commit` does not look.
            Some("IDE01" | "IDT01" | "23505") => StoreError::Contradiction { place, detail: message },
            Some("IDN01") => StoreError::NotALog { place, detail: message },
            Some("IDP01") => StoreError::NotPruned { place, detail: message },
            Some("IDX01") => StoreError::Exists { place },
            Some("42501") => {
                let detail = format!("{message}: this login lacks a right; {}", right_for(step, &message));
                StoreError::Unfit { place, detail }
            }
            Some("3F000" | "42P01" | "42883") => StoreError::Unfit {
                place,
                detail: format!("{message}: run `indelible store migrate`, or correct the name of the table"),
            },
            Some("28P01" | "28000" | "3D000") => {
                let detail =
                    format!("{message}: check user, password and database of the URL, and the server's pg_hba.conf");
                StoreError::Unfit { place, detail }
            }
            _ => StoreError::Database { step, place, source: Box::new(self) },
        }
    }
}

/// What gives the right that a step needs.
fn right_for(step: &str, message: &str) -> &'static str {
    if message.contains("set role") || message.contains("indelible_owner") {
        return "this acts as `indelible_owner`, which nobody logs in as: run it as a superuser";
    }
    match step {
        "take events from the outbox" | "empty the outbox" => "`indelible store grant relay LOGIN` gives it",
        "prune entries" => "`indelible store grant retention LOGIN` gives it",
        "install triggers" | "remove triggers" => {
            "triggers are put on a table by who owns it, with what `indelible store grant source LOGIN` gives"
        }
        "migrate the schema" | "grant a role" => {
            "this needs a login that may create roles and owns the database, or a superuser"
        }
        _ => "`indelible store grant writer|reader LOGIN` gives what appending or reading needs",
    }
}

fn has_io_source(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_names_the_one_role_that_has_it() {
        for (step, message, words) in [
            ("take events from the outbox", "permission denied for function outbox_take", "grant relay LOGIN"),
            ("prune entries", "permission denied for function prune", "grant retention LOGIN"),
            ("install triggers", "must be owner of table accounts", "who owns it"),
            ("clear the search rows", "permission denied to set role \"indelible_owner\"", "as a superuser"),
            ("read entries", "permission denied for table entries", "grant writer|reader LOGIN"),
        ] {
            let told = right_for(step, message);
            assert!(told.contains(words), "{step}: {told}");
        }
    }
}
