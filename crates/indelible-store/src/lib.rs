//! The store seam: what a log needs of the place where it is kept.
//!
//! [`disk`] is the file system as file-based stores see it; [`fault`] is a simulated one that crashes, tears and lies.

pub mod disk;
pub mod fault;
