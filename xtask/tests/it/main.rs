//! What holds for the workspace as a whole.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod houses;
#[cfg(test)]
mod workspace;
