//! What several modules of tests need: a log on a simulated disk, a clock that is set by hand, an attacker's tools, a gate for syncs, a head store that can be shut.

pub(crate) mod forge;
pub(crate) mod gate;
pub(crate) mod heads;
pub(crate) mod sim;
pub(crate) mod time;
