//! `store`: looking after a database that logs are kept in. `relay`: emptying its outbox.

use std::{process::ExitCode, sync::atomic::AtomicBool, time::Duration};

use indelible::{Location, Log};
use indelible_service::{Relay, RelayError, Relayed, Told};
use indelible_store_postgres::{
    Database, GuardFault, Lag, Migrated,
    connect::{
        check::{Report, Severity},
        hba::{self, Network},
    },
};
use serde_json::{Value, json};

use super::search;
use crate::{
    cli::{RelayArgs, StoreCommand, TriggersCommand},
    exit,
    failure::Failure,
    output::{self, BAD, GOOD, WARN},
    places::Places,
};

/// How often the outbox is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Looks after a database.
pub(crate) fn run(places: &Places, json: bool, command: &StoreCommand) -> Result<ExitCode, Failure> {
    match command {
        StoreCommand::Check { place } => check(&database(places, place)?, json),
        #[cfg(feature = "sqlite")]
        StoreCommand::Migrate { place: place @ Location::Sqlite { .. }, dry_run } => {
            migrate_sqlite(places, place, *dry_run, json)
        }
        StoreCommand::Migrate { place, dry_run } => migrate(&database(places, place)?, *dry_run, json),
        #[cfg(feature = "sqlcipher")]
        StoreCommand::Rekey { place, new_key } => rekey(places, place, new_key),
        StoreCommand::Grant { role, login, apply } => grant(places, *role, login, apply.as_ref()),
        StoreCommand::Hba { networks, database, roles } => {
            let networks: Vec<Network> = networks.iter().map(|network| network.parse()).collect::<Result<_, _>>()?;
            let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            output::text(hba::lines(&networks, database, &roles)?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Triggers(command) => triggers(places, command),
        StoreCommand::Index(args) => search::run(&database(places, &args.place)?, json, args),
    }
}

/// The database that a place names.
fn database(places: &Places, place: &Location) -> Result<Database, Failure> {
    let Location::Postgres { url, .. } = place else {
        return Err(Failure::Usage(format!("`{place}` is no PostgreSQL database: give `postgres://…`")));
    };
    let database = places.options().databases.postgres(url)?;
    for warning in database.warnings() {
        output::note(&format!("{WARN}warning:{WARN:#} {}", output::safe(&warning.to_string())));
    }
    Ok(database)
}

/// What is unsafe about a database. The exit code says whether anything is.
fn check(database: &Database, json: bool) -> Result<ExitCode, Failure> {
    let mut report = database.check()?;
    report.findings.push(search::finding(database));
    if json {
        output::json(&value(&report))?
    } else {
        output::text(lines(&report).trim_end())?
    }
    Ok(ExitCode::from(if report.worst() == Severity::Unsafe { exit::COULD_NOT } else { exit::OK }))
}

fn value(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "remedy": finding.remedy,
            "severity": finding.severity.to_string().to_lowercase(),
            "subject": finding.subject,
            "what": finding.what,
        })
    });
    json!({
        "findings": findings.collect::<Vec<_>>(),
        "place": report.place,
        "safe": report.worst() != Severity::Unsafe,
        "server_version": report.connected.server_version,
    })
}

fn lines(report: &Report) -> String {
    let mut text = format!("{} (PostgreSQL {})\n", output::safe(&report.place), report.connected.server_version);
    for finding in &report.findings {
        let colour = match finding.severity {
            Severity::Ok => GOOD,
            Severity::Note => WARN,
            Severity::Unsafe => BAD,
        };
        let remedy =
            finding.remedy.as_ref().map_or_else(String::new, |remedy| format!("\n        {}", output::safe(remedy)));
        text.push_str(&format!(
            "{colour}{:<7}{colour:#} {:<12} {}{remedy}\n",
            finding.severity.to_string(),
            finding.subject,
            output::safe(&finding.what)
        ));
    }
    text
}

fn migrate(database: &Database, dry_run: bool, json: bool) -> Result<ExitCode, Failure> {
    let Migrated { migrations, restored, left } = database.migrate(dry_run)?;
    if json {
        let steps = migrations.iter().map(|migration| {
            json!({ "applied_before": migration.applied_before, "name": migration.name, "version": migration.version })
        });
        let faults = |faults: &[GuardFault]| faults.iter().map(fault_value).collect::<Vec<_>>();
        output::json(&json!({
            "dry_run": dry_run,
            "left": faults(&left),
            "migrations": steps.collect::<Vec<_>>(),
            "restored": faults(&restored),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = |before: bool| match (before, dry_run) {
        (true, _) => "there",
        (false, true) => "to do",
        (false, false) => "done",
    };
    let mut lines: Vec<String> = migrations
        .iter()
        .map(|migration| format!("{:>3} {:<12} {}", migration.version, migration.name, word(migration.applied_before)))
        .collect();
    let put_back = if dry_run { "to put back" } else { "put back" };
    let told = |fault: &GuardFault| output::safe(&format!("`{}`: {}", fault.place, fault.detail)).into_owned();
    lines.extend(restored.iter().map(|fault| format!("{GOOD}{put_back}{GOOD:#} {}", told(fault))));
    for fault in &left {
        let remedy = fault.remedy.as_deref().unwrap_or("find out why it does not come back");
        lines.push(format!("{BAD}left{BAD:#} {}\n     {}", told(fault), output::safe(remedy)));
    }
    lines.push(
        match (dry_run, left.is_empty()) {
            (true, _) => "nothing was changed",
            (false, true) => "functions, guards and rights are as this program makes them",
            (false, false) => {
                "functions and guards are as this program makes them; what is left is for you to take away"
            }
        }
        .to_owned(),
    );
    output::text(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn fault_value(fault: &GuardFault) -> Value {
    json!({ "place": fault.place, "remedy": fault.remedy, "what": fault.detail })
}

#[cfg(feature = "sqlite")]
fn migrate_sqlite(places: &Places, place: &Location, dry_run: bool, json: bool) -> Result<ExitCode, Failure> {
    let Some(driver) = place.sqlite_driver(&places.options_for(place)?)? else { return Ok(ExitCode::SUCCESS) };
    let steps = if dry_run { driver.pending_migrations()? } else { driver.migrate()? };
    let rows: Vec<Value> = steps
        .iter()
        .map(|step| json!({ "applied_before": false, "name": step.title, "version": step.version }))
        .collect();
    if json {
        output::json(&json!({ "dry_run": dry_run, "migrations": rows }))?;
    } else if steps.is_empty() {
        output::text("nothing to do: the schema is that of this program")?;
    } else {
        let word = if dry_run { "to do" } else { "done" };
        let lines = steps.iter().map(|step| format!("{:>3} {:<20} {word}", step.version, step.title));
        output::text(&lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Encrypts a file anew. The key is on the disk before the file needs it.
#[cfg(feature = "sqlcipher")]
fn rekey(places: &Places, place: &Location, file: &std::path::Path) -> Result<ExitCode, Failure> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

    use indelible::clock::{Entropy as _, SystemEntropy};

    let Some(driver) = place.sqlite_driver(&places.options_for(place)?)? else {
        return Err(Failure::Usage(format!("`{place}` is no SQLCipher file: give `sqlcipher:FILE`")));
    };
    let mut key = [0; 32];
    for (half, random) in key.chunks_exact_mut(16).zip([SystemEntropy.salt(), SystemEntropy.salt()]) {
        half.copy_from_slice(&random);
    }
    let mut written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(Failure::io("create", file))?;
    writeln!(written, "{}", indelible_core::hex::encode(&key)).map_err(Failure::io("write", file))?;
    written.sync_all().map_err(Failure::io("write", file))?;
    driver.rekey(key)?;
    output::text(&format!("encrypted anew; the key is in `{}`: put it in the place of the old one", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What lets a login in. Printed, so that it can be read first; or run.
fn grant(
    places: &Places,
    role: crate::cli::StoreRole,
    login: &str,
    apply: Option<&Location>,
) -> Result<ExitCode, Failure> {
    let (Some(place), statement) = (apply, role.grant(login)) else {
        output::text(&format!("{};", role.grant(login)))?;
        return Ok(ExitCode::SUCCESS);
    };
    database(places, place)?.grant(role.name(), login)?;
    output::text(&format!("done: {statement}"))?;
    Ok(ExitCode::SUCCESS)
}

fn triggers(places: &Places, command: &TriggersCommand) -> Result<ExitCode, Failure> {
    match command {
        TriggersCommand::Install { place, table, except } => {
            let origin = match place {
                Location::Postgres { origin, .. } => origin.as_deref(),
                _ => None,
            };
            let table = table_of(place, table.as_deref(), "install")?;
            database(places, place)?.install_triggers(table, origin, except)?;
            output::text(&format!(
                "every change of `{}` is an event in the outbox now; `indelible relay` moves it into the log",
                output::safe(table)
            ))?;
        }
        TriggersCommand::Remove { place, table } => {
            let table = table_of(place, table.as_deref(), "remove")?;
            database(places, place)?.remove_triggers(table)?;
            output::text(&format!("changes of `{}` are no longer recorded", output::safe(table)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The table; who names it alone is told what stands before it.
fn table_of<'a>(place: &Location, table: Option<&'a str>, what: &str) -> Result<&'a str, Failure> {
    table.ok_or_else(|| {
        let missing = match place {
            Location::Postgres { .. } => "the table is missing",
            _ => "the database stands before the table",
        };
        let usage = format!("indelible store triggers {what} postgres://owner@host/database TABLE");
        Failure::Usage(format!("{missing}: `{usage}`"))
    })
}

/// Moves events from the outbox into the log.
pub(crate) fn relay(places: &Places, json: bool, args: &RelayArgs) -> Result<ExitCode, Failure> {
    let place = places.log()?;
    let database = database(places, place)?;
    if args.status {
        return status(&database.outbox_lag()?, json);
    }
    let options = places.options();
    let log = Log::open_in(&*place.driver(&options)?, &places.ring()?, options).map_err(RelayError::from)?;
    let relay = Relay::new(&database, &log);
    if args.once {
        let moved = relay.drain();
        let closed = log.close();
        tell(Told::Moved(moved?));
        closed?;
        return Ok(ExitCode::SUCCESS);
    }
    relay.run(&AtomicBool::new(false), EVERY, &tell)?;
    log.close()?;
    Ok(ExitCode::SUCCESS)
}

fn tell(told: Told<'_>) {
    match told {
        Told::Moved(Relayed { recorded, duplicates, refused }) => {
            output::note(&format!("{recorded} recorded ({duplicates} of them before), {refused} refused"));
        }
        Told::Away(error) => {
            let why = output::safe(&indelible::error::chain(error)).into_owned();
            output::note(&format!("{WARN}warning:{WARN:#} nothing can be moved now, and it is tried again: {why}"));
        }
        Told::Back => output::note("events are moved again"),
    }
}

fn status(lags: &[Lag], json: bool) -> Result<ExitCode, Failure> {
    if json {
        let value = lags.iter().map(|lag| {
            json!({ "log": lag.log, "oldest_seconds": lag.oldest_seconds, "refused": lag.refused, "waiting": lag.waiting })
        });
        output::json(&Value::Array(value.collect()))?;
    } else if lags.is_empty() {
        output::text("nothing waits in the outbox")?;
    } else {
        let row = |lag: &Lag| {
            let oldest =
                lag.oldest_seconds.map_or_else(String::new, |seconds| format!(", the oldest for {seconds:.0} s"));
            format!("{}: {} wait{oldest}; {} refused", output::safe(&lag.log), lag.waiting, lag.refused)
        };
        output::text(&lags.iter().map(row).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
