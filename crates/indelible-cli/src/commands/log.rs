//! `log info`, `log repair`, `log explain`, `log prune`, `log succeed`.

use indelible::{LogError, Options, Pruned, manage, prune::prune_recorded};
use indelible_core::checkpoint::Origin;
use indelible_store_file::FileReader;
use serde_json::json;

use super::{
    init::{refuse_taken, settings, tell_created},
    prove::parse,
};
use crate::{
    cli::{ExplainArgs, LogCommand, PruneArgs, SucceedArgs},
    failure::Failure,
    output,
    places::{Places, disk},
};

/// Looks after a log.
pub(crate) fn run(places: &Places, json: bool, command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Info => info(places, json),
        LogCommand::Repair => repair(places, json),
        LogCommand::Explain(args) => explain(places, json, args),
        LogCommand::Prune(args) => prune(places, json, args),
        LogCommand::Succeed(args) => succeed(places, json, args),
    }
}

/// Rebuilds what derives from the entries.
fn repair(places: &Places, json: bool) -> Result<(), Failure> {
    let rebuilt = manage::repair(&*places.driver()?, &places.ring()?, &places.options())?;
    if json {
        return output::json(&json!({ "rebuilt": rebuilt }));
    }
    if rebuilt.is_empty() {
        return output::text("nothing to repair: the log is intact");
    }
    let lines: Vec<String> = rebuilt.iter().map(|what| format!("  {}", output::safe(what))).collect();
    output::text(&format!("rebuilt from verified entries; what was wrong:\n{}", lines.join("\n")))
}

/// Puts an explanation on record.
fn explain(places: &Places, json: bool, args: &ExplainArgs) -> Result<(), Failure> {
    let (first, last) = args.range;
    let log = places.open()?;
    let result = manage::explain(&log, first, last, &args.reason);
    let closed = log.close();
    let index = result?;
    closed?;
    if json {
        return output::json(&json!({ "first": first, "index": index, "last": last }));
    }
    output::text(&format!("entry {index} explains why entries {first} to {last} are absent"))
}

/// Takes bodies away, on record.
fn prune(places: &Places, json: bool, args: &PruneArgs) -> Result<(), Failure> {
    let pruned = match (args.record, args.range) {
        (Some(record), _) => {
            let bar = output::progress("pruning", 1);
            let pruned = prune_recorded(&*places.driver()?, record, &mut |count| bar.set_message(count.to_string()));
            bar.finish_and_clear();
            pruned?
        }
        (None, Some((first, last))) => {
            let log = places.open()?;
            let reason = args.reason.as_deref().unwrap_or_default();
            let result = if args.record_only {
                log.record_pruning(first..=last, reason).map(|record| Pruned { first, last, record, bodies: 0 })
            } else {
                let bar = output::progress("pruning", last - first + 1);
                let pruned = log.prune_told(first..=last, reason, &mut |count| bar.set_position(count));
                bar.finish_and_clear();
                pruned
            };
            let closed = log.close();
            let pruned = result?;
            closed?;
            pruned
        }
        (None, None) => return Err(Failure::Usage("give a range, or --record INDEX".to_owned())),
    };
    let Pruned { first, last, record, bodies } = pruned;
    if json {
        return output::json(&json!({ "bodies": bodies, "first": first, "last": last, "record": record }));
    }
    if args.record_only {
        return output::text(&format!(
            "entry {record} says that entries {first} to {last} are pruned; whoever may prune takes them away with `indelible log prune --record {record}`"
        ));
    }
    output::text(&format!(
        "entry {record} says that entries {first} to {last} are pruned; {bodies} {} taken away, hashes and control records stay",
        if bodies == 1 { "body was" } else { "bodies were" }
    ))
}

/// Begins a successor.
fn succeed(places: &Places, json: bool, args: &SucceedArgs) -> Result<(), Failure> {
    let place = args.new.with_origin(&args.origin);
    let options = Options { settings: settings(args.settings), ..places.options_for(&place)? };
    let driver = place.driver(&options)?;
    refuse_taken(&*driver)?;
    let _: Origin = args.origin.parse().map_err(|_| LogError::Origin { origin: args.origin.clone() })?;
    let ring = places.ring()?;
    let log = manage::succeed(&*places.driver()?, &*driver, &args.origin, &ring, options)?;
    log.close()?;
    tell_created(&log, &place, &ring, json)
}

/// What the log says of itself.
fn info(places: &Places, json: bool) -> Result<(), Failure> {
    let reader = places.reader()?;
    let (info, runs) = (reader.info(), reader.runs()?);
    let settings = places.log()?.directory().map(|path| FileReader::open(disk(), path)).transpose()?;
    let settings = settings.as_ref().map(FileReader::settings);
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
            "immutable": settings.map(|settings| settings.immutable),
            "log_id": info.log_id.to_string(),
            "origin": info.origin,
            "segment_bytes": settings.map(|settings| settings.segment_bytes),
            "segment_seconds": settings.map(|settings| settings.segment_seconds),
            "segments": runs.len(),
        }));
    }
    let covered = checkpoint.map_or_else(
        || "none".to_owned(),
        |c| format!("over {}, root {}", output::entries(c.head.size.0), c.head.root),
    );
    let closing = settings.map_or_else(String::new, |settings| {
        let then = if settings.immutable { ", then immutable where the system allows" } else { "" };
        format!("closing     at {} bytes or {} s{then}\n", settings.segment_bytes, settings.segment_seconds)
    });
    output::text(&format!(
        "origin      {}\nlog id      {}\nformat      {}\nentries     {size}\nsegments    {} ({closed} closed), {bytes} bytes uncompressed\n\
         checkpoint  {covered}\nwriter      {}\n{closing}\nThis is what the log says of itself; `indelible verify` says whether it is true.",
        output::safe(&info.origin),
        info.log_id,
        info.format,
        runs.len(),
        if has_writer { "yes, now" } else { "none now" },
    ))
}
