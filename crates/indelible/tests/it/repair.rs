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

fn repair(world: &World) -> Result<manage::Repaired, indelible::LogError> {
    manage::repair(&options().directory(&world.log_path()), &world.keys, &options())
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

#[test]
fn repair_comes_to_an_end() {
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 6] = [
        ("empty segment behind the end", |log| fs::write(log.join("segments/00000000000000009999.jsonl"), "").unwrap()),
        ("empty segment in between", |log| fs::write(log.join("segments/00000000000000000005.jsonl"), "").unwrap()),
        ("stranger in `tree`", |log| fs::write(log.join("tree/x"), "x").unwrap()),
        ("stranger in `checkpoints`", |log| fs::write(log.join("checkpoints/x"), "x").unwrap()),
        ("`lock` is not empty", |log| fs::write(log.join("lock"), "x").unwrap()),
        ("no `ids`", |log| fs::remove_dir_all(log.join("ids")).unwrap()),
    ];
    for (name, harm) in harms {
        let world = World::with_events(60, 3, small_segments());
        harm(&world.log_path());
        let report = world.verify();
        assert_eq!(report.status, Verdict::Damaged, "{name}: {:#?}", report.findings);
        repair(&world).unwrap();
        let report = strict(&world);
        assert_eq!(report.status, Verdict::Intact, "{name}: {:#?}", report.findings);
    }
}

#[test]
fn what_is_of_the_wrong_type_is_a_finding() {
    let harms: [fn(&Path); 4] = [
        |log| replace_by_folder(&log.join("checkpoint")),
        |log| replace_by_folder(&log.join("checkpoints/00000000000000000002")),
        |log| replace_by_folder(&segments(log)[1]),
        |log| fs::write(log.join("checkpoint"), vec![b'x'; 2 << 20]).unwrap(),
    ];
    for harm in harms {
        let world = World::with_events(60, 3, small_segments());
        harm(&world.log_path());
        for report in [world.verify(), world.verify_public()] {
            assert_eq!(report.status, Verdict::Tampered, "{:#?}", report.findings);
        }
    }
}

fn replace_by_folder(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

#[test]
fn hostile_lengths_cost_little() {
    let world = World::with_events(60, 3, options());
    let last = segments(&world.log_path()).pop().unwrap();
    let file = fs::OpenOptions::new().append(true).open(&last).unwrap();
    std::io::Write::write_all(&mut &file, &vec![b'\n'; 2 << 20]).unwrap();
    let report = world.verify();
    assert!(report.findings.len() <= 1, "{:#?}", report.findings);
    let closed = world.log_path().join("segments/00000000000000000061.jsonl.zst");
    let file = fs::File::create(&closed).unwrap();
    file.set_len(1 << 40).unwrap();
    let footer = [&0xFFFF_FFFF_u32.to_le_bytes()[..], &[0], &0x8F92_EAB1_u32.to_le_bytes()[..]].concat();
    std::os::unix::fs::FileExt::write_all_at(&file, &footer, (1 << 40) - 9).unwrap();
    assert_ne!(world.verify().status, Verdict::Intact);
}
