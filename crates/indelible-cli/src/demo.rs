//! `indelible demo`: a log recorded, verified and proven, and then tampered with in every way that a newcomer would try.
//!
//! What is tampered with is always a copy, made for that one attack, with a copy of the head store beside it. An attack edits the files of the
//! log as somebody with every right on them would; it never goes through the library. Each verdict is compared with
//! the one that is expected, and [`run`] says whether all of them were.
//!
//! | module | holds |
//! |---|---|
//! | `stage` | keys, log and events; verifying a copy |
//! | `hands` | a copy of the log in the attacker's hands: segments taken apart and put together |
//! | `attacks` | what is done to the copies, and what verification has to say of it |
//! | `table` | the same events in an SQL table with the usual triggers |
//! | `outbox` | an application's own table, whose changes become entries |
//! | `postgres` | the server for that |
//! | `show` | what is printed |

mod attacks;
mod hands;
#[cfg(feature = "postgres")]
mod outbox;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod show;
mod stage;
mod table;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, bail};

use attacks::Outcome;
use show::Show;
use stage::Stage;

/// Options of `indelible demo`.
#[derive(clap::Args, Debug)]
pub(crate) struct DemoArgs {
    /// Keep keys, log and tampered copies in this directory, which must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo. Returns whether every verdict was the expected one.
///
/// # Errors
/// Where the demo could not be played at all.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<bool> {
    let mut out = anstream::stdout().lock();
    match &args.keep {
        Some(dir) => {
            make(dir)?;
            play(dir, Some(dir), &mut out)
        }
        None => {
            let dir = tempfile::Builder::new().prefix("indelible-demo-").tempdir().context("no temporary directory")?;
            let all_expected = play(dir.path(), None, &mut out)?;
            dir.close().context("the temporary directory could not be removed")?;
            Ok(all_expected)
        }
    }
}

fn make(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        bail!("`{}` exists already: --keep wants a directory that does not exist yet", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create `{}`", dir.display()))
}

fn play(dir: &Path, kept: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let mut show = Show::new(out);
    show.title("Indelible: a week of audit events, and what becomes of it when somebody tampers")?;
    let stage = record(dir, kept, &mut show)?;
    verify_whole(&stage, &mut show)?;
    prove_one(&stage, &mut show)?;
    show.section("4", "Tamper with it", "each time a fresh copy, by somebody who may write every file of the log")?;
    show.columns()?;
    for attack in attacks::all() {
        let outcome = attack.carry_out(&stage)?;
        show.outcome(&outcome)?;
    }
    show.note("⁺ with the key that signs entries, stolen: the checkpoints are signed with another one.")?;
    show.note("The last line is no error. An old copy is genuine, and only what was kept outside of it can tell:")?;
    show.note("the head store, a receipt, a checkpoint that was handed on.")?;
    compare_with_table(&stage, &mut show)?;
    #[cfg(feature = "postgres")]
    record_changes(&stage, &mut show)?;
    show.end(begun.elapsed(), &stage, kept)
}

fn record(dir: &Path, kept: Option<&Path>, show: &mut Show<'_>) -> anyhow::Result<Stage> {
    let begun = Instant::now();
    let stage = Stage::set(dir)?;
    show.section("1", "Record", "the week of a small clinic, made up")?;
    show.fact(&format!(
        "{} events, signed and chained, in {} segments ({} of them compressed); {} checkpoints kept; {:.2} s",
        stage.events.len(),
        stage.segments.0,
        stage.segments.1,
        stage.kept,
        begun.elapsed().as_secs_f64(),
    ))?;
    show.fact("On Thursday night a stolen password fits, patient records are exported, and the thief")?;
    show.fact(&format!(
        "tries to delete the audit trail. That is refused and recorded, as entry {}.",
        stage.incident.index
    ))?;
    if kept.is_some() {
        show.fact(&format!("Kept in {}", dir.display()))?;
    }
    Ok(stage)
}

fn verify_whole(stage: &Stage, show: &mut Show<'_>) -> anyhow::Result<()> {
    show.section("2", "Verify", "every stored byte is read again")?;
    let report = stage.verify_original()?;
    let whole = report.status == indelible::verify::Verdict::Intact && report.entries_verified == stage.size;
    show.verdict(
        whole,
        &format!(
            "{} (exit {}): {} entries and {} kept checkpoints, signatures of entries {}",
            report.status.as_str(),
            report.status.exit_code(),
            report.entries_verified,
            report.checkpoints,
            match report.macs {
                indelible::verify::Macs::Checked => "checked",
                indelible::verify::Macs::Partly => "partly checked",
                indelible::verify::Macs::NotChecked => "not checked",
            },
        ),
    )?;
    for finding in &report.findings {
        show.fact(&finding.detail)?;
    }
    show.fact(&format!("Rests on the public key {}…", stage.public_key_start()))?;
    show.fact("and on the newest checkpoint, of which a copy is kept apart from the log (the head store).")
}

fn prove_one(stage: &Stage, show: &mut Show<'_>) -> anyhow::Result<()> {
    show.section("3", "Prove one entry", "to somebody who has the public key and nothing else")?;
    let (bytes, checked) = stage.prove_incident()?;
    let proven = checked.index == stage.incident.index && checked.leaf == stage.incident.leaf;
    show.verdict(
        proven,
        &format!("a bundle of {bytes} bytes: entry {} is in the log of {} entries", checked.index, checked.head.size),
    )?;
    let refused = stage.proof_of_a_changed_entry_is_refused()?;
    show.verdict(refused, "the same bundle with one byte changed is refused")
}

fn compare_with_table(stage: &Stage, show: &mut Show<'_>) -> anyhow::Result<()> {
    show.section("5", "Why a trigger is not enough", "the same events in an SQL table that refuses UPDATE and DELETE")?;
    let table = table::play(stage)?;
    show.outcome(&Outcome {
        what: "an application's UPDATE".to_owned(),
        verdict: "refused".to_owned(),
        detail: "by the trigger".to_owned(),
        expected: table.update_refused,
    })?;
    show.outcome(&Outcome {
        what: "trigger off, UPDATE, trigger on".to_owned(),
        verdict: table.integrity.clone(),
        detail: format!("says integrity_check; {} rows, same schema: nobody can tell", table.rows),
        expected: table.is_silent(),
    })?;
    show.outcome(&attacks::same_change().carry_out(stage)?)
}

#[cfg(feature = "postgres")]
fn record_changes(stage: &Stage, show: &mut Show<'_>) -> anyhow::Result<()> {
    use outbox::Outbox;

    show.section("6", "Record what an application changes", "a table in PostgreSQL, changed by psql alone")?;
    let Some(outbox) = outbox::play(&stage.keys)? else {
        return show.fact("SKIPPED: PostgreSQL is not installed here (on Debian: apt-get install postgresql).");
    };
    show.fact(&format!("{};", outbox::BULK_UPDATE))?;
    let rows = Outbox::ROWS;
    show.verdict(
        outbox.complete,
        &format!("{rows} rows changed, {rows} entries, by way of trigger, outbox and relay; the first:"),
    )?;
    show.fact(&outbox.first)?;
    let answer =
        |report: &indelible::verify::Report| format!("{} ({})", report.status.as_str(), report.status.exit_code());
    show.outcome(&Outcome {
        what: "verify".to_owned(),
        verdict: answer(&outbox.whole),
        detail: format!("{} entries", outbox.whole.entries_verified),
        expected: outbox.whole.status == indelible::verify::Verdict::Intact,
    })?;
    let found = outbox.tampered.findings.first();
    show.outcome(&Outcome {
        what: "a superuser blames somebody else".to_owned(),
        verdict: answer(&outbox.tampered),
        detail: found.and_then(|found| found.index).map_or_else(String::new, |index| format!("entry {index}")),
        expected: outbox.tampered.status == indelible::verify::Verdict::Tampered
            && found.is_some_and(|found| found.index == Some(outbox.changed)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_is_the_expected_one_and_the_page_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let mut page = Vec::new();
        let all_expected = play(dir.path(), None, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(all_expected, "{page}");
        assert!(page.lines().count() <= 70, "{page}");
    }

    #[test]
    fn an_existing_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = run(&DemoArgs { keep: Some(dir.path().to_owned()) }).unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
    }
}
