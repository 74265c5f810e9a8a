//! Reading the members of a JSON object whose shape is a foreign promise.

use std::{borrow::Cow, net::IpAddr};

use indelible_core::time::Micros;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    error::RecordError,
    event::{Context, Text, cut},
};

/// A record that is a JSON object: its members, and its text as it came.
pub(crate) struct Object<'a> {
    pub(crate) raw: &'a RawValue,
    pub(crate) members: &'a Map<String, Value>,
}

/// Reads `text`, which must hold one JSON object.
pub(crate) fn parse(text: &[u8]) -> Result<(&RawValue, Map<String, Value>), RecordError> {
    let raw: &RawValue = serde_json::from_slice(text).map_err(RecordError::Json)?;
    match serde_json::from_str(raw.get()).map_err(RecordError::Json)? {
        Value::Object(members) => Ok((raw, members)),
        other => Err(wrong("the record", "an object", &other)),
    }
}

/// The text of a member; empty where it is absent or null.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, member: &str) -> Result<&'a str, RecordError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(member, "a string", other)),
    }
}

/// The text of a member that must be there.
pub(crate) fn required<'a>(
    object: &'a Map<String, Value>,
    member: &str,
    remedy: &'static str,
) -> Result<&'a str, RecordError> {
    match text(object, member)? {
        "" => Err(RecordError::Missing { member: member.to_owned(), remedy }),
        text => Ok(text),
    }
}

/// The object at a member; `None` where it is absent or null.
pub(crate) fn object<'a>(
    object: &'a Map<String, Value>,
    member: &str,
) -> Result<Option<&'a Map<String, Value>>, RecordError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(other) => Err(wrong(member, "an object", other)),
    }
}

/// The elements of the array at a member; none where it is absent or null.
pub(crate) fn array<'a>(object: &'a Map<String, Value>, member: &str) -> Result<&'a [Value], RecordError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => Err(wrong(member, "an array", other)),
    }
}

/// The text at a JSON pointer; empty where there is no text. For members that no one promises.
pub(crate) fn text_at<'a>(value: Option<&'a Value>, pointer: &str) -> &'a str {
    value.and_then(|v| v.pointer(pointer)).and_then(Value::as_str).unwrap_or("")
}

/// A yes or no, also where an export made it a string.
pub(crate) fn flag(object: &Map<String, Value>, member: &str) -> Option<bool> {
    match object.get(member)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    }
}

/// `text`, if it is a time that events can carry.
pub(crate) fn time<'a>(member: &'static str, text: Text<'a>) -> Result<Text<'a>, RecordError> {
    match Micros::parse(&text) {
        Some(_) => Ok(text),
        None => Err(RecordError::Time { member, found: cut(&text, 64).to_owned() }),
    }
}

/// Notes where a request came from: an address, or else the component that made it.
pub(crate) fn set_origin<'a>(context: &mut Context<'a>, origin: &'a str) {
    let member = if origin.parse::<IpAddr>().is_ok() { &mut context.source_ip } else { &mut context.component };
    *member = Cow::Borrowed(origin);
}

fn wrong(member: &str, expected: &'static str, found: &Value) -> RecordError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    RecordError::WrongType { member: member.to_owned(), expected, found }
}
