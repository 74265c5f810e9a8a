//! Reading: one entry, a page of them, the entry of an event, a proof.
//!
//! What is given out is what is stored, byte for byte, with the leaf hash that these bytes have and the signature that stands beside them. That it is also what was
//! recorded is what a proof shows: it is made from the stored tree, held against the entry, and refused where it does not hold.

use std::sync::Arc;

use hyper::{StatusCode, header::ETAG};
use indelible::{Reader, bundle::export_line};
use indelible_core::tree::LeafIndex;

use crate::{
    answer::Answer,
    body::{Held, Room},
    etag,
    problem::{Kind, Problem},
    request::{Asked, parse_number},
};

/// An entry never changes, and may be taken away: pruned, or kept from a reader whose key has ended. So whoever may see it keeps it for five minutes, and asks again then.
pub(crate) const KEPT_BODY: &str = "private, max-age=300";

/// So much is read for each entry that a page still wants; longer ones take more reads.
const USUAL_BYTES: usize = 2048;
/// The most entries of a page.
const MAX_PAGE: u64 = 1000;

fn index(asked: &Asked) -> Result<LeafIndex, Problem> {
    let index = parse_number(asked.captured.get("index")).map(LeafIndex);
    index.ok_or_else(|| Problem::bad("the index of an entry is a number"))
}

/// `{"entry":…,"index":…,"leaf_hash":…,"mac":…,"prev":…}` and the leaf hash.
fn written(reader: &dyn Reader, index: LeafIndex) -> Result<(Vec<u8>, String), Problem> {
    let chunk = reader.read(index, 0)?;
    let mut out = Vec::new();
    let leaf = export_line(chunk.lines().next().unwrap_or_default(), index.0, &mut out)?;
    out.pop();
    Ok((out, leaf.to_hex()))
}

fn one(asked: &Asked, how: &'static str, index: LeafIndex, found: (Vec<u8>, String)) -> Result<Answer, Problem> {
    let (bytes, leaf) = found;
    let tag = format!("\"{leaf}\"");
    if let Some(known) = etag::known(&asked.headers, &leaf) {
        let answer = Answer::new(StatusCode::NOT_MODIFIED, "application/json", Vec::new());
        return Ok(answer.with(ETAG, &known).cached(KEPT_BODY));
    }
    asked.reads(how, index.0, 1)?;
    Ok(Answer::written(bytes).with(ETAG, &tag).cached(KEPT_BODY))
}

/// One entry.
pub(crate) async fn entry(asked: Asked) -> Result<Answer, Problem> {
    let index = index(&asked)?;
    let found = asked.open().await?.wait_for(move |open| written(open.reader(), index)).await?;
    one(&asked, "getEntry", index, found)
}

/// The entry of an event.
pub(crate) async fn event(asked: Asked) -> Result<Answer, Problem> {
    let id = asked.captured.get("event").to_owned();
    let found = asked.open().await?.wait_for(move |open| {
        let stored = indelible::log::find(open.reader(), &id)?;
        Ok((stored.index, written(open.reader(), stored.index)?))
    });
    let (index, found) = found.await?;
    one(&asked, "findEvent", index, found)
}

/// A page of entries.
pub(crate) async fn entries(asked: Asked) -> Result<Answer, Problem> {
    let from = asked.number("from", 0, u64::MAX)?;
    let limit = asked.number("limit", 100, MAX_PAGE)?.max(1);
    let bytes = asked.shared.config.limits.page_bytes;
    let (budget, share) = (Arc::clone(&asked.shared.budget), asked.share()?);
    let page = asked.open().await?.wait_for(move |open| {
        let reader = open.reader();
        let size = reader.size()?.0;
        let (mut out, mut next) = (b"{\"entries\":[".to_vec(), from);
        let (mut held, mut read) = (Held::default(), 0);
        let end = size.min(from.saturating_add(limit));
        while next < end && out.len() < bytes {
            let about = usize::try_from(end - next).unwrap_or(usize::MAX).saturating_mul(USUAL_BYTES);
            let chunk = reader.read(LeafIndex(next), about.min(bytes - out.len()))?;
            read += chunk.bytes.len();
            held.up_to(read, Room { budget: &budget, share: &share })?;
            for line in chunk.lines().take(usize::try_from(end - next).unwrap_or(usize::MAX)) {
                if out.last() == Some(&b'}') {
                    out.push(b',');
                }
                export_line(line, next, &mut out)?;
                out.pop();
                next += 1;
            }
        }
        let cursor = if next < size { format!("\"{next}\"") } else { "null".to_owned() };
        out.extend_from_slice(format!("],\"next\":{cursor},\"size\":{size}}}").as_bytes());
        Ok((out, held, next))
    });
    let (bytes, held, next) = page.await?;
    asked.reads("listEntries", from, next.saturating_sub(from))?;
    Ok(Answer::charged("application/json", bytes, held))
}

/// A bundle that proves one entry.
pub(crate) async fn proof(asked: Asked) -> Result<Answer, Problem> {
    let index = index(&asked)?;
    let open = asked.open().await?;
    let bundle = Arc::clone(&open).wait_for(move |open| Ok(open.prove(index)?.to_bytes())).await;
    // Proving may publish a checkpoint, and that may fail.
    if bundle.as_ref().is_err_and(|problem| problem.kind() == Kind::Unavailable) {
        asked.shared.logs.let_go(asked.log(), &open).await;
    }
    let bundle = bundle?;
    asked.reads("prove", index.0, 1)?;
    Ok(Answer::written(bundle))
}
