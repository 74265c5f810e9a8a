//! Tests of the store seam from the outside.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(test)]
mod memory;
#[cfg(test)]
mod sim_disk;
