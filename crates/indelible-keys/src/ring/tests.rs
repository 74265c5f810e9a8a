//! Rings that are made, read back, edited by hand and wrapped.

use std::fs;

use indelible_core::{hex, note::NoteSigner as _};
use serde_json::Value;

use super::*;

fn at(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

fn ring_json(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(ring_path(dir)).unwrap()).unwrap()
}

/// Writes the ring anew with one thing changed, as somebody with an editor would.
fn edit(dir: &Path, change: impl FnOnce(&mut Value)) {
    let mut ring = ring_json(dir);
    change(&mut ring);
    fs::write(ring_path(dir), serde_json::to_vec_pretty(&ring).unwrap()).unwrap();
}

#[test]
fn a_ring_is_made_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    assert!(matches!(KeyRing::load(&keys), Err(KeyError::Missing { .. })));
    let now = at("2026-01-01T00:00:00Z");
    let ring = KeyRing::load_or_create_at(&keys, now).unwrap();
    let again = KeyRing::load_or_create(&keys).unwrap();
    assert_eq!(ring.entry_key_id(), again.entry_key_id());
    let made_at = |keys: &Path| at(ring_json(keys)["keys"][0]["created_at"].as_str().unwrap());
    assert_eq!(made_at(&keys), now);
    KeyRing::load_or_create(&dir.path().join("others")).unwrap();
    assert!(made_at(&dir.path().join("others")) > now, "the clock was read");
    assert!(matches!(KeyRing::create_with(&keys, now, &NewRing::default()), Err(KeyError::Exists { .. })));
    let secret = ring_json(&keys)["keys"][0]["secret"].as_str().unwrap().to_owned();
    assert!(!format!("{ring:?} {:?} {:?}", ring.active_entry(), ring.keys().collect::<Vec<_>>()).contains(&secret));
    assert_eq!(ring_json(&keys)["v"], 2);
    assert_eq!(ring_json(&keys)["master"], Value::Null);
}

#[test]
fn keys_are_found_by_id_and_by_public_key() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load_or_create(dir.path()).unwrap();
    let active = ring.active_entry().unwrap();
    let found = ring.entry(active.id()).unwrap();
    assert_eq!((found.version(), found.state(), found.algorithm()), (1, State::Active, EntryAlgorithm::HmacSha256));
    let (log, leaf) = (LogId([3; 16]), indelible_core::tree::Hash([4; 32]));
    let key = found.key(log, "example.com/a", 1);
    assert_eq!(key.id(), ring.entry_key_id());
    assert!(ring.entry_key(log, "example.com/a", 1).verify(&leaf, &key.sign(&leaf)));
    assert!(!found.resign_key(log, "example.com/a", 1).verify(&leaf, &key.sign(&leaf)));
    assert!(ring.entry("es1-0000000000000000").is_none());
    let checkpoint = ring.keys().find(|key| key.purpose == Purpose::CheckpointSigning).unwrap();
    assert!(ring.entry(&checkpoint.id).is_none());
    let signer = ring.checkpoint_signer("example.com/a").unwrap();
    let known = signer.verifying_key().clone();
    let unknown = VerifyingKey::ed25519("example.com/a", [9; 32]).unwrap();
    let signers = ring.signers_for("example.com/a", &[unknown, known.clone()]).unwrap();
    assert_eq!(signers.iter().map(|s| s.verifying_key()).collect::<Vec<_>>(), [&known]);
    assert!(ring.signers_for("example.com/b", &[known]).unwrap().is_empty());
}

/// As the program of format 1 wrote it.
const FORMAT_1: &str = r#"{
  "keys": [
    {
      "algorithm": "HMAC-SHA256",
      "created_at": "2026-01-01T00:00:00.000000Z",
      "id": "ENTRY-ID",
      "purpose": "entry_signing",
      "secret": "0101010101010101010101010101010101010101010101010101010101010101",
      "state": "active",
      "version": 1
    },
    {
      "algorithm": "ed25519",
      "created_at": "2026-01-01T00:00:00.000000Z",
      "id": "CHECKPOINT-ID",
      "purpose": "checkpoint_signing",
      "secret": "0202020202020202020202020202020202020202020202020202020202020202",
      "state": "active",
      "version": 1
    }
  ],
  "v": 1
}
"#;

/// A ring of format 1, its ids computed apart from the code under test.
pub(super) fn write_format_1(dir: &Path) {
    use sha2::Digest as _;
    let public = CheckpointSigner::new(&[2; 32], "id").unwrap().verifying_key().public_key().to_vec();
    let mut text = b"indelible/v1/key-id/checkpoint-signing".to_vec();
    text.extend_from_slice(&public);
    let checkpoint = format!("cs1-{}", &hex::encode(&sha2::Sha256::digest(&text))[..16]);
    let text = FORMAT_1.replace("CHECKPOINT-ID", &checkpoint).replace("ENTRY-ID", &mac::entry_key_id(&[1; 32], 1));
    write_private(&ring_path(dir), text.as_bytes());
}

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_ring_of_format_1_is_read_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    write_format_1(dir.path());
    let before = fs::read(ring_path(dir.path())).unwrap();
    let ring = KeyRing::load(dir.path()).unwrap();
    assert_eq!(ring.entry_key_id(), mac::entry_key_id(&[1; 32], 1));
    assert_eq!(ring.require(), Require::All);
    let [entry, checkpoint] = ring.keys().collect::<Vec<_>>()[..] else { panic!("two keys") };
    assert_eq!((entry.cryptoperiod_days, checkpoint.cryptoperiod_days), (90, 730));
    assert_eq!(entry.activated_at, Some(at("2026-01-01T00:00:00Z")));
    assert!(ring.checkpoint_signer("a").is_ok());
    assert_eq!(fs::read(ring_path(dir.path())).unwrap(), before, "reading changes nothing");
}

#[test]
fn what_was_edited_is_told_apart() {
    type Row = (&'static str, fn(&mut Value), fn(&KeyError) -> bool);
    let rows: &[Row] = &[
        (
            "another secret",
            |r| r["keys"][0]["secret"] = "00".repeat(32).into(),
            |e| matches!(e, KeyError::WrongBytes { .. }),
        ),
        (
            "another seed",
            |r| r["keys"][1]["secret"] = "00".repeat(32).into(),
            |e| matches!(e, KeyError::WrongBytes { .. }),
        ),
        (
            "another public key",
            |r| r["keys"][1]["public"] = "AAAA".into(),
            |e| matches!(e, KeyError::WrongBytes { .. }),
        ),
        ("another version", |r| r["keys"][0]["version"] = 2.into(), |e| matches!(e, KeyError::WrongBytes { .. })),
        (
            "a short secret",
            |r| r["keys"][0]["secret"] = "00".repeat(31).into(),
            |e| matches!(e, KeyError::WrongLength { found: 31, wanted: 32, .. }),
        ),
        (
            "a long seed",
            |r| r["keys"][1]["secret"] = "00".repeat(64).into(),
            |e| matches!(e, KeyError::WrongLength { found: 64, .. }),
        ),
        (
            "upper case",
            |r| r["keys"][0]["secret"] = "AB".repeat(32).into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        ("another type", |r| r["keys"][0]["algorithm"] = "ed25519".into(), |e| matches!(e, KeyError::WrongType { .. })),
        (
            "a type of another purpose",
            |r| r["keys"][1]["algorithm"] = "HMAC-SHA256".into(),
            |e| matches!(e, KeyError::WrongType { .. }),
        ),
        (
            "an unknown purpose",
            |r| r["keys"][0]["purpose"] = "signing".into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "an unknown state",
            |r| r["keys"][0]["state"] = "suspended".into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "a key that never became active",
            |r| drop(r["keys"][0].as_object_mut().unwrap().remove("activated_at")),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "no active key",
            |r| r["keys"][0]["state"] = "verify_only".into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "a destroyed key with a secret",
            |r| r["keys"][0]["state"] = "destroyed".into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "a key twice",
            |r| {
                let key = r["keys"][0].clone();
                r["keys"].as_array_mut().unwrap().push(key)
            },
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        ("a member more", |r| r["keys"][0]["colour"] = "red".into(), |e| matches!(e, KeyError::Malformed { .. })),
        (
            "no master",
            |r| drop(r.as_object_mut().unwrap().remove("master")),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        ("a strange policy", |r| r["require"] = "most".into(), |e| matches!(e, KeyError::Malformed { .. })),
        (
            "a time that is none",
            |r| r["keys"][0]["created_at"] = "yesterday".into(),
            |e| matches!(e, KeyError::Malformed { .. }),
        ),
        (
            "a newer format",
            |r| {
                r["v"] = 3.into();
                r["colour"] = "red".into()
            },
            |e| matches!(e, KeyError::Newer { format: 3, .. }),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    KeyRing::load_or_create(dir.path()).unwrap();
    let whole = fs::read(ring_path(dir.path())).unwrap();
    let secret = ring_json(dir.path())["keys"][0]["secret"].as_str().unwrap().to_owned();
    for (what, change, expected) in rows {
        fs::write(ring_path(dir.path()), &whole).unwrap();
        edit(dir.path(), change);
        let error = KeyRing::load(dir.path()).expect_err(what);
        assert!(expected(&error), "{what}: {error:?}");
        assert!(!error.to_string().contains(&secret), "{what}: {error}");
    }
    for cut in (0..whole.len() - 1).step_by(7) {
        fs::write(ring_path(dir.path()), &whole[..cut]).unwrap();
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::Malformed { .. })), "cut at {cut}");
    }
    fs::write(ring_path(dir.path()), &whole).unwrap();
    KeyRing::load(dir.path()).unwrap();
}

#[test]
fn a_secret_in_a_wrong_member_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    KeyRing::load_or_create(dir.path()).unwrap();
    let whole = fs::read(ring_path(dir.path())).unwrap();
    let secret = ring_json(dir.path())["keys"][0]["secret"].as_str().unwrap().to_owned();
    let members = [
        ("id", "`id` of its key 1"),
        ("algorithm", "an algorithm that is not known"),
        ("purpose", "a purpose that is not known"),
        ("state", "a state that is not known"),
        ("created_at", "`created_at` of key `es1-"),
        ("activated_at", "`activated_at` of key `es1-"),
        ("version", "line "),
        ("public", "`es1-"),
        (&secret[..12], "line "),
    ];
    for (member, words) in members {
        for value in [Value::from(secret.as_str()), format!("es1-{secret}").into()] {
            fs::write(ring_path(dir.path()), &whole).unwrap();
            edit(dir.path(), |ring| ring["keys"][0][member] = value);
            for error in [KeyRing::load(dir.path()).map(drop), KeyRing::overview(dir.path()).map(drop)] {
                let mut told = format!("{0} {0:?}", error.as_ref().expect_err(member));
                assert!(told.contains(words), "{member}: {told}");
                let mut source = std::error::Error::source(error.as_ref().unwrap_err());
                while let Some(cause) = source {
                    told.push_str(&cause.to_string());
                    source = cause.source();
                }
                for shown in secret.as_bytes().windows(12) {
                    assert!(!told.contains(std::str::from_utf8(shown).unwrap()), "{member}: {told}");
                }
            }
        }
    }
    for id in
        ["es1-0123", "es01-0123456789abcdef", "xx1-0123456789abcdef", "es1-0123456789ABCDEF", "es-0123456789abcdef", ""]
    {
        fs::write(ring_path(dir.path()), &whole).unwrap();
        edit(dir.path(), |ring| ring["keys"][1]["id"] = id.into());
        let told = KeyRing::load(dir.path()).unwrap_err().to_string();
        assert!(told.contains("the `id` of its key 2 is no key's id"), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn a_ring_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    KeyRing::load_or_create(dir.path()).unwrap();
    let path = ring_path(dir.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o644, 0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::load(dir.path()).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: found, .. } if found == mode));
        assert!(error.to_string().contains("chmod 600"));
    }
}

#[test]
fn a_clock_before_activation_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let now = at("2026-06-01T12:00:00Z");
    let ring = KeyRing::load_or_create_at(dir.path(), now).unwrap();
    for (time, usable) in [
        ("2026-06-01T12:00:00Z", true),
        ("2026-06-01T11:55:00Z", true),
        ("2026-06-01T11:54:59Z", false),
        ("1970-01-01T00:00:00Z", false),
        ("2036-06-01T12:00:00Z", true),
    ] {
        let refused = |result: Result<(), KeyError>| match result {
            Err(KeyError::ClockBefore { event: "activated", at, .. }) => at == now,
            _ => false,
        };
        assert_eq!(ring.active_entry_at(at(time)).is_ok(), usable, "{time}");
        assert_eq!(refused(ring.active_entry_at(at(time)).map(drop)), !usable, "{time}");
        assert_eq!(refused(ring.checkpoint_signers_at("a", at(time)).map(drop)), !usable, "{time}");
    }
}

#[test]
fn a_ring_is_read_anew_only_where_its_file_changed() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load_or_create(dir.path()).unwrap();
    assert!(ring.refreshed().unwrap().is_none());
    let bytes = fs::read(ring_path(dir.path())).unwrap();
    Lock::take(dir.path()).unwrap().replace(&bytes, Wipe::No).unwrap();
    let newer = ring.refreshed().unwrap().unwrap();
    assert_eq!(newer.entry_key_id(), ring.entry_key_id());
    assert!(newer.refreshed().unwrap().is_none());
    fs::remove_file(ring_path(dir.path())).unwrap();
    assert!(matches!(ring.refreshed(), Err(KeyError::Missing { .. })));
}

fn key_file(dir: &Path, name: &str, byte: u8) -> MasterSource {
    let path = dir.join(name);
    write_private(&path, &[byte; 32]);
    MasterSource::File(path)
}

#[test]
fn a_wrapped_ring_has_no_plain_secret_and_opens_with_its_master_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let (right, wrong) = (key_file(dir.path(), "right", 7), key_file(dir.path(), "wrong", 8));
    let new = NewRing { master: Some(right.clone()), ..NewRing::default() };
    let ring = KeyRing::create_with(&keys, at("2026-01-01T00:00:00Z"), &new).unwrap();
    assert_eq!(ring.master_kind(), Some(MasterKind::File));
    let text = fs::read_to_string(ring_path(&keys)).unwrap();
    for key in &ring.0.keys {
        assert!(!text.contains(&hex::encode(key.secret.as_ref().unwrap())));
    }
    assert_eq!(KeyRing::load_with(&keys, &right).unwrap().entry_key_id(), ring.entry_key_id());
    assert!(matches!(KeyRing::load_with(&keys, &wrong), Err(KeyError::MasterWrong { .. })));
    let error = KeyRing::load(&keys).unwrap_err();
    assert!(matches!(error, KeyError::MasterMissing { .. }), "{error}");
    assert!(error.to_string().contains("--master-key-file"), "{error}");
    let passphrase = MasterSource::passphrase("x".to_owned());
    assert!(matches!(KeyRing::load_with(&keys, &passphrase), Err(KeyError::MasterMissing { .. })));
    // What is no secret can be read without.
    assert_eq!(KeyRing::overview(&keys).unwrap().keys, ring.keys().cloned().collect::<Vec<_>>());
    // A ring that is not wrapped is not taken for one that is.
    let plain = dir.path().join("plain");
    KeyRing::load_or_create(&plain).unwrap();
    assert!(matches!(KeyRing::load_with(&plain, &right), Err(KeyError::NotWrapped { .. })));
}

#[test]
fn a_ciphertext_in_the_place_of_another_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let master = key_file(dir.path(), "master", 7);
    let new = NewRing { master: Some(master.clone()), ..NewRing::default() };
    KeyRing::create_with(&keys, at("2026-01-01T00:00:00Z"), &new).unwrap();
    let whole = fs::read(ring_path(&keys)).unwrap();
    let changes: [fn(&mut Value); 4] = [
        |ring| {
            let first = ring["keys"][0]["secret"].take();
            let second = ring["keys"][1]["secret"].take();
            (ring["keys"][0]["secret"], ring["keys"][1]["secret"]) = (second, first);
        },
        |ring| ring["keys"][0]["version"] = 2.into(),
        |ring| ring["keys"][0]["secret"] = "AAAA".into(),
        |ring| ring["keys"][0]["algorithm"] = "HMAC-SHA-512-256".into(),
    ];
    for change in changes {
        fs::write(ring_path(&keys), &whole).unwrap();
        edit(&keys, change);
        let error = KeyRing::load_with(&keys, &master).unwrap_err();
        assert!(matches!(error, KeyError::Displaced { .. }), "{error}");
    }
    fs::write(ring_path(&keys), &whole).unwrap();
    edit(&keys, |ring| ring["master"]["check"] = "AAAA".into());
    assert!(matches!(KeyRing::load_with(&keys, &master), Err(KeyError::MasterWrong { .. })));
    edit(&keys, |ring| ring["master"]["source"] = "memory".into());
    assert!(matches!(KeyRing::load_with(&keys, &master), Err(KeyError::Malformed { .. })));
    // Without `master`, what is wrapped is no hexadecimal secret.
    fs::write(ring_path(&keys), &whole).unwrap();
    edit(&keys, |ring| ring["master"] = Value::Null);
    assert!(matches!(KeyRing::load(&keys), Err(KeyError::Malformed { .. })));
}

#[test]
fn what_would_be_too_long_to_be_read_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let ring = KeyRing::load_or_create(dir.path()).unwrap();
    let first = ring.0.keys.iter().find(|key| key.info.purpose == Purpose::EntrySigning).unwrap();
    let mut keys = ring.0.keys.clone();
    for version in 2..20_000_u32 {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&version.to_be_bytes());
        let id = key::id_of(Purpose::EntrySigning, version, &secret, None).unwrap();
        let info = KeyInfo { id, version, state: State::PreActive, activated_at: None, ..first.info.clone() };
        keys.push(Key { info, secret: Some(secret.to_vec().into()) });
    }
    let path = ring_path(dir.path());
    let most = |count: usize| file::render(&keys[..count], None, Require::All, &path);
    let told = most(keys.len()).unwrap_err();
    assert!(matches!(told, KeyError::RingFull { .. }), "{told:?}");
    let text = most(8_000).unwrap();
    fs::write(&path, &*text).unwrap();
    assert_eq!(KeyRing::load(dir.path()).unwrap().keys().count(), 8_000);
}
