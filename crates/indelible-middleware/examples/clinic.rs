//! A small application with everything around it: `cargo run -p indelible-middleware --example clinic`, then
//!
//! ```sh
//! curl -i -H 'x-user: mara' http://127.0.0.1:8080/patients/7
//! curl -i -H 'x-user: mara' -H 'content-type: application/json' -d '{"text":"better","password":"x"}' http://127.0.0.1:8080/patients/7/notes
//! ```
//!
//! and after Ctrl-C `indelible verify --log clinic.log --keys clinic-keys`. Who `x-user` names is taken for granted here; a real application has a layer before that finds out.

use std::{error::Error, net::SocketAddr, path::Path as FilePath, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, MatchedPath, Path},
    routing::{get, post},
};
use http::request::Parts;
use indelible::{KeyRing, Log, Options};
use indelible_middleware::{
    Actor, AddressLayer, AuditLayer, Clients, Journal, LimitLayer, Network, RateLayer, Redaction, Refusals,
    SecurityHeaders, Tier,
};
use serde_json::{Value, json};

fn user(parts: &Parts) -> Option<String> {
    parts.headers.get("x-user")?.to_str().ok().map(str::to_owned)
}

/// The application, and what stands around it. The layer that is added last sees a request first.
pub(crate) fn app(log: Arc<Log>) -> Result<(Router, Journal, Refusals), Box<dyn Error>> {
    let journal = Journal::new(log);
    let refusals = Refusals::new(&journal);
    let peer = |parts: &Parts| parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let network = Network { deny: vec!["203.0.113.0/24".parse()?], ..Network::default() };
    let clients = Clients::new(network)?.peer(peer);
    let audit = AuditLayer::before(&journal)
        .clients(clients.clone())
        .actor(|parts| user(parts).map(Actor::user))
        .action(|parts| Some(format!("{} {}", parts.method, parts.extensions.get::<MatchedPath>()?.as_str())))
        .request_bodies(Redaction::usual());
    let rates = RateLayer::new(clients.clone())
        .per_address(Tier::STANDARD)
        .per_principal(|parts| Some((user(parts)?, Tier::HIGH)))
        .refusals(refusals.clone());
    let patient = |Path(id): Path<u32>| async move { Json(json!({ "id": id, "name": "A. Patient" })) };
    let note = |Path(id): Path<u32>, Json(note): Json<Value>| async move {
        Json(json!({ "of": id, "note": note.get("text") }))
    };
    let app = Router::new()
        .route("/patients/{id}", get(patient))
        .route("/patients/{id}/notes", post(note))
        .layer(LimitLayer::new().body_bytes(64 << 10).refusals(refusals.clone(), clients.clone()))
        .layer(audit)
        .layer(rates)
        .layer(AddressLayer::new(clients).refusals(refusals.clone()))
        .layer(SecurityHeaders::for_programs());
    Ok((app, journal, refusals))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (path, keys) = (FilePath::new("clinic.log"), KeyRing::load_or_create(FilePath::new("clinic-keys"))?);
    let log = match path.exists() {
        true => Log::open(path, &keys, Options::default())?,
        false => Log::create(path, "example.com/clinic", &keys, Options::default())?,
    };
    let log = Arc::new(log);
    let (app, journal, refusals) = app(Arc::clone(&log))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stopped)
        .await?;
    refusals.close();
    journal.flush().await;
    log.close()?;
    Ok(())
}
