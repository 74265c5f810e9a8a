//! What can go wrong with keys, each with what to do about it. No message carries a secret.

use std::io;

use indelible_core::time::Micros;
use thiserror::Error;

use crate::{Algorithm, Purpose, State};

/// What went wrong with keys. Never carries a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no ring in the directory.
    #[error(
        "there is no key ring at `{place}`: name the directory that `indelible init` made, with --keys or INDELIBLE_KEYS"
    )]
    Missing {
        /// Directory.
        place: String,
    },
    /// There is a ring already, and one is never replaced by a new one.
    #[error(
        "there is a key ring at `{place}` already; nothing was changed: rotate its keys, or choose another directory"
    )]
    Exists {
        /// Directory.
        place: String,
    },
    /// The file system refused.
    #[error("cannot {step} the key ring `{place}`")]
    Io {
        /// Step, as a verb.
        step: &'static str,
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The ring was replaced, and the system could not say that this outlasts a crash.
    #[error(
        "the new key ring stands at `{place}`, but its directory could not be synced: a crash may bring the old ring back, and nothing of that was overwritten; copy the ring to a safe place, mend the disk, and see with `indelible keys list` what was changed before you type the same again"
    )]
    NotSynced {
        /// File.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else holds the lock of the ring for too long.
    #[error(
        "the key ring `{place}` is being changed by another process; nothing was changed here: try again when that has ended"
    )]
    Busy {
        /// Lock file.
        place: String,
    },
    /// Others may read the ring.
    #[error("the key ring `{place}` can be read by others (mode {mode:04o}): take that away with `chmod 600`")]
    Exposed {
        /// File.
        place: String,
        /// Its mode.
        mode: u32,
    },
    /// The file is no key ring.
    #[error("the key ring `{place}` cannot be read: {detail}; restore it from your copy")]
    Malformed {
        /// File.
        place: String,
        /// Why, without content.
        detail: String,
    },
    /// A newer program wrote the ring.
    #[error(
        "the key ring `{place}` has format {format}, this program knows formats 1 and 2: use the newer program that wrote it"
    )]
    Newer {
        /// File.
        place: String,
        /// Its format.
        format: u64,
    },
    /// The bytes of a key do not fit its id: wrong key bytes, not tampering.
    #[error(
        "key `{id}` in `{place}` has not the bytes that its id was made from: the ring was damaged or mixed up; restore it from your copy"
    )]
    WrongBytes {
        /// The id.
        id: String,
        /// File.
        place: String,
    },
    /// A secret has not the length that its algorithm asks for.
    #[error("the secret of {what} has {found} bytes, {algorithm} has {wanted}: take the whole key, and nothing else")]
    WrongLength {
        /// Which key.
        what: String,
        /// Its algorithm.
        algorithm: String,
        /// Length it has.
        found: usize,
        /// Length it should have.
        wanted: usize,
    },
    /// A key of an algorithm that its purpose has no use for, or a secret of another kind than its algorithm.
    #[error("{what} is no key for {purpose} by `{algorithm}`: {purpose} takes {known}")]
    WrongType {
        /// Which key.
        what: String,
        /// What it is to serve for.
        purpose: Purpose,
        /// The algorithm that was named.
        algorithm: String,
        /// The algorithms that serve for it.
        known: String,
    },
    /// A secret is no private key of its algorithm.
    #[error(
        "the secret of {what} is no private key for `{algorithm}`: that takes a seed of 32 bytes for `ed25519` and `ml-dsa-44`, and for the others an unencrypted PKCS#8 document of such a key (`openssl pkcs8 -topk8 -nocrypt`), RSA of 2,048 to 4,096 bits"
    )]
    WrongSecret {
        /// Which key.
        what: String,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// The log was written with another entry key.
    #[error(
        "the log is signed with entry key `{wanted}`, which the ring does not have; it holds `{held}`: these are the keys of another log, or a copy of the ring from before that key was made; take the ring that has it"
    )]
    NotThisLog {
        /// Key id that the log names.
        wanted: String,
        /// What is there.
        held: String,
    },
    /// Keys and log are in one place.
    #[error(
        "the keys `{keys}` and the log `{log}` are in one place: whoever can change the log could sign the change; choose a keys directory outside of it"
    )]
    Beside {
        /// Keys directory.
        keys: String,
        /// Log directory.
        log: String,
    },
    /// The clock reads a time before something that happened to the key.
    #[error(
        "the clock reads {now}, but key `{id}` was {event} at {at}: set the clock right; nothing was signed or changed"
    )]
    ClockBefore {
        /// The key.
        id: String,
        /// What happened to it.
        event: &'static str,
        /// When.
        at: Micros,
        /// What the clock reads.
        now: Micros,
    },
    /// A key cannot come from its state into that one.
    #[error("key `{id}` is {from} and cannot become {to}: {remedy}")]
    Forbidden {
        /// The key.
        id: String,
        /// Its state.
        from: State,
        /// The state that was asked for.
        to: State,
        /// What may be done.
        remedy: &'static str,
    },
    /// A key of the ring that signs no files.
    #[error(
        "key `{id}` is for {purpose} and {state}: files are signed by active checkpoint keys, which `indelible keys list` shows"
    )]
    SignsNoFiles {
        /// The key.
        id: String,
        /// What it serves for.
        purpose: Purpose,
        /// Its state.
        state: State,
    },
    /// No key of the ring has this id.
    #[error("the ring has no key `{id}`: `indelible keys list` shows those that it has")]
    Unknown {
        /// The id.
        id: String,
    },
    /// A key of this id or with these bytes is in the ring already.
    #[error("key `{id}` is in the ring already; nothing was changed")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// The ring has no key that is wanted.
    #[error(
        "the ring has no active key for {purpose} by `{algorithm}`: make one with `indelible keys generate --purpose … --activate`"
    )]
    NoActive {
        /// What for.
        purpose: Purpose,
        /// How.
        algorithm: String,
    },
    /// More checkpoint keys have to sign than there are.
    #[error(
        "{require} checkpoint keys have to sign, and the ring would have {keys} active: lower `require` first, or keep the key"
    )]
    Policy {
        /// How many have to sign.
        require: u32,
        /// How many there would be.
        keys: usize,
    },
    /// A reason that cannot be written down.
    #[error("the reason {detail}: say in one line why the key is withdrawn")]
    Reason {
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A cryptoperiod that policy has no room for.
    #[error(
        "a checkpoint key is to be active for {min} to {max} days, not {days}: auditors and witnesses pin it. Say so explicitly if it is meant"
    )]
    Cryptoperiod {
        /// What was asked for.
        days: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// The ring is wrapped already.
    #[error(
        "the key ring `{place}` is wrapped already: give it another master key with `indelible keys master change`"
    )]
    Wrapped {
        /// File.
        place: String,
    },
    /// The ring is wrapped, and no master key was given, or one of another kind.
    #[error(
        "the key ring `{place}` is wrapped under a master key that is had from {source_name}, and {given}: {remedy}"
    )]
    MasterMissing {
        /// File.
        place: String,
        /// Where it is had from.
        source_name: &'static str,
        /// What was given instead, if anything.
        given: String,
        /// How to give it.
        remedy: &'static str,
    },
    /// The master key is another one.
    #[error(
        "the master key from {given} does not unwrap the key ring `{place}`: it is another key or passphrase; nothing was changed"
    )]
    MasterWrong {
        /// File of the ring.
        place: String,
        /// Where the master key came from.
        given: String,
    },
    /// A master key was given for a ring that is not wrapped.
    #[error(
        "the key ring `{place}` is not wrapped, so the master key from {given} protects nothing: wrap it with `indelible keys master set`, or give none"
    )]
    NotWrapped {
        /// File of the ring.
        place: String,
        /// Where the master key came from.
        given: String,
    },
    /// What was given as a master key cannot be one.
    #[error("the master key from {given} cannot be used: {detail}")]
    MasterUnusable {
        /// Where it came from.
        given: String,
        /// Why, and what to do.
        detail: String,
    },
    /// The master key is right, and a key's ciphertext is not that key's: moved between keys, or damaged.
    #[error(
        "the wrapped secret of key `{id}` in `{place}` is not the one that was wrapped for it, though the master key is right: it was exchanged or damaged; restore the ring from your copy"
    )]
    Displaced {
        /// The key.
        id: String,
        /// File.
        place: String,
    },
    /// A ring would become longer than what is read.
    #[error(
        "the ring `{place}` would become longer than {bytes} bytes, and no program would read it: nothing was changed. Make a new ring for new logs, and let this one rest"
    )]
    RingFull {
        /// The file.
        place: String,
        /// The most that a ring may have.
        bytes: u64,
    },
    /// A key cannot be used.
    #[error("{what} cannot be used")]
    Invalid {
        /// Which.
        what: String,
    },
}
