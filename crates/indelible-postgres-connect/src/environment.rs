//! The environment, read as libpq reads it, and the password file.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use crate::{config::Warning, files, secret::Password};

/// The environment variables that a configuration is filled up from.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl std::fmt::Debug for Environment {
    /// Names alone: a value may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(env::vars_os().collect())
    }

    /// These variables and no others.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// A variable that is not empty. Text that is not UTF-8 is given with its bad parts replaced, and refused where it means something.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(OsStr::new(name)).filter(|value| !value.is_empty())?;
        Some(value.to_string_lossy().into_owned())
    }

    /// A file in the home directory.
    pub(crate) fn in_home(&self, name: &str) -> Option<PathBuf> {
        let home = self.0.get(OsStr::new("HOME")).filter(|home| !home.is_empty())?;
        Some(Path::new(home).join(name))
    }
}

/// What a line of the password file is looked up by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password file's text, for look-ups. One that others can read is left alone, with a warning, as libpq does.
#[derive(Debug, Default)]
pub(crate) struct PasswordFile(Option<Password>);

impl PasswordFile {
    /// A file that is not there is none.
    pub(crate) fn open(path: &Path, warnings: &mut Vec<Warning>) -> Self {
        match read_private(path) {
            Ok(text) => Self(Some(Password::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self(None),
            Err(error) => {
                warnings.push(Warning::PasswordFile { path: path.to_owned(), why: error.to_string() });
                Self(None)
            }
        }
    }

    pub(crate) fn look_up(&self, sought: Sought<'_>) -> Option<Password> {
        let text = self.0.as_ref()?.reveal();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.find_map(|line| password_of_line(line, sought)).filter(|found| !found.reveal().is_empty())
    }
}

fn read_private(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    if let Some(mode) = files::mode_for_others(&file)? {
        return Err(io::Error::other(format!("others can read it (mode {mode:04o}): `chmod 600` it")));
    }
    io::read_to_string(&mut file)
}

/// `host:port:database:user:password`; `*` fits all, a backslash takes the next character as it is.
fn password_of_line(line: &str, sought: Sought<'_>) -> Option<Password> {
    let port = sought.port.to_string();
    let mut rest = line;
    for wanted in [sought.host, &port, sought.database, sought.user] {
        let (field, after) = split_field(rest)?;
        if field != "*" && unescaped(field) != wanted {
            return None;
        }
        rest = after;
    }
    // A colon in the password need not be escaped.
    Some(Password::new(unescaped(rest)))
}

fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            ':' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_password_file() {
        let sought = Sought { host: "db.example", port: 5432, database: "au:dit", user: "w" };
        for (line, password) in [
            ("db.example:5432:au\\:dit:w:s3cret", Some("s3cret")),
            ("*:*:*:*:a:b", Some("a:b")),
            ("*:*:*:*:a\\\\b\\:c", Some("a\\b:c")),
            ("db.example:5433:*:w:x", None),
            ("other:*:*:*:x", None),
            ("*:*:*:v:x", None),
            ("*:*:*", None),
            ("", None),
        ] {
            let found = password_of_line(line, sought);
            assert_eq!(found.as_ref().map(Password::reveal), password, "{line}");
        }
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let file = PasswordFile(Some(Password::new("# *:*:*:*:no\nh:*:*:*:one\n*:*:*:*:two\n".to_owned())));
        let of = |host| file.look_up(Sought { host, port: 1, database: "d", user: "u" });
        assert_eq!(of("h").as_ref().map(Password::reveal), Some("one"));
        assert_eq!(of("i").as_ref().map(Password::reveal), Some("two"));
    }

    #[test]
    fn no_value_is_shown() {
        let shown = format!("{:?}", Environment::of(&[("PGPASSWORD", "secret")]));
        assert!(shown.contains("PGPASSWORD") && !shown.contains("secret"), "{shown}");
    }
}
