//! A PgBouncer in transaction mode before a test server, on this machine's loopback alone.

use std::{
    env,
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Mutex, Once},
    thread,
    time::Instant,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    account::command,
    certificates::write_private,
    server::{PATIENCE, PAUSE, TestServer, end, free_port, lock},
};

/// Debian keeps it where only root's search path leads.
const DEBIAN: &str = "/usr/sbin";
const PROGRAM: &str = "pgbouncer";

/// A running pooler. It goes with the value, or with its server's directory at the latest.
#[derive(Debug)]
pub struct Pooler {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    running: Mutex<Option<Child>>,
}

impl Pooler {
    /// Starts a pooler before `server` that lets `role` in by its password, and has at most `connections` to each database. `None` where
    /// no PgBouncer is installed; that is said aloud.
    #[must_use]
    pub fn start(server: &TestServer, role: &str, password: &str, connections: u16) -> Option<Self> {
        let program = find()?;
        let folder = tempfile::Builder::new().prefix("pooler-").tempdir_in(server.socket_folder()).unwrap();
        let port = free_port();
        let place = folder.path().display();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {place}/users.txt\npool_mode = transaction\ndefault_pool_size = {connections}\n\
             max_client_conn = 200\nserver_tls_sslmode = disable\nclient_tls_sslmode = disable\nlogfile = {place}/log\npidfile = {place}/pid\n",
            server.port()
        );
        write_private(&folder.path().join("pgbouncer.ini"), &settings);
        write_private(&folder.path().join("users.txt"), &format!("\"{role}\" \"{password}\"\n"));
        if let Some(account) = server.account {
            account.own(folder.path());
            ["pgbouncer.ini", "users.txt"].iter().for_each(|name| account.own(&folder.path().join(name)));
        }
        let pooler = Self { program, folder, port, running: Mutex::default() };
        pooler.launch(server);
        Some(pooler)
    }

    /// Starts it again after [`Pooler::kill`], on the same port.
    pub fn start_again(&self, server: &TestServer) {
        assert!(lock(&self.running).is_none(), "the pooler is running");
        self.launch(server);
    }

    fn launch(&self, server: &TestServer) {
        let said = File::options().create(true).append(true).open(self.folder.path().join("out")).unwrap();
        let mut pooler = command(&self.program, server.account);
        // Where it works, the watchdog knows it by.
        pooler.arg("pgbouncer.ini").current_dir(self.folder.path()).stdin(Stdio::null());
        pooler.stdout(said.try_clone().unwrap()).stderr(said);
        let mut child = pooler.spawn().unwrap_or_else(|error| panic!("cannot run `{PROGRAM}`: {error}"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().unwrap().is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "PgBouncer does not start:\n{}", self.log());
            thread::sleep(PAUSE);
        }
        *lock(&self.running) = Some(child);
    }

    /// Ends it at once: every connection through it breaks.
    pub fn kill(&self) {
        if let Some(mut child) = lock(&self.running).take() {
            end(&mut child, Signal::KILL);
        }
        // What a killed pooler leaves keeps the next from starting.
        let _ = fs::remove_file(self.folder.path().join("pid"));
    }

    /// `postgres://ROLE:PASSWORD@127.0.0.1:PORT/DATABASE`.
    #[must_use]
    pub fn url_with_password(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        ["out", "log"].map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()).concat()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.kill();
    }
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).chain([Path::new(DEBIAN).to_owned()]).map(|folder| folder.join(PROGRAM));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        static SAID: Once = Once::new();
        SAID.call_once(|| println!("SKIPPED: tests with PgBouncer: it is not installed (`apt-get install pgbouncer`)"));
    }
    found
}
