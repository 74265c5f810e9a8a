//! A first start that ends at every step there is: the next start serves.

use std::sync::Arc;

use indelible::{KeyRing, Options};
use indelible_server::{Server, ServerError, Started, server::AdminKey};
use indelible_service::Root;
use indelible_store::{
    disk::{Disk as _, OsDisk},
    driver::Driver as _,
    fault::{Fault, SimDisk},
    store::LogInfo,
};
use serde_json::{Value, json};

use crate::world::{Client, LOG, config, event, events_of};

struct World {
    dir: tempfile::TempDir,
    ring: KeyRing,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        Self { dir, ring }
    }

    fn start(&self, options: Options, admin: AdminKey) -> Result<(Server, Started), ServerError> {
        let root = Root::directory(self.dir.path().join("root"));
        Server::start(root, self.ring.clone(), options, config(), admin, Arc::new(|_: &str| {}))
    }

    /// It is served, and keeps what it is given. A first key whose token was lost has another beside it.
    fn check(&self, options: &dyn Fn() -> Options, step: &str) {
        let start = |admin| self.start(options(), admin).unwrap_or_else(|error| panic!("{step}: {error:?}"));
        let (mut server, mut started) = start(AdminKey::IfNone);
        if started.admin_token.is_none() {
            server.stop().unwrap();
            (server, started) = start(AdminKey::Another);
        }
        let token = started.admin_token.as_ref().expect("a token").to_string();
        let ask = |started: &Started, path: &str, body: &Value| {
            Client::connect(started.address).ask("POST", path, Some(&token), Some(body))
        };
        ask(&started, "/v1/logs", &json!({ "origin": LOG })).status(201);
        ask(&started, &events_of(LOG), &event("one")).status(201);
        server.stop().unwrap();
        let (server, started) = self.start(options(), AdminKey::IfNone).unwrap();
        assert!(started.admin_token.is_none(), "{step}: the key is there");
        ask(&started, &events_of(LOG), &event("one")).status(200);
        server.stop().unwrap();
    }
}

#[test]
fn a_first_start_that_ends_at_any_step_is_made_good_by_the_next() {
    let mut steps = 0;
    // Every third step: that each step of making a log is one to go on from is tested where logs are made.
    for at in (0..).step_by(3) {
        let (world, disk) = (World::new(), SimDisk::new(at));
        let options = || Options { disk: disk.shared(), ..Options::default() };
        disk.plan(at, Fault::PowerLoss);
        let started = world.start(options(), AdminKey::IfNone);
        let struck = disk.operations() > at;
        // What could not be closed is what the power loss left.
        drop(started.map(|(server, _)| server.stop()));
        if !struck {
            break;
        }
        disk.crash_in_place(at);
        world.check(&options, &format!("step {at}"));
        steps += 1;
    }
    assert!(steps > 30, "{steps}");
}

#[test]
fn what_a_crash_left_in_a_new_root_is_no_stranger_in_it() {
    let registry = |world: &World| world.dir.path().join("root/registry");
    let info =
        |origin: &str| LogInfo { origin: origin.to_owned(), log_id: indelible_core::mac::LogId([7; 16]), format: 1 };
    let log = |world: &World| Options::default().directory(&registry(world));
    type Leave<'a> = &'a dyn Fn(&World);
    let rows: [(&str, Leave<'_>); 3] = [
        ("a directory", &|world| std::fs::create_dir_all(registry(world)).unwrap()),
        ("some of its files", &|world| {
            std::fs::create_dir_all(registry(world).join("segments")).unwrap();
            std::fs::write(registry(world).join("lock"), "").unwrap();
        }),
        ("a log without entries", &|world| drop(log(world).create(&info("t.example/registry")).unwrap())),
    ];
    for (step, leave) in rows {
        let world = World::new();
        leave(&world);
        world.check(&Options::default, step);
    }
    // What is somebody's is left alone.
    let world = World::new();
    std::fs::create_dir_all(registry(&world)).unwrap();
    std::fs::write(registry(&world).join("notes.txt"), "mine").unwrap();
    assert!(world.start(Options::default(), AdminKey::IfNone).is_err());
    assert_eq!(OsDisk.list(&registry(&world)).unwrap(), ["notes.txt"]);
    let world = World::new();
    drop(log(&world).create(&info("u.example/registry")).unwrap());
    let told = indelible::error::chain(&world.start(Options::default(), AdminKey::IfNone).err().unwrap());
    assert!(told.contains("u.example/registry") && told.contains("t.example/registry"), "{told}");
}

#[test]
fn a_server_that_cannot_listen_makes_no_key_that_nobody_holds() {
    let world = World::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut busy = config();
    busy.listen = taken.local_addr().unwrap();
    let root = Root::directory(world.dir.path().join("root"));
    let failed =
        Server::start(root, world.ring.clone(), Options::default(), busy, AdminKey::IfNone, Arc::new(|_: &str| {}));
    assert!(matches!(failed.err(), Some(ServerError::Io { .. })));
    drop(taken);
    let (server, started) = world.start(Options::default(), AdminKey::IfNone).unwrap();
    assert!(started.admin_token.is_some(), "the first key is made by the start that can tell its token");
    server.stop().unwrap();
}
