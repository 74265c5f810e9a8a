//! Export: a range of entries, one a line, and a last line that proves all of them.
//!
//! It is what `indelible export` writes, byte for byte: whoever has the log's public key verifies it without the server. The leaf hashes are folded on the way, and the last line is
//! sent only where they lead to the root that the newest checkpoint signed; an export without its last line is broken off and is none.
//!
//! Whoever was cut off asks for the rest, from the index behind the last whole line that they have: that is an export too, with a last line of its own.

use std::sync::Arc;

use indelible::{
    LogError,
    bundle::{export_end, export_line},
    links::key_links,
};
use indelible_core::{
    tile,
    tree::{Frontier, LeafIndex, TreeHead, TreeSize},
};
use indelible_store::store::StoredTree;

use crate::{
    answer::Answer,
    encoding,
    identity::ApiKey,
    logs::OpenLog,
    problem::Problem,
    reads::Given,
    request::Asked,
    routes::Operation,
    server::Shared,
    streaming::{Over, PIECE_BYTES, Sink, stream},
};

/// Exports a range.
pub(crate) async fn export(asked: Asked) -> Result<Answer, Problem> {
    let from = asked.number("from", 0, u64::MAX)?;
    let to = asked.parameter("to").map(|_| asked.number("to", 0, u64::MAX)).transpose()?;
    let begun = asked.open().await?.wait_for(move |open| begin(open, from, to)).await?;
    let (sink, payload) = stream(&asked)?;
    let (sink, encoding) = sink.coded(encoding::wanted(Operation::Export, &asked.headers));
    let export =
        Export { shared: Arc::clone(&asked.shared), key: Arc::clone(asked.key()?), log: asked.log().to_owned() };
    tokio::spawn(async move {
        match export.run(&sink, begun).await {
            Ok(()) => sink.finish().await,
            Err(Some(problem)) => {
                if let Some(internal) = problem.for_operator() {
                    (export.shared.reporter)(&format!("an export was broken off: {internal}"));
                }
            }
            Err(None) => {}
        }
    });
    let answer = Answer::streamed("application/x-ndjson", payload);
    Ok(match encoding {
        Some(encoding) => answer.said_coded(encoding),
        None => answer,
    })
}

/// What an export is of, and how far it is.
struct Begun {
    head: TreeHead,
    end: Vec<u8>,
    next: u64,
    to: u64,
    folded: Frontier,
}

fn evidence(index: u64, detail: &str) -> Problem {
    LogError::Evidence { index, detail: detail.to_owned() }.into()
}

fn begin(open: &OpenLog, from: u64, to: Option<u64>) -> Result<Begun, Problem> {
    let (record, head) = open.head();
    let size = head.size;
    let to = to.unwrap_or(size.0);
    if from > to || to > size.0 {
        let text =
            format!("the newest checkpoint covers {size} entries: `from` is at most `to`, and `to` at most that");
        return Err(Problem::bad(text));
    }
    let (reader, note) = (open.reader(), &record.checkpoint);
    let keys = key_links(reader, &open.history().until(size), note)?;
    let end = export_end(reader, (from, to), size, note, &keys)?;
    let left = tile::compact_left(&StoredTree(reader), from)?;
    let folded = Frontier::from_parts(TreeSize(from), left);
    let folded = folded.ok_or_else(|| evidence(from, "the stored tree before it has a hole"))?;
    Ok(Begun { head, end, next: from, to, folded })
}

struct Export {
    shared: Arc<Shared>,
    key: Arc<ApiKey>,
    log: String,
}

impl Export {
    /// Fills the stream. `Err(None)` where nobody is there to hear what happened.
    async fn run(&self, sink: &Sink, mut begun: Begun) -> Result<(), Option<Problem>> {
        let over = |_: Over| None;
        while begun.next < begun.to {
            sink.goes_on().map_err(over)?;
            let open = self.shared.logs.get(&self.log).await?;
            let first = begun.next;
            let (piece, after) = open.wait_for(move |open| piece(open, begun)).await?;
            begun = after;
            let given = Given { how: "export", first, count: begun.next - first };
            self.shared.reads.note(&self.key, &self.log, given, self.shared.identities.now())?;
            sink.send(piece).await.map_err(over)?;
        }
        let open = self.shared.logs.get(&self.log).await?;
        let last = open.wait_for(move |open| last_line(open, begun)).await?;
        sink.send(last).await.map_err(over)
    }
}

fn piece(open: &OpenLog, mut begun: Begun) -> Result<(Vec<u8>, Begun), Problem> {
    let chunk = open.reader().read(LeafIndex(begun.next), PIECE_BYTES)?;
    let mut out = Vec::with_capacity(chunk.bytes.len() * 3 / 2);
    for line in chunk.lines().take(usize::try_from(begun.to - begun.next).unwrap_or(usize::MAX)) {
        begun.folded.push(export_line(line, begun.next, &mut out)?);
        begun.next += 1;
    }
    Ok((out, begun))
}

/// The last line, where the entries lead to the root that was signed.
fn last_line(open: &OpenLog, begun: Begun) -> Result<Vec<u8>, Problem> {
    let Begun { head, end, to, folded, .. } = begun;
    let right = tile::compact_right(&StoredTree(open.reader()), to, head.size)?;
    if folded.complete(&right, head.size).is_some_and(|folded| folded.root() == head.root) {
        return Ok(end);
    }
    Err(evidence(to, "the exported entries do not lead to the root that the checkpoint signed: there is no last line"))
}
