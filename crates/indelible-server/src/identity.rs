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
//! - A crash leaves the event or not.
//! - Where several servers share a database, each takes up what the others recorded when a checkpoint covers it ([`Identities::follow`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use indelible::{AppendError, Log, LogError, clock::Clock, error::chain};
use indelible_core::{
    entry::{BodyKind, EntryRef},
    hex,
    time::Micros,
    tree::{Frontier, LeafIndex, leaf_hash},
};
use indelible_store::store::parse_line;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    access::Grant,
    binding::Binding,
    clients::ClientCertificate,
    error::ServerError,
    lines::{self, KEYS_OF_ONE, Line, MAX_LINE, OVERLAPPING, RESERVED},
    locks::{Locks, Said},
};

/// The most keys that a server has at a time, revoked and ended ones not counted, and those that follow one another by rotation counted as one. How they are divided among those that make
/// them says [`crate::lines`].
pub const MAX_KEYS: usize = 10_000;
/// Read at a time.
const STEP: usize = 1 << 20;
/// The longest name of a key.
const MAX_NAME_CHARS: usize = 128;
/// A server that cannot follow the others' changes for so long serves nobody until it can.
const STALE: Duration = Duration::from_secs(15);
/// What every token begins with, so that one that was left somewhere is recognised.
const PREFIX: &str = "idl";
/// Entries about keys hold this; those that only name one as actor are looked at for nothing.
static ABOUT_KEYS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"api_key"));

/// A key as it is known, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id: public, and part of the token.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Requests a minute; 0 for no limit.
    pub rate_per_minute: u32,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused.
    pub expires_at: Option<Micros>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Whose it is.
    pub(crate) line: Line,
    shows: Shows,
}

/// By what a key is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shows {
    /// A token with this SHA-256.
    Token([u8; 32]),
    /// A certificate.
    Certificate(Binding),
}

impl ApiKey {
    /// What it is bound to, where that is a certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<&Binding> {
        match &self.shows {
            Shows::Token(_) => None,
            Shows::Certificate(binding) => Some(binding),
        }
    }

    /// Whether it is good at a time.
    #[must_use]
    pub fn is_good(&self, now: Micros) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// What may be shown of it.
    #[must_use]
    pub fn to_json(&self, now: Micros) -> Value {
        let state = match (&self.revoked_at, self.is_good(now)) {
            (Some(_), _) => "revoked",
            (None, false) => "expired",
            (None, true) => "active",
        };
        json!({
            "certificate": self.certificate(),
            "created_at": self.created_at,
            "expires_at": self.expires_at.map(|end| end.to_string()),
            "id": self.id,
            "logs": self.grant.logs,
            "name": self.name,
            "rate_per_minute": self.rate_per_minute,
            "revoked_at": self.revoked_at,
            "role": self.grant.role,
            "state": state,
            "verbs": self.grant.verbs,
        })
    }
}

/// A key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Requests a minute; 0 for no limit.
    pub rate_per_minute: u32,
    /// From when on it is refused.
    pub expires_at: Option<Micros>,
}

/// Who does something to keys.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Whoever started the server.
    Operator,
    /// The bearer of a key.
    Key(&'a ApiKey),
}

/// Why nothing was changed, or not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No such key.
    #[error("there is no API key `{0}`")]
    Unknown(String),
    /// It is not in force any more.
    #[error("the API key `{0}` is not in force any more")]
    Ended(String),
    /// Too many.
    #[error(
        "there are as many API keys as there may be ({MAX_KEYS}, the last {RESERVED} for the operator's own keys to make): revoke some"
    )]
    TooMany,
    /// Too many that come from one key.
    #[error("{KEYS_OF_ONE} API keys in force come from the key `{0}`, and no more than that: revoke some of them")]
    Share(String),
    /// Too many of one key by rotation.
    #[error(
        "{OVERLAPPING} successors of the API key `{0}` are in force, and no more than that: revoke one, or wait until it ends"
    )]
    Overlapping(String),
    /// Too far from the operator.
    #[error(
        "the key that asks is the {MAX_LINE}th of a line that makes keys: have it made by one that is nearer to the operator"
    )]
    Line,
    /// A name that is none.
    #[error("`name` has to have 1 to {MAX_NAME_CHARS} characters, none of them a control character")]
    Name,
    /// A rate of 0 where the caller has one: it would be none.
    #[error("the key that asks has a rate, and cannot hand out a higher one")]
    Rate,
    /// The key that asks has ended since.
    #[error("the key that asks is not in force any more")]
    Asker,
    /// A certificate that another key has.
    #[error("the API key `{0}` is bound to this certificate and in force: a certificate has one key at a time")]
    Bound(String),
    /// A key that is bound to a certificate is rotated to another one.
    #[error("the API key `{0}` is bound to a certificate: say in `certificate` to which one its successor is")]
    Certificate(String),
    /// The system has no randomness.
    #[error("the system gave no random bytes")]
    Random,
    /// Not recorded.
    #[error("it could not be recorded")]
    Append(#[from] AppendError),
    /// Recorded, and no checkpoint covers it yet.
    #[error("it is recorded, but no checkpoint could be signed over it")]
    Checkpoint(#[source] LogError),
}

/// Opens the server's own log, again where it failed.
pub type Opener = Box<dyn Fn() -> Result<Log, LogError> + Send + Sync>;

/// The keys of a server.
pub struct Identities {
    /// `None` where it failed and was let go of: whoever needs it next opens it again.
    log: Mutex<Option<Log>>,
    open: Opener,
    origin: String,
    clock: Arc<dyn Clock>,
    known: RwLock<BTreeMap<String, Arc<ApiKey>>>,
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
        let (mut tree, mut known, mut bound) = (Frontier::new(), BTreeMap::new(), BTreeMap::new());
        let mut said = Said::default();
        fold(&log, &mut tree, |entry| {
            bound.extend(take(entry, &mut known));
            said.take(entry);
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
            if ABOUT_KEYS.find(entry.body).is_some() {
                news.push(entry.bytes.to_vec());
            }
            said.take(entry);
        })?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut newly_bound = Vec::new();
        for bytes in &news {
            if let Ok(entry) = EntryRef::parse(bytes) {
                newly_bound.extend(take(&entry, &mut known));
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
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Records events of the server's. What becomes of each is told in their order.
    pub(crate) fn append_all(&self, events: &[Vec<u8>]) -> Vec<Result<(), AppendError>> {
        let log = match self.log() {
            Ok(log) => log,
            Err(error) => {
                let failed = || AppendError::Failed { why: chain(&error) };
                return events.iter().map(|_| Err(failed())).collect();
            }
        };
        let results: Vec<_> = log.append_all(events).into_iter().map(|result| result.map(drop)).collect();
        if results.iter().any(|result| result.as_ref().is_err_and(|error| !error.is_refusal())) {
            self.let_go();
        }
        results
    }

    fn append(&self, event: &Value) -> Result<(), AppendError> {
        self.append_all(&[event.to_string().into_bytes()]).into_iter().collect()
    }

    /// Records an event under a checkpoint; what it says is taken up from there where other servers take it up too.
    ///
    /// # Errors
    /// [`IdentityError::Append`] where it is not recorded; [`IdentityError::Checkpoint`].
    pub(crate) fn record_signed_event(&self, event: &Value) -> Result<(), IdentityError> {
        self.append(event)?;
        self.sign()?;
        match self.is_shared() {
            true => self.follow().map_err(|error| IdentityError::Checkpoint(LogError::Refused(chain(&error)))),
            false => Ok(()),
        }
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

    /// Whether a key that was good is so still: for what goes on long after it was asked for.
    #[must_use]
    pub(crate) fn is_still_good(&self, key: &ApiKey) -> bool {
        self.get(&key.id).is_some_and(|known| known.is_good(self.now()))
    }

    /// The key whose token this is, if it is good now. Takes as long for a token that is wrong as for one whose id is unknown.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<Arc<ApiKey>> {
        let digest = digest_of(token);
        let mut parts = token.splitn(3, '_');
        let (prefix, id) = (parts.next()?, parts.next()?);
        let key = self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let (expected, has_token) = match key.as_ref().map(|key| &key.shows) {
            Some(Shows::Token(digest)) => (*digest, true),
            _ => ([0; 32], false),
        };
        let same = verify_slices_are_equal(&digest, &expected).is_ok() && has_token;
        key.filter(|key| same && prefix == PREFIX && key.is_good(self.clock.now()))
    }

    /// The key that a certificate is bound to, if it is good now. A certificate that a key names by its SHA-256 is that key's alone: where that has ended, no name in
    /// it makes it good again.
    ///
    /// # Errors
    /// Why it is nobody's, for its bearer to read.
    pub(crate) fn authenticate_certificate(&self, certificate: &ClientCertificate) -> Result<Arc<ApiKey>, String> {
        let now = self.clock.now();
        if let Some(key) = self.bound_to(certificate.sha256()) {
            let ended = || format!("the API key `{}` of the client's certificate is not in force any more", key.id);
            return if key.is_good(now) { Ok(key) } else { Err(ended()) };
        }
        let mut named: Vec<_> = certificate.names().iter().filter_map(|name| self.bound_to(name)).collect();
        let any = named.first().cloned();
        named.retain(|key| key.is_good(now));
        named.dedup_by(|one, other| one.id == other.id);
        match (named.as_slice(), any) {
            ([key], _) => Ok(Arc::clone(key)),
            ([], None) => Err("the client's certificate is of no API key".to_owned()),
            ([], Some(key)) => {
                Err(format!("the API key `{}` of the client's certificate is not in force any more", key.id))
            }
            _ => Err("the client's certificate has names of several API keys: it is not clear whose request this is"
                .to_owned()),
        }
    }

    /// The newest key that is or was bound to it.
    fn bound_to(&self, binding: &Binding) -> Option<Arc<ApiKey>> {
        let id = self.bound.read().unwrap_or_else(PoisonError::into_inner).get(binding).cloned()?;
        self.get(&id)
    }

    /// One key.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<ApiKey>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All keys, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ApiKey>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether there is a key that may make others.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        let now = self.clock.now();
        self.all().iter().any(|key| key.is_good(now) && key.grant.covers(&Grant::admin()))
    }

    /// Makes a key, and the token that nobody sees again.
    ///
    /// # Errors
    /// [`IdentityError`]: no key was made.
    pub fn create(&self, by: By<'_>, new: NewKey) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        self.make_with_token(by, new, "api_key.create", None)
    }

    /// A key that asks may have ended since it was looked at: then it changes nothing any more.
    fn may_change(&self, by: By<'_>) -> Result<(), IdentityError> {
        match by {
            By::Operator => Ok(()),
            By::Key(key) => match self.get(&key.id).filter(|known| known.is_good(self.clock.now())) {
                Some(_) => Ok(()),
                None => Err(IdentityError::Asker),
            },
        }
    }

    /// Makes a key that is bound to a certificate.
    ///
    /// # Errors
    /// [`IdentityError`]: no key was made.
    pub fn bind(&self, by: By<'_>, new: NewKey, to: Binding) -> Result<Arc<ApiKey>, IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        self.make(by, new, (new_id()?, Shows::Certificate(to)), "api_key.create", None)
    }

    /// Makes a key of the same grant with another token, and lets the old one end at a time.
    ///
    /// # Errors
    /// [`IdentityError`]: nothing was changed.
    pub fn rotate(
        &self,
        by: By<'_>,
        id: &str,
        until: Micros,
    ) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let (old, new, until) = self.successor(id, until)?;
        if old.certificate().is_some() {
            return Err(IdentityError::Certificate(id.to_owned()));
        }
        let made = self.make_with_token(by, new, "api_key.rotate", Some((id, until)))?;
        self.put(ApiKey { expires_at: Some(until), ..(*old).clone() });
        Ok(made)
    }

    /// Makes a key of the same grant that is bound to a certificate, and lets the old one end at a time.
    ///
    /// # Errors
    /// [`IdentityError`]: nothing was changed.
    pub fn rotate_to(&self, by: By<'_>, id: &str, until: Micros, to: Binding) -> Result<Arc<ApiKey>, IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let (old, new, until) = self.successor(id, until)?;
        let made = self.make(by, new, (new_id()?, Shows::Certificate(to)), "api_key.rotate", Some((id, until)))?;
        self.put(ApiKey { expires_at: Some(until), ..(*old).clone() });
        Ok(made)
    }

    fn successor(&self, id: &str, until: Micros) -> Result<(Arc<ApiKey>, NewKey, Micros), IdentityError> {
        let old = self.get(id).ok_or_else(|| IdentityError::Unknown(id.to_owned()))?;
        if !old.is_good(self.clock.now()) {
            return Err(IdentityError::Ended(id.to_owned()));
        }
        let until = old.expires_at.map_or(until, |end| end.min(until));
        let new = NewKey {
            name: old.name.clone(),
            grant: old.grant.clone(),
            rate_per_minute: old.rate_per_minute,
            expires_at: old.expires_at,
        };
        Ok((old, new, until))
    }

    /// Ends a key at once.
    ///
    /// # Errors
    /// [`IdentityError::Append`] where it has ended and that is not recorded; [`IdentityError`].
    pub fn revoke(&self, by: By<'_>, id: &str) -> Result<Arc<ApiKey>, IdentityError> {
        let mut unrecorded = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let mut key = self.get(id).ok_or_else(|| IdentityError::Unknown(id.to_owned()))?;
        if key.revoked_at.is_some() && !unrecorded.contains(id) {
            return Ok(key);
        }
        if key.revoked_at.is_none() {
            key = self.put(ApiKey { revoked_at: Some(self.clock.now().to_string()), ..(*key).clone() });
        }
        unrecorded.insert(id.to_owned());
        self.record_signed("api_key.revoke", by, Some(&key), &json!({}))?;
        unrecorded.remove(id);
        Ok(key)
    }

    /// Records that an address was refused too often.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn record_lockout(&self, address: &str, failures: u64) -> Result<(), AppendError> {
        self.record_refusal("auth.lockout", address, &json!({ "failures": failures }))
    }

    /// Records that handshakes of an address failed too often for its certificates.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_refused_certificate(
        &self,
        address: &str,
        failures: u64,
        reason: &str,
    ) -> Result<(), AppendError> {
        let details = json!({ "failures": failures, "reason": format!("the certificate {reason}") });
        self.record_refusal("auth.lockout", address, &details)
    }

    /// Records that an address is not let in; `refused` counts all of them since the start.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_refused_address(&self, address: &str, refused: u64) -> Result<(), AppendError> {
        self.record_refusal("address.refuse", address, &json!({ "refused": refused }))
    }

    fn record_refusal(&self, action: &str, address: &str, details: &Value) -> Result<(), AppendError> {
        let event = json!({
            "action": action,
            "actor": { "id": address, "type": "address" },
            "details": details,
            "kind": "security",
            "outcome": "denied",
            "severity": "warning",
        });
        self.append(&event)
    }

    /// Records that the server started or stops.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn record_server(&self, action: &str, details: &Value) -> Result<(), AppendError> {
        self.record(action, By::Operator, None, details)
    }

    fn make_with_token(
        &self,
        by: By<'_>,
        new: NewKey,
        action: &str,
        replaces: Option<(&str, Micros)>,
    ) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let (id, token) = new_token()?;
        let shows = Shows::Token(digest_of(&token));
        Ok((self.make(by, new, (id, shows), action, replaces)?, token))
    }

    fn make(
        &self,
        by: By<'_>,
        new: NewKey,
        (id, shows): (String, Shows),
        action: &str,
        replaces: Option<(&str, Micros)>,
    ) -> Result<Arc<ApiKey>, IdentityError> {
        let name = &new.name;
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
            return Err(IdentityError::Name);
        }
        let now = self.clock.now();
        let line = self.place_for(by, &id, replaces.map(|(old, _)| old), now)?;
        if let By::Key(key) = by
            && key.rate_per_minute > 0
            && (new.rate_per_minute == 0 || new.rate_per_minute > key.rate_per_minute)
        {
            return Err(IdentityError::Rate);
        }
        if matches!(shows, Shows::Certificate(_)) && self.is_shared() {
            // Another server may have bound it a moment ago.
            self.follow().map_err(|error| IdentityError::Checkpoint(LogError::Refused(chain(&error))))?;
        }
        // INVARIANT(one): a certificate is bound to one key that is in force. Of two servers that bind one at the same time the later in the log counts, for all.
        if let Shows::Certificate(binding) = &shows
            && let Some(other) = self.bound_to(binding).filter(|key| key.is_good(now))
        {
            return Err(IdentityError::Bound(other.id.clone()));
        }
        let NewKey { name, grant, rate_per_minute, expires_at } = new;
        let expires_at = match by {
            // A key makes none that outlives it.
            By::Key(key) => expires_at.into_iter().chain(key.expires_at).min(),
            By::Operator => expires_at,
        };
        let created_at = now.to_string();
        let key = ApiKey { id, name, grant, rate_per_minute, created_at, expires_at, revoked_at: None, line, shows };
        let details = Made {
            certificate: key.certificate().cloned(),
            digest: match &key.shows {
                Shows::Token(digest) => Some(hex::encode(digest)),
                Shows::Certificate(_) => None,
            },
            expires_at: key.expires_at.map(|end| end.to_string()),
            grant: key.grant.clone(),
            rate_per_minute: key.rate_per_minute,
            replaces: replaces.map(|(id, until)| Replaces { id: id.to_owned(), until: until.to_string() }),
        };
        let details = serde_json::to_value(details).unwrap_or_default();
        self.record_signed(action, by, Some(&key), &details)?;
        if let Some(binding) = key.certificate() {
            self.now_bound(binding, &key.id);
        }
        Ok(self.put(key))
    }

    /// The line of a key that is to be made, where there is room for it. One that follows another by rotation has that one's.
    fn place_for(&self, by: By<'_>, id: &str, replaces: Option<&str>, now: Micros) -> Result<Line, IdentityError> {
        let good: Vec<_> = self.all().into_iter().filter(|key| key.is_good(now)).collect();
        match replaces.and_then(|old| self.get(old)) {
            Some(old) => lines::overlap(&good, &old.line).map(|()| old.line.clone()),
            None => {
                let line = lines::made_by(id, by);
                lines::room(&good, &line).map(|()| line)
            }
        }
    }

    /// A key that was recorded is the newest of its certificate. Where other servers bind too, only the order of the log says which is.
    fn now_bound(&self, binding: &Binding, id: &str) {
        if self.is_shared() {
            // What cannot be followed now is followed later: until then the certificate is of no key.
            let _ = self.follow();
        } else {
            let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
            bound.insert(binding.clone(), id.to_owned());
        }
    }

    fn put(&self, key: ApiKey) -> Arc<ApiKey> {
        let key = Arc::new(key);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key.id.clone(), Arc::clone(&key));
        key
    }

    /// Records what keys rest on, under a checkpoint: what is answered cannot be taken back by putting files in place.
    fn record_signed(
        &self,
        action: &str,
        by: By<'_>,
        key: Option<&ApiKey>,
        details: &Value,
    ) -> Result<(), IdentityError> {
        self.record(action, by, key, details)?;
        self.sign()
    }

    fn sign(&self) -> Result<(), IdentityError> {
        let signed = self.log().and_then(|log| log.checkpoint()).map(drop);
        signed.inspect_err(|_| self.let_go()).map_err(IdentityError::Checkpoint)
    }

    fn record(&self, action: &str, by: By<'_>, key: Option<&ApiKey>, details: &Value) -> Result<(), AppendError> {
        let mut event = json!({ "action": action, "actor": actor(by), "details": details, "kind": "admin" });
        if let (Some(key), Some(event)) = (key, event.as_object_mut()) {
            let target = json!([{ "id": key.id, "name": key.name, "type": "api_key" }]);
            event.insert("targets".to_owned(), target);
        }
        self.record_event(&event)
    }

    /// Records an event of the server's.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_event(&self, event: &Value) -> Result<(), AppendError> {
        self.append(event)
    }
}

/// Who did it, as events say it.
pub(crate) fn actor(by: By<'_>) -> Value {
    match by {
        By::Operator => json!({ "id": "operator", "type": "system" }),
        By::Key(key) => json!({ "id": key.id, "name": key.name, "type": "api_key" }),
    }
}

/// The details of the event that makes a key. It has a digest or a certificate.
#[derive(Serialize, Deserialize)]
struct Made {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Binding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    expires_at: Option<String>,
    grant: Grant,
    rate_per_minute: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<Replaces>,
}

#[derive(Serialize, Deserialize)]
struct Replaces {
    id: String,
    until: String,
}

/// Adds the entries of the log behind `tree`, up to its newest checkpoint, and shows them.
fn fold(log: &Log, tree: &mut Frontier, mut each: impl FnMut(&EntryRef<'_>)) -> Result<(), ServerError> {
    log.checkpoint()?;
    let (_, head) = log.head();
    while tree.size() < head.size {
        let first = tree.size().0;
        let chunk = log.read(LeafIndex(first), STEP)?;
        for (index, text) in (first..head.size.0).zip(chunk.lines()) {
            let line = parse_line(text, index)?;
            tree.push(leaf_hash(line.entry.bytes));
            each(&line.entry);
        }
        if tree.size().0 == first {
            break;
        }
    }
    // INVARIANT(believed): what was read is what the newest checkpoint covers, or no key of it is known.
    if tree.head() == head { Ok(()) } else { Err(ServerError::Identity { origin: log.origin().to_owned() }) }
}

/// What an entry says of keys; others say nothing. Gives the certificate that is bound to a new key from then on.
fn take(entry: &EntryRef<'_>, known: &mut BTreeMap<String, Arc<ApiKey>>) -> Option<(Binding, String)> {
    #[derive(Deserialize)]
    struct Event {
        action: String,
        actor: Target,
        #[serde(default)]
        details: Value,
        #[serde(default)]
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        #[serde(default)]
        id: String,
        #[serde(default)]
        name: String,
        r#type: String,
    }
    if entry.kind != BodyKind::Event {
        return None;
    }
    let event: Event = serde_json::from_slice(entry.body).ok()?;
    let target = event.targets.into_iter().find(|target| target.r#type == "api_key")?;
    match event.action.as_str() {
        "api_key.create" | "api_key.rotate" => {
            let made: Made = serde_json::from_value(event.details).ok()?;
            let shows = match (made.digest, made.certificate) {
                (Some(digest), None) => Shows::Token(hex::decode(digest.as_bytes())?),
                (None, Some(binding)) => Shows::Certificate(binding),
                _ => return None,
            };
            // An end that cannot be read is an end.
            let end = |text: &str| Micros::parse(text).unwrap_or(Micros(i64::MIN));
            let maker = known.get(&event.actor.id).filter(|_| event.actor.r#type == "api_key");
            let mut line = Line::of(&target.id, maker.map(|maker| &maker.line));
            if let Some(replaces) = &made.replaces
                && let Some(old) = known.get_mut(&replaces.id)
            {
                let (old, until) = (Arc::make_mut(old), end(&replaces.until));
                old.expires_at = Some(old.expires_at.map_or(until, |end| end.min(until)));
                line = old.line.clone();
            }
            let key = ApiKey {
                id: target.id.clone(),
                name: target.name,
                grant: made.grant,
                rate_per_minute: made.rate_per_minute,
                created_at: entry.recorded_at.to_owned(),
                expires_at: made.expires_at.as_deref().map(end),
                revoked_at: None,
                line,
                shows,
            };
            // The first word counts: a later one cannot put another token in its place.
            let key = known.entry(target.id).or_insert(Arc::new(key));
            return key.certificate().cloned().map(|binding| (binding, key.id.clone()));
        }
        "api_key.revoke" => {
            if let Some(key) = known.get_mut(&target.id) {
                Arc::make_mut(key).revoked_at.get_or_insert(entry.recorded_at.to_owned());
            }
        }
        _ => {}
    }
    None
}

fn digest_of(token: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// A fresh id and the token that begins with it.
fn new_token() -> Result<(String, Zeroizing<String>), IdentityError> {
    let (id, mut secret) = (new_id()?, Zeroizing::new([0; 32]));
    rand::fill(&mut *secret).map_err(|_| IdentityError::Random)?;
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret));
    let token = Zeroizing::new(format!("{PREFIX}_{id}_{}", *secret));
    Ok((id, token))
}

fn new_id() -> Result<String, IdentityError> {
    let mut id = [0; 8];
    rand::fill(&mut id).map_err(|_| IdentityError::Random)?;
    Ok(hex::encode(&id))
}

impl From<IdentityError> for crate::problem::Problem {
    fn from(error: IdentityError) -> Self {
        use crate::problem::Kind;
        match error {
            IdentityError::Unknown(_) => Self::new(Kind::NotFound, error.to_string()),
            IdentityError::Ended(_)
            | IdentityError::Bound(_)
            | IdentityError::TooMany
            | IdentityError::Share(_)
            | IdentityError::Overlapping(_)
            | IdentityError::Line => Self::new(Kind::Conflict, error.to_string()),
            IdentityError::Name | IdentityError::Rate | IdentityError::Certificate(_) => Self::bad(error.to_string()),
            IdentityError::Asker => Self::new(Kind::Unauthorised, error.to_string()),
            IdentityError::Random => Self::internal(&error),
            IdentityError::Append(error) => error.into(),
            IdentityError::Checkpoint(error) => error.into(),
        }
    }
}

/// What the server's own log cannot say is told by [`LogError`].
impl From<IdentityError> for ServerError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Append(error) => error.into(),
            IdentityError::Checkpoint(error) => error.into(),
            other => LogError::Refused(other.to_string()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use indelible::{KeyRing, Options, clock::SystemClock};

    use super::*;
    use crate::access::Role;

    struct World {
        dir: tempfile::TempDir,
        ring: KeyRing,
    }

    impl World {
        fn new() -> (Self, Identities) {
            let dir = tempfile::tempdir().unwrap();
            let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
            let log = Log::create(&dir.path().join("log"), "t.example/_server", &ring, Options::default()).unwrap();
            drop(log);
            let world = Self { dir, ring };
            let keys = world.again().unwrap();
            (world, keys)
        }

        fn again(&self) -> Result<Identities, ServerError> {
            let (path, ring) = (self.dir.path().join("log"), self.ring.clone());
            let open = move || Log::open(&path, &ring, Options::default());
            Identities::load(Box::new(open), Arc::new(SystemClock::default()))
        }
    }

    fn new_key(role: Role) -> NewKey {
        let grant = Grant { role, verbs: Vec::new(), logs: vec![crate::access::Pattern::all()] };
        NewKey { name: "test".to_owned(), grant, rate_per_minute: 7, expires_at: None }
    }

    #[test]
    fn what_is_known_is_what_the_log_says() {
        let (world, keys) = World::new();
        let (one, token) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
        let (two, second) = keys.create(By::Key(&one), new_key(Role::Writer)).unwrap();
        assert_eq!(keys.authenticate(&token).as_deref(), Some(&*one));
        keys.revoke(By::Key(&one), &two.id).unwrap();
        assert_eq!(keys.authenticate(&second), None);
        keys.log().unwrap().close().unwrap();
        drop(keys);
        let keys = world.again().unwrap();
        assert_eq!(keys.authenticate(&token).map(|key| key.id.clone()), Some(one.id.clone()));
        assert_eq!(keys.authenticate(&second), None);
        assert_eq!(keys.all().len(), 2);
        assert!(keys.has_admin());
    }

    /// Puts so many keys in force that `maker` made, without their events.
    fn fill(keys: &Identities, maker: &ApiKey, count: usize) {
        for at in 0..count {
            let id = format!("{}-{at}", maker.id);
            let line = Line::of(&id, Some(&maker.line));
            keys.put(ApiKey { id, line, ..maker.clone() });
        }
    }

    #[test]
    fn one_who_makes_keys_without_end_is_in_nobody_elses_way() {
        let (world, keys) = World::new();
        let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
        let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
        let (other, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
        let (below, _) = keys.create(By::Key(&tenant), new_key(Role::Admin)).unwrap();
        fill(&keys, &below, KEYS_OF_ONE - 2);
        let (last, _) = keys.create(By::Key(&tenant), new_key(Role::Writer)).unwrap();
        for maker in [&tenant, &below] {
            let refused = keys.create(By::Key(maker), new_key(Role::Writer));
            assert!(matches!(&refused, Err(IdentityError::Share(id)) if *id == tenant.id), "{refused:?}");
        }
        // Nobody else is in want of room, and what it has can be rotated and revoked.
        keys.create(By::Key(&other), new_key(Role::Writer)).unwrap();
        let (next, _) = keys.rotate(By::Key(&tenant), &last.id, Micros(i64::MAX / 2)).unwrap();
        assert_eq!(next.line, last.line);
        let refused = keys.create(By::Key(&tenant), new_key(Role::Writer));
        assert!(matches!(refused, Err(IdentityError::Share(_))), "a rotation makes no room either");
        keys.revoke(By::Key(&tenant), &last.id).unwrap();
        keys.revoke(By::Key(&tenant), &next.id).unwrap();
        keys.create(By::Key(&below), new_key(Role::Writer)).unwrap();
        // A tenant that is rotated is the same tenant, also for whoever reads it in the log.
        let (again, _) = keys.rotate(By::Key(&root), &tenant.id, Micros(i64::MAX / 2)).unwrap();
        let refused = keys.create(By::Key(&again), new_key(Role::Writer));
        assert!(matches!(refused, Err(IdentityError::Share(id)) if id == tenant.id));
        let lines: Vec<_> = [&root, &tenant, &other, &below, &again].map(|key| key.line.clone()).into();
        keys.log().unwrap().close().unwrap();
        drop(keys);
        let keys = world.again().unwrap();
        let read = [&root, &tenant, &other, &below, &again].map(|key| keys.get(&key.id).unwrap().line.clone());
        assert_eq!(lines, read);
    }

    #[test]
    fn where_all_places_are_taken_the_operator_has_some_and_keys_are_rotated() {
        let (_world, keys) = World::new();
        let (root, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
        let (tenant, _) = keys.create(By::Key(&root), new_key(Role::Admin)).unwrap();
        fill(&keys, &root, MAX_KEYS - RESERVED - 2);
        let refused = keys.create(By::Key(&tenant), new_key(Role::Writer));
        assert!(matches!(refused, Err(IdentityError::TooMany)));
        keys.create(By::Key(&root), new_key(Role::Writer)).unwrap();
        fill(&keys, &ApiKey { id: "more".to_owned(), ..(*root).clone() }, RESERVED - 1);
        for by in [By::Operator, By::Key(&root)] {
            assert!(matches!(keys.create(by, new_key(Role::Writer)), Err(IdentityError::TooMany)));
        }
        let mut of = tenant.id.clone();
        for _ in 1..OVERLAPPING {
            of = keys.rotate(By::Key(&root), &of, Micros(i64::MAX / 2)).unwrap().0.id.clone();
        }
        // Of one key there are so many and no more, or it would have all places.
        let refused = keys.rotate(By::Key(&root), &of, Micros(i64::MAX / 2));
        assert!(matches!(refused, Err(IdentityError::Overlapping(id)) if id == tenant.id));
        keys.revoke(By::Operator, &tenant.id).unwrap();
        keys.rotate(By::Key(&root), &of, Micros(1)).unwrap();
    }

    #[test]
    fn a_line_of_keys_that_make_keys_comes_to_an_end() {
        let (_world, keys) = World::new();
        let (mut maker, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
        for _ in 1..MAX_LINE {
            maker = keys.create(By::Key(&maker), new_key(Role::Admin)).unwrap().0;
        }
        assert!(matches!(keys.create(By::Key(&maker), new_key(Role::Admin)), Err(IdentityError::Line)));
        keys.rotate(By::Key(&maker), &maker.id, Micros(i64::MAX / 2)).unwrap();
    }

    #[test]
    fn a_key_draws_on_the_rates_of_all_that_it_comes_from() {
        let (_world, keys) = World::new();
        let rate = |rate_per_minute| NewKey { rate_per_minute, ..new_key(Role::Admin) };
        let (root, _) = keys.create(By::Operator, rate(0)).unwrap();
        let (tenant, _) = keys.create(By::Key(&root), rate(60)).unwrap();
        let (one, _) = keys.create(By::Key(&tenant), rate(60)).unwrap();
        let (two, _) = keys.create(By::Key(&one), rate(60)).unwrap();
        let (rates, now) = (crate::guard::Rates::default(), Instant::now());
        let draw = |key: &ApiKey| lines::draw(&rates, &keys, key, now);
        assert_eq!(draw(&root), None);
        let mut granted = 0;
        for key in [&one, &two, &tenant].into_iter().cycle().take(60) {
            granted += u32::from(draw(key).unwrap().granted);
        }
        assert_eq!(granted, 10, "they have the bucket of one");
        assert!(draw(&two).is_some_and(|told| !told.granted && told.reset > 0));
        // A successor has its predecessor's bucket, and a revocation empties none that others draw on.
        let (next, _) = keys.rotate(By::Operator, &tenant.id, Micros(i64::MAX / 2)).unwrap();
        assert!(!draw(&next).unwrap().granted);
        keys.revoke(By::Operator, &tenant.id).unwrap();
        lines::forget(&rates, &keys, &tenant);
        assert!(!draw(&next).unwrap().granted && !draw(&one).unwrap().granted);
        let (stranger, _) = keys.create(By::Key(&root), rate(60)).unwrap();
        assert!(draw(&stranger).unwrap().granted);
    }

    #[test]
    fn only_the_whole_token_is_good() {
        let (_world, keys) = World::new();
        let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
        let other = keys.create(By::Operator, new_key(Role::Writer)).unwrap().1;
        let cut = token.get(..token.len() - 1).unwrap().to_owned();
        let mixed = format!("idl_{}_{}", key.id, other.splitn(3, '_').last().unwrap());
        let renamed = token.replacen("idl_", "xyz_", 1);
        for wrong in [cut, mixed, renamed, format!("{}x", *token), key.id.clone(), String::new(), "idl__".to_owned()] {
            assert_eq!(keys.authenticate(&wrong), None, "{wrong}");
        }
        assert!(keys.authenticate(&token).is_some());
    }

    #[test]
    fn a_key_ends_and_a_rotated_one_overlaps() {
        let (world, keys) = World::new();
        let past = NewKey { expires_at: Some(Micros(1)), ..new_key(Role::Reader) };
        let (_, ended) = keys.create(By::Operator, past).unwrap();
        assert_eq!(keys.authenticate(&ended), None);
        let (old, first) = keys.create(By::Operator, new_key(Role::Reader)).unwrap();
        let (new, second) = keys.rotate(By::Operator, &old.id, Micros(i64::MAX / 2)).unwrap();
        assert!(keys.authenticate(&first).is_some() && keys.authenticate(&second).is_some());
        assert_eq!((new.grant.clone(), new.rate_per_minute), (old.grant.clone(), old.rate_per_minute));
        let (_, third) = keys.rotate(By::Operator, &new.id, Micros(1)).unwrap();
        assert!(keys.authenticate(&second).is_none() && keys.authenticate(&third).is_some());
        assert!(matches!(keys.rotate(By::Operator, &new.id, Micros(1)), Err(IdentityError::Ended(_))));
        keys.log().unwrap().close().unwrap();
        drop(keys);
        let keys = world.again().unwrap();
        let good = [&first, &second, &third].map(|token| keys.authenticate(token).is_some());
        assert_eq!(good, [true, false, true]);
    }

    #[test]
    fn a_key_that_ended_changes_nothing_and_makes_none_that_outlives_it() {
        let (_world, keys) = World::new();
        let (other, _) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
        let ending = NewKey { expires_at: Some(Micros(i64::MAX / 2)), ..new_key(Role::Admin) };
        let (admin, _) = keys.create(By::Operator, ending).unwrap();
        for expires_at in [None, Some(Micros(i64::MAX))] {
            let (child, _) = keys.create(By::Key(&admin), NewKey { expires_at, ..new_key(Role::Writer) }).unwrap();
            assert_eq!(child.expires_at, admin.expires_at);
        }
        keys.revoke(By::Operator, &admin.id).unwrap();
        // What it had asked for before is asked of it as it is now.
        let asker = || By::Key(&admin);
        assert!(matches!(keys.create(asker(), new_key(Role::Writer)), Err(IdentityError::Asker)));
        assert!(matches!(keys.rotate(asker(), &other.id, Micros(1)), Err(IdentityError::Asker)));
        assert!(matches!(keys.revoke(asker(), &other.id), Err(IdentityError::Asker)));
    }

    #[test]
    fn a_revocation_that_was_not_recorded_is_recorded_when_it_is_asked_for_again() {
        let (world, keys) = World::new();
        let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
        // The log under it is closed, as a failed one is.
        keys.log().unwrap().close().unwrap();
        assert!(matches!(keys.revoke(By::Operator, &key.id), Err(IdentityError::Append(_))));
        assert_eq!(keys.authenticate(&token), None, "it has ended all the same");
        keys.revoke(By::Operator, &key.id).unwrap();
        let size = keys.log().unwrap().size().unwrap();
        keys.revoke(By::Operator, &key.id).unwrap();
        assert_eq!(keys.log().unwrap().size().unwrap(), size, "once is enough");
        drop(keys);
        assert_eq!(world.again().unwrap().authenticate(&token), None);
    }

    #[test]
    fn a_certificate_that_another_server_bound_has_its_key_here_too() {
        let ((_elsewhere, other), (_world, keys)) = (World::new(), World::new());
        let to = Binding::Dns("a.example".to_owned());
        let theirs = other.bind(By::Operator, new_key(Role::Reader), to.clone()).unwrap();
        assert_eq!(other.bound_to(&to).as_deref(), Some(&*theirs));
        // What it recorded comes into this log, as from another server of one database.
        let recorded = other.log().unwrap().read(LeafIndex(0), STEP).unwrap();
        let lines = (0..).zip(recorded.lines()).map(|(index, text)| parse_line(text, index).unwrap());
        let events: Vec<_> = lines.filter(|line| line.entry.kind == BodyKind::Event).collect();
        let events: Vec<_> = events.iter().map(|line| line.entry.body.to_vec()).collect();
        assert!(keys.append_all(&events).iter().all(Result::is_ok) && keys.bound_to(&to).is_none());
        keys.follow().unwrap();
        assert_eq!(keys.bound_to(&to).map(|key| key.id.clone()), Some(theirs.id.clone()));
        let again = keys.bind(By::Operator, new_key(Role::Reader), to.clone());
        assert!(matches!(again, Err(IdentityError::Bound(id)) if id == theirs.id));
        // Who has ended binds and rotates nothing, and no bound key outlives its maker.
        let ending = NewKey { expires_at: Some(Micros(i64::MAX / 2)), ..new_key(Role::Admin) };
        let (admin, _) = keys.create(By::Operator, ending).unwrap();
        let next = Binding::Dns("b.example".to_owned());
        let bound = keys.bind(By::Key(&admin), new_key(Role::Reader), next.clone()).unwrap();
        assert_eq!(bound.expires_at, admin.expires_at);
        keys.revoke(By::Operator, &admin.id).unwrap();
        let refused = keys.bind(By::Key(&admin), new_key(Role::Reader), Binding::Dns("c.example".to_owned()));
        assert!(matches!(refused, Err(IdentityError::Asker)));
        let refused = keys.rotate_to(By::Key(&admin), &theirs.id, Micros(1), next);
        assert!(matches!(refused, Err(IdentityError::Asker)));
    }

    #[test]
    fn nobody_hands_out_a_higher_rate() {
        let (_world, keys) = World::new();
        let (key, _) = keys.create(By::Operator, new_key(Role::Admin)).unwrap();
        for rate in [0, 8] {
            let new = NewKey { rate_per_minute: rate, ..new_key(Role::Writer) };
            assert!(matches!(keys.create(By::Key(&key), new), Err(IdentityError::Rate)), "{rate}");
        }
    }

    #[test]
    fn a_key_that_was_written_into_the_files_is_not_believed() {
        let (world, keys) = World::new();
        let (key, token) = keys.create(By::Operator, new_key(Role::Writer)).unwrap();
        // Opening a log looks at its last entry: this one hides that it was not the last that was changed.
        keys.create(By::Operator, new_key(Role::Auditor)).unwrap();
        keys.log().unwrap().close().unwrap();
        drop(keys);
        let segments = world.dir.path().join("log/segments");
        let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(&segment).unwrap();
        // Of the same length, so that nothing but the tree gives it away.
        let forged = text.replace(r#""role":"writer""#, r#""role":"reader""#);
        assert_ne!(forged, text);
        std::fs::remove_file(&segment).unwrap();
        std::fs::write(&segment, forged).unwrap();
        assert!(matches!(world.again().err(), Some(ServerError::Identity { .. })));
        // The other side: as it was, it is believed.
        std::fs::write(&segment, text).unwrap();
        assert_eq!(world.again().unwrap().authenticate(&token).unwrap().id, key.id);
    }
}
