//! The text of a connection URL, taken apart.
//!
//! A password that was written without its special characters encoded moves the parts about. Such a URL is refused without
//! a word of it in the message, because nobody can tell what in it is secret.

use crate::{error::ConfigError, secret::Password};

/// The parts of a URL, decoded.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
    /// Hosts as written, each with its port if it has one. An empty name is the default host.
    pub(crate) hosts: Vec<(String, Option<u16>)>,
    pub(crate) database: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
}

/// What may follow the scheme.
const FORM: &str = "write `postgres://USER@HOST:PORT/DATABASE?PARAMETER=VALUE&…`";
const ENCODE: &str = "write special characters of the password as percent codes (`@` is `%40`, `:` `%3A`, `/` `%2F`, `?` `%3F`, `#` `%23`)";

pub(crate) fn split(url: &str) -> Result<Parts, ConfigError> {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or(ConfigError::Form { what: "it does not begin with `postgres://`", remedy: FORM })?;
    if rest.contains('#') {
        return Err(ConfigError::Form { what: "it has a raw `#`", remedy: ENCODE });
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') || authority.matches('@').count() > 1 {
        return Err(ConfigError::Form { what: "it has an `@` that separates nothing", remedy: ENCODE });
    }
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let mut parts = Parts::default();
    let hosts = match authority.split_once('@') {
        Some((person, hosts)) => {
            read_person(person, &mut parts)?;
            hosts
        }
        None => authority,
    };
    parts.hosts = read_hosts(hosts)?;
    let database = decode(path.strip_prefix('/').unwrap_or(path), "the database")?;
    parts.database = Some(database).filter(|name| !name.is_empty());
    for (number, pair) in (1..).zip(query.split('&')).filter(|(_, pair)| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(ConfigError::NoValue { number })?;
        parts.parameters.push((decode(name, "a parameter's name")?, decode(value, "a parameter's value")?));
    }
    Ok(parts)
}

fn read_person(person: &str, parts: &mut Parts) -> Result<(), ConfigError> {
    let (user, password) = match person.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (person, None),
    };
    parts.user = Some(decode(user, "the user")?).filter(|user| !user.is_empty());
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        parts.password = Some(Password::new(decode(password, "the password")?));
    }
    Ok(())
}

fn read_hosts(hosts: &str) -> Result<Vec<(String, Option<u16>)>, ConfigError> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    (1..).zip(hosts.split(',')).map(|(number, host)| read_host(host, number)).collect()
}

fn read_host(text: &str, number: usize) -> Result<(String, Option<u16>), ConfigError> {
    let bad = ConfigError::Form { what: "an address in brackets is not closed", remedy: "write `[ADDRESS]:PORT`" };
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(bad)?;
            (address, after.strip_prefix(':').or(Some(after).filter(|after| !after.is_empty())))
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port = port.filter(|port| !port.is_empty()).map(|port| read_port(port, number)).transpose()?;
    Ok((decode(name, "a host")?, port))
}

/// The text is not shown: behind an unencoded password it is a part of that.
pub(crate) fn read_port(text: &str, number: usize) -> Result<u16, ConfigError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(ConfigError::Port { number })
}

fn decode(text: &str, part: &'static str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(
            match byte {
                b'%' => {
                    hex(rest.next()).zip(hex(rest.next())).map(|(high, low)| high << 4 | low).filter(|byte| *byte != 0)
                }
                _ => Some(byte),
            }
            .ok_or(ConfigError::Escape { part })?,
        );
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::Escape { part })
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let parts =
            split("postgresql://u%40x:p%3A%2F@h1,[::1]:5433,%2Frun%2Fpg:5434/a%20b?sslmode=require&options=-c%20x")
                .unwrap();
        assert_eq!(parts.user.as_deref(), Some("u@x"));
        assert_eq!(parts.password.as_ref().map(Password::reveal), Some("p:/"));
        let hosts = [("h1", None), ("::1", Some(5433)), ("/run/pg", Some(5434))];
        assert_eq!(parts.hosts, hosts.map(|(name, port)| (name.to_owned(), port)));
        assert_eq!(parts.database.as_deref(), Some("a b"));
        let parameters = [("sslmode", "require"), ("options", "-c x")];
        assert_eq!(parts.parameters, parameters.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let bare = split("postgres://").unwrap();
        assert!(bare.user.is_none() && bare.hosts.is_empty() && bare.database.is_none());
    }

    #[test]
    fn what_is_refused_shows_nothing() {
        for (url, word) in [
            ("mysql://u:secret@h/db", "begin with"),
            ("u:secret@h/db", "begin with"),
            ("postgres://u:sec@secret@h/db", "@"),
            ("postgres://u:sec/secret@h/db", "@"),
            ("postgres://u:sec?secret=1@h/db", "@"),
            ("postgres://u:sec#secret@h/db", "#"),
            ("postgres://u:secret%4/db", "port"),
            ("postgres://u:%secret@h/db", "percent"),
            ("postgres://u:secret%00@h/db", "percent"),
            ("postgres://u:secret%ff@h/db", "percent"),
            ("postgres://h:secret/db", "port"),
            ("postgres://h:0/db", "port"),
            ("postgres://h:65536/db", "port"),
            ("postgres://[::1/db", "brackets"),
            ("postgres://[::1]secret/db", "port"),
            ("postgres://h/db?secret", "parameter 1"),
        ] {
            let error = split(url).unwrap_err();
            assert!(error.to_string().contains(word), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("sec"), "{url}: {error}");
        }
    }
}
