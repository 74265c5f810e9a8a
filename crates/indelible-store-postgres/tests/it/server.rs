//! A PostgreSQL server of a test's own: made by an unprivileged `initdb`, ended with the test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use indelible_store_postgres::{Database, Settings};
use tempfile::TempDir;

pub(crate) struct Server {
    bin: PathBuf,
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
}

/// How a server is stopped.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    Fast,
    /// Without a checkpoint, as by a crash.
    Immediate,
}

fn binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.pop().or_else(|| std::env::split_paths(&path).find(|dir| dir.join("initdb").exists()))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// A command that does not run as root, which the server refuses.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

impl Server {
    /// A new server, or a word that it was skipped.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = binaries() else {
            println!(
                "SKIPPED: no PostgreSQL is installed (`initdb` is neither in /usr/lib/postgresql/*/bin nor in PATH)"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("nobody:nogroup").arg(dir.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { bin, dir, port, child: None };
        let mut initdb = unprivileged(&server.bin.join("initdb"));
        run(initdb.current_dir("/").args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(server.data()));
        server.up();
        Some(server)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What the server says.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn up(&mut self) {
        let mut command = unprivileged(&self.bin.join("postgres"));
        command.current_dir("/").arg("-D").arg(self.data()).arg("-k").arg(self.dir.path());
        command.args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=300", "max_wal_size=4GB", "log_min_messages=log"]
        {
            command.args(["-c", setting]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        while self.psql("postgres", "select 1").is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(&mut self, how: Stop) {
        let Some(mut child) = self.child.take() else { return };
        let signal = match how {
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        run(Command::new("kill").args([signal, &child.id().to_string()]));
        child.wait().unwrap();
    }

    /// Runs SQL as superuser, each `;` by itself.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.psql_as("postgres", database, sql)
    }

    pub(crate) fn psql_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.bin.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ]);
        let output = command.args(["-U", user, "-d", database, "-c", sql]).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Transactions per second of `pgbench` with a script of one statement.
    pub(crate) fn pgbench(&self, database: &str, sql: &str, clients: u64, run_for: Duration) -> f64 {
        let script = self.dir.path().join("script.sql");
        std::fs::write(&script, sql).unwrap();
        let mut command = Command::new(self.bin.join("pgbench"));
        command.args(["-n", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-j", "2"]);
        command
            .args(["-c", &clients.to_string(), "-T", &run_for.as_secs().to_string(), "-f"])
            .arg(&script)
            .arg(database);
        let told = run(&mut command);
        let (_, rest) = told.split_once("tps = ").unwrap_or_else(|| panic!("{told}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub(crate) fn open(&self, user: &str, database: &str, settings: Settings) -> Database {
        let url = self.url(user, database);
        Database::new(&url, settings).unwrap()
    }

    /// A database with our schema, and logins `writer` and `reader`.
    pub(crate) fn migrated(&self, database: &str) {
        self.psql("postgres", &format!("create database {database}")).unwrap();
        self.open("postgres", database, Settings::default()).migrate(false).unwrap();
        for (login, role) in [("writer", "audit_writer"), ("reader", "audit_reader"), ("retention", "audit_retention")]
        {
            let made = self.psql("postgres", &format!("create role {login} login in role {role}"));
            assert!(made.is_ok() || made.unwrap_err().contains("already exists"));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
    }
}
