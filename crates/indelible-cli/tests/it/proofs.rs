//! What leaves the log: checkpoints, proofs, exports.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use indelible_core::{
    checkpoint::Checkpoint,
    note::{Note, VerifyingKey},
    tree::{Hash, leaf_hash, range_root},
};
use indelible_keys::KeyRing;

use crate::world::{Done, World, event, overwrite};

#[test]
fn a_proof_is_checked_offline_with_the_public_key_alone() {
    let world = World::with_samples(50);
    world.feed(&["append"], event("the one")).ok();
    let key = world.public_key();
    world.run(&["prove", "the one", "-o", "proof"]).ok();
    let proof = fs::read(world.at("proof")).unwrap();
    assert_eq!(world.run(&["prove", "51"]).ok().out.as_bytes(), proof);
    fs::remove_dir_all(&world.log).unwrap();
    fs::remove_dir_all(&world.keys).unwrap();
    let checked = world.run(&["check-proof", "proof", "--public-key", &key, "--json"]).ok().json();
    assert_eq!((&checked["index"], &checked["status"]), (&51.into(), &"intact".into()));
    world.feed(&["check-proof", "-", "--public-key", &key], &proof).ok();

    let stranger = World::new().public_key();
    world.run(&["check-proof", "proof", "--public-key", &stranger]).code(1);
    let text = String::from_utf8(proof).unwrap();
    let swap = |from: &str, to: &str| world.write("forged", text.replacen(from, to, 1));
    let edited = swap("ada", "eve");
    world.run(&["check-proof", &edited, "--public-key", &key]).refused(10, &["proof does not hold"]);
    let cut = world.write("cut", &text[..text.len() / 2]);
    world.run(&["check-proof", &cut, "--public-key", &key]).refused(1, &["proof bundle"]);
}

#[test]
fn every_single_byte_of_a_proof_matters() {
    let world = World::with_samples(5);
    world.run(&["prove", "3", "-o", "proof"]).ok();
    let proof = fs::read(world.at("proof")).unwrap();
    let key = indelible_core::note::VerifyingKey::parse(&world.public_key()).unwrap();
    let mut missed = 0;
    for at in 0..proof.len() {
        let mut flipped = proof.clone();
        flipped[at] ^= 1;
        let holds = indelible::bundle::Bundle::parse(&flipped).and_then(|bundle| bundle.check(&key)).is_ok();
        // The entry signature is not for the public; everything else is.
        let in_mac = flipped[..at].windows(7).rposition(|w| w == b"\"mac\":\"").is_some_and(|mac| at < mac + 7 + 64);
        missed += usize::from(holds && !in_mac);
    }
    assert_eq!(missed, 0, "of {} flips", proof.len());
}

#[test]
fn a_checkpoint_is_a_signed_note_and_needs_no_lease_where_it_covers_all() {
    let world = World::with_samples(4);
    let note = world.run(&["checkpoint"]).ok().out;
    assert!(note.starts_with("test.example/audit\n5\n"), "{note}");
    let json = world.run(&["checkpoint", "--json"]).ok().json();
    assert_eq!((&json["checkpoint"], &json["tree_size"]), (&note.as_str().into(), &5.into()));
    let kept = world.write("kept", &note);
    world.run(&["verify", "--checkpoint", &kept]).ok();
}

#[test]
fn consistency_is_proven_and_a_contradiction_is_diverged() {
    let world = World::with_samples(20);
    let early = world.copy_log("early");
    let old = world.write("old", world.run(&["checkpoint"]).ok().out);
    world.feed(&["append"], event("later")).ok();
    let new = world.write("new", world.run(&["checkpoint"]).ok().out);
    let proof = world.run(&["consistency", "--from", &old, "--json"]).ok().json();
    assert_eq!((&proof["from"]["tree_size"], &proof["to"]["tree_size"]), (&21.into(), &22.into()));
    assert!(!proof["proof"].as_array().unwrap().is_empty());
    world.run(&["consistency", "--from", &new, "--public-key", &world.public_key()]).ok();

    world.restore_log(&early);
    let done = world.run(&["consistency", "--from", &new]).code(12);
    assert!(done.err.contains("22") && done.err.contains("21"), "{}", done.err);
    let stranger = World::new();
    let foreign = world.write("foreign", stranger.run(&["checkpoint"]).ok().out);
    world.run(&["consistency", "--from", &foreign]).refused(1, &["no signature by"]);
}

#[test]
fn a_replaced_key_makes_no_newest_checkpoint_for_who_has_the_ring() {
    let world = World::with_samples(5);
    let old = world.write("old", world.run(&["checkpoint"]).ok().out);
    let first = world.public_key();
    world.run(&["keys", "rotate", "--purpose", "checkpoint-signing"]).ok();
    world.feed(&["append"], event("later")).ok();
    world.run(&["consistency", "--from", &old]).ok();
    // Whoever has the key of before signs a tree that is as large as today's: the ring has that key still.
    let genuine = fs::read_to_string(world.log.join("checkpoint")).unwrap();
    let head = Checkpoint::parse(Note::parse(genuine.as_bytes()).unwrap().text()).unwrap().head;
    let ring = KeyRing::load(&world.keys).unwrap();
    let key = VerifyingKey::parse(&first).unwrap();
    let signers = ring.signers_for("test.example/audit", &[key]).unwrap();
    let forged = Checkpoint::new("test.example/audit", head).sign(&[&signers[0]]).unwrap().to_string();
    overwrite(&world.log.join("checkpoint"), forged.as_bytes());
    world.run(&["consistency", "--from", &old]).refused(1, &["no signature by"]);
    // Without the head record nothing tells which of the ring's keys is in force.
    overwrite(&world.log.join("checkpoint"), genuine.as_bytes());
    let heads = world.keys.join("heads");
    fs::rename(&heads, world.keys.join("elsewhere")).unwrap();
    world.run(&["consistency", "--from", &old]).refused(1, &["no head record", "--public-key"]);
    world.run(&["consistency", "--from", &old, "--public-key", &first]).ok();
}

#[test]
fn an_export_folds_to_the_signed_root() {
    let world = World::with_samples(30);
    for (from, to) in [(0, 31), (7, 19), (16, 16), (30, 31)] {
        let lines = world.run(&["export", "--from", &from.to_string(), "--to", &to.to_string()]).ok().json_lines();
        let (end, entries) = lines.split_last().unwrap();
        assert_eq!(entries.len(), to - from);
        assert_eq!((&end["from"], &end["to"]), (&from.into(), &to.into()));
        let checkpoint = end["checkpoint"].as_str().unwrap();
        assert!(checkpoint.starts_with("test.example/audit\n31\n"));
    }
    let whole = world.run(&["export"]).ok().out;
    let leaves: Vec<Hash> = whole
        .lines()
        .take(31)
        .map(|line| {
            let entry = &line["{\"entry\":".len()..line.find(",\"index\":").unwrap()];
            // The exported entry is the exact text that was hashed; the envelope has an index too, so cut at the last.
            let entry = if serde_json::from_str::<serde_json::Value>(entry).is_ok() { entry } else { exact(line) };
            leaf_hash(entry.as_bytes())
        })
        .collect();
    let root = world.run(&["checkpoint", "--json"]).ok().json()["root"].as_str().unwrap().to_owned();
    assert_eq!(range_root(&leaves).to_hex(), root);
    world.run(&["export", "--to", "32"]).refused(1, &["covers 31 entries", "indelible checkpoint"]);
    world.run(&["export", "--from", "9", "--to", "3"]).refused(2, &["--from 9"]);
}

/// The entry of an export's line: what stands between `{"entry":` and the last `,"index":`.
fn exact(line: &str) -> &str {
    &line["{\"entry\":".len()..line.rfind(",\"index\":").unwrap()]
}

#[test]
fn an_export_of_changed_entries_has_no_last_line() {
    let world = World::with_samples(10);
    world.tamper(|lines| lines[5] = lines[5].replacen("\"salt\":\"", "\"salt\":\"0", 1).replacen("0\"", "\"", 1));
    let done = world.run(&["export"]);
    assert_ne!(done.code, 0);
    assert!(!done.out.contains("\"checkpoint\":\"test"), "{}", done.out);
}

#[test]
fn an_entry_is_checked_by_hand_with_openssl() {
    let world = World::with_samples(3);
    let entry = world.run(&["show", "2", "--raw"]).ok().out;
    let key = world.run(&["keys", "derive"]).ok().out;
    let script = "openssl dgst -sha256 -binary | openssl dgst -sha256 -mac HMAC -macopt hexkey:$0";
    let spawned = Command::new("sh")
        .args(["-c", script, key.trim()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.unwrap();
    child.stdin.take().unwrap().write_all(&[b"\0", entry.as_bytes()].concat()).unwrap();
    let done = Done::of(&child.wait_with_output().unwrap());
    if done.code == 127 || done.err.contains("not found") {
        eprintln!("SKIPPED (aloud): no openssl");
        return;
    }
    let mac = world.run(&["show", "2", "--json"]).ok().json()["mac"].as_str().unwrap().to_owned();
    assert!(done.ok().out.trim().ends_with(&mac));
}
