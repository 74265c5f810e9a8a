//! A log whose making a crash stopped.
//!
//! A log is made in steps: its place, entry 0, its first head, its first kept checkpoint. Until the head store knows it there is no log, and nothing of it was
//! acknowledged to anybody. Whoever makes a log of this name again goes on from what is there: it keeps its id and, where that is whole, its entry 0. A place in which
//! a checkpoint was published, or that has other entries, is a log whose head is missing, and no matter for this.

use indelible_core::{control::LogCreated, tree::LeafIndex};
use indelible_keys::KeyRing;
use indelible_store::{driver::Driver, store::Reader};

use crate::{
    error::LogError,
    log::{Log, get},
    open::entry_zero,
    options::Options,
};

impl Log {
    /// Whether a place has what a crash left of the making of a log: [`Log::create_in`] goes on with it.
    ///
    /// # Errors
    /// [`LogError`] where that cannot be seen.
    pub fn is_unfinished(place: &dyn Driver, keys: &KeyRing, options: &Options) -> Result<bool, LogError> {
        if !is_begun(place)? {
            return Ok(false);
        }
        let origin = place.reader()?.info().origin.clone();
        Ok(options.heads_for(keys).load(&origin)?.is_none())
    }
}

/// Whether there is a place for a log, and at most entry 0 in it that no checkpoint was ever published of.
pub(crate) fn is_begun(place: &dyn Driver) -> Result<bool, LogError> {
    if !place.exists()? {
        return Ok(false);
    }
    // What cannot be read as a log is told by whoever opens it, or makes one there.
    let Ok(reader) = place.reader() else { return Ok(false) };
    Ok(reader.size()?.0 <= 1 && reader.checkpoint()?.is_none() && reader.kept(1)?.is_none())
}

/// What entry 0 says, where it is whole.
///
/// # Errors
/// [`LogError::Refused`] where another log was to be made.
pub(crate) fn said(
    (place, reader): (&str, &dyn Reader),
    origin: &str,
    options: &Options,
) -> Result<Option<LogCreated>, LogError> {
    let found = reader.info().origin.clone();
    let other = |what: &str| {
        LogError::Refused(format!(
            "`{place}` has what a crash left of the making of {what}, not of `{origin}`: make that one, or choose another place"
        ))
    };
    if found != origin {
        return Err(other(&format!("`{found}`")));
    }
    if get(reader, LeafIndex(0)).is_err() {
        return Ok(None);
    }
    let created = entry_zero(reader)?;
    let is_it = created.origin == origin && created.log_id == reader.info().log_id.to_string();
    if is_it && created.predecessor == options.predecessor { Ok(Some(created)) } else { Err(other("another log")) }
}

/// Somebody else makes the same log.
pub(crate) fn by_another(origin: &str) -> LogError {
    LogError::Refused(format!("`{origin}` is being made by another process right now: try again"))
}
