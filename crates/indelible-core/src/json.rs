//! Strict reading of JSON and canonical writing (RFC 8785), in one pass over the text.
//!
//! There is no tree of values. A *run* of text that is already canonical is copied in one piece, so that canonical input
//! costs a scan and one copy; where members of an object come in another order, their spans in the output are permuted.
//!
//! What is accepted is kept exactly or refused: no text is read as something that its canonical form does not say. The
//! refusals are those of [`JsonErrorKind`]. Recursion is bounded by [`MAX_DEPTH`].
//!
//! What members an event may have is not here but in [`crate::event`]. Format: `docs/format.md`, section 1.

mod error;
mod number;
mod order;
mod pointer;
pub(crate) use pointer::short as short_pointer;
mod scan;
mod writer;

pub use error::{JsonError, JsonErrorKind};
pub(crate) use scan::plain_end;
pub(crate) use writer::CanonicalObject;

use writer::Writer;

/// How many arrays and objects may stand inside one another.
pub const MAX_DEPTH: usize = 64;

/// Reads any JSON value and writes it in canonical form.
///
/// # Errors
///
/// [`JsonError`] where the text is not strict JSON, or cannot be kept exactly.
pub fn canonicalise(text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    canonicalise_into(text, &mut out)?;
    Ok(out)
}

/// As [`canonicalise`], appending to `out`; on an error `out` is left as it was.
///
/// # Errors
///
/// [`JsonError`] where the text is not strict JSON, or cannot be kept exactly.
pub fn canonicalise_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let before = out.len();
    let written = Writer::write(text, out, MAX_DEPTH).map(|_members| ());
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// Room for `,"id":"<UUID>"` behind the text, so that putting it in moves bytes only once.
const ROOM_FOR_ID: usize = 48;

/// Reads a value that stands `level` levels deep in what it will be part of; an object comes with its member table, any
/// other value with an empty one.
pub(crate) fn canonical_object(text: &[u8], level: usize) -> Result<CanonicalObject, JsonError> {
    let mut bytes = Vec::with_capacity(text.len() + ROOM_FOR_ID);
    let members = Writer::write(text, &mut bytes, MAX_DEPTH.saturating_sub(level))?;
    Ok(CanonicalObject { bytes, members })
}
