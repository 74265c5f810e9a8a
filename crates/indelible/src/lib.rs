//! Indelible: an audit log that cannot be quietly changed.
//!
//! ```
//! use indelible::{Actor, Event, KeyRing, Log, Options, Target};
//! # let dir = tempfile::tempdir()?;
//! # let (log_path, keys_path) = (dir.path().join("log"), dir.path().join("keys"));
//! let keys = KeyRing::load_or_create(&keys_path)?;
//! let log = Log::create(&log_path, "example.com/audit", &keys, Options::default())?;
//! let receipt = log.append(&Event::data_access(
//!     Actor::user("mara"),
//!     "document.read",
//!     Target::new("document", "42"),
//! ))?;
//! assert_eq!(receipt.index.0, 1); // entry 0 says what the log is
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`Log`]: create, open, append, read, checkpoint, prove, close |
//! | [`verify`] | [`verify::verify`]: the verdict on a log, from its stored bytes |
//! | [`links`] | from the first public key of a log to the last, offline |
//! | [`bundle`] | proofs that leave the log: bundles and exports |
//! | [`location`] | where a log is, as people name it |
//! | [`together`] | events for several logs of one database, all or none |
//! | [`databases`] | one handle for each database that a process reaches |
//! | [`compromise`] | what rests on a stolen key, and second signatures |
//! | [`needed`] | which logs still sign with a checkpoint key |
//! | [`copy`] | a log moved between places |
//! | [`prune`] | bodies taken away by policy, on record |
//! | [`keeper`] | the thread that publishes checkpoints, for any number of logs |
//! | [`clock`] | clock and randomness, as parameters |
//!
//! The writing engine is in three parts that a caller does not see: `queue` (who leads), `sequencer` (a turn: index, chain, MAC)
//! and `publisher` (read back, extend the tree, sign, swap the head, show); `unnamed` is the kept checkpoint that the next entry names, `hold` who has a log beside its handles. `turn` is the sequencer's for stores that several processes write.

pub mod bundle;
pub mod clock;
pub mod compromise;
pub mod copy;
pub mod databases;
pub mod error;
pub mod keeper;
pub mod links;
pub mod location;
pub mod log;
pub mod manage;
pub mod needed;
pub mod options;
pub mod prune;
pub mod receipt;
pub mod together;
pub mod verify;

mod attachments;
mod hold;
pub(crate) mod keys;
mod making;
mod open;
mod publisher;
mod put_back;
mod queue;
mod sequencer;
mod turn;
mod unnamed;

pub use databases::Databases;
pub use error::{AppendError, LogError};
pub use indelible_core::{
    event::{Actor, Event, Kind, Outcome, Severity, Target},
    head::HeadRecord,
    history::KeyHistory,
    mac::LogId,
    note::VerifyingKey,
    time::Micros,
    tree::{LeafIndex, TreeHead},
};
pub use indelible_keys::KeyRing;
pub use indelible_store::{
    driver::Driver,
    heads::HeadStore,
    store::{Reader, StoreError},
};
pub use indelible_store_file::Settings;
pub use keeper::{Keeper, Setbacks};
pub use location::Location;
pub use log::{Bounded, Log, Stored};
pub use options::{OnFull, Options, Rotation};
pub use prune::Pruned;
pub use receipt::Receipt;
pub use together::TogetherError;
