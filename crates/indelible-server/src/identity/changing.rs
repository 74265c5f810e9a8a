//! Making, rotating and ending keys.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
};

use indelible::{LogError, error::chain};
use indelible_core::{hex, time::Micros};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    ApiKey, By, Identities, IdentityError, NewKey,
    key::{Shows, digest_of, new_id, new_token},
    said::{Made, Replaces},
};
use crate::{
    binding::Binding,
    lines::{self, Line},
};

/// The longest name of a key.
pub(super) const MAX_NAME_CHARS: usize = 128;

impl Identities {
    /// Makes a key, and the token that nobody sees again.
    ///
    /// # Errors
    /// [`IdentityError`]: no key was made.
    pub fn create(&self, by: By<'_>, new: NewKey) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        self.make_with_token(by, new, "api_key.create", None)
    }

    /// Makes a key that is bound to a certificate.
    ///
    /// # Errors
    /// [`IdentityError`]: no key was made.
    pub fn bind(&self, by: By<'_>, new: NewKey, to: Binding) -> Result<Arc<ApiKey>, IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        self.make(by, new, (new_id()?, Shows::Certificate(to)), "api_key.create", None)
    }

    /// Makes a key of the same grant with another token, and lets the old one end at a time.
    ///
    /// # Errors
    /// [`IdentityError`]: nothing was changed.
    pub fn rotate(
        &self,
        by: By<'_>,
        id: &str,
        until: Micros,
    ) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let (old, new, until) = self.successor(by, id, until)?;
        if old.certificate().is_some() {
            return Err(IdentityError::Certificate(id.to_owned()));
        }
        let made = self.make_with_token(by, new, "api_key.rotate", Some((id, until)))?;
        self.change(&old.id, |old| old.expires_at = Some(until));
        Ok(made)
    }

    /// Makes a key of the same grant that is bound to a certificate, and lets the old one end at a time.
    ///
    /// # Errors
    /// [`IdentityError`]: nothing was changed.
    pub fn rotate_to(&self, by: By<'_>, id: &str, until: Micros, to: Binding) -> Result<Arc<ApiKey>, IdentityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let (old, new, until) = self.successor(by, id, until)?;
        let made = self.make(by, new, (new_id()?, Shows::Certificate(to)), "api_key.rotate", Some((id, until)))?;
        self.change(&old.id, |old| old.expires_at = Some(until));
        Ok(made)
    }

    /// Ends a key at once, and the successors that were rotated out with its token or with one that came from it, unless a key of the same line asks: then it ends that one alone.
    /// What it made ends with the last of its line. Gives the key, and those that ended beside it.
    ///
    /// # Errors
    /// [`IdentityError::Append`] where they have ended and that is not recorded; [`IdentityError`].
    pub fn revoke(&self, by: By<'_>, id: &str) -> Result<(Arc<ApiKey>, Vec<String>), IdentityError> {
        let mut unrecorded = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        let key = self.get(id).ok_or_else(|| IdentityError::Unknown(id.to_owned()))?;
        let same = |by: By<'_>| matches!(by, By::Key(asker) if asker.line.first == key.line.first);
        if let By::Key(asker) = by
            && key.is_above(asker)
        {
            return Err(IdentityError::NotYours(id.to_owned()));
        }
        let mut beside = Vec::new();
        loop {
            let mut ending = vec![Arc::clone(&key)];
            if !same(by) {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                ending.extend(known.rotated_out(&key));
            }
            let ended = self.end_all(&ending, by, id, &mut unrecorded)?;
            beside.extend(ended.iter().filter(|other| *other != id).cloned());
            if ended.is_empty() || !self.is_shared() {
                return Ok((self.get(id).unwrap_or(key), beside));
            }
            // What came from it at another server before its end was on record is there now; what came behind that is stillborn.
            self.follow().map_err(|error| IdentityError::Checkpoint(LogError::Refused(chain(&error))))?;
        }
    }

    /// Ends those that have not ended, and puts on record what is not. Gives their ids.
    fn end_all(
        &self,
        ending: &[Arc<ApiKey>],
        by: By<'_>,
        id: &str,
        unrecorded: &mut BTreeSet<String>,
    ) -> Result<Vec<String>, IdentityError> {
        let now = self.clock.now();
        // All of them end before the first is recorded: nothing comes from one meanwhile.
        let mut to_record = Vec::new();
        for key in ending.iter().filter_map(|key| self.get(&key.id)) {
            if key.revoked_at.is_none() && (key.id == id || key.is_good(now)) {
                self.change(&key.id, |key| key.revoked_at = key.revoked_at.take().or_else(|| Some(now.to_string())));
                to_record.push(self.get(&key.id).unwrap_or(key));
            } else if unrecorded.contains(&key.id) {
                to_record.push(key);
            }
        }
        unrecorded.extend(to_record.iter().map(|key| key.id.clone()));
        for key in &to_record {
            self.record_signed("api_key.revoke", by, Some(key), &json!({}))?;
            unrecorded.remove(&key.id);
        }
        Ok(to_record.iter().map(|key| key.id.clone()).collect())
    }

    /// Has something else changed while no key is, by one that has not ended.
    ///
    /// # Errors
    /// [`IdentityError::Asker`]; those of the change.
    pub(crate) fn while_it_may<T, E: From<IdentityError>>(
        &self,
        by: By<'_>,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_change(by)?;
        change()
    }

    /// A key that asks may have ended since it was looked at: then it changes nothing any more.
    fn may_change(&self, by: By<'_>) -> Result<(), IdentityError> {
        match by {
            By::Operator => Ok(()),
            By::Key(key) => match self.is_in_force(key) {
                true => Ok(()),
                false => Err(IdentityError::Asker),
            },
        }
    }

    fn successor(&self, by: By<'_>, id: &str, until: Micros) -> Result<(Arc<ApiKey>, NewKey, Micros), IdentityError> {
        let old = self.get(id).ok_or_else(|| IdentityError::Unknown(id.to_owned()))?;
        if let By::Key(asker) = by
            && !asker.may_rotate(&old)
        {
            return Err(IdentityError::NotYours(id.to_owned()));
        }
        if !self.is_in_force(&old) {
            return Err(IdentityError::Ended(id.to_owned()));
        }
        let until = old.expires_at.map_or(until, |end| end.min(until));
        let new = NewKey {
            name: old.name.clone(),
            grant: old.grant.clone(),
            rate_per_minute: old.rate_per_minute,
            expires_at: old.expires_at,
        };
        Ok((old, new, until))
    }

    fn make_with_token(
        &self,
        by: By<'_>,
        new: NewKey,
        action: &str,
        replaces: Option<(&str, Micros)>,
    ) -> Result<(Arc<ApiKey>, Zeroizing<String>), IdentityError> {
        let (id, token) = new_token()?;
        let shows = Shows::Token(digest_of(&token));
        Ok((self.make(by, new, (id, shows), action, replaces)?, token))
    }

    fn make(
        &self,
        by: By<'_>,
        new: NewKey,
        (id, shows): (String, Shows),
        action: &str,
        replaces: Option<(&str, Micros)>,
    ) -> Result<Arc<ApiKey>, IdentityError> {
        let name = &new.name;
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
            return Err(IdentityError::Name);
        }
        let now = self.clock.now();
        // Where it comes meanwhile the log may say that the key was never in force: then nobody is given it.
        let end = match by {
            By::Key(key) => self.get(&key.id).and_then(|key| key.expires_at),
            By::Operator => None,
        };
        let line = self.place_for(by, &id, replaces.map(|(old, _)| old))?;
        if let By::Key(key) = by
            && key.rate_per_minute > 0
            && (new.rate_per_minute == 0 || new.rate_per_minute > key.rate_per_minute)
        {
            return Err(IdentityError::Rate);
        }
        if let (By::Key(key), Shows::Certificate(_)) = (by, &shows)
            && !key.may_bind()
        {
            return Err(IdentityError::Binds);
        }
        if matches!(shows, Shows::Certificate(_)) && self.is_shared() {
            // Another server may have bound it a moment ago.
            self.follow().map_err(|error| IdentityError::Checkpoint(LogError::Refused(chain(&error))))?;
        }
        // INVARIANT(one): a certificate is bound to one key that is in force. Of two servers that bind one at the same time the later in the log counts, for all.
        if let Shows::Certificate(binding) = &shows
            && let Some(other) = self.bound_to(binding).filter(|key| self.is_in_force(key))
        {
            return Err(IdentityError::Bound(other.id.clone()));
        }
        let NewKey { name, grant, rate_per_minute, expires_at } = new;
        let expires_at = match by {
            // A key makes none that outlives it.
            By::Key(key) => expires_at.into_iter().chain(key.expires_at).min(),
            By::Operator => expires_at,
        };
        let created_at = now.to_string();
        let made_by = match by {
            By::Key(key) => Some(key.id.clone()),
            By::Operator => None,
        };
        let key =
            ApiKey { id, name, grant, rate_per_minute, created_at, expires_at, revoked_at: None, made_by, line, shows };
        let details = Made {
            certificate: key.certificate().cloned(),
            digest: match &key.shows {
                Shows::Token(digest) => Some(hex::encode(digest)),
                Shows::Certificate(_) => None,
            },
            expires_at: key.expires_at.map(|end| end.to_string()),
            grant: key.grant.clone(),
            rate_per_minute: key.rate_per_minute,
            replaces: replaces.map(|(id, until)| Replaces { id: id.to_owned(), until: until.to_string() }),
        };
        let details = serde_json::to_value(details).unwrap_or_default();
        self.record_signed(action, by, Some(&key), &details)?;
        if end.is_some_and(|end| end <= self.clock.now()) {
            return Err(IdentityError::Asker);
        }
        if let Some(binding) = key.certificate() {
            self.now_bound(binding, &key.id);
        }
        Ok(self.put_new(key))
    }

    /// The line of a key that is to be made, where there is room for it. One that follows another by rotation has that one's.
    fn place_for(&self, by: By<'_>, id: &str, replaces: Option<&str>) -> Result<Line, IdentityError> {
        let good = self.in_force();
        match replaces.and_then(|old| self.get(old)) {
            Some(old) => lines::overlap(&good, &old.line).map(|()| old.line.clone()),
            None => {
                let line = lines::made_by(id, by);
                lines::room(&good, &line).map(|()| line)
            }
        }
    }

    /// A key that was recorded is the newest of its certificate. Where other servers bind too, only the order of the log says which is.
    fn now_bound(&self, binding: &Binding, id: &str) {
        if self.is_shared() {
            // What cannot be followed now is followed later: until then the certificate is of no key.
            let _ = self.follow();
        } else {
            let mut bound = self.bound.write().unwrap_or_else(PoisonError::into_inner);
            bound.insert(binding.clone(), id.to_owned());
        }
    }

    /// Puts a key in its place, unless it is there already: it may have been read in the log meanwhile, and its end too.
    fn put_new(&self, key: ApiKey) -> Arc<ApiKey> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&key.id) {
            return Arc::clone(known);
        }
        let key = Arc::new(key);
        known.put(Arc::clone(&key));
        key
    }

    /// Changes a key as it is now: what was read of it before may be older than what the log said since.
    fn change(&self, id: &str, change: impl FnOnce(&mut ApiKey)) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).change(id, change);
    }

    #[cfg(test)]
    pub(super) fn put(&self, key: ApiKey) -> Arc<ApiKey> {
        let key = Arc::new(key);
        self.known.write().unwrap_or_else(PoisonError::into_inner).put(Arc::clone(&key));
        key
    }
}
