//! Where many logs are.
//!
//! A directory holds `registry/` and `logs/<name>/`, the name being the origin with every byte outside `[A-Za-z0-9.-]` as `%XX`. A
//! database holds them side by side; there the registry is the one log whose origin ends in `/registry`.

use std::{fmt, path::PathBuf, str::FromStr};

use indelible::{Location, LogError, Options, location::LocationError};
use indelible_core::head::file_name;
use indelible_store::{driver::Driver as _, store::StoreError};

/// How a registry's origin ends.
pub const SUFFIX: &str = "/registry";

/// Where many logs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(Location);

impl FromStr for Root {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        Ok(Self(text.parse()?))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Root {
    /// A directory.
    #[must_use]
    pub fn directory(path: PathBuf) -> Self {
        Self(Location::Directory(path))
    }

    /// The place as it was named.
    #[must_use]
    pub fn place(&self) -> &Location {
        &self.0
    }

    /// The file or directory that is on this machine.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.0.path()
    }

    /// Where a log of this name is, or is to be.
    #[must_use]
    pub fn log(&self, origin: &str) -> Location {
        match &self.0 {
            Location::Directory(path) => Location::Directory(path.join("logs").join(file_name(origin))),
            database => database.with_origin(origin),
        }
    }

    /// Where a registry of this name is to be.
    #[must_use]
    pub fn new_registry(&self, origin: &str) -> Location {
        match &self.0 {
            Location::Directory(path) => Location::Directory(path.join("registry")),
            database => database.with_origin(origin),
        }
    }

    /// Where the registry is.
    ///
    /// # Errors
    /// [`LogError::Refused`] where there is none, or more than one; [`StoreError`].
    pub fn registry(&self, options: &Options) -> Result<Location, LogError> {
        self.find_registry(options)?.ok_or_else(|| self.none())
    }

    /// The same; `None` where there is none.
    ///
    /// # Errors
    /// [`LogError::Refused`] where there is more than one; [`StoreError`].
    pub fn find_registry(&self, options: &Options) -> Result<Option<Location>, LogError> {
        if matches!(&self.0, Location::Sqlite { file, .. } if !file.exists()) {
            return Ok(None);
        }
        let Location::Directory(path) = &self.0 else {
            let origins = self.0.origins(options)?;
            let mut found = origins.iter().filter(|origin| origin.ends_with(SUFFIX));
            return match (found.next(), found.next()) {
                (one, None) => Ok(one.map(|origin| self.0.with_origin(origin))),
                (Some(one), Some(other)) => {
                    Err(LogError::Refused(format!("`{self}` holds two registries, `{one}` and `{other}`")))
                }
                (None, Some(_)) => Ok(None),
            };
        };
        let place = Location::Directory(path.join("registry"));
        Ok(if place.driver(options)?.exists()? { Some(place) } else { None })
    }

    fn none(&self) -> LogError {
        LogError::Refused(format!("`{self}` has no registry of logs: make one with `indelible logs init`"))
    }

    /// The names of all logs that are there, registered or not; the registry is not among them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn origins(&self, options: &Options) -> Result<Vec<String>, StoreError> {
        let Location::Directory(path) = &self.0 else {
            let mut origins = self.0.origins(options)?;
            origins.retain(|origin| !origin.ends_with(SUFFIX));
            return Ok(origins);
        };
        let logs = path.join("logs");
        let names = match options.disk.list(&logs) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(StoreError::io("list", &logs))?,
        };
        let mut origins = Vec::new();
        for name in names {
            // What is no log, or cannot be read, is told by whoever looks at the log itself.
            if let Ok(reader) = options.directory(&logs.join(name)).reader_of_entry_zero() {
                origins.push(reader.info().origin.clone());
            }
        }
        origins.sort();
        Ok(origins)
    }
}
