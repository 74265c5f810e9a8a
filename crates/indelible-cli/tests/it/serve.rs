//! `serve`, as a process: first start, quick start, signals, and a kill in the middle of it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{Done, World};

/// A server in a process of its own.
struct Serving {
    child: Child,
    started: Value,
}

impl Serving {
    fn start(world: &World, more: &[&str]) -> Self {
        let root = world.path("root");
        let args = [&["serve", "--json", "--log-root", &root, "--listen", "127.0.0.1:0"], more].concat();
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

    fn token(&self) -> String {
        self.started["admin_token"].as_str().unwrap().to_owned()
    }

    fn port(&self) -> u16 {
        self.started["url"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The answer to one request, and what it carries.
    fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        ask(self.port(), token, method, path, "application/json", body)
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends by a signal; the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

fn ask(port: u16, token: &str, method: &str, path: &str, media_type: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

const PLAIN: &[&str] = &["--plain-http"];
const LOG: &str = "example.com/audit";

fn event(id: &str) -> Value {
    json!({ "action": "door.open", "actor": { "id": "ada", "type": "user" }, "id": id })
}

#[test]
fn the_first_start_shows_a_token_once_and_another_is_made_when_it_is_lost() {
    let world = World::empty();
    let first = Serving::start(&world, PLAIN);
    let token = first.token();
    assert_eq!(first.ask(&token, "GET", "/v1/logs", "").unwrap().0, 200);
    assert_eq!(first.end("-TERM"), Some(0));
    let second = Serving::start(&world, PLAIN);
    assert_eq!(second.started["admin_token"], Value::Null);
    assert_eq!(second.ask(&token, "GET", "/v1/logs", "").unwrap().0, 200);
    assert_eq!(second.end("-INT"), Some(0));
    let third = Serving::start(&world, &["--plain-http", "--new-admin-key"]);
    assert_ne!(third.token(), token);
    assert_eq!(third.ask(&third.token(), "GET", "/v1/logs", "").unwrap().0, 200);
    assert_eq!(third.end("-TERM"), Some(0));
    world.run(&["logs", "verify", "--root", &world.path("root")]).ok();
}

#[test]
fn what_is_unsafe_or_not_meant_is_refused() {
    let world = World::with_samples(1);
    let root = world.path("root");
    world.run(&["serve"]).refused(2, &["--log-root", "INDELIBLE_ROOT"]);
    let public = ["serve", "--log-root", &root, "--plain-http", "--listen", "0.0.0.0:0"];
    world.run(&public).refused(1, &["loopback", "--plain-http"]);
    world.run(&["serve", "--log-root", &world.path("log"), "--plain-http"]).refused(1, &["not empty", "logs init"]);
    // Keys that are mistyped beside a root that is there: none are made.
    world.run(&["logs", "init", "--root", &world.path("made"), "--origin", "example.com/registry"]).ok();
    let other = world.path("mistyped");
    world
        .run(&["serve", "--log-root", &world.path("made"), "--plain-http", "--keys", &other])
        .refused(1, &["no key ring at", "mistyped", "--keys"]);
    assert!(!std::path::Path::new(&other).exists());
    world.run(&["serve", "--log-root", &world.path("keys/x"), "--plain-http"]).refused(1, &["keys"]);
    let config = world.write("bad.toml", "[limits]\nconections = 1\n");
    world.run(&["serve", "--log-root", &root, "--config", &config]).refused(1, &["bad.toml", "conections"]);
    assert!(!world.at("root").exists());
}

#[test]
fn no_keys_are_made_beside_a_root_that_cannot_be_read() {
    let world = World::empty();
    let root = format!("sqlite:{}", world.write("other.db", "this is no database\n".repeat(100)));
    let keys = world.path("none");
    world.run(&["serve", "--log-root", &root, "--plain-http", "--keys", &keys]).refused(1, &["other.db"]);
    assert!(!std::path::Path::new(&keys).exists());
}

#[test]
fn a_configuration_is_shown_as_it_would_be_used() {
    let world = World::empty();
    let config = world.write("c.toml", "listen = \"127.0.0.1:9\"\n[limits]\nconnections = 7\n");
    let shown = world.run(&["serve", "--config", &config, "--listen", "127.0.0.1:8", "--show-config"]).ok().out;
    assert!(shown.contains("listen = \"127.0.0.1:8\"") && shown.contains("connections = 7"), "{shown}");
    let again = world.write("again.toml", &shown);
    assert_eq!(world.run(&["serve", "--config", &again, "--show-config"]).ok().out, shown);
}

#[test]
fn each_value_says_where_it_comes_from_and_a_configuration_is_checked() {
    let world = World::empty();
    let config = world.write("c.toml", "[limits]\nconnections = 7\n");
    let args = ["serve", "--config", &config, "--plain-http", "config", "show"];
    let mut command = world.command(&args);
    let output = command.env("INDELIBLE_SERVER_LIMITS_BODY_MS", "9").output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for line in [
        format!("limits.connections = 7    # {config}"),
        "limits.body_ms = 9    # INDELIBLE_SERVER_LIMITS_BODY_MS".to_owned(),
        "plain_http = true    # --plain-http".to_owned(),
        "limits.head_ms = 10000    # default".to_owned(),
        "tls.certificate = -    # default".to_owned(),
    ] {
        assert!(shown.lines().any(|known| known == line), "{line}\n{shown}");
    }
    let rows: Value =
        serde_json::from_str(&world.run(&["serve", "--json", "config", "show", "--config", &config]).ok().out).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "limits.connections").unwrap();
    assert_eq!((&row["value"], &row["from"]), (&json!(7), &json!(config)));
    world.run(&["serve", "config", "check", "--config", &config]).ok();
    for (text, words) in [
        ("[tls]\ncertificate = \"/nowhere/a\"\nkey = \"/nowhere/b\"\n", &["/nowhere/a"][..]),
        ("[tls]\nclient_ca = \"/nowhere/c\"\n", &["/nowhere/c"][..]),
        ("[limits]\nstreams = 0\n", &["limit of 0"][..]),
        ("[network]\ndeny = [\"10.0.0.1/8\"]\n", &["10.0.0.1/8"][..]),
    ] {
        let bad = world.write("bad.toml", text);
        world.run(&["serve", "config", "check", "--config", &bad]).refused(1, words);
    }
    let unknown = world.command(&["serve", "config", "check"]).env("INDELIBLE_SERVER_LIMITS_X", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("INDELIBLE_SERVER_LIMITS_X"));
    assert!(!world.at("keys/tls").exists(), "looking makes nothing");
}

#[test]
fn a_hangup_has_the_certificate_read_again_and_ends_nothing() {
    let world = World::empty();
    let plain = Serving::start(&world, PLAIN);
    plain.signal("-HUP");
    assert_eq!(plain.ask(&plain.token(), "GET", "/v1/logs", "").unwrap().0, 200);
    assert_eq!(plain.end("-TERM"), Some(0));
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED a new certificate at SIGHUP: openssl is not installed");
        return;
    }
    let make = |name: &str| {
        let (key, certificate) = (world.path("tls.key"), world.path("tls.crt"));
        let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let subject = format!("/CN={name}");
        let mut command = Command::new("openssl");
        command.args(args).args(["-subj", &subject, "-keyout", &key, "-out", &certificate]);
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
    };
    make("first.example");
    let text = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nreload_ms = 0\n",
        world.path("tls.crt"),
        world.path("tls.key")
    );
    let config = world.write("c.toml", text);
    let serving = Serving::start(&world, &["--config", &config]);
    let shown = || {
        let address = format!("127.0.0.1:{}", serving.port());
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address]).stdin(Stdio::null()).stderr(Stdio::null());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    assert!(shown().contains("first.example"));
    make("second.example");
    assert!(shown().contains("first.example"), "nobody has asked yet");
    serving.signal("-HUP");
    let begun = Instant::now();
    while !shown().contains("second.example") {
        assert!(begun.elapsed() < Duration::from_secs(60), "the certificate is not read again");
    }
    assert_eq!(serving.end("-TERM"), Some(0));
}

#[test]
fn a_kill_under_load_loses_nothing_that_was_acknowledged() {
    let world = World::empty();
    let mut serving = Serving::start(&world, PLAIN);
    let (token, port) = (serving.token(), serving.port());
    let new = json!({ "origin": LOG }).to_string();
    assert_eq!(serving.ask(&token, "POST", "/v1/logs", &new).unwrap().0, 201);
    let receipts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (token, receipts) = (&token, &receipts);
            scope.spawn(move || {
                for round in 0.. {
                    let lines: Vec<_> =
                        (0..10).map(|at| event(&format!("{thread}-{round}-{at}")).to_string()).collect();
                    let path = "/v1/logs/example.com%2Faudit/events";
                    let sent = ask(port, token, "POST", path, "application/x-ndjson", &lines.join("\n"));
                    let Some((201, body)) = sent else { return };
                    let Ok(told) = serde_json::from_str::<Value>(&body) else { return };
                    let rows = told["results"].as_array().unwrap().iter();
                    receipts.lock().unwrap().extend(rows.map(|row| row["receipt"].to_string()));
                }
            });
        }
        while receipts.lock().unwrap().len() < 500 {
            thread::yield_now();
        }
        serving.child.kill().unwrap();
    });
    serving.child.wait().unwrap();
    let receipts = receipts.into_inner().unwrap();
    let kept = world.write("receipts.jsonl", receipts.join("\n"));
    let place = world.path("root/logs/example.com%2Faudit");
    world.run(&["verify", "--log", &place, "--receipts", &kept]).ok();
    // Opened again it goes on, and everything sent again is known.
    let again = Serving::start(&world, PLAIN);
    let known: Vec<String> = receipts
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let lines: Vec<_> = known.iter().map(|id| event(id).to_string()).collect();
    let path = "/v1/logs/example.com%2Faudit/events";
    let (status, body) = ask(again.port(), &token, "POST", path, "application/x-ndjson", &lines.join("\n")).unwrap();
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["duplicates"], &told["recorded"]), (201, &json!(known.len()), &json!(0)));
    assert_eq!(again.end("-TERM"), Some(0));
    world.run(&["verify", "--log", &place, "--receipts", &kept]).ok();
}

/// The lines of a block of the README, by what its first line begins with.
fn block(begins: &str) -> Vec<String> {
    block_of("README.md", begins)
}

/// The same of any document.
fn block_of(document: &str, begins: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{}/../../{document}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let found = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found = found.into_iter().find(|text| text.starts_with(begins)).expect("the block");
    found.lines().map(str::to_owned).collect()
}

/// The README's first command at a port that is free.
fn with_tls(world: &World) -> Serving {
    let root = world.path("logs");
    let args = ["serve", "--json", "--log-root", &root, "--listen", "127.0.0.1:0"];
    let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    Serving { child, started: serde_json::from_str(&line).unwrap() }
}

#[test]
fn the_commands_of_the_guide_for_operators_work_as_written() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED the commands with curl: it is not installed");
        return;
    }
    let world = World::empty();
    let serving = with_tls(&world);
    let blocks =
        ["KEYS=", "api logs --json", "api logs/"].map(|begins| block_of("docs/operating.md", begins).join("\n"));
    let script = blocks
        .join("\n")
        .replace("/srv/audit/keys", &world.keys.display().to_string())
        .replace("idl_…", &serving.token())
        .replace("localhost:8443", &format!("localhost:{}", serving.port()));
    let mut command = world.place(Command::new("sh"), &["-euc", &script]);
    command.env("no_proxy", "*").env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
    let done = Done::of(&command.output().unwrap()).ok();
    let lines = done.out.lines().filter(|line| !line.is_empty());
    let answers: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 4, "{}", done.out);
    assert!(answers[0]["public_key"].is_string() && done.out.contains("\"idl_"), "{}", done.out);
    assert!(answers[2].to_string().contains("inquiry 17"), "{}", done.out);
    assert_eq!(serving.end("-TERM"), Some(0));
}

#[test]
fn the_quick_start_of_the_readme_works_as_written() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED the quick start with curl: it is not installed");
        return;
    }
    let world = World::empty();
    let lines = block("indelible serve");
    let serve = lines.first().unwrap();
    assert_eq!(serve.split('#').next().unwrap().trim(), "indelible serve --log-root logs --keys keys");
    let serving = with_tls(&world);
    let port = format!("localhost:{}", serving.port());
    let script = |begins: &str| -> String {
        let lines: String = block(begins).into_iter().map(|line| format!("{line}\n")).collect();
        lines.replace("idl_…", &serving.token()).replace("localhost:8443", &port)
    };
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_indelible")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let run = |script: &str, vkey: &str| {
        let mut command = world.place(Command::new("sh"), &["-euc", script]);
        command.env("PATH", &path).env("VKEY", vkey).env("no_proxy", "*");
        command.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
        out
    };
    let out = run(&script("curl -sS"), "");
    assert!(out.contains("\"index\":1") && out.contains("intact"), "{out}");
    if cfg!(feature = "client") {
        let vkey = out.split("\"public_key\":\"").nth(1).unwrap().split('"').next().unwrap();
        world.write("token", serving.token());
        let out = run(&script("export INDELIBLE_LOG=https"), vkey);
        assert!(out.contains("\"index\":2") && out.contains("consistent: "), "{out}");
    }
    assert_eq!(serving.end("-TERM"), Some(0));
}
