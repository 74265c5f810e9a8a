//! What is put on record: of keys, of refusals, of the server.

use indelible::{AppendError, LogError, error::chain};
use serde_json::{Value, json};

use super::{ApiKey, By, Identities, IdentityError, actor};

impl Identities {
    /// Records events of the server's. What becomes of each is told in their order.
    pub(crate) fn append_all(&self, events: &[Vec<u8>]) -> Vec<Result<(), AppendError>> {
        let log = match self.log() {
            Ok(log) => log,
            Err(error) => {
                let failed = || AppendError::Failed { why: chain(&error) };
                return events.iter().map(|_| Err(failed())).collect();
            }
        };
        let results: Vec<_> = log.append_all(events).into_iter().map(|result| result.map(drop)).collect();
        if results.iter().any(|result| result.as_ref().is_err_and(|error| !error.is_refusal())) {
            self.let_go();
        }
        results
    }

    pub(super) fn append(&self, event: &Value) -> Result<(), AppendError> {
        self.append_all(&[event.to_string().into_bytes()]).into_iter().collect()
    }

    /// Records an event under a checkpoint; what it says is taken up from there where other servers take it up too.
    ///
    /// # Errors
    /// [`IdentityError::Append`] where it is not recorded; [`IdentityError::Checkpoint`].
    pub(crate) fn record_signed_event(&self, event: &Value) -> Result<(), IdentityError> {
        self.append(event)?;
        self.sign()?;
        match self.is_shared() {
            true => self.follow().map_err(|error| IdentityError::Checkpoint(LogError::Refused(chain(&error)))),
            false => Ok(()),
        }
    }

    /// Records what keys rest on, under a checkpoint: what is answered cannot be taken back by putting files in place.
    pub(super) fn record_signed(
        &self,
        action: &str,
        by: By<'_>,
        key: Option<&ApiKey>,
        details: &Value,
    ) -> Result<(), IdentityError> {
        self.record(action, by, key, details)?;
        self.sign()
    }

    pub(super) fn sign(&self) -> Result<(), IdentityError> {
        let signed = self.log().and_then(|log| log.checkpoint()).map(drop);
        signed.inspect_err(|_| self.let_go()).map_err(IdentityError::Checkpoint)
    }

    pub(super) fn record(
        &self,
        action: &str,
        by: By<'_>,
        key: Option<&ApiKey>,
        details: &Value,
    ) -> Result<(), AppendError> {
        let mut event = json!({ "action": action, "actor": actor(by), "details": details, "kind": "admin" });
        if let (Some(key), Some(event)) = (key, event.as_object_mut()) {
            let target = json!([{ "id": key.id, "name": key.name, "type": "api_key" }]);
            event.insert("targets".to_owned(), target);
        }
        self.record_event(&event)
    }

    /// Records an event of the server's.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_event(&self, event: &Value) -> Result<(), AppendError> {
        self.append(event)
    }

    fn record_refusal(&self, action: &str, address: &str, details: &Value) -> Result<(), AppendError> {
        let event = json!({
            "action": action,
            "actor": { "id": address, "type": "address" },
            "details": details,
            "kind": "security",
            "outcome": "denied",
            "severity": "warning",
        });
        self.append(&event)
    }

    /// Records that an address was refused too often.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn record_lockout(&self, address: &str, failures: u64) -> Result<(), AppendError> {
        self.record_refusal("auth.lockout", address, &json!({ "failures": failures }))
    }

    /// Records that handshakes of an address failed too often for its certificates.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_refused_certificate(
        &self,
        address: &str,
        failures: u64,
        reason: &str,
    ) -> Result<(), AppendError> {
        let details = json!({ "failures": failures, "reason": format!("the certificate {reason}") });
        self.record_refusal("auth.lockout", address, &details)
    }

    /// Records that an address is not let in; `refused` counts all of them since the start.
    ///
    /// # Errors
    /// [`AppendError`].
    pub(crate) fn record_refused_address(&self, address: &str, refused: u64) -> Result<(), AppendError> {
        self.record_refusal("address.refuse", address, &json!({ "refused": refused }))
    }

    /// Records that the server started or stops.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn record_server(&self, action: &str, details: &Value) -> Result<(), AppendError> {
        self.record(action, By::Operator, None, details)
    }
}
