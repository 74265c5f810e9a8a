//! Recording: one event, or one a line.
//!
//! An answer that holds a receipt comes when its event is durable. What is refused is told line by line, and everything else is recorded. Where nothing is said of an
//! event, or *unavailable* or *unclear*, it may be recorded or not: sent once more with the same id it is recorded once.
//!
//! `Idempotency-Key` is the id of an event that brings none: `K` for one event, `K/n` for line *n*. So the promise is that of ids, exact over the whole log and
//! over restarts, and there is no second table of what was sent before.
//!
//! An event that brings no id gets its trace from `traceparent`, where it brings no `context`. Nothing else is put into an event, and nothing is changed.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use hyper::{
    StatusCode,
    header::{HeaderName, LOCATION},
};
use indelible::{AppendError, Log, Receipt, error::chain};
use indelible_core::{
    entry::{self, MAX_EVENT_BYTES},
    event::MAX_ID_BYTES,
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    answer::Answer,
    body::{self, Body, Form, Held},
    logs::OpenLog,
    prefer::{self, Acknowledge, Trace},
    problem::{Kind, Problem},
    request::Asked,
    server::Shared,
    shortcuts::Shortcut,
};

/// Bytes that are said of a line, beside its id, which it brings itself or is given, and the name of the log: a receipt or a problem.
pub(crate) const TOLD_BYTES: usize = 512;
/// What is put behind `Idempotency-Key` in the id of a line: `/` and its number.
const LINE_NUMBER_BYTES: usize = 8;
/// The body of one event: [`MAX_EVENT_BYTES`] in the canonical form, three times as many where every character beyond ASCII is escaped, and room for white space.
const MAX_ONE_BODY_BYTES: usize = 4 * MAX_EVENT_BYTES;
/// A body of one event that is longer is not read on a thread that serves connections.
const MAX_INLINE_BYTES: usize = 16 << 10;
/// An event that is longer than this gets no context: it might be too long with it.
const ROOM_FOR_CONTEXT: usize = MAX_EVENT_BYTES - 4000;

/// Records what the request carries.
pub(crate) async fn append(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let form = body::form(&asked.headers, true)?;
    let given = given(&asked)?;
    let body = body.ok_or_else(|| Problem::bad("there is no body"))?;
    if form == Form::One {
        is_of_one(&body)?;
    }
    append_as(asked, form, body, given).await
}

/// Records the event that the body of a shortcut stands for.
pub(crate) async fn record(asked: Asked, shortcut: Shortcut, body: Option<Body>) -> Result<Answer, Problem> {
    body::form(&asked.headers, false)?;
    let given = given(&asked)?;
    let body = body.ok_or_else(|| Problem::bad("there is no body"))?;
    is_of_one(&body)?;
    let trace = given.trace.clone().filter(|_| given.id.is_none());
    let is_large = body.bytes.len() > MAX_INLINE_BYTES;
    let write = move || {
        let event = shortcut.event(&body.bytes, trace.as_ref())?;
        Ok::<_, Problem>(body.rewritten(event))
    };
    let body = match is_large {
        true => tokio::task::spawn_blocking(write).await.map_err(|_| Problem::lost())??,
        false => write()?,
    };
    append_as(asked, Form::One, body, given).await
}

/// What is longer than one event may be is not looked at.
fn is_of_one(body: &Body) -> Result<(), Problem> {
    let bytes = body.bytes.len();
    if bytes > MAX_ONE_BODY_BYTES {
        let text = format!(
            "the body of one event has at most {MAX_ONE_BODY_BYTES} bytes, not {bytes}: send what is large as an attachment"
        );
        return Err(Problem::new(Kind::TooLarge, text));
    }
    Ok(())
}

async fn append_as(asked: Asked, form: Form, body: Body, given: Given) -> Result<Answer, Problem> {
    let open = asked.open().await?;
    asked.shared.identities.locks().refuse(asked.log())?;
    let answer = match form {
        Form::One => one(&asked, &open, body, given).await,
        Form::Lines => lines(&asked, &open, body, given).await,
    };
    open.grew();
    // A log that failed says so to every caller until it is opened again.
    if answer.as_ref().is_err_and(|problem| problem.kind() == Kind::Unavailable) {
        asked.shared.logs.let_go(asked.log(), &open).await;
    }
    answer
}

fn given(asked: &Asked) -> Result<Given, Problem> {
    Ok(Given { id: idempotency_key(asked)?, trace: Trace::of(&asked.headers) })
}

fn idempotency_key(asked: &Asked) -> Result<Option<String>, Problem> {
    asked.header("idempotency-key")?.map(checked_key).transpose()
}

/// A key that can be an event's id.
pub(crate) fn checked_key(key: &str) -> Result<String, Problem> {
    let most = MAX_ID_BYTES - LINE_NUMBER_BYTES;
    if key.is_empty() || key.len() > most || key.contains(|c: char| c.is_control() || matches!(c, '"' | '\\')) {
        let text = format!("`Idempotency-Key` has 1 to {most} printable characters, without `\"` and `\\`");
        return Err(Problem::bad(text));
    }
    Ok(key.to_owned())
}

/// What has to be known of an event before it is recorded.
#[derive(Default, Deserialize)]
struct Glance {
    id: Option<IgnoredAny>,
    attachments: Option<IgnoredAny>,
    context: Option<IgnoredAny>,
}

impl Glance {
    /// What cannot be read is the log's to refuse, with its place.
    fn of(text: &[u8]) -> Self {
        let is_object = text.trim_ascii_start().first() == Some(&b'{');
        let glance = if is_object { serde_json::from_slice(text).ok() } else { None };
        glance.unwrap_or(Self { id: Some(IgnoredAny), attachments: None, context: None })
    }
}

/// What is put into events that do not say it themselves.
pub(crate) struct Given {
    /// The id, from `Idempotency-Key`.
    pub(crate) id: Option<String>,
    pub(crate) trace: Option<Trace>,
}

impl Given {
    /// An event with what it is given.
    fn to<'t>(&self, text: &'t [u8], line: usize) -> Cow<'t, [u8]> {
        // Most bring their own ids, or none: then nothing has to be known of a line before the log reads it.
        if self.id.is_none() && self.trace.is_none() {
            return Cow::Borrowed(text);
        }
        self.put_into(text, &Glance::of(text), Some(line))
    }

    /// The same, where it was looked at already. One with an id has to be the same when it is sent again, so it is given no trace: the next request has another.
    fn put_into<'t>(&self, text: &'t [u8], glance: &Glance, line: Option<usize>) -> Cow<'t, [u8]> {
        let member = match (&self.id, &self.trace) {
            _ if glance.id.is_some() => None,
            (Some(id), _) => {
                let line = line.map(|line| format!("/{line}")).unwrap_or_default();
                Some(format!("\"id\":\"{id}{line}\""))
            }
            (None, Some(trace)) if glance.context.is_none() && text.len() < ROOM_FOR_CONTEXT => {
                Some(prefer::context(trace))
            }
            (None, _) => None,
        };
        member.and_then(|member| with_member(text, &member)).map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

/// The event with one more member.
fn with_member(text: &[u8], member: &str) -> Option<Vec<u8>> {
    let at = text.iter().position(|byte| *byte == b'{')? + 1;
    let (front, rest) = text.split_at_checked(at)?;
    let comma = if rest.trim_ascii_start().first() == Some(&b'}') { "" } else { "," };
    Some([front, member.as_bytes(), comma.as_bytes(), rest].concat())
}

/// An event with what it is given, and what has to be known of it.
struct Looked {
    body: Body,
    has_id: bool,
    has_attachments: bool,
}

impl Looked {
    fn at(body: Body, given: &Given) -> Self {
        let glance = Glance::of(&body.bytes);
        let written = match given.put_into(&body.bytes, &glance, None) {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        };
        let body = match written {
            Some(text) => body.rewritten(text),
            None => body,
        };
        let has_id = glance.id.is_some() || given.id.is_some();
        Self { body, has_id, has_attachments: glance.attachments.is_some() }
    }
}

async fn one(asked: &Asked, open: &Arc<OpenLog>, body: Body, given: Given) -> Result<Answer, Problem> {
    // To read a long one takes so long that others would wait for it.
    let is_long = body.bytes.len() > MAX_INLINE_BYTES;
    let Looked { body, has_id, has_attachments } = match is_long {
        true => Arc::clone(open).wait_for(move |_| Ok(Looked::at(body, &given))).await?,
        false => Looked::at(body, &given),
    };
    match prefer::acknowledge(&asked.headers) {
        Some(Acknowledge::Anchored) => return anchored(asked, open, body).await,
        Some(Acknowledge::Bounded) if !has_id => {
            if let Some(permit) = may_be_bounded(asked) {
                return bounded(asked, open, body, permit).await;
            }
        }
        _ => {}
    }
    let result = if is_long || has_id || has_attachments {
        // Ids and attachments are looked up on disk.
        Arc::clone(open).wait_for(move |open| Ok(open.writer()?.append_json(&body.bytes))).await?
    } else {
        open.writer()?.append_async(&body.bytes).await
    };
    let receipt = counted(asked, result)?;
    let answer = recorded(asked, &receipt, &receipt.to_wire());
    Ok(applied(asked, answer, Acknowledge::Durable))
}

/// The receipt, or why there is none; counted.
fn counted(asked: &Asked, result: Result<Receipt, AppendError>) -> Result<Receipt, Problem> {
    let metrics = &asked.shared.metrics;
    match result {
        Ok(receipt) => {
            metrics.events.fetch_add(u64::from(!receipt.duplicate), Ordering::Relaxed);
            Ok(receipt)
        }
        Err(error) => {
            metrics.refused.fetch_add(u64::from(error.is_refusal()), Ordering::Relaxed);
            Err(error.into())
        }
    }
}

fn recorded(asked: &Asked, receipt: &Receipt, value: &impl Serialize) -> Answer {
    let status = if receipt.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/v1/logs/{}/entries/{}", encoded(asked.log()), receipt.index);
    Answer::json(status, value).with(LOCATION, &location)
}

/// Says which acknowledgement it is, to whoever had a wish.
fn applied(asked: &Asked, answer: Answer, what: Acknowledge) -> Answer {
    if prefer::acknowledge(&asked.headers).is_none() {
        return answer;
    }
    answer.with(HeaderName::from_static("preference-applied"), what.name())
}

/// Records an event and waits for a checkpoint over it. Where none can be made now the event is durable all the same, and that is what is said.
async fn anchored(asked: &Asked, open: &Arc<OpenLog>, body: Body) -> Result<Answer, Problem> {
    let done = Arc::clone(open).wait_for(move |open| {
        let log = open.writer()?;
        let result = log.append_json(&body.bytes);
        let bundle = result.as_ref().ok().map(|receipt| log.checkpoint().and_then(|_| log.prove(receipt.index)));
        Ok((result, bundle))
    });
    let (result, bundle) = done.await?;
    let receipt = counted(asked, result)?;
    let mut value = serde_json::to_value(receipt.to_wire()).unwrap_or_default();
    let what = match bundle {
        Some(Ok(bundle)) => {
            // The text of the file, but for the line end that whoever writes a file puts there.
            let bundle = String::from_utf8_lossy(&bundle.to_bytes()).trim_end().to_owned();
            if let Some(members) = value.as_object_mut() {
                members.insert("bundle".to_owned(), bundle.into());
            }
            Acknowledge::Anchored
        }
        Some(Err(error)) => {
            (asked.shared.reporter)(&format!("an event is durable and not anchored: {}", chain(&error)));
            Acknowledge::Durable
        }
        None => Acknowledge::Durable,
    };
    Ok(applied(asked, recorded(asked, &receipt, &value), what))
}

/// A place for an event that is acknowledged before it is durable, where the configuration has them in this log and there are not too many.
fn may_be_bounded(asked: &Asked) -> Option<OwnedSemaphorePermit> {
    let allowed = asked.shared.config.bounded.iter().any(|pattern| pattern.matches(asked.log()));
    allowed.then(|| Arc::clone(&asked.shared.bounded).try_acquire_owned().ok()).flatten()
}

/// Takes an event on, and sees to it that it becomes durable. There is no index yet, and no receipt.
async fn bounded(
    asked: &Asked,
    open: &Arc<OpenLog>,
    body: Body,
    permit: OwnedSemaphorePermit,
) -> Result<Answer, Problem> {
    let taken = Arc::clone(open).wait_for(move |open| Ok(open.writer()?.append_bounded(&body.bytes)?)).await?;
    let (id, within) = (taken.id.clone(), taken.deadline().saturating_duration_since(Instant::now()));
    let (shared, open) = (Arc::clone(&asked.shared), Arc::clone(open));
    tokio::spawn(async move {
        let settled = Arc::clone(&open).wait_for(move |_| Ok(taken.settle()?)).await;
        open.grew();
        match settled {
            Ok(_) => shared.metrics.events.fetch_add(1, Ordering::Relaxed),
            Err(problem) => {
                let why = problem.for_operator().unwrap_or(problem.kind().name());
                (shared.reporter)(&format!("a bounded acknowledgement was not made good in time: {why}"));
                shared.metrics.broken_promises.fetch_add(1, Ordering::Relaxed)
            }
        };
        drop(permit);
    });
    let value = json!({ "durable_within_ms": u64::try_from(within.as_millis()).unwrap_or(u64::MAX), "id": id, "origin": asked.log() });
    Ok(applied(asked, Answer::json(StatusCode::ACCEPTED, &value), Acknowledge::Bounded))
}

/// An origin as a segment of a path.
pub(crate) fn encoded(origin: &str) -> String {
    origin.replace('/', "%2F").replace(':', "%3A").replace('@', "%40")
}

/// Bytes that are said of a line of this log, where it is given its id.
fn told_bytes(origin: &str, key: Option<&str>) -> usize {
    TOLD_BYTES + origin.len() + key.map_or(0, |key| key.len() + LINE_NUMBER_BYTES)
}

async fn lines(asked: &Asked, open: &Arc<OpenLog>, body: Body, given: Given) -> Result<Answer, Problem> {
    let most = asked.shared.config.limits.events;
    // Long bodies are counted, and answers to many lines written, beside the threads that serve connections.
    let (count, body) = if body.bytes.len() > MAX_INLINE_BYTES {
        Arc::clone(open).wait_for(move |_| Ok((count_of(&body.bytes), body))).await?
    } else {
        (count_of(&body.bytes), body)
    };
    if count > most {
        return Err(Problem::new(Kind::TooLarge, format!("a request has at most {most} events here, not {count}")));
    }
    if count == 0 {
        return Err(Problem::bad("there is no event in the body"));
    }
    // Room for what will be said of each line, before any is recorded.
    let room = asked.hold(count.saturating_mul(told_bytes(asked.log(), given.id.as_deref())))?;
    let anchor = prefer::acknowledge(&asked.headers) == Some(Acknowledge::Anchored);
    let shared = Arc::clone(&asked.shared);
    let done = Arc::clone(open).wait_for(move |open| {
        let (numbers, texts) = split(&body.bytes, &given);
        let results = open.writer()?.append_all(&texts);
        let some = results.iter().any(Result::is_ok);
        let has_failed = results.iter().any(|result| result.as_ref().is_err_and(|error| !error.is_refusal()));
        let checkpoint = (anchor && some).then(|| open.writer().map(Log::checkpoint)).transpose()?;
        let note = match checkpoint {
            Some(Ok(head)) => Some(head.checkpoint),
            Some(Err(error)) => {
                (shared.reporter)(&format!("events are durable and not anchored: {}", chain(&error)));
                None
            }
            None => None,
        };
        let what = if note.is_some() { Acknowledge::Anchored } else { Acknowledge::Durable };
        Ok((tell(&shared, &numbers, results, (note, room)), has_failed, what))
    });
    let (told, has_failed, what) = done.await?;
    if has_failed {
        asked.shared.logs.let_go(asked.log(), open).await;
    }
    Ok(applied(asked, told?, what))
}

fn count_of(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
}

/// The lines that hold something, with their numbers from 1 on, and with what they are given.
pub(crate) fn split<'t>(text: &'t [u8], given: &Given) -> (Vec<usize>, Vec<Cow<'t, [u8]>>) {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let held = lines.enumerate().filter(|(_, line)| !line.is_empty());
    held.map(|(at, line)| (at + 1, given.to(line, at + 1))).unzip()
}

/// What became of one line.
#[derive(Serialize)]
struct Line {
    line: usize,
    #[serde(flatten)]
    result: Told,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Problem(Map<String, Value>),
    Receipt(entry::WireReceipt),
}

/// What became of all of them.
#[derive(Serialize)]
struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    duplicates: u64,
    recorded: u64,
    refused: u64,
    results: Vec<Line>,
    unclear: u64,
}

/// What became of each line. 201 where all are recorded, 207 where some are, the problem of the first where none is.
fn tell(
    shared: &Shared,
    numbers: &[usize],
    results: Vec<Result<Receipt, AppendError>>,
    (checkpoint, room): (Option<String>, Held),
) -> Result<Answer, Problem> {
    let metrics = &shared.metrics;
    let (mut recorded, mut duplicates, mut refused, mut unclear) = (0, 0, 0, 0);
    let (mut told, mut first, mut failed) = (Vec::with_capacity(results.len()), None, None);
    for (number, result) in numbers.iter().zip(results) {
        match result {
            Ok(receipt) => {
                *(if receipt.duplicate { &mut duplicates } else { &mut recorded }) += 1;
                told.push(Line { line: *number, result: Told::Receipt(receipt.to_wire()) });
            }
            Err(error) => {
                *(if error.is_refusal() { &mut refused } else { &mut unclear }) += 1;
                let is_refusal = error.is_refusal();
                let problem = Problem::from(error);
                told.push(Line { line: *number, result: Told::Problem(problem.members()) });
                if is_refusal {
                    first.get_or_insert(problem)
                } else {
                    failed.get_or_insert(problem)
                };
            }
        }
    }
    metrics.events.fetch_add(recorded, Ordering::Relaxed);
    metrics.refused.fetch_add(refused, Ordering::Relaxed);
    let none = recorded + duplicates == 0;
    if let Some(problem) = failed {
        if none {
            return Err(problem);
        }
        if let Some(internal) = problem.for_operator() {
            (shared.reporter)(internal);
        }
    }
    let status = match (none, refused + unclear) {
        (_, 0) => StatusCode::CREATED,
        (false, _) => StatusCode::MULTI_STATUS,
        (true, _) => first.map_or(StatusCode::UNPROCESSABLE_ENTITY, |problem| problem.kind().status()),
    };
    let counts = Counts { checkpoint, duplicates, recorded, refused, results: told, unclear };
    Ok(Answer::json_charged(status, &counts, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        let mut headers = hyper::HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert("traceparent", parent.parse().unwrap());
        Trace::of(&headers).unwrap()
    }

    #[track_caller]
    fn check(line: &str, given: &Given, expected: Option<&str>) {
        let (_, texts) = split(line.as_bytes(), given);
        assert_eq!(String::from_utf8(texts.concat()).unwrap(), expected.unwrap_or(line), "{line}");
    }

    #[test]
    fn an_id_is_put_in_where_there_is_none() {
        let rows = [
            (r#"{"action":"a"}"#, Some(r#"{"id":"k/1","action":"a"}"#)),
            ("{}", Some(r#"{"id":"k/1"}"#)),
            ("{ }", Some(r#"{"id":"k/1" }"#)),
            (r#"{"id":"own"}"#, None),
            (r#"{"id":null}"#, Some(r#"{"id":"k/1","id":null}"#)),
            (r#"["a"]"#, None),
            ("{", None),
            (r#"{"a":{"id":"inner"}}"#, Some(r#"{"id":"k/1","a":{"id":"inner"}}"#)),
        ];
        for (line, expected) in rows {
            // What has an id is sent again as it is, in another trace: it gets none.
            for trace in [None, Some(trace())] {
                check(line, &Given { id: Some("k".to_owned()), trace }, expected);
            }
        }
    }

    #[test]
    fn a_trace_is_put_in_where_there_is_neither_id_nor_context() {
        let given = Given { id: None, trace: Some(trace()) };
        let context = prefer::context(&trace());
        let rows = [
            (r#"{"action":"a"}"#, Some(format!(r#"{{{context},"action":"a"}}"#))),
            (r#"{"details":{"context":7}}"#, Some(format!(r#"{{{context},"details":{{"context":7}}}}"#))),
            (r#"{"id":"own"}"#, None),
            (r#"{"context":{"component":"c"}}"#, None),
            (r#"{"context":{},"context":{}}"#, None),
            ("7", None),
        ];
        for (line, expected) in rows {
            check(line, &given, expected.as_deref());
        }
        // An event that has no room for it is left as it is.
        check(&format!(r#"{{"details":"{}"}}"#, "x".repeat(ROOM_FOR_CONTEXT)), &given, None);
    }

    #[test]
    fn what_is_said_of_a_line_with_the_longest_id_holds_in_what_is_charged() {
        for key in [1, MAX_ID_BYTES - LINE_NUMBER_BYTES].map(|length| "k".repeat(length)) {
            let origin = "o".repeat(200);
            let receipt = entry::WireReceipt {
                id: format!("{key}/9999999"),
                index: u64::MAX,
                leaf_hash: "0".repeat(64),
                mac: "0".repeat(128),
                key: "k".repeat(64),
                origin: origin.clone(),
                recorded_at: "2026-01-01T00:00:00.000000Z".to_owned(),
                duplicate: false,
            };
            let line = serde_json::to_string(&Line { line: 9_999_999, result: Told::Receipt(receipt) }).unwrap();
            let charged = told_bytes(&origin, Some(&key));
            assert!((charged - 256..charged).contains(&line.len()), "{} of {charged}", line.len());
        }
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let (numbers, texts) = split(b"{\"a\":1}\r\n\n  {\"b\":2}\n", &Given { id: None, trace: None });
        assert_eq!(numbers, [1, 3]);
        assert_eq!(texts, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
    }
}
