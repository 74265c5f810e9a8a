//! The sample week.

use std::collections::BTreeSet;

use indelible_import::samples::samples;
use serde_json::Value;

fn week(seed: u64, count: u64) -> Vec<Value> {
    samples(seed, count).map(|text| serde_json::from_slice(&text).unwrap()).collect()
}

#[test]
fn is_the_same_for_the_same_seed() {
    assert!(samples(1, 500).eq(samples(1, 500)));
    assert!(samples(1, 500).ne(samples(2, 500)));
}

#[test]
fn is_in_order_and_spans_the_week_whatever_the_count() {
    for count in [0, 1, 2, 7, 8, 50, 2_000, 20_000] {
        let week = week(7, count);
        assert_eq!(u64::try_from(week.len()).unwrap(), count);
        let times: Vec<&str> = week.iter().map(|e| e["occurred_at"].as_str().unwrap()).collect();
        assert!(times.is_sorted());
        let ids: BTreeSet<&str> = week.iter().map(|e| e["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), week.len());
        assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'));
        if count >= 50 {
            assert!(times[0] < "2026-03-03" && times[0] >= "2026-03-02", "{}", times[0]);
            assert!(times[week.len() - 1] > "2026-03-08" && times[week.len() - 1] < "2026-03-09");
        }
    }
}

#[test]
fn has_every_kind_and_about_500_bytes_an_event() {
    let bytes: usize = samples(1, 2_000).map(|text| text.len()).sum();
    println!("mean {} bytes, longest {:?}", bytes / 2_000, samples(1, 2_000).map(|text| text.len()).max());
    assert!((400..600).contains(&(bytes / 2_000)), "{}", bytes / 2_000);
    let week = week(1, 2_000);
    let kinds: BTreeSet<&str> = week.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(week.iter().any(|e| e["change"]["before"].is_object()));
    assert!(week.iter().any(|e| e["agent"]["approval"].is_string() && e["actor"]["on_behalf_of"][0]["id"].is_string()));
}

#[test]
fn tells_of_the_incident() {
    for count in [40, 2_000] {
        let week = week(3, count);
        let at = |action: &str, ip: &str| -> Vec<&Value> {
            let of = |e: &&Value| {
                e["action"] == action && e["context"]["source_ip"].as_str().is_some_and(|a| a.starts_with(ip))
            };
            week.iter().filter(of).collect()
        };
        let logins = at("user.login", "203.0.113.");
        let (last, guesses) = logins.split_last().unwrap();
        assert!(guesses.iter().all(|e| e["outcome"] == "failure"));
        assert_eq!((&last["outcome"], &last["actor"]["id"]), (&"success".into(), &"tomas.lindqvist".into()));
        assert!(!at("record.export", "203.0.113.").is_empty());
        let deletions = at("audit_trail.delete", "203.0.113.");
        assert_eq!(deletions.len(), 1);
        assert_eq!(deletions[0]["outcome"], "denied");
        assert_eq!(deletions[0]["occurred_at"], "2026-03-06T00:09:00.000000Z");
        assert!(logins[0]["occurred_at"].as_str().unwrap() >= "2026-03-05T22:41");
    }
}
