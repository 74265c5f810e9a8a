//! From an application's own transaction into the log, once.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use indelible::{KeyRing, Log, Options, manage, verify::Verdict};
use indelible_core::{entry::EntryRef, note::NoteSigner as _, tree::LeafIndex};
use indelible_service::{Relay, RelayError, Relayed, Told};
use indelible_store::driver::Driver as _;
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use indelible_test_postgres::{Options as Server, TestServer};
use serde_json::Value;

const ORIGIN: &str = "example.com/outbox";

struct World {
    server: TestServer,
    dir: tempfile::TempDir,
    keys: KeyRing,
    database: Database,
}

impl World {
    /// A migrated database with an application's login `app` and its table, and a log.
    fn new() -> Option<(Self, Log)> {
        let server = TestServer::start(Server::new())?;
        server.sql("create database audit");
        let database = open(&server, "postgres");
        database.migrate(false).unwrap();
        server.sql_in("audit", "create role app login; grant audit_source to app; create role relay login; grant audit_relay to relay; create table accounts (id int primary key, owner text, balance numeric, secret text); alter table accounts owner to app");
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::load_or_create(&dir.path().join("keys")).unwrap();
        let world = Self { database: open(&server, "relay"), server, dir, keys };
        let log = Log::create_in(&world.driver(), ORIGIN, &world.keys, Options::default()).unwrap();
        Some((world, log))
    }

    fn driver(&self) -> PostgresDriver {
        PostgresDriver::new(self.database.clone(), Some(ORIGIN.to_owned()))
    }

    /// As the application.
    fn app(&self, sql: &str) -> Result<String, String> {
        self.server.try_sql("audit", &format!("set session authorization app; {sql}"))
    }

    fn events(&self) -> Vec<Value> {
        let reader = self.driver().reader().unwrap();
        let size = reader.size().unwrap().0;
        let stored = (0..size).map(|index| indelible::log::get(&*reader, LeafIndex(index)).unwrap());
        let bodies = stored.map(|stored| serde_json::from_slice(EntryRef::parse(&stored.entry).unwrap().body).unwrap());
        bodies.filter(|body: &Value| body.get("actor").is_some()).collect()
    }

    fn verify(&self) -> Verdict {
        let reader = self.driver().reader().unwrap();
        let heads =
            indelible_store::heads::FileHeads::new(indelible_store::disk::OsDisk::shared(), &self.keys.heads_dir());
        let request = indelible::verify::Request {
            ring: Some(&self.keys),
            heads: Some(&heads),
            head_required: true,
            strict: true,
            threads: 2,
            ..indelible::verify::Request::new(
                self.keys.checkpoint_signer(ORIGIN).unwrap().verifying_key().clone(),
                indelible::clock::Clock::now(&indelible::clock::SystemClock::default()),
            )
        };
        indelible::verify::verify(&*reader, &request).unwrap().status
    }
}

fn open(server: &TestServer, role: &str) -> Database {
    let url = server.url(role, "audit");
    Database::new(&url, Settings { patience: Duration::from_secs(5), ..Settings::default() }).unwrap()
}

fn relayed(recorded: u64, duplicates: u64, refused: u64) -> Relayed {
    Relayed { recorded, duplicates, refused }
}

#[test]
fn what_is_committed_is_recorded_once_and_what_is_rolled_back_never() {
    let Some((world, log)) = World::new() else { return };
    let record = r#"select indelible.record('{"action":"account.open","actor":{"type":"user","id":"mara"}}')"#;
    let id = world.app(&format!("begin; {record}; commit")).unwrap();
    world.app(&format!("begin; {record}; rollback")).unwrap();
    let relay = Relay::new(&world.database, &log);
    assert_eq!(world.database.outbox_lag().unwrap()[0].waiting, 1);
    assert_eq!(relay.drain().unwrap(), relayed(1, 0, 0));
    assert_eq!(relay.drain().unwrap(), relayed(0, 0, 0));
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"].as_str(), Some(id.lines().last().unwrap().trim()));
    assert!(events[0]["occurred_at"].is_string());
    log.close().unwrap();
    assert_eq!(world.verify(), Verdict::Intact);
}

#[test]
fn a_relay_that_died_before_it_emptied_the_outbox_records_nothing_twice() {
    let Some((world, log)) = World::new() else { return };
    world.app(r#"select indelible.record(format('{"action":"a.b","actor":{"type":"user","id":"m%s"}}', n)::jsonb) from generate_series(1, 2500) n"#).unwrap();
    // Recorded, and not taken away.
    let taken = world.database.take_outbox(ORIGIN, 1000).unwrap();
    let texts: Vec<&str> = taken.events.iter().map(|waiting| waiting.event.as_str()).collect();
    assert!(log.append_all(&texts).iter().all(Result::is_ok));
    drop(taken);
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(2500, 1000, 0));
    assert_eq!(world.events().len(), 2500);
}

#[test]
fn two_relays_share_the_work() {
    let Some((world, log)) = World::new() else { return };
    world.app(r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}') from generate_series(1, 5000)"#).unwrap();
    let other = Log::open_in(&world.driver(), &world.keys, Options::default()).unwrap();
    let moved: u64 = std::thread::scope(|scope| {
        let relays = [&log, &other].map(|log| scope.spawn(|| Relay::new(&world.database, log).drain().unwrap()));
        relays.into_iter().map(|relay| relay.join().unwrap()).map(|moved| moved.recorded - moved.duplicates).sum()
    });
    assert_eq!(moved, 5000);
    assert_eq!(world.events().len(), 5000);
    log.close().unwrap();
    other.close().unwrap();
    assert_eq!(world.verify(), Verdict::Intact);
}

#[test]
fn triggers_capture_rows_before_and_after_bulk_statements_included() {
    let Some((world, log)) = World::new() else { return };
    world
        .app("insert into accounts select n, 'o' || n, 12345678901234567890.25 + n, 's' from generate_series(1, 50) n")
        .unwrap();
    let app = open(&world.server, "app");
    app.install_triggers("accounts", Some(ORIGIN), &["secret".to_owned()]).unwrap();
    world
        .app("begin; set local indelible.actor = 'mara'; update accounts set balance = 7 where id <= 30; commit")
        .unwrap();
    world.app("delete from accounts where id = 50; insert into accounts values (60, null, 1.5, 'x')").unwrap();
    world.app("set indelible.actor = '{\"id\":\"job\",\"type\":\"service\"}'; truncate accounts").unwrap();
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(33, 0, 0));
    let events = world.events();
    let of = |action: &str| -> Vec<&Value> { events.iter().filter(|event| event["action"] == action).collect() };
    let updates = of("table.update");
    assert_eq!(updates.len(), 30);
    for (n, update) in (1..).zip(updates) {
        assert_eq!(update["change"]["before"]["balance"], format!("{}.25", 12_345_678_901_234_567_890_u64 + n));
        assert_eq!((&update["change"]["after"]["balance"], &update["change"]["after"]["id"]), (&7.into(), &n.into()));
        assert_eq!((&update["actor"]["id"], &update["targets"][0]["id"]), (&"mara".into(), &n.to_string().into()));
        assert!(update["change"]["after"].get("secret").is_none());
    }
    assert_eq!(of("table.delete")[0]["change"]["before"]["owner"], "o50");
    assert_eq!(of("table.delete")[0]["actor"]["id"], "app");
    assert_eq!(of("table.insert")[0]["change"]["after"]["balance"], 1.5);
    assert_eq!(
        (&of("table.truncate")[0]["details"]["rows"], &of("table.truncate")[0]["actor"]["id"]),
        (&50.into(), &"job".into())
    );
    app.remove_triggers("accounts").unwrap();
    world.app("insert into accounts values (61, null, 1, 'x')").unwrap();
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(0, 0, 0));
    assert!(app.install_triggers("accounts", Some(ORIGIN), &["nothing".to_owned()]).is_err());
    assert!(app.install_triggers("nowhere", Some(ORIGIN), &[]).is_err());
}

#[test]
fn a30_a_customer_who_is_deleted_takes_no_audit_row_along() {
    let Some((world, log)) = World::new() else { return };
    world.server.sql_in("audit", "create table orders (id int primary key, account int references accounts on delete cascade); alter table orders owner to app");
    let app = open(&world.server, "app");
    for table in ["accounts", "orders"] {
        app.install_triggers(table, Some(ORIGIN), &[]).unwrap();
    }
    world.app("insert into accounts values (1, 'o', 1, ''); insert into orders values (10, 1), (11, 1)").unwrap();
    let relay = Relay::new(&world.database, &log);
    assert_eq!(relay.drain().unwrap(), relayed(3, 0, 0));
    world.app("delete from accounts").unwrap();
    assert_eq!(relay.drain().unwrap(), relayed(3, 0, 0));
    let events = world.events();
    assert_eq!(events.iter().filter(|event| event["action"] == "table.delete").count(), 3);
    assert_eq!(events.len(), 6);
    // Nothing of ours hangs on a table of the application's, and nothing of theirs on ours.
    let keys = "select count(*) from pg_constraint where contype = 'f' and (confrelid::regclass::text like 'indelible.%') <> (conrelid::regclass::text like 'indelible.%')";
    assert_eq!(world.server.sql_in("audit", keys).trim(), "0");
    log.close().unwrap();
    assert_eq!(world.verify(), Verdict::Intact);
}

#[test]
fn a_row_too_large_for_an_entry_becomes_an_attachment() {
    let Some((world, log)) = World::new() else { return };
    open(&world.server, "app").install_triggers("accounts", None, &[]).unwrap();
    world.app("insert into accounts values (1, repeat('long', 50000), 0, '')").unwrap();
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(1, 0, 0));
    let event = &world.events()[0];
    assert_eq!(event["attachments"][0]["name"], "change.json");
    assert!(event["attachments"][0]["size"].as_u64().unwrap() > 200_000);
    log.close().unwrap();
    assert_eq!(world.verify(), Verdict::Intact);
}

#[test]
fn what_the_log_refuses_is_set_aside_and_said() {
    let Some((world, log)) = World::new() else { return };
    world.app(r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"},"nonsense":1}')"#).unwrap();
    world.app(r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}')"#).unwrap();
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(1, 0, 1));
    let reason = world.server.sql_in("audit", "select reason from indelible.outbox_refused");
    assert!(reason.contains("nonsense"), "{reason}");
    assert_eq!(world.database.outbox_lag().unwrap()[0].refused, 1);
    log.close().unwrap();
    assert_eq!(world.verify(), Verdict::Intact);
}

#[test]
fn a_database_that_is_away_is_told_once_and_so_is_its_return() {
    let Some((world, log)) = World::new() else { return };
    let (tell, heard) = mpsc::sync_channel(16);
    let next = || heard.recv_timeout(Duration::from_secs(60)).unwrap();
    let stop = AtomicBool::new(false);
    let relay = Relay::new(&world.database, &log);
    thread::scope(|scope| {
        let told = move |told: Told<'_>| {
            let text = match told {
                Told::Moved(moved) => format!("moved {}", moved.recorded),
                Told::Away(error) => format!("away: {}", indelible::error::chain(error)),
                Told::Back => "back".to_owned(),
            };
            tell.send(text).unwrap();
        };
        let stop = &stop;
        let running = scope.spawn(move || relay.run(stop, Duration::from_millis(20), &told));
        let record = r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}')"#;
        world.app(record).unwrap();
        assert_eq!(next(), "moved 1");
        world.server.stop();
        assert!(next().starts_with("away: "));
        world.server.start_again();
        assert_eq!(next(), "back");
        world.app(record).unwrap();
        assert_eq!(next(), "moved 1");
        stop.store(true, Ordering::Release);
        running.join().unwrap().unwrap();
    });
    assert_eq!(heard.try_iter().count(), 0, "nothing is told twice");
}

#[test]
fn a_frozen_log_is_named_and_what_waits_for_it_finds_a_way() {
    let Some((world, log)) = World::new() else { return };
    let options = Options::default();
    manage::freeze(&world.driver(), &world.keys, &options, "case 7").unwrap();
    world.app(r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}')"#).unwrap();
    // Who had it open finds out at the next checkpoint, who opens it at once.
    log.checkpoint().unwrap_err();
    let running = Relay::new(&world.database, &log).drain().unwrap_err();
    let opening: RelayError = Log::open_in(&world.driver(), &world.keys, options.clone()).err().unwrap().into();
    for error in [running, opening] {
        let text = indelible::error::chain(&error);
        for words in [ORIGIN, "case 7", "stays there", "log succeed", "docs/stores.md"] {
            assert!(text.contains(words), "`{words}` is not in: {text}");
        }
    }
    assert_eq!(world.database.outbox_lag().unwrap()[0].waiting, 1);
    let next = PostgresDriver::new(world.database.clone(), Some("example.com/next".to_owned()));
    let next = manage::succeed(&world.driver(), &next, "example.com/next", &world.keys, options).unwrap();
    let again = "select indelible.record(event::jsonb, 'example.com/next') from indelible.outbox where log = 'example.com/outbox' order by id";
    world.server.sql_in("audit", again);
    assert_eq!(Relay::new(&world.database, &next).drain().unwrap(), relayed(1, 0, 0));
    next.close().unwrap();
}

#[test]
fn what_is_no_event_fails_in_the_applications_transaction() {
    let Some((world, _log)) = World::new() else { return };
    for (event, words) in [
        ("[]", "give a JSON object with `action` and `actor`"),
        (r#"{"action":"a"}"#, "give a JSON object with `action` and `actor`"),
        (r#"{"action":"a","actor":{"id":"m"},"control":{}}"#, "no member `control`"),
    ] {
        let refused = world.app(&format!("select indelible.record('{event}')")).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    let event = r#"'{"action":"a","actor":{"id":"m"}}'"#;
    let refused = world.app(&format!("select indelible.record({event}, 'no/such')")).unwrap_err();
    assert!(refused.contains("this database holds no log `no/such`"), "{refused}");
}

#[test]
fn another_log_in_the_database_stops_no_application() {
    let Some((world, log)) = World::new() else { return };
    let app = open(&world.server, "app");
    app.install_triggers("accounts", None, &[]).unwrap();
    let place = |origin: &str| PostgresDriver::new(world.database.clone(), Some(origin.to_owned()));
    let record = r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}')"#;
    Log::create_in(&place("example.com/registry"), "example.com/registry", &world.keys, Options::default()).unwrap();
    world.app(record).unwrap();
    Log::create_in(&place("example.com/second"), "example.com/second", &world.keys, Options::default()).unwrap();
    // The triggers know their log; who names none is told how.
    world.app("insert into accounts values (1, 'o', 1, '')").unwrap();
    let refused = world.app(record).unwrap_err();
    assert!(refused.contains("holds 2 logs") && refused.contains("set indelible.log"), "{refused}");
    world.app(&format!("set indelible.log = '{ORIGIN}'; {record}")).unwrap();
    assert_eq!(Relay::new(&world.database, &log).drain().unwrap(), relayed(3, 0, 0));
    assert!(app.install_triggers("accounts", Some("example.com/none"), &[]).is_err());
    assert!(app.install_triggers("accounts", None, &[]).is_err());
}

#[test]
fn an_event_that_is_sent_again_is_the_same_event() {
    let Some((world, log)) = World::new() else { return };
    let record = r#"select indelible.record('{"id":"x1","action":"a.b","actor":{"type":"user","id":"m"}}')"#;
    world.app(record).unwrap();
    let relay = Relay::new(&world.database, &log);
    assert_eq!(relay.drain().unwrap(), relayed(1, 0, 0));
    world.app(record).unwrap();
    assert_eq!(relay.drain().unwrap(), relayed(1, 1, 0));
    assert_eq!(world.events().len(), 1);
}

#[test]
fn what_waits_is_not_edited_by_any_role() {
    let Some((world, _log)) = World::new() else { return };
    world.app(r#"select indelible.record('{"action":"a.b","actor":{"type":"user","id":"m"}}')"#).unwrap();
    for sql in [
        "update indelible.outbox set event = '{}'",
        "delete from indelible.outbox",
        "truncate indelible.outbox",
        "insert into indelible.outbox (log, event_id, event) values ('x', 'y', '{}')",
        "select indelible.outbox_done(array[1::bigint])",
        "select indelible.outbox_refuse(1, 'x')",
        "alter table indelible.outbox disable trigger all",
    ] {
        for role in ["app", "relay"] {
            if role == "relay" && sql.starts_with("select indelible.outbox_") {
                continue;
            }
            let done = world.server.try_sql("audit", &format!("set session authorization {role}; {sql}"));
            assert!(done.is_err(), "{role}: {sql}");
        }
    }
    // Nor by a superuser by mistake.
    for sql in ["update indelible.outbox set event = '{}'", "delete from indelible.outbox", "truncate indelible.outbox"]
    {
        assert!(world.server.try_sql("audit", sql).unwrap_err().contains("is refused"), "{sql}");
    }
    assert!(world.database.check_guards().unwrap().is_empty(), "{:?}", world.database.check_guards());
    drop(world.dir);
}
