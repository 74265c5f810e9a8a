//! Measurements beside their ceilings.

use std::{path::PathBuf, process::ExitCode};

/// What `bench` takes.
#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How many events the large log has
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Where to measure; by default a temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

pub(crate) fn run(args: BenchArgs) -> ExitCode {
    let BenchArgs { json: _, events: _, dir: _ } = args;
    crate::output::error("this build has no measurements");
    ExitCode::from(crate::exit::COULD_NOT)
}
