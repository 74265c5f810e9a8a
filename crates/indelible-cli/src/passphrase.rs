//! Asking for a passphrase on a terminal, without showing it.
//!
//! Only standard input is asked, and only where it is a terminal: a pipe or a job of cron is never held up by a question.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// A passphrase from the terminal; `None` where there is none, or nothing was typed.
pub(crate) fn ask(question: &str) -> Option<Arc<Zeroizing<String>>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    let _quiet = Quiet::new(&stdin)?;
    let mut stderr = io::stderr();
    drop(write!(stderr, "{question}").and_then(|()| stderr.flush()));
    let mut line = Zeroizing::new(String::with_capacity(1024));
    let read = stdin.lock().read_line(&mut line);
    // The line feed that was typed was not shown either.
    drop(writeln!(stderr));
    let text = Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned());
    (read.is_ok() && !text.is_empty()).then(|| Arc::new(text))
}

/// A passphrase that is typed twice.
pub(crate) fn ask_twice(question: &str) -> Result<Arc<Zeroizing<String>>, Failure> {
    let nobody =
        || Failure::Usage("there is no terminal to ask for the passphrase: set INDELIBLE_NEW_PASSPHRASE".to_owned());
    let first = ask(question).ok_or_else(nobody)?;
    let second = ask("the same again: ").ok_or_else(nobody)?;
    if first == second { Ok(first) } else { Err(Failure::text("the two passphrases differ: nothing was changed")) }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
#[cfg(unix)]
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl<'a> Quiet<'a> {
    fn new(terminal: &'a io::Stdin) -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(terminal).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).ok()?;
        Some(Self { terminal, before })
    }
}

#[cfg(unix)]
impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.terminal, rustix::termios::OptionalActions::Now, &self.before);
    }
}

/// Where a terminal cannot be kept from showing what is typed, nothing is asked.
#[cfg(not(unix))]
struct Quiet;

#[cfg(not(unix))]
impl Quiet {
    fn new(_terminal: &io::Stdin) -> Option<Self> {
        None
    }
}
