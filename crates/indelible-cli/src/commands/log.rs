//! `log info`, `log repair`, `log explain`, `log succeed`.

use std::process::ExitCode;

use indelible_store::store::Reader as _;
use serde_json::json;

use super::prove::parse;
use crate::{cli::LogCommand, failure::Failure, output, places::Places};

/// Looks after a log.
pub(crate) fn run(places: &Places, json: bool, command: &LogCommand) -> Result<ExitCode, Failure> {
    match command {
        LogCommand::Info => info(places, json)?,
        LogCommand::Repair => return Err(Failure::text("not in this build")),
        LogCommand::Explain(_) => return Err(Failure::text("not in this build")),
        LogCommand::Succeed(_) => return Err(Failure::text("not in this build")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the log says of itself.
fn info(places: &Places, json: bool) -> Result<(), Failure> {
    let reader = places.reader()?;
    let (info, settings, runs) = (reader.info(), reader.settings(), reader.runs()?);
    let size = reader.size()?;
    let checkpoint = reader.checkpoint()?.map(|note| parse(&note)).transpose()?;
    let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    let closed = runs.iter().filter(|run| run.closed).count();
    let has_writer = reader.has_writer()?;
    if json {
        return output::json(&json!({
            "bytes": bytes,
            "checkpoint": checkpoint.map(|c| json!({ "root": c.head.root.to_hex(), "tree_size": c.head.size.0 })),
            "closed_segments": closed,
            "entries": size.0,
            "format": info.format,
            "has_writer": has_writer,
            "immutable": settings.immutable,
            "log_id": info.log_id.to_string(),
            "origin": info.origin,
            "segment_bytes": settings.segment_bytes,
            "segment_seconds": settings.segment_seconds,
            "segments": runs.len(),
        }));
    }
    let covered = checkpoint.map_or_else(|| "none".to_owned(), |c| format!("over {} entries, root {}", c.head.size, c.head.root));
    output::text(&format!(
        "origin      {}\nlog id      {}\nformat      {}\nentries     {size}\nsegments    {} ({closed} closed), {bytes} bytes uncompressed\n\
         checkpoint  {covered}\nwriter      {}\nclosing     at {} bytes or {} s{}\n\nThis is what the log says of itself; `indelible verify` says whether it is true.",
        output::safe(&info.origin),
        info.log_id,
        info.format,
        runs.len(),
        if has_writer { "yes, now" } else { "none now" },
        settings.segment_bytes,
        settings.segment_seconds,
        if settings.immutable { ", then immutable where the system allows" } else { "" },
    ))
}
