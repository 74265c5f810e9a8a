//! What broke other audit logs, by its number.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use indelible::{
    AppendError, KeyRing, Log, LogError, OnFull, Options, manage,
    verify::{Kind, Verdict, VerifyError},
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::Control,
    entry::{BodyKind, EntryRef, MAX_LINE_BYTES},
    note::NoteSigner as _,
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::{
    disk::OsDisk,
    fault::Fault,
    heads::HeadStoreError,
    store::{Reader as _, StoreError},
};
use indelible_store_file::Settings;

use crate::{
    support::{
        forge::{appended, leaf_of, parsed, replace, reseal},
        gate::{Gate, GatedDisk},
        sim::SimWorld,
        time::HandClock,
    },
    world::{ORIGIN, World, check, copy_dir, event, events, files, options, overwrite, receipts, small_segments},
};

fn sim_settings() -> Settings {
    Settings { immutable: false, ..Settings::default() }
}

#[test]
fn a01_a_flipped_byte_of_the_payload_is_named() {
    let world = World::with_events(60, 3, options());
    world.edit_line(17, |line| replace(line, "\"n\":16", "\"n\":17"));
    let report = world.verify();
    check(&report, Verdict::Tampered, Some(Kind::Changed), Some(17));
    let found = &report.findings[0];
    assert_eq!(found.id.as_deref(), Some("event-16"));
    assert!(found.recorded_at.is_some() && !found.detail.is_empty(), "{found:?}");
    assert!(report.findings.iter().all(|f| f.index == Some(17)), "only one entry was touched: {:#?}", report.findings);
}

#[test]
fn a02_the_last_entries_deleted_are_truncation_and_no_restart_goes_on_from_there() {
    let mut tried = 0;
    for cut in [1, 2, 7, 40, 60] {
        let world = World::with_events(60, 3, options());
        let all = world.lines();
        let left = all.len() - cut;
        world.put_lines(&all[..left]);
        world.expect(Verdict::Tampered, Some(Kind::Truncated), Some(left as u64));
        assert!(Log::open(&world.log_path(), &world.keys, options()).is_err());
        // Whoever cuts the files that derive from them as well gets no further.
        std::fs::remove_file(world.log_path().join("durable")).unwrap();
        for (name, unit) in [("tree/0", 32), ("offsets", 8)] {
            let path = world.log_path().join(name);
            let bytes = std::fs::read(&path).unwrap();
            overwrite(&path, &bytes[..left * unit]);
        }
        world.expect(Verdict::Tampered, Some(Kind::Truncated), Some(left as u64));
        assert!(Log::open(&world.log_path(), &world.keys, options()).is_err());
        assert_eq!(world.lines().len(), left, "a refused opening changes nothing");
        tried += 1;
    }
    println!("a02: {tried} truncations, 0 missed");
}

#[test]
fn a04_each_of_two_deleted_checkpoints_is_told() {
    let world = World::with_events(100, 6, options());
    for number in [3, 4] {
        std::fs::remove_file(world.log_path().join("checkpoints").join(format!("{number:020}"))).unwrap();
    }
    let report = world.verify();
    assert_eq!(report.status, Verdict::Tampered);
    let missing: Vec<_> = report.findings.iter().filter(|f| f.kind == Kind::CheckpointMissing).collect();
    assert_eq!(missing.len(), 2, "{:#?}", report.findings);
    assert!(missing[0].detail.contains('3') && missing[1].detail.contains('4'));
}

#[test]
fn a05_a_suffix_rewritten_at_the_same_length_contradicts_the_root() {
    for with_tree in [false, true] {
        let world = World::with_events(80, 4, options());
        let mut lines = world.lines();
        reseal(&mut lines, 50, &world.stolen_entry_key(), |_, body| {
            let text = String::from_utf8(body.to_vec()).unwrap();
            text.replace("mara", "mary").into_bytes()
        });
        assert_eq!(lines.len(), world.lines().len());
        world.put_lines(&lines);
        if with_tree {
            world.rewrite_leaves();
        }
        let report = world.verify();
        assert_eq!(report.status, Verdict::Tampered, "{:#?}", report.findings);
        let told = |index: u64| {
            report
                .findings
                .iter()
                .any(|f| f.index.is_some_and(|first| (first..=f.last.unwrap_or(first)).contains(&index)))
        };
        assert!(told(50), "{:#?}", report.findings);
        assert!(!told(10), "{:#?}", report.findings);
    }
}

#[test]
fn a07_an_unsigned_or_legacy_line_is_refused_where_it_stands() {
    let legacy: [&[u8]; 5] = [
        b"{\"action\":\"legacy\",\"actor\":\"root\"}\n",
        b"{\"batch\":10,\"entry\":{\"event\":{\"action\":\"a\"},\"index\":10,\"v\":0}}\n",
        b"# chain reset\n",
        b"{\"batch\":0,\"entry\":{},\"mac\":\"\"}\n",
        b"\n",
    ];
    for line in legacy {
        let world = World::with_events(30, 2, options());
        let mut lines = world.lines();
        lines.insert(10, line.to_vec());
        world.put_lines(&lines);
        let report = world.verify();
        assert_eq!(report.status, Verdict::Tampered);
        assert!(report.findings.iter().any(|f| f.index == Some(10)), "{:#?}", report.findings);
        assert!(report.findings.iter().filter(|f| f.kind != Kind::Derived).all(|f| f.index == Some(10)));
    }
    // The version is inside the hashed bytes: no downgrade.
    for version in ["\"v\":0", "\"v\":2", "\"v\":\"\""] {
        let world = World::with_events(30, 2, options());
        world.edit_line(10, |line| replace(line, "\"v\":1", version));
        world.expect(Verdict::Tampered, Some(Kind::Changed), Some(10));
    }
}

#[test]
fn a07_an_unsigned_line_behind_the_end_is_told_and_never_becomes_an_entry() {
    let world = World::with_events(10, 1, options());
    let mut lines = world.lines();
    lines.push(b"{\"action\":\"legacy\",\"actor\":\"root\"}\n".to_vec());
    world.put_lines(&lines);
    world.expect(Verdict::Tampered, Some(Kind::Unsigned), Some(11));
    let log = world.open();
    assert_eq!(log.append_json(&event(77)).unwrap().index, LeafIndex(12));
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|remark| remark.kind == "recovered"), "{:?}", report.remarks);
}

#[test]
fn a08_an_unsigned_log_has_a_verdict_of_its_own_and_never_passes() {
    let world = World::with_events(20, 1, options());
    std::fs::remove_file(world.log_path().join("checkpoint")).unwrap();
    std::fs::remove_dir_all(world.log_path().join("checkpoints")).unwrap();
    std::fs::create_dir(world.log_path().join("checkpoints")).unwrap();
    let report = world
        .try_verify(&world.log_path(), |request| {
            request.ring = None;
            request.heads = None;
            request.head_required = false;
        })
        .unwrap();
    let told = report.findings.iter().find(|f| f.kind == Kind::NoCheckpoint);
    assert!(told.is_some(), "{:#?}", report.findings);
    assert_ne!(report.status, Verdict::Intact);
    assert!([10, 13].contains(&report.status.exit_code()));
    // Without entry signatures either.
    let unsigned: Vec<Vec<u8>> = world
        .lines()
        .iter()
        .map(|line| {
            let text = String::from_utf8(line.clone()).unwrap();
            format!("{}}}\n", text.split_once(",\"mac\"").unwrap().0).into_bytes()
        })
        .collect();
    world.put_lines(&unsigned);
    let report = world
        .try_verify(&world.log_path(), |request| {
            request.heads = None;
            request.head_required = false;
        })
        .unwrap();
    assert_eq!(report.status, Verdict::Unverifiable);
    assert_eq!(report.findings.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::NoCheckpoint]);
    // Where the head store knows the log, its signatures were taken away.
    assert_eq!(world.verify().status, Verdict::Tampered);
}

#[test]
fn a09_a_wrong_verification_key_is_always_an_error() {
    let world = World::with_events(20, 1, options());
    let other = KeyRing::load_or_create(&world.dir.path().join("other")).unwrap();
    let wrong = other.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone();
    let renamed = world.keys.checkpoint_signer("example.com/other").unwrap().verifying_key().clone();
    for tampered in [false, true] {
        if tampered {
            world.edit_line(5, |line| replace(line, "mara", "mary"));
        }
        for (heads, ring) in [(true, true), (false, true), (false, false)] {
            let outcome = world.try_verify(&world.log_path(), |request| {
                request.keys = vec![wrong.clone()];
                if !heads {
                    request.heads = None;
                }
                if !ring {
                    request.ring = None;
                }
            });
            assert!(matches!(outcome, Err(VerifyError::WrongKey { .. })), "{outcome:?}");
        }
    }
    let outcome = world.try_verify(&world.log_path(), |request| {
        request.keys = vec![renamed];
        request.heads = None;
    });
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn a10_of_two_copies_that_are_written_the_second_is_refused() {
    let world = World::with_events(20, 1, options());
    let copy = world.dir.path().join("copy");
    copy_dir(&world.log_path(), &copy);
    let manual = || Options { keeper: Some(indelible::Keeper::manual()), ..options() };
    let one = Log::open(&world.log_path(), &world.keys, manual()).unwrap();
    let two = Log::open(&copy, &world.keys, manual()).unwrap();
    one.append_json(&event(100)).unwrap();
    two.append_json(&event(200)).unwrap();
    one.checkpoint().unwrap();
    let refused = two.checkpoint();
    assert!(matches!(refused, Err(LogError::Heads(HeadStoreError::Conflict { .. }))), "{refused:?}");
    assert!(two.append_json(&event(201)).is_err(), "the second writer goes on");
    one.append_json(&event(101)).unwrap();
    one.close().unwrap();
    drop((one, two));
    world.expect(Verdict::Intact, None, None);
    let report = world.try_verify(&copy, |_| ()).unwrap();
    assert_eq!(report.status, Verdict::Tampered, "the copy is not the log: {:#?}", report.findings);
    assert!(Log::open(&copy, &world.keys, options()).is_err());
}

#[test]
fn a10_a_restored_backup_is_refused() {
    let world = World::with_events(20, 1, options());
    let backup = world.dir.path().join("backup");
    copy_dir(&world.log_path(), &backup);
    let log = world.open();
    receipts(log.append_all(&events(20..30)));
    log.close().unwrap();
    drop(log);
    std::fs::remove_dir_all(world.log_path()).unwrap();
    copy_dir(&backup, &world.log_path());
    world.expect(Verdict::Tampered, Some(Kind::RolledBack), Some(21));
    assert!(Log::open(&world.log_path(), &world.keys, options()).is_err());
}

#[test]
fn a11_chain_and_tree_cannot_disagree_unseen() {
    // A wrong hash in the stored tree: damage, and no proof is made from it.
    let world = World::with_events(30, 2, options());
    let path = world.log_path().join("tree/0");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[32 * 12] ^= 1;
    overwrite(&path, &bytes);
    world.expect(Verdict::Damaged, Some(Kind::Derived), Some(12));
    let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
    let note = std::fs::read_to_string(world.log_path().join("checkpoint")).unwrap();
    let head = Checkpoint::open(note.as_bytes(), &world.public_key()).unwrap().head;
    // Its own hash is not in its proof; that of its neighbour has it.
    assert!(indelible::bundle::prove(&reader, LeafIndex(12), head, &note).is_ok());
    assert!(indelible::bundle::prove(&reader, LeafIndex(13), head, &note).is_err());
    // A link of the chain bent and signed anew by a thief of the entry key.
    let world = World::with_events(30, 2, options());
    let key = world.stolen_entry_key();
    world.edit_line(12, |line| {
        let prev = parsed(line).entry.prev.to_hex();
        let bent = replace(line, &prev, &format!("{}{}", &prev[1..], &prev[..1]));
        let mac = key.sign(&leaf_of(&bent));
        let old = indelible_core::hex::encode(&parsed(line).mac);
        replace(&bent, &old, &indelible_core::hex::encode(&mac))
    });
    world.expect(Verdict::Tampered, Some(Kind::Changed), Some(12));
}

#[test]
fn a12_many_writers_never_fork_and_never_raise_an_alarm() {
    let world = World::new();
    let log = world.create(Options { publish_every: Duration::from_millis(5), ..small_segments() });
    let done = AtomicBool::new(false);
    let (verified, threads, each) = (AtomicU64::new(0), 32, 40);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let report = world.verify();
                assert_eq!(report.status, Verdict::Intact, "beside the writers: {:#?}", report.findings);
                verified.fetch_add(1, Ordering::SeqCst);
            }
        });
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    for n in 0..each {
                        log.append_json(&event(thread * 1000 + n)).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        // Another writer, in this process or another, does not get in.
        let second = Log::open(&world.log_path(), &world.keys, options());
        assert!(matches!(second, Err(LogError::Store(StoreError::InUse { .. }))), "{:?}", second.err());
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
    });
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.tree_size, threads * each + 1);
    println!(
        "a12: {} appends by {threads} threads, {} verifications beside them, 0 alarms",
        threads * each,
        verified.into_inner()
    );
}

#[test]
fn a14_a_bit_that_flips_on_its_way_to_the_disk_is_never_signed() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..300 {
        let world = SimWorld::new(seed, sim_settings());
        let log = world.create();
        receipts(log.append_all(&events(0..3)));
        let before = log.checkpoint().unwrap();
        world.disk.plan(world.disk.operations(), Fault::BitFlipOnWrite);
        receipts(log.append_all(&events(3..6)));
        match log.checkpoint() {
            Err(_) => {
                refused += 1;
                assert!(log.append_json(&event(9)).is_err(), "the log goes on after evidence");
                drop(log);
                // Nothing false was signed, the head before stands, what it covers is whole; the flip is told, not cut.
                assert_eq!(world.head().unwrap(), before);
                let report = world.verify();
                assert_eq!(report.status, Verdict::Tampered, "seed {seed}: {:#?}", report.findings);
                assert!(report.findings.iter().all(|f| f.index.is_none_or(|at| at >= 4)), "{:#?}", report.findings);
                assert!(world.try_open().is_err(), "seed {seed}");
                // The way on.
                let next = std::path::Path::new("/next");
                let keys = crate::support::sim::shared_keys();
                let successor = manage::succeed(
                    &world.options().directory(SimWorld::log_path()),
                    &world.options().directory(next),
                    "example.com/next",
                    keys,
                    world.options(),
                )
                .unwrap();
                successor.append_json(&event(3)).unwrap();
                successor.close().unwrap();
            }
            Ok(_) => {
                // The number of a batch may read as another valid one; it is no part of an entry.
                harmless += 1;
                log.close().unwrap();
                drop(log);
                let report = world.verify();
                assert_eq!(report.status, Verdict::Intact, "seed {seed}: {:#?}", report.findings);
            }
        }
    }
    println!(
        "a14: {} flips on the way to the disk, {refused} refused, {harmless} outside of every entry and valid, 0 signed",
        refused + harmless
    );
    assert!(refused > harmless * 20);
}

#[test]
fn a15_a_clock_that_steps_is_on_record_and_no_alarm() {
    let world = World::new();
    let clock = HandClock::new();
    let with_clock = || Options { clock: clock.clone(), ..options() };
    let log = world.create(with_clock());
    let mut n = 0;
    let mut append = |log: &Log| {
        n += 1;
        log.append_json(&event(n)).unwrap().index.0
    };
    append(&log);
    clock.pass(Duration::from_secs(3600));
    append(&log);
    let plain = log.size().unwrap();
    assert_eq!(plain, 3, "time that passes is no step");
    clock.step(-3_600_000_000);
    let behind = append(&log);
    clock.step(7_200_000_000);
    let ahead = append(&log);
    clock.set("2099-12-31T23:59:59Z");
    let far = append(&log);
    log.keep_checkpoint().unwrap();
    clock.set("2026-01-01T12:00:00Z");
    let back = append(&log);
    clock.step(999_999);
    let small = append(&log);
    assert_eq!(
        [behind, ahead, far, back, small],
        [4, 6, 8, 10, 11],
        "a step of over a second costs one entry before it"
    );
    log.close().unwrap();
    drop(log);
    // Opened when the clock is behind the last entry: that is a step as well.
    clock.set("2025-06-01T00:00:00Z");
    let log = Log::open(&world.log_path(), &world.keys, with_clock()).unwrap();
    assert_eq!(append(&log), 13);
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    let steps: Vec<_> = report.remarks.iter().filter(|r| r.kind == "clock_step").filter_map(|r| r.index).collect();
    assert_eq!(steps, [3, 5, 7, 9, 12]);
}

#[test]
fn a18_closed_in_a_flood_everything_acknowledged_is_there_and_covered() {
    for round in 0..5 {
        let world = World::new();
        let log = world.create(small_segments());
        let acknowledged = AtomicU64::new(0);
        let all: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|thread| {
                    let (log, acknowledged) = (log.clone(), &acknowledged);
                    scope.spawn(move || {
                        let mut mine = Vec::new();
                        for n in 0.. {
                            match log.append_json(&event(thread * 1_000_000 + n)) {
                                Ok(receipt) => mine.push(receipt),
                                Err(AppendError::Closed) => return mine,
                                Err(error) => panic!("{error:?}"),
                            }
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                        mine
                    })
                })
                .collect();
            while acknowledged.load(Ordering::SeqCst) < 50 * (round + 1) {
                std::thread::yield_now();
            }
            log.close().unwrap();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        let (_, tree) = log.head();
        assert_eq!(tree.size.0, log.size().unwrap(), "the last checkpoint covers everything");
        drop(log);
        let report = world.verify();
        check(&report, Verdict::Intact, None, None);
        assert_eq!((report.tree_size, report.unanchored), (all.len() as u64 + 1, 0), "accepted = stored");
        let log = world.open();
        for receipt in &all {
            assert_eq!(leaf_hash(&log.get(receipt.index).unwrap().entry), receipt.leaf);
        }
    }
}

#[test]
fn a19_a_full_queue_refuses_clearly_or_waits_and_a_gap_is_an_entry() {
    let far = Duration::from_secs(3600);
    let world = SimWorld::new(1, sim_settings());
    let refusing = Options { on_full: OnFull::Refuse, bounded_within: far, ..world.options() };
    let log = Log::create(SimWorld::log_path(), ORIGIN, crate::support::sim::shared_keys(), refusing).unwrap();
    // Nobody commits, so the queue fills.
    let mut accepted = Vec::new();
    let refused = loop {
        match log.append_bounded(&event(accepted.len() as u64)) {
            Ok(promise) => accepted.push(promise),
            Err(error) => break error,
        }
    };
    let count = accepted.len();
    assert!(matches!(refused, AppendError::Full { events } if events == count), "{refused:?}");
    assert!(matches!(log.append_json(&event(999_999)), Err(AppendError::Full { .. })));
    let gap = log.record_gap(2, "the queue was full", Some("2026-01-01T00:00:00Z")).unwrap();
    let settled: BTreeSet<u64> = accepted.into_iter().map(|promise| promise.settle().unwrap().index.0).collect();
    assert_eq!((settled.len(), log.size().unwrap()), (count, count as u64 + 2), "accepted = stored");
    log.append_json(&event(999_999)).unwrap();
    log.record_gap(1, "once more", None).unwrap();
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.iter().any(|r| r.kind == "gap" && r.index == Some(gap)), "{:?}", report.remarks);
    let told = |words: &str| report.remarks.iter().any(|remark| remark.detail.starts_with(words));
    assert!(told("a caller dropped 2 events: ") && told("a caller dropped 1 event: "), "{:?}", report.remarks);
    println!("a19: {count} events fit the queue; the next was refused");
}

#[test]
fn a19_a_full_queue_makes_callers_wait_where_they_asked_for_it() {
    const EVENTS: u64 = 20_000;
    let world = SimWorld::new(1, sim_settings());
    let gate = Gate::default();
    let disk = Arc::new(GatedDisk { disk: world.disk.shared(), gate: gate.clone() });
    let waiting = Options {
        on_full: OnFull::Wait,
        bounded_within: Duration::from_secs(3600),
        disk,
        heads: Some(Arc::new(world.heads())),
        ..world.options()
    };
    let log = Log::create(SimWorld::log_path(), ORIGIN, crate::support::sim::shared_keys(), waiting).unwrap();
    let accepted = AtomicU64::new(0);
    gate.shut();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| log.append_json(&event(EVENTS)).unwrap());
        gate.await_somebody();
        let caller = scope.spawn(|| {
            let promises: Vec<_> = (0..EVENTS)
                .map(|n| {
                    let promise = log.append_bounded(&event(n)).unwrap();
                    accepted.fetch_add(1, Ordering::SeqCst);
                    promise
                })
                .collect();
            promises.into_iter().map(|promise| promise.settle().unwrap().index.0).collect::<BTreeSet<_>>()
        });
        // A sync hangs, the queue fills, the caller stands: however long one looks, no more than the limit is accepted.
        let (mut still, mut last) = (0, 0);
        while still < 20_000 {
            let now = accepted.load(Ordering::SeqCst);
            still = if now == last && now > 1000 { still + 1 } else { 0 };
            last = now;
            std::thread::yield_now();
        }
        let (stands, shown) = (!caller.is_finished(), log.size());
        // Before anything is asserted: a failure must not leave somebody at the gate.
        gate.open();
        assert!(stands && last <= 16_384, "{last} were accepted");
        assert_eq!(shown.unwrap(), 1, "nothing shows that is not durable");
        first.join().unwrap();
        assert_eq!(caller.join().unwrap().len() as u64, EVENTS, "accepted = stored");
        println!("a19: the caller waited behind {last} events, then all {EVENTS} were stored");
    });
    log.close().unwrap();
    drop(log);
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a20_hostile_json_is_refused_or_gives_one_form() {
    let world = World::new();
    let log = world.create(options());
    let with = |member: &str| format!(r#"{{"action":"a.b","actor":{{"id":"m","type":"user"}},{member}}}"#).into_bytes();
    let hostile: Vec<Vec<u8>> = vec![
        with(r#""action":"twice""#),
        with(r#""details":{"a":1,"a":2}"#),
        with(r#""details":{"a":1,"\u0061":2}"#),
        with(r#""details":NaN"#),
        with(r#""details":{"n":9007199254740993}"#),
        with(r#""details":{"n":1e400}"#),
        with(r#""details":{"n":01}"#),
        with(r#""details":"\ud800""#),
        with(r#""control":{"type":"pruned"}"#),
        with(r#""details":1,"#),
        [&with("")[..with("").len() - 2], b",\"reason\":\"\xff\"}"].concat(),
        with(&format!(r#""details":{}{}"#, "[".repeat(100), "]".repeat(100))),
        b"[]".to_vec(),
        b"".to_vec(),
        b"{} {}".to_vec(),
    ];
    for text in &hostile {
        let refused = log.append_json(text);
        assert!(matches!(refused, Err(AppendError::Event(_))), "{}: {refused:?}", String::from_utf8_lossy(text));
    }
    assert_eq!(log.size().unwrap(), 1, "nothing of it was recorded");
    let first = log.append_json(&with(r#""details":{"b":1.0,"a":"é"},"id":"x""#)).unwrap();
    for same in
        [r#""id":"x","details":{"a":"\u00e9","b":1}"#, r#""details" : { "b" : 10e-1 , "a" : "é" } , "id" : "x""#]
    {
        let again = log.append_json(&with(same)).unwrap();
        assert_eq!((again.duplicate, again.leaf), (true, first.leaf), "{same}");
    }
    println!("a20: {} hostile texts, {} refused", hostile.len(), hostile.len());
}

#[test]
fn a21_the_stored_form_is_the_hashed_form() {
    let world = World::new();
    let log = world.create(options());
    let texts = [
        r#"{"action":"a.b","actor":{"id":"m","type":"user"},"occurred_at":"2026-01-01T00:00:00.123456Z"}"#,
        r#"{"action":"a.b","actor":{"id":"ü","type":"user"},"details":{"t":"2026-01-01T00:00:00.123456789Z","n":1e21}}"#,
    ];
    let all: Vec<_> = texts.iter().map(|text| log.append_json(text.as_bytes()).unwrap()).collect();
    log.close().unwrap();
    drop(log);
    let lines = world.lines();
    let log = world.open();
    for receipt in &all {
        let line = &lines[usize::try_from(receipt.index.0).unwrap()];
        let entry = parsed(line).entry;
        assert_eq!(leaf_hash(entry.bytes), receipt.leaf, "the bytes on the disk are those that were hashed");
        assert_eq!(entry.recorded_at, &*receipt.recorded_at);
        assert_eq!(entry.recorded().unwrap().to_string(), entry.recorded_at, "microseconds, written and read");
        assert_eq!(log.get(receipt.index).unwrap().entry, entry.bytes);
        entry.check_strict().unwrap();
    }
}

#[test]
fn a25_keys_inside_the_log_are_refused() {
    let world = World::new();
    let log = world.log_path();
    let inside = KeyRing::load_or_create(&log.join("keys")).unwrap();
    assert!(matches!(Log::create(&log, ORIGIN, &inside, options()), Err(LogError::Keys(_))));
    std::fs::remove_dir_all(&log).unwrap();
    world.create(options()).close().unwrap();
    copy_dir(world.keys.dir(), &log.join("keys"));
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(log.join("keys/ring.json"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let moved = KeyRing::load(&log.join("keys")).unwrap();
    assert!(matches!(Log::open(&log, &moved, options()), Err(LogError::Keys(_))));
    // By another name, and the other way round.
    std::os::unix::fs::symlink(log.join("keys"), world.dir.path().join("link")).unwrap();
    let linked = KeyRing::load(&world.dir.path().join("link")).unwrap();
    assert!(matches!(Log::open(&log, &linked, options()), Err(LogError::Keys(_))));
    let within = world.keys.dir().join("log");
    assert!(matches!(Log::create(&within, "example.com/b", &world.keys, options()), Err(LogError::Keys(_))));
    assert!(!within.exists());
}

/// A log of several closed segments, one of which was removed by hand; first and last index of what it held.
fn with_a_segment_removed() -> (World, u64, u64) {
    let world = World::with_events(200, 5, small_segments());
    let segments = files(&world.log_path().join("segments"));
    let first_of = |at: usize| segments[at].file_name().unwrap().to_string_lossy()[..20].parse::<u64>().unwrap();
    std::fs::remove_file(&segments[2]).unwrap();
    (world, first_of(2), first_of(3) - 1)
}

#[test]
fn a27_a_removed_segment_is_located_and_can_be_explained() {
    let (world, first, last) = with_a_segment_removed();
    let report = world.verify();
    check(&report, Verdict::Gap, Some(Kind::Absent), Some(first));
    assert_eq!(report.findings[0].last, Some(last));
    let log = world.open();
    let index = manage::explain(&log, first, last, "the disk of node 3 was lost; ticket 4711").unwrap();
    log.append_json(&event(500)).unwrap();
    log.close().unwrap();
    drop(log);
    for report in [world.verify(), world.verify_public()] {
        check(&report, Verdict::Intact, None, None);
        let remark = report.remarks.iter().find(|remark| remark.kind == "explained").unwrap();
        assert_eq!(remark.index, Some(first));
        assert!(remark.detail.contains("4711") && remark.detail.contains(&index.to_string()), "{remark:?}");
    }
}

#[test]
fn a27_an_explanation_covers_no_edit_and_nothing_that_is_there() {
    let (world, first, last) = with_a_segment_removed();
    let log = world.open();
    assert!(matches!(manage::explain(&log, first - 1, last, "too much"), Err(LogError::Refused(_))));
    assert!(matches!(manage::explain(&log, first, 100_000, "beyond the end"), Err(LogError::Refused(_))));
    assert!(matches!(manage::explain(&log, 1, 2, "it is there"), Err(LogError::Refused(_))));
    manage::explain(&log, first, last, "lost").unwrap();
    log.close().unwrap();
    drop(log);
    world.expect(Verdict::Intact, None, None);
    // The bodies come back, one of them edited: the record excuses absence only.
    let other = World::with_events(200, 5, small_segments());
    let foreign = files(&other.log_path().join("segments"))[2].clone();
    std::fs::copy(&foreign, world.log_path().join("segments").join(foreign.file_name().unwrap())).unwrap();
    let report = world.verify();
    assert_eq!(report.status, Verdict::Tampered, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|f| f.index == Some(first)), "{:#?}", report.findings);
}

#[test]
fn a27_what_is_there_between_two_gaps_is_not_explained_with_them() {
    let world = World::with_events(300, 5, small_segments());
    let segments = files(&world.log_path().join("segments"));
    let first_of = |at: usize| segments[at].file_name().unwrap().to_string_lossy()[..20].parse::<u64>().unwrap();
    std::fs::remove_file(&segments[1]).unwrap();
    std::fs::remove_file(&segments[3]).unwrap();
    let log = world.open();
    let error = manage::explain(&log, first_of(1), first_of(4) - 1, "both").unwrap_err();
    assert_eq!(error.to_string(), format!("entry {} is there: only what is absent can be explained", first_of(2)));
    manage::explain(&log, first_of(1), first_of(2) - 1, "the first").unwrap();
    manage::explain(&log, first_of(3), first_of(4) - 1, "the second").unwrap();
    log.close().unwrap();
    drop(log);
    world.expect(Verdict::Intact, None, None);
}

#[test]
fn a27_what_cannot_be_read_is_not_absent() {
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 3] = [
        ("a directory in its place", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("other bytes", |path| {
            let len = std::fs::read(path).unwrap().len();
            std::fs::write(path, vec![b'x'; len]).unwrap();
        }),
        ("one bit of a body", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 3;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let world = World::with_events(200, 5, small_segments());
        let segments = files(&world.log_path().join("segments"));
        let first_of = |at: usize| segments[at].file_name().unwrap().to_string_lossy()[..20].parse::<u64>().unwrap();
        harm(&segments[2]);
        let log = world.open();
        let before = log.size().unwrap();
        let error = manage::explain(&log, first_of(2), first_of(3) - 1, "lost").unwrap_err();
        let text = indelible::error::chain(&error);
        assert!(!matches!(error, LogError::Store(StoreError::Absent { .. })), "{name}: {text}");
        assert_eq!(log.size().unwrap(), before, "{name}: {text}: nothing is recorded");
    }
}

#[test]
fn a_duplicate_that_cannot_be_compared_is_not_said_to_be_recorded_nor_the_log_to_be_broken() {
    let world = World::with_events(20, 2, options());
    // The signature of entry 5, which has the id `event-4`.
    world.edit_line(5, |line| {
        let mut line = line.to_vec();
        let at = line.len() - 4;
        line[at] = if line[at] == b'0' { b'1' } else { b'0' };
        line
    });
    let log = world.open();
    let before = log.size().unwrap();
    let results = log.append_all(&[event(4), event(100)]);
    let error = results[0].as_ref().unwrap_err();
    assert!(matches!(error, AppendError::Unknown { .. }) && !error.is_refusal(), "{error:?}");
    let text = indelible::error::chain(error);
    for words in ["`event-4`", "nothing was recorded", "entry 5", "its signature is wrong", "indelible verify"] {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
    assert!(!text.contains("cannot be written to") && !text.contains("durable"), "{text}");
    results[1].as_ref().unwrap();
    assert_eq!(log.size().unwrap(), before + 1);
}

#[test]
fn a28_every_member_of_an_entry_is_covered() {
    let world = SimWorld::new(1, sim_settings());
    let log = world.create();
    log.keep_checkpoint().unwrap();
    log.append_bounded(&event(1)).unwrap().settle().unwrap();
    receipts(log.append_all(&events(2..5)));
    log.close().unwrap();
    drop(log);
    let path = SimWorld::file(&format!("segments/{:020}.jsonl", 0));
    let whole = world.disk.snapshot()[path.strip_prefix("/").unwrap()].clone();
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    let line = String::from_utf8(lines[1].to_vec()).unwrap();
    let members = [
        "\"event\":",
        "\"head\":",
        "\"number\":",
        "\"root\":",
        "\"size\":",
        "\"index\":",
        "\"key\":",
        "\"log\":",
        "\"mode\":",
        "\"prev\":",
        "\"recorded_at\":",
        "\"salt\":",
        "\"v\":",
        "\"mac\":",
        "\"batch\":",
    ];
    let mut tried = 0;
    for member in members {
        let at = line.rfind(member).unwrap_or_else(|| panic!("{member} is not in {line}")) + member.len();
        // The value, up to its last character.
        let end = line[at..].find([',', '}']).unwrap() + at;
        for place in at..end {
            for byte in [b'0', b'1', b'a', b'"', b' '] {
                let mut edited = line.clone().into_bytes();
                if edited[place] == byte {
                    continue;
                }
                edited[place] = byte;
                let all = [lines[0], &edited, &lines[2..].concat()].concat();
                world.disk.put(&path, all).unwrap();
                let report = world.verify();
                // The batch number is outside of the signed bytes: one that is possible is told as damage.
                let damage = member == "\"batch\":" && report.status == Verdict::Damaged;
                assert!(damage || report.status == Verdict::Tampered, "{member} at {place}: {:#?}", report.findings);
                assert!(report.findings.iter().any(|f| f.index == Some(1)), "{member}: {:#?}", report.findings);
                tried += 1;
            }
        }
    }
    println!("a28: {tried} edits of {} members, 0 missed", members.len());
}

#[test]
fn a32_a_failed_write_is_a_typed_error_and_the_log_says_so_from_then_on() {
    for fault in
        [Fault::FailBefore, Fault::FailAfter, Fault::Torn, Fault::FailedSync, Fault::DiskFull, Fault::PowerLoss]
    {
        let world = SimWorld::new(5, sim_settings());
        let log = world.create();
        log.append_json(&event(1)).unwrap();
        world.disk.plan(world.disk.operations(), fault.clone());
        let failed = log.append_json(&event(2));
        assert!(matches!(failed, Err(AppendError::Store(_))), "{fault:?}: {failed:?}");
        world.disk.clear_faults();
        assert!(matches!(log.append_json(&event(3)), Err(AppendError::Failed { .. })), "{fault:?}");
        assert!(matches!(log.checkpoint(), Err(LogError::Failed { .. })), "{fault:?}");
        assert!(log.append_bounded(&event(4)).is_err());
        assert!(log.close().is_err());
        world.disk.crash_in_place(1);
        drop(log);
        let log = world.try_open().unwrap();
        assert_eq!(log.find("event-1").unwrap().index, LeafIndex(1));
        let again = log.append_json(&event(2)).unwrap();
        assert_eq!(log.find("event-2").unwrap().index, again.index);
        log.close().unwrap();
        check(&world.verify(), Verdict::Intact, None, None);
    }
}

#[test]
fn a33_nothing_reads_more_than_a_bounded_piece() {
    let world = World::new();
    let settings = Settings { segment_bytes: 3 << 20, immutable: false, ..Settings::default() };
    let log = world.create(Options { settings, ..options() });
    let long = "x".repeat(50_000);
    let big: Vec<Vec<u8>> = (0..120)
        .map(|n| {
            let json = format!(r#"{{"action":"a","actor":{{"id":"m","type":"user"}},"details":"{long}{n}"}}"#);
            json.into_bytes()
        })
        .collect();
    receipts(log.append_all(&big));
    receipts(log.append_all(&events(0..3000)));
    log.close().unwrap();
    drop(log);
    let reader = indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &world.log_path()).unwrap();
    let size = reader.size().unwrap().0;
    for max in [0, 1, 100_000, 1 << 20] {
        let mut at = 0;
        while at < size {
            let chunk = reader.read(LeafIndex(at), max).unwrap();
            assert!(chunk.bytes.len() <= max.max(MAX_LINE_BYTES), "{} bytes for {max}", chunk.bytes.len());
            at += (chunk.lines().count() as u64).max(1) * if max == 0 { 37 } else { 1 };
        }
    }
    let (mut pieces, mut largest) = (0, 0);
    for run in reader.runs().unwrap() {
        for piece in reader.pieces(&run).unwrap() {
            let bytes = reader.read_piece(&run, &piece).unwrap().len();
            largest = largest.max(bytes);
            pieces += 1;
        }
    }
    assert!(pieces > 4 && largest <= (1 << 20) + MAX_LINE_BYTES, "{pieces} pieces, the largest of {largest} bytes");
    println!("a33: {pieces} pieces, the largest of {largest} bytes");
}

#[test]
fn a34_a_crash_in_mid_write_and_two_openers() {
    for seed in 0..60 {
        let world = SimWorld::new(seed, sim_settings());
        let log = world.create();
        let before = receipts(log.append_all(&events(0..4)));
        world.disk.plan(world.disk.operations(), Fault::Torn);
        assert!(log.append_all(&events(4..9)).iter().all(Result::is_err));
        world.disk.crash_in_place(seed);
        drop(log);
        let first = world.try_open().unwrap();
        if seed == 0 {
            let second = world.try_open();
            assert!(matches!(second, Err(LogError::Store(StoreError::InUse { .. }))), "{:?}", second.err());
        }
        for receipt in &before {
            assert_eq!(leaf_hash(&first.get(receipt.index).unwrap().entry), receipt.leaf);
        }
        let mut again = receipts(first.append_all(&events(4..9)));
        again.sort_by_key(|receipt| receipt.index);
        again.dedup_by_key(|receipt| receipt.index);
        assert_eq!(again.len(), 5, "each event once");
        first.close().unwrap();
        drop(first);
        check(&world.verify(), Verdict::Intact, None, None);
    }
}

#[test]
fn a38_no_door_takes_the_logs_own_records() {
    let world = World::new();
    let log = world.create(options());
    for text in [
        r#"{"control":{"first":1,"last":2,"type":"pruned"}}"#,
        r#"{"action":"a","actor":{"id":"m","type":"user"},"control":{"type":"pruned"}}"#,
        r#"{"event":{"action":"a","actor":{"id":"m","type":"user"}},"control":{"type":"log_created"}}"#,
    ] {
        assert!(matches!(log.append_json(text.as_bytes()), Err(AppendError::Event(_))), "{text}");
    }
    // As content it is content.
    let looks = r#"{"action":"pruned","actor":{"id":"m","type":"system"},"details":{"control":{"first":1,"last":1,"type":"pruned"},"type":"explained"}}"#;
    let receipt = log.append_json(looks.as_bytes()).unwrap();
    let stored = log.get(receipt.index).unwrap();
    assert_eq!(EntryRef::parse(&stored.entry).unwrap().kind, BodyKind::Event);
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert!(report.remarks.is_empty(), "{:?}", report.remarks);
}

#[test]
fn a38_a_record_forged_with_the_entry_key_excuses_nothing() {
    let world = World::with_events(20, 1, options());
    let lines = world.lines();
    let body = br#"{"first":3,"last":4,"leaf_root":"0000000000000000000000000000000000000000000000000000000000000000","reason":"x","type":"pruned"}"#;
    assert!(Control::parse(body).is_ok());
    let forged = appended(&lines, &world.stolen_entry_key(), BodyKind::Control, body);
    world.put_lines(&[lines.clone(), vec![forged]].concat());
    world.expect(Verdict::Tampered, Some(Kind::UnauthorisedControl), Some(21));
    // A second beginning is none.
    let zero = parsed(&lines[0]).entry.body.to_vec();
    let forged = appended(&lines, &world.stolen_entry_key(), BodyKind::Control, &zero);
    world.put_lines(&[lines, vec![forged]].concat());
    world.expect(Verdict::Tampered, Some(Kind::Changed), Some(21));
}

#[test]
fn a39_data_rolled_back_alone_is_told_and_never_continued() {
    let world = World::with_events(20, 1, options());
    let backup = world.dir.path().join("backup");
    copy_dir(&world.log_path(), &backup);
    let log = world.open();
    receipts(log.append_all(&events(20..40)));
    log.close().unwrap();
    drop(log);
    std::fs::remove_dir_all(world.log_path()).unwrap();
    copy_dir(&backup, &world.log_path());
    world.expect(Verdict::Tampered, Some(Kind::RolledBack), Some(21));
    assert!(Log::open(&world.log_path(), &world.keys, options()).is_err());
    // The way on: a successor that names the last known checkpoint.
    let new = world.dir.path().join("new");
    let successor = manage::succeed(
        &options().directory(&world.log_path()),
        &options().directory(&new),
        "example.com/test-2",
        &world.keys,
        options(),
    )
    .unwrap();
    let zero = successor.get(LeafIndex(0)).unwrap();
    let Ok(Control::LogCreated(created)) = Control::parse(EntryRef::parse(&zero.entry).unwrap().body) else {
        panic!("entry 0 is no beginning")
    };
    let predecessor = created.predecessor.unwrap();
    assert_eq!(predecessor.origin, ORIGIN);
    let known = Checkpoint::open(predecessor.checkpoint.as_bytes(), &world.public_key()).unwrap();
    assert_eq!(known.head.size.0, 41, "the newest head that was known, not that of the restored copy");
    successor.append_json(&event(1)).unwrap();
    successor.close().unwrap();
}

#[test]
fn a39_data_and_heads_rolled_back_together_contradict_what_others_kept() {
    let world = World::with_events(20, 1, options());
    let (backup, heads) = (world.dir.path().join("backup"), world.dir.path().join("heads"));
    copy_dir(&world.log_path(), &backup);
    copy_dir(&world.keys.heads_dir(), &heads);
    let log = world.open();
    let kept: Vec<_> = receipts(log.append_all(&events(20..40))).iter().map(indelible::Receipt::to_wire).collect();
    log.close().unwrap();
    drop(log);
    let note = std::fs::read(world.log_path().join("checkpoint")).unwrap();
    for (from, to) in [(&backup, world.log_path()), (&heads, world.keys.heads_dir())] {
        std::fs::remove_dir_all(&to).unwrap();
        copy_dir(from, &to);
    }
    // Nothing on this machine knows better, and that is said in the documents.
    world.expect(Verdict::Intact, None, None);
    let with_note = world.try_verify(&world.log_path(), |request| request.checkpoint = Some(note.clone())).unwrap();
    check(&with_note, Verdict::Tampered, Some(Kind::RolledBack), Some(21));
    let with_receipts = world.try_verify(&world.log_path(), |request| request.receipts = kept.clone()).unwrap();
    check(&with_receipts, Verdict::Diverged, Some(Kind::DivergedReceipt), Some(21));
    assert_eq!(with_receipts.findings.len(), 20);
    // Gone on with, it diverges.
    let log = world.open();
    receipts(log.append_all(&events(100..140)));
    log.close().unwrap();
    drop(log);
    let with_note = world.try_verify(&world.log_path(), |request| request.checkpoint = Some(note)).unwrap();
    check(&with_note, Verdict::Diverged, Some(Kind::DivergedCheckpoint), None);
    let with_receipts = world.try_verify(&world.log_path(), |request| request.receipts = kept).unwrap();
    check(&with_receipts, Verdict::Diverged, Some(Kind::DivergedReceipt), Some(21));
}
