//! Scans over bytes, eight at a time.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;
const FIRST_PRINTABLE: u64 = 0x20;

/// Where the plain part of a string ends: the first quote, backslash or control character at or after `start`, or the end
/// of the bytes.
#[inline]
pub(crate) fn plain_end(bytes: &[u8], start: usize) -> usize {
    let (words, tail) = bytes.get(start..).unwrap_or_default().as_chunks::<8>();
    let mut at = start;
    for word in words {
        let stops = stops_in(u64::from_le_bytes(*word));
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + tail.iter().position(|&byte| is_stop(byte)).unwrap_or(tail.len())
}

/// Where a run of ASCII digits ends.
#[inline]
pub(super) fn digits_end(bytes: &[u8], start: usize) -> usize {
    let digits = bytes.get(start..).unwrap_or_default();
    start + digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len())
}

/// The high bit of each byte that ends a plain run. Borrows may set bits above the lowest one, never below it, so that
/// the lowest is exact.
#[inline]
fn stops_in(word: u64) -> u64 {
    let quotes = zeroes_in(word ^ (ONES * u64::from(b'"')));
    let backslashes = zeroes_in(word ^ (ONES * u64::from(b'\\')));
    let controls = word.wrapping_sub(ONES * FIRST_PRINTABLE) & !word;
    (quotes | backslashes | controls) & HIGH_BITS
}

#[inline]
fn zeroes_in(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

#[inline]
fn is_stop(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_of_a_word() {
        for byte in 0..=u8::MAX {
            for place in 0..24 {
                let mut bytes = [b'a'; 24];
                bytes[place] = byte;
                let expected = if is_stop(byte) { place } else { 24 };
                assert_eq!(plain_end(&bytes, 0), expected, "byte {byte} at {place}");
                assert_eq!(plain_end(&bytes, place), expected, "byte {byte} at {place}, from there");
            }
        }
    }

    #[test]
    fn the_first_of_two_stops_counts() {
        for first in [b'"', b'\\', 0, 0x1f] {
            for second in [b'"', b'\\', 0, 0x21, 0x5d, 0xff] {
                let bytes = [b'a', first, second, b'"', b'a', b'a', b'a', b'a'];
                assert_eq!(plain_end(&bytes, 0), 1, "{bytes:?}");
            }
        }
    }
}
