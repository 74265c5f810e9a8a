//! `log info`, `log repair`, `log explain`, `log prune`, `log succeed`.

use indelible::{
    KeyRing, LogError, Options, Pruned,
    error::chain,
    manage::{self, Repaired},
    prune::prune_recorded,
    verify::{Request, Verdict, verify},
};
use indelible_core::checkpoint::Origin;
use indelible_store::{heads::HeadStore as _, store::StoreError};
use indelible_store_file::FileReader;
use serde_json::json;

use super::{
    init::{created, refuse_taken, settings, tell_created},
    prove::parse,
};
use crate::{
    cli::{ExplainArgs, LogCommand, PruneArgs, SucceedArgs},
    failure::Failure,
    output,
    places::{Places, disk, now, writers_heads},
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
    let Repaired { wrong, keys } = manage::repair(&*places.driver()?, &places.ring()?, &places.options())?;
    if json {
        return output::json(&json!({ "keys": keys.map(|index| index.0), "rebuilt": wrong }));
    }
    if wrong.is_empty() {
        return output::text("nothing to repair: the log is intact");
    }
    let lines: Vec<String> = wrong.iter().map(|what| format!("  {}", output::safe(what))).collect();
    let taken_up = keys.map_or_else(String::new, |index| {
        format!(
            "\nThe log was opened for that, and took up the keys that are new in the ring: entry {} says which.",
            index.0
        )
    });
    output::text(&format!("rebuilt from verified entries; what was wrong:\n{}{taken_up}", lines.join("\n")))
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
                let bar = output::progress("pruning", last.saturating_sub(first).saturating_add(1));
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
    let (log, status, told) = match args.lost.as_deref() {
        Some(lost) => {
            refuse_if_there(places, lost)?;
            let log = manage::succeed_lost(lost, &*driver, &args.origin, &ring, options)?;
            (log, None, format!("note: `{lost}` is gone; the new log names its newest head, which is all that is left"))
        }
        None => {
            let (status, told) = predecessor(places, &ring).map_err(|failure| lost_is_meant(failure, places, args))?;
            let log = manage::succeed(&*places.driver()?, &*driver, &args.origin, &ring, options)?;
            (log, status, told)
        }
    };
    log.close()?;
    if json {
        let mut created = created(&log, &place, &ring);
        created.insert("predecessor_status".to_owned(), status.into());
        output::json(&created)?;
    } else {
        tell_created(&log, &place, &ring, "The keys are those of the old log.")?;
    }
    output::note(&output::safe(&told));
    Ok(())
}

/// A log that is there is verified and named by itself.
fn refuse_if_there(places: &Places, lost: &str) -> Result<(), Failure> {
    let Some(reader) = places.driver().ok().and_then(|driver| driver.reader_of_entry_zero().ok()) else {
        return Ok(());
    };
    if reader.info().origin != lost {
        return Ok(());
    }
    Err(Failure::Usage(format!("`{lost}` is not lost, --log names it: leave out --lost")))
}

/// Says how to go on from a log that is not there any more.
fn lost_is_meant(failure: Failure, places: &Places, args: &SucceedArgs) -> Failure {
    let name = places.log().ok().and_then(|place| place.origin()).unwrap_or("NAME");
    match failure {
        Failure::Error(error) if matches!(error.downcast_ref(), Some(StoreError::NotALog { .. })) => {
            Failure::text(format!(
                "{}; where the old log is gone for good: `indelible log succeed {} --origin {} --lost {name}`, by the old one's name",
                chain(&*error),
                args.new,
                args.origin
            ))
        }
        failure => failure,
    }
}

/// What was wrong with the log that is to be succeeded: its verdict, `None` where it could not be verified, and that in words. Nothing being wrong
/// is the first thing to hear for who meant another log.
fn predecessor(places: &Places, ring: &KeyRing) -> Result<(Option<&'static str>, String), Failure> {
    let reader = places.driver()?.reader_of_entry_zero()?;
    let origin = reader.info().origin.clone();
    let heads = writers_heads(ring).store;
    let bar = output::progress("verifying the old log", 1);
    let progress = |done: u64, total: u64| {
        bar.set_length(total.max(done));
        bar.set_position(done);
    };
    let request = Request {
        heads: Some(&heads),
        head_required: true,
        progress: Some(&progress),
        ..Request::of_ring(ring, &origin, now())?
    };
    let verified = verify(&*reader, &request);
    bar.finish_and_clear();
    let report = match verified {
        Ok(report) => report,
        Err(error) => return Ok((None, format!("note: `{origin}` could not be verified: {}", chain(&error)))),
    };
    let status = report.status.as_str();
    let frozen = heads.load(&origin).ok().flatten().and_then(|head| head.frozen);
    let told = match (report.status, frozen) {
        (Verdict::Intact, None) => format!(
            "warning: nothing was wrong with `{origin}`: it is intact, and goes on taking entries. Write to one of the two only; what is appended to it from now on, the new log does not name"
        ),
        (Verdict::Intact, Some(reason)) => format!("note: `{origin}` is intact, and was frozen ({reason})"),
        _ => {
            let count = report.findings.len() as u64 + report.more_findings;
            let findings = output::counted(count, "finding", "findings");
            format!("note: `{origin}` reads {status}, {findings}: `indelible verify` tells them")
        }
    };
    Ok((Some(status), told))
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
