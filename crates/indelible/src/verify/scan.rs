//! The verification itself: reads in parallel, merges in order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, LogCreated},
    entry::{self, KeptHead, Line},
    head::HeadRecord,
    hex,
    history::{KeyHistory, KeysRecord},
    mac::LogId,
    note::{KeySet, Note, VerifyingKey},
    time::Micros,
    tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize, empty_root, leaf_hash},
};
use indelible_keys::{KeyError, KeyRing};
use indelible_store::{
    heads::{HeadStore, HeadStoreError},
    store::{LogInfo, Piece, Reader, Run, Scanned, StoreError, Summed},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    absence::Settled,
    anchors::{self, Anchor, Anchors, Opened, Source, finding, kept, open, wrong_type},
    beginning::{self, FirstLine},
    excused::excused_below,
    keyed::Secrets,
    known,
    listed::{self, Listed},
    meanwhile::{self, Began},
    merge::{Durable, Merger, Met, Setup, absent},
    piece::{Expect, SeenPiece, look},
    report::{Finding, Kind, Macs, Remark, Report, Verdict},
    trust::{Standing, Trust},
};
use crate::queue::lock;

/// What is to be verified against what.
#[derive(Clone)]
pub struct Request<'a> {
    /// Public keys that are trusted: one of them has to be among those that the log has had, and to lead to the ones that sign it now. All are named by the origin.
    pub keys: Vec<VerifyingKey>,
    /// The ring with the entry-signing keys, where MACs are to be checked.
    pub ring: Option<&'a KeyRing>,
    /// Whether every signature has to be checked: then a key whose secret the ring does not have makes the log *unverifiable*.
    pub all_macs: bool,
    /// Where the newest known head is.
    pub heads: Option<&'a dyn HeadStore>,
    /// Whether a missing head record is an error (the writer's own head store) or a first look (an auditor's).
    pub head_required: bool,
    /// A checkpoint that somebody kept, as a signed note.
    pub checkpoint: Option<Vec<u8>>,
    /// Receipts that somebody kept.
    pub receipts: Vec<entry::WireReceipt>,
    /// Where an earlier verification ended.
    pub from: Option<Verified>,
    /// Re-check canonical form of every entry and the content of the id index.
    pub strict: bool,
    /// Threads; 0 for all cores.
    pub threads: usize,
    /// Told the entries read so far and how many are expected.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// What time it is.
    pub now: Micros,
}

impl<'a> Request<'a> {
    /// What the keys of a log's writer verify: its checkpoint keys of all times are trusted, and entry signatures are checked.
    ///
    /// # Errors
    /// [`KeyError`] where a public key of the ring cannot be named by the origin.
    pub fn of_ring(ring: &'a KeyRing, origin: &str, now: Micros) -> Result<Self, KeyError> {
        let keys = ring.public_keys(origin)?;
        let first = keys
            .first()
            .cloned()
            .ok_or_else(|| KeyError::Invalid { what: "a ring without checkpoint keys".to_owned() })?;
        Ok(Self { keys, ring: Some(ring), ..Self::new(first, now) })
    }

    fn origin(&self) -> String {
        self.keys.first().map(|key| key.name().to_owned()).unwrap_or_default()
    }

    /// What a public key alone verifies, with all cores: no entry signatures, and no head that is known elsewhere.
    #[must_use]
    pub fn new(key: VerifyingKey, now: Micros) -> Self {
        Self {
            keys: vec![key],
            ring: None,
            all_macs: false,
            heads: None,
            head_required: false,
            checkpoint: None,
            receipts: Vec::new(),
            from: None,
            strict: false,
            threads: 0,
            progress: None,
            now,
        }
    }
}

/// Where an intact verification ended, to go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// Log id.
    pub log_id: String,
    /// Entries.
    pub size: u64,
    /// Frontier behind them, largest subtree first, lower-case hexadecimal.
    pub frontier: Vec<String>,
    /// Leaf hash of the last.
    pub last_leaf: String,
    /// Number of the newest kept checkpoint among them.
    pub kept: u64,
    /// What they say of the log's keys, and in which entry, where it is not entry 0 that says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<(u64, KeysRecord)>,
}

/// Why no verdict could be reached. None of these says anything about the log's integrity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store could not be read.
    #[error("the log could not be read to its end")]
    Store(#[from] StoreError),
    /// The head store could not be read.
    #[error(transparent)]
    Heads(#[from] HeadStoreError),
    /// The newest head is missing.
    #[error(
        "the head store has no record of `{origin}` at `{place}`: a rolled-back log could not be told from a whole one; restore that file, or verify with --public-key alone, which cannot see a rollback"
    )]
    HeadMissing {
        /// The log.
        origin: String,
        /// Where the record should be.
        place: String,
    },
    /// The key is not that of this log.
    #[error("wrong key: {detail}; a wrong key says nothing about the log")]
    WrongKey {
        /// What was asked for and what is there.
        detail: String,
    },
    /// A copy that another server feeds has not got so far.
    #[error(
        "this is a standby, which has {has} entries, and the newest head covers {wants}: it has not come so far, or its primary was rolled back; wait for it, or verify the primary"
    )]
    Behind {
        /// Entries that are here.
        has: u64,
        /// Entries that there should be.
        wants: u64,
    },
    /// What the caller gave cannot be used.
    #[error("{0}")]
    Input(String),
}

/// Verifies a log.
///
/// # Errors
/// [`VerifyError`] where no verdict can be reached.
pub fn verify(store: &dyn Reader, request: &Request<'_>) -> Result<Report, VerifyError> {
    for _ in 1..MAX_TRIES {
        let before = pruned(store);
        let report = verify_once(store, request, None, None)?;
        // What was pruned behind a record that came after the scan had begun is on a record that this scan did not read.
        let absent = report.findings.iter().any(|finding| finding.kind == Kind::Absent);
        if !absent || pruned(store) == before {
            return Ok(report);
        }
    }
    verify_once(store, request, None, None)
}

/// How often a scan is made beside somebody who prunes.
const MAX_TRIES: u32 = 5;

/// What a store that several processes write says was pruned; nothing where it cannot say, which the scan tells.
fn pruned(store: &dyn Reader) -> Vec<(u64, u64)> {
    let shared = store.end().ok().flatten().is_some();
    let runs = shared.then(|| store.runs().ok()).flatten();
    runs.map(|runs| absent(&runs)).unwrap_or_default()
}

/// `below`: records about keys from that index on count for nothing. `named`: the kept checkpoint that an entry names, and the index of that, where the head record was put back and knows
/// of fewer.
fn verify_once(
    store: &dyn Reader,
    request: &Request<'_>,
    below: Option<u64>,
    named: Option<(u64, KeptHead)>,
) -> Result<Report, VerifyError> {
    let begun = Instant::now();
    let at_first = store.has_writer()?;
    // The published checkpoint first: a live writer swaps the head before it publishes.
    let (published, unread) = match store.checkpoint() {
        Err(StoreError::Damaged { detail, .. }) => (None, Some(detail)),
        published => (published?, None),
    };
    let origin = request.origin();
    let listed = Listed::of(store)?;
    let record = load_head(request, &origin)?;
    let mut began = Began {
        held: at_first,
        published: meanwhile::published(published.as_deref()),
        durable: listed.size(),
        head: record.as_ref().map_or((0, 0), |record| {
            (anchors::said_size(record.checkpoint.as_bytes()).map_or(0, |size| size.0), record.kept.number)
        }),
    };
    // Who came between the looks at the two moved the head, and may not have shown it yet.
    began.held = began.wrote(store, None)?;
    let held = began.held;
    let (zero, names, lines) = first_words(store)?;
    let log_id =
        record.as_ref().map(|record| record.log_id).or(zero.as_ref().and_then(|zero| LogId::from_hex(&zero.log_id)));
    let log_id = log_id.unwrap_or(store.info().log_id);
    let notes: Vec<&[u8]> =
        record.iter().map(|record| record.checkpoint.as_bytes()).chain(published.as_deref()).collect();
    let first = first_history(store, request, zero.as_ref(), &names, &notes)?;
    // A checkpoint that was given and that a trusted key signed is evidence as the log's own are.
    let evidence = request.checkpoint.as_deref().filter(|note| signer_of(request, &[note]).is_some());
    let notes: Vec<&[u8]> = notes.into_iter().chain(evidence).collect();
    let hints = [record.as_ref().and_then(|record| record.keys), store.end().ok().flatten().map(|end| end.keys)];
    let hints: Vec<_> = hints.into_iter().flatten().filter(|index| index.0 > 0).collect();
    // A ring has keys that were replaced as well, and whoever stole one signs with it: where a head record is at hand, what that record has vouches, and nothing else.
    let head_only = request.ring.and(record.as_ref()).map(|record| record.checkpoint.as_bytes());
    let trusted = |note: &[u8]| head_only.is_none_or(|newest| newest == note) && signer_of(request, &[note]).is_some();
    let history = match (request.from.as_ref().and_then(|from| from.keys.as_ref()), first) {
        (Some((index, record)), _) => {
            KeyHistory::of_record(record, &origin, LeafIndex(*index)).map_err(|_| unusable())?
        }
        (None, First::Said(first)) => first,
        (None, First::Guessed(first)) => {
            let first = beginning::in_epoch_of(first, &lines, &secrets_of(request, log_id, &origin));
            known::find_without_beginning(store, first, log_id, &notes, below, &trusted)?
        }
    };
    let mut history = known::find(store, &history, log_id, (&hints, &notes), below, &trusted)?;
    let (by_head, told_in) = (head_only.is_some(), record.as_ref().and_then(|record| record.keys));
    let strange = |receipt: &entry::WireReceipt| history.entry_key(&receipt.key).is_none();
    if history.reign_of_any(&request.keys).is_none() || request.receipts.iter().any(strange) {
        history = known::search(store, history, log_id, below)?.0;
    }
    let history = trusted_history(store, request, history, &names, &notes)?;
    if let Some(ring) = request.ring
        && let Some(detail) = foreign_ring(&names, &history, ring)
    {
        return with_foreign_ring(store, request, detail);
    }
    let mut unexplained = Vec::new();
    let head = match record {
        Some(record) => head_of(request, record, &history, &mut unexplained)?,
        None => None,
    };
    let macs = if request.ring.is_some() { Macs::Checked } else { Macs::NotChecked };
    let mut report = Report::new(origin.clone(), macs);
    report.keys = keys_of(&history);
    report.receipts_checked = request.receipts.len() as u64;
    report.from = request.from.as_ref().map_or(0, |from| from.size);
    if let Some(detail) = &unread {
        report.add(finding(Kind::CheckpointSignature, None, format!("the published checkpoint: {detail}")));
    }
    let newest_kept = head.as_ref().filter(|_| request.head_required).map(|(record, _)| record.kept);
    if let (Some(known), Some((index, named))) = (newest_kept, named) {
        let (number, known) = (named.number, known.number);
        let detail = format!(
            "entry {index} names kept checkpoint {number}, the head record knows of {known}: it was put back; {MOVE_FORWARD}"
        );
        report.add(finding(Kind::Derived, None, detail));
    }
    let newest_kept = newest_kept.map(|known| named.map_or(known, |(_, named)| named));
    let kept_here = listed.up_to(newest_kept.map(|newest| newest.number));
    let own = Own { head: head.as_ref(), published: published.as_deref(), held, kept: &kept_here };
    let mut fixed = known_heads(store, request, &history, &own, &mut unexplained, &mut report)?;
    // What cannot be used of what was given is told when it is clear that the log is not what is wrong.
    let mut unusable_input = None;
    match given_anchor(request, &history) {
        Ok(anchor) => fixed.extend(anchor),
        Err(error) => unusable_input = Some(error),
    }
    let (receipts, refused) = receipts(request, &origin, &history, &secrets_of(request, log_id, &origin));
    unusable_input = unusable_input.or(refused);
    let newest = fixed.iter().filter(|a| a.source != Source::Given).max_by_key(|a| a.head.size).copied();
    if let (Some((record, _)), Some(zero)) = (&head, &zero)
        && record.log_id.to_string() != zero.log_id
        && zero.log_id == store.info().log_id.to_string()
    {
        let detail = "another log stands in the place of the one that the head store knows".to_owned();
        report.add(finding(Kind::RolledBack, Some(0), detail));
    }
    let secrets = secrets_of(request, log_id, &origin);
    let expect = Expect::new(origin.clone(), request.strict, secrets.in_force(&history));
    let trust = trust(request, &history);
    // The note of the newest own checkpoint: what is trusted has to vouch for it.
    let newest_note = newest.and_then(|newest| note_of(store, newest, head.as_ref(), published.as_deref()));
    let (frontier, last_leaf) = resume(request, log_id)?;
    let from = frontier.size().0;
    let kept_before = request.from.as_ref().map_or(0, |from| from.kept);
    // Before the scan: a writer that comes later makes more durable than the scan has seen.
    let durable = durable(store, at_first)?;
    if let (Some(newest), Some(durable)) = (newest, durable)
        && durable.size < newest.head.size.0
        && store.may_lag()?
    {
        return Err(VerifyError::Behind { has: durable.size, wants: newest.head.size.0 });
    }
    let said = unexplained.iter().map(|note| note.size).max().unwrap_or(0);
    let vouched = fixed.iter().map(|anchor| anchor.head.size.0).max().unwrap_or(0).max(said);
    let setup = Setup {
        store,
        anchors: Anchors::new(
            store,
            Arc::new(history.clone()),
            trust,
            fixed,
            (newest_kept, listed::numbers(store)?),
            (from, kept_before),
            held,
        ),
        expect: &expect,
        secrets,
        origin: origin.clone(),
        log_id,
        macs: request.ring.is_some(),
        receipts,
        frontier,
        last_leaf,
        from,
        settled: durable.map_or(0, |durable| durable.size).max(newest.map_or(0, |anchor| anchor.head.size.0)),
        vouched,
    };
    // What the stored tree holds beyond the newest own checkpoint is provisional and proves nothing.
    let tree_size = match store.tree_size() {
        Err(error) if wrong_type(&error).is_some() => 0,
        size => size?.0.min(newest.map_or(0, |anchor| anchor.head.size.0).max(said)),
    };
    let total = newest.map_or(0, |anchor| anchor.head.size.0);
    let mut merger = Merger::new(setup, &mut report, tree_size);
    merger.keyed.explained = (!unexplained.is_empty()).then_some(total);
    merger.keyed.untold = told_in.map(|index| index.0).filter(|index| *index >= from);
    merger.resume()?;
    scan(store, request, &expect, total, &mut merger)?;
    if let Some((index, kept)) =
        merger.setup.anchors.beyond.filter(|(index, kept)| named.is_none() && listed.knew(*index, *kept))
    {
        return verify_once(store, request, below, Some((index, kept)));
    }
    merger.excused = excused_below(store, request, &own, by_head, &merger)?;
    let settled = Settled::of(store, &own, newest_kept.map(|kept| kept.number), &merger)?;
    let untold = merger.keyed.untold;
    let hidden = merger.keyed.ever_absent && (untold.is_some() || hides_keys(store, &own, &settled, &merger)?);
    merger.judge_doubtful(&settled);
    if hidden {
        merger.excuse_nothing();
        if let Some(index) = untold {
            let detail = "the head record names this entry as the newest about the log's keys, and it is absent: no record excuses that";
            merger.add(finding(Kind::KeyMissing, Some(index), detail.to_owned()));
        } else if unexplained.is_empty() {
            let detail = "the newest checkpoints are by keys that no entry here brings, and entries are absent that may have replaced the keys known here: no record excuses that";
            merger.add(finding(Kind::KeyMissing, None, detail.to_owned()));
        }
    }
    let behind = published.as_deref().and_then(|note| match open(note, &history) {
        Opened::Good(head) => Some(head.size.0),
        _ => None,
    });
    merger.finish(durable, newest.map(|anchor| (anchor.head.size.0, anchor.source)), behind)?;
    let vouched = newest.zip(newest_note.as_ref()).map(|(newest, note)| (newest.head.size, note));
    // A history that was found beforehand was read from a record that the scan has to meet.
    let said = history.newest().0;
    if said >= from && said > 0 && merger.keyed.accepted.is_none_or(|accepted| accepted < said) {
        if said >= merger.expected && below.is_none() {
            // It is behind the end: a write that was torn.
            let end = merger.expected;
            return verify_once(store, request, Some(end), named);
        }
        let detail = "what says here what the log's keys are does not stand in its place among the entries".to_owned();
        merger.add(finding(Kind::UnauthorisedControl, Some(said), detail));
    }
    unusable_input = unusable_input.or(merger.refused_receipt.take().map(VerifyError::Input));
    let given = judge_again(&history, &own, request.checkpoint.as_deref(), &mut merger);
    let anchors = &merger.setup.anchors;
    let standing = anchors.trust.standing(&anchors.history, vouched, anchors.last_kept());
    let end = End {
        began,
        size: merger.expected,
        met: merger.met.take(),
        kept: merger.kept(),
        newest_kept,
        ids: merger.ids,
        summed: merger.summed(),
        time: merger.last_time.take(),
        seen: merger.entries_seen,
    };
    let absent = merger.keyed.ever_absent;
    let may_be_brought = |size: TreeSize| absent && settled.leaves_open(&merger, size.0);
    let early = early_signature(store, request, &own, &merger.setup.anchors.history, &may_be_brought)?;
    if let Some(Early { key, size, since, open }) = &early {
        let detail = format!("`{key}` signed a checkpoint of {size} entries, {since}");
        let kind = if *open { Kind::KeyMissing } else { Kind::Key };
        merger.add(finding(kind, None, detail));
    }
    for Unexplained { what, detail, trusted, size, few } in &unexplained {
        let open = settled.leaves_open(&merger, *size) || *few && settled.leaves_fewer_open(&merger, *size);
        match absent && open {
            true => merger.add(anchors::unexplained(what, detail)),
            // What brought its key was cut off or changed, and that is told.
            false if *trusted && merger.report.status == Verdict::Tampered => {}
            false => merger.add(finding(Kind::CheckpointSignature, None, format!("{what}: {detail}"))),
        }
    }
    let few = given_by_few(request, &settled, &merger).filter(|_| given.is_none());
    let unusable_input = given.map(|detail| VerifyError::WrongKey { detail }).or(unusable_input);
    let unusable_input = unusable_input.filter(|_| few.is_none());
    few.into_iter().for_each(|found| merger.add(found));
    if let Some(error) = unusable_input {
        // What cannot be compared hides nothing that was found.
        if !matches!(report.status, Verdict::Tampered | Verdict::Diverged) {
            return Err(error);
        }
        report.remark(Remark { kind: "input_unusable", index: None, detail: crate::error::chain(&error) });
    }
    // A key that the log does not know says nothing of it; what that key signed of this log does.
    let signed = early.is_some() || evidence.is_some() && report.status == Verdict::Tampered;
    if !signed || !matches!(standing, Standing::Strange | Standing::NotYet(_)) {
        judge_standing(standing, request, &history, &mut report)?;
    }
    conclude(store, request, &mut report, &end, head.as_ref(), newest, log_id)?;
    report.order();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Judges the newest checkpoints once more, by what the entries that they cover say of the keys: who stole a key that was replaced before signs ends of his own with it.
/// Returns what is wrong with the checkpoint that was given.
fn judge_again(before: &KeyHistory, own: &Own<'_>, given: Option<&[u8]>, merger: &mut Merger<'_>) -> Option<String> {
    let history = Arc::clone(&merger.setup.anchors.history);
    let wrong = |note: &[u8]| match (open(note, before), open(note, &history)) {
        (Opened::Good(_), Opened::OtherKey(detail) | Opened::Bad(detail)) => Some(detail),
        _ => None,
    };
    // The first checkpoint over a change is by those before as well, kept or not.
    let kept = merger.setup.anchors.last_kept();
    let first_over = |note: &[u8]| {
        let Opened::Good(head) = open(note, &history) else { return None };
        let (_, earlier) = history.sets_between(kept?, head.size).split_last()?;
        let note = Note::parse(note).ok().filter(|_| kept.is_some_and(|kept| kept < head.size))?;
        let error = earlier.iter().find_map(|set| set.set.verify(&note).err())?;
        Some(format!("it is the first one over a change of checkpoint keys, and not by the keys before: {error}"))
    };
    let head = own.head.map(|(record, _)| ("the newest head in the head store", record.checkpoint.as_bytes()));
    for (what, note) in head.into_iter().chain(own.published.map(|note| ("the published checkpoint", note))) {
        if let Some(detail) = wrong(note).or_else(|| first_over(note)) {
            merger.add(finding(Kind::CheckpointSignature, None, format!("{what}: {detail}")));
        }
    }
    Some(format!("the checkpoint that was given: {}", wrong(given?)?))
}

/// What is to be said of a checkpoint that was given and is by some of the keys that are due, and too few: of a log that ends before it that it was rolled back, and where entries
/// are absent that they may have retired the other keys. Else it is no evidence.
fn given_by_few(request: &Request<'_>, settled: &Settled, merger: &Merger<'_>) -> Option<Finding> {
    let history = &merger.setup.anchors.history;
    let note = request.checkpoint.as_deref()?;
    let Opened::OtherKey(detail) = open(note, history) else { return None };
    let what = "the checkpoint that was given";
    let Unexplained { size, few, .. } = Unexplained::of(what, String::new(), note, false, history);
    by_trusted(request, history, note).filter(|_| few && settled.leaves_fewer_open(merger, size))?;
    let end = merger.expected;
    Some(match size > end {
        true => {
            let detail = format!("{what} covers {size} entries, the log has {end}");
            Finding { last: Some(size - 1), ..finding(Kind::RolledBack, Some(end), detail) }
        }
        false => anchors::unexplained(what, &detail),
    })
}

/// What the merge ended with.
struct End {
    began: Began,
    size: u64,
    met: Option<Met>,
    kept: (u64, u64),
    newest_kept: Option<KeptHead>,
    ids: Option<[u64; 4]>,
    summed: Option<Summed>,
    time: Option<String>,
    seen: u64,
}

/// A public key that the log does not know is an error, and no verdict. One whose followers nobody can show leaves the log unverifiable.
fn judge_standing(
    standing: Standing,
    request: &Request<'_>,
    history: &KeyHistory,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let given = request.keys.first().map(ToString::to_string).unwrap_or_default();
    match standing {
        Standing::Vouched => Ok(()),
        Standing::Strange => Err(strange(request, history)),
        // What is tampered with may just as well be what said the key.
        Standing::NotYet(_) if report.status == Verdict::Tampered => Ok(()),
        Standing::NotYet(first) => {
            let detail = format!(
                "`{given}` is in force from entry {first} on, and no checkpoint covers that yet: verify with an earlier key"
            );
            Err(VerifyError::WrongKey { detail })
        }
        Standing::Lost => {
            let detail = format!(
                "`{given}` was replaced, and no kept checkpoint that it signed leads to the keys that sign now: verify with a later key"
            );
            report.add(finding(Kind::KeyMissing, None, detail));
            Ok(())
        }
        Standing::Silent => {
            let detail = format!(
                "`{given}` is one of the keys that may sign here, and signed neither the newest checkpoint nor one that leads to it: verify with a key that did"
            );
            report.add(finding(Kind::KeyMissing, None, detail));
            Ok(())
        }
    }
}

fn strange(request: &Request<'_>, history: &KeyHistory) -> VerifyError {
    let given = request.keys.first().map(ToString::to_string).unwrap_or_default();
    let detail = format!("`{given}` is none of the keys of this log: {}", keys_of(history).join(", "));
    VerifyError::WrongKey { detail }
}

/// A log that does not know the trusted keys is of somebody else, unless one of them signed its newest checkpoint: then what it says of its keys was changed.
/// Where the first kept checkpoint is by the keys of entry 0, that is not what was changed: what brought the trusted key is, or is absent.
fn trusted_history(
    store: &dyn Reader,
    request: &Request<'_>,
    history: KeyHistory,
    names: &[String],
    notes: &[&[u8]],
) -> Result<KeyHistory, VerifyError> {
    if history.reign_of_any(&request.keys).is_some() {
        return Ok(history);
    }
    let begun = kept(store, 1)?.is_some_and(|note| matches!(open(&note, &history), Opened::Good(_)));
    let newest = notes.iter().max_by_key(|note| anchors::said_size(note));
    if begun && newest.is_some_and(|note| signer_of(request, &[note]).is_some()) {
        return Ok(history);
    }
    match beginning::of_signer(request, notes, &common_key(names)) {
        Some(history) => Ok(history),
        None if signed_kept(store, request)? => Ok(history),
        None => Err(strange(request, &history)),
    }
}

/// Whether a trusted key signed a kept checkpoint: then the log is that key's, whatever its newest ones say.
fn signed_kept(store: &dyn Reader, request: &Request<'_>) -> Result<bool, StoreError> {
    for number in store.kept_numbers()? {
        if kept(store, number)?.is_some_and(|note| signer_of(request, &[&note]).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Since when a key is the log's, by its own word.
#[derive(Clone, Copy)]
enum Since {
    Never,
    Entry(u64),
}

impl std::fmt::Display for Since {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("and by the entries that are here it is none of the log's keys"),
            Self::Entry(first) => write!(f, "and the log says that it has had that key from entry {first} on"),
        }
    }
}

/// A trusted key that signed a checkpoint before the log had it, by the log's word.
struct Early {
    key: String,
    /// The checkpoint's size.
    size: TreeSize,
    since: Since,
    /// Whether absent entries may have brought it.
    open: bool,
}

/// The first of them, of those that nothing absent explains; else of the others. `may_be_brought` says of a size whether absent entries may have brought keys for it.
fn early_signature(
    store: &dyn Reader,
    request: &Request<'_>,
    own: &Own<'_>,
    history: &KeyHistory,
    may_be_brought: &dyn Fn(TreeSize) -> bool,
) -> Result<Option<Early>, StoreError> {
    let firsts: Vec<(&VerifyingKey, Since)> = request.keys.iter().map(|key| (key, since(history, key))).collect();
    let early = |note: &[u8]| {
        let (parsed, size) = (Note::parse(note).ok()?, anchors::said_size(note)?);
        let (key, since) = firsts.iter().find(|(key, since)| match since {
            Since::Never => parsed.verify(key).is_ok(),
            Since::Entry(first) => size.0 <= *first && *first > 0 && parsed.verify(key).is_ok(),
        })?;
        let open = matches!(since, Since::Never) && may_be_brought(size);
        Some(Early { key: key.to_string(), size, since: *since, open })
    };
    let head = own.head.map(|(record, _)| record.checkpoint.as_bytes());
    let certain = |found: &Option<Early>| found.as_ref().is_some_and(|found| !found.open);
    let graver = |found: Option<Early>, note: &[u8]| match found {
        Some(before) => early(note).filter(|next| !next.open).or(Some(before)),
        None => early(note),
    };
    let mut found = head.into_iter().chain(own.published).fold(None, graver);
    for number in own.kept.iter().copied() {
        if certain(&found) {
            break;
        }
        if let Some(note) = kept(store, number)? {
            found = graver(found, &note);
        }
    }
    Ok(found)
}

/// Since which entry a log has had a key, by its own word.
fn since(history: &KeyHistory, key: &VerifyingKey) -> Since {
    history.sets().iter().find(|set| set.set.keys().contains(key)).map_or(Since::Never, |set| Since::Entry(set.first))
}

/// Whether one of the newest checkpoints or of the kept ones names a trusted key, rightly signed or not.
fn names_trusted(store: &dyn Reader, request: &Request<'_>, notes: &[&[u8]]) -> Result<bool, VerifyError> {
    let names = |note: &[u8]| {
        let lines = Note::parse(note).map(|note| note.signatures().to_vec()).unwrap_or_default();
        lines.iter().any(|line| request.keys.iter().any(|key| line.key_id() == key.id()))
    };
    if notes.iter().any(|note| names(note)) {
        return Ok(true);
    }
    for number in store.kept_numbers()? {
        if kept(store, number)?.is_some_and(|note| names(&note)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The trusted key that signed one of these notes.
fn signer_of<'a>(request: &'a Request<'_>, notes: &[&[u8]]) -> Option<&'a VerifyingKey> {
    let notes: Vec<Note> = notes.iter().filter_map(|note| Note::parse(note).ok()).collect();
    request.keys.iter().find(|key| notes.iter().any(|note| note.verify(key).is_ok()))
}

/// The tree that a trusted key signed though the history does not explain who signed: it does not know that key, or says that others had to sign beside it. An entry that tells of it is absent, or was changed.
pub(super) fn by_trusted(request: &Request<'_>, history: &KeyHistory, note: &[u8]) -> Option<TreeHead> {
    let due = |key: &VerifyingKey, size| history.set_for(size).is_some_and(|set| set.keys().contains(key));
    signed_by(request, note, &|key, size| history.reign_of(key).is_none() || due(key, size))
}

/// The same of a checkpoint that was given: one by too few of the keys that are due is no evidence.
fn by_unknown(request: &Request<'_>, history: &KeyHistory, note: &[u8]) -> Option<TreeHead> {
    signed_by(request, note, &|key, _| history.reign_of(key).is_none())
}

/// The tree that one of some trusted keys signed.
fn signed_by(request: &Request<'_>, note: &[u8], counts: &dyn Fn(&VerifyingKey, TreeSize) -> bool) -> Option<TreeHead> {
    let note = Note::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    let of_log = |key: &&VerifyingKey| key.name() == checkpoint.origin && counts(key, checkpoint.head.size);
    request.keys.iter().filter(of_log).any(|key| note.verify(key).is_ok()).then_some(checkpoint.head)
}

/// What is trusted. An earlier verification that this one goes on from has followed the keys to where it ended. A key that is in force there still vouches for what follows by itself:
/// those beside it may be replaced without it, or be stolen.
fn trust(request: &Request<'_>, history: &KeyHistory) -> Trust {
    let mut keys = request.keys.clone();
    if let Some(from) = &request.from
        && history.reign_of_any(&keys).is_some()
        && let Some(set) = history.set_for(TreeSize(from.size))
        && !keys.iter().any(|key| set.keys().contains(key))
    {
        keys.extend(set.keys().iter().cloned());
    }
    Trust::new(&keys, history)
}

/// All keys of a log, as the report names them.
fn keys_of(history: &KeyHistory) -> Vec<String> {
    let mut keys: Vec<String> = history.sets().iter().flat_map(|set| set.set.keys()).map(ToString::to_string).collect();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    keys.extend(history.entry_keys().iter().map(|key| key.id.clone()));
    keys
}

/// Where a log's keys begin.
enum First {
    /// Entry 0 says it.
    Said(KeyHistory),
    /// Entry 0 cannot be read: one trusted key, as if it had been there from the beginning.
    Guessed(KeyHistory),
}

/// The history that begins with entry 0; where that cannot be read, with the key that signed the newest checkpoint, if it is a trusted one.
fn first_history(
    store: &dyn Reader,
    request: &Request<'_>,
    zero: Option<&LogCreated>,
    names: &[String],
    notes: &[&[u8]],
) -> Result<First, VerifyError> {
    if let Some(history) =
        zero.and_then(|zero| KeyHistory::of_created(zero).ok()).filter(|h| h.origin() == request.origin())
    {
        return Ok(First::Said(history));
    }
    // Without entry 0 its checkpoints say whose log it is: where all of them name other keys, it is somebody else's.
    if !notes.is_empty() && !names_trusted(store, request, notes)? {
        let given = request.keys.first().map(ToString::to_string).unwrap_or_default();
        let detail = format!("`{given}` signed none of the newest checkpoints, and entry 0 does not name it");
        return Err(VerifyError::WrongKey { detail });
    }
    let history = beginning::of_any(request, notes, &common_key(names));
    history.map(First::Guessed).ok_or_else(|| {
        VerifyError::Input(
            "entry 0 cannot be read, and the public key that was given is no Ed25519 key: give the log's Ed25519 key"
                .to_owned(),
        )
    })
}

/// The note of an own anchor.
fn note_of(
    store: &dyn Reader,
    anchor: Anchor,
    head: Option<&(HeadRecord, TreeHead)>,
    published: Option<&[u8]>,
) -> Option<Note> {
    let bytes = match anchor.source {
        Source::HeadStore => head.map(|(record, _)| record.checkpoint.clone().into_bytes()),
        Source::Published => published.map(<[u8]>::to_vec),
        Source::NewestKept(number) | Source::Kept(number) => store.kept(number).ok().flatten(),
        Source::Given => None,
    };
    Note::parse(&bytes?).ok()
}

fn load_head(request: &Request<'_>, origin: &str) -> Result<Option<HeadRecord>, VerifyError> {
    let Some(heads) = request.heads else { return Ok(None) };
    let record = heads.load(origin)?;
    if record.is_none() && request.head_required {
        return Err(VerifyError::HeadMissing { origin: origin.to_owned(), place: heads.place(origin) });
    }
    Ok(record)
}

fn head_of(
    request: &Request<'_>,
    record: HeadRecord,
    history: &KeyHistory,
    unexplained: &mut Vec<Unexplained>,
) -> Result<Option<(HeadRecord, TreeHead)>, VerifyError> {
    let trusted = match request.head_required {
        // No thief of the log's files writes it: where a key of the ring's signed it, the log is what has to agree.
        true => signed_by(request, record.checkpoint.as_bytes(), &|_, _| true),
        false => by_trusted(request, history, record.checkpoint.as_bytes()),
    };
    // By a key of the log's that is not in force there: no other log's head, and not one that the writer made.
    let own: Vec<VerifyingKey> = history.sets().iter().flat_map(|set| set.set.keys()).cloned().collect();
    let ended = known::is_signed_by(record.checkpoint.as_bytes(), &own);
    let opened = open(record.checkpoint.as_bytes(), history);
    let strange = matches!(opened, Opened::OtherKey(_));
    match opened {
        Opened::Good(head) => Ok(Some((record, head))),
        // An auditor's: it was verified when it was stored, by keys that the log said then. A writer's: by a key of its ring.
        Opened::OtherKey(detail) | Opened::Bad(detail)
            if trusted.is_some() || strange && (!request.head_required || ended) =>
        {
            let what = match request.head_required {
                true => "the newest head in the head store",
                false => "the newest head that was verified before",
            };
            unexplained.push(Unexplained::of(what, detail, record.checkpoint.as_bytes(), trusted.is_some(), history));
            Ok(trusted.map(|head| (record, head)))
        }
        Opened::OtherKey(detail) | Opened::Bad(detail) => {
            let origin = request.origin();
            let place = request.heads.map(|heads| heads.place(&origin)).unwrap_or_default();
            Err(VerifyError::WrongKey { detail: format!("the head record `{place}`: {detail}") })
        }
    }
}

/// Entry 0's content, the entry keys that it and the first two lines name, and these lines.
type FirstWords = (Option<LogCreated>, Vec<String>, Vec<FirstLine>);

/// What the first run says of the log. Nothing derived is asked.
fn first_words(store: &dyn Reader) -> Result<FirstWords, VerifyError> {
    let mut bytes = Vec::new();
    if let Some(run) = store.runs()?.first() {
        let first = store.pieces(run).map(|pieces| pieces.into_iter().next());
        let read = first.and_then(|piece| piece.map_or(Ok(Vec::new()), |piece| store.read_piece(run, &piece)));
        // What cannot be read is told by the scan.
        bytes = match read {
            Err(StoreError::Evidence { .. }) => Vec::new(),
            result => result?,
        };
    }
    let lines: Vec<Line<'_>> = bytes.split(|b| *b == b'\n').take(2).filter_map(|line| Line::parse(line).ok()).collect();
    let zero = lines.first().filter(|line| line.entry.index.0 == 0).and_then(|line| {
        let Ok(Control::LogCreated(created)) = Control::parse(line.entry.body) else { return None };
        Some(created)
    });
    let lines: Vec<FirstLine> = lines.iter().map(FirstLine::of).collect();
    let names = zero.iter().map(|zero| zero.entry_key.id.clone()).chain(lines.iter().map(|line| line.key.clone()));
    let names = names.collect();
    Ok((zero, names, lines))
}

/// The entry key's id where no ring tells it: what two of them agree on.
fn common_key(names: &[String]) -> String {
    let twice = names.iter().find(|name| names.iter().filter(|other| other == name).count() > 1);
    twice.or(names.first()).cloned().unwrap_or_default()
}

/// Says so where the log names other entry keys only than the ring holds.
fn foreign_ring(names: &[String], history: &KeyHistory, ring: &KeyRing) -> Option<String> {
    let held = ring.entry_key_id();
    let mut known = names.iter().map(String::as_str).chain(history.entry_keys().iter().map(|key| key.id.as_str()));
    // A key whose secret was destroyed left its name: the ring is the log's, and what it cannot check is told as that.
    let wanted = names.first().filter(|_| !known.any(|id| ring.keys().any(|key| key.id == id)))?;
    Some(format!("the log is signed with entry key `{wanted}`, the ring holds `{held}`"))
}

/// Either the ring is of another log, or the entries were rewritten with another key: the signed root tells, without the ring.
fn with_foreign_ring(store: &dyn Reader, request: &Request<'_>, detail: String) -> Result<Report, VerifyError> {
    let without = Request { ring: None, ..request.clone() };
    let report = verify(store, &without)?;
    if report.status == Verdict::Tampered { Ok(report) } else { Err(VerifyError::WrongKey { detail }) }
}

/// A checkpoint of the log's by keys that are not known.
struct Unexplained {
    what: &'static str,
    detail: String,
    /// The size that it says; what stands elsewhere than expected is looked for in the stored tree up to there.
    size: u64,
    /// Whether a trusted key signed it. Else it vouches for nothing.
    trusted: bool,
    /// Whether some of the keys that are due signed it, too few of them, and no key that is not known.
    few: bool,
}

impl Unexplained {
    fn of(what: &'static str, detail: String, note: &[u8], trusted: bool, history: &KeyHistory) -> Self {
        let size = anchors::said_size(note).unwrap_or(TreeSize(0));
        let due = |set: &KeySet| known::is_signed_by(note, set.keys());
        let few = history.set_for(size).is_some_and(due) && !known::by_others(note, history);
        Self { what, detail, size: size.0, trusted, few }
    }
}

/// The log's own newest checkpoints.
pub(super) struct Own<'a> {
    pub(super) head: Option<&'a (HeadRecord, TreeHead)>,
    pub(super) published: Option<&'a [u8]>,
    held: bool,
    /// The numbers of the kept ones that count.
    pub(super) kept: &'a [u64],
}

/// The heads that the tree must meet, besides the kept ones.
fn known_heads(
    store: &dyn Reader,
    request: &Request<'_>,
    history: &KeyHistory,
    &Own { head, published, held, kept }: &Own<'_>,
    unexplained: &mut Vec<Unexplained>,
    report: &mut Report,
) -> Result<Vec<Anchor>, VerifyError> {
    let mut fixed = Vec::new();
    if let Some((_, tree)) = head {
        fixed.push(Anchor { head: *tree, source: Source::HeadStore });
    }
    // Who has no head of the writer's has the newest kept checkpoint: `checkpoint` alone could be an old one put back.
    let mut newest_kept = None;
    if !request.head_required {
        let explained = newest_explained(store, request, history, kept)?;
        newest_kept = explained.map(|(number, _)| number);
        fixed.extend(explained.map(|(number, head)| Anchor { head, source: Source::NewestKept(number) }));
    }
    match published.map(|note| open(note, history)) {
        Some(Opened::Good(tree)) => {
            compare_heads(head.map(|(_, tree)| tree), &tree, held, request.head_required, report);
            fixed.push(Anchor { head: tree, source: Source::Published });
        }
        // By a key of the log's that is not known, or by a stranger: what is absent decides.
        Some(Opened::OtherKey(detail)) => {
            let note = published.unwrap_or_default();
            let trusted = by_trusted(request, history, note);
            unexplained.push(Unexplained::of("the published checkpoint", detail, note, trusted.is_some(), history));
            if let Some(tree) = trusted {
                compare_heads(head.map(|(_, tree)| tree), &tree, held, request.head_required, report);
                fixed.push(Anchor { head: tree, source: Source::Published });
            }
        }
        Some(Opened::Bad(detail)) => {
            report.add(finding(Kind::CheckpointSignature, None, format!("the published checkpoint: {detail}")));
        }
        None if head.is_some() => {
            report.add(finding(Kind::Derived, None, "`checkpoint` is missing; the head store has it".to_owned()));
        }
        None if newest_kept.is_some() => {
            let detail = "`checkpoint` is missing; a kept one vouches for these entries".to_owned();
            report.add(finding(Kind::Derived, None, detail));
        }
        None => {
            let detail = "there is no signed checkpoint: nothing vouches for these entries".to_owned();
            report.add(finding(Kind::NoCheckpoint, None, detail));
        }
    }
    Ok(fixed)
}

/// The checkpoint that was given. By a trusted key it counts also where the log does not know that key: what brought the key was cut off, or changed.
fn given_anchor(request: &Request<'_>, history: &KeyHistory) -> Result<Option<Anchor>, VerifyError> {
    let Some(note) = &request.checkpoint else { return Ok(None) };
    let anchor = |head| Some(Anchor { head, source: Source::Given });
    match open(note, history) {
        Opened::Good(head) => Ok(anchor(head)),
        Opened::OtherKey(detail) => match by_unknown(request, history, note) {
            Some(head) => Ok(anchor(head)),
            None => Err(VerifyError::WrongKey { detail: format!("the checkpoint that was given: {detail}") }),
        },
        Opened::Bad(detail) => {
            Err(VerifyError::Input(format!("the checkpoint that was given cannot be used: {detail}")))
        }
    }
}

/// Whether the newest checkpoints are by keys that no entry brings which is there: then an absent one may have replaced those that excuse its absence.
/// Not where the head record beside the writer's keys is by the known set alone and covers what is absent: then a line of another key stands under what it did not sign.
fn hides_keys(store: &dyn Reader, own: &Own<'_>, settled: &Settled, merger: &Merger<'_>) -> Result<bool, StoreError> {
    let history = &merger.setup.anchors.history;
    let head = own.head.map(|(record, _)| record);
    let hides = |note: &[u8]| {
        let open = || anchors::said_size(note).is_none_or(|size| settled.leaves_open_to_head(merger, size.0));
        known::by_later_ones(note, history) && open()
    };
    let notes = head.iter().map(|record| record.checkpoint.as_bytes()).chain(own.published).collect::<Vec<_>>();
    if notes.iter().any(|note| hides(note)) {
        return Ok(true);
    }
    for number in own.kept.iter().copied() {
        if kept(store, number)?.is_some_and(|note| hides(&note)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn secrets_of<'a>(request: &Request<'a>, log_id: LogId, origin: &'a str) -> Secrets<'a> {
    Secrets { ring: request.ring, log_id, origin, all: request.all_macs }
}

/// The newest kept checkpoint, of those that are by keys which the history knows, or which are trusted.
fn newest_explained(
    store: &dyn Reader,
    request: &Request<'_>,
    history: &KeyHistory,
    numbers: &[u64],
) -> Result<Option<(u64, TreeHead)>, StoreError> {
    for number in numbers.iter().rev().copied() {
        let Some(note) = kept(store, number)? else { return Ok(None) };
        match open(&note, history) {
            Opened::Good(head) => return Ok(Some((number, head))),
            Opened::OtherKey(_) => {
                if let Some(head) = by_trusted(request, history, &note) {
                    return Ok(Some((number, head)));
                }
            }
            Opened::Bad(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// What to do about a head record that was put back.
const MOVE_FORWARD: &str = "`indelible log repair` moves it forward";

fn compare_heads(known: Option<&TreeHead>, published: &TreeHead, held: bool, writers: bool, report: &mut Report) {
    let Some(known) = known else { return };
    if published.size == known.size && published.root != known.root {
        let detail = format!("the log signed two different trees of size {}", known.size);
        report.add(finding(Kind::DivergedCheckpoint, None, detail));
    } else if published.size < known.size && !held {
        let detail = format!(
            "`checkpoint` covers {} entries, the newest head {}: a crash came before it was replaced, or an old one was put back; the next opening publishes it",
            published.size, known.size
        );
        report.add(finding(Kind::Derived, None, detail));
    } else if published.size > known.size && writers {
        let detail = format!(
            "the head store is behind the published checkpoint ({} and {} entries): it was put back; {MOVE_FORWARD}",
            known.size, published.size
        );
        report.add(finding(Kind::Derived, None, detail));
    }
}

/// The receipts that were given, by index; and what is to be said of the first that is not signed by this log.
fn receipts(
    request: &Request<'_>,
    origin: &str,
    history: &KeyHistory,
    secrets: &Secrets<'_>,
) -> (BTreeMap<u64, Vec<entry::WireReceipt>>, Option<VerifyError>) {
    let mut by_index: BTreeMap<u64, Vec<entry::WireReceipt>> = BTreeMap::new();
    let mut refused = None;
    let keys = secrets.in_force(history);
    for receipt in &request.receipts {
        if receipt.origin != origin {
            let text = format!("a receipt is of log `{}`, not of `{origin}`", receipt.origin);
            refused.get_or_insert(VerifyError::Input(text));
            continue;
        }
        let leaf = Hash::from_hex(receipt.leaf_hash.as_bytes());
        let mac = hex::decode::<32>(receipt.mac.as_bytes());
        // A key that the log never had signed nothing in it; one whose secret is not here cannot be checked.
        let of_log = history.entry_key(&receipt.key).is_some() || secrets.ring.is_none();
        let key = keys.key(&receipt.key);
        let signed = leaf.zip(mac).map(|(leaf, mac)| of_log && key.is_none_or(|key| key.verify(&leaf, &mac)));
        if signed != Some(true) {
            let text = format!(
                "the receipt for entry {} (`{}`) is not signed by this log: it says nothing about it",
                receipt.index, receipt.id
            );
            refused.get_or_insert(VerifyError::Input(text));
            continue;
        }
        by_index.entry(receipt.index).or_default().push(receipt.clone());
    }
    (by_index, refused)
}

fn unusable() -> VerifyError {
    VerifyError::Input(
        "the record of the last verification cannot be used: verify from the beginning, without --from-last".to_owned(),
    )
}

/// More entries than a log can have: an index has at most 16 digits.
const MAX_SIZE: u64 = 1 << 53;

fn resume(request: &Request<'_>, log_id: LogId) -> Result<(Frontier, Hash), VerifyError> {
    let Some(from) = &request.from else { return Ok((Frontier::new(), leaf_hash(b""))) };
    if request.checkpoint.is_some() || !request.receipts.is_empty() {
        let text =
            "a checkpoint or receipts can only be compared with the whole log: verify without --from-last".to_owned();
        return Err(VerifyError::Input(text));
    }
    // There are never more kept checkpoints than entries, nor more entries than an index says exactly.
    if from.log_id != log_id.to_string() || from.kept > from.size || from.size > MAX_SIZE {
        return Err(unusable());
    }
    let hashes: Option<Vec<Hash>> = from.frontier.iter().map(|text| Hash::from_hex(text.as_bytes())).collect();
    let frontier = hashes.and_then(|hashes| Frontier::from_parts(TreeSize(from.size), hashes)).ok_or_else(unusable)?;
    Ok((frontier, Hash::from_hex(from.last_leaf.as_bytes()).ok_or_else(unusable)?))
}

/// How many entries are durable by the store's word, where it has one that holds now.
fn durable(store: &dyn Reader, held: bool) -> Result<Option<Durable>, VerifyError> {
    let word = if held {
        // A writer at work moves the size that a directory keeps when it likes; a database moves it with the entries.
        store.end().map(|end| end.map(|end| Durable { size: end.size.0, last_leaf: Some(end.last_leaf) }))
    } else {
        store.size().map(|size| Some(Durable { size: size.0, last_leaf: None }))
    };
    match word {
        Ok(word) => Ok(word),
        // Told with the other derived files.
        Err(error) if wrong_type(&error).is_some() => Ok(None),
        // Not what is stored is wrong: it could not be read now.
        Err(error @ (StoreError::Io { .. } | StoreError::Database { .. } | StoreError::TryAgain { .. })) => {
            Err(error.into())
        }
        Err(_) => Ok(None),
    }
}

/// A piece with its place in the order.
struct Job {
    serial: u64,
    run: usize,
    opens: bool,
    piece: Piece,
}

/// Pieces that may be read and not yet merged: 16 of about 1 MiB (plus what is seen of their lines) bound the memory.
const AHEAD: u64 = 16;

fn scan(
    store: &dyn Reader,
    request: &Request<'_>,
    expect: &Expect,
    total: u64,
    merger: &mut Merger<'_>,
) -> Result<(), VerifyError> {
    let runs = store.runs()?;
    let from = request.from.as_ref().map_or(0, |from| from.size);
    // From the run of the last verified entry on: that it still stands is checked too.
    let skip = runs.iter().skip(1).take_while(|run| run.first < from).count();
    let jobs = Jobs {
        store,
        runs: &runs,
        state: Mutex::new(JobState { run: skip, ..JobState::default() }),
        room: Condvar::new(),
    };
    let threads = match request.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let (send, receive) = mpsc::sync_channel::<Done>(threads * 2);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (send, jobs) = (send.clone(), &jobs);
            scope.spawn(move || work(jobs, expect, &send));
        }
        drop(send);
        let merged = merge(&receive, &jobs, &runs, request, total, merger);
        jobs.stop();
        // Workers that wait for room in the channel end when it is gone.
        drop(receive);
        merged
    })
}

struct Done {
    job: Job,
    result: Result<SeenPiece, StoreError>,
}

struct Jobs<'a> {
    store: &'a dyn Reader,
    runs: &'a [Run],
    state: Mutex<JobState>,
    room: Condvar,
}

#[derive(Default)]
struct JobState {
    run: usize,
    pieces: VecDeque<Piece>,
    opened: bool,
    serial: u64,
    merged: u64,
    stopped: bool,
    failed: Option<StoreError>,
}

impl Jobs<'_> {
    /// The next piece, when there is room for it.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped || state.failed.is_some() {
                return None;
            }
            if state.serial < state.merged + AHEAD {
                break;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        loop {
            if state.opened {
                if let Some(piece) = state.pieces.pop_front() {
                    let job = Job { serial: state.serial, run: state.run, opens: piece.offset == 0, piece };
                    state.serial += 1;
                    return Some(job);
                }
                state.run += 1;
                state.opened = false;
            }
            let run = self.runs.get(state.run)?;
            match self.store.pieces(run) {
                Ok(pieces) => state.pieces = pieces.into(),
                // Its one piece cannot be read either, and that is told where it stands.
                Err(StoreError::Evidence { .. }) => {
                    state.pieces = VecDeque::from([Piece { offset: 0, bytes: 0, unit: 0, units: 0 }]);
                }
                Err(error) => {
                    state.failed = Some(error);
                    return None;
                }
            }
            state.opened = true;
        }
    }

    fn merged(&self) {
        lock(&self.state).merged += 1;
        self.room.notify_all();
    }

    fn stop(&self) {
        lock(&self.state).stopped = true;
        self.room.notify_all();
    }
}

fn work(jobs: &Jobs<'_>, expect: &Expect, send: &mpsc::SyncSender<Done>) {
    while let Some(job) = jobs.next() {
        let Some(run) = jobs.runs.get(job.run) else { return };
        let result = jobs.store.read_piece(run, &job.piece).map(|bytes| look(bytes, expect));
        if send.send(Done { job, result }).is_err() {
            return;
        }
    }
}

fn merge(
    receive: &mpsc::Receiver<Done>,
    jobs: &Jobs<'_>,
    runs: &[Run],
    request: &Request<'_>,
    total: u64,
    merger: &mut Merger<'_>,
) -> Result<(), VerifyError> {
    let mut waiting: BTreeMap<u64, Done> = BTreeMap::new();
    let mut next = 0;
    let mut run_at = usize::MAX;
    for done in receive {
        waiting.insert(done.job.serial, done);
        while let Some(Done { job, result }) = waiting.remove(&next) {
            next += 1;
            let Some(run) = runs.get(job.run) else { continue };
            if run_at != job.run {
                run_at = job.run;
                merger.begin_run(run)?;
            }
            match result {
                Ok(piece) => merger.take(run, &piece, job.opens)?,
                Err(StoreError::Evidence { detail, .. }) => merger.unreadable(detail),
                Err(error) => return Err(error.into()),
            }
            jobs.merged();
            if let Some(progress) = request.progress {
                progress(merger.expected, total);
            }
        }
    }
    match lock(&jobs.state).failed.take() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn conclude(
    store: &dyn Reader,
    request: &Request<'_>,
    report: &mut Report,
    end: &End,
    head: Option<&(HeadRecord, TreeHead)>,
    newest: Option<Anchor>,
    log_id: LogId,
) -> Result<(), VerifyError> {
    let info = LogInfo { origin: report.origin.clone(), log_id, format: indelible_core::FORMAT_VERSION };
    if head.is_none() && request.checkpoint.is_none() && request.receipts.is_empty() {
        let detail =
            "no earlier head of this log is known here: a rollback to an older, genuine state could not be seen"
                .to_owned();
        report.remark(Remark { kind: "no_head", index: None, detail });
    }
    let anchored = newest.map_or(TreeSize(0), |anchor| anchor.head.size);
    let scanned = Scanned {
        anchored,
        end: TreeSize(end.size),
        held: end.began.held,
        info: &info,
        // An auditor's head may be older than what the log has kept since.
        kept: end.newest_kept.map_or(end.kept.1, |newest| newest.number),
        strict: request.strict && request.from.is_none(),
        ids: end.ids.filter(|_| request.strict && request.from.is_none()),
        summed: end.summed,
    };
    let checked = match store.check_derived(&scanned) {
        Ok(faults) if faults.is_empty() => Ok(faults),
        // Somebody came after this began: the same is looked at once more, as beside who was there before.
        _ if !scanned.held && end.began.wrote(store, request.heads.map(|heads| (heads, report.origin.as_str())))? => {
            store.check_derived(&Scanned { held: true, ..scanned })
        }
        checked => checked,
    };
    match checked {
        Ok(faults) => {
            for fault in faults {
                report.add(finding(Kind::Derived, None, format!("`{}`: {}", fault.place, fault.detail)));
            }
        }
        Err(error) => {
            let detail = wrong_type(&error).ok_or(error)?;
            let detail = format!("{detail}; what else is derived was not checked to the end");
            report.add(finding(Kind::Derived, None, detail));
        }
    }
    if let (Some(said), Some(history)) = (store.end().ok().flatten(), &report.history) {
        let newest = history.newest();
        if said.keys < newest || (said.keys > newest && said.size.0 <= end.size) {
            let detail = format!(
                "the record of the log's end says that entry {} is the newest about its keys, entry {newest} is",
                said.keys
            );
            report.add(finding(Kind::Derived, None, detail));
        }
    }
    let tree = newest.map_or(TreeHead { size: TreeSize(0), root: empty_root() }, |anchor| anchor.head);
    report.tree_size = tree.size.0;
    report.root = tree.root.to_hex();
    report.head = newest.map(|anchor| anchor.head);
    report.entries_verified = end.seen;
    report.checkpoints = end.kept.0;
    report.unanchored = end.size.saturating_sub(tree.size.0);
    // An auditor's record tells when it was first seen here, not when it was signed.
    report.head_age_seconds = head_age(head.filter(|_| request.head_required), end.time.as_deref(), request.now);
    if let (Verdict::Intact, Some(met)) = (report.status, &end.met) {
        report.verified = Some(Verified {
            log_id: log_id.to_string(),
            size: met.frontier.size().0,
            frontier: met.frontier.hashes().iter().map(Hash::to_hex).collect(),
            last_leaf: met.last_leaf.to_hex(),
            kept: met.kept,
            keys: report.history.as_ref().and_then(|history| keys_until(history, met.frontier.size())),
        });
    }
    Ok(())
}

/// What the entries below a size say of the keys.
fn keys_until(history: &KeyHistory, size: TreeSize) -> Option<(u64, KeysRecord)> {
    let past = history.until(size);
    let newest = past.newest().0;
    (newest > 0).then(|| (newest, past.record(String::new())))
}

fn head_age(head: Option<&(HeadRecord, TreeHead)>, last: Option<&str>, now: Micros) -> Option<u64> {
    let then = head.map(|(record, _)| record.signed_at).or(last.and_then(Micros::parse_exact))?;
    u64::try_from(now.0.saturating_sub(then.0) / 1_000_000).ok().or(Some(0))
}
