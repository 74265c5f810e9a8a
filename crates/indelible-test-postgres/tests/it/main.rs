//! The test server itself: it answers, stops, comes back, and leaves nothing behind.

#![cfg(unix)]

mod leftovers;
mod lives;
