//! `keys master`: the key that wraps the others. The keys stay what they are, whatever is done here.

use indelible_keys::{Changed, MasterKind, MasterSource};
use serde_json::json;

use super::change::new_passphrase;
use crate::{
    cli::{MasterCommand, NewMasterArgs},
    failure::Failure,
    output,
    places::Places,
};

/// Sets, changes or takes away the master key.
pub(crate) fn run(places: &Places, json: bool, command: &MasterCommand) -> Result<(), Failure> {
    // The ring first: who has not the old master key should not be asked for a new one.
    let ring = places.ring()?;
    let changed = match command {
        MasterCommand::Set(args) => ring.wrap(&source(args)?)?,
        MasterCommand::Change(args) => ring.rewrap(&source(args)?)?,
        MasterCommand::Remove { yes: true } => ring.unwrap()?,
        MasterCommand::Remove { yes: false } => {
            let what =
                "whoever reads the ring has its keys once it is not wrapped any more: give --yes if that is meant";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    tell(&changed, json)
}

fn source(args: &NewMasterArgs) -> Result<MasterSource, Failure> {
    if let Some(path) = &args.new_key_file {
        return Ok(MasterSource::File(path.clone()));
    }
    if args.new_passphrase {
        return Ok(MasterSource::Passphrase(new_passphrase()?));
    }
    match std::env::var("INDELIBLE_NEW_MASTER_KEY") {
        Ok(text) if !text.is_empty() => Ok(MasterSource::text(text)),
        _ => Err(Failure::Usage(
            "INDELIBLE_NEW_MASTER_KEY is not set: 64 hexadecimal digits (`openssl rand -hex 32`), or 32 bytes in base64"
                .to_owned(),
        )),
    }
}

fn tell(changed: &Changed, json: bool) -> Result<(), Failure> {
    let kind = changed.ring.master_kind();
    if json {
        return output::json(&json!({ "master": kind.map(MasterKind::name) }));
    }
    output::text(match kind {
        Some(MasterKind::File) => {
            "wrapped: from now on name the file with --master-key-file or INDELIBLE_MASTER_KEY_FILE. Keep a copy of it, and not beside the ring: \
             without it the keys are lost"
        }
        Some(MasterKind::Environment) => {
            "wrapped: from now on the key has to stand in INDELIBLE_MASTER_KEY. Keep a copy of it: without it the keys are lost"
        }
        Some(MasterKind::Passphrase) => {
            "wrapped: from now on the passphrase is asked for, or taken from INDELIBLE_PASSPHRASE. Without it the keys are lost"
        }
        None => "not wrapped any more: whoever reads the file has the keys",
    })
}
