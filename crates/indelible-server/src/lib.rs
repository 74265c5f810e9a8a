//! Many logs over HTTPS: record, read, prove and verify, by API keys that are themselves on record.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | starting, accepting connections, stopping |
//! | [`routes`] | the one table: what can be asked for, and by whom |
//! | [`access`] | verbs, roles, names of logs |
//! | [`identity`] | API keys, as the server's own log says that they are |
//! | [`config`] | what a server is told, and its limits |
//! | [`problem`] | what is said where something did not go well |
//! | [`openapi`] | the interface as a document, from the table |
//! | [`tls`] | the certificate |
//! | [`error`] | why a server did not start |
//! | `request` | one request: who asks, may they, what comes back |
//! | `events`, `reading`, `signed`, `tailing`, `exporting`, `verifying`, `managing` | what the operations do |
//! | `streaming` | answers that are made while they are sent |
//! | `logs` | the logs that are open |
//! | `locks`, `reads` | what the own log says beside keys: logs that take no events, and who read what |
//! | `health` | how a log is: what is signed, what is not yet, when it was verified |
//! | `guard`, `metrics`, `body`, `coding`, `prefer` | rates and delays, counters, bodies in, compressed ones, what is preferred |
//! | `answer`, `timed`, `descriptors` | answers out, stalled writes, file handles |
//!
//! Storage calls block, and run on threads of their own; what serves connections never waits for a disk.

pub mod access;
mod answer;
#[cfg(feature = "bench")]
pub mod bare;
mod body;
mod coding;
pub mod config;
mod descriptors;
pub mod error;
mod events;
mod exporting;
mod guard;
mod health;
pub mod identity;
mod locks;
mod logs;
mod managing;
mod metrics;
pub mod openapi;
mod prefer;
pub mod problem;
mod reading;
mod reads;
mod request;
pub mod routes;
pub mod server;
mod signed;
mod streaming;
mod tailing;
mod timed;
pub mod tls;
mod verifying;

pub use config::Config;
pub use error::ServerError;
pub use server::{Server, Started};
