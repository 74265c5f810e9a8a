//! A log moved from one place to another, byte for byte: the same lines, the same roots, checkpoints and attachments.
//!
//! No secret is needed: nothing is signed anew. What arrives is compared with the source's checkpoint before the copy is called whole, and a copy that broke
//! off goes on where it ended: what is there already is read again and compared.
//!
//! Where the source is being written, the copy is of what its checkpoint covered when it began; copying again brings the rest.

use std::{collections::HashSet, sync::Arc};

use indelible_core::{
    checkpoint::Checkpoint,
    control::Control,
    entry::{BodyKind, Line},
    note::Note,
    tile,
    time::Micros,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, empty_root, leaf_hash},
};
use indelible_store::{
    driver::{Driver, TailCheck, TailFault},
    follow::Follower,
    store::{Batch, BatchEntry, Chunk, Fingerprint, Reader, StoreError, StoredTree, Writer, parse_line},
};

use crate::{attachments, error::LogError};

/// Bytes that are read, written and made durable at a time.
const STEP: usize = 4 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Entries that are there now.
    pub size: u64,
    /// Those of them that were there before.
    pub before: u64,
    /// Attachments that were copied.
    pub attachments: u64,
    /// Kept checkpoints that were copied.
    pub checkpoints: u64,
    /// Entries of the source that its checkpoint does not cover yet and that were not copied, because it is being written.
    pub behind: u64,
    /// The head that source and copy agree on.
    pub head: TreeHead,
}

/// Copies a log to a place where there is none yet, or a part of it.
///
/// `progress` is told how many entries are there and how many there will be.
///
/// # Errors
/// [`LogError::Refused`] where another log is there; [`LogError::Copy`] where source or copy contradict themselves or each other: then
/// what was copied so far stays, and is not to be used.
pub fn copy(from: &dyn Reader, to: &dyn Driver, progress: &dyn Fn(u64, u64)) -> Result<Copied, LogError> {
    // The checkpoint before the size: a live writer makes more durable than it has signed.
    let note = from.checkpoint()?.ok_or_else(|| {
        LogError::Refused(
            "the log has no checkpoint yet, so that a copy could be compared with nothing: `indelible checkpoint`"
                .to_owned(),
        )
    })?;
    let signed = head_of(&note)?;
    let durable = from.size()?.0;
    // What a live writer has not signed yet is brought by the next copy: kept checkpoints may come to cover it while we read.
    let size = if from.has_writer()? { signed.size.0 } else { durable };
    if signed.size.0 > durable {
        let detail = format!("the log ends here, its checkpoint covers {} entries", signed.size);
        return Err(LogError::Evidence { index: durable, detail });
    }
    refuse_absent(from)?;
    let (writer, before) = open(from, to)?;
    let mut copy = Copy {
        from,
        to: &*writer,
        kept: 0,
        attachments: HashSet::new(),
        copied: (0, 0),
        follower: Follower::new(0, Some(leaf_hash(b"")), None),
    };
    copy.compare(before, progress, size)?;
    copy.bring(before, size, progress)?;
    copy.checkpoints_below(size)?;
    copy.extend(signed.size.0)?;
    let root = tile::root_at(&StoredTree(&*writer), signed.size)?;
    if root != signed.root {
        let detail = format!("the copy's root at {} entries is not that of the source's checkpoint", signed.size);
        return Err(evidence(signed.size.0.saturating_sub(1), detail));
    }
    writer.publish(&note, None)?;
    let (attachments, checkpoints) = copy.copied;
    writer.close()?;
    Ok(Copied { size, before, attachments, checkpoints, behind: durable - size, head: signed })
}

/// No place takes hashes without bodies: a copy that lacks them would be a tree that nobody can build.
fn refuse_absent(from: &dyn Reader) -> Result<(), LogError> {
    let runs = from.runs()?;
    let gap = runs.windows(2).find_map(|pair| match pair {
        [one, next] => one.end.filter(|end| *end < next.first).map(|end| (end, next.first - 1)),
        _ => None,
    });
    gap.map_or(Ok(()), |(first, last)| {
        Err(LogError::Refused(format!(
            "entries {first} to {last} were pruned, and a copy is made from bodies: nothing was copied; `indelible export` of what lies behind, or a backup of the database, takes along what is there"
        )))
    })
}

fn evidence(index: u64, detail: String) -> LogError {
    LogError::Copy { index, detail }
}

fn head_of(note: &[u8]) -> Result<TreeHead, LogError> {
    let note = Note::parse(note).map_err(indelible_core::checkpoint::CheckpointError::from)?;
    Ok(Checkpoint::parse(note.text())?.head)
}

/// Makes the log, or opens what an earlier copy made of it. Says how many entries are there.
fn open(from: &dyn Reader, to: &dyn Driver) -> Result<(Arc<dyn Writer>, u64), LogError> {
    let info = from.info();
    match to.create(info) {
        Ok(writer) => return Ok((writer, 0)),
        Err(StoreError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let leased = to.lease()?;
    let there = leased.reader().info();
    if there.log_id != info.log_id || there.origin != info.origin {
        let text =
            format!("`{}` holds another log, `{}`: choose a place where there is none", to.place(), there.origin);
        return Err(LogError::Refused(text));
    }
    let (writer, found) = leased.open(&TreeHead { size: TreeSize(0), root: empty_root() }, &AnyLine)?;
    Ok((writer, found.size))
}

/// Chain and order are looked at by the store; whose line it is, the comparison with the source tells.
struct AnyLine;

impl TailCheck for AnyLine {
    fn fault(&self, _: &Line<'_>, _: &Hash) -> Option<TailFault> {
        None
    }
}

struct Copy<'a> {
    from: &'a dyn Reader,
    to: &'a dyn Writer,
    /// Number of the last kept checkpoint that is there.
    kept: u64,
    attachments: HashSet<String>,
    /// Attachments and kept checkpoints that were copied.
    copied: (u64, u64),
    /// Leaf hash of the last entry that was looked at.
    follower: Follower,
}

impl Copy<'_> {
    /// Compares what is there with the source.
    fn compare(&mut self, before: u64, progress: &dyn Fn(u64, u64), size: u64) -> Result<(), LogError> {
        if before > size {
            return Err(LogError::Refused(format!(
                "the copy has {before} entries, the source {size}: the copy was written to, or the source rolled back"
            )));
        }
        self.kept = self.to.newest_kept()?.unwrap_or(0);
        let mut next = 0;
        while next < before {
            let (theirs, ours) = (self.to.read(LeafIndex(next), STEP)?, self.from.read(LeafIndex(next), STEP)?);
            for (theirs, ours) in theirs.lines().zip(ours.lines()) {
                if next >= before {
                    break;
                }
                if theirs != ours {
                    return Err(evidence(
                        next,
                        "copy and source differ: this is not a part of the same log".to_owned(),
                    ));
                }
                let line = parse_line(ours, next)?;
                self.attach(&line)?;
                self.follower.take(&line).map_err(|why| evidence(next, format!("{why}: verify the source")))?;
                next += 1;
            }
            progress(next, size);
        }
        Ok(())
    }

    /// Brings entries `next .. size`.
    fn bring(&mut self, mut next: u64, size: u64, progress: &dyn Fn(u64, u64)) -> Result<(), LogError> {
        while next < size {
            let chunk = self.from.read(LeafIndex(next), STEP)?;
            for batch in self.batches(&chunk, size)? {
                // INVARIANT(named): a checkpoint is there before the entry that names it.
                if let Some(number) = batch.names {
                    self.checkpoints(number)?;
                }
                let ids: Vec<_> =
                    (batch.first..).zip(&batch.entries).filter_map(|(index, entry)| Some((entry.id?, index))).collect();
                next = batch.first + batch.entries.len() as u64;
                self.to.claim(&ids, next);
                self.to.append(&batch)?;
            }
            self.extend(next)?;
            progress(next, size);
        }
        Ok(())
    }

    /// The lines of a chunk as batches to append. One that names a kept checkpoint begins a new one.
    fn batches(&mut self, chunk: &Chunk, size: u64) -> Result<Vec<Batch>, LogError> {
        let mut batches: Vec<Batch> = Vec::new();
        for (index, text) in (chunk.first..size).zip(chunk.lines()) {
            let line = parse_line(text, index)?;
            let leaf = self.follower.take(&line).map_err(|why| evidence(index, format!("{why}: verify the source")))?;
            self.attach(&line)?;
            let names = line.entry.head.map(|head| head.number);
            let recorded_at = line.entry.recorded().unwrap_or(Micros(0));
            if batches.is_empty() || names.is_some() {
                let (bytes, entries) = (Vec::new(), Vec::new());
                batches.push(Batch { first: index, recorded_at, names, keys: None, bytes, entries });
            }
            let Some(batch) = batches.last_mut() else { continue };
            if matches!(control_of(&line), Some(Control::Keys(_))) {
                batch.keys = Some(index);
            }
            let from = batch.bytes.len();
            batch.bytes.extend_from_slice(text);
            batch.bytes.push(b'\n');
            let entry = {
                let at = text.len() - line.entry.bytes.len() - MAC_MEMBER;
                from + at..from + at + line.entry.bytes.len()
            };
            let id = line.entry.event_id().map(Fingerprint::of);
            let line_at = from..batch.bytes.len();
            batch.entries.push(BatchEntry {
                line: line_at,
                entry,
                batch: line.batch.0,
                recorded_at,
                leaf,
                mac: line.mac,
                id,
            });
        }
        Ok(batches)
    }

    /// Brings the attachments that an entry names.
    fn attach(&mut self, line: &Line<'_>) -> Result<(), LogError> {
        let named = match control_of(line) {
            Some(Control::Resigned(resigned)) => vec![(resigned.overlay.digest, resigned.overlay.size)],
            None if memchr::memmem::find(line.entry.body, attachments::MARK).is_some() => {
                attachments::named(line.entry.body)
            }
            _ => return Ok(()),
        };
        for (digest, _) in named {
            let Some(hash) = attachments::parse_digest(&digest) else { continue };
            if !self.attachments.insert(digest.clone()) || self.to.attachment_size(&hash)?.is_some() {
                continue;
            }
            let index = line.entry.index.0;
            let content = self.from.attachment(&hash)?;
            let content = content.ok_or_else(|| evidence(index, format!("attachment {digest} is not stored")))?;
            if self.to.put_attachment(&content)? != hash {
                return Err(evidence(index, format!("attachment {digest} is not what its digest says")));
            }
            self.copied.0 += 1;
        }
        Ok(())
    }

    /// Brings kept checkpoints that cover no more than so many entries.
    fn checkpoints_below(&mut self, size: u64) -> Result<(), LogError> {
        while let Some(note) = self.from.kept(self.kept + 1)? {
            if head_of(&note)?.size.0 > size {
                break;
            }
            self.checkpoints(self.kept + 1)?;
        }
        Ok(())
    }

    /// Brings kept checkpoints up to a number.
    fn checkpoints(&mut self, until: u64) -> Result<(), LogError> {
        while self.kept < until {
            let number = self.kept + 1;
            let note = self.from.kept(number)?.ok_or_else(|| {
                LogError::Refused(format!(
                    "the source's kept checkpoint {number} is missing: `indelible verify` says more"
                ))
            })?;
            self.to.publish(&note, Some(number))?;
            self.kept = number;
            self.copied.1 += 1;
        }
        Ok(())
    }

    /// Extends the copy's tree from the copy's own bytes.
    fn extend(&self, until: u64) -> Result<(), LogError> {
        let mut next = self.to.tree_size()?.0;
        while next < until {
            let mut chunk = self.to.read(LeafIndex(next), STEP)?;
            let mut leaves = Vec::new();
            let mut bytes = 0;
            for (index, text) in (next..until).zip(chunk.lines()) {
                leaves.push(leaf_hash(parse_line(text, index)?.entry.bytes));
                bytes += text.len() + 1;
            }
            chunk.bytes.truncate(bytes);
            self.to.extend_tree(&leaves, &chunk)?;
            next += leaves.len() as u64;
        }
        Ok(self.to.sync_tree()?)
    }
}

/// The control record that a line carries, as far as it can be read.
fn control_of(line: &Line<'_>) -> Option<Control> {
    (line.entry.kind == BodyKind::Control).then(|| Control::parse(line.entry.body).ok()).flatten()
}

/// What stands behind the entry in a line: `,"mac":"`, 64 digits, `"}`.
const MAC_MEMBER: usize = 8 + 64 + 2;
