//! A table in PostgreSQL.
//!
//! Each page is a transaction of its own that only reads (`REPEATABLE READ READ ONLY`), with the settings that its texts depend on: it
//! holds no lock that a writer waits for, and keeps no old row versions alive for longer than a page takes. Statements have no names,
//! so a pool in front of the server may be one of transactions. A lost connection is made again: reading twice does no harm.

use std::{
    thread,
    time::{Duration, Instant},
};

use indelible::location::without_password;
use indelible_core::hex;
use indelible_postgres_connect::{Config, Environment, connect};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{
    Client,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    cell::Cell,
    error::SqlError,
    table::{ColumnInfo, Key, Range, Row, Shape, Statements, Table, places, quoted},
};

/// How long a lost connection is made again before the import gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Begins a page. The texts of values depend on these settings, and the digests of rows on the texts.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone TO 'UTC'; \
    SET LOCAL DateStyle TO 'ISO, YMD'; SET LOCAL IntervalStyle TO 'iso_8601'; SET LOCAL bytea_output TO 'hex'; \
    SET LOCAL extra_float_digits TO 1; SET LOCAL lc_monetary TO 'C'; SET LOCAL lock_timeout TO '30s'";

const FIND_TABLE: &str = "SELECT c.oid::text, n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
    AND c.relname = $2 AND CASE WHEN $1 = '' THEN pg_catalog.pg_table_is_visible(c.oid) ELSE n.nspname = $1 END";

const KNOWN_TABLES: &str = "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname::text \
    ELSE n.nspname || '.' || c.relname END FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1 LIMIT 10";

/// Of a domain, the type behind it counts.
const COLUMNS: &str = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
    pg_catalog.format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, NULL), a.attnotnull::text \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// The columns of unique indices, the primary key's first. Expressions and conditions tell rows apart in part only.
const UNIQUE: &str = "SELECT i.indexrelid::text, i.indisprimary::text, a.attname::text FROM pg_catalog.pg_index i \
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
    AND k.place <= i.indnkeyatts ORDER BY i.indisprimary DESC, i.indexrelid, k.place";

/// The table in a statement.
const ALIAS: &str = "old";

const ADD_KEY: &str =
    "name columns that are unique and NOT NULL as `key` in the mapping, or give the table a primary key";
const OTHER_KEY: &str = "create a unique index, or name other columns as `key` in the mapping";
const CORRECT_KEY: &str = "correct `key` in the mapping";

/// How the text of a column becomes a value.
#[derive(Clone, Copy)]
enum Reading {
    Bool,
    Integer,
    Real,
    Bytes,
    /// A time with a zone, which is UTC here.
    Zoned,
    Zoneless,
    Inet,
    Text,
}

/// A table on a server.
pub(crate) struct PostgresTable {
    runtime: Runtime,
    config: Config,
    client: Client,
    place: String,
    system: String,
    shape: Shape,
    schema: String,
    name: String,
    readings: Vec<Reading>,
}

fn config(url: &str) -> Result<Config, SqlError> {
    let config = Config::parse(url, &Environment::of_process()).map_err(|error| SqlError::Url(Box::new(error)))?;
    Ok(config.with_default_application_name("indelible import"))
}

/// The database without who comes to it.
fn system(config: &Config) -> String {
    let hosts: Vec<String> = config.hosts().iter().map(ToString::to_string).collect();
    format!("postgres://{}/{}", hosts.join(","), config.database())
}

impl PostgresTable {
    pub(crate) fn open(url: &str, table: &str, key: Option<&[String]>) -> Result<Self, SqlError> {
        let (config, place) = (config(url)?, without_password(url));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(SqlError::Runtime)?;
        let (client, _) = runtime.block_on(connect(&config)).map_err(|error| SqlError::Open {
            place: place.clone(),
            remedy: "the server cannot be used so",
            source: Box::new(error),
        })?;
        let shape = Shape { table: table.to_owned(), columns: vec![], key: vec![] };
        let system = system(&config);
        let (schema, name) = (String::new(), String::new());
        let mut found = Self { runtime, config, client, place, system, shape, schema, name, readings: vec![] };
        found.describe(table, key)?;
        Ok(found)
    }

    /// The database, as entries name it.
    pub(crate) fn system(&self) -> &str {
        &self.system
    }

    fn describe(&mut self, table: &str, key: Option<&[String]>) -> Result<(), SqlError> {
        let (schema, name) = table.split_once('.').unwrap_or(("", table));
        let found = self.texts("look for the table", FIND_TABLE, &[schema, name])?;
        let Some([oid, schema, name]) = found.into_iter().next().and_then(|row| <[String; 3]>::try_from(row).ok())
        else {
            let tables = self.texts("read what tables there are", KNOWN_TABLES, &[])?.concat();
            let known = match tables.is_empty() {
                true => "this user sees no tables here".to_owned(),
                false => format!("there are `{}`", tables.join("`, `")),
            };
            return Err(SqlError::NoTable { table: table.to_owned(), place: self.place.clone(), known });
        };
        self.shape.table = format!("{schema}.{name}");
        (self.schema, self.name) = (schema, name);
        let columns = self.texts("read the table's columns", COLUMNS, &[&oid])?;
        let mut not_null = vec![];
        for row in columns {
            let Ok([name, type_name, base, is_not_null]) = <[String; 4]>::try_from(row) else { continue };
            let reading = Reading::of(&base);
            let grows = matches!(reading, Reading::Integer | Reading::Zoned | Reading::Zoneless);
            if is_not_null == "true" {
                not_null.push(name.clone());
            }
            self.readings.push(reading);
            self.shape.columns.push(ColumnInfo { name, type_name, grows });
        }
        let names = self.key(&oid, key, &not_null)?;
        self.shape.key = match places(&self.shape.columns, &names) {
            Some(places) => places,
            None => return Err(self.no_key(format!("it has no columns `{}`", names.join("`, `")), CORRECT_KEY)),
        };
        Ok(())
    }

    /// The columns that tell rows apart.
    fn key(&mut self, oid: &str, named: Option<&[String]>, not_null: &[String]) -> Result<Vec<String>, SqlError> {
        let mut indices: Vec<(String, bool, Vec<String>)> = vec![];
        for row in self.texts("read the table's keys", UNIQUE, &[oid])? {
            let Ok([index, primary, column]) = <[String; 3]>::try_from(row) else { continue };
            match indices.last_mut() {
                Some((last, _, columns)) if *last == index => columns.push(column),
                _ => indices.push((index, primary == "true", vec![column])),
            }
        }
        let Some(names) = named else {
            let primary = indices.into_iter().find(|(_, primary, _)| *primary);
            return primary
                .map(|(_, _, columns)| columns)
                .ok_or_else(|| self.no_key("it has no primary key".to_owned(), ADD_KEY));
        };
        if let Some(name) = names.iter().find(|name| !self.shape.columns.iter().any(|column| column.name == **name)) {
            return Err(self.no_key(format!("it has no column `{name}`"), CORRECT_KEY));
        }
        if let Some(name) = names.iter().find(|name| !not_null.contains(name)) {
            return Err(self.no_key(
                format!("`{name}` may be NULL"),
                "make it NOT NULL, or name other columns as `key` in the mapping",
            ));
        }
        if !indices.iter().any(|(_, _, columns)| columns.iter().all(|column| names.contains(column))) {
            let why = format!("no unique index says that `{}` tells its rows apart", names.join("`, `"));
            return Err(self.no_key(why, OTHER_KEY));
        }
        Ok(names.to_vec())
    }

    fn no_key(&self, why: String, remedy: &'static str) -> SqlError {
        SqlError::NoKey { table: self.shape.table.clone(), why, remedy }
    }

    fn statements<'a>(&self, value: &'a dyn Fn(usize, usize) -> String) -> Statements<'a> {
        let select = self.shape.columns.iter().zip(&self.readings).map(|(column, reading)| {
            let name = column_of_table(&column.name);
            // As the server prints it, without the mask of a single address.
            if matches!(reading, Reading::Inet) {
                format!("pg_catalog.abbrev({name})")
            } else {
                format!("{name}::text")
            }
        });
        Statements {
            select: select.collect::<Vec<_>>().join(", "),
            from: format!("{}.{} AS {ALIAS}", quoted(&self.schema), quoted(&self.name)),
            key: self.shape.key_columns().map(|column| column_of_table(&column.name)).collect(),
            value,
        }
    }

    fn rows<'a>(
        &mut self,
        sql: impl Fn(&Statements<'_>) -> String,
        values: impl Iterator<Item = &'a Cell>,
    ) -> Result<Vec<Row>, SqlError> {
        let types: Vec<String> = self.shape.key_columns().map(|column| column.type_name.clone()).collect();
        let value = |number: usize, place: usize| {
            format!("CAST(${number} AS {})", types.get(place).map_or("text", String::as_str))
        };
        let sql = sql(&self.statements(&value));
        let values: Vec<String> = values.map(parameter).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let rows = self.optional_texts("read the table's rows", &sql, &values)?;
        Ok(rows.into_iter().map(|row| self.read_row(row)).collect())
    }

    fn read_row(&self, row: Vec<Option<String>>) -> Row {
        let cell = |(text, reading): (Option<String>, &Reading)| text.map_or(Cell::Null, |text| reading.read(text));
        Row { cells: row.into_iter().zip(&self.readings).map(cell).collect() }
    }

    fn texts(&mut self, step: &'static str, sql: &str, values: &[&str]) -> Result<Vec<Vec<String>>, SqlError> {
        let rows = self.optional_texts(step, sql, values)?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect())
    }

    /// The answer of a statement in a transaction of its own, on a new connection where this one is lost.
    fn optional_texts(
        &mut self,
        step: &'static str,
        sql: &str,
        values: &[&str],
    ) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let begun = Instant::now();
        loop {
            let error = match self.runtime.block_on(transaction(&self.client, sql, values)) {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if !is_lost(&self.client, &error) || begun.elapsed() > PATIENCE {
                return Err(SqlError::Database { step, place: self.place.clone(), source: Box::new(error) });
            }
            thread::sleep(PAUSE);
            if let Ok((client, _)) = self.runtime.block_on(connect(&self.config)) {
                self.client = client;
            }
        }
    }
}

/// A bare name behind `ORDER BY` would mean the column of the answer, which is text: 10 before 9.
fn column_of_table(name: &str) -> String {
    format!("{ALIAS}.{}", quoted(name))
}

/// Whether the connection is gone, or the server about to go: not what is asked is wrong, but the way there.
fn is_lost(client: &Client, error: &tokio_postgres::Error) -> bool {
    client.is_closed()
        || error.is_closed()
        || error.code().is_some_and(|code| {
            [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code)
        })
}

async fn transaction(
    client: &Client,
    sql: &str,
    values: &[&str],
) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    client.batch_execute(BEGIN).await?;
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT)).collect();
    let asked = client.query_typed(sql, &parameters).await;
    let ended = client.batch_execute(if asked.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
    let rows = asked?;
    ended?;
    rows.iter().map(|row| (0..row.len()).map(|place| row.try_get(place)).collect()).collect()
}

/// The value of a key as the text that the server reads.
fn parameter(cell: &Cell) -> String {
    match cell {
        Cell::Bytes(bytes) => format!("\\x{}", hex::encode(bytes)),
        other => other.text().into_owned(),
    }
}

impl Reading {
    fn of(type_name: &str) -> Self {
        match type_name {
            "boolean" => Self::Bool,
            "smallint" | "integer" | "bigint" => Self::Integer,
            "real" | "double precision" => Self::Real,
            "bytea" => Self::Bytes,
            "timestamp with time zone" => Self::Zoned,
            "timestamp without time zone" => Self::Zoneless,
            "inet" => Self::Inet,
            // Among them `numeric`, whose digits no JSON number holds, and JSON, whose spelling belongs to it.
            _ => Self::Text,
        }
    }

    fn read(self, text: String) -> Cell {
        match self {
            Self::Bool => Cell::Bool(text == "true"),
            Self::Integer => text.parse().map_or(Cell::Text(text), Cell::Integer),
            Self::Real => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Cell::Real(number),
                _ => Cell::Text(text),
            },
            Self::Bytes => bytes(&text).map_or(Cell::Text(text), Cell::Bytes),
            Self::Zoned => Cell::Text(match text.strip_suffix("+00") {
                Some(time) if is_written_out(time) => format!("{}Z", time.replacen(' ', "T", 1)),
                _ => text,
            }),
            Self::Zoneless if is_written_out(&text) => Cell::Text(text.replacen(' ', "T", 1)),
            Self::Zoneless | Self::Inet | Self::Text => Cell::Text(text),
        }
    }
}

/// `YYYY-MM-DD hh:mm:ss` with or without a fraction: not `infinity`, and no year of the past or far future.
fn is_written_out(text: &str) -> bool {
    let form = "0000-00-00 00:00:00";
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let fraction = text.get(form.len()..).unwrap_or("?");
    text.bytes().zip(form.bytes()).all(fits)
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(|f| f.bytes().all(|b| b.is_ascii_digit())))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    digits.chunks(2).map(|pair| hex::decode::<1>(pair).map(|[byte]| byte)).collect()
}

impl Table for PostgresTable {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn page(&mut self, range: &Range, limit: usize) -> Result<Vec<Row>, SqlError> {
        self.rows(|statements| statements.page(range, limit), range.after.iter().chain(&range.to).flatten())
    }

    fn last_key(&mut self) -> Result<Option<Key>, SqlError> {
        let rows = self.rows(|statements| statements.last(), std::iter::empty())?;
        Ok(rows.first().map(|row| self.shape.key_of(row)))
    }

    fn find(&mut self, keys: &[Key]) -> Result<Vec<Row>, SqlError> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        self.rows(|statements| statements.find(keys.len()), keys.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_server_become_values() {
        let rows = [
            (Reading::Zoned, "2023-01-27 18:28:08.129781+00", Cell::Text("2023-01-27T18:28:08.129781Z".to_owned())),
            (Reading::Zoned, "infinity", Cell::Text("infinity".to_owned())),
            (Reading::Zoned, "0044-03-15 12:00:00+00 BC", Cell::Text("0044-03-15 12:00:00+00 BC".to_owned())),
            (Reading::Zoneless, "2023-01-27 18:28:08", Cell::Text("2023-01-27T18:28:08".to_owned())),
            (Reading::Zoneless, "12023-01-27 18:28:08", Cell::Text("12023-01-27 18:28:08".to_owned())),
            (Reading::Bytes, "\\x00ff", Cell::Bytes(vec![0, 255])),
            (Reading::Real, "NaN", Cell::Text("NaN".to_owned())),
            (Reading::Real, "0.1", Cell::Real(0.1)),
            (Reading::Integer, "-9223372036854775808", Cell::Integer(i64::MIN)),
            (Reading::Bool, "true", Cell::Bool(true)),
            (Reading::of("numeric"), "1.10", Cell::Text("1.10".to_owned())),
        ];
        for (reading, text, expect) in rows {
            assert_eq!(reading.read(text.to_owned()), expect, "{text}");
        }
    }

    #[test]
    fn entries_do_not_name_the_user() {
        let named = |url: &str| system(&config(url).unwrap());
        assert_eq!(named("postgres://u:p@h/db"), "postgres://h:5432/db");
        assert_eq!(named("postgres://u@a:1,b:2/db?sslmode=prefer"), "postgres://a:1,b:2/db");
        let error = config("postgres://u:secret@h:port/db").unwrap_err();
        assert!(!indelible::error::chain(&error).contains("secret"), "{error}");
    }
}
