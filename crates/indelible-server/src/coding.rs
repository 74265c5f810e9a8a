//! Compressed bodies: gzip and zstd, expanded within limits.
//!
//! A body counts by what it expands to: `limits.body_bytes` is the limit of both sizes, and what is expanded is charged to the budget, and its sender's share, piece by piece, so that no more is held than may be. Beyond
//! [`FREE_BYTES`] it may not be more than [`MAX_RATIO`] times as large as what was sent: events that differ at all are not compressed like that, and what is costs us more than
//! whoever sends it.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use hyper::{HeaderMap, header::CONTENT_ENCODING};

use crate::{
    body::{Body, Held, Room},
    problem::{Kind, Problem},
};

/// So much may be expanded from however little.
const FREE_BYTES: usize = 1 << 20;
/// Beyond that, so many bytes from each that was sent.
const MAX_RATIO: usize = 250;
/// Expanded at a time.
const STEP: usize = 64 << 10;
/// The largest window of zstd, as a power of two: 8 MiB of memory, which is what every decoder has to have by RFC 8878.
const MAX_WINDOW_LOG: u32 = 23;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What the headers say of the coding.
///
/// # Errors
/// [`Kind::MediaType`] for another, or several.
pub(crate) fn coding(headers: &HeaderMap) -> Result<Coding, Problem> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Coding::Identity) };
    let known = match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "identity" => Some(Coding::Identity),
        "gzip" | "x-gzip" => Some(Coding::Gzip),
        "zstd" => Some(Coding::Zstd),
        _ => None,
    };
    let refused = || Problem::new(Kind::MediaType, "`Content-Encoding` is one of `gzip`, `zstd`, `identity` here");
    known.filter(|_| values.next().is_none()).ok_or_else(refused)
}

/// The body as it was before it was compressed. Takes a while: not for threads that serve connections.
///
/// # Errors
/// [`Kind::TooLarge`], [`Kind::TooMany`], [`Kind::Busy`], [`Kind::BadRequest`].
pub(crate) fn expand(coding: Coding, body: &Body, most: usize, room: Room<'_>) -> Result<Body, Problem> {
    let sent = body.bytes.as_slice();
    match coding {
        Coding::Identity => take(sent, sent.len(), most, room),
        Coding::Gzip => take(MultiGzDecoder::new(sent), sent.len(), most, room),
        Coding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(sent).map_err(|error| Problem::internal(&error))?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(|error| Problem::internal(&error))?;
            take(decoder, sent.len(), most, room)
        }
    }
}

fn take(mut from: impl Read, sent: usize, most: usize, room: Room<'_>) -> Result<Body, Problem> {
    let most_by_ratio = sent.saturating_mul(MAX_RATIO).max(FREE_BYTES);
    let (mut bytes, mut held, mut step) = (Vec::new(), Held::default(), vec![0; STEP]);
    loop {
        let read = match from.read(&mut step) {
            Ok(0) => return Ok(Body::new(bytes, held)),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(Problem::bad("the body is not compressed as `Content-Encoding` says, or breaks off")),
        };
        let size = bytes.len() + read;
        if size > most {
            return Err(Problem::new(Kind::TooLarge, format!("a body expands to at most {most} bytes here")));
        }
        if size > most_by_ratio {
            let text = format!("a body expands to at most {MAX_RATIO} times its size here, beyond {FREE_BYTES} bytes");
            return Err(Problem::new(Kind::TooLarge, text));
        }
        held.up_to(size, room)?;
        bytes.extend_from_slice(step.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use tokio::sync::Semaphore;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 19).unwrap()
    }

    fn expanded(coding: Coding, sent: Vec<u8>, most: usize, budget: usize) -> Result<Vec<u8>, Kind> {
        let (budget, share) = (Arc::new(Semaphore::new(budget / 1024)), Arc::new(Semaphore::new(1 << 20)));
        let room = Room { budget: &budget, share: &share };
        expand(coding, &Body::new(sent, Held::default()), most, room)
            .map(|body| body.bytes)
            .map_err(|problem| problem.kind())
    }

    /// Bytes that no coding makes much smaller.
    fn noise(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_compressed_comes_out_in_one_part_or_several() {
        let (one, two) = (noise(100_000), noise(70_000));
        for (coding, compress) in [(Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Coding::Zstd, zstd)] {
            let sent = [compress(&one), compress(&two)].concat();
            assert_eq!(expanded(coding, sent, 1 << 20, 1 << 20).unwrap(), [one.clone(), two.clone()].concat());
            assert_eq!(expanded(coding, compress(b""), 1, 1 << 20).unwrap(), b"");
        }
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let zeros = vec![0; 64 << 20];
        for (coding, sent) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
            assert!(sent.len() < 1 << 20, "{}", sent.len());
            assert_eq!(expanded(coding, sent.clone(), 8 << 20, 1 << 30), Err(Kind::TooLarge));
            assert_eq!(expanded(coding, sent.clone(), 1 << 30, 1 << 19), Err(Kind::Busy), "the budget ends it as well");
        }
        // Small enough, and out of all proportion: 2 MiB from some kilobytes.
        let sent = zstd(&vec![0; 2 << 20]);
        assert_eq!(expanded(Coding::Zstd, sent, 8 << 20, 1 << 30), Err(Kind::TooLarge));
        assert!(expanded(Coding::Zstd, zstd(&vec![0; 1 << 20]), 8 << 20, 1 << 30).is_ok());
    }

    #[test]
    fn what_is_expanded_is_of_the_senders_share() {
        let (budget, share) = (Arc::new(Semaphore::new(1 << 10)), Arc::new(Semaphore::new(100)));
        let room = Room { budget: &budget, share: &share };
        let expand = |size: usize| {
            let sent = Body::new(gzip(&noise(size)), Held::default());
            expand(Coding::Gzip, &sent, 1 << 20, room).map_err(|problem| problem.kind())
        };
        let held = expand(60 << 10).unwrap();
        assert_eq!((share.available_permits(), budget.available_permits()), (40, (1 << 10) - 60));
        assert_eq!(expand(60 << 10).err(), Some(Kind::TooMany));
        drop(held);
        assert_eq!((share.available_permits(), budget.available_permits()), (100, 1 << 10));
    }

    #[test]
    fn what_is_not_compressed_or_not_whole_is_refused() {
        let good = noise(1000);
        for (coding, sent) in [(Coding::Gzip, gzip(&good)), (Coding::Zstd, zstd(&good))] {
            let cut = sent.get(..sent.len() - 1).unwrap().to_vec();
            let mut changed = sent.clone();
            *changed.get_mut(sent.len() / 2).unwrap() ^= 1;
            let behind = [sent.clone(), b"{}".to_vec()].concat();
            for (what, wrong) in [("cut", cut), ("behind", behind), ("plain", good.clone()), ("none", Vec::new())] {
                let is_refused = expanded(coding, wrong, 1 << 20, 1 << 20) == Err(Kind::BadRequest);
                assert!(is_refused || (what == "none" && coding == Coding::Zstd), "{what} {coding:?}");
            }
            if coding == Coding::Gzip {
                assert_eq!(expanded(coding, changed, 1 << 20, 1 << 20), Err(Kind::BadRequest), "its checksum is off");
            }
        }
        // A frame that wants more memory than decoders have to have.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&noise(4096)).unwrap();
        let sent = encoder.finish().unwrap();
        assert_eq!(expanded(Coding::Zstd, sent, 1 << 20, 1 << 20), Err(Kind::BadRequest));
    }

    #[test]
    fn codings_are_told_by_their_header() {
        let rows: [(&[&str], Option<Coding>); 8] = [
            (&[], Some(Coding::Identity)),
            (&["identity"], Some(Coding::Identity)),
            (&["GZip"], Some(Coding::Gzip)),
            (&["zstd"], Some(Coding::Zstd)),
            (&["br"], None),
            (&[""], None),
            (&["gzip, gzip"], None),
            (&["gzip", "zstd"], None),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(coding(&headers).ok(), expected, "{values:?}");
        }
    }
}
