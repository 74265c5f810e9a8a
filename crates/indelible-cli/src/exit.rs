//! Exit codes: what a script may rely on.
//!
//! The verdicts are those of [`Verdict::exit_code`]; a test holds the two together.

use indelible::verify::Verdict;

/// Done; for `verify` and `check-proof`: intact.
pub(crate) const OK: u8 = 0;
/// Could not: a missing key, a full disk, a log in use. Says nothing about the log's integrity.
pub(crate) const COULD_NOT: u8 = 1;
/// The command line was not understood.
pub(crate) const USAGE: u8 = 2;
/// Some input was rejected, or is not what it should be (a row that changed since, an old signature that is wrong); everything else was recorded. For `import --reconcile`, and behind an import from a
/// table: the table and the log differ.
pub(crate) const REJECTED: u8 = 3;
/// Keys are due for rotation: `keys check`.
pub(crate) const DUE: u8 = 4;
/// Changed, inserted, reordered, missing, truncated, rolled back or wrongly signed.
pub(crate) const TAMPERED: u8 = 10;
/// Bodies are absent and nothing excuses it.
pub(crate) const GAP: u8 = 11;
/// Contradicts a checkpoint or receipt that somebody kept.
pub(crate) const DIVERGED: u8 = 12;
/// Rests on a key or checkpoint that is missing.
pub(crate) const UNVERIFIABLE: u8 = 13;
/// A derived file is wrong though the entries verify.
pub(crate) const DAMAGED: u8 = 14;

/// The code of a verdict.
pub(crate) const fn of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Intact => OK,
        Verdict::Tampered => TAMPERED,
        Verdict::Gap => GAP,
        Verdict::Diverged => DIVERGED,
        Verdict::Unverifiable => UNVERIFIABLE,
        Verdict::Damaged => DAMAGED,
    }
}

/// The same for people, behind every help text.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done; verified intact
   1  could not (says nothing about the log's integrity)
   2  wrong usage
   3  some input was rejected, the rest was recorded; of a table: it differs from the log
   4  keys are due for rotation (`indelible keys check`)
  10  tampered: changed, inserted, reordered, missing, truncated, rolled back or wrongly signed
  11  gap: entries are absent and no authorised record excuses it
  12  diverged: contradicts a checkpoint or receipt that somebody kept
  13  unverifiable: rests on a key or checkpoint that is missing
  14  damaged: a derived file is wrong though the entries verify (`indelible log repair`)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_verdicts_and_stand_in_the_help() {
        let rows = [
            (Verdict::Intact, OK),
            (Verdict::Tampered, TAMPERED),
            (Verdict::Gap, GAP),
            (Verdict::Diverged, DIVERGED),
            (Verdict::Unverifiable, UNVERIFIABLE),
            (Verdict::Damaged, DAMAGED),
        ];
        for (verdict, code) in rows {
            assert_eq!((verdict.exit_code(), of(verdict)), (code, code));
            let name = if verdict == Verdict::Intact { "intact" } else { verdict.as_str() };
            let line = HELP.lines().find(|line| line.trim_start().starts_with(&format!("{code} "))).unwrap();
            assert!(line.contains(name), "{line}");
        }
        for code in [COULD_NOT, USAGE, REJECTED, DUE] {
            assert!(HELP.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))));
        }
    }
}
