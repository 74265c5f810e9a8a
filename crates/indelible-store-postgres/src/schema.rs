//! The schema: how it comes into being and moves forward, and whether it is still as it was made.
//!
//! INVARIANT(forward): migrations are applied in order, each once, recorded with the SHA-256 of its text, and none is ever undone. Everything
//! happens in one transaction. Functions, triggers and rights are written again every time, so that what was taken away comes back.

use std::collections::BTreeMap;

use indelible_core::hex;
use indelible_postgres_connect::{
    check::{self, Expected, ExpectedFunction, ExpectedTrigger, GuardedTable, Report},
    connect,
};
use indelible_store::store::StoreError;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param},
    database::{Database, Session},
    fault::Fault,
};

/// The schema version that this program writes.
pub const SCHEMA_VERSION: i32 = 3;

const MIGRATIONS: [(i32, &str, &str); 3] = [
    (1, "tables", include_str!("sql/0001_tables.sql")),
    (2, "outbox", include_str!("sql/0002_outbox.sql")),
    (3, "search", SEARCH_TABLES),
];
const ROLES: &str = include_str!("sql/roles.sql");
const GUARDS: &str = include_str!("sql/guards.sql");
const FUNCTIONS: &str = include_str!("sql/functions.sql");
const OUTBOX: &str = include_str!("sql/outbox.sql");
const SEARCH_TABLES: &str = include_str!("sql/0003_search.sql");
const SEARCH: &str = include_str!("sql/search.sql");
const CHECK_GUARDS: &str = include_str!("sql/check_guards.sql");

/// Two programs that migrate at once wait for each other; the lock ends with the transaction.
const ALONE: &str = "select pg_catalog.pg_advisory_xact_lock(7236831)";
const SCHEMA: &str = "create schema if not exists indelible authorization indelible_owner; set local role indelible_owner;
    create table if not exists indelible.schema_migrations (version integer primary key, name text not null, sha256 text not null,
        applied_at timestamptz not null default now())";
const APPLIED: &str = "select version, sha256 from indelible.schema_migrations";
const RECORD: &str = "insert into indelible.schema_migrations (version, name, sha256) values ($1, $2, $3)";
const MEMBER: &str = "select r.rolsuper or pg_catalog.pg_has_role(r.oid, o.oid, 'member')
    from pg_catalog.pg_roles r left join pg_catalog.pg_roles o on o.rolname = 'indelible_owner' where r.rolname = current_user";
const IS_ROLE: &str = "select 1 from pg_catalog.pg_roles where rolname = $1::text";
const VERSION: &str = "select max(version) from indelible.schema_migrations";
const STORED_FUNCTIONS: &str =
    "select p.proname::text, p.prosrc, pg_catalog.array_to_string(p.proconfig, ';'), p.prosecdef,
    pg_catalog.pg_get_userbyid(p.proowner)::text, exists (select from pg_catalog.aclexplode(coalesce(p.proacl,
        pg_catalog.acldefault('f', p.proowner))) a where a.grantee = 0)
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname = 'indelible'";

/// A migration, and whether it was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i32,
    /// What it is about.
    pub name: &'static str,
    /// Whether it had been applied before.
    pub applied_before: bool,
}

/// A part of the schema that is not as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFault {
    /// Table, function or role.
    pub place: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Database {
    /// Brings the schema to [`SCHEMA_VERSION`] and puts functions, triggers and rights back in place. With `dry_run` all of it is done and
    /// rolled back, so that what would fail does.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] for a schema of a newer program, [`StoreError::Unfit`] where the login may not do it or an applied migration is not this program's.
    pub fn migrate(&self, dry_run: bool) -> Result<Vec<Migration>, StoreError> {
        let pool = std::sync::Arc::clone(&self.pool);
        self.run(async move {
            let place = pool.place.clone();
            let told = |fault: Fault| fault.told(&place, "migrate the schema");
            let mut session = pool.session().await.map_err(told)?;
            let migrated = migrate(&mut session, &place).await;
            let end = if dry_run || migrated.is_err() { "rollback" } else { "commit" };
            let ended = session.batch(end).await.map_err(told);
            let migrated = migrated?;
            ended?;
            Ok(migrated)
        })
    }

    /// The names of all logs that are there, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where there is no schema.
    pub fn origins(&self) -> Result<Vec<String>, StoreError> {
        let step = "list the logs";
        let rows = self.read(step, Call::new("select origin from indelible.logs order by number", Vec::new()))?;
        let origins: Result<_, tokio_postgres::Error> = rows.iter().map(|row| row.try_get(0)).collect();
        origins.map_err(|error| Fault::from(error).told(self.place(), step))
    }

    /// Lets a login do what a role of ours may.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] where the login that is used may not grant it, or role or login are not there yet.
    pub fn grant(&self, role: &'static str, login: &str) -> Result<(), StoreError> {
        let remedies = [
            (role, "the roles are made by `indelible store migrate`: run that first".to_owned()),
            (login, format!("make the login first, such as `create role \"{login}\" login`, or correct its name")),
        ];
        for (name, remedy) in remedies {
            self.need_role(name, &remedy)?;
        }
        let pool = std::sync::Arc::clone(&self.pool);
        let sql = format!("grant {role} to \"{}\"", login.replace('"', "\"\""));
        self.run(async move {
            let told = |fault: Fault| fault.told(&pool.place, "grant a role");
            let mut session = pool.session().await.map_err(told)?;
            session.batch(&sql).await.map_err(told)
        })
    }

    fn need_role(&self, name: &str, remedy: &str) -> Result<(), StoreError> {
        let call = Call::new(IS_ROLE, vec![Param::Text(Some(name.to_owned()))]);
        if self.read("look for a role", call)?.is_empty() {
            let detail = format!("there is no role `{name}`: {remedy}");
            return Err(StoreError::Unfit { place: self.place().to_owned(), detail });
        }
        Ok(())
    }

    /// Looks at the server, the way to it, the login and the guards, and says what is unsafe.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be reached or asked.
    pub fn check(&self) -> Result<Report, StoreError> {
        let pool = std::sync::Arc::clone(&self.pool);
        self.run(async move {
            let config = &pool.config;
            let (client, connected) = connect(config)
                .await
                .map_err(|error| Fault::Unreached(Box::new(error)).told(&pool.place, "look at the server"))?;
            let pinned = "begin read only; set local search_path = pg_catalog, pg_temp";
            client
                .batch_execute(pinned)
                .await
                .map_err(|error| Fault::from(error).told(&pool.place, "look at the server"))?;
            check::check(&client, config, &connected, &expected(), std::time::SystemTime::now()).await.map_err(
                |error| StoreError::Database {
                    step: "look at the server",
                    place: pool.place.clone(),
                    source: Box::new(error),
                },
            )
        })
    }

    /// Whether everything that refuses changes is in place: triggers, functions, rights, ownership.
    ///
    /// # Errors
    /// [`StoreError`] where the catalogue cannot be read.
    pub fn check_guards(&self) -> Result<Vec<GuardFault>, StoreError> {
        guards(self)
    }
}

async fn migrate(session: &mut Session, place: &str) -> Result<Vec<Migration>, StoreError> {
    let told = |fault: Fault| fault.told(place, "migrate the schema");
    session.begin(&Call::new(ALONE, Vec::new())).await.map_err(told)?;
    let member = session.query(&Call::new(MEMBER, Vec::new())).await.map_err(told)?;
    let member = member.first().and_then(|row| row.try_get::<_, Option<bool>>(0).ok().flatten()).unwrap_or(false);
    session.batch(ROLES).await.map_err(told)?;
    session.batch(SCHEMA).await.map_err(told)?;
    let rows = session.query(&Call::new(APPLIED, Vec::new())).await.map_err(told)?;
    let done = applied(&rows).map_err(|error| told(error.into()))?;
    check_applied(&done, place)?;
    let mut migrations = Vec::new();
    for (version, name, sql) in MIGRATIONS {
        let applied_before = done.contains_key(&version);
        if !applied_before {
            session.batch(sql).await.map_err(told)?;
            let params = vec![Param::Int(version), text(name), text(&checksum(sql))];
            session.query(&Call::new(RECORD, params)).await.map_err(told)?;
        }
        migrations.push(Migration { version, name, applied_before });
    }
    session.batch(GUARDS).await.map_err(told)?;
    session.batch(FUNCTIONS).await.map_err(told)?;
    session.batch(OUTBOX).await.map_err(told)?;
    // What is derived may have been dropped.
    session.batch(SEARCH_TABLES).await.map_err(told)?;
    session.batch(SEARCH).await.map_err(told)?;
    session.batch("reset role").await.map_err(told)?;
    if !member {
        session.batch("revoke indelible_owner from current_user").await.map_err(told)?;
    }
    Ok(migrations)
}

fn text(text: &str) -> Param {
    Param::Text(Some(text.to_owned()))
}

fn checksum(sql: &str) -> String {
    hex::encode(&Sha256::digest(sql.as_bytes()))
}

fn applied(rows: &[Row]) -> Result<BTreeMap<i32, String>, tokio_postgres::Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn check_applied(done: &BTreeMap<i32, String>, place: &str) -> Result<(), StoreError> {
    if let Some(newest) = done.keys().next_back() {
        check_version(*newest, place)?;
    }
    for (version, _, sql) in MIGRATIONS {
        if done.get(&version).is_some_and(|sha256| sha256 != &checksum(sql)) {
            let detail = format!(
                "migration {version} was applied with another text than this program has: find out who changed it"
            );
            return Err(StoreError::Unfit { place: place.to_owned(), detail });
        }
    }
    Ok(())
}

fn check_version(found: i32, place: &str) -> Result<(), StoreError> {
    if found > SCHEMA_VERSION {
        let (found, known) = (u64::from(found.unsigned_abs()), SCHEMA_VERSION.unsigned_abs());
        return Err(StoreError::NewerFormat { place: place.to_owned(), found, known });
    }
    Ok(())
}

/// Refuses a schema that is missing, older or newer.
pub(crate) fn check(database: &Database) -> Result<(), StoreError> {
    let rows = database.read("read the schema's version", Call::new(VERSION, Vec::new()))?;
    let found = rows.first().and_then(|row| row.try_get::<_, Option<i32>>(0).ok().flatten()).unwrap_or(0);
    check_version(found, database.place())?;
    if found < SCHEMA_VERSION {
        let detail = format!(
            "its schema has version {found}, this program needs {SCHEMA_VERSION}: run `indelible store migrate`"
        );
        return Err(StoreError::Unfit { place: database.place().to_owned(), detail });
    }
    Ok(())
}

/// Everything in the schema that is not as it was made.
pub(crate) fn guards(database: &Database) -> Result<Vec<GuardFault>, StoreError> {
    let step = "check the schema's guards";
    let broken = |error: tokio_postgres::Error| Fault::from(error).told(database.place(), step);
    let mut faults = Vec::new();
    for row in database.read(step, Call::new(CHECK_GUARDS, Vec::new()))? {
        faults.push(GuardFault { place: row.try_get(0).map_err(broken)?, detail: row.try_get(1).map_err(broken)? });
    }
    let mut expected: BTreeMap<&str, Function<'_>> = functions();
    for row in database.read(step, Call::new(STORED_FUNCTIONS, Vec::new()))? {
        let name: &str = row.try_get(0).map_err(broken)?;
        let detail = match expected.remove(name) {
            None => Some("it is not ours".to_owned()),
            Some(function) => function.fault(&row).map_err(broken)?,
        };
        faults.extend(detail.map(|detail| GuardFault { place: format!("function indelible.{name}"), detail }));
    }
    faults.extend(
        expected
            .into_keys()
            .map(|name| GuardFault { place: format!("function indelible.{name}"), detail: "it is missing".to_owned() }),
    );
    Ok(faults)
}

/// What `store check` holds a server against: the tables that refuse change, and the functions, as this program makes them.
#[must_use]
pub fn expected() -> Expected {
    let table = |(name, guard): (&str, &str)| GuardedTable {
        name: name.to_owned(),
        triggers: [("refuse_change", guard, 27), ("refuse_truncate", "refuse_change", 34)]
            .map(|(name, function, kind)| ExpectedTrigger {
                name: name.to_owned(),
                function: function.to_owned(),
                kind,
            })
            .to_vec(),
    };
    let function = |(name, function): (&str, Function<'_>)| ExpectedFunction {
        name: name.to_owned(),
        body: function.body.to_owned(),
        definer: function.definer,
        search_path: function.config.trim_start_matches("search_path=").to_owned(),
    };
    Expected {
        schema: "indelible".to_owned(),
        owner: "indelible_owner".to_owned(),
        tables: GUARDED.map(table).to_vec(),
        functions: functions().into_iter().map(function).collect(),
        privileges: vec!["SELECT".to_owned()],
    }
}

/// The guarded tables, and what refuses changes of their rows. `sql/check_guards.sql` has the same.
const GUARDED: [(&str, &str); 12] = [
    ("logs", "refuse_change"),
    ("entries", "refuse_change"),
    ("ids", "refuse_change"),
    ("tree_hashes", "refuse_change"),
    ("checkpoints", "refuse_change"),
    ("attachments", "refuse_change"),
    ("schema_migrations", "refuse_change"),
    ("heads", "refuse_shrinking"),
    ("trees", "refuse_shrinking"),
    ("published", "refuse_removal"),
    ("outbox", "refuse_edit"),
    ("outbox_refused", "refuse_change"),
];

/// A function as its source has it.
struct Function<'a> {
    body: &'a str,
    config: String,
    definer: bool,
}

impl Function<'_> {
    fn fault(&self, row: &Row) -> Result<Option<String>, tokio_postgres::Error> {
        let config: Option<&str> = row.try_get(2)?;
        let owner: &str = row.try_get(4)?;
        Ok(if row.try_get::<_, &str>(1)? != self.body {
            Some("its body was changed".to_owned())
        } else if config != Some(self.config.as_str()) {
            Some(format!("its settings are `{}`, not `{}`", config.unwrap_or_default(), self.config))
        } else if row.try_get::<_, bool>(3)? != self.definer {
            Some("it runs with the rights of another than its maker meant".to_owned())
        } else if owner != "indelible_owner" {
            Some(format!("it belongs to `{owner}`"))
        } else if row.try_get(5)? {
            Some("everybody may call it".to_owned())
        } else {
            None
        })
    }
}

/// What the embedded sources define: name, body, settings.
fn functions() -> BTreeMap<&'static str, Function<'static>> {
    let mut found = BTreeMap::new();
    for source in [GUARDS, FUNCTIONS, OUTBOX, SEARCH] {
        for text in source.split("create or replace function indelible.").skip(1) {
            let parts = text.split_once('(').zip(text.split_once("as $$"));
            let Some(((name, _), (head, rest))) = parts else { continue };
            let path = head.rsplit_once("search_path = ").map_or("", |(_, path)| path.trim());
            let body = rest.split_once("$$;").map_or(rest, |(body, _)| body);
            let config = format!("search_path={path}");
            found.insert(name, Function { body, config, definer: head.contains("security definer") });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_pins_its_search_path() {
        let functions = functions();
        assert_eq!(functions.len(), 37);
        for (name, function) in functions {
            assert!(function.config.starts_with("search_path=pg_catalog"), "{name}");
            assert!(function.body.starts_with('\n') && function.body.ends_with("end "), "{name}");
        }
    }

    #[test]
    fn both_lists_of_guarded_tables_agree() {
        for (table, guard) in GUARDED {
            assert!(CHECK_GUARDS.contains(&format!("('{table}', '{guard}')")), "{table}");
        }
        assert_eq!(CHECK_GUARDS.matches("', 'refuse_").count(), GUARDED.len());
    }

    #[test]
    fn migrations_are_numbered_one_behind_the_other() {
        for (number, (version, ..)) in (1..).zip(MIGRATIONS) {
            assert_eq!(version, number);
        }
        assert_eq!(MIGRATIONS.last().map(|(version, ..)| *version), Some(SCHEMA_VERSION));
    }
}
