//! `cargo xtask lint`: everything that is judged without running the program.

use anyhow::{Result, bail};

use crate::{
    shell::{self, NO_LIBCRYPTO, SQLCIPHER, Skips, cargo, has_libcrypto, metadata, works},
    sweeps,
};

pub(crate) fn run() -> Result<()> {
    let skips = Skips::default();
    // All of them, so that one run shows everything.
    let steps: [fn(&Skips) -> Result<()>; 5] = [lock_file, format, clippies, deny, sweeps::run];
    let errors: Vec<_> = steps.iter().filter_map(|step| step(&skips).err()).collect();
    skips.summary();
    for error in &errors {
        eprintln!("error: {error:#}");
    }
    if errors.is_empty() { Ok(()) } else { bail!("{} of the lints failed", errors.len()) }
}

/// `Cargo.lock` fits the manifests.
fn lock_file(_: &Skips) -> Result<()> {
    metadata(&["--no-deps"]).map(drop)
}

fn format(skips: &Skips) -> Result<()> {
    if !works(cargo().args(["fmt", "--version"])) {
        skips.say("formatting: `rustfmt` is not installed (`rustup component add rustfmt`)");
        return Ok(());
    }
    run_step(&["fmt", "--all", "--", "--check"])
}

/// The workspace with the most that it can be built with, and the program with the least: features hide code from each other. What only the ordinary build has is a few lines, which the tests compile.
fn clippies(skips: &Skips) -> Result<()> {
    if !works(cargo().args(["clippy", "--version"])) {
        skips.say("clippy: not installed (`rustup component add clippy`)");
        return Ok(());
    }
    if has_libcrypto() {
        clippy(&["--workspace", "--all-targets", "--features", SQLCIPHER])?;
    } else {
        skips.say(&format!("clippy of the feature `sqlcipher`: {NO_LIBCRYPTO}"));
        clippy(&["--workspace", "--all-targets"])?;
    }
    clippy(&["-p", "indelible-cli", "--no-default-features"])
}

fn clippy(what: &[&str]) -> Result<()> {
    run_step(&[&["clippy"], what, &["--locked", "--", "-D", "warnings"]].concat())
}

/// Licences, bans and sources from what is on disk; advisories only where their database can be reached.
fn deny(skips: &Skips) -> Result<()> {
    if !works(cargo().args(["deny", "--version"])) {
        skips.say("cargo-deny: not installed (`cargo install --locked cargo-deny --version 0.20.2`)");
        return Ok(());
    }
    run_step(&["deny", "--locked", "check", "bans", "licenses", "sources"])?;
    if works(cargo().args(["deny", "fetch", "db"])) {
        run_step(&["deny", "--locked", "check", "advisories"])
    } else {
        skips.say("advisories: their database cannot be reached from here");
        Ok(())
    }
}

fn run_step(args: &[&str]) -> Result<()> {
    shell::run(cargo().args(args))
}
