use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    path::Path,
};

use super::*;
use crate::disk::{Disk, DiskFile, Meta, Open, Protection, create_dirs, read_small, replace_small};

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with the durable file `a`, content `old`, in the durable directory `d`.
fn disk_with_file() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.put("d/a", "old").unwrap();
    disk
}

fn open(disk: &SimDisk, name: &str) -> Box<dyn DiskFile> {
    disk.open(path(name), Open::Write).unwrap()
}

fn create(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.open(path(name), Open::CreateNew).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn live(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.snapshot().remove(path(name))
}

fn durable(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    disk.durable_snapshot().remove(path(name))
}

/// What the file at `name` may be after a power loss.
fn outcomes(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..200).map(|_| live(&disk.crash(), name)).collect()
}

fn set(contents: &[Option<&str>]) -> BTreeSet<Option<Vec<u8>>> {
    contents.iter().map(|content| content.map(|text| text.as_bytes().to_vec())).collect()
}

#[track_caller]
fn fails<T>(result: io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.err().map(|error| error.kind()), Some(kind));
}

#[test]
fn errors_have_the_kinds_of_a_real_disk() {
    #[track_caller]
    fn check(expect: ErrorKind, act: impl FnOnce(&SimDisk) -> io::Result<()>) {
        let disk = disk_with_file();
        disk.put("d/b", "").unwrap();
        disk.put("e/f/g", "").unwrap();
        let before = disk.snapshot();
        fails(act(&disk), expect);
        assert_eq!(disk.snapshot(), before);
    }
    check(ErrorKind::NotFound, |disk| disk.open(path("d/x"), Open::Read).map(drop));
    check(ErrorKind::NotFound, |disk| disk.open(path("x"), Open::Write).map(drop));
    check(ErrorKind::NotFound, |disk| disk.open(path("x/y"), Open::CreateNew).map(drop));
    check(ErrorKind::AlreadyExists, |disk| disk.open(path("d/a"), Open::CreateNew).map(drop));
    check(ErrorKind::AlreadyExists, |disk| disk.open(path("d"), Open::CreateNew).map(drop));
    check(ErrorKind::IsADirectory, |disk| disk.open(path("d"), Open::Read).map(drop));
    check(ErrorKind::NotADirectory, |disk| disk.open(path("d/a/x"), Open::Read).map(drop));
    check(ErrorKind::InvalidInput, |disk| disk.open(path("d/../d/a"), Open::Read).map(drop));
    check(ErrorKind::InvalidInput, |disk| disk.open(path("/"), Open::CreateNew).map(drop));
    check(ErrorKind::NotADirectory, |disk| disk.meta(path("d/a/x")).map(drop));
    check(ErrorKind::NotFound, |disk| disk.list(path("x")).map(drop));
    check(ErrorKind::NotADirectory, |disk| disk.list(path("d/a")).map(drop));
    check(ErrorKind::AlreadyExists, |disk| disk.create_dir(path("d/a")));
    check(ErrorKind::NotFound, |disk| disk.create_dir(path("x/y")));
    check(ErrorKind::NotFound, |disk| disk.rename(path("d/x"), path("d/y")));
    check(ErrorKind::NotFound, |disk| disk.rename(path("d/a"), path("x/a")));
    check(ErrorKind::IsADirectory, |disk| disk.rename(path("d/a"), path("e")));
    check(ErrorKind::NotADirectory, |disk| disk.rename(path("e/f"), path("d/a")));
    check(ErrorKind::DirectoryNotEmpty, |disk| disk.rename(path("d"), path("e")));
    check(ErrorKind::Unsupported, |disk| disk.rename(path("e/f"), path("d/f")));
    check(ErrorKind::NotFound, |disk| disk.remove(path("d/x")));
    check(ErrorKind::IsADirectory, |disk| disk.remove(path("d")));
    check(ErrorKind::NotFound, |disk| disk.sync_dir(path("x")));
    check(ErrorKind::NotADirectory, |disk| disk.sync_dir(path("d/a")));
    check(ErrorKind::NotFound, |disk| disk.lease(path("d/x")).map(drop));
    check(ErrorKind::NotFound, |disk| disk.protect(path("d/x"), true).map(drop));
    check(ErrorKind::FileTooLarge, |disk| open(disk, "d/a").write_at(b"x", u64::MAX));
    check(ErrorKind::FileTooLarge, |disk| open(disk, "d/a").set_len(MAX_FILE_LEN + 1));
    check(ErrorKind::PermissionDenied, |disk| disk.open(path("d/a"), Open::Read)?.write_at(b"x", 0));
    check(ErrorKind::PermissionDenied, |disk| disk.open(path("d/a"), Open::Read)?.set_len(0));
    check(ErrorKind::NotFound, |disk| disk.edit("d/x", |_| ()));
    check(ErrorKind::NotFound, |disk| disk.erase("d/x"));
    check(ErrorKind::IsADirectory, |disk| disk.put("d", ""));
}

#[test]
fn spellings_of_a_path_name_the_same_file() {
    let disk = disk_with_file();
    for spelling in ["d/a", "/d/a", "./d/a", "d//a", "/d/./a"] {
        assert_eq!(disk.meta(path(spelling)).unwrap(), Some(Meta { len: 3, is_dir: false }), "{spelling}");
    }
    for root in ["", "/", "."] {
        assert_eq!(disk.list(path(root)).unwrap(), ["d"], "{root}");
        assert_eq!(disk.meta(path(root)).unwrap(), Some(Meta { len: 0, is_dir: true }), "{root}");
        disk.sync_dir(path(root)).unwrap();
    }
}

#[test]
fn reads_end_with_the_file_and_gaps_are_zeros() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    file.write_at(b"new", 5).unwrap();
    file.write_at(b"", 100).unwrap();
    let mut buf = [9; 20];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
    assert_eq!(buf.get(..9).unwrap(), b"old\0\0new\x09");
    assert_eq!(file.read_at(&mut buf, 7).unwrap(), 1);
    assert_eq!(file.read_at(&mut buf, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, u64::MAX).unwrap(), 0);
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(live(&disk, "d/a").unwrap(), b"ol\0\0");
}

#[test]
fn handles_follow_the_file_through_rename_and_removal() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    disk.rename(path("d/a"), path("d/b")).unwrap();
    file.write_at(b"new", 0).unwrap();
    assert_eq!(live(&disk, "d/b").unwrap(), b"new");
    disk.remove(path("d/b")).unwrap();
    create(&disk, "d/b", b"other");
    file.write_at(b"gone", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(file.len().unwrap(), 4);
    assert_eq!(live(&disk, "d/b").unwrap(), b"other");
}

#[test]
fn power_loss_keeps_what_was_synced_and_perhaps_the_rest() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    file.write_at(b"new", 0).unwrap();
    assert_eq!(durable(&disk, "d/a").unwrap(), b"old");
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("old"), Some("new")]));
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("new")]));
    file.write_at(b"er", 3).unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("new"), Some("newer"), Some("new\0\0")]));
}

#[test]
fn power_loss_draws_for_each_file_of_the_disk() {
    let disk = disk_with_file();
    disk.put("d/b", "old").unwrap();
    open(&disk, "d/a").write_at(b"new", 0).unwrap();
    open(&disk, "d/b").write_at(b"new", 0).unwrap();
    let pairs: BTreeSet<_> = (0..300).map(|_| disk.crash().snapshot().into_values().collect::<Vec<_>>()).collect();
    assert_eq!(pairs.len(), 4);
}

#[test]
fn only_sync_dir_keeps_a_name() {
    let disk = disk_with_file();
    let file = create(&disk, "d/new", b"text");
    file.sync().unwrap();
    assert_eq!(durable(&disk, "d/new"), None);
    assert_eq!(outcomes(&disk, "d/new"), set(&[None, Some("text")]));
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(outcomes(&disk, "d/new"), set(&[Some("text")]));
    disk.remove(path("d/new")).unwrap();
    assert_eq!(outcomes(&disk, "d/new"), set(&[None, Some("text")]));
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(outcomes(&disk, "d/new"), set(&[None]));
}

#[test]
fn a_synced_name_without_synced_content_is_a_shell() {
    let disk = disk_with_file();
    create(&disk, "d/new", b"text");
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(outcomes(&disk, "d/new"), set(&[Some(""), Some("\0\0\0\0"), Some("text")]));
}

#[test]
fn names_in_a_lost_directory_are_lost() {
    let disk = SimDisk::new(3);
    disk.create_dir(path("x")).unwrap();
    create(&disk, "x/y", b"text").sync().unwrap();
    disk.sync_dir(path("x")).unwrap();
    assert_eq!(outcomes(&disk, "x/y"), set(&[None, Some("text")]));
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(outcomes(&disk, "x/y"), set(&[Some("text")]));
}

#[test]
fn of_unsynced_names_a_prefix_survives() {
    let disk = disk_with_file();
    for name in ["d/1", "d/2", "d/3"] {
        create(&disk, name, b"");
    }
    disk.remove(path("d/a")).unwrap();
    let lists: BTreeSet<_> = (0..300).map(|_| disk.crash().list(path("d")).unwrap().concat()).collect();
    assert_eq!(lists, ["a", "1a", "12a", "123a", "123"].map(str::to_owned).into());
}

#[test]
fn a_rename_within_a_directory_is_one_step() {
    let disk = disk_with_file();
    create(&disk, "d/b", b"new").sync().unwrap();
    disk.sync_dir(path("d")).unwrap();
    disk.rename(path("d/b"), path("d/a")).unwrap();
    let found: BTreeSet<_> = (0..200)
        .map(|_| disk.crash())
        .map(|disk| (live(&disk, "d/a").unwrap(), live(&disk, "d/b").is_some()))
        .collect();
    assert_eq!(found, [(b"old".to_vec(), true), (b"new".to_vec(), false)].into());
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(disk.crash().list(path("d")).unwrap(), ["a"]);
}

#[test]
fn a_rename_between_directories_never_loses_the_file() {
    // Whether the old and the new name may be there, by the directories that were synced after it.
    let (moved, both, before) = ((false, true), (true, true), (true, false));
    #[track_caller]
    fn check(synced: &[&str], expect: &[(bool, bool)]) {
        let disk = disk_with_file();
        disk.put("e/x", "").unwrap();
        disk.rename(path("d/a"), path("e/a")).unwrap();
        synced.iter().for_each(|dir| disk.sync_dir(path(dir)).unwrap());
        let there = |disk: SimDisk| (live(&disk, "d/a").is_some(), live(&disk, "e/a").is_some());
        let found: BTreeSet<_> = (0..300).map(|_| there(disk.crash())).collect();
        assert_eq!(found, expect.iter().copied().collect(), "{synced:?}");
    }
    check(&[], &[moved, both, before]);
    check(&["e"], &[moved, both]);
    check(&["d"], &[moved]);
    check(&["e", "d"], &[moved]);
}

#[test]
fn handles_and_leases_end_with_a_crash() {
    let crashes: [fn(&SimDisk); 2] = [|disk| disk.crash_in_place(7), SimDisk::process_crash];
    for crash in crashes {
        let disk = disk_with_file();
        let file = open(&disk, "d/a");
        let lease = disk.lease(path("d/a")).unwrap().unwrap();
        crash(&disk);
        let operations = disk.operations();
        fails(file.len(), ErrorKind::Other);
        fails(file.read_at(&mut [0], 0), ErrorKind::Other);
        fails(file.write_at(b"x", 0), ErrorKind::Other);
        fails(file.sync(), ErrorKind::Other);
        fails(file.set_len(0), ErrorKind::Other);
        assert_eq!(disk.operations(), operations);
        let next = disk.lease(path("d/a")).unwrap();
        assert!(next.is_some());
        drop(lease);
        assert!(disk.lease(path("d/a")).unwrap().is_none(), "a dead lease frees nothing");
        assert_eq!(live(&disk, "d/a").unwrap(), b"old");
    }
}

#[test]
fn the_end_of_the_process_loses_nothing() {
    let disk = disk_with_file();
    create(&disk, "d/new", b"text");
    let before = disk.snapshot();
    disk.process_crash();
    assert_eq!(disk.snapshot(), before);
    assert_eq!(durable(&disk, "d/new"), None, "what was unsynced still is");
    disk.sync_dir(path("d")).unwrap();
    open(&disk, "d/new").sync().unwrap();
    assert_eq!(disk.durable_snapshot(), before);
}

#[test]
fn one_holder_for_each_lease() {
    let disk = disk_with_file();
    disk.put("d/b", "").unwrap();
    let lease = disk.lease(path("d/a")).unwrap();
    assert!(lease.is_some());
    assert!(disk.clone().lease(path("/d/a")).unwrap().is_none());
    assert!(disk.lease(path("d/b")).unwrap().is_some());
    assert!(disk.deep_clone().lease(path("d/a")).unwrap().is_some());
    drop(lease);
    assert!(disk.lease(path("d/a")).unwrap().is_some());
}

#[test]
fn protection_holds_for_what_is_opened_later() {
    let disk = disk_with_file();
    let before = open(&disk, "d/a");
    assert_eq!(disk.protect(path("d/a"), false).unwrap(), Protection::ReadOnly);
    before.write_at(b"o", 0).unwrap();
    fails(disk.open(path("d/a"), Open::Write), ErrorKind::PermissionDenied);
    fails(disk.lease(path("d/a")), ErrorKind::PermissionDenied);
    disk.open(path("d/a"), Open::Read).unwrap();
    fails(disk.crash().open(path("d/a"), Open::Write), ErrorKind::PermissionDenied);
    disk.rename(path("d/a"), path("d/b")).unwrap();
    assert_eq!(disk.protect(path("d/b"), true).unwrap(), Protection::Immutable);
    fails(disk.rename(path("d/b"), path("d/a")), ErrorKind::PermissionDenied);
    fails(disk.remove(path("d/b")), ErrorKind::PermissionDenied);
    create(&disk, "d/c", b"");
    fails(disk.rename(path("d/c"), path("d/b")), ErrorKind::PermissionDenied);
    disk.unprotect(path("d/b")).unwrap();
    open(&disk, "d/b").write_at(b"new", 0).unwrap();
    disk.remove(path("d/b")).unwrap();
}

#[test]
fn failed_operations_happened_or_did_not() {
    type Act = fn(&SimDisk, &dyn DiskFile) -> io::Result<()>;
    let acts: [(&str, Act); 8] = [
        ("write", |_, file| file.write_at(b"new", 0)),
        ("sync", |_, file| file.sync()),
        ("set_len", |_, file| file.set_len(1)),
        ("create", |disk, _| disk.open(path("d/new"), Open::CreateNew).map(drop)),
        ("create_dir", |disk, _| disk.create_dir(path("d/dir"))),
        ("rename", |disk, _| disk.rename(path("d/a"), path("d/b"))),
        ("remove", |disk, _| disk.remove(path("d/a"))),
        ("sync_dir", |disk, _| disk.sync_dir(path("d"))),
    ];
    let state = |disk: &SimDisk| (disk.snapshot(), disk.durable_snapshot(), disk.list(path("d")).unwrap());
    for (name, act) in acts {
        let after = |fault: Option<Fault>| {
            let disk = disk_with_file();
            let file = open(&disk, "d/a");
            file.write_at(b"!", 3).unwrap();
            create(&disk, "d/unsynced", b"");
            let before = state(&disk);
            let operations = disk.operations();
            let expect = fault.clone().map(|_| ErrorKind::Other);
            fault.into_iter().for_each(|fault| disk.plan(operations, fault));
            assert_eq!(act(&disk, &*file).err().map(|error| error.kind()), expect, "{name}");
            assert_eq!(disk.operations(), operations + 1, "{name}");
            (before, state(&disk))
        };
        let (before, happened) = after(None);
        assert_ne!(before, happened, "{name}");
        assert_eq!(after(Some(Fault::FailBefore)).1, before, "{name}");
        assert_eq!(after(Some(Fault::FailAfter)).1, happened, "{name}");
    }
}

#[test]
fn faults_wait_for_an_operation_they_fit_and_strike_once() {
    #[track_caller]
    fn check(fault: Fault, expect: [bool; 5]) {
        let disk = disk_with_file();
        let file = open(&disk, "d/a");
        disk.plan(1, fault);
        let failed = [
            disk.create_dir(path("x")).is_err(),
            file.write_at(b"", 0).is_err(),
            file.write_at(b"text", 0).is_err(),
            file.sync().is_err(),
            disk.sync_dir(path("d")).is_err(),
        ];
        assert_eq!(failed, expect);
        assert_eq!(disk.operations(), 5);
    }
    check(Fault::FailBefore, [false, true, false, false, false]);
    check(Fault::FailAfter, [false, true, false, false, false]);
    check(Fault::Torn, [false, false, true, false, false]);
    check(Fault::FailedSync, [false, false, false, true, false]);
    check(Fault::DiskFull, [false, true, true, false, false]);
    check(Fault::BitFlipOnWrite, [false; 5]);
    check(Fault::BitFlipOnRead { path_contains: "a".into() }, [false; 5]);
}

#[test]
fn two_faults_strike_in_their_order() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    disk.plan(2, Fault::FailAfter);
    disk.plan(0, Fault::FailBefore);
    let failed: Vec<_> = b"wxyz".iter().map(|byte| file.write_at(&[*byte], 0).is_err()).collect();
    assert_eq!(failed, [true, false, true, false]);
    disk.plan(0, Fault::FailBefore);
    disk.clear_faults();
    file.sync().unwrap();
}

#[test]
fn a_torn_write_leaves_a_true_prefix() {
    let lengths: BTreeSet<usize> = (0..200)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            disk.put("a", "").unwrap();
            disk.plan(0, Fault::Torn);
            fails(open(&disk, "a").write_at(b"abcd", 0), ErrorKind::Other);
            let left = live(&disk, "a").unwrap();
            assert!(b"abcd".starts_with(&left));
            left.len()
        })
        .collect();
    assert_eq!(lengths, (0..4).collect());
}

#[test]
fn after_a_failed_sync_the_data_shows_but_never_becomes_durable() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    file.write_at(b"new", 0).unwrap();
    disk.plan(0, Fault::FailedSync);
    fails(file.sync(), ErrorKind::Other);
    file.sync().unwrap();
    assert_eq!(live(&disk, "d/a").unwrap(), b"new");
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("old")]));
    file.write_at(b"!", 3).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("old!")]));
}

#[test]
fn after_a_failed_sync_dir_the_names_show_but_never_become_durable() {
    let disk = disk_with_file();
    create(&disk, "d/new", b"").sync().unwrap();
    disk.plan(0, Fault::FailedSync);
    fails(disk.sync_dir(path("d")), ErrorKind::Other);
    disk.sync_dir(path("d")).unwrap();
    assert_eq!(disk.list(path("d")).unwrap(), ["a", "new"]);
    assert_eq!(outcomes(&disk, "d/new"), set(&[None]));
}

#[test]
fn a_full_disk_refuses_growth_until_it_is_cleared() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    disk.plan(0, Fault::DiskFull);
    fails(file.write_at(b"text", 3), ErrorKind::StorageFull);
    fails(file.set_len(100), ErrorKind::StorageFull);
    fails(disk.open(path("d/new"), Open::CreateNew), ErrorKind::StorageFull);
    fails(disk.create_dir(path("x")), ErrorKind::StorageFull);
    let left = live(&disk, "d/a").unwrap();
    assert!(b"oldtext".starts_with(&left) && left.len() < 7);
    disk.create_dir(path("d")).unwrap();
    file.set_len(1).unwrap();
    file.sync().unwrap();
    disk.rename(path("d/a"), path("d/b")).unwrap();
    disk.sync_dir(path("d")).unwrap();
    disk.crash_in_place(1);
    fails(open(&disk, "d/b").write_at(b"x", 0), ErrorKind::StorageFull);
    disk.clear_faults();
    open(&disk, "d/b").write_at(b"x", 0).unwrap();
}

#[test]
fn without_power_everything_fails_until_the_restart() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    file.write_at(b"new", 0).unwrap();
    disk.plan(1, Fault::PowerLoss);
    fails(file.sync(), ErrorKind::Other);
    disk.clear_faults();
    disk.process_crash();
    let operations = disk.operations();
    fails(file.read_at(&mut [0], 0), ErrorKind::Other);
    fails(disk.meta(path("d")), ErrorKind::Other);
    fails(disk.list(path("d")), ErrorKind::Other);
    fails(disk.open(path("d/a"), Open::Read), ErrorKind::Other);
    fails(disk.lease(path("d/a")), ErrorKind::Other);
    fails(disk.protect(path("d/a"), false), ErrorKind::Other);
    fails(disk.remove(path("d/a")), ErrorKind::Other);
    fails(disk.sync_dir(path("d")), ErrorKind::Other);
    assert_eq!(disk.operations(), operations);
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("old"), Some("new")]));
    disk.crash_in_place(0);
    disk.open(path("d/a"), Open::Read).unwrap();
}

#[test]
fn one_bit_flips_once() {
    let differing = |left: &[u8], right: &[u8]| {
        assert_eq!(left.len(), right.len());
        left.iter().zip(right).map(|(left, right)| (left ^ right).count_ones()).sum::<u32>()
    };
    let read = |disk: &SimDisk, name: &str| read_small(disk, path(name), 100).unwrap().unwrap();
    let disk = disk_with_file();
    disk.put("d/other", "old").unwrap();
    disk.plan(0, Fault::BitFlipOnRead { path_contains: "d/a".into() });
    assert_eq!(read(&disk, "d/other"), b"old");
    assert_eq!(differing(&read(&disk, "/d/a"), b"old"), 1);
    assert_eq!(read(&disk, "/d/a"), b"old");
    disk.plan(0, Fault::BitFlipOnWrite);
    open(&disk, "d/a").write_at(b"new", 0).unwrap();
    assert_eq!(differing(&read(&disk, "d/a"), b"new"), 1);
    assert_eq!(read(&disk, "d/a"), live(&disk, "d/a").unwrap());
    open(&disk, "d/a").write_at(b"new", 0).unwrap();
    assert_eq!(read(&disk, "d/a"), b"new");
}

#[test]
fn tampering_is_durable_and_passes_protection() {
    let disk = disk_with_file();
    let file = open(&disk, "d/a");
    file.write_at(b"unsynced", 0).unwrap();
    create(&disk, "d/b", b"");
    disk.protect(path("d/a"), true).unwrap();
    disk.put("/d/a", "put").unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("put")]));
    assert!(durable(&disk, "d/b").is_some(), "names beside it became durable");
    disk.edit("d/a", |bytes| bytes.reverse()).unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[Some("tup")]));
    assert_eq!(file.len().unwrap(), 3, "open handles see it");
    fails(disk.open(path("d/a"), Open::Write), ErrorKind::PermissionDenied);
    disk.erase("d/a").unwrap();
    assert_eq!(outcomes(&disk, "d/a"), set(&[None]));
    assert_eq!(disk.operations(), 3);
}

#[test]
fn copies_go_their_own_way() {
    let disk = disk_with_file();
    create(&disk, "d/new", b"text");
    disk.remove(path("d/a")).unwrap();
    let copy = disk.deep_clone();
    assert_eq!((copy.snapshot(), copy.durable_snapshot()), (disk.snapshot(), disk.durable_snapshot()));
    open(&copy, "d/new").write_at(b"copy", 0).unwrap();
    copy.sync_dir(path("d")).unwrap();
    assert_eq!(live(&disk, "d/new").unwrap(), b"text");
    assert_eq!(durable(&disk, "d/a").unwrap(), b"old");
    assert_eq!(durable(&copy, "d/a"), None);
    disk.shared().remove(path("d/new")).unwrap();
    assert_eq!(live(&disk, "d/new"), None);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        disk.plan(1, Fault::Torn);
        disk.plan(2, Fault::BitFlipOnWrite);
        let file = disk.open(path("a"), Open::CreateNew).unwrap();
        fails(file.write_at(&[7; 5000], 0), ErrorKind::Other);
        file.write_at(&[8; 5000], 6000).unwrap();
        let crashed = disk.crash();
        (disk.snapshot(), crashed.snapshot())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// The write-new-then-rename idiom, with every fault at every one of its operations and a power loss after that.
#[test]
fn replacing_a_small_file_survives_every_reported_fault() {
    let count = disk_with_file();
    replace_small(&count, path("d/a"), b"new").unwrap();
    assert_eq!(count.operations(), 5);
    for at in 0..count.operations() {
        for fault in Fault::REPORTED {
            let disk = disk_with_file();
            disk.plan(at, fault.clone());
            let done = replace_small(&disk, path("d/a"), b"new").is_ok();
            let allowed = if done { set(&[Some("new")]) } else { set(&[Some("old"), Some("new")]) };
            let found = outcomes(&disk, "d/a");
            assert!(found.is_subset(&allowed), "{fault:?} at {at}: {found:?}");
        }
    }
}

#[test]
fn created_directories_are_durable() {
    for root in ["x/y/z", "/x/y/z"] {
        let disk = SimDisk::new(1);
        create_dirs(&disk, path(root)).unwrap();
        create_dirs(&disk, path(root)).unwrap();
        disk.crash_in_place(4);
        assert_eq!(disk.list(path("/x/y")).unwrap(), ["z"]);
    }
}
