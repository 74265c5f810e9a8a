//! Integration tests of the pure part: one binary, one module for each subject.

#[cfg(test)]
mod note;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod vectors;
