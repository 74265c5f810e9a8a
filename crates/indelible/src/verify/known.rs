//! What a log says of its keys, found before its entries are read in order.
//!
//! Somebody who is to be trusted (a head record, the record of a database that moves with the entries) says which entry is the newest about keys; it says all that was before.
//! Where that leads to no keys that the newest checkpoints are signed by, the log is searched for such entries. What is found counts only as far as each record has the authority of
//! the keys before it; that it is in the signed tree, the scan shows.

use indelible_core::{
    entry::Line,
    head::HeadRecord,
    history::{Between, KeyHistory},
    mac::LogId,
    note::{KeyId, Note, NoteSignature, VerifyingKey},
    tree::{LeafIndex, TreeSize},
};
use indelible_store::store::{Reader, StoreError, lines};

use super::anchors::{Opened, kept, open, said_size};
use crate::{
    error::LogError,
    keys::{follow_to, keys_record, record_at},
    log::get,
    open::{entry_zero, proven},
};

/// How the line of a `keys` record goes on behind its batch: its members are in canonical order.
const MARK: &[u8] = b"\"entry\":{\"control\":{\"authorisations\":";

/// The history of a log's keys. `first` is what entry 0 says, `hints` name entries that may be the newest about keys, `notes` are checkpoints that it should explain.
///
/// Where the records do not lead from `first` to the keys that signed the notes, because one of them is absent or was changed, the word of the newest one counts if `trusted`
/// says that a note is signed by a key that is trusted: the note covers that record. Records from index `below` on count for nothing.
pub(super) fn find(
    store: &dyn Reader,
    first: &KeyHistory,
    log_id: LogId,
    (hints, notes): (&[LeafIndex], &[&[u8]]),
    below: Option<u64>,
    trusted: &dyn Fn(&[u8]) -> bool,
) -> Result<KeyHistory, StoreError> {
    let mut history = first.clone();
    let mut claimed = None;
    for hint in hints.iter().filter(|hint| below.is_none_or(|below| hint.0 < below)) {
        // A hint that leads nowhere is none: what stands there is told by the scan.
        let mut read = |index| Ok(store.read(index, 0)?);
        if let Ok(found) = follow_to(&history, *hint, log_id, &mut read) {
            history = found;
        } else if let Ok(said) = record_at(*hint, &mut read) {
            claimed = KeyHistory::of_record(&said, first.origin(), *hint).ok().or(claimed);
        }
    }
    // A checkpoint over a change is signed by those before as well: that they explain it does not mean that they are all.
    let explained = |history: &KeyHistory| {
        notes.iter().all(|note| matches!(open(note, history), Opened::Good(_)) && !by_others(note, history))
    };
    let vouched = |said: &KeyHistory| vouched(store, said, notes, trusted);
    if explained(&history) {
        return Ok(history);
    }
    if let Some(said) = claimed
        && vouched(&said)?
    {
        return Ok(said);
    }
    let (found, newest) = search(store, history, log_id, below)?;
    match newest {
        Some(said) if !explained(&found) && vouched(&said)? => Ok(said),
        _ => Ok(found),
    }
}

/// Whether a key that is trusted signed a checkpoint that covers the record which says this. Only a signed tree that the record is in says anything of it; that it is, the roots show.
fn vouched(
    store: &dyn Reader,
    said: &KeyHistory,
    notes: &[&[u8]],
    trusted: &dyn Fn(&[u8]) -> bool,
) -> Result<bool, StoreError> {
    let covers = |note: &[u8]| matches!(open(note, said), Opened::Good(head) if head.size.0 > said.newest().0);
    if notes.iter().any(|note| covers(note) && trusted(note)) {
        return Ok(true);
    }
    // A key that was replaced since signed the first kept one over the change.
    for number in store.kept_numbers()?.into_iter().rev() {
        let Some(note) = kept(store, number)?.filter(|note| covers(note)) else { return Ok(false) };
        if trusted(&note) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where entry 0 cannot be read: what the newest record says was there from the beginning, if a trusted key vouches for it; else `guessed`.
pub(super) fn find_without_beginning(
    store: &dyn Reader,
    guessed: KeyHistory,
    log_id: LogId,
    notes: &[&[u8]],
    below: Option<u64>,
    trusted: &dyn Fn(&[u8]) -> bool,
) -> Result<KeyHistory, StoreError> {
    match search(store, guessed.clone(), log_id, below)?.1 {
        Some(said) if vouched(store, &said, notes, trusted)? => Ok(said),
        _ => Ok(guessed),
    }
}

/// Whether a checkpoint has a signature in the log's name by a key that the history does not know, rightly signed or not.
pub(super) fn by_others(note: &[u8], history: &KeyHistory) -> bool {
    by_none_of(note, history, u64::MAX)
}

/// The same of keys that came in below the size which it says: one that is brought behind it, by whoever held another, explains nothing.
pub(super) fn by_later_ones(note: &[u8], history: &KeyHistory) -> bool {
    by_none_of(note, history, said_size(note).map_or(0, |size| size.0))
}

fn by_none_of(note: &[u8], history: &KeyHistory, below: u64) -> bool {
    let lines = Note::parse(note).map(|note| note.signatures().to_vec()).unwrap_or_default();
    let known = |id: &KeyId| history.sets().iter().any(|set| set.first < below && set.set.get(id).is_some());
    lines.iter().map(NoteSignature::key_id).any(|id| id.name == history.origin() && !known(&id))
}

/// The history of a log's keys, as its newest checkpoints need it. `head` is a head record that is trusted, where there is one, and `active` the ring's public keys
/// that sign now: a log that ends before the head counts only as far as one of them signed it. The keys that it names itself sign what they like, and so does who stole one that was replaced.
///
/// # Errors
/// [`LogError`] where entry 0 or the log cannot be read; [`LogError::Evidence`] where what says so is not in the tree of the head record, or of an older checkpoint by an `active` one;
/// [`LogError::KeysAbsent`] where the record that the head names is not there.
pub fn known_keys(
    store: &dyn Reader,
    head: Option<&HeadRecord>,
    active: &[VerifyingKey],
) -> Result<KeyHistory, LogError> {
    let first = KeyHistory::of_created(&entry_zero(store)?)?;
    let published = store.checkpoint()?;
    let notes: Vec<&[u8]> = head.iter().map(|head| head.checkpoint.as_bytes()).chain(published.as_deref()).collect();
    let hints = [head.and_then(|head| head.keys), store.end()?.map(|end| end.keys)];
    let hints: Vec<_> = hints.into_iter().flatten().filter(|index| index.0 > 0).collect();
    let history = find(store, &first, store.info().log_id, (&hints, &notes), None, &|_| false)?;
    let Some(head) = head else { return Ok(history) };
    // What the head record knows to be the newest about the keys has to be there: a key that was replaced in it says of the keys behind it what it likes.
    if let Some(index) = head.keys
        && store.size().is_ok_and(|here| here.0 > index.0)
    {
        match get(store, index) {
            Err(LogError::Store(StoreError::Absent { index })) => return Err(LogError::KeysAbsent { index }),
            entry => drop(entry?),
        }
    }
    let newest = head.checkpoint.as_bytes();
    let behind = said_size(newest).filter(|size| !store.size().is_ok_and(|here| here >= *size));
    let note: &[u8] = match (behind, &published) {
        (None, _) => newest,
        // A copy that was left behind, or one that was put back, proves what it can.
        (Some(_), Some(note)) if is_signed_by(note, active) => note,
        (Some(size), _) => return Err(of_nobody(store, size)),
    };
    proven(store, &history, &history.open(note)?.head)?;
    Ok(history)
}

/// Whether one of these keys signed a note.
#[must_use]
pub fn is_signed_by(note: &[u8], keys: &[VerifyingKey]) -> bool {
    Note::parse(note).is_ok_and(|note| keys.iter().any(|key| note.verify(key).is_ok()))
}

fn of_nobody(store: &dyn Reader, known: TreeSize) -> LogError {
    let detail = format!(
        "the log ends here, the newest head covers {known} entries, and its checkpoint is by no active key of the ring: what it says of its keys counts for nothing, since whoever stole a key that was replaced may have made it; `indelible verify` says more, `indelible copy` brings a copy up to date"
    );
    LogError::Evidence { index: store.size().map_or(0, |size| size.0), detail }
}

/// The same to the newest record, whether a checkpoint covers it yet or not: where nothing names that record, the whole log is searched for it.
///
/// # Errors
/// [`LogError`] where entry 0 or the log cannot be read.
pub fn all_keys(
    store: &dyn Reader,
    head: Option<&HeadRecord>,
    active: &[VerifyingKey],
) -> Result<KeyHistory, LogError> {
    let found = known_keys(store, head, active)?;
    if head.is_some_and(|head| head.keys.is_some()) || store.end()?.is_some() {
        return Ok(found);
    }
    Ok(search(store, found, store.info().log_id, None)?.0)
}

/// Looks for `keys` records behind what is known: the history that they lead to, and what the last of them says, whether it has the right to or not. Records from index `below`
/// on, and lines that stand elsewhere than they say, count for nothing.
pub(crate) fn search(
    store: &dyn Reader,
    mut history: KeyHistory,
    log_id: LogId,
    below: Option<u64>,
) -> Result<(KeyHistory, Option<KeyHistory>), StoreError> {
    let mut newest = None;
    let finder = memchr::memmem::Finder::new(MARK);
    for run in store.runs()? {
        let pieces = match store.pieces(&run) {
            Err(StoreError::Evidence { .. }) => continue,
            pieces => pieces?,
        };
        // The line before, where it is known.
        let mut before: Option<Vec<u8>> = None;
        for piece in pieces {
            let bytes = match store.read_piece(&run, &piece) {
                Err(StoreError::Evidence { .. }) => {
                    before = Some(Vec::new());
                    continue;
                }
                bytes => bytes?,
            };
            let mut last: Option<&[u8]> = None;
            let found = finder.find(&bytes).is_some();
            for line in lines(&bytes) {
                let previous = last.replace(line).or(before.as_deref());
                if !found || finder.find(line).is_none() {
                    continue;
                }
                // Behind a line that cannot be read nobody knows which it is; that it stands in its place, the scan shows.
                let place = previous.map_or(Some(run.first), |line| Some(parse(line)?.entry.index.0 + 1));
                let stands = |line: &Line<'_>| place.is_none_or(|place| line.entry.index.0 == place);
                let Some(line) = parse(line).filter(stands) else { continue };
                if below.is_some_and(|below| line.entry.index.0 >= below) {
                    continue;
                }
                let Ok(Some(record)) = keys_record(&line.entry) else { continue };
                newest = KeyHistory::of_record(&record, history.origin(), line.entry.index).ok().or(newest);
                if let Ok(next) = history.extended(&record, line.entry.index, log_id, Between::Unseen) {
                    history = next;
                }
            }
            before = last.map(<[u8]>::to_vec).or(before);
        }
    }
    Ok((history, newest))
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    Line::parse(line.strip_suffix(b"\n").unwrap_or(line)).ok()
}
