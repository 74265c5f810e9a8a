//! JSON Lines of older signers: an HMAC over the record's JSON with sorted keys, kept in a member of the record.
//!
//! What such signers hashed is what Python's `json.dumps(record, sort_keys=True)` writes, with or without spaces behind the
//! separators, in ASCII or in UTF-8. Numbers are taken as they are spelt: whoever wrote the line spelt them so when signing.
//! The old signature says that a holder of the old key wrote the record. It says nothing of records that are gone.

use std::{collections::BTreeMap, fmt};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use indelible_core::hex;
use serde::{Deserialize, de};
use serde_json::{Value, json, value::RawValue};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::RecordError;

/// Deeper than the log takes, and far from where the stack ends.
const MAX_DEPTH: usize = 64;

/// The bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;

/// How the older signer wrote what it hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// `sorted`: `", "` and `": "`, ASCII. Python's default with `sort_keys=True`.
    Sorted,
    /// `sorted-compact`: `","` and `":"`, ASCII.
    SortedCompact,
    /// `sorted-utf8`: as `sorted`, with `ensure_ascii=False`.
    SortedUtf8,
    /// `sorted-compact-utf8`: as `sorted-compact`, with `ensure_ascii=False`.
    SortedCompactUtf8,
}

impl Canonical {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("sorted-compact", Self::SortedCompact),
        ("sorted", Self::Sorted),
        ("sorted-compact-utf8", Self::SortedCompactUtf8),
        ("sorted-utf8", Self::SortedUtf8),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, form)| *form == self).map_or("", |(name, _)| name)
    }

    fn separators(self) -> (&'static str, &'static str) {
        match self {
            Self::Sorted | Self::SortedUtf8 => (", ", ": "),
            Self::SortedCompact | Self::SortedCompactUtf8 => (",", ":"),
        }
    }

    fn is_ascii(self) -> bool {
        matches!(self, Self::Sorted | Self::SortedCompact)
    }
}

/// The older signer's key. It is wiped from memory when it goes.
#[derive(Clone)]
pub struct OldKey(Zeroizing<Vec<u8>>);

impl OldKey {
    /// The key is these bytes; one line feed at their end is that of a text file.
    ///
    /// # Errors
    /// Where there is nothing else.
    pub fn new(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.is_empty() { Err("the old key is empty") } else { Ok(Self(bytes)) }
    }
}

impl fmt::Debug for OldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OldKey(***)")
    }
}

/// How old signatures are looked for and checked.
#[derive(Clone, Debug)]
pub struct OldSignature {
    /// The member that holds it.
    pub field: String,
    /// The key; where there is none, nothing is checked.
    pub key: Option<OldKey>,
    /// What was hashed; every form is tried where none is named.
    pub canonical: Option<Canonical>,
}

/// What came of an old signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    /// It was made with this key over this record, written like this.
    Valid(Canonical),
    /// It was not.
    Invalid,
    /// The key was not given.
    Unchecked,
    /// The record has none.
    Missing,
}

impl SignatureCheck {
    /// `valid`, `invalid`, `unchecked` or `missing`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Invalid => "invalid",
            Self::Unchecked => "unchecked",
            Self::Missing => "missing",
        }
    }
}

impl OldSignature {
    /// Checks a record, and makes the details that keep it with its signature and the result.
    pub(crate) fn details(&self, record: &RawValue) -> Result<(Value, SignatureCheck), RecordError> {
        let Tree::Object(mut members) = read(record, 0)? else { return Err(RecordError::Json(no_object())) };
        let signature = members.remove(&self.field);
        let text = match &signature {
            Some(Tree::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let check = self.check(&Tree::Object(members), signature.is_some(), text);
        let mut told = json!({ "algorithm": "hmac-sha256", "check": check.name(), "member": self.field });
        if let (SignatureCheck::Valid(form), Some(told)) = (check, told.as_object_mut()) {
            told.insert("canonical".to_owned(), form.name().into());
        }
        let mut details = json!({ "old_signature": told, "signed_before": signature.is_some() });
        // The log spells numbers in one way. A record that it would spell otherwise is kept as text, so that
        // the old signature can be checked again.
        let (member, kept) = match is_spelt_canonically(record) {
            true => ("record", serde_json::from_str(record.get()).map_err(RecordError::Json)?),
            false => ("record_text", Value::from(record.get())),
        };
        if let Some(details) = details.as_object_mut() {
            details.insert(member.to_owned(), kept);
        }
        Ok((details, check))
    }

    fn check(&self, record: &Tree<'_>, is_there: bool, signature: Option<&str>) -> SignatureCheck {
        match (&self.key, signature.and_then(decode)) {
            _ if !is_there => SignatureCheck::Missing,
            (None, _) => SignatureCheck::Unchecked,
            (Some(_), None) => SignatureCheck::Invalid,
            (Some(key), Some(mac)) => {
                let forms = Canonical::ALL.map(|(_, form)| form);
                let tried = forms.into_iter().filter(|form| self.canonical.is_none_or(|only| only == *form));
                let valid = |form: &Canonical| {
                    let mut text = String::new();
                    write(record, *form, &mut text);
                    verifies(&key.0, text.as_bytes(), &mac)
                };
                tried.into_iter().find(valid).map_or(SignatureCheck::Invalid, SignatureCheck::Valid)
            }
        }
    }
}

fn no_object() -> serde_json::Error {
    de::Error::custom("the record is no object")
}

fn verifies(key: &[u8], text: &[u8], mac: &[u8; MAC_BYTES]) -> bool {
    let Ok(hmac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    hmac.chain_update(text).verify_slice(mac).is_ok()
}

/// Hexadecimal or base64, with or without the algorithm's name before it.
fn decode(text: &str) -> Option<[u8; MAC_BYTES]> {
    let text = text.strip_prefix("sha256=").or_else(|| text.strip_prefix("sha256:")).unwrap_or(text);
    if let Some(mac) = hex::decode(text.to_ascii_lowercase().as_bytes()) {
        return Some(mac);
    }
    let bare = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()?;
    bytes.try_into().ok()
}

/// Whether the log writes every number of the record as the record does.
fn is_spelt_canonically(record: &RawValue) -> bool {
    fn numbers(tree: &Tree<'_>) -> bool {
        match tree {
            Tree::Number(text) => {
                indelible_core::json::canonicalise(text.as_bytes()).is_ok_and(|canonical| canonical == text.as_bytes())
            }
            Tree::Word(_) | Tree::Text(_) => true,
            Tree::Array(elements) => elements.iter().all(numbers),
            Tree::Object(members) => members.values().all(numbers),
        }
    }
    read(record, 0).is_ok_and(|tree| numbers(&tree))
}

/// JSON with its numbers as they are spelt.
enum Tree<'a> {
    /// `true`, `false` or `null`.
    Word(&'a str),
    Number(&'a str),
    Text(String),
    Array(Vec<Self>),
    /// Sorted by code points, as Python sorts.
    Object(BTreeMap<String, Self>),
}

/// The members of an object; a name that comes twice is an error, for nobody knows which of the two was signed.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(name.clone(), value).is_some() {
                        return Err(de::Error::custom(format!("`{name}` is there twice")));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Visitor).map(Members)
    }
}

fn read(raw: &RawValue, depth: usize) -> Result<Tree<'_>, RecordError> {
    let text = raw.get();
    if depth > MAX_DEPTH {
        return Err(RecordError::Json(de::Error::custom(format!("it is nested deeper than {MAX_DEPTH} levels"))));
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(RecordError::Json)?;
            let read = members.into_iter().map(|(name, value)| Ok((name, read(value, depth + 1)?)));
            read.collect::<Result<_, _>>().map(Tree::Object)
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(RecordError::Json)?;
            elements.into_iter().map(|value| read(value, depth + 1)).collect::<Result<_, _>>().map(Tree::Array)
        }
        Some(b'"') => serde_json::from_str(text).map(Tree::Text).map_err(RecordError::Json),
        Some(b't' | b'f' | b'n') => Ok(Tree::Word(text)),
        _ => Ok(Tree::Number(text)),
    }
}

fn write(tree: &Tree<'_>, form: Canonical, out: &mut String) {
    let (between, behind_name) = form.separators();
    match tree {
        Tree::Word(text) | Tree::Number(text) => out.push_str(text),
        Tree::Text(text) => write_text(text, form, out),
        Tree::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { between });
                write(element, form, out);
            }
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { between });
                write_text(name, form, out);
                out.push_str(behind_name);
                write(value, form, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, form: Canonical, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (form.is_ascii() && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, form: Canonical) -> String {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let mut out = String::new();
        write(&read(raw, 0).unwrap(), form, &mut out);
        out
    }

    #[test]
    fn writes_as_python_does() {
        let text = "{\"b\":[1.0,1e-07,{}],\"a\":\"é\\u007f\\n\\u0001/\\ud83d\\ude00\",\"ä\":null, \"c\":[ ] }";
        let expected = [
            (
                Canonical::Sorted,
                r#"{"a": "\u00e9\u007f\n\u0001/\ud83d\ude00", "b": [1.0, 1e-07, {}], "c": [], "\u00e4": null}"#,
            ),
            (
                Canonical::SortedCompact,
                r#"{"a":"\u00e9\u007f\n\u0001/\ud83d\ude00","b":[1.0,1e-07,{}],"c":[],"\u00e4":null}"#,
            ),
            (
                Canonical::SortedUtf8,
                "{\"a\": \"é\u{7f}\\n\\u0001/😀\", \"b\": [1.0, 1e-07, {}], \"c\": [], \"ä\": null}",
            ),
            (Canonical::SortedCompactUtf8, "{\"a\":\"é\u{7f}\\n\\u0001/😀\",\"b\":[1.0,1e-07,{}],\"c\":[],\"ä\":null}"),
        ];
        for (form, expect) in expected {
            assert_eq!(written(text, form), expect);
        }
    }

    fn details(line: &str, key: Option<&str>, canonical: Option<Canonical>) -> (Value, SignatureCheck) {
        let key = key.map(|key| OldKey::new(key.into()).unwrap());
        let old = OldSignature { field: "signature".to_owned(), key, canonical };
        old.details(serde_json::from_str(line).unwrap()).unwrap()
    }

    fn signed(record: &str, form: Canonical, spell: impl Fn(&[u8]) -> String) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(b"old").unwrap().chain_update(written(record, form));
        let body = record.strip_suffix('}').unwrap();
        format!(r#"{body},"signature":"{}"}}"#, spell(&mac.finalize().into_bytes()))
    }

    #[test]
    fn old_signatures_are_checked() {
        let record = r#"{"user":"é","n":7}"#;
        let spellings: [fn(&[u8]) -> String; 4] = [
            hex::encode,
            |mac| format!("sha256={}", hex::encode(mac).to_uppercase()),
            |mac| base64::engine::general_purpose::STANDARD.encode(mac),
            |mac| URL_SAFE_NO_PAD.encode(mac),
        ];
        for (name, form) in Canonical::ALL {
            for spell in spellings {
                let line = signed(record, form, spell);
                let (kept, check) = details(&line, Some("old\n"), None);
                assert_eq!(check, SignatureCheck::Valid(form), "{line}");
                assert_eq!(kept["old_signature"]["canonical"], name);
                assert_eq!(kept["record"]["user"], "é");
                assert_eq!(kept["signed_before"], true);
                assert_eq!(details(&line, Some("new"), None).1, SignatureCheck::Invalid);
                assert_eq!(details(&line, None, None).1, SignatureCheck::Unchecked);
                assert_eq!(details(&line.replace('7', "8"), Some("old"), None).1, SignatureCheck::Invalid);
            }
        }
        let line = signed(record, Canonical::Sorted, hex::encode);
        assert_eq!(details(&line, Some("old"), Some(Canonical::SortedCompact)).1, SignatureCheck::Invalid);
        assert_eq!(details(record, Some("old"), None).1, SignatureCheck::Missing);
        assert_eq!(details(r#"{"signature":"short"}"#, Some("old"), None).1, SignatureCheck::Invalid);
        assert_eq!(details(r#"{"signature":7}"#, Some("old"), None).1, SignatureCheck::Invalid);
    }

    #[test]
    fn numbers_that_the_log_would_spell_otherwise_stay_text() {
        for (record, exact) in [(r#"{"n":1.5}"#, true), (r#"{"n":1.0}"#, false), (r#"{"n":9007199254740993}"#, false)] {
            let line = signed(record, Canonical::Sorted, hex::encode);
            let (kept, check) = details(&line, Some("old"), None);
            assert_eq!(check, SignatureCheck::Valid(Canonical::Sorted));
            assert_eq!(kept.get("record").is_some(), exact, "{kept}");
            assert!(exact || kept["record_text"] == line, "{kept}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let old = OldSignature { field: "s".to_owned(), key: None, canonical: None };
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        for bad in [r#"{"a":1,"a":2}"#, r#"{"a":"\ud800"}"#, "[1]", &deep] {
            assert!(old.details(serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
        }
        assert!(OldKey::new(b"\n".to_vec()).is_err());
        assert_eq!(format!("{:?}", OldKey::new(b"secret".to_vec()).unwrap()), "OldKey(***)");
    }
}
