//! Recording over HTTP, beside a bare HTTP server and beside the library alone; and the server's memory.
//!
//! All three are asked by the same blocking client on the same cores, over loopback without TLS: what is compared is what the server does, not what encryption
//! costs.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indelible::{AppendError, Log, Options};
use indelible_server::{Config, Server, bare::Bare, server::AdminKey};
use indelible_service::Root;
use indelible_store_file::Settings;
use serde_json::Value;

use super::{
    Bench, create,
    events::Pool,
    report::{How, Report, Target, median, quantile},
    writing::{LONG, MANY, singles},
};

const ROUNDS: usize = 3;
/// Lines of one request.
const LINES: usize = 1000;
/// Connections that send lines.
const SENDERS: usize = 4;
/// Connections and logs of the server whose memory is told, and what it should stay below, in MiB.
const CONNECTIONS: usize = 1000;
const LOGS: usize = 100;
const MEMORY_MIB: f64 = 256.0;
/// The log that is recorded in, as a segment of a path, and as a name.
const SEGMENT: &str = "bench%2Fserver";
const LOG: &str = "bench/server";

/// A keep-alive connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect to the server")?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request; its answer's body, which has to be a good one.
    fn ask(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.0.get_mut().write_all(request)?;
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line)?;
        let good = line.starts_with("HTTP/1.1 20");
        let status = line.trim_end().to_owned();
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        anyhow::ensure!(good, "the server answered `{status}`: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

fn post(path: &str, token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Requests with one event each.
fn single_requests(pool: &Pool, token: &str) -> Vec<Vec<u8>> {
    let path = format!("/v1/logs/{SEGMENT}/events");
    pool.circle(0).take(super::BATCH).map(|text| post(&path, token, "application/json", text)).collect()
}

/// Requests with [`LINES`] events each.
fn line_requests(pool: &Pool, token: &str) -> Vec<Vec<u8>> {
    let path = format!("/v1/logs/{SEGMENT}/events");
    let texts: Vec<&[u8]> = pool.circle(0).take(16 * LINES).map(Vec::as_slice).collect();
    let bodies = texts.chunks(LINES).map(|lines| lines.join(&b'\n'));
    bodies.map(|body| post(&path, token, "application/x-ndjson", &body)).collect()
}

/// What a load gave.
struct Load {
    /// Requests a second.
    rate: f64,
    /// Microseconds of each.
    micros: Vec<f64>,
}

/// So many connections that ask again as soon as they are answered.
fn load(address: SocketAddr, requests: &[Vec<u8>], connections: usize, time: Duration) -> anyhow::Result<Load> {
    let (stop, micros) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let begun = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|caller| {
                let (stop, micros) = (&stop, &micros);
                scope.spawn(move || {
                    let (mut connection, mut own) = (Connection::to(address)?, Vec::new());
                    for request in requests.iter().cycle().skip(caller * 97 % requests.len().max(1)) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let one = Instant::now();
                        connection.ask(request)?;
                        own.push(one.elapsed().as_secs_f64() * 1e6);
                    }
                    micros.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
                    anyhow::Ok(())
                })
            })
            .collect();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a connection's thread ended early"))??;
        }
        anyhow::Ok(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let micros = micros.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Load { rate: micros.len() as f64 / seconds, micros })
}

/// Batches of the same size, by as many callers, without a server: events a second.
fn library_lines(log: &Log, pool: &Pool, time: Duration) -> anyhow::Result<f64> {
    let (begun, done) = (Instant::now(), Mutex::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS)
            .map(|caller| {
                let done = &done;
                scope.spawn(move || {
                    let mut own = 0;
                    for n in caller.. {
                        if begun.elapsed() >= time {
                            break;
                        }
                        let batch = pool.batch(n).get(..LINES).unwrap_or_default();
                        log.append_all(batch).into_iter().try_for_each(|result| result.map(drop))?;
                        own += LINES;
                    }
                    *done.lock().unwrap_or_else(PoisonError::into_inner) += own;
                    Ok::<(), AppendError>(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a caller's thread ended early"))??;
        }
        anyhow::Ok(())
    })?;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// A server of the benchmark's own, in this process.
fn start(bench: &Bench<'_>) -> anyhow::Result<(Server, SocketAddr, String)> {
    let mut config = Config { name: "bench".to_owned(), plain_http: true, ..Config::default() };
    config.listen.set_port(0);
    config.limits.rate_per_minute = 0;
    let settings = Settings { immutable: false, ..Settings::default() };
    let options = Options { settings, ..Options::default() };
    let (root, silent) = (Root::directory(bench.dir.join("served")), Arc::new(|_: &str| ()));
    let (server, started) = Server::start(root, bench.keys.clone(), options, config, AdminKey::IfNone, silent)?;
    let token = started.admin_token.context("the first start of a server makes a key")?.to_string();
    let made = post("/v1/logs", &token, "application/json", format!("{{\"origin\":\"{LOG}\"}}").as_bytes());
    Connection::to(started.address)?.ask(&made)?;
    Ok((server, started.address, token))
}

/// Single events of 64 connections, and lines, over HTTP.
pub(crate) fn recording(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (server, address, token) = start(bench)?;
    let (bare, log) = (Bare::start()?, create(&bench.dir.join("alone"), "bench/alone", &bench.keys)?);
    if bench.wants(&["server_64"]) {
        let requests = single_requests(&bench.pool, &token);
        let (mut ours, mut answers, mut alone, mut micros) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            bench.say(format!("{MANY} connections with one durable event each, round {} of {ROUNDS}", round + 1));
            let load_of_ours = load(address, &requests, MANY, LONG)?;
            ours.push(load_of_ours.rate);
            micros.extend(load_of_ours.micros);
            answers.push(load(bare.address(), &requests, MANY, LONG)?.rate);
            alone.push(singles(&log, &bench.pool, LONG)?);
        }
        let (answers, alone) = (median(&answers), median(&alone));
        let how = How {
            durability: "durable",
            batch: 1,
            callers: MANY,
            against: "the slower of a bare HTTP server that answers 200 and the library with 64 callers",
            target: Target::AtLeast(0.5),
        };
        report.add("server_64", "events/s", (median(&ours), answers.min(alone)), how);
        report.note(format!(
            "p50 {:.0} µs, p99 {:.0} µs; the bare server {answers:.0}/s, the library {alone:.0}/s; without TLS, client on the same cores",
            median(&micros),
            quantile(&micros, 0.99)
        ));
    }
    if bench.wants(&["server_lines"]) {
        let requests = line_requests(&bench.pool, &token);
        let (mut ours, mut alone, mut micros) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            bench
                .say(format!("{SENDERS} connections with {LINES} durable lines each, round {} of {ROUNDS}", round + 1));
            let load_of_ours = load(address, &requests, SENDERS, LONG)?;
            ours.push(load_of_ours.rate * LINES as f64);
            micros.extend(load_of_ours.micros);
            alone.push(library_lines(&log, &bench.pool, LONG)?);
        }
        let how = How {
            durability: "durable",
            batch: LINES,
            callers: SENDERS,
            against: "the library with as many callers and as large batches",
            target: Target::AtLeast(0.6),
        };
        report.add("server_lines", "events/s", (median(&ours), median(&alone)), how);
        report.note(format!("p50 {:.0} µs, p99 {:.0} µs of a request", median(&micros), quantile(&micros, 0.99)));
    }
    log.close()?;
    server.stop()?;
    std::fs::remove_dir_all(bench.dir.join("served"))?;
    std::fs::remove_dir_all(bench.dir.join("alone"))?;
    Ok(())
}

/// A server in a process of its own. It ends with this value.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Served {
    fn start(dir: &Path) -> anyhow::Result<(Self, SocketAddr, String)> {
        let config = dir.join("served.toml");
        let text = format!(
            "name = \"bench\"\n[limits]\nconnections = {}\nconnections_per_address = {}\nhead_ms = 600000\nrate_per_minute = 0\n",
            CONNECTIONS + 10,
            CONNECTIONS + 10
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--json", "--plain-http", "--listen", "127.0.0.1:0", "--log-root"]);
        command.arg(dir.join("served")).arg("--keys").arg(dir.join("served-keys")).arg("--config").arg(config);
        let mut child = Self(command.stdout(Stdio::piped()).spawn().context("cannot start a server")?);
        let mut told = String::new();
        let out = child.0.stdout.take().context("a child's output")?;
        BufReader::new(out).read_line(&mut told)?;
        let told: Value = serde_json::from_str(&told).context("the server said nothing")?;
        let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let address = text("url").trim_start_matches("http://").parse().context("the server's address")?;
        Ok((child, address, text("admin_token")))
    }

    /// The most memory that it had, in MiB.
    fn highest_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the system does not tell")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

/// Memory with many connections and logs, all of which were used.
pub(crate) fn memory(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    bench.say(format!("memory of a server with {CONNECTIONS} connections and {LOGS} logs"));
    let (served, address, token) = Served::start(bench.dir)?;
    let mut first = Connection::to(address)?;
    for log in 0..LOGS {
        let body = format!("{{\"origin\":\"bench/{log}\"}}");
        first.ask(&post("/v1/logs", &token, "application/json", body.as_bytes()))?;
    }
    let mut connections = Vec::new();
    for (n, text) in (0..CONNECTIONS).zip(bench.pool.circle(0)) {
        let path = format!("/v1/logs/bench%2F{}/events", n % LOGS);
        let mut connection = Connection::to(address)?;
        connection.ask(&post(&path, &token, "application/json", text))?;
        connections.push(connection);
    }
    let highest = served.highest_mib()?;
    let how =
        How { durability: "durable", batch: 1, callers: CONNECTIONS, against: "a budget", target: Target::AtMost(1.0) };
    report.add("server_memory", "MiB (peak)", (highest, MEMORY_MIB), how);
    report.note(format!("{} connections open, {LOGS} logs recorded in", connections.len()));
    Ok(())
}
