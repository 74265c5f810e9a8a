//! Files that are lost or taken away, and what may have stood in them about the log's keys: where a later checkpoint shows that it was nothing, a record by keys that are
//! not in force is a forgery; where none shows it, it may be honest.

use std::{fs, path::PathBuf};

use indelible::{
    KeyRing, Log, LogError,
    clock::{Clock as _, SystemClock},
    compromise::resign,
    manage::explain,
    verify::{Kind, Macs, Report, Request, Verdict, VerifyError, verify},
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, Excuse},
    entry::BodyKind,
    history::Change,
    note::{Algorithm, KeySet, Note, NoteSigner, Require, VerifyingKey},
    tree::{Frontier, LeafIndex, TreeHead},
};
use indelible_keys::{KeyError, MasterSource, NewRing, Purpose};
use indelible_store::disk::OsDisk;

use crate::{
    keys::{publicly, rotate},
    keys_attacked::{cosign, segments, signed_by, stranger, withdrawn},
    support::forge::{appended, leaf_of, parsed},
    world::{ORIGIN, World, check, events, options, overwrite, receipts, small_segments},
};

/// A closed log in several files, with all of its lines.
struct Files {
    world: World,
    lines: Vec<Vec<u8>>,
}

impl Files {
    fn of(record: impl FnOnce(&World, &Log)) -> Self {
        Self::in_world(World::new(), record)
    }

    fn in_world(world: World, record: impl FnOnce(&World, &Log)) -> Self {
        let log = world.create(small_segments());
        record(&world, &log);
        log.close().unwrap();
        let line = |index| {
            let bytes = log.read(LeafIndex(index), 0).unwrap().bytes;
            bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec()
        };
        let lines = (0..log.size().unwrap()).map(line).collect();
        drop(log);
        Self { world, lines }
    }

    fn keys(&self) -> Vec<VerifyingKey> {
        self.world.ring().public_keys(ORIGIN).unwrap()
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

    /// What excuses that entries are absent, by one key, for the next entry.
    fn excuse(&self, (first, behind): (u64, u64), signer: &dyn NoteSigner) -> Control {
        let mut frontier = Frontier::new();
        let range = usize::try_from(first).unwrap()..usize::try_from(behind).unwrap();
        self.lines[range].iter().for_each(|line| frontier.push(leaf_of(line)));
        let excuse = Excuse {
            authorisation: None,
            first,
            last: behind - 1,
            leaf_root: frontier.root().to_hex(),
            reason: "a disk failed".to_owned(),
        };
        self.authorised(Control::Explained(excuse), signer)
    }

    fn authorised(&self, control: Control, signer: &dyn NoteSigner) -> Control {
        control.authorise(self.world.log_id(), ORIGIN, LeafIndex(self.lines.len() as u64), signer).unwrap()
    }

    /// The thief of the entry key in force appends a record: its index.
    fn append(&mut self, control: &Control) -> u64 {
        let mut ids: Vec<String> = self.lines.iter().map(|line| parsed(line).entry.key.to_owned()).collect();
        ids.dedup();
        let ring = self.world.ring();
        let key = ring.entry(ids.last().unwrap()).unwrap().key(self.world.log_id(), ORIGIN, ids.len() as u64);
        let line = appended(&self.lines, &key, BodyKind::Control, &control.canonical().unwrap());
        let (_, last) = segments(&self.world).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        bytes.extend_from_slice(&line);
        overwrite(&last, &bytes);
        self.lines.push(line);
        self.lines.len() as u64 - 1
    }

    /// The published checkpoint and the kept ones.
    fn notes(&self) -> Vec<PathBuf> {
        let kept = fs::read_dir(self.world.log_path().join("checkpoints")).unwrap().map(|file| file.unwrap().path());
        kept.chain([self.world.log_path().join("checkpoint")]).collect()
    }

    fn by_key(&self, key: &VerifyingKey) -> Report {
        publicly(&self.world, key)
    }
}

fn head_of(note: &[u8]) -> TreeHead {
    Checkpoint::parse(Note::parse(note).unwrap().text()).unwrap().head
}

/// Records events in several batches, since a batch never spans two files.
fn record(log: &Log, range: std::ops::Range<u64>) {
    let last = range.end;
    range.step_by(10).for_each(|first| drop(receipts(log.append_all(&events(first..last.min(first + 10))))));
}

/// What one of the log's keys signs, whether it is still in force or not.
fn signer(world: &World, key: &VerifyingKey) -> impl NoteSigner + use<> {
    world.ring().signers_for(ORIGIN, std::slice::from_ref(key)).unwrap().remove(0)
}

/// A log whose checkpoint key changes between events 60 and 61, and who may verify it.
fn changed() -> (Files, u64) {
    let mut change = 0;
    let files = Files::of(|world, log| {
        record(log, 0..60);
        rotate(world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").unwrap();
        record(log, 60..120);
        change = log.key_history().sets()[1].first;
    });
    (files, change)
}

#[track_caller]
fn never_tampered(report: &Report, what: &str) {
    let tampered = report.findings.iter().filter(|finding| finding.kind.verdict() == Verdict::Tampered);
    assert_eq!(tampered.count(), 0, "{what}: {:#?}", report.findings);
}

#[test]
fn a_line_of_nobody_under_the_checkpoints_saves_no_forged_excuse() {
    let (mut files, change) = changed();
    let keys = files.keys();
    // The change is there; what is absent came later. The thief of the key that was replaced excuses it.
    let gone = files.lose(100);
    assert!(gone.0 > change);
    let by_old = files.excuse(gone, &signer(&files.world, &keys[0]));
    let at = files.append(&by_old);
    check(&files.world.verify(), Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(at));
    // Lines that name an unknown key make it look as if another set had come in. The head record has none.
    let (nobody, _) = stranger(&files.world);
    files.notes().iter().for_each(|path| cosign(path, &nobody));
    check(&files.world.verify(), Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(at));
    for key in &keys {
        let report = files.by_key(key);
        check(&report, Verdict::Gap, Some(Kind::Absent), Some(gone.0));
        never_tampered(&report, "without the head record nothing settles it");
    }
}

#[test]
fn a_line_of_nobody_takes_no_honest_excuse_away_from_who_has_the_head_record() {
    let files = Files::of(|_, log| record(log, 0..120));
    let gone = files.lose(60);
    files.world.reopen_and(|log| explain(log, gone.0, gone.1 - 1, "a disk failed").unwrap());
    check(&files.world.verify(), Verdict::Intact, None, None);
    let (nobody, _) = stranger(&files.world);
    files.notes().iter().for_each(|path| cosign(path, &nobody));
    let report = files.world.verify();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|remark| remark.kind == "explained"), "{:#?}", report.remarks);
    // To who has the public key alone that line may be the one of a set that came in among them.
    check(&files.by_key(&files.keys()[0]), Verdict::Gap, Some(Kind::Absent), Some(gone.0));
}

#[test]
fn checkpoints_by_the_replaced_key_alone_contradict_the_head_record() {
    let (mut files, change) = changed();
    let keys = files.keys();
    let gone = files.lose(change);
    let by_old = files.excuse(gone, &signer(&files.world, &keys[0]));
    files.append(&by_old);
    // The change is among what is absent, and the checkpoints name the new key.
    for report in keys.iter().map(|key| files.by_key(key)).chain([files.world.verify()]) {
        check(&report, Verdict::Gap, Some(Kind::Absent), Some(gone.0));
        never_tampered(&report, "nothing contradicts the new key");
    }
    // The thief signs them anew: now the log names the new key nowhere, and only the head record does.
    for path in files.notes() {
        let head = head_of(&fs::read(&path).unwrap());
        overwrite(&path, signed_by(&files.world, keys[0].clone(), head).as_bytes());
    }
    check(&files.world.verify(), Verdict::Tampered, Some(Kind::Key), None);
    let strange = files.world.try_verify(&files.world.log_path(), |request| {
        *request = Request::new(keys[1].clone(), SystemClock::default().now());
    });
    assert!(matches!(strange, Err(VerifyError::WrongKey { .. })), "{strange:?}");
}

#[test]
fn a_stranger_s_record_behind_a_lost_change_of_entry_keys_is_a_forgery() {
    let mut change = 0;
    let mut files = Files::of(|world, log| {
        record(log, 0..60);
        rotate(world, Purpose::EntrySigning);
        log.adopt_keys("a test").unwrap();
        record(log, 60..120);
        change = log.key_history().newest().0;
    });
    let gone = files.lose(change);
    let key = files.keys().remove(0);
    for report in [files.world.verify(), files.by_key(&key)] {
        check(&report, Verdict::Gap, Some(Kind::Absent), Some(gone.0));
        never_tampered(&report, "the entry key came in among what is absent");
    }
    // That a record is hidden says nothing of checkpoint keys: the checkpoints behind it are by the known one alone.
    let (nobody, _) = stranger(&files.world);
    let forged = files.excuse(gone, &nobody.checkpoint_signer(ORIGIN).unwrap());
    let at = files.append(&forged);
    for report in [files.world.verify(), files.by_key(&key)] {
        check(&report, Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(at));
    }
}

#[test]
fn a_keys_record_that_the_checkpoints_contradict_is_a_forgery() {
    let mut files = Files::of(|_, log| record(log, 0..120));
    let key = files.keys().remove(0);
    let gone = files.lose(60);
    // Who has the entry key says that his own checkpoint key came in among what is absent, and authorises the record by it.
    let (nobody, strange) = stranger(&files.world);
    let history = files.world.reopen_and(|log| (*log.key_history()).clone());
    let set = KeySet::new(vec![strange], Require::All).unwrap();
    let change = Change { set: Some(set), reason: "mine".to_owned(), ..Change::default() };
    let record = Control::Keys(history.changed(LeafIndex(gone.0), change).unwrap());
    let forged = files.authorised(record, &nobody.checkpoint_signer(ORIGIN).unwrap());
    let at = files.append(&forged);
    for report in [files.world.verify(), files.by_key(&key)] {
        check(&report, Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(at));
    }
}

/// Keys change three times, and records of every kind stand behind each change.
fn eventful(world: World) -> Files {
    Files::in_world(world, |world, log| {
        receipts(log.append_all(&events(0..40)));
        rotate(world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").unwrap();
        receipts(log.append_all(&events(40..80)));
        let stolen = log.key_history().entry_keys()[0].id.clone();
        rotate(world, Purpose::EntrySigning);
        log.withdraw_keys("a theft", &[withdrawn(&stolen, 50)]).unwrap();
        receipts(log.append_all(&events(80..100)));
        resign(log, &stolen, None, "after the theft", &|_, _| ()).unwrap();
        receipts(log.append_all(&events(100..120)));
        rotate(world, Purpose::CheckpointSigning);
        log.adopt_keys("a test").unwrap();
        receipts(log.append_all(&events(120..150)));
    })
}

#[test]
fn whichever_files_an_honest_log_loses_it_is_never_called_tampered() {
    let several = NewRing { checkpoint: vec![Algorithm::MlDsa44], require: Require::AtLeast(1), ..NewRing::default() };
    for world in [World::new(), World::with_ring(&several)] {
        let files = eventful(world);
        let (keys, segments) = (files.keys(), segments(&files.world));
        let aside = |at: usize| files.world.dir.path().join(format!("aside-{at}"));
        let lost = (1..segments.len() - 1).flat_map(|one| (one..segments.len() - 1).map(move |other| (one, other)));
        let mut gaps = 0;
        for (one, other) in lost {
            for at in [one, other] {
                let _ = fs::rename(&segments[at].1, aside(at));
            }
            let what = format!("files of {} and {} of {segments:?}", segments[one].0, segments[other].0);
            for report in keys.iter().map(|key| files.by_key(key)).chain([files.world.verify()]) {
                never_tampered(&report, &what);
                assert_ne!(report.status, Verdict::Intact, "{what}");
                gaps += usize::from(report.status == Verdict::Gap);
            }
            for at in [one, other] {
                let _ = fs::rename(aside(at), &segments[at].1);
            }
        }
        assert!(gaps > 100, "{gaps}");
        check(&files.world.verify(), Verdict::Intact, None, None);
    }
}

#[test]
fn a_ring_that_lacks_its_active_keys_verifies_and_signs_nothing() {
    let mut old = String::new();
    let files = Files::of(|world, log| {
        old = world.ring().active_entry().unwrap().id().to_owned();
        record(log, 0..20);
        rotate(world, Purpose::EntrySigning);
        log.adopt_keys("a test").unwrap();
        record(log, 20..40);
    });
    let (dir, newest) = (files.world.keys.dir().to_owned(), files.world.ring().entry_key_id());
    files.world.forget_key(&newest);
    assert!(KeyRing::load(&dir).is_err());
    let ring = KeyRing::load_to_verify(&dir, &MasterSource::Environment).unwrap();
    assert!(matches!(ring.active_entry(), Err(KeyError::NoActive { .. })));
    assert_eq!(ring.entry_key_id(), old);
    let reader =
        indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &files.world.log_path()).unwrap();
    let request = Request {
        heads: Some(files.world.heads()),
        head_required: true,
        ..Request::of_ring(&ring, ORIGIN, SystemClock::default().now()).unwrap()
    };
    let report = verify(&reader, &request).unwrap();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.macs, Macs::Partly);
    let report = verify(&reader, &Request { all_macs: true, ..request }).unwrap();
    check(&report, Verdict::Unverifiable, Some(Kind::KeyMissing), None);
    let refused = Log::open(&files.world.log_path(), &ring, options()).err().unwrap();
    assert!(matches!(refused, LogError::Keys(_)), "{refused:?}");
    // Nor without any key that signed entries.
    files.world.forget_key(&old);
    let none = KeyRing::load_to_verify(&dir, &MasterSource::Environment).unwrap_err();
    assert!(matches!(none, KeyError::NoActive { purpose: Purpose::EntrySigning, .. }), "{none:?}");
}

#[test]
fn a_key_that_may_sign_and_did_not_leaves_the_log_unverifiable_to_who_knows_it_alone() {
    let several = NewRing { checkpoint: vec![Algorithm::MlDsa44], require: Require::AtLeast(1), ..NewRing::default() };
    let files = Files::in_world(World::with_ring(&several), |_, log| record(log, 0..40));
    let keys = files.keys();
    let silent = keys.iter().find(|key| key.algorithm() == Algorithm::Ed25519).unwrap();
    let signs = keys.iter().find(|key| key.algorithm() == Algorithm::MlDsa44).unwrap();
    check(&files.by_key(silent), Verdict::Intact, None, None);
    for path in files.notes() {
        let note = fs::read(&path).unwrap();
        let parsed = Note::parse(&note).unwrap();
        let text = String::from_utf8(note).unwrap();
        let (body, lines) = text.split_once("\n\n").unwrap();
        let by_others = lines.lines().zip(parsed.signatures()).filter(|(_, line)| line.key_id() != silent.id());
        let lines: String = by_others.map(|(line, _)| format!("{line}\n")).collect();
        overwrite(&path, format!("{body}\n\n{lines}").as_bytes());
    }
    check(&files.by_key(signs), Verdict::Intact, None, None);
    let report = files.by_key(silent);
    check(&report, Verdict::Unverifiable, Some(Kind::KeyMissing), None);
    assert!(report.findings[0].detail.contains("may sign here"), "{:#?}", report.findings);
}

#[test]
fn a_key_without_a_name_is_not_told_of() {
    let world = World::with_events(10, 1, options());
    for index in 0..2 {
        world.edit_line(index, |_| b"nothing\n".to_vec());
    }
    let report = world.verify();
    check(&report, Verdict::Tampered, None, None);
    assert_eq!(report.macs, Macs::Partly);
    assert!(report.macs_unchecked.is_empty(), "{:?}", report.macs_unchecked);
    let told = report.remarks.iter().map(|remark| &remark.detail).chain(report.findings.iter().map(|f| &f.detail));
    for detail in told {
        assert!(!detail.contains("by key ``"), "{detail}");
    }
}
