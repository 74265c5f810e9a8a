//! The logs of a root, as a server has them open.
//!
//! A log is opened when it is first asked for and stays open; of more than `open_logs` the one that was used longest ago, and is not in use, is closed. A log that
//! failed is let go of, and opened again by whoever asks next: opening finds out what is durable. Until then it is no open log.
//!
//! Which logs there are says the registry, as far as its newest head covers it ([`indelible_service::held`]): one that was put back to an older state, or that entries were taken
//! out of, is told and not followed.
//!
//! What a log does waits for disks, on threads of their own and never on those that serve connections. How many wait at a time is limited, and per log too: one whose
//! disk hangs fills its own share, and the others go on. For the same reason each log has a keeper of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indelible::{HeadRecord, KeyHistory, KeyRing, Log, LogError, Options, Reader, Setbacks, TreeHead, bundle::Bundle};
use indelible_core::tree::LeafIndex;
use indelible_service::{Registry, RegistryError, Root, held, registry::Registered, root::SUFFIX};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, Semaphore, watch},
};

use crate::{
    config::Limits,
    error::ServerError,
    problem::{Kind, Problem},
};

/// How a log of the server's own is called behind its name.
pub(crate) const OWN_SUFFIX: &str = "/_server";
/// How long something waits for its turn at the disks before it is refused.
pub(crate) const WAIT: Duration = Duration::from_secs(5);
/// A name that is not registered makes the registry be read again, at most so often: another process may have registered it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A log that could not be opened is not tried again before.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// All logs of a root.
pub(crate) struct Logs {
    root: Root,
    registry: String,
    options: Options,
    ring: Mutex<KeyRing>,
    limits: Limits,
    known: RwLock<Known>,
    places: Mutex<HashMap<String, Arc<Place>>>,
    /// Held while the registry is written to.
    registering: Mutex<()>,
    /// The registry could not be followed: all of it is to be looked at.
    suspect: AtomicBool,
    tick: AtomicU64,
    disks: Arc<Semaphore>,
}

struct Known {
    held: Arc<held::Held>,
    read_at: Instant,
}

/// One log's place in memory, open or not.
#[derive(Default)]
struct Place {
    held: AsyncMutex<Held>,
    used: AtomicU64,
}

#[derive(Default)]
struct Held {
    open: Option<Arc<OpenLog>>,
    failed_at: Option<Instant>,
}

/// A log that is open.
pub(crate) struct OpenLog {
    source: Source,
    disks: Arc<Semaphore>,
    own_share: Arc<Semaphore>,
    grown: watch::Sender<()>,
    /// Dropped behind `source`, as fields are in their order: so `source` never has the last handle.
    last: LastHandle,
}

/// A handle of a log whose drop, which closes the log and so syncs where it is the last, is done beside the threads that serve connections.
struct LastHandle(Option<Log>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        let log = self.0.take();
        if let (Some(log), Ok(runtime)) = (log, Handle::try_current()) {
            runtime.spawn_blocking(move || drop(log));
        }
    }
}

enum Source {
    Writing(Log),
    Frozen(Box<FrozenLog>),
}

struct FrozenLog {
    reader: Arc<dyn Reader>,
    head: HeadRecord,
    tree: TreeHead,
    history: KeyHistory,
    reason: String,
}

impl OpenLog {
    fn new(source: Source, disks: &Arc<Semaphore>, limits: Limits) -> Self {
        let own_share = Arc::new(Semaphore::new(limits.blocking_per_log));
        let last = LastHandle(match &source {
            Source::Writing(log) => Some(log.clone()),
            Source::Frozen(_) => None,
        });
        Self { source, disks: Arc::clone(disks), own_share, grown: watch::Sender::new(()), last }
    }

    /// Drops it on this thread, which may wait for a disk.
    fn drop_here(mut self) {
        let last = self.last.0.take();
        drop(self);
        drop(last);
    }

    /// Wakes those that follow the log: something became durable.
    pub(crate) fn grew(&self) {
        self.grown.send_replace(());
    }

    /// Changes when something that this server was given to record became durable. It says nothing more once the log is let go of.
    #[must_use]
    pub(crate) fn grown(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// The log, for writing.
    ///
    /// # Errors
    /// [`Kind::Frozen`].
    pub(crate) fn writer(&self) -> Result<&Log, Problem> {
        match &self.source {
            Source::Writing(log) => Ok(log),
            Source::Frozen(frozen) => Err(Problem::new(Kind::Frozen, format!("the log was frozen: {}", frozen.reason))),
        }
    }

    /// The log, for reading.
    #[must_use]
    pub(crate) fn reader(&self) -> &dyn Reader {
        match &self.source {
            Source::Writing(log) => log.store(),
            Source::Frozen(frozen) => &*frozen.reader,
        }
    }

    /// Why the log was frozen, where it was.
    #[must_use]
    pub(crate) fn frozen(&self) -> Option<&str> {
        match &self.source {
            Source::Writing(_) => None,
            Source::Frozen(frozen) => Some(&frozen.reason),
        }
    }

    /// What the log's keeper could not do.
    #[must_use]
    pub(crate) fn setbacks(&self) -> Setbacks {
        match &self.source {
            Source::Writing(log) => log.setbacks(),
            Source::Frozen(_) => Setbacks::default(),
        }
    }

    /// The newest published checkpoint and its tree head.
    #[must_use]
    pub(crate) fn head(&self) -> (HeadRecord, TreeHead) {
        match &self.source {
            Source::Writing(log) => log.head(),
            Source::Frozen(frozen) => (frozen.head.clone(), frozen.tree),
        }
    }

    /// Which keys are right where.
    #[must_use]
    pub(crate) fn history(&self) -> Arc<KeyHistory> {
        match &self.source {
            Source::Writing(log) => log.key_history(),
            Source::Frozen(frozen) => Arc::new(frozen.history.clone()),
        }
    }

    /// Proves an entry.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn prove(&self, index: LeafIndex) -> Result<Bundle, LogError> {
        let frozen = match &self.source {
            Source::Writing(log) => return log.prove(index),
            Source::Frozen(frozen) => frozen,
        };
        let note = &frozen.head.checkpoint;
        let history = frozen.history.until(frozen.tree.size);
        let keys = indelible::links::key_links(&*frozen.reader, &history, note)?;
        Ok(Bundle { keys, ..indelible::bundle::prove(&*frozen.reader, index, frozen.tree, note)? })
    }

    /// Does something that waits for disks, beside the threads that serve connections.
    ///
    /// # Errors
    /// [`Kind::Busy`] where too much waits already; what the work says.
    pub(crate) async fn wait_for<T, F>(self: Arc<Self>, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    {
        let busy = |_| Problem::new(Kind::Busy, "too much waits for this log's disk").after(1);
        // The log's own share first: who waits for a log that hangs takes nothing from the others.
        let share = tokio::time::timeout(WAIT, Arc::clone(&self.own_share).acquire_owned()).await.map_err(busy)?;
        let all = tokio::time::timeout(WAIT, Arc::clone(&self.disks).acquire_owned()).await.map_err(busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also where nobody waits for it any more.
            let _held = (share, all);
            work(&self)
        });
        done.await.map_err(|_| Problem::lost())?
    }
}

impl Logs {
    /// The logs of a root whose registry is there.
    ///
    /// # Errors
    /// [`ServerError`] where the registry cannot be read, or says something else than its head covers.
    pub(crate) fn new(root: Root, options: Options, ring: KeyRing, limits: Limits) -> Result<Self, ServerError> {
        let place = root.registry(&options)?;
        let registry = place.driver(&options)?.reader()?.info().origin.clone();
        let opened = Registry::open_named(root.clone(), &registry, options.clone())?;
        let held = opened.follow(&ring, &held::Held::default())?.unwrap_or_default();
        Ok(Self {
            root,
            registry,
            options,
            ring: Mutex::new(ring),
            limits,
            known: RwLock::new(Known { held: Arc::new(held), read_at: Instant::now() }),
            places: Mutex::default(),
            registering: Mutex::new(()),
            suspect: AtomicBool::new(false),
            tick: AtomicU64::new(0),
            disks: Arc::new(Semaphore::new(limits.blocking)),
        })
    }

    /// How the names of the server's own logs begin.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        self.registry.strip_suffix(SUFFIX).unwrap_or(&self.registry)
    }

    /// The name of the log in which the server says what happens to it.
    #[must_use]
    pub(crate) fn own(&self) -> String {
        format!("{}{OWN_SUFFIX}", self.name())
    }

    /// Whether a name is that of a log of the server's own.
    #[must_use]
    pub(crate) fn is_own(&self, origin: &str) -> bool {
        origin == self.registry || origin.strip_suffix(OWN_SUFFIX) == Some(self.name())
    }

    /// The keys as they are now: they may have been rotated.
    #[must_use]
    pub(crate) fn ring(&self) -> KeyRing {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // A ring that cannot be read again is the one that was read.
        if let Ok(Some(newer)) = ring.refreshed() {
            *ring = newer;
        }
        ring.clone()
    }

    /// How logs are opened.
    #[must_use]
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The registry.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub(crate) fn registry(&self) -> Result<Registry, RegistryError> {
        Registry::open_named(self.root.clone(), &self.registry, self.options.clone())
    }

    /// All logs that are registered, without the server's own, behind a name.
    #[must_use]
    pub(crate) fn after(&self, name: &str) -> Vec<Registered> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.held.logs().values().filter(|log| log.origin.as_str() > name).cloned().collect()
    }

    /// What is registered of a log. May read the registry.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what reading says.
    pub(crate) fn registered(&self, origin: &str) -> Result<Registered, Problem> {
        let look = || {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.held.logs().get(origin).cloned(), known.read_at)
        };
        let (found, read_at) = look();
        if let Some(found) = found {
            return Ok(found);
        }
        if read_at.elapsed() >= LOOK_AGAIN {
            self.read_again()?;
        }
        look().0.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such log"))
    }

    /// Takes up what the registry says more than it did.
    ///
    /// # Errors
    /// [`RegistryError`]: what was known before is known still.
    pub(crate) fn read_again(&self) -> Result<(), RegistryError> {
        let before = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).held);
        let followed = self.registry().and_then(|registry| registry.follow(&self.ring(), &before));
        self.take_up(followed.inspect_err(|_| self.suspect.store(true, Ordering::Release))?);
        Ok(())
    }

    /// Whether the registry could not be followed since this was asked for last.
    #[must_use]
    pub(crate) fn take_suspicion(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    /// Reads all of the registry, and holds it against its head: what was known before may have been changed since.
    ///
    /// # Errors
    /// As [`Logs::read_again`].
    pub(crate) fn check_registry(&self) -> Result<(), RegistryError> {
        let held = self.registry()?.follow(&self.ring(), &held::Held::default())?.unwrap_or_default();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).held.size();
        if held.size() < known {
            let origin = self.registry.clone();
            return Err(RegistryError::RolledBack { origin, found: held.size().0, known: known.0 });
        }
        self.take_up(Some(held));
        Ok(())
    }

    fn take_up(&self, held: Option<held::Held>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have read more of it meanwhile.
        if let Some(held) = held.filter(|held| held.size() > known.held.size()) {
            known.held = Arc::new(held);
        }
        known.read_at = Instant::now();
    }

    /// Makes a log and registers it. Waits for disks.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub(crate) fn create(&self, origin: &str) -> Result<Registered, RegistryError> {
        let _registering = self.registering.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.registry()?.create_log(origin, &self.ring());
        // Also where the name is taken: a crash may have kept it from us that it is.
        self.read_again()?;
        made?.close()?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let unknown = || RegistryError::Unknown { origin: origin.to_owned(), root: self.root.to_string() };
        known.held.logs().get(origin).cloned().ok_or_else(unknown)
    }

    /// Opens a log that the server keeps open itself. Waits for disks.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open_own(&self, origin: &str) -> Result<Log, LogError> {
        Log::open_in(&*self.root.log(origin).driver(&self.options)?, &self.ring(), self.options.clone())
    }

    /// Opens a log that stays open; one of its name that failed is let go of first.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn open_and_adopt(&self, origin: &str) -> Result<Log, LogError> {
        let old = self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(origin);
        // Its lease has to be free before it is opened again; the table is not held meanwhile.
        let old = old.and_then(Arc::into_inner).and_then(|place| place.held.into_inner().open);
        if let Some(old) = old.and_then(Arc::into_inner) {
            old.drop_here();
        }
        let log = self.open_own(origin)?;
        self.adopt(log.clone());
        Ok(log)
    }

    /// A registered log, opened where it is not open yet.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what opening says.
    pub(crate) async fn get(self: &Arc<Self>, origin: &str) -> Result<Arc<OpenLog>, Problem> {
        if !self.is_known(origin) {
            let (this, name) = (Arc::clone(self), origin.to_owned());
            let found = tokio::task::spawn_blocking(move || this.registered(&name).map(drop));
            found.await.map_err(|_| Problem::lost())??;
        }
        let place = self.place(origin);
        let mut held = place.held.lock().await;
        place.used.store(self.tick.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if let Some(open) = &held.open {
            return Ok(Arc::clone(open));
        }
        if held.failed_at.is_some_and(|at| at.elapsed() < TRY_AGAIN) {
            return Err(Problem::new(Kind::Unavailable, "the log cannot be opened now").after(1));
        }
        let (this, name) = (Arc::clone(self), origin.to_owned());
        let opened = tokio::task::spawn_blocking(move || this.open(&name)).await.map_err(|_| Problem::lost())?;
        match opened {
            Ok(open) => {
                let open = Arc::new(open);
                *held = Held { open: Some(Arc::clone(&open)), failed_at: None };
                drop(held);
                self.close_longest_unused(origin);
                Ok(open)
            }
            Err(problem) => {
                held.failed_at = Some(Instant::now());
                Err(problem)
            }
        }
    }

    /// Takes a log in that is open already, and stays open.
    pub(crate) fn adopt(&self, log: Log) {
        let origin = log.origin().to_owned();
        let open = OpenLog::new(Source::Writing(log), &self.disks, self.limits);
        let held = Held { open: Some(Arc::new(open)), failed_at: None };
        let place = Place { held: AsyncMutex::new(held), used: AtomicU64::new(0) };
        let old = self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(origin, Arc::new(place));
        drop(old);
    }

    fn place(&self, origin: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(origin.to_owned()).or_default())
    }

    fn is_known(&self, origin: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).held.logs().contains_key(origin)
    }

    fn open(&self, origin: &str) -> Result<OpenLog, Problem> {
        let source = match self.open_own(origin) {
            Ok(log) => Source::Writing(log),
            Err(LogError::Frozen { reason, .. }) => Source::Frozen(Box::new(self.open_frozen(origin, reason)?)),
            Err(error) => return Err(error.into()),
        };
        Ok(OpenLog::new(source, &self.disks, self.limits))
    }

    fn open_frozen(&self, origin: &str, reason: String) -> Result<FrozenLog, LogError> {
        let reader = self.root.log(origin).driver(&self.options)?.reader()?;
        let ring = self.ring();
        let heads = self.options.heads_for(&ring);
        let missing = || LogError::HeadMissing { origin: origin.to_owned(), place: heads.place(origin) };
        let head = heads.load(origin)?.ok_or_else(missing)?;
        let history = indelible::verify::known_keys(&*reader, Some(&head), &ring.active_keys(origin)?)?;
        let tree = history.open(head.checkpoint.as_bytes())?.head;
        Ok(FrozenLog { reader, head, tree, history, reason })
    }

    /// Lets go of a log that failed: the next to ask opens it again, when the last who has it is done.
    pub(crate) async fn let_go(&self, origin: &str, failed: &Arc<OpenLog>) {
        let place = self.place(origin);
        let mut held = place.held.lock().await;
        if held.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, failed)) {
            let old = std::mem::replace(&mut *held, Held { open: None, failed_at: Some(Instant::now()) });
            drop(held);
            drop(old);
        }
    }

    /// Closes the log that was used longest ago, where there are too many.
    fn close_longest_unused(&self, but: &str) {
        let idle = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.retain(|_, place| !is_left(place));
            if places.values().filter(|place| is_open(place)).count() <= self.limits.open_logs {
                return;
            }
            let mut oldest: Vec<(u64, String)> = places
                .iter()
                .filter(|(origin, _)| origin.as_str() != but && !self.is_own(origin))
                .map(|(origin, place)| (place.used.load(Ordering::Relaxed), origin.clone()))
                .collect();
            oldest.sort();
            oldest.into_iter().find_map(|(_, origin)| take_idle(&mut places, &origin))
        };
        if let Some(log) = idle {
            // Whoever opens it before it is closed finds its lease taken, and tries again.
            tokio::task::spawn_blocking(move || drop(log.writer().map(Log::close)));
        }
    }

    /// The logs that are open, but for those that are just being opened or closed.
    #[must_use]
    pub(crate) fn open_now(&self) -> Vec<(String, Arc<OpenLog>)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |place: &Place| place.held.try_lock().ok()?.open.clone();
        places.iter().filter_map(|(origin, place)| Some((origin.clone(), open(place)?))).collect()
    }

    /// How many logs are open, or being opened or closed.
    #[must_use]
    pub(crate) fn count_open(&self) -> usize {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.values().filter(|place| is_open(place)).count()
    }

    /// Closes all logs: what is queued is recorded, and a checkpoint is signed and kept. Waits for disks. Returns what could not be closed.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<(String, LogError)> {
        let places: Vec<_> = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.drain().collect()
        };
        let mut failed = Vec::new();
        for (origin, place) in places {
            let closed = match place.held.try_lock() {
                Ok(mut held) => {
                    let open = held.open.take();
                    open.as_ref().and_then(|open| open.writer().ok()).map_or(Ok(()), Log::close)
                }
                // Its disk hangs, and so would we.
                Err(_) => Err(LogError::Refused("it is still being opened".to_owned())),
            };
            if let Err(error) = closed {
                failed.push((origin, error));
            }
        }
        failed
    }
}

/// Whether a log is open, or is being opened or closed.
fn is_open(place: &Place) -> bool {
    place.held.try_lock().map_or(true, |held| held.open.is_some())
}

/// Whether nobody has a place, and it is of no use to keep: its log is not open, and whoever asks for it tries to open it again.
fn is_left(place: &Arc<Place>) -> bool {
    // Nobody gets at a place but by the table, which is locked: who has it now is all who have it.
    let idle = Arc::strong_count(place) == 1;
    let waits = |held: &Held| held.open.is_some() || held.failed_at.is_some_and(|at| at.elapsed() < TRY_AGAIN);
    idle && place.held.try_lock().is_ok_and(|held| !waits(&held))
}

/// Takes a log out that nobody else has, nor is about to have.
fn take_idle(places: &mut HashMap<String, Arc<Place>>, origin: &str) -> Option<Arc<OpenLog>> {
    let place = places.get(origin).filter(|place| Arc::strong_count(place) == 1)?;
    let mut held = place.held.try_lock().ok()?;
    let open = held.open.as_ref()?;
    if Arc::strong_count(open) > 1 {
        return None;
    }
    let open = held.open.take();
    drop(held);
    places.remove(origin);
    open
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use indelible::clock::{Clock, SystemClock};
    use indelible_core::time::Micros;

    use super::*;

    /// Notes the threads that ask it.
    #[derive(Clone, Default)]
    struct Watched(SystemClock, Arc<Mutex<Vec<ThreadId>>>);

    impl Clock for Watched {
        fn now(&self) -> Micros {
            self.1.lock().unwrap().push(thread::current().id());
            self.0.now()
        }

        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
    }

    #[test]
    fn the_last_handle_of_a_log_is_dropped_beside_the_threads_that_serve_connections() {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let clock = Watched::default();
        let options = || Options { clock: Arc::new(clock.clone()), ..Options::default() };
        let disks = Arc::new(Semaphore::new(1));
        let open = |name: &str| {
            let log = Log::create(&dir.path().join(name), name, &ring, options()).unwrap();
            let event = r#"{"action":"a","actor":{"id":"x","type":"user"}}"#;
            log.append_json(event.as_bytes()).unwrap();
            OpenLog::new(Source::Writing(log), &disks, Limits::default())
        };
        let closed_here = |drop_it: &dyn Fn(OpenLog), name: &str| {
            let log = open(name);
            clock.1.lock().unwrap().clear();
            drop_it(log);
            // It is closed: nobody else has its lease, and what was recorded is signed.
            let again = Log::open(&dir.path().join(name), &ring, options()).unwrap();
            assert_eq!(again.head().1.size.0, 2, "{name}");
            clock.1.lock().unwrap().first() == Some(&thread::current().id())
        };
        assert!(closed_here(&|log| drop(log), "t.example/without"));
        assert!(closed_here(&OpenLog::drop_here, "t.example/here"));
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let serving = |log: OpenLog| {
            runtime.block_on(async {
                drop(log);
                // There is one thread beside this one: the log is closed when it comes to the next.
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            });
        };
        assert!(!closed_here(&serving, "t.example/beside"));
    }
}
