//! The newest kept checkpoint is named by one entry and no second one, whatever became of the first.

use std::{fs, path::PathBuf};

use indelible::{
    Keeper, Log, Options,
    error::chain,
    manage::explain,
    verify::{Kind, Verdict},
};
use indelible_core::tree::LeafIndex;
use indelible_store_file::Settings;

use crate::{
    keys::{first_public, publicly},
    support::forge::{leaf_of, parsed},
    world::{World, check, copy_dir, event, events, files, options, overwrite, receipts},
};

/// A log of a process that was killed, and the index of the entry that names its newest kept checkpoint. Behind that are more than there may be while a checkpoint is kept.
fn named(settings: Settings) -> (World, u64) {
    named_among(settings, 5, 15)
}

/// The same of so many events before the kept checkpoint, and behind it.
fn named_among(settings: Settings, before: u64, behind: u64) -> (World, u64) {
    let world = World::new();
    let log = world.create(Options { settings, keeper: Some(Keeper::manual()), ..options() });
    receipts(log.append_all(&events(0..before)));
    log.keep_checkpoint().unwrap();
    for first in (before..before + behind).step_by(5) {
        receipts(log.append_all(&events(first..first + 5)));
    }
    log.checkpoint().unwrap();
    let (copy, heads) = (world.dir.path().join("killed"), world.dir.path().join("killed-heads"));
    copy_dir(&world.log_path(), &copy);
    copy_dir(&world.keys.heads_dir(), &heads);
    let names = |index: &u64| {
        let bytes = log.read(LeafIndex(*index), 0).unwrap().bytes;
        parsed(bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap()).entry.head.is_some()
    };
    let size = log.size().unwrap();
    let index = (0..size).rfind(names).unwrap();
    assert_eq!(index + behind, size);
    drop(log);
    // As a kill leaves it: a close would keep one more.
    for (from, to) in [(copy, world.log_path()), (heads, world.keys.heads_dir())] {
        fs::remove_dir_all(&to).unwrap();
        fs::rename(from, to).unwrap();
    }
    (world, index)
}

#[test]
fn a_lost_file_that_names_a_kept_checkpoint_keeps_no_log_shut_and_makes_no_second_name() {
    let (world, index) = named(Settings { immutable: false, segment_bytes: 1, ..Settings::default() });
    let of_index = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{index:020}"));
    let path = files(&world.log_path().join("segments")).into_iter().find(of_index).unwrap();
    let aside = world.dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    world.reopen_and(|log| log.append_json(&event(100)).unwrap());
    check(&world.verify(), Verdict::Gap, Some(Kind::Absent), Some(index));
    world.reopen_and(|log| explain(log, index, index + 4, "a disk failed").unwrap());
    check(&world.verify(), Verdict::Intact, None, None);
    // It is found again.
    fs::rename(&aside, &path).unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
    check(&publicly(&world, &first_public(&world)), Verdict::Intact, None, None);
}

#[test]
fn an_entry_that_names_a_kept_checkpoint_and_is_damaged_while_a_log_is_opened_is_not_named_again() {
    // In the second, the tile above says nothing of a hash that is changed with the entry.
    for (before, behind) in [(5, 15), (300, 300)] {
        let (world, index) = named_among(Settings { immutable: false, ..Settings::default() }, before, behind);
        for with_hash in [false, true] {
            damaged_while_opened(&world, index, with_hash);
        }
        world.reopen_and(|log| log.append_json(&event(1001)).unwrap());
        check(&world.verify(), Verdict::Intact, None, None);
    }
}

fn damaged_while_opened(world: &World, index: u64, with_hash: bool) {
    let (path, leaves) = (world.segment(), world.log_path().join("tree/0"));
    let (whole, hashes) = (fs::read(&path).unwrap(), fs::read(&leaves).unwrap());
    let mut damaged = whole.clone();
    let at = damaged.windows(9).rposition(|part| part == b"\"number\":").unwrap() + 9;
    damaged[at] = if damaged[at] == b'9' { b'8' } else { b'9' };
    overwrite(&path, &damaged);
    if with_hash {
        let (mut hashes, at) = (hashes.clone(), usize::try_from(index).unwrap());
        hashes[32 * at..32 * at + 32].copy_from_slice(&leaf_of(&world.lines()[at]).0);
        overwrite(&leaves, &hashes);
    }
    let refused = Log::open(&world.log_path(), world.ring(), options())
        .map_err(|error| chain(&error))
        .and_then(|log| log.append_json(&event(1000)).map(drop).map_err(|error| chain(&error)));
    assert!(refused.as_ref().is_err_and(|why| why.contains("`indelible verify`")), "{refused:?}");
    overwrite(&path, &whole);
    overwrite(&leaves, &hashes);
}
