//! An event as a caller builds it, member by member or in one line.

use serde::Serialize;
use serde_json::Value;

use super::{Actor, AgentStep, Attachment, Change, Context, Kind, Outcome, Severity, Target};

/// An event that is being built. It is checked where it is recorded, by [`super::parse`], as any other text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// What was done, dotted: `document.read`.
    pub action: String,
    /// Who did it.
    pub actor: Actor,
    /// What an AI agent used for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStep>,
    /// Blobs that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// What data was, and what it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The clearance needed to read it, 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearance: Option<u8>,
    /// From where, and in the course of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The caller's id: the same id twice is the same event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What sort of event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// When it happened, RFC 3339. When it was recorded, the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A named retention class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// How grave it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Whose personal data this is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it was done to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Whose log it is, where many share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl Event {
    /// An event of no kind yet.
    pub fn new(action: impl Into<String>, actor: Actor) -> Self {
        Self {
            action: action.into(),
            actor,
            agent: None,
            attachments: Vec::new(),
            change: None,
            clearance: None,
            context: None,
            details: None,
            id: None,
            kind: None,
            occurred_at: None,
            outcome: None,
            reason: None,
            retention: None,
            severity: None,
            subjects: Vec::new(),
            tags: Vec::new(),
            targets: Vec::new(),
            tenant: None,
        }
    }

    /// Somebody signs in, or tries to: `auth.login`.
    #[must_use]
    pub fn login(actor: Actor, outcome: Outcome) -> Self {
        Self::new("auth.login", actor).kind(Kind::Auth).outcome(outcome)
    }

    /// Data is read.
    pub fn data_access(actor: Actor, action: impl Into<String>, target: Target) -> Self {
        Self::new(action, actor).kind(Kind::DataAccess).target(target)
    }

    /// Data is changed. [`Value::Null`] stands for data that is not there: before it is made, after it is deleted.
    pub fn data_change(
        actor: Actor,
        action: impl Into<String>,
        target: Target,
        before: impl Into<Value>,
        after: impl Into<Value>,
    ) -> Self {
        Self::new(action, actor).kind(Kind::DataChange).target(target).change(before, after)
    }

    /// Settings, roles or rights are changed.
    pub fn admin(actor: Actor, action: impl Into<String>, target: Target) -> Self {
        Self::new(action, actor).kind(Kind::Admin).target(target)
    }

    /// A call of an interface: `api.call`, on a target of the type `endpoint` such as `GET /v1/documents`.
    pub fn api(actor: Actor, method_and_path: impl Into<String>) -> Self {
        Self::new("api.call", actor).kind(Kind::Api).target(Target::new("endpoint", method_and_path))
    }

    /// Somebody or something decides.
    pub fn decision(actor: Actor, action: impl Into<String>, outcome: Outcome) -> Self {
        Self::new(action, actor).kind(Kind::Decision).outcome(outcome)
    }

    /// An AI agent calls a tool: `agent.tool`.
    pub fn agent_step(actor: Actor, tool: impl Into<String>) -> Self {
        Self::new("agent.tool", actor).kind(Kind::Agent).agent(AgentStep::new().tool(tool))
    }

    /// An attack, or the suspicion of one.
    pub fn security(actor: Actor, action: impl Into<String>, severity: Severity) -> Self {
        Self::new(action, actor).kind(Kind::Security).severity(severity)
    }

    /// Sets the caller's id.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Sets when it happened, RFC 3339.
    #[must_use]
    pub fn occurred_at(self, time: impl Into<String>) -> Self {
        Self { occurred_at: Some(time.into()), ..self }
    }

    /// Sets what sort of event it is.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Sets how grave it is.
    #[must_use]
    pub fn severity(self, severity: Severity) -> Self {
        Self { severity: Some(severity), ..self }
    }

    /// Sets how it ended.
    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    /// Sets why.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Adds something that it was done to.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Sets from where, and in the course of what.
    #[must_use]
    pub fn context(self, context: Context) -> Self {
        Self { context: Some(context), ..self }
    }

    /// Sets what data was and what it became.
    #[must_use]
    pub fn change(self, before: impl Into<Value>, after: impl Into<Value>) -> Self {
        let given = |value: Value| Some(value).filter(|value| !value.is_null());
        Self { change: Some(Change { after: given(after.into()), before: given(before.into()) }), ..self }
    }

    /// Sets anything else.
    #[must_use]
    pub fn details(self, details: impl Into<Value>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    /// Sets what an AI agent used for it.
    #[must_use]
    pub fn agent(self, agent: AgentStep) -> Self {
        Self { agent: Some(agent), ..self }
    }

    /// Sets whose log it is.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        Self { tenant: Some(tenant.into()), ..self }
    }

    /// Adds somebody whose personal data this is.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subjects.push(subject.into());
        self
    }

    /// Sets the clearance needed to read it, 0 to 5.
    #[must_use]
    pub fn clearance(self, level: u8) -> Self {
        Self { clearance: Some(level), ..self }
    }

    /// Sets the retention class.
    #[must_use]
    pub fn retention(self, class: impl Into<String>) -> Self {
        Self { retention: Some(class.into()), ..self }
    }

    /// Adds a word to find it by.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a blob that belongs to it.
    #[must_use]
    pub fn attachment(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// The event as JSON text, to be parsed and checked as that of any other caller.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, integers and JSON values have nothing that JSON cannot say; and empty text is refused.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
