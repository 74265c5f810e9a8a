//! A server over a temporary directory, and a client that writes its bytes by hand.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indelible::{KeyRing, Options};
use indelible_server::{Config, Server, server::AdminKey};
use indelible_service::Root;
use serde_json::{Value, json};

/// The log that most tests write to.
pub(crate) const LOG: &str = "t.example/a";

/// A server.
pub(crate) struct World {
    dir: tempfile::TempDir,
    server: Option<Server>,
    config: Config,
    options: Options,
    pub(crate) address: SocketAddr,
    pub(crate) admin: String,
    pub(crate) certificate: Option<PathBuf>,
    /// What was told to the operator.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    kept: Option<tempfile::TempDir>,
}

/// What comes sooner or later, asked for again and again. Tries are counted by time: how many there are in it says more of the machine than of the server.
#[track_caller]
pub(crate) fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(90);
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A configuration for tests: without TLS, at a port that the system chooses.
pub(crate) fn config() -> Config {
    let mut config = Config { name: "t.example".to_owned(), plain_http: true, ..Config::default() };
    config.listen.set_port(0);
    config.limits.rate_per_minute = 0;
    config
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), Options::default())
    }

    /// With TLS, spoken to in HTTP/2.
    pub(crate) fn second() -> Self {
        Self::with(Config { plain_http: false, ..config() }, Options::default())
    }

    /// With a log.
    pub(crate) fn with_log() -> Self {
        let world = Self::new();
        world.create(LOG);
        world
    }

    pub(crate) fn with(config: Config, options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (told, address) = (Arc::default(), ([127, 0, 0, 1], 0).into());
        let admin = String::new();
        let mut world =
            Self { dir, server: None, config, options, address, admin, certificate: None, told, kept: None };
        world.start();
        world
    }

    /// Keeps the directory of its files for as long as it is there.
    pub(crate) fn keep(&mut self, dir: tempfile::TempDir) {
        self.kept = Some(dir);
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Has the certificates read again, as SIGHUP has.
    pub(crate) fn reload(&self) {
        self.server.as_ref().unwrap().reload_certificates();
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::load_or_create(&self.at("keys")).unwrap()
    }

    pub(crate) fn start(&mut self) {
        let told = Arc::clone(&self.told);
        let reporter = Arc::new(move |line: &str| told.lock().unwrap().push(line.to_owned()));
        let root = Root::directory(self.at("root"));
        let (options, config) = (self.options.clone(), self.config.clone());
        let (server, started) = Server::start(root, self.ring(), options, config, AdminKey::IfNone, reporter).unwrap();
        self.server = Some(server);
        self.address = started.address;
        self.certificate = started.certificate.map(|certificate| certificate.path);
        if let Some(token) = started.admin_token {
            self.admin = token.to_string();
        }
    }

    pub(crate) fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// Stops in the middle of whatever there is, as a thread of its own sees it.
    pub(crate) fn take_server(&mut self) -> Server {
        self.server.take().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A request of the administrator's.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.request_json(method, path, Some(&self.admin), body)
    }

    /// A request in the version that the server speaks: HTTP/2 with TLS, HTTP/1.1 without.
    #[track_caller]
    pub(crate) fn request_json(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        if self.config.plain_http {
            return self.client().ask(method, path, token, body);
        }
        let body = body.map(ToString::to_string);
        let media_type = if body.is_some() { "application/json" } else { "" };
        self.request(method, path, token, media_type, body.unwrap_or_default().as_bytes())
    }

    /// A request over HTTP/2.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        media_type: &str,
        body: &[u8],
    ) -> Reply {
        crate::http2::ask(self, method, path, token, media_type, body)
    }

    #[track_caller]
    pub(crate) fn create(&self, origin: &str) {
        self.ask("POST", "/v1/logs", Some(&json!({ "origin": origin }))).status(201);
    }

    /// The id and the token of a new key.
    #[track_caller]
    pub(crate) fn key(&self, role: &str, logs: &[&str]) -> (String, String) {
        let reply = self.ask("POST", "/v1/api-keys", Some(&json!({ "logs": logs, "name": role, "role": role })));
        let value = reply.status(201).json();
        (value["id"].as_str().unwrap().to_owned(), value["token"].as_str().unwrap().to_owned())
    }

    /// Records `count` events, in lines.
    #[track_caller]
    pub(crate) fn record(&self, origin: &str, count: usize) {
        let lines: Vec<String> = (0..count).map(|at| event(&format!("e{at}")).to_string()).collect();
        let (path, lines) = (events_of(origin), lines.join("\n"));
        let reply = if self.config.plain_http {
            self.client().post_lines(&path, &self.admin, &lines, &[])
        } else {
            self.request("POST", &path, Some(&self.admin), "application/x-ndjson", lines.as_bytes())
        };
        reply.status(201);
    }
}

/// The path of a log's events.
pub(crate) fn events_of(origin: &str) -> String {
    format!("/v1/logs/{}/events", segment(origin))
}

/// An origin as a segment of a path.
pub(crate) fn segment(origin: &str) -> String {
    origin.replace('/', "%2F")
}

/// An event with an id.
pub(crate) fn event(id: &str) -> Value {
    json!({ "action": "door.open", "actor": { "id": "ada", "type": "user" }, "id": id })
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        // Only a test that would otherwise hang meets it.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Of a server that may have gone.
    pub(crate) fn connect_maybe(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(|stream| Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // A server that has closed already is what some tests are about.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// The next answer; `None` where the connection was closed without one.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        reply(&mut self.stream, false)
    }

    /// The head of the next answer.
    pub(crate) fn head(&mut self) -> Option<Reply> {
        reply(&mut self.stream, true)
    }

    /// What comes, as it comes.
    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let body = body.map(ToString::to_string);
        let carried =
            body.as_ref().map(|body| format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\n{token}{}\r\n", carried.unwrap_or_default());
        self.write(format!("{head}{}", body.unwrap_or_default()).as_bytes());
        reply(&mut self.stream, method == "HEAD").expect("an answer")
    }

    /// Events, whether they are taken or not.
    pub(crate) fn send_lines(&mut self, path: &str, token: &str, lines: &str) {
        self.write(lines_request(path, token, lines, "").as_bytes());
    }

    #[track_caller]
    pub(crate) fn post_lines(&mut self, path: &str, token: &str, lines: &str, more: &[&str]) -> Reply {
        let more: String = more.iter().map(|header| format!("{header}\r\n")).collect();
        self.write(lines_request(path, token, lines, &more).as_bytes());
        self.reply().expect("an answer")
    }

    /// One event, with further headers.
    #[track_caller]
    pub(crate) fn post_event(&mut self, path: &str, token: &str, event: &str, more: &[&str]) -> Reply {
        let more: String = more.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n",
            event.len()
        );
        self.write(format!("{head}{event}").as_bytes());
        self.reply().expect("an answer")
    }
}

fn lines_request(path: &str, token: &str, lines: &str, more: &str) -> String {
    let length = lines.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n{more}content-length: {length}\r\n\r\n{lines}"
    )
}

/// Reads one answer.
pub(crate) fn reply(stream: &mut impl BufRead, no_body: bool) -> Option<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if no_body || status == 304 { 0 } else { length }];
    stream.read_exact(&mut body).ok()?;
    Some(Reply { status, headers, body })
}

impl Reply {
    #[track_caller]
    pub(crate) fn status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// A problem of this kind, with everything that a problem has.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, kind: &str) -> Value {
        let reply = self.status(status);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let value = reply.json();
        assert_eq!(value["type"], format!("/problems/{kind}"), "{value}");
        assert_eq!((&value["status"], &value["request_id"]), (&json!(status), &json!(reply.header("x-request-id"))));
        assert!(value["title"].is_string() && value["detail"].is_string(), "{value}");
        value
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    #[track_caller]
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}
