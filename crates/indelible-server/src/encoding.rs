//! Compressed answers: gzip and zstd, where whoever asks takes them (RFC 9110 section 12.5.3).
//!
//! - Only answers that are long and made of entries, receipts, proofs or names, to whoever has a key: what an operation answers is compressed where [`suits`] says so, and an answer that holds a
//!   new token never is. Nothing is compressed for a page of another site ([`is_foreign`]): it could guess at content by lengths, where a browser shows a certificate for it.
//! - The coded bytes count against the budget like the others; where there is no room an answer goes as it is. A coder of a stream holds about a mebibyte, and there are at most `limits.streams` of them.
//! - What has an `ETag` has another for each coding.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::{HeaderMap, header::ACCEPT_ENCODING};

use crate::{
    body::{Held, Room},
    routes::Operation,
};

/// Shorter answers are not worth it.
pub(crate) const MIN_BYTES: usize = 1024;
/// Longer ones are compressed on a thread that serves no connections.
const MAX_INLINE_BYTES: usize = 16 << 10;
/// Fast, and most of what can be had: entries are alike.
const ZSTD_LEVEL: i32 = 1;
const GZIP_LEVEL: Compression = Compression::fast();
/// The window of zstd, as a power of two: 256 KiB, several pieces of a stream.
const WINDOW_LOG: u32 = 18;
/// More codings than that are not looked at.
const MAX_NAMED: usize = 32;

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Encoding {
    /// In the order in which they are preferred where nothing else is said.
    pub(crate) const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The coding of an answer to this request; `None` for none.
pub(crate) fn wanted(operation: Operation, headers: &HeaderMap) -> Option<Encoding> {
    (suits(operation) && !is_foreign(headers)).then(|| accepted(headers)).flatten()
}

/// Whether what an operation answers may be compressed. Whatever may hold a token is not named here.
const fn suits(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Append
            | Operation::Entry
            | Operation::Entries
            | Operation::EventById
            | Operation::Proof
            | Operation::Export
            | Operation::EntryBundle
            | Operation::Verification
            | Operation::VerifyLog
            | Operation::Logs
    )
}

/// Whether a browser says that it asks for a page of another site.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// The coding that is accepted with the most weight, where it has more than the bytes as they are.
fn accepted(headers: &HeaderMap) -> Option<Encoding> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<(&str, u16)> =
        values.flat_map(|value| value.split(',')).take(MAX_NAMED).filter_map(weighed).collect();
    let weight =
        |name: &str| named.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight);
    let others = weight("*");
    let of = |encoding: Encoding| {
        let also = if encoding == Encoding::Gzip { weight("x-gzip") } else { None };
        weight(encoding.name()).or(also).or(others).unwrap_or(0)
    };
    let as_it_is = weight("identity").unwrap_or(0);
    // The first of the best.
    let best = Encoding::ALL.into_iter().rev().max_by_key(|encoding| of(*encoding))?;
    (of(best) > 0 && of(best) >= as_it_is).then_some(best)
}

/// A coding and its weight in thousandths; `None` for what is not written as one.
fn weighed(part: &str) -> Option<(&str, u16)> {
    let mut pieces = part.split(';').map(str::trim);
    let name = pieces.next().filter(|name| !name.is_empty())?;
    let weight = match (pieces.next(), pieces.next()) {
        (None, _) => 1000,
        (Some(weight), None) => thousandths(weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?)?,
        _ => return None,
    };
    Some((name, weight))
}

/// `1`, `0.5`, `0.123`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// What compresses.
pub(crate) enum Coder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Coder {
    /// A new one; `None` where there is no memory for it.
    pub(crate) fn new(encoding: Encoding) -> Option<Self> {
        Some(match encoding {
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), GZIP_LEVEL)),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(WINDOW_LOG).ok()?;
                Self::Zstd(encoder)
            }
        })
    }

    /// What a piece becomes: whoever reads it has all of the piece.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// What stands behind the last piece.
    pub(crate) fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Of such a request, the bytes compressed, and their part of the budget and of the asker's share; `None` where they are to go as they are.
pub(crate) async fn encode(encoding: Encoding, bytes: Bytes, room: Room<'_>) -> Option<(Vec<u8>, Held)> {
    if bytes.len() < MIN_BYTES {
        return None;
    }
    let mut held = Held::default();
    held.up_to(bytes.len(), room).ok()?;
    let length = bytes.len();
    let coded = if length <= MAX_INLINE_BYTES {
        whole(encoding, &bytes)
    } else {
        tokio::task::spawn_blocking(move || whole(encoding, &bytes)).await.ok()?
    };
    coded.filter(|coded| coded.len() < length).map(|coded| (coded, held))
}

fn whole(encoding: Encoding, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut coder = Coder::new(encoding)?;
    match &mut coder {
        Coder::Gzip(encoder) => encoder.write_all(bytes).ok()?,
        Coder::Zstd(encoder) => encoder.write_all(bytes).ok()?,
    }
    coder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::routes::{Gives, ROUTES};

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_coding_with_the_most_weight_is_taken() {
        use Encoding::{Gzip, Zstd};
        let rows: &[(&[&str], Option<Encoding>)] = &[
            (&[], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["GZIP, br"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["gzip, zstd"], Some(Zstd)),
            (&["gzip", "zstd;q=0.9"], Some(Gzip)),
            (&["gzip;q=0.5, zstd;q=0.8"], Some(Zstd)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000, zstd; q=0.001"], Some(Zstd)),
            (&["*"], Some(Zstd)),
            (&["zstd;q=0, *"], Some(Gzip)),
            (&["*;q=0"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["br, deflate"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;level=9"], None),
            (&["gzip;q=1;q=0"], None),
            (&[",;,"], None),
        ];
        for (values, expected) in rows {
            assert_eq!(accepted(&headers("accept-encoding", values)), *expected, "{values:?}");
        }
    }

    #[test]
    fn nothing_that_holds_a_token_is_compressed_nor_anything_for_another_site() {
        let all = headers("accept-encoding", &["gzip, zstd"]);
        for route in ROUTES {
            let holds_token = matches!(route.gives.1, Gives::Json("ApiKeyWithToken"));
            assert!(!holds_token || wanted(route.operation, &all).is_none(), "{}", route.id);
        }
        for (site, expected) in [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)] {
            let mut headers = all.clone();
            headers.insert("sec-fetch-site", site.parse().unwrap());
            assert_eq!(wanted(Operation::Entries, &headers).is_some(), expected, "{site}");
        }
    }

    #[test]
    fn what_is_read_is_what_was_written_and_each_piece_comes_at_once() {
        let pieces: Vec<Vec<u8>> = (0..20_u8).map(|at| vec![at; 7000]).collect();
        for encoding in Encoding::ALL {
            let mut coder = Coder::new(encoding).unwrap();
            let mut sent = Vec::new();
            for piece in &pieces {
                let coded = coder.piece(piece).unwrap();
                assert!(!coded.is_empty() && coded.len() < 500, "{encoding:?} {}", coded.len());
                sent.extend(coded);
            }
            sent.extend(coder.finish().unwrap());
            let mut read = Vec::new();
            match encoding {
                Encoding::Gzip => flate2::read::GzDecoder::new(sent.as_slice()).read_to_end(&mut read).unwrap(),
                Encoding::Zstd => zstd::Decoder::new(sent.as_slice()).unwrap().read_to_end(&mut read).unwrap(),
            };
            assert_eq!(read, pieces.concat());
        }
    }
}
