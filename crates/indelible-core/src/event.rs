//! What a caller says happened: the checks that every event passes, and builders that make the common case one line.
//!
//! [`parse`] is the only door: it reads strict JSON, writes the canonical bytes that are hashed and stored, checks them
//! against the members that an event may have, and gives the event an id where the caller brought none. An [`Event`] is
//! a convenience in front of that door, not another one.
//!
//! A caller cannot write what the log says of itself: `control` and everything that the log sets around an event (`index`,
//! `prev`, `mac` and so on) are unknown members here. Those are in [`crate::entry`] and [`crate::control`].
//!
//! Format: `docs/format.md`, section 1.

mod build;
mod check;
mod cursor;
mod error;
mod parts;
mod schema;
mod suggest;

pub use build::Event;
pub use error::EventError;
pub use parts::{Actor, AgentStep, Attachment, Change, Context, Kind, Outcome, Party, Severity, Target};
pub use suggest::nearest;

use std::{fmt, ops::Range};

use serde_json::Value;

use crate::json::{self, CanonicalObject};

/// How many bytes the canonical form of an event may have: what fits in an entry.
pub use crate::entry::MAX_EVENT_BYTES;

/// How many bytes an id may have.
pub const MAX_ID_BYTES: usize = 256;

/// An event stands inside an entry, one level down.
const LEVEL_IN_ENTRY: usize = 1;

/// A checked event, in the bytes that are hashed and stored.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalEvent {
    bytes: Vec<u8>,
    id: Range<usize>,
    id_generated: bool,
}

impl CanonicalEvent {
    /// The canonical bytes: one JSON object, with an `id`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical bytes, and where in them the id stands, given away.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Range<usize>) {
        (self.bytes, self.id)
    }

    /// The event's id, the caller's or a new one.
    #[must_use]
    pub fn id(&self) -> &str {
        let id = self.bytes.get(self.id.clone()).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// Whether the id is a new one: the caller brought none, so that the event is no duplicate of another.
    #[must_use]
    pub fn id_generated(&self) -> bool {
        self.id_generated
    }
}

impl fmt::Debug for CanonicalEvent {
    /// Without the content, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.bytes.len();
        f.debug_struct("CanonicalEvent").field("id", &self.id()).field("length", &length).finish_non_exhaustive()
    }
}

/// Reads and checks an event. Where it has no `id`, it gets that which `new_id` returns (a UUID).
///
/// # Errors
///
/// [`EventError`], with a pointer to the place and the remedy: the text is not strict JSON, a member is unknown, missing
/// or not what it must be, or the event is too large.
pub fn parse(text: &[u8], new_id: impl FnOnce() -> String) -> Result<CanonicalEvent, EventError> {
    let object = json::canonical_object(text, LEVEL_IN_ENTRY).map_err(EventError::Json)?;
    check::check_event(&object)?;
    let event = match find_id(&object) {
        Some(id) => CanonicalEvent { bytes: object.bytes, id, id_generated: false },
        None => insert_id(object, &new_id())?,
    };
    match event.bytes.len() {
        size if size > MAX_EVENT_BYTES => Err(EventError::TooLarge { size }),
        _ => Ok(event),
    }
}

/// What [`parse`] takes, as a JSON Schema (2020-12); `any` is the schema of a value that may be any JSON.
///
/// Two things are not said in it: lengths are counted in bytes, and a number has to be one that its canonical form keeps.
#[must_use]
pub fn json_schema(any: &Value) -> Value {
    schema::of_members(schema::EVENT, any)
}

const ID: &[u8] = b"id";

/// Where the value of `id` stands, without its quotes.
fn find_id(object: &CanonicalObject) -> Option<Range<usize>> {
    let value = object.members.iter().find(|member| object.bytes.get(member.name()) == Some(ID))?.value();
    Some(value.start + 1..value.end - 1)
}

/// Puts the id after the last member whose name sorts before it. There is one: `action` is required.
fn insert_id(object: CanonicalObject, id: &str) -> Result<CanonicalEvent, EventError> {
    check::check_new_id(id)?;
    let CanonicalObject { mut bytes, members } = object;
    let before = members.iter().take_while(|member| bytes.get(member.name()).is_some_and(|name| name < ID));
    let place = before.last().map_or(1, |member| member.value().end);
    let (lead, length) = (",\"id\":\"", bytes.len());
    for part in [lead, id, "\""] {
        bytes.extend_from_slice(part.as_bytes());
    }
    let added = bytes.len() - length;
    if let Some(moved) = bytes.get_mut(place..) {
        moved.rotate_right(added);
    }
    let start = place + lead.len();
    Ok(CanonicalEvent { bytes, id: start..start + id.len(), id_generated: true })
}
