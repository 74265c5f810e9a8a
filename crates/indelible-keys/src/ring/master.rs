//! The master key: where it is had from, and how it wraps the secrets of a ring (`docs/format.md` section 3).
//!
//! Each secret is wrapped by AES-256-GCM with the key's id, purpose, algorithm and version as associated data, so that one key's
//! ciphertext does not serve for another. An empty text wrapped under a label of its own recognises the master key before any secret is
//! looked at: so a wrong master key and an exchanged ciphertext are told apart. The master key itself is in memory only.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use argon2::{Algorithm as Argon2Kind, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::mac::push_prefixed;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    disk,
    key::{KeyInfo, Secret},
};
use crate::KeyError;

/// The variable with the master key, in hexadecimal or base64.
pub const MASTER_KEY_VARIABLE: &str = "INDELIBLE_MASTER_KEY";
/// The variable that names the file with the master key.
pub const MASTER_KEY_FILE_VARIABLE: &str = "INDELIBLE_MASTER_KEY_FILE";
/// The variable with the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "INDELIBLE_PASSPHRASE";

/// Argon2id as RFC 9106 recommends it where memory is short: 64 MiB, three passes, four lanes.
const ARGON2_USUAL: Argon2Cost = Argon2Cost { m_kib: 64 * 1024, t: 3, p: 4 };
/// What a ring may ask for: a changed file is not to use up the memory or the day of whoever reads it.
const ARGON2_MOST: Argon2Cost = Argon2Cost { m_kib: 1024 * 1024, t: 64, p: 16 };
/// Bytes of the salt, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;
/// A key file is 32 bytes or 64 digits; what is longer than this is another file.
const MAX_KEY_FILE_BYTES: u16 = 4096;

#[derive(Clone, Copy)]
struct Argon2Cost {
    m_kib: u32,
    t: u32,
    p: u32,
}

/// Where a master key is had from.
#[derive(Clone, Default)]
pub enum MasterSource {
    /// From the environment: `INDELIBLE_MASTER_KEY`, the file that `INDELIBLE_MASTER_KEY_FILE` names, or `INDELIBLE_PASSPHRASE`. Where none of
    /// them is set, there is none.
    #[default]
    Environment,
    /// From a file that nobody else can read: 32 bytes, or 64 hexadecimal digits.
    File(PathBuf),
    /// From a passphrase.
    Passphrase(Arc<Zeroizing<String>>),
    /// Given as 64 hexadecimal digits or in base64, by whoever had it from elsewhere; a ring that is wrapped under it says that it is had from
    /// the environment.
    Text(Arc<Zeroizing<String>>),
}

impl MasterSource {
    /// From a passphrase.
    #[must_use]
    pub fn passphrase(text: String) -> Self {
        Self::Passphrase(Arc::new(Zeroizing::new(text)))
    }

    /// From 64 hexadecimal digits, or 32 bytes in base64.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self::Text(Arc::new(Zeroizing::new(text)))
    }

    /// Whether somebody named it, and it was not only looked for.
    pub(crate) fn is_explicit(&self) -> bool {
        !matches!(self, Self::Environment)
    }

    /// Whether there is one at all.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.is_explicit() || of_environment(&variable).is_some()
    }
}

impl fmt::Display for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment"),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Passphrase(_) => f.write_str("the passphrase"),
            Self::Text(_) => f.write_str("what was given"),
        }
    }
}

impl fmt::Debug for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterSource({self})")
    }
}

/// How a ring's master key is had, as the ring says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKind {
    /// From a file.
    File,
    /// From the environment.
    Environment,
    /// From a passphrase, by Argon2id.
    Passphrase,
}

impl MasterKind {
    /// The name that rings carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Environment => "environment",
            Self::Passphrase => "passphrase",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::File, Self::Environment, Self::Passphrase].into_iter().find(|kind| kind.name() == name)
    }

    const fn described(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Environment => "the environment",
            Self::Passphrase => "a passphrase",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::File => "name it with --master-key-file or INDELIBLE_MASTER_KEY_FILE",
            Self::Environment => "set INDELIBLE_MASTER_KEY",
            Self::Passphrase => "set INDELIBLE_PASSPHRASE, or run this on a terminal, which asks for it",
        }
    }
}

type Variables<'a> = &'a dyn Fn(&'static str) -> Option<OsString>;

fn variable(name: &'static str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// What of the environment is a master key: the first that is set.
fn of_environment(variables: Variables<'_>) -> Option<&'static str> {
    [MASTER_KEY_VARIABLE, MASTER_KEY_FILE_VARIABLE, PASSPHRASE_VARIABLE]
        .into_iter()
        .find(|name| variables(name).is_some())
}

/// What stands in a ring of its master key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MasterForm {
    check: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m_kib: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<u32>,
}

impl MasterForm {
    /// Where the ring says that its master key is had from.
    pub(crate) fn kind(&self) -> Option<MasterKind> {
        MasterKind::parse(&self.source)
    }

    /// What the passphrase is stretched with; `None` where the members are not those of a passphrase's, or ask for too much.
    fn argon2(&self) -> Option<(Argon2Cost, Vec<u8>)> {
        let cost = Argon2Cost { m_kib: self.m_kib?, t: self.t?, p: self.p? };
        let salt = STANDARD.decode(self.salt.as_ref()?).ok().filter(|salt| salt.len() >= 8 && salt.len() <= 64)?;
        let most = ARGON2_MOST;
        (cost.m_kib <= most.m_kib && cost.t <= most.t && cost.p <= most.p).then_some((cost, salt))
    }

    /// Whether all members are there that the source asks for, and no others.
    pub(crate) fn is_whole(&self) -> bool {
        let any = self.m_kib.is_some() || self.p.is_some() || self.salt.is_some() || self.t.is_some();
        match self.kind() {
            Some(MasterKind::Passphrase) => self.argon2().is_some(),
            Some(_) => !any,
            None => false,
        }
    }
}

/// A master key at work.
#[derive(Clone)]
pub(crate) struct Master {
    key: Zeroizing<[u8; 32]>,
    form: MasterForm,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("source", &self.form.source).finish_non_exhaustive()
    }
}

impl Master {
    /// A master key for a ring that is to be wrapped; `None` where the environment has none.
    pub(crate) fn new(source: &MasterSource) -> Result<Option<Self>, KeyError> {
        Self::new_by(source, &variable)
    }

    /// The same where there has to be one.
    pub(crate) fn new_or_none_given(source: &MasterSource) -> Result<Self, KeyError> {
        let missing = "there is none: set INDELIBLE_MASTER_KEY, INDELIBLE_MASTER_KEY_FILE or INDELIBLE_PASSPHRASE";
        Self::new(source)?.ok_or_else(|| unusable(&source.to_string(), missing))
    }

    fn new_by(source: &MasterSource, variables: Variables<'_>) -> Result<Option<Self>, KeyError> {
        let (kind, given) = match source {
            MasterSource::Environment => match of_environment(variables) {
                None => return Ok(None),
                Some(MASTER_KEY_VARIABLE) => (MasterKind::Environment, MASTER_KEY_VARIABLE.to_owned()),
                Some(MASTER_KEY_FILE_VARIABLE) => (MasterKind::File, MASTER_KEY_FILE_VARIABLE.to_owned()),
                Some(_) => (MasterKind::Passphrase, PASSPHRASE_VARIABLE.to_owned()),
            },
            MasterSource::File(_) => (MasterKind::File, source.to_string()),
            MasterSource::Passphrase(_) => (MasterKind::Passphrase, source.to_string()),
            MasterSource::Text(_) => (MasterKind::Environment, source.to_string()),
        };
        let (check, kind_name) = (String::new(), kind.name().to_owned());
        let mut form = MasterForm { check, m_kib: None, p: None, salt: None, source: kind_name, t: None };
        if kind == MasterKind::Passphrase {
            let mut salt = [0; SALT_BYTES];
            rand::rng().fill_bytes(&mut salt);
            let cost = ARGON2_USUAL;
            (form.m_kib, form.t, form.p) = (Some(cost.m_kib), Some(cost.t), Some(cost.p));
            form.salt = Some(STANDARD.encode(salt));
        }
        let Some(key) = find(source, &form, variables)? else { return Ok(None) };
        let sealed = seal(&key, &master_label(), &[]).ok_or_else(|| unusable(&given, "it cannot encrypt"))?;
        form.check = STANDARD.encode(sealed);
        Ok(Some(Self { key, form }))
    }

    /// The master key of a ring that is wrapped.
    pub(crate) fn of(form: &MasterForm, source: &MasterSource, place: &Path) -> Result<Self, KeyError> {
        Self::of_by(form, source, place, &variable)
    }

    fn of_by(
        form: &MasterForm,
        source: &MasterSource,
        place: &Path,
        variables: Variables<'_>,
    ) -> Result<Self, KeyError> {
        let kind = form.kind().unwrap_or(MasterKind::File);
        let Some(key) = find(source, form, variables)? else {
            let given = if source.is_explicit() { format!("{source} is none") } else { "none was given".to_owned() };
            return Err(KeyError::MasterMissing {
                place: place.display().to_string(),
                source_name: kind.described(),
                given,
                remedy: kind.remedy(),
            });
        };
        let master = Self { key, form: form.clone() };
        if master.fits(form) {
            return Ok(master);
        }
        Err(KeyError::MasterWrong { place: place.display().to_string(), given: source.to_string() })
    }

    /// Whether this is the master key of a ring that says this of its own.
    pub(crate) fn fits(&self, form: &MasterForm) -> bool {
        let sealed = STANDARD.decode(&form.check).ok();
        sealed.and_then(|sealed| open(&self.key, &master_label(), &sealed)).is_some_and(|text| text.is_empty())
    }

    /// The same key under what another ring says of it.
    pub(crate) fn under(&self, form: &MasterForm) -> Option<Self> {
        self.fits(form).then(|| Self { key: self.key.clone(), form: form.clone() })
    }

    pub(crate) fn form(&self) -> &MasterForm {
        &self.form
    }

    /// The wrapped secret of a key, as it stands in the ring.
    pub(crate) fn wrap(&self, info: &KeyInfo, secret: &[u8]) -> Result<String, KeyError> {
        let sealed = seal(&self.key, &secret_label(info), secret);
        let sealed = sealed.ok_or_else(|| KeyError::Invalid { what: format!("the master key, for `{}`,", info.id) })?;
        Ok(STANDARD.encode(sealed))
    }

    /// The secret of a key; `None` where this is not what was wrapped for it.
    pub(crate) fn unwrap(&self, info: &KeyInfo, wrapped: &str) -> Option<Secret> {
        open(&self.key, &secret_label(info), &STANDARD.decode(wrapped).ok()?)
    }
}

/// The key that a source has for a ring; `None` where it has none of that kind.
fn find(
    source: &MasterSource,
    form: &MasterForm,
    variables: Variables<'_>,
) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
    let kind = form.kind();
    match source {
        MasterSource::Passphrase(text) if kind == Some(MasterKind::Passphrase) => {
            stretch(text, form, &source.to_string()).map(Some)
        }
        MasterSource::Passphrase(_) => Ok(None),
        MasterSource::File(_) | MasterSource::Text(_) if kind == Some(MasterKind::Passphrase) => Ok(None),
        MasterSource::File(path) => read_key_file(path).map(Some),
        MasterSource::Text(text) => read_key_text(text.as_bytes(), &source.to_string()).map(Some),
        MasterSource::Environment if kind == Some(MasterKind::Passphrase) => {
            let Some(text) = variables(PASSPHRASE_VARIABLE) else { return Ok(None) };
            let text = Zeroizing::new(text.into_encoded_bytes());
            let text = std::str::from_utf8(&text).map_err(|_| unusable(PASSPHRASE_VARIABLE, "it is not UTF-8"))?;
            stretch(text, form, PASSPHRASE_VARIABLE).map(Some)
        }
        // File or variable: the key is the same, wherever it stands.
        MasterSource::Environment => match (variables(MASTER_KEY_VARIABLE), variables(MASTER_KEY_FILE_VARIABLE)) {
            (Some(text), _) => read_key_text(&Zeroizing::new(text.into_encoded_bytes()), MASTER_KEY_VARIABLE).map(Some),
            (None, Some(path)) => read_key_file(Path::new(&path)).map(Some),
            (None, None) => Ok(None),
        },
    }
}

fn stretch(passphrase: &str, form: &MasterForm, given: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    if passphrase.is_empty() {
        return Err(unusable(given, "it is empty; choose a long one"));
    }
    let unusable = |_| unusable(given, "the ring's numbers for Argon2id are out of range");
    let (cost, salt) = form.argon2().ok_or(()).map_err(unusable)?;
    let params = Params::new(cost.m_kib, cost.t, cost.p, Some(32)).map_err(drop).map_err(unusable)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Argon2Kind::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut())
        .map_err(drop)
        .map_err(unusable)?;
    Ok(key)
}

fn read_key_file(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let given = format!("`{}`", path.display());
    let io = |error: io::Error| unusable(&given, &format!("it cannot be read ({error})"));
    let file = fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if let Some(mode) = disk::exposed(&meta) {
        let detail = format!("others can read it (mode {mode:04o}): take that away with `chmod 600`");
        return Err(unusable(&given, &detail));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_BYTES.into()));
    file.take(MAX_KEY_FILE_BYTES.into()).read_to_end(&mut bytes).map_err(io)?;
    let text = bytes.trim_ascii();
    let key = bytes.as_array().copied().map(Zeroizing::new).or_else(|| key_of_hex(text));
    key.ok_or_else(|| unusable(&given, "it holds neither 32 bytes nor 64 hexadecimal digits (`openssl rand -hex 32`)"))
}

fn read_key_text(text: &[u8], given: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = text.trim_ascii();
    let of_base64 = || {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        bytes.as_array().copied().map(Zeroizing::new)
    };
    key_of_hex(text).or_else(of_base64).ok_or_else(|| {
        let detail = "it is neither 64 hexadecimal digits (`openssl rand -hex 32`) nor 32 bytes in base64";
        unusable(given, detail)
    })
}

fn key_of_hex(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    indelible_core::hex::decode(&lower).map(Zeroizing::new)
}

fn unusable(given: &str, detail: &str) -> KeyError {
    KeyError::MasterUnusable { given: given.to_owned(), detail: detail.to_owned() }
}

fn master_label() -> Vec<u8> {
    let mut label = Vec::new();
    push_prefixed(&mut label, b"indelible/v1/ring-master");
    label
}

fn secret_label(info: &KeyInfo) -> Vec<u8> {
    let mut label = Vec::new();
    let version = info.version.to_string();
    for part in ["indelible/v1/ring-secret", &info.id, info.purpose.name(), info.algorithm.name(), &version] {
        push_prefixed(&mut label, part.as_bytes());
    }
    label
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

/// `nonce ‖ ciphertext ‖ tag`. The nonce is random: a ring is written some thousand times in its life, far from 2^32.
fn seal(key: &[u8; 32], label: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rand::rng().fill_bytes(&mut nonce);
    let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len()));
    sealed.extend_from_slice(text);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label), &mut sealed)
        .ok()?;
    Some([nonce.as_slice(), &sealed, tag.as_ref()].concat())
}

fn open(key: &[u8; 32], label: &[u8], sealed: &[u8]) -> Option<Secret> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let len = cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(label), &mut text).ok()?.len();
    text.truncate(len);
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn with<'a>(values: &'a HashMap<&'static str, &'a str>) -> impl Fn(&'static str) -> Option<OsString> + 'a {
        |name| values.get(name).map(OsString::from)
    }

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    #[test]
    fn a_master_key_is_read_from_hexadecimal_base64_and_raw_bytes() {
        let key = key_of_hex(HEX.as_bytes()).unwrap();
        let base64 = STANDARD.encode(key.as_ref());
        for text in [HEX.to_owned(), format!("{HEX}\n"), base64] {
            assert_eq!(*read_key_text(text.as_bytes(), "x").unwrap(), *key, "{text}");
        }
        for text in ["", "00", "x", &HEX[..62], &format!("{HEX}00")] {
            let error = read_key_text(text.as_bytes(), "x").unwrap_err();
            assert!(matches!(error, KeyError::MasterUnusable { .. }), "{text}: {error}");
            assert!(!error.to_string().contains("0011"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master");
        for bytes in [HEX.as_bytes(), key.as_ref(), format!(" {HEX}\n").as_bytes()] {
            write_private(&path, bytes);
            assert_eq!(*read_key_file(&path).unwrap(), *key);
        }
        for bytes in [&b""[..], &[7; 31], &[7; 33]] {
            write_private(&path, bytes);
            assert!(read_key_file(&path).unwrap_err().to_string().contains("neither 32 bytes"));
        }
        fs::remove_file(&path).unwrap();
        assert!(read_key_file(&path).unwrap_err().to_string().contains("cannot be read"));
    }

    fn write_private(path: &Path, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master");
        write_private(&path, &[7; 32]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_key_file(&path).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn the_environment_gives_what_the_ring_asks_for() {
        let key = HashMap::from([(MASTER_KEY_VARIABLE, HEX)]);
        let other = HashMap::from([(MASTER_KEY_VARIABLE, &HEX[1..]), (PASSPHRASE_VARIABLE, "correct horse")]);
        let none = HashMap::new();
        let place = Path::new("/keys/ring.json");
        let master = Master::new_by(&MasterSource::Environment, &with(&key)).unwrap().unwrap();
        assert_eq!(master.form.kind(), Some(MasterKind::Environment));
        assert!(master.form.is_whole());
        let of = |values| Master::of_by(&master.form, &MasterSource::Environment, place, &with(values));
        assert_eq!(*of(&key).unwrap().key, *master.key);
        assert!(matches!(of(&other), Err(KeyError::MasterUnusable { .. })));
        assert!(matches!(of(&none), Err(KeyError::MasterMissing { .. })));
        let wrong = HEX.replace("00", "01");
        let wrong = HashMap::from([(MASTER_KEY_VARIABLE, wrong.as_str())]);
        assert!(matches!(of(&wrong), Err(KeyError::MasterWrong { .. })));
        assert!(Master::new_by(&MasterSource::Environment, &with(&none)).unwrap().is_none());
    }

    #[test]
    fn a_passphrase_is_stretched_by_argon2id() {
        let source = MasterSource::passphrase("correct horse battery staple".to_owned());
        let none = HashMap::new();
        let master = Master::new_by(&source, &with(&none)).unwrap().unwrap();
        let place = Path::new("/keys/ring.json");
        assert!(Master::of_by(&master.form, &source, place, &with(&none)).is_ok());
        let env = HashMap::from([(PASSPHRASE_VARIABLE, "correct horse battery staple")]);
        assert!(Master::of_by(&master.form, &MasterSource::Environment, place, &with(&env)).is_ok());
        let wrong = MasterSource::passphrase("correct horse".to_owned());
        let error = Master::of_by(&master.form, &wrong, place, &with(&none)).unwrap_err();
        assert!(matches!(error, KeyError::MasterWrong { .. }));
        assert!(!format!("{error} {wrong:?} {master:?}").contains("horse"));
        let empty = MasterSource::passphrase(String::new());
        assert!(matches!(Master::new_by(&empty, &with(&none)), Err(KeyError::MasterUnusable { .. })));
        // A ring that asks for more memory than anybody has is refused before it is given any.
        let greedy = MasterForm { m_kib: Some(u32::MAX), ..master.form.clone() };
        assert!(!greedy.is_whole());
        assert!(Master::of_by(&greedy, &source, place, &with(&none)).is_err());
    }

    /// RFC 9106 section 5.3 has a secret and associated data, which a ring has not: this holds the call against a value that was computed with
    /// the reference program (`argon2 somesalt -id -t 2 -m 16 -p 1 -l 32`, passphrase `password`).
    #[test]
    fn argon2id_agrees_with_the_reference_program() {
        let form = MasterForm {
            check: String::new(),
            m_kib: Some(65536),
            p: Some(1),
            salt: Some(STANDARD.encode("somesalt")),
            source: "passphrase".to_owned(),
            t: Some(2),
        };
        let key = stretch("password", &form, "x").unwrap();
        let expected = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7";
        assert_eq!(indelible_core::hex::encode(key.as_ref()), expected);
    }
}
