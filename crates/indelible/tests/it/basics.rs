//! Recording, reading, proving and verifying where nothing goes wrong.

use indelible::{AppendError, LogError, verify::Verdict};
use indelible_core::tree::LeafIndex;

use crate::world::{World, check, event, events, options, receipts, small_segments};

#[test]
fn a_log_is_created_written_closed_opened_and_verified() {
    let world = World::new();
    let log = world.create(options());
    let first = receipts(log.append_all(&events(0..100)));
    assert_eq!(first.iter().map(|r| r.index.0).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    check(&world.verify(), Verdict::Intact, None, None);
    log.close().unwrap();
    drop(log);
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!((report.tree_size, report.entries_verified, report.unanchored), (101, 101, 0));
    let log = world.open();
    assert_eq!(log.append_json(&event(100)).unwrap().index, LeafIndex(101));
    log.close().unwrap();
    drop(log);
    check(&world.verify(), Verdict::Intact, None, None);
    check(&world.verify_public(), Verdict::Intact, None, None);
}

#[test]
fn the_same_event_twice_gives_the_first_receipt_and_another_under_its_id_is_refused() {
    let world = World::new();
    let log = world.create(options());
    let first = log.append_json(&event(1)).unwrap();
    let again = log.append_json(&event(1)).unwrap();
    assert!(again.duplicate);
    assert_eq!((again.index, again.leaf, again.mac), (first.index, first.leaf, first.mac));
    let other = br#"{"action":"other","actor":{"id":"x","type":"user"},"id":"event-1"}"#;
    assert!(matches!(log.append_json(other), Err(AppendError::IdConflict { index: 1, .. })));
    let both = log.append_all(&[event(2), event(2), event(1)]);
    let both = receipts(both);
    assert_eq!(both.iter().map(|r| (r.index.0, r.duplicate)).collect::<Vec<_>>(), [(2, false), (2, true), (1, true)]);
    log.close().unwrap();
    drop(log);
    let log = world.open();
    assert!(log.append_json(&event(2)).unwrap().duplicate);
    assert_eq!(log.find("event-2").unwrap().index, LeafIndex(2));
    assert!(matches!(log.find("nothing"), Err(LogError::NoSuchId { .. })));
}

#[test]
fn every_entry_is_proven_offline() {
    let world = World::new();
    let log = world.create(small_segments());
    receipts(log.append_all(&events(0..300)));
    log.keep_checkpoint().unwrap();
    log.tend().unwrap();
    for index in 0..=300 {
        let bundle = log.prove(LeafIndex(index)).unwrap();
        let read = indelible::bundle::Bundle::parse(&bundle.to_bytes()).unwrap();
        let checked = read.check(&world.public_key()).unwrap();
        assert_eq!((checked.index, checked.head.size.0), (LeafIndex(index), 301));
    }
    let (receipt, bundle) = log.append_anchored(&event(300)).unwrap();
    assert_eq!(bundle.check(&world.public_key()).unwrap().leaf, receipt.leaf);
}

#[test]
fn many_segments_are_closed_compressed_read_and_verified() {
    let world = World::with_events(2000, 20, small_segments());
    let names: Vec<String> = std::fs::read_dir(world.log_path().join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().filter(|name| name.ends_with(".zst")).count() > 10, "{names:?}");
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.checkpoints, 21);
    let log = world.open();
    for n in [0, 1, 777, 1999] {
        assert_eq!(log.find(&format!("event-{n}")).unwrap().index, LeafIndex(n + 1));
    }
    let strict = world.try_verify(&world.log_path(), |request| request.strict = true).unwrap();
    check(&strict, Verdict::Intact, None, None);
}

#[test]
fn events_come_in_from_many_threads_and_tasks() {
    let world = World::new();
    let log = world.create(options());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = log.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    log.append_json(&event(thread * 1000 + n)).unwrap();
                }
            });
        }
    });
    let futures: Vec<_> = (0..200).map(|n| log.append_async(&event(100_000 + n))).collect();
    for future in futures {
        block_on(future).unwrap();
    }
    let bounded: Vec<_> = (0..100).map(|n| log.append_bounded(&event(200_000 + n)).unwrap()).collect();
    for promise in bounded {
        promise.settle().unwrap();
    }
    log.close().unwrap();
    let report = world.verify();
    check(&report, Verdict::Intact, None, None);
    assert_eq!(report.tree_size, 1 + 400 + 200 + 100);
}

/// Runs a future without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn many_tasks_of_a_runtime_append_without_blocking_it() {
    let world = World::new();
    let log = world.create(options());
    // One thread: a blocking append would keep the others from ever being polled.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let receipts = runtime.block_on(async {
        let tasks: Vec<_> = (0..500).map(|n| tokio::spawn(log.append_async(&event(n)))).collect();
        let mut receipts = Vec::new();
        for task in tasks {
            receipts.push(task.await.unwrap().unwrap());
        }
        receipts
    });
    let mut indices: Vec<u64> = receipts.iter().map(|receipt| receipt.index.0).collect();
    indices.sort_unstable();
    assert_eq!(indices, (1..=500).collect::<Vec<_>>());
    log.close().unwrap();
    check(&world.verify(), Verdict::Intact, None, None);
}

#[test]
fn a_queue_full_of_bounded_events_is_drained_by_whoever_needs_room() {
    let world = World::new();
    // A keeper that does nothing by itself: nobody else comes for them.
    let log = world.create(indelible::Options {
        keeper: Some(indelible::Keeper::manual()),
        bounded_within: std::time::Duration::from_secs(600),
        ..options()
    });
    let open: Vec<_> = (0..20_000).map(|n| log.append_bounded(&event(n)).unwrap()).collect();
    assert!(log.size().unwrap() > 10_000);
    for bounded in open {
        bounded.settle().unwrap();
    }
    assert_eq!(log.size().unwrap(), 20_001);
    log.close().unwrap();
}
