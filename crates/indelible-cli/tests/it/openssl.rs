//! What `docs/keys.md` says under "With OpenSSL", as it is written there.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use indelible_core::{
    checkpoint::Checkpoint,
    note::{Algorithm, NoteSigner},
    tree::{Hash, TreeHead, TreeSize},
};
use indelible_keys::CheckpointSigner;

use crate::world::{Done, World};

const KEYS: &str = include_str!("../../../../docs/keys.md");

/// The commands under a heading of the section, block by block.
fn commands(heading: &str) -> Vec<&'static str> {
    let section = KEYS.split("\n## With OpenSSL\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let part = section.split(&format!("\n### {heading}\n")).nth(1).unwrap().split("\n### ").next().unwrap();
    part.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs a block in a world's directory, with the program in the search path.
fn sh(world: &World, block: &str, variables: &[(&str, &str)]) -> Done {
    let program = Path::new(env!("CARGO_BIN_EXE_indelible")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(program).chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-euc", block]).current_dir(world.at("")).env("PATH", path).stdin(Stdio::null());
    command.env("INDELIBLE_LOG", &world.log).env("INDELIBLE_KEYS", &world.keys).env("HOME", world.at(""));
    command.envs(variables.iter().copied());
    Done::of(&command.output().unwrap())
}

/// OpenSSL 3 and the tools of GNU that the commands use.
fn present() -> bool {
    let openssl = Command::new("openssl").arg("version").output().map(|output| Done::of(&output).out);
    let there = openssl.is_ok_and(|version| version.starts_with("OpenSSL 3"))
        && Command::new("sha256sum").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED (aloud): no OpenSSL 3, or no sha256sum");
    }
    there
}

/// A directory with a checkpoint that one key of each algorithm signed, and the text of the last one's key.
fn checkpoint(world: &World, algorithm: Algorithm) -> String {
    let origin = "example.com/audit";
    let signer = |algorithm| {
        let bits = matches!(algorithm, Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256).then_some(2048);
        let secret = CheckpointSigner::generate_secret(algorithm, bits).unwrap();
        CheckpointSigner::from_secret(algorithm, &secret, origin).unwrap()
    };
    let signers = Algorithm::ALL.map(signer);
    let all: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as _).collect();
    let head = TreeHead { size: TreeSize(42), root: Hash([9; 32]) };
    let note = Checkpoint::new(origin, head).sign(&all).unwrap();
    fs::write(world.at("checkpoint"), note.to_string()).unwrap();
    let signer = signers.iter().find(|signer| signer.verifying_key().algorithm() == algorithm).unwrap();
    signer.verifying_key().to_string()
}

#[test]
fn openssl_verifies_checkpoints_by_the_documented_commands() {
    if !present() {
        return;
    }
    let [_, take, ed_key, ed, rsa_key, dgst, pss] = commands("A checkpoint")[..] else { panic!("other blocks") };
    for (algorithm, key, verify) in [
        (Algorithm::RsaPkcs1Sha256, rsa_key, dgst),
        (Algorithm::EcdsaP256Sha256, rsa_key, dgst),
        (Algorithm::RsaPssSha256, rsa_key, pss),
        (Algorithm::Ed25519, ed_key, ed),
    ] {
        let world = World::empty();
        let vkey = checkpoint(&world, algorithm);
        let run = |block| sh(&world, block, &[("VKEY", &vkey)]);
        run(take).ok();
        run(key).ok();
        let said = run(verify).ok().out;
        assert!(said.contains("Verified OK") || said.contains("Verified Successfully"), "{algorithm}: {said}");
        let text = fs::read_to_string(world.at("text")).unwrap();
        assert!(text.starts_with("example.com/audit\n42\n") && text.lines().count() == 3, "{text}");
        world.write("text", text.replace("42", "43"));
        run(verify).code(1);
        world.write("text", &text);
        run(verify).ok();
        // The signature of another key is not found to be this one's.
        fs::remove_file(world.at("signature")).unwrap();
        let other = checkpoint(&World::empty(), algorithm);
        sh(&world, take, &[("VKEY", &other)]);
        assert!(!world.at("signature").exists(), "{algorithm}");
    }
}

#[test]
fn the_page_goes_from_its_beginning_in_one_shell_and_leaves_other_keys_alone() {
    if !present() || Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED (aloud): no jq, or no OpenSSL");
        return;
    }
    // With the keys and the log of the README's tour in the environment.
    let world = World::with_samples(3);
    let ring = fs::read(world.keys.join("ring.json")).unwrap();
    let before = KEYS.split("\n## With OpenSSL\n").next().unwrap();
    let mut blocks: Vec<&str> = before.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 15 && blocks[0].starts_with("mkdir keys-tour"), "{}", blocks[0]);
    // Of the keys that sign this checkpoint, the Ed25519 one.
    blocks.extend(&commands("A checkpoint")[..4]);
    blocks.extend(commands("An entry"));
    let shown = sh(&world, &blocks.concat(), &[]).ok().out;
    assert!(shown.contains("Signature Verified Successfully"), "{shown}");
    let mac = world.run(&["show", "2", "--json", "--log", &world.path("keys-tour/my.log")]);
    let mac = mac.ok().json()["mac"].as_str().unwrap().to_owned();
    assert!(shown.trim_end().ends_with(&mac), "{shown}");
    assert_eq!(fs::read(world.keys.join("ring.json")).unwrap(), ring);
}

#[test]
fn openssl_computes_the_signature_of_an_entry_by_the_documented_commands() {
    if !present() {
        return;
    }
    let world = World::with_samples(3);
    let [compute] = commands("An entry")[..] else { panic!("other blocks") };
    let mac = world.run(&["show", "2", "--json"]).ok().json()["mac"].as_str().unwrap().to_owned();
    assert!(sh(&world, compute, &[]).ok().out.trim_end().ends_with(&mac));
}

#[test]
fn openssl_verifies_signed_files_by_the_documented_commands() {
    if !present() {
        return;
    }
    let [make, sign, dgst, pss, ed, sums, verify, by_ring] = commands("Signed files")[..] else {
        panic!("other blocks")
    };
    for (kind, algorithm, check) in [
        ("RSA -pkeyopt rsa_keygen_bits:3072", "rsa-pkcs1-sha256", dgst),
        ("EC -pkeyopt ec_paramgen_curve:P-256", "ecdsa-p256-sha256", dgst),
        ("RSA -pkeyopt rsa_keygen_bits:3072", "rsa-pss-sha256", pss),
        ("ED25519", "ed25519", ed),
    ] {
        let world = World::empty();
        fs::create_dir(world.at("2026-11-20")).unwrap();
        world.write("2026-11-20/export.jsonl", "{}\n");
        world.write("2026-11-20/report.pdf", [0xff, 0, b'\n']);
        let run = |block: &str| sh(&world, block, &[]);
        assert!(make.contains("RSA -pkeyopt rsa_keygen_bits:3072") && sign.contains("--algorithm rsa-pkcs1-sha256"));
        run(&make.replace("RSA -pkeyopt rsa_keygen_bits:3072", kind)).ok();
        run(&sign.replace("rsa-pkcs1-sha256", algorithm)).ok();
        let said = run(check).ok().out;
        assert!(said.contains("Verified OK") || said.contains("Verified Successfully"), "{algorithm}: {said}");
        let said = run(sums).ok();
        assert_eq!((said.out.lines().count(), said.err.as_str()), (2, ""), "{algorithm}: {}", said.out);
        run(verify).ok();
        world.run(&["keys", "generate"]).ok();
        run(by_ring).ok();
        // What the documents say of changes.
        world.write("2026-11-20/export.jsonl", "{} \n");
        run(sums).code(1);
        run(check).ok();
        run(verify).code(10);
        let manifest = fs::read_to_string(world.at("2026-11-20.sha256")).unwrap();
        world.write("2026-11-20.sha256", manifest.replace("report", "rep0rt"));
        run(check).code(1);
        run(verify).code(10);
    }
}
