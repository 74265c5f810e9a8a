//! The JSON shape of an event, for writing. Empty members are left out; the log checks the rest.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};

/// Longest id that the log takes, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Longest `reason` that is taken over; the whole one stays in `details`.
const MAX_REASON_BYTES: usize = 1000;

pub(crate) const KINDS: [&str; 9] =
    ["auth", "data_access", "data_change", "admin", "api", "decision", "agent", "security", "system"];
pub(crate) const SEVERITIES: [&str; 6] = ["debug", "info", "notice", "warning", "error", "critical"];
pub(crate) const OUTCOMES: [&str; 4] = ["success", "failure", "denied", "unknown"];

pub(crate) type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Default)]
pub(crate) struct Event<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) occurred_at: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) kind: Text<'a>,
    pub(crate) action: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) severity: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) outcome: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) reason: Text<'a>,
    pub(crate) actor: Actor<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) attachments: Vec<Attachment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) targets: Vec<Target<'a>>,
    #[serde(skip_serializing_if = "Context::is_empty")]
    pub(crate) context: Context<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) change: Option<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Details<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<Agent<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) tenant: Text<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) subjects: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clearance: Option<u8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) retention: Text<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Text<'a>>,
}

#[derive(Serialize, Default)]
pub(crate) struct Actor<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) session: Text<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) on_behalf_of: Vec<Target<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) attributes: Map<String, Value>,
}

/// What the log keeps beside the event.
#[derive(Serialize)]
pub(crate) struct Attachment {
    pub(crate) digest: String,
    pub(crate) media_type: &'static str,
    pub(crate) size: u64,
}

/// A target, and likewise one for whom an actor acts: type, id and name.
#[derive(Serialize, Default)]
pub(crate) struct Target<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: Text<'a>,
}

#[derive(Serialize, Default, PartialEq)]
pub(crate) struct Context<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) source_ip: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) user_agent: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) request_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) trace_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) span_id: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) node: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) component: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) location: Text<'a>,
}

impl Context<'_> {
    fn is_empty(&self) -> bool {
        *self == Context::default()
    }
}

#[derive(Serialize)]
pub(crate) struct Change {
    pub(crate) before: Value,
    pub(crate) after: Value,
}

#[derive(Serialize, Default, PartialEq)]
pub(crate) struct Agent<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) model: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) tool: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) policy: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) approval: Text<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) arguments_digest: Text<'a>,
}

/// The record that an event was made from.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Details<'a> {
    /// A JSON record, byte for byte.
    Raw(&'a RawValue),
    /// A row, as an object from column to text.
    #[serde(serialize_with = "write_row")]
    Row(Vec<(&'a str, &'a str)>),
    /// Details that were made here.
    Made(Value),
}

fn write_row<S: Serializer>(row: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(row.iter().copied())
}

/// `id`, or where it is empty or too long for an id, one that derives from the bytes of the record.
pub(crate) fn id_or_digest<'a>(id: Text<'a>, record: &[u8]) -> Text<'a> {
    if id.is_empty() || id.len() > MAX_ID_BYTES { digest_id(record).into() } else { id }
}

/// The id of a record that brings none: `sha256-` and its digest in hexadecimal.
pub(crate) fn digest_id(record: &[u8]) -> String {
    format!("sha256-{}", indelible_core::hex::encode(&Sha256::digest(record)))
}

/// `text` cut to what a `reason` should hold.
pub(crate) fn reason(text: Text<'_>) -> Text<'_> {
    if text.len() <= MAX_REASON_BYTES { text } else { format!("{}…", cut(&text, MAX_REASON_BYTES)).into() }
}

/// The first `limit` bytes of `text`, or up to three fewer so that no character is torn.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        for (text, limit, expect) in [("abc", 5, "abc"), ("abc", 2, "ab"), ("aé", 2, "a"), ("é", 1, ""), ("", 0, "")]
        {
            assert_eq!(cut(text, limit), expect);
        }
        assert_eq!(reason("x".repeat(2000).into()).len(), MAX_REASON_BYTES + '…'.len_utf8());
    }

    #[test]
    fn an_unusable_id_becomes_a_digest() {
        assert_eq!(id_or_digest("a".into(), b"r"), "a");
        let digest = digest_id(b"r");
        assert_eq!(digest.len(), "sha256-".len() + 64);
        assert_eq!(id_or_digest("".into(), b"r"), digest);
        assert_eq!(id_or_digest("a".repeat(257).into(), b"r"), digest);
    }

    #[test]
    fn empty_members_are_left_out() {
        let event = Event { action: "a.b".into(), details: Some(Details::Row(vec![("k", "v")])), ..Event::default() };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"action":"a.b","actor":{"type":"","id":""},"details":{"k":"v"}}"#);
    }
}
