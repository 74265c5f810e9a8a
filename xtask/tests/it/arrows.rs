//! The arrows between the crates point downwards, and the core stays pure.

use crate::workspace::{Crate, cargo, crates, read};

/// Every crate under `crates/` and its layer. ARCHITECTURE.md has the same rows.
const LAYERS: &[(u8, &str)] = &[
    (0, "indelible-core"),
    (1, "indelible-import"),
    (1, "indelible-keys"),
    (1, "indelible-postgres-connect"),
    (1, "indelible-store"),
    (1, "indelible-test-postgres"),
    (2, "indelible-store-file"),
    (2, "indelible-store-postgres"),
    (2, "indelible-store-sqlite"),
    (3, "indelible"),
    (4, "indelible-import-sql"),
    (4, "indelible-middleware"),
    (4, "indelible-service"),
    (5, "indelible-server"),
    (6, "indelible-client"),
    (7, "indelible-cli"),
];

/// Any crate may test with it, and none may contain it.
const TEST_SERVER: &str = "indelible-test-postgres";
/// Tests that run the engine over a driver stand beside the driver.
const UPWARDS_FOR_TESTS: &[(&str, &str)] =
    &[("indelible-store-postgres", "indelible"), ("indelible-store-sqlite", "indelible")];

/// The highest layer whose storage calls are all blocking.
const BLOCKING_UP_TO: u8 = 3;

/// What brings files, sockets, clocks, randomness or async with it.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "chrono",
    "fastrand",
    "fs-err",
    "futures",
    "getrandom",
    "memmap2",
    "mio",
    "num_cpus",
    "parking_lot",
    "polling",
    "rand",
    "rand_chacha",
    "rand_core",
    "rayon",
    "reqwest",
    "rustix",
    "rusqlite",
    "smol",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tracing",
    "ureq",
    "walkdir",
];

/// They speak to a server over the network and hold no log.
const NETWORK_CLIENTS: &[&str] = &["indelible-postgres-connect", "indelible-store-postgres"];

/// What makes a crate async.
const ASYNC: &[&str] = &["async-io", "async-std", "axum", "hyper", "mio", "reqwest", "smol", "tokio"];

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, row)| *row == name).map(|(layer, _)| *layer)
}

fn library_crates() -> Vec<Crate> {
    crates().into_iter().filter(|member| member.folder.starts_with("crates")).collect()
}

#[test]
fn every_crate_has_a_row_and_every_row_a_crate() {
    let crates = library_crates();
    for member in &crates {
        assert!(
            layer(&member.name).is_some(),
            "`{}` has no layer: give it a row here and in ARCHITECTURE.md",
            member.name
        );
        assert!(member.folder.ends_with(&member.name), "`{}` lives in `{}`", member.name, member.folder.display());
    }
    for (_, name) in LAYERS {
        assert!(crates.iter().any(|member| member.name == *name), "the row of `{name}` has no crate");
    }
}

#[test]
fn arrows_point_downwards() {
    for member in library_crates() {
        let own = layer(&member.name).unwrap();
        for dependency in &member.dependencies {
            if let Some(theirs) = layer(&dependency.name) {
                let (from, to) = (&member.name, &dependency.name);
                if dependency.only_for_tests && UPWARDS_FOR_TESTS.contains(&(from.as_str(), to.as_str())) {
                    continue;
                }
                let tests_its_server = dependency.only_for_tests && to == TEST_SERVER;
                assert!(
                    theirs < own || tests_its_server,
                    "`{from}` (layer {own}) must not depend on `{to}` (layer {theirs})"
                );
                assert!(to != TEST_SERVER || tests_its_server, "`{from}` must not depend on `{to}` outside its tests");
            }
        }
    }
}

#[test]
fn importing_needs_the_core_alone() {
    let crates = library_crates();
    let import = crates.iter().find(|member| member.name == "indelible-import").unwrap();
    let ours = import.dependencies.iter().filter(|dependency| layer(&dependency.name).is_some());
    let others: Vec<_> = ours.map(|dependency| &dependency.name).filter(|name| *name != "indelible-core").collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn nothing_depends_on_xtask() {
    for member in crates() {
        assert!(member.dependencies.iter().all(|dependency| dependency.name != "xtask"), "`{}`", member.name);
    }
}

#[test]
fn core_depends_on_nothing_impure() {
    // All that the core brings with it, with the features that it switches on itself.
    let tree = cargo(&["tree", "-p", "indelible-core", "-e", "normal", "--prefix", "none"]);
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"indelible-core"), "{tree}");
    for name in names {
        assert!(!IMPURE.contains(&name), "`indelible-core` brings `{name}` with it");
    }
}

#[test]
fn storage_is_blocking() {
    for member in library_crates() {
        let network_client = NETWORK_CLIENTS.contains(&member.name.as_str());
        if layer(&member.name).unwrap() <= BLOCKING_UP_TO && !network_client {
            for dependency in member.dependencies.iter().filter(|dependency| !dependency.only_for_tests) {
                let (from, to) = (&member.name, &dependency.name);
                assert!(!ASYNC.contains(&to.as_str()), "`{from}` must not depend on `{to}` outside its tests");
            }
        }
    }
}

#[test]
fn architecture_has_the_same_rows() {
    let document = read("ARCHITECTURE.md");
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let layer = cells.next()?.trim().parse::<u8>().ok()?;
        let name = cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')?;
        Some((layer, name))
    });
    assert_eq!(rows.collect::<Vec<_>>(), LAYERS, "the table of layers in ARCHITECTURE.md");
}
