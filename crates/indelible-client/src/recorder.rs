//! Records now where the server can be reached, and else spools and delivers later, in order.
//!
//! What is told [`Recorded::Durable`] or [`Recorded::Spooled`] is in the log once, in the end, through crashes of this process, of the server, and of both. Events keep their order as long as one
//! recorder sends them: while any waits, new ones go behind it.
//!
//! Whatever keeps an event from being recorded and is not about the event itself (no server, a key that has ended, a log that is busy) leads to the spool; [`Recorder::trouble`] says what it was. After
//! a failure the server is left alone for a while, which doubles up to [`MAX_PAUSE`]; events that come meanwhile are spooled at once. Nothing runs in the background: who has no
//! further events calls [`Recorder::deliver`] now and then.
//!
//! It blocks, and waits for the disk; async programs use it from a thread of its own.

use std::{
    io,
    time::{Duration, Instant},
};

use indelible::Receipt;
use thiserror::Error;

use crate::{
    blocking::Log,
    error::ClientError,
    event::Prepared,
    spool::{Pushed, Spool, SpoolError},
};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Events that are taken from the spool at a time, about: with frames of 1 MiB, at most 2 MiB and this many small ones.
const FRONT_EVENTS: usize = 1000;

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// It is in the log.
    Durable(Receipt),
    /// It is on this machine's disk, and will be delivered.
    Spooled,
    /// There was no room in the spool, and it is lost, which will be on record.
    Dropped,
    /// There was no room in the spool: the caller still has it.
    Full,
    /// It is not in order, or the server will never take it.
    Refused(ClientError),
}

/// What a delivery came to.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Events that have receipts now.
    pub events: u64,
    /// Events that the server will never take; they are in `refused.jsonl`, where that had room.
    pub refused: u64,
    /// How many of those it had no room for; a gap says so in the log.
    pub unkept: u64,
    /// Why it stopped before everything was delivered.
    pub stopped: Option<ClientError>,
}

/// Why recording cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Whoever takes the receipts did not: what they are of stays in the spool, and is told again.
    #[error("the receipts of what was delivered could not be handed on")]
    Sink(#[source] io::Error),
}

/// Takes the receipts of what was spooled. Each is handed on at least once, before its event leaves the spool.
pub type Sink<'a> = &'a mut dyn FnMut(&Receipt) -> io::Result<()>;

/// Records into one log.
pub struct Recorder {
    log: Log,
    spool: Spool,
    not_before: Option<Instant>,
    pause: Duration,
    trouble: Option<ClientError>,
}

impl Recorder {
    /// A recorder. The retries of `log` bound how long [`Recorder::record_all`] tries before it spools; some seconds are enough.
    #[must_use]
    pub fn new(log: Log, spool: Spool) -> Self {
        Self { log, spool, not_before: None, pause: FIRST_PAUSE, trouble: None }
    }

    /// The spool.
    #[must_use]
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// What kept the last events from being recorded; `None` since something was.
    #[must_use]
    pub fn trouble(&self) -> Option<&ClientError> {
        self.trouble.as_ref()
    }

    /// Records events, or spools them; what became of each, in their order.
    ///
    /// # Errors
    /// [`RecorderError`]: of these events nothing is known; sent again they are recorded once.
    pub fn record_all(&mut self, events: &[Prepared], sink: Sink<'_>) -> Result<Vec<Recorded>, RecorderError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_due() && !self.spool.is_settled() {
            self.deliver(sink)?;
        }
        if !self.is_due() || self.spool.waiting() > 0 {
            return self.spool_all(events);
        }
        let outcomes = self.log.append_all(events);
        let mut recorded: Vec<Option<Recorded>> = Vec::with_capacity(events.len());
        for outcome in outcomes {
            recorded.push(match outcome {
                Ok(receipt) => Some(Recorded::Durable(receipt)),
                Err(error) if error.is_of_event() => Some(Recorded::Refused(error)),
                Err(error) => {
                    self.failed(error);
                    None
                }
            });
        }
        let open: Vec<&Prepared> =
            events.iter().zip(&recorded).filter(|(_, recorded)| recorded.is_none()).map(|(event, _)| event).collect();
        if open.is_empty() {
            self.went_well();
        }
        let mut spooled = self.push(&open)?.into_iter();
        Ok(recorded.into_iter().map(|one| one.or_else(|| spooled.next()).unwrap_or(Recorded::Full)).collect())
    }

    fn spool_all(&mut self, events: &[Prepared]) -> Result<Vec<Recorded>, RecorderError> {
        self.push(&events.iter().collect::<Vec<_>>())
    }

    fn push(&mut self, events: &[&Prepared]) -> Result<Vec<Recorded>, RecorderError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let pushed = self.spool.push(events)?.into_iter();
        let told = pushed.map(|pushed| match pushed {
            Pushed::Spooled => Recorded::Spooled,
            Pushed::Dropped => Recorded::Dropped,
            Pushed::Refused => Recorded::Full,
        });
        Ok(told.collect())
    }

    /// Delivers what is spooled, until nothing waits or it cannot go on; then what was turned away is put on record.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn deliver(&mut self, sink: Sink<'_>) -> Result<Delivered, RecorderError> {
        let mut delivered = Delivered::default();
        while let Some(front) = self.spool.front(FRONT_EVENTS)? {
            let mut refused = Vec::new();
            for (event, outcome) in front.events.iter().zip(self.log.append_all(&front.events)) {
                match outcome {
                    Ok(receipt) => {
                        sink(&receipt).map_err(RecorderError::Sink)?;
                        delivered.events += 1;
                    }
                    Err(error) if error.is_of_event() => refused.push((event, error)),
                    Err(error) => delivered.stopped = delivered.stopped.take().or(Some(error)),
                }
            }
            if let Some(error) = &delivered.stopped {
                self.failed(error.clone());
                return Ok(delivered);
            }
            for (event, error) in refused {
                let kept = self.spool.keep_refused(event, &error)?;
                delivered.refused += 1;
                delivered.unkept += u64::from(!kept);
            }
            self.spool.remove(&front)?;
            self.went_well();
        }
        while let Some(gap) = self.spool.gap()? {
            // Nobody else has its id: where the log has other content for it, the gap is on record, as it was said before (with another size of the spool).
            if let Err(error) = self.log.append_prepared(&gap)
                && !error.is_id_conflict()
            {
                self.failed(error.clone());
                delivered.stopped = Some(error);
                return Ok(delivered);
            }
            self.spool.gap_recorded()?;
            self.went_well();
        }
        Ok(delivered)
    }

    fn is_due(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    fn went_well(&mut self) {
        (self.not_before, self.pause, self.trouble) = (None, FIRST_PAUSE, None);
    }

    fn failed(&mut self, error: ClientError) {
        // One failure may be told of many events.
        if self.is_due() {
            self.not_before = Instant::now().checked_add(self.pause);
            self.pause = self.pause.saturating_mul(2).min(MAX_PAUSE);
        }
        let held = matches!(error, ClientError::Held(_));
        self.trouble = if held { self.trouble.take().or(Some(error)) } else { Some(error) };
    }
}
