//! Rows in.
//!
//! A run reads from the key that the log names last to the last row that there is when it begins, or goes on as rows come. Then it reads the
//! whole table once more against the log: a transaction may have been given its key early and have come in late, behind the place that
//! was read already. Rows are known by their ids, so whatever is read twice is recorded once.

use std::{
    collections::{HashSet, VecDeque},
    error::Error,
    time::{Duration, Instant},
};

use indelible::{AppendError, Log, error::chain, log};
use indelible_core::{entry::EntryRef, tree::LeafIndex};
use indelible_import::{Mapping, TableRow};
use indelible_store::store::Fingerprint;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::SqlError,
    identity::{Imported, Source, whole},
    pace::Pace,
    position,
    reconcile::{Report, Side, compare},
    stop::Stop,
    table::{Key, Range, Row, Shape, Table},
};

/// How often a table is asked for new rows.
const POLL: Duration = Duration::from_secs(1);
/// How often the last rows are read again for those that came in late.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(10);
/// How late a row may come in while a table is followed. What is later is found by the next run that is not told to follow.
const LATE: Duration = Duration::from_secs(60);
/// Most rejected rows that are remembered so that they are told once; 16 MiB.
const MAX_TOLD: usize = 1 << 20;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Rows per second at most.
    pub rate: Option<u64>,
    /// Go on as rows come, until stopped.
    pub follow: bool,
    /// Leave out the comparison of the whole table with the log.
    pub no_reconcile: bool,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows whose content is not what was recorded under their key before.
    pub changed: u64,
    /// Rows that were recorded before.
    pub duplicates: u64,
    /// Whether an interrupt ended the run.
    pub interrupted: bool,
    /// Rows that came in behind the place that was read already; they are among the recorded.
    pub late: u64,
    /// Rows that became entries.
    pub recorded: u64,
    /// Rows that are no events.
    pub rejected: u64,
    /// Rows that were read, without the comparison at the end.
    pub rows: u64,
}

/// Who is told what happens.
pub trait Watch {
    /// A row was not recorded.
    ///
    /// # Errors
    /// Where it cannot be kept; that ends the import.
    fn rejected(&mut self, key: &Value, reason: &str, row: &Value) -> Result<(), Box<dyn Error + Send + Sync>>;
    /// So many rows were read.
    fn progress(&mut self, rows: u64);
}

/// What became of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Recorded,
    Duplicate,
    Changed,
    Rejected,
}

/// Whether rows are read for the first time in this run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    Again,
}

/// An import that is about to run.
pub struct Import<'a> {
    table: &'a mut dyn Table,
    recorder: Recorder<'a>,
    settings: Settings,
    stop: &'a Stop,
    pace: Pace,
}

struct Recorder<'a> {
    log: &'a Log,
    mapping: &'a Mapping,
    source: &'a Source,
    shape: Shape,
    watch: &'a mut dyn Watch,
    summary: Summary,
    told: HashSet<Fingerprint>,
}

impl<'a> Import<'a> {
    /// Prepares an import; nothing is read yet.
    ///
    /// # Errors
    /// [`SqlError::Mapping`] where the mapping does not fit the table; [`SqlError::KeyDoesNotGrow`].
    pub fn new(
        log: &'a Log,
        table: &'a mut dyn Table,
        source: &'a Source,
        mapping: &'a Mapping,
        settings: Settings,
        watch: &'a mut dyn Watch,
        stop: &'a Stop,
    ) -> Result<Self, SqlError> {
        let shape = table.shape().clone();
        mapping.key()?;
        mapping.check_columns(&shape.names())?;
        if settings.follow && !shape.key_columns().next().is_some_and(|column| column.grows) {
            return Err(SqlError::KeyDoesNotGrow { table: shape.table });
        }
        let (summary, told) = (Summary::default(), HashSet::new());
        let recorder = Recorder { log, mapping, source, shape, watch, summary, told };
        Ok(Self { table, recorder, settings, stop, pace: Pace::new(settings.rate) })
    }

    /// Runs. What was recorded stays recorded, whatever comes; the summary says what that is.
    pub fn run(mut self) -> (Summary, Result<Option<Report>, SqlError>) {
        let result = self.all();
        self.recorder.summary.interrupted = self.stop.is_set();
        (self.recorder.summary, result)
    }

    fn all(&mut self) -> Result<Option<Report>, SqlError> {
        let recorder = &self.recorder;
        let position = position::last(recorder.log.store(), recorder.source, &recorder.shape)?;
        if self.settings.follow {
            return self.follow(position).map(|()| None);
        }
        let to = self.table.last_key()?;
        if to.is_some() {
            self.read(Range { after: position, to }, Pass::First)?;
        }
        if self.settings.no_reconcile || self.stop.is_set() {
            return Ok(None);
        }
        let recorder = &mut self.recorder;
        let (log, source) = (recorder.log.store(), recorder.source);
        let mut late = Late(recorder);
        compare(log, self.table, source, &mut self.pace, self.stop, &mut late).map(Some)
    }

    /// Records the rows of a range; gives the key of the last one.
    fn read(&mut self, mut range: Range, pass: Pass) -> Result<Option<Key>, SqlError> {
        while !self.stop.is_set() {
            let rows = self.table.page(&range, self.pace.page())?;
            let Some(last) = rows.last() else { break };
            range.after = Some(self.recorder.shape.key_of(last));
            self.recorder.record(&rows, pass)?;
            self.pace.after(&rows, self.stop);
        }
        Ok(range.after)
    }

    fn follow(&mut self, mut position: Option<Key>) -> Result<(), SqlError> {
        // Where the reading was at which time: the first is as old as a late row may be.
        let mut marks = VecDeque::from([(Instant::now(), position.clone())]);
        let mut looked_back = Instant::now();
        while !self.stop.is_set() {
            position = self.read(Range { after: position, to: None }, Pass::First)?;
            marks.push_back((Instant::now(), position.clone()));
            while marks.get(1).is_some_and(|(time, _)| time.elapsed() >= LATE) {
                marks.pop_front();
            }
            if looked_back.elapsed() >= LOOK_BACK_EVERY {
                looked_back = Instant::now();
                let after = marks.front().and_then(|(_, position)| position.clone());
                if position.is_some() && after != position {
                    self.read(Range { after, to: position.clone() }, Pass::Again)?;
                }
            }
            self.stop.wait(POLL);
            self.pace.restart();
        }
        Ok(())
    }
}

/// The comparison's missing rows are recorded after all.
struct Late<'r, 'a>(&'r mut Recorder<'a>);

impl Side for Late<'_, '_> {
    fn missing(&mut self, rows: &[Row]) -> Result<Vec<bool>, SqlError> {
        Ok(self.0.record(rows, Pass::Again)?.iter().map(|outcome| *outcome == Outcome::Recorded).collect())
    }

    fn progress(&mut self, rows: u64) {
        self.0.watch.progress(rows);
    }
}

impl Recorder<'_> {
    /// Records rows, durably at return.
    fn record(&mut self, rows: &[Row], pass: Pass) -> Result<Vec<Outcome>, SqlError> {
        let mut outcomes = vec![Outcome::Rejected; rows.len()];
        let (mut events, mut places) = (vec![], vec![]);
        for (place, row) in rows.iter().enumerate() {
            match self.event(row)? {
                Ok(event) => {
                    events.push(event);
                    places.push((place, row));
                }
                Err(reason) => self.reject(row, &reason, Outcome::Rejected)?,
            }
        }
        for ((place, row), result) in places.into_iter().zip(self.log.append_all(&events)) {
            let outcome = match result {
                Ok(receipt) if receipt.duplicate => Outcome::Duplicate,
                Ok(_) => Outcome::Recorded,
                Err(error) => self.refused(row, error)?,
            };
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = outcome;
            }
        }
        self.count(&outcomes, pass);
        Ok(outcomes)
    }

    /// The event of a row; inside, why it is none.
    fn event(&self, row: &Row) -> Result<Result<Vec<u8>, String>, SqlError> {
        let shape = &self.shape;
        let key = shape.key_json(&shape.key_of(row));
        let (whole, attached) = whole(shape, row);
        let (id, source, columns) = (self.source.id(&key), self.source.details(&key), shape.texts(row));
        let row = TableRow { id: &id, source: &source, columns: &columns, whole: &whole };
        match self.mapping.row_event(&row) {
            Ok(event) => {
                if let Some(bytes) = attached {
                    self.log.put_attachment(&bytes)?;
                }
                Ok(Ok(event))
            }
            Err(error) => Ok(Err(chain(&error))),
        }
    }

    /// What the log's refusal of a row means.
    fn refused(&mut self, row: &Row, error: AppendError) -> Result<Outcome, SqlError> {
        match error {
            AppendError::IdConflict { index, .. } => {
                let stored = log::get(self.log.store(), LeafIndex(index))?;
                let imported = EntryRef::parse(&stored.entry).ok().and_then(|entry| self.source.row_of(&entry));
                if imported.is_some_and(|imported: Imported| imported.is_same(&self.shape, row)) {
                    // Recorded before, under another mapping.
                    return Ok(Outcome::Duplicate);
                }
                let reason = format!(
                    "its content is not what entry {index} recorded of it: it was changed after it was imported"
                );
                self.reject(row, &reason, Outcome::Changed)?;
                Ok(Outcome::Changed)
            }
            AppendError::Event(error) => {
                self.reject(row, &chain(&error), Outcome::Rejected)?;
                Ok(Outcome::Rejected)
            }
            error => {
                let key = self.shape.key_json(&self.shape.key_of(row)).to_string();
                Err(SqlError::Append { key, source: Box::new(error) })
            }
        }
    }

    /// Tells once of a row that was not recorded.
    fn reject(&mut self, row: &Row, reason: &str, outcome: Outcome) -> Result<(), SqlError> {
        let key = self.shape.key_json(&self.shape.key_of(row));
        let known = Fingerprint::of(&self.source.id(&key));
        if self.told.contains(&known) {
            return Ok(());
        }
        if self.told.len() < MAX_TOLD {
            self.told.insert(known);
        }
        *(if outcome == Outcome::Changed { &mut self.summary.changed } else { &mut self.summary.rejected }) += 1;
        self.watch.rejected(&key, reason, &self.shape.row_json(row)).map_err(SqlError::Rejects)
    }

    fn count(&mut self, outcomes: &[Outcome], pass: Pass) {
        let of = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count() as u64;
        self.summary.recorded += of(Outcome::Recorded);
        match pass {
            Pass::First => {
                self.summary.rows += outcomes.len() as u64;
                self.summary.duplicates += of(Outcome::Duplicate);
                self.watch.progress(self.summary.rows);
            }
            Pass::Again => self.summary.late += of(Outcome::Recorded),
        }
    }
}

/// The line of a file of rejects.
#[must_use]
pub fn reject_line(table: &str, key: &Value, reason: &str, row: &Value) -> String {
    json!({ "key": key, "reason": reason, "row": row, "table": table }).to_string()
}
