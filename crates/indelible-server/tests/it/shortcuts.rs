//! Shortcuts, as somebody who uses them sees them.

use serde_json::{Value, json};

use crate::world::{LOG, World, segment};

const SHORTCUTS: [&str; 7] = ["auth", "data-access", "data-change", "admin", "api", "decision", "agent-step"];

fn path(name: &str) -> String {
    format!("/v1/logs/{}/record/{name}", segment(LOG))
}

/// The example that the document has for a shortcut.
fn example(document: &Value, name: &str) -> Value {
    let body = &document["paths"][format!("/v1/logs/{{log}}/record/{name}")]["post"]["requestBody"];
    let reference = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
    document.pointer(reference.trim_start_matches('#')).unwrap()["examples"][0].clone()
}

#[test]
fn each_is_recorded_as_one_event_and_found_in_the_log() {
    let world = World::with_log();
    let (_, writer) = world.key("writer", &[LOG]);
    let document = world.client().ask("GET", "/openapi.json", None, None).status(200).json();
    for (at, name) in SHORTCUTS.iter().enumerate() {
        let body = example(&document, name);
        let receipt = world.client().ask("POST", &path(name), Some(&writer), Some(&body)).status(201);
        assert_eq!(receipt.json()["index"], at + 1, "{name}");
        let entry = world.ask("GET", receipt.header("location"), None).status(200).json();
        let event = &entry["entry"]["event"];
        let kind = if *name == "agent-step" { "agent".to_owned() } else { name.replace('-', "_") };
        assert_eq!(event["kind"], kind, "{name}");
        assert_eq!((&event["actor"], &event["id"]), (&body["actor"], &receipt.json()["id"]), "{name}");
    }
    let job = world.ask("POST", &format!("/v1/logs/{}/verify?wait=20", segment(LOG)), None).status(200).json();
    assert_eq!(job["report"]["status"], "intact");
}

#[test]
fn what_is_sent_again_is_recorded_once_and_preferences_hold() {
    let world = World::with_log();
    let body = r#"{"actor":{"type":"user","id":"ada"},"outcome":"success"}"#;
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let send = |more: &[&str]| world.client().post_event(&path("auth"), &world.admin, body, more);
    let first = send(&["idempotency-key: k-1", trace]).status(201).json();
    let again = send(&["idempotency-key: k-1"]).status(200).json();
    assert_eq!((&first["id"], &again["duplicate"]), (&json!("k-1"), &json!(true)));
    let other = r#"{"actor":{"type":"user","id":"ada"},"outcome":"failure"}"#;
    world
        .client()
        .post_event(&path("auth"), &world.admin, other, &["idempotency-key: k-1"])
        .problem(409, "id-conflict");
    // It is the event that it stands for, sent in whatever way.
    let long = r#"{"action":"auth.login","actor":{"type":"user","id":"ada"},"kind":"auth","outcome":"success"}"#;
    let events = crate::world::events_of(LOG);
    world.client().post_event(&events, &world.admin, long, &["idempotency-key: k-1"]).status(200);

    let anchored = send(&["prefer: anchored"]).status(201);
    assert_eq!(anchored.header("preference-applied"), "anchored");
    assert!(anchored.json()["bundle"].is_string());
    let traced = send(&[trace]).status(201);
    let entry = world.ask("GET", traced.header("location"), None).status(200).json();
    assert_eq!(entry["entry"]["event"]["context"]["span_id"], "b7ad6b7169203331");
}

#[test]
fn what_is_refused_says_where_and_a_locked_log_takes_none() {
    let world = World::with_log();
    let bad = json!({ "actor": { "id": "x", "type": "user" }, "outcom": "success" });
    let problem = world.ask("POST", &path("auth"), Some(&bad)).problem(422, "event-refused");
    assert_eq!(problem["pointer"], "/outcom");
    assert!(problem["detail"].as_str().unwrap().contains("did you mean `outcome`?"), "{problem}");
    // What only the event's own check finds has a place in the body too.
    let bad = json!({ "actor": { "id": 7, "type": "user" }, "outcome": "success" });
    assert_eq!(world.ask("POST", &path("auth"), Some(&bad)).problem(422, "event-refused")["pointer"], "/actor/id");
    let lines = world.client().post_lines(&path("auth"), &world.admin, "{}\n{}", &[]);
    lines.problem(415, "media-type");
    world.ask("GET", &path("auth"), None).problem(405, "method-not-allowed");
    world.ask("POST", &path("login"), Some(&bad)).problem(404, "not-found");
    world.ask("POST", &format!("/v1/logs/{}/lock", segment(LOG)), Some(&json!({ "reason": "r" }))).status(200);
    let good = json!({ "actor": { "id": "x", "type": "user" }, "outcome": "success" });
    world.ask("POST", &path("auth"), Some(&good)).problem(423, "locked");
    assert_eq!(world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200).json()["size"], 1);
}
