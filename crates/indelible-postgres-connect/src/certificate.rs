//! What stands in a server's certificate, for people and for deciding. Nothing here is verified.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use x509_cert::{
    Certificate,
    der::{DateTime, Decode as _, oid::ObjectIdentifier},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// A server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Whom it is for, as RFC 4514 writes names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// SHA-256 over the whole, in hex.
    pub sha256: String,
}

impl ServerCertificate {
    /// `None` where the bytes are no X.509 certificate.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let inner = certificate.tbs_certificate();
        Some(Self {
            subject: inner.subject().to_string(),
            issuer: inner.issuer().to_string(),
            names: alternative_names(&certificate),
            not_before: inner.validity().not_before.to_system_time(),
            not_after: inner.validity().not_after.to_system_time(),
            sha256: hex(digest::digest(&SHA256, der).as_ref()),
        })
    }

    pub(crate) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// How long it still holds at `now`; zero where it has ended.
    #[must_use]
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }
}

fn alternative_names(certificate: &Certificate) -> Vec<String> {
    let Ok(Some((_, names))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return Vec::new();
    };
    let texts = names.0.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    });
    texts.collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())).ok()
}

/// A time as RFC 3339 has it, to the second.
pub(crate) fn time(time: SystemTime) -> String {
    DateTime::from_system_time(time).map_or_else(|_| "a time beyond the year 9999".to_owned(), |time| time.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What RFC 5929 binds a channel to: the certificate's hash, by the hash of its signature, at least SHA-256. Signatures without a
/// hash of their own have none.
pub(crate) fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    let algorithm = hash_of(certificate.signature_algorithm().oid)?;
    Some(digest::digest(algorithm, der).as_ref().to_vec())
}

fn hash_of(signature: ObjectIdentifier) -> Option<&'static Algorithm> {
    use x509_cert::der::oid::db::rfc5912::{
        ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
        SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
    };
    match signature {
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => Some(&SHA256),
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Some(&SHA384),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_addresses_are_written() {
        assert_eq!(time(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400)), "1970-01-02T00:00:00Z");
        assert_eq!(address(&[127, 0, 0, 1]).as_deref(), Some("127.0.0.1"));
        assert_eq!(address(&[0; 16]).as_deref(), Some("::"));
        assert_eq!(address(&[1, 2, 3]), None);
    }

    #[test]
    fn junk_is_no_certificate() {
        assert!(ServerCertificate::read(b"junk").is_none() && end_point(b"").is_none());
    }
}
