//! `keys import`, `keys export-public`: keys from elsewhere, and what others get.

use std::{fs, io::Read as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::hex;
use indelible_keys::{
    Algorithm, Import, ImportAs, KeyAlgorithm, KeyError, KeyInfo, KeyRing, Purpose, State,
    public::{PrivateKey, PublicKey},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::change::{algorithm, periods, tell};
use crate::{
    cli::{ExportPublicArgs, ImportKeyArgs, PublicForm},
    failure::Failure,
    output,
    places::{Places, now},
};

/// The longest file that is read as a secret; a private key is never so long.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Takes a key in.
pub(crate) fn import(places: &Places, json: bool, args: &ImportKeyArgs) -> Result<(), Failure> {
    let purpose = Purpose::from(args.purpose);
    let wanted = args.algorithm.as_deref().map(|name| algorithm(purpose, Some(name))).transpose()?;
    let periods = periods(purpose, args.period)?;
    let ring = places.ring()?;
    let bytes = read(&args.file)?;
    let (algorithm, secret) = match (purpose, wanted) {
        (Purpose::CheckpointSigning, None) if is_document(&bytes) => private(&bytes, None)?,
        (Purpose::CheckpointSigning, Some(KeyAlgorithm::Checkpoint(wanted))) if is_document(&bytes) => {
            private(&bytes, Some(wanted))?
        }
        (_, Some(wanted)) => (wanted, plain(&bytes)),
        (_, None) => (algorithm(purpose, None)?, plain(&bytes)),
    };
    let role = if args.verify_only { ImportAs::VerifyOnly } else { ImportAs::PreActive };
    let import = Import { purpose, algorithm, secret, version: args.version, role };
    tell(&ring.import(&import, &periods, now())?, json)
}

/// PEM, or a DER sequence that is longer than any plain secret.
fn is_document(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|at| at == b"-----BEGIN ")
        || (bytes.len() > 33 && bytes.first() == Some(&0x30) && plain(bytes).len() != 32)
}

fn private(bytes: &[u8], wanted: Option<Algorithm>) -> Result<(KeyAlgorithm, Zeroizing<Vec<u8>>), Failure> {
    let key = PrivateKey::read(bytes, wanted)?;
    Ok((KeyAlgorithm::Checkpoint(key.algorithm()), Zeroizing::new(key.secret().to_vec())))
}

/// 32 bytes, or what the digits say.
fn plain(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let digits = hex::decode::<32>(bytes.trim_ascii()).map(Zeroizing::new);
    Zeroizing::new(digits.map_or_else(|| bytes.to_vec(), |digits| digits.to_vec()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |source| Failure::io("read", path)(source);
    let file = fs::File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let place = path.display();
            return Err(Failure::text(format!(
                "the key file `{place}` can be read by others (mode {mode:04o}): take that away with `chmod 600`"
            )));
        }
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_SECRET_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Prints a public key.
pub(crate) fn export_public(places: &Places, json: bool, args: &ExportPublicArgs) -> Result<(), Failure> {
    let overview = KeyRing::overview(&places.keys()?)?;
    let key = find(&overview.keys, args.id.as_deref())?;
    let (KeyAlgorithm::Checkpoint(algorithm), Some(material)) = (key.algorithm, &key.public) else {
        let text = format!("key `{}` has no public half: keys for {} are secret alone", key.id, key.purpose);
        return Err(Failure::text(text));
    };
    let public = PublicKey::new(algorithm, material)?;
    let text = match args.format {
        PublicForm::Vkey => public.to_vkey(args.origin.as_deref().unwrap_or_default())?.to_string(),
        PublicForm::Pem => public.to_pem(),
        PublicForm::Jwk => public.to_jwk(),
        PublicForm::Der if json => STANDARD.encode(public.to_der()),
        PublicForm::Der => return output::data(&public.to_der()),
    };
    if json {
        return output::json(&json!({ "algorithm": algorithm.name(), "id": key.id, "public_key": text }));
    }
    output::text(text.trim_end())
}

/// A key by its id, or the active Ed25519 key, which every ring has.
fn find<'a>(keys: &'a [KeyInfo], id: Option<&str>) -> Result<&'a KeyInfo, Failure> {
    let usual = KeyAlgorithm::Checkpoint(Algorithm::Ed25519);
    let found = keys.iter().find(|key| match id {
        Some(id) => key.id == id,
        None => key.state == State::Active && key.algorithm == usual,
    });
    Ok(found.ok_or_else(|| KeyError::Unknown { id: id.unwrap_or_default().to_owned() })?)
}
