//! Events for several logs of one database, recorded in one transaction: all of them or none.
//!
//! For a server that records for many tenants at once: what belongs together is in every log or in no log, and one commit serves all. The logs
//! have to be in one PostgreSQL database and opened by one handle on it ([`crate::Databases`]), or in one SQLite file.
//!
//! Sequencers are locked in the order of the logs' ids, and heads in the database's own order of logs, so two callers with overlapping logs never
//! wait for each other in a circle. Appends of single logs go on beside: they wait for their log's turn as they do for other processes.

use std::time::Instant;

use indelible_store::store::StoreError;
use thiserror::Error;

use crate::{
    error::AppendError,
    log::{Ack, Inner, Log},
    queue::{Batched, MAX_EVENTS, Outcome, Prepared},
    receipt::Receipt,
    turn::{Missed, Seat, Sequenced, Told, in_turn, sequence},
};

/// Most logs in one transaction: all of their heads are locked while it lasts.
pub const MAX_LOGS: usize = 1024;
/// Most bytes of their entries: as in the largest batch of one log, half of what a store takes.
pub const MAX_BYTES: usize = 32 << 20;

/// Why events for several logs were not recorded, or are not known to be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TogetherError {
    /// A log was named more than once. Nothing was recorded.
    #[error("log `{origin}` is named twice: give all its events in one list")]
    Twice {
        /// The log.
        origin: String,
    },
    /// A log shares its place with no other. Nothing was recorded.
    #[error(
        "log `{origin}` is in a directory, which has no transactions over several logs: keep logs that belong together in one database"
    )]
    Alone {
        /// The log.
        origin: String,
    },
    /// A log is not in the same database as the others. Nothing was recorded.
    #[error(
        "log `{origin}` is not in the same database as `{first}`, or was opened by another handle on it: open both with one `Options::databases`"
    )]
    Apart {
        /// The log that is elsewhere.
        origin: String,
        /// A log of the transaction.
        first: String,
    },
    /// It is too much for one transaction. Nothing was recorded.
    #[error(
        "{events} events of {bytes} bytes for {logs} logs are too much for one transaction: at most {MAX_EVENTS} events of {MAX_BYTES} bytes for {MAX_LOGS} logs"
    )]
    TooMuch {
        /// How many logs.
        logs: usize,
        /// How many events.
        events: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// An event was refused. Nothing was recorded in any log.
    #[error("event {position} for log `{origin}` was refused, and nothing was recorded in any log")]
    Event {
        /// The log that it was for.
        origin: String,
        /// Its place in that log's list, from 0.
        position: usize,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// One log cannot be written to. Nothing was recorded in any log.
    #[error("log `{origin}` cannot be appended to, and nothing was recorded in any log")]
    Log {
        /// The log.
        origin: String,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The transaction failed.
    #[error(
        "the events could not be made durable together; send all of them once more with the same ids, when the logs are open again where they were closed by this"
    )]
    Failed(#[source] AppendError),
}

/// A log with what is recorded in it.
struct Part<'a> {
    log: &'a Inner,
    events: Vec<Prepared>,
    /// Its place among the caller's.
    place: usize,
}

impl Part<'_> {
    fn origin(&self) -> String {
        self.log.keys.origin.to_string()
    }
}

/// Records events, given as JSON texts, in several logs of one database; returns when all of them are durable, with a receipt for each in the caller's
/// order. An event whose id is in its log already, with the same content, has the receipt of that and is not recorded again.
///
/// # Errors
/// [`TogetherError`]. An event or a log that is refused is named, and nothing was recorded in any of the logs then. After [`TogetherError::Failed`] either all of it is recorded or
/// nothing; opening the logs again tells, and the same ids make it safe to send all of it once more.
pub fn append<T: AsRef<[u8]>>(parts: &[(&Log, &[T])]) -> Result<Vec<Vec<Receipt>>, TogetherError> {
    check(parts)?;
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = prepared(parts)?;
    parts.sort_by_key(|part| part.log.log_id.0);
    let open = parts
        .iter()
        .map(|part| part.log.writing().map_err(|source| TogetherError::Log { origin: part.origin(), source }));
    let _open = open.collect::<Result<Vec<_>, _>>()?;
    let mut seats: Vec<Seat<'_>> = parts.iter().map(|part| Seat::of(part.log)).collect();
    let events: Vec<&[Prepared]> = parts.iter().map(|part| &part.events[..]).collect();
    let mut refused = None;
    let sequenced = in_turn(&mut seats, &mut |turn, seats, makings| {
        let sequenced = sequence(turn, seats, makings, &events)?;
        match first_refused(&sequenced) {
            None => Ok(sequenced),
            Some((at, position, error)) => {
                refused = Some(position);
                Err(Missed::told(at, error))
            }
        }
    });
    drop(seats);
    let sequenced = sequenced.map_err(|told| explained(told, refused, &parts))?;
    receipts(&parts, sequenced)
}

/// Refuses what cannot be one transaction.
fn check<T: AsRef<[u8]>>(parts: &[(&Log, &[T])]) -> Result<(), TogetherError> {
    let mut logs: Vec<&Inner> = parts.iter().map(|(log, _)| &*log.inner).collect();
    logs.sort_by_key(|log| log.log_id.0);
    let origin = |log: &Inner| log.keys.origin.to_string();
    if let Some([log, _]) = logs.array_windows().find(|[log, next]| log.log_id == next.log_id) {
        return Err(TogetherError::Twice { origin: origin(log) });
    }
    if let Some(log) = logs.iter().find(|log| !log.store.shared()) {
        return Err(TogetherError::Alone { origin: origin(log) });
    }
    let events = parts.iter().map(|(_, events)| events.len()).sum();
    let bytes = parts.iter().flat_map(|(_, events)| events.iter()).map(|event| event.as_ref().len()).sum();
    limited(logs.len(), events, bytes)
}

fn limited(logs: usize, events: usize, bytes: usize) -> Result<(), TogetherError> {
    if logs > MAX_LOGS || events > MAX_EVENTS || bytes > MAX_BYTES {
        return Err(TogetherError::TooMuch { logs, events, bytes });
    }
    Ok(())
}

fn prepared<'a, T: AsRef<[u8]>>(parts: &[(&'a Log, &[T])]) -> Result<Vec<Part<'a>>, TogetherError> {
    let prepared = parts.iter().enumerate().map(|(place, (log, texts))| {
        let log = &*log.inner;
        let one = |(position, text): (usize, &T)| {
            let event = log.prepare(text.as_ref(), Ack::Durable);
            event.map_err(|source| TogetherError::Event { origin: log.keys.origin.to_string(), position, source })
        };
        let events = texts.iter().enumerate().map(one).collect::<Result<_, _>>()?;
        Ok(Part { log, events, place })
    });
    let parts = prepared.collect::<Result<Vec<Part<'a>>, TogetherError>>()?;
    // As they are stored they may be longer than they were given.
    let events = parts.iter().map(|part| part.events.len()).sum();
    let bytes = parts.iter().flat_map(|part| &part.events).map(|event| event.start.line_bound()).sum();
    limited(parts.len(), events, bytes)?;
    Ok(parts)
}

fn first_refused(sequenced: &[Sequenced]) -> Option<(usize, usize, AppendError)> {
    let outcomes = sequenced.iter().enumerate().flat_map(|(at, Sequenced { outcomes, .. })| {
        outcomes.iter().enumerate().map(move |(position, outcome)| (at, position, outcome))
    });
    outcomes.into_iter().find_map(|(at, position, outcome)| match outcome {
        Outcome::Refused(error) => Some((at, position, error.clone())),
        _ => None,
    })
}

/// What a turn that came to nothing means for the caller.
fn explained(Told { at, error }: Told, refused: Option<usize>, parts: &[Part<'_>]) -> TogetherError {
    let Some(part) = at.and_then(|at| parts.get(at)) else { return TogetherError::Failed(error) };
    let origin = part.origin();
    match (refused, error) {
        (_, AppendError::Store(error)) if matches!(*error, StoreError::Apart { .. }) => {
            TogetherError::Apart { origin, first: parts.first().map_or_else(String::new, Part::origin) }
        }
        (Some(position), source) => TogetherError::Event { origin, position, source },
        (None, source) => TogetherError::Log { origin, source },
    }
}

/// The receipts of all events, in the caller's order.
fn receipts(parts: &[Part<'_>], sequenced: Vec<Sequenced>) -> Result<Vec<Vec<Receipt>>, TogetherError> {
    let durable_at = Instant::now();
    let mut placed = Vec::with_capacity(parts.len());
    for (part, Sequenced { outcomes, recorded_at, key }) in parts.iter().zip(sequenced) {
        let batched = Batched { outcomes, recorded_at, key, durable_at };
        let receipt = |(at, event): (usize, &Prepared)| part.log.receipt(&batched, at, event.id().to_owned());
        let all = part.events.iter().enumerate().map(receipt).collect::<Result<Vec<_>, _>>();
        placed.push((part.place, all.map_err(TogetherError::Failed)?));
    }
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, receipts)| receipts).collect())
}
