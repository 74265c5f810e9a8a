//! What `check` finds on a server that is sound, and on one that somebody has been at.

use std::time::{Duration, SystemTime};

use indelible_postgres_connect::{
    check::{
        Expected, ExpectedFunction, ExpectedRight, ExpectedTrigger, Finding, GuardedTable, Report, Severity, check,
    },
    connect,
};
use indelible_test_postgres::{Options, ServerCertificate, TestServer};

use crate::world::config;

/// A small log schema: one plain table, one with partitions, a guard and a door.
const SCHEMA: &str = "
CREATE SCHEMA indelible AUTHORIZATION log_owner;
SET ROLE log_owner;
CREATE FUNCTION indelible.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$begin raise exception 'refused'; end$$;
CREATE TABLE indelible.heads (n bigint);
CREATE FUNCTION indelible.door(n bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, indelible, pg_temp
    AS $$insert into indelible.heads values (n)$$;
CREATE TABLE indelible.entries (n bigint) PARTITION BY RANGE (n);
CREATE TABLE indelible.entries_1 PARTITION OF indelible.entries FOR VALUES FROM (0) TO (100);
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON indelible.heads FOR EACH ROW EXECUTE FUNCTION indelible.refuse();
CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON indelible.entries FOR EACH ROW EXECUTE FUNCTION indelible.refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON indelible.heads FOR EACH STATEMENT EXECUTE FUNCTION indelible.refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON indelible.entries FOR EACH STATEMENT EXECUTE FUNCTION indelible.refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON indelible.entries_1 FOR EACH STATEMENT EXECUTE FUNCTION indelible.refuse();
ALTER TABLE indelible.heads ENABLE ALWAYS TRIGGER no_change, ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE indelible.entries ENABLE ALWAYS TRIGGER no_change, ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE indelible.entries_1 ENABLE ALWAYS TRIGGER no_change, ENABLE ALWAYS TRIGGER no_truncate;
REVOKE ALL ON FUNCTION indelible.door, indelible.refuse FROM public;
GRANT USAGE ON SCHEMA indelible TO log_writer;
GRANT SELECT ON indelible.heads, indelible.entries TO log_writer;
GRANT EXECUTE ON FUNCTION indelible.door TO log_writer;
RESET ROLE;
";

fn expected() -> Expected {
    // Bits of tgtype: row 1, before 2, delete 8, update 16, truncate 32.
    let trigger = |name: &str, kind| ExpectedTrigger { name: name.to_owned(), function: "refuse".to_owned(), kind };
    let table = |name: &str| GuardedTable {
        name: name.to_owned(),
        triggers: vec![trigger("no_change", 27), trigger("no_truncate", 34)],
    };
    let function = |name: &str, body: &str, definer, search_path: &str| ExpectedFunction {
        name: name.to_owned(),
        body: body.to_owned(),
        definer,
        search_path: search_path.to_owned(),
    };
    Expected {
        schema: "indelible".to_owned(),
        owner: "log_owner".to_owned(),
        tables: vec![table("heads"), table("entries")],
        functions: vec![
            function("refuse", "begin raise exception 'refused'; end", false, "pg_catalog, pg_temp"),
            function("door", "insert into indelible.heads values (n)", true, "pg_catalog, indelible, pg_temp"),
        ],
        rights: [
            ("schema", "indelible", "USAGE"),
            ("table", "heads", "SELECT"),
            ("table", "entries", "SELECT"),
            ("function", "door", "EXECUTE"),
        ]
        .map(|(kind, name, privilege)| ExpectedRight {
            kind,
            name: name.to_owned(),
            role: "log_writer".to_owned(),
            privilege: privilege.to_owned(),
        })
        .to_vec(),
        expressions: Vec::new(),
    }
}

async fn report(url: &str) -> Report {
    let config = config(url);
    let (client, connected) = connect(&config).await.unwrap();
    check(&client, &config, &connected, &expected(), SystemTime::now()).await.unwrap()
}

fn of<'a>(report: &'a Report, subject: &str) -> Vec<&'a Finding> {
    report
        .findings
        .iter()
        .filter(|finding| finding.subject == subject && finding.severity == Severity::Unsafe)
        .collect()
}

/// A server with the schema; `fsync` on, so that it is sound.
fn start() -> Option<TestServer> {
    let server = TestServer::start(Options::new().with_fsync().with_tls())?;
    server.sql(
        "CREATE ROLE log_owner NOLOGIN; CREATE ROLE log_writer NOLOGIN; CREATE ROLE writer LOGIN IN ROLE log_writer",
    );
    server.sql(SCHEMA);
    Some(server)
}

#[tokio::test]
async fn a_sound_server_is_called_sound() {
    let Some(server) = start() else { return };
    let url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        server.url("writer", "postgres"),
        server.root_certificate().display()
    );
    let found = report(&url).await;
    assert!(found.worst() < Severity::Unsafe, "{found}");
    let text = found.to_string();
    for words in [
        "TLS 1.3, TLS13_",
        "certificate `CN=test server` from `CN=test authority`, until 2199-01-01T00:00:00Z",
        "`writer`, member of `log_writer`",
        "2 tables refuse change, 2 functions are as they were made",
        "`writer` cannot change or remove what was recorded",
        "no standby follows",
        "commits reach the disk",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        found.findings.iter().all(|finding| finding.severity == Severity::Ok || finding.remedy.is_some()),
        "{found}"
    );
    // The same, but nothing is there yet.
    server.sql("DROP SCHEMA indelible CASCADE");
    let found = report(&url).await;
    assert!(
        found.worst() == Severity::Note
            && found.to_string().contains("`indelible store migrate postgres://writer@127.0.0.1:"),
        "{found}"
    );
}

#[tokio::test]
async fn what_was_done_to_the_guards_is_found() {
    let Some(server) = start() else { return };
    let url = server.url("writer", "postgres");
    for (damage, words) in [
        ("DROP TRIGGER no_change ON indelible.heads", "`indelible.heads`: its trigger `no_change` is missing"),
        (
            "DROP TRIGGER no_truncate ON indelible.entries_1",
            "`indelible.entries_1`: its trigger `no_truncate` is missing",
        ),
        (
            "ALTER TABLE indelible.heads DISABLE TRIGGER no_change",
            "`indelible.heads`: its trigger `no_change` is not enabled for everybody",
        ),
        (
            "ALTER TABLE indelible.heads ENABLE TRIGGER no_change",
            "`indelible.heads`: its trigger `no_change` is not enabled for everybody",
        ),
        (
            "ALTER TABLE indelible.entries_1 DISABLE TRIGGER no_change",
            "`indelible.entries_1`: its trigger `no_change` is not enabled for everybody",
        ),
        (
            "DROP TRIGGER no_change ON indelible.heads; CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON indelible.heads FOR EACH ROW \
             WHEN (old.n > 5) EXECUTE FUNCTION indelible.refuse(); ALTER TABLE indelible.heads ENABLE ALWAYS TRIGGER no_change",
            "`indelible.heads`: its trigger `no_change` was changed",
        ),
        (
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'; DROP TRIGGER no_change ON \
             indelible.heads; CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON indelible.heads FOR EACH ROW EXECUTE FUNCTION \
             public.refuse(); ALTER TABLE indelible.heads ENABLE ALWAYS TRIGGER no_change",
            "`indelible.heads`: its trigger `no_change` was changed",
        ),
        (
            "DROP TRIGGER no_change ON indelible.heads; CREATE TRIGGER no_change BEFORE UPDATE ON indelible.heads FOR EACH ROW EXECUTE \
             FUNCTION indelible.refuse(); ALTER TABLE indelible.heads ENABLE ALWAYS TRIGGER no_change",
            "`indelible.heads`: its trigger `no_change` was changed",
        ),
        (
            "CREATE TRIGGER mine BEFORE INSERT ON indelible.heads FOR EACH ROW EXECUTE FUNCTION indelible.refuse()",
            "`indelible.heads`: it has a trigger `mine` that is not the log's",
        ),
        (
            "CREATE RULE quiet AS ON DELETE TO indelible.heads DO INSTEAD NOTHING",
            "`indelible.heads`: it has a rule `quiet`",
        ),
        ("ALTER TABLE indelible.heads ENABLE ROW LEVEL SECURITY", "`indelible.heads`: it has row security"),
        ("CREATE TABLE public.more () INHERITS (indelible.heads)", "`indelible.heads`: it has a child table `more`"),
        ("DROP TABLE indelible.entries", "`indelible.entries`: the table is missing"),
        (
            "CREATE OR REPLACE FUNCTION indelible.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp \
             AS 'begin return new; end'",
            "`function indelible.refuse()`: it has another text",
        ),
        (
            "ALTER FUNCTION indelible.door SECURITY INVOKER",
            "`function indelible.door(bigint)`: it runs with the rights of another",
        ),
        (
            "ALTER FUNCTION indelible.door SET search_path = public",
            "`function indelible.door(bigint)`: its settings are `search_path=public`",
        ),
        ("ALTER FUNCTION indelible.door RESET ALL", "`function indelible.door(bigint)`: its settings are ``"),
        (
            "ALTER FUNCTION indelible.door OWNER TO postgres",
            "`function indelible.door(bigint)`: it belongs to `postgres`",
        ),
        ("DROP FUNCTION indelible.door", "`function indelible.door`: it is missing"),
        (
            "CREATE FUNCTION indelible.door(n int) RETURNS void LANGUAGE sql AS ''",
            "`function indelible.door`: it is there 2 times",
        ),
        ("ALTER TABLE indelible.heads OWNER TO postgres", "`table indelible.heads`: it belongs to `postgres`"),
        ("ALTER SCHEMA indelible OWNER TO postgres", "`schema indelible`: it belongs to `postgres`"),
        ("ALTER ROLE log_owner LOGIN", "`role log_owner`: it may log in"),
        ("GRANT UPDATE ON indelible.heads TO public", "`table indelible.heads`: `public` may UPDATE there"),
        ("GRANT UPDATE (n) ON indelible.heads TO other", "`column indelible.heads (n)`: `other` may UPDATE there"),
        (
            "CREATE FUNCTION indelible.mine() RETURNS void LANGUAGE sql AS ''",
            "`function indelible.mine()`: it is not the log's",
        ),
    ] {
        server.sql("DROP SCHEMA indelible CASCADE; DROP TABLE IF EXISTS public.more; DROP FUNCTION IF EXISTS public.refuse; ALTER ROLE log_owner NOLOGIN; DROP ROLE IF EXISTS other; CREATE ROLE other");
        server.sql(SCHEMA);
        assert!(of(&report(&url).await, "guards").is_empty(), "before: {damage}");
        server.sql(damage);
        let found = report(&url).await;
        let guards = of(&found, "guards");
        assert!(guards.iter().any(|finding| finding.what.contains(words)), "{damage}: {found}");
        assert_eq!(found.worst(), Severity::Unsafe);
    }
}

#[tokio::test]
async fn what_a_role_may_do_is_found() {
    let Some(server) = start() else { return };
    server.sql("CREATE DATABASE mine");
    for (attributes, grants, words) in [
        ("SUPERUSER", "", "`x` is a superuser"),
        ("CREATEROLE", "", "`x` may create roles"),
        ("NOINHERIT IN ROLE boss", "", "`x` is a superuser, or a member of one"),
        ("IN ROLE pg_write_all_data", "", "`x` is a member of `pg_write_all_data`"),
        ("IN ROLE pg_write_all_data", "", "`x` may DELETE, INSERT, UPDATE the log's tables"),
        ("IN ROLE pg_execute_server_program", "", "`x` is a member of `pg_execute_server_program`"),
        (
            "IN ROLE log_owner",
            "",
            "`x` may ALTER and DROP, CREATE in the schema, DELETE, INSERT, REFERENCES, TRIGGER, TRUNCATE, UPDATE",
        ),
        ("NOINHERIT IN ROLE log_owner", "", "`x` may ALTER and DROP"),
        ("", "GRANT TRUNCATE ON indelible.heads TO x", "`x` may TRUNCATE the log's tables"),
        ("", "GRANT UPDATE (n) ON indelible.entries_1 TO x", "`x` may UPDATE the log's tables"),
        ("", "GRANT CREATE ON SCHEMA indelible TO x", "`x` may CREATE in the schema the log's tables"),
        ("", "ALTER DATABASE postgres OWNER TO x", "`x` owns the database"),
    ] {
        server.sql("DROP ROLE IF EXISTS boss; CREATE ROLE boss SUPERUSER");
        server.sql(&format!("CREATE ROLE x LOGIN {attributes}; {grants}"));
        let found = report(&server.url("x", "postgres")).await;
        assert!(
            of(&found, "role").iter().any(|finding| finding.what.contains(words)),
            "{attributes} {grants}: {found}"
        );
        server.sql("ALTER DATABASE postgres OWNER TO postgres; DROP OWNED BY x; DROP ROLE x");
    }
    server.sql("CREATE ROLE x LOGIN BYPASSRLS REPLICATION");
    let found = report(&server.url("x", "postgres")).await;
    assert!(found.worst() == Severity::Note && found.role.bypasses_row_security && found.role.replicates, "{found}");
    // The session's own role counts, whatever it acts as.
    server.sql("ALTER ROLE x SUPERUSER");
    let found = report(&format!("{}?options=-c%20role%3Dlog_writer", server.url("x", "postgres"))).await;
    assert!(found.role.superuser && found.role.acts_as == "log_writer", "{found}");
}

#[tokio::test]
async fn certificates_and_durability_are_judged() {
    let Some(server) = start() else { return };
    let url = format!("{}?sslmode=require", server.url("writer", "postgres"));
    server.present(ServerCertificate::Expired);
    let found = report(&url).await;
    assert!(of(&found, "tls").iter().any(|finding| finding.what.contains("it has ended")), "{found}");
    // A clock that is far ahead sees a good certificate as ended.
    server.present(ServerCertificate::Good);
    let config = config(&url);
    let (client, connected) = connect(&config).await.unwrap();
    let in_300_years = SystemTime::now() + Duration::from_secs(300 * 366 * 86_400);
    let found = check(&client, &config, &connected, &expected(), in_300_years).await.unwrap();
    assert_eq!(of(&found, "tls").len(), 1, "{found}");

    server.set(&[("full_page_writes", "off"), ("synchronous_commit", "off"), ("fsync", "off")]);
    let found = report(&url).await;
    let unsafe_ones = of(&found, "replication");
    assert!(unsafe_ones.len() == 2 && found.replication.synchronous_commit == "off", "{found}");
    assert!(!found.replication.fsync && !found.replication.full_page_writes && !found.replication.data_checksums);
}

#[tokio::test]
async fn standbys_are_seen() {
    let Some(primary) = start() else { return };
    let replica = primary.replica();
    replica.catch_up_with(&primary);
    let found = report(&primary.url("postgres", "postgres")).await;
    assert!(found.to_string().contains("no commit waits for a standby: `walreceiver` (streaming, async)"), "{found}");
    // A role without the right to see more still sees that somebody follows.
    let found = report(&primary.url("writer", "postgres")).await;
    assert!(found.replication.standbys.len() == 1 && found.to_string().contains("hidden from this role"), "{found}");
    primary.set(&[("synchronous_standby_names", "*")]);
    // Who streams takes the new setting up by itself, a moment later.
    let waits = "commits wait for `*` (synchronous_commit=on): `walreceiver` (streaming, sync)";
    let begun = std::time::Instant::now();
    loop {
        let found = report(&primary.url("postgres", "postgres")).await;
        if found.to_string().contains(waits) {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{found}");
    }
    let found = report(&replica.url("writer", "postgres")).await;
    assert!(found.replication.in_recovery && found.to_string().contains("this is a standby"), "{found}");
}
