//! A head record that is older than its log: it was put back from a copy, and the log had gone on.
//!
//! Nothing tells that from the record alone. What tells is what the log shows: a checkpoint appears only behind the record that holds it
//! (`head-before-show`), so one by the log's own keys that covers more than the record says that there was a newer record. A writer that went on from the old one would sign second
//! trees and give the numbers of kept checkpoints out again, which every verifier calls tampered for good. INVARIANT(not-put-back): such a log is not opened for writing.
//!
//! `indelible log repair` makes the record anew from the newest checkpoints, and only if the whole log verifies under it. Not here: what a verification says of such a record
//! (`verify::listed`).

use indelible_core::{
    checkpoint::Checkpoint,
    entry::{EntryRef, KeptHead},
    head::HeadRecord,
    history::KeyHistory,
    note::{Note, VerifyingKey},
    tree::{LeafIndex, TreeHead, TreeSize},
};
use indelible_keys::KeyRing;
use indelible_store::{
    heads::{HeadStore, HeadStoreError},
    store::{Reader, StoreError},
};

use crate::{
    error::{LogError, chain},
    log::get,
    open::entry_zero,
    verify::{Request, Verdict, is_signed_by, search, verify},
};

/// What a log shows of its checkpoints. It is looked at before the head record is read: who writes at the same time moves the record first.
pub(crate) struct Shown {
    published: Option<Vec<u8>>,
    kept: Vec<u64>,
}

impl Shown {
    /// # Errors
    /// [`StoreError`] where the store cannot be read. What is no note shows nothing.
    pub(crate) fn of(reader: &dyn Reader) -> Result<Self, StoreError> {
        Ok(Self { published: published(reader)?, kept: reader.kept_numbers()? })
    }

    /// Refuses a head record which is older than a checkpoint that `keys` signed.
    ///
    /// # Errors
    /// [`LogError::HeadPutBack`].
    pub(crate) fn refuse_older(
        &self,
        reader: &dyn Reader,
        head: &HeadRecord,
        known: TreeSize,
        (keys, place): (&[VerifyingKey], String),
    ) -> Result<(), LogError> {
        let origin = &reader.info().origin;
        let newer = |note: &[u8]| size_of(note, origin).filter(|size| *size > known && is_signed_by(note, keys));
        let refuse = |size, what: String| LogError::HeadPutBack {
            origin: origin.clone(),
            place: place.clone(),
            known,
            size,
            what,
        };
        if let Some(size) = self.published.as_deref().and_then(newer) {
            return Err(refuse(size, "the published checkpoint".to_owned()));
        }
        for number in self.kept.iter().filter(|number| **number > head.kept.number) {
            if let Some(size) = crate::verify::kept(reader, *number)?.and_then(|note| newer(&note)) {
                return Err(refuse(size, format!("kept checkpoint {number}")));
            }
        }
        Ok(())
    }
}

/// The keys that may have signed what is newer than a head record: those in force at it, and those that are active now. One that was replaced between may have been stolen since.
pub(crate) fn own_keys(ring: &KeyRing, history: &KeyHistory, now: indelible_core::time::Micros) -> Vec<VerifyingKey> {
    let known = history.sets().last().map(|set| set.set.keys().to_vec()).unwrap_or_default();
    // A ring that cannot sign is told where something is to be signed.
    let active = crate::keys::active_set(ring, history.origin(), now).map(|set| set.keys().to_vec());
    known.into_iter().chain(active.unwrap_or_default()).collect()
}

/// Refuses a head record that knows of fewer kept checkpoints than an entry which was read names.
pub(crate) fn refuse_unnamed(
    head: &HeadRecord,
    named: u64,
    known: TreeSize,
    origin: &str,
    place: String,
) -> Result<(), LogError> {
    if named <= head.kept.number {
        return Ok(());
    }
    let what = format!("kept checkpoint {named}, which an entry names,");
    Err(LogError::HeadPutBack { origin: origin.to_owned(), place, known, size: TreeSize(known.0 + 1), what })
}

/// Moves a head record that was put back to the newest checkpoints of its log, if the log verifies under them. Returns the record that holds then; the one that was given, where no
/// checkpoint is newer. `request` is what the log was verified by.
///
/// # Errors
/// [`LogError::Refused`] where the log does not verify under the newest checkpoint; nothing is changed then.
pub(crate) fn move_forward(
    reader: &dyn Reader,
    heads: &dyn HeadStore,
    (head, history): (HeadRecord, &KeyHistory),
    request: &Request<'_>,
) -> Result<HeadRecord, LogError> {
    let Some(newest) = newest(reader, &head, history)? else { return Ok(head) };
    let origin = reader.info().origin.clone();
    let active = request.ring.map(|ring| ring.active_keys(&origin)).transpose()?;
    if active.is_some_and(|active| !is_signed_by(newest.checkpoint.as_bytes(), &active)) {
        let text = format!(
            "the head record `{}` was put back, and the newest checkpoint of the log is by no key that is active in the ring: whoever stole a key that was replaced may have made it. Restore the newest record from a copy, or go on with `indelible log succeed`",
            heads.place(&origin)
        );
        return Err(LogError::Refused(text));
    }
    let only = Only { record: newest.clone(), place: heads.place(&origin) };
    let report = verify(reader, &Request { heads: Some(&only), ..request.clone() })
        .map_err(|error| LogError::Refused(chain(&error)))?;
    if !matches!(report.status, Verdict::Intact | Verdict::Damaged) {
        let text = format!(
            "the head record `{}` was put back, and under the newest checkpoint of the log the verdict is `{}`: restore the newest record from a copy",
            only.place,
            report.status.as_str()
        );
        return Err(LogError::Refused(text));
    }
    heads.swap(&origin, Some(&head), &newest)?;
    Ok(newest)
}

/// The record that the newest checkpoints of a log would be in; `None` where none of them is newer than `head`.
fn newest(reader: &dyn Reader, head: &HeadRecord, history: &KeyHistory) -> Result<Option<HeadRecord>, LogError> {
    let good = |note: &[u8]| history.open(note).ok().map(|checkpoint| checkpoint.head);
    let known = history.open(head.checkpoint.as_bytes())?.head.size;
    let mut found =
        published(reader)?.and_then(|note| Some((good(&note)?.size, note))).filter(|(size, _)| *size > known);
    let mut kept = head.kept;
    while let Some((next, note)) = next_kept(reader, history, kept)? {
        if next.size > found.as_ref().map_or(known, |(size, _)| *size) {
            found = Some((next.size, note));
        }
        kept = next;
    }
    let Some((size, note)) = found else { return Ok(None) };
    let checkpoint =
        String::from_utf8(note).map_err(|_| LogError::Refused("its newest checkpoint is no text".to_owned()))?;
    let keys = Some(newest_keys(reader, history, size)?).filter(|newest| newest.0 > 0);
    // When it was signed nobody knows any more: not before its last entry.
    let last = get(reader, LeafIndex(size.0.saturating_sub(1)))?;
    let signed_at = EntryRef::parse(&last.entry).ok().and_then(|entry| entry.recorded()).unwrap_or(head.signed_at);
    Ok(Some(HeadRecord { checkpoint, keys, kept, signed_at, ..head.clone() }))
}

/// The kept checkpoint behind `before`, if it is one: by the keys that are due there, and larger.
fn next_kept(
    reader: &dyn Reader,
    history: &KeyHistory,
    before: KeptHead,
) -> Result<Option<(KeptHead, Vec<u8>)>, LogError> {
    let number = before.number.saturating_add(1);
    let Some(note) = crate::verify::kept(reader, number)? else { return Ok(None) };
    let Ok(TreeHead { size, root }) = history.open(&note).map(|checkpoint| checkpoint.head) else { return Ok(None) };
    let Ok(parsed) = Note::parse(&note) else { return Ok(None) };
    let by_all = history.sets_between(before.size, size).iter().all(|set| set.set.verify(&parsed).is_ok());
    Ok((size > before.size && by_all).then_some((KeptHead { number, root, size }, note)))
}

/// Index of the newest `keys` record below a size.
fn newest_keys(reader: &dyn Reader, history: &KeyHistory, size: TreeSize) -> Result<LeafIndex, LogError> {
    if history.newest().0 < size.0 {
        return Ok(history.newest());
    }
    let first = KeyHistory::of_created(&entry_zero(reader)?)?;
    Ok(search(reader, first, reader.info().log_id, Some(size.0))?.0.newest())
}

fn published(reader: &dyn Reader) -> Result<Option<Vec<u8>>, StoreError> {
    match reader.checkpoint() {
        Err(StoreError::Damaged { .. }) => Ok(None),
        note => note,
    }
}

/// The size of a checkpoint in the name of a log.
fn size_of(note: &[u8], origin: &str) -> Option<TreeSize> {
    let checkpoint = Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?;
    (checkpoint.origin == origin).then_some(checkpoint.head.size)
}

/// A head store of one record, to verify by before it is written.
struct Only {
    record: HeadRecord,
    place: String,
}

impl HeadStore for Only {
    fn load(&self, _: &str) -> Result<Option<HeadRecord>, HeadStoreError> {
        Ok(Some(self.record.clone()))
    }

    fn swap(&self, origin: &str, _: Option<&HeadRecord>, _: &HeadRecord) -> Result<(), HeadStoreError> {
        Err(HeadStoreError::Conflict { origin: origin.to_owned() })
    }

    fn place(&self, _: &str) -> String {
        self.place.clone()
    }
}
