//! Cutting a stream of bytes into rows of delimited text (RFC 4180), in constant memory.
//!
//! A field is quoted if its first byte is `"`; inside it `""` is a quote, and delimiters and newlines are text. A row ends
//! at a newline outside quotes, a carriage return before it is not part of the row. Blank lines are no rows.

use crate::{
    error::{Place, RecordError},
    frame::{Capped, End, Frame, Step},
};

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the first byte of a field.
    Start,
    Bare,
    Quoted,
    /// After a quote inside a quoted field: its end, or the first half of a doubled quote.
    Quote,
}

/// Cuts rows and their fields.
pub(crate) struct RowFramer {
    delimiter: u8,
    state: State,
    fields: Vec<Vec<u8>>,
    field: Vec<u8>,
    text: Capped,
    line: u64,
    /// Where the row in hand, or the last one, starts.
    pub(crate) place: Place,
    fault: Option<RecordError>,
}

impl RowFramer {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Start,
            fields: Vec::new(),
            field: Vec::new(),
            text: Capped::default(),
            line: 1,
            place: Place::Line(1),
            fault: None,
        }
    }

    pub(crate) fn step(&mut self, byte: u8) -> Step {
        if self.text.is_empty() {
            self.place = Place::Line(self.line);
        }
        self.line += u64::from(byte == b'\n');
        // A row over the limit is most likely a quote that nobody closed: the next line is read as a new row.
        if byte == b'\n' && (self.state != State::Quoted || self.text.is_overlong()) {
            return self.end_of_row();
        }
        self.text.push(byte);
        if self.text.is_overlong() {
            return Step::More;
        }
        self.state = match (self.state, byte) {
            (State::Start, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) => self.keep(byte, State::Quoted),
            (State::Quote, b'"') => self.keep(byte, State::Quoted),
            (_, _) if byte == self.delimiter => {
                self.fields.push(std::mem::take(&mut self.field));
                State::Start
            }
            (_, _) => self.keep(byte, State::Bare),
        };
        Step::More
    }

    fn keep(&mut self, byte: u8, state: State) -> State {
        self.field.push(byte);
        state
    }

    fn end_of_row(&mut self) -> Step {
        if self.state == State::Bare && self.field.last() == Some(&b'\r') {
            self.field.pop();
        }
        let blank = self.fields.is_empty() && self.field.is_empty() && matches!(self.state, State::Start | State::Bare);
        self.state = State::Start;
        if blank {
            self.text.take();
            return Step::More;
        }
        self.fields.push(std::mem::take(&mut self.field));
        Step::Done
    }

    pub(crate) fn end(&mut self) -> End {
        if self.text.is_empty() {
            return End::Clean;
        }
        if self.state == State::Quoted {
            self.fault = Some(RecordError::OpenQuote);
        }
        if self.end_of_row() == Step::Done { End::Record } else { End::Clean }
    }

    pub(crate) fn take(&mut self) -> Frame {
        let (mut text, overlong) = self.text.take();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        let fault = self.fault.take();
        Frame { text, fields: std::mem::take(&mut self.fields), fault: overlong.or(fault) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Framer, Frames, MAX_RECORD_BYTES, Next};

    fn rows(input: &[u8]) -> Vec<(u64, Frame)> {
        let mut frames = Frames::new(input, Framer::Rows(RowFramer::new(b',')));
        let mut rows = Vec::new();
        while let Next::Frame(frame) = frames.next().unwrap() {
            rows.push((frames.framer.place().number(), frame));
        }
        rows
    }

    #[track_caller]
    fn check(input: &str, expect: &[(u64, &[&str])]) {
        let rows = rows(input.as_bytes());
        let found: Vec<(u64, Vec<String>)> = rows
            .into_iter()
            .map(|(n, r)| (n, r.fields.into_iter().map(|f| String::from_utf8(f).unwrap()).collect()))
            .collect();
        let expect: Vec<(u64, Vec<String>)> =
            expect.iter().map(|(n, r)| (*n, r.iter().map(|f| (*f).to_owned()).collect())).collect();
        assert_eq!(found, expect, "{input:?}");
    }

    #[test]
    fn cuts_rows() {
        check("", &[]);
        check("a,b\nc,d", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        check("a,b\r\n\r\n\n,\r\n", &[(1, &["a", "b"]), (4, &["", ""])]);
        check("\"a,\"\"b\"\"\nc\",d\ne\n", &[(1, &["a,\"b\"\nc", "d"]), (3, &["e"])]);
        check("\"\"\nx\"y,\"z\"\r\n", &[(1, &[""]), (2, &["x\"y", "z"])]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_named() {
        let open = rows(b"a,b\n\"c,d\ne");
        assert!(matches!(open[1].1.fault, Some(RecordError::OpenQuote)));
        let long = rows(format!("\"{}\na,b\n", "x".repeat(MAX_RECORD_BYTES)).as_bytes());
        assert!(matches!(long[0].1.fault, Some(RecordError::TooLong { .. })));
        assert_eq!(long[1].1.fields, [b"a", b"b"]);
    }

    proptest! {
        /// What other readers of this format write and read is read alike here.
        #[test]
        fn agrees_with_another_reader(rows in prop::collection::vec(prop::collection::vec("[a-z\",\n é]{0,6}", 1..5), 0..8)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let found: Vec<Vec<Vec<u8>>> = super::tests::rows(&text).into_iter().map(|(_, r)| r.fields).collect();
            let expect: Vec<Vec<Vec<u8>>> =
                rows.into_iter().map(|r| r.into_iter().map(String::into_bytes).collect()).collect();
            prop_assert_eq!(found, expect);
        }
    }
}
