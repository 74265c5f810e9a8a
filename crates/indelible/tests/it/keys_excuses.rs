//! Who may excuse an absence, and what follows from signature lines: they lie outside of what is signed, so who has the files takes lines away and adds his own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indelible::{
    Log, LogError, Options,
    clock::{Clock as _, SystemClock},
    error::chain,
    manage::explain,
    verify::{Kind, Report, Request, Verdict, VerifyError, known_keys},
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, Excuse},
    entry::BodyKind,
    history::{Change, KeyHistory},
    note::{Algorithm, Note, NoteSigner, Require, VerifyingKey},
    tree::{Frontier, LeafIndex, TreeHead, TreeSize},
};
use indelible_keys::{NewRing, Purpose};
use indelible_store::{disk::OsDisk, heads::HeadStore as _};
use indelible_store_file::Settings;

use crate::{
    keys::{publicly, rotate},
    support::forge::{appended, leaf_of, parsed, replace},
    world::{ORIGIN, World, check, events, options, overwrite, receipts, small_segments},
};

const BESIDE: Algorithm = Algorithm::EcdsaP256Sha256;

/// A closed log in several files whose keys may have changed in the middle: the key beside the Ed25519 key of its first set is `beside`.
struct Files {
    world: World,
    lines: Vec<Vec<u8>>,
    /// Index of the record in the middle.
    change: u64,
    ed: VerifyingKey,
    beside: VerifyingKey,
}

impl Files {
    /// `change` says what happens to the ring between events 60 and 61.
    fn of(require: Require, change: impl FnOnce(&World, &Log)) -> Self {
        let world = World::with_ring(&NewRing { checkpoint: vec![BESIDE], require, ..NewRing::default() });
        let keys = world.ring().public_keys(ORIGIN).unwrap();
        let by = |algorithm| keys.iter().find(|key| key.algorithm() == algorithm).unwrap().clone();
        let (ed, beside) = (by(Algorithm::Ed25519), by(BESIDE));
        let log = world.create(small_segments());
        record(&log, 0..60);
        log.keep_checkpoint().unwrap();
        change(&world, &log);
        log.adopt_keys("a test").unwrap();
        let change = log.key_history().newest().0;
        record(&log, 60..75);
        log.keep_checkpoint().unwrap();
        record(&log, 75..160);
        log.close().unwrap();
        let line = |index| {
            let bytes = log.read(LeafIndex(index), 0).unwrap().bytes;
            bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec()
        };
        let lines = (0..log.size().unwrap()).map(line).collect();
        drop(log);
        Self { world, lines, change, ed, beside }
    }

    /// The key beside is retired.
    fn retired(require: Require) -> Self {
        Self::of(require, |world, _| retire(world))
    }

    /// Takes away the file that an entry is in, which is neither the first nor the last: its first index, and that of the next file.
    #[track_caller]
    fn lose(&self, index: u64) -> (u64, u64) {
        let files = segments(&self.world);
        let at = files.iter().rposition(|(first, _)| *first <= index).unwrap();
        assert!(at > 0 && at + 1 < files.len(), "{index} in {files:?}");
        fs::remove_file(&files[at].1).unwrap();
        (files[at].0, files[at + 1].0)
    }

    /// What the thief of a checkpoint key and of the entry key puts at the end.
    fn append(&mut self, control: Control, signer: &dyn NoteSigner) {
        let log_id = self.world.log_id();
        let control = control.authorise(log_id, ORIGIN, LeafIndex(self.lines.len() as u64), signer).unwrap();
        self.append_line(BodyKind::Control, &control.canonical().unwrap());
    }

    /// The same of any line.
    fn append_line(&mut self, kind: BodyKind, body: &[u8]) {
        let log_id = self.world.log_id();
        let mut ids: Vec<String> = self.lines.iter().map(|line| parsed(line).entry.key.to_owned()).collect();
        ids.dedup();
        let ring = self.world.ring();
        let key = ring.entry(ids.last().unwrap()).unwrap().key(log_id, ORIGIN, ids.len() as u64);
        let line = appended(&self.lines, &key, kind, body);
        let (_, last) = segments(&self.world).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        bytes.extend_from_slice(&line);
        overwrite(&last, &bytes);
        self.lines.push(line);
    }

    fn excuse(&self, (first, behind): (u64, u64)) -> Control {
        let range = usize::try_from(first).unwrap()..usize::try_from(behind).unwrap();
        Control::Explained(Excuse {
            authorisation: None,
            first,
            last: behind - 1,
            leaf_root: head_over(&self.lines[range]).root.to_hex(),
            reason: "a disk failed".to_owned(),
        })
    }

    /// Under each checkpoint, the lines of the first set stay, and the thief's own comes beside them.
    fn relabel(&self, thief: &dyn NoteSigner) {
        let of_first = [&self.ed, &self.beside];
        for path in self.notes() {
            let text = fs::read_to_string(&path).unwrap();
            let note = Note::parse(text.as_bytes()).unwrap();
            let (body, lines) = text.split_once("\n\n").unwrap();
            let named = note.signatures().iter().map(|line| line.key_hash).zip(lines.lines());
            let kept: Vec<_> = named.filter(|(hash, _)| of_first.iter().any(|key| key.key_hash() == *hash)).collect();
            let mut lines: Vec<String> = kept.iter().map(|(_, line)| format!("{line}\n")).collect();
            if !kept.iter().any(|(hash, _)| *hash == self.beside.key_hash()) {
                let head = Checkpoint::parse(note.text()).unwrap().head;
                let own = Checkpoint::new(ORIGIN, head).sign(&[thief]).unwrap().to_string();
                lines.push(own.split_once("\n\n").unwrap().1.to_owned());
            }
            overwrite(&path, format!("{body}\n\n{}", lines.concat()).as_bytes());
        }
    }

    fn notes(&self) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path());
        kept.chain([self.world.log_path().join("checkpoint")]).collect()
    }

    fn auditor(&self) -> Report {
        publicly(&self.world, &self.ed)
    }

    fn signer(&self, key: &VerifyingKey) -> impl NoteSigner + use<> {
        self.world.ring().signers_for(ORIGIN, std::slice::from_ref(key)).unwrap().remove(0)
    }
}

/// In small batches: none of them spans two files.
fn record(log: &Log, range: std::ops::Range<u64>) {
    for first in range.clone().step_by(5) {
        receipts(log.append_all(&events(first..range.end.min(first + 5))));
    }
}

fn retire(world: &World) {
    let ring = world.ring();
    let id = ring.keys().find(|key| key.algorithm.name() == BESIDE.name()).unwrap().id.clone();
    ring.retire(&id, SystemClock::default().now()).unwrap();
}

fn replace_beside(world: &World) {
    let ring = world.ring();
    let id = ring.keys().find(|key| key.algorithm.name() == BESIDE.name()).unwrap().id.clone();
    ring.compromise(&id, "stolen", SystemClock::default().now()).unwrap();
}

fn segments(world: &World) -> Vec<(u64, PathBuf)> {
    let first = |path: &Path| path.file_name()?.to_str()?.split('.').next()?.parse().ok();
    let files = fs::read_dir(world.log_path().join("segments")).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files.filter_map(|path| Some((first(&path)?, path))).collect();
    segments.sort();
    segments
}

fn head_over(lines: &[Vec<u8>]) -> TreeHead {
    let mut frontier = Frontier::new();
    lines.iter().for_each(|line| frontier.push(leaf_of(line)));
    TreeHead { size: TreeSize(lines.len() as u64), root: frontier.root() }
}

#[track_caller]
fn is_gap(report: &Report) {
    check(report, Verdict::Gap, Some(Kind::Absent), None);
    let tampered = report.findings.iter().filter(|finding| finding.kind.verdict() == Verdict::Tampered);
    assert_eq!(tampered.count(), 0, "{:#?}", report.findings);
}

#[test]
fn a_key_of_a_set_that_was_replaced_excuses_nothing() {
    let mut files = Files::of(Require::All, |world, _| replace_beside(world));
    check(&files.auditor(), Verdict::Intact, None, None);
    let thief = files.signer(&files.beside);
    let gone = files.lose(files.change);
    files.append(files.excuse(gone), &thief);
    files.relabel(&thief);
    is_gap(&files.auditor());
    // The head record is by a key that these lines say never came in.
    check(&files.world.verify(), Verdict::Tampered, Some(Kind::Absent), None);
}

/// A checkpoint over his record would be word enough for an auditor who never saw which key was withdrawn.
#[test]
fn no_writer_signs_over_the_record_of_a_key_that_was_replaced() {
    for thief_of_all in [false, true] {
        let mut files = Files::of(Require::All, |world, _| replace_beside(world));
        let thief = if thief_of_all { &files.ed } else { &files.beside };
        let signer = files.signer(thief);
        let names = segments(&files.world);
        let at = names.iter().rposition(|(first, _)| *first <= files.change).unwrap();
        files.append(files.excuse((names[at].0, names[at + 1].0)), &signer);
        let (end, head) = (fs::read(&names.last().unwrap().1).unwrap(), files.world.heads().load(ORIGIN).unwrap());
        let opened = Log::open(&files.world.log_path(), files.world.ring(), options());
        let Err(refused) = opened else {
            // By a key in force it is a record like any.
            assert!(thief_of_all);
            continue;
        };
        let said = chain(&refused);
        assert!(!thief_of_all && said.contains("none of the checkpoint keys in force"), "{said}");
        assert_eq!(fs::read(&names.last().unwrap().1).unwrap(), end);
        assert_eq!(files.world.heads().load(ORIGIN).unwrap(), head);
        check(&files.world.verify(), Verdict::Tampered, Some(Kind::UnauthorisedControl), None);
    }
}

#[test]
fn a_retired_key_of_a_set_excuses_nothing() {
    for require in [Require::All, Require::AtLeast(1)] {
        let mut files = Files::retired(require);
        check(&files.world.verify(), Verdict::Intact, None, None);
        check(&files.auditor(), Verdict::Intact, None, None);
        let thief = files.signer(&files.beside);
        let gone = files.lose(files.change);
        files.append(files.excuse(gone), &thief);
        if require == Require::All {
            files.relabel(&thief);
        }
        is_gap(&files.auditor());
        is_gap(&files.world.verify());
        // Nor with a checkpoint of his own, where one signature seems to be enough.
        let note = Checkpoint::new(ORIGIN, head_over(&files.lines)).sign(&[&thief]).unwrap().to_string();
        overwrite(&files.world.log_path().join("checkpoint"), note.as_bytes());
        for report in [files.auditor(), files.world.verify()] {
            assert!(!matches!(report.status, Verdict::Intact | Verdict::Damaged), "{:#?}", report.findings);
        }
    }
}

#[test]
fn a_record_behind_the_one_that_the_head_record_names_tells_nothing_of_it() {
    let mut files = Files::retired(Require::AtLeast(1));
    let thief = files.signer(&files.beside);
    let gone = files.lose(files.change);
    let Ok(Control::LogCreated(created)) = Control::parse(parsed(&files.lines[0]).entry.body) else {
        panic!("no entry 0")
    };
    let history = KeyHistory::of_created(&created).unwrap();
    let change = Change { reason: "nothing new".to_owned(), ..Change::default() };
    let record = history.changed(LeafIndex(files.lines.len() as u64), change).unwrap();
    files.append(Control::Keys(record), &thief);
    files.append(files.excuse(gone), &thief);
    let report = files.world.verify();
    is_gap(&report);
    assert!(report.findings.iter().any(|found| found.kind == Kind::KeyMissing), "{:#?}", report.findings);
    is_gap(&files.auditor());
}

/// One of a set may sign alone, and is withdrawn: its thief makes a history of his own behind a change that the key of who checks has signed.
#[test]
fn a_change_of_keys_that_the_trusted_key_did_not_sign_while_it_was_in_force_leads_nowhere() {
    let require = Require::AtLeast(1);
    let world = World::with_ring(&NewRing { checkpoint: vec![BESIDE], require, ..NewRing::default() });
    let keys = world.ring().public_keys(ORIGIN).unwrap();
    let ed = keys.iter().find(|key| key.algorithm() == Algorithm::Ed25519).unwrap();
    let log = world.create(options());
    record(&log, 0..5);
    for round in 1..3 {
        let ring = world.ring();
        let active = |key: &&indelible_keys::KeyInfo| {
            key.algorithm.name() == BESIDE.name() && key.state == indelible_keys::State::Active
        };
        let beside = ring.keys().find(active).unwrap().id.clone();
        ring.compromise(&beside, "stolen", SystemClock::default().now()).unwrap();
        log.adopt_keys("a test").unwrap();
        record(&log, 5 * round..5 * round + 5);
    }
    log.checkpoint().unwrap();
    let bundle = log.prove(LeafIndex(3)).unwrap();
    log.close().unwrap();
    assert_eq!(bundle.keys.len(), 2);
    bundle.check(ed).unwrap();
    for at in 0..2 {
        let mut forged = bundle.clone();
        let link = &mut forged.keys[at].proof;
        let note = Note::parse(link.checkpoint.as_bytes()).unwrap();
        let (body, lines) = link.checkpoint.split_once("\n\n").unwrap();
        let named = note.signatures().iter().map(|line| line.key_hash).zip(lines.lines());
        let others: String =
            named.filter(|(hash, _)| *hash != ed.key_hash()).map(|(_, line)| format!("{line}\n")).collect();
        assert!(!others.is_empty());
        link.checkpoint = format!("{body}\n\n{others}");
        assert!(forged.check(ed).is_err(), "link {at}");
    }
}

#[test]
fn what_an_operator_explains_is_explained_to_everybody() {
    // The keys are replaced before, and once more after it.
    let files = Files::of(Require::All, |world, _| drop(rotate(world, Purpose::CheckpointSigning)));
    let (first, behind) = files.lose(120);
    files.world.reopen_and(|log| explain(log, first, behind - 1, "a disk failed").unwrap());
    let told = |report: &Report| {
        check(report, Verdict::Intact, None, None);
        assert!(report.remarks.iter().any(|remark| remark.kind == "explained"), "{:#?}", report.remarks);
    };
    let everybody = |files: &Files| {
        told(&files.world.verify());
        files.world.ring().public_keys(ORIGIN).unwrap().iter().for_each(|key| told(&publicly(&files.world, key)));
    };
    everybody(&files);
    rotate(&files.world, Purpose::CheckpointSigning);
    files.world.reopen_and(|log| receipts(log.append_all(&events(200..210))));
    everybody(&files);
}

/// The record is the first that stands behind what is absent, and its file begins with it.
#[test]
fn a_change_of_keys_right_behind_an_absent_file_counts() {
    use Purpose::{CheckpointSigning, EntrySigning};
    for changes in [
        &[EntrySigning][..],
        &[EntrySigning, EntrySigning],
        &[CheckpointSigning, EntrySigning],
        &[CheckpointSigning; 2],
    ] {
        let world = World::new();
        // Each batch is a file of its own.
        let settings = Settings { immutable: false, segment_bytes: 1, ..Settings::default() };
        let log = world.create(Options { settings, ..options() });
        record(&log, 0..5);
        log.keep_checkpoint().unwrap();
        record(&log, 5..10);
        for (at, purpose) in (0..).zip(changes) {
            rotate(&world, *purpose);
            log.adopt_keys("a test").unwrap();
            record(&log, 10 + 5 * at..15 + 5 * at);
        }
        let history = log.key_history();
        let change = match changes[0] {
            EntrySigning => history.entry_keys()[1].first,
            _ => history.sets()[1].first,
        };
        log.close().unwrap();
        drop(log);
        let files = segments(&world);
        let at = files.iter().position(|(first, _)| *first == change).unwrap();
        let (first, gone) = &files[at - 1];
        fs::remove_file(gone).unwrap();
        is_gap(&world.verify());
        let auditors = world.ring().public_keys(ORIGIN).unwrap();
        is_gap(&publicly(&world, &auditors[0]));
        world.reopen_and(|log| explain(log, *first, change - 1, "a disk failed").unwrap());
        check(&world.verify(), Verdict::Intact, None, None);
        auditors.iter().for_each(|key| check(&publicly(&world, key), Verdict::Intact, None, None));
    }
}

#[test]
fn a_record_that_no_checkpoint_covers_yet_excuses_nothing_yet() {
    let mut files = Files::of(Require::All, |_, _| ());
    let gone = files.lose(100);
    files.append(files.excuse(gone), &files.signer(&files.ed));
    let report = files.world.verify();
    is_gap(&report);
    assert!(report.findings.iter().any(|found| found.detail.contains("no checkpoint that counts here")));
    is_gap(&files.auditor());
    let Ok(log) = Log::open(&files.world.log_path(), files.world.ring(), options()) else { panic!("it opens") };
    log.checkpoint().unwrap();
    log.close().unwrap();
    check(&files.world.verify(), Verdict::Intact, None, None);
    check(&files.auditor(), Verdict::Intact, None, None);
}

#[test]
fn a_checkpoint_by_the_keys_that_are_left_shows_a_log_that_was_put_back() {
    let files = Files::retired(Require::All);
    let given = fs::read(files.world.log_path().join("checkpoint")).unwrap();
    let with_it = |files: &Files| {
        let request =
            Request { checkpoint: Some(given.clone()), ..Request::new(files.ed.clone(), SystemClock::default().now()) };
        files.world.try_verify(&files.world.log_path(), |edited| *edited = request).unwrap()
    };
    check(&with_it(&files), Verdict::Intact, None, None);
    // The file with the retirement is lost: what was given tells of no other log.
    let lost = Files::retired(Require::All);
    let own = fs::read(lost.world.log_path().join("checkpoint")).unwrap();
    lost.lose(lost.change);
    let report = lost.world.try_verify(&lost.world.log_path(), |edited| {
        *edited = Request { checkpoint: Some(own), ..Request::new(lost.ed.clone(), SystemClock::default().now()) };
    });
    is_gap(&report.unwrap());
    // The log is put back to before it.
    let kept = files.world.log_path().join("checkpoints");
    let first = kept.join(format!("{:020}", 1));
    let end = Checkpoint::parse(Note::parse(&fs::read(&first).unwrap()).unwrap().text()).unwrap().head.size.0;
    assert!(end < files.change);
    fs::copy(&first, files.world.log_path().join("checkpoint")).unwrap();
    fs::read_dir(&kept)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| *path != first)
        .for_each(|path| fs::remove_file(path).unwrap());
    let mut left = end;
    for (first, path) in segments(&files.world) {
        if first >= end {
            fs::remove_file(path).unwrap();
        } else {
            left = first;
        }
    }
    let lines = &files.lines[usize::try_from(left).unwrap()..usize::try_from(end).unwrap()];
    for (first, path) in segments(&files.world) {
        if first == left {
            fs::remove_file(path).unwrap();
            fs::write(files.world.log_path().join(format!("segments/{left:020}.jsonl")), lines.concat()).unwrap();
        }
    }
    fs::remove_file(files.world.log_path().join("durable")).unwrap();
    check(&with_it(&files), Verdict::Tampered, Some(Kind::RolledBack), None);
}

/// What an auditor who verified before keeps, and goes on from.
fn seen(files: &Files) -> indelible::verify::Verified {
    files.auditor().verified.unwrap()
}

#[test]
fn a_retired_key_leaves_the_log_intact_for_auditors() {
    let mut before = None;
    let world = World::with_ring(&NewRing { checkpoint: vec![BESIDE], ..NewRing::default() });
    let log = world.create(options());
    let ed = world.ring().public_keys(ORIGIN).unwrap().into_iter().find(|key| key.algorithm() == Algorithm::Ed25519);
    let ed = ed.unwrap();
    receipts(log.append_all(&events(0..10)));
    log.checkpoint().unwrap();
    before.replace(publicly(&world, &ed).verified.unwrap());
    retire(&world);
    log.adopt_keys("a test").unwrap();
    receipts(log.append_all(&events(10..20)));
    log.keep_checkpoint().unwrap();
    receipts(log.append_all(&events(20..30)));
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
    check(&publicly(&world, &ed), Verdict::Intact, None, None);
    let on = world.try_verify(&world.log_path(), |request| {
        *request = Request { from: before.take(), ..Request::new(ed.clone(), SystemClock::default().now()) };
    });
    check(&on.unwrap(), Verdict::Intact, None, None);
}

/// One key of two is enough, and one of them is stolen: who was given the other sees it, also where an earlier verification is gone on from.
#[test]
fn whoever_goes_on_trusts_no_key_beside_the_one_that_was_given() {
    let mut files = Files::of(Require::AtLeast(1), |_, _| ());
    let before = seen(&files);
    let body = br#"{"action":"pay","actor":{"id":"thief","type":"user"},"id":"forged"}"#;
    files.append_line(BodyKind::Event, body);
    let by_both = Checkpoint::new(ORIGIN, head_over(&files.lines));
    let (path, thief) = (files.world.log_path().join("checkpoint"), files.signer(&files.beside));
    overwrite(&path, by_both.sign(&[&thief]).unwrap().to_string().as_bytes());
    check(&files.auditor(), Verdict::Unverifiable, None, None);
    let goes_on = || {
        let from = Some(before.clone());
        let on = files.world.try_verify(&files.world.log_path(), |request| {
            *request = Request { from, ..Request::new(files.ed.clone(), SystemClock::default().now()) };
        });
        on.unwrap()
    };
    check(&goes_on(), Verdict::Unverifiable, None, None);
    overwrite(&path, by_both.sign(&[&thief, &files.signer(&files.ed)]).unwrap().to_string().as_bytes());
    check(&goes_on(), Verdict::Damaged, Some(Kind::Derived), None);
}

/// The head record names the record that retired a key, and the file with it is gone: what that key signs behind it is believed by nobody who has the head record.
#[test]
fn a_key_whose_retirement_is_absent_makes_no_keys_known() {
    for require in [Require::All, Require::AtLeast(1)] {
        let files = Files::retired(require);
        let (heads, keys) = (files.world.heads(), files.world.ring().public_keys(ORIGIN).unwrap());
        let known = |path: &Path| {
            let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), path).unwrap();
            known_keys(&reader, heads.load(ORIGIN).unwrap().as_ref(), &keys)
        };
        assert!(known(&files.world.log_path()).is_ok());
        files.lose(files.change);
        let error = known(&files.world.log_path()).unwrap_err();
        assert!(matches!(error, LogError::KeysAbsent { index } if index == files.change), "{error:?}");
    }
}

#[test]
fn a_lost_file_with_the_retirement_of_a_key_is_a_gap() {
    let files = Files::retired(Require::All);
    let before = seen(&files);
    assert!(before.size > files.change);
    files.lose(files.change);
    is_gap(&files.world.verify());
    is_gap(&files.auditor());
    // A later record tells of it.
    let files = Files::of(Require::All, |world, log| {
        retire(world);
        log.adopt_keys("a test").unwrap();
        record(log, 300..380);
        rotate(world, Purpose::EntrySigning);
    });
    let retirement = files.world.reopen_and(|log| log.key_history().sets()[1].first);
    files.lose(retirement);
    is_gap(&files.world.verify());
    is_gap(&files.auditor());
}

#[test]
fn a_signature_that_is_due_and_was_taken_away_is_tampered() {
    let files = Files::of(Require::All, |_, _| ());
    let path = files.world.log_path().join("checkpoint");
    let head = Checkpoint::parse(Note::parse(&fs::read(&path).unwrap()).unwrap().text()).unwrap().head;
    let alone = Checkpoint::new(ORIGIN, head).sign(&[&files.signer(&files.ed)]).unwrap().to_string();
    overwrite(&path, alone.as_bytes());
    check(&files.auditor(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
    check(&files.world.verify(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
    // What was given in the same form is no evidence of anything.
    let given =
        files.world.try_verify(&files.world.log_path(), |request| request.checkpoint = Some(alone.into_bytes()));
    check(&given.unwrap(), Verdict::Tampered, Some(Kind::CheckpointSignature), None);
}

#[test]
fn a_key_that_is_put_beside_the_genuine_one_is_tampered_and_no_wrong_key() {
    let stranger = World::new().public_key().to_string();
    for (require, first) in [("all", false), ("all", true), ("1", false)] {
        let world = World::with_events(20, 2, options());
        let own = format!("\"{}\"", world.public_key());
        let both = if first { format!("\"{stranger}\",{own}") } else { format!("{own},\"{stranger}\"") };
        world.edit_line(0, |line| {
            let line = replace(line, &own, &both);
            let line = replace(&line, r#"["ed25519"]"#, r#"["ed25519","ed25519"]"#);
            replace(&line, r#""require":"all""#, &format!(r#""require":"{require}""#))
        });
        world.expect(Verdict::Tampered, None, None);
        check(&world.verify_public(), Verdict::Tampered, None, None);
    }
}

#[test]
fn a_head_record_that_no_key_of_the_ring_signed_is_an_error() {
    let world = World::with_events(20, 2, options());
    let other = World::with_events(20, 2, options());
    let outcome = world.try_verify(&world.log_path(), |request| request.heads = Some(other.heads()));
    assert!(matches!(outcome, Err(VerifyError::WrongKey { .. })), "{outcome:?}");
}

#[test]
fn the_first_file_is_lost_with_a_change_of_keys_in_it() {
    // The entry key; and the Ed25519 key beside another one, which neither was the first that signed nor stands alone.
    for (purpose, times) in [
        (Purpose::EntrySigning, 0),
        (Purpose::EntrySigning, 1),
        (Purpose::EntrySigning, 2),
        (Purpose::CheckpointSigning, 1),
    ] {
        let world = World::with_ring(&NewRing { checkpoint: vec![BESIDE], ..NewRing::default() });
        let log = world.create(small_segments());
        for _ in 0..times {
            receipts(log.append_all(&events(0..1)));
            let ring = world.ring();
            let of_purpose = ring.keys().filter(|key| key.purpose == purpose && key.algorithm.name() != BESIDE.name());
            let id = of_purpose.max_by_key(|key| key.version).unwrap().id.clone();
            ring.compromise(&id, "a test", SystemClock::default().now()).unwrap();
            log.adopt_keys("a test").unwrap();
        }
        record(&log, 1..100);
        log.close().unwrap();
        drop(log);
        let files = segments(&world);
        assert!(files.len() > 2 && files[0].0 == 0, "{files:?}");
        check(&world.verify(), Verdict::Intact, None, None);
        fs::remove_file(&files[0].1).unwrap();
        is_gap(&world.verify());
        // A wrong signature behind the newest checkpoint is told all the same.
        let (_, last) = files.last().unwrap();
        let text = fs::read_to_string(last).unwrap();
        overwrite(last, text.replacen("mara", "mary", 1).as_bytes());
        assert_eq!(world.verify().status, Verdict::Tampered);
    }
}
