//! Checkpoints that a scan has to meet: the newest heads that are known, the kept ones by number, and the caller's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use indelible_core::{
    checkpoint::{Checkpoint, CheckpointError},
    entry::KeptHead,
    history::KeyHistory,
    note::{Note, NoteError},
    tree::{Hash, TreeHead, TreeSize},
};
use indelible_store::store::{Reader, StoreError};

use super::{
    known::by_others,
    report::{Finding, Kind},
    trust::Trust,
};

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

/// Missing kept checkpoints in a row that are told one by one.
const TOLD_MISSING: u64 = 100;

/// All anchors of a scan, met in the order of their sizes.
pub(super) struct Anchors<'a> {
    store: &'a dyn Reader,
    /// What the log says of its keys, as far as that is known.
    pub(super) history: Arc<KeyHistory>,
    pub(super) trust: Trust,
    /// The size of the next kept one, which lies ahead: keys may come in before that size.
    postponed: Option<u64>,
    /// Whether entries that may have said the keys are absent.
    absent: bool,
    /// Whether the kept checkpoint before the next one was seen, so that it is known over which changes of keys that is the first.
    follows: bool,
    /// By size; kept ones are put in as they are read.
    due: VecDeque<Anchor>,
    /// The next kept checkpoint to be read.
    next_kept: u64,
    /// The newest kept checkpoint, where the head store knows it.
    newest_kept: Option<KeptHead>,
    /// The numbers of those that were there before the scan.
    listed: Vec<u64>,
    /// The highest number that an entry names above the head record's, and the index of that entry.
    pub(super) beyond: Option<(u64, KeptHead)>,
    /// Whether the newest kept checkpoint is the head store's own, so that a crash before it was shown takes nothing away.
    in_head: bool,
    /// Whether a writer is at work, who may be about to show it.
    held: bool,
    /// Whether a kept checkpoint is among `due`.
    kept_waiting: bool,
    /// Whether the scan has ended.
    ended: bool,
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
    /// Signed by other keys than those that are due, or by too few of these; no line of theirs is wrong.
    OtherKey(String),
    /// Not signed, wrongly signed, or no checkpoint.
    Bad(String),
}

/// Reads a note and verifies it by the keys in force for its size.
pub(super) fn open(note: &[u8], history: &KeyHistory) -> Opened {
    match history.open(note) {
        Ok(checkpoint) => Opened::Good(checkpoint.head),
        // Signed by some that are due and not by others: a record that nobody has read yet may have retired those.
        Err(CheckpointError::Note(NoteError::TooFewSignatures { missing, present, .. })) => {
            let list = |ids: Vec<indelible_core::note::KeyId>| {
                ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
            };
            Opened::OtherKey(format!("it is not signed by {}; it is by {}", list(missing), list(present)))
        }
        Err(error) => Opened::Bad(crate::error::chain(&error)),
    }
}

/// A kept checkpoint, where it can be read; where it cannot, the scan tells.
pub(crate) fn kept(store: &dyn Reader, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    match store.kept(number) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        note => note,
    }
}

/// Whether a note is signed by a key that the log has had, as far as is known, or may be by another one.
fn may_be_signed(note: &[u8], history: &KeyHistory) -> bool {
    let signed = |note: &Note| history.sets().iter().flat_map(|set| set.set.keys()).any(|key| note.verify(key).is_ok());
    Note::parse(note).is_ok_and(|note| signed(&note)) || by_others(note, history)
}

/// The size that a note says, whoever signed it.
pub(super) fn said_size(note: &[u8]) -> Option<TreeSize> {
    Some(Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?.head.size)
}

fn said_origin(note: &[u8]) -> Option<String> {
    Some(Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?.origin)
}

impl<'a> Anchors<'a> {
    pub(super) fn new(
        store: &'a dyn Reader,
        history: Arc<KeyHistory>,
        trust: Trust,
        fixed: Vec<Anchor>,
        (newest_kept, listed): (Option<KeptHead>, Vec<u64>),
        from: (u64, u64),
        held: bool,
    ) -> Self {
        let (size, kept) = from;
        let before = if kept > 0 { store.kept(kept).ok().flatten().and_then(|note| said_size(&note)) } else { None };
        let own = fixed.iter().find(|anchor| anchor.source == Source::HeadStore).map(|anchor| anchor.head.size);
        let in_head = newest_kept.is_some_and(|newest| newest.number > 0 && Some(newest.size) == own);
        let mut fixed: Vec<Anchor> = fixed.into_iter().filter(|anchor| anchor.head.size.0 > size).collect();
        fixed.sort_by_key(|anchor| (anchor.head.size, anchor.source));
        Self {
            store,
            history,
            trust,
            postponed: None,
            absent: false,
            follows: kept == 0 || before.is_some(),
            due: fixed.into(),
            next_kept: kept + 1,
            newest_kept,
            listed,
            beyond: None,
            in_head,
            held,
            kept_waiting: false,
            ended: false,
            asked: None,
            last_kept_size: before.map_or(0, |size| size.0),
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

    /// The size of the newest kept checkpoint, where none before it is missing or wrong.
    pub(super) fn last_kept(&self) -> Option<TreeSize> {
        self.follows.then_some(TreeSize(self.last_kept_size))
    }

    pub(super) fn kept_verified(&self) -> u64 {
        self.next_kept - 1
    }

    /// An entry names a kept checkpoint, or the scan ends: what a live writer kept meanwhile counts.
    pub(super) fn ask_again(&mut self) {
        self.asked = None;
    }

    /// A `keys` record said all that was before.
    pub(super) fn renew(&mut self, history: KeyHistory) {
        self.trust.renew(&history);
        self.history = Arc::new(history);
        self.absent = false;
    }

    /// The scan ends: no keys will come to be known.
    pub(super) fn end(&mut self) {
        (self.ended, self.asked, self.postponed) = (true, None, None);
    }

    /// Reads kept checkpoints until one lies ahead. Where there is none yet, the store is not asked for it at every entry.
    pub(super) fn advance(&mut self, size: u64, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        if self.asked.is_some_and(|at| size < at.saturating_add(ASK_EVERY)) {
            return Ok(());
        }
        if self.postponed.is_some_and(|at| size < at) {
            return Ok(());
        }
        (self.asked, self.postponed) = (None, None);
        while !self.kept_waiting {
            let number = self.next_kept;
            let known = self.newest_kept.is_some_and(|newest| number <= newest.number);
            // By a live writer, since the scan began: it is none of those that this one goes by.
            if !known && self.listed.last().is_none_or(|last| number > *last) {
                self.asked = Some(size);
                return Ok(());
            }
            let read = match self.store.kept(number) {
                Err(StoreError::Damaged { detail, .. }) if self.newest_kept.is_none() || known => {
                    self.next_kept = number.saturating_add(1);
                    self.follows = false;
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
                if !known && self.passed_over(number, findings)? {
                    continue;
                }
                if !known {
                    self.asked = Some(size);
                    return Ok(());
                }
                self.next_kept = number.saturating_add(1);
                self.follows = false;
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
            // Which keys are right for it is known when all entries below it were seen. One that nobody signed is none, whatever size it says.
            if let Some(at) = said_size(&note).filter(|at| at.0 > size && !self.ended)
                && may_be_signed(&note, &self.history)
            {
                self.postponed = Some(at.0);
                return Ok(());
            }
            self.next_kept = number.saturating_add(1);
            self.read_kept(number, &note, size, findings);
        }
        Ok(())
    }

    /// Behind the scan, without a head record that says how many there are: whether one in the log's name with a higher number is there than `number`, which is not. Goes on with it then.
    fn passed_over(&mut self, number: u64, findings: &mut Vec<Finding>) -> Result<bool, StoreError> {
        if !self.ended || self.newest_kept.is_some() {
            return Ok(false);
        }
        let from = self.listed.partition_point(|there| *there <= number);
        let higher = self.listed.get(from..).unwrap_or_default().iter().copied().filter(|there| *there < u64::MAX);
        // What is no checkpoint says nothing of what should be there; a check of the folder tells of it.
        let is_own = |note: &[u8]| said_origin(note).is_some_and(|origin| origin == self.history.origin());
        let mut found = None;
        for there in higher {
            if kept(self.store, there)?.is_some_and(|note| is_own(&note)) {
                found = Some(there);
                break;
            }
        }
        let Some(higher) = found else { return Ok(false) };
        // A live writer may have kept it between the two looks.
        if kept(self.store, number)?.is_none() {
            findings.extend(all_missing(number, higher - 1));
            (self.next_kept, self.follows) = (higher, false);
        }
        Ok(true)
    }

    /// Whether all of these were kept since the scan began, by a live writer.
    fn kept_since(&self, first: u64, last: u64) -> bool {
        let there = |number| kept(self.store, number).is_ok_and(|note| note.is_some());
        last - first < TOLD_MISSING && (first..=last).all(there)
    }

    fn read_kept(&mut self, number: u64, note: &[u8], size: u64, findings: &mut Vec<Finding>) {
        let head = match open(note, &self.history) {
            Opened::Good(head) => head,
            Opened::OtherKey(detail) if self.absent => {
                self.follows = false;
                findings.push(unexplained(&format!("kept checkpoint {number}"), &detail));
                return;
            }
            Opened::OtherKey(detail) | Opened::Bad(detail) => {
                self.follows = false;
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
        self.check_change(number, note, head.size, findings);
        self.last_kept_size = head.size.0;
        self.follows = true;
        self.verified_kept += 1;
        let at = self.due.partition_point(|anchor| anchor.head.size < head.size);
        self.due.insert(at, Anchor { head, source: Source::Kept(number) });
        self.kept_waiting = true;
    }

    /// The first kept checkpoint over a change of keys is signed by those before as well: by that whoever knew them follows.
    fn check_change(&mut self, number: u64, note: &[u8], size: TreeSize, findings: &mut Vec<Finding>) {
        let before = TreeSize(self.last_kept_size);
        let sets = self.history.sets_between(before, size);
        let (Some((_, earlier)), true) = (sets.split_last(), self.follows) else { return };
        let Ok(note) = Note::parse(note) else { return };
        if let Some(error) = earlier.iter().find_map(|set| set.set.verify(&note).err()) {
            let detail = format!(
                "kept checkpoint {number} is the first one over a change of checkpoint keys, and not by the keys before: {error}"
            );
            findings.push(finding(Kind::CheckpointSignature, Some(size.0), detail));
        }
        if !earlier.is_empty() {
            self.trust.passed(&self.history, before, size, &note);
        }
    }

    /// Bodies are absent: they may have named kept checkpoints, so the next name follows none.
    pub(super) fn skipped(&mut self) {
        self.absent = true;
        self.last_named = None;
    }

    /// An entry names a kept checkpoint.
    pub(super) fn named(&mut self, index: u64, head: KeptHead, findings: &mut Vec<Finding>) {
        // Each kept one covers more entries than the one before, and all of them are before the entry that names it.
        if head.number > index || head.size.0 > index {
            let KeptHead { number, size, .. } = head;
            let detail = format!("it names kept checkpoint {number} of size {size}, which it cannot know");
            findings.push(finding(Kind::CheckpointMismatch, Some(index), detail));
            self.last_named = None;
            return;
        }
        if let Some(before) = self.last_named.filter(|before| head.number != before + 1) {
            let detail = format!("it names kept checkpoint {}, the one before was {before}", head.number);
            findings.push(finding(Kind::CheckpointMismatch, Some(index), detail));
        }
        if self.newest_kept.is_some_and(|newest| head.number > newest.number)
            && self.beyond.is_none_or(|(_, before)| head.number > before.number)
        {
            self.beyond = Some((index, head));
        }
        // Not known from the head store: the entry itself says that they were kept. One may have been kept and named between the list and the scan.
        if self.newest_kept.is_none() && self.next_kept <= head.number {
            let since = self.listed.last().is_none_or(|last| self.next_kept > *last);
            if !(since && self.kept_since(self.next_kept, head.number)) {
                findings.extend(all_missing(self.next_kept, head.number));
            }
        }
        if self.next_kept <= head.number {
            self.follows = false;
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

/// A checkpoint by keys that absent entries may have introduced.
pub(super) fn unexplained(what: &str, detail: &str) -> Finding {
    let detail = format!("{what}: {detail}; entries are absent that may have said that these are the log's keys");
    finding(Kind::KeyMissing, None, detail)
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

/// Kept checkpoints `first` to `last`, as many one by one as are worth it.
fn all_missing(first: u64, last: u64) -> impl Iterator<Item = Finding> {
    let told = last.min(first.saturating_add(TOLD_MISSING - 1));
    let rest = (told < last).then(|| {
        let detail = format!("kept checkpoints {} to {last} are missing", told + 1);
        finding(Kind::CheckpointMissing, None, detail)
    });
    (first..=told).map(missing).chain(rest)
}
