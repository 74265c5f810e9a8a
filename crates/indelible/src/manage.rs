//! What an operator does with a log: rebuild derived files, explain what is absent, go on under a
//! new name.

use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, Excuse, Predecessor},
    head::HeadRecord,
    note::{KeySet, VerifyingKey},
    tree::{LeafIndex, range_root},
};
use indelible_keys::KeyRing;
use indelible_store::{
    driver::Driver,
    heads::HeadStoreError,
    store::{Reader, Run, StoreError},
};

use crate::{
    error::{LogError, chain},
    keys::active_set,
    log::{Log, get},
    options::Options,
    put_back,
    verify::{Kind, Request, Verdict, is_signed_by, verify},
};

/// Records, under the checkpoint key's signature, why the bodies of entries `first ..= last` are absent. Verification then reads *explained* instead of *gap*;
/// an edit is never excused.
///
/// # Errors
/// [`LogError::Refused`] where the range is not below the newest checkpoint or a body in it is there; what reading says where one cannot be read, or is
/// not what was recorded: nothing is recorded then.
pub fn explain(log: &Log, first: u64, last: u64, reason: &str) -> Result<u64, LogError> {
    let (_, tree) = log.checkpoint().map(|_| log.head())?;
    if first > last || last >= tree.size.0 {
        let text =
            format!("entries {first} to {last} are not a range below the newest checkpoint ({} entries)", tree.size);
        return Err(LogError::Refused(text));
    }
    let store = log.store();
    let mut leaves = Vec::new();
    let mut next = first;
    while next <= last {
        let count = usize::try_from((last - next + 1).min(4096)).unwrap_or(0);
        leaves.extend(store.hashes(0, next, count)?);
        next += count as u64;
    }
    refuse_unless_absent(store, first, last)?;
    let excuse =
        Excuse { authorisation: None, first, last, leaf_root: range_root(&leaves).to_hex(), reason: reason.to_owned() };
    let inner = &log.inner;
    let index = inner.append_authorised(&Control::Explained(excuse), |_| Ok(()))?;
    log.checkpoint()?;
    Ok(index)
}

/// Only the store's own word that a body is gone counts as absence: what cannot be read, or reads wrong, may still be there. It is asked of both ends of each gap between two runs of lines, and of
/// each entry of a run of rows.
fn refuse_unless_absent(store: &dyn Reader, first: u64, last: u64) -> Result<(), LogError> {
    let runs = store.runs()?;
    let mut next = first;
    while next <= last {
        is_absent(store, next)?;
        let end = gap_end(&runs, next).min(last + 1);
        is_absent(store, end - 1)?;
        next = end;
    }
    Ok(())
}

fn is_absent(store: &dyn Reader, index: u64) -> Result<(), LogError> {
    match get(store, LeafIndex(index)) {
        Err(LogError::Store(StoreError::Absent { .. })) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(LogError::Refused(format!("entry {index} is there: only what is absent can be explained"))),
    }
}

/// Behind an absent entry, the index up to which nothing else can be. A run whose end is known is one of rows, and each of these may be absent by itself; the lines of a file end before what is absent.
pub(crate) fn gap_end(runs: &[Run], index: u64) -> u64 {
    if runs.iter().any(|run| run.first <= index && run.end.is_some_and(|end| index < end)) {
        return index + 1;
    }
    runs.iter().map(|run| run.first).filter(|first| *first > index).min().unwrap_or(u64::MAX)
}

/// Begins a successor: a new log under a new name whose entry 0 names the last known checkpoint of the old one. The old log is left as it is.
///
/// # Errors
/// [`LogError`].
pub fn succeed(
    old: &dyn Driver,
    new: &dyn Driver,
    origin: &str,
    keys: &KeyRing,
    mut options: Options,
) -> Result<Log, LogError> {
    let before = old.reader_of_entry_zero()?;
    let info = before.info().clone();
    let heads = options.heads_for(keys);
    // A damaged record is one of the reasons to go on under a new name.
    let known = match heads.load(&info.origin) {
        Err(HeadStoreError::Damaged { .. }) => None,
        head => head?.map(|head| head.checkpoint),
    };
    let note = match known {
        Some(note) => {
            open_by_any(note.as_bytes(), &keys.public_keys(&info.origin)?)?;
            note
        }
        None => published(&*before, old, &active_set(keys, &info.origin, options.clock.now())?)?,
    };
    options.predecessor = Some(Predecessor { checkpoint: note, log_id: info.log_id.to_string(), origin: info.origin });
    Log::create_in(new, origin, keys, options)
}

/// The same where the old log is gone for good: the new one names the checkpoint and the log id of its head record, which is all that is left.
///
/// # Errors
/// [`LogError`]; [`LogError::Refused`] where the head store knows no log of that name.
pub fn succeed_lost(
    lost: &str,
    new: &dyn Driver,
    origin: &str,
    keys: &KeyRing,
    mut options: Options,
) -> Result<Log, LogError> {
    let heads = options.heads_for(keys);
    let head = heads.load(lost)?.ok_or_else(|| {
        LogError::Refused(format!(
            "the head store has no record of a log `{lost}` at `{}`: correct the name, or begin a log that names no predecessor with `indelible init`",
            heads.place(lost)
        ))
    })?;
    open_by_any(head.checkpoint.as_bytes(), &keys.public_keys(lost)?)?;
    let (checkpoint, log_id) = (head.checkpoint, head.log_id.to_string());
    options.predecessor = Some(Predecessor { checkpoint, log_id, origin: lost.to_owned() });
    Log::create_in(new, origin, keys, options)
}

/// The checkpoint that a log shows, where the head store has none. It is the log's word alone, so a key that is active has to have signed it: one that was replaced or stolen may
/// have signed anything since.
fn published(log: &dyn Reader, place: &dyn Driver, active: &KeySet) -> Result<String, LogError> {
    let origin = &log.info().origin;
    let note = log.checkpoint()?.and_then(|note| String::from_utf8(note).ok()).ok_or_else(|| {
        LogError::Refused(format!("neither the head store nor `{}` has a checkpoint of `{origin}`", place.place()))
    })?;
    if is_signed_by(note.as_bytes(), active.keys()) {
        open_by_any(note.as_bytes(), active.keys())?;
        return Ok(note);
    }
    Err(LogError::Refused(format!(
        "the head store has no checkpoint of `{origin}`, and the one that `{}` shows is signed by no active key of the ring: restore the head record from a copy, or begin a log that names no predecessor with `indelible init`",
        place.place()
    )))
}

/// Refuses a checkpoint that none of these keys signed.
fn open_by_any(note: &[u8], keys: &[VerifyingKey]) -> Result<(), LogError> {
    let mut refused = None;
    for key in keys {
        match Checkpoint::open(note, key) {
            Ok(_) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(|| LogError::Refused("the ring has no checkpoint key".to_owned()), LogError::from))
}

/// What [`repair`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong and is rebuilt.
    pub wrong: Vec<String>,
    /// The record of keys that are new in the ring: a repaired log is opened, and takes them up as any opening does.
    pub keys: Option<LeafIndex>,
}

/// Rebuilds derived files of a log from its entries, after these were verified against the newest head. Says what was rebuilt. A head record that was put back is moved forward first, to
/// the newest checkpoints of the log, if the log verifies under them.
///
/// # Errors
/// [`LogError::Refused`] where the entries do not verify: nothing is rebuilt from entries that may be wrong.
pub fn repair(place: &dyn Driver, keys: &KeyRing, options: &Options) -> Result<Repaired, LogError> {
    let reader = place.reader_of_entry_zero()?;
    let heads = options.heads_for(keys);
    let origin = reader.info().origin.clone();
    let request = Request {
        heads: Some(&*heads),
        head_required: true,
        strict: true,
        ..Request::of_ring(keys, &origin, options.clock.now())?
    };
    let report = verify(&*reader, &request).map_err(|error| LogError::Refused(chain(&error)))?;
    match report.status {
        Verdict::Intact => return Ok(Repaired::default()),
        Verdict::Damaged => {}
        status => {
            let text =
                format!("the verdict is `{}`: only what derives from verified entries can be rebuilt", status.as_str());
            return Err(LogError::Refused(text));
        }
    }
    let head = heads
        .load(&origin)?
        .ok_or_else(|| LogError::HeadMissing { origin: origin.clone(), place: heads.place(&origin) })?;
    let history = report.history.as_ref().ok_or_else(|| LogError::Refused("its keys are not known".to_owned()))?;
    let head = put_back::move_forward(&*reader, &*heads, (head, history), &request)?;
    let tree = history.open(head.checkpoint.as_bytes())?.head;
    place.rebuild(&*reader, &tree, head.kept.number)?;
    let wrong = report.findings.iter().filter(|f| f.kind == Kind::Derived).map(|f| f.detail.clone()).collect();
    // Opening shows the newest checkpoint again and closing writes `durable`.
    let log = Log::open_in(place, keys, options.clone())?;
    log.close()?;
    let (now, _) = log.head();
    Ok(Repaired { wrong, keys: now.keys.filter(|newest| head.keys != Some(*newest)) })
}

/// Freezes a log: a last checkpoint is published and kept, and the head store says from then on that nothing is written any more. Whoever holds the
/// keys and the heads keeps to it; a process that has the log open finds out at its next checkpoint.
///
/// # Errors
/// [`LogError`]; [`LogError::Frozen`] where it is frozen already.
pub fn freeze(place: &dyn Driver, keys: &KeyRing, options: &Options, reason: &str) -> Result<HeadRecord, LogError> {
    let log = Log::open_in(place, keys, options.clone())?;
    log.close()?;
    let heads = options.heads_for(keys);
    let (head, _) = log.head();
    let frozen = HeadRecord { frozen: Some(reason.to_owned()), ..head.clone() };
    heads.swap(log.origin(), Some(&head), &frozen)?;
    Ok(frozen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_where_the_next_run_begins_and_in_a_run_of_rows_with_each_of_them() {
        let run = |first, end| Run { first, place: String::new(), bytes: 0, beyond: 0, closed: true, end };
        let files = [run(0, None), run(50, None), run(70, None)];
        let rows = [run(0, Some(10)), run(50, Some(60))];
        for (runs, index, expected) in [
            (&files[..], 20, 50),
            (&files[..], 50, 70),
            (&files[..], 90, u64::MAX),
            (&rows[..], 5, 6),
            (&rows[..], 10, 50),
            (&rows[..], 59, 60),
            (&rows[..], 60, u64::MAX),
            (&[], 0, u64::MAX),
        ] {
            assert_eq!(gap_end(runs, index), expected, "{index} in {runs:?}");
        }
    }
}
