//! Texts of a request, cut to what an event takes: whoever sends them chooses them.

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;
use indelible_core::hex;

/// The longest path: an id has at most 2,048 bytes, each of these may need a backslash, and behind what is cut its length and digest stand.
const MAX_PATH_BYTES: usize = 900;

/// The beginning of a text, with a sign where it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// The path of a request; what has none has a dash. Of one that is cut its length and SHA-256 are told: two that differ are never the same on record.
pub(crate) fn path(uri: &Uri) -> String {
    let path = if uri.path().is_empty() { "-" } else { uri.path() };
    if path.len() <= MAX_PATH_BYTES {
        return path.to_owned();
    }
    let sha256 = hex::encode(digest(&SHA256, path.as_bytes()).as_ref());
    format!("{} ({} bytes, sha256:{sha256})", cut(path, MAX_PATH_BYTES), path.len())
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
        assert!(path(&format!("/{}", "\"".repeat(5000)).parse().unwrap()).len() < 1020);
    }

    #[test]
    fn two_paths_are_two_on_record_however_long_they_are() {
        let of = |last: u8| path(&format!("/patients/{}{last}", "0".repeat(1100)).parse().unwrap());
        let (seven, eight) = (of(7), of(8));
        assert_ne!(seven, eight);
        // As `printf %s PATH | sha256sum` says it.
        let digest = "eab37776c5f3da8a7947095eb7d36408684fdc62efc39acc889cb5fa35289c2b";
        assert!(seven.ends_with(&format!("0… (1111 bytes, sha256:{digest})")), "{seven}");
        let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
        assert_eq!(path(&longest.parse().unwrap()), longest);
    }
}
