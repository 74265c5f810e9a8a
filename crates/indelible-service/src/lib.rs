//! What stands over single logs.
//!
//! | module | holds |
//! |---|---|
//! | [`root`] | where many logs are: a directory of directories, or a database |
//! | [`registry`] | which logs there are, as a log: one that vanishes is noticed |

pub mod registry;
pub mod root;

pub use registry::{Registry, RegistryError};
pub use root::Root;
