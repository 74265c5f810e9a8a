//! Compressed answers, read by decoders.

use std::io::{BufRead, Read as _};

use serde_json::json;

use crate::world::{Client, LOG, Reply, World, event, events_of, segment, wait_for};

/// A request with further headers.
fn ask(world: &World, method: &str, path: &str, more: &[&str]) -> Reply {
    let mut client = world.client();
    let more: String = more.iter().map(|header| format!("{header}\r\n")).collect();
    let token = &world.admin;
    client.write(
        format!("{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n{more}\r\n").as_bytes(),
    );
    if method == "HEAD" { client.head() } else { client.reply() }.expect("an answer")
}

fn decoded(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    match reply.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_end(&mut out).unwrap(),
        "zstd" => zstd::Decoder::new(reply.body.as_slice()).unwrap().read_to_end(&mut out).unwrap(),
        other => panic!("`{other}`"),
    };
    out
}

#[test]
fn pages_receipts_and_bundles_are_compressed_for_who_takes_it() {
    let world = World::with_log();
    world.record(LOG, 200);
    let entries = format!("/v1/logs/{}/entries", segment(LOG));
    // With a checkpoint over everything, proofs stay as they are.
    world.ask("GET", &format!("{entries}/200/proof"), None).status(200);
    let proof = format!("{entries}/7/proof");
    for path in [entries.as_str(), &proof] {
        let plain = ask(&world, "GET", path, &[]).status(200);
        assert_eq!((plain.header("content-encoding"), plain.header("vary").contains("accept-encoding")), ("", true));
        for (accept, coding) in [("gzip", "gzip"), ("gzip, zstd;q=0.5", "gzip"), ("br, zstd", "zstd"), ("*", "zstd")] {
            let reply = ask(&world, "GET", path, &[&format!("accept-encoding: {accept}")]).status(200);
            assert_eq!(reply.header("content-encoding"), coding, "{path} {accept}");
            assert!(reply.body.len() < plain.body.len());
            assert_eq!(decoded(&reply), plain.body, "{path} {accept}");
            let head = ask(&world, "HEAD", path, &[&format!("accept-encoding: {accept}")]).status(200);
            assert_eq!(head.header("content-length"), reply.header("content-length"), "{path} {accept}");
        }
        for accept in ["gzip;q=0", "identity, gzip;q=0.9", "br"] {
            let reply = ask(&world, "GET", path, &[&format!("accept-encoding: {accept}")]).status(200);
            assert_eq!((reply.header("content-encoding"), &reply.body), ("", &plain.body), "{accept}");
        }
    }
    let lines: Vec<String> = (0..50).map(|at| event(&format!("more{at}")).to_string()).collect();
    let told = world.client().post_lines(&events_of(LOG), &world.admin, &lines.join("\n"), &["accept-encoding: gzip"]);
    let told = told.status(201);
    let told: serde_json::Value = serde_json::from_slice(&decoded(&told)).unwrap();
    assert_eq!(told["recorded"], 50);
    // What it took of the budget is given back.
    let given_back = || world.ask("GET", "/metrics", None).text().contains("\nindelible_body_kibibytes 0\n");
    wait_for(|| given_back().then_some(()));
}

#[test]
fn what_is_short_secret_or_for_another_site_goes_as_it_is() {
    let world = World::with_log();
    world.record(LOG, 100);
    let accept = "accept-encoding: gzip, zstd";
    for path in ["/healthz", "/openapi.json", "/nowhere", &format!("/v1/logs/{}/entries?limit=1&from=1", segment(LOG))]
    {
        assert_eq!(ask(&world, "GET", path, &[accept]).header("content-encoding"), "", "{path}");
    }
    let entries = format!("/v1/logs/{}/entries", segment(LOG));
    for (site, coding) in [("same-origin", "zstd"), ("none", "zstd"), ("cross-site", ""), ("same-site", "")] {
        let reply = ask(&world, "GET", &entries, &[accept, &format!("sec-fetch-site: {site}")]).status(200);
        assert_eq!(reply.header("content-encoding"), coding, "{site}");
    }
    // A long answer that holds a new token: its length says nothing of it.
    let names: Vec<String> = (0..100).map(|at| format!("t.example/some/long/name/of/a/log/{at}")).collect();
    let new = json!({ "logs": names, "name": "n", "role": "reader" }).to_string();
    let made = world.client().post_event("/v1/api-keys", &world.admin, &new, &[accept]).status(201);
    assert!(made.body.len() > 2000 && made.json()["token"].is_string());
    assert_eq!(made.header("content-encoding"), "");
}

#[test]
fn tags_differ_by_coding_and_each_is_known_again() {
    let world = World::with_log();
    let long = json!({ "action": "a", "actor": { "id": "x", "type": "user" }, "details": "long ".repeat(1000) });
    let place = world.ask("POST", &events_of(LOG), Some(&long)).status(201);
    let path = place.header("location");
    let mut tags = Vec::new();
    for accept in ["accept-encoding: identity", "accept-encoding: gzip", "accept-encoding: zstd"] {
        let reply = ask(&world, "GET", path, &[accept]).status(200);
        let tag = reply.header("etag").to_owned();
        let again = ask(&world, "GET", path, &[accept, &format!("if-none-match: \"other\", W/{tag}")]).status(304);
        assert_eq!((again.header("etag"), again.header("content-encoding")), (tag.as_str(), ""));
        tags.push(tag);
    }
    assert!(tags[1].ends_with("-gzip\"") && tags[2].ends_with("-zstd\""), "{tags:?}");
    tags.dedup();
    assert_eq!(tags.len(), 3);
    ask(&world, "GET", path, &["if-none-match: \"other\""]).status(200);
}

/// The bytes of a chunked body.
fn chunks(client: &mut Client) -> Vec<u8> {
    let (stream, mut out, mut line) = (client.stream(), Vec::new(), String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&chunk[..size]);
    }
}

#[test]
fn an_export_is_compressed_piece_by_piece_and_is_the_same() {
    let world = World::with_log();
    world.record(LOG, 2000);
    // A proof of the last entry has a checkpoint published that covers it.
    world.ask("GET", &format!("/v1/logs/{}/entries/2000/proof", segment(LOG)), None).status(200);
    let path = format!("/v1/logs/{}/export?to=2001", segment(LOG));
    let export = |more: &str| {
        let (mut client, token) = (world.client(), &world.admin);
        client
            .write(format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n{more}\r\n").as_bytes());
        let mut reply = client.head().unwrap().status(200);
        reply.body = chunks(&mut client);
        reply
    };
    let plain = export("");
    assert_eq!(plain.header("content-encoding"), "");
    for coding in ["gzip", "zstd"] {
        let reply = export(&format!("accept-encoding: {coding}\r\n"));
        assert_eq!(reply.header("content-encoding"), coding);
        assert!(reply.body.len() * 2 < plain.body.len(), "{} of {}", reply.body.len(), plain.body.len());
        assert_eq!(decoded(&reply), plain.body);
    }
    // A tail is sent entry by entry, as it is.
    let (mut client, token) = (world.client(), &world.admin);
    let tail = format!("/v1/logs/{}/tail?from=0", segment(LOG));
    client.write(
        format!("GET {tail} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\naccept-encoding: gzip\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(client.head().unwrap().status(200).header("content-encoding"), "");
}
