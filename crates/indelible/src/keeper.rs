//! One thread that publishes checkpoints and makes bounded acknowledgements good, and one that tends closed segments (which takes long), for any number of logs;
//! and a small pool on which async callers' commits run.
//!
//! A log without traffic costs nothing here: it is looked at only when its appends say that there is something to do.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    error::{LogError, chain},
    hold::{Watched, at_work},
    log::{Inner, Panicked},
    options::Rotation,
    publisher::Keep,
    queue::lock,
};

/// How often logs with something to do are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Threads for async callers. Commits of one log go one after the other, so two serve a few busy logs.
const WORKERS: usize = 2;
/// Jobs that wait; each is one log's turn, and a log has at most one.
const MAX_JOBS: usize = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// What a log's chores failed of when they were last tried, with the causes; `None` for each that went well. All of them are tried again with the log's traffic, and none
/// keeps it from recording: what does is told by whatever is called next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setbacks {
    /// Making keys that are due, or taking up what is new in the ring: the log goes on under the keys that it has.
    pub keys: Option<String>,
    /// Publishing a checkpoint: what was recorded since the newest one is durable, and not covered yet.
    pub checkpoint: Option<String>,
    /// Compressing closed segments and merging id files: the log takes more room than it needs.
    pub tending: Option<String>,
}

/// What is done for a log beside recording.
#[derive(Clone, Copy)]
pub(crate) enum Chore {
    Keys,
    Checkpoint,
    Tending,
}

/// The keeper of one or more logs. Cloning shares it; the threads end when the last clone and the last log are gone.
#[derive(Clone, Default)]
pub struct Keeper {
    last: Arc<Last>,
}

/// What clones and logs have of it, and threads do not.
#[derive(Default)]
struct Last {
    shared: Arc<Shared>,
}

impl Drop for Last {
    fn drop(&mut self) {
        self.shared.left.store(true, Ordering::SeqCst);
        // Whoever had looked before that waits now and is woken. It is not waited for: this may be a thread of the keeper's that has the lock. What is missed then lingers.
        drop(self.shared.state.try_lock());
        self.shared.work.notify_all();
        self.shared.jobs.notify_all();
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// The last clone and the last log are gone: what is left to do is done, and nobody waits for more.
    left: AtomicBool,
    work: Condvar,
    jobs: Condvar,
}

#[derive(Default)]
struct State {
    manual: bool,
    logs: Vec<Watched>,
    timer: bool,
    /// Logs to be tended, while a thread is at it.
    tended: Option<Vec<Watched>>,
    workers: usize,
    idle: usize,
    jobs: VecDeque<Job>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// A keeper without logs yet. Threads are started when there is work.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A keeper that does nothing by itself: whoever holds the log calls [`crate::Log::checkpoint`] and [`crate::Log::tend`]. For
    /// simulations, and for processes that want no thread; bounded acknowledgements are then made good by `settle` only.
    #[must_use]
    pub fn manual() -> Self {
        let keeper = Self::default();
        lock(&keeper.last.shared.state).manual = true;
        keeper
    }

    /// Looks after a log until it has nothing more to do.
    pub(crate) fn watch(&self, log: &Arc<Inner>) {
        let mut state = lock(&self.last.shared.state);
        if state.manual {
            return;
        }
        let known = state.logs.iter().any(|known| known.as_ptr() == Arc::as_ptr(log));
        if !known {
            state.logs.push(Watched::of(log));
        }
        if state.timer {
            if !known {
                self.last.shared.work.notify_one();
            }
            return;
        }
        // Where no thread could be had the last time, one may be had now.
        let shared = Arc::clone(&self.last.shared);
        state.timer = thread::Builder::new().name("indelible-keeper".to_owned()).spawn(move || run(&shared)).is_ok();
    }

    /// Whether jobs wait for a thread.
    pub(crate) fn is_wanted(&self) -> bool {
        !lock(&self.last.shared.state).jobs.is_empty()
    }

    /// Runs a job on the pool; on the calling thread where no thread can be had.
    pub(crate) fn spawn(&self, job: Job) {
        let mut state = lock(&self.last.shared.state);
        if state.manual || state.jobs.len() >= MAX_JOBS {
            drop(state);
            at_work(job);
            return;
        }
        state.jobs.push_back(job);
        if state.idle < state.jobs.len() && state.workers < WORKERS {
            let shared = Arc::clone(&self.last.shared);
            let name = "indelible-commit".to_owned();
            if thread::Builder::new().name(name).spawn(move || work(&shared)).is_ok() {
                state.workers += 1;
            } else if state.workers == 0 {
                let job = state.jobs.pop_back();
                drop(state);
                job.into_iter().for_each(at_work);
                return;
            }
        }
        let idle = state.idle;
        drop(state);
        // Waking asks the kernel. Whoever is at work looks again when done.
        if idle > 0 {
            self.last.shared.jobs.notify_one();
        }
    }
}

impl Shared {
    /// Waits for more to do, as long as more may come, and tells whether who is idle then is to end.
    fn linger<'s>(&self, on: &Condvar, state: MutexGuard<'s, State>) -> (MutexGuard<'s, State>, bool) {
        if self.left.load(Ordering::SeqCst) {
            return (state, true);
        }
        let (state, waited) = on.wait_timeout(state, LINGER).unwrap_or_else(PoisonError::into_inner);
        (state, waited.timed_out() || self.left.load(Ordering::SeqCst))
    }
}

/// How long an idle thread stays, where its keeper has logs.
const LINGER: Duration = Duration::from_secs(5);

fn work(shared: &Shared) {
    let mut state = lock(&shared.state);
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // A leader that panics has told its followers and failed its log; the others' jobs go on.
            drop(catch_unwind(AssertUnwindSafe(|| at_work(job))));
            state = lock(&shared.state);
            continue;
        }
        state.idle += 1;
        let (next, is_over) = shared.linger(&shared.jobs, state);
        state = next;
        state.idle -= 1;
        if is_over && state.jobs.is_empty() {
            state.workers -= 1;
            return;
        }
    }
}

/// Work for a log that must not take the others' thread with it: a panic fails the log. Returns `false` then.
fn guarded(log: &Arc<Inner>, work: impl FnOnce() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(|| at_work(work))).unwrap_or_else(|_| {
        log.fail(&Panicked);
        false
    })
}

/// Has a log tended, by the thread that is at it or by a new one.
fn tend(shared: &Arc<Shared>, log: Watched) {
    let mut state = lock(&shared.state);
    if let Some(waiting) = &mut state.tended {
        waiting.push(log);
        return;
    }
    let own = Arc::clone(shared);
    let begun = thread::Builder::new().name("indelible-tend".to_owned()).spawn(move || tend_all(&own));
    // Where no thread can be had, the next checkpoint asks again.
    if begun.is_ok() {
        state.tended = Some(vec![log]);
    }
}

fn tend_all(shared: &Shared) {
    loop {
        let logs = {
            let mut state = lock(&shared.state);
            let logs = state.tended.take().unwrap_or_default();
            if logs.is_empty() {
                return;
            }
            state.tended = Some(Vec::new());
            logs
        };
        for log in logs.iter().filter_map(Watched::hold) {
            while guarded(&log, || log.healthy().is_ok() && log.tend_once()) {}
        }
    }
}

fn run(shared: &Arc<Shared>) {
    loop {
        let logs = {
            let mut state = lock(&shared.state);
            if state.logs.is_empty() {
                let (next, is_over) = shared.linger(&shared.work, state);
                state = next;
                if is_over && state.logs.is_empty() {
                    state.timer = false;
                    return;
                }
            }
            state.logs.clone()
        };
        let mut done = Vec::new();
        for known in &logs {
            let Some(log) = known.hold() else {
                done.push(known.as_ptr());
                continue;
            };
            let more = guarded(&log, || log.tick());
            if log.take_tend_due() {
                tend(shared, known.clone());
            }
            if !more {
                done.push(known.as_ptr());
            }
        }
        let mut state = lock(&shared.state);
        // A log that was used again while it ticked has said so to `busy` and stays.
        state.logs.retain(|log| !done.contains(&log.as_ptr()) || log.hold().is_some_and(|log| log.busy()));
        let wait = state.logs.is_empty();
        drop(state);
        if !wait {
            thread::sleep(TICK);
        }
    }
}

impl Inner {
    /// One look. Returns whether there will be more to do.
    fn tick(self: &Arc<Self>) -> bool {
        if self.healthy().is_err() {
            return false;
        }
        if self.queue.bounded_for().is_some_and(|waited| waited * 2 >= self.bounded_within) && self.queue.claim_lead() {
            self.lead();
        }
        let publisher_due = self.publish_due();
        if publisher_due {
            self.tend_keys();
            let keep = if self.keep_due() { Keep::Yes } else { Keep::No };
            // What is not fatal (a full disk beside the head store, a lock held by another process) is tried again; what is, fails the log.
            if self.publish(keep).is_err() {
                self.publish_again(keep);
                return self.healthy().is_ok();
            }
        }
        self.busy()
    }

    /// Takes up what is new in the ring, and makes new keys where that is this process's part. What fails is told ([`Setbacks::keys`]) and tried again with the next
    /// checkpoint: the log goes on under the keys that it has.
    fn tend_keys(&self) {
        let rotated = match self.rotation {
            Rotation::WhenDue => self.keys.rotate_due(),
            Rotation::ByOperator => Ok(false),
        };
        let reason = if matches!(rotated, Ok(true)) { "the keys were due" } else { "the ring has new keys" };
        // Asked each time, whoever read the ring last, and whether or not keys could be made: what was not taken up then is taken up now.
        let adopted = self.adopt_keys(reason, &[]);
        let _ = self.remember(Chore::Keys, rotated.map_err(LogError::from).and(adopted));
    }

    /// Remembers what a chore failed of until it succeeds. The result passes through.
    pub(crate) fn remember<T>(&self, chore: Chore, result: Result<T, LogError>) -> Result<T, LogError> {
        let mut setbacks = lock(&self.setbacks);
        let place = match chore {
            Chore::Keys => &mut setbacks.keys,
            Chore::Checkpoint => &mut setbacks.checkpoint,
            Chore::Tending => &mut setbacks.tending,
        };
        *place = result.as_ref().err().map(|error| chain(error));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{KeyRing, Log, Options};

    #[test]
    fn the_threads_of_a_keeper_end_with_its_last_log() {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let keeper = Keeper::new();
        let options = Options { keeper: Some(keeper.clone()), ..Options::default() };
        let log = Log::create(&dir.path().join("log"), "t.example/a", &ring, options).unwrap();
        log.append_json(br#"{"action":"a","actor":{"id":"x","type":"user"}}"#).unwrap();
        keeper.spawn(Box::new(|| ()));
        let shared = Arc::downgrade(&keeper.last.shared);
        drop(keeper);
        thread::sleep(TICK * 4);
        assert!(shared.strong_count() > 1, "it has a log, and threads");
        drop(log);
        let begun = Instant::now();
        while shared.strong_count() > 0 {
            assert!(begun.elapsed() < LINGER / 2, "{} have it still", shared.strong_count());
            thread::sleep(Duration::from_millis(5));
        }
    }
}
