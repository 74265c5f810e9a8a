//! Waiting between tries: exponential, a part of it random, bounded in time, and never shorter than the server asks for.

use std::time::Duration;

use aws_lc_rs::rand;

use crate::settings::Retry;

/// The waits of one request.
#[derive(Debug)]
pub(crate) struct Backoff {
    retry: Retry,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, next: retry.first.min(retry.most) }
    }

    /// How long to wait before the next try; `None` where it is time to give up. `elapsed` is since the first try.
    pub(crate) fn wait(&mut self, asked: Option<Duration>, elapsed: Duration) -> Option<Duration> {
        let own = jittered(self.next, random());
        self.next = self.next.saturating_mul(2).min(self.retry.most);
        let wait = asked.map_or(own, |asked| asked.max(own));
        (elapsed.saturating_add(wait) <= self.retry.give_up_after).then_some(wait)
    }
}

/// From half of it to all of it: callers that failed together do not come back together.
fn jittered(wait: Duration, random: u16) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u16::MAX))
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the wait is whole, and right.
    if rand::fill(&mut bytes).is_err() { u16::MAX } else { u16::from_le_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn waits_double_up_to_the_longest_and_end_in_time() {
        let mut backoff = Backoff::new(Retry { first: MS(100), most: MS(350), give_up_after: MS(1000) });
        for expected in [100, 200, 350, 350] {
            let wait = backoff.wait(None, Duration::ZERO).unwrap();
            assert!(wait >= MS(expected) / 2 && wait <= MS(expected), "{wait:?} of {expected}");
        }
        assert_eq!(backoff.wait(None, MS(900)), None);
    }

    #[test]
    fn what_the_server_asks_for_is_waited_and_bounded_too() {
        let mut backoff = Backoff::new(Retry { first: MS(100), most: MS(350), give_up_after: MS(3000) });
        assert_eq!(backoff.wait(Some(MS(2000)), Duration::ZERO), Some(MS(2000)));
        assert_eq!(backoff.wait(Some(MS(2000)), MS(1500)), None);
    }

    #[test]
    fn jitter_is_from_half_to_whole() {
        assert_eq!(jittered(MS(100), 0), MS(50));
        assert_eq!(jittered(MS(100), u16::MAX), MS(100));
    }
}
