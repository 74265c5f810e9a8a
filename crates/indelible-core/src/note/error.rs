//! What can be wrong with notes, keys and sets of keys.

use super::{Algorithm, KeyId, Require};

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
    /// Fewer keys of a set have signed than its policy requires.
    #[error("{}", too_few(.require, .signed, .missing, .present))]
    TooFewSignatures {
        /// What the policy of the set requires.
        require: Require,
        /// The keys of the set whose signatures are there and right.
        signed: Vec<KeyId>,
        /// The keys of the set that have not signed.
        missing: Vec<KeyId>,
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
    /// The bytes are no public key of the algorithm.
    #[error("the public key cannot be used with `{algorithm}`: {reason}")]
    KeyMaterial {
        /// The algorithm.
        algorithm: Algorithm,
        /// What is wrong.
        reason: &'static str,
    },
    /// The key is of an algorithm that is not known here.
    #[error("key `{name}` is of type `{algorithm:#04x}`, which is not known here; known are {}", known())]
    OtherAlgorithm {
        /// Name of the key.
        name: String,
        /// The type byte.
        algorithm: u8,
    },
    /// The text names no algorithm that is known here.
    #[error("`{name}` is no signature algorithm that is known here; known are {}", known())]
    UnknownAlgorithm {
        /// What was given.
        name: String,
    },
    /// The text is no policy.
    #[error("`{text}` is no policy of a set of keys; it is `all`, or the number of keys that have to sign")]
    MalformedPolicy {
        /// What was given.
        text: String,
    },
    /// Keys and policy make no set.
    #[error("these keys make no set: {reason}")]
    KeySet {
        /// The rule that they break.
        reason: &'static str,
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

fn too_few(require: &Require, signed: &[KeyId], missing: &[KeyId], present: &[KeyId]) -> String {
    if signed.is_empty() {
        return format!("the note has no signature by {}; it has {}", list(missing), list(present));
    }
    let (right, missing) = (list(signed), list(missing));
    format!(
        "the note has right signatures by {right}, and `{require}` of the keys have to sign; those by {missing} are missing"
    )
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn known() -> String {
    Algorithm::ALL.map(|algorithm| format!("`{algorithm}`")).join(", ")
}
