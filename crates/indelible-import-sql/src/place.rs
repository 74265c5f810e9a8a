//! Where a table is: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`.

use std::{path::PathBuf, str::FromStr};

use crate::{error::SqlError, postgres::PostgresTable, sqlite::SqliteTable, table::Table};

/// A database that holds a table.
#[derive(Clone)]
pub enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// A server. The URL may hold a password.
    Postgres(String),
}

impl FromStr for Place {
    type Err = SqlError;

    fn from_str(text: &str) -> Result<Self, SqlError> {
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(PathBuf::from(file))),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(text.to_owned())),
            // What stands there may be a URL with a password.
            Some((scheme, _)) => Err(SqlError::Place(format!("{scheme}:…"))),
            None => Err(SqlError::Place(text.to_owned())),
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => f.debug_tuple("Sqlite").field(file).finish(),
            Self::Postgres(url) => {
                f.debug_tuple("Postgres").field(&indelible::location::without_password(url)).finish()
            }
        }
    }
}

impl Place {
    /// Opens a table for reading. `key` names the columns that rows are told apart by; where it is absent, it is the primary key.
    /// With it comes the name that entries give the database, without user and password.
    ///
    /// # Errors
    /// [`SqlError`].
    pub fn open(&self, table: &str, key: Option<&[String]>) -> Result<(Box<dyn Table>, String), SqlError> {
        match self {
            Self::Sqlite(file) => {
                let table = SqliteTable::open(file, table, key)?;
                let system = table.system().to_owned();
                Ok((Box::new(table), system))
            }
            Self::Postgres(url) => {
                let table = PostgresTable::open(url, table, key)?;
                let system = table.system().to_owned();
                Ok((Box::new(table), system))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_and_keep_secrets() {
        assert!(matches!("sqlite:a.db".parse(), Ok(Place::Sqlite(file)) if file.as_os_str() == "a.db"));
        let place: Place = "postgres://u:secret@h/db".parse().unwrap();
        assert!(!format!("{place:?}").contains("secret"), "{place:?}");
        for bad in ["", "a.db", "sqlite:", "mysql://u:secret@h/db", "postgres:db"] {
            let error = bad.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("sqlite:FILE") && !error.contains("secret"), "{error}");
        }
    }
}
