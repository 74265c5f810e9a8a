//! Whether the log's tables refuse change as they were made to, who has rights that nobody is to have, and whether the role has a way past that.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::{CheckError, Finding, Role, Severity, ask, list, value};

const ABOUT: &str = "its guards";

/// A trigger that must be on a table and on all of its partitions, enabled for everybody, without condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTrigger {
    /// The trigger.
    pub name: String,
    /// The function that it calls, in the same schema.
    pub function: String,
    /// `pg_trigger.tgtype`: when it fires, for what.
    pub kind: i16,
}

/// A table that refuses change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedTable {
    /// The table.
    pub name: String,
    /// Its triggers; any other is a finding.
    pub triggers: Vec<ExpectedTrigger>,
}

/// A function that must be as it was made. Any other in the schema is a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedFunction {
    /// The function. There must be one of this name.
    pub name: String,
    /// Its text, byte for byte (`pg_proc.prosrc`).
    pub body: String,
    /// Whether it runs with its owner's rights.
    pub definer: bool,
    /// Its pinned search path, as `pg_catalog, indelible, pg_temp`. It has no other settings.
    pub search_path: String,
}

/// A right that another role than the owner has. Any other is a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedRight {
    /// `table`, `function` or `schema`.
    pub kind: &'static str,
    /// The thing, without its schema.
    pub name: String,
    /// Who has the right.
    pub role: String,
    /// The right, as `SELECT`.
    pub privilege: String,
}

/// What the server computes when a row is written, with the rights of whoever writes it. Any other on the schema's tables is a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedExpression {
    /// `constraint` (a check) or `default`.
    pub kind: &'static str,
    /// The table, without its schema.
    pub table: String,
    /// The constraint, or the column.
    pub name: String,
    /// As the server writes it down.
    pub text: String,
}

/// What the store has made, and what must still be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The schema.
    pub schema: String,
    /// Whom everything belongs to. Nobody logs in as this role.
    pub owner: String,
    /// The tables that refuse change.
    pub tables: Vec<GuardedTable>,
    /// The functions.
    pub functions: Vec<ExpectedFunction>,
    /// What other roles than the owner may do.
    pub rights: Vec<ExpectedRight>,
    /// Check constraints and defaults.
    pub expressions: Vec<ExpectedExpression>,
}

/// The one question about guards and rights. Its parameters are [`Expected::parameters`], its rows are read by [`GuardFault::read`].
pub const QUESTION: &str = include_str!("guards.sql");

impl Expected {
    /// The parameters of [`QUESTION`], each an array of text.
    #[must_use]
    pub fn parameters(&self) -> Vec<Vec<String>> {
        let triggers =
            || self.tables.iter().flat_map(|table| table.triggers.iter().map(move |trigger| (table, trigger)));
        let (functions, rights, expressions) = (&self.functions, &self.rights, &self.expressions);
        vec![
            vec![self.schema.clone(), self.owner.clone()],
            self.tables.iter().map(|table| table.name.clone()).collect(),
            triggers().map(|(table, _)| table.name.clone()).collect(),
            triggers().map(|(_, trigger)| trigger.name.clone()).collect(),
            triggers().map(|(_, trigger)| trigger.function.clone()).collect(),
            triggers().map(|(_, trigger)| trigger.kind.to_string()).collect(),
            functions.iter().map(|function| function.name.clone()).collect(),
            functions.iter().map(|function| sha256(&function.body)).collect(),
            functions.iter().map(|function| function.definer.to_string()).collect(),
            functions.iter().map(|function| function.search_path.clone()).collect(),
            rights.iter().map(|right| right.kind.to_owned()).collect(),
            rights.iter().map(|right| right.name.clone()).collect(),
            rights.iter().map(|right| right.role.clone()).collect(),
            rights.iter().map(|right| right.privilege.clone()).collect(),
            expressions.iter().map(|made| made.kind.to_owned()).collect(),
            expressions.iter().map(|made| made.table.clone()).collect(),
            expressions.iter().map(|made| made.name.clone()).collect(),
            expressions.iter().map(|made| made.text.clone()).collect(),
        ]
    }

    /// The roles that have rights, each once.
    fn roles(&self) -> BTreeSet<&str> {
        self.rights.iter().map(|right| right.role.as_str()).collect()
    }
}

/// What a fault of the guards allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allows {
    /// That what was recorded is changed or removed without an error.
    Change,
    /// That it is read by somebody who is not meant to.
    Read,
    /// Nothing that is not wanted; it is to be known.
    Nothing,
}

/// A part of the schema that is not as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFault {
    /// What it allows.
    pub allows: Allows,
    /// Table, function, role, or what else.
    pub place: String,
    /// What is wrong with it.
    pub detail: String,
    /// What to do; `None` where migrating puts it back.
    pub remedy: Option<String>,
}

impl GuardFault {
    /// A row of [`QUESTION`].
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let allows = match row.try_get(0)? {
            "change" => Allows::Change,
            "read" => Allows::Read,
            _ => Allows::Nothing,
        };
        Ok(Self { allows, place: row.try_get(1)?, detail: row.try_get(2)?, remedy: row.try_get(3)? })
    }

    fn finding(self) -> Finding {
        let what = format!("`{}`: {}", self.place, self.detail);
        let remedy = self.remedy.unwrap_or_else(|| RESTORE.to_owned());
        match self.allows {
            Allows::Change | Allows::Read => Finding::bad("guards", what, remedy),
            Allows::Nothing => Finding::note("guards", what, remedy),
        }
    }
}

/// The guarded tables ($2) with all their partitions: the named one, oid, name.
const TABLES: &str = "
WITH named AS (
    SELECT c.relname::text AS root, c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind IN ('r', 'p')
), tables AS (
    SELECT root, oid FROM named
    UNION SELECT named.root, t.relid FROM named, pg_catalog.pg_partition_tree(named.oid) t
)";

/// The session's role and all that it is a member of.
const MINE: &str = "
mine AS (
    WITH RECURSIVE reached(oid) AS (
        SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
        UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reached r ON m.member = r.oid
    ) SELECT oid FROM reached
)";

pub(super) async fn look(
    client: &Client,
    place: &str,
    role: &Role,
    expected: &Expected,
) -> Result<Vec<Finding>, CheckError> {
    let look = Look { client, expected };
    if !look.schema_is_there().await? {
        let what = format!("there is no schema `{}` in this database: nothing is guarded yet", expected.schema);
        let remedy = format!(
            "`indelible store migrate {place}` makes it, with a login that may create roles and owns the database"
        );
        return Ok(vec![Finding::note("guards", what, remedy)]);
    }
    let mut findings: Vec<_> = look.faults().await?.into_iter().map(GuardFault::finding).collect();
    if findings.iter().all(|finding| finding.severity < Severity::Unsafe) {
        let what = format!(
            "{} tables refuse change, {} functions are as they were made",
            expected.tables.len(),
            expected.functions.len()
        );
        findings.insert(0, Finding::ok("guards", what));
    }
    if !role.superuser {
        findings.extend(look.own_rights(role).await?);
        findings.extend(look.no_role(place, role));
    }
    Ok(findings)
}

struct Look<'a> {
    client: &'a Client,
    expected: &'a Expected,
}

impl Look<'_> {
    /// A question over the guarded tables, `$1` being the schema and `$2` their names.
    async fn over_tables(&self, question: &str) -> Result<Vec<Row>, CheckError> {
        let names: Vec<&str> = self.expected.tables.iter().map(|table| table.name.as_str()).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.expected.schema, Type::TEXT), (&names, Type::TEXT_ARRAY)];
        ask(self.client, ABOUT, &format!("{TABLES}{question}"), &parameters).await
    }

    async fn schema_is_there(&self) -> Result<bool, CheckError> {
        let question = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
        Ok(!ask(self.client, ABOUT, question, &[(&self.expected.schema, Type::TEXT)]).await?.is_empty())
    }

    async fn faults(&self) -> Result<Vec<GuardFault>, CheckError> {
        let values = self.expected.parameters();
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
        let rows = ask(self.client, ABOUT, QUESTION, &parameters).await?;
        let faults: Result<_, _> = rows.iter().map(GuardFault::read).collect();
        faults.map_err(|source| CheckError { about: ABOUT, source })
    }

    /// A login that was never let near the log.
    fn no_role(&self, place: &str, role: &Role) -> Option<Finding> {
        let roles = self.expected.roles();
        if roles.is_empty() || role.member_of.iter().any(|mine| roles.contains(mine.as_str())) {
            return None;
        }
        let roles: Vec<_> = roles.into_iter().collect();
        let what = format!("`{}` is a member of none of {}: it can neither record nor read", role.name, list(&roles));
        let remedy = format!(
            "`indelible store grant writer|reader|relay|source {} --apply {place}`, with the login that migrated",
            role.name
        );
        Some(Finding::note("role", what, remedy))
    }

    /// What the session's role may do itself, through whatever role.
    async fn own_rights(&self, role: &Role) -> Result<Vec<Finding>, CheckError> {
        let question = format!(
            ", {MINE}
            SELECT DISTINCT p.privilege FROM tables t, mine, pg_catalog.unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
                p(privilege)
                WHERE pg_catalog.has_table_privilege(mine.oid, t.oid, p.privilege)
                    OR CASE WHEN p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES')
                        THEN pg_catalog.has_any_column_privilege(mine.oid, t.oid, p.privilege) ELSE false END
            UNION SELECT 'ALTER and DROP' FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.oid JOIN mine ON mine.oid = c.relowner
            UNION SELECT 'CREATE in the schema' FROM pg_catalog.pg_namespace n, mine
                WHERE n.nspname = $1 AND pg_catalog.has_schema_privilege(mine.oid, n.oid, 'CREATE')
            ORDER BY 1"
        );
        let rows = self.over_tables(&question).await?;
        let may: Vec<String> = rows.iter().map(|row| value(row, 0, ABOUT)).collect::<Result<_, _>>()?;
        if may.is_empty() {
            return Ok(vec![Finding::ok("role", format!("`{}` cannot change or remove what was recorded", role.name))]);
        }
        let what = format!("`{}` may {} the log's tables", role.name, may.join(", "));
        Ok(vec![Finding::bad(
            "role",
            what,
            "take these rights and the memberships that give them away: `audit_writer` needs none of them",
        )])
    }
}

/// In hexadecimal digits: whole texts would fill the log of a server that writes statements down.
fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

const RESTORE: &str = "`store migrate` puts it back; find out who did it, and verify the logs";
