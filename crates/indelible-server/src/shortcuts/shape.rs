//! What the members of a shortcut's body have to be: checked here, and said in the OpenAPI document from the same tables.
//!
//! What comes in is canonical JSON ([`indelible_core::json`]), so that a value is its text: nothing is read into numbers that cannot hold it, and nothing is written
//! again. What a shortcut hands on to the event as it is ([`Shape::Handed`]) is checked where every event is checked.

use std::collections::BTreeMap;

use indelible_core::{event::nearest, time::Micros};
use serde_json::{Map, Value, json, value::RawValue};

use crate::problem::{Kind, Problem};

/// The largest whole number that every reader of JSON holds exactly.
const MAX_COUNT: u64 = (1 << 53) - 1;
/// The longest path.
const MAX_PATH_BYTES: usize = 2000;
/// The most digits that a count has.
const COUNT_DIGITS: usize = 16;

/// The members of an object, each as its canonical text.
pub(super) type Members<'t> = BTreeMap<String, &'t RawValue>;

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A string of 1 to so many bytes.
    Text(usize),
    /// One of some words.
    Word(&'static [&'static str]),
    /// `sha256:` and 64 digits.
    Digest,
    /// An RFC 3339 time.
    Time,
    /// A whole number.
    Count,
    /// A number from 0 to 1.
    Share,
    /// A number that is not negative.
    Amount,
    /// A status of HTTP.
    Status,
    /// A path, without what stands behind `?` or `#`.
    Path,
    /// At most so many strings of 1 to 256 bytes.
    Texts(usize),
    /// An object of these members.
    Object(&'static [Field]),
    /// A string, or such an object.
    TextOr(&'static [Field]),
    /// Any JSON.
    Any,
    /// An object of any members.
    AnyObject,
    /// What an event has under this name; checked as an event is.
    Handed(&'static str),
}

/// A member that an object may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// Reads an object. Two members of one name are not in canonical JSON.
pub(super) fn members(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

/// A place in the body, and what is wrong there.
pub(super) fn refused(pointer: &str, what: &str) -> Problem {
    Problem::new(Kind::EventRefused, what).at(pointer)
}

fn wrong(pointer: &str, expected: &str) -> Problem {
    refused(pointer, &format!("`{pointer}` must be {expected}"))
}

/// A name as a part of an RFC 6901 pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// That there is no member of this name, and which may be meant.
pub(super) fn unknown<'k>(pointer: &str, name: &str, known: impl Iterator<Item = &'k str>) -> Problem {
    let pointer = format!("{pointer}/{}", escaped(name));
    let meant = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "what there is no member for goes into `details`".to_owned(),
    };
    refused(&pointer, &format!("unknown member `{pointer}`: {meant}"))
}

/// That a member is missing.
pub(super) fn missing(pointer: &str, name: &str, shape: Shape) -> Problem {
    let pointer = format!("{pointer}/{name}");
    refused(&pointer, &format!("member `{pointer}` is missing: send {}", shape.expected()))
}

fn text(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn is_text(raw: &str, most: usize) -> bool {
    text(raw).is_some_and(|text| (1..=most).contains(&text.len()))
}

fn number(raw: &str) -> Option<f64> {
    raw.parse().ok().filter(|number: &f64| number.is_finite())
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A whole number, where it is one that everybody holds.
pub(super) fn count(raw: &str) -> Option<u64> {
    let digits = raw.len() <= COUNT_DIGITS && raw.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| raw.parse().ok()).flatten().filter(|count| *count <= MAX_COUNT)
}

impl Shape {
    /// Checks a value.
    ///
    /// # Errors
    /// [`Kind::EventRefused`] with the place.
    pub(super) fn check(self, raw: &str, pointer: &str) -> Result<(), Problem> {
        let good = match self {
            Self::Text(most) => is_text(raw, most),
            Self::Word(words) => text(raw).is_some_and(|text| words.contains(&text.as_str())),
            Self::Digest => text(raw).is_some_and(|text| is_digest(&text)),
            Self::Time => text(raw).is_some_and(|text| Micros::parse(&text).is_some()),
            Self::Count => count(raw).is_some(),
            Self::Share => number(raw).is_some_and(|number| (0.0..=1.0).contains(&number)),
            Self::Amount => number(raw).is_some_and(|number| number >= 0.0),
            Self::Status => count(raw).is_some_and(|status| (100..=599).contains(&status)),
            Self::Path => {
                is_text(raw, MAX_PATH_BYTES)
                    && text(raw).is_some_and(|text| text.starts_with('/') && !text.contains(['?', '#']))
            }
            Self::Texts(most) => {
                let texts: Option<Vec<String>> = serde_json::from_str(raw).ok();
                texts.is_some_and(|texts| texts.len() <= most && texts.iter().all(|t| (1..=256).contains(&t.len())))
            }
            Self::Object(fields) if raw.starts_with('{') => return check_object(fields, raw, pointer),
            Self::TextOr(fields) if raw.starts_with('{') => return check_object(fields, raw, pointer),
            Self::TextOr(_) => is_text(raw, 2048),
            Self::AnyObject => raw.starts_with('{'),
            Self::Object(_) => false,
            Self::Any | Self::Handed(_) => true,
        };
        let near = || match self {
            Self::Word(words) => text(raw).and_then(|text| nearest(&text, words.iter().copied())),
            _ => None,
        };
        if good {
            return Ok(());
        }
        let near = near().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Err(wrong(pointer, &format!("{}{near}", self.expected())))
    }

    /// What to say where a value is something else.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Text(most) => format!("a string of 1 to {most} bytes"),
            Self::Word(words) => format!("one of `{}`", words.join("`, `")),
            Self::Digest => "`sha256:` and 64 lower-case hexadecimal digits".to_owned(),
            Self::Time => "an RFC 3339 time such as `2026-01-31T08:00:00Z`".to_owned(),
            Self::Count => format!("a whole number from 0 to {MAX_COUNT}"),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Amount => "a number that is not negative".to_owned(),
            Self::Status => "a status of HTTP, 100 to 599".to_owned(),
            Self::Path => "a path such as `/v1/things`, without what stands behind `?`".to_owned(),
            Self::Texts(most) => format!("an array of at most {most} strings of 1 to 256 bytes"),
            Self::Object(_) | Self::AnyObject => "an object".to_owned(),
            Self::TextOr(_) => "a string that is not empty, or an object".to_owned(),
            Self::Any => "any JSON".to_owned(),
            Self::Handed("actor") => "an object with `type` and `id`".to_owned(),
            Self::Handed(name) => format!("what an event has as `{name}`"),
        }
    }

    /// The same as a JSON Schema.
    pub(super) fn schema(self) -> Value {
        match self {
            // Bytes are counted, which a schema cannot say.
            Self::Text(most) => json!({ "type": "string", "minLength": 1, "maxLength": most }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Digest => json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::Count => json!({ "type": "integer", "minimum": 0, "maximum": MAX_COUNT }),
            Self::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            Self::Amount => json!({ "type": "number", "minimum": 0 }),
            Self::Status => json!({ "type": "integer", "minimum": 100, "maximum": 599 }),
            Self::Path => json!({ "type": "string", "pattern": "^/[^?#]*$", "maxLength": MAX_PATH_BYTES }),
            Self::Texts(most) => {
                json!({ "type": "array", "maxItems": most, "items": { "type": "string", "minLength": 1, "maxLength": 256 } })
            }
            Self::Object(fields) => object_schema(fields),
            Self::TextOr(fields) => {
                json!({ "anyOf": [{ "type": "string", "minLength": 1, "maxLength": 2048 }, object_schema(fields)] })
            }
            Self::Any => json!({ "$ref": "#/components/schemas/Json" }),
            Self::AnyObject => {
                json!({ "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Json" } })
            }
            Self::Handed(name) => json!({ "$ref": format!("#/components/schemas/Event/properties/{name}") }),
        }
    }
}

fn check_object(fields: &'static [Field], raw: &str, pointer: &str) -> Result<(), Problem> {
    let Some(members) = members(raw) else { return Err(wrong(pointer, "an object")) };
    for (name, value) in &members {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(unknown(pointer, name, fields.iter().map(|field| field.name)));
        };
        field.shape.check(value.get(), &format!("{pointer}/{name}"))?;
    }
    match fields.iter().find(|field| field.required && !members.contains_key(field.name)) {
        Some(field) => Err(missing(pointer, field.name, field.shape)),
        None => Ok(()),
    }
}

fn object_schema(fields: &'static [Field]) -> Value {
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), field.shape.schema())).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_have_to_be_or_are_told_what() {
        const INNER: &[Field] = &[
            Field { name: "id", shape: Shape::Text(8), required: true },
            Field { name: "at", shape: Shape::Time, required: false },
        ];
        let digest = format!("\"sha256:{}\"", "0a".repeat(32));
        let rows: &[(Shape, &str, Option<&str>)] = &[
            (Shape::Text(3), "\"äb\"", None),
            (Shape::Text(3), "\"äbc\"", Some("/x")),
            (Shape::Text(3), "\"\"", Some("/x")),
            (Shape::Text(3), "7", Some("/x")),
            (Shape::Word(&["a", "b"]), "\"b\"", None),
            (Shape::Word(&["a", "b"]), "\"c\"", Some("/x")),
            (Shape::Digest, &digest, None),
            (Shape::Digest, "\"sha256:0\"", Some("/x")),
            (Shape::Time, "\"2026-01-31T08:00:00Z\"", None),
            (Shape::Time, "\"yesterday\"", Some("/x")),
            (Shape::Count, "9007199254740991", None),
            (Shape::Count, "9007199254740992", Some("/x")),
            (Shape::Count, "-1", Some("/x")),
            (Shape::Count, "1.5", Some("/x")),
            (Shape::Share, "0.25", None),
            (Shape::Share, "1.25", Some("/x")),
            (Shape::Amount, "1e+21", None),
            (Shape::Amount, "-1", Some("/x")),
            (Shape::Amount, "null", Some("/x")),
            (Shape::Status, "599", None),
            (Shape::Status, "600", Some("/x")),
            (Shape::Path, "\"/a\"", None),
            (Shape::Path, "\"/a?token=b\"", Some("/x")),
            (Shape::Texts(2), "[\"a\",\"b\"]", None),
            (Shape::Texts(2), "[\"a\",\"b\",\"c\"]", Some("/x")),
            (Shape::Texts(2), "[7]", Some("/x")),
            (Shape::Object(INNER), "{\"id\":\"a\"}", None),
            (Shape::Object(INNER), "{}", Some("/x/id")),
            (Shape::Object(INNER), "{\"at\":7,\"id\":\"a\"}", Some("/x/at")),
            (Shape::Object(INNER), "{\"a/b~\":7,\"id\":\"a\"}", Some("/x/a~1b~0")),
            (Shape::Object(INNER), "\"a\"", Some("/x")),
            (Shape::TextOr(INNER), "\"a\"", None),
            (Shape::TextOr(INNER), "[]", Some("/x")),
            (Shape::AnyObject, "{}", None),
            (Shape::AnyObject, "[]", Some("/x")),
            (Shape::Any, "null", None),
        ];
        for (shape, raw, expected) in rows {
            let problem = shape.check(raw, "/x").err();
            assert_eq!(problem.as_ref().and_then(Problem::pointer), *expected, "{shape:?} {raw} {problem:?}");
        }
        let near = Shape::Word(&["success", "failure"]).check("\"sucess\"", "/x").unwrap_err();
        assert!(near.document("r")["detail"].as_str().unwrap().contains("did you mean `success`?"), "{near:?}");
    }
}
