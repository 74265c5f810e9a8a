//! Following a log: its entries as they become durable, as server-sent events.
//!
//! Each entry is one event, whose `id` is its index: a reader that was cut off sends the last one as `Last-Event-ID` and goes on behind it, as browsers do by themselves. What is sent is what is
//! durable; that a checkpoint covers it is what a proof shows later.
//!
//! The stream says `event: end` with the reason where the server ends it: it stops, the key is not in force any more, the log cannot be read now. The rights are looked at
//! again with every piece, and twice a second where there is nothing to send.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::header::HeaderName;
use indelible::bundle::export_line;
use indelible_core::tree::LeafIndex;

use crate::{
    answer::Answer,
    identity::ApiKey,
    logs::OpenLog,
    problem::{Kind, Problem},
    reads::Given,
    request::{Asked, parse_number},
    server::Shared,
    streaming::{LOOK, Over, PIECE_BYTES, Sink, stream},
};

/// After so many milliseconds a browser asks again where a stream broke off.
const RETRY: &str = "retry: 2000\n\n";
const HEARTBEAT: &str = ": nothing new\n\n";

/// Where to begin: behind the last event that the reader has, or where it wants to, or at the end.
fn wanted(asked: &Asked) -> Result<Option<u64>, Problem> {
    let from = asked.parameter("from").map(|_| asked.number("from", 0, u64::MAX)).transpose()?;
    let Some(last) = asked.header("last-event-id")? else { return Ok(from) };
    let behind = parse_number(last).and_then(|last| last.checked_add(1));
    behind.map(Some).ok_or_else(|| Problem::bad("`Last-Event-ID` has to be the index of an entry"))
}

/// Follows a log.
pub(crate) async fn tail(asked: Asked) -> Result<Answer, Problem> {
    let wanted = wanted(&asked)?;
    let size = asked.open().await?.wait_for(|open| Ok(open.reader().size()?.0)).await?;
    let next = wanted.unwrap_or(size);
    if next > size {
        // Whoever has seen more than there is has seen another log, or this one before it was cut.
        let text = format!(
            "the log has {size} entries, so that nothing can be followed from {next} on: ask from {size} or less"
        );
        return Err(Problem::new(Kind::NotFound, text));
    }
    let (sink, payload) = stream(&asked)?;
    let tail = Tail { shared: Arc::clone(&asked.shared), key: Arc::clone(asked.key()?), log: asked.log().to_owned() };
    tokio::spawn(async move {
        // Whoever takes nothing is not told; the stream is broken off.
        if let Some(why) = tail.run(&sink, next).await {
            sink.end(Some(format!("event: end\ndata: {{\"reason\":\"{why}\"}}\n\n").into_bytes()));
        }
    });
    // Proxies that gather answers before they pass them on would gather this one for ever.
    Ok(Answer::streamed("text/event-stream", payload).with(HeaderName::from_static("x-accel-buffering"), "no"))
}

struct Tail {
    shared: Arc<Shared>,
    key: Arc<ApiKey>,
    log: String,
}

impl Tail {
    /// Runs until it has to end, and says why.
    async fn run(&self, sink: &Sink, next: u64) -> Option<&'static str> {
        match self.follow(sink, next).await {
            Ok(never) => match never {},
            Err(Ended::Over(over)) => over.name(),
            Err(Ended::Problem(problem)) => {
                if let Some(internal) = problem.for_operator() {
                    (self.shared.reporter)(&format!("a reader that follows a log was let go: {internal}"));
                }
                Some(problem.kind().name())
            }
        }
    }

    async fn follow(&self, sink: &Sink, mut next: u64) -> Result<std::convert::Infallible, Ended> {
        let heartbeat = Duration::from_millis(self.shared.config.limits.heartbeat_ms);
        sink.send(RETRY.into()).await?;
        let mut sent_at = Instant::now();
        loop {
            sink.goes_on()?;
            // Asked for each time, and not held while there is nothing to do: a log that failed has to be let go of by everybody before it is opened again.
            let open = self.shared.logs.get(&self.log).await?;
            let mut grown = open.grown();
            let (piece, count) = open.wait_for(move |open| piece(open, next)).await?;
            if count > 0 {
                let given = Given { how: "tail", first: next, count };
                self.shared.reads.note(&self.key, &self.log, given, self.shared.identities.now())?;
                sink.send(piece).await?;
                (next, sent_at) = (next + count, Instant::now());
                continue;
            }
            // What this server records wakes us at once; what it does not (its own log, a log's own records) is seen soon.
            if let Ok(Err(_)) = tokio::time::timeout(LOOK.min(heartbeat), grown.changed()).await {
                tokio::time::sleep(LOOK).await;
            }
            if sent_at.elapsed() >= heartbeat {
                sink.send(HEARTBEAT.into()).await?;
                sent_at = Instant::now();
            }
        }
    }
}

enum Ended {
    Over(Over),
    Problem(Problem),
}

impl From<Over> for Ended {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Some events from an index on, and how many.
fn piece(open: &OpenLog, from: u64) -> Result<(Vec<u8>, u64), Problem> {
    let reader = open.reader();
    if reader.size()?.0 <= from {
        return Ok((Vec::new(), 0));
    }
    let chunk = reader.read(LeafIndex(from), PIECE_BYTES)?;
    let (mut out, mut next) = (Vec::with_capacity(chunk.bytes.len() * 3 / 2), from);
    for line in chunk.lines() {
        out.extend_from_slice(format!("id: {next}\ndata: ").as_bytes());
        // Ends with the first of two line ends. An entry is canonical JSON, which has none.
        export_line(line, next, &mut out)?;
        out.push(b'\n');
        next += 1;
    }
    Ok((out, next - from))
}
