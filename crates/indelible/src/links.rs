//! From the first public key of a log to the last, offline: for each change of checkpoint keys the record that made it, with its proof in the first kept
//! checkpoint over it, which the keys before and the new ones signed (`docs/format.md` section 8).

use std::sync::Arc;

use indelible_core::{
    checkpoint::{Checkpoint, CheckpointError},
    entry::EntryRef,
    history::KeyHistory,
    note::{Note, NoteError, VerifyingKey},
    proof::TlogProof,
    tile::Prover,
    tree::{LeafIndex, TreeSize, leaf_hash},
};
use indelible_store::store::{Reader, StoredTree};
use serde::{Deserialize, Serialize};

use crate::{
    bundle::{malformed, prove_error},
    error::LogError,
    keys::keys_record,
    verify::kept,
};

/// One change of checkpoint keys, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLink {
    /// The exact bytes of the entry that is the `keys` record.
    pub entry: Vec<u8>,
    /// Its proof; the checkpoint in it is signed by the keys before the change and behind it.
    pub proof: TlogProof,
}

/// How a link is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireLink {
    entry: String,
    proof: String,
}

impl From<&KeyLink> for WireLink {
    fn from(link: &KeyLink) -> Self {
        Self { entry: String::from_utf8_lossy(&link.entry).into_owned(), proof: link.proof.to_string() }
    }
}

impl TryFrom<&WireLink> for KeyLink {
    type Error = LogError;

    fn try_from(wire: &WireLink) -> Result<Self, LogError> {
        Ok(Self { entry: wire.entry.clone().into_bytes(), proof: TlogProof::parse(&wire.proof)? })
    }
}

/// The links of a log, one for each set of checkpoint keys but the first. `newest` is its newest checkpoint.
///
/// # Errors
/// [`LogError::Refused`] where no kept checkpoint shows a change yet; what reading says.
pub fn key_links(store: &dyn Reader, history: &KeyHistory, newest: &str) -> Result<Vec<KeyLink>, LogError> {
    history.sets().iter().skip(1).map(|set| link(store, history, LeafIndex(set.first), newest)).collect()
}

fn link(store: &dyn Reader, history: &KeyHistory, index: LeafIndex, newest: &str) -> Result<KeyLink, LogError> {
    let (note, checkpoint) = over(store, history, index, newest)?;
    let entry = crate::log::get(store, index)?.entry;
    let inclusion = Prover::new(StoredTree(store), checkpoint.head.size).inclusion(index).map_err(prove_error)?;
    inclusion.verify(&leaf_hash(&entry), &checkpoint.head)?;
    Ok(KeyLink { entry, proof: TlogProof { extra: None, index, hashes: inclusion.hashes, checkpoint: note } })
}

/// The first kept checkpoint over entry `index`; the newest one, where that is as good.
fn over(
    store: &dyn Reader,
    history: &KeyHistory,
    index: LeafIndex,
    newest: &str,
) -> Result<(String, Checkpoint), LogError> {
    let parse = |note: &[u8]| -> Result<Checkpoint, LogError> {
        let note = Note::parse(note).map_err(CheckpointError::from)?;
        Ok(Checkpoint::parse(note.text())?)
    };
    let numbers = store.kept_numbers()?;
    let (mut low, mut high) = (0, numbers.len());
    let mut found = None;
    while let Some(number) = numbers.get(low + (high - low) / 2).filter(|_| low < high) {
        let middle = low + (high - low) / 2;
        let note = kept(store, *number)?.unwrap_or_default();
        match parse(&note) {
            Ok(checkpoint) if checkpoint.head.size.0 <= index.0 => low = middle + 1,
            // What is no checkpoint is taken for one that is too late.
            read => {
                high = middle;
                found = read.ok().map(|checkpoint| (note, checkpoint)).or(found);
            }
        }
    }
    let (note, checkpoint) = match found {
        Some(found) => found,
        None => (newest.as_bytes().to_vec(), parse(newest.as_bytes())?),
    };
    let before = history.set_for(TreeSize(index.0));
    let signed = Note::parse(&note).map_err(CheckpointError::from)?;
    if checkpoint.head.size.0 <= index.0 || before.is_none_or(|set| set.verify(&signed).is_err()) {
        return Err(LogError::Refused(format!(
            "no checkpoint is kept yet that shows the change of keys by entry {index}: `indelible checkpoint` makes one"
        )));
    }
    let note = String::from_utf8(note).map_err(|_| malformed("a kept checkpoint", "it is not UTF-8"))?;
    Ok((note, checkpoint))
}

/// Follows links from a key that is trusted, and verifies a checkpoint by the keys that they lead to.
///
/// # Errors
/// [`LogError::Checkpoint`] where the key leads nowhere, or a signature is wrong or missing; [`LogError::Malformed`], [`LogError::Proof`] for a link that does not hold.
pub fn open_linked(note: &str, key: &VerifyingKey, links: &[KeyLink]) -> Result<Checkpoint, LogError> {
    let mut followed = Followed { key, history: None, sets: 1, trusted_from: None };
    for link in links {
        followed.take(link)?;
    }
    let Some(history) = &followed.history else { return Ok(Checkpoint::open(note.as_bytes(), key)?) };
    let checkpoint = history.open(note.as_bytes())?;
    let parsed = Note::parse(note.as_bytes()).map_err(CheckpointError::from)?;
    let by_set = history.set_for(checkpoint.head.size).is_some_and(|set| set.keys().contains(key));
    let behind = followed.trusted_from.is_some_and(|from| from < history.set_number(checkpoint.head.size));
    if !behind || by_set {
        // It vouches for the sets behind its own. Elsewhere its own signature is all that counts.
        parsed.verify(key).map_err(CheckpointError::from)?;
    }
    Ok(checkpoint)
}

/// How far links were followed.
struct Followed<'a> {
    key: &'a VerifyingKey,
    history: Option<Arc<KeyHistory>>,
    /// So many sets are known.
    sets: usize,
    /// The set of which the key that is trusted is one: it vouches for those behind.
    trusted_from: Option<usize>,
}

impl Followed<'_> {
    fn take(&mut self, link: &KeyLink) -> Result<(), LogError> {
        let wrong = |detail: &str| malformed("a change of keys in it", detail);
        let entry = EntryRef::parse(&link.entry).map_err(|error| wrong(&error.to_string()))?;
        entry.check_strict().map_err(|detail| wrong(&detail))?;
        let record = keys_record(&entry)?.ok_or_else(|| wrong("the entry is no `keys` record"))?;
        if entry.log != self.key.name() {
            let found = entry.log.to_owned();
            return Err(CheckpointError::OtherOrigin { expected: self.key.name().to_owned(), found }.into());
        }
        let next = KeyHistory::of_record(&record, entry.log, entry.index)?;
        self.sets += 1;
        let brings = next.sets().last().is_some_and(|set| set.first == entry.index.0) && next.sets().len() == self.sets;
        if !brings || entry.index != link.proof.index {
            return Err(wrong(
                "the entry does not bring the keys that it stands for, or a change before it is left out",
            ));
        }
        if self.history.as_ref().is_some_and(|before| !next.goes_on(before)) {
            return Err(wrong("it contradicts the change before it"));
        }
        let note = Note::parse(link.proof.checkpoint.as_bytes()).map_err(CheckpointError::from)?;
        let checkpoint = next.open(link.proof.checkpoint.as_bytes())?;
        link.proof.inclusion().verify(&leaf_hash(&link.entry), &checkpoint.head)?;
        let before = next.set_for(TreeSize(entry.index.0)).ok_or_else(|| wrong("there are no keys before it"))?;
        let named = before.keys().contains(self.key);
        if named || self.trusted_from.is_some() {
            before.verify(&note).map_err(CheckpointError::from)?;
        }
        // As long as the key that is trusted is in force its own signature counts: another key of the set may be what was withdrawn.
        if named {
            note.verify(self.key).map_err(CheckpointError::from)?;
            self.trusted_from.get_or_insert(next.set_number(TreeSize(entry.index.0)));
        }
        self.history = Some(Arc::new(next));
        Ok(())
    }
}

/// Whether an error says that the key which was given is none of those that signed.
#[must_use]
pub fn is_other_key(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Checkpoint(CheckpointError::Note(
            NoteError::NoKnownSignature { .. } | NoteError::TooFewSignatures { .. }
        ))
    )
}
