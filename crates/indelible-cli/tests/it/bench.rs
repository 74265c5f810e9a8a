//! The benchmark of databases: small ones, for what it prints and for what it leaves behind.

use indelible_test_postgres::{Options, TestServer};
use serde_json::Value;

use crate::world::World;

fn check(report: &Value, store: &str) {
    assert!(report["conditions"]["store"].as_str().unwrap().starts_with(store), "{report}");
    let rows = report["results"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["append_durable_batched", "verify", "append_durable_64"]);
    for row in rows {
        assert!(row["value"].as_f64().unwrap() > 0.0 && row["ceiling"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn sqlite_is_measured_beside_plain_inserts() {
    let world = World::empty();
    let dir = world.path("");
    let done = world.run(&["bench", "--store", "sqlite", "--events", "9000", "--dir", &dir, "--json"]).ok();
    check(&done.json(), "SQLite");
    assert!(
        std::fs::read_dir(&dir).unwrap().flatten().all(|entry| !entry.file_name().to_string_lossy().contains("bench"))
    );
    world.run(&["bench", "--store", "mysql"]).refused(2, &["give `sqlite`, `postgres` or a `postgres://…`"]);
}

#[test]
fn a_server_that_is_named_is_left_without_the_benchmarks_database() {
    let Some(server) = TestServer::start(Options::new().with_fsync()) else { return };
    let world = World::empty();
    let url = server.url("postgres", "postgres");
    let done = world.run(&["bench", "--store", &url, "--events", "9000", "--dir", &world.path(""), "--json"]).ok();
    check(&done.json(), "PostgreSQL");
    let databases = server.sql("select count(*) from pg_database where datname like 'indelible_bench%'");
    assert_eq!(databases.trim(), "0");
}
