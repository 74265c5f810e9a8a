//! What is on record of a request, by real logs behind real connections.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{MatchedPath, Path},
    routing::{get, post},
};
use http::{StatusCode, request::Parts};
use indelible_middleware::{Actor, AuditLayer, Journal, Note, Redaction, Target};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    lab::{Lab, proxied},
    world::World,
};

fn user(parts: &Parts) -> Option<Actor> {
    Some(Actor::user(parts.headers.get("x-user")?.to_str().ok()?))
}

fn template(parts: &Parts) -> Option<String> {
    let path = parts.extensions.get::<MatchedPath>()?;
    Some(format!("{} {}", parts.method, path.as_str()))
}

fn app() -> Router {
    let noted = || async {
        let note = Note::new()
            .actor(Actor::user("ada").session("s1"))
            .action("document.share")
            .target(Target::new("document", "42"))
            .reason("asked to")
            .details(json!({ "with": "mara" }));
        (Extension(note), "noted")
    };
    Router::new()
        .route("/documents/{id}", get(|Path(id): Path<String>| async move { id }))
        .route("/status/{code}", get(|Path(code): Path<u16>| async move { StatusCode::from_u16(code).unwrap() }))
        .route("/echo", post(|Json(value): Json<Value>| async move { Json(value) }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/unread", post(|| async { "unread" }))
        .route("/stream", get(|| async { Body::new(Pieces(3)) }))
        .route("/panic", get(|| async { if true { panic!("on purpose") } else { "" } }))
        .route("/noted", get(noted))
}

/// An answer that does not say how long it is.
struct Pieces(u8);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return std::task::Poll::Ready(None) };
        self.0 = left;
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"piece ")))))
    }
}

/// The event of a request but for what is never the same.
fn told(world: &World, last: usize) -> Value {
    let mut event = world.events()[last].clone();
    let http = event["details"]["http"].as_object_mut().unwrap();
    assert!(http.remove("duration_us").unwrap().is_u64());
    for name in ["id", "kind"] {
        assert!(event.as_object_mut().unwrap().remove(name).unwrap().is_string());
    }
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_an_answer_its_event_is_durable_and_says_who_did_what() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let layer = AuditLayer::before(&journal).clients(proxied()).actor(user);
    let lab = Lab::new(app().layer(layer.skip(|parts| parts.uri.path() == "/status/204"))).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers =
        [("x-forwarded-for", "192.0.2.7"), ("x-user", "mara"), ("user-agent", "test/1"), ("traceparent", trace)];
    let reply = lab.get("/documents/42?token=secret", &headers).await;
    assert_eq!((reply.status, reply.body.as_str(), world.events().len()), (200, "42", 1));
    let expected = json!({
        "action": "http.get",
        "actor": { "type": "user", "id": "mara" },
        "context": {
            "source_ip": "192.0.2.7", "user_agent": "test/1", "request_id": reply.header("x-request-id").unwrap(),
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
        },
        "details": { "http": { "method": "GET", "status": 200 } },
        "outcome": "success",
        "targets": [{ "type": "path", "id": "/documents/42" }],
    });
    assert_eq!(told(&world, 0), expected);
    let rows =
        [(204, None), (302, Some("success")), (401, Some("denied")), (404, Some("failure")), (500, Some("failure"))];
    for (status, outcome) in rows {
        let before = world.events().len();
        lab.get(&format!("/status/{status}"), &[("x-forwarded-for", "192.0.2.8")]).await;
        let events = world.events();
        match outcome {
            None => assert_eq!(events.len(), before, "a health check is on no record"),
            Some(outcome) => {
                assert_eq!((events.len(), &events[before]["outcome"]), (before + 1, &outcome.into()), "{status}");
                assert_eq!(events[before]["actor"], json!({ "type": "anonymous", "id": "192.0.2.8" }));
            }
        }
    }
    world.expect_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_says_what_a_request_was() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    // Within the router the template of the route is known.
    let lab = Lab::new(app().layer(AuditLayer::beside(&journal).action(template).with_queries())).await;
    lab.get("/documents/42?a=b", &[]).await;
    lab.get("/noted", &[("x-user", "mara")]).await;
    assert_eq!(journal.flush().await, 0);
    let events = world.events();
    assert_eq!(events[0]["action"], "GET /documents/{id}");
    assert_eq!(events[0]["details"]["http"]["query"], "a=b");
    assert_eq!(events[0]["actor"], json!({ "type": "anonymous", "id": "unknown" }));
    let noted = &events[1];
    assert_eq!(noted["action"], "document.share");
    assert_eq!(noted["actor"], json!({ "type": "user", "id": "ada", "session": "s1" }));
    assert_eq!((&noted["reason"], &noted["details"]["application"]), (&"asked to".into(), &json!({ "with": "mara" })));
    assert_eq!(noted["targets"], json!([{ "type": "document", "id": "42" }, { "type": "path", "id": "/noted" }]));
    world.expect_intact();
}

/// Where to, with which headers, which body, and what is on record of it.
type Sent<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_on_record_without_what_is_secret() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let redaction = Redaction::usual().pointer("/card/number").unwrap();
    let layer = AuditLayer::before(&journal).request_bodies(redaction.clone()).answer_bodies(redaction);
    let lab = Lab::new(app().layer(layer)).await;
    let json_type = [("content-type", "application/json")];
    let body =
        json!({ "a": [{ "b": { "Pass-Word": "S3CRET" } }], "card": { "number": "S3CRET", "name": "m" }, "n": 1.5 });
    let text = body.to_string();
    let reply = lab.ask("POST", "/echo", &json_type, &text).await;
    assert_eq!(reply.json(), body, "the application and its client see all of it");
    let redacted = json!({ "a": [{ "b": { "Pass-Word": "[redacted]" } }], "card": { "number": "[redacted]", "name": "m" }, "n": 1.5 });
    let expected = json!({ "bytes": text.len(), "json": redacted });
    let http = &told(&world, 0)["details"]["http"];
    assert_eq!((&http["request"], &http["answer"]), (&expected, &expected));
    let large = format!("[\"S3CRET\",{}0]", "0,".repeat(20_000));
    let rows: [Sent<'_>; 5] = [
        ("/length", &[("content-type", "text/plain")], "S3CRET", &["bytes", "sha256"]),
        ("/length", &json_type, "{\"password\":\"S3CRET\"", &["bytes", "sha256"]),
        ("/length", &json_type, &large, &["bytes", "sha256"]),
        (
            "/length",
            &[("content-type", "application/json"), ("content-encoding", "gzip")],
            "S3CRET",
            &["bytes", "sha256"],
        ),
        ("/unread", &json_type, "{\"password\":\"S3CRET\"}", &["bytes", "read_to_its_end", "sha256"]),
    ];
    for (path, headers, body, expected) in rows {
        lab.ask("POST", path, headers, body).await;
        let event = world.events().pop().unwrap();
        let request = event["details"]["http"]["request"].as_object().unwrap();
        assert_eq!(request.keys().collect::<Vec<_>>(), expected, "{path} {body:.40}");
    }
    let stream = lab.get("/stream", &[]).await;
    assert!(stream.body.contains("piece"), "{stream:?}");
    let event = world.events().pop().unwrap();
    assert_eq!(event["details"]["http"].get("answer"), None, "what is made while it is sent is not held up");
    assert!(!world.entries().iter().any(|entry| entry.to_string().contains("S3CRET")));
    world.expect_intact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_answered_and_on_record() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let lab = Lab::new(app().layer(AuditLayer::before(&journal))).await;
    let reply = lab.get("/panic", &[]).await;
    reply.problem(500, "panicked");
    assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
    let event = told(&world, 0);
    assert_eq!((&event["reason"], &event["outcome"]), (&"the application panicked".into(), &"failure".into()));
    assert_eq!((&event["details"]["http"]["status"], &event["severity"]), (&500.into(), &"error".into()));
    assert_eq!(lab.get("/documents/1", &[]).await.status, 200, "others are served");
}

/// Says that it was dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        let _told = self.0.take().map(|told| told.send(()));
    }
}

// On one thread, a future that is dropped is dropped as a whole before anybody else runs.
#[tokio::test]
async fn a_client_that_goes_away_is_on_record() {
    let world = World::new();
    let journal = Journal::new(world.log.clone());
    let (begun, is_begun) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    let ends = Arc::new(std::sync::Mutex::new(Some((begun, gone))));
    let never = move || {
        let (begun, gone) = ends.lock().unwrap().take().unwrap();
        async move {
            let _gone = Told(Some(gone));
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let app = Router::new().route("/never", get(never)).layer(AuditLayer::before(&journal));
    let lab = Lab::new(app).await;
    let stream = lab.begin("GET /never HTTP/1.1\r\nhost: t\r\n\r\n").await;
    is_begun.await.unwrap();
    drop(stream);
    tokio::time::timeout(Duration::from_secs(60), is_gone).await.unwrap().unwrap();
    assert_eq!(journal.flush().await, 0);
    let event = told(&world, 0);
    assert_eq!(event["reason"], "the client went away before there was an answer");
    assert_eq!((&event["outcome"], event["details"]["http"].get("status")), (&"unknown".into(), None));
    world.expect_intact();
}
