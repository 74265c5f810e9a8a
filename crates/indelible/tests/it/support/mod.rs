//! What several modules of tests need: a log on a simulated disk, a clock that is set by hand, an attacker's tools, a gate for syncs.

pub(crate) mod forge;
pub(crate) mod gate;
pub(crate) mod sim;
pub(crate) mod time;
