//! How a PostgreSQL is reached, and whether it is safe to keep an audit log in.
//!
//! [`Config::parse`] reads a URL and the environment, [`connect`] connects: TLS by rustls in libpq's modes, client certificates, several
//! hosts of which the writable one is sought, and an error with its remedy for everything that goes wrong on the way. No message and no
//! `Debug` shows a password.
//!
//! [`check::check`] says what is unsafe about a server, and [`hba::lines`] writes the lines that let a log's roles in.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use indelible_postgres_connect::{Config, Environment, connect};
//!
//! let config = Config::parse("postgres://writer@db.example/audit?sslmode=verify-full", &Environment::of_process())?;
//! for warning in config.warnings() {
//!     eprintln!("warning: {warning}");
//! }
//! let (client, connected) = connect(&config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The log itself is not here: see `indelible-store-postgres`.

mod certificate;
pub mod check;
mod config;
mod connect;
mod environment;
mod error;
mod failure;
mod files;
pub mod hba;
mod last_words;
mod near;
mod secret;
mod settings;
mod tls;
mod url;
mod verifier;

pub use certificate::ServerCertificate;
pub use config::{Config, Host, HostName, Root, SslMode, TargetSession, TlsVersion, Warning};
pub use connect::{Connected, Driver, Opened, connect, open};
pub use environment::Environment;
pub use error::{ConfigError, ConnectError, FileError};
pub use secret::Password;
pub use tls::{TlsSession, TlsStream};
pub use verifier::Verified;
