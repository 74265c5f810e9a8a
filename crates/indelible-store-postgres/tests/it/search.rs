//! The search rows: filled behind the appends, by several at once and over deaths, from whatever bytes are stored; and told where they are not
//! what the entries say.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use indelible::{Keeper, Log, Options, verify::Verdict};
use indelible_store_postgres::{Database, PostgresDriver, SearchCheck};

use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/search";
const URL: &str = "INDELIBLE_INDEXER_URL";
const STORES: &str = include_str!("../../../../docs/stores.md");

/// Events of which each has something of its own to be found by.
fn events() -> Vec<Vec<u8>> {
    [
        r#"{"action":"document.read","actor":{"id":"mara","type":"user"},"context":{"request_id":"r-1","source_ip":"192.0.2.7"},"kind":"data_access","outcome":"success","targets":[{"id":"doc-7","type":"document"},{"id":"folder-1","type":"folder"}]}"#,
        r#"{"action":"document.delete","actor":{"id":"jon","on_behalf_of":["lena",{"id":"bot-3","type":"service"}],"type":"user"},"outcome":"denied","severity":"warning","subjects":["p-1",{"id":"p-2","type":"person"}],"tags":["gdpr","export"],"targets":[{"id":"doc-7","type":"document"}],"tenant":"acme"}"#,
        r#"{"action":"auth.login","actor":{"id":"mara","type":"user"},"context":{"source_ip":"198.51.100.4"},"id":"login-1","occurred_at":"2026-01-31T08:00:00.25+02:00","outcome":"failure"}"#,
    ]
    .map(|event| event.as_bytes().to_vec())
    .to_vec()
}

/// A closed log of these events, with everything indexed.
fn filled(server: &TestServer) -> World {
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    log.append_all(&events()).into_iter().for_each(|result| drop(result.unwrap()));
    log.close().unwrap();
    world
}

fn index_all(server: &TestServer) {
    let end = server.open("writer", DATABASE, settings()).index(ORIGIN, &mut |_| {}).unwrap();
    assert!(end.indexed >= end.entries);
}

fn check(server: &TestServer) -> SearchCheck {
    server.open("reader", DATABASE, settings()).check_search(ORIGIN).unwrap()
}

#[track_caller]
fn expect_whole(server: &TestServer) -> u64 {
    let check = check(server);
    assert_eq!((&check.faults[..], check.more, check.checked), (&[][..], 0, check.entries));
    let rows =
        server.try_sql(DATABASE, "select count(*), count(distinct idx), max(idx) + 1 from indelible.search").unwrap();
    assert_eq!(rows, format!("{0}|{0}|{0}", check.entries));
    check.entries
}

#[test]
fn a_row_says_what_its_entry_says() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    // Closing has indexed what was there.
    assert_eq!(expect_whole(&server), 4);
    let row = |columns: &str, idx: u64| {
        server
            .try_sql_as(
                "reader",
                DATABASE,
                &format!("set timezone = 'UTC'; select {columns} from indelible.search where log = 1 and idx = {idx}"),
            )
            .unwrap()
    };
    assert_eq!(row("control, action, whole", 0), "log_created||t");
    assert_eq!(
        row(
            "control, action, kind, outcome, actor_type, actor_id, target_types, target_ids, source_ip, request_id, whole",
            1
        ),
        "|document.read|data_access|success|user|mara|{document,folder}|{doc-7,folder-1}|192.0.2.7|r-1|t"
    );
    assert_eq!(
        row("severity, tenant, on_behalf_of, subjects, tags, whole", 2),
        "warning|acme|{lena,bot-3}|{p-1,p-2}|{gdpr,export}|t"
    );
    assert_eq!(row("event_id, occurred_at, whole", 3), "login-1|2026-01-31 06:00:00.25+00|t");
    let same = "select bool_and(s.recorded_at = e.recorded_at) from indelible.search s join indelible.entries e using (log, idx)";
    assert_eq!(server.try_sql(DATABASE, same).unwrap(), "t");
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn a_log_that_stays_open_is_indexed_behind_its_appends() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    let reader = server.open("reader", DATABASE, settings());
    for round in 1..4 {
        log.append_json(&event(round)).unwrap();
        let begun = Instant::now();
        while reader.search_ends().unwrap()[0].indexed < 1 + round {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", reader.search_ends());
            thread::sleep(Duration::from_millis(10));
        }
    }
    expect_whole(&server);
    log.close().unwrap();
}

/// Does nothing in a normal run: the body of a child, which indexes until it is killed.
#[test]
fn the_child_of_the_indexers_test() {
    let Ok(url) = std::env::var(URL) else { return };
    let database = Database::new(&url, settings()).unwrap();
    loop {
        drop(database.index(ORIGIN, &mut |_| {}));
    }
}

#[test]
fn several_indexers_beside_writers_index_each_entry_once_and_survive_deaths() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["search::the_child_of_the_indexers_test", "--exact", "--nocapture", "--test-threads=1"])
            .env(URL, server.url("writer", DATABASE))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (done, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let run_for = crate::writers::seconds(5);
    let (killed, cut) = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let from = next.fetch_add(100, Ordering::SeqCst);
                    let events: Vec<Vec<u8>> = (from..from + 100).map(event).collect();
                    log.append_all(&events).into_iter().for_each(|result| drop(result.unwrap()));
                }
            });
        }
        scope.spawn(|| {
            let database = server.open("writer", DATABASE, settings());
            while !done.load(Ordering::Acquire) {
                drop(database.index(ORIGIN, &mut |_| {}));
            }
        });
        let begun = Instant::now();
        let (mut killed, mut cut) = (0, 0);
        let mut children = vec![spawn(), spawn()];
        while begun.elapsed() < run_for {
            thread::sleep(Duration::from_millis(300));
            // A server process that is in the middle of a piece, and now and then the whole indexer.
            let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%index_entries%' and state = 'active' and pid <> pg_backend_pid()";
            cut += server.try_sql(DATABASE, terminate).unwrap().parse::<u64>().unwrap();
            let mut child = children.remove(0);
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            children.push(spawn());
        }
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        done.store(true, Ordering::Release);
        (killed, cut)
    });
    log.close().unwrap();
    index_all(&server);
    let entries = expect_whole(&server);
    assert!(entries > next.into_inner(), "every event is there");
    println!(
        "{entries} entries indexed once each, {killed} indexers killed, {cut} connections cut in the middle of a piece"
    );
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn long_entries_that_the_database_cannot_parse_hold_nobody_up() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    let long = |n: u64| {
        let reason = (0..7_000).map(|at| format!("{:x} ", (at * 7919 + n) % 65_521)).collect::<String>();
        format!(r#"{{"action":"a.b","actor":{{"id":"x","type":"user"}},"reason":"\u0000{reason}"}}"#).into_bytes()
    };
    for result in log.append_all(&(0..64).map(long).collect::<Vec<_>>()) {
        result.unwrap();
    }
    log.close().unwrap();
    index_all(&server);
    assert_eq!(expect_whole(&server), 65);
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn rows_that_were_altered_removed_or_added_are_told_by_their_index_and_made_anew() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let rows = [
        (
            "update indelible.search set actor_id = 'jane', outcome = 'success' where idx = 2",
            Some(2),
            "was altered: actor_id, outcome",
        ),
        ("update indelible.search set target_ids = null where idx = 1", Some(1), "was altered: target_ids"),
        ("delete from indelible.search where idx = 3", Some(3), "entry 3 is missing"),
        (
            "insert into indelible.search (log, idx, recorded_at, whole) values (1, 9, now(), true)",
            Some(9),
            "belongs to no indexed entry",
        ),
        (
            "insert into indelible.search (log, idx, recorded_at, whole) values (1, -9, now(), true)",
            Some(-9),
            "belongs to no indexed entry",
        ),
        ("update indelible.search_ends set size = 40", None, "40 entries are said to be indexed, the log has 4"),
        ("truncate indelible.search", Some(0), "entry 0 is missing"),
        ("create rule swallow as on insert to indelible.search do instead nothing", None, "rule `swallow`"),
        ("alter table indelible.search enable row level security", None, "row-level security"),
        ("grant insert on indelible.search to audit_writer", None, "`audit_writer` may INSERT"),
    ];
    let as_made = "drop rule if exists swallow on indelible.search; alter table indelible.search disable row level security; revoke insert on indelible.search from audit_writer";
    for (sql, index, detail) in rows {
        server.try_sql(DATABASE, sql).unwrap();
        let found = check(&server);
        let first = found.faults.first().expect(sql);
        assert!(first.index == index && first.detail.contains(detail), "{sql}: {:?}", found.faults);
        let report = world.expect(&server, ORIGIN, Verdict::Damaged);
        assert!(report.findings.iter().any(|finding| finding.detail.contains(detail)), "{sql}: {:#?}", report.findings);
        let loose = world.verify_loosely(&server.open("reader", DATABASE, settings()), ORIGIN);
        // Only a strict verification looks at rows; rules, policies and rights are among the guards.
        let is_row = index.is_some() || sql.starts_with("update");
        assert_eq!(loose.status, if is_row { Verdict::Intact } else { Verdict::Damaged }, "{sql}");
        server.try_sql(DATABASE, as_made).unwrap();
        let driver = PostgresDriver::new(server.open("postgres", DATABASE, settings()), None);
        indelible::manage::repair(&driver, &world.keys, &options()).unwrap();
        expect_whole(&server);
        world.expect(&server, ORIGIN, Verdict::Intact);
    }
    // A function that makes other rows, and would find them right.
    server.try_sql(DATABASE, "create or replace function indelible.shortened(p_value text) returns text language plpgsql immutable set search_path = pg_catalog, pg_temp as 'begin return null; end'").unwrap();
    assert_eq!(check(&server).faults[0].detail, "function indelible.shortened(text): it has another text");
    world.expect(&server, ORIGIN, Verdict::Damaged);
    server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
    // Taken away altogether, it is told, hinders nothing, and comes back.
    server.try_sql(DATABASE, "drop table indelible.search cascade").unwrap();
    let report = world.expect(&server, ORIGIN, Verdict::Damaged);
    assert!(report.findings.iter().any(|finding| finding.detail.contains("indelible.search: it is missing")));
    server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
    server.open("postgres", DATABASE, settings()).clear_search(ORIGIN).unwrap();
    index_all(&server);
    expect_whole(&server);
    world.expect(&server, ORIGIN, Verdict::Intact);
}

/// Appends bytes as whoever has stolen a writer's password can: past every check of ours.
fn force(server: &TestServer, entry: &str) {
    let sql = format!(
        "select indelible.append_commit(1, h.size, h.size, h.recorded_us + 1, 100, h.last_leaf, null, array[{entry}], array[decode(repeat('00', 32), 'hex')], array[null]::bytea[]) from indelible.heads h where h.log = 1"
    );
    server.try_sql_as("writer", DATABASE, &sql).unwrap();
}

#[test]
fn hostile_entries_do_not_stop_the_indexer() {
    let Some(server) = start() else { return };
    drop(filled(&server));
    let utf8 = |text: &str| format!("convert_to({text}, 'UTF8')");
    let around = |more: &str| {
        format!(r#"{{"event":{{"action":"a.b","actor":{{"id":"mallory","type":"user"}},{more}}},"index":7}}"#)
    };
    // What is forced in, whether its row says all of it, and columns of that row.
    let rows = [
        (
            utf8(&format!("$e${}$e$", around(r#""reason":"x\u0000y","tags":["t\u0000","\\u0000"]"#))),
            false,
            "action, actor_id, tags",
            "a.b|mallory|{t?,\"\\\\u0000\"}",
        ),
        (
            utf8(&format!("$e${}$e$", around(r#""details":{"n":1e999999},"tags":["t"]"#))),
            false,
            "action, actor_id, tags",
            "a.b|mallory|{t}",
        ),
        (
            utf8(
                r#"$e${"event":{"action":"a.b","actor":{"attributes":1e999999,"id":"m","type":"user"},"targets":[{"id":"d","attributes":-1e-999999}]}}$e$"#,
            ),
            false,
            "action, actor_id, target_ids",
            "a.b|m|",
        ),
        (
            utf8("'{\"event\":{\"action\":\"a.b\",\"details\":' || repeat('[', 30000) || repeat(']', 30000) || '}}'"),
            false,
            "action, control",
            "|",
        ),
        (utf8("'{\"event\":{\"action\":\"' || repeat('a', 60000) || '\"}}'"), false, "octet_length(action)", "500"),
        (
            utf8("'{\"event\":{\"action\":\"a.b\",\"actor\":{\"id\":\"' || repeat('\u{1f600}', 15000) || '\"}}}'"),
            false,
            "length(actor_id)",
            "500",
        ),
        (
            utf8(
                "'{\"event\":{\"action\":\"a.b\",\"tags\":[\"' || repeat('é', 30000) || '\",\"t\"],\"targets\":[{\"id\":\"' || repeat('x', 2049) || '\"}]}}'",
            ),
            false,
            "length(tags[1]), tags[2], length(target_ids[1])",
            "500|t|500",
        ),
        // As long as an event's ids may be.
        (
            utf8(
                "'{\"event\":{\"action\":\"a.b\",\"actor\":{\"id\":\"' || (select string_agg(encode(sha512(n::text::bytea), 'hex'), '') from generate_series(1, 16) n) || '\"}}}'",
            ),
            true,
            "octet_length(actor_id)",
            "2048",
        ),
        (
            utf8(
                "'{\"event\":{\"action\":\"a.b\",\"tags\":[' || (select string_agg('\"t' || n || '\"', ',') from generate_series(1, 7000) n) || ']}}'",
            ),
            true,
            "cardinality(tags)",
            "7000",
        ),
        (
            utf8(
                r#"$e${"event":{"action":{"x":1},"actor":"mallory","context":[1],"subjects":{"id":"s"},"tags":"t","targets":{"id":["d"]}}}$e$"#,
            ),
            true,
            "action, actor_id, subjects, tags, target_ids",
            r#"{"x": 1}||{s}|{t}|{"[\"d\"]"}"#,
        ),
        (utf8(r#"$e${"event":{"action":"a.b","occurred_at":"now"}}$e$"#), false, "occurred_at", ""),
        (utf8(r#"$e${"event":{"action":"a.b","occurred_at":"infinity"}}$e$"#), false, "occurred_at", ""),
        (utf8(r#"$e${"event":{"action":"a.b","occurred_at":"2026-13-01T00:00:00Z"}}$e$"#), false, "occurred_at", ""),
        (utf8(r#"$e${"event":null}$e$"#), false, "action", ""),
        (utf8("'[1,2]'"), false, "action", ""),
        (utf8("'no JSON at all'"), false, "action", ""),
        ("'\\xfffe00'::bytea".to_owned(), false, "action", ""),
        ("''::bytea".to_owned(), false, "action", ""),
        (utf8(r#"$e${"control":{"type":"gap"}}$e$"#), true, "control, action", "gap|"),
    ];
    for (entry, ..) in &rows {
        force(&server, entry);
    }
    index_all(&server);
    for (idx, (entry, whole, columns, expected)) in (4..).zip(&rows) {
        let said = server
            .try_sql(DATABASE, &format!("select whole, {columns} from indelible.search where log = 1 and idx = {idx}"))
            .unwrap();
        let whole = if *whole { "t" } else { "f" };
        assert_eq!(said, format!("{whole}|{expected}"), "{idx}: {}", &entry.chars().take(100).collect::<String>());
    }
    expect_whole(&server);
    // Work for a piece is bounded, however much an entry holds.
    for _ in 0..80 {
        force(
            &server,
            &utf8(
                "'{\"event\":{\"action\":\"a.b\",\"tags\":[' || (select string_agg('\"' || md5(random()::text) || '\"', ',') from generate_series(1, 1800)) || ']}}'",
            ),
        );
    }
    let size = 4 + rows.len() + 80;
    let piece =
        server.try_sql_as("writer", DATABASE, "select o_end, o_size from indelible.index_entries(1, 1000)").unwrap();
    let (end, of) = piece.split_once('|').unwrap();
    assert!(of == size.to_string() && end.parse::<usize>().unwrap() < size, "{piece}");
    index_all(&server);
    expect_whole(&server);
    // An entry that somebody stored a second time under another time is indexed once, whichever comes first.
    server.try_sql(DATABASE, "insert into indelible.entries select log, idx, batch, recorded_at + interval '1 second', convert_to('{\"event\":{\"action\":\"twice\"}}', 'UTF8'), mac from indelible.entries where idx = 2").unwrap();
    server.open("postgres", DATABASE, settings()).clear_search(ORIGIN).unwrap();
    index_all(&server);
    assert_eq!(
        server.try_sql(DATABASE, "select action from indelible.search where idx = 2").unwrap(),
        "document.delete"
    );
    expect_whole(&server);
}

/// An entry that is nested so deep below `details`.
fn nested(levels: usize) -> Vec<u8> {
    format!(r#"{{"event":{{"action":"a.b","details":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels)).into_bytes()
}

#[test]
fn nobody_but_the_owner_writes_the_rows() {
    let Some(server) = start() else { return };
    drop(filled(&server));
    for user in ["writer", "reader", "retention"] {
        for sql in [
            "insert into indelible.search (log, idx, recorded_at, whole) values (1, 9, now(), true)",
            "update indelible.search set actor_id = 'jane'",
            "delete from indelible.search",
            "truncate indelible.search",
            "drop table indelible.search",
            "drop index indelible.search_actor",
            "update indelible.search_ends set size = 0",
            "delete from indelible.search_ends",
            "insert into indelible.search_ends values (2, 0)",
            "copy indelible.search from stdin",
            "create policy hide on indelible.search using (false)",
            "alter table indelible.search enable row level security",
            "create rule swallow as on insert to indelible.search do instead nothing",
        ] {
            let told = server.try_sql_as(user, DATABASE, sql).expect_err(sql);
            assert!(told.contains("ERROR"), "{user}: {sql}: {told}");
        }
        let told = server.open(user, DATABASE, settings()).clear_search(ORIGIN).unwrap_err();
        assert!(told.to_string().contains("permission denied"), "{user}: {told}");
    }
    // Settings of the caller's change nothing of what the rows say.
    force(
        &server,
        r#"convert_to($e${"event":{"action":"a.b","occurred_at":"2026-02-03T04:05:06.7+09:00","reason":"\u0000","tags":["\\u0000","null"]}}$e$, 'UTF8')"#,
    );
    force(&server, r#"convert_to($e${"event":{"action":"a.b","occurred_at":"2026-02-03T04:05:06x7Z"}}$e$, 'UTF8')"#);
    server.try_sql_as("writer", DATABASE, "set standard_conforming_strings = off; set backslash_quote = on; set datestyle = 'SQL, DMY'; set timezone = 'Asia/Tokyo'; set array_nulls = off; set bytea_output = 'escape'; set client_encoding = 'LATIN1'; set search_path = public; select indelible.index_entries(1, 10)").unwrap();
    assert_eq!(expect_whole(&server), 6);
    assert_eq!(
        server
            .try_sql(DATABASE, "set timezone = 'UTC'; select occurred_at, tags[1] from indelible.search where idx = 4")
            .unwrap(),
        "2026-02-02 19:05:06.7+00|\\u0000"
    );
    // Nor does a stack that the caller has used up, at whatever depth it is just enough.
    force(&server, &format!("convert_to($e${}$e$, 'UTF8')", std::str::from_utf8(&nested(50)).unwrap()));
    server
        .try_sql_as(
            "writer",
            DATABASE,
            "create function pg_temp.bare(n int) returns int language plpgsql as $$ begin if n = 0 then return 0; end if; return pg_temp.bare(n - 1); end $$;
            create function pg_temp.deep(n int) returns text language plpgsql as $$ begin if n = 0 then return indelible.index_entries(1, 10)::text; end if; return pg_temp.deep(n - 1); end $$;
            do $$ declare n int := 0; begin
                loop begin perform pg_temp.bare(n); n := n + 20; exception when statement_too_complex then exit; end; end loop;
                loop begin perform pg_temp.deep(n); exit; exception when statement_too_complex then n := n - 1; end; end loop;
            end $$",
        )
        .unwrap();
    assert_eq!(expect_whole(&server), 7);
    assert_eq!(server.try_sql(DATABASE, "select whole, action from indelible.search where idx = 6").unwrap(), "t|a.b");
    // The door itself lets nothing else in: the same piece again, a piece of nothing, a log that is none.
    server.try_sql_as("writer", DATABASE, "select indelible.index_entries(1, 2000000000), indelible.index_entries(1, -1), indelible.index_entries(1, null)").unwrap();
    assert!(
        server
            .try_sql_as("writer", DATABASE, "select indelible.index_entries(77, 1)")
            .unwrap_err()
            .contains("no log with number 77")
    );
    for user in ["reader", "retention"] {
        assert!(
            server
                .try_sql_as(user, DATABASE, "select indelible.index_entries(1, 1)")
                .unwrap_err()
                .contains("permission denied"),
            "{user}"
        );
    }
    assert_eq!(server.try_sql_as("reader", DATABASE, "select count(*) from indelible.search").unwrap(), "7");
    expect_whole(&server);
}

#[test]
fn a_schema_without_search_rows_is_brought_up_and_filled_from_the_beginning() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    // As schema 2 left it.
    let functions = server.try_sql(DATABASE, "select string_agg(format('drop function %s cascade', oid::regprocedure), '; ') from pg_proc where pronamespace = 'indelible'::regnamespace and proname in ('search_row', 'index_entries', 'check_index', 'nested_too_deep', 'readable_member', 'readable_entry', 'time_said', 'shortened', 'shortened_all', 'texts_at', 'prune', 'is_control', 'refuse_unpruned')").unwrap();
    server.try_sql(DATABASE, &format!("{functions}; drop table indelible.search, indelible.search_ends, indelible.pruned; alter table indelible.heads drop column keys; alter table indelible.schema_migrations disable trigger refuse_change; delete from indelible.schema_migrations where version > 2; alter table indelible.schema_migrations enable always trigger refuse_change")).unwrap();
    let told =
        Log::open_in(&PostgresDriver::new(server.open("writer", DATABASE, settings()), None), &world.keys, options())
            .err()
            .unwrap();
    assert!(told.to_string().contains("version 2") || format!("{told:?}").contains("version 2"), "{told:?}");
    let migrations = server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
    assert_eq!(
        migrations.migrations.iter().map(|migration| migration.applied_before).collect::<Vec<_>>(),
        [true, true, false, false, false]
    );
    assert_eq!((check(&server).checked, check(&server).entries), (0, 4));
    world.expect(&server, ORIGIN, Verdict::Intact);
    let ends = server.open("reader", DATABASE, settings()).search_ends().unwrap();
    assert_eq!((ends[0].log.as_str(), ends[0].indexed, ends[0].entries), (ORIGIN, 0, 4));
    // Whoever writes next takes it up.
    let log =
        Log::open_in(&PostgresDriver::new(server.open("writer", DATABASE, settings()), None), &world.keys, options())
            .unwrap();
    log.append_json(&event(1)).unwrap();
    log.close().unwrap();
    assert_eq!(expect_whole(&server), 5);
}

/// The statements of one section of docs/stores.md.
fn documented() -> Vec<&'static str> {
    let section = STORES.split("\n## Searching").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// About 500 bytes, as the common audit event.
fn long_event(n: u64) -> Vec<u8> {
    format!(
        r#"{{"action":"document.read","actor":{{"id":"mara-{n}","name":"Mara Lind","type":"user"}},"context":{{"request_id":"{n:032x}","source_ip":"192.0.2.{}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}},"details":{{"folder":"contracts/2026/renewals","n":{n},"pages":{}}},"outcome":"success","targets":[{{"id":"doc-{n}","name":"Renewal of the framework contract","type":"document"}}]}}"#,
        n % 250,
        n % 40
    )
    .into_bytes()
}

#[test]
fn the_documented_questions_are_answered_as_written() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), "example.com/audit");
    log.append_all(&events()).into_iter().for_each(|result| drop(result.unwrap()));
    log.close().unwrap();
    let statements = documented();
    let answers: Vec<Vec<u64>> = statements
        .iter()
        .map(|sql| {
            let rows = server.try_sql_as("reader", DATABASE, sql).unwrap();
            rows.lines().map(|line| line.split('|').next().unwrap().parse().unwrap()).collect()
        })
        .collect();
    assert_eq!(answers, [vec![1], vec![2, 1], vec![3], vec![]]);
    // Where there are many rows, an index of its columns answers, not a reading of all.
    server.try_sql(DATABASE, "insert into indelible.search (log, idx, recorded_at, whole, action, actor_id, source_ip, target_ids) select 1, n, now(), true, 'door.open', 'a' || n % 500, '10.0.0.' || n % 250, array['t' || n] from generate_series(100, 20000) n").unwrap();
    server.try_sql(DATABASE, "vacuum analyze indelible.search").unwrap();
    for sql in &statements[..3] {
        let plan = server.try_sql_as("reader", DATABASE, &format!("explain {sql}")).unwrap();
        assert!(plan.replace("search_pkey", "").contains(" search_"), "{plan}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Appends, and says how long it took.
fn append(log: &Log, from: u64, count: u64) -> Duration {
    let begun = Instant::now();
    for batch in (from..from + count).step_by(2000) {
        let events: Vec<Vec<u8>> = (batch..(batch + 2000).min(from + count)).map(long_event).collect();
        log.append_all(&events).into_iter().for_each(|result| drop(result.unwrap()));
    }
    begun.elapsed()
}

/// The same while another thread indexes.
fn append_beside(database: &Database, log: &Log, from: u64, count: u64) -> Duration {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                database.index(ORIGIN, &mut |_| {}).unwrap();
            }
        });
        let took = append(log, from, count);
        done.store(true, Ordering::Release);
        took
    })
}

#[test]
fn how_fast_it_is() {
    let Some(entries) = std::env::var("INDELIBLE_SPEED").ok().and_then(|text| text.parse::<u64>().ok()) else {
        println!("SKIPPED: speed is measured where INDELIBLE_SPEED says how many entries");
        return;
    };
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let world = World::new();
    let database = server.open("writer", DATABASE, settings());
    let driver = PostgresDriver::new(database.clone(), Some(ORIGIN.to_owned()));
    // Nothing is published here, so that nothing but the indexer differs; by turns, because a machine has other work as well.
    let options = Options { keeper: Some(Keeper::manual()), ..Options::default() };
    let log = Log::create_in(&driver, ORIGIN, &world.keys, options).unwrap();
    let (rounds, mut alone, mut beside) = (5, Duration::ZERO, Duration::ZERO);
    let part = entries / rounds / 2;
    for round in 0..rounds {
        alone += append(&log, 2 * round * part, part);
        beside += append_beside(&database, &log, (2 * round + 1) * part, part);
    }
    let (alone, beside) = (rate(rounds * part, alone), rate(rounds * part, beside));
    server.open("postgres", DATABASE, settings()).clear_search(ORIGIN).unwrap();
    server.try_sql(DATABASE, "vacuum full indelible.search").unwrap();
    let begun = Instant::now();
    let end = database.index(ORIGIN, &mut |_| {}).unwrap();
    let filled = rate(end.indexed, begun.elapsed());
    let begun = Instant::now();
    let found = database.check_search(ORIGIN).unwrap();
    assert_eq!(found.faults, []);
    let checked = rate(end.indexed, begun.elapsed());
    println!(
        "batches of 2000: {alone:.0}/s without an indexer, {beside:.0}/s beside one; {} entries: filling {filled:.0}/s, checking {checked:.0}/s",
        end.indexed
    );
    let sizes = "select c.relname, pg_size_pretty(pg_relation_size(c.oid)) from pg_class c where c.relnamespace = 'indelible'::regnamespace and c.relname like 'search%' order by pg_relation_size(c.oid) desc";
    println!("{}", server.try_sql(DATABASE, sizes).unwrap());
    println!("entries {}", server.try_sql(DATABASE, "select pg_size_pretty(sum(pg_total_relation_size(inhrelid))) from pg_inherits where inhparent = 'indelible.entries'::regclass").unwrap());
    log.close().unwrap();
}
