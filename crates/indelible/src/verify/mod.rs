//! The verdict on a log, from its stored bytes.
//!
//! [`verify`] re-reads every stored line, checks grammar, order, chain, keys and MACs, folds the Merkle tree, and compares its roots with the
//! newest head that is known, with every kept checkpoint, and with what the caller kept. It trusts nothing derived; what it finds wrong in derived
//! files is told as *damaged*. Memory does not grow with the log; pieces are read and hashed on all cores and merged in order.
//!
//! | module | holds |
//! |---|---|
//! | [`report`] | verdicts, findings, the report |
//! | `piece` | the part that needs no order: lines of one piece, on any thread |
//! | `merge` | the part that needs order: expected index, roots, locating |
//! | `loose`, `window` | what the merge keeps: lines of unknown place, stored hashes read ahead |
//! | `scan` | reading in parallel; what is gathered before and concluded behind |
//! | `anchors` | checkpoints: which are known, which are kept, which are missing |
//! | `listed` | which kept checkpoints a verification goes by, beside a writer and behind a head record that was put back |
//! | `meanwhile` | whether somebody may have written while it read |
//! | `known`, `trust` | what the log says of its keys, and how the keys that are trusted stand to that |
//! | `receipts` | receipts that contradict the log |
//! | `absence` | what absent entries may have said of the checkpoint keys, and what checkpoints show of that |
//! | `beginning` | what stands for the first keys where entry 0 cannot be read |
//! | `excused` | which records may excuse that entries are absent |
//! | `keyed` | key records, entries whose key cannot be checked, second signatures |
//!
//! What each verdict rests on is in `docs/verification.md`.

mod absence;
mod anchors;
mod beginning;
mod excused;
mod keyed;
mod known;
mod listed;
mod loose;
mod meanwhile;
mod merge;
mod piece;
mod receipts;
pub mod report;
mod scan;
mod trust;
mod window;

pub use report::{Finding, Kind, Macs, Report, Unchecked, Verdict};
pub use scan::{Request, Verified, VerifyError, verify};

pub(crate) use anchors::kept;
pub(crate) use known::search;
pub use known::{all_keys, is_signed_by, known_keys};
