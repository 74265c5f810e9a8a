//! Bodies that are compressed, and bombs.

use std::io::Write as _;

use indelible::Options;
use serde_json::json;

use crate::world::{LOG, Reply, World, config, event, events_of};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 19).unwrap()
}

fn post(world: &World, path: &str, media_type: &str, coding: &str, body: &[u8]) -> Reply {
    let (mut client, token) = (world.client(), &world.admin);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: {media_type}\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write(&[head.as_bytes(), body].concat());
    client.reply().unwrap()
}

#[test]
fn compressed_events_are_recorded_as_what_they_are() {
    let world = World::with_log();
    let path = events_of(LOG);
    for (coding, compress) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let one = event(coding);
        let reply = post(&world, &path, "application/json", coding, &compress(one.to_string().as_bytes()));
        reply.status(201);
        // The same event, sent as it is, is the same event.
        world.ask("POST", &path, Some(&one)).status(200);
        let lines: Vec<_> = (0..500).map(|at| event(&format!("{coding}{at}")).to_string()).collect();
        let sent = compress(lines.join("\n").as_bytes());
        assert!(sent.len() < 10_000);
        let reply = post(&world, &path, "application/x-ndjson", coding, &sent).status(201).json();
        assert_eq!(reply["recorded"], 500);
    }
    let new = json!({ "origin": "t.example/b" }).to_string();
    post(&world, "/v1/logs", "application/json", "gzip", &gzip(new.as_bytes())).status(201);
}

#[test]
fn what_is_not_compressed_as_it_says_is_refused_and_bombs_do_not_go_off() {
    let mut small = config();
    (small.limits.body_bytes, small.limits.body_budget_bytes) = (2 << 20, 4 << 20);
    let world = World::with(small, Options::default());
    world.create(LOG);
    let (path, json) = (events_of(LOG), "application/json");
    let one = event("x").to_string();
    for (coding, body, status, kind) in [
        ("br", one.clone().into_bytes(), 415, "media-type"),
        ("gzip, gzip", gzip(&gzip(one.as_bytes())), 415, "media-type"),
        ("gzip\r\ncontent-encoding: gzip", gzip(one.as_bytes()), 415, "media-type"),
        ("gzip", one.clone().into_bytes(), 400, "bad-request"),
        ("zstd", gzip(one.as_bytes()), 400, "bad-request"),
        ("gzip", gzip(one.as_bytes())[..20].to_vec(), 400, "bad-request"),
        ("gzip", [gzip(one.as_bytes()), b"{}".to_vec()].concat(), 400, "bad-request"),
        // 64 MiB of nothing: too large whatever it is.
        ("gzip", gzip(&vec![b' '; 64 << 20]), 413, "too-large"),
        ("zstd", zstd(&vec![b' '; 64 << 20]), 413, "too-large"),
        // Within the limit of a body, and out of all proportion.
        ("zstd", zstd(&vec![b' '; 3 << 19]), 413, "too-large"),
        // The length that counts is the one that was sent, and that of what comes out.
        ("gzip", gzip(one.as_bytes()).into_iter().chain(vec![0; 2 << 20]).collect(), 413, "too-large"),
    ] {
        post(&world, &path, json, coding, &body).problem(status, kind);
        world.client().ask("GET", "/healthz", None, None).status(200);
    }
    // An empty text is no event, compressed or not.
    post(&world, &path, json, "gzip", &gzip(b"")).problem(422, "event-refused");
    // What a bomb took of the budget it gave back.
    let metrics = world.ask("GET", "/metrics", None).text();
    assert!(metrics.contains("\nindelible_body_kibibytes 0\n"), "{metrics}");
    assert_eq!(world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200).json()["size"], 1);
}

#[test]
fn a_crowd_of_bombs_leaves_others_alone() {
    let world = World::with_log();
    let bomb = zstd(&vec![b' '; 64 << 20]);
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let status = post(&world, &events_of(LOG), "application/json", "zstd", &bomb).status;
                        assert!([413, 503].contains(&status), "{status}");
                    }
                })
            })
            .collect();
        let mut at = 0;
        while at < 20 || crowd.iter().any(|thread| !thread.is_finished()) {
            let reply = world.ask("POST", &events_of(LOG), Some(&event(&at.to_string())));
            // Where the bombs hold all that may be held, that is said, and nothing is recorded.
            assert!([201, 503].contains(&reply.status), "{reply:?}");
            at += usize::from(reply.status == 201);
        }
    });
}
