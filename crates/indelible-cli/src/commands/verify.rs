//! `verify`: the verdict, and what an auditor keeps of it.
//!
//! With the keys at hand everything is checked, against the head that the writer keeps beside them. With `--public-key` nothing secret is
//! needed; then the newest head that was verified before is kept in the auditor's own head store, so that a later rollback shows.

use std::{path::Path, process::ExitCode};

use indelible::{
    KeyHistory, KeyRing,
    log::get,
    verify::{Finding, Kind, Macs, Report, Request, Verdict, Verified, VerifyError, verify},
};
use indelible_core::{
    entry::{KeptHead, WireReceipt},
    head::{HeadRecord, none_kept},
    mac::LogId,
    note::VerifyingKey,
    tree::{LeafIndex, leaf_hash},
};
use indelible_keys::KeyError;
use indelible_store::{
    disk::{OsDisk, read_small, replace_small},
    heads::{HeadStore as _, HeadStoreError},
    store::{Reader, StoreError},
};

use crate::{
    cli::VerifyArgs,
    exit,
    failure::Failure,
    output::{self, BAD, GOOD, Out, WARN},
    places::{self, Heads, Places, auditors_heads, keys_of_another_log, known_head, now, writers_heads},
};

/// A note or a receipt file is read whole: a note of a hundred signatures stays far below this.
const MAX_NOTE_FILE_BYTES: u64 = 1 << 20;

/// An Ed25519 key with its name is about half as long, one of RSA over 500.
const MAX_KEY_SHOWN: usize = 220;
/// Where the last verification ended: a frontier of at most 53 hashes, and what the log says of its keys.
const MAX_VERIFIED_BYTES: usize = 1 << 20;
/// No log comes to a higher number: what JSON can say exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// The harmless cause of a rollback, which a verification cannot tell from the other one.
const COPY_LEFT_BEHIND: &str =
    "  A copy made before that newer head reads like this too: if this is one, it proves nothing against the log that
  went on. `indelible copy` brings it up to date, from that log.";

/// Verifies the log and ends with its verdict.
pub(crate) fn run(places: &Places, json: bool, args: &VerifyArgs) -> Result<ExitCode, Failure> {
    // A marker that is gone or damaged is a finding, not the end.
    let reader = places.driver()?.reader_of_entry_zero().map_err(|error| gone(places, args, error))?;
    let rests_on = RestsOn::new(places, &*reader, args.public_key.as_deref())?;
    let origin = rests_on.key()?.name().to_owned();
    if let Some(wanted) = args.origin.as_ref().filter(|wanted| **wanted != origin) {
        let text = format!("the log is `{origin}`, not `{wanted}`: nothing was verified");
        return Err(Failure::text(output::safe(&text).into_owned()));
    }
    let from_path = args.from_last.then(|| rests_on.heads.verified_path(&origin));
    let note_before = note_now(&*reader)?;
    let bar = output::progress("verifying", 1);
    let progress = |done: u64, total: u64| {
        bar.set_length(total.max(done));
        bar.set_position(done);
    };
    let request = Request {
        ring: rests_on.ring.as_ref(),
        heads: Some(&rests_on.heads.store),
        head_required: rests_on.ring.is_some(),
        checkpoint: args.checkpoint.as_deref().map(read_note).transpose()?,
        receipts: args.receipts.as_deref().map(read_receipts).transpose()?.unwrap_or_default(),
        from: from_path.as_deref().map(|path| read_verified(path, &*reader)).transpose()?.flatten(),
        strict: args.strict,
        all_macs: args.all_macs,
        progress: Some(&progress),
        keys: rests_on.keys.clone(),
        ..Request::new(rests_on.key()?.clone(), now())
    };
    let report = verify(&*reader, &request).map_err(|error| match (&error, &rests_on.ring) {
        (VerifyError::HeadMissing { .. }, Some(ring)) => {
            keys_of_another_log(&*reader, ring).unwrap_or_else(|| error.into())
        }
        _ => error.into(),
    })?;
    bar.finish_and_clear();
    if report.status == Verdict::Intact {
        remember(&*reader, &rests_on, &report, note_before, from_path.as_deref());
    }
    // The verdict is the exit code, also where nobody reads on to the end.
    match tell(&report, json) {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(ExitCode::from(exit::of(report.status))),
        Err(failure) => Err(failure),
    }
}

/// What a verification rests on: the writer's keys, or the public key alone.
struct RestsOn {
    keys: Vec<VerifyingKey>,
    ring: Option<KeyRing>,
    heads: Heads,
}

impl RestsOn {
    fn new(places: &Places, reader: &dyn Reader, public_key: Option<&str>) -> Result<Self, Failure> {
        if let Some(text) = public_key {
            let key = VerifyingKey::parse(text.trim())?;
            let heads = auditors_heads(&key)?;
            return Ok(Self { keys: vec![key], ring: None, heads });
        }
        let ring = match places.ring_to_verify() {
            Err(Failure::Error(error)) if is_missing(&*error) => {
                return Err(Failure::text(format!(
                    "{error}; or give the log's public key, with which no keys are needed: --public-key VKEY"
                )));
            }
            ring => ring?,
        };
        // Those of all times: which of them signs this log now, the log says.
        let keys = ring.public_keys(&reader.info().origin)?;
        let heads = writers_heads(&ring);
        Ok(Self { keys, ring: Some(ring), heads })
    }

    fn key(&self) -> Result<&VerifyingKey, Failure> {
        self.keys
            .first()
            .ok_or_else(|| Failure::text("the ring has no checkpoint key: `indelible keys generate` makes one"))
    }
}

fn is_missing(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(KeyError::Missing { .. }))
}

/// A log that is named and is not there may be one that the head store knows: then that is evidence.
fn gone(places: &Places, args: &VerifyArgs, error: StoreError) -> Failure {
    let known = || -> Option<String> {
        let origin = places.log().ok()?.origin().or(args.origin.as_deref())?;
        let heads = match args.public_key.as_deref() {
            Some(text) => auditors_heads(&VerifyingKey::parse(text.trim()).ok()?).ok()?,
            None => writers_heads(&places.ring_to_verify().ok()?),
        };
        known_head(&heads.store, origin)
    };
    match known() {
        Some(known) if matches!(error, StoreError::NotALog { .. }) => {
            Failure::Evidence(exit::TAMPERED, format!("{known}: {error}").into())
        }
        _ => error.into(),
    }
}

/// The published checkpoint. Where it cannot be one, the verification tells.
fn note_now(reader: &dyn Reader) -> Result<Option<Vec<u8>>, StoreError> {
    match reader.checkpoint() {
        Err(StoreError::Damaged { .. }) => Ok(None),
        note => note,
    }
}

/// Reads a small file whole.
pub(crate) fn read_note(path: &Path) -> Result<Vec<u8>, Failure> {
    let meta = std::fs::metadata(path).map_err(Failure::io("read", path))?;
    if meta.len() > MAX_NOTE_FILE_BYTES {
        let place = path.display();
        return Err(Failure::text(format!("`{place}` has {} bytes: that is no checkpoint", meta.len())));
    }
    let note = std::fs::read(path).map_err(Failure::io("read", path))?;
    if note.trim_ascii().is_empty() {
        return Err(Failure::text(format!("`{}` is empty: that is no checkpoint", path.display())));
    }
    Ok(note)
}

pub(crate) fn read_receipts(path: &Path) -> Result<Vec<WireReceipt>, Failure> {
    let text = std::fs::read(path).map_err(Failure::io("read", path))?;
    let mut receipts = Vec::new();
    for (at, line) in text.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        receipts.push(serde_json::from_slice(line).map_err(|error| {
            Failure::text(format!("`{}`, line {}: this is no receipt: {error}", path.display(), at + 1))
        })?);
    }
    if receipts.is_empty() {
        let place = path.display();
        let text = format!(
            "`{place}` holds no receipts, so there is nothing to compare: was the append refused whose output this is?"
        );
        return Err(Failure::text(text));
    }
    Ok(receipts)
}

/// Where the last verification ended. Where its last entry no longer stands in its place, there is nothing to go on from, and
/// everything is verified.
fn read_verified(path: &Path, reader: &dyn Reader) -> Result<Option<Verified>, Failure> {
    let unread = |error: &dyn std::fmt::Display| {
        let place = path.display();
        Failure::text(format!("`{place}` cannot be read ({error}): verify without --from-last, or remove that file"))
    };
    let bytes = read_small(&OsDisk, path, MAX_VERIFIED_BYTES).map_err(|error| unread(&error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let verified: Verified = serde_json::from_slice(&bytes).map_err(|error| unread(&error))?;
    if verified.size > MAX_NUMBER || verified.kept > MAX_NUMBER {
        return Err(unread(&"it has a number that no log comes to"));
    }
    let last = verified.size.checked_sub(1).map(LeafIndex);
    let stored = last.and_then(|last| get(reader, last).ok());
    let is_there = stored.is_some_and(|stored| leaf_hash(&stored.entry).to_hex() == verified.last_leaf);
    Ok(is_there.then_some(verified))
}

/// Keeps what the next verification goes by. Where that fails it is said; the verdict stands.
fn remember(reader: &dyn Reader, on: &RestsOn, report: &Report, before: Option<Vec<u8>>, from: Option<&Path>) {
    if on.ring.is_none()
        && let Err(failure) = advance(reader, on, report, before)
    {
        warn("the auditor's head was not stored, so a later rollback to before it would not show", &failure);
    }
    if let (Some(path), Some(verified)) = (from, &report.verified)
        && let Err(failure) = write_verified(path, verified)
    {
        warn("the next --from-last will not start from here", &failure);
    }
}

fn warn(what: &str, failure: &Failure) {
    let why = failure.message().unwrap_or_default();
    output::note(&format!("{WARN}warning:{WARN:#} {what}: {}", output::safe(&why)));
}

fn write_verified(path: &Path, verified: &Verified) -> Result<(), Failure> {
    let mut bytes = serde_json::to_vec(verified)?;
    bytes.push(b'\n');
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Failure::io("create", dir))?;
    }
    replace_small(&*places::disk(), path, &bytes).map_err(Failure::io("write", path))
}

/// Moves the auditor's head to the checkpoint that was verified.
fn advance(reader: &dyn Reader, on: &RestsOn, report: &Report, before: Option<Vec<u8>>) -> Result<(), Failure> {
    let (Some(head), Some(history)) = (report.head, &report.history) else { return Ok(()) };
    // A live writer may publish in between: only the note that was verified is stored.
    let of_verified = |note: Vec<u8>| {
        let checkpoint = history.open(&note).ok().filter(|checkpoint| checkpoint.head == head)?;
        Some((String::from_utf8(note).ok()?, checkpoint))
    };
    let after = || reader.checkpoint().ok().flatten();
    let Some((note, checkpoint)) = before.and_then(of_verified).or_else(|| after().and_then(of_verified)) else {
        return Ok(());
    };
    let origin = &checkpoint.origin;
    let known = on.heads.store.load(origin)?;
    let known_size = known.as_ref().and_then(|known| history.open(known.checkpoint.as_bytes()).ok());
    if known_size.is_some_and(|known| known.head.size >= head.size) {
        return Ok(());
    }
    let log_id = report.verified.as_ref().and_then(|verified| LogId::from_hex(&verified.log_id));
    let kept = match report.verified.as_ref().map_or(0, |verified| verified.kept) {
        0 => known.as_ref().map_or_else(none_kept, |known| known.kept),
        number => kept_head(reader, history, number)?,
    };
    let log_id = log_id.unwrap_or(reader.info().log_id);
    let keys = Some(history.until(head.size).newest()).filter(|newest| newest.0 > 0);
    let record = HeadRecord { checkpoint: note, frozen: None, keys, kept, log_id, signed_at: now() };
    match on.heads.store.swap(origin, known.as_ref(), &record) {
        // Another verification was quicker; its head is as good as ours.
        Err(HeadStoreError::Conflict { .. }) => Ok(()),
        result => Ok(result?),
    }
}

fn kept_head(reader: &dyn Reader, history: &KeyHistory, number: u64) -> Result<KeptHead, Failure> {
    let Some(note) = reader.kept(number)? else { return Ok(none_kept()) };
    let head = history.open(&note)?.head;
    Ok(KeptHead { number, root: head.root, size: head.size })
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        let mut out = Out::lock();
        out.json(report)?;
        return out.flush();
    }
    output::text(&describe(report))
}

/// The report for people: the verdict first, then what is wrong and where, then what is on record.
fn describe(report: &Report) -> String {
    let mut lines = vec![verdict_line(report)];
    lines.extend(report.findings.iter().map(finding_line));
    if report.more_findings > 0 {
        lines.push(format!("  … and {} more", report.more_findings));
    }
    if may_be_left_behind(report) {
        lines.push(COPY_LEFT_BEHIND.to_owned());
    }
    for remark in &report.remarks {
        let place = remark.index.map_or(String::new(), |index| format!(", entry {index}"));
        lines.push(format!("  on record: {}{place}: {}", remark.kind, output::safe(&remark.detail)));
    }
    if report.unanchored > 0 {
        let are = if report.unanchored == 1 { "is" } else { "are" };
        let entries = output::entries(report.unanchored);
        lines.push(format!("  {entries} {are} newer than the newest checkpoint: no checkpoint vouches for that yet"));
    }
    lines.push(format!("  tree size  {}\n  root       {}", report.tree_size, report.root));
    lines.push(format!("  kept checkpoints verified  {}", report.checkpoints));
    if report.receipts_checked > 0 {
        lines.push(format!("  receipts checked           {}", report.receipts_checked));
    }
    if report.from > 0 {
        lines.push(format!("  read from entry {} on; what stands before was verified earlier", report.from));
    }
    let named = report.keys.iter().filter(|key| !key.is_empty());
    lines.extend(named.map(|key| format!("  key        {}", output::safe(&shortened(key)))));
    lines.push(format!("  {} in {:.2} s", output::entries(report.entries_verified), report.seconds));
    lines.join("\n")
}

/// Whether the log may be an older copy: not where another log, or nothing at all, stands in its place.
fn may_be_left_behind(report: &Report) -> bool {
    let mut rolled = report.findings.iter().filter(|finding| finding.kind == Kind::RolledBack).peekable();
    rolled.peek().is_some() && rolled.all(|finding| finding.index != Some(0))
}

/// A key for people: those that are longer than a line are named, as `keys history` does; `--json` has them whole.
fn shortened(key: &str) -> String {
    match VerifyingKey::parse(key) {
        Ok(parsed) if key.len() > MAX_KEY_SHOWN => format!("{} ({})", parsed.id(), parsed.algorithm()),
        _ => key.to_owned(),
    }
}

fn verdict_line(report: &Report) -> String {
    let (style, origin) = (if report.status == Verdict::Intact { GOOD } else { BAD }, output::safe(&report.origin));
    let name = report.status.as_str();
    if report.status == Verdict::Intact {
        let age = report.head_age_seconds.map_or(String::new(), |age| format!(" that is {} old", duration(age)));
        let macs = match report.macs {
            Macs::Checked => "all entry signatures checked",
            Macs::Partly => "entry signatures checked as far as the ring has the keys",
            Macs::NotChecked => "entry signatures not checked (that takes the keys)",
        };
        let entries = output::entries(report.tree_size);
        return format!("{style}{name}{style:#}: `{origin}` to {entries}, under a checkpoint{age}; {macs}");
    }
    let count = report.findings.len() as u64 + report.more_findings;
    let first = report.findings.iter().find_map(|finding| finding.index);
    let first = first.map_or(String::new(), |index| format!(", the first at entry {index}"));
    let findings = output::counted(count, "finding", "findings");
    format!("{style}{name}{style:#}: `{origin}`, {findings}{first}")
}

fn finding_line(finding: &Finding) -> String {
    let kind = serde_json::to_value(finding.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default().replace('_', " ");
    let mut line = format!("  {BAD}{kind}{BAD:#}");
    match (finding.index, finding.last) {
        (Some(first), Some(last)) if last != first => line.push_str(&format!(", entries {first} to {last}")),
        (Some(index), _) => line.push_str(&format!(", entry {index}")),
        (None, _) => {}
    }
    if let Some(id) = &finding.id {
        line.push_str(&format!(", id `{}`", output::safe(id)));
    }
    if let Some(time) = &finding.recorded_at {
        line.push_str(&format!(", recorded {}", output::safe(time)));
    }
    format!("{line}: {}", output::safe(&finding.detail))
}

/// A duration in the unit that people would use.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
