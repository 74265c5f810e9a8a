//! Master keys that are set, changed and taken away.

use indelible_keys::{KeyError, KeyRing, MasterKind, MasterSource, NewRing, Purpose};

use crate::world::{World, day, start};

fn passphrase(text: &str) -> MasterSource {
    MasterSource::passphrase(text.to_owned())
}

#[test]
fn a_ring_is_wrapped_rewrapped_and_unwrapped_without_a_change_to_its_keys() {
    let world = World::new();
    let ring = world.ring();
    let keys: Vec<_> = ring.keys().cloned().collect();
    let text = String::from_utf8(world.bytes()).unwrap();
    let secret = text.lines().find(|line| line.contains("\"secret\"")).unwrap().trim().to_owned();
    let (file, phrase) = (world.master("master", 7), passphrase("correct horse battery staple"));

    let wrapped = ring.wrap(&file).unwrap().ring;
    assert_eq!(wrapped.master_kind(), Some(MasterKind::File));
    assert!(!String::from_utf8(world.bytes()).unwrap().contains(&secret));
    assert!(matches!(wrapped.wrap(&phrase), Err(KeyError::Wrapped { .. })));
    assert!(matches!(KeyRing::load(&world.keys()), Err(KeyError::MasterMissing { .. })));

    let rewrapped = wrapped.rewrap(&phrase).unwrap().ring;
    assert_eq!(rewrapped.master_kind(), Some(MasterKind::Passphrase));
    assert!(matches!(KeyRing::load_with(&world.keys(), &file), Err(KeyError::MasterMissing { .. })));
    let wrong = KeyRing::load_with(&world.keys(), &passphrase("correct horse")).unwrap_err();
    assert!(matches!(wrong, KeyError::MasterWrong { .. }) && !wrong.to_string().contains("horse"), "{wrong}");
    assert_eq!(KeyRing::load_with(&world.keys(), &phrase).unwrap().keys().cloned().collect::<Vec<_>>(), keys);

    let plain = rewrapped.unwrap().unwrap().ring;
    assert_eq!(plain.master_kind(), None);
    assert!(String::from_utf8(world.bytes()).unwrap().contains(&secret));
    assert!(matches!(plain.unwrap(), Err(KeyError::NotWrapped { .. })));
    assert!(matches!(plain.rewrap(&file), Err(KeyError::NotWrapped { .. })));
    assert!(matches!(KeyRing::load_with(&world.keys(), &file), Err(KeyError::NotWrapped { .. })));
    assert_eq!(KeyRing::load(&world.keys()).unwrap().keys().cloned().collect::<Vec<_>>(), keys);
}

#[test]
fn a_master_key_may_come_as_text_and_stand_in_the_environment_or_a_file_later() {
    let world = World::new();
    let ring = world.ring();
    let wrapped = ring.wrap(&MasterSource::text("07".repeat(32))).unwrap().ring;
    assert_eq!(wrapped.master_kind(), Some(MasterKind::Environment));
    // The same key, wherever it stands.
    assert_eq!(
        KeyRing::load_with(&world.keys(), &world.master("master", 7)).unwrap().entry_key_id(),
        ring.entry_key_id()
    );
    assert!(matches!(wrapped.rewrap(&MasterSource::text("07".repeat(31))), Err(KeyError::MasterUnusable { .. })));
    let wrong = KeyRing::load_with(&world.keys(), &MasterSource::text("08".repeat(32)));
    assert!(matches!(wrong, Err(KeyError::MasterWrong { .. })));
    let again = KeyRing::load_or_create_with(&world.keys(), day(1), &MasterSource::text("07".repeat(32))).unwrap();
    assert_eq!(again.entry_key_id(), ring.entry_key_id());
}

#[test]
fn a_wrapped_ring_is_rotated_and_read_anew_under_its_master_key() {
    let world = World::new();
    let new = NewRing { master: Some(passphrase("correct horse battery staple")), ..NewRing::default() };
    let ring = KeyRing::create_with(&world.keys(), start(), &new).unwrap();
    let other = ring.clone();
    let ring = ring.rotate(Purpose::EntrySigning, day(1)).unwrap().ring;
    // The passphrase was stretched once, and is not asked for again.
    assert_eq!(other.refreshed().unwrap().unwrap().entry_key_id(), ring.entry_key_id());
    let file = world.master("master", 9);
    ring.rewrap(&file).unwrap();
    // Who has the old passphrase only is told, and goes on with what was read.
    assert!(matches!(other.refreshed(), Err(KeyError::MasterMissing { .. })));
    assert!(matches!(other.rotate(Purpose::EntrySigning, day(2)), Err(KeyError::MasterMissing { .. })));
    assert_eq!(other.entry_key_version(), 1);
    let ring = KeyRing::load_with(&world.keys(), &file).unwrap();
    let again = ring.clone();
    ring.unwrap().unwrap();
    assert_eq!(again.refreshed().unwrap().unwrap().master_kind(), None);
}

#[test]
fn master_keys_that_cannot_be_used_make_and_change_nothing() {
    let world = World::new();
    let missing = MasterSource::File(world.dir.path().join("nowhere"));
    for master in [missing, passphrase("")] {
        let new = NewRing { master: Some(master.clone()), ..NewRing::default() };
        let made = KeyRing::create_with(&world.keys(), start(), &new);
        assert!(matches!(made, Err(KeyError::MasterUnusable { .. })), "{made:?}");
        assert!(matches!(KeyRing::load(&world.keys()), Err(KeyError::Missing { .. })));
    }
    let ring = world.ring();
    let before = world.bytes();
    assert!(matches!(ring.wrap(&passphrase("")), Err(KeyError::MasterUnusable { .. })));
    assert_eq!(world.bytes(), before);
}
