//! The key history of a log: which entry key and which checkpoint keys are right where, by the log's own authorised word.
//!
//! Entry 0 names the first keys, and each `keys` record says all of the history again with what is new at its index
//! (`docs/format.md` sections 3 and 6). A history only grows: [`KeyHistory::extended`] refuses whatever changes what was.
//!
//! Not here: secrets and key rings (`indelible-keys`), and which records a verifier has met (`indelible::verify`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    control::{Authorisation, Control, ControlError, LogCreated},
    entry::MAX_EVENT_BYTES,
    mac::{EntryAlgorithm, LogId, checkpoint_key_tag},
    note::{Algorithm, KeySet, Note, NoteError, NoteSignature, Require, VerifyingKey},
    tree::{LeafIndex, TreeSize},
};

/// The most sets and entry keys together that one log may have. At about 110 bytes for an entry key and 120 for a set of one Ed25519 key, 230 under the longest
/// origin, a record of so many takes 30,000 to 58,000 of the bytes that it may have ([`MAX_KEYS_BYTES`]).
///
/// Larger keys fill the record before. A set with an ML-DSA-44 key takes 1,900 to 2,100 bytes, and that key's authorisation of the record 5,100: there is room for about 30 such sets,
/// 27 under the longest origin. A set with an RSA key of 4,096 bits takes 900 to 1,100 bytes: about 60.
pub const MAX_KEYS: usize = 256;

/// The most bytes of a `keys` record. As for events: the rest of the 65,535 that an entry may have is for what stands around it.
pub const MAX_KEYS_BYTES: usize = MAX_EVENT_BYTES;

/// The most withdrawals in a history.
pub const MAX_WITHDRAWN: usize = 256;

/// A `keys` record: the whole history as of its index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysRecord {
    /// Signatures of checkpoint keys in force before this record, as many as their policy requires. Empty only while they are being made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorisations: Vec<Authorisation>,
    /// Sets of checkpoint keys, in the order in which they came.
    pub checkpoint_keys: Vec<CheckpointKeys>,
    /// Entry keys, in the order in which they came.
    pub entry_keys: Vec<EntryEpoch>,
    /// Why there is something new.
    pub reason: String,
    /// Keys that are not to be relied on any more.
    pub withdrawn: Vec<Withdrawn>,
}

/// A set of checkpoint keys as a record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointKeys {
    /// Index of the entry that introduced it: checkpoints of a larger size are under it.
    pub first: u64,
    /// Public keys, as vkeys.
    pub keys: Vec<String>,
    /// How many of them a checkpoint needs: `all`, or a number.
    pub require: String,
}

/// An entry key and where it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryEpoch {
    /// `HMAC-SHA256` or `HMAC-SHA-512-256`.
    pub algorithm: String,
    /// Ordinal in this log, from 1.
    pub epoch: u64,
    /// Index of the entry that introduced it, which is the first one that it signs.
    pub first: u64,
    /// The key's id.
    pub id: String,
    /// Version in its ring.
    pub version: u32,
}

/// Why a key is not to be relied on any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawnState {
    /// Somebody else may have it.
    Compromised,
    /// Nobody has it any more.
    Destroyed,
}

impl WithdrawnState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }
}

/// A key that is not to be relied on from an index on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawn {
    /// From which index on.
    pub from: u64,
    /// Id of the key: an entry key of the history, or a checkpoint key by the id that its ring gives it.
    pub id: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// What happened to it.
    pub state: WithdrawnState,
}

/// Why a history does not hold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A list contradicts itself.
    #[error("the key history is not in order: {0}")]
    Malformed(String),
    /// The record changes what was.
    #[error("the record does not continue the key history before it: {0}")]
    Changed(String),
    /// Too many keys.
    #[error(
        "a log has at most {MAX_KEYS} sets of checkpoint keys and entry keys together, and {MAX_WITHDRAWN} withdrawals: go on under a new name with `indelible log succeed`"
    )]
    Full,
    /// The record does not fit into an entry.
    #[error(
        "a record of all the keys that the log has had, with this change, has {bytes} bytes of at most {MAX_KEYS_BYTES}: go on under a new name with `indelible log succeed`, by checkpoint keys that take less room if it is to last longer"
    )]
    TooLong {
        /// What it would have.
        bytes: usize,
    },
    /// The authorisation is missing or wrong.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// What is new in a record.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new entry key: algorithm, id, version.
    pub entry_key: Option<(EntryAlgorithm, String, u32)>,
    /// A new set of checkpoint keys.
    pub set: Option<KeySet>,
    /// Keys to withdraw.
    pub withdrawn: Vec<Withdrawn>,
    /// Why.
    pub reason: String,
}

/// What is known of the entries between the record that a history ends with and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// They were all looked at: none of them is a `keys` record.
    Nothing,
    /// Some of them were passed over or are not there: `keys` records among them may have brought entry keys. One that brought checkpoint keys cannot be passed over, for
    /// it takes its authority from those before.
    Unseen,
}

/// A set of checkpoint keys and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetEpoch {
    /// Index of the entry that introduced it.
    pub first: u64,
    /// The keys and their policy.
    pub set: KeySet,
}

/// The keys of a log from its beginning on. There is always at least one entry key and one set, both from entry 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHistory {
    origin: String,
    entry_keys: Vec<EntryEpoch>,
    sets: Vec<SetEpoch>,
    withdrawn: Vec<Withdrawn>,
    /// Index of the entry that said it last.
    newest: u64,
}

impl KeyHistory {
    /// The history that begins with entry 0.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`].
    pub fn of_created(created: &LogCreated) -> Result<Self, HistoryError> {
        let first = EntryEpoch {
            algorithm: created.entry_key.algorithm.clone(),
            epoch: created.entry_key.epoch,
            first: 0,
            id: created.entry_key.id.clone(),
            version: created.entry_key.version,
        };
        let keys =
            CheckpointKeys { first: 0, keys: created.checkpoint_keys.clone(), require: created.policy.require.clone() };
        Self::new(&created.origin, vec![first], &[keys], Vec::new(), 0)
    }

    /// The history of a log of which nothing but one public key and the id of an entry key is known.
    #[must_use]
    pub fn of_one_key(key: &VerifyingKey, entry_key: &str) -> Option<Self> {
        let first = EntryEpoch {
            algorithm: EntryAlgorithm::HmacSha256.to_string(),
            epoch: 1,
            first: 0,
            id: entry_key.to_owned(),
            version: 1,
        };
        let set = KeySet::new(vec![key.clone()], Require::All).ok()?;
        let sets = vec![SetEpoch { first: 0, set }];
        Some(Self { origin: key.name().to_owned(), entry_keys: vec![first], sets, withdrawn: Vec::new(), newest: 0 })
    }

    /// The history of one key and one entry key, where that one is known to be of another epoch than the first.
    #[must_use]
    pub fn in_epoch(mut self, epoch: u64) -> Self {
        if let [only] = self.entry_keys.as_mut_slice() {
            only.epoch = epoch;
        }
        self
    }

    /// The history that a record at `index` says, whatever was before.
    ///
    /// # Errors
    /// [`HistoryError::Malformed`], [`HistoryError::Full`].
    pub fn of_record(record: &KeysRecord, origin: &str, index: LeafIndex) -> Result<Self, HistoryError> {
        let KeysRecord { entry_keys, checkpoint_keys, withdrawn, .. } = record;
        Self::new(origin, entry_keys.clone(), checkpoint_keys, withdrawn.clone(), index.0)
    }

    fn new(
        origin: &str,
        entry_keys: Vec<EntryEpoch>,
        sets: &[CheckpointKeys],
        withdrawn: Vec<Withdrawn>,
        newest: u64,
    ) -> Result<Self, HistoryError> {
        if entry_keys.len() + sets.len() > MAX_KEYS || withdrawn.len() > MAX_WITHDRAWN {
            return Err(HistoryError::Full);
        }
        check_epochs(&entry_keys, newest)?;
        let sets = sets.iter().map(|keys| parse_set(keys, origin)).collect::<Result<Vec<_>, _>>()?;
        if sets.first().is_none_or(|set| set.first != 0) || sets.last().is_some_and(|set| set.first > newest) {
            return Err(malformed("the sets of checkpoint keys do not begin with entry 0 and end at this one"));
        }
        if let Some(later) = withdrawn.iter().find(|key| key.from > newest) {
            let Withdrawn { id, from, .. } = later;
            return Err(malformed(&format!("key `{id}` is withdrawn from entry {from} on, which is behind this one")));
        }
        if let Some(key) = strange(&withdrawn, &entry_keys, &sets) {
            return Err(malformed(&format!("key `{}` is withdrawn, and the log never had it", key.id)));
        }
        if sets.is_sorted_by(|one, next| one.first < next.first) {
            return Ok(Self { origin: origin.to_owned(), entry_keys, sets, withdrawn, newest });
        }
        Err(malformed("the sets of checkpoint keys are not in the order of their first entries"))
    }

    /// The log's unique name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Index of the entry that said it last: 0 where no `keys` record did.
    #[must_use]
    pub fn newest(&self) -> LeafIndex {
        LeafIndex(self.newest)
    }

    /// All entry keys.
    #[must_use]
    pub fn entry_keys(&self) -> &[EntryEpoch] {
        &self.entry_keys
    }

    /// All sets of checkpoint keys.
    #[must_use]
    pub fn sets(&self) -> &[SetEpoch] {
        &self.sets
    }

    /// Keys that are not to be relied on any more.
    #[must_use]
    pub fn withdrawn(&self) -> &[Withdrawn] {
        &self.withdrawn
    }

    /// The entry key in force at an index.
    #[must_use]
    pub fn entry_key_at(&self, index: LeafIndex) -> Option<&EntryEpoch> {
        self.entry_keys.iter().rev().find(|key| key.first <= index.0)
    }

    /// The range of indices that an entry key is in force at: from, and before which one.
    #[must_use]
    pub fn range_of(&self, id: &str) -> Option<(u64, u64)> {
        let at = self.entry_keys.iter().position(|key| key.id == id)?;
        let end = self.entry_keys.get(at + 1).map_or(u64::MAX, |next| next.first);
        self.entry_keys.get(at).map(|key| (key.first, end))
    }

    /// An entry key by its id.
    #[must_use]
    pub fn entry_key(&self, id: &str) -> Option<&EntryEpoch> {
        self.entry_keys.iter().find(|key| key.id == id)
    }

    /// The newest entry key.
    #[must_use]
    pub fn current_entry_key(&self) -> Option<&EntryEpoch> {
        self.entry_keys.last()
    }

    /// The newest set of checkpoint keys.
    #[must_use]
    pub fn current_set(&self) -> Option<&KeySet> {
        self.sets.last().map(|set| &set.set)
    }

    /// The set in force for checkpoints of a size, by its place among [`KeyHistory::sets`].
    #[must_use]
    pub fn set_number(&self, size: TreeSize) -> usize {
        self.sets.iter().rposition(|set| set.first < size.0).unwrap_or(0)
    }

    /// The set in force for checkpoints of a size.
    #[must_use]
    pub fn set_for(&self, size: TreeSize) -> Option<&KeySet> {
        self.sets.get(self.set_number(size)).map(|set| &set.set)
    }

    /// The sets that a checkpoint of `size` has to satisfy where the newest kept one before it has size `kept`: the one in force, and those
    /// that it is the first kept one over the end of. Where nothing changed in between that is one set.
    #[must_use]
    pub fn sets_between(&self, kept: TreeSize, size: TreeSize) -> &[SetEpoch] {
        let (from, until) = (self.set_number(kept), self.set_number(size));
        self.sets.get(from.min(until)..=until).unwrap_or_default()
    }

    /// Whether a public key is in some set, and if so from which on and through which set without a break.
    #[must_use]
    pub fn reign_of(&self, key: &VerifyingKey) -> Option<(usize, usize)> {
        let has = |set: &SetEpoch| set.set.keys().contains(key);
        let last = self.sets.iter().rposition(has)?;
        let reign = self.sets.iter().take(last + 1).rev().take_while(|set| has(set)).count();
        Some((last + 1 - reign, last))
    }

    /// The reign of whichever of these keys is in the latest set.
    #[must_use]
    pub fn reign_of_any(&self, keys: &[VerifyingKey]) -> Option<(usize, usize)> {
        keys.iter().filter_map(|key| self.reign_of(key)).max_by_key(|(_, last)| *last)
    }

    /// This history as it was behind the first `size` entries. Withdrawals have no place of their own: they are there where the newest record is.
    #[must_use]
    pub fn until(&self, size: TreeSize) -> Self {
        if self.newest < size.0 {
            return self.clone();
        }
        let mut past = self.clone();
        past.entry_keys.retain(|key| key.first < size.0);
        past.sets.retain(|set| set.first < size.0);
        past.withdrawn = Vec::new();
        let firsts = past.entry_keys.iter().map(|key| key.first).chain(past.sets.iter().map(|set| set.first));
        past.newest = firsts.max().unwrap_or(0);
        past
    }

    /// Reads a signed checkpoint and verifies it by the set in force for its size.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let parsed = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(parsed.text())?;
        let present = || parsed.signatures().iter().map(NoteSignature::key_id).collect();
        let none = || NoteError::TooFewSignatures {
            require: Require::All,
            signed: Vec::new(),
            missing: Vec::new(),
            present: present(),
        };
        // There is always a set; without one nothing would be signed.
        self.set_for(checkpoint.head.size).ok_or_else(none)?.verify(&parsed)?;
        if checkpoint.origin != self.origin {
            return Err(CheckpointError::OtherOrigin { expected: self.origin.clone(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }

    /// Whether this history begins with all of another one.
    #[must_use]
    pub fn goes_on(&self, before: &Self) -> bool {
        self.entry_keys.starts_with(&before.entry_keys)
            && self.sets.starts_with(&before.sets)
            && self.withdrawn.starts_with(&before.withdrawn)
    }

    /// The Ed25519 key of the newest set.
    #[must_use]
    pub fn public_key(&self) -> Option<&VerifyingKey> {
        self.current_set()?.keys().iter().find(|key| key.algorithm() == Algorithm::Ed25519)
    }

    /// The record that says this history with a change at `index`, without its authorisations.
    ///
    /// # Errors
    /// [`HistoryError::Full`], [`HistoryError::Malformed`] where the change cannot be.
    pub fn changed(&self, index: LeafIndex, change: Change) -> Result<KeysRecord, HistoryError> {
        let mut record = self.record(change.reason);
        if let Some((algorithm, id, version)) = change.entry_key {
            let epoch = self.entry_keys.last().map_or(1, |last| last.epoch + 1);
            let algorithm = algorithm.to_string();
            record.entry_keys.push(EntryEpoch { algorithm, epoch, first: index.0, id, version });
        }
        if let Some(set) = change.set {
            record.checkpoint_keys.push(wire_set(&SetEpoch { first: index.0, set }));
        }
        record.withdrawn.extend(change.withdrawn);
        Self::of_record(&record, &self.origin, index)?;
        Ok(record)
    }

    /// A record that says this history and nothing new, without its authorisations.
    #[must_use]
    pub fn record(&self, reason: String) -> KeysRecord {
        KeysRecord {
            authorisations: Vec::new(),
            checkpoint_keys: self.sets.iter().map(wire_set).collect(),
            entry_keys: self.entry_keys.clone(),
            reason,
            withdrawn: self.withdrawn.clone(),
        }
    }

    /// The history with a record at `index` taken in, whose authorisation is verified. Where entries between what this history knows and the
    /// record were not looked at, it may say more than one change.
    ///
    /// # Errors
    /// [`HistoryError`]: the record changes nothing then.
    pub fn extended(
        &self,
        record: &KeysRecord,
        index: LeafIndex,
        log_id: LogId,
        between: Between,
    ) -> Result<Self, HistoryError> {
        let next = Self::of_record(record, &self.origin, index)?;
        continues(&self.entry_keys, &next.entry_keys, "entry keys")?;
        continues(&self.sets, &next.sets, "sets of checkpoint keys")?;
        continues(&self.withdrawn, &next.withdrawn, "withdrawn keys")?;
        let new_keys: Vec<u64> = next.entry_keys.iter().skip(self.entry_keys.len()).map(|key| key.first).collect();
        let new_sets: Vec<u64> = next.sets.iter().skip(self.sets.len()).map(|set| set.first).collect();
        // A set of checkpoint keys that comes in elsewhere would authorise itself.
        for (firsts, loose) in [(new_keys, between != Between::Nothing), (new_sets, false)] {
            let here = firsts.iter().all(|first| *first == index.0) && firsts.len() <= 1;
            let lost = loose && firsts.iter().all(|first| *first > self.newest && *first <= index.0);
            if !here && !lost {
                return Err(HistoryError::Changed("keys come in elsewhere than at this entry".to_owned()));
            }
        }
        let before = self.set_for(TreeSize(index.0));
        let control = Control::Keys(record.clone());
        let set = before.ok_or_else(|| malformed("there is no set of checkpoint keys before it"))?;
        control.verify_authorisations(log_id, &self.origin, index, set)?;
        Ok(next)
    }

    /// Checks a record at `index` that this history knows already: that it says what the history was there, and has the authority to.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn agrees(&self, record: &KeysRecord, index: LeafIndex, log_id: LogId) -> Result<(), HistoryError> {
        // That withdrawals are among those of later is all that can be said of them here.
        let past = Self { withdrawn: Vec::new(), ..self.until(TreeSize(index.0)) };
        let said = past.extended(record, index, log_id, Between::Nothing)?;
        continues(&said.entry_keys, &self.entry_keys, "entry keys")?;
        continues(&said.sets, &self.sets, "sets of checkpoint keys")?;
        continues(&said.withdrawn, &self.withdrawn, "withdrawn keys")
    }
}

fn continues<T: PartialEq>(before: &[T], after: &[T], what: &str) -> Result<(), HistoryError> {
    if after.starts_with(before) {
        return Ok(());
    }
    Err(HistoryError::Changed(format!("the {what} that were there before are not the same")))
}

/// The first withdrawn key that the log never had: whose id is neither that of an entry key, nor may be that of a checkpoint key, whose version only a ring tells.
fn strange<'a>(withdrawn: &'a [Withdrawn], entry_keys: &[EntryEpoch], sets: &[SetEpoch]) -> Option<&'a Withdrawn> {
    let written =
        |version: &str| version.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == version);
    let is_entry_key = |id: &str| entry_keys.iter().any(|key| key.id == id);
    // Each public key is digested once, and not for each withdrawal: who wants to hold up a verification writes records with hundreds of both.
    let mut tags: Option<BTreeSet<String>> = None;
    withdrawn.iter().filter(|key| !is_entry_key(&key.id)).find(|key| {
        let tag = key.id.strip_prefix("cs").and_then(|id| id.split_once('-')).filter(|(version, _)| written(version));
        let Some((_, tag)) = tag else { return true };
        let public = sets.iter().flat_map(|set| set.set.keys()).map(VerifyingKey::public_key);
        !tags.get_or_insert_with(|| public.map(checkpoint_key_tag).collect()).contains(tag)
    })
}

fn check_epochs(keys: &[EntryEpoch], newest: u64) -> Result<(), HistoryError> {
    for (at, key) in keys.iter().enumerate() {
        let expected = at as u64 + 1;
        if key.epoch != expected {
            return Err(malformed(&format!("entry key `{}` has epoch {}, not {expected}", key.id, key.epoch)));
        }
        if EntryAlgorithm::parse(&key.algorithm).is_none() {
            return Err(malformed(&format!("entry key `{}` has an algorithm that is not known", key.id)));
        }
        let tag = key.id.strip_prefix(&format!("es{}-", key.version)).unwrap_or_default();
        if tag.len() != 16 || !tag.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(malformed(&format!("`{}` is no id of version {} of an entry key", key.id, key.version)));
        }
        if keys.iter().take(at).any(|other| other.id == key.id) {
            return Err(malformed(&format!("entry key `{}` is there twice", key.id)));
        }
    }
    let ordered = keys.is_sorted_by(|one, next| one.first < next.first);
    if !ordered || keys.first().is_none_or(|key| key.first != 0) || keys.last().is_some_and(|key| key.first > newest) {
        return Err(malformed("the entry keys are not in the order of their first entries, from 0 on"));
    }
    Ok(())
}

fn parse_set(keys: &CheckpointKeys, origin: &str) -> Result<SetEpoch, HistoryError> {
    let parsed = keys.keys.iter().map(|key| VerifyingKey::parse(key)).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| malformed(&format!("a checkpoint key cannot be read: {error}")))?;
    if let Some(key) = parsed.iter().find(|key| key.name() != origin) {
        return Err(malformed(&format!("checkpoint key `{}` is named for another log", key.id())));
    }
    let require: Require = keys.require.parse().map_err(|_| malformed(&format!("`{}` is no policy", keys.require)))?;
    let set = KeySet::new(parsed, require).map_err(|error| malformed(&error.to_string()))?;
    Ok(SetEpoch { first: keys.first, set })
}

fn wire_set(set: &SetEpoch) -> CheckpointKeys {
    CheckpointKeys {
        first: set.first,
        keys: set.set.keys().iter().map(ToString::to_string).collect(),
        require: set.set.require().to_string(),
    }
}

fn malformed(why: &str) -> HistoryError {
    HistoryError::Malformed(why.to_owned())
}
