//! Certificates that are made for a test, and clients over TLS.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;

use crate::world::{Reply, World, reply};

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) serial: u64,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for clients with these names; what begins with `spiffe:` is a URI.
    pub(crate) fn client(&self, serial: u64, names: &[&str]) -> Pair {
        self.issue(serial, names, ExtendedKeyUsagePurpose::ClientAuth, SystemTime::now() + DAY)
    }

    pub(crate) fn issue(
        &self,
        serial: u64,
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        until: SystemTime,
    ) -> Pair {
        let name = |name: &&str| match name.strip_prefix("spiffe:") {
            Some(_) => SanType::URI((*name).try_into().unwrap()),
            None => SanType::DnsName((*name).try_into().unwrap()),
        };
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(name).collect();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![purpose];
        params.not_before = (SystemTime::now() - 2 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem(), serial }
    }

    /// A list of these as revoked.
    pub(crate) fn revoking(&self, serials: &[u64], until: SystemTime) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - 2 * DAY).into(),
            next_update: until.into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Pair {
    /// For a server at a loopback address.
    pub(crate) fn server() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem(), serial: 0 }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn sha256(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der());
        indelible_core::hex::encode(digest.as_ref())
    }

    /// Puts it in place of what is there.
    pub(crate) fn write(&self, certificate: &Path, key: &Path) {
        put(key, &self.key);
        put(certificate, &self.certificate);
    }
}

/// Replaces a file whole.
pub(crate) fn put(path: &Path, text: &str) -> PathBuf {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
    path.to_owned()
}

/// A connection over TLS.
pub(crate) struct Secure {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// A connection that trusts the server's certificate as it is in its file now, with these protocols above it.
pub(crate) fn connected(
    world: &World,
    client: Option<&Pair>,
    protocols: &[&str],
) -> StreamOwned<ClientConnection, TcpStream> {
    let config = client_config(world, client, protocols);
    let connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(world.address).unwrap();
    // Only a test that would otherwise hang meets it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    StreamOwned::new(connection, stream)
}

pub(crate) fn client_config(world: &World, client: Option<&Pair>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.certificate.as_ref().unwrap()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![pair.der()], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

impl Secure {
    pub(crate) fn connect(world: &World, client: Option<&Pair>) -> Self {
        Self { stream: BufReader::new(connected(world, client, &["http/1.1"])) }
    }

    /// The answer; `None` where the connection ended without one, as where the handshake was refused.
    pub(crate) fn maybe(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Reply> {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\n{token}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        reply(&mut self.stream, method == "HEAD")
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        self.maybe(method, path, token, body).expect("an answer")
    }

    /// The certificate that the server has shown.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.stream.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
    }
}
