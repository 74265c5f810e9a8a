//! Closed segments: zstd frames of whole lines with the seek table of the zstd seekable format, so that one entry costs one frame.
//!
//! `zstd -d` reads the file as it is. The table is derived (it can be rebuilt by walking the frames); the frames are primary.

use std::io;

use indelible_core::entry::MAX_LINE_BYTES;
use thiserror::Error;

/// Most uncompressed bytes in a frame, for whoever reads one.
pub const FRAME_BYTES: usize = 256 << 10;
/// Most that a frame of several lines is given. One entry costs one frame: an eighth of the time of a frame of 256 KiB, for 5.6 % more bytes.
pub const TARGET_BYTES: usize = 32 << 10;
const _: () = assert!(TARGET_BYTES <= FRAME_BYTES);
/// A frame of this size holds at least four of the longest lines.
const _: () = assert!(FRAME_BYTES / MAX_LINE_BYTES >= 3);

/// Most compressed bytes of a frame: zstd adds less than 1/128 and a header to what it cannot compress.
pub const MAX_COMPRESSED: usize = FRAME_BYTES + FRAME_BYTES / 128 + 128;
/// Most frames of a segment: as full as they are written that is 256 GiB of lines; in memory they take 96 MiB, their seek table 32 MiB.
pub const MAX_FRAMES: usize = 1 << 22;
/// Magic, header, one block with one byte in it, checksum: no frame of lines is smaller.
const MIN_COMPRESSED: u64 = 4 + 2 + 3 + 1 + 4;

/// In frames of this size (measured with 64 KiB) level 3 gains nothing over level 1 (sample events 4.56 against 4.63 times smaller, a Kubernetes trail 7.11 against 7.14, CloudTrail 7.73
/// against 7.66) and takes a third more time.
const LEVEL: i32 = 1;
const SKIPPABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Offset in the file.
    pub at: u64,
    /// Compressed length.
    pub compressed: u32,
    /// Offset in the uncompressed segment.
    pub offset: u64,
    /// Uncompressed length.
    pub bytes: u32,
}

/// Why a closed segment cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The seek table at the end is missing or contradicts itself.
    #[error("the seek table is damaged: {0}")]
    Table(&'static str),
    /// A frame does not decompress to what the table says.
    #[error("the frame at byte {at} cannot be decompressed")]
    Frame {
        /// Offset in the file.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Cuts `lines` at line ends into parts of at most [`TARGET_BYTES`] (a longer line stands alone).
pub fn parts(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let (part, after) = match rest.get(..TARGET_BYTES) {
            None => (rest, &[][..]),
            Some(window) => {
                let end = memchr::memrchr(b'\n', window)
                    .or_else(|| memchr::memchr(b'\n', rest))
                    .map_or(rest.len(), |at| at + 1);
                rest.split_at_checked(end)?
            }
        };
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Compresses one part after the other into frames with content size and checksum.
pub struct Encoder(zstd::bulk::Compressor<'static>);

impl Encoder {
    /// Ready for the first part.
    ///
    /// # Errors
    /// What zstd says.
    pub fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        Ok(Self(compressor))
    }

    /// Compresses one part.
    ///
    /// # Errors
    /// What zstd says.
    pub fn frame(&mut self, part: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(part)
    }
}

/// Compresses one part by itself.
///
/// # Errors
/// What zstd says.
pub fn compress(part: &[u8]) -> io::Result<Vec<u8>> {
    Encoder::new()?.frame(part)
}

/// Decompresses one frame after the other; what zstd needs for that (160 KiB) is had once.
pub struct Decoder(zstd::bulk::Decompressor<'static>);

impl Decoder {
    /// Ready for the first frame.
    ///
    /// # Errors
    /// What zstd says.
    pub fn new() -> io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }

    /// Decompresses one frame, which must give exactly `frame.bytes` bytes, behind what `out` holds.
    ///
    /// # Errors
    /// [`FrameError::Frame`]; then `out` is as long as before.
    pub fn append(&mut self, frame: &Frame, compressed: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let (from, wanted) = (out.len(), usize::try_from(frame.bytes).unwrap_or(usize::MAX));
        out.reserve(wanted);
        let mut room = io::Cursor::new(std::mem::take(out));
        room.set_position(from as u64);
        let result = self.0.decompress_to_buffer(compressed, &mut room);
        *out = room.into_inner();
        let result = match result {
            Ok(got) if got == wanted && out.len() == from + wanted => Ok(()),
            Ok(got) => {
                let text = format!("it holds {got} bytes instead of {wanted}");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            out.truncate(from);
        }
        result.map_err(|source| FrameError::Frame { at: frame.at, source })
    }
}

/// Compressed and uncompressed length of the zstd frame that `read` reads (from an offset in it, into a buffer), by its header and
/// those of its blocks (RFC 8878, sections 3.1.1.1 and 3.1.1.2). `None` where no whole frame of ours begins in these `len` bytes.
///
/// # Errors
/// What `read` says.
pub fn sizes(len: u64, read: impl Fn(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<Option<(u32, u32)>> {
    // The longest header of a frame, and that of its first block.
    let mut head = [0; 18 + BLOCK_HEADER];
    let got = read(0, &mut head)?;
    let Some((mut at, content, checksum)) = head.get(..got).and_then(header) else { return Ok(None) };
    let mut block = head.get(at..at + BLOCK_HEADER).and_then(|block| block.first_chunk().copied());
    loop {
        let header = match block.take() {
            Some(header) => header,
            None => {
                let mut header = [0; BLOCK_HEADER];
                if read(at as u64, &mut header)? < BLOCK_HEADER {
                    return Ok(None);
                }
                header
            }
        };
        let [low, middle, high] = header.map(usize::from);
        let (last, kind, size) = (low & 1 == 1, low >> 1 & 3, (high << 16 | middle << 8 | low) >> 3);
        if kind == 3 || size > MAX_BLOCK {
            return Ok(None);
        }
        // A block of one byte that is repeated has that byte alone.
        at += BLOCK_HEADER + if kind == 1 { 1 } else { size };
        if at > MAX_COMPRESSED {
            return Ok(None);
        }
        if last {
            break;
        }
    }
    at += if checksum { 4 } else { 0 };
    let content =
        u32::try_from(content).ok().filter(|n| usize::try_from(*n).is_ok_and(|n| (1..=FRAME_BYTES).contains(&n)));
    Ok(u32::try_from(at).ok().filter(|at| u64::from(*at) <= len && *at as usize <= MAX_COMPRESSED).zip(content))
}

const BLOCK_HEADER: usize = 3;
const MAX_BLOCK: usize = 128 << 10;

/// Where the header of a frame ends, how long its content is, and whether a checksum stands behind its blocks. `None` for what
/// is no header, or one of a frame that needs a dictionary or does not tell its length.
fn header(bytes: &[u8]) -> Option<(usize, u64, bool)> {
    let descriptor = *bytes.strip_prefix(&[0x28, 0xB5, 0x2F, 0xFD])?.first()?;
    let (single, reserved) = (descriptor >> 5 & 1 == 1, descriptor >> 3 & 1 == 1);
    if reserved || descriptor & 3 != 0 {
        return None;
    }
    let from = if single { 5 } else { 6 };
    let len = match descriptor >> 6 {
        0 if single => 1,
        0 => return None,
        power => 1 << power,
    };
    let field = bytes.get(from..from + len)?;
    let content = field.iter().rev().fold(0_u64, |content, byte| content << 8 | u64::from(*byte));
    Some((from + len, if len == 2 { content + 256 } else { content }, descriptor >> 2 & 1 == 1))
}

/// The seek table as it stands at the end of the file.
#[must_use]
pub fn table_bytes(frames: &[Frame]) -> Vec<u8> {
    let content = frames.len() * 8 + 9;
    let mut out = Vec::with_capacity(content + 8);
    out.extend_from_slice(&SKIPPABLE.to_le_bytes());
    // A segment of 2^32 / 8 frames would be 128 TiB.
    out.extend_from_slice(&u32::try_from(content).unwrap_or(u32::MAX).to_le_bytes());
    for frame in frames {
        out.extend_from_slice(&frame.compressed.to_le_bytes());
        out.extend_from_slice(&frame.bytes.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(frames.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&SEEKABLE.to_le_bytes());
    out
}

/// How many bytes at the end of a file of `len` bytes hold the table, by its footer (the last 9 bytes).
///
/// # Errors
/// [`FrameError::Table`].
pub fn table_len(footer: &[u8], len: u64) -> Result<u64, FrameError> {
    let magic = footer.last_chunk::<4>().ok_or(FrameError::Table("the file is too short"))?;
    if u32::from_le_bytes(*magic) != SEEKABLE {
        return Err(FrameError::Table("its last four bytes are not those of a seek table"));
    }
    let count = footer.first_chunk::<4>().ok_or(FrameError::Table("the file is too short"))?;
    let count = u64::from(u32::from_le_bytes(*count));
    if count > MAX_FRAMES as u64 {
        return Err(FrameError::Table("it claims more frames than a segment may have"));
    }
    let total = count * 8 + 17;
    if total + count * MIN_COMPRESSED > len {
        Err(FrameError::Table("it claims more frames than the file can hold"))
    } else {
        Ok(total)
    }
}

/// Reads a table; `len` is the length of the file.
///
/// # Errors
/// [`FrameError::Table`] unless the frames fill the file exactly.
pub fn parse_table(table: &[u8], len: u64) -> Result<Vec<Frame>, FrameError> {
    let wrong = FrameError::Table;
    let mut frames = Vec::new();
    let (mut at, mut offset) = (0, 0);
    let entries = table.get(8..table.len().saturating_sub(9)).ok_or(wrong("it is too short"))?;
    for entry in entries.chunks_exact(8) {
        let (compressed, bytes) = (
            entry.first_chunk::<4>().copied().map_or(0, u32::from_le_bytes),
            entry.last_chunk::<4>().copied().map_or(0, u32::from_le_bytes),
        );
        if usize::try_from(bytes).unwrap_or(usize::MAX) > FRAME_BYTES {
            return Err(wrong("a frame claims more than a frame may hold"));
        }
        if bytes == 0 {
            return Err(wrong("a frame holds nothing"));
        }
        if usize::try_from(compressed).unwrap_or(usize::MAX) > MAX_COMPRESSED {
            return Err(wrong("a frame claims more bytes than a frame may have"));
        }
        frames.push(Frame { at, compressed, offset, bytes });
        at += u64::from(compressed);
        offset += u64::from(bytes);
    }
    if at + table.len() as u64 != len || table_bytes(&frames) != table {
        return Err(wrong("it does not fit the frames before it"));
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_at_line_ends_and_lose_nothing() {
        let mut lines = Vec::new();
        for n in 0..3000_usize {
            lines.extend(std::iter::repeat_n(b'x', n % 700));
            lines.push(b'\n');
        }
        let cut: Vec<&[u8]> = parts(&lines).collect();
        assert_eq!(cut.concat(), lines);
        assert!(cut.iter().all(|part| part.len() <= TARGET_BYTES && part.ends_with(b"\n")));
        assert_eq!(parts(b"").count(), 0);
    }

    /// The same by the library, which wants the whole frame.
    fn sizes_by_zstd(bytes: &[u8]) -> Option<(u32, u32)> {
        let compressed = zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?;
        let content = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
        (bytes.starts_with(&[0x28]) && compressed <= MAX_COMPRESSED && content <= FRAME_BYTES as u64)
            .then(|| (u32::try_from(compressed).unwrap(), u32::try_from(content).unwrap()))
    }

    fn sizes_of(bytes: &[u8]) -> Option<(u32, u32)> {
        let read = |from: u64, buffer: &mut [u8]| {
            let rest = &bytes[usize::try_from(from).unwrap().min(bytes.len())..];
            let got = rest.len().min(buffer.len());
            buffer[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        };
        sizes(bytes.len() as u64, read).unwrap()
    }

    #[test]
    fn a_frame_is_followed_as_zstd_follows_it() {
        let mut noise = 1_u64;
        let mut next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.to_be_bytes()[0]
        };
        let random: Vec<u8> = std::iter::repeat_with(&mut next).take(FRAME_BYTES).collect();
        let text: Vec<u8> = random.iter().map(|byte| byte & 7).collect();
        for len in [1, 2, 100, 255, 256, 257, 5_000, 65_535, 65_536, 65_792, 131_072, 200_000, FRAME_BYTES] {
            for content in [&random[..len], &text[..len], &vec![b'x'; len]] {
                let frame = compress(content).unwrap();
                let whole = sizes_of(&frame).unwrap();
                assert_eq!(whole, (u32::try_from(frame.len()).unwrap(), u32::try_from(len).unwrap()));
                let followed = [&frame[..], b"more"].concat();
                assert_eq!(sizes_of(&followed), Some(whole));
                for cut in [0, 3, 4, 5, 9, frame.len() / 2, frame.len() - 1] {
                    assert_eq!(sizes_of(&frame[..cut.min(frame.len() - 1)]), None, "{len} cut at {cut}");
                }
                for at in 0..frame.len().min(24) {
                    for bit in 0..8 {
                        let mut changed = followed.clone();
                        changed[at] ^= 1 << bit;
                        let (ours, zstds) = (sizes_of(&changed), sizes_by_zstd(&changed));
                        // We want a length that is told, no dictionary, and need no window.
                        assert!(
                            ours == zstds || ours.is_none(),
                            "{len}: byte {at} bit {bit}: {ours:?}, zstd {zstds:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_table_of_more_than_the_file_can_hold_is_refused_by_its_footer() {
        let footer = |count: u32| [&count.to_le_bytes()[..], &[0], &SEEKABLE.to_le_bytes()[..]].concat();
        for (count, len) in [(u32::MAX, u64::MAX), (1 << 23, 1 << 40), (10, 10 * 8 + 17), (10, 10 * 8 + 17 + 139)] {
            table_len(&footer(count), len).unwrap_err();
        }
        table_len(&footer(10), 10 * 8 + 17 + 140).unwrap();
    }

    #[test]
    fn a_table_round_trips_and_notices_every_bit() {
        let frames = [
            Frame { at: 0, compressed: 20, offset: 0, bytes: 100 },
            Frame { at: 20, compressed: 17, offset: 100, bytes: 5 },
        ];
        let table = table_bytes(&frames);
        let len = 37 + table.len() as u64;
        assert_eq!(table_len(&table[table.len() - 9..], len).unwrap(), table.len() as u64);
        assert_eq!(parse_table(&table, len).unwrap(), frames);
        for at in 0..table.len() {
            for bit in 0..8 {
                let mut changed = table.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = parse_table(&changed, len) {
                    assert_ne!(read, frames, "byte {at} bit {bit}");
                }
            }
        }
    }
}
