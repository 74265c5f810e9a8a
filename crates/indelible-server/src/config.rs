//! What a server is told: a TOML file, with what the command line says above it.
//!
//! Every limit has a default that is safe. Unknown names are errors: a limit that was misspelt is not a limit.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use indelible_core::checkpoint::Origin;
use serde::{Deserialize, Serialize};

use crate::{access::Pattern, error::ServerError, network::Network};

/// The largest file that is read as one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What a server is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen at.
    pub listen: SocketAddr,
    /// How the names of the server's own logs begin, where the root is new: its registry is `<name>/registry`.
    pub name: String,
    /// Whether HTTP is spoken without TLS. Only at a loopback address.
    pub plain_http: bool,
    /// Logs whose checkpoints, tiles of hashes and public keys anybody may read without a key. Entries need one all the same.
    pub open: Vec<Pattern>,
    /// Logs whose writers may have events without an id acknowledged before they are durable (`Prefer: bounded`). A crash loses those, and such a log says after each crash
    /// that some may be missing.
    pub bounded: Vec<Pattern>,
    /// Whether it is put on record who reads what.
    pub reads_on_record: bool,
    /// TLS.
    pub tls: Tls,
    /// Which addresses are let in, and which proxies are believed.
    pub network: Network,
    /// Limits.
    pub limits: Limits,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that it rests on, as PEM; with `key`. Where neither is named, a self-signed one is made beside the keys.
    pub certificate: Option<PathBuf>,
    /// Its private key, as PEM.
    pub key: Option<PathBuf>,
    /// Names and addresses that a self-signed certificate is for, beside the local ones.
    pub names: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// The authorities whose certificates clients may show, as PEM. Where none are named, clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Lists of revoked certificates (CRL), as PEM: one of each authority.
    pub client_crl: Option<PathBuf>,
    /// Whether a client without a certificate is served.
    pub client_certificates: Clients,
    /// How often it is looked whether one of these files has changed; 0 for only when SIGHUP asks for it.
    pub reload_ms: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            names: Vec::new(),
            min_version: Version::default(),
            client_ca: None,
            client_crl: None,
            client_certificates: Clients::default(),
            reload_ms: 5_000,
        }
    }
}

/// Whether clients have to show a certificate, where there is a `client_ca`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clients {
    /// They may; who shows none needs the token of a key.
    #[default]
    Optional,
    /// They have to: without one no connection is made.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Limits. Memory is bounded by them: `connections` × 64 KiB of buffers and tasks, `body_budget_bytes` of bodies and what is made of them
/// (about thrice that), `open_logs` × about a mebibyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time. More wait to be accepted.
    pub connections: usize,
    /// Connections at a time from one address (of IPv6, from one /64). More are closed at once.
    pub connections_per_address: usize,
    /// Requests at a time of one HTTP/2 connection.
    pub requests_per_connection: u32,
    /// For a TLS handshake.
    pub handshake_ms: u64,
    /// For the head of a request, and between two requests of a connection.
    pub head_ms: u64,
    /// For a whole body.
    pub body_ms: u64,
    /// For everything behind the body.
    pub work_ms: u64,
    /// How long a client may take nothing of an answer.
    pub write_ms: u64,
    /// How long requests that have begun are waited for when the server stops.
    pub drain_ms: u64,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// How long a body may come slower than 1 KiB a second.
    pub body_slow_ms: u64,
    /// Bytes of all bodies that are held at a time.
    pub body_budget_bytes: usize,
    /// The same of one key, and of all that it made.
    pub body_budget_per_key_bytes: usize,
    /// Events of one request.
    pub events: usize,
    /// Bytes of entries in a page.
    pub page_bytes: usize,
    /// Logs that are open at a time.
    pub open_logs: usize,
    /// Things that wait for disks at a time.
    pub blocking: usize,
    /// The same of one log, so that one that hangs leaves room for the others.
    pub blocking_per_log: usize,
    /// Requests a minute of a key that says nothing else.
    pub rate_per_minute: u32,
    /// Failed authentications from one address before answers are delayed.
    pub failures: u32,
    /// Streams at a time: of those who follow logs, and exports. Each is about 300 KiB of memory.
    pub streams: usize,
    /// The same of one key.
    pub streams_per_key: usize,
    /// How often somebody who follows a log hears that there is nothing new.
    pub heartbeat_ms: u64,
    /// Events at a time that were acknowledged before they were durable; beyond it they are durable first.
    pub bounded_pending: usize,
    /// Logs that have gauges of their own in the metrics; 0 for none.
    pub metrics_logs: usize,
    /// How often what was read is put on record: one event for each key and log. A crash loses so much of it.
    pub reads_every_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 256,
            requests_per_connection: 64,
            handshake_ms: 10_000,
            head_ms: 10_000,
            body_ms: 30_000,
            work_ms: 30_000,
            write_ms: 30_000,
            drain_ms: 30_000,
            head_bytes: 32 * 1024,
            headers: 64,
            body_bytes: 8 << 20,
            body_slow_ms: 5_000,
            body_budget_bytes: 32 << 20,
            body_budget_per_key_bytes: 16 << 20,
            events: 10_000,
            page_bytes: 1 << 20,
            open_logs: 128,
            blocking: 64,
            blocking_per_log: 16,
            rate_per_minute: 1000,
            failures: 10,
            streams: 64,
            streams_per_key: 8,
            heartbeat_ms: 15_000,
            bounded_pending: 1024,
            metrics_logs: 100,
            reads_every_ms: 60_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443),
            name: "indelible.local".to_owned(),
            plain_http: false,
            tls: Tls::default(),
            network: Network::default(),
            limits: Limits::default(),
            open: Vec::new(),
            bounded: Vec::new(),
            reads_on_record: true,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ServerError::Config`]: what is wrong with it, and where.
    pub fn read(path: &std::path::Path) -> Result<Self, ServerError> {
        let place = path.display().to_string();
        let wrong = |detail: String| ServerError::Config { place: place.clone(), detail };
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > MAX_CONFIG_BYTES {
            return Err(wrong(format!("{size} bytes are too many for a configuration")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().replace('\n', "; ")))
    }

    /// The file that says all of this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// Refuses what cannot be meant, or would not be safe.
    ///
    /// # Errors
    /// [`ServerError::Unsafe`], [`ServerError::Config`].
    pub fn check(&self) -> Result<(), ServerError> {
        let wrong =
            |detail: &str| ServerError::Config { place: "the configuration".to_owned(), detail: detail.to_owned() };
        if self.plain_http && !self.listen.ip().is_loopback() {
            return Err(ServerError::Unsafe { address: self.listen });
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(wrong("`tls.certificate` and `tls.key` are named together, or neither"));
        }
        if self.tls.client_ca.is_none()
            && (self.tls.client_crl.is_some() || self.tls.client_certificates == Clients::Required)
        {
            return Err(wrong("`tls.client_crl` and `tls.client_certificates` mean nothing without `tls.client_ca`"));
        }
        self.network.check().map_err(|detail| wrong(&detail))?;
        if Origin::try_from(format!("{}/registry", self.name)).is_err() || self.name.is_empty() {
            return Err(wrong("`name` has to be the beginning of the name of a log, like `example.com`"));
        }
        let limits = self.limits;
        let times = [
            limits.handshake_ms,
            limits.head_ms,
            limits.body_ms,
            limits.body_slow_ms,
            limits.work_ms,
            limits.write_ms,
            limits.drain_ms,
            limits.heartbeat_ms,
            limits.reads_every_ms,
        ];
        let counts = [
            limits.connections,
            limits.connections_per_address,
            limits.headers,
            limits.body_bytes,
            limits.events,
            limits.page_bytes,
            limits.open_logs,
            limits.blocking,
            limits.blocking_per_log,
            limits.streams,
            limits.streams_per_key,
            limits.bounded_pending,
        ];
        if times.contains(&0) || counts.contains(&0) || limits.failures == 0 || limits.requests_per_connection == 0 {
            return Err(wrong(
                "a limit of 0 would refuse everything: only `rate_per_minute` and `metrics_logs` may be 0, for none",
            ));
        }
        let budget = limits.body_budget_bytes.min(limits.body_budget_per_key_bytes);
        if limits.head_bytes < 8192 || budget < limits.body_bytes {
            return Err(wrong(
                "`head_bytes` is at least 8192, and `body_budget_bytes` and `body_budget_per_key_bytes` at least `body_bytes`",
            ));
        }
        if limits.body_budget_bytes > 1 << 31
            || limits.connections > 1 << 20
            || limits.blocking > 1 << 10
            || limits.streams > 1 << 16
        {
            return Err(wrong(
                "`body_budget_bytes` is at most 2 GiB, `connections` at most 1048576, `blocking` at most 1024, `streams` at most 65536",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operator's table says: each name, as it is written there, with its default.
    fn told(page: &str) -> Vec<(&str, &str)> {
        let section = page.split("\n## ").find(|section| section.starts_with("Limits\n")).unwrap();
        let mut told = Vec::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = row.split('|').skip(1);
            let mut parts = || cells.next().unwrap().split(',').map(str::trim).collect::<Vec<_>>();
            let (names, defaults) = (parts(), parts());
            assert_eq!(names.len(), defaults.len(), "{row}");
            told.extend(names.into_iter().zip(defaults));
        }
        told
    }

    #[test]
    fn each_limit_is_in_the_operators_table_with_its_default() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let page = std::fs::read_to_string(page).unwrap();
        let told = told(&page);
        let limits = toml::Table::try_from(Limits::default()).unwrap();
        assert!(limits.len() > 20);
        for (name, default) in &limits {
            let cell = format!("`{name}`");
            let found: Vec<&str> = told.iter().filter(|(name, _)| *name == cell).map(|(_, told)| *told).collect();
            assert_eq!(found, [default.to_string()], "the default of `limits.{name}` in its row");
        }
        assert_eq!(told.len(), limits.len(), "a row is about none of the limits");
    }

    #[test]
    fn a_configuration_says_all_of_itself() {
        let config = Config { open: vec![Pattern::all()], ..Config::default() };
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        Config::default().check().unwrap();
    }

    #[test]
    fn what_is_misspelt_or_unsafe_is_refused() {
        for text in ["listne = 1", "[limits]\nconections = 1", "[tls]\nmin_version = \"1.1\"", "open = [\"*a\"]"] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
        let rows = [
            ("plain_http = true\nlisten = \"0.0.0.0:1\"", "loopback"),
            ("[tls]\nkey = \"a\"", "together"),
            ("name = \"a b\"", "name"),
            ("[tls]\nclient_certificates = \"required\"", "client_ca"),
            ("[tls]\nclient_crl = \"a\"", "client_ca"),
            ("[limits]\nstreams = 0", "0"),
            ("[limits]\nrequests_per_connection = 0", "0"),
            ("[limits]\nconnections = 0", "0"),
            ("[limits]\nbody_budget_bytes = 1", "body_bytes"),
        ];
        for (text, word) in rows {
            let error = toml::from_str::<Config>(text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        toml::from_str::<Config>("plain_http = true\nlisten = \"[::1]:1\"").unwrap().check().unwrap();
    }
}
