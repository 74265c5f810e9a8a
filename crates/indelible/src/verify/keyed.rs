//! What of a verification has to do with the log's keys: records that change them, entries whose key cannot be checked, withdrawn keys, second signatures.
//!
//! The history grows as the scan meets `keys` records; pieces that were looked at before are looked at again where that matters. Second signatures are checked behind
//! the scan, against leaf hashes that it has compared with the entries and the signed roots.

use std::{collections::BTreeMap, sync::Arc};

use indelible_core::{
    control::{Control, ControlError, LogCreated, MAX_RESIGNED, Resigned},
    entry::Line,
    history::{Between, HistoryError, KeyHistory, KeysRecord, MAX_KEYS, Withdrawn},
    mac::{EntryKey, LogId},
    tile,
    tree::{LeafIndex, TreeSize},
};
use indelible_keys::KeyRing;
use indelible_store::store::{StoreError, StoredTree};
use sha2::{Digest as _, Sha256};

use super::{
    absence::{Doubtful, Skipped},
    anchors::{finding, wrong_type},
    merge::Merger,
    piece::{InForce, Seen, SeenEntry, SeenPiece},
    report::{Finding, Kind, Macs, Remark, Unchecked},
    window::WINDOW,
};
use crate::{attachments::parse_digest, error::chain};

/// Stretches of entries under unknown keys that are remembered. Keys of a log are fewer.
const MAX_STRANGE: usize = 2 * MAX_KEYS;

/// The secrets that a verification has.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    pub(super) ring: Option<&'a KeyRing>,
    pub(super) log_id: LogId,
    pub(super) origin: &'a str,
    /// Whether an entry whose signature cannot be checked is a finding.
    pub(super) all: bool,
}

impl Secrets<'_> {
    /// The keys of a history, each with its secret where that is at hand.
    pub(super) fn in_force(&self, history: &KeyHistory) -> InForce {
        InForce::of(history, &|id| {
            let epoch = history.entry_key(id)?.epoch;
            Some(self.ring?.entry(id)?.key(self.log_id, self.origin, epoch))
        })
    }

    fn resign_key(&self, history: &KeyHistory, id: &str) -> Option<EntryKey> {
        let epoch = history.entry_key(id)?.epoch;
        Some(self.ring?.entry(id)?.resign_key(self.log_id, self.origin, epoch))
    }
}

/// What was met that has to do with keys.
#[derive(Default)]
pub(super) struct Keyed {
    /// Whether entries behind the newest `keys` record are not there: one that is missing may have been such a record.
    pub(super) absent: bool,
    /// Whether any were absent.
    pub(super) ever_absent: bool,
    /// Size of the newest checkpoint that the history explains, where there are others.
    pub(super) explained: Option<u64>,
    /// Entries under keys that no record introduced, behind absent ones: first, last, key.
    strange: Vec<(u64, u64, String)>,
    /// First and last of what followed when there were [`MAX_STRANGE`] of them: more than a log can have had keys.
    more_strange: Option<(u64, u64)>,
    /// Whether it is known which keys were there from the beginning.
    pub(super) begun: bool,
    /// Entries that are not there, and of which no record tells yet.
    pub(super) skipped: Skipped,
    /// Records without authority, unless absent entries brought the keys that authorised them.
    pub(super) doubtful: Doubtful,
    /// Authorised records of second signatures.
    resigned: Vec<(u64, Resigned)>,
    /// Index of the newest `keys` record that was accepted at its place.
    pub(super) accepted: Option<u64>,
    /// Index of the `keys` record that the head record names, until that one was accepted. Another one in its stead tells nothing: who has an entry key and one that was replaced writes it.
    pub(super) untold: Option<u64>,
    /// How many keys that record withdraws: a later one withdraws them as well.
    withdrawals: usize,
    /// Ids of withdrawn keys, with the index of the first accepted record that says so.
    withdrawn: BTreeMap<String, u64>,
    /// What the newest record says that may be right, if absent entries brought the keys that gave it authority. It counts for nothing.
    pub(super) claimed: Option<KeyHistory>,
}

impl Keyed {
    /// Nothing yet, of a scan that begins with an entry. One that goes on from an earlier verification has seen the beginning.
    pub(super) fn from(index: u64) -> Self {
        Self { begun: index > 0, ..Self::default() }
    }
}

/// Whether a control record has the authority that it needs.
pub(super) enum Authority {
    Held,
    /// It is by keys that absent entries may have brought, if they brought any.
    Unknown(ControlError),
    Lacking(ControlError),
}

impl Merger<'_> {
    fn history(&self) -> &KeyHistory {
        &self.setup.anchors.history
    }

    /// Takes a `keys` record at its place in, and looks once more at a line that was looked at before its key was known.
    pub(super) fn look_again(&mut self, piece: &SeenPiece, seen: &Seen) -> Option<Seen> {
        let entry = seen.entry.as_ref()?;
        if let Some(Control::Keys(record)) = seen.notable.as_ref().and_then(|notable| notable.control.as_ref())
            && entry.index == self.expected
            && entry.index > self.history().newest().0
        {
            self.extend(LeafIndex(entry.index), record);
        }
        // INVARIANT(looked-again): one that looked right under the keys of before is looked at again as well: a replaced key may have signed it.
        let keys = self.setup.expect.keys();
        let outdated = !Arc::ptr_eq(&piece.keys, &keys) && !piece.keys.agrees(&keys, entry.index);
        outdated.then(|| piece.look_again(seen, self.setup.expect)).flatten()
    }

    /// A record that has no authority changes nothing; it is told when it is accepted.
    fn extend(&mut self, index: LeafIndex, record: &KeysRecord) {
        let Ok(next) = self.extended(index, record) else { return };
        self.setup.expect.renew(self.setup.secrets.in_force(&next));
        self.setup.anchors.renew(next);
        self.keyed.absent = false;
        self.keyed.claimed = None;
    }

    /// The history with a record at `index` taken in.
    fn extended(&self, index: LeafIndex, record: &KeysRecord) -> Result<KeyHistory, HistoryError> {
        let between = if self.keyed.absent { Between::Unseen } else { Between::Nothing };
        let next = self.history().extended(record, index, self.setup.log_id, between)?;
        self.tells_what_was(index, record)?;
        Ok(next)
    }

    /// Whether a record at `index` tells of nothing before it that other records, which are there, do not tell of.
    fn tells_what_was(&self, index: LeafIndex, record: &KeysRecord) -> Result<(), HistoryError> {
        if record.withdrawn.len() < self.keyed.withdrawals {
            return Err(HistoryError::Changed("keys that a record before it withdraws are not withdrawn".to_owned()));
        }
        let since = self.setup.from.max(self.keyed.accepted.map_or(1, |accepted| accepted + 1));
        let keys = record.entry_keys.iter().map(|key| key.first);
        let mut firsts = keys.chain(record.checkpoint_keys.iter().map(|set| set.first));
        match firsts.find(|first| (since..index.0).contains(first) && self.stands(*first)) {
            None => Ok(()),
            Some(first) => {
                Err(HistoryError::Changed(format!("it tells of a change at entry {first}, where there was none")))
            }
        }
    }

    /// Whether an entry that was met is neither absent nor told of as wrong.
    fn stands(&self, index: u64) -> bool {
        let among = |first: u64, last: u64| (first..=last).contains(&index);
        let told = |finding: &Finding| finding.index.is_some_and(|at| among(at, finding.last.unwrap_or(at)));
        let absent = self.absent.iter().any(|(first, last)| among(*first, *last));
        !absent && !self.keyed.doubtful.claims(index) && !self.report.findings.iter().chain(self.in_doubt()).any(told)
    }

    /// Whether the signature of a line could be checked.
    pub(super) fn can_check(&self, seen: &Seen, entry: &SeenEntry) -> bool {
        let strange = seen.fault.as_ref().is_some_and(|fault| fault.0 == Kind::Key);
        let key = self.history().entry_key_at(LeafIndex(entry.index));
        !strange && key.is_some_and(|key| self.setup.expect.keys().key(&key.id).is_some())
    }

    /// Whether a line's fault is a key that absent entries may have introduced. Remembers it then.
    pub(super) fn may_be_introduced(
        &mut self,
        piece: &SeenPiece,
        seen: &Seen,
        index: u64,
        fault: &(Kind, String),
    ) -> bool {
        if fault.0 != Kind::Key || !self.keyed.absent {
            return false;
        }
        let line = piece.bytes.get(seen.start..seen.start + seen.len).unwrap_or_default();
        let Ok(line) = Line::parse(line.strip_suffix(b"\n").unwrap_or(line)) else { return false };
        if self.history().entry_key(line.entry.key).is_some() {
            return false;
        }
        let is_full = self.keyed.strange.len() >= MAX_STRANGE;
        match self.keyed.strange.last_mut() {
            Some((_, last, key)) if *last + 1 == index && key == line.entry.key => *last = index,
            _ if is_full => {
                self.keyed.more_strange.get_or_insert((index, index)).1 = index;
            }
            _ => self.keyed.strange.push((index, index, line.entry.key.to_owned())),
        }
        true
    }

    /// Whether a control record has the authority that it needs.
    pub(super) fn authority(&self, index: u64, control: &Control) -> Authority {
        let by = |history: &KeyHistory| {
            let set = history.set_for(TreeSize(index)).ok_or(ControlError::Unauthorised)?;
            control.verify_authorisations(self.setup.log_id, &self.setup.origin, LeafIndex(index), set)
        };
        match by(self.history()) {
            Ok(()) => Authority::Held,
            // What is absent may have brought the keys in force here: those that a later record says, or others.
            Err(error) if self.keyed.absent && self.keyed.claimed.as_ref().is_none_or(|said| by(said).is_ok()) => {
                Authority::Unknown(error)
            }
            Err(error) => Authority::Lacking(error),
        }
    }

    /// What a record says that would be right if entries that are absent had brought the keys before it.
    fn claims(&self, index: LeafIndex, record: &KeysRecord) -> Option<KeyHistory> {
        if !self.keyed.absent {
            return None;
        }
        let known = self.keyed.claimed.as_ref().unwrap_or(self.history());
        let said = KeyHistory::of_record(record, &self.setup.origin, index).ok()?;
        let sets = said.sets().iter().skip(known.sets().len()).map(|set| set.first);
        let keys = said.entry_keys().iter().skip(known.entry_keys().len()).map(|key| key.first);
        let absent = |first: u64| self.absent.iter().any(|(from, last)| (*from..=*last).contains(&first));
        let fits = said.goes_on(known) && sets.chain(keys).all(|first| first == index.0 || absent(first));
        let set = said.set_for(TreeSize(index.0)).filter(|_| fits)?;
        let control = Control::Keys(record.clone());
        control.verify_authorisations(self.setup.log_id, &self.setup.origin, index, set).ok()?;
        Some(said)
    }

    /// Entry 0: what it says of the keys is what everything rests on.
    pub(super) fn created(&mut self, created: &LogCreated) {
        let history = self.history();
        let said = KeyHistory::of_created(created).ok();
        let same = said.is_some_and(|said| {
            history.entry_keys().starts_with(said.entry_keys()) && history.sets().starts_with(said.sets())
        });
        let algorithms = &created.policy.checkpoint_algorithms;
        let keys = self.history().sets().first().map(|set| set.set.keys()).unwrap_or_default();
        if same && !keys.iter().map(|key| key.algorithm().name()).eq(algorithms.iter().map(String::as_str)) {
            let detail = format!("it contradicts itself about the algorithms of its checkpoint keys: {algorithms:?}");
            self.add(finding(Kind::UnauthorisedControl, Some(0), detail));
        }
        self.keyed.begun |= same;
        if !same {
            let detail = "it does not name the keys that sign the newest checkpoint, nor does anything behind it";
            self.add(finding(Kind::UnauthorisedControl, Some(0), detail.to_owned()));
        }
    }

    /// A `keys` record was accepted at its place.
    pub(super) fn keys_record(&mut self, index: u64, record: &KeysRecord) {
        let (log_id, at) = (self.setup.log_id, LeafIndex(index));
        let said = if at > self.history().newest() {
            self.extended(at, record).map(|_| ())
        } else {
            self.history().agrees(record, at, log_id).and_then(|()| self.tells_what_was(at, record))
        };
        if said.is_err()
            && let Some(claimed) = self.claims(at, record)
        {
            self.keyed.claimed = Some(claimed);
            self.keyed.doubtful.claim(index);
            return;
        }
        if let Err(error) = said {
            let detail = format!("it changes the log's keys without the right to: {}", chain(&error));
            self.add(finding(Kind::UnauthorisedControl, Some(index), detail));
            return;
        }
        self.keyed.accepted = Some(index);
        self.keyed.untold = self.keyed.untold.filter(|named| *named != index);
        self.keyed.begun = true;
        self.keyed.skipped.clear();
        self.keyed.withdrawals = record.withdrawn.len();
        for withdrawn in &record.withdrawn {
            self.keyed.withdrawn.entry(withdrawn.id.clone()).or_insert(index);
        }
        let entry_key = record.entry_keys.last().filter(|key| key.first == index);
        let set = record.checkpoint_keys.last().filter(|set| set.first == index);
        let mut what: Vec<String> = entry_key.map(|key| format!("entry key `{}`", key.id)).into_iter().collect();
        what.extend(set.map(|set| match set.keys.len() {
            1 => "another checkpoint key".to_owned(),
            keys => format!("{keys} checkpoint keys"),
        }));
        let what =
            if what.is_empty() { "nothing new signs".to_owned() } else { format!("from here on: {}", what.join(", ")) };
        let detail = format!("{what} ({})", record.reason);
        self.report.remark(Remark { kind: "keys_changed", index: Some(index), detail });
    }

    /// A record of second signatures.
    pub(super) fn resigned(&mut self, index: u64, control: &Control, resigned: &Resigned) {
        let Resigned { first, last, .. } = resigned;
        let what = format!("it says that entries {first} to {last} are signed again");
        match self.authority(index, control) {
            Authority::Held => self.keyed.resigned.push((index, resigned.clone())),
            Authority::Unknown(error) => self.keyed.doubtful.record(index, what, error.to_string()),
            Authority::Lacking(error) => {
                let detail = format!("{what}: {error}");
                self.add(finding(Kind::UnauthorisedControl, Some(index), detail));
            }
        }
    }

    /// Behind the scan: what is known of the keys now. `anchored`: size of the newest own checkpoint.
    pub(super) fn judge_keys(&mut self, anchored: u64) -> Result<(), StoreError> {
        self.judge_strange();
        self.tell_unchecked(anchored);
        for withdrawn in self.history().withdrawn().to_vec() {
            self.tell_withdrawn(&withdrawn);
        }
        for (at, resigned) in std::mem::take(&mut self.keyed.resigned) {
            match self.counts(at, &resigned).map_or_else(|| self.check_overlay(at, &resigned), |why| Ok(Ok(why)))? {
                Ok(detail) => {
                    self.report.remark(Remark { kind: "resigned", index: Some(resigned.first), detail });
                }
                Err(detail) => self.add(finding(Kind::Overlay, Some(at), detail)),
            }
        }
        self.report.history = Some(Arc::clone(&self.setup.anchors.history));
        Ok(())
    }

    fn judge_strange(&mut self) {
        let mut before = None;
        for (first, last, key) in std::mem::take(&mut self.keyed.strange) {
            let range = self.history().range_of(&key);
            // Nothing is absent between these and other ones: a record between them would be there.
            let follows = before.replace(last).is_some_and(|before: u64| before + 1 == first);
            if range.is_some_and(|(from, until)| from <= first && last < until) {
                continue;
            }
            let claimed = self.keyed.claimed.as_ref().and_then(|claimed| claimed.range_of(&key));
            let (kind, why) = match self.keyed.accepted.filter(|at| *at >= first) {
                Some(at) => (Kind::Key, format!("which was not in force, as entry {at} tells")),
                None if range.is_some() => (Kind::Key, "which is not in force there".to_owned()),
                None if follows && claimed.is_none() => {
                    (Kind::Key, "another one than the entry before, and no record between them tells of it".to_owned())
                }
                None => {
                    let why = "which no record introduces; entries before them are absent, and one may have done so";
                    (Kind::KeyMissing, why.to_owned())
                }
            };
            let detail = format!("entries {first} to {last} are signed with key `{key}`, {why}");
            self.add(Finding { last: Some(last), ..finding(kind, Some(first), detail) });
        }
        if let Some((first, last)) = self.keyed.more_strange {
            let detail = format!(
                "among entries {first} to {last} are some with keys that no record introduces, and more changes of keys before them than a log can have had: they were not looked at one by one"
            );
            self.add(Finding { last: Some(last), ..finding(Kind::KeyMissing, Some(first), detail) });
        }
    }

    /// The ranges whose signatures were not checked, where a ring was at hand. Behind the newest checkpoint nothing else vouches for an entry: who puts an
    /// old ring back must not make an end that nobody signed look like one.
    fn tell_unchecked(&mut self, anchored: u64) {
        if !self.setup.macs {
            return;
        }
        let known = self.setup.expect.keys();
        let (from, end) = (self.setup.from, self.expected);
        let ranges = self.history().entry_keys().iter().filter(|key| known.key(&key.id).is_none());
        let ranges = ranges.filter_map(|key| {
            let (first, until) = self.history().range_of(&key.id)?;
            let (first, until) = (first.max(from), until.min(end));
            (first < until).then(|| Unchecked { first, last: until - 1, key: key.id.clone() })
        });
        let ranges: Vec<_> = ranges.collect();
        for Unchecked { first, last, key } in &ranges {
            let detail = self.unchecked(*first, *last, key);
            if self.setup.secrets.all {
                self.add(Finding { last: Some(*last), ..finding(Kind::KeyMissing, Some(*first), detail) });
            } else if *last >= anchored {
                let first = Some(anchored.max(*first));
                let detail = format!("{detail}; no checkpoint covers those from entry {anchored} on either");
                self.add(Finding { last: Some(*last), ..finding(Kind::KeyMissing, first, detail) });
            } else if !key.is_empty() {
                self.report.remark(Remark { kind: "macs_not_checked", index: Some(*first), detail });
            }
        }
        if !ranges.is_empty() {
            self.report.macs = Macs::Partly;
            self.report.macs_unchecked = ranges.into_iter().filter(|range| !range.key.is_empty()).collect();
        }
    }

    /// Which signatures were not checked, and why. Where neither entry 0 nor a record can be read the key has no name; what is wrong there is told for itself.
    fn unchecked(&self, first: u64, last: u64, key: &str) -> String {
        let what = format!("the signatures of entries {first} to {last} were not checked");
        if key.is_empty() {
            return format!("{what}: nothing that can be read says by which key they are");
        }
        let known = self.setup.secrets.ring.is_some_and(|ring| ring.keys().any(|info| info.id == key));
        let why = if known { "its secret was destroyed" } else { "the ring does not have it" };
        format!("{what}: they are by key `{key}`, and {why}")
    }

    fn tell_withdrawn(&mut self, withdrawn: &Withdrawn) {
        let Withdrawn { from, id, reason, state } = withdrawn;
        let rests = match self.history().range_of(id) {
            Some((first, until)) => {
                let (first, until) = (first.max(*from), until.min(self.expected));
                if first < until {
                    format!("; entries {first} to {} are signed by it", until - 1)
                } else {
                    String::new()
                }
            }
            None => String::new(),
        };
        let detail = format!("key `{id}` is {} from entry {from} on: {reason}{rests}", state.as_str());
        self.report.remark(Remark { kind: "key_withdrawn", index: Some(*from), detail });
    }

    /// Why second signatures count for nothing, if so: whoever made the record was mistaken, and nothing rests on it.
    fn counts(&self, at: u64, resigned: &Resigned) -> Option<String> {
        let Resigned { first, last, old_key, new_key, .. } = resigned;
        let nothing =
            |why: String| Some(format!("the second signatures of entries {first} to {last} count for nothing: {why}"));
        let history = self.history();
        if first > last || last - first >= MAX_RESIGNED || *last >= at {
            return nothing("they are not over entries before the record".to_owned());
        }
        if !history.range_of(old_key).is_some_and(|(from, until)| from <= *first && *last < until) {
            return nothing(format!("key `{old_key}` was not in force on all of them"));
        }
        let since = self.keyed.withdrawn.get(old_key).copied().unwrap_or(0);
        if since > at || !history.withdrawn().iter().any(|one| one.id == *old_key) {
            return nothing(format!("key `{old_key}`, which signed them, was not withdrawn"));
        }
        if history.entry_key_at(LeafIndex(at)).is_none_or(|key| key.id != *new_key) {
            return nothing(format!("they are by key `{new_key}`, which is not in force at entry {at}"));
        }
        None
    }

    /// Checks second signatures: what to say of them, or what is wrong.
    fn check_overlay(&self, at: u64, resigned: &Resigned) -> Result<Result<String, String>, StoreError> {
        let Resigned { first, last, old_key, new_key, .. } = resigned;
        let (first, last) = (*first, *last);
        let what = format!("the second signatures of entries {first} to {last}");
        if resigned.tree_size > at || last >= resigned.tree_size {
            return Ok(Err(format!("{what} are for entries that they cannot be for")));
        }
        let history = self.history();
        if self.broken || resigned.tree_size > self.setup.vouched {
            return Ok(Err(format!("{what} cannot be compared with the tree")));
        }
        let damaged =
            format!("{what} were not checked: the stored tree is damaged, `indelible log repair` comes first");
        if self.tree_damaged || resigned.tree_size > self.tree_size {
            return Ok(Ok(damaged));
        }
        let size = TreeSize(resigned.tree_size);
        let root = match tile::root_at(&StoredTree(self.setup.store), size) {
            Err(StoreError::Damaged { .. }) => return Ok(Ok(damaged)),
            root => root?,
        };
        if root.to_hex() != resigned.root || self.leaf_root(first, last)?.to_hex() != resigned.leaf_root {
            return Ok(Err(format!("{what} are for other entries than these")));
        }
        let Some(digest) = parse_digest(&resigned.overlay.digest) else {
            return Ok(Err(format!("{what} have no digest")));
        };
        let overlay = match self.setup.store.attachment(&digest) {
            Err(error) => {
                let fault = wrong_type(&error).ok_or(error)?;
                return Ok(Err(format!("{what} (`{}`) cannot be read: {fault}", resigned.overlay.digest)));
            }
            Ok(overlay) => overlay,
        };
        let Some(overlay) = overlay.filter(|bytes| Sha256::digest(bytes).as_slice() == digest) else {
            return Ok(Err(format!("{what} (`{}`) are missing or were changed", resigned.overlay.digest)));
        };
        if overlay.len() as u64 != (last - first + 1) * 32 || overlay.len() as u64 != resigned.overlay.size {
            return Ok(Err(format!("{what} are too many or too few")));
        }
        let Some(key) = self.setup.secrets.resign_key(history, new_key) else {
            return Ok(Ok(format!(
                "entries {first} to {last} were signed again by entry {at} (not checked: there is no secret of key `{new_key}` at hand): {}",
                resigned.reason
            )));
        };
        let mut next = first;
        for macs in overlay.chunks(usize::try_from(WINDOW).unwrap_or(1) * 32) {
            let leaves = self.setup.store.hashes(0, next, macs.len() / 32)?;
            for (leaf, mac) in leaves.iter().zip(macs.as_chunks::<32>().0) {
                if !key.verify(leaf, mac) {
                    return Ok(Err(format!("{what}: that of entry {next} is wrong")));
                }
                next += 1;
            }
        }
        let detail = format!(
            "entries {first} to {last} were signed by key `{old_key}`, which is withdrawn, and again by key `{new_key}`, by entry {at}: {}",
            resigned.reason
        );
        Ok(Ok(detail))
    }
}
