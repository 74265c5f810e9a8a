//! The store seam: what a log needs of the place where it is kept.
//!
//! Stores are **not trusted**: everything that matters is verified from the bytes that they return. What is trusted against
//! rollback is the tiny [`heads::HeadStore`], kept apart.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | the seam: [`store::Reader`], [`store::Writer`], batches and chunks |
//! | [`driver`] | how a log is created and opened, whatever keeps it |
//! | [`follow`] | whether a line is the one that comes next |
//! | [`memory`] | a store in memory |
//! | [`heads`] | the newest head of each log, compare-and-swap |
//! | [`disk`] | the file system as file-based stores see it |
//! | [`fault`] | a simulated disk that crashes, tears and lies |
//! | [`conformance`] | what every store must pass |

pub mod conformance;
pub mod disk;
pub mod driver;
pub mod fault;
pub mod follow;
pub mod heads;
pub mod memory;
pub mod store;
