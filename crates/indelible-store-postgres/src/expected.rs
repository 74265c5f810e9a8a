//! What this program makes in a database, read from the sources that make it: guarded tables, functions, rights.
//!
//! INVARIANT(one-list): migrating makes what is listed here, and opening, verification and `store check` hold the server against the same.

use std::collections::BTreeMap;

use indelible_postgres_connect::check::{
    Expected, ExpectedExpression, ExpectedFunction, ExpectedRight, ExpectedTrigger, GuardedTable,
};

pub(crate) const GUARDS: &str = include_str!("sql/guards.sql");
pub(crate) const FUNCTIONS: &str = include_str!("sql/functions.sql");
pub(crate) const OUTBOX: &str = include_str!("sql/outbox.sql");
pub(crate) const SEARCH_TABLES: &str = include_str!("sql/0003_search.sql");
pub(crate) const SEARCH: &str = include_str!("sql/search.sql");
pub(crate) const PRUNING: &str = include_str!("sql/pruning.sql");

/// The guarded tables, and what refuses changes of their rows.
pub(crate) const GUARDED: [(&str, &str); 13] = [
    ("logs", "refuse_change"),
    ("entries", "refuse_unpruned"),
    ("ids", "refuse_change"),
    ("tree_hashes", "refuse_change"),
    ("checkpoints", "refuse_change"),
    ("attachments", "refuse_change"),
    ("pruned", "refuse_change"),
    ("schema_migrations", "refuse_change"),
    ("heads", "refuse_shrinking"),
    ("trees", "refuse_shrinking"),
    ("published", "refuse_removal"),
    ("outbox", "refuse_edit"),
    ("outbox_refused", "refuse_change"),
];

/// Check constraints and defaults of all tables: kind, table, constraint or column, and the text that every server from 14 on makes of what the migrations say.
const EXPRESSIONS: [(&str, &str, &str, &str); 34] = [
    ("constraint", "attachments", "attachments_digest_check", "CHECK ((octet_length(digest) = 32))"),
    ("constraint", "attachments", "attachments_part_check", "CHECK ((part >= 0))"),
    ("constraint", "checkpoints", "checkpoints_number_check", "CHECK ((number > 0))"),
    ("constraint", "entries", "entries_entry_check", "CHECK ((octet_length(entry) <= 65535))"),
    ("constraint", "entries", "entries_idx_check", "CHECK ((idx >= 0))"),
    ("constraint", "entries", "entries_mac_check", "CHECK ((octet_length(mac) = 32))"),
    ("constraint", "heads", "heads_bytes_check", "CHECK ((bytes >= 0))"),
    ("constraint", "heads", "heads_keys_check", "CHECK ((keys >= 0))"),
    ("constraint", "heads", "heads_last_leaf_check", "CHECK ((octet_length(last_leaf) = 32))"),
    ("constraint", "heads", "heads_size_check", "CHECK ((size >= 0))"),
    ("constraint", "heads", "heads_unnamed_check", "CHECK ((unnamed > 0))"),
    ("constraint", "ids", "ids_fingerprint_check", "CHECK ((octet_length(fingerprint) = 16))"),
    ("constraint", "logs", "logs_format_check", "CHECK ((format > 0))"),
    ("constraint", "logs", "logs_log_id_check", "CHECK ((octet_length(log_id) = 16))"),
    (
        "constraint",
        "logs",
        "logs_origin_check",
        "CHECK (((octet_length(origin) >= 1) AND (octet_length(origin) <= 128)))",
    ),
    ("constraint", "pruned", "pruned_check", "CHECK ((last >= first))"),
    ("constraint", "pruned", "pruned_check1", "CHECK ((last < record))"),
    ("constraint", "pruned", "pruned_first_check", "CHECK ((first > 0))"),
    ("constraint", "search_ends", "search_ends_size_check", "CHECK ((size >= 0))"),
    (
        "constraint",
        "tree_hashes",
        "tree_hashes_hashes_check",
        "CHECK ((((octet_length(hashes) >= 32) AND (octet_length(hashes) <= 8192)) AND ((octet_length(hashes) % 32) = 0)))",
    ),
    ("constraint", "tree_hashes", "tree_hashes_level_check", "CHECK (((level >= 0) AND (level <= 8)))"),
    ("constraint", "trees", "trees_size_check", "CHECK ((size >= 0))"),
    ("default", "checkpoints", "kept_at", "now()"),
    ("default", "heads", "bytes", "0"),
    ("default", "heads", "keys", "0"),
    ("default", "heads", "size", "0"),
    ("default", "logs", "created_at", "now()"),
    ("default", "outbox", "written_at", "clock_timestamp()"),
    ("default", "outbox", "written_by", "SESSION_USER"),
    ("default", "outbox_refused", "refused_at", "clock_timestamp()"),
    ("default", "pruned", "pruned_at", "now()"),
    ("default", "schema_migrations", "applied_at", "now()"),
    ("default", "search_ends", "size", "0"),
    ("default", "trees", "size", "0"),
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
        expressions: EXPRESSIONS.into_iter().map(expression).collect(),
    }
}

fn expression((kind, table, name, text): (&'static str, &str, &str, &str)) -> ExpectedExpression {
    ExpectedExpression { kind, table: table.to_owned(), name: name.to_owned(), text: text.to_owned() }
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
    for source in [GUARDS, FUNCTIONS, OUTBOX, SEARCH, PRUNING] {
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
    let statements =
        [FUNCTIONS, OUTBOX, SEARCH, PRUNING].into_iter().flat_map(|source| source.split("\ngrant ").skip(1));
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
        assert_eq!(functions.len(), 41);
        for (name, function) in functions {
            assert!(function.search_path.starts_with("pg_catalog"), "{name}");
            assert!(function.body.starts_with('\n') && function.body.ends_with("end "), "{name}");
        }
    }

    #[test]
    fn every_right_is_read_from_the_sources() {
        let rights = rights();
        let count = |kind: &str| rights.iter().filter(|right| right.kind == kind).count();
        assert_eq!((count("schema"), count("table"), count("function")), (5, 16, 36));
        let may = |role: &str, privilege: &str, name: &str| {
            rights.iter().any(|right| (&*right.role, &*right.privilege, &*right.name) == (role, privilege, name))
        };
        assert!(may("audit_writer", "EXECUTE", "append_commit") && may("audit_reader", "SELECT", "entries"));
        assert!(may("audit_retention", "EXECUTE", "prune") && !may("audit_writer", "EXECUTE", "prune"));
        assert!(may("audit_source", "USAGE", "indelible") && !may("audit_reader", "SELECT", "outbox"));
    }
}
