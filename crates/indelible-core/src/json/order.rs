//! The order of member names: by UTF-16 code units of what the names say (RFC 8785, section 3.2.3).

use std::cmp::Ordering;

/// A member name as it stands in the text, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Name<'t> {
    pub(super) text: &'t [u8],
    pub(super) escaped: bool,
}

impl<'t> Name<'t> {
    pub(super) const EMPTY: Self = Self { text: b"", escaped: false };

    /// The first eight bytes as a number that sorts as the name does, or 0 where only [`Name::compare`] tells.
    /// Two that differ, neither of them 0, decide: no name has a NUL in it that is not escaped.
    #[inline]
    pub(super) fn key(self) -> u64 {
        let key = match self.text.first_chunk() {
            Some(chunk) => u64::from_be_bytes(*chunk),
            None => {
                self.text.iter().fold(0, |key, byte| key << 8 | u64::from(*byte)) << ((64 - 8 * self.text.len()) & 63)
            }
        };
        if self.escaped || key & 0x8080_8080_8080_8080 != 0 { 0 } else { key }
    }

    /// Compares what the names say, however it is escaped.
    #[inline]
    pub(super) fn compare(self, other: Self) -> Ordering {
        if self.escaped || other.escaped {
            return self.units().cmp(other.units());
        }
        compare_plain(self.text, other.text)
    }

    /// Names are cut out of text that was checked to be UTF-8, at its quotes.
    fn units(self) -> Units<'t> {
        Units::of(std::str::from_utf8(self.text).unwrap_or_default())
    }
}

/// UTF-8 sorts by code points; UTF-16 puts those beyond U+FFFF (first byte F0 and up) before U+E000…U+FFFF (EE, EF).
#[inline]
fn compare_plain(a: &[u8], b: &[u8]) -> Ordering {
    for (&x, &y) in a.iter().zip(b) {
        if x != y {
            return if x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0) { y.cmp(&x) } else { x.cmp(&y) };
        }
    }
    a.len().cmp(&b.len())
}

/// The UTF-16 code units of a well-formed string's text.
struct Units<'t> {
    rest: std::str::Chars<'t>,
    low: Option<u16>,
}

impl<'t> Units<'t> {
    fn of(text: &'t str) -> Self {
        Self { rest: text.chars(), low: None }
    }

    fn plain(&mut self, c: char) -> u16 {
        let mut pair = [0; 2];
        let [high, rest @ ..] = c.encode_utf16(&mut pair) else { return 0 };
        self.low = rest.first().copied();
        *high
    }
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let Some(low) = self.low.take() {
            return Some(low);
        }
        match self.rest.next()? {
            '\\' => match self.rest.next()? {
                'u' => {
                    let (digits, rest) = self.rest.as_str().split_at_checked(4)?;
                    self.rest = rest.chars();
                    u16::from_str_radix(digits, 16).ok()
                }
                letter => Some(u16::from(short_escape(letter))),
            },
            c => Some(self.plain(c)),
        }
    }
}

/// What a two-character escape stands for.
fn short_escape(letter: char) -> u8 {
    match letter {
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'f' => 12,
        'r' => b'\r',
        '\\' => b'\\',
        '/' => b'/',
        _ => b'"',
    }
}

/// What a well-formed string's text says.
pub(super) fn unescape(text: &str) -> String {
    char::decode_utf16(Units::of(text)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&'static str]) {
        let name = |text: &'static str| Name { text: text.as_bytes(), escaped: text.contains('\\') };
        for pair in names.windows(2) {
            let (a, b) = (name(pair[0]), name(pair[1]));
            assert_eq!(a.compare(b), Ordering::Less, "{pair:?}");
            assert_eq!(b.compare(a), Ordering::Greater, "{pair:?}");
            assert_eq!(a.compare(a), Ordering::Equal, "{pair:?}");
        }
    }

    #[test]
    fn sorts_by_utf16_code_units() {
        check(&["", "a", "aa", "ab", "b"]);
        check(&[
            "\u{7f}",
            "\u{80}",
            "\u{7ff}",
            "\u{800}",
            "\u{d7ff}",
            "\u{10000}",
            "\u{10ffff}",
            "\u{e000}",
            "\u{ffff}",
        ]);
        check(&["\\n", "\\r", "1", "</script>", "\\u0080", "\u{f6}", "\\u20ac", "\\ud83d\\ude02", "\\ufb33"]);
        check(&["😀", "😁", "\u{e000}"]);
    }

    #[test]
    fn spelling_does_not_matter() {
        for (a, b) in [("\\u0061", "a"), ("\\n", "\\u000A"), ("\\/", "/"), ("\\ud83d\\ude00", "😀")] {
            let (a, b) =
                (Name { text: a.as_bytes(), escaped: true }, Name { text: b.as_bytes(), escaped: b.contains('\\') });
            assert_eq!(a.compare(b), Ordering::Equal);
        }
    }
}
