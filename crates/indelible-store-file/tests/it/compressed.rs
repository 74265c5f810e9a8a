//! A segment that is compressed while somebody scans it gives the same lines; a single entry costs one frame.

use indelible_core::tree::LeafIndex;
use indelible_store::{
    conformance::{Scribe, info},
    disk::Open,
    fault::SimDisk,
    store::{Chunk, Reader as _, StoreError, Writer as _},
};
use indelible_store_file::{
    FileReader, FileWriter, Settings,
    frames::{parse_table, table_len},
    writer::create,
};

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

#[test]
fn a_single_entry_is_read_from_its_own_frame_alone() {
    let disk = SimDisk::new(1);
    let settings = Settings { segment_bytes: 1 << 20, ..Settings::default() };
    create(&disk.shared(), root(), &info(), &settings).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(disk.shared(), root(), &scribe.head(0), &Own).unwrap().0;
    for _ in 0..8 {
        writer.append(&scribe.batch(&[700; 300])).unwrap();
    }
    writer.extend_tree(&scribe.leaves, &Chunk { first: 0, bytes: scribe.lines.concat() }).unwrap();
    writer.sync_tree().unwrap();
    while writer.tend(scribe.head(scribe.size()).size).unwrap() {}
    let path = root().join("segments/00000000000000000000.jsonl.zst");
    let file = disk.shared().open(&path, Open::Read).unwrap();
    let len = file.len().unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    let table = usize::try_from(table_len(&bytes[bytes.len() - 9..], len).unwrap()).unwrap();
    let frames = parse_table(&bytes[bytes.len() - table..], len).unwrap();
    assert!(frames.len() > 3, "{frames:?}");
    // The second frame is broken: what stands near the end of the first is read all the same.
    let broken = frames[1].at + u64::from(frames[1].compressed) / 2;
    disk.shared().unprotect(&path).unwrap();
    disk.shared().open(&path, Open::Write).unwrap().write_at(&[0; 64], broken).unwrap();
    let reader = FileReader::open(disk.shared(), root()).unwrap();
    let (mut position, mut told) = (0, 0);
    for (index, line) in (0..).zip(&scribe.lines) {
        let read = reader.read(LeafIndex(index), 0);
        if (frames[1].offset..frames[2].offset).contains(&position) {
            assert!(matches!(read, Err(StoreError::Evidence { .. })), "{index}: {read:?}");
            told += 1;
        } else {
            assert!(read.unwrap().bytes == *line, "{index}");
        }
        position += line.len() as u64;
    }
    assert!(told > 10, "{told}");
}
