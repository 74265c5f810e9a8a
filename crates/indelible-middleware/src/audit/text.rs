//! Texts of a request, cut to what an event takes: whoever sends them chooses them.

use http::Uri;

/// The longest path: an id has at most 2,048 bytes, and each of these may need a backslash.
const MAX_PATH_BYTES: usize = 1000;

/// The beginning of a text, with a sign where it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// The path of a request; what has none has a dash.
pub(crate) fn path(uri: &Uri) -> String {
    let path = if uri.path().is_empty() { "-" } else { uri.path() };
    cut(path, MAX_PATH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_letters_and_say_so() {
        for (text, most, expected) in [("abc", 3, "abc"), ("abcd", 3, "abc…"), ("aéé", 2, "a…"), ("", 0, "")] {
            assert_eq!(cut(text, most), expected, "{text}");
        }
        assert_eq!(path(&"/a?b=c".parse().unwrap()), "/a");
        assert_eq!(path(&"example.com:443".parse().unwrap()), "-");
        assert!(path(&format!("/{}", "\"".repeat(5000)).parse().unwrap()).len() < 1010);
    }
}
