//! A12, A22: many processes with many threads append to the same logs, some are killed, the server goes down without a word in the middle.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{KeyRing, Log, verify::Verdict};
use indelible_store::driver::Driver as _;
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, numbers, options, settings, start};

const URL: &str = "INDELIBLE_WRITERS_URL";
const KEYS: &str = "INDELIBLE_WRITERS_KEYS";
const SEED: &str = "INDELIBLE_WRITERS_SEED";
const LOGS: &str = "INDELIBLE_WRITERS_LOGS";
const THREADS: &str = "INDELIBLE_WRITERS_THREADS";

/// Seconds of a run: few by default, many where a soak is asked for.
pub(crate) fn seconds(few: u64) -> Duration {
    Duration::from_secs(if soak() { few * 30 } else { few })
}

fn soak() -> bool {
    std::env::var_os("INDELIBLE_SOAK").is_some()
}

/// A server that crashed under this load may take longer to come up than callers wait by default.
fn patient() -> Settings {
    Settings { patience: Duration::from_secs(300), ..settings() }
}

fn origin(number: usize) -> String {
    format!("example.com/writers/{number}")
}

/// Does nothing in a normal run: the body of a child, which appends until it is killed or its input ends.
#[test]
fn the_child_of_the_writers_test() {
    let (Ok(url), Ok(keys), Ok(seed)) = (std::env::var(URL), std::env::var(KEYS), std::env::var(SEED)) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (seed, logs, threads) = (seed.parse::<u64>().unwrap(), number(LOGS), number(THREADS));
    let keys = KeyRing::load(Path::new(&keys)).unwrap();
    let database = Database::new(&url, patient()).unwrap();
    let open = |origin: String| {
        let driver = PostgresDriver::new(database.clone(), Some(origin));
        Log::open_in(&driver, &keys, options()).unwrap()
    };
    let logs: Vec<Log> = (0..logs).map(|number| open(origin(number))).collect();
    let next = AtomicU64::new(seed << 32);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (logs, next) = (&logs, &next);
            scope.spawn(move || {
                for round in thread.. {
                    let (log, n) = (&logs[round % logs.len()], next.fetch_add(1, Ordering::SeqCst));
                    let result = log.append_json(&event(n));
                    let mut out = std::io::stdout().lock();
                    let said = match result {
                        Ok(_) => writeln!(out, "ack {} {n} end", round % logs.len()),
                        Err(error) => writeln!(out, "err {n} {error} end"),
                    };
                    // Nobody listens any more.
                    if said.and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// What children said: (log, number) acknowledged, and errors.
#[derive(Default)]
struct Said {
    acknowledged: Mutex<BTreeSet<(usize, u64)>>,
    errors: Mutex<Vec<String>>,
}

fn child(server: &TestServer, world: &World, seed: u64, logs: usize, threads: usize, said: &Arc<Said>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writers::the_child_of_the_writers_test", "--exact", "--nocapture", "--test-threads=1"])
        .env(URL, server.url("writer", DATABASE))
        .env(KEYS, world.keys_path())
        .env(SEED, seed.to_string())
        .env(LOGS, logs.to_string())
        .env(THREADS, threads.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (lines, said) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(said));
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Some(at) = line.find("ack ").or(line.find("err ")) else { continue };
            let words: Vec<&str> = line[at..].split(' ').collect();
            match words[..] {
                ["ack", log, n, "end"] => {
                    said.acknowledged.lock().unwrap().insert((log.parse().unwrap(), n.parse().unwrap()));
                }
                ["err", .., "end"] => said.errors.lock().unwrap().push(line.clone()),
                _ => {}
            }
        }
    });
    child
}

fn run(logs: usize, processes: usize, threads: usize, run_for: Duration) {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, patient());
    (0..logs).for_each(|number| world.create(&database, &origin(number)).close().unwrap());
    let said = Arc::new(Said::default());
    let mut seed = 0;
    let mut launch = |server: &TestServer| {
        seed += 1;
        child(server, &world, seed, logs, threads, &said)
    };
    let mut children: Vec<Child> = (0..processes).map(|_| launch(&server)).collect();
    let begun = Instant::now();
    let (mut kills, mut restarts) = (0, 0);
    while begun.elapsed() < run_for {
        thread::sleep(run_for / 8);
        if restarts == 0 && begun.elapsed() > run_for / 2 {
            server.restart_immediate();
            restarts += 1;
        }
        let mut victim = children.remove(0);
        victim.kill().unwrap();
        victim.wait().unwrap();
        kills += 1;
        children.push(launch(&server));
    }
    // The rest goes as if the machine went down.
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Another turn after everything: the log goes on.
    let mut entries = 0;
    let errors = said.errors.lock().unwrap().clone();
    assert_eq!(errors, Vec::<String>::new());
    let acknowledged = said.acknowledged.lock().unwrap().clone();
    for number in 0..logs {
        let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
        let log = Log::open_in(&driver, &world.keys, options()).unwrap();
        log.append_json(&event(u64::MAX >> 12)).unwrap();
        log.close().unwrap();
        let found = numbers(&*driver.reader().unwrap());
        entries += found.len();
        assert!(found.values().all(|count| *count == 1), "log {number}: an event stands twice");
        for (_, n) in acknowledged.range((number, 0)..(number + 1, 0)) {
            assert!(found.contains_key(n), "event {n} of log {number} was acknowledged and is gone");
        }
        world.expect(&server, &origin(number), Verdict::Intact);
    }
    assert!(!acknowledged.is_empty());
    println!(
        "{processes} processes x {threads} threads on {logs} logs: {kills} killed, {restarts} server crash, {} acknowledged, {entries} there, none twice",
        acknowledged.len()
    );
}

#[test]
fn a12_many_processes_append_to_one_log() {
    let (processes, threads) = if soak() { (8, 16) } else { (4, 8) };
    run(1, processes, threads, seconds(6));
}

#[test]
fn a22_many_processes_append_to_many_logs() {
    let (logs, processes, threads) = if soak() { (200, 8, 16) } else { (12, 3, 8) };
    run(logs, processes, threads, seconds(6));
}
