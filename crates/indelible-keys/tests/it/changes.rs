//! What may be done with a ring, and what may not.

use std::{fs, thread};

use indelible_core::{
    mac::{EntryAlgorithm, LogId},
    note::NoteSigner as _,
    tree::Hash,
};
use indelible_keys::{
    Algorithm, CheckpointPeriod, Cryptoperiods, Import, ImportAs, KeyAlgorithm, KeyError, KeyRing, NewRing, Purpose,
    Require, State,
};
use zeroize::Zeroizing;

use crate::world::{World, active, at, day, of, start, state, write_private};

const ENTRY: KeyAlgorithm = KeyAlgorithm::Entry(EntryAlgorithm::HmacSha256);
const LONG: KeyAlgorithm = KeyAlgorithm::Entry(EntryAlgorithm::HmacSha512_256);
const ED25519: KeyAlgorithm = KeyAlgorithm::Checkpoint(Algorithm::Ed25519);

#[test]
fn a_rotation_makes_a_new_version_and_keeps_the_old_one_for_verifying() {
    let world = World::new();
    let mut ring = world.ring();
    let (log, leaf) = (LogId([1; 16]), Hash([2; 32]));
    let mut signed = Vec::new();
    for round in 1..=12_u32 {
        let entry = ring.active_entry().unwrap();
        assert_eq!(entry.version(), round);
        let key = entry.key(log, "a", round.into());
        signed.push((key.id().to_owned(), round, key.sign(&leaf)));
        let changed = ring.rotate(Purpose::EntrySigning, day(i64::from(round))).unwrap();
        let [new, old] = &changed.keys[..] else { panic!("a new one and the old one") };
        assert_eq!(
            (new.version, new.state, old.version, old.state),
            (round + 1, State::Active, round, State::VerifyOnly)
        );
        assert_eq!((new.activated_at, old.retired_at), (Some(day(round.into())), Some(day(round.into()))));
        ring = changed.ring;
    }
    for (id, epoch, mac) in signed {
        let entry = ring.entry(&id).unwrap();
        assert_eq!(entry.state(), State::VerifyOnly);
        assert!(entry.key(log, "a", epoch.into()).verify(&leaf, &mac));
    }
    assert_eq!(active(&ring, Purpose::CheckpointSigning).version, 1);
    assert_eq!(KeyRing::load(&world.keys()).unwrap().keys().count(), 14);
}

#[test]
fn a_handle_that_is_old_changes_what_is_there_now() {
    let world = World::new();
    let old = world.ring();
    let newer = old.rotate(Purpose::EntrySigning, day(1)).unwrap().ring;
    let newest = old.rotate(Purpose::EntrySigning, day(2)).unwrap().ring;
    assert_eq!(newest.entry_key_version(), 3);
    assert_eq!(newer.refreshed().unwrap().unwrap().entry_key_version(), 3);
    assert_eq!(old.entry_key_version(), 1, "what was read stays what it was");
}

#[test]
fn signers_of_old_checkpoint_keys_are_found_by_their_public_keys() {
    let world = World::new();
    let ring = world.ring();
    let old = ring.checkpoint_signer("a").unwrap().verifying_key().clone();
    let ring = ring.rotate(Purpose::CheckpointSigning, day(1)).unwrap().ring;
    let new = ring.checkpoint_signer("a").unwrap().verifying_key().clone();
    assert_ne!(old, new);
    let both = ring.signers_for("a", &[new.clone(), old.clone()]).unwrap();
    assert_eq!(both.iter().map(|signer| signer.verifying_key().clone()).collect::<Vec<_>>(), [new, old.clone()]);
    let id = of(&ring, Purpose::CheckpointSigning, State::VerifyOnly)[0].id.clone();
    let ring = ring.compromise(&id, "lost", day(2)).unwrap().ring;
    assert_eq!(ring.signers_for("a", std::slice::from_ref(&old)).unwrap().len(), 1, "a withdrawn one too");
    let ring = ring.destroy(&id, day(3)).unwrap().ring;
    assert!(ring.signers_for("a", &[old]).unwrap().is_empty());
    assert_eq!(ring.checkpoint_signers("a").unwrap().len(), 1);
}

#[test]
fn a_prepared_key_is_taken_by_the_next_rotation_but_not_after_a_theft() {
    let world = World::new();
    let ring = world.ring();
    let prepared = |ring: &KeyRing| {
        let changed = ring.generate(Purpose::EntrySigning, ENTRY, &Cryptoperiods::default(), day(1)).unwrap();
        (changed.keys[0].id.clone(), changed.ring)
    };
    let (first, ring) = prepared(&ring);
    assert_eq!(state(&ring, &first), State::PreActive);
    let ring = ring.rotate(Purpose::EntrySigning, day(2)).unwrap().ring;
    assert_eq!(ring.entry_key_id(), first);
    let (second, ring) = prepared(&ring);
    let changed = ring.compromise(&first, "the laptop was stolen", day(3)).unwrap();
    assert_ne!(changed.ring.entry_key_id(), second);
    assert_eq!(state(&changed.ring, &second), State::PreActive);
    assert_eq!(state(&changed.ring, &first), State::Compromised);
    let old = changed.keys.iter().find(|key| key.id == first).unwrap();
    assert_eq!((old.reason.as_deref(), old.compromised_at), (Some("the laptop was stolen"), Some(day(3))));
    // Nor by any rotation behind that: whoever has the one may have the other.
    let ring = changed.ring.rotate(Purpose::EntrySigning, day(4)).unwrap().ring;
    assert_ne!(ring.entry_key_id(), second);
    assert_eq!(state(&ring, &second), State::PreActive);
}

#[test]
fn another_algorithm_takes_the_place_of_the_entry_key_and_stands_beside_a_checkpoint_key() {
    let world = World::new();
    let ring = world.ring();
    let before = ring.entry_key_id();
    let changed = ring.generate(Purpose::EntrySigning, LONG, &Cryptoperiods::default(), day(1)).unwrap();
    let ring = changed.ring.activate(&changed.keys[0].id, day(2)).unwrap().ring;
    assert_eq!(ring.active_entry().unwrap().algorithm(), EntryAlgorithm::HmacSha512_256);
    assert_eq!(ring.active_entry().unwrap().version(), 1, "versions count within an algorithm");
    assert_eq!(state(&ring, &before), State::VerifyOnly);
    let ring = ring.rotate(Purpose::EntrySigning, day(3)).unwrap().ring;
    assert_eq!(ring.active_entry().unwrap().algorithm(), EntryAlgorithm::HmacSha512_256, "kept by rotations");
    let new = NewRing { entry_algorithm: EntryAlgorithm::HmacSha512_256, ..NewRing::default() };
    let other = KeyRing::create_with(&world.dir.path().join("other"), start(), &new).unwrap();
    assert_eq!(other.active_entry().unwrap().algorithm(), EntryAlgorithm::HmacSha512_256);
}

#[test]
fn keys_of_other_purposes_are_made_and_rotated() {
    let world = World::new();
    let mut ring = world.ring();
    for purpose in [Purpose::DataEncryption, Purpose::BlindIndex, Purpose::Backup] {
        assert!(matches!(ring.rotate(purpose, day(1)), Err(KeyError::NoActive { .. })));
        let algorithm = purpose.algorithms()[0];
        let changed = ring.generate(purpose, algorithm, &Cryptoperiods::default(), day(1)).unwrap();
        ring = changed.ring.activate(&changed.keys[0].id, day(1)).unwrap().ring;
        ring = ring.rotate(purpose, day(2)).unwrap().ring;
        assert_eq!(active(&ring, purpose).version, 2);
    }
}

#[test]
fn state_changes_that_nist_forbids_change_nothing() {
    let world = World::new();
    let ring = world.ring();
    let active_id = ring.entry_key_id();
    let ring = ring.rotate(Purpose::EntrySigning, day(1)).unwrap().ring;
    let (retired, current) = (active_id, ring.entry_key_id());
    let changed = ring.generate(Purpose::EntrySigning, ENTRY, &Cryptoperiods::default(), day(1)).unwrap();
    let (pre, ring) = (changed.keys[0].id.clone(), changed.ring);
    let changed = ring.generate(Purpose::Backup, KeyAlgorithm::Aes256Gcm, &Cryptoperiods::default(), day(1)).unwrap();
    let (gone, ring) = (changed.keys[0].id.clone(), changed.ring);
    let ring = ring.destroy(&gone, day(2)).unwrap().ring;
    let ring = ring.rotate(Purpose::CheckpointSigning, day(2)).unwrap().ring;
    let stolen = of(&ring, Purpose::CheckpointSigning, State::VerifyOnly)[0].id.clone();
    let ring = ring.compromise(&stolen, "stolen", day(2)).unwrap().ring;
    let checkpoint = active(&ring, Purpose::CheckpointSigning).id;
    let before = world.bytes();
    type Step = fn(&KeyRing, &str) -> Result<indelible_keys::Changed, KeyError>;
    let activate: Step = |ring, id| ring.activate(id, day(3));
    let retire: Step = |ring, id| ring.retire(id, day(3));
    let withdraw: Step = |ring, id| ring.compromise(id, "stolen", day(3));
    let destroy: Step = |ring, id| ring.destroy(id, day(3));
    let rows: [(&str, Step, &str); 15] = [
        (&current, activate, "it is what was asked for"),
        (&current, retire, "a log cannot do without it"),
        (&current, destroy, "rotate its purpose first"),
        (&checkpoint, retire, "a log cannot do without it"),
        (&checkpoint, destroy, "rotate its purpose first"),
        (&retired, activate, "no state leads back"),
        (&retired, retire, "no state leads back"),
        (&pre, retire, "it has signed nothing"),
        (&stolen, activate, "others may have it"),
        (&stolen, retire, "others may have it"),
        (&stolen, withdraw, "it is on record already"),
        (&gone, activate, "a destroyed key does not come back"),
        (&gone, retire, "a destroyed key does not come back"),
        (&gone, withdraw, "a destroyed key does not come back"),
        (&gone, destroy, "it is gone already"),
    ];
    for (id, step, remedy) in rows {
        let error = step(&ring, id).unwrap_err();
        assert!(matches!(error, KeyError::Forbidden { .. }), "{id}: {error}");
        assert!(error.to_string().contains(remedy), "{id}: {error}");
    }
    assert!(matches!(ring.destroy("es9-0000000000000000", day(3)), Err(KeyError::Unknown { .. })));
    assert_eq!(world.bytes(), before);
    ring.destroy(&pre, day(3)).unwrap();
    ring.destroy(&stolen, day(3)).unwrap();
    ring.destroy(&retired, day(3)).unwrap();
}

#[test]
fn a_destroyed_key_leaves_its_name_and_no_byte_of_its_secret() {
    let world = World::new();
    let ring = world.ring();
    let id = ring.entry_key_id();
    let ring = ring.rotate(Purpose::EntrySigning, day(1)).unwrap().ring;
    let file: serde_json::Value = serde_json::from_slice(&world.bytes()).unwrap();
    let secret = file["keys"][0]["secret"].as_str().unwrap().to_owned();
    assert_eq!(file["keys"][0]["id"], id.as_str());
    let old = fs::File::open(world.ring_file()).unwrap();
    let changed = ring.destroy(&id, day(2)).unwrap();
    assert_eq!(changed.keys[0].destroyed_at, Some(day(2)));
    assert!(!String::from_utf8(world.bytes()).unwrap().contains(&secret));
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut &old, &mut left).unwrap();
    assert!(left.iter().all(|byte| *byte == 0), "the file that was replaced is overwritten");
    assert!(changed.ring.entry(&id).is_none());
    assert_eq!(state(&KeyRing::load(&world.keys()).unwrap(), &id), State::Destroyed);
}

#[test]
fn a_clock_before_what_happened_changes_nothing() {
    let world = World::new();
    let ring = KeyRing::create_with(&world.keys(), at("2026-06-01T00:00:00Z"), &NewRing::default()).unwrap();
    let before = world.bytes();
    let early = at("2026-05-31T23:54:00Z");
    let id = ring.entry_key_id();
    for result in [
        ring.rotate(Purpose::EntrySigning, early),
        ring.rotate(Purpose::CheckpointSigning, early),
        ring.compromise(&id, "stolen", early),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, KeyError::ClockBefore { event: "activated", .. }), "{error}");
        assert!(error.to_string().contains("set the clock right"), "{error}");
    }
    assert_eq!(world.bytes(), before);
    // A clock that lags a little is no reason to leave a stolen key in use; times stay in order.
    let changed = ring.compromise(&id, "stolen", at("2026-05-31T23:58:00Z")).unwrap();
    let old = changed.keys.iter().find(|key| key.id == id).unwrap();
    assert_eq!(old.compromised_at, old.activated_at);
}

#[test]
fn what_is_due_is_told_and_rotated_once() {
    let world = World::new();
    let ring = world.ring();
    assert!(ring.due(day(89)).is_empty());
    let due = ring.due(day(93));
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].id.clone(), due[0].overdue_days, due[0].due_at), (ring.entry_key_id(), 3, day(90)));
    let overview = KeyRing::overview(&world.keys()).unwrap();
    assert!(overview.due(day(82), 7).is_empty());
    let soon = overview.due(day(83), 7);
    assert_eq!((soon.len(), soon[0].overdue_days), (1, -7));
    assert_eq!(ring.due(day(730)).len(), 2);
    // Two processes that find out at once.
    let (first, second) = (ring.clone(), ring.clone());
    let purposes = [Purpose::EntrySigning, Purpose::CheckpointSigning];
    assert_eq!(first.rotate_due(&purposes, day(91)).unwrap().keys.len(), 2);
    let again = second.rotate_due(&purposes, day(91)).unwrap();
    assert!(again.keys.is_empty());
    assert_eq!(again.ring.entry_key_version(), 2);
    assert!(again.ring.due(day(91)).is_empty());
}

#[test]
fn cryptoperiods_are_a_policy_that_rotations_keep() {
    let world = World::new();
    let ring = world.ring();
    let shorter = Cryptoperiods { entry_signing_days: 30, ..Cryptoperiods::default() };
    let ring = ring.set_cryptoperiod(Purpose::EntrySigning, &shorter).unwrap().ring;
    assert_eq!(ring.due(day(30)).len(), 1);
    let ring = ring.rotate(Purpose::EntrySigning, day(30)).unwrap().ring;
    assert_eq!(active(&ring, Purpose::EntrySigning).cryptoperiod_days, 30);
    let none = Cryptoperiods { entry_signing_days: 0, ..Cryptoperiods::default() };
    let ring = ring.set_cryptoperiod(Purpose::EntrySigning, &none).unwrap().ring;
    assert!(ring.due(day(729)).is_empty());
    let told = Cryptoperiods { checkpoint_signing: CheckpointPeriod::told(10), ..Cryptoperiods::default() };
    let ring = ring.set_cryptoperiod(Purpose::CheckpointSigning, &told).unwrap().ring;
    assert_eq!(ring.due(day(10)).len(), 1);
    assert!(ring.set_cryptoperiod(Purpose::CheckpointSigning, &told).unwrap().keys.is_empty(), "nothing to change");
}

#[test]
fn more_checkpoint_keys_cannot_be_asked_for_than_there_are() {
    let world = World::new();
    let ring = world.ring();
    let before = world.bytes();
    assert!(matches!(ring.set_require(Require::AtLeast(2)), Err(KeyError::Policy { require: 2, keys: 1 })));
    assert_eq!(world.bytes(), before);
    let ring = ring.set_require(Require::AtLeast(1)).unwrap().ring;
    assert_eq!(KeyRing::load(&world.keys()).unwrap().require(), Require::AtLeast(1));
    assert_eq!(ring.set_require(Require::All).unwrap().ring.require(), Require::All);
}

#[test]
fn several_checkpoint_keys_sign_and_are_rotated_each_by_one_like_it() {
    let world = World::new();
    let others = [Algorithm::RsaPssSha256, Algorithm::EcdsaP256Sha256, Algorithm::MlDsa44, Algorithm::Ed25519];
    let new = NewRing {
        checkpoint: others.to_vec(),
        rsa_bits: Some(2048),
        require: Require::AtLeast(3),
        ..NewRing::default()
    };
    let ring = KeyRing::create_with(&world.keys(), start(), &new).unwrap();
    let algorithms = |ring: &KeyRing| -> Vec<_> {
        let signers = ring.checkpoint_signers("a").unwrap();
        signers.iter().map(|signer| signer.verifying_key().algorithm()).collect()
    };
    let expected = [Algorithm::Ed25519, Algorithm::RsaPssSha256, Algorithm::EcdsaP256Sha256, Algorithm::MlDsa44];
    assert_eq!(algorithms(&ring), expected);
    let old = ring.public_keys("a").unwrap();
    let changed = ring.rotate(Purpose::CheckpointSigning, day(1)).unwrap();
    assert_eq!(changed.keys.len(), 8);
    assert_eq!(algorithms(&changed.ring), expected);
    assert_eq!(changed.ring.signers_for("a", &old).unwrap().len(), 4);
    let sizes = |ring: &KeyRing| -> Vec<_> {
        ring.public_keys("a").unwrap().iter().map(|key| key.public_key().len()).collect()
    };
    assert_eq!(sizes(&changed.ring)[4..], sizes(&ring)[..], "as long as before");
    let id = |ring: &KeyRing, algorithm| {
        let algorithm = KeyAlgorithm::Checkpoint(algorithm);
        ring.keys().find(|key| key.state == State::Active && key.algorithm == algorithm).unwrap().id.clone()
    };
    let ring = changed.ring.retire(&id(&changed.ring, Algorithm::RsaPssSha256), day(2)).unwrap().ring;
    assert_eq!(algorithms(&ring), [Algorithm::Ed25519, Algorithm::EcdsaP256Sha256, Algorithm::MlDsa44]);
    let before = world.bytes();
    let refused = ring.retire(&id(&ring, Algorithm::MlDsa44), day(2)).unwrap_err();
    assert!(matches!(refused, KeyError::Policy { require: 3, keys: 2 }), "{refused}");
    assert_eq!(world.bytes(), before);
    assert_eq!(KeyRing::load(&world.keys()).unwrap().public_keys("a").unwrap().len(), 8);
}

#[test]
fn rsa_keys_have_the_size_that_was_asked_for_and_others_have_one() {
    let world = World::new();
    let ring = world.ring();
    let usual = Cryptoperiods::default();
    let ring = ring.generate_rsa(Algorithm::RsaPkcs1Sha256, 2048, &usual, day(1)).unwrap().ring;
    assert_eq!(ring.public_keys("a").unwrap()[1].public_key().len(), 294);
    let before = world.bytes();
    for (algorithm, bits) in [(Algorithm::RsaPkcs1Sha256, 1024), (Algorithm::Ed25519, 2048)] {
        let error = ring.generate_rsa(algorithm, bits, &usual, day(1)).unwrap_err();
        assert!(matches!(error, KeyError::Invalid { .. }), "{error}");
    }
    assert_eq!(world.bytes(), before);
}

#[test]
fn a_private_key_of_another_kind_is_not_taken() {
    let world = World::new();
    let ring = world.ring();
    let usual = Cryptoperiods::default();
    let ec = indelible_keys::CheckpointSigner::generate_secret(Algorithm::EcdsaP256Sha256, None).unwrap();
    let before = world.bytes();
    for (algorithm, secret) in [
        (Algorithm::RsaPssSha256, &ec[..]),
        (Algorithm::RsaPkcs1Sha256, &[7; 32]),
        (Algorithm::EcdsaP256Sha256, &ec[..ec.len() - 1]),
        (Algorithm::EcdsaP256Sha256, &[]),
    ] {
        let import = import(Purpose::CheckpointSigning, KeyAlgorithm::Checkpoint(algorithm), secret);
        let error = ring.import(&import, &usual, day(1)).unwrap_err();
        assert!(matches!(error, KeyError::WrongSecret { .. }), "{error}");
        assert!(error.to_string().contains("openssl pkcs8"), "{error}");
    }
    assert_eq!(world.bytes(), before);
    let import = import(Purpose::CheckpointSigning, KeyAlgorithm::Checkpoint(Algorithm::EcdsaP256Sha256), &ec);
    let changed = ring.import(&import, &usual, day(1)).unwrap();
    let ring = changed.ring.activate(&changed.keys[0].id, day(1)).unwrap().ring;
    assert_eq!(ring.checkpoint_signers("a").unwrap().len(), 2);
}

#[test]
fn reasons_are_one_line() {
    let world = World::new();
    let ring = world.ring();
    let id = ring.entry_key_id();
    for reason in ["", "  ", "two\nlines", "\u{1b}[2J", &"x".repeat(1001)] {
        assert!(matches!(ring.compromise(&id, reason, day(1)), Err(KeyError::Reason { .. })), "{reason:?}");
    }
    assert_eq!(state(&KeyRing::load(&world.keys()).unwrap(), &id), State::Active);
}

fn import(purpose: Purpose, algorithm: KeyAlgorithm, secret: &[u8]) -> Import {
    let secret = Zeroizing::new(secret.to_vec());
    Import { purpose, algorithm, secret, version: None, role: ImportAs::PreActive }
}

#[test]
fn a_key_from_elsewhere_becomes_active_or_verifies() {
    let world = World::new();
    let ring = world.ring();
    let usual = Cryptoperiods::default();
    let changed = ring.import(&import(Purpose::EntrySigning, ENTRY, &[7; 32]), &usual, day(1)).unwrap();
    let id = changed.keys[0].id.clone();
    assert_eq!((changed.keys[0].version, changed.keys[0].state), (2, State::PreActive));
    let ring = changed.ring.activate(&id, day(1)).unwrap().ring;
    assert_eq!(ring.entry_key_id(), id);
    // A key that was lost and is found in another ring keeps its id there.
    let lost =
        Import { version: Some(9), role: ImportAs::VerifyOnly, ..import(Purpose::EntrySigning, ENTRY, &[8; 32]) };
    assert!(!format!("{lost:?}").contains('8'), "{lost:?}");
    let changed = ring.import(&lost, &usual, day(2)).unwrap();
    assert_eq!(changed.keys[0].id, indelible_core::mac::entry_key_id(&[8; 32], 9));
    assert_eq!(changed.keys[0].state, State::VerifyOnly);
    assert_eq!(changed.ring.rotate(Purpose::EntrySigning, day(3)).unwrap().ring.entry_key_version(), 10);
}

#[test]
fn keys_of_the_wrong_length_or_type_are_not_taken() {
    let world = World::new();
    let ring = world.ring();
    let usual = Cryptoperiods::default();
    let before = world.bytes();
    for (purpose, algorithm, secret, expected) in [
        (Purpose::EntrySigning, ENTRY, &[7; 31][..], 31),
        (Purpose::EntrySigning, LONG, &[7; 64][..], 64),
        (Purpose::CheckpointSigning, ED25519, &[7; 33][..], 33),
        (Purpose::DataEncryption, KeyAlgorithm::Aes256Gcm, &[7; 16][..], 16),
        (Purpose::Backup, KeyAlgorithm::Aes256Gcm, &[][..], 0),
    ] {
        let error = ring.import(&import(purpose, algorithm, secret), &usual, day(1)).unwrap_err();
        assert!(matches!(error, KeyError::WrongLength { found, wanted: 32, .. } if found == expected), "{error}");
    }
    for (purpose, algorithm) in [
        (Purpose::EntrySigning, ED25519),
        (Purpose::CheckpointSigning, ENTRY),
        (Purpose::DataEncryption, KeyAlgorithm::BlindIndex),
        (Purpose::BlindIndex, KeyAlgorithm::Aes256Gcm),
    ] {
        for error in [
            ring.import(&import(purpose, algorithm, &[7; 32]), &usual, day(1)).unwrap_err(),
            ring.generate(purpose, algorithm, &usual, day(1)).unwrap_err(),
        ] {
            assert!(matches!(error, KeyError::WrongType { .. }), "{error}");
            assert!(error.to_string().contains("takes `"), "{error}");
        }
    }
    assert_eq!(world.bytes(), before);
}

#[test]
fn no_secret_id_or_version_is_there_twice() {
    let world = World::new();
    let ring = world.ring();
    let usual = Cryptoperiods::default();
    let one = import(Purpose::EntrySigning, ENTRY, &[7; 32]);
    let ring = ring.import(&one, &usual, day(1)).unwrap().ring;
    let again = [
        one,
        import(Purpose::EntrySigning, LONG, &[7; 32]),
        import(Purpose::Backup, KeyAlgorithm::Aes256Gcm, &[7; 32]),
        Import { version: Some(1), ..import(Purpose::EntrySigning, ENTRY, &[9; 32]) },
    ];
    for again in again {
        assert!(matches!(ring.import(&again, &usual, day(1)), Err(KeyError::Duplicate { .. })), "{again:?}");
    }
    // A destroyed checkpoint key is known again by its public key.
    let seed = import(Purpose::CheckpointSigning, ED25519, &[5; 32]);
    let changed = ring.import(&seed, &usual, day(1)).unwrap();
    let ring = changed.ring.destroy(&changed.keys[0].id, day(1)).unwrap().ring;
    assert!(matches!(ring.import(&seed, &usual, day(1)), Err(KeyError::Duplicate { .. })));
}

#[test]
fn lost_keys_come_back_beside_those_that_were_made_since() {
    let world = World::new();
    let usual = Cryptoperiods::default();
    let ring = world.ring();
    let copy = world.bytes();
    let both = [Purpose::EntrySigning, Purpose::CheckpointSigning];
    let lost = ring.rotate_each(&both, day(1)).unwrap().ring;
    let text: serde_json::Value = serde_json::from_slice(&world.bytes()).unwrap();
    // The ring is put back from the copy, and rotated before anybody misses a key.
    write_private(&world.ring_file(), &copy);
    let mut ring = KeyRing::load(&world.keys()).unwrap().rotate_each(&both, day(2)).unwrap().ring;
    for purpose in both {
        let (gone, here) = (active(&lost, purpose), active(&ring, purpose));
        assert_eq!(gone.version, here.version);
        let stored = text["keys"].as_array().unwrap().iter().find(|key| key["id"] == gone.id.as_str()).unwrap();
        let secret = indelible_core::hex::decode::<32>(stored["secret"].as_str().unwrap().as_bytes()).unwrap();
        let mut back = Import { version: Some(gone.version), ..import(purpose, gone.algorithm, &secret) };
        // For use it would be a second key of that version.
        assert!(matches!(ring.import(&back, &usual, day(3)), Err(KeyError::Duplicate { .. })));
        back.role = ImportAs::VerifyOnly;
        ring = ring.import(&back, &usual, day(3)).unwrap().ring;
        assert_eq!((state(&ring, &gone.id), state(&ring, &here.id)), (State::VerifyOnly, State::Active));
        assert!(matches!(ring.import(&back, &usual, day(3)), Err(KeyError::Duplicate { .. })));
        assert!(ring.activate(&gone.id, day(3)).is_err());
    }
    // The next version is behind both, and the ring is read as it was written.
    let ring = KeyRing::load(&world.keys()).unwrap().rotate_each(&both, day(4)).unwrap().ring;
    for purpose in both {
        assert_eq!(active(&ring, purpose).version, active(&lost, purpose).version + 1);
        assert_eq!(of(&ring, purpose, State::VerifyOnly).len(), 3);
    }
}

#[test]
fn changes_at_once_are_all_made() {
    let world = World::new();
    let ring = world.ring();
    thread::scope(|scope| {
        for _ in 0..4 {
            let ring = ring.clone();
            scope.spawn(move || (0..5).for_each(|_| drop(ring.rotate(Purpose::EntrySigning, day(1)).unwrap())));
        }
    });
    let ring = KeyRing::load(&world.keys()).unwrap();
    assert_eq!(ring.entry_key_version(), 21);
    assert_eq!(of(&ring, Purpose::EntrySigning, State::VerifyOnly).len(), 20);
}
