//! One request: is it in order, who asks, may they, and what comes back.
//!
//! The order is the point. What costs nothing comes first, a body is read only when it is known that its sender may send it, and nothing waits for a
//! disk before that.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use hyper::{
    HeaderMap, Request, Response, Version,
    body::{Body as _, Incoming},
    header::{AUTHORIZATION, CONNECTION, HeaderName},
};
use indelible_core::hex;
use tokio::sync::Semaphore;

use crate::{
    access::Verb,
    answer::Answer,
    body::{self, Body, Held, Room},
    browse,
    clients::Trust,
    coding::{self, Coding},
    connections::Peer,
    encoding, events, exporting, form,
    guard::Allowance,
    health,
    identity::ApiKey,
    lines, locks,
    logs::OpenLog,
    managing,
    prefer::Trace,
    problem::{self, Kind, Problem},
    reading,
    reads::Given,
    refusing,
    routes::{self, Captured, Found, Needs, Operation, Route},
    server::Shared,
    signed,
    streaming::Payload,
    tailing, verifying,
};

/// The longest parameter or header that is looked at.
const MAX_VALUE_BYTES: usize = 1024;

/// What is asked for, with everything that is known of it before its body is read.
pub(crate) struct Asked {
    pub(crate) shared: Arc<Shared>,
    pub(crate) captured: Captured,
    pub(crate) headers: HeaderMap,
    pub(crate) key: Option<Arc<ApiKey>>,
    pub(crate) peer: Arc<Peer>,
    query: Vec<(String, String)>,
}

impl Asked {
    /// The log that the path names.
    pub(crate) fn log(&self) -> &str {
        self.captured.get("log")
    }

    /// The log, open.
    pub(crate) async fn open(&self) -> Result<Arc<OpenLog>, Problem> {
        self.shared.logs.get(self.log()).await
    }

    /// Room for so many bytes of an answer, of the budget and of the asker's share.
    ///
    /// # Errors
    /// [`Kind::TooMany`], [`Kind::Busy`].
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Problem> {
        let mut held = Held::default();
        let share = self.share()?;
        held.up_to(bytes, Room { budget: &self.shared.budget, share: &share })?;
        Ok(held)
    }

    /// What its line may hold.
    pub(crate) fn share(&self) -> Result<Arc<Semaphore>, Problem> {
        Ok(self.shared.shares.of(self.key()?.line.tenant()))
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number.
    pub(crate) fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, Problem> {
        let Some(text) = self.parameter(name) else { return Ok(default) };
        let number = parse_number(text).filter(|number| *number <= most);
        number.ok_or_else(|| Problem::bad(format!("`{name}` has to be a number from 0 to {most}")))
    }

    /// The key that asks. Only routes that need one ask for it.
    pub(crate) fn key(&self) -> Result<&Arc<ApiKey>, Problem> {
        self.key.as_ref().ok_or_else(no_key)
    }

    /// Puts on record what is about to be given out.
    ///
    /// # Errors
    /// [`Kind::Busy`] where it cannot be: then it is not given out.
    pub(crate) fn reads(&self, how: &'static str, first: u64, count: u64) -> Result<(), Problem> {
        let now = self.shared.identities.now();
        self.shared.reads.note(self.key()?, self.log(), Given { how, first, count }, now)
    }

    /// A header as text; `None` where it is not there.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() || value.len() > MAX_VALUE_BYTES {
            return Err(Problem::bad(format!("`{name}` is sent once, with at most {MAX_VALUE_BYTES} bytes")));
        }
        value.to_str().map(Some).map_err(|_| Problem::bad(format!("`{name}` has to be printable ASCII")))
    }
}

/// Digits and nothing else: `+7` and ` 7` are no numbers here.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn no_key() -> Problem {
    Problem::new(Kind::Unauthorised, "this needs an API key: send `Authorization: Bearer <token>`")
}

/// Answers a request, whatever it is.
pub(crate) async fn answer(shared: &Arc<Shared>, peer: &Arc<Peer>, request: Request<Incoming>) -> Response<Payload> {
    let begun = Instant::now();
    let id = request_id();
    let trace = Trace::of(request.headers());
    // Streams of one connection have nothing to do with each other: it goes on where one is refused.
    let closing = request.version() != Version::HTTP_2;
    let mut seen = Seen { route: "none", allowance: None, close: false };
    let result = handle(shared, peer, request, &mut seen).await;
    let answer = result.unwrap_or_else(|problem| {
        if let Some(internal) = problem.for_operator() {
            (shared.reporter)(&format!("request {id} ({}): {internal}", seen.route));
        }
        seen.close |= closes(problem.kind());
        Answer::problem(&problem, &id)
    });
    shared.metrics.answered(seen.route, answer.status().as_u16(), begun.elapsed());
    let answer = if seen.close && closing { answer.with(CONNECTION, "close") } else { answer };
    let answer = match trace {
        Some(trace) => answer.with(HeaderName::from_static("traceparent"), &trace.parent),
        None => answer,
    };
    answer.finish(&id, !shared.config.plain_http, seen.allowance)
}

/// What is known of a request, also where it ends early.
struct Seen {
    route: &'static str,
    allowance: Option<Allowance>,
    close: bool,
}

/// Where the rest of a connection is not to be trusted or not worth having.
fn closes(kind: Kind) -> bool {
    matches!(kind, Kind::BadRequest | Kind::Unauthorised | Kind::TooLarge | Kind::SlowBody | Kind::Stopping)
}

fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness ids are all alike, and nothing else depends on them.
    let _ = rand::fill(&mut bytes);
    hex::encode(&bytes)
}

async fn handle(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    request: Request<Incoming>,
    seen: &mut Seen,
) -> Result<Answer, Problem> {
    form::in_order(&request, shared.config.limits.headers)?;
    // A body that is not read ends the connection with the answer.
    seen.close = !request.body().is_end_stream();
    let client = shared.config.network.client(peer.address.ip(), request.headers()).map_err(Problem::bad)?;
    if !shared.config.network.admits(client) {
        refusing::address(shared, client);
        return Err(Problem::new(Kind::AddressRefused, "nobody is served at this address"));
    }
    let (parts, incoming) = request.into_parts();
    let (route, captured) = match routes::find(parts.method.as_str(), parts.uri.path()) {
        Found::Route(route, captured) => (route, captured),
        Found::OtherMethod(methods) => {
            return Err(Problem::new(Kind::MethodNotAllowed, "the path has other methods").allowing(&methods));
        }
        Found::Nothing => return Err(Problem::new(Kind::NotFound, "there is no such path")),
        Found::Malformed => return Err(Problem::bad("the path has a percent code that is none, or is no UTF-8")),
    };
    seen.route = route.id;
    let key = authorise(shared, (peer, client), route, &captured, &parts.headers, seen)?;
    let query = query(route, parts.uri.query().unwrap_or_default())?;
    let peer = Arc::clone(peer);
    let asked = Asked { shared: Arc::clone(shared), captured, headers: parts.headers, key, peer, query };
    let serving = shared.serving.load(Ordering::Acquire);
    if !serving && !matches!(route.operation, Operation::Alive | Operation::Ready) {
        return Err(Problem::new(Kind::Stopping, "the server is stopping").after(1));
    }
    if matches!(route.operation, Operation::Append | Operation::Record(_)) {
        // Before its body is read; and once more when it is, since that takes a while.
        shared.identities.locks().refuse(asked.log())?;
    }
    let body = take_body(&asked, route, incoming, seen).await?;
    still_good(&asked)?;
    let work = Duration::from_millis(shared.config.limits.work_ms);
    let wanted = encoding::wanted(route.operation, &asked.headers).zip(asked.share().ok());
    match tokio::time::timeout(work, operate(route.operation, asked, body)).await {
        Ok(Ok(answer)) => match wanted {
            Some((encoding, share)) => Ok(answer.coded(encoding, Room { budget: &shared.budget, share: &share }).await),
            None => Ok(answer),
        },
        Ok(refused) => refused,
        Err(_) => Err(Problem::new(Kind::Unclear, "the work takes longer than requests are waited for").after(5)),
    }
}

/// Who asks, and whether the route is theirs.
fn authorise(
    shared: &Arc<Shared>,
    (peer, client): (&Peer, IpAddr),
    route: &Route,
    captured: &Captured,
    headers: &HeaderMap,
    seen: &mut Seen,
) -> Result<Option<Arc<ApiKey>>, Problem> {
    let log = captured.get("log");
    let (verb, on_log) = match route.needs {
        Needs::Nothing => return Ok(None),
        Needs::OnLogUnlessOpen(_) if is_open(shared, log) && !headers.contains_key(AUTHORIZATION) => return Ok(None),
        Needs::Key(verb) => (verb, false),
        Needs::OnLog(verb) | Needs::OnLogUnlessOpen(verb) => (verb, true),
    };
    let key = authenticate(shared, peer, client, headers)?;
    if shared.identities.is_stale() {
        let text = "the database has not told for too long which keys were ended: no key is believed until it does";
        return Err(Problem::new(Kind::Unavailable, text).after(1));
    }
    if let Some(allowance) = lines::draw(&shared.rates, &shared.identities, &key, Instant::now()) {
        seen.allowance = Some(allowance);
        if !allowance.granted {
            shared.metrics.limited.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::new(Kind::TooMany, "the key asks too often, or a key that it comes from")
                .after(allowance.reset.max(1)));
        }
    }
    if !key.grant.has(verb) {
        let text = format!("the key has no right to `{}`", verb.as_str());
        return Err(Problem::new(Kind::Forbidden, text));
    }
    if on_log {
        may_on_log(shared, &key, verb, log)?;
    }
    Ok(Some(key))
}

/// While a body came in its sender's key may have ended, or the certificate that it is bound to.
fn still_good(asked: &Asked) -> Result<(), Problem> {
    if asked.key.as_ref().is_some_and(|key| !is_still_good(&asked.shared, key, &asked.peer)) {
        Err(Problem::new(Kind::Unauthorised, "the key ended while the request came in"))
    } else {
        Ok(())
    }
}

/// Whether a key that was good is so still, and the certificate, where it is known by one, is still trusted.
pub(crate) fn is_still_good(shared: &Shared, key: &ApiKey, peer: &Peer) -> bool {
    let is_trusted = || peer.certificate.as_ref().is_some_and(|shown| shown.check(trust(shared).as_ref()).is_ok());
    shared.identities.is_still_good(key) && (key.certificate().is_none() || is_trusted())
}

/// What is trusted now of the certificates of clients.
fn trust(shared: &Shared) -> Option<Arc<Trust>> {
    shared.certificates.as_ref().and_then(|certificates| certificates.current().trust.clone())
}

/// Whether a log's signed side is everybody's.
fn is_open(shared: &Shared, log: &str) -> bool {
    !shared.logs.is_own(log) && shared.config.open.iter().any(|pattern| pattern.matches(log))
}

fn may_on_log(shared: &Shared, key: &ApiKey, verb: Verb, log: &str) -> Result<(), Problem> {
    if !key.grant.reaches(log) {
        return Err(Problem::new(Kind::Forbidden, "the key is not for this log"));
    }
    if shared.logs.is_own(log) && (verb == Verb::Append || !key.grant.role.sees_own_logs()) {
        return Err(Problem::new(
            Kind::Forbidden,
            "the server's own log is written by the server alone, and read by auditors",
        ));
    }
    Ok(())
}

/// By a token where one is sent, else by the certificate of the connection. A token that is wrong is not made good by a certificate.
fn authenticate(
    shared: &Arc<Shared>,
    peer: &Peer,
    client: IpAddr,
    headers: &HeaderMap,
) -> Result<Arc<ApiKey>, Problem> {
    if let Some(certificate) = peer.certificate.as_ref().filter(|_| !headers.contains_key(AUTHORIZATION)) {
        let known = certificate.check(trust(shared).as_ref());
        let key = known.and_then(|()| shared.identities.authenticate_certificate(certificate));
        return key.map_err(|detail| refusing::failure(shared, client, &detail));
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(no_key()) };
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some(key) = token.and_then(|(_, token)| shared.identities.authenticate(token.trim())) {
        return Ok(key);
    }
    Err(refusing::failure(shared, client, "the token is of no key that is in force"))
}

/// The parameters that the route has; any other is a mistake that would go unnoticed.
pub(crate) fn query(route: &Route, text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut query: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || Problem::bad("the query has a percent code that is none, or is no UTF-8");
        let name = routes::decode(name).ok_or_else(malformed)?;
        let value = routes::decode(&value.replace('+', " ")).ok_or_else(malformed)?;
        if !route.query.iter().any(|known| known.name == name) || query.iter().any(|(known, _)| *known == name) {
            let name: String = name.escape_debug().take(64).collect();
            return Err(Problem::bad(format!("`{name}` is no parameter here, or is there twice")));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(Problem::bad(format!("a parameter has at most {MAX_VALUE_BYTES} bytes")));
        }
        query.push((name, value));
    }
    Ok(query)
}

async fn take_body(asked: &Asked, route: &Route, incoming: Incoming, seen: &mut Seen) -> Result<Option<Body>, Problem> {
    if route.carries == routes::Carries::Nothing {
        return Ok(None);
    }
    let (shared, headers) = (&asked.shared, &asked.headers);
    let coding = coding::coding(headers)?;
    // Nobody sends a body without a key.
    let share = asked.share()?;
    let room = Room { budget: &shared.budget, share: &share };
    let body = body::read(headers, incoming, &shared.config.limits, room).await?;
    seen.close = false;
    if coding == Coding::Identity {
        return Ok(Some(body));
    }
    let (budget, most) = (Arc::clone(&shared.budget), shared.config.limits.body_bytes);
    let expanded = tokio::task::spawn_blocking(move || {
        let room = Room { budget: &budget, share: &share };
        coding::expand(coding, &body, most, room)
    });
    expanded.await.map_err(|_| Problem::lost())?.map(Some)
}

async fn operate(operation: Operation, asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    match operation {
        Operation::Alive => Ok(Answer::text("alive\n")),
        Operation::Ready => ready(&asked),
        Operation::Metrics => metrics(&asked).await,
        Operation::OpenApi => Ok(Answer::written(asked.shared.document.clone())),
        Operation::ProblemText => {
            let text = problem::text(asked.captured.get("name"));
            text.map(Answer::text).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such kind of problem"))
        }
        Operation::Browse(file) => Ok(browse::file(file)),
        Operation::Append => events::append(asked, body).await,
        Operation::Record(shortcut) => events::record(asked, shortcut, body).await,
        Operation::Entry => reading::entry(asked).await,
        Operation::Entries => reading::entries(asked).await,
        Operation::EventById => reading::event(asked).await,
        Operation::Proof => reading::proof(asked).await,
        Operation::PublishedCheckpoint | Operation::TileCheckpoint => signed::checkpoint(asked).await,
        Operation::PublicKeys => signed::public_keys(asked).await,
        Operation::Tile => signed::tile(asked).await,
        Operation::Tail => tailing::tail(asked).await,
        Operation::Export => exporting::export(asked).await,
        Operation::Health => health::health(asked).await,
        Operation::EntryBundle => signed::entry_bundle(asked).await,
        Operation::VerifyLog => verifying::begin(asked).await,
        Operation::Verification => verifying::show(&asked),
        Operation::LockLog => locks::lock(asked, body).await,
        Operation::UnlockLog => locks::unlock(asked, body).await,
        Operation::Logs => managing::logs(asked).await,
        Operation::CreateLog => managing::create_log(asked, body).await,
        Operation::ApiKeys => managing::api_keys(asked).await,
        Operation::CreateApiKey => managing::create_api_key(asked, body).await,
        Operation::RotateApiKey => managing::rotate_api_key(asked, body).await,
        Operation::RevokeApiKey => managing::revoke_api_key(asked).await,
    }
}

fn ready(asked: &Asked) -> Result<Answer, Problem> {
    if !asked.shared.serving.load(Ordering::Acquire) {
        return Err(Problem::new(Kind::Stopping, "the server is stopping").after(1));
    }
    match asked.shared.readiness.why_not(&asked.shared) {
        None => Ok(Answer::text("ready\n")),
        Some(why) => Err(Problem::new(Kind::Unavailable, why.to_string()).after(1)),
    }
}

async fn metrics(asked: &Asked) -> Result<Answer, Problem> {
    let shared = &asked.shared;
    let held = (shared.config.limits.body_budget_bytes / 1024).saturating_sub(shared.budget.available_permits());
    let certificate = shared.certificates.as_ref().and_then(|certificates| certificates.current().not_after);
    let gauges = [
        (
            "indelible_certificate_ends_seconds",
            "End of the certificate since 1970; 0 for none",
            certificate.unwrap_or(0),
        ),
        ("indelible_open_logs", "Logs that are open", shared.logs.count_open() as u64),
        ("indelible_streams", "Streams now", shared.streams.count() as u64),
        ("indelible_locked_logs", "Logs that are locked", shared.identities.locks().count() as u64),
        ("indelible_body_kibibytes", "Kibibytes of bodies that are held", held as u64),
        ("indelible_own_log_failed", "Whether the own log cannot be written", shared.readiness.own_log_failed().into()),
        (
            "indelible_registry_failed",
            "Whether the registry is not followed",
            shared.readiness.registry_failed().into(),
        ),
    ];
    let of_logs = health::gauges(shared, asked.key()?).await;
    Ok(Answer::text(shared.metrics.text(&gauges) + &of_logs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits() {
        let rows =
            [("7", Some(7)), ("007", Some(7)), ("", None), ("+7", None), ("-7", None), (" 7", None), ("7.0", None)];
        for (text, expected) in rows {
            assert_eq!(parse_number(text), expected, "{text}");
        }
        assert_eq!(parse_number("18446744073709551616"), None);
    }

    #[test]
    fn only_parameters_of_the_route_are_taken_and_each_once() {
        let Found::Route(route, _) = routes::find("GET", "/v1/logs/a/entries") else { panic!("no route") };
        assert_eq!(
            query(route, "from=3&limit=%31").unwrap(),
            [("from".into(), "3".into()), ("limit".into(), "1".into())]
        );
        assert_eq!(query(route, "").unwrap(), []);
        for text in ["fro=3", "from=3&from=3", "from=%zz", "from=%ff"] {
            assert!(query(route, text).is_err(), "{text}");
        }
    }
}
