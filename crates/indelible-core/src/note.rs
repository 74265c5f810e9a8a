//! C2SP signed notes: a text with signatures, and the keys that verify them.
//!
//! A note is a text that ends in a newline, an empty line, and lines `— <key name> <base64>`, each of which holds the four
//! bytes of a key hash and a signature over the text (<https://c2sp.org/signed-note>; `docs/format.md` sections 3 and 4).
//! The only algorithm is Ed25519, type `0x01`. Private keys are elsewhere; they come in as a [`NoteSigner`].

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The longest note that is read.
pub const MAX_NOTE_BYTES: usize = 1024 * 1024;

/// The most signatures that a note may bear. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// Type byte of Ed25519 in key texts and key hashes.
const ALGORITHM_ED25519: u8 = 0x01;

/// What a signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The bytes are not a note.
    #[error("malformed note: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no signature at all.
    #[error("the note is not signed")]
    Unsigned,
    /// None of the signatures is by the key that was asked for.
    #[error("the note has no signature by `{wanted}`; it has {}", list(.present))]
    NoKnownSignature {
        /// The key that was asked for.
        wanted: KeyId,
        /// The keys that signatures are by, as the note says.
        present: Vec<KeyId>,
    },
    /// The signature names the key and does not verify with it.
    #[error("the signature by `{key}` is wrong: the text was altered or another key made it")]
    BadSignature {
        /// The key.
        key: KeyId,
    },
    /// The text is not a key.
    #[error("malformed key: {reason}; the form is `<name>+<hash>+<base64>`")]
    MalformedKey {
        /// What is wrong.
        reason: &'static str,
    },
    /// The key is of an algorithm that is not known here.
    #[error("key `{name}` is of type `{algorithm:#04x}`; only Ed25519 (`0x01`) is known here")]
    OtherAlgorithm {
        /// Name of the key.
        name: String,
        /// The type byte.
        algorithm: u8,
    },
    /// The signer failed.
    #[error("could not sign with key `{key}`")]
    Signer {
        /// The key.
        key: KeyId,
        /// What the signer says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// What a signature says of its key: name and hash. It displays as `<name>+<hash>`, the beginning of the key's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// Name of the key.
    pub name: String,
    /// First four bytes of the hash of name, type and key.
    pub key_hash: [u8; 4],
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.name, crate::hex::encode(&self.key_hash))
    }
}

/// A named public key that verifies notes. It displays as its text, the *vkey*.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifyingKey {
    name: String,
    key_hash: [u8; 4],
    public: [u8; 32],
}

impl VerifyingKey {
    /// An Ed25519 key (RFC 8032) with its name.
    ///
    /// # Errors
    ///
    /// A name that is empty or has a space, a plus or a control character.
    pub fn ed25519(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::MalformedKey { reason: "the name is empty or has a space or a plus" });
        }
        Ok(Self { name: name.to_owned(), key_hash: key_hash(name, ALGORITHM_ED25519, &public), public })
    }

    /// Reads a key's text, `<name>+<hash, 8 hex>+<base64 of type and key>`.
    ///
    /// # Errors
    ///
    /// Malformed text, a hash that is not the key's, or an algorithm other than Ed25519.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = |reason| NoteError::MalformedKey { reason };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed("a part is missing"));
        };
        let hash = crate::hex::decode::<4>(hash.as_bytes()).ok_or(malformed("the hash is not 8 hex digits"))?;
        let data = STANDARD.decode(data).map_err(|_| malformed("the key is not base64"))?;
        let (algorithm, public) = data.split_first().ok_or(malformed("the key is empty"))?;
        if !is_key_name(name) {
            return Err(malformed("the name is empty or has a space"));
        }
        if *algorithm != ALGORITHM_ED25519 {
            return Err(NoteError::OtherAlgorithm { name: name.to_owned(), algorithm: *algorithm });
        }
        let public = public.try_into().map_err(|_| malformed("an Ed25519 key has 32 bytes"))?;
        let key = Self::ed25519(name, public)?;
        if key.key_hash == hash { Ok(key) } else { Err(malformed("the hash is not that of the key")) }
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of `SHA-256(name ‖ "\n" ‖ 0x01 ‖ key)`.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 4] {
        self.key_hash
    }

    /// Name and hash together.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId { name: self.name.clone(), key_hash: self.key_hash }
    }

    /// The key itself, as RFC 8032 encodes it.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// Whether the signature over the message is by this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![ALGORITHM_ED25519];
        data.extend(self.public);
        write!(f, "{}+{}", self.id(), STANDARD.encode(data))
    }
}

impl std::str::FromStr for VerifyingKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::parse(text)
    }
}

fn key_hash(name: &str, algorithm: u8, public: &[u8]) -> [u8; 4] {
    let digest = Sha256::new_with_prefix(name).chain_update([b'\n', algorithm]).chain_update(public).finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
    [a, b, c, d]
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace() || c < ' ')
}

/// Something that signs notes with one key: a key in memory, or one in a device.
pub trait NoteSigner: Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> &VerifyingKey;

    /// Signs the text of a note.
    ///
    /// # Errors
    ///
    /// [`NoteError::Signer`] with what keeps it from signing.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError>;
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// First four bytes of the hash of the key.
    pub key_hash: [u8; 4],
    /// The signature over the text.
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
        let whole = is_key_name(name) && !signature.is_empty();
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
        if by_key.all(|s| key.verify(self.text.as_bytes(), &s.signature)) {
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
    let signature = signer.sign(text.as_bytes())?;
    if !key.verify(text.as_bytes(), &signature) {
        return Err(NoteError::BadSignature { key: key.id() });
    }
    Ok(NoteSignature { name: key.name.clone(), key_hash: key.key_hash, signature })
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < b' ' && b != b'\n')
}

fn malformed(reason: &'static str) -> NoteError {
    NoteError::Malformed { reason }
}
