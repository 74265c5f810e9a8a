//! `keys public`, `keys derive`, `samples`, `completions`, `man`.

use std::{io, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;
use indelible_core::note::NoteSigner as _;
use serde_json::json;

use crate::{
    cli::{Cli, KeysCommand, SamplesArgs},
    failure::Failure,
    output::{self, Out},
    places::{Places, entry_key, keys_of_another_log},
};

/// Looks into the keys.
pub(crate) fn keys(places: &Places, json: bool, command: &KeysCommand) -> Result<(), Failure> {
    let reader = places.reader()?;
    let ring = places.ring()?;
    if let KeysCommand::Public = command {
        let key = ring.checkpoint_signer(&reader.info().origin)?.verifying_key().to_string();
        return if json { output::json(&json!({ "public_key": key })) } else { output::text(&key) };
    }
    let named = entry_key(&*reader)?;
    // A key derived from another ring's secret would fit no entry, and look like tampering.
    if let Some(failure) = keys_of_another_log(&*reader, &ring) {
        return Err(failure);
    }
    let info = reader.info();
    let hex = ring.derived_hex(info.log_id, &info.origin, named.epoch);
    if json {
        return output::json(&json!({ "epoch": named.epoch, "hex": hex.as_str(), "key": named.id }));
    }
    output::text(&hex)
}

/// Prints sample events.
pub(crate) fn samples(args: &SamplesArgs) -> Result<(), Failure> {
    let mut out = Out::lock();
    for event in indelible_import::samples::samples(args.seed, args.count) {
        out.bytes(&event)?;
        out.bytes(b"\n")?;
    }
    out.flush()
}

/// Prints completions.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "indelible", &mut text);
    output::data(&text)
}

/// Prints the manual page, or writes all of them.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    if let Some(dir) = dir {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(Cli::command(), dir)
        };
        return write().map_err(Failure::io("write manual pages into", dir));
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    output::data(&text)
}
