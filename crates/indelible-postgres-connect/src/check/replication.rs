//! Whether what is acknowledged stays: durability settings, and who follows this server.

use tokio_postgres::Client;

use super::{CheckError, Finding, value};

const ABOUT: &str = "replication";

const QUESTION: &str = "
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('synchronous_commit'),
    pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.current_setting('fsync') = 'on',
    pg_catalog.current_setting('full_page_writes') = 'on', pg_catalog.current_setting('data_checksums') = 'on'";

/// Who may not see more sees that there are standbys, and no more.
const STANDBYS: &str = "
SELECT coalesce(application_name, ''), state, sync_state FROM pg_catalog.pg_stat_replication ORDER BY 1";

/// A server that follows this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// As it calls itself.
    pub name: String,
    /// What it is doing; none where the role may not see it.
    pub state: Option<String>,
    /// `sync`, `quorum`, `potential` or `async`; none where the role may not see it.
    pub sync_state: Option<String>,
}

/// Primary or standby, who follows, and what is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Whether this is a standby.
    pub in_recovery: bool,
    /// What a commit waits for where nothing else is set.
    pub synchronous_commit: String,
    /// Which standbys commits wait for.
    pub synchronous_standby_names: String,
    /// Whether commits reach the disk.
    pub fsync: bool,
    /// Whether torn pages are mended after a crash.
    pub full_page_writes: bool,
    /// Whether damaged pages are noticed.
    pub data_checksums: bool,
    /// Who follows.
    pub standbys: Vec<Standby>,
}

pub(super) async fn ask(client: &Client) -> Result<Replication, CheckError> {
    let row = super::ask_one(client, ABOUT, QUESTION).await?;
    let rows = super::ask(client, ABOUT, STANDBYS, &[]).await?;
    let standbys = rows.iter().map(|row| {
        Ok(Standby { name: value(row, 0, ABOUT)?, state: value(row, 1, ABOUT)?, sync_state: value(row, 2, ABOUT)? })
    });
    Ok(Replication {
        in_recovery: value(&row, 0, ABOUT)?,
        synchronous_commit: value(&row, 1, ABOUT)?,
        synchronous_standby_names: value(&row, 2, ABOUT)?,
        fsync: value(&row, 3, ABOUT)?,
        full_page_writes: value(&row, 4, ABOUT)?,
        data_checksums: value(&row, 5, ABOUT)?,
        standbys: standbys.collect::<Result<_, _>>()?,
    })
}

impl Replication {
    pub(super) fn look(&self) -> Vec<Finding> {
        let mut findings = vec![self.followers()];
        if self.in_recovery {
            findings.push(Finding::note(
                "replication",
                "this is a standby: it can be read and verified, not written",
                "for writing name all hosts in the URL, with `target_session_attrs=read-write`",
            ));
        }
        findings.push(if self.fsync {
            Finding::ok("replication", "commits reach the disk (fsync=on)")
        } else {
            Finding::bad(
                "replication",
                "commits do not reach the disk (fsync=off): a crash loses what was acknowledged",
                "set `fsync = on`",
            )
        });
        if !self.full_page_writes {
            findings.push(Finding::bad(
                "replication",
                "pages that a crash tears are not mended (full_page_writes=off)",
                "set `full_page_writes = on`",
            ));
        }
        if self.synchronous_commit == "off" {
            findings.push(Finding::note(
                "replication",
                "synchronous_commit=off: the log's own transactions set it on, an outbox's do not",
                "set `synchronous_commit = on`",
            ));
        }
        if !self.data_checksums {
            findings.push(Finding::note(
                "replication",
                "damaged pages go unnoticed until an entry is verified (no data checksums)",
                "`pg_checksums --enable` while the server is stopped",
            ));
        }
        findings
    }

    fn followers(&self) -> Finding {
        let Self { standbys, synchronous_standby_names: names, .. } = self;
        if standbys.is_empty() && names.is_empty() {
            let what = "no standby follows: the disk of this server holds the only copy";
            return Finding::note("replication", what, "add a standby, and keep checkpoints and archives elsewhere");
        }
        let each: Vec<_> = standbys.iter().map(Standby::describe).collect();
        if names.is_empty() {
            let what = format!("no commit waits for a standby: {}", each.join(", "));
            return Finding::note(
                "replication",
                what,
                "set `synchronous_standby_names`, or a failover can lose what was acknowledged; verification then tells it",
            );
        }
        Finding::ok(
            "replication",
            format!("commits wait for `{names}` (synchronous_commit={}): {}", self.synchronous_commit, each.join(", ")),
        )
    }
}

impl Standby {
    fn describe(&self) -> String {
        let or_hidden = |word: &Option<String>| word.clone().unwrap_or_else(|| "hidden from this role".to_owned());
        format!("`{}` ({}, {})", self.name, or_hidden(&self.state), or_hidden(&self.sync_state))
    }
}
