//! Changes of a ring: each under the lock, on what the file says at that moment, written whole or not at all. Where one fails, nothing was changed,
//! but for [`KeyError::NotSynced`]: then the new ring stands.
//!
//! INVARIANT(ring-locked): between reading the ring that is changed and replacing it the lock is held, so that no change is lost under another.
//!
//! INVARIANT(ring-grows): no key is ever taken out of a ring, no id used again, and no version either for a key that is to be used; a destroyed key leaves its name. So whatever
//! a log was signed with, the ring says what became of it. A key that comes back to verify only has the version that it had, which a ring that was put back from a copy may have
//! given to another one since: the id tells them apart.

use indelible_core::time::Micros;
use zeroize::Zeroizing;

use super::{
    KeyRing, MasterSource, check_clock,
    disk::{Lock, Wipe, ring_path},
    due, file,
    key::{Key, KeyInfo, Secret, id_of},
    master::Master,
    material, no_active,
    policy::Cryptoperiods,
    purpose::{KeyAlgorithm, Purpose},
    state::State,
};
use crate::{Algorithm, KeyError, Require};

/// The longest reason, in bytes: a line or two, which the log's `keys` record repeats.
const MAX_REASON_BYTES: usize = 1000;

/// A ring after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The ring as it is now.
    pub ring: KeyRing,
    /// The keys that are new or not what they were, new ones first.
    pub keys: Vec<KeyInfo>,
}

/// A key from elsewhere.
pub struct Import {
    /// What it is to serve for.
    pub purpose: Purpose,
    /// How.
    pub algorithm: KeyAlgorithm,
    /// Its secret: 32 bytes, or a PKCS#8 document in DER for RSA and ECDSA.
    pub secret: Zeroizing<Vec<u8>>,
    /// Its version where it had one in another ring, so that its id stays what it is; else the next one. To verify only, it may be one that another key has.
    pub version: Option<u32>,
    /// What it may be used for.
    pub role: ImportAs,
}

/// What an imported key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportAs {
    /// It is to become active.
    PreActive,
    /// It has been in use, and verifies what it signed.
    VerifyOnly,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Import");
        shown.field("purpose", &self.purpose).field("algorithm", &self.algorithm).field("version", &self.version);
        shown.field("role", &self.role).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Puts new keys in the place of the active ones of a purpose, whatever their age. Where a key was prepared (is pre-active), that one is taken.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing was changed.
    pub fn rotate(&self, purpose: Purpose, now: Micros) -> Result<Changed, KeyError> {
        self.rotate_each(&[purpose], now)
    }

    /// The same for several purposes, in one change.
    ///
    /// # Errors
    /// [`KeyError::NoActive`] where one of them has no active key, and others; then nothing was changed.
    pub fn rotate_each(&self, purposes: &[Purpose], now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            for purpose in purposes {
                let active = draft.active(|info| info.purpose == *purpose);
                if active.is_empty() {
                    let known: Vec<_> = purpose.algorithms().iter().map(|algorithm| algorithm.name()).collect();
                    return Err(no_active(*purpose, known.first().copied().unwrap_or_default()));
                }
                active.iter().try_for_each(|id| draft.rotate(id, now))?;
            }
            Ok(())
        })
    }

    /// Puts new keys in the place of those that are due. What is due is asked under the lock, so that of several processes that do this at once, one rotates.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing was changed.
    pub fn rotate_due(&self, purposes: &[Purpose], now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            let due = due::of(draft.keys.iter().map(|key| &key.info), now, 0);
            let due = due.iter().filter(|due| purposes.contains(&due.purpose));
            due.map(|due| due.id.clone()).collect::<Vec<_>>().iter().try_for_each(|id| draft.rotate(id, now))
        })
    }

    /// Makes a key that is not yet active. RSA keys have 3,072 bits.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing was changed.
    pub fn generate(
        &self,
        purpose: Purpose,
        algorithm: KeyAlgorithm,
        periods: &Cryptoperiods,
        now: Micros,
    ) -> Result<Changed, KeyError> {
        self.make((purpose, algorithm, None), periods, now)
    }

    /// Makes an RSA checkpoint key of 2,048, 3,072 or 4,096 bits that is not yet active.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] for another size or algorithm, and others; then nothing was changed.
    pub fn generate_rsa(
        &self,
        algorithm: Algorithm,
        bits: u32,
        periods: &Cryptoperiods,
        now: Micros,
    ) -> Result<Changed, KeyError> {
        let algorithm = KeyAlgorithm::Checkpoint(algorithm);
        self.make((Purpose::CheckpointSigning, algorithm, Some(bits)), periods, now)
    }

    fn make(
        &self,
        kind: (Purpose, KeyAlgorithm, Option<u32>),
        periods: &Cryptoperiods,
        now: Micros,
    ) -> Result<Changed, KeyError> {
        // Before the lock is taken: an RSA key takes a second or more.
        let mut key = fresh(kind, 1, periods.of(kind.0), now)?;
        self.change(Wipe::No, |draft| {
            key.info.version = draft.next_version(kind.0, kind.1)?;
            let secret = key.secret.as_deref().map(Vec::as_slice).unwrap_or_default();
            let id = id_of(kind.0, key.info.version, secret, key.info.public.as_deref());
            key.info.id = id.ok_or_else(|| KeyError::Invalid { what: format!("the new key for {}", kind.0) })?;
            draft.add(key)
        })
    }

    /// Makes a pre-active key the active one. The one before verifies only from then on.
    ///
    /// # Errors
    /// [`KeyError::Forbidden`] where it is not pre-active, and others; then nothing was changed.
    pub fn activate(&self, id: &str, now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            draft.step(id, State::Active, now)?;
            let info = draft.get(id)?.info.clone();
            let before = draft.active(|other| other.id != id && serves_alike(other, &info));
            before.iter().try_for_each(|before| draft.step(before, State::VerifyOnly, now))
        })
    }

    /// Ends the use of an active key without another in its place, as of one of several checkpoint keys.
    ///
    /// # Errors
    /// [`KeyError::Forbidden`] where it is not active, or a log could not do without it; then nothing was changed.
    pub fn retire(&self, id: &str, now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            let info = &draft.get(id)?.info;
            if info.state == State::Active && is_needed(info) {
                let remedy = "a log cannot do without it; put another in its place with `indelible keys rotate`";
                return Err(KeyError::Forbidden { id: id.to_owned(), from: info.state, to: State::VerifyOnly, remedy });
            }
            draft.step(id, State::VerifyOnly, now)
        })
    }

    /// Says that others may have a key. Where it was active, a fresh one takes its place in the same change.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing was changed.
    pub fn compromise(&self, id: &str, reason: &str, now: Micros) -> Result<Changed, KeyError> {
        check_reason(reason)?;
        self.change(Wipe::No, |draft| {
            let info = draft.get(id)?.info.clone();
            if info.state == State::Active {
                // Prepared keys lie in the same file, and whoever has this one may have them.
                let version = draft.next_version(info.purpose, info.algorithm)?;
                draft.add(draft.like(&info, version, now)?)?;
                let new = draft.newest_id();
                draft.step(&new, State::Active, now)?;
            }
            draft.step(id, State::Compromised, now)?;
            draft.get_mut(id)?.info.reason = Some(reason.to_owned());
            Ok(())
        })
    }

    /// Wipes the secret of a key that is not active. Copies of the ring have it still, and file systems may keep what was overwritten.
    ///
    /// # Errors
    /// [`KeyError::Forbidden`] where it is active or destroyed, and others; then nothing was changed.
    pub fn destroy(&self, id: &str, now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::Old, |draft| {
            draft.step(id, State::Destroyed, now)?;
            draft.get_mut(id)?.secret = None;
            Ok(())
        })
    }

    /// Takes a key from elsewhere in.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] and [`KeyError::WrongType`] for a secret that is none of its algorithm, [`KeyError::Duplicate`], and others; then nothing was changed.
    pub fn import(&self, import: &Import, periods: &Cryptoperiods, now: Micros) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            let (purpose, algorithm) = (import.purpose, import.algorithm);
            let version = match import.version {
                Some(version) => version,
                None => draft.next_version(purpose, algorithm)?,
            };
            let mut key = key_of(purpose, algorithm, version, periods.of(purpose), now, import.secret.clone())?;
            if import.role == ImportAs::VerifyOnly {
                (key.info.state, key.info.retired_at) = (State::VerifyOnly, Some(now));
            }
            draft.add(key)
        })
    }

    /// How long the keys of a purpose should be active from now on, the active ones too.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing was changed.
    pub fn set_cryptoperiod(&self, purpose: Purpose, periods: &Cryptoperiods) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            let days = periods.of(purpose);
            let usable = |state| matches!(state, State::Active | State::PreActive);
            let keys = draft.keys.iter_mut().map(|key| &mut key.info);
            for info in keys.filter(|info| info.purpose == purpose && usable(info.state)) {
                if info.cryptoperiod_days != days {
                    info.cryptoperiod_days = days;
                    draft.touched.push(info.id.clone());
                }
            }
            Ok(())
        })
    }

    /// How many of the active checkpoint keys have to sign.
    ///
    /// # Errors
    /// [`KeyError::Policy`] where there are not so many, and others; then nothing was changed.
    pub fn set_require(&self, require: Require) -> Result<Changed, KeyError> {
        self.change(Wipe::No, |draft| {
            draft.require = require;
            Ok(())
        })
    }

    /// Wraps the secrets under a master key, where there is none yet.
    ///
    /// # Errors
    /// [`KeyError::Wrapped`], and others; then nothing was changed.
    pub fn wrap(&self, master: &MasterSource) -> Result<Changed, KeyError> {
        self.change_master(Some(master), |wrapped, place| match wrapped {
            true => Err(KeyError::Wrapped { place }),
            false => Ok(()),
        })
    }

    /// Wraps the secrets under another master key. The keys stay what they are.
    ///
    /// # Errors
    /// [`KeyError::NotWrapped`], and others; then nothing was changed.
    pub fn rewrap(&self, master: &MasterSource) -> Result<Changed, KeyError> {
        let given = master.to_string();
        self.change_master(Some(master), |wrapped, place| match wrapped {
            true => Ok(()),
            false => Err(KeyError::NotWrapped { place, given }),
        })
    }

    /// Takes the master key away: the secrets stand plain in the file, which nobody else can read.
    ///
    /// # Errors
    /// [`KeyError::NotWrapped`], and others; then nothing was changed.
    pub fn unwrap(&self) -> Result<Changed, KeyError> {
        let given = self.0.source.to_string();
        self.change_master(None, |wrapped, place| match wrapped {
            true => Ok(()),
            false => Err(KeyError::NotWrapped { place, given }),
        })
    }

    fn change_master(
        &self,
        source: Option<&MasterSource>,
        check: impl FnOnce(bool, String) -> Result<(), KeyError>,
    ) -> Result<Changed, KeyError> {
        // Where there were plain secrets, or ones under a master key that is no longer to be trusted, the old bytes are wiped.
        self.change(Wipe::Old, |draft| {
            check(draft.master.is_some(), ring_path(self.dir()).display().to_string())?;
            draft.master = source.map(Master::new_or_none_given).transpose()?;
            draft.source = source.cloned().unwrap_or_default();
            draft.rewritten = true;
            Ok(())
        })
    }

    /// INVARIANT(ring-locked): from reading to replacing.
    fn change(&self, wipe: Wipe, edit: impl FnOnce(&mut Draft) -> Result<(), KeyError>) -> Result<Changed, KeyError> {
        let lock = Lock::take(self.dir())?;
        let current = self.read_anew()?;
        let inner = &current.0;
        let mut draft = Draft {
            keys: inner.keys.clone(),
            require: inner.require,
            master: inner.master.clone(),
            source: inner.source.clone(),
            touched: Vec::new(),
            rewritten: false,
        };
        edit(&mut draft)?;
        if draft.touched.is_empty() && !draft.rewritten && draft.require == inner.require {
            return Ok(Changed { ring: current, keys: Vec::new() });
        }
        let path = ring_path(self.dir());
        lock.replace(&file::render(&draft.keys, draft.master.as_ref(), draft.require, &path)?, wipe)?;
        let ring = Self::load_by(self.dir(), &draft.source, draft.master.as_ref())?;
        let mut keys: Vec<KeyInfo> = ring.keys().filter(|key| draft.touched.contains(&key.id)).cloned().collect();
        let old = |key: &KeyInfo| current.keys().any(|old| old.id == key.id);
        keys.sort_by_key(old);
        Ok(Changed { ring, keys })
    }
}

/// A ring that is being changed.
struct Draft {
    keys: Vec<Key>,
    require: Require,
    master: Option<Master>,
    source: MasterSource,
    touched: Vec<String>,
    rewritten: bool,
}

impl Draft {
    fn get(&self, id: &str) -> Result<&Key, KeyError> {
        self.keys.iter().find(|key| key.info.id == id).ok_or_else(|| KeyError::Unknown { id: id.to_owned() })
    }

    fn get_mut(&mut self, id: &str) -> Result<&mut Key, KeyError> {
        self.keys.iter_mut().find(|key| key.info.id == id).ok_or_else(|| KeyError::Unknown { id: id.to_owned() })
    }

    fn newest_id(&self) -> String {
        self.keys.last().map(|key| key.info.id.clone()).unwrap_or_default()
    }

    /// Ids of the active keys that a test picks.
    fn active(&self, pick: impl Fn(&KeyInfo) -> bool) -> Vec<String> {
        let active = self.keys.iter().filter(|key| key.info.state == State::Active && pick(&key.info));
        active.map(|key| key.info.id.clone()).collect()
    }

    fn next_version(&self, purpose: Purpose, algorithm: KeyAlgorithm) -> Result<u32, KeyError> {
        let same = self.keys.iter().filter(|key| (key.info.purpose, key.info.algorithm) == (purpose, algorithm));
        let newest = same.map(|key| key.info.version).max().unwrap_or(0);
        newest.checked_add(1).ok_or_else(|| KeyError::Invalid { what: format!("a version behind {newest}") })
    }

    /// INVARIANT(ring-grows): neither the id of any key that there ever was, nor the version, except to verify.
    fn add(&mut self, key: Key) -> Result<(), KeyError> {
        let info = &key.info;
        let taken = |old: &KeyInfo| {
            let same_version =
                (old.purpose, old.algorithm, old.version) == (info.purpose, info.algorithm, info.version);
            old.id == info.id
                || same_version && info.state != State::VerifyOnly
                || (info.public.is_some() && old.public == info.public)
        };
        let same_secret = |old: &Key| old.secret.is_some() && old.secret == key.secret;
        if let Some(old) = self.keys.iter().find(|old| taken(&old.info) || same_secret(old)) {
            return Err(KeyError::Duplicate { id: old.info.id.clone() });
        }
        self.touched.push(info.id.clone());
        self.keys.push(key);
        Ok(())
    }

    /// A fresh key like another one.
    fn like(&self, old: &KeyInfo, version: u32, now: Micros) -> Result<Key, KeyError> {
        let secret = material::generate_like(old.algorithm, old.public.as_deref())?;
        key_of(old.purpose, old.algorithm, version, old.cryptoperiod_days, now, secret)
    }

    /// Puts the prepared key, or a fresh one, in the place of an active one.
    fn rotate(&mut self, id: &str, now: Micros) -> Result<(), KeyError> {
        let old = self.get(id)?.info.clone();
        let alike = |info: &KeyInfo| (info.purpose, info.algorithm) == (old.purpose, old.algorithm);
        let prepared = self.keys.iter().map(|key| &key.info);
        // Whoever stole a key may have those that lay beside it.
        let theft = self.keys.iter().filter_map(|key| key.info.compromised_at).max();
        let fresh = |info: &KeyInfo| theft.is_none_or(|at| info.created_at > at);
        let prepared = prepared.filter(|info| info.state == State::PreActive && alike(info) && fresh(info));
        let new = match prepared.max_by_key(|info| info.version) {
            Some(info) => info.id.clone(),
            None => {
                let version = self.next_version(old.purpose, old.algorithm)?;
                self.add(self.like(&old, version, now)?)?;
                self.newest_id()
            }
        };
        self.step(id, State::VerifyOnly, now)?;
        self.step(&new, State::Active, now)
    }

    /// Brings a key into a state, if NIST SP 800-57 lets it.
    fn step(&mut self, id: &str, to: State, now: Micros) -> Result<(), KeyError> {
        let info = &mut self.get_mut(id)?.info;
        let from = info.state;
        if !from.may_become(to) {
            return Err(KeyError::Forbidden { id: id.to_owned(), from, to, remedy: from.remedy(to) });
        }
        check_clock(info, now)?;
        // A clock that lags a little behind that of whoever changed the ring before: times stay in order.
        let at = Some(now.max(info.newest().1));
        match to {
            State::PreActive => {}
            State::Active => info.activated_at = at,
            State::VerifyOnly => info.retired_at = at,
            State::Compromised => info.compromised_at = at,
            State::Destroyed => info.destroyed_at = at,
        }
        info.state = to;
        if !self.touched.iter().any(|touched| touched == id) {
            self.touched.push(id.to_owned());
        }
        Ok(())
    }
}

/// Whether only one of two keys may be active. Entries are signed by one key, whatever its algorithm.
fn serves_alike(a: &KeyInfo, b: &KeyInfo) -> bool {
    a.purpose == b.purpose && (a.purpose == Purpose::EntrySigning || a.algorithm == b.algorithm)
}

fn is_needed(info: &KeyInfo) -> bool {
    info.purpose == Purpose::EntrySigning || info.algorithm == KeyAlgorithm::Checkpoint(Algorithm::Ed25519)
}

fn check_reason(reason: &str) -> Result<(), KeyError> {
    let detail = match reason {
        _ if reason.trim().is_empty() => "is empty",
        _ if reason.len() > MAX_REASON_BYTES => "is longer than 1,000 bytes",
        _ if reason.chars().any(char::is_control) => "has control characters",
        _ => return Ok(()),
    };
    Err(KeyError::Reason { detail })
}

/// A new key, not yet active, of a purpose and algorithm, and for RSA of a size.
pub(super) fn fresh(
    (purpose, algorithm, rsa_bits): (Purpose, KeyAlgorithm, Option<u32>),
    version: u32,
    cryptoperiod_days: u32,
    now: Micros,
) -> Result<Key, KeyError> {
    if KeyAlgorithm::parse(purpose, algorithm.name()) != Some(algorithm) {
        return Err(material::wrong_type(purpose, algorithm.name(), "what was asked for"));
    }
    key_of(purpose, algorithm, version, cryptoperiod_days, now, material::generate(algorithm, rsa_bits)?)
}

/// A key of a given secret, not yet active.
fn key_of(
    purpose: Purpose,
    algorithm: KeyAlgorithm,
    version: u32,
    cryptoperiod_days: u32,
    now: Micros,
    secret: Secret,
) -> Result<Key, KeyError> {
    let public = material::public(purpose, algorithm, &secret, "the new key")?;
    let id = id_of(purpose, version, &secret, public.as_deref());
    let info = KeyInfo {
        id: id.ok_or_else(|| KeyError::Invalid { what: format!("the new key for {purpose}") })?,
        purpose,
        algorithm,
        version,
        state: State::PreActive,
        created_at: now,
        activated_at: None,
        retired_at: None,
        compromised_at: None,
        destroyed_at: None,
        reason: None,
        cryptoperiod_days,
        public,
    };
    Ok(Key { info, secret: Some(secret) })
}
