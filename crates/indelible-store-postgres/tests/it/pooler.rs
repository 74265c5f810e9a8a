//! A real PgBouncer in transaction mode between the log and the server, with fewer connections than there are logs.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{Log, verify::Verdict};
use indelible_store::driver::Driver as _;
use indelible_store_postgres::{Database, PostgresDriver};
use indelible_test_postgres::{Options, Pooler, TestServer};

use crate::world::{DATABASE, Logs as _, World, event, numbers, options, settings};

const LOGS: usize = 3;
const THREADS: u64 = 8;
const CONNECTIONS: u16 = 2;
const LOGIN: &str = "pooled";

struct Pooled {
    pooler: Pooler,
    server: TestServer,
    database: Database,
    world: World,
}

fn origin(number: usize) -> String {
    format!("example.com/pooled/{number}")
}

fn chosen(n: u64) -> Vec<u8> {
    format!(
        r#"{{"action":"a.b","actor":{{"id":"x","type":"user"}},"id":"chosen-{n}","occurred_at":"2026-01-01T00:00:00.000000Z"}}"#
    )
    .into_bytes()
}

impl Pooled {
    fn start() -> Option<Self> {
        let hba = format!(
            "local all all trust\nhost all {LOGIN} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        );
        let server = TestServer::start(Options::new().with_hba(&hba))?;
        server.migrated(DATABASE);
        let password = server.role(LOGIN, "IN ROLE audit_writer");
        let pooler = Pooler::start(&server, LOGIN, &password, CONNECTIONS)?;
        let database = Database::new(&pooler.url_with_password(LOGIN, &password, DATABASE), settings()).unwrap();
        Some(Self { pooler, server, database, world: World::new() })
    }

    fn logs(&self) -> Vec<Log> {
        (0..LOGS).map(|number| self.world.create(&self.database, &origin(number))).collect()
    }

    fn open(&self, number: usize) -> Log {
        let driver = PostgresDriver::new(self.database.clone(), Some(origin(number)));
        Log::open_in(&driver, &self.world.keys, options()).unwrap()
    }

    /// Connections that the pooler has to the server.
    fn connections(&self) -> u16 {
        let count = format!("select count(*) from pg_stat_activity where usename = '{LOGIN}'");
        self.server.sql(&count).parse().unwrap()
    }

    fn intact(&self) {
        (0..LOGS).for_each(|number| drop(self.world.expect(&self.server, &origin(number), Verdict::Intact)));
    }
}

/// The `n`th event of a thread: every fifth has an id of its own and is sent twice.
fn append(log: &Log, n: u64) {
    if n.is_multiple_of(5) {
        let first = log.append_json(&chosen(n)).unwrap();
        assert_eq!(log.append_json(&chosen(n)).unwrap().index, first.index);
    } else {
        log.append_json(&event(n)).unwrap();
    }
}

#[test]
fn eight_threads_append_to_three_logs_over_two_connections() {
    let Some(pooled) = Pooled::start() else { return };
    let logs = pooled.logs();
    let begun = Instant::now();
    let run_for = crate::writers::seconds(4);
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while begun.elapsed() < run_for {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    append(&logs[usize::try_from(n).unwrap() % LOGS], n);
                }
            });
        }
        while begun.elapsed() < run_for {
            assert!(pooled.connections() <= CONNECTIONS);
            thread::sleep(Duration::from_millis(100));
        }
    });
    for log in logs {
        log.keep_checkpoint().unwrap();
        log.append_bounded(&event(u64::MAX >> 12)).unwrap().settle().unwrap();
        log.close().unwrap();
    }
    pooled.intact();
    // Opened anew, what was chosen is found.
    let total = next.into_inner();
    for number in 0..LOGS {
        let log = pooled.open(number);
        let before = log.append_json(&event(u64::MAX >> 13)).unwrap().index;
        for n in (0..total).filter(|n| n.is_multiple_of(5) && usize::try_from(*n).unwrap() % LOGS == number).take(20) {
            assert!(log.append_json(&chosen(n)).unwrap().index < before, "chosen-{n} was recorded again");
        }
        log.close().unwrap();
    }
    pooled.intact();
    println!("through PgBouncer with {CONNECTIONS} connections: {total} events to {LOGS} logs by {THREADS} threads");
}

#[test]
fn a_killed_pooler_loses_nothing_that_was_acknowledged() {
    let Some(pooled) = Pooled::start() else { return };
    let logs = pooled.logs();
    let run_for = crate::writers::seconds(5);
    let (done, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let (acknowledged, errors) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let kills = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    match logs[usize::try_from(n).unwrap() % LOGS].append_json(&event(n)) {
                        Ok(_) => assert!(acknowledged.lock().unwrap().insert(n)),
                        Err(error) => errors.lock().unwrap().push(error.to_string()),
                    }
                }
            });
        }
        let begun = Instant::now();
        let mut kills = 0;
        while begun.elapsed() < run_for {
            thread::sleep(Duration::from_millis(700));
            pooled.pooler.kill();
            pooled.pooler.start_again(&pooled.server);
            kills += 1;
        }
        done.store(true, Ordering::Release);
        kills
    });
    assert_eq!(errors.into_inner().unwrap(), Vec::<String>::new(), "a lost pooler is no caller's business");
    for log in logs {
        log.close().unwrap();
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    for number in 0..LOGS {
        let database = pooled.server.open("reader", DATABASE, settings());
        let found = numbers(&*PostgresDriver::new(database, Some(origin(number))).reader().unwrap());
        assert!(found.values().all(|count| *count == 1), "log {number}: an event stands twice");
        for n in acknowledged.iter().filter(|n| usize::try_from(**n).unwrap() % LOGS == number) {
            assert!(found.contains_key(n), "event {n} of log {number} was acknowledged and is gone");
        }
    }
    pooled.intact();
    println!("a pooler killed {kills} times: {} events acknowledged, each there once", acknowledged.len());
}

#[test]
fn the_check_goes_through_a_pooler_too() {
    let Some(pooled) = Pooled::start() else { return };
    let report = pooled.database.check().unwrap();
    assert!(report.to_string().contains("13 tables refuse change"), "{report}");
    let known = pooled.server.open("writer", DATABASE, settings()).check().unwrap();
    let guards = |report: &indelible_store_postgres::connect::check::Report| {
        report.findings.iter().filter(|finding| finding.subject == "guards").cloned().collect::<Vec<_>>()
    };
    assert_eq!(guards(&report), guards(&known));
}
