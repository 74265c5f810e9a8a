//! The tree against the definitions of RFC 6962 section 2.1, written out as they stand there.

mod levels;
mod proofs;
mod text;

use std::cell::RefCell;
use std::convert::Infallible;

use indelible_core::tile::{LevelReader, WIDTH, level_len};
use indelible_core::tree::{Frontier, Hash, TreeHead, TreeSize, empty_root, leaf_hash, node_hash};

/// Distinct leaf hashes.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(format!("entry {number}").as_bytes())).collect()
}

/// `MTH` of RFC 6962 section 2.1.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// `PATH` of RFC 6962 section 2.1.1.
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return vec![];
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, beside) = if index < at {
        (naive_path(index, left), naive_root(right))
    } else {
        (naive_path(index - at, right), naive_root(left))
    };
    path.push(beside);
    path
}

/// `SUBPROOF` of RFC 6962 section 2.1.2; `known` says that the old root is known to the verifier.
fn naive_subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if known { vec![] } else { vec![naive_root(leaves)] };
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut proof, beside) = if old <= at {
        (naive_subproof(old, left, known), naive_root(right))
    } else {
        (naive_subproof(old - at, right, false), naive_root(left))
    };
    proof.push(beside);
    proof
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead { size: TreeSize(leaves.len() as u64), root: naive_root(leaves) }
}

/// Stored levels in memory, built by appending, with a record of what was read.
#[derive(Default)]
struct Levels {
    levels: Vec<Vec<Hash>>,
    frontier: Frontier,
    reads: RefCell<Vec<(u8, u64, usize)>>,
}

impl Levels {
    fn of(leaves: &[Hash]) -> Self {
        let mut levels = Self { levels: vec![vec![]], ..Self::default() };
        leaves.iter().for_each(|leaf| levels.push(*leaf));
        levels
    }

    fn push(&mut self, leaf: Hash) {
        self.levels[0].push(leaf);
        let levels = &mut self.levels;
        self.frontier.push_with(leaf, &mut |level, root| {
            assert!(level > 0);
            levels.resize_with(levels.len().max(usize::from(level) + 1), Vec::new);
            levels[usize::from(level)].push(root);
        });
    }
}

impl LevelReader for Levels {
    type Error = Infallible;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Infallible> {
        assert!(count as u64 <= WIDTH && first.is_multiple_of(WIDTH), "one run at a time");
        assert!(first + count as u64 <= level_len(self.frontier.size(), level), "only what is there");
        self.reads.borrow_mut().push((level, first, count));
        let first = usize::try_from(first).unwrap();
        Ok(self.levels[usize::from(level)][first..first + count].to_vec())
    }
}
