//! What absent entries may have said of the log's checkpoint keys, and what a checkpoint shows of that.
//!
//! An entry that is not there may have been a `keys` record, and may have brought another set of checkpoint keys. A checkpoint that covers it and that the known set
//! alone signed shows that it brought none: from a change on the new set signs, at first beside the one before. INVARIANT(concluded): a record by keys that are not in force is
//! *tampered* where such checkpoints cover every absent entry before it, and *unverifiable* where they do not. Either no set came in and the record is forged, or one came in and
//! the checkpoint is: an honest log has no such pair.
//!
//! Two things are left open on purpose. The known set has to be known: without entry 0 and without a record that tells what was there from the beginning, one trusted key
//! stands for all, and says nothing of others. And a record that names a set which came in among absent entries is believed so far that nothing is settled against it, unless a
//! checkpoint contradicts it: one under which that set should have signed, and did not (`docs/decisions/0003-keys.md`).

use indelible_core::history::KeyHistory;
use indelible_store::store::{Reader, StoreError};

use super::{
    anchors::{Opened, finding, kept, open, said_size},
    known::by_others,
    merge::Merger,
    report::{Kind, MAX_FINDINGS},
    scan::Own,
};

/// Ranges of absent entries that are remembered one by one. Beyond, they are taken together with what lies between: then less is settled, never more.
const MAX_SKIPPED: usize = 10_000;

/// Ranges of entries that are not there, since the newest `keys` record that counts: that one tells all that was before it.
#[derive(Default)]
pub(super) struct Skipped(Vec<(u64, u64)>);

impl Skipped {
    /// Entries `first` to the one before `behind` are not there. Ranges come in the order of the log.
    pub(super) fn add(&mut self, first: u64, behind: u64) {
        let full = self.0.len() >= MAX_SKIPPED;
        match self.0.last_mut() {
            Some((_, end)) if *end == first || full => *end = behind,
            _ => self.0.push((first, behind)),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether one of them may have brought a set for checkpoints of this size, and for records at this index, where checkpoints show of those below `settled` that they did not.
    fn may_bring(&self, size: u64, settled: u64) -> bool {
        self.0.iter().any(|(first, behind)| *first < size && *behind > settled)
    }
}

/// Records by keys that are not known, until it is clear whether absent entries may have brought them.
#[derive(Default)]
pub(super) struct Doubtful {
    /// Index, what the record says, what is wrong with its authority.
    records: Vec<(u64, String, String)>,
    /// `keys` records whose keys came in among absent entries, by their own word.
    claims: Vec<u64>,
    /// So many more there were of either kind. What is true of the first ones of a log is at least as grave as what is of later ones.
    more: u64,
}

impl Doubtful {
    pub(super) fn record(&mut self, index: u64, what: String, why: String) {
        if self.records.len() < MAX_FINDINGS { self.records.push((index, what, why)) } else { self.more += 1 }
    }

    pub(super) fn claim(&mut self, index: u64) {
        if self.claims.len() < MAX_FINDINGS { self.claims.push(index) } else { self.more += 1 }
    }

    /// Whether the entry at an index is such a `keys` record.
    pub(super) fn claims(&self, index: u64) -> bool {
        self.claims.contains(&index)
    }
}

/// What checkpoints by the known set alone show.
#[derive(Default)]
pub(super) struct Settled {
    /// No entry below this brought another set, or such a checkpoint is forged.
    any: u64,
    /// The same by the word of the head record beside the writer's keys, which no thief of the log's files and of a replaced key writes.
    head: u64,
    /// Whether one of them contradicts the `keys` records that claim otherwise.
    contradicts: bool,
    /// How many entries there are.
    end: u64,
}

impl Settled {
    /// By all of the log's own checkpoints. `newest_kept` is the highest number that a kept one may have, where the writer's head record tells that.
    pub(super) fn of(
        store: &dyn Reader,
        own: &Own<'_>,
        newest_kept: Option<u64>,
        merger: &Merger<'_>,
    ) -> Result<Self, StoreError> {
        let (keyed, history) = (&merger.keyed, &merger.setup.anchors.history);
        let mut settled = Self { end: merger.expected, ..Self::default() };
        if keyed.skipped.0.is_empty() || !keyed.begun {
            return Ok(settled);
        }
        let alone = |note: &[u8]| size_alone(note, history, settled.end);
        let contradicts = |note: &[u8]| {
            let claimed = keyed.claimed.as_ref();
            claimed.is_some_and(|said| alone(note).is_some() && !matches!(open(note, said), Opened::Good(_)))
        };
        let head = own.head.map(|(record, _)| record.checkpoint.as_bytes());
        settled.head = head.filter(|_| newest_kept.is_some()).and_then(alone).unwrap_or(0);
        let since = history.sets().last().map_or(0, |set| set.first);
        let (mut any, mut against) = (0, false);
        for note in head.into_iter().chain(own.published) {
            any = any.max(alone(note).unwrap_or(0));
            against |= contradicts(note);
        }
        // The newest that says so says most; only a claim is held against each of them.
        for number in own.kept.iter().rev().copied() {
            if newest_kept.is_some_and(|newest| number > newest) {
                continue;
            }
            let Some(note) = kept(store, number)? else { continue };
            // Those before it are of the sets before.
            if said_size(&note).is_some_and(|said| said.0 <= since) {
                break;
            }
            let size = alone(&note).unwrap_or(0);
            any = any.max(size);
            against |= contradicts(&note);
            if size > 0 && keyed.claimed.is_none() || against {
                break;
            }
        }
        (settled.any, settled.contradicts) = (any, against);
        if keyed.claimed.is_some() && !against {
            (settled.any, settled.head) = (0, 0);
        }
        Ok(settled)
    }

    /// Whether absent entries may have brought the keys of a checkpoint of this size.
    pub(super) fn leaves_open(&self, merger: &Merger<'_>, size: u64) -> bool {
        size > self.end || merger.keyed.skipped.may_bring(size, self.any)
    }

    /// Whether they may have brought a set of known keys that asks for fewer signatures. A later checkpoint by the known set says nothing of that: no other keys had to sign it.
    pub(super) fn leaves_fewer_open(&self, merger: &Merger<'_>, size: u64) -> bool {
        size > self.end || merger.keyed.skipped.may_bring(size, 0)
    }

    /// The same for whoever believes no checkpoint but the head record's.
    pub(super) fn leaves_open_to_head(&self, merger: &Merger<'_>, size: u64) -> bool {
        size > self.end || merger.keyed.skipped.may_bring(size, self.head)
    }
}

/// The size of a checkpoint that the last known set signed, and no key that is not known; of entries that are there.
fn size_alone(note: &[u8], history: &KeyHistory, end: u64) -> Option<u64> {
    let Opened::Good(head) = open(note, history) else { return None };
    let since = history.sets().last()?.first;
    let covers = since < head.size.0 && head.size.0 <= end;
    (covers && !by_others(note, history)).then_some(head.size.0)
}

impl Merger<'_> {
    /// Behind the scan: what is said of records by keys that are not known.
    pub(super) fn judge_doubtful(&mut self, settled: &Settled) {
        let Doubtful { records, claims, more } = std::mem::take(&mut self.keyed.doubtful);
        self.report.more_findings += more;
        if settled.contradicts {
            self.keyed.claimed = None;
        }
        for index in claims {
            let what = "it changes the log's keys";
            match settled.contradicts {
                true => self.forged(index, &format!("{what}: those that authorised it should have signed checkpoints behind the entries that are absent, and those known before did alone")),
                false => self.by_unknown_keys(index, what),
            }
        }
        for (index, what, why) in records {
            match settled.leaves_open(self, index) {
                true => self.by_unknown_keys(index, &what),
                false => self.forged(index, &format!("{what}: {why}")),
            }
        }
    }

    fn forged(&mut self, index: u64, detail: &str) {
        self.add(finding(Kind::UnauthorisedControl, Some(index), detail.to_owned()));
    }

    fn by_unknown_keys(&mut self, index: u64, what: &str) {
        let detail = format!(
            "{what}: the keys that authorised it are not known to be the log's; entries are absent that may have said so, and it counts for nothing"
        );
        self.add(finding(Kind::KeyMissing, Some(index), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_open_up_to_where_a_checkpoint_settles_them() {
        let mut skipped = Skipped::default();
        skipped.add(4, 7);
        skipped.add(7, 9);
        skipped.add(20, 30);
        for (size, settled, open) in
            [(4, 0, false), (5, 0, true), (40, 8, true), (20, 9, false), (21, 9, true), (40, 29, true), (40, 30, false)]
        {
            assert_eq!(skipped.may_bring(size, settled), open, "{size}, {settled}");
        }
        skipped.clear();
        assert!(!skipped.may_bring(40, 0));
    }

    #[test]
    fn more_ranges_than_are_remembered_settle_less_and_never_more() {
        let mut skipped = Skipped::default();
        let far = 4 * MAX_SKIPPED as u64;
        (0..far).step_by(2).for_each(|first| skipped.add(first, first + 1));
        assert_eq!(skipped.0.len(), MAX_SKIPPED);
        assert!(skipped.may_bring(far, far - 2), "the last one");
        assert!(!skipped.may_bring(far, far - 1));
        assert!(skipped.may_bring(1, 0), "the first one");
    }
}
