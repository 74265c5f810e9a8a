//! What a crash may leave behind the newest head, and what may be cut of it.
//!
//! The tail from the head to the end of the last segment is read by the rules of normal reading. INVARIANT(torn): bytes
//! are cut only where all of this holds, so that nothing that was acknowledged can be among them (`docs/format.md` section 5):
//! the first bad line is at or beyond what `durable` and the head say; no line behind it belongs to a later batch (a later
//! batch is written only after the one before is synced); they are no more than a batch may be.
//! Anything else is evidence: it is reported, and the log is not opened for writing. A line that cannot be checked, because the secret that would tell is missing, is
//! neither taken nor cut: what a crash tears is no whole line that continues the chain, and who has the secret again opens the log as it stands.

use indelible_core::{
    entry::{Line, MAX_LINE_BYTES},
    time::Micros,
    tree::{Frontier, Hash},
};
use indelible_store::{
    disk::{Open, SharedDisk, replace_small},
    driver::{Cut, Recovered, TailCheck, TailFault},
    follow::Follower,
    store::{self, MAX_BATCH_BYTES, StoreError},
};
use sha2::{Digest as _, Sha256};

use crate::{
    layout::{Durable, Layout},
    segments::{Form, OpenSegment, Segment, Trust},
};

/// The active segment, where appending goes on.
pub(crate) struct Active {
    pub(crate) segment: Segment,
    pub(crate) base: u64,
    pub(crate) len: u64,
    pub(crate) begun: Option<Micros>,
}

/// Where the tail begins: behind the entries of the newest head.
pub(crate) struct Anchor {
    pub(crate) frontier: Frontier,
    pub(crate) position: u64,
    pub(crate) base: u64,
    pub(crate) segment: u64,
    pub(crate) last_leaf: Hash,
    pub(crate) last_batch: Option<u64>,
    pub(crate) last_recorded_at: Option<Micros>,
}

/// Bytes that are read at a time.
const WINDOW: usize = 1 << 20;

struct Tail {
    position: u64,
    follower: Follower,
    recorded_at: Option<Micros>,
}

impl Tail {
    /// Index of the line that is expected.
    fn index(&self) -> u64 {
        self.follower.next()
    }
}

/// Reads what stands behind the anchor in these segments, all of the log's.
pub(crate) fn recover(
    disk: &SharedDisk,
    layout: &Layout,
    list: &[Segment],
    anchor: &Anchor,
    check: &dyn TailCheck,
) -> Result<(Recovered, Active), StoreError> {
    let durable = Durable::read(&**disk, layout)?;
    let bounded = disk.meta(&layout.at("bounded")).map_err(StoreError::io("read", &layout.at("bounded")))?.is_some();
    let size = anchor.frontier.size().0;
    let mut tail = Tail {
        position: anchor.position,
        // Where there is no batch before, the next line begins one.
        follower: Follower::new(size, Some(anchor.last_leaf), Some(anchor.last_batch.unwrap_or(size))),
        recorded_at: anchor.last_recorded_at,
    };
    let mut base = anchor.base;
    let mut cut = None;
    let from = list.partition_point(|s| s.first < anchor.segment);
    let mut last = None;
    for (n, segment) in list.iter().enumerate().skip(from) {
        if segment.first > anchor.segment && segment.first != tail.index() {
            return Err(evidence(tail.index(), &format!("the next segment begins with entry {}", segment.first)));
        }
        let open = OpenSegment::open(disk, layout, *segment, Trust::Table)?;
        if segment.first > anchor.segment {
            base = tail.position;
        }
        let begun = first_time(&open)?;
        let bad = read_tail(&open, base, &mut tail, check)?;
        let len = tail.position - base;
        if let Some(why) = bad {
            if n + 1 < list.len() {
                return Err(evidence(tail.index(), &why));
            }
            let bytes = torn(&open, len, tail.index(), tail.position, durable, &why)?;
            if let Some(why) = check.unready() {
                return Err(TailFault::Unchecked(why).at(tail.index()));
            }
            cut = Some(set_aside(disk, layout, &open, &tail, len, &bytes)?);
        }
        last = Some(Active { segment: *segment, base, len, begun });
    }
    if let Some(durable) = durable.filter(|durable| durable.size > tail.index()) {
        let why = format!("the log ends here, but {} entries were synced: it was cut at its end", durable.size);
        return Err(evidence(tail.index(), &why));
    }
    let clean = cut.is_none() && durable.is_some_and(|durable| durable.done && durable.size == tail.index());
    let recovered = Recovered {
        size: tail.index(),
        last_leaf: tail.follower.leaf().unwrap_or(anchor.last_leaf),
        last_recorded_at: tail.recorded_at,
        clean,
        cut,
        bounded,
    };
    let active = match last {
        Some(active) if active.segment.form == Form::Plain => active,
        // The last segment was closed and compressed: the next batch begins a new one.
        _ => {
            let segment = Segment { first: tail.index(), form: Form::Plain };
            Active { segment, base: tail.position, len: 0, begun: None }
        }
    };
    settle(disk, layout, &active, durable)?;
    Ok((recovered, active))
}

/// Makes what was found durable before anything is said of it or built on it. INVARIANT(settled): a process that died between
/// write and sync leaves lines that only show, and a sync that failed leaves some that no later sync keeps; both are
/// written again, from `durable` on. An empty segment is replaced, so that its name is synced anew; it is never taken away, as it
/// could come back between the entries.
fn settle(disk: &SharedDisk, layout: &Layout, active: &Active, durable: Option<Durable>) -> Result<(), StoreError> {
    let path = active.segment.path(layout);
    if disk.meta(&path).map_err(StoreError::io("read", &path))?.is_some() {
        if active.len == 0 {
            replace_small(&**disk, &path, b"").map_err(StoreError::io("create", &path))?;
        } else {
            let file = disk.open(&path, Open::Write).map_err(StoreError::io("open", &path))?;
            let mut at = durable.map_or(0, |durable| durable.bytes.saturating_sub(active.base)).min(active.len);
            while at < active.len {
                let part = usize::try_from(active.len - at).unwrap_or(usize::MAX).min(WINDOW);
                let mut bytes = vec![0; part];
                let got = file.read_at(&mut bytes, at).map_err(StoreError::io("read", &path))?;
                if got != part {
                    return Err(StoreError::io("read", &path)(std::io::ErrorKind::UnexpectedEof.into()));
                }
                file.write_at(&bytes, at).map_err(StoreError::io("write", &path))?;
                at += part as u64;
            }
            // A cut whose sync failed shows as done, and the torn bytes would come back behind a next segment.
            file.set_len(active.len).map_err(StoreError::io("cut", &path))?;
            file.sync().map_err(StoreError::io("sync", &path))?;
        }
    }
    let dir = layout.at("segments");
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))
}

fn evidence(index: u64, detail: &str) -> StoreError {
    StoreError::Evidence { index, detail: detail.to_owned() }
}

fn first_time(open: &OpenSegment) -> Result<Option<Micros>, StoreError> {
    let head = open.read(0, MAX_LINE_BYTES)?;
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(Line::parse(line).ok().and_then(|line| line.entry.recorded()))
}

/// Reads lines from `tail.position` to the end of a segment; returns why the first bad one is bad.
fn read_tail(
    open: &OpenSegment,
    base: u64,
    tail: &mut Tail,
    check: &dyn TailCheck,
) -> Result<Option<String>, StoreError> {
    let end = open.len()?;
    while tail.position - base < end {
        let bytes = open.read(tail.position - base, WINDOW)?;
        if memchr::memchr(b'\n', &bytes).is_none() {
            return Ok(Some("its line does not end".to_owned()));
        }
        for line in store::lines(&bytes) {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            match next_line(text, tail, check) {
                Ok(()) => tail.position += line.len() as u64,
                Err(TailFault::Wrong(why)) => return Ok(Some(why)),
                Err(fault) => return Err(fault.at(tail.index())),
            }
        }
    }
    Ok(None)
}

/// Takes a line; its position stays for the caller to move.
fn next_line(text: &[u8], tail: &mut Tail, check: &dyn TailCheck) -> Result<(), TailFault> {
    let line = Line::parse(text).map_err(|error| TailFault::Wrong(error.to_string()))?;
    let leaf = tail.follower.check(&line).map_err(TailFault::Wrong)?;
    if let Some(fault) = check.fault(&line, &leaf) {
        return Err(fault);
    }
    tail.follower.advance(&line, leaf);
    tail.recorded_at = line.entry.recorded();
    Ok(())
}

/// The bytes from the first bad line on, if they can be a torn write.
fn torn(
    open: &OpenSegment,
    offset: u64,
    index: u64,
    position: u64,
    durable: Option<Durable>,
    why: &str,
) -> Result<Vec<u8>, StoreError> {
    let rest = open.len()? - offset;
    if durable.is_some_and(|durable| index < durable.size || position < durable.bytes) {
        return Err(evidence(index, &format!("{why}, and it was synced: this is no torn write")));
    }
    if rest > MAX_BATCH_BYTES as u64 {
        return Err(evidence(index, &format!("{why}, and {rest} bytes follow: no torn write is so long")));
    }
    let bytes = open.read(offset, usize::try_from(rest).unwrap_or(usize::MAX))?;
    let later = bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| Line::parse(line).ok())
        .find(|line| line.batch.0 > index && line.entry.index.0 > index);
    if let Some(line) = later {
        let then = line.entry.index;
        return Err(evidence(
            index,
            &format!("{why}, and entry {then} of a later batch follows: this is no torn write"),
        ));
    }
    Ok(bytes)
}

fn set_aside(
    disk: &SharedDisk,
    layout: &Layout,
    open: &OpenSegment,
    tail: &Tail,
    offset: u64,
    bytes: &[u8],
) -> Result<Cut, StoreError> {
    // First of all: a file that must not be written, because it is not the log's alone, is not to be copied either.
    let segment = open.segment.path(layout);
    let own = disk.open(&segment, Open::Write).map_err(StoreError::io("open", &segment))?;
    let dir = layout.at("aside");
    let mut serial = 0;
    let aside = loop {
        let name = format!("{:020}-{serial:04}.torn", tail.index());
        if disk.meta(&dir.join(&name)).map_err(StoreError::io("read", &dir))?.is_none() {
            break name;
        }
        serial += 1;
    };
    let path = dir.join(&aside);
    let file = disk.open(&path, Open::CreateNew).map_err(StoreError::io("create", &path))?;
    file.write_at(bytes, 0).map_err(StoreError::io("write", &path))?;
    file.sync().map_err(StoreError::io("sync", &path))?;
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
    own.set_len(offset).map_err(StoreError::io("cut", &segment))?;
    own.sync().map_err(StoreError::io("sync", &segment))?;
    Ok(Cut { aside, bytes: bytes.len() as u64, sha256: Sha256::digest(bytes).into() })
}
