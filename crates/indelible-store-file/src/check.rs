//! Derived files against the entries, and reading ids out of entries.
//!
//! The scan itself (chain, MAC, tree) is `indelible::verify`'s; it compares `tree/0` as it goes. Here are the files that only this store has.

use indelible_core::{entry::Line, tile::level_len};
use indelible_store::store::{DerivedFault, Fingerprint, Reader as _, Scanned, StoreError, add_ids, id_digest, lines};
use std::{ffi::OsStr, path::PathBuf, sync::Arc};

use crate::{
    ids::{self, IdIndex, Record},
    layout::{Durable, Layout, MAX_ENTRIES, read_marker},
    reader::FileReader,
    segments::{self, Form, OpenSegment, Trust},
    tree_files::LEVELS,
};

/// Bytes of lines that are read at a time.
const WINDOW: usize = 1 << 20;

/// Gives the ids of entries `from .. to` to `each`, in order; those whose bodies are absent are left out.
///
/// # Errors
/// Any error of reading, or what `each` returns.
pub fn scan_ids(
    reader: &FileReader,
    from: u64,
    to: u64,
    mut each: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = from;
    while next < to {
        let chunk = match reader.read(indelible_core::tree::LeafIndex(next), WINDOW) {
            // Bodies that are absent have no ids.
            Err(StoreError::Absent { .. }) => {
                let segments = segments::list(&*reader.disk, &reader.layout)?;
                next = segments.iter().map(|segment| segment.first).find(|first| *first > next).unwrap_or(to);
                continue;
            }
            chunk => chunk?,
        };
        for line in chunk.lines().take(usize::try_from(to - next).unwrap_or(usize::MAX)) {
            if let Some(record) = id_of(line, next) {
                each(record)?;
            }
            next += 1;
        }
    }
    Ok(())
}

/// The id record of a line; `None` for control records.
#[must_use]
pub fn id_of(line: &[u8], index: u64) -> Option<Record> {
    Some((Fingerprint::of(Line::parse(line).ok()?.entry.event_id()?), index))
}

pub(crate) fn check(reader: &FileReader, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
    // A writer that came since leaves its traces as well.
    let held = scanned.held || reader.has_writer()?;
    let mut faults = Vec::new();
    check_marker(reader, scanned, &mut faults)?;
    check_lengths(reader, scanned, held, &mut faults)?;
    check_segments(reader, scanned, held, &mut faults)?;
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

/// Lengths; the content of offsets and levels is compared by the scan as it goes.
fn check_lengths(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    let levels = (0..LEVELS).map(|level| (reader.layout.level(level), level_len(scanned.anchored, level), 32));
    for (path, count, unit) in levels.chain([(reader.layout.at("offsets"), scanned.anchored.0, 8)]) {
        let len = reader.disk.meta(&path).map_err(StoreError::io("read", &path))?.map_or(0, |meta| meta.len);
        let want = count * unit;
        if len < want || !held && len % unit != 0 {
            faults.push(fault(&path, format!("it has {len} bytes, {want} are needed")));
        }
    }
    Ok(())
}

/// Plain segments without a byte. One at the end of the log, at index `end`, is not among them: a writer begins a file before its first
/// batch. Without `end` the last one is let be, wherever it stands.
fn strays(reader: &FileReader, end: Option<u64>) -> Result<Vec<PathBuf>, StoreError> {
    let segments = segments::list(&*reader.disk, &reader.layout)?;
    let last = segments.last().map(|segment| segment.first);
    let mut strays = Vec::new();
    for segment in segments.iter().filter(|segment| segment.form == Form::Plain) {
        let path = segment.path(&reader.layout);
        let meta = reader.disk.meta(&path).map_err(StoreError::io("read", &path))?;
        let begun = Some(segment.first) == last && end.is_none_or(|end| end == segment.first);
        if !begun && meta.is_some_and(|meta| meta.len == 0 && !meta.is_dir) {
            strays.push(path);
        }
    }
    Ok(strays)
}

/// Seek tables against the frames, and the leavings of an interrupted compression.
fn check_segments(
    reader: &FileReader,
    scanned: &Scanned<'_>,
    held: bool,
    faults: &mut Vec<DerivedFault>,
) -> Result<(), StoreError> {
    // Behind what was scanned a writer may just have begun a file.
    let end = (!held).then_some(scanned.end.0);
    for path in strays(reader, end)? {
        faults.push(fault(&path, "it is empty and not at the end of the log"));
    }
    for segment in segments::list(&*reader.disk, &reader.layout)? {
        let closed = reader.layout.closed(segment.first);
        if segment.form == Form::Plain {
            if !held && reader.disk.meta(&closed).map_err(StoreError::io("read", &closed))?.is_some() {
                faults.push(fault(&closed, "the plain form beside it was not removed"));
            }
            continue;
        }
        let open = match OpenSegment::open(&reader.disk, &reader.layout, segment, Trust::Walk) {
            // The scan told of it.
            Err(StoreError::Evidence { .. }) => continue,
            open => open?,
        };
        if let Some(detail) = &open.table_fault {
            faults.push(fault(&closed, detail.clone()));
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
        Some(meta) if meta.is_dir => faults.push(fault(&lock, "it is a directory")),
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
    let temporary = |name: &OsStr| held && name.as_encoded_bytes().ends_with(b".tmp");
    let newest = if held { MAX_ENTRIES } else { scanned.kept };
    for (path, detail) in strangers(reader, newest)? {
        if path.file_name().is_none_or(|name| !temporary(name)) {
            faults.push(fault(&path, detail));
        }
    }
    Ok(())
}

/// What stands in a log's folders and has no business there, with what is to be said of it. `newest` is the number of the newest kept checkpoint.
fn strangers(reader: &FileReader, newest: u64) -> Result<Vec<(PathBuf, &'static str)>, StoreError> {
    const STRANGE: &str = "it does not belong to a log";
    let (disk, layout) = (&reader.disk, &reader.layout);
    let mut strangers = Vec::new();
    let mut see = |dir: PathBuf, detail: &'static str, is_own: &dyn Fn(&str) -> bool| -> Result<(), StoreError> {
        for name in segments::all_names(&**disk, &dir)? {
            if !name.to_str().is_some_and(is_own) {
                strangers.push((dir.join(name), detail));
            }
        }
        Ok(())
    };
    see(layout.root().to_owned(), STRANGE, &|name| OWN.contains(&name))?;
    see(layout.at("checkpoints"), "it is no kept checkpoint of this log", &|name| is_kept(layout, name, newest))?;
    see(layout.at("tree"), STRANGE, &is_level)?;
    strangers.extend(
        segments::strangers(&**disk, layout)?.into_iter().map(|name| (layout.at("segments").join(name), STRANGE)),
    );
    Ok(strangers)
}

/// Whether a name is that of a kept checkpoint up to number `newest`.
fn is_kept(layout: &Layout, name: &str, newest: u64) -> bool {
    let number: Option<u64> = name.parse().ok().filter(|n| layout.kept(*n).ends_with(name));
    number.is_some_and(|n| n > 0 && n <= newest.min(MAX_ENTRIES))
}

fn is_level(name: &str) -> bool {
    name.parse::<u8>().is_ok_and(|level| level < LEVELS && level.to_string() == name)
}

const OWN: [&str; 12] = [
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
    "tree",
];

/// Moves names that do not belong to a log of `kept` kept checkpoints, empty segments that stand anywhere but at its end, and the leavings
/// of an interrupted compression, into `aside/`. Nothing is deleted.
pub(crate) fn remove_strangers(reader: &FileReader, kept: u64, end: u64) -> Result<(), StoreError> {
    let layout = &reader.layout;
    let aside = layout.at("aside");
    let mut strangers = strays(reader, Some(end))?;
    strangers.extend(self::strangers(reader, kept)?.into_iter().map(|(path, _)| path));
    // The files that are none of the index's are no finding, but a folder among them would keep the index from being written again.
    strangers.extend(ids::strangers(&reader.disk, layout)?);
    for segment in segments::list(&*reader.disk, layout)?.iter().filter(|s| s.form == Form::Plain) {
        let closed = layout.closed(segment.first);
        if reader.disk.meta(&closed).map_err(StoreError::io("read", &closed))?.is_some() {
            strangers.push(closed);
        }
    }
    for path in strangers {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut to = aside.join(format!("stranger-{name}"));
        let mut serial = 0;
        while reader.disk.meta(&to).map_err(StoreError::io("read", &to))?.is_some() {
            serial += 1;
            to = aside.join(format!("stranger-{name}.{serial}"));
        }
        reader.disk.rename(&path, &to).map_err(StoreError::io("move", &path))?;
    }
    for name in ["", "segments", "tree", "checkpoints", "ids", "aside"] {
        let dir = if name.is_empty() { layout.root().to_owned() } else { layout.at(name) };
        reader.disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
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
    if reader.disk.meta(&dir).map_err(StoreError::io("read", &dir))?.is_none_or(|meta| !meta.is_dir) {
        faults.push(fault(&dir, "it is missing, or no folder"));
        return Ok(());
    }
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
    // What a live writer recorded behind the scan is not in its sum.
    let end = if held { scanned.end.0 } else { u64::MAX };
    let mut sum = [0_u64; 4];
    for run in index.runs() {
        let scan = run.scan(|(id, at)| {
            if scanned.ids.is_some() && at < end {
                add_ids(&mut sum, id_digest(id, at));
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
        add_ids_from_runs(reader, index.covered(), end, &mut sum)?;
        if sum != want {
            faults.push(fault(&dir, "the ids in it are not those of the entries"));
        }
    }
    Ok(())
}

/// Adds the ids of the entries `from .. to`, read as the scan reads them: behind the last checkpoint nothing derived leads to a line.
fn add_ids_from_runs(reader: &FileReader, from: u64, to: u64, sum: &mut [u64; 4]) -> Result<(), StoreError> {
    let runs = reader.runs()?;
    let skip = runs.iter().skip(1).take_while(|run| run.first <= from).count();
    for run in runs.iter().skip(skip).take_while(|run| run.first < to) {
        for piece in reader.pieces(run)? {
            let bytes = match reader.read_piece(run, &piece) {
                // The scan has told.
                Err(StoreError::Evidence { .. }) => continue,
                bytes => bytes?,
            };
            for line in lines(&bytes).filter_map(|line| line.strip_suffix(b"\n")) {
                let index = Line::parse(line).ok().map(|line| line.entry.index.0);
                let own = index.filter(|index| (from..to).contains(index)).and_then(|index| id_of(line, index));
                if let Some((id, at)) = own {
                    add_ids(sum, id_digest(id, at));
                }
            }
        }
    }
    Ok(())
}
