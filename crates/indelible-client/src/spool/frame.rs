//! How events stand in a file of the spool.
//!
//! ```text
//! file   "indelible-spool/1\n", frames
//! frame  "ISF1", length of the payload (4 bytes, big-endian), check (16 bytes), payload
//! check  the first 16 bytes of SHA-256(file's number ‖ offset of the frame ‖ payload), both numbers of 8 bytes, big-endian
//! payload  canonical events, each with a line feed behind it
//! ```
//!
//! Number and offset are in the check, so that a frame proves nothing at another place.

use aws_lc_rs::digest::{Context, SHA256};

use crate::event::Prepared;

/// What a file begins with.
pub const SEGMENT_HEAD: &[u8] = b"indelible-spool/1\n";
/// What stands before a payload.
pub const HEAD_BYTES: usize = 4 + 4 + 16;
/// The longest payload: sixteen of the largest events, and memory for one frame at a time.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
const MAGIC: [u8; 4] = *b"ISF1";

/// A place in the files of a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

fn check(place: Place, payload: &[u8]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(&place.segment.to_be_bytes());
    context.update(&place.offset.to_be_bytes());
    context.update(payload);
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

/// The frame of a payload at a place.
pub(crate) fn frame(place: Place, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [MAGIC.as_slice(), &length.to_be_bytes(), &check(place, payload), payload].concat()
}

/// The payload of the frame that begins here, if a whole one does.
pub(crate) fn parse(place: Place, bytes: &[u8]) -> Option<&[u8]> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<16>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let payload = rest.get(..length)?;
    (*magic == MAGIC && check(place, payload) == *sum).then_some(payload)
}

/// Whether a whole frame begins anywhere behind the start of `bytes`, which stand at `place`.
pub(crate) fn any_behind(place: Place, bytes: &[u8]) -> bool {
    let mut starts = bytes.windows(MAGIC.len()).enumerate().skip(1).filter(|(_, window)| *window == MAGIC);
    starts.any(|(at, _)| {
        let there = Place { offset: place.offset + at as u64, ..place };
        bytes.get(at..).is_some_and(|bytes| parse(there, bytes).is_some())
    })
}

pub(crate) fn payload(events: &[&Prepared]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(events.iter().map(|event| event.bytes().len() + 1).sum());
    for event in events {
        payload.extend_from_slice(event.bytes());
        payload.push(b'\n');
    }
    payload
}

/// The events of a payload; `None` where one is none.
pub(crate) fn events(payload: &[u8]) -> Option<Vec<Prepared>> {
    let lines = payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Prepared::of_json(line).ok()).collect()
}

/// How many events a payload has.
pub(crate) fn count(payload: &[u8]) -> u64 {
    payload.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Place = Place { segment: 3, offset: 18 };

    #[test]
    fn a_frame_is_whole_at_its_place_alone() {
        let bytes = frame(AT, b"one\ntwo\n");
        assert_eq!(parse(AT, &bytes), Some(b"one\ntwo\n".as_slice()));
        assert_eq!(count(b"one\ntwo\n"), 2);
        assert_eq!(parse(Place { offset: 19, ..AT }, &bytes), None);
        assert_eq!(parse(Place { segment: 4, ..AT }, &bytes), None);
        for cut in 0..bytes.len() {
            assert_eq!(parse(AT, &bytes[..cut]), None, "{cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(AT, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_whole_frame_behind_a_broken_one_is_found() {
        let first = frame(AT, b"ISF1 is no frame\n");
        let second = frame(Place { offset: AT.offset + first.len() as u64, ..AT }, b"x\n");
        let mut both = [first.as_slice(), &second].concat();
        both[30] ^= 1;
        assert!(any_behind(AT, &both));
        assert!(!any_behind(AT, &both[..both.len() - 1]));
        assert!(!any_behind(AT, &first));
    }
}
