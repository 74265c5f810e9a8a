//! What is signed, and holds no content: checkpoints, tiles of hashes, public keys; and entry bundles, which do. C2SP tlog-tiles.
//!
//! Nothing beyond the newest published checkpoint is shown.

use std::{str::FromStr as _, sync::Arc};

use hyper::StatusCode;
use indelible::KeyHistory;
use indelible_core::{
    entry::Line,
    tile::{TilePath, WIDTH, level_len},
    tree::{LeafIndex, TreeSize},
};
use indelible_store::store::StoreError;
use serde_json::json;

use crate::{
    answer::Answer,
    body::{Held, Room},
    problem::{Kind, Problem},
    reading::KEPT_BODY,
    request::Asked,
};

/// Read at a time for an entry bundle.
const STEP: usize = 1 << 20;

/// A whole tile of hashes never changes. A part of one is soon not asked for any more. Whoever asked with a key keeps it to themselves.
fn kept(asked: &Asked, tile: TilePath) -> String {
    let whose = if asked.key.is_some() { "private" } else { "public" };
    if u64::from(tile.width()) == WIDTH {
        format!("{whose}, max-age=31536000, immutable")
    } else {
        format!("{whose}, max-age=3600")
    }
}

/// The newest published checkpoint.
pub(crate) async fn checkpoint(asked: Asked) -> Result<Answer, Problem> {
    let open = asked.open().await?;
    // The publisher holds its lock while it reads back and syncs.
    let note = open.wait_for(|open| Ok(open.head().0.checkpoint)).await?;
    Ok(Answer::text(note).cached("no-cache"))
}

/// The public keys of a log, as it says itself.
pub(crate) async fn public_keys(asked: Asked) -> Result<Answer, Problem> {
    let open = asked.open().await?;
    let history = open.history();
    let (origin, log_id) = (history.origin().to_owned(), open.reader().info().log_id.to_string());
    let sets: Vec<_> = history
        .sets()
        .iter()
        .map(|set| {
            let keys: Vec<String> = set.set.keys().iter().map(ToString::to_string).collect();
            json!({ "first": set.first, "keys": keys, "require": set.set.require().to_string() })
        })
        .collect();
    let entry_keys: Vec<_> = history
        .entry_keys()
        .iter()
        .map(|key| json!({ "algorithm": key.algorithm.to_string(), "first": key.first, "id": key.id }))
        .collect();
    let value = json!({
        "checkpoint_keys": sets,
        "entry_keys": entry_keys,
        "log_id": log_id,
        "origin": origin,
        "public_key": history.public_key().map(ToString::to_string),
        "withdrawn": withdrawn(&history),
    });
    Ok(Answer::json(StatusCode::OK, &value).cached("no-cache"))
}

fn withdrawn(history: &Arc<KeyHistory>) -> Vec<serde_json::Value> {
    let rows = history.withdrawn().iter();
    rows.map(|row| serde_json::to_value(row).unwrap_or_default()).collect()
}

fn tile_of(text: &str) -> Result<TilePath, Problem> {
    TilePath::from_str(text).map_err(|error| Problem::new(Kind::NotFound, error.to_string()))
}

/// Where a tile begins, where it is whole in a tree of this size.
fn start(tile: TilePath, size: TreeSize) -> Result<u64, Problem> {
    let first = tile.index().checked_mul(WIDTH);
    let end = first.and_then(|first| first.checked_add(u64::from(tile.width())));
    match (first, end) {
        (Some(first), Some(end)) if end <= level_len(size, tile.level()) => Ok(first),
        _ => Err(Problem::new(Kind::NotFound, format!("the tree has {size} entries, and no such tile yet"))),
    }
}

/// A tile of hashes.
pub(crate) async fn tile(asked: Asked) -> Result<Answer, Problem> {
    let tile = tile_of(&format!("tile/{}", asked.captured.get("rest")))?;
    let bytes = asked.open().await?.wait_for(move |open| {
        let (_, head) = open.head();
        let hashes = open.reader().hashes(tile.level(), start(tile, head.size)?, usize::from(tile.width()))?;
        if hashes.len() != usize::from(tile.width()) {
            return Err(Problem::new(Kind::Internal, "this is not the fault of the request")
                .known_as(format!("the store gave {} hashes of `{tile}`", hashes.len())));
        }
        Ok(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>())
    });
    Ok(Answer::new(StatusCode::OK, "application/octet-stream", bytes.await?).cached(&kept(&asked, tile)))
}

/// An entry bundle: each entry behind its length in two bytes.
pub(crate) async fn entry_bundle(asked: Asked) -> Result<Answer, Problem> {
    let tile = tile_of(&format!("tile/0/{}", asked.captured.get("rest")))?;
    let (budget, share) = (Arc::clone(&asked.shared.budget), asked.share()?);
    let read = asked.open().await?.wait_for(move |open| {
        let (_, head) = open.head();
        let first = start(tile, head.size)?;
        let mut next = first;
        let end = next + u64::from(tile.width());
        let (mut out, mut held, mut read) = (Vec::new(), Held::default(), 0);
        while next < end {
            let chunk = open.reader().read(LeafIndex(next), STEP)?;
            read += chunk.bytes.len();
            held.up_to(read, Room { budget: &budget, share: &share })?;
            for text in chunk.lines().take(usize::try_from(end - next).unwrap_or(usize::MAX)) {
                let line = Line::parse(text).map_err(|source| StoreError::Line { index: next, source })?;
                let length = u16::try_from(line.entry.bytes.len());
                let length = length.map_err(|_| Problem::new(Kind::Internal, "an entry is longer than entries are"))?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(line.entry.bytes);
                next += 1;
            }
        }
        Ok((out, held, first))
    });
    let (bytes, held, first) = read.await?;
    asked.reads("entryBundle", first, tile.width().into())?;
    Ok(Answer::charged("application/octet-stream", bytes, held).cached(KEPT_BODY))
}
