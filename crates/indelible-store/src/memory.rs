//! A store in memory: for tests, and for embedding a log that is not to outlive its process.
//!
//! It keeps every promise of the seam but one: nothing is durable. Clones share one log, so that a clone is an independent reader beside
//! the writer and still holds everything after the writer was dropped.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use indelible_core::tree::{Frontier, Hash, LeafIndex, TreeSize};
use sha2::{Digest as _, Sha256};

use crate::store::{
    Appended, Batch, Chunk, DerivedFault, Fingerprint, LogInfo, MAX_ATTACHMENT_BYTES, MAX_BATCH_BYTES, Piece, Reader,
    Run, Scanned, StoreError, Writer,
};

/// What errors name as the place.
const PLACE: &str = "memory";
/// The size of a piece of the one run.
const PIECE_BYTES: usize = 1 << 20;

/// A log in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    info: LogInfo,
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Arc<[u8]>>,
    frontier: Frontier,
    levels: Vec<Vec<Hash>>,
    ids: HashMap<Fingerprint, Vec<u64>>,
    checkpoint: Option<Vec<u8>>,
    kept: BTreeMap<u64, Vec<u8>>,
    attachments: HashMap<[u8; 32], Vec<u8>>,
    bounded: bool,
}

impl MemoryStore {
    /// An empty log.
    #[must_use]
    pub fn new(info: LogInfo) -> Self {
        Self { info, state: Arc::default() }
    }

    /// Whether bounded acknowledgements were open and no [`Writer::close`] came after.
    #[must_use]
    pub fn bounded(&self) -> bool {
        self.read().bounded
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn size(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The lines from the one that is `bytes` behind the start, as many as begin before `end`.
    fn lines_between(&self, from: u64, end: u64) -> Vec<u8> {
        let mut at = 0;
        let mut out = Vec::new();
        for line in &self.lines {
            if (from..end).contains(&at) {
                out.extend_from_slice(line);
            }
            at += line.len() as u64;
        }
        out
    }
}

fn index_of(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Reader for MemoryStore {
    fn info(&self) -> &LogInfo {
        &self.info
    }

    fn size(&self) -> Result<TreeSize, StoreError> {
        Ok(TreeSize(self.read().size()))
    }

    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError> {
        let state = Self::read(self);
        let mut bytes = Vec::new();
        for line in state.lines.iter().skip(index_of(from.0)) {
            if !bytes.is_empty() && bytes.len() + line.len() > max_bytes {
                break;
            }
            bytes.extend_from_slice(line);
        }
        if bytes.is_empty() {
            return Err(StoreError::NoEntry { index: from.0, size: state.size() });
        }
        Ok(Chunk { first: from.0, bytes })
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        let bytes: usize = Self::read(self).lines.iter().map(|line| line.len()).sum();
        Ok(vec![Run { first: 0, place: PLACE.to_owned(), bytes: bytes as u64, beyond: 0, closed: false, end: None }])
    }

    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError> {
        let starts = (0..run.bytes).step_by(PIECE_BYTES);
        let piece = |offset| Piece { offset, bytes: (PIECE_BYTES as u64).min(run.bytes - offset), unit: 0, units: 0 };
        Ok(starts.map(piece).collect())
    }

    fn read_piece(&self, run: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError> {
        // A line belongs to the piece in which it begins.
        Ok(Self::read(self).lines_between(piece.offset, (piece.offset + piece.bytes).min(run.bytes)))
    }

    fn tree_size(&self) -> Result<TreeSize, StoreError> {
        Ok(Self::read(self).frontier.size())
    }

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        let state = Self::read(self);
        let stored = state.levels.get(usize::from(level)).map_or(&[][..], Vec::as_slice);
        let from = index_of(first);
        let found = from.checked_add(count).and_then(|end| stored.get(from..end));
        found.map(<[Hash]>::to_vec).ok_or_else(|| StoreError::Damaged {
            place: format!("{PLACE}, level {level} of the tree"),
            detail: format!("it has {} hashes", stored.len()),
        })
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::read(self).checkpoint.clone())
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::read(self).kept.get(&number).cloned())
    }

    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError> {
        let mut numbers: Vec<u64> = Self::read(self).kept.keys().copied().collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        Ok(Self::read(self).ids.get(&id).into_iter().flatten().copied().map(LeafIndex).collect())
    }

    fn check_derived(&self, _: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
        Ok(Vec::new())
    }

    fn has_writer(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::read(self).attachments.get(digest).cloned())
    }

    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        Ok(Self::read(self).attachments.get(digest).map(|content| content.len() as u64))
    }
}

impl Writer for MemoryStore {
    fn append(&self, batch: &Batch) -> Result<Appended, StoreError> {
        if batch.bytes.len() > MAX_BATCH_BYTES {
            let (bytes, limit) = (batch.bytes.len() as u64, MAX_BATCH_BYTES as u64);
            return Err(StoreError::Limit { what: "a batch", bytes, limit });
        }
        let mut state = self.write();
        if batch.first != state.size() {
            let detail = format!("the batch begins with entry {}", batch.first);
            return Err(StoreError::Evidence { index: state.size(), detail });
        }
        let lines = batch.entries.iter().map(|entry| batch.bytes.get(entry.line.clone()).unwrap_or_default().into());
        state.lines.extend(lines);
        Ok(Appended::default())
    }

    fn claim(&self, ids: &[(Fingerprint, u64)], _end: u64) {
        let mut state = self.write();
        for (id, index) in ids {
            state.ids.entry(*id).or_default().push(*index);
        }
    }

    fn id_token(&self) -> u64 {
        0
    }

    fn lookup_recent(&self, id: Fingerprint, _token: u64) -> Result<Vec<LeafIndex>, StoreError> {
        self.lookup(id)
    }

    fn extend_tree(&self, leaves: &[Hash], _lines: &Chunk) -> Result<(), StoreError> {
        let state = &mut *self.write();
        let levels = &mut state.levels;
        for leaf in leaves {
            push(levels, 0, *leaf);
            state.frontier.push_with(*leaf, &mut |level, hash| push(levels, level, hash));
        }
        Ok(())
    }

    fn sync_tree(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn publish(&self, checkpoint: &[u8], keep: Option<u64>) -> Result<(), StoreError> {
        let mut state = self.write();
        state.checkpoint = Some(checkpoint.to_vec());
        state.kept.extend(keep.map(|number| (number, checkpoint.to_vec())));
        Ok(())
    }

    fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], StoreError> {
        if content.len() as u64 > MAX_ATTACHMENT_BYTES {
            let (bytes, limit) = (content.len() as u64, MAX_ATTACHMENT_BYTES);
            return Err(StoreError::Limit { what: "an attachment", bytes, limit });
        }
        let digest: [u8; 32] = Sha256::digest(content).into();
        self.write().attachments.insert(digest, content.to_vec());
        Ok(digest)
    }

    fn mark_bounded(&self) -> Result<(), StoreError> {
        self.write().bounded = true;
        Ok(())
    }

    fn tend(&self, _anchored: TreeSize) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.write().bounded = false;
        Ok(())
    }
}

fn push(levels: &mut Vec<Vec<Hash>>, level: u8, hash: Hash) {
    let slot = usize::from(level);
    if levels.len() <= slot {
        levels.resize_with(slot + 1, Vec::new);
    }
    if let Some(level) = levels.get_mut(slot) {
        level.push(hash);
    }
}
