//! How often somebody may ask. Time stands still but where a test moves it.

use std::time::Duration;

use axum::{Router, routing::get};
use http::request::Parts;
use indelible_middleware::{Clients, Pace, RateLayer, Tier};

use crate::lab::{Lab, peer, proxied};

fn header(name: &'static str) -> impl Fn(&Parts) -> Option<String> {
    move |parts| Some(parts.headers.get(name)?.to_str().ok()?.to_owned())
}

async fn lab(layer: RateLayer) -> Lab {
    Lab::new(Router::new().route("/", get(|| async { "in" })).layer(layer)).await
}

#[tokio::test(start_paused = true)]
async fn an_address_has_its_burst_and_then_its_pace() {
    let lab = lab(RateLayer::new(Clients::default().peer(peer)).per_address(Tier::STANDARD)).await;
    for left in (0..16).rev() {
        let reply = lab.get("/", &[]).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"standard-by-address\";q=100;w=60"));
        assert_eq!(reply.header("ratelimit"), Some(format!("\"standard-by-address\";r={left};t=1").as_str()));
    }
    let reply = lab.get("/", &[]).await;
    reply.problem(429, "rate");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("ratelimit"), Some("\"standard-by-address\";r=0;t=1"));
    tokio::time::advance(Duration::from_millis(601)).await;
    assert_eq!([lab.get("/", &[]).await.status, lab.get("/", &[]).await.status], [200, 429]);
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..16 {
        assert_eq!(lab.get("/", &[]).await.status, 200);
    }
    assert_eq!(lab.get("/", &[]).await.status, 429, "a burst is all that is saved up");
}

/// One request: its headers, how many of them are granted of 40, and which rules it falls under.
type Row<'a> = (&'a [(&'a str, &'a str)], usize, &'a str);

#[tokio::test(start_paused = true)]
async fn each_is_counted_by_address_and_key_and_who_they_are() {
    let small = Tier::new("small", Pace::per_minute(60).burst(5));
    let principal = |parts: &Parts| {
        let name = header("x-user")(parts)?;
        let tier = if name == "robot" { Tier::HIGH } else { Tier::new("people", Pace::per_minute(60).burst(7)) };
        Some((name, tier))
    };
    let layer = RateLayer::new(proxied())
        .per_address(Tier::new("address", Pace::per_minute(60).burst(20)))
        .per_key(small, header("x-key"))
        .per_principal(principal);
    let lab = lab(layer).await;
    let rows: [Row<'_>; 9] = [
        (&[("x-forwarded-for", "192.0.2.1")], 20, "address-by-address"),
        (&[("x-forwarded-for", "192.0.2.1"), ("x-user", "robot")], 0, "high-by-principal"),
        (&[("x-forwarded-for", "192.0.2.2"), ("x-user", "robot")], 20, "high-by-principal"),
        (&[("x-forwarded-for", "192.0.2.3"), ("x-user", "mara")], 7, "people-by-principal"),
        (&[("x-forwarded-for", "192.0.2.4"), ("x-user", "mara")], 0, "people-by-principal"),
        (&[("x-forwarded-for", "192.0.2.5"), ("x-key", "k")], 5, "small-by-key"),
        (&[("x-forwarded-for", "192.0.2.6"), ("x-key", "k"), ("x-user", "ada")], 0, "small-by-key"),
        (&[("x-forwarded-for", "2001:db8:1:1::1")], 20, "address-by-address"),
        (&[("x-forwarded-for", "2001:db8:1:1:ffff::2")], 0, "address-by-address"),
    ];
    for (headers, expected, rule) in rows {
        let mut granted = 0;
        for _ in 0..40 {
            let reply = lab.get("/", headers).await;
            granted += usize::from(reply.status == 200);
            assert!(reply.header("ratelimit").unwrap().contains(rule), "{reply:?}");
        }
        assert_eq!(granted, expected, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn attackers_from_everywhere_neither_open_the_limit_nor_shut_out_who_is_known() {
    let one = Tier::new("one", Pace::per_minute(60).burst(2));
    let lab = lab(RateLayer::new(proxied()).per_address(one).counted(8)).await;
    let from = |address: &str| [("x-forwarded-for", address.to_owned())];
    let ask = async |address: &str| {
        let headers = from(address);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        lab.get("/", &headers).await.status
    };
    assert_eq!(ask("203.0.113.1").await, 200);
    let mut granted = 0;
    for number in 0..100 {
        granted += usize::from(ask(&format!("192.0.2.{number}")).await == 200);
    }
    assert_eq!(granted, 7 + 2, "seven found room, and all others share one bucket");
    assert_eq!([ask("203.0.113.1").await, ask("203.0.113.1").await], [200, 429]);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(ask("198.51.100.1").await, 200, "buckets that are full again make room");
}

#[tokio::test]
async fn who_has_no_address_is_not_counted_as_anybody() {
    let lab = lab(RateLayer::new(Clients::default()).per_address(Tier::HIGH)).await;
    lab.get("/", &[]).await.problem(500, "address-unknown");
}
