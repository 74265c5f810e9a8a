//! Events that the server will never take, and why, in `refused.jsonl`: bounded, one to a line.
//!
//! A crash may leave a line there that is torn: the next begins on a line of its own. What was being written then is still in the spool, and comes again.

use std::{io, path::Path};

use indelible_store::disk::{Disk, Open, OsDisk};

use super::{MAX_REFUSED_BYTES, SpoolError, io_error};
use crate::{error::ClientError, event::Prepared};

/// Keeps an event, durably; whether there was room.
pub(super) fn keep(dir: &Path, event: &Prepared, why: &ClientError) -> Result<bool, SpoolError> {
    let path = dir.join("refused.jsonl");
    let reason = serde_json::Value::from(indelible::error::chain(why)).to_string();
    let line = [b"{\"event\":".as_slice(), event.bytes(), b",\"reason\":", reason.as_bytes(), b"}\n"].concat();
    append(dir, &path, line).map_err(io_error("write", &path))
}

fn append(dir: &Path, path: &Path, mut line: Vec<u8>) -> io::Result<bool> {
    let is_new = OsDisk.meta(path)?.is_none();
    let file = OsDisk.open(path, if is_new { Open::CreateNew } else { Open::Write })?;
    let end = file.len()?;
    if let Some(last) = end.checked_sub(1) {
        let mut byte = [0];
        file.read_at(&mut byte, last)?;
        if byte != *b"\n" {
            line.insert(0, b'\n');
        }
    }
    if end.saturating_add(line.len() as u64) > MAX_REFUSED_BYTES {
        return Ok(false);
    }
    file.write_at(&line, end)?;
    file.sync()?;
    // Also where it is not new: a crash may have come before this was done.
    OsDisk.sync_dir(dir)?;
    Ok(true)
}
