//! Commands with a log on a server.
//!
//! What is printed as *verified* was verified here. What is the server's word is said to be.

mod append;
mod export;
mod info;
mod verify;

use std::{path::Path, process::ExitCode, time::Duration};

use indelible::{LeafIndex, log::Stored};
use indelible_client::{
    Client, ClientError, FollowError, LogUrl, Settings, Token, Trust, blocking::Log, settings::Identity, wire::Entry,
};
use indelible_core::{entry::EntryRef, note::VerifyingKey};
use serde_json::json;

use super::{
    prove::parse,
    show::{print, show_stored},
    verify::read_note,
};
use crate::{
    cli::{Command, ConsistencyArgs, LogCommand, ProveArgs, ServedArgs, ShowArgs, TailArgs},
    exit,
    failure::Failure,
    output::{self, Out},
};

/// How often a growing log is asked for.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Entries that are asked for at a time.
const PAGE: u64 = 500;

/// Whether a command was for a server.
pub(crate) enum Run {
    /// It was, and this came of it.
    Done(ExitCode),
    /// It is none that asks a server.
    NotServed(Box<Command>),
}

/// Runs a command, where it is one that a server can be asked.
pub(crate) fn run(url: &LogUrl, reached: ServedArgs, json: bool, command: Command) -> Result<Run, Failure> {
    let log = |reached| Log::new(url, settings(url, reached)?).map_err(Failure::from);
    let code = match command {
        Command::Append(args) => append::run(url, settings(url, reached)?, json, &args)?,
        Command::Verify(args) => verify::run(&log(reached)?, json, &args)?,
        Command::Show(args) => done(show(&log(reached)?, json, &args))?,
        Command::Tail(args) => done(tail(&log(reached)?, json, &args))?,
        Command::Checkpoint => done(checkpoint(&log(reached)?, json))?,
        Command::Prove(args) => done(prove(&log(reached)?, json, &args))?,
        Command::Consistency(args) => done(consistency(&log(reached)?, json, &args))?,
        Command::Export(args) => done(export::run(&log(reached)?, json, &args))?,
        Command::Log(LogCommand::Info) => done(info::run(&log(reached)?, json))?,
        other => return Ok(Run::NotServed(Box::new(other))),
    };
    Ok(Run::Done(code))
}

fn done(result: Result<(), Failure>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS)
}

fn settings(url: &LogUrl, reached: ServedArgs) -> Result<Settings, Failure> {
    let token = match reached.token_file {
        Some(path) => Some(Token::from_file(&path)?),
        None => Token::from_environment()?,
    };
    let trust = match (reached.ca, reached.pin) {
        (Some(path), _) => Trust::Authorities(path),
        (None, Some(pin)) => Trust::pinned(&pin)?,
        (None, None) => Trust::System,
    };
    let shown = reached.client_certificate.zip(reached.client_key);
    let identity = shown.map(|(certificate, key)| Identity { certificate, key });
    let settings = Settings { token, trust, identity, ..Settings::new(url.server.clone()) };
    // What cannot be used is told before anything is read.
    Client::new(&settings)?;
    Ok(settings)
}

/// An entry by its index, or by the id of its event.
fn locate(log: &Log, which: &str) -> Result<Entry, ClientError> {
    if let Some(id) = which.strip_prefix("id:") {
        return log.find(id);
    }
    let is_index = !which.is_empty() && which.bytes().all(|byte| byte.is_ascii_digit());
    match which.parse() {
        Ok(index) if is_index => log.entry(LeafIndex(index)),
        _ => log.find(which),
    }
}

fn show(log: &Log, json: bool, args: &ShowArgs) -> Result<(), Failure> {
    let Entry { index, bytes, mac, .. } = locate(log, &args.which)?;
    show_stored(&Stored { entry: bytes, mac, index }, json, args.raw)
}

fn tail(log: &Log, json: bool, args: &TailArgs) -> Result<(), Failure> {
    let mut out = Out::lock();
    // Without --follow it ends where the log ended when it was asked first, however far the server says it goes meanwhile.
    let end = log.entries(0, 1)?.size;
    let mut next = end.saturating_sub(args.count);
    loop {
        let limit = if args.follow { PAGE } else { PAGE.min(end.saturating_sub(next)) };
        if limit == 0 {
            return Ok(());
        }
        let page = log.entries(next, limit)?;
        for entry in &page.entries {
            print(&EntryRef::parse(&entry.bytes)?, &entry.mac, json, &mut out)?;
            next += 1;
        }
        out.flush()?;
        if page.next.is_none() {
            if !args.follow {
                return Ok(());
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

fn checkpoint(log: &Log, json: bool) -> Result<(), Failure> {
    let note = log.checkpoint()?;
    // Also where it is only printed: what is no note of this log goes to no terminal.
    let checkpoint = parse(note.as_bytes())?;
    if checkpoint.origin != log.inner().origin().as_str() {
        return Err(Failure::text("the server answered with a checkpoint of another log"));
    }
    if !json {
        return output::data(note.as_bytes());
    }
    output::json(&json!({
        "checkpoint": note,
        "origin": checkpoint.origin,
        "root": checkpoint.head.root.to_hex(),
        "tree_size": checkpoint.head.size.0,
    }))
}

fn prove(log: &Log, json: bool, args: &ProveArgs) -> Result<(), Failure> {
    let index = locate(log, &args.which)?.index;
    let bundle = log.proof(index)?;
    let bytes = bundle.to_bytes();
    let Some(path) = args.output.as_deref().filter(|path| *path != Path::new("-")) else { return output::data(&bytes) };
    std::fs::write(path, bytes).map_err(Failure::io("write", path))?;
    let size = parse(bundle.proof.checkpoint.as_bytes())?.head.size;
    if json {
        return output::json(&json!({ "file": path.display().to_string(), "index": index.0, "tree_size": size.0 }));
    }
    let place = path.display();
    output::text(&format!(
        "wrote {place}: entry {index}, in the tree of {} by what the server says\ncheck it anywhere with `indelible check-proof {place} --public-key VKEY`",
        output::entries(size.0),
    ))
}

fn consistency(log: &Log, json: bool, args: &ConsistencyArgs) -> Result<(), Failure> {
    let key = public_key(args.public_key.as_deref())?;
    let kept = String::from_utf8(read_note(&args.from)?).map_err(|_| Failure::text("a checkpoint is UTF-8"))?;
    let shown = log.follow_from(&key, Some(&kept)).map_err(kept_elsewhere)?;
    let old = parse(kept.as_bytes())?.head;
    if json {
        return output::json(&json!({
            "from": { "root": old.root.to_hex(), "tree_size": old.size.0 },
            "status": "consistent",
            "to": { "root": shown.head.root.to_hex(), "tree_size": shown.head.size.0 },
        }));
    }
    let (good, size) = (output::GOOD, output::entries(old.size.0));
    output::text(&format!(
        "{good}consistent{good:#}: the tree of {size} is the beginning of the tree of {}\n  from  {}\n  to    {}",
        shown.head.size, old.root, shown.head.root
    ))
}

/// The key that the log is verified with: never one that the server names.
fn public_key(given: Option<&str>) -> Result<VerifyingKey, Failure> {
    let text = given.ok_or_else(|| {
        Failure::Usage(
            "give --public-key VKEY: what a server shows is verified under a key that you have from somebody whom you trust"
                .to_owned(),
        )
    })?;
    Ok(VerifyingKey::parse(text.trim())?)
}

/// What contradicts a checkpoint that somebody kept is *diverged*.
fn kept_elsewhere(error: FollowError) -> Failure {
    match &error {
        FollowError::RolledBack { .. } | FollowError::Forked { .. } => {
            Failure::Evidence(exit::DIVERGED, Box::new(error))
        }
        _ => evidence(error),
    }
}

/// The verdict that evidence stands for.
fn evidence(error: FollowError) -> Failure {
    let code = match &error {
        FollowError::RolledBack { .. } | FollowError::Signature(_) => exit::TAMPERED,
        FollowError::Forked { .. } | FollowError::NotWhatWasSent { .. } => exit::DIVERGED,
        _ => exit::UNVERIFIABLE,
    };
    if error.is_evidence() { Failure::Evidence(code, Box::new(error)) } else { error.into() }
}
