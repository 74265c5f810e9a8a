//! A log's turn: its head row locked by an open transaction, until a batch is committed or the turn is given back.
//!
//! Round trips while the row is locked: one to take the turn, one for rows and commit, and one between them where ids have to be looked up.
//! INVARIANT(clear): the answer to a commit is never guessed. Where none came, the head row is locked again (which waits until the lost
//! transaction has ended one way or the other) and the batch's last entry is looked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use indelible_core::{
    time::Micros,
    tree::{Hash, TreeSize, leaf_hash},
};
use indelible_store::store::{Batch, BatchEntry, End, StoreError};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param, byteas},
    database::{Committed, Pool, Session},
    fault::Fault,
};

const BEGIN: &str = "select o_size, o_last_leaf, o_recorded_us, o_unnamed from indelible.append_begin($1)";
const APPEND: &str = "select indelible.append_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const ENTRY: &str = "select entry from indelible.entries where log = $1 and idx = $2";
pub(crate) const END: &str = "select size, last_leaf, recorded_us, unnamed from indelible.heads where log = $1";

/// Bytes of lines in one message, and most messages of one batch. The server holds a message twice while it writes its rows.
const PART_BYTES: usize = 4 << 20;
const MAX_PARTS: usize = 16;
/// The first and the longest wait between two tries to learn how a commit ended.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

pub(crate) struct Turn {
    session: Session,
    pub(crate) end: End,
    _permit: OwnedSemaphorePermit,
}

/// What has to be sent for a batch, made on the caller's thread.
pub(crate) struct Sent {
    log: i64,
    first: u64,
    end: u64,
    last_leaf: Hash,
    calls: Vec<Call>,
}

impl Turn {
    pub(crate) async fn take(pool: &Arc<Pool>, log: i64) -> Result<Self, Fault> {
        let permit = pool.turn_permit().await?;
        let mut session = pool.session().await?;
        let rows = session.begin(&Call::new(BEGIN, vec![Param::Big(log)])).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(fault) => {
                if fault.is_refusal() {
                    session.roll_back().await;
                }
                return Err(fault);
            }
        };
        let end = rows.first().ok_or(Fault::Silence(Duration::ZERO)).and_then(|row| Ok(end_of(row)?))?;
        Ok(Self { session, end, _permit: permit })
    }

    /// Reads within the turn, on its connection.
    pub(crate) async fn query(&mut self, call: &Call) -> Result<Vec<Row>, Fault> {
        self.session.query(call).await
    }

    pub(crate) async fn give_back(self) {
        self.session.roll_back().await;
    }

    /// Writes the rows, moves the head and commits. [`StoreError::TryAgain`] where surely nothing of it is there.
    pub(crate) async fn commit(self, pool: &Arc<Pool>, sent: Sent) -> Result<(), StoreError> {
        let Self { session, _permit: permit, .. } = self;
        match session.commit(&sent.calls).await {
            Committed::Yes => Ok(()),
            Committed::No(fault) => Err(fault.told_at(&pool.place, "append", sent.first)),
            Committed::Unclear(fault) => {
                drop(permit);
                resolve(pool, &sent, fault).await
            }
        }
    }
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
        Self { log, first: batch.first, end: batch.first + batch.entries.len() as u64, last_leaf, calls }
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
    let text = |range: std::ops::Range<usize>| batch.bytes.get(range).unwrap_or_default();
    let params = vec![
        Param::Big(log),
        Param::Big(signed(batch.first + from as u64)),
        Param::Big(signed(entries.first()?.batch)),
        Param::Big(entries.first()?.recorded_at.0),
        Param::Big(signed(bytes as u64)),
        Param::Bytes(Bytes::copy_from_slice(&entries.last()?.leaf.0)),
        Param::MaybeBig(batch.names.map(signed)),
        byteas(entries.iter().map(|entry| Some(text(entry.entry.clone()))), bytes),
        byteas(entries.iter().map(|entry| Some(&entry.mac[..])), count * 32),
        byteas(entries.iter().map(|entry| entry.id.as_ref().map(|id| &id.0[..])), count * 16),
    ];
    Some(Call::new(APPEND, params))
}

/// Asks the database whether a batch is there whose commit was not answered.
async fn resolve(pool: &Arc<Pool>, sent: &Sent, cause: Fault) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut wait = WAITS.0;
    loop {
        match is_there(pool, sent).await {
            Ok(true) => return Ok(()),
            Ok(false) => {
                let why = format!("the connection was lost in mid-commit, and the batch is not there: {cause}");
                return Err(StoreError::TryAgain { place: pool.place.clone(), why });
            }
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

async fn is_there(pool: &Arc<Pool>, sent: &Sent) -> Result<bool, Fault> {
    let mut turn = Turn::take(pool, sent.log).await?;
    if turn.end.size.0 < sent.end {
        turn.give_back().await;
        return Ok(false);
    }
    let call = Call::new(ENTRY, vec![Param::Big(sent.log), Param::Big(signed(sent.end - 1))]);
    let rows = turn.query(&call).await?;
    turn.give_back().await;
    for row in &rows {
        if leaf_hash(row.try_get(0)?) == sent.last_leaf {
            return Ok(true);
        }
    }
    Ok(false)
}
