//! Tests of the SQLite store from the outside.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(test)]
mod conforms;
