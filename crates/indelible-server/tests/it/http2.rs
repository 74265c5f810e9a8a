//! HTTP/2: the same answers as over HTTP/1.1, and what only its streams and frames can be abused for.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use hyper::{Request, http::request::Builder};
use indelible::Options;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::{
    lab::connected,
    tls::is_there,
    world::{LOG, Reply, World, config, event, events_of},
};

/// A server that speaks HTTP/2.
fn world() -> World {
    World::second()
}

fn with(change: impl FnOnce(&mut indelible_server::Config)) -> World {
    let mut config = config();
    config.plain_http = false;
    change(&mut config);
    World::with(config, Options::default())
}

#[test]
fn events_are_recorded_read_and_proven() {
    let world = world();
    world.create(LOG);
    world.record(LOG, 1500);
    let (path, token) = (events_of(LOG), world.admin.clone());
    world.request("POST", &path, Some(&token), "application/json", event("e0").to_string().as_bytes()).status(200);
    // More than the windows of both sides hold.
    let page = world.ask("GET", "/v1/logs/t.example%2Fa/entries?limit=1000", None).status(200);
    assert!(page.body.len() > 256 << 10, "{}", page.body.len());
    assert_eq!(page.json()["entries"].as_array().unwrap().len(), 1000);
    assert_eq!(page.header("content-length"), page.body.len().to_string());
    assert_eq!(page.header("connection"), "");
    let head = world.request("HEAD", "/v1/logs", Some(&token), "", b"").status(200);
    assert!(head.body.is_empty() && head.header("content-length") != "0");
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/1/proof", None).status(200);
    world.request("GET", "/v1/logs", Some("idl_0_0"), "", b"").problem(401, "unauthorised");
    // What is made while it is sent comes whole, too.
    world.ask("GET", "/v1/logs/t.example%2Fa/entries/1500/proof", None).status(200);
    let export = world.ask("GET", "/v1/logs/t.example%2Fa/export", None).status(200).text();
    assert_eq!(export.matches("\"door.open\"").count(), 1500);
    assert!(export.ends_with('\n') && !export.lines().last().unwrap().contains("door.open"));
    let large = vec![b' '; (8 << 20) + 1];
    world.request("POST", &path, Some(&token), "application/json", &large).problem(413, "too-large");
    world.ask("GET", "/v1/logs", None).status(200);
}

#[test]
fn curl_agrees_on_the_version() {
    if !is_there("curl", "--version") {
        return;
    }
    let world = world();
    let version = |argument: &str| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_version}",
            ])
            .arg(argument)
            .arg("--cacert")
            .arg(world.certificate.as_ref().unwrap())
            .arg(format!("https://localhost:{}/healthz", world.address.port()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let second = version("--http2");
    if second.contains("does not support") {
        println!("SKIPPED this curl speaks no HTTP/2");
        return;
    }
    assert_eq!((second.as_str(), version("--http1.1").as_str()), ("2", "1.1"));
}

#[test]
fn without_tls_it_is_not_spoken() {
    let world = World::new();
    let mut client = world.client();
    client.write(PREFACE);
    assert!(client.reply().is_none_or(|reply| reply.status == 400));
    // Nor is a connection turned into one.
    let mut client = world.client();
    client.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 200);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as HPACK writes them without its tables.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut out = Vec::new();
        if text.len() < 127 {
            out.push(u8::try_from(text.len()).unwrap());
        } else {
            out.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            out.push(u8::try_from(rest).unwrap());
        }
        out.extend(text.bytes());
        out
    };
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/healthz")];

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// An answer with this status.
    Status(u16),
    /// The stream was reset.
    Reset,
    /// The connection was ended, with a word or without.
    Gone,
}

/// A connection whose frames are written by hand.
struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    fn connect(world: &World, settings: &[u8]) -> Self {
        let mut raw = Self(connected(world, None, &["h2"]));
        raw.write(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        raw
    }

    /// Whether it could be written.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).is_ok()
    }

    /// The next frame: kind, flags, stream, payload; `None` at the end.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload))
    }

    /// What becomes of a stream.
    fn end_of(&mut self, wanted: u32) -> End {
        while let Some((kind, _, stream, payload)) = self.next() {
            match kind {
                HEADERS if stream == wanted => return End::Status(status(&payload)),
                RST_STREAM if stream == wanted => return End::Reset,
                // One that was good to the end is no trouble.
                GOAWAY if payload[4..8] != [0; 4] => return End::Gone,
                _ => {}
            }
        }
        End::Gone
    }
}

/// `:status` of a head that begins with it: of the static table, or written in Huffman's digits.
fn status(block: &[u8]) -> u16 {
    // A change of the table's size may stand before it.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        _ if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => {
            let length = usize::from(block[1] & 0x7f);
            let bits: String = block[2..2 + length].iter().map(|byte| format!("{byte:08b}")).collect();
            let (mut rest, mut status) = (bits.as_str(), 0);
            for _ in 0..3 {
                let short = u16::from_str_radix(&rest[..5], 2).unwrap();
                let (digit, long) =
                    if short < 3 { (short, 5) } else { (u16::from_str_radix(&rest[..6], 2).unwrap() - 22, 6) };
                status = status * 10 + digit;
                rest = &rest[long..];
            }
            status
        }
    }
}

fn served(world: &World) {
    world.request("GET", "/healthz", None, "", b"").status(200);
}

#[test]
fn a_head_has_one_meaning() {
    let world = world();
    let get = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let with = |name: &str, value: &'static str| {
        GET.into_iter().map(|(known, old)| (known, if known == name { value } else { old })).collect::<Vec<_>>()
    };
    let without = |name: &str| GET.into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let (ok, bad) = (End::Status(200), End::Status(400));
    let rows = [
        ("in order", get(&[]), vec![ok]),
        ("the same host", get(&[("host", "LOCALHOST")]), vec![End::Status(200)]),
        ("another host", get(&[("host", "elsewhere")]), vec![bad]),
        ("two hosts", get(&[("host", "localhost"), ("host", "localhost")]), vec![End::Status(400)]),
        ("a user in the authority", with(":authority", "a@localhost"), vec![End::Status(400), End::Reset]),
        ("plain http", with(":scheme", "http"), vec![End::Status(400)]),
        ("no authority", without(":authority"), vec![End::Status(400), End::Reset]),
        (
            "a host alone",
            [without(":authority"), vec![("host", "localhost")]].concat(),
            vec![End::Status(400), End::Reset],
        ),
        ("no method", without(":method"), vec![End::Reset]),
        ("no path", without(":path"), vec![End::Reset, End::Status(400)]),
        ("no scheme", without(":scheme"), vec![End::Reset, End::Status(400)]),
        ("an empty path", with(":path", ""), vec![End::Reset, End::Status(400)]),
        ("a path that is a URL", with(":path", "http://t/healthz"), vec![End::Reset, End::Status(400)]),
        ("another path", with(":path", "/nothing"), vec![End::Status(404)]),
        ("another method", with(":method", "BREW"), vec![End::Status(405)]),
        ("a tunnel", vec![(":method", "CONNECT"), (":authority", "t:80")], vec![End::Status(400), End::Reset]),
        ("two paths", get(&[(":path", "/healthz")]), vec![End::Reset]),
        ("an unknown pseudo-header", get(&[(":query", "a")]), vec![End::Reset, End::Gone]),
        ("a pseudo-header behind others", [vec![("x", "y")], get(&[])].concat(), vec![End::Reset]),
        ("capitals", get(&[("X-Y", "z")]), vec![End::Reset, End::Gone]),
        ("what is for connections", get(&[("connection", "close")]), vec![End::Reset]),
        ("chunks", get(&[("transfer-encoding", "chunked")]), vec![End::Reset]),
        ("an upgrade", get(&[("upgrade", "websocket")]), vec![End::Reset]),
        ("te", get(&[("te", "gzip")]), vec![End::Reset]),
        ("a length without a body", get(&[("content-length", "5")]), vec![End::Reset]),
        ("two lengths", get(&[("content-length", "0"), ("content-length", "0")]), vec![End::Reset, End::Status(400)]),
        ("no number", get(&[("content-length", "+0")]), vec![End::Reset, End::Status(400)]),
        ("a line feed in a value", get(&[("x", "a\r\nhost: b")]), vec![End::Reset, End::Gone]),
        ("a nul in a value", get(&[("x", "a\0")]), vec![End::Reset, End::Gone]),
        ("an empty name", get(&[("", "a")]), vec![End::Reset, End::Gone]),
    ];
    for (what, headers, expected) in rows {
        let mut raw = Raw::connect(&world, &[]);
        raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&headers)));
        let got = raw.end_of(1);
        assert!(expected.contains(&got), "{what}: {got:?}");
        served(&world);
    }
}

#[test]
fn frames_that_nobody_sends_end_the_connection() {
    let world = world();
    let get = block(&GET);
    let rows = [
        ("a body without a head", frame(DATA, END_STREAM, 1, b"x")),
        ("an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &get)),
        ("stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, &get)),
        ("a frame that is too long", frame(DATA, 0, 1, &vec![0; (16 << 10) + 1])),
        (
            "a head that cannot be read",
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x80, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &get)),
        ("a ping of another length", frame(PING, 0, 0, b"1234567")),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window without end", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        (
            "something between the parts of a head",
            [frame(HEADERS, END_STREAM, 1, &get), frame(PING, 0, 0, b"12345678")].concat(),
        ),
    ];
    for (what, bytes) in rows {
        let mut raw = Raw::connect(&world, &[]);
        raw.write(&bytes);
        assert_eq!(raw.end_of(1), End::Gone, "{what}");
        served(&world);
    }
    let mut raw = Raw(connected(&world, None, &["h2"]));
    raw.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
    assert_eq!(raw.end_of(1), End::Gone, "another version than was agreed on");
}

#[test]
fn heads_are_limited() {
    let world = world();
    let many: Vec<_> = GET.into_iter().chain(vec![("x", "y"); 100]).collect();
    let value = "y".repeat(15 << 10);
    let large: Vec<_> = GET.into_iter().chain(vec![("x", value.as_str()); 3]).collect();
    for (what, headers) in [("many", many), ("large", large)] {
        let mut raw = Raw::connect(&world, &[]);
        let block = block(&headers);
        let parts: Vec<_> = block.chunks(16 << 10).collect();
        for (at, part) in parts.iter().enumerate() {
            let end = if at + 1 == parts.len() { END_HEADERS } else { 0 };
            let (kind, flags) = if at == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
            raw.write(&frame(kind, flags | end, 1, part));
        }
        assert_eq!(raw.end_of(1), End::Status(431), "{what}");
    }
    // A head without end (CVE-2024-27316): the connection ends long before the client does.
    let mut raw = Raw::connect(&world, &[]);
    raw.write(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
    let part = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(1000))]));
    let ended = (0..100_000).find(|_| !raw.write(&part));
    assert!(ended.is_some_and(|at| at < 20_000), "{ended:?}");
    served(&world);
}

#[test]
fn requests_that_are_taken_back_end_the_connection() {
    let world = world();
    world.create(LOG);
    // All at once (CVE-2023-44487).
    let mut raw = Raw::connect(&world, &[]);
    let get = block(&GET);
    let pair = |at: u32| {
        let stream = 2 * at + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &get), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())]
            .concat()
    };
    let flood: Vec<u8> = (0..50_000).flat_map(pair).collect();
    let whole = raw.write(&flood);
    assert!(!whole || raw.end_of(u32::MAX) == End::Gone);
    served(&world);
    // One by one, each when it is known to be looked at: its body is waited for.
    let mut raw = Raw::connect(&world, &[]);
    let (path, token) = (events_of(LOG), format!("Bearer {}", world.admin));
    let post = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", &path),
        ("authorization", &token),
        ("content-type", "application/json"),
    ]);
    let ended = (0..2000u32).find(|at| {
        let stream = 2 * at + 1;
        let bytes =
            [frame(HEADERS, END_HEADERS, stream, &post), frame(DATA, 0, stream, b"{"), frame(PING, 0, 0, b"12345678")];
        if !raw.write(&bytes.concat()) {
            return true;
        }
        // The answer to the ping: everything before it was read.
        loop {
            match raw.next() {
                None => return true,
                Some((PING, 1, _, _)) => break,
                Some(_) => {}
            }
        }
        !raw.write(&frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()))
    });
    assert!(ended.is_some_and(|at| at > 50), "{ended:?}");
    let metrics = world.ask("GET", "/metrics", None).text();
    assert!(metrics.contains("indelible_connections_abused_total 1"), "{metrics}");
}

#[test]
fn streams_are_limited() {
    let world = with(|config| config.limits.requests_per_connection = 3);
    world.create(LOG);
    let mut raw = Raw::connect(&world, &[]);
    let (path, token) = (events_of(LOG), format!("Bearer {}", world.admin));
    let post = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", &path),
        ("authorization", &token),
        ("content-type", "application/json"),
    ]);
    for stream in [1, 3, 5, 7] {
        raw.write(&frame(HEADERS, END_HEADERS, stream, &post));
    }
    let mut said = None;
    loop {
        let (kind, _, stream, payload) = raw.next().expect("a connection");
        if kind == SETTINGS && !payload.is_empty() {
            said = payload.chunks(6).find(|setting| setting[..2] == [0, 3]).map(|setting| setting[5]);
        }
        if kind == RST_STREAM {
            // REFUSED_STREAM: it may be sent again.
            assert_eq!((stream, payload.as_slice(), said), (7, &[0, 0, 0, 7][..], Some(3)));
            break;
        }
    }
    // The others go on.
    raw.write(&frame(DATA, END_STREAM, 3, event("a").to_string().as_bytes()));
    assert_eq!(raw.end_of(3), End::Status(201));
}

#[test]
fn who_is_slow_or_silent_or_deaf_is_let_go() {
    let mut world = with(|config| {
        (config.limits.head_ms, config.limits.body_ms, config.limits.write_ms) = (300, 300, 300);
        config.limits.drain_ms = 60_000;
    });
    world.create(LOG);
    world.record(LOG, 300);
    let silent = Raw::connect(&world, &[]);
    let mut half = Raw::connect(&world, &[]);
    half.write(&frame(HEADERS, END_STREAM, 1, &block(&GET)));
    let mut idle = Raw::connect(&world, &[]);
    idle.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GET)));
    assert_eq!(idle.end_of(1), End::Status(200));
    let never = Raw(connected(&world, None, &["h2"]));
    // It takes nothing: its window is 0 from the beginning, and it answers everything else.
    let mut deaf = Raw::connect(&world, &[0, 4, 0, 0, 0, 0]);
    let token = format!("Bearer {}", world.admin);
    let page = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/v1/logs/t.example%2Fa/entries?limit=1000"),
        ("authorization", &token),
    ];
    deaf.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&page)));
    assert_eq!(deaf.end_of(1), End::Status(200));
    for (what, mut raw) in [("silent", silent), ("half", half), ("idle", idle), ("never", never), ("deaf", deaf)] {
        let mut at = 0;
        while raw.next().is_some() {
            at += 1;
            assert!(at < 100, "{what}");
        }
    }
    let (path, token) = (events_of(LOG), format!("Bearer {}", world.admin));
    let mut slow = Raw::connect(&world, &[]);
    let post = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path.as_str()),
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
    ];
    slow.write(&[frame(HEADERS, END_HEADERS, 1, &block(&post)), frame(DATA, 0, 1, b"{")].concat());
    assert_eq!(slow.end_of(1), End::Status(408));
    world.stop();
    assert!(world.told.lock().unwrap().is_empty(), "{:?}", world.told.lock().unwrap());
}

/// One request over HTTP/2, on a connection of its own.
pub(crate) fn ask(
    world: &World,
    method: &str,
    path: &str,
    token: Option<&str>,
    media_type: &str,
    body: &[u8],
) -> Reply {
    let (method, media_type, body) = (method.to_owned(), media_type.to_owned(), body.to_vec());
    let authorization = token.map(|token| format!("Bearer {token}"));
    let request = || {
        let mut request: Builder = Request::builder().method(method.as_str()).uri(format!("https://localhost{path}"));
        if let Some(authorization) = &authorization {
            request = request.header("authorization", authorization);
        }
        if !media_type.is_empty() {
            request = request.header("content-type", &media_type);
        }
        request.body(()).unwrap()
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(exchange(
        world,
        request(),
        body,
    ))
}

async fn exchange(world: &World, request: Request<()>, body: Vec<u8>) -> Reply {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(crate::lab::client_config(world, None, &["h2"]));
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (response, mut sending) = sender.send_request(request, body.is_empty()).unwrap();
    // The body goes out beside the answer, which may come before it has gone.
    let sending = tokio::spawn(async move {
        let mut rest = bytes::Bytes::from(body);
        while !rest.is_empty() {
            sending.reserve_capacity(rest.len());
            let capacity = std::future::poll_fn(|context| sending.poll_capacity(context)).await;
            let Some(Ok(capacity)) = capacity else { return };
            let part = rest.split_to(capacity.min(rest.len()));
            if sending.send_data(part, rest.is_empty()).is_err() {
                return;
            }
        }
    });
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers: BTreeMap<_, _> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let (mut incoming, mut body) = (response.into_body(), Vec::new());
    // A tail has no end to wait for.
    let is_tail = headers.get("content-type").is_some_and(|media_type| media_type == "text/event-stream");
    while !is_tail && let Some(data) = incoming.data().await {
        let data = data.unwrap();
        incoming.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    sending.abort();
    driver.abort();
    Reply { status, headers, body }
}

#[test]
fn idempotency_and_lines_are_as_over_the_first_version() {
    let world = world();
    world.create(LOG);
    let lines: Vec<String> = (0..3).map(|at| event(&at.to_string()).to_string()).collect();
    let lines = [lines.join("\n"), json!({ "action": 7 }).to_string()].join("\n");
    let (path, token) = (events_of(LOG), world.admin.clone());
    let reply = world.request("POST", &path, Some(&token), "application/x-ndjson", lines.as_bytes()).status(207).json();
    assert_eq!((&reply["recorded"], &reply["refused"]), (&json!(3), &json!(1)));
}
