//! `store index`: filling the search rows of logs in PostgreSQL, and holding them against the entries.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use indelible::Location;
use indelible_store_postgres::{
    Database, SearchCheck, SearchEnd, SearchFault,
    connect::check::{Finding, Severity},
};
use serde_json::{Value, json};

use crate::{
    cli::IndexArgs,
    exit,
    failure::Failure,
    output::{self, BAD, GOOD},
};

/// How often it is said how far a long log is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Fills, rebuilds or checks the rows of one log or of all.
pub(crate) fn run(database: &Database, json: bool, args: &IndexArgs) -> Result<ExitCode, Failure> {
    let logs = match &args.place {
        Location::Postgres { origin: Some(origin), .. } => vec![origin.clone()],
        _ => database.origins()?,
    };
    if args.check {
        return check(database, json, &logs);
    }
    let mut ends = Vec::new();
    for log in &logs {
        if args.rebuild {
            database.clear_search(log)?;
        }
        ends.push(index(database, log)?);
    }
    if json {
        let value = |end: &SearchEnd| json!({ "entries": end.entries, "indexed": end.indexed, "log": end.log });
        output::json(&Value::Array(ends.iter().map(value).collect()))?;
    } else if ends.is_empty() {
        output::text("there is no log in this database")?;
    } else {
        output::text(&ends.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(end: &SearchEnd) -> String {
    format!("{}: {} of {} indexed", output::safe(&end.log), end.indexed, output::entries(end.entries))
}

fn index(database: &Database, log: &str) -> Result<SearchEnd, Failure> {
    let mut at = Instant::now();
    let mut told = |end: &SearchEnd| {
        if at.elapsed() >= TELL_EVERY {
            output::note(&line(end));
            at = Instant::now();
        }
    };
    Ok(database.index(log, &mut told)?)
}

fn check(database: &Database, json: bool, logs: &[String]) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    for log in logs {
        found.push((log, database.check_search(log)?));
    }
    let wrong = found.iter().any(|(_, check)| !check.faults.is_empty());
    if json {
        output::json(&Value::Array(found.iter().map(|(log, check)| value(log, check)).collect()))?;
    } else if found.is_empty() {
        output::text("there is no log in this database")?;
    } else {
        output::text(&found.iter().map(|(log, check)| lines(log, check)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::from(if wrong { exit::DAMAGED } else { exit::OK }))
}

fn value(log: &str, check: &SearchCheck) -> Value {
    let fault = |fault: &SearchFault| json!({ "detail": fault.detail, "index": fault.index });
    json!({
        "checked": check.checked,
        "entries": check.entries,
        "faults": check.faults.iter().map(fault).collect::<Vec<_>>(),
        "log": log,
        "more": check.more,
    })
}

fn lines(log: &str, check: &SearchCheck) -> String {
    let log = output::safe(log);
    let of = format!("{} of {} indexed", check.checked, output::entries(check.entries));
    if check.faults.is_empty() {
        return format!("{GOOD}{log}{GOOD:#}: {of}, each row as its entry says");
    }
    let mut text = format!("{BAD}{log}{BAD:#}: {of}, and these rows are not as the entries say");
    for fault in &check.faults {
        text.push_str(&format!("\n  {}", output::safe(&fault.detail)));
    }
    if check.more > 0 {
        text.push_str(&format!("\n  and {} more", check.more));
    }
    text.push_str(
        "\n`indelible store index --rebuild` writes them anew; `indelible verify` says whether the entries are right",
    );
    text
}

/// How far the search rows are behind, for `store check`.
pub(crate) fn finding(database: &Database) -> Finding {
    let (severity, what, remedy) = match database.search_ends() {
        Ok(ends) => {
            let behind: u64 = ends.iter().map(|end| end.entries.saturating_sub(end.indexed)).sum();
            let logs = output::counted(ends.len() as u64, "log", "logs");
            match behind {
                0 => (Severity::Ok, format!("every entry of {logs} is indexed"), None),
                _ => (
                    Severity::Note,
                    format!("{} of {logs} wait to be indexed", output::entries(behind)),
                    Some("writers index behind their appends; `indelible store index` catches up".to_owned()),
                ),
            }
        }
        Err(error) => (
            Severity::Note,
            format!("it cannot be seen how far the search rows reach: {error}"),
            Some(
                "`indelible store migrate` makes them, `indelible store grant reader` lets a login see them".to_owned(),
            ),
        ),
    };
    Finding { severity, subject: "search", what, remedy }
}
