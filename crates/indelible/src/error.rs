//! What can go wrong with a log. Each says what happened, where, and what to do.

use std::sync::Arc;

use indelible_core::{checkpoint::CheckpointError, control::ControlError, event::EventError, proof::ProofError};
use indelible_keys::KeyError;
use indelible_store::{heads::HeadStoreError, store::StoreError};
use thiserror::Error;

/// Why an event was not recorded, or not known to be.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The event is not in order. Nothing was recorded.
    #[error("the event was refused")]
    Event(#[source] EventError),
    /// The id is in the log with other content. Nothing was recorded.
    #[error(
        "id `{id}` was recorded before, as entry {index}, with other content: give this event an id of its own, or none"
    )]
    IdConflict {
        /// The id.
        id: String,
        /// Where it stands.
        index: u64,
    },
    /// The event names an attachment that the log does not hold. Nothing was recorded.
    #[error(
        "event `{id}` names the attachment `{digest}`, which the log does not hold: put it first with `indelible attach FILE`"
    )]
    AttachmentMissing {
        /// As the event names it.
        digest: String,
        /// The event's id.
        id: String,
    },
    /// The event gives an attachment another size than the stored one has. Nothing was recorded.
    #[error(
        "event `{id}` says that the attachment `{digest}` has {said} bytes, the stored one has {stored}: give the size that `indelible attach FILE` prints"
    )]
    AttachmentSize {
        /// As the event names it.
        digest: String,
        /// The event's id.
        id: String,
        /// Bytes by the event.
        said: u64,
        /// Bytes that are stored.
        stored: u64,
    },
    /// Reading failed, or gave what is wrong, where the event had to be compared with what is stored. Nothing was recorded.
    #[error(
        "whether {what} is stored could not be told, and nothing was recorded now: send it once more with the same id"
    )]
    Unknown {
        /// The event by its id, or what it names.
        what: String,
        /// What went wrong.
        #[source]
        source: Arc<LogError>,
    },
    /// The queue is full and the log was asked to refuse. Nothing was recorded.
    #[error("the log's queue is full ({events} events): try again, or open the log so that callers wait")]
    Full {
        /// How many events are waiting.
        events: usize,
    },
    /// The log was closed. Nothing was recorded.
    #[error("the log is closed")]
    Closed,
    /// An earlier failure ended writing: whether this event is durable is known when the log is opened again.
    #[error(
        "the log cannot be written to: {why}; mend the cause and open the log again; send the event once more with the same id"
    )]
    Failed {
        /// The failure.
        why: String,
    },
    /// Writing this event failed: whether it is durable is known when the log is opened again.
    #[error("the event could not be made durable; send it once more with the same id when the log is open again")]
    Store(#[source] Arc<StoreError>),
    /// A bounded acknowledgement was not made good in time. The event may still have been recorded, late.
    #[error("the event was not durable within {limit_ms} ms after its bounded acknowledgement")]
    DeadlineMissed {
        /// The limit.
        limit_ms: u64,
    },
    /// A record of the log's own could not be made. Nothing was recorded.
    #[error("the record could not be made, and nothing was recorded")]
    Record(#[source] Arc<LogError>),
    /// The event is durable, but no checkpoint over it could be published.
    #[error("the event is recorded, but no checkpoint over it could be published: {why}")]
    NotAnchored {
        /// The failure.
        why: String,
    },
}

impl AppendError {
    /// A control record could not be made.
    pub(crate) fn record(error: LogError) -> Self {
        Self::Record(Arc::new(error))
    }

    /// Reading what an event has to be compared with went wrong.
    pub(crate) fn unknown(what: String, source: impl Into<LogError>) -> Self {
        Self::Unknown { what, source: Arc::new(source.into()) }
    }

    /// Whether the event itself is at fault, and not the log: another try would end the same way. Nothing was recorded then.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Event(_) | Self::IdConflict { .. } | Self::AttachmentMissing { .. } | Self::AttachmentSize { .. }
        )
    }
}

/// Why a log could not be created, opened, read or checkpointed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The head store.
    #[error(transparent)]
    Heads(#[from] HeadStoreError),
    /// A checkpoint.
    #[error("a checkpoint cannot be made or read")]
    Checkpoint(#[from] CheckpointError),
    /// A control record.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A proof.
    #[error("the proof does not hold")]
    Proof(#[from] ProofError),
    /// The log was frozen: it is read and verified, and never written again.
    #[error(
        "`{origin}` was frozen ({reason}): it can be read and verified, and nothing is written to it any more; go on under a new name with `indelible log succeed`"
    )]
    Frozen {
        /// The log.
        origin: String,
        /// Why.
        reason: String,
    },
    /// An origin that a log cannot have.
    #[error(
        "`{origin}` is no origin: use 1 to 128 of `A-Z a-z 0-9 . _ ~ / : @ -`, best a name that you own, like `example.com/audit`"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
    /// The head store has no record of this log.
    #[error(
        "the head store has no record of `{origin}` at `{place}`: without it a rolled-back log cannot be told from a whole one, so nothing is written; restore that file, or go on under a new name with `indelible log succeed`"
    )]
    HeadMissing {
        /// The log.
        origin: String,
        /// Where the record should be.
        place: String,
    },
    /// The head store already knows a log of this name.
    #[error(
        "these keys have signed a log `{origin}` already (`{place}`): a log's name is unique; choose another origin, or go on from the old log with `indelible log succeed`, where that log is gone with `--lost {origin}`"
    )]
    OriginTaken {
        /// The name.
        origin: String,
        /// Where the record is.
        place: String,
    },
    /// The head record is about another log.
    #[error(
        "the log at hand is not the one whose head is at `{place}`: it was replaced, or the keys are of another log"
    )]
    OtherLog {
        /// Where the record is.
        place: String,
    },
    /// The head record is older than a checkpoint that the log's own keys signed.
    #[error(
        "the head record of `{origin}` at `{place}` covers {known} entries, and {what} by the log's own keys covers {size} or more: the record was put back from a copy, and the log had gone on; nothing was written, for a writer that goes on from an old record contradicts what it signed; put the newest record back, or run `indelible log repair`, which verifies the log and then moves the record forward"
    )]
    HeadPutBack {
        /// The log.
        origin: String,
        /// Where the record is.
        place: String,
        /// How many entries the record covers.
        known: indelible_core::tree::TreeSize,
        /// How many entries the other one covers, at least.
        size: indelible_core::tree::TreeSize,
        /// Which checkpoint that is.
        what: String,
    },
    /// The log is behind its newest head.
    #[error("entry {index}: {detail}; nothing was changed; run `indelible verify`")]
    Evidence {
        /// First index concerned.
        index: u64,
        /// What was found.
        detail: String,
    },
    /// An entry that says which keys are the log's is absent: nothing else has the authority to.
    #[error(
        "the body of entry {index} is absent, and it says which keys are right since then: nothing is written; put the file that it was in back from a copy, or go on under a new name with `indelible log succeed`; `indelible verify` still tells what is there"
    )]
    KeysAbsent {
        /// The entry.
        index: u64,
    },
    /// The ring has the entry key that the log is signed with, and not its secret any more.
    #[error(
        "the secret of entry key `{key}`, with which this log is signed, was destroyed: import it, or go on with `indelible log succeed`"
    )]
    SecretDestroyed {
        /// Id of the key.
        key: String,
    },
    /// A log that is being copied, or its copy, contradicts itself or the other.
    #[error(
        "entry {index}: {detail}; what was copied stays and is not to be used: run `indelible verify` on the source, and copy to another place"
    )]
    Copy {
        /// First index concerned.
        index: u64,
        /// What was found.
        detail: String,
    },
    /// An earlier failure ended writing.
    #[error("the log cannot be written to: {why}; mend the cause and open the log again")]
    Failed {
        /// The failure.
        why: String,
    },
    /// No entry carries this id.
    #[error("no entry has the id `{id}`")]
    NoSuchId {
        /// The id.
        id: String,
    },
    /// An append that a management command needs.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A file that is not what it should be.
    #[error("`{place}` cannot be read: {detail}")]
    Malformed {
        /// What.
        place: String,
        /// Why.
        detail: String,
    },
    /// What was asked for cannot be had.
    #[error("{0}")]
    Refused(String),
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
