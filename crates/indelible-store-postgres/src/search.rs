//! The search rows: what auditors search by, written behind the appends from the stored bytes of entries, and held against these.
//!
//! They derive from the entries alone: nothing rests on them, no append waits for them, and they may be dropped. INVARIANT(said): only
//! `indelible.index_entries` writes them, as the owner and from what is stored, so whoever calls it chooses neither rows nor columns. INVARIANT(piece-end): the rows of a
//! piece and the end that counts them are committed together; an indexer that dies leaves nothing, and two never do the same piece.
//!
//! A check makes every row again in the database and names what differs. It shows what was done to the rows; what was done to the entries
//! is shown by verification.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use indelible_store::store::StoreError;
use tokio_postgres::Row;

use crate::{
    call::{Call, Param},
    database::{Database, Session},
    fault::Fault,
    schema,
    turn::{signed, unsigned},
};

const ENDS: &str =
    "select l.origin, coalesce(s.size, 0), h.size from indelible.logs l join indelible.heads h on h.log = l.number
    left join indelible.search_ends s on s.log = l.number order by l.number";
const NUMBER: &str = "select number from indelible.logs where origin = $1";
const NEXT: &str = "select o_end, o_size from indelible.index_entries($1, $2)";
const END: &str = "select coalesce(s.size, 0), h.size from indelible.heads h left join indelible.search_ends s on s.log = h.log where h.log = $1";
const CHECK: &str = "select o_idx, o_kind, o_columns from indelible.check_index($1, $2, $3)";
/// Every way in which the tables are not as they were made: a place and what is wrong there.
const AS_MADE: &str = "with expected(name) as (values ('search'), ('search_ends')),
    found as (select 'indelible.' || c.relname as place, c.* from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace join expected e on e.name = c.relname where n.nspname = 'indelible')
    select 'indelible.' || e.name, 'it is missing: `indelible store migrate` makes it anew' from expected e where pg_catalog.to_regclass('indelible.' || e.name) is null
    union all select f.place, 'it is no plain table' from found f where f.relkind <> 'r'
    union all select f.place, 'row-level security is enabled' from found f where f.relrowsecurity
    union all select f.place, 'it has a trigger `' || t.tgname || '`' from found f join pg_catalog.pg_trigger t on t.tgrelid = f.oid where not t.tgisinternal
    union all select f.place, 'it has a rule `' || r.rulename || '`' from found f join pg_catalog.pg_rewrite r on r.ev_class = f.oid where f.relkind = 'r'
    union all select f.place, 'it belongs to `' || pg_catalog.pg_get_userbyid(f.relowner) || '`, not to `indelible_owner`'
        from found f where pg_catalog.pg_get_userbyid(f.relowner) <> 'indelible_owner'
    union all select f.place, 'role `' || pg_catalog.pg_get_userbyid(a.grantee) || '` may ' || a.privilege_type || ' there'
        from found f cross join pg_catalog.aclexplode(f.relacl) a where a.grantee <> f.relowner and a.privilege_type <> 'SELECT'";
const OWN: &str = "set local role indelible_owner; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";
const LOCK: &str = "select size from indelible.search_ends where log = $1 for update";
/// A piece is deleted at a time, so that each answer comes within its limit.
const BOUNDARY: &str = "select idx from indelible.search where log = $1 and idx >= $2 order by idx offset $3 limit 1";
const CLEAR: &str = "delete from indelible.search where log = $1 and idx >= $2 and idx < $3";
const CLEAR_LAST: &str = "delete from indelible.search where log = $1 and idx >= $2";
const RESET: &str = "update indelible.search_ends set size = 0 where log = $1";

/// Entries of one piece: a fraction of a second, so that an indexer that is waited for or dies costs little.
const PIECE: i32 = 1000;
/// Rows that are checked, and rows that are deleted, in one statement. Of the longest entries the first are 32 MiB.
const CHECK_PIECE: u64 = 500;
const CLEAR_PIECE: u64 = 20_000;
/// How long a log is indexed in one go where other work waits.
const INDEX_FOR: Duration = Duration::from_secs(2);
/// How often it is looked whether another process has gone on.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Differences that are named; the others are counted.
const MAX_NAMED: usize = 100;

/// How far the search rows of a log reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchEnd {
    /// The log.
    pub log: String,
    /// Entries that were indexed: those below.
    pub indexed: u64,
    /// Entries that there are.
    pub entries: u64,
}

/// Where the search rows are not what the entries say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchFault {
    /// The index of the row; `None` where the table itself is not as it was made. Negative where somebody put it there.
    pub index: Option<i64>,
    /// What is wrong.
    pub detail: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchCheck {
    /// Entries whose rows were held against them.
    pub checked: u64,
    /// Entries that there are; those behind `checked` wait to be indexed.
    pub entries: u64,
    /// The differences, in the order of their indices, at most 100.
    pub faults: Vec<SearchFault>,
    /// How many more there are.
    pub more: u64,
}

impl SearchCheck {
    fn add(&mut self, fault: SearchFault) {
        if self.faults.len() < MAX_NAMED {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }
}

impl Database {
    /// How far the search rows reach, for every log.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where there is no schema, [`StoreError::Database`].
    pub fn search_ends(&self) -> Result<Vec<SearchEnd>, StoreError> {
        let step = "see how far the search rows reach";
        let end = |row: &Row| -> Result<SearchEnd, tokio_postgres::Error> {
            let (indexed, entries) = counts(row, 1)?;
            Ok(SearchEnd { log: row.try_get(0)?, indexed, entries })
        };
        let ends: Result<_, _> = self.read(step, Call::new(ENDS, Vec::new()))?.iter().map(end).collect();
        ends.map_err(|error| Fault::from(error).told(self.place(), step))
    }

    /// Indexes a log up to the end that it has now, together with whatever other process is at it. `told` hears how far it is, piece by piece. Needs the role
    /// `audit_writer`.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::TryAgain`], [`StoreError::Database`]. What was indexed stays.
    pub fn index(&self, log: &str, told: &mut dyn FnMut(&SearchEnd)) -> Result<SearchEnd, StoreError> {
        let end = |(indexed, entries)| SearchEnd { log: log.to_owned(), indexed, entries };
        index(self, number_of(self, log)?, &mut |counts| told(&end(counts))).map(end)
    }

    /// Takes away all search rows of a log, so that it is indexed from the beginning. Needs a login that may act as `indelible_owner`.
    ///
    /// # Errors
    /// [`StoreError::NotALog`]; [`StoreError::Unfit`] where the login may not do it. Then nothing was changed.
    pub fn clear_search(&self, log: &str) -> Result<(), StoreError> {
        clear(self, number_of(self, log)?)
    }

    /// Holds the search rows of a log against its entries, which are not verified here.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::Unfit`] where the tables are missing, [`StoreError::Database`].
    pub fn check_search(&self, log: &str) -> Result<SearchCheck, StoreError> {
        let mut found = check(self, number_of(self, log)?)?;
        // The functions that make the rows are those that check them.
        for fault in schema::guards(self)?.into_iter().filter(|fault| fault.place.starts_with("function ")) {
            found.add(SearchFault { index: None, detail: format!("{}: {}", fault.place, fault.detail) });
        }
        Ok(found)
    }
}

fn counts(row: &Row, at: usize) -> Result<(u64, u64), tokio_postgres::Error> {
    Ok((unsigned(row.try_get(at)?), unsigned(row.try_get(at + 1)?)))
}

fn number_of(database: &Database, log: &str) -> Result<i64, StoreError> {
    let step = "find the log";
    let rows = database.read(step, Call::new(NUMBER, vec![Param::Text(Some(log.to_owned()))]))?;
    let row = rows.first().ok_or_else(|| {
        let detail = format!("it holds no log `{log}`: correct the name");
        StoreError::NotALog { place: database.place().to_owned(), detail }
    })?;
    row.try_get(0).map_err(|error| Fault::from(error).told(database.place(), step))
}

/// How many of how many entries of log number `log` are indexed.
fn end(database: &Database, log: i64) -> Result<(u64, u64), StoreError> {
    let step = "see how far the search rows reach";
    let rows = database.read(step, Call::new(END, vec![Param::Big(log)]))?;
    let end = rows.first().map_or(Ok((0, 0)), |row| counts(row, 0));
    end.map_err(|error| Fault::from(error).told(database.place(), step))
}

/// Indexes one piece. `None` where another process is at it.
fn next(database: &Database, log: i64) -> Result<Option<(u64, u64)>, StoreError> {
    let step = "index entries";
    let rows = database.write(step, Call::new(NEXT, vec![Param::Big(log), Param::Int(PIECE)]))?;
    let broken = |error| Fault::from(error).told(database.place(), step);
    let Some(row) = rows.first() else { return Ok(None) };
    if row.try_get::<_, Option<i64>>(0).map_err(broken)?.is_none() {
        return Ok(None);
    }
    counts(row, 0).map(Some).map_err(broken)
}

/// Indexes log number `log` up to the end that it has now, and says how many of how many entries are indexed.
fn index(database: &Database, log: i64, told: &mut dyn FnMut((u64, u64))) -> Result<(u64, u64), StoreError> {
    let (_, target) = end(database, log)?;
    loop {
        let counts = match next(database, log)? {
            Some(counts) => counts,
            None => {
                thread::sleep(LOOK_EVERY);
                end(database, log)?
            }
        };
        told(counts);
        if counts.0 >= target {
            return Ok(counts);
        }
    }
}

/// Indexes what waits, for a while. What fails is left to the next time: `store check` shows the lag, and nothing else may fail for it.
pub(crate) fn index_for_a_while(database: &Database, log: i64) {
    let begun = Instant::now();
    while begun.elapsed() < INDEX_FOR {
        match next(database, log) {
            Ok(Some((indexed, entries))) if indexed < entries => {}
            _ => return,
        }
    }
}

/// Puts the rows of log number `log` right, if anything is wrong with them. Needs a login that may act as `indelible_owner`.
pub(crate) fn mend(database: &Database, log: i64) -> Result<(), StoreError> {
    let found = check(database, log)?;
    if !found.faults.is_empty() {
        clear(database, log)?;
        index(database, log, &mut |_| {})?;
    }
    Ok(())
}

/// Holds the rows of log number `log` against its entries.
pub(crate) fn check(database: &Database, log: i64) -> Result<SearchCheck, StoreError> {
    let step = "check the search rows";
    let broken = |error| Fault::from(error).told(database.place(), step);
    let mut found = SearchCheck::default();
    for row in database.read(step, Call::new(AS_MADE, Vec::new()))? {
        let (place, what): (&str, &str) = (row.try_get(0).map_err(broken)?, row.try_get(1).map_err(broken)?);
        found.add(SearchFault { index: None, detail: format!("{place}: {what}") });
    }
    if found.faults.iter().any(|fault| fault.detail.contains("it is missing")) {
        return Ok(found);
    }
    let (indexed, entries) = end(database, log)?;
    (found.checked, found.entries) = (indexed.min(entries), entries);
    if indexed > entries {
        let detail = format!("{indexed} entries are said to be indexed, the log has {entries}");
        found.add(SearchFault { index: None, detail });
    }
    let mut from = 0;
    loop {
        // The first piece begins and the last one ends where rows could be that belong to no entry.
        let to = from + CHECK_PIECE;
        let (first, last) = (from == 0, to >= indexed.min(entries));
        let begin = if first { i64::MIN } else { signed(from) };
        let end = if last { i64::MAX } else { signed(to) };
        let call = Call::new(CHECK, vec![Param::Big(log), Param::Big(begin), Param::Big(end)]);
        for row in database.read(step, call)? {
            found.add(difference(&row).map_err(broken)?);
        }
        if last {
            return Ok(found);
        }
        from = to;
    }
}

fn difference(row: &Row) -> Result<SearchFault, tokio_postgres::Error> {
    let index: i64 = row.try_get(0)?;
    let detail = match row.try_get::<_, &str>(1)? {
        "missing" => format!("the search row of entry {index} is missing"),
        "surplus" => format!("search row {index} belongs to no indexed entry"),
        _ => {
            let columns = row.try_get::<_, Option<&str>>(2)?.unwrap_or("its columns");
            format!("the search row of entry {index} was altered: {columns}")
        }
    };
    Ok(SearchFault { index: Some(index), detail })
}

fn clear(database: &Database, log: i64) -> Result<(), StoreError> {
    let pool = Arc::clone(&database.pool);
    database.run_told("clear the search rows", async move {
        let mut session = pool.session().await?;
        session.begin(&Call::new("select 1", Vec::new())).await?;
        session.batch(OWN).await?;
        session.query(&Call::new(LOCK, vec![Param::Big(log)])).await?;
        delete(&mut session, log).await?;
        session.query(&Call::new(RESET, vec![Param::Big(log)])).await?;
        session.batch("commit").await
    })
}

async fn delete(session: &mut Session, log: i64) -> Result<(), Fault> {
    let mut from = i64::MIN;
    loop {
        let piece = vec![Param::Big(log), Param::Big(from), Param::Big(signed(CLEAR_PIECE))];
        let rows = session.query(&Call::new(BOUNDARY, piece)).await?;
        let Some(row) = rows.first() else { break };
        let to = row.try_get(0)?;
        session.query(&Call::new(CLEAR, vec![Param::Big(log), Param::Big(from), Param::Big(to)])).await?;
        from = to;
    }
    session.query(&Call::new(CLEAR_LAST, vec![Param::Big(log), Param::Big(from)])).await.map(drop)
}
