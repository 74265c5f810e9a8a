//! One log in a PostgreSQL database as a place: create, open, rebuild.

use std::sync::Arc;

use indelible_core::{
    FORMAT_VERSION,
    control::Control,
    mac::LogId,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, leaf_hash},
};
use indelible_store::{
    driver::{Driver, Leased, Recovered, TailCheck},
    follow::Follower,
    store::{LogInfo, PrunedRange, Reader, StoreError, Writer, parse_line},
};
use tokio_postgres::Row;

use crate::{
    call::{Call, Param},
    database::Database,
    pruned,
    reader::PostgresReader,
    rebuild::rebuild,
    schema,
    writer::PostgresWriter,
};

const FIND: &str = "select number, origin, log_id, format from indelible.logs
    where $1::text is null or origin = $1 order by number limit 2";
const CREATE: &str = "select indelible.create_log($1, $2, $3, $4)";

/// Bytes of the tail that are read at a time.
const READ_TAIL: usize = 1 << 20;

/// A log in a database.
#[derive(Clone)]
pub struct PostgresDriver {
    database: Database,
    origin: Option<String>,
    migrate: bool,
}

impl PostgresDriver {
    /// The log `origin` in a database; the only one there where none is named.
    #[must_use]
    pub fn new(database: Database, origin: Option<String>) -> Self {
        Self { database, origin, migrate: false }
    }

    /// Whether creating a log brings the schema up first. The login needs the right to do so.
    #[must_use]
    pub fn migrate_on_create(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    fn find(&self) -> Result<Option<PostgresReader>, StoreError> {
        schema::check(&self.database)?;
        let step = "find the log";
        let rows = self.database.read(step, Call::new(FIND, vec![Param::Text(self.origin.clone())]))?;
        if let (None, [_, _, ..]) = (&self.origin, &rows[..]) {
            let names = self.database.origins()?;
            let detail = format!("it holds several logs, say which behind `#`: `{}`", names.join("`, `"));
            return Err(StoreError::NotALog { place: self.place(), detail });
        }
        let Some(row) = rows.first() else { return Ok(None) };
        let (log, info) = self.info_of(row)?;
        Ok(Some(PostgresReader::new(self.database.clone(), log, info)))
    }

    fn info_of(&self, row: &Row) -> Result<(i64, LogInfo), StoreError> {
        let broken = |error| crate::fault::Fault::Postgres(error).told(self.database.place(), "find the log");
        let id: &[u8] = row.try_get(2).map_err(broken)?;
        let format: i32 = row.try_get(3).map_err(broken)?;
        let format = format.unsigned_abs();
        if format > FORMAT_VERSION {
            let (found, known) = (u64::from(format), FORMAT_VERSION);
            return Err(StoreError::NewerFormat { place: self.place(), found, known });
        }
        let log_id = LogId(id.try_into().unwrap_or_default());
        let origin = row.try_get(1).map_err(broken)?;
        Ok((row.try_get(0).map_err(broken)?, LogInfo { origin, log_id, format }))
    }

    fn open(&self) -> Result<PostgresReader, StoreError> {
        self.find()?.ok_or_else(|| {
            let detail = match &self.origin {
                Some(origin) => format!("it holds no log `{origin}`: create it, or correct the name"),
                None => "it holds no log: create one".to_owned(),
            };
            StoreError::NotALog { place: self.place(), detail }
        })
    }

    /// Refuses to write where something that refuses changes is gone.
    fn check_guards(&self) -> Result<(), StoreError> {
        let faults = schema::guards(&self.database)?;
        let Some(first) = faults.first() else { return Ok(()) };
        let remedy = first.remedy.as_deref().unwrap_or("run `indelible store migrate`, which puts the guards back");
        let detail = format!(
            "{}: {} (and {} more, see `indelible store check`): find out who changed it, verify the log, then {remedy}",
            first.place,
            first.detail,
            faults.len() - 1
        );
        Err(StoreError::Unfit { place: self.database.place().to_owned(), detail })
    }
}

impl Driver for PostgresDriver {
    fn place(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{}#{origin}", self.database.place()),
            None => self.database.place().to_owned(),
        }
    }

    fn exists(&self) -> Result<bool, StoreError> {
        Ok(self.find()?.is_some())
    }

    fn create(&self, info: &LogInfo) -> Result<Arc<dyn Writer>, StoreError> {
        if self.migrate {
            self.database.migrate(false)?;
        }
        schema::check(&self.database)?;
        self.check_guards()?;
        let params = vec![
            Param::Text(Some(info.origin.clone())),
            Param::bytes(&info.log_id.0),
            Param::Int(i32::try_from(info.format).unwrap_or(i32::MAX)),
            Param::bytes(&leaf_hash(b"").0),
        ];
        let step = "create the log";
        let rows = self.database.write(step, Call::new(CREATE, params))?;
        let broken = |error| crate::fault::Fault::Postgres(error).told(self.database.place(), step);
        let log = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(broken)?;
        let reader = PostgresReader::new(self.database.clone(), log, info.clone());
        // A log with this id and entries was made before, by whoever copied it there.
        if reader.head()?.size.0 > 0 {
            return Err(StoreError::Exists { place: self.place() });
        }
        Ok(Arc::new(PostgresWriter::new(reader)?))
    }

    fn reader(&self) -> Result<Arc<dyn Reader>, StoreError> {
        Ok(Arc::new(self.open()?))
    }

    fn reader_of_entry_zero(&self) -> Result<Arc<dyn Reader>, StoreError> {
        let mut reader = self.open()?;
        if let Some(info) = said_by_entry_zero(&reader) {
            reader.info = info;
        }
        Ok(Arc::new(reader))
    }

    fn lease(&self) -> Result<Box<dyn Leased>, StoreError> {
        let reader = self.open()?;
        self.check_guards()?;
        Ok(Box::new(Shared { reader }))
    }

    fn prune(&self, range: &PrunedRange, told: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let reader = self.open()?;
        self.check_guards()?;
        pruned::prune(&self.database, reader.log, range, told)
    }

    /// Needs a login that may act as `indelible_owner`.
    fn rebuild(&self, reader: &dyn Reader, head: &TreeHead, _: u64) -> Result<(), StoreError> {
        rebuild(&self.database, self.open()?.log, reader, head)
    }
}

/// What entry 0 says that the log is.
fn said_by_entry_zero(reader: &PostgresReader) -> Option<LogInfo> {
    let chunk = reader.read(LeafIndex(0), 0).ok()?;
    let line = parse_line(chunk.lines().next()?, 0).ok()?;
    let Ok(Control::LogCreated(created)) = Control::parse(line.entry.body) else { return None };
    let log_id = LogId::from_hex(&created.log_id)?;
    Some(LogInfo { origin: created.origin, log_id, format: FORMAT_VERSION })
}

/// A log that is about to be opened. Nobody is kept away: every batch has a turn of its own.
struct Shared {
    reader: PostgresReader,
}

impl Leased for Shared {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn open(
        self: Box<Self>,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Arc<dyn Writer>, Recovered), StoreError> {
        let end = self.reader.head()?;
        if end.size < head.size {
            let detail = format!("the log ends here, its newest head covers {} entries", head.size);
            return Err(StoreError::Evidence { index: end.size.0, detail });
        }
        let last_leaf = self.check_tail(head.size, end.size, check)?;
        if last_leaf.is_some_and(|leaf| leaf != end.last_leaf) {
            let detail = "the last entry is not the one that the head row names".to_owned();
            return Err(StoreError::Evidence { index: end.size.0.saturating_sub(1), detail });
        }
        let writer = PostgresWriter::new(self.reader)?;
        let recovered = Recovered {
            size: end.size.0,
            last_leaf: end.last_leaf,
            last_recorded_at: end.recorded_at,
            cut: None,
            clean: true,
            bounded: writer.adopt_marks()?,
        };
        Ok((Arc::new(writer), recovered))
    }
}

impl Shared {
    /// Reads what no checkpoint covers yet, from the last entry that one covers on. Returns the last leaf hash.
    fn check_tail(&self, anchored: TreeSize, end: TreeSize, check: &dyn TailCheck) -> Result<Option<Hash>, StoreError> {
        let before = if anchored.0 == 0 { Some(leaf_hash(b"")) } else { None };
        let mut follower = Follower::new(anchored.0.saturating_sub(1), before, None);
        while follower.next() < end.0 {
            let chunk = self.reader.read(LeafIndex(follower.next()), READ_TAIL)?;
            for (index, line) in (chunk.first..end.0).zip(chunk.lines()) {
                let line = parse_line(line, index)?;
                let evidence = |detail| StoreError::Evidence { index, detail };
                let leaf = follower.take(&line).map_err(evidence)?;
                if let Some(fault) = check.fault(&line, &leaf) {
                    return Err(fault.at(index));
                }
            }
        }
        Ok(follower.leaf())
    }
}
