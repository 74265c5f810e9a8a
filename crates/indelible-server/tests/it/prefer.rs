//! When events are acknowledged, and which trace they belong to.

use std::time::Duration;

use indelible::{Log, Options, VerifyingKey, bundle::Bundle};
use indelible_core::checkpoint::Checkpoint;
use indelible_server::access::Pattern;
use serde_json::{Value, json};

use crate::world::{LOG, Reply, World, config, event, events_of, segment};

const PLAIN: &str = r#"{"action":"door.open","actor":{"type":"user","id":"ada"}}"#;

fn post(world: &World, event: &str, more: &[&str]) -> Reply {
    world.client().post_event(&events_of(LOG), &world.admin, event, more)
}

fn entry(world: &World, index: &Value) -> Value {
    world.ask("GET", &format!("/v1/logs/{}/entries/{index}", segment(LOG)), None).status(200).json()
}

fn key(world: &World) -> VerifyingKey {
    let keys = world.ask("GET", &format!("/v1/logs/{}/keys", segment(LOG)), None).status(200).json();
    VerifyingKey::parse(keys["public_key"].as_str().unwrap()).unwrap()
}

/// As `jq -r .bundle` writes it into a file.
fn bundle_of(receipt: &Value) -> Bundle {
    Bundle::parse(format!("{}\n", receipt["bundle"].as_str().unwrap()).as_bytes()).unwrap()
}

/// A world in which no checkpoint is published unless somebody asks for one.
fn unhurried(config: indelible_server::Config, bounded_within: Duration) -> World {
    let publish_every = Duration::from_secs(3600);
    let world = World::with(config, Options { publish_every, bounded_within, ..Options::default() });
    world.create(LOG);
    world
}

#[test]
fn anchored_brings_the_proof() {
    let world = unhurried(config(), Duration::from_secs(1));
    let reply = post(&world, PLAIN, &["prefer: anchored"]).status(201);
    assert_eq!(reply.header("preference-applied"), "anchored");
    let receipt = reply.json();
    let bundle = bundle_of(&receipt);
    let checked = bundle.check(&key(&world)).unwrap();
    assert_eq!(
        (json!(checked.index.0), json!(checked.leaf.to_hex())),
        (receipt["index"].clone(), receipt["leaf_hash"].clone())
    );
    // Without the wish there is no proof, and no checkpoint either.
    let plain = post(&world, PLAIN, &[]).status(201);
    assert!(plain.header("preference-applied").is_empty() && plain.json()["bundle"].is_null());
    let head = || -> u64 {
        let path = format!("/v1/logs/{}/checkpoint", segment(LOG));
        let note = world.ask("GET", &path, None).status(200).body;
        Checkpoint::open(&note, &key(&world)).unwrap().head.size.0
    };
    assert_eq!(head(), 2);
    // Lines share one checkpoint, which the answer has.
    let lines = format!("{PLAIN}\n7\n{PLAIN}\n");
    let reply = world.client().post_lines(&events_of(LOG), &world.admin, &lines, &["prefer: anchored"]).status(207);
    assert_eq!(reply.header("preference-applied"), "anchored");
    let note = reply.json()["checkpoint"].as_str().unwrap().to_owned();
    assert_eq!(Checkpoint::open(note.as_bytes(), &key(&world)).unwrap().head.size.0, 5);
    assert_eq!(head(), 5);
    // What was recorded before is anchored all the same.
    let again = event("mine").to_string();
    post(&world, &again, &[]).status(201);
    let reply = post(&world, &again, &["prefer: anchored"]).status(200).json();
    bundle_of(&reply).check(&key(&world)).unwrap();
    post(&world, "{}", &["prefer: anchored"]).problem(422, "event-refused");
}

#[test]
fn what_is_not_known_is_passed_over_and_durable_is_what_every_answer_is() {
    let world = World::with_log();
    let durable = post(&world, PLAIN, &["prefer: respond-async, durable"]).status(201);
    assert_eq!(durable.header("preference-applied"), "durable");
    let unknown = post(&world, PLAIN, &["prefer: quickly"]).status(201);
    assert_eq!(unknown.header("preference-applied"), "");
    // A weaker promise is the operator's to allow.
    let not_allowed = post(&world, PLAIN, &["prefer: bounded"]).status(201);
    assert_eq!(not_allowed.header("preference-applied"), "durable");
    assert_eq!(not_allowed.json()["index"], 3);
}

#[test]
fn bounded_is_answered_first_and_durable_soon_after() {
    let mut allowing = config();
    allowing.bounded = vec![Pattern::try_from("t.example/*".to_owned()).unwrap()];
    let mut world = unhurried(allowing, Duration::from_secs(30));
    let reply = post(&world, PLAIN, &["prefer: bounded"]).status(202);
    assert_eq!(reply.header("preference-applied"), "bounded");
    let taken = reply.json();
    assert!(taken["durable_within_ms"].as_u64().unwrap() <= 30_000 && taken["index"].is_null(), "{taken}");
    let find = format!("{}/{}", events_of(LOG), taken["id"].as_str().unwrap());
    let found = (0..100_000).map(|_| world.ask("GET", &find, None)).find(|reply| reply.status == 200);
    let found = found.expect("durable").json();
    assert_eq!((&found["entry"]["mode"], &found["entry"]["event"]["action"]), (&json!("bounded"), &json!("door.open")));
    // Whether an id is taken is known only when it is durable: what has one waits.
    for (event, more) in [(event("mine").to_string(), ""), (PLAIN.to_owned(), "idempotency-key: k")] {
        let more: Vec<&str> = ["prefer: bounded", more].into_iter().filter(|header| !header.is_empty()).collect();
        let reply = post(&world, &event, &more).status(201);
        assert_eq!(reply.header("preference-applied"), "durable");
    }
    post(&world, "{}", &["prefer: bounded"]).problem(422, "event-refused");
    // A server that stops makes its promises good.
    let ids: Vec<String> = (0..20)
        .map(|_| post(&world, PLAIN, &["prefer: bounded"]).status(202).json()["id"].as_str().unwrap().to_owned())
        .collect();
    world.stop();
    assert!(world.told.lock().unwrap().is_empty(), "{:?}", world.told.lock().unwrap());
    let log = Log::open(&world.at("root/logs/t.example%2Fa"), &world.ring(), Options::default()).unwrap();
    for id in &ids {
        log.find(id).unwrap();
    }
}

#[test]
fn a_trace_is_taken_over_and_what_an_event_brings_is_never_changed() {
    let world = World::with_log();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let header = format!("traceparent: {parent}");
    let other = "traceparent: 00-11111111111111111111111111111111-2222222222222222-01";
    let reply = post(&world, PLAIN, &[&header]).status(201);
    assert_eq!(reply.header("traceparent"), parent);
    let context = entry(&world, &reply.json()["index"])["entry"]["event"]["context"].clone();
    let expected = json!({ "span_id": "b7ad6b7169203331", "trace_id": "0af7651916cd43dd8448eb211c80319c" });
    assert_eq!(context, expected);
    // What brings a context keeps it as it is.
    let own = json!({ "action": "a", "actor": { "id": "x", "type": "user" }, "context": { "component": "c" } });
    let reply = post(&world, &own.to_string(), &[&header]).status(201);
    assert_eq!(entry(&world, &reply.json()["index"])["entry"]["event"]["context"], json!({ "component": "c" }));
    // What has an id is the same when it is sent again, in whatever trace.
    let mine = event("mine").to_string();
    post(&world, &mine, &[&header]).status(201);
    post(&world, &mine, &[other]).status(200);
    post(&world, PLAIN, &[&header, "idempotency-key: k"]).status(201);
    post(&world, PLAIN, &[other, "idempotency-key: k"]).status(200);
    // Each line that has room for it.
    let lines = format!("{PLAIN}\n{mine}\n{PLAIN}");
    let reply = world.client().post_lines(&events_of(LOG), &world.admin, &lines, &[&header]).status(201).json();
    let contexts: Vec<bool> = reply["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| entry(&world, &row["receipt"]["index"])["entry"]["event"]["context"] == expected)
        .collect();
    assert_eq!(contexts, [true, false, true]);
    // What is no trace is passed over; problems are answered with it too.
    let reply = post(&world, PLAIN, &["traceparent: 00-\"},{\"-x-01"]).status(201);
    assert!(reply.header("traceparent").is_empty());
    assert_eq!(entry(&world, &reply.json()["index"])["entry"]["event"]["context"], Value::Null);
    let refused = post(&world, "{}", &[&header]);
    assert_eq!(refused.header("traceparent"), parent);
    refused.problem(422, "event-refused");
}
