//! Bodies as they may stand on record.
//!
//! A body that is JSON, whole, not larger than [`Redaction::most_bytes`], not compressed, and that a log can keep exactly, is recorded with what is named in a [`Redaction`] replaced at any depth. Of any other body
//! the length and the SHA-256 are recorded. Beside redacted JSON there is no digest: it would let short secrets be guessed. A JSON text inside a JSON string is a string.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use indelible_core::{hex, json};
use serde_json::{Map, Value};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";
/// The most bytes of a body that is recorded, by default.
pub const DEFAULT_BODY: usize = 16 << 10;
/// What [`Redaction::most_bytes`] can be: two of them fit an event.
const MAX_BODY: usize = 28 << 10;
/// How deep a body may be: it stands some levels down in its entry, where 64 are the most.
const MAX_DEPTH: usize = 48;

/// What a name has in it that is secret with hardly an exception: `new_password`, `x-api-key`, `sessionToken`.
const USUAL_PARTS: [&str; 12] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "bearer",
];

/// Names that are as secret, and stand in others that are not.
const USUAL: [&str; 9] = ["authorization", "cookie", "setcookie", "pass", "pin", "cvv", "cvc", "otp", "totp"];

/// What is taken out of bodies.
#[derive(Clone, Debug)]
pub struct Redaction {
    members: Vec<String>,
    parts: Vec<String>,
    pointers: Vec<Vec<String>>,
    most: usize,
}

/// A text that is no pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pointer: write one like `/card/number`, with `*` for any member or element")]
pub struct PointerError(String);

impl Redaction {
    /// The names that are secret with hardly an exception: passwords, tokens, keys, and whatever has one of these in its name. That takes out some that are none (`max_tokens`):
    /// rather too much than too little.
    #[must_use]
    pub fn usual() -> Self {
        let whole = USUAL.into_iter().fold(Self::nothing(), Self::member);
        USUAL_PARTS.into_iter().fold(whole, Self::member_with)
    }

    /// Nothing is taken out: for bodies that are known to hold no secret.
    #[must_use]
    pub fn nothing() -> Self {
        Self { members: Vec::new(), parts: Vec::new(), pointers: Vec::new(), most: DEFAULT_BODY }
    }

    /// Takes out members of this name wherever they stand, with all that is in them. Case, and signs that are no letters or digits, make no difference.
    #[must_use]
    pub fn member(mut self, name: &str) -> Self {
        self.members.push(plain(name));
        self
    }

    /// Takes out members that have this in their name, compared in the same way. What has no letter or digit is in no name.
    #[must_use]
    pub fn member_with(mut self, part: &str) -> Self {
        self.parts.push(plain(part));
        self.parts.retain(|part| !part.is_empty());
        self
    }

    /// Whether what has this name is taken out.
    fn names(&self, name: &str) -> bool {
        let name = plain(name);
        self.members.contains(&name) || self.parts.iter().any(|part| name.contains(part))
    }

    /// Takes out what stands at an RFC 6901 pointer, in which `*` is any member or element.
    ///
    /// # Errors
    /// That it is none.
    pub fn pointer(mut self, pointer: &str) -> Result<Self, PointerError> {
        let rest = match pointer.strip_prefix('/') {
            Some(rest) => rest.split('/').map(unescape).collect(),
            None if pointer.is_empty() => Some(Vec::new()),
            None => None,
        };
        self.pointers.push(rest.ok_or_else(|| PointerError(pointer.escape_debug().take(64).collect()))?);
        Ok(self)
    }

    /// How large a body may be that is recorded, up to 28 KiB.
    #[must_use]
    pub fn most_bytes(self, most: usize) -> Self {
        Self { most: most.min(MAX_BODY), ..self }
    }

    /// Whether a body of this length is recorded.
    pub(crate) fn takes(&self, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| length <= self.most)
    }

    /// The body redacted; `None` where it is not JSON that can be kept.
    fn redact(&self, body: &[u8]) -> Option<Value> {
        let canonical = json::canonicalise(body).ok()?;
        let mut value: Value = serde_json::from_slice(&canonical).ok()?;
        let all: Vec<&[String]> = self.pointers.iter().map(Vec::as_slice).collect();
        self.walk(&mut value, &all);
        (depth(&value) <= MAX_DEPTH).then_some(value)
    }

    /// `pointers` are what is left of those that lead here.
    fn walk(&self, value: &mut Value, pointers: &[&[String]]) {
        if pointers.iter().any(|pointer| pointer.is_empty()) {
            *value = Value::from(REDACTED);
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if self.names(name) {
                        *member = Value::from(REDACTED);
                    } else {
                        self.walk(member, &step(pointers, name));
                    }
                }
            }
            Value::Array(elements) => {
                for (at, element) in elements.iter_mut().enumerate() {
                    self.walk(element, &step(pointers, &at.to_string()));
                }
            }
            _ => {}
        }
    }
}

/// What is left of the pointers that lead to a member.
fn step<'p>(pointers: &[&'p [String]], name: &str) -> Vec<&'p [String]> {
    let lead = |pointer: &&'p [String]| {
        let (first, rest) = pointer.split_first()?;
        (first == name || first == "*").then_some(rest)
    };
    pointers.iter().filter_map(lead).collect()
}

/// A name without what is often written otherwise: letters and digits.
fn plain(name: &str) -> String {
    name.chars().filter(|sign| sign.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn unescape(part: &str) -> Option<String> {
    let rest = part.replace("~0", "").replace("~1", "");
    (!rest.contains('~')).then(|| part.replace("~1", "/").replace("~0", "~"))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A body as it goes by.
pub(crate) struct Seen {
    redaction: Redaction,
    /// What was kept of it; `None` where it is not to be, or is too large.
    kept: Option<Vec<u8>>,
    digest: Digest,
    length: u64,
    whole: bool,
}

impl Seen {
    /// A body of which nothing was seen yet. What is no JSON by its headers is not kept.
    pub(crate) fn new(redaction: &Redaction, headers: &http::HeaderMap) -> Self {
        let kept = is_json(headers).then(Vec::new);
        Self { redaction: redaction.clone(), kept, digest: Digest::new(&SHA256), length: 0, whole: false }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.digest.update(bytes);
        let most = self.redaction.most;
        self.kept = self.kept.take().filter(|kept| kept.len() + bytes.len() <= most).map(|mut kept| {
            kept.extend_from_slice(bytes);
            kept
        });
    }

    /// It has come to its end.
    pub(crate) fn end(&mut self) {
        self.whole = true;
    }

    /// What is recorded of it; `None` of a body that is none.
    pub(crate) fn told(&self) -> Option<Value> {
        if self.length == 0 && self.whole {
            return None;
        }
        let mut told = Map::new();
        told.insert("bytes".to_owned(), self.length.into());
        if !self.whole {
            told.insert("read_to_its_end".to_owned(), false.into());
        }
        let kept = self.kept.as_deref().filter(|_| self.whole);
        match kept.and_then(|kept| self.redaction.redact(kept)) {
            Some(value) => told.insert("json".to_owned(), value),
            None => told.insert("sha256".to_owned(), hex::encode(self.digest.clone().finish().as_ref()).into()),
        };
        Some(Value::Object(told))
    }
}

/// Whether the headers say JSON, as it is.
fn is_json(headers: &http::HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let plain = headers.get(http::header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    plain && (essence == "application/json" || essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn headers(media_type: &str) -> http::HeaderMap {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, media_type.parse().unwrap());
        headers
    }

    fn told(redaction: &Redaction, media_type: &str, body: &[u8]) -> Value {
        let mut seen = Seen::new(redaction, &headers(media_type));
        for piece in body.chunks(7) {
            seen.add(piece);
        }
        seen.end();
        seen.told().unwrap()
    }

    #[test]
    fn members_and_pointers_are_taken_out_at_any_depth() {
        let redaction = Redaction::usual().pointer("/cards/*/number").unwrap().pointer("/a~1b").unwrap();
        let body = json!({
            "user": "mara", "Password": "p", "a/b": [1], "n": 1.5,
            "cards": [{ "number": "4111", "name": "x" }, { "number": 2 }],
            "deep": [[{ "x": { "api-key": { "v": 1 }, "APIKEY": 2, "number": 3 } }]],
        });
        let expected = json!({
            "user": "mara", "Password": REDACTED, "a/b": REDACTED, "n": 1.5,
            "cards": [{ "number": REDACTED, "name": "x" }, { "number": REDACTED }],
            "deep": [[{ "x": { "api-key": REDACTED, "APIKEY": REDACTED, "number": 3 } }]],
        });
        let text = body.to_string();
        for media_type in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert_eq!(told(&redaction, media_type, text.as_bytes()), json!({ "bytes": text.len(), "json": expected }));
        }
        let all = Redaction::nothing().pointer("").unwrap();
        assert_eq!(told(&all, "application/json", b"[1]")["json"], REDACTED);
    }

    #[test]
    fn a_secret_is_found_by_a_part_of_its_name_however_it_is_written() {
        let secret = [
            "new_password",
            "currentPassword",
            "passwordConfirmation",
            "pwd",
            "x-api-key",
            "session_token",
            "bearer",
            "totp",
            "secret_key",
            "password ",
            "pass.word",
            "PASSWORD2",
            "client-secret",
            "AWS_ACCESS_KEY_ID",
            "pass",
        ];
        for name in secret {
            let body = json!({ "a": [{ name: { "x": "SECRET" } }], "text": "x" });
            let expected = json!({ "a": [{ name: REDACTED }], "text": "x" });
            assert_eq!(Redaction::usual().redact(body.to_string().as_bytes()), Some(expected), "{name}");
        }
        let plain = json!({ "passenger": 1, "spin": 2, "key": 3, "author": 4, "compass": 5, "": 6, "...": 7 });
        assert_eq!(Redaction::usual().redact(plain.to_string().as_bytes()), Some(plain.clone()));
        let none = Redaction::nothing().member_with("...");
        assert_eq!(none.redact(plain.to_string().as_bytes()), Some(plain), "nothing is in every name");
        let inside = json!({ "credentials": { "user": "u", "pass": "p" } });
        let redacted = Redaction::usual().redact(inside.to_string().as_bytes());
        assert_eq!(redacted, Some(json!({ "credentials": REDACTED })));
    }

    #[test]
    fn of_anything_else_there_is_length_and_digest_and_no_content() {
        let usual = Redaction::usual();
        let deep = format!("{}1{}", "[".repeat(50), "]".repeat(50));
        let large = format!("[{}1]", "1,".repeat(DEFAULT_BODY));
        let rows: [(&str, &str); 9] = [
            ("text/plain", "{\"password\":\"p\"}"),
            ("application/x-www-form-urlencoded", "password=p"),
            ("application/json", "{\"password\":\"p\""),
            ("application/json", "{\"password\":\"p\",\"password\":\"q\"}"),
            ("application/json", "[12345678901234567890123]"),
            ("application/json", "[1e400]"),
            ("application/json", "[\"\\ud800\"]"),
            ("application/json", &deep),
            ("application/json", &large),
        ];
        for (media_type, body) in rows {
            let value = told(&usual, media_type, body.as_bytes());
            let names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            assert_eq!(names, ["bytes", "sha256"], "{media_type} {body:.40}");
        }
        let digest = "2500d0ed4d0ea1b3ea9f7f57a5f16c2fba8ad15d05d3c057d42f9796f1250169";
        assert_eq!(told(&usual, "text/plain", b"moin"), json!({ "bytes": 4, "sha256": digest }));
        let mut packed = headers("application/json");
        packed.insert(http::header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(!is_json(&packed));
    }

    #[test]
    fn half_a_body_is_not_taken_for_a_whole_one() {
        let mut seen = Seen::new(&Redaction::usual(), &headers("application/json"));
        assert_eq!(seen.told().unwrap()["bytes"], 0);
        seen.add(b"12");
        let half = seen.told().unwrap();
        assert_eq!((&half["read_to_its_end"], half.get("json")), (&Value::Bool(false), None));
        seen.end();
        assert_eq!(seen.told().unwrap(), json!({ "bytes": 2, "json": 12 }));
        let mut none = Seen::new(&Redaction::usual(), &headers("application/json"));
        none.end();
        assert_eq!(none.told(), None);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for text in ["a", "a/b", "/a~", "/a~2"] {
            assert!(Redaction::nothing().pointer(text).is_err(), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "SECRET[a-z]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(6, 64, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("(pass_?word|Token|a|b)", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Whether a secret stands below a secret name.
    fn leaks(value: &Value, secret: bool) -> bool {
        match value {
            Value::Object(members) => members.iter().any(|(name, value)| {
                leaks(value, secret || matches!(name.as_str(), "password" | "pass_word" | "Token"))
            }),
            Value::Array(elements) => elements.iter().any(|value| leaks(value, secret)),
            Value::String(text) => secret && text != REDACTED,
            _ => secret,
        }
    }

    proptest! {
        #[test]
        fn nothing_below_a_secret_name_stays(value in any_json()) {
            let redacted = Redaction::usual().redact(value.to_string().as_bytes()).unwrap();
            prop_assert!(!leaks(&redacted, false), "{redacted}");
        }

        #[test]
        fn no_body_is_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = told(&Redaction::usual(), "application/json", &[body.as_slice(), b"1"].concat());
        }
    }
}
