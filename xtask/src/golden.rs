//! `cargo xtask golden`: writes the golden log of today's format into `testdata`, where there is none.
//!
//! It is never written anew: a format that was released stays what it is, and a changed one has a new number.

use anyhow::Result;

use crate::shell::{cargo, program, root, run};

pub(crate) fn write() -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "-p", "indelible", "--test", "it", "--", "golden::golden_logs_are_written"]);
    run(tests.env("INDELIBLE_GOLDEN", root().join("testdata")))?;
    run(program("git").args(["status", "--short", "--", "testdata"]))
}
