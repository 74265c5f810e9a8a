//! What the crate promises, tested from outside.

#[cfg(test)]
mod event;
#[cfg(test)]
mod json;
