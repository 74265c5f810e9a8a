//! Reads on record: which key read which log, how often, how many entries, of what range.
//!
//! What is given out is counted in memory, one row for each key and log, and each minute (`limits.reads_every_ms`) each row becomes one event of the server's own log: a reader cannot
//! fill that log, however often it asks. A row holds counts and the lowest and highest index, not each request.
//!
//! - A read is counted before its answer is sent. Where it cannot be counted, because the table is full, it is refused: nothing is read that is not on its way to
//!   the record.
//! - A graceful stop records what was counted. A crash loses the rows since the last time, so at most a minute of them; so does an own log that failed and stays so until
//!   the server is started again. The operator is told when it cannot be written.
//! - An event whose fate is not known is sent again with the same id, so that it is on record once.
//!
//! Memory: [`MAX_ROWS`] rows and as many events that wait to be recorded, each of about half a kilobyte: 4 MiB at most.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use indelible::{AppendError, error::chain};
use indelible_core::{hex, time::Micros};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    identity::{ApiKey, By, Identities, actor},
    problem::{Kind, Problem},
    server::Shared,
};

/// The most rows, and the most events that wait.
const MAX_ROWS: usize = 4096;

/// What was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// By which route.
    pub(crate) how: &'static str,
    /// The index of the first entry.
    pub(crate) first: u64,
    /// How many, one behind the other.
    pub(crate) count: u64,
}

/// The counts.
pub(crate) struct Reads {
    wanted: bool,
    rows: Mutex<HashMap<(String, String), Row>>,
    /// Events that are not surely on record. Held while they are recorded.
    waiting: Mutex<Vec<Vec<u8>>>,
    full: Notify,
}

struct Row {
    key: Arc<ApiKey>,
    since: Micros,
    entries: u64,
    first: u64,
    last: u64,
    requests: BTreeMap<&'static str, u64>,
}

impl Reads {
    /// None yet. Where they are not wanted nothing is ever counted.
    #[must_use]
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, rows: Mutex::default(), waiting: Mutex::default(), full: Notify::new() }
    }

    /// Counts what is about to be given out; nothing where it holds no entry.
    ///
    /// # Errors
    /// [`Kind::Busy`] where there is no room: then it must not be given out.
    pub(crate) fn note(&self, key: &Arc<ApiKey>, log: &str, given: Given, now: Micros) -> Result<(), Problem> {
        if !self.wanted || given.count == 0 {
            return Ok(());
        }
        let last = given.first.saturating_add(given.count - 1);
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (key.id.clone(), log.to_owned());
        if rows.len() >= MAX_ROWS && !rows.contains_key(&at) {
            drop(rows);
            self.full.notify_one();
            return Err(Problem::new(Kind::Busy, "more is read than can be put on record").after(1));
        }
        let row = rows.entry(at).or_insert_with(|| Row::new(Arc::clone(key), given.first, now));
        row.entries = row.entries.saturating_add(given.count);
        (row.first, row.last) = (row.first.min(given.first), row.last.max(last));
        *row.requests.entry(given.how).or_default() += 1;
        Ok(())
    }

    /// Records what was counted. Waits for a disk.
    ///
    /// # Errors
    /// How many events are not surely on record, and why, of one. They are kept and sent again.
    pub(crate) fn record(&self, own: &Identities) -> Result<(), (usize, AppendError)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_ROWS {
            let rows = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
            let until = own.now();
            waiting.extend(rows.into_iter().map(|((_, log), row)| row.event(&log, until).to_string().into_bytes()));
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let mut first = None;
        let mut results = own.append_all(&waiting).into_iter();
        waiting.retain(|_| match results.next() {
            Some(Err(error)) => {
                first.get_or_insert(error);
                true
            }
            _ => false,
        });
        first.map_or(Ok(()), |error| Err((waiting.len(), error)))
    }
}

impl Row {
    fn new(key: Arc<ApiKey>, first: u64, since: Micros) -> Self {
        Self { key, since, entries: 0, first, last: first, requests: BTreeMap::new() }
    }

    fn event(&self, log: &str, until: Micros) -> Value {
        let details = json!({
            "entries": self.entries,
            "first": self.first,
            "last": self.last,
            "requests": self.requests,
            "since": self.since.to_string(),
            "until": until.to_string(),
        });
        let mut event = json!({
            "action": "log.read",
            "actor": actor(By::Key(&self.key)),
            "details": details,
            "kind": "data_access",
            "targets": [{ "id": log, "type": "log" }],
        });
        let mut id = [0; 16];
        // Without an id it may be on record twice, which is better than not at all.
        if let (Ok(()), Some(event)) = (rand::fill(&mut id), event.as_object_mut()) {
            event.insert("id".to_owned(), format!("reads-{}", hex::encode(&id)).into());
        }
        event
    }
}

/// Records what was counted, now and then, for as long as the server runs.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let every = Duration::from_millis(shared.config.limits.reads_every_ms);
    loop {
        // A table that is full does not wait.
        let _ = tokio::time::timeout(every, shared.reads.full.notified()).await;
        let shared = Arc::clone(&shared);
        // A panic in it is a lost minute's, not the next one's.
        let _ = tokio::task::spawn_blocking(move || record(&shared)).await;
    }
}

/// Records what was counted, and tells the operator where that did not go well.
pub(crate) fn record(shared: &Shared) {
    if let Err((count, error)) = shared.reads.record(&shared.identities) {
        (shared.reporter)(&format!("{count} events of what was read are not on record: {}", chain(&error)));
    }
}

#[cfg(test)]
mod tests {
    use indelible::{KeyRing, Log, Options, clock::SystemClock};
    use indelible_core::tree::LeafIndex;

    use super::*;
    use crate::{access::Grant, identity::NewKey};

    fn world() -> (tempfile::TempDir, Identities, Arc<ApiKey>) {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let path = dir.path().join("log");
        drop(Log::create(&path, "t.example/_server", &ring, Options::default()).unwrap());
        let open = move || Log::open(&path, &ring, Options::default());
        let own = Identities::load(Box::new(open), Arc::new(SystemClock::default())).unwrap();
        let new = NewKey { name: "n".to_owned(), grant: Grant::admin(), rate_per_minute: 0, expires_at: None };
        let key = own.create(By::Operator, new).unwrap().0;
        (dir, own, key)
    }

    fn given(first: u64, count: u64) -> Given {
        Given { how: "listEntries", first, count }
    }

    #[test]
    fn many_reads_are_one_event_with_their_range() {
        let (_dir, own, key) = world();
        let reads = Reads::new(true);
        for (first, count) in [(10, 5), (3, 2), (40, 1), (7, 0)] {
            reads.note(&key, "a", given(first, count), Micros(5)).unwrap();
        }
        reads.note(&key, "b", Given { how: "prove", ..given(0, 1) }, Micros(6)).unwrap();
        let before = own.log().unwrap().size().unwrap();
        reads.record(&own).unwrap();
        assert_eq!(own.log().unwrap().size().unwrap(), before + 2);
        let both: Vec<Value> = (before..before + 2)
            .map(|at| serde_json::from_slice(&own.log().unwrap().get(LeafIndex(at)).unwrap().entry).unwrap())
            .collect();
        let of_a = both.iter().find(|entry| entry["event"]["targets"][0]["id"] == "a").unwrap();
        let details = &of_a["event"]["details"];
        assert_eq!((&details["first"], &details["last"], &details["entries"]), (&json!(3), &json!(40), &json!(8)));
        assert_eq!(details["requests"], json!({ "listEntries": 3 }));
        reads.record(&own).unwrap();
        assert_eq!(own.log().unwrap().size().unwrap(), before + 2, "what is on record is not recorded again");
    }

    #[test]
    fn what_finds_no_room_is_refused_and_what_has_a_row_goes_on() {
        let (_dir, own, key) = world();
        let reads = Reads::new(true);
        for at in 0..MAX_ROWS {
            reads.note(&key, &at.to_string(), given(0, 1), Micros(5)).unwrap();
        }
        let refused = reads.note(&key, "more", given(0, 1), Micros(5)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Busy);
        reads.note(&key, "7", given(0, 1), Micros(5)).unwrap();
        reads.record(&own).unwrap();
        reads.note(&key, "more", given(0, 1), Micros(5)).unwrap();
    }

    #[test]
    fn what_cannot_be_recorded_is_kept() {
        let (_dir, own, key) = world();
        let reads = Reads::new(true);
        reads.note(&key, "a", given(0, 1), Micros(5)).unwrap();
        let before = own.log().unwrap().size().unwrap();
        own.log().unwrap().close().unwrap();
        assert_eq!(reads.record(&own).unwrap_err().0, 1);
        reads.note(&key, "b", given(0, 1), Micros(5)).unwrap();
        // What failed is opened again.
        reads.record(&own).unwrap();
        assert_eq!(own.log().unwrap().size().unwrap(), before + 2);
    }

    #[test]
    fn where_it_is_not_wanted_nothing_is_counted() {
        let (_dir, own, key) = world();
        let reads = Reads::new(false);
        reads.note(&key, "a", given(0, 1), Micros(5)).unwrap();
        let before = own.log().unwrap().size().unwrap();
        reads.record(&own).unwrap();
        assert_eq!(own.log().unwrap().size().unwrap(), before);
    }
}
