//! However many logs of one database a process holds, its connections are those of one pool.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use indelible::{
    Databases, Keeper, KeyRing, Location, Log, Options,
    verify::{Request, Verdict, verify},
};
use indelible_core::note::NoteSigner as _;
use indelible_service::{Registry, Root};
use indelible_store_postgres::Settings;
use indelible_test_postgres::{Options as Server, TestServer};

const LOGS: usize = 1000;
const THREADS: usize = 16;
const CONNECTIONS: usize = 6;
const EVENT: &[u8] = br#"{"action":"a.b","actor":{"id":"m","type":"user"}}"#;

fn origin(number: usize) -> String {
    format!("example.com/pool/{number}")
}

fn verified(options: &Options, keys: &KeyRing, place: &Location) -> (Verdict, u64) {
    let reader = place.driver(options).unwrap().reader_of_entry_zero().unwrap();
    let heads = options.heads_for(keys);
    let request = Request {
        ring: Some(keys),
        heads: Some(&*heads),
        head_required: true,
        strict: true,
        threads: 1,
        ..Request::new(
            keys.checkpoint_signer(&reader.info().origin).unwrap().verifying_key().clone(),
            options.clock.now(),
        )
    };
    let report = verify(&*reader, &request).unwrap();
    (report.status, report.entries_verified)
}

/// Server processes that served the program meanwhile: none may be added where one pool is shared.
fn watch(server: &TestServer, done: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !done.load(Ordering::Acquire) {
        let pids = server.sql("select pid from pg_stat_activity where application_name = 'indelible'");
        seen.extend(pids.lines().map(str::to_owned));
        thread::sleep(Duration::from_millis(100));
    }
    seen
}

/// Ends the watching also where an assertion fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` on every share of the places at the same time.
fn on_threads<T: Send, R: Send>(shares: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || work(share))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn share(place: &Location, number: usize) -> Vec<Location> {
    (number..LOGS).step_by(THREADS).map(|number| place.with_origin(&origin(number))).collect()
}

/// All logs open at the same time, appended to, closed, verified.
fn work(place: &Location, keys: &KeyRing, options: &Options) {
    let shares = (0..THREADS).map(|number| share(place, number)).collect();
    let create = |place: Location| {
        let driver = place.driver(options).unwrap();
        Log::create_in(&*driver, place.origin().unwrap(), keys, options.clone()).unwrap()
    };
    let open: Vec<Vec<Log>> = on_threads(shares, |share: Vec<Location>| share.into_iter().map(create).collect());
    on_threads(open, |logs| {
        for _ in 0..3 {
            logs.iter().for_each(|log| drop(log.append_json(EVENT).unwrap()));
        }
        logs.iter().for_each(|log| log.close().unwrap());
    });
    on_threads((0..THREADS).collect(), |number| {
        for place in share(place, number) {
            assert_eq!(verified(options, keys, &place), (Verdict::Intact, 4), "{place}");
        }
    });
}

#[test]
fn a_thousand_logs_share_the_connections_of_one_pool() {
    let Some(server) = TestServer::start(Server::new()) else { return };
    server.sql("create database audit");
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let settings = Settings { max_connections: CONNECTIONS, patience: Duration::from_secs(60), ..Settings::default() };
    let options = Options {
        databases: Databases::with_settings(settings),
        keeper: Some(Keeper::new()),
        // Closing publishes in any case.
        publish_every: Duration::from_secs(3600),
        ..Options::default()
    };
    let url = server.url("postgres", "audit");
    options.databases.postgres(&url).unwrap().migrate(false).unwrap();
    let place: Location = url.parse().unwrap();
    let done = AtomicBool::new(false);
    let (seen, took) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&server, &done));
        let ended = Done(&done);
        let begun = Instant::now();
        work(&place, &keys, &options);
        let took = begun.elapsed();
        registry(&place, &keys, &options);
        drop(ended);
        (watching.join().unwrap(), took)
    });
    assert!((1..=CONNECTIONS).contains(&seen.len()), "{} connections", seen.len());
    println!(
        "{LOGS} logs made, appended to by {THREADS} threads, closed and verified in {took:.1?} over {} connections",
        seen.len()
    );
}

/// The registry's work on many logs, through the same pool.
fn registry(place: &Location, keys: &KeyRing, options: &Options) {
    let root: Root = place.to_string().parse().unwrap();
    let registry = Registry::create(root, "example.com/registry", keys, options.clone()).unwrap();
    for number in 0..5 {
        registry.create_log(&format!("example.com/registered/{number}"), keys).unwrap().close().unwrap();
    }
    assert_eq!(registry.list().unwrap().len(), LOGS + 5);
    for known in registry.registered().unwrap().values() {
        assert_eq!(registry.verify_log(known, keys).unwrap().status, Verdict::Intact);
    }
}
