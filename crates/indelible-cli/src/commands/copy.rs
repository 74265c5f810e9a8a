//! `copy`: a log from any place to any other, byte for byte, verified where it arrives.

use std::process::ExitCode;

use indelible::{
    copy::copy,
    verify::{Request, verify},
};
use indelible_core::{
    control::{Control, LogCreated},
    entry::EntryRef,
    note::VerifyingKey,
    tree::LeafIndex,
};
use indelible_keys::check_apart;
use indelible_store::store::Reader;
use serde_json::json;

use crate::{
    cli::CopyArgs,
    exit,
    failure::Failure,
    output,
    places::{Places, now},
};

/// Copies a log.
pub(crate) fn run(places: &Places, json: bool, args: &CopyArgs) -> Result<ExitCode, Failure> {
    let from = args.from.driver(&places.options_for(&args.from)?)?.reader()?;
    let origin = from.info().origin.clone();
    if let Some(named) = args.to.origin().filter(|named| *named != origin) {
        return Err(Failure::Usage(format!("a copy keeps its name: the log is `{origin}`, not `{named}`")));
    }
    let place = args.to.with_origin(&origin);
    let to = place.driver(&places.options_for(&place)?)?;
    if let (Some(path), Ok(keys)) = (place.path(), places.keys()) {
        check_apart(&keys, path)?;
    }
    let bar = output::progress("copying", 1);
    let copied = copy(&*from, &*to, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let reader = to.reader()?;
    let bar = output::progress("verifying the copy", 1);
    let progress = |done: u64, total: u64| {
        bar.set_length(total.max(done));
        bar.set_position(done);
    };
    let ring = places.ring_if_any()?.filter(|ring| crate::places::keys_of_another_log(&*reader, ring).is_none());
    let request = Request {
        ring: ring.as_ref(),
        strict: true,
        progress: Some(&progress),
        ..Request::new(own_key(&*reader)?, now())
    };
    let report = verify(&*reader, &request)?;
    bar.finish_and_clear();
    let (size, before) = (copied.size, copied.before);
    if json {
        output::json(&json!({
            "attachments": copied.attachments,
            "before": before,
            "behind": copied.behind,
            "checkpoints": copied.checkpoints,
            "entries": size,
            "from": args.from.to_string(),
            "origin": origin,
            "root": copied.head.root.to_hex(),
            "status": report.status.as_str(),
            "to": place.to_string(),
            "tree_size": copied.head.size.0,
        }))?;
    } else {
        let behind = match copied.behind {
            0 => String::new(),
            behind => format!(
                "\n{behind} more stand behind the source's checkpoint: `indelible checkpoint` there, and copy again"
            ),
        };
        output::text(&format!(
            "copied      {} of {size} entries ({before} were there), {} attachments, {} kept checkpoints\nto          {place}\n\
             the copy is {}, root {} over {} entries{behind}\n\nWrite to one of the two from now on: the head store knows one log of this name, and refuses the other.",
            size - before,
            copied.attachments,
            copied.checkpoints,
            report.status.as_str(),
            copied.head.root,
            copied.head.size,
        ))?;
    }
    Ok(ExitCode::from(exit::of(report.status)))
}

/// The checkpoint key that entry 0 names. Copy and source are compared with each other; whose log it is, `verify` says.
fn own_key(reader: &dyn Reader) -> Result<VerifyingKey, Failure> {
    let stored = indelible::log::get(reader, LeafIndex(0))?;
    let Control::LogCreated(LogCreated { checkpoint_keys, .. }) = Control::parse(EntryRef::parse(&stored.entry)?.body)?
    else {
        return Err(Failure::text("entry 0 does not say what the log is".to_owned()));
    };
    let key = checkpoint_keys.first().ok_or_else(|| Failure::text("entry 0 names no checkpoint key".to_owned()))?;
    Ok(VerifyingKey::parse(key)?)
}
