//! Events for several logs of one PostgreSQL database in one transaction: all or none, whatever happens in between.

mod lost;
mod speed;
mod sqlite;

use std::{
    collections::{BTreeMap, BTreeSet},
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

use indelible::{
    AppendError, Keeper, KeyRing, Log, Options, Receipt,
    clock::{Clock as _, SystemClock},
    together::{self, TogetherError},
    verify::{Report, Request, Verdict, verify},
};
use indelible_core::{note::NoteSigner as _, tree::LeafIndex};
use indelible_store::{driver::Driver as _, fault::Random, store::Reader};
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use indelible_test_postgres::{Options as Server, TestServer};

use crate::world::{World, event};

fn origin(number: usize) -> String {
    format!("example.com/together/{number}")
}

fn quick() -> Options {
    Options { publish_every: Duration::from_millis(50), keep_every: Duration::from_millis(300), ..Options::default() }
}

/// A server with a migrated database, and keys beside it.
struct Base {
    server: TestServer,
    world: World,
}

impl Base {
    fn start(server: Server) -> Option<Self> {
        let server = TestServer::start(server)?;
        server.sql("create database audit");
        let base = Self { server, world: World::new() };
        base.open("postgres", "audit").migrate(false).unwrap();
        base.server.sql_in("audit", "create role writer login; grant audit_writer to writer");
        Some(base)
    }

    fn open(&self, role: &str, database: &str) -> Database {
        Database::new(&self.server.url(role, database), Settings::default()).unwrap()
    }

    /// New logs, opened by one handle.
    fn create(&self, database: &Database, count: usize, options: &Options) -> Vec<Log> {
        let one = |number| {
            let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
            Log::create_in(&driver, &origin(number), &self.world.keys, options.clone()).unwrap()
        };
        (0..count).map(one).collect()
    }

    fn verify(&self, number: usize, receipts: &[Receipt]) -> Report {
        let driver = PostgresDriver::new(self.open("writer", "audit"), Some(origin(number)));
        let request = Request {
            keys: vec![self.world.keys.checkpoint_signer(&origin(number)).unwrap().verifying_key().clone()],
            all_macs: false,
            ring: Some(&self.world.keys),
            heads: Some(self.world.heads()),
            head_required: true,
            checkpoint: None,
            receipts: receipts.iter().map(Receipt::to_wire).collect(),
            from: None,
            strict: true,
            threads: 2,
            progress: None,
            now: SystemClock::default().now(),
        };
        verify(&*driver.reader_of_entry_zero().unwrap(), &request).unwrap()
    }

    /// Intact, and every receipt is one of its entries.
    #[track_caller]
    fn expect_intact(&self, number: usize, receipts: &[Receipt]) {
        let report = self.verify(number, receipts);
        assert_eq!(report.status, Verdict::Intact, "log {number}: {:#?}", report.findings);
        assert_eq!(report.receipts_checked, receipts.len() as u64);
    }

    fn numbers(&self, number: usize) -> BTreeMap<u64, u64> {
        let driver = PostgresDriver::new(self.open("writer", "audit"), Some(origin(number)));
        numbers(&*driver.reader().unwrap())
    }

    /// Every group that is anywhere, or was acknowledged, is in each of its logs once and nowhere else. Returns how many there are.
    fn expect_groups(&self, logs: usize, acknowledged: &BTreeSet<u64>) -> usize {
        let found: Vec<BTreeMap<u64, u64>> = (0..logs).map(|number| self.numbers(number)).collect();
        let seen = found.iter().flat_map(BTreeMap::keys).filter(|group| **group < ALONE);
        let groups: BTreeSet<u64> = seen.chain(acknowledged).copied().collect();
        for group in &groups {
            let members = members(*group, logs);
            for (number, found) in found.iter().enumerate() {
                let expected = u64::from(members.contains(&number));
                assert_eq!(found.get(group).copied().unwrap_or(0), expected, "group {group} in log {number}");
            }
        }
        groups.len()
    }
}

/// From this number on an event is in one log alone.
const ALONE: u64 = 1 << 40;

/// The logs that a group of events is for: two to four of them, in any order.
fn members(group: u64, logs: usize) -> Vec<usize> {
    let mut random = Random::new(group);
    let mut members: Vec<usize> = Vec::new();
    let wanted = (2 + random.index(3)).min(logs);
    while members.len() < wanted {
        let number = random.index(logs);
        if !members.contains(&number) {
            members.push(number);
        }
    }
    members
}

/// Records a group in its logs.
fn append_group(logs: &[Log], group: u64) -> Result<Vec<Vec<Receipt>>, TogetherError> {
    let event = [event(group)];
    let parts: Vec<(&Log, &[Vec<u8>])> =
        members(group, logs.len()).into_iter().map(|number| (&logs[number], &event[..])).collect();
    together::append(&parts)
}

/// How often each event's number stands in a log.
fn numbers(reader: &dyn Reader) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let size = reader.size().unwrap().0;
    let mut next = 0;
    while next < size {
        let chunk = reader.read(LeafIndex(next), 1 << 20).unwrap();
        for line in chunk.lines() {
            let text = std::str::from_utf8(line).unwrap();
            if let Some((_, rest)) = text.split_once("\"details\":{\"n\":") {
                *found.entry(rest.split('}').next().unwrap().parse().unwrap()).or_default() += 1;
            }
            next += 1;
        }
    }
    found
}

fn sizes(logs: &[Log]) -> Vec<u64> {
    logs.iter().map(|log| log.size().unwrap()).collect()
}

fn origin_of(error: &TogetherError) -> &str {
    match error {
        TogetherError::Twice { origin }
        | TogetherError::Alone { origin }
        | TogetherError::Apart { origin, .. }
        | TogetherError::Event { origin, .. }
        | TogetherError::Log { origin, .. } => origin,
        _ => "",
    }
}

#[test]
fn all_logs_have_it_or_none() {
    let Some(base) = Base::start(Server::new()) else { return };
    let logs = base.create(&base.open("writer", "audit"), 3, &quick());
    let (one, two, none) = ([event(1), event(2)], [event(1)], []);
    let parts: [(&Log, &[Vec<u8>]); 3] = [(&logs[2], &one), (&logs[0], &two), (&logs[1], &none)];
    let mut receipts = together::append(&parts).unwrap();
    assert_eq!(receipts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0]);
    for ((log, _), receipts) in parts.iter().zip(&receipts) {
        for receipt in receipts {
            assert_eq!((&*receipt.origin, receipt.duplicate), (log.origin(), false));
            assert_eq!(log.find(&receipt.id).unwrap().index, receipt.index);
        }
    }
    // Recorded before, with the same content: the same receipts, and nothing new.
    let before = sizes(&logs);
    let again = together::append(&parts).unwrap();
    for (again, receipt) in again.iter().flatten().zip(receipts.iter().flatten()) {
        assert_eq!(again, &Receipt { duplicate: true, ..receipt.clone() });
    }
    // With other content: refused within the turn, when places were given already; and one that is no event at all.
    let other = br#"{"action":"b","actor":{"id":"x","type":"user"},"id":"event-1"}"#.to_vec();
    for refused in [other, b"{}".to_vec(), b"no event".to_vec()] {
        let (good, bad) = ([event(3)], [event(4), refused]);
        for parts in [[(&logs[0], &good[..]), (&logs[2], &bad)], [(&logs[2], &bad), (&logs[1], &good)]] {
            let error = together::append(&parts).unwrap_err();
            assert!(matches!(error, TogetherError::Event { position: 1, .. }), "{error:?}");
            assert_eq!(origin_of(&error), origin(2));
        }
    }
    assert_eq!(sizes(&logs), before);
    // Nobody remembers places of entries that are not there.
    logs.iter().for_each(|log| drop(log.append_json(&event(5)).unwrap()));
    let three = [event(3)];
    let parts: Vec<(&Log, &[Vec<u8>])> = logs.iter().map(|log| (log, &three[..])).collect();
    receipts.extend(together::append(&parts).unwrap());
    logs.iter().for_each(|log| log.close().unwrap());
    let all: Vec<Receipt> = receipts.into_iter().flatten().collect();
    for number in 0..3 {
        let own: Vec<Receipt> = all.iter().filter(|receipt| *receipt.origin == *origin(number)).cloned().collect();
        base.expect_intact(number, &own);
    }
    let error = together::append(&parts).unwrap_err();
    assert!(matches!(&error, TogetherError::Log { source: AppendError::Closed, .. }), "{error:?}");
    assert_eq!(together::append::<Vec<u8>>(&[]).unwrap(), Vec::<Vec<Receipt>>::new());
}

#[test]
fn what_cannot_be_one_transaction_is_refused() {
    let Some(base) = Base::start(Server::new()) else { return };
    let database = base.open("writer", "audit");
    let logs = base.create(&database, 2, &quick());
    let again = PostgresDriver::new(database, Some(origin(0)));
    let again = Log::open_in(&again, &base.world.keys, quick()).unwrap();
    let other = PostgresDriver::new(base.open("writer", "audit"), Some(origin(1)));
    let other = Log::open_in(&other, &base.world.keys, quick()).unwrap();
    base.server.sql("create database second");
    let second = base.open("postgres", "second");
    second.migrate(false).unwrap();
    let second = PostgresDriver::new(second, Some("example.com/second".to_owned()));
    let second = Log::create_in(&second, "example.com/second", &base.world.keys, quick()).unwrap();
    let directory = base.world.create(crate::world::options());
    let one = [event(1)];
    let told = |with: &Log| together::append(&[(&logs[0], &one[..]), (with, &one[..])]).unwrap_err();
    for same in [&logs[0], &again] {
        assert!(matches!(told(same), TogetherError::Twice { origin } if origin == self::origin(0)));
    }
    assert!(matches!(told(&directory), TogetherError::Alone { origin } if origin == crate::world::ORIGIN));
    for apart in [&other, &second] {
        let error = told(apart);
        let TogetherError::Apart { origin, first } = &error else { panic!("{error:?}") };
        assert_eq!(BTreeSet::from([&**origin, &**first]), BTreeSet::from([logs[0].origin(), apart.origin()]));
    }
    let many = vec![one[0].clone(); 20_000];
    let error = together::append(&[(&logs[0], &many[..])]).unwrap_err();
    assert!(matches!(error, TogetherError::TooMuch { events: 20_000, .. }), "{error:?}");
    assert_eq!(sizes(&logs), [1, 1]);
    // None of it was anybody's fault but the caller's.
    together::append(&[(&logs[1], &one[..]), (&again, &one[..])]).unwrap();
}

#[test]
fn a_log_that_went_backwards_stops_itself_and_not_the_others() {
    let Some(base) = Base::start(Server::new()) else { return };
    let logs = base.create(&base.open("writer", "audit"), 3, &Options { keeper: Some(Keeper::manual()), ..quick() });
    let set = "size, bytes, last_leaf, recorded_us, unnamed";
    let which = format!("log = (select number from indelible.logs where origin = '{}')", origin(1));
    base.server.sql_in("audit", &format!("create table saved as select {set} from indelible.heads where {which}"));
    logs.iter().for_each(|log| drop(log.append_json(&event(1)).unwrap()));
    base.server.sql_in("audit", &format!("alter table indelible.heads disable trigger refuse_change; update indelible.heads set ({set}) = (select {set} from saved) where {which}; alter table indelible.heads enable always trigger refuse_change"));
    let two = [event(2)];
    let parts: Vec<(&Log, &[Vec<u8>])> = logs.iter().map(|log| (log, &two[..])).collect();
    let error = together::append(&parts).unwrap_err();
    let TogetherError::Log { origin: told, source } = &error else { panic!("{error:?}") };
    assert_eq!(told, &origin(1));
    assert!(source.to_string().contains("rolled back"), "{source}");
    assert_eq!((logs[0].size().unwrap(), logs[2].size().unwrap()), (2, 2));
    // That log's handle refuses from now on, the others go on.
    assert!(matches!(logs[1].append_json(&event(3)), Err(AppendError::Failed { .. })));
    assert!(matches!(together::append(&parts[..2]), Err(TogetherError::Log { .. })));
    together::append(&[parts[0], parts[2]]).unwrap();
    assert_eq!((logs[0].size().unwrap(), logs[2].size().unwrap()), (3, 3));
    for number in [0, 2] {
        logs[number].close().unwrap();
        base.expect_intact(number, &[]);
    }
    assert_ne!(base.verify(1, &[]).status, Verdict::Intact);
}

#[test]
fn overlapping_sets_of_logs_never_wait_in_a_circle() {
    const LOGS: usize = 6;
    const THREADS: u64 = 8;
    let Some(base) = Base::start(Server::new()) else { return };
    let first = base.create(&base.open("writer", "audit"), LOGS, &quick());
    // Connections, handles and sequencers of their own, as another process has.
    let database = base.open("writer", "audit");
    let open = |number| {
        let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
        Log::open_in(&driver, &base.world.keys, quick()).unwrap()
    };
    let second: Vec<Log> = (0..LOGS).map(open).collect();
    let receipts = Mutex::new(Vec::new());
    let (begun, run_for) = (Instant::now(), Duration::from_secs(5));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (logs, receipts) = (if thread % 2 == 0 { &first } else { &second }, &receipts);
            scope.spawn(move || {
                for group in (thread << 32..).take_while(|_| begun.elapsed() < run_for) {
                    let all = append_group(logs, group).unwrap();
                    receipts.lock().unwrap().extend(all.into_iter().flatten().map(|receipt| (group, receipt)));
                }
            });
        }
        for thread in 0..2 {
            let (logs, receipts) = (&first, &receipts);
            scope.spawn(move || {
                for n in (ALONE + (thread << 32)..).take_while(|_| begun.elapsed() < run_for) {
                    let receipt = logs[usize::try_from(n % 6).unwrap()].append_json(&event(n)).unwrap();
                    receipts.lock().unwrap().push((n, receipt));
                }
            });
        }
    });
    first.iter().chain(&second).for_each(|log| log.close().unwrap());
    let receipts = receipts.into_inner().unwrap();
    let groups: BTreeSet<u64> = receipts.iter().map(|(group, _)| *group).filter(|group| *group < ALONE).collect();
    assert_eq!(base.expect_groups(LOGS, &groups), groups.len());
    for number in 0..LOGS {
        let own = receipts.iter().filter(|(_, receipt)| *receipt.origin == *origin(number));
        base.expect_intact(number, &own.map(|(_, receipt)| receipt.clone()).collect::<Vec<_>>());
    }
    assert!(!base.server.log().contains("deadlock"), "{}", base.server.log());
    println!("{THREADS} threads, {LOGS} logs: {} groups, {} events, no deadlock", groups.len(), receipts.len());
}

const URL: &str = "INDELIBLE_TOGETHER_URL";
const KEYS: &str = "INDELIBLE_TOGETHER_KEYS";
const SEED: &str = "INDELIBLE_TOGETHER_SEED";
const KILLED_LOGS: usize = 5;

/// Does nothing in a normal run: the body of a child, which records groups until it is killed.
#[test]
fn the_child_of_the_together_kill_test() {
    let (Ok(url), Ok(keys), Ok(seed)) = (std::env::var(URL), std::env::var(KEYS), std::env::var(SEED)) else { return };
    let keys = KeyRing::load(Path::new(&keys)).unwrap();
    let database = Database::new(&url, Settings::default()).unwrap();
    let open = |number| {
        let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
        Log::open_in(&driver, &keys, quick()).unwrap()
    };
    let logs: Vec<Log> = (0..KILLED_LOGS).map(open).collect();
    let next = AtomicU64::new(seed.parse::<u64>().unwrap() << 24);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let group = next.fetch_add(1, Ordering::SeqCst);
                    let result = append_group(&logs, group);
                    let mut out = std::io::stdout().lock();
                    let said = match result {
                        Ok(_) => writeln!(out, "ack {group} end"),
                        Err(error) => writeln!(out, "err {group} {error:?} end"),
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

/// What children said: groups that were acknowledged, and errors.
#[derive(Default)]
struct Said {
    acknowledged: Mutex<BTreeSet<u64>>,
    errors: Mutex<Vec<String>>,
}

fn child(base: &Base, seed: u64, said: &Arc<Said>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["together::the_child_of_the_together_kill_test", "--exact", "--nocapture", "--test-threads=1"])
        .env(URL, base.server.url("writer", "audit"))
        .env(KEYS, base.world.dir.path().join("keys"))
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (lines, said) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(said));
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Some(at) = line.find("ack ").or(line.find("err ")) else { continue };
            match line[at..].split(' ').collect::<Vec<_>>()[..] {
                ["ack", group, "end"] => drop(said.acknowledged.lock().unwrap().insert(group.parse().unwrap())),
                ["err", .., "end"] => said.errors.lock().unwrap().push(line.clone()),
                _ => {}
            }
        }
    });
    child
}

#[test]
fn a22_processes_that_are_killed_leave_all_of_it_or_nothing() {
    let Some(base) = Base::start(Server::new().with_fsync()) else { return };
    drop(base.create(&base.open("writer", "audit"), KILLED_LOGS, &quick()));
    let said = Arc::new(Said::default());
    let rounds = if std::env::var_os("INDELIBLE_SOAK").is_some() { 200 } else { 10 };
    let mut children: Vec<Child> = (1..=3).map(|seed| child(&base, seed, &said)).collect();
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(400 + round % 7 * 60));
        if round == rounds / 2 {
            base.server.restart_immediate();
        }
        let mut victim = children.remove(0);
        victim.kill().unwrap();
        victim.wait().unwrap();
        children.push(child(&base, round + 4, &said));
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(*said.errors.lock().unwrap(), Vec::<String>::new());
    let database = base.open("writer", "audit");
    for number in 0..KILLED_LOGS {
        // The log goes on after everything.
        let driver = PostgresDriver::new(database.clone(), Some(origin(number)));
        let log = Log::open_in(&driver, &base.world.keys, quick()).unwrap();
        log.append_json(&event(ALONE)).unwrap();
        log.close().unwrap();
        base.expect_intact(number, &[]);
    }
    let acknowledged = said.acknowledged.lock().unwrap().clone();
    assert!(!acknowledged.is_empty());
    let there = base.expect_groups(KILLED_LOGS, &acknowledged);
    println!(
        "{rounds} kills, one server crash: {} groups acknowledged, {there} there, each in all of its logs",
        acknowledged.len()
    );
}
