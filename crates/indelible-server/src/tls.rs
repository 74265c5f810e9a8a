//! TLS: a certificate that is given, or a self-signed one that is made beside the keys when there is none.
//!
//! A self-signed certificate is `tls/server.crt`, its key `tls/server.key` (mode 0600), both in the keys directory; clients take the first as the authority that they trust,
//! or compare its fingerprint. The key is written before the certificate: a crash leaves a key alone, and the pair is made anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{self, Context};
use indelible_core::hex;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use x509_cert::{Certificate, der::Decode as _};
use zeroize::Zeroizing;

use crate::{
    clients::Trust,
    config::{Tls, Version},
    error::ServerError,
};

/// The largest file of certificates, keys or revocations that is read.
const MAX_PEM_BYTES: u64 = 4 << 20;
/// What is offered for the protocol above TLS, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server shows, and whom it believes.
pub struct Identity {
    /// How TLS is spoken.
    pub config: Arc<ServerConfig>,
    /// Where the certificate is.
    pub certificate: PathBuf,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// Until when it is good, in seconds since 1970; `None` where that cannot be read from it.
    pub not_after: Option<u64>,
    /// Whether it was made here.
    pub self_signed: bool,
    /// Whose certificates clients may show; `None` where they are not asked for one.
    pub trust: Option<Arc<Trust>>,
}

/// Reads the certificate that is named, or the self-signed one, which is made where there is none.
///
/// # Errors
/// [`ServerError::Certificate`], [`ServerError::Io`].
pub fn load(tls: &Tls, keys: &Path, listen: SocketAddr) -> Result<Identity, ServerError> {
    let sources = Sources::find(tls, keys, listen)?;
    sources.read()?.identity(&sources)
}

/// Looks whether the files that are named can be used; makes none.
///
/// # Errors
/// [`ServerError::Certificate`]: which cannot, and why.
pub fn check(tls: &Tls) -> Result<(), ServerError> {
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        let (certificate, key) = (certificate.clone(), key.clone());
        let sources = Sources { certificate, key, self_signed: false, tls: tls.clone() };
        return sources.read()?.identity(&sources).map(drop);
    }
    let maybe = |path: &Option<PathBuf>| path.as_deref().map(read_file).transpose();
    trust(tls, maybe(&tls.client_ca)?.as_ref(), maybe(&tls.client_crl)?.as_ref()).map(drop)
}

type Bytes = Zeroizing<Vec<u8>>;

/// Whose certificates are believed, where any are.
fn trust(tls: &Tls, roots: Option<&Bytes>, lists: Option<&Bytes>) -> Result<Option<Arc<Trust>>, ServerError> {
    let (Some(place), Some(roots)) = (&tls.client_ca, roots) else { return Ok(None) };
    let lists = tls.client_crl.as_deref().zip(lists.map(|bytes| bytes.as_slice()));
    let trust = Trust::new((place.as_path(), roots.as_slice()), lists, tls.client_certificates)?;
    Ok(Some(Arc::new(trust)))
}

/// The files that TLS is made of.
pub(crate) struct Sources {
    certificate: PathBuf,
    key: PathBuf,
    self_signed: bool,
    tls: Tls,
}

impl Sources {
    /// Those that are named; a self-signed pair is made where none is.
    pub(crate) fn find(tls: &Tls, keys: &Path, listen: SocketAddr) -> Result<Self, ServerError> {
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Ok(Self { certificate, key, self_signed: false, tls: tls.clone() });
        }
        let dir = keys.join("tls");
        let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
        if !certificate.exists() {
            make(&dir, &certificate, &key, &tls.names, listen)?;
        }
        Ok(Self { certificate, key, self_signed: true, tls: tls.clone() })
    }

    /// What is in the files now. Files that replace each other are not read in one moment: whether they belong together is seen when they are used.
    pub(crate) fn read(&self) -> Result<Material, ServerError> {
        let maybe = |path: &Option<PathBuf>| path.as_deref().map(read_file).transpose();
        Ok(Material {
            certificate: read_file(&self.certificate)?,
            key: read_file(&self.key)?,
            client_ca: maybe(&self.tls.client_ca)?,
            client_crl: maybe(&self.tls.client_crl)?,
        })
    }
}

/// The bytes of the files.
pub(crate) struct Material {
    certificate: Bytes,
    key: Bytes,
    client_ca: Option<Bytes>,
    client_crl: Option<Bytes>,
}

impl Material {
    /// SHA-256 of all of it, to see that something changed.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&digest::SHA256);
        for bytes in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref(), self.client_crl.as_ref()] {
            let bytes = bytes.map(|bytes| bytes.as_slice()).unwrap_or_default();
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        context.finish().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// What they make together.
    pub(crate) fn identity(&self, sources: &Sources) -> Result<Identity, ServerError> {
        let of_pem = |error: rustls::pki_types::pem::Error| error.to_string();
        let (certificate, tls) = (&sources.certificate, &sources.tls);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| wrong(certificate, of_pem(error)))?;
        let first = chain.first().ok_or_else(|| wrong(certificate, "it holds no certificate"))?;
        let fingerprint = hex::encode(digest::digest(&digest::SHA256, first).as_ref());
        let not_after = not_after(first);
        let secret = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| wrong(&sources.key, of_pem(error)))?;
        let trust = trust(tls, self.client_ca.as_ref(), self.client_crl.as_ref())?;
        let config = server_config(chain, secret, trust.as_deref(), tls.min_version)
            .map_err(|error| wrong(certificate, error.to_string()))?;
        let (certificate, self_signed) = (certificate.clone(), sources.self_signed);
        Ok(Identity { config: Arc::new(config), certificate, fingerprint, not_after, self_signed, trust })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    secret: PrivateKeyDer<'static>,
    trust: Option<&Trust>,
    min: Version,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = match min {
        Version::Tls12 => &[&TLS13, &TLS12],
        Version::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions)?;
    let mut config = match trust {
        None => builder.with_no_client_auth().with_single_cert(chain, secret)?,
        Some(trust) => builder.with_client_cert_verifier(trust.verifier()).with_single_cert(chain, secret)?,
    };
    if trust.is_some() {
        // INVARIANT(fresh): a client's certificate is verified in every handshake; a resumed session would carry an old verdict on.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// Until when a certificate is good.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

pub(crate) fn wrong(place: &Path, detail: impl Into<String>) -> ServerError {
    ServerError::Certificate { place: place.display().to_string(), detail: detail.into() }
}

fn read_file(path: &Path) -> Result<Bytes, ServerError> {
    let failed = |error: std::io::Error| wrong(path, error.to_string());
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(wrong(path, format!("it has more than {MAX_PEM_BYTES} bytes, which no such file needs")));
    }
    Ok(bytes)
}

fn make(dir: &Path, certificate: &Path, key: &Path, names: &[String], listen: SocketAddr) -> Result<(), ServerError> {
    let wrong = |error: rcgen::Error| ServerError::Certificate {
        place: certificate.display().to_string(),
        detail: error.to_string(),
    };
    fs::create_dir_all(dir).map_err(ServerError::io("create", dir.display()))?;
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.ip().is_unspecified() {
        all.push(listen.ip().to_string());
    }
    all.extend(names.iter().cloned());
    all.dedup();
    let mut params = CertificateParams::new(all).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Indelible server, self-signed");
    let pair = KeyPair::generate().map_err(wrong)?;
    let signed = params.self_signed(&pair).map_err(wrong)?;
    write_new(key, pair.serialize_pem().as_bytes(), 0o600)?;
    write_new(certificate, signed.pem().as_bytes(), 0o644)
}

/// Writes a file whole, in the place of what a crash left of one.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ServerError> {
    let failed = ServerError::io("write", path.display());
    let write = || {
        let temporary = path.with_extension("tmp");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(&Tls::default(), dir.path(), listen()).unwrap();
        let again = load(&Tls::default(), dir.path(), listen()).unwrap();
        assert!(first.self_signed && first.fingerprint == again.fingerprint);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join("tls/server.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_that_a_crash_left_alone_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tls")).unwrap();
        fs::write(dir.path().join("tls/server.key"), "torn").unwrap();
        load(&Tls::default(), dir.path(), listen()).unwrap();
    }

    #[test]
    fn what_is_no_certificate_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let made = load(&Tls::default(), dir.path(), listen()).unwrap();
        let other = tempfile::tempdir().unwrap();
        load(&Tls::default(), other.path(), listen()).unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "no certificate").unwrap();
        let rows = [
            (text.clone(), dir.path().join("tls/server.key"), "text"),
            (made.certificate.clone(), text, "text"),
            (made.certificate.clone(), other.path().join("tls/server.key"), "server.crt"),
            (dir.path().join("none"), dir.path().join("none"), "none"),
        ];
        for (certificate, key, word) in rows {
            let tls = Tls { certificate: Some(certificate), key: Some(key), ..Tls::default() };
            let error = load(&tls, dir.path(), listen()).err().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
