//! What an ML-DSA-44 key signs of a checkpoint: `cosigned_message` of <https://c2sp.org/tlog-cosignature>.

use crate::checkpoint::Checkpoint;

/// What the message begins with.
const LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// The message that a key of this name signs at a time, in seconds since 1970, for the checkpoint with this text.
///
/// `None` where there is none: the text is not that of a checkpoint, or has extension lines, which the message does not
/// cover; name or origin is longer than 255 bytes; the time is beyond 2^63 − 1.
#[must_use]
pub fn cosigned_message(key_name: &str, seconds: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    if !checkpoint.extensions.is_empty() || i64::try_from(seconds).is_err() {
        return None;
    }
    let mut message = LABEL.to_vec();
    short(&mut message, key_name)?;
    message.extend(seconds.to_be_bytes());
    short(&mut message, &checkpoint.origin)?;
    message.extend(0_u64.to_be_bytes());
    message.extend(checkpoint.head.size.0.to_be_bytes());
    message.extend(checkpoint.head.root.0);
    Some(message)
}

/// Text with its length in one byte before it.
fn short(message: &mut Vec<u8>, text: &str) -> Option<()> {
    message.push(u8::try_from(text.len()).ok()?);
    message.extend(text.as_bytes());
    Some(())
}
