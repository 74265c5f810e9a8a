//! Vectors of others, from a folder beside the workspace. Where it is absent they are skipped, and that is said.

mod crypto;
mod merkle;
mod notes;

use std::path::PathBuf;

use serde_json::Value;

/// Reads a file of vectors, or says aloud that its cases are skipped.
fn load(path: &str) -> Option<Value> {
    let shared = std::env::var_os("INDELIBLE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let file = shared.join("vectors").join(path);
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!("SKIPPED (aloud): no `{}`, so its vectors did not run", file.display());
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("`{}`: {error}", file.display())))
}

#[track_caller]
fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

#[track_caller]
fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().unwrap_or_else(|| panic!("no list `{member}` in {value}"))
}

#[track_caller]
fn bytes(value: &Value, member: &str) -> Vec<u8> {
    hex::decode(text(value, member)).unwrap()
}
