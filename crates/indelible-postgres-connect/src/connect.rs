//! Connecting: one host after the other, until one answers as it is wanted.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio_postgres::{Client, Connection, Socket, config::SslMode as WireMode};

use crate::{
    config::{Config, Host, HostName, SslMode, TargetSession},
    error::ConnectError,
    failure::Case,
    tls::{Attempt, TlsSession, TlsStream},
};

/// The half of a connection that moves the bytes; it must be polled while the client is in use.
pub type Driver = Connection<Socket, TlsStream>;

/// What was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The host.
    pub host: Host,
    /// Its address; none for a unix socket.
    pub address: Option<IpAddr>,
    /// What was negotiated; none where nothing is encrypted.
    pub tls: Option<TlsSession>,
    /// The server's version, as it says it.
    pub server_version: String,
}

/// A connection whose driver is not running yet.
pub struct Opened {
    /// For statements.
    pub client: Client,
    /// To be spawned, or polled for notices and notifications.
    pub driver: Driver,
    /// What was reached.
    pub connected: Connected,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("connected", &self.connected).finish_non_exhaustive()
    }
}

/// Connects, and has the current tokio runtime drive the connection until the client is dropped.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(config: &Config) -> Result<(Client, Connected), ConnectError> {
    let Opened { client, driver, connected } = open(config).await?;
    // Why a driver ended, the client's next statement says.
    tokio::spawn(async move { drop(driver.await) });
    Ok((client, connected))
}

/// Connects, and gives the driver back.
///
/// # Errors
/// [`ConnectError`].
pub async fn open(config: &Config) -> Result<Opened, ConnectError> {
    let mut tried = Vec::new();
    for host in &config.hosts {
        match open_host(config, host).await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.leads_to_the_next_host() => tried.push(error),
            Err(error) => return Err(error),
        }
    }
    match tried.pop() {
        Some(only) if tried.is_empty() && config.hosts.len() == 1 => Err(only),
        last => {
            tried.extend(last);
            Err(ConnectError::NoHost { wanted: config.target, tried })
        }
    }
}

async fn open_host(config: &Config, host: &Host) -> Result<Opened, ConnectError> {
    let mut last = None;
    for address in addresses(host).await? {
        match in_time(config, host, open_address(config, host, address)).await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.leads_to_the_next_host() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    let nothing = || ConnectError::NoSuchHost { host: host.to_string(), source: io::Error::other("it has no address") };
    Err(last.unwrap_or_else(nothing))
}

/// A unix socket has no address, and is tried once.
async fn addresses(host: &Host) -> Result<Vec<Option<IpAddr>>, ConnectError> {
    match (&host.name, host.address) {
        (HostName::Socket(_), _) => Ok(vec![None]),
        (_, Some(address)) => Ok(vec![Some(address)]),
        (HostName::Network(name), None) => {
            let found = tokio::net::lookup_host((name.as_str(), host.port)).await;
            let found = found.map_err(|source| ConnectError::NoSuchHost { host: host.to_string(), source })?;
            Ok(found.map(|address| Some(address.ip())).collect())
        }
    }
}

async fn in_time(
    config: &Config,
    host: &Host,
    attempt: impl Future<Output = Result<Opened, ConnectError>>,
) -> Result<Opened, ConnectError> {
    let Some(limit) = config.connect_timeout else { return attempt.await };
    let late = || ConnectError::Timeout { host: host.to_string(), seconds: limit.as_secs() };
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(late()))
}

async fn open_address(config: &Config, host: &Host, address: Option<IpAddr>) -> Result<Opened, ConnectError> {
    let mode = match (&host.name, config.tls.mode) {
        (HostName::Socket(_), _) | (_, SslMode::Disable) => WireMode::Disable,
        (_, SslMode::Prefer) => WireMode::Prefer,
        _ => WireMode::Require,
    };
    match open_as(config, host, address, mode).await {
        // As libpq: who prefers TLS takes a connection without it, rather than none.
        Err(error) if mode == WireMode::Prefer && may_do_without_tls(&error) => {
            open_as(config, host, address, WireMode::Disable).await.map_err(|_| error)
        }
        done => done,
    }
}

fn may_do_without_tls(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Tls { .. }
            | ConnectError::TlsVersion { .. }
            | ConnectError::ClientCertificateRefused { .. }
            | ConnectError::ClientCertificateMissing { .. }
            | ConnectError::NotInHba { .. }
    )
}

async fn open_as(
    config: &Config,
    host: &Host,
    address: Option<IpAddr>,
    mode: WireMode,
) -> Result<Opened, ConnectError> {
    let tls = Attempt::new(&config.tls)?;
    let case = Case { config, host, tls: (mode != WireMode::Disable).then_some(&tls) };
    let (client, mut driver) =
        wire(config, host, address, mode).connect(tls.clone()).await.map_err(|error| case.classify(error))?;
    let connected = Connected {
        host: host.clone(),
        address,
        tls: tls.session.get().cloned(),
        server_version: driver.parameter("server_version").unwrap_or("unknown").to_owned(),
    };
    if config.target != TargetSession::Any {
        let kind = drive(&mut driver, kind_of(&client)).await.map_err(|error| case.classify(error))?;
        check_kind(config.target, kind, host)?;
    }
    Ok(Opened { client, driver, connected })
}

/// The client library's own configuration, for one address.
fn wire(config: &Config, host: &Host, address: Option<IpAddr>, mode: WireMode) -> tokio_postgres::Config {
    let mut wire = tokio_postgres::Config::new();
    match &host.name {
        HostName::Network(name) => wire.host(name),
        #[cfg(unix)]
        HostName::Socket(folder) => wire.host_path(folder),
        #[cfg(not(unix))]
        HostName::Socket(folder) => wire.host(folder.display().to_string()),
    };
    if let Some(address) = address {
        wire.hostaddr(address);
    }
    wire.port(host.port).user(&config.user).dbname(&config.database).ssl_mode(mode);
    if let Some(password) = &host.password {
        wire.password(password.reveal());
    }
    add_session(&mut wire, config);
    wire
}

fn add_session(wire: &mut tokio_postgres::Config, config: &Config) {
    let session = &config.session;
    session.application_name.as_ref().map(|name| wire.application_name(name));
    session.options.as_ref().map(|options| wire.options(options));
    session.channel_binding.map(|binding| wire.channel_binding(binding));
    session.keepalives.map(|on| wire.keepalives(on));
    session.keepalives_idle.map(|idle| wire.keepalives_idle(idle));
    session.keepalives_interval.map(|interval| wire.keepalives_interval(interval));
    session.keepalives_count.map(|count| wire.keepalives_retries(count));
    session.tcp_user_timeout.filter(|limit| *limit > Duration::ZERO).map(|limit| wire.tcp_user_timeout(limit));
}

/// Runs a statement on a connection whose driver nobody else polls yet.
async fn drive<T>(
    driver: &mut Driver,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            match driver.poll_message(cx) {
                // A notice; the answer may be behind it.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                // The connection is over, and the statement's next poll says so.
                Poll::Ready(None) => return work.as_mut().poll(cx),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

#[derive(Clone, Copy)]
struct Kind {
    in_recovery: bool,
    read_only: bool,
}

/// By a simple query, which connection poolers pass on to a real server.
async fn kind_of(client: &Client) -> Result<Kind, tokio_postgres::Error> {
    let question = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')";
    let rows = client.simple_query(question).await?;
    let row = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let is = |column, word| row.and_then(|row| row.try_get(column).ok().flatten()) == Some(word);
    let in_recovery = is(0, "t");
    Ok(Kind { in_recovery, read_only: in_recovery || is(1, "on") })
}

fn check_kind(wanted: TargetSession, kind: Kind, host: &Host) -> Result<(), ConnectError> {
    let fits = match wanted {
        TargetSession::Any => true,
        TargetSession::ReadWrite => !kind.read_only,
        TargetSession::ReadOnly => kind.read_only,
        TargetSession::Primary => !kind.in_recovery,
        TargetSession::Standby => kind.in_recovery,
    };
    let found = match kind {
        Kind { in_recovery: true, .. } => "a standby",
        Kind { read_only: true, .. } => "a primary that is read-only by default",
        _ => "a primary that takes writes",
    };
    if fits { Ok(()) } else { Err(ConnectError::OtherKind { host: host.to_string(), wanted, found }) }
}
