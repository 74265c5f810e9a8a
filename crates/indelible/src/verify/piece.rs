//! The part of a verification that needs no order: the lines of one piece, on any thread.

use std::sync::{Arc, PoisonError, RwLock};

use indelible_core::{
    control::Control,
    entry::{BodyKind, EntryError, KeptHead, Line, top_level_string},
    history::KeyHistory,
    mac::EntryKey,
    tree::{Hash, leaf_hash},
};
use indelible_store::store::{Fingerprint, add_ids, id_digest, lines as lines_of};

use super::report::Kind;
use crate::attachments;

/// What every line is checked against.
pub(super) struct Expect {
    pub(super) origin: String,
    pub(super) strict: bool,
    keys: RwLock<Arc<InForce>>,
}

/// Entry keys by the indices at which they are in force, as far as that is known.
pub(super) struct InForce {
    /// In the order of the log: first index, id, and the key where its secret is at hand.
    epochs: Vec<(u64, String, Option<EntryKey>)>,
}

impl InForce {
    /// The keys of a history; `secret` has those that can be checked.
    pub(super) fn of(history: &KeyHistory, secret: &dyn Fn(&str) -> Option<EntryKey>) -> Self {
        let epochs = history.entry_keys().iter().map(|key| (key.first, key.id.clone(), secret(&key.id)));
        Self { epochs: epochs.collect() }
    }

    fn at(&self, index: u64) -> Option<&(u64, String, Option<EntryKey>)> {
        self.epochs.iter().rev().find(|(first, ..)| *first <= index)
    }

    /// Whether the key in force at an index is the same in both.
    pub(super) fn agrees(&self, other: &Self, index: u64) -> bool {
        let id = |keys: &Self| keys.at(index).map(|(_, id, _)| id.clone());
        id(self) == id(other)
    }

    /// The secret of an epoch by its key's id.
    pub(super) fn key(&self, id: &str) -> Option<&EntryKey> {
        self.epochs.iter().find(|(_, known, _)| known == id).and_then(|(.., key)| key.as_ref())
    }
}

impl Expect {
    pub(super) fn new(origin: String, strict: bool, keys: InForce) -> Self {
        Self { origin, strict, keys: RwLock::new(Arc::new(keys)) }
    }

    /// The keys as far as they are known now.
    pub(super) fn keys(&self) -> Arc<InForce> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A `keys` record said more. Pieces that were looked at before are looked at again where it matters.
    pub(super) fn renew(&self, keys: InForce) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// A line with what could be seen of it alone.
pub(super) struct Seen {
    /// Where it begins in the piece.
    pub(super) start: usize,
    /// Its length, line feed included.
    pub(super) len: usize,
    /// What it claims and hashes to; `None` where it is no line.
    pub(super) entry: Option<SeenEntry>,
    /// What is wrong with it by itself.
    pub(super) fault: Option<Box<(Kind, String)>>,
    /// What of it matters beyond its hash.
    pub(super) notable: Option<Box<Notable>>,
    /// So many lines of the same fault follow it directly, and are not told one by one. `len` covers them.
    pub(super) more: u64,
}

/// Lines of one piece that are told one by one though they cannot be read. A piece of line feeds alone would else take 100 MiB.
const MAX_UNREADABLE: usize = 1024;

pub(super) struct SeenEntry {
    pub(super) index: u64,
    pub(super) leaf: Hash,
    pub(super) prev: Hash,
    pub(super) batch: u64,
    /// Whether the MAC was checked and right.
    pub(super) signed: bool,
}

#[derive(Default)]
pub(super) struct Notable {
    pub(super) head: Option<KeptHead>,
    pub(super) control: Option<Control>,
    pub(super) attachments: Vec<(String, u64)>,
}

/// The lines of one piece.
pub(super) struct SeenPiece {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<Seen>,
    /// The keys that it was looked at with.
    pub(super) keys: Arc<InForce>,
    /// Sum of [`id_digest`] over its events; only in a strict scan.
    pub(super) ids: [u64; 4],
}

impl SeenPiece {
    /// Id and time of a line, as far as they can be read.
    pub(super) fn name(&self, seen: &Seen) -> (Option<String>, Option<String>) {
        let line = self.bytes.get(seen.start..seen.start + seen.len).unwrap_or_default();
        let line = if seen.more > 0 { line.split_inclusive(|b| *b == b'\n').next().unwrap_or_default() } else { line };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match Line::parse(line) {
            Ok(line) => {
                let id = top_level_string(line.entry.body, "id").map(str::to_owned);
                (id, Some(line.entry.recorded_at.to_owned()))
            }
            Err(_) => {
                let event = memchr::memmem::find(line, b"{\"event\":").and_then(|at| line.get(at + 9..));
                let id = top_level_string(event.unwrap_or(line), "id").map(str::to_owned);
                (id, quoted_after(line, b",\"recorded_at\":\""))
            }
        }
    }
}

fn quoted_after(line: &[u8], name: &[u8]) -> Option<String> {
    let from = memchr::memmem::rfind(line, name)? + name.len();
    let rest = line.get(from..)?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(rest.get(..end)?).ok().map(str::to_owned)
}

/// Looks at every line of a piece.
pub(super) fn look(bytes: Vec<u8>, expect: &Expect) -> SeenPiece {
    let mut lines = Vec::with_capacity(bytes.len() / 512 + 1);
    let mut ids = [0; 4];
    let (mut start, mut faulty) = (0, 0);
    let keys = expect.keys();
    let finder = memchr::memmem::Finder::new(attachments::MARK);
    for line in lines_of(&bytes) {
        let seen = match line.strip_suffix(b"\n") {
            Some(text) => look_at(text, expect, &keys, &finder, &mut ids),
            None => unreadable(Kind::Changed, "its line does not end".to_owned()),
        };
        faulty += usize::from(seen.entry.is_none());
        match lines.last_mut().filter(|last| faulty > MAX_UNREADABLE && alike(last, &seen)) {
            Some(last) => {
                last.len += line.len();
                last.more += 1;
            }
            None => lines.push(Seen { start, len: line.len(), ..seen }),
        }
        start += line.len();
    }
    SeenPiece { bytes, lines, keys, ids }
}

impl SeenPiece {
    /// Looks at a line again, with the keys that are known now.
    pub(super) fn look_again(&self, seen: &Seen, expect: &Expect) -> Option<Seen> {
        let line = self.bytes.get(seen.start..seen.start + seen.len)?;
        let finder = memchr::memmem::Finder::new(attachments::MARK);
        let again = look_at(line.strip_suffix(b"\n")?, expect, &expect.keys(), &finder, &mut [0; 4]);
        Some(Seen { start: seen.start, len: seen.len, ..again })
    }
}

/// Whether neither can be read, for faults of the same kind.
fn alike(one: &Seen, other: &Seen) -> bool {
    let kind = |seen: &Seen| seen.fault.as_ref().map(|fault| fault.0);
    one.entry.is_none() && other.entry.is_none() && kind(one) == kind(other)
}

fn unreadable(kind: Kind, detail: String) -> Seen {
    Seen { start: 0, len: 0, entry: None, fault: Some(Box::new((kind, detail))), notable: None, more: 0 }
}

fn look_at(
    text: &[u8],
    expect: &Expect,
    keys: &InForce,
    finder: &memchr::memmem::Finder<'_>,
    ids: &mut [u64; 4],
) -> Seen {
    let line = match Line::parse(text) {
        Ok(line) => line,
        // No line has a zero byte: a page that a crash lost has nothing else, and the signature may have stood there.
        Err(error @ EntryError::Unsigned) if memchr::memchr(0, text).is_none() => {
            return unreadable(Kind::Unsigned, error.to_string());
        }
        Err(error) => return unreadable(Kind::Changed, error.to_string()),
    };
    let entry = &line.entry;
    let leaf = leaf_hash(entry.bytes);
    let in_force = keys.at(entry.index.0).filter(|(_, id, _)| id == entry.key);
    let signed = in_force.and_then(|(.., key)| key.as_ref()).map(|key| key.verify(&leaf, &line.mac));
    let mut fault = None;
    if entry.log != expect.origin {
        fault = Some((Kind::Changed, format!("it names log `{}`", entry.log)));
    } else if in_force.is_none() {
        let valid = keys.at(entry.index.0).map(|(_, id, _)| id.as_str()).unwrap_or_default();
        fault = Some((Kind::Key, format!("it names key `{}`, valid here is `{valid}`", entry.key)));
    } else if signed == Some(false) {
        fault = Some((Kind::Signature, "its entry signature does not fit its bytes".to_owned()));
    } else if expect.strict
        && let Err(detail) = entry.check_strict()
    {
        fault = Some((Kind::Form, detail));
    }
    if expect.strict
        && let Some(id) = entry.event_id()
    {
        add_ids(ids, id_digest(Fingerprint::of(id), entry.index.0));
    }
    let mut notable = Notable { head: entry.head, ..Notable::default() };
    match entry.kind {
        BodyKind::Control => match Control::parse(entry.body) {
            Ok(control) => notable.control = Some(control),
            Err(error) => fault = fault.or(Some((Kind::Form, error.to_string()))),
        },
        BodyKind::Event if finder.find(entry.body).is_some() => notable.attachments = attachments::named(entry.body),
        BodyKind::Event => {}
    }
    let is_notable = notable.head.is_some() || notable.control.is_some() || !notable.attachments.is_empty();
    Seen {
        start: 0,
        len: 0,
        entry: Some(SeenEntry {
            index: entry.index.0,
            leaf,
            prev: entry.prev,
            batch: line.batch.0,
            signed: signed == Some(true),
        }),
        fault: fault.map(Box::new),
        notable: is_notable.then(|| Box::new(notable)),
        more: 0,
    }
}
