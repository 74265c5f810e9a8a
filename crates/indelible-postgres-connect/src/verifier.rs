//! Which server certificates each mode takes.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{Certificate, der::Decode as _};

use crate::{
    config::{SslMode, Tls},
    files::Trusted,
};

/// How far a server's certificate was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verified {
    /// Not at all: encrypted, with whoever answered.
    Nothing,
    /// It is from the given authority.
    Authority,
    /// And for the host's name.
    AuthorityAndHost,
}

impl Verified {
    /// What a configuration asks for.
    pub(crate) fn by(tls: &Tls) -> Self {
        match tls.mode {
            SslMode::VerifyFull => Self::AuthorityAndHost,
            SslMode::VerifyCa => Self::Authority,
            // As libpq has it, for those who rely on it.
            SslMode::Require if tls.root.is_some() => Self::Authority,
            _ => Self::Nothing,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) wanted: Verified,
    pub(crate) trusted: Trusted,
    pub(crate) provider: Arc<CryptoProvider>,
    /// What the server showed, for the message where it is refused.
    pub(crate) shown: Arc<OnceLock<CertificateDer<'static>>>,
}

impl Verifier {
    fn verify_authority(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.whole.iter().any(|known| known == shown) {
            return verify_time(shown, now);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(shown)?,
            &self.trusted.roots,
            between,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // One handshake shows one certificate.
        let _ = self.shown.set(shown.clone().into_owned());
        if self.wanted >= Verified::Authority {
            self.verify_authority(shown, between, now)?;
        }
        if self.wanted >= Verified::AuthorityAndHost {
            verify_server_name(&ParsedCertificate::try_from(shown)?, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that is trusted itself must still be of this time.
fn verify_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
