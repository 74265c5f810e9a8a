//! Events on disk while the server is away: in order, bounded, and there after a crash.
//!
//! A directory of its own, with one writer:
//!
//! | file | holds |
//! |---|---|
//! | `lock` | what one process holds |
//! | `spool.json` | the log that the events are for |
//! | `00000001.spool`, … | events, in frames ([`frame`]) |
//! | `delivered` | up to where they were delivered, with a check ([`delivered`]); behind the truth after a crash, never before it |
//! | `gaps.json` | what had to be turned away, until that is on record ([`gap`]) |
//! | `refused.jsonl` | events that the server will never take, and why ([`refused`]) |
//! | `*.cut` | bytes of a torn write that recovery cut |
//!
//! INVARIANT(spooled): an event is spooled when [`Spool::push`] returns: written and synced, and the file's name with it. It leaves the spool behind its receipt only. After `kill -9` or a power cut everything that
//! was spooled is there; what was delivered just before may be sent once more, and is recorded once, because it has its id.
//!
//! **Torn or damaged.** Frame *n + 1* is written only when frame *n* is synced. So a broken frame with a whole one behind it was whole once: that is damage, and told. A broken
//! frame at the end is a write that nobody was told had succeeded: it is cut, and kept aside. A file that is gone from between others is told. What is not seen is that somebody took whole
//! frames away from the end: nothing else here says how many there were, and whoever can do that can do anything here.

mod delivered;
pub mod frame;
pub mod gap;
mod refused;
mod segment;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use indelible::clock::{Clock as _, SystemClock};
use indelible_core::checkpoint::Origin;
use indelible_store::disk::{Disk, Lease, Open, OsDisk, create_dirs, read_small, replace_small};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::{
    frame::{HEAD_BYTES, MAX_PAYLOAD_BYTES, Place},
    gap::{Gaps, Turned},
    segment::Segment,
};
use crate::{error::ClientError, event::Prepared};

/// The default limit of a spool's files.
pub const DEFAULT_MAX_BYTES: u64 = 64 << 20;
/// The least that makes sense: a few events of the largest size.
pub const LEAST_MAX_BYTES: u64 = 256 << 10;
/// A file is not written to beyond this, but for one frame.
const SEGMENT_BYTES: u64 = 4 << 20;
/// How often and how far apart the lock is tried before the spool counts as in use.
const LEASE_TRIES: u32 = 20;
const LEASE_WAIT: std::time::Duration = std::time::Duration::from_millis(25);
/// The small files are small.
const MAX_SMALL_BYTES: usize = 64 << 10;
/// So much is kept of what the server will never take.
const MAX_REFUSED_BYTES: u64 = 64 << 20;

/// What happens to events that no longer fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The caller is told, and keeps them.
    #[default]
    Refuse,
    /// They are dropped, and counted.
    DropNewest,
}

/// How a spool is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of all its files of events.
    pub max_bytes: u64,
    /// What happens to events that no longer fit.
    pub on_full: OnFull,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_MAX_BYTES, on_full: OnFull::Refuse }
    }
}

/// Why a spool cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process has it.
    #[error(
        "the spool `{place}` is in use by another process: one at a time delivers from it; give this one a directory of its own, or wait"
    )]
    InUse {
        /// Where it is.
        place: String,
    },
    /// It is for another log.
    #[error("the spool `{place}` holds events of `{found}`, not of `{wanted}`: give each log a directory of its own")]
    OtherLog {
        /// Where it is.
        place: String,
        /// The log that it is for.
        found: String,
        /// The log that was meant.
        wanted: String,
    },
    /// The directory holds something else.
    #[error("`{place}` is no spool, and not empty: give a directory that is new, empty, or a spool")]
    NotASpool {
        /// Where it is.
        place: String,
    },
    /// The limit is too small.
    #[error("a spool has at least {least} bytes, not {0}", least = LEAST_MAX_BYTES)]
    TooSmall(u64),
    /// What was written is not what is there.
    #[error(
        "`{place}` is damaged at byte {offset}, though it was written whole: deliver what stands before it with a copy cut there, keep the file, and have the disk looked at"
    )]
    Damaged {
        /// The file.
        place: String,
        /// Where in it.
        offset: u64,
    },
    /// What was delivered last is not among the files.
    #[error(
        "`{place}` says that everything up to byte {offset} of file {segment} was delivered, and the files that are here do not reach that far: they are of another time. Put back the files that belong to it, or remove that file: then everything that is here is delivered once more, and recorded once"
    )]
    Beyond {
        /// The file `delivered`.
        place: String,
        /// The file that it names.
        segment: u64,
        /// The place in that.
        offset: u64,
    },
    /// A file has a number that no spool comes to.
    #[error(
        "`{place}` has a number that no spool comes to (above {most}): it is not of this spool; see where it came from, and move it away",
        most = delivered::MAX_NUMBER
    )]
    Number {
        /// The file.
        place: String,
    },
    /// A file between two others is gone.
    #[error(
        "`{place}` is gone, and with it events that nobody has delivered: put it back; if it is lost, move the directory away, and say in the log what is missing"
    )]
    Missing {
        /// The file.
        place: String,
    },
    /// The file system refused.
    #[error("cannot {step} `{place}`")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sync failed, and nothing is known of what was written last.
    #[error(
        "the spool `{place}` failed before and takes nothing more: open it again, which finds out what is on the disk"
    )]
    Poisoned {
        /// Where it is.
        place: String,
    },
}

pub(crate) fn io_error(step: &'static str, place: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let place = place.display().to_string();
    move |source| SpoolError::Io { step, place, source }
}

/// What became of an event that was to be spooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is on the disk.
    Spooled,
    /// There was no room; the caller has it. It is counted as refused.
    Refused,
    /// There was no room, and it is lost. It is counted as dropped.
    Dropped,
}

/// Events from the front of a spool.
#[derive(Debug)]
pub struct Front {
    /// In order.
    pub events: Vec<Prepared>,
    end: Place,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    origin: String,
}

const FORMAT: u32 = 1;

/// A spool that this process holds.
pub struct Spool {
    dir: PathBuf,
    options: Options,
    segments: VecDeque<Segment>,
    front: Place,
    waiting: u64,
    gaps: Gaps,
    cut_bytes: u64,
    poisoned: bool,
    _lease: Box<dyn Lease>,
}

impl Spool {
    /// Opens a spool, or makes one in a new or empty directory.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn open(dir: &Path, origin: &Origin, options: Options) -> Result<Self, SpoolError> {
        if options.max_bytes < LEAST_MAX_BYTES {
            return Err(SpoolError::TooSmall(options.max_bytes));
        }
        create_dirs(&OsDisk, dir).map_err(io_error("create", dir))?;
        let lease = lease(dir)?;
        mark(dir, origin)?;
        let gaps = Gaps::load(dir)?;
        let delivered = delivered::read(dir)?;
        let (mut segments, mut cut_bytes) = (VecDeque::new(), 0);
        let numbers = segment::numbers(dir)?;
        delivered::confront(dir, &numbers, delivered)?;
        let last = numbers.last().copied();
        for number in numbers {
            let (segment, cut) = Segment::open(dir, number, Some(number) == last)?;
            cut_bytes += cut;
            segments.push_back(segment);
        }
        let mut spool = Self {
            dir: dir.to_owned(),
            options,
            segments,
            front: delivered,
            waiting: 0,
            gaps,
            cut_bytes,
            poisoned: false,
            _lease: lease,
        };
        spool.settle_front()?;
        Ok(spool)
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// How many bytes its files have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// How many bytes of a torn write were cut, and kept aside, when it was opened.
    #[must_use]
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Whether nothing waits to be delivered, not even that something was turned away.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.waiting == 0 && self.gaps.is_empty()
    }

    /// Puts events behind those that wait. When it returns, what is [`Pushed::Spooled`] is durable, and what is not is counted durably. Once one does not fit, none behind it is taken.
    ///
    /// # Errors
    /// [`SpoolError`]: of none of these events is it known whether it is there. An event that is will be delivered; sent again it is recorded once.
    pub fn push(&mut self, events: &[&Prepared]) -> Result<Vec<Pushed>, SpoolError> {
        if self.poisoned {
            return Err(SpoolError::Poisoned { place: self.dir.display().to_string() });
        }
        let fits = self.how_many_fit(events);
        let (taken, left) = events.split_at(fits.min(events.len()));
        for group in groups(taken) {
            self.append(group)?;
        }
        let (told, turned) = match self.options.on_full {
            OnFull::Refuse => (Pushed::Refused, Turned::Refused),
            OnFull::DropNewest => (Pushed::Dropped, Turned::Dropped),
        };
        if !left.is_empty() {
            self.gaps.count(&self.dir, turned, left.len() as u64, SystemClock::default().now())?;
        }
        Ok(taken.iter().map(|_| Pushed::Spooled).chain(left.iter().map(|_| told)).collect())
    }

    /// So many of the first fit, in the frames that [`groups`] makes of them.
    fn how_many_fit(&self, events: &[&Prepared]) -> usize {
        let mut room = self.options.max_bytes.saturating_sub(self.bytes() + frame::SEGMENT_HEAD.len() as u64);
        let (mut count, mut payload) = (0, MAX_PAYLOAD_BYTES);
        for event in events {
            let size = event.bytes().len() + 1;
            let opens = payload + size > MAX_PAYLOAD_BYTES;
            let takes = if opens { size + HEAD_BYTES } else { size } as u64;
            if takes > room {
                break;
            }
            payload = if opens { size } else { payload + size };
            room -= takes;
            count += 1;
        }
        count
    }

    fn append(&mut self, events: &[&Prepared]) -> Result<(), SpoolError> {
        let full = self.segments.back().is_none_or(|last| last.len() >= SEGMENT_BYTES);
        if full {
            let before = self.segments.back().map_or(self.front.segment, Segment::number);
            let next = segment::after(&self.dir, before)?;
            let made = Segment::create(&self.dir, next);
            self.poisoned = made.is_err();
            self.segments.push_back(made?);
        }
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let payload = frame::payload(events);
        let result = last.append(&payload);
        self.poisoned = matches!(result, Err((_, true)));
        result.map_err(|(error, _)| error)?;
        self.waiting += events.len() as u64;
        Ok(())
    }

    /// The events at the front, at most about so many, in whole frames.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn front(&mut self, most: usize) -> Result<Option<Front>, SpoolError> {
        self.settle_front_place()?;
        let (mut events, mut end) = (Vec::new(), self.front);
        for segment in self.segments.iter().skip_while(|segment| segment.number() < self.front.segment) {
            let mut offset = if segment.number() == self.front.segment {
                self.front.offset
            } else {
                frame::SEGMENT_HEAD.len() as u64
            };
            while offset < segment.len() && events.len() < most {
                let (payload, next) = segment.read(offset)?;
                events.extend(frame::events(&payload).ok_or_else(|| segment.damaged(offset))?);
                offset = next;
                end = Place { segment: segment.number(), offset };
            }
        }
        Ok((!events.is_empty()).then_some(Front { events, end }))
    }

    /// Takes away what was delivered. Files that are delivered to their end go.
    ///
    /// # Errors
    /// [`SpoolError`]; then it is delivered once more, and recorded once.
    pub fn remove(&mut self, front: &Front) -> Result<(), SpoolError> {
        delivered::write(&self.dir, front.end)?;
        self.front = front.end;
        self.waiting = self.waiting.saturating_sub(front.events.len() as u64);
        self.settle_front_place()
    }

    /// Removes whole files before the front.
    fn settle_front_place(&mut self) -> Result<(), SpoolError> {
        while let Some(first) = self.segments.front() {
            let done = first.number() < self.front.segment
                || (first.number() == self.front.segment && self.front.offset >= first.len());
            if !done {
                break;
            }
            first.remove(&self.dir)?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Finds the front after opening: where `delivered` says, where a frame begins there; else all of that file is delivered once more.
    fn settle_front(&mut self) -> Result<(), SpoolError> {
        let named = self.segments.iter().find(|segment| segment.number() == self.front.segment);
        if named.is_some_and(|segment| segment.len() < self.front.offset) {
            return Err(delivered::beyond(&self.dir, self.front));
        }
        if named.is_some_and(|segment| !segment.has_frame_at(self.front.offset)) {
            self.front.offset = frame::SEGMENT_HEAD.len() as u64;
        }
        self.settle_front_place()?;
        let mut waiting = 0;
        for segment in &self.segments {
            let from = if segment.number() == self.front.segment { self.front.offset } else { 0 };
            waiting += segment.events_from(from);
        }
        self.waiting = waiting;
        Ok(())
    }

    /// What was turned away and is not on record yet, as an event that says so; the same one until [`Spool::gap_recorded`].
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn gap(&mut self) -> Result<Option<Prepared>, SpoolError> {
        self.gaps.event(&self.dir, self.options.max_bytes)
    }

    /// Forgets what is on record now.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn gap_recorded(&mut self) -> Result<(), SpoolError> {
        self.gaps.recorded(&self.dir)
    }

    /// Keeps aside an event that the server will never take, with its reason. Whether there was room: where there was none it is counted, and the next gap says so.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn keep_refused(&mut self, event: &Prepared, why: &ClientError) -> Result<bool, SpoolError> {
        let kept = refused::keep(&self.dir, event, why)?;
        if !kept {
            self.gaps.count(&self.dir, Turned::Unkept, 1, SystemClock::default().now())?;
        }
        Ok(kept)
    }
}

/// Runs of events of which each goes into one frame.
fn groups<'e, 'a>(mut events: &'a [&'e Prepared]) -> Vec<&'a [&'e Prepared]> {
    let mut groups = Vec::new();
    while !events.is_empty() {
        let mut bytes = 0;
        let fits = events.iter().take_while(|event| {
            bytes += event.bytes().len() + 1;
            bytes <= MAX_PAYLOAD_BYTES
        });
        let (group, rest) = events.split_at(fits.count().clamp(1, events.len()));
        groups.push(group);
        events = rest;
    }
    groups
}

fn lease(dir: &Path) -> Result<Box<dyn Lease>, SpoolError> {
    let place = dir.join("lock");
    match OsDisk.open(&place, Open::CreateNew) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error("create", &place)(error)),
        _ => {}
    }
    // A child that another thread is just starting has it too, from its fork until its exec.
    for _ in 0..LEASE_TRIES {
        if let Some(lease) = OsDisk.lease(&place).map_err(io_error("lock", &place))? {
            return Ok(lease);
        }
        std::thread::sleep(LEASE_WAIT);
    }
    Err(SpoolError::InUse { place: dir.display().to_string() })
}

/// Says whose events these are, or compares.
fn mark(dir: &Path, origin: &Origin) -> Result<(), SpoolError> {
    let place = dir.join("spool.json");
    let not_a_spool = || SpoolError::NotASpool { place: dir.display().to_string() };
    if let Some(bytes) = read_small(&OsDisk, &place, MAX_SMALL_BYTES).map_err(io_error("read", &place))? {
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|_| not_a_spool())?;
        if marker.format != FORMAT {
            return Err(not_a_spool());
        }
        if marker.origin != origin.as_str() {
            let (found, wanted) = (marker.origin, origin.to_string());
            return Err(SpoolError::OtherLog { place: dir.display().to_string(), found, wanted });
        }
        return Ok(());
    }
    let others = OsDisk.list(dir).map_err(io_error("list", dir))?;
    let strange = OsDisk.list_strange(dir).map_err(io_error("list", dir))?;
    if !strange.is_empty() || others.iter().any(|name| name != "lock" && name != "spool.json.tmp") {
        return Err(not_a_spool());
    }
    let bytes = serde_json::to_vec(&Marker { format: FORMAT, origin: origin.to_string() }).unwrap_or_default();
    replace_small(&OsDisk, &place, &bytes).map_err(io_error("write", &place))
}
