//! How a log is, as somebody sees it who watches the server.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indelible::{
    Options,
    clock::{Clock as _, SystemClock},
};
use indelible_core::time::Micros;
use indelible_keys::Purpose;
use indelible_store::disk::{Disk, DiskFile, Lease, Meta, Open, OsDisk, Protection};
use serde_json::{Value, json};

use crate::world::{LOG, World, config, event, events_of, segment};

fn health(world: &World, token: &str) -> Value {
    let path = format!("/v1/logs/{}/health", segment(LOG));
    world.client().ask("GET", &path, Some(token), None).status(200).json()
}

/// The value of a gauge.
fn gauge(metrics: &str, name: &str, log: &str) -> Option<u64> {
    let head = format!("{name}{{log=\"{log}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&head)).map(|value| value.parse().unwrap())
}

#[test]
fn what_is_signed_and_what_is_not_is_told_and_a_proof_makes_it_signed() {
    // Nothing is signed by itself while this test runs.
    let never = Options { publish_every: Duration::from_secs(3600), ..Options::default() };
    let world = World::with(config(), never);
    world.create(LOG);
    let (_, writer) = world.key("writer", &[LOG]);
    let before = health(&world, &writer);
    assert_eq!((&before["size"], &before["checkpoint"]["size"]), (&json!(1), &json!(1)));
    assert_eq!(before["exposed"], json!({ "entries": 0, "seconds": 0, "since": null }));
    world.record(LOG, 5);
    let exposed = health(&world, &writer);
    assert_eq!((&exposed["size"], &exposed["checkpoint"]["size"]), (&json!(6), &json!(1)));
    assert_eq!(exposed["exposed"]["entries"], 5);
    let first = world.ask("GET", &format!("/v1/logs/{}/entries/1", segment(LOG)), None).json();
    assert_eq!(exposed["exposed"]["since"], first["entry"]["recorded_at"]);
    let metrics = world.ask("GET", "/metrics", None).text();
    assert_eq!(gauge(&metrics, "indelible_log_exposed_entries", LOG), Some(5), "{metrics}");
    assert!(gauge(&metrics, "indelible_log_exposed_seconds", LOG).is_some());
    world.ask("GET", &format!("/v1/logs/{}/entries/5/proof", segment(LOG)), None).status(200);
    let signed = health(&world, &writer);
    assert_eq!((&signed["checkpoint"]["size"], &signed["exposed"]["entries"]), (&json!(6), &json!(0)));
    assert!(signed["checkpoint"]["age_seconds"].as_u64().unwrap() < 600, "{signed}");
    let metrics = world.ask("GET", "/metrics", None).text();
    for (name, value) in [
        ("indelible_log_entries", 6),
        ("indelible_log_checkpoint_entries", 6),
        ("indelible_log_exposed_entries", 0),
        ("indelible_log_exposed_seconds", 0),
        ("indelible_log_setbacks", 0),
        ("indelible_log_locked", 0),
    ] {
        assert_eq!(gauge(&metrics, name, LOG), Some(value), "{name}: {metrics}");
    }
}

#[test]
fn the_last_verdict_is_told_and_another_takes_its_place() {
    let mut world = World::with_log();
    world.record(LOG, 3);
    assert_eq!(health(&world, &world.admin)["verification"], Value::Null);
    let metrics = world.ask("GET", "/metrics", None).text();
    assert_eq!(gauge(&metrics, "indelible_log_verified_intact", LOG), None);
    let verify = format!("/v1/logs/{}/verify?wait=20", segment(LOG));
    let report = world.ask("POST", &verify, None).status(200).json()["report"].clone();
    let last = health(&world, &world.admin)["verification"].clone();
    assert_eq!((&last["status"], &last["tree_size"]), (&json!("intact"), &report["tree_size"]));
    assert!(Micros::parse(last["finished_at"].as_str().unwrap()).is_some());
    let metrics = world.ask("GET", "/metrics", None).text();
    assert_eq!(gauge(&metrics, "indelible_log_verified_intact", LOG), Some(1));
    world.stop();
    let segments = world.at("root/logs/t.example%2Fa/segments");
    let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    std::fs::write(&segment, text.replacen("\"ada\"", "\"eve\"", 1)).unwrap();
    world.start();
    assert_eq!(health(&world, &world.admin)["verification"], Value::Null, "a server that was started knows none");
    world.ask("POST", &verify, None).status(200);
    assert_eq!(health(&world, &world.admin)["verification"]["status"], "tampered");
    let metrics = world.ask("GET", "/metrics", None).text();
    assert_eq!(gauge(&metrics, "indelible_log_verified_intact", LOG), Some(0));
}

#[test]
fn keys_have_an_age_and_one_that_waits_to_be_taken_up_shows() {
    let world = World::with_log();
    let keys = health(&world, &world.admin)["keys"].clone();
    let purposes: Vec<&str> = keys.as_array().unwrap().iter().map(|key| key["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["entry_signing", "checkpoint_signing"]);
    for key in keys.as_array().unwrap() {
        assert_eq!((&key["state"], &key["overdue"]), (&json!("active"), &json!(false)), "{key}");
        assert!(key["age_seconds"].as_u64().unwrap() < 600 && key["due_at"].is_string(), "{key}");
    }
    world.ring().rotate_each(&[Purpose::EntrySigning], SystemClock::default().now()).unwrap();
    let state = health(&world, &world.admin)["keys"][0].clone();
    // The log goes on under the old key until its next checkpoint.
    assert_eq!((&state["id"], &state["state"]), (&keys[0]["id"], &json!("verify_only")));
}

#[test]
fn gauges_are_of_the_logs_that_the_key_is_for_and_no_more_than_may_be() {
    let mut few = config();
    few.limits.metrics_logs = 2;
    let world = World::with(few, Options::default());
    for log in ["t.example/a", "t.example/b", "t.example/c", "u.example/a"] {
        world.create(log);
        world.ask("POST", &events_of(log), Some(&event("x"))).status(201);
    }
    let (_, auditor) = world.key("auditor", &["u.example/*"]);
    let logs = |token: &str| -> Vec<String> {
        let metrics = world.client().ask("GET", "/metrics", Some(token), None).status(200).text();
        let rows =
            metrics.lines().filter_map(|line| line.strip_prefix("indelible_log_entries{log=\"")?.split('"').next());
        rows.map(str::to_owned).collect()
    };
    assert_eq!(logs(&auditor), ["u.example/a"], "no names of other logs");
    assert_eq!(logs(&world.admin), ["t.example/_server", "t.example/a"]);
}

/// A disk on which no checkpoint can be published, while it is told to fail.
struct NoCheckpoints(Arc<AtomicBool>);

impl Disk for NoCheckpoints {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        OsDisk.open(path, how)
    }
    fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        OsDisk.meta(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let meant = to.to_string_lossy().contains("%2Fa") && to.file_name().is_some_and(|name| name == "checkpoint");
        if meant && self.0.load(Ordering::SeqCst) {
            return Err(io::Error::other("no room in the drawer"));
        }
        OsDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lease(&self, path: &Path) -> io::Result<Option<Box<dyn Lease>>> {
        OsDisk.lease(path)
    }
    fn protect(&self, path: &Path, immutable: bool) -> io::Result<Protection> {
        OsDisk.protect(path, immutable)
    }
    fn unprotect(&self, path: &Path) -> io::Result<()> {
        OsDisk.unprotect(path)
    }
}

#[test]
fn a_keeper_that_cannot_publish_is_told_and_why_only_to_the_operator() {
    let failing = Arc::new(AtomicBool::new(false));
    let disk = Arc::new(NoCheckpoints(Arc::clone(&failing)));
    let options = Options { disk, publish_every: Duration::from_millis(20), ..Options::default() };
    let world = World::with(config(), options);
    world.create(LOG);
    failing.store(true, Ordering::SeqCst);
    world.ask("POST", &events_of(LOG), Some(&event("x"))).status(201);
    let found =
        (0..100_000).map(|_| health(&world, &world.admin)).find(|health| health["setbacks"]["checkpoint"] == true);
    let told = found.expect("a setback");
    assert!(!told.to_string().contains("drawer"), "{told}");
    let metrics = world.ask("GET", "/metrics", None).text();
    assert_eq!(gauge(&metrics, "indelible_log_setbacks", LOG), Some(1));
    let lines = world.told.lock().unwrap().iter().filter(|line| line.contains("drawer")).count();
    assert_eq!(lines, 1, "{:?}", world.told.lock().unwrap());
}
