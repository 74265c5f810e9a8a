//! The members that an event may have. The tables are in canonical order, so that an event is checked by one walk along
//! both.

use serde_json::{Map, Value, json};

use super::MAX_ID_BYTES;

/// What a value must be.
pub(super) enum Shape {
    /// A string that is not empty, of at most so many bytes.
    Text(usize),
    /// A string, which may be empty.
    Note,
    /// A string that is not empty and holds nothing that has to be escaped.
    Id,
    /// One of some words.
    Word(&'static [&'static str]),
    /// An RFC 3339 time.
    Time,
    /// A clearance level.
    Level,
    /// A number of bytes.
    Size,
    /// `sha256:` and 64 hexadecimal digits.
    Digest,
    /// An array of values of one shape.
    List(&'static Shape),
    /// An object of these members.
    Object(&'static [Field]),
    /// A string that is not empty, or an object of these members.
    TextOr(&'static [Field]),
    /// Any JSON.
    Free,
}

/// A member that an object may have.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true }
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

/// The highest clearance level.
pub(super) const MAX_LEVEL: u8 = 5;

/// Names that are searched and indexed.
const NAME: Shape = Shape::Text(256);
/// Ids of actors and targets, which may be URLs.
const REFERENCE: Shape = Shape::Text(2048);

pub(super) const KINDS: &[&str] =
    &["auth", "data_access", "data_change", "admin", "api", "decision", "agent", "security", "system"];
pub(super) const SEVERITIES: &[&str] = &["debug", "info", "notice", "warning", "error", "critical"];
pub(super) const OUTCOMES: &[&str] = &["success", "failure", "denied", "unknown"];

pub(super) const EVENT: &[Field] = &[
    required("action", NAME),
    required("actor", Shape::Object(ACTOR)),
    optional("agent", Shape::Object(AGENT)),
    optional("attachments", Shape::List(&Shape::Object(ATTACHMENT))),
    optional("change", Shape::Object(CHANGE)),
    optional("clearance", Shape::Level),
    optional("context", Shape::Object(CONTEXT)),
    optional("details", Shape::Free),
    optional("id", Shape::Id),
    optional("kind", Shape::Word(KINDS)),
    optional("occurred_at", Shape::Time),
    optional("outcome", Shape::Word(OUTCOMES)),
    optional("reason", Shape::Note),
    optional("retention", NAME),
    optional("severity", Shape::Word(SEVERITIES)),
    optional("subjects", Shape::List(&Shape::TextOr(PARTY))),
    optional("tags", Shape::List(&NAME)),
    optional("targets", Shape::List(&Shape::Object(TARGET))),
    optional("tenant", NAME),
];

const ACTOR: &[Field] = &[
    optional("attributes", Shape::Free),
    optional("clearance", Shape::Level),
    required("id", REFERENCE),
    optional("name", Shape::Note),
    optional("on_behalf_of", Shape::List(&Shape::TextOr(PARTY))),
    optional("session", Shape::Note),
    required("type", NAME),
];

const AGENT: &[Field] = &[
    optional("approval", Shape::Free),
    optional("arguments_digest", Shape::Note),
    optional("model", Shape::Note),
    optional("policy", Shape::Note),
    optional("tool", Shape::Note),
];

const ATTACHMENT: &[Field] = &[
    required("digest", Shape::Digest),
    optional("media_type", Shape::Note),
    optional("name", Shape::Note),
    required("size", Shape::Size),
];

const CHANGE: &[Field] = &[optional("after", Shape::Free), optional("before", Shape::Free)];

const CONTEXT: &[Field] = &[
    optional("component", Shape::Note),
    optional("location", Shape::Free),
    optional("node", Shape::Note),
    optional("request_id", Shape::Note),
    optional("source_ip", Shape::Note),
    optional("span_id", Shape::Note),
    optional("trace_id", Shape::Note),
    optional("user_agent", Shape::Note),
];

const PARTY: &[Field] = &[required("id", REFERENCE), optional("name", Shape::Note), required("type", NAME)];

const TARGET: &[Field] = &[
    optional("attributes", Shape::Free),
    required("id", REFERENCE),
    optional("name", Shape::Note),
    required("type", NAME),
];

impl Shape {
    /// What to say where a value is something else.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text(most) => format!("a string of 1 to {most} bytes"),
            Self::Note => "a string".to_owned(),
            Self::Id => {
                format!("a string of 1 to {MAX_ID_BYTES} printable bytes without quotes and backslashes")
            }
            Self::Word(words) => format!("one of `{}`", words.join("`, `")),
            Self::Time => "an RFC 3339 time such as `2026-01-31T08:00:00Z`".to_owned(),
            Self::Level => format!("an integer from 0 to {MAX_LEVEL}"),
            Self::Size => "a number of bytes".to_owned(),
            Self::Digest => "`sha256:` and 64 lower-case hexadecimal digits".to_owned(),
            Self::List(_) => "an array".to_owned(),
            Self::Object(_) => "an object".to_owned(),
            Self::TextOr(_) => "a string that is not empty, or an object".to_owned(),
            Self::Free => "any JSON".to_owned(),
        }
    }
}

/// An object of these members, as a JSON Schema.
pub(super) fn of_members(fields: &'static [Field], any: &Value) -> Value {
    let properties: Map<_, _> =
        fields.iter().map(|field| (field.name.to_owned(), of_shape(&field.shape, any))).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of_shape(shape: &'static Shape, any: &Value) -> Value {
    match shape {
        Shape::Text(most) => json!({ "type": "string", "minLength": 1, "maxLength": most }),
        Shape::Note => json!({ "type": "string" }),
        Shape::Id => json!({
            "type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES, "pattern": r#"^[^"\\\x00-\x1f\x7f-\x9f]+$"#,
        }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::Time => json!({ "type": "string", "format": "date-time" }),
        Shape::Level => json!({ "type": "integer", "minimum": 0, "maximum": MAX_LEVEL }),
        Shape::Size => json!({ "type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_u64 }),
        Shape::Digest => json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
        Shape::List(shape) => json!({ "type": "array", "items": of_shape(shape, any) }),
        Shape::Object(fields) => of_members(fields, any),
        Shape::TextOr(fields) => {
            json!({ "anyOf": [{ "type": "string", "minLength": 1 }, of_members(fields, any)] })
        }
        Shape::Free => any.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_order(fields: &[Field]) {
        assert!(fields.is_sorted_by(|a, b| a.name < b.name));
        for field in fields {
            match field.shape {
                Shape::Object(inner) | Shape::TextOr(inner) => check_order(inner),
                Shape::List(Shape::Object(inner) | Shape::TextOr(inner)) => check_order(inner),
                _ => {}
            }
        }
    }

    #[test]
    fn the_schema_has_every_member_that_the_tables_have() {
        let schema = of_members(EVENT, &json!(true));
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), EVENT.len());
        assert_eq!(schema["required"], json!(["action", "actor"]));
        assert_eq!(schema["properties"]["details"], true);
        assert_eq!(schema["properties"]["targets"]["items"]["required"], json!(["id", "type"]));
        assert_eq!(schema["properties"]["kind"]["enum"], json!(KINDS));
    }

    #[test]
    fn tables_are_in_canonical_order() {
        check_order(EVENT);
    }
}
