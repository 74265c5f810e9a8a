//! The verification itself: reads in parallel, merges in order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use indelible_core::{
    control::Control,
    entry::{self, Line},
    head::HeadRecord,
    hex,
    mac::{EntryKey, LogId},
    note::VerifyingKey,
    time::Micros,
    tree::{Frontier, Hash, TreeHead, TreeSize, empty_root, leaf_hash},
};
use indelible_keys::KeyRing;
use indelible_store::{
    heads::{HeadStore, HeadStoreError},
    store::{LogInfo, Piece, Reader, Run, Scanned, StoreError},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    anchors::{Anchor, Anchors, Opened, Source, finding, open, wrong_type},
    merge::{Durable, Merger, Met, Setup, absent},
    piece::{Expect, SeenPiece, look},
    report::{Kind, Macs, Remark, Report, Verdict},
};
use crate::queue::lock;

/// What is to be verified against what.
#[derive(Clone)]
pub struct Request<'a> {
    /// The public key that the log's checkpoints must be signed with.
    pub key: VerifyingKey,
    /// The ring with the entry-signing key, where MACs are to be checked.
    pub ring: Option<&'a KeyRing>,
    /// Where the newest known head is.
    pub heads: Option<&'a dyn HeadStore>,
    /// Whether a missing head record is an error (the writer's own head store) or a first look (an auditor's).
    pub head_required: bool,
    /// A checkpoint that somebody kept, as a signed note.
    pub checkpoint: Option<Vec<u8>>,
    /// Receipts that somebody kept.
    pub receipts: Vec<entry::Receipt>,
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

impl Request<'_> {
    /// What a public key alone verifies, with all cores: no entry signatures, and no head that is known elsewhere.
    #[must_use]
    pub fn new(key: VerifyingKey, now: Micros) -> Self {
        Self {
            key,
            ring: None,
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
        let report = verify_once(store, request)?;
        // What was pruned behind a record that came after the scan had begun is on a record that this scan did not read.
        let absent = report.findings.iter().any(|finding| finding.kind == Kind::Absent);
        if !absent || pruned(store) == before {
            return Ok(report);
        }
    }
    verify_once(store, request)
}

/// How often a scan is made beside somebody who prunes.
const MAX_TRIES: u32 = 5;

/// What a store that several processes write says was pruned; nothing where it cannot say, which the scan tells.
fn pruned(store: &dyn Reader) -> Vec<(u64, u64)> {
    let shared = store.end().ok().flatten().is_some();
    let runs = shared.then(|| store.runs().ok()).flatten();
    runs.map(|runs| absent(&runs)).unwrap_or_default()
}

fn verify_once(store: &dyn Reader, request: &Request<'_>) -> Result<Report, VerifyError> {
    let begun = Instant::now();
    let held = store.has_writer()?;
    // The published checkpoint first: a live writer swaps the head before it publishes.
    let (published, unread) = match store.checkpoint() {
        Err(StoreError::Damaged { detail, .. }) => (None, Some(detail)),
        published => (published?, None),
    };
    let origin = request.key.name().to_owned();
    let head = load_head(request, &origin)?;
    let (zero, names) = first_words(store)?;
    if let Some(ring) = request.ring
        && let Some(detail) = foreign_ring(&names, ring)
    {
        return with_foreign_ring(store, request, detail);
    }
    let log_id = head.as_ref().map(|(record, _)| record.log_id).or(zero.as_ref().map(|zero| zero.log_id));
    let log_id = log_id.unwrap_or(store.info().log_id);
    let key_id = match request.ring {
        Some(ring) => ring.entry_key_id(),
        None => common_key(&names),
    };
    let macs = if request.ring.is_some() { Macs::Checked } else { Macs::NotChecked };
    let mut report = Report::new(origin.clone(), macs);
    report.keys = vec![request.key.to_string(), key_id.clone()];
    report.receipts_checked = request.receipts.len() as u64;
    report.from = request.from.as_ref().map_or(0, |from| from.size);
    if let Some(detail) = &unread {
        report.add(finding(Kind::CheckpointSignature, None, format!("the published checkpoint: {detail}")));
    }
    let fixed = known_heads(store, request, head.as_ref(), published.as_deref(), held, &mut report)?;
    let newest = fixed.iter().filter(|a| a.source != Source::Given).max_by_key(|a| a.head.size).copied();
    if let (Some((record, _)), Some(zero)) = (&head, &zero)
        && record.log_id != zero.log_id
        && zero.log_id == store.info().log_id
    {
        let detail = "another log stands in the place of the one that the head store knows".to_owned();
        report.add(finding(Kind::RolledBack, Some(0), detail));
    }
    let expect = Expect {
        key: request.ring.map(|ring| ring.entry_key(log_id, &origin, 1)),
        origin: origin.clone(),
        key_id,
        strict: request.strict,
    };
    let (frontier, last_leaf) = resume(request, log_id)?;
    let from = frontier.size().0;
    let kept_before = request.from.as_ref().map_or(0, |from| from.kept);
    let newest_kept = head.as_ref().filter(|_| request.head_required).map(|(record, _)| record.kept);
    // Before the scan: a writer that comes later makes more durable than the scan has seen.
    let durable = durable(store, held)?;
    if let (Some(newest), Some(durable)) = (newest, durable)
        && durable.size < newest.head.size.0
        && store.may_lag()?
    {
        return Err(VerifyError::Behind { has: durable.size, wants: newest.head.size.0 });
    }
    let vouched = fixed.iter().map(|anchor| anchor.head.size.0).max().unwrap_or(0);
    let setup = Setup {
        store,
        anchors: Anchors::new(store, request.key.clone(), fixed, newest_kept, (from, kept_before), held),
        keys: vec![request.key.clone()],
        origin: origin.clone(),
        log_id,
        macs: request.ring.is_some(),
        receipts: receipts(request, &origin, expect.key.as_ref())?,
        frontier,
        last_leaf,
        from,
        settled: durable.map_or(0, |durable| durable.size).max(newest.map_or(0, |anchor| anchor.head.size.0)),
        vouched,
    };
    // What the stored tree holds beyond the newest own checkpoint is provisional and proves nothing.
    let tree_size = match store.tree_size() {
        Err(error) if wrong_type(&error).is_some() => 0,
        size => size?.0.min(newest.map_or(0, |anchor| anchor.head.size.0)),
    };
    let total = newest.map_or(0, |anchor| anchor.head.size.0);
    let mut merger = Merger::new(setup, &mut report, tree_size);
    scan(store, request, &expect, total, &mut merger)?;
    let behind = published.as_deref().and_then(|note| match open(note, &request.key) {
        Opened::Good(head) => Some(head.size.0),
        _ => None,
    });
    merger.finish(durable, newest.map(|anchor| (anchor.head.size.0, anchor.source)), behind)?;
    let end = End {
        held,
        size: merger.expected,
        met: merger.met.take(),
        kept: merger.kept(),
        ids: merger.ids,
        time: merger.last_time.take(),
        seen: merger.entries_seen,
    };
    conclude(store, request, &mut report, &end, head.as_ref(), newest, log_id)?;
    report.order();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// What the merge ended with.
struct End {
    held: bool,
    size: u64,
    met: Option<Met>,
    kept: (u64, u64),
    ids: Option<[u64; 4]>,
    time: Option<String>,
    seen: u64,
}

fn load_head(request: &Request<'_>, origin: &str) -> Result<Option<(HeadRecord, TreeHead)>, VerifyError> {
    let Some(heads) = request.heads else { return Ok(None) };
    let Some(record) = heads.load(origin)? else {
        if request.head_required {
            return Err(VerifyError::HeadMissing { origin: origin.to_owned(), place: heads.place(origin) });
        }
        return Ok(None);
    };
    match open(record.checkpoint.as_bytes(), &request.key) {
        Opened::Good(head) => Ok(Some((record, head))),
        Opened::OtherKey(detail) | Opened::Bad(detail) => {
            let detail = format!("the head record `{}`: {detail}", heads.place(origin));
            Err(VerifyError::WrongKey { detail })
        }
    }
}

/// What entry 0 says, where it can be read at all.
struct Zero {
    log_id: LogId,
    key_id: String,
}

/// What the first run says of the log: entry 0's content, and the entry keys that it and the first two lines name. Nothing
/// derived is asked.
fn first_words(store: &dyn Reader) -> Result<(Option<Zero>, Vec<String>), VerifyError> {
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
        Some(Zero { log_id: LogId::from_hex(&created.log_id)?, key_id: created.entry_key.id })
    });
    let names: Vec<String> =
        zero.iter().map(|zero| zero.key_id.clone()).chain(lines.iter().map(|line| line.entry.key.to_owned())).collect();
    Ok((zero, names))
}

/// The entry key's id where no ring tells it: what two of them agree on.
fn common_key(names: &[String]) -> String {
    let twice = names.iter().find(|name| names.iter().filter(|other| other == name).count() > 1);
    twice.or(names.first()).cloned().unwrap_or_default()
}

/// Says so where the log names other entry keys only than the ring holds.
fn foreign_ring(names: &[String], ring: &KeyRing) -> Option<String> {
    let held = ring.entry_key_id();
    let wanted = names.first().filter(|_| !names.contains(&held))?;
    Some(format!("the log is signed with entry key `{wanted}`, the ring holds `{held}`"))
}

/// Either the ring is of another log, or the entries were rewritten with another key: the signed root tells, without the ring.
fn with_foreign_ring(store: &dyn Reader, request: &Request<'_>, detail: String) -> Result<Report, VerifyError> {
    let without = Request { ring: None, ..request.clone() };
    let report = verify(store, &without)?;
    if report.status == Verdict::Tampered { Ok(report) } else { Err(VerifyError::WrongKey { detail }) }
}

/// The heads that the tree must meet, besides the kept ones.
fn known_heads(
    store: &dyn Reader,
    request: &Request<'_>,
    head: Option<&(HeadRecord, TreeHead)>,
    published: Option<&[u8]>,
    held: bool,
    report: &mut Report,
) -> Result<Vec<Anchor>, VerifyError> {
    let mut fixed = Vec::new();
    if let Some((_, tree)) = head {
        fixed.push(Anchor { head: *tree, source: Source::HeadStore });
    }
    // Who has no head of the writer's has the newest kept checkpoint: `checkpoint` alone could be an old one put back.
    let mut newest_kept = None;
    if !request.head_required
        && let Some(number) = store.newest_kept()?
        && let Some(note) = kept(store, number)?
        && let Opened::Good(tree) = open(&note, &request.key)
    {
        newest_kept = Some(number);
        fixed.push(Anchor { head: tree, source: Source::NewestKept(number) });
    }
    match published.map(|note| open(note, &request.key)) {
        Some(Opened::Good(tree)) => {
            compare_heads(head.map(|(_, tree)| tree), &tree, held, request.head_required, report);
            fixed.push(Anchor { head: tree, source: Source::Published });
        }
        Some(Opened::OtherKey(detail)) if head.is_none() => return Err(VerifyError::WrongKey { detail }),
        Some(Opened::OtherKey(detail) | Opened::Bad(detail)) => {
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
    if let Some(note) = &request.checkpoint {
        match open(note, &request.key) {
            Opened::Good(tree) => fixed.push(Anchor { head: tree, source: Source::Given }),
            Opened::OtherKey(detail) => {
                return Err(VerifyError::WrongKey { detail: format!("the checkpoint that was given: {detail}") });
            }
            Opened::Bad(detail) => {
                return Err(VerifyError::Input(format!("the checkpoint that was given cannot be used: {detail}")));
            }
        }
    }
    Ok(fixed)
}

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
            "the head store is behind the published checkpoint ({} and {} entries): it was put back",
            known.size, published.size
        );
        report.add(finding(Kind::Derived, None, detail));
    }
}

/// A kept checkpoint, where it can be read; where it cannot, the scan tells.
fn kept(store: &dyn Reader, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    match store.kept(number) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        note => note,
    }
}

fn receipts(
    request: &Request<'_>,
    origin: &str,
    key: Option<&EntryKey>,
) -> Result<BTreeMap<u64, Vec<entry::Receipt>>, VerifyError> {
    let mut by_index: BTreeMap<u64, Vec<entry::Receipt>> = BTreeMap::new();
    for receipt in &request.receipts {
        if receipt.origin != origin {
            let text = format!("a receipt is of log `{}`, not of `{origin}`", receipt.origin);
            return Err(VerifyError::Input(text));
        }
        let leaf = Hash::from_hex(receipt.leaf_hash.as_bytes());
        let mac = hex::decode::<32>(receipt.mac.as_bytes());
        let signed = leaf.zip(mac).map(|(leaf, mac)| key.is_none_or(|key| key.verify(&leaf, &mac)));
        if signed != Some(true) {
            let text = format!(
                "the receipt for entry {} (`{}`) is not signed by this log: it says nothing about it",
                receipt.index, receipt.id
            );
            return Err(VerifyError::Input(text));
        }
        by_index.entry(receipt.index).or_default().push(receipt.clone());
    }
    Ok(by_index)
}

fn resume(request: &Request<'_>, log_id: LogId) -> Result<(Frontier, Hash), VerifyError> {
    let Some(from) = &request.from else { return Ok((Frontier::new(), leaf_hash(b""))) };
    if request.checkpoint.is_some() || !request.receipts.is_empty() {
        let text =
            "a checkpoint or receipts can only be compared with the whole log: verify without --from-last".to_owned();
        return Err(VerifyError::Input(text));
    }
    let unusable = || {
        VerifyError::Input(
            "the record of the last verification cannot be used: verify from the beginning, without --from-last"
                .to_owned(),
        )
    };
    if from.log_id != log_id.to_string() {
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
        report.remarks.push(Remark { kind: "no_head", index: None, detail });
    }
    let anchored = newest.map_or(TreeSize(0), |anchor| anchor.head.size);
    let scanned = Scanned {
        anchored,
        end: TreeSize(end.size),
        held: end.held,
        info: &info,
        // An auditor's head may be older than what the log has kept since.
        kept: head.filter(|_| request.head_required).map_or(end.kept.1, |(record, _)| record.kept.number),
        strict: request.strict && request.from.is_none(),
        ids: end.ids.filter(|_| request.strict && request.from.is_none()),
    };
    match store.check_derived(&scanned) {
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
        });
    }
    Ok(())
}

fn head_age(head: Option<&(HeadRecord, TreeHead)>, last: Option<&str>, now: Micros) -> Option<u64> {
    let then = head.map(|(record, _)| record.signed_at).or(last.and_then(Micros::parse_exact))?;
    u64::try_from(now.0.saturating_sub(then.0) / 1_000_000).ok().or(Some(0))
}
