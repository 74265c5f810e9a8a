//! TLS: a certificate that is given, or a self-signed one that is made beside the keys when there is none.
//!
//! A self-signed certificate is `tls/server.crt`, its key `tls/server.key` (mode 0600), both in the keys directory; clients take the first as the authority that they trust,
//! or compare its fingerprint. The key is written before the certificate: a crash leaves a key alone, and the pair is made anew.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use indelible_core::hex;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::{
    config::{Tls, Version},
    error::ServerError,
};

/// What a server shows.
pub struct Identity {
    /// How TLS is spoken.
    pub config: Arc<ServerConfig>,
    /// Where the certificate is.
    pub certificate: PathBuf,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// Whether it was made here.
    pub self_signed: bool,
}

/// Reads the certificate that is named, or the self-signed one, which is made where there is none.
///
/// # Errors
/// [`ServerError::Certificate`], [`ServerError::Io`].
pub fn load(tls: &Tls, keys: &Path, listen: SocketAddr) -> Result<Identity, ServerError> {
    let (certificate, key, self_signed) = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone(), false),
        _ => {
            let dir = keys.join("tls");
            let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
            if !certificate.exists() {
                make(&dir, &certificate, &key, &tls.names, listen)?;
            }
            (certificate, key, true)
        }
    };
    let (config, fingerprint) = read(&certificate, &key, tls.min_version)?;
    Ok(Identity { config: Arc::new(config), certificate, fingerprint, self_signed })
}

fn read(certificate: &Path, key: &Path, min: Version) -> Result<(ServerConfig, String), ServerError> {
    let wrong = |place: &Path, detail: String| ServerError::Certificate { place: place.display().to_string(), detail };
    let of_pem = |error: rustls::pki_types::pem::Error| error.to_string();
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(|error| wrong(certificate, of_pem(error)))?.collect();
    let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| wrong(certificate, of_pem(error)))?;
    let first = chain.first().ok_or_else(|| wrong(certificate, "it holds no certificate".to_owned()))?;
    let fingerprint = hex::encode(digest::digest(&digest::SHA256, first).as_ref());
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, of_pem(error)))?;
    let versions: &[_] = match min {
        Version::Tls12 => &[&TLS13, &TLS12],
        Version::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| wrong(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, fingerprint))
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
