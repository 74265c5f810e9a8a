//! `append` to a log on a server; with `--spool`, also while the server is away.
//!
//! On stdout stands, in the order of the lines, a receipt for each event that is recorded and `{"id":…,"spooled":true}` for each that waits on this machine's disk: from then on it is
//! kept. The receipts of what was spooled come when it is delivered, in this run or a later one.

use std::{io, process::ExitCode, sync::Arc, time::Duration};

use indelible::{Receipt, error::chain};
use indelible_client::{
    ClientError, Limits, LogUrl, Prepared, Recorded, Recorder, Retry, Settings, Spool,
    blocking::Log,
    spool::{OnFull, Options},
};
use serde_json::json;

use crate::{
    cli::{AppendArgs, SpoolArgs},
    commands::{
        append::tell_rejected,
        lines::{self, Content, Groups, Line, MAX_LINE_BYTES},
        rejects::Rejects,
    },
    exit,
    failure::Failure,
    output::{self, Out},
};

/// With a spool nobody waits long for a server that is away.
const RETRY: Retry =
    Retry { first: Duration::from_millis(50), most: Duration::from_secs(1), give_up_after: Duration::from_secs(2) };
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(20);

/// Records events, one JSON text a line.
pub(super) fn run(url: &LogUrl, settings: Settings, json: bool, args: &AppendArgs) -> Result<ExitCode, Failure> {
    let input = lines::open(&args.file)?;
    let rejects = Arc::new(Rejects::open(args.rejects.as_deref(), std::slice::from_ref(&args.file))?);
    let way = way(url, settings, &args.spool)?;
    let groups = lines::read(input, Arc::clone(&rejects));
    let mut run = Run { way, out: Out::lock(), rejects: &rejects, json, told: Counts::default() };
    run.all(&groups)?;
    let Counts { recorded, spooled, rejected, lost } = run.told;
    if let Way::Spooling(recorder) = &run.way {
        tell_waiting(recorder);
    }
    if recorded + spooled + rejected + lost == 0 {
        output::note("the input has no events: 0 recorded");
    }
    if rejected + lost == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let all = output::counted(rejected + recorded + spooled + lost, "line", "lines");
    output::note(&format!("{} of {all} rejected, {recorded} recorded, {spooled} spooled", rejected + lost));
    rejects.tell_spread();
    Ok(ExitCode::from(exit::REJECTED))
}

fn way(url: &LogUrl, settings: Settings, args: &SpoolArgs) -> Result<Way, Failure> {
    let Some(dir) = &args.spool else { return Ok(Way::Direct(Log::new(url, settings)?)) };
    let limits = Limits { connect: CONNECT, answer: ANSWER, ..settings.limits };
    let log = Log::new(url, Settings { retry: RETRY, limits, ..settings })?;
    let on_full = if args.drop_newest { OnFull::DropNewest } else { OnFull::Refuse };
    let spool = Spool::open(dir, &url.origin, Options { max_bytes: args.spool_bytes, on_full })?;
    if spool.cut_bytes() > 0 {
        let cut = spool.cut_bytes();
        output::note(&format!("the spool ended in {cut} bytes of a write that a crash tore: cut, and kept beside it"));
    }
    Ok(Way::Spooling(Box::new(Recorder::new(log, spool))))
}

fn tell_waiting(recorder: &Recorder) {
    let waiting = recorder.spool().waiting();
    if waiting == 0 {
        return;
    }
    let why = recorder.trouble().map_or("the server was away".to_owned(), |error| chain(error));
    let are = if waiting == 1 { "event waits" } else { "events wait" };
    output::note(&output::safe(&format!("{waiting} {are} in the spool: {why}. The next `append` delivers first")));
}

enum Way {
    Direct(Log),
    Spooling(Box<Recorder>),
}

#[derive(Default)]
struct Counts {
    recorded: u64,
    spooled: u64,
    rejected: u64,
    /// Dropped, or refused by a full spool.
    lost: u64,
}

struct Run<'a> {
    way: Way,
    out: Out,
    rejects: &'a Rejects,
    json: bool,
    told: Counts,
}

impl Run<'_> {
    fn all(&mut self, groups: &Groups) -> Result<(), Failure> {
        // What waits goes first, also where there is nothing new.
        if let Way::Spooling(recorder) = &mut self.way {
            recorder.deliver(&mut handing_on(&mut self.out))?;
        }
        while let Ok(group) = groups.recv() {
            self.group(group?)?;
        }
        if let Way::Spooling(recorder) = &mut self.way
            && recorder.trouble().is_none()
        {
            recorder.deliver(&mut handing_on(&mut self.out))?;
        }
        Ok(())
    }

    fn group(&mut self, lines: Vec<Line>) -> Result<(), Failure> {
        let (mut events, mut numbers) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
        for Line { number, content } in lines {
            match content {
                Content::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Content::Text(text) => match Prepared::of_json(&text) {
                    Ok(event) => {
                        events.push(event);
                        numbers.push(number);
                    }
                    Err(error) => self.reject(number, &text, &error)?,
                },
                Content::TooLong(bytes) => {
                    self.told.rejected += 1;
                    let why = format!("the line has {bytes} bytes of at most {MAX_LINE_BYTES}: no event is that large");
                    tell_rejected(self.json, number, &why, None);
                }
            }
        }
        let recorded: Vec<Direct> = match &mut self.way {
            Way::Direct(log) => log.append_all(&events).into_iter().map(Direct::of).collect(),
            Way::Spooling(recorder) => {
                let recorded = recorder.record_all(&events, &mut handing_on(&mut self.out))?;
                recorded.into_iter().map(Direct::Told).collect()
            }
        };
        self.tell(&events, &numbers, recorded)
    }

    fn tell(&mut self, events: &[Prepared], numbers: &[u64], recorded: Vec<Direct>) -> Result<(), Failure> {
        let mut failed = None;
        for ((event, number), one) in events.iter().zip(numbers).zip(recorded) {
            match one {
                Direct::Told(Recorded::Durable(receipt)) => {
                    self.told.recorded += 1;
                    self.out.json(&receipt.to_wire())?;
                }
                Direct::Told(Recorded::Spooled) => {
                    self.told.spooled += 1;
                    self.out.json(&json!({ "id": event.id(), "spooled": true }))?;
                }
                Direct::Told(Recorded::Refused(error)) => self.reject(*number, event.bytes(), &error)?,
                Direct::Told(Recorded::Full) => {
                    self.told.lost += 1;
                    self.rejects.keep(event.bytes())?;
                    tell_rejected(
                        self.json,
                        *number,
                        "the spool is full: raise --spool-bytes, or see to the server",
                        None,
                    );
                }
                Direct::Told(Recorded::Dropped) => {
                    self.told.lost += 1;
                    self.rejects.keep(event.bytes())?;
                    tell_rejected(self.json, *number, "dropped: the spool is full, which will be on record", None);
                }
                Direct::Failed(error) => {
                    self.rejects.keep(event.bytes())?;
                    failed.get_or_insert((*number, error));
                }
            }
        }
        self.out.flush()?;
        let Some((number, error)) = failed else { return Ok(()) };
        let text =
            format!("line {number} has no receipt, nor has any line behind it that shows none: {}", chain(&error));
        Err(Failure::text(text))
    }

    fn reject(&mut self, number: u64, text: &[u8], error: &ClientError) -> Result<(), Failure> {
        self.told.rejected += 1;
        self.rejects.keep(text)?;
        let pointer = match error {
            ClientError::Event(event) => Some(event.pointer()),
            error => error.problem().and_then(|problem| problem.pointer.as_deref()),
        };
        tell_rejected(self.json, number, &chain(error), pointer);
        Ok(())
    }
}

/// What became of an event without a spool.
enum Direct {
    Told(Recorded),
    Failed(ClientError),
}

impl Direct {
    fn of(outcome: Result<Receipt, ClientError>) -> Self {
        match outcome {
            Ok(receipt) => Self::Told(Recorded::Durable(receipt)),
            Err(error) if error.is_of_event() => Self::Told(Recorded::Refused(error)),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Prints the receipt of what was spooled, and lets it go only when it is out.
fn handing_on(out: &mut Out) -> impl FnMut(&Receipt) -> io::Result<()> {
    move |receipt| {
        let told = out.json(&receipt.to_wire()).and_then(|()| out.flush());
        told.map_err(|failure| match failure {
            Failure::ClosedPipe => io::ErrorKind::BrokenPipe.into(),
            failure => io::Error::other(failure.message().unwrap_or_default()),
        })
    }
}
