//! Who read what is on record.

use indelible::Options;
use serde_json::{Value, json};

use crate::world::{LOG, World, config, event, segment, wait_for};

fn path(what: &str) -> String {
    format!("/v1/logs/{}/{what}", segment(LOG))
}

/// The events of reads of a log.
fn reads_of(world: &World, log: &str) -> Vec<Value> {
    let own = format!("/v1/logs/{}/entries?limit=1000", segment("t.example/_server"));
    let page = world.ask("GET", &own, None).status(200).json();
    let events = page["entries"].as_array().unwrap().iter().map(|entry| entry["entry"]["event"].clone());
    events.filter(|event| event["action"] == "log.read" && event["targets"][0]["id"] == log).collect()
}

#[test]
fn each_read_is_on_record_by_key_and_log_with_its_range() {
    let mut world = World::with_log();
    world.record(LOG, 300);
    let (id, reader) = world.key("reader", &[LOG]);
    let (_, other) = world.key("auditor", &[LOG]);
    let get = |path: &str, token: &str| world.client().ask("GET", path, Some(token), None).status(200);
    let entry = get(&path("entries/20"), &reader);
    get(&path("entries?from=30&limit=10"), &reader);
    get(&path("entries?from=301"), &reader);
    get(&path("events/e6"), &reader);
    get(&path("entries/299/proof"), &reader);
    get("/logs/t.example%2Fa/tile/entries/000", &reader);
    get(&path("entries/3"), &other);
    // No content: no read.
    for what in ["checkpoint", "keys"] {
        get(&path(what), &reader);
    }
    get("/logs/t.example%2Fa/tile/0/000", &reader);
    world.client().ask("GET", &path("entries/900"), Some(&reader), None).status(404);
    let mut client = world.client();
    let (path, tag) = (path("entries/20"), entry.header("etag"));
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {reader}\r\nif-none-match: {tag}\r\n\r\n");
    client.write(head.as_bytes());
    client.reply().unwrap().status(304);
    world.stop();
    world.start();
    let events = reads_of(&world, LOG);
    assert_eq!(events.len(), 2, "one for each key: {events:?}");
    let of = |id: &str| events.iter().find(|event| event["actor"]["id"] == id).unwrap();
    let details = &of(&id)["details"];
    assert_eq!(
        details["requests"],
        json!({ "entryBundle": 1, "findEvent": 1, "getEntry": 1, "listEntries": 1, "prove": 1 })
    );
    assert_eq!((&details["first"], &details["last"]), (&json!(0), &json!(299)));
    assert_eq!(details["entries"], 1 + 10 + 1 + 1 + 256);
    assert!(details["since"].as_str() <= details["until"].as_str(), "{details}");
    let other = events.iter().find(|event| event["actor"]["id"] != id.as_str()).unwrap();
    assert_eq!((&other["details"]["first"], &other["details"]["entries"]), (&json!(3), &json!(1)));
    assert_eq!((&other["kind"], &other["actor"]["type"]), (&json!("data_access"), &json!("api_key")));
}

#[test]
fn reads_are_on_record_while_the_server_runs_and_one_that_reads_much_fills_nothing() {
    let mut often = config();
    often.limits.reads_every_ms = 50;
    let world = World::with(often, Options::default());
    world.create(LOG);
    world.record(LOG, 5);
    let (_, reader) = world.key("reader", &[LOG]);
    let mut client = world.client();
    for _ in 0..500 {
        client.ask("GET", &path("entries"), Some(&reader), None).status(200);
    }
    let counted = |events: &[Value]| -> u64 {
        events.iter().map(|event| event["details"]["requests"]["listEntries"].as_u64().unwrap()).sum()
    };
    let events = wait_for(|| Some(reads_of(&world, LOG)).filter(|events| counted(events) == 500));
    assert!(events.len() < 250, "{} events for 500 reads", events.len());
    // Reading the own log is a read as well.
    let own = wait_for(|| reads_of(&world, "t.example/_server").pop());
    assert_eq!(own["actor"]["name"], "admin");
}

#[test]
fn whoever_does_not_want_it_says_so() {
    let mut silent = config();
    (silent.reads_on_record, silent.limits.reads_every_ms) = (false, 20);
    let mut world = World::with(silent, Options::default());
    world.create(LOG);
    world.ask("POST", &crate::world::events_of(LOG), Some(&event("x"))).status(201);
    world.ask("GET", &path("entries"), None).status(200);
    world.stop();
    world.start();
    assert_eq!(reads_of(&world, LOG), Vec::<Value>::new());
}
