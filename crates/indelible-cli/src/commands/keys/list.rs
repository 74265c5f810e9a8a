//! `keys list`, `keys show`: what a ring says of its keys, without a secret and without the master key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::time::Micros;
use indelible_keys::{KeyError, KeyInfo, KeyRing};
use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    output::{self, safe},
    places::Places,
};

/// Lists all keys.
pub(crate) fn list(places: &Places, json: bool) -> Result<(), Failure> {
    let overview = KeyRing::overview(&places.keys()?)?;
    if json {
        let keys: Vec<Value> = overview.keys.iter().map(described).collect();
        return output::json(&json!({ "keys": keys }));
    }
    output::text(&table(&overview.keys))
}

/// Shows one key.
pub(crate) fn show(places: &Places, json: bool, id: &str) -> Result<(), Failure> {
    let overview = KeyRing::overview(&places.keys()?)?;
    let key = overview.keys.iter().find(|key| key.id == id);
    let key = key.ok_or_else(|| KeyError::Unknown { id: id.to_owned() })?;
    if json {
        return output::json(&described(key));
    }
    let Value::Object(mut members) = described(key) else { return Ok(()) };
    members.insert("purpose".to_owned(), key.purpose.to_string().into());
    let line = |(name, value): (String, Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{:<18} {}", name.replace('_', " "), safe(&value))
    };
    output::text(&members.into_iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A key as JSON. There is no secret in a [`KeyInfo`], and so none here.
pub(super) fn described(key: &KeyInfo) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    put("id", key.id.as_str().into());
    put("purpose", key.purpose.name().into());
    put("algorithm", key.algorithm.name().into());
    put("version", key.version.into());
    put("state", key.state.name().into());
    put("created_at", key.created_at.to_string().into());
    for (name, time) in [
        ("activated_at", key.activated_at),
        ("retired_at", key.retired_at),
        ("compromised_at", key.compromised_at),
        ("destroyed_at", key.destroyed_at),
        ("due_at", key.due_at()),
    ] {
        if let Some(time) = time {
            put(name, time.to_string().into());
        }
    }
    put("cryptoperiod_days", key.cryptoperiod_days.into());
    if let Some(reason) = &key.reason {
        put("reason", reason.as_str().into());
    }
    if let Some(public) = &key.public {
        put("public", STANDARD.encode(public).into());
    }
    Value::Object(members)
}

/// The day of a time.
pub(super) fn day(time: Micros) -> String {
    time.to_string().chars().take("2026-01-01".len()).collect()
}

/// Keys in lines and columns.
pub(super) fn table(keys: &[KeyInfo]) -> String {
    let head = ["key", "purpose", "algorithm", "state", "made", "due"].map(str::to_owned);
    let rows = keys.iter().map(|key| {
        let due = key.due_at().map(day).unwrap_or_default();
        let (purpose, algorithm) = (key.purpose.to_string(), key.algorithm.to_string());
        [key.id.clone(), purpose, algorithm, key.state.to_string(), day(key.created_at), due]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        safe(cells.collect::<Vec<_>>().join("  ").trim_end()).into_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
