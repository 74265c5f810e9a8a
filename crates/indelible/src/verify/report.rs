//! Verdicts, findings, the report.

use std::{cmp::Reverse, sync::Arc};

use indelible_core::{history::KeyHistory, tree::TreeHead};
use serde::Serialize;

/// The verdict on a log. Exhaustive: whoever acts on verdicts has to think of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// To the size told, under the checkpoint told.
    Intact,
    /// Changed, inserted, reordered, missing, truncated, rolled back, wrongly signed.
    Tampered,
    /// Bodies are absent, hashes prove the rest, and no authorised record excuses it.
    Gap,
    /// Contradicts a checkpoint or receipt that somebody kept.
    Diverged,
    /// Rests on a key or checkpoint that is missing.
    Unverifiable,
    /// A derived file is wrong though the entries verify.
    Damaged,
}

impl Verdict {
    /// The documented exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Tampered => 10,
            Self::Gap => 11,
            Self::Diverged => 12,
            Self::Unverifiable => 13,
            Self::Damaged => 14,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Tampered => "tampered",
            Self::Gap => "gap",
            Self::Diverged => "diverged",
            Self::Unverifiable => "unverifiable",
            Self::Damaged => "damaged",
        }
    }

    /// How grave it is. Where several verdicts apply, the one of the greatest weight stands.
    #[must_use]
    pub const fn weight(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Damaged => 1,
            Self::Unverifiable => 2,
            Self::Gap => 3,
            Self::Diverged => 4,
            Self::Tampered => 5,
        }
    }
}

/// What a finding says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An entry's bytes are not those that were recorded.
    Changed,
    /// A line stands where none belongs.
    Inserted,
    /// An entry stands at another place.
    Reordered,
    /// Lines are missing inside a file.
    Missing,
    /// The log ends before what is known of it.
    Truncated,
    /// The log is behind a head that is known, or another log stands in its place.
    RolledBack,
    /// An entry signature is wrong though the bytes are those of the tree.
    Signature,
    /// An entry names a key that is not valid at its index.
    Key,
    /// A line carries no signature.
    Unsigned,
    /// A checkpoint's signature is wrong.
    CheckpointSignature,
    /// A kept checkpoint is missing.
    CheckpointMissing,
    /// A checkpoint is not that of this tree.
    CheckpointMismatch,
    /// A control record excuses something and nobody authorised it.
    UnauthorisedControl,
    /// An attachment is missing or changed.
    Attachment,
    /// A control record is none that this version knows; or, with `--strict`, an entry's form is not canonical.
    Form,
    /// Bodies are absent without an excuse.
    Absent,
    /// A kept checkpoint of somebody else contradicts the log.
    DivergedCheckpoint,
    /// A receipt contradicts the log.
    DivergedReceipt,
    /// There is no checkpoint to rest on.
    NoCheckpoint,
    /// The key that signs entries is not at hand, and MACs were asked for; or who introduced a key is absent.
    KeyMissing,
    /// Second signatures are not what their authorised record says.
    Overlay,
    /// A derived file is wrong.
    Derived,
}

impl Kind {
    /// The verdict that a finding of this kind leads to.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Absent => Verdict::Gap,
            Self::DivergedCheckpoint | Self::DivergedReceipt => Verdict::Diverged,
            Self::NoCheckpoint | Self::KeyMissing => Verdict::Unverifiable,
            Self::Derived => Verdict::Damaged,
            _ => Verdict::Tampered,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What happened.
    pub kind: Kind,
    /// First index concerned, where there is one.
    pub index: Option<u64>,
    /// Last index concerned, where it is a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// The event's id, as far as it can be read.
    pub id: Option<String>,
    /// The log's clock, as far as it can be read.
    pub recorded_at: Option<String>,
    /// In words: what, where, against what.
    pub detail: String,
}

/// Something on record that is no failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// `explained`, `pruned`, `torn_tail`, `recovered`, `bounded_gap`, `gap`, `clock_step`, `no_head`, `keys_changed`, `key_withdrawn`, `receipt_withdrawn`, `resigned`,
    /// `macs_not_checked`, `input_unusable`. `docs/verification.md` says what each means.
    pub kind: &'static str,
    /// First index concerned.
    pub index: Option<u64>,
    /// In words.
    pub detail: String,
}

/// Whether entry signatures were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Macs {
    /// Every one.
    #[serde(rename = "checked")]
    Checked,
    /// Those of some keys: the ring has no secret of the others. `macs_unchecked` says which entries that concerns.
    #[serde(rename = "partly checked")]
    Partly,
    /// None: only the public key was at hand.
    #[serde(rename = "not checked")]
    NotChecked,
}

/// Entries whose signatures were not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    /// First index.
    pub first: u64,
    /// Last index.
    pub last: u64,
    /// Id of the key that signed them.
    pub key: String,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The verdict.
    pub status: Verdict,
    /// Origin, by entry 0 (or by the store, where entry 0 cannot be read).
    pub origin: String,
    /// Size of the tree under the newest checkpoint that the verdict rests on.
    pub tree_size: u64,
    /// Its root, lower-case hexadecimal.
    pub root: String,
    /// How many entries were read and found in order.
    pub entries_verified: u64,
    /// Whether entry signatures were checked.
    pub macs: Macs,
    /// Ranges of entries whose signatures were not checked though a ring was at hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs_unchecked: Vec<Unchecked>,
    /// What is wrong. At most [`MAX_FINDINGS`]; `more_findings` counts the rest.
    pub findings: Vec<Finding>,
    /// Findings beyond the limit.
    pub more_findings: u64,
    /// What is on record and no failure.
    pub remarks: Vec<Remark>,
    /// Remarks beyond [`MAX_REMARKS`].
    pub more_remarks: u64,
    /// How many kept checkpoints were verified.
    pub checkpoints: u64,
    /// How many receipts were compared with the log.
    pub receipts_checked: u64,
    /// Age of the newest head: since it was signed, where that is known, else since the last entry below it was recorded.
    pub head_age_seconds: Option<u64>,
    /// Keys that the verdict rests on: checkpoint vkeys and entry key ids.
    pub keys: Vec<String>,
    /// Entries beyond the newest checkpoint.
    pub unanchored: u64,
    /// How long it took.
    pub seconds: f64,
    /// The index from which entries were read (`--from-last`); 0 for all.
    pub from: u64,
    /// What a later `--from-last` goes on from; only after an intact verdict.
    #[serde(skip)]
    pub verified: Option<super::Verified>,
    /// The tree head that the verdict rests on.
    #[serde(skip)]
    pub head: Option<TreeHead>,
    /// Which keys are right where, by the log's own word.
    #[serde(skip)]
    pub history: Option<Arc<KeyHistory>>,
}

/// Findings that are listed one by one.
pub const MAX_FINDINGS: usize = 1000;

/// Remarks that are listed one by one.
pub const MAX_REMARKS: usize = 1000;

/// Bytes that are told of a remark, which may quote the log.
const REMARK_BYTES: usize = 2048;

impl Report {
    /// Adds what is no failure; what is beyond the limit is counted, and what is long is cut.
    pub(crate) fn remark(&mut self, mut remark: Remark) {
        if self.remarks.len() >= MAX_REMARKS {
            self.more_remarks += 1;
            return;
        }
        if remark.detail.len() > REMARK_BYTES {
            remark.detail.truncate(remark.detail.floor_char_boundary(REMARK_BYTES));
            remark.detail.push('…');
        }
        self.remarks.push(remark);
    }

    /// Of a verification that has found nothing yet.
    pub(crate) fn new(origin: String, macs: Macs) -> Self {
        Self {
            status: Verdict::Intact,
            origin,
            tree_size: 0,
            root: String::new(),
            entries_verified: 0,
            macs,
            macs_unchecked: Vec::new(),
            findings: Vec::new(),
            more_findings: 0,
            remarks: Vec::new(),
            more_remarks: 0,
            checkpoints: 0,
            receipts_checked: 0,
            head_age_seconds: None,
            keys: Vec::new(),
            unanchored: 0,
            seconds: 0.0,
            from: 0,
            verified: None,
            head: None,
            history: None,
        }
    }

    /// Puts the gravest findings first, and leaves those of one weight in the order of the log.
    pub(crate) fn order(&mut self) {
        self.findings.sort_by_key(|finding| Reverse(finding.kind.verdict().weight()));
    }

    /// Adds a finding; the verdict becomes the gravest.
    pub(crate) fn add(&mut self, finding: Finding) {
        let verdict = finding.kind.verdict();
        if verdict.weight() > self.status.weight() {
            self.status = verdict;
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
            return;
        }
        self.more_findings += 1;
        // A graver one is told in the place of the last of the lightest: the verdict has to show among what is told.
        let weight = |finding: &Finding| finding.kind.verdict().weight();
        let lightest = self.findings.iter_mut().rev().min_by_key(|finding| weight(finding));
        if let Some(lightest) = lightest.filter(|lightest| weight(lightest) < verdict.weight()) {
            *lightest = finding;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_is_told_however_many_lighter_ones_came_before() {
        let finding =
            |kind| Finding { kind, index: None, last: None, id: None, recorded_at: None, detail: String::new() };
        let mut report = Report::new("example.com/test".to_owned(), Macs::Checked);
        for _ in 0..=MAX_FINDINGS {
            report.add(finding(Kind::Derived));
        }
        report.add(finding(Kind::RolledBack));
        assert_eq!((report.findings.len(), report.more_findings), (MAX_FINDINGS, 2));
        assert!(report.findings.iter().any(|finding| finding.kind == Kind::RolledBack));
    }

    #[test]
    fn remarks_are_as_many_and_as_long_as_may_be_told() {
        let mut report = Report::new("example.com/test".to_owned(), Macs::Checked);
        for _ in 0..MAX_REMARKS + 3 {
            report.remark(Remark { kind: "gap", index: None, detail: "ü".repeat(60_000) });
        }
        assert_eq!((report.remarks.len(), report.more_remarks), (MAX_REMARKS, 3));
        assert!(report.remarks.iter().all(|remark| remark.detail.len() <= REMARK_BYTES + 3));
    }
}
