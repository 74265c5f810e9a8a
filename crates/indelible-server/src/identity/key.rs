//! What a key is: what it may do, by what it is known, and the token that nobody sees again.

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use indelible_core::{hex, time::Micros};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::IdentityError;
use crate::{access::Grant, binding::Binding, lines::Line};

/// What every token begins with, so that one that was left somewhere is recognised.
pub(super) const PREFIX: &str = "idl";

/// A key as it is known, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id: public, and part of the token.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Requests a minute; 0 for no limit.
    pub rate_per_minute: u32,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused.
    pub expires_at: Option<Micros>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// With which key it was made; `None` for one of the operator's.
    pub(crate) made_by: Option<String>,
    /// Whose it is.
    pub(crate) line: Line,
    pub(super) shows: Shows,
}

/// By what a key is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// A token with this SHA-256.
    Token([u8; 32]),
    /// A certificate.
    Certificate(Binding),
}

impl ApiKey {
    /// What it is bound to, where that is a certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<&Binding> {
        match &self.shows {
            Shows::Token(_) => None,
            Shows::Certificate(binding) => Some(binding),
        }
    }

    /// Whether it binds certificates: only who may do everything says whose a client is.
    pub(super) fn may_bind(&self) -> bool {
        self.grant.covers(&Grant::admin())
    }

    /// Whether it is the operator's own.
    pub(super) fn is_operators(&self) -> bool {
        self.line.makers.is_empty()
    }

    /// Whether it is one of those from which the other comes.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        other.line.makers.contains(&self.line.first)
    }

    /// Whether it may put another key in the place of that one: its own, one that comes from it, or, for the operator's own, any.
    pub(super) fn may_rotate(&self, other: &Self) -> bool {
        self.is_operators() || self.line.first == other.line.first || self.is_above(other)
    }

    /// Whether it is good at a time, by itself: it is in force where those that made it are so too.
    #[must_use]
    pub fn is_good(&self, now: Micros) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// What may be shown of it, and whether it is in force.
    pub(super) fn to_json(&self, now: Micros, in_force: bool) -> Value {
        let state = match (&self.revoked_at, self.is_good(now), in_force) {
            (Some(_), ..) => "revoked",
            (None, false, _) => "expired",
            (None, true, false) => "maker_ended",
            (None, true, true) => "active",
        };
        json!({
            "certificate": self.certificate(),
            "created_at": self.created_at,
            "expires_at": self.expires_at.map(|end| end.to_string()),
            "first": self.line.first,
            "id": self.id,
            "logs": self.grant.logs,
            "made_by": self.made_by,
            "name": self.name,
            "rate_per_minute": self.rate_per_minute,
            "revoked_at": self.revoked_at,
            "role": self.grant.role,
            "state": state,
            "verbs": self.grant.verbs,
        })
    }
}

/// A key that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Requests a minute; 0 for no limit.
    pub rate_per_minute: u32,
    /// From when on it is refused.
    pub expires_at: Option<Micros>,
}

/// Who does something to keys.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// Whoever started the server.
    Operator,
    /// The bearer of a key.
    Key(&'a ApiKey),
}

/// Who did it, as events say it.
pub(crate) fn actor(by: By<'_>) -> Value {
    match by {
        By::Operator => json!({ "id": "operator", "type": "system" }),
        By::Key(key) => json!({ "id": key.id, "name": key.name, "type": "api_key" }),
    }
}

pub(super) fn digest_of(token: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// A fresh id and the token that begins with it.
pub(super) fn new_token() -> Result<(String, Zeroizing<String>), IdentityError> {
    let (id, mut secret) = (new_id()?, Zeroizing::new([0; 32]));
    rand::fill(&mut *secret).map_err(|_| IdentityError::Random)?;
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret));
    let token = Zeroizing::new(format!("{PREFIX}_{id}_{}", *secret));
    Ok((id, token))
}

pub(super) fn new_id() -> Result<String, IdentityError> {
    let mut id = [0; 8];
    rand::fill(&mut id).map_err(|_| IdentityError::Random)?;
    Ok(hex::encode(&id))
}
