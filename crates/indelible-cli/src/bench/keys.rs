//! Keys: what rotating them costs the appends beside it, and how fast entries are signed again.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indelible::{
    KeyRing, Log,
    clock::{Clock as _, SystemClock},
    compromise::resign,
};
use indelible_core::history::{Withdrawn, WithdrawnState};
use indelible_keys::Purpose;

use super::{
    BATCH, Bench, create,
    reading::verify_once,
    report::{How, Report, Target, median},
    writing::fill,
};

/// Rounds of which the median is told.
const ROUNDS: usize = 3;
/// Rotations within one round.
const ROTATIONS: u64 = 10;
/// Entries of a round at most.
const ENTRIES: u64 = 1_000_000;
/// Callers of the appends.
const CALLERS: usize = 2;

/// Appends with and without rotations of both keys meanwhile.
pub(crate) fn rotation(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let entries = bench.events.min(ENTRIES);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bench.say(format!("{entries} appends with and without rotations, round {} of {ROUNDS}", round + 1));
        without.push(round_of(bench, entries, 0)?);
        with.push(round_of(bench, entries, ROTATIONS)?);
    }
    let how = How {
        durability: "durable",
        batch: BATCH,
        callers: CALLERS,
        against: "the same without rotations",
        target: Target::AtLeast(0.97),
    };
    report.add("append_rotated", "events/s", (median(&with), median(&without)), how);
    report
        .note(format!("{entries} events; {ROTATIONS} rotations of the entry key and of the checkpoint key meanwhile"));
    Ok(())
}

/// Events a second, with so many rotations spread over the round.
fn round_of(bench: &Bench<'_>, entries: u64, rotations: u64) -> anyhow::Result<f64> {
    let (path, keys) = (bench.dir.join("rotated"), bench.dir.join("rotated-keys"));
    let ring = KeyRing::load_or_create(&keys)?;
    let log = create(&path, "bench/rotated", &ring)?;
    let done = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        let rotator = scope.spawn(|| rotate(&log, &ring, entries, rotations, &done));
        let filled = fill(&log, &bench.pool, entries, CALLERS);
        done.store(true, Ordering::Release);
        rotator.join().map_err(|_| anyhow::anyhow!("the thread that rotates ended early"))??;
        filled
    })?;
    let rate = entries as f64 / begun.elapsed().as_secs_f64();
    let keys_there = log.key_history().entry_keys().len() as u64;
    anyhow::ensure!(keys_there == rotations + 1, "{keys_there} entry keys were in use, not {}", rotations + 1);
    log.close()?;
    drop(log);
    std::fs::remove_dir_all(&path)?;
    std::fs::remove_dir_all(&keys)?;
    Ok(rate)
}

fn rotate(log: &Log, ring: &KeyRing, entries: u64, rotations: u64, done: &AtomicBool) -> anyhow::Result<()> {
    for turn in 1..=rotations {
        while log.size()? < turn * entries / (rotations + 1) && !done.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        let now = SystemClock::default().now();
        ring.rotate_each(&[Purpose::EntrySigning, Purpose::CheckpointSigning], now)?;
        log.adopt_keys("a benchmark")?;
    }
    Ok(())
}

/// Second signatures for all entries of a log, beside its verification.
pub(crate) fn signing_again(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let entries = bench.events.min(ENTRIES);
    let (path, keys) = (bench.dir.join("resigned"), bench.dir.join("resigned-keys"));
    let ring = KeyRing::load_or_create(&keys)?;
    bench.say(format!("a log of {entries} entries to be signed again"));
    let log = create(&path, "bench/resigned", &ring)?;
    fill(&log, &bench.pool, entries, CALLERS)?;
    log.close()?;
    drop(log);
    let verified = verify_rate(&path, &ring)?;
    let log = super::open(&path, &ring)?;
    let old = log.key_history().current_entry_key().context("a log without an entry key")?.id.clone();
    ring.rotate(Purpose::EntrySigning, SystemClock::default().now())?;
    let withdrawn =
        Withdrawn { from: 0, id: old.clone(), reason: "a benchmark".to_owned(), state: WithdrawnState::Compromised };
    log.withdraw_keys("a benchmark", &[withdrawn])?;
    let begun = Instant::now();
    let signed = resign(&log, &old, None, "a benchmark", &|_, _| ())?;
    let rate = signed.entries as f64 / begun.elapsed().as_secs_f64();
    log.close()?;
    drop(log);
    std::fs::remove_dir_all(&path)?;
    std::fs::remove_dir_all(&keys)?;
    let how = How {
        durability: "durable",
        batch: BATCH,
        callers: 1,
        against: "verifying the same entries",
        target: Target::AtLeast(0.5),
    };
    report.add("resign", "entries/s", (rate, verified), how);
    report.note(format!(
        "{} entries, their hashes folded to the signed root, overlays stored as attachments",
        signed.entries
    ));
    Ok(())
}

fn verify_rate(path: &Path, ring: &KeyRing) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (seconds, head) = verify_once(path, ring)?;
        rates.push(head.size.0 as f64 / seconds);
    }
    Ok(median(&rates))
}
