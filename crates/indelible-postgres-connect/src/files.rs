//! Files of certificates and keys.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use zeroize::Zeroizing;

use crate::{config::Root, error::FileError};

/// What is trusted.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) roots: RootCertStore,
    /// The same, whole: a certificate that stands here itself is trusted as it is.
    pub(crate) whole: Vec<CertificateDer<'static>>,
}

impl Trusted {
    pub(crate) fn nobody() -> Self {
        Self { roots: RootCertStore::empty(), whole: Vec::new() }
    }
}

pub(crate) fn trusted(root: &Root) -> Result<Trusted, FileError> {
    let mut trusted = Trusted::nobody();
    match root {
        Root::System => {
            trusted.roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if trusted.roots.is_empty() {
                return Err(FileError::NoSystemRoots);
            }
        }
        Root::File(path) => {
            trusted.whole = certificates(path, "root certificate", "sslrootcert")?;
            trusted.roots.add_parsable_certificates(trusted.whole.iter().cloned());
        }
    }
    Ok(trusted)
}

pub(crate) fn certificates(
    path: &Path,
    what: &'static str,
    parameter: &'static str,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes =
        std::fs::read(path).map_err(|source| FileError::Read { what, parameter, path: path.to_owned(), source })?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or_else(|| FileError::Pem { what, parameter, path: path.to_owned() })
}

/// The key is read only where it is as private as libpq wants it.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    const WHAT: &str = "client key";
    const PARAMETER: &str = "sslkey";
    let unreadable = |source| FileError::Read { what: WHAT, parameter: PARAMETER, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    check_private(&file, path).map_err(unreadable)??;
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let encrypted = String::from_utf8_lossy(&bytes)
            .lines()
            .any(|line| line.contains("BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with("Proc-Type: 4,ENCRYPTED"));
        if encrypted {
            FileError::Encrypted { path: path.to_owned() }
        } else {
            FileError::Pem { what: WHAT, parameter: PARAMETER, path: path.to_owned() }
        }
    })
}

/// The owner alone; where root is the owner, its group may read. The file that was opened is looked at, not its name.
#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> io::Result<Result<(), FileError>> {
    use std::os::unix::fs::MetadataExt as _;
    let seen = file.metadata()?;
    let mine = seen.uid() == rustix::process::geteuid().as_raw();
    let forbidden = if seen.uid() == 0 { 0o027 } else { 0o077 };
    Ok(if !mine && seen.uid() != 0 {
        Err(FileError::Owner { path: path.to_owned() })
    } else if seen.mode() & forbidden != 0 {
        Err(FileError::Readable { path: path.to_owned(), mode: seen.mode() & 0o7777 })
    } else {
        Ok(())
    })
}

#[cfg(not(unix))]
fn check_private(_: &File, _: &Path) -> io::Result<Result<(), FileError>> {
    Ok(Ok(()))
}

/// The mode of a file that others than its owner can use.
#[cfg(unix)]
pub(crate) fn mode_for_others(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    Ok(Some(mode).filter(|mode| mode & 0o077 != 0))
}

#[cfg(not(unix))]
pub(crate) fn mode_for_others(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}
