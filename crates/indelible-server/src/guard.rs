//! How often: buckets for keys, and delays for addresses that do not know one.
//!
//! Nothing here is on disk, and both tables are bounded. That of failures forgets the oldest for whoever comes next; that of rates is the middleware's ([`Buckets`]).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(crate) use indelible_middleware::{bucket::Allowance, network::subscriber as network};
use indelible_middleware::{
    bucket::{Pace, whole_seconds},
    buckets::Buckets,
};

use crate::identity::MAX_KEYS;

/// Keys that are counted at a time: all that can be in force, and as many that were until lately. 64 bytes each.
const MAX_BUCKETS: usize = 2 * MAX_KEYS;
/// All buckets of the table are of keys.
const RULE: usize = 0;

/// The most addresses that failures are remembered of: 64 bytes each.
const MAX_ADDRESSES: usize = 4096;
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(900);
/// After so long without a failure an address is as any other.
const FORGET: Duration = Duration::from_secs(3600);

/// A bucket for each key that has a rate. It holds a sixth of a minute's requests, at least ten, and fills evenly.
pub(crate) struct Rates(Buckets);

impl Default for Rates {
    fn default() -> Self {
        Self(Buckets::new(MAX_BUCKETS))
    }
}

impl Rates {
    /// Takes one from the bucket of a key with so many requests a minute; `None` for a key without a limit.
    pub(crate) fn take(&self, key: &str, per_minute: u32, now: Instant) -> Option<Allowance> {
        let pace = (per_minute > 0).then(|| Pace::per_minute(per_minute))?;
        Some(self.0.take_one(self.0.place(RULE, key), pace, now))
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &str) {
        self.0.forget(&self.0.place(RULE, key));
    }
}

/// What a failed authentication leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Refused.
    Refused,
    /// Refused, and not to try again for so many seconds. `record` where a lock-out began with this one.
    Locked {
        /// Seconds.
        seconds: u64,
        /// How often it has failed.
        failures: u64,
        /// Whether it is to be recorded.
        record: bool,
    },
}

/// Failures by address. A valid token is never refused for them: 256 bits are not guessed, and whoever shares an address with an attacker is served. What is
/// delayed, and recorded once for each delay, are the failures.
#[derive(Default)]
pub(crate) struct Guard(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u64,
    last: Instant,
    until: Option<Instant>,
}

impl Guard {
    /// Counts a failure; from `limit` on each lock-out is twice as long as the one before.
    pub(crate) fn failed(&self, address: IpAddr, limit: u32, now: Instant) -> Failed {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ADDRESSES {
            known.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET);
        }
        if known.len() >= MAX_ADDRESSES {
            let oldest = known.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                known.remove(&oldest);
            }
        }
        let failures = known.entry(network(address)).or_insert(Failures { count: 0, last: now, until: None });
        if now.saturating_duration_since(failures.last) >= FORGET {
            *failures = Failures { count: 0, last: now, until: None };
        }
        failures.last = now;
        if let Some(until) = failures.until.filter(|until| now < *until) {
            let seconds = whole_seconds(until.saturating_duration_since(now));
            return Failed::Locked { seconds, failures: failures.count, record: false };
        }
        failures.count += 1;
        let Some(beyond) = failures.count.checked_sub(u64::from(limit)) else { return Failed::Refused };
        let seconds = 1u64.checked_shl(u32::try_from(beyond).unwrap_or(u32::MAX)).unwrap_or(u64::MAX);
        let delay = Duration::from_secs(seconds.clamp(1, MAX_DELAY.as_secs()));
        failures.until = Some(now + delay);
        Failed::Locked { seconds: delay.as_secs(), failures: failures.count, record: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_buckets_of_their_own_and_those_without_a_rate_have_none() {
        let (rates, start) = (Rates::default(), Instant::now());
        let take = |key, per_minute| rates.take(key, per_minute, start);
        for left in (0..10).rev() {
            let taken = take("a", 60).unwrap();
            assert!(taken.granted && taken.remaining == left, "{taken:?}");
        }
        let none = take("a", 60).unwrap();
        assert_eq!((none.granted, none.reset, none.limit), (false, 1, 60));
        assert!(take("b", 60).unwrap().granted);
        assert_eq!(take("a", 0), None);
        assert!(rates.take("a", 60, start + Duration::from_secs(1)).unwrap().granted);
        rates.forget("a");
        assert_eq!(take("a", 60).unwrap().remaining, 9);
    }

    #[test]
    fn failures_lead_to_longer_and_longer_delays() {
        let (guard, start) = (Guard::default(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let at = |seconds| start + Duration::from_secs(seconds);
        let locked = |seconds, failures, record| Failed::Locked { seconds, failures, record };
        assert_eq!(guard.failed(address, 3, at(0)), Failed::Refused);
        assert_eq!(guard.failed(address, 3, at(0)), Failed::Refused);
        assert_eq!(guard.failed(address, 3, at(0)), locked(1, 3, true));
        assert_eq!(guard.failed(address, 3, at(0)), locked(1, 3, false), "one record for one delay");
        assert_eq!(guard.failed(address, 3, at(1)), locked(2, 4, true));
        assert_eq!(guard.failed(address, 3, at(3)), locked(4, 5, true));
        assert_eq!(guard.failed("192.0.2.2".parse().unwrap(), 3, at(3)), Failed::Refused);
        assert_eq!(guard.failed(address, 3, at(4000)), Failed::Refused, "forgotten after an hour");
    }

    #[test]
    fn the_table_of_failures_is_bounded() {
        let (guard, now) = (Guard::default(), Instant::now());
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 100 {
            guard.failed(IpAddr::V4(number.into()), 3, now + Duration::from_millis(number.into()));
        }
        assert!(guard.0.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
