//! Tower layers for programs that answer HTTP: who may ask, how often, how much and how long, what browsers are told, and a record of it in an audit log that cannot be quietly changed.
//!
//! ```no_run
//! # #[cfg(feature = "log")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use indelible::{KeyRing, Log, Options};
//! use indelible_middleware::{AuditLayer, Journal};
//!
//! let keys = KeyRing::load_or_create("keys".as_ref())?;
//! let log = Arc::new(Log::create("audit.log".as_ref(), "example.com/requests", &keys, Options::default())?);
//! let journal = Journal::new(log);
//! let app: axum::Router = axum::Router::new()
//!     .route("/", axum::routing::get(|| async { "hello" }))
//!     .layer(AuditLayer::before(&journal));
//! # drop(app);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "log"))]
//! # fn main() {}
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`audit`] | [`AuditLayer`]: each request as an event |
//! | [`rates`], [`buckets`], [`bucket`] | [`RateLayer`]: how often, by address, key and principal |
//! | [`clients`], [`network`] | [`AddressLayer`]: who is let in, and who is behind a proxy |
//! | [`limits`] | [`LimitLayer`]: how large, how long |
//! | [`headers`] | [`SecurityHeaders`]: what browsers are told |
//! | [`refusals`] | [`Refusals`]: what was refused, on record in a measure |
//! | [`journal`], [`record`] | the way to a log: [`Journal`], [`Recorder`] |
//! | [`request_id`] | names of requests, traces |
//!
//! The layers work over any body, stack in any order, and know nothing of sockets, routers and users: what they need to know of these they are told. They need a tokio runtime, for timers and for recording. What each of them does
//! not do is in `docs/middleware.md`.

pub mod audit;
pub mod bucket;
pub mod buckets;
mod cidr;
pub mod clients;
mod future;
mod gate;
pub mod headers;
pub mod journal;
pub mod limits;
pub mod network;
mod problem;
pub mod rates;
pub mod record;
pub mod refusals;
pub mod request_id;

pub use audit::{AuditLayer, Note, Redaction};
pub use bucket::Pace;
pub use clients::{AddressLayer, ClientAddress, Clients, Peer};
pub use future::Answered;
pub use gate::{Gate, Gated};
pub use headers::{Hsts, SecurityHeaders};
pub use indelible_core::event::{Actor, Event, Target};
pub use journal::Journal;
pub use limits::LimitLayer;
pub use network::{Cidr, Network};
pub use problem::{AnswerBody, Answering};
pub use rates::{RateLayer, Tier};
pub use record::{Gap, RecordError, Recorder, Recording};
pub use refusals::{Refusals, Refused};
pub use request_id::RequestId;

/// An error of anybody's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
