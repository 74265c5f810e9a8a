//! A clock that is set by hand, and salts that follow from a seed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use indelible::clock::{Clock, Entropy};
use indelible_core::time::Micros;

/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
/// 2025-01-01T00:00:00Z, when the rings of the tests were made: before all that happens in them, by whatever clock.
pub(crate) const RINGS_MADE: Micros = Micros(1_735_689_600_000_000);

/// A clock that moves only when told to.
pub(crate) struct HandClock {
    wall_us: AtomicI64,
    passed_us: AtomicU64,
}

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wall_us: AtomicI64::new(START_US), passed_us: AtomicU64::new(0) })
    }

    /// Time passes on both clocks.
    pub(crate) fn pass(&self, by: Duration) {
        let us = u64::try_from(by.as_micros()).unwrap();
        self.passed_us.fetch_add(us, Ordering::SeqCst);
        self.wall_us.fetch_add(i64::try_from(us).unwrap(), Ordering::SeqCst);
    }

    /// Somebody sets the clock: the time of day moves, no time passes.
    pub(crate) fn step(&self, by_us: i64) {
        self.wall_us.fetch_add(by_us, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, time: &str) {
        self.wall_us.store(Micros::parse(time).unwrap().0, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Micros {
        Micros(self.wall_us.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.passed_us.load(Ordering::SeqCst))
    }
}

/// Salts by counting from a seed.
pub(crate) struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed << 32)))
    }
}

impl Entropy for SeededEntropy {
    fn salt(&self) -> [u8; 16] {
        let n = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&n.to_be_bytes());
        salt[8..].copy_from_slice(&n.rotate_left(29).to_be_bytes());
        salt
    }
}
