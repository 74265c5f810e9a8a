//! A server over a temporary directory, which may be stopped, set back, and started again at the same port.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indelible::{KeyRing, Options, VerifyingKey};
use indelible_client::{
    LogUrl, Prepared, Retry, Settings, Token, Trust,
    blocking::{Client, Log},
};
use indelible_core::checkpoint::Origin;
use indelible_server::{Config, Server, server::AdminKey};
use indelible_service::Root;

/// The log that tests write to.
pub(crate) const LOG: &str = "t.example/a";

/// A server.
pub(crate) struct World {
    dir: tempfile::TempDir,
    server: Option<Server>,
    config: Config,
    pub(crate) address: SocketAddr,
    pub(crate) admin: String,
    /// Of the server that speaks TLS.
    pub(crate) certificate: Option<(PathBuf, String)>,
}

/// A configuration for tests: at a port that the system chooses.
pub(crate) fn config() -> Config {
    let mut config = Config { name: "t.example".to_owned(), plain_http: true, ..Config::default() };
    config.listen.set_port(0);
    config.limits.rate_per_minute = 0;
    config
}

/// Not long, and often.
pub(crate) const QUICK: Retry =
    Retry { first: Duration::from_millis(10), most: Duration::from_millis(100), give_up_after: Duration::from_secs(2) };

pub(crate) fn origin() -> Origin {
    Origin::try_from(LOG).unwrap()
}

pub(crate) fn prepared(id: &str) -> Prepared {
    let text = format!(r#"{{"action":"door.open","actor":{{"id":"ada","type":"user"}},"id":"{id}"}}"#);
    Prepared::of_json(text.as_bytes()).unwrap()
}

pub(crate) fn many(name: &str, count: usize) -> Vec<Prepared> {
    (0..count).map(|at| prepared(&format!("{name}-{at}"))).collect()
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = ([127, 0, 0, 1], 0).into();
        let mut world = Self { dir, server: None, config, address, admin: String::new(), certificate: None };
        world.start();
        // From now on it is found where it was.
        world.config.listen = world.address;
        world
    }

    /// With the log.
    pub(crate) fn with_log() -> Self {
        let world = Self::new(config());
        world.client().create_log(&origin()).unwrap();
        world
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        let ring = KeyRing::load_or_create(&self.at("keys")).unwrap();
        let (root, reporter) = (Root::directory(self.at("root")), Arc::new(|_: &str| ()));
        let started = Server::start(root, ring, Options::default(), self.config.clone(), AdminKey::IfNone, reporter);
        let (server, started) = started.unwrap();
        self.server = Some(server);
        self.address = started.address;
        self.certificate = started.certificate.map(|certificate| (certificate.path, certificate.fingerprint));
        if let Some(token) = started.admin_token {
            self.admin = token.to_string();
        }
    }

    pub(crate) fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// Keeps logs, keys and heads as they are now. The server is stopped.
    pub(crate) fn keep(&self, name: &str) {
        for part in ["root", "keys"] {
            copy(&self.at(part), &self.at(name).join(part));
        }
    }

    /// Puts them back, so that nothing on the server's machine knows of what came later.
    pub(crate) fn set_back(&self, name: &str) {
        for part in ["root", "keys"] {
            fs::remove_dir_all(self.at(part)).unwrap();
            copy(&self.at(name).join(part), &self.at(part));
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings_at(self.address)
    }

    pub(crate) fn settings_at(&self, address: SocketAddr) -> Settings {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let mut settings = Settings::new(format!("{scheme}://{address}").parse().unwrap());
        settings.token = Some(Token::new(&self.admin).unwrap());
        if let Some((path, _)) = &self.certificate {
            settings.trust = Trust::Authorities(path.clone());
        }
        settings.retry = QUICK;
        settings
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.settings()).unwrap()
    }

    pub(crate) fn log(&self) -> Log {
        self.client().log(origin())
    }

    /// The log, through something that stands in between.
    pub(crate) fn log_at(&self, address: SocketAddr) -> Log {
        let settings = self.settings_at(address);
        Log::new(&LogUrl { server: settings.server.clone(), origin: origin() }, settings).unwrap()
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        let logs = self.client().logs(None, 100).unwrap().logs;
        let log = logs.iter().find(|log| log.origin == LOG).unwrap();
        VerifyingKey::parse(log.public_key.as_deref().unwrap()).unwrap()
    }

    /// The ids of all events of the log, in order.
    pub(crate) fn ids(&self) -> Vec<String> {
        let (log, mut ids, mut from) = (self.log(), Vec::new(), Some(1));
        while let Some(next) = from {
            let page = log.entries(next, 1000).unwrap();
            for entry in &page.entries {
                let value: serde_json::Value = serde_json::from_slice(&entry.bytes).unwrap();
                ids.extend(value["event"]["id"].as_str().map(str::to_owned));
            }
            from = page.next;
        }
        ids
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
