//! `export`: entries that can be verified without the log.
//!
//! Entries stream through in constant memory. Their leaf hashes are folded on the way, and the last line is written only where they
//! lead to the root that the checkpoint signed: an export without its last line is not one.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use indelible::{
    LogError,
    bundle::{export_end, export_line},
    links::key_links,
    verify::known_keys,
};
use indelible_core::{
    tile,
    tree::{Frontier, LeafIndex, TreeHead, TreeSize},
};
use indelible_store::store::{Reader, StoredTree};
use serde_json::json;

use super::prove::published;
use crate::{
    cli::ExportArgs,
    exit,
    failure::Failure,
    output::{self, Out},
    places::Places,
};

/// Read in one go.
const READ_BYTES: usize = 1 << 20;

/// Exports a range of entries.
pub(crate) fn run(places: &Places, json: bool, args: &ExportArgs) -> Result<(), Failure> {
    let reader = places.reader()?;
    let (checkpoint, note) = published(places, &*reader)?;
    let size = checkpoint.head.size;
    let (from, to) = (args.from, args.to.unwrap_or(size.0));
    if from > to && args.to.is_some() {
        return Err(Failure::Usage(format!("--from {from} is behind --to {to}: there is nothing between them")));
    }
    if from.max(to) > size.0 {
        let covered = output::entries(size.0);
        return Err(Failure::text(format!(
            "the newest checkpoint covers {covered}, not {}: publish one with `indelible checkpoint`, or export fewer",
            from.max(to)
        )));
    }
    let keys = key_links(&*reader, &known_keys(&*reader, None, &[])?.until(size), &note)?;
    let mut sink = Sink::open(args.output.as_deref())?;
    entries(&*reader, from, to, &checkpoint.head, &mut sink)?;
    sink.write(&export_end(&*reader, (from, to), size, &note, &keys)?)?;
    sink.finish()?;
    tell(args, json, (from, to))
}

/// Says what was written, where that was a file.
pub(super) fn tell(args: &ExportArgs, json: bool, (from, to): (u64, u64)) -> Result<(), Failure> {
    match args.output.as_deref().filter(|path| *path != Path::new("-")) {
        None => Ok(()),
        Some(path) if json => {
            output::json(&json!({ "entries": to - from, "file": path.display().to_string(), "from": from, "to": to }))
        }
        Some(path) => output::text(&format!(
            "wrote {}: {} and the checkpoint over them",
            path.display(),
            output::entries(to - from)
        )),
    }
}

fn entries(reader: &dyn Reader, from: u64, to: u64, head: &TreeHead, sink: &mut Sink) -> Result<(), Failure> {
    let tree = StoredTree(reader);
    let broken = |detail: &str| {
        let error = LogError::Evidence { index: from, detail: detail.to_owned() };
        Failure::Evidence(exit::TAMPERED, Box::new(error))
    };
    let left = tile::compact_left(&tree, from)?;
    let mut frontier =
        Frontier::from_parts(TreeSize(from), left).ok_or_else(|| broken("the stored tree before it has a hole"))?;
    let bar = output::progress("exporting", (to - from).max(1));
    let mut text = Vec::new();
    let mut next = from;
    while next < to {
        let chunk = reader.read(LeafIndex(next), READ_BYTES)?;
        text.clear();
        for line in chunk.lines().take(usize::try_from(to - next).unwrap_or(usize::MAX)) {
            frontier.push(export_line(line, next, &mut text)?);
            next += 1;
        }
        sink.write(&text)?;
        bar.set_position(next - from);
    }
    bar.finish_and_clear();
    let right = tile::compact_right(&tree, to, head.size)?;
    let folded = frontier.complete(&right, head.size);
    if folded.is_some_and(|folded| folded.root() == head.root) {
        return Ok(());
    }
    Err(broken("these entries do not lead to the root that the checkpoint signed, so the export has no last line"))
}

/// Where an export goes.
pub(super) enum Sink {
    Stdout(Out),
    File(BufWriter<File>, std::path::PathBuf),
}

impl Sink {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(Self::Stdout(Out::lock())) };
        let file = File::create(path).map_err(Failure::io("write", path))?;
        Ok(Self::File(BufWriter::new(file), path.to_owned()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => out.bytes(bytes),
            Self::File(file, path) => file.write_all(bytes).map_err(Failure::io("write", path)),
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file, path) => {
                file.flush().and_then(|()| file.get_ref().sync_all()).map_err(Failure::io("write", path))
            }
        }
    }
}
