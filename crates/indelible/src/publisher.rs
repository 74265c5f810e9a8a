//! Checkpoints: read back, extend the tree, sync, sign, swap the head, and only then show.
//!
//! INVARIANT(read-back): the root that is signed is computed from bytes that were read back from the store, each of which continues the
//! chain and carries the right MAC; what was in memory when they were written plays no part.
//! INVARIANT(head-grows): the tree only grows from the frontier of the head before, and the head is swapped against exactly
//! that head; so no two signed checkpoints of a log contradict each other.

use std::{sync::atomic::Ordering, time::Duration};

use indelible_core::{
    checkpoint::Checkpoint,
    entry::{KeptHead, Line},
    head::HeadRecord,
    history::SetEpoch,
    tile,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_keys::CheckpointSigner;
use indelible_store::{
    driver::TailFault,
    follow::Follower,
    heads::HeadStoreError,
    store::{self, Chunk, StoreError, StoredTree},
};

use crate::{
    error::LogError,
    keeper::Chore,
    keys::{KeyFollower, sign_checkpoint},
    log::Inner,
    open::rolled_back,
    queue::lock,
};

/// Bytes that are read back at a time.
const READ_BACK: usize = 1 << 20;
/// How often another process may be faster, and how long is waited for it.
const SHARED_TRIES: u32 = 50;
const SHARED_WAIT: Duration = Duration::from_millis(20);
/// How long that goes on where each try waits for the store itself. What was not published is published by whoever comes next.
const SHARED_PATIENCE: Duration = Duration::from_secs(30);

/// The newest head and what it rests on.
pub(crate) struct Publisher {
    pub(crate) head: HeadRecord,
    pub(crate) tree: TreeHead,
    /// Leaf hash of the last entry that the stored tree covers; it may be ahead of the head, where a swap failed.
    pub(crate) last_leaf: Hash,
    /// Number of the newest kept checkpoint that a durable entry names.
    pub(crate) named: u64,
    /// Monotonic time of the last kept checkpoint.
    pub(crate) kept_at: Duration,
    /// What was read back says of the log's keys.
    pub(crate) keys: KeyFollower,
    /// The signers of the last checkpoint, with the sets that they sign for.
    pub(crate) signers: Option<(Vec<SetEpoch>, Vec<CheckpointSigner>)>,
}

/// Whether a checkpoint is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

impl Inner {
    /// Publishes a checkpoint over everything that is durable. Returns the head.
    pub(crate) fn publish(&self, keep: Keep) -> Result<HeadRecord, LogError> {
        self.remember(Chore::Checkpoint, self.try_publish(keep))
    }

    fn try_publish(&self, keep: Keep) -> Result<HeadRecord, LogError> {
        if !self.store.shared() {
            let result = self.publish_once(keep);
            if let Err(error @ LogError::Heads(HeadStoreError::Conflict { .. })) = &result {
                self.fail(error);
            }
            return result;
        }
        let (mut tries, mut wanted) = (0, None);
        let until = self.clock.monotonic() + SHARED_PATIENCE;
        loop {
            tries += 1;
            let last = tries >= SHARED_TRIES || self.clock.monotonic() >= until;
            match self.publish_once(keep) {
                // Another process published meanwhile: what it did counts for this one too.
                Err(
                    LogError::Heads(HeadStoreError::Conflict { .. }) | LogError::Store(StoreError::TryAgain { .. }),
                ) if !last => match self.covering(&mut wanted, keep) {
                    Ok(Some(head)) => return Ok(head),
                    Err(error) if !is_passing(&error) => return Err(error),
                    _ => std::thread::sleep(SHARED_WAIT),
                },
                result => return result,
            }
        }
    }

    /// The head of another process, where it covers what was there when this one first lost the race: who always loses it has what it wanted all the same.
    fn covering(&self, wanted: &mut Option<TreeSize>, keep: Keep) -> Result<Option<HeadRecord>, LogError> {
        let wanted = match *wanted {
            Some(wanted) => wanted,
            None => *wanted.insert(self.store.size()?),
        };
        let mut publisher = lock(&self.publisher);
        self.refresh(&mut publisher)?;
        let size = if keep == Keep::Yes { publisher.head.kept.size } else { publisher.tree.size };
        Ok((size >= wanted).then(|| publisher.head.clone()))
    }

    fn publish_once(&self, keep: Keep) -> Result<HeadRecord, LogError> {
        let mut publisher = lock(&self.publisher);
        self.healthy()?;
        if self.store.shared() {
            self.refresh(&mut publisher)?;
        }
        let durable = self.store.size()?;
        if durable < publisher.tree.size {
            let error = rolled_back(durable, publisher.tree.size);
            self.fail(&error);
            return Err(error);
        }
        let keep = keep == Keep::Yes && publisher.head.kept.size < durable;
        if durable == publisher.tree.size && !keep {
            return Ok(publisher.head.clone());
        }
        let tree = self.read_back(&mut publisher, durable).inspect_err(|error| self.fail_unless_passing(error))?;
        // INVARIANT(named): a checkpoint is kept only when a durable entry names the one kept before, so that no crash leaves a hole in the names.
        let keep = keep && self.is_named(&mut publisher)?;
        if durable == publisher.tree.size && !keep {
            return Ok(publisher.head.clone());
        }
        self.sign_and_show(&mut publisher, tree, keep)
    }

    /// Whether a durable entry names the newest kept checkpoint.
    fn is_named(&self, publisher: &mut Publisher) -> Result<bool, LogError> {
        let newest = publisher.head.kept.number;
        // After an opening nobody may have looked yet.
        if publisher.named < newest && !self.store.shared() && lock(&self.kept).was_named(&*self.store)? {
            publisher.named = newest;
        }
        Ok(publisher.named == newest)
    }

    /// What another process published since is the head to go on from, once it was verified.
    fn refresh(&self, publisher: &mut Publisher) -> Result<(), LogError> {
        let origin = &*self.keys.origin;
        // A log that is being created has no record yet.
        let Some(head) = self.heads.load(origin)? else { return Ok(()) };
        if head != publisher.head {
            self.follow_head(publisher, &head)?;
            let tree = publisher.keys.history().open(head.checkpoint.as_bytes())?.head;
            if head.log_id != self.log_id || tree.size < publisher.tree.size {
                let error = LogError::from(HeadStoreError::Conflict { origin: origin.to_owned() });
                self.fail(&error);
                return Err(error);
            }
            if let Some(reason) = &head.frozen {
                let error = LogError::Frozen { origin: origin.to_owned(), reason: reason.clone() };
                self.fail(&error);
                return Err(error);
            }
            if publisher.head.kept.number != head.kept.number {
                publisher.kept_at = self.clock.monotonic();
            }
            (publisher.head, publisher.tree) = (head, tree);
        }
        // INVARIANT(head-grows): what this process signs grows from the head before, whoever signed that and whoever wrote the hashes below it.
        if publisher.tree.size.0 > 0
            && tile::root_at(&StoredTree(&*self.store), publisher.tree.size)? != publisher.tree.root
        {
            let detail = "the stored tree below the newest head is not the one that was signed".to_owned();
            let error = LogError::Evidence { index: publisher.tree.size.0.saturating_sub(1), detail };
            self.fail(&error);
            return Err(error);
        }
        publisher.last_leaf = match publisher.tree.size.0.checked_sub(1) {
            Some(last) => self.store.hashes(0, last, 1)?.first().copied().unwrap_or(publisher.last_leaf),
            None => leaf_hash(b""),
        };
        self.tell(publisher);
        self.show_kept(publisher)?;
        let unnamed = self.store.end()?.is_some_and(|end| end.unnamed.is_some());
        publisher.named = publisher.head.kept.number.saturating_sub(u64::from(unnamed));
        Ok(())
    }

    /// What another process wrote about the log's keys below its head.
    fn follow_head(&self, publisher: &mut Publisher, head: &HeadRecord) -> Result<(), LogError> {
        let Some(newest) = head.keys.filter(|newest| *newest > publisher.keys.history().newest()) else {
            return Ok(());
        };
        let mut read = |index| Ok(self.store.read(index, 0)?);
        let followed = self.keys.follow_to(publisher.keys.history(), newest, &mut read)?;
        publisher.keys.jump(followed);
        self.keys.know(publisher.keys.history());
        Ok(())
    }

    /// Shows a kept head that another process swapped in and has not shown, or never will. INVARIANT(named): the head moves past a kept one only
    /// when that is in the store, where the next entry finds its number; or two would be kept and one never named.
    fn show_kept(&self, publisher: &Publisher) -> Result<(), LogError> {
        let kept = publisher.head.kept;
        let is_newest = kept.number > 0 && kept.size == publisher.tree.size;
        if is_newest && self.store.kept(kept.number)?.is_none() {
            self.show(&publisher.head, Some(kept.number))?;
        }
        Ok(())
    }

    /// Ends writing, except for what another try may mend.
    fn fail_unless_passing(&self, error: &LogError) {
        if !is_passing(error) {
            self.fail(error);
        }
    }

    /// Reads back what the head does not cover yet and extends the stored tree. Returns the tree's head.
    fn read_back(&self, publisher: &mut Publisher, durable: TreeSize) -> Result<TreeHead, LogError> {
        let stored = self.store.tree_size()?.0;
        // Where several processes write, another may have extended the tree and ended before it signed: that part is read back again.
        let mut next = if self.store.shared() { publisher.tree.size.0.min(stored) } else { stored };
        while next < durable.0 {
            let until = if next < stored { durable.0.min(stored) } else { durable.0 };
            let mut chunk = self.store.read(LeafIndex(next), READ_BACK)?;
            let Checked { leaves, named } = check_chunk(&chunk, until, publisher.last_leaf, &mut publisher.keys)?;
            trim(&mut chunk, leaves.len());
            if next < stored {
                self.compare_stored(next, &leaves)?;
            } else {
                self.store.extend_tree(&leaves, &chunk)?;
            }
            next += leaves.len() as u64;
            publisher.last_leaf = leaves.last().copied().unwrap_or(publisher.last_leaf);
            publisher.named = named.unwrap_or(publisher.named);
        }
        self.store.sync_tree()?;
        Ok(TreeHead { size: durable, root: tile::root_at(&StoredTree(&*self.store), durable)? })
    }

    /// Compares leaf hashes of what was read back with those that another process stored.
    fn compare_stored(&self, first: u64, leaves: &[Hash]) -> Result<(), LogError> {
        let width = usize::try_from(tile::WIDTH).unwrap_or(1);
        let mut at = first;
        let mut rest = leaves;
        while !rest.is_empty() {
            // Never across a tile.
            let count = rest.len().min(width - usize::try_from(at % tile::WIDTH).unwrap_or(0));
            let (own, after) = rest.split_at(count);
            if self.store.hashes(0, at, count)? != own {
                let detail = "the stored leaf hashes are not those of the stored entries".to_owned();
                return Err(LogError::Evidence { index: at, detail });
            }
            at += count as u64;
            rest = after;
        }
        Ok(())
    }

    /// Signs a tree by the checkpoint keys in force, and by those before as long as no checkpoint over the change is kept.
    fn sign(&self, publisher: &mut Publisher, tree: TreeHead) -> Result<String, LogError> {
        let sets = publisher.keys.history().sets_between(publisher.head.kept.size, tree.size).to_vec();
        let signers = match publisher.signers.take().filter(|(of, _)| *of == sets) {
            Some((_, signers)) => signers,
            None => self.keys.signers(&sets)?,
        };
        let checkpoint = Checkpoint::new(self.keys.origin.to_string(), tree);
        let note = sign_checkpoint(&checkpoint, &sets, &signers)?.to_string();
        publisher.signers = Some((sets, signers));
        Ok(note)
    }

    fn sign_and_show(&self, publisher: &mut Publisher, tree: TreeHead, keep: bool) -> Result<HeadRecord, LogError> {
        let note = self.sign(publisher, tree)?;
        let number = publisher.head.kept.number + 1;
        let kept = if keep { KeptHead { number, root: tree.root, size: tree.size } } else { publisher.head.kept };
        let keys = newest_keys(publisher);
        let signed_at = self.clock.now();
        let head = HeadRecord { checkpoint: note, frozen: None, keys, kept, log_id: self.log_id, signed_at };
        // INVARIANT(head-before-show): nobody sees a checkpoint that the head store does not hold.
        self.swap(&publisher.head, &head)?;
        (publisher.head, publisher.tree) = (head.clone(), tree);
        self.tend_due.store(true, Ordering::Release);
        // The head is out: a log that cannot show it is opened again, which shows it.
        let shown = self.show(&head, keep.then_some(number));
        self.tell(publisher);
        shown.inspect_err(|error| self.fail(error))?;
        if keep {
            if !self.store.shared() {
                lock(&self.kept).put(kept);
            }
            publisher.kept_at = self.clock.monotonic();
        }
        Ok(head)
    }

    /// Lets everybody know the newest head, who do not wait for whoever publishes the next.
    pub(crate) fn tell(&self, publisher: &Publisher) {
        *lock(&self.newest) = (publisher.head.clone(), publisher.tree);
    }

    /// Shows a checkpoint whose head was swapped in.
    pub(crate) fn show(&self, head: &HeadRecord, kept: Option<u64>) -> Result<(), LogError> {
        Ok(self.store.publish(head.checkpoint.as_bytes(), kept)?)
    }

    /// Swaps the head; where the store failed in mid-swap, asks it which of the two it holds.
    fn swap(&self, old: &HeadRecord, new: &HeadRecord) -> Result<(), LogError> {
        let origin = &self.keys.origin;
        let Err(error) = self.heads.swap(origin, Some(old), new) else { return Ok(()) };
        if matches!(error, HeadStoreError::Io { .. }) {
            match self.heads.load(origin) {
                Ok(Some(found)) if &found == new => {}
                Ok(Some(found)) if &found == old => return Err(error.into()),
                _ => {
                    let error = LogError::from(error);
                    self.fail(&error);
                    return Err(error);
                }
            }
            // It shows, but whether it is durable is not known: write it once more.
            return self
                .heads
                .swap(origin, Some(new), new)
                .map_err(LogError::from)
                .inspect_err(|error| self.fail(error));
        }
        Err(error.into())
    }
}

/// Index of the newest `keys` record among what was read back.
fn newest_keys(publisher: &Publisher) -> Option<LeafIndex> {
    Some(publisher.keys.history().newest()).filter(|newest| newest.0 > 0)
}

/// Whether another try may mend it.
fn is_passing(error: &LogError) -> bool {
    matches!(error, LogError::Store(StoreError::TryAgain { .. } | StoreError::Database { .. }))
}

/// What lines that were read back say.
struct Checked {
    leaves: Vec<Hash>,
    /// The last kept checkpoint that one of them names.
    named: Option<u64>,
}

/// Checks lines that were read back.
fn check_chunk(chunk: &Chunk, durable: u64, last: Hash, keys: &mut KeyFollower) -> Result<Checked, LogError> {
    let mut leaves = Vec::new();
    let mut named = None;
    let mut follower = Follower::new(chunk.first, Some(last), None);
    for (index, line) in (chunk.first..durable).zip(chunk.lines()) {
        let evidence =
            |detail: &str| LogError::Evidence { index, detail: format!("read back before signing: {detail}") };
        let line = Line::parse(line).map_err(|error| evidence(&error.to_string()))?;
        let leaf = follower.take(&line).map_err(|why| evidence(&why))?;
        keys.take(&line, &leaf).map_err(|fault| match fault {
            TailFault::Wrong(why) | TailFault::Forged(why) => evidence(&why),
            fault => LogError::Store(fault.at(index)),
        })?;
        named = line.entry.head.map(|head| head.number).or(named);
        leaves.push(leaf);
    }
    Ok(Checked { leaves, named })
}

/// Cuts a chunk behind its first `lines` lines.
fn trim(chunk: &mut Chunk, lines: usize) {
    let end = store::lines(&chunk.bytes).take(lines).map(<[u8]>::len).sum();
    chunk.bytes.truncate(end);
}

impl Inner {
    /// The record of a log's first checkpoint, not yet swapped in.
    pub(crate) fn first_record(&self, publisher: &mut Publisher) -> Result<HeadRecord, LogError> {
        let durable = self.store.size()?;
        publisher.tree = self.read_back(publisher, durable)?;
        let tree = publisher.tree;
        Ok(HeadRecord {
            checkpoint: self.sign(publisher, tree)?,
            frozen: None,
            keys: newest_keys(publisher),
            kept: publisher.head.kept,
            log_id: self.log_id,
            signed_at: self.clock.now(),
        })
    }
}
