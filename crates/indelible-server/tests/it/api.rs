//! What the interface does, as somebody who uses it sees it.

use std::time::Duration;

use indelible::{
    Options, VerifyingKey,
    bundle::Bundle,
    clock::{Clock as _, SystemClock},
};
use indelible_core::checkpoint::Checkpoint;
use indelible_keys::Purpose;
use serde_json::json;

use crate::world::{LOG, World, event, events_of, segment, wait_for};

#[test]
fn from_nothing_to_a_proof_that_a_stranger_checks() {
    let world = World::new();
    let log = world.ask("POST", "/v1/logs", Some(&json!({ "origin": LOG }))).status(201).json();
    let (_, writer) = world.key("writer", &[LOG]);
    let (_, reader) = world.key("reader", &[LOG]);
    let event = json!({ "action": "door.open", "actor": { "id": "ada", "type": "user" } });
    let mut client = world.client();
    let recorded = client.ask("POST", &events_of(LOG), Some(&writer), Some(&event)).status(201);
    let receipt = recorded.json();
    assert_eq!((&receipt["index"], &receipt["origin"]), (&json!(1), &json!(LOG)));
    assert_eq!(recorded.header("location"), "/v1/logs/t.example%2Fa/entries/1");

    let mut client = world.client();
    let entry = client.ask("GET", recorded.header("location"), Some(&reader), None).status(200);
    assert_eq!(entry.json()["leaf_hash"], receipt["leaf_hash"]);
    assert_eq!(entry.header("etag"), format!("\"{}\"", receipt["leaf_hash"].as_str().unwrap()));
    let bundle = client.ask("GET", "/v1/logs/t.example%2Fa/entries/1/proof", Some(&reader), None).status(200);
    let key = VerifyingKey::parse(log["public_key"].as_str().unwrap()).unwrap();
    let checked = Bundle::parse(&bundle.body).unwrap().check(&key).unwrap();
    assert_eq!((checked.index.0, checked.leaf.to_hex().into()), (1, receipt["leaf_hash"].clone()));
    let id = receipt["id"].as_str().unwrap();
    let found = client.ask("GET", &format!("{}/{id}", events_of(LOG)), Some(&reader), None).status(200);
    assert_eq!(found.body, entry.body);

    let note = client.ask("GET", "/v1/logs/t.example%2Fa/checkpoint", Some(&writer), None).status(200);
    let checkpoint = Checkpoint::open(&note.body, &key).unwrap();
    assert_eq!(checkpoint.head.size.0, 2);
    let keys = client.ask("GET", "/v1/logs/t.example%2Fa/keys", Some(&writer), None).status(200).json();
    assert_eq!(keys["public_key"], log["public_key"]);
    assert_eq!(keys["log_id"], log["log_id"]);
}

#[test]
fn a_log_is_verified_and_an_edit_is_found() {
    let mut world = World::with_log();
    world.record(LOG, 3);
    let path = format!("/v1/logs/{}/verify?wait=20", segment(LOG));
    let done = world.ask("POST", &path, None).status(200);
    let job = done.json();
    assert_eq!((&job["state"], &job["report"]["status"]), (&json!("done"), &json!("intact")));
    assert_eq!(world.ask("GET", done.header("location"), None).status(200).json(), job);
    world.ask("GET", &format!("/v1/logs/{}/verifications/none", segment(LOG)), None).problem(404, "not-found");
    world.stop();
    let segments = world.at("root/logs/t.example%2Fa/segments");
    let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    std::fs::write(&segment, text.replacen("\"ada\"", "\"eve\"", 1)).unwrap();
    world.start();
    let job = world.ask("POST", &path, None).status(200).json();
    assert_eq!(job["report"]["status"], "tampered");
    assert_eq!(job["report"]["findings"][0]["index"], 1);
    // What the signed tree contradicts is not proven.
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/1/proof", None).problem(500, "evidence");
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/2/proof", None).status(200);
}

#[test]
fn lines_are_recorded_or_refused_one_by_one() {
    let world = World::with_log();
    let lines = format!("{}\n\n{{\"action\":7}}\nnonsense\n{}\n", event("one"), event("two"));
    let reply = world.client().post_lines(&events_of(LOG), &world.admin, &lines, &[]).status(207).json();
    assert_eq!((&reply["recorded"], &reply["refused"], &reply["unclear"]), (&json!(2), &json!(2), &json!(0)));
    let lines: Vec<_> = reply["results"].as_array().unwrap().iter().map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 3, 4, 5]);
    assert_eq!(reply["results"][1]["problem"]["type"], "/problems/event-refused");
    assert_eq!(reply["results"][3]["receipt"]["index"], 2);
    let none = world.client().post_lines(&events_of(LOG), &world.admin, "7\n8", &[]).status(422).json();
    assert_eq!(none["refused"], 2);
    world.client().post_lines(&events_of(LOG), &world.admin, "\n \n", &[]).problem(400, "bad-request");
}

#[test]
fn a_refused_event_says_where_and_what_to_do() {
    let world = World::with_log();
    let bad = json!({ "action": "a", "actor": { "id": "x", "type": "user" }, "sevrity": "info" });
    let problem = world.ask("POST", &events_of(LOG), Some(&bad)).problem(422, "event-refused");
    assert_eq!(problem["pointer"], "/sevrity");
    assert!(problem["detail"].as_str().unwrap().contains("severity"), "{problem}");
    let control = json!({ "control": { "type": "pruned" } });
    let problem = world.ask("POST", &events_of(LOG), Some(&control)).problem(422, "event-refused");
    assert_eq!(problem["pointer"], "/control");
}

#[test]
fn what_is_sent_again_is_recorded_once() {
    let mut world = World::with_log();
    let path = events_of(LOG);
    let first = world.ask("POST", &path, Some(&event("mine"))).status(201).json();
    let again = world.ask("POST", &path, Some(&event("mine"))).status(200).json();
    assert_eq!((&again["index"], &again["duplicate"]), (&first["index"], &json!(true)));
    let other = json!({ "action": "door.shut", "actor": { "id": "ada", "type": "user" }, "id": "mine" });
    world.ask("POST", &path, Some(&other)).problem(409, "id-conflict");

    let plain = r#"{"action":"door.open","actor":{"type":"user","id":"ada"}}"#;
    let key = ["idempotency-key: k-1"];
    let first = world.client().post_event(&path, &world.admin, plain, &key).status(201).json();
    assert_eq!(first["id"], "k-1");
    world.client().post_event(&path, &world.admin, plain, &key).status(200);
    let other = r#"{"action":"door.shut","actor":{"type":"user","id":"ada"}}"#;
    world.client().post_event(&path, &world.admin, other, &key).problem(409, "id-conflict");
    let lines = format!("{plain}\n{plain}\n");
    let key = ["idempotency-key: k-2"];
    let first = world.client().post_lines(&path, &world.admin, &lines, &key).status(201).json();
    assert_eq!(first["results"][1]["receipt"]["id"], "k-2/2");
    // The promise is the log's: it outlives the server.
    world.stop();
    world.start();
    let again = world.client().post_lines(&path, &world.admin, &lines, &key).status(201).json();
    assert_eq!((&again["duplicates"], &again["recorded"]), (&json!(2), &json!(0)));
    for bad in ["idempotency-key: ", "idempotency-key: a\"b", "idempotency-key: a\r\nidempotency-key: b"] {
        world.client().post_event(&path, &world.admin, plain, &[bad]).problem(400, "bad-request");
    }
}

#[test]
fn pages_hold_everything_once_and_in_order() {
    let world = World::with_log();
    world.record(LOG, 25);
    let (mut from, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/logs/{}/entries?limit=7{from}", segment(LOG));
        let page = world.ask("GET", &path, None).status(200).json();
        assert_eq!(page["size"], 26);
        seen.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["index"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        from = format!("&from={next}");
    }
    assert_eq!(seen, (0..26).collect::<Vec<_>>());
    let path = |query: &str| format!("/v1/logs/{}/entries?{query}", segment(LOG));
    let end = world.ask("GET", &path("from=26"), None).status(200).json();
    assert_eq!((&end["entries"], &end["next"]), (&json!([]), &json!(null)));
    for bad in ["limit=1001", "from=-1", "from=x", "form=1", "from=1&from=2"] {
        world.ask("GET", &path(bad), None).problem(400, "bad-request");
    }
}

#[test]
fn what_is_not_there_is_said_to_be_so() {
    let world = World::with_log();
    world.ask("GET", "/v1/logs/t.example%2Fnone/entries", None).problem(404, "not-found");
    world.ask("POST", "/v1/logs/t.example%2Fnone/events", Some(&event("x"))).problem(404, "not-found");
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/99", None).problem(404, "not-found");
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/99/proof", None).problem(404, "not-found");
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/x", None).problem(400, "bad-request");
    world.ask("GET", "/v1/logs/t.example%2Fa/events/none", None).problem(404, "not-found");
    world.ask("GET", "/nowhere", None).problem(404, "not-found");
    let problem = world.ask("PUT", "/v1/logs", None);
    assert_eq!(problem.header("allow"), "GET, POST");
    problem.problem(405, "method-not-allowed");
    world.ask("POST", "/v1/logs", Some(&json!({ "origin": LOG }))).problem(409, "conflict");
    for origin in ["", "a b", "u.example/registry", "ä"] {
        world.ask("POST", "/v1/logs", Some(&json!({ "origin": origin }))).problem(400, "bad-request");
    }
}

#[test]
fn names_that_look_like_paths_are_names() {
    let world = World::new();
    for origin in ["..", ".", "../..", "/", "a//b", "a/../b", "~", "-", "a:b@c"] {
        world.create(origin);
        world.ask("POST", &events_of(origin).replace(':', "%3A"), Some(&event("x"))).status(201);
    }
    let mut names: Vec<_> =
        std::fs::read_dir(world.at("root")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["logs", "registry"]);
    assert_eq!(std::fs::read_dir(world.at("root/logs")).unwrap().count(), 10);
}

#[test]
fn an_entry_that_is_known_is_not_sent_again_and_head_has_no_body() {
    let world = World::with_log();
    let path = "/v1/logs/t.example%2Fa/entries/0";
    let entry = world.ask("GET", path, None).status(200);
    let head = world.ask("HEAD", path, None).status(200);
    assert_eq!((head.header("content-length"), head.body.len()), (entry.header("content-length"), 0));
    let mut client = world.client();
    let (token, tag) = (&world.admin, entry.header("etag"));
    client.write(
        format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\nif-none-match: {tag}\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(client.reply().unwrap().status(304).body.len(), 0);
}

#[test]
fn every_answer_has_what_no_answer_is_without() {
    let world = World::new();
    for (method, path) in [("GET", "/healthz"), ("GET", "/nowhere"), ("GET", "/v1/logs"), ("POST", "/healthz")] {
        for token in [None, Some(world.admin.as_str())] {
            let reply = world.client().ask(method, path, token, None);
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(reply.header(name), value, "{method} {path} {name}");
            }
            assert_eq!(reply.header("x-request-id").len(), 32);
        }
    }
}

#[test]
fn the_server_says_how_it_is() {
    let world = World::with_log();
    world.record(LOG, 2);
    assert_eq!(world.client().ask("GET", "/healthz", None, None).status(200).text(), "alive\n");
    assert_eq!(world.client().ask("GET", "/readyz", None, None).status(200).text(), "ready\n");
    let document = world.client().ask("GET", "/openapi.json", None, None).status(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(world.client().ask("GET", "/problems/id-conflict", None, None).status(200).text().contains("409"));
    let metrics = world.ask("GET", "/metrics", None).status(200).text();
    for line in ["indelible_events_recorded_total 2", r#"indelible_http_requests_total{route="append",status="201"} 1"#]
    {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
    assert!(!metrics.lines().any(|line| line.contains(LOG) && !line.starts_with("indelible_log_")), "no names of logs");
}

#[test]
fn keys_that_were_rotated_are_taken_up_and_proofs_lead_from_the_old_to_the_new() {
    let options = Options { publish_every: Duration::from_millis(20), ..Options::default() };
    let world = World::with(crate::world::config(), options);
    world.create(LOG);
    world.record(LOG, 3);
    let before = world.ask("GET", "/v1/logs/t.example%2Fa/keys", None).status(200).json();
    let old = VerifyingKey::parse(before["public_key"].as_str().unwrap()).unwrap();
    world
        .ring()
        .rotate_each(&[Purpose::EntrySigning, Purpose::CheckpointSigning], SystemClock::default().now())
        .unwrap();
    // The next checkpoint takes them up; a proof of what it covers shows both.
    let taken_up = || {
        let event = json!({ "action": "a", "actor": { "id": "x", "type": "user" } });
        world.ask("POST", &events_of(LOG), Some(&event)).status(201);
        let keys = world.ask("GET", "/v1/logs/t.example%2Fa/keys", None).status(200).json();
        (keys["public_key"] != before["public_key"]).then_some(keys)
    };
    let new = wait_for(taken_up);
    assert_eq!(new["checkpoint_keys"].as_array().unwrap().len(), 2);
    world.ask("POST", &events_of(LOG), Some(&event("behind"))).status(201);
    let found = world.ask("GET", &format!("{}/behind", events_of(LOG)), None).status(200).json();
    let path = format!("/v1/logs/t.example%2Fa/entries/{}/proof", found["index"]);
    let bundle = Bundle::parse(&world.ask("GET", &path, None).status(200).body).unwrap();
    bundle.check(&old).unwrap();
    bundle.check(&VerifyingKey::parse(new["public_key"].as_str().unwrap()).unwrap()).unwrap();
    let job = world.ask("POST", "/v1/logs/t.example%2Fa/verify?wait=20", None).status(200).json();
    assert_eq!(job["report"]["status"], "intact", "{job}");
}

#[test]
fn a_name_that_makes_no_file_is_refused_and_the_longest_that_does_is_not() {
    let world = World::new();
    let make = |origin: String| world.ask("POST", "/v1/logs", Some(&json!({ "origin": origin })));
    for sign in ["_", "/", "~", ":", "@"] {
        let refused = make(format!("t{}", sign.repeat(67))).problem(400, "bad-request");
        assert!(refused["detail"].as_str().unwrap().contains("200 bytes"), "{refused}");
    }
    make(format!("tt{}", "_".repeat(66))).status(201);
    make("x".repeat(128)).status(201);
}
