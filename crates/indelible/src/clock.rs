//! Clock and randomness, as parameters.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indelible_core::time::Micros;
use rand::Rng as _;

/// What time it is, twice: as people tell it, and as it passes.
pub trait Clock: Send + Sync {
    /// The time of day. May step.
    fn now(&self) -> Micros;
    /// Time since some moment. Never steps.
    fn monotonic(&self) -> Duration;
}

/// The system's clocks.
#[derive(Clone, Debug)]
pub struct SystemClock {
    begun: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Micros(micros)
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills a salt.
    fn salt(&self) -> [u8; 16];
}

/// The thread's generator, seeded by the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn salt(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}

/// A UUIDv7 (RFC 9562 section 5.7) of a time and random bytes.
#[must_use]
pub fn new_id(now: Micros, random: [u8; 16]) -> String {
    let millis = u64::try_from(now.0 / 1000).unwrap_or(0);
    let tail = random.first_chunk::<10>().copied().unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &tail)
        .into_uuid()
        .hyphenated()
        .encode_lower(&mut [0; 36])
        .to_owned()
}
