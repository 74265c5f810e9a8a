//! The end of the entries that the newest head covers, where recovery begins.
//!
//! The head is signed, `offsets` is not: where a line does not stand where that says, it is looked for by counting from the beginning of its segment. INVARIANT(evidence): only a line that is there
//! and is not the one that the head covers, or one that is not there, is told as evidence; a wrong offset is a damaged file of our own, which `log repair` writes again.

use indelible_core::{
    entry::{Line, MAX_LINE_BYTES},
    tile,
    tree::{Frontier, Hash, TreeHead, leaf_hash},
};
use indelible_store::store::{self, Reader as _, StoreError, StoredTree};

use crate::{
    reader::FileReader,
    recover::Anchor,
    segments::{OpenSegment, Segment, Trust},
    tree_files::BATCH_START,
};

/// Bytes that are counted at a time.
const WINDOW: usize = 1 << 20;

/// A line, and where it begins in its segment.
struct Found {
    offset: u64,
    line: Vec<u8>,
}

/// Finds the end of the entries that the head covers, in these segments, and checks that the stored tree gives the head's root.
pub(crate) fn anchor(reader: &FileReader, segments: &[Segment], head: &TreeHead) -> Result<Anchor, StoreError> {
    let size = head.size;
    let frontier = tile::frontier_at(&StoredTree(reader), size)?;
    if frontier.root() != head.root {
        let place = reader.layout.at("tree").display().to_string();
        let detail = "the stored tree does not give the root of the newest head; `indelible verify` tells whether the entries do".to_owned();
        return Err(StoreError::Damaged { place, detail });
    }
    match size.0.checked_sub(1) {
        Some(last) => behind(reader, segments, head, frontier, last),
        None => Ok(Anchor {
            frontier,
            position: 0,
            base: 0,
            segment: 0,
            last_leaf: leaf_hash(b""),
            last_batch: None,
            last_recorded_at: None,
        }),
    }
}

/// Behind the entry `last`.
fn behind(
    reader: &FileReader,
    segments: &[Segment],
    head: &TreeHead,
    frontier: Frontier,
    last: u64,
) -> Result<Anchor, StoreError> {
    let want = reader.hashes(0, last, 1)?.first().copied().unwrap_or(head.root);
    let segment = segment_of(segments, last)?;
    let open = OpenSegment::open(&reader.disk, &reader.layout, segment, Trust::Table)?;
    let base = offset_of(reader, segment.first)?;
    let position = offset_of(reader, last)?;
    let by_offsets = match position.checked_sub(base) {
        Some(offset) => line_at(&open, offset)?,
        None => None,
    };
    // Entry 0 is where everything begins.
    let fits = |found: &Found| leaf_of(&found.line) == Some(want) && (segment.first > 0 || base == 0);
    let Some(found) = by_offsets.filter(fits) else { return Err(misplaced(reader, &open, last, want)?) };
    let line = Line::parse(&found.line).map_err(|source| StoreError::Line { index: last, source })?;
    Ok(Anchor {
        frontier,
        position: position.saturating_add(found.line.len() as u64 + 1),
        base,
        segment: segment.first,
        last_leaf: want,
        last_batch: Some(line.batch.0),
        last_recorded_at: line.entry.recorded(),
    })
}

fn gone(index: u64) -> StoreError {
    let detail = "the newest head covers this entry, and its body is not there".to_owned();
    StoreError::Evidence { index, detail }
}

fn segment_of(segments: &[Segment], index: u64) -> Result<Segment, StoreError> {
    let at = segments.partition_point(|segment| segment.first <= index);
    at.checked_sub(1).and_then(|at| segments.get(at)).copied().ok_or_else(|| gone(index))
}

fn offset_of(reader: &FileReader, index: u64) -> Result<u64, StoreError> {
    Ok(reader.tree.offsets(index, 1)?.first().copied().unwrap_or(0) & !BATCH_START)
}

fn leaf_of(line: &[u8]) -> Option<Hash> {
    Line::parse(line).ok().map(|line| leaf_hash(line.entry.bytes))
}

/// The line that begins at an offset, without its end; `None` where none does.
fn line_at(open: &OpenSegment, offset: u64) -> Result<Option<Found>, StoreError> {
    if offset >= open.len()? {
        return Ok(None);
    }
    let mut line = open.read(offset, MAX_LINE_BYTES)?;
    let Some(end) = memchr::memchr(b'\n', &line) else { return Ok(None) };
    line.truncate(end);
    Ok(Some(Found { offset, line }))
}

/// The line of an entry by counting; `None` where the segment ends before it.
fn count_to(open: &OpenSegment, index: u64) -> Result<Option<Found>, StoreError> {
    let (mut at, mut offset) = (open.segment.first, 0);
    loop {
        let bytes = open.read(offset, WINDOW)?;
        let before = at;
        for line in store::lines(&bytes) {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if at == index {
                return Ok(Some(Found { offset, line: text.to_vec() }));
            }
            at += 1;
            offset += line.len() as u64;
        }
        if at == before {
            return Ok(None);
        }
    }
}

/// What is wrong where the offsets do not lead to the line that the head covers.
fn misplaced(reader: &FileReader, open: &OpenSegment, last: u64, want: Hash) -> Result<StoreError, StoreError> {
    let Some(found) = count_to(open, last)? else { return Ok(gone(last)) };
    let line = match Line::parse(&found.line) {
        Ok(line) => line,
        Err(source) => return Ok(StoreError::Line { index: last, source }),
    };
    if leaf_hash(line.entry.bytes) != want {
        let detail = "its bytes are not those that the newest head covers".to_owned();
        return Ok(StoreError::Evidence { index: last, detail });
    }
    let detail = format!(
        "it does not lead to entry {last}, which stands at byte {} of `{}` as the newest head covers it",
        found.offset,
        open.place()
    );
    Ok(StoreError::Damaged { place: reader.layout.at("offsets").display().to_string(), detail })
}
