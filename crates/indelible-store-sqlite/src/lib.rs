//! Logs in an SQLite file: one file, many logs, many writers (`docs/decisions/0002-sql-stores.md`).
//!
//! Rows are the only truth here, and they are not trusted: what matters is verified from the bytes that they hold. A batch is one transaction;
//! a crash leaves it whole or not at all, so there is nothing to cut at opening. Triggers refuse to change or remove what was recorded. They guard against
//! mistakes; whoever holds the file can take them away, and then the schema check and the verification say so.
//!
//! | module | holds |
//! |---|---|
//! | [`schema`] | tables, triggers, migrations; telling what was changed of them |
//! | `file` | the file: opening it with the right settings, connections, the key |
//! | `presence` | who writes at the moment |
//! | `rows` | the head row; rows to lines |
//! | [`reader`], [`writer`] | the two sides of the store |
//! | [`driver`] | creating and opening a log |
//! | `check` | what derives from entries against the entries |
//! | `rebuild` | writing it anew |
//! | `bare` | the bare engine, with the feature `bench` |
//! | `cipher` | encryption at rest, with the feature `sqlcipher` |

#[cfg(feature = "bench")]
pub mod bare;
mod check;
#[cfg(feature = "sqlcipher")]
mod cipher;
pub mod driver;
mod file;
mod presence;
pub mod reader;
mod rebuild;
mod rows;
pub mod schema;
pub mod writer;

pub use driver::SqliteDriver;
pub use reader::SqliteReader;
pub use writer::SqliteWriter;
