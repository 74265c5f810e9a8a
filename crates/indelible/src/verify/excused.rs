//! Which records may excuse that entries are absent: those under a checkpoint that counts for whoever verifies.
//!
//! An `explained` or `pruned` record is authorised by one key, and the record that took the right to do so from that key may be what is absent. Signature lines do not show it:
//! they lie outside of what is signed, and who has the files takes some away and adds his own. What shows it is the tree. INVARIANT(excused): a record excuses an absence only below the
//! size of a checkpoint that counts here. Who signed that one knew which keys were in force, and no honest log has a record by others in its tree.
//!
//! With a key ring it is the checkpoint of the head record that counts, and no other: a ring has keys that were replaced, and whoever stole one of these signs with it. Without a head
//! record of the writer's it is any checkpoint of the log's that a key which was given signed; and where such a key is not in force any more, one by those that followed it.

use indelible_core::{
    note::Note,
    tree::{TreeHead, TreeSize},
};
use indelible_store::store::{Reader, StoreError};

use super::{
    anchors::{Anchors, Opened, kept, open},
    merge::Merger,
    scan::{Own, Request, by_trusted},
    trust::Standing,
};

/// Below which index records excuse an absence, behind the scan of a log. `newest`: whether the head record of a key ring is at hand.
pub(super) fn excused_below(
    store: &dyn Reader,
    request: &Request<'_>,
    own: &Own<'_>,
    newest: bool,
    merger: &Merger<'_>,
) -> Result<u64, StoreError> {
    if newest {
        return Ok(own.head.map_or(0, |(_, head)| head.size.0));
    }
    let anchors = &merger.setup.anchors;
    // One that covers more entries than there are is told as such.
    let counts = |note: &[u8]| size_that_counts(note, request, anchors).filter(|size| *size <= merger.expected);
    let head = own.head.map(|(record, _)| record.checkpoint.as_bytes());
    let notes = head.into_iter().chain(own.published).chain(request.checkpoint.as_deref());
    let mut below = notes.filter_map(counts).max().unwrap_or(0);
    // The sizes of kept ones grow: the newest that counts says most.
    for number in own.kept.iter().copied().rev() {
        if let Some(size) = kept(store, number)?.and_then(|note| counts(&note)) {
            below = below.max(size);
            break;
        }
    }
    Ok(below)
}

fn size_that_counts(note: &[u8], request: &Request<'_>, anchors: &Anchors<'_>) -> Option<u64> {
    let history = &anchors.history;
    let counted = match open(note, history) {
        Opened::Good(head) => Some(head).filter(|head| vouches(*head, note, request, anchors) == Some(true)),
        Opened::OtherKey(_) => by_trusted(request, history, note),
        Opened::Bad(_) => None,
    };
    counted.map(|head| head.size.0)
}

/// Whether a checkpoint by the keys that are due counts. Where a key that was given is one of them, it has to have signed: another one of the set may be what was replaced.
fn vouches(head: TreeHead, note: &[u8], request: &Request<'_>, anchors: &Anchors<'_>) -> Option<bool> {
    let TreeHead { size, .. } = head;
    let set = anchors.history.set_for(size)?;
    let note = Note::parse(note).ok()?;
    let mut given = request.keys.iter().filter(|key| set.keys().contains(key)).peekable();
    Some(match given.peek() {
        Some(_) => given.any(|key| note.verify(key).is_ok()),
        None => followed(size, &note, anchors),
    })
}

fn followed(size: TreeSize, note: &Note, anchors: &Anchors<'_>) -> bool {
    anchors.trust.standing(&anchors.history, Some((size, note)), anchors.last_kept()) == Standing::Vouched
}
