//! What the tests share: the check of the tail, and a log on a simulated disk with everything that is known of it.

use std::path::Path;

use indelible_core::{
    entry::Line,
    tree::{Hash, LeafIndex},
};
use indelible_store::driver::{TailCheck, TailFault};
use indelible_store::{
    conformance::{Scribe, fault},
    store::Reader,
};

pub(crate) fn root() -> &'static Path {
    Path::new("/log")
}

/// Lines are the log's own by what the scribe says.
pub(crate) struct Own;

impl TailCheck for Own {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
        fault(line, leaf)
    }
}

/// All lines that a store gives, by reading in order.
#[track_caller]
pub(crate) fn read_all(reader: &dyn Reader) -> Vec<Vec<u8>> {
    let size = reader.size().unwrap().0;
    let mut lines = Vec::new();
    while (lines.len() as u64) < size {
        let chunk = reader.read(LeafIndex(lines.len() as u64), 1 << 20).unwrap();
        lines.extend(chunk.bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec));
    }
    lines
}

/// All bytes that a scan gives.
#[track_caller]
pub(crate) fn scan_all(reader: &dyn Reader) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in reader.runs().unwrap() {
        for piece in reader.pieces(&run).unwrap() {
            bytes.extend(reader.read_piece(&run, &piece).unwrap());
        }
    }
    bytes
}

#[track_caller]
pub(crate) fn check_entries(reader: &dyn Reader, scribe: &Scribe) {
    let lines = read_all(reader);
    let differs = lines.iter().zip(&scribe.lines).position(|(found, want)| found != want);
    assert_eq!((differs, lines.len()), (None, scribe.lines.len()));
    assert!(scan_all(reader) == scribe.lines.concat());
}
