//! The head record: the newest checkpoint that somebody signed or verified, kept apart from the log (`docs/format.md` section 7).
//!
//! The record is small, trusted against rollback, and carries a checksum of its own, so that a damaged record reads as damage
//! to *it* and never as tampering of the log.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    hex, json,
    mac::LogId,
    time::Micros,
    tree::{Hash, LeafIndex, TreeSize, empty_root},
};

/// The newest head of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRecord {
    /// The checkpoint, a signed note.
    pub checkpoint: String,
    /// Why nothing is to be written any more, where the log was frozen.
    pub frozen: Option<String>,
    /// Index of the newest `keys` record below the checkpoint, where there is one.
    pub keys: Option<LeafIndex>,
    /// The newest kept checkpoint; number 0, size 0 and the empty root where there is none.
    pub kept: crate::entry::KeptHead,
    /// The log's random id.
    pub log_id: LogId,
    /// When it was signed or verified.
    pub signed_at: Micros,
}

/// No kept checkpoint yet.
#[must_use]
pub fn none_kept() -> crate::entry::KeptHead {
    crate::entry::KeptHead { number: 0, root: empty_root(), size: TreeSize(0) }
}

/// Why bytes are not a head record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not the JSON object that a head record is.
    #[error("the head record cannot be read")]
    Parse(#[source] serde_json::Error),
    /// A member has a value that it cannot have.
    #[error("member `{0}` of the head record cannot be read")]
    Member(&'static str),
    /// The checksum does not fit: the file is damaged, which says nothing about the log.
    #[error("the head record's checksum does not fit its content")]
    Checksum,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    checkpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<String>,
    kept: u64,
    kept_root: String,
    kept_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    log_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    signed_at: String,
}

impl HeadRecord {
    /// The stored bytes: canonical JSON and a line feed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut wire = Wire {
            checkpoint: self.checkpoint.clone(),
            frozen: self.frozen.clone(),
            keys: self.keys.map(|index| index.0),
            kept: self.kept.number,
            kept_root: self.kept.root.to_hex(),
            kept_size: self.kept.size.0,
            log_id: self.log_id.to_string(),
            sha256: None,
            signed_at: self.signed_at.to_string(),
        };
        wire.sha256 = Some(checksum(&wire));
        let mut bytes = canonical(&wire);
        bytes.push(b'\n');
        bytes
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// [`HeadError`]; any changed byte is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let mut wire: Wire = serde_json::from_slice(bytes).map_err(HeadError::Parse)?;
        let stated = wire.sha256.take().ok_or(HeadError::Member("sha256"))?;
        if stated != checksum(&wire) {
            return Err(HeadError::Checksum);
        }
        let kept = crate::entry::KeptHead {
            number: wire.kept,
            root: Hash::from_hex(wire.kept_root.as_bytes()).ok_or(HeadError::Member("kept_root"))?,
            size: TreeSize(wire.kept_size),
        };
        // Each kept checkpoint covers more entries than the one before.
        if kept.number > kept.size.0 {
            return Err(HeadError::Member("kept"));
        }
        let record = Self {
            checkpoint: wire.checkpoint,
            frozen: wire.frozen,
            keys: wire.keys.map(LeafIndex),
            kept,
            log_id: LogId::from_hex(&wire.log_id).ok_or(HeadError::Member("log_id"))?,
            signed_at: Micros::parse_exact(&wire.signed_at).ok_or(HeadError::Member("signed_at"))?,
        };
        // A byte that JSON does not care about (white space, another spelling of a character) is still a changed byte.
        if record.to_bytes() == bytes { Ok(record) } else { Err(HeadError::Checksum) }
    }
}

fn checksum(wire: &Wire) -> String {
    hex::encode(&Sha256::digest(canonical(wire)))
}

fn canonical(wire: &Wire) -> Vec<u8> {
    // Strings and integers below 2^53 only: writing cannot fail, and an empty result fails the checksum.
    serde_json::to_vec(wire).ok().and_then(|text| json::canonicalise(&text).ok()).unwrap_or_default()
}

/// The file name of an origin's head record: every byte outside `[A-Za-z0-9.-]`, and a leading dot, as `%XX`.
#[must_use]
pub fn file_name(origin: &str) -> String {
    origin
        .bytes()
        .enumerate()
        .map(|(at, b)| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(b).to_string(),
            b'.' if at > 0 => ".".to_owned(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
