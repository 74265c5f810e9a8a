//! A server: starting, accepting connections, stopping.
//!
//! States: *starting* (nothing is listened to) → *serving* → *draining* (no new connections; requests that have begun are answered, within a limit) → *stopped* (all
//! logs closed, each with a checkpoint that is signed and kept). A crash in any of them leaves logs that are opened as after any crash: what was acknowledged is
//! durable.
//!
//! The first start makes the registry, the server's own log, and an API key for everything; its token is given back once.

use std::{
    collections::HashMap,
    future::{Future as _, poll_fn},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use indelible::{KeyRing, LogError, Options};
use indelible_keys::check_apart;
use indelible_service::{Registry, Root};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::{
    access::Grant,
    config::Config,
    descriptors,
    error::ServerError,
    guard::{Guard, Rates, network},
    health::Told,
    identity::{By, Identities, NewKey},
    logs::Logs,
    metrics::Metrics,
    openapi,
    reads::{self, Reads},
    request,
    streaming::Streams,
    timed::Timed,
    tls,
    verifying::Verifications,
};

/// After an error of the listener (no file handles left) it rests for so long.
const REST: Duration = Duration::from_millis(50);
/// How often a server looks for what others of its database recorded of API keys: with the second until a checkpoint covers it, a key that is revoked
/// there ends here within two.
const FOLLOW: Duration = Duration::from_millis(500);
/// How often opening is tried where another server may be making the same, and how long is waited in between.
const OPEN_TRIES: u32 = 10;
const OPEN_WAIT: Duration = Duration::from_millis(300);

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
    /// Places for what waits for a disk and belongs to no open log: the registry, the server's own log.
    pub(crate) aside: Arc<Semaphore>,
    /// The interface as a document.
    pub(crate) document: Bytes,
    pub(crate) serving: AtomicBool,
    pub(crate) reporter: Reporter,
    per_address: Mutex<HashMap<IpAddr, usize>>,
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
        let identity = (!config.plain_http).then(|| tls::load(&config.tls, ring.dir(), config.listen)).transpose()?;
        let (logs, identities) = open(&root, &ring, &options, &config)?;
        let admin_token = admin_key(&identities, admin)?;
        identities.record_server("server.start", &json!({ "version": env!("CARGO_PKG_VERSION") }))?;

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
            aside: Arc::new(Semaphore::new(limits.blocking_per_log)),
            document: openapi::document().to_string().into(),
            serving: AtomicBool::new(true),
            reporter,
            per_address: Mutex::default(),
            config,
        });
        let (stop, stopping) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(limits.connections));
        let acceptor = identity.as_ref().map(|identity| TlsAcceptor::from(Arc::clone(&identity.config)));
        let accepting =
            runtime.spawn(accept(listener, acceptor, Arc::clone(&shared), Arc::clone(&connections), stopping));
        if shared.identities.is_shared() {
            runtime.spawn(follow(Arc::clone(&shared)));
        }
        runtime.spawn(reads::keep(Arc::clone(&shared)));
        let certificate = identity.map(|identity| Certificate {
            path: identity.certificate,
            fingerprint: identity.fingerprint,
            self_signed: identity.self_signed,
        });
        let server = Self { runtime, shared, stop, accepting, connections };
        Ok((server, Started { address, certificate, own_log, admin_token }))
    }

    /// Serves until the process is asked to end (SIGTERM, or SIGINT as of Ctrl-C), and stops.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub fn run(self) -> Result<(), ServerError> {
        self.runtime.block_on(asked_to_end())?;
        self.stop()
    }

    /// Stops: what has begun is answered, and every log is closed with a checkpoint that covers all of it.
    ///
    /// # Errors
    /// [`ServerError::Close`] where a log could not be closed.
    pub fn stop(self) -> Result<(), ServerError> {
        let Self { runtime, shared, stop, accepting, connections } = self;
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
        // What still waits for a disk that hangs is not waited for.
        runtime.shutdown_background();
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
        if root.registry(options).is_err() {
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
    if root.registry(options).is_err() {
        Registry::create(root.clone(), &format!("{}/registry", config.name), ring, options.clone())?;
    }
    let logs = Logs::new(root.clone(), options.clone(), ring.clone(), config.limits)?;
    let own = logs.own();
    if logs.registered(&own).is_err() {
        logs.create(&own)?;
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

/// A directory that holds something else is not turned into a root.
fn refuse_unless_empty(path: &std::path::Path) -> Result<(), ServerError> {
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
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

async fn asked_to_end() -> Result<(), ServerError> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |step| ServerError::io("wait for", step);
        let mut term = signal(SignalKind::terminate()).map_err(failed("SIGTERM"))?;
        let mut int = signal(SignalKind::interrupt()).map_err(failed("SIGINT"))?;
        let either = |context: &mut Context<'_>| {
            let asked = term.poll_recv(context).is_ready() || int.poll_recv(context).is_ready();
            if asked { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(either).await;
        Ok(())
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.map_err(ServerError::io("wait for", "Ctrl-C"))
    }
}

/// Takes connections. Whoever comes when all permits are out waits in the system's queue.
async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
) {
    // Whoever stops the server ends this where it waits: no connection is then between its acceptance and its task.
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let accepted = listener.accept().await;
        let Ok((stream, peer)) = accepted else {
            drop(permit);
            tokio::time::sleep(REST).await;
            continue;
        };
        let Some(held) = Held::take(&shared, peer, permit) else {
            shared.metrics.turned_away.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        shared.metrics.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = connection(stream, peer, acceptor.clone(), Arc::clone(&shared), stopping.clone());
        tokio::spawn(async move {
            connection.await;
            drop(held);
        });
    }
}

/// A connection's place: one of all, and one of its address.
struct Held {
    shared: Arc<Shared>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn take(shared: &Arc<Shared>, peer: SocketAddr, permit: OwnedSemaphorePermit) -> Option<Self> {
        let address = network(peer.ip());
        let mut counts = shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= shared.config.limits.connections_per_address {
            return None;
        }
        *count += 1;
        drop(counts);
        shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
        Some(Self { shared: Arc::clone(shared), address, _permit: permit })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
) {
    let limits = shared.config.limits;
    // A socket that does not take the option is as good, only slower.
    let _ = stream.set_nodelay(true);
    let stream = Timed::new(stream, Duration::from_millis(limits.write_ms));
    match acceptor {
        None => serve(stream, peer, shared, stopping).await,
        Some(acceptor) => {
            let shaking = tokio::time::timeout(Duration::from_millis(limits.handshake_ms), acceptor.accept(stream));
            match shaking.await {
                Ok(Ok(stream)) => serve(stream, peer, shared, stopping).await,
                _ => {
                    shared.metrics.handshakes.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

async fn serve<S>(stream: S, peer: SocketAddr, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = shared.config.limits;
    let service = service_fn(move |incoming| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(request::answer(&shared, peer, incoming).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms))
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends (a client that went away, a head that was none) is nobody's business but its own.
    let mut stop = pin!(stopping.wait_for(|stop| *stop));
    let ended = |context: &mut Context<'_>| match connection.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => stop.as_mut().poll(context).map(|_| false),
    };
    if poll_fn(ended).await {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
