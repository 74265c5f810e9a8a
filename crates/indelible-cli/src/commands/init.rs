//! `init`: a new log, and keys where there are none.
//!
//! Everything that can be refused is refused before anything is written: a log or a file in the way, a bad origin, keys
//! beside the log. Keys that are there are used and never replaced.

use indelible::{KeyRing, Location, Log, LogError, Options};
use indelible_core::checkpoint::Origin;
use indelible_keys::check_apart;
use indelible_store::{driver::Driver, store::StoreError};
use indelible_store_file::Settings;
use serde_json::{Map, Value};

use crate::{
    cli::{InitArgs, SettingsArgs},
    failure::Failure,
    output,
    places::Places,
};

/// Creates a log.
pub(crate) fn run(places: &Places, json: bool, args: &InitArgs) -> Result<(), Failure> {
    if let Some(named) = args.path.origin().filter(|named| *named != args.origin) {
        return Err(Failure::Usage(format!("`#{named}` and --origin {} are two names: give one", args.origin)));
    }
    let place = args.path.with_origin(&args.origin);
    let options = Options { settings: settings(args.settings), ..places.options_for(&place)? };
    let driver = place.driver(&options)?;
    refuse_taken(&*driver)?;
    // Somebody made an empty directory for something; what a crash leaves of a log that was being made is not empty.
    if let Some(path) = place.path()
        && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    {
        return Err(StoreError::Exists { place: path.display().to_string() }.into());
    }
    let _: Origin = args.origin.parse().map_err(|_| LogError::Origin { origin: args.origin.clone() })?;
    let keys = places.keys()?;
    if let Some(path) = place.path() {
        check_apart(&keys, path)?;
    }
    let (ring, made) = places.ring_or_new(&keys)?;
    let log = Log::create_in(&*driver, &args.origin, &ring, options)?;
    log.close()?;
    if json {
        let mut created = created(&log, &place, &ring);
        created.insert("keys_made".to_owned(), made.into());
        return output::json(&Value::Object(created));
    }
    let keys = if made { "These keys are new." } else { "These keys were there before: other logs may be theirs." };
    tell_created(&log, &place, &ring, keys)
}

/// What is in the way is told before keys are made.
pub(crate) fn refuse_taken(place: &dyn Driver) -> Result<(), Failure> {
    if place.exists()? { Err(StoreError::Exists { place: place.place() }.into()) } else { Ok(()) }
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

/// Says what was created, what its public key is, and this of the keys.
pub(crate) fn tell_created(log: &Log, place: &Location, ring: &KeyRing, keys: &str) -> Result<(), Failure> {
    let (public_key, log_id) = (public_key_of(log), log.log_id().to_string());
    output::text(&format!(
        "created     {}\norigin      {}\nlog id      {log_id}\npublic key  {public_key}\nkeys        {}\n\n\
         {keys} Give the public key to whoever is to verify this log. Keep a copy of the keys, and never beside the log.",
        place,
        log.origin(),
        ring.dir().display(),
    ))
}

/// The same as JSON.
pub(crate) fn created(log: &Log, place: &Location, ring: &KeyRing) -> Map<String, Value> {
    let members = [
        ("keys", ring.dir().display().to_string()),
        ("log", place.to_string()),
        ("log_id", log.log_id().to_string()),
        ("origin", log.origin().to_owned()),
        ("public_key", public_key_of(log)),
    ];
    members.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect()
}

fn public_key_of(log: &Log) -> String {
    log.public_key().map(|key| key.to_string()).unwrap_or_default()
}
