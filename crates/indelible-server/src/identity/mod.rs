//! API keys, as a log of the server's own says that they are.
//!
//! There is no table of keys: each that is made, rotated or revoked is an event of the log `<name>/_server`, and what is in force is what these events say, read
//! when the server starts and kept in memory from then on. An event holds the SHA-256 of a token, never the token: 256 random bits cannot be found from
//! their hash.
//!
//! - Before anything is believed, all entries are folded into a tree whose root has to be that of the log's newest checkpoint, which the head store knows. Whoever
//!   may write files makes themselves no key.
//! - A key has a token, or is bound to a certificate: then there is nothing secret, and the event says which. At any time a certificate or a name is bound to one key that
//!   is in force, so that it is never a question whose request it is.
//! - A key is in force when its event is durable. One that is revoked ends at once, also where the event could not be recorded; the caller is told.
//! - One that ends takes with it what it made ([`table`]).
//! - A crash leaves the event or not.
//! - Where several servers share a database, each takes up what the others recorded when a checkpoint covers it ([`Identities::follow`]).

mod changing;
mod error;
mod key;
mod known;
mod recording;
mod said;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use indelible::{Log, LogError, clock::Clock, error::chain};
use indelible_core::{entry::EntryRef, time::Micros, tree::Frontier};
use memchr::memmem::Finder;

use crate::{
    binding::Binding,
    error::ServerError,
    locks::{Locks, Said, Standing},
};

pub use error::IdentityError;
pub(crate) use key::actor;
pub use key::{ApiKey, By, NewKey};
use said::{fold, take};
use table::Table;

/// The most keys that a server has at a time, revoked and ended ones not counted, and those that follow one another by rotation counted as one. How they are divided among those that make
/// them says [`crate::lines`].
pub const MAX_KEYS: usize = 10_000;
/// A server that cannot follow the others' changes for so long serves nobody until it can.
const STALE: Duration = Duration::from_secs(15);
/// Entries about keys hold this, and those about locks; others that only name one as actor are looked at for nothing.
static ABOUT_KEYS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"api_key"));

/// Opens the server's own log, again where it failed.
pub type Opener = Box<dyn Fn() -> Result<Log, LogError> + Send + Sync>;

/// The keys of a server.
pub struct Identities {
    /// `None` where it failed and was let go of: whoever needs it next opens it again.
    log: Mutex<Option<Log>>,
    open: Opener,
    origin: String,
    clock: Arc<dyn Clock>,
    known: RwLock<Table>,
    /// The newest key that each certificate was bound to, in the order of the log.
    bound: RwLock<BTreeMap<Binding, String>>,
    /// The tree of all entries that were taken up, and what they said of locks.
    followed: Mutex<(Frontier, Said)>,
    /// Until when what is known may be gone by, where other servers end keys too.
    good_until: Mutex<Option<Instant>>,
    /// Held while something is changed, so that no two changes are of one key. Has the keys that are revoked in memory and not on record.
    changing: Mutex<BTreeSet<String>>,
    locks: Locks,
}

impl Identities {
    /// Takes up what the log says that `open` opens.
    ///
    /// # Errors
    /// [`ServerError::Identity`] where its entries are not those of its newest checkpoint; [`LogError`].
    pub fn load(open: Opener, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let log = open()?;
        let (mut tree, mut known, mut bound) = (Frontier::new(), Table::default(), BTreeMap::new());
        let mut said = Said::default();
        fold(&log, &mut tree, |entry| {
            bound.extend(take(entry, &mut known));
            said.take(entry, |id| known.standing(id));
        })?;
        let locks = Locks::new(said.clone());
        let good_until = Mutex::new(log.is_shared().then(|| Instant::now() + STALE));
        let (known, bound) = (RwLock::new(known), RwLock::new(bound));
        let (followed, changing) = (Mutex::new((tree, said)), Mutex::default());
        let (origin, log) = (log.origin().to_owned(), Mutex::new(Some(log)));
        Ok(Self { log, open, origin, clock, known, bound, followed, good_until, changing, locks })
    }

    /// Whether another server may have ended keys, and this one could not see it for too long.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let until = *self.good_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| until < Instant::now())
    }

    /// Takes up what was recorded since, by whichever server of the same database. A key that was ended here stays ended.
    ///
    /// # Errors
    /// [`ServerError::Identity`] where the entries are not those of the newest checkpoint: nothing of them is taken up.
    pub fn follow(&self) -> Result<(), ServerError> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let ((mut tree, mut said), mut news) = (followed.clone(), Vec::new());
        let log = self.log()?;
        fold(&log, &mut tree, |entry| {
            // Those that lock and unlock name the key that did it.
            if ABOUT_KEYS.find(entry.body).is_some() {
                news.push(entry.bytes.to_vec());
            }
        })?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut newly_bound = Vec::new();
        for bytes in &news {
            if let Ok(entry) = EntryRef::parse(bytes) {
                newly_bound.extend(take(&entry, &mut known));
                said.take(&entry, |id| known.standing(id));
            }
        }
        drop(known);
        self.bound.write().unwrap_or_else(PoisonError::into_inner).extend(newly_bound);
        self.locks.follow(&said);
        *followed = (tree, said);
        if let Some(until) = &mut *self.good_until.lock().unwrap_or_else(PoisonError::into_inner) {
            *until = Instant::now() + STALE;
        }
        Ok(())
    }

    /// The log that says it, opened again where it failed.
    ///
    /// # Errors
    /// [`LogError`] where it cannot be opened now.
    pub fn log(&self) -> Result<Log, LogError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match &*log {
            Some(open) => Ok(open.clone()),
            None => Ok(log.insert((self.open)()?).clone()),
        }
    }

    /// Whether other servers write that log too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.good_until.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// As if other servers wrote it.
    #[cfg(test)]
    pub(crate) fn shares(&self) {
        *self.good_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + STALE);
    }

    /// The name of that log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Why it cannot be written, where it cannot. Opens it again where it failed, so this may wait for a disk.
    pub(crate) fn fault(&self) -> Option<String> {
        let log = match self.log() {
            Ok(log) => log,
            Err(error) => return Some(chain(&error)),
        };
        log.setbacks().checkpoint?;
        // What its keeper could not sign is tried once more; where it fails again, the next look opens the log anew.
        self.sign().err().map(|error| chain(&error))
    }

    /// Lets go of a log that may have failed, so that the next to need it opens it again: opening finds out what is durable.
    fn let_go(&self) {
        // Its last handle syncs: that is nothing to hold a lock for.
        let old = self.log.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(old);
    }

    /// What locks of logs are judged by.
    pub(crate) fn standing(&self, id: &str) -> Option<Standing> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).standing(id)
    }

    /// The logs that are locked, as the log says.
    #[must_use]
    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// The time by the server's clock.
    #[must_use]
    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }
}
