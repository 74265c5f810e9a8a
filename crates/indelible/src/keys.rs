//! The keys of an open log: what its history says, the secrets that the ring has, and what is signed with next.
//!
//! The history decides which key is right at an index; the ring only has secrets ([`indelible_core::history`]). Three hold a history of their own, because
//! they stand at different places of the log: the sequencer behind its last entry, the publisher behind what it read back, and [`LogKeys`], the newest
//! of all, for whoever compares a stored entry.
//!
//! INVARIANT(in-force): an entry is read back, recovered or continued only where it names the key that the history has in force at its index, and a
//! `keys` record changes that history only with the authority of the checkpoint keys before it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, ControlError},
    entry::{BodyKind, EntryRef, Line},
    history::{Between, Change, HistoryError, KeyHistory, KeysRecord, MAX_KEYS_BYTES, SetEpoch, Withdrawn},
    mac::{EntryKey, LogId},
    note::{KeySet, Note, NoteSigner, VerifyingKey},
    tile::Prover,
    time::Micros,
    tree::{Hash, LeafIndex, TreeHead, TreeSize},
};
use indelible_keys::{CheckpointSigner, KeyError, KeyRing, Purpose};
use indelible_store::{
    driver::TailFault,
    store::{Chunk, Reader, StoreError, StoredTree, parse_line},
};

use crate::{
    bundle::prove_error,
    clock::Clock,
    error::{LogError, chain},
};

/// What signs and names the entries of a log, as of one entry key.
pub(crate) struct Signing {
    pub(crate) key_id: Arc<str>,
    pub(crate) key: EntryKey,
}

/// The secrets of a log and the newest history that this process knows of it.
pub(crate) struct LogKeys {
    pub(crate) log_id: LogId,
    pub(crate) origin: Arc<str>,
    /// The log's: what the ring says of time is held against no other.
    clock: Arc<dyn Clock>,
    ring: RwLock<KeyRing>,
    history: RwLock<Arc<KeyHistory>>,
    /// Entry keys by id; `None` for one that the ring has no secret of any more.
    derived: RwLock<HashMap<String, Option<EntryKey>>>,
}

impl LogKeys {
    pub(crate) fn new(ring: KeyRing, log_id: LogId, history: KeyHistory, clock: Arc<dyn Clock>) -> Self {
        Self {
            log_id,
            origin: history.origin().into(),
            clock,
            ring: RwLock::new(ring),
            history: RwLock::new(Arc::new(history)),
            derived: RwLock::default(),
        }
    }

    /// The newest history that this process knows.
    pub(crate) fn history(&self) -> Arc<KeyHistory> {
        Arc::clone(&read(&self.history))
    }

    /// A newer history is known. An older one changes nothing.
    pub(crate) fn know(&self, history: &Arc<KeyHistory>) {
        let mut known = self.history.write().unwrap_or_else(PoisonError::into_inner);
        if history.newest() > known.newest() {
            *known = Arc::clone(history);
        }
    }

    /// The ring as it was last read.
    pub(crate) fn ring(&self) -> KeyRing {
        read(&self.ring).clone()
    }

    /// Reads the ring again where its file changed. Says whether it did.
    pub(crate) fn refresh(&self) -> Result<bool, KeyError> {
        let Some(newer) = self.ring().refreshed()? else { return Ok(false) };
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = newer;
        self.derived.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(true)
    }

    /// Makes new keys in the ring for those that have been active for as long as they should be. Says whether there are any.
    pub(crate) fn rotate_due(&self) -> Result<bool, KeyError> {
        let (ring, now) = (self.ring(), self.clock.now());
        let purposes = [Purpose::EntrySigning, Purpose::CheckpointSigning];
        if !ring.due(now).iter().any(|due| purposes.contains(&due.purpose)) {
            return Ok(false);
        }
        let changed = ring.rotate_due(&purposes, now)?;
        self.refresh()?;
        Ok(!changed.keys.is_empty())
    }

    /// The entry key of that id, as the history has it. `None` where the ring says that its secret was destroyed.
    pub(crate) fn entry_key(&self, history: &KeyHistory, id: &str) -> Result<Option<EntryKey>, LogError> {
        if let Some(key) = read(&self.derived).get(id) {
            return Ok(key.clone());
        }
        let epoch = history.entry_key(id).map_or(0, |key| key.epoch);
        let derive = |ring: &KeyRing| ring.entry(id).map(|entry| entry.key(self.log_id, &self.origin, epoch));
        let mut key = derive(&self.ring());
        if key.is_none() {
            // Another thread may have read the ring anew meanwhile.
            self.refresh()?;
            key = derive(&self.ring());
        }
        let ring = self.ring();
        if key.is_none() && !ring.keys().any(|known| known.id == id) {
            return Err(KeyError::NotThisLog { wanted: id.to_owned(), held: ring.entry_key_id() }.into());
        }
        if key.is_some() {
            self.derived.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), key.clone());
        }
        Ok(key)
    }

    /// What signs entries under a history. An entry key whose secret is gone signs nothing ([`LogError::SecretDestroyed`]).
    pub(crate) fn signing(&self, history: &KeyHistory) -> Result<Arc<Signing>, LogError> {
        let current = history.current_entry_key().map(|key| key.id.clone()).unwrap_or_default();
        let key = self.entry_key(history, &current)?.ok_or(LogError::SecretDestroyed { key: current })?;
        Ok(Arc::new(Signing { key_id: key.id().into(), key }))
    }

    /// What signs the next entry: the key in force, or the one that a `keys` record puts in its place.
    pub(crate) fn signing_on(&self, history: &KeyHistory) -> Result<Arc<Signing>, LogError> {
        match self.signing(history) {
            Err(LogError::SecretDestroyed { .. }) => self.next_signing(history),
            signing => signing,
        }
    }

    /// What signs the next entry where the secret of the history's own key is gone: the ring's active one, which a `keys` record has to introduce first.
    pub(crate) fn next_signing(&self, history: &KeyHistory) -> Result<Arc<Signing>, LogError> {
        let ring = self.ring();
        let active = ring.active_entry_at(self.clock.now())?;
        let epoch = history.current_entry_key().map_or(1, |key| key.epoch + 1);
        let key = active.key(self.log_id, &self.origin, epoch);
        Ok(Arc::new(Signing { key_id: key.id().into(), key }))
    }

    /// What signs again: the key in force, under a label of its own.
    pub(crate) fn resign_key(&self, history: &KeyHistory) -> Result<EntryKey, LogError> {
        let missing = |id: &str| LogError::Refused(format!("the ring has no secret of entry key `{id}`"));
        let current = history.current_entry_key().ok_or_else(|| missing(""))?;
        let ring = self.ring();
        let found = ring.entry(&current.id).ok_or_else(|| missing(&current.id))?;
        Ok(found.resign_key(self.log_id, &self.origin, current.epoch))
    }

    /// The signers of the checkpoint keys in these sets, one for each key that the ring has, those of the last set first.
    pub(crate) fn signers(&self, sets: &[SetEpoch]) -> Result<Vec<CheckpointSigner>, LogError> {
        let mut wanted: Vec<VerifyingKey> = Vec::new();
        for key in sets.iter().rev().flat_map(|set| set.set.keys()) {
            if !wanted.contains(key) {
                wanted.push(key.clone());
            }
        }
        let found = self.ring().signers_for(&self.origin, &wanted)?;
        if satisfies(sets, &found) {
            return Ok(found);
        }
        self.refresh()?;
        Ok(self.ring().signers_for(&self.origin, &wanted)?)
    }

    /// What the ring's active keys change in a history; `None` where they are those of the history.
    fn change(
        &self,
        history: &KeyHistory,
        reason: &str,
        withdrawn: Vec<Withdrawn>,
    ) -> Result<Option<Change>, LogError> {
        let ring = self.ring();
        let active = ring.active_entry_at(self.clock.now())?;
        let current = history.current_entry_key();
        let entry_key = (current.map(|key| key.id.as_str()) != Some(active.id()))
            .then(|| (active.algorithm(), active.id().to_owned(), active.version()));
        if let Some((_, id, _)) = entry_key.as_ref().filter(|(_, id, _)| history.entry_key(id).is_some()) {
            let text = format!(
                "the ring's active entry key `{id}` was in use in this log before: a key does not come back; `indelible keys rotate` makes a new one"
            );
            return Err(LogError::Refused(text));
        }
        let set = active_set(&ring, &self.origin, self.clock.now())?;
        let set = (history.current_set() != Some(&set)).then_some(set);
        let withdrawn: Vec<_> = withdrawn.into_iter().filter(|one| !known(history, one)).collect();
        if entry_key.is_none() && set.is_none() && withdrawn.is_empty() {
            return Ok(None);
        }
        Ok(Some(Change { entry_key, set, withdrawn, reason: reason.to_owned() }))
    }

    /// Whether a record has something new to say.
    pub(crate) fn differ(&self, history: &KeyHistory, withdrawn: &[Withdrawn]) -> Result<bool, LogError> {
        Ok(self.change(history, "", withdrawn.to_vec())?.is_some())
    }

    /// The record for entry `index` that makes the ring's active keys those of the log, and the history that it makes. `None` where they are already.
    pub(crate) fn next_record(
        &self,
        history: &KeyHistory,
        index: LeafIndex,
        reason: &str,
        withdrawn: &[Withdrawn],
    ) -> Result<Option<(Control, KeyHistory)>, LogError> {
        let Some(change) = self.change(history, reason, withdrawn.to_vec())? else { return Ok(None) };
        let record = history.changed(index, change)?;
        self.authorised(history, record, index).map(Some)
    }

    /// Signs a `keys` record with the checkpoint keys in force before it, and checks that it will be read as it is meant.
    fn authorised(
        &self,
        history: &KeyHistory,
        record: KeysRecord,
        index: LeafIndex,
    ) -> Result<(Control, KeyHistory), LogError> {
        let sets = history.sets_between(TreeSize(index.0), TreeSize(index.0));
        let signers = self.signers(sets)?;
        let signers: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as &dyn NoteSigner).collect();
        let control = Control::Keys(record).authorise_by(self.log_id, &self.origin, index, &signers)?;
        let Control::Keys(record) = &control else { return Err(HistoryError::Full.into()) };
        let bytes = control.canonical()?.len();
        if bytes > MAX_KEYS_BYTES {
            return Err(HistoryError::TooLong { bytes }.into());
        }
        let next = history.extended(record, index, self.log_id, Between::Nothing)?;
        Ok((control, next))
    }

    /// A signer whose key may authorise a record at `index`.
    pub(crate) fn authoriser(&self, history: &KeyHistory, index: LeafIndex) -> Result<CheckpointSigner, LogError> {
        let sets = history.sets_between(TreeSize(index.0), TreeSize(index.0));
        self.signers(sets)?.into_iter().next().ok_or_else(|| no_signer(&self.origin))
    }

    /// Follows the log from what `history` knows to the `keys` record at `index`, record by record as far as checkpoint keys changed.
    pub(crate) fn follow_to(
        &self,
        history: &KeyHistory,
        index: LeafIndex,
        read: &mut dyn FnMut(LeafIndex) -> Result<Chunk, LogError>,
    ) -> Result<KeyHistory, LogError> {
        follow_to(history, index, self.log_id, read)
    }
}

/// Follows a log from what `history` knows to the `keys` record at `index`. Each change of checkpoint keys between is read and verified by itself.
pub(crate) fn follow_to(
    history: &KeyHistory,
    index: LeafIndex,
    log_id: LogId,
    read: &mut dyn FnMut(LeafIndex) -> Result<Chunk, LogError>,
) -> Result<KeyHistory, LogError> {
    if index <= history.newest() {
        return Ok(history.clone());
    }
    let target = KeyHistory::of_record(&record_at(index, read)?, history.origin(), index)?;
    let mut stops: Vec<u64> = target.sets().iter().map(|set| set.first).collect();
    stops.retain(|first| *first > history.newest().0 && *first < index.0);
    stops.push(index.0);
    let mut history = history.clone();
    for stop in stops {
        let record = record_at(LeafIndex(stop), read)?;
        history = history.extended(&record, LeafIndex(stop), log_id, Between::Unseen)?;
    }
    Ok(history)
}

pub(crate) fn record_at(
    index: LeafIndex,
    read: &mut dyn FnMut(LeafIndex) -> Result<Chunk, LogError>,
) -> Result<KeysRecord, LogError> {
    let wrong = |detail: &str| LogError::Evidence { index: index.0, detail: detail.to_owned() };
    let chunk = read(index)?;
    let line =
        chunk.lines().next().ok_or_else(|| wrong("it cannot be read, and should say what the log's keys are"))?;
    let line = parse_line(line, index.0)?;
    if line.entry.index != index {
        return Err(wrong("another entry stands in its place"));
    }
    keys_record(&line.entry)?.ok_or_else(|| wrong("it should say what the log's keys are, and does not"))
}

/// The control record that an entry is, if it is one.
fn control_of(entry: &EntryRef<'_>) -> Result<Option<Control>, LogError> {
    if entry.kind != BodyKind::Control {
        return Ok(None);
    }
    Ok(Some(Control::parse(entry.body)?))
}

/// The `keys` record that an entry is, if it is one.
pub(crate) fn keys_record(entry: &EntryRef<'_>) -> Result<Option<KeysRecord>, LogError> {
    let record = control_of(entry)?.and_then(|control| match control {
        Control::Keys(record) => Some(record),
        _ => None,
    });
    Ok(record)
}

/// The history of a stored log up to its newest `keys` record, where somebody who is to be trusted says which entry that is.
pub(crate) fn stored_history(
    store: &dyn Reader,
    first: &KeyHistory,
    log_id: LogId,
    newest: Option<LeafIndex>,
) -> Result<KeyHistory, LogError> {
    let Some(newest) = newest else { return Ok(first.clone()) };
    follow_to(first, newest, log_id, &mut |index| Ok(store.read(index, 0)?))
}

/// The set of a ring's active checkpoint keys, by the clock of the log.
pub(crate) fn active_set(ring: &KeyRing, origin: &str, now: Micros) -> Result<KeySet, LogError> {
    let signers = ring.checkpoint_signers_at(origin, now)?;
    let keys = signers.iter().map(|signer| signer.verifying_key().clone()).collect();
    Ok(KeySet::new(keys, ring.require()).map_err(indelible_core::checkpoint::CheckpointError::from)?)
}

fn known(history: &KeyHistory, withdrawn: &Withdrawn) -> bool {
    history
        .withdrawn()
        .iter()
        .any(|one| one.id == withdrawn.id && one.state == withdrawn.state && one.from <= withdrawn.from)
}

/// Whether signers of these keys satisfy the policies of all of these sets.
fn satisfies(sets: &[SetEpoch], signers: &[CheckpointSigner]) -> bool {
    sets.iter().all(|set| {
        let there = set.set.keys().iter().filter(|key| signers.iter().any(|signer| signer.verifying_key() == *key));
        there.count() >= set.set.needed()
    })
}

fn no_signer(origin: &str) -> LogError {
    LogError::Refused(format!(
        "the ring has none of the checkpoint keys that `{origin}` is signed with: restore them with `indelible keys import`"
    ))
}

/// Signs a checkpoint for all of these sets, and verifies it by each.
pub(crate) fn sign_checkpoint(
    checkpoint: &Checkpoint,
    sets: &[SetEpoch],
    signers: &[CheckpointSigner],
) -> Result<Note, LogError> {
    if signers.is_empty() {
        return Err(no_signer(&checkpoint.origin));
    }
    let by: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as &dyn NoteSigner).collect();
    let note = checkpoint.sign(&by)?;
    for set in sets {
        set.set.verify(&note).map_err(indelible_core::checkpoint::CheckpointError::from)?;
    }
    Ok(note)
}

/// Follows lines in their order: which key is in force, whether it signed, and what `keys` records change.
pub(crate) struct KeyFollower {
    keys: Arc<LogKeys>,
    history: Arc<KeyHistory>,
    /// From which index on, and before which, a key is in force; its id and its secret.
    in_force: Option<(u64, u64, String, Option<EntryKey>)>,
}

impl KeyFollower {
    pub(crate) fn new(keys: Arc<LogKeys>, history: Arc<KeyHistory>) -> Self {
        Self { keys, history, in_force: None }
    }

    /// What the lines up to the last one said.
    pub(crate) fn history(&self) -> &Arc<KeyHistory> {
        &self.history
    }

    /// Goes on from another history, which is newer.
    pub(crate) fn jump(&mut self, history: KeyHistory) {
        if history.newest() > self.history.newest() {
            self.history = Arc::new(history);
            self.in_force = None;
        }
    }

    /// Takes the next line: says what is wrong with its origin, key, signature or key record, or that its signature cannot be checked. A line that was taken before may come again.
    pub(crate) fn take(&mut self, line: &Line<'_>, leaf: &Hash) -> Result<(), TailFault> {
        let before = Arc::clone(&self.history);
        self.take_line(line, leaf).inspect_err(|_| {
            // What is not taken in changes no keys.
            self.history = before;
            self.in_force = None;
        })
    }

    fn take_line(&mut self, line: &Line<'_>, leaf: &Hash) -> Result<(), TailFault> {
        let entry = &line.entry;
        if entry.log != &*self.keys.origin {
            return Err(TailFault::Wrong("it names another log".to_owned()));
        }
        let control = control_of(entry);
        if let Ok(Some(Control::Keys(record))) = &control {
            self.take_record(record, entry.index).map_err(|error| self.without_right(line, leaf, &error))?;
        }
        let index = entry.index.0;
        if !self.in_force.as_ref().is_some_and(|(from, until, ..)| (*from..*until).contains(&index)) {
            self.in_force = Some(self.look_up(line, leaf)?);
        }
        let Some((_, _, id, key)) = &self.in_force else { return Ok(()) };
        if entry.key != id {
            return Err(self.another_key(line, leaf, id));
        }
        match key {
            Some(key) if key.verify(leaf, &line.mac) => self.allowed(control, entry.index),
            Some(_) => Err(TailFault::Wrong("its signature is wrong".to_owned())),
            // Whoever reads back is about to vouch for it.
            None => Err(TailFault::Unchecked(format!(
                "the secret of key `{id}` was destroyed, so nobody can tell whether it signed this: put the ring back from a copy that has it, or go on with `indelible log succeed`"
            ))),
        }
    }

    /// Whether a control record may stand where it does. INVARIANT(allowed): nothing is signed over one that nobody with the right to it authorised. A verifier that does not see who had the right
    /// (what took it from somebody may be absent) relies on that.
    fn allowed(&self, control: Result<Option<Control>, LogError>, index: LeafIndex) -> Result<(), TailFault> {
        let said = match control {
            // Looked at before, with what it changes.
            Ok(None | Some(Control::Keys(_))) => return Ok(()),
            Ok(Some(Control::LogCreated(_))) if index.0 > 0 => "it creates the log anew".to_owned(),
            Err(error) => chain(&error),
            Ok(Some(control)) => {
                let set = self.history.set_for(TreeSize(index.0));
                let by = |set| control.verify_authorisations(self.keys.log_id, &self.keys.origin, index, set);
                match set.map_or(Err(ControlError::Unauthorised), by) {
                    Ok(()) => return Ok(()),
                    Err(error) => chain(&error),
                }
            }
        };
        Err(TailFault::Forged(format!(
            "it is signed as an entry, and may not say what it says: {said}. Whoever has the entry key wrote it: see what `indelible verify` says, withdraw the key with `indelible keys compromise`, and go on with `indelible log succeed`"
        )))
    }

    fn take_record(&mut self, record: &KeysRecord, index: LeafIndex) -> Result<(), HistoryError> {
        let log_id = self.keys.log_id;
        if index <= self.history.newest() {
            return self.history.agrees(record, index, log_id);
        }
        self.history = Arc::new(self.history.extended(record, index, log_id, Between::Nothing)?);
        self.in_force = None;
        Ok(())
    }

    /// What speaks against a line that says without the right to what the log's keys are.
    fn without_right(&self, line: &Line<'_>, leaf: &Hash, error: &HistoryError) -> TailFault {
        let what = format!("it says what the log's keys are, and may not: {}", chain(error));
        self.forged(line, leaf, what)
    }

    /// What speaks against a line that names another key than `id`, which is in force there.
    fn another_key(&self, line: &Line<'_>, leaf: &Hash, id: &str) -> TailFault {
        let what = format!("it names key `{}`, and `{id}` is in force there", line.entry.key);
        self.forged(line, leaf, what)
    }

    /// Evidence where a key that the log has or had signed the line: no crash leaves that. What nobody signed whoever can write to the file may have put there, and shuts no log.
    fn forged(&self, line: &Line<'_>, leaf: &Hash, what: String) -> TailFault {
        let named = self.history.entry_key(line.entry.key);
        let key = named.and_then(|named| self.keys.entry_key(&self.history, &named.id).ok().flatten());
        match key.is_some_and(|key| key.verify(leaf, &line.mac)) {
            true => TailFault::Forged(format!(
                "{what}; its signature is right, so no torn write left it. Keep the log as it is, see what `indelible verify` says, and go on with `indelible log succeed`"
            )),
            false => TailFault::Wrong(what),
        }
    }

    /// The key in force at an entry, where that names it: between which indices, and its secret, unless that was destroyed.
    fn look_up(&self, line: &Line<'_>, leaf: &Hash) -> Result<(u64, u64, String, Option<EntryKey>), TailFault> {
        let entry = &line.entry;
        let id = self.history.entry_key_at(entry.index).map(|key| key.id.clone()).unwrap_or_default();
        // Before the ring is asked: what names another key is wrong, whatever the ring has.
        if entry.key != id {
            return Err(self.another_key(line, leaf, &id));
        }
        let (from, until) = self.history.range_of(&id).unwrap_or((0, u64::MAX));
        let unchecked = |error: LogError| match error {
            LogError::Keys(KeyError::NotThisLog { .. }) => TailFault::Unchecked(format!(
                "the ring has no key `{id}`: put back the ring that has it, or take the key in with `indelible keys import --verify-only`"
            )),
            error => TailFault::Unchecked(chain(&error)),
        };
        let key = self.keys.entry_key(&self.history, &id).map_err(unchecked)?;
        Ok((from, until, id, key))
    }

    /// Why nothing can be written behind the lines that were taken.
    pub(crate) fn unready(&self) -> Option<String> {
        self.keys.signing_on(&self.history).err().map(|error| chain(&error))
    }
}

impl LogKeys {
    /// Whether a stored entry is the log's own. Where its key has no secret any more, it has to be in the tree of the newest head, which `anchored` tells.
    pub(crate) fn verify_stored(
        &self,
        store: &dyn Reader,
        entry: &EntryRef<'_>,
        (leaf, mac): (&Hash, &[u8; 32]),
        anchored: impl FnOnce() -> Result<TreeHead, LogError>,
    ) -> Result<(), LogError> {
        let wrong = |detail: &str| LogError::Evidence { index: entry.index.0, detail: detail.to_owned() };
        let history = self.history();
        if history.entry_key_at(entry.index).is_none_or(|key| key.id != entry.key) {
            return Err(wrong("it names a key that is not in force there"));
        }
        match self.entry_key(&history, entry.key)? {
            Some(key) if key.verify(leaf, mac) => Ok(()),
            Some(_) => Err(wrong("it has this id, and its signature is wrong")),
            None => {
                let tree = anchored()?;
                let proof = Prover::new(StoredTree(store), tree.size).inclusion(entry.index).map_err(prove_error)?;
                let refused = "it has this id, and its bytes are not those that the newest checkpoint covers";
                proof.verify(leaf, &tree).map_err(|_| wrong(refused))
            }
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

impl From<HistoryError> for LogError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Control(error) => Self::Control(error),
            error => Self::Refused(chain(&error)),
        }
    }
}

/// A log's end names another `keys` record than this process has seen.
pub(crate) fn unknown_keys(index: u64, error: LogError) -> LogError {
    match error {
        LogError::Store(error @ StoreError::TryAgain { .. }) => LogError::Store(error),
        error => LogError::Refused(format!(
            "the keys of the log changed at entry {index}, and cannot be followed: {}",
            chain(&error)
        )),
    }
}
