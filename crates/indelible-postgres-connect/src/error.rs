//! What can be wrong on the way to a PostgreSQL. Each says what happened, where, and what to do; none shows a password.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::config::TargetSession;

/// Why a connection URL, with the environment, is no configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The URL has not the form of one. Nothing of it is shown: any part may belong to a password.
    #[error("the connection URL cannot be read: {what}; {remedy}")]
    Form {
        /// What is wrong.
        what: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A percent code is cut off, not UTF-8, or zero.
    #[error("the connection URL has a bad percent code in {part}: write `%` itself as `%25`")]
    Escape {
        /// Where.
        part: &'static str,
    },
    /// Something behind `?` is no parameter.
    #[error("parameter {number} of the connection URL has no `=`: write `NAME=VALUE`, several joined by `&`")]
    NoValue {
        /// Counted from 1.
        number: usize,
    },
    /// A port is none.
    #[error(
        "the port of host {number} is no number from 1 to 65535; if a password stands before it, write its special characters as percent codes"
    )]
    Port {
        /// Counted from 1.
        number: usize,
    },
    /// There are ports, and not one for each host.
    #[error("{hosts} hosts are given and {values} values in {given}: give one for each host, or one for all")]
    Count {
        /// How many hosts.
        hosts: usize,
        /// How many values.
        values: usize,
        /// Where they were given.
        given: String,
    },
    /// A parameter that nobody knows.
    #[error("the connection URL has an unknown parameter `{parameter}`; {hint}")]
    Unknown {
        /// The parameter.
        parameter: String,
        /// A similar name, or all.
        hint: String,
    },
    /// A parameter or variable that libpq knows and that is not supported here.
    #[error("{given} is known to libpq and not supported here: {remedy}")]
    Unsupported {
        /// The parameter or environment variable.
        given: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A parameter stands there twice.
    #[error("the connection URL gives `{parameter}` twice: leave one out")]
    Twice {
        /// The parameter.
        parameter: String,
    },
    /// A value that its parameter cannot have.
    #[error("{given} is `{found}`, and must be {expected}")]
    Value {
        /// The parameter or environment variable.
        given: String,
        /// What was found.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// `sslrootcert=system` with a mode that does not look at the host's name.
    #[error(
        "`sslrootcert=system` with `sslmode={mode}` would trust any host that has any public certificate: use `sslmode=verify-full`"
    )]
    SystemRoots {
        /// The mode.
        mode: &'static str,
    },
    /// `verify-ca` with nothing to verify by.
    #[error(
        "`sslmode=verify-ca` needs the certificate of the server's authority: give `sslrootcert=FILE`, or use `sslmode=verify-full`"
    )]
    NoRoot,
    /// A client certificate without its key, or the other way round.
    #[error("{given} is given without `{missing}`: give both")]
    Half {
        /// What is there.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// Nobody says who connects.
    #[error("no user is named and this process's user has no name: write `postgres://USER@…` or set `PGUSER`")]
    NoUser,
}

/// What is wrong with a file of certificates or with a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("the {what} `{}` cannot be read: correct `{parameter}`", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The parameter that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing of the kind in it.
    #[error("the {what} `{}` holds nothing of the kind in PEM form: correct `{parameter}`", path.display())]
    Pem {
        /// What the file is for.
        what: &'static str,
        /// The parameter that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The key is under a passphrase.
    #[error("the client key `{}` is encrypted, which is not supported: `openssl pkey -in FILE -out PLAIN`, and keep `PLAIN` readable by you alone", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error("the client key `{}` can be read by others (mode {mode:04o}): `chmod 600` it; where root owns it, `chmod 640`", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key belongs to somebody else.
    #[error("the client key `{}` belongs to neither this user nor root: `chown` it", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or the key is of no known kind.
    #[error("the client certificate `{}` cannot be used with its key `{}`", certificate.display(), key.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refuses its own set-up.
    #[error("TLS cannot be set up in this program")]
    Provider {
        /// What it said.
        #[source]
        source: rustls::Error,
    },
    /// The system has no root certificates.
    #[error(
        "no root certificates were found on this system: install them (`ca-certificates`), or give `sslrootcert=FILE`"
    )]
    NoSystemRoots,
}

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A file of certificates or a key.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name of the host leads nowhere.
    #[error("no host `{host}` is known: correct the name in the URL, or the name service")]
    NoSuchHost {
        /// The host.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nobody listens.
    #[error(
        "nothing answers at `{host}`: start the server, or correct host and port (`listen_addresses` and `port` on the server)"
    )]
    Refused {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The network does not lead there, or the connection broke.
    #[error("the connection to `{host}` failed")]
    Network {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("`{host}` did not answer within {seconds} s: look at firewalls, or raise `connect_timeout`")]
    Timeout {
        /// The host.
        host: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The server speaks no TLS and the mode asks for it.
    #[error("`{host}` speaks no TLS, and `sslmode={mode}` asks for it: set `ssl = on` on the server")]
    TlsRefused {
        /// The host.
        host: String,
        /// The mode.
        mode: &'static str,
    },
    /// No version of TLS that both sides take.
    #[error(
        "`{host}` speaks no TLS of version {minimum} or later: raise `ssl_max_protocol_version` on the server, or lower `ssl_min_protocol_version`"
    )]
    TlsVersion {
        /// The host.
        host: String,
        /// The oldest that is taken.
        minimum: crate::config::TlsVersion,
    },
    /// The server's certificate has ended.
    #[error("the certificate of `{host}` ended at {ended}: renew it on the server and reload")]
    CertificateExpired {
        /// The host.
        host: String,
        /// When.
        ended: String,
    },
    /// The server's certificate has not begun.
    #[error("the certificate of `{host}` begins at {begins}: look at the clocks of both machines")]
    CertificateNotYetValid {
        /// The host.
        host: String,
        /// When.
        begins: String,
    },
    /// The certificate is for other hosts.
    #[error(
        "the certificate of `{host}` is for {names}: connect by a name that it has, or give the server one with `{host}` among its alternative names"
    )]
    WrongHost {
        /// The host.
        host: String,
        /// What the certificate is for.
        names: String,
    },
    /// The certificate is from an authority that is not trusted here.
    #[error(
        "the certificate of `{host}` is from `{issuer}`, who is not trusted here: name that authority's certificate in `sslrootcert`"
    )]
    UnknownIssuer {
        /// The host.
        host: String,
        /// Who signed.
        issuer: String,
    },
    /// The certificate is from nobody.
    #[error(
        "the certificate of `{host}` is signed by itself: if it is the right one, give the file with it as `sslrootcert`; its SHA-256 is {sha256}"
    )]
    SelfSigned {
        /// The host.
        host: String,
        /// Its fingerprint.
        sha256: String,
    },
    /// The handshake failed for another reason.
    #[error("TLS with `{host}` failed: look at the server's certificate and its log")]
    Tls {
        /// The host.
        host: String,
        /// What the TLS library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server wants a client certificate.
    #[error("`{host}` asks for a client certificate: give `sslcert` and `sslkey`")]
    ClientCertificateMissing {
        /// The host.
        host: String,
    },
    /// The server does not take the client certificate.
    #[error(
        "`{host}` does not take the client certificate ({why}): it must be valid and from an authority in the server's `ssl_ca_file`"
    )]
    ClientCertificateRefused {
        /// The host.
        host: String,
        /// What is known of the reason.
        why: String,
    },
    /// The server broke off without a word. It may have stopped, or refused the client certificate without the network passing that on.
    #[error("`{host}` broke off after the client certificate was shown: if it does so again, its log says why")]
    BrokeOff {
        /// The host.
        host: String,
    },
    /// The client certificate is for another role.
    #[error(
        "`{host}` does not take the client certificate for role `{user}`: its common name must be `{user}`, or `pg_ident.conf` map it"
    )]
    ClientCertificateRole {
        /// The host.
        host: String,
        /// The role.
        user: String,
    },
    /// `pg_hba.conf` has no line for this, or one that rejects it.
    #[error(
        "`{host}` lets nobody in this way ({said}): add a line to `pg_hba.conf` (`store hba` prints some) and reload"
    )]
    NotInHba {
        /// The host.
        host: String,
        /// What the server said.
        said: String,
    },
    /// The password is wrong, or there is no such role: the server does not tell these apart.
    #[error(
        "`{host}` does not take the password of role `{user}`: correct it in the URL, `PGPASSWORD` or the password file; so it says for an unknown role too"
    )]
    WrongPassword {
        /// The host.
        host: String,
        /// The role.
        user: String,
    },
    /// A password is asked for and none is given.
    #[error("`{host}` asks for the password of role `{user}`: give it in `PGPASSWORD` or the password file")]
    NoPassword {
        /// The host.
        host: String,
        /// The role.
        user: String,
    },
    /// The role is not let in for another reason.
    #[error("`{host}` does not let role `{user}` in: {said}")]
    NotAuthenticated {
        /// The host.
        host: String,
        /// The role.
        user: String,
        /// What the server said.
        said: String,
    },
    /// There is no such role.
    #[error(
        "`{host}` has no role `{user}`: create it (`create role {user} login`, then `indelible store grant`; for `store migrate` it is the database's owner, with `createrole`), or correct the user"
    )]
    NoRole {
        /// The host.
        host: String,
        /// The role.
        user: String,
    },
    /// There is no such database.
    #[error("`{host}` has no database `{database}`: create it (`createdb {database}`), or correct the name")]
    NoDatabase {
        /// The host.
        host: String,
        /// The database.
        database: String,
    },
    /// The server is full.
    #[error(
        "`{host}` has no connection left ({said}): use fewer at once, or raise `max_connections` or the role's limit"
    )]
    TooMany {
        /// The host.
        host: String,
        /// What the server said.
        said: String,
    },
    /// The server is starting, stopping or recovering.
    #[error("`{host}` takes no connections now ({said}): try again")]
    NotNow {
        /// The host.
        host: String,
        /// What the server said.
        said: String,
    },
    /// The server is of another kind than is wanted.
    #[error("`{host}` is {found}, and `target_session_attrs={wanted}` is asked for")]
    OtherKind {
        /// The host.
        host: String,
        /// What is wanted.
        wanted: TargetSession,
        /// What it is.
        found: &'static str,
    },
    /// Several hosts were tried in vain.
    #[error("none of the {} hosts can be used{}: {}", tried.len(), purpose(*wanted), Each(tried))]
    NoHost {
        /// What is wanted.
        wanted: TargetSession,
        /// Each host's own error.
        tried: Vec<ConnectError>,
    },
    /// Another refusal of the server.
    #[error("`{host}` refused the connection: {said} (SQLSTATE {code})")]
    Server {
        /// The host.
        host: String,
        /// SQLSTATE.
        code: String,
        /// What the server said.
        said: String,
    },
    /// What answers is no PostgreSQL, or the connection broke off.
    #[error("what answers at `{host}` is no PostgreSQL, or broke off")]
    Protocol {
        /// The host.
        host: String,
        /// What the client library said.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed a little later, with nothing changed by hand: a server that restarts or is full, a
    /// network that is gone, a failover under way.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Network { .. }
            | Self::BrokeOff { .. }
            | Self::Timeout { .. }
            | Self::TooMany { .. }
            | Self::NotNow { .. }
            | Self::OtherKind { .. } => true,
            Self::NoHost { tried, .. } => tried.iter().any(Self::is_transient),
            // A server or a pooler that goes down says nothing.
            Self::Protocol { source, .. } => source.is_closed(),
            _ => false,
        }
    }

    /// Whether another host may do better. A wrong password is as wrong there, and a bad certificate is to be told.
    pub(crate) fn leads_to_the_next_host(&self) -> bool {
        !matches!(self, Self::TooMany { .. }) && (self.is_transient() || matches!(self, Self::NoSuchHost { .. }))
    }
}

fn purpose(wanted: TargetSession) -> &'static str {
    match wanted {
        TargetSession::Any => "",
        TargetSession::ReadWrite => " for writing",
        TargetSession::ReadOnly => " read-only",
        TargetSession::Primary => " as a primary",
        TargetSession::Standby => " as a standby",
    }
}

/// One error behind the other, with its cause.
struct Each<'a>(&'a [ConnectError]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
            if let Some(cause) = std::error::Error::source(error) {
                write!(f, " ({cause})")?;
            }
        }
        Ok(())
    }
}
