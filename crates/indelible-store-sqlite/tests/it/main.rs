//! Tests of the SQLite store from the outside.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(all(test, feature = "sqlcipher"))]
mod cipher;
#[cfg(test)]
mod conforms;
#[cfg(test)]
mod places;
#[cfg(test)]
mod world;
#[cfg(test)]
mod worm;
