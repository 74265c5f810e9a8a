//! Each request of an application as an event of a log.
//!
//! | member | is |
//! |---|---|
//! | `actor` | who the host says it is ([`AuditLayer::actor`], [`Note::actor`]); else `anonymous`, with the address |
//! | `action` | `http.get`, or what the host says ([`AuditLayer::action`], [`Note::action`]) |
//! | `targets` | the path, without the query; the host's own before it |
//! | `outcome` | by the status: below 400 success; 401, 403, 407, 429 denied; the other ones failure |
//! | `reason` | where it has one: the host's, or that it panicked, failed, or that the client went away |
//! | `context` | address, user agent, request id, trace and span |
//! | `details.http` | method, status, duration until the answer was known, and on choice query and bodies |
//!
//! **Before or beside.** [`AuditLayer::before`] sends an answer only when its event is durable, and 503 in its place where it cannot be recorded: then the work *is done* and its answer is withheld, since what may not happen
//! is an answer without a record. [`AuditLayer::beside`] sends it at once; what is in memory is lost with the process, what finds no room is counted and on record as a gap.
//!
//! A handler that panics is answered 500 and recorded (where panics unwind). A client that goes away before there is an answer is recorded with the outcome `unknown`, always beside.
//! What is not told: whether an answer reached its client, and what an answer's body came to, which is sent afterwards.

mod body;
mod draft;
mod redact;
mod service;
pub(crate) mod text;

use std::{fmt, sync::Arc};

use http::request::Parts;
use indelible_core::event::{Actor, Target};
use serde_json::Value;
use tower_layer::Layer;

use crate::{clients::Clients, journal::Journal};

pub use body::ObservedBody;
pub use redact::{DEFAULT_BODY, PointerError, REDACTED, Redaction};
pub use service::Audited;

type Asked<T> = Arc<dyn Fn(&Parts) -> T + Send + Sync>;

/// When a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before,
    Beside,
}

/// Records each request.
#[derive(Clone)]
pub struct AuditLayer {
    journal: Journal,
    rules: Arc<Rules>,
}

/// What a host says of its requests.
#[derive(Clone)]
struct Rules {
    when: When,
    clients: Clients,
    actor: Asked<Option<Actor>>,
    action: Asked<Option<String>>,
    skips: Asked<bool>,
    query: bool,
    requests: Option<Redaction>,
    answers: Option<Redaction>,
}

impl AuditLayer {
    /// An answer waits until its event is durable.
    #[must_use]
    pub fn before(journal: &Journal) -> Self {
        Self::new(journal, When::Before)
    }

    /// An answer waits for nothing.
    #[must_use]
    pub fn beside(journal: &Journal) -> Self {
        Self::new(journal, When::Beside)
    }

    fn new(journal: &Journal, when: When) -> Self {
        let rules = Rules {
            when,
            clients: Clients::default(),
            actor: Arc::new(|_| None),
            action: Arc::new(|_| None),
            skips: Arc::new(|_| false),
            query: false,
            requests: None,
            answers: None,
        };
        Self { journal: journal.clone(), rules: Arc::new(rules) }
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.rules));
        self
    }

    /// How the address of a client is found.
    #[must_use]
    pub fn clients(self, clients: Clients) -> Self {
        self.with(|rules| rules.clients = clients)
    }

    /// Says who asks, from the head of a request. What only the application finds out it says by a [`Note`].
    #[must_use]
    pub fn actor(self, actor: impl Fn(&Parts) -> Option<Actor> + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.actor = Arc::new(actor))
    }

    /// Says what is done: a name of the host's own, or the template of a route.
    #[must_use]
    pub fn action(self, action: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.action = Arc::new(action))
    }

    /// Says which requests are not recorded at all: those of a health check.
    #[must_use]
    pub fn skip(self, skips: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|rules| rules.skips = Arc::new(skips))
    }

    /// Records queries as well, as they are sent: only where no secret is in them.
    #[must_use]
    pub fn with_queries(self) -> Self {
        self.with(|rules| rules.query = true)
    }

    /// Records the bodies of requests, as far as the application reads them.
    #[must_use]
    pub fn request_bodies(self, redaction: Redaction) -> Self {
        self.with(|rules| rules.requests = Some(redaction))
    }

    /// Records the bodies of answers that say how large they are, and are not larger than what is recorded of a body. They are held until they are recorded; others are not looked at.
    #[must_use]
    pub fn answer_bodies(self, redaction: Redaction) -> Self {
        self.with(|rules| rules.answers = Some(redaction))
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("AuditLayer").field("when", &self.rules.when).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited::new(inner, self.clone())
    }
}

/// What an application says of a request that it has answered: put into the extensions of the *answer*. It stands above what the layer was told.
#[derive(Clone, Debug, Default)]
pub struct Note {
    actor: Option<Actor>,
    action: Option<String>,
    targets: Vec<Target>,
    reason: Option<String>,
    details: Option<Value>,
}

impl Note {
    /// Nothing is said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who it was.
    #[must_use]
    pub fn actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// What was done.
    #[must_use]
    pub fn action(self, action: impl Into<String>) -> Self {
        Self { action: Some(action.into()), ..self }
    }

    /// What it was done to; the path stands behind it.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Why it ended as it did.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Anything else, as `details.application`.
    #[must_use]
    pub fn details(self, details: impl Into<Value>) -> Self {
        Self { details: Some(details.into()), ..self }
    }
}
