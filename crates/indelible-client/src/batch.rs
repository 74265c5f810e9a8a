//! Many events in few requests: NDJSON of bounded size, and each line's answer put back to its event.
//!
//! Lines that are *busy*, *unavailable* or *unclear* are sent again, alone; a request that is too large for the server is halved. Order is kept: nothing behind a request that
//! could not be delivered is sent.

use std::{collections::VecDeque, time::Instant};

use indelible::Receipt;
use indelible_core::entry;

use crate::{
    error::ClientError,
    event::Prepared,
    log::LogClient,
    problem::Problem,
    retry::Backoff,
    settings::Limits,
    transport::Ask,
    wire::{self, Rows},
};

const NDJSON: &str = "application/x-ndjson";

type Outcome = Result<Receipt, ClientError>;

pub(crate) async fn append_all(log: &LogClient, events: &[Prepared]) -> Vec<Outcome> {
    let mut batches: VecDeque<Vec<usize>> = split(events, &log.client().limits()).into();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; events.len()];
    let mut failed: Option<ClientError> = None;
    while let Some(batch) = batches.pop_front() {
        if let Some(failed) = &failed {
            set(&mut outcomes, &batch, |_| Err(ClientError::Held(Box::new(failed.clone()))));
            continue;
        }
        match deliver(log, events, &batch, &mut outcomes).await {
            Ok(()) => {}
            Err(ClientError::Refused(problem)) if problem.is_too_large() && batch.len() > 1 => {
                let (front, back) = batch.split_at(batch.len() / 2);
                batches.push_front(back.to_vec());
                batches.push_front(front.to_vec());
            }
            Err(error) => {
                let open: Vec<usize> = batch.into_iter().filter(|at| is_open(&outcomes, *at)).collect();
                set(&mut outcomes, &open, |_| Err(error.clone()));
                failed = Some(error).filter(|error| !error.is_of_event());
            }
        }
    }
    let none = || Err(log.client().strange("nothing was said of this event"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(none)).collect()
}

fn is_open(outcomes: &[Option<Outcome>], at: usize) -> bool {
    outcomes.get(at).is_some_and(Option::is_none)
}

fn set(outcomes: &mut [Option<Outcome>], batch: &[usize], outcome: impl Fn(usize) -> Outcome) {
    for at in batch {
        if let Some(place) = outcomes.get_mut(*at) {
            *place = Some(outcome(*at));
        }
    }
}

/// Runs of events that fit into a request.
fn split(events: &[Prepared], limits: &Limits) -> Vec<Vec<usize>> {
    let (mut batches, mut bytes) = (Vec::<Vec<usize>>::new(), 0);
    for (at, event) in events.iter().enumerate() {
        let more = event.bytes().len() + 1;
        match batches.last_mut() {
            Some(last) if last.len() < limits.batch_events.max(1) && bytes + more <= limits.batch_bytes => {
                last.push(at);
                bytes += more;
            }
            _ => {
                batches.push(vec![at]);
                bytes = more;
            }
        }
    }
    batches
}

/// Sends a batch until nothing of it is open, or it is time to give up.
async fn deliver(
    log: &LogClient,
    events: &[Prepared],
    batch: &[usize],
    outcomes: &mut [Option<Outcome>],
) -> Result<(), ClientError> {
    let (begun, mut backoff) = (Instant::now(), Backoff::new(log.client().retry()));
    loop {
        let open: Vec<usize> = batch.iter().copied().filter(|at| is_open(outcomes, *at)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let error = match once(log, events, &open, outcomes).await {
            Ok(None) => return Ok(()),
            Ok(Some(passing)) => passing,
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        let asked = error.problem().and_then(|problem| problem.retry_after);
        match backoff.wait(asked, begun.elapsed()) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(error),
        }
    }
}

/// One request. What is decided is put in its place; the trouble of a line that is still open is given back.
async fn once(
    log: &LogClient,
    events: &[Prepared],
    open: &[usize],
    outcomes: &mut [Option<Outcome>],
) -> Result<Option<ClientError>, ClientError> {
    let sent: Vec<&Prepared> = open.iter().filter_map(|at| events.get(*at)).collect();
    let mut body = Vec::with_capacity(sent.iter().map(|event| event.bytes().len() + 1).sum());
    for event in &sent {
        body.extend_from_slice(event.bytes());
        body.push(b'\n');
    }
    let client = log.client();
    let answer = client.once(&Ask::post(log.path("/events"), NDJSON, body).answered_at_length()).await?;
    let rows: Rows<'_> = serde_json::from_slice(&answer.body).map_err(|error| client.strange(error.to_string()))?;
    if rows.results.len() > sent.len() {
        return Err(client.strange("it speaks of more lines than were sent"));
    }
    let mut passing = None;
    for row in rows.results {
        let place = row.line.checked_sub(1).and_then(|at| Some((*open.get(at)?, *sent.get(at)?)));
        let Some((at, event)) = place else { return Err(client.strange("it speaks of a line that was not sent")) };
        let outcome = match (row.receipt, row.problem) {
            (Some(receipt), None) => {
                let receipt =
                    serde_json::from_str::<entry::WireReceipt>(receipt.get()).map_err(|error| error.to_string());
                let receipt = receipt.and_then(|it| wire::receipt(&it, event.id(), log.origin().as_str()));
                Ok(receipt.map_err(|detail| client.strange(detail))?)
            }
            // Its status stands in it.
            (None, Some(problem)) => {
                Err(ClientError::Refused(Box::new(Problem::parse(0, problem.get().as_bytes(), None))))
            }
            _ => return Err(client.strange("a line has neither a receipt nor a problem")),
        };
        match outcome {
            Err(error) if error.is_passing() => passing = Some(error),
            outcome => set(outcomes, &[at], |_| outcome.clone()),
        }
    }
    if passing.is_none() && open.iter().any(|at| is_open(outcomes, *at)) {
        return Err(client.strange("it says nothing of a line that was sent"));
    }
    Ok(passing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_in_order() {
        let events: Vec<Prepared> = (0..7)
            .map(|at| {
                let text = format!(r#"{{"action":"a","actor":{{"type":"user","id":"u"}},"id":"{at}"}}"#);
                Prepared::of_json(text.as_bytes()).unwrap()
            })
            .collect();
        let size = events[0].bytes().len() + 1;
        let of = |batch_events, batch_bytes| split(&events, &Limits { batch_events, batch_bytes, ..Limits::default() });
        assert_eq!(of(3, 1 << 20), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert_eq!(of(100, 2 * size), [vec![0, 1], vec![2, 3], vec![4, 5], vec![6]]);
        assert_eq!(of(100, 1).len(), 7, "one event is never too much for itself");
        assert!(split(&[], &Limits::default()).is_empty());
    }
}
