//! House rules that no compiler and no lint holds.

use std::{fs, path::Path};

use crate::workspace::{crates, root};

/// What the core must not so much as mention outside its tests: clock, files, sockets and threads come in as parameters.
const NOT_IN_THE_CORE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "now_v7",
    "new_v4",
    "SystemRandom",
];

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for member in crates() {
        let manifest = fs::read_to_string(root().join(&member.folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "`{}` has lints of its own", member.name);
    }
}

#[test]
fn core_mentions_no_clock_file_socket_or_thread() {
    let mut files = 0;
    each_source(&root().join("crates/indelible-core/src"), &mut |path, text| {
        files += 1;
        // A module's tests are its last part, and may read vectors from files.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(code.lines()) {
            let spoken = line.trim_start().starts_with("//");
            let found = NOT_IN_THE_CORE.iter().find(|word| !spoken && mentions(line, word));
            assert!(found.is_none(), "{}:{number}: {}", path.display(), found.unwrap());
        }
    });
    assert!(files > 10, "only {files} files were read");
}

/// Whether a word stands in a line as a word; `use std::{fs, io}` counts as `std::fs`.
fn mentions(line: &str, word: &str) -> bool {
    let inside = |text: &str, word: &str| {
        let letter = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        text.match_indices(word).any(|(at, _)| {
            let bytes = text.as_bytes();
            !letter(at.checked_sub(1).and_then(|at| bytes.get(at))) && !letter(bytes.get(at + word.len()))
        })
    };
    let in_braces = word
        .strip_prefix("std::")
        .is_some_and(|module| line.trim_start().starts_with("use std::{") && inside(line, module));
    in_braces || inside(line, word)
}

#[test]
fn words_are_found() {
    assert!(mentions("use std::fs;", "std::fs"));
    assert!(mentions("use std::{fs, io};", "std::fs"));
    assert!(mentions("let t = Instant::now();", "Instant"));
    assert!(!mentions("struct Instantly;", "Instant"));
    assert!(!mentions("use std::{fmt, io};", "std::fs"));
}

fn each_source(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_source(&path, look);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
