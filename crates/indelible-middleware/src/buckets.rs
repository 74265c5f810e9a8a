//! Buckets of many, in one bounded table.
//!
//! Buckets that are full again are forgotten first, which changes nothing. Where all of them are in use, who comes new shares one bucket with all others who come new under the same rule: nobody
//! who is counted already gains or loses by it, an attack from very many addresses does not open the limit, and newcomers are slowed and not shut out.
//!
//! Who is counted is kept as a keyed hash, so the table holds no key and no name. Nothing is on disk, and nothing is shared with other processes.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::bucket::{Allowance, Bucket, Pace};

/// Between two looks for buckets that are full again, so that a table which is in use is not searched with every request.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Who is counted, by which rule: two hashes under different keys, so that nobody finds two names with one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    rule: usize,
    hashes: (u64, u64),
}

/// The table.
pub struct Buckets {
    keys: (RandomState, RandomState),
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    of: HashMap<Place, Bucket>,
    swept: Option<Instant>,
}

impl Buckets {
    /// A table for so many, at least one: about 64 bytes each. Beside them stands one bucket for each rule.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let keys = (RandomState::new(), RandomState::new());
        Self { keys, most: most.max(1), held: Mutex::default() }
    }

    /// Where somebody is counted by a rule.
    #[must_use]
    pub fn place(&self, rule: usize, name: &str) -> Place {
        self.place_of(rule, Some(name))
    }

    /// `None` is those who find no room.
    fn place_of(&self, rule: usize, name: Option<&str>) -> Place {
        Place { rule, hashes: (self.keys.0.hash_one(name), self.keys.1.hash_one(name)) }
    }

    /// Takes one of each bucket, or of none where one of them is empty; says how each stands then.
    pub fn take(&self, rows: &[(Place, Pace)], now: Instant) -> Vec<Allowance> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let room = held.room(rows, self.most, now);
        let places: Vec<Place> = rows
            .iter()
            .map(|(place, _)| match room || held.of.contains_key(place) {
                true => *place,
                false => self.place_of(place.rule, None),
            })
            .collect();
        let at = |held: &Held, place: &Place| held.of.get(place).copied().unwrap_or(Bucket::new(now));
        let granted = rows.iter().zip(&places).all(|((_, pace), place)| at(&held, place).has_one(*pace, now));
        let rows = rows.iter().zip(places);
        rows.map(|((_, pace), place)| {
            let mut bucket = at(&held, &place);
            if !granted {
                return bucket.look(*pace, now);
            }
            let allowance = bucket.take(*pace, now);
            held.of.insert(place, bucket);
            allowance
        })
        .collect()
    }

    /// Takes one of a bucket.
    pub fn take_one(&self, place: Place, pace: Pace, now: Instant) -> Allowance {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = held.of.contains_key(&place) || held.room(&[(place, pace)], self.most, now);
        let place = if has_room { place } else { self.place_of(place.rule, None) };
        held.of.entry(place).or_insert(Bucket::new(now)).take(pace, now)
    }

    /// Forgets somebody.
    pub fn forget(&self, place: &Place) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).of.remove(place);
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Buckets").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Held {
    /// Whether all who are new have room, perhaps after those that are full again were forgotten.
    fn room(&mut self, rows: &[(Place, Pace)], most: usize, now: Instant) -> bool {
        let new = |held: &Self| rows.iter().filter(|(place, _)| !held.of.contains_key(place)).count();
        if self.of.len() + new(self) <= most {
            return true;
        }
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.of.retain(|_, bucket| !bucket.is_full(now));
        }
        self.of.len() + new(self) <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Pace = Pace::per_minute(60).burst(2);
    const ONE: Pace = Pace::per_minute(60).burst(1);

    fn is_granted(table: &Buckets, rows: &[(usize, &str, Pace)], now: Instant) -> bool {
        let rows: Vec<_> = rows.iter().map(|(rule, name, pace)| (table.place(*rule, name), *pace)).collect();
        table.take(&rows, now).iter().all(|allowance| allowance.granted)
    }

    #[test]
    fn a_refused_request_takes_nothing_from_any_bucket() {
        let (table, now) = (Buckets::new(100), Instant::now());
        assert!(is_granted(&table, &[(0, "a", TWO), (1, "x", ONE)], now));
        assert!(!is_granted(&table, &[(0, "a", TWO), (1, "x", ONE)], now), "x has none left");
        assert!(is_granted(&table, &[(0, "a", TWO), (1, "y", ONE)], now), "a has still one");
        assert!(!is_granted(&table, &[(0, "a", TWO)], now));
        assert!(is_granted(&table, &[(1, "a", TWO)], now), "another rule counts apart");
        table.forget(&table.place(0, "a"));
        assert!(is_granted(&table, &[(0, "a", TWO)], now), "forgotten");
    }

    #[test]
    fn one_bucket_is_as_one_of_several() {
        let (table, now) = (Buckets::new(1), Instant::now());
        let take = |name| table.take_one(table.place(0, name), TWO, now);
        assert_eq!([take("a"), take("a"), take("a")].map(|allowance| allowance.granted), [true, true, false]);
        assert!(!is_granted(&table, &[(0, "a", TWO)], now));
        // Those who find no room share a bucket of two.
        assert_eq!([take("b"), take("c"), take("d")].map(|allowance| allowance.granted), [true, true, false]);
    }

    #[test]
    fn a_full_table_forgets_only_full_buckets_and_newcomers_share_one() {
        let (table, start) = (Buckets::new(3), Instant::now());
        for name in ["a", "b", "c"] {
            assert!(is_granted(&table, &[(0, name, ONE)], start));
        }
        let soon = start + Duration::from_millis(1);
        assert!(is_granted(&table, &[(0, "d", ONE)], soon), "the first who finds no room has the shared bucket");
        assert!(!is_granted(&table, &[(0, "e", ONE)], soon), "the second finds it empty");
        assert!(!is_granted(&table, &[(0, "a", ONE)], soon), "who is counted is not forgotten for it");
        let later = start + Duration::from_millis(1500);
        assert!(is_granted(&table, &[(0, "e", ONE)], later), "all are full again, and forgotten");
        assert!(is_granted(&table, &[(0, "a", ONE)], later));
        for number in 0..1000 {
            is_granted(&table, &[(0, &number.to_string(), ONE)], later);
        }
        assert!(table.held.lock().unwrap().of.len() <= 4, "the table, and the shared bucket of the rule");
    }
}
