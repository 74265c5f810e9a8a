//! A segment that is compressed while somebody scans it gives the same lines.

use indelible_store::{
    conformance::{Scribe, info},
    fault::SimDisk,
    store::{Chunk, Reader as _, StoreError, Writer as _},
};
use indelible_store_file::{FileReader, FileWriter, Settings, writer::create};

use crate::world::{Own, root, scan_all};

#[test]
fn pieces_of_the_plain_form_are_read_from_the_closed_one() {
    let disk = SimDisk::new(1);
    let settings = Settings { segment_bytes: 5 << 20, ..Settings::default() };
    create(&disk.shared(), root(), &info(), &settings).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(disk.shared(), root(), &scribe.head(0), &Own).unwrap().0;
    // Lines of many lengths, so that pieces end anywhere in them.
    for batch in 0..40_usize {
        let sizes: Vec<usize> = (0..60).map(|n| (n * 977 + batch * 131) % 6000).collect();
        writer.append(&scribe.batch(&sizes)).unwrap();
    }
    let lines = Chunk { first: 0, bytes: scribe.lines.concat() };
    writer.extend_tree(&scribe.leaves, &lines).unwrap();
    writer.sync_tree().unwrap();
    let reader = FileReader::open(disk.shared(), root()).unwrap();
    let runs = reader.runs().unwrap();
    assert!(runs.len() > 1 && runs[0].bytes > 3 << 20, "{runs:?}");
    let pieces: Vec<_> = runs.iter().map(|run| reader.pieces(run).unwrap()).collect();
    assert!(pieces[0].len() > 3 && pieces[0].iter().all(|piece| piece.units == 0));
    let read = |reader: &FileReader| {
        let mut all = Vec::new();
        for (run, pieces) in runs.iter().zip(&pieces) {
            all.push(pieces.iter().map(|piece| reader.read_piece(run, piece).unwrap()).collect::<Vec<_>>());
        }
        all
    };
    let plain = read(&reader);
    assert!(plain.concat().concat() == scribe.lines.concat());
    while writer.tend(scribe.head(scribe.size()).size).unwrap() {}
    // One that still has the plain file open, and one that has not.
    assert!(read(&reader) == plain);
    let fresh = FileReader::open(disk.shared(), root()).unwrap();
    assert!(read(&fresh) == plain);
    assert!(fresh.runs().unwrap()[0].place.ends_with(".zst"));
    assert!(scan_all(&fresh) == scribe.lines.concat());
}

#[test]
fn a_batch_for_another_place_is_refused() {
    let disk = SimDisk::new(1);
    create(&disk.shared(), root(), &info(), &Settings::default()).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(disk.shared(), root(), &scribe.head(0), &Own).unwrap().0;
    let first = scribe.batch(&[1, 2, 3]);
    writer.append(&first).unwrap();
    assert!(matches!(writer.append(&first), Err(StoreError::Evidence { index: 3, .. })));
    assert_eq!(writer.size().unwrap().0, 3);
}
