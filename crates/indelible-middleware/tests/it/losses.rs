//! What becomes of events that find no room, or no log: nothing is lost in silence.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use indelible::Log;
use indelible_middleware::{AuditLayer, Event, Gap, Journal, RecordError, Recorder, Recording};
use tokio::sync::Semaphore;

use crate::{
    lab::{Lab, reply},
    world::World,
};

/// A log with a door in front of it.
struct Door {
    log: Arc<Log>,
    open: Arc<AtomicBool>,
}

impl Door {
    fn pass(&self, recording: impl FnOnce() -> Recording) -> Recording {
        if self.open.load(Ordering::SeqCst) {
            return recording();
        }
        Box::pin(std::future::ready(Err(RecordError::new("the door is shut"))))
    }
}

impl Recorder for Door {
    fn record(&self, event: Event) -> Recording {
        self.pass(|| self.log.record(event))
    }

    fn gap(&self, gap: Gap) -> Recording {
        self.pass(|| self.log.gap(gap))
    }
}

/// A log that takes nothing until it is let.
struct Slow {
    log: Arc<Log>,
    let_in: Arc<Semaphore>,
}

impl Recorder for Slow {
    fn record(&self, event: Event) -> Recording {
        let (log, let_in) = (self.log.clone(), self.let_in.clone());
        Box::pin(async move {
            let _in = let_in.acquire().await.unwrap();
            log.record(event).await
        })
    }

    fn gap(&self, gap: Gap) -> Recording {
        self.log.gap(gap)
    }
}

fn app() -> Router {
    Router::new().route("/", get(|| async { "served" }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_record_is_withheld_and_the_gap_is_told_later() {
    let world = World::new();
    let open = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let journal = Journal::builder(Door { log: world.log.clone(), open: open.clone() })
        .report(move |text| hears.lock().unwrap().push(text.to_owned()))
        .build();
    let lab = Lab::new(app().layer(AuditLayer::before(&journal))).await;
    for _ in 0..3 {
        let reply = lab.get("/", &[]).await;
        reply.problem(503, "not-on-record");
        assert!(!reply.body.contains("served") && !reply.body.contains("door"), "{reply:?}");
    }
    assert_eq!((journal.flush().await, journal.lost(), world.gaps()), (3, 3, 0));
    assert!(heard.lock().unwrap().iter().all(|text| text.contains("the door is shut")), "{heard:?}");
    open.store(true, Ordering::SeqCst);
    assert_eq!(lab.get("/", &[]).await.body, "served");
    assert_eq!((journal.flush().await, world.gaps(), world.events().len()), (0, 3, 1));
    world.expect_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_room_beside_is_counted_and_on_record() {
    const ASKED: u64 = 200;
    let world = World::new();
    let let_in = Arc::new(Semaphore::new(0));
    let journal = Journal::builder(Slow { log: world.log.clone(), let_in: let_in.clone() }).waiting(4).build();
    let lab = Lab::new(app().layer(AuditLayer::beside(&journal))).await;
    for _ in 0..ASKED {
        assert_eq!(lab.get("/", &[]).await.body, "served", "nobody waits for the log");
    }
    // 64 are on their way and 4 wait, at most one more is between the two.
    assert!(journal.lost() >= ASKED - 64 - 4 - 1, "{}", journal.lost());
    let_in.add_permits(Semaphore::MAX_PERMITS);
    assert_eq!(journal.flush().await, 0);
    let (events, gaps) = (world.events().len(), world.gaps());
    assert_eq!((events as u64 + gaps, gaps), (ASKED, journal.lost()));
    world.expect_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_does_not_wait_for_its_record_for_ever() {
    let world = World::new();
    let let_in = Arc::new(Semaphore::new(0));
    let slow = Slow { log: world.log.clone(), let_in: let_in.clone() };
    let journal = Journal::builder(slow).patience(Duration::from_millis(20)).build();
    let lab = Lab::new(app().layer(AuditLayer::before(&journal))).await;
    lab.get("/", &[]).await.problem(503, "not-on-record");
    let_in.add_permits(1);
    assert_eq!((journal.flush().await, world.events().len()), (0, 1), "recording goes on");
}

/// A recorder that is at fault itself.
struct Faulty;

impl Recorder for Faulty {
    fn record(&self, _: Event) -> Recording {
        panic!("on purpose")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_panics_takes_nobody_with_it() {
    let journal = Journal::new(Faulty);
    let before = Lab::new(app().layer(AuditLayer::before(&journal))).await;
    before.get("/", &[]).await.problem(503, "not-on-record");
    let beside = Lab::new(app().layer(AuditLayer::beside(&journal))).await;
    assert_eq!(beside.get("/", &[]).await.body, "served");
    assert_eq!((journal.flush().await, journal.lost()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_closed_is_no_record() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let lab = Lab::new(app().layer(AuditLayer::before(&journal))).await;
    assert_eq!(lab.get("/", &[]).await.status, 200);
    world.log.close().unwrap();
    lab.get("/", &[]).await.problem(503, "not-on-record");
    assert_eq!(journal.flush().await, 1, "it is on no record that one is missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_no_room_for_its_record_is_not_begun() {
    let world = World::new();
    let let_in = Arc::new(Semaphore::new(0));
    let slow = Slow { log: world.log.clone(), let_in: let_in.clone() };
    let journal = Journal::builder(slow).under_way(2).build();
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    let work = move || {
        let done = counted.clone();
        async move { format!("{}", done.fetch_add(1, Ordering::SeqCst)) }
    };
    let lab = Lab::new(Router::new().route("/", get(work)).layer(AuditLayer::before(&journal))).await;
    const ASK: &str = "GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    let waiting = [lab.begin(ASK).await, lab.begin(ASK).await];
    while done.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let refused = lab.get("/", &[]).await;
    refused.problem(503, "not-on-record");
    assert!(refused.body.contains("nothing was done"), "{refused:?}");
    assert_eq!((done.load(Ordering::SeqCst), journal.lost()), (2, 1));
    let_in.add_permits(Semaphore::MAX_PERMITS);
    for stream in waiting {
        assert_eq!(reply(stream).await.status, 200);
    }
    assert_eq!(lab.get("/", &[]).await.body, "2", "there is room again");
    assert_eq!((journal.flush().await, world.events().len(), world.gaps()), (0, 3, 1));
}
