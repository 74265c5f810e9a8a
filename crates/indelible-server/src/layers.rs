//! What is in force, and where each value of it comes from.
//!
//! Defaults, then a file, then the environment, then the command line: each stands above the one before. A value's name in the environment is that in the file,
//! in capitals and with `_` for the dot: `limits.body_ms` is `INDELIBLE_SERVER_LIMITS_BODY_MS`. A name that means nothing is an error in all of them. Nothing
//! of a configuration is secret: keys stand in files, of which it has the names.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::{Table, Value};

use crate::{
    config::{Config, Tls},
    error::ServerError,
};

/// How the names of variables begin.
pub const PREFIX: &str = "INDELIBLE_SERVER_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(to, "default"),
            Self::File(path) => write!(to, "{}", path.display()),
            Self::Environment(name) => write!(to, "{name}"),
            Self::Flag(name) => write!(to, "{name}"),
        }
    }
}

/// A flag that was given: its name, what it sets, and to what.
pub type Flag = (&'static str, &'static str, Value);

/// A configuration of several layers.
#[derive(Clone, Debug)]
pub struct Layered {
    /// What is in force.
    pub config: Config,
    sources: BTreeMap<String, Source>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name, like `limits.body_ms`.
    pub name: String,
    /// What it is; `None` where it is not set.
    pub value: Option<Value>,
    /// Where it comes from.
    pub source: Source,
}

impl Layered {
    /// Reads all layers. [`Config::check`] is still to be asked.
    ///
    /// # Errors
    /// [`ServerError::Config`]: which of them is wrong, and what about it.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Vec<Flag>,
    ) -> Result<Self, ServerError> {
        let (kinds, mut values, mut sources) = (kinds(), BTreeMap::new(), BTreeMap::new());
        let mut put = |name: &str, value, source| {
            values.insert(name.to_owned(), value);
            sources.insert(name.to_owned(), source);
        };
        if let Some(path) = file {
            for (name, value) in flat(table(&Config::read(path)?, path)?) {
                put(&name, value, Source::File(path.to_owned()));
            }
        }
        for (variable, text) in environment.filter(|(variable, _)| variable.starts_with(PREFIX)) {
            let wrong = |detail: String| ServerError::Config { place: variable.clone(), detail };
            let known = kinds.iter().find(|(name, _)| variable_of(name) == variable);
            let (name, kind) = known.ok_or_else(|| wrong("the configuration has no value of this name".to_owned()))?;
            let value = parse(kind, &text).map_err(wrong)?;
            // Alone it says where the mistake is; all together they would not.
            let alone = nested([(name.clone(), value.clone())]);
            Config::deserialize(Value::Table(alone)).map_err(|error| wrong(one_line(&error)))?;
            put(name, value, Source::Environment(variable));
        }
        for (flag, name, value) in flags {
            put(name, value, Source::Flag(flag));
        }
        let wrong = |detail| ServerError::Config { place: "the configuration".to_owned(), detail };
        let config = Config::deserialize(Value::Table(nested(values))).map_err(|error| wrong(one_line(&error)))?;
        Ok(Self { config, sources })
    }

    /// All values, by name.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut values = flat(Table::try_from(&self.config).unwrap_or_default());
        let row = |name: String| {
            let source = self.sources.get(&name).cloned().unwrap_or(Source::Default);
            Row { value: values.remove(&name), name, source }
        };
        kinds().into_keys().map(row).collect()
    }
}

/// The values that a file has, in the form that they have when they are read.
fn table(config: &Config, path: &Path) -> Result<Table, ServerError> {
    let wrong = |detail: String| ServerError::Config { place: path.display().to_string(), detail };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let said: Table = toml::from_str(&text).map_err(|error| wrong(one_line(&error)))?;
    let said = flat(said);
    let all = flat(Table::try_from(config).map_err(|error| wrong(error.to_string()))?);
    Ok(nested(all.into_iter().filter(|(name, _)| said.contains_key(name))))
}

/// Every name with a value of its kind.
fn kinds() -> BTreeMap<String, Value> {
    let path = || Some(PathBuf::from("file"));
    let tls = Tls { certificate: path(), key: path(), client_ca: path(), client_crl: path(), ..Tls::default() };
    flat(Table::try_from(Config { tls, ..Config::default() }).unwrap_or_default())
}

fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "_").to_ascii_uppercase())
}

/// A text as a value of the same kind: a list is written as in the file, or with commas.
fn parse(kind: &Value, text: &str) -> Result<Value, String> {
    match kind {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is no whole number")),
        Value::Boolean(_) => text.parse().map(Value::Boolean).map_err(|_| format!("`{text}` is not true or false")),
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let table: Table = toml::from_str(&format!("list = {text}")).map_err(|error| one_line(&error))?;
            table.get("list").cloned().ok_or_else(|| format!("`{text}` is no list"))
        }
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Tables in tables as names with dots.
fn flat(table: Table) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                out.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            value => {
                out.insert(name, value);
            }
        }
    }
    out
}

/// The other way round. A configuration has one level of tables.
fn nested(values: impl IntoIterator<Item = (String, Value)>) -> Table {
    let mut out = Table::new();
    for (name, value) in values {
        match name.split_once('.') {
            None => {
                out.insert(name, value);
            }
            Some((table, rest)) => {
                let inner = out.entry(table).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(inner) = inner {
                    inner.insert(rest.to_owned(), value);
                }
            }
        }
    }
    out
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().trim_end().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn each_layer_stands_above_the_one_before_and_says_what_is_its() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "name = \"f.example\"\n[limits]\nbody_ms = 1\nwork_ms = 2\n[tls]\nnames = [\"a\"]\n")
            .unwrap();
        let environment = env(&[
            ("INDELIBLE_SERVER_LIMITS_WORK_MS", "3"),
            ("INDELIBLE_SERVER_TLS_CLIENT_CA", "ca.pem"),
            ("INDELIBLE_SERVER_NETWORK_ALLOW", "10.0.0.0/8, 192.0.2.1"),
            ("INDELIBLE_SERVER_OPEN", "[\"a/*\"]"),
            ("INDELIBLE_SERVER_LISTEN", "127.0.0.1:1"),
            ("OTHER", "x"),
        ]);
        let flags = vec![("--listen", "listen", Value::String("127.0.0.1:2".to_owned()))];
        let layered = Layered::read(Some(&file), environment, flags).unwrap();
        let config = &layered.config;
        assert_eq!((config.name.as_str(), config.listen.port()), ("f.example", 2));
        assert_eq!((config.limits.body_ms, config.limits.work_ms), (1, 3));
        assert_eq!((config.network.allow.len(), config.open.len()), (2, 1));
        let rows = layered.rows();
        let source = |name: &str| rows.iter().find(|row| row.name == name).unwrap().source.to_string();
        let rows_of = [
            ("name", file.display().to_string()),
            ("tls.names", file.display().to_string()),
            ("limits.body_ms", file.display().to_string()),
            ("limits.work_ms", "INDELIBLE_SERVER_LIMITS_WORK_MS".to_owned()),
            ("tls.client_ca", "INDELIBLE_SERVER_TLS_CLIENT_CA".to_owned()),
            ("listen", "--listen".to_owned()),
            ("limits.head_ms", "default".to_owned()),
        ];
        for (name, expected) in rows_of {
            assert_eq!(source(name), expected, "{name}");
        }
        assert!(rows.iter().any(|row| row.name == "tls.certificate" && row.value.is_none()));
    }

    #[test]
    fn every_value_can_be_set_in_the_environment_to_what_it_is() {
        for row in Layered::read(None, env(&[]), Vec::new()).unwrap().rows() {
            let Some(value) = row.value else { continue };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let layered = Layered::read(None, env(&[(&variable_of(&row.name), &text)]), Vec::new()).unwrap();
            assert_eq!(layered.config, Config::default(), "{}", row.name);
            let now = layered.rows().into_iter().find(|now| now.name == row.name).unwrap();
            assert_eq!(now.source, Source::Environment(variable_of(&row.name)));
        }
    }

    #[test]
    fn what_means_nothing_is_an_error_with_its_place() {
        for (name, value, word) in [
            ("INDELIBLE_SERVER_LIMITS_CONECTIONS", "1", "no value of this name"),
            ("INDELIBLE_SERVER_LIMITS_CONNECTIONS", "many", "whole number"),
            ("INDELIBLE_SERVER_LIMITS_CONNECTIONS", "-1", "-1"),
            ("INDELIBLE_SERVER_PLAIN_HTTP", "yes", "true or false"),
            ("INDELIBLE_SERVER_LISTEN", "here", "socket"),
            ("INDELIBLE_SERVER_NETWORK_DENY", "10.0.0.1/8", "network"),
            ("INDELIBLE_SERVER_OPEN", "[1", "list"),
        ] {
            let error = Layered::read(None, env(&[(name, value)]), Vec::new()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(word), "{error}");
        }
    }
}
