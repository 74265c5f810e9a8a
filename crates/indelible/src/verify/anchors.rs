//! Checkpoints that a scan has to meet: the newest heads that are known, the kept ones by number, and the caller's.

use std::collections::{BTreeMap, VecDeque};

use indelible_core::{
    checkpoint::{Checkpoint, CheckpointError},
    entry::KeptHead,
    note::{NoteError, VerifyingKey},
    tree::{Hash, TreeHead},
};
use indelible_store::store::{Reader, StoreError};

use super::report::{Finding, Kind};

/// Whose checkpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A kept checkpoint of the log, by number.
    Kept(u64),
    /// The log's published checkpoint.
    Published,
    /// The log's newest kept checkpoint, where no head record says which that is.
    NewestKept(u64),
    /// The head store's.
    HeadStore,
    /// The caller's.
    Given,
}

impl Source {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Kept(number) => format!("kept checkpoint {number}"),
            Self::NewestKept(number) => format!("the newest kept checkpoint, {number},"),
            Self::Published => "the published checkpoint".to_owned(),
            Self::HeadStore => "the newest head in the head store".to_owned(),
            Self::Given => "the checkpoint that was given".to_owned(),
        }
    }
}

/// A root that the tree must have at a size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) head: TreeHead,
    pub(super) source: Source,
}

/// Entries between two questions for a kept checkpoint that is not there: each is a look at a disk or at a server.
const ASK_EVERY: u64 = 4096;

/// All anchors of a scan, met in the order of their sizes.
pub(super) struct Anchors<'a> {
    store: &'a dyn Reader,
    key: VerifyingKey,
    /// By size; kept ones are put in as they are read.
    due: VecDeque<Anchor>,
    /// The next kept checkpoint to be read.
    next_kept: u64,
    /// The newest kept checkpoint, where the head store knows it.
    newest_kept: Option<KeptHead>,
    /// Whether the newest kept checkpoint is the head store's own, so that a crash before it was shown takes nothing away.
    in_head: bool,
    /// Whether a writer is at work, who may be about to show it.
    held: bool,
    /// Whether a kept checkpoint is among `due`.
    kept_waiting: bool,
    /// The size at which the store was last asked for the next kept one and had none.
    asked: Option<u64>,
    last_kept_size: u64,
    /// Kept checkpoints that no entry has named yet.
    unnamed: BTreeMap<u64, KeptHead>,
    /// `None` until the next name that a scan meets: it was resumed, or entries are absent.
    last_named: Option<u64>,
    pub(super) verified_kept: u64,
}

/// A note read as a checkpoint of this log.
pub(super) enum Opened {
    Good(TreeHead),
    /// Signed by other keys only.
    OtherKey(String),
    /// Not signed, wrongly signed, or no checkpoint.
    Bad(String),
}

pub(super) fn open(note: &[u8], key: &VerifyingKey) -> Opened {
    match Checkpoint::open(note, key) {
        Ok(checkpoint) => Opened::Good(checkpoint.head),
        Err(CheckpointError::Note(error @ NoteError::NoKnownSignature { .. })) => Opened::OtherKey(error.to_string()),
        Err(error) => Opened::Bad(crate::error::chain(&error)),
    }
}

impl<'a> Anchors<'a> {
    pub(super) fn new(
        store: &'a dyn Reader,
        key: VerifyingKey,
        fixed: Vec<Anchor>,
        newest_kept: Option<KeptHead>,
        from: (u64, u64),
        held: bool,
    ) -> Self {
        let (size, kept) = from;
        let own = fixed.iter().find(|anchor| anchor.source == Source::HeadStore).map(|anchor| anchor.head.size);
        let in_head = newest_kept.is_some_and(|newest| newest.number > 0 && Some(newest.size) == own);
        let mut fixed: Vec<Anchor> = fixed.into_iter().filter(|anchor| anchor.head.size.0 > size).collect();
        fixed.sort_by_key(|anchor| (anchor.head.size, anchor.source));
        Self {
            store,
            key,
            due: fixed.into(),
            next_kept: kept + 1,
            newest_kept,
            in_head,
            held,
            kept_waiting: false,
            asked: None,
            last_kept_size: 0,
            unnamed: BTreeMap::new(),
            last_named: (size == 0).then_some(0),
            verified_kept: 0,
        }
    }

    /// The size of the next anchor.
    pub(super) fn next_size(&self) -> Option<u64> {
        self.due.front().map(|anchor| anchor.head.size.0)
    }

    /// Takes the anchors of a size.
    pub(super) fn take(&mut self, size: u64) -> Vec<Anchor> {
        let mut met = Vec::new();
        while let Some(anchor) = self.due.front().filter(|anchor| anchor.head.size.0 <= size) {
            if matches!(anchor.source, Source::Kept(_)) {
                self.kept_waiting = false;
            }
            met.push(*anchor);
            self.due.pop_front();
        }
        met
    }

    /// What remains at the end.
    pub(super) fn remaining(&self) -> impl Iterator<Item = &Anchor> {
        self.due.iter()
    }

    pub(super) fn kept_verified(&self) -> u64 {
        self.next_kept - 1
    }

    /// An entry names a kept checkpoint, or the scan ends: what a live writer kept meanwhile counts.
    pub(super) fn ask_again(&mut self) {
        self.asked = None;
    }

    /// Reads kept checkpoints until one lies ahead. Where there is none yet, the store is not asked for it at every entry.
    pub(super) fn advance(&mut self, size: u64, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        if self.asked.is_some_and(|at| size < at.saturating_add(ASK_EVERY)) {
            return Ok(());
        }
        self.asked = None;
        while !self.kept_waiting {
            let number = self.next_kept;
            let known = self.newest_kept.is_some_and(|newest| number <= newest.number);
            let read = match self.store.kept(number) {
                Err(StoreError::Damaged { detail, .. }) if self.newest_kept.is_none() || known => {
                    self.next_kept += 1;
                    let detail = format!("kept checkpoint {number}: {detail}");
                    findings.push(finding(Kind::CheckpointSignature, None, detail));
                    continue;
                }
                // A stranger; a check of the folder tells.
                Err(StoreError::Damaged { .. }) => {
                    self.asked = Some(size);
                    return Ok(());
                }
                read => read?,
            };
            let Some(note) = read else {
                if !known {
                    self.asked = Some(size);
                    return Ok(());
                }
                self.next_kept += 1;
                if !self.in_head || self.newest_kept.is_none_or(|newest| newest.number != number) {
                    findings.push(missing(number));
                } else if !self.held {
                    let detail = format!("kept checkpoint {number} is missing; the head store has it");
                    findings.push(finding(Kind::Derived, None, detail));
                }
                continue;
            };
            if self.newest_kept.is_some() && !known {
                // Kept after the head record was read, by a live writer, or a stranger; a check of the folder tells.
                self.asked = Some(size);
                return Ok(());
            }
            self.next_kept += 1;
            self.read_kept(number, &note, size, findings);
        }
        Ok(())
    }

    fn read_kept(&mut self, number: u64, note: &[u8], size: u64, findings: &mut Vec<Finding>) {
        let head = match open(note, &self.key) {
            Opened::Good(head) => head,
            Opened::OtherKey(detail) | Opened::Bad(detail) => {
                findings.push(finding(Kind::CheckpointSignature, None, format!("kept checkpoint {number}: {detail}")));
                return;
            }
        };
        let kept = KeptHead { number, root: head.root, size: head.size };
        self.unnamed.insert(number, kept);
        if let Some(newest) = self.newest_kept.filter(|newest| newest.number == number && *newest != kept) {
            let detail =
                format!("kept checkpoint {number} has size {}, the head store knows size {}", head.size, newest.size);
            findings.push(finding(Kind::CheckpointMismatch, Some(head.size.0), detail));
        }
        if head.size.0 <= self.last_kept_size || head.size.0 < size {
            let detail = format!("kept checkpoint {number} has size {}, which is not its place", head.size);
            findings.push(finding(Kind::CheckpointMismatch, Some(head.size.0), detail));
            return;
        }
        self.last_kept_size = head.size.0;
        self.verified_kept += 1;
        let at = self.due.partition_point(|anchor| anchor.head.size < head.size);
        self.due.insert(at, Anchor { head, source: Source::Kept(number) });
        self.kept_waiting = true;
    }

    /// Bodies are absent: they may have named kept checkpoints, so the next name follows none.
    pub(super) fn skipped(&mut self) {
        self.last_named = None;
    }

    /// An entry names a kept checkpoint.
    pub(super) fn named(&mut self, index: u64, head: KeptHead, findings: &mut Vec<Finding>) {
        if let Some(before) = self.last_named.filter(|before| head.number != before + 1) {
            let detail = format!("it names kept checkpoint {}, the one before was {before}", head.number);
            findings.push(finding(Kind::CheckpointMismatch, Some(index), detail));
        }
        for number in self.next_kept..=head.number {
            // Not known from the head store: the entry itself says that it was kept.
            if self.newest_kept.is_none() {
                findings.push(missing(number));
            }
        }
        self.next_kept = self.next_kept.max(head.number + 1);
        self.last_named = self.last_named.max(Some(head.number));
        if let Some(kept) = self.unnamed.remove(&head.number).filter(|kept| *kept != head) {
            let detail = format!(
                "it names kept checkpoint {} with size {} and root {}; the file has size {} and root {}",
                head.number, head.size, head.root, kept.size, kept.root
            );
            findings.push(finding(Kind::CheckpointMismatch, Some(index), detail));
        }
    }
}

fn missing(number: u64) -> Finding {
    finding(Kind::CheckpointMissing, None, format!("kept checkpoint {number} is missing"))
}

pub(super) fn finding(kind: Kind, index: Option<u64>, detail: String) -> Finding {
    Finding { kind, index, last: None, id: None, recorded_at: None, detail }
}

/// Says what stands in the place of a file, where it is none (a directory, a link, one without end): nothing to read, and nothing of
/// the machine's that would fail another time.
pub(super) fn wrong_type(error: &StoreError) -> Option<String> {
    use std::io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory};
    match error {
        StoreError::Io { place, source, .. } => match source.kind() {
            InvalidData | InvalidInput | IsADirectory | NotADirectory => {
                Some(format!("`{place}` is no file: {source}"))
            }
            _ => None,
        },
        _ => None,
    }
}

/// A root in the report's form.
pub(super) fn short(root: &Hash) -> String {
    root.to_hex().get(..16).unwrap_or_default().to_owned()
}
