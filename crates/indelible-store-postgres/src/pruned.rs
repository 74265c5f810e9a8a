//! Bodies that were pruned: taking them away, and telling such gaps from rows that are gone.
//!
//! The database takes bodies away only where an entry below the published checkpoint says that they were pruned. INVARIANT(recorded): a gap between rows is told as one
//! only where that entry is there and says so; whatever else is missing is missing. Whether somebody authorised the entry is seen by verification.

use indelible_core::{control::Control, entry::EntryRef};
use indelible_store::store::{PrunedRange, Pruning, Run, StoreError};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param},
    database::Database,
    fault::Fault,
    reader::PostgresReader,
    turn::{signed, unsigned},
};

/// Ranges that were pruned, each with the entry that is to say so.
const RANGES: &str = "select p.first, p.last, p.record, e.entry from indelible.pruned p
    join indelible.entries e on e.log = p.log and e.idx = p.record where p.log = $1 order by p.first, p.last";
/// Rows that stand in a pruned range: the log's own records, and what has not been taken away yet.
const STRETCHES: &str = "select min(x.idx), max(x.idx) from (
        select d.idx, d.idx - row_number() over (order by d.idx) as stretch from (
            select distinct e.idx from indelible.entries e where e.log = $1 and e.idx between $2 and $3) d) x
    group by x.stretch order by 1";
const PRUNE: &str = "select o_pruned, o_left from indelible.prune($1, $2, $3, $4)";
const MAY_PRUNE: &str =
    "select pg_catalog.has_function_privilege('indelible.prune(bigint, bigint, bigint, bigint)', 'execute')";

/// Rows up to an index, from which on nothing may stand before another.
type Stretch = (u64, u64);

/// Whether the login may prune.
pub(crate) fn pruning(database: &Database) -> Result<Pruning, StoreError> {
    let step = "look whether this login may prune";
    let rows = database.read(step, Call::new(MAY_PRUNE, Vec::new()))?;
    let may = rows.first().map_or(Ok(false), |row| row.try_get(0));
    let may = may.map_err(|error| Fault::from(error).told(database.place(), step))?;
    Ok(if may { Pruning::Here } else { Pruning::ByAnotherLogin })
}

/// Takes the bodies of a range away, piece by piece. Broken off, it goes on where it ended.
pub(crate) fn prune(
    database: &Database,
    log: i64,
    range: &PrunedRange,
    told: &mut dyn FnMut(u64),
) -> Result<u64, StoreError> {
    let step = "prune entries";
    let numbers = [log, signed(range.first), signed(range.last), signed(range.record)];
    let mut pruned = 0;
    loop {
        let rows = database.write(step, Call::new(PRUNE, numbers.map(Param::Big).to_vec()))?;
        let answer = |row: &Row| Ok::<(i64, bool), tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?));
        let answer = rows.first().map_or(Ok((0, false)), answer);
        let (count, left) = answer.map_err(|error| Fault::from(error).told(database.place(), step))?;
        pruned += unsigned(count);
        told(pruned);
        if !left {
            return Ok(pruned);
        }
    }
}

impl PostgresReader {
    /// The ranges that the log's own entries say were pruned, joined where they touch.
    fn pruned_ranges(&self) -> Result<Vec<Stretch>, StoreError> {
        let step = "see what was pruned";
        let mut ranges: Vec<Stretch> = Vec::new();
        for row in self.database.read(step, Call::new(RANGES, vec![Param::Big(self.log)]))? {
            let Some((first, last)) = said(&row).map_err(self.broken(step))? else { continue };
            match ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Ok(ranges)
    }

    /// Where rows stand: all that there is, but for what was pruned.
    pub(crate) fn stretches(&self, end: u64) -> Result<Vec<Stretch>, StoreError> {
        let step = "see what was pruned";
        let (mut stretches, mut from) = (Vec::new(), 0);
        for (first, last) in self.pruned_ranges()?.into_iter().filter(|(_, last)| *last < end) {
            if from < first {
                stretches.push((from, first));
            }
            let params = vec![Param::Big(self.log), Param::Big(signed(first)), Param::Big(signed(last))];
            for row in self.database.read(step, Call::new(STRETCHES, params))? {
                let get = |at: usize| row.try_get::<_, i64>(at).map(unsigned).map_err(self.broken(step));
                stretches.push((get(0)?, get(1)? + 1));
            }
            from = last + 1;
        }
        if from < end || stretches.is_empty() {
            stretches.push((from, end));
        }
        Ok(stretches)
    }
}

/// The range of a row, if the entry beside it says the same.
fn said(row: &Row) -> Result<Option<Stretch>, tokio_postgres::Error> {
    let numbers: (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (first, last, record) = (unsigned(numbers.0), unsigned(numbers.1), unsigned(numbers.2));
    let entry = EntryRef::parse(row.try_get(3)?).ok().filter(|entry| entry.index.0 == record);
    let control = entry.and_then(|entry| Control::parse(entry.body).ok());
    let Some(Control::Pruned(excuse)) = control else { return Ok(None) };
    Ok(((excuse.first, excuse.last) == (first, last)).then_some((first, last)))
}

/// What stands between the runs of a log: first index, and the one behind the last.
pub(crate) fn gaps(runs: &[Run]) -> Vec<Stretch> {
    let between = runs.windows(2).filter_map(|pair| match pair {
        [one, next] => Some((one.end?, next.first)),
        _ => None,
    });
    between.filter(|(end, first)| end < first).collect()
}
