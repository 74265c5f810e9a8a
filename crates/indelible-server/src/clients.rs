//! Certificates of clients: whose are believed, and what one says.
//!
//! A certificate is verified in the handshake, against the authorities and the revocations that are in force then. Connections live longer than that: before
//! each request it is looked whether the certificate has ended, and where what is trusted has changed since, it is verified once more. So a revocation
//! reaches connections that are open.
//!
//! What a verified certificate may do is not said here: an API key is bound to it ([`crate::identity`]).

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use indelible_core::hex;
use rustls::{
    CertificateError, Error, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::{
    binding::Binding,
    config::Clients,
    error::ServerError,
    tls::{not_after, wrong},
};

/// The most names of one certificate that are looked at; one with more is of nobody.
const MAX_NAMES: usize = 64;

/// Whose certificates are believed.
pub struct Trust {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// The authorities of a PEM file, less what a file of their lists revokes. Each list has to be in its time, and where there are lists, each
    /// authority of a chain has to have one: what is not known to be good is refused.
    pub(crate) fn new(
        (place, roots): (&Path, &[u8]),
        crl: Option<(&Path, &[u8])>,
        clients: Clients,
    ) -> Result<Self, ServerError> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            let root = root.map_err(|error| wrong(place, error.to_string()))?;
            store.add(root).map_err(|error| wrong(place, error.to_string()))?;
        }
        if store.is_empty() {
            return Err(wrong(place, "it holds no certificate"));
        }
        let provider = Arc::new(default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
        if let Some((place, lists)) = crl {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(lists).collect();
            let lists = lists.map_err(|error| wrong(place, error.to_string()))?;
            if lists.is_empty() {
                return Err(wrong(place, "it holds no list of revoked certificates"));
            }
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        if clients == Clients::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier =
            builder.build().map_err(|error| wrong(crl.map_or(place, |(place, _)| place), error.to_string()))?;
        Ok(Self { verifier })
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// A certificate that a client has shown, and shown that it has the key of.
pub(crate) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    sha256: Binding,
    names: Vec<Binding>,
    /// Its end, in seconds since 1970.
    ends: u64,
    trusted_by: Mutex<Arc<Trust>>,
}

impl ClientCertificate {
    /// What a handshake has verified.
    pub(crate) fn new(chain: &[CertificateDer<'_>], trust: Arc<Trust>) -> Option<Self> {
        let first = chain.first()?;
        // INVARIANT(ends): a certificate whose end cannot be read has ended.
        let ends = not_after(first).unwrap_or(0);
        let sha256 = Binding::Sha256(hex::encode(digest::digest(&digest::SHA256, first).as_ref()));
        let names = names(first);
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self { chain, sha256, names, ends, trusted_by: Mutex::new(trust) })
    }

    /// Its SHA-256.
    pub(crate) fn sha256(&self) -> &Binding {
        &self.sha256
    }

    /// Its subject alternative names.
    pub(crate) fn names(&self) -> &[Binding] {
        &self.names
    }

    /// Whether it is good now, and by what is trusted now.
    ///
    /// # Errors
    /// What is wrong with it, for its bearer to read.
    pub(crate) fn check(&self, trust: Option<&Arc<Trust>>) -> Result<(), String> {
        let now = UnixTime::now();
        if self.ends < now.as_secs() {
            return Err("the client's certificate has ended since the connection was made".to_owned());
        }
        let Some(trust) = trust else { return Err("certificates of clients are not taken any more".to_owned()) };
        let mut trusted_by = self.trusted_by.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&trusted_by, trust) {
            return Ok(());
        }
        let Some((first, others)) = self.chain.split_first() else { return Err("there is no certificate".to_owned()) };
        match trust.verifier.verify_client_cert(first, others, now) {
            Ok(_) => {
                *trusted_by = Arc::clone(trust);
                Ok(())
            }
            Err(error) => Err(format!("the client's certificate {}", reason(&error).unwrap_or("is not in order"))),
        }
    }
}

/// DNS names and URIs; none where there are too many, or they cannot be read.
fn names(certificate: &[u8]) -> Vec<Binding> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else {
        return Vec::new();
    };
    if names.len() > MAX_NAMES {
        return Vec::new();
    }
    let bindings = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Binding::dns(name.as_str()).ok(),
        GeneralName::UniformResourceIdentifier(uri) => Binding::uri(uri.as_str()).ok(),
        _ => None,
    });
    bindings.collect()
}

/// What is wrong with a certificate, where an error is about one: *a certificate …*.
pub(crate) fn reason(error: &Error) -> Option<&'static str> {
    match error {
        Error::NoCertificatesPresented => Some("is missing"),
        Error::InvalidCertificate(error) => Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has ended",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not good yet",
            CertificateError::Revoked => "is revoked",
            CertificateError::UnknownIssuer => "is of an authority that is not trusted here",
            CertificateError::UnknownRevocationStatus => "is of an authority whose list of revoked ones is not here",
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                "cannot be looked up: the list of revoked ones has ended"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "is not one for clients"
            }
            _ => "is not in order",
        }),
        _ => None,
    }
}
