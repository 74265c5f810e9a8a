//! Many logs under one root, and one that vanishes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indelible::{KeyRing, LogError, Options, manage, verify::Verdict};
use indelible_service::{
    Registry, RegistryError, Root,
    registry::{Listed, State},
};
use indelible_store::{disk::OsDisk, heads::FileHeads};
use indelible_store_file::Settings;

const EVENT: &[u8] = br#"{"action":"a.b","actor":{"id":"m","type":"user"}}"#;

struct World {
    dir: tempfile::TempDir,
    keys: KeyRing,
}

fn options() -> Options {
    Options { settings: Settings { immutable: false, ..Settings::default() }, ..Options::default() }
}

impl World {
    fn new() -> (Self, Registry) {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let world = Self { dir, keys };
        let registry = Registry::create(world.root(), "example.com/registry", &world.keys, options()).unwrap();
        (world, registry)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("logs-root")
    }

    fn root(&self) -> Root {
        Root::directory(self.path())
    }

    /// A registered log with an event in it.
    fn log(&self, registry: &Registry, origin: &str) {
        let log = registry.create_log(origin, &self.keys).unwrap();
        log.append_json(EVENT).unwrap();
        log.close().unwrap();
    }
}

fn states(listed: &[Listed]) -> Vec<(&str, State, Option<u64>)> {
    listed.iter().map(|log| (log.origin.as_str(), log.state, log.size)).collect()
}

fn only(dir: &Path) -> PathBuf {
    std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a03_a_log_that_vanishes_is_noticed() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    world.log(&registry, "example.com/two");
    let there = [("example.com/one", State::Present, Some(2)), ("example.com/two", State::Present, Some(2))];
    assert_eq!(states(&registry.list().unwrap()), there);
    let path = registry.log("example.com/one");
    std::fs::remove_dir_all(path.directory().unwrap()).unwrap();
    let listed = registry.list().unwrap();
    assert_eq!(states(&listed), [("example.com/one", State::Missing, None), there[1]]);
    assert_eq!(listed[0].state.verdict(), Verdict::Tampered);
    assert_eq!(registry.verify_own(&world.keys).unwrap().status, Verdict::Intact);
    // Nor is it made again under the same name.
    assert!(matches!(registry.create_log("example.com/one", &world.keys), Err(RegistryError::Taken { index: 1, .. })));
}

#[test]
fn a03_a_log_that_vanishes_with_its_entry_in_the_registry_is_noticed() {
    let (world, registry) = World::new();
    let kept = world.dir.path().join("kept");
    copy(&world.path().join("registry"), &kept);
    world.log(&registry, "example.com/one");
    std::fs::remove_dir_all(world.path()).unwrap();
    std::fs::create_dir_all(world.path()).unwrap();
    copy(&kept, &world.path().join("registry"));
    assert_eq!(registry.list().unwrap(), []);
    assert_eq!(registry.verify_own(&world.keys).unwrap().status, Verdict::Tampered);
}

fn copy(from: &Path, to: &Path) {
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

#[test]
fn another_log_in_its_place_is_noticed() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    let path = only(&world.path().join("logs"));
    std::fs::remove_dir_all(&path).unwrap();
    let other = KeyRing::load_or_create(&world.dir.path().join("other")).unwrap();
    indelible::Log::create(&path, "example.com/one", &other, options()).unwrap().close().unwrap();
    assert_eq!(states(&registry.list().unwrap()), [("example.com/one", State::Replaced, Some(1))]);
}

#[test]
fn a_log_that_cannot_be_read_hides_no_other() {
    let (world, registry) = World::new();
    for origin in ["example.com/gone", "example.com/harmed", "example.com/whole"] {
        world.log(&registry, origin);
    }
    std::fs::remove_dir_all(registry.log("example.com/gone").directory().unwrap()).unwrap();
    let harmed = registry.log("example.com/harmed").directory().unwrap().join("checkpoint");
    std::fs::remove_file(&harmed).unwrap();
    std::fs::create_dir(&harmed).unwrap();
    let listed = registry.list().unwrap();
    let expect = [
        ("example.com/gone", State::Missing, None),
        ("example.com/harmed", State::Unreadable, None),
        ("example.com/whole", State::Present, Some(2)),
    ];
    assert_eq!(states(&listed), expect);
}

#[test]
fn a_frozen_log_is_not_written_to_any_more() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    let frozen = registry.freeze("example.com/one", &world.keys, "litigation 7").unwrap();
    assert_eq!(frozen.tree_size, 2);
    let driver = registry.log("example.com/one").driver(&options()).unwrap();
    match indelible::Log::open_in(&*driver, &world.keys, options()) {
        Err(LogError::Frozen { reason, .. }) => assert_eq!(reason, "litigation 7"),
        other => panic!("{:?}", other.err()),
    }
    match registry.freeze("example.com/one", &world.keys, "again") {
        Err(RegistryError::Log(LogError::Frozen { .. })) => {}
        other => panic!("{other:?}"),
    }
    let known = registry.find("example.com/one").unwrap();
    assert_eq!(registry.verify_log(&known, &world.keys).unwrap().status, Verdict::Intact);
    // Who goes around the head store is seen by the registry.
    let heads = world.keys.heads_dir();
    std::fs::rename(&heads, world.dir.path().join("heads")).unwrap();
    let head =
        std::fs::read(world.dir.path().join("heads").join(indelible_core::head::file_name("example.com/one"))).unwrap();
    let mut record = indelible_core::head::HeadRecord::parse(&head).unwrap();
    record.frozen = None;
    std::fs::create_dir_all(&heads).unwrap();
    std::fs::write(heads.join(indelible_core::head::file_name("example.com/one")), record.to_bytes()).unwrap();
    let log = indelible::Log::open_in(&*driver, &world.keys, options()).unwrap();
    log.append_json(EVENT).unwrap();
    log.close().unwrap();
    assert_eq!(states(&registry.list().unwrap()), [("example.com/one", State::Grown, Some(3))]);
}

#[test]
fn a_freeze_that_a_crash_kept_from_the_registry_is_recorded_by_the_next() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    let driver = registry.log("example.com/one").driver(&options()).unwrap();
    // The head is frozen, and then the process dies.
    manage::freeze(&*driver, &world.keys, &options(), "case 7").unwrap();
    assert_eq!(registry.find("example.com/one").unwrap().frozen, None);
    let frozen = registry.freeze("example.com/one", &world.keys, "again").unwrap();
    assert_eq!((frozen.tree_size, &*frozen.reason), (2, "case 7"));
    assert_eq!(registry.find("example.com/one").unwrap().frozen, Some(frozen));
    assert_eq!(states(&registry.list().unwrap()), [("example.com/one", State::Present, Some(2))]);
    assert!(matches!(
        registry.freeze("example.com/one", &world.keys, "once more"),
        Err(RegistryError::Log(LogError::Frozen { .. }))
    ));
}

#[test]
fn a_log_from_before_is_registered_as_it_is() {
    let (world, registry) = World::new();
    let place = registry.log("example.com/old");
    let log = indelible::Log::create_in(&*place.driver(&options()).unwrap(), "example.com/old", &world.keys, options());
    let log = log.unwrap();
    log.append_json(EVENT).unwrap();
    log.close().unwrap();
    drop(log);
    assert_eq!(states(&registry.list().unwrap()), [("example.com/old", State::Unregistered, Some(2))]);
    registry.create_log("example.com/old", &world.keys).unwrap().close().unwrap();
    assert_eq!(states(&registry.list().unwrap()), [("example.com/old", State::Present, Some(2))]);
}

#[test]
fn heads_that_are_kept_elsewhere_are_those_that_count() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
    let heads = dir.path().join("elsewhere");
    let elsewhere = Options { heads: Some(Arc::new(FileHeads::new(OsDisk::shared(), &heads))), ..options() };
    let root = Root::directory(dir.path().join("root"));
    let registry = Registry::create(root, "example.com/registry", &keys, elsewhere).unwrap();
    registry.create_log("example.com/one", &keys).unwrap().close().unwrap();
    assert_eq!(registry.verify_own(&keys).unwrap().status, Verdict::Intact);
    registry.freeze("example.com/one", &keys, "case 7").unwrap();
    let known = registry.find("example.com/one").unwrap();
    assert_eq!(registry.verify_log(&known, &keys).unwrap().status, Verdict::Intact);
    assert!(!keys.heads_dir().exists());
}

#[test]
fn keys_that_the_registry_does_not_know_make_nothing() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    let other = KeyRing::load_or_create(&world.dir.path().join("other")).unwrap();
    let told = registry.create_log("example.com/two", &other).err().unwrap().to_string();
    assert!(told.contains(&world.keys.entry_key_id()) && told.contains(&other.entry_key_id()), "{told}");
    assert!(registry.freeze("example.com/one", &other, "case 7").is_err());
    assert!(!registry.log("example.com/two").directory().unwrap().exists());
    assert!(!other.heads_dir().exists());
    // What they could not do, the right ones can.
    world.log(&registry, "example.com/two");
    assert_eq!(registry.list().unwrap().len(), 2);
}

#[test]
fn a_missing_head_of_the_registry_is_told_as_that_though_its_keys_were_rotated() {
    let (world, registry) = World::new();
    world.log(&registry, "example.com/one");
    let now = indelible::clock::Clock::now(&indelible::clock::SystemClock::default());
    let rotated = world.keys.rotate(indelible_keys::Purpose::EntrySigning, now).unwrap().ring;
    std::fs::remove_file(world.keys.heads_dir().join(indelible_core::head::file_name("example.com/registry"))).unwrap();
    let error = registry.create_log("example.com/two", &rotated).err().unwrap();
    assert!(matches!(error, RegistryError::Log(LogError::HeadMissing { .. })), "{error:?}");
}

#[test]
fn another_root_in_the_place_of_one_is_told_by_its_name() {
    let (world, _registry) = World::new();
    let there = || Registry::open_named(world.root(), "example.com/registry", options());
    there().unwrap();
    std::fs::rename(world.path(), world.dir.path().join("aside")).unwrap();
    Registry::create(world.root(), "example.net/registry", &world.keys, options()).unwrap();
    Registry::open(world.root(), options()).unwrap();
    match there() {
        Err(RegistryError::Other { found, wanted, .. }) => {
            assert_eq!((&*found, &*wanted), ("example.net/registry", "example.com/registry"));
        }
        found => panic!("{:?}", found.err()),
    }
}

#[test]
fn names_and_roots_that_cannot_be() {
    let (world, registry) = World::new();
    let other = Root::directory(world.dir.path().join("elsewhere"));
    assert!(matches!(
        Registry::create(other.clone(), "example.com/logs", &world.keys, options()),
        Err(RegistryError::Origin { .. })
    ));
    assert!(matches!(registry.create_log("x/registry", &world.keys), Err(RegistryError::Origin { .. })));
    assert!(matches!(registry.find("nowhere"), Err(RegistryError::Unknown { .. })));
    match Registry::open(other, options()) {
        Err(RegistryError::Log(LogError::Refused(text))) => assert!(text.contains("logs init"), "{text}"),
        found => panic!("{:?}", found.err()),
    }
}
