//! Ready or not, and a registry that says less than it said.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use indelible::{KeyRing, Options};
use indelible_server::{Server, ServerError, server::AdminKey};
use indelible_service::{RegistryError, Root};

use crate::world::{LOG, Reply, World, config};

/// What a test would otherwise wait for without an end.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until the answer has this status.
#[track_caller]
pub(crate) fn until(world: &World, status: u16) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = world.client().ask("GET", "/readyz", None, None);
        if reply.status == status {
            return reply;
        }
        assert!(begun.elapsed() < PATIENCE, "it stays {}: {}", reply.status, reply.text());
        std::thread::yield_now();
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn replace(path: &Path, by: &Path) {
    std::fs::rename(path, path.with_extension("newer")).unwrap();
    copy(by, path);
}

fn try_start(root: Root, ring: KeyRing) -> Result<Server, ServerError> {
    let (options, reporter) = (Options::default(), Arc::new(|_: &str| {}));
    Server::start(root, ring, options, config(), AdminKey::IfNone, reporter).map(|(server, _)| server)
}

#[test]
fn a_registry_that_was_put_back_is_not_served() {
    let mut world = World::new();
    world.stop();
    let (registry, kept) = (world.at("root/registry"), world.at("kept"));
    copy(&registry, &kept);
    world.start();
    world.create(LOG);
    world.stop();
    replace(&registry, &kept);
    let root = || Root::directory(world.at("root"));
    let told = try_start(root(), world.ring()).err();
    assert!(matches!(told, Some(ServerError::Registry(RegistryError::RolledBack { .. }))), "{told:?}");
    std::fs::remove_dir_all(&registry).unwrap();
    std::fs::rename(registry.with_extension("newer"), &registry).unwrap();
    world.start();
    let logs = world.ask("GET", "/v1/logs", None).status(200).text();
    assert!(logs.contains(LOG), "{logs}");
}

#[test]
fn a_registry_that_is_put_back_while_it_is_served_is_told_and_not_followed() {
    let world = World::new();
    let (registry, kept) = (world.at("root/registry"), world.at("kept"));
    copy(&registry, &kept);
    world.create(LOG);
    until(&world, 200);
    replace(&registry, &kept);
    world.ask("GET", "/v1/logs", None).problem(500, "evidence");
    let told = until(&world, 503).problem(503, "unavailable");
    assert!(told["detail"].as_str().unwrap().contains("registry"), "{told}");
    let metrics = world.ask("GET", "/metrics", None).text();
    assert!(metrics.contains("\nindelible_registry_failed 1\n"), "{metrics}");
    // What was known before is known still.
    world.record(LOG, 1);
    std::fs::remove_dir_all(&registry).unwrap();
    std::fs::rename(registry.with_extension("newer"), &registry).unwrap();
    until(&world, 200);
    world.ask("GET", "/v1/logs", None).status(200);
}

#[test]
fn a_database_that_was_put_back_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let ring = || KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let (place, kept) = (dir.path().join("db"), dir.path().join("kept"));
    std::fs::create_dir(&place).unwrap();
    let root = || format!("sqlite:{}", place.join("logs.db").display()).parse::<Root>().unwrap();
    try_start(root(), ring()).unwrap().stop().unwrap();
    // Who closes a database last takes its write-ahead log away: nobody has it.
    assert!(!place.join("logs.db-wal").exists());
    copy(&place, &kept);
    let registry = indelible_service::Registry::open(root(), Options::default()).unwrap();
    registry.create_log(LOG, &ring()).unwrap().close().unwrap();
    drop(registry);
    replace(&place, &kept);
    let told = try_start(root(), ring()).err();
    assert!(matches!(told, Some(ServerError::Registry(RegistryError::RolledBack { .. }))), "{told:?}");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(place.with_extension("newer"), &place).unwrap();
    try_start(root(), ring()).unwrap().stop().unwrap();
}
