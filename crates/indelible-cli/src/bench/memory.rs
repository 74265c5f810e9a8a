//! The most memory that appending and verifying need, on a small log and on the large one, in child processes of their own.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use indelible::KeyRing;

use super::{
    BATCH, Bench,
    events::Pool,
    open, place, reading,
    report::{How, Report, Target},
    writing,
};

/// Events that each child appends: more than two generations of ids, so that every table has its full size.
const APPENDED: u64 = 600_000;

/// What a child process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    /// Opens a log and appends events in batches.
    Append,
    /// Verifies a log.
    Verify,
}

impl Probe {
    const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Verify => "verify",
        }
    }
}

/// The child: does its work on the log at `log`, whose keys are beside it, and prints the most memory that it had, in KiB.
pub(crate) fn run_probe(probe: Probe, log: &Path, events: u64) -> anyhow::Result<()> {
    let keys = KeyRing::load(&log.parent().context("a log has a parent")?.join("keys"))?;
    match probe {
        Probe::Append => {
            let log = open(log, &keys)?;
            writing::fill(&log, &Pool::new(), log.size()? + events, 2)?;
            log.close()?;
        }
        Probe::Verify => drop(reading::verify_once(log, &keys)?),
    }
    let mut out = std::io::stdout().lock();
    Ok(std::io::Write::write_fmt(&mut out, format_args!("{}\n", highest_kib().unwrap_or(0)))?)
}

/// The high-water mark of this process's memory; `None` where the system does not tell.
fn highest_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// MiB that a child needed.
fn child(probe: Probe, log: &Path, events: u64) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--probe", probe.name(), "--events", &events.to_string(), "--dir"]).arg(log);
    let output = command.output().context("cannot start a child process")?;
    let told = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the child process that measures memory failed: {why}");
    let kib: f64 = told.trim().parse().context("the child process said nothing")?;
    Ok(kib / 1024.0)
}

pub(crate) fn verify(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say("memory of a verification");
    let small = child(Probe::Verify, &bench.small(), 0)?;
    let large = child(Probe::Verify, &bench.large(), 0)?;
    let how = How {
        durability: "–",
        batch: 1,
        callers: place::cores(),
        against: "the same with a log of 10,000 entries",
        target: Target::None,
    };
    report.add("memory_verify", "MiB (peak)", (large, small), how);
    report.note(
        "a log of 10,000 entries is smaller than the pieces that are read ahead (16 of 1 MiB) and one segment"
            .to_owned(),
    );
    Ok(())
}

pub(crate) fn append(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say("memory of appending");
    let large = child(Probe::Append, &bench.large(), APPENDED)?;
    let small = child(Probe::Append, &bench.small(), APPENDED)?;
    let how = How {
        durability: "durable",
        batch: BATCH,
        callers: 2,
        against: "the same with a log of 10,000 entries",
        target: Target::None,
    };
    report.add("memory_append", "MiB (peak)", (large, small), how);
    report.note(format!("each child appends {APPENDED} events"));
    Ok(())
}
