//! A table in an SQLite file.
//!
//! The file is opened for reading alone. Each page is one statement, so the file is locked against writers in the old journal
//! mode for the milliseconds that a page takes, and never in WAL mode.

use std::{path::Path, time::Duration};

use rusqlite::{
    Connection, OpenFlags, Row as Found, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    cell::Cell,
    error::SqlError,
    table::{ColumnInfo, Key, Range, Row, Shape, Statements, Table, places, quoted},
};

/// How long a writer may keep us waiting.
const BUSY: Duration = Duration::from_secs(10);

const ADD_KEY: &str =
    "name columns that are unique and NOT NULL as `key` in the mapping, or give the table a primary key";

/// A table in a file.
pub(crate) struct SqliteTable {
    connection: Connection,
    place: String,
    system: String,
    shape: Shape,
}

impl SqliteTable {
    pub(crate) fn open(file: &Path, table: &str, key: Option<&[String]>) -> Result<Self, SqlError> {
        let place = format!("sqlite:{}", file.display());
        let failed = |remedy| {
            let place = place.clone();
            move |source: rusqlite::Error| SqlError::Open { place, remedy, source: Box::new(source) }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(file, flags);
        let connection = opened.map_err(failed("is it there, and may it be read?"))?;
        let prepare = || {
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "query_only", true)?;
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
        };
        prepare().map_err(failed("is it an SQLite file, and not encrypted?"))?;
        let whole = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let system = format!("sqlite:{}", whole.display());
        let shape = Shape { table: table.to_owned(), columns: vec![], key: vec![] };
        let mut found = Self { connection, place, system, shape };
        found.describe(table, key)?;
        Ok(found)
    }

    /// The file, as entries name it.
    pub(crate) fn system(&self) -> &str {
        &self.system
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(rusqlite::Error) -> SqlError + use<> {
        let place = self.place.clone();
        move |source| SqlError::Database { step, place, source: Box::new(source) }
    }

    fn texts(&self, sql: &str, of: &str) -> Result<Vec<String>, SqlError> {
        let read = || {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([of], |row| row.get(0))?;
            rows.collect::<Result<Vec<String>, _>>()
        };
        read().map_err(self.failed("read what tables there are"))
    }

    fn describe(&mut self, table: &str, key: Option<&[String]>) -> Result<(), SqlError> {
        let named = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(?1)";
        let Some(name) = self.texts(named, table)?.into_iter().next() else {
            return Err(SqlError::NoTable {
                table: table.to_owned(),
                place: self.place.clone(),
                known: self.known_tables()?,
            });
        };
        let (columns, primary) = self.columns(&name)?;
        self.shape = Shape { table: name, columns, key: vec![] };
        let names = match key {
            Some(names) => names.to_vec(),
            None if primary.is_empty() => return Err(self.no_key("it has no primary key".to_owned(), ADD_KEY)),
            None => primary.clone(),
        };
        self.shape.key = match places(&self.shape.columns, &names) {
            Some(places) => places,
            None => return Err(self.no_key(format!("it has no columns `{}`", names.join("`, `")), "correct `key`")),
        };
        if key.is_some() && !covers(&names, &primary) && !self.is_unique(&names)? {
            let why = format!("no unique index says that `{}` tells its rows apart", names.join("`, `"));
            return Err(self.no_key(why, "create one, or name other columns as `key` in the mapping"));
        }
        self.refuse_empty_keys(&names)
    }

    fn known_tables(&self) -> Result<String, SqlError> {
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND ?1 <> '' ORDER BY name LIMIT 10";
        let tables = self.texts(tables, "any")?;
        Ok(if tables.is_empty() {
            "it holds no tables".to_owned()
        } else {
            format!("there are `{}`", tables.join("`, `"))
        })
    }

    /// All columns, and the names of those of the primary key in its order.
    fn columns(&self, table: &str) -> Result<(Vec<ColumnInfo>, Vec<String>), SqlError> {
        let read = || {
            // What is hidden belongs to virtual tables; generated columns are columns.
            let mut statement = self
                .connection
                .prepare("SELECT name, type, pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?;
            let rows = statement.query_map([table], |row| {
                let type_name: String = row.get(1)?;
                let grows = type_name.to_ascii_uppercase().contains("INT");
                Ok((ColumnInfo { name: row.get(0)?, type_name, grows }, row.get(2)?))
            })?;
            rows.collect::<Result<Vec<(ColumnInfo, i64)>, _>>()
        };
        let columns = read().map_err(self.failed("read the table's columns"))?;
        let mut primary: Vec<(i64, String)> =
            columns.iter().filter(|(_, pk)| *pk > 0).map(|(info, pk)| (*pk, info.name.clone())).collect();
        primary.sort();
        let columns = columns.into_iter().map(|(info, _)| info).collect();
        Ok((columns, primary.into_iter().map(|(_, name)| name).collect()))
    }

    fn is_unique(&self, names: &[String]) -> Result<bool, SqlError> {
        let indices = "SELECT name FROM pragma_index_list(?1) WHERE \"unique\" = 1 AND partial = 0";
        for index in self.texts(indices, &self.shape.table)? {
            // An expression has no name; it is read as one that no column has.
            let columns = self.texts("SELECT coalesce(name, '') FROM pragma_index_info(?1) ORDER BY seqno", &index)?;
            if covers(names, &columns) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// SQLite lets even primary keys be empty, and no page would come to such rows.
    fn refuse_empty_keys(&self, names: &[String]) -> Result<(), SqlError> {
        let any = names.iter().map(|name| format!("{} IS NULL", quoted(name))).collect::<Vec<_>>().join(" OR ");
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {any})", quoted(&self.shape.table));
        let found: bool =
            self.connection.query_row(&sql, [], |row| row.get(0)).map_err(self.failed("look for empty keys"))?;
        if found {
            let why = format!("some rows have NULL in `{}`", names.join("` or `"));
            return Err(self.no_key(why, "name columns that are never NULL as `key` in the mapping"));
        }
        Ok(())
    }

    fn no_key(&self, why: String, remedy: &'static str) -> SqlError {
        SqlError::NoKey { table: self.shape.table.clone(), why, remedy }
    }

    fn statements(&self) -> Statements<'static> {
        Statements {
            select: self.shape.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", "),
            from: quoted(&self.shape.table),
            key: self.shape.key_columns().map(|column| quoted(&column.name)).collect(),
            value: &|number, _| format!("?{number}"),
        }
    }

    fn rows<'a>(&self, sql: &str, values: impl Iterator<Item = &'a Cell>) -> Result<Vec<Row>, SqlError> {
        let width = self.shape.columns.len();
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let values: Vec<&dyn ToSql> = values.map(|cell| cell as &dyn ToSql).collect();
            let rows = statement.query_map(params_from_iter(values), |row| read_row(row, width))?;
            rows.collect::<Result<_, _>>()
        };
        read().map_err(self.failed("read the table's rows"))
    }
}

/// Whether what is unique by `unique` is unique by `names`.
fn covers(names: &[String], unique: &[String]) -> bool {
    !unique.is_empty() && unique.iter().all(|column| names.contains(column))
}

fn read_row(row: &Found<'_>, width: usize) -> rusqlite::Result<Row> {
    let cell = |place| {
        Ok(match row.get_ref(place)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Integer(value),
            ValueRef::Real(value) => Cell::Real(value),
            ValueRef::Text(bytes) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Cell::Text(text),
                Err(error) => Cell::BrokenText(error.into_bytes()),
            },
            ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        })
    };
    Ok(Row { cells: (0..width).map(cell).collect::<rusqlite::Result<_>>()? })
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::BrokenText(bytes) => ValueRef::Text(bytes),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

impl Table for SqliteTable {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn page(&mut self, range: &Range, limit: usize) -> Result<Vec<Row>, SqlError> {
        let values = range.after.iter().chain(&range.to).flatten();
        self.rows(&self.statements().page(range, limit), values)
    }

    fn last_key(&mut self) -> Result<Option<Key>, SqlError> {
        let rows = self.rows(&self.statements().last(), std::iter::empty())?;
        Ok(rows.first().map(|row| self.shape.key_of(row)))
    }

    fn find(&mut self, keys: &[Key]) -> Result<Vec<Row>, SqlError> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        self.rows(&self.statements().find(keys.len()), keys.iter().flatten())
    }
}
