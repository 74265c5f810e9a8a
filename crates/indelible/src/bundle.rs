//! Proofs that leave the log (`docs/format.md` section 8): bundles that anybody checks offline, and exports.

use indelible_core::{
    entry::{EntryRef, Line},
    hex, json,
    note::VerifyingKey,
    proof::TlogProof,
    tile::{self, LevelReader, ProveError, Prover},
    tree::{Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_store::store::{Reader, StoreError, StoredTree};
use serde::{Deserialize, Serialize};

use crate::{
    error::LogError,
    links::{KeyLink, WireLink, open_linked},
};

const FORMAT: &str = "indelible-proof/1";
/// Of a log that has had more than one set of checkpoint keys.
const FORMAT_LINKED: &str = "indelible-proof/2";

/// An entry with everything that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The entry's exact bytes.
    pub entry: Vec<u8>,
    /// The entry signature.
    pub mac: [u8; 32],
    /// Inclusion proof and checkpoint (C2SP tlog-proof).
    pub proof: TlogProof,
    /// How the keys that sign now came from those before; none where the log has had one set of them.
    pub keys: Vec<KeyLink>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    entry: String,
    format: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<WireLink>,
    mac: String,
    proof: String,
}

/// What a checked bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Origin of the log.
    pub origin: String,
    /// Position of the entry.
    pub index: LeafIndex,
    /// Leaf hash of the entry.
    pub leaf: Hash,
    /// The tree head that it is proven under.
    pub head: TreeHead,
    /// The log's clock at recording.
    pub recorded_at: String,
}

impl Bundle {
    /// The file form: canonical JSON and a line feed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            entry: String::from_utf8_lossy(&self.entry).into_owned(),
            format: if self.keys.is_empty() { FORMAT } else { FORMAT_LINKED }.to_owned(),
            keys: self.keys.iter().map(WireLink::from).collect(),
            mac: hex::encode(&self.mac),
            proof: self.proof.to_string(),
        };
        // Strings only: writing cannot fail.
        let text = serde_json::to_vec(&wire).unwrap_or_default();
        let mut bytes = json::canonicalise(&text).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file form.
    ///
    /// # Errors
    /// [`LogError::Malformed`], [`LogError::Proof`].
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let wrong = |detail: &str| malformed(BUNDLE, detail);
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        if ![FORMAT, FORMAT_LINKED].contains(&wire.format.as_str()) {
            return Err(wrong(&format!("its format is `{}`, not `{FORMAT}` or `{FORMAT_LINKED}`", wire.format)));
        }
        let mac =
            hex::decode(wire.mac.as_bytes()).ok_or_else(|| wrong("`mac` is not 64 lower-case hexadecimal digits"))?;
        let keys = wire.keys.iter().map(KeyLink::try_from).collect::<Result<_, _>>()?;
        let bundle = Self { entry: wire.entry.into_bytes(), mac, proof: TlogProof::parse(&wire.proof)?, keys };
        if bundle.to_bytes() == bytes { Ok(bundle) } else { Err(wrong("it is not in canonical form")) }
    }

    /// Checks the bundle with nothing but a public key of the log, be it the first or the last.
    ///
    /// # Errors
    /// [`LogError::Checkpoint`] for a wrong key or signature; [`LogError::Proof`] where the entry is not in that tree;
    /// [`LogError::Malformed`] where entry, proof and checkpoint speak of different things.
    pub fn check(&self, key: &VerifyingKey) -> Result<Checked, LogError> {
        let malformed = |detail: &str| malformed(BUNDLE, detail);
        let checkpoint = open_linked(&self.proof.checkpoint, key, &self.keys)?;
        let entry = EntryRef::parse(&self.entry).map_err(|error| malformed(&error.to_string()))?;
        entry.check_strict().map_err(|detail| malformed(&detail))?;
        if entry.log != checkpoint.origin {
            return Err(malformed("the entry is of another log than the checkpoint"));
        }
        if entry.index != self.proof.index {
            return Err(malformed("the entry stands at another index than the proof"));
        }
        let leaf = leaf_hash(&self.entry);
        self.proof.inclusion().verify(&leaf, &checkpoint.head)?;
        Ok(Checked {
            origin: checkpoint.origin,
            index: entry.index,
            leaf,
            head: checkpoint.head,
            recorded_at: entry.recorded_at.to_owned(),
        })
    }
}

const BUNDLE: &str = "the proof bundle";

pub(crate) fn malformed(place: &str, detail: &str) -> LogError {
    LogError::Malformed { place: place.to_owned(), detail: detail.to_owned() }
}

pub(crate) fn prove_error(error: ProveError<StoreError>) -> LogError {
    match error {
        ProveError::Read(error) => error.into(),
        ProveError::IndexOutsideTree { index, size } => StoreError::NoEntry { index: index.0, size: size.0 }.into(),
        error => LogError::Refused(error.to_string()),
    }
}

/// Proves one entry under a checkpoint.
///
/// # Errors
/// [`LogError`]; [`LogError::Evidence`] where the proof made from the stored tree does not hold for the stored entry.
pub fn prove(store: &dyn Reader, index: LeafIndex, head: TreeHead, note: &str) -> Result<Bundle, LogError> {
    let mut prover = Prover::new(StoredTree(store), head.size);
    prove_with(store, &mut prover, index, head, note)
}

/// The same with a prover that is used for many.
///
/// # Errors
/// As [`prove`].
pub fn prove_with<R: LevelReader<Error = StoreError>>(
    store: &dyn Reader,
    prover: &mut Prover<R>,
    index: LeafIndex,
    head: TreeHead,
    note: &str,
) -> Result<Bundle, LogError> {
    let stored = crate::log::get(store, index)?;
    let inclusion = prover.inclusion(index).map_err(prove_error)?;
    // A proof that does not hold is never handed out.
    inclusion.verify(&leaf_hash(&stored.entry), &head).map_err(|_| LogError::Evidence {
        index: index.0,
        detail: "its bytes are not those that the checkpoint covers".to_owned(),
    })?;
    let proof = TlogProof { extra: None, index, hashes: inclusion.hashes, checkpoint: note.to_owned() };
    Ok(Bundle { entry: stored.entry, mac: stored.mac, proof, keys: Vec::new() })
}

/// One line of an export.
///
/// # Errors
/// [`StoreError::Line`].
pub fn export_line(line: &[u8], index: u64, out: &mut Vec<u8>) -> Result<Hash, LogError> {
    let parsed = Line::parse(line).map_err(|source| StoreError::Line { index, source })?;
    Ok(export_entry(&parsed.entry, &parsed.mac, index, out))
}

/// The same of an entry that is parsed.
pub fn export_entry(entry: &EntryRef<'_>, mac: &[u8; 32], index: u64, out: &mut Vec<u8>) -> Hash {
    let leaf = leaf_hash(entry.bytes);
    out.extend_from_slice(b"{\"entry\":");
    out.extend_from_slice(entry.bytes);
    out.extend_from_slice(format!(",\"index\":{index},\"leaf_hash\":\"{leaf}\",\"mac\":\"").as_bytes());
    hex::push(out, mac);
    out.extend_from_slice(format!("\",\"prev\":\"{}\"}}\n", entry.prev).as_bytes());
    leaf
}

#[derive(Serialize)]
struct ExportEnd<'a> {
    checkpoint: &'a str,
    from: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<WireLink>,
    left: Vec<String>,
    right: Vec<String>,
    to: u64,
}

/// The last line of an export of entries `from .. to`: the checkpoint and the subtrees on both sides.
///
/// # Errors
/// [`StoreError`].
pub fn export_end(
    store: &dyn Reader,
    (from, to): (u64, u64),
    size: TreeSize,
    note: &str,
    keys: &[KeyLink],
) -> Result<Vec<u8>, LogError> {
    let tree = StoredTree(store);
    let sides = (&*tile::compact_left(&tree, from)?, &*tile::compact_right(&tree, to, size)?);
    export_end_of((from, to), sides, note, keys)
}

/// The same of subtrees that are at hand: those on the left, and those on the right.
///
/// # Errors
/// [`LogError::Refused`] where it cannot be written.
pub fn export_end_of(
    (from, to): (u64, u64),
    (left, right): (&[Hash], &[Hash]),
    note: &str,
    keys: &[KeyLink],
) -> Result<Vec<u8>, LogError> {
    let hex = |hashes: &[Hash]| hashes.iter().map(Hash::to_hex).collect();
    let keys = keys.iter().map(WireLink::from).collect();
    let end = ExportEnd { checkpoint: note, from, keys, left: hex(left), right: hex(right), to };
    let text = serde_json::to_vec(&end).map_err(|error| LogError::Refused(error.to_string()))?;
    let mut bytes = json::canonicalise(&text).map_err(|error| LogError::Refused(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}
