//! An application's own table in PostgreSQL, whose changes become entries: by trigger and outbox, in the application's transaction.

use anyhow::Context as _;
use indelible::{
    KeyRing, Log, Options,
    clock::{Clock as _, SystemClock},
    verify::{Report, Request, verify},
};
use indelible_core::tree::LeafIndex;
use indelible_service::Relay;
use indelible_store::{disk::OsDisk, driver::Driver as _, heads::FileHeads};
use indelible_store_postgres::{Database, PostgresDriver, Settings};
use serde_json::Value;

use super::postgres::Server;

/// Name of the log.
const ORIGIN: &str = "demo.example/fernhill/patients";
const DATABASE: &str = "fernhill";

/// Patients of the ward that is closed, and of the other.
const MOVED: u64 = 24;
const STAYING: u64 = 16;

/// What is changed by hand, without a word to any library.
pub(super) const BULK_UPDATE: &str = "UPDATE patients SET ward = 'east' WHERE ward = 'west'";

/// What became of it.
pub(super) struct Outbox {
    /// The first entry of the change: `patients/1: ward "west" -> "east", by mara.ekholm`.
    pub(super) first: String,
    /// Whether every changed row is an entry with its values before and after and with the application's user.
    pub(super) complete: bool,
    /// What verification says of the log.
    pub(super) whole: Report,
    /// What it says after the superuser changed an entry, and which.
    pub(super) tampered: Report,
    pub(super) changed: u64,
}

impl Outbox {
    pub(super) const ROWS: u64 = MOVED;
}

/// Plays it on a server of its own. `None` where PostgreSQL is not installed.
pub(super) fn play(keys: &KeyRing) -> anyhow::Result<Option<Outbox>> {
    let Some(server) = Server::start()? else { return Ok(None) };
    let relay = furnish(&server)?;
    let driver = PostgresDriver::new(relay.clone(), Some(ORIGIN.to_owned()));
    let log = Log::create_in(&driver, ORIGIN, keys, Options::default())?;
    open(&server, "clinic")?.install_triggers("public.patients", Some(ORIGIN), &[])?;
    server.psql("clinic", DATABASE, &format!("SET indelible.actor = 'mara.ekholm'; {BULK_UPDATE}"))?;
    Relay::new(&relay, &log).drain()?;
    // Entry 0 is the log's own.
    let events = (1..=MOVED).map(|index| event(&log, index)).collect::<anyhow::Result<Vec<_>>>()?;
    let complete = log.size()? == MOVED + 1 && events.iter().all(is_move);
    let first = events.first().map(told).unwrap_or_default();
    log.close()?;
    let whole = verify_log(&driver, keys)?;
    let changed = MOVED / 2;
    server.psql("postgres", DATABASE, &format!(
        "ALTER TABLE indelible.entries DISABLE TRIGGER refuse_change; \
         UPDATE indelible.entries SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'mara.ekholm', 'jon.ekholm!'), 'UTF8') WHERE idx = {changed}; \
         ALTER TABLE indelible.entries ENABLE ALWAYS TRIGGER refuse_change"
    ))?;
    let tampered = verify_log(&driver, keys)?;
    Ok(Some(Outbox { first, complete, whole, tampered, changed }))
}

/// The application's table, our schema, and a login for each. Gives the database as the relay's.
fn furnish(server: &Server) -> anyhow::Result<Database> {
    server.psql("postgres", "postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    let owner = open(server, "postgres")?;
    owner.migrate(false)?;
    let all = MOVED + STAYING;
    server.psql("postgres", DATABASE, &format!(
        "CREATE ROLE clinic LOGIN; CREATE ROLE relay LOGIN; \
         CREATE TABLE patients (id int PRIMARY KEY, ward text NOT NULL); ALTER TABLE patients OWNER TO clinic; \
         INSERT INTO patients SELECT n, CASE WHEN n <= {MOVED} THEN 'west' ELSE 'east' END FROM generate_series(1, {all}) n"
    ))?;
    for (role, login) in [("audit_source", "clinic"), ("audit_relay", "relay")] {
        owner.grant(role, login)?;
    }
    open(server, "relay")
}

fn open(server: &Server, login: &str) -> anyhow::Result<Database> {
    Ok(Database::new(&server.url(login, DATABASE), Settings::default())?)
}

fn event(log: &Log, index: u64) -> anyhow::Result<Value> {
    let entry: Value = serde_json::from_slice(&log.get(LeafIndex(index))?.entry)?;
    entry.get("event").cloned().with_context(|| format!("entry {index} holds no event"))
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_move(event: &Value) -> bool {
    let wards = (text(event, "/change/before/ward"), text(event, "/change/after/ward"));
    wards == ("west", "east") && text(event, "/actor/id") == "mara.ekholm"
}

fn told(event: &Value) -> String {
    let wards = (text(event, "/change/before/ward"), text(event, "/change/after/ward"));
    format!(
        "{} by {}: ward before \"{}\", after \"{}\"",
        text(event, "/action"),
        text(event, "/actor/id"),
        wards.0,
        wards.1
    )
}

fn verify_log(driver: &PostgresDriver, keys: &KeyRing) -> anyhow::Result<Report> {
    let reader = driver.reader()?;
    let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
    let request = Request {
        heads: Some(&heads),
        head_required: true,
        strict: true,
        ..Request::of_ring(keys, &reader.info().origin, SystemClock::default().now())?
    };
    Ok(verify(&*reader, &request)?)
}
