//! What HTTP/1.1 heads say of the length of bodies, read beside the HTTP library.
//!
//! A head with both `Content-Length` and `Transfer-Encoding` is what requests are smuggled with: whoever stands in front of the server may go by the one, the server by the other. RFC 9112 section 6.1 lets a server refuse it, and this one does.
//! The library takes away the length before anybody sees it, so the bytes are watched on their way to it.
//!
//! The watcher follows the framing of bodies, so that nothing in a body is taken for a head. It holds no bytes and changes none: where it should read otherwise than the library does, what is
//! lost is a refusal. Once a head had both, everything on the connection is refused.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The mark of a request on a connection on which a head had two framings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwoFramings;

const LENGTH: &[u8] = b"content-length:";
const CODING: &[u8] = b"transfer-encoding:";
/// The longest line whose beginning matters.
const NAME_BYTES: usize = CODING.len();

/// Where in a message the next byte stands.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    /// In the line with the size of a chunk.
    Size,
    /// So many bytes of a chunk are left, and its line end.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
}

/// Follows the bytes of a connection.
#[derive(Debug)]
pub(crate) struct Watcher {
    place: Place,
    /// The beginning of the line, in small letters.
    line: Vec<u8>,
    /// How long the line is so far.
    line_bytes: u64,
    is_begun: bool,
    /// The length that the head names, and that it names a coding.
    length: Option<u64>,
    is_coded: bool,
    number: u64,
    is_number_over: bool,
}

impl Default for Watcher {
    fn default() -> Self {
        let line = Vec::with_capacity(NAME_BYTES);
        let (length, is_coded, is_begun) = (None, false, false);
        Self { place: Place::Head, line, line_bytes: 0, is_begun, length, is_coded, number: 0, is_number_over: false }
    }
}

impl Watcher {
    /// Goes on over some bytes. `true` where a head in them has both framings, or trailers have a line that ends in two ways.
    pub(crate) fn see(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while let Some((first, rest)) = bytes.split_first() {
            let left = match self.place {
                Place::Body(left) | Place::Chunk(left) => left,
                _ => 0,
            };
            if left > 0 {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.pass(left - u64::try_from(taken).unwrap_or(left));
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            if self.is_past_names() {
                // Most of a head: the values, and what has longer names.
                let Some(end) = memchr::memchr(b'\n', bytes) else { break };
                found |= self.end_line();
                bytes = bytes.get(end + 1..).unwrap_or_default();
                continue;
            }
            match first {
                b'\n' => found |= self.end_line(),
                byte => self.push(*byte),
            }
            bytes = rest;
        }
        found
    }

    fn pass(&mut self, left: u64) {
        self.place = match self.place {
            Place::Body(_) if left == 0 => Place::Head,
            Place::Body(_) => Place::Body(left),
            _ => Place::Chunk(left),
        };
    }

    /// Whether the rest of a line of the head says nothing of lengths.
    fn is_past_names(&self) -> bool {
        self.place == Place::Head && self.line.len() == NAME_BYTES && !self.line.starts_with(LENGTH)
    }

    fn push(&mut self, byte: u8) {
        self.line_bytes = self.line_bytes.saturating_add(1);
        match self.place {
            Place::Head => {
                if self.line.len() < NAME_BYTES {
                    self.line.push(byte.to_ascii_lowercase());
                } else if !self.line.starts_with(LENGTH) {
                    return;
                }
                if self.line.starts_with(LENGTH) && self.line_bytes > LENGTH.len() as u64 {
                    self.digit(byte, 10);
                }
            }
            Place::Size => self.digit(byte, 16),
            Place::Trailers => {
                // Its last byte says how the line ends.
                self.line.clear();
                self.line.push(byte);
            }
            _ => {}
        }
    }

    fn digit(&mut self, byte: u8, radix: u32) {
        match char::from(byte).to_digit(radix) {
            Some(digit) if !self.is_number_over => {
                self.number = self.number.saturating_mul(radix.into()).saturating_add(digit.into());
            }
            // White space before it, and whatever comes behind.
            _ => self.is_number_over |= self.number > 0 || !matches!(byte, b' ' | b'\t'),
        }
    }

    /// `true` at the end of a head that has both, and where a line of trailers ends without a carriage return: the library goes on with such a line where another reader
    /// sees the end of it, so that nothing behind it is to be trusted.
    fn end_line(&mut self) -> bool {
        let is_empty =
            self.line_bytes == 0 || (self.line_bytes == 1 && self.line.first().is_none_or(|byte| *byte == b'\r'));
        let number = std::mem::take(&mut self.number);
        let mut both = false;
        match self.place {
            Place::Head if is_empty && self.is_begun => both = self.end_head(),
            // Empty lines before a request are passed over.
            Place::Head if is_empty => {}
            Place::Head => {
                self.is_begun = true;
                self.is_coded |= self.line.starts_with(CODING);
                if self.line.starts_with(LENGTH) {
                    self.length = Some(number);
                }
            }
            Place::Size if number == 0 => self.place = Place::Trailers,
            Place::Size => self.place = Place::Chunk(number),
            // The line end behind a chunk.
            Place::Chunk(_) => self.place = Place::Size,
            Place::Trailers if self.line.last() != Some(&b'\r') => both = true,
            Place::Trailers if is_empty => self.place = Place::Head,
            Place::Trailers | Place::Body(_) => {}
        }
        self.line.clear();
        (self.line_bytes, self.is_number_over) = (0, false);
        both
    }

    fn end_head(&mut self) -> bool {
        let (length, is_coded) = (self.length.take(), std::mem::take(&mut self.is_coded));
        self.is_begun = false;
        self.place = match (length, is_coded) {
            (_, true) => Place::Size,
            (Some(length), false) if length > 0 => Place::Body(length),
            _ => Place::Head,
        };
        length.is_some() && is_coded
    }
}

/// A connection whose heads are watched.
pub(crate) struct Watched<S> {
    inner: S,
    watcher: Watcher,
    found: Arc<AtomicBool>,
}

impl<S> Watched<S> {
    /// Watches a connection; the flag is set before the library sees the head that has both.
    pub(crate) fn new(inner: S) -> (Self, Arc<AtomicBool>) {
        let found = Arc::new(AtomicBool::new(false));
        (Self { inner, watcher: Watcher::default(), found: Arc::clone(&found) }, found)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buf);
        if this.watcher.see(buf.filled().get(before..).unwrap_or_default()) {
            this.found.store(true, Ordering::Release);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in the bytes, in whatever pieces they come.
    #[track_caller]
    fn check(text: &str, expected: bool) {
        for size in [1, 2, 3, 7, text.len().max(1)] {
            let mut watcher = Watcher::default();
            let found = text.as_bytes().chunks(size).fold(false, |found, piece| found | watcher.see(piece));
            assert_eq!(found, expected, "in pieces of {size}: {text:?}");
        }
    }

    #[test]
    fn a_head_with_both_is_found_wherever_it_stands_and_nothing_else_is() {
        let both = "POST / HTTP/1.1\r\ncontent-length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let other = "POST / HTTP/1.1\nTRANSFER-ENCODING:chunked\nContent-Length:5\n\n";
        for text in [both, other] {
            check(text, true);
            check(&format!("\r\n\r\n{text}"), true);
            check(&format!("GET / HTTP/1.1\r\nhost: t\r\n\r\n{text}"), true);
            check(&format!("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab\n{text}"), true);
            check(
                &format!(
                    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nab\n\r\nA\r\n0123456789\r\n0\r\nt: u\r\n\r\n{text}"
                ),
                true,
            );
            // In a body it is text.
            check(
                &format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{text}GET / HTTP/1.1\r\n\r\n", text.len()),
                false,
            );
            let size = format!("{:x}", text.len());
            check(
                &format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\n{text}\r\n0\r\n\r\n"),
                false,
            );
        }
        // One of two requests has one, the other has the other.
        check(
            "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nPOST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        );
        check("GET / HTTP/1.1\r\nx-content-length: 5\r\ntransfer-encoding-x: y\r\n\r\n", false);
        check("GET /content-length: HTTP/1.1\r\nx: transfer-encoding: chunked\r\n\r\n", false);
        check("", false);
    }

    #[test]
    fn trailers_end_where_the_library_ends_them() {
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
        let next = "GET / HTTP/1.1\r\nhost: t\r\n\r\n";
        for (trailers, expected) in [
            ("", false),
            ("a: b\r\n", false),
            ("a\r\nb: c\r\n", false),
            ("a: b\n", true),
            ("\n", true),
            ("a: b\r\nc\n", true),
        ] {
            check(&format!("{chunked}{trailers}\r\n{next}"), expected);
        }
        // A line of one letter is not the end, nor is what stands behind a bare line feed another head.
        check(&format!("{chunked}x\r\n\r\n{next}"), false);
        check(&format!("{chunked}a: b\n\nPOST / HTTP/1.1\ncontent-length: 99999999999\n\nx\r\n\r\n{next}"), true);
    }

    #[test]
    fn lengths_beyond_all_bounds_and_those_that_are_none() {
        const BOTH: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        for (length, has_end) in [("99999999999999999999999999", false), ("-1", true), ("x", true), ("", true)] {
            let mut watcher = Watcher::default();
            let text = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\nabc");
            assert!(!watcher.see(text.as_bytes()), "{length}");
            // What stands in a body without end is no head.
            assert_eq!(watcher.see(BOTH), has_end, "{length}");
        }
        for size in ["99999999999999999999999999", "fffffffffffffffff"] {
            let mut watcher = Watcher::default();
            let text = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{size}\r\nabc");
            assert!(!watcher.see(text.as_bytes()) && !watcher.see(BOTH), "{size}");
        }
    }
}
