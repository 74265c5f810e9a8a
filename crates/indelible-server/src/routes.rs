//! The one table of routes.
//!
//! What can be asked for, by whom, with what and for what answer stands here and nowhere else: requests are matched against it, rights are decided by it, the
//! OpenAPI document and the test of all rights are made from it. A route without a rule cannot be written down.
//!
//! Paths are matched as they were sent, segment by segment, and decoded behind that: a `%2F` never makes a segment.

pub use indelible_core::percent::decode;

use crate::{access::Verb, browse::File, shortcuts::Shortcut};

/// The methods that routes have. `HEAD` is answered as `GET` without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Record, make, have something done.
    Post,
    /// Revoke.
    Delete,
}

impl Method {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "GET" | "HEAD" => Some(Self::Get),
            "POST" => Some(Self::Post),
            "DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// What a route needs of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A key with this verb.
    Key(Verb),
    /// A key with this verb, for the log that the path names.
    OnLog(Verb),
    /// The same; nothing where the configuration opens that log's signed side to everybody.
    OnLogUnlessOpen(Verb),
}

/// What the server does. One for each route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by the summary of its route")]
pub enum Operation {
    Alive,
    Ready,
    Metrics,
    OpenApi,
    Browse(File),
    ProblemText,
    Append,
    Record(Shortcut),
    Entry,
    Entries,
    EventById,
    Proof,
    PublishedCheckpoint,
    PublicKeys,
    VerifyLog,
    Verification,
    LockLog,
    UnlockLog,
    Logs,
    CreateLog,
    ApiKeys,
    CreateApiKey,
    RotateApiKey,
    RevokeApiKey,
    TileCheckpoint,
    EntryBundle,
    Tile,
    Tail,
    Export,
    Health,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing.
    Nothing,
    /// One event, or one a line.
    Events,
    /// The small body of a common kind of event.
    Shortcut(Shortcut),
    /// A JSON object of this name in the document.
    Json(&'static str),
}

/// What a good answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// A JSON object of this name in the document.
    Json(&'static str),
    /// Text.
    Text,
    /// A file of the page that shows the document, of this media type.
    File(&'static str),
    /// Bytes.
    Bytes,
    /// What is made while it is sent, of this media type.
    Stream(&'static str),
}

/// A parameter behind the `?`.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// One thing that can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// What is done.
    pub operation: Operation,
    /// Its name in the document and in the counters.
    pub id: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with `{log}` for one segment and `{rest*}` for all that are left.
    pub path: &'static str,
    /// The rule.
    pub needs: Needs,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Parameters behind the `?`; others are refused.
    pub query: &'static [Parameter],
    /// What the request carries.
    pub carries: Carries,
    /// The statuses of good answers, and what they hold.
    pub gives: (&'static [u16], Gives),
}

/// A row to begin from. There is none without a rule.
const fn get(needs: Needs) -> Route {
    Route {
        operation: Operation::Alive,
        id: "",
        method: Method::Get,
        path: "",
        needs,
        summary: "",
        query: &[],
        carries: Carries::Nothing,
        gives: (&[200], Gives::Json("")),
    }
}

const fn post(needs: Needs) -> Route {
    Route { method: Method::Post, ..get(needs) }
}

const fn shortcut(what: Shortcut, id: &'static str, path: &'static str, summary: &'static str) -> Route {
    Route {
        operation: Operation::Record(what),
        id,
        path,
        summary,
        carries: Carries::Shortcut(what),
        gives: (&[200, 201, 202], Gives::Json("Receipt")),
        ..post(Needs::OnLog(Verb::Append))
    }
}

const fn file(what: File, id: &'static str, path: &'static str, summary: &'static str) -> Route {
    let gives: (&[u16], Gives) = (&[200], Gives::File(what.media_type()));
    Route { operation: Operation::Browse(what), id, path, summary, gives, ..get(Needs::Nothing) }
}

const FROM: Parameter =
    Parameter { name: "from", about: "The index of the first entry, or the `next` of the page before; 0 if left out" };
const LIMIT: Parameter =
    Parameter { name: "limit", about: "At most so many, up to 1000; 100 if left out, and never less than one" };
const WAIT: Parameter = Parameter { name: "wait", about: "Seconds to wait for the verdict, 0 to 20; 10 if left out" };
const TAIL_FROM: Parameter =
    Parameter { name: "from", about: "The index of the first entry; what is recorded from now on if left out" };
const TO: Parameter = Parameter {
    name: "to",
    about: "The index behind the last entry; all that the newest checkpoint covers if left out",
};
const AFTER: Parameter = Parameter { name: "after", about: "The `next` of the page before" };

/// All routes. INVARIANT(ruled): nothing is answered that has no row here, and each row has its rule.
pub const ROUTES: &[Route] = &[
    Route {
        operation: Operation::Alive,
        id: "alive",
        path: "/healthz",
        summary: "Whether the process answers",
        gives: (&[200], Gives::Text),
        ..get(Needs::Nothing)
    },
    Route {
        operation: Operation::Ready,
        id: "ready",
        path: "/readyz",
        summary: "Whether it takes requests: not while it starts or stops",
        gives: (&[200], Gives::Text),
        ..get(Needs::Nothing)
    },
    Route {
        operation: Operation::Metrics,
        id: "metrics",
        path: "/metrics",
        summary: "Counters for Prometheus",
        gives: (&[200], Gives::Text),
        ..get(Needs::Key(Verb::Metrics))
    },
    Route {
        operation: Operation::OpenApi,
        id: "openapi",
        path: "/openapi.json",
        summary: "This interface as OpenAPI 3.1",
        gives: (&[200], Gives::Json("Object")),
        ..get(Needs::Nothing)
    },
    file(File::Page, "browse", "/docs", "A page that shows this document, and tries its operations"),
    file(File::Script, "browseScript", "/docs/page.js", "The script of that page"),
    file(File::Style, "browseStyle", "/docs/page.css", "The style of that page"),
    Route {
        operation: Operation::ProblemText,
        id: "problem",
        path: "/problems/{name}",
        summary: "What a kind of problem means, and what to do",
        gives: (&[200], Gives::Text),
        ..get(Needs::Nothing)
    },
    Route {
        operation: Operation::Logs,
        id: "listLogs",
        path: "/v1/logs",
        summary: "The logs that the key is for, by name",
        query: &[AFTER, LIMIT],
        gives: (&[200], Gives::Json("Logs")),
        ..get(Needs::Key(Verb::List))
    },
    Route {
        operation: Operation::CreateLog,
        id: "createLog",
        path: "/v1/logs",
        summary: "Makes a log and registers it",
        carries: Carries::Json("NewLog"),
        gives: (&[201], Gives::Json("Log")),
        ..post(Needs::Key(Verb::Create))
    },
    Route {
        operation: Operation::Append,
        id: "append",
        path: "/v1/logs/{log}/events",
        summary: "Records one event, or one a line; the answer comes when they are durable, or as `Prefer` says",
        carries: Carries::Events,
        gives: (&[200, 201, 202, 207], Gives::Json("Receipt")),
        ..post(Needs::OnLog(Verb::Append))
    },
    shortcut(Shortcut::Auth, "recordAuth", "/v1/logs/{log}/record/auth", "Records that somebody signs in or out"),
    shortcut(
        Shortcut::DataAccess,
        "recordDataAccess",
        "/v1/logs/{log}/record/data-access",
        "Records that data is read",
    ),
    shortcut(
        Shortcut::DataChange,
        "recordDataChange",
        "/v1/logs/{log}/record/data-change",
        "Records what data was and what it became, and which members differ",
    ),
    shortcut(
        Shortcut::Admin,
        "recordAdmin",
        "/v1/logs/{log}/record/admin",
        "Records that settings, roles or rights are changed",
    ),
    shortcut(Shortcut::Api, "recordApi", "/v1/logs/{log}/record/api", "Records a call of an interface"),
    shortcut(
        Shortcut::Decision,
        "recordDecision",
        "/v1/logs/{log}/record/decision",
        "Records a decision of a person or a system, and whether a person looked at it",
    ),
    shortcut(
        Shortcut::AgentStep,
        "recordAgentStep",
        "/v1/logs/{log}/record/agent-step",
        "Records that an agent calls a tool",
    ),
    Route {
        operation: Operation::EventById,
        id: "findEvent",
        path: "/v1/logs/{log}/events/{event}",
        summary: "The entry of the event with this id",
        gives: (&[200], Gives::Json("Entry")),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::Entries,
        id: "listEntries",
        path: "/v1/logs/{log}/entries",
        summary: "Entries in the order of the log, a page at a time",
        query: &[FROM, LIMIT],
        gives: (&[200], Gives::Json("Entries")),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::Entry,
        id: "getEntry",
        path: "/v1/logs/{log}/entries/{index}",
        summary: "One entry, its bytes as they are hashed",
        gives: (&[200], Gives::Json("Entry")),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::Proof,
        id: "prove",
        path: "/v1/logs/{log}/entries/{index}/proof",
        summary: "A bundle that proves one entry to anybody with the log's public key",
        gives: (&[200], Gives::Json("Bundle")),
        ..get(Needs::OnLog(Verb::Prove))
    },
    Route {
        operation: Operation::Tail,
        id: "tail",
        path: "/v1/logs/{log}/tail",
        summary: "Entries as they become durable, as server-sent events whose `id` is the index; goes on behind `Last-Event-ID`",
        query: &[TAIL_FROM],
        gives: (&[200], Gives::Stream("text/event-stream")),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::Export,
        id: "export",
        path: "/v1/logs/{log}/export",
        summary: "Entries `from` to `to`, one a line, and a last line that proves them to anybody with the log's public key",
        query: &[FROM, TO],
        gives: (&[200], Gives::Stream("application/x-ndjson")),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::PublishedCheckpoint,
        id: "getCheckpoint",
        path: "/v1/logs/{log}/checkpoint",
        summary: "The newest checkpoint, a signed note",
        gives: (&[200], Gives::Text),
        ..get(Needs::OnLogUnlessOpen(Verb::Head))
    },
    Route {
        operation: Operation::PublicKeys,
        id: "getPublicKeys",
        path: "/v1/logs/{log}/keys",
        summary: "The public keys of the log, from which index on each is right",
        gives: (&[200], Gives::Json("PublicKeys")),
        ..get(Needs::OnLogUnlessOpen(Verb::Head))
    },
    Route {
        operation: Operation::Health,
        id: "getHealth",
        path: "/v1/logs/{log}/health",
        summary: "What is signed and since when, what is not yet, the last verification, the age of keys",
        gives: (&[200], Gives::Json("Health")),
        ..get(Needs::OnLog(Verb::Head))
    },
    Route {
        operation: Operation::VerifyLog,
        id: "verifyLog",
        path: "/v1/logs/{log}/verify",
        summary: "Verifies the log from its stored bytes",
        query: &[WAIT],
        gives: (&[200, 202], Gives::Json("Verification")),
        ..post(Needs::OnLog(Verb::Verify))
    },
    Route {
        operation: Operation::Verification,
        id: "getVerification",
        path: "/v1/logs/{log}/verifications/{id}",
        summary: "How far a verification is, and its verdict",
        gives: (&[200], Gives::Json("Verification")),
        ..get(Needs::OnLog(Verb::Verify))
    },
    Route {
        operation: Operation::LockLog,
        id: "lockLog",
        path: "/v1/logs/{log}/lock",
        summary: "Locks the log: events are refused with 423 until it is unlocked, and everything else goes on",
        carries: Carries::Json("Why"),
        gives: (&[200], Gives::Json("Lock")),
        ..post(Needs::OnLog(Verb::Lock))
    },
    Route {
        operation: Operation::UnlockLog,
        id: "unlockLog",
        path: "/v1/logs/{log}/unlock",
        summary: "Ends the lock of the log",
        carries: Carries::Json("Why"),
        gives: (&[200], Gives::Json("Lock")),
        ..post(Needs::OnLog(Verb::Lock))
    },
    Route {
        operation: Operation::ApiKeys,
        id: "listApiKeys",
        path: "/v1/api-keys",
        summary: "The API keys that grant no more than the one that asks",
        query: &[AFTER, LIMIT],
        gives: (&[200], Gives::Json("ApiKeys")),
        ..get(Needs::Key(Verb::Identity))
    },
    Route {
        operation: Operation::CreateApiKey,
        id: "createApiKey",
        path: "/v1/api-keys",
        summary: "Makes an API key; its token is in this answer and nowhere else",
        carries: Carries::Json("NewApiKey"),
        gives: (&[201], Gives::Json("ApiKeyWithToken")),
        ..post(Needs::Key(Verb::Identity))
    },
    Route {
        operation: Operation::RotateApiKey,
        id: "rotateApiKey",
        path: "/v1/api-keys/{id}/rotate",
        summary: "Makes a key of the same grant, and lets the old one end after an overlap",
        carries: Carries::Json("Rotation"),
        gives: (&[201], Gives::Json("ApiKeyWithToken")),
        ..post(Needs::Key(Verb::Identity))
    },
    Route {
        operation: Operation::RevokeApiKey,
        id: "revokeApiKey",
        method: Method::Delete,
        path: "/v1/api-keys/{id}",
        summary: "Ends an API key at once, for good, and what it made with it",
        gives: (&[200], Gives::Json("ApiKeyEnded")),
        ..get(Needs::Key(Verb::Identity))
    },
    Route {
        operation: Operation::TileCheckpoint,
        id: "tileCheckpoint",
        path: "/logs/{log}/checkpoint",
        summary: "C2SP tlog-tiles: the newest checkpoint",
        gives: (&[200], Gives::Text),
        ..get(Needs::OnLogUnlessOpen(Verb::Head))
    },
    Route {
        operation: Operation::EntryBundle,
        id: "entryBundle",
        path: "/logs/{log}/tile/entries/{rest*}",
        summary: "C2SP tlog-tiles: 256 entries, or as many as there are",
        gives: (&[200], Gives::Bytes),
        ..get(Needs::OnLog(Verb::Read))
    },
    Route {
        operation: Operation::Tile,
        id: "tile",
        path: "/logs/{log}/tile/{rest*}",
        summary: "C2SP tlog-tiles: 256 hashes of a level of the tree, or as many as there are",
        gives: (&[200], Gives::Bytes),
        ..get(Needs::OnLogUnlessOpen(Verb::Head))
    },
];

/// What the braces of a path stood for, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured(Vec<(&'static str, String)>);

impl Captured {
    /// What stood for a name; empty where the path has no such name.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// What a method and a path lead to.
#[derive(Debug)]
pub enum Found {
    /// A route.
    Route(&'static Route, Captured),
    /// The path is known, with other methods.
    OtherMethod(Vec<&'static str>),
    /// There is no such path.
    Nothing,
    /// The path is not written as a path is: a bad percent code, or what it stands for is no text.
    Malformed,
}

/// Looks a request up. `path` is as it was sent.
#[must_use]
pub fn find(method: &str, path: &str) -> Found {
    let asked = Method::parse(method);
    let mut others = Vec::new();
    for route in ROUTES.iter().filter(|route| walk(route.path, path, |_, _| ())) {
        if asked != Some(route.method) {
            others.push(route.method.as_str());
            continue;
        }
        let mut raw = Vec::new();
        walk(route.path, path, |name, value| raw.push((name, value)));
        let decoded: Option<Vec<_>> = raw.into_iter().map(|(name, value)| Some((name, decode(value)?))).collect();
        return decoded.map_or(Found::Malformed, |captured| Found::Route(route, Captured(captured)));
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethod(others) }
}

/// Whether a path fits a pattern. Tells what stands for each name as far as it does.
fn walk<'p>(pattern: &'static str, path: &'p str, mut stands_for: impl FnMut(&'static str, &'p str)) -> bool {
    let (Some(mut pattern), Some(mut path)) = (pattern.strip_prefix('/'), path.strip_prefix('/')) else { return false };
    loop {
        let (wanted, pattern_rest) = split(pattern);
        let name = wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        if let Some(name) = name.and_then(|name| name.strip_suffix('*')) {
            stands_for(name, path);
            return !path.is_empty();
        }
        let (given, path_rest) = split(path);
        match name {
            Some(name) if !given.is_empty() => stands_for(name, given),
            None if wanted == given => {}
            _ => return false,
        }
        match (pattern_rest, path_rest) {
            (Some(next_pattern), Some(next_path)) => (pattern, path) = (next_pattern, next_path),
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn id(method: &str, path: &str) -> String {
        match find(method, path) {
            Found::Route(route, captured) => {
                let values: Vec<&str> = captured.0.iter().map(|(_, value)| value.as_str()).collect();
                format!("{} {}", route.id, values.join(",")).trim().to_owned()
            }
            Found::OtherMethod(methods) => methods.join(","),
            Found::Nothing => "-".to_owned(),
            Found::Malformed => "!".to_owned(),
        }
    }

    #[test]
    fn requests_find_their_routes() {
        let rows = [
            ("GET", "/healthz", "alive"),
            ("HEAD", "/healthz", "alive"),
            ("POST", "/healthz", "GET"),
            ("PUT", "/v1/logs", "GET,POST"),
            ("POST", "/v1/logs/a.b%2Fc/events", "append a.b/c"),
            ("GET", "/v1/logs/a/entries/7", "getEntry a,7"),
            ("GET", "/v1/logs/a/entries/7/proof", "prove a,7"),
            ("GET", "/logs/a/tile/0/x001/067", "tile a,0/x001/067"),
            ("GET", "/logs/a/tile/entries/x001/067.p/3", "entryBundle a,x001/067.p/3"),
            ("GET", "/logs/a/checkpoint", "tileCheckpoint a"),
            ("GET", "/healthz/", "-"),
            ("GET", "//healthz", "-"),
            ("GET", "/v1/logs//entries", "-"),
            ("GET", "/v1/../healthz", "-"),
            ("GET", "/v1/logs/%2e%2e/entries", "listEntries .."),
            ("GET", "/v1/logs/a%2/entries", "!"),
            ("GET", "/v1/logs/a%zz/entries", "!"),
            ("GET", "/v1/logs/a%ff/entries", "!"),
            ("GET", "", "-"),
            ("GET", "*", "-"),
            ("get", "/healthz", "GET"),
        ];
        for (method, path, expected) in rows {
            assert_eq!(id(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn every_operation_has_one_route_with_a_name_of_its_own() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(!route.summary.is_empty() && !route.id.is_empty(), "{}", route.path);
            for other in ROUTES.iter().skip(at + 1) {
                assert_ne!(route.id, other.id);
                assert_ne!(route.operation, other.operation, "{}", route.id);
                assert!((route.method, route.path) != (other.method, other.path), "{}", route.id);
            }
            let on_log = matches!(route.needs, Needs::OnLog(_) | Needs::OnLogUnlessOpen(_));
            assert_eq!(on_log, route.path.contains("{log}"), "{}: a path with a log has a rule for that log", route.id);
        }
    }

    /// The operations in the table of the page: method and path, and what it says that each needs.
    fn told(page: &str) -> BTreeMap<(String, String), String> {
        let table = page.split("\n## ").find(|section| section.starts_with("Operations\n")).unwrap();
        let mut told = BTreeMap::new();
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let mut method = "";
            // What stands in code marks: a method with a path, more paths of that method, the form of a body.
            for code in cells[1].split('`').skip(1).step_by(2) {
                let path = code.split_once(' ').map_or(code, |(first, path)| {
                    method = first;
                    path
                });
                if path.starts_with('/') {
                    let path = path.split('?').next().unwrap_or_default();
                    let before = told.insert((method.to_owned(), path.to_owned()), cells[2].to_owned());
                    assert_eq!(before, None, "{row}");
                }
            }
        }
        told
    }

    #[test]
    fn each_route_has_its_row_in_the_page_of_the_interface() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
        let page = std::fs::read_to_string(page).unwrap();
        let told = told(&page);
        let mut met = BTreeSet::new();
        for route in ROUTES {
            let mut path = route.path.to_owned();
            if matches!(route.operation, Operation::Record(_)) {
                let (before, kind) = route.path.rsplit_once('/').unwrap();
                assert!(page.contains(&format!("\n| `{kind}` |")), "{}: the shortcut has no row", route.id);
                path = format!("{before}/{{kind}}");
            }
            let needs = match route.needs {
                Needs::Nothing => "–".to_owned(),
                Needs::Key(verb) | Needs::OnLog(verb) => format!("`{}`", verb.as_str()),
                Needs::OnLogUnlessOpen(verb) => format!("`{}`; nothing if the log is `open`", verb.as_str()),
            };
            let place = (route.method.as_str().to_owned(), path);
            assert_eq!(told.get(&place), Some(&needs), "{place:?}");
            met.insert(place);
        }
        let unmet: Vec<_> = told.keys().filter(|place| !met.contains(*place)).collect();
        assert!(unmet.is_empty(), "rows of no route: {unmet:?}");
    }
}
