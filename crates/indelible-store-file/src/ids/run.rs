//! Reading one id file.

use std::path::PathBuf;

use indelible_store::{
    disk::{DiskFile, Open, SharedDisk},
    store::{Fingerprint, StoreError},
};
use sha2::{Digest as _, Sha256};

use super::{
    Record,
    form::{
        BLOCK, BLOCK_LEN, FOOTER_LEN, HEADER, HEADER_LEN, KEYS_PER_BLOCK, MAGIC, RECORD, RECORD_LEN, bits_of, block_of,
        length_of, parse_record, scale,
    },
};

/// Records read or written at a time: 96 KiB.
pub(super) const BUFFER_RECORDS: usize = 4096;

/// One sorted file.
pub struct Run {
    file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    /// First entry that it covers.
    pub first: u64,
    /// End of the range that it covers.
    pub end: u64,
    pub(super) count: u64,
    blocks: u64,
}

impl Run {
    /// Opens a file and checks its header against its name and length.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(disk: &SharedDisk, path: PathBuf, first: u64, end: u64) -> Result<Self, StoreError> {
        let file = disk.open(&path, Open::Read).map_err(StoreError::io("open", &path))?;
        let mut header = [0; HEADER_LEN];
        let got = file.read_at(&mut header, 0).map_err(StoreError::io("read", &path))?;
        let word =
            |n: usize| header.get(n * 8..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes);
        let run = Self { count: word(1), blocks: word(4), file, path, first, end };
        let len = run.file.len().map_err(StoreError::io("read", &run.path))?;
        let fits = got == header.len()
            && header.starts_with(MAGIC)
            && (word(2), word(3)) == (first, end)
            && run.blocks == run.count / KEYS_PER_BLOCK + 1
            && run.count <= end.saturating_sub(first)
            // INVARIANT(counted): from here on `count` and `blocks` are bounded by the file's length.
            && Some(len) == length_of(run.count, run.blocks);
        if fits { Ok(run) } else { Err(run.damaged("its header does not fit its name and length")) }
    }

    pub(super) fn damaged(&self, detail: &str) -> StoreError {
        StoreError::Damaged { place: self.path.display().to_string(), detail: detail.to_owned() }
    }

    pub(super) fn records_at(&self) -> u64 {
        HEADER + self.blocks * BLOCK
    }

    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        let got = self.file.read_at(bytes, at).map_err(StoreError::io("read", &self.path))?;
        if got == bytes.len() { Ok(()) } else { Err(self.damaged("it ends too early")) }
    }

    fn records(&self, from: u64, count: usize) -> Result<Vec<Record>, StoreError> {
        let mut bytes = vec![0; count * RECORD_LEN];
        self.read(&mut bytes, self.records_at() + from * RECORD)?;
        Ok(bytes.chunks_exact(RECORD_LEN).filter_map(parse_record).collect())
    }

    /// Indices recorded for a fingerprint.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Damaged`].
    pub fn lookup(&self, id: Fingerprint, out: &mut Vec<u64>) -> Result<(), StoreError> {
        let mut block = [0; BLOCK_LEN];
        self.read(&mut block, HEADER + block_of(id, self.blocks) * BLOCK)?;
        if !bits_of(id).all(|bit| block.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)) {
            return Ok(());
        }
        let mut at = self.lower_bound(id)?;
        while at < self.count {
            match self.records(at, 1)?.first() {
                Some((found, index)) if *found == id => out.push(*index),
                _ => break,
            }
            at += 1;
        }
        Ok(())
    }

    /// The first record not below `id`. Fingerprints are uniform, so a guess by proportion lands within a few pages.
    fn lower_bound(&self, id: Fingerprint) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.count);
        let prefix = id.0.first_chunk().copied().map_or(0, u64::from_be_bytes);
        let guess = scale(prefix, self.count);
        let mut width = 128_u64;
        // Bracket the answer around the guess, then halve.
        loop {
            let from = guess.saturating_sub(width).max(low);
            let to = guess.saturating_add(width).min(high);
            let below = from == 0 || self.records(from - 1, 1)?.first().is_some_and(|r| r.0 < id);
            let above = to >= self.count || self.records(to, 1)?.first().is_none_or(|r| r.0 >= id);
            if below {
                low = low.max(from);
            }
            if above {
                high = high.min(to);
            }
            if below && above {
                break;
            }
            width = width.saturating_mul(8);
        }
        while high - low > BUFFER_RECORDS as u64 / 16 {
            let middle = low + (high - low) / 2;
            if self.records(middle, 1)?.first().is_some_and(|r| r.0 < id) { low = middle + 1 } else { high = middle }
        }
        let window = self.records(low, usize::try_from(high - low).unwrap_or(0))?;
        Ok(low + window.partition_point(|r| r.0 < id) as u64)
    }

    /// Every record in order, with the checksum and order checked at the end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`], or what `each` returns.
    pub fn scan(&self, mut each: impl FnMut(Record) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut digests = [Sha256::new(), Sha256::new()];
        let [front, records] = &mut digests;
        let mut at = 0;
        while at < self.records_at() {
            let mut bytes = vec![0; usize::try_from((self.records_at() - at).min(1 << 16)).unwrap_or(0)];
            self.read(&mut bytes, at)?;
            front.update(&bytes);
            at += bytes.len() as u64;
        }
        let mut last = None;
        let mut n = 0;
        while n < self.count {
            let count = usize::try_from(self.count - n).unwrap_or(usize::MAX).min(BUFFER_RECORDS);
            let mut bytes = vec![0; count * RECORD_LEN];
            self.read(&mut bytes, self.records_at() + n * RECORD)?;
            records.update(&bytes);
            for record in bytes.chunks_exact(RECORD_LEN).filter_map(parse_record) {
                if last.is_some_and(|last| last >= record) {
                    return Err(self.damaged("its records are out of order"));
                }
                last = Some(record);
                each(record)?;
            }
            n += count as u64;
        }
        let mut footer = [0; FOOTER_LEN];
        self.read(&mut footer, self.records_at() + self.count * RECORD)?;
        let want = digests.map(|digest| <[u8; 32]>::from(digest.finalize())).concat();
        if want == footer { Ok(()) } else { Err(self.damaged("its checksum does not fit")) }
    }
}
