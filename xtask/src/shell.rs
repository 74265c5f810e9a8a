//! Running programs, finding tools, and remembering what was skipped.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// The word that a test, or this program, begins a line with where it could not do its work.
pub(crate) const SKIPPED: &str = "SKIPPED";

/// What could not be done, for the summary at the end.
#[derive(Default)]
pub(crate) struct Skips(Mutex<Vec<String>>);

impl Skips {
    /// Says that something is skipped, and remembers it.
    pub(crate) fn say(&self, what: &str) {
        let line = format!("{SKIPPED}: {what}");
        println!("{line}");
        self.remember(&line);
    }

    /// Remembers a line of another program that says so.
    fn remember(&self, line: &str) {
        if let Some((_, said)) = line.split_once(SKIPPED) {
            let line = format!("{SKIPPED}{}", said.trim_end());
            let mut lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }

    /// Prints what was skipped, or that nothing was.
    pub(crate) fn summary(&self) {
        let lines = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!("\n{} skipped", lines.len());
        for line in lines.iter() {
            println!("  {line}");
        }
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Any other program, in the root of the workspace.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Whether SQLCipher can be built here: it takes its cryptography from the system.
pub(crate) fn has_libcrypto() -> bool {
    works(program("pkg-config").args(["--exists", "libcrypto"]))
}

/// Why what needs SQLCipher is skipped.
pub(crate) const NO_LIBCRYPTO: &str =
    "no OpenSSL to build SQLCipher with (`apt-get install libssl-dev pkg-config` on Debian)";

/// The features of a build that has SQLCipher in the place of SQLite.
pub(crate) const SQLCIPHER: &str = "indelible-cli/sqlcipher,indelible-store-sqlite/sqlcipher";

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a command whose output the user sees as it comes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if status.success() { Ok(()) } else { Err(anyhow!("`{}` failed: {status}", shown(command))) }
}

/// As [`run`], and remembers the lines in which the command says that it skipped something.
pub(crate) fn run_watched(command: &mut Command, skips: &Skips) -> Result<()> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(|| out.map(|pipe| pass_on(pipe, io::stdout(), skips)));
        scope.spawn(|| err.map(|pipe| pass_on(pipe, io::stderr(), skips)));
    });
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(anyhow!("`{}` failed: {status}", shown(command))) }
}

/// Copies line by line. A terminal that went away ends the copying of the screen, not the reading: the child must not block.
fn pass_on(from: impl Read, mut to: impl Write, skips: &Skips) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let _gone = to.write_all(&line).and_then(|()| to.flush());
        let text = String::from_utf8_lossy(&line);
        if text.contains(SKIPPED) {
            skips.remember(&text);
        }
        line.clear();
    }
}

/// Runs a command and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !done.status.success() {
        bail!("`{}` failed: {}", shown(command), String::from_utf8_lossy(&done.stderr).trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{}` printed no UTF-8", shown(command)))
}

/// Whether a command can be started and ends well; its output is not shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|done| done.status.success())
}

/// `cargo metadata`, with more arguments.
pub(crate) fn metadata(args: &[&str]) -> Result<Value> {
    let text = output(cargo().args(["metadata", "--locked", "--format-version", "1"]).args(args))?;
    serde_json::from_str(&text).context("`cargo metadata` printed no JSON")
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let data = metadata(&["--no-deps"])?;
    let dir =
        data.get("target_directory").and_then(Value::as_str).context("`cargo metadata` names no target folder")?;
    Ok(PathBuf::from(dir))
}

/// The triple of this machine.
pub(crate) fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let text = output(Command::new(rustc).arg("-vV").current_dir(root()))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    Ok(host.to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let name = Path::new(words.first().map_or("", AsRef::as_ref)).file_name().unwrap_or_default().to_string_lossy();
    [&[name], words.get(1..).unwrap_or_default()].concat().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_lines_are_remembered_once_and_all_are_passed_on() {
        let skips = Skips::default();
        let text = b"test a ... ok\nSKIPPED (aloud): no vectors\n  SKIPPED (aloud): no vectors\nno newline: SKIPPED: x";
        let mut shown = Vec::new();
        pass_on(&text[..], &mut shown, &skips);
        assert_eq!(shown, text);
        let lines = skips.0.into_inner().unwrap();
        assert_eq!(lines, ["SKIPPED (aloud): no vectors", "SKIPPED: x"]);
    }

    #[test]
    fn commands_are_shown_without_the_folder_of_the_program() {
        assert_eq!(shown(Command::new("/a/b/cargo").args(["test", "--workspace"])), "cargo test --workspace");
    }
}
