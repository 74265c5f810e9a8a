//! The pass over the text.
//!
//! `text[run..pos]` is read, canonical as it stands, and not yet copied: the *run*. Where the canonical form differs from
//! the text (white space, another escape, another spelling of a number) the run is copied and a new one begins.

use std::{cmp::Ordering, ops::Range};

use super::{
    error::{Fault, JsonError, JsonErrorKind},
    number,
    order::Name,
    scan::plain_end,
};

/// A canonical value and the members of its outermost object.
pub(crate) struct CanonicalObject {
    pub(crate) bytes: Vec<u8>,
    pub(crate) members: Vec<Member>,
}

/// Where a member stands in the output, and its name in the text.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    start: usize,
    name_end: usize,
    end: usize,
    text_start: usize,
    text_end: usize,
    escaped: bool,
}

impl Member {
    /// The name, canonical, without quotes.
    pub(crate) fn name(&self) -> Range<usize> {
        self.start + 1..self.name_end - 1
    }

    /// The value.
    pub(crate) fn value(&self) -> Range<usize> {
        self.name_end + 1..self.end
    }

    #[inline]
    fn name_in<'t>(&self, text: &'t [u8]) -> Name<'t> {
        let text = text.get(self.text_start + 1..self.text_end - 1).unwrap_or_default();
        Name { text, escaped: self.escaped }
    }

    fn moved_to(self, start: usize) -> Self {
        let shift = |place: usize| place - self.start + start;
        Self { start, name_end: shift(self.name_end), end: shift(self.end), ..self }
    }
}

/// Room for the open members of a usual event, so that the table is allocated once; 960 bytes, which allocators still
/// hand out from a thread's own store.
const USUAL_MEMBERS: usize = 20;

pub(super) struct Writer<'t, 'o> {
    text: &'t str,
    bytes: &'t [u8],
    pos: usize,
    run: usize,
    out: &'o mut Vec<u8>,
    /// Members of all objects that are open, the innermost last.
    members: Vec<Member>,
    /// Where an object's members are put in order: keys with places in the table, the table's part anew, their text.
    order: Vec<(u64, usize)>,
    sorted: Vec<Member>,
    scratch: Vec<u8>,
    max_depth: usize,
}

impl<'t, 'o> Writer<'t, 'o> {
    /// Appends the canonical form of `text`; the members of an outermost object are returned in canonical order.
    pub(super) fn write(text: &'t [u8], out: &'o mut Vec<u8>, max_depth: usize) -> Result<Vec<Member>, JsonError> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let valid = text.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
            Fault::new(JsonErrorKind::InvalidUtf8, error.valid_up_to()).in_text(valid.unwrap_or_default())
        })?;
        out.reserve(text.len());
        let members = Vec::with_capacity(USUAL_MEMBERS);
        let (order, sorted, scratch) = (Vec::new(), Vec::new(), Vec::new());
        let bytes = text.as_bytes();
        let mut writer = Self { text, bytes, pos: 0, run: 0, out, members, order, sorted, scratch, max_depth };
        writer.whole().map_err(|fault| fault.in_text(text))?;
        Ok(writer.members)
    }

    fn whole(&mut self) -> Result<(), Fault> {
        self.skip_space();
        self.value(0)?;
        self.skip_space();
        if self.pos < self.bytes.len() {
            return Err(Fault::new(JsonErrorKind::TrailingData, self.pos));
        }
        self.flush(self.pos);
        Ok(())
    }

    /// `depth` arrays and objects are open.
    #[inline]
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_escaped| ()),
            _ => self.other_value(depth),
        }
    }

    /// A value that is not a string.
    fn other_value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'N' | b'I') => self.fail(JsonErrorKind::NotANumber),
            _ => self.fail(JsonErrorKind::Unexpected),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(depth)?;
        let base = self.members.len();
        if self.close(b'}') {
            return Ok(());
        }
        let mut sorted = true;
        loop {
            let member = self.member(depth)?;
            sorted = sorted && self.follows(base, &member);
            self.members.push(member);
            if self.next_or_close(b'}')? {
                break;
            }
        }
        if !sorted {
            self.sort_members(base, depth == 0)?;
        }
        if depth > 0 {
            self.members.truncate(base);
        }
        Ok(())
    }

    #[inline]
    fn member(&mut self, depth: usize) -> Result<Member, Fault> {
        if self.peek() != Some(b'"') {
            return self.fail(JsonErrorKind::Unexpected);
        }
        let (text_start, start) = (self.pos, self.written());
        let escaped = self.string()?;
        let (text_end, name_end) = (self.pos, self.written());
        self.skip_space();
        self.take(b':')?;
        self.skip_space();
        self.value(depth + 1)?;
        Ok(Member { start, name_end, end: self.written(), text_start, text_end, escaped })
    }

    /// Whether the member may stand after those of its object that came before it.
    #[inline]
    fn follows(&self, base: usize, member: &Member) -> bool {
        match self.members.last() {
            Some(last) if self.members.len() > base => {
                last.name_in(self.bytes).compare(member.name_in(self.bytes)) == Ordering::Less
            }
            _ => true,
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(depth)?;
        if self.close(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.next_or_close(b']')? {
                return Ok(());
            }
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= self.max_depth {
            return self.fail(JsonErrorKind::TooDeep);
        }
        self.pos += 1;
        self.skip_space();
        Ok(())
    }

    #[inline]
    fn close(&mut self, bracket: u8) -> bool {
        let closed = self.peek() == Some(bracket);
        self.pos += usize::from(closed);
        closed
    }

    /// After an element: past a comma, or past the closing bracket (`true`).
    #[inline]
    fn next_or_close(&mut self, bracket: u8) -> Result<bool, Fault> {
        self.skip_space();
        if self.close(bracket) {
            return Ok(true);
        }
        self.take(b',')?;
        self.skip_space();
        Ok(false)
    }

    /// Brings the members from `base` on, just closed, into canonical order in the output, and in the table where it is kept.
    #[inline(never)]
    fn sort_members(&mut self, base: usize, kept: bool) -> Result<(), Fault> {
        self.flush(self.pos - 1);
        let text = self.bytes;
        let members = self.members.get_mut(base..).unwrap_or_default();
        let Some(first) = members.first().map(|member| member.start) else { return Ok(()) };
        self.order.clear();
        self.order.reserve(USUAL_MEMBERS);
        self.order.extend(members.iter().enumerate().map(|(at, member)| (member.name_in(text).key(), at)));
        // Numbers sort several times as fast as names, and for usual names they are all it takes.
        self.order.sort_unstable();
        let told = self.order.first().is_some_and(|(key, _)| *key != 0)
            && self.order.array_windows().all(|[(a, _), (b, _)]| a != b);
        if !told && let Err(second) = sort_by_name(members, &mut self.order, text) {
            return Err(Fault::new(JsonErrorKind::DuplicateMember, second));
        }
        self.sorted.clear();
        self.scratch.clear();
        self.scratch.reserve(text.len().min(self.out.capacity()));
        if kept {
            self.sorted.reserve(members.len());
        }
        for &(_, at) in &self.order {
            let Some(member) = members.get(at) else { continue };
            if !self.scratch.is_empty() {
                self.scratch.push(b',');
            }
            if kept {
                self.sorted.push(member.moved_to(first + self.scratch.len()));
            }
            self.scratch.extend_from_slice(self.out.get(member.start..member.end).unwrap_or_default());
        }
        for (member, sorted) in members.iter_mut().zip(&self.sorted) {
            *member = *sorted;
        }
        self.out.truncate(first);
        self.out.extend_from_slice(&self.scratch);
        Ok(())
    }

    /// Reads the string that begins here; whether there is a backslash in its text.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        let end = plain_end(self.bytes, self.pos + 1);
        if self.bytes.get(end) == Some(&b'"') {
            self.pos = end + 1;
            return Ok(false);
        }
        self.pos = end;
        self.rest_of_string()?;
        Ok(true)
    }

    /// Reads on from the first backslash of a string.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fail(JsonErrorKind::ControlCharacter),
                None => return self.fail(JsonErrorKind::Unexpected),
            }
            self.pos = plain_end(self.bytes, self.pos);
        }
        self.pos += 1;
        Ok(())
    }

    /// Reads an escape and writes it as RFC 8785 wants it, or leaves it in the run where it already is.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.pos += 2,
            Some(b'/') => self.replace(self.pos + 2, "/"),
            Some(b'u') => self.unicode_escape()?,
            Some(_) => return self.fail(JsonErrorKind::BadEscape),
            None => return Err(Fault::new(JsonErrorKind::Unexpected, self.bytes.len())),
        }
        Ok(())
    }

    fn unicode_escape(&mut self) -> Result<(), Fault> {
        let first = self.unit(self.pos)?;
        let (code, end) = match first {
            0xd800..=0xdbff => (self.pair(first)?, self.pos + 12),
            _ => (u32::from(first), self.pos + 6),
        };
        let Some(c) = char::from_u32(code) else { return self.fail(JsonErrorKind::LoneSurrogate) };
        match c {
            '\u{8}' => self.replace(end, "\\b"),
            '\t' => self.replace(end, "\\t"),
            '\n' => self.replace(end, "\\n"),
            '\u{c}' => self.replace(end, "\\f"),
            '\r' => self.replace(end, "\\r"),
            '"' => self.replace(end, "\\\""),
            '\\' => self.replace(end, "\\\\"),
            '\0'..='\x1f' => self.replace(end, &format!("\\u{code:04x}")),
            _ => self.replace(end, c.encode_utf8(&mut [0; 4])),
        }
        Ok(())
    }

    fn pair(&self, high: u16) -> Result<u32, Fault> {
        let low = match self.bytes.get(self.pos + 6..self.pos + 8) {
            Some(b"\\u") => self.unit(self.pos + 6)?,
            _ => 0,
        };
        match char::decode_utf16([high, low]).next() {
            Some(Ok(c)) => Ok(u32::from(c)),
            _ => self.fail(JsonErrorKind::LoneSurrogate),
        }
    }

    /// The code unit of the `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Result<u16, Fault> {
        let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
        let hex = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok()).flatten();
        hex.and_then(|hex| u16::from_str_radix(hex, 16).ok()).ok_or_else(|| Fault::new(JsonErrorKind::BadEscape, at))
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        let found = number::scan(self.bytes, self.pos)?;
        if found.verbatim {
            self.pos = found.end;
            return Ok(());
        }
        let text = self.text.get(self.pos..found.end).unwrap_or_default();
        let mut buffer = ryu_js::Buffer::new();
        match number::canonical(text, &mut buffer) {
            Some(canonical) => self.replace(found.end, canonical),
            None => return self.fail(JsonErrorKind::InexactNumber),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        if !self.bytes.get(self.pos..).unwrap_or_default().starts_with(word.as_bytes()) {
            return self.fail(JsonErrorKind::Unexpected);
        }
        self.pos += word.len();
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.drop_space();
        }
    }

    #[inline(never)]
    fn drop_space(&mut self) {
        let start = self.pos;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pos += 1;
        }
        self.flush(start);
        self.run = self.pos;
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return self.fail(JsonErrorKind::Unexpected);
        }
        self.pos += 1;
        Ok(())
    }

    /// Reads up to `end`, and writes `canonical` in the place of the text from here to there.
    fn replace(&mut self, end: usize, canonical: &str) {
        let start = std::mem::replace(&mut self.pos, end);
        if self.bytes.get(start..end) != Some(canonical.as_bytes()) {
            self.flush(start);
            self.out.extend_from_slice(canonical.as_bytes());
            self.run = end;
        }
    }

    /// Copies the run up to `end`, where the next one begins.
    fn flush(&mut self, end: usize) {
        self.out.extend_from_slice(self.bytes.get(self.run..end).unwrap_or_default());
        self.run = end;
    }

    /// How long the output is up to here, what is still in the run included.
    #[inline]
    fn written(&self) -> usize {
        self.out.len() + (self.pos - self.run)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[cold]
    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, Fault> {
        Err(Fault::new(kind, self.pos))
    }
}

/// Sorts places of members by name, or says where in the text the first member stands whose name came before.
#[inline(never)]
fn sort_by_name(members: &[Member], order: &mut [(u64, usize)], text: &[u8]) -> Result<(), usize> {
    let name = |at: usize| members.get(at).map_or(Name::EMPTY, |member| member.name_in(text));
    order.sort_unstable_by(|&(_, a), &(_, b)| name(a).compare(name(b)).then(a.cmp(&b)));
    let twice = order.array_windows().filter(|[(_, a), (_, b)]| name(*a).compare(name(*b)) == Ordering::Equal);
    let second = twice.filter_map(|[_, (_, b)]| members.get(*b)).map(|member| member.text_start).min();
    second.map_or(Ok(()), Err)
}
