//! The connection itself.

use std::time::{Duration, SystemTime};

use super::Finding;
use crate::{
    certificate::{ServerCertificate, time},
    connect::Connected,
    tls::TlsSession,
    verifier::Verified,
};

/// The oldest major version that the store is written for.
const OLDEST: u32 = 14;

/// Renewing takes people a while.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn look(connected: &Connected, now: SystemTime) -> Vec<Finding> {
    let mut findings = vec![version(&connected.server_version)];
    match &connected.tls {
        Some(tls) => findings.extend(encrypted(connected, tls, now)),
        None if connected.host.is_local() => {
            findings.push(Finding::ok("tls", "none, and none is needed: the server is on this machine"));
        }
        None => findings.push(Finding::bad(
            "tls",
            "nothing is encrypted: whoever is between can read and change everything",
            "use `sslmode=verify-full`, and `store hba` for the server",
        )),
    }
    findings
}

fn version(text: &str) -> Finding {
    let major = text.split(['.', ' ']).next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST => Finding::ok("server", format!("PostgreSQL {text}")),
        _ => Finding::bad("server", format!("PostgreSQL `{text}`"), format!("use version {OLDEST} or later")),
    }
}

fn encrypted(connected: &Connected, tls: &TlsSession, now: SystemTime) -> Vec<Finding> {
    let session = format!("TLS {}, {}, {}", tls.version, tls.cipher, tls.key_exchange);
    let weakness = match tls.verified {
        _ if connected.host.is_local() => None,
        Verified::AuthorityAndHost => None,
        Verified::Authority => Some("the server's name is not verified"),
        Verified::Nothing => Some("who answers is not verified: whoever is between can pose as the server"),
    };
    let mut findings = vec![match weakness {
        None => Finding::ok("tls", session),
        Some(weakness) => Finding::note("tls", format!("{session}; {weakness}"), "use `sslmode=verify-full`"),
    }];
    findings.extend(tls.certificate.as_ref().map(|certificate| expiry(certificate, now)));
    findings
}

fn expiry(certificate: &ServerCertificate, now: SystemTime) -> Finding {
    let what = format!(
        "certificate `{}` from `{}`, until {}",
        certificate.subject,
        certificate.issuer,
        time(certificate.not_after)
    );
    let remaining = certificate.remaining(now);
    if remaining.is_zero() {
        Finding::bad("tls", format!("{what}: it has ended"), "renew it on the server and reload")
    } else if remaining < EXPIRES_SOON {
        Finding::note(
            "tls",
            format!("{what}: {} days are left", remaining.as_secs() / 86_400),
            "renew it on the server and reload",
        )
    } else {
        Finding::ok("tls", what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    #[test]
    fn versions_are_judged() {
        for (text, severity) in [
            ("15.18 (Debian 15.18-1)", Severity::Ok),
            ("14.0", Severity::Ok),
            ("18beta1", Severity::Unsafe),
            ("13.9", Severity::Unsafe),
            ("", Severity::Unsafe),
        ] {
            assert_eq!(version(text).severity, severity, "{text}");
        }
    }

    #[test]
    fn certificates_end() {
        let certificate = ServerCertificate {
            subject: "CN=a".to_owned(),
            issuer: "CN=b".to_owned(),
            names: Vec::new(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400),
            sha256: String::new(),
        };
        for (day, severity) in [(1, Severity::Ok), (69, Severity::Ok), (71, Severity::Note), (100, Severity::Unsafe)] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
            assert_eq!(expiry(&certificate, now).severity, severity, "{day}");
        }
    }
}
