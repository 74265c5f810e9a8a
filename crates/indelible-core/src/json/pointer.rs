//! The way to a place in a text, as an RFC 6901 pointer. Only walked once something is wrong.

use super::{order::unescape, scan::plain_end};

enum Level<'t> {
    Object(Option<&'t str>),
    Array(usize),
}

/// The longest pointer of an error. Whoever sends a text chooses its names: errors would be as long as they are, some thousands of them in one answer.
const MAX_POINTER_BYTES: usize = 256;

/// A pointer as errors have it: of one that is too long the beginning, and `…`.
pub(crate) fn short(pointer: String) -> String {
    if pointer.len() <= MAX_POINTER_BYTES {
        return pointer;
    }
    let end = (0..=MAX_POINTER_BYTES).rev().find(|at| pointer.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", pointer.get(..end).unwrap_or_default())
}

/// The pointer to what stands at `offset`; `text` is well-formed up to there. Where the offset is that of a member name,
/// the pointer is that member's.
pub(super) fn pointer_to(text: &str, offset: usize) -> String {
    let bytes = text.as_bytes();
    let mut levels = Vec::new();
    let mut at = 0;
    while at <= offset {
        match bytes.get(at) {
            Some(b'"') => {
                let Some(end) = string_end(bytes, at).filter(|&end| at == offset || end <= offset) else { break };
                if let Some(Level::Object(name @ None)) = levels.last_mut() {
                    *name = text.get(at + 1..end - 1);
                }
                at = end;
                continue;
            }
            Some(_) if at == offset => break,
            Some(b'{') => levels.push(Level::Object(None)),
            Some(b'[') => levels.push(Level::Array(0)),
            Some(b'}' | b']') => drop(levels.pop()),
            Some(b',') => match levels.last_mut() {
                Some(Level::Object(name)) => *name = None,
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            Some(_) => {}
            None => break,
        }
        at += 1;
    }
    short(levels.iter().map(token).collect())
}

/// The offset after the closing quote.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

fn token(level: &Level<'_>) -> String {
    match level {
        Level::Object(Some(name)) => escape_token(&unescape(name)),
        Level::Object(None) => String::new(),
        Level::Array(index) => format!("/{index}"),
    }
}

/// One step of a pointer, with its slash.
fn escape_token(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mark: &str, expect: &str) {
        assert_eq!(pointer_to(text, text.find(mark).unwrap()), expect, "{text} at {mark}");
    }

    #[test]
    fn leads_to_the_place() {
        check("!", "!", "");
        check(r#"{"a":!"#, "!", "/a");
        check(r#"{"a":[1,{"b":2},!"#, "!", "/a/2");
        check(r#"{"a":{"b":1},"c":!"#, "!", "/c");
        check(r#"{"a":{"b":1},"c":2!"#, "!", "/c");
        check(r#"{"a":"x","c" !"#, "!", "/c");
        check(r#"{"a":"x",!"#, "!", "");
        check(r#"{"a":"x!y"}"#, "!", "/a");
        check(r#"{"b":"x","y!":1}"#, "!", "");
        check(r#"{"a/b~\u0063\"":[[!"#, "!", "/a~1b~0c\"/0/0");
        check(r#"{"a":{"x":1,"dup":1}}"#, "\"dup", "/a/dup");
    }

    #[test]
    fn a_long_way_is_cut_between_letters() {
        let text = |name: &str| format!("{{\"{name}\":!");
        let longest = "a".repeat(MAX_POINTER_BYTES - 1);
        check(&text(&longest), "!", &format!("/{longest}"));
        check(&text(&format!("{longest}b")), "!", &format!("/{longest}…"));
        check(&text(&"é".repeat(60_000)), "!", &format!("/{}…", "é".repeat(127)));
        check(&text(&"/".repeat(60_000)), "!", &format!("/{}~…", "~1".repeat(127)));
    }
}
