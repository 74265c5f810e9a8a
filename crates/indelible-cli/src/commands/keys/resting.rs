//! What rests on an entry-signing key, as far as that is known here: said before its secret is destroyed, and after.
//!
//! The log that is named says it exactly. Of others only the head records beside the ring are at hand, and these name no entry keys: a log whose newest
//! checkpoint is younger than the key may have entries by it.

use indelible_core::{checkpoint::Checkpoint, head::HeadRecord, mac::LogId, note::Note};
use indelible_keys::{KeyInfo, KeyRing, Purpose};

use super::in_log::newest;
use crate::{
    output,
    places::{Places, writers_heads},
};

/// So many logs are named; of the rest it is said how many there are.
const MAX_NAMED: usize = 5;

/// The log that is named, and what it says.
struct AtHand {
    log_id: LogId,
    told: Option<String>,
}

/// What is known to rest on a key, or may; `None` where that is nothing.
pub(super) fn rests_on(places: &Places, ring: &KeyRing, id: &str) -> Option<String> {
    let key = ring.keys().find(|key| key.id == id && key.purpose == Purpose::EntrySigning)?;
    let at_hand = at_hand(places, ring, key);
    let mut others = Vec::new();
    let mut see = |head: HeadRecord| {
        let is_at_hand = at_hand.as_ref().is_some_and(|at_hand| at_hand.log_id == head.log_id);
        others.extend(Some(head).filter(|_| !is_at_hand).and_then(|head| signed_since(&head, key)));
    };
    // A record that cannot be read hides the others: that is said, and is no reason to say nothing.
    let unread = writers_heads(ring).store.each(&mut see).is_err();
    others.sort_unstable();
    let told = [
        at_hand.and_then(|at_hand| at_hand.told),
        may_rest(&others),
        unread.then(|| {
            "not all head records beside the ring can be read, so other logs may have entries by it too".to_owned()
        }),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What the named log says of the key. Where it cannot be read, its head record counts like any other.
fn at_hand(places: &Places, ring: &KeyRing, key: &KeyInfo) -> Option<AtHand> {
    places.log().ok()?;
    let reader = places.reader().ok()?;
    let (log_id, size) = (reader.info().log_id, reader.size().ok()?.0);
    let range = newest(&*reader, Some(ring)).ok()?.range_of(&key.id);
    let told = range.map(|(first, end)| (first, end.min(size))).filter(|(first, end)| first < end);
    let told = told.map(|(first, end)| {
        let origin = output::safe(&reader.info().origin).into_owned();
        format!("entries {first} to {} of `{origin}` are signed by it", end - 1)
    });
    Some(AtHand { log_id, told })
}

/// The name of a log whose newest checkpoint is no older than the key.
fn signed_since(head: &HeadRecord, key: &KeyInfo) -> Option<String> {
    let since = key.activated_at?;
    if head.signed_at < since {
        return None;
    }
    let note = Note::parse(head.checkpoint.as_bytes()).ok()?;
    Some(Checkpoint::parse(note.text()).ok()?.origin)
}

fn may_rest(origins: &[String]) -> Option<String> {
    let named: Vec<String> =
        origins.iter().take(MAX_NAMED).map(|origin| format!("`{}`", output::safe(origin))).collect();
    if named.is_empty() {
        return None;
    }
    let more = match origins.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {}", output::counted(more as u64, "other log", "other logs")),
    };
    Some(format!(
        "by the head records beside the ring, {}{more} may have entries by it (`keys history --log …` tells)",
        named.join(", ")
    ))
}
