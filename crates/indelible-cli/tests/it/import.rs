//! Foreign records, made up and real.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::world::World;

/// The folder of real data, where there is one.
pub(crate) fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("INDELIBLE_SHARED").map_or(beside, PathBuf::from);
    if shared.join("data").is_dir() {
        return Some(shared);
    }
    eprintln!("SKIPPED (aloud): no real data at `{}`; set INDELIBLE_SHARED", shared.display());
    None
}

#[track_caller]
fn imports(args: &[&str], file: &str, records: u64) {
    let Some(shared) = shared() else { return };
    let world = World::new();
    let file = shared.join("data").join(file).display().to_string();
    let args = [&["import", "--json", "--rejects", "rejects"], args, &[&file]].concat();
    let first = world.run(&args).ok().json();
    assert_eq!((&first["records"], &first["rejected"]), (&records.into(), &0.into()), "{first}");
    let recorded = first["recorded"].as_u64().unwrap();
    assert_eq!(recorded + first["duplicates"].as_u64().unwrap(), records, "{first}");
    assert_eq!(world.entries(), recorded + 1);
    let report = world.run(&["verify", "--strict", "--json"]).ok().json();
    assert_eq!(report["entries_verified"], recorded + 1);
    let second = world.run(&args).ok().json();
    assert_eq!((&second["recorded"], &second["duplicates"]), (&0.into(), &records.into()), "{second}");
    assert_eq!(world.entries(), recorded + 1);
    world.run(&["verify"]).ok();
    assert_eq!(fs::read(world.at("rejects")).unwrap(), b"");
}

#[test]
fn real_cloudtrail_records_are_imported_whole_and_once() {
    imports(&["--format", "cloudtrail"], "cloudtrail-invictus-stratus/events.jsonl.gz", 2900);
}

#[test]
fn a_real_kubernetes_trail_is_imported_whole_and_once() {
    imports(&["--format", "csv", "--map", "k8s-perfspec"], "k8s-perfspec-audit/audit-logs.csv.gz", 16_564);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_and_zstandard_are_told_by_their_bytes() {
    let world = World::new();
    let text = world.samples(40);
    let packed = [world.write("a", gzip(&text)), world.write("b", zstd::encode_all(text.as_bytes(), 1).unwrap())];
    let summary = world.run(&["import", "--json", "--format", "jsonl", &packed[0], &packed[1]]).ok().json();
    assert_eq!((&summary["recorded"], &summary["duplicates"]), (&40.into(), &40.into()), "{summary}");
}

#[test]
fn a_file_that_breaks_off_is_told_and_what_stood_before_is_recorded() {
    let world = World::new();
    let mut packed = gzip(&world.samples(2000));
    packed.truncate(packed.len() / 2);
    let file = world.write("cut.gz", packed);
    let good = world.write("good", world.samples(3));
    let done = world.run(&["import", "--json", "--format", "jsonl", &file, &good]).code(1);
    assert!(done.err.contains("cut.gz") && done.err.contains("cannot be read beyond"), "{}", done.err);
    let summary = done.json();
    assert_eq!(summary["incomplete"], 1);
    assert!(summary["recorded"].as_u64().unwrap() > 100, "{summary}");
    world.run(&["verify"]).ok();
}

#[test]
fn bad_records_are_told_by_file_and_line_and_kept() {
    let world = World::new();
    let bad = r#"{"action":"a.b","actor":{"type":"user","id":"x"},"outcom":"success"}"#;
    let text = format!("{}{bad}\nnot json\n", world.samples(2));
    let file = world.write("mixed.jsonl", text);
    let done = world.run(&["import", "--format", "jsonl", "--rejects", "rejects", &file]).code(3);
    assert!(done.err.contains("mixed.jsonl: line 3: ") && done.err.contains("did you mean `outcome`?"), "{}", done.err);
    assert!(done.err.contains("mixed.jsonl: line 4: "), "{}", done.err);
    assert!(done.err.contains("4 records: 2 recorded, 0 duplicates"), "{}", done.err);
    assert_eq!(fs::read_to_string(world.at("rejects")).unwrap().lines().count(), 2);
}

#[test]
fn mappings_are_asked_for_before_the_log_is_touched() {
    let world = World::new();
    let file = world.write("rows.csv", "a,b\n");
    world.run(&["import", "--format", "csv", &file]).refused(2, &["csv", "mapping"]);
    world.run(&["import", "--format", "csv", "--map", "nowhere", &file]).refused(1, &["nowhere", "k8s-perfspec"]);
    world.run(&["import", "--format", "cvs", &file]).code(2);
    let map = world.write("map.json", r#"{"format":"csv","event":{"action":"x.{a}","actor.id":"{c}"}}"#);
    let done = world.run(&["import", "--format", "csv", "--map", &map, &file]).code(1);
    assert!(done.err.contains("no column `c`"), "{}", done.err);
}

#[test]
fn one_record_is_told_as_one() {
    let world = World::new();
    let one = world.write("one", crate::world::event("a"));
    let import = || world.run(&["import", "--format", "jsonl", &one]).ok().err;
    let first = import();
    assert!(first.contains("1 record: 1 recorded, 0 duplicates of what was"), "{first}");
    let second = import();
    assert!(second.contains("1 record: 0 recorded, 1 duplicate of what was"), "{second}");
}
