//! Signed files, as those sign and verify them who have no log at hand.

use std::{fs, process::Command};

use crate::world::{Done, World};

/// A world with a folder `day` of two files, and keys of a kind that `openssl` makes.
pub(crate) fn with_key(kind: &[&str]) -> Option<World> {
    let world = World::empty();
    let make = ["genpkey", "-out", "key.pem", "-algorithm"];
    let made = Command::new("openssl").args(make).args(kind).current_dir(world.at("")).output();
    let Ok(made) = made else {
        eprintln!("SKIPPED (aloud): no openssl");
        return None;
    };
    Done::of(&made).ok();
    let public = ["pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"];
    Done::of(&Command::new("openssl").args(public).current_dir(world.at("")).output().unwrap()).ok();
    only_mine(&world, "key.pem");
    fs::create_dir(world.at("day")).unwrap();
    world.write("day/a", "one");
    world.write("day/b", "two");
    Some(world)
}

fn only_mine(world: &World, name: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(world.at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

pub(crate) const RSA: &[&str] = &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const EC: &[&str] = &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const ED: &[&str] = &["ED25519"];

#[test]
fn each_file_that_changed_is_missing_or_too_many_is_named() {
    let Some(world) = with_key(ED) else { return };
    let signed = world.run(&["sign-file", "--pem", "key.pem", "day", "--json"]).ok().json();
    assert_eq!((&signed["files"], &signed["bytes"]), (&2.into(), &6.into()));
    assert_eq!((&signed["manifest"], &signed["signature"]), (&"SHA256SUMS".into(), &"SHA256SUMS.sig".into()));
    let verify = ["verify-file", "SHA256SUMS", "--public-key", "key.pub"];
    let verified = world.run(&verify).ok();
    assert!(verified.out.contains("intact: 2 files") && verified.out.contains("`ed25519`"), "{}", verified.out);

    world.write("day/a", "onf");
    world.write("day/c", "three");
    fs::remove_file(world.at("day/b")).unwrap();
    let told = world.run(&verify).code(10).out;
    for line in ["tampered: 2 files", "changed  day/a (now ", "missing  day/b", "surplus  day/c"] {
        assert!(told.contains(line), "{told}");
    }
    let told = world.run(&[&verify[..], &["--json"]].concat()).code(10).json();
    assert_eq!((&told["status"], &told["changed"][0]["name"]), (&"tampered".into(), &"day/a".into()));
    assert_eq!((&told["missing"], &told["surplus"]), (&["day/b"].into(), &["day/c"].into()));
}

#[test]
fn wrong_signatures_are_evidence_and_wrong_questions_are_not() {
    let (Some(world), Some(other)) = (with_key(EC), with_key(EC)) else { return };
    world.run(&["sign-file", "--pem", "key.pem", "day/a", "--manifest", "day/sums"]).ok();
    let verify = |manifest: &str, key: &str| world.run(&["verify-file", manifest, "--public-key", key]);
    verify("day/sums", "key.pub").ok();
    verify("day/sums", &other.path("key.pub")).refused(10, &["is wrong", "day/sums.sig"]);
    let text = fs::read_to_string(world.at("day/sums")).unwrap();
    world.write("day/sums", text.replace("  a", "  b"));
    verify("day/sums", "key.pub").refused(10, &["altered"]);
    verify("day/other", "key.pub").refused(1, &["cannot read", "day/other"]);
    verify("day/sums", "key.pem").refused(1, &["openssl pkey -pubout"]);
    verify("day/sums", "day/a").refused(1, &["this is no key"]);
    fs::rename(world.at("day/sums.sig"), world.at("elsewhere")).unwrap();
    verify("day/sums", "key.pub").refused(1, &["cannot read", "day/sums.sig"]);
    world.write("day/sums", text);
    let elsewhere = ["verify-file", "day/sums", "--public-key", "key.pub", "--signature", "elsewhere"];
    world.run(&elsewhere).ok();
    world.run(&[&elsewhere[..], &["--algorithm", "ed25519"]].concat()).refused(1, &["`ecdsa-p256-sha256`"]);
    world.run(&[&elsewhere[..], &["--algorithm", "rot13"]].concat()).code(2);

    let sign = |more: &[&str]| world.run(&[&["sign-file", "--pem", "key.pem"], more].concat());
    sign(&["day/a", "--manifest", "day/sums"]).refused(1, &["not overwritten"]);
    sign(&["missing"]).refused(1, &["cannot read", "missing"]);
    sign(&["day/a", "--algorithm", "ed25519"]).refused(1, &["`ed25519` is needed"]);
    sign(&["key.pub", "--manifest", "day/more"]).refused(1, &["not beneath"]);
    world.run(&["sign-file", "--pem", "key.pub", "day/a"]).refused(1, &["key"]);
    world.run(&["sign-file", "--pem", "key.pem"]).code(2);
    assert!(!world.at("SHA256SUMS").exists() && !world.at("SHA256SUMS.sig").exists());
}

#[cfg(unix)]
#[test]
fn a_private_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(world) = with_key(ED) else { return };
    fs::set_permissions(world.at("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["sign-file", "--pem", "key.pem", "day"]).refused(1, &["chmod 600", "0644"]);
}

#[test]
fn an_rsa_key_signs_in_the_way_that_was_asked_for() {
    let Some(world) = with_key(RSA) else { return };
    for (manifest, more, algorithm) in
        [("pss", &[][..], "rsa-pss-sha256"), ("pkcs1", &["--algorithm", "rsa-pkcs1-sha256"], "rsa-pkcs1-sha256")]
    {
        let sign = ["sign-file", "--pem", "key.pem", "day", "--manifest", manifest, "--json"];
        assert_eq!(world.run(&[&sign[..], more].concat()).ok().json()["algorithm"], algorithm);
        let verify = ["verify-file", manifest, "--public-key", "key.pub", "--json"];
        assert_eq!(world.run(&verify).ok().json()["algorithm"], algorithm);
        for wanted in ["rsa-pss-sha256", "rsa-pkcs1-sha256"] {
            let code = if wanted == algorithm { 0 } else { 10 };
            world.run(&[&verify[..], &["--algorithm", wanted]].concat()).code(code);
        }
    }
}

#[test]
fn a_checkpoint_key_of_the_ring_signs_by_its_id_or_algorithm() {
    let world = World::empty();
    fs::create_dir(world.at("day")).unwrap();
    world.write("day/a", "one");
    let more = ["--checkpoint", "ecdsa-p256-sha256,ml-dsa-44", "--json"];
    let made = world.run(&[&["keys", "generate"][..], &more].concat()).ok().json();
    let id = |algorithm: &str| {
        let mut keys = made["keys"].as_array().unwrap().iter();
        keys.find(|key| key["algorithm"] == algorithm).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let sign = |more: &[&str]| world.run(&[&["sign-file", "day", "--json"], more].concat());
    let (ed, ec) = (id("ed25519"), id("ecdsa-p256-sha256"));
    for (manifest, more, key, algorithm) in [
        ("by-id", ["--key", ed.as_str()], &ed, "ed25519"),
        ("by-other", ["--key", &ec], &ec, "ecdsa-p256-sha256"),
        ("by-name", ["--algorithm", "ecdsa-p256-sha256"], &ec, "ecdsa-p256-sha256"),
    ] {
        let signed = sign(&[&more[..], &["--manifest", manifest]].concat()).ok().json();
        assert_eq!(signed["algorithm"], algorithm, "{manifest}");
        for (other, code) in [(&ed, if *key == ed { 0 } else { 10 }), (&ec, if *key == ec { 0 } else { 10 })] {
            let public = world.run(&["keys", "export-public", other]).ok().out;
            let public = world.write("public", public);
            world.run(&["verify-file", manifest, "--public-key", &public]).code(code);
        }
    }
    let refused = |more: &[&str], words: &[&str]| sign(&[more, &["--manifest", "none"]].concat()).refused(1, words);
    refused(&["--key", &id("ml-dsa-44")], &["`ml-dsa-44` keys sign no files"]);
    refused(&["--key", &id("HMAC-SHA256")], &["is for entry", "active checkpoint keys"]);
    refused(&["--key", "cs9-0000000000000000"], &["no key `cs9-0000000000000000`"]);
    refused(&["--algorithm", "rsa-pss-sha256"], &["no active key", "`rsa-pss-sha256`"]);
    world.run(&["keys", "rotate", "--purpose", "checkpoint-signing"]).ok();
    refused(&["--key", &ed], &["verify_only: files are signed by active"]);
    sign(&["--key", &ec, "--algorithm", "ed25519"]).code(2);
    sign(&["--key", &ec, "--pem", "key.pem"]).code(2);
    sign(&[]).code(2);
    assert!(!world.at("none").exists() && !world.at("none.sig").exists());
}
