//! What stands over single logs.
//!
//! | module | holds |
//! |---|---|
//! | `relay` | from the outbox of a database into a log (feature `postgres`) |
//! | [`root`] | where many logs are: a directory of directories, or a database |
//! | [`registry`] | which logs there are, as a log: one that vanishes is noticed |
//! | [`held`] | what the registry says, held against its head |

pub mod held;
pub mod registry;
#[cfg(feature = "postgres")]
pub mod relay;
pub mod root;

pub use held::Held;
pub use registry::{Registry, RegistryError};
#[cfg(feature = "postgres")]
pub use relay::{Relay, RelayError, Relayed, Told};
pub use root::Root;
