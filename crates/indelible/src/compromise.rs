//! After a theft: what rests on the key, and second signatures in the place of its own (`docs/keys.md`).
//!
//! Entries under a stolen entry key stay what they are: they are in the tree, under roots that other keys signed. [`resign`] gives them signatures by the key in force
//! now, as attachments that `resigned` records name. A run that broke off goes on where it ended: what such a record covers is not signed again.

use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, MAX_RESIGNED, Overlay, Resigned},
    entry::BodyKind,
    hex,
    history::KeyHistory,
    note::Note,
    tile,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, range_root},
};
use indelible_store::store::{Reader, StoreError, StoredTree, parse_line};

use crate::{error::LogError, log::Log, verify::kept};

/// Leaf hashes that are read at a time.
const STEP: usize = 4096;
/// Bytes of lines that are read at a time.
const READ: usize = 1 << 20;

/// What rests on a key from an index on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Id of the key.
    pub key: String,
    /// Entries that it signed: first and last.
    pub entries: Option<(u64, u64)>,
    /// Kept checkpoints that it signed: how many, and the sizes of the first and the last.
    pub checkpoints: Option<(u64, u64, u64)>,
}

/// What rests on an entry key or, by the id that its ring gives it, on a checkpoint key, from index `from` on.
///
/// # Errors
/// What reading says; [`LogError::Refused`] for a key that the log never had.
pub fn scope(
    log: &Log,
    key: &str,
    public: Option<&indelible_core::note::VerifyingKey>,
    from: u64,
) -> Result<Scope, LogError> {
    let history = log.key_history();
    let size = log.size()?;
    let entries = history.range_of(key).and_then(|(first, until)| {
        let (first, until) = (first.max(from), until.min(size));
        (first < until).then(|| (first, until - 1))
    });
    let checkpoints = match public {
        Some(public) => signed_checkpoints(log.store(), public, from)?,
        None => None,
    };
    let known = history.range_of(key).is_some() || public.is_some_and(|public| history.reign_of(public).is_some());
    if !known {
        return Err(LogError::Refused(format!("key `{key}` never signed anything in `{}`", log.origin())));
    }
    Ok(Scope { key: key.to_owned(), entries, checkpoints })
}

fn signed_checkpoints(
    store: &dyn Reader,
    key: &indelible_core::note::VerifyingKey,
    from: u64,
) -> Result<Option<(u64, u64, u64)>, LogError> {
    let mut found: Option<(u64, u64, u64)> = None;
    for number in store.kept_numbers()? {
        // What cannot be read as a checkpoint is none of its key's; verification tells of it.
        let Some(bytes) = kept(store, number)? else { continue };
        let Ok(note) = Note::parse(&bytes) else { continue };
        let Ok(Checkpoint { head, .. }) = Checkpoint::parse(note.text()) else { continue };
        let size = head.size.0;
        if size > from && note.verify(key).is_ok() {
            let (count, first, _) = found.unwrap_or((0, size, size));
            found = Some((count + 1, first, size));
        }
    }
    Ok(found)
}

/// What was signed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Id of the key that signs now.
    pub new_key: String,
    /// Entries of the range.
    pub entries: u64,
    /// Those of them that had second signatures before.
    pub before: u64,
    /// Indices of the records that say so.
    pub records: Vec<u64>,
}

/// Gives entries of a withdrawn key second signatures, by the key in force now. `range`: which of its entries, inclusive; all of them where it is not said. `progress` is told
/// how many are done and how many there are.
///
/// # Errors
/// [`LogError::Refused`] where the key is not withdrawn, or the range is not its own; [`LogError::Evidence`] where the stored hashes are not those that the newest checkpoint
/// covers: what was done up to there stays.
pub fn resign(
    log: &Log,
    old_key: &str,
    range: Option<(u64, u64)>,
    reason: &str,
    progress: &dyn Fn(u64, u64),
) -> Result<Signed, LogError> {
    log.checkpoint()?;
    let (_, tree) = log.head();
    let history = log.key_history();
    let (first, last) = range_of(&history, old_key, range, tree.size)?;
    let new_key = history.current_entry_key().map(|key| key.id.clone()).unwrap_or_default();
    let done = covered(log, &history, old_key, &new_key)?;
    let mut signed = Signed { new_key, entries: last - first + 1, before: 0, records: Vec::new() };
    let mut next = first;
    while next <= last {
        if let Some((_, until)) = done.iter().find(|(from, until)| (*from..=*until).contains(&next)) {
            let until = *until.min(&last);
            signed.before += until - next + 1;
            next = until + 1;
            continue;
        }
        let free = done.iter().map(|(from, _)| *from).filter(|from| *from > next).min().unwrap_or(u64::MAX);
        let until = last.min(free - 1).min(next.saturating_add(MAX_RESIGNED - 1));
        let index = resign_part(log, old_key, (next, until), tree, reason)?;
        signed.records.push(index);
        next = until + 1;
        progress((next - first).min(signed.entries), signed.entries);
    }
    log.checkpoint()?;
    Ok(signed)
}

fn range_of(
    history: &KeyHistory,
    key: &str,
    range: Option<(u64, u64)>,
    size: TreeSize,
) -> Result<(u64, u64), LogError> {
    let refused = |text: String| Err(LogError::Refused(text));
    let Some((from, until)) = history.range_of(key) else {
        return refused(format!(
            "no entry of this log is signed by key `{key}`: `indelible keys history` names its keys"
        ));
    };
    if !history.withdrawn().iter().any(|one| one.id == key) {
        return refused(format!(
            "key `{key}` is not withdrawn, and second signatures count for nothing beside a good first one: `indelible keys compromise {key} --from INDEX --reason …` comes first; it is for keys that others may have, not for those that were rotated"
        ));
    }
    let last = until.min(size.0).saturating_sub(1);
    let (first, end) = range.unwrap_or((from, last));
    if first > end || first < from || end > last {
        return refused(format!(
            "entries {first} to {end} are not all signed by key `{key}`, whose entries are {from} to {last}"
        ));
    }
    Ok((first, end))
}

/// Ranges that have second signatures already: those of records that have authority where they stand.
fn covered(log: &Log, history: &KeyHistory, old: &str, new: &str) -> Result<Vec<(u64, u64)>, LogError> {
    let store = log.store();
    let mut next = history.range_of(old).map_or(0, |(_, until)| until);
    let size = store.size()?.0;
    let mut covered = Vec::new();
    while next < size {
        let chunk = match store.read(LeafIndex(next), READ) {
            // What was pruned has no records: on behind it.
            Err(StoreError::Absent { .. }) => {
                next = store.runs()?.iter().map(|run| run.first).find(|first| *first > next).unwrap_or(size);
                continue;
            }
            chunk => chunk?,
        };
        for (index, text) in (next..).zip(chunk.lines()) {
            let line = parse_line(text, index)?;
            next = index + 1;
            if line.entry.kind != BodyKind::Control {
                continue;
            }
            let control = Control::parse(line.entry.body)?;
            if let Control::Resigned(resigned) = &control
                && resigned.old_key == old
                && resigned.new_key == new
                && has_authority(&control, log, history, LeafIndex(index))
            {
                covered.push((resigned.first, resigned.last));
            }
        }
    }
    Ok(covered)
}

/// Whether a checkpoint key that is in force at an index gave a record there its authority. One that a thief of an entry key wrote has none.
fn has_authority(control: &Control, log: &Log, history: &KeyHistory, index: LeafIndex) -> bool {
    let set = history.set_for(TreeSize(index.0));
    set.is_some_and(|set| control.verify_authorisations(log.log_id(), history.origin(), index, set).is_ok())
}

fn resign_part(
    log: &Log,
    old_key: &str,
    (first, last): (u64, u64),
    tree: TreeHead,
    reason: &str,
) -> Result<u64, LogError> {
    let leaves = proven_leaves(log.store(), first, last, tree)?;
    let inner = &log.inner;
    let history = log.key_history();
    let key = inner.keys.resign_key(&history)?;
    let mut overlay = Vec::with_capacity(leaves.len() * 32);
    for leaf in &leaves {
        overlay.extend_from_slice(&key.sign(leaf));
    }
    let digest = log.put_attachment(&overlay)?;
    let record = Control::Resigned(Resigned {
        authorisation: None,
        first,
        last,
        leaf_root: range_root(&leaves).to_hex(),
        new_key: key.id().to_owned(),
        old_key: old_key.to_owned(),
        overlay: Overlay { digest: format!("sha256:{}", hex::encode(&digest)), size: overlay.len() as u64 },
        reason: reason.to_owned(),
        root: tree.root.to_hex(),
        tree_size: tree.size.0,
    });
    Ok(inner.append_authorised(&record, |sequencer| {
        if *sequencer.signing.key_id == *key.id() {
            return Ok(());
        }
        Err(LogError::Refused("the keys changed meanwhile, nothing more was recorded: run it again".to_owned()))
    })?)
}

/// Leaf hashes that the newest checkpoint covers: with the subtrees on both sides they fold to its root.
fn proven_leaves(store: &dyn Reader, first: u64, last: u64, tree: TreeHead) -> Result<Vec<Hash>, LogError> {
    let wrong = || LogError::Evidence {
        index: first,
        detail: format!(
            "the stored hashes of entries {first} to {last} are not those that the newest checkpoint covers"
        ),
    };
    let mut frontier = tile::frontier_at(&StoredTree(store), TreeSize(first))?;
    let mut leaves = Vec::with_capacity(usize::try_from(last - first + 1).unwrap_or(0));
    let mut next = first;
    while next <= last {
        let count = usize::try_from(last - next + 1).unwrap_or(STEP).min(STEP);
        for leaf in store.hashes(0, next, count)? {
            frontier.push(leaf);
            leaves.push(leaf);
        }
        next += count as u64;
    }
    let right = tile::compact_right(&StoredTree(store), last + 1, tree.size)?;
    let whole = frontier.complete(&right, tree.size);
    if whole.is_some_and(|whole| whole.root() == tree.root) { Ok(leaves) } else { Err(wrong()) }
}
