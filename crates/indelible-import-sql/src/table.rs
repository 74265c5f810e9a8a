//! What a table can be asked, whatever database it is in.

use std::borrow::Cow;

use indelible_import::Column;
use serde_json::{Map, Value};

use crate::{cell::Cell, error::SqlError};

/// Most rows that are read in one transaction.
pub const PAGE_ROWS: usize = 1000;

/// How many rows are looked at before a mapping is proposed.
const SAMPLE_ROWS: usize = 20;

/// The values of a row's key columns.
pub type Key = Vec<Cell>;

/// A table as its database describes it.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its name, with its schema where there are schemas.
    pub table: String,
    /// All columns, in their order.
    pub columns: Vec<ColumnInfo>,
    /// The places of the key's columns among them.
    pub key: Vec<usize>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type, as the database writes it.
    pub type_name: String,
    /// Whether values that are added later are greater, as far as the type tells.
    pub grows: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The values, in the order of the columns.
    pub cells: Vec<Cell>,
}

/// Which rows to read: behind a key, up to another.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Rows behind this key; from the first where there is none.
    pub after: Option<Key>,
    /// Rows up to this key and with it; to the last where there is none.
    pub to: Option<Key>,
}

/// A table that is read. Every call is a short transaction that only reads.
pub trait Table {
    /// What it looks like.
    fn shape(&self) -> &Shape;
    /// The next rows of a range, in the order of the key.
    ///
    /// # Errors
    /// [`SqlError`].
    fn page(&mut self, range: &Range, limit: usize) -> Result<Vec<Row>, SqlError>;
    /// The key of the last row.
    ///
    /// # Errors
    /// [`SqlError`].
    fn last_key(&mut self) -> Result<Option<Key>, SqlError>;
    /// The rows with these keys, in any order.
    ///
    /// # Errors
    /// [`SqlError`].
    fn find(&mut self, keys: &[Key]) -> Result<Vec<Row>, SqlError>;
}

impl Shape {
    /// The names of all columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The columns of the key.
    pub fn key_columns(&self) -> impl Iterator<Item = &ColumnInfo> {
        self.key.iter().filter_map(|place| self.columns.get(*place))
    }

    /// The key of a row.
    #[must_use]
    pub fn key_of(&self, row: &Row) -> Key {
        self.key.iter().filter_map(|place| row.cells.get(*place)).cloned().collect()
    }

    /// The key of a row as an object from column to value.
    #[must_use]
    pub fn key_json(&self, key: &[Cell]) -> Value {
        self.key_columns().zip(key).map(|(column, cell)| (column.name.clone(), cell.to_key_json())).collect()
    }

    /// Reads what [`Shape::key_json`] wrote; `None` where it was written for another key.
    #[must_use]
    pub fn key_from_json(&self, key: &Map<String, Value>) -> Option<Key> {
        if key.len() != self.key.len() {
            return None;
        }
        self.key_columns().map(|column| Cell::from_key_json(key.get(&column.name)?)).collect()
    }

    /// The whole row as an object from column to value.
    #[must_use]
    pub fn row_json(&self, row: &Row) -> Value {
        self.columns.iter().zip(&row.cells).map(|(column, cell)| (column.name.clone(), cell.to_json())).collect()
    }

    /// The text of each column, for the rules of a mapping.
    #[must_use]
    pub fn texts<'a>(&'a self, row: &'a Row) -> Vec<(&'a str, Cow<'a, str>)> {
        self.columns.iter().zip(&row.cells).map(|(column, cell)| (column.name.as_str(), cell.text())).collect()
    }
}

/// What a mapping is proposed from: the columns, with some of their values.
///
/// # Errors
/// [`SqlError`].
pub fn sample(table: &mut dyn Table) -> Result<Vec<Column>, SqlError> {
    let rows = table.page(&Range::default(), SAMPLE_ROWS)?;
    let column = |(place, info): (usize, &ColumnInfo)| Column {
        name: info.name.clone(),
        type_name: info.type_name.clone(),
        samples: rows
            .iter()
            .filter_map(|row| Some(row.cells.get(place)?.text().into_owned()))
            .filter(|text| !text.is_empty())
            .collect(),
    };
    Ok(table.shape().columns.iter().enumerate().map(column).collect())
}

/// The SQL that both databases understand; `value` writes the n-th parameter (from 1) for a column of the key.
pub(crate) struct Statements<'a> {
    pub(crate) select: String,
    pub(crate) from: String,
    pub(crate) key: Vec<String>,
    pub(crate) value: &'a dyn Fn(usize, usize) -> String,
}

impl Statements<'_> {
    fn values(&self, number: &mut usize) -> String {
        let one = |place: usize| {
            *number += 1;
            (self.value)(*number, place)
        };
        format!("({})", (0..self.key.len()).map(one).collect::<Vec<_>>().join(", "))
    }

    /// A page; its parameters are those of `range`, `after` before `to`.
    pub(crate) fn page(&self, range: &Range, limit: usize) -> String {
        let Self { select, from, .. } = self;
        let (key, mut number) = (self.key.join(", "), 0);
        let mut conditions = vec![];
        for (bound, operator) in [(&range.after, ">"), (&range.to, "<=")] {
            if bound.is_some() {
                conditions.push(format!("({key}) {operator} {}", self.values(&mut number)));
            }
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        format!("SELECT {select} FROM {from}{conditions} ORDER BY {key} LIMIT {limit}")
    }

    pub(crate) fn last(&self) -> String {
        let Self { select, from, key, .. } = self;
        format!("SELECT {select} FROM {from} ORDER BY {} DESC LIMIT 1", key.join(" DESC, "))
    }

    /// Rows with one of so many keys, one behind the other as parameters.
    pub(crate) fn find(&self, keys: usize) -> String {
        let Self { select, from, key, .. } = self;
        let mut number = 0;
        let values: Vec<String> = (0..keys).map(|_| self.values(&mut number)).collect();
        format!("SELECT {select} FROM {from} WHERE ({}) IN (VALUES {})", key.join(", "), values.join(", "))
    }
}

/// An identifier, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The places of columns by their names.
pub(crate) fn places(columns: &[ColumnInfo], names: &[String]) -> Option<Vec<usize>> {
    names.iter().map(|name| columns.iter().position(|column| column.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_by_key_of_several_columns() {
        let statements = Statements {
            select: "*".to_owned(),
            from: quoted("a\"b"),
            key: vec![quoted("x"), quoted("y")],
            value: &|number, place| format!("${number}:{place}"),
        };
        let range = Range { after: Some(vec![]), to: Some(vec![]) };
        let expected = r#"SELECT * FROM "a""b" WHERE ("x", "y") > ($1:0, $2:1) AND ("x", "y") <= ($3:0, $4:1) ORDER BY "x", "y" LIMIT 5"#;
        assert_eq!(statements.page(&range, 5), expected);
        assert_eq!(statements.page(&Range::default(), 5), r#"SELECT * FROM "a""b" ORDER BY "x", "y" LIMIT 5"#);
        assert_eq!(statements.last(), r#"SELECT * FROM "a""b" ORDER BY "x" DESC, "y" DESC LIMIT 1"#);
        let expected = r#"SELECT * FROM "a""b" WHERE ("x", "y") IN (VALUES ($1:0, $2:1), ($3:0, $4:1))"#;
        assert_eq!(statements.find(2), expected);
    }
}
