//! A directory with a log and keys, and the program to run on them.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use serde_json::Value;

/// A temporary directory with room for one log.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) keys: PathBuf,
    pub(crate) log: PathBuf,
}

/// How a run ended.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"));
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Refused with this code, in one line that says all of `words`.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        let done = self.code(code);
        assert_eq!(done.out, "", "nothing but the message");
        for word in words {
            assert!(done.err.contains(word), "`{word}` is not in: {}", done.err);
        }
        if code == 1 {
            assert!(done.err.starts_with("error: ") && done.err.trim_end().lines().count() == 1, "{}", done.err);
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl World {
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (keys, log) = (dir.path().join("keys"), dir.path().join("log"));
        Self { dir, keys, log }
    }

    /// With a log that has entry 0.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.init(&[]).ok();
        world
    }

    /// With `count` sample events behind entry 0.
    pub(crate) fn with_samples(count: u64) -> Self {
        let world = Self::new();
        world.feed(&["append"], world.samples(count)).ok();
        world
    }

    pub(crate) fn init(&self, more: &[&str]) -> Done {
        let log = self.log.display().to_string();
        self.run(&[&["init", &log, "--origin", "test.example/audit", "--no-immutable"], more].concat())
    }

    pub(crate) fn samples(&self, count: u64) -> String {
        self.run(&["samples", "--count", &count.to_string()]).ok().out
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.at(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn public_key(&self) -> String {
        let entry = self.run(&["show", "0", "--json"]).ok().json();
        entry["entry"]["control"]["checkpoint_keys"][0].as_str().unwrap().to_owned()
    }

    pub(crate) fn entries(&self) -> u64 {
        self.run(&["log", "info", "--json"]).ok().json()["entries"].as_u64().unwrap()
    }

    /// The program with this world's places, and nothing of the caller's.
    pub(crate) fn command(&self, args: &[impl AsRef<OsStr>]) -> Command {
        self.place(Command::new(env!("CARGO_BIN_EXE_indelible")), args)
    }

    pub(crate) fn place(&self, mut command: Command, args: &[impl AsRef<OsStr>]) -> Command {
        for name in ["INDELIBLE_LOG", "INDELIBLE_KEYS", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        for name in ["INDELIBLE_MASTER_KEY", "INDELIBLE_MASTER_KEY_FILE", "INDELIBLE_PASSPHRASE"] {
            command.env_remove(name);
        }
        for name in ["INDELIBLE_TOKEN", "INDELIBLE_TOKEN_FILE", "INDELIBLE_CA", "INDELIBLE_PIN"] {
            command.env_remove(name);
        }
        command.env("HOME", self.dir.path()).env("INDELIBLE_HEADS", self.at("heads")).current_dir(self.dir.path());
        command.args(args);
        if !args.iter().any(|arg| arg.as_ref() == OsStr::new("--keys")) {
            command.arg("--keys").arg(&self.keys);
        }
        if !args.iter().any(|arg| arg.as_ref() == OsStr::new("--log")) {
            command.arg("--log").arg(&self.log);
        }
        command
    }

    pub(crate) fn run(&self, args: &[impl AsRef<OsStr>]) -> Done {
        Done::of(&self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs with `input` on stdin.
    pub(crate) fn feed(&self, args: &[&str], input: impl AsRef<[u8]>) -> Done {
        feed(self.command(args), input.as_ref())
    }

    /// The only segment of a small log, plain.
    pub(crate) fn segment(&self) -> PathBuf {
        let mut found: Vec<PathBuf> = files(&self.log.join("segments"));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Writes the segment anew with its lines changed, as somebody with access to the file would.
    pub(crate) fn tamper(&self, change: impl FnOnce(&mut Vec<String>)) {
        let path = self.segment();
        let mut lines: Vec<String> =
            fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        overwrite(&path, lines.concat().as_bytes());
    }

    /// Copies the log directory aside.
    pub(crate) fn copy_log(&self, name: &str) -> PathBuf {
        let to = self.at(name);
        copy(&self.log, &to);
        to
    }

    /// Puts a copy in the place of the log.
    pub(crate) fn restore_log(&self, from: &Path) {
        fs::remove_dir_all(&self.log).unwrap();
        copy(from, &self.log);
    }
}

pub(crate) fn feed(mut command: Command, input: &[u8]) -> Done {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A program that ends early closes the pipe; that is for it to explain.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Done::of(&output)
}

pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// An event with an id.
pub(crate) fn event(id: &str) -> String {
    format!(r#"{{"action":"door.open","actor":{{"type":"user","id":"ada"}},"id":"{id}"}}"#)
}
