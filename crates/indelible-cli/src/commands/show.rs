//! `show` and `tail`: entries as they are stored. Nothing is verified here; `verify` and `prove` do that.

use std::time::Duration;

use indelible::log::{Stored, find, get};
use indelible_core::{
    entry::{BodyKind, EntryRef},
    tree::{LeafIndex, leaf_hash},
};
use indelible_store::store::{Reader, parse_line};
use serde_json::Value;

use crate::{
    cli::{ShowArgs, TailArgs},
    failure::Failure,
    output::{self, Out},
    places::Places,
};

/// How often a growing log is looked at.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// Read in one go.
const READ_BYTES: usize = 1 << 20;

/// Finds an entry by index or event id.
pub(crate) fn locate(store: &dyn Reader, which: &str) -> Result<Stored, Failure> {
    if let Some(id) = which.strip_prefix("id:") {
        return Ok(find(store, id)?);
    }
    let is_index = !which.is_empty() && which.bytes().all(|b| b.is_ascii_digit());
    match which.parse::<u64>() {
        Ok(index) if is_index => Ok(get(store, LeafIndex(index))?),
        _ => Ok(find(store, which)?),
    }
}

/// Shows one entry.
pub(crate) fn show(places: &Places, json: bool, args: &ShowArgs) -> Result<(), Failure> {
    let reader = places.reader()?;
    show_stored(&locate(&*reader, &args.which)?, json, args.raw)
}

/// Shows an entry that was read.
pub(crate) fn show_stored(stored: &Stored, json: bool, raw: bool) -> Result<(), Failure> {
    if raw {
        return output::data(&stored.entry);
    }
    let entry = EntryRef::parse(&stored.entry)?;
    if json {
        return output::data(&json_line(&entry, &stored.mac));
    }
    let body: Value = serde_json::from_slice(entry.body)?;
    let mut text = format!(
        "entry      {}\nlog        {}\nrecorded   {}\nkey        {}\nleaf hash  {}\nprev       {}\nmac        {}\n",
        entry.index,
        entry.log,
        entry.recorded_at,
        entry.key,
        leaf_hash(entry.bytes),
        entry.prev,
        indelible_core::hex::encode(&stored.mac),
    );
    if let Some(head) = entry.head {
        text.push_str(&format!("head       number {}, size {}, root {}\n", head.number, head.size, head.root));
    }
    let kind = if entry.kind == BodyKind::Event { "event" } else { "control record" };
    text.push_str(&format!("{kind}\n{}", output::safe(&serde_json::to_string_pretty(&body)?)));
    output::text(&text)
}

/// Shows the last entries, and goes on.
pub(crate) fn tail(places: &Places, json: bool, args: &TailArgs) -> Result<(), Failure> {
    let reader = places.reader()?;
    let mut out = Out::lock();
    let mut next = reader.size()?.0.saturating_sub(args.count);
    loop {
        let size = reader.size()?.0;
        while next < size {
            let chunk = reader.read(LeafIndex(next), READ_BYTES)?;
            for line in chunk.lines() {
                let line = parse_line(line, next)?;
                print(&line.entry, &line.mac, json, &mut out)?;
                next += 1;
            }
        }
        out.flush()?;
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(POLL_EVERY);
    }
}

/// Prints an entry on one line.
pub(crate) fn print(entry: &EntryRef<'_>, mac: &[u8; 32], json: bool, out: &mut Out) -> Result<(), Failure> {
    if json {
        return out.bytes(&json_line(entry, mac));
    }
    out.bytes(output::safe(&summary(entry)).as_bytes())?;
    out.bytes(b"\n")
}

/// The form of an export's lines.
fn json_line(entry: &EntryRef<'_>, mac: &[u8; 32]) -> Vec<u8> {
    let (index, leaf, mac, prev) = (entry.index, leaf_hash(entry.bytes), indelible_core::hex::encode(mac), entry.prev);
    let mut line = b"{\"entry\":".to_vec();
    line.extend_from_slice(entry.bytes);
    line.extend_from_slice(
        format!(",\"index\":{index},\"leaf_hash\":\"{leaf}\",\"mac\":\"{mac}\",\"prev\":\"{prev}\"}}\n").as_bytes(),
    );
    line
}

/// One line for people: who did what to what, and how it went.
fn summary(entry: &EntryRef<'_>) -> String {
    let body: Value = serde_json::from_slice(entry.body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let said = match entry.kind {
        BodyKind::Control => format!("log {}", text("/type")),
        BodyKind::Event => {
            let target = match (text("/targets/0/type"), text("/targets/0/id")) {
                ("", "") => String::new(),
                (kind, id) => format!(" on {kind}:{id}"),
            };
            let outcome = match text("/outcome") {
                "" => String::new(),
                outcome => format!(" ({outcome})"),
            };
            format!("{}:{} {}{target}{outcome}", text("/actor/type"), text("/actor/id"), text("/action"))
        }
    };
    // One entry, one line, whatever an id holds.
    format!("{:>8}  {}  {}", entry.index.0, entry.recorded_at, said.replace(['\n', '\t'], " "))
}
