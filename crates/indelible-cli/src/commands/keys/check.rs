//! `keys check`: what is due, for people and for cron.

use std::process::ExitCode;

use indelible_keys::{Due, KeyRing};
use serde_json::{Value, json};

use super::list::day;
use crate::{
    cli::CheckArgs,
    exit,
    failure::Failure,
    output::{self, counted},
    places::{Places, now},
};

/// Says what is due. Neither master key nor lock is needed, so that this runs under a login that may only read.
pub(crate) fn run(places: &Places, json: bool, args: &CheckArgs) -> Result<ExitCode, Failure> {
    let overview = KeyRing::overview(&places.keys()?)?;
    let now = now();
    overview.check_clock(now)?;
    let due = overview.due(now, args.within);
    let next = overview.due(now, u32::MAX).into_iter().find(|next| !due.iter().any(|due| due.id == next.id));
    if json {
        output::json(&json!({
            "due": due.iter().map(described).collect::<Vec<_>>(),
            "master": overview.master.map(indelible_keys::MasterKind::name),
            "next": next.as_ref().map(described),
            "require": overview.require.to_string(),
        }))?;
    } else {
        output::text(&told(&due, next.as_ref()))?;
    }
    Ok(if due.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::DUE) })
}

fn described(due: &Due) -> Value {
    json!({
        "algorithm": due.algorithm.name(),
        "due_at": due.due_at.to_string(),
        "id": due.id,
        "overdue_days": due.overdue_days,
        "purpose": due.purpose.name(),
    })
}

fn told(due: &[Due], next: Option<&Due>) -> String {
    let days = |count: i64| counted(count.unsigned_abs(), "day", "days");
    let mut lines: Vec<String> = due
        .iter()
        .map(|due| {
            let when = match due.overdue_days {
                0 => "today".to_owned(),
                late if late > 0 => format!("since {}, for {}", day(due.due_at), days(late)),
                early => format!("on {}, within {}", day(due.due_at), days(early)),
            };
            let (id, purpose) = (&due.id, due.purpose);
            format!("due: {id} ({purpose}, {}) {when}: `indelible keys rotate --purpose {purpose}`", due.algorithm)
        })
        .collect();
    if due.is_empty() {
        lines.push("nothing is due".to_owned());
    }
    if let Some(next) = next {
        let (id, purpose, at) = (&next.id, next.purpose, day(next.due_at));
        lines.push(format!("next: {id} ({purpose}) on {at}, within {}", days(next.overdue_days)));
    }
    lines.join("\n")
}
