//! The same in one SQLite file, which has one writer at a time.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use indelible::{
    Keeper, Log, Options, Receipt,
    clock::Clock,
    together::{self, TogetherError},
    verify::Verdict,
};

use super::{append_group, members, origin, quick, sizes};
use crate::{
    panics::Panicky,
    sqlite::{at, file, verify_log},
    world::{World, event},
};

fn create(world: &World, file: &Path, number: usize) -> Log {
    Log::create_in(&at(file).with_origin(&origin(number)), &origin(number), &world.keys, quick()).unwrap()
}

fn open(world: &World, number: usize) -> Log {
    Log::open_in(&at(&file(world)).with_origin(&origin(number)), &world.keys, quick()).unwrap()
}

#[test]
fn logs_of_one_file_have_it_all_or_none() {
    let world = World::new();
    let logs: Vec<Log> = (0..3).map(|number| create(&world, &file(&world), number)).collect();
    let (one, two) = ([event(1)], [event(1), event(2)]);
    let parts: [(&Log, &[Vec<u8>]); 2] = [(&logs[2], &two), (&logs[0], &one)];
    let first = together::append(&parts).unwrap();
    let again = together::append(&parts).unwrap();
    for (first, again) in first.iter().flatten().zip(again.iter().flatten()) {
        assert_eq!(again, &Receipt { duplicate: true, ..first.clone() });
    }
    let before = sizes(&logs);
    let other = [br#"{"action":"b","actor":{"id":"x","type":"user"},"id":"event-2"}"#.to_vec()];
    let error = together::append(&[(&logs[1], &one[..]), (&logs[2], &other)]).unwrap_err();
    assert!(matches!(&error, TogetherError::Event { origin, .. } if *origin == self::origin(2)), "{error:?}");
    let elsewhere = create(&world, &world.dir.path().join("other.db"), 3);
    let error = together::append(&[(&logs[1], &one[..]), (&elsewhere, &one[..])]).unwrap_err();
    assert!(matches!(error, TogetherError::Apart { .. }), "{error:?}");
    assert_eq!(sizes(&logs), before);
    // The same file by another way is the same file.
    let around = world.dir.path().join("keys/../audit.db");
    let around = Log::open_in(&at(&around).with_origin(&origin(1)), &world.keys, quick()).unwrap();
    together::append(&[(&around, &one[..]), (&logs[0], &two[..])]).unwrap();
    around.close().unwrap();
    logs.iter().for_each(|log| log.close().unwrap());
    for number in 0..3 {
        assert_eq!(verify_log(&world, &origin(number), true).status, Verdict::Intact);
    }
}

#[test]
fn a_panic_stops_the_handles_and_leaves_the_logs() {
    let world = World::new();
    let clock = Arc::new(Panicky::default());
    let options = || Options { clock: Arc::clone(&clock) as Arc<dyn Clock>, keeper: Some(Keeper::manual()), ..quick() };
    let file = file(&world);
    let create = |number| {
        let driver = at(&file).with_origin(&origin(number));
        Log::create_in(&driver, &origin(number), &world.keys, options()).unwrap()
    };
    let logs = [create(0), create(1)];
    let one = [event(1)];
    let parts: Vec<(&Log, &[Vec<u8>])> = logs.iter().map(|log| (log, &one[..])).collect();
    clock.now.store(true, Ordering::SeqCst);
    thread::scope(|scope| assert!(scope.spawn(|| together::append(&parts)).join().is_err()));
    clock.now.store(false, Ordering::SeqCst);
    // Not a false alarm of a log that went backwards.
    let told = together::append(&parts).unwrap_err();
    assert!(matches!(&told, TogetherError::Log { source, .. } if source.to_string().contains("panicked")), "{told:?}");
    let logs = [open(&world, 0), open(&world, 1)];
    assert_eq!(sizes(&logs), [1, 1]);
    together::append(&[(&logs[1], &one[..]), (&logs[0], &one[..])]).unwrap();
    logs.iter().for_each(|log| log.close().unwrap());
    (0..2).for_each(|number| assert_eq!(verify_log(&world, &origin(number), true).status, Verdict::Intact));
}

#[test]
fn overlapping_sets_of_logs_of_one_file() {
    const LOGS: usize = 4;
    let world = World::new();
    let first: Vec<Log> = (0..LOGS).map(|number| create(&world, &file(&world), number)).collect();
    let second: Vec<Log> = (0..LOGS).map(|number| open(&world, number)).collect();
    let (begun, groups) = (Instant::now(), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (logs, groups) = (if thread % 2 == 0 { &first } else { &second }, &groups);
            scope.spawn(move || {
                for group in (thread << 32..).take_while(|_| begun.elapsed() < Duration::from_secs(2)) {
                    append_group(logs, group).unwrap();
                    groups.lock().unwrap().push(group);
                }
            });
        }
    });
    first.iter().chain(&second).for_each(|log| log.close().unwrap());
    let groups = groups.into_inner().unwrap();
    for (number, log) in first.iter().enumerate() {
        let found = super::numbers(log.store());
        assert_eq!(found.len(), groups.iter().filter(|group| members(**group, LOGS).contains(&number)).count());
        assert!(found.iter().all(|(group, count)| *count == 1 && members(*group, LOGS).contains(&number)));
        assert_eq!(verify_log(&world, &origin(number), true).status, Verdict::Intact);
    }
}
