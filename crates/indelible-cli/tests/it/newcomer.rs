//! What a newcomer types, and what the program says to it.

use std::fs;

use crate::world::{World, copy, event, overwrite};

#[test]
fn a_log_behind_a_command_is_told_how_logs_are_named() {
    let world = World::new();
    for command in [&["verify", "my.log"][..], &["tail", "my.log"], &["log", "info", "my.log"]] {
        let done = world.run(command).code(2);
        assert!(done.err.contains("--log my.log") && done.err.contains("INDELIBLE_LOG"), "{}", done.err);
    }
    assert!(!world.run(&["verify", "--no-such"]).code(2).err.contains("INDELIBLE_LOG"));
}

#[test]
fn a_file_that_is_no_bundle_is_called_what_it_is() {
    let world = World::with_samples(3);
    let key = world.public_key();
    let bundle = world.run(&["prove", "2"]).ok().out;
    let tlog: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    let rows = [
        (fs::read_to_string(world.segment()).unwrap(), "a segment of a log"),
        (world.feed(&["append"], event("x")).ok().out, "receipts"),
        (world.run(&["checkpoint"]).ok().out, "a checkpoint"),
        (world.run(&["export"]).ok().out, "an export"),
        (tlog["proof"].as_str().unwrap().to_owned(), "tlog-proof"),
        (key.clone() + "\n", "a public key"),
        (String::new(), "empty"),
        ("{\"id\":1}\n".to_owned(), "proof bundle"),
    ];
    for (content, what) in rows {
        let file = world.write("some-file", content);
        world.run(&["check-proof", &file, "--public-key", &key]).refused(1, &["proof bundle", what]);
    }
    let other = World::empty();
    let log = other.log.display().to_string();
    other.run(&["init", &log, "--origin", "test.example/other", "--no-immutable"]).ok();
    let file = world.write("bundle", bundle);
    let words = ["wrong key", "the bundle is of log `test.example/audit`", "`test.example/other`"];
    world.run(&["check-proof", &file, "--public-key", &other.public_key()]).refused(1, &words);
    world.run(&["check-proof", &file, "--public-key", &key]).ok();
}

#[test]
fn an_input_without_events_is_said_to_have_none() {
    let world = World::new();
    for input in ["", "\n \n"] {
        let done = world.feed(&["append"], input).ok();
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", "the input has no events: 0 recorded\n"));
    }
    assert_eq!(world.feed(&["append"], event("one")).ok().err, "");
    let done = world.feed(&["append"], "no\n").code(3);
    assert!(done.err.ends_with("1 of 1 line rejected, 0 recorded\n"), "{}", done.err);
}

#[test]
fn an_export_that_ends_before_it_begins_is_refused() {
    let world = World::with_samples(3);
    let done = world.run(&["export", "--from", "3", "--to", "2"]).code(2);
    assert!(done.err.contains("--from 3 is behind --to 2"), "{}", done.err);
    world.run(&["export", "--from", "9", "--to", "2"]).code(2);
    world.run(&["export", "--from", "9"]).refused(1, &["covers 4 entries, not 9"]);
    world.run(&["export", "--to", "9"]).refused(1, &["covers 4 entries, not 9"]);
    world.run(&["export", "--from", "4"]).ok();
}

#[test]
fn one_is_not_told_as_many() {
    let world = World::new();
    let text = world.run(&["verify"]).ok().out;
    assert!(text.contains("to 1 entry,") && text.contains("\n  1 entry in "), "{text}");
    assert!(world.run(&["log", "info"]).ok().out.contains("over 1 entry,"));
    assert!(world.run(&["export", "-o", "export"]).ok().out.contains(": 1 entry and"));
    assert!(world.run(&["prove", "0", "-o", "proof"]).ok().out.contains("the tree of 1 entry\n"));
    world.feed(&["append"], event("one")).ok();
    let text = world.run(&["verify"]).ok().out;
    assert!(text.contains("to 2 entries,") && text.contains("\n  2 entries in "), "{text}");
}

#[test]
fn the_gravest_findings_come_first() {
    let world = World::with_samples(5);
    let offsets = world.log.join("offsets");
    let mut bytes = fs::read(&offsets).unwrap();
    bytes[8] ^= 1;
    overwrite(&offsets, &bytes);
    fs::remove_file(world.log.join("lock")).unwrap();
    world.tamper(|lines| lines[4] = lines[4].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    let report = world.run(&["verify", "--json"]).code(10).json();
    let kinds: Vec<&str> = report["findings"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "changed", "{kinds:?}");
    let first = kinds.iter().position(|kind| *kind == "derived").unwrap();
    assert!(kinds[first..].iter().all(|kind| *kind == "derived"), "{kinds:?}");
}

#[test]
fn receipts_that_were_compared_are_counted() {
    let world = World::new();
    let receipts = world.write("receipts", world.feed(&["append"], event("a") + "\n" + &event("b")).ok().out);
    let report = world.run(&["verify", "--receipts", &receipts, "--json"]).ok().json();
    assert_eq!(report["receipts_checked"], 2);
    assert!(world.run(&["verify", "--receipts", &receipts]).ok().out.contains("  receipts checked           2\n"));
    assert_eq!(world.run(&["verify", "--json"]).ok().json()["receipts_checked"], 0);
    assert!(!world.run(&["verify"]).ok().out.contains("receipts"));
}

#[test]
fn a_log_of_another_name_is_refused_where_the_name_is_given() {
    let world = World::with_samples(3);
    world.run(&["verify", "--origin", "test.example/audit"]).ok();
    let words = ["the log is `test.example/audit`, not `test.example/other`"];
    world.run(&["verify", "--origin", "test.example/other"]).refused(1, &words);
    let key = world.public_key();
    world.run(&["verify", "--origin", "test.example/other", "--public-key", &key]).refused(1, &words);
    // Another log of the same ring in its place is whole in itself: the name tells.
    let other = world.path("other");
    world.run(&["init", &other, "--origin", "test.example/other", "--no-immutable"]).ok();
    fs::remove_dir_all(&world.log).unwrap();
    crate::world::copy(&world.at("other"), &world.log);
    assert!(world.run(&["verify"]).ok().out.starts_with("intact: `test.example/other`"));
    let words = ["the log is `test.example/other`, not `test.example/audit`"];
    world.run(&["verify", "--origin", "test.example/audit"]).refused(1, &words);
    world.run(&["verify", "--public-key", &key]).code(1);
}

#[test]
fn a_directory_where_a_file_belongs_is_named() {
    let world = World::with_samples(300);
    let rows = [("durable", 14), ("offsets", 14), ("tree/0", 14), ("tree/1", 14), ("log.json", 14), ("checkpoint", 10)];
    for (name, code) in rows {
        let (path, aside) = (world.log.join(name), world.at("aside"));
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        let done = world.run(&["verify"]).code(code);
        assert!(format!("{}{}", done.out, done.err).contains(name), "{name}: {}{}", done.out, done.err);
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        world.run(&["verify"]).ok();
    }
}

#[test]
fn a_log_that_is_gone_is_missed_by_its_name_and_succeeded_by_its_head_record() {
    let world = World::with_samples(3);
    let note = world.run(&["checkpoint"]).ok().out;
    let succeed = ["log", "succeed", "next", "--origin", "test.example/next", "--lost", "test.example/audit"];
    world.run(&succeed).refused(2, &["is not lost", "leave out --lost"]);
    fs::remove_dir_all(&world.log).unwrap();
    world.init(&[]).refused(1, &["choose another origin", "--lost test.example/audit"]);
    world.run(&["verify"]).refused(1, &["is no log"]);
    world.run(&["verify", "--origin", "test.example/never"]).refused(1, &["is no log"]);
    let told = world.run(&["verify", "--origin", "test.example/audit"]).code(10).err;
    assert!(told.contains("the head store knows `test.example/audit` with 4 entries"), "{told}");
    world.run(&succeed[..5]).refused(1, &["is no log", "gone for good", "--origin test.example/next --lost NAME"]);
    let unknown = [&succeed[..6], &["test.example/never"]].concat();
    world.run(&unknown).refused(1, &["no record of a log `test.example/never`"]);
    assert!(world.run(&succeed).ok().err.contains("`test.example/audit` is gone"));
    let next = world.path("next");
    let zero = world.run(&["show", "0", "--json", "--log", &next]).ok().json();
    let predecessor = &zero["entry"]["control"]["predecessor"];
    assert_eq!((&predecessor["checkpoint"], &predecessor["origin"]), (&note.into(), &"test.example/audit".into()));
    world.feed(&["append", "--log", &next], event("on")).ok();
    world.run(&["verify", "--log", &next]).ok();
}

#[test]
fn another_log_in_the_place_is_not_called_a_copy_that_was_left_behind() {
    let world = World::with_samples(5);
    let (heads, before) = (world.keys.join("heads"), world.at("heads-before"));
    fs::rename(&heads, &before).unwrap();
    fs::remove_dir_all(&world.log).unwrap();
    world.init(&[]).ok();
    fs::remove_dir_all(&heads).unwrap();
    copy(&before, &heads);
    let told = world.run(&["verify"]).code(10).out;
    assert!(told.contains("another log stands in the place") && !told.contains("A copy made before"), "{told}");
}

#[test]
fn what_no_checkpoint_covers_yet_waits_for_who_has_the_log_open() {
    let world = World::with_samples(3);
    let (heads, before) = (world.keys.join("heads"), world.at("heads-before"));
    let checkpoint = fs::read(world.log.join("checkpoint")).unwrap();
    let kept = || fs::read_dir(world.log.join("checkpoints")).unwrap().map(|file| file.unwrap().path());
    let known: Vec<_> = kept().collect();
    copy(&heads, &before);
    world.feed(&["append"], event("new")).ok();
    // As a writer leaves it between an append and its next checkpoint.
    overwrite(&world.log.join("checkpoint"), &checkpoint);
    kept().filter(|path| !known.contains(path)).for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_dir_all(&heads).unwrap();
    copy(&before, &heads);
    let lease = fs::File::open(world.log.join("lock")).unwrap();
    lease.lock().unwrap();
    world.run(&["prove", "4"]).refused(1, &["entry 4 is not yet under a checkpoint", "try again"]);
    world.run(&["checkpoint"]).refused(1, &["the newest entries are not yet under a checkpoint", "try again"]);
    world.run(&["prove", "3"]).ok();
    drop(lease);
    world.run(&["prove", "4"]).ok();
}

#[test]
fn what_rests_on_an_entry_key_is_said_before_its_secret_goes() {
    let world = World::with_samples(3);
    let other = world.path("other");
    world.run(&["init", &other, "--origin", "test.example/other", "--no-immutable"]).ok();
    let old = world.run(&["keys", "history", "--json"]).ok().json()["entry_keys"][0]["id"].as_str().unwrap().to_owned();
    world.run(&["keys", "rotate"]).ok();
    let destroy = ["keys", "destroy", &old];
    let words = ["entries 0 to 3 of `test.example/audit` are signed by it", "`test.example/other` may have", "--yes"];
    world.run(&destroy).refused(2, &words);
    // Without a log only the head records tell.
    let nowhere = [&destroy[..], &["--log", "nowhere"]].concat();
    world.run(&nowhere).refused(2, &["`test.example/audit`, `test.example/other` may have", "--yes"]);
    let told = world.run(&[&destroy[..], &["--yes"]].concat()).ok().err;
    assert!(told.contains(words[0]) && told.contains("cannot be checked any more"), "{told}");
    assert!(world.run(&["verify"]).ok().out.contains("entry signatures checked as far as the ring has the keys"));
}

#[test]
fn what_was_taken_for_something_else_is_told_with_the_remedy() {
    let world = World::with_samples(2);
    let (key, proof) = (world.public_key(), world.path("proof"));
    world.run(&["prove", "1", "-o", &proof]).ok();
    world
        .run(&["consistency", "--from", &proof])
        .refused(1, &["proof` is no checkpoint", "`indelible checkpoint` prints one"]);
    let file = world.write("some-file", "{\"id\":1}\n");
    world.run(&["check-proof", &file, "--public-key", &key]).refused(1, &[&file, "`indelible prove INDEX -o FILE`"]);
    world.run(&["import", "--format", "csv", &file]).refused(2, &["give --map FILE", "k8s-perfspec"]);
    world.run(&["bench", "--only", "nonsense"]).refused(2, &["nonsense", "append_durable_1", "memory_verify"]);
    let usage = world.run(&["check-proof", &file]).code(2).err;
    assert!(usage.contains("--public-key") && !usage.contains("--log") && !usage.contains("--keys"), "{usage}");
}

#[test]
fn a_key_of_many_digits_is_named_and_not_printed() {
    let world = World::with_samples(1);
    let args = ["keys", "generate", "--purpose", "checkpoint-signing", "--algorithm", "rsa-pss-sha256"];
    world.run(&[&args[..], &["--rsa-bits", "2048", "--activate"]].concat()).ok();
    world.feed(&["append"], event("one")).ok();
    let told = world.run(&["verify"]).ok().out;
    assert!(told.contains(&world.public_key()) && told.contains(" (rsa-pss-sha256)\n"), "{told}");
    assert!(told.lines().all(|line| line.len() < 250), "{told}");
    let keys = world.run(&["verify", "--json"]).ok().json()["keys"].to_string();
    assert!(keys.len() > 500, "{keys}");
}

#[cfg(feature = "server")]
#[test]
fn an_address_that_is_taken_is_told_with_the_remedy() {
    let world = World::empty();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (root, address) = (world.path("root"), taken.local_addr().unwrap().to_string());
    let args = ["serve", "--log-root", &root, "--listen", &address];
    world.run(&args).refused(1, &[&address, "another program listens there", "--listen"]);
}
