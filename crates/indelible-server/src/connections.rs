//! Connections: accepted within limits, made safe, and served in the version of HTTP that both sides know.
//!
//! | | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | agreed on | by TLS, and without TLS the only one | by TLS alone |
//! | a head that does not come, nothing asked | `head_ms` | `head_ms`, by [`Flow`] |
//! | an answer that is not taken | `write_ms`, by [`Timed`] | `write_ms`, by [`Flow`] |
//! | requests at a time | one | `requests_per_connection` |
//!
//! A client that ends its side and waits for its answer gets it. Where few places are left, who has asked for nothing the longest makes room ([`crate::seats`]).

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    clients::{ClientCertificate, reason},
    config::Limits,
    flow::{Flow, Verdict},
    framing::{TwoFramings, Watched},
    guard::network,
    refusing, request,
    seats::Seat,
    server::Shared,
    timed::Timed,
};

/// After an error of the listener (no file handles left) it rests for so long.
const REST: Duration = Duration::from_millis(50);
/// Where all places are taken, room is made so often until one is free.
const ROOM: Duration = Duration::from_millis(250);
/// What a client may send of one body before it is read: a page of memory for each of `requests_per_connection` at worst, and no more than
/// [`CONNECTION_WINDOW`] of a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same of all bodies of a connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// The longest frame.
const FRAME_BYTES: u32 = 16 * 1024;
/// What is held of one answer before it is sent.
const SEND_BYTES: usize = 64 * 1024;
/// Names and values that both sides keep of heads.
const HEADER_TABLE_BYTES: u32 = 4096;
/// Requests that were taken back before they were looked at; more end the connection (CVE-2023-44487).
const UNSEEN_RESETS: usize = 20;
/// Requests that were refused for their form; more end the connection.
const OWN_RESETS: usize = 64;
/// An open connection is asked so often whether the other side is there, and has as long to answer.
const PING: Duration = Duration::from_secs(20);
/// A client with nothing open that is asked to leave has so long.
const LEAVE: Duration = Duration::from_secs(1);

/// The other end of a connection.
pub(crate) struct Peer {
    /// Its address: a client's, or a proxy's.
    pub(crate) address: SocketAddr,
    /// The certificate that it showed.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// Takes connections. Whoever comes when all permits are out waits in the system's queue.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
) {
    // Whoever stops the server ends this where it waits: no connection is then between its acceptance and its task.
    while let Some(permit) = place(&shared, &connections).await {
        let accepted = listener.accept().await;
        let Ok((stream, peer)) = accepted else {
            drop(permit);
            tokio::time::sleep(REST).await;
            continue;
        };
        if !shared.config.network.takes(peer.ip()) {
            refusing::address(&shared, peer.ip());
            continue;
        }
        let Some(held) = Held::take(&shared, peer, permit) else {
            shared.metrics.turned_away.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        shared.metrics.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = connection(stream, peer, Arc::clone(&shared), Arc::clone(&held.seat), stopping.clone());
        tokio::spawn(async move {
            connection.await;
            drop(held);
        });
    }
}

/// A place for the next connection. Where few are left, somebody else is asked to leave for it.
async fn place(shared: &Shared, connections: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    loop {
        if shared.seats.make_room(connections.available_permits(), Instant::now()) {
            shared.metrics.asked_to_leave.fetch_add(1, Ordering::Relaxed);
        }
        if let Ok(permit) = timeout(ROOM, Arc::clone(connections).acquire_owned()).await {
            return permit.ok();
        }
    }
}

/// A connection's place: one of all, and one of its address. A trusted proxy has the connections of many and is not counted by its address.
struct Held {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    address: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn take(shared: &Arc<Shared>, peer: SocketAddr, permit: OwnedSemaphorePermit) -> Option<Self> {
        let address = (!shared.config.network.is_proxy(peer.ip())).then(|| network(peer.ip()));
        if let Some(address) = address {
            let mut counts = shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_default();
            if *count >= shared.config.limits.connections_per_address {
                return None;
            }
            *count += 1;
        }
        shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
        let seat = shared.seats.enter(Instant::now());
        Some(Self { shared: Arc::clone(shared), seat, address, _permit: permit })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.seats.leave(&self.seat);
        let Some(address) = self.address else { return };
        let mut counts = self.shared.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    stopping: watch::Receiver<bool>,
) {
    let limits = shared.config.limits;
    // A socket that does not take the option is as good, only slower.
    let _ = stream.set_nodelay(true);
    let stream = Timed::new(stream, Duration::from_millis(limits.write_ms));
    let Some(certificates) = &shared.certificates else {
        let peer = Peer { address, certificate: None };
        return serve(stream, peer, shared, seat, stopping).await;
    };
    let identity = certificates.current();
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
    let shaking = timeout(Duration::from_millis(limits.handshake_ms), acceptor.accept(stream));
    let stream = match shaking.await {
        Ok(Ok(stream)) => stream,
        failed => {
            shared.metrics.handshakes.fetch_add(1, Ordering::Relaxed);
            if let Ok(Err(error)) = failed
                && let Some(reason) = of_certificate(&error)
            {
                refusing::certificate(&shared, address.ip(), reason);
            }
            return;
        }
    };
    let (_, tls) = stream.get_ref();
    let shown: Option<&[CertificateDer<'_>]> = tls.peer_certificates();
    let certificate =
        shown.zip(identity.trust.as_ref()).and_then(|(chain, trust)| ClientCertificate::new(chain, Arc::clone(trust)));
    let is_second = tls.alpn_protocol() == Some(b"h2");
    let peer = Peer { address, certificate };
    if is_second {
        serve_streams(stream, peer, shared, seat, stopping).await;
    } else {
        serve(stream, peer, shared, seat, stopping).await;
    }
}

/// What was wrong with the certificate of a client, where a handshake ended for that.
fn of_certificate(error: &std::io::Error) -> Option<&'static str> {
    reason(error.get_ref()?.downcast_ref::<rustls::Error>()?)
}

/// HTTP/1.1.
async fn serve<S>(stream: S, peer: Peer, shared: Arc<Shared>, seat: Arc<Seat>, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (limits, peer) = (shared.config.limits, Arc::new(peer));
    let sitting = Arc::clone(&seat);
    let (stream, two_framings) = Watched::new(stream);
    let service = service_fn(move |mut incoming: Request<Incoming>| {
        let (shared, peer, working) = (Arc::clone(&shared), Arc::clone(&peer), sitting.begin());
        if two_framings.load(Ordering::Acquire) {
            incoming.extensions_mut().insert(TwoFramings);
        }
        async move {
            let response = request::answer(&shared, &peer, incoming).await;
            Ok::<_, Infallible>(response.map(|body| working.answer(body)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms))
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        // Who has asked may be done with sending. Who has gone is found by writing to them.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends (a client that went away, a head that was none) is nobody's business but its own.
    let (mut stop, mut leave) = (pin!(stopping.wait_for(|stop| *stop)), pin!(seat.asked_to_leave()));
    let ended = |context: &mut std::task::Context<'_>| match connection.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending if leave.as_mut().poll(context).is_ready() => Poll::Ready(false),
        Poll::Pending => stop.as_mut().poll(context).map(|_| false),
    };
    if poll_fn(ended).await {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn streams(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.requests_per_connection)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .header_table_size(HEADER_TABLE_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// What woke the task of a connection.
enum Woken {
    Ended,
    Abused,
    Stopping,
}

/// HTTP/2.
async fn serve_streams<S>(
    stream: S,
    peer: Peer,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (limits, peer, flow) = (shared.config.limits, Arc::new(peer), Flow::new(Instant::now()));
    let (counted, seen, sitting) = (Arc::clone(&shared), Arc::clone(&flow), Arc::clone(&seat));
    let service = service_fn(move |incoming: Request<Incoming>| {
        let (shared, peer, stream, working) = (Arc::clone(&shared), Arc::clone(&peer), seen.begin(), sitting.begin());
        let is_head = incoming.method() == Method::HEAD;
        async move {
            let response = request::answer(&shared, &peer, incoming).await.map(|body| working.answer(body));
            // A body that breaks off is such a request: its stream may be gone, which is not seen from here.
            let stream = if response.status() == StatusCode::BAD_REQUEST { stream.refused() } else { stream };
            let watched = if is_head { stream.answer_head(response) } else { response.map(|body| stream.answer(body)) };
            Ok::<_, Infallible>(watched)
        }
    });
    let connection = streams(&limits).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let (mut stop, mut leave) = (pin!(stopping.wait_for(|stop| *stop)), pin!(seat.asked_to_leave()));
    let (idle, write) = (Duration::from_millis(limits.head_ms), Duration::from_millis(limits.write_ms));
    let (patience, tick) = (idle.min(LEAVE), (idle.min(write) / 4).clamp(Duration::from_millis(10), LEAVE));
    // Since when it is on its way to its end.
    let mut leaving: Option<Instant> = None;
    loop {
        let woken = poll_fn(|context| {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Ended);
            }
            if flow.is_abused() {
                return Poll::Ready(Woken::Abused);
            }
            if leaving.is_some() {
                return Poll::Pending;
            }
            if leave.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Stopping);
            }
            stop.as_mut().poll(context).map(|_| Woken::Stopping)
        });
        let verdict = match timeout(tick, woken).await {
            Ok(Woken::Ended) => return,
            Ok(Woken::Abused) => {
                counted.metrics.abused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(Woken::Stopping) => {
                connection.as_mut().graceful_shutdown();
                leaving = Some(Instant::now());
                continue;
            }
            Err(_) => flow.verdict(Instant::now(), if leaving.is_some() { patience } else { idle }, write),
        };
        match (verdict, leaving) {
            (Verdict::Good, _) => {}
            (Verdict::Deaf, _) => return,
            (Verdict::Idle, None) => {
                connection.as_mut().graceful_shutdown();
                leaving = Some(Instant::now());
            }
            // Who does not leave when asked to is left.
            (Verdict::Idle, Some(since)) => {
                if since.elapsed() >= patience {
                    return;
                }
            }
        }
    }
}
