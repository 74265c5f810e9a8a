//! How a PostgreSQL is reached: hosts, database, role, TLS.
//!
//! What the URL leaves open comes from the environment as libpq reads it, then from libpq's defaults. One default differs: where no
//! `sslmode` is given, hosts beyond this machine are verified in full, because libpq's `prefer` protects from nobody
//! who can stand between.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    environment::{Environment, PasswordFile, Sought},
    error::ConfigError,
    secret::Password,
    settings::Settings,
    url,
};

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// Where no `connect_timeout` is given; libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where packagers put the unix socket, the most usual first.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// How much TLS there is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// None.
    Disable,
    /// If the server likes; otherwise none.
    Prefer,
    /// Encrypted. Who answers is not looked at, unless a root certificate is given: then as `verify-ca`.
    Require,
    /// The certificate must be from the given authority.
    VerifyCa,
    /// That, and for the host's name.
    VerifyFull,
}

impl SslMode {
    pub(crate) const NAMES: [&'static str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
    const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// As it is written in a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// Which kind of server is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSession {
    /// Any.
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that takes none.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
}

impl TargetSession {
    pub(crate) const NAMES: [&'static str; 5] = ["any", "read-write", "read-only", "primary", "standby"];
    const ALL: [Self; 5] = [Self::Any, Self::ReadWrite, Self::ReadOnly, Self::Primary, Self::Standby];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}

impl fmt::Display for TargetSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a server's certificate must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Those that this system trusts.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// How a server may be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) mode: SslMode,
    pub(crate) root: Option<Root>,
    /// Certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) minimum: TlsVersion,
}

/// What a host is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// A name or an address in the network.
    Network(String),
    /// The directory of a unix socket.
    Socket(PathBuf),
}

/// One of the servers that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Its address where `hostaddr` gives one; then the name serves for its certificate alone.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    pub(crate) password: Option<Password>,
}

impl Host {
    /// Whether nobody but this machine is between: a unix socket or a loopback address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match (&self.name, self.address) {
            (HostName::Socket(_), _) => true,
            (_, Some(address)) => address.is_loopback(),
            (HostName::Network(name), None) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            HostName::Network(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            HostName::Network(name) => write!(f, "{name}:{}", self.port),
            HostName::Socket(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}

/// What is not wrong, and should be known to whoever runs this. It is for the caller to show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The mode protects from less than it could, on the way to hosts beyond this machine.
    WeakTls {
        /// The mode.
        mode: SslMode,
        /// Whether a root certificate makes `require` look at the authority.
        verifies_authority: bool,
        /// The hosts beyond this machine.
        hosts: Vec<String>,
    },
    /// The password file is not used.
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WeakTls { mode, verifies_authority, hosts } => {
                let risk = match mode {
                    SslMode::Disable => "everything, passwords' proofs included, goes over the network in the clear",
                    SslMode::Prefer => "whoever is between can read and change everything, and take TLS away",
                    SslMode::Require if !verifies_authority => "whoever is between can pose as the server",
                    _ => "any server with a certificate of the same authority can pose as this one",
                };
                write!(f, "`sslmode={}` to {}: {risk}; use `sslmode=verify-full`", mode.name(), hosts.join(", "))
            }
            Self::PasswordFile { path, why } => write!(f, "the password file `{}` is not used: {why}", path.display()),
        }
    }
}

/// How a PostgreSQL is reached. `Debug` and [`Config::place`] show no password.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) tls: Tls,
    pub(crate) target: TargetSession,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) session: Session,
    warnings: Vec<Warning>,
}

/// What is passed on as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) application_name: Option<String>,
    pub(crate) options: Option<String>,
    pub(crate) channel_binding: Option<tokio_postgres::config::ChannelBinding>,
    pub(crate) keepalives: Option<bool>,
    pub(crate) keepalives_idle: Option<Duration>,
    pub(crate) keepalives_interval: Option<Duration>,
    pub(crate) keepalives_count: Option<u32>,
    pub(crate) tcp_user_timeout: Option<Duration>,
}

impl Config {
    /// Reads a URL, filled up from the environment.
    ///
    /// Parameters: `host`, `hostaddr`, `port`, `user`, `password`, `dbname`, `passfile`, `sslmode`, `sslcert`, `sslkey`, `sslrootcert` (a file or
    /// `system`), `ssl_min_protocol_version` (`TLSv1.2`, `TLSv1.3`), `target_session_attrs`, `connect_timeout`, `application_name`, `options`,
    /// `channel_binding`, `keepalives`, `keepalives_idle`, `keepalives_interval`, `keepalives_count`, `tcp_user_timeout`.
    ///
    /// # Errors
    /// [`ConfigError`], which never shows a password.
    pub fn parse(url: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let parts = url::split(url)?;
        let settings = Settings::gather(parts, environment)?;
        let mut warnings = Vec::new();
        let user = match settings.text("user") {
            Some(user) => user.to_owned(),
            None => whoami::username().map_err(|_| ConfigError::NoUser)?,
        };
        let database = settings.text("dbname").unwrap_or(&user).to_owned();
        let mut hosts = hosts(&settings)?;
        give_passwords(&mut hosts, &settings, environment, &user, &database, &mut warnings);
        let tls = tls(&settings, environment, &hosts)?;
        warnings.extend(weak_tls(&tls, &hosts));
        Ok(Self {
            hosts,
            user,
            database,
            tls,
            target: settings
                .named("target_session_attrs", &TargetSession::NAMES, TargetSession::named)?
                .unwrap_or(TargetSession::Any),
            connect_timeout: match settings.seconds("connect_timeout")? {
                Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
                None => Some(CONNECT_TIMEOUT),
            },
            session: session(&settings)?,
            warnings,
        })
    }

    /// What whoever runs this should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The servers, in the order in which they are tried.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How much TLS there is to be.
    #[must_use]
    pub fn ssl_mode(&self) -> SslMode {
        self.tls.mode
    }

    /// The kind of server that is wanted.
    #[must_use]
    pub fn target_session(&self) -> TargetSession {
        self.target
    }

    /// The same, for a server that must be of this kind.
    #[must_use]
    pub fn with_target_session(mut self, target: TargetSession) -> Self {
        self.target = target;
        self
    }

    /// The same, under this name in `pg_stat_activity` where none was given.
    #[must_use]
    pub fn with_default_application_name(mut self, name: &str) -> Self {
        self.session.application_name.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The place for messages: `postgres://USER@HOST:PORT,…/DATABASE`, without a password.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        format!("postgres://{}@{}/{}", self.user, hosts.join(","), self.database)
    }
}

fn hosts(settings: &Settings) -> Result<Vec<Host>, ConfigError> {
    let addresses = settings.addresses()?;
    let mut named = settings.hosts.clone();
    if named.is_empty() {
        named = vec![(String::new(), None); addresses.len().max(1)];
    }
    if !addresses.is_empty() && addresses.len() != named.len() {
        return Err(ConfigError::Count {
            hosts: named.len(),
            values: addresses.len(),
            given: settings.given("hostaddr"),
        });
    }
    let ports = settings.ports(named.len())?;
    let each = named.into_iter().enumerate();
    Ok(each
        .map(|(at, (name, port))| {
            let address = addresses.get(at).copied().flatten();
            let port = port.or_else(|| ports.get(at).copied().flatten()).unwrap_or(PORT);
            Host { name: host_name(name, address), address, port, password: None }
        })
        .collect())
}

fn host_name(name: String, address: Option<IpAddr>) -> HostName {
    match address {
        Some(address) if name.is_empty() => HostName::Network(address.to_string()),
        _ if name.is_empty() => default_host(),
        _ if name.starts_with('/') => HostName::Socket(PathBuf::from(name)),
        _ => HostName::Network(name),
    }
}

fn default_host() -> HostName {
    let folder = SOCKET_FOLDERS.iter().map(Path::new).find(|folder| cfg!(unix) && folder.is_dir());
    folder.map_or_else(|| HostName::Network("localhost".to_owned()), |folder| HostName::Socket(folder.to_owned()))
}

/// A password that was given is for all hosts; the password file may have one for each.
fn give_passwords(
    hosts: &mut [Host],
    settings: &Settings,
    environment: &Environment,
    user: &str,
    database: &str,
    warnings: &mut Vec<Warning>,
) {
    let path = settings.text("passfile").map(PathBuf::from).or_else(|| environment.in_home(".pgpass"));
    let file = match path.filter(|_| settings.password.is_none()) {
        Some(path) => PasswordFile::open(&path, warnings),
        None => PasswordFile::default(),
    };
    for host in hosts {
        let name = match &host.name {
            HostName::Network(name) => name.clone(),
            // libpq looks the usual socket up under this name, any other under its directory.
            HostName::Socket(folder) if SOCKET_FOLDERS.iter().any(|usual| folder == Path::new(usual)) => {
                "localhost".to_owned()
            }
            HostName::Socket(folder) => folder.display().to_string(),
        };
        let sought = Sought { host: &name, port: host.port, database, user };
        host.password = settings.password.clone().or_else(|| file.look_up(sought));
    }
}

fn tls(settings: &Settings, environment: &Environment, hosts: &[Host]) -> Result<Tls, ConfigError> {
    let minimum = settings.named("ssl_min_protocol_version", &["TLSv1.2", "TLSv1.3"], |name| match name {
        "TLSv1.2" => Some(TlsVersion::V1_2),
        "TLSv1.3" => Some(TlsVersion::V1_3),
        _ => None,
    })?;
    let given = settings.named("sslmode", &SslMode::NAMES, SslMode::named)?;
    let root = root(settings, environment);
    let mode = match (given, &root) {
        (Some(mode), Some(Root::System)) if mode < SslMode::VerifyFull => {
            return Err(ConfigError::SystemRoots { mode: mode.name() });
        }
        (Some(mode), _) => mode,
        (None, Some(Root::System)) => SslMode::VerifyFull,
        (None, _) if hosts.iter().all(Host::is_local) => SslMode::Prefer,
        (None, _) => SslMode::VerifyFull,
    };
    let root = match (mode, root) {
        (SslMode::VerifyCa, None) => return Err(ConfigError::NoRoot),
        (SslMode::VerifyFull, None) => Some(Root::System),
        (_, root) => root,
    };
    Ok(Tls { mode, root, client: client(settings, environment)?, minimum: minimum.unwrap_or(TlsVersion::V1_2) })
}

fn root(settings: &Settings, environment: &Environment) -> Option<Root> {
    match settings.text("sslrootcert") {
        Some("system") => Some(Root::System),
        Some(path) => Some(Root::File(PathBuf::from(path))),
        None => usual_file(environment, "root.crt").map(Root::File),
    }
}

fn client(settings: &Settings, environment: &Environment) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    let path = |name| settings.text(name).map(PathBuf::from);
    match (path("sslcert"), path("sslkey")) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) => Err(ConfigError::Half { given: "a client certificate (`sslcert`)", missing: "sslkey" }),
        (None, Some(_)) => Err(ConfigError::Half { given: "a client key (`sslkey`)", missing: "sslcert" }),
        (None, None) => Ok(usual_file(environment, "postgresql.crt").zip(usual_file(environment, "postgresql.key"))),
    }
}

/// A file that libpq finds without being told.
fn usual_file(environment: &Environment, name: &str) -> Option<PathBuf> {
    environment.in_home(".postgresql").map(|folder| folder.join(name)).filter(|path| path.exists())
}

fn weak_tls(tls: &Tls, hosts: &[Host]) -> Option<Warning> {
    let distant: Vec<_> = hosts.iter().filter(|host| !host.is_local()).map(Host::to_string).collect();
    (tls.mode < SslMode::VerifyFull && !distant.is_empty()).then(|| Warning::WeakTls {
        mode: tls.mode,
        verifies_authority: tls.root.is_some(),
        hosts: distant,
    })
}

fn session(settings: &Settings) -> Result<Session, ConfigError> {
    use tokio_postgres::config::ChannelBinding;
    let binding = |name: &str| match name {
        "disable" => Some(ChannelBinding::Disable),
        "prefer" => Some(ChannelBinding::Prefer),
        "require" => Some(ChannelBinding::Require),
        _ => None,
    };
    let switch = |name: &str| match name {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let text = |name| settings.text(name).map(str::to_owned);
    Ok(Session {
        application_name: text("application_name"),
        options: text("options"),
        channel_binding: settings.named("channel_binding", &["disable", "prefer", "require"], binding)?,
        keepalives: settings.named("keepalives", &["0", "1"], switch)?,
        keepalives_idle: settings.seconds("keepalives_idle")?,
        keepalives_interval: settings.seconds("keepalives_interval")?,
        keepalives_count: settings.number("keepalives_count")?,
        tcp_user_timeout: settings.number("tcp_user_timeout")?.map(|ms| Duration::from_millis(u64::from(ms))),
    })
}
