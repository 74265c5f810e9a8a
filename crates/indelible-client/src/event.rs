//! An event before it is sent: checked, canonical, and with its id.
//!
//! The id is there before the first byte goes out, so that sending again is safe, also by another process after a crash. What the server would refuse is refused here already,
//! with the place and the remedy.

use std::sync::Arc;

use indelible::{
    Event,
    clock::{Clock as _, Entropy as _, SystemClock, SystemEntropy, new_id},
};
use indelible_core::event::{self, CanonicalEvent};

use crate::error::ClientError;

/// An event that can be sent any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared(CanonicalEvent);

impl Prepared {
    /// Of a JSON text.
    ///
    /// # Errors
    /// [`ClientError::Event`].
    pub fn of_json(text: &[u8]) -> Result<Self, ClientError> {
        let fresh = || new_id(SystemClock::default().now(), SystemEntropy.salt());
        event::parse(text, fresh).map(Self).map_err(|error| ClientError::Event(Arc::new(error)))
    }

    /// Of an event.
    ///
    /// # Errors
    /// [`ClientError::Event`].
    pub fn of_event(event: &Event) -> Result<Self, ClientError> {
        Self::of_json(&event.to_json())
    }

    /// Its id, the caller's or a new one.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// The canonical bytes: what is sent, and what the entry has to hold.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_an_id_before_it_is_sent_and_keeps_it() {
        let text = br#"{ "actor": {"type":"user","id":"ada"}, "action": "door.open" }"#;
        let (one, other) = (Prepared::of_json(text).unwrap(), Prepared::of_json(text).unwrap());
        assert_ne!(one.id(), other.id());
        assert_eq!(Prepared::of_json(one.bytes()).unwrap(), Prepared::of_json(one.bytes()).unwrap());
        assert_eq!(Prepared::of_json(one.bytes()).unwrap().id(), one.id());
        let error = Prepared::of_json(br#"{"action":"a","actor":{"type":"user","id":7}}"#).unwrap_err();
        assert!(error.is_of_event() && error.to_string().contains("/actor/id"), "{error}");
    }
}
