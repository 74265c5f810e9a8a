//! Verdicts, as exit codes and as reports.

use std::fs;

use serde_json::Value;

use crate::world::{World, event, files, overwrite};

#[track_caller]
fn finding(world: &World, args: &[&str], code: i32, kind: &str, index: Option<u64>) -> Value {
    let report = world.run(&[&["verify", "--json"], args].concat()).code(code).json();
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().any(|f| f["kind"] == kind && (index.is_none() || f["index"] == index.unwrap()));
    assert!(found, "no `{kind}` at {index:?}: {report}");
    report
}

#[test]
fn an_intact_report_has_what_scripts_read() {
    let world = World::with_samples(10);
    let report = world.run(&["verify", "--json"]).ok().json();
    for member in
        ["tree_size", "root", "entries_verified", "checkpoints", "head_age_seconds", "keys", "unanchored", "seconds"]
    {
        assert!(!report[member].is_null(), "{member}: {report}");
    }
    assert_eq!((&report["status"], &report["macs"]), (&"intact".into(), &"checked".into()));
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    let text = world.run(&["verify"]).ok().out;
    assert!(text.starts_with("intact: `test.example/audit` to 11 entries"), "{text}");
}

#[test]
fn a01_an_edited_entry_is_tampered_and_located() {
    let world = World::with_samples(10);
    let id = world.run(&["show", "4", "--json"]).ok().json()["entry"]["event"]["id"].as_str().unwrap().to_owned();
    world.tamper(|lines| lines[4] = lines[4].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    let report = finding(&world, &[], 10, "changed", Some(4));
    assert_eq!(report["findings"][0]["id"], id);
    let text = world.run(&["verify"]).code(10).out;
    assert!(text.starts_with("tampered: `test.example/audit`"), "{text}");
    assert!(text.lines().nth(1).unwrap().contains("entry 4"), "{text}");
}

#[test]
fn a02_a_deleted_entry_is_tampered_and_located() {
    let world = World::with_samples(10);
    world.tamper(|lines| drop(lines.remove(4)));
    world.run(&["verify", "--json"]).code(10);
    let report = world.run(&["verify", "--json"]).json();
    assert_eq!(report["findings"][0]["index"], 4, "{report}");
}

#[test]
fn a39_a_rolled_back_log_is_told_to_the_writer_and_to_an_auditor_who_looked_before() {
    let world = World::with_samples(10);
    let key = world.public_key();
    let early = world.copy_log("early");
    world.feed(&["append"], event("later")).ok();
    let report = world.run(&["verify", "--public-key", &key, "--json"]).ok().json();
    assert_eq!(report["macs"], "not checked");
    assert!(files(&world.at("heads")).iter().any(|path| path.display().to_string().contains('+')));
    world.restore_log(&early);
    world.run(&["verify"]).code(10);
    let text = world.run(&["verify", "--public-key", &key]).code(10).out;
    assert!(text.starts_with("tampered"), "{text}");
    world.feed(&["append"], event("again")).code(1);
    // Somebody who never looked before cannot know: a kept checkpoint tells.
    fs::remove_dir_all(world.at("heads")).unwrap();
    world.run(&["verify", "--public-key", &key]).ok();
}

#[test]
fn the_auditors_head_advances_and_never_goes_back() {
    let world = World::with_samples(3);
    let key = world.public_key();
    let size = |world: &World| {
        let found = files(&world.at("heads")).into_iter().find(|path| path.extension().is_none_or(|e| e != "lock"));
        let head: Value = serde_json::from_slice(&fs::read(found.unwrap()).unwrap()).unwrap();
        head["checkpoint"].as_str().unwrap().lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    world.run(&["verify", "--public-key", &key]).ok();
    assert_eq!(size(&world), 4);
    world.feed(&["append"], event("x")).ok();
    world.run(&["verify", "--public-key", &key]).ok();
    world.run(&["verify", "--public-key", &key]).ok();
    assert_eq!(size(&world), 5);
    // A tampered log moves nothing.
    world.feed(&["append"], event("y")).ok();
    world.tamper(|lines| lines[2] = lines[2].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    world.run(&["verify", "--public-key", &key]).code(10);
    assert_eq!(size(&world), 5);
}

#[test]
fn kept_checkpoints_and_receipts_that_contradict_are_diverged() {
    let world = World::with_samples(10);
    let early = world.copy_log("early");
    let heads = world.keys.join("heads");
    let heads_early = world.at("heads-early");
    crate::world::copy(&heads, &heads_early);
    let receipts = world.write("receipts", world.feed(&["append"], event("one")).ok().out);
    let kept = world.write("kept", world.run(&["checkpoint"]).ok().out);
    // The whole machine is set back, head store included, and another history is written with the same keys.
    world.restore_log(&early);
    fs::remove_dir_all(&heads).unwrap();
    crate::world::copy(&heads_early, &heads);
    world.feed(&["append"], event("other") + "\n" + &event("more")).ok();
    world.run(&["verify"]).ok();
    finding(&world, &["--checkpoint", &kept], 12, "diverged_checkpoint", None);
    finding(&world, &["--receipts", &receipts], 12, "diverged_receipt", Some(11));
}

#[test]
fn a_file_without_receipts_is_no_comparison() {
    let world = World::with_samples(3);
    let empty = world.write("receipts", "\n");
    let told = world.run(&["verify", "--receipts", &empty]).code(1).err;
    assert!(told.contains("holds no receipts"), "{told}");
}

#[test]
fn a_wrong_public_key_is_an_error_and_no_verdict() {
    let world = World::with_samples(3);
    let stranger = World::new().public_key();
    world.run(&["verify", "--public-key", &stranger]).refused(1, &["wrong key"]);
    let bad = world.write("bad", "{\"no\":1}\n");
    world.run(&["verify", "--receipts", &bad]).refused(1, &["line 1", "no receipt"]);
}

#[test]
fn from_last_goes_on_where_it_ended_and_still_sees_a_rollback() {
    let world = World::with_samples(20);
    let early = world.copy_log("early");
    assert_eq!(world.run(&["verify", "--from-last", "--json"]).ok().json()["from"], 0);
    world.feed(&["append"], event("x")).ok();
    let report = world.run(&["verify", "--from-last", "--json"]).ok().json();
    assert_eq!((&report["from"], &report["entries_verified"]), (&21.into(), &1.into()), "{report}");
    world.run(&["verify", "--from-last", "--public-key", &world.public_key()]).ok();
    world.restore_log(&early);
    world.run(&["verify", "--from-last"]).code(10);
}

#[test]
fn from_last_with_numbers_near_the_largest_begins_anew_or_says_what_to_do() {
    let world = World::with_samples(5);
    world.run(&["verify", "--from-last"]).ok();
    let heads = [files(&world.keys), files(&world.keys.join("heads"))].concat();
    let state = heads.iter().find(|path| path.to_string_lossy().ends_with("+verified")).unwrap();
    let whole: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    let with = |member: &str, number: u64| {
        let mut changed = whole.clone();
        changed[member] = number.into();
        fs::write(state, changed.to_string()).unwrap();
        world.run(&["verify", "--from-last", "--json"])
    };
    for size in [0, 1, 1000, 1 << 53] {
        // No such entry is there, or it is not the one: there is nothing to go on from.
        assert_eq!(with("size", size).ok().json()["from"], 0, "{size}");
    }
    for number in [(1 << 53) + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        for member in ["size", "kept"] {
            with(member, number).refused(1, &["cannot be read", "no log comes to", "remove that file"]);
        }
    }
    fs::write(state, "{\"size\":18446744073709551616}").unwrap();
    world.run(&["verify", "--from-last"]).refused(1, &["cannot be read", "remove that file"]);
    fs::write(state, vec![b' '; 2 << 20]).unwrap();
    world.run(&["verify", "--from-last"]).refused(1, &["cannot be read", "remove that file"]);
}

#[test]
fn a_damaged_derived_file_is_damaged_and_repaired() {
    let world = World::with_samples(300);
    for file in ["tree/0", "offsets", "log.json"] {
        let path = world.log.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        overwrite(&path, &bytes);
        finding(&world, &[], 14, "derived", None);
        let told = world.run(&["log", "repair"]).ok().out;
        assert!(told.starts_with("rebuilt from verified entries"), "{told}");
        world.run(&["verify", "--strict"]).ok();
    }
    assert!(world.run(&["log", "repair"]).ok().out.starts_with("nothing to repair"));
    world.tamper(|lines| lines[4] = lines[4].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    world.run(&["log", "repair"]).refused(1, &["tampered"]);
}

/// A log of many small segments.
fn segmented() -> World {
    let world = World::empty();
    world.init(&["--segment-bytes", "4096"]).ok();
    // A batch stays together, so several of them are needed.
    for batch in world.samples(60).lines().collect::<Vec<_>>().chunks(6) {
        world.feed(&["append"], batch.join("\n")).ok();
    }
    assert!(files(&world.log.join("segments")).len() > 3);
    world
}

#[test]
fn a_missing_segment_is_a_gap_until_it_is_explained() {
    let world = segmented();
    let gone = files(&world.log.join("segments"))[1].clone();
    fs::remove_file(&gone).unwrap();
    let report = finding(&world, &[], 11, "absent", None);
    let absent = &report["findings"][0];
    let range =
        format!("{}..{}", absent["index"], absent["last"].as_u64().unwrap_or(absent["index"].as_u64().unwrap()));
    world.run(&["log", "explain", "0..1", "--reason", "a lie"]).refused(1, &["is there"]);
    world.run(&["verify"]).code(11);
    world.run(&["log", "explain", &range, "--reason", "the disk of March"]).ok();
    let text = world.run(&["verify"]).ok().out;
    assert!(text.contains("on record: explained") && text.contains("the disk of March"), "{text}");
}

#[test]
fn a39_a_successor_names_the_log_that_it_goes_on_from() {
    let world = World::with_samples(5);
    let note = world.run(&["checkpoint"]).ok().out;
    let created = world.run(&["log", "succeed", "next", "--origin", "test.example/audit-2", "--json"]).ok();
    assert!(created.err.starts_with("warning: nothing was wrong with `test.example/audit`"), "{}", created.err);
    let created = created.json();
    assert_eq!(created["origin"], "test.example/audit-2");
    assert_eq!(created["predecessor_status"], "intact");
    let taken = world.run(&["log", "succeed", "next", "--origin", "test.example/audit-3"]);
    taken.refused(1, &["exists already"]);
    let mut next = World::empty();
    next.keys = world.keys.clone();
    next.log = world.at("next");
    let zero = next.run(&["show", "0", "--json"]).ok().json();
    assert_eq!(zero["entry"]["control"]["predecessor"]["checkpoint"], note);
    next.run(&["verify"]).ok();
    world.run(&["verify"]).ok();
}

#[test]
fn what_is_wrong_with_the_old_log_is_said_when_another_takes_its_place() {
    let world = World::with_samples(5);
    world.tamper(|lines| lines[4] = lines[4].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    let succeed = |next: &str| world.run(&["log", "succeed", next, "--origin", &format!("test.example/{next}")]).ok();
    let told = succeed("audit-2").err;
    assert!(told.starts_with("note: `test.example/audit` reads tampered, 2 findings: "), "{told}");
    fs::remove_dir_all(world.keys.join("heads")).unwrap();
    let told = succeed("audit-3").err;
    assert!(told.starts_with("note: `test.example/audit` could not be verified: "), "{told}");
}

#[test]
fn a_copy_that_was_left_behind_hears_of_the_harmless_cause() {
    let world = World::with_samples(3);
    let (log, copy) = (world.log.display().to_string(), world.path("copy"));
    let copied = || world.run(&["copy", "--from", &log, "--to", &copy]).ok();
    let verified = || world.run(&["verify", "--log", &copy]);
    copied();
    assert!(!verified().ok().out.contains("A copy made before"));
    world.feed(&["append"], event("x")).ok();
    let told = verified().code(10).out;
    assert!(
        told.contains("rolled back, entry 4: ") && told.contains("\n  A copy made before that newer head"),
        "{told}"
    );
    copied();
    verified().ok();
    world.tamper(|lines| lines[2] = lines[2].replacen("\"kind\":\"", "\"kind\":\"x", 1));
    assert!(!world.run(&["verify"]).code(10).out.contains("A copy made before"));
}
