//! Logs in a PostgreSQL database (14 and newer): many processes append to the same log, thousands of logs share a few connections.
//!
//! Every batch is one transaction that locks the log's row in `indelible.heads`, writes rows behind its end and moves it, through
//! functions that belong to a role nobody logs in as; whoever appends has no right to touch a table. INVARIANT(end): a row of
//! `indelible.entries` and the head that counts it become visible in one commit, so a crash leaves nothing to clean up. What was acknowledged was
//! committed with `synchronous_commit = on`, whatever the server's default is.
//!
//! Nothing here outlives a transaction on the server: no named statements, no session settings, no session locks, so a pooler in
//! transaction mode may stand between. The calls block; they run on a small runtime of the handle's own and may be made from any thread, inside another runtime
//! too. Tables, triggers, roles and functions are in `src/sql/`. Chain, tree and signatures are the engine's.

#[cfg(feature = "bench")]
pub mod bare;
mod call;
mod database;
mod driver;
mod expected;
mod fault;
mod moment;
mod outbox;
mod pruned;
mod reader;
mod rebuild;
mod schema;
mod search;
mod turn;
mod turns;
mod writer;

pub use indelible_postgres_connect as connect;
pub use indelible_postgres_connect::check::GuardFault;

pub use crate::{
    database::{Database, Settings},
    driver::PostgresDriver,
    expected::expected,
    outbox::{Lag, Taken, Waiting},
    reader::PostgresReader,
    schema::{Migrated, Migration, SCHEMA_VERSION},
    search::{SearchCheck, SearchEnd, SearchFault},
    writer::PostgresWriter,
};
