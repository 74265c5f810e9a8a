//! Whose a token or a certificate is.

use std::sync::{Arc, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::Value;

use super::{
    ApiKey, Identities,
    key::{PREFIX, Shows, digest_of},
};
use crate::{access::Grant, binding::Binding, clients::ClientCertificate};

impl Identities {
    /// Whether a key that was good is so still: for what goes on long after it was asked for.
    #[must_use]
    pub(crate) fn is_still_good(&self, key: &ApiKey) -> bool {
        self.is_in_force(key)
    }

    /// Whether a key is known and good, and those that it comes from.
    pub(super) fn is_in_force(&self, key: &ApiKey) -> bool {
        let (known, now) = (self.known.read().unwrap_or_else(PoisonError::into_inner), self.clock.now());
        known.get(&key.id).is_some_and(|key| known.is_in_force(key, now))
    }

    /// All that are in force, in the order of their ids.
    pub(crate) fn in_force(&self) -> Vec<Arc<ApiKey>> {
        let (known, now) = (self.known.read().unwrap_or_else(PoisonError::into_inner), self.clock.now());
        known.all().filter(|key| known.is_in_force(key, now)).cloned().collect()
    }

    /// What may be shown of a key.
    #[must_use]
    pub fn shown(&self, key: &ApiKey) -> Value {
        let (known, now) = (self.known.read().unwrap_or_else(PoisonError::into_inner), self.clock.now());
        key.to_json(now, known.is_in_force(key, now))
    }

    /// The ids of those that are the same key by rotation, and in force beside it.
    #[must_use]
    pub fn beside(&self, key: &ApiKey) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.beside(key, self.clock.now()).iter().map(|other| other.id.clone()).collect()
    }

    /// The ids of at most `most` that were made with the token of a key, or with one that came from it, and are in force; and how many there are.
    #[must_use]
    pub fn made_by_it(&self, key: &ApiKey, most: usize) -> (Vec<String>, usize) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.made_and_in_force(key, self.clock.now(), most)
    }

    /// The key whose token this is, if it is good now. Takes as long for a token that is wrong as for one whose id is unknown.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<Arc<ApiKey>> {
        let digest = digest_of(token);
        let mut parts = token.splitn(3, '_');
        let (prefix, id) = (parts.next()?, parts.next()?);
        let key = self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let (expected, has_token) = match key.as_ref().map(|key| &key.shows) {
            Some(Shows::Token(digest)) => (*digest, true),
            _ => ([0; 32], false),
        };
        let same = verify_slices_are_equal(&digest, &expected).is_ok() && has_token;
        key.filter(|key| same && prefix == PREFIX && self.is_in_force(key))
    }

    /// The key that a certificate is bound to, if it is good now. A certificate that a key names by its SHA-256 is that key's alone: where that has ended, no name in
    /// it makes it good again.
    ///
    /// # Errors
    /// Why it is nobody's, for its bearer to read.
    pub(crate) fn authenticate_certificate(&self, certificate: &ClientCertificate) -> Result<Arc<ApiKey>, String> {
        if let Some(key) = self.bound_to(certificate.sha256()) {
            let ended = || format!("the API key `{}` of the client's certificate is not in force any more", key.id);
            return if self.is_in_force(&key) { Ok(key) } else { Err(ended()) };
        }
        let mut named: Vec<_> = certificate.names().iter().filter_map(|name| self.bound_to(name)).collect();
        let any = named.first().cloned();
        named.retain(|key| self.is_in_force(key));
        named.dedup_by(|one, other| one.id == other.id);
        match (named.as_slice(), any) {
            ([key], _) => Ok(Arc::clone(key)),
            ([], None) => Err("the client's certificate is of no API key".to_owned()),
            ([], Some(key)) => {
                Err(format!("the API key `{}` of the client's certificate is not in force any more", key.id))
            }
            _ => Err("the client's certificate has names of several API keys: it is not clear whose request this is"
                .to_owned()),
        }
    }

    /// The newest key that is or was bound to it.
    pub(super) fn bound_to(&self, binding: &Binding) -> Option<Arc<ApiKey>> {
        let id = self.bound.read().unwrap_or_else(PoisonError::into_inner).get(binding).cloned()?;
        self.get(&id)
    }

    /// One key.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<ApiKey>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All keys, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ApiKey>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).all().cloned().collect()
    }

    /// Whether there is a key that may make others.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.in_force().iter().any(|key| key.grant.covers(&Grant::admin()))
    }
}
