//! The shortcuts and their members: one table, from which bodies are checked, events are written and the document is made.

use super::shape::{Field, Shape};

/// A common kind of event that has a body of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Somebody signs in or out.
    Auth,
    /// Data is read.
    DataAccess,
    /// Data is made, changed or deleted.
    DataChange,
    /// Settings, roles, rights.
    Admin,
    /// A call of an interface.
    Api,
    /// Somebody or something decides.
    Decision,
    /// A step of an agent.
    AgentStep,
}

/// Where a member goes in the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// Where it stands.
    Same,
    /// Into `details`.
    Details,
    /// Into `context`.
    Context,
    /// Into `agent`.
    Agent,
    /// It is the one target.
    Target,
    /// Into `change`.
    Change,
    /// It makes the action, behind `auth.`.
    Activity,
}

/// A member of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) goes: Goes,
    /// What it means; empty where it is that of every event.
    pub(super) about: &'static str,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// What the event has as `kind`.
    pub(super) kind: &'static str,
    /// The name of the body in the document.
    pub(super) schema: &'static str,
    pub(super) about: &'static str,
    /// Its own members, beside [`COMMON`].
    pub(super) members: &'static [Member],
    /// Of these there is at least one, where any is named.
    pub(super) one_of: &'static [&'static str],
    /// A body that is in order.
    pub(super) example: &'static str,
}

const fn must(name: &'static str, shape: Shape, goes: Goes, about: &'static str) -> Member {
    Member { name, shape, required: true, goes, about }
}

const fn may(name: &'static str, shape: Shape, goes: Goes, about: &'static str) -> Member {
    Member { name, shape, required: false, goes, about }
}

const fn handed(name: &'static str) -> Member {
    may(name, Shape::Handed(name), Goes::Same, "")
}

const fn field(name: &'static str, shape: Shape, required: bool) -> Field {
    Field { name, shape, required }
}

const OUTCOMES: &[&str] = &["success", "failure", "denied", "unknown"];
const NAME: Shape = Shape::Text(256);
const NOTE: Shape = Shape::Text(2048);

const PARTY: &[Field] = &[field("id", Shape::Text(2048), true), field("name", NAME, false), field("type", NAME, true)];
const TARGET: &[Field] = &[
    field("attributes", Shape::Any, false),
    field("id", Shape::Text(2048), true),
    field("name", NAME, false),
    field("type", NAME, true),
];
const APPROVALS: &[&str] = &["granted", "refused", "pending", "not_required"];
const APPROVAL: &[Field] = &[
    field("at", Shape::Time, false),
    field("by", Shape::TextOr(PARTY), false),
    field("note", NOTE, false),
    field("state", Shape::Word(APPROVALS), true),
];
const REVIEW: &[Field] = &[
    field("at", Shape::Time, false),
    field("by", Shape::TextOr(PARTY), false),
    field("note", NOTE, false),
    field("state", Shape::Word(&["confirmed", "overruled", "pending", "not_required"]), true),
];

/// What every body may have: members of events, under their own names.
pub(super) const COMMON: &[Member] = &[
    must("actor", Shape::Handed("actor"), Goes::Same, ""),
    handed("attachments"),
    handed("clearance"),
    handed("context"),
    may("details", Shape::AnyObject, Goes::Details, "Anything else"),
    handed("id"),
    handed("occurred_at"),
    handed("reason"),
    handed("retention"),
    handed("severity"),
    handed("subjects"),
    handed("tags"),
    handed("tenant"),
];

const OUTCOME: Member = may("outcome", Shape::Word(OUTCOMES), Goes::Same, "How it ended");
const SOURCE_IP: Member = may("source_ip", NAME, Goes::Context, "The address that it came from");
const USER_AGENT: Member = may("user_agent", NOTE, Goes::Context, "The program that was used");
const ACTION: Member = may("action", NAME, Goes::Same, "What was done, dotted; if left out, what the kind has");
const THE_TARGET: Member = must("target", Shape::Object(TARGET), Goes::Target, "What it was done to");

const AUTH: Row = Row {
    kind: "auth",
    schema: "AuthEvent",
    about: "Somebody signs in or out, or tries to. The action is `auth.` and the activity",
    members: &[
        may("activity", Shape::Word(ACTIVITIES), Goes::Activity, "What was tried; `login` if left out"),
        must("outcome", Shape::Word(OUTCOMES), Goes::Same, "How it ended"),
        may("method", NAME, Goes::Details, "How they proved who they are: `password`, `passkey`, `oidc`, `mtls`"),
        may("second_factor", NAME, Goes::Details, "The second proof, where there was one"),
        may("attempt", Shape::Count, Goes::Details, "The how manieth attempt it was"),
        may("target", Shape::Object(TARGET), Goes::Target, "The account, where it is not the actor's"),
        SOURCE_IP,
        USER_AGENT,
    ],
    one_of: &[],
    example: r#"{"actor":{"type":"user","id":"mara"},"activity":"login","outcome":"failure","method":"password","reason":"wrong password","source_ip":"192.0.2.7"}"#,
};
const ACTIVITIES: &[&str] =
    &["login", "logout", "challenge", "refresh", "lockout", "password_change", "password_reset"];

const DATA_ACCESS: Row = Row {
    kind: "data_access",
    schema: "DataAccessEvent",
    about: "Data is read. The action is the type of the target and `.read`, where none is given",
    members: &[
        ACTION,
        OUTCOME,
        THE_TARGET,
        may("purpose", NOTE, Goes::Details, "What it was read for"),
        may("fields", Shape::Texts(256), Goes::Details, "Which members of it"),
        may("records", Shape::Count, Goes::Details, "How many records it was"),
        SOURCE_IP,
        USER_AGENT,
    ],
    one_of: &[],
    example: r#"{"actor":{"type":"user","id":"mara"},"target":{"type":"patient_record","id":"rec-1001"},"purpose":"treatment","fields":["history","results"],"subjects":["patient-1001"],"outcome":"success"}"#,
};

const DATA_CHANGE: Row = Row {
    kind: "data_change",
    schema: "DataChangeEvent",
    about: "Data is made, changed or deleted. Of what was and what it became one may be missing, or `null`: where it is made, where it is deleted. `details.changed` of the event lists the members that differ, as JSON pointers. The action is the type of the target and `.create`, `.update` or `.delete`, where none is given",
    members: &[
        ACTION,
        OUTCOME,
        THE_TARGET,
        may("before", Shape::Any, Goes::Change, "What it was"),
        may("after", Shape::Any, Goes::Change, "What it became"),
        SOURCE_IP,
        USER_AGENT,
    ],
    one_of: &["before", "after"],
    example: r#"{"actor":{"type":"user","id":"mara"},"target":{"type":"appointment","id":"apt-7001"},"before":{"at":"09:00","room":2},"after":{"at":"14:00","room":2}}"#,
};

const ADMIN: Row = Row {
    kind: "admin",
    schema: "AdminEvent",
    about: "Settings, roles or rights are changed",
    members: &[
        must("action", NAME, Goes::Same, "What was done, dotted: `role.grant`"),
        OUTCOME,
        THE_TARGET,
        may("before", Shape::Any, Goes::Change, "What it was"),
        may("after", Shape::Any, Goes::Change, "What it became"),
        may("ticket", NAME, Goes::Details, "Where it was asked for"),
        may("approved_by", Shape::TextOr(PARTY), Goes::Details, "Who allowed it"),
        SOURCE_IP,
        USER_AGENT,
    ],
    one_of: &[],
    example: r#"{"actor":{"type":"user","id":"noor"},"action":"role.grant","target":{"type":"account","id":"mara"},"before":{"roles":["nurse"]},"after":{"roles":["nurse","duty-lead"]},"ticket":"FH-312","outcome":"success"}"#,
};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"];
const API: Row = Row {
    kind: "api",
    schema: "ApiEvent",
    about: "A call of an interface, on a target of the type `endpoint`. Without an `outcome` the status says it: below 400 success, 401 and 403 denied, else failure",
    members: &[
        ACTION,
        OUTCOME,
        must("method", Shape::Word(METHODS), Goes::Details, "The method"),
        must(
            "path",
            Shape::Path,
            Goes::Details,
            "The path, or the pattern of it; never what stands behind `?`, which may be secret",
        ),
        must("status", Shape::Status, Goes::Details, "The status of the answer"),
        may("duration_ms", Shape::Amount, Goes::Details, "How long it took"),
        may("request_bytes", Shape::Count, Goes::Details, "How long the request was"),
        may("response_bytes", Shape::Count, Goes::Details, "How long the answer was"),
        may("request_id", NAME, Goes::Context, "What the request is known by"),
        SOURCE_IP,
        USER_AGENT,
    ],
    one_of: &[],
    example: r#"{"actor":{"type":"service","id":"billing"},"method":"POST","path":"/v1/invoices","status":201,"duration_ms":12.5,"request_id":"req-7"}"#,
};

const DECISION: Row = Row {
    kind: "decision",
    schema: "DecisionEvent",
    about: "Somebody or something decides: a model, a rule, a person. What the EU AI Act (article 12) and ISO/IEC 42001 want on record has a member each. The action is `decision.make`, where none is given",
    members: &[
        ACTION,
        OUTCOME,
        must("result", NOTE, Goes::Details, "What was decided"),
        may("model", NAME, Goes::Agent, "The model, or the system"),
        may("model_version", NAME, Goes::Details, "Its version"),
        may("policy", NAME, Goes::Agent, "The policy or the rules that it followed"),
        may("inputs_digest", Shape::Digest, Goes::Details, "The digest of what it was decided on"),
        may("inputs_reference", NOTE, Goes::Details, "Where that is kept"),
        may("reference_data", NOTE, Goes::Details, "What the inputs were held against"),
        may("confidence", Shape::Share, Goes::Details, "How sure it was, 0 to 1"),
        may("explanation", NOTE, Goes::Details, "Why, for people"),
        may(
            "human_review",
            Shape::Object(REVIEW),
            Goes::Details,
            "Whether a person looked at it, who, and what came of it",
        ),
        may("started_at", Shape::Time, Goes::Details, "When the use of the system began"),
        may("ended_at", Shape::Time, Goes::Details, "When it ended"),
        may("target", Shape::Object(TARGET), Goes::Target, "What or whom it is about"),
    ],
    one_of: &["inputs_digest", "inputs_reference"],
    example: r#"{"actor":{"type":"service","id":"credit-check"},"action":"loan.decide","result":"declined","model":"score","model_version":"4.2","inputs_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","confidence":0.91,"human_review":{"state":"confirmed","by":"greta"},"subjects":["customer-17"]}"#,
};

const AGENT_STEP: Row = Row {
    kind: "agent",
    schema: "AgentStepEvent",
    about: "An agent takes a step: it calls a tool. The agent is the actor, with its `session`, and `on_behalf_of` whom it acts for. The action is `agent.tool`, where none is given",
    members: &[
        ACTION,
        OUTCOME,
        must("tool", NAME, Goes::Agent, "The tool"),
        may("step", NAME, Goes::Details, "What this step is known by in its session"),
        may("parent_step", NAME, Goes::Details, "The step that led to it"),
        may("model", NAME, Goes::Agent, "The model"),
        may("policy", NAME, Goes::Agent, "The policy that it is bound by"),
        may("arguments_digest", Shape::Digest, Goes::Agent, "The digest of what the tool was called with"),
        may("approval", Shape::Object(APPROVAL), Goes::Agent, "Whether somebody allowed it"),
        may("result", NOTE, Goes::Details, "What came of it, in short"),
        may("result_digest", Shape::Digest, Goes::Details, "The digest of what the tool gave back"),
        may("duration_ms", Shape::Amount, Goes::Details, "How long it took"),
        may("target", Shape::Object(TARGET), Goes::Target, "What it was done to"),
    ],
    one_of: &[],
    example: r#"{"actor":{"type":"agent","id":"shelf-keeper","session":"run-7","on_behalf_of":[{"type":"user","id":"ellen"}]},"tool":"suppliers.order","step":"4","parent_step":"3","model":"assist-3","arguments_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","approval":{"state":"granted","by":"ellen"},"outcome":"success","target":{"type":"order","id":"ord-5001"}}"#,
};

impl Shortcut {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Auth, Self::DataAccess, Self::DataChange, Self::Admin, Self::Api, Self::Decision, Self::AgentStep];

    pub(super) const fn row(self) -> &'static Row {
        match self {
            Self::Auth => &AUTH,
            Self::DataAccess => &DATA_ACCESS,
            Self::DataChange => &DATA_CHANGE,
            Self::Admin => &ADMIN,
            Self::Api => &API,
            Self::Decision => &DECISION,
            Self::AgentStep => &AGENT_STEP,
        }
    }

    /// The name of its body in the document.
    #[must_use]
    pub const fn schema_name(self) -> &'static str {
        self.row().schema
    }

    /// A body that is in order.
    #[must_use]
    pub const fn example(self) -> &'static str {
        self.row().example
    }
}

impl Row {
    pub(super) fn members(&self) -> impl Iterator<Item = &'static Member> + Clone + use<> {
        self.members.iter().chain(COMMON)
    }
}
