//! Which logs still sign with a checkpoint key.
//!
//! A `keys` record is authorised by the checkpoint keys in force before it, and the checkpoints over a change are signed by them too, until one is kept. A log that has
//! not come so far when the secret of such a key is destroyed can never take up another key: nobody could authorise that. What tells is the newest checkpoint of each log,
//! in the head store; where a log is at hand, what it says of its keys tells more.

use indelible_core::{
    checkpoint::Checkpoint,
    head::HeadRecord,
    history::KeyHistory,
    mac::LogId,
    note::{Note, VerifyingKey},
    tree::TreeSize,
};
use indelible_keys::{KeyAlgorithm, KeyInfo, KeyRing};
use indelible_store::heads::FileHeads;

use crate::error::LogError;

/// The names of the logs whose next record about keys, or next checkpoint, may need the secret of key `id`. Of a log that is at hand, `known` has the id and the keys.
///
/// # Errors
/// [`LogError::Heads`] where the head store cannot be read, or a record in it is damaged.
pub fn logs_that_need(
    ring: &KeyRing,
    heads: &FileHeads,
    id: &str,
    known: Option<(LogId, &KeyHistory)>,
) -> Result<Vec<String>, LogError> {
    let mut found = Vec::new();
    let Some(key) = ring.keys().find(|key| key.id == id && key.public.is_some()) else { return Ok(found) };
    heads.each(&mut |head| {
        let known = known.filter(|(log_id, _)| *log_id == head.log_id).map(|(_, history)| history);
        found.extend(needs(ring, &head, key, known));
    })?;
    found.sort_unstable();
    Ok(found)
}

/// The name of the log of a head, where that log needs the key.
fn needs(ring: &KeyRing, head: &HeadRecord, key: &KeyInfo, known: Option<&KeyHistory>) -> Option<String> {
    // Nothing is written any more.
    if head.frozen.is_some() {
        return None;
    }
    let note = Note::parse(head.checkpoint.as_bytes()).ok()?;
    let Checkpoint { origin, head: tree, .. } = Checkpoint::parse(note.text()).ok()?;
    let public = public(key, &origin).filter(|public| note.verify(public).is_ok())?;
    let over = match known {
        Some(history) => is_over(history, &public, head.kept.size),
        None => is_succeeded(ring, key, &note, &origin) && head.kept.size == tree.size,
    };
    (!over).then_some(origin)
}

/// Whether a log has come to a kept checkpoint behind the last set with this key.
fn is_over(history: &KeyHistory, key: &VerifyingKey, kept: TreeSize) -> bool {
    let now = history.sets_between(kept, TreeSize(u64::MAX));
    !now.iter().any(|set| set.set.keys().contains(key))
}

/// Whether a key that took the place of this one signed as well: where only the checkpoint is at hand, that is how a change looks.
fn is_succeeded(ring: &KeyRing, key: &KeyInfo, note: &Note, origin: &str) -> bool {
    let later = |other: &&KeyInfo| other.algorithm == key.algorithm && other.activated_at > key.activated_at;
    ring.keys().filter(later).filter_map(|other| public(other, origin)).any(|other| note.verify(&other).is_ok())
}

fn public(key: &KeyInfo, origin: &str) -> Option<VerifyingKey> {
    let KeyAlgorithm::Checkpoint(algorithm) = key.algorithm else { return None };
    VerifyingKey::new(origin, algorithm, key.public.as_deref()?).ok()
}
