//! What holds of every parser at the door, whatever the bytes are: one function for each, which the fuzz targets and the ordinary tests call.
//!
//! Each takes any bytes, has its parser read them, and asserts what has to be so of whatever is taken. That nothing panics and nothing grows is a part of it.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use hyper::{
    HeaderMap,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH},
};
use indelible_core::{event, json::canonicalise, tile::TilePath};
use tokio::sync::Semaphore;

use crate::{
    body::{self, Body, Held, Room},
    coding::{self, Coding},
    config::Config,
    encoding, etag, events,
    framing::Watcher,
    prefer::{self, Trace},
    request,
    routes::{self, Found, Operation, ROUTES},
    shortcuts::Shortcut,
};

/// A parser at the door: its name, and what holds of it.
pub type Door = (&'static str, fn(&[u8]));

/// All of them.
pub const DOORS: &[Door] = &[
    ("path", path),
    ("query", query),
    ("number", number),
    ("tile", tile),
    ("header", header),
    ("idempotency_key", idempotency_key),
    ("lines", lines),
    ("compressed", compressed),
    ("shortcut", shortcut),
    ("framing", framing),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Every byte as a percent code.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Paths and percent codes: what is captured leads to the same route again, however it is written.
pub fn path(bytes: &[u8]) {
    let path = text(bytes);
    if let Some(decoded) = routes::decode(&path) {
        assert!(decoded.len() <= path.len());
    }
    assert_eq!(routes::decode(&encoded(&path)).as_deref(), Some(&*path));
    for method in ["GET", "POST", "DELETE", "PUT"] {
        let Found::Route(route, captured) = routes::find(method, &path) else { continue };
        assert_eq!(method, route.method.as_str());
        let mut again = route.path.to_owned();
        for name in ["log", "event", "index", "id", "name"] {
            let braces = format!("{{{name}}}");
            assert_eq!(captured.get(name).is_empty(), !route.path.contains(&braces), "{path}");
            again = again.replace(&braces, &encoded(captured.get(name)));
        }
        // What is left of a path keeps its slashes.
        let rest = captured.get("rest").split('/').map(encoded).collect::<Vec<_>>().join("/");
        again = again.replace("{rest*}", &rest);
        let found = routes::find(method, &again);
        assert!(matches!(&found, Found::Route(same, twice) if same.id == route.id && *twice == captured), "{path}");
    }
}

/// What stands behind the `?`: parameters of the route, each once.
pub fn query(bytes: &[u8]) {
    let text = text(bytes);
    for route in ROUTES {
        let Ok(taken) = request::query(route, &text) else { continue };
        for (at, (name, _)) in taken.iter().enumerate() {
            assert!(route.query.iter().any(|known| known.name == name), "{name}");
            assert!(!taken.iter().skip(at + 1).any(|(other, _)| other == name), "{name}");
        }
    }
}

/// Indexes, ends of ranges, cursors: digits and nothing else.
pub fn number(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(number) = request::parse_number(&text) {
        let digits = text.trim_start_matches('0');
        assert_eq!(number.to_string(), if digits.is_empty() { "0" } else { digits });
    }
}

/// Tiles by their paths: one text for each.
pub fn tile(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(tile) = text.parse::<TilePath>() {
        assert_eq!(tile.to_string(), text);
    }
}

/// Headers that are read: preferences, traces, tags, codings, media types, addresses that proxies pass on.
pub fn header(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let with = |name: HeaderName, values: &[&HeaderValue]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, (*value).clone());
        }
        headers
    };
    let named = HeaderName::from_static;
    let _preference = prefer::acknowledge(&with(named("prefer"), &[&value]));
    if let Some(trace) = Trace::of(&with(named("traceparent"), &[&value])) {
        assert!(canonicalise(format!("{{{}}}", prefer::context(&trace)).as_bytes()).is_ok());
        assert!(HeaderValue::from_str(&trace.parent).is_ok() && trace.parent.as_bytes() == value.as_bytes());
    }
    if let Some(tag) = etag::known(&with(IF_NONE_MATCH, &[&value]), "ab") {
        assert!(["\"ab\"", "\"ab-gzip\"", "\"ab-zstd\""].contains(&tag.as_str()));
        assert!(text(bytes).contains('*') || text(bytes).contains(&tag));
    }
    let accepted = encoding::wanted(Operation::Entries, &with(ACCEPT_ENCODING, &[&value]));
    if let Some(encoding) = accepted {
        let said = text(bytes).to_ascii_lowercase();
        assert!(said.contains(encoding.name()) || said.contains('*'));
    }
    let _coding = coding::coding(&with(CONTENT_ENCODING, &[&value]));
    for lines_too in [true, false] {
        let _form = body::form(&with(CONTENT_TYPE, &[&value]), lines_too);
    }
    forwarded(&value);
}

/// Nobody but a listed proxy is believed, and an address that is believed was written down.
fn forwarded(value: &HeaderValue) {
    let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    for name in ["forwarded", "x-forwarded-for"] {
        let text = format!("[network]\ntrusted_proxies = [\"192.0.2.0/24\"]\nforwarded_by = \"{name}\"\n");
        let config: Result<Config, _> = toml::from_str(&text);
        assert!(config.is_ok(), "{text}");
        let Ok(config) = config else { continue };
        let mut headers = HeaderMap::new();
        headers.append(HeaderName::from_static(name), value.clone());
        if let Ok(client) = config.network.client(peer, &headers) {
            assert!(client == peer || !value.is_empty());
        }
        let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        if let Ok(client) = config.network.client(stranger, &headers) {
            assert_eq!(client, stranger);
        }
    }
}

/// A key that is taken makes an event's id, and nothing else of the event.
pub fn idempotency_key(bytes: &[u8]) {
    let key = text(bytes);
    let Ok(id) = events::checked_key(&key) else { return };
    let given = events::Given { id: Some(id.clone()), trace: None };
    let event = br#"{"action":"a","actor":{"id":"x","type":"user"}}"#;
    let (_, texts) = events::split(event, &given);
    for text in texts {
        if let Ok(event) = event::parse(&text, String::new) {
            assert_eq!(event.id(), format!("{id}/1"));
        }
    }
}

/// Lines: each that holds something once, with its number, and nothing but what it held.
pub fn lines(bytes: &[u8]) {
    let (numbers, texts) = events::split(bytes, &events::Given { id: None, trace: None });
    assert!(numbers.is_sorted_by(|one, other| one < other) && numbers.len() == texts.len());
    let all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for (number, line) in numbers.iter().zip(&texts) {
        let at = all.get(number - 1).copied().unwrap_or_default();
        assert!(!line.is_empty() && **line == *at.trim_ascii());
    }
    let held = all.iter().filter(|line| !line.trim_ascii().is_empty()).count();
    assert_eq!(held, texts.len());
}

/// Compressed bodies: no more comes out than may, and all of the budget comes back.
pub fn compressed(bytes: &[u8]) {
    const MOST: usize = 2 << 20;
    const UNITS: usize = 4096;
    for coding in [Coding::Gzip, Coding::Zstd, Coding::Identity] {
        let (budget, share) = (Arc::new(Semaphore::new(UNITS)), Arc::new(Semaphore::new(UNITS)));
        let room = Room { budget: &budget, share: &share };
        if let Ok(body) = coding::expand(coding, &Body::new(bytes.to_vec(), Held::default()), MOST, room) {
            assert!(body.bytes.len() <= MOST);
            assert!(coding != Coding::Identity || body.bytes == bytes);
        }
        assert_eq!((budget.available_permits(), share.available_permits()), (UNITS, UNITS));
    }
}

/// Bodies of shortcuts: what is taken is an event of its kind for the one door of events, or that door's to refuse.
pub fn shortcut(bytes: &[u8]) {
    for shortcut in Shortcut::ALL {
        match shortcut.event(bytes, None) {
            Ok(text) => {
                assert!(canonicalise(&text).is_ok());
                if let Ok(event) = event::parse(&text, || "new".to_owned()) {
                    let kind = format!("\"kind\":\"{}\"", shortcut.kind());
                    assert!(text_of(&event).contains(&kind));
                }
            }
            Err(problem) => {
                let pointer = problem.pointer().unwrap_or_default();
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
            }
        }
    }
}

fn text_of(event: &event::CanonicalEvent) -> String {
    text(event.bytes()).into_owned()
}

/// The watcher of heads sees the same in whatever pieces the bytes come.
pub fn framing(bytes: &[u8]) {
    let (mut whole, mut pieces) = (Watcher::default(), Watcher::default());
    let at_once = whole.see(bytes);
    let by_byte = bytes.iter().fold(false, |found, byte| found | pieces.see(std::slice::from_ref(byte)));
    assert_eq!(at_once, by_byte);
}

#[cfg(test)]
mod tests {
    use proptest::{
        prelude::*,
        test_runner::{Config as Bounds, RngSeed, TestRunner},
    };

    use super::*;

    /// So many inputs for each door and each sort of input: the seed is fixed, so that a run is like any other. `INDELIBLE_SEEDS` says how many, and `INDELIBLE_FIRST_SEED` where they begin.
    fn runner() -> TestRunner {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let cases = number("INDELIBLE_SEEDS").and_then(|count| u32::try_from(count).ok()).unwrap_or(400);
        let seed = RngSeed::Fixed(number("INDELIBLE_FIRST_SEED").unwrap_or(0));
        TestRunner::new(Bounds { cases, rng_seed: seed, failure_persistence: None, ..Bounds::default() })
    }

    fn run(strategy: impl Strategy<Value = Vec<u8>>, doors: &[&str]) {
        let chosen: Vec<_> = DOORS.iter().filter(|(name, _)| doors.contains(name)).collect();
        assert_eq!(chosen.len(), doors.len());
        runner()
            .run(&strategy, |bytes| {
                chosen.iter().for_each(|(_, door)| door(&bytes));
                Ok(())
            })
            .unwrap();
    }

    fn all() -> Vec<&'static str> {
        DOORS.iter().map(|(name, _)| *name).collect()
    }

    fn spelled(pattern: &'static str) -> impl Strategy<Value = Vec<u8>> {
        proptest::string::string_regex(pattern).unwrap().prop_map(String::into_bytes)
    }

    #[test]
    fn any_bytes_are_read_or_refused_at_every_door() {
        run(prop::collection::vec(any::<u8>(), 0..200), &all());
    }

    #[test]
    fn paths_and_queries_that_look_right() {
        run(spelled("(/(v1|logs|tile|entries|events|record|api-keys|[a-z%0-9./]{0,6})){0,8}"), &["path", "query"]);
        run(spelled("((from|limit|to|after|wait|%66rom)=(%[0-9a-fA-F]{2}|[0-9a-z+%]){0,6}&?){0,4}"), &["query"]);
        run(spelled("[0+-]{0,2}[0-9]{0,21}"), &["number"]);
        run(spelled("tile/(entries|[0-9]{1,2})(/x?[0-9]{3}){0,5}(\\.p/[0-9]{1,3})?"), &["tile"]);
    }

    #[test]
    fn headers_that_look_right() {
        run(spelled("((anchored|bounded|durable|wait=[0-9]|x)(;[a-z=]{0,4})?,? ?){0,5}"), &["header"]);
        run(spelled("[0f]{2}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{2}(-x)?"), &["header"]);
        run(spelled("((W/)?\"(ab|cd|a,b)(-gzip|-zstd|-br)?\"?,? ?|\\*){0,5}"), &["header"]);
        run(spelled("((gzip|zstd|identity|br|\\*|x-gzip)(; ?q=[01](\\.[0-9]{0,4})?)?, ?){0,5}"), &["header"]);
        run(spelled("((for|by|proto)=(\"?\\[?[0-9a-f:.]{1,20}\\]?(:[0-9]{1,5})?\"?)[;,] ?){0,4}"), &["header"]);
        run(spelled("([0-9]{1,3}(\\.[0-9]{1,3}){3}(:[0-9]{1,5})?|[0-9a-f:]{2,20}|unknown),? ?"), &["header"]);
        run(spelled("[ -~\\t]{0,260}"), &["header", "idempotency_key"]);
    }

    #[test]
    fn bodies_that_look_right() {
        run(spelled("(\\{\"(id|action|context)\":(\"[a-z]{0,4}\"|7|\\{\\})\\}[ \\r]?\\n?|\\n| ){0,9}"), &["lines"]);
        // The examples with one place changed.
        let examples = prop::sample::select(Shortcut::ALL.to_vec());
        let changed = (
            examples,
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            spelled("[\\[\\]{}\",:0-9a-z\\\\]{0,5}"),
        );
        let changed = changed.prop_map(|(shortcut, from, length, put)| {
            let mut bytes = shortcut.example().as_bytes().to_vec();
            let from = from.index(bytes.len());
            let to = from + length.index(8).min(bytes.len() - from);
            bytes.splice(from..to, put);
            bytes
        });
        run(changed, &["shortcut", "lines"]);
        let member = "\"(actor|details|outcome|target|before|after|activity|context|x)\":(\\{(\"(id|type)\":\"[a-z\\\\\"]{0,3}\",?){0,2}\\}|[0-9.e]{0,4}|null|\"success\"|\\[\\]),?";
        let object: &'static str = Box::leak(format!("\\{{({member}){{0,6}}\\}}").into_boxed_str());
        run(spelled(object), &["shortcut"]);
    }

    #[test]
    fn compressed_bodies_that_are_damaged() {
        let plain = prop::collection::vec(prop::sample::select(vec![b'a', b'\n', 0, 255]), 0..5000);
        let damaged = (plain, any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4));
        let damaged = damaged.prop_map(|(plain, is_zstd, changes)| {
            let encoding = if is_zstd { encoding::Encoding::Zstd } else { encoding::Encoding::Gzip };
            let mut coder = encoding::Coder::new(encoding).unwrap();
            let mut bytes = coder.piece(&plain).unwrap();
            bytes.extend(coder.finish().unwrap());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
            bytes
        });
        run(damaged, &["compressed"]);
    }

    #[test]
    fn heads_in_pieces() {
        let head = "(POST / HTTP/1\\.1\\r?\\n|(content-length|transfer-encoding|host|x): ?(chunked|[0-9]{1,2}|t)\\r?\\n|\\r?\\n|[0-9a-f]{1,2}(;x)?\\r\\n|[a-z]{1,12}){0,14}";
        run(spelled(head), &["framing"]);
    }
}
