//! Where the nodes of the tree stand in stored levels, and proofs made from them.
//!
//! Level *L* holds the roots of the complete subtrees of 256^L leaves, in order: the file `tree/<L>` of a log
//! (`docs/format.md` section 5), or the tiles of that level in a C2SP tlog-tiles log. What stands between two levels is
//! hashed again when it is needed, one *run* of up to 256 hashes at a time, and no run is read twice for one proof.
//!
//! Nothing here trusts what it reads, nor can it: a wrong stored hash makes a wrong root or a proof that does not verify.
//! Files are elsewhere; they come in as a [`LevelReader`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::str::FromStr;

use crate::proof::{ConsistencyProof, InclusionProof};
use crate::tree::{Frontier, Hash, LeafIndex, TreeSize, fold_tail, node_hash, parse_decimal, right_heights};

/// How many hashes of one level make one of the next.
pub const WIDTH: u64 = 256;

/// How many steps upwards a level is: `2^8 = 256`.
const LEVEL_HEIGHT: u32 = 8;

/// A source of the stored level hashes.
///
/// An answer has exactly `count` hashes or is an error. An answer that is too short counts as if zeroes followed, so what
/// is made from it verifies against nothing; what is too long is cut. Only hashes below [`level_len`] of the tree size at
/// hand are asked for, never more than [`WIDTH`] at once and never across a multiple of [`WIDTH`].
pub trait LevelReader {
    /// Why hashes could not be read.
    type Error;

    /// The hashes of `level` from number `first` on.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from giving all of them.
    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error>;
}

impl<R: LevelReader + ?Sized> LevelReader for &R {
    type Error = R::Error;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error> {
        (**self).hashes(level, first, count)
    }
}

/// Why no proof was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError<E> {
    /// The index is not below the tree size.
    #[error("index `{index}` is not in a tree of size `{size}`")]
    IndexOutsideTree {
        /// The index that was asked for.
        index: LeafIndex,
        /// The size of the tree.
        size: TreeSize,
    },
    /// There is no consistency proof from the empty tree, nor to a smaller one.
    #[error("there is no consistency proof from size `{from}` to size `{to}`")]
    NoSuchStep {
        /// Size of the old tree.
        from: TreeSize,
        /// Size of the new tree.
        to: TreeSize,
    },
    /// The stored hashes could not be read.
    #[error("could not read the hashes of the tree")]
    Read(#[source] E),
}

/// How many hashes the level holds in a tree of this size.
#[must_use]
pub fn level_len(size: TreeSize, level: u8) -> u64 {
    size.0.checked_shr(LEVEL_HEIGHT * u32::from(level)).unwrap_or(0)
}

/// The root of the tree that the first `size` leaves make.
///
/// # Errors
///
/// That of the reader.
pub fn root_at<R: LevelReader>(reader: &R, size: TreeSize) -> Result<Hash, R::Error> {
    frontier_at(reader, size).map(|frontier| frontier.root())
}

/// The frontier of the tree that the first `size` leaves make.
///
/// # Errors
///
/// That of the reader.
pub fn frontier_at<R: LevelReader>(reader: &R, size: TreeSize) -> Result<Frontier, R::Error> {
    let hashes = compact_left(reader, size.0)?;
    // One hash for each bit of the size: the parts always fit.
    Ok(Frontier::from_parts(size, hashes).unwrap_or_default())
}

/// The roots of the maximal complete subtrees of the leaves `0..to`, left to right (`docs/format.md` section 8).
///
/// # Errors
///
/// That of the reader.
pub fn compact_left<R: LevelReader>(reader: &R, to: u64) -> Result<Vec<Hash>, R::Error> {
    Prover::new(reader, TreeSize(to)).range(0)
}

/// The roots of the subtrees that complete the tree from leaf `from` up to `size`, left to right.
///
/// The sizes are the largest aligned power of two that fits, repeatedly (`docs/format.md` section 8). Nothing if `from` is
/// not below `size`.
///
/// # Errors
///
/// That of the reader.
pub fn compact_right<R: LevelReader>(reader: &R, from: u64, size: TreeSize) -> Result<Vec<Hash>, R::Error> {
    Prover::new(reader, size).range(from)
}

/// An inclusion proof for the leaf at `index` in the tree of the first `size` leaves (RFC 9162 section 2.1.3.1).
///
/// For many proofs in one tree a [`Prover`] costs less.
///
/// # Errors
///
/// An index that is not in the tree, or the reader's error.
pub fn prove_inclusion<R: LevelReader>(
    reader: &R,
    index: LeafIndex,
    size: TreeSize,
) -> Result<InclusionProof, ProveError<R::Error>> {
    Prover::new(reader, size).inclusion(index)
}

/// A consistency proof from the first `from` leaves to the first `to` (RFC 9162 section 2.1.4.1).
///
/// # Errors
///
/// A `from` of zero or beyond `to`, or the reader's error.
pub fn prove_consistency<R: LevelReader>(
    reader: &R,
    from: TreeSize,
    to: TreeSize,
) -> Result<ConsistencyProof, ProveError<R::Error>> {
    Prover::new(reader, to).consistency(from)
}

/// How many runs a [`Prover`] keeps of each level above the leaves: 256 runs of up to 511 hashes are 4 MiB. The runs of level
/// 1 in a tree of up to 16 million leaves all fit.
pub const MAX_KEPT_RUNS: usize = 256;

/// Makes proofs for one tree size, and keeps what they share.
///
/// It keeps the newest run of leaf hashes, up to [`MAX_KEPT_RUNS`] of each level above, and the frontier. A proof then hashes
/// little more than the one run of leaf hashes that its index is in, and the proofs of neighbours next to nothing.
#[derive(Debug)]
pub struct Prover<R> {
    reader: R,
    size: TreeSize,
    runs: [HashMap<u64, Run>; 8],
    frontier: Option<Vec<Hash>>,
}

impl<R: LevelReader> Prover<R> {
    /// For the tree of the first `size` leaves. Nothing is read yet.
    pub fn new(reader: R, size: TreeSize) -> Self {
        Self { reader, size, runs: Default::default(), frontier: None }
    }

    /// See [`prove_inclusion`].
    ///
    /// # Errors
    ///
    /// An index that is not in the tree, or the reader's error.
    pub fn inclusion(&mut self, index: LeafIndex) -> Result<InclusionProof, ProveError<R::Error>> {
        let size = self.size.0;
        if index.0 >= size {
            return Err(ProveError::IndexOutsideTree { index, size: self.size });
        }
        let mut hashes = Vec::new();
        for height in 0..bit_length(size - 1) {
            let sibling = (index.0 >> height) ^ 1;
            let complete = size >> height;
            if sibling < complete {
                hashes.push(self.node(height, sibling).map_err(ProveError::Read)?);
            } else if sibling << height < size {
                hashes.push(self.tail(height).map_err(ProveError::Read)?);
            }
        }
        Ok(InclusionProof { index, hashes })
    }

    /// See [`prove_consistency`].
    ///
    /// # Errors
    ///
    /// A `from` of zero or beyond the tree's size, or the reader's error.
    pub fn consistency(&mut self, from: TreeSize) -> Result<ConsistencyProof, ProveError<R::Error>> {
        if from.0 == 0 || from > self.size {
            return Err(ProveError::NoSuchStep { from, to: self.size });
        }
        let mut hashes = Vec::new();
        // The subtree `start..end` in which the old tree ends, from the whole tree downwards.
        let (mut start, mut end) = (0, self.size.0);
        while from.0 != end {
            let split = start + (1 << bit_length(end - start - 1).saturating_sub(1));
            let beside = if from.0 <= split { split..end } else { start..split };
            hashes.push(self.subtree(beside.start, beside.end).map_err(ProveError::Read)?);
            if from.0 <= split { end = split } else { start = split }
        }
        if start != 0 {
            hashes.push(self.subtree(start, end).map_err(ProveError::Read)?);
        }
        hashes.reverse();
        Ok(ConsistencyProof { hashes })
    }

    /// The roots of the subtrees from leaf `from` to the end of the tree.
    fn range(&mut self, from: u64) -> Result<Vec<Hash>, R::Error> {
        let mut start = from;
        right_heights(from, self.size.0)
            .map(|height| {
                let root = self.node(height, start >> height);
                start += 1 << height;
                root
            })
            .collect()
    }

    /// The root over `start..end`: a complete subtree, or the end of the tree beside complete subtrees.
    fn subtree(&mut self, start: u64, end: u64) -> Result<Hash, R::Error> {
        let width = end - start;
        let height = bit_length(width - 1);
        if width.is_power_of_two() { self.node(height, start >> height) } else { self.tail(height) }
    }

    /// The root over the leaves that are left over when the tree is cut into complete subtrees of `2^height` leaves.
    fn tail(&mut self, height: u32) -> Result<Hash, R::Error> {
        let frontier = match self.frontier.take() {
            Some(frontier) => frontier,
            None => self.range(0)?,
        };
        let larger = self.size.0.checked_shr(height).unwrap_or(0).count_ones();
        let smaller = usize::try_from(larger).ok().and_then(|skip| frontier.get(skip..)).unwrap_or_default();
        let root = fold_tail(smaller).unwrap_or(NOTHING);
        self.frontier = Some(frontier);
        Ok(root)
    }

    /// The root of the complete subtree number `index` among those of `2^height` leaves.
    fn node(&mut self, height: u32, index: u64) -> Result<Hash, R::Error> {
        let (level, row) = (height / LEVEL_HEIGHT, height % LEVEL_HEIGHT);
        let within = LEVEL_HEIGHT - row;
        let number = index >> within;
        // Heights are below 64, so levels are below 8 and each has its slot.
        let Some((level, kept)) = (0..).zip(&mut self.runs).find(|(slot, _)| u32::from(*slot) == level) else {
            return Ok(NOTHING);
        };
        let limit = if level == 0 { 1 } else { MAX_KEPT_RUNS };
        if kept.len() >= limit && !kept.contains_key(&number) {
            kept.clear();
        }
        let run = match kept.entry(number) {
            Entry::Occupied(run) => run.into_mut(),
            Entry::Vacant(place) => place.insert(Run::read(&self.reader, self.size, level, number)?),
        };
        Ok(run.node(row, index & ((1 << within) - 1)))
    }
}

/// Stands for a hash that the reader owed; it is the hash of nothing.
const NOTHING: Hash = Hash([0; 32]);

/// Up to 256 hashes of one level and the complete nodes above them, below the next level.
#[derive(Debug)]
struct Run {
    /// How many hashes the level has here.
    width: usize,
    /// Rows from the level's hashes upwards; row *r* has `width >> r` nodes.
    nodes: Vec<Hash>,
}

impl Run {
    fn read<R: LevelReader>(reader: &R, size: TreeSize, level: u8, number: u64) -> Result<Self, R::Error> {
        let first = number.saturating_mul(WIDTH);
        let width = level_len(size, level).saturating_sub(first).min(WIDTH);
        let width = usize::try_from(width).unwrap_or_default();
        let mut nodes = Vec::with_capacity(2 * width);
        nodes.extend(reader.hashes(level, first, width)?);
        nodes.resize(width, NOTHING);
        let mut row = 0;
        for height in 0..LEVEL_HEIGHT - 1 {
            let pairs = row..row + (width >> height & !1);
            row += width >> height;
            for left in pairs.step_by(2) {
                if let Some([left, right]) = nodes.get(left..left + 2) {
                    nodes.push(node_hash(left, right));
                }
            }
        }
        Ok(Self { width, nodes })
    }

    fn node(&self, row: u32, position: u64) -> Hash {
        let start: usize = (0..row).map(|below| self.width >> below).sum();
        let found = usize::try_from(position).ok().and_then(|position| self.nodes.get(start + position));
        found.copied().unwrap_or(NOTHING)
    }
}

/// How many bits it takes to write the number.
fn bit_length(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Name of a tile as C2SP tlog-tiles serves it: `tile/<level>/<index>[.p/<width>]`.
///
/// The index is written in groups of three digits, all but the last after an `x`. A width of 256 is a full tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    level: u8,
    index: u64,
    width: u16,
}

/// The text is not the path of a tile, or the numbers name no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile; the form is `tile/<level>/<index>[.p/<width>]`")]
pub struct TilePathError;

impl TilePath {
    /// The tile with that number at that level, of 1 to 256 hashes.
    ///
    /// # Errors
    ///
    /// A level above 63 or a width outside 1 to 256.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, TilePathError> {
        let known = level <= 63 && (1..=WIDTH).contains(&u64::from(width));
        known.then_some(Self { level, index, width }).ok_or(TilePathError)
    }

    /// The tile in which hash `number` of `level` stands in a tree of this size, and the hash's place in it.
    #[must_use]
    pub fn holding(level: u8, number: u64, size: TreeSize) -> Option<(Self, u64)> {
        let index = number / WIDTH;
        let width = level_len(size, level).checked_sub(index * WIDTH)?.min(WIDTH);
        let tile = Self::new(level, index, u16::try_from(width).ok()?).ok()?;
        (number % WIDTH < width).then_some((tile, number % WIDTH))
    }

    /// The level, 0 for leaf hashes.
    #[must_use]
    pub fn level(self) -> u8 {
        self.level
    }

    /// The number of the tile in its level.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// How many hashes the tile has.
    #[must_use]
    pub fn width(self) -> u16 {
        self.width
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        let groups = self.index.checked_ilog(1000).unwrap_or(0);
        for group in (1..=groups).rev() {
            write!(f, "x{:03}/", self.index / 1000u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if u64::from(self.width) < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(text: &str) -> Result<Self, TilePathError> {
        let tile = parse_tile(text).ok_or(TilePathError)?;
        // One spelling for each tile: what would be written otherwise is not one.
        if tile.to_string() == text { Ok(tile) } else { Err(TilePathError) }
    }
}

fn parse_tile(text: &str) -> Option<TilePath> {
    let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, u16::try_from(parse_decimal(width)?).ok()?),
        None => (rest, 256),
    };
    let level = u8::try_from(parse_decimal(level)?).ok()?;
    TilePath::new(level, parse_index(index)?, width).ok()
}

/// Reads groups of three digits; which of them bear an `x` is left to the comparison with what would be written.
fn parse_index(text: &str) -> Option<u64> {
    text.split('/').try_fold(0u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let group =
            (digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())??;
        index.checked_mul(1000)?.checked_add(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tile_paths_read_back() {
        for (level, index, width, text) in [
            (0, 0, 256, "tile/0/000"),
            (0, 999, 1, "tile/0/999.p/1"),
            (1, 1000, 255, "tile/1/x001/000.p/255"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (63, u64::MAX, 12, "tile/63/x018/x446/x744/x073/x709/x551/615.p/12"),
        ] {
            let tile = TilePath::new(level, index, width).unwrap();
            assert_eq!(tile.to_string(), text);
            assert_eq!(text.parse(), Ok(tile));
        }
    }

    #[test]
    fn refuses_other_spellings_of_tile_paths() {
        for text in [
            "",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/64/000",
            "tile/0/0",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "/tile/0/000",
            "tile/0/+01",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(text.parse::<TilePath>(), Err(TilePathError), "{text:?}");
        }
    }

    #[test]
    fn tiles_of_a_tree_of_seventy_thousand() {
        let size = TreeSize(70_000);
        for (level, number, expect) in [
            (0, 0, Some(("tile/0/000", 0))),
            (0, 69_999, Some(("tile/0/273.p/112", 111))),
            (0, 70_000, None),
            (1, 272, Some(("tile/1/001.p/17", 16))),
            (2, 0, Some(("tile/2/000.p/1", 0))),
            (2, 1, None),
            (9, 0, None),
        ] {
            let found = TilePath::holding(level, number, size).map(|(tile, place)| (tile.to_string(), place));
            assert_eq!(found, expect.map(|(path, place)| (path.to_owned(), place)), "{level} {number}");
        }
    }
}
