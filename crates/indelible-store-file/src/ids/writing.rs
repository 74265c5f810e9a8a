//! Writing an id file, of records or of other files.

use std::{path::PathBuf, sync::Arc};

use indelible_store::{
    disk::{DiskFile, Open, SharedDisk},
    store::StoreError,
};
use sha2::{Digest as _, Sha256};

use super::{
    Record,
    form::{
        BLOCK, BLOCK_LEN, FOOTER_LEN, HEADER, KEYS_PER_BLOCK, MAGIC, RECORD, RECORD_LEN, bits_of, block_of,
        parse_record,
    },
    run::{BUFFER_RECORDS, Run},
};

/// Writes a sorted file in one pass: the filter's blocks and the records grow side by side.
pub(super) struct RunWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Vec<u8>,
    blocks: u64,
    block: u64,
    bits: [u8; BLOCK_LEN],
    filter: Vec<u8>,
    filter_at: u64,
    records: Vec<u8>,
    records_at: u64,
    digests: [Sha256; 2],
}

impl RunWriter {
    pub(super) fn create(
        disk: &SharedDisk,
        path: PathBuf,
        first: u64,
        end: u64,
        count: u64,
    ) -> Result<Self, StoreError> {
        if disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
            disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        let file = disk.open(&path, Open::CreateNew).map_err(StoreError::io("create", &path))?;
        let blocks = count / KEYS_PER_BLOCK + 1;
        let mut header = MAGIC.to_vec();
        for word in [count, first, end, blocks] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        let mut digests = [Sha256::new(), Sha256::new()];
        if let Some(front) = digests.first_mut() {
            front.update(&header);
        }
        Ok(Self {
            file,
            path,
            header,
            blocks,
            block: 0,
            bits: [0; BLOCK_LEN],
            filter: Vec::new(),
            filter_at: HEADER,
            records: Vec::new(),
            records_at: HEADER + blocks * BLOCK,
            digests,
        })
    }

    pub(super) fn push(&mut self, record: Record) -> Result<(), StoreError> {
        let block = block_of(record.0, self.blocks);
        while self.block < block {
            self.end_block()?;
        }
        for bit in bits_of(record.0) {
            if let Some(byte) = self.bits.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        self.records.extend_from_slice(&record.0.0);
        self.records.extend_from_slice(&record.1.to_le_bytes());
        if self.records.len() >= BUFFER_RECORDS * RECORD_LEN { self.flush_records() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        self.filter.extend_from_slice(&self.bits);
        self.bits = [0; BLOCK_LEN];
        self.block += 1;
        if self.filter.len() >= 1 << 16 { self.flush_filter() } else { Ok(()) }
    }

    fn flush_filter(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.filter, self.filter_at).map_err(StoreError::io("write", &self.path))?;
        if let Some(front) = self.digests.first_mut() {
            front.update(&self.filter);
        }
        self.filter_at += self.filter.len() as u64;
        self.filter.clear();
        Ok(())
    }

    fn flush_records(&mut self) -> Result<(), StoreError> {
        self.file.write_at(&self.records, self.records_at).map_err(StoreError::io("write", &self.path))?;
        if let Some(back) = self.digests.last_mut() {
            back.update(&self.records);
        }
        self.records_at += self.records.len() as u64;
        self.records.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        while self.block < self.blocks {
            self.end_block()?;
        }
        self.flush_filter()?;
        self.flush_records()?;
        let footer = self.digests.map(|digest| <[u8; 32]>::from(digest.finalize())).concat();
        let io = |step| StoreError::io(step, &self.path);
        self.file.write_at(&footer, self.records_at).map_err(io("write"))?;
        self.file.write_at(&self.header, 0).map_err(io("write"))?;
        self.file.sync().map_err(io("sync"))
    }
}

/// Merges records while checking each file's checksum of them; filters are made anew.
pub(super) fn merge_records(runs: &[Arc<Run>], out: &mut RunWriter) -> Result<(), StoreError> {
    struct Cursor<'a> {
        run: &'a Run,
        next: u64,
        buffer: std::vec::IntoIter<Record>,
        head: Option<Record>,
        digest: Sha256,
    }
    impl Cursor<'_> {
        fn advance(&mut self) -> Result<(), StoreError> {
            if self.buffer.len() == 0 && self.next < self.run.count {
                let count = usize::try_from(self.run.count - self.next).unwrap_or(usize::MAX).min(BUFFER_RECORDS);
                let mut bytes = vec![0; count * RECORD_LEN];
                self.run.read(&mut bytes, self.run.records_at() + self.next * RECORD)?;
                self.digest.update(&bytes);
                self.buffer = bytes.chunks_exact(RECORD_LEN).filter_map(parse_record).collect::<Vec<_>>().into_iter();
                self.next += count as u64;
            }
            self.head = self.buffer.next();
            Ok(())
        }

        /// Compares the checksum of the records, when all were read.
        fn finish(self) -> Result<(), StoreError> {
            let mut footer = [0; FOOTER_LEN];
            self.run.read(&mut footer, self.run.records_at() + self.run.count * RECORD)?;
            let digest: [u8; 32] = self.digest.finalize().into();
            if footer.ends_with(&digest) { Ok(()) } else { Err(self.run.damaged("its checksum does not fit")) }
        }
    }
    let mut cursors = Vec::new();
    for run in runs {
        let mut cursor = Cursor { run, next: 0, buffer: Vec::new().into_iter(), head: None, digest: Sha256::new() };
        cursor.advance()?;
        cursors.push(cursor);
    }
    while let Some(cursor) = cursors.iter_mut().filter(|c| c.head.is_some()).min_by_key(|c| c.head) {
        if let Some(record) = cursor.head {
            out.push(record)?;
        }
        cursor.advance()?;
    }
    cursors.into_iter().try_for_each(Cursor::finish)
}
