//! How a log is: what is signed of it and since when, what is not yet, when it was last verified, how old its keys are, what its keeper could not do.
//!
//! Nothing is judged here but by the log's own numbers: whoever watches sets the limits. A checkpoint's age alone says nothing, since a log without traffic signs nothing; what counts is how long
//! something has been recorded and is under no checkpoint (*exposed*), which is about a second where all is well.
//!
//! The gauges are those of logs that are open and that the key is for, `limits.metrics_logs` of them in the order of their names. A log whose disk does not answer within [`PATIENCE`] has none,
//! and is counted.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use hyper::StatusCode;
use indelible::{KeyHistory, KeyRing, Setbacks};
use indelible_core::{entry::Line, head::HeadRecord, time::Micros, tree::LeafIndex};
use indelible_keys::{KeyInfo, State};
use indelible_store::store::StoreError;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{answer::Answer, identity::ApiKey, logs::OpenLog, problem::Problem, request::Asked, server::Shared};

/// How long the gauges wait for logs.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a log's own numbers are.
struct Health {
    size: u64,
    signed: u64,
    head: HeadRecord,
    /// When the first entry was recorded that no published checkpoint covers.
    exposed_since: Option<Micros>,
    setbacks: Setbacks,
    frozen: Option<String>,
}

impl Health {
    /// Waits for the log's disk.
    fn of(open: &OpenLog) -> Result<Self, Problem> {
        // In this order: a checkpoint that is published meanwhile makes less exposed, never more.
        let size = open.reader().size()?.0;
        let (head, tree) = open.head();
        let signed = tree.size.0;
        let exposed_since = if signed < size { Some(recorded_at(open, signed)?) } else { None };
        let (setbacks, frozen) = (open.setbacks(), open.frozen().map(str::to_owned));
        Ok(Self { size: size.max(signed), signed, head, exposed_since, setbacks, frozen })
    }

    fn exposed(&self) -> u64 {
        self.size - self.signed
    }

    fn exposed_seconds(&self, now: Micros) -> u64 {
        self.exposed_since.map_or(0, |since| seconds(since, now))
    }

    fn stuck(&self) -> [(&'static str, &Option<String>); 3] {
        let Setbacks { keys, checkpoint, tending } = &self.setbacks;
        [("checkpoint", checkpoint), ("keys", keys), ("tending", tending)]
    }
}

/// When an entry was recorded, by the log's clock.
fn recorded_at(open: &OpenLog, index: u64) -> Result<Micros, Problem> {
    let chunk = open.reader().read(LeafIndex(index), 0)?;
    let line = Line::parse(chunk.lines().next().unwrap_or_default());
    let line = line.map_err(|source| StoreError::Line { index, source })?;
    // A moment that no calendar has is long ago: it is looked at.
    Ok(line.entry.recorded().unwrap_or(Micros(0)))
}

/// Whole seconds from one time to another; none where a clock was set back.
fn seconds(since: Micros, now: Micros) -> u64 {
    u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0) / 1_000_000
}

/// How a log is, as a document.
pub(crate) async fn health(asked: Asked) -> Result<Answer, Problem> {
    let logs = Arc::clone(&asked.shared.logs);
    let open = asked.open().await?;
    let history = open.history();
    let (health, ring) = open.wait_for(move |open| Ok((Health::of(open)?, logs.ring()))).await?;
    let (now, log) = (asked.shared.identities.now(), asked.log());
    tell_operator(&asked.shared, log, &health);
    let stuck: BTreeMap<_, _> = health.stuck().into_iter().map(|(what, why)| (what, why.is_some())).collect();
    let value = json!({
        "checkpoint": {
            "age_seconds": seconds(health.head.signed_at, now),
            "signed_at": health.head.signed_at.to_string(),
            "size": health.signed,
        },
        "exposed": {
            "entries": health.exposed(),
            "seconds": health.exposed_seconds(now),
            "since": health.exposed_since.map(|since| since.to_string()),
        },
        "frozen": health.frozen,
        "keys": keys(&history, &ring, now),
        "kept": { "number": health.head.kept.number, "size": health.head.kept.size.0 },
        "locked": asked.shared.identities.locks().of(log).map(|locked| locked.to_json()),
        "log": log,
        "setbacks": stuck,
        "size": health.size,
        "verification": asked.shared.verifications.last(log).map(|last| last.to_json()),
    });
    Ok(Answer::json(StatusCode::OK, &value))
}

/// What the keeper could not do names places, so why is the operator's to read; once, until it is something else.
fn tell_operator(shared: &Shared, log: &str, health: &Health) {
    for (what, why) in health.stuck() {
        if let Some(why) = shared.setbacks.news(log, what, why.as_deref()) {
            (shared.reporter)(&format!("`{log}`: its keeper could not see to {what}: {why}"));
        }
    }
}

/// What the operator was told of setbacks. One row for each log that has some, so no more than there are logs.
#[derive(Default)]
pub(crate) struct Told(std::sync::Mutex<BTreeMap<(String, &'static str), String>>);

impl Told {
    /// Why, where that was not told yet.
    fn news<'w>(&self, log: &str, what: &'static str, why: Option<&'w str>) -> Option<&'w str> {
        let mut told = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = (log.to_owned(), what);
        let Some(why) = why else {
            told.remove(&at);
            return None;
        };
        (told.insert(at, why.to_owned()).as_deref() != Some(why)).then_some(why)
    }
}

/// The keys that are in force in the log, as the ring knows them.
fn keys(history: &KeyHistory, ring: &KeyRing, now: Micros) -> Vec<Value> {
    let entry = history.current_entry_key().into_iter().map(|key| {
        let known = ring.keys().find(|known| known.id == key.id);
        (key.id.clone(), "entry_signing", known)
    });
    let signers = history.current_set().into_iter().flat_map(|set| set.keys()).map(|key| {
        let known = ring.keys().find(|known| known.public.as_deref() == Some(key.public_key()));
        (known.map_or_else(|| key.to_string(), |known| known.id.clone()), "checkpoint_signing", known)
    });
    entry.chain(signers).map(|(id, purpose, known)| key_json(&id, purpose, known, now)).collect()
}

fn key_json(id: &str, purpose: &str, known: Option<&KeyInfo>, now: Micros) -> Value {
    let since = known.and_then(|key| key.activated_at.filter(|_| key.state == State::Active));
    let due = known.and_then(KeyInfo::due_at);
    json!({
        "active_since": since.map(|since| since.to_string()),
        "age_seconds": since.map(|since| seconds(since, now)),
        "due_at": due.map(|due| due.to_string()),
        "id": id,
        "overdue": due.is_some_and(|due| due <= now),
        "purpose": purpose,
        // The ring may have none of this id any more, and its server signs nothing then.
        "state": known.map_or("missing", |key| key.state.name()),
    })
}

/// One gauge of a log.
type Gauge = (&'static str, &'static str, fn(&Row) -> Option<u64>);

struct Row {
    log: String,
    health: Health,
    now: Micros,
    locked: bool,
    verified: Option<(u64, bool)>,
}

const GAUGES: [Gauge; 10] = [
    ("indelible_log_entries", "Entries that are durable", |row| Some(row.health.size)),
    ("indelible_log_checkpoint_entries", "Entries under the newest published checkpoint", |row| {
        Some(row.health.signed)
    }),
    (
        "indelible_log_checkpoint_age_seconds",
        "Since the newest checkpoint was signed; grows without traffic too",
        |row| Some(seconds(row.health.head.signed_at, row.now)),
    ),
    ("indelible_log_exposed_entries", "Entries under no published checkpoint", |row| Some(row.health.exposed())),
    ("indelible_log_exposed_seconds", "Since the oldest of them was recorded", |row| {
        Some(row.health.exposed_seconds(row.now))
    }),
    ("indelible_log_setbacks", "Kinds of chores that the log's keeper could not do", |row| {
        Some(row.health.stuck().iter().filter(|(_, why)| why.is_some()).count() as u64)
    }),
    ("indelible_log_locked", "Whether events are refused", |row| Some(row.locked.into())),
    ("indelible_log_frozen", "Whether it was frozen", |row| Some(row.health.frozen.is_some().into())),
    ("indelible_log_verified_age_seconds", "Since a verification through this server came to a verdict", |row| {
        Some(row.verified?.0)
    }),
    ("indelible_log_verified_intact", "Whether that verdict was intact", |row| Some(row.verified?.1.into())),
];

/// The gauges of the logs that are open and that the key is for.
pub(crate) async fn gauges(shared: &Arc<Shared>, key: &ApiKey) -> String {
    let mut logs = shared.logs.open_now();
    let seen = |log: &str| key.grant.reaches(log) && (key.grant.role.sees_own_logs() || !shared.logs.is_own(log));
    logs.retain(|(log, _)| seen(log));
    logs.sort_by(|(one, _), (other, _)| one.cmp(other));
    logs.truncate(shared.config.limits.metrics_logs);
    let asked = logs.len();
    let mut looking = JoinSet::new();
    for (log, open) in logs {
        looking.spawn(async move { open.wait_for(Health::of).await.ok().map(|health| (log, health)) });
    }
    let (mut rows, now) = (Vec::with_capacity(asked), shared.identities.now());
    let gather = async {
        while let Some(found) = looking.join_next().await {
            rows.extend(found.ok().flatten().map(|(log, health)| row(shared, log, health, now)));
        }
    };
    // Those that do not answer in time are not waited for.
    let _ = tokio::time::timeout(PATIENCE, gather).await;
    rows.sort_by(|one, other| one.log.cmp(&other.log));
    written(&rows, asked)
}

fn row(shared: &Shared, log: String, health: Health, now: Micros) -> Row {
    tell_operator(shared, &log, &health);
    let locked = shared.identities.locks().of(&log).is_some();
    let verified = shared.verifications.last(&log).map(|last| (seconds(last.finished_at, now), last.intact()));
    Row { log, health, now, locked, verified }
}

fn written(rows: &[Row], asked: usize) -> String {
    let mut out = String::new();
    let silent = asked - rows.len().min(asked);
    let name = "indelible_logs_not_answering";
    let _ =
        writeln!(out, "# HELP {name} Open logs that did not say how they are\n# TYPE {name} gauge\n{name} {silent}");
    for (name, help, of) in GAUGES {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for row in rows {
            // Names of logs have nothing in them that would have to be escaped.
            let Some(value) = of(row) else { continue };
            let _ = writeln!(out, "{name}{{log=\"{}\"}} {value}", row.log);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setback_is_told_once_until_it_is_another() {
        let told = Told::default();
        let rows = [
            ("a", Some("x"), Some("x")),
            ("a", Some("x"), None),
            ("b", Some("x"), Some("x")),
            ("a", Some("y"), Some("y")),
            ("a", None, None),
            ("a", Some("y"), Some("y")),
        ];
        for (log, why, expected) in rows {
            assert_eq!(told.news(log, "keys", why), expected, "{log} {why:?}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_age() {
        let rows = [(0, 1_999_999, 1), (5_000_000, 0, 0), (i64::MIN, i64::MAX, 9_223_372_036_854)];
        for (since, now, expected) in rows {
            assert_eq!(seconds(Micros(since), Micros(now)), expected);
        }
    }
}
