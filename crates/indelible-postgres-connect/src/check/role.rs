//! Who was let in, and what that role may do in the cluster.

use tokio_postgres::Client;

use super::{CheckError, Finding, list, value};

const ABOUT: &str = "its roles";

/// The session's own role counts, not the one it acts as: it can go back to that at any time.
const QUESTION: &str = "
WITH RECURSIVE me AS (
    SELECT * FROM pg_catalog.pg_roles WHERE rolname = session_user
), reached(oid) AS (
    SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN me ON m.member = me.oid
    UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reached r ON m.member = r.oid
), mine AS (
    SELECT r.* FROM pg_catalog.pg_roles r WHERE r.oid IN (SELECT oid FROM reached UNION SELECT oid FROM me)
)
SELECT me.rolname::text, current_user::text,
    ARRAY(SELECT rolname::text FROM mine WHERE oid <> me.oid ORDER BY 1),
    (SELECT bool_or(rolsuper) FROM mine), (SELECT bool_or(rolbypassrls) FROM mine), (SELECT bool_or(rolcreaterole) FROM mine),
    (SELECT bool_or(rolreplication) FROM mine),
    EXISTS (SELECT FROM pg_catalog.pg_database d JOIN mine ON mine.oid = d.datdba WHERE d.datname = pg_catalog.current_database())
FROM me";

/// Roles of PostgreSQL's own that reach past the rights on tables.
const POWERFUL: [&str; 3] = ["pg_execute_server_program", "pg_write_all_data", "pg_write_server_files"];

/// Who was let in. A power of a role that this one is a member of counts as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name.
    pub name: String,
    /// The role that the session acts as.
    pub acts_as: String,
    /// All roles that it is a member of, directly or not.
    pub member_of: Vec<String>,
    /// Past all rights.
    pub superuser: bool,
    /// Past row security.
    pub bypasses_row_security: bool,
    /// Makes and changes roles.
    pub creates_roles: bool,
    /// Reads everything as a replica would.
    pub replicates: bool,
    /// Owns the database.
    pub owns_database: bool,
}

pub(super) async fn ask(client: &Client) -> Result<Role, CheckError> {
    let row = &super::ask_one(client, ABOUT, QUESTION).await?;
    Ok(Role {
        name: value(row, 0, ABOUT)?,
        acts_as: value(row, 1, ABOUT)?,
        member_of: value(row, 2, ABOUT)?,
        superuser: value(row, 3, ABOUT)?,
        bypasses_row_security: value(row, 4, ABOUT)?,
        creates_roles: value(row, 5, ABOUT)?,
        replicates: value(row, 6, ABOUT)?,
        owns_database: value(row, 7, ABOUT)?,
    })
}

impl Role {
    pub(super) fn look(&self) -> Vec<Finding> {
        let name = &self.name;
        let mut findings = vec![Finding::ok("role", self.describe())];
        let mut bad = |holds: bool, what: &str, remedy: String| {
            if holds {
                findings.push(Finding::bad("role", format!("`{name}` {what}"), remedy));
            }
        };
        bad(
            self.superuser,
            "is a superuser, or a member of one: no guard holds it",
            "connect as a role that is a member of `audit_writer` or `audit_reader` alone".to_owned(),
        );
        if self.superuser {
            // All else follows from that.
            return findings;
        }
        bad(
            self.creates_roles,
            "may create roles, and so make itself a member of others",
            format!("`ALTER ROLE \"{name}\" NOCREATEROLE`"),
        );
        bad(
            self.owns_database,
            "owns the database and can drop it",
            "let a role own it that nobody logs in as".to_owned(),
        );
        let powerful: Vec<_> =
            POWERFUL.into_iter().filter(|role| self.member_of.iter().any(|mine| mine == role)).collect();
        bad(
            !powerful.is_empty(),
            &format!("is a member of {}, which reaches past the rights on tables", list(&powerful)),
            format!("`REVOKE {} FROM \"{name}\"`", powerful.join(", ")),
        );
        if self.bypasses_row_security {
            findings.push(Finding::note(
                "role",
                format!("`{name}` bypasses row security"),
                "the log needs none; take it away unless something else does",
            ));
        }
        if self.replicates {
            findings.push(Finding::note(
                "role",
                format!("`{name}` may replicate, and so read the whole cluster"),
                "let a role of its own do that",
            ));
        }
        findings
    }

    fn describe(&self) -> String {
        let acts = if self.acts_as == self.name { String::new() } else { format!(", acting as `{}`", self.acts_as) };
        let member = if self.member_of.is_empty() {
            "member of no other role".to_owned()
        } else {
            format!("member of {}", list(&self.member_of))
        };
        format!("`{}`{acts}, {member}", self.name)
    }
}
