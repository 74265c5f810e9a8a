//! A copy of a data directory, to put back later: what somebody does who restores an old backup.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::server::{TestServer, finish};

/// A copy of a server's data.
#[derive(Debug)]
pub struct Snapshot {
    folder: TempDir,
}

impl TestServer {
    /// Copies the data directory. The server is stopped for it and started again.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let folder = tempfile::Builder::new().prefix("indelible-pg-copy-").tempdir().unwrap();
        self.stop();
        copy(&self.data(), &folder.path().join("data"));
        self.start_again();
        Snapshot { folder }
    }

    /// Puts a copy in the place of the data directory. The server is stopped for it and started again.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.stop();
        fs::remove_dir_all(self.data()).unwrap();
        copy(&snapshot.folder.path().join("data"), &self.data());
        // Settings are the server's, not the copy's.
        self.write_configuration();
        self.start_again();
    }
}

/// With owners and modes, which the server insists on.
fn copy(from: &Path, to: &Path) {
    finish(Command::new("cp").arg("-a").arg("--").args([from, to]));
}
