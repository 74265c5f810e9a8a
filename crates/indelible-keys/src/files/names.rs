//! Which names a manifest may have.

/// The longest name, in bytes: that of the longest path.
const MAX_NAME_BYTES: usize = 4096;

/// Why a name does not go into a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty, or too long.
    #[error("a name has 1 to 4,096 bytes")]
    Length,
    /// Not text.
    #[error("it is not UTF-8")]
    NotText,
    /// It leads away, or to the same file by another way.
    #[error("names are relative, and their parts are not empty, `.` or `..`")]
    Parts,
    /// It would show as something else, or `sha256sum` would write it in another way.
    #[error("it has a backslash, a line break or another character that does not show as what it is")]
    Characters,
}

/// Refuses names that are not plain ones beneath the manifest's folder.
pub(super) fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(NameError::Length);
    }
    if name.chars().any(is_hidden) {
        return Err(NameError::Characters);
    }
    // An absolute name begins with an empty part.
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) { Err(NameError::Parts) } else { Ok(()) }
}

/// Control characters, what breaks lines, turns the direction of writing or has no width; and the backslash, with which `sha256sum` escapes and
/// some systems separate.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\\' | '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken_and_hostile_ones_refused() {
        for good in ["a", "a b", " a", "*a", "-rf", "#a", "über/ä.json", "..a", "a..", "...", "a/b/c", "日誌"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for (bad, expect) in [
            ("", NameError::Length),
            (long.as_str(), NameError::Length),
            ("/a", NameError::Parts),
            ("a/", NameError::Parts),
            ("a//b", NameError::Parts),
            (".", NameError::Parts),
            ("..", NameError::Parts),
            ("a/../b", NameError::Parts),
            ("./a", NameError::Parts),
            ("a\nb", NameError::Characters),
            ("a\r", NameError::Characters),
            ("a\0", NameError::Characters),
            ("a\\b", NameError::Characters),
            ("C:\\a", NameError::Characters),
            ("a\u{202e}b", NameError::Characters),
            ("a\u{2028}b", NameError::Characters),
            ("a\u{200b}", NameError::Characters),
            ("a\u{7f}", NameError::Characters),
        ] {
            assert_eq!(check(bad), Err(expect), "{bad:?}");
        }
    }
}
