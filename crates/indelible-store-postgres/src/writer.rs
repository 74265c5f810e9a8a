//! Writing a log beside other processes: turns, the stored tree, checkpoints, attachments, marks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use indelible_core::{
    tile::WIDTH,
    tree::{Hash, TreeSize, range_root},
};
use indelible_store::store::{
    Appended, Batch, Chunk, MAX_ATTACHMENT_BYTES, MAX_BATCH_BYTES, PrunedRange, Pruning, Reader, ReadsThrough,
    StoreError, Turn, TurnError, Writer,
};
use sha2::{Digest as _, Sha256};

use crate::{
    call::{Call, Param, bigs, byteas, smalls},
    database::{Database, How},
    pruned,
    reader::{PostgresReader, cut_runs},
    search::index_for_a_while,
    turn::signed,
    turns::Turns,
};

const EXTEND: &str = "select indelible.extend_tree($1, $2, $3, $4, $5, $6)";
const PUBLISH: &str = "select indelible.publish($1, $2, $3, $4)";
const PUT: &str = "select indelible.put_attachment($1, $2, $3, $4)";
const MARK: &str = "select indelible.mark_bounded($1, $2, $3)";
const RENEW: &str = "select indelible.renew_mark($1, $2, $3)";
const ADOPT: &str = "select indelible.adopt_marks($1, $2, $3)";
const CLEAR: &str = "select indelible.clear_marks($1, $2)";
const OWNER: &str = "select pg_catalog.uuid_send(pg_catalog.gen_random_uuid())";
const PARTITIONS: &str = "select indelible.prepare_partitions($1)";

/// Bytes of an attachment in one row and one message.
const PART_BYTES: usize = 4 << 20;
/// Months for which partitions are made ahead, and how often that is looked after.
const MONTHS_AHEAD: i32 = 2;
const PREPARE_EVERY: Duration = Duration::from_secs(3600);

/// A log for writing.
pub struct PostgresWriter {
    reader: PostgresReader,
    /// Who this writer is among the marks of bounded acknowledgements.
    owner: [u8; 16],
    /// When this writer's mark was made or renewed. Its renewal ends when this goes.
    mark: Mutex<Option<Arc<Mutex<Instant>>>>,
    prepared: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PostgresWriter {
    pub(crate) fn new(reader: PostgresReader) -> Result<Self, StoreError> {
        let step = "begin to write";
        let rows = reader.database.read(step, Call::new(OWNER, Vec::new()))?;
        let owner: &[u8] = rows.first().map_or(Ok(&[][..]), |row| row.try_get(0)).map_err(reader.broken(step))?;
        let owner = owner.try_into().unwrap_or_default();
        let writer = Self { reader, owner, mark: Mutex::default(), prepared: Mutex::default() };
        writer.prepare_partitions()?;
        Ok(writer)
    }

    pub(crate) fn database(&self) -> &Database {
        &self.reader.database
    }

    /// The log's number in its database.
    pub(crate) fn number(&self) -> i64 {
        self.reader.log
    }

    /// Whether the other log is reached by the same handle, so that one transaction can hold both.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.database().pool, &other.database().pool)
    }

    pub(crate) fn own_reader(&self) -> &PostgresReader {
        &self.reader
    }

    fn mine(&self) -> Param {
        Param::Big(self.reader.log)
    }

    /// Whether an attachment is there, as it must be.
    fn attachment_is(&self, digest: &[u8; 32], content: &[u8]) -> Result<bool, StoreError> {
        match self.reader.attachment(digest)? {
            None => Ok(false),
            Some(there) if there == content => Ok(true),
            Some(_) => Err(StoreError::Unfit {
                place: self.reader.place().to_owned(),
                detail: format!(
                    "attachment sha256:{} of this log is there with another content, which only a login that may write can have put there; take its rows of `indelible.attachments` away as the owner, and record again",
                    indelible_core::hex::encode(digest)
                ),
            }),
        }
    }

    /// Partitions are made ahead; where that does not work now, rows go where all rows go that have no month.
    fn prepare_partitions(&self) -> Result<(), StoreError> {
        let mut prepared = lock(&self.prepared);
        if prepared.is_some_and(|at| at.elapsed() < PREPARE_EVERY) {
            return Ok(());
        }
        match self.database().write("prepare partitions", Call::new(PARTITIONS, vec![Param::Int(MONTHS_AHEAD)])) {
            Ok(_) | Err(StoreError::TryAgain { .. }) => {}
            Err(error) => return Err(error),
        }
        *prepared = Some(Instant::now());
        Ok(())
    }

    /// Whether processes that died left marks; these are this writer's from now on.
    pub(crate) fn adopt_marks(&self) -> Result<bool, StoreError> {
        let (step, at) = ("look for marks of bounded acknowledgements", Instant::now());
        let rows = self.database().write(step, self.mark_call(ADOPT))?;
        let found = rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(self.reader.broken(step))?;
        if found {
            self.keep_mark(at);
        }
        Ok(found)
    }

    fn mark_call(&self, sql: &'static str) -> Call {
        let seconds = self.database().pool.settings.bounded_mark.as_secs_f64();
        Call::new(sql, vec![self.mine(), Param::Uuid(self.owner), Param::Double(seconds)])
    }

    /// Renews the mark, which was made at `at`, for as long as this writer lives and does not close.
    fn keep_mark(&self, at: Instant) {
        let every = self.database().pool.settings.bounded_mark / 3;
        if every.is_zero() {
            return;
        }
        let mut mark = lock(&self.mark);
        if let Some(renewed) = &*mark {
            *lock(renewed) = at;
            return;
        }
        let renewed = Arc::new(Mutex::new(at));
        let watched = Arc::downgrade(&renewed);
        *mark = Some(renewed);
        let (pool, call) = (Arc::clone(&self.database().pool), self.mark_call(RENEW));
        self.database().spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let (at, Some(renewed)) = (Instant::now(), watched.upgrade()) else { return };
                if let Ok(rows) = pool.once(How::Write, &call).await
                    && rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false))
                {
                    *lock(&renewed) = at;
                }
            }
        });
    }

    /// Whether the mark holds for a while yet. One that could not be renewed is made again.
    fn is_marked(&self) -> bool {
        let holds = self.database().pool.settings.bounded_mark / 2;
        lock(&self.mark).as_ref().is_some_and(|renewed| lock(renewed).elapsed() < holds)
    }

    /// The hashes that `leaves` add to every level of a tree of `size` leaves.
    fn new_hashes(&self, size: u64, leaves: &[Hash]) -> Result<Vec<(u8, u64, Vec<Hash>)>, StoreError> {
        let mut levels = Vec::new();
        let (mut level, mut first, mut new) = (0, size, leaves.to_vec());
        while !new.is_empty() {
            let begun = first - first % WIDTH;
            let completes = (first + new.len() as u64) / WIDTH > first / WIDTH;
            let mut above = Vec::new();
            if completes {
                let count = usize::try_from(first - begun).unwrap_or(0);
                let mut tiles = if count > 0 { self.reader.hashes(level, begun, count)? } else { Vec::new() };
                tiles.extend_from_slice(&new);
                above = tiles.chunks_exact(usize::try_from(WIDTH).unwrap_or(1)).map(range_root).collect();
            }
            levels.push((level, first, new));
            (level, first, new) = (level + 1, begun / WIDTH, above);
        }
        Ok(levels)
    }
}

impl ReadsThrough for PostgresWriter {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }
}

impl Writer for PostgresWriter {
    fn shared(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        self.database().pool.settings.patience
    }

    fn take_turn<'a>(&'a self, others: &[&'a (dyn Writer + 'static)]) -> Result<Box<dyn Turn + 'a>, TurnError> {
        Ok(Box::new(Turns::take(self, others)?))
    }

    fn append(&self, batch: &Batch) -> Result<Appended, StoreError> {
        if batch.bytes.len() > MAX_BATCH_BYTES {
            let (bytes, limit) = (batch.bytes.len() as u64, MAX_BATCH_BYTES as u64);
            return Err(StoreError::Limit { what: "a batch", bytes, limit });
        }
        let appended = self.take_turn(&[]).and_then(|turn| turn.append(&[batch]));
        appended.map(|()| Appended::default()).map_err(|error| error.error)
    }

    fn extend_tree(&self, leaves: &[Hash], lines: &Chunk) -> Result<(), StoreError> {
        if leaves.is_empty() {
            return Ok(());
        }
        let step = "extend the stored tree";
        let (mut levels, mut firsts, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for (level, first, hashes) in self.new_hashes(lines.first, leaves)? {
            for (at, run) in cut_runs(first, &hashes) {
                levels.push(i16::from(level));
                firsts.push(signed(at));
                runs.push(run);
            }
        }
        let bytes = runs.iter().map(Vec::len).sum();
        let params = vec![
            self.mine(),
            Param::Big(signed(lines.first)),
            Param::Big(signed(lines.first + leaves.len() as u64)),
            smalls(&levels),
            bigs(&firsts),
            byteas(runs.iter().map(|run| Some(&run[..])), bytes),
        ];
        let rows = self.database().write(step, Call::new(EXTEND, params))?;
        let extended = rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(self.reader.broken(step))?;
        if extended {
            return Ok(());
        }
        let why = format!("another process extended the tree from {} leaves", lines.first);
        Err(StoreError::TryAgain { place: self.reader.place().to_owned(), why })
    }

    fn sync_tree(&self) -> Result<(), StoreError> {
        // Every extension was committed with `synchronous_commit`.
        Ok(())
    }

    fn publish(&self, checkpoint: &[u8], keep: Option<u64>) -> Result<(), StoreError> {
        let params = vec![
            self.mine(),
            Param::bytes(checkpoint),
            Param::MaybeBig(size_in(checkpoint)),
            Param::MaybeBig(keep.map(signed)),
        ];
        self.database().write("publish a checkpoint", Call::new(PUBLISH, params)).map(|_| ())
    }

    fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], StoreError> {
        if content.len() as u64 > MAX_ATTACHMENT_BYTES {
            let (bytes, limit) = (content.len() as u64, MAX_ATTACHMENT_BYTES);
            return Err(StoreError::Limit { what: "an attachment", bytes, limit });
        }
        let digest: [u8; 32] = Sha256::digest(content).into();
        if self.attachment_is(&digest, content)? {
            return Ok(digest);
        }
        let mut parts: Vec<&[u8]> = content.chunks(PART_BYTES).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        // From the last to the first: an attachment without its first part is not there, one with it is whole.
        for (number, part) in parts.iter().enumerate().rev() {
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            let params = vec![
                self.mine(),
                Param::bytes(&digest),
                Param::Int(number),
                Param::Bytes(Bytes::copy_from_slice(part)),
            ];
            self.database().write("store an attachment", Call::new(PUT, params))?;
        }
        // Parts that somebody put there before make another content of it, and an entry that named it would be a false alarm.
        self.attachment_is(&digest, content)?;
        Ok(digest)
    }

    fn pruning(&self) -> Result<Pruning, StoreError> {
        pruned::pruning(self.database())
    }

    fn prune(&self, range: &PrunedRange, told: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        pruned::prune(self.database(), self.reader.log, range, told)
    }

    fn mark_bounded(&self) -> Result<(), StoreError> {
        if !self.is_marked() {
            let at = Instant::now();
            self.database().write("mark bounded acknowledgements", self.mark_call(MARK))?;
            self.keep_mark(at);
        }
        Ok(())
    }

    fn tend(&self, _anchored: TreeSize) -> Result<bool, StoreError> {
        self.prepare_partitions()?;
        index_for_a_while(self.database(), self.reader.log);
        Ok(false)
    }

    fn close(&self) -> Result<(), StoreError> {
        *lock(&self.mark) = None;
        let params = vec![self.mine(), Param::Uuid(self.owner)];
        self.database().write("clear marks of bounded acknowledgements", Call::new(CLEAR, params)).map(|_| ())
    }
}

/// The tree size that a note says in its second line.
fn size_in(note: &[u8]) -> Option<i64> {
    let mut lines = note.split(|byte| *byte == b'\n');
    let size = lines.nth(1).and_then(|line| std::str::from_utf8(line).ok())?;
    // A note goes on with its root.
    lines.next().filter(|root| !root.is_empty())?;
    size.parse().ok().filter(|size| *size >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_its_size_and_other_text_none() {
        assert_eq!(size_in(b"example.org/log\n42\nroot=\n\n\xe2\x80\x94 sig\n"), Some(42));
        for text in
            [&b""[..], b"one", b"a\n42", b"a\n42\n", b"a\n-1\nr\n", b"a\nx\nr\n", b"a\n99999999999999999999\nr\n"]
        {
            assert_eq!(size_in(text), None, "{text:?}");
        }
    }
}
