//! TLS under a PostgreSQL connection: rustls, and what was negotiated.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, ProtocolVersion, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect},
};
use tokio_rustls::TlsConnector;

use crate::{
    certificate::{ServerCertificate, end_point},
    config::{Tls, TlsVersion},
    error::FileError,
    files::{self, Trusted},
    last_words::LastWords,
    verifier::{Verified, Verifier},
};

/// What was negotiated with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSession {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite, as the IANA writes it.
    pub cipher: String,
    /// The key exchange.
    pub key_exchange: String,
    /// How far the certificate was looked at.
    pub verified: Verified,
    /// The server's certificate.
    pub certificate: Option<ServerCertificate>,
    /// Whether a client certificate was at hand to be shown.
    pub client_certificate: bool,
}

/// The TLS of one attempt to connect.
#[derive(Clone)]
pub(crate) struct Attempt {
    config: Arc<ClientConfig>,
    verified: Verified,
    client_certificate: bool,
    /// What the server showed.
    pub(crate) shown: Arc<OnceLock<CertificateDer<'static>>>,
    /// What came of it.
    pub(crate) session: Arc<OnceLock<TlsSession>>,
    /// Set as soon as the server has agreed to TLS.
    pub(crate) begun: Arc<OnceLock<()>>,
}

impl Attempt {
    /// Files are read anew for each attempt, so that renewed certificates are taken up.
    pub(crate) fn new(tls: &Tls) -> Result<Self, FileError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verified = Verified::by(tls);
        let trusted = match &tls.root {
            Some(root) if verified > Verified::Nothing => files::trusted(root)?,
            _ => Trusted::nobody(),
        };
        let shown = Arc::new(OnceLock::new());
        let verifier = Verifier { wanted: verified, trusted, provider: provider.clone(), shown: shown.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(tls.minimum))
            .map_err(|source| FileError::Provider { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &tls.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = files::certificates(certificate, "client certificate", "sslcert")?;
                let pair = |source| FileError::Pair { certificate: certificate.clone(), key: key.clone(), source };
                builder.with_client_auth_cert(chain, files::key(key)?).map_err(pair)?
            }
        };
        Ok(Self {
            config: Arc::new(config),
            verified,
            client_certificate: tls.client.is_some(),
            shown,
            session: Arc::default(),
            begun: Arc::default(),
        })
    }

    fn note_session(&self, stream: &tokio_rustls::client::TlsStream<LastWords<Socket>>) {
        let (_, connection) = stream.get_ref();
        let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let group = connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        // Only this attempt writes here, and it makes one session.
        let _ = self.session.set(TlsSession {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
                _ => TlsVersion::V1_2,
            },
            cipher: cipher.unwrap_or("unknown").to_owned(),
            key_exchange: group.unwrap_or_else(|| "unknown".to_owned()),
            verified: self.verified,
            certificate: certificate.and_then(|certificate| ServerCertificate::read(certificate)),
            client_certificate: self.client_certificate,
        });
    }
}

/// Older versions than 1.2 do not exist here.
fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    const FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    match minimum {
        TlsVersion::V1_2 => FROM_1_2,
        TlsVersion::V1_3 => FROM_1_3,
    }
}

impl MakeTlsConnect<Socket> for Attempt {
    type Stream = TlsStream;
    type TlsConnect = Connector;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connector, Self::Error> {
        // A unix socket has no name, and no TLS either.
        let name = if host.is_empty() { "localhost" } else { host };
        Ok(Connector { attempt: self.clone(), name: ServerName::try_from(name.to_owned())? })
    }
}

/// One handshake.
pub(crate) struct Connector {
    attempt: Attempt,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Connector {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let _ = self.attempt.begun.set(());
        Box::pin(async move {
            let connector = TlsConnector::from(self.attempt.config.clone());
            let stream = connector.connect(self.name, LastWords(socket)).await?;
            self.attempt.note_session(&stream);
            Ok(TlsStream(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub struct TlsStream(Box<tokio_rustls::client::TlsStream<LastWords<Socket>>>);

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, connection) = self.0.get_ref();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        certificate
            .and_then(|certificate| end_point(certificate))
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
