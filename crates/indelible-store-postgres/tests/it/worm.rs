//! What the database refuses the writer role, and what verification says after a superuser did it.

use indelible::{Log, verify::Verdict};
use indelible_core::{FORMAT_VERSION, mac::LogId};
use indelible_store::{
    driver::Driver as _,
    store::{LogInfo, StoreError},
};
use indelible_store_postgres::PostgresDriver;
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/worm";
/// What PostgreSQL says to who lacks a right.
const NO_RIGHT: &str = "42501";

/// Every table of the schema, partitions with them, each with a column of it and one of its triggers.
fn tables(server: &TestServer) -> Vec<[String; 3]> {
    let sql = "select c.oid::regclass, min(a.attname), coalesce((select min(tgname) from pg_trigger t where t.tgrelid = c.oid and not tgisinternal), 'all')
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'indelible'::regnamespace and c.relkind in ('r', 'p') group by c.oid";
    let found = server.try_sql(DATABASE, sql).unwrap();
    let row = |line: &str| line.split('|').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    let tables: Vec<[String; 3]> = found.lines().map(row).collect();
    assert!(tables.len() > 15, "{found}");
    tables
}

/// A closed log of 40 events with a kept checkpoint.
fn filled(server: &TestServer) -> World {
    server.migrated(DATABASE);
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    for result in log.append_all(&(0..40).map(event).collect::<Vec<_>>()) {
        result.unwrap();
    }
    log.keep_checkpoint().unwrap();
    log.append_json(&event(40)).unwrap();
    log.close().unwrap();
    world
}

#[track_caller]
fn refused(server: &TestServer, user: &str, code: &str, sql: &str) {
    let told = server.try_sql_as(user, DATABASE, &format!("\\set VERBOSITY sqlstate\n{sql}")).expect_err(sql);
    assert!(told.contains(&format!("ERROR:  {code}")), "{sql}: {told}");
}

#[test]
fn the_writer_role_can_change_nothing() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let tables = tables(&server);
    for user in ["writer", "reader", "retention"] {
        for [table, column, trigger] in &tables {
            for sql in [
                format!("update {table} set {column} = {column}"),
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("truncate {table} cascade"),
                format!("insert into {table} default values"),
                format!("drop table {table} cascade"),
                format!("alter table {table} disable trigger all"),
                format!("alter table {table} disable trigger {trigger}"),
                format!("create rule swallow as on insert to {table} do instead nothing"),
                format!("alter table {table} owner to {user}"),
                format!(
                    "create trigger own before insert on {table} for each row execute function suppress_redundant_updates_trigger()"
                ),
                format!("set session_replication_role = replica; delete from {table}"),
            ] {
                refused(&server, user, NO_RIGHT, &sql);
            }
            if trigger != "all" {
                refused(&server, user, NO_RIGHT, &format!("drop trigger {trigger} on {table}"));
            }
        }
        for sql in [
            "insert into indelible.entries values (1, 41, 41, now(), '\\x00', decode(repeat('00', 32), 'hex'))",
            "copy indelible.entries from stdin",
            "merge into indelible.heads h using (select 1) s on true when matched then update set size = 0",
            "alter table indelible.entries detach partition indelible.entries_other",
            "create table indelible.more (x int)",
            "create or replace function indelible.refuse_change() returns trigger language plpgsql as 'begin return new; end'",
            "drop function indelible.append_commit cascade",
            "alter function indelible.append_begin(bigint) security invoker",
            "drop schema indelible cascade",
            "alter schema indelible rename to gone",
            "drop owned by indelible_owner",
            "reassign owned by indelible_owner to current_user",
            "set role indelible_owner",
            "grant indelible_owner to current_user",
            "select indelible.guard('indelible.entries', 'refuse_removal')",
        ] {
            refused(&server, user, NO_RIGHT, sql);
        }
        // For some this only warns; it grants nothing.
        let _ = server.try_sql_as(user, DATABASE, "grant all on indelible.entries to current_user");
    }
    assert_eq!(server.open("reader", DATABASE, settings()).check_guards().unwrap(), []);
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn calls_out_of_turn_fail() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let size: u64 = server.try_sql(DATABASE, "select size from indelible.heads").unwrap().parse().unwrap();
    let commit = |first: u64, count: usize, macs: usize| {
        let bytes = |count: usize| format!("array_fill(decode(repeat('00', 32), 'hex'), array[{count}])");
        format!(
            "select indelible.append_commit(1, {first}, {first}, 0, 100, decode(repeat('00', 32), 'hex'), null, {}, {}, {})",
            bytes(count),
            bytes(macs),
            format_args!("array_fill(null::bytea, array[{count}])")
        )
    };
    let size_and_one = size + 1;
    for (code, sql) in [
        ("IDT01", commit(0, 1, 1)),
        ("IDT01", commit(size - 1, 1, 1)),
        ("IDT01", commit(size_and_one, 1, 1)),
        ("IDT01", commit(size, 2, 1)),
        ("IDT01", commit(size, 0, 0)),
        ("IDN01", commit(size, 1, 1).replace("commit(1,", "commit(7,")),
        ("IDN01", "select indelible.append_begin(7)".to_owned()),
        ("IDT01", "begin isolation level serializable; select indelible.append_begin(1)".to_owned()),
        (
            "IDT01",
            format!(
                "select indelible.extend_tree(1, {size}, {size_and_one}, '{{0}}', '{{{size}}}', array[decode(repeat('00', 32), 'hex')])"
            ),
        ),
        ("IDE01", "select indelible.publish(1, 'x', null, 1)".to_owned()),
        ("IDE01", format!("select indelible.publish(1, 'x', {size_and_one}, null)")),
    ] {
        refused(&server, "writer", code, &sql);
    }
    // A second schema in front of ours changes nothing.
    server.try_sql(DATABASE, "create schema mine authorization writer").unwrap();
    let shadow = "create table mine.heads (log bigint, size bigint); create table mine.entries (log bigint);
        create function mine.cardinality(anyarray) returns int language sql as 'select 1';
        set search_path = mine, pg_catalog; ";
    refused(&server, "writer", "IDT01", &format!("{shadow}{}", commit(size_and_one, 1, 1)));
    // Readers cannot call any of them.
    refused(&server, "reader", NO_RIGHT, &commit(size, 1, 1));
    refused(&server, "reader", NO_RIGHT, "select indelible.append_begin(1)");
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn a_superuser_is_refused_too_until_the_guard_is_gone_and_then_verification_tells() {
    let Some(server) = start() else { return };
    for (sql, verdict) in [
        (
            "update indelible.entries set entry = convert_to(replace(convert_from(entry, 'UTF8'), 'mara', 'jane'), 'UTF8') where idx = 7",
            Verdict::Tampered,
        ),
        ("update indelible.entries set mac = sha256('x') where idx = 7", Verdict::Tampered),
        ("delete from indelible.entries where idx = 7", Verdict::Tampered),
        ("delete from indelible.entries where idx > 30", Verdict::Tampered),
        ("delete from indelible.entries where idx > 30; update indelible.heads set size = 31", Verdict::Tampered),
        (
            "insert into indelible.entries select log, idx, batch, recorded_at + interval '1 second', entry, mac from indelible.entries where idx = 7",
            Verdict::Tampered,
        ),
        (
            "insert into indelible.entries select log, 99, 99, recorded_at, entry, mac from indelible.entries where idx = 7",
            Verdict::Tampered,
        ),
        (
            "update indelible.entries set idx = idx + 1000000 where idx = 9; update indelible.entries set idx = 9 where idx = 8; update indelible.entries set idx = 8 where idx = 1000009",
            Verdict::Tampered,
        ),
        ("delete from indelible.ids where idx = 7", Verdict::Damaged),
        (
            "update indelible.tree_hashes set hashes = overlay(hashes placing sha256('x') from 1 for 32) where level = 0 and first = 0",
            Verdict::Damaged,
        ),
        (
            "insert into indelible.entries select log, idx, batch, 'infinity', entry, mac from indelible.entries where idx = 7",
            Verdict::Tampered,
        ),
        ("update indelible.heads set size = 60", Verdict::Damaged),
        ("update indelible.heads set last_leaf = sha256('x')", Verdict::Damaged),
        ("delete from indelible.checkpoints where number = 1", Verdict::Tampered),
    ] {
        let name = DATABASE;
        let world = filled(&server);
        for table in ["entries", "ids", "heads", "checkpoints", "tree_hashes"] {
            let told = server.try_sql(name, &format!("delete from indelible.{table}")).unwrap_err();
            assert!(told.contains("is refused"), "{told}");
            let told =
                server.try_sql(name, &format!("set session_replication_role = replica; delete from indelible.{table}"));
            assert!(told.unwrap_err().contains("is refused"));
            let told = server.try_sql(name, &format!("truncate indelible.{table} cascade")).unwrap_err();
            assert!(told.contains("is refused"), "{told}");
        }
        world.expect(&server, ORIGIN, Verdict::Intact);
        let tables: Vec<String> = server
            .try_sql(name, "select oid::regclass from pg_class where relnamespace = 'indelible'::regnamespace and relkind in ('r', 'p')")
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        let switch = |how: &str| -> String {
            tables.iter().map(|table| format!("alter table {table} {how} trigger user; ")).collect()
        };
        let always: String = tables
            .iter()
            .filter(|table| !["indelible.bounded", "indelible.search", "indelible.search_ends"].contains(&table.as_str()))
            .map(|table| format!("alter table {table} enable always trigger refuse_change; alter table {table} enable always trigger refuse_truncate; "))
            .collect();
        server.try_sql(name, &format!("{}{sql}; {always}", switch("disable"))).unwrap();
        assert_eq!(server.open("reader", name, settings()).check_guards().unwrap(), [], "{sql}");
        let report = world.verify(&server, ORIGIN);
        assert_eq!(report.status, verdict, "{sql}: {:#?}", report.findings);
        server.try_sql("postgres", &format!("drop database {name} with (force)")).unwrap();
    }
}

#[test]
fn entries_cut_off_behind_the_newest_checkpoint_are_told() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let driver = PostgresDriver::new(server.open("writer", DATABASE, settings()), None);
    let options = indelible::Options { keeper: Some(indelible::Keeper::manual()), ..options() };
    let log = Log::open_in(&driver, &world.keys, options).unwrap();
    let first = log.append_json(&event(900)).unwrap().index.0;
    log.append_json(&event(901)).unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
    let cut =
        format!("delete from indelible.entries where idx > {first}; delete from indelible.ids where idx > {first}");
    server.try_sql(DATABASE, &format!("alter table indelible.entries disable trigger user; alter table indelible.ids disable trigger user; {cut}")).unwrap();
    let report = world.verify(&server, ORIGIN);
    assert_eq!(report.status, Verdict::Tampered, "{:#?}", report.findings);
    let truncated =
        |f: &indelible::verify::Finding| f.kind == indelible::verify::Kind::Truncated && f.index == Some(first + 1);
    assert!(report.findings.iter().any(truncated), "{:#?}", report.findings);
}

#[test]
fn a_stolen_writer_login_cannot_spoil_an_attachment() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let driver = PostgresDriver::new(server.open("writer", DATABASE, settings()), None);
    let log = Log::open_in(&driver, &world.keys, options()).unwrap();
    let put = |digest: &str, part: u32| {
        let sql = format!("select indelible.put_attachment(1, decode('{digest}', 'hex'), {part}, 'garbage')");
        server.try_sql_as("writer", DATABASE, &sql).unwrap();
    };
    let digest = indelible_core::hex::encode(&log.put_attachment(b"a contract").unwrap());
    let event = format!(
        r#"{{"action":"contract.sign","actor":{{"id":"mara","type":"user"}},"attachments":[{{"digest":"sha256:{digest}","media_type":"text/plain","name":"contract","size":10}}]}}"#
    );
    log.append_json(event.as_bytes()).unwrap();
    put(&digest, 99);
    put(&digest, 0);
    // The content is the same, whoever puts it again.
    log.put_attachment(b"a contract").unwrap();
    log.checkpoint().unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
    // What was put before is told to whoever would name it.
    let known = server.try_sql(DATABASE, "select encode(sha256('another'), 'hex')").unwrap();
    put(&known, 0);
    let told = log.put_attachment(b"another").unwrap_err().to_string();
    assert!(told.contains("another content"), "{told}");
    log.close().unwrap();
}

#[test]
fn a_function_that_answers_nothing_acknowledges_nothing() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let driver = PostgresDriver::new(server.open("writer", DATABASE, settings()), None);
    let options = indelible::Options { keeper: Some(indelible::Keeper::manual()), ..options() };
    let log = Log::open_in(&driver, &world.keys, options).unwrap();
    let last = log.append_json(&event(50)).unwrap().index;
    // Called with a NULL, as a batch is that names no checkpoint, it does nothing now and says nothing.
    server.try_sql(DATABASE, "alter function indelible.append_commit strict").unwrap();
    let told = log.append_json(&event(51)).unwrap_err();
    assert!(indelible::error::chain(&told).contains("append_commit"), "{told:?}");
    assert_eq!(server.try_sql(DATABASE, "select max(idx) from indelible.entries").unwrap(), last.to_string());
}

#[test]
fn a_guard_that_is_gone_is_told_when_opening_and_comes_back_by_migrating() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let database = server.open("writer", DATABASE, settings());
    let driver = PostgresDriver::new(database.clone(), None);
    let month = server.try_sql(DATABASE, "select max(tableoid::regclass::text) from indelible.entries").unwrap();
    for sql in [
        "alter table indelible.entries disable trigger refuse_change".to_owned(),
        format!("alter table {month} disable trigger refuse_change"),
        format!("alter table {month} enable trigger refuse_truncate"),
        "drop trigger refuse_truncate on indelible.ids".to_owned(),
        "drop trigger refuse_change on indelible.heads".to_owned(),
        "create or replace function indelible.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as 'begin return new; end'".to_owned(),
        "alter function indelible.append_begin(bigint) reset search_path".to_owned(),
    ] {
        server.try_sql(DATABASE, &sql).unwrap();
        let told = driver.lease().err().expect(&sql).to_string();
        assert!(told.contains("indelible store migrate"), "{told}");
        assert!(Log::open_in(&driver, &world.keys, options()).is_err(), "{sql}");
        world.expect(&server, ORIGIN, Verdict::Damaged);
        server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
        assert_eq!(database.check_guards().unwrap(), [], "{sql}");
    }
    for (sql, undo) in [
        ("grant insert on indelible.entries to audit_writer", "revoke insert on indelible.entries from audit_writer"),
        ("alter role indelible_owner login", "alter role indelible_owner nologin"),
        ("alter table indelible.ids owner to postgres", "alter table indelible.ids owner to indelible_owner"),
        ("create rule swallow as on insert to indelible.ids do instead nothing", "drop rule swallow on indelible.ids"),
    ] {
        server.try_sql(DATABASE, sql).unwrap();
        assert!(driver.lease().is_err(), "{sql}");
        server.try_sql(DATABASE, undo).unwrap();
        assert_eq!(database.check_guards().unwrap(), [], "{undo}");
    }
    drop(driver.lease().unwrap());
}

#[test]
fn a_repair_writes_tree_and_ids_anew_and_leaves_the_guards_whole() {
    let Some(server) = start() else { return };
    let world = filled(&server);
    let unguarded = |table: &str, sql: &str| {
        let always = format!("alter table indelible.{table} enable always trigger refuse_change");
        server
            .try_sql(DATABASE, &format!("alter table indelible.{table} disable trigger refuse_change; {sql}; {always}"))
            .unwrap();
    };
    unguarded("ids", "delete from indelible.ids where idx between 7 and 9");
    unguarded("tree_hashes", "delete from indelible.tree_hashes where first > 0");
    world.expect(&server, ORIGIN, Verdict::Damaged);
    let driver = |user: &str| PostgresDriver::new(server.open(user, DATABASE, settings()), None);
    // Who may only write may not do this.
    assert!(indelible::manage::repair(&driver("writer"), &world.keys, &options()).is_err());
    world.expect(&server, ORIGIN, Verdict::Damaged);
    let mended = indelible::manage::repair(&driver("postgres"), &world.keys, &options()).unwrap();
    assert!(!mended.wrong.is_empty());
    assert_eq!(server.open("reader", DATABASE, settings()).check_guards().unwrap(), []);
    world.expect(&server, ORIGIN, Verdict::Intact);
    let log = Log::open_in(&driver("writer"), &world.keys, options()).unwrap();
    log.append_json(&event(50)).unwrap();
    log.close().unwrap();
    world.expect(&server, ORIGIN, Verdict::Intact);
}

#[test]
fn a_contradiction_at_no_entry_names_none() {
    let Some(server) = start() else { return };
    server.migrated(DATABASE);
    let database = server.open("writer", DATABASE, settings());
    let origin = "example.com/kept".to_owned();
    let driver = PostgresDriver::new(database, Some(origin.clone()));
    let writer = driver.create(&LogInfo { origin, log_id: LogId([7; 16]), format: FORMAT_VERSION }).unwrap();
    let error = writer.publish(b"a note", Some(7)).unwrap_err();
    assert!(matches!(error, StoreError::Contradiction { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("checkpoint 7 is not the next") && !text.contains("entry 0"), "{text}");
}
