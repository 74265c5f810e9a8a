//! The keys that are known, and which of them are in force.
//!
//! INVARIANT(line): a key is in force only while each of those that made it has a key in force, its own or one that followed it by rotation. So whoever ends a key ends what
//! it made, and no token outlives the one that it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indelible_core::time::Micros;

use super::ApiKey;

/// All keys by their ids, ended ones too.
#[derive(Default)]
pub(super) struct Table {
    keys: BTreeMap<String, Arc<ApiKey>>,
    /// Those that followed the first of their line by rotation, the newest last.
    successors: BTreeMap<String, Vec<String>>,
}

impl Table {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<ApiKey>> {
        self.keys.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut ApiKey> {
        self.keys.get_mut(id).map(Arc::make_mut)
    }

    /// In the order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    /// Puts a key in the place of the one with its id.
    pub(super) fn put(&mut self, key: Arc<ApiKey>) {
        if key.id != key.line.first && !self.keys.contains_key(&key.id) {
            self.successors.entry(key.line.first.clone()).or_default().push(key.id.clone());
        }
        self.keys.insert(key.id.clone(), key);
    }

    /// Whether a key is good, and those that it comes from.
    pub(super) fn is_in_force(&self, key: &ApiKey, now: Micros) -> bool {
        key.is_good(now) && key.line.makers.iter().all(|maker| self.has_good(maker, now))
    }

    /// Whether any of those that are one by rotation is good.
    fn has_good(&self, first: &str, now: Micros) -> bool {
        let is_good = |id: &str| self.get(id).is_some_and(|key| key.is_good(now));
        let mut newest_first = self.successors.get(first).into_iter().flatten().rev();
        is_good(first) || newest_first.any(|id| is_good(id))
    }

    /// Those of the line of `key` that are in force beside it.
    pub(super) fn beside(&self, key: &ApiKey, now: Micros) -> Vec<Arc<ApiKey>> {
        let successors = self.successors.get(&key.line.first).into_iter().flatten();
        let ids = std::iter::once(&key.line.first).chain(successors).filter(|id| **id != key.id);
        ids.filter_map(|id| self.get(id)).filter(|other| self.is_in_force(other, now)).cloned().collect()
    }

    /// The successors that were rotated out with the token of `key`, or with one that came from it: a thief's way to outlive the key. Not those that were rotated by somebody
    /// from whom they come: that is how a key is replaced.
    pub(super) fn rotated_out(&self, key: &ApiKey) -> Vec<Arc<ApiKey>> {
        let mut from = BTreeSet::from([key.id.as_str()]);
        loop {
            let before = from.len();
            let made = self.all().filter(|made| made.made_by.as_deref().is_some_and(|maker| from.contains(maker)));
            let made: Vec<_> = made.map(|made| made.id.as_str()).collect();
            from.extend(made);
            if from.len() == before {
                break;
            }
        }
        let is_one = |other: &&Arc<ApiKey>| {
            other.id != key.id && other.id != other.line.first && !other.line.makers.contains(&key.line.first)
        };
        from.into_iter().filter_map(|id| self.get(id)).filter(is_one).cloned().collect()
    }
}
