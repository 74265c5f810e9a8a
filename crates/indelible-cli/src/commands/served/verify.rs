//! `verify` with a log on a server: what can be verified from here, and then what the server says that it found itself.
//!
//! Verified here, under the public key that was given: the newest checkpoint, that it continues the one seen before and the one that was kept, and that receipts are of what stands in
//! the tree. The entries themselves are read by the server; its report is its word, and is told as such. To read them oneself there is `tools/follow.py`.

use std::{process::ExitCode, thread, time::Duration};

use indelible::Receipt;
use indelible_client::{ClientError, Followed, Memory, blocking::Log, wire};
use indelible_core::entry;
use serde_json::{Value, json};

use super::{evidence, kept_elsewhere, public_key};
use crate::{
    cli::VerifyArgs,
    commands::verify::{read_note, read_receipts},
    exit,
    failure::Failure,
    output,
    places::auditors_dir,
};

/// How long the server is waited for at a time.
const WAIT_SECONDS: u64 = 20;
const POLL_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(log: &Log, json: bool, args: &VerifyArgs) -> Result<ExitCode, Failure> {
    if args.from_last || args.strict || args.all_macs {
        let text = "--from-last, --strict and --all-macs read the entries here: with a log on a server give --public-key, --checkpoint and --receipts";
        return Err(Failure::Usage(text.to_owned()));
    }
    let key = public_key(args.public_key.as_deref())?;
    let origin = log.inner().origin().as_str();
    let other = [Some(key.name()), args.origin.as_deref()].into_iter().flatten().find(|name| *name != origin);
    if let Some(other) = other {
        return Err(Failure::text(format!("the log is `{origin}`, not `{other}`: nothing was verified")));
    }
    let shown = log.follow(&key, &Memory::new(auditors_dir()?)).map_err(evidence)?;
    if let Some(path) = &args.checkpoint {
        let kept = String::from_utf8(read_note(path)?).map_err(|_| Failure::text("a checkpoint is UTF-8"))?;
        log.follow_from(&key, Some(&kept)).map_err(kept_elsewhere)?;
    }
    let receipts = args.receipts.as_deref().map(read_receipts).transpose()?.unwrap_or_default();
    verify_receipts(log, &receipts, &shown)?;
    let server = by_the_server(log)?;
    tell(&shown, origin, receipts.len(), &server, json)?;
    Ok(ExitCode::from(server.code()))
}

fn verify_receipts(log: &Log, receipts: &[entry::WireReceipt], shown: &Followed) -> Result<(), Failure> {
    let typed = |receipt: &entry::WireReceipt| wire::receipt(receipt, &receipt.id, log.inner().origin().as_str());
    let typed: Result<Vec<Receipt>, String> = receipts.iter().map(typed).collect();
    let diverged = |error: indelible_client::FollowError| match evidence(error) {
        Failure::Evidence(_, error) => Failure::Evidence(exit::DIVERGED, error),
        failure => failure,
    };
    log.verify_receipts(&typed.map_err(Failure::text)?, shown).map_err(diverged)
}

/// What the server says of its own log.
enum ServersWord {
    /// Its verdict, and its report.
    Verdict(String, Value),
    /// It did not come to one.
    None(String),
    /// The key may not ask.
    NotAsked,
}

impl ServersWord {
    fn code(&self) -> u8 {
        match self {
            Self::NotAsked => exit::OK,
            Self::None(_) => exit::COULD_NOT,
            Self::Verdict(verdict, _) => match verdict.as_str() {
                "intact" => exit::OK,
                "tampered" => exit::TAMPERED,
                "gap" => exit::GAP,
                "diverged" => exit::DIVERGED,
                "damaged" => exit::DAMAGED,
                _ => exit::UNVERIFIABLE,
            },
        }
    }
}

fn by_the_server(log: &Log) -> Result<ServersWord, Failure> {
    let mut job = match log.verify(WAIT_SECONDS) {
        Err(ClientError::Refused(problem)) if problem.kind == "forbidden" => return Ok(ServersWord::NotAsked),
        result => result?,
    };
    let bar = output::progress("the server verifies", 1);
    while !job.is_done() {
        bar.set_length(job.entries_expected.max(job.entries_read));
        bar.set_position(job.entries_read);
        thread::sleep(POLL_EVERY);
        job = log.verification(&job.id)?;
    }
    bar.finish_and_clear();
    let none = || job.error.clone().unwrap_or_else(|| "it gave no report".to_owned());
    Ok(match &job.report {
        Some(report) => {
            let verdict = report.get("status").and_then(Value::as_str).unwrap_or_default();
            ServersWord::Verdict(verdict.to_owned(), report.clone())
        }
        None => ServersWord::None(none()),
    })
}

fn tell(shown: &Followed, origin: &str, receipts: usize, server: &ServersWord, json: bool) -> Result<(), Failure> {
    let (size, root) = (shown.head.size.0, shown.head.root);
    if json {
        let word = match server {
            ServersWord::Verdict(_, report) => json!({ "report": report }),
            ServersWord::None(error) => json!({ "error": error }),
            ServersWord::NotAsked => Value::Null,
        };
        return output::json(&json!({
            "origin": origin,
            "receipts_checked": receipts,
            "root": root.to_hex(),
            "server": word,
            "status": "consistent",
            "tree_size": size,
        }));
    }
    let good = output::GOOD;
    let mut lines = vec![
        format!(
            "{good}consistent{good:#}: `{origin}` to {}, under a checkpoint of the key that was given, and with all that was seen before",
            output::entries(size)
        ),
        format!("  root       {root}"),
    ];
    if receipts > 0 {
        lines.push(format!("  receipts checked  {receipts}, each against the tree"));
    }
    lines.push(match server {
        ServersWord::Verdict(verdict, _) => {
            format!("  the server read all entries and says (its word): {}", output::safe(verdict))
        }
        ServersWord::None(error) => format!("  the server could not verify the entries: {}", output::safe(error)),
        ServersWord::NotAsked => {
            "  the entries were not read: the key may not have the server verify (`auditor`)".to_owned()
        }
    });
    output::text(&lines.join("\n"))
}
