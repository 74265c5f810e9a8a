//! C2SP signed notes: a text with signatures, and the keys that verify them.
//!
//! A note is a text that ends in a newline, an empty line, and lines `— <key name> <base64>`, each of which holds the four
//! bytes of a key hash and a signature (<https://c2sp.org/signed-note>; `docs/format.md` sections 3 and 4). Signatures are
//! over the text, those of ML-DSA-44 over what it says as a checkpoint. Private keys are elsewhere; they come in as a
//! [`NoteSigner`].

mod cosigned;
mod error;
mod key;
mod set;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use cosigned::cosigned_message;
pub use error::NoteError;
pub use key::{Algorithm, KeyId, VerifyingKey};
pub use set::{KeySet, MAX_SET_KEYS, Require};

/// The longest note that is read.
pub const MAX_NOTE_BYTES: usize = 1024 * 1024;

/// The most signatures that a note may bear. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Something that signs notes with one key: a key in memory, or one in a device.
pub trait NoteSigner: Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> &VerifyingKey;

    /// Signs a message as it stands.
    ///
    /// # Errors
    ///
    /// [`NoteError::Signer`] with what keeps it from signing.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError>;

    /// Signs the text of a note. A signer whose algorithm signs something else than the text has one of its own.
    ///
    /// # Errors
    ///
    /// [`NoteError::Signer`] with what keeps it from signing.
    fn sign_note(&self, text: &str) -> Result<Vec<u8>, NoteError> {
        self.sign(text.as_bytes())
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// First four bytes of the hash of the key.
    pub key_hash: [u8; 4],
    /// The signature.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Name and hash together.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId { name: self.name.clone(), key_hash: self.key_hash }
    }

    /// Reads a line without its newline.
    fn parse(line: &str) -> Option<Self> {
        let (name, data) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let data = STANDARD.decode(data).ok()?;
        let (key_hash, signature) = data.split_first_chunk::<4>()?;
        let whole = key::is_key_name(name) && !signature.is_empty();
        whole.then(|| Self { name: name.to_owned(), key_hash: *key_hash, signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = [self.key_hash.as_slice(), &self.signature].concat();
        write!(f, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode(data))
    }
}

/// A text with at least one signature. Parsing verifies nothing: [`verify`](Self::verify) comes before relying on the text.
///
/// It displays as the exact bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a signed note of at most [`MAX_NOTE_BYTES`] with at most [`MAX_SIGNATURES`].
    ///
    /// # Errors
    ///
    /// [`NoteError::Malformed`], or [`NoteError::Unsigned`] where no line is a signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(malformed("longer than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        if has_control(note) {
            return Err(malformed("has control characters"));
        }
        if !note.lines().any(|line| line.starts_with(SIGNATURE_PREFIX)) {
            return Err(NoteError::Unsigned);
        }
        // The text ends with the first newline of the last empty line, and has it.
        let split = note.rfind("\n\n").ok_or(malformed("no empty line before the signatures"))?;
        let (text, block) = note.split_at(split + 1);
        let block = block.strip_prefix('\n').unwrap_or_default();
        if block.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let lines = block.strip_suffix('\n').ok_or(malformed("the last line has no newline"))?;
        if lines.split('\n').count() > MAX_SIGNATURES {
            return Err(malformed("more than 100 signatures"));
        }
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Option<_>>();
        let signatures = signatures.ok_or(malformed("a line after the text is not a signature"))?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Signs a text with each of the signers, in order. Each signature is verified before it is given out.
    ///
    /// # Errors
    ///
    /// A text that would not read back, no signer or too many, a signer that fails, or whose key its signature does not
    /// verify with.
    pub fn sign(text: String, signers: &[&dyn NoteSigner]) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || has_control(&text) {
            return Err(malformed("the text does not end in a newline or has control characters"));
        }
        if signers.is_empty() {
            return Err(NoteError::Unsigned);
        }
        let signatures = signers.iter().map(|signer| signature(&text, *signer)).collect::<Result<Vec<_>, _>>()?;
        let note = Self { text, signatures };
        if signers.len() > MAX_SIGNATURES || note.to_string().len() > MAX_NOTE_BYTES {
            return Err(malformed("more than 100 signatures, or longer than 1 MiB"));
        }
        Ok(note)
    }

    /// The text, its last newline included. Nobody vouches for it before [`verify`](Self::verify) succeeds.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in the order of the note.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Verifies that `key` signed the text. Signatures by other keys are passed over; each one by this key has to be right.
    ///
    /// # Errors
    ///
    /// [`NoteError::NoKnownSignature`] or [`NoteError::BadSignature`].
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), NoteError> {
        let wanted = key.id();
        let mut by_key =
            self.signatures.iter().filter(|s| s.name == wanted.name && s.key_hash == wanted.key_hash).peekable();
        if by_key.peek().is_none() {
            let present = self.signatures.iter().map(NoteSignature::key_id).collect();
            return Err(NoteError::NoKnownSignature { wanted, present });
        }
        if by_key.all(|s| key.verify_note(&self.text, &s.signature)) {
            Ok(())
        } else {
            Err(NoteError::BadSignature { key: wanted })
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

fn signature(text: &str, signer: &dyn NoteSigner) -> Result<NoteSignature, NoteError> {
    let key = signer.verifying_key();
    let signature = signer.sign_note(text)?;
    if !key.verify_note(text, &signature) {
        return Err(NoteError::BadSignature { key: key.id() });
    }
    Ok(NoteSignature { name: key.name().to_owned(), key_hash: key.key_hash(), signature })
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < b' ' && b != b'\n')
}

fn malformed(reason: &'static str) -> NoteError {
    NoteError::Malformed { reason }
}
