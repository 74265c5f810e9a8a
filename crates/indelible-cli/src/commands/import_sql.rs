//! `import --format sql`: an old audit table in, while the application goes on writing to it.
//!
//! A second run adds nothing but what came since; a run that was killed is gone on with. When all is in, table and log are compared row by
//! row. What differs is told, and the exit code is 3.

use std::{error::Error, path::PathBuf, process::ExitCode};

use indelible_import::{Mapping, Proposal, propose};
use indelible_import_sql::{
    Import, Place, Report, Settings, Source, Stop, Summary, Table, Watch, import::reject_line, reconcile,
    reconcile::Differences, table,
};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use super::{import::mapping, rejects::Rejects};
use crate::{
    cli::{ImportArgs, SqlArgs},
    exit,
    failure::Failure,
    output,
    places::Places,
};

/// Differences of a kind that are told to people; `--json` names more.
const TOLD: usize = 20;

/// What a run did, as JSON.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    reconciliation: Option<&'a Report>,
}

/// What is to be read.
struct From<'a> {
    place: Place,
    table: &'a str,
}

/// Imports a table, proposes a mapping for it, or compares it with the log.
pub(crate) fn run(places: &Places, json: bool, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let from = from(args)?;
    let given = args.map.as_deref().map(mapping).transpose()?;
    let key = given.as_ref().map(Mapping::key).transpose()?.flatten();
    let (mut table, system) = from.place.open(from.table, key)?;
    let system = args.sql.source.clone().unwrap_or(system);
    let source = Source::new(&system, table.shape());
    if args.sql.reconcile {
        return compare(places, json, &args.sql, &mut *table, &source);
    }
    let mapping = match given {
        Some(mapping) => mapping,
        None => match proposed(&args.sql, &mut *table)? {
            Some(mapping) => mapping,
            None => return Ok(ExitCode::from(if args.sql.propose { exit::OK } else { exit::USAGE })),
        },
    };
    import(places, json, args, &mut *table, &source, &mapping)
}

fn from(args: &ImportArgs) -> Result<From<'_>, Failure> {
    if !args.files.is_empty() {
        return Err(Failure::Usage("a table is named by --from and --table, not by files".to_owned()));
    }
    let (Some(place), Some(table)) = (&args.sql.from, &args.sql.table) else {
        let missing = "importing `sql` takes --from (`sqlite:FILE` or `postgres://…`) and --table";
        return Err(Failure::Usage(missing.to_owned()));
    };
    let place = place.parse().map_err(|error| Failure::Usage(indelible::error::chain(&error)))?;
    Ok(From { place, table })
}

/// The proposed mapping, where it may be used; else it was printed.
fn proposed(args: &SqlArgs, table: &mut dyn Table) -> Result<Option<Mapping>, Failure> {
    let columns = table::sample(table)?;
    let Proposal { text, open } = propose("sql", &format!("the table `{}`", table.shape().table), &columns);
    if args.yes && !args.propose {
        return match open.is_empty() {
            true => Ok(Some(Mapping::parse(text.as_bytes())?)),
            false => Err(Failure::Usage(format!(
                "{}; save what --propose prints, correct it, and give it as --map",
                open.join("; ")
            ))),
        };
    }
    output::data(text.as_bytes())?;
    for undecided in open {
        output::note(&output::safe(&format!("to be decided: {undecided}")));
    }
    if !args.propose {
        output::note(
            "nothing was imported: there is no --map. Save the mapping above, read and correct it, and give it as --map; or take it as it is with --yes",
        );
    }
    Ok(None)
}

/// Tells people and the file of rejects what happens.
struct Teller<'a> {
    table: String,
    rejects: &'a Rejects,
    bar: &'a ProgressBar,
}

impl Watch for Teller<'_> {
    fn rejected(&mut self, key: &Value, reason: &str, row: &Value) -> Result<(), Box<dyn Error + Send + Sync>> {
        let line = format!("{}: the row {key} was not recorded: {reason}", self.table);
        self.bar.suspend(|| output::note(&output::safe(&line)));
        let kept = self.rejects.keep(reject_line(&self.table, key, reason, row).as_bytes());
        kept.map_err(|failure| failure.message().unwrap_or_default().into())
    }

    fn progress(&mut self, rows: u64) {
        self.bar.set_position(rows);
    }
}

fn import(
    places: &Places,
    json: bool,
    args: &ImportArgs,
    table: &mut dyn Table,
    source: &Source,
    mapping: &Mapping,
) -> Result<ExitCode, Failure> {
    let inputs: Vec<PathBuf> =
        args.sql.from.iter().filter_map(|from| from.strip_prefix("sqlite:")).map(PathBuf::from).collect();
    let rejects = Rejects::open(args.rejects.as_deref(), &inputs)?;
    let SqlArgs { rate, follow, no_reconcile, .. } = args.sql;
    let bar = output::progress("importing", 0);
    let mut teller = Teller { table: table.shape().table.clone(), rejects: &rejects, bar: &bar };
    let stop = Stop::on_interrupt()?;
    let settings = Settings { rate, follow, no_reconcile };
    let log = places.open()?;
    let import = Import::new(&log, table, source, mapping, settings, &mut teller, &stop);
    let (summary, result) = match import {
        Ok(import) => import.run(),
        Err(error) => (Summary::default(), Err(error)),
    };
    bar.finish_and_clear();
    // What is recorded gets its checkpoint whatever else went wrong; the first failure is the one to tell.
    let closed = log.close();
    let report = result?;
    tell(&summary, report.as_ref(), json)?;
    closed?;
    let differs = report.as_ref().is_some_and(|report| report.complete && !report.equal);
    Ok(ExitCode::from(if summary.interrupted && !follow {
        exit::COULD_NOT
    } else if differs || summary.rejected + summary.changed > 0 {
        exit::REJECTED
    } else {
        exit::OK
    }))
}

fn compare(
    places: &Places,
    json: bool,
    args: &SqlArgs,
    table: &mut dyn Table,
    source: &Source,
) -> Result<ExitCode, Failure> {
    let reader = places.reader()?;
    let stop = Stop::on_interrupt()?;
    let bar = output::progress("comparing", 0);
    let report = reconcile(&*reader, table, source, args.rate, &stop, &mut |rows| bar.set_position(rows));
    bar.finish_and_clear();
    let report = report?;
    if json {
        output::json(&report)?;
    } else {
        output::text(&said(&report))?;
    }
    Ok(ExitCode::from(match (report.complete, report.equal) {
        (false, _) => exit::COULD_NOT,
        (true, false) => exit::REJECTED,
        (true, true) => exit::OK,
    }))
}

fn tell(summary: &Summary, report: Option<&Report>, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&Done { summary, reconciliation: report });
    }
    let Summary { rows, recorded, duplicates, late, rejected, changed, interrupted } = summary;
    output::note(&format!(
        "{rows} rows read: {recorded} recorded ({late} of them late), {duplicates} duplicates of what was recorded before, \
         {rejected} rejected, {changed} changed since they were recorded"
    ));
    if *interrupted {
        output::note("interrupted: start it again, it goes on where it stopped");
    }
    if let Some(report) = report {
        output::note(&said(report));
    }
    Ok(())
}

/// The comparison in words.
fn said(report: &Report) -> String {
    let Report { rows, entries, late, .. } = report;
    let verdict = match (report.complete, report.equal) {
        (false, _) => "interrupted before all was compared",
        (true, true) => "equal",
        (true, false) => "they differ",
    };
    let late = if *late > 0 { format!(", {late} of which came in late") } else { String::new() };
    let mut text = format!("`{}` has {rows} rows, the log {entries} entries of it{late}: {verdict}", report.table);
    let kinds = [
        ("rows without an entry", &report.missing),
        ("rows that were changed after they were recorded", &report.changed),
        ("entries whose row is gone", &report.gone),
    ];
    for (what, differences) in kinds {
        text.push_str(&listed(what, differences));
    }
    output::safe(&text).into_owned()
}

fn listed(what: &str, differences: &Differences) -> String {
    if differences.count == 0 {
        return String::new();
    }
    let mut text = format!("\n{} {what}:", differences.count);
    for difference in differences.named.iter().take(TOLD) {
        let entry = difference.entry.map_or(String::new(), |index| format!(" (entry {index})"));
        text.push_str(&format!("\n  {}{entry}", difference.key));
    }
    if differences.count > TOLD as u64 {
        text.push_str("\n  …; --json names more");
    }
    text
}
