//! How much of the budget of bodies is whose, and how slow a body may come.
//!
//! A body is read only when it is known whose it is, so it is the key's line that has a share and no address: all keys of one tenant ([`crate::lines`]) hold at most
//! `limits.body_budget_per_key_bytes` at a time, however many connections and keys they have. And what has come of a body is held for as long as the rest takes: so in each
//! `limits.body_slow_ms` there have to come as many bytes as make [`LEAST_BYTES_PER_SECOND`], or its end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// The least speed of a body: of 1 KiB a second, a phone at the edge of its network has more.
pub(crate) const LEAST_BYTES_PER_SECOND: u64 = 1024;
/// Rows of those who hold nothing are swept when there are so many.
const SWEEP: usize = 1024;

/// The shares of those who hold something. No more rows than bodies at a time, and [`SWEEP`].
pub(crate) struct Shares {
    /// What each may hold: kibibytes, or places.
    most: usize,
    held: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Shares {
    pub(crate) fn new(bytes: usize) -> Self {
        Self::of_places(bytes / 1024)
    }

    /// Of so many places for each.
    pub(crate) fn of_places(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// The share of one: what it may still hold.
    pub(crate) fn of(&self, who: &str) -> Arc<Semaphore> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = held.get(who).and_then(Weak::upgrade) {
            return share;
        }
        if held.len() >= SWEEP {
            held.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.most));
        held.insert(who.to_owned(), Arc::downgrade(&share));
        share
    }
}

/// How fast a body comes.
pub(crate) struct Pace {
    window: Duration,
    ends: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(window: Duration, now: Instant) -> Self {
        Self { window, ends: now + window, bytes: 0 }
    }

    /// Bytes have come.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// How long may be waited for more before [`Pace::holds`] is asked.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        self.ends.saturating_duration_since(now)
    }

    /// Whether enough came. Asked when what there is was read: a server that is short of time finds nobody slow.
    pub(crate) fn holds(&mut self, now: Instant) -> bool {
        if now < self.ends {
            return true;
        }
        let least = u128::from(LEAST_BYTES_PER_SECOND) * self.window.as_millis() / 1000;
        let enough = u128::from(self.bytes) >= least;
        *self = Self::new(self.window, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_for_all_that_is_held_of_it_and_forgotten_then() {
        let shares = Shares::new(8 << 10);
        let (one, again, other) = (shares.of("a"), shares.of("a"), shares.of("b"));
        let held = Arc::clone(&one).try_acquire_many_owned(7).unwrap();
        assert_eq!((again.available_permits(), other.available_permits()), (1, 8));
        drop((one, again));
        assert_eq!(shares.of("a").available_permits(), 1, "the body that holds it keeps it");
        drop(held);
        assert_eq!(shares.of("a").available_permits(), 8);
        for at in 0..3 * SWEEP {
            shares.of(&at.to_string());
        }
        assert!(shares.held.lock().unwrap().len() <= SWEEP);
    }

    #[test]
    fn too_little_in_a_window_is_too_slow() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Duration::from_secs(2), start);
        assert_eq!(pace.patience(at(500)), Duration::from_millis(1500));
        assert!(pace.holds(at(1999)), "nothing came, and it is not time yet");
        pace.came(2048);
        assert!(pace.holds(at(2000)), "it was enough");
        assert_eq!(pace.patience(at(2000)), Duration::from_secs(2), "and a new window begins");
        // What came quickly before does not help for long.
        pace.came(2047);
        assert!(pace.holds(at(3999)) && !pace.holds(at(4000)));
    }
}
