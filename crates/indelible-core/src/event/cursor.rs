//! Walks over canonical JSON. What comes in was written by [`crate::json`]; nothing is checked again, and bytes that are
//! not canonical end a walk early instead of failing it.

use crate::json::plain_end;

/// The members of an object, names without quotes.
pub(super) fn members(object: &[u8]) -> Members<'_> {
    Members { bytes: object, at: 1 }
}

/// The elements of an array.
pub(super) fn elements(array: &[u8]) -> Elements<'_> {
    Elements { bytes: array, at: 1 }
}

/// See [`members`].
#[derive(Clone)]
pub(super) struct Members<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Members<'b> {
    type Item = (&'b [u8], &'b [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let name_end = string_end(self.bytes, self.at)?;
        let end = value_end(self.bytes, name_end + 1)?;
        let name = self.bytes.get(self.at + 1..name_end - 1)?;
        let value = self.bytes.get(name_end + 1..end)?;
        self.at = end + 1;
        Some((name, value))
    }
}

/// See [`elements`].
pub(super) struct Elements<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Elements<'b> {
    type Item = &'b [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = value_end(self.bytes, self.at)?;
        let value = self.bytes.get(self.at..end)?;
        self.at = end + 1;
        Some(value)
    }
}

/// The end of the string that begins at `start`; `None` where no string begins.
#[inline]
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The end of the value that begins at `start`; `None` where none does.
#[inline]
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => nested_end(bytes, start),
        b']' | b'}' => None,
        _ => {
            let rest = bytes.get(start..)?;
            let length = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}')).unwrap_or(rest.len());
            Some(start + length)
        }
    }
}

fn nested_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut open = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => open -= 1,
            _ => {}
        }
        at += 1;
        if open == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_members_and_elements() {
        let object = br#"{"a":1,"b\"":"x\\","c":{"d":["}"]},"e":[]}"#;
        let found: Vec<_> = members(object).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let expected = [("a", "1"), ("b\\\"", "\"x\\\\\""), ("c", r#"{"d":["}"]}"#), ("e", "[]")];
        assert_eq!(found, expected.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())));
        let found: Vec<_> = elements(br#"[1,"a,]",[2,3],{},true]"#).map(<[u8]>::to_vec).collect();
        assert_eq!(found, ["1", "\"a,]\"", "[2,3]", "{}", "true"].map(|value| value.as_bytes().to_vec()));
        assert_eq!(members(b"{}").count(), 0);
        assert_eq!(elements(b"[]").count(), 0);
    }

    #[test]
    fn ends_early_on_anything_else() {
        for bytes in ["", "{", "[", "{\"a", "{\"a\":", "{\"a\":[", "[\"\\", "x"] {
            assert_eq!(members(bytes.as_bytes()).count(), 0, "{bytes}");
        }
    }
}
