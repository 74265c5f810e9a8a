//! What one who wants too much leaves for the others: the budget of bodies, time, and connections.

use std::time::{Duration, Instant};

use indelible::Options;
use serde_json::json;

use crate::world::{Client, LOG, World, config, event, events_of, wait_for};

/// What a test would otherwise wait for without an end.
const PATIENCE: Duration = Duration::from_secs(90);

/// Begins a body of this length and sends so much of it.
fn begin(world: &World, token: &str, length: usize, sent: usize) -> Client {
    let mut client = world.client();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
        events_of(LOG)
    );
    client.write(head.as_bytes());
    client.write(" ".repeat(sent).as_bytes());
    client
}

/// Kibibytes of bodies that the server holds.
fn held(world: &World) -> u64 {
    let metrics = world.ask("GET", "/metrics", None).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("indelible_body_kibibytes ")).unwrap();
    line.parse().unwrap()
}

fn until_held(world: &World, kibibytes: u64) {
    let begun = Instant::now();
    while held(world) < kibibytes {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn a_key_and_those_that_it_made_have_one_share_of_the_bodies() {
    let mut small = config();
    let limits = &mut small.limits;
    (limits.body_bytes, limits.body_budget_per_key_bytes, limits.body_budget_bytes) = (64 << 10, 128 << 10, 256 << 10);
    (limits.body_ms, limits.body_slow_ms) = (600_000, 600_000);
    let world = World::with(small, Options::default());
    world.create(LOG);
    let (_, tenant) = world.key("admin", &["t.example/*"]);
    let new = json!({ "logs": [LOG], "name": "below", "role": "writer" });
    let below = world.client().ask("POST", "/v1/api-keys", Some(&tenant), Some(&new)).status(201).json();
    let below = below["token"].as_str().unwrap();
    let (_, other) = world.key("writer", &[LOG]);
    let mut slow = [begin(&world, &tenant, 60 << 10, 50 << 10), begin(&world, below, 60 << 10, 50 << 10)];
    until_held(&world, 100);
    let mut third = begin(&world, below, 40 << 10, 40 << 10);
    let refused = third.reply().unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(429, "too-many-requests");
    // What fits into the share is taken, and others have their own.
    world.client().ask("POST", &events_of(LOG), Some(below), Some(&event("small"))).status(201);
    let mut event = event("large");
    event["details"] = json!("x".repeat(50 << 10));
    world.client().ask("POST", &events_of(LOG), Some(&other), Some(&event)).status(201);
    for client in &mut slow {
        client.write(" ".repeat(10 << 10).as_bytes());
        // Blanks are no event.
        let status = client.reply().unwrap().status;
        assert!([400, 422].contains(&status), "{status}");
    }
    event["id"] = json!("large-too");
    world.client().ask("POST", &events_of(LOG), Some(below), Some(&event)).status(201);
}

#[test]
fn a_body_that_comes_too_slowly_is_let_go() {
    let mut quick = config();
    (quick.limits.body_ms, quick.limits.body_slow_ms) = (600_000, 300);
    let world = World::with(quick, Options::default());
    world.create(LOG);
    let mut client = begin(&world, &world.admin, 100_000, 5000);
    let told = client.reply().unwrap().problem(408, "slow-body");
    assert!(told["detail"].as_str().unwrap().contains("1024 bytes a second"), "{told}");
    assert!(client.reply().is_none(), "and its connection with it");
    world.record(LOG, 100);
}

#[test]
fn whoever_asks_for_nothing_makes_room_for_others() {
    let mut few = config();
    few.limits.connections = 4;
    (few.limits.head_ms, few.limits.body_ms, few.limits.body_slow_ms) = (600_000, 600_000, 600_000);
    let world = World::with(few, Options::default());
    world.create(LOG);
    let text = event("late").to_string();
    let (first, rest) = text.split_at(5);
    let mut busy = world.client();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
        events_of(LOG),
        world.admin,
        text.len()
    );
    busy.write(head.as_bytes());
    let mut idle: Vec<Client> = (0..3).map(|_| world.client()).collect();
    for client in &mut idle {
        client.ask("GET", "/healthz", None, None).status(200);
    }
    // All places are taken. Without room this would wait for ten minutes.
    world.client().ask("GET", "/healthz", None, None).status(200);
    assert!(idle[0].reply().is_none(), "it was let go without a word that is no answer");
    busy.write(rest.as_bytes());
    busy.reply().unwrap().status(201);
    let metrics = world.ask("GET", "/metrics", None).text();
    let asked = metrics.lines().find_map(|line| line.strip_prefix("indelible_connections_asked_to_leave_total "));
    assert!(asked.unwrap().parse::<u64>().unwrap() >= 1, "{metrics}");
}

#[test]
fn what_is_said_of_lines_is_of_the_senders_share() {
    let mut small = config();
    let limits = &mut small.limits;
    (limits.body_bytes, limits.body_budget_per_key_bytes, limits.body_budget_bytes) = (64 << 10, 128 << 10, 256 << 10);
    (limits.body_ms, limits.body_slow_ms) = (600_000, 600_000);
    let world = World::with(small, Options::default());
    world.create(LOG);
    let (_, token) = world.key("writer", &[LOG]);
    let (_, other) = world.key("writer", &[LOG]);
    // 180 lines are told of in 90 KiB.
    let lines = "{}\n".repeat(180);
    let post = |token: &str| world.client().post_lines(&events_of(LOG), token, &lines, &[]);
    let slow = begin(&world, &token, 60 << 10, 50 << 10);
    until_held(&world, 50);
    post(&token).problem(429, "too-many-requests");
    post(&other).status(422);
    drop(slow);
    // The server hears of it when it reads.
    wait_for(|| (post(&token).status == 422).then_some(()));
}

#[test]
fn a_long_idempotency_key_is_of_the_senders_share_with_each_line() {
    let mut small = config();
    let limits = &mut small.limits;
    (limits.body_bytes, limits.body_budget_per_key_bytes, limits.body_budget_bytes) = (64 << 10, 128 << 10, 256 << 10);
    let world = World::with(small, Options::default());
    world.create(LOG);
    // Told of in some 100 KiB; with a long key in each receipt in 150.
    let lines = "{}\n".repeat(200);
    let post = |key: &str| {
        // Whose share is all its own: what was answered before may be held a moment longer.
        let (_, token) = world.key("writer", &[LOG]);
        world.client().post_lines(&events_of(LOG), &token, &lines, &[&format!("idempotency-key: {key}")])
    };
    post("k").status(422);
    post(&"k".repeat(240)).problem(429, "too-many-requests");
}
