//! What stands in the way, each with a message of its own; nothing is changed by any of it.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
};

use crate::world::{Done, World, event, feed, files};

#[test]
fn init_never_overwrites() {
    let world = World::with_samples(3);
    let ring = fs::read(world.keys.join("ring.json")).unwrap();
    world.init(&[]).refused(1, &["exists already", "nothing was changed"]);
    let file = world.write("file", "precious");
    world.run(&["init", &file, "--origin", "a/b"]).refused(1, &["exists already"]);
    fs::create_dir(world.at("empty")).unwrap();
    world.run(&["init", &world.path("empty"), "--origin", "a/b"]).refused(1, &["exists already"]);
    world.run(&["init", "other", "--origin", "test.example/audit"]).refused(1, &["already", "unique", "succeed"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(fs::read(world.keys.join("ring.json")).unwrap(), ring);
    assert!(!world.at("other").exists());
    world.run(&["verify"]).ok();
}

#[test]
fn a_bad_origin_is_refused_before_keys_are_made() {
    let world = World::empty();
    world.run(&["init", "log", "--origin", "two words"]).refused(1, &["`two words` is no origin", "example.com/audit"]);
    assert!(!world.keys.exists() && !world.log.exists());
}

#[test]
fn a25_keys_beside_the_log_are_refused_by_default() {
    let mut world = World::empty();
    for keys in [world.log.join("keys"), world.log.clone(), world.at(".")] {
        world.keys = keys;
        world.init(&[]).refused(1, &["in one place", "outside"]);
        assert!(!world.log.exists());
    }
    assert!(!world.at("ring.json").exists());
}

#[test]
fn what_is_no_log_is_told_apart() {
    let mut world = World::new();
    let rows = [
        ("nothing", "there is nothing at that path"),
        ("folder", "no `log.json`"),
        ("file", "a file, not a directory"),
    ];
    fs::create_dir(world.at("folder")).unwrap();
    world.write("file", "x");
    for (name, words) in rows {
        world.log = world.at(name);
        for command in ["verify", "tail", "append", "checkpoint", "export"] {
            world.run(&[command]).refused(1, &["is no log", words]);
        }
    }
    assert_eq!(files(&world.at("folder")).len(), 0);
}

#[test]
fn a_log_of_a_newer_format_is_left_alone() {
    let world = World::with_samples(2);
    let marker = world.log.join("log.json");
    let text = fs::read_to_string(&marker).unwrap().replace("\"format\":1", "\"format\":7");
    crate::world::overwrite(&marker, text.as_bytes());
    for command in ["verify", "tail", "append", "prove 1", "log info", "log repair"] {
        let args: Vec<&str> = command.split(' ').collect();
        world.run(&args).refused(1, &["format 7", "up to format 1", "newer program"]);
    }
}

#[test]
fn keys_that_are_missing_wrong_exposed_or_damaged_are_told_apart_and_say_nothing_of_the_log() {
    let mut world = World::with_samples(3);
    let right = world.keys.clone();
    let ring = right.join("ring.json");

    world.keys = world.at("nowhere");
    world.run(&["verify"]).refused(1, &["no key ring", "nowhere", "INDELIBLE_KEYS", "--public-key"]);
    world.run(&["append"]).refused(1, &["no key ring"]);

    world.keys = world.at("others");
    world.run(&["init", &world.path("other"), "--origin", "other.example/audit"]).ok();
    for command in ["verify", "append", "checkpoint", "keys derive"] {
        let args: Vec<&str> = command.split(' ').collect();
        world.run(&args).refused(1, &["keys of another log"]);
    }

    world.keys = right;
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["verify"]).refused(1, &["read by others", "chmod 600"]);
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&ring).unwrap();
    fs::write(&ring, "{}").unwrap();
    world.run(&["verify"]).refused(1, &["key ring", "cannot be read", "restore"]);
    fs::write(&ring, text).unwrap();
    world.run(&["verify"]).ok();
}

#[test]
fn a39_a_missing_head_record_stops_the_writer_and_the_verifier() {
    let world = World::with_samples(3);
    let head = files(&world.keys.join("heads"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e != "lock"))
        .unwrap();
    fs::remove_file(&head).unwrap();
    world.feed(&["append"], event("x")).refused(1, &["no record of `test.example/audit`", "succeed"]);
    world.run(&["verify"]).refused(1, &["no record of `test.example/audit`", "rolled-back"]);
    assert_eq!(world.entries(), 4);
}

/// Runs as a user who is not root, because root may write anywhere.
fn unprivileged(world: &World, args: &[&str]) -> Command {
    let mut command = world.command(args);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return command;
    }
    let binary = world.at("indelible");
    fs::copy(env!("CARGO_BIN_EXE_indelible"), &binary).unwrap();
    command = world.place(Command::new(binary), args);
    command.uid(65_534).gid(65_534);
    command
}

#[test]
fn a_read_only_directory_is_told() {
    let world = World::empty();
    let closed = world.at("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(world.at("."), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let log = closed.join("log").display().to_string();
    let done = feed(unprivileged(&world, &["init", &log, "--origin", "a/b"]), b"");
    done.refused(1, &["cannot", "closed", "Permission denied"]);
    assert_eq!(files(&closed).len(), 0);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a32_an_event_that_could_not_be_written_is_an_error_and_never_silence() {
    let world = World::new();
    // A file size limit stands for the full disk: the write fails in mid-batch with an error.
    let script = format!("trap '' XFSZ; ulimit -f 600; exec {} \"$@\"", env!("CARGO_BIN_EXE_indelible"));
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, "sh"]);
    let input = world.samples(3000);
    let done = feed(world.place(shell, &["append", "--rejects", "rejects"]), input.as_bytes()).code(1);
    let acknowledged = done.json_lines();
    let first_without = acknowledged.len() + 1;
    assert!(acknowledged.len() < 3000, "the limit was not reached");
    assert!(
        done.err.contains(&format!("error: line {first_without} has no receipt, nor has any line behind it")),
        "{}",
        done.err
    );
    assert!(done.err.contains("File too large"), "{}", done.err);
    assert!(!fs::read(world.at("rejects")).unwrap().is_empty());

    // With room again, what was acknowledged is there, and sending everything once more adds what was not.
    let again = world.feed(&["append"], &input).ok().json_lines();
    assert_eq!(again.len(), 3000);
    for (before, after) in acknowledged.iter().zip(&again) {
        assert_eq!(before["leaf_hash"], after["leaf_hash"]);
        assert_eq!(after["duplicate"], true);
    }
    world.run(&["verify"]).ok();
}

#[test]
fn a32_receipts_that_nobody_reads_are_an_error() {
    let world = World::new();
    let script = format!(
        "{} append --log \"$0\" --keys \"$1\" | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_indelible")
    );
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).arg(&world.log).arg(&world.keys);
    let done: Done = feed(shell, world.samples(5000).as_bytes());
    done.refused(1, &["receipts", "are recorded"]);
    world.run(&["verify"]).ok();
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let world = World::with_samples(2000);
    for command in ["export", "tail -n 2000 --json", "samples --count 100000", "verify --json"] {
        let script = format!(
            "{} {command} --log \"$0\" --keys \"$1\" | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_indelible")
        );
        let done = feed(
            {
                let mut shell = Command::new("bash");
                shell.args(["-c", &script]).arg(&world.log).arg(&world.keys);
                shell
            },
            b"",
        );
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{command}");
    }
}

#[test]
fn an_input_that_is_not_there_is_told_before_the_log_is_opened() {
    let world = World::new();
    world.run(&["append", "nowhere.jsonl"]).refused(1, &["cannot read `nowhere.jsonl`", "No such file"]);
    world.run(&["append", "."]).refused(1, &["directory"]);
    world.run(&["show", "99"]).refused(1, &["no entry 99", "1 entries"]);
    world.run(&["show", "nobody"]).refused(1, &["no entry has the id `nobody`"]);
    world.run(&["verify", "--checkpoint", "nowhere"]).refused(1, &["nowhere"]);
    world.run(&["verify", "--public-key", "nonsense"]).refused(1, &["malformed key"]);
}
