//! The event of a request, from its head to its end.
//!
//! What comes from a client is cut, and what a host says that no event may have is replaced rather than refused: a request is not left out because of what it says.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode, header::USER_AGENT, request::Parts};
use indelible_core::event::{self, Actor, Context, Event, Kind, Outcome, Severity, Target};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Note, Rules, body::Shared, redact::Seen, text};
use crate::request_id::{RequestId, Trace};

/// The longest text of a header that is recorded.
const MAX_HEADER_BYTES: usize = 512;
/// The longest query.
const MAX_QUERY_BYTES: usize = 2048;
/// The longest name of an action.
const MAX_ACTION_BYTES: usize = 240;
/// The longest reason.
const MAX_REASON_BYTES: usize = 1024;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered(StatusCode),
    Failed,
    Panicked,
    Gone,
}

impl Ending {
    fn outcome(self) -> Outcome {
        match self {
            Self::Answered(status) if status.as_u16() < 400 => Outcome::Success,
            Self::Answered(status) if matches!(status.as_u16(), 401 | 403 | 407 | 429) => Outcome::Denied,
            Self::Answered(_) | Self::Failed | Self::Panicked => Outcome::Failure,
            Self::Gone => Outcome::Unknown,
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Answered(_) => None,
            Self::Failed => Some("the application failed"),
            Self::Panicked => Some("the application panicked"),
            Self::Gone => Some("the client went away before there was an answer"),
        }
    }

    /// The status that was answered; a panic is answered in the application's place.
    fn status(self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(status.as_u16()),
            Self::Panicked => Some(StatusCode::INTERNAL_SERVER_ERROR.as_u16()),
            Self::Failed | Self::Gone => None,
        }
    }
}

/// What is known of a request before it is handled.
pub(super) struct Draft {
    actor: Actor,
    action: String,
    path: String,
    method: Method,
    query: Option<String>,
    context: Context,
    begun: Instant,
    body: Option<Shared>,
}

impl Draft {
    pub(super) fn new(parts: &Parts, rules: &Rules, body: Option<Shared>) -> Self {
        let address = rules.clients.of(parts).ok().map(|address| address.to_string());
        let anonymous = || Actor::new("anonymous", address.clone().unwrap_or_else(|| "unknown".to_owned()));
        let method = text::cut(&parts.method.as_str().to_ascii_lowercase(), MAX_ACTION_BYTES);
        let query = parts.uri.query().filter(|_| rules.query).map(|query| text::cut(query, MAX_QUERY_BYTES));
        Self {
            actor: (rules.actor)(parts).unwrap_or_else(anonymous),
            action: (rules.action)(parts).unwrap_or_else(|| format!("http.{method}")),
            path: text::path(&parts.uri),
            method: parts.method.clone(),
            query,
            context: context(parts, address),
            begun: Instant::now(),
            body,
        }
    }

    /// The event. `answer` is what was seen of the answer's body.
    pub(super) fn finish(self, ending: Ending, note: Note, answer: Option<&Seen>) -> Event {
        let http = self.http(ending, answer);
        let mut details = Map::from_iter([("http".to_owned(), http)]);
        details.extend(note.details.map(|said| ("application".to_owned(), said)));
        let actor = note.actor.unwrap_or(self.actor);
        let action = note.action.unwrap_or(self.action);
        let mut event = Event::new(text::cut(&action, MAX_ACTION_BYTES), actor).kind(Kind::Api).context(self.context);
        event.outcome = Some(ending.outcome());
        event.reason = note.reason.or_else(|| ending.reason().map(str::to_owned));
        event.reason = event.reason.map(|reason| text::cut(&reason, MAX_REASON_BYTES));
        event.severity = ending.status().filter(|status| *status >= 500).map(|_| Severity::Error);
        event.targets = note.targets;
        event.targets.push(Target::new("path", self.path));
        event.details = Some(Value::Object(details));
        fit(event)
    }

    fn http(&self, ending: Ending, answer: Option<&Seen>) -> Value {
        let seen = |body: &Shared| body.lock().unwrap_or_else(PoisonError::into_inner).told();
        let rows = [
            ("method", Some(text::cut(self.method.as_str(), MAX_ACTION_BYTES).into())),
            ("status", ending.status().map(Value::from)),
            ("duration_us", Some(micros(self.begun.elapsed()).into())),
            ("query", self.query.clone().map(Value::from)),
            ("request", self.body.as_ref().and_then(seen)),
            ("answer", answer.and_then(Seen::told)),
        ];
        Value::Object(rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn context(parts: &Parts, address: Option<String>) -> Context {
    let agent = parts.headers.get(USER_AGENT);
    let trace = Trace::of(&parts.headers);
    let mut context = Context::new();
    context.source_ip = address;
    context.user_agent = agent.map(|agent| text::cut(&String::from_utf8_lossy(agent.as_bytes()), MAX_HEADER_BYTES));
    context.request_id = RequestId::of(&parts.extensions).map(|id| text::cut(id, MAX_HEADER_BYTES));
    (context.trace_id, context.span_id) = trace.map(|trace| (trace.trace_id, trace.span_id)).unzip();
    context
}

/// The event in a form that a log takes: first without what is large, then without what the host said.
fn fit(mut event: Event) -> Event {
    let Err(why) = check(&event) else { return event };
    let why = text::cut(&why, MAX_REASON_BYTES);
    if let Some(Value::Object(details)) = &mut event.details {
        details.remove("application");
        details.insert("left_out".to_owned(), json!(why));
        if let Some(Value::Object(http)) = details.get_mut("http") {
            for name in ["request", "answer"] {
                if let Some(Value::Object(body)) = http.get_mut(name) {
                    body.remove("json");
                }
            }
        }
    }
    if check(&event).is_ok() {
        return event;
    }
    let actor = Actor::new("unknown", text::cut(&format!("-{}", event.actor.id), MAX_ACTION_BYTES));
    let method = event.details.as_ref().and_then(|details| details.pointer("/http/method")?.as_str());
    let action = format!("http.{}", method.unwrap_or("request").to_ascii_lowercase());
    (event.action, event.actor) = (text::cut(&action, MAX_ACTION_BYTES), actor);
    event.targets = event.targets.pop().into_iter().collect();
    event
}

/// What a log would say of it.
fn check(event: &Event) -> Result<(), String> {
    match event::parse(&event.to_json(), || "00000000-0000-7000-8000-000000000000".to_owned()) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A request that has not ended: dropped, it was given up.
pub(super) struct Open {
    draft: Option<Draft>,
    journal: crate::journal::Journal,
}

impl Open {
    pub(super) fn new(draft: Draft, journal: &crate::journal::Journal) -> Self {
        Self { draft: Some(draft), journal: journal.clone() }
    }

    /// The event of a request that has ended.
    pub(super) fn finish(mut self, ending: Ending, note: Note, answer: Option<&Seen>) -> Option<Event> {
        self.draft.take().map(|draft| draft.finish(ending, note, answer))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            self.journal.beside(draft.finish(Ending::Gone, Note::new(), None));
        }
    }
}

/// The body of a request, where it is to be looked at.
pub(super) fn seen(parts: &Parts, rules: &Rules, is_empty: bool) -> Option<Shared> {
    let mut seen = Seen::new(rules.requests.as_ref()?, &parts.headers);
    if is_empty {
        seen.end();
    }
    Some(Arc::new(std::sync::Mutex::new(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Parts {
        http::Request::builder().method("POST").uri(uri).body(()).unwrap().into_parts().0
    }

    #[test]
    fn outcomes_follow_the_status() {
        let rows = [
            (200, Outcome::Success),
            (304, Outcome::Success),
            (400, Outcome::Failure),
            (401, Outcome::Denied),
            (403, Outcome::Denied),
            (404, Outcome::Failure),
            (429, Outcome::Denied),
            (500, Outcome::Failure),
        ];
        for (status, outcome) in rows {
            assert_eq!(Ending::Answered(StatusCode::from_u16(status).unwrap()).outcome(), outcome, "{status}");
        }
        assert_eq!((Ending::Gone.outcome(), Ending::Gone.status()), (Outcome::Unknown, None));
    }

    #[test]
    fn whatever_is_said_makes_an_event_that_a_log_takes() {
        let journal = crate::journal::Journal::new(Nowhere);
        let rules = &super::super::AuditLayer::before(&journal).with_queries().rules;
        let long = "é\"\\\u{1}".repeat(20_000);
        let notes = [
            Note::new(),
            Note::new().actor(Actor::user("")).action("").target(Target::new("", "")),
            Note::new().actor(Actor::user(&long)).action(&long).reason(&long),
            Note::new().details(json!({ "x": long })),
            Note::new().details(json!(9_007_199_254_740_993_u64)).target(Target::new("t", &long)),
        ];
        for (number, note) in notes.into_iter().enumerate() {
            let uri = format!("/{}?{}", "\"".repeat(3000), "q".repeat(3000));
            let event = Draft::new(&parts(&uri), rules, None).finish(Ending::Panicked, note, None);
            assert_eq!(check(&event), Ok(()), "{number}");
            assert_eq!(event.targets.last().unwrap().target_type, "path");
            assert_eq!(event.details.unwrap()["http"]["status"], 500);
        }
    }

    struct Nowhere;

    impl crate::record::Recorder for Nowhere {
        fn record(&self, _: Event) -> crate::record::Recording {
            Box::pin(std::future::ready(Ok(())))
        }
    }
}
