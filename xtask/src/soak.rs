//! `cargo xtask soak`: the long versions of the tests that live from many attempts.
//!
//! Each round runs the tests whose names contain one of [`LONG`], optimised, with many more seeds than the normal
//! run and other seeds than the round before; rounds follow one another until the time is up. Then the benchmark runs once
//! with ten million events.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::shell::{self, Skips, cargo, run_watched};

/// How long the rounds go on where nothing else is said.
pub(crate) const DEFAULT_MINUTES: u64 = 60;

/// What the names of tests contain that have a long form: simulated faults, killed processes, what the server reads, many writers (rows A12 and A22 of the threat model).
const LONG: [&str; 7] = ["soak", "faults", "kill", "recovery", "door::", "a12_", "a22_"];

/// Seeds of one round.
const SEEDS: u64 = 20_000;

/// Events of the benchmark.
const EVENTS: &str = "10000000";

pub(crate) fn parse_minutes(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("`--minutes {text}`: a whole number is needed"))
}

pub(crate) fn run(minutes: u64) -> Result<()> {
    let skips = Skips::default();
    let begun = Instant::now();
    let limit = Duration::from_secs(minutes.saturating_mul(60));
    let mut round = 0;
    while round == 0 || begun.elapsed() < limit {
        println!("round {round}: seeds from {}", round * SEEDS);
        let mut tests = cargo();
        tests
            .args(["test", "--release", "--workspace", "--", "--show-output"])
            .args(LONG)
            .env("INDELIBLE_SOAK", "1")
            .env("INDELIBLE_SEEDS", SEEDS.to_string())
            .env("INDELIBLE_FIRST_SEED", (round * SEEDS).to_string());
        run_watched(&mut tests, &skips)?;
        round += 1;
    }
    shell::run(cargo().args(["run", "--release", "-p", "indelible-cli", "--", "bench", "--events", EVENTS]))?;
    skips.summary();
    println!("{round} rounds of {SEEDS} seeds passed");
    Ok(())
}
