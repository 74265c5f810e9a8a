//! A log, and a registry, whose making ends at every step there is: the next to make it has it whole, and nothing that was there is lost.

use std::path::PathBuf;

use indelible::{KeyRing, LogError, Options, verify::Verdict};
use indelible_service::{Held, Registry, RegistryError, Root, registry::State};
use indelible_store::{
    fault::{Fault, SimDisk},
    store::StoreError,
};
use indelible_store_file::Settings;

const REGISTRY: &str = "example.com/registry";
const ONE: &str = "example.com/one";
const EVENT: &[u8] = br#"{"action":"a.b","actor":{"id":"m","type":"user"},"id":"e"}"#;

struct World {
    _dir: tempfile::TempDir,
    keys: KeyRing,
    disk: SimDisk,
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        Self { _dir: dir, keys, disk: SimDisk::new(seed) }
    }

    fn options(&self) -> Options {
        let settings = Settings { immutable: false, ..Settings::default() };
        Options { settings, disk: self.disk.shared(), ..Options::default() }
    }

    fn root() -> Root {
        Root::directory(PathBuf::from("/sim/root"))
    }

    fn registry(&self) -> Result<Registry, RegistryError> {
        if Registry::is_missing(&Self::root(), &self.keys, &self.options())? {
            Registry::create(Self::root(), REGISTRY, &self.keys, self.options())
        } else {
            Registry::open(Self::root(), self.options())
        }
    }

    /// Makes what is not there yet, as a server does when it starts.
    fn make(&self) -> Result<Registry, RegistryError> {
        let registry = self.registry()?;
        // What no head covers may be lost yet.
        let held = registry.follow(&self.keys, &Held::default())?.unwrap_or_default();
        if !held.logs().contains_key(ONE) {
            match registry.create_log(ONE, &self.keys) {
                // It was recorded, and a crash came before anybody could see that: it is there.
                Err(RegistryError::Taken { .. }) => {}
                made => made?.close()?,
            }
        }
        Ok(registry)
    }

    /// The log takes an event and lasts, and it and the registry are whole.
    fn check(&self, registry: &Registry, step: &str) {
        let place = registry.log(ONE).driver(&self.options()).unwrap();
        let log =
            indelible::Log::open_in(&*place, &self.keys, self.options()).unwrap_or_else(|e| panic!("{step}: {e:?}"));
        log.append_json(EVENT).unwrap();
        drop(log);
        self.disk.crash_in_place(1);
        let again = indelible::Log::open_in(&*place, &self.keys, self.options());
        again.unwrap_or_else(|e| panic!("{step}: {e:?}")).close().unwrap();
        // What a crash kept from being shown is shown by the next opening.
        let own = registry.place().driver(&self.options()).unwrap();
        indelible::Log::open_in(&*own, &self.keys, self.options()).unwrap().close().unwrap();
        let listed = registry.list().unwrap();
        assert_eq!(listed.len(), 1, "{step}");
        assert_eq!((listed[0].origin.as_str(), listed[0].state), (ONE, State::Present), "{step}");
        let known = listed[0].registered.clone().unwrap();
        for report in [registry.verify_own(&self.keys), registry.verify_log(&known, &self.keys)] {
            let report = report.unwrap();
            assert_eq!(report.status, Verdict::Intact, "{step}: {report:?}");
        }
        let log = indelible::Log::open_in(&*place, &self.keys, self.options()).unwrap();
        assert!(log.find("e").is_ok(), "{step}: the event is there");
    }
}

#[test]
fn what_ends_at_any_step_is_made_whole_by_the_next() {
    for fault in Fault::REPORTED {
        // Only a power loss leaves more than one thing at one step.
        for seed in 0..if fault == Fault::PowerLoss { 2 } else { 1 } {
            let mut steps = 0;
            for at in 0.. {
                let world = World::new(at * 7 + seed);
                world.disk.plan(at, fault.clone());
                let made = world.make().is_ok();
                world.disk.clear_faults();
                if world.disk.operations() <= at {
                    break;
                }
                steps += 1;
                match fault {
                    // What a failed sync leaves cannot be made durable by another: it is looked at as the disk has it.
                    Fault::PowerLoss | Fault::FailedSync => world.disk.crash_in_place(at + seed),
                    _ => world.disk.process_crash(),
                }
                let step = format!("{fault:?} at {at}, seed {seed}, made {made}");
                let registry = world.make().unwrap_or_else(|error| panic!("{step}: {error:?}"));
                world.check(&registry, &step);
            }
            assert!(steps > 50, "{fault:?}: {steps}");
        }
    }
}

#[test]
fn a_log_whose_head_is_missing_is_not_made_again() {
    let world = World::new(1);
    let registry = world.make().unwrap();
    let two = "example.com/two";
    let place = registry.log(two).driver(&world.options()).unwrap();
    indelible::Log::create_in(&*place, two, &world.keys, world.options()).unwrap().close().unwrap();
    let heads = world.options().heads_for(&world.keys).place(two);
    world.disk.erase(&heads).unwrap();
    let of_two = |world: &World| {
        let mut files = world.disk.snapshot();
        files.retain(|path, _| path.to_string_lossy().contains("root/logs"));
        files
    };
    let before = of_two(&world);
    let refused = registry.create_log(two, &world.keys);
    assert!(matches!(refused.err(), Some(RegistryError::Log(LogError::HeadMissing { .. }))));
    let refused = indelible::Log::create_in(&*place, two, &world.keys, world.options());
    assert!(matches!(refused.err(), Some(LogError::Store(StoreError::Exists { .. }))));
    assert_eq!(of_two(&world), before, "nothing was changed");
}

#[test]
fn what_is_somebody_elses_is_left_as_it_is() {
    for (name, bytes) in [("notes.txt", "mine"), ("segments/notes.txt", "mine"), ("offsets", "mine"), ("lock", "mine")]
    {
        let world = World::new(1);
        let registry = world.make().unwrap();
        let place = registry.log("example.com/two");
        let file = place.directory().unwrap().join(name);
        world.disk.put(&file, bytes).unwrap();
        let refused = registry.create_log("example.com/two", &world.keys).err();
        assert!(refused.is_some(), "{name}");
        let key = file.strip_prefix("/").unwrap();
        assert_eq!(world.disk.snapshot().get(key).map(Vec::as_slice), Some(bytes.as_bytes()), "{name}");
    }
}

#[test]
fn the_making_of_one_is_not_taken_for_that_of_another() {
    let world = World::new(1);
    // The registry's place is the same whatever its name is.
    let place = World::root().new_registry(REGISTRY).driver(&world.options()).unwrap();
    let info = indelible_store::store::LogInfo {
        origin: "example.net/registry".to_owned(),
        log_id: indelible_core::mac::LogId([7; 16]),
        format: indelible_core::FORMAT_VERSION,
    };
    drop(place.create(&info).unwrap());
    let told = Registry::create(World::root(), REGISTRY, &world.keys, world.options()).err().unwrap().to_string();
    assert!(told.contains("example.net/registry") && told.contains(REGISTRY), "{told}");
    let registry = Registry::create(World::root(), "example.net/registry", &world.keys, world.options()).unwrap();
    assert_eq!(registry.verify_own(&world.keys).unwrap().status, Verdict::Intact);
}
