//! `checkpoint`, `prove`, `check-proof`, `consistency`: what leaves the log as proof.

use std::{io::Read as _, path::Path};

use indelible::{
    KeyHistory, KeyRing, LogError,
    bundle::Bundle,
    error::chain,
    links::{key_links, open_linked},
    verify::{is_signed_by, known_keys},
};
use indelible_core::{
    checkpoint::{Checkpoint, CheckpointError},
    head::HeadRecord,
    note::{Note, NoteError, VerifyingKey},
    proof::{MAX_PROOF_BYTES, ProofError},
    tile::Prover,
    tree::TreeHead,
};
use indelible_store::{
    heads::HeadStore as _,
    store::{Reader, StoredTree},
};
use serde_json::json;

use super::{show::locate, verify::read_note};
use crate::{
    cli::{CheckProofArgs, ConsistencyArgs, ProveArgs},
    exit,
    failure::Failure,
    output,
    places::{Places, writers_heads},
};

/// A bundle is a proof, an entry of 64 KiB that escaping may double, and a note.
const MAX_BUNDLE_BYTES: u64 = 4 << 20;
const _: () = assert!(MAX_PROOF_BYTES as u64 + 2 * 65_535 < MAX_BUNDLE_BYTES);

/// Prints the newest checkpoint. Where it covers everything that is durable, no lease is taken.
pub(crate) fn checkpoint(places: &Places, json: bool) -> Result<(), Failure> {
    let note = match covering(places)? {
        Some(note) => note,
        None => {
            let log = places.open().map_err(|failure| beside_a_writer(failure, "the newest entries are"))?;
            let record = log.checkpoint()?;
            log.close()?;
            record.checkpoint
        }
    };
    if !json {
        return output::data(note.as_bytes());
    }
    let checkpoint = parse(note.as_bytes())?;
    output::json(&json!({
        "checkpoint": note,
        "origin": checkpoint.origin,
        "root": checkpoint.head.root.to_hex(),
        "tree_size": checkpoint.head.size.0,
    }))
}

/// The published checkpoint, where it is the newest head that the keys know and covers everything.
fn covering(places: &Places) -> Result<Option<String>, Failure> {
    let reader = places.reader()?;
    let ring = places.ring()?;
    let origin = &reader.info().origin;
    let Some(head) = writers_heads(&ring).store.load(origin)? else { return Ok(None) };
    let Ok(history) = known_keys(&*reader, Some(&head), &ring.active_keys(origin)?) else { return Ok(None) };
    let Ok(checkpoint) = history.open(head.checkpoint.as_bytes()) else { return Ok(None) };
    let is_shown = reader.checkpoint()?.as_deref() == Some(head.checkpoint.as_bytes());
    let covers = is_shown && head.log_id == reader.info().log_id && reader.size()? == checkpoint.head.size;
    Ok(covers.then_some(head.checkpoint))
}

/// Reads a checkpoint without knowing a key.
pub(crate) fn parse(note: &[u8]) -> Result<Checkpoint, Failure> {
    let note = Note::parse(note).map_err(CheckpointError::from)?;
    Ok(Checkpoint::parse(note.text())?)
}

/// The published checkpoint with its note; its signature is checked where the keys are at hand.
pub(crate) fn published(places: &Places, reader: &dyn Reader) -> Result<(Checkpoint, String), Failure> {
    let note = reader.checkpoint()?;
    let note = note
        .ok_or_else(|| Failure::text("the log has no published checkpoint: publish one with `indelible checkpoint`"))?;
    let checkpoint = match places.ring_if_any()? {
        Some(ring) => {
            let origin = &reader.info().origin;
            let own = ring.trusted_keys(origin)?;
            let head = writers_heads(&ring).store.load(origin)?;
            let history = known_keys(reader, head.as_ref(), &ring.active_keys(origin)?)?;
            of_ring(&history, &ring)?;
            refuse_unless_own(&note, head.as_ref(), &own)?;
            history.open(&note)?
        }
        None => parse(&note)?,
    };
    let note = String::from_utf8(note).map_err(|_| Failure::text("the published checkpoint is not UTF-8"))?;
    Ok((checkpoint, note))
}

/// Refuses a newest checkpoint that is neither that of the head record nor by a trusted key of the ring: the log may name keys of anybody's beside the ring's.
fn refuse_unless_own(note: &[u8], head: Option<&HeadRecord>, own: &[VerifyingKey]) -> Result<(), Failure> {
    if head.is_some_and(|head| head.checkpoint.as_bytes() == note) || is_signed_by(note, own) {
        return Ok(());
    }
    let what = "the log's newest checkpoint is signed by no key of the ring that is to be trusted: `indelible verify` tells what became of the log";
    Err(Failure::text(what))
}

/// Writes the proof of one entry.
pub(crate) fn prove(places: &Places, json: bool, args: &ProveArgs) -> Result<(), Failure> {
    let reader = places.reader()?;
    let index = locate(&*reader, &args.which)?.index;
    let (checkpoint, note) = published(places, &*reader)?;
    let bundle = if index.0 < checkpoint.head.size.0 {
        let keys = key_links(&*reader, &known_keys(&*reader, None, &[])?.until(checkpoint.head.size), &note)?;
        Bundle { keys, ..indelible::bundle::prove(&*reader, index, checkpoint.head, &note)? }
    } else {
        let log = places.open().map_err(|failure| beside_a_writer(failure, &format!("entry {index} is")))?;
        let bundle = log.prove(index)?;
        log.close()?;
        bundle
    };
    let bytes = bundle.to_bytes();
    let Some(path) = args.output.as_deref().filter(|path| *path != Path::new("-")) else { return output::data(&bytes) };
    std::fs::write(path, bytes).map_err(Failure::io("write", path))?;
    let size = parse(bundle.proof.checkpoint.as_bytes())?.head.size;
    if json {
        return output::json(&json!({ "file": path.display().to_string(), "index": index.0, "tree_size": size.0 }));
    }
    output::text(&format!(
        "wrote {}: entry {index} is in the tree of {}\ncheck it anywhere with `indelible check-proof {} --public-key {}`",
        path.display(),
        output::entries(size.0),
        path.display(),
        public_key(places, &*reader).unwrap_or_else(|| "VKEY".to_owned()),
    ))
}

/// Who has the log open publishes its checkpoints: what is newer than the last one waits for the next.
fn beside_a_writer(failure: Failure, what: &str) -> Failure {
    if !failure.is_in_use() {
        return failure;
    }
    Failure::text(format!(
        "{what} not yet under a checkpoint: another process has the log open and publishes one within about a second; try again then"
    ))
}

fn public_key(places: &Places, reader: &dyn Reader) -> Option<String> {
    let ring = places.ring_if_any().ok().flatten()?;
    let head = writers_heads(&ring).store.load(&reader.info().origin).ok()??;
    let own = ring.trusted_keys(&reader.info().origin).ok()?;
    let history = known_keys(reader, Some(&head), &ring.active_keys(&reader.info().origin).ok()?).ok()?;
    Some(history.public_key().filter(|key| own.contains(key))?.to_string())
}

/// Refuses a log whose checkpoint keys are none of the ring's.
pub(crate) fn of_ring(history: &KeyHistory, ring: &KeyRing) -> Result<(), Failure> {
    if history.reign_of_any(&ring.public_keys(history.origin())?).is_some() {
        return Ok(());
    }
    Err(Failure::text(
        "the log is signed by none of the checkpoint keys in the ring: these are the keys of another log",
    ))
}

/// Checks a proof with the public key alone.
pub(crate) fn check_proof(json: bool, args: &CheckProofArgs) -> Result<(), Failure> {
    let key = VerifyingKey::parse(args.public_key.trim())?;
    let bytes = read_bundle(&args.file)?;
    let bundle = Bundle::parse(&bytes).map_err(|error| no_bundle(&args.file, &bytes, error))?;
    let checked = bundle.check(&key).map_err(|error| verdict(&bundle, &key, error))?;
    if json {
        return output::json(&json!({
            "index": checked.index.0,
            "leaf_hash": checked.leaf.to_hex(),
            "origin": checked.origin,
            "recorded_at": checked.recorded_at,
            "root": checked.head.root.to_hex(),
            "status": "intact",
            "tree_size": checked.head.size.0,
        }));
    }
    let (good, size) = (output::GOOD, output::entries(checked.head.size.0));
    output::text(&format!(
        "{good}intact{good:#}: entry {} of `{}`, recorded {}, is in the tree of {size} that the log's key signed\n  \
         leaf hash  {}\n  root       {}",
        checked.index,
        output::safe(&checked.origin),
        checked.recorded_at,
        checked.leaf,
        checked.head.root,
    ))
}

fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let input = super::lines::open(path)?;
    let mut bytes = Vec::new();
    input.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(Failure::io("read", path))?;
    if bytes.len() as u64 > MAX_BUNDLE_BYTES {
        let place = path.display();
        return Err(Failure::text(format!(
            "`{place}` has more than {MAX_BUNDLE_BYTES} bytes: that is no proof bundle"
        )));
    }
    Ok(bytes)
}

/// Says what a file is that is no bundle, where that can be told by its beginning.
fn no_bundle(path: &Path, bytes: &[u8], error: LogError) -> Failure {
    let text = String::from_utf8_lossy(bytes.get(..4096).unwrap_or(bytes));
    let line = text.lines().next().unwrap_or_default();
    let what = if text.trim().is_empty() {
        "empty"
    } else if line.starts_with("{\"batch\":") {
        "a segment of a log"
    } else if line.starts_with("{\"duplicate\":") {
        "a file of receipts"
    } else if line.starts_with("{\"entry\":{") || line.starts_with("{\"checkpoint\":") {
        "an export (`tools/verify.py --export FILE` verifies that), or a head record"
    } else if line == "c2sp.org/tlog-proof@v1" {
        "a tlog-proof without its entry"
    } else if parse(bytes).is_ok() {
        "a checkpoint; `consistency --from` or `verify --checkpoint` takes it"
    } else if VerifyingKey::parse(text.trim()).is_ok() {
        "a public key"
    } else {
        return Failure::text(format!(
            "`{}` is no proof bundle: {}; `indelible prove INDEX -o FILE` writes one",
            path.display(),
            chain(&error)
        ));
    };
    Failure::text(format!("`{}` is no proof bundle, as `indelible prove` writes them, but {what}", path.display()))
}

/// A proof that does not hold, or a signature by the right key that is wrong, is evidence; a wrong key says nothing.
fn verdict(bundle: &Bundle, key: &VerifyingKey, error: LogError) -> Failure {
    match error {
        LogError::Checkpoint(CheckpointError::Note(NoteError::NoKnownSignature { .. })) => {
            match parse(bundle.proof.checkpoint.as_bytes()) {
                Ok(checkpoint) if checkpoint.origin != key.name() => Failure::text(format!(
                    "wrong key: the bundle is of log `{}`, the public key of `{}`",
                    checkpoint.origin,
                    key.name()
                )),
                _ => error.into(),
            }
        }
        LogError::Proof(_) | LogError::Checkpoint(CheckpointError::Note(NoteError::BadSignature { .. })) => {
            Failure::Evidence(exit::TAMPERED, Box::new(error))
        }
        error => error.into(),
    }
}

/// Opens an older checkpoint and the newest one with a public key alone: what the log says of its keys counts as far as that key leads there.
fn opened_by(
    key: &VerifyingKey,
    reader: &dyn Reader,
    old: Vec<u8>,
    new: Vec<u8>,
) -> Result<(TreeHead, TreeHead), Failure> {
    let history = known_keys(reader, None, &[])?;
    if history.reign_of(key).is_none() {
        return Err(Failure::text(format!("`{key}` is none of the keys of this log")));
    }
    let text = |note| String::from_utf8(note).map_err(|_| Failure::text("a checkpoint is not UTF-8"));
    let (old, new) = (text(old)?, text(new)?);
    let links = key_links(reader, &history.until(parse(new.as_bytes())?.head.size), &new)?;
    Ok((open_linked(&old, key, &links)?.head, open_linked(&new, key, &links)?.head))
}

/// The same with a ring. It may have every key that there ever was, so which of them is right at a size is told by what the tree of the head record proves, and by nothing else:
/// a key that was replaced signs nothing newer.
fn opened_by_ring(
    places: &Places,
    reader: &dyn Reader,
    old: &[u8],
    new: &[u8],
) -> Result<(TreeHead, TreeHead), Failure> {
    let ring = places.ring()?;
    let origin = &reader.info().origin;
    let heads = writers_heads(&ring).store;
    let missing = || {
        Failure::text(format!(
            "there is no head record of `{origin}` at `{}`: restore it, or give --public-key",
            heads.place(origin)
        ))
    };
    let head = heads.load(origin)?.ok_or_else(missing)?;
    let own = ring.trusted_keys(origin)?;
    let history = known_keys(reader, Some(&head), &ring.active_keys(origin)?)?;
    of_ring(&history, &ring)?;
    let opened = (history.open(old)?.head, history.open(new)?.head);
    refuse_unless_own(new, Some(&head), &own)?;
    Ok(opened)
}

/// Says which file is no checkpoint, and what is one.
fn refuse_no_checkpoint(path: &Path, note: &[u8]) -> Result<(), Failure> {
    let read = Note::parse(note).map_err(CheckpointError::from).and_then(|note| Checkpoint::parse(note.text()));
    read.map(drop).map_err(|error| {
        Failure::text(format!(
            "`{}` is no checkpoint: {}; `indelible checkpoint` prints one",
            path.display(),
            chain(&error)
        ))
    })
}

/// Shows that the tree of an older checkpoint is the beginning of the newest published one.
pub(crate) fn consistency(places: &Places, json: bool, args: &ConsistencyArgs) -> Result<(), Failure> {
    let reader = places.reader()?;
    let given = read_note(&args.from)?;
    refuse_no_checkpoint(&args.from, &given)?;
    let note = reader
        .checkpoint()?
        .ok_or_else(|| Failure::text("the log has no published checkpoint: `indelible checkpoint` publishes one"))?;
    let (old, new) = match &args.public_key {
        Some(text) => opened_by(&VerifyingKey::parse(text.trim())?, &*reader, given, note)?,
        None => opened_by_ring(places, &*reader, &given, &note)?,
    };
    if old.size > new.size {
        let behind = ProofError::NewTreeSmaller { old: old.size, new: new.size };
        return Err(Failure::Evidence(exit::DIVERGED, Box::new(LogError::Proof(behind))));
    }
    let proof = Prover::new(StoredTree(&*reader), new.size).consistency(old.size)?;
    proof.verify(&old, &new).map_err(|error| Failure::Evidence(exit::DIVERGED, Box::new(LogError::Proof(error))))?;
    let hashes: Vec<String> = proof.hashes.iter().map(|hash| hash.to_hex()).collect();
    if json {
        return output::json(&json!({
            "from": { "root": old.root.to_hex(), "tree_size": old.size.0 },
            "proof": hashes,
            "status": "consistent",
            "to": { "root": new.root.to_hex(), "tree_size": new.size.0 },
        }));
    }
    let good = output::GOOD;
    let mut text = format!(
        "{good}consistent{good:#}: the tree of {} is the beginning of the tree of {}\n  from  {}\n  to    {}",
        output::entries(old.size.0),
        new.size,
        old.root,
        new.root
    );
    for hash in hashes {
        text.push_str(&format!("\n  proof {hash}"));
    }
    output::text(&text)
}
