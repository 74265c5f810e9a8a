//! What bodies become, and what is refused where.

use serde_json::{Value, json};

use super::{Shortcut, depth};
use crate::{prefer::Trace, problem::Problem};

/// The event as the log would record it.
#[track_caller]
fn event(shortcut: Shortcut, body: &Value) -> Value {
    let text = shortcut.event(body.to_string().as_bytes(), None).unwrap_or_else(|problem| panic!("{problem:?}"));
    let event = indelible_core::event::parse(&text, || "new".to_owned()).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&text));
    });
    serde_json::from_slice(event.bytes()).unwrap()
}

fn refusal(shortcut: Shortcut, body: &[u8]) -> Problem {
    shortcut.event(body, None).expect_err("refused")
}

fn example(shortcut: Shortcut) -> Value {
    serde_json::from_str(shortcut.example()).unwrap()
}

/// The example with other members; `null` takes one away.
fn with(shortcut: Shortcut, changes: Value) -> Value {
    let mut body = example(shortcut);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => body.as_object_mut().unwrap().remove(name),
            value => body.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    body
}

#[test]
fn the_examples_become_the_events_that_they_stand_for() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let expected = [
        json!({ "action": "auth.login", "actor": { "id": "mara", "type": "user" }, "context": { "source_ip": "192.0.2.7" }, "details": { "method": "password" }, "id": "new", "kind": "auth", "outcome": "failure", "reason": "wrong password" }),
        json!({ "action": "patient_record.read", "actor": { "id": "mara", "type": "user" }, "details": { "fields": ["history", "results"], "purpose": "treatment" }, "id": "new", "kind": "data_access", "outcome": "success", "subjects": ["patient-1001"], "targets": [{ "id": "rec-1001", "type": "patient_record" }] }),
        json!({ "action": "appointment.update", "actor": { "id": "mara", "type": "user" }, "change": { "after": { "at": "14:00", "room": 2 }, "before": { "at": "09:00", "room": 2 } }, "details": { "changed": ["/at"] }, "id": "new", "kind": "data_change", "targets": [{ "id": "apt-7001", "type": "appointment" }] }),
        json!({ "action": "role.grant", "actor": { "id": "noor", "type": "user" }, "change": { "after": { "roles": ["nurse", "duty-lead"] }, "before": { "roles": ["nurse"] } }, "details": { "changed": ["/roles"], "ticket": "FH-312" }, "id": "new", "kind": "admin", "outcome": "success", "targets": [{ "id": "mara", "type": "account" }] }),
        json!({ "action": "api.call", "actor": { "id": "billing", "type": "service" }, "context": { "request_id": "req-7" }, "details": { "duration_ms": 12.5, "method": "POST", "path": "/v1/invoices", "status": 201 }, "id": "new", "kind": "api", "outcome": "success", "targets": [{ "id": "POST /v1/invoices", "type": "endpoint" }] }),
        json!({ "action": "loan.decide", "actor": { "id": "credit-check", "type": "service" }, "agent": { "model": "score" }, "details": { "confidence": 0.91, "human_review": { "by": "greta", "state": "confirmed" }, "inputs_digest": digest, "model_version": "4.2", "result": "declined" }, "id": "new", "kind": "decision", "subjects": ["customer-17"] }),
        json!({ "action": "agent.tool", "actor": { "id": "shelf-keeper", "on_behalf_of": [{ "id": "ellen", "type": "user" }], "session": "run-7", "type": "agent" }, "agent": { "approval": { "by": "ellen", "state": "granted" }, "arguments_digest": digest, "model": "assist-3", "tool": "suppliers.order" }, "details": { "parent_step": "3", "step": "4" }, "id": "new", "kind": "agent", "outcome": "success", "targets": [{ "id": "ord-5001", "type": "order" }] }),
    ];
    for (shortcut, expected) in Shortcut::ALL.into_iter().zip(expected) {
        assert_eq!(event(shortcut, &example(shortcut)), expected, "{shortcut:?}");
    }
}

#[test]
fn what_follows_from_a_body_is_in_the_event_and_nothing_else() {
    let action = |shortcut, changes| event(shortcut, &with(shortcut, changes))["action"].clone();
    assert_eq!(action(Shortcut::Auth, json!({ "activity": null })), "auth.login");
    assert_eq!(action(Shortcut::Auth, json!({ "activity": "lockout" })), "auth.lockout");
    assert_eq!(action(Shortcut::DataAccess, json!({ "action": "record.print" })), "record.print");
    assert_eq!(action(Shortcut::DataChange, json!({ "before": null })), "appointment.create");
    assert_eq!(action(Shortcut::DataChange, json!({ "after": null })), "appointment.delete");
    assert_eq!(action(Shortcut::Decision, json!({ "action": null })), "decision.make");
    let outcome = |changes| event(Shortcut::Api, &with(Shortcut::Api, changes))["outcome"].clone();
    for (status, expected) in
        [(200, "success"), (399, "success"), (401, "denied"), (403, "denied"), (404, "failure"), (503, "failure")]
    {
        assert_eq!(outcome(json!({ "status": status })), expected, "{status}");
    }
    assert_eq!(outcome(json!({ "status": 503, "outcome": "unknown" })), "unknown");
    let made = event(Shortcut::DataChange, &with(Shortcut::DataChange, json!({ "before": null })));
    assert_eq!(
        (&made["change"], &made["details"]["changed"]),
        (&json!({ "after": { "at": "14:00", "room": 2 } }), &json!([""]))
    );
    // What nobody said is not said: no outcome, no severity.
    assert!(made["outcome"].is_null() && made["severity"].is_null(), "{made}");
    // A null is something that is not there, as it is for the builders of the library.
    let mut with_null = example(Shortcut::DataChange);
    with_null["before"] = Value::Null;
    assert_eq!(event(Shortcut::DataChange, &with_null), made);
    // Escapes stay what they are wherever a text is put together.
    let odd = with(Shortcut::DataAccess, json!({ "target": { "id": "1", "type": "a\"b\\c" } }));
    assert_eq!(event(Shortcut::DataAccess, &odd)["action"], "a\"b\\c.read");
    let odd = with(Shortcut::Api, json!({ "path": "/a\"b\\" }));
    assert_eq!(event(Shortcut::Api, &odd)["targets"][0]["id"], "POST /a\"b\\");
}

#[test]
fn what_is_beside_details_and_context_comes_together_with_them_and_never_twice() {
    let both = with(Shortcut::Auth, json!({ "details": { "note": 1 }, "context": { "component": "web" } }));
    let both = event(Shortcut::Auth, &both);
    assert_eq!(both["details"], json!({ "method": "password", "note": 1 }));
    assert_eq!(both["context"], json!({ "component": "web", "source_ip": "192.0.2.7" }));
    for (shortcut, changes, pointer) in [
        (Shortcut::Auth, json!({ "details": { "method": "x" } }), "/details/method"),
        (Shortcut::Auth, json!({ "context": { "source_ip": "x" } }), "/context/source_ip"),
        (Shortcut::DataChange, json!({ "details": { "changed": 7 } }), "/details/changed"),
        (Shortcut::Auth, json!({ "context": 7 }), "/context"),
        (Shortcut::Auth, json!({ "details": [] }), "/details"),
    ] {
        let problem = refusal(shortcut, with(shortcut, changes).to_string().as_bytes());
        assert_eq!(problem.pointer(), Some(pointer), "{problem:?}");
    }
    let noted = event(Shortcut::Auth, &with(Shortcut::Auth, json!({ "details": { "changed": 7 } })));
    assert_eq!(noted["details"]["changed"], 7, "only where something else is called so");
}

#[test]
fn a_trace_is_taken_over_where_the_body_has_neither_an_id_nor_a_context() {
    let mut headers = hyper::HeaderMap::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent", parent.parse().unwrap());
    let trace = Trace::of(&headers).unwrap();
    let context = |body: Value| {
        let text = Shortcut::Auth.event(body.to_string().as_bytes(), Some(&trace)).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["context"].clone()
    };
    let traced = context(example(Shortcut::Auth));
    assert_eq!(traced, json!({ "source_ip": "192.0.2.7", "span_id": trace.span_id, "trace_id": trace.trace_id }));
    for changes in [json!({ "id": "mine" }), json!({ "context": { "component": "c" } })] {
        assert!(context(with(Shortcut::Auth, changes))["trace_id"].is_null());
    }
}

#[test]
fn what_is_not_in_order_is_refused_with_its_place_and_the_remedy() {
    let auth = |text: &str| refusal(Shortcut::Auth, text.as_bytes());
    let actor = r#""actor":{"id":"x","type":"user"}"#;
    let rows = [
        (r#"{"actr":{},"outcome":"success"}"#.to_owned(), "/actr", "did you mean `actor`?"),
        (format!(r#"{{{actor},"outcome":"success","zzzzzz":1}}"#), "/zzzzzz", "goes into `details`"),
        (format!(r#"{{{actor}}}"#), "/outcome", "is missing"),
        (r#"{"outcome":"success"}"#.to_owned(), "/actor", "is missing"),
        (format!(r#"{{{actor},"outcome":"sucess"}}"#), "/outcome", "did you mean `success`?"),
        (format!(r#"{{{actor},"outcome":"success","attempt":1.5}}"#), "/attempt", "whole number"),
        (format!(r#"{{{actor},"outcome":"success","outcome":"failure"}}"#), "/outcome", ""),
        (format!(r#"{{{actor},"outcome":"success","details":{{"n":9007199254740993}}}}"#), "/details/n", "string"),
        (format!(r#"{{{actor},"outcome":"success","target":{{"id":"x"}}}}"#), "/target/type", "is missing"),
        (format!(r#"{{{actor},"outcome":"success","kind":"api"}}"#), "/kind", "unknown member"),
        (format!(r#"{{{actor},"outcome":"success","control":{{}}}}"#), "/control", "unknown member"),
        ("[]".to_owned(), "", "object"),
        ("{".to_owned(), "", ""),
        (String::new(), "", "empty"),
    ];
    for (body, pointer, word) in rows {
        let problem = auth(&body);
        let detail = problem.document("r")["detail"].as_str().unwrap().to_owned();
        assert_eq!(problem.pointer(), Some(pointer), "{body} {detail}");
        assert!(detail.contains(word), "{body} {detail}");
    }
    let problem =
        refusal(Shortcut::Decision, with(Shortcut::Decision, json!({ "inputs_digest": null })).to_string().as_bytes());
    assert_eq!(problem.pointer(), Some("/inputs_digest"));
    let deep = format!(r#"{{{actor},"outcome":"success","details":{{"a":{}{}}}}}"#, "[".repeat(60), "]".repeat(60));
    assert!(auth(&deep).document("r")["detail"].as_str().unwrap().contains("deep"));
    assert_eq!(refusal(Shortcut::Auth, &vec![b' '; super::MAX_BODY_BYTES + 1]).kind(), crate::problem::Kind::TooLarge);
}

#[test]
fn depth_is_that_of_arrays_and_objects_and_not_of_texts() {
    for (text, expected) in [("7", 0), ("{}", 1), (r#"{"a":[{}]}"#, 3), (r#""[[[""#, 0), (r#"["\"[["]"#, 1)] {
        assert_eq!(depth(text), expected, "{text}");
    }
}

#[test]
fn the_schemas_say_what_is_checked() {
    for shortcut in Shortcut::ALL {
        let schema = shortcut.schema();
        let properties = schema["properties"].as_object().unwrap();
        // Each member is a known one: its name is not what is wrong with it.
        for name in properties.keys() {
            if let Err(problem) = shortcut.event(json!({ name: [[]] }).to_string().as_bytes(), None) {
                assert!(!format!("{problem:?}").contains("unknown member"), "{shortcut:?} {name}");
            }
        }
        for name in schema["required"].as_array().unwrap() {
            let problem =
                refusal(shortcut, with(shortcut, json!({ name.as_str().unwrap(): null })).to_string().as_bytes());
            assert_eq!(problem.pointer(), Some(format!("/{}", name.as_str().unwrap()).as_str()), "{shortcut:?}");
        }
        assert_eq!(schema["examples"][0], example(shortcut));
        assert_eq!(schema["additionalProperties"], false);
    }
}
