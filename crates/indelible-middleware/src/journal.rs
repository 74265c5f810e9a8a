//! The way from a request to the recorder, with or without waiting for it.
//!
//! Nothing here grows without bound, and nothing is dropped in silence: what finds no room, or is not recorded, is counted, told to the operator, and put on record as a gap as soon as the recorder takes it. What is
//! only in memory is lost with the process: stop with [`Journal::flush`].
//!
//! The work beside requests runs on one task, started with the first event on the runtime that it comes from.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use indelible_core::{event::Event, time::Micros};
use tokio::{
    runtime::Handle,
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout},
};

use crate::{
    future::Caught,
    record::{Gap, RecordError, Recorder},
};

/// Events that wait beside their requests, by default: at most 64,000 bytes each.
pub const DEFAULT_WAITING: usize = 1024;
/// Events that are being recorded beside requests at a time: enough to share a log's commits.
const BESIDE: usize = 64;
/// Requests that wait for their records at a time.
const BEFORE: usize = 1024;
/// Requests that are to be recorded before their answers, under way at a time, by default.
pub const DEFAULT_UNDER_WAY: usize = 1024;
/// How long a request waits for its record, by default.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a gap that could not be put on record is tried again.
const GAP_EVERY: Duration = Duration::from_secs(1);
/// The most bytes of a gap's reason.
const MAX_REASON_BYTES: usize = 256;

type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// What layers record by. It is cheap to clone; the clones are one.
#[derive(Clone)]
pub struct Journal {
    core: Arc<Core>,
    sender: mpsc::Sender<Message>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Message>>>>,
    patience: Duration,
}

enum Message {
    Event(Box<Event>),
    Look,
    Flush(oneshot::Sender<()>),
}

struct Core {
    recorder: Arc<dyn Recorder>,
    report: Report,
    lost: Mutex<Option<Gap>>,
    lost_ever: AtomicU64,
    beside: Arc<Semaphore>,
    before: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
}

/// How a [`Journal`] is made.
pub struct JournalBuilder {
    recorder: Arc<dyn Recorder>,
    report: Report,
    waiting: usize,
    under_way: usize,
    patience: Duration,
}

impl JournalBuilder {
    /// Takes what only an operator should read: when events begin not to be recorded and why, and when the gap is on record. By default nobody does.
    #[must_use]
    pub fn report(self, report: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// How many events may wait beside their requests; at least one.
    #[must_use]
    pub fn waiting(self, most: usize) -> Self {
        Self { waiting: most.clamp(1, Semaphore::MAX_PERMITS), ..self }
    }

    /// How many requests that are to be recorded before their answers may be under way, from their head to their record; at least one. The next is refused before it is handled.
    #[must_use]
    pub fn under_way(self, most: usize) -> Self {
        Self { under_way: most.clamp(1, Semaphore::MAX_PERMITS), ..self }
    }

    /// How long a request waits for its record.
    #[must_use]
    pub fn patience(self, most: Duration) -> Self {
        Self { patience: most, ..self }
    }

    /// The journal.
    #[must_use]
    pub fn build(self) -> Journal {
        let (sender, receiver) = mpsc::channel(self.waiting);
        let core = Core {
            recorder: self.recorder,
            report: self.report,
            lost: Mutex::default(),
            lost_ever: AtomicU64::default(),
            beside: Arc::new(Semaphore::new(BESIDE)),
            before: Arc::new(Semaphore::new(BEFORE)),
            under_way: Arc::new(Semaphore::new(self.under_way)),
        };
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        Journal { core: Arc::new(core), sender, receiver, patience: self.patience }
    }
}

impl fmt::Debug for JournalBuilder {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("JournalBuilder").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Journal {
    /// A journal with the defaults.
    #[must_use]
    pub fn new(recorder: impl Recorder) -> Self {
        Self::builder(recorder).build()
    }

    /// A journal that is to be told more.
    #[must_use]
    pub fn builder(recorder: impl Recorder) -> JournalBuilder {
        JournalBuilder {
            recorder: Arc::new(recorder),
            report: Arc::new(|_| ()),
            waiting: DEFAULT_WAITING,
            under_way: DEFAULT_UNDER_WAY,
            patience: DEFAULT_PATIENCE,
        }
    }

    /// How many events were not recorded since the start, on record as gaps or not yet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.core.lost_ever.load(Ordering::Relaxed)
    }

    /// Waits until all that was given is recorded or lost, and the gap is on record: for a program that stops, since requests that are to be recorded before their answers are answered 503 meanwhile. Returns how many lost events are on no record, since the recorder takes nothing.
    pub async fn flush(&self) -> u64 {
        self.start();
        if let (false, Ok(before)) = (self.is_unstarted(), u32::try_from(BEFORE)) {
            // Whoever holds one is on the way to the recorder.
            let all = Arc::clone(&self.core.before).acquire_many_owned(before).await;
            let (done, is_done) = oneshot::channel();
            if self.sender.send(Message::Flush(done)).await.is_ok() {
                // Where the worker is gone with its runtime, nothing is recorded any more.
                let _gone = is_done.await;
            }
            drop(all);
        }
        self.core.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |gap| gap.count)
    }

    /// Records an event beside what is going on; it waits for nothing.
    pub(crate) fn beside(&self, event: Event) {
        match self.sender.try_send(Message::Event(Box::new(event))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.core.lose(1, "too many events waited to be recorded"),
            Err(TrySendError::Closed(_)) => self.core.lose(1, "the runtime that records has ended"),
        }
        self.start();
    }

    /// Lets a request in that is to be recorded before its answer; what is given back is held until then.
    ///
    /// # Errors
    /// Where there is no room, or all of it is waited for; it is counted.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, RecordError> {
        let room = Arc::clone(&self.core.under_way).try_acquire_owned().ok();
        match room.filter(|_| self.core.before.available_permits() > 0) {
            Some(room) => Ok(room),
            None => Err(self.full()),
        }
    }

    fn full(&self) -> RecordError {
        self.lose("too many requests waited for their records");
        RecordError::new("too many requests wait for their records")
    }

    /// Records an event, and waits until it is. That goes on when the one who waits goes away.
    ///
    /// # Errors
    /// [`RecordError`]; it is counted.
    pub(crate) async fn now(&self, event: Event) -> Result<(), RecordError> {
        let Ok(permit) = Arc::clone(&self.core.before).try_acquire_owned() else {
            return Err(self.full());
        };
        let journal = self.clone();
        let recording = tokio::spawn(async move {
            let recorded = journal.core.record(event).await;
            if let Err(error) = &recorded {
                journal.lose(&error.chain());
            }
            drop(permit);
            recorded
        });
        match timeout(self.patience, recording).await {
            Ok(recorded) => recorded.map_err(RecordError::new)?,
            Err(late) => Err(RecordError::new(late)),
        }
    }

    fn lose(&self, why: &str) {
        self.core.lose(1, why);
        // The worker may be asleep. Where there is no room it is not.
        let _awake = self.sender.try_send(Message::Look);
        self.start();
    }

    fn is_unstarted(&self) -> bool {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Starts the worker, if it is not started and there is a runtime to start it on.
    fn start(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(receiver) = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(runtime.spawn(work(Arc::clone(&self.core), receiver)));
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Journal").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Core {
    /// Also where the recorder panics.
    async fn record(&self, event: Event) -> Result<(), RecordError> {
        let recorder = Arc::clone(&self.recorder);
        let recording = Caught(Box::pin(async move { recorder.record(event).await }));
        recording.await.unwrap_or_else(|_| Err(RecordError::new("the recorder panicked")))
    }

    fn lose(&self, count: u64, why: &str) {
        self.lost_ever.fetch_add(count, Ordering::Relaxed);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = lost.is_none();
        let gap = lost.get_or_insert_with(|| Gap { count: 0, since: now(), reason: short(why) });
        gap.count = gap.count.saturating_add(count);
        drop(lost);
        // Once for a gap: whoever makes events find no room does not fill the operator's page as well.
        if begins {
            (self.report)(&format!("events of the audit log are not on record: {why}"));
        }
    }

    fn has_lost(&self) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Puts the gap on record. What cannot be is kept, with what is lost meanwhile.
    async fn record_gap(&self) {
        let Some(gap) = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let recorder = Arc::clone(&self.recorder);
        let told = gap.clone();
        let recorded = Caught(Box::pin(async move { recorder.gap(told).await })).await;
        if matches!(recorded, Ok(Ok(()))) {
            return (self.report)(&format!("a gap of {} events is on record in the audit log", gap.count));
        }
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let since = lost.take().map_or(0, |later| later.count);
        *lost = Some(Gap { count: gap.count.saturating_add(since), ..gap });
    }
}

/// Records what comes beside requests, until nobody can send any more.
async fn work(core: Arc<Core>, mut receiver: mpsc::Receiver<Message>) {
    let mut looked = None;
    loop {
        if core.has_lost() && looked.is_none_or(|looked: Instant| looked.elapsed() >= GAP_EVERY) {
            core.record_gap().await;
            looked = Some(Instant::now());
        }
        let message = if core.has_lost() {
            timeout(GAP_EVERY, receiver.recv()).await.unwrap_or(Some(Message::Look))
        } else {
            receiver.recv().await
        };
        match message {
            None => break,
            Some(Message::Look) => {}
            Some(Message::Event(event)) => record_beside(&core, *event).await,
            Some(Message::Flush(done)) => {
                all_beside(&core).await;
                core.record_gap().await;
                // Whoever asked may be gone.
                let _told = done.send(());
            }
        }
    }
    all_beside(&core).await;
    core.record_gap().await;
}

/// Begins to record an event; waits while as many as may be are under way.
async fn record_beside(core: &Arc<Core>, event: Event) {
    let permit = Arc::clone(&core.beside).acquire_owned().await;
    let core = Arc::clone(core);
    drop(tokio::spawn(async move {
        if let Err(error) = core.record(event).await {
            core.lose(1, &error.chain());
        }
        drop(permit);
    }));
}

/// Waits until nothing is under way.
async fn all_beside(core: &Arc<Core>) {
    if let Ok(all) = u32::try_from(BESIDE) {
        drop(core.beside.acquire_many(all).await);
    }
}

/// What the clock of the machine says.
fn now() -> String {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)).to_string()
}

fn short(text: &str) -> String {
    let end = (0..=MAX_REASON_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_letters() {
        assert_eq!(short("why"), "why");
        let long = "é".repeat(200);
        assert_eq!(short(&long), "é".repeat(128));
        assert_eq!(short(&format!("x{long}")).len(), 255);
    }

    #[test]
    fn now_is_a_time() {
        assert!(Micros::parse_exact(&now()).is_some());
    }
}
