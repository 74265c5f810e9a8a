//! The hashes of a signed tree, fetched tile by tile as a proof needs them.
//!
//! The makers of proofs read without waiting; so they are run until they miss a tile, the tile is fetched, and they are run again. A proof takes few tiles: at most two of each
//! of the tree's levels. What comes of wrong tiles does not verify, and so they are not trusted here.

use std::collections::HashMap;

use indelible_core::{
    proof::{ConsistencyProof, InclusionProof},
    tile::{LevelReader, ProveError, Prover, TilePath, WIDTH, compact_left, compact_right},
    tree::{Hash, LeafIndex, TreeSize},
};

use crate::{error::ClientError, log::LogClient};

/// Tiles that are kept: of a page of receipts that stand together, a few; 8 KiB each.
const MAX_TILES: usize = 1024;

/// A proof reads along the edges of two trees, eight levels each: far fewer tiles than this.
const MAX_ROUNDS: usize = 64;

/// A tile that is not here yet; `None` for one that no tree has.
#[derive(Debug)]
pub(crate) struct Missing(Option<TilePath>);

/// Tiles of the tree of one checkpoint.
pub(crate) struct Tiles<'a> {
    log: &'a LogClient,
    size: TreeSize,
    known: HashMap<TilePath, Vec<Hash>>,
}

struct Known<'a>(TreeSize, &'a HashMap<TilePath, Vec<Hash>>);

impl LevelReader for Known<'_> {
    type Error = Missing;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Missing> {
        let (path, start) = TilePath::holding(level, first, self.0).ok_or(Missing(None))?;
        let tile = self.1.get(&path).ok_or(Missing(Some(path)))?;
        let start = usize::try_from(start % WIDTH).unwrap_or(usize::MAX);
        Ok(tile.iter().skip(start).take(count).copied().collect())
    }
}

impl<'a> Tiles<'a> {
    pub(crate) fn new(log: &'a LogClient, size: TreeSize) -> Self {
        Self { log, size, known: HashMap::new() }
    }

    pub(crate) async fn inclusion(&mut self, index: LeafIndex) -> Result<InclusionProof, ClientError> {
        self.made(|known, size| Prover::new(known, size).inclusion(index)).await
    }

    pub(crate) async fn consistency(&mut self, from: TreeSize) -> Result<ConsistencyProof, ClientError> {
        self.made(|known, size| Prover::new(known, size).consistency(from)).await
    }

    /// The subtrees before a range of leaves, and those behind it.
    pub(crate) async fn sides(&mut self, from: u64, to: u64) -> Result<(Vec<Hash>, Vec<Hash>), ClientError> {
        let left = self.made(|known, _| compact_left(known, from).map_err(ProveError::Read)).await?;
        let right = self.made(|known, size| compact_right(known, to, size).map_err(ProveError::Read)).await?;
        Ok((left, right))
    }

    async fn made<P>(
        &mut self,
        mut make: impl FnMut(&Known<'_>, TreeSize) -> Result<P, ProveError<Missing>>,
    ) -> Result<P, ClientError> {
        for _ in 0..MAX_ROUNDS {
            let missing = match make(&Known(self.size, &self.known), self.size) {
                Ok(proof) => return Ok(proof),
                Err(ProveError::Read(Missing(Some(path)))) => path,
                Err(_) => break,
            };
            if self.known.len() >= MAX_TILES {
                self.known.clear();
            }
            let tile = self.log.tile(missing).await?;
            self.known.insert(missing, tile);
        }
        Err(self.log.client().strange("the tree of the checkpoint has no such place"))
    }
}
