//! Every single-bit flip in every file of a small log, and every truncation, deletion, duplication and swap of lines and files, is detected and
//! located, or provably harmless. The tests print how many were tried and how many were missed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indelible::{
    Keeper, KeyRing, Log, Options,
    clock::{Clock as _, SystemClock},
    verify::{Kind, Report, Request, Verdict, VerifyError, verify},
};
use indelible_core::note::NoteSigner as _;
use indelible_store::{disk::SharedDisk, fault::SimDisk, heads::FileHeads};
use indelible_store_file::Settings;

use crate::world::{ORIGIN, event};

struct Small {
    _dir: tempfile::TempDir,
    keys: KeyRing,
    disk: SimDisk,
    log: PathBuf,
}

impl Small {
    /// Three closed segments, one active, several kept checkpoints, an attachment, ids in two files.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let disk = SimDisk::new(1);
        let log = PathBuf::from("/log");
        let shared: SharedDisk = disk.shared();
        let settings = Settings { segment_bytes: 1200, immutable: false, ..Settings::default() };
        let options = Options { disk: shared, keeper: Some(Keeper::manual()), settings, ..Options::default() };
        let writer = Log::create(&log, ORIGIN, &keys, options.clone()).unwrap();
        let digest = writer.put_attachment(b"an attachment").unwrap();
        let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let attached = format!(
            r#"{{"action":"a","actor":{{"id":"m","type":"user"}},"attachments":[{{"digest":"sha256:{digest}","size":13}}],"id":"att"}}"#
        );
        writer.append_json(attached.as_bytes()).unwrap();
        for n in 0..6 {
            for result in writer.append_all(&[event(2 * n), event(2 * n + 1)]) {
                result.unwrap();
            }
            if n % 2 == 0 {
                writer.keep_checkpoint().unwrap();
            }
        }
        writer.close().unwrap();
        drop(writer);
        let writer = Log::open(&log, &keys, options).unwrap();
        writer.append_json(&event(100)).unwrap();
        writer.append_json(&event(101)).unwrap();
        writer.close().unwrap();
        drop(writer);
        let small = Self { _dir: dir, keys, disk, log };
        assert_eq!(small.verify().unwrap().status, Verdict::Intact, "{:#?}", small.verify().unwrap().findings);
        small
    }

    fn verify(&self) -> Result<Report, VerifyError> {
        let disk = self.disk.shared();
        let heads = FileHeads::new(self.disk.shared(), &self.keys.heads_dir());
        let request = Request {
            ring: Some(&self.keys),
            heads: Some(&heads),
            head_required: true,
            threads: 1,
            ..Request::new(
                self.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone(),
                SystemClock::default().now(),
            )
        };
        let reader = indelible_store_file::driver::reader_of_entry_zero(&disk, &self.log)?;
        verify(&reader, &request)
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        // Lock files of the head store are empty and say nothing.
        self.disk.snapshot().into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with("%lock")).collect()
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        self.disk.put(path, bytes).unwrap();
    }

    fn finds_every_id(&self) -> bool {
        let reader = indelible_store_file::driver::reader_of_entry_zero(&self.disk.shared(), &self.log).unwrap();
        (0..12).chain([100, 101]).all(|n| indelible::log::find(&reader, &format!("event-{n}")).is_ok())
    }

    /// The lines of a segment file.
    fn segment_text(&self, path: &Path) -> Option<Vec<u8>> {
        let bytes = self.files().remove(path)?;
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".jsonl") {
            return Some(bytes);
        }
        name.ends_with(".zst").then(|| zstd_frames(&bytes))
    }
}

/// Decompresses all frames of a closed segment.
fn zstd_frames(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut zstd::Decoder::new(bytes).unwrap(), &mut out).unwrap();
    out
}

#[derive(Default)]
struct Tally {
    tried: u64,
    located: u64,
    harmless: u64,
    missed: Vec<String>,
    verdicts: BTreeMap<String, u64>,
}

impl Tally {
    fn count(&mut self, outcome: &Result<Report, VerifyError>) -> bool {
        self.tried += 1;
        let verdict = match outcome {
            Ok(report) => report.status.as_str().to_owned(),
            Err(error) => format!("error: {}", error.to_string().split(['`', ':']).next().unwrap_or_default().trim()),
        };
        let detected = verdict != "intact";
        *self.verdicts.entry(verdict).or_default() += 1;
        detected
    }

    fn finish(self, what: &str) {
        println!(
            "{what}: {} tried, {} located, {} provably harmless, {} missed; verdicts {:?}",
            self.tried,
            self.located,
            self.harmless,
            self.missed.len(),
            self.verdicts
        );
        assert!(self.missed.is_empty(), "{what}: {:#?}", self.missed.iter().take(20).collect::<Vec<_>>());
    }
}

/// The index of the entry whose line has byte `at` of a plain segment.
fn entry_at(text: &[u8], first: u64, at: usize) -> u64 {
    first + text[..at].iter().filter(|b| **b == b'\n').count() as u64
}

fn first_of(path: &Path) -> u64 {
    path.file_name().unwrap().to_string_lossy()[..20].parse().unwrap()
}

fn located(report: &Report, index: u64) -> bool {
    report.findings.iter().any(|f| f.index.is_some_and(|first| (first..=f.last.unwrap_or(first)).contains(&index)))
}

#[test]
fn every_bit_flip_is_detected_and_located() {
    let small = Small::new();
    let mut tally = Tally::default();
    for (path, bytes) in small.files() {
        let plain = path.to_string_lossy().ends_with(".jsonl");
        let before = small.segment_text(&path);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                small.put(&path, &changed);
                let outcome = small.verify();
                let name = format!("{} byte {at} bit {bit}", path.display());
                if !tally.count(&outcome) {
                    // A closed segment's frame may say the same in other bytes: what it decompresses to was verified.
                    let same = !plain && before.is_some() && small.segment_text(&path) == before;
                    if same {
                        tally.harmless += 1
                    } else {
                        tally.missed.push(name)
                    }
                    continue;
                }
                let Ok(report) = outcome else {
                    tally.located += 1;
                    continue;
                };
                let found = match &before {
                    Some(text) if plain => {
                        let index = entry_at(text, first_of(&path), at);
                        // A flipped line feed joins a line with the next: either place is right.
                        located(&report, index) || located(&report, index + 1)
                    }
                    Some(text) => {
                        let first = first_of(&path);
                        let end = entry_at(text, first, text.len());
                        report.status == Verdict::Damaged || (first..end).any(|index| located(&report, index))
                    }
                    None => !report.findings.is_empty(),
                };
                if found {
                    tally.located += 1
                } else {
                    tally.missed.push(format!("{name}: not located: {:?}", report.findings))
                }
            }
        }
        small.put(&path, &bytes);
    }
    assert_eq!(small.verify().unwrap().status, Verdict::Intact);
    tally.finish("bit flips");
}

#[test]
fn every_truncation_is_detected() {
    let small = Small::new();
    let mut tally = Tally::default();
    for (path, bytes) in small.files() {
        for len in 0..bytes.len() {
            small.put(&path, &bytes[..len]);
            let outcome = small.verify();
            if tally.count(&outcome) {
                tally.located += 1
            } else {
                tally.missed.push(format!("{} cut to {len}", path.display()))
            }
        }
        small.put(&path, &bytes);
    }
    tally.finish("truncations");
}

#[test]
fn every_deletion_swap_and_duplication_of_files_is_detected() {
    let small = Small::new();
    let mut tally = Tally::default();
    let files: Vec<(PathBuf, Vec<u8>)> = small.files().into_iter().collect();
    for (path, bytes) in &files {
        small.disk.erase(path).unwrap();
        let outcome = small.verify();
        let what = format!("{} deleted", path.display());
        if tally.count(&outcome) {
            tally.located += 1;
        } else if what.contains("/ids/") && small.finds_every_id() {
            // The newest id file: what no file covers is read from the entries.
            tally.harmless += 1;
        } else {
            tally.missed.push(what);
        }
        small.put(path, bytes);
        let double = path.with_file_name(format!("{}.copy", path.file_name().unwrap().to_string_lossy()));
        // Beside keys and attachments strangers do no harm; in the log's own folders they are told.
        if path.to_string_lossy().starts_with("log/")
            && !path.to_string_lossy().contains("attachments")
            && !path.to_string_lossy().contains("/ids/")
        {
            small.put(&double, bytes);
            let outcome = small.verify();
            if tally.count(&outcome) {
                tally.located += 1
            } else {
                tally.missed.push(format!("{} duplicated", path.display()))
            }
            small.disk.erase(&double).unwrap();
        }
    }
    for (n, (one, a)) in files.iter().enumerate() {
        for (two, b) in files.iter().skip(n + 1).filter(|(_, b)| b != a) {
            small.put(one, b);
            small.put(two, a);
            let outcome = small.verify();
            let what = format!("{} and {} swapped", one.display(), two.display());
            if tally.count(&outcome) {
                tally.located += 1
            } else {
                tally.missed.push(what)
            }
            small.put(one, a);
            small.put(two, b);
        }
    }
    assert_eq!(small.verify().unwrap().status, Verdict::Intact);
    tally.finish("files deleted, duplicated, swapped");
}

#[test]
fn every_deletion_swap_and_duplication_of_lines_is_detected_and_located() {
    let small = Small::new();
    let mut tally = Tally::default();
    for (path, bytes) in small.files() {
        let Some(text) = small.segment_text(&path) else { continue };
        let plain = path.to_string_lossy().ends_with(".jsonl");
        let first = first_of(&path);
        let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        let mut edits: Vec<(String, Vec<Vec<u8>>, u64)> = Vec::new();
        let owned = |lines: &[&[u8]]| lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>();
        for n in 0..lines.len() {
            let mut edit = owned(&lines);
            edit.remove(n);
            edits.push((format!("line {n} deleted"), edit, first + n as u64));
            for to in 0..=lines.len() {
                let mut edit = owned(&lines);
                edit.insert(to, lines[n].to_vec());
                edits.push((format!("line {n} repeated at {to}"), edit, first + n as u64));
            }
            for other in n + 1..lines.len() {
                let mut edit = owned(&lines);
                edit.swap(n, other);
                edits.push((format!("lines {n} and {other} swapped"), edit, first + n as u64));
            }
        }
        for (what, edit, index) in edits {
            let edited = edit.concat();
            let edited = if plain { edited } else { closed(&edited) };
            small.put(&path, &edited);
            let outcome = small.verify();
            let name = format!("{}: {what}", path.display());
            if !tally.count(&outcome) {
                tally.missed.push(name);
                continue;
            }
            let report = outcome.unwrap();
            let last = report.findings.iter().all(|f| f.kind == Kind::Derived);
            if located(&report, index) && !last {
                tally.located += 1
            } else {
                tally.missed.push(format!("{name}: {:?}", report.findings))
            }
        }
        small.put(&path, &bytes);
    }
    tally.finish("lines deleted, repeated, swapped");
}

/// A closed segment as an attacker would write it: frames and a fitting seek table.
fn closed(text: &[u8]) -> Vec<u8> {
    use indelible_store_file::frames::{Frame, compress, parts, table_bytes};
    let mut out = Vec::new();
    let mut frames = Vec::new();
    let mut offset = 0;
    for part in parts(text) {
        let compressed = compress(part).unwrap();
        frames.push(Frame {
            at: out.len() as u64,
            compressed: compressed.len().try_into().unwrap(),
            offset,
            bytes: part.len().try_into().unwrap(),
        });
        offset += part.len() as u64;
        out.extend_from_slice(&compressed);
    }
    out.extend_from_slice(&table_bytes(&frames));
    out
}
