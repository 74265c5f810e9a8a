//! Logs on a server: the same commands over HTTPS, and what happens when client and server are killed.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use indelible_client::{ServerUrl, Settings, Token, Trust, blocking};
use indelible_core::checkpoint::Origin;
use serde_json::Value;

use crate::world::{Done, World, copy, event};

const LOG: &str = "example.com/audit";

/// `indelible serve`, with TLS, in a process of its own.
struct Serving {
    child: Child,
    started: Value,
}

impl Serving {
    fn start(world: &World, port: u16) -> Self {
        let (root, listen) = (world.path("root"), format!("127.0.0.1:{port}"));
        let args = ["serve", "--json", "--log-root", &root, "--listen", &listen];
        let mut child = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("it did not start: {error}");
        }
        Self { child, started: serde_json::from_str(&line).unwrap() }
    }

    fn url(&self) -> &str {
        self.started["url"].as_str().unwrap()
    }

    fn port(&self) -> u16 {
        self.url().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    /// Also where a test fails.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, its log, and what the command line needs to reach it.
struct Setup {
    world: World,
    serving: Option<Serving>,
    url: String,
    port: u16,
    pin: String,
    client: blocking::Client,
    key: String,
}

impl Setup {
    fn new() -> Self {
        let world = World::empty();
        let serving = Serving::start(&world, 0);
        let (url, port) = (serving.url().to_owned(), serving.port());
        let token = serving.started["admin_token"].as_str().unwrap();
        world.write("token", token);
        let certificate = &serving.started["certificate"];
        let mut settings = Settings::new(url.parse::<ServerUrl>().unwrap());
        settings.token = Some(Token::new(token).unwrap());
        settings.trust = Trust::Authorities(certificate["path"].as_str().unwrap().into());
        let client = blocking::Client::new(&settings).unwrap();
        let made = client.create_log(&Origin::try_from(LOG).unwrap()).unwrap();
        let pin = certificate["sha256"].as_str().unwrap().to_owned();
        Self {
            world,
            port,
            pin,
            client,
            key: made.public_key.unwrap(),
            url: format!("{url}/logs/{LOG}"),
            serving: Some(serving),
        }
    }

    fn start(&mut self) {
        self.serving = Some(Serving::start(&self.world, self.port));
    }

    fn stop(&mut self) {
        self.serving.take().unwrap().end();
    }

    /// The arguments with those that name the log and reach it.
    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [more, &["--log", &self.url, "--token-file", "token", "--ca", "keys/tls/server.crt"]].concat()
    }

    fn run(&self, args: &[&str]) -> Done {
        self.world.run(&self.args(args))
    }

    fn feed(&self, args: &[&str], input: impl AsRef<[u8]>) -> Done {
        self.world.feed(&self.args(args), input)
    }

    /// The directory that the server keeps the log in.
    fn place(&self) -> String {
        self.world.path("root/logs/example.com%2Faudit")
    }

    /// The ids of all events, in the order of the log.
    fn ids(&self) -> Vec<String> {
        let log = self.client.log(Origin::try_from(LOG).unwrap());
        let (mut ids, mut from) = (Vec::new(), Some(1));
        while let Some(next) = from {
            let page = log.entries(next, 1000).unwrap();
            for entry in &page.entries {
                let value: Value = serde_json::from_slice(&entry.bytes).unwrap();
                ids.extend(value["event"]["id"].as_str().map(str::to_owned));
            }
            from = page.next;
        }
        ids
    }
}

#[test]
fn the_same_commands_work_with_a_log_on_a_server() {
    let mut setup = Setup::new();
    let samples = setup.world.samples(1200) + "{\"action\":1}\n" + &event("last");
    let appended = setup.feed(&["append"], samples).code(3);
    assert!(
        appended.err.contains("line 1201: ") && appended.err.contains("1 of 1202 lines rejected"),
        "{}",
        appended.err
    );
    let receipts = setup.world.write("receipts", &appended.out);
    assert_eq!(appended.out.lines().count(), 1201);
    // What the server gives is what stands on its disk.
    let place = setup.place();
    for args in [
        &["show", "1"][..],
        &["show", "last"],
        &["show", "7", "--raw"],
        &["show", "7", "--json"],
        &["tail", "-n", "3"],
        &["tail", "-n", "600", "--json"],
    ] {
        let here = setup.world.run(&[args, &["--log", &place]].concat()).ok().out;
        assert_eq!(setup.run(args).ok().out, here, "{args:?}");
    }
    setup.run(&["prove", "last", "-o", "proof"]).ok();
    let proof = setup.world.path("proof");
    assert!(setup.world.run(&["check-proof", &proof, "--public-key", &setup.key]).ok().out.starts_with("intact"));
    let kept = setup.world.write("kept", setup.run(&["checkpoint"]).ok().out);
    setup.feed(&["append"], event("more")).ok();
    setup.run(&["prove", "more", "-o", "proof"]).ok();
    let text = setup.run(&["consistency", "--from", &kept, "--public-key", &setup.key]).ok().out;
    assert!(text.starts_with("consistent: "), "{text}");
    let verify = ["verify", "--public-key", &setup.key, "--receipts", &receipts, "--checkpoint", &kept];
    let text = setup.run(&verify).ok().out;
    for word in ["consistent: `example.com/audit` to 1203 entries", "receipts checked  1201", "(its word): intact"] {
        assert!(text.contains(word), "{text}");
    }
    let report = setup.run(&[&verify[..], &["--json"]].concat()).ok().json();
    assert_eq!((&report["tree_size"], &report["server"]["report"]["status"]), (&1203.into(), &"intact".into()));
    // What is exported is what would be exported there, to the checkpoint that a proof brought about.
    setup.run(&["prove", "1202", "-o", "proof"]).ok();
    for range in [&[][..], &["--from", "7", "--to", "700"], &["--from", "300", "--to", "300"], &["--from", "1203"]] {
        let there = setup.world.run(&[&["export", "--log", &place], range].concat()).ok().out;
        assert!(setup.run(&[&["export"], range].concat()).ok().out == there, "{range:?}");
    }
    setup.run(&["export", "-o", "export", "--json"]).ok();
    let exported = std::fs::read_to_string(setup.world.at("export")).unwrap();
    assert_eq!(exported.lines().count(), 1203 + 1);
    setup.run(&["export", "--to", "1204"]).refused(1, &["covers 1203 entries, not 1204"]);
    setup.run(&["export", "--from", "2", "--to", "1"]).refused(2, &["--from 2 is behind --to 1"]);
    let info = setup.run(&["log", "info", "--json"]).ok().json();
    let there = setup.world.run(&["log", "info", "--json", "--log", &place]).ok().json();
    for member in ["origin", "log_id", "format", "entries", "checkpoint"] {
        assert_eq!(info[member], there[member], "{member}");
    }
    let text = setup.run(&["log", "info"]).ok().out;
    assert!(text.contains("entries     1203") && text.contains("writer      the server"), "{text}");
    // A receipt of something else.
    let forged = appended.out.lines().next().unwrap().replacen("\"index\":1,", "\"index\":2,", 1);
    let forged = setup.world.write("forged", forged);
    setup.run(&["verify", "--public-key", &setup.key, "--receipts", &forged]).refused(12, &["entry 2"]);
    setup.stop();
    setup.world.run(&["verify", "--log", &place, "--receipts", &receipts]).ok();
}

#[test]
fn a_server_that_was_set_back_is_told() {
    let mut setup = Setup::new();
    setup.feed(&["append"], event("a")).ok();
    setup.run(&["prove", "a", "-o", "proof"]).ok();
    setup.stop();
    for part in ["root", "keys"] {
        copy(&setup.world.at(part), &setup.world.at("then").join(part));
    }
    setup.start();
    setup.feed(&["append"], event("b")).ok();
    setup.run(&["prove", "b", "-o", "proof"]).ok();
    let key = setup.key.clone();
    let verify = ["verify", "--public-key", &key];
    setup.run(&verify).ok();
    let kept = setup.world.write("kept", setup.run(&["checkpoint"]).ok().out);
    setup.stop();
    for part in ["root", "keys"] {
        std::fs::remove_dir_all(setup.world.at(part)).unwrap();
        copy(&setup.world.at("then").join(part), &setup.world.at(part));
    }
    setup.start();
    setup.run(&verify).refused(10, &["rolled back", "3 entries", "2"]);
    setup.run(&["consistency", "--from", &kept, "--public-key", &setup.key]).refused(12, &["rolled back"]);
    for name in ["c", "d", "e"] {
        setup.feed(&["append"], event(name)).ok();
    }
    setup.run(&["prove", "e", "-o", "proof"]).ok();
    setup.run(&verify).refused(12, &["forked", "the log's keys signed both"]);
    setup.stop();
}

#[test]
fn what_cannot_be_meant_or_trusted_is_refused_with_what_to_do() {
    let mut setup = Setup::new();
    setup.run(&["import", "--format", "jsonl", "x"]).refused(2, &["is on a server", "append, show, tail"]);
    setup.run(&["log", "repair"]).refused(2, &["is on a server", "export and log info"]);
    setup.run(&["verify"]).refused(2, &["--public-key"]);
    setup.run(&["verify", "--public-key", &setup.key, "--strict"]).refused(2, &["--strict"]);
    let world = &setup.world;
    for (url, word) in [
        ("http://example.com/logs/x", "`https://`"),
        ("https://localhost", "/logs/ORIGIN"),
        ("https://me:pw@localhost/logs/x", "no user"),
    ] {
        let done = world.run(&["tail", "--log", url]).code(2);
        assert!(done.err.contains(word) && !done.err.contains("pw@"), "{}", done.err);
    }
    let local = world.path("log");
    world.run(&["append", "--spool", "spool", "--log", &local]).refused(2, &["--spool"]);
    let reach = |more: &[&str]| world.run(&[&["tail", "--log", &setup.url], more].concat());
    reach(&["--ca", "keys/tls/server.crt"]).refused(1, &["401 unauthorised", "give the token"]);
    reach(&["--token-file", "none", "--ca", "keys/tls/server.crt"]).refused(1, &["`none`"]);
    reach(&["--token-file", "token", "--pin", &"00".repeat(32)]).refused(1, &["--pin"]);
    reach(&["--token-file", "token", "--pin", "abc"]).refused(1, &["64 hexadecimal digits"]);
    reach(&["--token-file", "token", "--pin", &setup.pin]).ok();
    let other = setup.url.replace("audit", "other");
    world.run(&["tail", "--log", &other, "--token-file", "token", "--pin", &setup.pin]).refused(1, &["404 not-found"]);
    setup.stop();
}

#[test]
fn events_wait_in_the_spool_and_are_delivered_first() {
    let mut setup = Setup::new();
    setup.stop();
    let spool = ["append", "--spool", "spool"];
    let done = setup.feed(&spool, event("a") + "\n" + &event("b")).ok();
    assert_eq!(
        done.json_lines(),
        [serde_json::json!({"id":"a","spooled":true}), serde_json::json!({"id":"b","spooled":true})]
    );
    assert!(done.err.contains("2 events wait in the spool") && done.err.contains("cannot be reached"), "{}", done.err);
    setup.start();
    let done = setup.feed(&spool, event("c")).ok();
    let ids: Vec<_> =
        done.json_lines().iter().map(|receipt| (receipt["id"].clone(), receipt["index"].as_u64())).collect();
    assert_eq!(ids, [("a".into(), Some(1)), ("b".into(), Some(2)), ("c".into(), Some(3))]);
    assert_eq!(done.err, "");
    setup.stop();
}

/// `append --spool`, fed line by line.
struct Appending {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Appending {
    fn start(setup: &Setup) -> Self {
        let mut command = setup.world.command(&setup.args(&["append", "--spool", "spool"]));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    fn send(&mut self, ids: &[String]) {
        let lines: String = ids.iter().map(|id| event(id) + "\n").collect();
        self.stdin.write_all(lines.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// The id on the next whole line; `None` at the end.
    fn acknowledged(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).ok()?;
        let line = line.strip_suffix('\n')?;
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value["index"].is_u64() || value["spooled"] == true, "{value}");
        Some(value["id"].as_str().unwrap().to_owned())
    }

    /// Reads until every one of these is acknowledged.
    fn settle(&mut self, ids: &[String], acknowledged: &mut BTreeSet<String>) {
        let mut open: BTreeSet<&String> = ids.iter().collect();
        while !open.is_empty() {
            let id = self.acknowledged().expect("an acknowledgement of every line");
            open.remove(&id);
            acknowledged.insert(id);
        }
    }

    /// What was acknowledged before it ended.
    fn rest(mut self, acknowledged: &mut BTreeSet<String>) -> std::process::ExitStatus {
        drop(self.stdin);
        while let Some(id) = {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).unwrap_or(0);
            (read > 0).then_some(line).and_then(|line| Some(line.strip_suffix('\n')?.to_owned()))
        } {
            let value: Value = serde_json::from_str(&id).unwrap();
            acknowledged.insert(value["id"].as_str().unwrap().to_owned());
        }
        self.child.wait().unwrap()
    }
}

/// Both are killed again and again, in the middle of what they do; everything that was acknowledged as recorded or spooled is in the log once.
#[test]
fn kills_of_client_and_server_lose_nothing_and_double_nothing() {
    const ROUNDS: usize = 16;
    let mut setup = Setup::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut next = 0;
        let mut some = |count: usize| -> Vec<String> {
            next += count;
            (next - count..next).map(|at| format!("{round:02}-{at:04}")).collect()
        };
        let mut client = Appending::start(&setup);
        if setup.serving.is_some() {
            let ids = some(5);
            client.send(&ids);
            client.settle(&ids, &mut acknowledged);
        }
        // Of different sizes, so that the kill comes at different moments of the work.
        let ids = some(1 + round * 23 % 120);
        client.send(&ids);
        match round % 4 {
            0 => client.child.kill().unwrap(),
            1 => {
                setup.serving.take().unwrap().kill();
                client.settle(&ids, &mut acknowledged);
                client.send(&some(40));
                client.child.kill().unwrap();
            }
            2 => {
                client.settle(&ids, &mut acknowledged);
                setup.start();
                client.send(&some(60));
                client.child.kill().unwrap();
            }
            _ => {
                setup.serving.take().unwrap().kill();
                client.settle(&ids, &mut acknowledged);
                setup.start();
                for _ in 0..5 {
                    let ids = some(10);
                    client.send(&ids);
                    client.settle(&ids, &mut acknowledged);
                }
            }
        }
        let status = client.rest(&mut acknowledged);
        assert_eq!(status.success(), round % 4 == 3, "round {round}: {status}");
    }
    setup.feed(&["append", "--spool", "spool"], "").ok();
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    let ids = setup.ids();
    let once: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "each is there once");
    let missing: Vec<_> = acknowledged.iter().filter(|id| !once.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Each run's events stand in the order in which it had them.
    for round in 0..ROUNDS {
        let own: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{round:02}-"))).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
    let left: Vec<_> = crate::world::files(&setup.world.at("spool"));
    assert!(left.iter().all(|file| file.extension().is_none_or(|end| end != "spool")), "{left:?}");
    setup.stop();
    setup.world.run(&["verify", "--log", &setup.place()]).ok();
}
