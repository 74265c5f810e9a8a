//! The bare engine (feature `bench`): what the same rows cost without a log, for figures to stand beside.
//!
//! The same server, the same row bytes, the same commits and the same indexes, in tables of a schema `plain` that refuse nothing and prove nothing. Connections are
//! their own; only what the server does with the rows is timed, not how they are made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _, future::try_join_all};
use indelible_core::{
    entry::Line,
    tree::{LeafIndex, leaf_hash},
};
use indelible_postgres_connect::connect;
use indelible_store::{
    driver::Driver as _,
    store::{StoreError, parse_line},
};
use tokio_postgres::{Client, types::Type};

use crate::{
    call::Call,
    database::{Database, Pool},
    driver::PostgresDriver,
    fault::Fault,
    turn::signed,
};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Microseconds between 1970 and 2000, from which PostgreSQL counts.
const EPOCH: i64 = 946_684_800_000_000;

/// The same columns and indexes, and nothing else.
const TABLES: &str = "create schema plain;
    create table plain.entries (like indelible.entries) partition by range (recorded_at);
    alter table plain.entries add primary key (log, idx, recorded_at);
    create table plain.entries_all partition of plain.entries default;
    create table plain.ids (like indelible.ids); alter table plain.ids add primary key (log, fingerprint, idx)";
const INSERT: &str = "insert into plain.entries values (2, $1, 0, now(), $2, $3)";
const COPY_OUT: &str = "copy (select idx, batch, entry, mac from indelible.entries where log = 1 order by idx) to stdout with (format binary)";
const VERSION: &str = "select pg_catalog.current_setting('server_version')";

/// What was done, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Rows.
    pub rows: u64,
    /// Bytes of them, as COPY writes them.
    pub bytes: u64,
    /// How long.
    pub time: Duration,
}

impl Took {
    /// Rows a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn rate(&self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64()
    }
}

/// The rows of one commit as binary COPY takes them.
struct Copies {
    rows: u64,
    entries: BytesMut,
    ids: BytesMut,
}

impl Copies {
    fn new() -> Self {
        Self { rows: 0, entries: BytesMut::from(SIGNATURE), ids: BytesMut::from(SIGNATURE) }
    }

    fn push(&mut self, index: u64, line: &Line<'_>) {
        let since_2000 = line.entry.recorded().map_or(0, |time| time.0) - EPOCH;
        self.entries.put_i16(6);
        for number in [1, signed(index), signed(line.batch.0), since_2000] {
            field(&mut self.entries, &number.to_be_bytes());
        }
        field(&mut self.entries, line.entry.bytes);
        field(&mut self.entries, &line.mac);
        self.ids.put_i16(3);
        field(&mut self.ids, &1_i64.to_be_bytes());
        // As long as a fingerprint, and as random.
        field(&mut self.ids, line.mac.get(..16).unwrap_or_default());
        field(&mut self.ids, &index.to_be_bytes());
        self.rows += 1;
    }

    fn ended(mut self) -> (u64, Bytes, Bytes) {
        self.entries.put_i16(-1);
        self.ids.put_i16(-1);
        (self.rows, self.entries.freeze(), self.ids.freeze())
    }
}

fn field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(-1));
    out.put_slice(bytes);
}

impl Database {
    /// The server's version, as it says it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn server_version(&self) -> Result<String, StoreError> {
        let step = "ask for the server's version";
        let rows = self.read(step, Call::new(VERSION, Vec::new()))?;
        let version = rows.first().map_or(Ok(String::new()), |row| row.try_get(0));
        version.map_err(|error| Fault::from(error).told(self.place(), step))
    }

    /// Runs one statement outside any transaction, as `create database` wants it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn run_alone(&self, statement: &str) -> Result<(), StoreError> {
        let (pool, statement) = (Arc::clone(&self.pool), statement.to_owned());
        self.run_told("run a statement of the benchmark's", async move {
            Ok(client_of(&pool).await?.batch_execute(&statement).await?)
        })
    }

    /// Makes the plain tables.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bare_tables(&self) -> Result<(), StoreError> {
        self.run_alone(TABLES)
    }

    /// Writes the rows `from .. to` of a log, and their ids, by binary COPY in commits of `batch`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bare_copy(&self, log: &str, (from, to): (u64, u64), batch: u64) -> Result<Took, StoreError> {
        let reader = PostgresDriver::new(self.clone(), Some(log.to_owned())).reader()?;
        let mut took = Took { rows: 0, bytes: 0, time: Duration::ZERO };
        let mut next = from;
        let mut client = None;
        while next < to {
            let mut copies = Copies::new();
            let until = (next + batch.max(1)).min(to);
            while next < until {
                let chunk = reader.read(LeafIndex(next), 4 << 20)?;
                for (index, line) in (next..until).zip(chunk.lines()) {
                    copies.push(index, &parse_line(line, index)?);
                    next = index + 1;
                }
            }
            let (rows, entries, ids) = copies.ended();
            let bytes = entries.len() as u64;
            let (used, time) = self.copy_once(client.take(), entries, ids)?;
            client = Some(used);
            took = Took { rows: took.rows + rows, bytes: took.bytes + bytes, time: took.time + time };
        }
        Ok(took)
    }

    fn copy_once(&self, used: Option<Client>, entries: Bytes, ids: Bytes) -> Result<(Client, Duration), StoreError> {
        let pool = Arc::clone(&self.pool);
        self.run_told("copy plain rows", async move {
            let client = match used {
                Some(client) => client,
                None => client_of(&pool).await?,
            };
            let begun = Instant::now();
            client.batch_execute("begin; set local synchronous_commit = on").await?;
            copy(&client, "copy plain.entries from stdin with (format binary)", entries).await?;
            copy(&client, "copy plain.ids from stdin with (format binary)", ids).await?;
            client.batch_execute("commit").await?;
            Ok((client, begun.elapsed()))
        })
    }

    /// Inserts rows of so many bytes from many connections, one a transaction, for a while.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bare_inserts(&self, clients: usize, row_bytes: usize, time: Duration) -> Result<Took, StoreError> {
        let pool = Arc::clone(&self.pool);
        self.run_told("insert plain rows", async move {
            let clients = try_join_all((0..clients).map(|_| client_of(&pool))).await?;
            let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let begun = Instant::now();
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|client| tokio::spawn(insert(client, row_bytes, Arc::clone(&next), Arc::clone(&stop))))
                .collect();
            tokio::time::sleep(time).await;
            stop.store(true, Ordering::Relaxed);
            let mut rows = 0;
            for task in tasks {
                // A task that panicked has inserted what it has.
                rows += task.await.unwrap_or(Ok(0))?;
            }
            Ok(Took { rows, bytes: rows * row_bytes as u64, time: begun.elapsed() })
        })
    }

    /// Reads all rows of the first log by COPY, and hashes each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bare_verify(&self) -> Result<Took, StoreError> {
        let pool = Arc::clone(&self.pool);
        self.run_told("copy plain rows out", async move {
            let client = client_of(&pool).await?;
            let begun = Instant::now();
            let stream = client.copy_out(COPY_OUT).await?;
            let mut stream = std::pin::pin!(stream);
            let (mut rows, mut bytes, mut seen) = (0, 0, 0_u64);
            while let Some(row) = stream.next().await {
                let row = row?;
                // Behind the lengths of three fields, a count and two numbers.
                let entry = row.get(30..row.len().saturating_sub(36)).unwrap_or_default();
                seen += u64::from(leaf_hash(entry).0.first().copied().unwrap_or(0));
                rows += u64::from(!entry.is_empty());
                bytes += row.len() as u64;
            }
            std::hint::black_box(seen);
            Ok(Took { rows, bytes, time: begun.elapsed() })
        })
    }
}

async fn client_of(pool: &Pool) -> Result<Client, Fault> {
    let (client, _) = connect(&pool.config).await.map_err(|error| Fault::Unreached(Box::new(error)))?;
    Ok(client)
}

async fn copy(client: &Client, statement: &str, rows: Bytes) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(statement).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(rows).await?;
    sink.close().await
}

async fn insert(client: Client, bytes: usize, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<u64, Fault> {
    let (entry, mac) = (vec![b'a'; bytes], vec![0_u8; 32]);
    let mut rows = 0;
    while !stop.load(Ordering::Relaxed) {
        let index = signed(next.fetch_add(1, Ordering::Relaxed));
        client.query_typed(INSERT, &[(&index, Type::INT8), (&entry, Type::BYTEA), (&mac, Type::BYTEA)]).await?;
        rows += 1;
    }
    Ok(rows)
}
