//! How a test server is set up.

use std::collections::BTreeMap;

/// What a test asks of its server. The default is fast and open: no `fsync`, no TLS, everybody on this machine is trusted.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) hba: String,
    pub(crate) tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        let settings = [("fsync", "off"), ("listen_addresses", "127.0.0.1"), ("max_connections", "200")];
        Self {
            settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            hba: "local all all trust\nhost all all 127.0.0.1/32 trust\n".to_owned(),
            tls: false,
        }
    }
}

impl Options {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits reach the disk.
    #[must_use]
    pub fn with_fsync(self) -> Self {
        self.with_setting("fsync", "on")
    }

    /// One line of `postgresql.conf`.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// `pg_hba.conf`. The superuser `postgres` always comes in through the socket: the server's own tests' helper does.
    #[must_use]
    pub fn with_hba(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.hba);
        self
    }

    /// TLS with a good certificate from an authority of the server's own.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }
}
