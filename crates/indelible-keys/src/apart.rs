//! Keys and log are not in one place.

use std::path::{Path, PathBuf};

use crate::KeyError;

/// Refuses keys inside the log directory, or around it, by their real paths.
///
/// # Errors
/// [`KeyError::Beside`].
pub fn check_apart(keys: &Path, log: &Path) -> Result<(), KeyError> {
    let (real_keys, real_log) = (real(keys), real(log));
    if real_keys.starts_with(&real_log) || real_log.starts_with(&real_keys) {
        return Err(KeyError::Beside { keys: keys.display().to_string(), log: log.display().to_string() });
    }
    Ok(())
}

/// The real path of the part that exists, with the rest behind it.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut at = absolute.as_path();
    loop {
        if let Ok(found) = at.canonicalize() {
            return found.join(absolute.strip_prefix(at).unwrap_or(Path::new("")));
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => return absolute.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a25_keys_beside_the_log_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        for keys in [log.join("keys"), log.clone(), dir.path().to_owned(), log.join("segments/../keys")] {
            assert!(matches!(check_apart(&keys, &log), Err(KeyError::Beside { .. })), "{keys:?}");
        }
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&log, &link).unwrap();
            assert!(check_apart(&link.join("keys"), &log).is_err());
        }
        assert!(check_apart(&dir.path().join("keys"), &log).is_ok());
    }
}
