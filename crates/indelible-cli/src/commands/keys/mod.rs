//! `keys`: the ring of keys, and what a log derives from it.
//!
//! | module | commands |
//! |---|---|
//! | this | `keys public`, `keys derive`: of a log |
//! | [`list`] | `keys list`, `keys show` |
//! | [`check`] | `keys check` |
//! | [`in_log`] | `keys history`, `keys compromise`, `keys resign` |
//! | [`change`] | `keys generate`, `keys rotate`, `keys activate`, `keys retire`, `keys destroy`, `keys policy` |
//! | [`exchange`] | `keys import`, `keys export-public` |
//! | [`master`] | `keys master` |
//! | [`resting`] | what rests on a key, for `keys destroy` |

mod change;
mod check;
mod exchange;
mod in_log;
mod list;
mod master;
mod resting;

use std::process::ExitCode;

use indelible_core::tree::LeafIndex;
use serde_json::json;

use super::prove::of_ring;
use crate::{
    cli::KeysCommand,
    failure::Failure,
    output,
    places::{Places, keys_of_another_log},
};

/// Looks after the keys.
pub(crate) fn run(places: &Places, json: bool, command: &KeysCommand) -> Result<ExitCode, Failure> {
    match command {
        KeysCommand::Public => public(places, json)?,
        KeysCommand::Derive { at } => derive(places, json, *at)?,
        KeysCommand::Generate(args) => change::generate(places, json, args)?,
        KeysCommand::List => list::list(places, json)?,
        KeysCommand::Show { id } => list::show(places, json, id)?,
        KeysCommand::Rotate(args) => change::rotate(places, json, args)?,
        KeysCommand::Check(args) => return check::run(places, json, args),
        KeysCommand::Activate { id } => change::activate(places, json, id)?,
        KeysCommand::Retire { id } => change::retire(places, json, id)?,
        KeysCommand::Destroy { id, yes } => change::destroy(places, json, id, *yes)?,
        KeysCommand::Policy(args) => change::policy(places, json, args)?,
        KeysCommand::Compromise(args) => in_log::compromise(places, json, args)?,
        KeysCommand::Resign(args) => in_log::resign(places, json, args)?,
        KeysCommand::History => in_log::history(places, json)?,
        KeysCommand::Import(args) => exchange::import(places, json, args)?,
        KeysCommand::ExportPublic(args) => exchange::export_public(places, json, args)?,
        KeysCommand::Master(command) => master::run(places, json, command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn public(places: &Places, json: bool) -> Result<(), Failure> {
    let reader = places.reader()?;
    let ring = places.ring()?;
    let history = in_log::newest(&*reader, Some(&ring))?;
    of_ring(&history, &ring)?;
    // The one that signs this log, which may not have taken up yet what is active in the ring.
    let own = ring.public_keys(history.origin())?;
    let key = history.public_key().filter(|key| own.contains(key)).map(ToString::to_string).ok_or_else(|| {
        Failure::text("the log names a key for its checkpoints that the ring does not have, so it is not shown: `indelible verify` says more")
    })?;
    if json { output::json(&json!({ "public_key": key })) } else { output::text(&key) }
}

fn derive(places: &Places, json: bool, at: Option<u64>) -> Result<(), Failure> {
    let reader = places.reader()?;
    let ring = places.ring()?;
    // A key derived from another ring's secret would fit no entry, and look like tampering.
    if let Some(failure) = keys_of_another_log(&*reader, &ring) {
        return Err(failure);
    }
    let info = reader.info();
    let history = in_log::newest(&*reader, Some(&ring))?;
    let named = match at {
        Some(index) => history.entry_key_at(LeafIndex(index)),
        None => history.current_entry_key(),
    };
    let named = named.ok_or_else(|| Failure::text("the log names no entry key"))?;
    let key = ring
        .entry(&named.id)
        .ok_or_else(|| Failure::text(format!("the ring has no secret of key `{}`, which signs there", named.id)))?;
    let hex = key.derived_hex(info.log_id, &info.origin, named.epoch);
    if json {
        return output::json(&json!({ "epoch": named.epoch, "hex": hex.as_str(), "key": named.id }));
    }
    output::text(&hex)
}
