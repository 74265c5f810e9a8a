//! What an event is made of: actors, targets, contexts, and the words for kinds, severities and outcomes.
//!
//! Fields are in canonical order, so that what is built needs no sorting.

use serde::Serialize;
use serde_json::Value;

macro_rules! words {
    ($(#[$about:meta])* $name:ident from $table:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word as it stands in an event.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Reads the word of an event.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[cfg(test)]
        #[test]
        #[expect(non_snake_case, reason = "named after the type")]
        fn $name() {
            let words = [$($word),+];
            assert_eq!(words, super::schema::$table);
            for word in words {
                assert_eq!($name::parse(word).map($name::as_str), Some(word));
            }
        }
    };
}

words! {
    /// What sort of event it is.
    Kind from KINDS {
        /// Somebody signs in or out.
        Auth = "auth",
        /// Data is read.
        DataAccess = "data_access",
        /// Data is made, changed or deleted.
        DataChange = "data_change",
        /// Settings, roles, rights.
        Admin = "admin",
        /// A call of an interface.
        Api = "api",
        /// Somebody or something decides.
        Decision = "decision",
        /// A step of an agent.
        Agent = "agent",
        /// An attack, or the suspicion of one.
        Security = "security",
        /// The system itself.
        System = "system",
    }
}

words! {
    /// How grave it is.
    Severity from SEVERITIES {
        /// Of use to developers.
        Debug = "debug",
        /// As usual.
        Info = "info",
        /// As usual, and worth a look.
        Notice = "notice",
        /// Not as it should be.
        Warning = "warning",
        /// Something failed.
        Error = "error",
        /// Somebody must act now.
        Critical = "critical",
    }
}

words! {
    /// How it ended.
    Outcome from OUTCOMES {
        /// It was done.
        Success = "success",
        /// It was tried, and failed.
        Failure = "failure",
        /// It was not allowed.
        Denied = "denied",
        /// Nobody knows.
        Unknown = "unknown",
    }
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Actor {
    /// What else is known of the actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Value>,
    /// The actor's clearance, 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearance: Option<u8>,
    /// Which one.
    pub id: String,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For whom the actor acts, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_behalf_of: Vec<Party>,
    /// The actor's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What sort of actor.
    #[serde(rename = "type")]
    pub actor_type: String,
}

impl Actor {
    /// An actor of any type.
    pub fn new(actor_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            attributes: None,
            clearance: None,
            id: id.into(),
            name: None,
            on_behalf_of: Vec::new(),
            session: None,
            actor_type: actor_type.into(),
        }
    }

    /// A person.
    pub fn user(id: impl Into<String>) -> Self {
        Self::new("user", id)
    }

    /// A program.
    pub fn service(id: impl Into<String>) -> Self {
        Self::new("service", id)
    }

    /// An AI agent.
    pub fn agent(id: impl Into<String>) -> Self {
        Self::new("agent", id)
    }

    /// Sets the name for people.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: some(name), ..self }
    }

    /// Sets the session.
    #[must_use]
    pub fn session(self, session: impl Into<String>) -> Self {
        Self { session: some(session), ..self }
    }

    /// Sets the clearance, 0 to 5.
    #[must_use]
    pub fn clearance(self, level: u8) -> Self {
        Self { clearance: Some(level), ..self }
    }

    /// Sets what else is known.
    #[must_use]
    pub fn attributes(self, attributes: impl Into<Value>) -> Self {
        Self { attributes: Some(attributes.into()), ..self }
    }

    /// Adds somebody for whom the actor acts.
    #[must_use]
    pub fn on_behalf_of(mut self, party: Party) -> Self {
        self.on_behalf_of.push(party);
        self
    }
}

/// Somebody who is named beside the actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Party {
    /// Which one.
    pub id: String,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What sort of party.
    #[serde(rename = "type")]
    pub party_type: String,
}

impl Party {
    /// A party of any type.
    pub fn new(party_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self { id: id.into(), name: None, party_type: party_type.into() }
    }

    /// Sets the name for people.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: some(name), ..self }
    }
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Target {
    /// What else is known of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Value>,
    /// Which one.
    pub id: String,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What sort of target.
    #[serde(rename = "type")]
    pub target_type: String,
}

impl Target {
    /// A target of any type.
    pub fn new(target_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self { attributes: None, id: id.into(), name: None, target_type: target_type.into() }
    }

    /// Sets the name for people.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: some(name), ..self }
    }

    /// Sets what else is known.
    #[must_use]
    pub fn attributes(self, attributes: impl Into<Value>) -> Self {
        Self { attributes: Some(attributes.into()), ..self }
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $field(self, $field: impl Into<String>) -> Self {
            Self { $field: some($field), ..self }
        })+
    };
}

/// From where, and in the course of what.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Context {
    /// The part of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Where on earth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Value>,
    /// The machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The address from which it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The span of the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The program at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl Context {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    texts! {
        /// Sets the part of the application.
        component,
        /// Sets the machine.
        node,
        /// Sets the request.
        request_id,
        /// Sets the address from which it came.
        source_ip,
        /// Sets the span of the trace.
        span_id,
        /// Sets the trace.
        trace_id,
        /// Sets the program at the other end.
        user_agent,
    }

    /// Sets where on earth.
    #[must_use]
    pub fn location(self, location: impl Into<Value>) -> Self {
        Self { location: Some(location.into()), ..self }
    }
}

/// What data was, and what it became.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What it became; nothing where it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// What it was; nothing where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
}

/// What an AI agent used for a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AgentStep {
    /// Who allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Value>,
    /// A digest of the tool's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_digest: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The policy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

impl AgentStep {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    texts! {
        /// Sets the digest of the tool's arguments.
        arguments_digest,
        /// Sets the model.
        model,
        /// Sets the policy in force.
        policy,
        /// Sets the tool.
        tool,
    }

    /// Sets who allowed it.
    #[must_use]
    pub fn approval(self, approval: impl Into<Value>) -> Self {
        Self { approval: Some(approval.into()), ..self }
    }
}

/// A blob that is stored beside the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attachment {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// A file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many bytes.
    pub size: u64,
}

impl Attachment {
    /// The blob of this digest and size.
    pub fn new(digest: impl Into<String>, size: u64) -> Self {
        Self { digest: digest.into(), media_type: None, name: None, size }
    }

    texts! {
        /// Sets the media type.
        media_type,
        /// Sets the file name.
        name,
    }
}
