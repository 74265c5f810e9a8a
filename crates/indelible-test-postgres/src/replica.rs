//! A streaming replica, for failover.

use std::{thread, time::Instant};

use crate::server::{PATIENCE, PAUSE, TestServer, finish, lock};

impl TestServer {
    /// Starts a replica that follows this server. It has the same settings, and certificates of an authority of its own.
    #[must_use]
    pub fn replica(&self) -> Self {
        let options = lock(&self.options).clone();
        let replica = Self::prepare(self.programs.clone(), options);
        let mut backup = replica.command("pg_basebackup");
        backup.args(["-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync", "-R", "-h"]);
        backup.arg(self.socket_folder()).args(["-p", &self.port().to_string(), "-D"]).arg(replica.data());
        finish(&mut backup);
        replica.start_on_free_port()
    }

    /// Waits until this replica has replayed all that `primary` has written.
    pub fn catch_up_with(&self, primary: &Self) {
        let target = primary.sql("SELECT pg_current_wal_flush_lsn()");
        self.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{target}'"));
    }

    /// Ends the stream from the primary: from now on this replica lags, and promoting it loses what the primary writes.
    pub fn fall_behind(&self) {
        self.sql("ALTER SYSTEM SET primary_conninfo = ''");
        self.sql("SELECT pg_reload_conf()");
        self.wait_until("SELECT count(*) = 0 FROM pg_stat_wal_receiver");
    }

    /// Makes this replica a primary.
    pub fn promote(&self) {
        self.sql("SELECT pg_promote(true, 60)");
        self.wait_until("SELECT NOT pg_is_in_recovery()");
    }

    fn wait_until(&self, question: &str) {
        let begun = Instant::now();
        while self.sql(question) != "t" {
            assert!(begun.elapsed() < PATIENCE, "still not so: {question}\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }
}
