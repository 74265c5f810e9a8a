//! Lookups through all tiers, and what is wrong in files.

use std::path::PathBuf;

use indelible_store::disk::OsDisk;

use super::{
    form::{BLOCK, FOOTER, FOOTER_LEN, HEADER, KEYS_PER_BLOCK, MAGIC, RECORD},
    *,
};
use crate::layout::MAX_ENTRIES;

fn id(n: u64) -> Fingerprint {
    Fingerprint::of(&n.to_string())
}

#[test]
fn finds_every_id_and_no_other_through_files_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    for folder in layout.folders().iter().skip(1) {
        std::fs::create_dir(folder).unwrap();
    }
    let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
    let mut n = 0;
    for step in 0..150_u64 {
        let end = n + step * 7 % 40 + 1;
        index.insert((n..end).map(|n| (id(n), n)), end);
        n = end;
        while index.tend(n, true).unwrap() {}
    }
    assert!(index.runs().len() < 25, "{} files", index.runs().len());
    for index in [&index, &IdIndex::open(OsDisk::shared(), layout.clone()).unwrap()] {
        assert_eq!(index.covered(), n);
        for k in 0..n {
            assert_eq!(index.lookup(id(k)).unwrap(), vec![k]);
        }
        for k in n..n + 2000 {
            assert!(index.lookup(id(k)).unwrap().is_empty());
        }
        let mut scanned = 0;
        for run in index.runs() {
            run.scan(|_| {
                scanned += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(scanned, n);
    }
}

#[test]
fn a_damaged_file_is_not_merged() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    for folder in layout.folders().iter().skip(1) {
        std::fs::create_dir(folder).unwrap();
    }
    let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
    let fan_out = FAN_OUT as u64;
    for n in 0..fan_out - 1 {
        index.insert([(id(n), n)], n + 1);
        index.tend(n + 1, true).unwrap();
    }
    let path = layout.at("ids").join(file_name(2, 3));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - FOOTER_LEN - 1;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    index.insert([(id(fan_out), fan_out - 1)], fan_out);
    for _ in 0..3 {
        assert!(!index.tend(fan_out, true).unwrap());
    }
    assert_eq!(index.runs().len(), FAN_OUT);
    assert_eq!(std::fs::read_dir(layout.at("ids")).unwrap().count(), FAN_OUT);
}

#[test]
fn what_is_in_memory_is_told_only_under_the_token_of_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    for folder in layout.folders().iter().skip(1) {
        std::fs::create_dir(folder).unwrap();
    }
    let index = IdIndex::open(OsDisk::shared(), layout).unwrap();
    let token = index.token();
    index.insert([(id(0), 0)], 1);
    assert_eq!(index.recent(id(0), token), Some(vec![0]));
    index.tend(1, true).unwrap();
    assert_eq!(index.recent(id(0), token), None);
    assert_eq!(index.recent(id(0), index.token()), Some(Vec::new()));
}

/// A file of the id folder whose header says what is given, with nothing but zeros behind it.
fn with_header(dir: &std::path::Path, words: [u64; 4], len: usize) -> PathBuf {
    let path = dir.join("x.ids");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.resize(len, 0);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn numbers_near_the_largest_in_a_header_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let ends = [u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 63, 1 << 60];
    // Also those whose length fits where it is reckoned modulo 2^64.
    let wrapped = (0..100_000_u64).map(|n| u64::MAX - n).find(|count| {
        let blocks = count / KEYS_PER_BLOCK + 1;
        let len = blocks.wrapping_mul(BLOCK).wrapping_add(count.wrapping_mul(RECORD)).wrapping_add(HEADER + FOOTER);
        (HEADER..1 << 20).contains(&len)
    });
    for count in ends.into_iter().chain(wrapped) {
        let blocks = count / KEYS_PER_BLOCK + 1;
        let wrapping = blocks.wrapping_mul(BLOCK).wrapping_add(count.wrapping_mul(RECORD));
        for len in [HEADER, 4096, wrapping.wrapping_add(HEADER + FOOTER)] {
            let len = usize::try_from(len).unwrap().min(1 << 20);
            let path = with_header(dir.path(), [count, 0, count, blocks], len);
            let error = Run::open(&OsDisk::shared(), path, 0, count).err().unwrap();
            assert!(matches!(error, StoreError::Damaged { .. }), "{count}: {error}");
        }
    }
}

#[test]
fn names_near_the_largest_are_no_id_files() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    std::fs::create_dir(layout.at("ids")).unwrap();
    for (first, end) in [(0, u64::MAX), (u64::MAX - 1, u64::MAX), (0, MAX_ENTRIES + 1), (u64::MAX, 0)] {
        std::fs::write(layout.at("ids").join(file_name(first, end)), b"x").unwrap();
    }
    let files = list(&OsDisk::shared(), &layout).unwrap();
    assert_eq!((files.kept.len(), files.stray.len()), (0, 0), "{files:?}");
    let index = IdIndex::open(OsDisk::shared(), layout.clone()).unwrap();
    assert_eq!((index.covered(), index.lookup(id(1)).unwrap()), (0, Vec::new()));
    assert_eq!(strangers(&OsDisk::shared(), &layout).unwrap().len(), 4);
}

#[test]
fn merges_are_few_and_tiered() {
    let mut sizes: Vec<u64> = Vec::new();
    for size in std::iter::repeat_n(1, 1000) {
        sizes.push(size);
        while let Some(from) = merge_from(&sizes) {
            let total = sizes.drain(from..).sum();
            sizes.push(total);
        }
    }
    assert!(sizes.len() <= 4 * FAN_OUT, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<u64>(), 1000);
}
