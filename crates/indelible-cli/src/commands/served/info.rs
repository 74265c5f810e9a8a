//! `log info` of a log on a server: what the log says of itself in entry 0, and what the server says of it.

use indelible::LeafIndex;
use indelible_client::blocking::Log;
use indelible_core::{control::Control, entry::EntryRef};
use serde_json::{Value, json};

use crate::{commands::prove::parse, failure::Failure, output};

pub(super) fn run(log: &Log, json: bool) -> Result<(), Failure> {
    let first = log.entry(LeafIndex(0))?;
    let Ok(Control::LogCreated(made)) = Control::parse(EntryRef::parse(&first.bytes)?.body) else {
        return Err(Failure::text("entry 0 does not say what the log is: have it verified"));
    };
    let (checkpoint, health) = (parse(log.checkpoint()?.as_bytes())?, log.health()?);
    let head = checkpoint.head;
    let entries = health.get("size").and_then(Value::as_u64).unwrap_or(head.size.0);
    let word = |name: &str| health.get(name).cloned().unwrap_or_default();
    let (frozen, locked) = (word("frozen"), word("locked"));
    if json {
        return output::json(&json!({
            "checkpoint": { "root": head.root.to_hex(), "tree_size": head.size.0 },
            "entries": entries,
            "format": made.format,
            "frozen": frozen,
            "locked": locked,
            "log_id": made.log_id,
            "origin": made.origin,
        }));
    }
    let writes = match (frozen.is_null(), locked.is_null()) {
        (true, true) => "the server",
        (true, false) => "nobody: it is locked",
        _ => "nobody: it is frozen",
    };
    output::text(&format!(
        "origin      {}\nlog id      {}\nformat      {}\nentries     {entries}\ncheckpoint  over {}, root {}\nwriter      {writes}\n\n\
         This is what the log and its server say; `indelible verify` says whether it is true.",
        output::safe(&made.origin),
        output::safe(&made.log_id),
        made.format,
        output::entries(head.size.0),
        head.root,
    ))
}
