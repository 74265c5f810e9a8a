//! The bill of materials: CycloneDX 1.5, from `cargo metadata`.
//!
//! Only what is compiled into the binary or generates code for it: normal dependencies, for the one target, with the
//! features that this package switches on (`cargo tree` says which those are; `cargo metadata` joins those of the whole
//! workspace). No time and no serial number, and everything sorted: the same sources give the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::shell::{cargo, metadata, output, root};

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The bill of a package for a target, as pretty JSON.
pub(crate) fn of(name: &str, target: &str) -> Result<String> {
    let data = metadata(&["--filter-platform", target])?;
    let used = used_packages(name, target)?;
    let sums = lock_sums()?;
    let top = package(&data, name)?;
    let graph = graph(&data, &used)?;
    let top_ref = text(top, "id")?;
    let reached = reach(&graph, top_ref);
    let by_id: BTreeMap<&str, &Value> =
        array(&data, "packages")?.iter().filter_map(|p| Some((p.get("id")?.as_str()?, p))).collect();
    let mut components = BTreeMap::new();
    let mut links = BTreeMap::new();
    for id in &reached {
        let package = by_id.get(id.as_str()).context("`cargo metadata` is not consistent")?;
        let url = purl(package)?;
        let needs: BTreeSet<String> = graph
            .get(id)
            .into_iter()
            .flatten()
            .filter_map(|id| by_id.get(id.as_str()))
            .map(|p| purl(p))
            .collect::<Result<_>>()?;
        links.insert(url.clone(), json!({ "ref": url, "dependsOn": needs }));
        if id != top_ref {
            components.insert(url, component(package, "library", &sums)?);
        }
    }
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(top, "application", &sums)? },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": links.into_values().collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// A package of the workspace by its name.
pub(crate) fn package<'a>(data: &'a Value, name: &str) -> Result<&'a Value> {
    let mut packages = array(data, "packages")?.iter();
    packages
        .find(|p| p.get("name").and_then(Value::as_str) == Some(name))
        .with_context(|| format!("no package `{name}`"))
}

/// A member that is a string.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("`cargo metadata` gives no `{name}`"))
}

fn array<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value.get(name).and_then(Value::as_array).with_context(|| format!("`cargo metadata` gives no `{name}`"))
}

/// `name version` of what the package itself depends on.
fn used_packages(name: &str, target: &str) -> Result<BTreeSet<String>> {
    let args = ["tree", "--locked", "-p", name, "-e", "normal", "--target", target, "--prefix", "none"];
    let lines = output(cargo().args(args).args(["--format", "{p}"]))?;
    let words = lines.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    });
    Ok(words.collect())
}

/// Who needs whom, by package id.
fn graph(data: &Value, used: &BTreeSet<String>) -> Result<Graph> {
    let mut names = BTreeMap::new();
    for package in array(data, "packages")? {
        names.insert(text(package, "id")?, format!("{} {}", text(package, "name")?, text(package, "version")?));
    }
    let is_used = |id: &str| names.get(id).is_some_and(|name| used.contains(name));
    let resolve = data.get("resolve").context("`cargo metadata` resolved nothing")?;
    let mut graph = Graph::new();
    for node in array(resolve, "nodes")? {
        let mut needs = BTreeSet::new();
        for dependency in array(node, "deps")? {
            let kinds = array(dependency, "dep_kinds")?;
            let id = text(dependency, "pkg")?;
            if kinds.iter().any(|kind| kind.get("kind").is_some_and(Value::is_null)) && is_used(id) {
                needs.insert(id.to_owned());
            }
        }
        graph.insert(text(node, "id")?.to_owned(), needs);
    }
    Ok(graph)
}

fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(id) = waiting.pop() {
        if reached.insert(id.clone()) {
            waiting.extend(graph.get(&id).into_iter().flatten().cloned());
        }
    }
    reached
}

fn purl(package: &Value) -> Result<String> {
    // `+` of a version's build part is written as `%2B` in a package URL.
    Ok(format!("pkg:cargo/{}@{}", text(package, "name")?, text(package, "version")?.replace('+', "%2B")))
}

fn component(package: &Value, kind: &str, sums: &BTreeMap<String, String>) -> Result<Value> {
    let (name, version) = (text(package, "name")?, text(package, "version")?);
    let url = purl(package)?;
    let mut component = json!({ "type": kind, "bom-ref": url, "name": name, "version": version, "purl": url });
    let members = component.as_object_mut().context("an object")?;
    if let Some(licence) = package.get("license").and_then(Value::as_str) {
        // Older manifests write `MIT/Apache-2.0`, which is no SPDX expression.
        let expression = licence.replace(" / ", "/").replace('/', " OR ");
        members.insert("licenses".to_owned(), json!([{ "expression": expression }]));
    }
    if let Some(sum) = sums.get(&format!("{name} {version}")) {
        members.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": sum }]));
    }
    Ok(component)
}

/// The checksums of `Cargo.lock` by `name version`; the workspace's own crates have none.
fn lock_sums() -> Result<BTreeMap<String, String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read `Cargo.lock`")?;
    let packages = lock.split("[[package]]").skip(1);
    Ok(packages
        .filter_map(|p| Some((format!("{} {}", field(p, "name")?, field(p, "version")?), field(p, "checksum")?)))
        .collect())
}

fn field(package: &str, name: &str) -> Option<String> {
    let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
    Some(value.trim_matches('"').to_owned())
}
