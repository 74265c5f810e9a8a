//! The turns of one log or of several of a database, as the engine holds them.

use std::{any::Any, sync::Arc};

use indelible_core::tree::LeafIndex;
use indelible_store::store::{self, Batch, Chunk, End, Fingerprint, MAX_BATCH_BYTES, StoreError, TurnError, Writer};
use tokio_postgres::Row;

use crate::{
    call::Call,
    database::Failed,
    reader::{NOTE_STEP, PostgresReader, READ_STEP, lookup_many},
    turn::{Sent, Turn, unsigned},
    writer::PostgresWriter,
};

/// The turns of logs, in one transaction.
pub(crate) struct Turns<'a> {
    /// In the order in which the caller named them.
    writers: Vec<&'a PostgresWriter>,
    ends: Vec<End>,
    /// Positions among them, in the order in which their heads were locked.
    order: Vec<usize>,
    turn: Option<Turn>,
}

impl<'a> Turns<'a> {
    /// Takes the turns of `first` and of others in its database.
    pub(crate) fn take(first: &'a PostgresWriter, others: &[&'a (dyn Writer + 'static)]) -> Result<Self, TurnError> {
        let mut writers = vec![first];
        for (other, position) in others.iter().zip(1..) {
            let beside = (*other as &dyn Any).downcast_ref::<PostgresWriter>().filter(|other| first.is_beside(other));
            let apart = || StoreError::Apart { origin: other.info().origin.clone() };
            writers.push(beside.ok_or_else(|| TurnError { log: Some(position), error: apart() })?);
        }
        let mut order: Vec<usize> = (0..writers.len()).collect();
        order.sort_by_key(|position| writers.get(*position).map(|writer| writer.number()));
        let logs = order.iter().filter_map(|position| writers.get(*position)).map(|writer| writer.number()).collect();
        let mut turns = Self { ends: Vec::new(), order, turn: None, writers };
        turns.lock(logs)?;
        Ok(turns)
    }

    fn lock(&mut self, logs: Vec<i64>) -> Result<(), TurnError> {
        let Some(first) = self.writers.first() else { return Ok(()) };
        let pool = Arc::clone(&first.database().pool);
        let taken = first.database().run(async move { Ok(Turn::take(&pool, &logs).await) })?;
        let turn = taken.map_err(|failed| self.told(failed, "take the turn"))?;
        let mut ends: Vec<(usize, End)> = self.order.iter().copied().zip(turn.ends.iter().copied()).collect();
        ends.sort_by_key(|(position, _)| *position);
        self.ends = ends.into_iter().map(|(_, end)| end).collect();
        self.turn = Some(turn);
        Ok(())
    }

    /// What failed of statements of which there was one for each log, in the order of the locks.
    fn told(&self, Failed { at, fault }: Failed, step: &'static str) -> TurnError {
        let place = self.writers.first().map_or("", |first| first.database().place());
        let log = at.and_then(|at| self.order.get(at)).copied();
        TurnError { log, error: fault.told(place, step) }
    }

    /// What has to be sent for batches, with their positions, in the order of the locks.
    fn sent(&self, batches: &[&Batch]) -> Result<(Vec<usize>, Vec<Sent>), TurnError> {
        let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        if bytes > MAX_BATCH_BYTES {
            let (bytes, limit) = (bytes as u64, MAX_BATCH_BYTES as u64);
            return Err(StoreError::Limit { what: "a batch", bytes, limit }.into());
        }
        let (mut positions, mut sent) = (Vec::new(), Vec::new());
        for position in self.order.iter().copied() {
            let log = self.writers.get(position).zip(self.ends.get(position)).zip(batches.get(position));
            let Some(((writer, end), batch)) = log.filter(|(_, batch)| !batch.entries.is_empty()) else { continue };
            if end.size.0 != batch.first {
                let detail = format!("the batch begins with entry {}", batch.first);
                let error = StoreError::Evidence { index: end.size.0, detail };
                return Err(TurnError { log: Some(position), error });
            }
            positions.push(position);
            sent.push(Sent::of(writer.number(), batch));
        }
        Ok((positions, sent))
    }
}

impl Turns<'_> {
    /// Asks within the turn. Where its connection is lost, the turn is: nothing can be appended in it any more.
    fn rows(&mut self, step: &'static str, call: Call) -> Result<Vec<Row>, StoreError> {
        let Some((mut turn, first)) = self.turn.take().zip(self.writers.first()) else { return Err(self.lost()) };
        let pool = Arc::clone(&first.database().pool);
        let (rows, turn) = first.database().run(async move {
            let rows = turn.query(&call).await.map_err(|fault| fault.told(&pool.place, step))?;
            Ok((rows, turn))
        })?;
        self.turn = Some(turn);
        Ok(rows)
    }

    fn lost(&self) -> StoreError {
        let place = self.writers.first().map_or("", |first| first.database().place()).to_owned();
        StoreError::TryAgain { place, why: "the connection was lost in the turn".to_owned() }
    }

    fn reader(&self, log: usize) -> Result<&PostgresReader, StoreError> {
        self.writers.get(log).map(|writer| writer.own_reader()).ok_or_else(|| self.lost())
    }
}

impl store::Turn for Turns<'_> {
    fn ends(&self) -> &[End] {
        &self.ends
    }

    fn lookup(&mut self, ids: &[(usize, Fingerprint)]) -> Result<Vec<Vec<LeafIndex>>, TurnError> {
        let step = "look ids up";
        let number = |position: &usize| self.writers.get(*position).map_or(0, |writer| writer.number());
        let logs: Vec<i64> = ids.iter().map(|(position, _)| number(position)).collect();
        let ids: Vec<Fingerprint> = ids.iter().map(|(_, id)| *id).collect();
        let rows = self.rows(step, lookup_many(&logs, &ids))?;
        let mut found = vec![Vec::new(); ids.len()];
        for row in &rows {
            let (place, index) = place_and_index(row).map_err(self.reader(0)?.broken(step))?;
            if let Some(found) = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place)) {
                found.push(index);
            }
        }
        Ok(found)
    }

    fn read(&mut self, log: usize, from: LeafIndex, max_bytes: usize) -> Result<Chunk, TurnError> {
        let call = self.reader(log)?.read_call(from, max_bytes);
        let rows = self.rows(READ_STEP, call)?;
        if let Some(chunk) = self.reader(log)?.chunk(from, max_bytes, &rows)? {
            return Ok(chunk);
        }
        let call = self.reader(log)?.gap_call(from);
        let rows = self.rows(READ_STEP, call)?;
        Err(self.reader(log)?.nothing_at(from, &rows).into())
    }

    fn kept(&mut self, log: usize, number: u64) -> Result<Option<Vec<u8>>, TurnError> {
        let call = self.reader(log)?.kept_call(number);
        let rows = self.rows(NOTE_STEP, call)?;
        Ok(self.reader(log)?.note_of(&rows)?)
    }

    fn append(mut self: Box<Self>, batches: &[&Batch]) -> Result<(), TurnError> {
        let (positions, sent) = self.sent(batches)?;
        // A turn without anything to write is given back.
        if sent.is_empty() {
            return Ok(());
        }
        let Some((turn, first)) = self.turn.take().zip(self.writers.first()) else { return Err(self.lost().into()) };
        let pool = Arc::clone(&first.database().pool);
        let committed = first.database().run(async move { Ok(turn.commit(&pool, sent).await) })?;
        committed.map_err(|TurnError { log, error }| TurnError {
            log: log.and_then(|place| positions.get(place)).copied(),
            error,
        })
    }
}

fn place_and_index(row: &Row) -> Result<(i64, LeafIndex), tokio_postgres::Error> {
    Ok((row.try_get(0)?, LeafIndex(unsigned(row.try_get(1)?))))
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        if let Some((turn, first)) = self.turn.take().zip(self.writers.first()) {
            first.database().spawn(turn.give_back());
        }
    }
}
