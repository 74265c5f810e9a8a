//! Following a log, and exporting it: answers that are made while they are sent.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::Duration,
};

use indelible::{Options, VerifyingKey};
use indelible_core::{
    checkpoint::Checkpoint,
    tree::{Frontier, Hash, TreeSize, leaf_hash},
};
use serde_json::{Value, json};

use crate::world::{LOG, Reply, World, config, event, events_of, segment, wait_for};

fn path(what: &str) -> String {
    format!("/v1/logs/{}/{what}", segment(LOG))
}

/// An answer in chunks, as it comes.
struct Chunked {
    stream: BufReader<TcpStream>,
    left: Vec<u8>,
    headers: String,
}

/// How a stream went on.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    End,
    BrokenOff,
}

impl Chunked {
    /// Asks for a stream; whoever is refused gets the answer.
    fn open(world: &World, path: &str, token: &str, more: &str) -> Result<Self, u16> {
        let mut tcp = TcpStream::connect(world.address).unwrap();
        // Only a test that would otherwise hang meets it.
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n{more}\r\n");
        tcp.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(tcp);
        let (mut headers, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).unwrap() > 2 {
            headers.push_str(&line.to_ascii_lowercase());
            line.clear();
        }
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            return Err(status);
        }
        assert!(headers.contains("transfer-encoding: chunked"), "{headers}");
        Ok(Self { stream, left: Vec::new(), headers })
    }

    fn part(&mut self) -> Part {
        let mut line = String::new();
        if self.stream.read_line(&mut line).unwrap_or(0) == 0 {
            return Part::BrokenOff;
        }
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut bytes = vec![0; length + 2];
        if self.stream.read_exact(&mut bytes).is_err() {
            return Part::BrokenOff;
        }
        bytes.truncate(length);
        if length == 0 { Part::End } else { Part::Bytes(bytes) }
    }

    /// The next block of a stream of events, without the empty line behind it; `None` at the end.
    fn event(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.left.windows(2).position(|two| two == b"\n\n") {
                let rest = self.left.split_off(at + 2);
                let block = std::mem::replace(&mut self.left, rest);
                return Some(String::from_utf8(block).unwrap().trim_end().to_owned());
            }
            match self.part() {
                Part::Bytes(bytes) => self.left.extend(bytes),
                Part::End | Part::BrokenOff => return None,
            }
        }
    }

    /// The next entry of a tail: its id and what it holds.
    fn entry(&mut self) -> Option<(u64, Value)> {
        loop {
            let block = self.event()?;
            let Some(rest) = block.strip_prefix("id: ") else { continue };
            let (id, data) = rest.split_once("\ndata: ").unwrap();
            return Some((id.parse().unwrap(), serde_json::from_str(data).unwrap()));
        }
    }

    /// All that comes, and how it ends.
    fn rest(mut self) -> (Vec<u8>, Part) {
        let mut all = std::mem::take(&mut self.left);
        loop {
            match self.part() {
                Part::Bytes(bytes) => all.extend(bytes),
                end => return (all, end),
            }
        }
    }
}

#[test]
fn whoever_follows_a_log_sees_each_entry_once_and_goes_on_where_it_was_cut_off() {
    let world = World::with_log();
    world.record(LOG, 3);
    let (_, reader) = world.key("reader", &[LOG]);
    let mut tail = Chunked::open(&world, &path("tail?from=0"), &reader, "").unwrap();
    assert!(tail.headers.contains("content-type: text/event-stream"), "{}", tail.headers);
    assert_eq!(tail.event().unwrap(), "retry: 2000");
    for index in 0..4 {
        let (id, data) = tail.entry().unwrap();
        assert_eq!((id, &data["index"]), (index, &json!(index)));
        let entry = world.ask("GET", &path(&format!("entries/{index}")), None).status(200).json();
        assert_eq!(data, entry);
    }
    // What is recorded from now on comes, and nobody asks for it.
    let mut now = Chunked::open(&world, &path("tail"), &reader, "").unwrap();
    assert_eq!(now.event().unwrap(), "retry: 2000");
    world.ask("POST", &events_of(LOG), Some(&event("later"))).status(201);
    world.record(LOG, 4);
    for tail in [&mut tail, &mut now] {
        let (id, data) = tail.entry().unwrap();
        assert_eq!((id, &data["entry"]["event"]["id"]), (4, &json!("later")));
    }
    drop(tail);
    world.ask("POST", &events_of(LOG), Some(&event("meanwhile"))).status(201);
    let last = "last-event-id: 4\r\n";
    let mut again = Chunked::open(&world, &path("tail?from=1"), &reader, last).unwrap();
    let seen: Vec<u64> = (0..2).map(|_| again.entry().unwrap().0).collect();
    assert_eq!(seen, [5, 6]);
}

#[test]
fn many_entries_come_to_many_readers_in_order() {
    let world = World::with_log();
    let (_, reader) = world.key("reader", &[LOG]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut tail = Chunked::open(&world, &path("tail?from=0"), &reader, "").unwrap();
                for index in 0..601 {
                    assert_eq!(tail.entry().unwrap().0, index);
                }
            });
        }
        for round in 0..30 {
            let lines: Vec<_> = (0..20).map(|at| event(&format!("{round}-{at}")).to_string()).collect();
            world.client().post_lines(&events_of(LOG), &world.admin, &lines.join("\n"), &[]).status(201);
        }
    });
}

#[test]
fn a_tail_that_has_nothing_to_say_says_so_and_the_servers_own_log_is_followed_too() {
    let mut quick = config();
    quick.limits.heartbeat_ms = 50;
    let world = World::with(quick, Options::default());
    world.create(LOG);
    let mut tail = Chunked::open(&world, &path("tail"), &world.admin, "").unwrap();
    assert_eq!(tail.event().unwrap(), "retry: 2000");
    assert_eq!(tail.event().unwrap(), ": nothing new");
    assert_eq!(tail.event().unwrap(), ": nothing new");
    let own = format!("/v1/logs/{}/tail", segment("t.example/_server"));
    let mut own = Chunked::open(&world, &own, &world.admin, "").unwrap();
    assert_eq!(own.event().unwrap(), "retry: 2000");
    world.key("reader", &[LOG]);
    let (_, made) = own.entry().unwrap();
    assert_eq!(made["entry"]["event"]["action"], "api_key.create");
}

#[test]
fn a_tail_ends_with_its_key_and_with_the_server() {
    let mut world = World::with_log();
    let (id, reader) = world.key("reader", &[LOG]);
    let end = |tail: &mut Chunked| {
        while let Some(block) = tail.event() {
            if let Some(data) = block.strip_prefix("event: end\ndata: ") {
                let reason = serde_json::from_str::<Value>(data).unwrap()["reason"].as_str().unwrap().to_owned();
                assert_eq!(tail.part(), Part::End);
                return reason;
            }
        }
        "nothing was said".to_owned()
    };
    let mut revoked = Chunked::open(&world, &path("tail?from=0"), &reader, "").unwrap();
    let mut goes_on = Chunked::open(&world, &path("tail?from=0"), &world.admin, "").unwrap();
    revoked.entry().unwrap();
    world.ask("DELETE", &format!("/v1/api-keys/{id}"), None).status(200);
    world.ask("POST", &events_of(LOG), Some(&event("behind"))).status(201);
    assert_eq!(end(&mut revoked), "key-ended");
    assert_eq!((0..2).map(|_| goes_on.entry().unwrap().0).collect::<Vec<_>>(), [0, 1]);
    // A stream does not hold the server up.
    world.stop();
    assert_eq!(end(&mut goes_on), "stopping");
    assert!(world.told.lock().unwrap().is_empty(), "{:?}", world.told.lock().unwrap());
    world.start();
    let own = format!("/v1/logs/{}/entries?limit=1000", segment("t.example/_server"));
    let text = world.ask("GET", &own, None).status(200).text();
    assert!(text.contains(r#""requests":{"tail":"#), "following is reading: {text}");
}

#[test]
fn streams_have_limits_and_give_their_places_back() {
    let mut few = config();
    (few.limits.streams, few.limits.streams_per_key) = (3, 2);
    // A reader who has gone is found by writing.
    few.limits.heartbeat_ms = 20;
    let world = World::with(few, Options::default());
    world.create(LOG);
    let (_, one) = world.key("reader", &[LOG]);
    let (_, two) = world.key("reader", &[LOG]);
    let open = |token: &str| Chunked::open(&world, &path("tail"), token, "");
    let held = [open(&one).unwrap(), open(&one).unwrap()];
    assert_eq!(open(&one).err(), Some(429));
    let third = open(&two).unwrap();
    assert_eq!(open(&two).err(), Some(503));
    assert_eq!(Chunked::open(&world, &path("export"), &two, "").err(), Some(503));
    assert!(world.ask("GET", "/metrics", None).text().contains("\nindelible_streams 3\n"));
    drop(held);
    // The server hears of it when it looks. To ask for a stream again and again would use up the key's rate.
    let given_back = || world.ask("GET", "/metrics", None).text().contains("\nindelible_streams 1\n");
    wait_for(|| given_back().then_some(()));
    drop([open(&one).unwrap(), open(&one).unwrap()]);
    drop(third);
}

#[test]
fn whoever_takes_nothing_of_a_stream_is_let_go() {
    let mut quick = config();
    quick.limits.write_ms = 200;
    let mut world = World::with(quick, Options::default());
    world.create(LOG);
    let filling = json!({ "action": "a", "actor": { "id": "x", "type": "user" }, "details": "x".repeat(60_000) });
    let lines = vec![filling.to_string(); 100].join("\n");
    for _ in 0..4 {
        world.client().post_lines(&events_of(LOG), &world.admin, &lines, &[]).status(201);
    }
    world.ask("GET", &path("entries/400/proof"), None).status(200);
    // 24 MB, which no socket buffers.
    let deaf = Chunked::open(&world, &path("tail?from=0"), &world.admin, "").unwrap();
    let export = Chunked::open(&world, &path("export"), &world.admin, "").unwrap();
    let gone = (0..1_000_000).find(|_| {
        let metrics = world.ask("GET", "/metrics", None).status(200).text();
        metrics.contains("\nindelible_streams 0\n")
    });
    assert!(gone.is_some());
    for stream in [deaf, export] {
        assert_eq!(stream.rest().1, Part::BrokenOff, "a part is not taken for the whole");
    }
    world.stop();
}

#[test]
fn a_tail_of_what_is_not_there_is_refused() {
    let world = World::with_log();
    world.record(LOG, 2);
    let ask = |what: &str| -> Reply { world.ask("GET", &path(what), None) };
    // As many as there are is the end of the log; one more was never there.
    assert!(Chunked::open(&world, &path("tail?from=3"), &world.admin, "").is_ok());
    ask("tail?from=4").problem(404, "not-found");
    for bad in ["tail?from=x", "tail?from=-1", "tail?to=3", "tail?from=1&from=2"] {
        ask(bad).problem(400, "bad-request");
    }
    for (last, expected) in [("2", None), ("3", Some(404)), ("x", Some(400)), ("18446744073709551615", Some(400))] {
        let more = format!("last-event-id: {last}\r\n");
        assert_eq!(Chunked::open(&world, &path("tail"), &world.admin, &more).err(), expected, "{last}");
    }
    world.ask("GET", "/v1/logs/t.example%2Fnone/tail", None).problem(404, "not-found");
    for bad in ["export?from=2&to=1", "export?to=99", "export?from=99", "export?from=x"] {
        ask(bad).problem(400, "bad-request");
    }
}

/// The lines of an export, verified with nothing but a public key; how many they are.
fn verified(export: &[u8], key: &VerifyingKey, from: u64) -> u64 {
    let text = std::str::from_utf8(export).unwrap();
    let (lines, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    let end: Value = serde_json::from_str(last).unwrap();
    let hashes = |name: &str| -> Vec<Hash> {
        end[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| Hash::from_hex(hash.as_str().unwrap().as_bytes()).unwrap())
            .collect()
    };
    let mut tree = Frontier::from_parts(TreeSize(from), hashes("left")).unwrap();
    let mut next = from;
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["index"], next);
        let entry = line.strip_prefix("{\"entry\":").unwrap();
        let entry = entry.get(..entry.rfind(",\"index\":").unwrap()).unwrap();
        tree.push(leaf_hash(entry.as_bytes()));
        next += 1;
    }
    assert_eq!((&end["from"], &end["to"]), (&json!(from), &json!(next)));
    let checkpoint = Checkpoint::open(end["checkpoint"].as_str().unwrap().as_bytes(), key).unwrap();
    let whole = tree.complete(&hashes("right"), checkpoint.head.size).unwrap();
    assert_eq!(whole.root(), checkpoint.head.root);
    next - from
}

#[test]
fn an_export_is_verified_without_the_server_and_goes_on_where_it_was_cut_off() {
    let world = World::with_log();
    world.record(LOG, 700);
    world.ask("GET", &path("entries/700/proof"), None).status(200);
    let (_, reader) = world.key("reader", &[LOG]);
    let text = world.ask("GET", &path("keys"), None).json()["public_key"].as_str().unwrap().to_owned();
    let key = VerifyingKey::parse(&text).unwrap();
    let export = |what: &str| {
        let stream = Chunked::open(&world, &path(what), &reader, "").unwrap();
        assert!(stream.headers.contains("content-type: application/x-ndjson"), "{}", stream.headers);
        let (bytes, end) = stream.rest();
        assert_eq!(end, Part::End);
        bytes
    };
    let whole = export("export");
    assert_eq!(verified(&whole, &key, 0), 701);
    assert_eq!(verified(&export("export?from=100&to=357"), &key, 100), 257);
    assert_eq!(verified(&export("export?from=701"), &key, 701), 0);
    // Whoever has lines to an index asks for those behind it; both parts together are the whole.
    let (first, rest) = (export("export?to=300"), export("export?from=300"));
    assert_eq!(verified(&rest, &key, 300), 401);
    let lines = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let all: Vec<_> = text.lines().map(str::to_owned).collect();
        all.split_last().unwrap().1.to_vec()
    };
    assert_eq!([lines(&first), lines(&rest)].concat(), lines(&whole));
    // The second verifier, which shares nothing with this program, says the same.
    let file = world.at("export.jsonl");
    std::fs::write(&file, &whole).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/verify.py");
    match Command::new("python3").arg(script).arg("--export").arg(&file).arg("--public-key").arg(&text).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout)),
        Err(error) => eprintln!("SKIPPED: no python3 ({error})"),
    }
}

#[test]
fn an_export_of_what_was_changed_has_no_last_line() {
    let mut world = World::with_log();
    world.record(LOG, 3);
    world.stop();
    let segments = world.at("root/logs/t.example%2Fa/segments");
    let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    std::fs::write(&segment, text.replacen("\"ada\"", "\"eve\"", 1)).unwrap();
    world.start();
    let (bytes, end) = Chunked::open(&world, &path("export"), &world.admin, "").unwrap().rest();
    assert_eq!(end, Part::BrokenOff);
    assert!(!String::from_utf8(bytes).unwrap().contains("\"checkpoint\":"));
    let told = world.told.lock().unwrap().join("\n");
    assert!(told.contains("export") && told.contains("root"), "{told}");
}

#[test]
fn a_tenant_has_half_of_the_streams_however_many_keys_it_makes() {
    let mut few = config();
    (few.limits.streams, few.limits.streams_per_key) = (8, 2);
    let world = World::with(few, Options::default());
    world.create(LOG);
    let (_, tenant) = world.key("admin", &[LOG]);
    let new = json!({ "logs": [LOG], "name": "r", "role": "reader" });
    let reader = || {
        let made = world.client().ask("POST", "/v1/api-keys", Some(&tenant), Some(&new)).status(201).json();
        made["token"].as_str().unwrap().to_owned()
    };
    let open = |token: &str| Chunked::open(&world, &path("tail"), token, "");
    let held: Vec<_> = [reader(), reader()].iter().flat_map(|token| [open(token), open(token)]).collect();
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(open(&reader()).err(), Some(429), "with a key that has none yet");
    let others: Vec<_> = (0..4).map(|_| world.key("reader", &[LOG]).1).map(|token| open(&token)).collect();
    assert!(others.iter().all(Result::is_ok));
}
