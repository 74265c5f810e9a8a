//! `import`: foreign records in.
//!
//! Records become events with ids of their own content, so that importing a file twice adds nothing. A record that cannot be read or
//! recorded is told and kept in the rejects; an input that breaks off is told, and what stood before the break is recorded.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use indelible::{Log, error::chain};
use indelible_import::{Format, ImportError, Mapping, Record, open_reader, records};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    append::{is_rejection, reason},
    rejects::Rejects,
};
use crate::{
    cli::{ImportArgs, ImportFormat},
    exit,
    failure::Failure,
    output,
    places::Places,
};

/// Most records of a group.
const GROUP_RECORDS: usize = 1000;
/// Most bytes of its events, but for one record.
const GROUP_BYTES: usize = 4 << 20;

/// What became of the records.
#[derive(Default, Serialize)]
struct Summary {
    duplicates: u64,
    /// Inputs that could not be read to their end.
    incomplete: u64,
    recorded: u64,
    records: u64,
    rejected: u64,
}

/// Imports files.
pub(crate) fn run(places: &Places, json: bool, args: &ImportArgs) -> Result<ExitCode, Failure> {
    let format = format(args.format);
    let mapping = args.map.as_deref().map(mapping).transpose()?;
    // Refused before the log is touched.
    records(format, mapping.as_ref(), io::empty()).map_err(|error| Failure::Usage(chain(&error)))?;
    let rejects = Rejects::open(args.rejects.as_deref(), &args.files)?;
    let log = places.open()?;
    let bar = output::progress("importing", 0);
    let mut run = Run { log: &log, rejects: &rejects, bar: &bar, summary: Summary::default() };
    let result = args.files.iter().try_for_each(|file| run.file(format, mapping.as_ref(), file));
    let summary = run.summary;
    bar.finish_and_clear();
    let closed = log.close();
    tell(&summary, json)?;
    result?;
    closed?;
    Ok(ExitCode::from(match (summary.incomplete, summary.rejected) {
        (0, 0) => exit::OK,
        (0, _) => exit::REJECTED,
        _ => exit::COULD_NOT,
    }))
}

fn tell(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(summary);
    }
    let Summary { records, recorded, duplicates, rejected, .. } = summary;
    output::note(&format!(
        "{records} records: {recorded} recorded, {duplicates} duplicates of what was recorded before, {rejected} rejected"
    ));
    Ok(())
}

fn format(format: ImportFormat) -> Format {
    match format {
        ImportFormat::Cloudtrail => Format::CloudTrail,
        ImportFormat::K8sAudit => Format::K8sAudit,
        ImportFormat::Jsonl => Format::Jsonl,
        ImportFormat::Csv => Format::Csv,
    }
}

/// A mapping by the name that it is shipped under, else by its file.
fn mapping(name: &Path) -> Result<Mapping, Failure> {
    if let Some(shipped) = name.to_str().and_then(Mapping::shipped) {
        return Ok(shipped);
    }
    let bytes = std::fs::read(name).map_err(|error| {
        let shipped = Mapping::shipped_names().join("`, `");
        let place = name.display();
        Failure::text(format!("cannot read the mapping `{place}`: {error}; with the program come `{shipped}`"))
    })?;
    Mapping::parse(&bytes).map_err(Failure::from)
}

struct Run<'a> {
    log: &'a Log,
    rejects: &'a Rejects,
    bar: &'a ProgressBar,
    summary: Summary,
}

impl Run<'_> {
    fn file(&mut self, format: Format, mapping: Option<&Mapping>, file: &PathBuf) -> Result<(), Failure> {
        let reader = match open_reader(file) {
            Ok(reader) => reader,
            Err(error) => {
                self.incomplete(&chain(&error));
                return Ok(());
            }
        };
        let mut group: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in records(format, mapping, reader)? {
            match record {
                Ok(record) => {
                    self.summary.records += 1;
                    bytes += record.event.len();
                    group.push(record);
                }
                Err(ImportError::Record { place, text, source }) => {
                    self.summary.records += 1;
                    self.rejects.keep(&text)?;
                    self.reject(file, place, &chain(&source));
                }
                Err(fatal) => self.incomplete(&format!("`{}`: {}", file.display(), chain(&fatal))),
            }
            if group.len() >= GROUP_RECORDS || bytes >= GROUP_BYTES {
                self.group(file, &std::mem::take(&mut group))?;
                bytes = 0;
            }
        }
        self.group(file, &group)
    }

    fn group(&mut self, file: &Path, group: &[Record]) -> Result<(), Failure> {
        let events: Vec<&[u8]> = group.iter().map(|record| record.event.as_slice()).collect();
        let results = self.log.append_all(&events);
        let mut failed = None;
        for (record, result) in group.iter().zip(results) {
            match result {
                Ok(receipt) if receipt.duplicate => self.summary.duplicates += 1,
                Ok(_) => self.summary.recorded += 1,
                Err(error) => {
                    self.rejects.keep(&record.source)?;
                    if is_rejection(&error) {
                        self.reject(file, record.place, &reason(&error).0);
                    } else {
                        failed.get_or_insert((record.place, error));
                    }
                }
            }
        }
        self.bar.set_position(self.summary.records);
        match failed {
            None => Ok(()),
            Some((place, error)) => {
                let file = file.display();
                Err(Failure::text(format!(
                    "`{file}`: {place} is not known to be recorded, nor is what follows: {}",
                    chain(&error)
                )))
            }
        }
    }

    fn reject(&mut self, file: &Path, place: indelible_import::Place, why: &str) {
        self.summary.rejected += 1;
        let line = format!("{}: {place}: {why}", file.display());
        self.bar.suspend(|| output::note(&output::safe(&line)));
    }

    fn incomplete(&mut self, why: &str) {
        self.summary.incomplete += 1;
        self.bar.suspend(|| output::error(why));
    }
}
