//! Values of every kind are kept exactly, keys of every kind are gone through.

use indelible_import_sql::{Settings, Stop};
use indelible_test_postgres::{Options, TestServer};
use rusqlite::Connection;
use serde_json::json;

use crate::world::World;

#[test]
fn values_of_postgresql_are_kept_exactly() {
    let Some(server) = TestServer::start(Options::default()) else { return };
    server.sql(
        "CREATE SCHEMA old; CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN score AS int;
         CREATE TABLE old.\"Audit\" (id bigint PRIMARY KEY, action varchar(20), who text, at timestamptz, local timestamp,
            ip inet, net cidr, n numeric(10,2), f float8, r real, b bytea, j jsonb, raw json, ok boolean, tags text[], m mood,
            s score, uuid uuid, span interval, code char(5), doubled int GENERATED ALWAYS AS (2) STORED);
         INSERT INTO old.\"Audit\" VALUES (9223372036854775807, 'a', 'é', '2023-01-27 18:28:08.129781+02', '2023-01-27 18:28:08',
            '10.0.0.1', '10.0.0.0/8', 1.10, 'NaN', 0.1, '\\x00ff', '{\"b\": 1}', '{\"b\":1.0, \"b\":2}', true, '{x,y}', 'glad', 7,
            'a1b86d5d-6f8f-4058-9710-19f5cc40a68a', '1 day 2 hours', 'ab');
         INSERT INTO old.\"Audit\" (id, action, who, at) VALUES (9, 'b', 'x', 'infinity'), (10, 'c', 'y', NULL);",
    );
    let world = World::new();
    let url = server.url("postgres", "postgres");
    let (summary, report, told) = world.import(&url, "old.Audit", None, Settings::default(), &Stop::default());
    assert_eq!((summary.recorded, summary.rejected), (2, 1), "{summary:?}");
    assert_eq!(told.0[0].0, json!({ "id": 9 }));
    assert!(told.0[0].1.contains("infinity"), "{:?}", told.0);
    let report = report.unwrap().unwrap();
    assert_eq!((report.rows, report.entries, report.missing.count, report.equal), (3, 2, 1, false));
    // 9 comes before 10, and the largest of all last.
    assert_eq!(world.event(1)["details"]["source"]["key"], json!({ "id": 10 }));
    let event = world.event(2);
    let expected = json!({
        "id": "9223372036854775807", "action": "a", "who": "é", "at": "2023-01-27T16:28:08.129781Z",
        "local": "2023-01-27T18:28:08", "ip": "10.0.0.1", "net": "10.0.0.0/8", "n": "1.10", "f": "NaN", "r": 0.1,
        "b": { "base64": "AP8=" }, "j": "{\"b\": 1}", "raw": "{\"b\":1.0, \"b\":2}", "ok": true, "tags": "{x,y}",
        "m": "glad", "s": 7, "uuid": "a1b86d5d-6f8f-4058-9710-19f5cc40a68a", "span": "P1DT2H", "code": "ab", "doubled": 2,
    });
    assert_eq!(event["details"]["row"], expected);
    assert_eq!(event["details"]["source"]["key"], json!({ "id": { "integer": "9223372036854775807" } }));
    assert_eq!(event["details"]["source"]["table"], "old.Audit");
    assert_eq!(event["context"]["source_ip"], "10.0.0.1");
    let (again, _, _) = world.import(&url, "old.Audit", None, Settings::default(), &Stop::default());
    assert_eq!((again.recorded, again.rows), (0, 0), "{again:?}");
}

#[test]
fn keys_of_several_columns_and_kinds_are_gone_through() {
    let Some(server) = TestServer::start(Options::default()) else { return };
    server.sql(
        "CREATE TABLE t (day timestamptz, part bytea, word text, action text, who text, PRIMARY KEY (day, part, word));
         INSERT INTO t SELECT '2026-01-01'::timestamptz + n / 50 * interval '1 s', decode(lpad(to_hex(n % 5), 2, '0'), 'hex'),
            n::text, 'a', 'b' FROM generate_series(1, 2345) n;",
    );
    let world = World::new();
    let url = server.url("postgres", "postgres");
    let (summary, report, _) = world.import(&url, "t", None, Settings::default(), &Stop::default());
    assert_eq!((summary.recorded, report.unwrap().unwrap().equal), (2345, true), "{summary:?}");
    server.sql("INSERT INTO t VALUES ('2027-01-01', '', 'last', 'a', 'b'), ('2025-01-01', '', 'late', 'a', 'b')");
    let (summary, report, _) = world.import(&url, "t", None, Settings::default(), &Stop::default());
    assert_eq!((summary.rows, summary.recorded, summary.late, summary.duplicates), (1, 2, 1, 0), "{summary:?}");
    assert!(report.unwrap().unwrap().equal);
    server.sql("DELETE FROM t WHERE word = '17'; UPDATE t SET who = 'c' WHERE word = '18'");
    let report = world.compare(&url, "t");
    assert_eq!((report.gone.count, report.changed.count, report.missing.count), (1, 1, 0));
    assert_eq!(report.gone.named[0].key["word"], "17");
    assert_eq!(report.changed.named[0].key["word"], "18");
    assert_eq!(report.changed.named[0].key["part"], json!({ "base64": "Aw==" }));
}

#[test]
fn values_of_sqlite_are_kept_exactly_and_large_rows_as_attachments() {
    let world = World::new();
    let file = world.dir.path().join("old.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(
        "CREATE TABLE \"od\"\"d\" (id INTEGER, action TEXT, who TEXT, x, UNIQUE (id));
         CREATE UNIQUE INDEX i ON \"od\"\"d\" (action);
         INSERT INTO \"od\"\"d\" VALUES (1, 'int', 'u', 9007199254740993), (2, 'real', 'u', 0.5), (3, 'blob', 'u', x'00ff'),
            (4, 'text', 'u', 'é'), (5, 'broken', 'u', CAST(x'ff' AS TEXT)), (6, 'null', 'u', NULL),
            (7, 'large', 'u', printf('%.*c', 100000, 'x')), (8, 'inf', 'u', 9e999);",
    )
    .unwrap();
    let place = format!("sqlite:{}", file.display());
    let mapping = r#"{"format":"sql","key":["id"],"event":{"action":"{action}","actor.id":"{who}"}}"#;
    let (summary, report, _) = world.import(&place, "od\"d", Some(mapping), Settings::default(), &Stop::default());
    assert_eq!((summary.recorded, report.unwrap().unwrap().equal), (8, true), "{summary:?}");
    let x = |index| world.event(index)["details"]["row"]["x"].clone();
    assert_eq!((x(1), x(2), x(3)), (json!("9007199254740993"), json!(0.5), json!({ "base64": "AP8=" })));
    assert_eq!((x(4), x(6), x(8)), (json!("é"), json!(null), json!("inf")));
    assert_eq!(x(5), json!({ "text_that_is_not_utf8_base64": "/w==" }));
    let large = world.event(7);
    let digest = large["details"]["row_attachment"].as_str().unwrap();
    assert_eq!(large["attachments"][0]["digest"], digest);
    let bytes = indelible_core::hex::decode(digest.strip_prefix("sha256:").unwrap().as_bytes()).unwrap();
    let row = world.log.store().attachment(&bytes).unwrap().unwrap();
    let row: serde_json::Value = serde_json::from_slice(&row).unwrap();
    assert_eq!(row["x"].as_str().unwrap().len(), 100_000);
    old.execute("UPDATE \"od\"\"d\" SET x = 'y' WHERE id = 7", []).unwrap();
    let (summary, report, told) = world.import(&place, "od\"d", Some(mapping), Settings::default(), &Stop::default());
    assert_eq!((summary.recorded, report.unwrap().unwrap().changed.count, told.0.len()), (0, 1, 0));
}
