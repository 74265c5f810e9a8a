//! Locks: logs that take no events until somebody says otherwise.
//!
//! A lock is an event of the server's own log, and so is its end; there is no other place that says so. What is in force is read from there when the server
//! starts, in the same pass, and on the same condition, as API keys.
//!
//! - A lock is in force first and recorded then; an end of one is recorded first. So a disk that fails can leave a log locked that is not on record as such (whoever asked
//!   is told, and may ask again), never one open whose lock was on record and whose end was not.
//! - A lock refuses events. What the log itself has to say (new keys, checkpoints) it goes on saying, and everything may be read, proven and verified.
//! - What was under way when a lock came into force may still be recorded: it is behind the lock by no more than one request.
//! - INVARIANT(judged): who may lock over whom, and who may lift what, is judged by the order of the log, by every server alike. One that had not heard of another's lock
//!   puts on record what counts for nothing, and says so to whoever asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use hyper::StatusCode;
use indelible_core::entry::{BodyKind, EntryRef};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::Grant,
    answer::Answer,
    aside::What,
    body::Body,
    identity::{ApiKey, By, Identities, actor},
    managing::{aside, object},
    problem::{Kind, Problem},
    request::Asked,
};

/// The longest reason.
const MAX_REASON_CHARS: usize = 1024;
const LOCK: &str = "log.lock";
const UNLOCK: &str = "log.unlock";

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locked {
    reason: String,
    /// The API key that locked it.
    by: String,
    since: String,
}

impl Locked {
    /// What is shown of it.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "by": self.by, "reason": self.reason, "since": self.since })
    }

    /// Whether both say the same; each server has a time of its own for it.
    fn is_same(&self, other: &Self) -> bool {
        (&self.by, &self.reason) == (&other.by, &other.reason)
    }
}

/// The locks of a server. There are no more of either kind than there are registered logs.
#[derive(Default)]
pub(crate) struct Locks {
    known: RwLock<Known>,
}

/// Locks by the names of the logs. A log is locked where either has one.
#[derive(Default)]
struct Known {
    on_record: BTreeMap<String, Arc<Locked>>,
    /// In force, and not on record as far as this server knows.
    unrecorded: BTreeMap<String, Arc<Locked>>,
}

impl Locks {
    /// Takes up what entries said.
    pub(crate) fn new(said: Said) -> Self {
        let locks = Self::default();
        locks.follow(&said);
        locks
    }

    /// Takes up what was said since, by whichever server; what this one has not put on record yet stays.
    pub(crate) fn follow(&self, said: &Said) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.on_record.clone_from(&said.0);
        known.unrecorded.retain(|origin, locked| !said.0.get(origin).is_some_and(|said| said.is_same(locked)));
    }

    fn both(&self, origin: &str) -> (Option<Arc<Locked>>, Option<Arc<Locked>>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (known.on_record.get(origin).cloned(), known.unrecorded.get(origin).cloned())
    }

    /// The lock of a log, the newer one where there are two.
    pub(crate) fn of(&self, origin: &str) -> Option<Arc<Locked>> {
        let (on_record, unrecorded) = self.both(origin);
        unrecorded.or(on_record)
    }

    /// How many logs are locked.
    pub(crate) fn count(&self) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.on_record.len() + known.unrecorded.keys().filter(|origin| !known.on_record.contains_key(*origin)).count()
    }

    /// Lets events through only where there is no lock.
    ///
    /// # Errors
    /// [`Kind::Locked`].
    pub(crate) fn refuse(&self, origin: &str) -> Result<(), Problem> {
        let Some(locked) = self.of(origin) else { return Ok(()) };
        Err(Problem::new(Kind::Locked, format!("the log was locked at {}: {}", locked.since, locked.reason)))
    }

    /// To be called while nothing else changes keys or locks.
    fn lock(&self, own: &Identities, by: &ApiKey, origin: &str, reason: &str) -> Result<Arc<Locked>, Problem> {
        let standing = |id: &str| own.standing(id);
        let (on_record, unrecorded) = self.both(origin);
        let repeats = |locked: &Locked| locked.by == by.id || stands_above(&by.id, locked, standing);
        let above = on_record.as_deref().is_none_or(|locked| stands_above(&by.id, locked, standing));
        let again = unrecorded.as_deref().is_some_and(repeats) && on_record.as_deref().is_none_or(repeats);
        if !again && (!above || unrecorded.is_some()) {
            let reason = unrecorded.or(on_record).map(|locked| locked.reason.clone()).unwrap_or_default();
            return Err(Problem::new(Kind::Conflict, format!("the log is locked already: {reason}")));
        }
        let since = own.now().to_string();
        let locked = Arc::new(Locked { reason: reason.to_owned(), by: by.id.clone(), since });
        self.change(|known| drop(known.unrecorded.insert(origin.to_owned(), Arc::clone(&locked))));
        let mut event = event(LOCK, by, origin, reason);
        if let (Some(before), Some(members)) = (on_record, event.as_object_mut()) {
            members.insert("details".to_owned(), json!({ "instead_of": before.to_json() }));
        }
        own.record_signed_event(&event)?;
        self.change(|known| {
            known.unrecorded.remove(origin);
            // Where there are several servers, what is on record was taken up, and counts or does not.
            if !own.is_shared() {
                known.on_record.insert(origin.to_owned(), Arc::clone(&locked));
            }
        });
        match self.of(origin) {
            Some(now) if now.is_same(&locked) => Ok(now),
            Some(now) => {
                let text = format!("the log was locked already, at another server: {}", now.reason);
                Err(Problem::new(Kind::Conflict, text))
            }
            None => Err(Problem::new(Kind::Conflict, "the log was unlocked meanwhile, at another server")),
        }
    }

    /// To be called while nothing else changes keys or locks.
    fn unlock(&self, own: &Identities, by: &ApiKey, origin: &str, reason: &str) -> Result<(), Problem> {
        let standing = |id: &str| own.standing(id);
        let (on_record, unrecorded) = self.both(origin);
        if on_record.is_none() && unrecorded.is_none() {
            return Err(Problem::new(Kind::Conflict, "the log is not locked"));
        }
        let forbidden = || {
            let text = "the log was locked with a key that may do more than the one that asks: ask whoever locked it";
            Problem::new(Kind::Forbidden, text)
        };
        if [&on_record, &unrecorded].into_iter().flatten().any(|locked| !may_lift(&by.id, locked, standing)) {
            return Err(forbidden());
        }
        own.record_signed_event(&event(UNLOCK, by, origin, reason))?;
        self.change(|known| {
            known.unrecorded.remove(origin);
            if !own.is_shared() {
                known.on_record.remove(origin);
            }
        });
        match self.of(origin) {
            None => Ok(()),
            Some(now) if may_lift(&by.id, &now, standing) => {
                let text = format!("the log was locked again meanwhile, at another server: {}", now.reason);
                Err(Problem::new(Kind::Conflict, text))
            }
            Some(_) => Err(forbidden()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What is known of a key, as far as the log was read.
pub(crate) struct Standing {
    pub(crate) grant: Grant,
    /// The log says that it had ended.
    pub(crate) has_ended: bool,
}

/// Whether a key may do more than the one that locked a log, as far as that one is known: a tenant that locks first does not keep the operator from it.
fn stands_above(by: &str, locked: &Locked, standing: impl Fn(&str) -> Option<Standing>) -> bool {
    let (Some(by), Some(locker)) = (standing(by), standing(&locked.by)) else { return false };
    by.grant.covers(&locker.grant) && !locker.grant.covers(&by.grant)
}

/// Whether a key may do all that the one that locked a log may, as far as that one is known. A tenant does not lift what the operator locked.
fn may_lift(by: &str, locked: &Locked, standing: impl Fn(&str) -> Option<Standing>) -> bool {
    let Some(locker) = standing(&locked.by) else { return true };
    standing(by).is_some_and(|by| by.grant.covers(&locker.grant))
}

fn event(action: &str, by: &ApiKey, origin: &str, reason: &str) -> Value {
    json!({
        "action": action,
        "actor": actor(By::Key(by)),
        "kind": "admin",
        "reason": reason,
        "severity": "warning",
        "targets": [{ "id": origin, "type": "log" }],
    })
}

/// What entries of the own log say of locks, as far as they were read.
#[derive(Clone, Default)]
pub(crate) struct Said(BTreeMap<String, Arc<Locked>>);

impl Said {
    /// Takes up what one entry says; most say nothing. `standing` is that of keys where the entry stands.
    pub(crate) fn take(&mut self, entry: &EntryRef<'_>, standing: impl Fn(&str) -> Option<Standing>) {
        #[derive(Deserialize)]
        struct Event {
            action: String,
            actor: Actor,
            #[serde(default)]
            reason: String,
            #[serde(default)]
            targets: Vec<Target>,
        }
        #[derive(Deserialize)]
        struct Actor {
            id: String,
        }
        #[derive(Deserialize)]
        struct Target {
            id: String,
            r#type: String,
        }
        if entry.kind != BodyKind::Event {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Event>(entry.body) else { return };
        let Some(target) = event.targets.into_iter().find(|target| target.r#type == "log") else { return };
        let (by, before) = (event.actor.id, self.0.get(&target.id));
        if standing(&by).is_some_and(|by| by.has_ended) {
            return;
        }
        match event.action.as_str() {
            LOCK if before.is_none_or(|before| before.by == by || stands_above(&by, before, &standing)) => {
                let since = entry.recorded_at.to_owned();
                self.0.insert(target.id, Arc::new(Locked { reason: event.reason, by, since }));
            }
            UNLOCK if before.is_some_and(|before| may_lift(&by, before, &standing)) => drop(self.0.remove(&target.id)),
            _ => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// The reason that the body gives, for a log that is there and not the server's own.
fn why(asked: &Asked, body: Option<Body>) -> Result<String, Problem> {
    let Why { reason } = object(&asked.headers, body)?;
    let chars = reason.chars().count();
    if reason.trim().is_empty() || chars > MAX_REASON_CHARS || reason.contains(char::is_control) {
        let text = format!("`reason` has to have 1 to {MAX_REASON_CHARS} characters, none of them a control character");
        return Err(Problem::bad(text));
    }
    if asked.shared.logs.is_own(asked.log()) {
        return Err(Problem::new(
            Kind::Forbidden,
            "the server's own log is not locked: what happens is recorded there",
        ));
    }
    Ok(reason)
}

/// Locks a log.
pub(crate) async fn lock(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let (reason, by, log) = (why(&asked, body)?, Arc::clone(asked.key()?), asked.log().to_owned());
    let locked = aside(&asked, What::Ending, move |shared| {
        shared.logs.registered(&log)?;
        let own = &shared.identities;
        own.while_it_may(By::Key(&by), || own.locks().lock(own, &by, &log, &reason))
    });
    let locked = locked.await?.to_json();
    Ok(Answer::json(StatusCode::OK, &json!({ "locked": locked, "log": asked.log() })))
}

/// Ends the lock of a log.
pub(crate) async fn unlock(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let (reason, by, log) = (why(&asked, body)?, Arc::clone(asked.key()?), asked.log().to_owned());
    let unlocked = aside(&asked, What::Ending, move |shared| {
        shared.logs.registered(&log)?;
        let own = &shared.identities;
        own.while_it_may(By::Key(&by), || own.locks().unlock(own, &by, &log, &reason))
    });
    unlocked.await?;
    Ok(Answer::json(StatusCode::OK, &json!({ "locked": null, "log": asked.log() })))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use indelible::{KeyRing, Log, LogError, Options, clock::SystemClock};

    use super::*;
    use crate::{access::Grant, identity::NewKey};

    /// The own log of a server, its disk gone or not.
    struct World {
        dir: tempfile::TempDir,
        ring: KeyRing,
        gone: Arc<AtomicBool>,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
            drop(Log::create(&dir.path().join("log"), "t.example/_server", &ring, Options::default()).unwrap());
            Self { dir, ring, gone: Arc::default() }
        }

        fn load(&self) -> Identities {
            let (path, ring, gone) = (self.dir.path().join("log"), self.ring.clone(), Arc::clone(&self.gone));
            let open = move || match gone.load(Ordering::SeqCst) {
                true => Err(LogError::Refused("its disk is gone".to_owned())),
                false => Log::open(&path, &ring, Options::default()),
            };
            Identities::load(Box::new(open), Arc::new(SystemClock::default())).unwrap()
        }
    }

    fn key(own: &Identities, by: By<'_>, logs: &str) -> Arc<ApiKey> {
        let grant = Grant { logs: vec![logs.to_owned().try_into().unwrap()], ..Grant::admin() };
        own.create(by, NewKey { name: "n".to_owned(), grant, rate_per_minute: 0, expires_at: None }).unwrap().0
    }

    fn kind<T>(result: Result<T, Problem>) -> Option<Kind> {
        result.err().map(|problem| problem.kind())
    }

    #[test]
    fn who_stands_above_whom_is_judged_by_the_order_of_the_log() {
        let world = World::new();
        let own = world.load();
        own.shares();
        let root = key(&own, By::Operator, "*");
        let tenant = key(&own, By::Key(&root), "t/*");
        let elsewhere = |action, by: &ApiKey, reason| own.record_event(&event(action, by, "t/a", reason)).unwrap();
        let reason = || own.locks().of("t/a").map(|locked| locked.reason.clone());
        // The operator locks elsewhere, and the tenant here, which has not heard of it.
        elsewhere(LOCK, &root, "inquiry 1");
        assert_eq!(kind(own.locks().lock(&own, &tenant, "t/a", "mine")), Some(Kind::Conflict));
        assert_eq!(reason().as_deref(), Some("inquiry 1"));
        assert_eq!(kind(own.locks().unlock(&own, &tenant, "t/a", "over")), Some(Kind::Forbidden));
        own.locks().unlock(&own, &root, "t/a", "over").unwrap();
        assert_eq!(reason(), None);
        // The tenant's lock stands, the operator locks over it elsewhere, and the tenant ends here what it takes for its own.
        own.locks().lock(&own, &tenant, "t/a", "mine").unwrap();
        elsewhere(LOCK, &root, "inquiry 2");
        assert_eq!(reason().as_deref(), Some("mine"));
        assert_eq!(kind(own.locks().unlock(&own, &tenant, "t/a", "over")), Some(Kind::Forbidden));
        assert_eq!(reason().as_deref(), Some("inquiry 2"));
        // A key that has ended, by that order, lifts nothing.
        own.revoke(By::Operator, &root.id).unwrap();
        elsewhere(UNLOCK, &root, "behind its end");
        own.follow().unwrap();
        assert_eq!(reason().as_deref(), Some("inquiry 2"));
        own.log().unwrap().close().unwrap();
        drop(own);
        let own = world.load();
        assert_eq!(own.locks().of("t/a").map(|locked| locked.by.clone()), Some(root.id.clone()));
        let other = key(&own, By::Operator, "*");
        own.locks().unlock(&own, &other, "t/a", "over").unwrap();
    }

    #[test]
    fn a_lock_that_is_not_on_record_is_taken_over_by_nobody_below() {
        let world = World::new();
        let own = world.load();
        let root = key(&own, By::Operator, "*");
        let tenant = key(&own, By::Key(&root), "t/*");
        world.gone.store(true, Ordering::SeqCst);
        own.log().unwrap().close().unwrap();
        assert_eq!(kind(own.locks().lock(&own, &root, "t/a", "inquiry")), Some(Kind::Unavailable));
        world.gone.store(false, Ordering::SeqCst);
        assert_eq!(kind(own.locks().lock(&own, &tenant, "t/a", "mine")), Some(Kind::Conflict));
        assert_eq!(kind(own.locks().unlock(&own, &tenant, "t/a", "over")), Some(Kind::Forbidden));
        assert_eq!(kind(own.locks().refuse("t/a")), Some(Kind::Locked));
        // The other side: whoever stands above the locker, or is the locker, puts its own on record.
        own.log().unwrap().close().unwrap();
        world.gone.store(true, Ordering::SeqCst);
        assert!(own.locks().lock(&own, &tenant, "t/b", "mine").is_err());
        world.gone.store(false, Ordering::SeqCst);
        own.locks().lock(&own, &root, "t/b", "inquiry").unwrap();
        assert_eq!(own.locks().lock(&own, &root, "t/a", "inquiry").unwrap().reason, "inquiry");
        assert_eq!(own.locks().count(), 2);
        own.log().unwrap().close().unwrap();
        drop(own);
        let own = world.load();
        for log in ["t/a", "t/b"] {
            assert_eq!(own.locks().of(log).map(|locked| locked.by.clone()), Some(root.id.clone()), "{log}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_recorded_is_in_force_and_an_end_that_cannot_is_none() {
        let world = World::new();
        let own = world.load();
        let key = key(&own, By::Operator, "*");
        own.locks().lock(&own, &key, "a", "before").unwrap();
        own.log().unwrap().close().unwrap();
        world.gone.store(true, Ordering::SeqCst);
        // Whoever asks again is not told that all is well.
        for _ in 0..2 {
            let problem = own.locks().lock(&own, &key, "b", "behind").unwrap_err();
            assert_eq!(problem.kind(), Kind::Unavailable);
        }
        for log in ["a", "b"] {
            assert_eq!(own.locks().unlock(&own, &key, log, "over").unwrap_err().kind(), Kind::Unavailable);
            assert_eq!(own.locks().refuse(log).unwrap_err().kind(), Kind::Locked, "{log}");
        }
        drop(own);
        // What was on record is in force again; what was not is what the operator was told of.
        world.gone.store(false, Ordering::SeqCst);
        let own = world.load();
        assert_eq!(own.locks().refuse("a").unwrap_err().kind(), Kind::Locked);
        own.locks().refuse("b").unwrap();
        own.locks().unlock(&own, &key, "a", "over").unwrap();
        own.locks().refuse("a").unwrap();
    }
}
