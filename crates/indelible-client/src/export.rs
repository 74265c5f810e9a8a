//! A range of entries with what proves it, piece by piece: what `indelible export` writes, byte for byte.
//!
//! The entries come by pages and the subtrees beside them from tiles, in constant memory. Their leaf hashes are folded on the way, and the last line is given only where they lead to the root that the
//! checkpoint says: an export without its last line is none. Whose signature stands on the checkpoint is not looked at; `tools/verify.py --export` does that, with a public key.

use indelible::{
    bundle::{export_end_of, export_entry},
    links::KeyLink,
};
use indelible_core::{
    checkpoint::Checkpoint,
    entry::EntryRef,
    note::Note,
    tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize},
};

use crate::{error::ClientError, log::LogClient, tiles::Tiles, wire::Entry};

/// Entries that are asked for at a time; the server may give fewer.
const PAGE: u64 = 500;

/// An export that is under way.
#[derive(Debug)]
pub struct Export {
    note: String,
    keys: Vec<KeyLink>,
    head: TreeHead,
    from: u64,
    to: u64,
    next: u64,
    folded: Frontier,
    sides: (Vec<Hash>, Vec<Hash>),
    ended: bool,
}

impl Export {
    /// The first entry, and the one behind the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        (self.from, self.to)
    }

    /// How far it is.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }
}

impl LogClient {
    /// Begins to export entries `from` to `to` (not included), or to all that the newest checkpoint covers.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Range`] where the checkpoint does not cover it.
    pub async fn export(&self, from: u64, to: Option<u64>) -> Result<Export, ClientError> {
        // A bundle has the newest checkpoint, and the changes of keys that lead to it.
        let bundle = self.proof(LeafIndex(0)).await?;
        let (note, keys) = (bundle.proof.checkpoint, bundle.keys);
        let head = self.head_of(&note)?;
        let size = head.size;
        let to = to.unwrap_or(size.0);
        if from > to || to > size.0 {
            return Err(ClientError::Range { from, to, size });
        }
        let sides = Tiles::new(self, size).sides(from, to).await?;
        let folded = Frontier::from_parts(TreeSize(from), sides.0.clone());
        let folded = folded.ok_or_else(|| self.client().strange("the tree before the first entry has a hole"))?;
        Ok(Export { note, keys, head, from, to, next: from, folded, sides, ended: false })
    }

    fn head_of(&self, note: &str) -> Result<TreeHead, ClientError> {
        let text = Note::parse(note.as_bytes()).map_err(|error| self.client().strange(error.to_string()))?;
        let checkpoint = Checkpoint::parse(text.text()).map_err(|error| self.client().strange(error.to_string()))?;
        if checkpoint.origin == self.origin().as_str() {
            Ok(checkpoint.head)
        } else {
            Err(self.client().strange("the checkpoint is of another log"))
        }
    }

    /// The next lines of an export; `None` behind the last.
    ///
    /// # Errors
    /// [`ClientError`]: the same piece can be asked for again. Where the entries do not lead to the root that the checkpoint says, it is [`ClientError::Answer`], and there is no last line.
    pub async fn export_more(&self, export: &mut Export) -> Result<Option<Vec<u8>>, ClientError> {
        if export.ended {
            return Ok(None);
        }
        let mut lines = Vec::new();
        if export.next < export.to {
            let page = self.entries(export.next, PAGE.min(export.to - export.next)).await?;
            if page.entries.is_empty() {
                return Err(self.client().strange("it has no entries that its own checkpoint covers"));
            }
            for entry in page.entries.iter().take(usize::try_from(export.to - export.next).unwrap_or(usize::MAX)) {
                self.put(entry, export, &mut lines)?;
            }
            return Ok(Some(lines));
        }
        let right = &export.sides.1;
        let folded = export.folded.clone().complete(right, export.head.size);
        if folded.is_none_or(|folded| folded.root() != export.head.root) {
            let text = "these entries do not lead to the root of its checkpoint, so the export has no last line";
            return Err(self.client().strange(text));
        }
        let range = (export.from, export.to);
        let end = export_end_of(range, (&export.sides.0, right), &export.note, &export.keys);
        export.ended = true;
        end.map(Some).map_err(|error| self.client().strange(error.to_string()))
    }

    fn put(&self, entry: &Entry, export: &mut Export, lines: &mut Vec<u8>) -> Result<(), ClientError> {
        let parsed = EntryRef::parse(&entry.bytes).map_err(|error| self.client().strange(error.to_string()))?;
        export.folded.push(export_entry(&parsed, &entry.mac, export.next, lines));
        export.next += 1;
        Ok(())
    }
}
