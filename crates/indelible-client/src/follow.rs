//! What is verified, and against what.
//!
//! | what | against |
//! |---|---|
//! | a checkpoint | a public key of the log that the caller trusts, and the checkpoint that was seen before |
//! | a receipt | the signed tree: its leaf hash stands at its index |
//! | an entry | the bytes that were sent, and the signed tree |
//!
//! The server is trusted for none of it. A checkpoint that contradicts the one seen before is told as *rolled back* or *forked*, with both notes: they are evidence, and worth
//! keeping. Keys that changed are followed by the links of a bundle, which takes a key of ours with `prove`.

use std::collections::HashMap;

use indelible::{
    LogError, Receipt,
    error::chain,
    links::{is_other_key, open_linked},
};
use indelible_core::{
    checkpoint::Checkpoint,
    entry::EntryRef,
    note::VerifyingKey,
    proof::ProofError,
    tree::{LeafIndex, TreeHead, TreeSize},
};
use thiserror::Error;

use crate::{error::ClientError, event::Prepared, log::LogClient, memory::Memory, memory::MemoryError, tiles::Tiles};

/// Why what the server showed was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FollowError {
    /// It did not come to verifying.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was seen before cannot be read or kept.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The checkpoint is not one of the log's keys, or the bundle does not hold.
    #[error("what the server shows does not verify under the public key that was given")]
    Signature(#[source] Box<LogError>),
    /// The log is behind what was seen of it.
    #[error(
        "rolled back: a checkpoint over {known} entries was seen, and the server shows one over {shown}; keep both, and have the log verified"
    )]
    RolledBack {
        /// How far it was.
        known: TreeSize,
        /// How far it is said to be.
        shown: TreeSize,
        /// The checkpoint that was seen before.
        known_note: String,
        /// The one that is shown.
        shown_note: String,
    },
    /// Two signed checkpoints of which one cannot have grown from the other.
    #[error(
        "forked: the checkpoint over {known} entries that was seen is no beginning of the one over {shown} that the server shows, though the log's keys signed both; keep both"
    )]
    Forked {
        /// How far the one is.
        known: TreeSize,
        /// How far the other is.
        shown: TreeSize,
        /// The checkpoint that was seen before.
        known_note: String,
        /// The one that is shown.
        shown_note: String,
    },
    /// The hashes that the server gives do not lead to what was signed.
    #[error("the server does not show that {what}")]
    Unproven {
        /// What was to be shown.
        what: String,
        /// Why.
        #[source]
        source: ProofError,
    },
    /// The receipt speaks of what no checkpoint covers yet.
    #[error("entry {index} is not covered by the checkpoint over {size} entries yet: try again in a moment")]
    NotCovered {
        /// The entry.
        index: LeafIndex,
        /// How far the checkpoint is.
        size: TreeSize,
    },
    /// What is recorded is not what was sent.
    #[error("entry {index} is not what was sent: {detail}; keep the receipt")]
    NotWhatWasSent {
        /// The entry.
        index: LeafIndex,
        /// What about it.
        detail: String,
    },
}

impl FollowError {
    /// Whether it is evidence against the log or the server, and not a failure to look.
    #[must_use]
    pub fn is_evidence(&self) -> bool {
        match self {
            Self::Signature(error) => !is_other_key(error),
            Self::RolledBack { .. } | Self::Forked { .. } | Self::Unproven { .. } | Self::NotWhatWasSent { .. } => true,
            Self::Client(_) | Self::Memory(_) | Self::NotCovered { .. } => false,
        }
    }
}

/// A checkpoint that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The signed note.
    pub note: String,
    /// Size and root.
    pub head: TreeHead,
}

impl LogClient {
    /// Verifies the newest checkpoint under a public key, and that it continues the one that `memory` keeps; then keeps it.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn follow(&self, key: &VerifyingKey, memory: &Memory) -> Result<Followed, FollowError> {
        let known = memory.load(key)?;
        let followed = self.follow_from(key, known.as_deref()).await?;
        memory.keep(key, &followed.note)?;
        Ok(followed)
    }

    /// The same with a checkpoint that the caller keeps, or none.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn follow_from(&self, key: &VerifyingKey, known: Option<&str>) -> Result<Followed, FollowError> {
        let note = self.checkpoint().await?;
        let shown = Followed { head: self.open_note(&note, key).await?.head, note };
        if let Some(known) = known {
            let known = Followed { head: self.open_note(known, key).await?.head, note: known.to_owned() };
            self.continues(&known, &shown).await?;
        }
        Ok(shown)
    }

    /// Verifies that the log of one checkpoint is the beginning of that of another.
    ///
    /// # Errors
    /// [`FollowError::RolledBack`], [`FollowError::Forked`], [`FollowError::Unproven`], [`FollowError::Client`].
    pub async fn continues(&self, known: &Followed, shown: &Followed) -> Result<(), FollowError> {
        let (old, new) = (known.head, shown.head);
        let forked = || FollowError::Forked {
            known: old.size,
            shown: new.size,
            known_note: known.note.clone(),
            shown_note: shown.note.clone(),
        };
        if new.size < old.size {
            let (known_note, shown_note) = (known.note.clone(), shown.note.clone());
            return Err(FollowError::RolledBack { known: old.size, shown: new.size, known_note, shown_note });
        }
        if new.size == old.size {
            return if new.root == old.root { Ok(()) } else { Err(forked()) };
        }
        if old.size.0 == 0 {
            return Ok(());
        }
        let proof = Tiles::new(self, new.size).consistency(old.size).await?;
        match proof.verify(&old, &new) {
            Ok(()) => Ok(()),
            Err(source) => {
                // Hashes that lead to the new root are the new tree's: then its beginning is another than the old tree, and that is proven.
                let elsewhere = match &source {
                    ProofError::OldRootMismatch { found, .. } => Some(TreeHead { root: *found, ..old }),
                    _ => None,
                };
                if elsewhere.is_some_and(|other| proof.verify(&other, &new).is_ok()) {
                    return Err(forked());
                }
                let what = format!("the log of {} entries is the beginning of that of {}", old.size, new.size);
                Err(FollowError::Unproven { what, source })
            }
        }
    }

    /// Opens a checkpoint, over changes of keys where there were any.
    async fn open_note(&self, note: &str, key: &VerifyingKey) -> Result<Checkpoint, FollowError> {
        let error = match Checkpoint::open(note.as_bytes(), key) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => LogError::from(error),
        };
        if !is_other_key(&error) {
            return Err(FollowError::Signature(Box::new(error)));
        }
        let Ok(bundle) = self.proof(LeafIndex(0)).await else { return Err(FollowError::Signature(Box::new(error))) };
        open_linked(note, key, &bundle.keys).map_err(|error| FollowError::Signature(Box::new(error)))
    }

    /// Verifies that receipts are of entries in the tree of a checkpoint. That takes the verb `head` alone.
    ///
    /// # Errors
    /// The first that does not hold: [`FollowError::NotWhatWasSent`] where two events have one entry, [`FollowError::NotCovered`], [`FollowError::Unproven`], [`FollowError::Client`].
    pub async fn verify_receipts(&self, receipts: &[Receipt], under: &Followed) -> Result<(), FollowError> {
        let mut tiles = Tiles::new(self, under.head.size);
        let mut places: HashMap<LeafIndex, &str> = HashMap::with_capacity(receipts.len());
        for receipt in receipts {
            let index = receipt.index;
            let id = *places.entry(index).or_insert(&receipt.id);
            if id != receipt.id {
                let detail = format!("there are receipts of it for two events, `{id}` and `{}`", receipt.id);
                return Err(FollowError::NotWhatWasSent { index, detail });
            }
            if index.0 >= under.head.size.0 {
                return Err(FollowError::NotCovered { index, size: under.head.size });
            }
            let proof = tiles.inclusion(index).await?;
            proof.verify(&receipt.leaf, &under.head).map_err(|source| FollowError::Unproven {
                what: format!("the receipt of entry {index} is of what the signed tree has there"),
                source,
            })?;
        }
        Ok(())
    }

    /// Verifies that an entry is what was sent, byte for byte, that it has the receipt's hash, and that this stands in the tree of a checkpoint. That takes `read` too.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn verify_recorded(
        &self,
        sent: &Prepared,
        receipt: &Receipt,
        under: &Followed,
    ) -> Result<(), FollowError> {
        let index = receipt.index;
        let stored = self.entry(index).await?;
        let wrong = |detail: &str| FollowError::NotWhatWasSent { index, detail: detail.to_owned() };
        if stored.leaf != receipt.leaf {
            return Err(wrong("its hash is not that of the receipt"));
        }
        let entry = EntryRef::parse(&stored.bytes).map_err(|error| wrong(&chain(&error)))?;
        if entry.index != index || entry.log != self.origin().as_str() {
            return Err(wrong("it says itself to be another entry"));
        }
        if entry.body != sent.bytes() {
            return Err(wrong("the event in it is another"));
        }
        self.verify_receipts(std::slice::from_ref(receipt), under).await
    }
}
