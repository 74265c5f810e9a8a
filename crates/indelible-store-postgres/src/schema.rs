//! The schema: how it comes into being and moves forward, and whether it is still as it was made.
//!
//! INVARIANT(forward): migrations are applied in order, each once, recorded with the SHA-256 of its text, and none is ever undone. Everything
//! happens in one transaction. Functions, triggers and rights are written again every time, so that what was taken away comes back.

use std::collections::BTreeMap;

use indelible_core::hex;
use indelible_postgres_connect::{
    check::{self, Allows, GuardFault, QUESTION, Report},
    connect,
};
use indelible_store::store::StoreError;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param, texts},
    database::{Database, Session},
    expected::{FUNCTIONS, GUARDED, GUARDS, OUTBOX, PRUNING, SEARCH, SEARCH_TABLES, expected},
    fault::{Fault, LOOK_FOR_SCHEMA},
};

/// The schema version that this program writes.
pub const SCHEMA_VERSION: i32 = 5;

const MIGRATIONS: [(i32, &str, &str); 5] = [
    (1, "tables", include_str!("sql/0001_tables.sql")),
    (2, "outbox", include_str!("sql/0002_outbox.sql")),
    (3, "search", SEARCH_TABLES),
    (4, "pruning", include_str!("sql/0004_pruning.sql")),
    (5, "keys", include_str!("sql/0005_keys.sql")),
];
const ROLES: &str = include_str!("sql/roles.sql");

/// Two programs that migrate at once wait for each other; the lock ends with the transaction.
const ALONE: &str = "select pg_catalog.pg_advisory_xact_lock(7236831)";
const SCHEMA: &str = "create schema if not exists indelible authorization indelible_owner; set local role indelible_owner;
    create table if not exists indelible.schema_migrations (version integer primary key, name text not null, sha256 text not null,
        applied_at timestamptz not null default now())";
const APPLIED: &str = "select version, sha256 from indelible.schema_migrations";
const RECORD: &str = "insert into indelible.schema_migrations (version, name, sha256) values ($1, $2, $3)";
/// Since PostgreSQL 16 a membership may only allow to give a role on, as who makes a role has it: `set` asks whether it can be acted as.
const MEMBER: &str = "select r.rolsuper or pg_catalog.pg_has_role(r.oid, o.oid,
        case when pg_catalog.current_setting('server_version_num')::int < 160000 then 'member' else 'set' end)
    from pg_catalog.pg_roles r left join pg_catalog.pg_roles o on o.rolname = 'indelible_owner' where r.rolname = current_user";
const IS_ROLE: &str = "select 1 from pg_catalog.pg_roles where rolname = $1::text";
const VERSION: &str = "select max(version) from indelible.schema_migrations";
const STEP: &str = "check the schema's guards";
const IS_THERE: &str = "select pg_catalog.to_regnamespace('indelible') is not null";
/// Guards on the tables that refuse changes, and on their partitions behind them.
const GUARD: &str = "select indelible.guard(('indelible.' || g.name)::pg_catalog.regclass, g.function) from unnest($1, $2) g(name, function)";
const GUARD_PARTITIONS: &str =
    "select indelible.guard(p.inhrelid::pg_catalog.regclass, 'refuse_change') from pg_catalog.pg_inherits p
    where p.inhparent = 'indelible.entries'::pg_catalog.regclass";

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

/// What migrating did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations, in their order.
    pub migrations: Vec<Migration>,
    /// Guards and rights that were not as this program makes them, and now are.
    pub restored: Vec<GuardFault>,
    /// What is still not as it should be: migrating takes nothing away that others made. Each says what to do.
    pub left: Vec<GuardFault>,
}

impl Database {
    /// Brings the schema to [`SCHEMA_VERSION`] and puts functions, triggers and rights back in place. With `dry_run` all of it is done and
    /// rolled back, so that what would fail does.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] for a schema of a newer program, [`StoreError::Unfit`] where the login may not do it or an applied migration is not this program's.
    pub fn migrate(&self, dry_run: bool) -> Result<Migrated, StoreError> {
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

    /// Whether everything that refuses changes is in place: triggers, functions, ownership, and no rights or memberships by which somebody could go around them.
    ///
    /// # Errors
    /// [`StoreError`] where the catalogue cannot be read.
    pub fn check_guards(&self) -> Result<Vec<GuardFault>, StoreError> {
        guards(self)
    }
}

async fn migrate(session: &mut Session, place: &str) -> Result<Migrated, StoreError> {
    let told = |fault: Fault| fault.told(place, "migrate the schema");
    session.begin(&Call::new(ALONE, Vec::new())).await.map_err(told)?;
    let member = session.query(&Call::new(MEMBER, Vec::new())).await.map_err(told)?;
    let member = member.first().and_then(|row| row.try_get::<_, Option<bool>>(0).ok().flatten()).unwrap_or(false);
    let before = look(session).await.map_err(told)?;
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
    restore(session).await.map_err(told)?;
    if !member {
        session.batch("revoke indelible_owner from current_user").await.map_err(told)?;
    }
    let left = look(session).await.map_err(told)?;
    let restored = before.into_iter().filter(|fault| !left.contains(fault)).collect();
    Ok(Migrated { migrations, restored, left })
}

/// Writes functions, triggers and rights again, as the owner that the session acts as.
async fn restore(session: &mut Session) -> Result<(), Fault> {
    session.batch(GUARDS).await?;
    // The guard of the entries is among these.
    session.batch(PRUNING).await?;
    let (tables, guards) = GUARDED.iter().map(|(table, guard)| (*table, *guard)).unzip::<_, _, Vec<_>, Vec<_>>();
    session.query(&Call::new(GUARD, vec![texts(&tables), texts(&guards)])).await?;
    session.query(&Call::new(GUARD_PARTITIONS, Vec::new())).await?;
    session.batch(FUNCTIONS).await?;
    session.batch(OUTBOX).await?;
    // What is derived may have been dropped.
    session.batch(SEARCH_TABLES).await?;
    session.batch(SEARCH).await?;
    session.batch("reset role").await
}

/// What is not as it was made, within the migration's transaction; nothing where nothing was made yet.
async fn look(session: &mut Session) -> Result<Vec<GuardFault>, Fault> {
    let there = session.query(&Call::new(IS_THERE, Vec::new())).await?;
    if !there.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok(Vec::new());
    }
    Ok(faults(&session.query(&guards_call()).await?)?)
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
    let rows = database.read(LOOK_FOR_SCHEMA, Call::new(VERSION, Vec::new()))?;
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

/// What of the guards is gone or changed, and who may change what was recorded: no log is written beside that.
pub(crate) fn guards(database: &Database) -> Result<Vec<GuardFault>, StoreError> {
    let rows = database.read(STEP, guards_call())?;
    let faults = faults(&rows).map_err(|error| Fault::from(error).told(database.place(), STEP))?;
    Ok(faults.into_iter().filter(|fault| fault.allows == Allows::Change).collect())
}

fn guards_call() -> Call {
    Call::new(QUESTION, expected().parameters().iter().map(|column| texts(column)).collect())
}

fn faults(rows: &[Row]) -> Result<Vec<GuardFault>, tokio_postgres::Error> {
    rows.iter().map(GuardFault::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_one_behind_the_other() {
        for (number, (version, ..)) in (1..).zip(MIGRATIONS) {
            assert_eq!(version, number);
        }
        assert_eq!(MIGRATIONS.last().map(|(version, ..)| *version), Some(SCHEMA_VERSION));
    }
}
