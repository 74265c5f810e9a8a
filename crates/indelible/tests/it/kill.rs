//! A13 on the real disk: a child process is killed in the middle of its work, hundreds of times.
//!
//! The child is this test binary, told by the environment to append; it prints each receipt once it has it. Whatever was printed
//! must be there when the log is opened again.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use indelible::{KeyRing, Log, Options, verify::Verdict};
use indelible_core::tree::{LeafIndex, leaf_hash};
use indelible_store::fault::Random;
use indelible_store_file::Settings;

use crate::world::{World, event};

const DIR: &str = "INDELIBLE_KILL_DIR";
const SEED: &str = "INDELIBLE_KILL_SEED";
const LOGS: u64 = 4;
const KILLS_PER_LOG: u64 = 55;

fn options() -> Options {
    let settings = Settings { segment_bytes: 12 << 10, immutable: false, ..Settings::default() };
    // Checkpoints all the time, so that kills fall into them too.
    let (publish_every, keep_every) = (Duration::from_millis(1), Duration::from_millis(30));
    Options { settings, publish_every, keep_every, ..Options::default() }
}

/// Does nothing in a normal run: the body of the child.
#[test]
fn the_child_of_the_kill_test() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let keys = KeyRing::load(&Path::new(&dir).join("keys")).unwrap();
    let log = Log::open(&PathBuf::from(&dir).join("log"), &keys, options()).unwrap();
    let mut random = Random::new(seed);
    let mut out = std::io::stdout();
    let mut next = seed << 20;
    loop {
        let count = 1 + random.below(5);
        let batch: Vec<Vec<u8>> = (next..next + count).map(event).collect();
        next += count;
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

/// Starts a child, kills it at some moment, and returns what it had printed: id to index and leaf hash.
fn run_and_kill(dir: &Path, seed: u64, random: &mut Random) -> BTreeMap<String, (u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::the_child_of_the_kill_test", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = BTreeMap::new();
    let wanted = random.below(40);
    let more = Duration::from_micros(random.below(3000));
    let mut heard = 0;
    while heard < wanted {
        let line = lines.next().expect("the child ended by itself").unwrap();
        heard += u64::from(note(&line, &mut printed));
    }
    // A random moment between two receipts.
    let begun = Instant::now();
    while begun.elapsed() < more {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        note(&line, &mut printed);
    }
    printed
}

fn note(line: &str, printed: &mut BTreeMap<String, (u64, String)>) -> bool {
    let words: Vec<&str> = line.split_once("ack ").map_or("", |(_, rest)| rest).split(' ').collect();
    let [index, id, leaf, "end"] = words[..] else { return false };
    printed.insert(id.to_owned(), (index.parse().unwrap(), leaf.to_owned()));
    true
}

#[test]
fn a13_a_killed_process_loses_nothing_that_it_acknowledged() {
    let (kills, receipts, torn) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..LOGS {
            let (kills, receipts, torn) = (&kills, &receipts, &torn);
            scope.spawn(move || {
                let world = World::new();
                world.create(options()).close().unwrap();
                let mut random = Random::new(number);
                let mut all = BTreeMap::new();
                for round in 0..KILLS_PER_LOG {
                    let seed = number * KILLS_PER_LOG + round + 1;
                    let printed = run_and_kill(world.dir.path(), seed, &mut random);
                    kills.fetch_add(1, Ordering::SeqCst);
                    receipts.fetch_add(printed.len() as u64, Ordering::SeqCst);
                    check_unopened(&world);
                    let log = Log::open(&world.log_path(), &world.keys, options()).unwrap();
                    check_receipts(&log, &printed);
                    all.extend(printed);
                    if random.coin() {
                        log.close().unwrap();
                        drop(log);
                        let report = world.verify();
                        assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
                        torn.fetch_max(recovered(&report), Ordering::SeqCst);
                    }
                }
                let log = Log::open(&world.log_path(), &world.keys, options()).unwrap();
                check_receipts(&log, &all);
                log.close().unwrap();
                drop(log);
                let report = world.try_verify(&world.log_path(), |request| request.strict = true).unwrap();
                assert_eq!(report.status, Verdict::Intact, "{:#?}", report.findings);
            });
        }
    });
    println!(
        "killed processes: {} kills, {} receipts printed, 0 lost, at most {} torn writes recovered in one log",
        kills.into_inner(),
        receipts.into_inner(),
        torn.into_inner()
    );
}

fn recovered(report: &indelible::verify::Report) -> u64 {
    report.remarks.iter().filter(|remark| remark.kind == "recovered").count() as u64
}

/// Straight after the kill, nothing may look like tampering; a derived file may lag.
fn check_unopened(world: &World) {
    let report = world.verify();
    assert!(matches!(report.status, Verdict::Intact | Verdict::Damaged), "{:#?}", report.findings);
}

fn check_receipts(log: &Log, printed: &BTreeMap<String, (u64, String)>) {
    for (id, (index, leaf)) in printed {
        let stored = log.get(LeafIndex(*index)).unwrap_or_else(|error| panic!("`{id}` at {index}: {error:?}"));
        assert_eq!(&leaf_hash(&stored.entry).to_hex(), leaf, "`{id}` is not what was acknowledged");
        assert_eq!(log.find(id).unwrap().index.0, *index);
    }
}
