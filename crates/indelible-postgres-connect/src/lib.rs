//! How a PostgreSQL is reached, and whether it is safe to keep an audit log in.
//!
//! [`Config::parse`] reads a URL and the environment, [`connect`] connects: TLS by rustls in libpq's modes, client certificates, several
//! hosts of which the writable one is sought, and an error with its remedy for everything that goes wrong on the way. No message and no
//! `Debug` shows a password.
//!
//! The log itself is not here: see `indelible-store-postgres`.

mod certificate;
mod config;
mod connect;
mod environment;
mod error;
mod failure;
mod files;
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
