//! What an event of some 500 bytes costs before it reaches the log: canonical form, and the checks.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indelible_core::{event, json};

/// As our own builders write it: members sorted, no white space.
const CANONICAL: &str = concat!(
    r#"{"action":"document.read","actor":{"id":"user-8842","name":"Ada Lovelace","session":"s-5f2c91","type":"user"},"#,
    r#""context":{"component":"documents","request_id":"req-01J9ZK3V5N","source_ip":"203.0.113.77","#,
    r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64)"},"details":{"bytes":18233,"cached":false,"pages":12},"#,
    r#""id":"0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b","kind":"data_access","occurred_at":"2026-01-31T08:00:00.123456Z","#,
    r#""outcome":"success","severity":"info","targets":[{"id":"doc-1729","name":"Q3 report","type":"document"}],"#,
    r#""tenant":"acme"}"#,
);

/// The same in the order in which people write it.
const SHUFFLED: &str = concat!(
    r#"{"occurred_at":"2026-01-31T08:00:00.123456Z","kind":"data_access","tenant":"acme","#,
    r#""actor":{"type":"user","id":"user-8842","name":"Ada Lovelace","session":"s-5f2c91"},"action":"document.read","#,
    r#""targets":[{"type":"document","id":"doc-1729","name":"Q3 report"}],"outcome":"success","severity":"info","#,
    r#""context":{"source_ip":"203.0.113.77","user_agent":"Mozilla/5.0 (X11; Linux x86_64)","#,
    r#""request_id":"req-01J9ZK3V5N","component":"documents"},"id":"0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b","#,
    r#""details":{"pages":12,"bytes":18233,"cached":false}}"#,
);

/// Sorted, with the white space that many writers put after colons and commas.
fn spaced() -> String {
    CANONICAL.replace("\":", "\": ").replace(",\"", ", \"")
}

/// Sorted, and without an id.
fn without_id() -> String {
    CANONICAL.replace(r#""id":"0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b","#, "")
}

fn canonicalise(c: &mut Criterion) {
    let mut group = c.benchmark_group("canonicalise");
    for (name, text) in [("canonical", CANONICAL.to_owned()), ("spaced", spaced()), ("shuffled", SHUFFLED.to_owned())] {
        group.throughput(Throughput::Bytes(u64::try_from(text.len()).unwrap_or(u64::MAX)));
        group.bench_function(name, |b| b.iter(|| json::canonicalise(black_box(text.as_bytes()))));
    }
    group.finish();
}

fn parse(c: &mut Criterion) {
    let new_id = || "0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b".to_owned();
    let texts = [
        ("canonical", CANONICAL.to_owned()),
        ("without id", without_id()),
        ("spaced", spaced()),
        ("shuffled", SHUFFLED.to_owned()),
    ];
    let mut group = c.benchmark_group("parse event");
    for (name, text) in texts {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| b.iter(|| event::parse(black_box(text.as_bytes()), new_id)));
    }
    group.finish();
}

criterion_group!(benches, canonicalise, parse);
criterion_main!(benches);
