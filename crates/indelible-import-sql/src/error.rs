//! What can go wrong between an old table and the log, and what to do about it.

use std::error::Error;

use indelible::{AppendError, LogError};
use indelible_import::MappingError;
use indelible_store::store::StoreError;
use thiserror::Error;

/// A step of an import or a reconciliation did not work. Rows that were recorded before stay recorded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// A text that names no table's place.
    #[error("`{0}` is no database: give `sqlite:FILE` or `postgres://USER@HOST/DATABASE`")]
    Place(String),
    /// The URL of a database cannot be read. It may hold a password, so it is not shown.
    #[error("the URL of the database cannot be read; it looks like `postgres://USER@HOST:5432/DATABASE`")]
    Url(#[source] Box<dyn Error + Send + Sync>),
    /// The database cannot be opened.
    #[error("cannot open `{place}`: {remedy}")]
    Open {
        /// The database, without a password.
        place: String,
        /// What to do.
        remedy: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database refused a step.
    #[error("cannot {step} in `{place}`")]
    Database {
        /// The step.
        step: &'static str,
        /// The database, without a password.
        place: String,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no such table.
    #[error("there is no table `{table}` in `{place}`; {known}")]
    NoTable {
        /// As it was named.
        table: String,
        /// The database, without a password.
        place: String,
        /// What tables there are.
        known: String,
    },
    /// Rows cannot be told apart.
    #[error("the table `{table}` cannot be imported: {why}; {remedy}")]
    NoKey {
        /// The table.
        table: String,
        /// What is missing.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// New rows cannot be told by the key.
    #[error(
        "the key of `{table}` does not grow with time, so new rows cannot be followed; import again from time to time instead"
    )]
    KeyDoesNotGrow {
        /// The table.
        table: String,
    },
    /// The table was imported before, under another key.
    #[error(
        "entry {index} is from this table under another key, `{found}`: give the mapping that key again, or another --source"
    )]
    OtherKey {
        /// The entry.
        index: u64,
        /// Its key.
        found: String,
    },
    /// The mapping does not fit the table.
    #[error("the mapping does not fit the table")]
    Mapping(#[from] MappingError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log's store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not known to be recorded, nor is what follows.
    #[error(
        "the row with the key {key} is not known to be recorded, nor is what follows; start the import again, it goes on where it stopped"
    )]
    Append {
        /// Its key.
        key: String,
        /// What the log said.
        #[source]
        source: Box<AppendError>,
    },
    /// Rows that were not recorded could not be kept.
    #[error("cannot write what was rejected")]
    Rejects(#[source] Box<dyn Error + Send + Sync>),
    /// The system gave no thread or no timer.
    #[error("cannot start what reads the database")]
    Runtime(#[source] std::io::Error),
}
