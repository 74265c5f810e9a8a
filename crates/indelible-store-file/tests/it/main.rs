//! Tests of the directory store from the outside.

// Marked as test code, so that the lints allow here what they allow in tests.
#[cfg(test)]
mod compressed;
#[cfg(test)]
mod conforms;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod names;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod world;
