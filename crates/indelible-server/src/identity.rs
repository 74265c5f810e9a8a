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

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use indelible::{AppendError, Log, LogError, clock::Clock};
use indelible_core::{
    entry::{BodyKind, EntryRef},
    hex,
    time::Micros,
    tree::{Frontier, LeafIndex, leaf_hash},
};
use indelible_store::store::parse_line;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{access::Grant, binding::Binding, clients::ClientCertificate, error::ServerError};

/// The most keys that a server has at a time, revoked and ended ones not counted: each is about half a kilobyte of memory.
pub const MAX_KEYS: usize = 10_000;
/// Read at a time.
const STEP: usize = 1 << 20;
/// The longest name of a key.
const MAX_NAME_CHARS: usize = 128;
/// What every token begins with, so that one that was left somewhere is recognised.
const PREFIX: &str = "idl";

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
    #[error("there are {MAX_KEYS} API keys, and no more than that: revoke some")]
    TooMany,
    /// A name that is none.
    #[error("`name` has to have 1 to {MAX_NAME_CHARS} characters, none of them a control character")]
    Name,
    /// A rate of 0 where the caller has one: it would be none.
    #[error("the key that asks has a rate, and cannot hand out a higher one")]
    Rate,
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
}

/// The keys of a server.
pub struct Identities {
    log: Log,
    clock: Arc<dyn Clock>,
    known: RwLock<BTreeMap<String, Arc<ApiKey>>>,
    /// The newest key that each certificate was bound to.
    bound: RwLock<BTreeMap<Binding, String>>,
    /// Held while something is changed, so that no two changes are of one key.
    changing: Mutex<()>,
}

impl Identities {
    /// Takes up what the log says.
    ///
    /// # Errors
    /// [`ServerError::Identity`] where its entries are not those of its newest checkpoint.
    pub fn load(log: Log, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        log.checkpoint()?;
        let (_, head) = log.head();
        let (mut tree, mut known, mut next) = (Frontier::new(), BTreeMap::new(), 0);
        let mut bound = BTreeMap::new();
        while next < head.size.0 {
            let chunk = log.read(LeafIndex(next), STEP)?;
            for text in chunk.lines() {
                let line = parse_line(text, next)?;
                tree.push(leaf_hash(line.entry.bytes));
                if let Some((binding, id)) = take(&line.entry, &mut known) {
                    bound.insert(binding, id);
                }
                next += 1;
                if next == head.size.0 {
                    break;
                }
            }
        }
        // INVARIANT(believed): what was read is what the newest checkpoint covers, or no key of it is known.
        if tree.head() != head {
            return Err(ServerError::Identity { origin: log.origin().to_owned() });
        }
        let known = known.into_iter().map(|(id, key)| (id, Arc::new(key))).collect();
        Ok(Self { log, clock, known: RwLock::new(known), bound: RwLock::new(bound), changing: Mutex::new(()) })
    }

    /// The log that says it.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
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
        let bound = self.bound.read().unwrap_or_else(PoisonError::into_inner);
        self.get(bound.get(binding)?)
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
        self.make_with_token(by, new, "api_key.create", None)
    }

    /// Makes a key that is bound to a certificate.
    ///
    /// # Errors
    /// [`IdentityError`]: no key was made.
    pub fn bind(&self, by: By<'_>, new: NewKey, to: Binding) -> Result<Arc<ApiKey>, IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.get(id).ok_or_else(|| IdentityError::Unknown(id.to_owned()))?;
        if key.revoked_at.is_some() {
            return Ok(key);
        }
        let key = self.put(ApiKey { revoked_at: Some(self.clock.now().to_string()), ..(*key).clone() });
        self.record("api_key.revoke", by, Some(&key), &json!({}))?;
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
        self.log.append_json(event.to_string().as_bytes()).map(drop)
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
        if self.all().iter().filter(|key| key.is_good(now)).count() >= MAX_KEYS {
            return Err(IdentityError::TooMany);
        }
        if let By::Key(key) = by
            && key.rate_per_minute > 0
            && (new.rate_per_minute == 0 || new.rate_per_minute > key.rate_per_minute)
        {
            return Err(IdentityError::Rate);
        }
        // INVARIANT(one): a certificate is bound to one key that is in force.
        if let Shows::Certificate(binding) = &shows
            && let Some(other) = self.bound_to(binding).filter(|key| key.is_good(now))
        {
            return Err(IdentityError::Bound(other.id.clone()));
        }
        let NewKey { name, grant, rate_per_minute, expires_at } = new;
        let created_at = now.to_string();
        let key = ApiKey { id, name, grant, rate_per_minute, created_at, expires_at, revoked_at: None, shows };
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
        self.record(action, by, Some(&key), &details)?;
        if let Some(binding) = key.certificate() {
            let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
            bound.insert(binding.clone(), key.id.clone());
        }
        Ok(self.put(key))
    }

    fn put(&self, key: ApiKey) -> Arc<ApiKey> {
        let key = Arc::new(key);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key.id.clone(), Arc::clone(&key));
        key
    }

    fn record(&self, action: &str, by: By<'_>, key: Option<&ApiKey>, details: &Value) -> Result<(), AppendError> {
        let actor = match by {
            By::Operator => json!({ "id": "operator", "type": "system" }),
            By::Key(key) => json!({ "id": key.id, "name": key.name, "type": "api_key" }),
        };
        let mut event = json!({ "action": action, "actor": actor, "details": details, "kind": "admin" });
        if let (Some(key), Some(event)) = (key, event.as_object_mut()) {
            let target = json!([{ "id": key.id, "name": key.name, "type": "api_key" }]);
            event.insert("targets".to_owned(), target);
        }
        self.log.append_json(event.to_string().as_bytes()).map(drop)
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

/// What an entry says of keys; others say nothing. Gives the certificate that is bound to a new key from then on.
fn take(entry: &EntryRef<'_>, known: &mut BTreeMap<String, ApiKey>) -> Option<(Binding, String)> {
    #[derive(Deserialize)]
    struct Event {
        action: String,
        #[serde(default)]
        details: Value,
        #[serde(default)]
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
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
            if let Some(replaces) = &made.replaces
                && let Some(old) = known.get_mut(&replaces.id)
            {
                old.expires_at = Some(end(&replaces.until));
            }
            let key = ApiKey {
                id: target.id.clone(),
                name: target.name,
                grant: made.grant,
                rate_per_minute: made.rate_per_minute,
                created_at: entry.recorded_at.to_owned(),
                expires_at: made.expires_at.as_deref().map(end),
                revoked_at: None,
                shows,
            };
            // The first word counts: a later one cannot put another token in its place.
            let key = known.entry(target.id).or_insert(key);
            return key.certificate().cloned().map(|binding| (binding, key.id.clone()));
        }
        "api_key.revoke" => {
            if let Some(key) = known.get_mut(&target.id) {
                key.revoked_at.get_or_insert(entry.recorded_at.to_owned());
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
            IdentityError::Ended(_) | IdentityError::Bound(_) | IdentityError::TooMany => {
                Self::new(Kind::Conflict, error.to_string())
            }
            IdentityError::Name | IdentityError::Rate | IdentityError::Certificate(_) => Self::bad(error.to_string()),
            IdentityError::Random => Self::internal(&error),
            IdentityError::Append(error) => error.into(),
        }
    }
}

/// What the server's own log cannot say is told by [`LogError`].
impl From<IdentityError> for ServerError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Append(error) => error.into(),
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
            let world = Self { dir, ring };
            (world, Identities::load(log, Arc::new(SystemClock::default())).unwrap())
        }

        fn again(&self) -> Result<Identities, ServerError> {
            let log = Log::open(&self.dir.path().join("log"), &self.ring, Options::default())?;
            Identities::load(log, Arc::new(SystemClock::default()))
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
        keys.log().close().unwrap();
        drop(keys);
        let keys = world.again().unwrap();
        assert_eq!(keys.authenticate(&token).map(|key| key.id.clone()), Some(one.id.clone()));
        assert_eq!(keys.authenticate(&second), None);
        assert_eq!(keys.all().len(), 2);
        assert!(keys.has_admin());
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
        keys.log().close().unwrap();
        drop(keys);
        let keys = world.again().unwrap();
        let good = [&first, &second, &third].map(|token| keys.authenticate(token).is_some());
        assert_eq!(good, [true, false, true]);
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
        keys.log().close().unwrap();
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
