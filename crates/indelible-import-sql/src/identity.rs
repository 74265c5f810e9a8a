//! Which entry is of which row: the id of a row's event, and the row in an entry.

use indelible::LogError;
use indelible_core::{
    entry::{BodyKind, EntryRef},
    hex,
    json::canonicalise,
    tree::LeafIndex,
};
use indelible_import::WholeRow;
use indelible_store::store::{Reader, parse_line};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};

use crate::{
    error::SqlError,
    table::{Key, Row, Shape},
};

/// Rows above it are kept as attachments: an event has 64,000 bytes, and what the rules take from the row needs room too.
pub const MAX_ROW_BYTES: usize = 24_000;

/// Bytes of the log that are read in one go.
const CHUNK_BYTES: usize = 4 << 20;

/// A table, as its entries name it.
#[derive(Clone, Debug)]
pub struct Source {
    system: String,
    table: String,
    /// What the bytes of every entry of the table hold, and few others.
    needle: Finder<'static>,
}

/// The row that an entry holds.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The entry.
    pub index: u64,
    /// The row's key, an object from column to value.
    pub key: Map<String, Value>,
    kept: Kept,
}

#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Row(String),
    Digest(String),
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    details: Details<'a>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    row_attachment: Option<String>,
    source: SourceDetails,
}

#[derive(Deserialize)]
struct SourceDetails {
    key: Map<String, Value>,
    system: String,
    table: String,
}

impl Source {
    /// The table of a shape in a system.
    #[must_use]
    pub fn new(system: &str, shape: &Shape) -> Self {
        let (system, table) = (system.to_owned(), shape.table.clone());
        let named = canonical(&json!({ "system": system, "table": table }));
        let needle = named.strip_prefix('{').unwrap_or(&named).to_owned();
        Self { system, table, needle: Finder::new(&needle).into_owned() }
    }

    /// The database, without who comes to it.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The id of the event of a row: the digest of where it is and what its key is there.
    #[must_use]
    pub fn id(&self, key: &Value) -> String {
        let named = canonical(&json!([self.system, self.table, key]));
        format!("sql-{}", hex::encode(&Sha256::digest(named)))
    }

    /// What entries say of where a row is from.
    #[must_use]
    pub fn details(&self, key: &Value) -> Value {
        json!({ "key": key, "system": self.system, "table": self.table })
    }

    /// The row of an entry, if it is from this table.
    #[must_use]
    pub fn row_of(&self, entry: &EntryRef<'_>) -> Option<Imported> {
        if entry.kind != BodyKind::Event || self.needle.find(entry.body).is_none() {
            return None;
        }
        let Details { row, row_attachment, source } = serde_json::from_slice::<Body<'_>>(entry.body).ok()?.details;
        let kept = match (row, row_attachment) {
            (Some(row), _) => Kept::Row(row.get().to_owned()),
            (None, Some(digest)) => Kept::Digest(digest),
            (None, None) => return None,
        };
        let SourceDetails { key, system, table } = source;
        (system == self.system && table == self.table).then_some(Imported { index: entry.index.0, key, kept })
    }
}

impl Imported {
    /// Whether the row is now what it was when it was imported.
    #[must_use]
    pub fn is_same(&self, shape: &Shape, row: &Row) -> bool {
        let now = canonical(&shape.row_json(row));
        match &self.kept {
            Kept::Row(then) => *then == now,
            Kept::Digest(then) => *then == digest(now.as_bytes()),
        }
    }

    /// The key in this table.
    ///
    /// # Errors
    /// [`SqlError::OtherKey`].
    pub fn key_in(&self, shape: &Shape) -> Result<Key, SqlError> {
        shape.key_from_json(&self.key).ok_or_else(|| SqlError::OtherKey {
            index: self.index,
            found: self.key.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}

/// The whole row as its event keeps it, and the bytes to attach where it is too large.
#[must_use]
pub fn whole(shape: &Shape, row: &Row) -> (WholeRow, Option<Vec<u8>>) {
    let value = shape.row_json(row);
    let bytes = canonical(&value).into_bytes();
    if bytes.len() <= MAX_ROW_BYTES {
        return (WholeRow::Here(value), None);
    }
    (WholeRow::Attached { digest: digest(&bytes), size: bytes.len() as u64 }, Some(bytes))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(&Sha256::digest(bytes)))
}

/// The canonical form. What is made here always has one: [`Cell::to_json`](crate::cell::Cell::to_json) sees to that.
fn canonical(value: &Value) -> String {
    let text = value.to_string();
    canonicalise(text.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

/// Hands every entry of the table in `from .. to` over, in their order; ends early where that says no.
///
/// # Errors
/// [`SqlError`].
pub fn scan(
    log: &dyn Reader,
    source: &Source,
    from: u64,
    to: u64,
    mut each: impl FnMut(Imported) -> Result<bool, SqlError>,
) -> Result<(), SqlError> {
    let mut next = from;
    while next < to {
        let chunk = log.read(LeafIndex(next), CHUNK_BYTES)?;
        for line in chunk.lines() {
            if next >= to {
                return Ok(());
            }
            let entry = parse_line(line, next)?.entry;
            if entry.index.0 != next {
                let detail = format!("entry {} stands in its place", entry.index);
                return Err(LogError::Evidence { index: next, detail }.into());
            }
            if let Some(row) = source.row_of(&entry)
                && !each(row)?
            {
                return Ok(());
            }
            next += 1;
        }
    }
    Ok(())
}
