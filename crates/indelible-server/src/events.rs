//! Recording: one event, or one a line.
//!
//! An answer that holds a receipt comes when its event is durable. What is refused is told line by line, and everything else is recorded. Where nothing is said of an
//! event, or *unavailable* or *unclear*, it may be recorded or not: sent once more with the same id it is recorded once.
//!
//! `Idempotency-Key` is the id of an event that brings none: `K` for one event, `K/n` for line *n*. So the promise is that of ids, exact over the whole log and
//! over restarts, and there is no second table of what was sent before.

use std::sync::{Arc, atomic::Ordering};

use hyper::{StatusCode, header::LOCATION};
use indelible::{AppendError, Receipt};
use indelible_core::event::MAX_ID_BYTES;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    answer::Answer,
    body::{self, Body, Form, charge},
    logs::OpenLog,
    problem::{Kind, Problem},
    request::Asked,
};

/// Bytes that are said of a line, beside its id, which it brings itself: a receipt or a problem.
const TOLD_BYTES: usize = 512;

/// Records what the request carries.
pub(crate) async fn append(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let form = body::form(&asked.headers, true)?;
    let chosen = idempotency_key(&asked)?;
    let body = body.ok_or_else(|| Problem::bad("there is no body"))?;
    let open = asked.open().await?;
    let answer = match form {
        Form::One => one(&asked, &open, &body, chosen.as_deref()).await,
        Form::Lines => lines(&asked, &open, body, chosen).await,
    };
    // A log that failed says so to every caller until it is opened again.
    if answer.as_ref().is_err_and(|problem| problem.kind() == Kind::Unavailable) {
        asked.shared.logs.let_go(asked.log(), &open).await;
    }
    answer
}

fn idempotency_key(asked: &Asked) -> Result<Option<String>, Problem> {
    let Some(key) = asked.header("idempotency-key")? else { return Ok(None) };
    // Room for `/` and the number of a line.
    let most = MAX_ID_BYTES - 8;
    if key.is_empty() || key.len() > most || key.contains(['"', '\\']) {
        return Err(Problem::bad(format!("`Idempotency-Key` has 1 to {most} characters, without `\"` and `\\`")));
    }
    Ok(Some(key.to_owned()))
}

/// What has to be known of an event before it is recorded.
#[derive(Default, Deserialize)]
struct Glance {
    id: Option<IgnoredAny>,
    attachments: Option<IgnoredAny>,
}

impl Glance {
    /// What cannot be read is the log's to refuse, with its place.
    fn of(text: &[u8]) -> Self {
        let is_object = text.trim_ascii_start().first() == Some(&b'{');
        let glance = if is_object { serde_json::from_slice(text).ok() } else { None };
        glance.unwrap_or(Self { id: Some(IgnoredAny), attachments: None })
    }
}

/// The event with an id, where it has none.
fn with_id(text: &[u8], id: &str) -> Option<Vec<u8>> {
    let at = text.iter().position(|byte| *byte == b'{')? + 1;
    let (front, rest) = text.split_at_checked(at)?;
    let comma = if rest.trim_ascii_start().first() == Some(&b'}') { "" } else { "," };
    Some([front, b"\"id\":\"", id.as_bytes(), b"\"", comma.as_bytes(), rest].concat())
}

async fn one(asked: &Asked, open: &Arc<OpenLog>, body: &Body, chosen: Option<&str>) -> Result<Answer, Problem> {
    let glance = Glance::of(&body.bytes);
    let given = glance.id.is_some();
    let text = match chosen.filter(|_| !given).and_then(|id| with_id(&body.bytes, id)) {
        Some(text) => text,
        None => body.bytes.clone(),
    };
    let result = if given || chosen.is_some() || glance.attachments.is_some() {
        // Ids and attachments are looked up on disk.
        Arc::clone(open).wait_for(move |open| Ok(open.writer()?.append_json(&text))).await?
    } else {
        open.writer()?.append_async(&text).await
    };
    let receipt = match result {
        Ok(receipt) => receipt,
        Err(error) => {
            asked.shared.metrics.refused.fetch_add(u64::from(error.is_refusal()), Ordering::Relaxed);
            return Err(error.into());
        }
    };
    asked.shared.metrics.events.fetch_add(u64::from(!receipt.duplicate), Ordering::Relaxed);
    let status = if receipt.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/v1/logs/{}/entries/{}", encoded(asked.log()), receipt.index);
    Ok(Answer::json(status, &wire(&receipt)).with(LOCATION, &location))
}

/// An origin as a segment of a path.
pub(crate) fn encoded(origin: &str) -> String {
    origin.replace('/', "%2F").replace(':', "%3A").replace('@', "%40")
}

fn wire(receipt: &Receipt) -> Value {
    serde_json::to_value(receipt.to_wire()).unwrap_or_default()
}

async fn lines(asked: &Asked, open: &Arc<OpenLog>, body: Body, chosen: Option<String>) -> Result<Answer, Problem> {
    let most = asked.shared.config.limits.events;
    let count = body.bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
    if count > most {
        return Err(Problem::new(Kind::TooLarge, format!("a request has at most {most} events here, not {count}")));
    }
    if count == 0 {
        return Err(Problem::bad("there is no event in the body"));
    }
    // Room for what will be said of each line, before any is recorded.
    let room = charge(&asked.shared.budget, count.saturating_mul(TOLD_BYTES))
        .ok_or_else(|| Problem::new(Kind::Busy, "the server holds as much as it may").after(1))?;
    let done = Arc::clone(open).wait_for(move |open| {
        let (numbers, texts) = split(&body.bytes, chosen.as_deref());
        Ok((open.writer()?.append_all(&texts), numbers))
    });
    let (results, numbers) = done.await?;
    if results.iter().any(|result| result.as_ref().is_err_and(|error| !error.is_refusal())) {
        asked.shared.logs.let_go(asked.log(), open).await;
    }
    tell(asked, &numbers, results, room)
}

/// The lines that hold something, with their numbers from 1 on, and with ids where they bring none.
fn split(text: &[u8], chosen: Option<&str>) -> (Vec<usize>, Vec<Vec<u8>>) {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let held = lines.enumerate().filter(|(_, line)| !line.is_empty());
    held.map(|(at, line)| {
        let number = at + 1;
        let given = chosen.filter(|_| Glance::of(line).id.is_none());
        let line = given.and_then(|key| with_id(line, &format!("{key}/{number}"))).unwrap_or_else(|| line.to_vec());
        (number, line)
    })
    .unzip()
}

/// What became of each line. 201 where all are recorded, 207 where some are, the problem of the first where none is.
fn tell(
    asked: &Asked,
    numbers: &[usize],
    results: Vec<Result<Receipt, AppendError>>,
    room: OwnedSemaphorePermit,
) -> Result<Answer, Problem> {
    let metrics = &asked.shared.metrics;
    let (mut recorded, mut duplicates, mut refused, mut unclear) = (0, 0, 0, 0);
    let (mut told, mut first, mut failed) = (Vec::with_capacity(results.len()), None, None);
    for (number, result) in numbers.iter().zip(results) {
        match result {
            Ok(receipt) => {
                *(if receipt.duplicate { &mut duplicates } else { &mut recorded }) += 1;
                told.push(json!({ "line": number, "receipt": wire(&receipt) }));
            }
            Err(error) => {
                *(if error.is_refusal() { &mut refused } else { &mut unclear }) += 1;
                let is_refusal = error.is_refusal();
                let problem = Problem::from(error);
                told.push(json!({ "line": number, "problem": problem.members() }));
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
            (asked.shared.reporter)(internal);
        }
    }
    let status = match (none, refused + unclear) {
        (_, 0) => StatusCode::CREATED,
        (false, _) => StatusCode::MULTI_STATUS,
        (true, _) => first.map_or(StatusCode::UNPROCESSABLE_ENTITY, |problem| problem.kind().status()),
    };
    let counts = json!({
        "duplicates": duplicates,
        "recorded": recorded,
        "refused": refused,
        "results": told,
        "unclear": unclear,
    });
    Ok(Answer::json_charged(status, &counts, Some(room)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (_, texts) = split(line.as_bytes(), Some("k"));
            let text = String::from_utf8(texts.concat()).unwrap();
            assert_eq!(text, expected.unwrap_or(line), "{line}");
        }
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let (numbers, texts) = split(b"{\"a\":1}\r\n\n  {\"b\":2}\n", None);
        assert_eq!(numbers, [1, 3]);
        assert_eq!(texts, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
    }
}
