//! Whether a server, reached as it was, is safe to keep an audit log in: what it is, what the role may do there, whether the log's
//! guards are whole. It only asks; nothing is changed.
//!
//! What is unsafe is what lets entries be changed or lost without an error. A safe database is no proof, and an unsafe one is no
//! tampering: those are for verification.

mod guards;
mod replication;
mod role;
mod transport;

use std::{fmt, time::SystemTime};

use thiserror::Error;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

pub use guards::{
    Allows, Expected, ExpectedExpression, ExpectedFunction, ExpectedRight, ExpectedTrigger, GuardFault, GuardedTable,
    QUESTION,
};
pub use replication::{Replication, Standby};
pub use role::Role;

use crate::{config::Config, connect::Connected};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// To be known.
    Note,
    /// Entries can be changed, lost or overheard without an error.
    Unsafe,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unsafe => "UNSAFE",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `server`, `tls`, `role`, `guards`, `replication`.
    pub subject: &'static str,
    /// What was found.
    pub what: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, subject, what: what.into(), remedy: None }
    }

    fn note(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Note, subject, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn bad(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Unsafe, subject, what: what.into(), remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<7} {:<12} {}", self.severity.to_string(), self.subject, self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, ": {remedy}"))
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where, without a password.
    pub place: String,
    /// What was reached.
    pub connected: Connected,
    /// Who was let in.
    pub role: Role,
    /// Primary or standby, and who follows.
    pub replication: Replication,
    /// All findings: the order is that of the subjects.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of the findings.
    #[must_use]
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (PostgreSQL {})", self.place, self.connected.server_version)?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Why a server could not be looked at.
#[derive(Debug, Error)]
#[error("the server could not be asked about {about}: connect again, and look at the server's log")]
pub struct CheckError {
    about: &'static str,
    #[source]
    source: tokio_postgres::Error,
}

/// Looks at the server behind an open connection. `now` is held against the certificate.
///
/// # Errors
/// [`CheckError`] where it does not answer.
pub async fn check(
    client: &Client,
    config: &Config,
    connected: &Connected,
    expected: &Expected,
    now: SystemTime,
) -> Result<Report, CheckError> {
    let mut findings = transport::look(connected, now);
    let role = role::ask(client).await?;
    findings.extend(role.look());
    findings.extend(guards::look(client, &config.place(), &role, expected).await?);
    let replication = replication::ask(client).await?;
    findings.extend(replication.look());
    Ok(Report { place: config.place(), connected: connected.clone(), role, replication, findings })
}

/// By an unnamed statement, which connection poolers can pass on.
async fn ask(
    client: &Client,
    about: &'static str,
    question: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, CheckError> {
    client.query_typed(question, parameters).await.map_err(|source| CheckError { about, source })
}

/// The one row of a question that always has one.
async fn ask_one(client: &Client, about: &'static str, question: &str) -> Result<Row, CheckError> {
    client.query_typed_one(question, &[]).await.map_err(|source| CheckError { about, source })
}

/// A value of a row.
fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
    about: &'static str,
) -> Result<T, CheckError> {
    row.try_get(column).map_err(|source| CheckError { about, source })
}

/// `` `a`, `b` ``.
fn list<T: fmt::Display>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
