//! Stored levels around the places where a level gets a hash, and the compact ranges of an export.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use indelible_core::tile::{
    LevelReader, Prover, compact_left, compact_right, frontier_at, level_len, prove_consistency, prove_inclusion,
    root_at,
};
use indelible_core::tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize};

use super::{Levels, leaves, naive_path, naive_root, naive_subproof};

const SIZES: [usize; 13] = [0, 1, 255, 256, 257, 258, 511, 512, 65535, 65536, 65537, 65538, 70000];

#[test]
fn levels_hold_the_roots_of_complete_subtrees() {
    let leaves = leaves(70_000);
    let levels = Levels::of(&leaves);
    assert_eq!(levels.levels.len(), 3);
    for (level, hashes) in (0u8..).zip(&levels.levels) {
        assert_eq!(hashes.len() as u64, level_len(TreeSize(70_000), level));
        for (subtree, hash) in leaves.chunks_exact(256usize.pow(u32::from(level))).zip(hashes) {
            assert_eq!(naive_root(subtree), *hash);
        }
    }
}

#[test]
fn roots_frontiers_and_proofs_around_the_steps_of_levels() {
    let leaves = leaves(70_000);
    let levels = Levels::of(&leaves);
    let mut count = 0;
    for size in SIZES {
        let tree = &leaves[..size];
        let head = TreeHead { size: TreeSize(size as u64), root: naive_root(tree) };
        assert_eq!(root_at(&levels, head.size), Ok(head.root), "size {size}");
        let mut appended = Frontier::new();
        tree.iter().for_each(|leaf| appended.push(*leaf));
        assert_eq!(frontier_at(&levels, head.size), Ok(appended), "size {size}");
        let near = [0, 1, 127, 128, 254, 255, 256, 257, 511, 512, 32768, 65279, 65280, 65535, 65536, 65537, 69887];
        for index in near.into_iter().chain([size.saturating_sub(2), size.saturating_sub(1)]).filter(|i| *i < size) {
            let proof = prove_inclusion(&levels, LeafIndex(index as u64), head.size).unwrap();
            assert_eq!(proof.hashes, naive_path(index, tree), "index {index} of {size}");
            assert_eq!(proof.verify(&leaves[index], &head), Ok(()));
            let old = TreeHead { size: TreeSize(index as u64 + 1), root: naive_root(&tree[..=index]) };
            let step = prove_consistency(&levels, old.size, head.size).unwrap();
            assert_eq!(step.hashes, naive_subproof(index + 1, tree, true), "{} to {size}", index + 1);
            assert_eq!(step.verify(&old, &head), Ok(()));
            count += 2;
        }
    }
    println!("proofs from stored levels compared and verified: {count}");
}

#[test]
fn a_prover_gives_the_same_proofs_as_single_calls() {
    let leaves = leaves(66_100);
    let levels = Levels::of(&leaves);
    let size = TreeSize(66_100);
    let mut prover = Prover::new(&levels, size);
    for step in 0..2_000u64 {
        let index = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size.0;
        let index = LeafIndex(index);
        assert_eq!(prover.inclusion(index), prove_inclusion(&levels, index, size));
        let from = TreeSize(index.0 + 1);
        assert_eq!(prover.consistency(from), prove_consistency(&levels, from, size));
    }
}

#[test]
fn no_run_is_read_twice_for_one_proof() {
    let leaves = leaves(70_000);
    let levels = Levels::of(&leaves);
    for size in SIZES.into_iter().filter(|size| *size > 0) {
        for index in (0..size).step_by(1 + size / 97).chain([size - 1]) {
            for kind in ["inclusion", "consistency"] {
                levels.reads.borrow_mut().clear();
                match kind {
                    "inclusion" => drop(prove_inclusion(&levels, LeafIndex(index as u64), TreeSize(size as u64))),
                    _ => drop(prove_consistency(&levels, TreeSize(index as u64 + 1), TreeSize(size as u64))),
                }
                let reads = levels.reads.borrow();
                let distinct: HashSet<_> = reads.iter().collect();
                assert_eq!(distinct.len(), reads.len(), "{kind} {index} of {size}: {reads:?}");
            }
        }
    }
}

#[test]
fn compact_ranges_and_leaves_fold_to_the_root() {
    let leaves = leaves(600);
    let levels = Levels::of(&leaves);
    let mut count = 0;
    for size in [1usize, 2, 7, 255, 256, 257, 300, 511, 512, 513, 600] {
        let root = naive_root(&leaves[..size]);
        for from in (0..=size).step_by(1 + size / 23) {
            for to in (from..=size).step_by(1 + size / 29).chain([size]) {
                let left = compact_left(&levels, from as u64).unwrap();
                let right = compact_right(&levels, to as u64, TreeSize(size as u64)).unwrap();
                let mut frontier = Frontier::from_parts(TreeSize(from as u64), left).unwrap();
                leaves[from..to].iter().for_each(|leaf| frontier.push(*leaf));
                let whole = frontier.clone().complete(&right, TreeSize(size as u64)).unwrap();
                assert_eq!(whole.root(), root, "{from}..{to} of {size}");
                if let Some((_, fewer)) = right.split_first() {
                    assert_eq!(frontier.clone().complete(fewer, TreeSize(size as u64)), None);
                }
                let more = [right.as_slice(), &leaves[..1]].concat();
                assert_eq!(frontier.complete(&more, TreeSize(size as u64)), None);
                count += 1;
            }
        }
    }
    assert_eq!(compact_right(&levels, 5, TreeSize(5)), Ok(vec![]));
    assert_eq!(compact_right(&levels, 6, TreeSize(5)), Ok(vec![]));
    println!("exported ranges folded: {count}");
}

#[test]
fn subtrees_are_appended_only_where_they_can_stand() {
    let any = Hash([3; 32]);
    for (size, height, expect) in
        [(0, 0, true), (0, 63, true), (0, 64, false), (1, 0, true), (1, 1, false), (6, 1, true)]
    {
        let hashes = vec![any; u64::count_ones(size) as usize];
        let before = Frontier::from_parts(TreeSize(size), hashes).unwrap();
        let mut after = before.clone();
        assert_eq!(after.push_subtree(height, any), expect, "{size} {height}");
        if expect {
            assert_eq!(after.size().0, size + (1 << height));
            assert_eq!(after.hashes().len(), after.size().0.count_ones() as usize);
        } else {
            assert_eq!(after, before);
        }
    }
}

#[test]
fn short_answers_make_proofs_that_do_not_verify() {
    struct Short(Levels);
    impl LevelReader for Short {
        type Error = String;
        fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, String> {
            let mut hashes = self.0.hashes(level, first, count).unwrap();
            hashes.truncate(count / 2);
            Ok(hashes)
        }
    }
    struct Broken;
    impl LevelReader for Broken {
        type Error = String;
        fn hashes(&self, _: u8, _: u64, _: usize) -> Result<Vec<Hash>, String> {
            Err("gone".to_owned())
        }
    }
    let leaves = leaves(300);
    let head = TreeHead { size: TreeSize(300), root: naive_root(&leaves) };
    let short = Short(Levels::of(&leaves));
    assert_ne!(root_at(&short, head.size), Ok(head.root));
    let proof = prove_inclusion(&short, LeafIndex(3), head.size).unwrap();
    assert!(proof.verify(&leaves[3], &head).is_err());
    assert_eq!(root_at(&Broken, head.size), Err("gone".to_owned()));
    assert!(prove_inclusion(&Broken, LeafIndex(3), head.size).is_err());
    assert!(prove_consistency(&Broken, TreeSize(3), head.size).is_err());
}

/// Says what a proof costs in a tree of ten million entries. It is a report, not a limit: a busy machine fails nothing.
#[test]
fn proofs_in_a_large_tree() {
    /// Any hashes will do: the work does not depend on them.
    struct Large;
    impl LevelReader for Large {
        type Error = std::convert::Infallible;
        fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error> {
            Ok(vec![Hash([level ^ first.to_le_bytes()[1]; 32]); count])
        }
    }
    let size = TreeSize(10_000_000);
    let rounds = 2_000u64;
    let index = |round: u64| LeafIndex(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size.0);
    let begun = Instant::now();
    for round in 0..rounds {
        assert!(black_box(prove_inclusion(&Large, index(round), size)).is_ok());
    }
    let single = begun.elapsed();
    let mut prover = Prover::new(&Large, size);
    let begun = Instant::now();
    for round in 0..rounds {
        assert!(black_box(prover.inclusion(index(round))).is_ok());
    }
    let kept = begun.elapsed();
    let each = |elapsed: std::time::Duration| elapsed.as_nanos() / u128::from(rounds);
    println!("inclusion proof in a tree of {size}: {} ns alone, {} ns from a prover", each(single), each(kept));
}
