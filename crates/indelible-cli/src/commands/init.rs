//! `init`: a new log, and keys where there are none.
//!
//! Everything that can be refused is refused before anything is written: a log or a file in the way, a bad origin, keys
//! beside the log. Keys that are there are used and never replaced.

use std::path::Path;

use indelible::{KeyRing, Log, LogError, Options};
use indelible_core::checkpoint::Origin;
use indelible_keys::check_apart;
use indelible_store::store::StoreError;
use indelible_store_file::Settings;
use serde_json::json;

use crate::{
    cli::{InitArgs, SettingsArgs},
    failure::Failure,
    output,
    places::{Places, now},
};

/// Creates a log.
pub(crate) fn run(places: &Places, json: bool, args: &InitArgs) -> Result<(), Failure> {
    refuse_taken(&args.path)?;
    let _: Origin = args.origin.parse().map_err(|_| LogError::Origin { origin: args.origin.clone() })?;
    let keys = places.keys()?;
    check_apart(&keys, &args.path)?;
    let ring = KeyRing::load_or_create(&keys, &now().to_string())?;
    let options = Options { settings: settings(args.settings), ..Options::default() };
    let log = Log::create(&args.path, &args.origin, &ring, options)?;
    log.close()?;
    tell_created(&log, &args.path, &ring, json)
}

/// What is in the way is told before keys are made.
pub(crate) fn refuse_taken(path: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(StoreError::Exists { place: path.display().to_string() }.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io("look at", path)(error)),
    }
}

/// The settings of a new log.
pub(crate) fn settings(args: SettingsArgs) -> Settings {
    let usual = Settings::default();
    Settings {
        segment_bytes: args.segment_bytes.unwrap_or(usual.segment_bytes),
        segment_seconds: args.segment_seconds.unwrap_or(usual.segment_seconds),
        immutable: !args.no_immutable,
    }
}

/// Says what was created, and what its public key is.
pub(crate) fn tell_created(log: &Log, path: &Path, ring: &KeyRing, json: bool) -> Result<(), Failure> {
    let (public_key, log_id) = (log.public_key().to_string(), log.log_id().to_string());
    if json {
        return output::json(&json!({
            "keys": ring.dir().display().to_string(),
            "log": path.display().to_string(),
            "log_id": log_id,
            "origin": log.origin(),
            "public_key": public_key,
        }));
    }
    output::text(&format!(
        "created     {}\norigin      {}\nlog id      {log_id}\npublic key  {public_key}\nkeys        {}\n\n\
         Give the public key to whoever is to verify this log. Keep a copy of the keys, and never beside the log.",
        path.display(),
        log.origin(),
        ring.dir().display(),
    ))
}
