//! Logs that take no events until somebody says otherwise.

use indelible::Options;
use serde_json::{Value, json};

use crate::world::{LOG, World, config, event, events_of, segment};

fn path(what: &str) -> String {
    format!("/v1/logs/{}/{what}", segment(LOG))
}

/// What the own log says of locks: action, reason, who.
fn on_record(world: &World) -> Vec<(String, String, String)> {
    let own = format!("/v1/logs/{}/entries?limit=1000", segment("t.example/_server"));
    let page = world.ask("GET", &own, None).status(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = page["entries"].as_array().unwrap().iter().map(|entry| &entry["entry"]["event"]);
    let locks =
        events.filter(|event| ["log.lock", "log.unlock"].contains(&event["action"].as_str().unwrap_or_default()));
    locks.map(|event| (text(&event["action"]), text(&event["reason"]), text(&event["actor"]["id"]))).collect()
}

#[test]
fn a_locked_log_refuses_events_and_everything_else_goes_on() {
    let mut world = World::with_log();
    world.create("t.example/b");
    world.record(LOG, 2);
    let (_, writer) = world.key("writer", &["*"]);
    let locked = world.ask("POST", &path("lock"), Some(&json!({ "reason": "an inquiry" }))).status(200).json();
    assert_eq!((&locked["locked"]["reason"], &locked["log"]), (&json!("an inquiry"), &json!(LOG)));
    let refused = |world: &World| {
        for token in [&writer, &world.admin] {
            let reply = world.client().ask("POST", &events_of(LOG), Some(token), Some(&event("x")));
            let problem = reply.problem(423, "locked");
            assert!(problem["detail"].as_str().unwrap().contains("an inquiry"), "{problem}");
        }
        world.client().post_lines(&events_of(LOG), &writer, &event("x").to_string(), &[]).problem(423, "locked");
    };
    refused(&world);
    world.ask("POST", &events_of("t.example/b"), Some(&event("x"))).status(201);
    for what in ["entries", "entries/1", "entries/1/proof", "checkpoint", "keys", "events/e0"] {
        world.ask("GET", &path(what), None).status(200);
    }
    let job = world.ask("POST", &path("verify?wait=20"), None).status(200).json();
    assert_eq!(job["report"]["status"], "intact");
    let listed = world.ask("GET", "/v1/logs", None).status(200).json();
    let of = |listed: &Value, name: &str| {
        listed["logs"].as_array().unwrap().iter().find(|log| log["origin"] == name).unwrap()["locked"].clone()
    };
    assert_eq!((of(&listed, LOG), of(&listed, "t.example/b")), (locked["locked"].clone(), Value::Null));
    // In force again after a restart, since the own log says it.
    world.stop();
    world.start();
    refused(&world);
    assert_eq!(of(&world.ask("GET", "/v1/logs", None).json(), LOG)["reason"], "an inquiry");
    let open = world.ask("POST", &path("unlock"), Some(&json!({ "reason": "it is over" }))).status(200).json();
    assert_eq!(open["locked"], Value::Null);
    world.ask("POST", &events_of(LOG), Some(&event("y"))).status(201);
    world.stop();
    world.start();
    world.ask("POST", &events_of(LOG), Some(&event("z"))).status(201);
    let who = listed_admin(&world);
    let expected = [("log.lock", "an inquiry"), ("log.unlock", "it is over")];
    assert_eq!(on_record(&world), expected.map(|(action, why)| (action.into(), why.into(), who.clone())));
    assert_eq!(world.ask("GET", &path("entries?limit=1"), None).json()["size"], 5, "only what was let in is there");
}

fn listed_admin(world: &World) -> String {
    let keys = world.ask("GET", "/v1/api-keys", None).status(200).json();
    let keys = keys["api_keys"].as_array().unwrap();
    keys.iter().find(|key| key["name"] == "admin").unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_no_lock_is_refused_and_recorded_nowhere() {
    let world = World::with_log();
    let ask = |what: &str, body: Value| world.ask("POST", &path(what), Some(&body));
    ask("unlock", json!({ "reason": "x" })).problem(409, "conflict");
    for body in [
        json!({}),
        json!({ "reason": "" }),
        json!({ "reason": "  " }),
        json!({ "reason": 7 }),
        json!({ "reason": "a\u{1b}[31mb" }),
        json!({ "reason": "x".repeat(1025) }),
        json!({ "reason": "x", "until": "tomorrow" }),
        json!([]),
    ] {
        ask("lock", body).problem(400, "bad-request");
    }
    let reason = json!({ "reason": "x" });
    world.ask("POST", "/v1/logs/t.example%2Fnone/lock", Some(&reason)).problem(404, "not-found");
    // A server that could not record what happens to it could not record the end of the lock either.
    world.ask("POST", "/v1/logs/t.example%2F_server/lock", Some(&reason)).problem(403, "forbidden");
    assert_eq!(on_record(&world), []);
    world.ask("POST", &events_of(LOG), Some(&event("x"))).status(201);
    ask("lock", reason.clone()).status(200);
    let again = ask("lock", json!({ "reason": "another" })).problem(409, "conflict");
    assert!(again["detail"].as_str().unwrap().contains('x'), "{again}");
    assert_eq!(on_record(&world).len(), 1);
    // Nobody else ends it.
    let (_, auditor) = world.key("auditor", &["*"]);
    let reply = world.client().ask("POST", &path("unlock"), Some(&auditor), Some(&reason));
    reply.problem(403, "forbidden");
    world.ask("POST", &events_of(LOG), Some(&event("y"))).problem(423, "locked");
}

#[test]
fn a_lock_comes_between_requests_and_never_into_one() {
    let world = World::with(config(), Options::default());
    world.create(LOG);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut accepted = 0;
            loop {
                let lines: Vec<_> = (0..20).map(|at| event(&format!("{accepted}-{at}")).to_string()).collect();
                let reply = world.client().post_lines(&events_of(LOG), &world.admin, &lines.join("\n"), &[]);
                if reply.status == 423 {
                    reply.problem(423, "locked");
                    return accepted;
                }
                reply.status(201);
                accepted += 1;
            }
        });
        while world.ask("GET", &path("entries?limit=1"), None).json()["size"].as_u64().unwrap() < 100 {}
        world.ask("POST", &path("lock"), Some(&json!({ "reason": "now" }))).status(200);
        let accepted = flood.join().unwrap();
        let size = world.ask("GET", &path("entries?limit=1"), None).json()["size"].clone();
        assert_eq!(size, 1 + 20 * accepted, "whole requests, and none behind the refusal");
    });
}

#[test]
fn a_tenant_lifts_no_lock_of_the_operators() {
    let world = World::with_log();
    let (_, tenant) = world.key("admin", &["t.example/*"]);
    let reason = json!({ "reason": "r" });
    let by_tenant = |what: &str| world.client().ask("POST", &path(what), Some(&tenant), Some(&reason));
    world.ask("POST", &path("lock"), Some(&reason)).status(200);
    by_tenant("unlock").problem(403, "forbidden");
    world.client().ask("POST", &events_of(LOG), Some(&tenant), Some(&event("x"))).problem(423, "locked");
    world.ask("POST", &path("unlock"), Some(&reason)).status(200);
    // Its own it lifts, and so does the operator.
    for unlocked_by in [&tenant, &world.admin] {
        by_tenant("lock").status(200);
        world.client().ask("POST", &path("unlock"), Some(unlocked_by), Some(&reason)).status(200);
    }
}

#[test]
fn a_tenant_that_locks_first_keeps_the_operator_from_nothing() {
    let mut world = World::with_log();
    let admin = listed_admin(&world);
    let (id, tenant) = world.key("admin", &["t.example/*"]);
    let (_, peer) = world.key("admin", &["t.example/*"]);
    let lock = |world: &World, token: &str, what: &str, reason: &str| {
        world.client().ask("POST", &path(what), Some(token), Some(&json!({ "reason": reason })))
    };
    lock(&world, &tenant, "lock", "mine").status(200);
    // Who may do no more finds it locked; the operator's takes its place, and is nobody else's to lift or to replace.
    lock(&world, &peer, "lock", "also mine").problem(409, "conflict");
    let locked = lock(&world, &world.admin, "lock", "inquiry 17").status(200).json();
    assert_eq!(locked["locked"]["reason"], "inquiry 17");
    let check = |world: &World| {
        for token in [&tenant, &peer] {
            lock(world, token, "unlock", "over").problem(403, "forbidden");
            lock(world, token, "lock", "mine").problem(409, "conflict");
        }
        lock(world, &world.admin, "lock", "inquiry 18").problem(409, "conflict");
        world.client().ask("POST", &events_of(LOG), Some(&tenant), Some(&event("x"))).problem(423, "locked");
    };
    check(&world);
    world.stop();
    world.start();
    check(&world);
    let expected = [("log.lock", "mine", &id), ("log.lock", "inquiry 17", &admin)];
    assert_eq!(on_record(&world), expected.map(|(action, why, who)| (action.into(), why.into(), who.clone())));
    let own = format!("/v1/logs/{}/entries?limit=1000", segment("t.example/_server"));
    let own = world.ask("GET", &own, None).status(200).text();
    assert!(own.contains("instead_of"), "{own}");
    world.ask("POST", &path("unlock"), Some(&json!({ "reason": "over" }))).status(200);
    world.client().ask("POST", &events_of(LOG), Some(&tenant), Some(&event("x"))).status(201);
}
