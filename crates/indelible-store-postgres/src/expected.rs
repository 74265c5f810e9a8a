//! What this program makes in a database, read from the sources that make it: guarded tables, functions, rights.
//!
//! INVARIANT(one-list): migrating makes what is listed here, and opening, verification and `store check` hold the server against the same.

use std::collections::BTreeMap;

use indelible_postgres_connect::check::{Expected, ExpectedFunction, ExpectedRight, ExpectedTrigger, GuardedTable};

pub(crate) const GUARDS: &str = include_str!("sql/guards.sql");
pub(crate) const FUNCTIONS: &str = include_str!("sql/functions.sql");
pub(crate) const OUTBOX: &str = include_str!("sql/outbox.sql");
pub(crate) const SEARCH_TABLES: &str = include_str!("sql/0003_search.sql");
pub(crate) const SEARCH: &str = include_str!("sql/search.sql");

/// The guarded tables, and what refuses changes of their rows.
pub(crate) const GUARDED: [(&str, &str); 12] = [
    ("logs", "refuse_change"),
    ("entries", "refuse_change"),
    ("ids", "refuse_change"),
    ("tree_hashes", "refuse_change"),
    ("checkpoints", "refuse_change"),
    ("attachments", "refuse_change"),
    ("schema_migrations", "refuse_change"),
    ("heads", "refuse_shrinking"),
    ("trees", "refuse_shrinking"),
    ("published", "refuse_removal"),
    ("outbox", "refuse_edit"),
    ("outbox_refused", "refuse_change"),
];

/// What a server is held against: the tables that refuse change, the functions, and who may do what, as this program makes them.
#[must_use]
pub fn expected() -> Expected {
    Expected {
        schema: "indelible".to_owned(),
        owner: "indelible_owner".to_owned(),
        tables: GUARDED.into_iter().map(guarded).collect(),
        functions: functions().into_values().collect(),
        rights: rights(),
    }
}

fn guarded((name, guard): (&str, &str)) -> GuardedTable {
    // Bits of `tgtype`: row 1, before 2, delete 8, update 16, truncate 32.
    let triggers = [("refuse_change", guard, 27), ("refuse_truncate", "refuse_change", 34)];
    let trigger = |(name, function, kind): (&str, &str, i16)| ExpectedTrigger {
        name: name.to_owned(),
        function: function.to_owned(),
        kind,
    };
    GuardedTable { name: name.to_owned(), triggers: triggers.map(trigger).to_vec() }
}

/// The functions that the sources define, by their names.
fn functions() -> BTreeMap<String, ExpectedFunction> {
    let mut found = BTreeMap::new();
    for source in [GUARDS, FUNCTIONS, OUTBOX, SEARCH] {
        for text in source.split("create or replace function indelible.").skip(1) {
            let parts = text.split_once('(').zip(text.split_once("as $$"));
            let Some(((name, _), (head, rest))) = parts else { continue };
            let path = head.rsplit_once("search_path = ").map_or("", |(_, path)| path.trim());
            let body = rest.split_once("$$;").map_or(rest, |(body, _)| body);
            let function = ExpectedFunction {
                name: name.to_owned(),
                body: body.to_owned(),
                definer: head.contains("security definer"),
                search_path: path.to_owned(),
            };
            found.insert(name.to_owned(), function);
        }
    }
    found
}

/// What the sources grant, each `grant … on … to …;` at the beginning of a line.
fn rights() -> Vec<ExpectedRight> {
    let statements = [FUNCTIONS, OUTBOX, SEARCH].into_iter().flat_map(|source| source.split("\ngrant ").skip(1));
    let parts = statements.filter_map(|text| {
        let (statement, _) = text.split_once(';')?;
        let (privilege, rest) = statement.split_once(" on ")?;
        let (things, roles) = rest.rsplit_once(" to ")?;
        Some((privilege, things, roles))
    });
    parts.flat_map(|(privilege, things, roles)| granted(privilege, things, roles)).collect()
}

fn granted(privilege: &str, things: &str, roles: &str) -> Vec<ExpectedRight> {
    let (kind, things) = match (things.strip_prefix("function "), things.strip_prefix("schema ")) {
        (Some(functions), _) => ("function", functions),
        (_, Some(schema)) => ("schema", schema),
        _ => ("table", things),
    };
    let names = things.split(',').map(|name| name.trim().trim_start_matches("indelible."));
    let right = |name: &str, role: &str| ExpectedRight {
        kind,
        name: name.to_owned(),
        role: role.trim().to_owned(),
        privilege: privilege.to_uppercase(),
    };
    names.flat_map(|name| roles.split(',').map(move |role| right(name, role))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_pins_its_search_path() {
        let functions = functions();
        assert_eq!(functions.len(), 38);
        for (name, function) in functions {
            assert!(function.search_path.starts_with("pg_catalog"), "{name}");
            assert!(function.body.starts_with('\n') && function.body.ends_with("end "), "{name}");
        }
    }

    #[test]
    fn every_right_is_read_from_the_sources() {
        let rights = rights();
        let count = |kind: &str| rights.iter().filter(|right| right.kind == kind).count();
        assert_eq!((count("schema"), count("table"), count("function")), (5, 15, 35));
        let may = |role: &str, privilege: &str, name: &str| {
            rights.iter().any(|right| (&*right.role, &*right.privilege, &*right.name) == (role, privilege, name))
        };
        assert!(may("audit_writer", "EXECUTE", "append_commit") && may("audit_reader", "SELECT", "entries"));
        assert!(may("audit_source", "USAGE", "indelible") && !may("audit_reader", "SELECT", "outbox"));
    }
}
