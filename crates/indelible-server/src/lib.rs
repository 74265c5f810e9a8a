//! Many logs over HTTPS: record, read, prove and verify, by API keys that are themselves on record.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | starting, stopping |
//! | [`routes`] | the one table: what can be asked for, and by whom |
//! | [`access`] | verbs, roles, names of logs |
//! | [`identity`] | API keys, as the server's own log says that they are |
//! | [`lines`] | whose a key is, and what of room and rate keys share |
//! | [`config`], [`layers`] | what a server is told, and its limits; what is in force, and who said it |
//! | [`problem`] | what is said where something did not go well |
//! | [`openapi`], `schemas`, `responses` | the interface as a document, from the table |
//! | [`browse`] | a page that shows it |
//! | [`shortcuts`] | small bodies for the common kinds of events |
//! | [`tls`], `certificates` | the certificate, and taking up another |
//! | [`clients`], [`binding`] | certificates of clients, and what a key is bound to |
//! | [`network`] | addresses that are let in, proxies that are believed |
//! | `signals` | what the system asks of the process |
//! | [`error`] | why a server did not start |
//! | `connections`, `seats`, `flow`, `framing`, `timed`, `descriptors` | connections of both versions of HTTP, what of them is not taken, heads with two framings, stalled writes, file handles |
//! | `request`, `form`, `refusing` | one request: is it in order, who asks, may they, what comes back |
//! | `events`, `reading`, `signed`, `tailing`, `exporting`, `verifying`, `managing` | what the operations do |
//! | `streaming` | answers that are made while they are sent |
//! | `logs` | the logs that are open |
//! | `locks`, `reads` | what the own log says beside keys: logs that take no events, and who read what |
//! | `health`, `readiness` | how a log is: what is signed, what is not yet, when it was verified; whether the server is ready |
//! | `shares` | how much of the budget of bodies is whose, and how slow a body may come |
//! | `guard`, `metrics`, `body`, `coding`, `prefer` | rates and delays, counters, bodies in, compressed ones, what is preferred |
//! | `answer`, `encoding`, `etag` | answers out, compressed ones, what is known already |
//!
//! Storage calls block, and run on threads of their own; what serves connections never waits for a disk.

pub mod access;
mod answer;
mod aside;
#[cfg(feature = "bench")]
pub mod bare;
pub mod binding;
mod body;
pub mod browse;
mod certificates;
pub mod clients;
mod coding;
pub mod config;
mod connections;
mod descriptors;
#[cfg(any(test, feature = "fuzz"))]
pub mod door;
mod encoding;
pub mod error;
mod etag;
mod events;
mod exporting;
mod flow;
mod form;
mod framing;
mod guard;
mod health;
pub mod identity;
pub mod layers;
pub mod lines;
mod locks;
mod logs;
mod managing;
mod metrics;
pub mod network;
pub mod openapi;
mod prefer;
pub mod problem;
mod readiness;
mod reading;
mod reads;
mod refusing;
mod request;
mod responses;
pub mod routes;
mod schemas;
mod seats;
pub mod server;
mod shares;
pub mod shortcuts;
mod signals;
mod signed;
mod streaming;
mod tailing;
mod timed;
pub mod tls;
mod verifying;

pub use config::Config;
pub use error::ServerError;
pub use server::{Server, Started};
