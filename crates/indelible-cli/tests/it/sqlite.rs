//! Logs in SQLite files, by their names.

use std::path::PathBuf;

use crate::world::World;

/// A world whose log is a place in a file of the same directory.
fn world(scheme: &str, origin: &str) -> World {
    let mut world = World::empty();
    world.log = PathBuf::from(format!("{scheme}:{}{origin}", world.path("audit.db")));
    world
}

#[test]
fn a_log_in_a_file_is_used_as_one_in_a_directory() {
    let world = world("sqlite", "");
    world.run(&["verify"]).refused(1, &["no such file", "indelible init"]);
    world.init(&[]).ok();
    world.feed(&["append"], world.samples(30)).ok();
    let report = world.run(&["verify", "--strict", "--json"]).ok().json();
    assert_eq!((&report["status"], &report["tree_size"]), (&"intact".into(), &31.into()));
    world.run(&["show", "7"]).ok();
    world.run(&["log", "repair"]).ok();
    world.init(&[]).refused(1, &["exists already"]);
}

#[test]
fn where_a_file_holds_several_logs_one_is_named() {
    let mut world = world("sqlite", "");
    world.init(&[]).ok();
    let second = format!("sqlite:{}", world.path("audit.db"));
    world.run(&["init", &second, "--origin", "test.example/second"]).ok();
    world.run(&["verify"]).refused(1, &["2 logs", "`#`", "test.example/audit, test.example/second"]);
    world.log = PathBuf::from(format!("{second}#test.example/second"));
    world.feed(&["append"], world.samples(3)).ok();
    world.run(&["verify"]).ok();
    world.log = PathBuf::from(format!("{second}#test.example/third"));
    world.run(&["verify"]).refused(1, &["no log `test.example/third`"]);
}

#[test]
fn a_log_that_was_deleted_is_told_by_the_head_store() {
    let mut world = world("sqlite", "");
    let file = format!("sqlite:{}", world.path("audit.db"));
    world.init(&[]).ok();
    world.feed(&["append"], world.samples(3)).ok();
    let key = world.public_key();
    world.run(&["verify", "--public-key", &key]).ok();
    for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
        drop(std::fs::remove_file(world.at(name)));
    }
    world.run(&["init", &file, "--origin", "test.example/other"]).ok();
    world.log = PathBuf::from(format!("{file}#test.example/audit"));
    let words = ["knows `test.example/audit` with 4 entries", "was deleted"];
    world.run(&["verify"]).refused(10, &words);
    world.run(&["verify", "--public-key", &key]).refused(10, &words);
    world.log = PathBuf::from(format!("{file}#test.example/never"));
    world.run(&["verify"]).refused(1, &["no log `test.example/never`"]);
}

#[cfg(not(feature = "sqlcipher"))]
#[test]
fn encryption_that_was_not_built_in_is_said() {
    let mut world = world("sqlite", "");
    world.init(&[]).ok();
    world.log = PathBuf::from(format!("sqlcipher:{}", world.path("audit.db")));
    world.run(&["verify"]).refused(1, &["built without SQLCipher"]);
}

#[cfg(feature = "sqlcipher")]
#[test]
fn the_key_of_an_encrypted_file_is_beside_the_other_keys() {
    let mut world = world("sqlcipher", "");
    world.init(&[]).refused(1, &["its key is not known", "INDELIBLE_SQLCIPHER_KEY", "sqlcipher.key"]);
    std::fs::create_dir_all(&world.keys).unwrap();
    world.write("keys/sqlcipher.key", "5a".repeat(32));
    world.init(&[]).ok();
    world.feed(&["append"], world.samples(5)).ok();
    world.run(&["verify", "--strict"]).ok();
    world.write("keys/sqlcipher.key", "5b".repeat(32));
    world.run(&["verify"]).refused(1, &["the key is wrong"]);
    world.log = PathBuf::from(format!("sqlite:{}", world.path("audit.db")));
    world.run(&["verify"]).refused(1, &["it is encrypted"]);
}

#[cfg(feature = "sqlcipher")]
#[test]
fn many_logs_in_an_encrypted_file_have_a_registry() {
    let world = World::empty();
    let root = format!("sqlcipher:{}", world.path("audit.db"));
    let logs = |more: &[&str]| world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/registry"]).refused(1, &["its key is not known"]);
    std::fs::create_dir_all(&world.keys).unwrap();
    world.write("keys/sqlcipher.key", "5a".repeat(32));
    logs(&["init", "--origin", "test.example/registry"]).ok();
    logs(&["create", "test.example/a"]).ok();
    let log = format!("{root}#test.example/a");
    world.feed(&["append", "--log", &log], world.samples(5)).ok();
    assert_eq!(logs(&["list", "--json"]).ok().json()[0]["entries"], 6);
    logs(&["info", "test.example/a"]).ok();
    logs(&["verify"]).ok();
    logs(&["freeze", "test.example/a", "--reason", "case 7"]).ok();
}

#[test]
fn a_log_goes_into_a_file_and_back_byte_for_byte_and_goes_on_where_it_broke_off() {
    // Several batches in what is copied at a time.
    let world = World::with_samples(700);
    for _ in 0..20 {
        world.feed(&["append"], world.samples(1)).ok();
    }
    let (from, file, back) = (world.path("log"), format!("sqlite:{}", world.path("a.db")), world.path("back"));
    let first = world.run(&["copy", "--from", &from, "--to", &file]).ok();
    assert!(first.out.contains("the copy is intact"), "{}", first.out);
    assert!(world.run(&["copy", "--from", &from, "--to", &file]).ok().out.contains("copied      0 of"));
    world.feed(&["append"], world.samples(5)).code(0);
    world.run(&["copy", "--from", &from, "--to", &file]).ok();
    world.run(&["copy", "--from", &file, "--to", &back]).ok();
    let lines = |dir: &str| -> Vec<u8> {
        crate::world::files(&world.at(dir).join("segments"))
            .iter()
            .flat_map(|path| std::fs::read(path).unwrap())
            .collect()
    };
    assert!(lines("log") == lines("back"), "byte for byte");
    world.run(&["verify", "--strict", "--log", &back]).ok();
    world
        .run(&["copy", "--from", &from, "--to", &format!("{file}#test.example/other")])
        .refused(2, &["a copy keeps its name"]);
    world.run(&["init", &format!("{file}#a.b/c"), "--origin", "a.b/d"]).refused(2, &["two names"]);
}
