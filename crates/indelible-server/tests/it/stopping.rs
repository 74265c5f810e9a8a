//! Stopping, failing, hanging: what was acknowledged is there, and trouble stays where it is.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use indelible::{Log, Options, StoreError};
use indelible_core::{checkpoint::Checkpoint, tree::LeafIndex};
use indelible_store::disk::{Disk, DiskFile, Lease, Meta, Open, OsDisk, Protection};
use serde_json::json;

use crate::{
    readiness,
    world::{Client, LOG, World, config, event, events_of, segment},
};

/// Receipts by threads that send until they are refused, or the connection ends.
fn flood(world: &mut World, threads: usize, stop_at: usize) -> Vec<String> {
    let (address, token) = (world.address, world.admin.clone());
    let (acknowledged, seen) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let server = world.take_server();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (token, acknowledged, seen) = (&token, &acknowledged, &seen);
            scope.spawn(move || {
                for round in 0.. {
                    let mut client = Client::connect_maybe(address);
                    let Some(client) = client.as_mut() else { return };
                    let lines: Vec<_> =
                        (0..20).map(|at| event(&format!("{thread}-{round}-{at}")).to_string()).collect();
                    client.send_lines(&events_of(LOG), token, &lines.join("\n"));
                    match client.reply() {
                        Some(reply) if reply.status == 201 => {
                            let results = reply.json();
                            let ids = results["results"].as_array().unwrap().iter();
                            let ids = ids.map(|row| row["receipt"]["id"].as_str().unwrap().to_owned());
                            acknowledged.lock().unwrap().extend(ids);
                            seen.fetch_add(1, Ordering::SeqCst);
                        }
                        Some(reply) => return assert_eq!(reply.status, 503, "{reply:?}"),
                        None => return,
                    }
                }
            });
        }
        while seen.load(Ordering::SeqCst) < stop_at {
            thread::yield_now();
        }
        server.stop().unwrap();
    });
    acknowledged.into_inner().unwrap()
}

#[test]
fn a18_stopped_in_a_flood_the_last_batch_is_signed() {
    let mut world = World::with_log();
    let acknowledged = flood(&mut world, 4, 20);
    assert!(acknowledged.len() >= 400);
    let log = Log::open(&world.at("root/logs/t.example%2Fa"), &world.ring(), Options::default()).unwrap();
    for id in &acknowledged {
        log.find(id).unwrap();
    }
    // What the stopped server left is signed to the last entry, and opening it had nothing to recover.
    let size = log.size().unwrap();
    let note = log.store().checkpoint().unwrap().unwrap();
    let head = Checkpoint::open(&note, &log.public_key().unwrap()).unwrap().head;
    assert_eq!(head.size.0, size);
    for index in (0..size).map(LeafIndex) {
        let entry = log.get(index).unwrap().entry;
        let text = String::from_utf8(entry).unwrap();
        assert!(!text.contains("\"type\":\"recovered\""), "{text}");
    }
}

#[test]
fn a19_what_is_accepted_is_stored_and_what_is_not_is_refused_clearly() {
    let mut small = config();
    // Room for one body at a time, and one thing that waits for a disk.
    (small.limits.body_bytes, small.limits.body_budget_bytes) = (64 << 10, 64 << 10);
    (small.limits.blocking, small.limits.blocking_per_log) = (1, 1);
    let world = World::with(small, Options::default());
    world.create(LOG);
    let (address, token) = (world.address, world.admin.clone());
    let (accepted, refused) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..8 {
            let (token, accepted, refused) = (&token, &accepted, &refused);
            scope.spawn(move || {
                for round in 0..10 {
                    let id = |at: usize| format!("{thread}-{round}-{at}");
                    let filling = "x".repeat(2000);
                    let lines: Vec<_> = (0..15)
                        .map(|at| {
                            let mut event = event(&id(at));
                            event["details"] = json!(filling);
                            event.to_string()
                        })
                        .collect();
                    let mut client = Client::connect(address);
                    let reply = client.post_lines(&events_of(LOG), token, &lines.join("\n"), &[]);
                    if reply.status == 201 {
                        accepted.lock().unwrap().extend((0..15).map(id));
                    } else {
                        assert!(!reply.header("retry-after").is_empty());
                        reply.problem(503, "busy");
                        refused.fetch_add(15, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let accepted = accepted.into_inner().unwrap();
    assert_eq!(accepted.len() + refused.load(Ordering::SeqCst), 8 * 10 * 15);
    assert!(!accepted.is_empty());
    let size = world.ask("GET", "/v1/logs/t.example%2Fa/entries?limit=1", None).status(200).json()["size"].clone();
    assert_eq!(size, accepted.len() + 1, "what was refused is not there");
    for id in &accepted {
        world.ask("GET", &format!("{}/{id}", events_of(LOG)), None).status(200);
    }
}

/// A disk on which one log's writes wait until they are let go, or fail.
struct Stuck {
    word: &'static str,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stuck: Mutex<bool>,
    freed: Condvar,
    failing: AtomicBool,
    waiting: AtomicUsize,
}

impl State {
    fn pass(&self) -> io::Result<()> {
        let mut stuck = self.stuck.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *stuck {
            stuck = self.freed.wait(stuck).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn set(&self, stuck: bool) {
        *self.stuck.lock().unwrap() = stuck;
        self.freed.notify_all();
    }
}

struct StuckFile(Box<dyn DiskFile>, Arc<State>);

impl DiskFile for StuckFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.pass()?;
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass()?;
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

impl Disk for Stuck {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let file = OsDisk.open(path, how)?;
        let meant = path.to_string_lossy().contains(self.word);
        Ok(if meant { Box::new(StuckFile(file, Arc::clone(&self.state))) } else { file })
    }
    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        OsDisk.meta(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        OsDisk.lease(path)
    }
    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        OsDisk.protect(path, immutable)
    }
    fn unprotect(&self, path: &Path) -> io::Result<()> {
        OsDisk.unprotect(path)
    }
}

/// Requests are waited for so many milliseconds.
fn stuck_world(word: &'static str, work_ms: u64) -> (World, Arc<State>) {
    let state = Arc::new(State::default());
    let disk = Stuck { word, state: Arc::clone(&state) };
    let mut small = config();
    (small.limits.blocking, small.limits.blocking_per_log, small.limits.work_ms) = (4, 2, work_ms);
    let world = World::with(small, Options { disk: Arc::new(disk), ..Options::default() });
    world.create("t.example/stuck");
    world.create(LOG);
    (world, state)
}

#[test]
fn a35_a_log_whose_disk_hangs_leaves_the_others_alone() {
    let (mut world, state) = stuck_world("stuck", 8000);
    let stuck = events_of("t.example/stuck");
    world.ask("POST", &stuck, Some(&event("before"))).status(201);
    state.set(true);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|at| {
                let (address, token, path) = (world.address, world.admin.clone(), stuck.clone());
                let with_id = event(&format!("s{at}"));
                let without = json!({ "action": "door.open", "actor": { "id": "ada", "type": "user" } });
                let event = if at % 2 == 0 { with_id } else { without };
                scope.spawn(move || Client::connect(address).ask("POST", &path, Some(&token), Some(&event)))
            })
            .collect();
        while state.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // More than twice as often as there are threads for disks: none of it waits for the one that hangs.
        for at in 0..20 {
            world.ask("POST", &events_of(LOG), Some(&event(&at.to_string()))).status(201);
            world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200);
        }
        let job = world.ask("POST", "/v1/logs/t.example%2Fa/verify?wait=0", None);
        assert!([200, 202].contains(&job.status));
        for reply in waiting.into_iter().map(|thread| thread.join().unwrap()) {
            assert!([503, 504].contains(&reply.status), "{reply:?}");
        }
    });
    state.set(false);
    // What was unclear is sent once more, and is there once.
    for at in (0..8).step_by(2) {
        let reply = world.ask("POST", &stuck, Some(&event(&format!("s{at}"))));
        assert!([200, 201].contains(&reply.status), "{reply:?}");
    }
    world.stop();
    let log = Log::open(&world.at("root/logs/t.example%2Fstuck"), &world.ring(), Options::default()).unwrap();
    for at in (0..8).step_by(2) {
        log.find(&format!("s{at}")).unwrap();
    }
}

#[test]
fn a35_a_registry_whose_disk_hangs_leaves_recording_alone() {
    let (world, state) = stuck_world("registry", 8000);
    state.set(true);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..12)
            .map(|at| {
                let (address, token) = (world.address, world.admin.clone());
                let new = json!({ "origin": format!("t.example/new{at}") });
                scope.spawn(move || Client::connect(address).ask("POST", "/v1/logs", Some(&token), Some(&new)))
            })
            .collect();
        while state.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        for at in 0..20 {
            world.ask("POST", &events_of(LOG), Some(&event(&at.to_string()))).status(201);
        }
        for reply in waiting.into_iter().map(|thread| thread.join().unwrap()) {
            assert!([503, 504].contains(&reply.status), "{reply:?}");
        }
    });
    state.set(false);
    // What was unclear may be there by now, and is not made twice.
    let again = (0..12).map(|at| json!({ "origin": format!("t.example/new{at}") }));
    for reply in again.map(|new| world.ask("POST", "/v1/logs", Some(&new))) {
        assert!([201, 409].contains(&reply.status), "{reply:?}");
    }
}

#[test]
fn a_log_that_failed_is_opened_again_when_its_disk_is_back() {
    let (world, state) = stuck_world("stuck", 60_000);
    let path = events_of("t.example/stuck");
    world.ask("POST", &path, Some(&event("1"))).status(201);
    state.failing.store(true, Ordering::SeqCst);
    let problem = world.ask("POST", &path, Some(&event("2"))).problem(503, "unavailable");
    assert!(!problem.to_string().contains("the disk is gone"), "{problem}");
    assert!(world.told.lock().unwrap().iter().any(|line| line.contains("the disk is gone")));
    world.ask("POST", &events_of(LOG), Some(&event("other"))).status(201);
    state.failing.store(false, Ordering::SeqCst);
    let again = (0..100_000).map(|_| world.ask("POST", &path, Some(&event("2")))).find(|reply| reply.status != 503);
    assert!([200, 201].contains(&again.unwrap().status));
    let page = world.ask("GET", &format!("/v1/logs/{}/entries", segment("t.example/stuck")), None).status(200).text();
    assert_eq!((page.matches(r#""id":"1""#).count(), page.matches(r#""id":"2""#).count()), (1, 1));
}

#[test]
fn a_frozen_log_is_read_and_proven_and_not_written() {
    let mut world = World::with_log();
    world.record(LOG, 3);
    world.stop();
    let root = indelible_service::Root::directory(world.at("root"));
    let registry = indelible_service::Registry::open(root, Options::default()).unwrap();
    registry.freeze(LOG, &world.ring(), "the year is over").unwrap();
    world.start();
    let problem = world.ask("POST", &events_of(LOG), Some(&event("x"))).problem(423, "frozen");
    assert!(problem["detail"].as_str().unwrap().contains("the year is over"));
    let listed = world.ask("GET", "/v1/logs", None).status(200).text();
    assert!(listed.contains("the year is over"));
    for path in ["entries", "entries/1", "checkpoint", "keys", "events/e0"] {
        world.ask("GET", &format!("/v1/logs/t.example%2Fa/{path}"), None).status(200);
    }
    world.ask("GET", "/logs/t.example%2Fa/tile/0/000.p/4", None).status(200);
    let keys = world.ask("GET", "/v1/logs/t.example%2Fa/keys", None).json();
    let bundle = world.ask("GET", "/v1/logs/t.example%2Fa/entries/2/proof", None).status(200).body;
    let key = indelible::VerifyingKey::parse(keys["public_key"].as_str().unwrap()).unwrap();
    indelible::bundle::Bundle::parse(&bundle).unwrap().check(&key).unwrap();
    let job = world.ask("POST", "/v1/logs/t.example%2Fa/verify?wait=20", None).status(200).json();
    assert_eq!(job["report"]["status"], "intact");
}

#[test]
fn more_logs_than_may_be_open_are_served_all_the_same() {
    let mut few = config();
    few.limits.open_logs = 3;
    let mut world = World::with(few, Options::default());
    let names: Vec<String> = (0..6).map(|at| format!("t.example/{at}")).collect();
    names.iter().for_each(|name| world.create(name));
    for round in 0..3 {
        for name in &names {
            let event = event(&round.to_string());
            // One that is just being closed says so, and is there again.
            let reply = (0..100_000).map(|_| world.ask("POST", &events_of(name), Some(&event)));
            reply.into_iter().find(|reply| reply.status != 503).unwrap().status(201);
        }
    }
    world.stop();
    for name in &names {
        let place = world.at(&format!("root/logs/{}", segment(name)));
        let log = Log::open(&place, &world.ring(), Options::default()).unwrap();
        assert_eq!(log.size().unwrap(), 4, "{name}");
    }
}

#[test]
fn logs_that_cannot_be_opened_take_no_place_of_those_that_are_open() {
    let mut few = config();
    // The own log, and two others.
    few.limits.open_logs = 3;
    let mut world = World::with(few, Options::default());
    let names: Vec<String> = (0..5).map(|at| format!("t.example/{at}")).collect();
    names.iter().for_each(|name| world.create(name));
    world.stop();
    let (gone, good) = names.split_at(3);
    for name in gone {
        std::fs::remove_file(world.at(&format!("root/logs/{}/log.json", segment(name)))).unwrap();
    }
    world.start();
    for name in gone {
        let reply = world.ask("POST", &events_of(name), Some(&event("x")));
        assert!(reply.status >= 500, "{reply:?}");
    }
    for round in 0..20 {
        for name in good {
            world.ask("POST", &events_of(name), Some(&event(&round.to_string()))).status(201);
        }
    }
    let metrics = world.ask("GET", "/metrics", None).text();
    let open = metrics.lines().find_map(|line| line.strip_prefix("indelible_open_logs "));
    assert_eq!(open, Some("3"), "{metrics}");
}

#[test]
fn a_directory_with_something_else_in_it_is_not_made_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let ring = indelible::KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let start = |root: &Path, config| {
        let root = indelible_service::Root::directory(root.to_owned());
        let (ring, reporter) = (ring.clone(), Arc::new(|_: &str| {}));
        let admin = indelible_server::server::AdminKey::IfNone;
        indelible_server::Server::start(root, ring, Options::default(), config, admin, reporter)
    };
    let mine = dir.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("letter.txt"), "x").unwrap();
    let error = start(&mine, config()).err().unwrap().to_string();
    assert!(error.contains("not empty"), "{error}");
    let error = start(dir.path(), config()).err().unwrap().to_string();
    assert!(error.contains("keys"), "{error}");
    let mut public = config();
    public.listen = ([0, 0, 0, 0], 0).into();
    let error = start(&dir.path().join("new"), public).err().unwrap().to_string();
    assert!(error.contains("loopback"), "{error}");
    assert!(!dir.path().join("new").exists());
    // Two servers of one root: the second is told.
    let (first, _) = start(&dir.path().join("root"), config()).unwrap();
    let second = start(&dir.path().join("root"), config()).err().unwrap();
    assert!(matches!(second, indelible_server::ServerError::Log(indelible::LogError::Store(StoreError::InUse { .. }))));
    first.stop().unwrap();
}

#[test]
fn a_server_whose_own_log_failed_is_not_ready_until_it_can_be_written_again() {
    let (world, state) = stuck_world("%5Fserver", 30_000);
    readiness::until(&world, 200);
    let failed = |world: &World| {
        let metrics = world.ask("GET", "/metrics", None).text();
        metrics.lines().find_map(|line| line.strip_prefix("indelible_own_log_failed ")).unwrap().to_owned()
    };
    assert_eq!(failed(&world), "0");
    state.failing.store(true, Ordering::SeqCst);
    let new = json!({ "logs": ["*"], "name": "n", "role": "reader" });
    let refused = world.ask("POST", "/v1/api-keys", Some(&new));
    assert!([500, 503].contains(&refused.status), "{refused:?}");
    let told = readiness::until(&world, 503).problem(503, "unavailable");
    assert!(
        told["detail"].as_str().unwrap().contains("own log") && !told.to_string().contains("disk is gone"),
        "{told}"
    );
    assert_eq!(failed(&world), "1");
    // The others are served.
    world.ask("POST", &events_of(LOG), Some(&event("beside"))).status(201);
    state.failing.store(false, Ordering::SeqCst);
    readiness::until(&world, 200);
    assert_eq!(failed(&world), "0");
    world.ask("POST", "/v1/api-keys", Some(&new)).status(201);
    let lines = world.told.lock().unwrap().clone();
    assert!(lines.iter().any(|line| line.starts_with("not ready") && line.contains("disk is gone")), "{lines:?}");
}

#[test]
fn a_long_event_is_read_beside_the_threads_that_serve_connections() {
    let (world, state) = stuck_world("stuck", 60_000);
    let stuck = events_of("t.example/stuck");
    let (short, long) = ("{}".to_owned(), format!("{{{}}}", " ".repeat(17 << 10)));
    let post = |body: &str| world.client().post_event(&stuck, &world.admin, body, &[]);
    for body in [&short, &long] {
        post(body).problem(422, "event-refused");
    }
    state.set(true);
    thread::scope(|scope| {
        for at in 0..4 {
            let (world, stuck) = (&world, &stuck);
            scope.spawn(move || world.ask("POST", stuck, Some(&event(&format!("s{at}")))));
        }
        // What is read aside waits for a place there, and those are taken now; a short one is read all the same.
        let busy = (0..10_000).map(|_| post(&long)).find(|reply| reply.status != 422);
        let short = post(&short);
        state.set(false);
        busy.expect("no long event waited").problem(503, "busy");
        short.problem(422, "event-refused");
    });
    post(&long).problem(422, "event-refused");
}

#[test]
fn whoever_makes_logs_without_end_keeps_nobody_from_ending_keys_and_locking() {
    let (world, state) = stuck_world("registry", 60_000);
    let (_, tenant) = world.key("admin", &["t.example/*"]);
    let (stolen, token) = world.key("writer", &[LOG]);
    state.set(true);
    thread::scope(|scope| {
        for at in 0..6 {
            let (world, tenant) = (&world, &tenant);
            let new = json!({ "origin": format!("t.example/new{at}") });
            scope.spawn(move || world.client().ask("POST", "/v1/logs", Some(tenant), Some(&new)));
        }
        while state.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // One of its logs is being made and does not end; the others wait for it, and take nobody's place.
        let path = format!("/v1/api-keys/{stolen}");
        let new = json!({ "logs": [LOG], "name": "n", "role": "writer" });
        let reason = json!({ "reason": "r" });
        let replies: Vec<_> = [
            ("POST", "/v1/api-keys", Some(&new)),
            ("DELETE", &path, None),
            ("POST", "/v1/logs/t.example%2Fa/lock", Some(&reason)),
        ]
        .map(|(method, path, body)| world.ask(method, path, body).status)
        .into();
        let ended = world.client().ask("POST", &events_of(LOG), Some(&token), Some(&event("x"))).status;
        state.set(false);
        assert_eq!((replies, ended), (vec![201, 200, 200], 401));
    });
}
