//! What the crate promises, tested from outside: one binary, one module for each subject.

#[cfg(test)]
mod event;
#[cfg(test)]
mod json;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod note;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod vectors;
