//! Locks: logs that take no events until somebody says otherwise.
//!
//! A lock is an event of the server's own log, and so is its end; there is no other place that says so. What is in force is read from there when the server
//! starts, in the same pass, and on the same condition, as API keys.
//!
//! - A lock is in force first and recorded then; an end of one is recorded first. So a disk that fails can leave a log locked that is not on record as such (whoever asked
//!   is told, and may ask again), never one open whose lock was on record and whose end was not.
//! - A lock refuses events. What the log itself has to say (new keys, checkpoints) it goes on saying, and everything may be read, proven and verified.
//! - What was under way when a lock came into force may still be recorded: it is behind the lock by no more than one request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use hyper::StatusCode;
use indelible_core::entry::{BodyKind, EntryRef};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
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
    on_record: bool,
}

impl Locked {
    /// What is shown of it.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "by": self.by, "reason": self.reason, "since": self.since })
    }
}

/// The locks of a server, by the names of the logs. There are no more than there are registered logs.
#[derive(Default)]
pub(crate) struct Locks {
    known: RwLock<BTreeMap<String, Arc<Locked>>>,
    /// Held while something is changed, so that what is recorded is in the order in which it is in force.
    changing: Mutex<()>,
}

impl Locks {
    /// Takes up what entries said.
    pub(crate) fn new(said: Said) -> Self {
        let known = said.0.into_iter().map(|(origin, locked)| (origin, Arc::new(locked))).collect();
        Self { known: RwLock::new(known), changing: Mutex::default() }
    }

    /// Takes up what was said since, by whichever server; what this one has not put on record yet stays.
    pub(crate) fn follow(&self, said: &Said) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|origin, locked| !locked.on_record || said.0.contains_key(origin));
        for (origin, locked) in &said.0 {
            // One of another server may have taken the place of the one that is known.
            let known = known.entry(origin.clone()).or_insert_with(|| Arc::new(locked.clone()));
            if known.on_record && (&known.by, &known.reason) != (&locked.by, &locked.reason) {
                *known = Arc::new(locked.clone());
            }
        }
    }

    /// The lock of a log.
    pub(crate) fn of(&self, origin: &str) -> Option<Arc<Locked>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// How many logs are locked.
    pub(crate) fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets events through only where there is no lock.
    ///
    /// # Errors
    /// [`Kind::Locked`].
    pub(crate) fn refuse(&self, origin: &str) -> Result<(), Problem> {
        let Some(locked) = self.of(origin) else { return Ok(()) };
        Err(Problem::new(Kind::Locked, format!("the log was locked at {}: {}", locked.since, locked.reason)))
    }

    fn lock(&self, own: &Identities, by: &ApiKey, origin: &str, reason: &str) -> Result<Arc<Locked>, Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.of(origin).filter(|locked| locked.on_record);
        if let Some(locked) = before.as_ref().filter(|locked| !stands_above(own, by, locked)) {
            return Err(Problem::new(Kind::Conflict, format!("the log is locked already: {}", locked.reason)));
        }
        let since = own.now().to_string();
        let locked = Locked { reason: reason.to_owned(), by: by.id.clone(), since, on_record: false };
        self.put(origin, locked.clone());
        let mut event = event(LOCK, by, origin, reason);
        if let (Some(before), Some(members)) = (before, event.as_object_mut()) {
            members.insert("details".to_owned(), json!({ "instead_of": before.to_json() }));
        }
        own.record_signed_event(&event)?;
        Ok(self.put(origin, Locked { on_record: true, ..locked }))
    }

    fn unlock(&self, own: &Identities, by: &ApiKey, origin: &str, reason: &str) -> Result<(), Problem> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(locked) = self.of(origin) else {
            return Err(Problem::new(Kind::Conflict, "the log is not locked"));
        };
        // Who locked it is known as long as its key is on record. A tenant does not lift what the operator locked.
        if own.get(&locked.by).is_some_and(|locker| !by.grant.covers(&locker.grant)) {
            let text = "the log was locked with a key that may do more than the one that asks: ask whoever locked it";
            return Err(Problem::new(Kind::Forbidden, text));
        }
        own.record_signed_event(&event(UNLOCK, by, origin, reason))?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(origin);
        Ok(())
    }

    fn put(&self, origin: &str, locked: Locked) -> Arc<Locked> {
        let locked = Arc::new(locked);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(origin.to_owned(), Arc::clone(&locked));
        locked
    }
}

/// Whether a key may do more than the one that locked a log, as far as that one is known: a tenant that locks first does not keep the operator from it.
fn stands_above(own: &Identities, by: &ApiKey, locked: &Locked) -> bool {
    let covers = |locker: &ApiKey| by.grant.covers(&locker.grant) && !locker.grant.covers(&by.grant);
    own.get(&locked.by).is_some_and(|locker| covers(&locker))
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
pub(crate) struct Said(BTreeMap<String, Locked>);

impl Said {
    /// Takes up what one entry says; most say nothing.
    pub(crate) fn take(&mut self, entry: &EntryRef<'_>) {
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
        match event.action.as_str() {
            LOCK => {
                let since = entry.recorded_at.to_owned();
                let locked = Locked { reason: event.reason, by: event.actor.id, since, on_record: true };
                self.0.insert(target.id, locked);
            }
            UNLOCK => drop(self.0.remove(&target.id)),
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
        shared.identities.locks().lock(&shared.identities, &by, &log, &reason)
    });
    let locked = locked.await?.to_json();
    Ok(Answer::json(StatusCode::OK, &json!({ "locked": locked, "log": asked.log() })))
}

/// Ends the lock of a log.
pub(crate) async fn unlock(asked: Asked, body: Option<Body>) -> Result<Answer, Problem> {
    let (reason, by, log) = (why(&asked, body)?, Arc::clone(asked.key()?), asked.log().to_owned());
    let unlocked = aside(&asked, What::Ending, move |shared| {
        shared.logs.registered(&log)?;
        shared.identities.locks().unlock(&shared.identities, &by, &log, &reason)
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

    #[test]
    fn a_lock_that_cannot_be_recorded_is_in_force_and_an_end_that_cannot_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let path = dir.path().join("log");
        drop(Log::create(&path, "t.example/_server", &ring, Options::default()).unwrap());
        let gone = Arc::new(AtomicBool::new(false));
        let load = || {
            let (path, ring, gone) = (path.clone(), ring.clone(), Arc::clone(&gone));
            let open = move || match gone.load(Ordering::SeqCst) {
                true => Err(LogError::Refused("its disk is gone".to_owned())),
                false => Log::open(&path, &ring, Options::default()),
            };
            Identities::load(Box::new(open), Arc::new(SystemClock::default())).unwrap()
        };
        let own = load();
        let new = NewKey { name: "n".to_owned(), grant: Grant::admin(), rate_per_minute: 0, expires_at: None };
        let key = own.create(By::Operator, new).unwrap().0;
        own.locks().lock(&own, &key, "a", "before").unwrap();
        own.log().unwrap().close().unwrap();
        gone.store(true, Ordering::SeqCst);
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
        gone.store(false, Ordering::SeqCst);
        let own = load();
        assert_eq!(own.locks().refuse("a").unwrap_err().kind(), Kind::Locked);
        own.locks().refuse("b").unwrap();
        own.locks().unlock(&own, &key, "a", "over").unwrap();
        own.locks().refuse("a").unwrap();
    }
}
