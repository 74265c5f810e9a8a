//! The outbox: events that an application recorded in transactions of its own, on their way into a log.
//!
//! INVARIANT(once): a row leaves the outbox only after its event is durable in the log. A relay that dies in between leaves rows that the next one puts in again;
//! their ids are in the log already, and nothing is recorded twice.

use indelible_store::store::StoreError;
use tokio_postgres::Row;

use crate::{
    call::{Call, Param, bigs},
    database::{Committed, Database, Failed, Session},
    fault::Fault,
};

const TAKE: &str = "select o_id, o_event_id, o_event from indelible.outbox_take($1, $2, $3)";
const DONE: &str = "select indelible.outbox_done($1)";
const REFUSE: &str = "select indelible.outbox_refuse($1, $2)";
const LAG: &str = "select o_log, o_waiting, o_oldest_seconds, o_refused from indelible.outbox_lag()";
const INSTALL: &str = "select indelible.install_triggers((case when $1 like '%.%' then $1 else 'public.' || $1 end)::text::regclass, $2, string_to_array($3, e'\\n'))";
const REMOVE: &str =
    "select indelible.remove_triggers((case when $1 like '%.%' then $1 else 'public.' || $1 end)::text::regclass)";

/// Bytes of events that are taken at a time.
const TAKE_BYTES: i64 = 8 << 20;

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its row.
    pub row: i64,
    /// The event's id.
    pub id: String,
    /// The event as JSON text.
    pub event: String,
}

/// Events that were taken. Until [`Taken::done`] no other relay takes them; when this is dropped they wait again.
pub struct Taken {
    database: Database,
    session: Session,
    /// The events, the oldest first.
    pub events: Vec<Waiting>,
}

/// What waits for a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    /// The log.
    pub log: String,
    /// Events that wait.
    pub waiting: u64,
    /// For how long the oldest has been waiting, in seconds; `None` where none waits.
    pub oldest_seconds: Option<f64>,
    /// Events that the log refused.
    pub refused: u64,
}

impl Database {
    /// Takes the oldest events that wait for a log, at most `count`.
    ///
    /// # Errors
    /// [`StoreError::TryAgain`], [`StoreError::Database`].
    pub fn take_outbox(&self, log: &str, count: u32) -> Result<Taken, StoreError> {
        let (pool, database, log) = (std::sync::Arc::clone(&self.pool), self.clone(), log.to_owned());
        self.run(async move {
            let told = |fault: Fault| fault.told(&pool.place, "take events from the outbox");
            let mut session = pool.session().await.map_err(told)?;
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            let call = Call::new(TAKE, vec![Param::Text(Some(log)), Param::Int(count), Param::Big(TAKE_BYTES)]);
            let rows = session.begin(&call).await.map_err(told)?;
            let events = rows.iter().map(waiting).collect::<Result<_, _>>().map_err(|error| told(error.into()))?;
            Ok(Taken { database, session, events })
        })
    }

    /// What waits, for each log.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn outbox_lag(&self) -> Result<Vec<Lag>, StoreError> {
        let step = "look at the outbox";
        let rows = self.read(step, Call::new(LAG, Vec::new()))?;
        let lags: Result<Vec<Lag>, tokio_postgres::Error> = rows.iter().map(lag).collect();
        lags.map_err(|error| Fault::from(error).told(self.place(), step))
    }

    /// Puts the triggers on a table: from now on each row that is inserted, updated or deleted is an event of `log`, with the row before and after, without
    /// the columns `left_out`. Only who owns the table may.
    ///
    /// # Errors
    /// [`StoreError::Database`] where there is no such table, column or right.
    pub fn install_triggers(&self, table: &str, log: Option<&str>, left_out: &[String]) -> Result<(), StoreError> {
        let text = |text: String| Param::Text(Some(text));
        let left_out = if left_out.is_empty() { Param::Text(Some(String::new())) } else { text(left_out.join("\n")) };
        let log = Param::Text(log.map(str::to_owned));
        self.write("install triggers", Call::new(INSTALL, vec![text(table.to_owned()), log, left_out])).map(drop)
    }

    /// Takes the triggers away again. What waits still goes into the log.
    ///
    /// # Errors
    /// As [`Database::install_triggers`].
    pub fn remove_triggers(&self, table: &str) -> Result<(), StoreError> {
        self.write("remove triggers", Call::new(REMOVE, vec![Param::Text(Some(table.to_owned()))])).map(drop)
    }
}

fn waiting(row: &Row) -> Result<Waiting, tokio_postgres::Error> {
    Ok(Waiting { row: row.try_get(0)?, id: row.try_get(1)?, event: row.try_get(2)? })
}

fn lag(row: &Row) -> Result<Lag, tokio_postgres::Error> {
    let count = |at| row.try_get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(Lag { log: row.try_get(0)?, waiting: count(1)?, oldest_seconds: row.try_get(2)?, refused: count(3)? })
}

impl Taken {
    /// Takes away what is durable in the log now, and sets aside what was refused, with the reason.
    ///
    /// # Errors
    /// [`StoreError`]; then all of it waits again, or is gone already. Either is right.
    pub fn done(self, recorded: &[i64], refused: &[(i64, String)]) -> Result<(), StoreError> {
        let Self { database, session, .. } = self;
        let mut calls = vec![Call::new(DONE, vec![bigs(recorded)])];
        calls.extend(
            refused.iter().map(|(row, why)| Call::new(REFUSE, vec![Param::Big(*row), Param::Text(Some(why.clone()))])),
        );
        let pool = std::sync::Arc::clone(&database.pool);
        database.run(async move {
            match session.commit(&calls).await {
                Committed::Yes(_) => Ok(()),
                Committed::No(Failed { fault, .. }) | Committed::Unclear(fault) => {
                    Err(fault.told(&pool.place, "empty the outbox"))
                }
            }
        })
    }
}
