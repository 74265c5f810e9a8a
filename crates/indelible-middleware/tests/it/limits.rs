//! How large and how slow. Where time matters it is tokio's, which goes on by itself when everybody waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    middleware::{Next, from_fn},
    routing::post,
};
use indelible_middleware::{Journal, LimitLayer, Refusals, limits::Late};
use tokio::io::AsyncWriteExt as _;

use crate::{
    lab::{Lab, proxied, reply},
    world::World,
};

const HEAD: &str = "POST / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";

/// Counts how often the application is asked.
async fn lab(layer: LimitLayer) -> (Lab, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let count = move |request: Request, next: Next| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.run(request)
    };
    let app = Router::new()
        .route("/", post(|body: Bytes| async move { body.len().to_string() }))
        .layer(from_fn(count))
        .layer(layer);
    (Lab::new(app).await, asked)
}

#[tokio::test]
async fn a_body_has_as_many_bytes_as_it_may() {
    let (lab, asked) = lab(LimitLayer::new().body_bytes(10)).await;
    let rows = [
        ("content-length: 0\r\n\r\n", 200, 1),
        ("content-length: 10\r\n\r\n0123456789", 200, 1),
        ("content-length: 11\r\n\r\n0123456789a", 413, 0),
        ("content-length: 9999999999999\r\n\r\n", 413, 0),
        ("transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 200, 1),
        ("transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n", 413, 1),
        ("transfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n", 413, 1),
    ];
    for (rest, status, times) in rows {
        asked.store(0, Ordering::SeqCst);
        let reply = lab.raw(&format!("{HEAD}{rest}")).await;
        assert_eq!((reply.status, asked.load(Ordering::SeqCst)), (status, times), "{rest:?} {reply:?}");
        if status == 413 {
            reply.problem(413, "body-too-large");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_the_application_waiting_is_given_up() {
    let (lab, _) = lab(LimitLayer::new()).await;
    let slow = lab.begin(&format!("{HEAD}content-length: 10\r\n\r\n012")).await;
    reply(slow).await.problem(408, "body-too-slow");
}

#[tokio::test(start_paused = true)]
async fn all_waits_for_a_body_are_counted_together() {
    let (lab, _) = lab(LimitLayer::new().body_time(Duration::from_secs(10)).work_time(Duration::from_secs(1000))).await;
    for (pause, status) in [(3, 200), (4, 408)] {
        let mut stream = lab.begin(&format!("{HEAD}content-length: 3\r\n\r\n")).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            // Given up already: then it is told so below.
            let _refused = stream.write_all(b"x").await;
        }
        assert_eq!(reply(stream).await.status, status, "{pause}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_answer_is_not_waited_for() {
    for (late, status) in [(Late::Unavailable, 503), (Late::GatewayTimeout, 504)] {
        let never = post(|| async { std::future::pending::<String>().await });
        let layer = LimitLayer::new().work_time(Duration::from_secs(5)).late(late);
        let lab = Lab::new(Router::new().route("/", never).layer(layer)).await;
        let begun = tokio::time::Instant::now();
        let reply = lab.ask("POST", "/", &[], "").await;
        reply.problem(status, "too-late");
        assert_eq!((begun.elapsed().as_secs(), reply.header("retry-after")), (5, Some("1")));
    }
}

#[tokio::test]
async fn refused_bodies_are_on_record() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let refusals = Refusals::new(&journal);
    let (lab, _) = lab(LimitLayer::new().body_bytes(3).refusals(refusals.clone(), proxied())).await;
    for rest in ["content-length: 4\r\n\r\n0123", "transfer-encoding: chunked\r\n\r\n4\r\n0123\r\n0\r\n\r\n"] {
        let reply = lab.raw(&format!("{HEAD}x-forwarded-for: 192.0.2.9\r\n{rest}")).await;
        reply.problem(413, "body-too-large");
    }
    refusals.close();
    assert_eq!(journal.flush().await, 0);
    let events = world.events();
    let told = |event: &serde_json::Value| (event["action"].clone(), event["reason"].clone());
    let expected = ["the body is too large", "the body is too large: and 1 more from 1 address"];
    let expected: Vec<_> = expected.map(|reason| ("http.refuse.size".into(), reason.into())).into();
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(events[0]["actor"], serde_json::json!({ "type": "address", "id": "192.0.2.9" }));
    world.expect_intact();
}
