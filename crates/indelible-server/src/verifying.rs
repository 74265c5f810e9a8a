//! Verification: one log at a time, as a job that whoever asked may wait for or come back to.
//!
//! Jobs are kept in memory, [`MAX_JOBS`] of them: where there are more, the oldest goes of the tenant that has the most, so that nobody pushes out another's report. A server that starts again knows none. A second wish to have the same log verified joins the job that runs.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use hyper::{StatusCode, header::LOCATION};
use indelible::{
    error::chain,
    verify::{Request, verify},
};
use indelible_core::{hex, time::Micros};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    answer::Answer,
    events::encoded,
    logs::Logs,
    problem::{Kind, Problem},
    request::Asked,
};

/// How many jobs are remembered: a report has at most a thousand findings, so some hundred kilobytes each at worst.
const MAX_JOBS: usize = 32;
/// How many run at a time. Each reads a log as fast as the disk gives it.
const MAX_RUNNING: usize = 1;

/// How many logs' last verdicts are remembered: some hundred bytes each.
const MAX_LAST: usize = 4096;

/// The jobs, and the last verdict on each log.
#[derive(Default)]
pub(crate) struct Verifications(Mutex<VecDeque<Arc<Job>>>, Mutex<BTreeMap<String, Last>>);

/// The last verdict on a log.
#[derive(Clone)]
pub(crate) struct Last {
    /// When.
    pub(crate) finished_at: Micros,
    status: String,
    tree_size: u64,
}

impl Last {
    /// Whether nothing was wrong.
    pub(crate) fn intact(&self) -> bool {
        self.status == "intact"
    }

    /// What is shown of it.
    pub(crate) fn to_json(&self) -> Value {
        let Self { finished_at, status, tree_size } = self;
        json!({ "finished_at": finished_at.to_string(), "status": status, "tree_size": tree_size })
    }
}

struct Job {
    /// Whose it is.
    tenant: String,
    id: String,
    log: String,
    read: AtomicU64,
    expected: AtomicU64,
    outcome: watch::Sender<Option<Value>>,
}

impl Job {
    fn to_json(&self) -> Value {
        let outcome = self.outcome.borrow().clone();
        let mut value = json!({
            "entries_expected": self.expected.load(Ordering::Relaxed),
            "entries_read": self.read.load(Ordering::Relaxed),
            "id": self.id,
            "log": self.log,
            "state": if outcome.is_some() { "done" } else { "running" },
        });
        if let (Some(Value::Object(outcome)), Some(value)) = (outcome, value.as_object_mut()) {
            value.extend(outcome);
        }
        value
    }

    fn is_running(&self) -> bool {
        self.outcome.borrow().is_none()
    }
}

impl Verifications {
    /// The job that verifies the log, and whether it is a new one, which whoever asked has to run.
    fn take(&self, log: &str, tenant: &str) -> Result<(Arc<Job>, bool), Problem> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = jobs.iter().find(|job| job.log == log && job.is_running()) {
            return Ok((Arc::clone(running), false));
        }
        if jobs.iter().filter(|job| job.is_running()).count() >= MAX_RUNNING {
            return Err(Problem::new(Kind::Busy, "another log is being verified").after(5));
        }
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| Problem::new(Kind::Internal, "this is not the fault of the request"))?;
        let job = Arc::new(Job {
            tenant: tenant.to_owned(),
            id: hex::encode(&id),
            log: log.to_owned(),
            read: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            outcome: watch::Sender::new(None),
        });
        jobs.push_back(Arc::clone(&job));
        if jobs.len() > MAX_JOBS {
            forget_one(&mut jobs);
        }
        Ok((job, true))
    }

    /// The last verdict on a log since the server was started.
    pub(crate) fn last(&self, log: &str) -> Option<Last> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).get(log).cloned()
    }

    /// Remembers a verdict. What came to none says nothing of the log, and the verdict before it grows old.
    fn finished(&self, log: &str, outcome: &Value, finished_at: Micros) {
        let Some(status) = outcome.pointer("/report/status").and_then(Value::as_str) else { return };
        let tree_size = outcome.pointer("/report/tree_size").and_then(Value::as_u64).unwrap_or_default();
        let mut last = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MAX_LAST && !last.contains_key(log) {
            let oldest = last.iter().min_by_key(|(_, last)| last.finished_at).map(|(log, _)| log.clone());
            oldest.and_then(|oldest| last.remove(&oldest));
        }
        last.insert(log.to_owned(), Last { finished_at, status: status.to_owned(), tree_size });
    }

    fn find(&self, log: &str, id: &str) -> Option<Arc<Job>> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().find(|job| job.log == log && job.id == id).cloned()
    }
}

/// Forgets the oldest job of the tenant that has the most.
fn forget_one(jobs: &mut VecDeque<Arc<Job>>) {
    let mut counts = BTreeMap::<&str, usize>::new();
    for job in jobs.iter() {
        *counts.entry(&job.tenant).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(tenant, _)| tenant);
    let oldest = jobs.iter().position(|job| Some(job.tenant.as_str()) == most);
    oldest.and_then(|at| jobs.remove(at));
}

/// Has a log verified, and waits for a while.
pub(crate) async fn begin(asked: Asked) -> Result<Answer, Problem> {
    let wait = Duration::from_secs(asked.number("wait", 10, 20)?);
    let (logs, log) = (Arc::clone(&asked.shared.logs), asked.log().to_owned());
    let name = log.clone();
    let known = tokio::task::spawn_blocking(move || logs.registered(&name));
    known.await.map_err(|_| Problem::lost())??;
    let (job, new) = asked.shared.verifications.take(&log, asked.key()?.line.tenant())?;
    let mut outcome = job.outcome.subscribe();
    if new {
        let (shared, job) = (Arc::clone(&asked.shared), Arc::clone(&job));
        tokio::task::spawn_blocking(move || {
            // A panic in it would leave a job that runs for ever.
            let run = std::panic::AssertUnwindSafe(|| outcome_of(&shared.logs, &job));
            let lost = |_| json!({ "error": "the verification panicked, which is a fault in this program" });
            let outcome = std::panic::catch_unwind(run).unwrap_or_else(lost);
            shared.verifications.finished(&job.log, &outcome, shared.identities.now());
            job.outcome.send_replace(Some(outcome));
        });
    }
    // The job outlives the wait.
    let done = tokio::time::timeout(wait, outcome.wait_for(Option::is_some)).await.is_ok();
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let place = format!("/v1/logs/{}/verifications/{}", encoded(&log), job.id);
    Ok(Answer::json(status, &job.to_json()).with(LOCATION, &place))
}

/// How far a job is.
pub(crate) fn show(asked: &Asked) -> Result<Answer, Problem> {
    let job = asked.shared.verifications.find(asked.log(), asked.captured.get("id"));
    let job = job.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such verification, or it was long ago"))?;
    Ok(Answer::json(StatusCode::OK, &job.to_json()))
}

fn outcome_of(logs: &Logs, job: &Job) -> Value {
    match run(logs, job) {
        Ok(report) => json!({ "report": report }),
        // No verdict: that says nothing about the log.
        Err(error) => json!({ "error": chain(&*error) }),
    }
}

fn run(logs: &Logs, job: &Job) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let registry = logs.registry()?;
    let known = registry.find(&job.log)?;
    let (options, ring) = (logs.options(), logs.ring());
    let reader = registry.log(&job.log).driver(options)?.reader_of_entry_zero()?;
    let heads = options.heads_for(&ring);
    let trusted = Request::of_ring(&ring, &job.log, options.clock.now())?;
    let progress = |read, expected| {
        job.read.store(read, Ordering::Relaxed);
        job.expected.store(expected, Ordering::Relaxed);
    };
    let request = Request {
        heads: Some(&*heads),
        head_required: true,
        checkpoint: known.frozen.map(|frozen| frozen.checkpoint.into_bytes()),
        progress: Some(&progress),
        // The other cores are for those who record.
        threads: 1,
        ..trusted
    };
    Ok(serde_json::to_value(verify(&*reader, &request)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_has_much_verified_pushes_out_no_report_of_anothers() {
        let jobs = Verifications::default();
        let run = |log: &str, tenant: &str| {
            let (job, is_new) = jobs.take(log, tenant).unwrap();
            assert!(is_new);
            job.outcome.send_replace(Some(json!({})));
            job.id.clone()
        };
        let mine = run("a", "quiet");
        let first = run("b", "busy");
        let ids: Vec<_> = (0..2 * MAX_JOBS).map(|_| run("b", "busy")).collect();
        assert!(jobs.find("a", &mine).is_some() && jobs.find("b", &first).is_none());
        assert!(jobs.find("b", ids.last().unwrap()).is_some(), "the newest of one's own is there");
        assert_eq!(jobs.0.lock().unwrap().len(), MAX_JOBS);
    }
}
