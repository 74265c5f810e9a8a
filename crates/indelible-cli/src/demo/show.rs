//! What the demo prints. Colours go away by themselves where they are not wanted (the stream sees to that).

use std::{io::Write, path::Path, time::Duration};

use clap::builder::styling::{AnsiColor, Style};

use super::{attacks::Outcome, stage::Stage};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

/// The printed page, and how many verdicts on it were not the expected ones.
pub(super) struct Show<'a> {
    out: &'a mut dyn Write,
    verdicts: u32,
    unexpected: u32,
}

impl<'a> Show<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, verdicts: 0, unexpected: 0 }
    }

    pub(super) fn title(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "{BOLD}{text}{BOLD:#}")?)
    }

    pub(super) fn section(&mut self, number: &str, title: &str, about: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "\n{BOLD}{number}  {title}{BOLD:#}{FAINT}: {about}{FAINT:#}")?)
    }

    pub(super) fn fact(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "     {text}")?)
    }

    pub(super) fn note(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "   {FAINT}{text}{FAINT:#}")?)
    }

    /// One thing that was as expected, or not.
    pub(super) fn verdict(&mut self, expected: bool, text: &str) -> anyhow::Result<()> {
        let mark = self.mark(expected);
        Ok(writeln!(self.out, "   {mark} {text}")?)
    }

    /// The head of a table of outcomes.
    pub(super) fn columns(&mut self) -> anyhow::Result<()> {
        let (what, verdict) = ("what is done", "verdict (exit)");
        Ok(writeln!(self.out, "     {FAINT}{what:<39} {verdict:<14} where{FAINT:#}")?)
    }

    /// One line of such a table.
    pub(super) fn outcome(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let Outcome { what, verdict, detail, expected } = outcome;
        let mark = self.mark(*expected);
        Ok(writeln!(self.out, "   {mark} {what:<39} {BOLD}{verdict:<14}{BOLD:#} {detail}")?)
    }

    /// The last words. Returns whether everything was as expected.
    pub(super) fn end(self, took: Duration, stage: &Stage, kept: Option<&Path>) -> anyhow::Result<bool> {
        let good = self.unexpected == 0;
        let seconds = took.as_secs_f64();
        let (style, text) = match good {
            true => (GOOD, format!("All {} answers were the expected ones ({seconds:.1} s).", self.verdicts)),
            false => (BAD, format!("{} of {} answers were NOT the expected ones.", self.unexpected, self.verdicts)),
        };
        writeln!(self.out, "\n{style}{text}{style:#}\n\n{BOLD}Next{BOLD:#}")?;
        let next = match kept {
            Some(dir) => in_kept(&dir.display().to_string(), stage),
            None => on_your_own(),
        };
        for (command, why) in next {
            writeln!(self.out, "   {command}\n      {FAINT}{why}{FAINT:#}")?;
        }
        self.out.flush()?;
        Ok(good)
    }

    fn mark(&mut self, expected: bool) -> String {
        self.verdicts += 1;
        if expected {
            return format!("{GOOD}✓{GOOD:#}");
        }
        self.unexpected += 1;
        format!("{BAD}✗{BAD:#}")
    }
}

/// How this program was called.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "indelible".to_owned())
}

fn in_kept(dir: &str, stage: &Stage) -> [(String, &'static str); 3] {
    let (program, index) = (program(), stage.incident.index);
    [
        (
            format!("{program} verify --log {dir}/copies/a5-rewrite/log --keys {dir}/keys"),
            "one of the tampered copies, in full; the untouched log is in log/",
        ),
        (format!("{program} show {index} --log {dir}/log --keys {dir}/keys"), "the entry that the thief wanted gone"),
        (
            format!("{program} check-proof {dir}/proof.json --public-key '{}'", stage.public),
            "its proof, with nothing but the public key",
        ),
    ]
}

fn on_your_own() -> [(String, &'static str); 3] {
    let program = program();
    [
        (
            format!("{program} demo --keep fernhill"),
            "keeps keys, log and tampered copies: look at them with jq, tamper with them yourself",
        ),
        (
            format!("{program} init my.log --origin example.com/audit --keys my-keys"),
            "a log of your own; the keys stay apart",
        ),
        (
            format!("{program} samples --count 5 | {program} append --log my.log --keys my-keys"),
            "records five events and prints their receipts",
        ),
    ]
}
