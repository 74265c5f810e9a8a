//! The account that the server runs under: PostgreSQL refuses root, so root steps down to `nobody`.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
};

/// What `nobody` is where the account file does not say.
const NOBODY: Account = Account { uid: 65534, gid: 65534 };

/// An unprivileged account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `nobody` for root; nothing to change for everybody else.
    pub(crate) fn to_step_down_to() -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| {
            let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
            accounts.lines().find_map(Self::nobody_of_line).unwrap_or(NOBODY)
        })
    }

    fn nobody_of_line(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }

    /// Gives a file or directory to the account.
    pub(crate) fn own(self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid))
            .unwrap_or_else(|error| panic!("cannot give `{}` away: {error}", path.display()));
    }
}

/// A command that runs under the account, with root's other groups dropped, and outside this process group: an interrupt
/// at the terminal is for the test, which then ends the server in order.
pub(crate) fn command(program: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).current_dir("/").env("LC_ALL", "C").env("TZ", "UTC");
    for variable in std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(variable);
    }
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_found() {
        let found = Account::nobody_of_line("nobody:x:99:98:x:/:/bin/false").unwrap();
        assert_eq!((found.uid, found.gid), (99, 98));
        assert!(Account::nobody_of_line("root:x:0:0::/:/bin/sh").is_none());
        assert!(Account::nobody_of_line("nobody:x").is_none());
    }
}
