//! Entries for tests: a chain of sealed lines of any size, and what is known of each.

use indelible_core::{
    FORMAT_VERSION,
    entry::{BodyKind, EntryStart, Line, Tail},
    mac::LogId,
    time::Micros,
    tree::{Frontier, Hash, LeafIndex, TreeHead, leaf_hash},
};
use sha2::{Digest as _, Sha256};

use crate::{
    driver::TailFault,
    store::{Batch, BatchEntry, Fingerprint, LogInfo},
};

const ORIGIN: &str = "example.org/conformance";
const KEY: &str = "es1-0123456789abcdef";
const BEGIN: i64 = 1_790_000_000_000_000;

/// The log that every [`Scribe`] writes.
#[must_use]
pub fn info() -> LogInfo {
    LogInfo { origin: ORIGIN.to_owned(), log_id: LogId([7; 16]), format: FORMAT_VERSION }
}

/// The signature of a leaf: no secret in it, only that one leaf's does not fit another's.
#[must_use]
pub fn sign(leaf: &Hash) -> [u8; 32] {
    Sha256::new_with_prefix(b"conformance").chain_update(leaf.0).finalize().into()
}

/// What is wrong with a line as this log's, except its place: origin, key and signature.
#[must_use]
pub fn fault(line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
    if (line.entry.log, line.entry.key) != (ORIGIN, KEY) {
        return Some(TailFault::Wrong("it is of another log".to_owned()));
    }
    (line.mac != sign(leaf)).then(|| TailFault::Wrong("its signature does not fit".to_owned()))
}

/// The id of the event in entry `index`.
#[must_use]
pub fn id(index: u64) -> Fingerprint {
    Fingerprint::of(&event_id(index))
}

fn event_id(index: u64) -> String {
    format!("event-{index}")
}

/// Writes entries one behind the other and remembers all of them.
#[derive(Clone, Debug, Default)]
pub struct Scribe {
    /// Every line, each with its line feed.
    pub lines: Vec<Vec<u8>>,
    /// Their leaf hashes.
    pub leaves: Vec<Hash>,
}

impl Scribe {
    /// The next batch: one entry for each of `sizes`, whose event is padded to about so many bytes (at most 64,000).
    pub fn batch(&mut self, sizes: &[usize]) -> Batch {
        let first = self.size();
        let recorded_at = Micros(BEGIN + i64::try_from(first).unwrap_or(0));
        let time = recorded_at.to_string();
        let mut batch = Batch { first, recorded_at, names: None, keys: None, bytes: Vec::new(), entries: Vec::new() };
        for size in sizes {
            let entry = self.seal(first, *size, &time, &mut batch.bytes);
            self.lines.push(batch.bytes.get(entry.line.clone()).unwrap_or_default().to_vec());
            self.leaves.push(entry.leaf);
            batch.entries.push(entry);
        }
        batch
    }

    fn seal(&self, batch: u64, size: usize, time: &str, out: &mut Vec<u8>) -> BatchEntry {
        let index = self.size();
        let mut event = format!("{{\"action\":\"a\",\"id\":\"{}\",\"pad\":\"", event_id(index));
        // Not all alike, so that a line in the wrong place shows and compression has something to do.
        let pad = (b'a'..=b'z').cycle().skip(index_of(index % 26)).take(size.saturating_sub(event.len() + 2));
        event.extend(pad.map(char::from));
        event.push_str("\"}");
        let mut salt = [0; 16];
        for (slot, byte) in salt.iter_mut().zip(index.to_le_bytes()) {
            *slot = byte;
        }
        let prev = self.leaves.last().copied().unwrap_or_else(|| leaf_hash(b""));
        let index = LeafIndex(index);
        let tail = Tail { head: None, index, key: KEY, log: ORIGIN, bounded: false, prev, recorded_at: time };
        let start = EntryStart::new(BodyKind::Event, event.as_bytes(), salt);
        let from = out.len();
        let (leaf, mac, entry) = start.seal(&tail, LeafIndex(batch), sign, out);
        let recorded_at = Micros::parse_exact(time).unwrap_or(Micros(0));
        BatchEntry { line: from..out.len(), entry, batch, recorded_at, leaf, mac, id: Some(id(index.0)) }
    }

    /// How many entries were written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Forgets the entries from `size` on: they were never acknowledged, and recovery did not find them.
    pub fn truncate(&mut self, size: u64) {
        self.lines.truncate(index_of(size));
        self.leaves.truncate(index_of(size));
    }

    /// The head of the tree over the first `size` entries.
    #[must_use]
    pub fn head(&self, size: u64) -> TreeHead {
        let mut frontier = Frontier::new();
        self.leaves.iter().take(index_of(size)).for_each(|leaf| frontier.push(*leaf));
        frontier.head()
    }
}

fn index_of(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
