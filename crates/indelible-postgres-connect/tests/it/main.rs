//! Connecting to a real PostgreSQL, in all the ways that go right and wrong.

#![cfg(unix)]

#[cfg(test)]
mod check;
#[cfg(test)]
mod config;
#[cfg(test)]
mod hba;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod world;
