//! `export` of a log on a server: the same file, made here of entries, tiles and a checkpoint that the server gives.
//!
//! The last line is written only where the entries lead to the root that the checkpoint says; an export without it is none. The checkpoint's signature is verified by whoever has the public key:
//! `tools/verify.py --export`.

use indelible_client::{ClientError, blocking::Log};

use crate::{
    cli::ExportArgs,
    commands::export::{Sink, tell},
    failure::Failure,
    output,
};

pub(super) fn run(log: &Log, json: bool, args: &ExportArgs) -> Result<(), Failure> {
    if let Some(to) = args.to.filter(|to| args.from > *to) {
        let text = format!("--from {} is behind --to {to}: there is nothing between them", args.from);
        return Err(Failure::Usage(text));
    }
    let mut export = log.export(args.from, args.to).map_err(uncovered)?;
    let (from, to) = export.range();
    let mut sink = Sink::open(args.output.as_deref())?;
    let bar = output::progress("exporting", (to - from).max(1));
    while let Some(lines) = log.export_more(&mut export)? {
        sink.write(&lines)?;
        bar.set_position(export.position() - from);
    }
    bar.finish_and_clear();
    sink.finish()?;
    tell(args, json, (from, to))
}

/// The words that a log here has for it.
fn uncovered(error: ClientError) -> Failure {
    match error {
        ClientError::Range { from, to, size } => Failure::text(format!(
            "the newest checkpoint covers {}, not {}: wait for the next one, or export fewer",
            output::entries(size.0),
            from.max(to)
        )),
        error => error.into(),
    }
}
