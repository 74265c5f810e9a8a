//! Connections that are lost at any moment, in mid-commit too: what was acknowledged is there once, what was not is there at most once.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{AppendError, verify::Verdict};
use indelible_store::{
    driver::Driver as _,
    store::{PATIENCE, StoreError},
};
use indelible_store_postgres::{PostgresDriver, Settings};

use crate::world::{DATABASE, Logs as _, World, event, numbers, settings, start};

const ORIGIN: &str = "example.com/lost";

#[test]
fn a_lost_connection_neither_loses_nor_doubles_an_entry() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    let run_for = crate::writers::seconds(5);
    let (done, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let (acknowledged, failed) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let cuts = thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    match log.append_json(&event(n)) {
                        Ok(_) => assert!(acknowledged.lock().unwrap().insert(n)),
                        Err(error) => {
                            println!("{n}: {error}");
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        let begun = Instant::now();
        let mut cuts = 0_u64;
        while begun.elapsed() < run_for {
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'writer'";
            cuts += server.try_sql(DATABASE, cut).unwrap().parse::<u64>().unwrap();
            thread::sleep(Duration::from_millis(cuts % 17));
        }
        done.store(true, Ordering::Release);
        cuts
    });
    log.close().unwrap();
    let reader = PostgresDriver::new(server.open("reader", DATABASE, settings()), None).reader().unwrap();
    let found = numbers(&*reader);
    let acknowledged = acknowledged.into_inner().unwrap();
    for n in &acknowledged {
        assert_eq!(found.get(n), Some(&1), "event {n}");
    }
    assert!(found.values().all(|count| *count == 1));
    assert_eq!(failed.into_inner(), 0, "a cut connection is no caller's business");
    world.expect(&server, ORIGIN, Verdict::Intact);
    println!("lost connections: {cuts} cut, {} events acknowledged, each there once", acknowledged.len());
}

#[test]
fn a_server_that_is_away_is_waited_for_as_long_as_was_asked() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let asked = Duration::from_secs(3);
    let log = world.create(&server.open("writer", DATABASE, Settings { patience: asked, ..settings() }), ORIGIN);
    log.append_json(&event(1)).unwrap();
    server.stop();
    let begun = Instant::now();
    let error = log.append_json(&event(2)).unwrap_err();
    let waited = begun.elapsed();
    let nothing = matches!(&error, AppendError::Store(error) if matches!(**error, StoreError::TryAgain { .. }));
    assert!(nothing, "{error:?}");
    assert!((asked / 2..PATIENCE).contains(&waited), "{waited:?}");
    // Nothing was recorded, so the log goes on.
    server.start_again();
    log.append_json(&event(3)).unwrap();
    log.close().unwrap();
    let reader = PostgresDriver::new(server.open("reader", DATABASE, settings()), None).reader().unwrap();
    assert_eq!(numbers(&*reader).into_keys().collect::<Vec<_>>(), [1, 3]);
    world.expect(&server, ORIGIN, Verdict::Intact);
}
