//! Percent codes, as URLs have them (RFC 3986 section 2.1): written and read in one place, so that client and server mean the same.

/// What percent codes stand for; `None` for a code that is none, or for what is no UTF-8. A `+` is a `+`.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// A text as one segment of a path, or one value of a query: everything but unreserved characters is a code.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(nibble.into(), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_back_and_none_has_a_meaning_of_its_own() {
        for code in (0..0x900).chain([0xfffd, 0x1_f512]) {
            let text = format!("a{}b", char::from_u32(code).unwrap());
            let written = encode(&text);
            assert!(!written.contains(['/', '?', '#', '&', '=', '+', ' ']), "{written}");
            assert_eq!(decode(&written).as_deref(), Some(text.as_str()));
        }
        assert_eq!(encode("a.b/c:d@e~%\u{e9}"), "a.b%2Fc%3Ad%40e~%25%C3%A9");
    }

    #[test]
    fn what_is_no_code_or_no_utf_8_is_refused() {
        for bad in ["%", "%2", "%zz", "%2g", "%+1", "a%", "%ff", "%c3", "%c3%28", "%\u{e9}1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("%2f+%2F%00").as_deref(), Some("/+/\0"));
    }
}
