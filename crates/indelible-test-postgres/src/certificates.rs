//! Certificates made at run time: good ones, and every kind of bad one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// What a test server shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCertificate {
    /// From the server's authority, for `localhost` and `127.0.0.1`.
    Good,
    /// The same, ended in 2021.
    Expired,
    /// From the authority, for `elsewhere.example`.
    WrongHost,
    /// From nobody, for the right names.
    SelfSigned,
    /// From nobody and marked as an authority, as `openssl req -x509` makes them.
    SelfSignedAuthority,
}

/// What a client shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate<'a> {
    /// From the server's authority, for this role.
    Good(&'a str),
    /// The same, ended in 2021.
    Expired(&'a str),
    /// For this role, from an authority that the server does not know.
    Foreign(&'a str),
}

/// The PEM files of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, readable by its owner alone.
    pub key: PathBuf,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority of a test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn server(&self, kind: ServerCertificate) -> Pair {
        let names: &[&str] =
            if kind == ServerCertificate::WrongHost { &["elsewhere.example"] } else { &["localhost", "127.0.0.1"] };
        let mut params = params("test server", names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        match kind {
            ServerCertificate::Good | ServerCertificate::WrongHost => self.sign(&params),
            ServerCertificate::Expired => self.sign(&ended(params)),
            ServerCertificate::SelfSigned => sign_itself(&params),
            ServerCertificate::SelfSignedAuthority => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.extended_key_usages.clear();
                sign_itself(&params)
            }
        }
    }

    pub(crate) fn client(&self, kind: ClientCertificate<'_>) -> Pair {
        let of = |role: &str| {
            let mut params = params(role, &[]);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params
        };
        match kind {
            ClientCertificate::Good(role) => self.sign(&of(role)),
            ClientCertificate::Expired(role) => self.sign(&ended(of(role))),
            ClientCertificate::Foreign(role) => Self::new("foreign authority").sign(&of(role)),
        }
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn sign_itself(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2199, 1, 1);
    params
}

fn ended(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

/// Writes a file that its owner alone can read.
pub(crate) fn write_private(path: &Path, text: &str) {
    // The mode is set before the secret is there.
    fs::write(path, "").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, text).unwrap();
}
