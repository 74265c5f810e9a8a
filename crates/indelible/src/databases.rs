//! The databases that a process reaches: one handle for each, however many logs are in it.
//!
//! A handle is a small pool of connections. Whoever opens thousands of logs of one database with clones of the same [`crate::Options`] shares
//! that pool; logs that are to be appended to [together](crate::together) have to.

#[cfg(feature = "postgres")]
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

#[cfg(feature = "postgres")]
use indelible_store::store::StoreError;
#[cfg(feature = "postgres")]
pub use indelible_store_postgres::{Database, Settings};

#[cfg(feature = "postgres")]
use crate::queue::lock;

/// The databases that were reached through this value or a clone of it. A handle stays as long as one of them does.
#[cfg(feature = "postgres")]
#[derive(Clone, Default)]
pub struct Databases {
    settings: Settings,
    postgres: Arc<Mutex<HashMap<String, Database>>>,
}

/// The databases of a process. This program was built without any that need a handle.
#[cfg(not(feature = "postgres"))]
#[derive(Clone, Debug, Default)]
pub struct Databases {}

#[cfg(feature = "postgres")]
impl Databases {
    /// None yet; each will be used as `settings` say.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        Self { settings, postgres: Arc::default() }
    }

    /// The handle on the database that a URL names (without `#ORIGIN`). The same text gives the same handle. Nothing is connected yet.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn postgres(&self, url: &str) -> Result<Database, StoreError> {
        let mut known = lock(&self.postgres);
        if let Some(database) = known.get(url) {
            return Ok(database.clone());
        }
        let database = Database::new(url, self.settings.clone())?;
        known.insert(url.to_owned(), database.clone());
        Ok(database)
    }
}

#[cfg(feature = "postgres")]
impl fmt::Debug for Databases {
    /// URLs may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = lock(&self.postgres);
        let places: Vec<&str> = known.values().map(Database::place).collect();
        f.debug_struct("Databases").field("settings", &self.settings).field("postgres", &places).finish()
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn one_handle_for_one_url_and_no_password_is_shown() {
        let databases = Databases::default();
        for url in ["postgres://u:secret@h/a", "postgres://u:secret@h/a", "postgres://u:secret@h/b"] {
            databases.clone().postgres(url).unwrap();
        }
        let shown = format!("{databases:?}");
        assert_eq!(shown.matches("u@h:5432/").count(), 2, "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(databases.postgres("postgres://u:secret@h/a?nonsense=1").is_err());
    }
}
