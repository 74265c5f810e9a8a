//! What a full spool had to turn away or could not keep aside, until that is on record itself.
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

use super::{MAX_SMALL_BYTES, SpoolError, delivered::MAX_NUMBER, io_error};
use crate::event::Prepared;

/// What the event that records a gap says was done.
pub const GAP_ACTION: &str = "audit.spool_gap";

/// What became of an event that has no place in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It did not fit, and is lost.
    Dropped,
    /// It did not fit, and whoever recorded it has it.
    Refused,
    /// The server will never take it, and `refused.jsonl` had no room for it.
    Unkept,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    id: String,
    dropped: u64,
    refused: u64,
    /// Left out where there are none, so that a gap that was sealed without it goes on saying the same.
    #[serde(default)]
    unkept: u64,
    from: String,
    to: String,
    /// The size of the spool when it was sealed: the event of a gap says the same also where the spool is made larger meanwhile. `None` in one that is counted, or was sealed before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spool_bytes: Option<u64>,
}

const REASON: &str =
    "the spool was full: `dropped` events are lost, `refused` ones were given back to whoever recorded them";
const REASON_UNKEPT: &str = "the spool was full: `dropped` events are lost, `refused` ones were given back to whoever recorded them, \
    `unkept` ones the server will never take and `refused.jsonl` had no room for";

impl Gap {
    fn details(&self, max_bytes: u64) -> serde_json::Value {
        let mut details = json!({ "dropped": self.dropped, "from": self.from, "refused": self.refused, "spool_bytes": self.spool_bytes.unwrap_or(max_bytes), "to": self.to });
        if let Some(details) = details.as_object_mut().filter(|_| self.unkept > 0) {
            details.insert("unkept".to_owned(), self.unkept.into());
        }
        details
    }
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

    pub(crate) fn count(&mut self, dir: &Path, what: Turned, count: u64, now: Micros) -> Result<(), SpoolError> {
        let mut next = self.clone();
        let time = now.to_string();
        let open = next.open.get_or_insert_with(|| Gap {
            id: new_id(now, SystemEntropy.salt()),
            dropped: 0,
            refused: 0,
            unkept: 0,
            from: time.clone(),
            to: time.clone(),
            spool_bytes: None,
        });
        let counted = match what {
            Turned::Dropped => &mut open.dropped,
            Turned::Refused => &mut open.refused,
            Turned::Unkept => &mut open.unkept,
        };
        // A count from the file may be anything; an event holds numbers up to 2^53.
        *counted = counted.saturating_add(count).min(MAX_NUMBER);
        open.to = time;
        next.store(dir)?;
        *self = next;
        Ok(())
    }

    /// The event that says it.
    pub(crate) fn event(&mut self, dir: &Path, max_bytes: u64) -> Result<Option<Prepared>, SpoolError> {
        if self.sealed.is_none() && self.open.is_some() {
            let gap = self.open.clone().map(|gap| Gap { spool_bytes: Some(max_bytes), ..gap });
            let sealed = Self { sealed: gap, open: None };
            sealed.store(dir)?;
            *self = sealed;
        }
        let Some(gap) = &self.sealed else { return Ok(None) };
        let event = json!({
            "action": GAP_ACTION,
            "actor": { "id": "indelible-client", "type": "service" },
            "details": gap.details(max_bytes),
            "id": gap.id,
            "kind": "system",
            "occurred_at": gap.to,
            "outcome": "failure",
            "reason": if gap.unkept > 0 { REASON_UNKEPT } else { REASON },
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
