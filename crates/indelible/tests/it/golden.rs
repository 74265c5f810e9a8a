//! Golden logs: one for each released format, written once and read by every version after it.
//!
//! `testdata/golden-<format>` holds a closed log (`log/`), what is kept outside of it (`head`, `public-key`, `kept-checkpoint`,
//! `receipts.jsonl`), a proof and an export made from it, and what a reader must say of all that (`expected.json`). No key is in it: the
//! ring was made for the writing and thrown away. `cargo xtask golden` writes the one of today's format where there is none.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indelible::{
    KeyRing, Log, Options,
    bundle::{Bundle, export_end, export_line},
    manage::{explain, succeed},
    verify::{Report, Request, Verdict, verify},
};
use indelible_core::{
    FORMAT_VERSION,
    entry::{self, BodyKind, Line},
    head::{HeadRecord, file_name},
    note::{NoteSigner as _, VerifyingKey},
    time::Micros,
    tree::{LeafIndex, TreeSize},
};
use indelible_store::{
    disk::OsDisk,
    heads::{FileHeads, HeadStore as _},
    store::Reader,
};
use indelible_store_file::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    support::time::{HandClock, RINGS_MADE},
    world::{copy_dir, files, receipts},
};

const ORIGIN: &str = "golden.example/format-1";
/// Names the folder in which the golden log of today's format is to be written.
const WRITE_TO: &str = "INDELIBLE_GOLDEN";
/// Some time later than anything that is recorded in it.
const LATER: &str = "2026-02-01T00:00:00.000000Z";
/// What is exported, behind what is absent.
const EXPORTED: (u64, u64) = (250, 262);
/// The entry that is proven.
const PROVEN: u64 = 257;

/// What a reader must say.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    absent: [u64; 2],
    checkpoints: u64,
    controls: Vec<(u64, String)>,
    entries: u64,
    entries_verified: u64,
    exported: [u64; 2],
    format: u32,
    ids: Vec<(String, u64)>,
    leaf_hashes: Vec<(u64, String)>,
    log_id: String,
    origin: String,
    proven: u64,
    remarks: Vec<(String, Option<u64>)>,
    root: String,
    status: String,
    tree_size: u64,
    unanchored: u64,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

// ---------------------------------------------------------------------------------------------------------------- reading

fn reader(dir: &Path) -> Arc<dyn Reader> {
    Arc::new(indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &dir.join("log")).unwrap())
}

fn public_key(dir: &Path) -> VerifyingKey {
    VerifyingKey::parse(std::fs::read_to_string(dir.join("public-key")).unwrap().trim_end()).unwrap()
}

/// Verifies as somebody who has nothing but what lies beside the log.
fn report_of(dir: &Path) -> Report {
    let heads = dir.join("heads");
    std::fs::create_dir_all(&heads).unwrap();
    let key = public_key(dir);
    std::fs::copy(dir.join("head"), heads.join(file_name(key.name()))).unwrap();
    let heads = FileHeads::new(OsDisk::shared(), &heads);
    let text = std::fs::read_to_string(dir.join("receipts.jsonl")).unwrap();
    let receipts: Vec<entry::WireReceipt> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!receipts.is_empty());
    let request = Request {
        heads: Some(&heads),
        head_required: true,
        checkpoint: Some(std::fs::read(dir.join("kept-checkpoint")).unwrap()),
        receipts,
        strict: true,
        threads: 2,
        ..Request::new(key, Micros::parse(LATER).unwrap())
    };
    verify(&*reader(dir), &request).unwrap()
}

/// What this program says of a golden folder.
fn read(dir: &Path) -> Expected {
    let report = report_of(dir);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    let store = reader(dir);
    let size = store.size().unwrap().0;
    let (mut controls, mut ids, mut leaf_hashes, mut absent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..size {
        let leaf = store.hashes(0, index, 1).unwrap()[0].to_hex();
        if index % 50 == 0 || index + 1 == size {
            leaf_hashes.push((index, leaf));
        }
        let Ok(stored) = indelible::log::get(&*store, LeafIndex(index)) else {
            absent.push(index);
            continue;
        };
        let body: Value = serde_json::from_slice(&stored.entry).unwrap();
        match (body["control"]["type"].as_str(), body["event"]["id"].as_str()) {
            (Some(kind), _) => controls.push((index, kind.to_owned())),
            (None, id) if index % 40 == 7 || id.is_some_and(|id| !id.is_ascii()) => {
                let found = indelible::log::find(&*store, id.unwrap()).unwrap();
                assert_eq!(found, stored);
                ids.push((id.unwrap().to_owned(), index));
            }
            _ => {}
        }
    }
    let proof = Bundle::parse(&std::fs::read(dir.join("proof.json")).unwrap()).unwrap();
    let checked = proof.check(&public_key(dir)).unwrap();
    assert_eq!(checked.head.root.to_hex(), report.root);
    let export = std::fs::read(dir.join("export.jsonl")).unwrap();
    let (from, to) = EXPORTED;
    assert!(export == exported(&*store, from, to, &proof.proof.checkpoint), "the export is written as it was");
    let first_absent = *absent.first().unwrap();
    assert_eq!(absent, (first_absent..first_absent + absent.len() as u64).collect::<Vec<_>>());
    Expected {
        absent: [first_absent, *absent.last().unwrap()],
        checkpoints: report.checkpoints,
        controls,
        entries: size,
        entries_verified: report.entries_verified,
        exported: [from, to],
        format: store.info().format,
        ids,
        leaf_hashes,
        log_id: store.info().log_id.to_string(),
        origin: report.origin.clone(),
        proven: checked.index.0,
        remarks: report.remarks.iter().map(|remark| (remark.kind.to_owned(), remark.index)).collect(),
        root: report.root.clone(),
        status: report.status.as_str().to_owned(),
        tree_size: report.tree_size,
        unanchored: report.unanchored,
    }
}

fn exported(store: &dyn Reader, from: u64, to: u64, note: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for index in from..to {
        let chunk = store.read(LeafIndex(index), 1).unwrap();
        export_line(chunk.lines().next().unwrap(), index, &mut text).unwrap();
    }
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    text.extend(export_end(store, (from, to), TreeSize(size), note, &[]).unwrap());
    text
}

/// Reads a copy, so that nothing can be changed in what is kept.
fn check(golden: &Path) {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(golden, dir.path());
    let expected: Expected = serde_json::from_slice(&std::fs::read(golden.join("expected.json")).unwrap()).unwrap();
    assert_eq!(read(dir.path()), expected);
    // Not the verdict alone: a bit of an entry, of a leaf hash where its body is absent, and of the published checkpoint are missed by none.
    let active = files(&dir.path().join("log/segments")).into_iter().rfind(|path| path.extension().unwrap() == "jsonl");
    let absent = usize::try_from(expected.absent[0]).unwrap();
    for (path, at) in [
        (active.unwrap(), 400),
        (dir.path().join("log/tree/0"), 32 * absent),
        (dir.path().join("log/checkpoint"), expected.origin.len() + 1),
    ] {
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(report_of(dir.path()).status, Verdict::Tampered, "{}", path.display());
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(report_of(dir.path()).status, Verdict::Intact);
}

#[test]
fn golden_logs_of_every_format_read_as_they_did() {
    for format in 1..=FORMAT_VERSION {
        check(&root().join(format!("golden-{format}")));
    }
}

/// What is committed is small, and has no secret in it.
#[test]
fn golden_logs_are_small_and_public() {
    for format in 1..=FORMAT_VERSION {
        let golden = root().join(format!("golden-{format}"));
        let mut bytes = 0;
        for path in files(&golden) {
            bytes += std::fs::metadata(&path).unwrap().len();
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("\"secret\"") && path.file_name().unwrap() != "ring.json", "{}", path.display());
        }
        assert!(bytes < 200 << 10, "{bytes} bytes");
    }
}

// ---------------------------------------------------------------------------------------------------------------- writing

/// The way the golden log was made; it is read back at once, so that the way stays one that works.
#[test]
fn golden_logs_are_written_where_none_is() {
    let dir = tempfile::tempdir().unwrap();
    let golden = dir.path().join("golden");
    write(&golden);
    check(&golden);
    let Some(folder) = std::env::var_os(WRITE_TO).map(PathBuf::from) else { return };
    let to = folder.join(format!("golden-{FORMAT_VERSION}"));
    assert!(!to.exists(), "`{}` is there: a golden log is never overwritten", to.display());
    copy_dir(&golden, &to);
    check(&to);
}

fn event(n: u64, details: &Value) -> Vec<u8> {
    let outcome = if n.is_multiple_of(7) { "failure" } else { "success" };
    let event = json!({
        "action": "document.read",
        "actor": { "id": format!("user-{}", n % 5), "type": "user" },
        "details": details,
        "id": format!("golden-{n}"),
        "occurred_at": "2025-12-31T23:59:59+01:00",
        "outcome": outcome,
    });
    serde_json::to_vec(&event).unwrap()
}

fn plain(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| event(n, &json!({ "n": n, "note": format!("page {} of the record", n * 37 % 101) }))).collect()
}

/// What is hard to keep to the byte.
fn odd() -> Vec<Vec<u8>> {
    let nested = (0..60).fold(json!("deep"), |inner, _| json!([inner]));
    let mut events = vec![
        event(
            9000,
            &json!({ "\u{fb33}": 1, "\u{1f600}": 2, "\r": 3, "\u{80}": 4, "1": 5, "\u{20ac}": 6, "\u{f6}": 7 }),
        ),
        event(
            9001,
            &json!({ "text": "\u{0}\u{1f}\u{7f}\u{2028} \"\\/\u{8}\u{c}\n\r\t \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f9d1}\u{200d}\u{1f52c}" }),
        ),
        event(9002, &json!({ "numbers": [0.1, 1e21, 1e-7, 9_007_199_254_740_992_u64, -5, 0, 1.5, 5e-324, 1e20] })),
        event(
            9003,
            &json!({ "like a tail": "\",\"sealed\":[\"/a\"],\"v\":1}", "and": ",\"mac\":\"00\"}\n", "x": "{\"batch\":0" }),
        ),
        event(9004, &nested),
        event(9005, &json!({ "long": "0123456789abcdef".repeat(3000) })),
        event(9006, &json!({ "sealed": { "ciphertext": "b3BhcXVl", "key": "dk1-0", "nonce": "AAAAAAAAAAAA" } })),
        event(9007, &json!({})),
    ];
    for (n, id) in ["\u{fc}ber-\u{2603}", "\u{65e5}\u{672c}-\u{1f980}", "an id with blanks: / ~0 ~1"].iter().enumerate()
    {
        let mut value: Value = serde_json::from_slice(&event(9100 + n as u64, &json!({ "chosen": true }))).unwrap();
        value["id"] = json!(id);
        events.push(serde_json::to_vec(&value).unwrap());
    }
    events
}

struct Writer {
    dir: tempfile::TempDir,
    keys: KeyRing,
    clock: Arc<HandClock>,
}

impl Writer {
    fn options(&self) -> Options {
        let settings = Settings { immutable: false, segment_bytes: 16 << 10, ..Settings::default() };
        Options { settings, clock: Arc::clone(&self.clock) as Arc<_>, ..Options::default() }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn open(&self) -> Log {
        Log::open(&self.log(), &self.keys, self.options()).unwrap()
    }

    /// A log that goes on from another.
    fn create(&self) -> Log {
        let before = self.dir.path().join("before");
        Log::create(&before, "golden.example/before", &self.keys, self.options()).unwrap().close().unwrap();
        let options = self.options();
        let (old, new) = (options.directory(&before), options.directory(&self.log()));
        succeed(&old, &new, ORIGIN, &self.keys, options).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        files(&self.log().join("segments"))
    }

    fn fill(&self, log: &Log, range: std::ops::Range<u64>) {
        for batch in plain(range).chunks(9) {
            self.clock.pass(std::time::Duration::from_millis(1234));
            receipts(log.append_all(batch));
        }
    }
}

fn write(golden: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyRing::load_or_create_at(&dir.path().join("keys"), RINGS_MADE).unwrap();
    let writer = Writer { dir, keys, clock: HandClock::new() };

    let log = writer.create();
    let digest = log.put_attachment(b"an attachment of the golden log\n").unwrap();
    let mut named: Value = serde_json::from_slice(&event(8000, &json!({}))).unwrap();
    let digest = format!("sha256:{}", indelible_core::hex::encode(&digest));
    named["attachments"] = json!([{ "digest": digest, "name": "note.txt", "size": 32 }]);
    log.append_json(&serde_json::to_vec(&named).unwrap()).unwrap();
    receipts(log.append_all(&odd()));
    let kept = log.keep_checkpoint().unwrap().checkpoint;
    writer.fill(&log, 0..120);
    log.keep_checkpoint().unwrap();
    log.record_gap(3, "the caller's buffer was full", Some("2026-01-01T00:00:10.000000Z")).unwrap();
    writer.clock.step(-90_000_000);
    writer.fill(&log, 120..200);
    let bounded = log.append_bounded(&event(8001, &json!({ "acknowledged": "early" }))).unwrap();
    bounded.settle().unwrap();
    log.keep_checkpoint().unwrap();
    log.close().unwrap();
    drop(log);

    // What a crash leaves: half a line behind the last one, and the marker of acknowledgements that were open.
    let active = writer.segments().pop().unwrap();
    let mut bytes = std::fs::read(&active).unwrap();
    bytes.extend_from_slice(b"{\"batch\":999,\"entry\":{\"event\":{\"act");
    std::fs::write(&active, bytes).unwrap();
    std::fs::write(writer.log().join("bounded"), b"").unwrap();
    let log = writer.open();
    writer.clock.step(3_600_000_000);
    writer.fill(&log, 200..250);
    log.keep_checkpoint().unwrap();
    log.close().unwrap();
    drop(log);

    // A disk loses a file, and that is put on record.
    let segments = writer.segments();
    let first_of = |path: &Path| path.file_name().unwrap().to_str().unwrap()[..20].parse::<u64>().unwrap();
    let (lost, next) = (segments[3].clone(), first_of(&segments[4]));
    let first = first_of(&lost);
    std::fs::remove_file(&lost).unwrap();
    let log = writer.open();
    explain(&log, first, next - 1, "lost with the disk of March; no copy is left").unwrap();
    let last = receipts(log.append_all(&plain(250..270)));
    let record = log.keep_checkpoint().unwrap();
    log.close().unwrap();
    keep(golden, &writer, &log, &kept, &record);
    let lines: Vec<String> = last.iter().map(|r| serde_json::to_string(&r.to_wire()).unwrap() + "\n").collect();
    std::fs::write(golden.join("receipts.jsonl"), lines.concat()).unwrap();
    drop(log);
    let expected = serde_json::to_string_pretty(&read_copy(golden)).unwrap();
    std::fs::write(golden.join("expected.json"), expected + "\n").unwrap();
}

/// What stays: the log, and what is kept outside of it.
fn keep(golden: &Path, writer: &Writer, log: &Log, kept: &str, record: &HeadRecord) {
    copy_dir(&writer.log(), &golden.join("log"));
    let head = FileHeads::new(OsDisk::shared(), &writer.keys.heads_dir()).load(ORIGIN).unwrap().unwrap();
    assert_eq!(head.checkpoint, record.checkpoint);
    let from = writer.keys.heads_dir().join(file_name(ORIGIN));
    std::fs::copy(from, golden.join("head")).unwrap();
    let key = writer.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().to_string();
    std::fs::write(golden.join("public-key"), key + "\n").unwrap();
    std::fs::write(golden.join("kept-checkpoint"), kept).unwrap();
    let store = reader(golden);
    let bundle = log.prove(LeafIndex(PROVEN)).unwrap();
    std::fs::write(golden.join("proof.json"), bundle.to_bytes()).unwrap();
    let (from, to) = EXPORTED;
    std::fs::write(golden.join("export.jsonl"), exported(&*store, from, to, &record.checkpoint)).unwrap();
    let zero = store.read(LeafIndex(0), 1).unwrap();
    let zero = Line::parse(zero.lines().next().unwrap()).unwrap().entry.kind;
    assert_eq!(zero, BodyKind::Control);
}

fn read_copy(golden: &Path) -> Expected {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(golden, dir.path());
    read(dir.path())
}
