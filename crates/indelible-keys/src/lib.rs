//! The keys of a log: made, kept apart from the log, named by ids that derive from them.
//!
//! One directory holds `ring.json` (`docs/format.md` section 3), mode 0600, and the head store `heads/`. It must be neither
//! inside the log directory nor around it: who can write the log must not by that be able to sign it.
//!
//! | module | holds |
//! |---|---|
//! | [`public`] | keys in the forms of other programs: PEM, DER, JWK, PKCS#8 |
//! | [`files`] | signatures over files |
//!
//! Rotation and outside key managers are not here yet; ids and versions are, from the first byte.

pub mod files;
mod pair;
pub mod public;
mod ring;
mod signer;

pub use ring::{KeyError, KeyRing, check_apart};
pub use signer::CheckpointSigner;
