//! `indelible bench`: what this machine and this disk give, each figure beside its ceiling.
//!
//! A *ceiling* is a bare loop that does the least that could be done with the same bytes ([`ceiling`]); it runs interleaved with what it is
//! compared to, in the same directory, and medians are told. Everything happens in one directory of its own, which is removed at the
//! end; no log of the user's is touched. What the figures mean, and what they were, is in `docs/performance.md`.
//!
//! | module | measures |
//! |---|---|
//! | [`writing`] | appends, of each durability |
//! | [`reading`] | verification, proofs, opening, canonical form |
//! | [`keys`] | rotation beside appends, second signatures |
//! | [`memory`] | the most memory that a child process had |
//! | [`ceiling`] | the bare loops |
//! | [`events`] | the events that are recorded, and their stored lines |
//! | `server` | recording over HTTP, and the server's memory |
//! | `stores` | the same for databases |
//! | [`report`] | conditions, rows, the table |

mod ceiling;
mod events;
mod keys;
mod memory;
mod place;
mod reading;
mod report;
#[cfg(feature = "server")]
mod server;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stores;
mod writing;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use indelible::{KeyRing, Log, Options};
use indelible_store_file::Settings;
use indicatif::ProgressBar;

use events::{Lines, Pool};
use memory::Probe;
use report::{Conditions, Report};

/// Events of one `append_all`, and of one sync of the ceiling.
pub(crate) const BATCH: usize = 4096;
/// Entries of the small log that the large one is compared to.
const SMALL: u64 = 10_000;

/// What can be measured by itself in a directory.
const NAMES: &[&str] = &[
    "canonicalise",
    "parse_event",
    "append_durable_1",
    "append_durable_64",
    "append_bounded",
    "append_durable_batched",
    "append_rotated",
    "resign",
    #[cfg(feature = "server")]
    "server_64",
    #[cfg(feature = "server")]
    "server_lines",
    #[cfg(feature = "server")]
    "server_memory",
    "append_sustained",
    "verify",
    "prove",
    "open_10k",
    "open_10m",
    "memory_verify",
    "append_chosen_ids",
    "memory_append",
];

/// Measures this machine: appends, verification, proofs and opening, each beside its ceiling.
#[derive(clap::Args, Debug)]
pub(crate) struct BenchArgs {
    /// Print one JSON object instead of a table
    #[arg(skip)]
    pub(crate) json: bool,
    /// Entries of the large log that is verified, proven from and opened
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Where to make the logs; by default a temporary directory in the current one. The file system there is what is measured
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure a log in a database instead of a directory: `sqlite`; `postgres`, for a server of the benchmark's own; or the `postgres://…` of a superuser, where
    /// a database is made and dropped again
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[arg(long, value_name = "STORE", conflicts_with = "only")]
    store: Option<stores::Store>,
    /// Measure only these, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(NAMES))]
    only: Vec<String>,
    /// What a child process does whose memory is measured
    #[arg(long, hide = true)]
    probe: Option<Probe>,
}

/// Runs the benchmark.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if let Some(probe) = args.probe {
        let dir = args.dir.as_deref().context("--probe needs --dir")?;
        return memory::run_probe(probe, dir, args.events);
    }
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let dir = tempfile::Builder::new()
        .prefix(".indelible-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory for the benchmark in `{}`", parent.display()))?;
    let report = measure(dir.path(), args)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        report.write_json(&mut out)?
    } else {
        report.write_table(&mut out)?
    }
    out.flush()?;
    dir.close().context("cannot remove the benchmark's directory")
}

fn measure(dir: &Path, args: &BenchArgs) -> anyhow::Result<Report> {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    if let Some(store) = &args.store {
        return stores::measure(store, dir, args.events);
    }
    Bench::new(dir, args)?.measure()
}

/// What all measurements share.
pub(crate) struct Bench<'a> {
    dir: &'a Path,
    keys: KeyRing,
    events: u64,
    only: &'a [String],
    pool: Pool,
    lines: Lines,
    progress: ProgressBar,
}

impl<'a> Bench<'a> {
    fn new(dir: &'a Path, args: &'a BenchArgs) -> anyhow::Result<Self> {
        let keys = KeyRing::load_or_create(&dir.join("keys"))?;
        let pool = Pool::new();
        let progress = ProgressBar::new_spinner();
        progress.enable_steady_tick(Duration::from_millis(200));
        progress.set_message("a log of 10,000 entries");
        let small = create(&dir.join("small"), "bench/small", &keys)?;
        writing::fill(&small, &pool, SMALL, 1)?;
        small.checkpoint()?;
        let lines = Lines::of(&small, keys.entry_key(small.log_id(), small.origin(), 1))?;
        small.close()?;
        Ok(Self { dir, keys, events: args.events.max(SMALL), only: &args.only, pool, lines, progress })
    }

    fn wants(&self, names: &[&str]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| names.contains(&only.as_str()))
    }

    fn say(&self, message: impl Into<std::borrow::Cow<'static, str>>) {
        self.progress.set_message(message);
    }

    fn small(&self) -> PathBuf {
        self.dir.join("small")
    }

    fn large(&self) -> PathBuf {
        self.dir.join("large")
    }

    fn measure(&self) -> anyhow::Result<Report> {
        let mut report = Report::new(Conditions::here(self));
        if self.wants(&["canonicalise", "parse_event"]) {
            reading::canonicalise(self, &mut report);
        }
        let appends = ["append_durable_batched", "append_durable_1", "append_durable_64", "append_bounded"];
        if self.wants(&appends) {
            let log = create(&self.dir.join("rounds"), "bench/rounds", &self.keys)?;
            if self.wants(&["append_durable_1"]) {
                writing::durable_single(self, &log, &mut report)?;
            }
            if self.wants(&["append_durable_64"]) {
                writing::durable_many(self, &log, &mut report)?;
            }
            if self.wants(&["append_bounded"]) {
                writing::bounded(self, &log, &mut report)?;
            }
            if self.wants(&["append_durable_batched"]) {
                writing::durable_batched(self, &log, &mut report)?;
            }
            log.close()?;
            drop(log);
            std::fs::remove_dir_all(self.dir.join("rounds"))?;
        }
        if self.wants(&["append_rotated"]) {
            keys::rotation(self, &mut report)?;
        }
        if self.wants(&["resign"]) {
            keys::signing_again(self, &mut report)?;
        }
        #[cfg(feature = "server")]
        self.measure_server(&mut report)?;
        let large = ["append_sustained", "verify", "prove", "open_10k", "open_10m", "append_chosen_ids"];
        let memory = ["memory_append", "memory_verify"];
        if self.wants(&large) || self.wants(&memory) {
            writing::sustained(self, &mut report)?;
        }
        if self.wants(&["verify"]) {
            reading::verify(self, &mut report)?;
        }
        if self.wants(&["prove"]) {
            reading::prove(self, &mut report)?;
        }
        if self.wants(&["open_10k", "open_10m"]) {
            reading::open(self, &mut report)?;
        }
        if self.wants(&["memory_verify"]) {
            memory::verify(self, &mut report)?;
        }
        if self.wants(&["append_chosen_ids"]) {
            writing::chosen_ids(self, &mut report)?;
        }
        if self.wants(&["memory_append"]) {
            memory::append(self, &mut report)?;
        }
        self.progress.finish_and_clear();
        Ok(report)
    }
}

#[cfg(feature = "server")]
impl Bench<'_> {
    fn measure_server(&self, report: &mut Report) -> anyhow::Result<()> {
        if self.wants(&["server_64", "server_lines"]) {
            server::recording(self, report)?;
        }
        if self.wants(&["server_memory"]) {
            server::memory(self, report)?;
        }
        Ok(())
    }
}

/// A fresh log. Its closed segments do not get the immutable attribute, so that the directory can be removed.
fn create(path: &Path, origin: &str, keys: &KeyRing) -> anyhow::Result<Log> {
    let settings = Settings { immutable: false, ..Settings::default() };
    Ok(Log::create(path, origin, keys, Options { settings, ..Options::default() })?)
}

fn open(path: &Path, keys: &KeyRing) -> anyhow::Result<Log> {
    Ok(Log::open(path, keys, Options::default())?)
}
