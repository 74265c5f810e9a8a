//! The key ring file.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use indelible_core::{
    hex,
    mac::{self, EntryKey, LogId},
    time::Micros,
};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::CheckpointSigner;

/// What went wrong with keys. Never carries a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no ring in the directory.
    #[error(
        "there is no key ring at `{place}`: name the directory that `indelible init` made, with --keys or INDELIBLE_KEYS"
    )]
    Missing {
        /// Directory.
        place: String,
    },
    /// The file system refused.
    #[error("cannot {step} the key ring `{place}`")]
    Io {
        /// Step, as a verb.
        step: &'static str,
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read the ring.
    #[error("the key ring `{place}` can be read by others (mode {mode:04o}): take that away with `chmod 600`")]
    Exposed {
        /// File.
        place: String,
        /// Its mode.
        mode: u32,
    },
    /// The file is no key ring.
    #[error("the key ring `{place}` cannot be read: {detail}; restore it from your copy")]
    Malformed {
        /// File.
        place: String,
        /// Why, without content.
        detail: String,
    },
    /// The bytes of a key do not fit its id: wrong key bytes, not tampering.
    #[error(
        "key `{id}` in `{place}` has not the bytes that its id was made from: the ring was damaged or mixed up; restore it from your copy"
    )]
    WrongBytes {
        /// The id.
        id: String,
        /// File.
        place: String,
    },
    /// The log was written with another entry key.
    #[error("the log is signed with entry key `{wanted}`, the ring holds `{held}`: these are the keys of another log")]
    NotThisLog {
        /// Key id that the log names.
        wanted: String,
        /// What is there.
        held: String,
    },
    /// Keys and log are in one place.
    #[error(
        "the keys `{keys}` and the log `{log}` are in one place: whoever can change the log could sign the change; choose a keys directory outside of it"
    )]
    Beside {
        /// Keys directory.
        keys: String,
        /// Log directory.
        log: String,
    },
    /// A key cannot be used.
    #[error("{what} cannot be used")]
    Invalid {
        /// Which.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingFile {
    keys: Vec<KeyFile>,
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    algorithm: String,
    created_at: String,
    id: String,
    purpose: String,
    secret: String,
    state: String,
    version: u32,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The keys of a directory: one entry-signing key and one checkpoint key.
pub struct KeyRing {
    dir: PathBuf,
    entry_secret: Zeroizing<[u8; 32]>,
    entry_version: u32,
    seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// The ring of a directory, made if there is none yet.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create(dir: &Path) -> Result<Self, KeyError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::load_or_create_at(dir, Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The same for who brings a clock along. A ring that is there keeps the time that it was made at.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create_at(dir: &Path, now: Micros) -> Result<Self, KeyError> {
        match Self::load(dir) {
            Err(KeyError::Missing { .. }) => {
                Self::create(dir, now)?;
                Self::load(dir)
            }
            result => result,
        }
    }

    /// Makes a ring of fresh keys. An existing one is never replaced.
    fn create(dir: &Path, now: Micros) -> Result<(), KeyError> {
        let path = dir.join("ring.json");
        let io = |step| {
            let place = path.display().to_string();
            move |source| KeyError::Io { step, place, source }
        };
        create_private_dir(dir).map_err(io("make room for"))?;
        let mut secret = Zeroizing::new([0_u8; 32]);
        let mut seed = Zeroizing::new([0_u8; 32]);
        rand::rng().fill_bytes(secret.as_mut());
        rand::rng().fill_bytes(seed.as_mut());
        let checkpoint = CheckpointSigner::new(&seed, "id")?;
        let key = |algorithm: &str, id: String, purpose: &str, secret: &[u8; 32]| KeyFile {
            algorithm: algorithm.to_owned(),
            created_at: now.to_string(),
            id,
            purpose: purpose.to_owned(),
            secret: hex::encode(secret),
            state: "active".to_owned(),
            version: 1,
        };
        let ring = RingFile {
            keys: vec![
                key(mac::ALGORITHM, mac::entry_key_id(&secret, 1), "entry_signing", &secret),
                key("ed25519", checkpoint_key_id(&checkpoint, 1), "checkpoint_signing", &seed),
            ],
            v: 1,
        };
        let text = serde_json::to_string_pretty(&ring).map(Zeroizing::new);
        let text = text.map_err(|error| io("write")(io::Error::other(error)))?;
        write_private(&path, text.as_bytes()).map_err(io("write"))
    }

    /// Reads the ring of a directory.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join("ring.json");
        let place = path.display().to_string();
        let text = match fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing { place: dir.display().to_string() });
            }
            Err(source) => return Err(KeyError::Io { step: "read", place, source }),
        };
        refuse_exposed(&path)?;
        let malformed = |detail: &str| KeyError::Malformed { place: place.clone(), detail: detail.to_owned() };
        let ring: RingFile = serde_json::from_slice(&text)
            .map_err(|error| malformed(&format!("line {}, column {}", error.line(), error.column())))?;
        if ring.v != 1 {
            return Err(malformed(&format!("it has format {}, this program knows format 1", ring.v)));
        }
        let find = |purpose: &str| {
            let mut found = ring.keys.iter().filter(|key| key.purpose == purpose && key.state == "active");
            match (found.next(), found.next()) {
                (Some(key), None) => Ok(key),
                _ => Err(malformed(&format!("it should hold one active `{purpose}` key"))),
            }
        };
        let bytes = |key: &KeyFile| {
            hex::decode::<32>(key.secret.as_bytes()).map(Zeroizing::new).ok_or_else(|| {
                malformed(&format!("the secret of `{}` is not 64 lower-case hexadecimal digits", key.id))
            })
        };
        let (entry, checkpoint) = (find("entry_signing")?, find("checkpoint_signing")?);
        let ring = Self {
            dir: dir.to_owned(),
            entry_secret: bytes(entry)?,
            entry_version: entry.version,
            seed: bytes(checkpoint)?,
        };
        let wrong = |id: &str| KeyError::WrongBytes { id: id.to_owned(), place: place.clone() };
        if mac::entry_key_id(&ring.entry_secret, entry.version) != entry.id {
            return Err(wrong(&entry.id));
        }
        if checkpoint_key_id(&CheckpointSigner::new(&ring.seed, "id")?, checkpoint.version) != checkpoint.id {
            return Err(wrong(&checkpoint.id));
        }
        Ok(ring)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the newest heads of the logs that this ring signs are kept.
    #[must_use]
    pub fn heads_dir(&self) -> PathBuf {
        self.dir.join("heads")
    }

    /// Id of the active entry-signing key.
    #[must_use]
    pub fn entry_key_id(&self) -> String {
        mac::entry_key_id(&self.entry_secret, self.entry_version)
    }

    /// Version of the active entry-signing key.
    #[must_use]
    pub fn entry_key_version(&self) -> u32 {
        self.entry_version
    }

    /// The derived key that signs entries of a log.
    #[must_use]
    pub fn entry_key(&self, log_id: LogId, origin: &str, epoch: u64) -> EntryKey {
        EntryKey::derive(&self.entry_secret, self.entry_version, log_id, origin, epoch)
    }

    /// The derived key's bytes in hexadecimal, for checking an entry with other tools.
    #[must_use]
    pub fn derived_hex(&self, log_id: LogId, origin: &str, epoch: u64) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(mac::derive_bytes(&self.entry_secret, log_id, origin, epoch).as_ref()))
    }

    /// The signer of a log's checkpoints.
    ///
    /// # Errors
    /// [`KeyError::Invalid`].
    pub fn checkpoint_signer(&self, origin: &str) -> Result<CheckpointSigner, KeyError> {
        CheckpointSigner::new(&self.seed, origin)
    }
}

fn checkpoint_key_id(signer: &CheckpointSigner, version: u32) -> String {
    use indelible_core::note::NoteSigner as _;
    use sha2::Digest as _;
    let digest = sha2::Sha256::new_with_prefix(b"indelible/v1/key-id/checkpoint-signing")
        .chain_update(signer.verifying_key().public_key())
        .finalize();
    format!("cs{version}-{}", hex::encode(digest.get(..8).unwrap_or_default()))
}

/// Refuses keys inside the log directory, or around it, by their real paths.
///
/// # Errors
/// [`KeyError::Beside`].
pub fn check_apart(keys: &Path, log: &Path) -> Result<(), KeyError> {
    let (real_keys, real_log) = (real(keys), real(log));
    if real_keys.starts_with(&real_log) || real_log.starts_with(&real_keys) {
        return Err(KeyError::Beside { keys: keys.display().to_string(), log: log.display().to_string() });
    }
    Ok(())
}

/// The real path of the part that exists, with the rest behind it.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut at = absolute.as_path();
    loop {
        if let Ok(found) = at.canonicalize() {
            return found.join(absolute.strip_prefix(at).unwrap_or(Path::new("")));
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => return absolute.clone(),
        }
    }
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(unix)]
fn refuse_exposed(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = path.display().to_string();
    let meta = fs::metadata(path).map_err(|source| KeyError::Io { step: "read", place: place.clone(), source })?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { place, mode }) }
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        assert!(matches!(KeyRing::load(&keys), Err(KeyError::Missing { .. })));
        let now = Micros::parse("2026-01-01T00:00:00Z").unwrap();
        let ring = KeyRing::load_or_create_at(&keys, now).unwrap();
        let again = KeyRing::load_or_create(&keys).unwrap();
        assert_eq!(ring.entry_key_id(), again.entry_key_id());
        let made_at = |keys: &Path| -> Micros {
            let text = fs::read_to_string(keys.join("ring.json")).unwrap();
            let ring: serde_json::Value = serde_json::from_str(&text).unwrap();
            Micros::parse_exact(ring["keys"][0]["created_at"].as_str().unwrap()).unwrap()
        };
        assert_eq!(made_at(&keys), now);
        KeyRing::load_or_create(&dir.path().join("others")).unwrap();
        assert!(made_at(&dir.path().join("others")) > now, "the clock was read");
        assert!(matches!(KeyRing::create(&keys, now), Err(KeyError::Io { .. })));
        assert!(!format!("{ring:?}").contains(&hex::encode(ring.entry_secret.as_ref())));
    }

    #[test]
    fn changed_secrets_exposed_files_and_other_formats_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(dir.path()).unwrap();
        let path = dir.path().join("ring.json");
        let text = fs::read_to_string(&path).unwrap();
        let secret = hex::encode(ring.entry_secret.as_ref());
        let write = |text: &str| fs::write(&path, text).unwrap();
        write(&text.replace(&secret, &secret.chars().rev().collect::<String>()));
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::WrongBytes { .. })));
        write(&text.replace("\"v\": 1", "\"v\": 2"));
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::Malformed { .. })));
        write(&text);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::Exposed { mode: 0o644, .. })));
        }
    }

    #[test]
    fn a25_keys_beside_the_log_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        for keys in [log.join("keys"), log.clone(), dir.path().to_owned(), log.join("segments/../keys")] {
            assert!(matches!(check_apart(&keys, &log), Err(KeyError::Beside { .. })), "{keys:?}");
        }
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&log, &link).unwrap();
            assert!(check_apart(&link.join("keys"), &log).is_err());
        }
        assert!(check_apart(&dir.path().join("keys"), &log).is_ok());
    }
}
