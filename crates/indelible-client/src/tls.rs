//! TLS as a client: authorities of the system or of a file, or one pinned certificate; TLS 1.3 and 1.2, by aws-lc-rs alone.
//!
//! A pin is the SHA-256 of the server's certificate. Whoever pins says which server is meant, so names and validity are not looked at; that the server holds the
//! certificate's key is proven by the handshake all the same.

use std::{path::Path, sync::Arc};

use aws_lc_rs::digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::{
    error::ClientError,
    settings::{Identity, Trust},
};

/// How TLS is spoken with a server.
///
/// # Errors
/// [`ClientError::Settings`].
pub(crate) fn config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| wrong("TLS", &error.to_string()))?;
    let builder = match trust {
        Trust::System => builder.with_root_certificates(of_system()?),
        Trust::Authorities(path) => builder.with_root_certificates(of_file(path)?),
        Trust::Pinned(pin) => {
            let verifier = Pinned { pin: *pin, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong_at(key, &error.to_string()))?;
            let shown = builder.with_client_auth_cert(chain(certificate)?, secret);
            shown.map_err(|error| wrong_at(certificate, &error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn of_system() -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let none =
        "none was found: name the server's own certificate or authority (`--ca`, `Trust::Authorities`), or pin it";
    if roots.is_empty() { Err(wrong("the certificate authorities of the system", none)) } else { Ok(roots) }
}

fn of_file(path: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| wrong_at(path, &error.to_string()))?;
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| wrong_at(path, &error.to_string()))?;
    if chain.is_empty() { Err(wrong_at(path, "it holds no certificate in PEM")) } else { Ok(chain) }
}

fn wrong(place: &str, detail: &str) -> ClientError {
    ClientError::Settings { place: place.to_owned(), detail: detail.to_owned() }
}

fn wrong_at(path: &Path, detail: &str) -> ClientError {
    wrong(&path.display().to_string(), detail)
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if digest::digest(&digest::SHA256, end_entity).as_ref() == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
