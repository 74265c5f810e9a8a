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
use indelible_import::{
    Canonical, Format, ImportError, Mapping, MappingError, OldKey, OldSignature, Record, Records, SignatureCheck,
    open_reader, records, records_signed_before,
};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{append::reason, rejects::Rejects};
use crate::{
    cli::{ImportArgs, ImportFormat, OldArgs},
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
    /// What came of the signatures of an older signer, where there were to be some.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_signatures: Option<OldSignatures>,
    recorded: u64,
    records: u64,
    rejected: u64,
}

/// Records by what came of their old signatures.
#[derive(Default, Serialize)]
struct OldSignatures {
    invalid: u64,
    missing: u64,
    unchecked: u64,
    valid: u64,
}

/// How the files are read.
enum Reading {
    Plain(Format, Option<Mapping>),
    Signed(Mapping, OldSignature),
}

impl Reading {
    fn records<R: io::BufRead>(&self, reader: R) -> Result<Records<R>, MappingError> {
        match self {
            Self::Plain(format, mapping) => records(*format, mapping.as_ref(), reader),
            Self::Signed(mapping, old) => records_signed_before(mapping, old, reader),
        }
    }
}

/// Imports files, or a table.
pub(crate) fn run(places: &Places, json: bool, args: &ImportArgs) -> Result<ExitCode, Failure> {
    #[cfg(feature = "import-sql")]
    if matches!(args.format, ImportFormat::Sql) {
        return super::import_sql::run(places, json, args);
    }
    if args.files.is_empty() {
        return Err(Failure::Usage("no file is named: give one or more, `-` is stdin".to_owned()));
    }
    let reading = reading(args)?;
    // Refused before the log is touched.
    reading.records(io::empty()).map_err(|error| {
        let remedy = if args.map.is_none() { give_a_map() } else { String::new() };
        Failure::Usage(format!("{}{remedy}", chain(&error)))
    })?;
    let rejects = Rejects::open(args.rejects.as_deref(), &args.files)?;
    let log = places.open()?;
    let bar = output::progress("importing", 0);
    let old_signatures = matches!(reading, Reading::Signed(..)).then(OldSignatures::default);
    let summary = Summary { old_signatures, ..Summary::default() };
    let mut run = Run { log: &log, rejects: &rejects, bar: &bar, summary };
    let result = args.files.iter().try_for_each(|file| run.file(&reading, file));
    let summary = run.summary;
    bar.finish_and_clear();
    let closed = log.close();
    tell(&summary, json)?;
    result?;
    closed?;
    let unsigned = summary.old_signatures.as_ref().map_or(0, |old| old.invalid + old.missing);
    Ok(ExitCode::from(match (summary.incomplete, summary.rejected + unsigned) {
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
        "{}: {recorded} recorded, {} of what was recorded before, {rejected} rejected",
        output::counted(*records, "record", "records"),
        output::counted(*duplicates, "duplicate", "duplicates"),
    ));
    if let Some(OldSignatures { valid, invalid, unchecked, missing }) = &summary.old_signatures {
        output::note(&format!(
            "old signatures: {valid} valid, {invalid} invalid, {missing} missing, {unchecked} unchecked"
        ));
    }
    Ok(())
}

fn reading(args: &ImportArgs) -> Result<Reading, Failure> {
    let mapping = args.map.as_deref().map(mapping).transpose()?;
    let format = match args.format {
        ImportFormat::Cloudtrail => Format::CloudTrail,
        ImportFormat::K8sAudit => Format::K8sAudit,
        ImportFormat::Jsonl => Format::Jsonl,
        ImportFormat::Csv => Format::Csv,
        ImportFormat::SignedJsonl => {
            let missing = "importing `signed-jsonl` takes a mapping whose `format` is `jsonl`: give --map";
            let mapping = mapping.ok_or_else(|| Failure::Usage(missing.to_owned()))?;
            return Ok(Reading::Signed(mapping, old_signature(&args.old)?));
        }
        #[cfg(feature = "import-sql")]
        ImportFormat::Sql => return Err(Failure::Usage("a table is not read from files".to_owned())),
    };
    Ok(Reading::Plain(format, mapping))
}

fn old_signature(args: &OldArgs) -> Result<OldSignature, Failure> {
    let canonical = args.old_canonical.as_deref();
    let canonical = Canonical::ALL.iter().find(|(name, _)| Some(*name) == canonical).map(|(_, form)| *form);
    let key = args.old_key.as_deref().map(old_key).transpose()?;
    Ok(OldSignature { field: args.old_field.clone(), key, canonical })
}

fn old_key(from: &str) -> Result<OldKey, Failure> {
    let bytes = match from.strip_prefix("env:") {
        Some(name) => std::env::var_os(name)
            .ok_or_else(|| Failure::text(format!("the environment variable `{name}` with the old key is not set")))?
            .into_encoded_bytes(),
        None => std::fs::read(from).map_err(Failure::io("read the old key in", Path::new(from)))?,
    };
    OldKey::new(bytes).map_err(|why| Failure::text(format!("{why}: `{from}`")))
}

fn give_a_map() -> String {
    let shipped = Mapping::shipped_names().join("`, `");
    format!(": give --map FILE, or --map with the name of one that comes with the program (`{shipped}`)")
}

/// A mapping by the name that it is shipped under, else by its file.
pub(super) fn mapping(name: &Path) -> Result<Mapping, Failure> {
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
    fn file(&mut self, reading: &Reading, file: &PathBuf) -> Result<(), Failure> {
        let reader = match open_reader(file) {
            Ok(reader) => reader,
            Err(error) => {
                self.incomplete(&chain(&error));
                return Ok(());
            }
        };
        let mut group: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in reading.records(reader)? {
            match record {
                Ok(record) => {
                    self.summary.records += 1;
                    self.old_signature(file, &record);
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

    /// A record whose old signature does not hold is recorded with that result, and told.
    fn old_signature(&mut self, file: &Path, record: &Record) {
        let (Some(check), Some(old)) = (record.old_signature, &mut self.summary.old_signatures) else { return };
        let why = match check {
            SignatureCheck::Valid(_) => return old.valid += 1,
            SignatureCheck::Unchecked => return old.unchecked += 1,
            SignatureCheck::Missing => {
                old.missing += 1;
                "it has no old signature"
            }
            SignatureCheck::Invalid => {
                old.invalid += 1;
                "its old signature is not valid"
            }
        };
        let line = format!("{}: {}: {why}; it is recorded with that result", file.display(), record.place);
        self.bar.suspend(|| output::note(&output::safe(&line)));
    }

    fn group(&mut self, file: &Path, group: &[Record]) -> Result<(), Failure> {
        let events: Vec<&[u8]> = group.iter().map(|record| record.event.as_slice()).collect();
        let results = self.log.append_all(&events);
        let (mut failed, mut more) = (None, false);
        for (record, result) in group.iter().zip(results) {
            more |= failed.is_some() && result.is_ok();
            match result {
                Ok(receipt) if receipt.duplicate => self.summary.duplicates += 1,
                Ok(_) => self.summary.recorded += 1,
                Err(error) => {
                    self.rejects.keep(&record.source)?;
                    if error.is_refusal() {
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
                let others = if more { "though some of what follows is" } else { "nor is what follows" };
                let why = chain(&error);
                Err(Failure::text(format!("`{file}`: {place} is not known to be recorded, {others}: {why}")))
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
