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
use crate::locks::Standing;

/// The end of keys that ended by the order of the log.
const ENDED: Micros = Micros(i64::MIN);

/// When a key that was not revoked ends by itself; who has no end stands behind all others.
type End = (Micros, String);

/// All keys by their ids, ended ones too.
#[derive(Default)]
pub(super) struct Table {
    keys: BTreeMap<String, Arc<ApiKey>>,
    /// Of each line, by its first: those that were not revoked, by their ends.
    ends: BTreeMap<String, BTreeSet<End>>,
    /// What was made with the token of each, by its id.
    made: BTreeMap<String, Vec<String>>,
    /// The ends that the log says, as far as it was read: what memory knows already may not be there yet. One that was ended for good ended before all times.
    ended: BTreeMap<String, Micros>,
    /// How many keys were looked at.
    #[cfg(test)]
    pub(super) looked_at: std::sync::atomic::AtomicUsize,
}

fn end_of(key: &ApiKey) -> Option<End> {
    key.revoked_at.is_none().then(|| (key.expires_at.unwrap_or(Micros(i64::MAX)), key.id.clone()))
}

impl Table {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<ApiKey>> {
        self.looks();
        self.keys.get(id)
    }

    /// In the order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.keys.values().inspect(|_| self.looks())
    }

    /// Counts, in tests.
    fn looks(&self) {
        let _ = self;
        #[cfg(test)]
        self.looked_at.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Puts a key in the place of the one with its id.
    pub(super) fn put(&mut self, key: Arc<ApiKey>) {
        let old = self.keys.insert(key.id.clone(), Arc::clone(&key));
        if let (None, Some(maker)) = (&old, &key.made_by) {
            self.made.entry(maker.clone()).or_default().push(key.id.clone());
        }
        if let Some(old) = old
            && let Some(end) = end_of(&old)
            && let Some(ends) = self.ends.get_mut(&old.line.first)
        {
            ends.remove(&end);
        }
        if let Some(end) = end_of(&key) {
            self.ends.entry(key.line.first.clone()).or_default().insert(end);
        }
    }

    /// Changes a key that is there.
    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut ApiKey)) {
        if let Some(key) = self.keys.get(id) {
            let mut key = (**key).clone();
            change(&mut key);
            self.put(Arc::new(key));
        }
    }

    /// The log says that a key ends then. What it said of an earlier end stands.
    pub(super) fn ends_on_record(&mut self, id: &str, at: Micros) {
        let end = self.ended.entry(id.to_owned()).or_insert(at);
        *end = at.min(*end);
    }

    /// The log says that a key was ended, whatever clocks say.
    pub(super) fn ended_on_record(&mut self, id: &str) {
        self.ends_on_record(id, ENDED);
    }

    /// Whether the log says that a key had ended at a time, as far as it was read.
    pub(super) fn is_ended_on_record(&self, id: &str, at: Micros) -> bool {
        self.ended.get(id).is_some_and(|end| *end <= at)
    }

    /// What locks of logs are judged by. Ends by a clock are not: that a key asks behind one is refused by any server.
    pub(super) fn standing(&self, id: &str) -> Option<Standing> {
        let has_ended = self.is_ended_on_record(id, ENDED);
        self.keys.get(id).map(|key| Standing { grant: key.grant.clone(), has_ended })
    }

    /// Whether a key is good, and those that it comes from.
    pub(super) fn is_in_force(&self, key: &ApiKey, now: Micros) -> bool {
        key.is_good(now) && key.line.makers.iter().all(|maker| self.has_good(maker, now))
    }

    /// Whether any of those that are one by rotation is good: the one that ends last is.
    fn has_good(&self, first: &str, now: Micros) -> bool {
        self.ends.get(first).and_then(BTreeSet::last).is_some_and(|(end, _)| now < *end)
    }

    /// Those of the line of `key` that are in force beside it, the oldest first.
    pub(super) fn beside(&self, key: &ApiKey, now: Micros) -> Vec<Arc<ApiKey>> {
        let ends = self.ends.get(&key.line.first).into_iter().flatten().rev();
        let ids = ends.take_while(|(end, _)| now < *end).map(|(_, id)| id).filter(|id| **id != key.id);
        let mut beside: Vec<_> =
            ids.filter_map(|id| self.get(id)).filter(|other| self.is_in_force(other, now)).cloned().collect();
        beside.sort_by(|one, other| one.created_at.cmp(&other.created_at));
        beside
    }

    /// What was made with the token of `key`, or with one that came from it, each once.
    fn made_with<'t>(&'t self, key: &ApiKey) -> impl Iterator<Item = &'t Arc<ApiKey>> {
        let mut seen = BTreeSet::from([key.id.clone()]);
        let mut makers = vec![key.id.clone()];
        let mut made: Vec<&'t String> = Vec::new();
        std::iter::from_fn(move || {
            loop {
                if let Some(id) = made.pop() {
                    if seen.insert(id.clone()) {
                        makers.push(id.clone());
                        return Some(id);
                    }
                    continue;
                }
                made.extend(self.made.get(&makers.pop()?).into_iter().flatten());
            }
        })
        .filter_map(|id| self.get(id))
    }

    /// The successors that were rotated out with the token of `key`, or with one that came from it: a thief's way to outlive the key. Not those that were rotated by somebody
    /// from whom they come: that is how a key is replaced.
    pub(super) fn rotated_out(&self, key: &ApiKey) -> Vec<Arc<ApiKey>> {
        let is_one =
            |other: &&Arc<ApiKey>| other.id != other.line.first && !other.line.makers.contains(&key.line.first);
        self.made_with(key).filter(is_one).cloned().collect()
    }

    /// The ids of at most `most` that were made with the token of `key`, or with one that came from it, and are in force; and how many there are.
    pub(super) fn made_and_in_force(&self, key: &ApiKey, now: Micros, most: usize) -> (Vec<String>, usize) {
        let (mut ids, mut count) = (Vec::new(), 0);
        for made in self.made_with(key).filter(|made| self.is_in_force(made, now)) {
            count += 1;
            if ids.len() < most {
                ids.push(made.id.clone());
            }
        }
        (ids, count)
    }
}
