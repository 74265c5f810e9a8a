//! Sets of checkpoint keys, and how many of them have to sign.

use std::fmt;
use std::str::FromStr;

use super::{Algorithm, KeyId, Note, NoteError, NoteSignature, VerifyingKey};

/// The most keys that a set may have.
pub const MAX_SET_KEYS: usize = 8;

/// How many keys of a set have to sign. It displays as `all` or the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Require {
    /// Each of them.
    #[default]
    All,
    /// So many of them, whichever.
    AtLeast(u32),
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::AtLeast(number) => number.fmt(f),
        }
    }
}

impl FromStr for Require {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let number = crate::tree::parse_decimal(text).and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) if number > 0 => Ok(Self::AtLeast(number)),
            _ => Err(NoteError::MalformedPolicy { text: text.escape_debug().take(64).collect() }),
        }
    }
}

/// The keys of a log's checkpoints with their policy (`docs/format.md` section 3).
///
/// One to eight keys, all of one name, none twice, at least one of them Ed25519.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    // INVARIANT(key-set): the rules above hold, and `require` asks for 1 to as many as there are.
    keys: Vec<VerifyingKey>,
    require: Require,
}

impl KeySet {
    /// The set of these keys.
    ///
    /// # Errors
    ///
    /// [`NoteError::KeySet`] with the rule that they break.
    pub fn new(keys: Vec<VerifyingKey>, require: Require) -> Result<Self, NoteError> {
        let refuse = |reason| Err(NoteError::KeySet { reason });
        if !(1..=MAX_SET_KEYS).contains(&keys.len()) {
            return refuse("a set has 1 to 8 keys");
        }
        if !keys.iter().any(|key| key.algorithm() == Algorithm::Ed25519) {
            return refuse("one of them has to be `ed25519`");
        }
        if keys.windows(2).any(|pair| matches!(pair, [a, b] if a.name() != b.name())) {
            return refuse("they are named by different origins");
        }
        // Signature lines name keys by their hashes, so two keys with one hash would be one too.
        if keys.iter().enumerate().any(|(at, key)| keys.iter().skip(at + 1).any(|other| other.id() == key.id())) {
            return refuse("a key is there twice");
        }
        match require {
            Require::AtLeast(0) => refuse("at least one key has to sign"),
            Require::AtLeast(number) if usize::try_from(number).is_ok_and(|number| number > keys.len()) => {
                refuse("more of them have to sign than there are")
            }
            _ => Ok(Self { keys, require }),
        }
    }

    /// The keys, in the order of the set.
    #[must_use]
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// The policy.
    #[must_use]
    pub fn require(&self) -> Require {
        self.require
    }

    /// How many of the keys have to sign.
    #[must_use]
    pub fn needed(&self) -> usize {
        match self.require {
            Require::All => self.keys.len(),
            Require::AtLeast(number) => usize::try_from(number).unwrap_or(usize::MAX),
        }
    }

    /// The name of all the keys: the origin of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keys.first().map_or("", VerifyingKey::name)
    }

    /// The key of the set that a signature names.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.key_hash() == id.key_hash && key.name() == id.name)
    }

    /// Verifies that as many keys as the policy requires signed the note. Signatures by keys of others are passed over; each
    /// one by a key of the set has to be right.
    ///
    /// # Errors
    ///
    /// [`NoteError::BadSignature`] or [`NoteError::TooFewSignatures`].
    pub fn verify(&self, note: &Note) -> Result<(), NoteError> {
        let mut signed: Vec<KeyId> = Vec::new();
        for line in note.signatures() {
            let id = line.key_id();
            let Some(key) = self.get(&id) else { continue };
            if !key.verify_note(note.text(), &line.signature) {
                return Err(NoteError::BadSignature { key: id });
            }
            if !signed.contains(&id) {
                signed.push(id);
            }
        }
        if signed.len() >= self.needed() {
            return Ok(());
        }
        let missing = self.keys.iter().map(VerifyingKey::id).filter(|id| !signed.contains(id)).collect();
        let present = note.signatures().iter().map(NoteSignature::key_id).collect();
        Err(NoteError::TooFewSignatures { require: self.require, signed, missing, present })
    }
}
