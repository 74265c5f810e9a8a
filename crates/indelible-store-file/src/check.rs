//! Derived files against the entries, and reading ids out of entries.
//!
//! The scan itself (chain, MAC, tree) is `indelible::verify`'s; it compares `tree/0` as it goes. Here are the files that only this store has.

use indelible_core::entry::{BodyKind, Line, top_level_string};
use indelible_store::store::{DerivedFault, Fingerprint, Reader as _, Scanned, StoreError, id_digest};
use std::sync::Arc;

use crate::{
    ids::{IdIndex, Record},
    layout::{Durable, Layout, read_marker},
    reader::FileReader,
    segments::{self, Kind, OpenSegment, Trust},
    tree_files::{BATCH_START, LEVELS, batch_of},
};

/// Bytes of lines that are read at a time.
const WINDOW: usize = 1 << 20;

/// The ids of entries `from .. to`, in order.
///
/// # Errors
/// Any error of reading.
pub fn scan_ids(reader: &FileReader, from: u64, to: u64) -> Result<impl Iterator<Item = Record> + use<>, StoreError> {
    let mut records = Vec::new();
    let mut next = from;
    while next < to {
        let chunk = reader.read(indelible_core::tree::LeafIndex(next), WINDOW)?;
        for line in chunk.lines().take(usize::try_from(to - next).unwrap_or(usize::MAX)) {
            records.extend(id_of(line, next));
            next += 1;
        }
    }
    Ok(records.into_iter())
}

/// The id record of a line; `None` for control records.
#[must_use]
pub fn id_of(line: &[u8], index: u64) -> Option<Record> {
    let line = Line::parse(line).ok()?;
    let id = (line.entry.kind == BodyKind::Event).then(|| top_level_string(line.entry.body, "id")).flatten()?;
    Some((Fingerprint::of(id), index))
}

pub(crate) fn check(reader: &FileReader, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
    let held = reader.has_writer()?;
    let mut faults = Vec::new();
    check_marker(reader, scanned, &mut faults)?;
    check_offsets(reader, scanned, held, &mut faults)?;
    check_levels(reader, scanned, held, &mut faults)?;
    check_folders(reader, scanned, held, &mut faults)?;
    if !held {
        check_durable(reader, &mut faults)?;
    }
    check_ids(reader, scanned, held, &mut faults)?;
    Ok(faults)
}

fn fault(place: &std::path::Path, detail: impl Into<String>) -> DerivedFault {
    DerivedFault { place: place.display().to_string(), detail: detail.into() }
}

fn check_marker(reader: &FileReader, scanned: &Scanned<'_>, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
    let path = reader.layout.at("log.json");
    match read_marker(&*reader.disk, &reader.layout) {
        Ok((info, _)) if &info == scanned.info => {}
        Ok(_) => faults.push(fault(&path, "it names another log than entry 0")),
        Err(error @ StoreError::Io { .. }) => return Err(error),
        Err(error) => faults.push(fault(&path, error.to_string())),
    }
    Ok(())
}

/// Offsets are compared line by line with the segments that are there.
fn check_offsets(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    let path = reader.layout.at("offsets");
    let len = reader.disk.meta(&path).map_err(StoreError::io("read", &path))?.map_or(0, |meta| meta.len);
    let want = scanned.anchored.0 * 8;
    if len < want || !held && len % 8 != 0 {
        faults.push(fault(&path, format!("it has {len} bytes, {want} are needed")));
        return Ok(());
    }
    let list = segments::list(&*reader.disk, &reader.layout)?;
    for segment in list.iter().filter(|s| s.first < scanned.anchored.0) {
        let open = OpenSegment::open(&reader.disk, &reader.layout, *segment, Trust::Walk)?;
        if let Some(detail) = &open.table_fault {
            faults.push(fault(&segment.path(&reader.layout), detail.clone()));
        }
        if segment.kind == Kind::Closed
            && reader.disk.meta(&reader.layout.segment(segment.first)).is_ok_and(|m| m.is_some())
        {
            faults.push(fault(&segment.path(&reader.layout), "its plain form was not removed"));
        }
        if let Some(index) = compare_offsets(reader, &open, scanned.anchored.0)? {
            faults.push(fault(&path, format!("the offset of entry {index} is wrong")));
            return Ok(());
        }
    }
    Ok(())
}

/// The first entry of a segment whose offset is wrong.
fn compare_offsets(reader: &FileReader, open: &OpenSegment, anchored: u64) -> Result<Option<u64>, StoreError> {
    let end = open.len()?;
    let mut index = open.segment.first;
    let Some(base) = reader.tree.offsets(index, 1)?.first().map(|o| o & !BATCH_START) else { return Ok(Some(index)) };
    if index == 0 && base != 0 {
        return Ok(Some(0));
    }
    let mut position = base;
    for piece in open.pieces(end)? {
        let bytes = open.read_piece(&piece, end)?;
        let count = memchr::memchr_iter(b'\n', &bytes).count();
        let count = count.min(usize::try_from(anchored.saturating_sub(index)).unwrap_or(usize::MAX));
        let stored = reader.tree.offsets(index, count)?;
        for (line, stored) in bytes.split_inclusive(|b| *b == b'\n').zip(stored) {
            let start = if batch_of(line) == Some(index) { BATCH_START } else { 0 };
            if stored != position | start {
                return Ok(Some(index));
            }
            position += line.len() as u64;
            index += 1;
        }
    }
    // The next segment's base follows from this one's end.
    let next =
        segments::list(&*reader.disk, &reader.layout)?.into_iter().find(|s| s.first == index && index < anchored);
    match next {
        Some(next) if reader.tree.offsets(next.first, 1)?.first().map(|o| o & !BATCH_START) != Some(position) => {
            Ok(Some(next.first))
        }
        _ => Ok(None),
    }
}

/// Upper levels are recomputed from the level below; level 0 was compared with the entries.
fn check_levels(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    for level in 0..LEVELS {
        let path = reader.layout.level(level);
        let len = reader.disk.meta(&path).map_err(StoreError::io("read", &path))?.map_or(0, |meta| meta.len);
        let want = indelible_core::tile::level_len(scanned.anchored, level);
        if len < want * 32 || !held && len % 32 != 0 {
            faults.push(fault(&path, format!("it has {len} bytes, {} are needed", want * 32)));
            continue;
        }
        let Some(below) = level.checked_sub(1) else { continue };
        let fits = |from: u64| {
            reader.disk.meta(&reader.layout.level(below)).is_ok_and(|m| m.is_some_and(|m| m.len >= from * 32))
        };
        if !fits(want * 256) {
            continue;
        }
        for n in 0..want {
            let children = reader.hashes(below, n * 256, 256)?;
            if reader.hashes(level, n, 1)?.first() != Some(&indelible_core::tree::range_root(&children)) {
                faults.push(fault(&path, format!("hash {n} is not that of the 256 below it")));
                break;
            }
        }
    }
    Ok(())
}

fn check_durable(reader: &FileReader, faults: &mut Vec<DerivedFault>) -> Result<(), StoreError> {
    let path = reader.layout.at("durable");
    if Durable::read(&*reader.disk, &reader.layout)?.is_none() {
        faults.push(fault(&path, "it is missing or cannot be read"));
    }
    let lock = reader.layout.at("lock");
    match reader.disk.meta(&lock).map_err(StoreError::io("read", &lock))? {
        Some(meta) if meta.len == 0 => {}
        Some(_) => faults.push(fault(&lock, "it should be empty")),
        None => faults.push(fault(&lock, "it is missing")),
    }
    Ok(())
}

/// Names that have no business in the log's folders.
fn check_folders(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    let layout: &Layout = &reader.layout;
    let list = |name: &str| -> Result<Vec<String>, StoreError> {
        let dir = layout.at(name);
        match reader.disk.list(&dir) {
            Ok(names) => Ok(names),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("list", &dir)(error)),
        }
    };
    const OWN: [&str; 11] = [
        "aside",
        "attachments",
        "bounded",
        "checkpoint",
        "checkpoints",
        "durable",
        "ids",
        "lock",
        "log.json",
        "offsets",
        "segments",
    ];
    let temporary = |name: &str| held && name.ends_with(".tmp");
    for name in list(".")?.iter().filter(|name| !OWN.contains(&name.as_str()) && *name != "tree" && !temporary(name)) {
        faults.push(fault(&layout.at(name), "it does not belong to a log"));
    }
    for name in segments::strangers(&*reader.disk, layout)?.iter().filter(|name| !temporary(name)) {
        faults.push(fault(&layout.at("segments").join(name), "it does not belong to a log"));
    }
    for name in list("checkpoints")?.iter().filter(|name| !temporary(name)) {
        let number: Option<u64> = name.parse().ok().filter(|n| layout.kept(*n).ends_with(name));
        if number.is_none_or(|n| n == 0 || !held && n > scanned.kept) {
            faults.push(fault(&layout.at("checkpoints").join(name), "it is no kept checkpoint of this log"));
        }
    }
    for name in list("tree")?.iter().filter(|name| !temporary(name)) {
        if name.parse::<u8>().ok().is_none_or(|level| level >= LEVELS || level.to_string() != *name) {
            faults.push(fault(&layout.at("tree").join(name), "it does not belong to a log"));
        }
    }
    Ok(())
}

fn check_ids(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    let dir = reader.layout.at("ids");
    let index = match IdIndex::open(Arc::clone(&reader.disk), reader.layout.clone()) {
        Ok(index) => index,
        // Beside a live writer files are merged under our eyes.
        Err(StoreError::Io { .. }) if held => return Ok(()),
        Err(StoreError::Damaged { place, detail }) => {
            faults.push(DerivedFault { place, detail });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut sum = [0_u64; 4];
    for run in index.runs() {
        let scan = run.scan(|(id, at)| {
            if scanned.ids.is_some() {
                add(&mut sum, id_digest(id, at));
            }
            Ok(())
        });
        match scan {
            Ok(()) => {}
            Err(StoreError::Damaged { place, detail }) => {
                faults.push(DerivedFault { place, detail });
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(want) = scanned.ids {
        let size = scanned.anchored.0.max(index.covered());
        for (id, at) in scan_ids(reader, index.covered(), size)? {
            add(&mut sum, id_digest(id, at));
        }
        if sum != want {
            faults.push(fault(&dir, "the ids in it are not those of the entries"));
        }
    }
    Ok(())
}

/// Adds word by word; the order of the summands does not matter.
pub fn add(sum: &mut [u64; 4], term: [u64; 4]) {
    for (sum, term) in sum.iter_mut().zip(term) {
        *sum = sum.wrapping_add(term);
    }
}
