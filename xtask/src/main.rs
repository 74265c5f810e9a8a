//! The project's own commands, so that a newcomer, a maintainer and the build machine type the same words.
//!
//! | module | holds |
//! |---|---|
//! | [`shell`] | running programs, finding tools, remembering what was skipped |
//! | [`test`] | `cargo xtask test` |
//! | [`lint`], [`sweeps`] | `cargo xtask lint` |
//! | [`dist`], [`sbom`] | `cargo xtask dist` |
//! | [`golden`] | `cargo xtask golden` |
//! | [`soak`] | `cargo xtask soak` |
//!
//! What cannot be done on a machine is skipped aloud and listed at the end; it never counts as passed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to a terminal")]

mod dist;
mod golden;
mod lint;
mod sbom;
mod shell;
mod soak;
mod sweeps;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  test [-- ARGS]      all tests, Rust and Python; ARGS go to the Rust test programs
  lint                formatting, clippy, cargo-deny, sweeps over the sources
  sweeps              the sweeps alone, which take no building
  dist                a stripped binary with checksums and a bill of materials, in target/dist
  soak [--minutes N]  the long versions of the fault and kill tests, then the benchmark with ten million events
  golden              writes the golden log of today's format into testdata, where there is none

`test` is the command that decides: what it does not run is listed as SKIPPED at its end.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test"] => test::run(&[]),
        ["test", "--", rest @ ..] => test::run(rest),
        ["lint"] => lint::run(),
        ["sweeps"] => sweeps::run(&shell::Skips::default()),
        ["dist"] => dist::run(),
        ["soak"] => soak::run(soak::DEFAULT_MINUTES),
        ["soak", "--minutes", minutes] => soak::parse_minutes(minutes).and_then(soak::run),
        ["golden"] => golden::write(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
