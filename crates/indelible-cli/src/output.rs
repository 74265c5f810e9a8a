//! What goes to the terminal or into a pipe.
//!
//! Data (receipts, entries, JSON) goes to stdout byte for byte; text for people goes through a stream that drops colours
//! where they are not wanted (`NO_COLOR`, no terminal). A reader of stdout that has gone away is [`Failure::ClosedPipe`]; a stderr
//! that cannot be written to is ignored, because there is nowhere left to say so.

use std::{
    borrow::Cow,
    io::{self, BufWriter, StdoutLock, Write},
};

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Neither.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();

/// Locked, buffered stdout for data.
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Takes stdout until dropped. Call [`Out::flush`] at the end: only that tells whether everything arrived.
    pub(crate) fn lock() -> Self {
        Self(BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(failed)
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.bytes(&serde_json::to_vec(value)?)?;
        self.bytes(b"\n")
    }

    /// Hands everything over.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::ClosedPipe;
    }
    Failure::io("write", std::path::Path::new("stdout"))(error)
}

/// Writes one value as JSON to stdout.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = Out::lock();
    out.json(value)?;
    out.flush()
}

/// Writes bytes to stdout as they are.
pub(crate) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = Out::lock();
    out.bytes(bytes)?;
    out.flush()
}

/// Writes text for people to stdout, with a line feed.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stream = AutoStream::auto(io::stdout().lock());
    writeln!(stream, "{text}").and_then(|()| stream.flush()).map_err(failed)
}

/// Writes a line for people to stderr.
pub(crate) fn note(text: &str) {
    let mut stream = AutoStream::auto(io::stderr().lock());
    drop(writeln!(stream, "{text}"));
}

/// Writes an error line to stderr.
pub(crate) fn error(text: &str) {
    note(&format!("{BAD}error:{BAD:#} {}", safe(text)));
}

/// Text from outside without anything that moves a cursor, changes colours or turns the direction of writing.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if bad(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A number of entries, in words.
pub(crate) fn entries(count: u64) -> String {
    counted(count, "entry", "entries")
}

/// A number of things, in words.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A progress bar on stderr over `total` of something; draws nothing where stderr is no terminal. A total of 0 is unknown.
pub(crate) fn progress(what: &'static str, total: u64) -> ProgressBar {
    let bar = if total == 0 { ProgressBar::no_length() } else { ProgressBar::new(total) };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = if total == 0 {
        "{spinner} {msg} {human_pos} ({per_sec})"
    } else {
        "{msg} {wide_bar} {human_pos}/{human_len} ({per_sec}, {eta})"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        let rows = [
            ("plain ✓", "plain ✓"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\u{9b}2J", "a\\u{9b}2J"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("two\nlines\tok", "two\nlines\tok"),
        ];
        for (given, expected) in rows {
            assert_eq!(safe(given), expected);
        }
    }
}
