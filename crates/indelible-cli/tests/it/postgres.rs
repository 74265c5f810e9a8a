//! A log in PostgreSQL, from the command line, on a real server.

use indelible_test_postgres::{Options, TestServer};

use crate::world::World;

/// A server with a migrated database, and logins for what there is to do.
struct Base {
    server: TestServer,
    world: World,
}

impl Base {
    fn new() -> Option<Self> {
        let server = TestServer::start(Options::new())?;
        server.sql("create database audit");
        let base = Self { server, world: World::empty() };
        let owner = base.url("postgres");
        let planned = base.world.run(&["store", "migrate", &owner, "--dry-run"]).ok();
        assert!(planned.out.contains("to do") && planned.out.contains("nothing was changed"), "{}", planned.out);
        base.world.run(&["store", "migrate", &owner]).ok();
        assert!(base.world.run(&["store", "migrate", &owner]).ok().out.contains("there"));
        base.server.sql("create role writer login; create role app login; create role relay login");
        for (role, login) in [("writer", "writer"), ("source", "app"), ("relay", "relay")] {
            base.world.run(&["store", "grant", role, login, "--apply", &owner]).ok();
        }
        Some(base)
    }

    fn url(&self, role: &str) -> String {
        self.server.url(role, "audit")
    }
}

#[test]
fn a_log_in_postgres_is_used_like_any_other() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let log = format!("{}#test.example/audit", base.url("writer"));
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).refused(1, &["exists already"]);
    world.feed(&["append", "--log", &log], world.samples(200)).ok();
    assert!(world.run(&["verify", "--strict", "--log", &log]).ok().out.contains("201 entries"));
    world.run(&["prove", "7", "-o", &world.path("proof.json"), "--log", &log]).ok();
    assert_eq!(world.run(&["log", "info", "--log", &log, "--json"]).ok().json()["entries"].as_u64(), Some(201));
    // There and back, byte for byte.
    let (there, back) = (world.path("there"), format!("{}#test.example/audit", base.url("writer")));
    world.run(&["copy", "--from", &log, "--to", &there]).ok();
    world.run(&["verify", "--strict", "--log", &there]).ok();
    assert!(world.run(&["copy", "--from", &there, "--to", &back]).ok().out.contains("0 of 201 entries"));
    base.server.sql_in("audit", "alter table indelible.entries disable trigger refuse_change; update indelible.entries set entry = set_byte(entry, 30, get_byte(entry, 30) # 1) where idx = 9; alter table indelible.entries enable always trigger refuse_change");
    let told = world.run(&["verify", "--log", &log, "--json"]).code(10).json();
    assert_eq!(told["findings"][0]["index"].as_u64(), Some(9), "{told}");
}

#[test]
fn a_log_that_was_deleted_is_told_by_the_head_store() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let log = format!("{}#test.example/audit", base.url("writer"));
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    world.feed(&["append", "--log", &log], world.samples(3)).ok();
    let deleted = || {
        world
            .run(&["verify", "--log", &log])
            .refused(10, &["knows `test.example/audit` with 4 entries", "was deleted"]);
        // Where no name is given, none can be missed.
        world.run(&["verify", "--log", &base.url("writer")]).refused(1, &["is no log"]);
    };
    base.server.sql_in("audit", "drop schema indelible cascade");
    deleted();
    world.run(&["store", "migrate", &base.url("postgres")]).ok();
    deleted();
    let owner = base.url("postgres");
    let succeed = ["log", "succeed", &owner, "--origin", "test.example/next", "--lost"];
    world.run(&[&succeed[..], &["test.example/audit"]].concat()).ok();
    let next = format!("{}#test.example/next", base.url("postgres"));
    world.run(&["verify", "--log", &next]).ok();
    base.server.sql("drop database audit with (force)");
    deleted();
    // A server that does not answer says nothing of a log.
    let silent = log.replace(&format!(":{}/", base.server.port()), ":1/");
    assert_ne!(silent, log);
    world.run(&["verify", "--log", &silent]).code(1);
}

#[test]
fn a_grant_before_its_time_says_what_to_do_first() {
    let Some(server) = TestServer::start(Options::new()) else { return };
    server.sql("create database audit");
    server.sql("create role app login");
    let (world, owner) = (World::empty(), server.url("postgres", "audit"));
    let grant = |login: &str| world.run(&["store", "grant", "writer", login, "--apply", &owner]);
    grant("app").refused(1, &["no role `audit_writer`", "indelible store migrate"]);
    world.run(&["store", "migrate", &owner]).ok();
    grant("nobody").refused(1, &["no role `nobody`", "create role \"nobody\" login"]);
    grant("app").ok();
}

#[test]
fn rows_whose_columns_contradict_their_entries_are_told() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let log = format!("{}#test.example/audit", base.url("writer"));
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    world.feed(&["append", "--log", &log], world.samples(10)).ok();
    let edit = |sql: &str| {
        base.server.sql_in("audit", &format!("begin; alter table indelible.entries disable trigger refuse_change; {sql}; alter table indelible.entries enable always trigger refuse_change; commit"))
    };
    edit("update indelible.entries set recorded_at = recorded_at - interval '3 years' where idx = 4");
    let told = world.run(&["verify", "--log", &log, "--json"]).code(10).json();
    assert_eq!(told["findings"][0]["index"].as_u64(), Some(4), "{told}");
    edit("update indelible.entries set recorded_at = recorded_at + interval '3 years' where idx = 4");
    world.run(&["verify", "--strict", "--log", &log]).ok();
    // Two rows made into one.
    edit(
        "update indelible.entries a set entry = a.entry || convert_to(format(',\"mac\":\"%s\"}' || e'\\n' || '{\"batch\":%s,\"entry\":', encode(a.mac, 'hex'), b.batch), 'UTF8') || b.entry, mac = b.mac from indelible.entries b where a.idx = 5 and b.idx = 6; delete from indelible.entries where idx = 6",
    );
    world.run(&["verify", "--log", &log]).code(10);
}

#[test]
fn nobody_lends_the_owners_rights_to_code_of_his_own() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    // A type whose cast to json runs the application's code, when a trigger makes a row into json.
    base.server.sql_in("audit", "create schema app authorization app; set session authorization app; create type app.e as enum ('a'); create table app.seen (who text); create function app.steal(app.e) returns json language plpgsql as $$ begin insert into app.seen values (current_user); return '1'; end $$; create cast (app.e as json) with function app.steal(app.e); create table app.t (id int primary key, v app.e)");
    let app = format!("{}#test.example/audit", base.url("app"));
    world.run(&["store", "triggers", "install", &app, "app.t"]).ok();
    base.server.sql_in("audit", "set session authorization app; insert into app.t values (1, 'a')");
    assert_eq!(base.server.sql_in("audit", "select distinct who from app.seen").trim(), "app");
    base.server.sql_in("audit", "set session authorization app; truncate app.t");
    // An operator of somebody's own between types that ours are compared by.
    base.server.sql_in("audit", "create role mallory login; grant create on schema public to mallory; set session authorization mallory; create table public.seen (who text); create function public.eq(oid, regclass) returns boolean language plpgsql as $$ begin insert into public.seen values (current_user); return true; end $$; create operator public.= (leftarg = oid, rightarg = regclass, function = public.eq)");
    world.run(&["store", "migrate", &base.url("postgres")]).ok();
    let log = format!("{}#test.example/audit", base.url("writer"));
    world.feed(&["append", "--log", &log], world.samples(3)).ok();
    world.run(&["verify", "--strict", "--log", &log]).ok();
    world.run(&["store", "check", &base.url("writer")]);
    assert_eq!(base.server.sql_in("audit", "select count(*) from public.seen").trim(), "0");
}

#[test]
fn a_directory_moves_into_postgres_and_goes_on_there() {
    let Some(base) = Base::new() else { return };
    let world = World::with_samples(300);
    let to = format!("{}#test.example/audit", base.url("writer"));
    world.run(&["copy", "--from", &world.path("log"), "--to", &to]).ok();
    world.feed(&["append", "--log", &to], world.samples(20)).ok();
    world.run(&["verify", "--strict", "--log", &to]).ok();
    world.feed(&["append"], world.samples(1)).refused(1, &["rolled back"]);
}

#[test]
fn many_logs_in_one_database_and_one_that_vanishes() {
    let Some(base) = Base::new() else { return };
    let root = base.url("writer");
    let logs = |more: &[&str]| base.world.run(&[&["logs", "--root", root.as_str()], more].concat());
    logs(&["init", "--origin", "test.example/registry"]).ok();
    for origin in ["test.example/a", "test.example/b"] {
        logs(&["create", origin]).ok();
    }
    logs(&["verify"]).ok();
    let listed = logs(&["list", "--json"]).ok().json();
    assert_eq!((listed[1]["origin"].as_str(), listed[1]["entries"].as_u64()), (Some("test.example/b"), Some(1)));
    base.server.sql_in("audit", "set session_replication_role = replica; do $$ declare t text; begin foreach t in array array['logs','heads','trees','published','entries','checkpoints','tree_hashes'] loop execute format('alter table indelible.%I disable trigger all', t); execute format('delete from indelible.%I where %I = (select number from indelible.logs where origin = ''test.example/a'')', t, case t when 'logs' then 'number' else 'log' end); end loop; end $$") ;
    let missing = logs(&["list", "--json"]);
    // With the row of the log itself gone first, its other rows are left: either way it is no longer there.
    assert_eq!(missing.code(10).json()[0]["state"].as_str(), Some("missing"));
}

#[test]
fn an_application_records_in_its_own_transaction_by_psql() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    base.server.sql_in("audit", "create table accounts (id int primary key, balance int); alter table accounts owner to app; insert into accounts select n, 0 from generate_series(1, 40) n");
    let app = format!("{}#test.example/audit", base.url("app"));
    world.run(&["store", "triggers", "install", &app, "public.accounts"]).ok();
    base.server.sql_in(
        "audit",
        "set session authorization app; set indelible.actor = 'mara'; update accounts set balance = 5",
    );
    let log = format!("{}#test.example/audit", base.url("relay"));
    let waiting = world.run(&["relay", "--status", "--log", &log, "--json"]).ok().json();
    assert_eq!(waiting[0]["waiting"].as_u64(), Some(40));
    assert!(world.run(&["relay", "--once", "--log", &log]).ok().err.contains("40 recorded"));
    let last = world.run(&["show", "40", "--log", &log, "--json"]).ok().json();
    let event = &last["entry"]["event"];
    assert_eq!((event["actor"]["id"].as_str(), event["change"]["before"]["balance"].as_i64()), (Some("mara"), Some(0)));
    assert_eq!(event["change"]["after"]["balance"].as_i64(), Some(5));
    world.run(&["verify", "--strict", "--log", &log]).ok();
    world.run(&["store", "triggers", "remove", &app, "public.accounts"]).ok();
}

#[test]
fn a39_a_standby_that_lagged_is_told_and_succeeded() {
    let Some(base) = Base::new() else { return };
    let (world, primary) = (&base.world, &base.server);
    let standby = primary.replica();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let place = |origin: &str| format!("postgres://writer@{hosts}/audit?target_session_attrs=read-write#{origin}");
    let (log, next) = (place("test.example/audit"), place("test.example/audit-2"));
    world.run(&["init", &log, "--origin", "test.example/audit"]).ok();
    world.feed(&["append", "--log", &log], world.samples(20)).ok();
    standby.catch_up_with(primary);
    standby.fall_behind();
    world.feed(&["append", "--log", &log], world.samples(5)).ok();
    let note = world.run(&["checkpoint", "--log", &log]).ok().out;
    primary.crash();
    standby.promote();
    let told = world.run(&["verify", "--log", &log, "--json"]).code(10).json();
    assert_eq!(told["findings"][0]["kind"].as_str(), Some("rolled_back"), "{told}");
    let before = standby.sql_in("audit", "select size from indelible.heads");
    world.feed(&["append", "--log", &log], world.samples(1)).refused(1, &["rolled back"]);
    assert_eq!(standby.sql_in("audit", "select size from indelible.heads"), before);
    // The way on, from the last checkpoint that is known, which the standby never had.
    world.run(&["log", "succeed", &next, "--origin", "test.example/audit-2", "--log", &log]).ok();
    let zero = world.run(&["show", "0", "--log", &next, "--json"]).ok().json();
    assert_eq!(zero["entry"]["control"]["predecessor"]["checkpoint"].as_str(), Some(&*note), "{zero}");
    world.feed(&["append", "--log", &next], world.samples(3)).ok();
    world.run(&["verify", "--strict", "--log", &next]).ok();
    world.run(&["verify", "--log", &log]).code(10);
}

#[test]
fn rights_that_nobody_should_have_are_told_with_what_takes_them_away() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let log = format!("{}#test.example/audit", base.url("writer"));
    world.run(&["init", &log, "--origin", "test.example/audit"]).ok();
    base.server.sql_in("audit", "create role mallory login; grant indelible_owner to mallory; grant update (entry) on indelible.entries to mallory; drop trigger refuse_truncate on indelible.ids");
    let told = world.run(&["store", "check", &base.url("writer")]).code(1).out;
    for words in [
        "revoke indelible_owner from mallory",
        "revoke UPDATE (entry) on table indelible.entries from mallory",
        "`indelible.ids`: its trigger `refuse_truncate` is missing",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    world.feed(&["append", "--log", &log], world.samples(1)).refused(1, &["store check"]);
    assert!(world.run(&["verify", "--log", &log]).code(14).out.contains("revoke indelible_owner from mallory"));
    // What a migration would put back, and what it leaves to people.
    let owner = base.url("postgres");
    let planned = world.run(&["store", "migrate", &owner, "--dry-run"]).ok().out;
    assert!(planned.contains("to put back `indelible.ids`: its trigger `refuse_truncate` is missing"), "{planned}");
    assert!(planned.contains("left `role mallory`") && planned.contains("nothing was changed"), "{planned}");
    world.run(&["store", "check", &base.url("writer")]).code(1);
    let done = world.run(&["store", "migrate", &owner, "--json"]).ok().json();
    assert_eq!(done["restored"][0]["place"].as_str(), Some("indelible.ids"), "{done}");
    assert_eq!(done["left"].as_array().map(Vec::len), Some(2), "{done}");
    for fault in done["left"].as_array().unwrap() {
        base.server.sql_in("audit", fault["remedy"].as_str().unwrap().trim_matches('`'));
    }
    world.feed(&["append", "--log", &log], world.samples(1)).ok();
    world.run(&["verify", "--strict", "--log", &log]).ok();
}

#[test]
fn a_login_without_a_role_and_a_database_without_a_schema_are_told_the_command_that_helps() {
    let Some(base) = Base::new() else { return };
    base.server.sql("create role stranger login; create database bare");
    let told = base.world.run(&["store", "check", &base.url("stranger")]).out;
    assert!(told.contains("`stranger` is a member of none of `audit_reader`"), "{told}");
    assert!(told.contains("indelible store grant writer|reader|relay|source stranger --apply postgres://"), "{told}");
    let told = base.world.run(&["store", "check", &base.server.url("writer", "bare")]).out;
    assert!(told.contains("there is no schema `indelible`") && told.contains("indelible store migrate"), "{told}");
    let told = base.world.run(&["store", "check", &base.server.url("absent", "audit")]).code(1).err;
    assert!(told.contains("no role `absent`") && told.contains("create role absent login"), "{told}");
}

#[test]
fn what_is_unsafe_is_told() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let superuser = world.run(&["store", "check", &base.url("postgres"), "--json"]).code(1).json();
    assert_eq!(superuser["safe"].as_bool(), Some(false));
    let writer = world.run(&["store", "check", &base.url("writer")]);
    assert!(writer.out.contains("PostgreSQL"), "{}", writer.out);
    base.server.sql_in("audit", "drop trigger refuse_change on indelible.checkpoints");
    assert!(world.run(&["store", "check", &base.url("writer")]).code(1).out.contains("refuse_change"));
    world
        .run(&["init", &base.url("writer"), "--origin", "test.example/x"])
        .refused(1, &["refuse_change", "store migrate"]);
    world.run(&["store", "migrate", &base.url("postgres")]).ok();
    world.run(&["init", &base.url("writer"), "--origin", "test.example/x"]).ok();
    let lines = world.run(&["store", "hba", "10.1.0.0/16", "--database", "audit", "--roles", "writer,relay"]).ok().out;
    assert!(
        lines.contains("hostssl \"audit\" \"writer\",\"relay\" 10.1.0.0/16 cert") && lines.contains("reject"),
        "{lines}"
    );
    world.run(&["store", "check", "my.log"]).refused(2, &["is no PostgreSQL database"]);
    world.run(&["verify", "--log", "postgres://u:secret@127.0.0.1:1/x?sslmod=require"]).refused(1, &["sslmode"]);
    let wrong = world.run(&["verify", "--log", &base.server.url("writer", "nowhere")]).code(1);
    assert!(wrong.err.contains("no database `nowhere`") && !wrong.err.contains("secret"), "{}", wrong.err);
}

#[test]
fn search_rows_are_filled_checked_and_written_anew() {
    let Some(base) = Base::new() else { return };
    let world = &base.world;
    let (owner, writer) = (base.url("postgres"), base.url("writer"));
    let log = format!("{writer}#test.example/audit");
    world.run(&["init", &writer, "--origin", "test.example/audit"]).ok();
    world.feed(&["append", "--log", &log], world.samples(300)).ok();
    // What a short run wrote, it has indexed when it ends.
    assert!(world.run(&["store", "check", &writer]).out.contains("every entry of 1 log is indexed"));
    let index = |url: &str, more: &[&str]| world.run(&[&["store", "index", url], more].concat());
    assert!(index(&log, &[]).ok().out.contains("test.example/audit: 301 of 301 entries indexed"));
    assert!(index(&writer, &["--check"]).ok().out.contains("each row as its entry says"));
    let indexed = base.server.sql_in("audit", "update indelible.search set outcome = 'success', actor_id = 'nobody' where idx = 7; delete from indelible.search where idx = 9; select count(*) from indelible.search");
    assert_eq!(indexed.trim(), "300");
    let told = index(&writer, &["--check", "--json"]).code(14).json();
    assert_eq!(told[0]["faults"][0]["index"].as_i64(), Some(7), "{told}");
    assert_eq!(told[0]["faults"][1]["index"].as_i64(), Some(9), "{told}");
    assert!(index(&writer, &["--check"]).code(14).out.contains("entry 9 is missing"));
    let verified = world.run(&["verify", "--strict", "--log", &log]).code(14);
    assert!(verified.out.contains("the search row of entry 7 was altered"), "{}", verified.out);
    index(&writer, &["--rebuild"]).refused(1, &["indelible_owner"]);
    assert_eq!(index(&owner, &["--rebuild", "--json"]).ok().json()[0]["indexed"].as_u64(), Some(301));
    index(&writer, &["--check"]).ok();
    world.run(&["verify", "--strict", "--log", &log]).ok();
    // What is behind is said, and caught up with.
    base.server.sql_in("audit", "truncate indelible.search; update indelible.search_ends set size = 0");
    assert!(world.run(&["store", "check", &writer]).out.contains("301 entries of 1 log wait to be indexed"));
    index(&writer, &[]).ok();
    index(&format!("{writer}#test.example/other"), &[]).refused(1, &["no log `test.example/other`"]);
    index(&writer, &["--check", "--rebuild"]).code(2);
    index("my.log", &[]).refused(2, &["is no PostgreSQL database"]);
}

#[test]
fn bodies_are_pruned_on_record_by_one_login_or_by_two() {
    let Some(base) = Base::new() else { return };
    let (world, owner) = (&base.world, base.url("postgres"));
    let at = |login: &str| format!("{}#test.example/audit", base.url(login));
    let (writer, keeper) = (at("writer"), at("keeper"));
    base.server.sql("create role keeper login; create role sweeper login");
    for (role, login) in
        [("writer", "keeper"), ("retention", "keeper"), ("reader", "sweeper"), ("retention", "sweeper")]
    {
        world.run(&["store", "grant", role, login, "--apply", &owner]).ok();
    }
    world.run(&["init", &base.url("writer"), "--origin", "test.example/audit"]).ok();
    world.feed(&["append", "--log", &writer], world.samples(50)).ok();
    let prune = |log: &str, more: &[&str]| world.run(&[&["log", "prune", "--log", log], more].concat());
    prune(&writer, &["1..5", "--reason", "x"]).refused(1, &["may append and not prune", "grant retention LOGIN"]);
    let done = prune(&keeper, &["1..5", "--reason", "five years", "--json"]).ok().json();
    assert_eq!(done["bodies"].as_u64(), Some(5), "{done}");
    let told = prune(&writer, &["6..9", "--reason", "four of them", "--record-only", "--json"]).ok().json();
    let record = told["record"].to_string();
    prune(&writer, &["--record", &record]).refused(1, &["permission denied", "grant retention LOGIN"]);
    assert!(prune(&at("sweeper"), &["--record", &record]).ok().out.contains("4 bodies were taken away"));
    prune(&keeper, &["0..5", "--reason", "x"]).refused(1, &["entry 0 says what the log is"]);
    let report = world.run(&["verify", "--strict", "--log", &writer, "--json"]).ok().json();
    assert_eq!(report["status"].as_str(), Some("intact"), "{report}");
    let text = world.run(&["verify", "--log", &writer]).ok().out;
    assert!(text.contains("five years") && text.contains("four of them"), "{text}");
    world.run(&["show", "3", "--log", &writer]).refused(1, &["body of entry 3 is absent"]);
    world.run(&["copy", "--from", &writer, "--to", &world.path("copy")]).refused(1, &["entries 1 to 9 were pruned"]);
    world.run(&["export", "--from", "10", "-o", &world.path("export"), "--log", &writer]).ok();
    world.run(&["export", "-o", &world.path("all"), "--log", &writer]).refused(1, &["body of entry 1 is absent"]);
    assert!(world.run(&["store", "index", &base.url("writer"), "--check"]).ok().out.contains("each row"));
    world
        .run(&["store", "triggers", "install", "public.accounts"])
        .refused(2, &["the database stands before the table"]);
}
