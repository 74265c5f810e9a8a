//! A PostgreSQL server of a test's own.

use std::{
    fmt,
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    account::{Account, command},
    certificates::{Authority, ClientCertificate, ClientFiles, ServerCertificate, write_private},
    options::Options,
    programs::{self, Programs},
    watchdog::Watchdog,
};

/// The superuser of a test server.
const SUPERUSER: &str = "postgres";

/// The helper's own way in, before the lines that the test gave.
const OWN_HBA: &str = "local all postgres trust\nlocal replication postgres trust\n";

/// A free port can be taken between looking and binding.
const PORTS_TRIED: usize = 5;

/// A start that replays the log of a crash takes seconds; ten times that on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// A running PostgreSQL server with a directory, a port and a socket of its own. It goes with the value.
#[derive(Debug)]
pub struct TestServer {
    pub(crate) programs: Programs,
    pub(crate) account: Option<Account>,
    /// Holds everything that there is on disk: `data`, the socket, the log, certificates.
    folder: TempDir,
    port: u16,
    pub(crate) options: Mutex<Options>,
    authority: Authority,
    running: Mutex<Option<Child>>,
    watchdog: Mutex<Watchdog>,
}

impl TestServer {
    /// Makes a new database cluster and starts it. `None` where no PostgreSQL is installed; that is said aloud.
    #[must_use]
    pub fn start(options: Options) -> Option<Self> {
        let server = Self::prepare(programs::find()?, options);
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--no-locale", "-D"]);
        finish(initdb.arg(server.data()));
        Some(server.start_on_free_port())
    }

    /// The place, without a cluster in it.
    pub(crate) fn prepare(programs: Programs, options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("indelible-pg-").tempdir().unwrap();
        let account = Account::to_step_down_to();
        if let Some(account) = account {
            account.own(folder.path());
        }
        Self {
            programs,
            account,
            port: 0,
            options: Mutex::new(options),
            authority: Authority::new("test authority"),
            running: Mutex::new(None),
            watchdog: Mutex::new(Watchdog::over(folder.path())),
            folder,
        }
    }

    pub(crate) fn start_on_free_port(mut self) -> Self {
        for _ in 0..PORTS_TRIED {
            self.port = free_port();
            if lock(&self.options).tls {
                self.write_server_certificate(ServerCertificate::Good);
            }
            self.write_configuration();
            match self.try_launch() {
                Ok(()) => return self,
                Err(log) if log.contains("could not bind") || log.contains("could not create any TCP/IP") => {}
                Err(log) => panic!("PostgreSQL does not start:\n{log}"),
            }
        }
        panic!("no free port was found in {PORTS_TRIED} attempts")
    }

    /// The port on `127.0.0.1`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// `postgres://ROLE@127.0.0.1:PORT/DATABASE`.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same with a password.
    #[must_use]
    pub fn url_with_password(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The process of the server; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.running).as_ref().map(Child::id)
    }

    /// The server's own log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        command(&self.programs.path(program), self.account)
    }

    // Stopping and starting

    /// Stops the server in order: running statements are cancelled, everything is written.
    pub fn stop(&self) {
        self.signal(Signal::INT);
    }

    /// Stops the server as a crash would: nothing is written, the next start recovers.
    pub fn crash(&self) {
        self.signal(Signal::QUIT);
    }

    /// Starts a stopped server again, on the same port.
    pub fn start_again(&self) {
        assert!(lock(&self.running).is_none(), "the server is running");
        self.try_launch().unwrap_or_else(|log| panic!("PostgreSQL does not start again:\n{log}"));
    }

    /// `stop` and `start_again`.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// `crash` and `start_again`: what `pg_ctl restart -m immediate` does.
    pub fn restart_immediate(&self) {
        self.crash();
        self.start_again();
    }

    fn signal(&self, signal: Signal) {
        if let Some(mut child) = lock(&self.running).take() {
            end(&mut child, signal);
        }
    }

    /// The server's log where it does not come up.
    fn try_launch(&self) -> Result<(), String> {
        let path = self.folder.path().join("log");
        let before = fs::metadata(&path).map_or(0, |seen| seen.len());
        let log = File::options().create(true).append(true).open(&path).unwrap();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).stdin(Stdio::null());
        server.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = server.spawn().unwrap_or_else(|error| panic!("cannot run `postgres`: {error}"));
        let begun = Instant::now();
        while !self.answers(child.id()) {
            if child.try_wait().unwrap().is_some() || begun.elapsed() > PATIENCE {
                end(&mut child, Signal::QUIT);
                let text = fs::read(&path).unwrap();
                return Err(
                    String::from_utf8_lossy(text.get(usize::try_from(before).unwrap()..).unwrap_or(&text)).into_owned()
                );
            }
            thread::sleep(PAUSE);
        }
        *lock(&self.running) = Some(child);
        Ok(())
    }

    /// Whether the server has written into its pid file that it takes connections, as its last line says.
    fn answers(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        lines.next() == Some(&pid.to_string()) && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
    }

    // Configuration

    /// Changes lines of `postgresql.conf` and has the server read them. What needs a restart waits for one.
    pub fn set(&self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            lock(&self.options).settings.insert((*name).to_owned(), (*value).to_owned());
        }
        self.reload();
    }

    /// Replaces `pg_hba.conf` and has the server read it.
    pub fn set_hba(&self, lines: &str) {
        lines.clone_into(&mut lock(&self.options).hba);
        self.reload();
    }

    /// Has the server show another certificate to those who come from now on.
    pub fn present(&self, certificate: ServerCertificate) {
        lock(&self.options).tls = true;
        self.write_server_certificate(certificate);
        self.reload();
    }

    /// Ends TLS for those who come from now on.
    pub fn end_tls(&self) {
        lock(&self.options).tls = false;
        self.reload();
    }

    /// Writes the configuration and waits until new connections find it in force.
    fn reload(&self) {
        let loaded = || self.sql("SELECT pg_conf_load_time()");
        let before = loaded();
        self.write_configuration();
        let pid = self.pid().unwrap_or_else(|| panic!("the server is stopped"));
        kill_process(to_pid(pid), Signal::HUP).unwrap();
        let begun = Instant::now();
        while loaded() == before {
            assert!(begun.elapsed() < PATIENCE, "the configuration is not read:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    pub(crate) fn write_configuration(&self) {
        let options = lock(&self.options);
        let mut text = String::new();
        let quoted = |value: &str| value.replace('\'', "''");
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name} = '{}'\n", quoted(value)));
        for (name, value) in &options.settings {
            line(name, value);
        }
        line("port", &self.port.to_string());
        line("unix_socket_directories", &self.socket_folder().to_string_lossy());
        line("unix_socket_permissions", "0700");
        if options.tls {
            line("ssl", "on");
            line("ssl_ca_file", "authority.pem");
            line("ssl_cert_file", "server.pem");
            line("ssl_key_file", "server.key");
        }
        self.write_own("postgresql.conf", &text);
        self.write_own("pg_hba.conf", &format!("{OWN_HBA}{}", options.hba));
    }

    fn write_server_certificate(&self, kind: ServerCertificate) {
        let pair = self.authority.server(kind);
        self.write_own("authority.pem", self.authority.pem());
        self.write_own("server.pem", &pair.certificate);
        self.write_own("server.key", &pair.key);
    }

    /// Writes a file into the data directory, for the server's account.
    fn write_own(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        write_private(&path, text);
        if let Some(account) = self.account {
            account.own(&path);
        }
    }

    // Certificates for clients

    /// The authority that the server's and the clients' certificates are from.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A file with the authority's certificate, for `sslrootcert`.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.client_file("authority.pem", self.authority.pem())
    }

    /// A file with the certificate that the server shows now, for those who trust it alone.
    #[must_use]
    pub fn presented_certificate(&self) -> PathBuf {
        let text = fs::read_to_string(self.data().join("server.pem")).unwrap();
        self.client_file("presented.pem", &text)
    }

    /// A new client certificate, in files that live as long as the server.
    #[must_use]
    pub fn client(&self, kind: ClientCertificate<'_>) -> ClientFiles {
        let pair = self.authority.client(kind);
        let name = format!("client-{:016x}", rand::random::<u64>());
        ClientFiles {
            certificate: self.client_file(&format!("{name}.pem"), &pair.certificate),
            key: self.client_file(&format!("{name}.key"), &pair.key),
        }
    }

    fn client_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        write_private(&path, text);
        path
    }

    // SQL

    /// Runs statements as superuser in the database `postgres`; the answer's lines, unaligned.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("postgres", statements)
    }

    /// Runs statements as superuser in a database.
    #[track_caller]
    pub fn sql_in(&self, database: &str, statements: &str) -> String {
        match self.try_sql(database, statements) {
            Ok(answer) => answer,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs statements as superuser in a database.
    ///
    /// # Errors
    /// What `psql` said.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        self.try_sql_as(SUPERUSER, database, statements)
    }

    /// Runs statements as some role in a database.
    ///
    /// # Errors
    /// What `psql` said.
    pub fn try_sql_as(&self, role: &str, database: &str, statements: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", role, "-d", database, "-h"]);
        psql.arg(self.socket_folder()).args(["-p", &self.port.to_string()]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = psql.spawn().unwrap_or_else(|error| panic!("cannot run `psql`: {error}"));
        let fed = running.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(statements.as_bytes()));
        let done = running.wait_with_output().unwrap();
        if done.status.success() && fed.is_ok() {
            Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    /// Transactions per second of `pgbench` with a script of one statement.
    #[must_use]
    pub fn pgbench(&self, database: &str, statement: &str, clients: u64, run_for: Duration) -> f64 {
        let script = self.client_file("bench.sql", statement);
        if let Some(account) = self.account {
            account.own(&script);
        }
        let mut bench = self.command("pgbench");
        bench.args(["-n", "-U", SUPERUSER, "-h"]).arg(self.socket_folder()).args(["-p", &self.port.to_string()]);
        bench.args(["-j", "2", "-c", &clients.to_string(), "-T", &run_for.as_secs().to_string(), "-f"]);
        let told = finish(bench.arg(&script).arg(database));
        let rate = told.split_once("tps = ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("`pgbench` says no rate:\n{told}"))
    }

    /// Makes a role that can log in, with the given attributes besides, and a new password, which is given back.
    #[must_use]
    pub fn role(&self, name: &str, attributes: &str) -> String {
        let password = format!("{:032x}", rand::random::<u128>());
        self.sql(&format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}' {attributes};"));
        password
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.crash();
        lock(&self.watchdog).dismiss();
    }
}

/// A panic in one thread of a test takes no server away from the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command to its end, and gives back what it printed; a failure ends the test.
pub(crate) fn finish(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = fmt::from_fn(|f| f.write_str(&String::from_utf8_lossy(&done.stderr)));
    assert!(done.status.success(), "{command:?} failed:\n{said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn to_pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("`{id}` is no process"))
}

/// Ends a server and waits for it. One that is gone already needs no signal.
pub(crate) fn end(child: &mut Child, signal: Signal) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process(to_pid(child.id()), signal);
    }
    let _ = child.wait();
}
