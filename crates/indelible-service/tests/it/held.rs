//! A registry that says less than it said is told, and not followed.

use std::path::{Path, PathBuf};

use indelible::{KeyRing, LogError, Options};
use indelible_service::{Held, Registry, RegistryError, Root};
use indelible_store_file::Settings;

const REGISTRY: &str = "example.com/registry";

struct World {
    dir: tempfile::TempDir,
    keys: KeyRing,
    root: Root,
}

fn options() -> Options {
    Options { settings: Settings { immutable: false, ..Settings::default() }, ..Options::default() }
}

impl World {
    fn in_files() -> (Self, Registry) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::directory(dir.path().join("root"));
        Self::at(dir, root)
    }

    fn at(dir: tempfile::TempDir, root: Root) -> (Self, Registry) {
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let registry = Registry::create(root.clone(), REGISTRY, &keys, options()).unwrap();
        (Self { dir, keys, root }, registry)
    }

    fn make(&self, registry: &Registry, origin: &str) {
        registry.create_log(origin, &self.keys).unwrap().close().unwrap();
    }

    fn all(&self) -> Result<Held, RegistryError> {
        let registry = Registry::open(self.root.clone(), options())?;
        Ok(registry.follow(&self.keys, &Held::default())?.unwrap())
    }

    fn registry_dir(&self) -> PathBuf {
        self.dir.path().join("root/registry")
    }
}

fn names(held: &Held) -> Vec<&str> {
    held.logs().keys().map(String::as_str).collect()
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
fn what_is_registered_is_followed_as_it_grows() {
    let (world, registry) = World::in_files();
    world.make(&registry, "example.com/one");
    let one = world.all().unwrap();
    assert_eq!(names(&one), ["example.com/one"]);
    assert!(registry.follow(&world.keys, &one).unwrap().is_none(), "nothing is new");
    world.make(&registry, "example.com/two");
    let two = registry.follow(&world.keys, &one).unwrap().unwrap();
    assert_eq!(names(&two), ["example.com/one", "example.com/two"]);
    assert_eq!(two.logs(), &registry.registered().unwrap());
}

#[test]
fn a_registry_that_was_put_back_is_told_and_makes_nothing() {
    let (world, registry) = World::in_files();
    world.make(&registry, "example.com/one");
    let kept = world.dir.path().join("kept");
    copy(&world.registry_dir(), &kept);
    let before = world.all().unwrap();
    world.make(&registry, "example.com/two");
    std::fs::remove_dir_all(world.registry_dir()).unwrap();
    copy(&kept, &world.registry_dir());
    for known in [Held::default(), before] {
        let told = registry.follow(&world.keys, &known).err();
        assert!(matches!(told, Some(RegistryError::RolledBack { .. })), "{told:?}");
    }
    assert!(registry.create_log("example.com/two", &world.keys).is_err(), "its name is used");
    assert!(registry.create_log("example.com/three", &world.keys).is_err());
    // Without its head nothing is known of it.
    let head = world.keys.heads_dir().join(indelible_core::head::file_name(REGISTRY));
    std::fs::remove_file(&head).unwrap();
    let told = registry.follow(&world.keys, &Held::default()).err();
    assert!(matches!(told, Some(RegistryError::Log(LogError::HeadMissing { .. }))), "{told:?}");
}

#[test]
fn an_entry_that_was_changed_is_told() {
    let (world, registry) = World::in_files();
    world.make(&registry, "example.com/one");
    world.make(&registry, "example.com/two");
    let segments = world.registry_dir().join("segments");
    let mut files = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path());
    let has_one = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("example.com/one"));
    let segment = files.find(has_one).unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    // Of the same length, and not the last: only the tree gives it away.
    let forged = text.replacen("example.com/one", "example.com/six", 1);
    assert_ne!(forged, text);
    std::fs::write(&segment, forged).unwrap();
    let told = world.all().err();
    assert!(matches!(told, Some(RegistryError::Contradicts { .. })), "{told:?}");
    // A name that was taken out so is not free for it.
    assert!(registry.create_log("example.com/one", &world.keys).is_err());
    std::fs::write(&segment, text).unwrap();
    assert_eq!(world.all().unwrap().logs().len(), 2);
}

#[cfg(feature = "postgres")]
#[test]
fn rows_that_were_taken_out_of_a_database_are_told() {
    use indelible_test_postgres::{Options as Postgres, TestServer};

    let Some(database) = TestServer::start(Postgres::new()) else { return };
    database.sql("create database audit");
    let url = database.url("postgres", "audit");
    Options::default().databases.postgres(&url).unwrap().migrate(false).unwrap();
    let (world, registry) = World::at(tempfile::tempdir().unwrap(), url.parse().unwrap());
    world.make(&registry, "example.com/one");
    world.make(&registry, "example.com/two");
    assert_eq!(names(&world.all().unwrap()), ["example.com/one", "example.com/two"]);
    let newest = world.all().unwrap().size().0 - 1;
    // As a superuser may: the entry is gone, and the log's row says that it was never there.
    let of = format!("log = (select number from indelible.logs where origin = '{REGISTRY}')");
    let with_guards_off = |sql: &str| {
        let guards = |how: &str| {
            ["entries", "heads"]
                .map(|table| format!("alter table indelible.{table} {how} trigger refuse_change;"))
                .concat()
        };
        let (off, on) = (guards("disable"), guards("enable always"));
        database.sql_in("audit", &format!("begin; {off} {sql}; {on} commit"));
    };
    with_guards_off(&format!("update indelible.heads set size = {newest} where {of}"));
    let told = world.all().err();
    assert!(matches!(told, Some(RegistryError::RolledBack { .. })), "{told:?}");
    with_guards_off(&format!("update indelible.heads set size = {newest} + 1 where {of}"));
    assert_eq!(world.all().unwrap().logs().len(), 2, "as it was, it is followed");
    with_guards_off(&format!("delete from indelible.entries where {of} and idx = {newest}"));
    assert!(world.all().is_err(), "a row is missing");
}
