//! A database as a handle that all logs of a process share: a small pool of connections, and the runtime that drives them.
//!
//! INVARIANT(turns): at most half of the connections hold turns, so that what has to be read within a turn always finds one in the end.
//! A connection goes back to the pool only outside a transaction; one that is dropped within is closed, and the server rolls back.

use std::{
    future::{Future, poll_fn},
    io, slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::{join, maybe_done};
use indelible_postgres_connect::{Config, Environment, Warning, connect};
use indelible_store::store::{PATIENCE, StoreError};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_postgres::{Client, Row};

use crate::{call::Call, fault::Fault};

/// The first and the longest wait between two tries.
const WAITS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How much longer than the server's own limit an answer is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// How a database is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most connections at a time, at least 2; half of them may hold turns.
    pub max_connections: usize,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a turn waits for other writers of the same log.
    pub lock_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// How long a turn may stand still before the server ends it: what a process that was stopped leaves locked.
    pub idle_timeout: Duration,
    /// How long a database that is away is waited for: for new connections in the place of lost ones, for a turn, and for word on a commit that was not answered. Then callers are told; where it is not
    /// known what was recorded, the log has to be opened again. [`PATIENCE`] by default. A server that crashed replays what it had not written yet before it lets anybody in, for longer the larger
    /// its `max_wal_size` is: a program that would rather wait than open its logs again says so here.
    pub patience: Duration,
    /// How long a mark of bounded acknowledgements counts without being renewed.
    pub bounded_mark: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 16,
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(15),
            patience: PATIENCE,
            bounded_mark: Duration::from_secs(60),
        }
    }
}

/// A database. Clones share its connections; thousands of logs may.
#[derive(Clone)]
pub struct Database {
    runtime: Arc<OwnRuntime>,
    pub(crate) pool: Arc<Pool>,
}

struct OwnRuntime(Option<Runtime>, Handle);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // The last handle may go inside another runtime, where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Pool {
    pub(crate) config: Config,
    pub(crate) place: String,
    pub(crate) settings: Settings,
    begin: String,
    begin_reading: String,
    idle: Mutex<Vec<Client>>,
    connections: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Whether a statement needs a transaction with the settings that make it durable.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Read,
    Write,
}

/// A connection of the pool.
pub(crate) struct Session {
    client: Option<Client>,
    /// Whether it stands outside any transaction.
    fit: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Database {
    /// A handle on the database that `url` names, with what the process's environment adds (`PGPASSWORD` and others, as libpq has them). Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where the URL cannot be read.
    pub fn new(url: &str, settings: Settings) -> Result<Self, StoreError> {
        let config = Config::parse(url, &Environment::of_process()).map_err(|error| StoreError::Unfit {
            place: "the URL of the database".to_owned(),
            detail: error.to_string(),
        })?;
        Self::with_config(config, settings)
    }

    /// A handle on a database that is reached as `config` says.
    ///
    /// # Errors
    /// [`StoreError::Io`] where no threads can be had.
    pub fn with_config(config: Config, settings: Settings) -> Result<Self, StoreError> {
        let config = config.with_default_application_name("indelible");
        let place = config.place();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("indelible-postgres")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Io { step: "start threads for", place: place.clone(), source })?;
        let handle = runtime.handle().clone();
        let max = settings.max_connections.max(2);
        let pool = Pool {
            config,
            place,
            begin: begin_text(&settings),
            begin_reading: begin_reading_text(&settings),
            settings,
            idle: Mutex::default(),
            connections: Arc::new(Semaphore::new(max)),
            turns: Arc::new(Semaphore::new(max / 2)),
        };
        Ok(Self { runtime: Arc::new(OwnRuntime(Some(runtime), handle)), pool: Arc::new(pool) })
    }

    /// What messages call it.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.pool.place
    }

    /// What is to be known of how the database is reached: protection that is weaker than it could be.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        self.pool.config.warnings()
    }

    /// Runs on the handle's own runtime and waits on this thread: blocking on a runtime would panic inside another one.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = mpsc::sync_channel(1);
        self.spawn(async move {
            let _ = send.send(future.await);
        });
        receive.recv().unwrap_or_else(|_| {
            let source = Box::new(io::Error::other("the thread that drives the connection ended"));
            Err(StoreError::Database { step: "ask", place: self.pool.place.clone(), source })
        })
    }

    /// [`Database::run`] for steps that fail as connections do.
    pub(crate) fn run_told<T: Send + 'static>(
        &self,
        step: &'static str,
        future: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.pool.place.clone();
        self.run(async move { future.await.map_err(|fault| fault.told(&place, step)) })
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.1.spawn(future);
    }

    /// Reads; a lost connection is made good.
    pub(crate) fn read(&self, step: &'static str, call: Call) -> Result<Vec<Row>, StoreError> {
        let pool = Arc::clone(&self.pool);
        self.run(async move {
            let result = pool.patiently(How::Read, &call).await;
            result.map_err(|fault| fault.told(&pool.place, step))
        })
    }

    /// Writes what may be written twice, in one transaction and one round trip; a lost connection is made good.
    pub(crate) fn write(&self, step: &'static str, call: Call) -> Result<Vec<Row>, StoreError> {
        let pool = Arc::clone(&self.pool);
        self.run(async move {
            let result = pool.patiently(How::Write, &call).await;
            result.map_err(|fault| fault.told(&pool.place, step))
        })
    }
}

/// Every statement here is answered from an index. A planner that has no statistics yet of a growing table would read all of it instead, and
/// a compiler for one row costs more than the row.
const BY_INDEX: &str = "set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off; \
     set local max_parallel_workers_per_gather = 0";

/// One message: the transaction and everything that must hold within it, whatever server, role or pooler say otherwise.
fn begin_text(settings: &Settings) -> String {
    format!(
        "begin isolation level read committed read write; {PINNED}; set local synchronous_commit = on; set local lock_timeout = {}; \
         set local statement_timeout = {}; set local idle_in_transaction_session_timeout = {}; {BY_INDEX}",
        ms(settings.lock_timeout),
        ms(settings.statement_timeout),
        ms(settings.idle_timeout)
    )
}

/// Names in our statements mean what the server has made: nobody who may create operators or functions elsewhere runs code with our rights.
const PINNED: &str = "set local search_path = pg_catalog, pg_temp";

fn begin_reading_text(settings: &Settings) -> String {
    let limit = ms(settings.statement_timeout);
    format!(
        "begin isolation level read committed read only; {PINNED}; set local statement_timeout = {limit}; {BY_INDEX}"
    )
}

fn ms(limit: Duration) -> u128 {
    limit.as_millis().max(1)
}

impl Pool {
    /// Tries again what failed for a reason that passes, until it does or patience ends.
    async fn patiently(self: &Arc<Self>, how: How, call: &Call) -> Result<Vec<Row>, Fault> {
        let begun = Instant::now();
        let mut wait = WAITS.0;
        loop {
            match self.once(how, call).await {
                Err(fault) if fault.is_passing() && begun.elapsed() + wait < self.settings.patience => {
                    sleep(wait).await;
                    wait = (wait * 2).min(WAITS.1);
                }
                result => return result,
            }
        }
    }

    pub(crate) async fn once(self: &Arc<Self>, how: How, call: &Call) -> Result<Vec<Row>, Fault> {
        let session = self.session().await?;
        let begin = match how {
            How::Read => &self.begin_reading,
            How::Write => &self.begin,
        };
        session.transact(begin, call).await
    }

    /// The right to hold a turn.
    pub(crate) async fn turn_permit(&self) -> Result<OwnedSemaphorePermit, Fault> {
        permit(&self.turns, self.settings.patience).await
    }

    pub(crate) async fn session(self: &Arc<Self>) -> Result<Session, Fault> {
        let permit = permit(&self.connections, self.settings.patience).await?;
        let idle = self.take_idle();
        let client = match idle {
            Some(client) => client,
            None => reach(&self.config, self.settings.connect_timeout + GRACE).await?,
        };
        Ok(Session { client: Some(client), fit: true, pool: Arc::clone(self), _permit: permit })
    }

    fn take_idle(&self) -> Option<Client> {
        let mut idle = self.idle();
        idle.retain(|client| !client.is_closed());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reach(config: &Config, limit: Duration) -> Result<Client, Fault> {
    match timeout(limit, connect(config)).await {
        Ok(Ok((client, _))) => Ok(client),
        Ok(Err(error)) => Err(Fault::Unreached(Box::new(error))),
        Err(_) => Err(Fault::Silence(limit)),
    }
}

async fn permit(semaphore: &Arc<Semaphore>, patience: Duration) -> Result<OwnedSemaphorePermit, Fault> {
    // The semaphores are never closed.
    match timeout(patience, Arc::clone(semaphore).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Fault::NoConnection(patience)),
    }
}

async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    match timeout(limit, future).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Fault::Silence(limit)),
    }
}

/// Statements that are sent one behind the other, without waiting for answers between them. What is sent next after the first poll goes behind all of them.
async fn in_flight(client: &Client, calls: &[Call]) -> Vec<Result<Vec<Row>, tokio_postgres::Error>> {
    let mut flights: Vec<_> = calls.iter().map(|call| Box::pin(maybe_done(call.query(client)))).collect();
    // A statement is sent when it is first polled, and here that is in order, however many there are.
    poll_fn(|context| {
        for flight in &mut flights {
            let _ = flight.as_mut().poll(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(flights.len());
    for mut flight in flights {
        flight.as_mut().await;
        answers.extend(flight.as_mut().take_output());
    }
    answers
}

/// The answers of statements, or the place of the first that failed.
fn all_answers(answers: Vec<Result<Vec<Row>, tokio_postgres::Error>>) -> Result<Vec<Vec<Row>>, Failed> {
    let numbered = answers.into_iter().enumerate();
    numbered.map(|(at, answer)| answer.map_err(|error| Failed { at: Some(at), fault: error.into() })).collect()
}

/// What failed of several statements.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The place of the statement that failed; `None` where it was not one of them.
    pub(crate) at: Option<usize>,
    pub(crate) fault: Fault,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { at: None, fault }
    }
}

/// How a commit ended.
pub(crate) enum Committed {
    Yes(Vec<Vec<Row>>),
    /// The server refused a statement before the commit: nothing happened.
    No(Failed),
    /// No answer says whether it happened.
    Unclear(Fault),
}

impl Session {
    fn client(&self) -> Result<&Client, Fault> {
        self.client.as_ref().ok_or(Fault::Silence(Duration::ZERO))
    }

    fn limit(&self) -> Duration {
        self.pool.settings.statement_timeout + GRACE
    }

    /// One statement within the transaction that was begun.
    pub(crate) async fn query(&mut self, call: &Call) -> Result<Vec<Row>, Fault> {
        let result = within(self.limit(), call.query(self.client()?)).await;
        // An answer that is still to come would be taken for that of the next statement's.
        self.fit &= !matches!(result, Err(Fault::Silence(_)));
        result
    }

    /// Several statements within the transaction, in one round trip.
    pub(crate) async fn query_all(&mut self, calls: &[Call]) -> Result<Vec<Vec<Row>>, Failed> {
        let limit = self.limit();
        let answers = timeout(limit, in_flight(self.client()?, calls)).await.map_err(|_| Fault::Silence(limit));
        self.fit &= answers.is_ok();
        all_answers(answers?)
    }

    /// Begins a transaction with one statement, in one round trip.
    pub(crate) async fn begin(&mut self, call: &Call) -> Result<Vec<Row>, Fault> {
        let begun = self.begin_all(slice::from_ref(call)).await;
        begun.map(|mut rows| rows.pop().unwrap_or_default()).map_err(|failed| failed.fault)
    }

    /// Begins a transaction with several statements, in one round trip.
    pub(crate) async fn begin_all(&mut self, calls: &[Call]) -> Result<Vec<Vec<Row>>, Failed> {
        self.fit = false;
        let limit = self.limit();
        let client = self.client()?;
        let flight = join(client.batch_execute(&self.pool.begin), in_flight(client, calls));
        let (begun, answers) = timeout(limit, flight).await.map_err(|_| Fault::Silence(limit))?;
        begun.map_err(Fault::from)?;
        all_answers(answers)
    }

    /// Statements and the commit in one round trip. What is sent behind a statement that fails is skipped by the server, and its COMMIT rolls back.
    pub(crate) async fn commit(mut self, calls: &[Call]) -> Committed {
        let flight = async {
            let Ok(client) = self.client() else { return (Vec::new(), Ok(())) };
            join(in_flight(client, calls), client.batch_execute("commit")).await
        };
        let Ok((answers, end)) = timeout(self.limit(), flight).await else {
            return Committed::Unclear(Fault::Silence(self.limit()));
        };
        let answers = match all_answers(answers) {
            Ok(answers) => answers,
            Err(failed) if failed.fault.is_refusal() => {
                self.fit = end.is_ok();
                return Committed::No(failed);
            }
            Err(failed) => return Committed::Unclear(failed.fault),
        };
        match end {
            Ok(()) => {
                self.fit = true;
                Committed::Yes(answers)
            }
            // Even a refusal: a server that is shut down says so after the commit was written.
            Err(error) => Committed::Unclear(error.into()),
        }
    }

    /// One statement as a transaction of its own, in one round trip.
    async fn transact(mut self, begin: &str, call: &Call) -> Result<Vec<Row>, Fault> {
        self.fit = false;
        let limit = self.limit();
        let flight = async {
            let client = self.client()?;
            let begin = client.batch_execute(begin);
            let (begun, (rows, end)) = join(begin, join(call.query(client), client.batch_execute("commit"))).await;
            let over = end.is_ok();
            Ok::<_, Fault>((begun.and(rows).and_then(|rows| end.map(|()| rows)), over))
        };
        let (rows, over) = timeout(limit, flight).await.map_err(|_| Fault::Silence(limit))??;
        self.fit = over;
        Ok(rows?)
    }

    /// Several statements of the simple protocol.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        self.fit = false;
        within(self.limit(), self.client()?.batch_execute(sql)).await
    }

    /// Ends a transaction without having changed anything.
    pub(crate) async fn roll_back(mut self) {
        if self.batch("rollback").await.is_ok() {
            self.fit = true;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && self.fit
            && !client.is_closed()
        {
            self.pool.idle().push(client);
        }
    }
}
