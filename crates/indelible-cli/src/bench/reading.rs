//! Verification, proofs, opening, canonical form.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indelible::{
    KeyRing, bundle,
    clock::{Clock as _, SystemClock},
    verify::{Request, Verdict, verify as verify_log},
};
use indelible_core::{
    event, json,
    tile::Prover,
    tree::{LeafIndex, TreeHead},
};
use indelible_store::{
    disk::OsDisk,
    heads::FileHeads,
    store::{Reader as _, StoredTree},
};
use indelible_store_file::FileReader;

use super::{
    BATCH, Bench, ceiling,
    events::Random,
    open as open_log, place,
    report::{How, Report, Target, median},
};

const ROUNDS: usize = 5;
/// Proofs of which the median is told.
const PROOFS: usize = 1000;
/// Openings of which the median is told.
const OPENINGS: usize = 11;

/// Verifies a log with its keys and its head store, as its owner does. Returns seconds and the head.
pub(crate) fn verify_once(path: &Path, keys: &KeyRing) -> anyhow::Result<(f64, TreeHead)> {
    let begun = Instant::now();
    let reader = FileReader::open(OsDisk::shared(), path)?;
    let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
    let request = Request {
        heads: Some(&heads),
        head_required: true,
        ..Request::of_ring(keys, &reader.info().origin, SystemClock::default().now())?
    };
    let report = verify_log(&reader, &request)?;
    let seconds = begun.elapsed().as_secs_f64();
    anyhow::ensure!(report.status == Verdict::Intact, "the benchmark's own log is {}", report.status.as_str());
    Ok((seconds, report.head.context("a verdict without a head")?))
}

pub(crate) fn verify(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let threads = place::cores();
    let reader = FileReader::open(OsDisk::shared(), &bench.large())?;
    let info = reader.info().clone();
    let key = bench.keys.entry_key(info.log_id, &info.origin, 1);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // Once before, so that all rounds find the files in memory.
    let (_, head) = verify_once(&bench.large(), &bench.keys)?;
    for round in 0..ROUNDS {
        bench.say(format!("verifying {} entries, round {} of {ROUNDS}", head.size, round + 1));
        bare.push(ceiling::verify(&bench.large(), &key, threads, &head)?);
        ours.push(head.size.0 as f64 / verify_once(&bench.large(), &bench.keys)?.0);
    }
    let how = How {
        durability: "–",
        batch: 1,
        callers: threads,
        against: "as many threads: read, decompress, split, hash, HMAC, tree",
        target: Target::AtLeast(0.7),
    };
    report.add("verify", "entries/s", (median(&ours), median(&bare)), how);
    report.note("all derived files, checkpoints and the head compared as well; files in memory".to_owned());
    Ok(())
}

/// What a proof may take.
const PROOF_BUDGET_US: f64 = 100.0;

pub(crate) fn prove(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say("proving random entries");
    let log = open_log(&bench.large(), &bench.keys)?;
    let (record, head) = log.head();
    let mut random = Random(7);
    let mut indices = Vec::new();
    indices.resize_with(PROOFS, || LeafIndex(random.below(head.size.0)));
    let timed = |one: &mut dyn FnMut(LeafIndex) -> anyhow::Result<()>| {
        let mut figures = Vec::new();
        for index in indices.iter().take(PROOFS / 10).chain(&indices) {
            let begun = Instant::now();
            one(*index)?;
            figures.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        // The first tenth only warms up.
        anyhow::Ok(median(figures.get(PROOFS / 10..).unwrap_or_default()))
    };
    let single = timed(&mut |index| log.prove(index).map(drop).map_err(Into::into))?;
    let mut prover = Prover::new(StoredTree(log.store()), head.size);
    let kept = timed(&mut |index| {
        bundle::prove_with(log.store(), &mut prover, index, head, &record.checkpoint).map(drop).map_err(Into::into)
    })?;
    let mut prover = Prover::new(StoredTree(log.store()), head.size);
    let tree_only = timed(&mut |index| prover.inclusion(index).map(drop).map_err(|error| anyhow::anyhow!("{error}")))?;
    let body = timed(&mut |index| log.get(index).map(drop).map_err(Into::into))?;
    log.close()?;
    let how = How { durability: "–", batch: 1, callers: 1, against: "a budget", target: Target::AtMost(1.0) };
    report.add("prove", "µs (p50)", (single, PROOF_BUDGET_US), how);
    report
        .note(format!("random entries: bundle with entry, proof, checkpoint; reading the entry is {body:.0} µs of it"));
    report.add("prove_kept", "µs (p50)", (kept, PROOF_BUDGET_US), how);
    report.note(format!("the same with one prover for all; the proof without the entry takes {tree_only:.1} µs"));
    Ok(())
}

pub(crate) fn open(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say("opening logs");
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..OPENINGS {
        for (path, figures) in [(bench.small(), &mut small), (bench.large(), &mut large)] {
            let begun = Instant::now();
            let log = open_log(&path, &bench.keys)?;
            figures.push(begun.elapsed().as_secs_f64() * 1e3);
            log.close()?;
        }
    }
    let how = How { durability: "–", batch: 1, callers: 1, against: "itself", target: Target::None };
    report.add("open_10k", "ms (p50)", (median(&small), median(&small)), how);
    let how = How { against: "opening a log of 10,000 entries", target: Target::AtMost(2.0), ..how };
    report.add("open_10m", "ms (p50)", (median(&large), median(&small)), how);
    report.note(format!("for writing, after a clean close; this log has {} entries", bench.events));
    Ok(())
}

/// Events a second and core.
const CANONICALISE_BUDGET: f64 = 1e6;

pub(crate) fn canonicalise(bench: &Bench<'_>, report: &mut Report) {
    bench.say("canonical form");
    let texts = bench.pool.batch(0);
    let sorted: Vec<Vec<u8>> = texts.iter().filter_map(|text| json::canonicalise(text).ok()).collect();
    let id = || "0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b".to_owned();
    let rate = |texts: &[Vec<u8>], one: &dyn Fn(&[u8])| {
        let mut rates = Vec::new();
        for _ in 0..5 {
            let (begun, mut done) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_millis(150) {
                texts.iter().for_each(|text| one(text));
                done += texts.len();
            }
            rates.push(done as f64 / begun.elapsed().as_secs_f64());
        }
        median(&rates)
    };
    let canonical = |text: &[u8]| drop(black_box(json::canonicalise(text)));
    let parse = |text: &[u8]| drop(black_box(event::parse(text, id)));
    let how = How { durability: "–", batch: BATCH, callers: 1, against: "a budget", target: Target::AtLeast(1.0) };
    report.add("canonicalise", "events/s", (rate(texts, &canonical), CANONICALISE_BUDGET), how);
    report.note(format!("members to be sorted; {:.0} events/s where they are", rate(&sorted, &canonical)));
    let how = How { target: Target::None, ..how };
    report.add("parse_event", "events/s", (rate(texts, &parse), CANONICALISE_BUDGET), how);
    report.note(format!(
        "with all checks of an event, and a new id put in; {:.0} events/s where members are sorted",
        rate(&sorted, &parse)
    ));
}
