//! Requests that nobody sends in good faith: each gets its answer or is let go, and others are served meanwhile.

use std::thread;

use indelible::Options;

use crate::world::{LOG, World, config, event, events_of, segment, wait_for};

/// The statuses of all answers to some bytes, and to a good request behind them that ends the connection: its 200 comes where the connection was still good.
fn answers(world: &World, bytes: &[u8]) -> Vec<u16> {
    let mut client = world.client();
    client.write(&[bytes, b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"].concat());
    std::iter::from_fn(|| client.reply().map(|reply| reply.status)).collect()
}

#[track_caller]
fn served(world: &World) {
    world.client().ask("GET", "/healthz", None, None).status(200);
}

#[test]
fn what_is_no_request_is_refused() {
    let world = World::with_log();
    let get = |head: &str| format!("GET /healthz HTTP/1.1\r\nhost: t\r\n{head}\r\n").into_bytes();
    let rows: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("in order", get(""), &[200, 200]),
        ("nothing", Vec::new(), &[200]),
        ("noise", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), &[400]),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        ("two hosts", get("host: u\r\n"), &[400]),
        ("an old version", b"GET /healthz HTTP/1.0\r\nhost: t\r\n\r\n".to_vec(), &[400]),
        ("no version", b"GET /healthz\r\n\r\n".to_vec(), &[400]),
        ("a proxy's form", b"GET http://t/healthz HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(), &[400]),
        ("an authority", b"CONNECT t:80 HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(), &[400]),
        ("an asterisk", b"OPTIONS * HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(), &[404, 200]),
        ("a header with a space", get("host : u\r\n"), &[400]),
        ("a folded header", get("x: a\r\n b\r\n"), &[400]),
        ("a nul", get("x: a\0b\r\n"), &[400]),
        ("a line feed in a path", b"GET /health\nz HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(), &[400]),
        ("too many headers", get(&"x: y\r\n".repeat(100)), &[431]),
        ("a long header", get(&format!("x: {}\r\n", "y".repeat(64 << 10))), &[431]),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "y".repeat(70 << 10)).into_bytes(), &[431]),
        ("an unknown method", b"BREW /healthz HTTP/1.1\r\nhost: t\r\n\r\n".to_vec(), &[405, 200]),
    ];
    for (what, bytes, expected) in rows {
        let got = answers(&world, &bytes);
        // One that is too large to be read whole may be answered by a reset, which takes the answer with it.
        let reset = got.is_empty() && bytes.len() > 32 << 10;
        assert!(got == expected || reset, "{what}: {got:?}");
        served(&world);
    }
}

#[test]
fn a_body_has_one_length() {
    let world = World::with_log();
    let post = |head: &str, body: &str| {
        let (path, token) = (events_of(LOG), &world.admin);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{head}\r\n\r\n"
        );
        answers(&world, format!("{head}{body}").as_bytes())
    };
    let hidden = format!("GET {}/smuggled HTTP/1.1\r\nhost: t\r\n\r\n", events_of(LOG));
    let chunked = format!("0\r\n\r\n{hidden}");
    let rows = [
        ("both", format!("content-length: {}\r\ntransfer-encoding: chunked", chunked.len()), chunked.clone()),
        (
            "both, the other way round",
            format!("transfer-encoding: chunked\r\ncontent-length: {}", chunked.len()),
            chunked.clone(),
        ),
        ("two lengths", format!("content-length: 2\r\ncontent-length: {}", hidden.len() + 2), format!("{{}}{hidden}")),
        ("a list of lengths", "content-length: 2, 2".to_owned(), format!("{{}}{hidden}")),
        ("a signed length", "content-length: +2".to_owned(), format!("{{}}{hidden}")),
        ("no number", "content-length: x".to_owned(), hidden.clone()),
        ("chunked is not the last", "transfer-encoding: chunked, identity".to_owned(), chunked.clone()),
        ("an unknown coding", "transfer-encoding: xchunked".to_owned(), chunked.clone()),
        ("a bad size of a chunk", "transfer-encoding: chunked".to_owned(), format!("x\r\n{hidden}")),
        (
            "an endless size of a chunk",
            "transfer-encoding: chunked".to_owned(),
            format!("fffffffffffffffff\r\n{hidden}"),
        ),
    ];
    for (what, head, body) in rows {
        let got = post(&head, &body);
        // One refusal at most, and never an answer to what was hidden in the body.
        assert!(got.len() <= 1 && got.iter().all(|status| (400..500).contains(status)), "{what}: {got:?}");
        served(&world);
    }
    // Lengths that agree are one length: what stands behind the body is a request of its own to everybody.
    assert_eq!(post("content-length: 2\r\ncontent-length: 2", &format!("{{}}{hidden}")), [422, 401]);
    assert_eq!(world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200).json()["size"], 1);
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    let mut small = config();
    (small.limits.body_bytes, small.limits.body_budget_bytes, small.limits.events) = (4096, 8192, 3);
    let world = World::with(small, Options::default());
    world.create(LOG);
    let (path, token) = (events_of(LOG), world.admin.clone());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n"
    );
    assert_eq!(answers(&world, format!("{head}content-length: 4097\r\n\r\n").as_bytes()), [413]);
    assert_eq!(answers(&world, format!("{head}content-length: 99999999999999999999\r\n\r\n").as_bytes()), [400]);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let sent = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}");
    assert_eq!(answers(&world, sent.as_bytes()), [413]);
    let lines = |count: usize| (0..count).map(|at| event(&at.to_string()).to_string()).collect::<Vec<_>>().join("\n");
    world.client().post_lines(&path, &token, &lines(4), &[]).problem(413, "too-large");
    world.client().post_lines(&path, &token, &lines(3), &[]).status(201);
    // Without a right to send it, nothing of it is read.
    let (_, reader) = world.key("reader", &["*"]);
    let head = head.replace(&token, &reader);
    assert_eq!(answers(&world, format!("{head}content-length: 4097\r\n\r\n").as_bytes()), [403]);
}

#[test]
fn bodies_that_are_not_what_they_say() {
    let world = World::with_log();
    let path = events_of(LOG);
    let post = |body: &[u8], more: &str| {
        let token = &world.admin;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n{more}content-length: {}\r\n\r\n",
            body.len()
        );
        answers(&world, &[head.as_bytes(), body].concat())
    };
    let json = "content-type: application/json\r\n";
    let nested = format!(
        r#"{{"action":"a","actor":{{"id":"x","type":"user"}},"details":{}1{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let rows: Vec<(&str, Vec<u8>, &str, u16)> = vec![
        ("no media type", b"{}".to_vec(), "", 415),
        ("a form", b"a=b".to_vec(), "content-type: application/x-www-form-urlencoded\r\n", 415),
        ("latin-1", b"{}".to_vec(), "content-type: application/json; charset=iso-8859-1\r\n", 415),
        ("no JSON", b"{".to_vec(), json, 422),
        ("no UTF-8", b"{\"action\":\"\xff\"}".to_vec(), json, 422),
        ("a lone surrogate", br#"{"action":"\ud800","actor":{"id":"x","type":"user"}}"#.to_vec(), json, 422),
        ("a key twice", br#"{"action":"a","action":"b","actor":{"id":"x","type":"user"}}"#.to_vec(), json, 422),
        (
            "a number that is another",
            br#"{"action":"a","actor":{"id":"x","type":"user"},"details":9007199254740993}"#.to_vec(),
            json,
            422,
        ),
        ("a deep nest", nested.into_bytes(), json, 422),
        ("an array", b"[]".to_vec(), json, 422),
        ("empty", Vec::new(), json, 422),
        ("UTF-16", b"\xfe\xff\0{\0}".to_vec(), json, 422),
    ];
    for (what, body, more, expected) in rows {
        assert_eq!(post(&body, more), [expected, 200], "{what}");
    }
    assert_eq!(world.ask("GET", "/v1/logs/t.example%2Fa/entries", None).status(200).json()["size"], 1);
}

#[test]
fn paths_that_try_to_lead_elsewhere() {
    let world = World::with_log();
    for (path, expected) in [
        ("/v1/logs/../api-keys", 404),
        ("/v1/logs/%2e%2e/entries", 404),
        ("/v1/logs/..%2f..%2fkeys/entries", 404),
        ("/v1/logs/t.example%2Fa/../../api-keys", 404),
        ("/v1/logs/t.example/a/entries", 404),
        ("/v1/logs/t.example%252Fa/entries", 404),
        ("/v1/logs/t.example%2Fa%00/entries", 404),
        ("/v1/logs/t.example%2Fa/entries/", 404),
        ("//v1/logs", 404),
        ("/v1//logs", 404),
        ("/V1/logs", 404),
        ("/v1/logs;x=y", 404),
        ("/v1/logs/%/entries", 400),
        ("/v1/logs/%ff/entries", 400),
        ("/v1/logs?after=%c0%af", 400),
        ("/v1/logs?limit=1&limit=2", 400),
        ("/logs/t.example%2Fa/tile/../checkpoint", 404),
        ("/logs/t.example%2Fa/tile/0/%2e%2e", 404),
        ("/logs/t.example%2Fa/tile/0/0", 404),
        ("/logs/t.example%2Fa/tile/64/000", 404),
        ("/logs/t.example%2Fa/tile/0/x999/x999/x999/x999/x999/x999/999", 404),
        ("/logs/t.example%2Fa/tile/0/000.p/0", 404),
        ("/logs/t.example%2Fa/tile/0/000.p/257", 404),
        ("/logs/t.example%2Fa/tile/entries/0/000", 404),
        ("/v1/logs/t.example%2Fa/entries/18446744073709551615", 404),
        ("/v1/logs/t.example%2Fa/entries/18446744073709551616", 400),
        ("/v1/logs/t.example%2Fa/entries?from=18446744073709551615", 200),
    ] {
        assert_eq!(world.ask("GET", path, None).status, expected, "{path}");
    }
}

#[test]
fn who_is_slow_is_let_go_and_others_are_served() {
    let mut quick = config();
    (quick.limits.head_ms, quick.limits.body_ms) = (300, 300);
    let world = World::with(quick, Options::default());
    world.create(LOG);
    let (path, token) = (events_of(LOG), &world.admin);
    let mut head = world.client();
    head.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\nx: ");
    let mut body = world.client();
    body.write(format!("POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{").as_bytes());
    let mut idle = world.client();
    idle.ask("GET", "/healthz", None, None).status(200);
    let silent = world.client();
    served(&world);
    assert_eq!(body.reply().unwrap().status, 408);
    // Each connection ends, at the server's word.
    for mut client in [head, idle, silent, body] {
        assert!(client.reply().is_none_or(|reply| reply.status == 408));
        assert!(client.reply().is_none());
    }
    served(&world);
}

#[test]
fn who_takes_nothing_of_an_answer_is_let_go() {
    let mut quick = config();
    (quick.limits.write_ms, quick.limits.connections, quick.limits.drain_ms) = (200, 2, 60_000);
    let mut world = World::with(quick, Options::default());
    world.create(LOG);
    world.record(LOG, 5000);
    let path = "/v1/logs/t.example%2Fa/entries?limit=1000";
    let mut deaf = world.client();
    // More answers than sockets buffer, asked for and never read.
    for _ in 0..200 {
        deaf.write(
            format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\n\r\n", world.admin).as_bytes(),
        );
    }
    served(&world);
    // The server waits for all connections when it stops: the deaf one is gone by its own limit.
    world.stop();
    assert!(world.told.lock().unwrap().is_empty(), "{:?}", world.told.lock().unwrap());
    drop(deaf);
}

#[test]
fn connections_are_limited_and_freed() {
    let mut few = config();
    (few.limits.connections, few.limits.connections_per_address) = (8, 4);
    let world = World::with(few, Options::default());
    let mut open: Vec<_> = (0..4).map(|_| world.client()).collect();
    for client in &mut open {
        client.ask("GET", "/healthz", None, None).status(200);
    }
    let mut fifth = world.client();
    fifth.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
    assert!(fifth.reply().is_none(), "closed at once");
    for client in &mut open {
        client.ask("GET", "/healthz", None, None).status(200);
    }
    drop(open);
    // The server hears of it soon.
    wait_for(|| {
        let mut client = world.client();
        client.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
        client.reply().filter(|reply| reply.status == 200)
    });
}

#[test]
fn a_crowd_of_hostile_clients_does_not_keep_others_out() {
    let world = World::with_log();
    let address = world.address;
    thread::scope(|scope| {
        let crowd: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    for round in 0..50 {
                        let mut client = crate::world::Client::connect(address);
                        match round % 4 {
                            0 => client.write(b"GET / HTTP/1.1\r\nhost: t\r\nx: "),
                            1 => client.write(&[b'x'; 40 << 10]),
                            2 => client.write(b"POST /v1/logs HTTP/1.1\r\nhost: t\r\nauthorization: Bearer idl_0_0\r\ncontent-length: 1000000\r\n\r\n"),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        let mut at = 0;
        while at < 50 || crowd.iter().any(|thread| !thread.is_finished()) {
            world.ask("POST", &events_of(LOG), Some(&event(&at.to_string()))).status(201);
            at += 1;
        }
    });
}

#[test]
fn a_body_that_is_longer_than_what_it_is_for_is_refused_unread() {
    let world = World::with_log();
    let filled = |text: &str, length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    let recorded = event("filled").to_string();
    let post = |path: &str, body: &str| world.client().post_event(path, &world.admin, body, &[]);
    // With white space an event may be so long; beyond that nobody looks whether it is one.
    post(&events_of(LOG), &filled(&recorded, 256_000)).status(201);
    let unread = |body: &str, length: usize| filled(body, length + 1);
    let record = format!("/v1/logs/{}/record/auth", segment(LOG));
    for path in [events_of(LOG), record] {
        let problem = post(&path, &unread("no event", 256_000)).problem(413, "too-large");
        assert!(problem["detail"].as_str().unwrap().contains("256000"), "{problem}");
    }
    let managing = ["/v1/logs", "/v1/api-keys", &format!("/v1/logs/{}/lock", segment(LOG))].map(str::to_owned);
    for path in managing {
        post(&path, &filled("{}", 64 << 10)).problem(400, "bad-request");
        post(&path, &unread("{", 64 << 10)).problem(413, "too-large");
    }
}
