//! Connecting to a real PostgreSQL, in all the ways that go right and wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod config;
mod hosts;
mod matrix;
mod refusals;
mod tls;
mod world;
