//! One value of a row, exactly: as JSON for the log, as text for the rules of a mapping.
//!
//! What a JSON number would not hold exactly is a string; bytes are an object that names their encoding.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::hex;
use serde_json::{Map, Number, Value, json};

/// Integers beyond it are not all held by a JSON number (RFC 8785, after IEEE 754).
const MAX_EXACT: i64 = (1 << 53) - 1;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A binary floating point number.
    Real(f64),
    /// Text; also numbers, times and everything else that its database writes as text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// What a database calls text and is not UTF-8.
    BrokenText(Vec<u8>),
}

impl Cell {
    /// The value as it is kept in the log.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) if (-MAX_EXACT..=MAX_EXACT).contains(value) => Value::from(*value),
            Self::Integer(value) => Value::String(value.to_string()),
            Self::Real(value) => exact_number(*value).map_or_else(|| Value::String(value.to_string()), Value::Number),
            Self::Text(text) => Value::String(text.clone()),
            Self::Bytes(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
            Self::BrokenText(bytes) => json!({ "text_that_is_not_utf8_base64": STANDARD.encode(bytes) }),
        }
    }

    /// The value for the rules of a mapping; empty where there is none.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Real(value) => Cow::Owned(value.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bytes(bytes) => Cow::Owned(hex::encode(bytes)),
            Self::BrokenText(bytes) => String::from_utf8_lossy(bytes),
        }
    }

    /// The value as part of a key: as [`Cell::to_json`], but a large integer stays one.
    #[must_use]
    pub fn to_key_json(&self) -> Value {
        match self.to_json() {
            Value::String(digits) if matches!(self, Self::Integer(_)) => json!({ "integer": digits }),
            other => other,
        }
    }

    /// Reads what [`Cell::to_key_json`] wrote.
    #[must_use]
    pub fn from_key_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::Real)),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Object(members) => Self::from_object(members),
            Value::Null | Value::Array(_) => None,
        }
    }

    fn from_object(members: &Map<String, Value>) -> Option<Self> {
        let (name, value) = members.iter().next().filter(|_| members.len() == 1)?;
        let text = value.as_str()?;
        match name.as_str() {
            "integer" => text.parse().ok().map(Self::Integer),
            "base64" => STANDARD.decode(text).ok().map(Self::Bytes),
            "text_that_is_not_utf8_base64" => STANDARD.decode(text).ok().map(Self::BrokenText),
            _ => None,
        }
    }
}

/// The number, where JSON in canonical form says the same: not for infinity, minus zero, and whole numbers that are not exact.
fn exact_number(value: f64) -> Option<Number> {
    let is_exact = value.abs() <= 9_007_199_254_740_991.0 && !(value == 0.0 && value.is_sign_negative());
    is_exact.then(|| Number::from_f64(value)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &Cell, json: &Value, text: &str) {
        assert_eq!((&cell.to_json(), &*cell.text()), (json, text));
        let canonical = indelible_core::json::canonicalise(json.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&canonical).unwrap().as_f64(), json.as_f64());
        if *cell != Cell::Null {
            assert_eq!(Cell::from_key_json(&cell.to_key_json()).unwrap().to_json(), *json);
        }
    }

    #[test]
    fn values_are_kept_exactly() {
        check(&Cell::Null, &Value::Null, "");
        check(&Cell::Bool(true), &json!(true), "true");
        check(&Cell::Integer(-7), &json!(-7), "-7");
        check(&Cell::Integer(MAX_EXACT), &json!(MAX_EXACT), "9007199254740991");
        check(&Cell::Integer(MAX_EXACT + 1), &json!("9007199254740992"), "9007199254740992");
        check(&Cell::Integer(i64::MIN), &json!("-9223372036854775808"), "-9223372036854775808");
        check(&Cell::Real(0.1), &json!(0.1), "0.1");
        check(&Cell::Real(-0.0), &json!("-0"), "-0");
        check(&Cell::Real(f64::INFINITY), &json!("inf"), "inf");
        check(&Cell::Real(1e300), &json!(1e300_f64.to_string()), &1e300_f64.to_string());
        check(&Cell::Text("é".to_owned()), &json!("é"), "é");
        check(&Cell::Bytes(vec![0, 255]), &json!({ "base64": "AP8=" }), "00ff");
        check(&Cell::BrokenText(vec![0xff]), &json!({ "text_that_is_not_utf8_base64": "/w==" }), "\u{fffd}");
    }

    #[test]
    fn a_large_integer_of_a_key_stays_one() {
        let cell = Cell::Integer(i64::MAX);
        assert_eq!(Cell::from_key_json(&cell.to_key_json()), Some(cell));
        for bad in [json!(null), json!([1]), json!({}), json!({ "integer": "x" }), json!({ "integer": "1", "b": "" })] {
            assert_eq!(Cell::from_key_json(&bad), None, "{bad}");
        }
    }
}
