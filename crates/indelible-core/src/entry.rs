//! An entry: an event or control record as recorded, and the line that carries it in a segment.
//!
//! Writing goes in two steps, so that the expensive one needs no turn: [`EntryStart`] holds the body and the SHA-256 state
//! after it (any thread), [`EntryStart::seal`] appends the short tail that only the sequencer knows. Reading goes backwards:
//! every tail member has an alphabet of its own, so the tail is cut off the end without parsing the event
//! (`docs/format.md` section 1).
//!
//! INVARIANT(hashed-is-stored): the bytes that are hashed are the bytes that are stored; nothing is normalised later.
//! INVARIANT(all-inside): everything that has a meaning is inside the hashed bytes; a line has only the batch and the signature around them.
//!
//! Not here: whether an entry is *right* (`indelible::verify`), and the event's own rules ([`crate::event`]).

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    hex,
    time::{Micros, TEXT_LEN},
    tree::{Hash, LeafIndex, TreeSize},
};

/// The longest entry, in bytes. The C2SP entry bundle format has room for no more.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The longest event inside an entry, in bytes, after encryption.
pub const MAX_EVENT_BYTES: usize = 64_000;

/// The longest segment line: an entry, twenty digits of batch, the MAC and the punctuation between them.
pub const MAX_LINE_BYTES: usize = MAX_ENTRY_BYTES + 128;

/// What stands in the first entry after a kept checkpoint: which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptHead {
    /// The checkpoint's number, from 1.
    pub number: u64,
    /// Its root.
    pub root: Hash,
    /// Its tree size.
    pub size: TreeSize,
}

/// What the sequencer knows of an entry: everything behind the body.
#[derive(Clone, Debug)]
pub struct Tail<'a> {
    /// The kept checkpoint before this entry, if this is the first entry after one.
    pub head: Option<KeptHead>,
    /// Position.
    pub index: LeafIndex,
    /// Id of the entry-signing key.
    pub key: &'a str,
    /// Origin.
    pub log: &'a str,
    /// Whether it was acknowledged before it was durable.
    pub bounded: bool,
    /// Leaf hash of the entry before.
    pub prev: Hash,
    /// The log's clock, in the exact form of [`Micros`].
    pub recorded_at: &'a str,
}

/// Body and salt of an entry with the hash state behind the body.
#[derive(Clone)]
pub struct EntryStart {
    kind: BodyKind,
    body: Vec<u8>,
    state: Sha256,
    salt: [u8; 16],
    bounded: bool,
}

/// Which of the two bodies an entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `event`: a caller speaks.
    Event,
    /// `control`: the log speaks.
    Control,
}

impl BodyKind {
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Event => b"{\"event\":",
            Self::Control => b"{\"control\":",
        }
    }
}

impl EntryStart {
    /// Begins an entry around a canonical body.
    #[must_use]
    pub fn new(kind: BodyKind, canonical: impl Into<Vec<u8>>, salt: [u8; 16]) -> Self {
        let body = canonical.into();
        let state = Sha256::new_with_prefix([0]).chain_update(kind.prefix()).chain_update(&body);
        Self { kind, body, state, salt, bounded: false }
    }

    /// Marks the entry as acknowledged before it is durable.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// Whether [`EntryStart::bounded`] was called.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Upper bound of the finished line's length in bytes.
    #[must_use]
    pub fn line_bound(&self) -> usize {
        self.body.len() + 1024
    }

    /// The canonical body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends the whole segment line to `out`, signing the leaf hash with `sign`. Returns the leaf hash, the MAC, and where in
    /// `out` the entry's own bytes stand.
    pub fn seal(
        &self,
        tail: &Tail<'_>,
        batch: LeafIndex,
        sign: impl FnOnce(&Hash) -> [u8; 32],
        out: &mut Vec<u8>,
    ) -> (Hash, [u8; 32], std::ops::Range<usize>) {
        out.extend_from_slice(b"{\"batch\":");
        push_number(out, batch.0);
        out.extend_from_slice(b",\"entry\":");
        let from = out.len();
        out.extend_from_slice(self.kind.prefix());
        out.extend_from_slice(&self.body);
        let tail_from = out.len();
        self.push_tail(tail, out);
        let mut state = self.state.clone();
        state.update(out.get(tail_from..).unwrap_or_default());
        let leaf = Hash(state.finalize().into());
        let entry = from..out.len();
        let mac = sign(&leaf);
        out.extend_from_slice(b",\"mac\":\"");
        hex::push(out, &mac);
        out.extend_from_slice(b"\"}\n");
        (leaf, mac, entry)
    }

    fn push_tail(&self, tail: &Tail<'_>, out: &mut Vec<u8>) {
        if let Some(head) = &tail.head {
            out.extend_from_slice(b",\"head\":{\"number\":");
            push_number(out, head.number);
            out.extend_from_slice(b",\"root\":\"");
            hex::push(out, &head.root.0);
            out.extend_from_slice(b"\",\"size\":");
            push_number(out, head.size.0);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"index\":");
        push_number(out, tail.index.0);
        out.extend_from_slice(b",\"key\":\"");
        out.extend_from_slice(tail.key.as_bytes());
        out.extend_from_slice(b"\",\"log\":\"");
        out.extend_from_slice(tail.log.as_bytes());
        if self.bounded {
            out.extend_from_slice(b"\",\"mode\":\"bounded");
        }
        out.extend_from_slice(b"\",\"prev\":\"");
        hex::push(out, &tail.prev.0);
        out.extend_from_slice(b"\",\"recorded_at\":\"");
        out.extend_from_slice(tail.recorded_at.as_bytes());
        out.extend_from_slice(b"\",\"salt\":\"");
        hex::push(out, &self.salt);
        out.extend_from_slice(b"\",\"v\":1}");
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        // A remainder below ten always fits.
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// A stored entry, cut into its members. Borrowed from the stored bytes; nothing is verified.
#[derive(Clone, Debug)]
pub struct EntryRef<'a> {
    /// The whole entry: the leaf data.
    pub bytes: &'a [u8],
    /// Event or control record.
    pub kind: BodyKind,
    /// The canonical body. Envelope parsing does not look inside.
    pub body: &'a [u8],
    /// `head`, where present.
    pub head: Option<KeptHead>,
    /// `index`.
    pub index: LeafIndex,
    /// `key`.
    pub key: &'a str,
    /// `log`: the origin.
    pub log: &'a str,
    /// Whether `mode` is `bounded`.
    pub bounded: bool,
    /// `prev`.
    pub prev: Hash,
    /// `recorded_at`, of the right shape; the calendar is checked by [`EntryRef::recorded`].
    pub recorded_at: &'a str,
    /// `salt`.
    pub salt: [u8; 16],
    /// The text of `sealed`, where present.
    pub sealed: Option<&'a [u8]>,
}

/// A segment line, cut into its members.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Index of the first entry of its durable batch.
    pub batch: LeafIndex,
    /// The entry.
    pub entry: EntryRef<'a>,
    /// The entry signature.
    pub mac: [u8; 32],
}

/// Why bytes are not an entry or not a segment line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The line does not have the shape `{"batch":…,"entry":{…},"mac":"…"}`.
    #[error("not a segment line: `{0}` is missing or misspelt")]
    Envelope(&'static str),
    /// The line carries no entry signature.
    #[error("the line carries no entry signature")]
    Unsigned,
    /// A member of the entry's tail is missing or misspelt.
    #[error("not an entry: member `{0}` is missing or misspelt")]
    Member(&'static str),
    /// Longer than an entry may be.
    #[error("an entry of {0} bytes is longer than the {MAX_ENTRY_BYTES} that are allowed")]
    TooLong(usize),
}

impl<'a> Line<'a> {
    /// Cuts a line (without its line feed) into its members.
    ///
    /// # Errors
    /// [`EntryError`] where any byte outside the body is not as the format says.
    pub fn parse(line: &'a [u8]) -> Result<Self, EntryError> {
        let rest = line.strip_prefix(b"{\"batch\":").ok_or_else(|| unsigned_or(line, "batch"))?;
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(digits).ok_or(EntryError::Envelope("batch"))?;
        let batch = read_number(digits).ok_or(EntryError::Envelope("batch"))?;
        let rest = rest.strip_prefix(b",\"entry\":").ok_or(EntryError::Envelope("entry"))?;
        let rest = rest.strip_suffix(b"\"}").ok_or_else(|| unsigned_or(line, "mac"))?;
        let (rest, mac) = rest.split_at_checked(rest.len().wrapping_sub(64)).ok_or_else(|| unsigned_or(line, "mac"))?;
        let entry = rest.strip_suffix(b",\"mac\":\"").ok_or_else(|| unsigned_or(line, "mac"))?;
        let mac = hex::decode(mac).ok_or(EntryError::Envelope("mac"))?;
        Ok(Self { batch: LeafIndex(batch), entry: EntryRef::parse(entry)?, mac })
    }
}

fn unsigned_or(line: &[u8], member: &'static str) -> EntryError {
    let signed = memchr::memmem::find(line, b"\"mac\":\"").is_some();
    if signed || !line.starts_with(b"{") { EntryError::Envelope(member) } else { EntryError::Unsigned }
}

impl<'a> EntryRef<'a> {
    /// The id of its event; `None` for a control record.
    #[must_use]
    pub fn event_id(&self) -> Option<&'a str> {
        if self.kind == BodyKind::Event { top_level_string(self.body, "id") } else { None }
    }

    /// Cuts an entry into its members, from its end. The body is taken as it is.
    ///
    /// # Errors
    /// [`EntryError`] where a member of the tail is missing, misspelt or out of place.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let mut at = Backwards(bytes);
        at.suffix(b",\"v\":1}").ok_or(EntryError::Member("v"))?;
        let sealed = at.sealed()?;
        let salt = at.fixed(b",\"salt\":\"", 32).and_then(hex::decode).ok_or(EntryError::Member("salt"))?;
        let recorded_at = at.fixed(b",\"recorded_at\":\"", TEXT_LEN).and_then(time_shape);
        let recorded_at = recorded_at.ok_or(EntryError::Member("recorded_at"))?;
        let prev = at.fixed(b",\"prev\":\"", 64).and_then(Hash::from_hex).ok_or(EntryError::Member("prev"))?;
        let bounded = at.suffix(b",\"mode\":\"bounded\"").is_some();
        let log = at.string("log").and_then(|t| word(t, origin_byte, 128)).ok_or(EntryError::Member("log"))?;
        let key = at.string("key").and_then(|t| word(t, key_byte, 64)).ok_or(EntryError::Member("key"))?;
        let index = at.number("index").ok_or(EntryError::Member("index"))?;
        let head = at.head()?;
        let (kind, body) = match (at.0.strip_prefix(b"{\"event\":"), at.0.strip_prefix(b"{\"control\":")) {
            (Some(body), _) => (BodyKind::Event, body),
            (_, Some(body)) => (BodyKind::Control, body),
            _ => return Err(EntryError::Member("event")),
        };
        if !(body.starts_with(b"{") && body.ends_with(b"}")) {
            return Err(EntryError::Member("event"));
        }
        let index = LeafIndex(index);
        Ok(Self { bytes, kind, body, head, index, key, log, bounded, prev, recorded_at, salt, sealed })
    }

    /// `recorded_at` as a time; `None` where the calendar has no such moment.
    #[must_use]
    pub fn recorded(&self) -> Option<Micros> {
        Micros::parse_exact(self.recorded_at)
    }

    /// Whether the entry is in canonical form to the last byte (`--strict`): the body is canonical, within its limits, and
    /// the calendar has the time.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check_strict(&self) -> Result<(), String> {
        let canonical = crate::json::canonicalise(self.bytes).map_err(|error| error.to_string())?;
        if canonical != self.bytes {
            return Err("the entry is not in canonical form (RFC 8785)".to_owned());
        }
        if self.kind == BodyKind::Event && self.body.len() > MAX_EVENT_BYTES {
            return Err(format!("an event of {} bytes is longer than {MAX_EVENT_BYTES}", self.body.len()));
        }
        self.recorded().map(|_| ()).ok_or_else(|| format!("`{}` is no time", self.recorded_at))
    }
}

/// A reader that takes members off the end.
struct Backwards<'a>(&'a [u8]);

impl<'a> Backwards<'a> {
    fn suffix(&mut self, suffix: &[u8]) -> Option<()> {
        self.0 = self.0.strip_suffix(suffix)?;
        Some(())
    }

    /// Takes a string of `len` bytes; `opening` is all that stands before it, from the comma to the quote.
    #[inline]
    fn fixed<const N: usize>(&mut self, opening: &[u8; N], len: usize) -> Option<&'a [u8]> {
        let rest = self.0.strip_suffix(b"\"")?;
        let (rest, value) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
        self.0 = rest.strip_suffix(opening)?;
        Some(value)
    }

    /// Takes `,"name":"value"`; the value has no quote in it.
    fn string(&mut self, name: &str) -> Option<&'a [u8]> {
        let rest = self.0.strip_suffix(b"\"")?;
        let value_from = memchr::memrchr(b'"', rest)? + 1;
        let (before, value) = rest.split_at_checked(value_from)?;
        let before = before.strip_suffix(b":\"")?;
        self.0 = strip_name(before, name)?;
        Some(value)
    }

    /// Takes `,"name":123`.
    fn number(&mut self, name: &str) -> Option<u64> {
        let digits = self.0.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let (before, digits) = self.0.split_at_checked(self.0.len() - digits)?;
        let number = read_number(digits)?;
        self.0 = strip_name(before.strip_suffix(b":")?, name)?;
        Some(number)
    }

    fn sealed(&mut self) -> Result<Option<&'a [u8]>, EntryError> {
        if !self.0.ends_with(b"]") {
            return Ok(None);
        }
        // In a JSON string these quotes would carry a backslash: the last place where they do not is the member itself.
        let from = memchr::memmem::rfind(self.0, b",\"sealed\":[").ok_or(EntryError::Member("sealed"))?;
        let (before, member) = self.0.split_at_checked(from).ok_or(EntryError::Member("sealed"))?;
        self.0 = before;
        Ok(member.get(b",\"sealed\":".len()..))
    }

    fn head(&mut self) -> Result<Option<KeptHead>, EntryError> {
        let mut at = Backwards(self.0);
        let Some(()) = at.suffix(b"}") else { return Ok(None) };
        let Some(size) = at.number("size") else { return Ok(None) };
        let Some(root) = at.string("root").and_then(Hash::from_hex) else { return Ok(None) };
        let digits = at.0.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let (before, digits) = at.0.split_at_checked(at.0.len() - digits).ok_or(EntryError::Member("head"))?;
        let Some(before) = before.strip_suffix(b",\"head\":{\"number\":") else { return Ok(None) };
        let number = read_number(digits).ok_or(EntryError::Member("head"))?;
        self.0 = before;
        Ok(Some(KeptHead { number, root, size: TreeSize(size) }))
    }
}

fn strip_name<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    bytes.strip_suffix(b"\"")?.strip_suffix(name.as_bytes())?.strip_suffix(b",\"")
}

fn read_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, d| Some(n * 10 + u64::from(d.checked_sub(b'0')?)))
}

/// Every byte is looked at before the answer, so that the loop has no branch: every line that is read has two words.
fn word(text: &[u8], allowed: impl Fn(u8) -> bool, longest: usize) -> Option<&str> {
    let fits = !text.is_empty() && text.len() <= longest && text.iter().fold(true, |all, b| all & allowed(*b));
    if fits { std::str::from_utf8(text).ok() } else { None }
}

fn origin_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'.' | b'_' | b'~' | b'/' | b':' | b'@' | b'-')
}

fn key_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() | byte.is_ascii_digit() | (byte == b'-')
}

fn time_shape(text: &[u8]) -> Option<&str> {
    let shape = b"dddd-dd-ddTdd:dd:dd.ddddddZ";
    let same = |have: u8, want: u8| (have == want) & (want != b'd') | (have.is_ascii_digit() & (want == b'd'));
    let fits =
        text.len() == TEXT_LEN && text.iter().zip(shape).fold(true, |all, (have, want)| all & same(*have, *want));
    if fits { std::str::from_utf8(text).ok() } else { None }
}

/// The value of a string member at the top level of a canonical event, where it needs no unescaping; `id` never does.
#[must_use]
pub fn top_level_string<'a>(event: &'a [u8], name: &str) -> Option<&'a str> {
    let mut depth = 0_u32;
    let mut at = 0;
    let mut key: Option<&[u8]> = None;
    while let Some(byte) = event.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => key = None,
            b'"' => {
                let end = string_end(event, at + 1)?;
                let text = event.get(at + 1..end)?;
                at = end;
                if depth == 1 {
                    match key {
                        None => key = Some(text),
                        Some(key) if key == name.as_bytes() => return std::str::from_utf8(text).ok(),
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Index of the quote that ends the string whose content begins at `from`.
fn string_end(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// What the writer gets back for an entry, as it is written to files and sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireReceipt {
    /// Whether the id was recorded before with the same content, and this is the receipt of then.
    #[serde(default)]
    pub duplicate: bool,
    /// The event's id.
    pub id: String,
    /// Position.
    pub index: u64,
    /// Id of the entry-signing key.
    pub key: String,
    /// Leaf hash, lower-case hexadecimal.
    pub leaf_hash: String,
    /// Entry signature, lower-case hexadecimal.
    pub mac: String,
    /// Origin.
    pub origin: String,
    /// The log's clock.
    pub recorded_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn tail(head: Option<KeptHead>) -> Tail<'static> {
        Tail {
            head,
            index: LeafIndex(9_007_199_254_740_991),
            key: "es1-0011223344556677",
            log: "example.com/a@b:c~d_e",
            bounded: false,
            prev: Hash([7; 32]),
            recorded_at: "2026-01-02T03:04:05.000006Z",
        }
    }

    #[track_caller]
    fn check_round_trip(start: &EntryStart, tail: &Tail<'_>, body: &[u8]) {
        let mut out = b"before".to_vec();
        let (leaf, mac, range) = start.seal(tail, LeafIndex(12), |leaf| leaf.0, &mut out);
        let line = out.strip_prefix(b"before").unwrap().strip_suffix(b"\n").unwrap();
        let parsed = Line::parse(line).unwrap();
        assert_eq!(parsed.entry.bytes, &out[range]);
        assert_eq!(leaf, leaf_hash(parsed.entry.bytes));
        assert_eq!((parsed.mac, mac), (leaf.0, leaf.0));
        assert_eq!(parsed.batch, LeafIndex(12));
        assert_eq!(parsed.entry.body, body);
        assert_eq!(parsed.entry.head, tail.head);
        assert_eq!(parsed.entry.index, tail.index);
        assert_eq!(parsed.entry.bounded, start.is_bounded());
        assert_eq!(
            (parsed.entry.key, parsed.entry.log, parsed.entry.prev, parsed.entry.recorded_at),
            (tail.key, tail.log, tail.prev, tail.recorded_at)
        );
    }

    #[test]
    fn lines_round_trip() {
        let head = KeptHead { number: 3, root: Hash([9; 32]), size: TreeSize(77) };
        let look_alike = br#"{"a":{"b":1,"head":{"number":3,"root":"0909090909090909090909090909090909090909090909090909090909090909","size":77}}}"#;
        for body in [&b"{}"[..], br#"{"action":"x","z":"\"}"}"#, look_alike] {
            for head in [None, Some(head)] {
                check_round_trip(&EntryStart::new(BodyKind::Event, body, [1; 16]), &tail(head), body);
                check_round_trip(&EntryStart::new(BodyKind::Control, body, [1; 16]).bounded(), &tail(head), body);
            }
        }
    }

    #[test]
    fn every_changed_byte_outside_the_body_is_refused_or_changes_a_member() {
        let start = EntryStart::new(BodyKind::Event, b"{}", [1; 16]);
        let mut out = Vec::new();
        start.seal(&tail(None), LeafIndex(1), |leaf| leaf.0, &mut out);
        out.pop();
        let original = format!("{:?}", Line::parse(&out).unwrap());
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut changed = out.clone();
                changed[at] ^= 1 << bit;
                if let Ok(line) = Line::parse(&changed) {
                    assert_ne!(format!("{line:?}"), original, "byte {at} bit {bit}");
                }
            }
            assert!(Line::parse(&out[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_line_without_signature_is_told_apart() {
        assert_eq!(Line::parse(br#"{"action":"x"}"#).unwrap_err(), EntryError::Unsigned);
        assert_eq!(Line::parse(br#"{"batch":0,"entry":{}}"#).unwrap_err(), EntryError::Unsigned);
        assert_eq!(Line::parse(b"garbage").unwrap_err(), EntryError::Envelope("batch"));
    }

    #[test]
    fn the_id_is_found_at_the_top_level_only() {
        let event = br#"{"a":"id","b":{"id":"inner","x":["id","y"]},"c":"\"id\":\"no\"","id":"yes","z":"id"}"#;
        assert_eq!(top_level_string(event, "id"), Some("yes"));
        assert_eq!(top_level_string(event, "nothing"), None);
        assert_eq!(top_level_string(b"{\"id", "id"), None);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for n in [0, 9, 10, 99, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, n);
            assert_eq!(out, n.to_string().into_bytes());
        }
    }
}
