//! What stands for the first keys of a log whose entry 0 cannot be read.
//!
//! One key that is trusted is taken as if it had been there from the beginning; what the signed tree says of it, the scan shows. The first entries that are there may be under
//! a later entry key than the first, for a record about that is lost with them: the ordinal of their key in this log is the one under which their signatures fit.

use indelible_core::{
    entry::Line,
    history::{KeyHistory, MAX_KEYS},
    note::{Note, VerifyingKey},
    tree::{Hash, leaf_hash},
};

use super::{keyed::Secrets, scan::Request};

/// What two of the first lines are signed with.
pub(super) struct FirstLine {
    pub(super) key: String,
    leaf: Hash,
    mac: [u8; 32],
}

impl FirstLine {
    pub(super) fn of(line: &Line<'_>) -> Self {
        Self { key: line.entry.key.to_owned(), leaf: leaf_hash(line.entry.bytes), mac: line.mac }
    }
}

/// The history of one trusted key that signed one of these notes, and stands for a set: an Ed25519 key. Of several it is the first in the order of the keys that are trusted.
pub(super) fn of_signer(request: &Request<'_>, notes: &[&[u8]], entry_key: &str) -> Option<KeyHistory> {
    let notes: Vec<Note> = notes.iter().filter_map(|note| Note::parse(note).ok()).collect();
    let signed = |key: &&VerifyingKey| notes.iter().any(|note| note.verify(key).is_ok());
    request.keys.iter().filter(signed).find_map(|key| KeyHistory::of_one_key(key, entry_key))
}

/// The same of any trusted key, where none of them signed.
pub(super) fn of_any(request: &Request<'_>, notes: &[&[u8]], entry_key: &str) -> Option<KeyHistory> {
    let any = || request.keys.iter().find_map(|key| KeyHistory::of_one_key(key, entry_key));
    of_signer(request, notes, entry_key).or_else(any)
}

/// A guessed history with the ordinal of its entry key that the first lines show. Where they show none they are not by that key, which the scan tells.
pub(super) fn in_epoch_of(history: KeyHistory, lines: &[FirstLine], secrets: &Secrets<'_>) -> KeyHistory {
    let Some(id) = history.entry_keys().first().map(|key| key.id.clone()) else { return history };
    let Some(secret) = secrets.ring.and_then(|ring| ring.entry(&id)) else { return history };
    let fits = |epoch: u64| {
        let key = secret.key(secrets.log_id, secrets.origin, epoch);
        lines.iter().any(|line| line.key == id && key.verify(&line.leaf, &line.mac))
    };
    let most = u64::try_from(MAX_KEYS).unwrap_or(u64::MAX);
    match (1..=most).find(|epoch| fits(*epoch)) {
        Some(epoch) => history.in_epoch(epoch),
        None => history,
    }
}
