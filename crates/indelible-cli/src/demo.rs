//! A log recorded, verified, proven, and its tampering caught.

use std::{path::PathBuf, process::ExitCode};

/// What `demo` takes.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Keep the logs in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

pub(crate) fn run(args: DemoArgs) -> ExitCode {
    let DemoArgs { keep: _ } = args;
    crate::output::error("this build has no demonstration");
    ExitCode::from(crate::exit::COULD_NOT)
}
