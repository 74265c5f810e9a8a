//! Whose an API key is: the line of those that made it, and what of room and of rate they share.
//!
//! A key that makes keys could otherwise have as many places and as high a rate as it likes. So a key draws on the rates of all that it comes from, and those that come from it take its
//! places. Only keys that the operator made stand above that: their holders divide the server among others.
//!
//! Keys that follow one another by rotation are one: they have one bucket, one place and one line. So a rotation needs no room, and is refused for none; only of one key no more
//! than [`OVERLAPPING`] are in force at a time. Memory: [`crate::identity::MAX_KEYS`] × [`OVERLAPPING`] keys; one has half a kilobyte with a few names of logs, and some 15 KiB with as many as it may have (256, of
//! 4 KiB together). Those that one tenant can make have 60 MiB at most in force; what is ended stays in memory, as it stays in the log.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use crate::{
    guard::{Allowance, Rates},
    identity::{ApiKey, By, Identities, IdentityError, MAX_KEYS},
};

/// The most keys in force that come from one key, at any distance.
pub const KEYS_OF_ONE: usize = 1_000;
/// Places that are kept for the operator and the operator's own keys.
pub const RESERVED: usize = 1_000;
/// The most keys between a key and the operator: so many buckets are looked at for each request.
pub const MAX_LINE: usize = 8;
/// The most keys in force at a time that are one by rotation.
pub const OVERLAPPING: usize = 4;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The first of those that followed one another by rotation, up to this one.
    pub(crate) first: String,
    /// Those that made it, each by its first, the nearest first. None for a key of the operator's.
    pub(crate) makers: Arc<[String]>,
}

impl Line {
    /// Of a new key.
    pub(crate) fn of(id: &str, maker: Option<&Self>) -> Self {
        let makers = maker.map_or_else(Vec::new, |maker| {
            // Logs from before there was a limit have longer ones: the nearest count, and whoever stands above all.
            let near = maker.makers.iter().take(MAX_LINE - 2).chain(maker.makers.iter().skip(MAX_LINE - 2).last());
            std::iter::once(&maker.first).chain(near).cloned().collect()
        });
        Self { first: id.to_owned(), makers: makers.into() }
    }

    /// Who shares the budget of bodies: the topmost of the line that is not the operator's own.
    pub(crate) fn tenant(&self) -> &str {
        match self.makers.as_ref() {
            [] | [_] => &self.first,
            [.., tenant, _] => tenant,
        }
    }

    /// Those of the makers that have a share of the places: all but the operator's own.
    fn sharing(&self) -> &[String] {
        self.makers.split_last().map_or(&[], |(_, sharing)| sharing)
    }
}

/// Refuses a key for which there is no place; `good` are those in force.
///
/// # Errors
/// [`IdentityError::TooMany`], [`IdentityError::Share`], [`IdentityError::Line`].
pub(crate) fn room(good: &[Arc<ApiKey>], line: &Line) -> Result<(), IdentityError> {
    if line.makers.len() >= MAX_LINE {
        return Err(IdentityError::Line);
    }
    let one_each = |from: &dyn Fn(&Line) -> bool| {
        good.iter().filter(|key| from(&key.line)).map(|key| key.line.first.as_str()).collect::<BTreeSet<_>>().len()
    };
    let most = if line.makers.len() <= 1 { MAX_KEYS } else { MAX_KEYS - RESERVED };
    if one_each(&|_| true) >= most {
        return Err(IdentityError::TooMany);
    }
    for maker in line.sharing() {
        if one_each(&|line| line.makers.contains(maker)) >= KEYS_OF_ONE {
            return Err(IdentityError::Share(maker.clone()));
        }
    }
    Ok(())
}

/// Refuses one more of the keys that are one by rotation, where enough overlap.
///
/// # Errors
/// [`IdentityError::Overlapping`].
pub(crate) fn overlap(good: &[Arc<ApiKey>], line: &Line) -> Result<(), IdentityError> {
    let overlapping = good.iter().filter(|key| key.line.first == line.first).count();
    if overlapping >= OVERLAPPING { Err(IdentityError::Overlapping(line.first.clone())) } else { Ok(()) }
}

/// Takes one from the bucket of a key, and of each that it comes from. `None` where none of them has a rate. Tells of its own, or of the one that refuses.
pub(crate) fn draw(rates: &Rates, identities: &Identities, key: &ApiKey, now: Instant) -> Option<Allowance> {
    let own = rates.take(&key.line.first, key.rate_per_minute, now);
    // What is over the key's own rate takes nothing from the others.
    if own.is_some_and(|own| !own.granted) {
        return own;
    }
    let mut told = own;
    for maker in key.line.makers.iter() {
        let rate = identities.get(maker).map_or(0, |maker| maker.rate_per_minute);
        let Some(allowance) = rates.take(maker, rate, now) else { continue };
        if !allowance.granted {
            return Some(allowance);
        }
        told.get_or_insert(allowance);
    }
    told
}

/// Forgets the bucket of a key that was revoked, where nobody draws on it any more.
pub(crate) fn forget(rates: &Rates, identities: &Identities, key: &ApiKey) {
    let first = &key.line.first;
    let draws = |other: &ApiKey| other.line.first == *first || other.line.makers.contains(first);
    if !identities.in_force().iter().any(|other| draws(other)) {
        rates.forget(first);
    }
}

/// The line of a new key, by who makes it.
pub(crate) fn made_by(id: &str, by: By<'_>) -> Line {
    match by {
        By::Operator => Line::of(id, None),
        By::Key(maker) => Line::of(id, Some(&maker.line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_nearest_and_the_topmost() {
        let mut line = Line::of("0", None);
        assert_eq!((line.tenant(), line.sharing().len()), ("0", 0));
        for at in 1..=2 * MAX_LINE {
            let next = Line::of(&at.to_string(), Some(&line));
            assert_eq!(next.makers.first(), Some(&line.first));
            assert_eq!(next.makers.last().map(String::as_str), Some("0"));
            assert_eq!(next.makers.len(), at.min(MAX_LINE), "{at}");
            assert!(!next.sharing().contains(&"0".to_owned()));
            line = next;
        }
        let (one, two) = (Line::of("1", Some(&Line::of("0", None))), Line::of("2", None));
        assert_eq!((one.tenant(), two.tenant()), ("1", "2"));
        assert_eq!(Line::of("3", Some(&one)).tenant(), "1");
    }
}
