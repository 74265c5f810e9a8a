//! What stops a server and removes its directory where the test process dies without doing so.
//!
//! A shell waits on a pipe from the test process. A word means that all is done; the end of the pipe means that the
//! process is gone.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A pid file, of a server or a pooler, is believed only where that process works in its directory.
const SCRIPT: &str = r#"
read -r word && [ "$word" = done ] && exit 0
for file in "$1"/*/postmaster.pid "$1"/*/pid; do
  [ -f "$file" ] || continue
  pid=$(head -n 1 "$file")
  [ "$(readlink "/proc/$pid/cwd")" = "${file%/*}" ] || continue
  kill -QUIT "$pid"
  rounds=0
  while kill -0 "$pid" && [ "$rounds" -lt 100 ]; do sleep 0.1; rounds=$((rounds + 1)); done
done
rm -rf -- "$1"
"#;

#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the servers that work in `folder`.
    pub(crate) fn over(folder: &Path) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "watchdog"]).arg(folder).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().unwrap_or_else(|error| panic!("cannot start the watchdog: {error}")))
    }

    /// All is stopped; the watchdog may go.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // A watchdog that is gone needs no word.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}
