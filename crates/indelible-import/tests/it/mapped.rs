//! Mapping files at work, and which format takes which.

use indelible_import::{Format, Mapping, records};
use serde_json::json;

use crate::common::{events, outcome};

fn doors() -> Mapping {
    Mapping::parse(
        br#"{
            "format": "csv",
            "delimiter": ";",
            "event": {
                "occurred_at": "{when}",
                "action": "door.{what}",
                "actor.id": "{who|'nobody'}",
                "actor.attributes.badge": "{badge}",
                "reason": "[badge {badge}]",
                "targets": [{"type": "door", "id": "{door}"}],
                "subjects": ["{who}"]
            }
        }"#,
    )
    .unwrap()
}

#[test]
fn a_header_names_the_columns() {
    let input = "who;what;door;when;badge\nada;open;d1;2026-03-02T08:00:00Z;7\n;close;;;\n";
    let found = events(Format::Csv, Some(&doors()), input.as_bytes());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["actor"], json!({"type": "user", "id": "ada", "attributes": {"badge": "7"}}));
    assert_eq!(found[0]["reason"], "badge 7");
    assert_eq!(found[0]["subjects"], json!(["ada"]));
    let bare: Vec<&String> = found[1].as_object().unwrap().keys().collect();
    assert_eq!(bare, ["action", "actor", "details", "id"], "what is empty is left out");
    assert!(found[1]["id"].as_str().unwrap().starts_with("sha256-"));
    assert_eq!(found[1]["actor"]["id"], "nobody");
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let input = "who;what;door;when;badge\nada;open\nada;open;d;;;;\nada;;d;;\nada;open;d;noon;\n\"ada;open\n";
    let (good, bad) = outcome(Format::Csv, Some(&doors()), input.as_bytes());
    assert_eq!((good, bad.len()), (0, 5), "{bad:?}");
    assert!(bad[0].contains("line 2") && bad[0].contains("it has 2 columns, and the mapping names 5"), "{bad:?}");
    assert!(bad[1].contains("it has 7 columns"), "{bad:?}");
    assert!(bad[2].contains("`action` is missing or empty"), "{bad:?}");
    assert!(bad[3].contains("`occurred_at` is `noon`"), "{bad:?}");
    assert!(bad[4].contains("line 6") && bad[4].contains("not closed"), "{bad:?}");
}

#[test]
fn a_header_that_does_not_fit_ends_the_import() {
    let (good, bad) = outcome(Format::Csv, Some(&doors()), b"who;wat;door;when;badge\na;b;c;d;e\n");
    assert_eq!(good, 0);
    assert_eq!(bad, ["the header line does not fit the mapping: there is no column `what`; did you mean `wat`?"]);
}

#[test]
fn json_lines_by_pointers() {
    let mapping = Mapping::parse(
        br#"{
            "format": "jsonl",
            "event": {
                "id": "{/n}",
                "action": "{/what/verb}",
                "kind": {"from": "{/what/verb}", "prefixes": {"read": "data_access"}, "otherwise": "api"},
                "outcome": {"from": "{/status}", "ranges": [[200, 299, "success"]], "otherwise": "{/verdict}"},
                "actor.type": "agent",
                "actor.id": "{/who/0}",
                "on_behalf_of.id": "{/who/1}",
                "agent.model": "{/a~1b}",
                "tags": ["{/flag}", "x"]
            }
        }"#,
    )
    .unwrap();
    let input = r#"{"n":1.50,"what":{"verb":"read.file"},"status":204,"who":["bot","ada"],"a/b":"m","flag":true}
        {"n":2,"what":{"verb":"run"},"status":500,"verdict":"nope","who":["bot"]}"#;
    let mut all = records(Format::Jsonl, Some(&mapping), input.as_bytes()).unwrap();
    let first = String::from_utf8(all.next().unwrap().unwrap().event).unwrap();
    assert!(first.contains("\"details\":{\"n\":1.50,"), "{first}");
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["kind"], "data_access");
    assert_eq!(first["outcome"], "success");
    assert_eq!(first["actor"], json!({"type": "agent", "id": "bot", "on_behalf_of": [{"type": "user", "id": "ada"}]}));
    assert_eq!(first["agent"], json!({"model": "m"}));
    assert_eq!(first["tags"], json!(["true", "x"]));
    let second = crate::common::chain(&all.next().unwrap().unwrap_err());
    assert!(second.contains("gives `outcome` the value `nope`"), "{second}");
}

#[test]
fn events_pass_as_they_are() {
    let input = "{\"b\":1,\"a\":1.0}\n\n[1]\nnull\n{\"x\"}\n";
    let all: Vec<_> = records(Format::Jsonl, None, input.as_bytes()).unwrap().collect();
    assert_eq!(all[0].as_ref().unwrap().event, b"{\"b\":1,\"a\":1.0}");
    let places: Vec<u64> = all[1..]
        .iter()
        .map(|r| match r {
            Err(indelible_import::ImportError::Record { place, .. }) => place.number(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places, [3, 4, 5]);
}

#[test]
fn an_event_list_is_read_event_by_event() {
    let one = |id: &str| {
        json!({
            "auditID": id, "stage": "ResponseComplete", "verb": "list", "requestURI": "/api", "user": {"username": "u"},
            "stageTimestamp": "2023-01-27T18:28:08.129781Z",
        })
    };
    let list =
        json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": [one("a"), one("b")]});
    for text in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
        let found = events(Format::K8sAudit, None, text.as_bytes());
        assert_eq!(found.iter().map(|e| &e["id"]).collect::<Vec<_>>(), ["a:ResponseComplete", "b:ResponseComplete"]);
    }
}

#[test]
fn formats_take_their_mappings() {
    let csv = doors();
    for (format, mapping) in [
        (Format::CloudTrail, Some(&csv)),
        (Format::K8sAudit, Some(&csv)),
        (Format::Jsonl, Some(&csv)),
        (Format::Csv, None),
    ] {
        assert!(records(format, mapping, &b""[..]).is_err(), "{format:?}");
    }
    for name in Format::names() {
        assert!(name.parse::<Format>().is_ok(), "{name}");
    }
    assert_eq!(
        "clodtrail".parse::<Format>().unwrap_err().to_string(),
        "there is no import format `clodtrail`; did you mean `cloudtrail`?"
    );
}
