//! The values of a configuration as text, with where each comes from: the URL before the environment.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::{
    environment::Environment,
    error::ConfigError,
    near::{hint, list},
    secret::Password,
    url::{Parts, read_port},
};

/// Every parameter of a URL, and the environment variable that stands in for it.
const KNOWN: [(&str, Option<&str>); 22] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("dbname", Some("PGDATABASE")),
    ("passfile", Some("PGPASSFILE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("application_name", Some("PGAPPNAME")),
    ("options", Some("PGOPTIONS")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
];

/// What libpq knows besides, and what to do instead. Passing over one of these would connect otherwise than was asked.
const UNSUPPORTED: [(&str, &str); 20] = [
    ("client_encoding", "text is always UTF-8; leave it out"),
    ("fallback_application_name", "use `application_name`"),
    ("gssdelegation", GSS),
    ("gssencmode", GSS),
    ("gsslib", GSS),
    ("krbsrvname", GSS),
    ("load_balance_hosts", "hosts are tried in their order; leave it out"),
    ("replication", "leave it out"),
    ("require_auth", "let `pg_hba.conf` decide; leave it out"),
    ("requirepeer", "leave it out"),
    ("requiressl", "use `sslmode`"),
    ("service", "write the service's values into the URL"),
    ("servicefile", "write the service's values into the URL"),
    ("ssl_max_protocol_version", "limit it on the server; leave it out"),
    ("sslcertmode", "a client certificate is shown where `sslcert` is given; leave it out"),
    ("sslcompression", "TLS is never compressed; leave it out"),
    ("sslcrl", CRL),
    ("sslcrldir", CRL),
    ("sslpassword", "keep the client key unencrypted and readable by its user alone"),
    ("sslsni", "the host's name is always sent; leave it out"),
];
const GSS: &str = "use a client certificate or a password; leave it out";
const CRL: &str = "revocation lists are not read; use certificates that live shortly";

/// Variables that would make libpq refuse or change what this would do.
const UNSUPPORTED_VARIABLES: [(&str, &str); 5] = [
    ("PGREQUIREAUTH", "unset it"),
    ("PGREQUIREPEER", "unset it"),
    ("PGSERVICE", "write the service's values into the URL and unset it"),
    ("PGSSLCRL", CRL),
    ("PGSSLCRLDIR", CRL),
];

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
enum From {
    Url,
    Variable(&'static str),
}

#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (String, From)>,
    pub(crate) hosts: Vec<(String, Option<u16>)>,
    pub(crate) password: Option<Password>,
}

impl Settings {
    pub(crate) fn gather(parts: Parts, environment: &Environment) -> Result<Self, ConfigError> {
        let unsupported = UNSUPPORTED_VARIABLES.iter().find(|(name, _)| environment.text(name).is_some());
        if let Some((name, remedy)) = unsupported {
            return Err(ConfigError::Unsupported { given: format!("the environment variable `{name}`"), remedy });
        }
        let mut all = Self { values: BTreeMap::new(), hosts: parts.hosts, password: parts.password };
        let own = [("user", parts.user), ("dbname", parts.database)];
        for (name, value) in own.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            all.values.insert(name, (value, From::Url));
        }
        // Behind a password with a raw `&`, what looks like a parameter is a part of it.
        let mut behind_password = false;
        for (name, value) in parts.parameters {
            all.take_parameter(&name, value, behind_password)?;
            behind_password |= name == "password";
        }
        all.fill_up(environment);
        all.split_hosts();
        Ok(all)
    }

    fn take_parameter(&mut self, name: &str, value: String, behind_password: bool) -> Result<(), ConfigError> {
        if let Some((_, remedy)) = UNSUPPORTED.iter().find(|(known, _)| *known == name) {
            return Err(ConfigError::Unsupported { given: format!("`{name}`"), remedy });
        }
        let Some((name, _)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            if behind_password {
                let hint = "it is not shown because a password stands before it; write `&` in that as `%26`".to_owned();
                return Err(ConfigError::Unknown { parameter: "…".to_owned(), hint });
            }
            let known = KNOWN.map(|(name, _)| name);
            return Err(ConfigError::Unknown { parameter: name.to_owned(), hint: hint(name, &known) });
        };
        let there = match *name {
            "password" => self.password.replace(Password::new(value)).is_some(),
            "host" if !self.hosts.is_empty() => true,
            // An empty value is none, as libpq has it.
            _ if value.is_empty() => false,
            _ => self.values.insert(name, (value, From::Url)).is_some(),
        };
        if there { Err(ConfigError::Twice { parameter: (*name).to_owned() }) } else { Ok(()) }
    }

    fn fill_up(&mut self, environment: &Environment) {
        for (name, variable) in KNOWN {
            let Some((variable, value)) = variable.and_then(|variable| Some((variable, environment.text(variable)?)))
            else {
                continue;
            };
            match name {
                "password" => {
                    self.password.get_or_insert_with(|| Password::new(value));
                }
                "host" if !self.hosts.is_empty() => {}
                // libpq's own word for an address without a name would otherwise meet a URL's hosts.
                "hostaddr" if !self.hosts.is_empty() || self.values.contains_key("host") => {}
                _ => {
                    self.values.entry(name).or_insert((value, From::Variable(variable)));
                }
            }
        }
    }

    /// Hosts of the parameter or variable, where the URL's own place for them is empty.
    fn split_hosts(&mut self) {
        if let Some((names, _)) = self.values.get("host").filter(|_| self.hosts.is_empty()) {
            self.hosts = names.split(',').map(|name| (name.to_owned(), None)).collect();
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(value, _)| value.as_str())
    }

    /// How a message names the place where a value was given.
    pub(crate) fn given(&self, name: &str) -> String {
        match self.values.get(name) {
            Some((_, From::Variable(variable))) => format!("the environment variable `{variable}`"),
            _ => format!("`{name}`"),
        }
    }

    fn refused(&self, name: &str, expected: String) -> ConfigError {
        let found = self.text(name).unwrap_or_default().chars().take(80).collect();
        ConfigError::Value { given: self.given(name), found, expected }
    }

    pub(crate) fn named<T>(
        &self,
        name: &str,
        known: &[&str],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| self.refused(name, format!("one of {}", list(known))))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= MOST);
        number.map(Some).ok_or_else(|| self.refused(name, format!("a number from 0 to {MOST}")))
    }

    pub(crate) fn seconds(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        Ok(self.number(name)?.map(|seconds| Duration::from_secs(u64::from(seconds))))
    }

    /// A port for each host where there are any; one may stand for all.
    pub(crate) fn ports(&self, hosts: usize) -> Result<Vec<Option<u16>>, ConfigError> {
        let Some(text) = self.text("port") else { return Ok(Vec::new()) };
        let read = |(number, port): (usize, &str)| match port {
            "" => Ok(None),
            port => read_port(port, number).map(Some),
        };
        let ports = (1..).zip(text.split(',')).map(read).collect::<Result<Vec<_>, _>>()?;
        match *ports {
            [port] => Ok(vec![port; hosts]),
            _ if ports.len() == hosts => Ok(ports),
            _ => Err(ConfigError::Count { hosts, values: ports.len(), given: self.given("port") }),
        }
    }

    pub(crate) fn addresses(&self) -> Result<Vec<Option<IpAddr>>, ConfigError> {
        let Some(text) = self.text("hostaddr") else { return Ok(Vec::new()) };
        let read = |address: &str| match address {
            "" => Ok(None),
            address => address.parse().map(Some).map_err(|_| self.refused("hostaddr", "IP addresses".to_owned())),
        };
        text.split(',').map(read).collect()
    }
}

/// A day: no wait of a connection is longer.
const MOST: u32 = 86_400_000;
