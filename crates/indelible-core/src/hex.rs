//! Lower-case hexadecimal, the only spelling that the format knows.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the lower-case hexadecimal form of `bytes` to `out`.
pub fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]));
}

/// The lower-case hexadecimal form of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).map(char::from).collect()
}

/// Reads exactly `N` bytes from `2 * N` lower-case digits; `None` for anything else, upper case included.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = value(*high)? << 4 | value(*low)?;
    }
    Some(out)
}

fn digit(nibble: u8) -> u8 {
    DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
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
    fn refuses_upper_case_other_lengths_and_other_bytes() {
        for bad in ["AB", "a", "abc", "zz", "", "a "] {
            assert_eq!(decode::<1>(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
