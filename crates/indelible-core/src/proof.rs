//! Inclusion and consistency proofs, and the C2SP tlog-proof text.
//!
//! Verifying follows RFC 9162 sections 2.1.3.2 and 2.1.4.2 step by step and says which step failed. Nothing here needs the
//! log; making proofs needs its hashes and is in [`tile`](crate::tile). The text form is that of
//! <https://c2sp.org/tlog-proof@v1>, as `docs/format.md` section 8 uses it.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tree::{Hash, LeafIndex, TreeHead, TreeSize, node_hash, parse_decimal};

/// The most hashes a proof of either kind can have: twice the height of a tree of 2^64 leaves, rounded up.
pub const MAX_PROOF_HASHES: usize = 128;

/// The longest tlog-proof text that is read: a note of 1 MiB, as much extra data, and the hashes.
pub const MAX_PROOF_BYTES: usize = 2 * 1024 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof does not prove what it is said to prove, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The index is not below the tree size.
    #[error("index `{index}` is not in a tree of size `{size}`")]
    IndexOutsideTree {
        /// The index that the proof names.
        index: LeafIndex,
        /// The size of the tree.
        size: TreeSize,
    },
    /// A consistency proof from the empty tree says nothing.
    #[error("the old tree is empty, so there is nothing to be consistent with")]
    OldTreeEmpty,
    /// The new tree is smaller than the old one.
    #[error("the new tree of size `{new}` is smaller than the old one of size `{old}`")]
    NewTreeSmaller {
        /// Size of the old tree.
        old: TreeSize,
        /// Size of the new tree.
        new: TreeSize,
    },
    /// The path ends before the root.
    #[error("the proof has too few hashes (`{found}`)")]
    TooFewHashes {
        /// How many there are.
        found: usize,
    },
    /// The path goes on beyond the root.
    #[error("the proof has too many hashes (`{found}`)")]
    TooManyHashes {
        /// How many there are.
        found: usize,
    },
    /// The path leads to another root than that of the tree, or of the new tree.
    #[error("the proof leads to root `{found}`, the tree has `{expected}`")]
    RootMismatch {
        /// The root that the tree head names.
        expected: Hash,
        /// The root that the path leads to.
        found: Hash,
    },
    /// The path leads to another root than that of the old tree.
    #[error("the proof leads to root `{found}` for the old tree, which has `{expected}`")]
    OldRootMismatch {
        /// The root that the old tree head names.
        expected: Hash,
        /// The root that the path leads to.
        found: Hash,
    },
    /// The text is not a tlog-proof.
    #[error("malformed proof, line `{line}`: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The hashes that lead from one leaf to the root (RFC 9162 section 2.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Position of the leaf.
    pub index: LeafIndex,
    /// Sibling hashes, from the leaf upwards.
    pub hashes: Vec<Hash>,
}

impl InclusionProof {
    /// Verifies that `leaf` stands at the index in the tree of `head` (RFC 9162 section 2.1.3.2).
    ///
    /// # Errors
    ///
    /// A [`ProofError`] that names the step that failed.
    pub fn verify(&self, leaf: &Hash, head: &TreeHead) -> Result<(), ProofError> {
        if self.index.0 >= head.size.0 {
            return Err(ProofError::IndexOutsideTree { index: self.index, size: head.size });
        }
        let mut path = Path::new(self.index.0, head.size.0 - 1, self.hashes.len());
        let mut root = *leaf;
        for hash in &self.hashes {
            root = match path.climb()? {
                Side::Left => node_hash(hash, &root),
                Side::Right => node_hash(&root, hash),
            };
        }
        path.finish()?;
        same_root(&head.root, root)
    }
}

/// The hashes that show one tree to be the beginning of another (RFC 9162 section 2.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// In the order of RFC 9162 section 2.1.4.1.
    pub hashes: Vec<Hash>,
}

impl ConsistencyProof {
    /// Verifies that the tree of `old` is the beginning of the tree of `new` (RFC 9162 section 2.1.4.2).
    ///
    /// Two heads of the same size are consistent where their roots are equal and the proof is empty.
    ///
    /// # Errors
    ///
    /// A [`ProofError`] that names the step that failed. The empty old tree is an error: all trees begin with it, and
    /// whoever means to accept it says so before asking for a proof.
    pub fn verify(&self, old: &TreeHead, new: &TreeHead) -> Result<(), ProofError> {
        if old.size.0 == 0 {
            return Err(ProofError::OldTreeEmpty);
        }
        if new.size < old.size {
            return Err(ProofError::NewTreeSmaller { old: old.size, new: new.size });
        }
        if old.size == new.size {
            return self.verify_same_size(old, new);
        }
        // A complete old tree is a node of the new one, and the proof leaves its root out.
        let (first, rest) = if old.size.0.is_power_of_two() {
            (old.root, self.hashes.as_slice())
        } else {
            let (first, rest) = self.hashes.split_first().ok_or(ProofError::TooFewHashes { found: 0 })?;
            (*first, rest)
        };
        let mut path = Path::new(old.size.0 - 1, new.size.0 - 1, self.hashes.len());
        path.skip_ones();
        let (mut old_root, mut new_root) = (first, first);
        for hash in rest {
            match path.climb()? {
                Side::Left => {
                    old_root = node_hash(hash, &old_root);
                    new_root = node_hash(hash, &new_root);
                }
                Side::Right => new_root = node_hash(&new_root, hash),
            }
        }
        path.finish()?;
        if old_root != old.root {
            return Err(ProofError::OldRootMismatch { expected: old.root, found: old_root });
        }
        same_root(&new.root, new_root)
    }

    fn verify_same_size(&self, old: &TreeHead, new: &TreeHead) -> Result<(), ProofError> {
        if !self.hashes.is_empty() {
            return Err(ProofError::TooManyHashes { found: self.hashes.len() });
        }
        same_root(&new.root, old.root)
    }
}

fn same_root(expected: &Hash, found: Hash) -> Result<(), ProofError> {
    if *expected == found { Ok(()) } else { Err(ProofError::RootMismatch { expected: *expected, found }) }
}

/// Where the next sibling stands.
enum Side {
    Left,
    Right,
}

/// The climb from a node towards the root: `fn` and `sn` of RFC 9162 section 2.1.3.2.
struct Path {
    node: u64,
    last: u64,
    hashes: usize,
}

impl Path {
    fn new(node: u64, last: u64, hashes: usize) -> Self {
        Self { node, last, hashes }
    }

    /// Starts at the largest complete subtree that ends at the node (RFC 9162 section 2.1.4.2, step 4).
    fn skip_ones(&mut self) {
        let ones = self.node.trailing_ones();
        self.node = self.node.checked_shr(ones).unwrap_or(0);
        self.last = self.last.checked_shr(ones).unwrap_or(0);
    }

    /// Goes one sibling up.
    fn climb(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::TooManyHashes { found: self.hashes });
        }
        let side = if self.node & 1 == 1 || self.node == self.last { Side::Left } else { Side::Right };
        if matches!(side, Side::Left) {
            // The right-most node has no sibling until it is a right child.
            let lone = self.node.trailing_zeros();
            self.node = self.node.checked_shr(lone).unwrap_or(0);
            self.last = self.last.checked_shr(lone).unwrap_or(0);
        }
        self.node >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    fn finish(&self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::TooFewHashes { found: self.hashes }) }
    }
}

/// An inclusion proof with the checkpoint that it leads to (<https://c2sp.org/tlog-proof@v1>).
///
/// Parsing says nothing about the truth of any part: the checkpoint is verified as a note with the log's key, then the
/// proof against its tree head. The extra data is authenticated by nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque data of the application.
    pub extra: Option<Vec<u8>>,
    /// Position of the leaf.
    pub index: LeafIndex,
    /// Sibling hashes, from the leaf upwards.
    pub hashes: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

impl TlogProof {
    /// Reads the text form; [`Display`](fmt::Display) gives back the same bytes.
    ///
    /// # Errors
    ///
    /// [`ProofError::Malformed`] with the line.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > MAX_PROOF_BYTES {
            return Err(malformed(1, "longer than 2 MiB"));
        }
        let mut lines = Lines { rest: text, number: 0 };
        if lines.next()? != HEADER {
            return Err(malformed(1, "does not begin with `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next()?;
        let mut extra = None;
        if let Some(data) = line.strip_prefix("extra ") {
            extra = Some(STANDARD.decode(data).map_err(|_| malformed(lines.number, "extra data is not base64"))?);
            line = lines.next()?;
        }
        let index = line.strip_prefix("index ").ok_or_else(|| malformed(lines.number, "`index` is missing"))?;
        let index = parse_decimal(index).ok_or_else(|| malformed(lines.number, "the index is not a decimal number"))?;
        let hashes = lines.hashes()?;
        if !lines.rest.ends_with('\n') {
            return Err(malformed(lines.number + 1, "the checkpoint is missing or does not end in a newline"));
        }
        Ok(Self { extra, index: LeafIndex(index), hashes, checkpoint: lines.rest.to_owned() })
    }

    /// The inclusion proof in it.
    #[must_use]
    pub fn inclusion(&self) -> InclusionProof {
        InclusionProof { index: self.index, hashes: self.hashes.clone() }
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        f.write_char('\n')?;
        f.write_str(&self.checkpoint)
    }
}

/// The lines of a text, each ended by one newline.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, ProofError> {
        self.number += 1;
        let (line, rest) =
            self.rest.split_once('\n').ok_or_else(|| malformed(self.number, "the text ends too early"))?;
        self.rest = rest;
        Ok(line)
    }

    /// Hashes up to and with the empty line.
    fn hashes(&mut self) -> Result<Vec<Hash>, ProofError> {
        let mut hashes = Vec::new();
        loop {
            let line = self.next()?;
            if line.is_empty() {
                return Ok(hashes);
            }
            if hashes.len() == MAX_PROOF_HASHES {
                return Err(malformed(self.number, "more hashes than any tree is high"));
            }
            hashes.push(parse_hash(line).ok_or_else(|| malformed(self.number, "not 32 bytes of base64"))?);
        }
    }
}

/// Reads 32 bytes of standard base64 with padding.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}

fn malformed(line: usize, reason: &'static str) -> ProofError {
    ProofError::Malformed { line, reason }
}
