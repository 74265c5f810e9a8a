//! `attach`: files in, what an event has to say of each out.
//!
//! A line is printed when its file is durable in the log. Every file is read before the next is kept; where one cannot be read, those before it
//! are kept and told.

use std::{io::Read as _, path::Path};

use indelible_store::store::MAX_ATTACHMENT_BYTES;
use serde_json::json;

use super::lines;
use crate::{cli::AttachArgs, failure::Failure, output::Out, places::Places};

/// Keeps files as attachments.
pub(crate) fn run(places: &Places, args: &AttachArgs) -> Result<(), Failure> {
    let log = places.open()?;
    let mut out = Out::lock();
    let mut all = || -> Result<(), Failure> {
        for path in &args.files {
            let content = read(path)?;
            let digest = log.put_attachment(&content)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let digest = format!("sha256:{}", indelible_core::hex::encode(&digest));
            out.json(&json!({ "digest": digest, "name": name, "size": content.len() }))?;
        }
        out.flush()
    };
    let result = all();
    // The first failure is the one to tell.
    let closed = log.close();
    result?;
    Ok(closed?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let input = lines::open(path)?;
    input.take(MAX_ATTACHMENT_BYTES + 1).read_to_end(&mut content).map_err(Failure::io("read", path))?;
    Ok(content)
}
