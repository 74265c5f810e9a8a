//! What the thief of an entry key that was replaced signs with it: entries behind its successor's record, and receipts.

use std::fs;

use indelible::{
    Log,
    error::chain,
    verify::{Kind, Report, Verdict, VerifyError},
};
use indelible_core::{
    entry::{self, BodyKind, EntryStart, Tail},
    hex,
    history::{Withdrawn, WithdrawnState},
    mac::{EntryAlgorithm, EntryKey},
    tree::{LeafIndex, leaf_hash},
};
use indelible_keys::Purpose;

use crate::{
    keys::{first_public, publicly, rotate},
    support::forge::{leaf_of, parsed},
    world::{ORIGIN, World, check, copy_dir, event, events, files, options, receipts},
};

/// A log whose process ended between the record of a new entry key and the next checkpoint, and the name of the key before.
fn between_record_and_checkpoint() -> (World, String) {
    let world = World::with_events(8, 1, options());
    let before = world.dir.path().join("before");
    copy_dir(&world.log_path(), &before);
    copy_dir(&world.keys.heads_dir(), &before.join("heads"));
    let old = parsed(world.lines().last().unwrap()).entry.key.to_owned();
    rotate(&world, Purpose::EntrySigning);
    world.reopen_and(|_| ());
    // All but the entries is as it was before the record.
    let entries = world.lines();
    fs::remove_dir_all(world.log_path()).unwrap();
    fs::remove_dir_all(world.keys.heads_dir()).unwrap();
    copy_dir(&before.join("heads"), &world.keys.heads_dir());
    fs::remove_dir_all(before.join("heads")).unwrap();
    copy_dir(&before, &world.log_path());
    world.put_lines(&entries);
    (world, old)
}

/// A line behind the last, by a key of any name.
fn signed(lines: &[Vec<u8>], key: &EntryKey, id: &str) -> Vec<u8> {
    let last = parsed(lines.last().unwrap());
    let index = LeafIndex(lines.len() as u64);
    let tail = Tail {
        head: None,
        index,
        key: id,
        log: ORIGIN,
        bounded: false,
        prev: leaf_of(lines.last().unwrap()),
        recorded_at: last.entry.recorded_at,
    };
    let mut out = Vec::new();
    EntryStart::new(BodyKind::Event, event(1000 + index.0), [7; 16]).seal(
        &tail,
        index,
        |leaf| key.sign(leaf),
        &mut out,
    );
    out
}

#[test]
fn a_replaced_entry_key_signs_nothing_behind_its_successor() {
    let (world, old) = between_record_and_checkpoint();
    check(&world.verify(), Verdict::Intact, None, None);
    let genuine = world.lines();
    let (stolen, wrong) = (
        world.stolen_entry_key(),
        EntryKey::derive(&[9; 32], 1, EntryAlgorithm::HmacSha256, world.log_id(), ORIGIN, 1),
    );
    for key in [&stolen, &wrong] {
        let mut lines = genuine.clone();
        let first = lines.len() as u64;
        for _ in 0..3 {
            lines.push(signed(&lines, key, &old));
        }
        world.put_lines(&lines);
        for report in [world.verify(), publicly(&world, &first_public(&world))] {
            check(&report, Verdict::Tampered, Some(Kind::Key), Some(first));
        }
    }
    // Its successor does.
    let mut lines = genuine.clone();
    let id = parsed(lines.last().unwrap()).entry.key.to_owned();
    let key = world.ring().entry(&id).unwrap().key(world.log_id(), ORIGIN, 2);
    for _ in 0..3 {
        lines.push(signed(&lines, &key, &id));
    }
    world.put_lines(&lines);
    check(&world.verify(), Verdict::Intact, None, None);
    check(&publicly(&world, &first_public(&world)), Verdict::Intact, None, None);
}

#[test]
fn a_whole_line_by_a_replaced_entry_key_keeps_a_log_shut_and_is_not_cut() {
    let (world, old) = between_record_and_checkpoint();
    let genuine = world.lines();
    let mut lines = genuine.clone();
    lines.push(signed(&lines, &world.stolen_entry_key(), &old));
    world.put_lines(&lines);
    let refused = Log::open(&world.log_path(), world.ring(), options());
    let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
    assert!(said.contains(&format!("it names key `{old}`")) && said.contains("no torn write left it"), "{said}");
    assert_eq!(world.lines(), lines);
    assert!(files(&world.log_path().join("aside")).is_empty());
    check(&world.verify(), Verdict::Tampered, Some(Kind::Key), Some(genuine.len() as u64));
    // What nobody signed shuts no log: whoever can write to the file may have put it there.
    let unsigned = EntryKey::derive(&[9; 32], 1, EntryAlgorithm::HmacSha256, world.log_id(), ORIGIN, 1);
    *lines.last_mut().unwrap() = signed(&genuine, &unsigned, &old);
    world.put_lines(&lines);
    world.reopen_and(|_| ());
    check(&world.verify(), Verdict::Intact, None, None);
    let mut lines = world.lines();
    lines.push(signed(&lines, &world.stolen_entry_key(), &old));
    // Half of such a line may be what a crash left of a right one.
    let half = lines.last().unwrap().len() / 2;
    lines.last_mut().unwrap().truncate(half);
    world.put_lines(&lines);
    world.reopen_and(|_| ());
    check(&world.verify(), Verdict::Intact, None, None);
}

/// Entries before and behind a new entry key, with a receipt of either.
fn with_receipts() -> (World, [entry::WireReceipt; 2]) {
    let world = World::with_events(8, 1, options());
    let first = world.reopen_and(|log| receipts(log.append_all(&events(8..12))).remove(0).to_wire());
    rotate(&world, Purpose::EntrySigning);
    let second = world.reopen_and(|log| receipts(log.append_all(&events(12..16))).remove(0).to_wire());
    (world, [first, second])
}

/// A receipt of an entry that is not in the log, by the key of `by`.
fn forged(key: &EntryKey, by: &entry::WireReceipt, index: u64) -> entry::WireReceipt {
    let leaf = leaf_hash(b"what was never recorded");
    entry::WireReceipt { index, leaf_hash: leaf.to_hex(), mac: hex::encode(&key.sign(&leaf)), ..by.clone() }
}

fn with(world: &World, receipt: entry::WireReceipt) -> Result<Report, VerifyError> {
    world.try_verify(&world.log_path(), |request| request.receipts = vec![receipt])
}

#[test]
fn a_receipt_proves_something_only_where_its_key_was_in_force() {
    let (world, [first, second]) = with_receipts();
    let (old, new) =
        (world.stolen_entry_key(), world.ring().entry(&second.key).unwrap().key(world.log_id(), ORIGIN, 2));
    for receipt in [first.clone(), second.clone()] {
        check(&with(&world, receipt).unwrap(), Verdict::Intact, None, None);
    }
    for (key, by, index) in [(&old, &first, second.index), (&old, &first, 1000), (&new, &second, first.index)] {
        let refused = with(&world, forged(key, by, index));
        assert!(
            matches!(&refused, Err(VerifyError::Input(text)) if text.contains("not in force")),
            "{index}: {refused:?}"
        );
    }
    for (key, by, index) in [(&old, &first, first.index), (&new, &second, second.index), (&new, &second, 1000)] {
        let report = with(&world, forged(key, by, index)).unwrap();
        check(&report, Verdict::Diverged, Some(Kind::DivergedReceipt), Some(index));
    }
}

#[test]
fn a_receipt_that_cannot_be_compared_hides_none_that_diverges() {
    let (world, [first, second]) = with_receipts();
    let old = world.stolen_entry_key();
    let unusable = forged(&old, &first, second.index);
    let diverging = forged(&old, &first, first.index);
    for receipts in [[unusable.clone(), diverging.clone()], [diverging, unusable.clone()]] {
        let report = world.try_verify(&world.log_path(), |request| request.receipts = receipts.to_vec()).unwrap();
        check(&report, Verdict::Diverged, Some(Kind::DivergedReceipt), Some(first.index));
        let said = report.remarks.iter().find(|remark| remark.kind == "input_unusable");
        assert!(said.is_some_and(|remark| remark.detail.contains("not in force")), "{:#?}", report.remarks);
    }
    assert!(matches!(with(&world, unusable), Err(VerifyError::Input(_))));
}

#[test]
fn a_receipt_by_a_key_that_is_on_record_as_stolen_is_told_and_proves_nothing() {
    let (world, [first, second]) = with_receipts();
    let stolen = Withdrawn {
        from: first.index,
        id: first.key.clone(),
        reason: "a theft".to_owned(),
        state: WithdrawnState::Compromised,
    };
    world.reopen_and(|log| log.withdraw_keys("a theft", &[stolen])).unwrap();
    let report = with(&world, forged(&world.stolen_entry_key(), &first, first.index)).unwrap();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|remark| remark.kind == "receipt_withdrawn"), "{:#?}", report.remarks);
    check(&with(&world, second).unwrap(), Verdict::Intact, None, None);
}
