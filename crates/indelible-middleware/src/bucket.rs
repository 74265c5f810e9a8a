//! How often: one number for each who is counted.
//!
//! The bucket is a generic cell rate algorithm: what is kept is the time at which the bucket will be full again. So a bucket that is full is as good as none, and forgetting it
//! forgets nothing. All of it is in whole nanoseconds, and rounded so that never more is granted than the limit says.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// So many requests a minute, and so many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    per_minute: u32,
    burst: u32,
}

/// What a bucket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Whether the request may go on.
    pub granted: bool,
    /// Requests a minute.
    pub limit: u32,
    /// How many are left now.
    pub remaining: u32,
    /// Seconds until there is one more than that; 0 where the bucket is full.
    pub more_in: u64,
    /// Seconds until one is granted; 0 where one is left.
    pub reset: u64,
}

impl Pace {
    /// A pace with the burst that goes with it: a sixth of a minute's requests, at least ten. The pace is one a minute at least.
    #[must_use]
    pub const fn per_minute(per_minute: u32) -> Self {
        let burst = per_minute / 6;
        Self { per_minute: if per_minute == 0 { 1 } else { per_minute }, burst: if burst < 10 { 10 } else { burst } }
    }

    /// The same with so many at once, at least one.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        Self { burst: if burst == 0 { 1 } else { burst }, ..self }
    }

    /// Requests a minute.
    #[must_use]
    pub const fn limit(self) -> u32 {
        self.per_minute
    }

    /// Requests at once.
    #[must_use]
    pub const fn depth(self) -> u32 {
        self.burst
    }

    /// The time that one request stands for, rounded up: never is more granted than the limit.
    fn one(self) -> Duration {
        let nanos = MINUTE.as_nanos().div_ceil(u128::from(self.per_minute));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The time in which an empty bucket becomes full.
    fn whole(self) -> Duration {
        self.one().saturating_mul(self.burst)
    }
}

/// A bucket. A new one is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, pace: Pace, now: Instant) -> Allowance {
        let granted = self.has_one(pace, now);
        if granted {
            self.full_at = self.full_at.max(now) + pace.one();
        }
        Allowance { granted, ..self.look(pace, now) }
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_one(&self, pace: Pace, now: Instant) -> bool {
        self.missing(now) + pace.one() <= pace.whole()
    }

    /// Whether nothing is missing: then it need not be kept.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// How it stands, with nothing taken; `granted` says whether one could be.
    #[must_use]
    pub fn look(&self, pace: Pace, now: Instant) -> Allowance {
        let (one, missing) = (pace.one(), self.missing(now));
        let left = pace.whole().saturating_sub(missing).as_nanos() / one.as_nanos();
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        // The next comes when all that is above the whole ones that are left is filled up.
        let next = missing.saturating_sub(pace.whole().saturating_sub(one.saturating_mul(remaining.saturating_add(1))));
        let more_in = if missing.is_zero() { 0 } else { whole_seconds(next) };
        let granted = self.has_one(pace, now);
        Allowance { granted, limit: pace.per_minute, remaining, more_in, reset: if granted { 0 } else { more_in } }
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now)
    }
}

/// The next whole number of seconds: what is told to wait for has to be enough.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_evenly() {
        let (pace, start) = (Pace::per_minute(60), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::new(start);
        for left in (0..10).rev() {
            let allowance = bucket.take(pace, at(0));
            assert!(allowance.granted && allowance.remaining == left && allowance.more_in == 1, "{allowance:?}");
        }
        let none = bucket.take(pace, at(0));
        assert_eq!((none.granted, none.reset, none.limit, none.remaining), (false, 1, 60, 0));
        assert!(bucket.take(pace, at(1)).granted && !bucket.take(pace, at(1)).granted);
        assert_eq!(bucket.take(pace, at(1000)).remaining, 9, "it never holds more than its depth");
        assert!(bucket.is_full(at(1001)) && !bucket.is_full(at(1000)));
        assert_eq!(bucket.look(pace, at(1001)).more_in, 0);
    }

    #[test]
    fn a_pace_has_a_burst_that_goes_with_it_and_is_never_nothing() {
        for (per_minute, limit, depth) in [(0, 1, 10), (1, 1, 10), (100, 100, 16), (1000, 1000, 166)] {
            let pace = Pace::per_minute(per_minute);
            assert_eq!((pace.limit(), pace.depth()), (limit, depth));
        }
        assert_eq!(Pace::per_minute(7).burst(0).depth(), 1);
    }

    proptest! {
        /// Of any window never more is granted than the burst and what fills in it; and who waits as long as they are told is granted one.
        #[test]
        fn never_more_than_the_limit_and_never_a_wait_for_nothing(
            per_minute in 1_u32..5000, burst in 1_u32..50, steps in prop::collection::vec(0_u64..3000, 1..200)
        ) {
            let pace = Pace::per_minute(per_minute).burst(burst);
            let start = Instant::now();
            let (mut now, mut bucket, mut granted) = (start, Bucket::new(start), Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                let before = bucket;
                let allowance = bucket.take(pace, now);
                prop_assert!(allowance.remaining < burst || !allowance.granted);
                prop_assert_eq!(before.look(pace, now).remaining, allowance.remaining + u32::from(allowance.granted));
                if allowance.granted {
                    granted.push(now);
                    prop_assert_eq!(allowance.reset, if allowance.remaining > 0 { 0 } else { allowance.more_in });
                } else {
                    prop_assert_eq!((bucket, allowance.remaining), (before, 0), "a refusal takes nothing");
                    prop_assert!(bucket.has_one(pace, now + Duration::from_secs(allowance.reset)));
                    prop_assert!(allowance.reset <= 60 / u64::from(per_minute) + 1);
                }
                for (index, first) in granted.iter().enumerate() {
                    let filled = (now - *first).as_nanos() * u128::from(per_minute) / MINUTE.as_nanos();
                    prop_assert!((granted.len() - index) as u128 <= u128::from(burst) + filled);
                }
            }
        }
    }
}
