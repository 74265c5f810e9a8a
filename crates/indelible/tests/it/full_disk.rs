//! A13 on a real file system that is full: the error is clear, nothing acknowledged is lost, and with room made the log goes on.
//!
//! The file system is a small tmpfs in a mount namespace of a child process: nobody else sees it, and it is gone with the child. Where
//! the system grants no such namespace, the test is skipped aloud.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use indelible::{AppendError, Log, LogError, Options, Receipt, error::chain, verify::Verdict};
use indelible_core::tree::{LeafIndex, leaf_hash};
use indelible_store_file::Settings;

use crate::world::{ORIGIN, World, event};

/// Names the mounted folder to the child.
const DIR: &str = "INDELIBLE_FULL_DISK";
const DISK_BYTES: usize = 1 << 20;
/// The disk is full after three pages sooner in each round, so that it fills up within each of a writer's steps.
const ROUNDS: usize = 16;
const STEP: usize = 3 * 4096;
/// What must be free again before a writer can go on: a segment in both of its forms, the tree, the ids.
const BALLAST_BYTES: usize = 320 << 10;

#[test]
fn a13_a_full_disk_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size={DISK_BYTES} none \"$1\" || exit 77; shift; exec \"$@\"");
    let mut child = Command::new("unshare");
    child.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"]).arg(dir.path());
    child.arg(std::env::current_exe().unwrap());
    child.args(["full_disk::the_child_of_the_full_disk_test", "--exact", "--nocapture", "--test-threads=1"]);
    let done = child.env(DIR, dir.path()).stdin(Stdio::null()).output();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match done {
        Ok(done) if done.status.success() => println!("{}", said(&done.stdout)),
        Ok(done) if !said(&done.stdout).contains("running 1 test") => {
            eprintln!("SKIPPED (aloud): no small file system can be mounted here: {}", said(&done.stderr).trim_end());
        }
        Ok(done) => panic!("{}\n{}", said(&done.stdout), said(&done.stderr)),
        Err(error) => eprintln!("SKIPPED (aloud): no small file system can be mounted here: `unshare`: {error}"),
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the mount is the child's alone");
}

/// Does nothing in a normal run: the body of the child.
#[test]
fn the_child_of_the_full_disk_test() {
    let Some(disk) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let (mut refused, mut acknowledged) = (0, 0);
    for round in 0..ROUNDS {
        let world = World::new();
        let log = disk.join("log");
        let (receipts, opens_refused) = fill(&world, &disk, &log, round);
        refused += usize::from(opens_refused);
        acknowledged += receipts.len();
        std::fs::remove_file(disk.join("ballast")).unwrap();
        goes_on(&world, &log, &receipts);
        std::fs::remove_dir_all(&log).unwrap();
    }
    println!(
        "full disk: {ROUNDS} times, {acknowledged} events acknowledged before, {refused} openings refused meanwhile, 0 lost"
    );
}

fn options() -> Options {
    // Small segments, so that closing and compressing come to the full disk as well.
    let settings = Settings { segment_bytes: 24 << 10, immutable: false, ..Settings::default() };
    Options { settings, ..Options::default() }
}

/// Appends until the disk is full; what was acknowledged, and whether the full disk refused to open the log as well.
fn fill(world: &World, disk: &Path, path: &Path, round: usize) -> (Vec<Receipt>, bool) {
    let log = Log::create(path, ORIGIN, &world.keys, options()).unwrap();
    std::fs::write(disk.join("ballast"), vec![0; BALLAST_BYTES + round * STEP]).unwrap();
    let mut receipts = Vec::new();
    let mut error = None;
    for batch in 0_u64.. {
        let events: Vec<Vec<u8>> = (batch * 10..batch * 10 + 1 + batch % 10).map(event).collect();
        for result in log.append_all(&events) {
            match result {
                Ok(receipt) => receipts.push(receipt),
                Err(first) => error = error.or(Some(first)),
            }
        }
        if batch % 7 == 6 {
            // May fail as the disk fills up; what it leaves behind must not matter.
            drop(if batch % 2 == 0 { log.checkpoint() } else { log.keep_checkpoint() });
        }
        if error.is_some() {
            break;
        }
        assert!(batch < 10_000, "the disk does not fill up");
    }
    is_clear(&chain(&error.unwrap()), path);
    assert!(matches!(
        log.append_json(&event(999_999)),
        Err(AppendError::Failed { .. } | AppendError::Closed | AppendError::Store(_))
    ));
    drop(log.close());
    drop(log);
    let reopened = Log::open(path, &world.keys, options());
    if let Err(error) = &reopened {
        is_clear(&chain(error), path);
        assert!(!matches!(error, LogError::Evidence { .. }), "{error:?}");
    }
    let refused = reopened.is_err();
    drop(reopened.map(|log| log.close()));
    (receipts, refused)
}

/// It says what is the matter, and where.
fn is_clear(said: &str, path: &Path) {
    let full = ["No space left", "no space left", "no storage space", "full"].iter().any(|words| said.contains(words));
    assert!(full && said.contains(path.to_str().unwrap()), "{said}");
}

/// With room made, the log opens, has what was acknowledged, takes more, and verifies.
fn goes_on(world: &World, path: &Path, receipts: &[Receipt]) {
    let log = Log::open(path, &world.keys, options()).unwrap();
    for receipt in receipts {
        let stored = log.get(receipt.index).unwrap();
        assert_eq!(leaf_hash(&stored.entry), receipt.leaf, "`{}` is not what was acknowledged", receipt.id);
        assert_eq!(log.find(&receipt.id).unwrap().index, receipt.index);
    }
    let last = receipts.last().unwrap();
    assert_eq!(
        log.append_json(&event(last.id.strip_prefix("event-").unwrap().parse().unwrap())).unwrap().index,
        last.index
    );
    let next = log.append_json(&event(1_000_000)).unwrap();
    assert!(next.index > last.index && last.index > LeafIndex(0));
    log.close().unwrap();
    drop(log);
    let report = world.try_verify(path, |request| request.strict = true).unwrap();
    assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
}
