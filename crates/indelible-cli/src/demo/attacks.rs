//! What is done to copies of the log, and what verification has to say of it.

use indelible::{
    KeyRing,
    verify::{Finding, Kind, Report, Verdict, VerifyError},
};
use indelible_core::note::NoteSigner as _;
use indelible_keys::CheckpointSigner;

use super::{
    hands::{Hands, replace},
    stage::{Auditor, ORIGIN, Stage},
};

/// How many entries the second attack takes away.
const LAST: usize = 3;

/// The user that the thief is, and a colleague whose login and name have the same lengths.
const THIEF: (&[u8], &[u8]) = (b"tomas.lindqvist", b"Tomas Lindqvist");
const COLLEAGUE: (&[u8], &[u8]) = (b"ellen.whitcombe", b"Ellen Whitcombe");

/// One attack on a copy, and the answer that is right.
pub(super) struct Attack {
    name: &'static str,
    what: &'static str,
    act: fn(&Stage, &Hands) -> anyhow::Result<()>,
    log: Log,
    auditor: fn(&Stage) -> anyhow::Result<Auditor<'_>>,
    expected: fn(&Stage, &Answer) -> bool,
}

/// Which log is copied.
#[derive(Clone, Copy)]
enum Log {
    Newest,
    Old,
}

/// What verification said.
type Answer = Result<Report, VerifyError>;

/// What came of something that was tried.
pub(super) struct Outcome {
    pub(super) what: String,
    pub(super) verdict: String,
    pub(super) detail: String,
    pub(super) expected: bool,
}

/// Those of the list, in the order of their telling.
pub(super) fn all() -> Vec<Attack> {
    vec![
        Attack { name: "a1-byte", what: "flips one byte of one event", act: flip_byte, ..attack(tampered_at_incident) },
        Attack {
            name: "a2-cut",
            what: "deletes the last 3 entries",
            act: |stage, hands| hands.cut_last(LAST, stage.size),
            ..attack(truncated)
        },
        Attack {
            name: "a2-cut-forged",
            what: "… and forges a checkpoint over the rest",
            act: cut_and_forge,
            ..attack(forged)
        },
        Attack {
            name: "a4-checkpoints",
            what: "deletes kept checkpoints 3 and 4",
            act: |_, hands| hands.delete_kept(3).and_then(|()| hands.delete_kept(4)),
            ..attack(both_checkpoints_missing)
        },
        Attack { name: "a5-rewrite", what: "rewrites the rest, signed anew ⁺", act: rewrite, ..attack(rewritten) },
        Attack { name: "a7-insert", what: "inserts an unsigned line", act: insert_unsigned, ..attack(inserted) },
        Attack {
            name: "a8-unsigned",
            what: "hands over an unsigned log",
            act: |stage, hands| hands.strip_signatures(stage.kept),
            auditor: |stage| Ok(Auditor::with_public_key(stage.public.clone())),
            ..attack(unsigned)
        },
        Attack { name: "a9-key", what: "hands over another key", auditor: another_key, ..attack(wrong_key) },
        Attack { name: "rollback", what: "puts back last Wednesday's copy", log: Log::Old, ..attack(rolled_back) },
        Attack {
            name: "rollback-receipt",
            what: "… a receipt is all that was kept",
            log: Log::Old,
            auditor: |stage| Ok(Auditor::with_receipt(stage.public.clone(), &stage.incident)),
            ..attack(contradicts_receipt)
        },
        Attack {
            name: "rollback-unseen",
            what: "… nothing was kept outside",
            log: Log::Old,
            auditor: |stage| Ok(Auditor::with_public_key(stage.public.clone())),
            ..attack(intact_but_shorter)
        },
    ]
}

/// The change that goes unnoticed in the table.
pub(super) fn same_change() -> Attack {
    Attack { name: "same-change", what: "the same change in this log", act: blame, ..attack(tampered_at_export) }
}

/// An attack that does nothing yet, on the newest log, verified with everything at hand.
fn attack(expected: fn(&Stage, &Answer) -> bool) -> Attack {
    Attack {
        name: "",
        what: "",
        act: |_, _| Ok(()),
        log: Log::Newest,
        auditor: |stage| Ok(Auditor::with_everything(stage)),
        expected,
    }
}

impl Attack {
    /// Copies, tampers, verifies, compares.
    pub(super) fn carry_out(&self, stage: &Stage) -> anyhow::Result<Outcome> {
        let log = match self.log {
            Log::Newest => stage.log_dir(),
            Log::Old => stage.old_dir(),
        };
        let hands = Hands::on_copy(stage, &log, self.name)?;
        (self.act)(stage, &hands)?;
        let answer = stage.verify(&hands.log, &hands.heads, &(self.auditor)(stage)?);
        let expected = (self.expected)(stage, &answer);
        let (verdict, detail) = match &answer {
            Ok(report) => (format!("{} ({})", report.status.as_str(), report.status.exit_code()), told(report)),
            Err(VerifyError::WrongKey { .. }) => {
                ("no verdict (1)".to_owned(), "wrong key, which says nothing about the log".to_owned())
            }
            Err(error) => ("no verdict (1)".to_owned(), indelible::error::chain(error)),
        };
        Ok(Outcome { what: self.what.to_owned(), verdict, detail, expected })
    }
}

/// The findings that the verdict is for, in a few words.
fn told(report: &Report) -> String {
    let gravest: Vec<&Finding> = report.findings.iter().filter(|f| f.kind.verdict() == report.status).collect();
    if gravest.is_empty() {
        return format!("to size {}", report.tree_size);
    }
    let Some(first) = gravest.iter().find(|finding| finding.index.is_some()) else {
        return gravest.iter().map(|finding| &*finding.detail).collect::<Vec<_>>().join("; ");
    };
    let more = u64::try_from(gravest.len()).unwrap_or(u64::MAX) - 1 + report.more_findings;
    let place = place(first);
    if more == 0 { place } else { format!("{place}; {more} more") }
}

fn place(finding: &Finding) -> String {
    let kind = serde_json::to_value(finding.kind).unwrap_or_default();
    let mut text = kind.as_str().unwrap_or_default().replace('_', " ");
    match (finding.index, finding.last) {
        (Some(index), Some(last)) if last > index => text += &format!(", entries {index}–{last}"),
        (Some(index), _) => text += &format!(", entry {index}"),
        (None, _) => {}
    }
    // What an unsigned line says of its id is anybody's word.
    if let Some(id) = finding.id.as_ref().filter(|_| finding.kind != Kind::Unsigned) {
        text += &format!(", id {}…", id.chars().take(13).collect::<String>());
    }
    text
}

fn flip_byte(stage: &Stage, hands: &Hands) -> anyhow::Result<()> {
    hands.edit(stage.incident.index.0, |line| Ok(vec![replace(&line, b"203.0.113.77", b"203.0.113.17")?]))
}

fn blame(stage: &Stage, hands: &Hands) -> anyhow::Result<()> {
    hands.edit(stage.export.index.0, |line| Ok(vec![replace(&line, THIEF.0, COLLEAGUE.0)?]))
}

/// From the first export on, every trace of the thief becomes one of a colleague, with signatures that are right.
fn rewrite(stage: &Stage, hands: &Hands) -> anyhow::Result<()> {
    let key = stage.keys.entry_key(stage.log_id, ORIGIN, 1);
    hands.rewrite_from(stage.export.index.0, &key, |body| {
        let login = replace(body, THIEF.0, COLLEAGUE.0).unwrap_or_else(|_| body.to_vec());
        replace(&login, THIEF.1, COLLEAGUE.1).unwrap_or(login)
    })
}

fn insert_unsigned(stage: &Stage, hands: &Hands) -> anyhow::Result<()> {
    let event = stage.events.first().cloned().unwrap_or_default();
    hands.edit(stage.export.index.0, |line| Ok(vec![[&event, &b"\n"[..]].concat(), line]))
}

fn cut_and_forge(stage: &Stage, hands: &Hands) -> anyhow::Result<()> {
    hands.cut_last(LAST, stage.size)?;
    hands.forge_checkpoint(ORIGIN, &key_of_another(stage)?)
}

/// Everybody can make a key and give it the name of the log.
fn key_of_another(stage: &Stage) -> anyhow::Result<CheckpointSigner> {
    let ring = KeyRing::load_or_create(&stage.dir.join("keys-of-another"))?;
    Ok(ring.checkpoint_signer(ORIGIN)?)
}

fn another_key(stage: &Stage) -> anyhow::Result<Auditor<'_>> {
    Ok(Auditor::with_public_key(key_of_another(stage)?.verifying_key().clone()))
}

fn tampered(answer: &Answer, finding: impl FnMut(&Finding) -> bool) -> bool {
    matches!(answer, Ok(report) if report.status == Verdict::Tampered && report.findings.iter().any(finding))
}

fn tampered_at_incident(stage: &Stage, answer: &Answer) -> bool {
    changed_at(&stage.incident, answer)
}

fn tampered_at_export(stage: &Stage, answer: &Answer) -> bool {
    changed_at(&stage.export, answer)
}

fn changed_at(entry: &indelible::Receipt, answer: &Answer) -> bool {
    let place = |finding: &Finding| finding.index == Some(entry.index.0) && finding.id.as_ref() == Some(&entry.id);
    tampered(answer, |finding| finding.kind == Kind::Changed && place(finding))
}

fn truncated(stage: &Stage, answer: &Answer) -> bool {
    let first = u64::try_from(LAST).ok().and_then(|last| stage.size.checked_sub(last));
    tampered(answer, |finding| finding.kind == Kind::Truncated && finding.index == first)
}

fn forged(stage: &Stage, answer: &Answer) -> bool {
    truncated(stage, answer) && tampered(answer, |finding| finding.kind == Kind::CheckpointSignature)
}

fn both_checkpoints_missing(_: &Stage, answer: &Answer) -> bool {
    let missing = |report: &Report| report.findings.iter().filter(|f| f.kind == Kind::CheckpointMissing).count();
    tampered(answer, |_| true) && answer.as_ref().is_ok_and(|report| missing(report) == 2)
}

fn rewritten(stage: &Stage, answer: &Answer) -> bool {
    let from = stage.export.index.0;
    let covers = |f: &Finding| f.index.is_some_and(|first| first <= from && from <= f.last.unwrap_or(first));
    tampered(answer, covers)
}

fn inserted(stage: &Stage, answer: &Answer) -> bool {
    let kinds = [Kind::Unsigned, Kind::Inserted];
    tampered(answer, |f| kinds.contains(&f.kind) && f.index == Some(stage.export.index.0))
}

fn unsigned(_: &Stage, answer: &Answer) -> bool {
    let told = |report: &Report| report.findings.iter().any(|finding| finding.kind == Kind::NoCheckpoint);
    matches!(answer, Ok(report) if report.status == Verdict::Unverifiable && told(report))
}

fn wrong_key(_: &Stage, answer: &Answer) -> bool {
    matches!(answer, Err(VerifyError::WrongKey { .. }))
}

fn rolled_back(stage: &Stage, answer: &Answer) -> bool {
    tampered(answer, |f| f.kind == Kind::RolledBack && f.index.is_some_and(|at| at < stage.incident.index.0))
}

fn contradicts_receipt(stage: &Stage, answer: &Answer) -> bool {
    let place = |f: &Finding| f.kind == Kind::DivergedReceipt && f.index == Some(stage.incident.index.0);
    matches!(answer, Ok(report) if report.status == Verdict::Diverged && report.findings.iter().any(place))
}

/// No fault of the verification: the old state is genuine. It is shown so that nobody expects more than there is.
fn intact_but_shorter(stage: &Stage, answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|report| report.status == Verdict::Intact && report.tree_size < stage.size)
}
