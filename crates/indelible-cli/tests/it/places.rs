//! Logs in other places: copied, listed, frozen, missed.

use crate::world::World;

#[test]
fn a_log_is_copied_and_goes_on_in_its_new_place() {
    let world = World::with_samples(300);
    let (from, to) = (world.path("log"), world.path("copy"));
    let copied = world.run(&["copy", "--from", &from, "--to", &to, "--json"]).ok().json();
    assert_eq!((copied["entries"].as_u64(), copied["status"].as_str()), (Some(301), Some("intact")));
    let again = world.run(&["copy", "--from", &from, "--to", &to]).ok();
    assert!(again.out.contains("0 of 301 entries (301 were there)"), "{}", again.out);
    world.run(&["verify", "--strict", "--log", &to]).ok();
    let there = std::fs::read(world.at("copy/checkpoint")).unwrap();
    assert_eq!(there, std::fs::read(world.at("log/checkpoint")).unwrap());
    let other = World::with_samples(3);
    world.run(&["copy", "--from", &from, "--to", &other.path("log")]).refused(1, &["holds another log"]);
    world.run(&["copy", "--from", &from, "--to", &world.path("keys/x")]).refused(1, &["keys"]);
}

#[test]
fn places_that_are_none() {
    let world = World::new();
    world.run(&["verify", "--log", "mysql://x"]).refused(2, &["`mysql:` is no kind of store", "sqlite:FILE"]);
    world.run(&["copy", "--from", "sqlite:a#b c", "--to", "x"]).refused(2, &["is no origin"]);
    world.run(&["logs", "list"]).refused(2, &["--root", "INDELIBLE_ROOT"]);
    world.run(&["logs", "list", "--root", &world.path("log")]).refused(1, &["no registry", "logs init"]);
}

#[test]
fn no_password_of_a_place_is_ever_shown() {
    let world = World::new();
    for place in [
        "postgres://u:S3cret@h/db#x y",
        "postgres://u:S3#cret@h/db",
        "pgsql://u:S3cret@h/db",
        "POSTGRES://u:S3cret@127.0.0.1:1/db?connect_timeout=1x",
        "postgres ://u:S3cret@h/db",
        "host=h password=S3cret",
    ] {
        let done = world.run(&["verify", "--log", place]);
        assert!(done.code != 0 && !done.err.contains("S3") && !done.err.contains("cret@"), "{place}: {}", done.err);
    }
}

#[test]
fn a_log_that_cannot_be_read_ends_no_verification_of_the_others() {
    let world = World::empty();
    let root = world.path("root");
    let logs = |more: &[&str]| world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/registry"]).ok();
    for origin in ["test.example/a", "test.example/b", "test.example/c"] {
        logs(&["create", origin, "--no-immutable"]).ok();
    }
    let dir = |origin: &str| world.at("root/logs").join(origin.replace('/', "%2F"));
    std::fs::remove_dir_all(dir("test.example/a")).unwrap();
    std::fs::create_dir(dir("test.example/a")).unwrap();
    let listed = logs(&["list", "--json"]).code(10).json();
    assert_eq!(listed[0]["state"].as_str(), Some("missing"));
    std::fs::remove_file(world.at("keys/heads").join("test.example%2Fb")).unwrap();
    let verified = logs(&["verify", "--json"]).code(10).json();
    assert_eq!(verified.as_array().unwrap().len(), 4, "{verified}");
    assert_eq!(verified[2]["status"].as_str(), Some("unverifiable"), "{verified}");
    assert_eq!(verified[3]["status"].as_str(), Some("intact"), "{verified}");
}

#[test]
fn the_exit_code_over_many_logs_is_that_of_the_heaviest_verdict() {
    let world = World::empty();
    let root = world.path("root");
    let logs = |more: &[&str]| world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/registry"]).ok();
    for origin in ["test.example/a", "test.example/b"] {
        logs(&["create", origin, "--no-immutable"]).ok();
    }
    let dir = |origin: &str| world.at("root/logs").join(origin.replace('/', "%2F"));
    // The first cannot be verified, which weighs less than that the second is gone.
    std::fs::remove_file(dir("test.example/a").join("checkpoint")).unwrap();
    std::fs::create_dir(dir("test.example/a").join("checkpoint")).unwrap();
    std::fs::remove_file(world.at("keys/heads").join("test.example%2Fa")).unwrap();
    logs(&["list"]).code(13);
    logs(&["verify"]).code(13);
    std::fs::remove_dir_all(dir("test.example/b")).unwrap();
    logs(&["list"]).code(10);
    logs(&["verify"]).code(10);
    logs(&["info", "test.example/a"]).code(13);
}

#[test]
fn a03_a_registered_log_that_vanishes_is_told() {
    let world = World::empty();
    let root = world.path("root");
    let logs = |more: &[&str]| world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/logs"]).refused(1, &["ends in `/registry`"]);
    logs(&["init", "--origin", "test.example/registry"]).ok();
    logs(&["create", "test.example/a", "--no-immutable"]).ok();
    logs(&["create", "test.example/b", "--no-immutable"]).ok();
    logs(&["create", "test.example/a"]).refused(1, &["registered already"]);
    let place = logs(&["info", "test.example/a"]).ok().out;
    let place = place.lines().find_map(|line| line.strip_prefix("place")).unwrap().trim().to_owned();
    world.feed(&["append", "--log", &place], world.samples(5)).ok();
    let listed = logs(&["list", "--json"]).ok().json();
    assert_eq!((listed[0]["entries"].as_u64(), listed[0]["state"].as_str()), (Some(6), Some("present")));
    logs(&["verify"]).ok();
    logs(&["freeze", "test.example/a", "--reason", "case 7"]).ok();
    world.feed(&["append", "--log", &place], world.samples(5)).refused(1, &["was frozen (case 7)", "log succeed"]);
    assert!(logs(&["list"]).ok().out.contains("frozen: case 7"));
    std::fs::remove_dir_all(&place).unwrap();
    assert!(logs(&["list"]).code(10).out.contains("missing"));
    let told = logs(&["verify"]).code(10).out;
    assert!(told.contains("missing: the head store knows `test.example/a` with 6 entries"), "{told}");
    logs(&["info", "test.example/none"]).refused(1, &["no log `test.example/none` is registered"]);
}

#[test]
fn another_root_in_the_place_of_one_is_told() {
    let world = World::empty();
    let root = world.path("root");
    let logs = |more: &[&str]| world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/registry"]).ok();
    logs(&["list", "--registry", "test.example/registry"]).ok();
    std::fs::rename(world.at("root"), world.at("aside")).unwrap();
    logs(&["init", "--origin", "other.example/registry"]).ok();
    logs(&["list"]).ok();
    let told = ["holds the registry `other.example/registry`", "the head store knows `test.example/registry`"];
    logs(&["list", "--registry", "test.example/registry"]).refused(10, &told);
    logs(&["verify", "--registry", "nowhere.example/registry"]).refused(1, &["not `nowhere.example/registry`"]);
}

#[test]
fn making_a_log_under_a_root_makes_no_keys() {
    let world = World::empty();
    let root = world.path("root");
    world.run(&["logs", "--root", &root, "init", "--origin", "test.example/registry"]).ok();
    std::fs::rename(world.at("keys"), world.at("aside")).unwrap();
    world.run(&["logs", "--root", &root, "create", "test.example/a"]).code(1);
    assert!(!world.at("keys").exists() && !world.at("root/logs").exists());
}

#[test]
fn what_cannot_be_pruned_says_so_and_records_nothing() {
    let world = World::with_samples(20);
    let log = world.path("log");
    let words = ["nothing was pruned", "only a log in PostgreSQL can be pruned"];
    world.run(&["log", "prune", "1..5", "--reason", "x", "--log", &log]).refused(1, &words);
    world.run(&["log", "prune", "1..5", "--reason", "x", "--record-only", "--log", &log]).refused(1, &words);
    world.run(&["log", "prune", "--record", "7", "--log", &log]).refused(1, &["entry 7 does not say"]);
    world.run(&["log", "prune", "1..5", "--log", &log]).code(2);
    world.run(&["log", "prune", "--log", &log]).code(2);
    let entries = world.run(&["log", "info", "--json", "--log", &log]).ok().json()["entries"].as_u64();
    assert_eq!(entries, Some(21));
}
