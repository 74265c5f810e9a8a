//! Old audit tables, brought into a log and reconciled with it.
//!
//! A table in SQLite or PostgreSQL is read in the order of its key, a page at a time, each page in a short transaction that only reads:
//! nothing is locked, writers go on, memory does not grow with the table. Each row becomes an event that keeps the row whole,
//! and says that nobody had signed it before. The event's id derives from the table and the row's key, so a row is recorded once,
//! however often it is read.
//!
//! How far an import came is not kept beside the log but read from it: the last entry of the table says its key. An importer that
//! was killed in the middle goes on from there.
//!
//! | module | holds |
//! |---|---|
//! | [`place`] | where a table is |
//! | [`table`] | what a table can be asked; `sqlite` and `postgres` answer |
//! | [`cell`] | one value, exactly |
//! | [`identity`] | the id of a row, and the row in an entry |
//! | [`position`] | how far the log came |
//! | [`import`] | rows in |
//! | [`reconcile`] | both sides counted, and what differs |
//! | [`stop`] | an interrupt ends the import in order |

pub mod cell;
mod error;
pub mod identity;
pub mod import;
mod pace;
pub mod place;
pub mod position;
mod postgres;
pub mod reconcile;
mod sqlite;
pub mod stop;
pub mod table;

pub use error::SqlError;
pub use identity::Source;
pub use import::{Import, Settings, Summary, Watch};
pub use place::Place;
pub use reconcile::{Difference, Report, reconcile};
pub use stop::Stop;
pub use table::Table;
