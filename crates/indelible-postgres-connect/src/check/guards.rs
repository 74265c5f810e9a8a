//! Whether the log's tables refuse change as they were made to, and whether the role has a way past that.

use tokio_postgres::{Client, types::Type};

use super::{CheckError, Finding, Role, ask, value};

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

/// A function that must be as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedFunction {
    /// The function. There must be one of this name.
    pub name: String,
    /// Its text, byte for byte (`pg_proc.prosrc`).
    pub body: String,
    /// Whether it runs with its owner's rights.
    pub definer: bool,
    /// Its pinned search path, as `pg_catalog, indelible, pg_temp`.
    pub search_path: String,
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
    /// What other roles than the owner may have on the guarded tables, as `SELECT`.
    pub privileges: Vec<String>,
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

pub(super) async fn look(client: &Client, role: &Role, expected: &Expected) -> Result<Vec<Finding>, CheckError> {
    let look = Look { client, expected };
    if !look.schema_is_there().await? {
        let what = format!("there is no schema `{}` in this database: nothing is guarded yet", expected.schema);
        return Ok(vec![Finding::note("guards", what, "`store migrate` makes it")]);
    }
    let mut findings = look.missing_tables().await?;
    findings.extend(look.triggers().await?);
    findings.extend(look.strangers().await?);
    findings.extend(look.functions().await?);
    findings.extend(look.owners().await?);
    findings.extend(look.grants().await?);
    if findings.is_empty() {
        let what = format!(
            "{} tables refuse change, {} functions are as they were made",
            expected.tables.len(),
            expected.functions.len()
        );
        findings.push(Finding::ok("guards", what));
    }
    if !role.superuser {
        findings.extend(look.own_rights(role).await?);
    }
    Ok(findings)
}

struct Look<'a> {
    client: &'a Client,
    expected: &'a Expected,
}

impl Look<'_> {
    fn names(&self) -> Vec<&str> {
        self.expected.tables.iter().map(|table| table.name.as_str()).collect()
    }

    /// A question over the guarded tables, `$1` being the schema and `$2` their names.
    async fn over_tables(&self, question: &str) -> Result<Vec<tokio_postgres::Row>, CheckError> {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&self.expected.schema, Type::TEXT), (&self.names(), Type::TEXT_ARRAY)];
        ask(self.client, ABOUT, &format!("{TABLES}{question}"), &parameters).await
    }

    async fn schema_is_there(&self) -> Result<bool, CheckError> {
        let question = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
        Ok(!ask(self.client, ABOUT, question, &[(&self.expected.schema, Type::TEXT)]).await?.is_empty())
    }

    fn table(&self, name: &str) -> String {
        format!("`{}.{name}`", self.expected.schema)
    }

    async fn missing_tables(&self) -> Result<Vec<Finding>, CheckError> {
        let rows = self.over_tables("SELECT root FROM named").await?;
        let there: Vec<String> = rows.iter().map(|row| value(row, 0, ABOUT)).collect::<Result<_, _>>()?;
        let missing = self.names().into_iter().filter(|name| there.iter().all(|there| there != name));
        Ok(missing.map(|name| broken(format!("the table {} is missing", self.table(name)), RESTORE)).collect())
    }

    /// Each expected trigger on each table and partition.
    async fn triggers(&self) -> Result<Vec<Finding>, CheckError> {
        let question = "
            SELECT t.root, c.relname::text, g.tgname::text, g.tgenabled = 'A', g.tgtype, f.proname::text,
                s.nspname = $1 AND g.tgqual IS NULL AND pg_catalog.cardinality(g.tgattr::int2[]) = 0
            FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.oid
            LEFT JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
            LEFT JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid LEFT JOIN pg_catalog.pg_namespace s ON s.oid = f.pronamespace
            ORDER BY 1, 2, 3";
        let rows = self.over_tables(question).await?;
        let found = rows.iter().map(Found::read).collect::<Result<Vec<_>, _>>()?;
        let mut findings = Vec::new();
        for table in &self.expected.tables {
            let mut members: Vec<&str> =
                found.iter().filter(|row| row.root == table.name).map(|row| row.table.as_str()).collect();
            members.dedup();
            for member in members {
                let on_it: Vec<_> =
                    found.iter().filter(|row| row.table == member).filter_map(|row| row.trigger.as_ref()).collect();
                findings.extend(table.triggers.iter().filter_map(|wanted| self.judge(member, wanted, &on_it)));
                let strange =
                    on_it.iter().filter(|trigger| table.triggers.iter().all(|wanted| wanted.name != trigger.name));
                findings.extend(strange.map(|trigger| {
                    let what = format!("{} has a trigger `{}` that is not the log's", self.table(member), trigger.name);
                    broken(what, "find out who made it, and drop it")
                }));
            }
        }
        Ok(findings)
    }

    fn judge(&self, table: &str, wanted: &ExpectedTrigger, on_it: &[&FoundTrigger]) -> Option<Finding> {
        let fault = match on_it.iter().find(|trigger| trigger.name == wanted.name) {
            None => "is missing",
            Some(found) if !found.always => "is not enabled for everybody",
            Some(found) if !found.plain || found.kind != wanted.kind || found.function != wanted.function => {
                "was changed"
            }
            Some(_) => return None,
        };
        Some(broken(format!("the trigger `{}` of {} {fault}", wanted.name, self.table(table)), RESTORE))
    }

    /// Rules, row security, children that are no partitions.
    async fn strangers(&self) -> Result<Vec<Finding>, CheckError> {
        let question = "
            SELECT c.relname::text, 'a rule `' || r.rulename || '`' FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.oid
                JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid
            UNION ALL SELECT c.relname::text, 'row security, which hides rows' FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.oid
                WHERE c.relrowsecurity OR c.relforcerowsecurity
            UNION ALL SELECT c.relname::text, 'a child table `' || k.relname || '` whose rows it shows' FROM tables t
                JOIN pg_catalog.pg_class c ON c.oid = t.oid JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
                JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid WHERE NOT k.relispartition
            ORDER BY 1, 2";
        let rows = self.over_tables(question).await?;
        let each = rows.iter().map(|row| {
            let (table, what): (String, String) = (value(row, 0, ABOUT)?, value(row, 1, ABOUT)?);
            Ok(broken(format!("{} has {what}", self.table(&table)), "find out who made it, and take it away"))
        });
        each.collect()
    }

    async fn functions(&self) -> Result<Vec<Finding>, CheckError> {
        let names: Vec<_> = self.expected.functions.iter().map(|function| function.name.as_str()).collect();
        let question = "
            SELECT p.proname::text, p.prosrc, p.prosecdef, pg_catalog.pg_get_userbyid(p.proowner)::text,
                coalesce((SELECT pg_catalog.substr(c, 13) FROM pg_catalog.unnest(p.proconfig) c WHERE c LIKE 'search_path=%'), '')
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname = $1 AND p.proname = ANY ($2)";
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&self.expected.schema, Type::TEXT), (&names, Type::TEXT_ARRAY)];
        let rows = ask(self.client, ABOUT, question, &parameters).await?;
        let found = rows.iter().map(FoundFunction::read).collect::<Result<Vec<_>, _>>()?;
        let faults = self.expected.functions.iter().filter_map(|wanted| {
            let same: Vec<_> = found.iter().filter(|function| function.name == wanted.name).collect();
            let fault = function_fault(wanted, &same, &self.expected.owner)?;
            Some(broken(format!("the function {} {fault}", self.table(&wanted.name)), RESTORE))
        });
        Ok(faults.collect())
    }

    async fn owners(&self) -> Result<Vec<Finding>, CheckError> {
        let rows = self
            .over_tables(
                "SELECT 'the table', c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text FROM tables t
                    JOIN pg_catalog.pg_class c ON c.oid = t.oid
                UNION ALL SELECT 'the schema', n.nspname::text, pg_catalog.pg_get_userbyid(n.nspowner)::text
                    FROM pg_catalog.pg_namespace n WHERE n.nspname = $1 ORDER BY 1, 2",
            )
            .await?;
        let owner = &self.expected.owner;
        let mut findings = Vec::new();
        for row in &rows {
            let (kind, name, found): (String, String, String) =
                (value(row, 0, ABOUT)?, value(row, 1, ABOUT)?, value(row, 2, ABOUT)?);
            if found != *owner {
                findings.push(broken(
                    format!("{kind} `{name}` belongs to `{found}`"),
                    &format!("give it to `{owner}` (`ALTER … OWNER TO`)"),
                ));
            }
        }
        let question = "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1 AND rolcanlogin";
        if !ask(self.client, ABOUT, question, &[(owner, Type::TEXT)]).await?.is_empty() {
            let what = format!("`{owner}`, whom the log belongs to, can log in");
            findings.push(broken(what, &format!("`ALTER ROLE \"{owner}\" NOLOGIN`")));
        }
        Ok(findings)
    }

    /// What was granted to anybody that the store has not granted.
    async fn grants(&self) -> Result<Vec<Finding>, CheckError> {
        let rows = self
            .over_tables(
                "SELECT c.relname::text, CASE a.grantee WHEN 0 THEN 'everybody' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END,
                    a.privilege_type FROM tables t JOIN pg_catalog.pg_class c ON c.oid = t.oid,
                    LATERAL (SELECT grantee, privilege_type FROM pg_catalog.aclexplode(c.relacl)
                        UNION SELECT x.grantee, x.privilege_type FROM pg_catalog.pg_attribute at, pg_catalog.aclexplode(at.attacl) x
                            WHERE at.attrelid = c.oid) a
                WHERE a.grantee <> c.relowner ORDER BY 1, 2, 3",
            )
            .await?;
        let mut findings = Vec::new();
        for row in &rows {
            let (table, grantee, privilege): (String, String, String) =
                (value(row, 0, ABOUT)?, value(row, 1, ABOUT)?, value(row, 2, ABOUT)?);
            if !self.expected.privileges.contains(&privilege) {
                let what = format!("`{grantee}` was granted {privilege} on {}", self.table(&table));
                findings
                    .push(broken(what, &format!("`REVOKE {privilege} ON {}.{table} FROM …`", self.expected.schema)));
            }
        }
        Ok(findings)
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
        let may: Vec<_> = may.into_iter().filter(|right| !self.expected.privileges.contains(right)).collect();
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

const RESTORE: &str = "`store migrate` puts it back; find out who did it, and verify the logs";

fn broken(what: String, remedy: &str) -> Finding {
    Finding::bad("guards", what, remedy)
}

/// A table with one of its triggers, if it has any.
struct Found {
    root: String,
    table: String,
    trigger: Option<FoundTrigger>,
}

struct FoundTrigger {
    name: String,
    always: bool,
    kind: i16,
    function: String,
    /// Without condition or columns, and its function in the log's schema.
    plain: bool,
}

impl Found {
    fn read(row: &tokio_postgres::Row) -> Result<Self, CheckError> {
        let name: Option<String> = value(row, 2, ABOUT)?;
        let trigger = match name {
            None => None,
            Some(name) => Some(FoundTrigger {
                name,
                always: value(row, 3, ABOUT)?,
                kind: value(row, 4, ABOUT)?,
                function: value(row, 5, ABOUT)?,
                plain: value(row, 6, ABOUT)?,
            }),
        };
        Ok(Self { root: value(row, 0, ABOUT)?, table: value(row, 1, ABOUT)?, trigger })
    }
}

struct FoundFunction {
    name: String,
    body: String,
    definer: bool,
    owner: String,
    search_path: String,
}

impl FoundFunction {
    fn read(row: &tokio_postgres::Row) -> Result<Self, CheckError> {
        Ok(Self {
            name: value(row, 0, ABOUT)?,
            body: value(row, 1, ABOUT)?,
            definer: value(row, 2, ABOUT)?,
            owner: value(row, 3, ABOUT)?,
            search_path: value(row, 4, ABOUT)?,
        })
    }
}

fn function_fault(wanted: &ExpectedFunction, found: &[&FoundFunction], owner: &str) -> Option<String> {
    let found = match found {
        [] => return Some("is missing".to_owned()),
        [one] => one,
        several => return Some(format!("is there {} times", several.len())),
    };
    let path = |text: &str| text.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect::<Vec<_>>();
    if found.body != wanted.body {
        Some("has another text".to_owned())
    } else if found.definer != wanted.definer {
        Some("runs with the rights of another".to_owned())
    } else if path(&found.search_path) != path(&wanted.search_path) {
        Some(format!("has the search path `{}`", found.search_path))
    } else if found.owner != owner {
        Some(format!("belongs to `{}`", found.owner))
    } else {
        None
    }
}
