//! The pure part of Indelible: bytes, hashes, proofs and verdicts.
//!
//! Nothing here opens a file or a socket, reads a clock, draws randomness or starts a thread; whatever of that kind is
//! needed comes in as a parameter. The byte formats are those of `docs/format.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`json`] | strict reading, RFC 8785 canonical writing, in one pass |
//! | [`event`] | what a caller says happened: checks and builders |
//! | [`entry`] | an event or control record as recorded; segment lines; receipts |
//! | [`control`] | what the log says of itself |
//! | [`history`] | which keys are right where, by the log's own word |
//! | [`mac`] | entry signatures |
//! | [`tree`] | RFC 6962 hashes and the compact frontier |
//! | [`proof`] | inclusion and consistency proofs, C2SP tlog-proof |
//! | [`tile`] | where a node of the tree stands in 256-wide levels |
//! | [`note`], [`checkpoint`] | C2SP signed notes and checkpoints |
//! | [`spki`] | public keys as other programs write them |
//! | [`percent`] | percent codes of URLs |
//! | [`head`] | the record of the newest checkpoint, kept apart from the log |
//! | [`time`] | RFC 3339 times with microseconds |

pub mod checkpoint;
pub mod control;
pub mod entry;
pub mod event;
pub mod head;
pub mod hex;
pub mod history;
pub mod json;
pub mod mac;
pub mod note;
pub mod percent;
pub mod proof;
pub mod spki;
pub mod tile;
pub mod time;
pub mod tree;

/// The version of the stored format that this library writes (`docs/format.md`).
pub const FORMAT_VERSION: u32 = 1;
