//! Cutting a stream of bytes into records, in constant memory.
//!
//! JSON records stand one on a line, or spread over lines after a line that is a lone `{`, or as elements of a list:
//! `{"Records":[…]}` or a bare `[…]`. Elements are handed out one by one; the list is never held whole.
//!
//! | state | what is being read | leaves to |
//! |---|---|---|
//! | `Top` | between records | `Value`, `Between` at a bare `[` |
//! | `Value` | a record on one line, or over lines | `Top` at its end, `Between` at the member that holds the list |
//! | `Between` | between elements | `Element`, `Tail` or `Top` at `]` |
//! | `Element` | one element | `Between` |
//! | `Tail` | what follows the list in its object | `Top` |
//!
//! A broken record costs as little as can be: a line ends at its newline, whatever it holds.

use std::{
    io::{self, BufRead},
    ops::Range,
};

use crate::{
    error::{Place, RecordError},
    row::RowFramer,
};

/// Longest record that is read: 1 MiB, four times the most that CloudTrail allows one event.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// One record as it was found.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) text: Vec<u8>,
    /// The fields of a row; none for JSON.
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) fault: Option<RecordError>,
}

/// What a framer says to a byte.
#[derive(PartialEq)]
pub(crate) enum Step {
    /// The byte is taken, the record goes on.
    More,
    /// The byte is taken, the record is complete.
    Done,
    /// The record is complete without the byte, which is to be given again.
    Again,
}

/// What a framer says to the end of the input.
pub(crate) enum End {
    /// It ends between records.
    Clean,
    /// It ends a record.
    Record,
    /// It ends inside a list.
    CutOff,
}

/// One of the two ways to cut.
pub(crate) enum Framer {
    Json(JsonFramer),
    Rows(RowFramer),
}

impl Framer {
    fn step(&mut self, byte: u8) -> Step {
        match self {
            Self::Json(framer) => framer.step(byte),
            Self::Rows(framer) => framer.step(byte),
        }
    }

    fn end(&mut self) -> End {
        match self {
            Self::Json(framer) => framer.end(),
            Self::Rows(framer) => framer.end(),
        }
    }

    fn take(&mut self) -> Frame {
        match self {
            Self::Json(framer) => framer.take(),
            Self::Rows(framer) => framer.take(),
        }
    }

    /// Where the record in hand, or the last one, stands.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Json(framer) => framer.place,
            Self::Rows(framer) => framer.place,
        }
    }
}

/// A reader together with the framer that cuts it.
pub(crate) struct Frames<R> {
    reader: R,
    pub(crate) framer: Framer,
    at_start: bool,
}

pub(crate) enum Next {
    Frame(Frame),
    End,
    CutOff,
}

impl<R: BufRead> Frames<R> {
    pub(crate) fn new(reader: R, framer: Framer) -> Self {
        Self { reader, framer, at_start: true }
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        loop {
            let bytes = match self.reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if bytes.is_empty() {
                return Ok(match self.framer.end() {
                    End::Clean => Next::End,
                    End::Record => Next::Frame(self.framer.take()),
                    End::CutOff => Next::CutOff,
                });
            }
            if std::mem::take(&mut self.at_start) && bytes.starts_with("\u{feff}".as_bytes()) {
                self.reader.consume("\u{feff}".len());
                continue;
            }
            let mut taken = 0;
            let mut complete = false;
            for byte in bytes {
                let step = self.framer.step(*byte);
                taken += usize::from(step != Step::Again);
                if step != Step::More {
                    complete = true;
                    break;
                }
            }
            self.reader.consume(taken);
            if complete {
                return Ok(Next::Frame(self.framer.take()));
            }
        }
    }
}

/// Collected bytes that stop growing at the limit.
#[derive(Default)]
pub(crate) struct Capped {
    bytes: Vec<u8>,
    overlong: bool,
}

impl Capped {
    pub(crate) fn push(&mut self, byte: u8) {
        if self.bytes.len() < MAX_RECORD_BYTES { self.bytes.push(byte) } else { self.overlong = true }
    }

    pub(crate) fn is_overlong(&self) -> bool {
        self.overlong
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes, and the fault that there were more.
    pub(crate) fn take(&mut self) -> (Vec<u8>, Option<RecordError>) {
        let fault = std::mem::take(&mut self.overlong).then_some(RecordError::TooLong { limit: MAX_RECORD_BYTES });
        (std::mem::take(&mut self.bytes), fault)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Top,
    Value { over_lines: bool },
    Between,
    Element,
    Tail,
}

/// How deep in brackets, and whether in a string.
#[derive(Default)]
struct Nest {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nest {
    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                // No JSON string holds a newline: the string was never closed, and what follows should not suffer.
                b'\n' => self.in_string = false,
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        self.escaped = false;
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Cuts JSON records.
pub(crate) struct JsonFramer {
    /// The member that holds a list of records; without it every line is a record.
    list: Option<&'static str>,
    state: State,
    nest: Nest,
    text: Capped,
    line: u64,
    elements: u64,
    /// Where the record in hand, or the last one, starts.
    place: Place,
    bare_list: bool,
    /// The last string directly inside the record's braces.
    key: Range<usize>,
    /// That string is the list's name and a colon followed.
    list_follows: bool,
    /// The last byte that is not blank, outside strings.
    before: u8,
}

impl JsonFramer {
    pub(crate) fn new(list: Option<&'static str>) -> Self {
        Self {
            list,
            state: State::Top,
            nest: Nest::default(),
            text: Capped::default(),
            line: 1,
            elements: 0,
            place: Place::Line(1),
            bare_list: false,
            key: 0..0,
            list_follows: false,
            before: 0,
        }
    }

    fn step(&mut self, byte: u8) -> Step {
        let step = match self.state {
            State::Top => self.top(byte),
            State::Value { over_lines } => self.value(byte, over_lines),
            State::Between => self.between(byte),
            State::Element => self.element(byte),
            State::Tail => self.tail(byte),
        };
        self.line += u64::from(byte == b'\n' && step != Step::Again);
        step
    }

    fn end(&mut self) -> End {
        match self.state {
            State::Top => End::Clean,
            State::Value { .. } => {
                self.state = State::Top;
                End::Record
            }
            State::Between | State::Element | State::Tail => End::CutOff,
        }
    }

    fn take(&mut self) -> Frame {
        let (text, fault) = self.text.take();
        Frame { text: text.trim_ascii().to_vec(), fields: Vec::new(), fault }
    }

    fn top(&mut self, byte: u8) -> Step {
        if byte.is_ascii_whitespace() {
            return Step::More;
        }
        if byte == b'[' && self.list.is_some() {
            self.bare_list = true;
            self.state = State::Between;
            return Step::More;
        }
        self.place = Place::Line(self.line);
        self.nest = Nest::default();
        (self.key, self.list_follows, self.before) = (0..0, false, 0);
        self.state = State::Value { over_lines: false };
        self.value(byte, false)
    }

    fn value(&mut self, byte: u8, over_lines: bool) -> Step {
        if byte == b'\n' && !over_lines {
            if self.list.is_none() || self.text.bytes.trim_ascii() != b"{" {
                self.state = State::Top;
                return Step::Done;
            }
            self.state = State::Value { over_lines: true };
        }
        let directly_inside = self.nest.depth == 1 && !self.nest.in_string;
        if directly_inside {
            let wants_member = matches!(self.before, b'{' | b',');
            if over_lines && wants_member && !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'}') {
                self.state = State::Top;
                return Step::Again;
            }
            if byte == b'[' && self.list_follows {
                self.text.take();
                self.bare_list = false;
                self.state = State::Between;
                return Step::More;
            }
        }
        self.note_key(byte, directly_inside);
        self.text.push(byte);
        self.nest.step(byte);
        if !self.nest.in_string && !byte.is_ascii_whitespace() {
            self.before = byte;
        }
        if over_lines && self.nest.depth == 0 {
            self.state = State::Top;
            return Step::Done;
        }
        Step::More
    }

    /// Follows the strings directly inside the record's braces, to find the list by its name.
    fn note_key(&mut self, byte: u8, directly_inside: bool) {
        let here = self.text.bytes.len();
        match byte {
            b'"' if directly_inside => self.key = here + 1..here + 1,
            b'"' if self.nest.depth == 1 && !self.nest.escaped => self.key.end = here,
            b':' if directly_inside => {
                let key = self.text.bytes.get(self.key.clone());
                self.list_follows = self.list.is_some_and(|list| key == Some(list.as_bytes()));
            }
            _ if directly_inside && !byte.is_ascii_whitespace() => self.list_follows = false,
            _ => {}
        }
    }

    fn between(&mut self, byte: u8) -> Step {
        match byte {
            b']' if self.bare_list => self.state = State::Top,
            b']' => {
                self.nest = Nest { depth: 1, ..Nest::default() };
                self.state = State::Tail;
            }
            b',' => {}
            _ if byte.is_ascii_whitespace() => {}
            _ => {
                self.elements += 1;
                self.place = Place::Element(self.elements);
                self.nest = Nest::default();
                self.state = State::Element;
                return self.element(byte);
            }
        }
        Step::More
    }

    fn element(&mut self, byte: u8) -> Step {
        if self.nest.depth == 0 && !self.nest.in_string && matches!(byte, b',' | b']') {
            self.state = State::Between;
            return Step::Again;
        }
        let was_open = self.nest.depth > 0;
        self.text.push(byte);
        self.nest.step(byte);
        if was_open && self.nest.depth == 0 {
            self.state = State::Between;
            return Step::Done;
        }
        Step::More
    }

    fn tail(&mut self, byte: u8) -> Step {
        self.nest.step(byte);
        if self.nest.depth == 0 {
            self.state = State::Top;
        }
        Step::More
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Each record with its number, and how the input ended.
    fn cut(list: Option<&'static str>, input: &str) -> (Vec<(u64, String)>, bool) {
        let mut all = Vec::new();
        // One byte at a time, so that no state hides in the buffer.
        for capacity in [1, 4096] {
            let reader = BufReader::with_capacity(capacity, input.as_bytes());
            let mut frames = Frames::new(reader, Framer::Json(JsonFramer::new(list)));
            let mut found = Vec::new();
            let clean = loop {
                match frames.next().unwrap() {
                    Next::Frame(frame) => {
                        found.push((frames.framer.place().number(), String::from_utf8(frame.text).unwrap()));
                    }
                    Next::End => break true,
                    Next::CutOff => break false,
                }
            };
            all.push((found, clean));
        }
        assert_eq!(all[0], all[1]);
        all.remove(0)
    }

    #[track_caller]
    fn check(input: &str, expect: &[(u64, &str)], clean: bool) {
        let expect: Vec<_> = expect.iter().map(|(n, t)| (*n, (*t).to_owned())).collect();
        assert_eq!(cut(Some("Records"), input), (expect, clean), "{input}");
    }

    #[test]
    fn cuts_lines() {
        check("", &[], true);
        check("\n \n", &[], true);
        check("{\"a\":1}\r\n\n{\"b\":[2]}", &[(1, "{\"a\":1}"), (3, "{\"b\":[2]}")], true);
        check("{\"a\n{\"b\":2}\n", &[(1, "{\"a"), (2, "{\"b\":2}")], true);
        let lists = cut(None, "{\"Records\":[1,2]}\n{\n[3]\n");
        assert_eq!(lists.0, [(1, "{\"Records\":[1,2]}".into()), (2, "{".into()), (3, "[3]".into())]);
    }

    #[test]
    fn cuts_records_over_lines() {
        check("{\n \"a\": {\n \"b\": 1}\n}\n{\"c\":2}", &[(1, "{\n \"a\": {\n \"b\": 1}\n}"), (5, "{\"c\":2}")], true);
        check("{\n{\"c\":2}\n", &[(1, "{"), (2, "{\"c\":2}")], true);
        check("{\n\"a\":1,\n{\"c\":2}\n", &[(1, "{\n\"a\":1,"), (3, "{\"c\":2}")], true);
    }

    #[test]
    fn cuts_lists() {
        let two = &[(1, "{\"a\":\"]}\"}"), (2, "{\"b\":[{}]}")];
        check("{\"Records\":[{\"a\":\"]}\"},{\"b\":[{}]}]}", two, true);
        check("{\n \"Records\" : [\n {\"a\":\"]}\"} ,\n {\"b\":[{}]} ]\n}\n", two, true);
        check("{\"v\":{\"Records\":[0]},\"Records\":[{\"a\":\"]}\"},{\"b\":[{}]}],\"t\":[\"}\"]}", two, true);
        check("[{\"a\":\"]}\"},{\"b\":[{}]}]\n", two, true);
        check("{\"Records\":[1,\"x,y\"]}\n{\"c\":3}\n", &[(1, "1"), (2, "\"x,y\""), (2, "{\"c\":3}")], true);
        check("{\"Records\":[{}]}\n{\"Records\":[{}]}", &[(1, "{}"), (2, "{}")], true);
        check("{\"x\":\"Records\",\"y\":[1]}", &[(1, "{\"x\":\"Records\",\"y\":[1]}")], true);
    }

    #[test]
    fn tells_that_a_list_is_cut_off() {
        for input in ["{\"Records\":[", "{\"Records\":[{\"a\":1},", "{\"Records\":[{\"a\":", "{\"Records\":[{}]", "[{}"]
        {
            assert!(!cut(Some("Records"), input).1, "{input}");
        }
    }

    #[test]
    fn a_long_record_is_named_and_passed_over() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_RECORD_BYTES));
        for input in [format!("{long}\n{{}}\n"), format!("{{\"Records\":[{long},{{}}]}}")] {
            let mut frames = Frames::new(input.as_bytes(), Framer::Json(JsonFramer::new(Some("Records"))));
            let Next::Frame(first) = frames.next().unwrap() else { panic!("{}", input.len()) };
            assert!(matches!(first.fault, Some(RecordError::TooLong { .. })));
            assert_eq!(first.text.len(), MAX_RECORD_BYTES);
            let Next::Frame(second) = frames.next().unwrap() else { panic!("{}", input.len()) };
            assert_eq!((second.text.as_slice(), second.fault.is_none()), (b"{}".as_slice(), true));
        }
    }
}
