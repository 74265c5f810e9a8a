//! Reading what a request carries, within limits of length, time and memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    config::Limits,
    problem::{Kind, Problem},
    shares::{LEAST_BYTES_PER_SECOND, Pace},
};

/// What a request carries, and its part of the budget while it is held.
pub(crate) struct Body {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    held: Held,
}

/// Parts of the budget, and of one's share of it, which are given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    budget: Option<OwnedSemaphorePermit>,
    share: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes what is still missing for so many bytes in all.
    ///
    /// # Errors
    /// [`Kind::TooMany`] where the share has no more, [`Kind::Busy`] where the budget has not.
    pub(crate) fn up_to(&mut self, bytes: usize, room: Room<'_>) -> Result<(), Problem> {
        if charge_up_to(room.share, &mut self.share, bytes).is_none() {
            let text = "the key, and those of the same line, have as much under way as they may: send, or ask for, less at a time";
            return Err(Problem::new(Kind::TooMany, text).after(1));
        }
        if charge_up_to(room.budget, &mut self.budget, bytes).is_none() {
            return Err(Problem::new(Kind::Busy, "the server holds as much as it may").after(1));
        }
        Ok(())
    }
}

impl Body {
    /// Bytes, and their part of the budget.
    pub(crate) fn new(bytes: Vec<u8>, held: Held) -> Self {
        Self { bytes, held }
    }

    /// Other bytes in their place, which are about as many.
    pub(crate) fn rewritten(self, bytes: Vec<u8>) -> Self {
        Self { bytes, ..self }
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON text.
    One,
    /// One a line.
    Lines,
}

/// What the headers say of the form; only `application/json` where lines are not taken.
///
/// # Errors
/// [`Kind::MediaType`].
pub(crate) fn form(headers: &HeaderMap, lines_too: bool) -> Result<Form, Problem> {
    let refused = |what: &str| Problem::new(Kind::MediaType, what.to_owned());
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, parameters) = given.split_once(';').unwrap_or((given, ""));
    let charset = parameters.trim().to_ascii_lowercase();
    if charset.starts_with("charset=") && !["charset=utf-8", "charset=\"utf-8\""].contains(&charset.as_str()) {
        return Err(refused("JSON is UTF-8"));
    }
    match media_type.trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Form::One),
        "application/x-ndjson" | "application/jsonl" if lines_too => Ok(Form::Lines),
        _ if lines_too => {
            Err(refused("send `Content-Type: application/json` for one event, `application/x-ndjson` for one a line"))
        }
        _ => Err(refused("send `Content-Type: application/json`")),
    }
}

/// Of what a body takes its bytes while it is held: of the budget of all, and of its sender's share.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) budget: &'a Arc<Semaphore>,
    pub(crate) share: &'a Arc<Semaphore>,
}

/// Reads a body.
///
/// # Errors
/// [`Kind::TooLarge`], [`Kind::SlowBody`], [`Kind::Busy`], [`Kind::TooMany`], [`Kind::BadRequest`].
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    limits: &Limits,
    room: Room<'_>,
) -> Result<Body, Problem> {
    let most = limits.body_bytes;
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > most as u64) {
        return Err(too_large(most));
    }
    let reading = gather(body, limits, room);
    match tokio::time::timeout(Duration::from_millis(limits.body_ms), reading).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(Kind::SlowBody, format!("the body took longer than {} ms", limits.body_ms))),
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(Kind::TooLarge, format!("a body has at most {most} bytes here"))
}

async fn gather(mut body: Incoming, limits: &Limits, room: Room<'_>) -> Result<Body, Problem> {
    let slow = Duration::from_millis(limits.body_slow_ms);
    let (mut held, mut pace) = (Body::new(Vec::new(), Held::default()), Pace::new(slow, Instant::now()));
    loop {
        // What is there already is read before it is looked at the time.
        if let Ok(frame) = tokio::time::timeout(pace.patience(Instant::now()), body.frame()).await {
            let Some(frame) = frame else { return Ok(held) };
            let frame =
                frame.map_err(|_| Problem::bad("the body broke off, or is not framed as HTTP frames bodies"))?;
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data() {
                take(&mut held, &data, limits, room)?;
                pace.came(data.len());
            }
        }
        if !pace.holds(Instant::now()) {
            let least = format!("less than {LEAST_BYTES_PER_SECOND} bytes a second of the body came");
            return Err(Problem::new(Kind::SlowBody, format!("{least} for {} ms", limits.body_slow_ms)));
        }
    }
}

fn take(held: &mut Body, data: &[u8], limits: &Limits, room: Room<'_>) -> Result<(), Problem> {
    let bytes = held.bytes.len() + data.len();
    if bytes > limits.body_bytes {
        return Err(too_large(limits.body_bytes));
    }
    held.held.up_to(bytes, room)?;
    held.bytes.extend_from_slice(data);
    Ok(())
}

/// Takes what is still missing for so many bytes in all, in units of a kibibyte.
fn charge_up_to(budget: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Option<()> {
    let units = bytes.div_ceil(1024).saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if units > 0 {
        let more = Arc::clone(budget).try_acquire_many_owned(u32::try_from(units).ok()?).ok()?;
        join(held, more);
    }
    Some(())
}

fn join(held: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_small_pieces_takes_no_more_of_the_budget_than_in_one() {
        let budget = Arc::new(Semaphore::new(8));
        let mut held = None;
        for bytes in 1..=4096 {
            charge_up_to(&budget, &mut held, bytes).unwrap();
        }
        assert_eq!(budget.available_permits(), 4);
        assert_eq!(charge_up_to(&budget, &mut held, 8193), None);
        drop(held);
        assert_eq!(budget.available_permits(), 8);
    }

    #[test]
    fn forms_are_told_by_their_headers() {
        type Headers = [(&'static str, &'static str)];
        let rows: [(&Headers, bool, Option<Form>); 7] = [
            (&[("content-type", "application/json")], true, Some(Form::One)),
            (&[("content-type", "Application/JSON; charset=UTF-8")], false, Some(Form::One)),
            (&[("content-type", "application/x-ndjson")], true, Some(Form::Lines)),
            (&[("content-type", "application/x-ndjson")], false, None),
            (&[("content-type", "application/json; charset=latin1")], true, None),
            (&[("content-type", "text/plain")], true, None),
            (&[], true, None),
        ];
        for (given, lines_too, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.insert(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            assert_eq!(form(&headers, lines_too).ok(), expected, "{given:?}");
        }
    }
}
