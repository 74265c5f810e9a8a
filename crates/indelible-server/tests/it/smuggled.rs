//! Requests with something in them that one reader takes for the body and another for the next request, and floods of what is small: refused, and others are served.

use serde_json::json;

use crate::world::{LOG, World, event, events_of};

/// The statuses of all answers to some bytes, until the server or the bytes end.
fn answers(world: &World, bytes: &[u8]) -> Vec<u16> {
    let mut client = world.client();
    client.write(&[bytes, b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"].concat());
    std::iter::from_fn(|| client.reply().map(|reply| reply.status)).collect()
}

/// The head of an event's request, without what says how long it is.
fn post(world: &World) -> String {
    let (path, token) = (events_of(LOG), &world.admin);
    format!("POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n")
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn size(world: &World) -> u64 {
    world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200).json()["size"].as_u64().unwrap()
}

#[test]
fn a_good_event_with_two_framings_is_refused_and_not_recorded() {
    let world = World::with_log();
    let (head, body) = (post(&world), chunked(&event("smuggled").to_string()));
    let hidden = "GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n";
    let (length, inner) = (body.len(), body.len() + hidden.len());
    for (what, framing) in [
        ("length first", format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")),
        ("coding first", format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n")),
        ("a length that hides", format!("content-length: {inner}\r\ntransfer-encoding: chunked\r\n")),
        ("a length of nothing", "content-length: 0\r\ntransfer-encoding: chunked\r\n".to_owned()),
        ("other headers between", format!("Content-Length:{length}\r\nx: y\r\nTRANSFER-ENCODING: chunked\r\n")),
        (
            "a length in two",
            format!("content-length: {length}\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        ),
    ] {
        let sent = format!("{head}{framing}\r\n{body}{hidden}");
        assert_eq!(answers(&world, sent.as_bytes()), [400], "{what}");
        // So it is behind a request that was good.
        let behind = format!("GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n{sent}");
        let got = answers(&world, behind.as_bytes());
        assert!(got == [200, 400] || got == [400], "{what}: {got:?}");
        assert_eq!(size(&world), 1, "{what}");
    }
    // Each framing alone is what bodies have.
    let sent = format!("{head}transfer-encoding: chunked\r\n\r\n{body}");
    assert_eq!(answers(&world, sent.as_bytes()), [201, 200]);
    assert_eq!(size(&world), 2);
}

#[test]
fn codings_that_only_look_like_chunked_are_refused() {
    let world = World::with_log();
    let (head, body) = (post(&world), chunked(&event("x").to_string()));
    for coding in [
        "transfer-encoding : chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked;",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding:\r\n chunked",
        " transfer-encoding: chunked",
        "transfer-encoding\t: chunked",
        "transfer_encoding: chunked",
        "content-length: 0x10",
        "content-length: 1_0",
        "content-length: 5, 6",
        "content-length: ",
    ] {
        let got = answers(&world, format!("{head}{coding}\r\n\r\n{body}").as_bytes());
        // What is no framing at all leaves a request without a body; what stands behind it is no request.
        assert!(got.first().is_none_or(|status| (400..500).contains(status)), "{coding}: {got:?}");
        assert!(got.iter().all(|status| *status != 201), "{coding}: {got:?}");
    }
    let old = head.replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(answers(&world, format!("{old}transfer-encoding: chunked\r\n\r\n{body}").as_bytes()), [400]);
    assert_eq!(size(&world), 1);
}

#[test]
fn chunks_and_trailers_without_end_are_refused() {
    let world = World::with_log();
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", post(&world));
    let body = event("x").to_string();
    let rows = [
        ("a long extension", format!("{:x};{}\r\n{body}\r\n0\r\n\r\n", body.len(), "x".repeat(64 << 10))),
        (
            "many extensions",
            body.chars().map(|c| format!("1;{}\r\n{c}\r\n", "x".repeat(1000))).collect::<String>() + "0\r\n\r\n",
        ),
        ("a size with a sign", format!("+{}", chunked(&body))),
        ("a size with a space in it", format!("{:x} 0\r\n{body}\r\n0\r\n\r\n", body.len())),
        ("a chunk that is longer than it says", format!("2\r\n{body}\r\n0\r\n\r\n")),
        ("many trailers", format!("{:x}\r\n{body}\r\n0\r\n{}\r\n", body.len(), "x: y\r\n".repeat(5000))),
        ("a long trailer", format!("{:x}\r\n{body}\r\n0\r\nx: {}\r\n\r\n", body.len(), "y".repeat(64 << 10))),
    ];
    for (what, sent) in rows {
        let got = answers(&world, format!("{head}{sent}").as_bytes());
        assert!(got.len() <= 1 && got.iter().all(|status| (400..500).contains(status)), "{what}: {got:?}");
        world.client().ask("GET", "/healthz", None, None).status(200);
    }
    assert_eq!(size(&world), 1);
}

#[test]
fn nothing_is_asked_for_that_will_be_refused_and_nothing_is_upgraded() {
    let world = World::with_log();
    let waiting = |head: &str| {
        let mut client = world.client();
        client.write(format!("{head}expect: 100-continue\r\ncontent-length: 999999999999\r\n\r\n").as_bytes());
        client.reply().unwrap().status
    };
    // The first thing that is said is the refusal, not that the body may come.
    assert_eq!(waiting(&post(&world)), 413);
    assert_eq!(waiting(&post(&world).replace(&world.admin, "idl_0000000000000000_x")), 401);
    for upgrade in ["h2c", "websocket", "TLS/1.3"] {
        let sent = format!("GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: {upgrade}\r\n\r\n");
        assert_eq!(answers(&world, sent.as_bytes()), [200, 200], "{upgrade}");
    }
    let got = answers(&world, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(got.iter().all(|status| *status == 400) && got.len() <= 1, "{got:?}");
}

#[test]
fn many_small_requests_are_answered_in_order_and_in_pieces_too() {
    let world = World::with_log();
    let one = "GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n";
    assert_eq!(answers(&world, one.repeat(500).as_bytes()), vec![200; 501]);
    // A request that comes byte by byte is one.
    let mut client = world.client();
    let body = event("in pieces").to_string();
    for byte in format!("{}content-length: {}\r\n\r\n{body}", post(&world), body.len()).as_bytes() {
        client.write(std::slice::from_ref(byte));
    }
    assert_eq!(client.reply().unwrap().status, 201);
}

#[test]
fn shortcuts_take_no_bombs_and_nothing_that_is_too_large() {
    let world = World::with_log();
    let path = "/v1/logs/t.example%2Fa/record/auth";
    let send = |coding: &str, body: &[u8]| {
        let (mut client, token) = (world.client(), &world.admin);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write(&[head.as_bytes(), body].concat());
        client.reply().unwrap()
    };
    let good = json!({ "actor": { "id": "x", "type": "user" }, "outcome": "success" }).to_string();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 19).unwrap();
    send("zstd", &zstd(&vec![b' '; 64 << 20])).problem(413, "too-large");
    send("zstd", good.as_bytes()).problem(400, "bad-request");
    send("identity", format!("{}{good}", " ".repeat(300_000)).as_bytes()).problem(413, "too-large");
    let nested = good.replace(
        "\"success\"",
        &format!("\"success\",\"details\":{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)),
    );
    send("identity", nested.as_bytes()).problem(422, "event-refused");
    let long = good.replace("\"success\"", &format!("\"success\",\"reason\":\"{}\"", "x".repeat(70_000)));
    send("identity", long.as_bytes()).problem(422, "event-refused");
    send("identity", b"\xff\xfe{}").problem(422, "event-refused");
    send("zstd", &zstd(good.as_bytes())).status(201);
    assert_eq!(size(&world), 2);
}

#[test]
fn what_stands_behind_trailers_with_a_bare_line_feed_is_not_read() {
    let world = World::with_log();
    let head = post(&world);
    let lines = |id: &str| {
        let body = event(id).to_string();
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n", body.len())
    };
    let whole = |id: &str| format!("{}\r\n", lines(id));
    assert_eq!(answers(&world, format!("{}a: b\r\n\r\n{}", lines("1"), whole("2")).as_bytes()), [201, 201, 200]);
    // For a reader that ends lines at line feeds alone there is another request in these trailers.
    let hidden = "a: b\n\nPOST / HTTP/1.1\ncontent-length: 99999999999\n\nx\r\n\r\n";
    let got = answers(&world, format!("{}{hidden}{}", lines("3"), whole("4")).as_bytes());
    assert!(got == [201, 400] || got == [400], "{got:?}");
    world.ask("GET", &format!("{}/4", events_of(LOG)), None).status(404);
    for framing in
        ["transfer-encoding: chunked, chunked\r\n", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"]
    {
        let body = event("5").to_string();
        let sent = format!("{head}{framing}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        assert_eq!(answers(&world, sent.as_bytes()), [400], "{framing}");
    }
    let at = "GET /healthz HTTP/1.1\r\nhost: a@t\r\n\r\n";
    assert_eq!(answers(&world, at.as_bytes())[0], 400);
}
