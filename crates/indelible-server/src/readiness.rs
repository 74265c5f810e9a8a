//! Whether the server is ready: its own log can be written, and the registry is what it was.
//!
//! A server whose own log has failed still reads and records, and makes, ends and puts on record nothing of its own: whoever balances between servers should prefer
//! another one, and whoever watches should know. So both are looked at from time to time, by one thread at a time, and not by whoever asks: `/readyz` is everybody's and waits
//! for no disk. A log that failed is opened again here, if nobody needed it meanwhile.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use indelible::error::chain;

use crate::server::Shared;

/// How often the own log is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often all of the registry is read: of 10,000 logs it has about 5 MiB.
const WHOLE: Duration = Duration::from_secs(30);
/// What is looked at for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What keeps the server from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its own log cannot be written.
    OwnLog,
    /// The registry says less, or something else, than it said.
    Registry,
    /// Which API keys ended elsewhere could not be seen for too long.
    Stale,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnLog => {
                "the server's own log cannot be written: no API key is made or ended, and nothing is put on record"
            }
            Self::Registry => "the registry of logs is not what it was: nothing new in it is followed",
            Self::Stale => "the database has not told for too long which API keys were ended",
        })
    }
}

/// What was found when it was last looked.
#[derive(Default)]
pub(crate) struct Readiness {
    own_log: Mutex<Option<String>>,
    registry: Mutex<Option<String>>,
}

impl Readiness {
    /// What keeps the server from being ready, if anything does.
    pub(crate) fn why_not(&self, shared: &Shared) -> Option<Why> {
        if self.own_log_failed() {
            return Some(Why::OwnLog);
        }
        if self.registry_failed() {
            return Some(Why::Registry);
        }
        shared.identities.is_stale().then_some(Why::Stale)
    }

    /// Whether the own log cannot be written.
    pub(crate) fn own_log_failed(&self) -> bool {
        lock(&self.own_log).is_some()
    }

    /// Whether the registry is not followed.
    pub(crate) fn registry_failed(&self) -> bool {
        lock(&self.registry).is_some()
    }
}

fn lock(told: &Mutex<Option<String>>) -> std::sync::MutexGuard<'_, Option<String>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts down what was found. The operator reads it where it is news.
fn note(shared: &Shared, told: &Mutex<Option<String>>, what: Why, found: Option<String>) {
    let mut told = lock(told);
    if let Some(why) = found.as_ref().filter(|why| told.as_ref() != Some(*why)) {
        (shared.reporter)(&format!("not ready: {what}: {why}"));
    }
    if found.is_none() && told.is_some() {
        (shared.reporter)(&format!("ready again; it was: {what}"));
    }
    *told = found;
}

/// Looks, until the server stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut whole = Instant::now();
    while shared.serving.load(Ordering::Acquire) {
        tokio::time::sleep(LOOK).await;
        let own = look(&shared, Why::OwnLog, |shared| shared.identities.fault()).await;
        note(&shared, &shared.readiness.own_log, Why::OwnLog, own);
        if whole.elapsed() >= WHOLE || shared.logs.take_suspicion() || shared.readiness.registry_failed() {
            whole = Instant::now();
            let registry = look(&shared, Why::Registry, |shared| shared.logs.check_registry().err().map(|e| chain(&e)));
            let registry = registry.await;
            note(&shared, &shared.readiness.registry, Why::Registry, registry);
        }
    }
}

/// What is wrong. What hangs is told, and waited for: one thread at a time hangs with it.
async fn look(
    shared: &Arc<Shared>,
    what: Why,
    look: impl FnOnce(&Shared) -> Option<String> + Send + 'static,
) -> Option<String> {
    let looking = Arc::clone(shared);
    let mut found = tokio::task::spawn_blocking(move || look(&looking));
    if let Ok(found) = tokio::time::timeout(PATIENCE, &mut found).await {
        return found.unwrap_or_else(|_| Some("it could not be looked at".to_owned()));
    }
    let told = if what == Why::OwnLog { &shared.readiness.own_log } else { &shared.readiness.registry };
    note(shared, told, what, Some(format!("it did not answer within {} s", PATIENCE.as_secs())));
    while shared.serving.load(Ordering::Acquire) {
        if let Ok(found) = tokio::time::timeout(LOOK, &mut found).await {
            return found.unwrap_or_else(|_| Some("it could not be looked at".to_owned()));
        }
    }
    None
}
