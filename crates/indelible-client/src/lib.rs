//! A client of `indelible serve`.
//!
//! What the server says is not believed: a receipt is held against what was sent, a checkpoint against the log's public key and against the one that was seen before, an entry
//! against the signed tree. What is not verified says so in its name or its documentation.
//!
//! | module | holds |
//! |---|---|
//! | [`address`] | the URL of a server, and of a log on it |
//! | [`settings`] | token, trust, retries, limits |
//! | [`client`] | the server as a whole: logs, API keys |
//! | [`log`] | one log: record, read, prove |
//! | [`follow`] | what is verified: checkpoints, consistency, receipts, entries |
//! | [`export`] | a range of entries with what proves it |
//! | [`memory`] | the newest checkpoint that was verified, kept in a file |
//! | [`event`] | an event with its id, before it is sent |
//! | [`wire`] | what answers hold |
//! | [`spool`] | events on disk while the server is away |
//! | [`recorder`] | records now, or spools and delivers later |
//! | [`blocking`] | the same for callers without a runtime |
//! | [`error`], [`problem`] | why something did not go well, and what to do |
//!
//! Inside: `batch` (many events in few requests), `transport` (connections), `tls`, `retry`, `tiles`.

pub mod address;
mod batch;
pub mod blocking;
pub mod client;
pub mod error;
pub mod event;
pub mod export;
pub mod follow;
pub mod log;
pub mod memory;
pub mod problem;
pub mod recorder;
mod retry;
pub mod settings;
pub mod spool;
mod tiles;
mod tls;
mod transport;
pub mod wire;

pub use address::{LogUrl, ServerUrl};
pub use client::Client;
pub use error::ClientError;
pub use event::Prepared;
pub use export::Export;
pub use follow::{FollowError, Followed};
pub use log::LogClient;
pub use memory::Memory;
pub use problem::Problem;
pub use recorder::{Recorded, Recorder};
pub use settings::{Limits, Retry, Settings, Token, Trust};
pub use spool::Spool;
