//! A fault in the program: it must not hang callers, take other logs with it, or go on with what it does not know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indelible::{
    AppendError, Keeper, Options,
    clock::{Clock, SystemClock},
    verify::Verdict,
};
use indelible_core::time::Micros;

use crate::world::{World, event, options};

/// A clock that panics when told so.
#[derive(Default)]
pub(crate) struct Panicky {
    clock: SystemClock,
    pub(crate) now: AtomicBool,
}

impl Clock for Panicky {
    fn now(&self) -> Micros {
        assert!(!self.now.load(Ordering::SeqCst), "told so");
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn with(clock: &Arc<Panicky>, keeper: &Keeper) -> Options {
    Options {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        keeper: Some(keeper.clone()),
        publish_every: Duration::from_millis(50),
        ..options()
    }
}

#[test]
fn whoever_waits_for_a_leader_that_panics_is_told() {
    let world = World::new();
    let clock = Arc::new(Panicky::default());
    let log = world.create(with(&clock, &Keeper::manual()));
    log.append_json(&event(1)).unwrap();
    clock.now.store(true, Ordering::SeqCst);
    let ended: Vec<bool> = thread::scope(|scope| {
        let callers: Vec<_> = (2..10).map(|n| (n, log.clone())).collect();
        let callers = callers.into_iter().map(|(n, log)| scope.spawn(move || log.append_json(&event(n))));
        // Events with ids need no clock before the turn: whoever leads panics there, the others hear of it.
        callers.collect::<Vec<_>>().into_iter().map(|caller| caller.join().is_ok_and(|told| told.is_ok())).collect()
    });
    assert_eq!(ended, [false; 8], "nobody is told that an event was recorded, and nobody waits for ever");
    clock.now.store(false, Ordering::SeqCst);
    match log.append_json(&event(20)) {
        Err(AppendError::Failed { why }) => assert!(why.contains("panicked"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(log);
    let log = world.open();
    log.append_json(&event(21)).unwrap();
    log.close().unwrap();
    drop(log);
    world.expect(Verdict::Intact, None, None);
}

#[test]
fn a_log_that_panics_in_the_keeper_fails_alone() {
    let (bad, good) = (World::new(), World::new());
    let (clock, keeper) = (Arc::new(Panicky::default()), Keeper::new());
    let failing = bad.create(with(&clock, &keeper));
    let going = good.create(with(&Arc::default(), &keeper));
    failing.append_json(&event(1)).unwrap();
    clock.now.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    // What asks for no time is refused as soon as the keeper has failed the log.
    while failing.put_attachment(b"x").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the keeper did not fail the log");
        thread::sleep(Duration::from_millis(10));
    }
    going.append_json(&event(1)).unwrap();
    while going.head().1.size.0 < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the keeper went with the other log");
        thread::sleep(Duration::from_millis(10));
    }
    clock.now.store(false, Ordering::SeqCst);
    assert!(failing.append_json(&event(2)).is_err());
}
