//! The key ring: the secrets of whoever runs logs, with states and times, in a file that is replaced whole.
//!
//! A [`KeyRing`] is what the file said when it was read: cheap to clone, and unchanged by what others do to the file. [`KeyRing::refreshed`]
//! tells whether there is something newer. Changes are made under a lock, on what the file says at that moment, and give a new ring.
//! Which key is right at which entry is not said here: that is the key history in the log.
//!
//! | module | holds |
//! |---|---|
//! | [`purpose`], [`state`], [`policy`] | what keys serve for, in which states, for how long |
//! | [`key`], [`material`] | a key; secrets and what derives from them |
//! | [`entry`] | an entry-signing key for a log |
//! | [`change`], [`due`] | rotation and every other change; what has to be rotated |
//! | [`file`] | the form of the file |
//! | [`master`] | the key that wraps the others |
//! | [`disk`] | lock and atomic replacement |

mod change;
mod disk;
mod due;
mod entry;
mod file;
mod key;
mod master;
mod material;
mod policy;
mod purpose;
mod state;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use indelible_core::{
    mac::{self, EntryAlgorithm, EntryKey, LogId},
    note::VerifyingKey,
    time::Micros,
};
use zeroize::Zeroizing;

pub use self::{
    change::{Changed, Import, ImportAs},
    due::Due,
    entry::EntryKeyRef,
    key::KeyInfo,
    master::{MASTER_KEY_FILE_VARIABLE, MASTER_KEY_VARIABLE, MasterKind, MasterSource, PASSPHRASE_VARIABLE},
    policy::{CheckpointPeriod, Cryptoperiods},
    purpose::{KeyAlgorithm, Purpose},
    state::State,
};
use self::{
    disk::{Lock, Stamp, Wipe, ring_path},
    file::For,
    key::{Key, Secret},
    master::Master,
};
use crate::{Algorithm, CheckpointSigner, KeyError, Require, public::NAMELESS};

/// How far a clock may lag behind that of whoever changed the ring: 5 minutes, as Kerberos has it.
const CLOCK_TOLERANCE_US: i64 = 5 * 60 * 1_000_000;

/// The keys of a directory, as its file said.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    keys: Vec<Key>,
    require: Require,
    master: Option<Master>,
    source: MasterSource,
    stamp: Stamp,
    // Always there, so that asking for them cannot fail.
    entry: KeyInfo,
    entry_secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("dir", &self.0.dir)
            .field("entry", &self.0.entry.id)
            .field("keys", &self.0.keys.len())
            .finish_non_exhaustive()
    }
}

/// What a new ring is to have.
#[derive(Clone, Debug, Default)]
pub struct NewRing {
    /// How entries are signed.
    pub entry_algorithm: EntryAlgorithm,
    /// Algorithms of checkpoint keys beside Ed25519, which is always there.
    pub checkpoint: Vec<Algorithm>,
    /// Bits of RSA keys among them, 2,048, 3,072 or 4,096; `None` for 3,072.
    pub rsa_bits: Option<u32>,
    /// How many of the checkpoint keys have to sign.
    pub require: Require,
    /// What wraps the secrets; `None` for a ring that is not wrapped.
    pub master: Option<MasterSource>,
    /// How long keys should be active.
    pub cryptoperiods: Cryptoperiods,
}

/// What a ring says without its secrets, for which no master key is needed.
#[derive(Clone, Debug)]
pub struct Overview {
    /// All keys, in the order of the file.
    pub keys: Vec<KeyInfo>,
    /// How the master key is had; `None` where the ring is not wrapped.
    pub master: Option<MasterKind>,
    /// How many of the checkpoint keys have to sign.
    pub require: Require,
}

impl Overview {
    /// That the clock reads no time before what happened to the active keys: then they sign nothing.
    ///
    /// # Errors
    /// [`KeyError::ClockBefore`].
    pub fn check_clock(&self, now: Micros) -> Result<(), KeyError> {
        self.keys.iter().filter(|key| key.state == State::Active).try_for_each(|key| check_clock(key, now))
    }
}

/// The time by the system's clock.
fn system_time() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl KeyRing {
    /// The ring of a directory, made if there is none yet: wrapped where the environment has a master key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create(dir: &Path) -> Result<Self, KeyError> {
        Self::load_or_create_at(dir, system_time())
    }

    /// The same for who brings a clock along. A ring that is there keeps the time that it was made at.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create_at(dir: &Path, now: Micros) -> Result<Self, KeyError> {
        Self::load_or_create_with(dir, now, &MasterSource::Environment)
    }

    /// The same with a master key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create_with(dir: &Path, now: Micros, source: &MasterSource) -> Result<Self, KeyError> {
        match Self::load_with(dir, source) {
            Err(KeyError::Missing { .. }) => {
                let master = source.is_given().then(|| source.clone());
                match Self::create_with(dir, now, &NewRing { master, ..NewRing::default() }) {
                    // Somebody else was faster.
                    Err(KeyError::Exists { .. }) => Self::load_with(dir, source),
                    result => result,
                }
            }
            result => result,
        }
    }

    /// Makes a ring of fresh keys. An existing one is never replaced.
    ///
    /// # Errors
    /// [`KeyError::Exists`] and others; then nothing was made but the directory.
    pub fn create_with(dir: &Path, now: Micros, new: &NewRing) -> Result<Self, KeyError> {
        disk::create_private_dir(dir)?;
        let lock = Lock::take(dir)?;
        if lock.exists() {
            return Err(KeyError::Exists { place: dir.display().to_string() });
        }
        let master = new.master.as_ref().map(Master::new_or_none_given).transpose()?;
        let mut algorithms = vec![Algorithm::Ed25519];
        algorithms.extend(new.checkpoint.iter().filter(|algorithm| **algorithm != Algorithm::Ed25519));
        let entry = (Purpose::EntrySigning, KeyAlgorithm::Entry(new.entry_algorithm));
        let checkpoint = algorithms.into_iter().map(|a| (Purpose::CheckpointSigning, KeyAlgorithm::Checkpoint(a)));
        let make = |(purpose, algorithm)| {
            let rsa =
                matches!(algorithm, KeyAlgorithm::Checkpoint(Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256));
            let mut key = change::fresh(
                (purpose, algorithm, new.rsa_bits.filter(|_| rsa)),
                1,
                new.cryptoperiods.of(purpose),
                now,
            )?;
            (key.info.state, key.info.activated_at) = (State::Active, Some(now));
            Ok(key)
        };
        let keys = std::iter::once(entry).chain(checkpoint).map(make).collect::<Result<Vec<_>, KeyError>>()?;
        lock.replace(&file::render(&keys, master.as_ref(), new.require, &ring_path(dir))?, Wipe::No)?;
        let source = new.master.clone().unwrap_or_default();
        Self::load_by(dir, &source, master.as_ref())
    }

    /// Reads the ring of a directory. A wrapped one is unwrapped by what the environment has.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        Self::load_with(dir, &MasterSource::Environment)
    }

    /// The same with a master key.
    ///
    /// # Errors
    /// [`KeyError`]; a master key that is named for a ring that is not wrapped is one, so that nobody thinks it were.
    pub fn load_with(dir: &Path, master: &MasterSource) -> Result<Self, KeyError> {
        Self::load_by(dir, master, None)
    }

    /// The ring of a directory to verify with, though it lacks the active keys that a writer needs: one that was put back from a copy, or has lost keys. It signs nothing that takes
    /// an active key. [`KeyRing::entry_key_id`] and its kin are then of the newest entry-signing key that it has the secret of.
    ///
    /// # Errors
    /// As [`KeyRing::load_with`]; [`KeyError::NoActive`] where it has no secret of any entry-signing key.
    pub fn load_to_verify(dir: &Path, master: &MasterSource) -> Result<Self, KeyError> {
        Self::load_for(For::Verifying, dir, master, None)
    }

    /// How the master key of the ring of a directory is had; `None` where the ring is not wrapped.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn master_kind_of(dir: &Path) -> Result<Option<MasterKind>, KeyError> {
        let (text, _) = disk::read(dir)?;
        Ok(file::parse(&text, &ring_path(dir), For::Verifying)?.master_kind())
    }

    /// `known` saves deriving the master key again, where it still fits.
    fn load_by(dir: &Path, source: &MasterSource, known: Option<&Master>) -> Result<Self, KeyError> {
        Self::load_for(For::Signing, dir, source, known)
    }

    fn load_for(what_for: For, dir: &Path, source: &MasterSource, known: Option<&Master>) -> Result<Self, KeyError> {
        let (text, stamp) = disk::read(dir)?;
        let path = ring_path(dir);
        let parsed = file::parse(&text, &path, what_for)?;
        let master = match &parsed.master {
            Some(form) => match known.and_then(|known| known.under(form)) {
                Some(master) => Some(master),
                None => Some(Master::of(form, source, &path)?),
            },
            None if source.is_explicit() => {
                return Err(KeyError::NotWrapped { place: path.display().to_string(), given: source.to_string() });
            }
            None => None,
        };
        let require = parsed.require;
        let keys = parsed.open(master.as_ref(), &path)?;
        let usable = |key: &&Key| match what_for {
            For::Signing => key.info.state == State::Active,
            For::Verifying => key.bytes().is_some(),
        };
        let entry_keys = keys.iter().filter(|key| key.info.purpose == Purpose::EntrySigning).filter(usable);
        let newest = entry_keys.max_by_key(|key| (key.info.state == State::Active, key.info.version));
        let newest = newest.and_then(|key| Some((key.info.clone(), Zeroizing::new(*key.bytes()?))));
        let (entry, entry_secret) = newest.ok_or_else(|| no_active(Purpose::EntrySigning, mac::ALGORITHM))?;
        let (dir, source) = (dir.to_owned(), source.clone());
        Ok(Self(Arc::new(Inner { dir, keys, require, master, source, stamp, entry, entry_secret })))
    }

    /// What the ring of a directory says, without its secrets and without its master key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn overview(dir: &Path) -> Result<Overview, KeyError> {
        let (text, _) = disk::read(dir)?;
        let parsed = file::parse(&text, &ring_path(dir), For::Signing)?;
        let (master, require) = (parsed.master_kind(), parsed.require);
        let keys = parsed.keys.into_iter().map(|(info, _)| info).collect();
        Ok(Overview { keys, master, require })
    }

    /// The ring as its file says now, with the same master key; `None` where the file is the one that was read.
    ///
    /// # Errors
    /// [`KeyError`]; this ring stays what it is.
    pub fn refreshed(&self) -> Result<Option<Self>, KeyError> {
        if Stamp::now(&self.0.dir)? == self.0.stamp {
            return Ok(None);
        }
        self.read_anew().map(Some)
    }

    /// The ring as its file says now. One that was unwrapped since is taken as that.
    fn read_anew(&self) -> Result<Self, KeyError> {
        match Self::load_by(&self.0.dir, &self.0.source, self.0.master.as_ref()) {
            Err(KeyError::NotWrapped { .. }) => Self::load_by(&self.0.dir, &MasterSource::Environment, None),
            result => result,
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Where the newest heads of the logs that this ring signs are kept.
    #[must_use]
    pub fn heads_dir(&self) -> PathBuf {
        self.0.dir.join("heads")
    }

    /// All keys, without their secrets, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &KeyInfo> {
        self.0.keys.iter().map(|key| &key.info)
    }

    /// How many of the active checkpoint keys have to sign what a log of this ring signs.
    #[must_use]
    pub fn require(&self) -> Require {
        self.0.require
    }

    /// How the master key is had; `None` where the ring is not wrapped.
    #[must_use]
    pub fn master_kind(&self) -> Option<MasterKind> {
        self.0.master.as_ref().and_then(|master| master.form().kind())
    }

    /// The active entry-signing key.
    ///
    /// # Errors
    /// [`KeyError::ClockBefore`] where the clock reads a time before its activation; [`KeyError::NoActive`] in a ring that was loaded to verify.
    pub fn active_entry(&self) -> Result<EntryKeyRef<'_>, KeyError> {
        self.active_entry_at(system_time())
    }

    /// The same for who brings a clock along.
    ///
    /// # Errors
    /// As [`KeyRing::active_entry`].
    pub fn active_entry_at(&self, now: Micros) -> Result<EntryKeyRef<'_>, KeyError> {
        if self.0.entry.state != State::Active {
            return Err(no_active(Purpose::EntrySigning, &self.0.entry.algorithm.to_string()));
        }
        check_clock(&self.0.entry, now)?;
        Ok(self.newest_entry())
    }

    fn newest_entry(&self) -> EntryKeyRef<'_> {
        let algorithm = entry_algorithm(&self.0.entry).unwrap_or_default();
        EntryKeyRef { info: &self.0.entry, algorithm, secret: &self.0.entry_secret }
    }

    /// An entry-signing key by its id, whatever its state; `None` where the ring has not its secret.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<EntryKeyRef<'_>> {
        let key = self.0.keys.iter().find(|key| key.info.id == id)?;
        Some(EntryKeyRef { info: &key.info, algorithm: entry_algorithm(&key.info)?, secret: key.bytes()? })
    }

    /// The signers of a log's checkpoints: the active keys, Ed25519 first.
    ///
    /// # Errors
    /// [`KeyError::ClockBefore`], or [`KeyError::Invalid`] where a key or the origin cannot be used.
    pub fn checkpoint_signers(&self, origin: &str) -> Result<Vec<CheckpointSigner>, KeyError> {
        self.checkpoint_signers_at(origin, system_time())
    }

    /// The same for who brings a clock along.
    ///
    /// # Errors
    /// As [`KeyRing::checkpoint_signers`].
    pub fn checkpoint_signers_at(&self, origin: &str, now: Micros) -> Result<Vec<CheckpointSigner>, KeyError> {
        let (first, others): (Vec<_>, Vec<_>) = self
            .checkpoint_keys()
            .filter(|(_, info, _)| info.state == State::Active)
            .partition(|(algorithm, _, _)| *algorithm == Algorithm::Ed25519);
        if first.is_empty() {
            return Err(no_active(Purpose::CheckpointSigning, Algorithm::Ed25519.name()));
        }
        first
            .into_iter()
            .chain(others)
            .map(|(algorithm, info, secret)| {
                check_clock(info, now)?;
                material::signer(algorithm, secret, origin)
            })
            .collect()
    }

    /// The signers that belong to public keys, of those that the ring has the secrets of, in the order of the keys given and whatever their states: for
    /// signatures over a change of keys, and for authorising what the keys in force have to.
    ///
    /// # Errors
    /// [`KeyError::Invalid`].
    pub fn signers_for(&self, origin: &str, public: &[VerifyingKey]) -> Result<Vec<CheckpointSigner>, KeyError> {
        let mut signers = Vec::new();
        for wanted in public.iter().filter(|wanted| wanted.name() == origin) {
            let mut keys = self.checkpoint_keys();
            if let Some((algorithm, _, secret)) = keys.find(|(algorithm, info, _)| is_public(*algorithm, info, wanted))
            {
                signers.push(material::signer(algorithm, secret, origin)?);
            }
        }
        Ok(signers)
    }

    /// The public keys of all checkpoint keys that this ring ever had, in the order of the file, named by an origin.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] where the origin cannot be used.
    pub fn public_keys(&self, origin: &str) -> Result<Vec<VerifyingKey>, KeyError> {
        let keys = self.0.keys.iter().filter_map(|key| match key.info.algorithm {
            KeyAlgorithm::Checkpoint(algorithm) => Some((algorithm, key.info.public.as_deref()?)),
            _ => None,
        });
        let named = keys.map(|(algorithm, public)| VerifyingKey::new(origin, algorithm, public));
        named.collect::<Result<_, _>>().map_err(|error| KeyError::Invalid { what: error.to_string() })
    }

    /// Those of them that nobody else is on record as having: what they signed is the word of who has the ring.
    ///
    /// # Errors
    /// As [`KeyRing::public_keys`].
    pub fn trusted_keys(&self, origin: &str) -> Result<Vec<VerifyingKey>, KeyError> {
        let stolen = |key: &VerifyingKey| {
            self.keys().any(|info| info.compromised_at.is_some() && info.public.as_deref() == Some(key.public_key()))
        };
        Ok(self.public_keys(origin)?.into_iter().filter(|key| !stolen(key)).collect())
    }

    /// Those that sign now: who has one of the others signs nothing new with the right to.
    ///
    /// # Errors
    /// As [`KeyRing::public_keys`].
    pub fn active_keys(&self, origin: &str) -> Result<Vec<VerifyingKey>, KeyError> {
        let active = |key: &VerifyingKey| {
            self.keys().any(|info| info.state == State::Active && info.public.as_deref() == Some(key.public_key()))
        };
        Ok(self.public_keys(origin)?.into_iter().filter(active).collect())
    }

    fn checkpoint_keys(&self) -> impl Iterator<Item = (Algorithm, &KeyInfo, &Secret)> {
        self.0.keys.iter().filter_map(|key| match key.info.algorithm {
            KeyAlgorithm::Checkpoint(algorithm) => Some((algorithm, &key.info, key.secret.as_ref()?)),
            _ => None,
        })
    }

    /// Id of the active entry-signing key.
    #[must_use]
    pub fn entry_key_id(&self) -> String {
        self.0.entry.id.clone()
    }

    /// Version of the active entry-signing key.
    #[must_use]
    pub fn entry_key_version(&self) -> u32 {
        self.0.entry.version
    }

    /// The derived key that signs entries of a log, from the active entry-signing key.
    #[must_use]
    pub fn entry_key(&self, log_id: LogId, origin: &str, epoch: u64) -> EntryKey {
        self.newest_entry().key(log_id, origin, epoch)
    }

    /// That key's bytes in hexadecimal, for checking an entry with other tools.
    #[must_use]
    pub fn derived_hex(&self, log_id: LogId, origin: &str, epoch: u64) -> Zeroizing<String> {
        self.newest_entry().derived_hex(log_id, origin, epoch)
    }

    /// The signer of a log's checkpoints by the active Ed25519 key.
    ///
    /// # Errors
    /// As [`KeyRing::checkpoint_signers`].
    pub fn checkpoint_signer(&self, origin: &str) -> Result<CheckpointSigner, KeyError> {
        let signers = self.checkpoint_signers(origin)?;
        signers.into_iter().next().ok_or_else(|| no_active(Purpose::CheckpointSigning, Algorithm::Ed25519.name()))
    }

    /// What signs files by an active checkpoint key, under a name that is no log's.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::SignsNoFiles`] where the key is for something else or not active, and [`KeyError::ClockBefore`].
    pub fn file_signer_at(&self, id: &str, now: Micros) -> Result<CheckpointSigner, KeyError> {
        let key = self.0.keys.iter().find(|key| key.info.id == id);
        let key = key.ok_or_else(|| KeyError::Unknown { id: id.to_owned() })?;
        match (&key.secret, key.info.algorithm, key.info.state) {
            (Some(secret), KeyAlgorithm::Checkpoint(algorithm), State::Active) => {
                check_clock(&key.info, now)?;
                material::signer(algorithm, secret, NAMELESS)
            }
            (_, _, state) => Err(KeyError::SignsNoFiles { id: id.to_owned(), purpose: key.info.purpose, state }),
        }
    }
}

fn entry_algorithm(info: &KeyInfo) -> Option<EntryAlgorithm> {
    match info.algorithm {
        KeyAlgorithm::Entry(algorithm) => Some(algorithm),
        _ => None,
    }
}

fn is_public(algorithm: Algorithm, info: &KeyInfo, wanted: &VerifyingKey) -> bool {
    algorithm == wanted.algorithm() && info.public.as_deref() == Some(wanted.public_key())
}

fn no_active(purpose: Purpose, algorithm: &str) -> KeyError {
    KeyError::NoActive { purpose, algorithm: algorithm.to_owned() }
}

/// Refuses a clock that reads a time clearly before the last thing that happened to a key.
fn check_clock(info: &KeyInfo, now: Micros) -> Result<(), KeyError> {
    let (event, at) = info.newest();
    if now.0.saturating_add(CLOCK_TOLERANCE_US) < at.0 {
        return Err(KeyError::ClockBefore { id: info.id.clone(), event, at, now });
    }
    Ok(())
}
