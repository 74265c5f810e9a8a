//! What answers hold. Nothing of it is verified by reading it.

use indelible::{LeafIndex, Receipt};
use indelible_core::{
    entry::{self, BodyKind, EntryRef},
    hex,
    tree::{Hash, leaf_hash},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// An entry, as the server gives it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: LeafIndex,
    /// Its exact bytes, whose hash is `leaf`: that much was looked at.
    pub bytes: Vec<u8>,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The entry signature.
    pub mac: [u8; 32],
}

#[derive(Deserialize)]
struct WireEntry<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    index: u64,
    leaf_hash: String,
    mac: String,
}

impl Entry {
    fn of_wire(wire: &WireEntry<'_>) -> Result<Self, String> {
        let bytes = wire.entry.get().as_bytes().to_vec();
        let (index, leaf) = (LeafIndex(wire.index), leaf_hash(&bytes));
        if leaf.to_hex() != wire.leaf_hash {
            return Err(format!("the bytes of entry {index} do not have the hash that stands beside them"));
        }
        let mac = hex::decode(wire.mac.as_bytes()).ok_or_else(|| format!("the signature of entry {index} is none"))?;
        Ok(Self { index, bytes, leaf, mac })
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let wire: WireEntry<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Self::of_wire(&wire)
    }

    /// The same, where the bytes are an entry of this log and at this index by what they say themselves.
    pub(crate) fn checked(self, origin: &str) -> Result<Self, String> {
        let index = self.index;
        let entry = EntryRef::parse(&self.bytes).map_err(|error| format!("entry {index} is none: {error}"))?;
        let own = entry.index == index && entry.log == origin;
        if own { Ok(self) } else { Err(format!("what it gives as entry {index} says itself to be another")) }
    }

    /// The id of its event, where it has one.
    #[must_use]
    pub fn event_id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Body {
            id: Option<String>,
        }
        let entry = EntryRef::parse(&self.bytes).ok().filter(|entry| entry.kind == BodyKind::Event)?;
        serde_json::from_slice::<Body>(entry.body).ok()?.id
    }
}

/// A page of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in order and without a gap.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` where there is none yet.
    pub next: Option<u64>,
    /// How many entries the log has.
    pub size: u64,
}

#[derive(Deserialize)]
struct WirePage<'a> {
    #[serde(borrow)]
    entries: Vec<WireEntry<'a>>,
    next: Option<String>,
    size: u64,
}

impl Page {
    pub(crate) fn parse(body: &[u8], from: u64) -> Result<Self, String> {
        let wire: WirePage<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let entries = wire.entries.iter().map(Entry::of_wire).collect::<Result<Vec<_>, _>>()?;
        if (from..).zip(&entries).any(|(expected, entry)| entry.index.0 != expected) {
            return Err("the entries of the page do not follow one another".to_owned());
        }
        let next = wire.next.map(|next| next.parse::<u64>().map_err(|_| "`next` is no index")).transpose()?;
        // A page that leads nowhere would be asked for again and again.
        if next.is_some_and(|next| next != from.saturating_add(entries.len() as u64) || entries.is_empty()) {
            return Err("`next` does not follow the entries of the page".to_owned());
        }
        Ok(Self { entries, next, size: wire.size })
    }
}

/// What became of a line. Texts, until it is known that there are no more of them than lines.
#[derive(Deserialize)]
pub(crate) struct Row<'a> {
    pub(crate) line: usize,
    #[serde(borrow)]
    pub(crate) receipt: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) problem: Option<&'a RawValue>,
}

/// What became of lines.
#[derive(Deserialize)]
pub(crate) struct Rows<'a> {
    #[serde(borrow)]
    pub(crate) results: Vec<Row<'a>>,
}

/// A receipt in the library's form, for the event and the log that were meant.
///
/// # Errors
/// What is wrong with it: it is of another event or log, or a member is not what it has to be.
pub fn receipt(wire: &entry::WireReceipt, id: &str, origin: &str) -> Result<Receipt, String> {
    if wire.id != id || wire.origin != origin {
        return Err("the receipt is of another event or another log".to_owned());
    }
    let leaf = Hash::from_hex(wire.leaf_hash.as_bytes()).ok_or("the receipt's leaf hash is none")?;
    let mac = hex::decode(wire.mac.as_bytes()).ok_or("the receipt's signature is none")?;
    Ok(Receipt {
        id: wire.id.clone(),
        index: LeafIndex(wire.index),
        leaf,
        mac,
        key: wire.key.as_str().into(),
        origin: wire.origin.as_str().into(),
        recorded_at: wire.recorded_at.as_str().into(),
        duplicate: wire.duplicate,
    })
}

/// A log, as the server's registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredLog {
    /// Its name.
    pub origin: String,
    /// Its random id.
    pub log_id: String,
    /// Its first public key, by the server's word: what to trust comes from elsewhere.
    pub public_key: Option<String>,
    /// Since when.
    pub registered_at: Option<String>,
    /// Why and where it ends, where nothing is written to it any more.
    pub frozen: Option<Value>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Logs {
    /// By name.
    pub logs: Vec<RegisteredLog>,
    /// What to go on behind.
    pub next: Option<String>,
}

/// An API key, without its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its verbs, where it has not all of its role's.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// The logs that it is for.
    pub logs: Vec<String>,
    /// `active`, `expired`, `revoked`, or `maker_ended`: it ended with the one that made it.
    pub state: String,
    /// Since when it is.
    pub created_at: Option<String>,
    /// When it ends.
    pub expires_at: Option<String>,
    /// When it was ended.
    pub revoked_at: Option<String>,
    /// With which key it was made; `None` for one of the operator's.
    #[serde(default)]
    pub made_by: Option<String>,
    /// The first of those that followed one another by rotation, up to this one.
    #[serde(default)]
    pub first: Option<String>,
    /// Requests a minute; 0 for no limit.
    pub rate_per_minute: Option<u64>,
}

/// API keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ApiKeys {
    /// By id.
    pub api_keys: Vec<ApiKey>,
    /// What to go on behind.
    pub next: Option<String>,
}

/// An API key that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewApiKey {
    /// What people call it.
    pub name: String,
    /// `writer`, `reader`, `auditor` or `admin`.
    pub role: String,
    /// Names of logs, or beginnings of names with a `*`.
    pub logs: Vec<String>,
    /// Only some of the role's verbs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// When it ends, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Requests a minute; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
}

/// A verification by the server, and so by its word.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Verification {
    /// Which it is.
    pub id: String,
    /// `running` or `done`.
    pub state: String,
    /// So many entries were read.
    pub entries_read: u64,
    /// Of so many.
    pub entries_expected: u64,
    /// The report, where it came to a verdict.
    pub report: Option<Value>,
    /// Why it came to none.
    pub error: Option<String>,
}

impl Verification {
    /// Whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == "done"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u64, entry: &str, leaf: &str) -> String {
        format!(r#"{{"entry":{entry},"index":{index},"leaf_hash":"{leaf}","mac":"{}"}}"#, "00".repeat(32))
    }

    #[test]
    fn an_entry_has_the_hash_that_it_says() {
        let leaf = leaf_hash(br#"{"a":1}"#).to_hex();
        let entry = Entry::parse(row(3, r#"{"a":1}"#, &leaf).as_bytes()).unwrap();
        assert_eq!((entry.index.0, entry.bytes.as_slice()), (3, br#"{"a":1}"#.as_slice()));
        assert!(Entry::parse(row(3, r#"{"a":2}"#, &leaf).as_bytes()).unwrap_err().contains("entry 3"));
    }

    #[test]
    fn a_page_is_in_order_and_leads_on() {
        let leaf = leaf_hash(b"{}").to_hex();
        let page = |entries: &[u64], next: &str| {
            let rows: Vec<String> = entries.iter().map(|index| row(*index, "{}", &leaf)).collect();
            Page::parse(format!(r#"{{"entries":[{}],"next":{next},"size":9}}"#, rows.join(",")).as_bytes(), 4)
        };
        assert_eq!(page(&[4, 5], "\"6\"").unwrap().next, Some(6));
        assert_eq!(page(&[4, 5], "null").unwrap().next, None);
        for (entries, next) in
            [(&[4, 6][..], "null"), (&[5][..], "null"), (&[4][..], "\"4\""), (&[][..], "\"4\""), (&[4][..], "\"x\"")]
        {
            assert!(page(entries, next).is_err(), "{entries:?} {next}");
        }
    }
}
