//! Repair: what it mends, what it leaves alone, and that it comes to an end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indelible::{
    manage,
    verify::{Report, Verdict},
};

use crate::world::{World, options, small_segments};

fn segments(log: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(log.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn first_of(segment: &Path) -> u64 {
    segment.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

fn strict(world: &World) -> Report {
    world.try_verify(&world.log_path(), |request| request.strict = true).unwrap()
}

/// A log of several segments one of which is gone, which is on record.
fn with_explained_gap() -> World {
    let world = World::with_events(120, 6, small_segments());
    let paths = segments(&world.log_path());
    let (first, next) = (first_of(&paths[1]), first_of(&paths[2]));
    fs::remove_file(&paths[1]).unwrap();
    let log = world.open();
    manage::explain(&log, first, next - 1, "the disk of March").unwrap();
    log.close().unwrap();
    world
}

fn repair(world: &World) -> Result<Vec<String>, indelible::LogError> {
    manage::repair(&world.log_path(), &world.keys, &options())
}

#[test]
fn repair_keeps_the_hashes_of_absent_bodies() {
    for name in ["durable", "tree/1", "log.json", "lock"] {
        let world = with_explained_gap();
        let before = fs::read(world.log_path().join("tree/0")).unwrap();
        drop(fs::remove_file(world.log_path().join(name)));
        repair(&world).unwrap();
        assert_eq!(fs::read(world.log_path().join("tree/0")).unwrap(), before, "{name}");
        let report = strict(&world);
        assert_eq!(report.status, Verdict::Intact, "{name}: {:#?}", report.findings);
        assert!(report.remarks.iter().any(|remark| remark.kind == "explained"), "{name}");
    }
}

#[test]
fn repair_refuses_and_changes_nothing_where_offsets_of_absent_bodies_are_lost() {
    let world = with_explained_gap();
    fs::remove_file(world.log_path().join("offsets")).unwrap();
    let before = fs::read(world.log_path().join("tree/0")).unwrap();
    repair(&world).unwrap_err();
    assert_eq!(fs::read(world.log_path().join("tree/0")).unwrap(), before);
    assert!(!world.log_path().join("tree/0.tmp").exists());
    assert_eq!(world.verify().status, Verdict::Damaged);
}
