//! Real data, every record of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use indelible_import::{Format, Mapping, open_reader, records};
use serde_json::Value;

use crate::common::{events, outcome, shared};

const KINDS: &str = "auth data_access data_change admin api decision agent security system";

/// That every event has what the log requires, and how many ids there are.
#[track_caller]
fn distinct_ids(events: &[Value]) -> usize {
    let mut ids = BTreeSet::new();
    for event in events {
        for member in ["/id", "/occurred_at", "/kind", "/action", "/outcome", "/severity", "/actor/type", "/actor/id"] {
            assert!(
                event.pointer(member).and_then(Value::as_str).is_some_and(|t| !t.is_empty()),
                "{member} of {event}"
            );
        }
        assert!(KINDS.split(' ').any(|kind| event["kind"] == kind), "{event}");
        assert!(event["id"].as_str().unwrap().len() <= 256, "{event}");
        assert!(event["details"].is_object(), "{event}");
        for target in event["targets"].as_array().into_iter().flatten() {
            assert!(target["type"].is_string() && target["id"].is_string(), "{event}");
        }
        ids.insert(event["id"].as_str().unwrap());
    }
    ids.len()
}

fn counts(events: &[Value], member: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.pointer(member).map_or("absent", |v| v.as_str().unwrap()).to_owned()).or_default() += 1;
    }
    counts
}

fn unpacked(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    open_reader(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn cloudtrail_whole() {
    let Some(path) = shared("cloudtrail-invictus-stratus/events.jsonl.gz") else { return };
    let bytes = unpacked(&path);
    let events = events(Format::CloudTrail, None, &bytes);
    assert_eq!((events.len(), distinct_ids(&events)), (2_900, 2_900));
    println!("{:?}\n{:?}", counts(&events, "/kind"), counts(&events, "/outcome"));
    println!("{:?}\n{:?}", counts(&events, "/actor/type"), counts(&events, "/severity"));
    println!("{} have targets", events.iter().filter(|e| e["targets"].is_array()).count());
    let outcomes = counts(&events, "/outcome");
    assert_eq!((outcomes["success"], outcomes["denied"], outcomes["failure"]), (2_600, 60, 240));
    for (event, line) in events.iter().zip(bytes.split(|b| *b == b'\n')) {
        assert_eq!(event["details"], serde_json::from_slice::<Value>(line).unwrap());
    }
}

#[test]
fn cloudtrail_as_a_list_gives_the_same_events() {
    let Some(path) = shared("cloudtrail-invictus-stratus/events.jsonl.gz") else { return };
    let lines = String::from_utf8(unpacked(&path)).unwrap();
    let list = format!("{{\"Records\":[{}]}}", lines.trim_end().replace('\n', ","));
    let bytes = |input: &str| -> Vec<Vec<u8>> {
        records(Format::CloudTrail, None, input.as_bytes()).unwrap().map(|r| r.unwrap().event).collect()
    };
    assert!(bytes(&lines) == bytes(&list));
}

#[test]
fn kubernetes_rows_whole() {
    let Some(path) = shared("k8s-perfspec-audit/audit-logs.csv.gz") else { return };
    let mapping = Mapping::shipped("k8s-perfspec").unwrap();
    let bytes = unpacked(&path);
    assert_eq!(outcome(Format::Csv, Some(&mapping), &bytes), (16_564, vec![]));
    let events = events(Format::Csv, Some(&mapping), &bytes);
    assert_eq!(distinct_ids(&events), 16_564);
    println!("{:?}\n{:?}", counts(&events, "/kind"), counts(&events, "/outcome"));
    println!("{:?}\n{:?}", counts(&events, "/actor/type"), counts(&events, "/severity"));
    assert_eq!(counts(&events, "/outcome")["denied"], 71);
    // The file is cut off in its last row, which is kept and says so.
    let short: Vec<&Value> = events.iter().filter(|e| e["tags"][1] == "import:short-row").collect();
    assert_eq!(short.len(), 1);
    assert_eq!(short[0], events.last().unwrap());
    assert!(short[0]["id"].as_str().unwrap().starts_with("sha256-"));
    assert_eq!(short[0]["outcome"], "unknown");
}

#[test]
fn an_event_is_mapped_member_by_member() {
    let mapping = Mapping::shipped("k8s-perfspec").unwrap();
    let row = "\"{\"\"name\"\":\"\"k8s-master-perfspec\"\"}\",2023-01-27T18:28:08.129781Z,system:node:n1,patch,pods,status,p,\
               ,/api/v1/namespaces/kube-system/pods/p/status,a1,ResponseComplete,403,,,\n";
    let expect = serde_json::json!({
        "id": "a1:ResponseComplete", "occurred_at": "2023-01-27T18:28:08.129781Z", "kind": "data_change",
        "action": "pods.status.patch", "severity": "notice", "outcome": "denied",
        "actor": {"type": "node", "id": "system:node:n1"}, "targets": [{"type": "pods", "id": "p", "name": "p"}],
        "context": {"request_id": "a1", "node": "k8s-master-perfspec"}, "tags": ["kubernetes"],
        "details": {
            "cluster": "{\"name\":\"k8s-master-perfspec\"}", "timestamp": "2023-01-27T18:28:08.129781Z",
            "user": "system:node:n1", "verb": "patch", "resource": "pods", "subresource": "status", "name": "p",
            "namespace": "", "uri": "/api/v1/namespaces/kube-system/pods/p/status", "audit_id": "a1",
            "stage": "ResponseComplete", "code": "403", "extra_1": "", "extra_2": "", "extra_3": "",
        },
    });
    let twice = events(Format::Csv, Some(&mapping), format!("{row}{row}").as_bytes());
    assert_eq!(twice, [expect.clone(), expect], "a row delivered twice has one id");
}
