//! What a full spool had to turn away, until that is on record itself.
//!
//! Counted durably before a caller is told, so that a crash forgets none. When there is an event to be made of it, the count is *sealed*: it has an id, and says the same however often it is
//! sent; what is turned away meanwhile is counted anew.

use std::path::Path;

use indelible::{
    Micros,
    clock::{Entropy as _, SystemEntropy, new_id},
};
use indelible_store::disk::{OsDisk, read_small, replace_small};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{MAX_SMALL_BYTES, Pushed, SpoolError, io_error};
use crate::event::Prepared;

/// What the event that records a gap says was done.
pub const GAP_ACTION: &str = "audit.spool_gap";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    id: String,
    dropped: u64,
    refused: u64,
    from: String,
    to: String,
}

/// At most two: one that is being recorded, and one that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gaps {
    sealed: Option<Gap>,
    open: Option<Gap>,
}

impl Gaps {
    pub(crate) fn load(dir: &Path) -> Result<Self, SpoolError> {
        let place = dir.join("gaps.json");
        match read_small(&OsDisk, &place, MAX_SMALL_BYTES).map_err(io_error("read", &place))? {
            None => Ok(Self::default()),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| SpoolError::Damaged { place: place.display().to_string(), offset: 0 }),
        }
    }

    fn store(&self, dir: &Path) -> Result<(), SpoolError> {
        let place = dir.join("gaps.json");
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        replace_small(&OsDisk, &place, &bytes).map_err(io_error("write", &place))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_none() && self.open.is_none()
    }

    pub(crate) fn count(&mut self, dir: &Path, what: Pushed, count: u64, now: Micros) -> Result<(), SpoolError> {
        let mut next = self.clone();
        let time = now.to_string();
        let open = next.open.get_or_insert_with(|| Gap {
            id: new_id(now, SystemEntropy.salt()),
            dropped: 0,
            refused: 0,
            from: time.clone(),
            to: time.clone(),
        });
        match what {
            Pushed::Dropped => open.dropped += count,
            Pushed::Refused => open.refused += count,
            Pushed::Spooled => return Ok(()),
        }
        open.to = time;
        next.store(dir)?;
        *self = next;
        Ok(())
    }

    /// The event that says it.
    pub(crate) fn event(&mut self, dir: &Path, max_bytes: u64) -> Result<Option<Prepared>, SpoolError> {
        if self.sealed.is_none() && self.open.is_some() {
            let sealed = Self { sealed: self.open.clone(), open: None };
            sealed.store(dir)?;
            *self = sealed;
        }
        let Some(gap) = &self.sealed else { return Ok(None) };
        let event = json!({
            "action": GAP_ACTION,
            "actor": { "id": "indelible-client", "type": "service" },
            "details": { "dropped": gap.dropped, "from": gap.from, "refused": gap.refused, "spool_bytes": max_bytes, "to": gap.to },
            "id": gap.id,
            "kind": "system",
            "occurred_at": gap.to,
            "outcome": "failure",
            "reason": "the spool was full: `dropped` events are lost, `refused` ones were given back to whoever recorded them",
        });
        let prepared = Prepared::of_json(event.to_string().as_bytes());
        let damaged = |_| SpoolError::Damaged { place: dir.join("gaps.json").display().to_string(), offset: 0 };
        prepared.map(Some).map_err(damaged)
    }

    pub(crate) fn recorded(&mut self, dir: &Path) -> Result<(), SpoolError> {
        let next = Self { sealed: None, open: self.open.clone() };
        next.store(dir)?;
        *self = next;
        Ok(())
    }
}
