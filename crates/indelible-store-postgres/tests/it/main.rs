//! The PostgreSQL store, against real servers that the tests start themselves.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(test)]
mod conforms;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod pooled;
#[cfg(test)]
mod pooler;
#[cfg(test)]
mod pruning;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod rollback;
#[cfg(test)]
mod search;
#[cfg(test)]
mod world;
#[cfg(test)]
mod worm;
#[cfg(test)]
mod writers;
