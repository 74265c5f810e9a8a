//! A server: starting, accepting connections, stopping.
//!
//! States: *starting* (nothing is listened to) → *serving* → *draining* (no new connections; requests that have begun are answered, within a limit) → *stopped* (all
//! logs closed, each with a checkpoint that is signed and kept). A crash in any of them leaves logs that are opened as after any crash: what was acknowledged is
//! durable.
//!
//! The first start makes the registry, the server's own log, and an API key for everything; its token is given back once.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use indelible::{KeyRing, LogError, Options};
use indelible_keys::check_apart;
use indelible_service::{Registry, RegistryError, Root};
use serde_json::json;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use zeroize::Zeroizing;

use crate::{
    access::Grant,
    aside::Aside,
    certificates::{self, Certificates, Why},
    config::Config,
    connections, descriptors,
    error::ServerError,
    guard::{Guard, Rates},
    health::Told,
    identity::{By, Identities, NewKey},
    logs::Logs,
    metrics::Metrics,
    openapi,
    readiness::{self, Readiness},
    reads::{self, Reads},
    seats::Seats,
    shares::Shares,
    signals::{Signal, Signals},
    streaming::Streams,
    tls::Sources,
    verifying::Verifications,
};

/// How often a server looks for what others of its database recorded of API keys: with the second until a checkpoint covers it, a key that is revoked
/// there ends here within two.
const FOLLOW: Duration = Duration::from_millis(500);
/// How often opening is tried where another server may be making the same, and how long is waited in between.
const OPEN_TRIES: u32 = 10;
const OPEN_WAIT: Duration = Duration::from_millis(300);
/// How long what is still at work is waited for at the end, behind the logs that are closed.
const ENDING: Duration = Duration::from_secs(2);

/// Takes lines for the operator: what no caller reads.
pub type Reporter = Arc<dyn Fn(&str) + Send + Sync>;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) logs: Arc<Logs>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) rates: Rates,
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
    pub(crate) verifications: Verifications,
    pub(crate) reads: Reads,
    pub(crate) streams: Streams,
    pub(crate) setbacks: Told,
    /// Places for events that were acknowledged before they are durable.
    pub(crate) bounded: Arc<Semaphore>,
    /// Kibibytes of bodies that may still be held.
    pub(crate) budget: Arc<Semaphore>,
    /// How much of it is whose.
    pub(crate) shares: Shares,
    /// Who is connected.
    pub(crate) seats: Seats,
    pub(crate) readiness: Readiness,
    pub(crate) aside: Aside,
    /// The interface as a document.
    pub(crate) document: Bytes,
    pub(crate) serving: AtomicBool,
    pub(crate) reporter: Reporter,
    pub(crate) per_address: Mutex<HashMap<IpAddr, usize>>,
    /// What is shown to whoever connects; `None` without TLS.
    pub(crate) certificates: Option<Certificates>,
}

/// What whoever starts a server is told.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate; `None` without TLS.
    pub certificate: Option<Certificate>,
    /// The log in which it says what happens to it.
    pub own_log: String,
    /// The token of a key for everything, where one was made. It is nowhere else.
    pub admin_token: Option<Zeroizing<String>>,
}

/// The certificate that a server shows.
pub struct Certificate {
    /// The file.
    pub path: PathBuf,
    /// SHA-256, lower-case hexadecimal.
    pub fingerprint: String,
    /// Whether it was made by the server.
    pub self_signed: bool,
}

/// Whether a key for everything is made though there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminKey {
    /// Only where there is none.
    #[default]
    IfNone,
    /// In any case: the token of the last was lost.
    Another,
}

/// A server that runs.
pub struct Server {
    runtime: Runtime,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    /// As many permits as there may be connections.
    connections: Arc<Semaphore>,
    signals: Option<Signals>,
}

impl Server {
    /// Starts a server over the logs of a root; `ring` has their keys.
    ///
    /// # Errors
    /// [`ServerError`]: nothing is served.
    pub fn start(
        root: Root,
        ring: KeyRing,
        options: Options,
        config: Config,
        admin: AdminKey,
        reporter: Reporter,
    ) -> Result<(Self, Started), ServerError> {
        let mut config = config;
        config.check()?;
        if let Some(told) = descriptors::provide(&mut config.limits) {
            reporter(&told);
        }
        let sources = || Sources::find(&config.tls, ring.dir(), config.listen);
        let certificates = (!config.plain_http).then(|| sources().and_then(Certificates::new)).transpose()?;
        let identity = certificates.as_ref().map(Certificates::current);
        let (logs, identities) = open(&root, &ring, &options, &config)?;

        let limits = config.limits;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_io()
            .enable_time()
            // Those that wait for disks, and as many for opening and closing.
            .max_blocking_threads(2 * limits.blocking)
            .thread_name("indelible-server")
            .build()
            .map_err(ServerError::io("start", "the runtime"))?;
        let listener =
            runtime.block_on(TcpListener::bind(config.listen)).map_err(ServerError::io("listen at", config.listen))?;
        let address = listener.local_addr().map_err(ServerError::io("listen at", config.listen))?;
        identities.record_server("server.start", &json!({ "version": env!("CARGO_PKG_VERSION") }))?;
        // The last that can fail: a key whose token is not given back would be nobody's.
        let admin_token = admin_key(&identities, admin)?;
        let own_log = logs.own();
        let shared = Arc::new(Shared {
            logs,
            identities: Arc::new(identities),
            rates: Rates::default(),
            guard: Guard::default(),
            metrics: Metrics::default(),
            verifications: Verifications::default(),
            reads: Reads::new(config.reads_on_record),
            setbacks: Told::default(),
            bounded: Arc::new(Semaphore::new(limits.bounded_pending)),
            streams: Streams::new(limits.streams, limits.streams_per_key),
            budget: Arc::new(Semaphore::new(limits.body_budget_bytes / 1024)),
            shares: Shares::new(limits.body_budget_per_key_bytes),
            seats: Seats::new(limits.connections),
            readiness: Readiness::default(),
            aside: Aside::new(limits.blocking_per_log),
            document: openapi::document().to_string().into(),
            serving: AtomicBool::new(true),
            reporter,
            per_address: Mutex::default(),
            certificates,
            config,
        });
        let (stop, stopping) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(limits.connections));
        runtime.spawn(certificates::watch(Arc::clone(&shared), stopping.clone()));
        let accepting =
            runtime.spawn(connections::accept(listener, Arc::clone(&shared), Arc::clone(&connections), stopping));
        if shared.identities.is_shared() {
            runtime.spawn(follow(Arc::clone(&shared)));
        }
        runtime.spawn(reads::keep(Arc::clone(&shared)));
        runtime.spawn(readiness::watch(Arc::clone(&shared)));
        let certificate = identity.map(|identity| Certificate {
            path: identity.certificate.clone(),
            fingerprint: identity.fingerprint.clone(),
            self_signed: identity.self_signed,
        });
        let server = Self { runtime, shared, stop, accepting, connections, signals: None };
        Ok((server, Started { address, certificate, own_log, admin_token }))
    }

    /// Serves until the process is asked to end (SIGTERM, or SIGINT as of Ctrl-C), and stops. SIGHUP has the certificates read again.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub fn run(mut self) -> Result<(), ServerError> {
        self.hear_signals()?;
        while let Some(signals) = &mut self.signals {
            if self.runtime.block_on(signals.next()) == Signal::End {
                break;
            }
            self.reload_certificates();
        }
        self.stop()
    }

    /// Hears signals from now on; what comes before [`Server::run`] is done then.
    ///
    /// # Errors
    /// [`ServerError::Io`]: the system does not let it.
    pub fn hear_signals(&mut self) -> Result<(), ServerError> {
        if self.signals.is_none() {
            self.signals = Some(self.runtime.block_on(async { Signals::new() })?);
        }
        Ok(())
    }

    /// Reads the certificates again, now. Connections go on; what cannot be used is told, and changes nothing.
    pub fn reload_certificates(&self) {
        certificates::reload(&self.shared, Why::Asked);
    }

    /// Stops: what has begun is answered, and every log is closed with a checkpoint that covers all of it.
    ///
    /// # Errors
    /// [`ServerError::Close`] where a log could not be closed.
    pub fn stop(self) -> Result<(), ServerError> {
        let Self { runtime, shared, stop, accepting, connections, signals: _ } = self;
        shared.serving.store(false, Ordering::Release);
        // The receivers are the tasks that end by it.
        let _ = stop.send(true);
        accepting.abort();
        let all = u32::try_from(shared.config.limits.connections).unwrap_or(u32::MAX);
        runtime.block_on(async {
            let _ = accepting.await;
            let drain = Duration::from_millis(shared.config.limits.drain_ms);
            if tokio::time::timeout(drain, connections.acquire_many(all)).await.is_err() {
                (shared.reporter)("some requests did not end in time and were left");
            }
        });
        reads::record(&shared);
        let recorded = shared.identities.record_server("server.stop", &json!({}));
        let failed = shared.logs.close();
        // What still waits for a disk that hangs is not waited for; everything else lets go of the logs and their files.
        runtime.shutdown_timeout(ENDING);
        drop(shared);
        match failed.first() {
            Some((origin, error)) => {
                let first = format!("`{origin}`: {}", indelible::error::chain(error));
                Err(ServerError::Close { count: failed.len(), first })
            }
            None => Ok(recorded?),
        }
    }
}

/// Opens, or makes, what a server needs of a root. Where others may be making the same in the same database, more than once.
fn open(
    root: &Root,
    ring: &KeyRing,
    options: &Options,
    config: &Config,
) -> Result<(Arc<Logs>, Identities), ServerError> {
    if let Some(path) = root.path() {
        check_apart(ring.dir(), path)?;
    }
    if let Some(path) = root.place().directory() {
        if root.find_registry(options)?.is_none() {
            refuse_unless_empty(path)?;
            std::fs::create_dir_all(path).map_err(ServerError::io("create", path.display()))?;
        }
        return open_once(root, ring, options, config);
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match open_once(root, ring, options, config) {
            Err(_) if tries < OPEN_TRIES => std::thread::sleep(OPEN_WAIT),
            result => return result,
        }
    }
}

fn open_once(
    root: &Root,
    ring: &KeyRing,
    options: &Options,
    config: &Config,
) -> Result<(Arc<Logs>, Identities), ServerError> {
    if Registry::is_missing(root, ring, options)? {
        Registry::create(root.clone(), &format!("{}/registry", config.name), ring, options.clone())?;
    }
    let logs = Logs::new(root.clone(), options.clone(), ring.clone(), config.limits)?;
    let own = logs.own();
    if logs.registered(&own).is_err() {
        match logs.create(&own) {
            // It was registered, and a crash came before the checkpoint that says so.
            Err(RegistryError::Taken { .. }) => logs.read_again()?,
            made => drop(made?),
        }
    }
    let logs = Arc::new(logs);
    let opener = Arc::downgrade(&logs);
    let open = move || {
        let gone = || LogError::Refused("the server has stopped".to_owned());
        let logs = opener.upgrade().ok_or_else(gone)?;
        logs.open_and_adopt(&own)
    };
    let identities = Identities::load(Box::new(open), Arc::clone(&options.clock))?;
    Ok((logs, identities))
}

/// Takes up what other servers of the same database record of API keys, until the server stops.
async fn follow(shared: Arc<Shared>) {
    let mut told = String::new();
    while shared.serving.load(Ordering::Acquire) {
        tokio::time::sleep(FOLLOW).await;
        let following = Arc::clone(&shared);
        match tokio::task::spawn_blocking(move || following.identities.follow()).await {
            Ok(Ok(())) => told.clear(),
            Ok(Err(error)) => {
                let text = indelible::error::chain(&error);
                if text != told {
                    (shared.reporter)(&format!("what other servers record of API keys is not followed: {text}"));
                    told = text;
                }
            }
            Err(_) => return,
        }
    }
}

/// A directory that holds something else is not turned into a root. What a crash left of the making of its registry is none yet, and nothing else.
fn refuse_unless_empty(path: &std::path::Path) -> Result<(), ServerError> {
    let ours = |entry: std::io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() == "registry");
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.all(ours),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(ServerError::io("read", path.display())(error)),
    };
    if empty {
        return Ok(());
    }
    let detail =
        "it is not empty and has no registry of logs: name an empty directory, or one that `indelible logs init` made"
            .to_owned();
    Err(ServerError::Root { place: path.display().to_string(), detail })
}

fn admin_key(identities: &Identities, admin: AdminKey) -> Result<Option<Zeroizing<String>>, ServerError> {
    if admin == AdminKey::IfNone && identities.has_admin() {
        return Ok(None);
    }
    let new = NewKey { name: "admin".to_owned(), grant: Grant::admin(), rate_per_minute: 0, expires_at: None };
    Ok(Some(identities.create(By::Operator, new)?.1))
}
