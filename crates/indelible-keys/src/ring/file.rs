//! The form of the ring file (`docs/format.md` section 3): format 2, and format 1 as it was written before there were states.
//!
//! Reading checks everything that can be checked without a log: every key has the bytes that its id was made from, no id and no version is there
//! twice, no purpose and algorithm has two active keys, times fit states. An entry-signing key and an Ed25519 checkpoint key are always active.

use std::{collections::BTreeSet, io::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::{hex, mac::EntryAlgorithm, time::Micros};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    disk::MAX_RING_BYTES,
    key::{Key, KeyInfo, Secret, id_of},
    master::{Master, MasterForm, MasterKind},
    material,
    policy::Cryptoperiods,
    purpose::{KeyAlgorithm, Purpose},
    state::State,
};
use crate::{Algorithm, KeyError, Require};

/// The format that is written.
const FORMAT: u32 = 2;

/// What a ring is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Everything: it has the active keys that a writer needs.
    Signing,
    /// What it has verifies, whatever it lacks.
    Verifying,
}

/// What a ring file says, its secrets apart.
pub(crate) struct Parsed {
    pub(crate) keys: Vec<(KeyInfo, Option<Stored>)>,
    pub(crate) master: Option<MasterForm>,
    pub(crate) require: Require,
}

/// A secret as it stands in the file: in hexadecimal, or wrapped.
pub(crate) struct Stored(Zeroizing<String>);

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingForm1 {
    keys: Vec<KeyForm1>,
    #[serde(rename = "v")]
    _v: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm1 {
    algorithm: String,
    created_at: String,
    id: String,
    purpose: String,
    secret: SecretText,
    state: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingForm {
    keys: Vec<KeyForm>,
    #[serde(deserialize_with = "Option::deserialize")]
    master: Option<MasterForm>,
    require: String,
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activated_at: Option<String>,
    algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compromised_at: Option<String>,
    created_at: String,
    cryptoperiod_days: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroyed_at: Option<String>,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public: Option<String>,
    purpose: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<SecretText>,
    state: String,
    version: u32,
}

/// Text that is wiped when it is dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct SecretText(String);

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SecretText {
    fn take(&mut self) -> Zeroizing<String> {
        Zeroizing::new(std::mem::take(&mut self.0))
    }
}

/// Says what is wrong with a file, without its content: whatever stands in a damaged file may be a secret that came into another member.
fn malformed(place: &Path, detail: impl Into<String>) -> KeyError {
    KeyError::Malformed { place: place.display().to_string(), detail: detail.into() }
}

/// Reads a ring file as far as that goes without its master key.
pub(crate) fn parse(text: &[u8], place: &Path, what_for: For) -> Result<Parsed, KeyError> {
    let unread = |error: serde_json::Error| {
        malformed(place, format!("it breaks off or was edited at line {}, column {}", error.line(), error.column()))
    };
    let version: Version = serde_json::from_slice(text).map_err(unread)?;
    let parsed = match version.v {
        1 => of_form_1(serde_json::from_slice(text).map_err(unread)?, place)?,
        2 => of_form_2(serde_json::from_slice(text).map_err(unread)?, place)?,
        0 => return Err(malformed(place, "it has format 0, which there never was")),
        format => return Err(KeyError::Newer { place: place.display().to_string(), format }),
    };
    let active = check_ring(&parsed, place)?;
    if what_for == For::Signing {
        check_active(&active, parsed.require, place)?;
    }
    Ok(parsed)
}

fn of_form_1(mut form: RingForm1, place: &Path) -> Result<Parsed, KeyError> {
    let mut keys = Vec::new();
    for (at, key) in form.keys.iter_mut().enumerate() {
        check_id(at, &key.id, place)?;
        let (purpose, algorithm) = kind(&key.id, &key.purpose, &key.algorithm, place)?;
        let created_at = time(&key.id, "created_at", &key.created_at, place)?;
        let stored = Stored(key.secret.take());
        if key.state != State::Active.name() {
            return Err(malformed(place, format!("key `{}` has a state that format 1 does not know", key.id)));
        }
        let public = match purpose {
            Purpose::CheckpointSigning => {
                let secret = stored.plain(&key.id, algorithm, place)?;
                material::public(purpose, algorithm, &secret, &named(&key.id))?
            }
            _ => None,
        };
        let info = KeyInfo {
            id: key.id.clone(),
            purpose,
            algorithm,
            version: key.version,
            state: State::Active,
            created_at,
            activated_at: Some(created_at),
            retired_at: None,
            compromised_at: None,
            destroyed_at: None,
            reason: None,
            cryptoperiod_days: Cryptoperiods::default().of(purpose),
            public,
        };
        keys.push((info, Some(stored)));
    }
    let known = [KeyAlgorithm::Entry(EntryAlgorithm::HmacSha256), KeyAlgorithm::Checkpoint(Algorithm::Ed25519)];
    if keys.len() != 2 || !known.iter().all(|wanted| keys.iter().any(|(info, _)| info.algorithm == *wanted)) {
        return Err(malformed(place, "it should hold one entry-signing and one Ed25519 checkpoint key"));
    }
    Ok(Parsed { keys, master: None, require: Require::All })
}

fn of_form_2(mut form: RingForm, place: &Path) -> Result<Parsed, KeyError> {
    if form.master.as_ref().is_some_and(|master| !master.is_whole()) {
        return Err(malformed(place, "what it says of its master key is not what a ring says"));
    }
    let require = form.require.parse();
    let require = require.map_err(|_| malformed(place, "`require` is neither `all` nor a number from 1"))?;
    let mut keys = Vec::new();
    for (at, key) in form.keys.iter_mut().enumerate() {
        check_id(at, &key.id, place)?;
        let secret = key.secret.as_mut().map(|secret| Stored(secret.take()));
        keys.push((info_of(key, place)?, secret));
    }
    Ok(Parsed { keys, master: form.master, require })
}

fn info_of(key: &KeyForm, place: &Path) -> Result<KeyInfo, KeyError> {
    let (purpose, algorithm) = kind(&key.id, &key.purpose, &key.algorithm, place)?;
    let state = State::parse(&key.state);
    let state =
        state.ok_or_else(|| malformed(place, format!("key `{}` has a state that is not known here", key.id)))?;
    let some_time =
        |member, text: &Option<String>| text.as_ref().map(|text| time(&key.id, member, text, place)).transpose();
    let public = key.public.as_ref().map(|text| {
        STANDARD.decode(text).map_err(|_| malformed(place, format!("the public key of `{}` is not base64", key.id)))
    });
    Ok(KeyInfo {
        id: key.id.clone(),
        purpose,
        algorithm,
        version: key.version,
        state,
        created_at: time(&key.id, "created_at", &key.created_at, place)?,
        activated_at: some_time("activated_at", &key.activated_at)?,
        retired_at: some_time("retired_at", &key.retired_at)?,
        compromised_at: some_time("compromised_at", &key.compromised_at)?,
        destroyed_at: some_time("destroyed_at", &key.destroyed_at)?,
        reason: key.reason.clone(),
        cryptoperiod_days: key.cryptoperiod_days,
        public: public.transpose()?,
    })
}

/// That an id has the form of one: two letters, a version, and sixteen digits of a hash. So messages may name it, and `keys list` show it.
fn check_id(at: usize, id: &str, place: &Path) -> Result<(), KeyError> {
    let prefix = Purpose::ALL.into_iter().find_map(|purpose| id.strip_prefix(purpose.prefix()));
    let whole = prefix.and_then(|rest| rest.split_once('-')).is_some_and(|(version, tag)| {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        version.parse::<u32>().is_ok_and(|number| number.to_string() == version) && tag.len() == 16 && digits(tag)
    });
    if whole { Ok(()) } else { Err(malformed(place, format!("the `id` of its key {} is no key's id", at + 1))) }
}

fn kind(id: &str, purpose: &str, algorithm: &str, place: &Path) -> Result<(Purpose, KeyAlgorithm), KeyError> {
    let known = Purpose::parse(purpose);
    let known = known.ok_or_else(|| malformed(place, format!("key `{id}` has a purpose that is not known here")))?;
    match KeyAlgorithm::parse(known, algorithm) {
        Some(algorithm) => Ok((known, algorithm)),
        None if is_algorithm(algorithm) => Err(material::wrong_type(known, algorithm, &named(id))),
        None => Err(malformed(place, format!("key `{id}` has an algorithm that is not known here"))),
    }
}

/// Whether a key for anything has an algorithm of this name, so that a message may show it.
fn is_algorithm(name: &str) -> bool {
    Purpose::ALL.into_iter().any(|purpose| KeyAlgorithm::parse(purpose, name).is_some())
}

fn time(id: &str, member: &str, text: &str, place: &Path) -> Result<Micros, KeyError> {
    // Format 1 was written with any RFC 3339 time.
    Micros::parse(text).ok_or_else(|| malformed(place, format!("`{member}` of key `{id}` is no time")))
}

fn named(id: &str) -> String {
    format!("key `{id}`")
}

/// What keys are for and how, of those that are active.
type Active = BTreeSet<(Purpose, &'static str)>;

/// What holds of all keys together. Returns what is active.
fn check_ring(parsed: &Parsed, place: &Path) -> Result<Active, KeyError> {
    let (mut ids, mut versions, mut active) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (info, stored) in &parsed.keys {
        let (id, kind) = (&info.id, (info.purpose, info.algorithm.name()));
        check_key(info, stored.is_some(), place)?;
        // A key that came back to verify only may have the version of one that was made since.
        let usable = matches!(info.state, State::PreActive | State::Active);
        if !ids.insert(id) || usable && !versions.insert((kind, info.version)) {
            return Err(malformed(place, format!("key `{id}`, or its version, is there twice")));
        }
        // Entries are signed by one key, whatever the algorithm.
        let kind = if info.purpose == Purpose::EntrySigning { (info.purpose, "") } else { kind };
        if info.state == State::Active && !active.insert(kind) {
            return Err(malformed(place, format!("key `{id}` is active beside another one for the same use")));
        }
    }
    Ok(active)
}

/// That there are active keys for what every writer does.
fn check_active(active: &Active, require: Require, place: &Path) -> Result<(), KeyError> {
    for kind in [(Purpose::EntrySigning, ""), (Purpose::CheckpointSigning, Algorithm::Ed25519.name())] {
        if !active.contains(&kind) {
            return Err(malformed(place, format!("it should hold one active `{}` key", kind.0)));
        }
    }
    let signers = active.iter().filter(|(purpose, _)| *purpose == Purpose::CheckpointSigning).count();
    check_policy(require, signers)
}

/// That as many keys can sign as have to.
pub(crate) fn check_policy(require: Require, keys: usize) -> Result<(), KeyError> {
    match require {
        Require::AtLeast(require) if usize::try_from(require).is_ok_and(|require| require > keys) => {
            Err(KeyError::Policy { require, keys })
        }
        _ => Ok(()),
    }
}

/// What holds of each key.
fn check_key(info: &KeyInfo, has_secret: bool, place: &Path) -> Result<(), KeyError> {
    let checkpoint = info.purpose == Purpose::CheckpointSigning;
    let reached = |state, time: Option<Micros>| info.state != state || time.is_some();
    let whole = info.version > 0
        && has_secret == (info.state != State::Destroyed)
        && info.public.is_some() == checkpoint
        && reached(State::Active, info.activated_at)
        && reached(State::Compromised, info.compromised_at)
        && reached(State::Destroyed, info.destroyed_at);
    if !whole {
        return Err(malformed(
            place,
            format!("key `{}` has not the members that its state and purpose ask for", info.id),
        ));
    }
    // Without the secret, which may be wrapped, as far as that goes; the rest follows when it is unwrapped.
    let by_public = info.public.as_deref().and_then(|public| id_of(info.purpose, info.version, &[], Some(public)));
    if checkpoint && by_public.as_ref() != Some(&info.id) {
        return Err(KeyError::WrongBytes { id: info.id.clone(), place: place.display().to_string() });
    }
    Ok(())
}

impl Stored {
    /// The secret where nothing wraps it.
    fn plain(&self, id: &str, algorithm: KeyAlgorithm, place: &Path) -> Result<Secret, KeyError> {
        if material::secret_bytes(algorithm) == Some(material::SECRET_BYTES)
            && self.0.len() != 2 * material::SECRET_BYTES
            && self.0.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(KeyError::WrongLength {
                what: format!("{} in `{}`", named(id), place.display()),
                algorithm: algorithm.to_string(),
                found: self.0.len() / 2,
                wanted: material::SECRET_BYTES,
            });
        }
        let bytes = hex_bytes(self.0.as_bytes());
        bytes.ok_or_else(|| malformed(place, format!("the secret of `{id}` is not lower-case hexadecimal")))
    }

    /// The secret, and that it is the one that the id was made from.
    fn secret(&self, info: &KeyInfo, master: Option<&Master>, place: &Path) -> Result<Secret, KeyError> {
        let displayed = || place.display().to_string();
        let secret = match master {
            None => self.plain(&info.id, info.algorithm, place)?,
            Some(master) => master
                .unwrap(info, &self.0)
                .ok_or_else(|| KeyError::Displaced { id: info.id.clone(), place: displayed() })?,
        };
        let what = format!("{} in `{}`", named(&info.id), place.display());
        let public = material::public(info.purpose, info.algorithm, &secret, &what)?;
        let id = id_of(info.purpose, info.version, &secret, public.as_deref());
        if id.as_ref() != Some(&info.id) || public != info.public {
            return Err(KeyError::WrongBytes { id: info.id.clone(), place: displayed() });
        }
        Ok(secret)
    }
}

/// Bytes of any length from lower-case digits.
fn hex_bytes(text: &[u8]) -> Option<Secret> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for pair in pairs {
        let [byte] = hex::decode::<1>(pair)?;
        bytes.push(byte);
    }
    Some(bytes)
}

impl Parsed {
    /// How the master key is had; `None` where the ring is not wrapped.
    pub(crate) fn master_kind(&self) -> Option<MasterKind> {
        self.master.as_ref().and_then(MasterForm::kind)
    }

    /// The keys with their secrets.
    pub(crate) fn open(self, master: Option<&Master>, place: &Path) -> Result<Vec<Key>, KeyError> {
        let open = |(info, stored): (KeyInfo, Option<Stored>)| {
            let secret = stored.map(|stored| stored.secret(&info, master, place)).transpose()?;
            Ok(Key { info, secret })
        };
        self.keys.into_iter().map(open).collect()
    }
}

/// The bytes of a ring file. They are parsed and checked before they are given out, so that nothing is written that would not read back.
pub(crate) fn render(
    keys: &[Key],
    master: Option<&Master>,
    require: Require,
    place: &Path,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let keys = keys.iter().map(|key| form_of(key, master)).collect::<Result<_, _>>()?;
    let form = RingForm { keys, master: master.map(|m| m.form().clone()), require: require.to_string(), v: FORMAT };
    // Long enough at once, so that no copy of a secret is left behind where the buffer grew. What does not fit would not be read again.
    let most = usize::try_from(MAX_RING_BYTES).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(vec![0; most]);
    let mut rest = &mut text[..];
    let written = serde_json::to_writer_pretty(&mut rest, &form)
        .and_then(|()| rest.write_all(b"\n").map_err(serde_json::Error::io));
    let left = rest.len();
    written.map_err(|_| KeyError::RingFull { place: place.display().to_string(), bytes: MAX_RING_BYTES })?;
    text.truncate(most - left);
    parse(&text, place, For::Signing)?.open(master, place)?;
    Ok(text)
}

fn form_of(key: &Key, master: Option<&Master>) -> Result<KeyForm, KeyError> {
    let info = &key.info;
    let secret = match (&key.secret, master) {
        (None, _) => None,
        (Some(secret), None) => Some(SecretText(hex::encode(secret))),
        (Some(secret), Some(master)) => Some(SecretText(master.wrap(info, secret)?)),
    };
    let time = |at: Option<Micros>| at.map(|at| at.to_string());
    Ok(KeyForm {
        activated_at: time(info.activated_at),
        algorithm: info.algorithm.to_string(),
        compromised_at: time(info.compromised_at),
        created_at: info.created_at.to_string(),
        cryptoperiod_days: info.cryptoperiod_days,
        destroyed_at: time(info.destroyed_at),
        id: info.id.clone(),
        public: info.public.as_ref().map(|public| STANDARD.encode(public)),
        purpose: info.purpose.name().to_owned(),
        reason: info.reason.clone(),
        retired_at: time(info.retired_at),
        secret,
        state: info.state.to_string(),
        version: info.version,
    })
}
