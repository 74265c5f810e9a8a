//! Why a text was refused, where, and what to do about it.

use std::fmt;

use super::pointer::pointer_to;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// There is nothing but white space.
    Empty,
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The text ends inside a value.
    Truncated,
    /// A character that cannot stand there.
    Unexpected,
    /// Something follows the value.
    TrailingData,
    /// Arrays and objects stand too deep inside one another.
    TooDeep,
    /// Two members of one object have the same name.
    DuplicateMember,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// A control character that is not escaped.
    ControlCharacter,
    /// A backslash with something after it that JSON does not know.
    BadEscape,
    /// `NaN` or `Infinity`.
    NotANumber,
    /// A number such as `007`.
    LeadingZero,
    /// A number that the canonical form would change.
    InexactNumber,
}

/// A text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, as an RFC 6901 pointer; empty for the whole value.
    pub pointer: String,
    /// Where, in bytes from the beginning of the text.
    pub offset: usize,
    /// What stands there, shortened.
    pub found: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, offset, found, .. } = self;
        let place = Place(&self.pointer);
        match kind {
            JsonErrorKind::Empty => write!(f, "the text is empty: send one JSON value"),
            JsonErrorKind::InvalidUtf8 => {
                write!(f, "byte {offset}, {place}, is not UTF-8: send UTF-8, and binary data as base64")
            }
            JsonErrorKind::Truncated => write!(f, "the text ends at byte {offset}, {place}: send the whole value"),
            JsonErrorKind::Unexpected => write!(f, "unexpected `{found}` {place}, byte {offset}: send strict JSON"),
            JsonErrorKind::TrailingData => {
                write!(f, "`{found}` follows the value, byte {offset}: send one JSON value at a time")
            }
            JsonErrorKind::TooDeep => {
                write!(
                    f,
                    "nesting {place} is too deep: an entry has at most {} levels; send it flatter",
                    super::MAX_DEPTH
                )
            }
            JsonErrorKind::DuplicateMember => {
                write!(f, "member {found} {place} stands twice in its object: send it once")
            }
            JsonErrorKind::LoneSurrogate => {
                write!(f, "`{found}` {place} is half of a surrogate pair: send the whole character, or U+FFFD")
            }
            JsonErrorKind::ControlCharacter => {
                write!(f, "control character {found} {place}, byte {offset}, is not escaped: send it as `\\u00XX`")
            }
            JsonErrorKind::BadEscape => {
                write!(f, "`{found}` {place} is no escape of JSON: send a backslash as `\\\\`")
            }
            JsonErrorKind::NotANumber => {
                write!(f, "`{found}` {place} is no number of JSON: send null or a string")
            }
            JsonErrorKind::LeadingZero => {
                write!(f, "number `{found}` {place} has a leading zero: drop it, or send a string")
            }
            JsonErrorKind::InexactNumber => {
                write!(f, "number `{found}` {place} cannot be kept exactly: send it as a string")
            }
        }
    }
}

/// "at `/a/b`", or words for the whole value.
struct Place<'p>(&'p str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { write!(f, "at the top level") } else { write!(f, "at `{}`", self.0) }
    }
}

/// What the hot path hands up: two words. The rest is found once it is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    kind: JsonErrorKind,
    offset: usize,
}

impl Fault {
    #[cold]
    pub(super) fn new(kind: JsonErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// The error for a fault in `text`.
    #[cold]
    pub(super) fn in_text(self, text: &str) -> JsonError {
        let Self { mut kind, offset } = self;
        if kind == JsonErrorKind::Unexpected && offset >= text.len() {
            kind = if text.trim_ascii().is_empty() { JsonErrorKind::Empty } else { JsonErrorKind::Truncated };
        }
        let rest = text.get(offset..).unwrap_or_default();
        JsonError { kind, pointer: pointer_to(text, offset), offset, found: found(kind, rest) }
    }
}

const SHOWN_CHARS: usize = 40;

/// The part of `rest` that the message names.
fn found(kind: JsonErrorKind, rest: &str) -> String {
    let first = rest.chars().next();
    match kind {
        JsonErrorKind::Empty | JsonErrorKind::InvalidUtf8 | JsonErrorKind::Truncated | JsonErrorKind::TooDeep => {
            String::new()
        }
        JsonErrorKind::ControlCharacter => first.map(|c| format!("U+{:04X}", u32::from(c))).unwrap_or_default(),
        JsonErrorKind::BadEscape => rest.chars().take(2).collect(),
        JsonErrorKind::LoneSurrogate => rest.chars().take(6).collect(),
        JsonErrorKind::Unexpected | JsonErrorKind::TrailingData => first.into_iter().collect(),
        JsonErrorKind::DuplicateMember => {
            let name = rest.trim_start_matches('"').split('"').next().unwrap_or_default();
            format!("`{}`", shorten(name))
        }
        JsonErrorKind::NotANumber | JsonErrorKind::LeadingZero | JsonErrorKind::InexactNumber => {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
            shorten(rest.get(..end).unwrap_or_default())
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
