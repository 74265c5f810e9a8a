//! Checkpoints: a tree head as C2SP tlog-checkpoint writes and signs it.
//!
//! The text of a checkpoint is three lines, origin, size and root hash; see <https://c2sp.org/tlog-checkpoint> and
//! `docs/format.md` section 4. We write no extension lines; those of other logs are kept so that a text reads back byte for
//! byte. Whether two checkpoints contradict each other is a matter of [`proof`](crate::proof), not of this module.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{KeySet, Note, NoteError, NoteSigner, VerifyingKey};
use crate::proof::parse_hash;
use crate::tree::{TreeHead, TreeSize, parse_decimal};

/// The longest name of a log, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 128;

/// Why a text is not a checkpoint, or not one to rely on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text is not that of a checkpoint.
    #[error("malformed checkpoint, line `{line}`: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The note is malformed, unsigned, or not signed by the key or enough keys of the set.
    #[error("the checkpoint's note does not verify")]
    Note(#[from] NoteError),
    /// A key signs checkpoints of the log that it is named for, and of no other.
    #[error("the checkpoint is of log `{found}`, the key of log `{expected}`")]
    OtherOrigin {
        /// The name of the key.
        expected: String,
        /// The origin in the checkpoint.
        found: String,
    },
    /// Extension lines are read but never signed.
    #[error("a checkpoint with `{count}` extension lines is not signed here; drop them")]
    Extensions {
        /// How many there are.
        count: usize,
    },
}

/// A tree head with the name of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// Size and root of its tree.
    pub head: TreeHead,
    /// Extension lines of a foreign log, without their newlines.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    #[must_use]
    pub fn new(origin: impl Into<String>, head: TreeHead) -> Self {
        Self { origin: origin.into(), head, extensions: Vec::new() }
    }

    /// Reads the text of a checkpoint, which is the text of its note without blank line and signatures.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Malformed`] with the line.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let mut number = 0;
        let mut next = || {
            number += 1;
            lines.next().filter(|line| !line.is_empty()).ok_or_else(|| malformed(number, "empty or missing"))
        };
        let origin = next()?.to_owned();
        let size = parse_decimal(next()?).ok_or_else(|| malformed(2, "the tree size is not a decimal number"))?;
        let root = parse_hash(next()?).ok_or_else(|| malformed(3, "the root is not 32 bytes of base64"))?;
        let mut extensions: Vec<_> = lines.map(str::to_owned).collect();
        // A text ends in a newline, so what stands after the last one is empty, and nothing else is.
        if extensions.pop().as_deref() != Some("") {
            return Err(malformed(extensions.len() + 4, "the last line has no newline"));
        }
        if let Some(empty) = extensions.iter().position(String::is_empty) {
            return Err(malformed(empty + 4, "empty"));
        }
        Ok(Self { origin, head: TreeHead { size: TreeSize(size), root }, extensions })
    }

    /// Signs the checkpoint. That it contradicts none that was signed before is for the caller to make sure of.
    ///
    /// # Errors
    ///
    /// Extension lines, an origin that would not read back, or what [`Note::sign`] refuses.
    pub fn sign(&self, signers: &[&dyn NoteSigner]) -> Result<Note, CheckpointError> {
        if !self.extensions.is_empty() {
            return Err(CheckpointError::Extensions { count: self.extensions.len() });
        }
        let text = self.to_string();
        if Self::parse(&text)? != *self {
            return Err(malformed(1, "the origin has a newline"));
        }
        Ok(Note::sign(text, signers)?)
    }

    /// Reads a signed checkpoint and verifies the signature of `key`; the key's name has to be the origin.
    ///
    /// # Errors
    ///
    /// The note's [`NoteError`], a malformed text, or another log's checkpoint.
    pub fn open(note: &[u8], key: &VerifyingKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        note.verify(key)?;
        Self::of_origin(&note, key.name())
    }

    /// Reads a signed checkpoint and verifies that it satisfies the policy of a set of keys; their name has to be the origin.
    ///
    /// # Errors
    ///
    /// The note's [`NoteError`], a malformed text, or another log's checkpoint.
    pub fn open_by(note: &[u8], set: &KeySet) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        set.verify(&note)?;
        Self::of_origin(&note, set.name())
    }

    /// The checkpoint in a note that was verified with keys of this name.
    fn of_origin(note: &Note, name: &str) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != name {
            return Err(CheckpointError::OtherOrigin { expected: name.to_owned(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.head.size, STANDARD.encode(self.head.root.0))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn malformed(line: usize, reason: &'static str) -> CheckpointError {
    CheckpointError::Malformed { line, reason }
}

/// The name of a log: `[A-Za-z0-9._~/:@-]{1,128}` (`docs/format.md` section 1).
///
/// The alphabet has no quote, backslash, space or plus, so an origin stands unescaped in entries, notes and keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

/// The text is not the name of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin; use 1 to 128 of the characters `A-Z a-z 0-9 . _ ~ / : @ -`")]
pub struct OriginError {
    /// What was given, with control characters escaped and cut to a readable length.
    text: String,
}

impl Origin {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn known(text: &str) -> bool {
        (1..=MAX_ORIGIN_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~/:@-".contains(&b))
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, OriginError> {
        if Self::known(&text) {
            return Ok(Self(text));
        }
        Err(OriginError { text: text.escape_debug().take(2 * MAX_ORIGIN_BYTES).collect() })
    }
}

impl TryFrom<&str> for Origin {
    type Error = OriginError;

    fn try_from(text: &str) -> Result<Self, OriginError> {
        Self::try_from(text.to_owned())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::try_from(text)
    }
}

impl AsRef<str> for Origin {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
