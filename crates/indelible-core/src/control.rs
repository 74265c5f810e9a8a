//! Control records: what the log says of itself. No API writes one on behalf of a caller.
//!
//! Those that excuse absence ([`Control::Explained`], [`Control::Pruned`]), change keys ([`Control::Keys`]) or sign again ([`Control::Resigned`]) carry
//! [`Authorisation`]s, checkpoint keys' signatures over record, log and index; without valid ones they count for nothing (`docs/format.md` section 6).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    history::KeysRecord,
    json,
    mac::{LogId, push_prefixed},
    note::{KeySet, NoteError, NoteSigner},
    tree::LeafIndex,
};

/// A control record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Entry 0.
    LogCreated(LogCreated),
    /// The clock moved by more than a second against the monotonic clock.
    ClockStep {
        /// What the clock would have read.
        from: String,
        /// What it reads.
        to: String,
        /// The difference in microseconds.
        step_us: i64,
    },
    /// Recovery cut a torn tail.
    Recovered {
        /// Name of the file under `aside/` that keeps the cut bytes.
        aside: String,
        /// How many bytes were cut.
        cut_bytes: u64,
        /// SHA-256 of the cut bytes, lower-case hexadecimal.
        cut_sha256: String,
        /// Tree size that was kept.
        size: u64,
    },
    /// The process ended uncleanly while bounded acknowledgements were open.
    BoundedGap {
        /// Tree size at recovery: what is missing was promised before this.
        since: u64,
    },
    /// A caller reports events that it had to drop.
    Gap {
        /// How many.
        count: u64,
        /// Why, in the caller's words.
        reason: String,
        /// Since when, where known.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        since: Option<String>,
    },
    /// Bodies are absent and that is accounted for.
    Explained(Excuse),
    /// Bodies were removed by policy.
    Pruned(Excuse),
    /// The keys of the log from its beginning on, and what changes here.
    Keys(KeysRecord),
    /// Entries carry second signatures, because the key that signed them was withdrawn.
    Resigned(Resigned),
}

/// A range of entries with second signatures, which are an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resigned {
    /// A checkpoint key's signature. `None` only while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<Authorisation>,
    /// First index.
    pub first: u64,
    /// Last index, inclusive.
    pub last: u64,
    /// RFC 6962 root over the leaf hashes of the range, lower-case hexadecimal.
    pub leaf_root: String,
    /// Id of the key that signed again.
    pub new_key: String,
    /// Id of the key that had signed.
    pub old_key: String,
    /// The signatures.
    pub overlay: Overlay,
    /// Why, in the operator's words.
    pub reason: String,
    /// Root of the checkpoint that the leaf hashes were checked against, lower-case hexadecimal.
    pub root: String,
    /// Its size.
    pub tree_size: u64,
}

/// The attachment that holds second signatures, 32 bytes for each entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// `sha256:` and 64 lower-case hexadecimal digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// The most entries that one [`Resigned`] record is about: an overlay of 32 MiB.
pub const MAX_RESIGNED: u64 = 1 << 20;

/// Entry 0: what the log is and how it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogCreated {
    /// Public keys that sign checkpoints, as vkeys.
    pub checkpoint_keys: Vec<String>,
    /// The first entry-signing key.
    pub entry_key: EntryKeyInfo,
    /// Format version.
    pub format: u32,
    /// Random id of the log, 32 lower-case hexadecimal digits.
    pub log_id: String,
    /// The log's unique name.
    pub origin: String,
    /// What a checkpoint must carry.
    pub policy: SignaturePolicy,
    /// The log that this one goes on from, after a restore.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
}

/// The public facts of an entry-signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryKeyInfo {
    /// `HMAC-SHA256` or `HMAC-SHA-512-256`.
    pub algorithm: String,
    /// Ordinal of the key in this log, from 1.
    pub epoch: u64,
    /// The key's id.
    pub id: String,
    /// Version in its key ring.
    pub version: u32,
}

/// Which signatures a checkpoint must carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignaturePolicy {
    /// Algorithms of the checkpoint keys, in their order.
    pub checkpoint_algorithms: Vec<String>,
    /// `all`, or how many of them.
    pub require: String,
}

/// The last that is known of the log before a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predecessor {
    /// Its last known checkpoint, a signed note.
    pub checkpoint: String,
    /// Its log id.
    pub log_id: String,
    /// Its origin.
    pub origin: String,
}

/// A range of bodies whose absence is accounted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excuse {
    /// A checkpoint key's signature. `None` only while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<Authorisation>,
    /// First index.
    pub first: u64,
    /// Last index, inclusive.
    pub last: u64,
    /// RFC 6962 root over the leaf hashes of the range, lower-case hexadecimal.
    pub leaf_root: String,
    /// Why, in the operator's words.
    pub reason: String,
}

/// Whose word a control record needs, of the checkpoint keys in force where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// None: it excuses nothing and changes nothing.
    Nobody,
    /// One of them.
    OneKey,
    /// As many as their policy requires.
    Policy,
}

/// Who authorised a control record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// The key, as a vkey.
    pub key: String,
    /// Its signature, base64.
    pub signature: String,
}

/// Why a control record is not in order.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The body is no control record that this version knows.
    #[error("not a control record that this version knows")]
    Parse(#[source] serde_json::Error),
    /// The record cannot be written canonically.
    #[error("the control record cannot be written")]
    Write(#[source] json::JsonError),
    /// The authorising key failed to sign.
    #[error("the control record cannot be authorised")]
    Sign(#[source] NoteError),
    /// The record excuses something and nobody authorised it.
    #[error("the record carries no authorisation")]
    Unauthorised,
    /// The authorisation names a key that is none of the log's checkpoint keys there.
    #[error("the authorisation names `{0}`, which is none of the checkpoint keys in force at this entry")]
    UnknownKey(String),
    /// Fewer keys authorised it than their policy requires.
    #[error("{found} of the checkpoint keys in force authorised it, {required} have to")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many have to.
        required: usize,
    },
    /// One key authorised it more than once; different ones have to.
    #[error("`{0}` authorised it twice, different checkpoint keys have to")]
    Twice(String),
    /// The signature does not verify over this record at this place.
    #[error("the authorisation's signature does not fit this record, log and index")]
    BadSignature,
}

/// A member that may be left out, and is of its type where it is there: `null` is none of a record's.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Control {
    /// Reads a control record from a canonical body.
    ///
    /// # Errors
    /// [`ControlError::Parse`].
    pub fn parse(body: &[u8]) -> Result<Self, ControlError> {
        serde_json::from_slice(body).map_err(ControlError::Parse)
    }

    /// The canonical body.
    ///
    /// # Errors
    /// [`ControlError::Write`] where a number in it has no exact form.
    pub fn canonical(&self) -> Result<Vec<u8>, ControlError> {
        let text = serde_json::to_vec(self).map_err(ControlError::Parse)?;
        json::canonicalise(&text).map_err(ControlError::Write)
    }

    /// Who has to authorise a record. Exhaustive: whoever adds a record has to say.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        match self {
            Self::LogCreated(_)
            | Self::ClockStep { .. }
            | Self::Recovered { .. }
            | Self::BoundedGap { .. }
            | Self::Gap { .. } => Authority::Nobody,
            Self::Explained(_) | Self::Pruned(_) | Self::Resigned(_) => Authority::OneKey,
            Self::Keys(_) => Authority::Policy,
        }
    }

    /// What authorises a record of [`Authority::OneKey`].
    fn authorisation(&self) -> Option<&Authorisation> {
        match self {
            Self::Explained(excuse) | Self::Pruned(excuse) => excuse.authorisation.as_ref(),
            Self::Resigned(resigned) => resigned.authorisation.as_ref(),
            _ => None,
        }
    }

    fn authorisations(&self) -> Vec<&Authorisation> {
        match self {
            Self::Keys(record) => record.authorisations.iter().collect(),
            control => control.authorisation().into_iter().collect(),
        }
    }

    fn set_authorisations(&mut self, authorisations: Vec<Authorisation>) {
        match self {
            Self::Explained(excuse) | Self::Pruned(excuse) => excuse.authorisation = authorisations.into_iter().next(),
            Self::Resigned(resigned) => resigned.authorisation = authorisations.into_iter().next(),
            Self::Keys(record) => record.authorisations = authorisations,
            _ => {}
        }
    }

    /// Signs a record that needs authority for its place in the log, with one key. Other records pass through.
    ///
    /// # Errors
    /// [`ControlError::Sign`], [`ControlError::Write`].
    pub fn authorise(
        self,
        log_id: LogId,
        origin: &str,
        index: LeafIndex,
        signer: &dyn NoteSigner,
    ) -> Result<Self, ControlError> {
        self.authorise_by(log_id, origin, index, &[signer])
    }

    /// The same with several keys, for records that have room for them.
    ///
    /// # Errors
    /// [`ControlError::Sign`], [`ControlError::Write`].
    pub fn authorise_by(
        mut self,
        log_id: LogId,
        origin: &str,
        index: LeafIndex,
        signers: &[&dyn NoteSigner],
    ) -> Result<Self, ControlError> {
        if self.authority() == Authority::Nobody {
            return Ok(self);
        }
        let message = self.authorised_message(log_id, origin, index)?;
        let signed = signers.iter().map(|signer| {
            let signature = signer.sign(&message).map_err(ControlError::Sign)?;
            Ok(Authorisation { key: signer.verifying_key().to_string(), signature: STANDARD.encode(signature) })
        });
        let signed = signed.collect::<Result<Vec<_>, ControlError>>()?;
        self.set_authorisations(signed);
        Ok(self)
    }

    /// Checks the authority of a record at its place, against the checkpoint keys in force there: one of them, or as many as their policy requires
    /// for [`Control::Keys`]. Records that need none pass.
    ///
    /// # Errors
    /// [`ControlError::Unauthorised`], [`ControlError::UnknownKey`], [`ControlError::BadSignature`], [`ControlError::Twice`], [`ControlError::TooFew`].
    pub fn verify_authorisations(
        &self,
        log_id: LogId,
        origin: &str,
        index: LeafIndex,
        set: &KeySet,
    ) -> Result<(), ControlError> {
        let required = match self.authority() {
            Authority::Nobody => return Ok(()),
            Authority::OneKey => 1,
            Authority::Policy => set.needed(),
        };
        let authorisations = self.authorisations();
        if authorisations.is_empty() {
            return Err(ControlError::Unauthorised);
        }
        // Whose they are first: what strangers signed costs no message of 64,000 bytes.
        let known: Vec<(String, _)> = set.keys().iter().map(|key| (key.to_string(), key)).collect();
        let key_of = |authorisation: &&Authorisation| {
            let key = known.iter().find(|(name, _)| *name == authorisation.key).map(|(_, key)| *key);
            key.ok_or_else(|| ControlError::UnknownKey(authorisation.key.clone()))
        };
        let keys = authorisations.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
        let message = self.authorised_message(log_id, origin, index)?;
        let mut by: Vec<&str> = Vec::new();
        for (authorisation, key) in authorisations.into_iter().zip(keys) {
            let signature = STANDARD.decode(&authorisation.signature).map_err(|_| ControlError::BadSignature)?;
            if !key.verify(&message, &signature) {
                return Err(ControlError::BadSignature);
            }
            if by.contains(&authorisation.key.as_str()) {
                return Err(ControlError::Twice(authorisation.key.clone()));
            }
            by.push(&authorisation.key);
        }
        if by.len() < required {
            return Err(ControlError::TooFew { found: by.len(), required });
        }
        Ok(())
    }

    fn authorised_message(&self, log_id: LogId, origin: &str, index: LeafIndex) -> Result<Vec<u8>, ControlError> {
        let mut bare = self.clone();
        bare.set_authorisations(Vec::new());
        let mut message = Vec::new();
        push_prefixed(&mut message, b"indelible/v1/authorise");
        push_prefixed(&mut message, origin.as_bytes());
        message.extend_from_slice(&log_id.0);
        message.extend_from_slice(&index.0.to_be_bytes());
        push_prefixed(&mut message, &bare.canonical()?);
        Ok(message)
    }
}
