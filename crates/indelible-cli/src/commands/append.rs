//! `append`: events in, receipts out.
//!
//! A receipt is printed when its event is durable, in the order of the lines. A line that is refused is told on stderr and kept in the
//! rejects; the others are recorded. Where the log itself fails, nothing more is read, and the first line that has no receipt is named.

use std::{process::ExitCode, sync::Arc};

use indelible::{AppendError, Log, Receipt, error::chain};
use serde_json::json;

use super::{
    lines::{self, Content, Groups, Line, MAX_LINE_BYTES},
    rejects::Rejects,
};
use crate::{
    cli::AppendArgs,
    exit,
    failure::Failure,
    output::{self, Out},
    places::Places,
};

/// Records events, one JSON text a line.
pub(crate) fn run(places: &Places, json: bool, args: &AppendArgs) -> Result<ExitCode, Failure> {
    #[cfg(feature = "client")]
    if args.spool.spool.is_some() {
        return Err(Failure::Usage(
            "--spool is for a log on a server: give --log https://HOST:PORT/logs/ORIGIN".to_owned(),
        ));
    }
    let input = lines::open(&args.file)?;
    let rejects = Arc::new(Rejects::open(args.rejects.as_deref(), std::slice::from_ref(&args.file))?);
    let log = places.open()?;
    let groups = lines::read(input, Arc::clone(&rejects));
    let mut run = Run { log: &log, out: Out::lock(), rejects: &rejects, json, recorded: 0, rejected: 0 };
    let result = run.all(&groups);
    let (recorded, rejected) = (run.recorded, run.rejected);
    // What is recorded gets its checkpoint whatever else went wrong; the first failure is the one to tell.
    let closed = log.close();
    match result {
        Err(Failure::ClosedPipe) => {
            let gone = "whoever read the receipts on stdout has gone";
            return Err(Failure::text(format!(
                "{gone}: {} recorded, the rest of the input was not read",
                output::counted(recorded, "event is", "events are")
            )));
        }
        result => result?,
    }
    closed?;
    if recorded + rejected == 0 {
        output::note("the input has no events: 0 recorded");
    }
    if rejected == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let lines = output::counted(rejected + recorded, "line", "lines");
    output::note(&format!("{rejected} of {lines} rejected, {recorded} recorded"));
    rejects.tell_spread();
    Ok(ExitCode::from(exit::REJECTED))
}

/// Why an event was rejected, in one line, with the pointer where there is one.
pub(crate) fn reason(error: &AppendError) -> (String, Option<&str>) {
    match error {
        AppendError::Event(event) => (chain(event), Some(event.pointer())),
        error => (chain(error), None),
    }
}

struct Run<'a> {
    log: &'a Log,
    out: Out,
    rejects: &'a Rejects,
    json: bool,
    recorded: u64,
    rejected: u64,
}

impl Run<'_> {
    fn all(&mut self, groups: &Groups) -> Result<(), Failure> {
        while let Ok(group) = groups.recv() {
            self.group(group?)?;
        }
        Ok(())
    }

    fn group(&mut self, lines: Vec<Line>) -> Result<(), Failure> {
        let mut texts = Vec::with_capacity(lines.len());
        let mut numbers = Vec::with_capacity(lines.len());
        for Line { number, content } in lines {
            match content {
                Content::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Content::Text(text) => {
                    texts.push(text);
                    numbers.push(number);
                }
                Content::TooLong(bytes) => {
                    let why = format!(
                        "the line has {bytes} bytes of at most {MAX_LINE_BYTES}: send what is large as an attachment"
                    );
                    self.reject(number, &why, None);
                }
            }
        }
        let results = self.log.append_all(&texts);
        let mut failed = None;
        let last = numbers.last().copied().unwrap_or(0);
        let mut received = 0;
        for ((number, text), result) in numbers.into_iter().zip(&texts).zip(results) {
            match result {
                Ok(receipt) => {
                    self.receipt(&receipt)?;
                    received = number;
                }
                Err(error) => {
                    self.rejects.keep(text)?;
                    if error.is_refusal() {
                        let (why, pointer) = reason(&error);
                        self.reject(number, &why, pointer);
                    } else {
                        failed.get_or_insert((number, error));
                    }
                }
            }
        }
        self.out.flush()?;
        match failed {
            None => Ok(()),
            Some((number, error)) => {
                let others = if received > number {
                    format!("lines behind it may have one, none behind line {last} has")
                } else {
                    "nor has any line behind it".to_owned()
                };
                Err(Failure::text(format!("line {number} has no receipt, {others}: {}", chain(&error))))
            }
        }
    }

    fn receipt(&mut self, receipt: &Receipt) -> Result<(), Failure> {
        self.recorded += 1;
        self.out.json(&receipt.to_wire())
    }

    fn reject(&mut self, number: u64, why: &str, pointer: Option<&str>) {
        self.rejected += 1;
        tell_rejected(self.json, number, why, pointer);
    }
}

/// Says on stderr why a line was rejected.
pub(crate) fn tell_rejected(json: bool, number: u64, why: &str, pointer: Option<&str>) {
    if json {
        output::note(&json!({ "error": why, "line": number, "pointer": pointer }).to_string());
    } else {
        output::note(&output::safe(&format!("line {number}: {why}")));
    }
}
