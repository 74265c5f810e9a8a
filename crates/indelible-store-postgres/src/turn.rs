//! The turn of one log or of several: their head rows locked by an open transaction, until batches are committed or the turn is given back.
//!
//! Round trips while rows are locked, however many logs there are: one to take the turn, one for rows and commit, and one between them where ids have to be looked up.
//! INVARIANT(lock-order): heads are locked in ascending order of the logs' numbers, so that no two turns wait for each other.
//! INVARIANT(clear): the answer to a commit is never guessed. Where none came, the head rows are locked again (which waits until the lost
//! transaction has ended one way or the other) and the last entries of all batches are looked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use indelible_core::{
    time::Micros,
    tree::{Hash, LeafIndex, TreeSize, leaf_hash},
};
use indelible_store::store::{Batch, BatchEntry, End, StoreError, TurnError};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param, byteas},
    database::{Committed, Failed, Pool, Session},
    fault::Fault,
};

const BEGIN: &str = "select o_size, o_last_leaf, o_recorded_us, o_unnamed, o_keys from indelible.append_begin($1)";
const APPEND: &str = "select indelible.append_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const ENTRY: &str = "select entry from indelible.entries where log = $1 and idx = $2";
pub(crate) const END: &str = "select size, last_leaf, recorded_us, unnamed, keys from indelible.heads where log = $1";

/// Bytes of lines in one message, and most messages of one batch. The server holds a message twice while it writes its rows.
const PART_BYTES: usize = 4 << 20;
const MAX_PARTS: usize = 16;
/// The first and the longest wait between two tries to learn how a commit ended.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

pub(crate) struct Turn {
    session: Session,
    /// Where the logs end, in the order in which they were locked.
    pub(crate) ends: Vec<End>,
    _permit: OwnedSemaphorePermit,
}

/// What has to be sent for a batch, made on the caller's thread.
pub(crate) struct Sent {
    log: i64,
    first: u64,
    end: u64,
    last_leaf: Hash,
    /// How many calls there were.
    parts: usize,
    calls: Vec<Call>,
}

impl Turn {
    /// Locks the heads of `logs`, whose numbers ascend.
    pub(crate) async fn take(pool: &Arc<Pool>, logs: &[i64]) -> Result<Self, Failed> {
        let permit = pool.turn_permit().await?;
        let mut session = pool.session().await?;
        let calls: Vec<Call> = logs.iter().map(|log| Call::new(BEGIN, vec![Param::Big(*log)])).collect();
        let rows = match session.begin_all(&calls).await {
            Ok(rows) => rows,
            Err(failed) => {
                if failed.fault.is_refusal() {
                    session.roll_back().await;
                }
                return Err(failed);
            }
        };
        let end = |rows: &Vec<Row>| rows.first().ok_or(Fault::Silence(Duration::ZERO)).and_then(|row| Ok(end_of(row)?));
        let ends = rows.iter().map(end).collect::<Result<_, Fault>>()?;
        Ok(Self { session, ends, _permit: permit })
    }

    /// Reads within the turn, on its connection.
    pub(crate) async fn query(&mut self, call: &Call) -> Result<Vec<Row>, Fault> {
        self.session.query(call).await
    }

    pub(crate) async fn give_back(self) {
        self.session.roll_back().await;
    }

    /// Writes the rows of all batches, moves the heads and commits. What is known after an error is what [`TurnError`] says; its log is a place in `sent`.
    pub(crate) async fn commit(self, pool: &Arc<Pool>, mut sent: Vec<Sent>) -> Result<(), TurnError> {
        let Self { session, _permit: permit, .. } = self;
        let mut calls = Vec::new();
        let mut whose = Vec::new();
        for (place, batch) in sent.iter_mut().enumerate() {
            whose.resize(whose.len() + batch.calls.len(), (place, batch.first));
            calls.append(&mut batch.calls);
        }
        match session.commit(&calls).await {
            Committed::Yes(answers) if says_ends(&answers, &sent) => Ok(()),
            Committed::Yes(_) => {
                let detail = "`indelible.append_commit` does not answer where the log ends after a batch: it was replaced, and what was recorded is not known; run `indelible store check`, then `indelible store migrate`";
                Err(StoreError::Unfit { place: pool.place.clone(), detail: detail.to_owned() }.into())
            }
            Committed::No(Failed { at, fault }) => {
                let whose = at.and_then(|at| whose.get(at));
                let error = match whose {
                    Some((_, first)) => fault.told_at(&pool.place, "append", *first),
                    None => fault.told(&pool.place, "append"),
                };
                Err(TurnError { log: whose.map(|(place, _)| *place), error })
            }
            Committed::Unclear(fault) => {
                drop(permit);
                Ok(resolve(pool, &sent, fault).await?)
            }
        }
    }
}

/// Whether the last answer for each batch is the end that it leaves.
fn says_ends(answers: &[Vec<Row>], sent: &[Sent]) -> bool {
    let mut answers = answers.iter();
    sent.iter().all(|batch| {
        let last = answers.by_ref().take(batch.parts).last().and_then(|rows| rows.first());
        last.and_then(|row| row.try_get::<_, Option<i64>>(0).ok().flatten()) == Some(signed(batch.end))
    })
}

/// The head as a row of [`END`] says it.
pub(crate) fn end_of(row: &Row) -> Result<End, tokio_postgres::Error> {
    let leaf: &[u8] = row.try_get(1)?;
    let unnamed: Option<i64> = row.try_get(3)?;
    Ok(End {
        size: TreeSize(unsigned(row.try_get(0)?)),
        last_leaf: Hash(leaf.try_into().unwrap_or_default()),
        recorded_at: row.try_get::<_, Option<i64>>(2)?.map(Micros),
        unnamed: unnamed.map(unsigned),
        keys: LeafIndex(unsigned(row.try_get(4)?)),
    })
}

/// Checked constraints keep stored numbers from being negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// No log comes near to 2^63.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Sent {
    /// Cuts a batch into messages.
    pub(crate) fn of(log: i64, batch: &Batch) -> Self {
        let part_bytes = PART_BYTES.max(batch.bytes.len() / MAX_PARTS + 1);
        let mut calls = Vec::new();
        let mut from = 0;
        while from < batch.entries.len() {
            let count = part_len(batch, from, part_bytes);
            calls.extend(part(log, batch, from, count));
            from += count;
        }
        let last_leaf = batch.entries.last().map_or(leaf_hash(b""), |entry| entry.leaf);
        Self {
            log,
            first: batch.first,
            end: batch.first + batch.entries.len() as u64,
            last_leaf,
            parts: calls.len(),
            calls,
        }
    }
}

/// How many entries from `from` on go into one message: at least one, and of one batch (a copied log has those of its source).
fn part_len(batch: &Batch, from: usize, part_bytes: usize) -> usize {
    let mut bytes = 0;
    let of = |entry: &BatchEntry| (entry.batch, entry.recorded_at);
    let first = batch.entries.get(from).map(of);
    let fitting = batch.entries.iter().skip(from).take_while(|entry| {
        bytes += entry.line.len();
        bytes <= part_bytes && Some(of(entry)) == first
    });
    fitting.count().max(1)
}

fn part(log: i64, batch: &Batch, from: usize, count: usize) -> Option<Call> {
    let entries = batch.entries.get(from..from + count)?;
    let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
    let first = batch.first + from as u64;
    let text = |range: std::ops::Range<usize>| batch.bytes.get(range).unwrap_or_default();
    let params = vec![
        Param::Big(log),
        Param::Big(signed(first)),
        Param::Big(signed(entries.first()?.batch)),
        Param::Big(entries.first()?.recorded_at.0),
        Param::Big(signed(bytes as u64)),
        Param::Bytes(Bytes::copy_from_slice(&entries.last()?.leaf.0)),
        Param::MaybeBig(batch.names.map(signed)),
        byteas(entries.iter().map(|entry| Some(text(entry.entry.clone()))), bytes),
        byteas(entries.iter().map(|entry| Some(&entry.mac[..])), count * 32),
        byteas(entries.iter().map(|entry| entry.id.as_ref().map(|id| &id.0[..])), count * 16),
        Param::MaybeBig(batch.keys.filter(|keys| (first..first + count as u64).contains(keys)).map(signed)),
    ];
    Some(Call::new(APPEND, params))
}

/// Asks the database whether batches are there whose commit was not answered.
async fn resolve(pool: &Arc<Pool>, sent: &[Sent], cause: Fault) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut wait = WAITS.0;
    loop {
        match are_there(pool, sent).await {
            Ok(there) => return judged(pool, sent, &there, &cause),
            Err(fault) if fault.is_passing() && begun.elapsed() + wait < pool.settings.patience => {
                sleep(wait).await;
                wait = (wait * 2).min(WAITS.1);
            }
            Err(fault) => {
                let (step, place) = ("learn whether a batch was committed", pool.place.clone());
                return Err(StoreError::Database { step, place, source: Box::new(fault) });
            }
        }
    }
}

/// What it means which of the batches are there. They were one transaction, so a part of them is no answer that an honest database gives.
fn judged(pool: &Pool, sent: &[Sent], there: &[bool], cause: &Fault) -> Result<(), StoreError> {
    let missing = sent.iter().zip(there).find(|(_, there)| !**there).map(|(batch, _)| batch);
    match missing {
        None => Ok(()),
        Some(_) if !there.contains(&true) => {
            let why = format!("the connection was lost in mid-commit, and the batch is not there: {cause}");
            Err(StoreError::TryAgain { place: pool.place.clone(), why })
        }
        Some(batch) => {
            let detail = "a transaction over several logs is there in part: in this log it is not".to_owned();
            Err(StoreError::Evidence { index: batch.first, detail })
        }
    }
}

/// For each batch, whether its last entry is there.
async fn are_there(pool: &Arc<Pool>, sent: &[Sent]) -> Result<Vec<bool>, Fault> {
    let logs: Vec<i64> = sent.iter().map(|batch| batch.log).collect();
    let mut turn = Turn::take(pool, &logs).await.map_err(|failed| failed.fault)?;
    let reached: Vec<bool> = turn.ends.iter().zip(sent).map(|(end, batch)| end.size.0 >= batch.end).collect();
    let last = |batch: &Sent| Call::new(ENTRY, vec![Param::Big(batch.log), Param::Big(signed(batch.end - 1))]);
    let calls: Vec<Call> = sent.iter().map(last).collect();
    let rows = turn.session.query_all(&calls).await.map_err(|failed| failed.fault)?;
    turn.give_back().await;
    let mut there = Vec::with_capacity(sent.len());
    for ((batch, reached), rows) in sent.iter().zip(reached).zip(&rows) {
        let mut found = false;
        for row in rows {
            found |= leaf_hash(row.try_get(0)?) == batch.last_leaf;
        }
        there.push(reached && found);
    }
    Ok(there)
}
