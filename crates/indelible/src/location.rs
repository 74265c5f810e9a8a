//! Where a log is, as people name it: a directory, or a log in a database.
//!
//! | text | meaning |
//! |---|---|
//! | `audit`, `/var/lib/audit` | a directory |
//! | `sqlite:FILE#ORIGIN` | the log `ORIGIN` in an SQLite file; `#ORIGIN` may be left out where the file holds one log |
//! | `sqlcipher:FILE#ORIGIN` | the same, encrypted at rest |
//! | `postgres://USER@HOST/DATABASE#ORIGIN` | the log `ORIGIN` in a PostgreSQL database |

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use indelible_core::{checkpoint::Origin, hex};
use indelible_store::{driver::Driver, store::StoreError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::options::Options;

/// Where a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A directory.
    Directory(PathBuf),
    /// A log in an SQLite file.
    Sqlite {
        /// The file.
        file: PathBuf,
        /// The log; the only one where none is named.
        origin: Option<String>,
        /// Whether the file is encrypted by SQLCipher.
        encrypted: bool,
    },
    /// A log in a PostgreSQL database.
    Postgres {
        /// The URL as given, without the log.
        url: String,
        /// The log; the only one where none is named.
        origin: Option<String>,
    },
}

/// A text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Nothing is named.
    #[error("an empty text names no log: give a directory, `sqlite:FILE` or `postgres://…`")]
    Empty,
    /// What stands behind `#` cannot be an origin.
    #[error("`{0}` behind `#` is no origin: use 1 to 128 of `A-Z a-z 0-9 . _ ~ / : @ -`")]
    Origin(String),
    /// A URL with a `#` before its `@`.
    #[error("a `#` in a password is written `%23`: what stands behind `#` is the name of a log")]
    Password,
    /// A scheme that is not known.
    #[error(
        "`{0}:` is no kind of store: use a directory, `sqlite:FILE`, `sqlcipher:FILE` or `postgres://…` (a directory of such a name is `./{0}:…`)"
    )]
    Scheme(String),
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            // What looks like the URL of a database may hold a password, and is not taken for a directory that messages name.
            Some((scheme, rest)) if rest.starts_with("//") => {
                return Err(LocationError::Scheme(scheme.trim().to_owned()));
            }
            _ if text.contains("password=") => return Err(LocationError::Scheme("host=…".to_owned())),
            _ => return Ok(Self::Directory(PathBuf::from(text))),
        };
        let scheme = scheme.to_ascii_lowercase();
        match &*scheme {
            "sqlite" | "sqlcipher" => {
                let (file, origin) = split_origin(rest)?;
                if file.is_empty() {
                    return Err(LocationError::Empty);
                }
                Ok(Self::Sqlite { file: PathBuf::from(file), origin, encrypted: scheme == "sqlcipher" })
            }
            "postgres" | "postgresql" => {
                // No part of what may be a password goes into a message.
                if text.split_once('#').is_some_and(|(before, after)| after.contains('@') && !before.contains('@')) {
                    return Err(LocationError::Password);
                }
                let (rest, origin) = split_origin(rest)?;
                Ok(Self::Postgres { url: format!("{scheme}:{rest}"), origin })
            }
            other => Err(LocationError::Scheme(other.to_owned())),
        }
    }
}

/// Letters, as of a URL; one alone may be a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn split_origin(text: &str) -> Result<(&str, Option<String>), LocationError> {
    let Some((place, origin)) = text.split_once('#') else { return Ok((text, None)) };
    let _: Origin = origin.parse().map_err(|_| LocationError::Origin(origin.to_owned()))?;
    Ok((place, Some(origin.to_owned())))
}

impl fmt::Display for Location {
    /// As it was named, but without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = |origin: &Option<String>| origin.as_ref().map_or(String::new(), |origin| format!("#{origin}"));
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Sqlite { file, origin: log, encrypted } => {
                let scheme = if *encrypted { "sqlcipher" } else { "sqlite" };
                write!(f, "{scheme}:{}{}", file.display(), origin(log))
            }
            Self::Postgres { url, origin: log } => write!(f, "{}{}", without_password(url), origin(log)),
        }
    }
}

/// A URL with stars in the place of its password, or of everything where nobody can tell what in it is one.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    let (user, hosts) = authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    // A password that was written without percent codes moves the parts about: the end of it may stand where path or port should.
    if path.contains('@') || !hosts.split(',').all(is_host) {
        return format!("{scheme}://***");
    }
    let user = match user.map(|user| user.split_once(':').ok_or(user)) {
        Some(Ok((name, _))) => format!("{name}:***@"),
        Some(Err(name)) => format!("{name}@"),
        None => String::new(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let hidden = query.split('&').map(|pair| match pair.split_once('=') {
                Some((name, _)) if may_be_password(name) => format!("{name}=***"),
                _ => pair.to_owned(),
            });
            format!("{path}?{}", hidden.collect::<Vec<_>>().join("&"))
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{user}{hosts}{path}")
}

/// A name or address, and a port that is a number.
fn is_host(host: &str) -> bool {
    let end = host.rfind(']').map_or(0, |at| at + 1);
    match host.get(end..).unwrap_or_default().split_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    }
}

/// A parameter whose value is not to be shown; what is written with percent codes may be any.
fn may_be_password(name: &str) -> bool {
    name.contains('%') || name.to_ascii_lowercase().contains("password")
}

impl Location {
    /// The directory, where it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// The file or directory that is on this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) | Self::Sqlite { file: path, .. } => Some(path),
            Self::Postgres { .. } => None,
        }
    }

    /// The log that is named, in a database.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::Directory(_) => None,
            Self::Sqlite { origin, .. } | Self::Postgres { origin, .. } => origin.as_deref(),
        }
    }

    /// The same place with a log named.
    #[must_use]
    pub fn with_origin(&self, name: &str) -> Self {
        let mut location = self.clone();
        match &mut location {
            Self::Directory(_) => {}
            Self::Sqlite { origin, .. } | Self::Postgres { origin, .. } => *origin = Some(name.to_owned()),
        }
        location
    }

    /// The names of all logs that are there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn origins(&self, options: &Options) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Directory(path) => Ok(vec![options.directory(path).reader_of_entry_zero()?.info().origin.clone()]),
            #[cfg(feature = "postgres")]
            Self::Postgres { url, .. } => options.databases.postgres(url)?.origins(),
            #[cfg(any(feature = "sqlite", feature = "sqlcipher"))]
            Self::Sqlite { file, encrypted, .. } => {
                let driver = self.sqlite(file, None, *encrypted, options)?;
                Ok(driver.logs()?.into_iter().map(|log| log.origin).collect())
            }
            #[cfg(not(all(feature = "postgres", any(feature = "sqlite", feature = "sqlcipher"))))]
            _ => Err(self.built_without("this kind of store")),
        }
    }

    /// What creates and opens the log there. Logs of one PostgreSQL database share the connections of [`Options::databases`].
    ///
    /// # Errors
    /// [`StoreError::Unfit`] for a kind of store that this program was built without; what the store says of the place.
    pub fn driver(&self, options: &Options) -> Result<Box<dyn Driver>, StoreError> {
        match self {
            Self::Directory(path) => Ok(Box::new(options.directory(path))),
            #[cfg(feature = "postgres")]
            Self::Postgres { url, origin } => {
                let database = options.databases.postgres(url)?;
                Ok(Box::new(indelible_store_postgres::PostgresDriver::new(database, origin.clone())))
            }
            #[cfg(any(feature = "sqlite", feature = "sqlcipher"))]
            Self::Sqlite { file, origin, encrypted } => {
                Ok(Box::new(self.sqlite(file, origin.clone(), *encrypted, options)?))
            }
            #[cfg(not(all(feature = "postgres", any(feature = "sqlite", feature = "sqlcipher"))))]
            _ => Err(self.built_without("this kind of store")),
        }
    }

    #[cfg(not(all(feature = "postgres", feature = "sqlcipher")))]
    fn built_without(&self, what: &str) -> StoreError {
        StoreError::Unfit { place: self.to_string(), detail: format!("this program was built without {what}") }
    }

    /// The SQLite file with what only it can do; `None` for another kind of place.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where its key is not known.
    #[cfg(any(feature = "sqlite", feature = "sqlcipher"))]
    pub fn sqlite_driver(&self, options: &Options) -> Result<Option<indelible_store_sqlite::SqliteDriver>, StoreError> {
        match self {
            Self::Sqlite { file, origin, encrypted } => {
                self.sqlite(file, origin.clone(), *encrypted, options).map(Some)
            }
            _ => Ok(None),
        }
    }

    #[cfg(any(feature = "sqlite", feature = "sqlcipher"))]
    fn sqlite(
        &self,
        file: &Path,
        origin: Option<String>,
        encrypted: bool,
        options: &Options,
    ) -> Result<indelible_store_sqlite::SqliteDriver, StoreError> {
        let driver =
            indelible_store_sqlite::SqliteDriver::new(file, origin).accept_network_disk(options.accept_network_disk);
        if encrypted { self.encrypted(driver, options) } else { Ok(driver) }
    }

    #[cfg(feature = "sqlcipher")]
    fn encrypted(
        &self,
        driver: indelible_store_sqlite::SqliteDriver,
        options: &Options,
    ) -> Result<indelible_store_sqlite::SqliteDriver, StoreError> {
        let Some(key) = &options.sqlcipher_key else {
            let detail = format!(
                "its key is not known: give 64 hexadecimal digits in {SQLCIPHER_KEY}, or in the file `{SQLCIPHER_KEY_FILE}` beside the keys"
            );
            return Err(StoreError::Unfit { place: self.to_string(), detail });
        };
        Ok(driver.with_key(**key))
    }

    #[cfg(all(feature = "sqlite", not(feature = "sqlcipher")))]
    fn encrypted(
        &self,
        _: indelible_store_sqlite::SqliteDriver,
        _: &Options,
    ) -> Result<indelible_store_sqlite::SqliteDriver, StoreError> {
        Err(self.built_without("SQLCipher, which encrypted files need: take a build with `--features sqlcipher`"))
    }
}

/// The environment variable with the key of encrypted SQLite files: 64 hexadecimal digits.
pub const SQLCIPHER_KEY: &str = "INDELIBLE_SQLCIPHER_KEY";
/// The file with it in the keys directory.
pub const SQLCIPHER_KEY_FILE: &str = "sqlcipher.key";

/// The key of encrypted SQLite files: from the environment, or else from the keys directory; `None` where neither has one.
///
/// # Errors
/// [`StoreError::Unfit`] for what is no key; its text is not repeated.
pub fn sqlcipher_key(keys: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
    let file = keys.join(SQLCIPHER_KEY_FILE);
    let (place, text) = match std::env::var(SQLCIPHER_KEY) {
        Ok(text) => (SQLCIPHER_KEY.to_owned(), Zeroizing::new(text)),
        Err(_) => match std::fs::read_to_string(&file) {
            Ok(text) => (file.display().to_string(), Zeroizing::new(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &file)(error)),
        },
    };
    let key = hex::decode::<32>(text.trim().as_bytes()).ok_or_else(|| StoreError::Unfit {
        place,
        detail: "it should hold 64 lower-case hexadecimal digits (`openssl rand -hex 32` makes such a key)".to_owned(),
    })?;
    Ok(Some(Zeroizing::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let directory = |text: &str| Location::Directory(PathBuf::from(text));
        for text in ["audit", "/var/lib/audit", "./sqlite:x", "C:/audit", "a#b"] {
            assert_eq!(text.parse(), Ok(directory(text)), "{text}");
        }
        let sqlite = |origin: Option<&str>, encrypted| Location::Sqlite {
            file: PathBuf::from("/a/b.db"),
            origin: origin.map(str::to_owned),
            encrypted,
        };
        assert_eq!("sqlite:/a/b.db".parse(), Ok(sqlite(None, false)));
        assert_eq!("sqlite:/a/b.db#example.com/x".parse(), Ok(sqlite(Some("example.com/x"), false)));
        for text in ["sqlcipher:/a/b.db", "SQLCIPHER:/a/b.db", "SqlCipher:/a/b.db"] {
            assert_eq!(text.parse(), Ok(sqlite(None, true)), "{text}");
        }
        assert_eq!("SQLite:/a/b.db".parse(), Ok(sqlite(None, false)));
        let url = "postgres://u@h/db".to_owned();
        assert_eq!("Postgres://u@h/db#a.b/c".parse(), Ok(Location::Postgres { url, origin: Some("a.b/c".to_owned()) }));
        let url = "postgresql://u:p@h1,h2:5433/db?sslmode=verify-full".to_owned();
        assert_eq!(format!("{url}#a.b/c").parse(), Ok(Location::Postgres { url, origin: Some("a.b/c".to_owned()) }));
        assert_eq!("".parse::<Location>(), Err(LocationError::Empty));
        assert_eq!("sqlite:".parse::<Location>(), Err(LocationError::Empty));
        assert_eq!("mysql://x".parse::<Location>(), Err(LocationError::Scheme("mysql".to_owned())));
        assert_eq!("postgres://u:p#w@h/db".parse::<Location>(), Err(LocationError::Password));
        assert_eq!("sqlite:a#b c".parse::<Location>(), Err(LocationError::Origin("b c".to_owned())));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_place_in_postgres_has_a_driver_and_hides_its_password() {
        let place = |url: &str| {
            let driver = url.parse::<Location>().unwrap().driver(&Options::default());
            driver.map(|driver| driver.place()).map_err(|error| error.to_string())
        };
        assert_eq!(place("postgres://u:secret@h/db#a.b/c").unwrap(), "postgres://u@h:5432/db#a.b/c");
        let told = place("postgres://u:secret@h/db?nonsense=secret2").unwrap_err();
        assert!(!told.contains("secret@"), "{told}");
    }

    #[test]
    fn the_key_of_a_file_is_read_from_the_keys() {
        let keys = tempfile::tempdir().unwrap();
        assert_eq!(sqlcipher_key(keys.path()).unwrap(), None);
        std::fs::write(keys.path().join(SQLCIPHER_KEY_FILE), format!("{}\n", "0a".repeat(32))).unwrap();
        assert_eq!(sqlcipher_key(keys.path()).unwrap().as_deref(), Some(&[10; 32]));
        std::fs::write(keys.path().join(SQLCIPHER_KEY_FILE), "password").unwrap();
        let error = sqlcipher_key(keys.path()).unwrap_err().to_string();
        assert!(error.contains("64") && !error.contains("password"), "{error}");
    }

    #[cfg(not(any(feature = "sqlite", feature = "sqlcipher")))]
    #[test]
    fn what_was_not_built_in_is_said() {
        let location: Location = "sqlite:a.db".parse().unwrap();
        let error = location.driver(&Options::default()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("built without"), "{error}");
    }

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "postgres://u:secret@h/db#o",
            "postgres://h/db?password=secret&user=u",
            "postgres://h/db?pass%77ord=secret",
            "postgres://h/db?sslpassword=secret",
            "postgres://u:sec@secret@h/db",
            "postgres://u:sec/secret@h/db",
            "postgres://u:sec?secret=1@h/db",
            "postgres://u:p@x/secret@h",
            "postgres://u:p@x?secret@h",
            "postgres://u:secret/db",
        ] {
            let shown = url.parse::<Location>().unwrap().to_string();
            assert!(!shown.contains("sec"), "{shown}");
            assert!(shown.starts_with("postgres://"), "{shown}");
        }
        for url in [
            "postgres://u@h1,h2:5433/db?sslmode=verify-full",
            "postgres://u@[::1]:5432/db",
            "postgres:///db",
            "postgres://h",
        ] {
            assert_eq!(url.parse::<Location>().unwrap().to_string(), url);
        }
    }
}
