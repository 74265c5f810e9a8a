//! Logs on this machine, and logs on a server.

#[cfg(feature = "client")]
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "client")]
use clap::Args;
use indelible::Location;
#[cfg(feature = "client")]
use indelible_client::{LogUrl, address::is_url};

/// Where the log is.
#[derive(Clone, Debug)]
pub(crate) enum LogPlace {
    /// On this machine, or in a database.
    Here(Location),
    /// On a server.
    #[cfg(feature = "client")]
    Served(LogUrl),
}

impl FromStr for LogPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        #[cfg(feature = "client")]
        if is_url(text) {
            return text
                .parse()
                .map(Self::Served)
                .map_err(|error: indelible_client::address::AddressError| error.to_string());
        }
        text.parse().map(Self::Here).map_err(|error: indelible::location::LocationError| error.to_string())
    }
}

/// How a server is reached. The token is never typed: whoever lists processes would see it.
#[cfg(feature = "client")]
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Logs on a server")]
pub(crate) struct ServedArgs {
    /// The file with the API key's token [default: INDELIBLE_TOKEN_FILE, or the token in INDELIBLE_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificates to trust, PEM; a self-signed server's own [default: the system's]
    #[arg(long, global = true, env = "INDELIBLE_CA", value_name = "FILE", conflicts_with = "pin")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust the one certificate with this SHA-256, as the server prints it at its start
    #[arg(long, global = true, env = "INDELIBLE_PIN", value_name = "SHA256")]
    pub(crate) pin: Option<String>,
    /// The certificate to show, PEM, where the server asks for one
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
}

/// What is kept on this machine while the server is away.
#[cfg(feature = "client")]
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs on a server, while it is away")]
pub(crate) struct SpoolArgs {
    /// Keep events that cannot be delivered in this directory, durably, and deliver them first next time
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// The most bytes of it
    #[arg(long, value_name = "N", default_value_t = 64 << 20, requires = "spool")]
    pub(crate) spool_bytes: u64,
    /// Drop what no longer fits, and put on record how much that was, instead of refusing it
    #[arg(long, requires = "spool")]
    pub(crate) drop_newest: bool,
}
