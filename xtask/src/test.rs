//! `cargo xtask test`: the test command.
//!
//! Rust tests in the profile `test`, the Python tests of `tools/` against the binary that was just built (one of them has an OpenAPI validator and schemathesis ask a server of its own), then the tests of encrypted SQLite files in a build of their own. All must
//! pass. Only what the machine lacks is skipped, and each such line stands in the summary.

use std::env;

use anyhow::{Context as _, Result, bail};

use crate::shell::{NO_LIBCRYPTO, SQLCIPHER, Skips, cargo, has_libcrypto, program, run_watched, target_dir, works};

/// The oldest Python that `tools/` is written for.
const PYTHON: (u32, u32) = (3, 9);

/// The modules of tests that are about SQLite files: the store's, and the program's.
const ABOUT_SQLITE: [&str; 5] = ["cipher::", "conforms::", "places::", "sqlite::", "worm::"];

pub(crate) fn run(args: &[&str]) -> Result<()> {
    need_compiler()?;
    let skips = Skips::default();
    // `--show-output`: a passing test that skipped something, or that counted what it tried, says so on the screen.
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--", "--show-output"]).args(args);
    run_watched(&mut tests, &skips)?;
    if args.is_empty() {
        // Python first: it tests the binary that stands there now.
        run_python(&skips)?;
        run_sqlcipher(&skips)?;
    } else {
        skips.say("the Python and SQLCipher tests, because arguments select among the Rust tests");
    }
    skips.summary();
    println!("all tests passed");
    Ok(())
}

/// Said before an hour of compiling ends in a linker error.
fn need_compiler() -> Result<()> {
    let named = env::var("CC").ok();
    let candidates = named.as_deref().into_iter().chain(["cc", "gcc", "clang"]);
    for name in candidates {
        if works(program(name).arg("--version")) {
            return Ok(());
        }
    }
    bail!("no C compiler: install one (`apt-get install build-essential` on Debian), or name it in `CC`")
}

/// SQLCipher is a build of its own: it takes the place of SQLite. The store's tests, and those of the program that are about files.
fn run_sqlcipher(skips: &Skips) -> Result<()> {
    if !has_libcrypto() {
        skips.say(&format!("the tests of encrypted SQLite files: {NO_LIBCRYPTO}"));
        return Ok(());
    }
    // One build for both: what is selected together is compiled once.
    let mut tests = cargo();
    tests.args([
        "test",
        "-p",
        "indelible-store-sqlite",
        "-p",
        "indelible-cli",
        "--features",
        SQLCIPHER,
        "--test",
        "it",
    ]);
    tests.args(["--", "--show-output"]).args(ABOUT_SQLITE);
    run_watched(&mut tests, skips).context("the tests of encrypted SQLite files")?;
    Ok(())
}

fn run_python(skips: &Skips) -> Result<()> {
    let wanted = format!("import sys; sys.exit(sys.version_info < {PYTHON:?})");
    if !works(program("python3").args(["-c", &wanted])) {
        let (major, minor) = PYTHON;
        skips.say(&format!("the Python tests of `tools/`: no `python3` of version {major}.{minor} or later"));
        return Ok(());
    }
    if !works(program("zstd").arg("--version")) {
        skips.say("Python tests over closed segments, where they need the program `zstd`, which is not installed");
    }
    let binary = target_dir()?.join("debug").join(format!("indelible{}", env::consts::EXE_SUFFIX));
    let mut tests = program("python3");
    tests.args(["-m", "unittest", "discover", "-s", "tools"]).env("INDELIBLE_BIN", binary);
    run_watched(&mut tests, skips).context("the Python tests of `tools/`")
}
