//! Logs in databases, each figure beside the bare engine: the same row bytes, the same commits, the same indexes, in the same run.
//!
//! A PostgreSQL of somebody's own gets a database for the benchmark, which is dropped at the end; no other is touched. (The roles of the schema belong to the whole server
//! and stay, as after `store migrate`.)

use std::{path::Path, str::FromStr, time::Instant};

use indelible::{
    KeyRing, Location, Log, Options,
    clock::{Clock as _, SystemClock},
    verify::{Request, Verdict, verify},
};
use indelible_store::{disk::OsDisk, heads::FileHeads};

use super::{
    BATCH,
    events::Pool,
    place,
    report::{Conditions, How, Report, Target},
    writing::{LONG, MANY, fill, singles},
};

const ORIGIN: &str = "bench/store";

/// The database that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// SQLite, in the benchmark's directory.
    #[cfg(feature = "sqlite")]
    Sqlite,
    /// A server that is started for it.
    #[cfg(feature = "postgres")]
    OwnPostgres,
    /// One that is there.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Self::Sqlite),
            #[cfg(feature = "postgres")]
            "postgres" => Ok(Self::OwnPostgres),
            #[cfg(feature = "postgres")]
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Self::Postgres(url.to_owned()))
            }
            _ => Err("give `sqlite`, `postgres` or a `postgres://…`".to_owned()),
        }
    }
}

/// What a store's bare engine takes. All rates are rows a second.
trait Bare {
    /// The rows of the log up to `end`, in the log's own commits.
    fn batched(&self, end: u64) -> anyhow::Result<f64>;
    /// One row a commit.
    fn singles(&self, row_bytes: usize) -> anyhow::Result<f64>;
    /// All rows read, each hashed.
    fn scan(&self) -> anyhow::Result<f64>;
    /// What these are, in the order above, and what ours are to reach.
    fn against(&self) -> [(&'static str, Target); 3];
}

/// Measures a store.
pub(crate) fn measure(store: &Store, dir: &Path, events: u64) -> anyhow::Result<Report> {
    match store {
        #[cfg(feature = "sqlite")]
        Store::Sqlite => sqlite::measure(dir, events),
        #[cfg(feature = "postgres")]
        Store::OwnPostgres => postgres::with_own_server(dir, events),
        #[cfg(feature = "postgres")]
        Store::Postgres(url) => postgres::measure(url, dir, dir, events),
    }
}

/// A log in a store, with the bare engine beside it.
struct Beside<'a> {
    store: String,
    /// Where the store's files are.
    files: &'a Path,
    place: Location,
    options: Options,
    bare: &'a dyn Bare,
}

impl Beside<'_> {
    fn measure(&self, dir: &Path, events: u64) -> anyhow::Result<Report> {
        let pool = Pool::new();
        let keys = KeyRing::load_or_create(&dir.join("keys"))?;
        let log = Log::create_in(&*self.place.driver(&self.options)?, ORIGIN, &keys, self.options.clone())?;
        let begun = Instant::now();
        fill(&log, &pool, events, 1)?;
        let ours = events as f64 / begun.elapsed().as_secs_f64();
        log.checkpoint()?;
        let (size, bytes) = (log.size()?, log.store().runs()?.iter().map(|run| run.bytes).sum::<u64>());
        let row_bytes = usize::try_from(bytes / size.max(1))?;
        let conditions = Conditions::of(self.store.clone(), self.files, pool.event_bytes, row_bytes, events);
        let mut report = Report::new(conditions);
        let [batched, single, scan] = self.bare.against();
        let durable =
            |batch, callers, (against, target)| How { durability: "durable", batch, callers, against, target };
        let bare = self.bare.batched(size)?;
        report.add("append_durable_batched", "events/s", (ours, bare), durable(BATCH, 1, batched));
        let verified = self.verify(&keys)?;
        let how = How { durability: "–", ..durable(1, place::cores(), scan) };
        report.add("verify", "entries/s", (verified, self.bare.scan()?), how);
        let ours = singles(&log, &pool, LONG)?;
        report.add("append_durable_64", "events/s", (ours, self.bare.singles(row_bytes)?), durable(1, MANY, single));
        log.close()?;
        Ok(report)
    }

    /// Entries a second, as the owner of the log verifies it.
    fn verify(&self, keys: &KeyRing) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let reader = self.place.driver(&self.options)?.reader()?;
        let heads = FileHeads::new(OsDisk::shared(), &keys.heads_dir());
        let request = Request {
            heads: Some(&heads),
            head_required: true,
            ..Request::of_ring(keys, ORIGIN, SystemClock::default().now())?
        };
        let report = verify(&*reader, &request)?;
        anyhow::ensure!(report.status == Verdict::Intact, "the benchmark's own log is {}", report.status.as_str());
        Ok(report.entries_verified as f64 / begun.elapsed().as_secs_f64())
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::{Path, PathBuf};

    use indelible_store_sqlite::bare::{Commits, inserts, scan};

    use super::{Bare, Beside, LONG, Location, Options, Report, Target};

    struct Plain {
        log: PathBuf,
        dir: PathBuf,
    }

    impl Bare for Plain {
        fn batched(&self, _: u64) -> anyhow::Result<f64> {
            Ok(inserts(&self.log, &self.dir.join("batched.db"), Commits::AsTheLog)?.rate())
        }

        fn singles(&self, _: usize) -> anyhow::Result<f64> {
            Ok(inserts(&self.log, &self.dir.join("single.db"), Commits::Single(LONG))?.rate())
        }

        fn scan(&self) -> anyhow::Result<f64> {
            Ok(scan(&self.log)?.rate())
        }

        fn against(&self) -> [(&'static str, Target); 3] {
            [
                ("one thread: prepared INSERT of the same rows, the same keys, the same commits", Target::AtLeast(0.5)),
                ("one thread: one row a transaction", Target::None),
                ("one thread: SELECT of the rows, leaf hashes", Target::None),
            ]
        }
    }

    pub(super) fn measure(dir: &Path, events: u64) -> anyhow::Result<Report> {
        let file = dir.join("log.db");
        let place = Location::Sqlite { file: file.clone(), origin: None, encrypted: false };
        let bare = Plain { log: file, dir: dir.to_owned() };
        let place = place.with_origin(super::ORIGIN);
        Beside { store: "SQLite".to_owned(), files: dir, place, options: Options::default(), bare: &bare }
            .measure(dir, events)
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::path::Path;

    use anyhow::Context as _;
    use indelible::Databases;
    use indelible_store_postgres::Database;

    use super::{BATCH, Bare, Beside, LONG, Location, MANY, ORIGIN, Options, Report, Target};
    use crate::demo::postgres::Server;

    struct Plain {
        database: Database,
    }

    impl Bare for Plain {
        fn batched(&self, end: u64) -> anyhow::Result<f64> {
            self.database.bare_tables()?;
            Ok(self.database.bare_copy(ORIGIN, (0, end), BATCH as u64)?.rate())
        }

        fn singles(&self, row_bytes: usize) -> anyhow::Result<f64> {
            Ok(self.database.bare_inserts(MANY, row_bytes, LONG)?.rate())
        }

        fn scan(&self) -> anyhow::Result<f64> {
            Ok(self.database.bare_verify()?.rate())
        }

        fn against(&self) -> [(&'static str, Target); 3] {
            [
                ("binary COPY of the same rows, the same indexes, the same commits", Target::AtLeast(0.5)),
                ("64 connections: INSERT of one row of the same bytes a transaction", Target::AtLeast(1.0)),
                ("one connection: COPY TO of the rows, leaf hashes", Target::AtLeast(0.7)),
            ]
        }
    }

    /// A database of the benchmark's own, dropped with the value.
    struct Own {
        server: Database,
        name: String,
    }

    impl Drop for Own {
        fn drop(&mut self) {
            // What is left is told by its name.
            let _ = self.server.run_alone(&format!("drop database if exists \"{}\" with (force)", self.name));
        }
    }

    pub(super) fn with_own_server(dir: &Path, events: u64) -> anyhow::Result<Report> {
        let server = Server::start()?.context(
            "PostgreSQL is not installed: install it, or name a server, as `--store postgres://superuser@host/postgres`",
        )?;
        measure(&server.url("postgres", "postgres"), &std::env::temp_dir(), dir, events)
    }

    pub(super) fn measure(url: &str, files: &Path, dir: &Path, events: u64) -> anyhow::Result<Report> {
        let databases = Databases::default();
        let server = databases.postgres(url)?;
        let name = format!("indelible_bench_{}", std::process::id());
        server.run_alone(&format!("create database \"{name}\""))?;
        let own = Own { server, name };
        let url = in_database(url, &own.name);
        let database = databases.postgres(&url)?;
        database.migrate(false)?;
        let store = format!("PostgreSQL {}", database.server_version()?);
        let options = Options { databases: databases.clone(), ..Options::default() };
        let place = Location::Postgres { url, origin: Some(ORIGIN.to_owned()) };
        let bare = Plain { database };
        Beside { store, files, place, options, bare: &bare }.measure(dir, events)
    }

    /// The URL of another database of the same server.
    fn in_database(url: &str, name: &str) -> String {
        let (before, query) =
            url.split_once('?').map_or((url, String::new()), |(url, query)| (url, format!("?{query}")));
        let authority = before.find("://").map_or(0, |at| at + 3);
        let path = before.get(authority..).and_then(|rest| rest.find('/')).map_or(before.len(), |at| authority + at);
        format!("{}/{name}{query}", before.get(..path).unwrap_or(before))
    }

    #[cfg(test)]
    mod tests {
        use super::in_database;

        #[test]
        fn another_database_of_the_same_server() {
            for (url, other) in [
                ("postgres://u@h/db", "postgres://u@h/x"),
                ("postgres://u@h:5433", "postgres://u@h:5433/x"),
                ("postgres://u@/db?host=%2Ftmp%2Fa&port=1", "postgres://u@/x?host=%2Ftmp%2Fa&port=1"),
                ("postgresql://u@h?sslmode=disable", "postgresql://u@h/x?sslmode=disable"),
            ] {
                assert_eq!(in_database(url, "x"), other);
            }
        }
    }
}
