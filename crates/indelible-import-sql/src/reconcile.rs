//! Both sides counted, and what differs named.
//!
//! The table is read once, in the order of its key, up to the last row that there is at the beginning; each row is sought in the log by its
//! id and compared with what the log recorded of it. The log is read once, up to its end at the beginning. Only where it holds more
//! entries than rows were found for is it read again, to name those whose row is gone.
//!
//! Nothing is verified here: that the log is what was written is for `verify` to say.

use std::collections::HashSet;

use indelible::{LogError, log};
use indelible_core::entry::EntryRef;
use indelible_store::store::Reader;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::SqlError,
    identity::{Imported, Source, scan},
    pace::Pace,
    stop::Stop,
    table::{Key, Range, Row, Table},
};

/// Most differences of a kind that are named; all are counted.
pub const MAX_NAMED: usize = 10_000;

/// Entries whose rows are looked for at once.
const FIND_ROWS: usize = 200;

/// What a comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Rows that are not what their entries recorded.
    pub changed: Differences,
    /// Whether the comparison came to its end.
    pub complete: bool,
    /// Entries of this table.
    pub entries: u64,
    /// Whether table and log hold the same.
    pub equal: bool,
    /// Entries whose rows are no longer there.
    pub gone: Differences,
    /// Rows that were found missing and have been recorded.
    pub late: u64,
    /// Rows that have no entry.
    pub missing: Differences,
    /// Rows in the table.
    pub rows: u64,
    /// The database.
    pub system: String,
    /// The table.
    pub table: String,
    /// Entries beyond the first of a row. A log that refuses an id that it holds has none.
    pub twice: u64,
}

/// Differences of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Differences {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub named: Vec<Difference>,
}

/// A row or an entry that has no equal on the other side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The entry, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The row's key.
    pub key: Value,
}

impl Differences {
    fn add(&mut self, key: Value, entry: Option<u64>) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(Difference { entry, key });
        }
    }
}

/// Who does something about what is missing.
pub(crate) trait Side {
    /// Rows that have no entry: which of them have one now.
    fn missing(&mut self, rows: &[Row]) -> Result<Vec<bool>, SqlError>;
    /// So many rows were compared.
    fn progress(&mut self, rows: u64);
}

/// Only looks.
struct Looks<'a>(&'a mut dyn FnMut(u64));

impl Side for Looks<'_> {
    fn missing(&mut self, rows: &[Row]) -> Result<Vec<bool>, SqlError> {
        Ok(vec![false; rows.len()])
    }

    fn progress(&mut self, rows: u64) {
        (self.0)(rows);
    }
}

/// Compares a table with a log, and records nothing. At most `rate` rows are read a second.
///
/// # Errors
/// [`SqlError`].
pub fn reconcile(
    log: &dyn Reader,
    table: &mut dyn Table,
    source: &Source,
    rate: Option<u64>,
    stop: &Stop,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, SqlError> {
    compare(log, table, source, &mut Pace::new(rate), stop, &mut Looks(progress))
}

pub(crate) fn compare(
    log: &dyn Reader,
    table: &mut dyn Table,
    source: &Source,
    pace: &mut Pace,
    stop: &Stop,
    side: &mut dyn Side,
) -> Result<Report, SqlError> {
    let size = log.size()?.0;
    let (system, name) = (source.system().to_owned(), source.table().to_owned());
    let mut compared = Compared { size, found: 0, report: Report { system, table: name, ..Report::default() } };
    if let Some(to) = table.last_key()? {
        let mut range = Range { after: None, to: Some(to) };
        while !stop.is_set() {
            let rows = table.page(&range, pace.page())?;
            let Some(last) = rows.last() else { break };
            range.after = Some(table.shape().key_of(last));
            compared.page(log, table, source, &rows, side)?;
            side.progress(compared.report.rows);
            pace.after(&rows, stop);
        }
    }
    if !stop.is_set() {
        compared.entries(log, table, source)?;
    }
    let mut report = compared.report;
    report.complete = !stop.is_set();
    let different = [&report.changed, &report.gone, &report.missing].iter().any(|kind| kind.count > 0);
    report.equal = report.complete && !different && report.twice == 0;
    Ok(report)
}

struct Compared {
    /// Of the log, at the beginning.
    size: u64,
    /// Entries below it that a row was found for.
    found: u64,
    report: Report,
}

impl Compared {
    fn page(
        &mut self,
        log: &dyn Reader,
        table: &dyn Table,
        source: &Source,
        rows: &[Row],
        side: &mut dyn Side,
    ) -> Result<(), SqlError> {
        let shape = table.shape();
        let mut missing = vec![];
        for row in rows {
            let key = shape.key_json(&shape.key_of(row));
            self.report.rows += 1;
            match find(log, source, &key)? {
                Some(imported) => {
                    self.found += u64::from(imported.index < self.size);
                    if !imported.is_same(shape, row) {
                        self.report.changed.add(key, Some(imported.index));
                    }
                }
                None => missing.push(row.clone()),
            }
        }
        for (row, is_recorded) in missing.iter().zip(side.missing(&missing)?) {
            if is_recorded {
                self.report.late += 1;
            } else {
                self.report.missing.add(shape.key_json(&shape.key_of(row)), None);
            }
        }
        Ok(())
    }

    /// Counts the entries, and names those that have no row.
    fn entries(&mut self, log: &dyn Reader, table: &mut dyn Table, source: &Source) -> Result<(), SqlError> {
        let mut entries = 0;
        scan(log, source, 0, self.size, |imported| {
            imported.key_in(table.shape())?;
            entries += 1;
            Ok(true)
        })?;
        self.report.entries = entries + self.report.late;
        if entries <= self.found {
            return Ok(());
        }
        let mut group: Vec<(Imported, Key)> = vec![];
        let gone = &mut self.report.gone;
        scan(log, source, 0, self.size, |imported| {
            let key = imported.key_in(table.shape())?;
            group.push((imported, key));
            if group.len() >= FIND_ROWS {
                name_gone(table, &std::mem::take(&mut group), gone)?;
            }
            Ok(true)
        })?;
        name_gone(table, &group, gone)?;
        self.report.twice = entries.saturating_sub(self.found + self.report.gone.count);
        Ok(())
    }
}

fn name_gone(table: &mut dyn Table, group: &[(Imported, Key)], gone: &mut Differences) -> Result<(), SqlError> {
    let keys: Vec<Key> = group.iter().map(|(_, key)| key.clone()).collect();
    let rows = table.find(&keys)?;
    let shape = table.shape();
    let there: HashSet<String> = rows.iter().map(|row| shape.key_json(&shape.key_of(row)).to_string()).collect();
    for (imported, key) in group {
        let key = shape.key_json(key);
        if !there.contains(&key.to_string()) {
            gone.add(key, Some(imported.index));
        }
    }
    Ok(())
}

fn find(store: &dyn Reader, source: &Source, key: &Value) -> Result<Option<Imported>, SqlError> {
    match log::find(store, &source.id(key)) {
        Ok(stored) => Ok(EntryRef::parse(&stored.entry).ok().and_then(|entry| source.row_of(&entry))),
        Err(LogError::NoSuchId { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
