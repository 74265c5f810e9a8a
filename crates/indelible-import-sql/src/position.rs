//! How far the log came with a table, by the log's own word.

use indelible_store::store::Reader;

use crate::{
    error::SqlError,
    identity::{Imported, Source, scan},
    table::{Key, Shape},
};

/// Entries that are read at once, from the end of the log backwards.
const STEP: u64 = 8192;

/// The key that the table's last entry names; `None` where the log has none of it. The log is read from its end: right behind an
/// import, that is the last entry, and a whole log without entries of the table is read once.
///
/// # Errors
/// [`SqlError`]; [`SqlError::OtherKey`] where the table was imported under another key.
pub fn last(log: &dyn Reader, source: &Source, shape: &Shape) -> Result<Option<Key>, SqlError> {
    let mut to = log.size()?.0;
    while to > 0 {
        let from = to.saturating_sub(STEP);
        let mut newest: Option<Imported> = None;
        scan(log, source, from, to, |row| {
            newest = Some(row);
            Ok(true)
        })?;
        if let Some(row) = newest {
            return row.key_in(shape).map(Some);
        }
        to = from;
    }
    Ok(None)
}
