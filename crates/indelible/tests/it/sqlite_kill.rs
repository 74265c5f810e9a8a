//! A13, A12 in an SQLite file: several processes append to one log and are killed in the middle of it, again and again.
//!
//! A child is this test binary, told by the environment to append; it prints each receipt once it has it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use indelible::{KeyRing, Log, Options, verify::Verdict};
use indelible_core::tree::{LeafIndex, leaf_hash};
use indelible_store::fault::Random;

use crate::{
    sqlite::{at, file, verify_log},
    world::{ORIGIN, World, event},
};

const DIR: &str = "INDELIBLE_SQLITE_KILL_DIR";
const SEED: &str = "INDELIBLE_SQLITE_KILL_SEED";
const ROUNDS: u64 = 25;
const CHILDREN: u64 = 3;

fn options() -> Options {
    let (publish_every, keep_every) = (Duration::from_millis(1), Duration::from_millis(30));
    Options { publish_every, keep_every, ..Options::default() }
}

/// Does nothing in a normal run: the body of a child.
#[test]
fn the_child_of_the_sqlite_kill_test() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let keys = KeyRing::load(&Path::new(&dir).join("keys")).unwrap();
    let log = Log::open_in(&at(&Path::new(&dir).join("audit.db")), &keys, options()).unwrap();
    let mut random = Random::new(seed);
    let mut out = std::io::stdout();
    let mut next = seed << 20;
    loop {
        let count = 1 + random.below(5);
        let batch: Vec<Vec<u8>> = (next..next + count).map(event).collect();
        next += count;
        if random.below(4) == 0 {
            // Promised and not waited for: the log has to say that some may be missing.
            drop(log.append_bounded(&event(next + (1 << 19))).unwrap());
        }
        for receipt in log.append_all(&batch) {
            let receipt = receipt.unwrap();
            let said = writeln!(out, "ack {} {} {} end", receipt.index, receipt.id, receipt.leaf.to_hex());
            // Nobody listens any more.
            if said.and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    }
}

fn start(dir: &Path, seed: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite_kill::the_child_of_the_sqlite_kill_test", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Runs a child until it has printed some receipts, kills it, and returns all that it had printed: index to id and leaf hash.
fn run_and_kill(dir: &Path, seed: u64) -> BTreeMap<u64, (String, String)> {
    let mut random = Random::new(seed);
    let (mut child, out) = start(dir, seed);
    let mut lines = out.lines();
    let mut printed = BTreeMap::new();
    let wanted = 1 + random.below(40);
    while (printed.len() as u64) < wanted {
        note(&lines.next().expect("the child ended by itself").unwrap(), &mut printed);
    }
    // A random moment between two receipts.
    thread::sleep(Duration::from_micros(random.below(8000)));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        note(&line, &mut printed);
    }
    printed
}

fn note(line: &str, printed: &mut BTreeMap<u64, (String, String)>) {
    let words: Vec<&str> = line.split_once("ack ").map_or("", |(_, rest)| rest).split(' ').collect();
    let [index, id, leaf, "end"] = words[..] else { return };
    let before = printed.insert(index.parse().unwrap(), (id.to_owned(), leaf.to_owned()));
    assert_eq!(before, None, "two receipts for entry {index}");
}

#[test]
fn killed_processes_lose_nothing_that_they_acknowledged() {
    let world = World::new();
    Log::create_in(&at(&file(&world)), ORIGIN, &world.keys, options()).unwrap().close().unwrap();
    let mut all = BTreeMap::new();
    for round in 0..ROUNDS {
        let printed: Vec<_> = thread::scope(|scope| {
            let dir = world.dir.path();
            let children: Vec<_> = (0..CHILDREN)
                .map(|child| scope.spawn(move || run_and_kill(dir, round * CHILDREN + child + 1)))
                .collect();
            children.into_iter().map(|child| child.join().unwrap()).collect()
        });
        for (index, receipt) in printed.into_iter().flatten() {
            assert_eq!(all.insert(index, receipt), None, "two receipts for entry {index}");
        }
        // Straight after the kill nothing may look like tampering.
        let report = verify_log(&world, ORIGIN, round % 5 == 0);
        assert!(matches!(report.status, Verdict::Intact | Verdict::Damaged), "{:#?}", report.findings);
        if round % 5 == 4 {
            let log = Log::open_in(&at(&file(&world)), &world.keys, options()).unwrap();
            check_receipts(&log, &all);
            log.close().unwrap();
            drop(log);
            let report = verify_log(&world, ORIGIN, true);
            assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
            assert!(report.remarks.iter().any(|remark| remark.kind == "bounded_gap"), "{:?}", report.remarks);
        }
    }
    println!(
        "sqlite: {} kills of {CHILDREN} processes at a time, {} receipts printed, 0 lost",
        ROUNDS * CHILDREN,
        all.len()
    );
}

fn check_receipts(log: &Log, printed: &BTreeMap<u64, (String, String)>) {
    for (index, (id, leaf)) in printed {
        let stored = log.get(LeafIndex(*index)).unwrap_or_else(|error| panic!("`{id}` at {index}: {error:?}"));
        assert_eq!(&leaf_hash(&stored.entry).to_hex(), leaf, "`{id}` is not what was acknowledged");
        assert_eq!(log.find(id).unwrap().index.0, *index);
    }
}
