//! Where a server is, and which log on it is meant: `https://audit.example:8443/logs/example.com/audit`.
//!
//! The slashes of the log's name may be written as they are or as `%2F`. Plain HTTP is for loopback addresses: a token never crosses a network in the clear. A URL holds
//! no user, password, query or fragment.

use std::{fmt, net::IpAddr, str::FromStr};

use indelible_core::{checkpoint::Origin, percent};
use thiserror::Error;

/// The path under which logs stand.
const LOGS: &str = "/logs/";

/// A text that names no server or log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no URL of a server.
    #[error("this is no URL of a server: write `https://HOST:PORT`")]
    Form,
    /// It has parts that it may not have.
    #[error("a server's URL has no user, password, query or fragment: a token is read from a file or the environment")]
    Parts,
    /// Plain HTTP to somewhere else.
    #[error(
        "`http://` is for a server on this machine alone: tokens and events would cross the network as they are; use `https://`"
    )]
    Plain,
    /// There is no log in it.
    #[error(
        "the URL names no log: write `https://HOST:PORT/logs/ORIGIN`, like `https://localhost:8443/logs/example.com/audit`"
    )]
    NoLog,
    /// What stands behind `/logs/` is no origin.
    #[error("`{0}` behind `/logs/` is no name of a log: use 1 to 128 of `A-Z a-z 0-9 . _ ~ / : @ -`")]
    Origin(String),
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    secure: bool,
    host: String,
    port: u16,
}

impl ServerUrl {
    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn of_authority(secure: bool, authority: &str) -> Result<Self, AddressError> {
        if authority.contains('@') {
            return Err(AddressError::Parts);
        }
        let usual = if secure { 443 } else { 80 };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(AddressError::Form)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError::Form)?;
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(AddressError::Form)?) };
                (host, port)
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || !host.bytes().all(known) {
            return Err(AddressError::Form);
        }
        let port = port.map_or(Ok(usual), |port| port.parse().map_err(|_| AddressError::Form))?;
        let server = Self { secure, host: host.to_ascii_lowercase(), port };
        if secure || server.is_loopback() { Ok(server) } else { Err(AddressError::Plain) }
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl FromStr for ServerUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match split(text)? {
            (server, "" | "/") => Ok(server),
            _ => Err(AddressError::Form),
        }
    }
}

/// Whether a text is meant as the URL of a server.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| scheme == "https" || scheme == "http")
}

/// The server, and the path behind it.
fn split(text: &str) -> Result<(ServerUrl, &str), AddressError> {
    let (scheme, rest) = text.split_once("://").ok_or(AddressError::Form)?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(AddressError::Form),
    };
    if rest.contains(['?', '#']) {
        return Err(AddressError::Parts);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok((ServerUrl::of_authority(secure, authority)?, path))
}

/// A log on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogUrl {
    /// Where the server is.
    pub server: ServerUrl,
    /// The log.
    pub origin: Origin,
}

impl FromStr for LogUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (server, path) = split(text)?;
        let name = path.strip_prefix(LOGS).filter(|name| !name.is_empty()).ok_or(AddressError::NoLog)?;
        let wrong = || AddressError::Origin(name.chars().take(256).collect());
        let origin = percent::decode(name).and_then(|name| Origin::try_from(name).ok()).ok_or_else(wrong)?;
        Ok(Self { server, origin })
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{LOGS}{}", self.server, self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_named_by_urls() {
        let rows = [
            ("https://a.example/logs/b.example/c", "https://a.example:443/logs/b.example/c"),
            ("https://A.example:8443/logs/b.example%2Fc", "https://a.example:8443/logs/b.example/c"),
            ("http://127.0.0.1:80/logs/x", "http://127.0.0.1:80/logs/x"),
            ("https://[::1]:1/logs/x%40y", "https://[::1]:1/logs/x@y"),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<LogUrl>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_or_unsafe_is_refused_with_its_reason() {
        let rows = [
            ("", AddressError::Form),
            ("a.example/logs/x", AddressError::Form),
            ("ftp://a.example/logs/x", AddressError::Form),
            ("https:///logs/x", AddressError::Form),
            ("https://a.example:99999/logs/x", AddressError::Form),
            ("https://a b/logs/x", AddressError::Form),
            ("https://[::1/logs/x", AddressError::Form),
            ("https://[::1]x/logs/x", AddressError::Form),
            ("https://me:secret@a.example/logs/x", AddressError::Parts),
            ("https://a.example/logs/x?token=1", AddressError::Parts),
            ("https://a.example/logs/x#y", AddressError::Parts),
            ("http://a.example/logs/x", AddressError::Plain),
            ("http://10.0.0.1/logs/x", AddressError::Plain),
            ("https://a.example", AddressError::NoLog),
            ("https://a.example/logs/", AddressError::NoLog),
            ("https://a.example/logs/a%zz", AddressError::Origin("a%zz".to_owned())),
            ("https://a.example/logs/a%20b", AddressError::Origin("a%20b".to_owned())),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<LogUrl>().unwrap_err(), expected, "{text}");
        }
        assert!("https://a.example/".parse::<ServerUrl>().is_ok());
        assert!("https://a.example/logs/x".parse::<ServerUrl>().is_err());
    }
}
