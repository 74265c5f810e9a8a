//! Foreign audit records as events of an Indelible log.
//!
//! One record is read at a time, from a stream of any length, and becomes the JSON text of one event; the log then checks
//! that text as it checks every other. Nothing here writes to a log. The record itself is kept whole in `details`, with the
//! spelling of its numbers untouched, so that what the log cannot represent is refused by the log and not silently bent.
//!
//! Event ids derive from the record alone: a record that is delivered twice gives the same id twice.
//!
//! | module | holds |
//! |---|---|
//! | [`samples`] | a made-up week of a small company |
//!
//! ```
//! use indelible_import::{Format, records};
//!
//! let line = r#"{"action":"door.open","actor":{"type":"user","id":"ada"}}"#;
//! for record in records(Format::Jsonl, None, line.as_bytes())? {
//!     assert_eq!(record?.event, line.as_bytes());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cloudtrail;
mod error;
mod event;
mod frame;
mod input;
mod k8s;
mod mapping;
mod members;
mod propose;
mod records;
mod row;
pub mod samples;
mod signed;
mod table;
mod template;
mod times;

pub use error::{ImportError, InputError, MappingError, Place, RecordError};
pub use frame::MAX_RECORD_BYTES;
pub use input::open_reader;
pub use mapping::Mapping;
pub use propose::{Column, Proposal, propose};
pub use records::{Format, Record, Records, UnknownFormat, records, records_signed_before};
pub use signed::{Canonical, OldKey, OldSignature, SignatureCheck};
pub use table::{TableRow, WholeRow};
