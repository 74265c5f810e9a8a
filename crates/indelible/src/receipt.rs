//! What the writer gets back.

use std::sync::Arc;

use indelible_core::{
    entry::{self, Line, top_level_string},
    hex,
    tree::{Hash, LeafIndex, leaf_hash},
};

/// Proof to the writer that an event was recorded: keep it, and `verify --receipts` finds a log that no longer agrees with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: String,
    /// Position.
    pub index: LeafIndex,
    /// Leaf hash.
    pub leaf: Hash,
    /// Entry signature.
    pub mac: [u8; 32],
    /// Id of the entry-signing key.
    pub key: Arc<str>,
    /// Origin.
    pub origin: Arc<str>,
    /// The log's clock.
    pub recorded_at: Arc<str>,
    /// Whether the same event was recorded before, and this is the receipt of then.
    pub duplicate: bool,
}

impl Receipt {
    /// The form that is written to files.
    #[must_use]
    pub fn to_wire(&self) -> entry::WireReceipt {
        entry::WireReceipt {
            duplicate: self.duplicate,
            id: self.id.clone(),
            index: self.index.0,
            key: self.key.to_string(),
            leaf_hash: self.leaf.to_hex(),
            mac: hex::encode(&self.mac),
            origin: self.origin.to_string(),
            recorded_at: self.recorded_at.to_string(),
        }
    }

    /// The receipt of a stored line.
    #[must_use]
    pub fn of_line(line: &Line<'_>) -> Self {
        Self {
            id: top_level_string(line.entry.body, "id").unwrap_or_default().to_owned(),
            index: line.entry.index,
            leaf: leaf_hash(line.entry.bytes),
            mac: line.mac,
            key: line.entry.key.into(),
            origin: line.entry.log.into(),
            recorded_at: line.entry.recorded_at.into(),
            duplicate: false,
        }
    }
}
