//! Roots in databases; several servers on one, behind a balancer that knows nothing of HTTP.

#![cfg(unix)]

use std::{
    collections::BTreeMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{
    KeyRing, Options,
    verify::{Request, Verdict, verify},
};
use indelible_core::tree::LeafIndex;
use indelible_server::{Server, server::AdminKey};
use indelible_service::Root;
use indelible_test_postgres::{Options as Postgres, TestServer};
use serde_json::json;

use crate::world::{Client, LOG, config, event, events_of};

/// Callers of the load.
const CALLERS: usize = 8;
/// What a test would otherwise wait for without an end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database, and how servers over it are started.
struct World {
    database: TestServer,
    dir: tempfile::TempDir,
}

/// A server and where it listens.
struct Running {
    server: Server,
    address: SocketAddr,
    admin: Option<String>,
}

impl Running {
    /// As a process of its own would: with connections of its own.
    fn start(root: Root, ring: KeyRing) -> Self {
        let reporter = Arc::new(|line: &str| println!("{line}"));
        let (options, admin, mut config) = (Options::default(), AdminKey::IfNone, config());
        // Tests that wait for a key to be known ask more often than a guesser may.
        config.limits.failures = 10_000;
        let (server, started) = Server::start(root, ring, options, config, admin, reporter).unwrap();
        Self { server, address: started.address, admin: started.admin_token.map(|token| token.to_string()) }
    }
}

impl World {
    /// `None` where no PostgreSQL is installed, which is said aloud.
    fn new() -> Option<Self> {
        let database = TestServer::start(Postgres::new())?;
        database.sql("create database audit");
        let url = database.url("postgres", "audit");
        Options::default().databases.postgres(&url).unwrap().migrate(false).unwrap();
        Some(Self { database, dir: tempfile::tempdir().unwrap() })
    }

    fn root(&self) -> Root {
        self.database.url("postgres", "audit").parse().unwrap()
    }

    fn ring(&self) -> KeyRing {
        KeyRing::load_or_create(&self.dir.path().join("keys")).unwrap()
    }

    fn start(&self) -> Running {
        Running::start(self.root(), self.ring())
    }

    /// Every event's id with how often it is in the log, after the log was verified.
    #[track_caller]
    fn ids(&self, origin: &str) -> BTreeMap<String, usize> {
        let options = Options::default();
        let reader = self.root().log(origin).driver(&options).unwrap().reader_of_entry_zero().unwrap();
        let (ring, heads) = (self.ring(), options.heads_for(&self.ring()));
        let request = Request {
            heads: Some(&*heads),
            head_required: true,
            strict: true,
            ..Request::of_ring(&ring, origin, options.clock.now()).unwrap()
        };
        let report = verify(&*reader, &request).unwrap();
        assert_eq!(report.status, Verdict::Intact, "{:?}", report.findings);
        let mut ids = BTreeMap::new();
        for index in 0..reader.size().unwrap().0 {
            let stored = indelible::log::get(&*reader, LeafIndex(index)).unwrap();
            let entry = indelible_core::entry::EntryRef::parse(&stored.entry).unwrap();
            if let Some(id) = entry.event_id() {
                *ids.entry(id.to_owned()).or_default() += 1;
            }
        }
        ids
    }
}

/// Connects whoever comes to the next server that is in the list, and passes bytes on.
struct Balancer {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    ended: Arc<AtomicBool>,
}

impl Balancer {
    fn start(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (servers, ended) = (Arc::new(Mutex::new(servers)), Arc::new(AtomicBool::new(false)));
        let (list, end) = (Arc::clone(&servers), Arc::clone(&ended));
        thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let list = list.lock().unwrap().clone();
                let backend = list.get(turn % list.len().max(1)).and_then(|server| TcpStream::connect(server).ok());
                if let (Ok(stream), Some(backend)) = (stream, backend) {
                    pass_on(&stream, &backend);
                    pass_on(&backend, &stream);
                }
            }
        });
        Self { address, servers, ended }
    }

    fn replace(&self, old: SocketAddr, new: Option<SocketAddr>) {
        let mut servers = self.servers.lock().unwrap();
        servers.retain(|server| *server != old);
        servers.extend(new);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which sees that it is to end.
        drop(TcpStream::connect(self.address));
    }
}

fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Sends an event until it is acknowledged; whether it was there already.
fn send(address: SocketAddr, token: &str, id: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Some(mut client) = Client::connect_maybe(address) else { continue };
        client.write(post(token, id).as_bytes());
        match client.reply() {
            Some(reply) if [200, 201].contains(&reply.status) => return reply.status == 200,
            Some(reply) => assert!([503, 504].contains(&reply.status), "{}: {}", reply.status, reply.text()),
            None => {}
        }
    }
    panic!("`{id}` was not acknowledged in {PATIENCE:?}");
}

fn post(token: &str, id: &str) -> String {
    let (path, event) = (events_of(LOG), event(id).to_string());
    format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{event}",
        event.len()
    )
}

#[test]
fn a_rolling_restart_under_load_loses_and_doubles_nothing() {
    let Some(world) = World::new() else { return };
    let first = world.start();
    let admin = first.admin.clone().unwrap();
    Client::connect(first.address).ask("POST", "/v1/logs", Some(&admin), Some(&json!({ "origin": LOG }))).status(201);
    let mut running = vec![first, world.start()];
    assert_eq!(running[1].admin, None, "one administrator is enough");
    let balancer = Balancer::start(running.iter().map(|running| running.address).collect());
    let (stop, sent, again) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut counts = Vec::new();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (stop, sent, again, admin, address) = (&stop, &sent, &again, &admin, balancer.address);
                scope.spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::SeqCst) {
                        again.fetch_add(
                            usize::from(send(address, admin, &format!("{caller}-{count}"))),
                            Ordering::SeqCst,
                        );
                        sent.fetch_add(1, Ordering::SeqCst);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for _ in 0..2 {
            for at in 0..running.len() {
                let seen = sent.load(Ordering::SeqCst);
                while sent.load(Ordering::SeqCst) < seen + 100 {
                    thread::yield_now();
                }
                let old = running.remove(0);
                balancer.replace(old.address, None);
                old.server.stop().unwrap();
                let new = world.start();
                balancer.replace(new.address, Some(new.address));
                running.push(new);
                assert_eq!(running.len(), 2, "restart {at}");
            }
        }
        stop.store(true, Ordering::SeqCst);
        counts.extend(callers.into_iter().map(|caller| caller.join().unwrap()));
    });
    drop(balancer);
    for running in running {
        running.server.stop().unwrap();
    }
    let expected: BTreeMap<String, usize> = counts
        .iter()
        .enumerate()
        .flat_map(|(caller, count)| (0..*count).map(move |n| (format!("{caller}-{n}"), 1)))
        .collect();
    assert_eq!(world.ids(LOG), expected);
    println!(
        "{} events through four restarts, each there once; {} were there already when they were sent again",
        expected.len(),
        again.into_inner()
    );
    world.ids("t.example/_server");
}

/// Asks until the status is this one.
#[track_caller]
fn until(status: u16, address: SocketAddr, token: &str) {
    let begun = Instant::now();
    loop {
        let reply = Client::connect(address).ask("GET", "/v1/logs", Some(token), None);
        if reply.status == status {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{}: {}", reply.status, reply.text());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn keys_that_one_server_makes_and_ends_are_so_at_the_other() {
    let Some(world) = World::new() else { return };
    let (one, other) = (world.start(), world.start());
    let admin = one.admin.clone().unwrap();
    until(200, other.address, &admin);
    let made = json!({ "logs": ["*"], "name": "r", "role": "reader" });
    let made = Client::connect(one.address).ask("POST", "/v1/api-keys", Some(&admin), Some(&made)).status(201).json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    until(200, other.address, token);
    // The one that ends it knows at once, and goes on knowing when it takes up its own entries.
    let path = format!("/v1/api-keys/{id}");
    Client::connect(other.address).ask("DELETE", &path, Some(&admin), None).status(200);
    Client::connect(other.address).ask("GET", "/v1/logs", Some(token), None).status(401);
    until(401, one.address, token);
    Client::connect(other.address).ask("GET", "/v1/logs", Some(token), None).status(401);
    one.server.stop().unwrap();
    other.server.stop().unwrap();
}

#[test]
fn a_lock_at_one_server_holds_at_the_other() {
    let Some(world) = World::new() else { return };
    let (one, other) = (world.start(), world.start());
    let admin = one.admin.clone().unwrap();
    until(200, other.address, &admin);
    let ask = |server: &Running, path: &str, body: serde_json::Value| {
        Client::connect(server.address).ask("POST", path, Some(&admin), Some(&body)).status
    };
    assert_eq!(ask(&one, "/v1/logs", json!({ "origin": LOG })), 201);
    let ask_until = |server: &Running, status: u16, path: &str, body: serde_json::Value| {
        let begun = Instant::now();
        while ask(server, path, body.clone()) != status {
            assert!(begun.elapsed() < PATIENCE, "{path}: {body}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    let (log, events) = (format!("/v1/logs/{}", crate::world::segment(LOG)), events_of(LOG));
    assert_eq!(ask(&one, &format!("{log}/lock"), json!({ "reason": "an inquiry" })), 200);
    assert_eq!(ask(&one, &events, event("refused")), 423);
    ask_until(&other, 423, &events, event("until it is locked"));
    // Whoever knows of it may end it, whichever server it came from.
    ask_until(&other, 200, &format!("{log}/unlock"), json!({ "reason": "it is over" }));
    ask_until(&other, 201, &events, event("open there"));
    ask_until(&one, 201, &events, event("open here"));
    one.server.stop().unwrap();
    other.server.stop().unwrap();
}

#[test]
fn where_the_database_does_not_tell_which_keys_ended_none_is_believed() {
    let Some(world) = World::new() else { return };
    let one = world.start();
    let admin = one.admin.clone().unwrap();
    until(200, one.address, &admin);
    world.database.stop();
    until(503, one.address, &admin);
    world.database.start_again();
    until(200, one.address, &admin);
    one.server.stop().unwrap();
}

#[test]
fn a_root_in_an_sqlite_file_is_served_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let root: Root = format!("sqlite:{}", dir.path().join("logs.db").display()).parse().unwrap();
    let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let running = Running::start(root.clone(), ring.clone());
    let admin = running.admin.unwrap();
    for origin in [LOG, "t.example/b"] {
        let body = json!({ "origin": origin });
        Client::connect(running.address).ask("POST", "/v1/logs", Some(&admin), Some(&body)).status(201);
    }
    assert!(!send(running.address, &admin, "one"));
    assert!(send(running.address, &admin, "one"), "the second time it is there");
    running.server.stop().unwrap();
    let running = Running::start(root, ring);
    assert_eq!(running.admin, None);
    assert!(send(running.address, &admin, "one"));
    running.server.stop().unwrap();
}

#[test]
fn an_heir_that_another_server_made_ends_with_its_maker() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.start(), world.start());
    let admin = one.admin.clone().unwrap();
    for _ in 0..3 {
        let new = json!({ "logs": ["t.example/*"], "name": "tenant", "role": "admin" });
        let stolen = Client::connect(one.address).ask("POST", "/v1/api-keys", Some(&admin), Some(&new)).status(201);
        let stolen = stolen.json();
        let (id, token) = (stolen["id"].as_str().unwrap(), stolen["token"].as_str().unwrap());
        let status = |server: &Running, token: &str| {
            Client::connect(server.address).ask("GET", "/v1/logs", Some(token), None).status
        };
        let begun = Instant::now();
        while status(&two, token) != 200 {
            assert!(begun.elapsed() < PATIENCE);
        }
        // The server that ends the key has not heard of the heir, and looks once more when the end is on record.
        let path = format!("/v1/api-keys/{id}/rotate");
        let body = json!({ "overlap_seconds": 3600 });
        let heir = Client::connect(one.address).ask("POST", &path, Some(token), Some(&body)).status(201).json();
        let ended = Client::connect(two.address).ask("DELETE", &format!("/v1/api-keys/{id}"), Some(&admin), None);
        assert_eq!(ended.status(200).json()["also_revoked"], json!([heir["id"]]));
        let heir = heir["token"].as_str().unwrap();
        // Whoever asked too often above is answered 429 with a token of no key; with one in force it is 200.
        assert_ne!(status(&two, heir), 200);
        while status(&one, heir) == 200 {
            assert!(begun.elapsed() < PATIENCE);
        }
    }
    for running in [one, two] {
        running.server.stop().unwrap();
    }
}

#[test]
fn a_tenant_lifts_no_lock_that_the_operator_made_at_another_server() {
    let Some(world) = World::new() else { return };
    let (one, two) = (world.start(), world.start());
    let admin = one.admin.clone().unwrap();
    Client::connect(one.address).ask("POST", "/v1/logs", Some(&admin), Some(&json!({ "origin": LOG }))).status(201);
    let new = json!({ "logs": ["t.example/*"], "name": "tenant", "role": "admin" });
    let tenant = Client::connect(one.address).ask("POST", "/v1/api-keys", Some(&admin), Some(&new)).status(201).json();
    let tenant = tenant["token"].as_str().unwrap();
    until(200, two.address, tenant);
    let ask = |server: &Running, token: &str, what: &str, reason: &str| {
        let path = format!("/v1/logs/{}/{what}", crate::world::segment(LOG));
        Client::connect(server.address).ask("POST", &path, Some(token), Some(&json!({ "reason": reason })))
    };
    let reason = |server: &Running| {
        let path = format!("/v1/logs/{}/health", crate::world::segment(LOG));
        Client::connect(server.address).ask("GET", &path, Some(&admin), None).json()["locked"]["reason"].clone()
    };
    let until_it_says = |server: &Running, expected: serde_json::Value| {
        let begun = Instant::now();
        while reason(server) != expected {
            assert!(begun.elapsed() < PATIENCE, "{expected}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    for turn in 0..3 {
        // The operator locks over the tenant's at one server; the other has not heard of it, and lifts nothing.
        let (mine, inquiry) = (format!("mine {turn}"), format!("inquiry {turn}"));
        ask(&one, tenant, "lock", &mine).status(200);
        until_it_says(&two, json!(mine));
        ask(&two, &admin, "lock", &inquiry).status(200);
        ask(&one, tenant, "unlock", "over").problem(403, "forbidden");
        assert_eq!(reason(&one), json!(inquiry));
        ask(&two, &admin, "unlock", "over").status(200);
        until_it_says(&one, json!(null));
        // The operator locks at one, and the tenant at the other in the same moment.
        ask(&two, &admin, "lock", &inquiry).status(200);
        ask(&one, tenant, "lock", &mine).problem(409, "conflict");
        ask(&one, tenant, "unlock", "over").problem(403, "forbidden");
        for server in [&one, &two] {
            assert_eq!(reason(server), json!(inquiry));
            let reply = Client::connect(server.address).ask("POST", &events_of(LOG), Some(tenant), Some(&event("x")));
            reply.problem(423, "locked");
        }
        ask(&one, &admin, "unlock", "over").status(200);
        until_it_says(&two, json!(null));
    }
    for running in [one, two] {
        running.server.stop().unwrap();
    }
    world.ids("t.example/_server");
}
