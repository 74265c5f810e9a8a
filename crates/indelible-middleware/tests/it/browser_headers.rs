//! What browsers are told, also by layers that answer in the application's place.

use axum::{Router, response::AppendHeaders, routing::get};
use indelible_middleware::{Hsts, LimitLayer, SecurityHeaders};

use crate::lab::Lab;

const ALL: [&str; 7] = [
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
];

#[tokio::test]
async fn all_are_set_and_none_is_overwritten() {
    let own = || async { (AppendHeaders([("x-frame-options", "SAMEORIGIN"), ("referrer-policy", "origin")]), "own") };
    let app = Router::new()
        .route("/", get(|| async { "plain" }))
        .route("/own", get(own))
        .layer(LimitLayer::new().body_bytes(3))
        .layer(SecurityHeaders::for_programs().hsts(Hsts::Always).hsts_seconds(7));
    let lab = Lab::new(app).await;
    let refused = lab.ask("POST", "/", &[], "1234").await;
    refused.problem(413, "body-too-large");
    for reply in [lab.get("/", &[]).await, lab.get("/nothing", &[]).await, refused] {
        for name in ALL {
            assert!(reply.header(name).is_some(), "{name} {reply:?}");
        }
        assert_eq!(reply.header("strict-transport-security"), Some("max-age=7"));
    }
    let own = lab.get("/own", &[]).await;
    assert_eq!((own.header("x-frame-options"), own.header("referrer-policy")), (Some("sameorigin"), Some("origin")));
    assert_eq!(own.head.matches("x-frame-options").count(), 1, "{own:?}");
}

#[tokio::test]
async fn without_tls_nobody_is_told_to_keep_to_it() {
    let app = Router::new().route("/", get(|| async { "" })).layer(SecurityHeaders::for_pages());
    let reply = Lab::new(app).await.get("/", &[]).await;
    assert_eq!(reply.header("strict-transport-security"), None);
    assert!(reply.header("content-security-policy").unwrap().starts_with("default-src 'self'"));
}
