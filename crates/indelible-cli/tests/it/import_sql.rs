//! Old audit tables, on real databases.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use indelible_test_postgres::{Options, TestServer};
use rusqlite::Connection;
use serde_json::Value;

use crate::{
    import::shared,
    world::{Done, World},
};

/// The columns of the trail, as an application would have named them.
const COLUMNS: [&str; 15] = [
    "cluster",
    "created_at",
    "username",
    "verb",
    "resource",
    "subresource",
    "name",
    "namespace",
    "uri",
    "audit_id",
    "stage",
    "code",
    "extra_1",
    "extra_2",
    "extra_3",
];

/// How long something that comes soon may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The rows of the Kubernetes trail; the last is cut off in the published file and is filled up with nothing.
fn trail() -> Option<Vec<csv::StringRecord>> {
    let file = fs::File::open(shared()?.join("data/k8s-perfspec-audit/audit-logs.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let rows = reader.records().map(|row| {
        let mut row = row.unwrap();
        while row.len() < COLUMNS.len() {
            row.push_field("");
        }
        row
    });
    Some(rows.collect())
}

fn lines(done: &Done) -> Vec<Value> {
    done.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A table in a database, and a log for it.
struct Old<'a> {
    world: &'a World,
    from: String,
}

impl Old<'_> {
    fn args<'b>(&'b self, more: &[&'b str]) -> Vec<&'b str> {
        [&["import", "--format", "sql", "--from", &self.from, "--table", "audit_logs"], more].concat()
    }

    fn run(&self, more: &[&str]) -> Done {
        self.world.run(&self.args(more))
    }

    fn spawn(&self, more: &[&str]) -> Child {
        let mut command = self.world.command(&self.args(more));
        let said = fs::File::create(self.world.at("said")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Saves the mapping that is proposed.
    fn propose(&self) -> String {
        let done = self.run(&["--propose"]).ok();
        self.world.write("map.json", &done.out)
    }

    /// Starts an importer and kills it as soon as the log has `entries`.
    fn kill_at(&self, map: &str, entries: u64) {
        let mut child = self.spawn(&["--map", map, "--rate", "2000"]);
        wait_until("the importer comes to the place where it is killed", || {
            if let Some(status) = child.try_wait().unwrap() {
                let said = fs::read_to_string(self.world.at("said")).unwrap();
                panic!("the importer ended before entry {entries}, with {status}: {said}");
            }
            self.world.entries() >= entries
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Ends the writer, also where a check beside it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Migrates a table that grows meanwhile; the importer is killed three times. `add` inserts some rows, `count` counts all.
fn migrate(old: &Old<'_>, rows: u64, add: &(dyn Fn() + Sync), count: &dyn Fn() -> u64) {
    let map = old.propose();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends_the_writer = Ends(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                add();
            }
        });
        for part in 1..=3 {
            old.kill_at(&map, rows * part / 5);
        }
        let done = old.run(&["--map", &map, "--json"]).ok().json();
        assert_eq!((&done["rejected"], &done["changed"]), (&0.into(), &0.into()), "{done}");
        assert_eq!(done["reconciliation"]["equal"], true, "{done}");
        // It went on where it was killed, and began nothing anew: at most a page was read twice.
        assert!(done["duplicates"].as_u64().unwrap() <= 1000, "{done}");
        assert!(done["recorded"].as_u64().unwrap() < rows * 2 / 5 + count() - rows + 1000, "{done}");
    });
    let last = old.run(&["--map", &map, "--json"]).ok().json();
    let (all, report) = (count(), &last["reconciliation"]);
    assert!(all > rows, "the writer wrote");
    assert_eq!((&report["rows"], &report["entries"]), (&all.into(), &all.into()), "{last}");
    assert_eq!((&report["equal"], &report["twice"]), (&true.into(), &0.into()), "{last}");
    // Again: nothing is added.
    let again = old.run(&["--map", &map, "--json"]).ok().json();
    assert_eq!((&again["recorded"], &again["reconciliation"]["rows"]), (&0.into(), &all.into()), "{again}");
    assert!(old.run(&["--reconcile"]).ok().out.contains("equal"));
    old.world.run(&["verify", "--strict"]).ok();
}

/// What was changed after the import is named, by key.
fn tamper(old: &Old<'_>, sql: &dyn Fn(&str)) {
    sql("UPDATE audit_logs SET username = 'mallory' WHERE id = 77");
    sql("DELETE FROM audit_logs WHERE id = 78");
    let done = old.run(&["--reconcile", "--json"]).code(3).json();
    assert_eq!(done["changed"]["count"], 1, "{done}");
    assert_eq!(done["changed"]["named"][0]["key"]["id"], 77);
    assert_eq!(done["gone"]["count"], 1, "{done}");
    assert_eq!(done["gone"]["named"][0]["key"]["id"], 78);
    let text = old.run(&["--reconcile"]).code(3).out;
    assert!(text.contains("they differ") && text.contains("{\"id\":77} (entry "), "{text}");
    // The import neither records the change nor passes over it.
    let done = old.run(&["--map", "map.json", "--json", "--rejects", "changed"]).code(3);
    assert_eq!(done.json()["recorded"], 0);
    // A row that is no event is kept aside with its key and the reason.
    sql("INSERT INTO audit_logs (id, username, verb) VALUES (900000, 'eve', NULL)");
    let done = old.run(&["--map", "map.json", "--json", "--rejects", "rejects"]).code(3);
    assert_eq!((&done.json()["rejected"], &done.json()["recorded"]), (&1.into(), &0.into()), "{}", done.out);
    assert!(done.err.contains("{\"id\":900000}") && done.err.contains("`action` is missing"), "{}", done.err);
    assert!(lines(&done).is_empty());
    let kept: Value = serde_json::from_str(&fs::read_to_string(old.world.at("rejects")).unwrap()).unwrap();
    assert_eq!((&kept["key"]["id"], &kept["row"]["username"]), (&900_000.into(), &"eve".into()), "{kept}");
    assert!(kept["reason"].as_str().unwrap().contains("action"), "{kept}");
    let done = old.run(&["--reconcile", "--json"]).code(3).json();
    assert_eq!(done["missing"]["named"][0]["key"]["id"], 900_000, "{done}");
}

fn postgres_trail(server: &TestServer, rows: &[csv::StringRecord]) {
    let mut text = csv::Writer::from_writer(vec![]);
    for row in rows {
        text.write_record(row).unwrap();
    }
    let text = String::from_utf8(text.into_inner().unwrap()).unwrap();
    server.sql(&format!(
        "CREATE TABLE audit_logs (id bigserial PRIMARY KEY, cluster jsonb, created_at timestamptz, username text, verb text, \
         resource text, subresource text, name text, namespace text, uri text, audit_id text, stage text, code int, \
         extra_1 text, extra_2 text, extra_3 text);\nCOPY audit_logs ({}) FROM STDIN WITH (FORMAT csv);\n{text}\\.\n",
        COLUMNS.join(", ")
    ));
}

#[test]
fn a_kubernetes_trail_in_postgresql_is_migrated_under_way_killed_and_resumed() {
    let Some(rows) = trail() else { return };
    let Some(server) = TestServer::start(Options::default()) else { return };
    postgres_trail(&server, &rows);
    let world = World::new();
    let old = Old { world: &world, from: server.url("postgres", "postgres") };
    let insert = "INSERT INTO audit_logs (created_at, username, verb, resource, code) \
        SELECT now(), 'live', 'get', 'pods', 200 FROM generate_series(1, 7);";
    // Some take their keys early and come in late.
    let late = format!("BEGIN; {insert} SELECT pg_sleep(0.3); COMMIT;");
    let add = || {
        thread::scope(|scope| {
            scope.spawn(|| server.sql(&late));
            server.sql(insert);
            server.sql(insert);
        });
    };
    let count = || server.sql("SELECT count(*) FROM audit_logs").parse().unwrap();
    migrate(&old, rows.len() as u64, &add, &count);
    tamper(&old, &|sql| drop(server.sql(sql)));
    // What the entry of the first row says.
    let entry = world.run(&["show", "1", "--json"]).ok().json();
    let event = &entry["entry"]["event"];
    assert_eq!((&event["action"], &event["actor"]["id"]), (&rows[0][3].into(), &rows[0][2].into()), "{event}");
    assert_eq!(event["occurred_at"], rows[0][1], "{event}");
    let details = &event["details"];
    assert_eq!((&details["signed_before"], &details["row"]["uri"]), (&false.into(), &rows[0][8].into()));
    assert_eq!(
        (&details["source"]["key"]["id"], &details["source"]["table"]),
        (&1.into(), &"public.audit_logs".into())
    );
    assert!(!details["source"]["system"].as_str().unwrap().contains('@'), "{details}");
}

fn sqlite_trail(file: &Path, rows: &[csv::StringRecord]) -> Connection {
    let mut connection = Connection::open(file).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    let columns: Vec<String> = COLUMNS.iter().map(|name| format!("{name} TEXT")).collect();
    let table = format!("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, {})", columns.join(", "));
    connection.execute(&table, []).unwrap();
    let all = connection.transaction().unwrap();
    let insert = format!("INSERT INTO audit_logs ({}) VALUES (?{})", COLUMNS.join(", "), ", ?".repeat(14));
    for row in rows {
        let values = row.iter().map(|field| (!field.is_empty()).then_some(field));
        all.execute(&insert, rusqlite::params_from_iter(values)).unwrap();
    }
    all.commit().unwrap();
    connection
}

#[test]
fn a_kubernetes_trail_in_sqlite_is_migrated_under_way_killed_and_resumed() {
    let Some(rows) = trail() else { return };
    let world = World::new();
    let file = world.at("old.db");
    drop(sqlite_trail(&file, &rows));
    let open = || {
        let connection = Connection::open(&file).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    };
    let old = Old { world: &world, from: format!("sqlite:{}", file.display()) };
    let add = || {
        let insert =
            "INSERT INTO audit_logs (created_at, username, verb) VALUES ('2026-01-01T00:00:00Z', 'live', 'get')";
        open().execute(insert, []).unwrap();
        thread::sleep(Duration::from_millis(5));
    };
    let count = || {
        let count: i64 = open().query_row("SELECT count(*) FROM audit_logs", [], |row| row.get(0)).unwrap();
        count.unsigned_abs()
    };
    migrate(&old, rows.len() as u64, &add, &count);
    tamper(&old, &|sql| assert_eq!(open().execute(sql, []).unwrap(), 1));
}

/// A small table in a file.
fn small(world: &World, statements: &str) -> String {
    let connection = Connection::open(world.at("old.db")).unwrap();
    connection.execute_batch(statements).unwrap();
    format!("sqlite:{}", world.path("old.db"))
}

const SMALL: &str =
    "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, user_id INTEGER, action TEXT, created_at INTEGER);
    INSERT INTO audit_logs VALUES (1, 7, 'login', 1674844088), (2, 8, 'logout', 1674844089);";

#[test]
fn without_a_mapping_one_is_proposed_and_nothing_is_imported() {
    let world = World::new();
    let from = small(&world, SMALL);
    let old = Old { world: &world, from };
    let done = old.run(&[]).code(2);
    assert!(done.err.contains("--map") && done.err.contains("--yes"), "{}", done.err);
    let proposed: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&proposed["times"], &proposed["event"]["action"]),
        (&"unix_s".into(), &"{action}".into()),
        "{proposed}"
    );
    assert_eq!(world.entries(), 1);
    let done = old.run(&["--yes"]).ok();
    assert!(done.err.contains("2 rows read: 2 recorded"), "{}", done.err);
    assert!(done.err.contains("has 2 rows, the log 2 entries of it: equal"), "{}", done.err);
    let event = &world.run(&["show", "1", "--json"]).ok().json()["entry"]["event"];
    assert_eq!(event["occurred_at"], "2023-01-27T18:28:08.000000Z", "{event}");
    // Under another mapping the rows are the same rows.
    let map = world.write("other.json", r#"{"format":"sql","event":{"action":"old.{action}","actor.id":"{user_id}"}}"#);
    let done = old.run(&["--map", &map, "--json"]).ok().json();
    assert_eq!((&done["recorded"], &done["reconciliation"]["equal"]), (&0.into(), &true.into()), "{done}");
    let done = old.run(&["--map", &map, "--source", "elsewhere", "--json"]).ok().json();
    assert_eq!(done["recorded"], 2, "{done}");
    world.run(&["verify"]).ok();
}

#[test]
fn what_cannot_be_imported_is_told_with_the_remedy() {
    let world = World::new();
    let from = small(
        &world,
        "CREATE TABLE keyless (action TEXT, who TEXT); CREATE TABLE hollow (id TEXT PRIMARY KEY, action TEXT, who TEXT);
         INSERT INTO hollow VALUES (NULL, 'a', 'b'); CREATE TABLE words (id TEXT PRIMARY KEY NOT NULL, action TEXT, who TEXT);
         CREATE TABLE dull (id INTEGER PRIMARY KEY, colour TEXT);",
    );
    let import = |args: &[&str]| world.run(&[&["import", "--format", "sql"], args].concat());
    import(&["--from", &from, "--table", "absent"]).refused(1, &["no table `absent`", "`keyless`"]);
    import(&["--from", &from, "--table", "keyless"]).refused(1, &["no primary key", "`key` in the mapping"]);
    import(&["--from", &from, "--table", "hollow"]).refused(1, &["NULL", "never NULL"]);
    import(&["--from", &from, "--table", "words", "--yes", "--follow"]).refused(1, &["does not grow", "import again"]);
    import(&["--from", &from, "--table", "dull", "--yes"])
        .refused(2, &["no column is named like an action", "--propose"]);
    import(&["--from", "sqlite:nowhere.db", "--table", "x"]).refused(1, &["nowhere.db", "is it there"]);
    let text =
        world.write("text.db", "not a database, but long enough to have a header in it, or so it would seem to be");
    import(&["--from", &format!("sqlite:{text}"), "--table", "x"]).refused(1, &["is it an SQLite file"]);
    import(&["--from", "mysql://u:secret@h/db", "--table", "x"]).refused(2, &["sqlite:FILE"]);
    import(&["--table", "x"]).refused(2, &["--from"]);
    import(&["--from", &from, "--table", "x", "file"]).refused(2, &["not by files"]);
    world.run(&["import", "--format", "jsonl"]).refused(2, &["no file is named"]);
    let map = |text: &str| world.write("map.json", text);
    let wrong = map(r#"{"format":"sql","event":{"action":"{actoin}","actor.id":"{who}"}}"#);
    import(&["--from", &from, "--table", "words", "--map", &wrong]).refused(1, &["no column `actoin`", "`action`?"]);
    let wrong = map(r#"{"format":"sql","key":["who"],"event":{"action":"{action}","actor.id":"{who}"}}"#);
    import(&["--from", &from, "--table", "words", "--map", &wrong]).refused(1, &["no unique index", "`key`"]);
    let wrong = map(r#"{"format":"sql","key":["nil"],"event":{"action":"{action}","actor.id":"{who}"}}"#);
    import(&["--from", &from, "--table", "words", "--map", &wrong]).refused(1, &["no columns `nil`"]);
    let wrong = map(r#"{"format":"csv","event":{"action":"{action}","actor.id":"{who}"}}"#);
    import(&["--from", &from, "--table", "words", "--map", &wrong]).refused(1, &["`sql`"]);
    assert_eq!(world.entries(), 1);
}

#[test]
fn a_server_that_refuses_is_told_and_no_password_is_shown() {
    let options = Options::default().with_hba("host all all 127.0.0.1/32 scram-sha-256\n");
    let Some(server) = TestServer::start(options) else { return };
    let world = World::new();
    let password = server.role("app", "");
    let import = |from: &str, env: Option<&str>| {
        let args = ["import", "--format", "sql", "--from", from, "--table", "audit_logs"];
        let mut command = world.command(&args);
        command.env_remove("PGPASSWORD").envs(env.map(|password| ("PGPASSWORD", password)));
        Done::of(&command.stdin(Stdio::null()).output().unwrap())
    };
    let wrong = server.url_with_password("app", "wr0ng", "postgres");
    let done = import(&wrong, None);
    assert!(!done.err.contains("wr0ng"), "{}", done.err);
    done.refused(1, &["does not take the password of role `app`", "PGPASSWORD", "app:***@"]);
    import(&server.url("app", "postgres"), None).refused(1, &["PGPASSWORD"]);
    let good = server.url_with_password("app", &password, "postgres");
    import(&good, None).refused(1, &["no table `audit_logs`"]);
    import(&server.url("app", "postgres"), Some(&password)).refused(1, &["no table `audit_logs`"]);
    let elsewhere = server.url_with_password("app", &password, "elsewhere");
    import(&elsewhere, None).refused(1, &["no database `elsewhere`"]);
    server.sql("CREATE TABLE audit_logs (action text, who text)");
    import(&good, None).refused(1, &["no primary key"]);
    server.sql("ALTER TABLE audit_logs ADD id int PRIMARY KEY");
    import(&good, None).refused(1, &["permission denied"]);
    server.stop();
    import(&good, None).refused(1, &["nothing answers at"]);
}

#[test]
fn the_lines_of_an_older_signer_are_checked_on_the_way_in() {
    let python = std::process::Command::new("python3").arg("-c").arg(OLD_SIGNER).output();
    let Some(signed) = python.ok().filter(|done| done.status.success()) else {
        eprintln!("SKIPPED (aloud): no python3 to play the older signer");
        return;
    };
    let world = World::new();
    let file = world.write("old.jsonl", &signed.stdout);
    let key = world.write("old.key", "old secret\n");
    let map = world.write(
        "map.json",
        r#"{"format":"jsonl","times":"unix_s","event":{"action":"{/action}","actor.id":"{/user}","occurred_at":"{/at}"}}"#,
    );
    let import = |world: &World, more: &[&str]| {
        world.run(&[&["import", "--json", "--format", "signed-jsonl", "--map", &map], more, &[&file]].concat())
    };
    let done = import(&world, &["--old-key", &key]).code(3);
    let expected = serde_json::json!({ "valid": 8, "invalid": 1, "missing": 1, "unchecked": 0 });
    assert_eq!((&done.json()["recorded"], &done.json()["old_signatures"]), (&10.into(), &expected), "{}", done.out);
    assert!(done.err.contains("line 9: its old signature is not valid"), "{}", done.err);
    assert!(done.err.contains("line 10: it has no old signature"), "{}", done.err);
    let checks: Vec<Value> = (1..=10)
        .map(|index: u64| world.run(&["show", &index.to_string(), "--json"]).ok().json()["entry"]["event"].clone())
        .map(|event| event["details"]["old_signature"]["check"].clone())
        .collect();
    assert_eq!((&checks[0], &checks[8], &checks[9]), (&"valid".into(), &"invalid".into(), &"missing".into()));
    assert_eq!(import(&world, &["--old-key", &key]).code(3).json()["duplicates"], 10);
    // Without the key nothing is said of the signatures.
    let world = World::new();
    let done = import(&world, &[]).code(3).json();
    assert_eq!((&done["old_signatures"]["unchecked"], &done["recorded"]), (&9.into(), &10.into()), "{done}");
    import(&world, &["--old-key", "env:NO_SUCH_VARIABLE"]).refused(1, &["NO_SUCH_VARIABLE"]);
    world.run(&["import", "--format", "signed-jsonl", &file]).refused(2, &["--map"]);
}

/// Four spellings by two encodings, then one line that was changed and one that was never signed.
const OLD_SIGNER: &str = r#"
import base64, hashlib, hmac, json
for n in range(10):
    record = {"user": "zo\u00eb \u20ac \U0001f600", "action": "door.open", "at": 1674844088.5 + n, "n": [1.0, 1e-7, 2**60, None, True], "z": {"b": {}, "a": []}}
    separators = (", ", ": ") if n % 2 else (",", ":")
    text = json.dumps(record, sort_keys=True, separators=separators, ensure_ascii=n % 4 < 2)
    mac = hmac.new(b"old secret", text.encode(), hashlib.sha256)
    if n != 9:
        record["signature"] = base64.b64encode(mac.digest()).decode() if n >= 4 else mac.hexdigest()
    if n == 8:
        record["action"] = "door.close"
    print(json.dumps(record))
"#;
