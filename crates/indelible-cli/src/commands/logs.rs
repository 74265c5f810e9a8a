//! `logs`: many logs under one root, and the registry that says which there are.

use std::process::ExitCode;

use indelible::{KeyRing, Options, verify::Verdict};
use indelible_keys::check_apart;
use indelible_service::{
    Registry, RegistryError, Root,
    registry::{Listed, Registered, State},
};
use serde_json::{Value, json};

use super::init::{created, settings, tell_created};
use crate::{
    cli::{LogsArgs, LogsCommand},
    exit,
    failure::Failure,
    output::{self, BAD, GOOD},
    places::{Places, known_head, writers_heads},
};

/// Looks after many logs.
pub(crate) fn run(places: &Places, json: bool, args: &LogsArgs) -> Result<ExitCode, Failure> {
    let root = args.root.clone().ok_or_else(|| {
        Failure::Usage(
            "no root is named: give --root PLACE (a directory or a database) or set INDELIBLE_ROOT".to_owned(),
        )
    })?;
    let options = places.options_for(root.place())?;
    let name = args.registry.clone().or_else(|| root.place().origin().map(str::to_owned));
    let open = |root, options| open(places, root, name.as_deref(), options);
    match &args.command {
        LogsCommand::Init { origin, settings: how } => {
            let options = Options { settings: settings(*how), ..options };
            let ring = ring(places, &root)?;
            let registry = Registry::create(root, origin, &ring, options)?;
            told(json, &json!({ "origin": origin, "registry": registry.place().to_string() }), || {
                format!("created the registry `{origin}` at {}", registry.place())
            })
        }
        LogsCommand::Create { origin, settings: how } => {
            let options = Options { settings: settings(*how), ..options };
            let path = root.path().map(std::path::Path::to_owned);
            let registry = open(root, options)?;
            // A registry has its keys already: none are made here.
            let ring = places.ring()?;
            if let Some(path) = path {
                check_apart(ring.dir(), &path)?;
            }
            let log = registry.create_log(origin, &ring)?;
            log.close()?;
            let place = registry.log(origin);
            if json {
                output::json(&Value::Object(created(&log, &place, &ring)))?;
            } else {
                tell_created(&log, &place, &ring, "The keys are those of the ring.")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        LogsCommand::List => list(&open(root, options)?, json),
        LogsCommand::Info { origin } => info(&open(root, options)?, origin, json),
        LogsCommand::Freeze { origin, reason } => {
            let frozen = open(root, options)?.freeze(origin, &places.ring()?, reason)?;
            told(json, &json!({ "origin": origin, "reason": reason, "tree_size": frozen.tree_size }), || {
                format!("`{origin}` is frozen at {} entries; nothing is written to it any more", frozen.tree_size)
            })
        }
        LogsCommand::Verify => verify(&open(root, options)?, &places.ring()?, json),
    }
}

/// The registry of a root, by its name where that is said. Another one in its place is evidence where the head store knows the one that was meant.
fn open(places: &Places, root: Root, name: Option<&str>, options: Options) -> Result<Registry, Failure> {
    let Some(name) = name else { return Ok(Registry::open(root, options)?) };
    Registry::open_named(root, name, options).map_err(|error| {
        let known = places.ring_if_any().ok().flatten().and_then(|ring| known_head(&writers_heads(&ring).store, name));
        match (&error, known) {
            (RegistryError::Other { .. }, Some(known)) => {
                Failure::Evidence(exit::TAMPERED, format!("{error}; {known}").into())
            }
            _ => error.into(),
        }
    })
}

/// The keys, made where there are none yet, and apart from the logs.
fn ring(places: &Places, root: &Root) -> Result<KeyRing, Failure> {
    let keys = places.keys()?;
    if let Some(path) = root.path() {
        check_apart(&keys, path)?;
    }
    places.ring_or_create(&keys)
}

fn told(json: bool, value: &Value, text: impl FnOnce() -> String) -> Result<ExitCode, Failure> {
    if json {
        output::json(value)?
    } else {
        output::text(&text())?
    }
    Ok(ExitCode::SUCCESS)
}

fn value(log: &Listed) -> Value {
    json!({
        "entries": log.size,
        "frozen": log.registered.as_ref().and_then(|known| known.frozen.as_ref()).map(|frozen| {
            json!({ "checkpoint": frozen.checkpoint, "reason": frozen.reason, "tree_size": frozen.tree_size })
        }),
        "log_id": log.registered.as_ref().map(|known| &known.log_id),
        "origin": log.origin,
        "public_key": log.registered.as_ref().map(|known| &known.public_key),
        "registered_at": log.registered.as_ref().map(|known| &known.since),
        "state": log.state.as_str(),
    })
}

/// The heaviest of the verdicts, as an exit code.
fn code(verdicts: impl Iterator<Item = Verdict>) -> ExitCode {
    let heaviest = verdicts.max_by_key(|verdict| verdict.weight());
    ExitCode::from(heaviest.map_or(exit::OK, exit::of))
}

fn list(registry: &Registry, json: bool) -> Result<ExitCode, Failure> {
    let logs = registry.list()?;
    if json {
        output::json(&Value::Array(logs.iter().map(value).collect()))?;
    } else if logs.is_empty() {
        output::text("no logs are registered: `indelible logs create ORIGIN` makes one")?;
    } else {
        let lines: Vec<String> = logs.iter().map(line).collect();
        output::text(&lines.join("\n"))?;
    }
    Ok(code(logs.iter().map(|log| log.state.verdict())))
}

fn line(log: &Listed) -> String {
    let size = log.size.map_or_else(|| "–".to_owned(), |size| size.to_string());
    let frozen = log.registered.as_ref().and_then(|known| known.frozen.as_ref());
    let frozen = frozen.map_or_else(String::new, |frozen| format!("  frozen: {}", output::safe(&frozen.reason)));
    let state = log.state.as_str();
    let colour = if log.state.verdict() == Verdict::Intact { GOOD } else { BAD };
    format!("{colour}{state:<13}{colour:#}{size:>12}  {}{frozen}", output::safe(&log.origin))
}

fn info(registry: &Registry, origin: &str, json: bool) -> Result<ExitCode, Failure> {
    let known: Registered = registry.find(origin)?;
    let listed = registry.list()?.into_iter().find(|log| log.origin == origin);
    let state = listed.as_ref().map_or(State::Missing, |log| log.state);
    if json {
        output::json(&listed.as_ref().map_or(Value::Null, value))?;
    } else {
        let size = listed.and_then(|log| log.size).map_or_else(|| "unknown".to_owned(), |size| size.to_string());
        let frozen = known.frozen.as_ref().map_or_else(String::new, |frozen| {
            format!("\nfrozen      at {} entries: {}", frozen.tree_size, output::safe(&frozen.reason))
        });
        output::text(&format!(
            "origin      {}\nlog id      {}\npublic key  {}\nplace       {}\nregistered  {}, entry {} of the registry\nentries     {size}\nstate       {}{frozen}",
            output::safe(&known.origin),
            known.log_id,
            known.public_key,
            registry.log(origin),
            known.since,
            known.index,
            state.as_str(),
        ))?;
    }
    Ok(code(std::iter::once(state.verdict())))
}

/// Verifies the registry and every log that it names. The exit code is that of the heaviest verdict.
fn verify(registry: &Registry, ring: &KeyRing, json: bool) -> Result<ExitCode, Failure> {
    let own = registry.verify_own(ring)?;
    let mut rows = vec![(own.origin.clone(), own.status, "the registry".to_owned(), own.tree_size)];
    for log in registry.list()? {
        let Some(known) = &log.registered else { continue };
        // What could not be looked at may still be verified, which says what is wrong with it.
        if !matches!(log.state, State::Present | State::Unreadable) {
            let known = known_head(&writers_heads(ring).store, &log.origin).filter(|_| log.state == State::Missing);
            let detail = known.map_or_else(String::new, |known| format!(": {known}"));
            let detail = format!("{}{detail}", log.state.as_str());
            rows.push((log.origin.clone(), log.state.verdict(), detail, log.size.unwrap_or(0)));
            continue;
        }
        let report = match registry.verify_log(known, ring) {
            Ok(report) => report,
            Err(error) => {
                let why = indelible::error::chain(&error);
                rows.push((log.origin.clone(), Verdict::Unverifiable, why, log.size.unwrap_or(0)));
                continue;
            }
        };
        let detail = report.findings.first().map_or_else(String::new, |finding| finding.detail.clone());
        rows.push((log.origin.clone(), report.status, detail, report.tree_size));
    }
    if json {
        let value = |(origin, status, detail, size): &(String, Verdict, String, u64)| json!({ "detail": detail, "origin": origin, "status": status.as_str(), "tree_size": size });
        output::json(&Value::Array(rows.iter().map(value).collect()))?;
    } else {
        let lines = rows.iter().map(|(origin, status, detail, size)| {
            let colour = if *status == Verdict::Intact { GOOD } else { BAD };
            format!(
                "{colour}{:<13}{colour:#}{size:>12}  {}  {}",
                status.as_str(),
                output::safe(origin),
                output::safe(detail)
            )
        });
        output::text(&lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(code(rows.iter().map(|row| row.1)))
}
