//! Attachments that an event names: what recording asks the store about, and verification reads.

use std::sync::LazyLock;

use indelible_core::hex;
use indelible_store::store::{Reader, StoreError};
use memchr::memmem::Finder;

use crate::error::AppendError;

/// What a canonical event that names attachments has somewhere; so has one that has such a member further down.
pub(crate) const MARK: &[u8] = b"\"attachments\":[";

/// Finds [`MARK`]; to make it costs more than to use it.
static MARKED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

/// Digests and sizes of the attachments that an event names at its top level.
pub(crate) fn named(body: &[u8]) -> Vec<(String, u64)> {
    #[derive(serde::Deserialize)]
    struct Event {
        #[serde(default)]
        attachments: Vec<Attachment>,
    }
    #[derive(serde::Deserialize)]
    struct Attachment {
        digest: String,
        size: u64,
    }
    let event: Option<Event> = serde_json::from_slice(body).ok();
    event.into_iter().flat_map(|event| event.attachments).map(|a| (a.digest, a.size)).collect()
}

/// The SHA-256 of a digest as events write it.
pub(crate) fn parse_digest(digest: &str) -> Option<[u8; 32]> {
    hex::decode::<32>(digest.strip_prefix("sha256:")?.as_bytes())
}

/// Checks that the store holds what a canonical event names: an entry whose attachment is not there would read as tampered with for ever.
///
/// # Errors
/// [`AppendError::AttachmentMissing`], [`AppendError::AttachmentSize`], [`AppendError::Unknown`].
pub(crate) fn check(store: &(impl Reader + ?Sized), id: &str, body: &[u8]) -> Result<(), AppendError> {
    // Few events name any: the finder is cheaper than parsing each once more.
    if MARKED.find(body).is_none() {
        return Ok(());
    }
    for (digest, said) in named(body) {
        let Some(hash) = parse_digest(&digest) else { continue };
        let unknown =
            |error: StoreError| AppendError::unknown(format!("the attachment `{digest}` of event `{id}`"), error);
        let stored = store.attachment_size(&hash).map_err(unknown)?;
        match stored {
            Some(stored) if stored == said => {}
            Some(stored) => return Err(AppendError::AttachmentSize { digest, id: id.to_owned(), said, stored }),
            None => return Err(AppendError::AttachmentMissing { digest, id: id.to_owned() }),
        }
    }
    Ok(())
}
