//! From what the libraries and the server say to an error with its remedy.
//!
//! The server's messages may be in any language: the SQLSTATE and the name of the function that refused decide where they can, and
//! English words only among the refusals of `pg_hba.conf`, which have one code and one function.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};
use tokio_postgres::error::{DbError, SqlState};

use crate::{
    certificate::{ServerCertificate, time},
    config::{Config, Host},
    error::ConnectError,
    tls::Attempt,
};

/// What an attempt was about.
pub(crate) struct Case<'a> {
    pub(crate) config: &'a Config,
    pub(crate) host: &'a Host,
    pub(crate) tls: Option<&'a Attempt>,
}

impl Case<'_> {
    fn host(&self) -> String {
        self.host.to_string()
    }

    /// Whether the client certificate may have been shown by now: the server's was.
    fn shows_client_certificate(&self) -> bool {
        self.config.tls.client.is_some() && self.tls.is_some_and(|tls| tls.shown.get().is_some())
    }

    fn certificate(&self) -> Option<ServerCertificate> {
        self.tls?.shown.get().and_then(|shown| ServerCertificate::read(shown))
    }

    pub(crate) fn classify(&self, error: tokio_postgres::Error) -> ConnectError {
        if let Some(said) = error.as_db_error() {
            return self.refused(said);
        }
        if let Some(tls) = find::<rustls::Error>(&error) {
            return self.tls_failed(tls);
        }
        if self.host.password.is_none() && is_configuration(&error) {
            return ConnectError::NoPassword { host: self.host(), user: self.config.user.clone() };
        }
        if self.shows_client_certificate() && (error.is_closed() || find::<io::Error>(&error).is_some_and(broke_off)) {
            return ConnectError::BrokeOff { host: self.host() };
        }
        if let Some((kind, raw)) = find::<io::Error>(&error).map(|cause| (cause.kind(), cause.to_string())) {
            return self.network_failed(io::Error::new(kind, raw));
        }
        let wants_tls = self.tls.is_some_and(|tls| tls.begun.get().is_none());
        if wants_tls && self.config.tls.mode > crate::config::SslMode::Prefer && error.to_string().contains("TLS") {
            return ConnectError::TlsRefused { host: self.host(), mode: self.config.tls.mode.name() };
        }
        ConnectError::Protocol { host: self.host(), source: error }
    }

    fn network_failed(&self, source: io::Error) -> ConnectError {
        let host = self.host();
        match source.kind() {
            // No socket file is what a stopped server leaves.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectError::Refused { host, source },
            _ => ConnectError::Network { host, source },
        }
    }

    fn tls_failed(&self, error: &rustls::Error) -> ConnectError {
        let host = self.host();
        match error {
            rustls::Error::InvalidCertificate(fault) => self.certificate_refused(fault),
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_) => {
                ConnectError::TlsVersion { host, minimum: self.config.tls.minimum }
            }
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                ConnectError::ClientCertificateMissing { host }
            }
            rustls::Error::AlertReceived(alert)
                if self.config.tls.client.is_some() && is_about_certificates(*alert) =>
            {
                ConnectError::ClientCertificateRefused { host, why: format!("TLS alert {alert:?}") }
            }
            other => ConnectError::Tls { host, source: Box::new(other.clone()) },
        }
    }

    fn certificate_refused(&self, fault: &CertificateError) -> ConnectError {
        let host = self.host();
        let other = ConnectError::Tls { host: host.clone(), source: Box::new(rustls::Error::from(fault.clone())) };
        let Some(shown) = self.certificate() else { return other };
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ConnectError::CertificateExpired { host, ended: time(shown.not_after) }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ConnectError::CertificateNotYetValid { host, begins: time(shown.not_before) }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ConnectError::WrongHost { host, names: names(&shown) }
            }
            // An authority's certificate in a server's place is one more form of a certificate signed by itself.
            CertificateError::UnknownIssuer | CertificateError::Other(_) if shown.is_self_signed() => {
                ConnectError::SelfSigned { host, sha256: shown.sha256 }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ConnectError::UnknownIssuer { host, issuer: shown.issuer }
            }
            _ => other,
        }
    }

    fn refused(&self, said: &DbError) -> ConnectError {
        let (host, user) = (self.host(), self.config.user.clone());
        let message = said.message().to_owned();
        match *said.code() {
            SqlState::INVALID_PASSWORD => ConnectError::WrongPassword { host, user },
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION => self.not_authorized(said),
            SqlState::INVALID_CATALOG_NAME => ConnectError::NoDatabase { host, database: self.config.database.clone() },
            SqlState::TOO_MANY_CONNECTIONS => ConnectError::TooMany { host, said: message },
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                ConnectError::NotNow { host, said: message }
            }
            _ => ConnectError::Server { host, code: said.code().code().to_owned(), said: message },
        }
    }

    fn not_authorized(&self, said: &DbError) -> ConnectError {
        let (host, user, message) = (self.host(), self.config.user.clone(), said.message().to_owned());
        match said.routine() {
            Some("ClientAuthentication") if message.contains("client certificate") => {
                ConnectError::ClientCertificateMissing { host }
            }
            Some("ClientAuthentication") => ConnectError::NotInHba { host, said: message },
            Some("InitializeSessionUserId") if !message.contains("log in") => ConnectError::NoRole { host, user },
            Some("auth_failed") if self.shows_client_certificate() && message.contains("certificate") => {
                ConnectError::ClientCertificateRole { host, user }
            }
            _ => ConnectError::NotAuthenticated { host, user, said: message },
        }
    }
}

fn names(shown: &ServerCertificate) -> String {
    if shown.names.is_empty() {
        return format!("`{}`, without alternative names", shown.subject);
    }
    shown.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
    )
}

fn broke_off(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The client library has no other name for a password that it lacks.
fn is_configuration(error: &tokio_postgres::Error) -> bool {
    error.to_string() == "invalid configuration"
}

/// A cause of this type, also inside an I/O error, which does not show what it wraps as its source.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(here) = next {
        if let Some(found) = here.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = here.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => here.source(),
        };
    }
    None
}
