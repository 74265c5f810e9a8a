//! A copy of the log in the attacker's hands.
//!
//! Only files are touched: segments are taken apart into lines (compressed ones by way of decompression) and put together again in their own
//! form, so that no attack is caught merely because it was clumsy with the container.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use indelible_core::{
    checkpoint::Checkpoint,
    entry::{EntryStart, Line, Tail},
    mac::EntryKey,
    tree::{Hash, TreeHead, TreeSize, leaf_hash, range_root},
};
use indelible_keys::CheckpointSigner;
use indelible_store::disk::{OsDisk, SharedDisk};
use indelible_store_file::{
    frames::{self, Frame},
    layout::{Durable, Layout},
    segments::{self, Form, OpenSegment, Segment, Trust},
};

use super::stage::{Stage, copy_dir, find};

/// Lines with their line feeds.
pub(super) type Lines = Vec<Vec<u8>>;

/// A copy of a log, with a copy of its head store beside it.
pub(super) struct Hands {
    pub(super) log: PathBuf,
    pub(super) heads: PathBuf,
    layout: Layout,
    disk: SharedDisk,
}

impl Hands {
    /// Copies `log` and the stage's head store under `name`.
    pub(super) fn on_copy(stage: &Stage, log: &Path, name: &str) -> anyhow::Result<Self> {
        let place = stage.dir.join("copies").join(name);
        let (copy, heads) = (place.join("log"), place.join("heads"));
        copy_dir(log, &copy)?;
        copy_dir(&stage.keys.heads_dir(), &heads)?;
        Ok(Self { layout: Layout::new(&copy), log: copy, heads, disk: OsDisk::shared() })
    }

    /// The segments, in order.
    pub(super) fn segments(&self) -> anyhow::Result<Vec<Segment>> {
        Ok(segments::list(&*self.disk, &self.layout)?)
    }

    /// The segment that holds an entry.
    pub(super) fn segment_of(&self, index: u64) -> anyhow::Result<Segment> {
        let before = self.segments()?.into_iter().rfind(|segment| segment.first <= index);
        before.with_context(|| format!("no segment holds entry {index}"))
    }

    /// The lines of a segment.
    pub(super) fn lines(&self, segment: Segment) -> anyhow::Result<Lines> {
        let open = OpenSegment::open(&self.disk, &self.layout, segment, Trust::Walk)?;
        let bytes = open.read(0, usize::try_from(open.len()?)?)?;
        Ok(bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
    }

    /// Puts lines in the place of a segment's.
    pub(super) fn put(&self, segment: Segment, lines: &[Vec<u8>]) -> anyhow::Result<()> {
        let plain = lines.concat();
        let bytes = if segment.form == Form::Closed { compress(&plain)? } else { plain };
        Ok(fs::write(segment.path(&self.layout), bytes)?)
    }

    /// Replaces one line by what `change` makes of it: none, one or more.
    pub(super) fn edit(&self, index: u64, change: impl FnOnce(Vec<u8>) -> anyhow::Result<Lines>) -> anyhow::Result<()> {
        let segment = self.segment_of(index)?;
        let mut lines = self.lines(segment)?;
        let at = usize::try_from(index - segment.first)?;
        let line = lines.get(at).cloned().with_context(|| format!("no line for entry {index}"))?;
        lines.splice(at..=at, change(line)?);
        self.put(segment, &lines)
    }

    /// Takes the last `count` lines away, and adjusts what the log notes of its own length.
    pub(super) fn cut_last(&self, count: usize, size: u64) -> anyhow::Result<()> {
        let segment = self.segment_of(size - 1)?;
        let mut lines = self.lines(segment)?;
        let gone = lines.split_off(lines.len().saturating_sub(count)).concat().len();
        self.put(segment, &lines)?;
        let durable = Durable::read(&*self.disk, &self.layout)?.context("no file `durable`")?;
        let left = size - u64::try_from(count)?;
        let shorter = Durable { size: left, bytes: durable.bytes - u64::try_from(gone)?, done: durable.done };
        fs::write(self.layout.at("durable"), shorter.to_bytes())?;
        fs::OpenOptions::new().write(true).open(self.layout.at("offsets"))?.set_len(left * 8)?;
        Ok(fs::OpenOptions::new().write(true).open(self.layout.level(0))?.set_len(left * 32)?)
    }

    /// Publishes a checkpoint over what the tree has, signed by a key that is not the log's.
    pub(super) fn forge_checkpoint(&self, origin: &str, signer: &CheckpointSigner) -> anyhow::Result<()> {
        let leaves: Vec<Hash> = fs::read(self.layout.level(0))?.as_chunks().0.iter().copied().map(Hash).collect();
        let head = TreeHead { size: TreeSize(u64::try_from(leaves.len())?), root: range_root(&leaves) };
        let note = Checkpoint::new(origin, head).sign(&[signer])?;
        Ok(fs::write(self.layout.at("checkpoint"), note.to_string())?)
    }

    /// Deletes a kept checkpoint.
    pub(super) fn delete_kept(&self, number: u64) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.layout.kept(number))?)
    }

    /// Writes the log anew from entry `from` on: `change` is applied to each body, chain and entry signatures are made again
    /// with the stolen `key`, and the tree files follow.
    pub(super) fn rewrite_from(
        &self,
        from: u64,
        key: &EntryKey,
        change: impl Fn(&[u8]) -> Vec<u8>,
    ) -> anyhow::Result<()> {
        let mut leaves = Vec::new();
        for segment in self.segments()? {
            let mut lines = self.lines(segment)?;
            for line in &mut lines {
                let old = Line::parse(line.strip_suffix(b"\n").unwrap_or(line))?;
                if old.entry.index.0 < from {
                    leaves.push(leaf_hash(old.entry.bytes));
                    continue;
                }
                let prev = leaves.last().copied().unwrap_or(old.entry.prev);
                let (new, leaf) = sign_again(&old, prev, key, &change(old.entry.body));
                leaves.push(leaf);
                *line = new;
            }
            self.put(segment, &lines)?;
        }
        self.put_tree(&leaves)
    }

    fn put_tree(&self, leaves: &[Hash]) -> anyhow::Result<()> {
        let bytes = |hashes: &[Hash]| hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
        fs::write(self.layout.level(0), bytes(leaves))?;
        let above: Vec<Hash> = leaves.chunks_exact(256).map(range_root).collect();
        Ok(fs::write(self.layout.level(1), bytes(&above))?)
    }

    /// Turns the log into one that was never signed: bare events, one a line, and no checkpoint anywhere.
    pub(super) fn strip_signatures(&self, kept: u64) -> anyhow::Result<()> {
        for segment in self.segments()? {
            let mut bare = Vec::new();
            for line in self.lines(segment)? {
                let line = Line::parse(line.strip_suffix(b"\n").unwrap_or(&line))?;
                bare.push([line.entry.body, b"\n"].concat());
            }
            self.put(segment, &bare)?;
        }
        fs::remove_file(self.layout.at("checkpoint"))?;
        (1..=kept).try_for_each(|number| self.delete_kept(number))
    }
}

/// `old` with another body, at its place in another chain.
fn sign_again(old: &Line<'_>, prev: Hash, key: &EntryKey, body: &[u8]) -> (Vec<u8>, Hash) {
    let entry = &old.entry;
    let tail = Tail {
        head: entry.head,
        index: entry.index,
        key: entry.key,
        log: entry.log,
        bounded: entry.bounded,
        prev,
        recorded_at: entry.recorded_at,
    };
    let mut line = Vec::new();
    let (leaf, _, _) =
        EntryStart::new(entry.kind, body, entry.salt).seal(&tail, old.batch, |leaf| key.sign(leaf), &mut line);
    (line, leaf)
}

/// `text` with the first `from` in it replaced by `to`.
pub(super) fn replace(text: &[u8], from: &[u8], to: &[u8]) -> anyhow::Result<Vec<u8>> {
    let missing = || format!("no `{}` in the line", String::from_utf8_lossy(from));
    let at = find(text, from).with_context(missing)?;
    let (before, rest) = text.split_at_checked(at).with_context(missing)?;
    let after = rest.get(from.len()..).unwrap_or_default();
    Ok([before, to, after].concat())
}

/// The form of a closed segment.
fn compress(lines: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (mut file, mut list) = (Vec::new(), Vec::new());
    let mut offset = 0_u64;
    for part in frames::parts(lines) {
        let compressed = frames::compress(part)?;
        let at = u64::try_from(file.len())?;
        let (length, bytes) = (u32::try_from(compressed.len())?, u32::try_from(part.len())?);
        list.push(Frame { at, compressed: length, offset, bytes });
        offset += u64::from(bytes);
        file.extend_from_slice(&compressed);
    }
    file.extend_from_slice(&frames::table_bytes(&list));
    Ok(file)
}
