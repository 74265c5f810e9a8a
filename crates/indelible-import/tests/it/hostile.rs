//! Input that means no good: errors with their place, and never a panic.

use indelible_import::{Format, ImportError, MAX_RECORD_BYTES, Mapping, records};
use proptest::prelude::*;
use serde_json::json;

use crate::common::outcome;

fn good() -> serde_json::Value {
    json!({
        "eventID": "e", "eventTime": "2023-07-10T11:42:36Z", "eventName": "GetObject",
        "eventSource": "s3.amazonaws.com", "userIdentity": {"type": "IAMUser", "arn": "arn:a"},
    })
}

/// A good CloudTrail record with other members.
fn with(extra: serde_json::Value) -> String {
    let mut record = good();
    record.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    record.to_string()
}

#[track_caller]
fn check(line: &str, expect: &str) {
    let input = format!("{}\n{line}\n{}\n", good(), good());
    let (good, bad) = outcome(Format::CloudTrail, None, input.as_bytes());
    assert_eq!((good, bad.len()), (2, 1), "{bad:?}");
    assert!(bad[0].starts_with("line 2 was not imported: "), "{}", bad[0]);
    assert!(bad[0].contains(expect), "{} is not in {}", expect, bad[0]);
}

#[test]
fn a_broken_line_costs_one_record() {
    check("not json", "expected ident");
    check("{", "EOF while parsing");
    check("{\"eventID\":\"x", "EOF while parsing");
    check("{} {}", "trailing characters");
    check("17", "`the record` is a number, and an object is expected");
    check(&format!("\"{}\"", "x".repeat(MAX_RECORD_BYTES)), "longer than 1048576 bytes");
    check(&format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), "recursion limit");
    check("{\"a\":1e999}", "number out of range");
    check("{\"a\":\"\\ud800\"}", "hex escape");
    check(&with(json!({"eventID": null})), "`eventID` is missing or empty");
    check(&with(json!({"eventID": 5})), "`eventID` is a number, and a string is expected");
    check(&with(json!({"eventTime": "yesterday"})), "`eventTime` is `yesterday`, which is not an RFC 3339 time");
    check(&with(json!({"userIdentity": "ben"})), "`userIdentity` is a string, and an object is expected");
    check(&with(json!({"userIdentity": {}})), "`userIdentity` is missing or empty");
    check(&with(json!({"resources": "all"})), "`resources` is a string, and an array is expected");
}

#[test]
fn bytes_that_are_not_utf8_cost_one_record() {
    let mut input = b"{\"eventID\":\"\xff\"}\n".to_vec();
    input.extend(good().to_string().bytes());
    let (good, bad) = outcome(Format::CloudTrail, None, &input);
    assert_eq!((good, bad.len()), (1, 1), "{bad:?}");
}

#[test]
fn a_broken_element_costs_one_record() {
    let input = format!("{{\"Records\":[{},{{\"a\":}},7,{}]}}", good(), good());
    let (good, bad) = outcome(Format::CloudTrail, None, input.as_bytes());
    assert_eq!((good, bad.len()), (2, 2), "{bad:?}");
    assert!(bad[0].starts_with("record 2 of the list was not imported"), "{}", bad[0]);
}

#[test]
fn a_list_that_is_cut_off_is_an_error_after_its_records() {
    let input = format!("{{\"Records\":[{},{{\"eventID", good());
    let all: Vec<_> = records(Format::CloudTrail, None, input.as_bytes()).unwrap().collect();
    assert_eq!(all.len(), 2);
    assert!(all[0].is_ok());
    let last = all[1].as_ref().unwrap_err();
    assert!(matches!(last, ImportError::CutOff { .. }) && last.is_fatal(), "{last}");
}

#[test]
fn a_reject_brings_its_text() {
    let all: Vec<_> = records(Format::K8sAudit, None, &b"{\"kind\":\"Event\"}\n"[..]).unwrap().collect();
    let [Err(ImportError::Record { text, .. })] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(text, b"{\"kind\":\"Event\"}");
}

#[test]
fn numbers_keep_their_spelling() {
    let line = with(json!({})).replacen('{', "{\"big\":12345678901234567890.10,", 1);
    let record = records(Format::CloudTrail, None, line.as_bytes()).unwrap().next().unwrap().unwrap();
    assert!(String::from_utf8(record.event).unwrap().contains("\"big\":12345678901234567890.10,"));
    assert_eq!(record.source, line.as_bytes());
}

fn formats() -> Vec<(Format, Option<Mapping>)> {
    let jsonl = br#"{"format":"jsonl","event":{"action":"{/a}.x","actor.id":"{/b/0|'who'}","occurred_at":"{/t}"}}"#;
    let header = br#"{"format":"csv","event":{"action":"{a}","actor.id":"{b}"}}"#;
    vec![
        (Format::CloudTrail, None),
        (Format::K8sAudit, None),
        (Format::Jsonl, None),
        (Format::Jsonl, Some(Mapping::parse(jsonl).unwrap())),
        (Format::Csv, Some(Mapping::parse(header).unwrap())),
        (Format::Csv, Mapping::shipped("k8s-perfspec")),
    ]
}

/// Reads all; whatever becomes an event is a JSON object, and nothing follows the end.
fn drain(input: &[u8]) {
    for (format, mapping) in formats() {
        let mut all = records(format, mapping.as_ref(), input).unwrap();
        let mut ended = false;
        for record in all.by_ref() {
            assert!(!ended, "{format:?}");
            match record {
                Ok(record) => assert!(record.event.starts_with(b"{"), "{format:?}"),
                Err(error) => ended = error.is_fatal(),
            }
        }
        assert!(all.next().is_none());
    }
}

proptest! {
    #[test]
    fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..400)) {
        drain(&input);
    }

    #[test]
    fn any_likely_text(input in r#"([{}\[\],:"\n ]|"Records"|"items"|"eventID"|"auditID"|"a"|"action"|a,b|null|12|\\){0,60}"#) {
        drain(input.as_bytes());
    }

    /// A good record with any one member replaced by anything.
    #[test]
    fn any_member(which in 0_usize..24, value in 0_usize..7) {
        let values = [json!(null), json!(1), json!("x"), json!([]), json!([1, {"ARN": 5}]), json!({}), json!({"type": [1]})];
        let members = [
            "eventID", "eventTime", "eventName", "eventSource", "userIdentity", "resources", "requestParameters", "errorCode",
            "responseElements", "readOnly", "eventType", "sourceIPAddress", "auditID", "stage", "verb", "user", "objectRef",
            "responseStatus", "impersonatedUser", "sourceIPs", "requestURI", "stageTimestamp", "userAgent", "recipientAccountId",
        ];
        let mut record = good();
        let k8s = json!({"auditID": "a", "stage": "Panic", "verb": "get", "user": {"username": "u"}, "requestURI": "/"});
        record.as_object_mut().unwrap().extend(k8s.as_object().unwrap().clone());
        record[members[which]] = values[value].clone();
        drain(record.to_string().as_bytes());
    }
}
