//! Making and verifying proofs: every index and every pair of small trees, and everything that must fail.

use indelible_core::proof::{ConsistencyProof, InclusionProof, ProofError};
use indelible_core::tile::{ProveError, prove_consistency, prove_inclusion};
use indelible_core::tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize, range_root};

use super::{Levels, head, leaves, naive_path, naive_root, naive_subproof};

const INCLUSION_SIZES: usize = 256;
const CONSISTENCY_SIZES: usize = 130;

#[test]
fn frontier_and_range_root_follow_the_definition() {
    let leaves = leaves(300);
    let mut frontier = Frontier::new();
    for size in 0..=leaves.len() {
        let expect = naive_root(&leaves[..size]);
        assert_eq!(frontier.root(), expect, "size {size}");
        assert_eq!(frontier.head(), TreeHead { size: TreeSize(size as u64), root: expect });
        assert_eq!(range_root(&leaves[..size]), expect);
        let parts = Frontier::from_parts(frontier.size(), frontier.hashes().to_vec()).unwrap();
        assert_eq!(parts, frontier);
        let mut short = frontier.hashes().to_vec();
        if short.pop().is_some() {
            assert_eq!(Frontier::from_parts(frontier.size(), short), None);
        }
        let long = [frontier.hashes(), &leaves[..1]].concat();
        assert_eq!(Frontier::from_parts(frontier.size(), long), None);
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf);
        }
    }
}

#[test]
fn every_inclusion_proof_of_small_trees() {
    let leaves = leaves(INCLUSION_SIZES as u64);
    let levels = Levels::of(&leaves);
    let mut count = 0;
    for size in 1..=INCLUSION_SIZES {
        let head = head(&leaves[..size]);
        for (index, leaf) in leaves[..size].iter().enumerate() {
            let proof = prove_inclusion(&levels, LeafIndex(index as u64), head.size).unwrap();
            assert_eq!(proof.hashes, naive_path(index, &leaves[..size]), "index {index} of {size}");
            assert_eq!(proof.verify(leaf, &head), Ok(()), "index {index} of {size}");
            count += 1;
        }
    }
    println!("inclusion proofs made, compared and verified: {count}");
}

#[test]
fn every_consistency_proof_of_small_trees() {
    let leaves = leaves(CONSISTENCY_SIZES as u64);
    let levels = Levels::of(&leaves);
    let heads: Vec<_> = (0..=leaves.len()).map(|size| head(&leaves[..size])).collect();
    let mut count = 0;
    for new in 1..=CONSISTENCY_SIZES {
        for old in 1..=new {
            let proof = prove_consistency(&levels, heads[old].size, heads[new].size).unwrap();
            assert_eq!(proof.hashes, naive_subproof(old, &leaves[..new], true), "{old} to {new}");
            assert_eq!(proof.verify(&heads[old], &heads[new]), Ok(()), "{old} to {new}");
            count += 1;
        }
    }
    println!("consistency proofs made, compared and verified: {count}");
}

/// What can be done to a list of hashes: one changed, one removed, one added, two swapped.
fn spoiled(hashes: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..hashes.len() {
        let mut flipped = hashes.to_vec();
        flipped[at].0[at % 32] ^= 1 << (at % 8);
        let mut removed = hashes.to_vec();
        removed.remove(at);
        all.extend([flipped, removed]);
        if at > 0 {
            let mut swapped = hashes.to_vec();
            swapped.swap(at, at - 1);
            all.push(swapped);
        }
    }
    for at in 0..=hashes.len() {
        for hash in [Hash([0; 32]), hashes.get(at).copied().unwrap_or(Hash([1; 32]))] {
            let mut added = hashes.to_vec();
            added.insert(at, hash);
            all.push(added);
        }
    }
    all
}

#[test]
fn no_spoiled_inclusion_proof_verifies() {
    let leaves = leaves(70);
    let levels = Levels::of(&leaves);
    let mut count = 0;
    for size in 1..=leaves.len() {
        let head = head(&leaves[..size]);
        for index in 0..size {
            let good = prove_inclusion(&levels, LeafIndex(index as u64), head.size).unwrap();
            for hashes in spoiled(&good.hashes) {
                let bad = InclusionProof { hashes, ..good };
                assert!(bad.verify(&leaves[index], &head).is_err(), "index {index} of {size}");
                count += 1;
            }
            for other in (0..size + 3).filter(|other| *other != index) {
                let bad = InclusionProof { index: LeafIndex(other as u64), ..good.clone() };
                assert!(bad.verify(&leaves[index], &head).is_err(), "{other} for {index} of {size}");
                count += 1;
            }
            let mut other_root = head;
            other_root.root.0[31] ^= 1;
            assert!(matches!(good.verify(&leaves[index], &other_root), Err(ProofError::RootMismatch { .. })));
            assert!(good.verify(&leaves[(index + 1) % 70], &head).is_err());
        }
    }
    println!("spoiled inclusion proofs refused: {count}");
}

#[test]
fn no_spoiled_consistency_proof_verifies() {
    let leaves = leaves(70);
    let levels = Levels::of(&leaves);
    let heads: Vec<_> = (0..=leaves.len()).map(|size| head(&leaves[..size])).collect();
    let mut count = 0;
    for new in 1..=70 {
        for old in 1..=new {
            let good = prove_consistency(&levels, heads[old].size, heads[new].size).unwrap();
            for hashes in spoiled(&good.hashes) {
                let bad = ConsistencyProof { hashes };
                assert!(bad.verify(&heads[old], &heads[new]).is_err(), "{old} to {new}");
                count += 1;
            }
            let (mut other_old, mut other_new) = (heads[old], heads[new]);
            other_old.root.0[0] ^= 1;
            other_new.root.0[0] ^= 1;
            assert!(good.verify(&other_old, &heads[new]).is_err(), "{old} to {new}");
            assert!(good.verify(&heads[old], &other_new).is_err(), "{old} to {new}");
        }
    }
    println!("spoiled consistency proofs refused: {count}");
}

#[test]
fn says_which_step_failed() {
    let leaves = leaves(8);
    let (five, eight) = (head(&leaves[..5]), head(&leaves));
    let empty = head(&[]);
    let levels = Levels::of(&leaves);
    let none = ConsistencyProof { hashes: vec![] };
    let step = prove_consistency(&levels, five.size, eight.size).unwrap();
    assert_eq!(none.verify(&empty, &eight), Err(ProofError::OldTreeEmpty));
    assert_eq!(none.verify(&empty, &empty), Err(ProofError::OldTreeEmpty));
    assert_eq!(none.verify(&eight, &five), Err(ProofError::NewTreeSmaller { old: TreeSize(8), new: TreeSize(5) }));
    assert_eq!(none.verify(&five, &eight), Err(ProofError::TooFewHashes { found: 0 }));
    assert_eq!(none.verify(&eight, &eight), Ok(()));
    assert!(matches!(step.verify(&eight, &eight), Err(ProofError::TooManyHashes { .. })));
    let path = prove_inclusion(&levels, LeafIndex(2), eight.size).unwrap();
    assert_eq!(
        path.verify(&leaves[2], &TreeHead { size: TreeSize(2), ..eight }),
        Err(ProofError::IndexOutsideTree { index: LeafIndex(2), size: TreeSize(2) })
    );
    assert_eq!(
        prove_inclusion(&levels, LeafIndex(8), eight.size),
        Err(ProveError::IndexOutsideTree { index: LeafIndex(8), size: TreeSize(8) })
    );
    for (from, to) in [(0, 8), (0, 0), (8, 5)] {
        let (from, to) = (TreeSize(from), TreeSize(to));
        assert_eq!(prove_consistency(&levels, from, to), Err(ProveError::NoSuchStep { from, to }));
    }
}

#[test]
fn verifies_nothing_and_ends_at_the_largest_sizes() {
    let any = Hash([7; 32]);
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) + 1] {
        let head = TreeHead { size: TreeSize(size), root: any };
        for count in [0, 1, 63, 64, 65, 128] {
            for index in [0, 1, size / 2, size - 1, size] {
                let proof = InclusionProof { index: LeafIndex(index), hashes: vec![any; count] };
                assert!(proof.verify(&any, &head).is_err());
                let old = TreeHead { size: TreeSize(index), root: any };
                let proof = ConsistencyProof { hashes: vec![any; count] };
                assert_eq!(proof.verify(&old, &head).is_ok(), index == size && count == 0);
            }
        }
    }
}
