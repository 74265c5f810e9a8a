//! Lower-case hexadecimal, the only spelling that the format knows.

/// Appends the lower-case hexadecimal form of `bytes` to `out`.
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    let from = out.len();
    out.resize(from + 2 * bytes.len(), 0);
    let slots = out.get_mut(from..).unwrap_or_default().as_chunks_mut::<2>().0;
    for (slot, byte) in slots.iter_mut().zip(bytes) {
        *slot = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// The lower-case hexadecimal form of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    push(&mut out, bytes);
    // Digits only, so that nothing is ever lost here.
    String::from_utf8(out).unwrap_or_default()
}

/// Reads exactly `N` bytes from `2 * N` lower-case digits; `None` for anything else, upper case included.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    // Without a branch in the loop, and asked once behind it: every line that is read has 160 digits.
    let mut all = true;
    for (slot, pair) in out.iter_mut().zip(text.as_chunks::<2>().0) {
        let [(high, good_high), (low, good_low)] = pair.map(value);
        *slot = high << 4 | low;
        all &= good_high & good_low;
    }
    all.then_some(out)
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
}

/// What a digit stands for, and whether it is one.
const fn value(digit: u8) -> (u8, bool) {
    let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    let value = if number < 10 { number } else { letter.wrapping_add(10) & 15 };
    (value, (number < 10) | (letter < 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert_eq!(decode::<256>(text.as_bytes()).unwrap().to_vec(), all);
        let mut pushed = Vec::new();
        push(&mut pushed, &all);
        assert_eq!(pushed, text.into_bytes());
    }

    #[test]
    fn reads_sixteen_digits_and_no_other_byte() {
        for byte in 0..=255_u8 {
            let expect = b"0123456789abcdef".iter().position(|digit| *digit == byte);
            let expect = expect.map(|value| u8::try_from(value).unwrap());
            assert_eq!(decode::<1>(&[b'0', byte]), expect.map(|value| [value]), "{byte}");
            assert_eq!(decode::<1>(&[byte, b'0']), expect.map(|value| [value << 4]), "{byte}");
        }
    }

    #[test]
    fn refuses_upper_case_other_lengths_and_other_bytes() {
        for bad in ["AB", "a", "abc", "zz", "", "a "] {
            assert_eq!(decode::<1>(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
