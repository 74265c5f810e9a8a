//! The RFC 6962 Merkle tree: hashes, positions, and the compact frontier.
//!
//! The tree over *n* leaves falls into complete subtrees, one for each bit that is set in *n*, the largest on the left.
//! A [`Frontier`] is the list of their roots: enough to append leaves and to compute the root, in at most 64 hashes.
//! How nodes are stored, and how proofs are made from them, is in [`tile`](crate::tile). `docs/format.md` section 2.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use sha2::{Digest as _, Sha256};

/// A SHA-256 hash of a leaf or of a node of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The lower-case hexadecimal form, as entries carry it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        crate::hex::encode(&self.0)
    }

    /// Reads 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        crate::hex::decode(text).map(Self)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The 0-based position of an entry in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafIndex(pub u64);

/// How many entries a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeSize(pub u64);

/// A tree's size and root hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: TreeSize,
    /// Root hash (RFC 6962 section 2.1).
    pub root: Hash,
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `SHA-256(0x00 ‖ entry)` (RFC 6962 section 2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([0]).chain_update(entry).finalize().into())
}

/// `SHA-256(0x01 ‖ left ‖ right)` (RFC 6962 section 2.1).
///
/// Proofs and recovery are made of this function, always over 65 bytes: the one-shot digest of `aws-lc-rs` takes three
/// quarters of the time that the streaming one of `sha2` takes.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [1; 65];
    let [_, hashes @ ..] = &mut input;
    let (input_left, input_right) = hashes.split_at_mut(left.0.len());
    input_left.copy_from_slice(&left.0);
    input_right.copy_from_slice(&right.0);
    let mut hash = Hash([0; 32]);
    hash.0.copy_from_slice(digest(&SHA256, &input).as_ref());
    hash
}

/// The root of the tree without entries: the hash of the empty string.
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The root of the tree over these leaf hashes alone (RFC 6962 section 2.1, MTH).
#[must_use]
pub fn range_root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// Reads a number in decimal as every text of ours spells it: digits only, no leading zero, at most 64 bits.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// Heights of the maximal complete subtrees that cover the leaves `from..to`, left to right; nothing if `from >= to`.
pub(crate) fn right_heights(mut from: u64, to: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let height = from.trailing_zeros().min(to.checked_sub(from)?.checked_ilog2()?);
        from = from.checked_add(1 << height)?;
        Some(height)
    })
}

/// The root over a run of subtrees that stand side by side, the largest first; `None` for no subtree.
pub(crate) fn fold_tail(roots: &[Hash]) -> Option<Hash> {
    roots.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
}

/// The roots of the maximal complete subtrees of a tree, left to right: all that appending needs (RFC 6962 section 2.1).
///
/// Invariant `frontier-count`: there is one hash for each bit set in the size, the highest bit first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the tree without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the parts of a stored frontier; `None` where the number of hashes does not fit the size.
    #[must_use]
    pub fn from_parts(size: TreeSize, hashes: Vec<Hash>) -> Option<Self> {
        let wanted = usize::try_from(size.0.count_ones()).ok()?;
        (hashes.len() == wanted).then_some(Self { size: size.0, hashes })
    }

    /// How many leaves are in the tree.
    #[must_use]
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The subtree roots, the largest subtree first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Appends one leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, &mut |_, _| ());
    }

    /// Appends one leaf hash and hands over what it completes for the stored levels above the leaves.
    ///
    /// `emit(level, root)` is called, lowest level first, for each complete subtree of `256^level` leaves, `level >= 1`,
    /// that ends at this leaf; the root is the next hash of the file `tree/<level>` (`docs/format.md` section 5). Nothing
    /// is hashed twice: such a root is on the way of the append.
    pub fn push_with(&mut self, leaf: Hash, emit: &mut impl FnMut(u8, Hash)) {
        self.carry(0, leaf, emit);
    }

    /// Appends a complete subtree of `2^height` leaves by its root.
    ///
    /// Nothing is changed and `false` is returned where a subtree of that height cannot stand at the end of the tree.
    #[must_use]
    pub fn push_subtree(&mut self, height: u32, root: Hash) -> bool {
        let fits = 1u64.checked_shl(height).and_then(|width| self.size.checked_add(width)).is_some();
        if !fits || self.size.trailing_zeros() < height {
            return false;
        }
        self.carry(height, root, &mut |_, _| ());
        true
    }

    /// Appends the subtree roots that lead from here to `size`, as the `right` member of an export holds them.
    ///
    /// `None` where their number does not fit the two sizes (`docs/format.md` section 8).
    #[must_use]
    pub fn complete(mut self, right: &[Hash], size: TreeSize) -> Option<Self> {
        let mut heights = right_heights(self.size, size.0);
        for root in right {
            if !self.push_subtree(heights.next()?, *root) {
                return None;
            }
        }
        (heights.next().is_none() && self.size == size.0).then_some(self)
    }

    /// The root hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold_tail(&self.hashes).unwrap_or_else(empty_root)
    }

    /// Size and root.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size(), root: self.root() }
    }

    fn carry(&mut self, mut height: u32, mut node: Hash, emit: &mut impl FnMut(u8, Hash)) {
        let added = 1 << height;
        let mut occupied = self.size >> height;
        while occupied & 1 == 1 {
            // INVARIANT(frontier-count): a bit that is set has its hash, so `pop` cannot miss.
            let Some(left) = self.hashes.pop() else { break };
            node = node_hash(&left, &node);
            occupied >>= 1;
            height += 1;
            if let (0, Ok(level)) = (height % 8, u8::try_from(height / 8)) {
                emit(level, node);
            }
        }
        self.hashes.push(node);
        self.size = self.size.saturating_add(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_hash_is_sha256_of_its_65_bytes() {
        let mut pair = (leaf_hash(b"left"), leaf_hash(b"right"));
        for _ in 0..1000 {
            let streamed = Sha256::new_with_prefix([1]).chain_update(pair.0.0).chain_update(pair.1.0).finalize();
            let hash = node_hash(&pair.0, &pair.1);
            assert_eq!(hash, Hash(streamed.into()));
            pair = (pair.1, hash);
        }
    }

    #[test]
    fn reads_canonical_decimals_only() {
        for (text, expect) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("\u{661}", None),
        ] {
            assert_eq!(parse_decimal(text), expect, "{text:?}");
        }
    }

    #[test]
    fn heights_cover_the_range_from_left_to_right() {
        for (from, to, expect) in [
            (0, 0, vec![]),
            (5, 5, vec![]),
            (6, 5, vec![]),
            (0, 7, vec![2, 1, 0]),
            (1, 8, vec![0, 1, 2]),
            (5, 13, vec![0, 1, 2, 0]),
            (0, 1 << 63, vec![63]),
        ] {
            assert_eq!(right_heights(from, to).collect::<Vec<_>>(), expect, "{from}..{to}");
        }
    }
}
