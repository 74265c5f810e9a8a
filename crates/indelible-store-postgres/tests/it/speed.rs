//! Ratios against the bare engine: the same server, the same row bytes, the same commits, the same indexes, one run.
//!
//! It takes a minute and wants a quiet machine, so it runs where it is asked for: `INDELIBLE_SPEED=ENTRIES`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use indelible::{Log, verify::Verdict};
use indelible_core::{
    entry::Line,
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::driver::Driver as _;
use indelible_store_postgres::{Database, PostgresDriver};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::{
    server::Server,
    world::{DATABASE, World, settings},
};

const ORIGIN: &str = "example.com/speed";
const BATCH: u64 = 2000;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// About 500 bytes, as the common audit event.
pub(crate) fn event(n: u64) -> Vec<u8> {
    format!(
        r#"{{"action":"document.read","actor":{{"id":"mara-{n}","name":"Mara Lind","type":"user"}},"context":{{"request_id":"{n:032x}","source_ip":"192.0.2.{}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}},"details":{{"folder":"contracts/2026/renewals","n":{n},"pages":{}}},"outcome":"success","targets":[{{"id":"doc-{n}","name":"Renewal of the framework contract","type":"document"}}]}}"#,
        n % 250,
        n % 40
    )
    .into_bytes()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn connect(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres", DATABASE), NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// A field of a binary row.
fn field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
}

/// The rows of the log's entries and ids as binary COPY takes them, one message a batch.
fn copies(database: &Database) -> Vec<(Bytes, Bytes)> {
    let reader = PostgresDriver::new(database.clone(), None).reader().unwrap();
    let (mut batches, mut next) = (Vec::new(), 0);
    let size = reader.size().unwrap().0;
    while next < size {
        let (mut rows, mut ids) = (BytesMut::from(SIGNATURE), BytesMut::from(SIGNATURE));
        let until = (next + BATCH).min(size);
        while next < until {
            for line in
                reader.read(LeafIndex(next), 1 << 20).unwrap().lines().take(usize::try_from(until - next).unwrap())
            {
                let line = Line::parse(line).unwrap();
                rows.put_i16(6);
                let since_2000 = line.entry.recorded().unwrap().0 - 946_684_800_000_000;
                for number in [1, i64::try_from(next).unwrap(), i64::try_from(line.batch.0).unwrap(), since_2000] {
                    field(&mut rows, &number.to_be_bytes());
                }
                field(&mut rows, line.entry.bytes);
                field(&mut rows, &line.mac);
                ids.put_i16(3);
                field(&mut ids, &1_i64.to_be_bytes());
                field(&mut ids, &line.mac[..16]);
                field(&mut ids, &next.to_be_bytes());
                next += 1;
            }
        }
        rows.put_i16(-1);
        ids.put_i16(-1);
        batches.push((rows.freeze(), ids.freeze()));
    }
    batches
}

async fn copy(client: &Client, table: &str, rows: Bytes) {
    let sink =
        client.copy_in::<_, Bytes>(&format!("copy plain.{table} from stdin with (format binary)")).await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(rows).await.unwrap();
    sink.close().await.unwrap();
}

/// Plain tables with the same columns and indexes, and nothing else.
const PLAIN: &str = "create schema plain;
    create table plain.entries (like indelible.entries) partition by range (recorded_at);
    alter table plain.entries add primary key (log, idx, recorded_at);
    create table plain.entries_all partition of plain.entries default;
    create table plain.ids (like indelible.ids); alter table plain.ids add primary key (log, fingerprint, idx)";

fn plain_copies(server: &Server, batches: Vec<(Bytes, Bytes)>) -> Duration {
    runtime().block_on(async {
        let client = connect(server).await;
        client.batch_execute(PLAIN).await.unwrap();
        let begun = Instant::now();
        for (rows, ids) in batches {
            client.batch_execute("begin").await.unwrap();
            copy(&client, "entries", rows).await;
            copy(&client, "ids", ids).await;
            client.batch_execute("commit").await.unwrap();
        }
        begun.elapsed()
    })
}

/// The rows by `COPY TO`, each hashed.
fn copy_out_and_hash(server: &Server) -> Duration {
    runtime().block_on(async {
        let client = connect(server).await;
        let begun = Instant::now();
        let sql = "copy (select idx, batch, entry, mac from indelible.entries where log = 1 order by idx) to stdout with (format binary)";
        let stream = client.copy_out(sql).await.unwrap();
        let mut stream = std::pin::pin!(stream);
        let mut seen = 0_u64;
        while let Some(row) = stream.next().await {
            // Behind the lengths of three fields, a count and two numbers.
            let row = row.unwrap();
            let entry = row.get(30..row.len().saturating_sub(36)).unwrap_or_default();
            seen += u64::from(leaf_hash(entry).0[0]);
        }
        assert!(seen > 0);
        begun.elapsed()
    })
}

fn each_alone(log: &Log, callers: u64, run_for: Duration) -> f64 {
    let next = AtomicU64::new(1 << 40);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                while begun.elapsed() < run_for {
                    log.append_json(&event(next.fetch_add(1, Ordering::Relaxed))).unwrap();
                }
            });
        }
    });
    rate(next.into_inner() - (1 << 40), begun.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[test]
fn ratios() {
    let Some(entries) = std::env::var("INDELIBLE_SPEED").ok().and_then(|text| text.parse::<u64>().ok()) else {
        println!("SKIPPED: speed is measured where INDELIBLE_SPEED says how many entries");
        return;
    };
    let Some(server) = Server::start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let driver = PostgresDriver::new(database.clone(), Some(ORIGIN.to_owned()));
    let log = Log::create_in(&driver, ORIGIN, &world.keys, indelible::Options::default()).unwrap();

    let events: Vec<Vec<Vec<u8>>> =
        (0..entries / BATCH).map(|batch| (batch * BATCH..(batch + 1) * BATCH).map(event).collect()).collect();
    let begun = Instant::now();
    for batch in &events {
        log.append_all(batch).into_iter().for_each(|result| drop(result.unwrap()));
    }
    let ours = rate(entries, begun.elapsed());
    log.checkpoint().unwrap();
    let batches = copies(&database);
    let bytes: usize = batches.iter().map(|(rows, _)| rows.len()).sum();
    let bare = rate(entries, plain_copies(&server, batches));
    let row = bytes as u64 / entries;
    println!(
        "durable batches of {BATCH}, rows of {row} bytes, 1 caller: {ours:.0}/s, plain binary COPY {bare:.0}/s, ratio {:.2}",
        ours / bare
    );

    let begun = Instant::now();
    let report = world.verify_loosely(&database, ORIGIN);
    let took = begun.elapsed();
    assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
    let hashed = copy_out_and_hash(&server);
    println!(
        "verify of {} entries, 2 threads: {:.0}/s, COPY TO with hashing {:.0}/s, ratio {:.2}",
        report.entries_verified,
        rate(report.entries_verified, took),
        rate(report.entries_verified, hashed),
        hashed.as_secs_f64() / took.as_secs_f64()
    );

    let run_for = Duration::from_secs(5);
    let ours = each_alone(&log, 64, run_for);
    log.close().unwrap();
    let insert = format!(
        "insert into plain.entries values (2, (random() * 1e15)::bigint, 0, now(), decode(repeat('61', {row}), 'hex'), decode(repeat('00', 32), 'hex'));"
    );
    let bare = server.pgbench(DATABASE, &insert, 64, run_for);
    println!(
        "64 callers, one event each: {ours:.0}/s; pgbench, 64 clients, one row a transaction: {bare:.0}/s, ratio {:.2}",
        ours / bare
    );
}
