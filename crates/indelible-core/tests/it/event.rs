//! The door for events: what passes, what is refused and with which words, and what the builders make.

use std::error::Error;

use indelible_core::{
    event::{
        Actor, AgentStep, Attachment, Context, Event, EventError, MAX_EVENT_BYTES, Outcome, Party, Severity, Target,
        parse,
    },
    json::{JsonErrorKind, canonicalise},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NEW_ID: &str = "0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b";

/// An event of the required members and what is given.
fn with(members: &str) -> String {
    format!(r#"{{"action":"document.read","actor":{{"type":"user","id":"u1"}}{members}}}"#)
}

#[track_caller]
fn accepted(text: &str) -> Value {
    let event = parse(text.as_bytes(), || NEW_ID.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(canonicalise(event.bytes()).unwrap(), event.bytes(), "not canonical");
    let value: Value = serde_json::from_slice(event.bytes()).unwrap();
    assert_eq!(value["id"], event.id());
    value
}

#[track_caller]
fn refused(text: &str, pointer: &str, message: &str) {
    let error = parse(text.as_bytes(), || NEW_ID.to_owned()).expect_err(text);
    assert_eq!(error.to_string(), message, "{text}");
    assert_eq!(error.pointer(), pointer, "{text}");
}

#[test]
fn a_new_id_stands_in_its_place() {
    for members in ["", r#","kind":"api""#, r#","tags":[],"details":{"id":7}"#, r#","identity":1"#] {
        let text = with(members);
        let Ok(event) = parse(text.as_bytes(), || NEW_ID.to_owned()) else { continue };
        assert_eq!((event.id(), event.id_generated()), (NEW_ID, true));
        accepted(&text);
    }
    let event = parse(with("").as_bytes(), || NEW_ID.to_owned()).unwrap();
    let expected = format!(r#"{{"action":"document.read","actor":{{"id":"u1","type":"user"}},"id":"{NEW_ID}"}}"#);
    assert_eq!(event.into_parts().0, expected.as_bytes());
}

#[test]
fn the_callers_id_is_kept() {
    let event = parse(with(r#","id":"order:17/é""#).as_bytes(), || panic!("not asked for")).unwrap();
    assert_eq!((event.id(), event.id_generated()), ("order:17/é", false));
    assert!(!format!("{event:?}").contains("document.read"), "content in debug output");
}

#[test]
fn a_new_id_is_checked_too() {
    for id in ["", "\"", "a\\b", "a\nb"] {
        let error = parse(with("").as_bytes(), || id.to_owned()).unwrap_err();
        assert_eq!(error.pointer(), "/id");
    }
}

#[test]
fn accepts_every_member() {
    let text = json!({
        "id": "e1", "occurred_at": "2026-01-31T09:00:00.5+01:00", "kind": "agent", "action": "tool.call",
        "severity": "notice", "outcome": "denied", "reason": "not allowed",
        "actor": {"type": "agent", "id": "a1", "name": "A", "session": "s", "clearance": 5, "attributes": {"x": [1]},
                  "on_behalf_of": [{"type": "user", "id": "u1", "name": "U"}, "team-7"]},
        "targets": [{"type": "doc", "id": "d1", "name": "D", "attributes": null}],
        "context": {"source_ip": "::1", "user_agent": "", "request_id": "r", "trace_id": "t", "span_id": "s",
                    "node": "n", "component": "c", "location": {"country": "NO"}},
        "change": {"before": null, "after": [1, {"control": 2}]}, "details": {"anything": {"goes": true}},
        "agent": {"model": "m", "tool": "t", "policy": "p", "approval": {"by": "u2"}, "arguments_digest": "d"},
        "tenant": "acme", "subjects": ["u7", {"type": "patient", "id": "p9"}], "clearance": 0, "retention": "7y",
        "tags": ["a", "b"],
        "attachments": [{"digest": format!("sha256:{}", "0a".repeat(32)), "size": 0, "name": "f", "media_type": "x/y"}],
    });
    assert_eq!(accepted(&text.to_string()), text);
}

#[test]
fn refuses_with_place_and_remedy() {
    const OTHER: &str = "what an event has no member for goes into `details`";
    for (members, pointer, message) in [
        (r#","occuredAt":"x""#, "/occuredAt", "unknown member `/occuredAt`: did you mean `occurred_at`?"),
        (r#","target":[]"#, "/target", "unknown member `/target`: did you mean `targets`?"),
        (r#","xyzzy":1"#, "/xyzzy", &format!("unknown member `/xyzzy`: {OTHER}")),
        (r#","a/b~":1"#, "/a~1b~0", &format!("unknown member `/a~1b~0`: {OTHER}")),
        (
            r#","context":{"sourceip":"x"}"#,
            "/context/sourceip",
            "unknown member `/context/sourceip`: did you mean `source_ip`?",
        ),
        (
            r#","targets":[{"type":"d","id":"1"},{"type":"d"}]"#,
            "/targets/1/id",
            "member `/targets/1/id` is missing: send a string of 1 to 2048 bytes",
        ),
        (
            r#","targets":[{"type":"d","id":7}]"#,
            "/targets/0/id",
            "`/targets/0/id` must be a string of 1 to 2048 bytes, not a number",
        ),
        (r#","targets":{"type":"d","id":"1"}"#, "/targets", "`/targets` must be an array, not an object"),
        (
            r#","severity":"hihg""#,
            "/severity",
            "`/severity` must be one of `debug`, `info`, `notice`, `warning`, `error`, `critical`, not `hihg`",
        ),
        (
            r#","severity":"warn""#,
            "/severity",
            "`/severity` must be one of `debug`, `info`, `notice`, `warning`, `error`, `critical`, not `warn`",
        ),
        (
            r#","outcome":"sucess""#,
            "/outcome",
            "`/outcome` must be one of `success`, `failure`, `denied`, `unknown`, not `sucess`; did you mean `success`?",
        ),
        (
            r#","outcome":true"#,
            "/outcome",
            "`/outcome` must be one of `success`, `failure`, `denied`, `unknown`, not a boolean",
        ),
        (
            r#","occurred_at":"yesterday""#,
            "/occurred_at",
            "`/occurred_at` must be an RFC 3339 time such as `2026-01-31T08:00:00Z`, not `yesterday`",
        ),
        (
            r#","occurred_at":1769846400"#,
            "/occurred_at",
            "`/occurred_at` must be an RFC 3339 time such as `2026-01-31T08:00:00Z`, not `1769846400`",
        ),
        (r#","clearance":6"#, "/clearance", "`/clearance` must be an integer from 0 to 5, not `6`"),
        (r#","clearance":-1"#, "/clearance", "`/clearance` must be an integer from 0 to 5, not `-1`"),
        (r#","reason":null"#, "/reason", "`/reason` must be a string, not null (leave the member out)"),
        (r#","tenant":"""#, "/tenant", "`/tenant` must be a string of 1 to 256 bytes, not an empty string"),
        (r#","tags":["a",1]"#, "/tags/1", "`/tags/1` must be a string of 1 to 256 bytes, not a number"),
        (
            r#","subjects":[""]"#,
            "/subjects/0",
            "`/subjects/0` must be a string that is not empty, or an object, not an empty string",
        ),
        (
            r#","subjects":[{"id":"1"}]"#,
            "/subjects/0/type",
            "member `/subjects/0/type` is missing: send a string of 1 to 256 bytes",
        ),
        (
            r#","id":"""#,
            "/id",
            "`/id` must be a string of 1 to 256 printable bytes without quotes and backslashes, not an empty string",
        ),
        (
            r#","id":"a\nb""#,
            "/id",
            "`/id` must be a string of 1 to 256 printable bytes without quotes and backslashes, not a string of 4 bytes",
        ),
        (
            r#","attachments":[{"digest":"sha256:00","size":1}]"#,
            "/attachments/0/digest",
            "`/attachments/0/digest` must be `sha256:` and 64 lower-case hexadecimal digits, not a string of 9 bytes",
        ),
        (r#","change":{"old":1}"#, "/change/old", &format!("unknown member `/change/old`: {OTHER}")),
    ] {
        refused(&with(members), pointer, message);
    }
    let digest = "0a".repeat(32);
    refused(
        &with(&format!(r#","attachments":[{{"digest":"sha256:{digest}","size":1.5}}]"#)),
        "/attachments/0/size",
        "`/attachments/0/size` must be a number of bytes, not `1.5`",
    );
}

#[test]
fn refuses_what_is_not_there() {
    let wanted = "send a string of 1 to 256 bytes";
    refused("{}", "/action", &format!("member `/action` is missing: {wanted}"));
    refused(r#"{"action":"a"}"#, "/actor", "member `/actor` is missing: send an object");
    refused(
        r#"{"action":"a","actor":{"id":"x"}}"#,
        "/actor/type",
        &format!("member `/actor/type` is missing: {wanted}"),
    );
    refused(r#"{"acton":"a","actor":{}}"#, "/acton", "unknown member `/acton`: did you mean `action`?");
    refused(
        r#"{"action":"","actor":{}}"#,
        "/action",
        "`/action` must be a string of 1 to 256 bytes, not an empty string",
    );
    let whole = "send `{\"action\":…,\"actor\":…}`";
    refused("[]", "", &format!("an event is an object, not an array: {whole}"));
    refused("\"x\"", "", &format!("an event is an object, not a string of 1 bytes: {whole}"));
}

#[test]
fn a38_event_cannot_carry_control() {
    let only_the_log =
        "`control` is no member of an event: only the log itself writes control records; send an `action`";
    for control in [r#"{"type":"pruned"}"#, "null", "\"x\""] {
        refused(&with(&format!(",\"control\":{control}")), "/control", only_the_log);
        refused(&format!("{{\"control\":{control}}}"), "/control", only_the_log);
        // However it is spelt.
        refused(&with(&format!(",\"\\u0063ontrol\":{control}")), "/control", only_the_log);
    }
    // In free JSON the word means nothing.
    accepted(&with(r#","details":{"control":{"type":"pruned"}}"#));
}

#[test]
fn a28_an_event_cannot_carry_what_the_log_sets() {
    for member in
        ["event", "head", "index", "key", "log", "mode", "prev", "recorded_at", "salt", "sealed", "v", "mac", "batch"]
    {
        let error = parse(with(&format!(",\"{member}\":1")).as_bytes(), || NEW_ID.to_owned()).unwrap_err();
        assert!(matches!(error, EventError::UnknownMember { .. }), "{member}: {error}");
        assert_eq!(error.pointer(), format!("/{member}"));
    }
}

#[test]
fn a20_hostile_json_is_refused_with_its_pointer() {
    for (members, kind, pointer) in [
        (r#","details":{"n":9007199254740993}"#, JsonErrorKind::InexactNumber, "/details/n"),
        (r#","details":{"n":NaN}"#, JsonErrorKind::NotANumber, "/details/n"),
        (r#","details":{"a":1,"\u0061":2}"#, JsonErrorKind::DuplicateMember, "/details/a"),
        (r#","action":"other""#, JsonErrorKind::DuplicateMember, "/action"),
        (r#","reason":"\ud800""#, JsonErrorKind::LoneSurrogate, "/reason"),
    ] {
        let error = parse(with(members).as_bytes(), || NEW_ID.to_owned()).expect_err(members);
        assert_eq!(error.pointer(), pointer);
        assert!(error.source().is_some_and(|source| source.to_string().contains(pointer)), "{members}");
        assert!(matches!(error, EventError::Json(json) if json.kind == kind), "{members}");
    }
}

#[test]
fn an_entry_around_the_deepest_event_is_deep_enough() {
    let nested = |levels| with(&format!(",\"details\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    let deepest = accepted(&nested(62));
    let entry = json!({ "event": deepest }).to_string();
    assert!(canonicalise(entry.as_bytes()).is_ok());
    assert!(parse(nested(63).as_bytes(), || NEW_ID.to_owned()).is_err());
}

#[test]
fn the_size_is_that_of_the_canonical_form() {
    let empty = parse(with(r#","details":"""#).as_bytes(), || NEW_ID.to_owned()).unwrap().bytes().len();
    let filled = |length| with(&format!("   ,\"details\":\"{}\"", "x".repeat(length)));
    let largest = parse(filled(MAX_EVENT_BYTES - empty).as_bytes(), || NEW_ID.to_owned()).unwrap();
    assert_eq!(largest.bytes().len(), MAX_EVENT_BYTES);
    refused(
        &filled(MAX_EVENT_BYTES - empty + 1),
        "",
        "the event has 64001 bytes of at most 64000: send what is large as an attachment",
    );
}

#[test]
fn one_line_for_the_common_kinds() {
    let (user, target) = (|| Actor::user("u1"), || Target::new("doc", "d1"));
    let actor = json!({"type": "user", "id": "u1"});
    let targets = json!([{"type": "doc", "id": "d1"}]);
    for (event, expect) in [
        (Event::login(user(), Outcome::Failure), json!({"action": "auth.login", "kind": "auth", "outcome": "failure"})),
        (
            Event::data_access(user(), "doc.read", target()),
            json!({"action": "doc.read", "kind": "data_access", "targets": targets}),
        ),
        (
            Event::data_change(user(), "doc.rename", target(), json!({"name": "a"}), Value::Null),
            json!({"action": "doc.rename", "kind": "data_change", "targets": targets, "change": {"before": {"name": "a"}}}),
        ),
        (
            Event::admin(user(), "role.grant", target()),
            json!({"action": "role.grant", "kind": "admin", "targets": targets}),
        ),
        (
            Event::api(user(), "GET /v1/x"),
            json!({"action": "api.call", "kind": "api", "targets": [{"type": "endpoint", "id": "GET /v1/x"}]}),
        ),
        (
            Event::decision(user(), "loan.grant", Outcome::Denied),
            json!({"action": "loan.grant", "kind": "decision", "outcome": "denied"}),
        ),
        (
            Event::agent_step(user(), "search"),
            json!({"action": "agent.tool", "kind": "agent", "agent": {"tool": "search"}}),
        ),
        (
            Event::security(user(), "probe", Severity::Critical),
            json!({"action": "probe", "kind": "security", "severity": "critical"}),
        ),
    ] {
        let mut expect = expect;
        expect["actor"] = actor.clone();
        expect["id"] = json!(NEW_ID);
        assert_eq!(accepted(&String::from_utf8(event.to_json()).unwrap()), expect);
    }
}

#[test]
fn builders_write_canonical_json() {
    let event = Event::new(
        "a",
        Actor::agent("x")
            .name("X")
            .session("s")
            .clearance(2)
            .attributes(json!({"k": 1}))
            .on_behalf_of(Party::new("user", "u").name("U")),
    )
    .id("e1")
    .occurred_at("2026-01-31T08:00:00Z")
    .severity(Severity::Info)
    .reason("because")
    .target(Target::new("t", "1").name("T").attributes(json!([])))
    .context(
        Context::new()
            .component("c")
            .node("n")
            .request_id("r")
            .source_ip("::1")
            .span_id("s")
            .trace_id("t")
            .user_agent("u")
            .location("Oslo"),
    )
    .change(1, 2)
    .details(json!({"a": "ü\n"}))
    .agent(AgentStep::new().tool("t").model("m").policy("p").arguments_digest("d").approval("u2"))
    .tenant("acme")
    .subject("u7")
    .clearance(3)
    .retention("7y")
    .tag("x")
    .attachment(Attachment::new(format!("sha256:{}", "ab".repeat(32)), 17).name("f").media_type("text/plain"));
    let text = event.to_json();
    let parsed = parse(&text, || panic!("not asked for")).unwrap();
    assert_eq!(parsed.bytes(), text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_is_canonical_and_passes_again(action in ".{1,20}", reason in ".{0,40}", details in "[a-z]{0,9}") {
        let text = Event::new(action, Actor::service("s")).reason(reason).details(details).to_json();
        if let Ok(event) = parse(&text, || NEW_ID.to_owned()) {
            prop_assert_eq!(&canonicalise(event.bytes()).unwrap(), event.bytes());
            let again = parse(event.bytes(), || panic!("has one")).unwrap();
            prop_assert_eq!(again.bytes(), event.bytes());
        }
    }
}
