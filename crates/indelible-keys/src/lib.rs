//! The keys of logs: made, kept apart from the logs, named by ids that derive from them.
//!
//! One directory holds `ring.json` (`docs/format.md` section 3), mode 0600, its lock `ring.lock`, and the head store `heads/`. It must be neither
//! inside the log directory nor around it: who can write the log must not by that be able to sign it.
//!
//! | module | holds |
//! |---|---|
//! | [`KeyRing`] | the ring: keys with states and times in one file |
//! | [`public`] | keys in the forms of other programs: PEM, DER, JWK, PKCS#8 |
//! | [`files`] | signatures over files |
//!
//! Outside key managers are not here yet.

mod apart;
mod error;
pub mod files;
mod pair;
pub mod public;
mod ring;
mod signer;

pub use apart::check_apart;
pub use error::KeyError;
pub use indelible_core::note::{Algorithm, Require};
pub use ring::{
    Changed, CheckpointPeriod, Cryptoperiods, Due, EntryKeyRef, Import, ImportAs, KeyAlgorithm, KeyInfo, KeyRing,
    MASTER_KEY_FILE_VARIABLE, MASTER_KEY_VARIABLE, MasterKind, MasterSource, NewRing, Overview, PASSPHRASE_VARIABLE,
    Purpose, State,
};
pub use signer::CheckpointSigner;
