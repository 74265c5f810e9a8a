//! Changes to what was synced are found, and never cut as if they were a torn write.

use std::path::{Path, PathBuf};

use indelible_core::{
    entry::Line,
    tree::{LeafIndex, TreeHead, leaf_hash},
};
use indelible_store::driver::TailCheck as _;
use indelible_store::{
    conformance::{Scribe, info},
    fault::{Random, SimDisk},
    store::{Chunk, Reader as _, StoreError, Writer as _},
};
use indelible_store_file::{FileReader, FileWriter, Settings, writer::create};

use crate::world::{Own, root};

/// A log of some batches, with a checkpoint somewhere among them, whose writer was killed.
fn log(random: &mut Random) -> (SimDisk, Scribe, TreeHead) {
    let disk = SimDisk::new(random.next_u64());
    let settings = Settings { segment_bytes: [4000, 64 << 20][random.index(2)], ..Settings::default() };
    create(&disk.shared(), root(), &info(), &settings).unwrap();
    let mut scribe = Scribe::default();
    let mut head = scribe.head(0);
    let writer = FileWriter::open(disk.shared(), root(), &head, &Own).unwrap().0;
    for _ in 0..1 + random.below(8) {
        let sizes: Vec<usize> = (0..=random.below(5)).map(|_| random.index(400)).collect();
        writer.append(&scribe.batch(&sizes)).unwrap();
        if random.below(4) == 0 {
            let from = usize::try_from(head.size.0).unwrap();
            let lines = Chunk { first: head.size.0, bytes: scribe.lines[from..].concat() };
            writer.extend_tree(&scribe.leaves[from..], &lines).unwrap();
            writer.sync_tree().unwrap();
            head = scribe.head(scribe.size());
        }
    }
    drop(writer);
    disk.process_crash();
    (disk, scribe, head)
}

/// The segment that holds entry `index`, and where its line stands there.
fn place(disk: &SimDisk, scribe: &Scribe, index: usize) -> (PathBuf, usize) {
    let segments = disk.snapshot();
    let segments = segments.into_iter().filter(|(path, _)| path.starts_with("log/segments"));
    let (path, bytes) = segments.rev().find(|(path, _)| first_of(path) <= index).unwrap();
    let offset = scribe.lines[first_of(&path)..index].iter().map(Vec::len).sum();
    assert!(bytes[offset..].starts_with(&scribe.lines[index]));
    (path, offset)
}

fn first_of(path: &Path) -> usize {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn open(disk: &SimDisk, head: &TreeHead) -> Result<FileWriter, StoreError> {
    let (writer, recovered) = FileWriter::open(disk.shared(), root(), head, &Own)?;
    assert_eq!(recovered.cut, None);
    Ok(writer)
}

#[test]
fn a_changed_bit_is_found_and_not_cut() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let (disk, scribe, head) = log(&mut random);
        let index = random.index(scribe.lines.len());
        let (path, offset) = place(&disk, &scribe, index);
        // `batch` is the one member that nothing signs.
        let signed = scribe.lines[index].iter().position(|b| *b == b',').unwrap();
        let at = offset + signed + random.index(scribe.lines[index].len() - signed);
        let bit = random.below(8);
        disk.edit(&path, |bytes| bytes[at] ^= 1 << bit).unwrap();
        let before = disk.snapshot();
        match open(&disk, &head) {
            Ok(writer) => {
                // Below the head nobody looks until it is read; then the tree tells.
                assert!((index as u64) < head.size.0, "seed {seed}: entry {index} of {}", head.size);
                assert_eq!(writer.size().unwrap().0, scribe.size());
                let want = writer.hashes(0, index as u64, 1).unwrap();
                let found = writer.read(LeafIndex(index as u64), 0).ok();
                let leaf = found.as_ref().and_then(|chunk| {
                    let line = Line::parse(chunk.lines().next()?).ok()?;
                    let leaf = leaf_hash(line.entry.bytes);
                    Own.fault(&line, &leaf).is_none().then_some(leaf)
                });
                assert_ne!(leaf, Some(want[0]), "seed {seed}");
            }
            Err(StoreError::Evidence { .. } | StoreError::Damaged { .. } | StoreError::Line { .. }) => {
                assert_eq!(disk.snapshot(), before, "seed {seed}: nothing is changed");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

#[test]
fn a_segment_that_is_broken_is_not_absent_and_one_that_is_gone_is() {
    let disk = SimDisk::new(7);
    create(&disk.shared(), root(), &info(), &Settings { segment_bytes: 4000, ..Settings::default() }).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(disk.shared(), root(), &scribe.head(0), &Own).unwrap().0;
    for _ in 0..12 {
        writer.append(&scribe.batch(&[300; 5])).unwrap();
    }
    writer.extend_tree(&scribe.leaves, &Chunk { first: 0, bytes: scribe.lines.concat() }).unwrap();
    writer.sync_tree().unwrap();
    drop(writer);
    let segments: Vec<PathBuf> = disk.snapshot().into_keys().filter(|path| path.starts_with("log/segments")).collect();
    let (path, first, next) = (&segments[1], first_of(&segments[1]) as u64, first_of(&segments[2]) as u64);
    let whole = disk.snapshot()[path].clone();
    let read = || -> Vec<Result<Chunk, StoreError>> {
        let reader = FileReader::open(disk.shared(), root()).unwrap();
        (first..next).map(|index| reader.read(LeafIndex(index), 0)).collect()
    };
    for broken in [Vec::new(), vec![b'x'; whole.len()], [&whole[..whole.len() / 2], b"x"].concat()] {
        disk.edit(path, |bytes| *bytes = broken).unwrap();
        let read = read();
        assert!(read.iter().any(Result::is_err));
        for error in read.into_iter().filter_map(Result::err) {
            assert!(!matches!(error, StoreError::Absent { .. }), "{error}");
        }
    }
    disk.erase(path).unwrap();
    for result in read() {
        assert!(matches!(result, Err(StoreError::Absent { .. })), "{result:?}");
    }
}

#[test]
fn a_wrong_offset_is_damage_of_our_own_and_a_wrong_line_is_evidence() {
    let disk = SimDisk::new(11);
    create(&disk.shared(), root(), &info(), &Settings { segment_bytes: 4000, ..Settings::default() }).unwrap();
    let mut scribe = Scribe::default();
    let writer = FileWriter::open(disk.shared(), root(), &scribe.head(0), &Own).unwrap().0;
    for _ in 0..12 {
        writer.append(&scribe.batch(&[300; 5])).unwrap();
    }
    writer.extend_tree(&scribe.leaves, &Chunk { first: 0, bytes: scribe.lines.concat() }).unwrap();
    writer.sync_tree().unwrap();
    drop(writer);
    disk.process_crash();
    let (head, last) = (scribe.head(scribe.size()), scribe.lines.len() - 1);
    let (path, offset) = place(&disk, &scribe, last);
    let first = first_of(&path);
    assert!(0 < first && first < last);
    let offsets = Path::new("log/offsets");
    let whole = disk.snapshot()[offsets].clone();
    let position = |index: usize| u64::from_le_bytes(*whole[index * 8..].first_chunk().unwrap());
    let write = |index: usize, value: u64| {
        disk.edit(offsets, |bytes| bytes[index * 8..index * 8 + 8].copy_from_slice(&value.to_le_bytes())).unwrap();
    };
    let wrong =
        |right: u64| [0, 1, right - 1, right + 1, right + 300, right + 100_000, 1 << 40, 1 << 62, !(1 << 63), u64::MAX];
    for index in [last, first] {
        for value in wrong(position(index)) {
            write(index, value);
            let before = disk.snapshot();
            let error = open(&disk, &head).err().unwrap();
            assert!(
                matches!(&error, StoreError::Damaged { place, .. } if place.ends_with("offsets")),
                "entry {index} at {value}: {error}"
            );
            assert_eq!(disk.snapshot(), before, "nothing is changed");
            // A line that is wrong is evidence, whatever the offsets say.
            disk.edit(&path, |bytes| bytes[offset + 40] ^= 1).unwrap();
            let error = open(&disk, &head).err().unwrap();
            assert!(matches!(error, StoreError::Evidence { .. } | StoreError::Line { .. }), "{error}");
            disk.edit(&path, |bytes| bytes[offset + 40] ^= 1).unwrap();
            disk.edit(offsets, |bytes| bytes.clone_from(&whole)).unwrap();
        }
    }
    // One that is not there is evidence as well.
    write(last, 7);
    let line = disk.snapshot()[&path].clone();
    disk.edit(&path, |bytes| bytes.truncate(offset)).unwrap();
    let error = open(&disk, &head).err().unwrap();
    assert!(matches!(&error, StoreError::Evidence { index, .. } if *index == last as u64), "{error}");
    disk.edit(&path, |bytes| *bytes = line).unwrap();
    disk.edit(offsets, |bytes| *bytes = whole).unwrap();
    open(&disk, &head).unwrap();
}

#[test]
fn a_log_cut_at_its_end_is_not_opened() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let (disk, scribe, head) = log(&mut random);
        let last = scribe.lines.len() - 1;
        let (path, _) = place(&disk, &scribe, last);
        let len = disk.snapshot()[&path].len();
        let cut = random.index(len);
        disk.edit(&path, |bytes| bytes.truncate(cut)).unwrap();
        let before = disk.snapshot();
        let opened = open(&disk, &head);
        assert!(matches!(opened, Err(StoreError::Evidence { .. })), "seed {seed}: {:?}", opened.err());
        assert_eq!(disk.snapshot(), before, "seed {seed}: nothing is changed");
    }
}
