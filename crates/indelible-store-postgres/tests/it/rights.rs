//! Rights that nobody should have: each is given, and told by `store check` with what takes it away, by opening and by verification.

use indelible::{
    Log,
    verify::{Kind, Verdict},
};
use indelible_store::driver::Driver as _;
use indelible_store_postgres::{PostgresDriver, connect::check::Severity};
use indelible_test_postgres::TestServer;

use crate::world::{DATABASE, Logs as _, World, event, options, settings, start};

const ORIGIN: &str = "example.com/rights";

/// A server with a log, and two logins that have nothing to do with it.
fn begin() -> Option<(TestServer, World)> {
    let server = start()?;
    server.migrated(DATABASE);
    server.sql("create role mallory login; create role team nologin; create role member login in role team");
    let world = World::new();
    let log = world.create(&server.open("writer", DATABASE, settings()), ORIGIN);
    (0..5).for_each(|n| drop(log.append_json(&event(n)).unwrap()));
    log.close().unwrap();
    Some((server, world))
}

/// What `store check` calls unsafe about the guards: what was found, and the statement that is to be run.
fn unsafe_guards(server: &TestServer) -> Vec<(String, String)> {
    let report = server.open("reader", DATABASE, settings()).check().unwrap();
    let found = report.findings.into_iter().filter(|f| f.subject == "guards" && f.severity == Severity::Unsafe);
    found.map(|finding| (finding.what, finding.remedy.unwrap())).collect()
}

/// Does `sql`, which has to be told with `words`; the remedy that is told then ends it.
fn told(server: &TestServer, world: &World, sql: &str, words: &str, allows_change: bool) {
    assert_eq!(unsafe_guards(server), [], "before {sql}");
    server.sql_in(DATABASE, sql);
    let found = unsafe_guards(server);
    assert!(found.iter().any(|(what, _)| what.contains(words)), "{sql}: {words}: {found:?}");
    let driver = PostgresDriver::new(server.open("writer", DATABASE, settings()), None);
    assert_eq!(driver.lease().is_err(), allows_change, "{sql}");
    assert_eq!(Log::open_in(&driver, &world.keys, options()).is_err(), allows_change, "{sql}");
    // No proof of tampering: the entries verify.
    let report = world.expect(server, ORIGIN, if allows_change { Verdict::Damaged } else { Verdict::Intact });
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Derived), "{:#?}", report.findings);
    for (_, remedy) in found {
        let statement = remedy.split('`').nth(1).unwrap();
        server.sql_in(DATABASE, statement);
    }
    assert_eq!(unsafe_guards(server), [], "after the remedy of {sql}");
}

macro_rules! told {
    ($($name:ident: $sql:expr => $words:expr, $allows_change:expr;)*) => {
        $(#[test]
        fn $name() {
            let Some((server, world)) = begin() else { return };
            told(&server, &world, $sql, $words, $allows_change);
        })*
    };
}

told! {
    a_function_of_ours_for_a_stranger: "grant execute on function indelible.append_commit to mallory"
        => "`mallory` may EXECUTE there", true;
    a_function_of_ours_for_everybody: "grant execute on function indelible.guard to public"
        => "`public` may EXECUTE there", true;
    a_right_that_may_be_passed_on: "grant execute on function indelible.append_begin to audit_writer with grant option"
        => "`audit_writer` may EXECUTE there and pass that on", true;
    a_function_for_the_wrong_role_of_ours: "grant execute on function indelible.outbox_done to audit_reader"
        => "`audit_reader` may EXECUTE there", true;
    making_things_in_the_schema: "grant create on schema indelible to mallory"
        => "`schema indelible`: `mallory` may CREATE there", true;
    looking_into_the_schema: "grant usage on schema indelible to mallory"
        => "`schema indelible`: `mallory` may USAGE there", false;
    a_single_column: "grant update (entry) on indelible.entries to mallory"
        => "`column indelible.entries (entry)`: `mallory` may UPDATE there", true;
    reading_a_single_column: "grant select (event) on indelible.outbox to mallory"
        => "`column indelible.outbox (event)`: `mallory` may SELECT there", false;
    a_table_for_a_stranger: "grant insert on indelible.ids to mallory"
        => "`table indelible.ids`: `mallory` may INSERT there", true;
    a_table_for_a_role_of_ours: "grant delete on indelible.bounded to audit_writer"
        => "`table indelible.bounded`: `audit_writer` may DELETE there", true;
    reading_for_a_stranger: "grant select on indelible.entries to mallory"
        => "`table indelible.entries`: `mallory` may SELECT there", false;
    the_numbers_of_logs: "grant update on sequence indelible.logs_number_seq to mallory"
        => "`sequence indelible.logs_number_seq`: `mallory` may UPDATE there", true;
    membership: "grant indelible_owner to mallory"
        => "`role mallory`: it is a member of `indelible_owner`:", true;
    membership_through_another: "grant indelible_owner to team"
        => "`role member`: it is a member of `indelible_owner` through `team`", true;
    membership_through_a_role_of_ours: "grant indelible_owner to audit_reader"
        => "`role reader`: it is a member of `indelible_owner` through `audit_reader`", true;
    an_owner_who_logs_in: "alter role indelible_owner login"
        => "`role indelible_owner`: it may log in", true;
    an_owner_above_all: "alter role indelible_owner superuser"
        => "`role indelible_owner`: it is a superuser", true;
    rights_on_what_comes: "alter default privileges for role indelible_owner in schema indelible grant insert on tables to mallory"
        => "`default privileges of indelible_owner`: `mallory` will have INSERT", true;
    rights_on_what_comes_anywhere: "alter default privileges for role indelible_owner grant execute on functions to mallory"
        => "`default privileges of indelible_owner`: `mallory` will have EXECUTE", true;
    a_function_of_somebody_elses: "create function indelible.mine() returns void language sql as ''; alter function indelible.mine owner to indelible_owner; revoke execute on function indelible.mine from public"
        => "`function indelible.mine()`: it is not the log's", true;
    a_function_with_another_owner: "alter function indelible.publish owner to postgres"
        => "it belongs to `postgres`", true;
    a_function_that_passes_over_nulls: "alter function indelible.append_commit strict"
        => "it does nothing where an argument is NULL", true;
    a_trigger_where_none_belongs: "create trigger quiet before insert on indelible.bounded for each row execute function suppress_redundant_updates_trigger()"
        => "`indelible.bounded`: it has a trigger `quiet`", true;
    a_rule_where_none_belongs: "create rule quiet as on insert to indelible.bounded do instead nothing"
        => "`indelible.bounded`: it has a rule `quiet`", true;
    a_function_elsewhere_that_lends_the_owners_rights: "create function public.fix() returns void security definer language sql as ''; alter function public.fix owner to indelible_owner"
        => "`public.fix()`: it is no part of the log", true;
    an_operator_of_the_owners: "create function public.never(jsonb, jsonb) returns boolean language sql as 'select false'; create operator indelible.? (leftarg = jsonb, rightarg = jsonb, function = public.never); alter operator indelible.? (jsonb, jsonb) owner to indelible_owner"
        => "it is no part of the log", true;
    writing_everywhere: "grant pg_write_all_data to mallory"
        => "`role mallory`: it is a member of `pg_write_all_data`", true;
    reading_everywhere: "grant pg_read_all_data to mallory"
        => "`role mallory`: it is a member of `pg_read_all_data`", false;
    a_constraint_that_runs_code: "create function public.spy(bytea) returns boolean language sql as 'select true'; alter table indelible.entries add constraint spy check (public.spy(entry))"
        => "`indelible.entries`: its constraint `spy` is not the log's", true;
    a_constraint_of_the_servers_own_means: "alter table indelible.bounded add check (query_to_xml('select 1', true, true, '') is not null)"
        => "`indelible.bounded`: its constraint `bounded_check` is not the log's", true;
    a_default_that_says_something_else: "alter table indelible.outbox alter column written_by set default 'mara'"
        => "`indelible.outbox`: its default `written_by` is not the log's", true;
    a_default_where_there_is_none: "alter table indelible.bounded alter column until set default now()"
        => "`indelible.bounded`: its default `until` is not the log's", true;
    a_column_that_is_computed: "alter table indelible.bounded add column more bigint generated always as (log + 1) stored"
        => "`indelible.bounded`: its default `more` is not the log's", true;
    an_index_that_runs_code: "create function public.spy(text) returns text immutable language sql as 'select $1'; create index spy on indelible.outbox (public.spy(event))"
        => "`indelible.outbox`: its index `spy` runs code", true;
    statistics_that_run_code: "create function public.spy(text) returns text immutable language sql as 'select $1'; create statistics public.spy on (public.spy(event)), log from indelible.outbox"
        => "`indelible.outbox`: its statistics `spy` run code", true;
    a_table_with_another_owner: "alter table indelible.bounded owner to postgres"
        => "`table indelible.bounded`: it belongs to `postgres`", true;
}

#[test]
fn a_function_that_was_replaced_is_told_and_put_back() {
    let Some((server, world)) = begin() else { return };
    for (sql, words) in [
        (
            "create or replace function indelible.clear_marks(p_log bigint, p_owner uuid) returns void language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as 'begin end'",
            "it has another text",
        ),
        ("alter function indelible.capture security definer", "it runs with the rights of another"),
        ("alter function indelible.record set search_path = public", "its settings are `search_path=public`"),
        ("alter function indelible.record set work_mem = '1MB'", "its settings are"),
        ("drop function indelible.outbox_lag", "it is missing"),
    ] {
        server.sql_in(DATABASE, sql);
        assert!(unsafe_guards(&server).iter().any(|(what, _)| what.contains(words)), "{sql}: {words}");
        world.expect(&server, ORIGIN, Verdict::Damaged);
        let owner = server.open("postgres", DATABASE, settings());
        // A dry run says what it would do, and does nothing.
        let planned = owner.migrate(true).unwrap();
        assert!(planned.restored.iter().any(|fault| fault.detail.contains(words)), "{planned:?}");
        assert!(planned.left.is_empty() && !unsafe_guards(&server).is_empty(), "{planned:?}");
        assert_eq!(owner.migrate(false).unwrap(), planned);
        assert_eq!(unsafe_guards(&server), [], "{sql}");
        assert_eq!(owner.migrate(true).unwrap().restored, []);
    }
}

#[test]
fn what_others_were_given_is_left_to_people_and_what_our_roles_lack_is_put_back() {
    let Some((server, _)) = begin() else { return };
    server.sql_in(DATABASE, "grant update on indelible.heads to mallory; revoke select on indelible.entries from audit_reader; drop trigger refuse_truncate on indelible.ids");
    let report = server.open("writer", DATABASE, settings()).check().unwrap();
    let noted = report.findings.iter().find(|finding| finding.what.contains("`audit_reader` may not SELECT there"));
    assert_eq!(noted.unwrap().severity, Severity::Note, "{report}");
    let migrated = server.open("postgres", DATABASE, settings()).migrate(false).unwrap();
    let places = |faults: &[indelible_store_postgres::GuardFault]| {
        faults.iter().map(|fault| fault.place.clone()).collect::<Vec<_>>()
    };
    assert_eq!(places(&migrated.restored), ["indelible.ids", "table entries"]);
    assert_eq!(places(&migrated.left), ["table indelible.heads"]);
    assert_eq!(migrated.left[0].remedy.as_deref(), Some("`revoke UPDATE on table indelible.heads from mallory`"));
}

#[test]
fn a_superuser_needs_no_membership_and_is_not_told_for_one() {
    let Some((server, world)) = begin() else { return };
    server.sql("create role boss superuser login in role indelible_owner");
    assert_eq!(unsafe_guards(&server), []);
    world.expect(&server, ORIGIN, Verdict::Intact);
}
