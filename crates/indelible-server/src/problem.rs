//! What is said where something did not go well: RFC 9457 problems.
//!
//! Each kind has a name, a status and a text of its own, which `/problems/<name>` shows. What a caller reads and what the operator reads are kept apart:
//! paths, addresses of databases and the words of the system go to the operator alone.

use hyper::StatusCode;
use indelible::{AppendError, LogError, StoreError, error::chain};
use indelible_service::RegistryError;
use serde_json::{Map, Value, json};

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its row of the table")]
pub enum Kind {
    BadRequest,
    Unauthorised,
    Forbidden,
    AddressRefused,
    NotFound,
    MethodNotAllowed,
    Conflict,
    IdConflict,
    Absent,
    TooLarge,
    HeadTooLarge,
    MediaType,
    EventRefused,
    Frozen,
    Locked,
    TooMany,
    SlowBody,
    Busy,
    Stopping,
    Unavailable,
    Unclear,
    Evidence,
    Internal,
}

struct Row {
    kind: Kind,
    name: &'static str,
    status: u16,
    title: &'static str,
    about: &'static str,
}

const fn row(kind: Kind, name: &'static str, status: u16, title: &'static str, about: &'static str) -> Row {
    Row { kind, name, status, title, about }
}

const ROWS: &[Row] = &[
    row(
        Kind::BadRequest,
        "bad-request",
        400,
        "The request is not in order",
        "`detail` says what about it. The same request will be refused again.",
    ),
    row(
        Kind::Unauthorised,
        "unauthorised",
        401,
        "No valid API key",
        "Send `Authorization: Bearer <token>` with the token of a key that was neither revoked nor has ended, or show the certificate that such a key is bound to.",
    ),
    row(
        Kind::Forbidden,
        "forbidden",
        403,
        "The key does not grant this",
        "Its role, its verbs or its logs do not include what was asked for. Whether the log exists is not said.",
    ),
    row(
        Kind::AddressRefused,
        "address-refused",
        403,
        "Not served at this address",
        "The operator says from which addresses requests are taken, and this one is not among them.",
    ),
    row(Kind::NotFound, "not-found", 404, "Not there", "There is no such path, log, entry or key."),
    row(
        Kind::MethodNotAllowed,
        "method-not-allowed",
        405,
        "The path has no such method",
        "`Allow` names those that it has.",
    ),
    row(
        Kind::Conflict,
        "conflict",
        409,
        "It is so already",
        "What was to be made is there, or what was to be ended is not; nothing was changed.",
    ),
    row(
        Kind::IdConflict,
        "id-conflict",
        409,
        "The id was recorded with other content",
        "An event id, or an `Idempotency-Key` that stands for one, is used once in a log. Give this event an id of its own.",
    ),
    row(
        Kind::Absent,
        "absent",
        410,
        "The body is absent",
        "The entry's hash is in the tree and its body is not stored any more.",
    ),
    row(Kind::TooLarge, "too-large", 413, "Too large", "`detail` names the limit. Send less at a time."),
    row(Kind::HeadTooLarge, "head-too-large", 431, "Too many headers", "`detail` names the limit. Send fewer."),
    row(
        Kind::MediaType,
        "media-type",
        415,
        "Not a media type that is read here",
        "Events are `application/json` (one) or `application/x-ndjson` (one a line), as they are or compressed by `gzip` or `zstd`.",
    ),
    row(
        Kind::EventRefused,
        "event-refused",
        422,
        "The event was refused",
        "Nothing was recorded of it. `pointer` says where in the event, `detail` what to send instead.",
    ),
    row(Kind::Frozen, "frozen", 423, "The log is frozen", "It is read and verified, and never written again."),
    row(
        Kind::Locked,
        "locked",
        423,
        "The log is locked",
        "Nothing was recorded. It is read and verified; whoever locked it, and why, is in `detail` and in the server's own log. Keep what you have to record until it is unlocked.",
    ),
    row(
        Kind::TooMany,
        "too-many-requests",
        429,
        "Too many requests",
        "Try again after as many seconds as `Retry-After` says.",
    ),
    row(Kind::SlowBody, "slow-body", 408, "The body did not arrive in time", "Nothing was recorded."),
    row(
        Kind::Busy,
        "busy",
        503,
        "Too much to do",
        "Nothing was recorded. Try again after as many seconds as `Retry-After` says.",
    ),
    row(
        Kind::Stopping,
        "stopping",
        503,
        "The server is stopping",
        "Nothing was recorded. Try again: another may have taken its place.",
    ),
    row(
        Kind::Unavailable,
        "unavailable",
        503,
        "The log cannot be used now",
        "What was sent may have been recorded or not. Send it once more with the same id: it is recorded once.",
    ),
    row(
        Kind::Unclear,
        "unclear",
        504,
        "It took too long",
        "What was sent may have been recorded or not. Send it once more with the same id: it is recorded once.",
    ),
    row(
        Kind::Evidence,
        "evidence",
        500,
        "The stored log is not what was recorded",
        "What was asked for cannot be given out as true. Have the log verified.",
    ),
    row(
        Kind::Internal,
        "internal",
        500,
        "The server could not do it",
        "The operator finds why under the `request_id`.",
    ),
];

/// The statuses that problems have.
#[cfg(test)]
pub(crate) fn statuses() -> impl Iterator<Item = u16> {
    ROWS.iter().map(|row| row.status)
}

impl Kind {
    fn row(self) -> &'static Row {
        // Every kind has a row: a test holds that.
        ROWS.iter().find(|row| row.kind == self).unwrap_or(&LAST)
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The name in the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

const LAST: Row = row(Kind::Internal, "internal", 500, "The server could not do it", "");

/// What `/problems/<name>` says.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    let row = ROWS.iter().find(|row| row.name == name)?;
    Some(format!("{} ({})\n\n{}\n", row.title, row.status, row.about))
}

/// The longest `detail` of an answer. What is said of a request holds parts of it, which its sender chooses.
const MAX_DETAIL_BYTES: usize = 4096;
/// The same of a line among many. With the other members a problem stays below [`crate::events::TOLD_BYTES`].
const MAX_TOLD_DETAIL_BYTES: usize = 200;
/// The longest `pointer` of a line among many.
const MAX_TOLD_POINTER_BYTES: usize = 120;

/// A text of at most so many bytes as JSON writes them: of one that is longer the beginning and the end, since there is what to do.
fn short(text: &str, most: usize) -> String {
    let written = |sign: char| match sign {
        '"' | '\\' => 2,
        sign if sign.is_control() => 6,
        sign => sign.len_utf8(),
    };
    if text.chars().map(written).sum::<usize>() <= most {
        return text.to_owned();
    }
    let part = most.saturating_sub('…'.len_utf8()) / 2;
    let fits = |room: &mut usize, sign: char| {
        *room = room.checked_sub(written(sign))?;
        Some(sign)
    };
    let front: String = text.chars().scan(part, fits).collect();
    let back: Vec<char> = text.chars().rev().scan(part, fits).collect();
    front + "…" + &back.into_iter().rev().collect::<String>()
}

/// One problem.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    pointer: Option<String>,
    retry_after: Option<u64>,
    allow: Option<String>,
    internal: Option<String>,
}

impl Problem {
    /// A problem with what its caller may read.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), pointer: None, retry_after: None, allow: None, internal: None }
    }

    /// The request is not in order.
    #[must_use]
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    /// Something failed here, and why is the operator's to read.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        Self::new(Kind::Internal, "this is not the fault of the request").known_as(chain(error))
    }

    /// A thread of the server ended in a way that it must not.
    #[must_use]
    pub fn lost() -> Self {
        Self::new(Kind::Internal, "this is not the fault of the request")
            .known_as("a task of the server panicked".to_owned())
    }

    /// The same with what only the operator reads.
    #[must_use]
    pub fn known_as(mut self, internal: String) -> Self {
        self.internal = Some(internal);
        self
    }

    /// The same with seconds after which another try makes sense.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same with the methods that the path has.
    #[must_use]
    pub fn allowing(mut self, methods: &[&str]) -> Self {
        self.allow = Some(methods.join(", "));
        self
    }

    /// The same about a place in what was sent, an RFC 6901 pointer.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        self.pointer = Some(pointer.to_owned());
        self
    }

    /// The place in what was sent that it is about.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What only the operator reads.
    #[must_use]
    pub fn for_operator(&self) -> Option<&str> {
        self.internal.as_deref()
    }

    /// The value of `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The value of `Allow`.
    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        self.allow.as_deref()
    }

    /// The members of a problem that is told of one line among many, in few bytes.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        self.within(MAX_TOLD_DETAIL_BYTES, MAX_TOLD_POINTER_BYTES)
    }

    fn within(&self, detail: usize, pointer: usize) -> Map<String, Value> {
        let row = self.kind.row();
        let mut members = Map::new();
        members.insert("type".to_owned(), format!("/problems/{}", row.name).into());
        members.insert("title".to_owned(), row.title.into());
        members.insert("status".to_owned(), row.status.into());
        members.insert("detail".to_owned(), short(&self.detail, detail).into());
        if let Some(text) = &self.pointer {
            members.insert("pointer".to_owned(), short(text, pointer).into());
        }
        members
    }

    /// The document.
    #[must_use]
    pub fn document(&self, request_id: &str) -> Value {
        let mut members = self.within(MAX_DETAIL_BYTES, MAX_DETAIL_BYTES);
        members.insert("request_id".to_owned(), json!(request_id));
        Value::Object(members)
    }
}

/// That the log itself is the trouble: what became of the event is not known, or surely nothing.
fn unavailable(internal: String) -> Problem {
    Problem::new(Kind::Unavailable, "the log cannot be written to or read now").after(1).known_as(internal)
}

fn evidence(internal: String) -> Problem {
    Problem::new(Kind::Evidence, "what is stored is not what was recorded: have the log verified").known_as(internal)
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let text = chain(&error);
        match &error {
            AppendError::Event(event) => {
                let pointer = Some(event.pointer().to_owned());
                Self { pointer, ..Self::new(Kind::EventRefused, chain(event)) }
            }
            AppendError::AttachmentMissing { .. } | AppendError::AttachmentSize { .. } => {
                Self { pointer: Some("/attachments".to_owned()), ..Self::new(Kind::EventRefused, text) }
            }
            AppendError::IdConflict { .. } => {
                Self { pointer: Some("/id".to_owned()), ..Self::new(Kind::IdConflict, text) }
            }
            AppendError::Full { .. } => Self::new(Kind::Busy, text).after(1),
            _ => unavailable(text),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NoEntry { .. } => Self::new(Kind::NotFound, error.to_string()),
            StoreError::Absent { .. } => Self::new(Kind::Absent, error.to_string()),
            StoreError::Evidence { .. } | StoreError::Contradiction { .. } | StoreError::Line { .. } => {
                evidence(chain(&error))
            }
            StoreError::TryAgain { .. } | StoreError::InUse { .. } | StoreError::Poisoned { .. } => {
                unavailable(chain(&error))
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => error.into(),
            LogError::Append(error) => error.into(),
            LogError::NoSuchId { .. } => Self::new(Kind::NotFound, error.to_string()),
            LogError::Origin { .. } => Self::bad(error.to_string()),
            LogError::Frozen { origin, reason } => Self::new(Kind::Frozen, format!("`{origin}` was frozen: {reason}")),
            LogError::OriginTaken { .. } => {
                let text = "the server's keys have signed a log of this name before: a name is used once";
                Self::new(Kind::Conflict, text).known_as(chain(&error))
            }
            LogError::Evidence { .. }
            | LogError::OtherLog { .. }
            | LogError::HeadPutBack { .. }
            | LogError::Proof(_) => evidence(chain(&error)),
            LogError::Failed { .. } => unavailable(chain(&error)),
            error => Self::internal(&error),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Log(error) => error.into(),
            RegistryError::Store(error) => error.into(),
            RegistryError::Append(error) => error.into(),
            RegistryError::Origin { .. } => Self::bad(error.to_string()),
            RegistryError::RolledBack { .. } | RegistryError::Contradicts { .. } => evidence(chain(&error)),
            RegistryError::Taken { .. } => Self::new(Kind::Conflict, error.to_string()),
            RegistryError::Unknown { origin, .. } => Self::new(Kind::NotFound, format!("there is no log `{origin}`")),
            error => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_every_row_a_text() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(row.kind.row().name == row.name && !row.about.is_empty(), "{}", row.name);
            assert!(ROWS.iter().skip(at + 1).all(|other| other.name != row.name), "{}", row.name);
            assert!(text(row.name).unwrap().contains(row.title));
            assert_eq!(row.kind.status().as_u16(), row.status);
        }
        assert_eq!(text("no-such"), None);
    }

    #[test]
    fn a_caller_reads_no_path_and_the_operator_does() {
        let io = StoreError::io("write", std::path::Path::new("/secret/place"))(std::io::Error::other("broken"));
        let problem = Problem::from(AppendError::Store(std::sync::Arc::new(io)));
        let told = problem.document("r").to_string();
        assert!(!told.contains("secret") && !told.contains("broken"), "{told}");
        let known = problem.for_operator().unwrap();
        assert!(known.contains("/secret/place") && known.contains("broken"), "{known}");
    }

    #[test]
    fn what_is_said_of_a_line_has_its_bounds_whatever_it_is_called() {
        let actor = r#""action":"a","actor":{"id":"i","type":"t"}"#;
        for name in ["/", "~", "\\\"", "\\\\", "\\u0001", "é", "€", "x"].map(|sign| sign.repeat(9000)) {
            for event in [
                format!("{{{actor},\"{name}\":1}}"),
                format!("{{\"{name}\":1}}"),
                format!("{{{actor},\"details\":{{\"{name}\":[1e400]}}}}"),
                format!("{{{actor},\"details\":{{\"{name}\":1,\"{name}\":1}}}}"),
                format!("{{{actor},\"kind\":\"{name}\"}}"),
                format!("{{\"id\":\"{name}\",{actor}}}"),
                name.clone(),
            ] {
                let error = indelible_core::event::parse(event.as_bytes(), String::new).err().unwrap();
                let problem = Problem::from(AppendError::Event(error));
                let line = json!({ "line": 10_000, "problem": problem.members() }).to_string();
                assert!(line.len() <= crate::events::TOLD_BYTES, "{} {line}", line.len());
                assert!(problem.document("r").to_string().len() <= 4096);
            }
        }
        let long = Problem::bad(format!("`{}`: send another", "x".repeat(9000)));
        let told = long.members()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with("`xx") && told.ends_with("x`: send another") && told.contains('…'), "{told}");
        assert!(long.document("r").to_string().len() < 5000);
        assert_eq!(Problem::bad("short").members()["detail"], "short");
    }

    #[test]
    fn a_refused_event_says_where_and_what_to_do() {
        let error = indelible_core::event::parse(br#"{"action":"a","actor":{"type":"user","id":7}}"#, String::new);
        let problem = Problem::from(AppendError::Event(error.err().unwrap()));
        let document = problem.document("r-1");
        assert_eq!((document["status"].as_u64(), document["pointer"].as_str()), (Some(422), Some("/actor/id")));
        assert!(document["type"] == "/problems/event-refused" && document["request_id"] == "r-1", "{document}");
    }
}
