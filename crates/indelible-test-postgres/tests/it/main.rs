//! The test server itself: it answers, stops, comes back, and leaves nothing behind.

#![cfg(unix)]

#[cfg(test)]
mod leftovers;
#[cfg(test)]
mod lives;
