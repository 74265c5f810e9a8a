//! The ring of keys from the command line: made, listed, rotated, wrapped, checked; and what is refused, with nothing changed.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::world::{Done, World, event};

impl World {
    fn ring_bytes(&self) -> Vec<u8> {
        fs::read(self.keys.join("ring.json")).unwrap()
    }

    fn ring_json(&self) -> Value {
        serde_json::from_slice(&self.ring_bytes()).unwrap()
    }

    fn key_list(&self) -> Vec<Value> {
        self.run(&["keys", "list", "--json"]).ok().json()["keys"].as_array().unwrap().clone()
    }

    fn active_key(&self, purpose: &str) -> String {
        let keys = self.key_list();
        let mut active = keys.iter().filter(|key| key["purpose"] == purpose && key["state"] == "active");
        active.next().unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Writes the ring anew with something changed, as somebody with an editor would.
    fn edit_ring(&self, change: impl FnOnce(&mut Value)) {
        let mut ring = self.ring_json();
        change(&mut ring);
        fs::write(self.keys.join("ring.json"), serde_json::to_vec_pretty(&ring).unwrap()).unwrap();
    }

    fn private(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Done {
        Done::of(&self.command(args).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap())
    }

    /// Moves the activation of a key so many days back.
    fn age(&self, purpose: &str, days: i64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let then = i64::try_from(now.as_micros()).unwrap() - days * 86_400_000_000;
        let then = indelible_core::time::Micros(then).to_string();
        self.edit_ring(|ring| {
            for key in ring["keys"].as_array_mut().unwrap() {
                if key["purpose"] == purpose && key["state"] == "active" {
                    key["activated_at"] = then.clone().into();
                    key["created_at"] = then.clone().into();
                }
            }
        });
    }
}

#[test]
fn a_ring_is_made_listed_and_never_made_twice() {
    let world = World::empty();
    world.run(&["keys", "list"]).refused(1, &["no key ring at", "INDELIBLE_KEYS"]);
    let text = world.run(&["keys", "generate"]).ok().out;
    assert!(
        text.contains(" entry-signing ") && !text.contains("entry_signing") && text.contains("not wrapped"),
        "{text}"
    );
    let before = world.ring_bytes();
    world.run(&["keys", "generate"]).refused(1, &["already", "nothing was changed"]);
    assert_eq!(world.ring_bytes(), before);
    let list = world.run(&["keys", "list", "--json"]).ok().json();
    assert_eq!(list.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"]);
    let keys = world.key_list();
    assert_eq!(keys.len(), 2);
    for key in &keys {
        assert_eq!(key["state"], "active");
        assert_eq!(world.run(&["keys", "show", key["id"].as_str().unwrap(), "--json"]).ok().json(), *key);
    }
    for secret in world.ring_json()["keys"].as_array().unwrap() {
        let secret = secret["secret"].as_str().unwrap();
        for args in [&["keys", "list", "--json"][..], &["keys", "list"], &["keys", "check", "--json"]] {
            assert!(!world.run(args).out.contains(secret));
        }
    }
    world.run(&["keys", "show", "es9-0000000000000000"]).refused(1, &["no key `es9-0000000000000000`"]);
    world.init(&[]).ok();
    assert_eq!(world.ring_bytes(), before, "`init` uses the ring that is there");
}

#[test]
fn a_ring_is_made_to_measure() {
    let world = World::empty();
    let args = ["keys", "generate", "--entry-algorithm", "HMAC-SHA-512-256", "--require", "1"];
    let more = ["--checkpoint", "ml-dsa-44,rsa-pss-sha256", "--rsa-bits", "2048", "--json"];
    let made = world.run(&[&args[..], &more].concat()).ok().json();
    let algorithms: Vec<_> = made["keys"].as_array().unwrap().iter().map(|key| key["algorithm"].clone()).collect();
    assert_eq!(algorithms, ["HMAC-SHA-512-256", "ed25519", "ml-dsa-44", "rsa-pss-sha256"]);
    assert_eq!(world.run(&["keys", "check", "--json"]).ok().json()["require"], "1");
    let other = World::empty();
    other.run(&["keys", "generate", "--require", "2"]).refused(1, &["2 checkpoint keys have to sign", "1 active"]);
    assert!(!other.keys.join("ring.json").exists());
    other.run(&["keys", "generate", "--entry-algorithm", "HMAC-MD5"]).refused(2, &["HMAC-SHA-512-256"]);
    other.run(&["keys", "generate", "--checkpoint", "dsa"]).refused(2, &["dsa"]);
}

#[test]
fn rotations_are_told_and_kept() {
    let world = World::new();
    let (entry, checkpoint) = (world.active_key("entry_signing"), world.active_key("checkpoint_signing"));
    let text = world.run(&["keys", "rotate"]).ok().out;
    assert!(text.contains(&entry) && text.contains("has taken them up: its entry 1 says so"), "{text}");
    assert_ne!(world.active_key("entry_signing"), entry);
    assert_eq!(world.active_key("checkpoint_signing"), checkpoint, "entry-signing alone where nothing is named");
    let changed = world.run(&["keys", "rotate", "--purpose", "checkpoint-signing", "--json"]).ok().json();
    assert_eq!(changed["keys"].as_array().unwrap().len(), 2);
    assert_eq!(changed["keys"][0]["state"], "active");
    assert_eq!(changed["keys"][1]["state"], "verify_only");
    let before = world.ring_bytes();
    let both = ["keys", "rotate", "--purpose", "entry-signing", "--purpose", "backup"];
    world.run(&both).refused(1, &["no active key for backup", "keys generate"]);
    assert_eq!(world.ring_bytes(), before, "all or nothing");
    assert_eq!(world.run(&["keys", "rotate", "--due"]).ok().out, "nothing to do: nothing was changed\n");
    world.run(&["keys", "rotate", "--purpose", "signing"]).code(2);
    // The form of the JSON is understood, and people are shown the one that is documented.
    world.run(&["keys", "rotate", "--purpose", "entry_signing"]).ok();
    let (list, active) = (world.run(&["keys", "list"]).ok().out, world.active_key("entry_signing"));
    assert!(list.contains(" checkpoint-signing ") && !list.contains("_signing"), "{list}");
    let shown = world.run(&["keys", "show", &active]).ok().out;
    assert!(shown.contains("purpose            entry-signing\n"), "{shown}");
    assert_eq!(world.run(&["keys", "show", &active, "--json"]).ok().json()["purpose"], "entry_signing");
}

#[test]
fn who_loses_a_checkpoint_key_is_told_the_public_key_to_hand_out() {
    let world = World::with_samples(3);
    let (stolen, old) = (world.active_key("checkpoint_signing"), world.public_key());
    let args = ["keys", "compromise", &stolen, "--from", "2", "--reason", "laptop stolen"];
    let told = world.run(&args).ok().out;
    let new = world.run(&["keys", "public"]).ok().out.trim_end().to_owned();
    assert_ne!(new, old);
    let end = format!("hand this public key to auditors and witnesses, in the place of the stolen one:\n{new}\n");
    assert!(told.ends_with(&end) && !told.contains(&old), "{told}");
    let again = world.run(&[&args[..], &["--json"]].concat()).ok().json();
    assert_eq!((&again["public_keys"], &again["record"]), (&json!([new]), &Value::Null));
    world.run(&["verify", "--public-key", &old]).ok();
    let entry = world.active_key("entry_signing");
    let args = ["keys", "compromise", &entry, "--from", "1", "--reason", "and the other", "--json"];
    assert_eq!(world.run(&args).ok().json()["public_keys"], json!([]));
}

#[test]
fn what_is_due_has_an_exit_code_of_its_own() {
    let world = World::new();
    let text = world.run(&["keys", "check"]).ok().out;
    assert!(text.starts_with("nothing is due\nnext: es1-"), "{text}");
    world.run(&["keys", "check", "--within", "89"]).ok();
    let soon = world.run(&["keys", "check", "--within", "90"]).code(4);
    assert!(soon.out.contains("within 90 days"), "{}", soon.out);
    world.age("entry_signing", 93);
    let late = world.run(&["keys", "check"]).code(4);
    assert!(late.out.contains("for 3 days: `indelible keys rotate --purpose entry-signing`"), "{}", late.out);
    let report = world.run(&["keys", "check", "--json"]).code(4).json();
    assert_eq!((&report["due"][0]["overdue_days"], &report["due"][0]["purpose"]), (&json!(3), &json!("entry_signing")));
    assert_eq!(report["next"]["purpose"], "checkpoint_signing");
    assert_eq!(report["master"], Value::Null);
    let rotated = world.run(&["keys", "rotate", "--due", "--json"]).ok().json();
    assert_eq!(rotated["keys"].as_array().unwrap().len(), 2);
    world.run(&["keys", "check"]).ok();
    assert!(world.run(&["keys", "check", "--help"]).ok().out.contains("4  keys are due"));
}

#[test]
fn a_key_is_prepared_activated_retired_and_destroyed() {
    let world = World::new();
    let made = world.run(&["keys", "generate", "--purpose", "checkpoint-signing", "--json"]).ok().json();
    let id = made["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["keys"][0]["state"], "pre_active");
    world.run(&["keys", "retire", &id]).refused(1, &["pre_active and cannot become verify_only"]);
    world.run(&["keys", "activate", &id]).ok();
    assert_eq!(world.active_key("checkpoint_signing"), id);
    world.run(&["keys", "activate", &id]).refused(1, &["it is what was asked for"]);
    world.run(&["keys", "retire", &id]).refused(1, &["a log cannot do without it"]);
    world.run(&["keys", "destroy", &id, "--yes"]).refused(1, &["rotate its purpose first"]);
    let args = ["keys", "generate", "--purpose", "checkpoint-signing", "--algorithm", "ecdsa-p256-sha256"];
    let second = world.run(&[&args[..], &["--activate", "--json"]].concat()).ok().json();
    let second = second["keys"][0]["id"].as_str().unwrap().to_owned();
    world.run(&["keys", "policy", "--require", "2"]).ok();
    world.run(&["keys", "retire", &second]).refused(1, &["2 checkpoint keys have to sign", "lower `require` first"]);
    world.run(&["keys", "policy", "--require", "all"]).ok();
    world.run(&["keys", "retire", &second]).ok();
    world.run(&["keys", "destroy", &second]).refused(2, &["--yes"]);
    world.run(&["keys", "destroy", &second, "--yes"]).ok();
    assert_eq!(world.run(&["keys", "show", &second, "--json"]).ok().json()["state"], "destroyed");
    world.run(&["keys", "destroy", &second, "--yes"]).refused(1, &["it is gone already"]);
    let backup = ["keys", "generate", "--purpose", "backup", "--activate", "--days", "10", "--json"];
    assert_eq!(world.run(&backup).ok().json()["keys"][0]["cryptoperiod_days"], 10);
    world.run(&["keys", "generate", "--purpose", "backup", "--algorithm", "ed25519"]).refused(2, &["AES-256-GCM"]);
    world.run(&["keys", "generate", "--purpose", "backup", "--rsa-bits", "2048"]).refused(2, &["RSA"]);
}

#[test]
fn a_key_that_another_log_still_signs_with_is_not_destroyed() {
    let world = World::with_samples(3);
    let other = world.path("other");
    world.run(&["init", &other, "--origin", "test.example/other", "--no-immutable"]).ok();
    let old = world.active_key("checkpoint_signing");
    world.run(&["keys", "rotate", "--purpose", "checkpoint-signing"]).ok();
    let before = world.ring_bytes();
    let destroy = ["keys", "destroy", &old, "--yes"];
    world.run(&destroy).refused(1, &["`test.example/other` may still need", "nothing was changed", "append --log"]);
    assert_eq!(world.ring_bytes(), before);
    // The other log takes the new key up, and goes on without the old one.
    world.feed(&["append", "--log", &other], "").ok();
    world.run(&destroy).ok();
    for log in [&world.path("log"), &other] {
        world.feed(&["append", "--log", log], event("later")).ok();
        world.run(&["verify", "--log", log]).ok();
    }
}

#[test]
fn times_of_checkpoint_keys_are_one_to_three_years_unless_somebody_means_another() {
    let world = World::new();
    let policy = ["keys", "policy", "--purpose", "checkpoint-signing", "--days", "90"];
    world.run(&policy).refused(2, &["365 to 1096 days, not 90", "--any-time"]);
    world.run(&[&policy[..], &["--any-time"]].concat()).ok();
    assert_eq!(
        world.run(&["keys", "check", "--within", "90", "--json"]).code(4).json()["due"].as_array().unwrap().len(),
        2
    );
    world.run(&["keys", "policy", "--days", "30"]).refused(2, &["--purpose"]);
    world.run(&["keys", "policy"]).refused(2, &["nothing is to change"]);
    let changed = world.run(&["keys", "policy", "--purpose", "entry-signing", "--days", "30", "--json"]).ok().json();
    assert_eq!(changed["keys"][0]["cryptoperiod_days"], 30);
}

#[test]
fn a_wrapped_ring_serves_everything_with_its_master_key_and_nothing_without() {
    let world = World::new();
    let secret = world.ring_json()["keys"][0]["secret"].as_str().unwrap().to_owned();
    let master = world.private("master", "07".repeat(32));
    world.run(&["keys", "master", "set", "--new-key-file", &master]).ok();
    assert!(!String::from_utf8(world.ring_bytes()).unwrap().contains(&secret));
    let event = crate::world::event("one");
    for args in
        [&["append"][..], &["verify"], &["keys", "rotate"], &["keys", "public"], &["keys", "master", "remove", "--yes"]]
    {
        world.feed(args, &event).refused(1, &["wrapped under a master key", "from a file", "--master-key-file"]);
    }
    world.run(&["keys", "list"]).ok();
    world.run(&["keys", "check"]).ok();
    world.feed(&["append", "--master-key-file", &master], &event).ok();
    world.run_with(&[("INDELIBLE_MASTER_KEY_FILE", &master)], &["verify"]).ok();
    world.run_with(&[("INDELIBLE_MASTER_KEY", &"07".repeat(32))], &["verify"]).ok();
    let wrong = world.private("wrong", [8; 32]);
    world.run(&["verify", "--master-key-file", &wrong]).refused(1, &["does not unwrap", "nothing was changed"]);
    let short = world.private("short", [7; 31]);
    world.run(&["verify", "--master-key-file", &short]).refused(1, &["neither 32 bytes nor 64 hexadecimal digits"]);
    world.run(&["verify", "--master-key-file", &world.path("nowhere")]).refused(1, &["cannot be read"]);
    fs::set_permissions(&master, fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["verify", "--master-key-file", &master]).refused(1, &["0644", "chmod 600"]);
    fs::set_permissions(&master, fs::Permissions::from_mode(0o600)).unwrap();

    let before = world.ring_bytes();
    let again = ["keys", "master", "set", "--new-from-environment", "--master-key-file", &master];
    let key = [("INDELIBLE_NEW_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    world.run_with(&key, &again).refused(1, &["wrapped already", "keys master change"]);
    assert_eq!(world.ring_bytes(), before);
    let change = ["keys", "master", "change", "--new-from-environment", "--master-key-file", &master];
    world.run_with(&key, &change).ok();
    let key = [("INDELIBLE_MASTER_KEY", key[0].1)];
    world.run_with(&key, &["verify"]).ok();
    world.run(&["verify"]).refused(1, &["set INDELIBLE_MASTER_KEY"]);
    world.run_with(&[("INDELIBLE_MASTER_KEY", "xyz")], &["verify"]).refused(1, &["neither 64 hexadecimal digits"]);
    world.run_with(&key, &["keys", "master", "remove"]).refused(2, &["--yes"]);
    world.run_with(&key, &["keys", "master", "remove", "--yes"]).ok();
    assert!(String::from_utf8(world.ring_bytes()).unwrap().contains(&secret));
    world.run(&["verify", "--master-key-file", &master]).refused(1, &["not wrapped", "keys master set"]);
    world.run(&["keys", "master", "set"]).code(2);
}

#[test]
fn new_rings_are_wrapped_where_a_master_key_is_given() {
    let world = World::empty();
    let master = world.private("master", "07".repeat(32));
    world.init(&["--master-key-file", &master]).ok();
    assert_eq!(world.ring_json()["master"]["source"], "file");
    world.run(&["verify", "--master-key-file", &master]).ok();
    let other = World::empty();
    let key = "ab".repeat(32);
    other.run_with(&[("INDELIBLE_MASTER_KEY", &key)], &["keys", "generate"]).ok();
    assert_eq!(other.ring_json()["master"]["source"], "environment");
    let third = World::empty();
    let phrase = [("INDELIBLE_NEW_PASSPHRASE", "four words nobody guesses")];
    third.run_with(&phrase, &["keys", "generate", "--passphrase"]).ok();
    let form = &third.ring_json()["master"];
    assert_eq!(
        (&form["source"], &form["m_kib"], &form["t"], &form["p"]),
        (&json!("passphrase"), &json!(65536), &json!(3), &json!(4))
    );
    third.run_with(&[("INDELIBLE_PASSPHRASE", "four words nobody guesses")], &["keys", "rotate"]).ok();
    let refused = third.run_with(&[("INDELIBLE_PASSPHRASE", "five")], &["keys", "rotate"]);
    refused.refused(1, &["does not unwrap"]);
    let file = ["keys", "rotate", "--master-key-file", &master];
    third.run(&file).refused(1, &["INDELIBLE_PASSPHRASE", "terminal"]);
    third.run(&["keys", "generate", "--purpose", "backup"]).refused(1, &["INDELIBLE_PASSPHRASE"]);
}

/// A terminal for a program: what is typed on it, and what the program shows.
fn on_a_terminal(world: &World, args: &[&str], typed: &[&str]) -> Done {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = world.command(args);
    command.stdin(terminal).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut stderr = child.stderr.take().unwrap();
    let mut controller = fs::File::from(controller);
    let mut shown = String::new();
    // Each answer is typed once its question stands there: before that, the terminal would show it.
    for answer in typed {
        let questions = shown.matches(": ").count();
        let mut byte = [0];
        while shown.matches(": ").count() == questions && stderr.read(&mut byte).unwrap() == 1 {
            shown.push(char::from(byte[0]));
        }
        controller.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    // A question too many would wait for ever.
    let mut byte = [0];
    while stderr.read(&mut byte).unwrap() == 1 {
        shown.push(char::from(byte[0]));
        if shown.ends_with("key ring: ") {
            child.kill().unwrap();
        }
    }
    let mut done = Done::of(&child.wait_with_output().unwrap());
    done.err = shown;
    // What the terminal echoed, if anything: the other end is closed, so that reading ends.
    let mut echoed = Vec::new();
    drop(controller.read_to_end(&mut echoed));
    let echoed = String::from_utf8_lossy(&echoed);
    assert!(!echoed.contains("guesses"), "the passphrase was shown: {echoed}");
    done
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_and_not_shown() {
    let world = World::new();
    let set = ["keys", "master", "set", "--new-passphrase"];
    let phrase = "four words nobody guesses";
    let differ = on_a_terminal(&world, &set, &[phrase, "four words"]).code(1);
    assert!(differ.err.contains("differ: nothing was changed"), "{}", differ.err);
    assert_eq!(world.ring_json()["master"], Value::Null);
    on_a_terminal(&world, &set, &[phrase, phrase]).ok();
    assert_eq!(world.ring_json()["master"]["source"], "passphrase");
    on_a_terminal(&world, &["keys", "rotate"], &[phrase]).ok();
    let wrong = on_a_terminal(&world, &["verify"], &["four words"]).code(1);
    assert!(wrong.err.contains("does not unwrap"), "{}", wrong.err);
    on_a_terminal(&world, &["verify"], &[""]).code(1);
    world.run(&["verify"]).refused(1, &["INDELIBLE_PASSPHRASE"]);
}

#[test]
fn rings_that_cannot_be_read_are_told_apart() {
    let world = World::new();
    let whole = world.ring_bytes();
    type Row<'a> = (fn(&mut Value), &'a [&'a str]);
    let rows: [Row<'_>; 6] = [
        (|ring| ring["v"] = 3.into(), &["has format 3", "newer program"]),
        (|ring| ring["keys"][0]["secret"] = "00".repeat(32).into(), &["not the bytes that its id was made from"]),
        (|ring| ring["keys"][0]["secret"] = "00".repeat(31).into(), &["has 31 bytes", "has 32"]),
        (
            |ring| ring["keys"][0]["algorithm"] = "ed25519".into(),
            &["no key for entry-signing by `ed25519`", "HMAC-SHA256"],
        ),
        (|ring| ring["keys"][0]["state"] = "lost".into(), &["state that is not known"]),
        (
            |ring| ring["keys"][0]["activated_at"] = "2999-01-01T00:00:00.000000Z".into(),
            &["activated at 2999", "set the clock right"],
        ),
    ];
    for (change, words) in rows {
        world.edit_ring(change);
        // Verifying signs nothing, so it asks no clock.
        let verified = world.run(&["verify"]);
        if words.contains(&"set the clock right") {
            verified.ok();
        } else {
            verified.refused(1, words);
        }
        world.feed(&["append"], crate::world::event("x")).refused(1, words);
        fs::write(world.keys.join("ring.json"), &whole).unwrap();
    }
    fs::write(world.keys.join("ring.json"), &whole[..whole.len() / 2]).unwrap();
    for args in [["verify", "--json"], ["keys", "list"], ["keys", "rotate"], ["keys", "check"]] {
        world.run(&args).refused(1, &["breaks off or was edited", "restore it from your copy"]);
    }
    fs::write(world.keys.join("ring.json"), &whole).unwrap();
    fs::set_permissions(world.keys.join("ring.json"), fs::Permissions::from_mode(0o640)).unwrap();
    world.run(&["keys", "list"]).refused(1, &["0640", "chmod 600"]);
    fs::set_permissions(world.keys.join("ring.json"), fs::Permissions::from_mode(0o600)).unwrap();
    world.run(&["verify"]).ok();
}

#[test]
fn a_key_from_elsewhere_is_taken_in() {
    let world = World::new();
    let hex = world.private("hex", "09".repeat(32) + "\n");
    let taken = world.run(&["keys", "import", "--purpose", "entry-signing", "--json", &hex]).ok().json();
    assert_eq!((&taken["keys"][0]["version"], &taken["keys"][0]["state"]), (&json!(2), &json!("pre_active")));
    world.run(&["keys", "import", "--purpose", "entry-signing", &hex]).refused(1, &["in the ring already"]);
    let raw = world.private("raw", [5; 32]);
    let args = ["keys", "import", "--purpose", "entry-signing", "--version", "9", "--verify-only", "--json", &raw];
    let taken = world.run(&args).ok().json();
    assert_eq!(taken["keys"][0]["id"], indelible_core::mac::entry_key_id(&[5; 32], 9).as_str());
    let before = world.ring_bytes();
    let short = world.private("short", [5; 16]);
    world.run(&["keys", "import", "--purpose", "entry-signing", &short]).refused(1, &["has 16 bytes", "has 32"]);
    world.run(&["keys", "import", "--purpose", "entry-signing", &world.path("nowhere")]).refused(1, &["cannot read"]);
    let open = world.write("open", [6; 32]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["keys", "import", "--purpose", "entry-signing", &open]).refused(1, &["0644", "chmod 600"]);
    assert_eq!(world.ring_bytes(), before);
}

#[test]
fn public_keys_are_exported_as_others_read_them() {
    let world = World::new();
    let vkey = ["keys", "export-public", "--format", "vkey", "--origin", "test.example/audit"];
    assert_eq!(world.run(&vkey).ok().out.trim_end(), world.public_key());
    world.run(&vkey[..4]).code(2);
    let pem = world.run(&["keys", "export-public"]).ok().out;
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
    let jwk = world.run(&["keys", "export-public", "--format", "jwk"]).ok().json();
    assert_eq!((&jwk["kty"], &jwk["crv"]), (&json!("OKP"), &json!("Ed25519")));
    let der = world.command(&["keys", "export-public", "--format", "der"]).output().unwrap();
    assert_eq!(der.stdout.len(), 44);
    let entry = world.active_key("entry_signing");
    world.run(&["keys", "export-public", &entry]).refused(1, &["no public half"]);
    let json = world.run(&["keys", "export-public", "--json"]).ok().json();
    assert_eq!(json["public_key"].as_str().unwrap(), pem);
}

#[test]
fn private_keys_made_by_openssl_sign_checkpoints() {
    if !has("openssl", "version") {
        return;
    }
    let world = World::new();
    let rsa: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let ec: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for (made_by, asked_for, is) in [
        (&["-algorithm", "ED25519"][..], None, "ed25519"),
        (ec, None, "ecdsa-p256-sha256"),
        (rsa, None, "rsa-pss-sha256"),
        (rsa, Some("rsa-pkcs1-sha256"), "rsa-pkcs1-sha256"),
    ] {
        for form in ["PEM", "DER"] {
            let (made, file) = (world.private("made", ""), world.private("own", ""));
            let mut openssl = Command::new("openssl");
            openssl.arg("genpkey").args(made_by).args(["-out", &made]).stderr(Stdio::null());
            assert!(openssl.status().unwrap().success());
            // `genpkey -outform DER` writes other forms than PKCS#8 in some versions of OpenSSL.
            let to_form = ["pkcs8", "-topk8", "-nocrypt", "-in", &made, "-outform", form, "-out", &file];
            assert!(Command::new("openssl").args(to_form).status().unwrap().success());
            let mut args = vec!["keys", "import", "--purpose", "checkpoint-signing", "--json", &file];
            args.extend(asked_for.iter().flat_map(|name| ["--algorithm", name]));
            let taken = world.run(&args).ok().json();
            assert_eq!(taken["keys"][0]["algorithm"], is, "{form}");
            let id = taken["keys"][0]["id"].as_str().unwrap().to_owned();
            world.run(&["keys", "activate", &id]).ok();
            let exported = world.run(&["keys", "export-public", &id]).ok().out;
            let public =
                Command::new("openssl").args(["pkey", "-inform", form, "-in", &file, "-pubout"]).output().unwrap();
            assert_eq!(exported.as_bytes(), public.stdout);
        }
    }
    let file = world.private("ec", "");
    assert!(Command::new("openssl").arg("genpkey").args(ec).args(["-out", &file]).status().unwrap().success());
    let before = world.ring_bytes();
    let args = ["keys", "import", "--purpose", "checkpoint-signing", "--algorithm", "ed25519", &file];
    world.run(&args).refused(1, &["a key for `ecdsa-p256-sha256`, and one for `ed25519` is needed"]);
    world.run(&["keys", "import", "--purpose", "entry-signing", &file]).refused(1, &["bytes, HMAC-SHA256 has 32"]);
    assert_eq!(world.ring_bytes(), before);
}

/// Runs a block of the document in a world's directory, with the program in the search path.
fn sh(world: &World, block: &str) -> Done {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_indelible")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(program).chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-euc", block]).current_dir(world.at("")).env("PATH", path).stdin(Stdio::null());
    for name in ["INDELIBLE_LOG", "INDELIBLE_MASTER_KEY", "INDELIBLE_MASTER_KEY_FILE", "INDELIBLE_PASSPHRASE"] {
        command.env_remove(name);
    }
    Done::of(&command.env("INDELIBLE_KEYS", &world.keys).env("HOME", world.at("")).output().unwrap())
}

const DOCUMENT: &str = include_str!("../../../../docs/keys.md");

/// The blocks of one kind under a heading.
fn blocks(heading: &str, kind: &str) -> Vec<&'static str> {
    let section = DOCUMENT.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    section.split(&format!("```{kind}\n")).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn has(program: &str, asked: &str) -> bool {
    let there = Command::new(program).arg(asked).output().is_ok_and(|done| done.status.success());
    if !there {
        eprintln!("SKIPPED (aloud): {program} is not installed; commands of docs/keys.md that need it were not run");
    }
    there
}

#[test]
fn the_document_s_commands_do_what_it_says() {
    if !has("openssl", "version") {
        return;
    }
    let world = World::empty();
    let states = |world: &World| -> Vec<String> {
        world.key_list().iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
    };
    sh(&world, &blocks("The life of a key", "sh").concat()).ok();
    let all = states(&world);
    for state in ["active", "verify_only", "destroyed"] {
        assert!(all.iter().any(|found| found == state), "{state}: {all:?}");
    }
    let shown = sh(&world, &blocks("The ring file", "sh").concat()).ok().out;
    assert!(shown.starts_with("-rw-------") && shown.contains("-----BEGIN PUBLIC KEY-----"), "{shown}");
    let before = world.active_key("entry_signing");
    sh(&world, &blocks("Master keys", "sh").concat()).ok();
    assert_eq!(world.ring_json()["master"], Value::Null);
    let version = |id: &str| id["es".len()..].split('-').next().unwrap().parse::<u32>().unwrap();
    assert_eq!(
        version(&world.active_key("entry_signing")),
        version(&before).max(7) + 4,
        "four rotations, behind the import"
    );
    sh(&world, &blocks("What is due", "sh").concat()).ok();

    // The lines for cron, with this ring.
    let [check, rotate] = blocks("What is due", "cron")[..] else { panic!("two lines") };
    let command = |line: &str| {
        let command = line.splitn(6, ' ').nth(5).unwrap();
        command.replace("INDELIBLE_KEYS=/var/lib/indelible/keys", &format!("INDELIBLE_KEYS='{}'", world.keys.display()))
    };
    assert_eq!(sh(&world, &command(check)).ok().out, "", "nothing to say");
    world.age("entry_signing", 80);
    assert!(sh(&world, &command(check)).ok().out.contains("keys rotate --purpose entry-signing"));
    let old = world.active_key("entry_signing");
    assert_eq!(sh(&world, &command(rotate)).ok().out, "");
    assert_ne!(world.active_key("entry_signing"), old);
    assert_eq!(sh(&world, &command(check)).ok().out, "");
}

#[test]
fn the_document_s_night_of_a_stolen_key_goes_as_it_says() {
    if !has("jq", "--version") {
        return;
    }
    let world = World::empty();
    let blocks = [blocks("The keys of a log", "sh"), blocks("A stolen key: what to do at night", "sh")].concat();
    let shown = sh(&world, &blocks.concat()).ok().out;
    for said in [
        "intact: entry 300 of `example.com/audit`",
        "is compromised from entry 300 on: laptop stolen in the night of 29 November; entries 300 to 401 are signed by it",
        "201 entries of `es2-",
        "resigned, entry 201: entries 201 to 401 were signed by key `es2-",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn the_document_s_states_are_those_of_the_program() {
    use indelible_keys::State;
    let section = DOCUMENT.split("\n## States\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert_eq!(rows.len(), 5);
    let columns = [State::Active, State::VerifyOnly, State::Compromised, State::Destroyed];
    for row in rows {
        let mut cells = row.split('|');
        let from = State::parse(cells.next().unwrap().split('`').next().unwrap()).unwrap();
        for (to, cell) in columns.into_iter().zip(cells) {
            assert_eq!(from.may_become(to), !cell.trim().is_empty(), "{from} to {to}");
        }
    }
}
