//! What the library promises, tested from outside: one binary, one module for each subject.

#[cfg(test)]
mod basics;
#[cfg(test)]
mod flips;
#[cfg(test)]
mod world;
