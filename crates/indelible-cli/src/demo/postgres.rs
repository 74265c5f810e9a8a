//! A PostgreSQL server of the demo's own: in a temporary folder, reached by a socket there and by nothing else, gone with the value.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// Where Debian keeps one directory for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What is run of PostgreSQL.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "psql"];

/// A start takes less than a second; much longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// Runs the server as its child and ends it when the pipe that it reads ends, however this process did.
const SUPERVISOR: &str = r#""$0" -D "$1" -k "$3" -p 5432 -c listen_addresses= </dev/null >"$2" 2>&1 & server=$!; read -r _; kill -INT "$server"; wait "$server""#;

pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    supervisor: Child,
}

impl Server {
    /// Starts one. `None` where PostgreSQL is not installed.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        let Some(programs) = find() else { return Ok(None) };
        // Not in the demo's folder: an account without rights must get there, and a socket's path may have 107 bytes.
        let folder = tempfile::Builder::new().prefix("indelible-demo-").tempdir().context("no temporary directory")?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.path().join("data");
        let mut initdb = command(&programs.join("initdb"));
        initdb.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-D"]).arg(&data);
        let made = initdb.output().context("cannot run `initdb`")?;
        if !made.status.success() {
            bail!("`initdb` failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        let mut supervisor = command(Path::new("/bin/sh"));
        supervisor
            .args(["-c", SUPERVISOR])
            .arg(programs.join("postgres"))
            .arg(&data)
            .args([folder.path().join("said"), folder.path().to_owned()]);
        let supervisor = supervisor.stdin(Stdio::piped()).spawn().context("cannot start `postgres`")?;
        let server = Self { programs, folder, supervisor };
        server.wait()?;
        Ok(Some(server))
    }

    /// Until it says, in the last line of its pid file, that it takes connections.
    fn wait(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let ready = || {
            let text = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        };
        while !ready() {
            if begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
                bail!("PostgreSQL does not start: {}", said.trim());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The address of a database for a login.
    pub(crate) fn url(&self, login: &str, database: &str) -> String {
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://{login}@/{database}?host={host}&port=5432&sslmode=disable")
    }

    /// Runs statements with `psql`; gives what it answered.
    pub(crate) fn psql(&self, login: &str, database: &str, statements: &str) -> anyhow::Result<String> {
        let mut psql = command(&self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-p", "5432", "-U", login, "-d", database, "-h"]);
        let done = psql.arg(self.folder.path()).args(["-c", statements]).output().context("cannot run `psql`")?;
        if !done.status.success() {
            bail!("`psql` failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// The directory with the programs: that of `initdb` in the search path, or Debian's newest.
fn find() -> Option<PathBuf> {
    let whole = |folder: &PathBuf| PROGRAMS.iter().all(|name| folder.join(name).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path)
        .filter_map(|folder| Some(fs::canonicalize(folder.join("initdb")).ok()?.parent()?.to_owned()))
        .find(whole);
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
    let numbered = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let debians = || numbered.map(|(version, path)| (version, path.join("bin"))).filter(|(_, bin)| whole(bin)).max();
    in_path.or_else(|| debians().map(|(_, bin)| bin))
}

/// Only the owner of a process's own folder in `/proc` is asked, which is who it runs as.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|seen| seen.uid() == 0)
}

/// Under `nobody` for root; without whatever the environment says to PostgreSQL.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    for name in env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
