//! A13 on a simulated disk: random work, one fault at a random moment, perhaps a crash, and what must hold afterwards.
//!
//! One seed gives the work, the fault and what a crash leaves; a failing seed is named in the panic and runs alone with
//! `INDELIBLE_SEED=n`. `INDELIBLE_SEEDS=n` runs n seeds instead of the usual number.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use indelible::{Log, log::id_of, verify::Verdict};
use indelible_core::tree::{Frontier, Hash, LeafIndex, TreeHead, leaf_hash};
use indelible_store::fault::{Fault, Random};
use indelible_store_file::Settings;

use crate::support::sim::SimWorld;

const DEFAULT_SEEDS: u64 = 2400;
/// Faults, each with its reopening, that one seed goes through.
const ROUNDS: u64 = 3;

/// Logs of different shapes, closed cleanly, that the seeds go on from.
fn templates() -> Vec<SimWorld> {
    [(1200, true, 0), (2500, false, 40), (64 << 20, false, 0), (64 << 20, true, 300), (700, true, 25)]
        .into_iter()
        .map(|(segment_bytes, immutable, events)| {
            let world = SimWorld::new(segment_bytes, Settings { segment_bytes, immutable, ..Settings::default() });
            let log = world.create();
            for n in 0..events {
                log.append_json(&event(&format!("template-{n}"), n)).unwrap();
            }
            log.close().unwrap();
            drop(log);
            world
        })
        .collect()
}

fn event(id: &str, n: u64) -> Vec<u8> {
    // Lengths from one sector to several, so that tears fall inside of lines and between them.
    let filler = "x".repeat(usize::try_from(n * 37 % 900).unwrap());
    format!(r#"{{"action":"a.b","actor":{{"id":"m","type":"user"}},"details":{{"f":"{filler}","n":{n}}},"id":"{id}"}}"#)
        .into_bytes()
}

fn anonymous(n: u64) -> Vec<u8> {
    format!(r#"{{"action":"a.b","actor":{{"id":"m","type":"user"}},"details":{{"n":{n}}}}}"#).into_bytes()
}

/// What was promised to a caller.
struct Promise {
    index: LeafIndex,
    leaf: Hash,
}

struct Sim {
    world: SimWorld,
    random: Random,
    log: Option<Log>,
    promised: BTreeMap<String, Promise>,
    /// Sent with an id, and not acknowledged.
    open: BTreeMap<String, Vec<u8>>,
    heads: BTreeMap<u64, TreeHead>,
    next: u64,
    trace: Vec<String>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    errors: u64,
    crashes: u64,
    promises: u64,
    recovered_under_fault: u64,
}

impl Sim {
    fn new(template: &SimWorld, seed: u64) -> Self {
        Self {
            world: template.fork(seed),
            random: Random::new(seed),
            log: None,
            promised: BTreeMap::new(),
            open: BTreeMap::new(),
            heads: BTreeMap::new(),
            next: 1_000_000,
            trace: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.trace.push(format!("[{}] {}", self.world.disk.operations(), text.into()));
    }

    fn run(&mut self) {
        self.open_soundly();
        for _ in 0..ROUNDS {
            let fault = self.draw_fault();
            let at = self.world.disk.operations() + self.random.below(70);
            self.say(format!("plan {fault:?} at {at}"));
            self.world.disk.plan(at, fault.clone());
            let steps = self.random.below(30);
            let mut failed = false;
            for _ in 0..steps {
                if self.step().is_err() {
                    failed = true;
                    break;
                }
            }
            self.end_process(failed, &fault);
            self.open_soundly();
            self.check_everything();
            self.send_again();
        }
        self.finish();
    }

    fn draw_fault(&mut self) -> Fault {
        Fault::REPORTED[self.random.index(Fault::REPORTED.len())].clone()
    }

    fn note_head(&mut self) {
        if let Some(head) = self.world.tree_head() {
            let known = self.heads.entry(head.size.0).or_insert(head);
            assert_eq!(known.root, head.root, "two checkpoints of size {} contradict each other", head.size.0);
        }
    }

    /// One operation; an error where the log cannot go on.
    fn step(&mut self) -> Result<(), ()> {
        let choice = self.random.below(12);
        let log = self.log.clone().unwrap();
        let result = match choice {
            0..=5 => return self.append(&log),
            6 | 7 => log.checkpoint().map(drop),
            8 | 9 => log.keep_checkpoint().map(drop),
            10 => log.tend(),
            _ => {
                let result = log.close();
                drop(log);
                self.say(format!("close: {result:?}"));
                self.log = None;
                if result.is_ok() {
                    self.note_head();
                    match self.world.try_open() {
                        Ok(log) => self.log = Some(log),
                        Err(error) => {
                            self.say(format!("open: {error:?}"));
                            return Err(());
                        }
                    }
                }
                return result.map_err(drop);
            }
        };
        self.say(format!("operation {choice}: {result:?}"));
        self.note_head();
        if result.is_err() {
            // Whether the log fails for good or goes on: it must not lose or contradict anything.
            return if self.random.coin() { Err(()) } else { Ok(()) };
        }
        Ok(())
    }

    fn append(&mut self, log: &Log) -> Result<(), ()> {
        let count = 1 + self.random.below(8);
        let mut batch = Vec::new();
        for _ in 0..count {
            let n = self.next;
            self.next += 1;
            if self.random.below(3) == 0 {
                batch.push((None, anonymous(n)));
            } else {
                batch.push((Some(format!("id-{n}")), event(&format!("id-{n}"), n)));
            }
        }
        let results = log.append_all(&batch.iter().map(|(_, json)| json.clone()).collect::<Vec<_>>());
        let failed = results.iter().any(Result::is_err);
        self.say(format!("append {count} from {}: failed {failed}", self.next - count));
        for ((id, json), result) in batch.into_iter().zip(results) {
            match result {
                Ok(receipt) => {
                    self.tally.promises += 1;
                    self.promised.insert(receipt.id, Promise { index: receipt.index, leaf: receipt.leaf });
                }
                Err(_) => {
                    if let Some(id) = id {
                        self.open.insert(id, json);
                    }
                }
            }
        }
        if !failed {
            return Ok(());
        }
        // A failed log stays failed: nothing is promised behind a hole.
        let again = log.append_json(&anonymous(0));
        assert!(again.is_err(), "the log took an event after a failed write");
        assert!(log.checkpoint().is_err(), "the log signed after a failed write");
        Err(())
    }

    fn end_process(&mut self, failed: bool, fault: &Fault) {
        self.tally.errors += u64::from(failed);
        self.note_head();
        match self.random.below(3) {
            0 if *fault != Fault::PowerLoss => {
                self.say("handle dropped");
                self.log = None;
                self.note_head();
            }
            1 if *fault != Fault::PowerLoss => {
                self.say("process killed");
                self.world.disk.process_crash();
                self.log = None;
                self.tally.crashes += 1;
            }
            _ => {
                let seed = self.random.next_u64();
                self.say("power lost");
                self.world.disk.crash_in_place(seed);
                self.world.disk.clear_faults();
                self.log = None;
                self.tally.crashes += 1;
            }
        }
        self.world.disk.clear_faults();
    }

    /// Opens the log: first, perhaps, with a fault in the middle of the recovery; then without, which must succeed.
    fn open_soundly(&mut self) {
        if self.log.is_some() {
            return;
        }
        while self.random.below(3) == 0 {
            let fault = self.draw_fault();
            let at = self.world.disk.operations() + self.random.below(25);
            self.say(format!("open with {fault:?} at {at}"));
            self.world.disk.plan(at, fault);
            let opened = self.world.try_open();
            self.tally.recovered_under_fault += u64::from(opened.is_err());
            self.note_head();
            let how = self.random.below(3);
            let seed = self.random.next_u64();
            match how {
                0 => self.world.disk.process_crash(),
                _ => self.world.disk.crash_in_place(seed),
            }
            drop(opened);
            self.world.disk.crash_in_place(seed ^ 1);
            self.world.disk.clear_faults();
        }
        match self.world.try_open() {
            Ok(log) => self.log = Some(log),
            Err(error) => panic!("the log does not open again: {error:?}"),
        }
        self.say("opened");
        self.note_head();
    }

    fn check_everything(&mut self) {
        let log = self.log.clone().unwrap();
        let (entries, roots) = read_all(&log);
        let mut seen = BTreeMap::<&str, u64>::new();
        for entry in &entries {
            if let Some(id) = id_of(entry) {
                *seen.entry(id).or_default() += 1;
            }
        }
        for (id, count) in &seen {
            assert_eq!(*count, 1, "`{id}` stands there {count} times");
        }
        for (id, promise) in &self.promised {
            let at = usize::try_from(promise.index.0).unwrap();
            let entry = entries.get(at).unwrap_or_else(|| panic!("`{id}` was acknowledged as {at} and is gone"));
            assert_eq!(leaf_hash(entry), promise.leaf, "`{id}` is not what was acknowledged");
            assert_eq!(log.get(promise.index).unwrap().entry, *entry);
            assert_eq!(log.find(id).unwrap().index, promise.index, "`{id}` is not found where it stands");
        }
        for (size, head) in &self.heads {
            let at = usize::try_from(*size).unwrap();
            assert_eq!(roots.get(at), Some(&head.root), "the log contradicts its checkpoint of size {size}");
        }
        let report = self.world.verify();
        assert_eq!(report.status, Verdict::Intact, "beside the writer: {:#?}", report.findings);
    }

    /// Whoever was not answered sends the same events once more.
    fn send_again(&mut self) {
        if self.random.coin() {
            return;
        }
        let log = self.log.clone().unwrap();
        let present: BTreeSet<String> = self.open.keys().filter(|id| log.find(id).is_ok()).cloned().collect();
        for (id, json) in std::mem::take(&mut self.open) {
            let receipt = log.append_json(&json).unwrap();
            assert_eq!(receipt.duplicate, present.contains(&id), "`{id}`");
            self.promised.insert(id, Promise { index: receipt.index, leaf: receipt.leaf });
        }
    }

    fn finish(&mut self) {
        self.log.take().unwrap().close().unwrap();
        self.note_head();
        self.intact_when_closed();
        self.log = Some(self.world.try_open().unwrap());
        let log = self.log.clone().unwrap();
        log.append_json(&anonymous(1)).unwrap();
        self.check_everything();
        drop(log);
        self.log.take().unwrap().close().unwrap();
        self.intact_when_closed();
    }

    fn intact_when_closed(&self) {
        let report = self.world.try_verify(|request| request.strict = true).unwrap();
        assert_eq!(report.status, Verdict::Intact, "closed: {:#?}", report.findings);
        assert_eq!(report.unanchored, 0);
    }
}

/// All entries, and the root at every size.
fn read_all(log: &Log) -> (Vec<Vec<u8>>, Vec<Hash>) {
    let mut entries = Vec::new();
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];
    let size = log.size().unwrap();
    while (entries.len() as u64) < size {
        let chunk = log.read(LeafIndex(entries.len() as u64), 1 << 16).unwrap();
        for line in chunk.lines() {
            let stored = indelible::Stored::of_line(line, entries.len() as u64).unwrap();
            assert_eq!(stored.index.0, entries.len() as u64);
            frontier.push(leaf_hash(&stored.entry));
            roots.push(frontier.root());
            entries.push(stored.entry);
        }
    }
    assert_eq!(entries.len() as u64, size);
    (entries, roots)
}

#[test]
fn a13_faults_at_random_moments_lose_nothing_and_raise_no_false_alarm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let templates = templates();
    let seeds = number("INDELIBLE_SEED").map_or(0..number("INDELIBLE_SEEDS").unwrap_or(DEFAULT_SEEDS), |n| n..n + 1);
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= 10 {
                        return;
                    }
                    let template = &templates[usize::try_from(seed).unwrap() % templates.len()];
                    let mut sim = Sim::new(template, seed);
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sim.run())) {
                        let said = panic.downcast_ref::<String>().map_or("", String::as_str);
                        failures.lock().unwrap().push(format!("seed {seed}:\n  {}\n  {said}", sim.trace.join("\n  ")));
                    }
                    let mut total = total.lock().unwrap();
                    total.errors += sim.tally.errors;
                    total.crashes += sim.tally.crashes;
                    total.promises += sim.tally.promises;
                    total.recovered_under_fault += sim.tally.recovered_under_fault;
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    let failures = failures.into_inner().unwrap();
    println!(
        "simulated faults: {} seeds of {ROUNDS} faults, {} operations failed, {} crashes, {} recoveries failed and were repeated, {} events acknowledged, {} seeds with a loss or false alarm",
        seeds.end - seeds.start,
        total.errors,
        total.crashes,
        total.recovered_under_fault,
        total.promises,
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
