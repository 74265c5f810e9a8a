//! `cargo xtask vectors`: writes the golden vectors in `testdata/vectors` anew.
//!
//! Nothing else writes them. A change in them is a change of the stored format, and wants a reader for the old one.

use anyhow::Result;

use crate::shell::{cargo, program, run};

pub(crate) fn regenerate() -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "-p", "indelible-cli", "--test", "it", "--", "golden"]).env("INDELIBLE_REGENERATE", "1");
    run(&mut tests)?;
    run(program("git").args(["status", "--short", "--", "testdata/vectors"]))
}
