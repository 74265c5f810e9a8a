//! What an entry of some 500 bytes costs once its event is canonical: hashing, sealing, reading back, and its place in the tree.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use indelible_core::{
    entry::{BodyKind, EntryStart, Line, Tail},
    mac::{EntryAlgorithm, EntryKey, LogId},
    tile::{self, LevelReader, Prover, level_len},
    tree::{Frontier, Hash, LeafIndex, TreeSize, leaf_hash},
};

/// Entries of the tree that proofs are made from.
const SIZE: u64 = 1_000_000;

const EVENT: &str = concat!(
    r#"{"action":"document.read","actor":{"id":"user-8842","name":"Ada Lovelace","session":"s-5f2c91","type":"user"},"#,
    r#""context":{"component":"documents","request_id":"req-01J9ZK3V5N","source_ip":"203.0.113.77","#,
    r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64)"},"details":{"bytes":18233,"cached":false,"pages":12},"#,
    r#""id":"0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b","kind":"data_access","occurred_at":"2026-01-31T08:00:00.123456Z","#,
    r#""outcome":"success","severity":"info","targets":[{"id":"doc-1729","name":"Q3 report","type":"document"}],"#,
    r#""tenant":"acme"}"#,
);

fn key() -> EntryKey {
    EntryKey::derive(&[7; 32], 1, EntryAlgorithm::HmacSha256, LogId([1; 16]), "example.com/audit", 1)
}

fn seal(start: &EntryStart, key: &EntryKey, out: &mut Vec<u8>) -> Hash {
    let tail = Tail {
        head: None,
        index: LeafIndex(123_456),
        key: key.id(),
        log: "example.com/audit",
        bounded: false,
        prev: Hash([9; 32]),
        recorded_at: "2026-01-31T08:00:00.123456Z",
    };
    start.seal(&tail, LeafIndex(123_000), |leaf| key.sign(leaf), out).0
}

fn entries(c: &mut Criterion) {
    let key = key();
    let start = EntryStart::new(BodyKind::Event, EVENT.as_bytes(), [3; 16]);
    let mut line = Vec::new();
    seal(&start, &key, &mut line);
    let line = line.strip_suffix(b"\n").unwrap_or(&line).to_vec();
    let mut group = c.benchmark_group("entry");
    group.throughput(Throughput::Elements(1));
    group.bench_function("begin (any thread)", |b| {
        b.iter(|| EntryStart::new(BodyKind::Event, black_box(EVENT.as_bytes()), [3; 16]));
    });
    group.bench_function("seal (in turn)", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(2048),
            |out| seal(black_box(&start), &key, out),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("parse the line", |b| b.iter(|| Line::parse(black_box(&line)).map(|line| line.mac)));
    group.bench_function("leaf hash", |b| b.iter(|| leaf_hash(black_box(&line))));
    let (leaf, mac) = (leaf_hash(&line), key.sign(&leaf_hash(&line)));
    group.bench_function("verify the signature", |b| b.iter(|| key.verify(black_box(&leaf), &mac)));
    group.finish();
}

/// All levels of a tree, in memory.
struct Levels(Vec<Vec<Hash>>);

impl Levels {
    fn new(size: u64) -> Self {
        let mut levels = vec![Vec::new(); 8];
        let mut frontier = Frontier::new();
        for n in 0..size {
            let leaf = leaf_hash(&n.to_le_bytes());
            levels.iter_mut().take(1).for_each(|level| level.push(leaf));
            frontier.push_with(leaf, &mut |level, hash| {
                levels.iter_mut().skip(usize::from(level)).take(1).for_each(|level| level.push(hash));
            });
        }
        Self(levels)
    }
}

impl LevelReader for Levels {
    type Error = std::convert::Infallible;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error> {
        let level = self.0.get(usize::from(level)).map(Vec::as_slice).unwrap_or_default();
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        Ok(level.get(first..).unwrap_or_default().iter().take(count).copied().collect())
    }
}

fn tree(c: &mut Criterion) {
    let levels = Levels::new(SIZE);
    assert_eq!(levels.0.first().map(Vec::len).map(|n| n as u64), Some(level_len(TreeSize(SIZE), 0)));
    let mut group = c.benchmark_group("tree of 1,000,000");
    group.throughput(Throughput::Elements(1));
    let leaf = leaf_hash(b"leaf");
    let mut frontier = Frontier::new();
    group.bench_function("append", |b| b.iter(|| frontier.push(black_box(leaf))));
    let mut n = 0;
    let mut next = || {
        n = (n + 611_953) % SIZE;
        LeafIndex(n)
    };
    group.bench_function("prove, alone", |b| {
        b.iter(|| tile::prove_inclusion(&levels, next(), TreeSize(SIZE)).map(|proof| proof.hashes.len()));
    });
    let mut prover = Prover::new(&levels, TreeSize(SIZE));
    group.bench_function("prove, one of many", |b| {
        b.iter(|| prover.inclusion(next()).map(|proof| proof.hashes.len()));
    });
    group.finish();
}

criterion_group!(benches, entries, tree);
criterion_main!(benches);
